/*
 * mqperf_subscribe.c - consume as an application does: a member of a consumer group, through libledgermq.
 *
 * Counts what comes: messages, repeated ones, damaged ones, and with --orderly those that come behind a
 * later one of their queue.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "client/ledgermq.h"
#include "client/wire.h"
#include "common/clock.h"
#include "tools/mqperf.h"

#define POLL_MS       20u
#define QUEUES_MAX    4096u
#define OFFSETS_FIRST 4096u

/* What has come from one queue. */
struct queue_seen {
    char broker[ROUTE_NAME_MAX];
    int32_t id;
    int64_t last;
    uint64_t cap;
    uint8_t *bits; /* of offsets */
};

struct subscriber {
    const struct perf_options *o;
    struct figures *f;
    struct payload_source payload;
    pthread_mutex_t mutex; /* guards all below, and the figures */
    uint64_t duplicates, damaged, behind;
    uint32_t queue_count;
    struct queue_seen queues[QUEUES_MAX];
};

static struct queue_seen *queue_for(struct subscriber *s, const lmq_message *m)
{
    struct queue_seen *q = s->queues;

    for (uint32_t i = 0; i < s->queue_count; i++, q++)
        if (q->id == lmq_message_queue_id(m) && strcmp(q->broker, lmq_message_broker(m)) == 0)
            return q;
    if (s->queue_count == QUEUES_MAX)
        return NULL;
    snprintf(q->broker, sizeof(q->broker), "%s", lmq_message_broker(m));
    q->id = lmq_message_queue_id(m);
    q->last = -1;
    s->queue_count++;
    return q;
}

static void note_offset(struct subscriber *s, struct queue_seen *q, int64_t offset)
{
    uint64_t byte = (uint64_t)offset / 8;
    uint8_t bit = (uint8_t)(1u << (offset & 7));

    while (byte >= q->cap) {
        uint64_t cap = q->cap == 0 ? OFFSETS_FIRST : q->cap * 2;

        q->bits = realloc(q->bits, cap);
        ENSURE(q->bits != NULL);
        memset(q->bits + q->cap, 0, cap - q->cap);
        q->cap = cap;
    }
    s->duplicates += (q->bits[byte] & bit) != 0;
    q->bits[byte] |= bit;
    s->behind += offset < q->last;
    if (offset > q->last)
        q->last = offset;
}

static lmq_consume on_message(void *arg, const lmq_message *m)
{
    struct subscriber *s = arg;
    struct payload p = {0};
    size_t size;
    const char *body = lmq_message_body(m, &size);
    int rc = payload_read(&s->payload, (struct str){body, size}, &p);
    uint64_t now_us = clock_mono_us();
    struct queue_seen *q;

    pthread_mutex_lock(&s->mutex);
    s->damaged += rc == ERR_DAMAGED;
    q = queue_for(s, m);
    if (q != NULL)
        note_offset(s, q, lmq_message_queue_offset(m));
    figures_add(s->f, s->o, now_us, rc == 0 && now_us > p.sent_us ? now_us - p.sent_us : 0, 1, size);
    pthread_mutex_unlock(&s->mutex);
    return LMQ_CONSUMED;
}

static int start(struct subscriber *s, lmq_client **client, lmq_consumer **consumer, struct err *err)
{
    const struct perf_options *o = s->o;
    lmq_options *options = lmq_options_new();
    const char *names[] = {o->namesrv != NULL ? "namesrvAddr" : "brokerAddr", "consumeFromWhere"};
    const char *values[] = {o->namesrv != NULL ? o->namesrv : o->brokers,
                            o->from_end ? "CONSUME_FROM_LAST_OFFSET" : "CONSUME_FROM_FIRST_OFFSET"};
    lmq_error e;
    lmq_status st = LMQ_OK;

    for (size_t i = 0; st == LMQ_OK && i < sizeof(names) / sizeof(names[0]); i++)
        st = lmq_options_set(options, names[i], values[i], &e);
    if (st == LMQ_OK)
        st = lmq_client_new(options, client, &e);
    if (st == LMQ_OK)
        st = lmq_consumer_new(*client, o->group, LMQ_CLUSTERING, consumer, &e);
    if (st == LMQ_OK)
        st = lmq_consumer_subscribe(*consumer, o->topic, "*", &e);
    if (st == LMQ_OK)
        st = o->orderly ? lmq_consumer_start_orderly(*consumer, on_message, s, &e)
                        : lmq_consumer_start(*consumer, on_message, s, &e);
    lmq_options_free(options);
    return st == LMQ_OK ? 0 : err_set(err, ERR_IO, "%s", e.text);
}

static uint64_t messages_now(struct subscriber *s)
{
    uint64_t n;

    pthread_mutex_lock(&s->mutex);
    n = s->f->messages;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

static void print_counts(const struct subscriber *s)
{
    if (s->o->json)
        printf("{\"what\":\"subscribe\",\"messages\":%" PRIu64 ",\"duplicates\":%" PRIu64
               ",\"damaged\":%" PRIu64 ",\"outOfOrder\":%" PRIu64 "}\n",
               s->f->messages, s->duplicates, s->damaged, s->o->orderly ? s->behind : 0);
    else
        printf("subscribe: %" PRIu64 " messages, %" PRIu64 " repeated, %" PRIu64 " damaged, %" PRIu64
               " out of order\n",
               s->f->messages, s->duplicates, s->damaged, s->o->orderly ? s->behind : 0);
}

int subscribe_run(struct loop *loop, const struct perf_options *o, struct figures *f, struct err *err)
{
    struct subscriber *s = calloc(1, sizeof(*s));
    lmq_client *client = NULL;
    lmq_consumer *consumer = NULL;
    uint64_t stop_us;
    int rc;

    ENSURE(s != NULL);
    s->o = o;
    s->f = f;
    payload_init(&s->payload, BODY_MAX);
    ENSURE(pthread_mutex_init(&s->mutex, NULL) == 0);
    f->what = "subscribe";
    f->begin_us = clock_mono_us();
    stop_us = f->begin_us + o->duration_s * 1000000ull;
    rc = start(s, &client, &consumer, err);
    while (rc == 0 && clock_mono_us() < stop_us && (o->messages == 0 || messages_now(s) < o->messages))
        loop_turn(loop, POLL_MS);
    lmq_consumer_free(consumer);
    lmq_client_free(client);
    f->end_us = clock_mono_us();
    if (rc == 0) {
        figures_print(f, o, stdout);
        print_counts(s);
        if (s->damaged > 0 || (o->orderly && s->behind > 0))
            rc = err_set(err, ERR_DAMAGED, "messages came damaged or out of order");
        else if (o->messages > 0 && f->messages < o->messages)
            rc = err_set(err, ERR_TIMEOUT, "%" PRIu64 " of %" PRIu64 " messages came within %u s",
                         f->messages, o->messages, o->duration_s);
    }
    for (uint32_t i = 0; i < s->queue_count; i++)
        free(s->queues[i].bits);
    payload_release(&s->payload);
    pthread_mutex_destroy(&s->mutex);
    free(s);
    return rc;
}
