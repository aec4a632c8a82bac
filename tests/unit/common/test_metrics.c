/* test_metrics.c - the text Prometheus reads, and quantiles. */
#include <check.h>

#include "common/metrics.h"

static const char *print(const struct metric_row *rows, uint32_t count, const char *labels)
{
    static char text[16384];
    struct bld w = bld_of(sizeof(text) - 1);
    metrics_print(&w, rows, count, labels);
    struct buf *b = bld_take(&w);
    ck_assert_ptr_nonnull(b);
    memcpy(text, b->data, b->len);
    text[b->len] = 0;
    buf_unref(b);
    return text;
}

static uint64_t seven(void *arg)
{
    return *(uint64_t *)arg + 2;
}

START_TEST(test_counter_and_gauge)
{
    metric_t sent = 0, same = 0;
    uint64_t five = 5;
    metric_add(&sent, 3);
    metric_add(&sent, 1);
    metric_set(&same, 9);
    const struct metric_row rows[] = {
        {"lmq_sent_total", "Messages sent.", METRIC_COUNTER, &sent, NULL, NULL},
        {"lmq_connections", "Open connections.", METRIC_GAUGE, NULL, seven, &five},
        {"lmq_connections", "Open connections.", METRIC_GAUGE, &same, NULL, NULL},
    };
    ck_assert_str_eq(print(rows, 3, ""),
                     "# HELP lmq_sent_total Messages sent.\n# TYPE lmq_sent_total counter\nlmq_sent_total 4\n"
                     "# HELP lmq_connections Open connections.\n# TYPE lmq_connections gauge\n"
                     "lmq_connections 7\nlmq_connections 9\n");
    ck_assert_str_eq(print(rows, 1, "broker=\"b\""),
                     "# HELP lmq_sent_total Messages sent.\n# TYPE lmq_sent_total counter\n"
                     "lmq_sent_total{broker=\"b\"} 4\n");
}
END_TEST

START_TEST(test_histogram_is_cumulative_in_seconds)
{
    struct metric_hist h = {0};
    metric_hist_add(&h, 0);
    metric_hist_add(&h, 15);
    metric_hist_add(&h, 16);
    metric_hist_add(&h, UINT32_MAX);
    const struct metric_row row = {"lmq_fsync_seconds", "Time of one fsync.", METRIC_HIST, &h, NULL, NULL};
    const char *text = print(&row, 1, "b=\"x\"");
    ck_assert_ptr_nonnull(strstr(text, "# TYPE lmq_fsync_seconds histogram\n"));
    ck_assert_ptr_nonnull(strstr(text, "lmq_fsync_seconds_bucket{b=\"x\",le=\"0.000016\"} 2\n"));
    ck_assert_ptr_nonnull(strstr(text, "lmq_fsync_seconds_bucket{b=\"x\",le=\"0.000032\"} 3\n"));
    ck_assert_ptr_nonnull(strstr(text, "lmq_fsync_seconds_bucket{b=\"x\",le=\"67.108864\"} 3\n"));
    ck_assert_ptr_nonnull(strstr(text, "lmq_fsync_seconds_bucket{b=\"x\",le=\"+Inf\"} 4\n"));
    ck_assert_ptr_nonnull(strstr(text, "lmq_fsync_seconds_sum{b=\"x\"} 4294.967326\n"));
    ck_assert_ptr_nonnull(strstr(text, "lmq_fsync_seconds_count{b=\"x\"} 4\n"));
    ck_assert_ptr_nonnull(strstr(print(&row, 1, ""), "lmq_fsync_seconds_bucket{le=\"0.000016\"} 2\n"));
}
END_TEST

START_TEST(test_quantiles)
{
    struct metric_hist h = {0};
    ck_assert_uint_eq(metric_hist_quantile(&h, 0.5), 0);
    for (int i = 0; i < 98; i++)
        metric_hist_add(&h, 100);
    metric_hist_add(&h, 5000);
    metric_hist_add(&h, UINT64_MAX / 2);
    ck_assert_uint_eq(metric_hist_quantile(&h, 0), 128);
    ck_assert_uint_eq(metric_hist_quantile(&h, 0.5), 128);
    ck_assert_uint_eq(metric_hist_quantile(&h, 0.98), 128);
    ck_assert_uint_eq(metric_hist_quantile(&h, 0.99), 8192);
    ck_assert_uint_eq(metric_hist_quantile(&h, 1), 16ull << (METRIC_BUCKETS - 1));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metrics");
    TCase *tc = tcase_create("metrics");
    tcase_add_test(tc, test_counter_and_gauge);
    tcase_add_test(tc, test_histogram_is_cumulative_in_seconds);
    tcase_add_test(tc, test_quantiles);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
