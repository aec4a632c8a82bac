/*
 * follow.c - the follower's side of replication.
 *
 *     begin        commit      verified     persisted     last
 *       |............|............|............|............|
 *
 * `verified` is how far our log is known to equal the current leader's in its current term; what lies beyond
 * may be the tail of a dead branch. Acknowledged is min(verified, persisted), committed at most verified,
 * whatever a message claims.
 *
 * Truncation only on a real conflict, never at or below commit, and only while no disk write is under way:
 * after it a late disk reply could otherwise not be told from the reply for an equal entry written again.
 * Until our disk has caught up the leader's entries are dropped; then we ask for them.
 */
#include <stddef.h>

#include "dledger/core/internal.h"

static dl_index_t lesser(dl_index_t a, dl_index_t b)
{
    return a < b ? a : b;
}

static struct dl_msg *reply(struct dl_core *core, enum dl_push push, uint64_t sent_ms)
{
    struct dl_msg *msg = core_say(core, DL_MSG_PUSH_RSP, core->leader);
    msg->push = push;
    msg->sent_ms = sent_ms;
    msg->last_index = core->verified;
    msg->joined = core->hard.joined;
    msg->life = msg->joined ? 0 : core->life;
    return msg;
}

static void reply_match(struct dl_core *core, enum dl_push push, uint64_t sent_ms)
{
    struct dl_msg *msg = reply(core, push, sent_ms);
    msg->success = true;
    msg->match = core->acked = lesser(core->persisted, core->verified);
}

static void reply_mismatch(struct dl_core *core, enum dl_push push, uint64_t sent_ms, dl_index_t hint)
{
    struct dl_msg *msg = reply(core, push, sent_ms);
    msg->hint_index = hint;
    msg->hint_term = trail_term(&core->trail, hint);
}

/* The host has checked the bytes, not the story they tell. */
static bool push_is_sane(const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    if (msg->prev_index > CORE_INDEX_MAX || msg->prev_term > msg->term ||
        (msg->prev_index == 0) != (msg->prev_term == 0))
        return false;
    if (msg->push != DL_PUSH_APPEND)
        return msg->push == DL_PUSH_COMMIT || msg->push == DL_PUSH_COMPARE;
    if (event->terms == NULL || msg->first != msg->prev_index + 1 || msg->last < msg->first ||
        msg->last - msg->first >= CORE_PUSH_ENTRIES_MAX)
        return false;
    dl_term_t term = msg->prev_term > 0 ? msg->prev_term : 1;
    for (uint64_t i = 0; i <= msg->last - msg->first; i++) {
        if (event->terms[i] < term || event->terms[i] > msg->term)
            return false;
        term = event->terms[i];
    }
    return true;
}

/* What is committed here is in the leader's log as well (leader completeness), even if we have removed it
 * meanwhile. */
static bool agrees_at_prev(const struct dl_core *core, const struct dl_msg *msg)
{
    return msg->prev_index <= core->verified || (msg->prev_index <= core->trail.last &&
                                                 trail_term(&core->trail, msg->prev_index) == msg->prev_term);
}

/* Put the entries of an APPEND that follows upon verified ground into the log. False: not now, or never. */
static bool take_entries(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    dl_index_t at = msg->first > core->verified ? msg->first : core->verified + 1;
    while (at <= lesser(msg->last, core->trail.last) &&
           trail_term(&core->trail, at) == event->terms[at - msg->first])
        at++;
    if (at <= msg->last) {
        if (event->terms[at - msg->first] < trail_term(&core->trail, at - 1))
            return false; /* terms never fall along a log: a liar */
        if (at <= core->trail.last) {
            if (core->persisted < core->trail.last) {
                core->conflict_waits = true;
                return false;
            }
            trail_truncate(&core->trail, at);
            core->persisted = core->trail.last;
            core->out->truncate_from = at;
        }
        core->out->append_first = at;
        core->out->append_last = msg->last;
        for (; at <= msg->last; at++)
            trail_append(&core->trail, event->terms[at - msg->first], 1);
    }
    if (msg->last > core->verified)
        core->verified = msg->last;
    return true;
}

/* A leader speaks in a current or newer term: know it, and be loyal to it for a while. */
static bool accept_leader(struct dl_core *core, const struct dl_msg *msg)
{
    bool another = core->leader != DL_NOBODY && core->leader != msg->from;
    if (msg->term == core->hard.term && (core->role == DL_LEADER || another))
        return false; /* two leaders in one term cannot be: a liar */
    if (msg->term > core->hard.term || core->leader != msg->from)
        core_become_follower(core, msg->term, msg->from);
    core->loyal_until_ms = core->now_ms + core->opts.election_min_ms;
    core->election_due_ms = core_election_due(core);
    if (msg->sent_ms > core->echo_ms)
        core->echo_ms = msg->sent_ms;
    return true;
}

void follow_on_push(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    if (!members_is_voter(&core->opts.members, msg->from) || !push_is_sane(event))
        return;
    if (msg->term < core->hard.term) { /* let an old leader know */
        struct dl_msg *old = core_say(core, DL_MSG_PUSH_RSP, msg->from);
        old->push = msg->push;
        old->sent_ms = msg->sent_ms;
        return;
    }
    if (!accept_leader(core, msg))
        return;
    if (msg->push == DL_PUSH_APPEND && core->conflict_waits)
        return;
    if (!agrees_at_prev(core, msg)) {
        dl_index_t hint = trail_agree(&core->trail, msg->prev_index, msg->prev_term);
        reply_mismatch(core, msg->push, msg->sent_ms, hint > core->verified ? hint : core->verified);
        return;
    }
    if (msg->prev_index > core->verified)
        core->verified = msg->prev_index;
    if (msg->push == DL_PUSH_APPEND && !take_entries(core, event))
        return;
    dl_index_t commit = lesser(msg->commit, core->verified);
    if (commit > core->commit)
        core->commit = commit;
    join_on_admission(core, msg);
    /* New entries are acknowledged when they are on disk: follow_on_persisted. */
    if (msg->push != DL_PUSH_APPEND || core->persisted >= msg->last)
        reply_match(core, msg->push, msg->sent_ms);
}

void follow_on_persisted(struct dl_core *core)
{
    if (core->leader == DL_NOBODY)
        return;
    if (core->conflict_waits && core->persisted == core->trail.last) {
        core->conflict_waits = false;
        reply_mismatch(core, DL_PUSH_APPEND, core->echo_ms, core->verified);
    } else if (lesser(core->persisted, core->verified) > core->acked) {
        reply_match(core, DL_PUSH_APPEND, core->echo_ms);
    }
}
