/*
 * vote.c - elections.
 *
 * Pre-vote (dissertation 9.6): a replica asks first whether it could win and raises its term only when a
 * majority would vote for it. Leader stickiness (4.2.3): who heard a live leader less than election_min_ms
 * ago answers no and does not even look at the term, so a replica that lost its incoming link disturbs
 * nobody, and the leader's lease holds. An election the leader asked for itself (transfer) is exempt.
 *
 * Two survivors of a killed leader learn of it in the same millisecond. If both won their pre-vote they would
 * split the vote and wait for another time-out. Therefore a precandidate refuses, for one heartbeat interval,
 * a rival that is not better than itself, and asks the rival in turn: exactly one of two is better.
 */
#include <string.h>

#include "dledger/core/internal.h"

static struct dl_msg *ask(struct dl_core *core, dl_peer_t to)
{
    struct dl_msg *msg = core_say(core, DL_MSG_VOTE_REQ, to);
    msg->last_index = core->trail.last;
    msg->last_term = trail_last_term(&core->trail);
    return msg;
}

static void ask_before(struct dl_core *core, dl_peer_t to)
{
    struct dl_msg *msg = ask(core, to);
    msg->pre = true;
    msg->term++;
}

/* Iterate over the voters but ourselves, from *slot on. */
static bool next_voter(const struct dl_core *core, uint32_t *slot, dl_peer_t *peer)
{
    const struct dl_members *members = &core->opts.members;
    while (*slot < members->count && (!members->voter[*slot] || (int)*slot == core->self_slot))
        ++*slot;
    if (*slot == members->count)
        return false;
    *peer = members->id[(*slot)++];
    return true;
}

void vote_stand(struct dl_core *core)
{
    dl_peer_t peer;
    core->election_due_ms = core_election_due(core);
    if (core->hard.term >= CORE_TERM_MAX)
        return;
    core->role = DL_PRECANDIDATE;
    core->leader = DL_NOBODY;
    core->round_ms = core->now_ms;
    memset(core->granted, 0, sizeof(core->granted));
    core->granted[core->self_slot] = true;
    if (members_majority(&core->opts.members, core->granted))
        vote_campaign(core, false, 0);
    else
        for (uint32_t slot = 0; next_voter(core, &slot, &peer);)
            ask_before(core, peer);
}

void vote_campaign(struct dl_core *core, bool transfer, uint64_t deadline_ms)
{
    dl_peer_t peer;
    core_become_follower(core, core->hard.term + 1, DL_NOBODY);
    core->role = DL_CANDIDATE;
    core->hard.vote = core->opts.self;
    core->election_due_ms = core_election_due(core);
    core->elections++;
    memset(core->granted, 0, sizeof(core->granted)); /* our own vote counts when it is durable */
    for (uint32_t slot = 0; next_voter(core, &slot, &peer);) {
        struct dl_msg *msg = ask(core, peer);
        msg->transfer = transfer;
        msg->sent_ms = deadline_ms;
    }
}

void vote_on_hard_persisted(struct dl_core *core)
{
    if (core->role != DL_CANDIDATE || core->hard_durable.term != core->hard.term ||
        core->hard_durable.vote != core->opts.self)
        return;
    core->granted[core->self_slot] = true;
    if (members_majority(&core->opts.members, core->granted))
        core_become_leader(core);
}

/* ---- Answering ---- */

static void answer(struct dl_core *core, const struct dl_msg *request, bool granted)
{
    struct dl_msg *msg = core_say(core, DL_MSG_VOTE_RSP, request->from);
    msg->pre = request->pre;
    msg->granted = granted;
    if (request->pre && granted)
        msg->term = request->term; /* names the round that was asked about */
}

/* <0, 0, >0: the end of the sender's log is behind, equal to, ahead of ours (Raft 5.4.1). */
static int compare_logs(const struct dl_core *core, const struct dl_msg *msg)
{
    dl_term_t own_term = trail_last_term(&core->trail);
    if (msg->last_term != own_term)
        return msg->last_term > own_term ? 1 : -1;
    return msg->last_index == core->trail.last ? 0 : msg->last_index > core->trail.last ? 1 : -1;
}

/* Between rivals with equal logs the preferred leader goes first, then the lower number. */
static bool rival_is_better(const struct dl_core *core, const struct dl_msg *msg)
{
    int logs = compare_logs(core, msg);
    if (logs != 0)
        return logs > 0;
    if (core->opts.preferred == msg->from || core->opts.preferred == core->opts.self)
        return core->opts.preferred == msg->from;
    return msg->from < core->opts.self;
}

static void on_pre_request(struct dl_core *core, const struct dl_msg *msg, bool loyal)
{
    bool contending =
        core->role == DL_PRECANDIDATE && core->now_ms < core->round_ms + core->opts.heartbeat_ms;
    bool granted = !loyal && msg->term > core->hard.term && compare_logs(core, msg) >= 0 &&
                   (!contending || rival_is_better(core, msg));
    answer(core, msg, granted);
    /* It did not hear the leader either: when we asked it before it may have. */
    if (!granted && core->role == DL_PRECANDIDATE && !rival_is_better(core, msg))
        ask_before(core, msg->from);
}

void vote_on_request(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    if (!join_has_vote(core) || !members_is_voter(&core->opts.members, msg->from))
        return;
    /* Who has heard nothing yet from this leader (a restart, a new term) cannot tell that the attempt is over,
     * and must take it for so. */
    bool knows = core->role == DL_LEADER || core->echo_ms > 0;
    bool exempt = msg->transfer && !msg->pre && knows && !transfer_is_over(core, msg->sent_ms);
    bool loyal = !exempt && (core->role == DL_LEADER || core->now_ms < core->loyal_until_ms);
    if (msg->pre) {
        on_pre_request(core, msg, loyal);
        return;
    }
    if (loyal || msg->term < core->hard.term) {
        answer(core, msg, false);
        return;
    }
    if (msg->term > core->hard.term)
        core_become_follower(core, msg->term, DL_NOBODY);
    bool granted =
        (core->hard.vote == DL_NOBODY || core->hard.vote == msg->from) && compare_logs(core, msg) >= 0;
    if (granted) {
        core->hard.vote = msg->from;
        core->election_due_ms = core_election_due(core);
    }
    answer(core, msg, granted);
}

void vote_on_reply(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    int slot = members_slot(&core->opts.members, msg->from);
    if (!msg->granted) {
        if (msg->term > core->hard.term)
            core_become_follower(core, msg->term, DL_NOBODY);
        return;
    }
    /* Anything else is an answer to an earlier round. */
    if (core->role != (msg->pre ? DL_PRECANDIDATE : DL_CANDIDATE) || msg->term != core->hard.term + msg->pre)
        return;
    core->granted[slot] = true;
    if (!members_majority(&core->opts.members, core->granted))
        return;
    if (msg->pre)
        vote_campaign(core, false, 0);
    else if (core->granted[core->self_slot])
        core_become_leader(core);
}
