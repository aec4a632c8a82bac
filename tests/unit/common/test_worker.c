/* test_worker.c - jobs on threads, results on the loop, the bounded queue, the manual worker. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/worker.h"

#define DEADLINE_MS 10000u

static struct loop *loop;

static void setup(void)
{
    loop = loop_new();
}

static void teardown(void)
{
    loop_free(loop);
}

struct work {
    struct job job; /* first */
    int number;
    pthread_t ran_on;
    int *done_count;
    int *last_number; /* NULL: any order */
    pthread_mutex_t *gate;
};

static void work_run(struct job *job)
{
    struct work *w = (struct work *)job;
    if (w->gate != NULL) {
        pthread_mutex_lock(w->gate);
        pthread_mutex_unlock(w->gate);
    }
    w->ran_on = pthread_self();
}

static void work_done(struct job *job)
{
    struct work *w = (struct work *)job;
    if (w->last_number != NULL) {
        ck_assert_int_eq(w->number, *w->last_number + 1);
        *w->last_number = w->number;
    }
    ++*w->done_count;
}

static void turn_until(const int *count, int wanted)
{
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    while (*count < wanted && clock_mono_ms() < give_up_ms)
        loop_turn(loop, 100);
    ck_assert_int_eq(*count, wanted);
}

static struct work *make(int n, int *done, int *last)
{
    struct work *work = calloc((size_t)n, sizeof(*work));
    for (int i = 0; i < n; i++)
        work[i] = (struct work){
            .job = {work_run, work_done, NULL}, .number = i, .done_count = done, .last_number = last};
    return work;
}

START_TEST(test_one_thread_keeps_order)
{
    enum { JOBS = 5000 };
    int done = 0, last = -1;
    struct work *work = make(JOBS, &done, &last);
    struct worker *w = worker_new(loop, "test", 1);
    for (int i = 0; i < JOBS; i++)
        ck_assert_int_eq(worker_submit(w, &work[i].job), 0);
    turn_until(&done, JOBS);
    for (int i = 0; i < JOBS; i++)
        ck_assert(!pthread_equal(work[i].ran_on, pthread_self()));
    worker_free(w);
    free(work);
}
END_TEST

START_TEST(test_eight_threads_finish_all)
{
    enum { JOBS = 5000 };
    int done = 0;
    struct work *work = make(JOBS, &done, NULL);
    struct worker *w = worker_new(loop, "fifteen-letters", 8);
    for (int i = 0; i < JOBS; i++)
        ck_assert_int_eq(worker_submit(w, &work[i].job), 0);
    turn_until(&done, JOBS);
    worker_free(w);
    free(work);
}
END_TEST

START_TEST(test_free_finishes_queued_jobs)
{
    enum { JOBS = 200 };
    int done = 0;
    struct work *work = make(JOBS, &done, NULL);
    struct worker *w = worker_new(loop, "test", 2);
    for (int i = 0; i < JOBS; i++)
        ck_assert_int_eq(worker_submit(w, &work[i].job), 0);
    worker_free(w);
    ck_assert_int_eq(done, 0); /* only the loop calls done */
    loop_turn(loop, 0);
    ck_assert_int_eq(done, JOBS);
    free(work);
}
END_TEST

START_TEST(test_full_queue_is_busy)
{
    int done = 0;
    int jobs = (int)WORKER_QUEUE_MAX + 2, taken = 0;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct work *work = make(jobs, &done, NULL);
    struct worker *w = worker_new(loop, "test", 1);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < jobs; i++)
        work[i].gate = &gate;
    /* The one running job stands at the gate and may or may not have left the queue yet. */
    int rc = 0;
    while (taken < jobs && (rc = worker_submit(w, &work[taken].job)) == 0)
        taken++;
    ck_assert_int_eq(rc, ERR_BUSY);
    ck_assert_int_ge(taken, (int)WORKER_QUEUE_MAX);
    pthread_mutex_unlock(&gate);
    turn_until(&done, taken);
    ck_assert_int_eq(worker_submit(w, &work[taken].job), 0); /* room again */
    turn_until(&done, taken + 1);
    worker_free(w);
    free(work);
}
END_TEST

static void count_submit(void *arg)
{
    ++*(int *)arg;
}

START_TEST(test_manual_worker_runs_when_told)
{
    int done = 0, last = -1, submits = 0;
    struct work *work = make(3, &done, &last);
    struct worker *w = worker_new_manual(count_submit, &submits);
    ck_assert_int_eq(worker_run_one(w), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(worker_submit(w, &work[i].job), 0);
    ck_assert_int_eq(submits, 3);
    ck_assert_int_eq(done, 0);
    ck_assert_int_eq(worker_run_one(w), 1);
    ck_assert_int_eq(done, 1);
    ck_assert_int_eq(worker_run_one(w), 1);
    worker_free(w); /* finishes the last one */
    ck_assert_int_eq(done, 3);
    free(work);
}
END_TEST

START_TEST(test_manual_worker_in_two_steps)
{
    int done = 0, last = -1;
    struct work *work = make(2, &done, &last);
    struct worker *w = worker_new_manual(NULL, NULL);
    ck_assert_ptr_null(worker_run_next(w));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(worker_submit(w, &work[i].job), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_eq(worker_run_next(w), &work[i].job);
    ck_assert_ptr_null(worker_run_next(w));
    ck_assert_int_eq(done, 0);
    for (int i = 0; i < 2; i++)
        work[i].job.done(&work[i].job);
    ck_assert_int_eq(done, 2);
    worker_free(w);
    free(work);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("worker");
    TCase *tc = tcase_create("worker");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_one_thread_keeps_order);
    tcase_add_test(tc, test_eight_threads_finish_all);
    tcase_add_test(tc, test_free_finishes_queued_jobs);
    tcase_add_test(tc, test_full_queue_is_busy);
    tcase_add_test(tc, test_manual_worker_runs_when_told);
    tcase_add_test(tc, test_manual_worker_in_two_steps);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
