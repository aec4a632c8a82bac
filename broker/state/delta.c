/*
 * delta.c - gathers changes between two flushes, so that a key written a thousand times is put once.
 */
#include "broker/state/delta.h"

#include "broker/state/hash.h"

struct delta_entry {
    UT_hash_handle hh;
    uint32_t key_len, value_len, value_cap;
    bool deleted;
    uint8_t *value;
    uint8_t key[];
};

static struct delta_entry *entry_of(struct delta *d, const struct key *key)
{
    struct delta_entry *e = NULL;
    HASH_FIND(hh, d->entries, key->bytes, key->len, e);
    if (e)
        return e;
    e = mem_new(1, sizeof *e + key->len);
    e->key_len = key->len;
    memcpy(e->key, key->bytes, key->len);
    HASH_ADD_KEYPTR(hh, d->entries, e->key, e->key_len, e);
    d->bytes += key->len;
    return e;
}

void delta_put(struct delta *d, const struct key *key, const void *fields, size_t len)
{
    struct delta_entry *e = entry_of(d, key);
    uint32_t need = (uint32_t)len + RECORD_CRC_BYTES;
    if (e->value_cap < need) {
        e->value = mem_resize(e->value, need, 1);
        d->bytes += need - e->value_cap;
        e->value_cap = need;
    }
    if (len > 0)
        memcpy(e->value, fields, len);
    put_le32(e->value + len, record_crc(key->bytes, key->len, fields, len));
    e->value_len = need;
    e->deleted = false;
}

void delta_delete(struct delta *d, const struct key *key)
{
    entry_of(d, key)->deleted = true;
}

void delta_block(struct delta *d, uint32_t slot, struct buf *data)
{
    if (d->block_count == d->block_cap) {
        d->block_cap = d->block_cap ? d->block_cap * 2 : 16;
        d->blocks = mem_resize(d->blocks, d->block_cap, sizeof *d->blocks);
    }
    d->blocks[d->block_count++] = (struct delta_block){slot, data};
    d->bytes += CHECKPOINT_BLOCK_BYTES;
}

#define QUEUE_KEY_BYTES 7u
#define QUEUE_HEAD      (QUEUE_KEY_BYTES + 4)

uint8_t *delta_queue(struct delta *d, const struct key *key, uint32_t len)
{
    size_t need = QUEUE_HEAD + len + RECORD_CRC_BYTES;
    ENSURE(key->len == QUEUE_KEY_BYTES);
    if (d->queues_cap - d->queues_len < need) {
        d->queues_cap = 2 * d->queues_cap + need;
        d->queues = mem_resize(d->queues, d->queues_cap, 1);
    }
    uint8_t *p = d->queues + d->queues_len;
    memcpy(p, key->bytes, QUEUE_KEY_BYTES);
    put_le32(p + QUEUE_KEY_BYTES, len + RECORD_CRC_BYTES);
    d->queues_len += need;
    d->queue_count++;
    return p + QUEUE_HEAD;
}

bool delta_empty(const struct delta *d)
{
    return !d->entries && d->block_count == 0 && d->queue_count == 0;
}

static uint32_t puts_of_entries(const struct delta *d, struct checkpoint_put *puts)
{
    uint32_t n = 0;
    for (const struct delta_entry *e = d->entries; e; e = e->hh.next) {
        puts[n].key = (struct str){(const char *)e->key, e->key_len};
        if (!e->deleted)
            puts[n].value = (struct str){(const char *)e->value, e->value_len};
        n++;
    }
    return n;
}

static uint32_t puts_of_queues(struct delta *d, struct checkpoint_put *puts)
{
    uint8_t *p = d->queues;
    for (uint32_t i = 0; i < d->queue_count; i++) {
        uint32_t len = get_le32(p + QUEUE_KEY_BYTES);
        uint8_t *value = p + QUEUE_HEAD;
        put_le32(value + len - RECORD_CRC_BYTES,
                 record_crc(p, QUEUE_KEY_BYTES, value, len - RECORD_CRC_BYTES));
        puts[i].key = (struct str){(const char *)p, QUEUE_KEY_BYTES};
        puts[i].value = (struct str){(const char *)value, len};
        p = value + len;
    }
    return d->queue_count;
}

int delta_write(struct delta *d, struct checkpoint *c, dl_index_t applied, dl_term_t term)
{
    uint32_t count = HASH_COUNT(d->entries) + d->queue_count;
    struct checkpoint_put *puts = mem_new(count, sizeof *puts);
    struct checkpoint_block *blocks = mem_new(d->block_count, sizeof *blocks);
    uint32_t n = puts_of_entries(d, puts);
    n += puts_of_queues(d, puts + n);
    ENSURE(n == count);
    for (uint32_t i = 0; i < d->block_count; i++)
        blocks[i] = (struct checkpoint_block){d->blocks[i].slot, d->blocks[i].data->data};
    struct checkpoint_batch batch = {puts, count, blocks, d->block_count, applied, term};
    int rc = c->write(c->impl, &batch);
    free(puts);
    free(blocks);
    return rc;
}

void delta_release(struct delta *d)
{
    struct delta_entry *e, *next;
    HASH_ITER(hh, d->entries, e, next) {
        HASH_DELETE(hh, d->entries, e);
        free(e->value);
        free(e);
    }
    for (uint32_t i = 0; i < d->block_count; i++)
        buf_unref(d->blocks[i].data);
    free(d->blocks);
    free(d->queues);
    *d = (struct delta){0};
}
