/*
 * transfer.c - leadership hand-over (dissertation 3.10) and the preferred leader.
 *
 *     request -> no more submits -> target has everything -> TIMEOUT_NOW -> target stands -> we follow
 *                     |                                   (and with each heartbeat)
 *                     +-- one election time-out later: failed, submits are taken again
 *
 * A leader whose own disk hangs commits by the disks of the others, but it is one failure away from losing
 * its majority and must keep in memory what it cannot write: it hands over to one of them, without being
 * asked. Its disk hangs when a majority has on disk what it has not, and its own has not moved on at all for
 * DISK_HANGS election time-outs; one that is merely slow moves on.
 *
 * The preferred leader is a wish. It is fulfilled only while the group is well: for some time without a break
 * the lease held, the wished-for replica answered and lacked next to nothing, and nothing for long. After
 * each failure that time doubles.
 */
#include "dledger/core/internal.h"

#define DISK_HANGS           2u    /* election time-outs, and as many before the next try */
#define PREFERRED_LAG_MAX    1024u /* entries the preferred leader may lack when the hand-over begins */
#define PREFERRED_WAIT_MAX   64u   /* election time-outs between two tries at the most */
#define PREFERRED_WAIT_FIRST 2u    /* and at first */

void transfer_reset(struct dl_core *core)
{
    uint64_t wait_ms = (uint64_t)PREFERRED_WAIT_FIRST * core->opts.election_max_ms;
    core->handover = (struct handover){.persisted_ms = core->now_ms,
                                       .preferred_next_ms = core->now_ms + wait_ms,
                                       .preferred_wait_ms = wait_ms};
}

static void begin(struct dl_core *core, dl_peer_t target)
{
    core->handover.target = target;
    core->handover.deadline_ms = core->now_ms + core->opts.election_max_ms;
    core->handover.asked = false;
}

static bool answers(const struct dl_core *core, int slot)
{
    return core->progress[slot].last_ack_ms + core->opts.election_min_ms > core->now_ms;
}

/* The voter that lacks least and answers. */
static dl_peer_t most_advanced(const struct dl_core *core)
{
    const struct dl_members *members = &core->opts.members;
    dl_peer_t best = DL_NOBODY;
    dl_index_t best_match = 0;
    for (int i = 0; i < (int)members->count; i++) {
        if (i == core->self_slot || !members->voter[i] || !core->progress[i].joined || !answers(core, i))
            continue;
        if (best == DL_NOBODY || core->progress[i].match > best_match) {
            best = members->id[i];
            best_match = core->progress[i].match;
        }
    }
    return best;
}

static bool has_joined(const struct dl_core *core, dl_peer_t peer)
{
    return core->progress[members_slot(&core->opts.members, peer)].joined;
}

void transfer_on_request(struct dl_core *core, dl_peer_t peer)
{
    if (core->role == DL_LEADER && peer == DL_NOBODY)
        peer = most_advanced(core);
    bool possible = core->role == DL_LEADER && peer != core->opts.self &&
                    members_is_voter(&core->opts.members, peer) && has_joined(core, peer) &&
                    (core->handover.target == DL_NOBODY || core->handover.target == peer);
    if (!possible)
        core->out->refused = true;
    else if (core->handover.target == DL_NOBODY)
        begin(core, peer);
}

static void yield_to_a_better_disk(struct dl_core *core)
{
    struct handover *handover = &core->handover;
    if (core->persisted >= core->commit || core->persisted != handover->persisted) {
        handover->persisted = core->persisted;
        handover->persisted_ms = core->now_ms;
        return;
    }
    dl_peer_t target = most_advanced(core);
    if (target == DL_NOBODY ||
        core->now_ms < handover->persisted_ms + (uint64_t)DISK_HANGS * core->opts.election_max_ms)
        return;
    begin(core, target);
    handover->persisted_ms = core->now_ms;
    core->out->disk_hangs = true;
}

/* What it lacks it does not lack for long: its disk works. */
static bool keeps_up(const struct dl_core *core, const struct progress *progress)
{
    return progress->match == core->trail.last ||
           (progress->match + PREFERRED_LAG_MAX >= core->trail.last &&
            progress->match_ms + core->opts.election_min_ms > core->now_ms);
}

/* The group is well and `peer` could lead it at once. */
static bool is_fit(const struct dl_core *core, dl_peer_t peer)
{
    int slot = members_slot(&core->opts.members, peer);
    const struct progress *progress = &core->progress[slot];
    return dl_core_lease_valid(core, core->now_ms) && answers(core, slot) && progress->joined &&
           !progress->comparing && keeps_up(core, progress);
}

static void yield_to_preferred(struct dl_core *core)
{
    dl_peer_t preferred = core->opts.preferred;
    struct handover *handover = &core->handover;
    if (!core->heartbeat_now || preferred == DL_NOBODY || preferred == core->opts.self)
        return;
    if (!is_fit(core, preferred)) {
        handover->preferred_next_ms = core->now_ms + handover->preferred_wait_ms;
        return;
    }
    if (core->now_ms < handover->preferred_next_ms)
        return;
    begin(core, preferred);
    handover->preferred_next_ms = core->now_ms + handover->preferred_wait_ms;
    uint64_t most_ms = (uint64_t)PREFERRED_WAIT_MAX * core->opts.election_max_ms;
    handover->preferred_wait_ms =
        handover->preferred_wait_ms * 2 < most_ms ? handover->preferred_wait_ms * 2 : most_ms;
}

void transfer_advance(struct dl_core *core)
{
    struct handover *handover = &core->handover;
    if (handover->target == DL_NOBODY)
        yield_to_a_better_disk(core);
    if (handover->target == DL_NOBODY)
        yield_to_preferred(core);
    if (handover->target == DL_NOBODY)
        return;
    if (core->now_ms >= handover->deadline_ms) {
        handover->target = DL_NOBODY;
        return;
    }
    int slot = members_slot(&core->opts.members, handover->target);
    if (core->progress[slot].match < core->trail.last || (handover->asked && !core->heartbeat_now))
        return;
    core_say(core, DL_MSG_TIMEOUT_NOW, handover->target)->sent_ms = handover->deadline_ms;
    handover->asked = true;
    handover->void_until_ms = handover->deadline_ms;
}

bool transfer_is_over(const struct dl_core *core, uint64_t deadline_ms)
{
    return core->echo_ms > deadline_ms;
}

void transfer_on_timeout_now(struct dl_core *core, const struct dl_event *event)
{
    const struct dl_msg *msg = event->msg;
    if (join_has_vote(core) && core->role == DL_FOLLOWER && core->leader == msg->from &&
        core->hard.term == msg->term && core->hard.term < CORE_TERM_MAX &&
        !transfer_is_over(core, msg->sent_ms))
        vote_campaign(core, true, msg->sent_ms);
}
