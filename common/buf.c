/*
 * buf.c - reference counts and bounded growth.
 */
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_MAX_BYTES   (64u * 1024 * 1024)
#define BLD_FIRST_BYTES 256u

struct buf *buf_new(size_t cap_bytes)
{
    ENSURE(cap_bytes <= BUF_MAX_BYTES);
    struct buf *b = malloc(sizeof(*b) + cap_bytes);
    if (b == NULL)
        fatal("out of memory for a buffer of %zu bytes", cap_bytes);
    atomic_init(&b->refs, 1);
    b->len = 0;
    b->cap = (uint32_t)cap_bytes;
    return b;
}

struct buf *buf_copy(const void *data, size_t len)
{
    struct buf *b = buf_new(len);
    if (len > 0)
        memcpy(b->data, data, len);
    b->len = (uint32_t)len;
    return b;
}

struct buf *buf_ref(struct buf *b)
{
    unsigned before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    ENSURE(before > 0);
    return b;
}

void buf_unref(struct buf *b)
{
    if (b == NULL)
        return;
    /* Release and acquire: whoever frees sees all that was done with the bytes before. */
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    ENSURE(before > 0);
    if (before == 1)
        free(b);
}

uint8_t *bld_room(struct bld *w, size_t len)
{
    if (w->full)
        return NULL;
    size_t used = w->b != NULL ? w->b->len : 0;
    if (used > w->max_bytes || len > w->max_bytes - used) {
        bld_drop(w);
        w->full = true;
        return NULL;
    }
    size_t need = used + len;
    if (w->b == NULL || need > w->b->cap) {
        size_t cap = w->b != NULL ? (size_t)w->b->cap * 2 : BLD_FIRST_BYTES;
        if (cap < need)
            cap = need;
        if (cap > w->max_bytes)
            cap = w->max_bytes;
        ENSURE(cap <= BUF_MAX_BYTES);
        struct buf *b = w->b != NULL ? realloc(w->b, sizeof(*b) + cap) : buf_new(cap);
        if (b == NULL)
            fatal("out of memory for a buffer of %zu bytes", cap);
        b->cap = (uint32_t)cap;
        w->b = b;
    }
    w->b->len = (uint32_t)need;
    return w->b->data + used;
}

void bld_bytes(struct bld *w, const void *data, size_t len)
{
    uint8_t *room = bld_room(w, len);
    if (room != NULL && len > 0)
        memcpy(room, data, len);
}

void bld_str(struct bld *w, struct str s)
{
    bld_bytes(w, s.p, s.len);
}

void bld_fmt(struct bld *w, const char *fmt, ...)
{
    char text[512];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    ENSURE(len >= 0);
    if (len < (int)sizeof(text)) {
        bld_bytes(w, text, (size_t)len);
    } else {
        /* Through a second buffer: vsnprintf wants a byte for its NUL, which the builder may not have. */
        struct buf *long_text = buf_new((size_t)len + 1);
        vsnprintf((char *)long_text->data, (size_t)len + 1, fmt, again);
        bld_bytes(w, long_text->data, (size_t)len);
        buf_unref(long_text);
    }
    va_end(again);
}

struct buf *bld_take(struct bld *w)
{
    struct buf *b = w->b;
    if (b == NULL && !w->full)
        b = buf_new(0);
    w->b = NULL;
    return b;
}

void bld_drop(struct bld *w)
{
    buf_unref(w->b);
    w->b = NULL;
}
