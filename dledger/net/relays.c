/*
 * relays.c - see relays.h.
 *
 * Call ids count upwards and skip slots still taken by long waits (relayed long polls), so finding a slot
 * needs no table besides the slots.
 */
#include "dledger/net/relays.h"

#include <stdlib.h>

static void fail_told(struct relays *r)
{
    while (r->failed) {
        struct relay_failed *f = r->failed;
        r->failed = f->next;
        f->fn(f->arg, f->err, NULL, 0);
        free(f);
    }
}

static void on_sweep(void *arg)
{
    struct relays *r = arg;
    fail_told(r);
    uint64_t now = loop_now_ms(r->loop);
    for (uint32_t i = 0; i < DL_PEERS_RELAYS_MAX && r->count > 0; i++) {
        struct relay_wait *w = &r->slots[i];
        if (w->call == 0 || w->deadline_ms > now)
            continue;
        metric_add(r->timeouts, 1);
        relays_answer(r, w->call, ERR_TIMEOUT, NULL, 0);
    }
    if (r->count > 0 || r->failed)
        timer_start(&r->sweep, r->failed ? 0 : RELAYS_SWEEP_MS);
}

void relays_init(struct relays *r, struct loop *loop, metric_t *timeouts)
{
    *r = (struct relays){.loop = loop, .timeouts = timeouts};
    r->slots = calloc(DL_PEERS_RELAYS_MAX, sizeof *r->slots);
    if (!r->slots)
        fatal("out of memory");
    timer_init(&r->sweep, loop, on_sweep, r);
}

void relays_release(struct relays *r)
{
    relays_fail_all(r, ERR_CLOSED);
    fail_told(r);
    timer_release(&r->sweep);
    free(r->slots);
    r->slots = NULL;
}

uint32_t relays_add(struct relays *r, uint32_t timeout_ms, dl_relay_fn fn, void *arg)
{
    if (r->count == DL_PEERS_RELAYS_MAX)
        return 0;
    struct relay_wait *w;
    do {
        if (++r->last_call == 0)
            r->last_call = 1;
        w = &r->slots[r->last_call % DL_PEERS_RELAYS_MAX];
    } while (w->call != 0);
    *w = (struct relay_wait){r->last_call, loop_now_ms(r->loop) + timeout_ms, fn, arg};
    if (r->count++ == 0)
        timer_start(&r->sweep, r->failed ? 0 : RELAYS_SWEEP_MS);
    return w->call;
}

void relays_fail_later(struct relays *r, int err, dl_relay_fn fn, void *arg)
{
    struct relay_failed *f = malloc(sizeof *f);
    if (!f)
        fatal("out of memory");
    *f = (struct relay_failed){r->failed, err, fn, arg};
    r->failed = f;
    timer_start(&r->sweep, 0);
}

void relays_answer(struct relays *r, uint32_t call, int err, const uint8_t *frame, uint32_t len)
{
    struct relay_wait *w = &r->slots[call % DL_PEERS_RELAYS_MAX];
    if (call == 0 || w->call != call)
        return;
    struct relay_wait found = *w;
    w->call = 0;
    r->count--;
    found.fn(found.arg, err, frame, len);
}

void relays_fail_all(struct relays *r, int err)
{
    for (uint32_t i = 0; i < DL_PEERS_RELAYS_MAX && r->count > 0; i++) {
        if (r->slots[i].call != 0)
            relays_answer(r, r->slots[i].call, err, NULL, 0);
    }
}
