#include "broker/front/rate.h"

void front_rate_sample(struct front_rate *r, uint64_t value)
{
    r->at = (r->at + 1) % (RATE_SECONDS + 1);
    r->samples[r->at] = value;
    if (r->count <= RATE_SECONDS)
        r->count++;
}

double front_rate_of(const struct front_rate *r, uint32_t seconds)
{
    uint32_t span = seconds;
    uint32_t before;

    if (r->count < 2)
        return 0.0;
    if (span > r->count - 1)
        span = r->count - 1;
    before = (r->at + RATE_SECONDS + 1 - span) % (RATE_SECONDS + 1);
    return (double)(r->samples[r->at] - r->samples[before]) / span;
}
