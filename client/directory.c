/*
 * directory.c - who has which topic: routes in memory, asked for when they are wanted, polled, and asked
 * for again at once when something fails.
 *
 * Sources are asked one after the other: the nameservers, from the one that answered last, then, when none
 * of them answers, brokers. A nameserver's answer is whole; a broker speaks for itself only, so all brokers
 * are asked. A topic that nobody knows borrows the queues of TBW102, which makes brokers create it with the
 * first message.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"
#include "common/codes.h"

#define SOURCE_TIMEOUT_MS 1000u
#define TROUBLE_FIRST_MS  20u
#define TROUBLE_NEXT_MS   300u
#define TROUBLE_ROUNDS    20u

struct route_wait {
    route_fn fn;
    void *arg;
    uint64_t deadline_ms;
    TAILQ_ENTRY(route_wait) link;
};

TAILQ_HEAD(wait_list, route_wait);

struct topic {
    struct lmq_client *client;
    char name[256];
    struct route *route;    /* NULL: not known (yet) */
    struct route *gathered; /* while asking brokers: what they said so far */
    bool asking;
    uint32_t tried, asked;         /* sources done with; the one asked now */
    bool namesrv_answered, absent; /* absent: somebody knows that there is no such topic */
    int err;
    char why[LMQ_ERROR_TEXT_MAX];
    struct wait_list waits;
    TAILQ_ENTRY(topic) link;
};

static void try_next(struct topic *t);

/* ---- answers ---- */

static void call_waits(struct topic *t, int err)
{
    struct route_wait *w;
    struct wait_list waits = TAILQ_HEAD_INITIALIZER(waits);

    TAILQ_CONCAT(&waits, &t->waits, link);
    while ((w = TAILQ_FIRST(&waits)) != NULL) {
        TAILQ_REMOVE(&waits, w, link);
        w->fn(w->arg, err, err == 0 ? t->route : NULL, t->why);
        free(w);
    }
}

static void wake_consumers(struct lmq_client *c)
{
    struct lmq_consumer *k;

    TAILQ_FOREACH(k, &c->consumers, link)
        consumer_rebalance_soon(k);
}

static void remember_sources(struct lmq_client *c, const struct route *r)
{
    for (uint32_t i = 0; i < r->broker_count; i++)
        for (uint32_t j = 0; j < r->brokers[i].replica_count; j++) {
            const char *address = r->brokers[i].replicas[j].address;
            uint32_t k = 0;

            while (k < c->source_count && strcmp(c->sources[k].address, address) != 0)
                k++;
            if (k < c->source_count || k == CLIENT_ADDRESSES_MAX)
                continue;
            c->sources[k] = (struct source){.namesrv = false};
            snprintf(c->sources[k].address, sizeof(c->sources[k].address), "%s", address);
            c->source_count++;
        }
}

static void take_route(struct topic *t, struct route *r, bool from_namesrv)
{
    bool news = !route_same(t->route, r);

    if (from_namesrv)
        groups_take(t->client, r, true);
    remember_sources(t->client, r);
    free(t->route);
    t->route = r;
    if (news)
        wake_consumers(t->client);
}

static void ask_done(struct topic *t)
{
    struct route *gathered = t->gathered;

    t->asking = false;
    t->gathered = NULL;
    if (gathered != NULL && t->namesrv_answered)
        free(gathered);
    else if (gathered != NULL)
        take_route(t, gathered, false);
    if (t->absent)
        t->err = ERR_NO_ROUTE;
    if (t->route != NULL)
        t->err = 0; /* what was known holds while nobody answers */
    call_waits(t, t->err);
}

static void take_answer(struct topic *t, const struct remoting_cmd *answer)
{
    struct lmq_client *c = t->client;
    const struct source *s = &c->sources[t->asked];
    struct route *r;
    struct err err;

    if (answer->code != RC_SUCCESS) {
        snprintf(t->why, sizeof(t->why), "%.100s answered %d about topic %.100s: %.*s", s->address,
                 answer->code, t->name, (int)answer->remark.len,
                 answer->remark.len > 0 ? answer->remark.p : "");
        t->err = ERR_IO;
        t->absent = t->absent || answer->code == RC_TOPIC_NOT_EXIST;
        t->namesrv_answered = t->namesrv_answered || (s->namesrv && answer->code == RC_TOPIC_NOT_EXIST);
    } else if (route_parse(answer->body, &r, &err) != 0) {
        snprintf(t->why, sizeof(t->why), "route of topic %.100s from %.60s: %.100s", t->name, s->address,
                 err.text);
        t->err = ERR_IO;
    } else if (s->namesrv) {
        t->namesrv_answered = true;
        c->next_namesrv = t->asked;
        t->tried = UINT32_MAX;
        take_route(t, r, true);
    } else {
        groups_take(c, r, false);
        t->gathered = route_join(t->gathered, r);
    }
}

static void on_answer(void *arg, int err, const struct remoting_cmd *answer)
{
    struct topic *t = arg;

    if (t->client->closing)
        return;
    if (err == 0) {
        take_answer(t, answer);
    } else {
        snprintf(t->why, sizeof(t->why), "no answer about topic %.100s from %.100s: %s", t->name,
                 t->client->sources[t->asked].address, err_text(err));
        t->err = ERR_IO;
    }
    try_next(t);
}

/* ---- asking ---- */

static struct caller *caller_of(struct lmq_client *c, struct source *s)
{
    char host[ADDRESS_MAX];
    uint16_t port;

    if (s->caller == NULL && addr_split(str_of(s->address), host, sizeof(host), &port) == 0)
        s->caller = caller_new(c->loop, host, port, SOURCE_TIMEOUT_MS, NULL, NULL);
    return s->caller;
}

/* Nameservers in turn from the one that answered last, then brokers, unless a nameserver has answered. */
static uint32_t nth_source(const struct lmq_client *c, uint32_t n)
{
    return n < c->namesrv_count ? (n + c->next_namesrv) % c->namesrv_count : n;
}

static void try_next(struct topic *t)
{
    struct lmq_client *c = t->client;
    struct remoting_out out;

    while (t->tried < c->source_count) {
        struct source *s;

        t->asked = nth_source(c, t->tried++);
        s = &c->sources[t->asked];
        if ((!s->namesrv && t->namesrv_answered) || caller_of(c, s) == NULL)
            continue;
        remoting_request(&out, REMOTING_BINARY, GET_ROUTEINFO_BY_TOPIC, 0, false);
        remoting_put_str(&out, "topic", str_of(t->name));
        remoting_put_bool(&out, "acceptStandardJsonOnly", true);
        caller_send(s->caller, &out, NULL, 0, SOURCE_TIMEOUT_MS, on_answer, t);
        return;
    }
    ask_done(t);
}

static void ask(struct topic *t)
{
    if (t->asking)
        return;
    t->asking = true;
    t->tried = 0;
    t->namesrv_answered = t->absent = false;
    t->err = ERR_NO_ROUTE;
    snprintf(t->why, sizeof(t->why), "nobody to ask for the route of topic %s", t->name);
    try_next(t);
}

static struct topic *topic_for(struct lmq_client *c, const char *name)
{
    struct topic *t;

    TAILQ_FOREACH(t, &c->topics, link)
        if (strcmp(t->name, name) == 0)
            return t;
    if (c->topic_count == CLIENT_TOPICS_MAX || strlen(name) >= sizeof(t->name))
        return NULL;
    t = calloc(1, sizeof(*t));
    ENSURE(t != NULL);
    t->client = c;
    snprintf(t->name, sizeof(t->name), "%s", name);
    TAILQ_INIT(&t->waits);
    TAILQ_INSERT_TAIL(&c->topics, t, link);
    c->topic_count++;
    return t;
}

static void overdue_at(struct lmq_client *c, uint64_t deadline_ms)
{
    uint64_t now_ms = loop_now_ms(c->loop);

    if (deadline_ms >= c->overdue_ms)
        return;
    c->overdue_ms = deadline_ms;
    timer_start(&c->overdue, deadline_ms > now_ms ? (uint32_t)(deadline_ms - now_ms) : 1);
}

void directory_want(struct lmq_client *c, const char *name, uint64_t deadline_ms, route_fn fn, void *arg)
{
    struct topic *t = topic_for(c, name);
    struct route_wait *w;

    if (t == NULL || t->route != NULL) {
        fn(arg, t == NULL ? ERR_INVALID : 0, t == NULL ? NULL : t->route,
           "topic name too long, or too many topics");
        return;
    }
    w = calloc(1, sizeof(*w));
    ENSURE(w != NULL);
    w->fn = fn;
    w->arg = arg;
    w->deadline_ms = deadline_ms;
    TAILQ_INSERT_TAIL(&t->waits, w, link);
    overdue_at(c, deadline_ms);
    ask(t);
}

void directory_forget(struct lmq_client *c, const void *arg)
{
    struct topic *t;
    struct route_wait *w, *next;

    TAILQ_FOREACH(t, &c->topics, link)
        for (w = TAILQ_FIRST(&t->waits); w != NULL; w = next) {
            next = TAILQ_NEXT(w, link);
            if (w->arg != arg)
                continue;
            TAILQ_REMOVE(&t->waits, w, link);
            free(w);
        }
}

const struct route *directory_route(struct lmq_client *c, const char *name)
{
    struct topic *t;

    TAILQ_FOREACH(t, &c->topics, link)
        if (strcmp(t->name, name) == 0)
            return t->route;
    return NULL;
}

/* ---- time ---- */

/* Sources are asked for longer than some can wait. */
static void give_up_waits(struct topic *t, uint64_t now_ms)
{
    struct wait_list late = TAILQ_HEAD_INITIALIZER(late);
    struct route_wait *w, *next;
    char why[LMQ_ERROR_TEXT_MAX];

    for (w = TAILQ_FIRST(&t->waits); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);
        if (w->deadline_ms <= now_ms) {
            TAILQ_REMOVE(&t->waits, w, link);
            TAILQ_INSERT_TAIL(&late, w, link);
        } else {
            overdue_at(t->client, w->deadline_ms);
        }
    }
    snprintf(why, sizeof(why), "no route in time; last: %.280s", t->why);
    while ((w = TAILQ_FIRST(&late)) != NULL) {
        TAILQ_REMOVE(&late, w, link);
        w->fn(w->arg, ERR_TIMEOUT, NULL, why);
        free(w);
    }
}

static void on_overdue(void *arg)
{
    struct lmq_client *c = arg;
    uint64_t now_ms = loop_now_ms(c->loop);
    struct topic *t;

    c->overdue_ms = UINT64_MAX;
    TAILQ_FOREACH(t, &c->topics, link)
        give_up_waits(t, now_ms);
}

static void ask_all(struct lmq_client *c)
{
    struct topic *t;

    TAILQ_FOREACH(t, &c->topics, link)
        ask(t);
}

static void on_poll(void *arg)
{
    struct lmq_client *c = arg;

    ask_all(c);
    timer_start(&c->poll, c->options.poll_ms);
}

static void on_refresh(void *arg)
{
    struct lmq_client *c = arg;

    ask_all(c);
    if (--c->refreshes_left > 0)
        timer_start(&c->refresh, TROUBLE_NEXT_MS);
}

void directory_trouble(struct lmq_client *c)
{
    if (c->refreshes_left == 0)
        timer_start(&c->refresh, TROUBLE_FIRST_MS);
    c->refreshes_left = TROUBLE_ROUNDS;
}

static void on_heartbeat(void *arg)
{
    heartbeat_now(arg);
}

void directory_init(struct lmq_client *c)
{
    timer_init(&c->poll, c->loop, on_poll, c);
    timer_init(&c->refresh, c->loop, on_refresh, c);
    timer_init(&c->heartbeat, c->loop, on_heartbeat, c);
    timer_init(&c->overdue, c->loop, on_overdue, c);
    c->overdue_ms = UINT64_MAX;
    timer_start(&c->poll, c->options.poll_ms);
    timer_start(&c->heartbeat, c->options.heartbeat_ms);
}

void directory_release(struct lmq_client *c)
{
    struct topic *t;

    c->closing = true;
    timer_release(&c->poll);
    timer_release(&c->refresh);
    timer_release(&c->heartbeat);
    timer_release(&c->overdue);
    for (uint32_t i = 0; i < c->source_count; i++)
        caller_free(c->sources[i].caller);
    while ((t = TAILQ_FIRST(&c->topics)) != NULL) {
        TAILQ_REMOVE(&c->topics, t, link);
        snprintf(t->why, sizeof(t->why), "the client is being closed");
        call_waits(t, ERR_CLOSED);
        free(t->route);
        free(t->gathered);
        free(t);
    }
}
