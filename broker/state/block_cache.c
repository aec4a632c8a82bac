/*
 * block_cache.c - a table by slot, and a list of those that may go, most recently used first.
 */
#include "broker/state/block_cache.h"

#include <utlist.h>

#include "broker/state/hash.h"

struct block {
    uint32_t slot;
    bool pinned; /* not in the list */
    struct buf *data;
    struct block *prev, *next;
    UT_hash_handle hh;
};

struct block_cache {
    struct block *table, *recent;
    uint64_t count, max; /* of the list */
};

struct block_cache *block_cache_new(uint64_t blocks_max)
{
    struct block_cache *c = mem_new(1, sizeof *c);
    c->max = blocks_max;
    return c;
}

void block_cache_free(struct block_cache *c)
{
    struct block *b, *next;
    HASH_ITER(hh, c->table, b, next) {
        HASH_DELETE(hh, c->table, b);
        buf_unref(b->data);
        free(b);
    }
    free(c);
}

static void list_add(struct block_cache *c, struct block *b)
{
    DL_PREPEND(c->recent, b);
    if (++c->count <= c->max)
        return;
    struct block *oldest = c->recent->prev;
    DL_DELETE(c->recent, oldest);
    c->count--;
    HASH_DELETE(hh, c->table, oldest);
    buf_unref(oldest->data);
    free(oldest);
}

void block_cache_add(struct block_cache *c, uint32_t slot, struct buf *data, bool pinned)
{
    struct block *b;
    HASH_FIND(hh, c->table, &slot, sizeof slot, b);
    if (b)
        return; /* two readers asked for the same block */
    b = mem_new(1, sizeof *b);
    b->slot = slot;
    b->pinned = pinned;
    b->data = buf_ref(data);
    HASH_ADD(hh, c->table, slot, sizeof b->slot, b);
    if (!pinned)
        list_add(c, b);
}

void block_cache_unpin(struct block_cache *c, uint32_t slot)
{
    struct block *b;
    HASH_FIND(hh, c->table, &slot, sizeof slot, b);
    ENSURE(b != NULL);
    ENSURE(b->pinned);
    b->pinned = false;
    list_add(c, b);
}

const uint8_t *block_cache_get(struct block_cache *c, uint32_t slot)
{
    struct block *b;
    HASH_FIND(hh, c->table, &slot, sizeof slot, b);
    if (!b)
        return NULL;
    if (!b->pinned && b != c->recent) {
        DL_DELETE(c->recent, b);
        DL_PREPEND(c->recent, b);
    }
    return b->data->data;
}
