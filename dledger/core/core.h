/*
 * core.h - the consensus core: a pure function of its inputs.
 *
 * No I/O, no clock, no randomness (a seed is given once), no threads; no allocation after dl_core_new, except
 * that the table of terms may grow at the very start of a step. The host (dledger/node.c, or a test) hands in
 * events and carries out the returned update in this order:
 *
 *   1. hard state, if `hard_changed`   - start making it durable; report with DL_EV_HARD_PERSISTED
 *   2. truncate, then append           - start making entries durable; report with DL_EV_LOG_PERSISTED
 *   3. messages                        - may leave only when the newest hard state of the replica is durable:
 *                                        the host's gate, nothing is said in a term that could be forgotten
 *   4. pushes                          - for each peer in `push_mask` run the push loop below
 *   5. apply up to `commit`            - committed entries in order; also followers
 *   6. sleep until `wake_ms`           - or the next event
 *
 * The core knows index -> term, never payloads. Leader's own disk counts like a follower's: an entry is
 * committed when a majority has persisted it and it is of the leader's own term (Raft 5.4.2); each leader
 * starts with a NOOP entry.
 *
 * Push loop (pipelining). The window per peer is in entries and in bytes; only the host knows sizes, so it
 * asks:
 *
 *     while (dl_core_push_begin(core, peer, now_ms, &msg))
 *         - msg is an APPEND with prev_*, first, and last = the furthest entry allowed now
 *         - take entries first.. from the store: at most to msg.last, at most the host's bytes per push
 *         - nothing in memory? start reading, break, and run this loop again when it is there
 *         - msg.last = last one taken; send
 *         dl_core_push_done(core, peer, msg.last, bytes)
 *
 * Late disk replies carry their term so that a report about entries since truncated and replaced is ignored
 * (the ABA problem of asynchronous storage).
 */
#ifndef DLEDGER_CORE_CORE_H
#define DLEDGER_CORE_CORE_H

#include "common/ensure.h"
#include "dledger/core/types.h"

struct dl_core; /* opaque; one per group; all calls from one thread */

struct dl_core_opts {
    dl_peer_t self;
    struct dl_members members; /* contains self */
    /* Leader wished for, DL_NOBODY for none. It yields to log length: whoever leads hands over to it only when
     * its log is complete and it answers. */
    dl_peer_t preferred;
    uint64_t seed;            /* for election jitter */
    uint32_t heartbeat_ms;    /* 50; 1..election_min_ms/2 */
    uint32_t election_min_ms; /* 300 */
    uint32_t election_max_ms; /* 600; > election_min_ms */
    uint32_t window_entries;  /* 4096: most entries in flight to one peer */
    uint32_t window_bytes;    /* 8 MiB: most bytes in flight to one peer; one push may overshoot */
};

/* A run of entries of one term: [first, next run's first). The log's term history, as the store
 * recovered it. */
struct dl_term_run {
    dl_index_t first;
    dl_term_t term;
};

/* What recovery found. Copied. */
struct dl_core_start {
    struct dl_hard hard;
    bool trust_empty;          /* joined from the start on, whatever `hard` says: an operator wants it */
    dl_index_t begin_index;    /* index of the first entry kept (1 when nothing was removed) */
    dl_term_t begin_prev_term; /* term of the entry before it, 0 for begin_index 1 */
    dl_index_t end_index;      /* index of the last entry, begin_index-1 when empty; all durable */
    dl_index_t commit; /* known to be committed (the applied index of the state checkpoint), <= end_index */
    const struct dl_term_run *runs; /* ascending, covering begin..end */
    uint32_t run_count;
    uint64_t now_ms;
};

enum dl_event_type {
    /* Time has come (wake_ms) or simply passes. */
    DL_EV_TICK = 1,
    /* `msg`. For an APPEND the host has checked that the entry bytes match first..last, and gives `terms`. */
    DL_EV_MESSAGE = 2,
    /* `count` new entries are offered; the update tells whether they were taken. Only a leader takes any. */
    DL_EV_SUBMIT = 3,
    /* The entry `index` of `term`, and all before it, are on disk. */
    DL_EV_LOG_PERSISTED = 4,
    /* `hard` is on disk. */
    DL_EV_HARD_PERSISTED = 5,
    /* The connection to `peer` was reset by its kernel: a hint, never a term. */
    DL_EV_PEER_RESET = 6,
    /* Leader: hand over to `peer`; DL_NOBODY is the most advanced voter that answers. */
    DL_EV_TRANSFER = 7,
    /* Pushes to `peer` were dropped by the transport (connection lost): go back to COMPARE. */
    DL_EV_PUSH_UNSENT = 8,
    /* `peer` can be reached. */
    DL_EV_PEER_UP = 9,
};

struct dl_event {
    enum dl_event_type type;
    uint64_t now_ms;          /* monotonic; never falls; valid in every event */
    const struct dl_msg *msg; /* MESSAGE; lent for the call */
    const dl_term_t *terms;   /* MESSAGE with APPEND: term of each entry first..last; lent for the call */
    uint32_t count;           /* SUBMIT: 1..DL_SUBMIT_MAX */
    dl_index_t index;         /* LOG_PERSISTED */
    dl_term_t term;           /* LOG_PERSISTED */
    struct dl_hard hard;      /* HARD_PERSISTED */
    dl_peer_t peer;           /* PEER_RESET, TRANSFER, PUSH_UNSENT, PEER_UP */
};

#define DL_SUBMIT_MAX      65536u /* entries in one SUBMIT */
#define DL_UPDATE_MSGS_MAX (2 * DL_PEERS_MAX + 2)

struct dl_update {
    bool hard_changed;
    struct dl_hard hard;

    /* Nonzero: remove entries from this index on, before appending. Never <= commit. */
    dl_index_t truncate_from;
    /* Nonzero: append entries append_first..append_last. Leader: the submitted ones, in append_term, or with
     * append_noop its NOOP, one entry made by the host. Follower: those of the message, of which the leading
     * ones may be present already: start at append_first. */
    dl_index_t append_first;
    dl_index_t append_last;
    dl_term_t append_term;
    bool append_noop;
    /* SUBMIT: not taken (not leader, or transferring), nothing appended. TRANSFER: not begun (not leader, no
     * such voter, another is under way). */
    bool refused;

    bool disk_hangs; /* leader: begins to hand over because its own disk does not move on */

    struct dl_msg msgs[DL_UPDATE_MSGS_MAX];
    uint32_t msg_count;
    uint32_t push_mask; /* bit i: members.id[i] may be sent entries now */

    dl_index_t commit; /* always the current commit index */
    bool role_changed; /* role, term or leader differ from the last update */
    enum dl_role role;
    dl_term_t term;
    dl_peer_t leader; /* DL_NOBODY while unknown */
    uint64_t wake_ms; /* call again with TICK at this time at the latest */
};

/* Make a core from options and what recovery found; both are copied. Returns 0, or ERR_INVALID when they
 * contradict each other (`*out` untouched); out of memory stops the process. Free with dl_core_free. */
int dl_core_new(const struct dl_core_opts *opts, const struct dl_core_start *start,
                struct dl_core **out) MUSTCHECK;
void dl_core_free(struct dl_core *core);

/* Take one event and fill `update` (wholly overwritten; its content is the caller's). Total: any event in any
 * state is answered. */
void dl_core_step(struct dl_core *core, const struct dl_event *event, struct dl_update *update);

/* Push loop, see the head of this file. `begin` returns false when the peer's window is full, it is being
 * compared, has everything, or this replica does not lead. `done` must follow a true `begin` whose entries
 * were handed to the transport. */
bool dl_core_push_begin(struct dl_core *core, dl_peer_t peer, uint64_t now_ms, struct dl_msg *msg);
void dl_core_push_done(struct dl_core *core, dl_peer_t peer, dl_index_t last, uint32_t bytes);

/* Facts for the host. */
struct dl_core_view {
    enum dl_role role;
    dl_term_t term;
    dl_peer_t leader;
    dl_peer_t vote;
    dl_index_t begin, last, persisted, commit; /* `persisted`: own log durable up to here */
    dl_term_t last_term;
    dl_index_t term_start; /* leader: index of its NOOP; it may serve once that is applied. else 0 */
    bool joined;           /* counts in majorities */
    bool transferring;
    uint64_t elections; /* times this replica became candidate */
};
void dl_core_view(const struct dl_core *core, struct dl_core_view *view);

/* Term of entry `index`; 0 when it is not in begin-1..last. */
dl_term_t dl_core_term_at(const struct dl_core *core, dl_index_t index);

/* True while this replica leads, its NOOP is committed and a majority has acknowledged a push sent less than
 * election_min_ms minus a margin ago: no other replica can have been elected, so local committed state is
 * linearizable (dissertation 6.4.1). */
bool dl_core_lease_valid(const struct dl_core *core, uint64_t now_ms);

/* Progress of a peer as the leader sees it (raftStatus). Returns false when not leader or no such peer. */
struct dl_peer_view {
    dl_index_t match, next;
    uint64_t last_ack_ms;
    uint32_t inflight_entries, inflight_bytes;
    bool comparing;
    bool joined;
};
bool dl_core_peer_view(const struct dl_core *core, dl_peer_t peer, struct dl_peer_view *view);

/* The entry at `index` and all before it were removed by retention: forget their terms. */
void dl_core_trim(struct dl_core *core, dl_index_t index);

#endif
