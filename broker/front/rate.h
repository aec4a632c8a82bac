/*
 * rate.h - events per second over the last 10 s, 1 min and 10 min, from a counter sampled once a second.
 */
#ifndef BROKER_FRONT_RATE_H
#define BROKER_FRONT_RATE_H

#include <stdint.h>

#define RATE_SECONDS 600u

struct front_rate {
    uint64_t samples[RATE_SECONDS + 1]; /* the counter, one per second, newest at `at` */
    uint32_t at, count;
};

/* Once a second: the counter's value now. */
void front_rate_sample(struct front_rate *r, uint64_t value);
/* Mean per second over the last `seconds` (1..RATE_SECONDS), or since the start when that is shorter. */
double front_rate_of(const struct front_rate *r, uint32_t seconds);

#endif
