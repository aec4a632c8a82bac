/*
 * rng.h - a small seeded generator (xoshiro256** seeded by splitmix64). Not for secrets, unless nothing drawn
 * from it is ever shown. Entropy is read where a program is put together, never by what the simulator runs.
 */
#ifndef COMMON_RNG_H
#define COMMON_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);                 /* 0..n-1, n > 0 */
uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi); /* lo..hi inclusive */
int rng_chance(struct rng *r, double p);                       /* 1 with probability p */
uint64_t rng_entropy(void);                                    /* getrandom(2) */

#endif
