/*
 * cache.h - the newest records in memory: a ring of entries with consecutive indexes, the last of which is
 * the log's last.
 *
 * Loop thread only. Each entry owns one reference on its buffer.
 */
#ifndef DLEDGER_STORE_CACHE_H
#define DLEDGER_STORE_CACHE_H

#include "dledger/store/store.h"

struct cache {
    struct dl_entry *ring; /* entry of index i at ring[i & (cap - 1)] */
    uint32_t cap, count;
    dl_index_t first;
    uint64_t bytes; /* charged: records and a bit for each */
};

void cache_release(struct cache *c);
/* Take e, whose index follows the last one (any index when empty). The reference on e->buf is handed over. */
void cache_push(struct cache *c, const struct dl_entry *e);
/* Lent until the next change; NULL when it is not here. */
const struct dl_entry *cache_get(const struct cache *c, dl_index_t index);
/* The entry that holds the byte at `pos`; NULL when none does. */
const struct dl_entry *cache_find(const struct cache *c, dl_pos_t pos);
/* Drop entries from `from` on. */
void cache_cut(struct cache *c, dl_index_t from);
/* Drop entries from the front while more than max_bytes are charged and the entry is at most `until`. */
void cache_evict(struct cache *c, uint64_t max_bytes, dl_index_t until);

#endif
