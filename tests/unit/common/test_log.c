/* test_log.c - the shape of a line, levels, the sink, and a stderr that does not take lines. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static char captured[65536];

static void capture(void *arg, enum log_level level, const char *line)
{
    (void)level;
    strcat(arg, line);
    strcat(arg, "\n");
}

static int divert_stderr(void)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_ge(dup2(fds[1], STDERR_FILENO), 0);
    close(fds[1]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return fds[0];
}

static const char *read_all(int fd)
{
    size_t used = 0;
    ssize_t n;
    while (used + 1 < sizeof(captured) && (n = read(fd, captured + used, sizeof(captured) - 1 - used)) > 0)
        used += (size_t)n;
    captured[used] = 0;
    return captured;
}

START_TEST(test_line_has_time_level_event_and_pairs)
{
    int fd = divert_stderr();
    LOG_INFO("role changed", "term=%d leader=%s", 3, "n1");
    regex_t shape;
    const char *pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z INFO  role "
                          "changed term=3 leader=n1\n$";
    ck_assert_int_eq(regcomp(&shape, pattern, REG_EXTENDED), 0);
    ck_assert_msg(regexec(&shape, read_all(fd), 0, NULL, 0) == 0, "%s", captured);
    regfree(&shape);
}
END_TEST

START_TEST(test_levels_hold_lines_back)
{
    captured[0] = 0;
    log_set_sink(capture, captured);
    LOG_DEBUG("hidden", "a=%d", 1);
    log_set_level(LOG_LEVEL_DEBUG);
    LOG_DEBUG("shown", "a=%d", 2);
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARN("hidden", "a=%d", 3);
    LOG_ERROR("shown", "a=%d", 4);
    ck_assert_str_eq(captured, "shown a=2\nshown a=4\n");
}
END_TEST

START_TEST(test_foreign_control_characters_are_masked)
{
    captured[0] = 0;
    log_set_sink(capture, captured);
    LOG_INFO("bad topic", "name=%s", "a\nFAKE\x1b[2J\x7f");
    ck_assert_str_eq(captured, "bad topic name=a?FAKE?[2J?\n");
}
END_TEST

START_TEST(test_long_lines_are_cut)
{
    int fd = divert_stderr();
    char name[5000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    LOG_INFO("long", "name=%s", name);
    LOG_INFO("next", "a=%d", 1);
    const char *text = read_all(fd);
    const char *nl = strchr(text, '\n');
    ck_assert_ptr_nonnull(nl);
    ck_assert_int_lt(nl - text, 2048);
    ck_assert_ptr_nonnull(strstr(nl, " INFO  next a=1\n"));
}
END_TEST

START_TEST(test_full_stderr_drops_and_counts)
{
    int fd = divert_stderr();
    /* More than any pipe holds: without the check this would wait for ever. */
    for (int i = 0; i < 20000; i++)
        LOG_INFO("flood", "i=%d text=%s", i,
                 "0123456789012345678901234567890123456789012345678901234567890123456789");
    while (read_all(fd)[0] != 0)
        continue;
    LOG_INFO("after", "a=%d", 1);
    const char *text = read_all(fd);
    ck_assert_ptr_nonnull(strstr(text, "log lines dropped count=1"));
    ck_assert_ptr_nonnull(strstr(text, " INFO  after a=1\n"));
}
END_TEST

START_TEST(test_every_lets_the_first_through_and_counts_the_rest)
{
    struct log_every site = {0};
    uint32_t suppressed = 99;
    ck_assert_int_eq(log_every_pass(&site, 3600000, &suppressed), 1);
    ck_assert_uint_eq(suppressed, 0);
    ck_assert_int_eq(log_every_pass(&site, 3600000, &suppressed), 0);
    ck_assert_int_eq(log_every_pass(&site, 3600000, &suppressed), 0);
    site.next_ms = 0;
    ck_assert_int_eq(log_every_pass(&site, 3600000, &suppressed), 1);
    ck_assert_uint_eq(suppressed, 2);
}
END_TEST

START_TEST(test_every_macro_prints_once)
{
    captured[0] = 0;
    log_set_sink(capture, captured);
    for (int i = 0; i < 10; i++)
        LOG_WARN_EVERY(3600000, "slow disk", "ms=%d", i);
    ck_assert_str_eq(captured, "slow disk ms=0 suppressed=0\n");
}
END_TEST

static void *write_lines(void *arg)
{
    for (int i = 0; i < 100; i++)
        LOG_INFO("thread", "%s", (const char *)arg);
    return NULL;
}

START_TEST(test_lines_of_threads_do_not_mix)
{
    int fd = divert_stderr();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, "text=whole"), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    read_all(fd);
    int lines = 0;
    for (char *line = strtok(captured, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++)
        ck_assert_msg(strcmp(line + 24, " INFO  thread text=whole") == 0, "%s", line);
    ck_assert_int_eq(lines, 400);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *tc = tcase_create("log");
    tcase_add_test(tc, test_line_has_time_level_event_and_pairs);
    tcase_add_test(tc, test_levels_hold_lines_back);
    tcase_add_test(tc, test_foreign_control_characters_are_masked);
    tcase_add_test(tc, test_long_lines_are_cut);
    tcase_add_test(tc, test_full_stderr_drops_and_counts);
    tcase_add_test(tc, test_every_lets_the_first_through_and_counts_the_rest);
    tcase_add_test(tc, test_every_macro_prints_once);
    tcase_add_test(tc, test_lines_of_threads_do_not_mix);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
