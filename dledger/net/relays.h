/*
 * relays.h - relayed client frames that wait for an answer from one peer: call id -> callback, with
 * deadlines.
 *
 * Every relay gets exactly one call of its function, and never inside relays_add or relays_fail_later.
 * Private to dledger/net. Loop thread.
 */
#ifndef DLEDGER_NET_RELAYS_H
#define DLEDGER_NET_RELAYS_H

#include "common/loop.h"
#include "dledger/net/peers.h"

#define RELAYS_SWEEP_MS 20u /* how exact the deadlines are */

struct relay_wait {
    uint32_t call; /* 0: slot is free */
    uint64_t deadline_ms;
    dl_relay_fn fn;
    void *arg;
};

struct relay_failed {
    struct relay_failed *next;
    int err;
    dl_relay_fn fn;
    void *arg;
};

struct relays {
    struct loop *loop;
    struct timer sweep;
    struct relay_wait *slots; /* DL_PEERS_RELAYS_MAX, at call % DL_PEERS_RELAYS_MAX */
    uint32_t count, last_call;
    struct relay_failed *failed; /* told by the sweep; LIFO */
    metric_t *timeouts;
};

void relays_init(struct relays *r, struct loop *loop, metric_t *timeouts);
/* Fails what waits with ERR_CLOSED, inside. */
void relays_release(struct relays *r);
/* Remember a relay; returns its call id (> 0), or 0 when DL_PEERS_RELAYS_MAX wait. */
uint32_t relays_add(struct relays *r, uint32_t timeout_ms, dl_relay_fn fn, void *arg);
/* Have fn called with err (and no frame) from the loop. */
void relays_fail_later(struct relays *r, int err, dl_relay_fn fn, void *arg);
/* An answer came. A call id nobody waits for (any more) is ignored. `frame` is lent. */
void relays_answer(struct relays *r, uint32_t call, int err, const uint8_t *frame, uint32_t len);
/* The session is lost: all that wait now end with `err`. */
void relays_fail_all(struct relays *r, int err);

#endif
