/* framer.c - see framer.h. */
#include "common/framer.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/err.h"

/* Up to here held bytes are copied to the front of the scratch area, and many frames are read at once behind
 * them; above, only the rest of the one frame is read, straight to its place. */
#define FRAMER_COPY_BYTES 4096u

void framer_init(struct framer *f, uint32_t frame_min_bytes, uint32_t frame_max_bytes)
{
    ENSURE(frame_min_bytes >= FRAME_LENGTH_BYTES);
    ENSURE(frame_max_bytes >= frame_min_bytes);
    ENSURE(frame_max_bytes <= 1u << 30);
    *f = (struct framer){.frame_min_bytes = frame_min_bytes, .frame_max_bytes = frame_max_bytes};
}

void framer_raise_max(struct framer *f, uint32_t frame_max_bytes)
{
    ENSURE(frame_max_bytes >= f->frame_max_bytes);
    ENSURE(frame_max_bytes <= 1u << 30);
    f->frame_max_bytes = frame_max_bytes;
}

void framer_release(struct framer *f)
{
    free(f->held);
    f->held = NULL;
    f->len = f->cap = 0;
}

static bool reads_in_place(const struct framer *f)
{
    return f->len > FRAMER_COPY_BYTES;
}

/* Whole length of the frame that begins at `p`, of which at least FRAME_LENGTH_BYTES have come. */
static int frame_length(const struct framer *f, const uint8_t *p, uint32_t *out)
{
    uint64_t length = (uint64_t)get_be32(p) + FRAME_LENGTH_BYTES;
    if (length > f->frame_max_bytes)
        return ERR_TOO_LARGE;
    if (length < f->frame_min_bytes)
        return ERR_MALFORMED;
    *out = (uint32_t)length;
    return 0;
}

static void set_cap(struct framer *f, uint32_t cap)
{
    f->held = realloc(f->held, cap);
    ENSURE(f->held != NULL);
    f->cap = cap;
}

uint8_t *framer_room(struct framer *f, uint8_t *scratch, size_t *room)
{
    ENSURE(!f->stopped);
    if (!reads_in_place(f)) {
        if (f->len > 0)
            memcpy(scratch, f->held, f->len);
        *room = FRAMER_SCRATCH_BYTES - f->len;
        return scratch + f->len;
    }
    uint32_t need;
    ENSURE(frame_length(f, f->held, &need) == 0);
    ENSURE(f->len < need);
    if (f->len == f->cap)
        set_cap(f, need / 2 < f->len ? need : 2 * f->len);
    uint32_t end = f->cap < need ? f->cap : need;
    *room = end - f->len;
    return f->held + f->len;
}

/* Hand out the whole frames among `len` bytes; *used = bytes handed out. */
static int cut(struct framer *f, const uint8_t *data, size_t len, size_t *used, framer_take_fn take,
               void *arg)
{
    *used = 0;
    f->stopped = false;
    while (len - *used >= FRAME_LENGTH_BYTES) {
        uint32_t length;
        int rc = frame_length(f, data + *used, &length);
        if (rc != 0)
            return rc;
        if (len - *used < length)
            break;
        const uint8_t *frame = data + *used;
        *used += length;
        if (!take(arg, frame, length)) {
            f->stopped = true;
            break;
        }
    }
    return 0;
}

/* The first `used` of the held bytes are done with. */
static void drop_front(struct framer *f, size_t used)
{
    f->len -= (uint32_t)used;
    if (f->len == 0)
        framer_release(f);
    else if (used > 0)
        memmove(f->held, f->held + used, f->len);
}

static void hold(struct framer *f, const uint8_t *data, size_t len)
{
    if (len == 0) {
        framer_release(f);
        return;
    }
    if (f->cap < len)
        set_cap(f, (uint32_t)len);
    memcpy(f->held, data, len);
    f->len = (uint32_t)len;
}

int framer_fed(struct framer *f, uint8_t *scratch, size_t n, framer_take_fn take, void *arg)
{
    size_t used;
    if (reads_in_place(f)) {
        ENSURE(n <= f->cap - f->len);
        f->len += (uint32_t)n;
        int rc = cut(f, f->held, f->len, &used, take, arg);
        drop_front(f, used);
        return rc;
    }
    size_t len = f->len + n;
    ENSURE(len <= FRAMER_SCRATCH_BYTES);
    int rc = cut(f, scratch, len, &used, take, arg);
    hold(f, scratch + used, len - used);
    return rc;
}

int framer_resume(struct framer *f, framer_take_fn take, void *arg)
{
    size_t used;
    int rc = cut(f, f->held, f->len, &used, take, arg);
    drop_front(f, used);
    return rc;
}
