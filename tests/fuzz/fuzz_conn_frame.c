/*
 * fuzz_conn_frame.c - the frame cutter over arbitrary bytes in arbitrary chunks, against a cutter so simple
 * that it is right.
 *
 * Input: u8 seed of the chunk lengths | u8 how often the taker stops | the stream.
 * Required: the same frames in the same order whatever the chunks, the same error, memory within twice what
 * has come.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/err.h"
#include "common/framer.h"

#define FRAME_MIN 6u
#define FRAME_MAX 60000u

struct expected {
    const uint8_t *stream;
    size_t len, at; /* next frame begins here */
    uint32_t stop_every, taken;
};

static uint8_t scratch[FRAMER_SCRATCH_BYTES];

static bool take(void *arg, const uint8_t *frame, size_t len)
{
    struct expected *e = arg;
    ENSURE(len >= FRAME_MIN && len <= FRAME_MAX);
    ENSURE(len <= e->len - e->at);
    ENSURE(len == (size_t)get_be32(e->stream + e->at) + 4);
    ENSURE(memcmp(frame, e->stream + e->at, len) == 0);
    e->at += len;
    e->taken++;
    return e->stop_every == 0 || e->taken % e->stop_every != 0;
}

/* What must come of the whole stream: where cutting ends, and how. */
static int cut_simply(const uint8_t *stream, size_t len, size_t *end)
{
    for (*end = 0; len - *end >= 4;) {
        uint64_t length = (uint64_t)get_be32(stream + *end) + 4;
        if (length > FRAME_MAX)
            return ERR_TOO_LARGE;
        if (length < FRAME_MIN)
            return ERR_MALFORMED;
        if (length > len - *end)
            break;
        *end += (size_t)length;
    }
    return 0;
}

static int feed(struct framer *f, struct expected *e, const uint8_t *data, size_t len, size_t so_far)
{
    while (len > 0) {
        size_t room;
        uint8_t *to = framer_room(f, scratch, &room);
        ENSURE(room > 0);
        size_t n = len < room ? len : room;
        memcpy(to, data, n);
        int rc = framer_fed(f, scratch, n, take, e);
        while (rc == 0 && f->stopped)
            rc = framer_resume(f, take, e);
        if (rc != 0)
            return rc;
        data += n;
        len -= n;
        so_far += n;
        ENSURE(f->cap <= 2 * so_far + 8192);
        ENSURE((f->held == NULL) == (f->len == 0));
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint32_t seed = data[0];
    struct expected e = {.stream = data + 2, .len = size - 2, .stop_every = data[1] % 8};
    size_t end;
    int wanted = cut_simply(e.stream, e.len, &end), rc = 0;

    struct framer f;
    framer_init(&f, FRAME_MIN, FRAME_MAX);
    for (size_t at = 0; at < e.len && rc == 0;) {
        seed = seed * 1664525 + 1013904223;
        size_t n = 1 + (seed >> 20) % (seed & 0x10000 ? 4096 : 7);
        if (n > e.len - at)
            n = e.len - at;
        rc = feed(&f, &e, e.stream + at, n, at);
        at += n;
    }
    ENSURE(rc == wanted);
    ENSURE(e.at == end);
    ENSURE(rc != 0 || f.len == e.len - end);
    framer_release(&f);
    return 0;
}
