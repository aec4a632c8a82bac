/*
 * mqperf_verify.c - what was acknowledged against what can be read.
 *
 *   lost        an acknowledged message is not at its queue and offset, or another one is
 *   two acks    two acknowledgements name one place
 *   gap         offsets read from a queue are not dense
 *   damaged     a body is not what its head says
 *   phantom     a message nobody sent
 *   duplicate   a message delivered more than once: allowed when its sender had to ask again, counted
 *   real time   A was acknowledged before B was sent, yet B lies before A in the same queue
 *   producer    messages of a closed-loop producer lie in a queue in another order than they were sent
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "common/json.h"
#include "tools/mqperf.h"

#define VERDICT_MAX_BYTES 4096u

/* Which sequence numbers of each producer were delivered. */
struct delivered {
    uint8_t *bits[PERF_LANES_MAX];
};

static int compare_acks(const void *a, const void *b)
{
    const struct ack *x = a, *y = b;

    if (x->queue != y->queue)
        return x->queue < y->queue ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int compare_seen(const void *a, const void *b)
{
    const struct seen_message *x = a, *y = b;

    if (x->queue != y->queue)
        return x->queue < y->queue ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void complain(struct verdict *v, uint64_t *counter, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void complain(struct verdict *v, uint64_t *counter, const char *fmt, ...)
{
    va_list args;

    (*counter)++;
    if (v->first[0] != '\0')
        return;
    va_start(args, fmt);
    vsnprintf(v->first, sizeof(v->first), fmt, args);
    va_end(args);
}

static bool was_sent(const struct acks *acks, const struct seen_message *m)
{
    return m->producer < acks->producers && m->seq < acks->sent[m->producer];
}

static void check_density(const struct seen *seen, const struct place *p, const uint64_t *from,
                          struct verdict *v)
{
    for (uint64_t i = 0; i < seen->count; i++) {
        const struct seen_message *m = &seen->at[i];
        bool first = i == 0 || seen->at[i - 1].queue != m->queue;
        uint64_t expected = first ? from[m->queue] : seen->at[i - 1].offset + 1;

        if (m->offset != expected)
            complain(v, &v->gaps, "queue %u of %s: offset %" PRIu64 " follows where %" PRIu64 " is due",
                     p->queues[m->queue].id, p->groups[p->queues[m->queue].group].name, m->offset, expected);
    }
}

static void check_content(const struct acks *acks, const struct seen *seen, struct delivered *d,
                          struct verdict *v)
{
    for (uint64_t i = 0; i < seen->count; i++) {
        const struct seen_message *m = &seen->at[i];
        uint8_t *byte, bit = (uint8_t)(1u << (m->seq & 7));

        if (m->kind == SEEN_FOREIGN) {
            v->foreign++;
            continue;
        }
        if (m->kind == SEEN_DAMAGED) {
            complain(v, &v->damaged, "body at offset %" PRIu64 " of queue %u is damaged", m->offset,
                     m->queue);
            continue;
        }
        v->delivered++;
        if (!was_sent(acks, m)) {
            complain(v, &v->phantom,
                     "message %" PRIu64 " of producer %u at offset %" PRIu64 " was never sent", m->seq,
                     m->producer, m->offset);
            continue;
        }
        byte = &d->bits[m->producer][m->seq / 8];
        v->duplicates += (*byte & bit) != 0;
        *byte |= bit;
    }
}

/* Both sorted by place: walk them together. */
static void check_acked(const struct acks *acks, const struct seen *seen, const struct place *p,
                        struct verdict *v)
{
    uint64_t j = 0;

    for (uint64_t i = 0; i < acks->count; i++) {
        const struct ack *k = &acks->at[i];
        struct seen_message here = {.queue = k->queue, .offset = k->offset};

        if (i > 0 && compare_acks(&acks->at[i - 1], k) == 0)
            complain(v, &v->two_acks, "two acknowledgements name offset %" PRIu64 " of queue %u", k->offset,
                     p->queues[k->queue].id);
        while (j < seen->count && compare_seen(&seen->at[j], &here) < 0)
            j++;
        if (j < seen->count && compare_seen(&seen->at[j], &here) == 0 && seen->at[j].kind == SEEN_OURS &&
            seen->at[j].producer == k->producer && seen->at[j].seq == k->seq)
            continue;
        complain(v, &v->lost,
                 "message %" PRIu64 " of producer %u, acknowledged at offset %" PRIu64
                 " of queue %u of %s, is not there",
                 k->seq, k->producer, k->offset, p->queues[k->queue].id,
                 p->groups[p->queues[k->queue].group].name);
    }
}

/* From the back of each queue: the earliest acknowledgement of anything behind must be later than the
 * send. */
static void check_real_time(const struct acks *acks, struct verdict *v)
{
    const struct ack *earliest = NULL;

    for (uint64_t i = acks->count; i-- > 0;) {
        const struct ack *k = &acks->at[i];

        if (earliest != NULL && earliest->queue != k->queue)
            earliest = NULL;
        if (earliest != NULL && earliest->acked_us < k->sent_us)
            complain(v, &v->order_real_time,
                     "queue %u: offset %" PRIu64 " was sent %" PRIu64 " us after offset %" PRIu64
                     " was acknowledged",
                     k->queue, k->offset, k->sent_us - earliest->acked_us, earliest->offset);
        if (earliest == NULL || k->acked_us < earliest->acked_us)
            earliest = k;
    }
}

/* First deliveries of each producer, queue by queue. */
static void check_producers(const struct acks *acks, const struct seen *seen, struct verdict *v)
{
    uint64_t *highest = calloc(PERF_LANES_MAX, sizeof(*highest)); /* sequence number + 1 */
    struct delivered d = {{NULL}};

    ENSURE(highest != NULL);
    for (uint32_t i = 0; i < acks->producers; i++)
        d.bits[i] = calloc(acks->sent[i] / 8 + 1, 1);
    for (uint64_t i = 0; i < seen->count; i++) {
        const struct seen_message *m = &seen->at[i];
        uint8_t *byte, bit = (uint8_t)(1u << (m->seq & 7));

        if (i == 0 || seen->at[i - 1].queue != m->queue)
            memset(highest, 0, PERF_LANES_MAX * sizeof(*highest));
        if (m->kind != SEEN_OURS || !was_sent(acks, m))
            continue;
        byte = &d.bits[m->producer][m->seq / 8];
        if (*byte & bit)
            continue;
        *byte |= bit;
        if (m->seq + 1 < highest[m->producer])
            complain(v, &v->order_producer,
                     "queue %u: message %" PRIu64 " of producer %u lies behind its message %" PRIu64,
                     m->queue, m->seq, m->producer, highest[m->producer] - 1);
        else
            highest[m->producer] = m->seq + 1;
    }
    for (uint32_t i = 0; i < acks->producers; i++)
        free(d.bits[i]);
    free(highest);
}

bool verify(struct acks *acks, struct seen *seen, const struct place *p, const uint64_t *from,
            struct verdict *v)
{
    struct delivered *d = calloc(1, sizeof(*d));

    ENSURE(d != NULL);
    memset(v, 0, sizeof(*v));
    v->acked = acks->count;
    v->unknown = acks->unknown;
    if (acks->count > 0)
        qsort(acks->at, acks->count, sizeof(acks->at[0]), compare_acks);
    if (seen->count > 0)
        qsort(seen->at, seen->count, sizeof(seen->at[0]), compare_seen);
    for (uint32_t i = 0; i < acks->producers; i++) {
        d->bits[i] = calloc(acks->sent[i] / 8 + 1, 1);
        ENSURE(d->bits[i] != NULL);
    }
    check_acked(acks, seen, p, v);
    check_density(seen, p, from, v);
    check_content(acks, seen, d, v);
    check_real_time(acks, v);
    if (acks->window == 1)
        check_producers(acks, seen, v);
    for (uint32_t i = 0; i < acks->producers; i++)
        free(d->bits[i]);
    free(d);
    return v->first[0] == '\0';
}

static void print_json(const struct verdict *v, FILE *to)
{
    struct bld text = bld_of(VERDICT_MAX_BYTES);
    struct jw w = jw_of(&text);
    struct buf *b;
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"acked", v->acked},
        {"delivered", v->delivered},
        {"lost", v->lost},
        {"duplicates", v->duplicates},
        {"phantom", v->phantom},
        {"damaged", v->damaged},
        {"offsetGaps", v->gaps},
        {"twoAcks", v->two_acks},
        {"orderRealTime", v->order_real_time},
        {"orderProducer", v->order_producer},
        {"unknown", v->unknown},
        {"foreign", v->foreign},
    };

    jw_object(&w);
    jw_key(&w, "what");
    jw_cstr(&w, "verify");
    jw_key(&w, "good");
    jw_bool(&w, v->first[0] == '\0');
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        jw_key(&w, rows[i].key);
        jw_i64(&w, (int64_t)rows[i].value);
    }
    if (v->first[0] != '\0') {
        jw_key(&w, "first");
        jw_cstr(&w, v->first);
    }
    jw_end_object(&w);
    b = bld_take(&text);
    if (b != NULL)
        fprintf(to, "%.*s\n", (int)b->len, (const char *)b->data);
    buf_unref(b);
}

void verdict_print(const struct verdict *v, const struct perf_options *o, FILE *to)
{
    if (o->json) {
        print_json(v, to);
        return;
    }
    fprintf(to,
            "verify: %s: %" PRIu64 " acknowledged, %" PRIu64 " delivered, %" PRIu64 " lost, %" PRIu64
            " duplicated, %" PRIu64 " out of order, %" PRIu64 " phantom, %" PRIu64 " damaged, %" PRIu64
            " offset gaps, %" PRIu64 " unknown\n",
            v->first[0] == '\0' ? "good" : "WRONG", v->acked, v->delivered, v->lost + v->two_acks,
            v->duplicates, v->order_real_time + v->order_producer, v->phantom, v->damaged, v->gaps,
            v->unknown);
    if (v->first[0] != '\0')
        fprintf(to, "verify: first: %s\n", v->first);
}
