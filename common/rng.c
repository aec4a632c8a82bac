/*
 * rng.c - xoshiro256** with splitmix64 seeding (Blackman and Vigna, public domain algorithms), written from
 * the formulas.
 */
#include "common/rng.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "common/ensure.h"

static uint64_t rotl(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    ENSURE(n > 0);
    /* Drop the 2^64 mod n lowest values, so that every remainder is equally likely. */
    uint64_t skip = (0 - n) % n;
    for (;;) {
        uint64_t x = rng_next(r);
        if (x >= skip)
            return x % n;
    }
}

uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi)
{
    ENSURE(lo <= hi);
    if (hi - lo == UINT64_MAX)
        return rng_next(r);
    return lo + rng_below(r, hi - lo + 1);
}

int rng_chance(struct rng *r, double p)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53 < p;
}

uint64_t rng_entropy(void)
{
    uint64_t seed;
    ssize_t n = getrandom(&seed, sizeof(seed), 0);
    if (n != (ssize_t)sizeof(seed))
        fatal("cannot read entropy: %s", strerror(errno));
    return seed;
}
