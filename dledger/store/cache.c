/*
 * cache.c - the newest records in memory. See cache.h.
 */
#include "dledger/store/cache.h"

#include <stdlib.h>

#define CACHE_START        64u
#define CACHE_ENTRY_CHARGE ((uint32_t)sizeof(struct dl_entry) + (uint32_t)sizeof(struct buf))

static struct dl_entry *slot_of(const struct cache *c, dl_index_t index)
{
    return &c->ring[index & (c->cap - 1)];
}

static void cache_grow(struct cache *c)
{
    uint32_t cap = c->cap ? c->cap * 2 : CACHE_START;
    struct dl_entry *ring = malloc(cap * sizeof(*ring));
    ENSURE(ring != NULL);
    for (uint32_t i = 0; i < c->count; i++)
        ring[(c->first + i) & (cap - 1)] = *slot_of(c, c->first + i);
    free(c->ring);
    c->ring = ring;
    c->cap = cap;
}

static uint64_t charge(const struct dl_entry *e)
{
    return e->len + CACHE_ENTRY_CHARGE;
}

void cache_release(struct cache *c)
{
    cache_cut(c, 0);
    free(c->ring);
    *c = (struct cache){0};
}

void cache_push(struct cache *c, const struct dl_entry *e)
{
    if (c->count == 0)
        c->first = e->index;
    ENSURE(e->index == c->first + c->count);
    if (c->count == c->cap)
        cache_grow(c);
    *slot_of(c, e->index) = *e;
    c->count++;
    c->bytes += charge(e);
}

const struct dl_entry *cache_get(const struct cache *c, dl_index_t index)
{
    return c->count > 0 && index >= c->first && index - c->first < c->count ? slot_of(c, index) : NULL;
}

const struct dl_entry *cache_find(const struct cache *c, dl_pos_t pos)
{
    if (c->count == 0 || pos < slot_of(c, c->first)->pos)
        return NULL;
    uint32_t lo = 0, hi = c->count; /* the last entry whose position is not above pos */
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (slot_of(c, c->first + mid)->pos <= pos)
            lo = mid;
        else
            hi = mid;
    }
    const struct dl_entry *e = slot_of(c, c->first + lo);
    return pos - e->pos < e->len ? e : NULL;
}

void cache_cut(struct cache *c, dl_index_t from)
{
    while (c->count > 0 && c->first + c->count - 1 >= from) {
        struct dl_entry *e = slot_of(c, c->first + c->count - 1);
        c->bytes -= charge(e);
        buf_unref(e->buf);
        c->count--;
    }
}

void cache_evict(struct cache *c, uint64_t max_bytes, dl_index_t until)
{
    while (c->count > 0 && c->bytes > max_bytes && c->first <= until) {
        struct dl_entry *e = slot_of(c, c->first);
        c->bytes -= charge(e);
        buf_unref(e->buf);
        c->first++;
        c->count--;
    }
}
