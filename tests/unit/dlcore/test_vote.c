/* test_vote.c - pre-votes and votes, asked and answered by one replica. */
#include "tests/unit/dlcore/one.h"

static const dl_term_t log_of_term_2[] = {1, 2, 2};

/* A follower in term 2 with three entries, whose promise from before the start has run out. */
static struct one follower(void)
{
    struct one o =
        one_new((struct one_opts){.hard = {2, DL_NOBODY, true}, .terms = log_of_term_2, .count = 3});
    o.now_ms += 300;
    return o;
}

static bool granted(struct one *o, struct dl_msg request)
{
    request.type = DL_MSG_VOTE_REQ;
    one_hear(o, request);
    const struct dl_msg *answer = one_said(o, DL_MSG_VOTE_RSP, request.from);
    ck_assert_ptr_nonnull(answer);
    ck_assert(answer->pre == request.pre);
    return answer->granted;
}

START_TEST(pre_vote_raises_no_term)
{
    struct one o = follower();
    one_stand(&o);
    ck_assert_uint_eq(o.up.term, 2);
    ck_assert(!o.up.hard_changed);
    const struct dl_msg *ask = one_said(&o, DL_MSG_VOTE_REQ, 3);
    ck_assert(ask->pre);
    ck_assert_uint_eq(ask->term, 3);
    ck_assert_uint_eq(ask->last_index, 3);
    ck_assert_uint_eq(ask->last_term, 2);
    ck_assert(
        granted(&o, (struct dl_msg){.from = 2, .term = 4, .pre = true, .last_index = 4, .last_term = 2}));
    ck_assert_uint_eq(one_view(&o).term, 2);
    one_vote(&o, 3, true);
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    ck_assert(o.up.hard_changed);
    ck_assert_uint_eq(o.up.hard.term, 3);
    ck_assert_uint_eq(o.up.hard.vote, 1);
    ck_assert_uint_eq(one_view(&o).elections, 1);
    one_free(&o);
}
END_TEST

START_TEST(own_vote_counts_when_durable)
{
    struct one o = follower();
    one_stand(&o);
    one_vote(&o, 2, true);
    one_vote(&o, 2, false);
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_vote(&o, 3, false); /* all others are for us: still nothing may be said in this term */
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_step(&o, (struct dl_event){.type = DL_EV_HARD_PERSISTED, .hard = {2, DL_NOBODY, true}});
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_step(&o, (struct dl_event){.type = DL_EV_HARD_PERSISTED, .hard = {3, 2, true}});
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_hard_durable(&o);
    ck_assert_int_eq(o.up.role, DL_LEADER);
    ck_assert(o.up.append_noop);
    ck_assert_uint_eq(o.up.append_first, 4);
    ck_assert_uint_eq(o.up.append_last, 4);
    ck_assert_uint_eq(o.up.append_term, 3);
    ck_assert_uint_eq(one_view(&o).term_start, 4);
    one_free(&o);
}
END_TEST

START_TEST(answers_to_other_rounds_do_not_count)
{
    struct one o = follower();
    one_stand(&o);
    struct dl_msg yes = {.type = DL_MSG_VOTE_RSP, .from = 2, .pre = true, .granted = true, .term = 2};
    one_hear(&o, yes);
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    yes.term = 4;
    one_hear(&o, yes);
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    one_vote(&o, 2, false); /* a real vote is no pre-vote */
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    one_vote(&o, 2, true);
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_hard_durable(&o);
    one_vote(&o, 2, true);
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_free(&o);
}
END_TEST

START_TEST(a_refusal_in_a_later_term_is_believed)
{
    struct one o = follower();
    one_stand(&o);
    one_hear(&o, (struct dl_msg){.type = DL_MSG_VOTE_RSP, .from = 2, .pre = true, .term = 9});
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    ck_assert_uint_eq(o.up.hard.term, 9);
    ck_assert_uint_eq(o.up.hard.vote, DL_NOBODY);
    ck_assert(o.up.hard_changed);
    one_free(&o);
}
END_TEST

START_TEST(one_vote_per_term)
{
    struct one o = follower();
    struct dl_msg ask = {.from = 2, .term = 3, .last_index = 3, .last_term = 2};
    ck_assert(granted(&o, ask));
    ck_assert(o.up.hard_changed);
    ck_assert_uint_eq(o.up.hard.vote, 2);
    ck_assert(granted(&o, ask)); /* the answer was lost */
    ck_assert(!o.up.hard_changed);
    ask.from = 3;
    ck_assert(!granted(&o, ask));
    ck_assert_uint_eq(one_view(&o).vote, 2);
    ask.term = 2;
    ck_assert(!granted(&o, ask));
    ask.term = 4;
    ck_assert(granted(&o, ask));
    ck_assert_uint_eq(o.up.hard.term, 4);
    ck_assert_uint_eq(o.up.hard.vote, 3);
    one_free(&o);
}
END_TEST

START_TEST(only_for_logs_that_are_not_behind)
{
    const struct {
        dl_index_t last_index;
        dl_term_t last_term;
        bool granted;
    } cases[] = {{3, 2, true}, {4, 2, true}, {2, 2, false}, {9, 1, false}, {1, 3, true}, {0, 0, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int pre = 0; pre <= 1; pre++) {
            struct one o = follower();
            struct dl_msg ask = {.from = 2,
                                 .term = 5,
                                 .pre = pre == 1,
                                 .last_index = cases[i].last_index,
                                 .last_term = cases[i].last_term};
            ck_assert_msg(granted(&o, ask) == cases[i].granted, "%zu %d", i, pre);
            ck_assert_uint_eq(one_view(&o).term, pre ? 2 : 5);
            one_free(&o);
        }
}
END_TEST

START_TEST(who_hears_a_leader_refuses_and_keeps_its_term)
{
    struct one o = follower();
    one_push(&o, 3, 2, 3, 2, 0, 0, NULL);
    for (int pre = 0; pre <= 1; pre++) {
        struct dl_msg ask = {.from = 2, .term = 7, .pre = pre == 1, .last_index = 9, .last_term = 2};
        ck_assert(!granted(&o, ask));
        ck_assert_uint_eq(one_view(&o).term, 2);
        ck_assert_uint_eq(one_view(&o).leader, 3);
    }
    o.now_ms += 299;
    ck_assert(!granted(&o, (struct dl_msg){.from = 2, .term = 7, .last_index = 9, .last_term = 2}));
    o.now_ms += 1;
    ck_assert(granted(&o, (struct dl_msg){.from = 2, .term = 7, .last_index = 9, .last_term = 2}));
    one_free(&o);
}
END_TEST

START_TEST(an_election_the_leader_asked_for_is_exempt)
{
    struct one o = follower();
    one_push(&o, 3, 2, 3, 2, 0, 0, NULL);
    struct dl_msg ask = {.from = 2, .term = 3, .transfer = true, .last_index = 9, .last_term = 2};
    ask.pre = true; /* there is no such thing */
    ck_assert(!granted(&o, ask));
    ask.pre = false;
    ask.sent_ms = o.now_ms - 1; /* over: the leader has been heard since */
    ck_assert(!granted(&o, ask));
    ck_assert_uint_eq(one_view(&o).term, 2);
    ask.sent_ms = o.now_ms + 600;
    ck_assert(granted(&o, ask));
    one_free(&o);
}
END_TEST

START_TEST(a_promise_outlives_a_restart)
{
    struct one o =
        one_new((struct one_opts){.hard = {2, DL_NOBODY, true}, .terms = log_of_term_2, .count = 3});
    struct dl_msg ask = {.from = 2, .term = 3, .last_index = 3, .last_term = 2};
    o.now_ms += 299;
    ck_assert(!granted(&o, ask));
    o.now_ms += 1;
    ck_assert(granted(&o, ask));
    one_free(&o);
    o = one_new((struct one_opts){.voters = 3}); /* never took part */
    ck_assert(granted(&o, ask));
    one_free(&o);
}
END_TEST

/* It cannot know whether the hand-over is over; if it is, the leader has a lease again. */
START_TEST(a_handover_from_before_a_restart_does_not_end_the_promise)
{
    struct one o =
        one_new((struct one_opts){.hard = {2, DL_NOBODY, true}, .terms = log_of_term_2, .count = 3});
    struct dl_msg ask = {.from = 2, .term = 3, .transfer = true, .last_index = 3, .last_term = 2};
    ask.sent_ms = o.now_ms + 1000; /* its deadline */
    o.now_ms += 299;
    ck_assert(!granted(&o, ask));
    o.now_ms += 1;
    ck_assert(granted(&o, ask));
    one_free(&o);
}
END_TEST

START_TEST(leaders_refuse)
{
    struct one o = follower();
    one_lead(&o, 3);
    ck_assert(!granted(&o, (struct dl_msg){.from = 2, .term = 9, .last_index = 9, .last_term = 9}));
    ck_assert(
        !granted(&o, (struct dl_msg){.from = 2, .term = 9, .pre = true, .last_index = 9, .last_term = 9}));
    ck_assert_int_eq(o.up.role, DL_LEADER);
    one_free(&o);
}
END_TEST

START_TEST(learners_neither_stand_nor_vote)
{
    struct one o = one_new((struct one_opts){.voters = 2, .learners = 2, .self = 3});
    one_tick(&o, 5000);
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_hear(&o, (struct dl_msg){.type = DL_MSG_VOTE_REQ, .from = 1, .to = 3, .term = 5, .last_index = 9});
    ck_assert_uint_eq(o.up.msg_count, 0);
    ck_assert_uint_eq(o.up.term, 0);
    one_free(&o);
    o = one_new((struct one_opts){.voters = 2, .learners = 2});
    one_hear(&o, (struct dl_msg){.type = DL_MSG_VOTE_REQ, .from = 3, .term = 5, .last_index = 9});
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_stand(&o);
    one_vote(&o, 3, true);
    one_vote(&o, 4, true);
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    one_free(&o);
}
END_TEST

START_TEST(of_two_rivals_one_is_better)
{
    struct one o = one_new((struct one_opts){.self = 2});
    o.now_ms += 601;
    one_step(&o, (struct dl_event){.type = DL_EV_TICK});
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    struct dl_msg ask = {.from = 3, .to = 2, .term = 1, .pre = true};
    ck_assert(!granted(&o, ask)); /* equal logs, higher number: refused, and asked in turn */
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_VOTE_REQ, 3));
    ask.from = 1;
    ck_assert(granted(&o, ask));
    ck_assert_ptr_null(one_said(&o, DL_MSG_VOTE_REQ, 1));
    o.now_ms += 50; /* nobody is refused for ever because of a number */
    ask.from = 3;
    ck_assert(granted(&o, ask));
    one_free(&o);
}
END_TEST

START_TEST(the_preferred_rival_is_better)
{
    struct one o = one_new((struct one_opts){.preferred = 3});
    one_stand(&o);
    ck_assert(granted(&o, (struct dl_msg){.from = 3, .term = 1, .pre = true}));
    ck_assert(!granted(&o, (struct dl_msg){.from = 2, .term = 1, .pre = true}));
    one_free(&o);
}
END_TEST

START_TEST(a_reset_of_the_leader_starts_a_pre_vote)
{
    struct one o = follower();
    one_push(&o, 3, 2, 3, 2, 0, 0, NULL);
    one_step(&o, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = 2});
    ck_assert_int_eq(o.up.role, DL_FOLLOWER); /* 2 is not the leader */
    one_step(&o, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = 3});
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    ck_assert_uint_eq(o.up.term, 2);
    ck_assert_uint_eq(o.up.leader, DL_NOBODY);
    ck_assert(one_said(&o, DL_MSG_VOTE_REQ, 2)->pre);
    ck_assert(granted(&o, (struct dl_msg){.from = 2, .term = 3, .last_index = 3, .last_term = 2}));
    one_free(&o);
    o = follower();
    one_push(&o, 3, 2, 3, 2, 0, 0, NULL);
    one_step(&o, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = 3});
    one_push(&o, 3, 2, 3, 2, 0, 0, NULL); /* it lives */
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    ck_assert_uint_eq(o.up.leader, 3);
    one_free(&o);
}
END_TEST

START_TEST(time_outs_are_within_bounds_and_differ)
{
    uint64_t seen[2] = {0, 0};
    struct one o = one_new((struct one_opts){.voters = 3});
    for (int i = 0; i < 2; i++) {
        one_stand(&o);
        seen[i] = o.up.wake_ms - o.now_ms;
        ck_assert_uint_ge(seen[i], 300);
        ck_assert_uint_le(seen[i], 600);
    }
    ck_assert_uint_ne(seen[0], seen[1]);
    one_free(&o);
}
END_TEST

START_TEST(a_group_of_one_elects_itself_at_once)
{
    struct one o = one_new((struct one_opts){.voters = 1});
    one_tick(&o, 0);
    ck_assert_int_eq(o.up.role, DL_CANDIDATE);
    one_hard_durable(&o);
    ck_assert_int_eq(o.up.role, DL_LEADER);
    ck_assert_uint_eq(o.up.commit, 0);
    one_log_durable(&o, 1);
    ck_assert_uint_eq(o.up.commit, 1);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    one_free(&o);
}
END_TEST

ONE_MAIN("vote", pre_vote_raises_no_term, own_vote_counts_when_durable, answers_to_other_rounds_do_not_count,
         a_refusal_in_a_later_term_is_believed, one_vote_per_term, only_for_logs_that_are_not_behind,
         who_hears_a_leader_refuses_and_keeps_its_term, an_election_the_leader_asked_for_is_exempt,
         a_promise_outlives_a_restart, a_handover_from_before_a_restart_does_not_end_the_promise,
         leaders_refuse, learners_neither_stand_nor_vote, of_two_rivals_one_is_better,
         the_preferred_rival_is_better, a_reset_of_the_leader_starts_a_pre_vote,
         time_outs_are_within_bounds_and_differ, a_group_of_one_elects_itself_at_once)
