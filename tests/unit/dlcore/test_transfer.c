/* test_transfer.c - hand-over of leadership and the preferred leader. */
#include "tests/unit/dlcore/one.h"

/* Leader of term 1 with everything committed; the peers have everything. */
static struct one leader_of(uint32_t voters, uint32_t learners, dl_peer_t preferred)
{
    struct one o = one_new((struct one_opts){.voters = voters, .learners = learners, .preferred = preferred});
    one_lead(&o, voters);
    one_log_durable(&o, 1);
    for (dl_peer_t peer = 2; peer <= voters + learners; peer++) {
        one_ack(&o, peer, DL_PUSH_COMPARE, o.now_ms, 0, 1);
        one_ack(&o, peer, DL_PUSH_APPEND, o.now_ms, 1, 1);
    }
    ck_assert_uint_eq(o.up.commit, 1);
    return o;
}

static void transfer(struct one *o, dl_peer_t peer)
{
    one_step(o, (struct dl_event){.type = DL_EV_TRANSFER, .peer = peer});
}

static bool submits_are_taken(struct one *o)
{
    one_step(o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    return !o->up.refused;
}

/* Heartbeats for `ms`, answered by the peers in the mask. */
static void beat(struct one *o, uint64_t ms, uint32_t peers)
{
    for (uint64_t until = o->now_ms + ms; o->now_ms < until;) {
        one_tick(o, 50);
        for (dl_peer_t peer = 2; peer <= 5; peer++)
            if (peers & (1u << peer))
                one_ack(o, peer, DL_PUSH_COMMIT, o->now_ms, one_peer(o, peer).match, one_view(o).last);
        if (one_view(o).transferring)
            return;
    }
}

START_TEST(asks_a_complete_target_at_once)
{
    struct one o = leader_of(3, 0, DL_NOBODY);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    transfer(&o, 3);
    const struct dl_msg *ask = one_said(&o, DL_MSG_TIMEOUT_NOW, 3);
    ck_assert_ptr_nonnull(ask);
    ck_assert_uint_eq(ask->sent_ms, o.now_ms + 600);
    ck_assert(one_view(&o).transferring);
    ck_assert(!submits_are_taken(&o));
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    one_tick(&o, 1);
    ck_assert_ptr_null(one_said(&o, DL_MSG_TIMEOUT_NOW, 3));
    one_tick(&o, 49); /* again with the heartbeat */
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_TIMEOUT_NOW, 3));
    one_free(&o);
}
END_TEST

START_TEST(waits_until_the_target_has_everything)
{
    struct one o = leader_of(3, 0, DL_NOBODY);
    ck_assert(submits_are_taken(&o));
    transfer(&o, 3);
    ck_assert_ptr_null(one_said(&o, DL_MSG_TIMEOUT_NOW, 3));
    ck_assert_uint_ne(o.up.push_mask & (1u << 2), 0);
    one_pushes(&o, 3, 9, 1);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 1, 2);
    ck_assert_ptr_null(one_said(&o, DL_MSG_TIMEOUT_NOW, 3));
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 2, 2);
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_TIMEOUT_NOW, 3));
    one_free(&o);
}
END_TEST

START_TEST(ends_after_one_election_time_out)
{
    struct one o = leader_of(3, 0, DL_NOBODY);
    uint64_t deadline_ms = o.now_ms + 600;
    transfer(&o, 3);
    for (int i = 0; i < 11; i++) {
        one_tick(&o, 50);
        one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 1, 1);
        ck_assert(one_view(&o).transferring);
        ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    }
    ck_assert_uint_le(o.up.wake_ms, deadline_ms);
    one_tick(&o, 50);
    ck_assert(!one_view(&o).transferring);
    ck_assert(submits_are_taken(&o));
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 1, 1); /* sent at the deadline: not later than it */
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    one_tick(&o, 50);
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 1, 1);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    one_free(&o);
}
END_TEST

START_TEST(refused_requests)
{
    struct one o = leader_of(3, 1, DL_NOBODY);
    const dl_peer_t nobody[] = {1, 4, 9};
    for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
        transfer(&o, nobody[i]);
        ck_assert(o.up.refused);
        ck_assert(!one_view(&o).transferring);
    }
    transfer(&o, 2);
    ck_assert(!o.up.refused);
    transfer(&o, 2);
    ck_assert(!o.up.refused);
    transfer(&o, 3);
    ck_assert(o.up.refused);
    one_free(&o);
    o = one_new((struct one_opts){.voters = 3});
    transfer(&o, 2);
    ck_assert(o.up.refused);
    one_free(&o);
    o = leader_of(1, 1, DL_NOBODY);
    transfer(&o, DL_NOBODY);
    ck_assert(o.up.refused);
    one_free(&o);
}
END_TEST

START_TEST(nobody_means_the_most_advanced_that_answers)
{
    struct one o = leader_of(5, 0, DL_NOBODY);
    ck_assert(submits_are_taken(&o));
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 2, 2);
    beat(&o, 300, (1u << 2) | (1u << 4));
    transfer(&o, DL_NOBODY); /* 3 has more, but is silent */
    ck_assert(!o.up.refused);
    one_pushes(&o, 2, 9, 1);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 2, 2);
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_TIMEOUT_NOW, 2));
    one_free(&o);
}
END_TEST

START_TEST(the_target_stands_at_once)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_push(&o, 2, 4, 0, 0, 0, 0, NULL);
    one_hear(&o,
             (struct dl_msg){.type = DL_MSG_TIMEOUT_NOW, .from = 2, .term = 4, .sent_ms = o.now_ms + 600});
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    ck_assert_uint_eq(o.up.hard.term, 5);
    const struct dl_msg *ask = one_said(&o, DL_MSG_VOTE_REQ, 3);
    ck_assert(ask->transfer && !ask->pre);
    ck_assert_uint_eq(ask->sent_ms, o.now_ms + 600);
    one_free(&o);
}
END_TEST

START_TEST(only_when_its_own_leader_asks_in_time)
{
    const struct {
        dl_peer_t from;
        dl_term_t term;
        int64_t deadline; /* from now */
    } cases[] = {{3, 4, 600}, {2, 3, 600}, {2, 5, 600}, {2, 4, -1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct one o = one_new((struct one_opts){.voters = 3});
        one_push(&o, 2, 4, 0, 0, 0, 0, NULL);
        uint64_t deadline_ms = o.now_ms + (uint64_t)cases[i].deadline;
        one_hear(&o, (struct dl_msg){.type = DL_MSG_TIMEOUT_NOW,
                                     .from = cases[i].from,
                                     .term = cases[i].term,
                                     .sent_ms = deadline_ms});
        ck_assert_msg(o.up.role == DL_FOLLOWER && o.up.term == 4 && o.up.leader == 2, "%zu", i);
        one_free(&o);
    }
}
END_TEST

START_TEST(yields_to_the_preferred_leader_when_all_is_well)
{
    struct one o = leader_of(3, 0, 3);
    beat(&o, 1100, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    beat(&o, 300, (1u << 2) | (1u << 3));
    ck_assert(one_view(&o).transferring);
    ck_assert_ptr_null(one_said(&o, DL_MSG_TIMEOUT_NOW, 2));
    one_free(&o);
}
END_TEST

START_TEST(does_not_yield_to_a_silent_or_lagging_one)
{
    struct one o = leader_of(3, 0, 3);
    beat(&o, 3000, 1u << 2);
    ck_assert(!one_view(&o).transferring);
    beat(&o, 1000, (1u << 2) | (1u << 3)); /* back, but not for long yet */
    ck_assert(!one_view(&o).transferring);
    one_free(&o);
    o = leader_of(3, 0, 3);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 2000});
    beat(&o, 3000, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    one_free(&o);
    o = leader_of(3, 0, 1); /* it is the one */
    beat(&o, 3000, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    one_free(&o);
}
END_TEST

START_TEST(waits_longer_after_each_failure)
{
    struct one o = leader_of(3, 0, 3);
    uint64_t waited_ms[3];
    for (int i = 0; i < 3; i++) {
        uint64_t since_ms = o.now_ms;
        beat(&o, 20000, (1u << 2) | (1u << 3));
        ck_assert(one_view(&o).transferring);
        waited_ms[i] = o.now_ms - since_ms;
        while (one_view(&o).transferring) {
            one_tick(&o, 50);
            for (dl_peer_t peer = 2; peer <= 3; peer++)
                one_ack(&o, peer, DL_PUSH_COMMIT, o.now_ms, 1, 1);
        }
    }
    ck_assert_uint_gt(waited_ms[1], waited_ms[0]);
    ck_assert_uint_gt(waited_ms[2], waited_ms[1]);
    one_free(&o);
}
END_TEST

/* One entry more, and the peers in the mask have it on disk; ours does not. */
static void commit_by_others(struct one *o, uint32_t peers)
{
    one_step(o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    for (dl_peer_t peer = 2; peer <= 3; peer++) {
        one_pushes(o, peer, 9, 1);
        if (peers & (1u << peer))
            one_ack(o, peer, DL_PUSH_APPEND, o->now_ms, one_view(o).last, one_view(o).last);
    }
}

START_TEST(a_leader_whose_disk_hangs_hands_over)
{
    struct one o = leader_of(3, 0, DL_NOBODY);
    commit_by_others(&o, (1u << 2) | (1u << 3));
    ck_assert_uint_eq(one_view(&o).commit, 2);
    ck_assert_uint_eq(one_view(&o).persisted, 1);
    beat(&o, 1150, (1u << 2) | (1u << 3));
    ck_assert(!o.up.disk_hangs);
    ck_assert(!one_view(&o).transferring);
    one_tick(&o, 50);
    ck_assert(o.up.disk_hangs);
    ck_assert(one_view(&o).transferring);
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_TIMEOUT_NOW, 2));
    ck_assert(!submits_are_taken(&o));
    while (one_view(&o).transferring) { /* it fails: submits are taken, and it is tried again as late */
        one_tick(&o, 50);
        one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 2, 2);
    }
    ck_assert(submits_are_taken(&o));
    beat(&o, 550, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    beat(&o, 100, (1u << 2) | (1u << 3));
    ck_assert(one_view(&o).transferring);
    one_free(&o);
}
END_TEST

START_TEST(a_slow_disk_is_not_a_hanging_one)
{
    struct one o = leader_of(3, 0, DL_NOBODY);
    commit_by_others(&o, (1u << 2) | (1u << 3));
    for (int i = 0; i < 5; i++) { /* always behind, and moving on */
        commit_by_others(&o, (1u << 2) | (1u << 3));
        beat(&o, 1000, (1u << 2) | (1u << 3));
        ck_assert(!one_view(&o).transferring);
        one_log_durable(&o, one_view(&o).persisted + 1);
    }
    one_free(&o);
    o = leader_of(3, 0, DL_NOBODY); /* nobody has more than we: another could do no better */
    commit_by_others(&o, 1u << 2);
    beat(&o, 5000, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    one_free(&o);
    o = leader_of(3, 0, DL_NOBODY); /* idle */
    beat(&o, 5000, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    one_free(&o);
}
END_TEST

/* Or the office would go back to the hanging disk, and the sends would wait for it meanwhile. */
START_TEST(does_not_yield_to_a_preferred_one_whose_disk_hangs)
{
    struct one o = leader_of(3, 0, 3);
    commit_by_others(&o, 1u << 2);
    one_log_durable(&o, 2);
    beat(&o, 5000, (1u << 2) | (1u << 3));
    ck_assert(!one_view(&o).transferring);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 2, 2);
    beat(&o, 2000, (1u << 2) | (1u << 3));
    ck_assert(one_view(&o).transferring);
    one_free(&o);
}
END_TEST

ONE_MAIN("transfer", asks_a_complete_target_at_once, waits_until_the_target_has_everything,
         ends_after_one_election_time_out, refused_requests, nobody_means_the_most_advanced_that_answers,
         the_target_stands_at_once, only_when_its_own_leader_asks_in_time,
         yields_to_the_preferred_leader_when_all_is_well, does_not_yield_to_a_silent_or_lagging_one,
         waits_longer_after_each_failure, a_leader_whose_disk_hangs_hands_over,
         a_slow_disk_is_not_a_hanging_one, does_not_yield_to_a_preferred_one_whose_disk_hangs)
