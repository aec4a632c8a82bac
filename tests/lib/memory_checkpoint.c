/*
 * memory_checkpoint.c - pairs in a hash table, sorted when scanned; blocks in an array.
 */
#include "tests/lib/memory_checkpoint.h"

#include <stdlib.h>
#include <uthash.h>

struct pair {
    UT_hash_handle hh;
    size_t key_len, value_len;
    uint8_t *value;
    uint8_t key[];
};

struct memory_checkpoint {
    struct pair *pairs;
    uint8_t **blocks; /* by slot; NULL where nothing was written */
    uint32_t block_count;
    dl_index_t applied;
    dl_term_t applied_term;
    uint64_t writes, bytes;
};

static struct pair *pair_find(struct memory_checkpoint *m, struct str key)
{
    struct pair *p;
    HASH_FIND(hh, m->pairs, key.p, key.len, p);
    return p;
}

static void pair_remove(struct memory_checkpoint *m, struct pair *p)
{
    HASH_DELETE(hh, m->pairs, p);
    free(p->value);
    free(p);
}

static void pair_put(struct memory_checkpoint *m, struct str key, struct str value)
{
    struct pair *p = pair_find(m, key);
    if (!p) {
        p = calloc(1, sizeof *p + key.len);
        ENSURE(p != NULL);
        p->key_len = key.len;
        memcpy(p->key, key.p, key.len);
        HASH_ADD_KEYPTR(hh, m->pairs, p->key, p->key_len, p);
    }
    p->value = realloc(p->value, value.len + 1);
    ENSURE(p->value != NULL);
    memcpy(p->value, value.p, value.len);
    p->value_len = value.len;
    m->bytes += key.len + value.len;
}

static void block_put(struct memory_checkpoint *m, const struct checkpoint_block *block)
{
    ENSURE(block->slot >= m->block_count); /* ascending, each once */
    m->blocks = realloc(m->blocks, (block->slot + 1) * sizeof *m->blocks);
    ENSURE(m->blocks != NULL);
    while (m->block_count < block->slot)
        m->blocks[m->block_count++] = NULL;
    uint8_t *copy = malloc(CHECKPOINT_BLOCK_BYTES);
    ENSURE(copy != NULL);
    memcpy(copy, block->data, CHECKPOINT_BLOCK_BYTES);
    m->blocks[m->block_count++] = copy;
    m->bytes += CHECKPOINT_BLOCK_BYTES;
}

static int memory_write(void *impl, const struct checkpoint_batch *batch)
{
    struct memory_checkpoint *m = impl;
    ENSURE(batch->applied >= m->applied);
    for (uint32_t i = 0; i < batch->block_count; i++)
        block_put(m, &batch->blocks[i]);
    for (uint32_t i = 0; i < batch->put_count; i++) {
        const struct checkpoint_put *put = &batch->puts[i];
        struct pair *p = put->value.p ? NULL : pair_find(m, put->key);
        if (put->value.p)
            pair_put(m, put->key, put->value);
        else if (p)
            pair_remove(m, p);
    }
    m->applied = batch->applied;
    m->applied_term = batch->applied_term;
    m->writes++;
    return 0;
}

static int memory_applied(void *impl, dl_index_t *index, dl_term_t *term)
{
    const struct memory_checkpoint *m = impl;
    *index = m->applied;
    *term = m->applied_term;
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct pair *x = *(struct pair *const *)a, *y = *(struct pair *const *)b;
    size_t len = x->key_len < y->key_len ? x->key_len : y->key_len;
    int order = memcmp(x->key, y->key, len);
    if (order == 0)
        order = x->key_len < y->key_len ? -1 : x->key_len > y->key_len;
    return order;
}

static int memory_scan(void *impl, struct str prefix, int (*fn)(void *arg, struct str key, struct str value),
                       void *arg)
{
    struct memory_checkpoint *m = impl;
    struct pair **found = calloc(HASH_COUNT(m->pairs) + 1, sizeof *found);
    ENSURE(found != NULL);
    size_t n = 0;
    for (struct pair *p = m->pairs; p; p = p->hh.next)
        if (p->key_len >= prefix.len && memcmp(p->key, prefix.p, prefix.len) == 0)
            found[n++] = p;
    qsort(found, n, sizeof *found, by_key);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = fn(arg, (struct str){(const char *)found[i]->key, found[i]->key_len},
                (struct str){(const char *)found[i]->value, found[i]->value_len});
    free(found);
    return rc;
}

static int memory_get(void *impl, struct str key, struct bld *value)
{
    struct pair *p = pair_find(impl, key);
    if (!p)
        return ERR_NOT_FOUND;
    bld_bytes(value, p->value, p->value_len);
    return value->full ? ERR_TOO_LARGE : 0;
}

static int memory_read_block(void *impl, uint32_t slot, uint8_t *data)
{
    const uint8_t *block = memory_checkpoint_block(impl, slot);
    if (!block)
        return ERR_NOT_FOUND;
    memcpy(data, block, CHECKPOINT_BLOCK_BYTES);
    return 0;
}

static uint32_t memory_next_slot(void *impl)
{
    const struct memory_checkpoint *m = impl;
    return m->block_count;
}

static void memory_close(void *impl)
{
    (void)impl;
}

struct memory_checkpoint *memory_checkpoint_new(void)
{
    struct memory_checkpoint *m = calloc(1, sizeof *m);
    ENSURE(m != NULL);
    return m;
}

void memory_checkpoint_wipe(struct memory_checkpoint *m)
{
    struct pair *p, *next;
    HASH_ITER(hh, m->pairs, p, next)
        pair_remove(m, p);
    for (uint32_t i = 0; i < m->block_count; i++)
        free(m->blocks[i]);
    free(m->blocks);
    *m = (struct memory_checkpoint){0};
}

void memory_checkpoint_free(struct memory_checkpoint *m)
{
    if (!m)
        return;
    memory_checkpoint_wipe(m);
    free(m);
}

struct checkpoint memory_checkpoint_door(struct memory_checkpoint *m)
{
    return (struct checkpoint){
        .impl = m,
        .write = memory_write,
        .applied = memory_applied,
        .scan = memory_scan,
        .get = memory_get,
        .read_block = memory_read_block,
        .next_slot = memory_next_slot,
        .close = memory_close,
    };
}

uint64_t memory_checkpoint_writes(const struct memory_checkpoint *m)
{
    return m->writes;
}

uint64_t memory_checkpoint_bytes(const struct memory_checkpoint *m)
{
    return m->bytes;
}

uint8_t *memory_checkpoint_value(struct memory_checkpoint *m, struct str key, size_t *len)
{
    struct pair *p = pair_find(m, key);
    *len = p ? p->value_len : 0;
    return p ? p->value : NULL;
}

uint8_t *memory_checkpoint_block(struct memory_checkpoint *m, uint32_t slot)
{
    return slot < m->block_count ? m->blocks[slot] : NULL;
}
