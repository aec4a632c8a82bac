/*
 * qindex.h - one queue of a topic: how many messages it has, the rows of its tail, where its full blocks are.
 * Private to broker/state; loop thread.
 *
 * Invariants: max % ROWS_PER_BLOCK rows are in the tail, max / ROWS_PER_BLOCK blocks are in the directory.
 * Positions ascend from row to row, and store_ms never falls: when a new leader's clock is behind, a row gets
 * the store time of the row before, so that a search by time finds the first message it must find.
 */
#ifndef BROKER_STATE_QINDEX_H
#define BROKER_STATE_QINDEX_H

#include "broker/state/checkpoint.h"
#include "broker/state/state.h"

#define ROWS_PER_BLOCK      170u
#define ROW_BYTES           24u
#define BLOCK_TRAILER_AT    (ROWS_PER_BLOCK * ROW_BYTES) /* queue uid u64, block number u32, CRC32C u32 */
#define QUEUE_RECORD_FIXED  24u
#define BLOCK_RECORD_FIELDS 20u

_Static_assert(sizeof(struct index_row) == ROW_BYTES, "rows in memory have the layout of rows on disk");
_Static_assert(BLOCK_TRAILER_AT + 16 == CHECKPOINT_BLOCK_BYTES, "a block is full");

struct block_ref {
    uint64_t position; /* of its first row */
    uint64_t store_ms; /* of its last row */
    uint32_t slot;
};

struct queue {
    uint64_t max;      /* offset of the next message */
    uint64_t digest;   /* over all rows there ever were */
    uint64_t store_ms; /* of the last row */
    struct index_row *tail;
    struct block_ref *blocks;
    bool dirty; /* named in state.dirty_queues */
};

struct topic_rec;

static inline uint64_t queue_uid(uint32_t topic_uid, uint32_t queue_id)
{
    return (uint64_t)topic_uid << 16 | queue_id;
}

/* Give the row the next offset of its queue. */
void queue_append(struct state *s, struct topic_rec *t, uint32_t queue_id, struct index_row row);
/* Record the queue as it is now. */
void queue_put(struct state *s, const struct topic_rec *t, uint32_t queue_id);
/* Delete its records and free what it holds. */
void queue_delete(struct state *s, struct topic_rec *t, uint32_t queue_id);
void queue_release(struct queue *q);
uint64_t queue_digest(const struct queue *q);

/* Loading: the queue's blocks in order, then its own record, which says how many there must be. */
int queue_load_block(struct state *s, struct rd *key, struct rd *value);
int queue_load(struct state *s, struct rd *key, struct rd *value);
/* After loading: were there blocks without the queue's record? */
static inline bool queue_incomplete(const struct queue *q)
{
    return q->max > 0 && q->digest == 0;
}

/* Does this block belong to (queue, number), unharmed? */
bool block_valid(const uint8_t *data, uint64_t uid, uint32_t number);
/* The queue, or NULL. */
struct queue *queue_find(const struct state *s, struct str topic, uint32_t queue_id, struct topic_rec **t);

#endif
