/*
 * push.c - the leader's side of replication.
 *
 * A new leader compares: a probe (COMPARE) names an entry of ours; the peer agrees, or answers with the last
 * entry of its own that could agree. Both sides jump over whole terms, so a peer that is merely behind is
 * found with two probes, and each further probe crosses at least one term. Then entries are streamed in
 * pushes without waiting for answers, inside a window (progress.h).
 *
 * Answers state facts about one term's leader, therefore a late or repeated one is harmless: a match only
 * ever rises. A refusal is a hint where to probe and cannot lower a match.
 *
 * Committed is what a majority has persisted, our own disk counted like any other, and what is of our own
 * term (Raft 5.4.2, figure 8).
 */
#include <stddef.h>

#include "dledger/core/internal.h"

static struct progress *progress_of(struct dl_core *core, dl_peer_t peer)
{
    int slot = members_slot(&core->opts.members, peer);
    return slot == MEMBERS_NO_SLOT || slot == core->self_slot ? NULL : &core->progress[slot];
}

/* No probe goes below what the peer has confirmed, nor below what we still have. */
static dl_index_t probe_floor(const struct dl_core *core, const struct progress *progress)
{
    dl_index_t removed = core->trail.begin - 1;
    return progress->match > removed ? progress->match : removed;
}

void push_start(struct dl_core *core)
{
    for (uint32_t i = 0; i < core->opts.members.count; i++)
        progress_start(&core->progress[i], core->trail.last, core->now_ms);
    core->heartbeat_due_ms = core->now_ms + core->opts.heartbeat_ms;
}

/* ---- What the majority has done ---- */

void push_advance_commit(struct dl_core *core)
{
    uint64_t match[DL_PEERS_MAX];
    for (uint32_t i = 0; i < core->opts.members.count; i++)
        match[i] = (int)i == core->self_slot  ? core->persisted
                   : core->progress[i].joined ? core->progress[i].match
                                              : 0;
    dl_index_t index = members_reached(&core->opts.members, match);
    if (index > core->commit && trail_term(&core->trail, index) == core->hard.term)
        core->commit = index;
}

/* Check-quorum: a leader that a majority has not answered for an election time-out can neither commit nor
 * know that it still leads. */
bool push_quorum_alive(const struct dl_core *core)
{
    uint64_t heard_ms[DL_PEERS_MAX];
    for (uint32_t i = 0; i < core->opts.members.count; i++)
        heard_ms[i] = (int)i == core->self_slot  ? core->now_ms
                      : core->progress[i].joined ? core->progress[i].last_ack_ms
                                                 : 0;
    return members_reached(&core->opts.members, heard_ms) + core->opts.election_max_ms > core->now_ms;
}

/* Our clock when we sent the newest push such that a majority has answered it or a later one. */
static uint64_t confirmed_ms(const struct dl_core *core, uint64_t now_ms)
{
    uint64_t sent_ms[DL_PEERS_MAX];
    for (uint32_t i = 0; i < core->opts.members.count; i++)
        sent_ms[i] = (int)i == core->self_slot  ? now_ms
                     : core->progress[i].joined ? core->progress[i].lease_ms
                                                : 0;
    return members_reached(&core->opts.members, sent_ms);
}

/* A peer that answered the push sent at t was loyal to us for election_min_ms from some moment after t. */
bool dl_core_lease_valid(const struct dl_core *core, uint64_t now_ms)
{
    if (core->role != DL_LEADER || core->commit < core->term_start)
        return false;
    uint64_t margin_ms =
        core->opts.election_min_ms / 8 + 1; /* clocks may run that much apart within one lease */
    uint64_t since_ms = confirmed_ms(core, now_ms);
    return since_ms > core->handover.void_until_ms &&
           since_ms + core->opts.election_min_ms > now_ms + margin_ms;
}

/* ---- Answers ---- */

static bool answers_probe(const struct progress *progress, const struct dl_msg *msg)
{
    return msg->push == DL_PUSH_COMPARE && progress->probe_since_ms != 0 &&
           msg->sent_ms >= progress->probe_since_ms;
}

static void on_success(struct dl_core *core, struct progress *progress, const struct dl_msg *msg)
{
    progress_acked(progress, msg->match, msg->last_index, core->now_ms);
    if (progress->comparing) {
        if (answers_probe(progress, msg) && msg->last_index >= probe_floor(core, progress))
            progress_stream(progress, msg->last_index, core->now_ms);
    } else if (msg->last_index + 1 < progress->next &&
               msg->sent_ms >= progress->moved_ms + core->opts.election_min_ms) {
        /* The peer answers, but what was sent long before this question never arrived. */
        progress_compare(progress, msg->last_index, probe_floor(core, progress));
    }
}

static void on_refusal(struct dl_core *core, struct progress *progress, const struct dl_msg *msg)
{
    dl_index_t probe = progress->next - 1;
    dl_index_t floor = probe_floor(core, progress);
    dl_index_t agreed = trail_agree(&core->trail, msg->hint_index, msg->hint_term);
    if (progress->comparing) {
        /* At the floor there is nothing left to try: the peer needs what we have removed (a snapshot), or has
         * lost what it had acknowledged. The next heartbeat asks again. */
        if (answers_probe(progress, msg) && probe > floor)
            progress_compare(progress, agreed < probe ? agreed : probe - 1, floor);
    } else if (msg->sent_ms >= progress->stream_since_ms && progress_inflight(progress) > 0) {
        progress_compare(progress, agreed < probe ? agreed : probe, floor);
    }
}

void push_on_reply(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    if (msg->term > core->hard.term) {
        core_become_follower(core, msg->term, DL_NOBODY);
        return;
    }
    if (core->role != DL_LEADER || msg->term < core->hard.term)
        return;
    if (msg->sent_ms > core->now_ms || msg->last_index > core->trail.last || msg->match > msg->last_index)
        return; /* cannot be */
    struct progress *progress = progress_of(core, msg->from);
    join_on_word(core, progress, msg);
    if (msg->sent_ms <= progress->blank_ms)
        return; /* of its former life, or of before we knew */
    progress->last_ack_ms = core->now_ms;
    if (msg->sent_ms > progress->lease_ms && msg->sent_ms > progress->lost_ms)
        progress->lease_ms = msg->sent_ms;
    if (msg->success)
        on_success(core, progress, msg);
    else
        on_refusal(core, progress, msg);
    push_advance_commit(core);
}

void push_on_unsent(struct dl_core *core, dl_peer_t peer)
{
    struct progress *progress = progress_of(core, peer);
    if (progress == NULL)
        return;
    if (!progress->joined) /* it may have lost what it had again */
        progress->match = progress->seen = 0;
    if (!progress->comparing || !progress->joined)
        progress_compare(progress, progress->match, probe_floor(core, progress));
    progress->probe_due = false; /* the connection is gone: the next heartbeat will see */
    /* Whoever ended it, the peer may see a reset, take it for our death and be loyal no longer. What it
     * answers to a push from before says nothing about that. */
    progress->lease_ms = 0;
    progress->lost_ms = core->now_ms;
}

void push_on_trim(struct dl_core *core)
{
    for (uint32_t i = 0; i < core->opts.members.count; i++)
        if (core->progress[i].next < core->trail.begin)
            progress_compare(&core->progress[i], 0, probe_floor(core, &core->progress[i]));
}

/* ---- Sending ---- */

static bool can_push(const struct dl_core *core, const struct progress *progress)
{
    return progress->next <= core->trail.last &&
           progress_has_room(progress, core->opts.window_entries, core->opts.window_bytes);
}

/* The part of the commit index the peer can use: it must have been sent the entries. */
static dl_index_t commit_for(const struct dl_core *core, const struct progress *progress)
{
    return core->commit < progress->next ? core->commit : progress->next - 1;
}

static void say_push(struct dl_core *core, uint32_t slot, enum dl_push push, dl_index_t prev)
{
    struct dl_msg *msg = core_say(core, DL_MSG_PUSH_REQ, core_peer(core, slot));
    msg->push = push;
    msg->prev_index = prev;
    msg->prev_term = trail_term(&core->trail, prev);
    msg->commit = core->commit;
    msg->sent_ms = core->now_ms;
    msg->admit = push == DL_PUSH_COMMIT && join_may_admit(core, slot);
}

static void flush_peer(struct dl_core *core, uint32_t slot)
{
    struct progress *progress = &core->progress[slot];
    if (progress->comparing) {
        if (!progress->probe_due && !core->heartbeat_now)
            return;
        say_push(core, slot, DL_PUSH_COMPARE, progress->next - 1);
        progress->probe_due = false;
        if (progress->probe_since_ms == 0)
            progress->probe_since_ms = core->now_ms;
        return;
    }
    bool pushable = can_push(core, progress);
    bool news = commit_for(core, progress) > progress->told_commit;
    if (core->heartbeat_now || (news && !pushable)) {
        /* Below begin - 1 the term is forgotten; 0 always agrees. */
        say_push(core, slot, DL_PUSH_COMMIT, progress->match + 1 >= core->trail.begin ? progress->match : 0);
        progress->told_commit = commit_for(core, progress);
    }
    if (pushable)
        core->out->push_mask |= 1u << slot;
}

void push_flush(struct dl_core *core)
{
    for (uint32_t i = 0; i < core->opts.members.count; i++)
        if ((int)i != core->self_slot)
            flush_peer(core, i);
}

bool dl_core_push_begin(struct dl_core *core, dl_peer_t peer, uint64_t now_ms, struct dl_msg *msg)
{
    struct progress *progress = core->role == DL_LEADER ? progress_of(core, peer) : NULL;
    if (progress == NULL || !can_push(core, progress))
        return false;
    if (now_ms > core->now_ms)
        core->now_ms = now_ms;
    uint64_t room = core->opts.window_entries - progress_inflight(progress);
    if (room > CORE_PUSH_ENTRIES_MAX)
        room = CORE_PUSH_ENTRIES_MAX;
    uint64_t left = core->trail.last - progress->next + 1;
    *msg = (struct dl_msg){
        .type = DL_MSG_PUSH_REQ,
        .from = core->opts.self,
        .to = peer,
        .term = core->hard.term,
        .push = DL_PUSH_APPEND,
        .prev_index = progress->next - 1,
        .prev_term = trail_term(&core->trail, progress->next - 1),
        .first = progress->next,
        .last = progress->next - 1 + (left < room ? left : room),
        .commit = core->commit,
        .sent_ms = core->now_ms,
    };
    return true;
}

void dl_core_push_done(struct dl_core *core, dl_peer_t peer, dl_index_t last, uint32_t bytes)
{
    ENSURE(core->role == DL_LEADER);
    struct progress *progress = progress_of(core, peer);
    ENSURE(progress != NULL);
    ENSURE(last <= core->trail.last);
    progress_sent(progress, last, bytes, core->now_ms);
    progress->told_commit = commit_for(core, progress);
}

bool dl_core_peer_view(const struct dl_core *core, dl_peer_t peer, struct dl_peer_view *view)
{
    int slot = members_slot(&core->opts.members, peer);
    if (core->role != DL_LEADER || slot == MEMBERS_NO_SLOT)
        return false;
    const struct progress *progress = &core->progress[slot];
    bool self = slot == core->self_slot;
    *view = (struct dl_peer_view){
        .match = self ? core->persisted : progress->match,
        .next = self ? core->trail.last + 1 : progress->next,
        .last_ack_ms = self ? core->now_ms : progress->last_ack_ms,
        .inflight_entries = self ? 0 : (uint32_t)progress_inflight(progress),
        .inflight_bytes = self ? 0 : (uint32_t)progress->inflight_bytes,
        .comparing = !self && progress->comparing,
        .joined = self || progress->joined,
    };
    return true;
}
