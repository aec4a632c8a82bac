/*
 * check.c - the invariants of one replica, looked at after each step in constant time. A violation is a
 * mistake in this room (or in a host that broke the contract), never the doing of a message.
 */
#include "dledger/core/internal.h"

static void check_log(const struct dl_core *core)
{
    const struct trail *trail = &core->trail;
    ENSURE(trail->last + 1 >= trail->begin);
    ENSURE(core->commit + 1 >= trail->begin);
    ENSURE(core->commit <= trail->last);
    ENSURE(core->persisted <= trail->last);
    ENSURE(trail_last_term(trail) <= core->hard.term);
    if (trail->count > 0) {
        ENSURE(trail->runs[0].first == trail->begin);
        ENSURE(trail->runs[trail->count - 1].first <= trail->last);
    } else {
        ENSURE(trail->last + 1 == trail->begin);
    }
}

static void check_leader(const struct dl_core *core)
{
    ENSURE(core->leader == core->opts.self);
    ENSURE(core->hard.vote == core->opts.self);
    ENSURE(core->hard.joined);
    ENSURE(core->hard_durable.term == core->hard.term);
    ENSURE(core->term_start > 0 && core->term_start <= core->trail.last);
    ENSURE(trail_last_term(&core->trail) == core->hard.term);
    for (int i = 0; i < (int)core->opts.members.count; i++)
        if (i != core->self_slot)
            progress_check(&core->progress[i], core->trail.last);
}

static void check_other(const struct dl_core *core)
{
    ENSURE(core->leader != core->opts.self);
    ENSURE(core->term_start == 0);
    ENSURE(core->verified >= core->commit);
    ENSURE(core->verified <= core->trail.last);
    ENSURE(core->acked <= core->verified);
    ENSURE(core->role == DL_FOLLOWER || join_has_vote(core));
    ENSURE(core->role == DL_FOLLOWER || core->leader == DL_NOBODY);
    ENSURE(core->role != DL_CANDIDATE || core->hard.vote == core->opts.self);
}

void core_check(const struct dl_core *core, const struct core_before *before)
{
    ENSURE(core->hard.term >= before->term);
    ENSURE(core->commit >= before->commit);
    check_log(core);
    if (core->role == DL_LEADER)
        check_leader(core);
    else
        check_other(core);
}
