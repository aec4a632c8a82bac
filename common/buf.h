/*
 * buf.h - ref-counted bytes, and a growing text/bytes builder that is born with a maximum.
 *
 * A `struct buf` is written by its maker and never changes once shared. References may be taken and dropped
 * from any thread.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/ensure.h"

struct buf {
    atomic_uint refs;
    uint32_t len; /* bytes in use; set by the maker before sharing */
    uint32_t cap;
    uint8_t data[];
};

/* New buffer with one reference, len 0; out of memory stops the process. cap_bytes up to 64 MiB (ENSUREd). */
struct buf *buf_new(size_t cap_bytes);
struct buf *buf_copy(const void *data, size_t len);
struct buf *buf_ref(struct buf *b);
void buf_unref(struct buf *b); /* NULL is allowed */

/* A builder: appends grow it up to max_bytes; beyond that it turns `full` and drops everything appended. */
struct bld {
    struct buf *b; /* NULL until the first append */
    size_t max_bytes;
    bool full;
};
static inline struct bld bld_of(size_t max_bytes)
{
    return (struct bld){NULL, max_bytes, false};
}
void bld_bytes(struct bld *w, const void *data, size_t len);
void bld_str(struct bld *w, struct str s);
void bld_fmt(struct bld *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Room for `len` more bytes to be written by the caller (uninitialised), or NULL when full. */
uint8_t *bld_room(struct bld *w, size_t len);
/* Hand the buffer over (len set; never NULL unless full) and forget it. */
struct buf *bld_take(struct bld *w);
void bld_drop(struct bld *w);

#endif
