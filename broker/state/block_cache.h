/*
 * block_cache.h - full index blocks in memory: the least recently used goes first, except those not yet
 * written. Private to broker/state; loop thread.
 */
#ifndef BROKER_STATE_BLOCK_CACHE_H
#define BROKER_STATE_BLOCK_CACHE_H

#include <stdbool.h>

#include "common/buf.h"

struct block_cache;

struct block_cache *block_cache_new(uint64_t blocks_max);
void block_cache_free(struct block_cache *c);
/* Adds its own reference. A pinned block stays until block_cache_unpin: the disk does not have it yet. */
void block_cache_add(struct block_cache *c, uint32_t slot, struct buf *data, bool pinned);
void block_cache_unpin(struct block_cache *c, uint32_t slot);
/* Lent until the next add or unpin; NULL when it is not here. */
const uint8_t *block_cache_get(struct block_cache *c, uint32_t slot);

#endif
