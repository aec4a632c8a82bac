#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/ensure.h"

#define HEAP_MAX 4000000u

struct event {
    uint64_t at_us, order;
    event_fn fn;
    void *arg;
    uint64_t a, b;
};

static bool earlier(const struct event *x, const struct event *y)
{
    return x->at_us != y->at_us ? x->at_us < y->at_us : x->order < y->order;
}

void world_after(struct world *w, uint64_t delay_us, event_fn fn, void *arg, uint64_t a, uint64_t b)
{
    struct event e = {w->now_us + delay_us, w->next_order++, fn, arg, a, b};
    uint32_t i;

    if (w->heap_count == w->heap_cap) {
        w->heap_cap = w->heap_cap == 0 ? 1024 : w->heap_cap * 2;
        ENSURE(w->heap_cap <= HEAP_MAX);
        w->heap = realloc(w->heap, w->heap_cap * sizeof(*w->heap));
        ENSURE(w->heap != NULL);
    }
    for (i = w->heap_count++; i > 0 && earlier(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event pop(struct world *w)
{
    struct event top = w->heap[0], last = w->heap[--w->heap_count];
    uint32_t i = 0, child;

    while ((child = 2 * i + 1) < w->heap_count) {
        if (child + 1 < w->heap_count && earlier(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!earlier(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

bool world_step(struct world *w)
{
    struct event e;

    if (w->heap_count == 0 || world_failed(w) || w->heap[0].at_us > w->end_us)
        return false;
    e = pop(w);
    w->now_us = e.at_us;
    w->count.events++;
    e.fn(e.arg, e.a, e.b);
    return !world_failed(w);
}

bool world_failed(const struct world *w)
{
    return w->failure[0] != '\0';
}

void world_fail(struct world *w, const char *fmt, ...)
{
    va_list args;

    if (world_failed(w))
        return;
    va_start(args, fmt);
    vsnprintf(w->failure, sizeof(w->failure), fmt, args);
    va_end(args);
}

void world_note(struct world *w, const char *fmt, ...)
{
    va_list args;

    if (!w->verbose)
        return;
    printf("%10.6f ", (double)w->now_us / SECOND);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

static bool odds(struct rng *r, double p)
{
    return rng_chance(r, p) != 0;
}

static void draw(struct world *w)
{
    struct rng *r = &w->rng;
    struct tunables *t = &w->tune;

    t->replicas = odds(r, 0.75) ? 3 : odds(r, 0.6) ? 5 : 1;
    t->election_min_ms = (uint32_t)rng_between(r, 100, 600);
    t->election_max_ms = t->election_min_ms * 2;
    t->heartbeat_ms = t->election_min_ms / (uint32_t)rng_between(r, 3, 8);
    t->segment_bytes = 65536ull << rng_below(r, 4);
    t->cache_bytes = odds(r, 0.3) ? 4096 : 1u << 20;
    t->window_entries = odds(r, 0.2) ? (uint32_t)rng_between(r, 1, 4) : 1024;
    t->window_bytes = odds(r, 0.2) ? 2048 : 1u << 20;
    t->preferred = odds(r, 0.3) ? (dl_peer_t)rng_between(r, 1, t->replicas) : DL_NOBODY;
    t->net_min_us = rng_between(r, 50, 500);
    t->net_max_us = t->net_min_us + (odds(r, 0.2) ? 50 * MS : odds(r, 0.5) ? 5 * MS : 300);
    t->loss = odds(r, 0.4) ? (double)rng_between(r, 1, 20) / 100 : 0;
    t->duplicate = odds(r, 0.3) ? (double)rng_between(r, 1, 20) / 100 : 0;
    t->reorder = odds(r, 0.3) ? (double)rng_between(r, 1, 50) / 100 : 0;
    t->disk_min_us = rng_between(r, 50, 300);
    t->disk_max_us = t->disk_min_us + (odds(r, 0.2) ? 30 * MS : 2 * MS);
    t->disk_slow = odds(r, 0.3) ? 0.01 : 0;
    t->disk_slow_us = rng_between(r, 50 * MS, 800 * MS);
    t->producers = (uint32_t)rng_between(r, 1, 6);
    t->queues = (uint32_t)rng_between(r, 1, 4);
    t->think_us = rng_between(r, 2 * MS, 60 * MS);
    t->body_max = odds(r, 0.2) ? 9000 : 200;
    t->checkpoint_us = rng_between(r, 50 * MS, 4 * SECOND);
    t->fault_every_us = rng_between(r, 300 * MS, 5 * SECOND);
    t->crash = odds(r, 0.7);
    t->power = odds(r, 0.6);
    t->mid_write = odds(r, 0.5);
    t->partition = odds(r, 0.6);
    t->one_way = odds(r, 0.4);
    t->pause = odds(r, 0.4);
    t->transfer = odds(r, 0.4);
    t->hang_up = odds(r, 0.4);
    t->disk_hang = odds(r, 0.4);
    t->disk_loss = odds(r, 0.4);
}

void world_init(struct world *w, uint64_t seed, uint64_t seconds)
{
    *w = (struct world){.seed = seed, .end_us = seconds * SECOND};
    rng_seed(&w->rng, seed);
    draw(w);
}

void world_release(struct world *w)
{
    free(w->heap);
}
