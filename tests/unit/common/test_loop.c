/* test_loop.c - turns, timers, posted work from other threads, hooks, signals. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/loop.h"

#define DEADLINE_MS 10000u

static struct loop *loop;
static char trace[256];
static size_t trace_len;

static void setup(void)
{
    loop = loop_new();
    trace_len = 0;
    trace[0] = 0;
}

static void teardown(void)
{
    loop_free(loop);
}

static void note(void *arg)
{
    ck_assert_uint_lt(trace_len + 2, sizeof(trace));
    trace[trace_len++] = *(const char *)arg;
    trace[trace_len] = 0;
}

START_TEST(test_posted_in_order_then_hooks)
{
    loop_on_turn_end(loop, note, "x");
    loop_on_turn_end(loop, note, "y");
    loop_post(loop, note, "a");
    loop_post(loop, note, "b");
    loop_post(loop, note, "c");
    loop_turn(loop, DEADLINE_MS);
    ck_assert_str_eq(trace, "abcxy");
}
END_TEST

static void post_again(void *arg)
{
    note(arg);
    loop_post(loop, note, "2");
}

START_TEST(test_posted_while_running_waits_for_next_turn)
{
    loop_on_turn_end(loop, note, "|");
    loop_post(loop, post_again, "1");
    loop_turn(loop, DEADLINE_MS);
    ck_assert_str_eq(trace, "1|");
    loop_turn(loop, DEADLINE_MS);
    ck_assert_str_eq(trace, "1|2|");
}
END_TEST

static void again_until_three(void *arg)
{
    int *count = arg;
    if (++*count < 3)
        loop_again(loop);
    else
        loop_stop(loop);
}

START_TEST(test_again_gives_a_turn_without_waiting)
{
    int count = 0;
    loop_on_turn_end(loop, again_until_three, &count);
    loop_post(loop, note, "a"); /* begins the first turn; nothing else would end a wait */
    loop_run(loop);
    ck_assert_int_eq(count, 3);
}
END_TEST

static void count_up(void *arg)
{
    ++*(int *)arg;
}

START_TEST(test_many_posts_are_drained_in_bounded_turns)
{
    enum { POSTS = 100000 };
    int done = 0, turns = 0;
    for (int i = 0; i < POSTS; i++)
        loop_post(loop, count_up, &done);
    while (done < POSTS) {
        int before = done;
        loop_turn(loop, DEADLINE_MS);
        ck_assert_int_gt(done, before);
        turns++;
    }
    ck_assert_int_gt(turns, 1);
}
END_TEST

struct fired {
    struct timer timer;
    uint64_t due_ms;
    char name[2];
    bool early;
};

static void on_fired(void *arg)
{
    struct fired *f = arg;
    f->early = loop_now_ms(loop) < f->due_ms;
    note(f->name);
}

static void start(struct fired *f, char name, uint32_t after_ms)
{
    f->name[0] = name;
    f->name[1] = 0;
    timer_init(&f->timer, loop, on_fired, f);
    f->due_ms = loop_now_ms(loop) + after_ms;
    timer_start(&f->timer, after_ms);
}

START_TEST(test_timers_fire_in_order_never_early)
{
    struct fired f[4] = {0};
    start(&f[0], 'c', 60);
    start(&f[1], 'a', 0);
    start(&f[2], 'b', 25);
    start(&f[3], 'z', 5);
    timer_stop(&f[3].timer);
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    while (trace_len < 3 && clock_mono_ms() < give_up_ms)
        loop_turn(loop, 100);
    ck_assert_str_eq(trace, "abc");
    for (int i = 0; i < 4; i++) {
        ck_assert(!f[i].early);
        timer_release(&f[i].timer);
    }
}
END_TEST

START_TEST(test_timer_restart_moves_it)
{
    struct fired a = {0}, b = {0};
    start(&a, 'a', 10);
    start(&b, 'b', 40);
    timer_start(&a.timer, 80);
    a.due_ms = loop_now_ms(loop) + 80;
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    while (trace_len < 2 && clock_mono_ms() < give_up_ms)
        loop_turn(loop, 100);
    ck_assert_str_eq(trace, "ba");
    ck_assert(!a.early);
    timer_release(&a.timer);
    timer_release(&b.timer);
}
END_TEST

START_TEST(test_turn_waits_at_most_as_told)
{
    uint64_t before_ms = clock_mono_ms();
    loop_turn(loop, 0);
    loop_turn(loop, 20); /* nothing happens: returns all the same */
    ck_assert_uint_ge(loop_now_ms(loop), before_ms);
}
END_TEST

enum { POSTERS = 4, POSTS_EACH = 20000 };

struct poster {
    pthread_t thread;
    int next; /* loop thread: order per poster */
};

struct parcel {
    struct poster *from;
    int number;
};

static int received;

static void receive(void *arg)
{
    struct parcel *p = arg;
    ck_assert_int_eq(p->number, p->from->next);
    p->from->next++;
    free(p);
    if (++received == POSTERS * POSTS_EACH)
        loop_stop(loop);
}

static void *poster_main(void *arg)
{
    for (int i = 0; i < POSTS_EACH; i++) {
        struct parcel *p = malloc(sizeof(*p));
        *p = (struct parcel){arg, i};
        loop_post(loop, receive, p);
    }
    return NULL;
}

static struct timer eager;
static int eager_runs;

static void start_eager_again(void *arg)
{
    (void)arg;
    ck_assert_int_lt(++eager_runs, 1000); /* it never gives the turn back */
    timer_start(&eager, 0);
}

/* A timer that starts itself for "now" gets one run a turn, and the hooks theirs. */
START_TEST(test_timer_due_at_once_ends_the_turn)
{
    loop_on_turn_end(loop, note, "|");
    timer_init(&eager, loop, start_eager_again, NULL);
    eager_runs = 0;
    timer_start(&eager, 0);
    for (int turn = 0; turn < 3; turn++) {
        loop_again(loop);
        loop_turn(loop, DEADLINE_MS);
    }
    ck_assert_int_le(eager_runs, 4);
    ck_assert_str_eq(trace, "|||");
    timer_release(&eager);
}
END_TEST

START_TEST(test_posts_of_many_threads_keep_their_order)
{
    struct poster posters[POSTERS] = {0};
    received = 0;
    for (int i = 0; i < POSTERS; i++)
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, poster_main, &posters[i]), 0);
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        ck_assert_int_eq(posters[i].next, POSTS_EACH);
    }
}
END_TEST

static void *stopper_main(void *arg)
{
    loop_stop(arg);
    return NULL;
}

START_TEST(test_stop_from_another_thread)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, stopper_main, loop), 0);
    loop_run(loop); /* returns */
    pthread_join(thread, NULL);
}
END_TEST

static void on_usr1(void *arg)
{
    note(arg);
    loop_stop(loop);
}

START_TEST(test_signal_reaches_the_loop)
{
    loop_on_signal(loop, SIGUSR1, on_usr1, "s");
    ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
    loop_run(loop);
    ck_assert_str_eq(trace, "s");
}
END_TEST

START_TEST(test_sigpipe_is_ignored)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    close(fds[0]);
    ck_assert_int_eq(write(fds[1], "x", 1), -1);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loop");
    TCase *tc = tcase_create("loop");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_posted_in_order_then_hooks);
    tcase_add_test(tc, test_posted_while_running_waits_for_next_turn);
    tcase_add_test(tc, test_again_gives_a_turn_without_waiting);
    tcase_add_test(tc, test_many_posts_are_drained_in_bounded_turns);
    tcase_add_test(tc, test_timers_fire_in_order_never_early);
    tcase_add_test(tc, test_timer_restart_moves_it);
    tcase_add_test(tc, test_turn_waits_at_most_as_told);
    tcase_add_test(tc, test_timer_due_at_once_ends_the_turn);
    tcase_add_test(tc, test_posts_of_many_threads_keep_their_order);
    tcase_add_test(tc, test_stop_from_another_thread);
    tcase_add_test(tc, test_signal_reaches_the_loop);
    tcase_add_test(tc, test_sigpipe_is_ignored);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
