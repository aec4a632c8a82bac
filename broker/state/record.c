/*
 * record.c - builds and checks keys and values of the checkpoint.
 */
#include "broker/state/record.h"

#include <stdio.h>

#include "common/crc.h"

static struct wr key_begin(struct key *k, enum record_table table)
{
    struct wr w = wr_of(k->bytes, sizeof k->bytes);
    wr_u8(&w, (uint8_t)table);
    return w;
}

static void key_end(struct key *k, const struct wr *w)
{
    ENSURE(!w->full);
    k->len = (uint32_t)(w->p - k->bytes);
}

struct key key_meta(void)
{
    struct key k;
    struct wr w = key_begin(&k, RECORD_META);
    key_end(&k, &w);
    return k;
}

struct key key_named(enum record_table table, struct str name)
{
    struct key k;
    struct wr w = key_begin(&k, table);
    wr_bytes(&w, name.p, name.len);
    key_end(&k, &w);
    return k;
}

static struct wr key_begin_queue(struct key *k, enum record_table table, uint32_t uid, uint32_t queue_id)
{
    struct wr w = key_begin(k, table);
    ENSURE(queue_id <= UINT16_MAX);
    wr_be32(&w, uid);
    wr_be16(&w, (uint16_t)queue_id);
    return w;
}

struct key key_queue(uint32_t uid, uint32_t queue_id)
{
    struct key k;
    struct wr w = key_begin_queue(&k, RECORD_QUEUE, uid, queue_id);
    key_end(&k, &w);
    return k;
}

struct key key_block(uint32_t uid, uint32_t queue_id, uint32_t block)
{
    struct key k;
    struct wr w = key_begin_queue(&k, RECORD_BLOCK, uid, queue_id);
    wr_be32(&w, block);
    key_end(&k, &w);
    return k;
}

struct key key_of_group(enum record_table table, uint32_t uid, uint32_t queue_id, struct str group)
{
    struct key k;
    struct wr w = key_begin_queue(&k, table, uid, queue_id);
    wr_bytes(&w, group.p, group.len);
    key_end(&k, &w);
    return k;
}

uint32_t record_crc(const void *key, size_t key_len, const void *fields, size_t fields_len)
{
    return crc32c(crc32c(0, key, key_len), fields, fields_len);
}

int record_open(struct str key, struct str value, struct rd *fields)
{
    if (value.len < RECORD_CRC_BYTES)
        return ERR_DAMAGED;
    size_t len = value.len - RECORD_CRC_BYTES;
    if (record_crc(key.p, key.len, value.p, len) != get_le32(value.p + len))
        return ERR_DAMAGED;
    *fields = rd_of(value.p, len);
    return 0;
}

/* Which numbers follow the letter. */
static uint32_t key_number_bytes(uint8_t table, uint32_t i)
{
    bool queue =
        table == RECORD_QUEUE || table == RECORD_BLOCK || table == RECORD_OFFSET || table == RECORD_LOCK;
    if (!queue)
        return 0;
    if (i == 0)
        return 4;
    if (i == 1)
        return 2;
    return i == 2 && table == RECORD_BLOCK ? 4 : 0;
}

void record_key_text(struct str key, char *out, size_t out_size)
{
    struct rd r = rd_of(key.p, key.len);
    uint8_t table = rd_u8(&r);
    size_t n = (size_t)snprintf(out, out_size, "%c", table > ' ' && table < 0x7F ? table : '?');
    uint32_t bytes;
    for (uint32_t i = 0; (bytes = key_number_bytes(table, i)) > 0 && rd_left(&r) >= bytes; i++) {
        uint32_t v = bytes == 4 ? rd_be32(&r) : rd_be16(&r);
        if (n < out_size)
            n += (size_t)snprintf(out + n, out_size - n, "/%u", v);
    }
    if (rd_left(&r) > 0 && n < out_size)
        n += (size_t)snprintf(out + n, out_size - n, "/");
    while (rd_left(&r) > 0 && n < out_size) {
        uint8_t c = rd_u8(&r);
        n += (size_t)snprintf(out + n, out_size - n, c > ' ' && c < 0x7F ? "%c" : "\\x%02x", c);
    }
}
