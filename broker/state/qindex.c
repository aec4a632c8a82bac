/*
 * qindex.c - appends rows to queues and turns full tails into blocks. Runs once per message.
 *
 * Memory of a tail grows 4, 16, 64, 170 rows and is given back with each full block: 200,000 queues with a
 * few messages each cost some 150 bytes each, and a busy queue allocates a handful of times in 170 messages.
 */
#include "broker/state/qindex.h"

#include "broker/state/internal.h"
#include "common/crc.h"

static const uint32_t tail_sizes[] = {0, 4, 16, 64, ROWS_PER_BLOCK};
#define TAIL_SIZES (sizeof tail_sizes / sizeof tail_sizes[0])

static uint32_t tail_rows(const struct queue *q)
{
    return (uint32_t)(q->max % ROWS_PER_BLOCK);
}

/* The directory doubles whenever its count is a power of two, from 4 on. */
static bool blocks_full(uint64_t count)
{
    return count == 0 || (count >= 4 && (count & (count - 1)) == 0);
}

static void blocks_add(struct queue *q, uint64_t count, struct block_ref ref)
{
    if (blocks_full(count))
        q->blocks = mem_resize(q->blocks, count ? count * 2 : 4, sizeof *q->blocks);
    q->blocks[count] = ref;
}

static void tail_make_room(struct queue *q, uint32_t count)
{
    for (size_t i = 0; i + 1 < TAIL_SIZES; i++)
        if (tail_sizes[i] == count)
            q->tail = mem_resize(q->tail, tail_sizes[i + 1], sizeof *q->tail);
}

static void block_seal(uint8_t *data, uint64_t uid, uint32_t number)
{
    put_le64(data + BLOCK_TRAILER_AT, uid);
    put_le32(data + BLOCK_TRAILER_AT + 8, number);
    put_le32(data + BLOCK_TRAILER_AT + 12, crc32c(0, data, BLOCK_TRAILER_AT + 12));
}

bool block_valid(const uint8_t *data, uint64_t uid, uint32_t number)
{
    return get_le64(data + BLOCK_TRAILER_AT) == uid && get_le32(data + BLOCK_TRAILER_AT + 8) == number &&
           get_le32(data + BLOCK_TRAILER_AT + 12) == crc32c(0, data, BLOCK_TRAILER_AT + 12);
}

static void tail_to_block(struct state *s, const struct topic_rec *t, uint32_t queue_id, struct queue *q)
{
    uint32_t number = (uint32_t)(q->max / ROWS_PER_BLOCK - 1);
    struct buf *data = buf_new(CHECKPOINT_BLOCK_BYTES);
    data->len = CHECKPOINT_BLOCK_BYTES;
    memcpy(data->data, q->tail, BLOCK_TRAILER_AT);
    block_seal(data->data, queue_uid(t->t.uid, queue_id), number);

    struct block_ref ref = {q->tail[0].position, q->store_ms, s->next_slot++};
    blocks_add(q, number, ref);
    free(q->tail);
    q->tail = NULL;

    uint8_t fields[BLOCK_RECORD_FIELDS];
    put_le32(fields, ref.slot);
    put_le64(fields + 4, ref.position);
    put_le64(fields + 12, ref.store_ms);
    struct key key = key_block(t->t.uid, queue_id, number);
    delta_put(&s->delta, &key, fields, sizeof fields);
    block_cache_add(s->cache, ref.slot, data, true);
    delta_block(&s->delta, ref.slot, data);
}

static void mark_dirty(struct state *s, const struct topic_rec *t, uint32_t queue_id, struct queue *q)
{
    s->dirty_bytes += ROW_BYTES;
    if (q->dirty)
        return;
    q->dirty = true;
    s->dirty_bytes += QUEUE_RECORD_FIXED + tail_rows(q) * ROW_BYTES;
    if (s->dirty_count == s->dirty_cap) {
        s->dirty_cap = s->dirty_cap ? s->dirty_cap * 2 : 64;
        s->dirty_queues = mem_resize(s->dirty_queues, s->dirty_cap, sizeof *s->dirty_queues);
    }
    s->dirty_queues[s->dirty_count++] = queue_uid(t->t.uid, queue_id);
}

void queue_append(struct state *s, struct topic_rec *t, uint32_t queue_id, struct index_row row)
{
    struct queue *q = &t->queues[queue_id];
    if (row.store_ms < q->store_ms)
        row.store_ms = q->store_ms;
    q->store_ms = row.store_ms;
    uint32_t count = tail_rows(q);
    tail_make_room(q, count);
    q->tail[count] = row;
    q->max++;
    q->digest = digest_u64(q->digest, row.position);
    q->digest = digest_u64(q->digest, (uint64_t)row.size << 32 | (uint32_t)row.tag_hash);
    q->digest = digest_u64(q->digest, row.store_ms);
    if (count + 1 == ROWS_PER_BLOCK)
        tail_to_block(s, t, queue_id, q);
    mark_dirty(s, t, queue_id, q);
}

void queue_put(struct state *s, const struct topic_rec *t, uint32_t queue_id)
{
    const struct queue *q = &t->queues[queue_id];
    uint32_t tail_bytes = tail_rows(q) * ROW_BYTES;
    struct key key = key_queue(t->t.uid, queue_id);
    uint8_t *fields = delta_queue(&s->delta, &key, QUEUE_RECORD_FIXED + tail_bytes);
    put_le64(fields, q->max);
    put_le64(fields + 8, q->digest);
    put_le64(fields + 16, q->store_ms);
    if (tail_bytes > 0)
        memcpy(fields + QUEUE_RECORD_FIXED, q->tail, tail_bytes);
}

void queue_release(struct queue *q)
{
    free(q->tail);
    free(q->blocks);
    *q = (struct queue){0};
}

void queue_delete(struct state *s, struct topic_rec *t, uint32_t queue_id)
{
    struct queue *q = &t->queues[queue_id];
    if (q->max > 0) {
        struct key key = key_queue(t->t.uid, queue_id);
        delta_delete(&s->delta, &key);
    }
    for (uint64_t i = 0; i < q->max / ROWS_PER_BLOCK; i++) {
        struct key key = key_block(t->t.uid, queue_id, (uint32_t)i);
        delta_delete(&s->delta, &key);
    }
    queue_release(q);
}

uint64_t queue_digest(const struct queue *q)
{
    return digest_u64(digest_u64(q->digest, q->max), q->store_ms);
}

static struct queue *queue_of_key(struct state *s, struct rd *key)
{
    struct topic_rec *t = topics_find_uid(s, rd_be32(key));
    uint32_t queue_id = rd_be16(key);
    return !key->bad && t && queue_id < t->t.queue_count ? &t->queues[queue_id] : NULL;
}

int queue_load_block(struct state *s, struct rd *key, struct rd *value)
{
    struct queue *q = queue_of_key(s, key);
    uint32_t number = rd_be32(key);
    struct block_ref ref;
    ref.slot = rd_le32(value);
    ref.position = rd_le64(value);
    ref.store_ms = rd_le64(value);
    if (!q || key->bad || value->bad || rd_left(key) > 0 || rd_left(value) > 0)
        return ERR_DAMAGED;
    if (number != q->max / ROWS_PER_BLOCK) /* keys come in order: a gap */
        return ERR_DAMAGED;
    blocks_add(q, number, ref);
    q->max += ROWS_PER_BLOCK;
    if (s->next_slot <= ref.slot)
        s->next_slot = ref.slot + 1;
    return 0;
}

int queue_load(struct state *s, struct rd *key, struct rd *value)
{
    struct queue *q = queue_of_key(s, key);
    if (!q || rd_left(key) > 0)
        return ERR_DAMAGED;
    uint64_t blocks = q->max / ROWS_PER_BLOCK;
    q->max = rd_le64(value);
    q->digest = rd_le64(value);
    q->store_ms = rd_le64(value);
    uint32_t count = tail_rows(q);
    const uint8_t *rows = rd_take(value, (size_t)count * ROW_BYTES);
    if (!rows || rd_left(value) > 0 || q->max == 0 || q->max / ROWS_PER_BLOCK != blocks)
        return ERR_DAMAGED;
    for (size_t i = 0; i < TAIL_SIZES && !q->tail && count > 0; i++)
        if (count <= tail_sizes[i])
            q->tail = mem_new(tail_sizes[i], sizeof *q->tail);
    if (count > 0)
        memcpy(q->tail, rows, (size_t)count * ROW_BYTES);
    return 0;
}
