/*
 * mqperf_acks.c - acknowledgements in memory and in a file of text:
 *
 *   # mqperf acks 1 run=<hex> window=<sends in flight> unknown=<sends without an answer> producers=<number>
 *   <sequence numbers used by producer 0> <by producer 1> ...    (one line)
 *   <broker> <queue id> <offset> <producer> <sequence> <sent us> <acked us>
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tools/mqperf.h"

#define ACKS_FIRST 65536u

void acks_add(struct acks *a, const struct ack *ack)
{
    if (a->count == a->cap) {
        a->cap = a->cap == 0 ? ACKS_FIRST : a->cap * 2;
        a->at = realloc(a->at, a->cap * sizeof(a->at[0]));
        ENSURE(a->at != NULL);
    }
    a->at[a->count++] = *ack;
}

void acks_release(struct acks *a)
{
    free(a->at);
    memset(a, 0, sizeof(*a));
}

int acks_save(const struct acks *a, const struct place *p, const char *file, struct err *err)
{
    FILE *f = fopen(file, "w");
    bool bad;

    if (f == NULL)
        return err_set(err, ERR_IO, "cannot write %s: %s", file, strerror(errno));
    fprintf(f, "# mqperf acks 1 run=%016" PRIx64 " window=%u unknown=%" PRIu64 " producers=%u\n", a->run,
            a->window, a->unknown, a->producers);
    for (uint32_t i = 0; i < a->producers; i++)
        fprintf(f, "%" PRIu64 "%c", a->sent[i], i + 1 < a->producers ? ' ' : '\n');
    for (uint64_t i = 0; i < a->count; i++) {
        const struct ack *k = &a->at[i];
        const struct place_queue *q = &p->queues[k->queue];

        fprintf(f, "%s %u %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", p->groups[q->group].name,
                q->id, k->offset, k->producer, k->seq, k->sent_us, k->acked_us);
    }
    bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad)
        return err_set(err, ERR_IO, "cannot write %s: %s", file, strerror(errno));
    return 0;
}

static int queue_index(const struct place *p, const char *broker, uint32_t id, uint32_t *out)
{
    for (uint32_t i = 0; i < p->queue_count; i++)
        if (p->queues[i].id == id && strcmp(p->groups[p->queues[i].group].name, broker) == 0) {
            *out = i;
            return 0;
        }
    return ERR_NOT_FOUND;
}

int acks_load(struct acks *a, const struct place *p, const char *file, struct err *err)
{
    FILE *f = fopen(file, "r");
    char line[512], broker[ROUTE_NAME_MAX];
    uint64_t number = 2;
    int rc = 0;

    memset(a, 0, sizeof(*a));
    if (f == NULL)
        return err_set(err, ERR_IO, "cannot read %s: %s", file, strerror(errno));
    if (fscanf(f, "# mqperf acks 1 run=%" SCNx64 " window=%u unknown=%" SCNu64 " producers=%u\n", &a->run,
               &a->window, &a->unknown, &a->producers) != 4 ||
        a->producers > PERF_LANES_MAX)
        rc = err_set(err, ERR_MALFORMED, "%s is not a file of acks", file);
    for (uint32_t i = 0; rc == 0 && i < a->producers; i++)
        if (fscanf(f, "%" SCNu64 " ", &a->sent[i]) != 1)
            rc = err_set(err, ERR_MALFORMED, "%s is cut off", file);
    while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
        struct ack k;
        uint32_t id;

        number++;
        if (sscanf(line, "%127s %u %" SCNu64 " %u %" SCNu64 " %" SCNu64 " %" SCNu64, broker, &id, &k.offset,
                   &k.producer, &k.seq, &k.sent_us, &k.acked_us) != 7)
            rc = err_set(err, ERR_MALFORMED, "%s line %" PRIu64 " is no ack", file, number);
        else if (queue_index(p, broker, id, &k.queue) != 0)
            rc = err_set(err, ERR_NOT_FOUND, "%s line %" PRIu64 ": topic has no queue %u on broker %s now",
                         file, number, id, broker);
        else
            acks_add(a, &k);
    }
    fclose(f);
    if (rc != 0)
        acks_release(a);
    return rc;
}
