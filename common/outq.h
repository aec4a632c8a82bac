/*
 * outq.h - bytes waiting to be written to one peer: references to shared buffers and small copies gathered in
 * a private tail buffer. Pure.
 */
#ifndef COMMON_OUTQ_H
#define COMMON_OUTQ_H

#include <stdbool.h>
#include <sys/uio.h>

#include "common/buf.h"

struct out_part {
    struct buf *b; /* one reference */
    uint32_t offset, len;
};

struct outq {
    struct out_part *parts; /* ring; capacity is a power of two */
    uint32_t cap, first, count;
    bool tail_is_private; /* the last part is a copy of ours that may still grow */
    size_t bytes;         /* waiting */
};

void outq_release(struct outq *q);
void outq_copy(struct outq *q, const void *data, size_t len);
/* Takes over one reference; offset + len within b. Small parts are copied and the reference dropped at
 * once. */
void outq_ref(struct outq *q, struct buf *b, size_t offset, size_t len);
/* Fill at most `max` vectors with what is first; returns how many and their sum. */
int outq_vectors(const struct outq *q, struct iovec *iov, int max, size_t *sum);
/* The first n bytes are written. */
void outq_written(struct outq *q, size_t n);

#endif
