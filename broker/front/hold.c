/*
 * hold.c - see hold.h. Held pulls hang under their queue, and under the connection they came over; arrivals
 * only mark the queue, so that a burst of entries in one turn wakes each pull once.
 */
#include "broker/front/hold.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "broker/front/pull.h"
#include "common/conn.h"
#include "common/log.h"

#define HOLD_SWEEP_MS 100u

TAILQ_HEAD(pull_list, pull);

struct held_queue {
    UT_hash_handle hh;
    TAILQ_ENTRY(held_queue) marked_link;
    struct pull_list pulls;
    bool marked;
    uint32_t key_len;
    char key[]; /* queue id, topic */
};

/* What came over one connection, so that its end looks at nothing else. */
struct held_conn {
    UT_hash_handle hh;
    uint64_t conn_id;
    LIST_HEAD(, pull) pulls;
};

struct hold {
    struct front *f;
    struct held_queue *queues;
    struct held_conn *conns; /* by conn_id; none without pulls */
    TAILQ_HEAD(, held_queue) marked;
    uint64_t count, bytes;
    struct timer sweep;
};

static uint32_t make_key(char *key, const char *topic, uint32_t queue_id)
{
    size_t len = strlen(topic);

    memcpy(key, &queue_id, 4);
    memcpy(key + 4, topic, len);
    return (uint32_t)(4 + len);
}

static struct held_queue *find(const struct hold *h, const char *topic, uint32_t queue_id)
{
    char key[4 + TOPIC_NAME_MAX + 1];
    uint32_t len = make_key(key, topic, queue_id);
    struct held_queue *q;

    HASH_FIND(hh, h->queues, key, len, q);
    return q;
}

static void conn_join(struct hold *h, struct pull *p, uint64_t conn_id)
{
    struct held_conn *c;

    HASH_FIND(hh, h->conns, &conn_id, sizeof(conn_id), c);
    if (c == NULL) {
        c = calloc(1, sizeof(*c));
        ENSURE(c != NULL);
        c->conn_id = conn_id;
        HASH_ADD(hh, h->conns, conn_id, sizeof(c->conn_id), c);
    }
    LIST_INSERT_HEAD(&c->pulls, p, of_conn);
    p->held_of = c;
}

static void conn_leave(struct hold *h, struct pull *p)
{
    struct held_conn *c = p->held_of;

    if (c == NULL)
        return;
    LIST_REMOVE(p, of_conn);
    p->held_of = NULL;
    if (!LIST_EMPTY(&c->pulls))
        return;
    HASH_DEL(h->conns, c);
    free(c);
}

void hold_add(struct hold *h, struct pull *p)
{
    struct held_queue *q = find(h, p->topic, p->queue_id);
    uint64_t conn_id = gate_conn_id(p->kept);

    if (conn_id != 0 && conn_by_id(h->f->loop, conn_id) == NULL) { /* it has closed while bytes were read */
        pull_drop(p);
        return;
    }
    if (h->count >= HOLD_MAX || h->bytes >= HOLD_MAX_BYTES) {
        LOG_WARN_EVERY(10000, "too many pulls to hold", "pulls=%llu bytes=%llu", (unsigned long long)h->count,
                       (unsigned long long)h->bytes);
        pull_refuse(p);
        return;
    }
    if (q == NULL) {
        q = calloc(1, sizeof(*q) + 4 + TOPIC_NAME_MAX + 1);
        ENSURE(q != NULL);
        TAILQ_INIT(&q->pulls);
        q->key_len = make_key(q->key, p->topic, p->queue_id);
        HASH_ADD_KEYPTR(hh, h->queues, q->key, q->key_len, q);
    }
    if (h->count++ == 0)
        timer_start(&h->sweep, HOLD_SWEEP_MS);
    h->bytes += pull_bytes(p);
    TAILQ_INSERT_TAIL(&q->pulls, p, link);
    if (conn_id != 0)
        conn_join(h, p, conn_id);
}

static void forget(struct hold *h, struct pull *p)
{
    h->count--;
    h->bytes -= pull_bytes(p);
    conn_leave(h, p);
}

static void queue_release(struct hold *h, struct held_queue *q)
{
    if (!TAILQ_EMPTY(&q->pulls) || q->marked)
        return;
    HASH_DEL(h->queues, q);
    free(q);
}

void hold_on_arrival(struct hold *h, const struct topic *t, uint32_t queue_id, uint64_t max_offset)
{
    struct held_queue *q;

    (void)max_offset;
    if (h->count == 0)
        return;
    q = find(h, t->name, queue_id);
    if (q == NULL || q->marked)
        return;
    q->marked = true;
    TAILQ_INSERT_TAIL(&h->marked, q, marked_link);
}

static void take_all(struct hold *h, struct held_queue *q, struct pull_list *out)
{
    struct pull *p;

    TAILQ_CONCAT(out, &q->pulls, link);
    TAILQ_FOREACH(p, out, link)
        forget(h, p);
}

void hold_run(struct hold *h)
{
    struct held_queue *q;

    while ((q = TAILQ_FIRST(&h->marked)) != NULL) {
        struct pull_list run = TAILQ_HEAD_INITIALIZER(run);
        struct pull *p;

        TAILQ_REMOVE(&h->marked, q, marked_link);
        q->marked = false;
        take_all(h, q, &run);
        queue_release(h, q);
        while ((p = TAILQ_FIRST(&run)) != NULL) {
            TAILQ_REMOVE(&run, p, link);
            pull_run(p);
        }
    }
}

static void on_sweep(void *arg)
{
    struct hold *h = arg;
    uint64_t now_ms = loop_now_ms(h->f->loop);
    struct held_queue *q, *next_queue;

    HASH_ITER(hh, h->queues, q, next_queue) {
        struct pull *p = TAILQ_FIRST(&q->pulls), *next;

        for (; p != NULL; p = next) {
            next = TAILQ_NEXT(p, link);
            if (now_ms < p->hold_until_ms)
                continue;
            TAILQ_REMOVE(&q->pulls, p, link);
            forget(h, p);
            pull_expire(p);
        }
        queue_release(h, q);
    }
    if (h->count > 0)
        timer_start(&h->sweep, HOLD_SWEEP_MS);
}

static void empty(struct hold *h, void (*give)(struct pull *p))
{
    struct pull_list all = TAILQ_HEAD_INITIALIZER(all);
    struct held_queue *q, *next;
    struct pull *p;

    HASH_ITER(hh, h->queues, q, next) {
        take_all(h, q, &all);
        if (q->marked)
            TAILQ_REMOVE(&h->marked, q, marked_link);
        q->marked = false;
        while ((p = TAILQ_FIRST(&all)) != NULL) {
            TAILQ_REMOVE(&all, p, link);
            give(p);
        }
        queue_release(h, q);
    }
}

void hold_on_close(struct hold *h, uint64_t conn_id)
{
    struct held_conn *c;
    struct pull *p, *next;

    HASH_FIND(hh, h->conns, &conn_id, sizeof(conn_id), c);
    for (p = c != NULL ? LIST_FIRST(&c->pulls) : NULL; p != NULL; p = next) {
        struct held_queue *q = find(h, p->topic, p->queue_id);

        next = LIST_NEXT(p, of_conn);
        TAILQ_REMOVE(&q->pulls, p, link);
        forget(h, p); /* the last one takes c with it */
        pull_drop(p);
        queue_release(h, q);
    }
}

void hold_on_not_serving(struct hold *h)
{
    empty(h, pull_return);
}

uint64_t hold_count(const struct hold *h)
{
    return h->count;
}

struct hold *hold_new(struct front *f)
{
    struct hold *h = calloc(1, sizeof(*h));

    ENSURE(h != NULL);
    h->f = f;
    TAILQ_INIT(&h->marked);
    timer_init(&h->sweep, f->loop, on_sweep, h);
    return h;
}

void hold_free(struct hold *h)
{
    empty(h, pull_expire);
    timer_release(&h->sweep);
    free(h);
}
