/*
 * delta.h - what apply changed since the last flush: records by key (the last write of a key wins) and full
 * index blocks. Private to broker/state; loop thread while it is filled, state thread while it is written.
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
    uint64_t bytes; /* of keys, values and blocks */
};

/* Value bytes are copied; the checksum is put behind them. */
void delta_put(struct delta *d, const struct key *key, const void *fields, size_t len);
void delta_delete(struct delta *d, const struct key *key);
/* Takes over one reference. */
void delta_block(struct delta *d, uint32_t slot, struct buf *data);
bool delta_empty(const struct delta *d);
/* Write everything with the applied index: 0 or the checkpoint's error. */
int delta_write(const struct delta *d, struct checkpoint *c, dl_index_t applied, dl_term_t term) MUSTCHECK;
void delta_release(struct delta *d);

#endif
