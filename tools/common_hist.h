/*
 * common_hist.h - latencies in buckets of about 3 %: constant memory, any number of samples.
 */
#ifndef TOOLS_COMMON_HIST_H
#define TOOLS_COMMON_HIST_H

#include <stdint.h>

#define HIST_BUCKETS 2048u

struct hist {
    uint64_t count, sum, max;
    uint64_t buckets[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t value);
/* Upper edge of the bucket in which the q-th part (0..1) of all samples lies; 0 when there are none. */
uint64_t hist_quantile(const struct hist *h, double q);

#endif
