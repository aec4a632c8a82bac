/* mqperf_report.c - rates, latencies and gaps, for people and as JSON. */
#include <inttypes.h>

#include "common/json.h"
#include "tools/mqperf.h"

#define REPORT_MAX_BYTES (1u << 20)

static const struct {
    const char *name;
    double q;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
#define QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

void figures_add(struct figures *f, const struct perf_options *o, uint64_t now_us, uint64_t latency_us,
                 uint32_t messages, uint64_t bytes)
{
    uint64_t gap_us = now_us - (f->last_us != 0 ? f->last_us : f->begin_us);

    f->messages += messages;
    f->bytes += bytes;
    hist_add(&f->latency_us, latency_us);
    if (gap_us > f->longest_gap_us)
        f->longest_gap_us = gap_us;
    if (o->gap_ms > 0 && gap_us >= o->gap_ms * 1000ull && f->gap_count < PERF_GAPS_MAX)
        f->gaps[f->gap_count++] = (struct gap){now_us - gap_us - f->begin_us, gap_us};
    f->last_us = now_us;
}

static double seconds(const struct figures *f)
{
    uint64_t end_us = f->end_us > f->begin_us ? f->end_us : f->begin_us + 1;

    return (double)(end_us - f->begin_us) / 1e6;
}

static void print_json(const struct figures *f, FILE *to)
{
    struct bld text = bld_of(REPORT_MAX_BYTES);
    struct jw w = jw_of(&text);
    struct buf *b;

    jw_object(&w);
    jw_key(&w, "what");
    jw_cstr(&w, f->what);
    const struct {
        const char *key;
        double value;
    } rows[] = {
        {"seconds", seconds(f)},
        {"messagesPerSecond", (double)f->messages / seconds(f)},
        {"mibPerSecond", (double)f->bytes / seconds(f) / 1048576.0},
        {"messages", (double)f->messages},
        {"failed", (double)f->failed},
        {"retried", (double)f->retried},
        {"longestGapMs", (double)f->longest_gap_us / 1e3},
        {"latencyMaxMs", (double)f->latency_us.max / 1e3},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        jw_key(&w, rows[i].key);
        jw_double(&w, rows[i].value);
    }
    jw_key(&w, "latencyMs");
    jw_object(&w);
    for (size_t i = 0; i < QUANTILES; i++) {
        jw_key(&w, quantiles[i].name);
        jw_double(&w, (double)hist_quantile(&f->latency_us, quantiles[i].q) / 1e3);
    }
    jw_end_object(&w);
    jw_key(&w, "gapsMs");
    jw_array(&w);
    for (uint32_t i = 0; i < f->gap_count; i++) {
        jw_object(&w);
        jw_key(&w, "at");
        jw_double(&w, (double)f->gaps[i].at_us / 1e3);
        jw_key(&w, "length");
        jw_double(&w, (double)f->gaps[i].length_us / 1e3);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    if (f->first_failure[0] != '\0') {
        jw_key(&w, "firstFailure");
        jw_cstr(&w, f->first_failure);
    }
    jw_end_object(&w);
    b = bld_take(&text);
    if (b != NULL)
        fprintf(to, "%.*s\n", (int)b->len, (const char *)b->data);
    buf_unref(b);
}

static void print_text(const struct figures *f, const struct perf_options *o, FILE *to)
{
    fprintf(to, "%s: %" PRIu64 " messages in %.2f s, %.0f msg/s, %.1f MiB/s", f->what, f->messages,
            seconds(f), (double)f->messages / seconds(f), (double)f->bytes / seconds(f) / 1048576.0);
    fprintf(to, ", %" PRIu64 " failed, %" PRIu64 " sent again\n", f->failed, f->retried);
    fprintf(to, "%s: latency ms ", f->what);
    for (size_t i = 0; i < QUANTILES; i++)
        fprintf(to, " %s %.2f", quantiles[i].name,
                (double)hist_quantile(&f->latency_us, quantiles[i].q) / 1e3);
    fprintf(to, "  max %.2f  mean %.2f\n", (double)f->latency_us.max / 1e3,
            f->latency_us.count > 0 ? (double)f->latency_us.sum / (double)f->latency_us.count / 1e3 : 0);
    fprintf(to, "%s: longest gap %.1f ms\n", f->what, (double)f->longest_gap_us / 1e3);
    for (uint32_t i = 0; i < f->gap_count; i++)
        fprintf(to, "%s: gap of %.1f ms at %.3f s\n", f->what, (double)f->gaps[i].length_us / 1e3,
                (double)f->gaps[i].at_us / 1e6);
    if (f->first_failure[0] != '\0')
        fprintf(to, "%s: first failure: %s\n", f->what, f->first_failure);
    (void)o;
}

void figures_print(const struct figures *f, const struct perf_options *o, FILE *to)
{
    if (o->json)
        print_json(f, to);
    else
        print_text(f, o, to);
}
