/* outq.c - see outq.h. */
#include "common/outq.h"

#include <stdlib.h>
#include <string.h>

#define OUTQ_PARTS_FIRST      4u
#define OUTQ_PARTS_KEEP       16u          /* an idle queue holds no more than this */
#define OUTQ_TAIL_FIRST_BYTES 1024u        /* one small answer */
#define OUTQ_TAIL_BYTES       (16u * 1024) /* more of them */
#define OUTQ_COPY_MAX_BYTES   (1024u * 1024)
#define OUTQ_SMALL_BYTES      1024u /* cheaper to copy than to name in a vector */

static struct out_part *part_at(const struct outq *q, uint32_t i)
{
    return &q->parts[(q->first + i) & (q->cap - 1)];
}

static void push(struct outq *q, struct buf *b, size_t offset, size_t len)
{
    if (q->count == q->cap) {
        uint32_t cap = q->cap == 0 ? OUTQ_PARTS_FIRST : q->cap * 2;
        struct out_part *parts = malloc(cap * sizeof(*parts));
        ENSURE(parts != NULL);
        for (uint32_t i = 0; i < q->count; i++)
            parts[i] = *part_at(q, i);
        free(q->parts);
        q->parts = parts;
        q->cap = cap;
        q->first = 0;
    }
    q->count++;
    *part_at(q, q->count - 1) = (struct out_part){b, (uint32_t)offset, (uint32_t)len};
    q->bytes += len;
}

void outq_copy(struct outq *q, const void *data, size_t len)
{
    const uint8_t *p = data;
    if (len == 0)
        return;
    if (q->tail_is_private) {
        struct out_part *tail = part_at(q, q->count - 1);
        size_t room = tail->b->cap - tail->b->len;
        size_t n = len < room ? len : room;
        memcpy(tail->b->data + tail->b->len, p, n);
        tail->b->len += (uint32_t)n;
        tail->len += (uint32_t)n;
        q->bytes += n;
        p += n;
        len -= n;
    }
    while (len > 0) {
        size_t n = len < OUTQ_COPY_MAX_BYTES ? len : OUTQ_COPY_MAX_BYTES;
        size_t cap = q->count == 0 ? OUTQ_TAIL_FIRST_BYTES : OUTQ_TAIL_BYTES;
        struct buf *b = buf_new(n > cap ? n : cap);
        memcpy(b->data, p, n);
        b->len = (uint32_t)n;
        push(q, b, 0, n);
        q->tail_is_private = true;
        p += n;
        len -= n;
    }
}

void outq_ref(struct outq *q, struct buf *b, size_t offset, size_t len)
{
    ENSURE(offset <= b->len);
    ENSURE(len <= b->len - offset);
    if (len == 0 || (len <= OUTQ_SMALL_BYTES && q->count > 0)) {
        outq_copy(q, b->data + offset, len);
        buf_unref(b);
        return;
    }
    push(q, b, offset, len);
    q->tail_is_private = false;
}

int outq_vectors(const struct outq *q, struct iovec *iov, int max, size_t *sum)
{
    int n = 0;
    *sum = 0;
    for (; n < max && (uint32_t)n < q->count; n++) {
        const struct out_part *part = part_at(q, (uint32_t)n);
        iov[n].iov_base = part->b->data + part->offset;
        iov[n].iov_len = part->len;
        *sum += part->len;
    }
    return n;
}

void outq_written(struct outq *q, size_t n)
{
    ENSURE(n <= q->bytes);
    q->bytes -= n;
    while (n > 0) {
        struct out_part *part = part_at(q, 0);
        if (n < part->len) {
            part->offset += (uint32_t)n;
            part->len -= (uint32_t)n;
            return;
        }
        n -= part->len;
        buf_unref(part->b);
        q->first = (q->first + 1) & (q->cap - 1);
        q->count--;
    }
    if (q->count > 0)
        return;
    q->tail_is_private = false;
    if (q->cap > OUTQ_PARTS_KEEP)
        outq_release(q);
}

void outq_release(struct outq *q)
{
    for (uint32_t i = 0; i < q->count; i++)
        buf_unref(part_at(q, i)->b);
    free(q->parts);
    *q = (struct outq){0};
}
