/*
 * hash.h - memory, hash tables and digests as the files of broker/state use them. Private to the room.
 *
 * uthash tables are keyed by bytes; running out of memory stops the process, as in common/buf.h. The digest
 * is for comparing states, not against forgery.
 */
#ifndef BROKER_STATE_HASH_H
#define BROKER_STATE_HASH_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/ensure.h"

#define uthash_fatal(msg) fatal("out of memory: %s", msg)
#include <uthash.h>

/* Zeroed memory; never NULL. */
static inline void *mem_new(size_t count, size_t size_bytes)
{
    void *p = calloc(count ? count : 1, size_bytes);
    if (!p)
        fatal("out of memory: %zu times %zu bytes for the state", count, size_bytes);
    return p;
}

/* Grow or shrink to count items; new ones are not zeroed; never NULL. */
static inline void *mem_resize(void *old, size_t count, size_t size_bytes)
{
    void *p = reallocarray(old, count, size_bytes);
    if (!p)
        fatal("out of memory: %zu times %zu bytes for the state", count, size_bytes);
    return p;
}

#define DIGEST_SEED 0x243F6A8885A308D3u /* digits of pi */

static inline uint64_t digest_u64(uint64_t h, uint64_t v)
{
    h = ((h ^ v) + 0x9E3779B97F4A7C15u) * 0xFF51AFD7ED558CCDu;
    return h ^ h >> 32;
}

static inline uint64_t digest_bytes(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;
    h = digest_u64(h, len);
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        h = digest_u64(h, v);
    }
    uint64_t rest = 0;
    if (len > 0)
        memcpy(&rest, p, len);
    return digest_u64(h, rest);
}

#endif
