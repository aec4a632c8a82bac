/*
 * qread.c - what the front asks of a queue: bounds, rows, the block for a time, the row for a position.
 *
 * Rows of the tail and of cached blocks are answered at once; others after state_load_rows.
 */
#include "broker/state/internal.h"

struct queue *queue_find(const struct state *s, struct str topic, uint32_t queue_id, struct topic_rec **t)
{
    *t = topics_find(s, topic);
    return *t && queue_id < (*t)->t.queue_count ? &(*t)->queues[queue_id] : NULL;
}

int state_queue_bounds(const struct state *s, struct str topic, uint32_t queue_id, uint64_t *min,
                       uint64_t *max)
{
    struct topic_rec *t;
    const struct queue *q = queue_find(s, topic, queue_id, &t);
    if (!q)
        return ERR_NOT_FOUND;
    *min = 0; /* nothing removes messages from the front of a queue */
    *max = q->max;
    return 0;
}

/* All rows of one block, or of the tail for number = blocks there are. ERR_AGAIN. */
static int block_rows(struct state *s, const struct queue *q, uint64_t number, const uint8_t **rows,
                      uint32_t *count)
{
    if (number == q->max / ROWS_PER_BLOCK) {
        *rows = (const uint8_t *)q->tail;
        *count = (uint32_t)(q->max % ROWS_PER_BLOCK);
        return 0;
    }
    *rows = block_cache_get(s->cache, q->blocks[number].slot);
    *count = ROWS_PER_BLOCK;
    return *rows ? 0 : ERR_AGAIN;
}

static struct index_row row_at(const uint8_t *rows, uint32_t i)
{
    struct index_row row;
    memcpy(&row, rows + (size_t)i * ROW_BYTES, sizeof row);
    return row;
}

int state_rows(struct state *s, struct str topic, uint32_t queue_id, uint64_t from, uint32_t max,
               struct index_row *rows, uint32_t *n)
{
    *n = 0;
    struct topic_rec *t;
    const struct queue *q = queue_find(s, topic, queue_id, &t);
    if (!q || from >= q->max || max == 0)
        return ERR_NOT_FOUND;
    const uint8_t *bytes;
    uint32_t count;
    int rc = block_rows(s, q, from / ROWS_PER_BLOCK, &bytes, &count);
    if (rc)
        return rc;
    uint32_t first = (uint32_t)(from % ROWS_PER_BLOCK);
    *n = count - first < max ? count - first : max;
    memcpy(rows, bytes + (size_t)first * ROW_BYTES, (size_t)*n * ROW_BYTES);
    return 0;
}

int state_seek_block(const struct state *s, struct str topic, uint32_t queue_id, uint64_t store_ms,
                     uint64_t *block_first)
{
    struct topic_rec *t;
    const struct queue *q = queue_find(s, topic, queue_id, &t);
    if (!q)
        return ERR_NOT_FOUND;
    if (q->max == 0 || q->store_ms < store_ms) {
        *block_first = q->max;
        return 0;
    }
    /* First block whose last row is not too early; all of them too early: the tail. */
    uint64_t low = 0, high = q->max / ROWS_PER_BLOCK;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (q->blocks[middle].store_ms < store_ms)
            low = middle + 1;
        else
            high = middle;
    }
    *block_first = low * ROWS_PER_BLOCK;
    return 0;
}

/* Last block that begins at or before the position; the tail counts as one. */
static uint64_t block_of_position(const struct queue *q, uint64_t position)
{
    uint64_t blocks = q->max / ROWS_PER_BLOCK;
    if (q->tail && q->max % ROWS_PER_BLOCK > 0 && q->tail[0].position <= position)
        return blocks;
    uint64_t low = 0, high = blocks;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (q->blocks[middle].position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

int state_find_position(struct state *s, struct str topic, uint32_t queue_id, uint64_t position,
                        uint64_t *offset)
{
    struct topic_rec *t;
    const struct queue *q = queue_find(s, topic, queue_id, &t);
    if (!q || q->max == 0)
        return ERR_NOT_FOUND;
    uint64_t number = block_of_position(q, position);
    *offset = number * ROWS_PER_BLOCK;
    const uint8_t *rows;
    uint32_t count;
    int rc = block_rows(s, q, number, &rows, &count);
    if (rc)
        return rc;
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (row_at(rows, middle).position < position)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == count || row_at(rows, low).position != position)
        return ERR_NOT_FOUND;
    *offset += low;
    return 0;
}
