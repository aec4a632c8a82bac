/*
 * framer.h - cuts a byte stream into frames of a 4-byte big-endian length and what it counts. Pure: no
 * sockets, used by conn.c and its tests.
 *
 * Bytes are read into a scratch area that all connections of a loop share; a framer owns memory only while it
 * holds a part of a frame, so an idle connection holds none. A length is believed only as far as bytes have
 * come: memory for a large frame doubles while it fills.
 *
 * Invariant: unless `stopped`, the held bytes are less than one frame and the length in them is within the
 * limits.
 */
#ifndef COMMON_FRAMER_H
#define COMMON_FRAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ensure.h"

#define FRAME_LENGTH_BYTES   4u
#define FRAMER_SCRATCH_BYTES (128u * 1024)

struct framer {
    uint8_t *held; /* the part of a frame that has come; NULL when len is 0 */
    uint32_t len, cap;
    uint32_t frame_min_bytes, frame_max_bytes; /* whole frame with its length */
    bool stopped;                              /* the taker refused to go on: held may have whole frames */
};

/* One whole frame with its length, lent for the call. Returns false to get no more for now. */
typedef bool (*framer_take_fn)(void *arg, const uint8_t *frame, size_t len);

/* frame_min_bytes at least 4, frame_max_bytes at least that and at most 1 GiB. */
void framer_init(struct framer *f, uint32_t frame_min_bytes, uint32_t frame_max_bytes);
void framer_release(struct framer *f);
/* A longer frame may come, from the next one on; may be called by the taker. */
void framer_raise_max(struct framer *f, uint32_t frame_max_bytes);
/* Where the next bytes are to be put, and how many fit (at least 1). `scratch` has FRAMER_SCRATCH_BYTES. Not
 * while stopped. */
uint8_t *framer_room(struct framer *f, uint8_t *scratch, size_t *room);
/* `n` bytes were put where framer_room said; hand out every whole frame. 0, ERR_TOO_LARGE or ERR_MALFORMED
 * (length below the minimum): after an error the stream cannot be used any more. */
int framer_fed(struct framer *f, uint8_t *scratch, size_t n, framer_take_fn take, void *arg) MUSTCHECK;
/* Go on after the taker returned false. Same results as framer_fed; may be stopped again. */
int framer_resume(struct framer *f, framer_take_fn take, void *arg) MUSTCHECK;

#endif
