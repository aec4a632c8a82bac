/*
 * core.c - the door of the consensus core: takes one event, lets the files beside it decide, fills the
 * update.
 *
 * A step is: the event, then whatever time has brought, then (as leader) what is to be said to the peers,
 * then the invariants. Nothing in a step fails half-way: the only memory it may need is reserved at its
 * start.
 */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "dledger/core/internal.h"

/* splitmix64 (Steele, Lea, Flood 2014): any seed is good. */
static uint64_t next_random(struct dl_core *core)
{
    uint64_t z = core->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t core_election_due(struct dl_core *core)
{
    uint64_t spread_ms = core->opts.election_max_ms - core->opts.election_min_ms;
    return core->now_ms + core->opts.election_min_ms + next_random(core) % (spread_ms + 1);
}

/* ---- Changes of role ---- */

void core_become_follower(struct dl_core *core, dl_term_t term, dl_peer_t leader)
{
    ENSURE(term >= core->hard.term);
    if (core->role == DL_LEADER)
        core->election_due_ms = core_election_due(core);
    if (term != core->hard.term)
        core->hard = (struct dl_hard){.term = term, .vote = DL_NOBODY, .joined = core->hard.joined};
    core->role = DL_FOLLOWER;
    core->leader = leader;
    core->term_start = 0;
    core->handover.target = DL_NOBODY;
    core->verified = core->commit; /* what is committed is in every later leader's log */
    core->acked = 0;
    core->echo_ms = 0;
    core->conflict_waits = false;
}

void core_become_leader(struct dl_core *core)
{
    core->role = DL_LEADER;
    core->leader = core->opts.self;
    push_start(core);
    transfer_reset(core);
    core->term_start = core->trail.last + 1;
    core_append_own(core, 1);
    core->out->append_noop = true;
}

void core_append_own(struct dl_core *core, uint64_t count)
{
    core->out->append_first = core->trail.last + 1;
    trail_append(&core->trail, core->hard.term, count);
    core->out->append_last = core->trail.last;
    core->out->append_term = core->hard.term;
}

struct dl_msg *core_say(struct dl_core *core, enum dl_msg_type type, dl_peer_t to)
{
    ENSURE(core->out->msg_count < DL_UPDATE_MSGS_MAX);
    struct dl_msg *msg = &core->out->msgs[core->out->msg_count++];
    memset(msg, 0, sizeof(*msg));
    msg->type = type;
    msg->from = core->opts.self;
    msg->to = to;
    msg->term = core->hard.term;
    return msg;
}

/* ---- Events ---- */

static void on_tick(struct dl_core *core, const struct dl_event *event)
{
    (void)core;
    (void)event;
}

static void on_message(struct dl_core *core, const struct dl_event *event)
{
    static void (*const handlers[])(struct dl_core *, const struct dl_event *) = {
        [DL_MSG_VOTE_REQ] = vote_on_request,
        [DL_MSG_VOTE_RSP] = vote_on_reply,
        [DL_MSG_PUSH_REQ] = follow_on_push,
        [DL_MSG_PUSH_RSP] = push_on_reply,
        [DL_MSG_TIMEOUT_NOW] = transfer_on_timeout_now,
        [DL_MSG_HAVE_REQ] = join_on_question,
        [DL_MSG_HAVE_RSP] = join_on_answer,
    };
    const struct dl_msg *msg = event->msg;
    if (msg == NULL || msg->to != core->opts.self || msg->from == core->opts.self ||
        msg->term > CORE_TERM_MAX || members_slot(&core->opts.members, msg->from) == MEMBERS_NO_SLOT)
        return;
    uint32_t type = (uint32_t)msg->type;
    if (msg->term == 0 && type != DL_MSG_HAVE_REQ && type != DL_MSG_HAVE_RSP)
        return;
    if (type < sizeof(handlers) / sizeof(handlers[0]) && handlers[type] != NULL)
        handlers[type](core, event);
}

static void on_submit(struct dl_core *core, const struct dl_event *event)
{
    if (core->role != DL_LEADER || core->handover.target != DL_NOBODY || event->count == 0 ||
        event->count > DL_SUBMIT_MAX || core->trail.last > CORE_INDEX_MAX - event->count)
        core->out->refused = true;
    else
        core_append_own(core, event->count);
}

/* A report about an entry that is no longer there, or no longer that of this term, is late and means
 * nothing. */
static void on_log_persisted(struct dl_core *core, const struct dl_event *event)
{
    if (event->index <= core->persisted || event->index > core->trail.last ||
        trail_term(&core->trail, event->index) != event->term)
        return;
    core->persisted = event->index;
    if (core->role == DL_LEADER)
        push_advance_commit(core);
    else
        follow_on_persisted(core);
}

static void on_hard_persisted(struct dl_core *core, const struct dl_event *event)
{
    core->hard_durable = event->hard;
    vote_on_hard_persisted(core);
}

/* The kernel of a killed leader resets its connections at once: ask at once whether an election could be won.
 * Those who still hear the leader say no, and no term is raised, so a mere network accident costs nothing. */
static void on_peer_reset(struct dl_core *core, const struct dl_event *event)
{
    if (core->role == DL_LEADER) {
        push_on_unsent(core, event->peer);
    } else if (event->peer != DL_NOBODY && event->peer == core->leader) {
        core_become_follower(core, core->hard.term, DL_NOBODY);
        core->loyal_until_ms = 0;
        if (join_has_vote(core))
            vote_stand(core);
    }
}

static void on_transfer(struct dl_core *core, const struct dl_event *event)
{
    transfer_on_request(core, event->peer);
}

static void on_push_unsent(struct dl_core *core, const struct dl_event *event)
{
    if (core->role == DL_LEADER)
        push_on_unsent(core, event->peer);
}

static void on_peer_up(struct dl_core *core, const struct dl_event *event)
{
    if (members_slot(&core->opts.members, event->peer) != MEMBERS_NO_SLOT && event->peer != core->opts.self)
        join_on_up(core, event->peer);
}

static void dispatch(struct dl_core *core, const struct dl_event *event)
{
    static void (*const handlers[])(struct dl_core *, const struct dl_event *) = {
        [DL_EV_TICK] = on_tick,
        [DL_EV_MESSAGE] = on_message,
        [DL_EV_SUBMIT] = on_submit,
        [DL_EV_LOG_PERSISTED] = on_log_persisted,
        [DL_EV_HARD_PERSISTED] = on_hard_persisted,
        [DL_EV_PEER_RESET] = on_peer_reset,
        [DL_EV_TRANSFER] = on_transfer,
        [DL_EV_PUSH_UNSENT] = on_push_unsent,
        [DL_EV_PEER_UP] = on_peer_up,
    };
    uint32_t type = (uint32_t)event->type;
    ENSURE(type < sizeof(handlers) / sizeof(handlers[0]));
    ENSURE(handlers[type] != NULL);
    handlers[type](core, event);
}

/* ---- Time ---- */

/* A learner, or a replica that has not joined, does not stand: it only no longer claims to know a leader. */
static void forget_leader(struct dl_core *core)
{
    core_become_follower(core, core->hard.term, DL_NOBODY);
    if (core->is_voter) {
        core->election_due_ms = core->now_ms + core->opts.heartbeat_ms;
        join_ask(core);
    } else {
        core->election_due_ms = core_election_due(core);
    }
}

static void run_timers(struct dl_core *core)
{
    core->heartbeat_now = false;
    if (core->role == DL_LEADER) {
        if (core->now_ms < core->heartbeat_due_ms)
            return;
        if (!push_quorum_alive(core)) {
            core_become_follower(core, core->hard.term, DL_NOBODY);
            return;
        }
        core->heartbeat_now = true;
        core->heartbeat_due_ms = core->now_ms + core->opts.heartbeat_ms;
    } else if (core->now_ms >= core->election_due_ms) {
        if (join_has_vote(core))
            vote_stand(core);
        else
            forget_leader(core);
    }
}

static uint64_t next_wake(const struct dl_core *core)
{
    if (core->role == DL_LEADER) {
        bool ends_sooner =
            core->handover.target != DL_NOBODY && core->handover.deadline_ms < core->heartbeat_due_ms;
        return ends_sooner ? core->handover.deadline_ms : core->heartbeat_due_ms;
    }
    return core->election_due_ms;
}

/* ---- The door ---- */

/* Terms that the event could add to the trail as new runs, and one for our own NOOP. */
static uint32_t runs_needed(const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    uint32_t runs = 1;
    if (event->type != DL_EV_MESSAGE || msg == NULL || msg->type != DL_MSG_PUSH_REQ ||
        msg->push != DL_PUSH_APPEND || event->terms == NULL || msg->last < msg->first ||
        msg->last - msg->first >= CORE_PUSH_ENTRIES_MAX)
        return runs;
    for (uint64_t i = 0; i <= msg->last - msg->first; i++)
        runs += i == 0 || event->terms[i] != event->terms[i - 1];
    return runs;
}

static void fill_update(struct dl_core *core)
{
    struct dl_update *out = core->out;
    out->hard_changed = !dl_hard_equal(core->hard, core->told.hard);
    out->hard = core->hard;
    out->commit = core->commit;
    out->role = core->role;
    out->term = core->hard.term;
    out->leader = core->leader;
    out->role_changed = core->role != core->told.role || core->hard.term != core->told.term ||
                        core->leader != core->told.leader;
    out->wake_ms = next_wake(core);
    core->told.hard = core->hard;
    core->told.role = core->role;
    core->told.term = core->hard.term;
    core->told.leader = core->leader;
}

void dl_core_step(struct dl_core *core, const struct dl_event *event, struct dl_update *update)
{
    const struct core_before before = {.term = core->hard.term, .commit = core->commit};
    memset(update, 0, sizeof(*update));
    core->out = update;
    if (event->now_ms > core->now_ms)
        core->now_ms = event->now_ms;
    trail_reserve(&core->trail, runs_needed(event));

    /* A message may be the sign of life whose absence time is about to punish. A submit must not be taken by
     * a leader that time deposes in the same step. */
    if (event->type == DL_EV_SUBMIT)
        run_timers(core);
    dispatch(core, event);
    if (event->type != DL_EV_SUBMIT)
        run_timers(core);
    if (core->role == DL_LEADER) {
        join_advance(core);
        transfer_advance(core);
        push_flush(core);
    }
    fill_update(core);
    core->out = NULL;
    core_check(core, &before);
}

/* ---- Making one ---- */

static bool opts_valid(const struct dl_core_opts *opts)
{
    return members_valid(&opts->members) && members_slot(&opts->members, opts->self) != MEMBERS_NO_SLOT &&
           (opts->preferred == DL_NOBODY || members_is_voter(&opts->members, opts->preferred)) &&
           opts->heartbeat_ms >= 1 && opts->heartbeat_ms <= opts->election_min_ms / 2 &&
           opts->election_max_ms > opts->election_min_ms && opts->window_entries >= 1 &&
           opts->window_bytes >= 1;
}

static bool start_valid(const struct dl_core_start *start)
{
    return start->begin_index >= 1 && start->end_index >= start->begin_index - 1 &&
           start->end_index <= CORE_INDEX_MAX && start->hard.term <= CORE_TERM_MAX &&
           (start->begin_prev_term == 0) == (start->begin_index == 1) &&
           start->commit >= start->begin_index - 1 && start->commit <= start->end_index &&
           trail_runs_valid(start) &&
           (start->run_count == 0 || start->runs[start->run_count - 1].term <= CORE_TERM_MAX) &&
           start->begin_prev_term <= CORE_TERM_MAX;
}

int dl_core_new(const struct dl_core_opts *opts, const struct dl_core_start *start, struct dl_core **out)
{
    if (!opts_valid(opts) || !start_valid(start))
        return ERR_INVALID;
    struct dl_core *core = calloc(1, sizeof(*core));
    ENSURE(core != NULL);
    core->opts = *opts;
    core->self_slot = members_slot(&opts->members, opts->self);
    core->is_voter = opts->members.voter[core->self_slot];
    core->random = opts->seed ^ ((uint64_t)opts->self << 32);
    core->now_ms = start->now_ms;
    core->hard = core->hard_durable = core->told.hard = start->hard;
    core->told.term = start->hard.term;
    trail_init(&core->trail, start);
    /* Entries can outlive the term they came with when both were being written at the crash. Nothing was said
     * in that term: the host's gate held it back. Take the term up again; the first update makes it durable.
     */
    if (trail_last_term(&core->trail) > core->hard.term)
        core->hard = (struct dl_hard){.term = trail_last_term(&core->trail), .joined = start->hard.joined};
    core->persisted = start->end_index;
    core->commit = core->verified = start->commit;
    core->role = DL_FOLLOWER;
    /* A replica that ever took part may have promised its loyalty a moment before it stopped. */
    if (core->hard.term > 0)
        core->loyal_until_ms = start->now_ms + opts->election_min_ms;
    bool alone = join_is_alone(core);
    if (alone || start->trust_empty)
        core->hard.joined = true;
    core->election_due_ms = alone ? start->now_ms : core_election_due(core);
    if (core->is_voter && !core->hard.joined) {
        core->life = next_random(core);
        core->election_due_ms = start->now_ms; /* ask at once */
    } else if (core->hard.term == 0 && !alone) {
        /* A group that never had a term has no leader to wait for: its members try one after another, as soon
         * as their connections can be there. */
        core->election_due_ms =
            start->now_ms + (uint64_t)opts->heartbeat_ms * (1 + (uint64_t)core->self_slot);
    }
    *out = core;
    return 0;
}

void dl_core_free(struct dl_core *core)
{
    if (core == NULL)
        return;
    trail_release(&core->trail);
    free(core);
}

/* ---- Facts for the host ---- */

void dl_core_view(const struct dl_core *core, struct dl_core_view *view)
{
    *view = (struct dl_core_view){
        .role = core->role,
        .term = core->hard.term,
        .leader = core->leader,
        .vote = core->hard.vote,
        .begin = core->trail.begin,
        .last = core->trail.last,
        .persisted = core->persisted,
        .commit = core->commit,
        .last_term = trail_last_term(&core->trail),
        .term_start = core->term_start,
        .joined = core->hard.joined,
        .transferring = core->role == DL_LEADER && core->handover.target != DL_NOBODY,
        .elections = core->elections,
    };
}

dl_term_t dl_core_term_at(const struct dl_core *core, dl_index_t index)
{
    return trail_term(&core->trail, index);
}

void dl_core_trim(struct dl_core *core, dl_index_t index)
{
    if (index < core->trail.begin)
        return;
    ENSURE(index <= core->commit);
    trail_trim(&core->trail, index);
    if (core->persisted < index)
        core->persisted = index;
    if (core->role == DL_LEADER)
        push_on_trim(core);
}
