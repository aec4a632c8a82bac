/*
 * metrics.c - Prometheus text exposition, version 0.0.4.
 *
 * Times are kept in microseconds and shown in seconds, Prometheus' base unit. Rows of one family (same name)
 * follow each other and share HELP and TYPE.
 */
#include "common/metrics.h"

#include <inttypes.h>

#define FIRST_BOUND_US 16u

void metric_hist_add(struct metric_hist *h, uint64_t us)
{
    uint32_t i = 0;
    while (i < METRIC_BUCKETS - 1 && us >= (uint64_t)FIRST_BOUND_US << i)
        i++;
    metric_add(&h->bucket[i], 1);
    metric_add(&h->count, 1);
    metric_add(&h->sum_us, us);
}

uint64_t metric_hist_quantile(struct metric_hist *h, double q)
{
    uint64_t count[METRIC_BUCKETS], total = 0, seen = 0;
    for (uint32_t i = 0; i < METRIC_BUCKETS; i++)
        total += count[i] = metric_get(&h->bucket[i]);
    if (total == 0)
        return 0;
    uint32_t i = 0;
    for (; i < METRIC_BUCKETS - 1; i++) {
        seen += count[i];
        if (seen > 0 && (double)seen >= q * (double)total)
            break;
    }
    return (uint64_t)FIRST_BOUND_US << i;
}

static void print_braces(struct bld *out, const char *labels)
{
    if (*labels != 0)
        bld_fmt(out, "{%s}", labels);
}

/* The bound of the last bucket is infinity; the count is the sum of what was read, so that the two agree
 * while threads add. */
static void print_hist(struct bld *out, const char *name, struct metric_hist *h, const char *labels)
{
    const char *comma = *labels != 0 ? "," : "";
    uint64_t seen = 0;
    for (uint32_t i = 0; i < METRIC_BUCKETS; i++) {
        seen += metric_get(&h->bucket[i]);
        if (i < METRIC_BUCKETS - 1)
            bld_fmt(out, "%s_bucket{%s%sle=\"%.6f\"} %" PRIu64 "\n", name, labels, comma,
                    (double)((uint64_t)FIRST_BOUND_US << i) / 1e6, seen);
        else
            bld_fmt(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, seen);
    }
    bld_fmt(out, "%s_sum", name);
    print_braces(out, labels);
    bld_fmt(out, " %.6f\n%s_count", (double)metric_get(&h->sum_us) / 1e6, name);
    print_braces(out, labels);
    bld_fmt(out, " %" PRIu64 "\n", seen);
}

static void print_value(struct bld *out, const struct metric_row *row, const char *labels)
{
    uint64_t v = row->value != NULL ? metric_get(row->value) : row->fn(row->arg);
    bld_str(out, str_of(row->name));
    print_braces(out, labels);
    bld_fmt(out, " %" PRIu64 "\n", v);
}

void metrics_print(struct bld *out, const struct metric_row *rows, uint32_t count, const char *labels)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (uint32_t i = 0; i < count; i++) {
        const struct metric_row *row = &rows[i];
        if (i == 0 || !str_is(str_of(rows[i - 1].name), row->name))
            bld_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, kinds[row->kind]);
        if (row->kind == METRIC_HIST)
            print_hist(out, row->name, row->value, labels);
        else
            print_value(out, row, labels);
    }
}
