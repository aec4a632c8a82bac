/* test_push.c - the leader's side: comparing, streaming, commitment, heartbeats, check-quorum, lease. */
#include "tests/unit/dlcore/one.h"

static const dl_term_t old_log[] = {1, 1, 1, 2, 2, 2};

/* Leader of term 3 among `voters`, six old entries and its NOOP at 7; nothing durable of it, nobody
 * compared. */
static struct one leader_of(uint32_t voters, uint32_t learners)
{
    struct one o = one_new((struct one_opts){.voters = voters,
                                             .learners = learners,
                                             .hard = {2, DL_NOBODY, true},
                                             .terms = old_log,
                                             .count = 6,
                                             .commit = 2,
                                             .window_entries = 10,
                                             .window_bytes = 1000});
    one_lead(&o, voters);
    ck_assert_uint_eq(one_view(&o).term_start, 7);
    return o;
}

/* The same, and `peer` streams from entry 7 on. */
static void stream(struct one *o, dl_peer_t peer)
{
    one_ack(o, peer, DL_PUSH_COMPARE, o->now_ms, 6, 6);
    ck_assert(!one_peer(o, peer).comparing);
    ck_assert_uint_eq(one_peer(o, peer).next, 7);
}

static void submit(struct one *o, uint32_t count)
{
    one_step(o, (struct dl_event){.type = DL_EV_SUBMIT, .count = count});
    ck_assert(!o->up.refused);
}

START_TEST(a_new_leader_compares_at_the_end_of_its_old_log)
{
    struct one o = leader_of(3, 1);
    for (dl_peer_t peer = 2; peer <= 4; peer++) {
        const struct dl_msg *probe = one_said(&o, DL_MSG_PUSH_REQ, peer);
        ck_assert_int_eq(probe->push, DL_PUSH_COMPARE);
        ck_assert_uint_eq(probe->prev_index, 6);
        ck_assert_uint_eq(probe->prev_term, 2);
        ck_assert_uint_eq(probe->sent_ms, o.now_ms);
    }
    ck_assert_uint_eq(o.up.push_mask, 0);
    ck_assert_uint_eq(one_pushes(&o, 2, 1, 1), 0);
    one_free(&o);
}
END_TEST

START_TEST(commits_what_a_majority_persisted_of_its_own_term)
{
    struct one o = leader_of(3, 1);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 6, 6);
    ck_assert_uint_eq(o.up.commit, 2); /* 1..6 are on two disks, but of older terms */
    ck_assert_uint_eq(o.up.push_mask, 1u << 1);
    ck_assert_uint_eq(one_pushes(&o, 2, 9, 1), 1);
    one_ack(&o, 4, DL_PUSH_COMPARE, o.now_ms, 6, 7);
    one_ack(&o, 4, DL_PUSH_APPEND, o.now_ms, 7, 7); /* a learner does not count */
    ck_assert_uint_eq(o.up.commit, 2);
    one_log_durable(&o, 7);
    ck_assert_uint_eq(o.up.commit, 2);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 6, 7); /* has it, not durable */
    ck_assert_uint_eq(o.up.commit, 2);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 7, 7);
    ck_assert_uint_eq(o.up.commit, 7);
    one_free(&o);
}
END_TEST

START_TEST(the_leaders_own_disk_may_be_the_slow_one)
{
    struct one o = leader_of(3, 0);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 6, 7);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 6, 7);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 7, 7);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 7, 7);
    ck_assert_uint_eq(o.up.commit, 7);
    ck_assert_uint_eq(one_view(&o).persisted, 6);
    one_free(&o);
}
END_TEST

START_TEST(window_in_entries_and_bytes)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    stream(&o, 3);
    submit(&o, 30);
    struct dl_msg msg;
    ck_assert(dl_core_push_begin(o.core, 2, o.now_ms, &msg));
    ck_assert_uint_eq(msg.first, 7);
    ck_assert_uint_eq(msg.last, 16); /* window_entries */
    ck_assert_uint_eq(msg.prev_index, 6);
    ck_assert_uint_eq(msg.prev_term, 2);
    ck_assert_uint_eq(one_pushes(&o, 2, 3, 10), 4);
    ck_assert_uint_eq(one_peer(&o, 2).inflight_entries, 10);
    ck_assert_uint_eq(one_peer(&o, 2).inflight_bytes, 40);
    ck_assert_uint_eq(one_pushes(&o, 3, 1, 400), 3); /* 1200 bytes: one push too many is allowed */
    one_tick(&o, 0);
    ck_assert_uint_eq(o.up.push_mask, 0);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 7, 9);
    ck_assert_uint_eq(o.up.push_mask, 1u << 2);
    ck_assert_uint_eq(one_pushes(&o, 3, 1, 400), 1);
    ck_assert(!dl_core_push_begin(o.core, 1, o.now_ms, &msg));
    ck_assert(!dl_core_push_begin(o.core, 9, o.now_ms, &msg));
    one_free(&o);
}
END_TEST

START_TEST(tells_news_of_the_commit_index_once)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    stream(&o, 3);
    one_pushes(&o, 2, 9, 1);
    one_pushes(&o, 3, 9, 1);
    one_log_durable(&o, 7);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 7, 7);
    for (dl_peer_t peer = 2; peer <= 3; peer++) {
        const struct dl_msg *news = one_said(&o, DL_MSG_PUSH_REQ, peer);
        ck_assert_int_eq(news->push, DL_PUSH_COMMIT);
        ck_assert_uint_eq(news->commit, 7);
        ck_assert_uint_eq(news->prev_index, one_peer(&o, peer).match);
    }
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 7, 7);
    ck_assert_uint_eq(o.up.msg_count, 0);
    submit(&o, 1);
    one_pushes(&o, 2, 9, 1);
    one_pushes(&o, 3, 9, 1);
    submit(&o, 1); /* 9 waits to be pushed, and will carry the news about 8 */
    one_log_durable(&o, 8);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 8, 8);
    ck_assert_uint_eq(o.up.commit, 8);
    ck_assert_uint_eq(o.up.msg_count, 0);
    ck_assert_uint_eq(o.up.push_mask, (1u << 1) | (1u << 2));
    one_free(&o);
}
END_TEST

START_TEST(back_tracking_jumps_over_terms_and_ends_at_the_match)
{
    struct one o = leader_of(3, 0);
    uint64_t sent_ms = o.now_ms;
    one_refuse(&o, 2, DL_PUSH_COMPARE, sent_ms, 6, 1); /* its entries up to 6 are all of term 1 */
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 3);
    one_refuse(&o, 2, DL_PUSH_COMMIT, sent_ms, 0, 0); /* not an answer to the probe */
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_refuse(&o, 2, DL_PUSH_COMPARE, sent_ms - 1, 0, 0); /* nor this */
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_refuse(&o, 2, DL_PUSH_COMPARE, sent_ms, UINT64_MAX,
               UINT64_MAX); /* a useless hint still makes progress */
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 2);
    one_ack(&o, 2, DL_PUSH_COMPARE, sent_ms, 1, 2);
    ck_assert_uint_eq(one_peer(&o, 2).next, 3);
    ck_assert_uint_eq(one_peer(&o, 2).match, 1);
    one_pushes(&o, 2, 9, 1);
    one_refuse(&o, 2, DL_PUSH_APPEND, sent_ms, 0, 0);
    ck_assert_int_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->push, DL_PUSH_COMPARE);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 1); /* it has that for sure */
    one_refuse(&o, 2, DL_PUSH_COMPARE, sent_ms, 0, 0);
    ck_assert_uint_eq(o.up.msg_count, 0); /* it lost what it acknowledged: ask at heartbeats only */
    one_tick(&o, 50);
    ck_assert_int_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->push, DL_PUSH_COMPARE);
    one_free(&o);
}
END_TEST

START_TEST(who_needs_removed_entries_is_not_pushed)
{
    struct one o = one_new((struct one_opts){.hard = {2, DL_NOBODY, true},
                                             .begin = 11,
                                             .begin_prev_term = 1,
                                             .terms = old_log,
                                             .count = 6,
                                             .commit = 12});
    one_lead(&o, 3);
    one_refuse(&o, 2, DL_PUSH_COMPARE, o.now_ms, 4, 1);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 10);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_term, 1);
    one_refuse(&o, 2, DL_PUSH_COMPARE, o.now_ms, 4, 1);
    ck_assert_uint_eq(o.up.msg_count, 0);
    ck_assert_uint_eq(o.up.push_mask, 0);
    one_tick(&o, 50); /* but it hears from us */
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 10);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 4, 4); /* a lie: it refused the probe at 10 */
    ck_assert(one_peer(&o, 2).comparing);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 12, 12); /* it got them from elsewhere */
    ck_assert_uint_eq(one_peer(&o, 2).next, 13);
    one_free(&o);
}
END_TEST

START_TEST(trimming_under_a_slow_peer)
{
    struct one o = leader_of(3, 0);
    one_refuse(&o, 2, DL_PUSH_COMPARE, o.now_ms, 1, 1);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 0, 0);
    ck_assert_uint_eq(one_peer(&o, 2).next, 1);
    dl_core_trim(o.core, 2);
    dl_core_trim(o.core, 1);
    ck_assert_uint_eq(one_view(&o).begin, 3);
    ck_assert(one_peer(&o, 2).comparing);
    one_tick(&o, 0);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 2);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_term, 1);
    one_free(&o);
}
END_TEST

START_TEST(absurd_answers_are_ignored)
{
    struct one o = leader_of(3, 0);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 8, 8);     /* beyond our log */
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 7, 6);     /* persisted more than it has */
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms + 1, 6, 6); /* an answer from the future */
    ck_assert(one_peer(&o, 2).comparing);
    ck_assert_uint_eq(one_peer(&o, 2).match, 0);
    ck_assert_uint_eq(o.up.commit, 2);
    struct dl_msg old = {.type = DL_MSG_PUSH_RSP,
                         .joined = true,
                         .from = 2,
                         .term = 2,
                         .push = DL_PUSH_COMPARE,
                         .sent_ms = o.now_ms,
                         .success = true,
                         .match = 6,
                         .last_index = 6};
    one_hear(&o, old);
    ck_assert(one_peer(&o, 2).comparing);
    old.term = 4;
    one_hear(&o, old);
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    ck_assert_uint_eq(o.up.hard.term, 4);
    one_hear(&o, old); /* not the leader's business any more */
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_free(&o);
}
END_TEST

START_TEST(heartbeats)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    ck_assert_uint_eq(o.up.wake_ms, o.now_ms + 50);
    one_tick(&o, 49);
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_tick(&o, 1);
    const struct dl_msg *beat = one_said(&o, DL_MSG_PUSH_REQ, 2);
    ck_assert_int_eq(beat->push, DL_PUSH_COMMIT);
    ck_assert_uint_eq(beat->prev_index, 6);
    ck_assert_uint_eq(beat->prev_term, 2);
    ck_assert_uint_eq(beat->sent_ms, o.now_ms);
    ck_assert_int_eq(one_said(&o, DL_MSG_PUSH_REQ, 3)->push, DL_PUSH_COMPARE); /* no answer yet: again */
    one_free(&o);
}
END_TEST

START_TEST(a_lost_push_is_noticed_when_nothing_moves)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    one_pushes(&o, 2, 9, 1);
    one_tick(&o, 299);
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 6, 6);
    ck_assert(!one_peer(&o, 2).comparing);
    one_tick(&o, 1);
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms - 1, 6, 6); /* asked too early */
    ck_assert(!one_peer(&o, 2).comparing);
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 6, 7); /* it has it, its disk is slow: not lost */
    ck_assert(!one_peer(&o, 2).comparing);
    one_tick(&o, 300);
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 6, 6); /* restarted meanwhile, and lost it */
    ck_assert(one_peer(&o, 2).comparing);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 6);
    one_free(&o);
}
END_TEST

START_TEST(unsent_pushes_are_compared_at_the_next_heartbeat)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    one_pushes(&o, 2, 9, 1);
    one_step(&o, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = 2});
    ck_assert(one_peer(&o, 2).comparing);
    ck_assert_uint_eq(one_peer(&o, 2).inflight_bytes, 0);
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_tick(&o, 50);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_REQ, 2)->prev_index, 6);
    one_step(&o, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = 9});
    one_step(&o, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = 1});
    one_free(&o);
}
END_TEST

START_TEST(check_quorum)
{
    struct one o = leader_of(5, 0);
    for (int i = 0; i < 11; i++) { /* one of five answers: not enough */
        one_tick(&o, 50);
        ck_assert_int_eq(o.up.role, DL_LEADER);
        one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 0, 0);
    }
    one_tick(&o, 50);
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    ck_assert_uint_eq(o.up.leader, DL_NOBODY);
    ck_assert_uint_eq(o.up.term, 3);
    ck_assert_uint_eq(one_view(&o).vote, 1);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    ck_assert(o.up.refused);
    one_free(&o);
}
END_TEST

START_TEST(a_submit_is_not_taken_by_a_leader_whose_time_is_over)
{
    struct one o = leader_of(3, 0);
    o.now_ms += 700;
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    ck_assert(o.up.refused);
    ck_assert_uint_eq(o.up.append_first, 0);
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    one_free(&o);
}
END_TEST

START_TEST(the_lease)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    one_pushes(&o, 2, 9, 1);
    one_log_durable(&o, 7);
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms)); /* its NOOP is not committed */
    uint64_t sent_ms = o.now_ms;
    one_ack(&o, 2, DL_PUSH_APPEND, sent_ms, 7, 7);
    ck_assert(dl_core_lease_valid(o.core, sent_ms));
    ck_assert(dl_core_lease_valid(o.core, sent_ms + 261)); /* 300 less a margin of an eighth and one */
    ck_assert(!dl_core_lease_valid(o.core, sent_ms + 262));
    o.now_ms += 250;
    one_ack(&o, 2, DL_PUSH_APPEND, sent_ms, 7, 7); /* a late answer says nothing new */
    ck_assert(!dl_core_lease_valid(o.core, sent_ms + 262));
    one_ack(&o, 3, DL_PUSH_COMPARE, sent_ms + 200, 0, 0);
    ck_assert(dl_core_lease_valid(o.core, sent_ms + 461));
    one_step(&o, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = 3}); /* it may believe us dead */
    ck_assert(!dl_core_lease_valid(o.core, sent_ms + 262));
    one_free(&o);
}
END_TEST

/* The peer may have heard us a moment after we spoke, however late its answer is: it is loyal from then. */
START_TEST(the_lease_runs_from_the_question_not_from_the_answer)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    one_pushes(&o, 2, 9, 1);
    one_log_durable(&o, 7);
    uint64_t sent_ms = o.now_ms + 100;
    o.now_ms += 300;
    one_ack(&o, 2, DL_PUSH_APPEND, sent_ms, 7, 7);
    ck_assert(dl_core_lease_valid(o.core, sent_ms + 261));
    ck_assert(!dl_core_lease_valid(o.core, sent_ms + 262));
    o.now_ms += 300;
    one_ack(&o, 2, DL_PUSH_COMMIT, sent_ms + 200, 7, 7); /* a heartbeat's answer, late as well */
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    one_free(&o);
}
END_TEST

/* It is we who end the connection, so we know before the peer that it may see a reset. */
START_TEST(a_lost_connection_ends_the_lease)
{
    struct one o = leader_of(3, 0);
    stream(&o, 2);
    one_pushes(&o, 2, 9, 1);
    one_log_durable(&o, 7);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 7, 7);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    uint64_t sent_ms = o.now_ms + 10;
    o.now_ms += 20;
    one_step(&o, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = 2});
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    one_ack(&o, 2, DL_PUSH_COMMIT, sent_ms, 7, 7); /* was under way before */
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    o.now_ms += 10;
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 7, 7);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    one_free(&o);
}
END_TEST

START_TEST(a_learner_gives_no_lease)
{
    struct one o = leader_of(3, 1);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 6, 7);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 6, 7);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 7, 7);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 7, 7);
    o.now_ms += 280;
    one_ack(&o, 4, DL_PUSH_COMPARE, o.now_ms, 6, 6);
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    one_free(&o);
}
END_TEST

ONE_MAIN("push", a_new_leader_compares_at_the_end_of_its_old_log,
         commits_what_a_majority_persisted_of_its_own_term, the_leaders_own_disk_may_be_the_slow_one,
         window_in_entries_and_bytes, tells_news_of_the_commit_index_once,
         back_tracking_jumps_over_terms_and_ends_at_the_match, who_needs_removed_entries_is_not_pushed,
         trimming_under_a_slow_peer, absurd_answers_are_ignored, heartbeats,
         a_lost_push_is_noticed_when_nothing_moves, unsent_pushes_are_compared_at_the_next_heartbeat,
         check_quorum, a_submit_is_not_taken_by_a_leader_whose_time_is_over, the_lease,
         the_lease_runs_from_the_question_not_from_the_answer, a_lost_connection_ends_the_lease,
         a_learner_gives_no_lease)
