/* puller.c - queues read by hand: each function asks the broker group and waits for the answer. */
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"
#include "common/clock.h"
#include "common/codes.h"

#define ASK_TIMEOUT_MS   5000u
#define ROUTE_TIMEOUT_MS 10000u /* of all nameservers and brokers together */
#define PULL_SPARE_MS    5000u  /* beyond the broker's waiting */
#define PULL_SUSPEND     2
#define PULL_SUBSCRIBED  4

struct lmq_puller {
    struct lmq_client *client;
    char group[256];
};

struct lmq_pulled {
    size_t count;
    struct lmq_message **messages;
    int64_t next, min, max;
};

lmq_status lmq_puller_new(lmq_client *client, const char *group, lmq_puller **out, lmq_error *error)
{
    struct lmq_puller *p = calloc(1, sizeof(*p));

    ENSURE(p != NULL);
    *out = NULL;
    p->client = client;
    if (group == NULL || group[0] == '\0' || !str_copy(str_of(group), p->group, sizeof(p->group))) {
        free(p);
        return client_fail(error, LMQ_INVALID, "a consumer group has a name of 1 to %zu bytes",
                           sizeof(p->group) - 1);
    }
    *out = p;
    return LMQ_OK;
}

void lmq_puller_free(lmq_puller *p)
{
    free(p);
}

/* ---- queues ---- */

struct queues_wait {
    struct lmq_client *client;
    const char *topic;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    int err;
    char why[LMQ_ERROR_TEXT_MAX];
    lmq_queue *queues;
    size_t count;
};

static void on_route(void *arg, int err, const struct route *route, const char *why)
{
    struct queues_wait *w = arg;

    w->err = err;
    if (err != 0) {
        snprintf(w->why, sizeof(w->why), "%s", why);
    } else {
        w->count = route_read_queues(route);
        w->queues = calloc(w->count + 1, sizeof(w->queues[0]));
        ENSURE(w->queues != NULL);
        for (uint32_t i = 0; i < w->count; i++) {
            struct queue_at q = route_read_queue(route, i);

            snprintf(w->queues[i].topic, sizeof(w->queues[i].topic), "%s", w->topic);
            snprintf(w->queues[i].broker, sizeof(w->queues[i].broker), "%s", q.broker->name);
            w->queues[i].id = (int32_t)q.id;
        }
    }
    pthread_mutex_lock(&w->mutex);
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void want_route(void *arg)
{
    struct queues_wait *w = arg;

    directory_want(w->client, w->topic, loop_now_ms(w->client->loop) + ROUTE_TIMEOUT_MS, on_route, w);
}

static int find_queues(struct lmq_client *c, const char *topic, struct queues_wait *w)
{
    *w = (struct queues_wait){.client = c, .topic = topic};
    ENSURE(pthread_mutex_init(&w->mutex, NULL) == 0);
    ENSURE(pthread_cond_init(&w->cond, NULL) == 0);
    client_post(c, want_route, w);
    pthread_mutex_lock(&w->mutex);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->cond);
    return w->err;
}

lmq_status lmq_puller_queues(lmq_puller *p, const char *topic, lmq_queue **out, size_t *count,
                             lmq_error *error)
{
    struct queues_wait w;

    if (find_queues(p->client, topic, &w) != 0)
        return client_fail_err(error, w.err, w.why);
    *out = w.queues;
    *count = w.count;
    return LMQ_OK;
}

/* ---- offsets ---- */

/* The group must be known before it can be asked: by the topic's route. */
static lmq_status ask_queue(lmq_puller *p, const lmq_queue *q, struct remoting_out *out, uint32_t timeout_ms,
                            uint32_t answer_ms, struct reply *r, lmq_error *error)
{
    struct queues_wait w;

    client_ask(p->client, q->broker, out, NULL, 0, timeout_ms, answer_ms, r);
    if (r->err == ERR_NO_ROUTE && find_queues(p->client, q->topic, &w) == 0) {
        free(w.queues);
        client_ask(p->client, q->broker, out, NULL, 0, timeout_ms, answer_ms, r);
    }
    if (r->err != 0)
        return client_fail_err(error, r->err, r->why);
    return LMQ_OK;
}

static void begin_request(const lmq_puller *p, const lmq_queue *q, int32_t code, bool with_group,
                          struct remoting_out *out)
{
    remoting_request(out, REMOTING_BINARY, code, 0, false);
    if (with_group)
        remoting_put_str(out, "consumerGroup", str_of(p->group));
    remoting_put_str(out, "topic", str_of(q->topic));
    remoting_put_i64(out, "queueId", q->id);
}

static lmq_status ask_offset(lmq_puller *p, const lmq_queue *q, struct remoting_out *out, int64_t *offset,
                             lmq_error *error)
{
    struct reply r;
    lmq_status s = ask_queue(p, q, out, ASK_TIMEOUT_MS, p->client->options.answer_ms, &r, error);

    if (s != LMQ_OK)
        return s;
    if (r.code == RC_QUERY_NOT_FOUND)
        s = client_fail(error, LMQ_NOT_FOUND, "group %s has no offset of queue %d of %s at %s", p->group,
                        q->id, q->topic, q->broker);
    else if (r.code != RC_SUCCESS)
        s = client_fail_answer(error, r.code, r.why);
    else if (offset != NULL)
        *offset = r.offset;
    reply_release(&r);
    return s;
}

lmq_status lmq_puller_offset(lmq_puller *p, const lmq_queue *q, lmq_offset_kind kind, int64_t *out,
                             lmq_error *error)
{
    static const int32_t codes[] = {[LMQ_OFFSET_MIN] = GET_MIN_OFFSET,
                                    [LMQ_OFFSET_MAX] = GET_MAX_OFFSET,
                                    [LMQ_OFFSET_COMMITTED] = QUERY_CONSUMER_OFFSET};
    struct remoting_out o;

    if (kind > LMQ_OFFSET_COMMITTED)
        return client_fail(error, LMQ_INVALID, "no offset of kind %d", (int)kind);
    begin_request(p, q, codes[kind], kind == LMQ_OFFSET_COMMITTED, &o);
    return ask_offset(p, q, &o, out, error);
}

lmq_status lmq_puller_offset_at(lmq_puller *p, const lmq_queue *q, int64_t store_ms, int64_t *out,
                                lmq_error *error)
{
    struct remoting_out o;

    begin_request(p, q, SEARCH_OFFSET_BY_TIMESTAMP, false, &o);
    remoting_put_i64(&o, "timestamp", store_ms);
    return ask_offset(p, q, &o, out, error);
}

lmq_status lmq_puller_commit(lmq_puller *p, const lmq_queue *q, int64_t offset, lmq_error *error)
{
    struct remoting_out o;

    begin_request(p, q, UPDATE_CONSUMER_OFFSET, true, &o);
    remoting_put_i64(&o, "commitOffset", offset);
    return ask_offset(p, q, &o, NULL, error);
}

/* ---- messages ---- */

static lmq_status take_messages(struct lmq_pulled *d, const struct reply *r, const lmq_queue *q,
                                const char *tags, lmq_error *error)
{
    struct rd left = rd_of(r->body->data, r->body->len);
    struct stored m;
    struct err err;

    while (rd_left(&left) > 0) {
        struct lmq_message *message;

        if (stored_next(&left, &m, &err) != 0)
            return client_fail_err(error, LMQ_IO, err.text);
        if (!tags_match(tags, props_get(m.properties, "TAGS")))
            continue; /* the broker compares hashes only */
        message = message_from_stored(&m, q->broker, &err);
        if (message == NULL)
            return client_fail_err(error, LMQ_IO, err.text);
        d->messages = realloc(d->messages, (d->count + 1) * sizeof(d->messages[0]));
        ENSURE(d->messages != NULL);
        d->messages[d->count++] = message;
    }
    return LMQ_OK;
}

static lmq_status take_pulled(const struct reply *r, const lmq_queue *q, const char *tags, int64_t offset,
                              lmq_pulled **out, lmq_error *error)
{
    struct lmq_pulled *d = calloc(1, sizeof(*d));
    lmq_status s = LMQ_OK;

    ENSURE(d != NULL);
    d->next = r->next >= 0 ? r->next : offset;
    d->min = r->min;
    d->max = r->max;
    if (r->code == RC_SUCCESS)
        s = take_messages(d, r, q, tags, error);
    if (s != LMQ_OK) {
        lmq_pulled_free(d);
        return s;
    }
    *out = d;
    return LMQ_OK;
}

lmq_status lmq_puller_pull(lmq_puller *p, const lmq_queue *q, const char *tags, int64_t offset, uint32_t max,
                           uint32_t wait_ms, lmq_pulled **out, lmq_error *error)
{
    struct remoting_out o;
    struct reply r;
    lmq_status s;

    *out = NULL;
    begin_request(p, q, PULL_MESSAGE, true, &o);
    remoting_put_i64(&o, "queueOffset", offset);
    remoting_put_i64(&o, "maxMsgNums", max > 0 ? max : 1);
    remoting_put_i64(&o, "sysFlag", PULL_SUBSCRIBED | (wait_ms > 0 ? PULL_SUSPEND : 0));
    remoting_put_i64(&o, "commitOffset", 0);
    remoting_put_i64(&o, "suspendTimeoutMillis", wait_ms);
    remoting_put_str(&o, "subscription", str_of(tags));
    remoting_put_i64(&o, "subVersion", 0);
    remoting_put_str(&o, "expressionType", STR("TAG"));
    s = ask_queue(p, q, &o, wait_ms + PULL_SPARE_MS, wait_ms + p->client->options.answer_ms, &r, error);
    if (s != LMQ_OK)
        return s;
    if (r.code == RC_SUCCESS || r.code == RC_PULL_NOT_FOUND || r.code == RC_PULL_RETRY_IMMEDIATELY ||
        r.code == RC_PULL_OFFSET_MOVED)
        s = take_pulled(&r, q, tags, offset, out, error);
    else
        s = client_fail_answer(error, r.code, r.why);
    reply_release(&r);
    return s;
}

size_t lmq_pulled_count(const lmq_pulled *d)
{
    return d->count;
}

const lmq_message *lmq_pulled_message(const lmq_pulled *d, size_t i)
{
    return i < d->count ? d->messages[i] : NULL;
}

int64_t lmq_pulled_next_offset(const lmq_pulled *d)
{
    return d->next;
}

int64_t lmq_pulled_min_offset(const lmq_pulled *d)
{
    return d->min;
}

int64_t lmq_pulled_max_offset(const lmq_pulled *d)
{
    return d->max;
}

void lmq_pulled_free(lmq_pulled *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->count; i++)
        lmq_message_free(d->messages[i]);
    free(d->messages);
    free(d);
}
