/*
 * mqperf_payload.c - bodies that prove themselves.
 *
 *   0 magic "LMQP" | 4 producer | 8 run | 16 sequence | 24 sent (us) | 32 whole length | 36 zero | 40
 *   pattern...
 *
 * All numbers big-endian. The pattern is a fixed pseudo-random text read from a place that follows from
 * run, producer and sequence number.
 */
#include <stdlib.h>

#include "common/rng.h"
#include "tools/mqperf.h"

#define PATTERN_STARTS 65536u
#define PATTERN_SEED   0x4c4d5150u

static const char magic[4] = {'L', 'M', 'Q', 'P'};

void payload_init(struct payload_source *s, uint32_t max_bytes)
{
    struct rng rng;

    rng_seed(&rng, PATTERN_SEED);
    s->size = max_bytes;
    s->pattern = malloc(PATTERN_STARTS + max_bytes + 8);
    ENSURE(s->pattern != NULL);
    for (size_t i = 0; i < PATTERN_STARTS + max_bytes; i += 8)
        put_le64(s->pattern + i, rng_next(&rng));
}

void payload_release(struct payload_source *s)
{
    free(s->pattern);
}

static const uint8_t *pattern_for(const struct payload_source *s, const struct payload *p)
{
    uint64_t mix =
        (p->run ^ p->seq * 0x9E3779B97F4A7C15u ^ (uint64_t)p->producer << 40) * 0xD6E8FEB86659FD93u;

    return s->pattern + (mix >> 48);
}

void payload_write(const struct payload_source *s, const struct payload *p, uint8_t *body, uint32_t len)
{
    memcpy(body, magic, sizeof(magic));
    put_be32(body + 4, p->producer);
    put_be64(body + 8, p->run);
    put_be64(body + 16, p->seq);
    put_be64(body + 24, p->sent_us);
    put_be32(body + 32, len);
    put_be32(body + 36, 0);
    memcpy(body + PAYLOAD_HEAD_BYTES, pattern_for(s, p), len - PAYLOAD_HEAD_BYTES);
}

int payload_read(const struct payload_source *s, struct str body, struct payload *out)
{
    if (body.len < PAYLOAD_HEAD_BYTES || memcmp(body.p, magic, sizeof(magic)) != 0)
        return ERR_NOT_FOUND;
    out->producer = get_be32(body.p + 4);
    out->run = get_be64(body.p + 8);
    out->seq = get_be64(body.p + 16);
    out->sent_us = get_be64(body.p + 24);
    if (get_be32(body.p + 32) != body.len || body.len > s->size || get_be32(body.p + 36) != 0 ||
        memcmp(body.p + PAYLOAD_HEAD_BYTES, pattern_for(s, out), body.len - PAYLOAD_HEAD_BYTES) != 0)
        return ERR_DAMAGED;
    return ERR_OK;
}
