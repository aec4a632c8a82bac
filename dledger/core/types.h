/*
 * types.h - the words of the replicated log: terms, indexes, roles, messages between replicas.
 *
 * Everything here is plain data: copied by assignment, owning nothing. DLedger's vocabulary is kept (group,
 * peer, push APPEND / COMPARE / COMMIT) so that its users read our logs easily; the rules are those of the
 * Raft paper (Ongaro & Ousterhout 2014; dissertation 2014 for pre-vote, leadership transfer and
 * check-quorum).
 */
#ifndef DLEDGER_CORE_TYPES_H
#define DLEDGER_CORE_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#define DL_PEERS_MAX 9  /* voters and learners of one group */
#define DL_NOBODY    0u /* no peer: peer ids start at 1 */

typedef uint64_t dl_term_t;  /* 0 = before the first election */
typedef uint64_t dl_index_t; /* 0 = before the first entry; the first entry has index 1 */
typedef uint64_t
    dl_pos_t; /* byte offset in the endless log; identical on all replicas; RocketMQ's physical offset */
typedef uint32_t dl_peer_t; /* a replica: the number in dLegerSelfId plus 1 ("n0" is peer 1), never reused */

enum dl_role {
    DL_FOLLOWER = 0,
    DL_PRECANDIDATE = 1, /* asks whether an election could be won; its term is not raised */
    DL_CANDIDATE = 2,
    DL_LEADER = 3,
};

/* Kinds of log entries. Numbers are on disk and on the wire: never reused. The log itself knows only the
 * first two. */
enum dl_kind {
    DL_KIND_NOOP = 1,       /* committed by each new leader at the start of its term; no body */
    DL_KIND_MEMBERSHIP = 2, /* reserved for online membership change; refused by this version */
    DL_KIND_FIRST_APP = 16, /* application kinds start here: see broker/state/command.h */
};

/* Term and vote: durable before this replica speaks for them (Raft figure 2 "persistent state"). */
struct dl_hard {
    dl_term_t term;
    dl_peer_t vote; /* DL_NOBODY = none in this term */
    bool joined;    /* counts in majorities; a new store does not yet, see join.c */
};

static inline bool dl_hard_equal(struct dl_hard a, struct dl_hard b)
{
    return a.term == b.term && a.vote == b.vote && a.joined == b.joined;
}

/* Who belongs to the group. Static in this version, but part of the state and given at start. */
struct dl_members {
    uint32_t count;
    dl_peer_t id[DL_PEERS_MAX]; /* ascending, distinct, all > 0 */
    bool voter[DL_PEERS_MAX];   /* false = learner: receives the log, has no vote */
};

enum dl_msg_type {
    DL_MSG_VOTE_REQ = 1,
    DL_MSG_VOTE_RSP = 2,
    DL_MSG_PUSH_REQ =
        3, /* AppendEntries: compare (probe), append (entries) or commit (heartbeat), see enum dl_push */
    DL_MSG_PUSH_RSP = 4,
    DL_MSG_TIMEOUT_NOW = 5, /* leadership transfer: "stand for election at once" */
    DL_MSG_HAVE_REQ = 6,    /* a replica that has not joined: "what do you have?" */
    DL_MSG_HAVE_RSP = 7,
};

enum dl_push {
    DL_PUSH_COMMIT = 1,  /* no entries: heartbeat and/or news of the commit index */
    DL_PUSH_COMPARE = 2, /* no entries: where do our logs agree? one at a time per peer */
    DL_PUSH_APPEND = 3,  /* entries first..last follow, one upon prev_index/prev_term */
};

/* One message between replicas. `from`, `to` and `term` are valid for all types, the rest as marked. */
struct dl_msg {
    enum dl_msg_type type;
    dl_peer_t from, to;
    dl_term_t
        term; /* sender's current term, 0 only in HAVE_*; for a pre-vote request, and its granted answer, the term that
                       the sender of the request would stand for */

    /* VOTE_REQ */
    bool pre;      /* also in VOTE_RSP: answer to a pre-vote */
    bool transfer; /* the leader asked for this election: leases do not protect it */
    /* VOTE_REQ: end of the candidate's log. HAVE_RSP: of the sender's. PUSH_RSP: how far the follower's log is
     * known to equal the leader's (>= match; maybe unsynced). */
    dl_index_t last_index;
    dl_term_t last_term;

    /* VOTE_RSP */
    bool granted;

    /* PUSH_REQ */
    enum dl_push push;     /* also echoed in PUSH_RSP */
    dl_index_t prev_index; /* COMPARE/APPEND/COMMIT: the entry before the first pushed one */
    dl_term_t prev_term;
    dl_index_t first, last; /* APPEND: range of entries; the bytes travel beside the message */
    dl_index_t commit;      /* leader's commit index */
    bool admit;             /* COMMIT: "you have joined, if you have all up to prev_index on disk" */
    /* Leader's monotonic clock at sending; echoed by PUSH_RSP; carries the lease.
     * TIMEOUT_NOW, and the VOTE_REQ (transfer) of the one so asked: when the hand-over ends by that clock.
     * Who has heard the leader later than that knows that it is over.
     * HAVE_REQ: no time, but a number of the asking process's life; echoed by HAVE_RSP. */
    uint64_t sent_ms;

    /* PUSH_RSP */
    bool joined;           /* the sender counts in majorities ... */
    uint64_t life;         /* ... and while it does not, a number of its process's life */
    bool success;          /* false: logs differ at prev_index; hint_* say where to try next */
    dl_index_t match;      /* success: everything up to here equals the leader's log AND is persisted */
    dl_index_t hint_index; /* failure: last index the follower could agree on (end of its run of hint_term) */
    dl_term_t hint_term;   /* failure: the follower's term at hint_index (0 when its log is empty there) */
};

#endif
