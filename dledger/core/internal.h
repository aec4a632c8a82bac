/*
 * internal.h - the core's state and what its files ask of each other. Nobody outside dledger/core includes
 * it.
 *
 *   core.c      the door: events in, timers, update out; changes of role
 *   vote.c      pre-votes and votes, asking and answering
 *   push.c      the leader's side of replication: compare, push, acknowledgements, commit, heartbeats,
 *               check-quorum, lease
 *   follow.c    the follower's side: what a push does to the log, what is acknowledged
 *   transfer.c  leadership hand-over and the preferred leader
 *   join.c      who counts in majorities: a replica with a new store, or a lost one, does not yet
 *   check.c     the invariants, looked at after each step
 *   trail, members, progress   small tables with no idea of Raft
 */
#ifndef DLEDGER_CORE_INTERNAL_H
#define DLEDGER_CORE_INTERNAL_H

#include "dledger/core/core.h"
#include "dledger/core/members.h"
#include "dledger/core/progress.h"
#include "dledger/core/trail.h"

/* Numbers above these come from damage or malice; staying below them keeps all sums free of overflow. */
#define CORE_TERM_MAX         (UINT64_C(1) << 62)
#define CORE_INDEX_MAX        (UINT64_C(1) << 62)
#define CORE_PUSH_ENTRIES_MAX (1u << 20) /* entries in one APPEND */

struct handover {
    dl_peer_t target;     /* DL_NOBODY: none under way */
    uint64_t deadline_ms; /* then it has failed and submits are taken again */
    bool asked;           /* TIMEOUT_NOW was sent in this attempt */
    /* Deadline of the newest attempt in which TIMEOUT_NOW was sent. The target may act on it long after the
     * attempt has failed, and its election is exempt from loyalty. Therefore the lease is void until a
     * majority has answered a push sent after the deadline: who has heard such a push knows that the attempt
     * is over, and is loyal again (transfer_is_over). */
    uint64_t void_until_ms;
    dl_index_t persisted;       /* own log, when our disk last kept up or moved on ... */
    uint64_t persisted_ms;      /* ... which was then */
    uint64_t preferred_next_ms; /* not before: try the preferred leader */
    uint64_t preferred_wait_ms; /* grows with each failure */
};

struct dl_core {
    struct dl_core_opts opts;
    int self_slot;
    bool is_voter;
    uint64_t random; /* state of the generator for election jitter */
    uint64_t now_ms;

    /* Persistent on the host's side. */
    struct dl_hard hard;         /* in force; messages in its name wait at the host until it is durable */
    struct dl_hard hard_durable; /* newest reported durable */
    struct trail trail;
    dl_index_t persisted; /* own log durable up to here */
    dl_index_t commit;

    enum dl_role role;
    dl_peer_t leader;

    /* Not leading. */
    uint64_t election_due_ms; /* voters: stand for election then */
    /* We heard a leader, or may have just before a restart: no vote for others until then. */
    uint64_t loyal_until_ms;
    bool granted[DL_PEERS_MAX]; /* (pre-)candidate: who is for us; ourselves once the vote is durable */
    uint64_t round_ms;          /* precandidate: start of the round */
    dl_index_t verified; /* follower: own log equals the current leader's up to here; never acknowledge or
                            commit beyond */
    dl_index_t acked;    /* follower: newest match told to the current leader */
    uint64_t echo_ms;    /* follower: newest sent_ms of the current leader */
    /* Not joined: the number of this life, in what we ask; who has told us in it what it has, and that it is
     * nothing; the highest term named with that. */
    uint64_t life;
    struct told_us {
        bool yet, empty;
    } told_us[DL_PEERS_MAX];
    dl_term_t heard_term;
    bool conflict_waits; /* follower: a conflicting tail is removed once our disk has caught up with it */

    /* Leading. */
    dl_index_t term_start; /* our NOOP; 0 when not leading */
    uint64_t heartbeat_due_ms;
    bool heartbeat_now; /* in this step */
    struct progress progress[DL_PEERS_MAX];
    struct handover handover;

    uint64_t elections;
    struct dl_update *out; /* during a step */
    struct {               /* as last reported */
        struct dl_hard hard;
        enum dl_role role;
        dl_term_t term;
        dl_peer_t leader;
    } told;
};

/* ---- core.c ---- */

/* A random election time-out from now. */
uint64_t core_election_due(struct dl_core *core);
/* Follow `leader` (DL_NOBODY: wait for one) in `term` >= the current one. Gives up leadership or
 * candidacy. */
void core_become_follower(struct dl_core *core, dl_term_t term, dl_peer_t leader);
/* Won: start the term with a NOOP and compare with everybody. */
void core_become_leader(struct dl_core *core);
/* Add a message of `type` to `to` in our term; the caller fills in the rest. */
struct dl_msg *core_say(struct dl_core *core, enum dl_msg_type type, dl_peer_t to);
/* Append `count` entries of our term as leader. */
void core_append_own(struct dl_core *core, uint64_t count);
static inline dl_peer_t core_peer(const struct dl_core *core, uint32_t slot)
{
    return core->opts.members.id[slot];
}

/* ---- vote.c ---- */
void vote_stand(struct dl_core *core); /* begin a pre-vote round */
/* Raise the term and ask for real. `deadline_ms`: when the hand-over ends by the leader's clock. */
void vote_campaign(struct dl_core *core, bool transfer, uint64_t deadline_ms);
void vote_on_request(struct dl_core *core, const struct dl_event *event);
void vote_on_reply(struct dl_core *core, const struct dl_event *event);
void vote_on_hard_persisted(struct dl_core *core);

/* ---- push.c ---- */
void push_start(struct dl_core *core);
void push_on_reply(struct dl_core *core, const struct dl_event *event);
void push_on_unsent(struct dl_core *core, dl_peer_t peer);
void push_on_trim(struct dl_core *core);
void push_advance_commit(struct dl_core *core);
bool push_quorum_alive(const struct dl_core *core);
/* End of a leader's step: probes, heartbeats, news of the commit index, push mask. */
void push_flush(struct dl_core *core);

/* ---- follow.c ---- */
void follow_on_push(struct dl_core *core, const struct dl_event *event);
void follow_on_persisted(struct dl_core *core);

/* ---- transfer.c ---- */
void transfer_reset(struct dl_core *core); /* a new leader begins with a clean sheet */
void transfer_on_request(struct dl_core *core, dl_peer_t peer);
void transfer_on_timeout_now(struct dl_core *core, const struct dl_event *event);
/* A leader's step: end an attempt that took too long, ask a target that is ready, yield to the preferred
 * leader. */
void transfer_advance(struct dl_core *core);
/* True when we have heard the leader say something after `deadline_ms` of its clock. */
bool transfer_is_over(const struct dl_core *core, uint64_t deadline_ms);

/* ---- join.c ---- */
/* We may vote and stand. */
bool join_has_vote(const struct dl_core *core);
/* We are the only voter. */
bool join_is_alone(const struct dl_core *core);
/* Not joined and no leader in sight: ask the others what they have. */
void join_ask(struct dl_core *core);
/* A peer can be reached (from here on). */
void join_on_up(struct dl_core *core, dl_peer_t peer);
void join_on_question(struct dl_core *core, const struct dl_event *event);
void join_on_answer(struct dl_core *core, const struct dl_event *event);
/* Leader: a peer says (PUSH_RSP) whether it has joined. */
void join_on_word(struct dl_core *core, struct progress *progress, const struct dl_msg *msg);
/* A leader's step: append the entry that an admission waits for, when nobody else does. */
void join_advance(struct dl_core *core);
/* Leader: the replica in this slot, which has not joined, may be told that it has. */
bool join_may_admit(const struct dl_core *core, uint32_t slot);
/* Follower: a push of our leader has been taken in. */
void join_on_admission(struct dl_core *core, const struct dl_msg *msg);

/* ---- check.c ---- */
struct core_before {
    dl_term_t term;
    dl_index_t commit;
};
void core_check(const struct dl_core *core, const struct core_before *before);

#endif
