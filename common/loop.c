/*
 * loop.c - one libevent base driven in single passes.
 *
 *     turn = wait for sockets and timers, serve them
 *          | posted work, at most LOOP_POSTED_PER_TURN
 *          | connections that ended (net part)
 *          | end-of-turn hooks, in the order they were added
 *          | gathered output is written (net part)
 *
 * The base itself belongs to the loop's thread and needs no lock. Other threads reach the loop through
 * `posted`, a ring guarded by `mutex`; they write to the eventfd only when the loop is about to sleep
 * (`waiting`), so a busy loop is never woken twice.
 */
#include "common/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/loop_internal.h"

#define LOOP_POSTED_PER_TURN 4096u
#define LOOP_POSTED_BATCH    64u
/* Posters are our own threads with bounded queues; more than this waiting is a defect of the program. */
#define LOOP_POSTED_MAX   (1u << 22)
#define LOOP_POSTED_FIRST 64u
#define LOOP_HOOKS_MAX    32u
#define LOOP_SIGNALS_MAX  16u

struct call {
    void (*fn)(void *arg);
    void *arg;
};

struct loop_signal {
    struct event ev;
    struct loop *loop;
    struct call call;
};

struct loop {
    struct event_base *base;
    struct event wake_ev;
    struct event wait_ev; /* bounds the wait of loop_turn */
    int wake_fd;
    uint64_t now_ms;
    bool time_is_fresh;
    bool in_turn;
    bool again;
    atomic_bool stopping;

    pthread_mutex_t mutex; /* guards the rest of this block */
    struct call *posted;   /* ring; capacity is a power of two */
    uint32_t posted_cap, posted_first, posted_count;
    bool waiting;

    uint32_t hook_count, signal_count;
    struct call hooks[LOOP_HOOKS_MAX];
    struct loop_signal signals[LOOP_SIGNALS_MAX];
    struct loop_part net;
};

/* What struct timer's `ev` points to. */
struct timer_event {
    struct event ev;
    uint64_t due_ms;
};

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t count;
    loop_woke(arg);
    ssize_t n = read(fd, &count, sizeof(count)); /* only clears the counter */
    ENSURE(n == (ssize_t)sizeof(count) || errno == EAGAIN);
}

static void on_wait_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    loop_woke(arg);
}

struct loop *loop_new(void)
{
    signal(SIGPIPE, SIG_IGN);
    struct loop *loop = calloc(1, sizeof(*loop));
    ENSURE(loop != NULL);
    loop->base = event_base_new();
    if (loop->base == NULL)
        fatal("cannot create an event loop");
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        fatal("cannot create an eventfd for the event loop: errno %d", errno);
    ENSURE(event_assign(&loop->wake_ev, loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop) == 0);
    ENSURE(event_add(&loop->wake_ev, NULL) == 0);
    ENSURE(evtimer_assign(&loop->wait_ev, loop->base, on_wait_over, loop) == 0);
    ENSURE(pthread_mutex_init(&loop->mutex, NULL) == 0);
    loop->posted_cap = LOOP_POSTED_FIRST;
    loop->posted = calloc(loop->posted_cap, sizeof(*loop->posted));
    ENSURE(loop->posted != NULL);
    loop->now_ms = clock_mono_ms();
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->net.state != NULL)
        loop->net.release(loop->net.state);
    for (uint32_t i = 0; i < loop->signal_count; i++)
        event_del(&loop->signals[i].ev);
    event_del(&loop->wait_ev);
    event_del(&loop->wake_ev);
    event_base_free(loop->base);
    close(loop->wake_fd);
    pthread_mutex_destroy(&loop->mutex);
    free(loop->posted);
    free(loop);
}

void loop_woke(struct loop *loop)
{
    if (loop->time_is_fresh)
        return;
    loop->now_ms = clock_mono_ms();
    loop->time_is_fresh = true;
}

/* Sockets and timers; sleeps only when nothing else is to be done. */
static void serve_events(struct loop *loop, bool bounded, uint32_t max_wait_ms)
{
    pthread_mutex_lock(&loop->mutex);
    bool sleeping = loop->posted_count == 0 && !loop->again && !atomic_load(&loop->stopping) &&
                    !(bounded && max_wait_ms == 0);
    loop->waiting = sleeping;
    pthread_mutex_unlock(&loop->mutex);
    loop->again = false;
    loop->time_is_fresh = false;

    bool timed = sleeping && bounded;
    if (timed) {
        struct timeval tv = {max_wait_ms / 1000, (suseconds_t)(max_wait_ms % 1000) * 1000};
        ENSURE(event_add(&loop->wait_ev, &tv) == 0);
    }
    /* One pass, always: NONBLOCK alone goes round as long as a callback starts a timer that is due at once. */
    if (event_base_loop(loop->base, sleeping ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0)
        fatal("the event loop failed: errno %d", errno);
    if (timed)
        event_del(&loop->wait_ev);
    loop_woke(loop);
}

/* Runs what was posted before this point; work posted meanwhile waits for the next turn. */
static void run_posted(struct loop *loop)
{
    struct call batch[LOOP_POSTED_BATCH];
    pthread_mutex_lock(&loop->mutex);
    loop->waiting = false;
    uint32_t left = loop->posted_count < LOOP_POSTED_PER_TURN ? loop->posted_count : LOOP_POSTED_PER_TURN;
    while (left > 0) {
        uint32_t n = left < LOOP_POSTED_BATCH ? left : LOOP_POSTED_BATCH;
        for (uint32_t i = 0; i < n; i++)
            batch[i] = loop->posted[(loop->posted_first + i) & (loop->posted_cap - 1)];
        loop->posted_first = (loop->posted_first + n) & (loop->posted_cap - 1);
        loop->posted_count -= n;
        left -= n;
        pthread_mutex_unlock(&loop->mutex);
        for (uint32_t i = 0; i < n; i++)
            batch[i].fn(batch[i].arg);
        pthread_mutex_lock(&loop->mutex);
    }
    pthread_mutex_unlock(&loop->mutex);
}

static void turn(struct loop *loop, bool bounded, uint32_t max_wait_ms)
{
    ENSURE(!loop->in_turn);
    loop->in_turn = true;
    serve_events(loop, bounded, max_wait_ms);
    run_posted(loop);
    if (loop->net.state != NULL)
        loop->net.before_hooks(loop->net.state);
    for (uint32_t i = 0; i < loop->hook_count; i++)
        loop->hooks[i].fn(loop->hooks[i].arg);
    if (loop->net.state != NULL)
        loop->net.after_hooks(loop->net.state);
    loop->in_turn = false;
}

void loop_run(struct loop *loop)
{
    while (!atomic_load(&loop->stopping))
        turn(loop, false, 0);
    /* The lock waits for loop_stop to let go of it: the loop may be freed after this. */
    pthread_mutex_lock(&loop->mutex);
    atomic_store(&loop->stopping, false);
    pthread_mutex_unlock(&loop->mutex);
}

void loop_turn(struct loop *loop, uint32_t max_wait_ms)
{
    turn(loop, true, max_wait_ms);
}

/* With the mutex held: true when the loop sleeps or is about to, and nobody has woken it yet. */
static bool must_wake(struct loop *loop)
{
    bool wake = loop->waiting;
    loop->waiting = false;
    return wake;
}

/* With the mutex held, so that the loop cannot be freed meanwhile. */
static void wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof(one));
    ENSURE(n == (ssize_t)sizeof(one) || errno == EAGAIN || errno == EINTR);
}

void loop_stop(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    atomic_store(&loop->stopping, true);
    if (must_wake(loop))
        wake(loop);
    pthread_mutex_unlock(&loop->mutex);
}

static void grow_posted(struct loop *loop)
{
    ENSURE(loop->posted_cap < LOOP_POSTED_MAX);
    uint32_t cap = loop->posted_cap * 2;
    struct call *calls = malloc(cap * sizeof(*calls));
    ENSURE(calls != NULL);
    for (uint32_t i = 0; i < loop->posted_count; i++)
        calls[i] = loop->posted[(loop->posted_first + i) & (loop->posted_cap - 1)];
    free(loop->posted);
    loop->posted = calls;
    loop->posted_cap = cap;
    loop->posted_first = 0;
}

void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&loop->mutex);
    if (loop->posted_count == loop->posted_cap)
        grow_posted(loop);
    loop->posted[(loop->posted_first + loop->posted_count) & (loop->posted_cap - 1)] = (struct call){fn, arg};
    loop->posted_count++;
    if (must_wake(loop))
        wake(loop);
    pthread_mutex_unlock(&loop->mutex);
}

uint64_t loop_now_ms(const struct loop *loop)
{
    /* Between turns of loop_turn the last reading may be old. */
    return loop->in_turn ? loop->now_ms : clock_mono_ms();
}

void loop_on_turn_end(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    ENSURE(loop->hook_count < LOOP_HOOKS_MAX);
    loop->hooks[loop->hook_count++] = (struct call){fn, arg};
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

/* libevent's coarse clock may fire some milliseconds early; a timer of ours never does, measured by
 * loop_now_ms. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct timer *t = arg;
    struct timer_event *te = t->ev;
    loop_woke(t->loop);
    if (t->loop->now_ms < te->due_ms) {
        struct timeval tv = {0, (suseconds_t)(te->due_ms - t->loop->now_ms) * 1000};
        tv.tv_sec = tv.tv_usec / 1000000;
        tv.tv_usec %= 1000000;
        ENSURE(event_add(&te->ev, &tv) == 0);
        return;
    }
    t->fn(t->arg);
}

void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct timer_event *te = calloc(1, sizeof(*te));
    ENSURE(te != NULL);
    *t = (struct timer){te, loop, fn, arg};
    ENSURE(evtimer_assign(&te->ev, loop->base, on_timer, t) == 0);
}

void timer_start(struct timer *t, uint32_t after_ms)
{
    struct timer_event *te = t->ev;
    struct timeval tv = {after_ms / 1000, (suseconds_t)(after_ms % 1000) * 1000};
    te->due_ms = loop_now_ms(t->loop) + after_ms;
    ENSURE(event_add(&te->ev, &tv) == 0);
}

void timer_stop(struct timer *t)
{
    struct timer_event *te = t->ev;
    event_del(&te->ev);
}

void timer_release(struct timer *t)
{
    if (t->ev == NULL)
        return;
    timer_stop(t);
    free(t->ev);
    t->ev = NULL;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop_signal *s = arg;
    loop_woke(s->loop);
    s->call.fn(s->call.arg);
}

void loop_on_signal(struct loop *loop, int signo, void (*fn)(void *arg), void *arg)
{
    ENSURE(loop->signal_count < LOOP_SIGNALS_MAX);
    struct loop_signal *s = &loop->signals[loop->signal_count++];
    s->loop = loop;
    s->call = (struct call){fn, arg};
    ENSURE(evsignal_assign(&s->ev, loop->base, signo, on_signal, s) == 0);
    ENSURE(event_add(&s->ev, NULL) == 0);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

struct loop_part *loop_net_part(struct loop *loop)
{
    return &loop->net;
}
