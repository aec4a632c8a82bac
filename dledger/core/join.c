/*
 * join.c - who counts in majorities.
 *
 * A replica with a new store has no past, or has lost it. If its disk was lost it has forgotten what it
 * acknowledged and for whom it voted; counted again at once, it and one that lags would be a majority that
 * elects a leader without entries long acknowledged: one lost disk, lost messages. So it is blank: it follows
 * and writes like any other, but has no vote, and leaders do not count what it has on disk, until it has
 * joined. That is part of the hard state and for good; it happens in one of two ways.
 *
 *   The group begins. All other voters have answered since our start, and none has an entry. Then nothing was
 *   ever committed with our help: somebody else would have it on disk. A vote of ours may be forgotten, but
 *   who asked for it, or voted for us, has its term on disk: we take the highest term heard of and regard our
 *   vote in it as spent.
 *
 *   The group lives. The leader says so (`admit`). It does when an entry that it appended after it had learned
 *   that we are blank, the fence, is committed, by a majority without us because we do not count, and we have
 *   it on disk. In that term our vote is the leader's.
 *     - No leader of a later term exists that our former self helped to elect: one of its voters would be
 *       among those who have taken the fence in this, the earlier, term.
 *     - And none will exist. A candidate may still hold a vote of our former self; it stood before that was
 *       gone, so its log has no fence, and ends in no later term than this one (or a leader of such a term
 *       existed). It needs one more vote, of those who have the fence, and those refuse a log without it.
 *     - So whatever our former self acknowledged and was committed is in this leader's log before the fence.
 *
 * The second is the recovery of Viewstamped Replication Revisited (Liskov, Cowling 2012, 4.3) in Raft's
 * terms, with the fence against the votes under way, which that forgets (Michael, Ports, Sharma, Szekeres:
 * Recovering Shared Objects Without Stable Storage, 2017). Neither works when a majority has lost its disks:
 * then only an operator can say what is true (trustEmptyStore). It is assumed that a word to or from a former
 * life does not arrive in the next: a connection ends with the process. Answers to what we ask are told from
 * such by a number of this life.
 */
#include "dledger/core/internal.h"

bool join_has_vote(const struct dl_core *core)
{
    return core->is_voter && core->hard.joined;
}

/* No other voter is there to be asked. */
bool join_is_alone(const struct dl_core *core)
{
    const struct dl_members *members = &core->opts.members;
    for (int slot = 0; slot < (int)members->count; slot++)
        if (slot != core->self_slot && members->voter[slot])
            return false;
    return core->is_voter;
}

/* ---- A group that begins ---- */

static void ask(struct dl_core *core, dl_peer_t peer)
{
    core_say(core, DL_MSG_HAVE_REQ, peer)->sent_ms = core->life;
}

void join_ask(struct dl_core *core)
{
    const struct dl_members *members = &core->opts.members;
    for (int slot = 0; core->is_voter && slot < (int)members->count; slot++)
        if (slot != core->self_slot && members->voter[slot])
            ask(core, members->id[slot]);
}

void join_on_up(struct dl_core *core, dl_peer_t peer)
{
    if (core->is_voter && !core->hard.joined && core->leader == DL_NOBODY)
        ask(core, peer);
}

void join_on_question(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    struct dl_msg *reply = core_say(core, DL_MSG_HAVE_RSP, msg->from);
    reply->sent_ms = msg->sent_ms;
    reply->last_index = core->trail.last;
    /* It is there now: when we asked it before it may not have been. */
    if (!core->told_us[members_slot(&core->opts.members, msg->from)].yet)
        join_on_up(core, msg->from);
}

/* Nobody has anything: begin. Those who join in the same moment stand one after another. */
static void begin(struct dl_core *core)
{
    if (core->heard_term > core->hard.term)
        core_become_follower(core, core->heard_term, DL_NOBODY);
    if (core->hard.term > 0)
        core->hard.vote = core->opts.self;
    core->hard.joined = true;
    core->election_due_ms =
        core->now_ms + (uint64_t)core->opts.heartbeat_ms * (1 + (uint64_t)core->self_slot) / 4;
}

void join_on_answer(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    const struct dl_members *members = &core->opts.members;
    if (!core->is_voter || core->hard.joined || msg->sent_ms != core->life)
        return;
    core->told_us[members_slot(members, msg->from)] = (struct told_us){true, msg->last_index == 0};
    if (msg->term > core->heard_term)
        core->heard_term = msg->term;
    bool all = core->trail.last == 0 && core->leader == DL_NOBODY;
    for (int slot = 0; slot < (int)members->count; slot++)
        all = all && (slot == core->self_slot || !members->voter[slot] || core->told_us[slot].empty);
    if (all)
        begin(core);
}

/* ---- A group that lives: the leader ---- */

void join_on_word(struct dl_core *core, struct progress *progress, const struct dl_msg *msg)
{
    /* Another life: it may have joined meanwhile, in the name of another leader or of ours, and have lost all
     * again. */
    if (!msg->joined && (progress->joined || progress->blank_life != msg->life)) {
        progress_start(progress, core->trail.last, core->now_ms);
        progress->lost_ms = progress->blank_ms = core->now_ms;
        progress->blank_life = msg->life;
        progress->fence = core->trail.last + 1;
    }
    progress->joined = msg->joined;
}

static bool is_blank_voter(const struct dl_core *core, uint32_t slot)
{
    return (int)slot != core->self_slot && core->opts.members.voter[slot] && !core->progress[slot].joined;
}

/* Users may be idle: then the fence is a NOOP. */
void join_advance(struct dl_core *core)
{
    if (!core->heartbeat_now || core->handover.target != DL_NOBODY || core->trail.last == CORE_INDEX_MAX)
        return;
    for (uint32_t slot = 0; slot < core->opts.members.count; slot++) {
        if (!is_blank_voter(core, slot) || core->progress[slot].fence <= core->trail.last)
            continue;
        core_append_own(core, 1);
        core->out->append_noop = true;
        return; /* a fence is at most one entry away: it serves all */
    }
}

bool join_may_admit(const struct dl_core *core, uint32_t slot)
{
    const struct progress *progress = &core->progress[slot];
    return is_blank_voter(core, slot) && core->commit >= progress->fence &&
           progress->match >= progress->fence;
}

/* ---- A group that lives: the blank replica ---- */

void join_on_admission(struct dl_core *core, const struct dl_msg *msg)
{
    dl_index_t has = core->persisted < core->verified ? core->persisted : core->verified;
    if (!msg->admit || core->hard.joined || msg->prev_index == 0 || has < msg->prev_index)
        return;
    core->hard.joined = true;
    core->hard.vote = msg->from;
}
