/*
 * worker.h - a thread that owns one thing: jobs in order, results posted back to the loop.
 *
 * Used for the hard-state file, LMDB commits, cold reads: whatever may wait for a disk. `run` is called on
 * the worker's thread, then `done` on the loop's thread. The queue is bounded: worker_submit returns ERR_BUSY
 * when WORKER_QUEUE_MAX jobs wait. In the simulator a worker without a thread runs jobs when the simulated
 * disk says so.
 */
#ifndef COMMON_WORKER_H
#define COMMON_WORKER_H

#include <stdint.h>

#include "common/loop.h"

#define WORKER_QUEUE_MAX 65536u

struct job {
    void (*run)(struct job *job);  /* worker thread */
    void (*done)(struct job *job); /* loop thread; may free the job */
    struct job *next;              /* private while submitted */
};

struct worker;
/* `threads` 1..8: with more than one, jobs run and finish in any order. Name is for ps(1), at most 15
 * bytes. */
struct worker *worker_new(struct loop *loop, const char *name, uint32_t threads);
/* A worker without a thread: submitted jobs wait until `run_one` (returns 0 when none). `on_submit` tells the
 * owner that one more waits. Simulator and tests. */
struct worker *worker_new_manual(void (*on_submit)(void *arg), void *arg);
int worker_run_one(struct worker *w);
/* The same in two steps: run the next job and return it, NULL when none waits; the caller calls its `done`,
 * and may use its `next` until then. */
struct job *worker_run_next(struct worker *w) MUSTCHECK;
/* Lends the job until its done is called. */
int worker_submit(struct worker *w, struct job *job) MUSTCHECK;
/* Finish the queued jobs, stop the threads; `done` of finished jobs are still posted. */
void worker_free(struct worker *w);

#endif
