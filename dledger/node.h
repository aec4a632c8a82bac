/*
 * node.h - the door of the replicated log: event in, core decides, node carries out in one fixed order.
 *
 * One node per process (per simulated replica), loop thread only. The owner hands in hooks at start; upward
 * news travels by them and in no other way. Proposals made during a turn are gathered and submitted as one at
 * its end (dl_node_turn_end, called by the owner's end-of-turn hook).
 *
 * Order inside a turn (dledger/core/core.h has the reasons): hard state, truncate, append, messages (held
 * back while the hard state they speak for is not durable), pushes, apply, timer.
 */
#ifndef DLEDGER_NODE_H
#define DLEDGER_NODE_H

#include "dledger/core/core.h"
#include "dledger/net/transport.h"
#include "dledger/store/store.h"

struct dl_node;

struct dl_node_status {
    struct dl_core_view core;
    dl_index_t applied;
    bool serving; /* leader whose own NOOP is applied: may propose and answer */
    uint64_t proposals_waiting;
    uint64_t waiting_bytes;
    uint64_t messages_held; /* by the hard-state gate */
};

struct dl_node_hooks {
    /* A committed entry, each exactly once per process life, in index order, on every replica. NOOPs too. `e`
     * is lent. Returns a result for the proposer (lent until the next apply), NULL if there is none. Must not
     * fail. */
    const void *(*apply)(void *arg, const struct dl_entry *e);
    /* After a run of applies in one turn (wake consumers, hand deltas to the state thread). */
    void (*applied)(void *arg, dl_index_t index);
    /* Role, term, leader or `serving` changed. */
    void (*changed)(void *arg, const struct dl_node_status *status);
    void *arg;
};

struct dl_node_opts {
    struct dl_core_opts core;
    const char *group;
    struct dl_store *store; /* opened by the owner with dl_node_store_hooks' callbacks; must outlive */
    struct dl_transport *transport; /* must outlive */
    struct dl_node_hooks hooks;
    bool trust_empty;   /* a new store counts in majorities at once (core/join.c): an operator says so */
    dl_index_t applied; /* state checkpoint: replay starts behind it; <= store's last */
    /* Entries proposed here and not yet applied, or not yet on our own disk; beyond: ERR_BUSY. 64 MiB */
    uint64_t waiting_max_bytes;
    /* Monotonic, and read from the clock at each call. A value kept from the beginning of a turn is not good
     * enough: a process stopped within the turn would lead, or promise loyalty, by a time long past. */
    uint64_t (*now_ms)(void *arg);
    void (*wake_at)(void *arg,
                    uint64_t ms); /* ask for dl_node_tick at this monotonic time (replaces the last wish) */
    void *clock_arg;
};

/* Make the node and start as a follower. Entries known committed behind `applied` are replayed as soon as a
 * leader confirms the commit index. */
int dl_node_new(const struct dl_node_opts *opts, struct dl_node **out, struct err *err) MUSTCHECK;
void dl_node_free(struct dl_node *n);

/* Inputs, called by the owner's wiring. */
void dl_node_tick(struct dl_node *n);
void dl_node_turn_end(struct dl_node *n);
void dl_node_on_message(struct dl_node *n, const struct dl_msg *msg, struct buf *records, uint32_t offset,
                        uint32_t len);
void dl_node_on_up(struct dl_node *n, dl_peer_t peer);
void dl_node_on_down(struct dl_node *n, dl_peer_t peer, bool reset);
void dl_node_on_persisted(struct dl_node *n, dl_index_t index, dl_term_t term);
void dl_node_on_hard(struct dl_node *n, struct dl_hard hard);

/* A proposer's ticket; embedded in the owner's request. `done` is called exactly once (never inside propose):
 *   0            committed and applied; result is what apply returned (lent for the call)
 *   ERR_LOST     another leader's entry was committed at this index: surely not stored; may be proposed again
 *   ERR_NOT_LEADER  was never appended here (submit refused, or node freed): surely not stored
 *   ERR_CLOSED   the node was freed while it was undecided
 * A proposal whose leader lost its office stays undecided until its index is committed by somebody: the owner
 * answers its client by its own deadline and calls dl_node_forget. */
struct dl_waiter {
    void (*done)(struct dl_waiter *w, int err, const struct dl_entry *e, const void *result);
    struct dl_waiter *next, **prevp; /* private */
    dl_index_t index;                /* set when submitted, 0 before */
    dl_term_t term;
    uint32_t bytes;
};

/* Propose an entry: `buf` as dl_store_append wants it (DL_RECORD_HEAD free bytes in front, body behind); one
 * reference is handed over, on failure too. Returns 0, ERR_NOT_LEADER (not serving), ERR_BUSY
 * (waiting_max_bytes reached), ERR_TOO_LARGE. */
int dl_node_propose(struct dl_node *n, uint32_t kind, struct buf *buf, struct dl_waiter *w) MUSTCHECK;
/* The owner no longer waits; done will not be called. */
void dl_node_forget(struct dl_node *n, struct dl_waiter *w);

/* Hand leadership to `peer` (DL_NOBODY: best follower). 0 = started, the outcome shows in `changed`;
 * ERR_NOT_LEADER; ERR_INVALID unknown peer; ERR_AGAIN nobody fit to take it now. */
int dl_node_transfer(struct dl_node *n, dl_peer_t peer) MUSTCHECK;

/* True when local applied state is linearizable now: serving leader with a valid lease. */
bool dl_node_can_read(struct dl_node *n);
void dl_node_status(const struct dl_node *n, struct dl_node_status *status);
bool dl_node_peer_view(const struct dl_node *n, dl_peer_t peer, struct dl_peer_view *view);
struct dl_store *dl_node_store(struct dl_node *n);

/* Forget whole segments of entries before `index` (retention); `index` <= applied + 1. */
void dl_node_trim(struct dl_node *n, dl_index_t index);

/* What the node has done since its start. */
struct dl_node_counters {
    uint64_t proposals, submits, refused,
        lost; /* entries offered; SUBMITs; proposals refused by the core; proposals replaced by another leader's */
    uint64_t applied, applied_bytes;
    uint64_t messages_in, messages_out;
    uint64_t pushes, push_entries, push_bytes, cold_loads;
    uint64_t records_refused;    /* pushes whose records were damaged or did not fit their message */
    uint64_t held, held_dropped; /* messages that waited for the hard state; dropped because too many did */
};
const struct dl_node_counters *dl_node_counters(const struct dl_node *n);

#endif
