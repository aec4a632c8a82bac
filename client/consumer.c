/*
 * consumer.c - a consumer's life: subscriptions, start, the timers, the end.
 *
 * The end, in order: no more rebalancing; listeners that run are waited for, their locks still renewed;
 * queues are dropped, which commits and unlocks; the last offsets are confirmed by the brokers; the group is
 * told that we leave.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"

#define LAST_ASK_MS   1000u
#define LAST_TOTAL_MS 3000u /* for all last commits together */

/* Where a queue was when the consumer stopped. */
struct last_offset {
    char topic[256], broker[ROUTE_NAME_MAX];
    uint32_t id;
    int64_t offset;
};

struct stopping {
    struct lmq_consumer *consumer;
    uint32_t count;
    struct last_offset *offsets;
};

lmq_status lmq_consumer_new(lmq_client *client, const char *group, lmq_model model, lmq_consumer **out,
                            lmq_error *error)
{
    struct lmq_consumer *c = calloc(1, sizeof(*c));

    ENSURE(c != NULL);
    *out = NULL;
    c->client = client;
    c->model = model;
    TAILQ_INIT(&c->subscriptions);
    TAILQ_INIT(&c->queues);
    TAILQ_INIT(&c->leaving);
    TAILQ_INIT(&c->retries);
    if (group == NULL || group[0] == '\0' || strlen(group) + sizeof(RETRY_PREFIX) > sizeof(c->group) ||
        !str_copy(str_of(group), c->group, sizeof(c->group))) {
        free(c);
        return client_fail(error, LMQ_INVALID, "a consumer group has a name of 1 to %zu bytes",
                           sizeof(c->group) - sizeof(RETRY_PREFIX));
    }
    *out = c;
    return LMQ_OK;
}

static struct subscription *subscription_new(struct lmq_consumer *c, const char *topic, const char *tags)
{
    struct subscription *s = calloc(1, sizeof(*s));

    ENSURE(s != NULL);
    s->consumer = c;
    snprintf(s->topic, sizeof(s->topic), "%s", topic);
    snprintf(s->tags, sizeof(s->tags), "%s", tags[0] != '\0' ? tags : "*");
    s->all = strcmp(s->tags, "*") == 0;
    s->version = (int64_t)clock_wall_ms();
    TAILQ_INSERT_TAIL(&c->subscriptions, s, link);
    return s;
}

static bool is_subscribed(const struct lmq_consumer *c, const char *topic)
{
    const struct subscription *s;

    TAILQ_FOREACH(s, &c->subscriptions, link)
        if (strcmp(s->topic, topic) == 0)
            return true;
    return false;
}

lmq_status lmq_consumer_subscribe(lmq_consumer *c, const char *topic, const char *tags, lmq_error *error)
{
    if (c->started)
        return client_fail(error, LMQ_INVALID, "the consumer has started");
    if (topic == NULL || topic[0] == '\0' || strlen(topic) >= sizeof(((struct subscription *)0)->topic) ||
        tags == NULL || strlen(tags) >= sizeof(((struct subscription *)0)->tags))
        return client_fail(error, LMQ_INVALID, "topic or tags are missing or too long");
    if (is_subscribed(c, topic))
        return client_fail(error, LMQ_INVALID, "topic %s is subscribed already", topic);
    subscription_new(c, topic, tags);
    return LMQ_OK;
}

/* ---- timers ---- */

static void on_rebalance(void *arg)
{
    consumer_rebalance(arg);
}

static void persist(struct lmq_consumer *c)
{
    struct process_queue *pq;
    struct err err;

    TAILQ_FOREACH(pq, &c->queues, link)
        pq_commit(pq);
    if (c->local != NULL && local_offsets_save(c->local, &err) != 0)
        LOG_WARN("offsets not saved", "group=%s why=\"%s\"", c->group, err.text);
}

static void on_persist(void *arg)
{
    struct lmq_consumer *c = arg;

    persist(c);
    timer_start(&c->persist, c->client->options.persist_ms);
}

static void on_relock(void *arg)
{
    struct lmq_consumer *c = arg;
    struct process_queue *pq;

    TAILQ_FOREACH(pq, &c->queues, link)
        if (pq->locked_ms != 0)
            pq_lock(pq);
    TAILQ_FOREACH(pq, &c->leaving, link) /* theirs as long as the listener runs */
        if (pq->locked_ms != 0)
            pq_lock(pq);
    timer_start(&c->relock, c->client->options.relock_ms);
}

static void give_retries(struct lmq_consumer *c, uint64_t now_ms)
{
    struct item_list due = TAILQ_HEAD_INITIALIZER(due);
    struct item *i, *next;

    for (i = TAILQ_FIRST(&c->retries); i != NULL; i = next) {
        next = TAILQ_NEXT(i, place);
        if (i->due_ms > now_ms)
            continue;
        TAILQ_REMOVE(&c->retries, i, place);
        TAILQ_INSERT_TAIL(&due, i, place);
    }
    while ((i = TAILQ_FIRST(&due)) != NULL) {
        TAILQ_REMOVE(&due, i, place);
        pq_retry(i);
    }
}

static void on_tick(void *arg)
{
    struct lmq_consumer *c = arg;
    uint64_t now_ms = loop_now_ms(c->client->loop);
    struct process_queue *pq;

    c->ticking = false;
    give_retries(c, now_ms);
    TAILQ_FOREACH(pq, &c->queues, link) {
        pq_tick(pq, now_ms);
        if (pq->rest_until_ms != 0)
            consumer_tick_soon(c);
    }
    if (!TAILQ_EMPTY(&c->retries))
        consumer_tick_soon(c);
}

/* ---- start ---- */

/* Whose offsets a broadcasting consumer keeps: the client's id, or where that is another at every start,
 * ip@DEFAULT as Java clients have it. */
static struct local_offsets *open_local(const struct lmq_consumer *c, struct err *err)
{
    const struct lmq_options *o = &c->client->options;
    const char *id = c->client->id;
    char whose[sizeof(c->client->id)];

    snprintf(whose, sizeof(whose), "%.*s@DEFAULT", (int)strcspn(id, "@"), id);
    return local_offsets_open(o->offset_dir, o->instance[0] != '\0' ? id : whose, c->group, err);
}

/* Two consumers of one group in one client would be one member with two lives: the same share, and each
 * other's locks. */
static bool is_group_taken(const struct lmq_consumer *c)
{
    const struct lmq_consumer *k;

    TAILQ_FOREACH(k, &c->client->consumers, link)
        if (strcmp(k->group, c->group) == 0)
            return true;
    return false;
}

static void join_client(void *arg)
{
    struct lmq_consumer *c = arg;

    c->started = !is_group_taken(c);
    if (!c->started)
        return;
    timer_init(&c->rebalance, c->client->loop, on_rebalance, c);
    timer_init(&c->persist, c->client->loop, on_persist, c);
    timer_init(&c->relock, c->client->loop, on_relock, c);
    timer_init(&c->tick, c->client->loop, on_tick, c);
    TAILQ_INSERT_TAIL(&c->client->consumers, c, link);
    timer_start(&c->persist, c->client->options.persist_ms);
    if (c->orderly && c->model == LMQ_CLUSTERING)
        timer_start(&c->relock, c->client->options.relock_ms);
    heartbeat_soon(c->client);
    consumer_rebalance(c);
}

static lmq_status start(lmq_consumer *c, lmq_listener listener, void *arg, bool orderly, lmq_error *error)
{
    char retry_topic[256];
    struct err err;

    if (c->started || listener == NULL || TAILQ_EMPTY(&c->subscriptions))
        return client_fail(error, LMQ_INVALID, "%s",
                           c->started ? "the consumer has started"
                                      : "the consumer has no listener or no subscription");
    c->listener = listener;
    c->arg = arg;
    c->orderly = orderly;
    if (c->model == LMQ_BROADCASTING) {
        if (c->local == NULL)
            c->local = open_local(c, &err);
        if (c->local == NULL)
            return client_fail(error, LMQ_IO, "%s", err.text);
    } else {
        snprintf(retry_topic, sizeof(retry_topic), "%s%.240s", RETRY_PREFIX, c->group);
        if (!is_subscribed(c, retry_topic))
            subscription_new(c, retry_topic, "*");
    }
    c->pool = pool_new(c, c->client->options.consume_threads);
    if (c->pool == NULL)
        return client_fail(error, LMQ_IO, "no thread could be started");
    client_run(c->client, join_client, c);
    if (c->started)
        return LMQ_OK;
    pool_free(c->pool);
    return client_fail(error, LMQ_INVALID, "the client has a consumer of group %s already", c->group);
}

lmq_status lmq_consumer_start(lmq_consumer *c, lmq_listener listener, void *arg, lmq_error *error)
{
    return start(c, listener, arg, false, error);
}

lmq_status lmq_consumer_start_orderly(lmq_consumer *c, lmq_listener listener, void *arg, lmq_error *error)
{
    return start(c, listener, arg, true, error);
}

/* ---- end ---- */

static void stop_rounds(void *arg)
{
    struct lmq_consumer *c = arg;
    struct subscription *s;

    c->closing = true;
    timer_release(&c->rebalance);
    timer_release(&c->persist);
    timer_release(&c->tick);
    TAILQ_FOREACH(s, &c->subscriptions, link)
        subscription_stop(s);
}

static void note_offset(struct stopping *s, const struct process_queue *pq)
{
    struct last_offset *o;
    int64_t offset = pq_committable(pq);

    if (offset < 0 || pq->consumer->local != NULL)
        return;
    s->offsets = realloc(s->offsets, (s->count + 1) * sizeof(s->offsets[0]));
    ENSURE(s->offsets != NULL);
    o = &s->offsets[s->count++];
    snprintf(o->topic, sizeof(o->topic), "%s", pq->subscription->topic);
    snprintf(o->broker, sizeof(o->broker), "%s", pq->group->name);
    o->id = pq->id;
    o->offset = offset;
}

/* The pool is gone and its results have come in: what is pending was not consumed. */
static void drop_queues(void *arg)
{
    struct stopping *s = arg;
    struct process_queue *pq;
    struct err err;

    timer_release(&s->consumer->relock);
    while ((pq = TAILQ_FIRST(&s->consumer->queues)) != NULL) {
        note_offset(s, pq);
        pq_drop(pq);
    }
    if (s->consumer->local != NULL && local_offsets_save(s->consumer->local, &err) != 0)
        LOG_WARN("offsets not saved", "group=%s why=\"%s\"", s->consumer->group, err.text);
}

/* The commits of pq_drop ask for no answer; these wait until the offsets are there. */
static void confirm_offsets(struct stopping *s)
{
    uint64_t end_ms = clock_mono_ms() + LAST_TOTAL_MS;

    for (uint32_t i = 0; i < s->count && clock_mono_ms() < end_ms; i++) {
        const struct last_offset *o = &s->offsets[i];
        struct remoting_out out;
        struct reply r;

        remoting_request(&out, REMOTING_BINARY, UPDATE_CONSUMER_OFFSET, 0, false);
        remoting_put_str(&out, "consumerGroup", str_of(s->consumer->group));
        remoting_put_str(&out, "topic", str_of(o->topic));
        remoting_put_i64(&out, "queueId", o->id);
        remoting_put_i64(&out, "commitOffset", o->offset);
        client_ask(s->consumer->client, o->broker, &out, NULL, 0, LAST_ASK_MS, 0, &r);
        reply_release(&r);
    }
    free(s->offsets);
}

static void leave_client(void *arg)
{
    struct lmq_consumer *c = arg;

    TAILQ_REMOVE(&c->client->consumers, c, link);
    unregister(c->client, NULL, c->group);
}

void lmq_consumer_free(lmq_consumer *c)
{
    struct stopping stopping = {.consumer = c};
    struct subscription *s;

    if (c == NULL)
        return;
    if (c->started) {
        client_run(c->client, stop_rounds, c);
        pool_free(c->pool);
        client_run(c->client, drop_queues, &stopping);
        confirm_offsets(&stopping);
        client_run(c->client, leave_client, c);
    }
    while ((s = TAILQ_FIRST(&c->subscriptions)) != NULL) {
        TAILQ_REMOVE(&c->subscriptions, s, link);
        free(s);
    }
    local_offsets_close(c->local);
    free(c);
}
