/* test_follow.c - what pushes do to a follower's log, and what it acknowledges. */
#include "tests/unit/dlcore/one.h"

static const dl_term_t ones[] = {1, 1, 1, 1}, twos[] = {2, 2, 2, 2};

/* Term 2, four entries of term 1, the first committed. */
static struct one follower(void)
{
    return one_new((struct one_opts){.hard = {2, DL_NOBODY, true}, .terms = ones, .count = 4, .commit = 1});
}

static void assert_acks(const struct one *o, dl_index_t match)
{
    const struct dl_msg *rsp = one_said(o, DL_MSG_PUSH_RSP, 2);
    ck_assert_ptr_nonnull(rsp);
    ck_assert(rsp->success);
    ck_assert_uint_eq(rsp->match, match);
}

START_TEST(acknowledges_what_is_persisted)
{
    struct one o = follower();
    one_push(&o, 2, 2, 4, 1, 0, 3, twos);
    ck_assert_uint_eq(o.up.append_first, 5);
    ck_assert_uint_eq(o.up.append_last, 7);
    ck_assert_uint_eq(o.up.truncate_from, 0);
    ck_assert_ptr_null(one_said(&o, DL_MSG_PUSH_RSP, 2));
    uint64_t sent_ms = o.now_ms;
    o.now_ms += 20;
    one_log_durable(&o, 6);
    assert_acks(&o, 6);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_RSP, 2)->sent_ms, sent_ms);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_RSP, 2)->last_index, 7);
    one_log_durable(&o, 7);
    assert_acks(&o, 7);
    one_push(&o, 2, 2, 4, 1, 0, 3, twos); /* again: nothing to do, answered at once */
    ck_assert_uint_eq(o.up.append_first, 0);
    assert_acks(&o, 7);
    one_free(&o);
}
END_TEST

START_TEST(never_beyond_what_is_verified)
{
    struct one o = follower();
    one_push(&o, 2, 2, 2, 1, 9, 0,
             NULL); /* entries 3 and 4 are there and durable, but are they the leader's? */
    assert_acks(&o, 2);
    ck_assert_uint_eq(o.up.commit, 2);
    one_push(&o, 2, 2, 2, 1, 9, 1, ones);
    ck_assert_uint_eq(o.up.append_first, 0);
    assert_acks(&o, 3);
    ck_assert_uint_eq(o.up.commit, 3);
    one_free(&o);
}
END_TEST

START_TEST(another_leader_verifies_anew)
{
    struct one o = follower();
    one_push(&o, 2, 2, 4, 1, 0, 0, NULL);
    assert_acks(&o, 4);
    one_push(&o, 3, 3, 2, 1, 9, 0, NULL);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_RSP, 3)->match, 2);
    ck_assert_uint_eq(o.up.commit, 2);
    ck_assert_uint_eq(o.up.hard.term, 3);
    one_free(&o);
}
END_TEST

/* A leader's clock is its own: what an earlier one said, however late by that, says nothing by this. */
START_TEST(another_leader_has_another_clock)
{
    struct one o = follower();
    one_push(&o, 2, 2, 4, 1, 0, 1, twos);
    const dl_term_t three = 3;
    struct dl_msg push = {.type = DL_MSG_PUSH_REQ,
                          .from = 3,
                          .to = 1,
                          .term = 3,
                          .push = DL_PUSH_APPEND,
                          .prev_index = 5,
                          .prev_term = 2,
                          .first = 6,
                          .last = 6,
                          .sent_ms = 500};
    one_step(&o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &push, .terms = &three});
    ck_assert_uint_eq(o.up.append_last, 6);
    one_log_durable(&o, 6);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_RSP, 3)->sent_ms, 500);
    one_hear(&o, (struct dl_msg){.type = DL_MSG_VOTE_REQ, /* asked for by 3, and its time is not over */
                                 .from = 2,
                                 .term = 4,
                                 .transfer = true,
                                 .sent_ms = 1100,
                                 .last_index = 6,
                                 .last_term = 3});
    ck_assert(one_said(&o, DL_MSG_VOTE_RSP, 2)->granted);
    one_free(&o);
}
END_TEST

START_TEST(removes_from_the_first_conflict_on)
{
    struct one o = follower();
    const dl_term_t mixed[] = {1, 2, 2};
    one_push(&o, 2, 2, 2, 1, 0, 3, mixed);
    ck_assert_uint_eq(o.up.truncate_from, 4);
    ck_assert_uint_eq(o.up.append_first, 4);
    ck_assert_uint_eq(o.up.append_last, 5);
    ck_assert_uint_eq(one_view(&o).persisted, 3);
    ck_assert_uint_eq(dl_core_term_at(o.core, 4), 2);
    one_step(&o, (struct dl_event){
                     .type = DL_EV_LOG_PERSISTED, .index = 4, .term = 1}); /* late, of the removed one */
    ck_assert_uint_eq(one_view(&o).persisted, 3);
    one_step(&o, (struct dl_event){.type = DL_EV_LOG_PERSISTED, .index = 9, .term = 2});
    ck_assert_uint_eq(one_view(&o).persisted, 3);
    one_log_durable(&o, 5);
    assert_acks(&o, 5);
    one_free(&o);
}
END_TEST

START_TEST(removes_nothing_while_the_disk_is_busy)
{
    struct one o = follower();
    one_push(&o, 2, 2, 4, 1, 0, 2, twos); /* 5 and 6, not durable */
    const dl_term_t threes[] = {3, 3};
    one_push(&o, 3, 3, 4, 1, 0, 1, threes);
    ck_assert_uint_eq(o.up.truncate_from, 0);
    ck_assert_ptr_null(one_said(&o, DL_MSG_PUSH_RSP, 3));
    one_push(&o, 3, 3, 5, 3, 0, 1, threes); /* what follows is dropped as well */
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_log_durable(&o, 5);
    ck_assert_uint_eq(one_said(&o, DL_MSG_PUSH_RSP, 3)->match, 4);
    one_log_durable(&o, 6);
    const struct dl_msg *rsp = one_said(&o, DL_MSG_PUSH_RSP, 3);
    ck_assert(!rsp->success);
    ck_assert_uint_eq(rsp->hint_index, 4);
    ck_assert_uint_eq(rsp->hint_term, 1);
    one_push(&o, 3, 3, 4, 1, 0, 1, threes);
    ck_assert_uint_eq(o.up.truncate_from, 5);
    one_free(&o);
}
END_TEST

START_TEST(hints_where_to_try_next)
{
    const dl_term_t log[] = {1, 1, 3, 3, 5};
    const struct {
        dl_index_t prev;
        dl_term_t prev_term;
        dl_index_t hint;
        dl_term_t hint_term;
    } cases[] = {{9, 6, 5, 5}, {9, 4, 4, 3}, {5, 6, 5, 5}, {5, 4, 4, 3}, {4, 2, 2, 1}, {3, 2, 2, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct one o =
            one_new((struct one_opts){.hard = {6, DL_NOBODY, true}, .terms = log, .count = 5, .commit = 1});
        one_push(&o, 2, 6, cases[i].prev, cases[i].prev_term, 0, 0, NULL);
        const struct dl_msg *rsp = one_said(&o, DL_MSG_PUSH_RSP, 2);
        if (cases[i].prev == 5 && cases[i].prev_term == 6)
            ck_assert(!rsp->success);
        ck_assert_msg(!rsp->success && rsp->hint_index == cases[i].hint &&
                          rsp->hint_term == cases[i].hint_term,
                      "%zu", i);
        one_free(&o);
    }
}
END_TEST

START_TEST(what_is_committed_cannot_be_questioned)
{
    struct one o =
        one_new((struct one_opts){.hard = {2, DL_NOBODY, true}, .terms = ones, .count = 4, .commit = 3});
    one_push(&o, 2, 2, 1, 1, 0, 2, twos); /* says that 2 and 3 are of term 2 */
    ck_assert_uint_eq(o.up.truncate_from, 0);
    ck_assert_uint_eq(o.up.append_first, 0);
    ck_assert_uint_eq(dl_core_term_at(o.core, 2), 1);
    one_push(&o, 2, 2, 2, 2, 9, 0, NULL);
    ck_assert_uint_eq(o.up.commit, 3);
    one_free(&o);
}
END_TEST

START_TEST(entries_before_the_log_are_taken_for_equal)
{
    struct one o = one_new((struct one_opts){.hard = {2, DL_NOBODY, true},
                                             .begin = 11,
                                             .begin_prev_term = 1,
                                             .terms = ones,
                                             .count = 2,
                                             .commit = 11});
    one_push(&o, 2, 2, 5, 1, 11, 0, NULL);
    assert_acks(&o, 11);
    const dl_term_t many[] = {1, 1, 1, 1, 1, 1, 1, 1, 2};
    one_push(&o, 2, 2, 5, 1, 11, 9, many); /* 6..14 */
    ck_assert_uint_eq(o.up.append_first, 13);
    ck_assert_uint_eq(o.up.append_last, 14);
    ck_assert_uint_eq(dl_core_term_at(o.core, 14), 2);
    one_free(&o);
}
END_TEST

START_TEST(an_old_leader_is_told)
{
    struct one o = one_new((struct one_opts){.hard = {5, 3, true}, .terms = ones, .count = 4});
    one_push(&o, 2, 4, 4, 1, 4, 0, NULL);
    const struct dl_msg *rsp = one_said(&o, DL_MSG_PUSH_RSP, 2);
    ck_assert(!rsp->success);
    ck_assert_uint_eq(rsp->term, 5);
    ck_assert_uint_eq(o.up.commit, 0);
    ck_assert_uint_eq(o.up.leader, DL_NOBODY);
    one_free(&o);
}
END_TEST

START_TEST(absurd_pushes_are_ignored)
{
    const dl_term_t falling[] = {2, 1}, future[] = {2, 3}, zero[] = {0, 0};
    const struct dl_msg good = {.type = DL_MSG_PUSH_REQ,
                                .from = 2,
                                .to = 1,
                                .term = 2,
                                .push = DL_PUSH_APPEND,
                                .prev_index = 4,
                                .prev_term = 1,
                                .first = 5,
                                .last = 6,
                                .sent_ms = 1};
    struct {
        struct dl_msg msg;
        const dl_term_t *terms;
    } cases[16];
    size_t n = 0;
#define BAD(field, value, with) \
    cases[n].msg = good;        \
    cases[n].msg.field = value; \
    cases[n++].terms = with
    BAD(first, 6, twos);
    BAD(last, 4, twos);
    BAD(last, UINT64_MAX, twos);
    BAD(prev_index, UINT64_MAX, twos);
    BAD(prev_term, 3, twos);
    BAD(prev_term, 0, twos);
    BAD(push, (enum dl_push)0, twos);
    BAD(push, (enum dl_push)9, twos);
    BAD(term, UINT64_MAX, twos);
    BAD(term, 0, twos);
    BAD(from, 77, twos);
    BAD(from, 1, twos);
    BAD(to, 3, twos);
    BAD(commit, 0, NULL);
    BAD(commit, 0, falling);
    BAD(commit, 0, future);
#undef BAD
    for (size_t i = 0; i < n; i++) {
        struct one o = follower();
        one_step(&o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &cases[i].msg, .terms = cases[i].terms});
        ck_assert_msg(o.up.msg_count == 0 && o.up.append_first == 0 && o.up.leader == DL_NOBODY, "%zu", i);
        one_step(&o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &good, .terms = zero});
        ck_assert_uint_eq(o.up.append_first, 0);
        one_step(&o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = NULL});
        ck_assert_uint_eq(o.up.msg_count, 0);
        one_free(&o);
    }
}
END_TEST

START_TEST(one_leader_per_term)
{
    struct one o = follower();
    one_push(&o, 2, 2, 4, 1, 0, 0, NULL);
    one_push(&o, 3, 2, 4, 1, 4, 0, NULL);
    ck_assert_uint_eq(o.up.msg_count, 0);
    ck_assert_uint_eq(o.up.leader, 2);
    ck_assert_uint_eq(o.up.commit, 1);
    one_lead(&o, 3);
    one_push(&o, 3, o.up.term, 4, 1, 0, 0, NULL);
    ck_assert_int_eq(o.up.role, DL_LEADER);
    one_free(&o);
}
END_TEST

START_TEST(learners_cannot_lead)
{
    struct one o = one_new((struct one_opts){.learners = 1});
    one_push(&o, 4, 9, 0, 0, 0, 2, ones);
    ck_assert_uint_eq(o.up.term, 0);
    ck_assert_uint_eq(o.up.append_first, 0);
    one_free(&o);
}
END_TEST

START_TEST(learners_receive_and_forget_a_silent_leader)
{
    struct one o = one_new((struct one_opts){.voters = 2, .learners = 1, .self = 3});
    struct dl_msg msg = {.type = DL_MSG_PUSH_REQ,
                         .from = 1,
                         .to = 3,
                         .term = 1,
                         .push = DL_PUSH_APPEND,
                         .first = 1,
                         .last = 2,
                         .commit = 2,
                         .sent_ms = o.now_ms};
    one_step(&o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &msg, .terms = ones});
    ck_assert_uint_eq(o.up.append_last, 2);
    ck_assert_uint_eq(o.up.leader, 1);
    ck_assert_uint_eq(o.up.commit, 2);
    one_tick(&o, 601);
    ck_assert_uint_eq(o.up.leader, DL_NOBODY);
    ck_assert_uint_gt(o.up.wake_ms, o.now_ms);
    one_free(&o);
}
END_TEST

ONE_MAIN("follow", acknowledges_what_is_persisted, never_beyond_what_is_verified,
         another_leader_verifies_anew, another_leader_has_another_clock, removes_from_the_first_conflict_on,
         removes_nothing_while_the_disk_is_busy, hints_where_to_try_next,
         what_is_committed_cannot_be_questioned, entries_before_the_log_are_taken_for_equal,
         an_old_leader_is_told, absurd_pushes_are_ignored, one_leader_per_term, learners_cannot_lead,
         learners_receive_and_forget_a_silent_leader)
