/*
 * loop.h - libevent behind one door: timers, posted work, end-of-turn hooks, signals.
 *
 * One loop, one thread. A *turn* is one pass: sockets and timers are served, then posted work, then the
 * end-of-turn hooks in the order they were added (gather -> persist as a group -> reply). Only loop_post and
 * loop_stop may be called from other threads. The loop thread never waits for a disk.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ensure.h"

struct loop;
struct event_base;

struct loop *loop_new(void); /* SIGPIPE is ignored from then on */
/* Connections that are still there get their on_close (0) inside; posted work that has not run is dropped.
 * Timers must have been released, HTTP doors closed. NULL is allowed. */
void loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop */
void loop_stop(struct loop *loop);
/* One turn, blocking for at most max_wait_ms (tests, tools). */
void loop_turn(struct loop *loop, uint32_t max_wait_ms);
/* Monotonic milliseconds read once per turn (between turns: now). */
uint64_t loop_now_ms(const struct loop *loop);
/* Run fn(arg) on the loop thread in its next pass, in order of posting. Any thread. Wakes the loop. */
void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);
/* Call fn(arg) at the end of every turn. At start only. */
void loop_on_turn_end(struct loop *loop, void (*fn)(void *arg), void *arg);
/* Ask for another turn without waiting (work is left over). */
void loop_again(struct loop *loop);

struct timer {
    void *ev; /* private */
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};
void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *arg),
                void *arg);                           /* *t must stay where it is */
void timer_start(struct timer *t, uint32_t after_ms); /* one shot; restarts when running; 0 = next turn */
void timer_stop(struct timer *t);
void timer_release(struct timer *t); /* stops it; required before its memory goes */

/* Call fn on the loop thread when the signal arrives. */
void loop_on_signal(struct loop *loop, int signo, void (*fn)(void *arg), void *arg);

/* For common/conn.c and HTTP servers only. */
struct event_base *loop_base(struct loop *loop);

#endif
