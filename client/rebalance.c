/*
 * rebalance.c - which queues of its topics a consumer takes.
 *
 *   route of the topic -> (clustering) members of the group, from a broker of the route (38) -> our share ->
 *   differences
 *
 * Any broker of the route knows the members, for all clients greet all. One is asked as long as it answers;
 * the round after one that failed asks the next.
 *
 * All members must compute the same from the same: queues sorted by broker name and id, members by client
 * id, shares by route_allocate. A round that fails leaves everything as it is and is repeated soon. [loop]
 */
#include <stdlib.h>

#include "client/internal.h"
#include "common/codes.h"
#include "common/json.h"
#include "common/log.h"

#define SOON_MS          5u
#define AGAIN_MS         250u /* after a round that failed */
#define TICK_MS          20u
#define ASK_TIMEOUT_MS   3000u
#define ASK_ELSEWHERE_MS 1000u /* instead, when there is another broker to ask; longer than an election */
#define MEMBERS_MAX      10000u
#define LOG_EVERY_MS     5000u

void consumer_rebalance_soon(struct lmq_consumer *c)
{
    if (c->rebalance_soon || c->closing)
        return;
    c->rebalance_soon = true;
    timer_start(&c->rebalance, SOON_MS);
}

void consumer_on_notify(struct lmq_consumer *c)
{
    consumer_rebalance_soon(c);
}

void consumer_tick_soon(struct lmq_consumer *c)
{
    if (c->ticking || c->closing)
        return;
    c->ticking = true;
    timer_start(&c->tick, TICK_MS);
}

static void again(struct subscription *s)
{
    if (!s->consumer->rebalance_soon && !s->consumer->closing) {
        s->consumer->rebalance_soon = true;
        timer_start(&s->consumer->rebalance, AGAIN_MS);
    }
}

/* ---- differences ---- */

static bool is_queue(const struct process_queue *pq, const struct subscription *s, struct queue_at q)
{
    return pq->subscription == s && pq->id == q.id && strcmp(pq->group->name, q.broker->name) == 0;
}

/* Ours already, or still leaving: one queue never has two listeners, so it waits for the round that follows
 * the return of the earlier one. */
static bool is_taken(const struct lmq_consumer *c, const struct subscription *s, struct queue_at q)
{
    const struct process_queue *pq;

    TAILQ_FOREACH(pq, &c->queues, link)
        if (is_queue(pq, s, q))
            return true;
    TAILQ_FOREACH(pq, &c->leaving, link)
        if (is_queue(pq, s, q))
            return true;
    return false;
}

static bool is_ours(const struct route *r, const struct process_queue *pq, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        struct queue_at q = route_read_queue(r, i);

        if (q.id == pq->id && strcmp(q.broker->name, pq->group->name) == 0)
            return true;
    }
    return false;
}

static void take_share(struct subscription *s, const struct route *r, uint32_t first, uint32_t count)
{
    struct lmq_consumer *c = s->consumer;
    struct process_queue *pq, *next;

    for (pq = TAILQ_FIRST(&c->queues); pq != NULL; pq = next) {
        next = TAILQ_NEXT(pq, link);
        if (pq->subscription == s && !is_ours(r, pq, first, count))
            pq_drop(pq);
    }
    for (uint32_t i = first; i < first + count; i++) {
        struct queue_at q = route_read_queue(r, i);
        struct group *g = group_find(c->client, q.broker->name);

        if (g != NULL && !is_taken(c, s, q))
            pq_new(c, s, g, q.id);
    }
}

/* ---- members ---- */

static int compare_texts(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int rc = memcmp(x->p, y->p, len);

    return rc != 0 ? rc : x->len < y->len ? -1 : x->len > y->len;
}

/* Our place among the sorted members; false when we are not in the list. */
static bool find_member(const struct json *list, const char *id, uint32_t *members, uint32_t *member)
{
    uint32_t count = json_count(list), n = 0;
    struct str *ids = calloc(count + 1, sizeof(*ids));
    bool found = false;

    ENSURE(ids != NULL);
    for (const struct json *m = list != NULL ? list->first : NULL; m != NULL; m = m->next)
        if (json_str(m).len > 0)
            ids[n++] = json_str(m);
    qsort(ids, n, sizeof(ids[0]), compare_texts);
    for (uint32_t i = 0; i < n && !found; i++) {
        found = str_is(ids[i], id);
        *member = i;
    }
    *members = n;
    free(ids);
    return found;
}

static void ask_elsewhere(struct subscription *s)
{
    s->ask_at++;
    again(s);
}

static void on_members(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct subscription *s = (struct subscription *)call;
    const struct route *r = directory_route(s->consumer->client, s->topic);
    uint32_t members = 0, member = 0, first, count;
    struct json_doc *doc;
    struct err parse_err;

    s->asking = false;
    if (err != 0 || answer->code != RC_SUCCESS || r == NULL ||
        json_parse(answer->body, MEMBERS_MAX, &doc, &parse_err) != 0) {
        ask_elsewhere(s);
        return;
    }
    if (find_member(json_get(json_root(doc), "consumerIdList"), s->consumer->client->id, &members, &member)) {
        route_allocate(route_read_queues(r), members, member, &first, &count);
        take_share(s, r, first, count);
    } else {
        ask_elsewhere(s); /* our heartbeat is not there yet */
    }
    json_free(doc);
}

static void ask_members(struct subscription *s, const struct route *r)
{
    struct lmq_client *client = s->consumer->client;
    struct group *g = NULL;
    struct remoting_out out;

    for (uint32_t i = 0; i < r->broker_count && g == NULL; i++)
        g = group_find(client, r->brokers[(s->ask_at + i) % r->broker_count].name);
    remoting_request(&out, REMOTING_BINARY, GET_CONSUMER_LIST_BY_GROUP, 0, false);
    remoting_put_str(&out, "consumerGroup", str_of(s->consumer->group));
    if (g == NULL || s->asking || wire_request(&out, NULL, 0, &s->asked.frame) != 0) {
        again(s);
        return;
    }
    s->asked.deadline_ms =
        loop_now_ms(client->loop) + (r->broker_count > 1 ? ASK_ELSEWHERE_MS : ASK_TIMEOUT_MS);
    s->asked.answer_ms = client->options.answer_ms;
    s->asked.done = on_members;
    s->asking = true;
    s->line = g->line;
    line_send(g->line, &s->asked);
}

/* ---- a round ---- */

static void on_route(void *arg, int err, const struct route *r, const char *why)
{
    struct subscription *s = arg;
    bool retries = str_starts(str_of(s->topic), RETRY_PREFIX);

    s->wanting = false;
    if (err != 0) {
        if (!retries)
            LOG_WARN_EVERY(LOG_EVERY_MS, "no route to subscribe", "topic=%s why=\"%s\"", s->topic, why);
        if (!retries)
            again(s);
        return;
    }
    if (!s->routed) { /* brokers must know us before they are asked who is there */
        s->routed = true;
        heartbeat_now(s->consumer->client);
    }
    if (s->consumer->model == LMQ_BROADCASTING)
        take_share(s, r, 0, route_read_queues(r));
    else
        ask_members(s, r);
}

void consumer_rebalance(struct lmq_consumer *c)
{
    struct subscription *s;

    c->rebalance_soon = false;
    timer_start(&c->rebalance, c->client->options.rebalance_ms);
    TAILQ_FOREACH(s, &c->subscriptions, link) {
        if (s->wanting || s->asking)
            continue;
        s->wanting = true;
        directory_want(c->client, s->topic, UINT64_MAX, on_route, s);
    }
}

void subscription_stop(struct subscription *s)
{
    directory_forget(s->consumer->client, s);
    if (s->asking)
        line_cancel(s->line, &s->asked);
    s->asking = s->wanting = false;
}
