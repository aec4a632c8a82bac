/*
 * delta.h - what apply changed since the last flush: records by key (the last write of a key wins), full
 * index blocks, and the records of queues, which are made when the flush begins. Private to broker/state;
 * loop thread while it is filled, state thread while it is written.
 */
#ifndef BROKER_STATE_DELTA_H
#define BROKER_STATE_DELTA_H

#include "broker/state/checkpoint.h"
#include "broker/state/record.h"

struct delta_entry;
struct delta_block {
    uint32_t slot;
    struct buf *data; /* one reference */
};

struct delta {
    struct delta_entry *entries;
    struct delta_block *blocks;
    uint32_t block_count, block_cap;
    uint64_t bytes;  /* of keys, values and blocks */
    uint8_t *queues; /* key, u32 length, value, ... */
    size_t queues_len, queues_cap;
    uint32_t queue_count;
};

/* Value bytes are copied; the checksum is put behind them. */
void delta_put(struct delta *d, const struct key *key, const void *fields, size_t len);
void delta_delete(struct delta *d, const struct key *key);
/* Takes over one reference. */
void delta_block(struct delta *d, uint32_t slot, struct buf *data);
/* Record of a queue: room for len bytes of fields, lent until the next call. A flush may have 200,000 of
 * them, so they are neither looked up nor summed here: each key comes once, the checksum is for the state
 * thread. */
uint8_t *delta_queue(struct delta *d, const struct key *key, uint32_t len);
bool delta_empty(const struct delta *d);
/* Write everything with the applied index: 0 or the checkpoint's error. */
int delta_write(struct delta *d, struct checkpoint *c, dl_index_t applied, dl_term_t term) MUSTCHECK;
void delta_release(struct delta *d);

#endif
