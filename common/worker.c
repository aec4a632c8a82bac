/*
 * worker.c - a bounded first-in first-out queue of jobs and the threads that empty it.
 *
 * `mutex` guards the queue. A job belongs to exactly one party at a time: submitter -> queue -> running
 * thread -> the loop's posted work -> its `done`. Worker threads take no signals: those are the loop
 * thread's.
 */
#include "common/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define WORKER_THREADS_MAX 8u

struct worker {
    struct loop *loop; /* NULL: manual */
    void (*on_submit)(void *arg);
    void *on_submit_arg;

    pthread_mutex_t mutex;
    pthread_cond_t more;
    struct job *first, *last;
    uint32_t waiting; /* jobs in the queue */
    uint32_t idle;    /* threads that sleep */
    bool stopping;

    uint32_t thread_count;
    pthread_t threads[WORKER_THREADS_MAX];
};

static struct worker *worker_alloc(void)
{
    struct worker *w = calloc(1, sizeof(*w));
    ENSURE(w != NULL);
    ENSURE(pthread_mutex_init(&w->mutex, NULL) == 0);
    ENSURE(pthread_cond_init(&w->more, NULL) == 0);
    return w;
}

/* With the mutex held. */
static struct job *take_first(struct worker *w)
{
    struct job *job = w->first;
    if (job == NULL)
        return NULL;
    w->first = job->next;
    if (w->first == NULL)
        w->last = NULL;
    job->next = NULL;
    w->waiting--;
    return job;
}

static void job_finished(void *arg)
{
    struct job *job = arg;
    job->done(job);
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        struct job *job = take_first(w);
        if (job == NULL) {
            if (w->stopping)
                break;
            w->idle++;
            pthread_cond_wait(&w->more, &w->mutex);
            w->idle--;
            continue;
        }
        pthread_mutex_unlock(&w->mutex);
        job->run(job);
        loop_post(w->loop, job_finished, job);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

struct worker *worker_new(struct loop *loop, const char *name, uint32_t threads)
{
    ENSURE(threads >= 1 && threads <= WORKER_THREADS_MAX);
    ENSURE(strlen(name) <= 15);
    struct worker *w = worker_alloc();
    w->loop = loop;

    sigset_t all, old;
    sigfillset(&all);
    ENSURE(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    for (uint32_t i = 0; i < threads; i++) {
        int rc = pthread_create(&w->threads[i], NULL, thread_main, w);
        if (rc != 0)
            fatal("cannot start thread %s: %s", name, strerror(rc));
        pthread_setname_np(w->threads[i], name);
    }
    w->thread_count = threads;
    ENSURE(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    return w;
}

struct worker *worker_new_manual(void (*on_submit)(void *arg), void *arg)
{
    struct worker *w = worker_alloc();
    w->on_submit = on_submit;
    w->on_submit_arg = arg;
    return w;
}

struct job *worker_run_next(struct worker *w)
{
    ENSURE(w->loop == NULL);
    struct job *job = take_first(w);
    if (job != NULL)
        job->run(job);
    return job;
}

int worker_run_one(struct worker *w)
{
    struct job *job = worker_run_next(w);
    if (job == NULL)
        return 0;
    job->done(job);
    return 1;
}

int worker_submit(struct worker *w, struct job *job)
{
    pthread_mutex_lock(&w->mutex);
    ENSURE(!w->stopping);
    if (w->waiting >= WORKER_QUEUE_MAX) {
        pthread_mutex_unlock(&w->mutex);
        return ERR_BUSY;
    }
    job->next = NULL;
    if (w->last != NULL)
        w->last->next = job;
    else
        w->first = job;
    w->last = job;
    w->waiting++;
    if (w->idle > 0)
        pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->mutex);
    if (w->on_submit != NULL)
        w->on_submit(w->on_submit_arg);
    return 0;
}

void worker_free(struct worker *w)
{
    if (w == NULL)
        return;
    if (w->loop == NULL)
        while (worker_run_one(w))
            continue;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->mutex);
    for (uint32_t i = 0; i < w->thread_count; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
