/*
 * common_hist.c - bucket of v: below 32 v itself, above the position of its highest bit and the 5 bits behind
 * that.
 */
#include "tools/common_hist.h"

#define SUB_BITS 5u
#define SUB      (1u << SUB_BITS)

static uint32_t bucket_of(uint64_t v)
{
    uint32_t top;

    if (v < SUB)
        return (uint32_t)v;
    top = 63u - (uint32_t)__builtin_clzll(v);
    return (top - SUB_BITS + 1) * SUB + (uint32_t)(v >> (top - SUB_BITS) & (SUB - 1));
}

static uint64_t upper_edge(uint32_t bucket)
{
    uint32_t row = bucket / SUB;

    if (row == 0)
        return bucket;
    return ((uint64_t)(SUB + bucket % SUB + 1) << (row - 1)) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
    h->buckets[bucket_of(value)]++;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0;

    for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > rank)
            return upper_edge(i) < h->max ? upper_edge(i) : h->max;
    }
    return h->max;
}
