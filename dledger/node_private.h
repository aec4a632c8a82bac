/*
 * node_private.h - the node's parts and which file does what. Private to dledger/.
 *
 *   node.c          start, inputs, carrying out in the fixed order, the hard-state gate, facts
 *   node_propose.c  gathering proposals, waiters
 *   node_apply.c    committed entries in order to the owner
 *   node_push.c     the push loop, and cold loads for it and for apply
 *
 * Invariants:
 *   - core steps never nest: while `busy`, inputs are queued and taken when the current one is carried out
 *   - messages and pushes leave only while `hard_durable` equals `hard_wanted`
 *   - applied <= core's commit <= core's last; entries are applied once, ascending
 *   - a waiter is either in `gathered` (index 0), or in the list sorted by (index, term) with index >
 * applied, or nobody's
 */
#ifndef DLEDGER_NODE_PRIVATE_H
#define DLEDGER_NODE_PRIVATE_H

#include "dledger/node.h"

#define NODE_HELD_MAX          256u /* messages held by the gate; beyond, the oldest is dropped: Raft bears loss */
#define NODE_APPLY_ENTRIES_MAX 4096u              /* per turn; then the loop gets its turn */
#define NODE_APPLY_BYTES_MAX   (4u * 1024 * 1024) /* per turn */
#define NODE_LOAD_BYTES        (4u * 1024 * 1024) /* one cold load, sent as several pushes */
#define NODE_LOAD_AGAIN_MS     1000u              /* from one that failed to the next try */

/* A proposal of this turn. */
struct gathered {
    uint32_t kind;
    struct buf *buf;
    struct dl_waiter *waiter; /* NULL: none or forgotten; waiter->prevp points here */
};

struct gathering {
    struct gathered *items;
    uint32_t count, cap;
};

/* Records read from disk: whole, verified, of ascending indexes; at `at` the record of index `first`. */
struct cold {
    struct buf *buf; /* NULL: nothing */
    uint32_t at;
    dl_index_t first, last;
};

struct node_load;
struct node_peer {
    dl_peer_t id;
    struct cold cold;
    struct node_load *load; /* under way */
    uint64_t load_from_ms;  /* no load before: the last one failed */
    bool told_too_far;      /* said already that what it needs is gone */
};

/* An input while another one is being carried out. */
struct queued {
    struct queued *next;
    struct dl_event event;
    struct dl_msg msg; /* event.msg points here for MESSAGE */
    struct buf *records;
    uint32_t offset, len;
};

/* Record bytes of the message that is being stepped. */
struct incoming {
    struct buf *buf;
    uint32_t offset, len;
};

struct dl_node {
    struct dl_core *core;
    struct dl_store *store;
    struct dl_transport *transport;
    struct dl_node_hooks hooks;
    char *group;
    dl_peer_t self;
    struct dl_members members;
    uint64_t (*now_ms)(void *arg);
    void (*wake_at)(void *arg, uint64_t ms);
    void *clock_arg;
    uint64_t waiting_max_bytes;

    bool busy;
    struct queued *queue, **queue_end;

    struct dl_hard hard_wanted, hard_durable;
    struct dl_msg held[NODE_HELD_MAX]; /* ring */
    uint32_t held_first, held_count;

    bool serving;
    uint64_t wake_ms;  /* core's wish */
    uint64_t asked_ms; /* wish passed on and not yet come true; UINT64_MAX: none */

    /* node_propose.c */
    struct gathering gathering;  /* of this turn */
    struct gathering submitting; /* being offered to the core */
    uint64_t gathered_bytes;     /* of gathering */
    dl_pos_t end_pos;            /* behind our newest entry as leader */
    dl_pos_t applied_pos;        /* behind the newest applied entry */
    dl_pos_t persisted_pos;      /* behind the newest entry on our own disk */
    struct dl_waiter *waiters;
    struct dl_waiter **waiters_end; /* where the list ends: &waiters or &last->next */
    uint64_t waiter_count;

    /* node_apply.c */
    dl_index_t applied;
    dl_index_t commit;
    uint32_t apply_entries_left, apply_bytes_left; /* of this turn */
    struct cold apply_cold;
    struct node_load *apply_load;
    uint64_t apply_load_from_ms; /* no load before: the last one failed */
    bool applying, apply_more;

    /* node_push.c */
    uint32_t push_wanted;                 /* peers to look at when the gate opens or a load ends */
    struct node_peer peers[DL_PEERS_MAX]; /* as members.id */
    struct dl_slice slices[DL_PUSH_ENTRIES_MAX];

    dl_term_t terms[DL_PUSH_ENTRIES_MAX];
    struct dl_update update;
    struct dl_node_counters counters;
};

/* node.c */
void node_step(struct dl_node *n, const struct dl_event *event, const struct incoming *in);
static inline bool node_gate_open(const struct dl_node *n)
{
    return dl_hard_equal(n->hard_wanted, n->hard_durable);
}
struct dl_event node_event(struct dl_node *n, enum dl_event_type type);
/* Note a change of `serving`; calls hooks.changed when it or the role changed. */
void node_look_serving(struct dl_node *n, bool role_changed);

/* node_propose.c */
/* The leader appends what it is submitting as first..first+count-1. */
void node_propose_append(struct dl_node *n, dl_index_t first, dl_index_t last, dl_term_t term);
/* The core did not take what is being submitted. */
void node_propose_refused(struct dl_node *n);
void node_propose_turn_end(struct dl_node *n);
/* Entry e was applied with this result: settle its waiters. */
void node_propose_settle(struct dl_node *n, const struct dl_entry *e, const void *result);
uint64_t node_propose_waiting_bytes(const struct dl_node *n);
void node_propose_release(struct dl_node *n);

/* node_apply.c */
void node_apply_run(struct dl_node *n);
void node_apply_release(struct dl_node *n);

/* node_push.c */
void node_push_run(struct dl_node *n, uint32_t mask);
void node_push_release(struct dl_node *n);
/* Cold loads for both: `done` gets the records, or none; not called when the load was dropped meanwhile. */
struct node_load *node_load_start(struct dl_node *n, dl_index_t first,
                                  void (*done)(struct dl_node *n, uint32_t peer, struct cold cold),
                                  uint32_t peer);
void node_load_drop(struct node_load *load);
/* Head fields of the record at c->at, which must be there; e->buf is lent. */
void node_cold_entry(const struct cold *c, struct dl_entry *e);
/* Step over it; the buffer is let go behind the last one. */
void node_cold_advance(struct cold *c, uint32_t len);
void node_cold_drop(struct cold *c);

#endif
