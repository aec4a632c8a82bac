/*
 * metrics.h - counters, gauges and histograms from a table, printed as Prometheus text.
 *
 * Values are plain words updated by their owning thread with relaxed atomics and read by the HTTP handler on
 * the loop.
 */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/buf.h"

typedef _Atomic uint64_t metric_t;
static inline void metric_add(metric_t *m, uint64_t n)
{
    atomic_fetch_add_explicit(m, n, memory_order_relaxed);
}
static inline void metric_set(metric_t *m, uint64_t v)
{
    atomic_store_explicit(m, v, memory_order_relaxed);
}
static inline uint64_t metric_get(metric_t *m)
{
    return atomic_load_explicit(m, memory_order_relaxed);
}

#define METRIC_BUCKETS 24
/* Latencies in powers of two from 16 us: bucket i counts values < 16us << i; the last one everything
 * above. */
struct metric_hist {
    metric_t bucket[METRIC_BUCKETS];
    metric_t count, sum_us;
};
void metric_hist_add(struct metric_hist *h, uint64_t us);
/* Upper bound of the bucket that holds quantile q (0..1); 0 when empty. */
uint64_t metric_hist_quantile(struct metric_hist *h, double q);

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HIST };
struct metric_row {
    const char *name, *help;
    enum metric_kind kind;
    void *value; /* metric_t * or struct metric_hist *; NULL: read through fn */
    uint64_t (*fn)(void *arg);
    void *arg;
};
/* Append rows as Prometheus text; `labels` such as `cluster="c",broker="b"` is put on each, may be "". */
void metrics_print(struct bld *out, const struct metric_row *rows, uint32_t count, const char *labels);

#endif
