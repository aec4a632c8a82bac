/* test_join.c - who counts in majorities: replicas with a new store, as they are asked, told and counted. */
#include "tests/unit/dlcore/one.h"

/* It has asked at its start. */
static struct one blank(void)
{
    struct one o = one_new((struct one_opts){.blank = true});
    one_tick(&o, 0);
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_HAVE_REQ, 2));
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_HAVE_REQ, 3));
    return o;
}

/* What its questions carry. */
static uint64_t life_of(struct one *o)
{
    one_step(o, (struct dl_event){.type = DL_EV_PEER_UP, .peer = 2});
    ck_assert_ptr_nonnull(one_said(o, DL_MSG_HAVE_REQ, 2));
    return one_said(o, DL_MSG_HAVE_REQ, 2)->sent_ms;
}

static void tell(struct one *o, dl_peer_t from, uint64_t life, dl_term_t term, dl_index_t last)
{
    one_hear(o,
             (struct dl_msg){
                 .type = DL_MSG_HAVE_RSP, .from = from, .term = term, .sent_ms = life, .last_index = last});
}

static void ask_for_vote(struct one *o, dl_peer_t from, dl_term_t term, bool pre)
{
    one_hear(o, (struct dl_msg){.type = DL_MSG_VOTE_REQ,
                                .from = from,
                                .term = term,
                                .pre = pre,
                                .last_index = 9,
                                .last_term = term - 1});
}

START_TEST(blank_asks_and_neither_stands_nor_votes)
{
    struct one o = blank();
    for (int i = 0; i < 50; i++) {
        one_tick(&o, 100);
        ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    }
    ask_for_vote(&o, 2, 7, true);
    ck_assert_uint_eq(o.up.msg_count, 0);
    ask_for_vote(&o, 2, 7, false);
    ck_assert_uint_eq(o.up.msg_count, 0);
    one_push(&o, 2, 1, 0, 0, 0, 0, NULL); /* a leader */
    one_hear(&o, (struct dl_msg){.type = DL_MSG_TIMEOUT_NOW, .from = 2, .term = 1, .sent_ms = UINT64_MAX});
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    ck_assert(!one_view(&o).joined);
    one_free(&o);
}
END_TEST

START_TEST(a_group_of_one_has_nobody_to_ask)
{
    struct one o = one_new((struct one_opts){.blank = true, .voters = 1});
    one_tick(&o, 0);
    ck_assert(o.up.hard_changed && o.up.hard.joined);
    one_hard_durable(&o);
    ck_assert_int_eq(o.up.role, DL_LEADER);
    one_free(&o);
}
END_TEST

START_TEST(an_only_voter_among_learners_has_nobody_to_ask)
{
    struct one o = one_new((struct one_opts){.blank = true, .voters = 1, .learners = 2});
    one_tick(&o, 0);
    ck_assert(o.up.hard_changed && o.up.hard.joined);
    one_free(&o);
}
END_TEST

/* The term of a log that outlived its term is taken up; whether we count stays as it was. */
START_TEST(a_term_taken_from_the_log_changes_nothing_else)
{
    static const dl_term_t terms[] = {1, 4};
    struct one o = one_new((struct one_opts){.hard = {2, 3, true}, .terms = terms, .count = 2});
    one_tick(&o, 0);
    ck_assert(o.up.hard_changed && o.up.hard.joined);
    ck_assert_uint_eq(o.up.hard.term, 4);
    one_free(&o);
    o = one_new((struct one_opts){.blank = true, .hard = {2, 3, true}, .terms = terms, .count = 2});
    one_tick(&o, 0);
    ck_assert(o.up.hard_changed && !o.up.hard.joined);
    one_free(&o);
}
END_TEST

START_TEST(the_office_does_not_go_to_a_preferred_one_that_is_blank)
{
    struct one o = one_new((struct one_opts){.voters = 3, .preferred = 2});
    one_lead(&o, 3);
    one_log_durable(&o, 1);
    for (int i = 0; i < 100; i++) {
        one_tick(&o, 50);
        one_log_durable(&o, one_view(&o).last);
        one_ack(&o, 3, i == 0 ? DL_PUSH_COMPARE : DL_PUSH_APPEND, o.now_ms, one_view(&o).last,
                one_view(&o).last);
        one_hear(&o,
                 (struct dl_msg){.type = DL_MSG_PUSH_RSP, /* it has all, never heard that it is admitted */
                                 .from = 2,
                                 .term = one_view(&o).term,
                                 .push = one_peer(&o, 2).comparing ? DL_PUSH_COMPARE : DL_PUSH_APPEND,
                                 .sent_ms = o.now_ms,
                                 .success = true,
                                 .life = 5,
                                 .match = one_view(&o).last,
                                 .last_index = one_view(&o).last});
        ck_assert(!one_view(&o).transferring);
    }
    ck_assert(!one_peer(&o, 2).comparing);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    one_free(&o);
}
END_TEST

START_TEST(begins_when_all_have_nothing)
{
    struct one o = blank();
    uint64_t life = life_of(&o);
    tell(&o, 2, life, 0, 0);
    ck_assert(!o.up.hard.joined);
    tell(&o, 2, life, 0, 0); /* twice is not two */
    ck_assert(!o.up.hard.joined);
    tell(&o, 3, life, 0, 0);
    ck_assert(o.up.hard_changed && o.up.hard.joined);
    ck_assert_uint_eq(o.up.hard.vote, DL_NOBODY);
    one_hard_durable(&o);
    one_tick(&o, 50);
    ck_assert_int_eq(o.up.role, DL_PRECANDIDATE);
    one_free(&o);
}
END_TEST

START_TEST(one_entry_somewhere_keeps_it_out)
{
    struct one o = blank();
    uint64_t life = life_of(&o);
    tell(&o, 2, life, 3, 0);
    tell(&o, 3, life, 3, 1);
    ck_assert(!o.up.hard.joined);
    one_free(&o);
}
END_TEST

START_TEST(answers_to_another_life_mean_nothing)
{
    struct one o = blank();
    uint64_t life = life_of(&o);
    tell(&o, 2, life, 0, 0);
    tell(&o, 3, life + 1, 0, 0);
    ck_assert(!o.up.hard.joined);
    struct one other = blank();
    ck_assert_uint_eq(life_of(&other), life); /* it is drawn from the seed, which is another in each life */
    one_free(&other);
    one_free(&o);
}
END_TEST

/* A former life may have voted in any term that anybody knows of. */
START_TEST(a_forgotten_vote_is_spent)
{
    struct one o = blank();
    uint64_t life = life_of(&o);
    tell(&o, 2, life, 4, 0);
    tell(&o, 3, life, 2, 0);
    ck_assert(o.up.hard.joined);
    ck_assert_uint_eq(o.up.hard.term, 4);
    one_hard_durable(&o);
    ask_for_vote(&o, 3, 4, false);
    ck_assert(!one_said(&o, DL_MSG_VOTE_RSP, 3)->granted);
    ask_for_vote(&o, 3, 5, false);
    ck_assert(one_said(&o, DL_MSG_VOTE_RSP, 3)->granted);
    one_free(&o);
}
END_TEST

START_TEST(questions_are_answered_and_asked_back_once)
{
    static const dl_term_t ones[] = {1, 1};
    struct one o = one_new((struct one_opts){.hard = {1, 2, true}, .terms = ones, .count = 2});
    struct dl_msg ask = {.type = DL_MSG_HAVE_REQ, .from = 2, .sent_ms = 77};
    one_hear(&o, ask);
    const struct dl_msg *rsp = one_said(&o, DL_MSG_HAVE_RSP, 2);
    ck_assert_ptr_nonnull(rsp);
    ck_assert_uint_eq(rsp->sent_ms, 77);
    ck_assert_uint_eq(rsp->last_index, 2);
    ck_assert_uint_eq(rsp->term, 1);
    ck_assert_ptr_null(one_said(&o, DL_MSG_HAVE_REQ, 2)); /* it has joined: it wants to know nothing */
    one_free(&o);
    o = blank();
    one_hear(&o, ask);
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_HAVE_RSP, 2));
    const struct dl_msg *back = one_said(&o, DL_MSG_HAVE_REQ, 2);
    ck_assert_ptr_nonnull(back);
    tell(&o, 2, back->sent_ms, 0, 5);
    one_hear(&o, ask);
    ck_assert_ptr_null(one_said(&o, DL_MSG_HAVE_REQ, 2));
    one_free(&o);
}
END_TEST

/* ---- the leader ---- */

static void blank_ack(struct one *o, dl_peer_t from, enum dl_push push, dl_index_t match)
{
    one_hear(o, (struct dl_msg){.type = DL_MSG_PUSH_RSP,
                                .from = from,
                                .term = one_view(o).term,
                                .push = push,
                                .sent_ms = o->now_ms,
                                .success = true,
                                .match = match,
                                .last_index = match});
}

static bool admits(const struct one *o, dl_peer_t to)
{
    const struct dl_msg *msg = one_said(o, DL_MSG_PUSH_REQ, to);
    return msg != NULL && msg->admit;
}

/* Leader of three of which 2 is blank and has entry 1, and 3 has not answered yet. */
static struct one leader_beside_blank(void)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_lead(&o, 3);
    one_log_durable(&o, 1);
    blank_ack(&o, 2, DL_PUSH_COMPARE, 0);
    one_tick(&o, 50);
    blank_ack(&o, 2, DL_PUSH_COMPARE, 0);
    blank_ack(&o, 2, DL_PUSH_APPEND, 1);
    ck_assert_uint_eq(one_peer(&o, 2).match, 1);
    return o;
}

START_TEST(what_a_blank_one_has_does_not_count)
{
    struct one o = leader_beside_blank();
    ck_assert_uint_eq(o.up.commit, 0);
    ck_assert(!one_peer(&o, 2).joined);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 0, 1);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 1, 1);
    ck_assert_uint_eq(o.up.commit, 1);
    one_free(&o);
}
END_TEST

START_TEST(a_blank_one_gives_no_lease_and_no_quorum)
{
    struct one o = leader_beside_blank();
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 0, 1);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 1, 1);
    ck_assert(dl_core_lease_valid(o.core, o.now_ms));
    for (int i = 0; i < 6; i++) {
        one_tick(&o, 50);
        blank_ack(&o, 2, DL_PUSH_COMMIT, 1);
    }
    ck_assert(!dl_core_lease_valid(o.core, o.now_ms));
    for (int i = 0; i < 12; i++) {
        one_tick(&o, 50);
        blank_ack(&o, 2, DL_PUSH_COMMIT, 1);
    }
    ck_assert_int_eq(o.up.role, DL_FOLLOWER);
    one_free(&o);
}
END_TEST

/* 2 has the fence, which is a NOOP as nobody submits anything, on disk. */
static struct one leader_with_fence(void)
{
    struct one o = leader_beside_blank();
    ck_assert_uint_eq(one_view(&o).last, 2);
    one_log_durable(&o, 2);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 0, 1);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 1, 1);
    blank_ack(&o, 2, DL_PUSH_APPEND, 2);
    return o;
}

START_TEST(admits_when_a_majority_without_it_has_the_fence)
{
    struct one o = leader_with_fence();
    one_tick(&o, 50);
    ck_assert_uint_eq(o.up.commit, 1);
    ck_assert_uint_eq(one_view(&o).last, 2); /* one fence is enough */
    ck_assert(!admits(&o, 2));
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 2, 2);
    ck_assert_uint_eq(o.up.commit, 2);
    one_tick(&o, 50);
    ck_assert(admits(&o, 2));
    ck_assert(!admits(&o, 3));
    one_ack(&o, 2, DL_PUSH_COMMIT, o.now_ms, 2, 2);
    ck_assert(one_peer(&o, 2).joined);
    one_tick(&o, 50);
    ck_assert(!admits(&o, 2));
    one_free(&o);
}
END_TEST

/* It may have joined in between, unheard. */
START_TEST(another_life_needs_another_fence)
{
    struct one o = leader_with_fence();
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 2, 2);
    one_tick(&o, 50);
    ck_assert(admits(&o, 2));
    one_hear(&o, (struct dl_msg){.type = DL_MSG_PUSH_RSP,
                                 .from = 2,
                                 .term = one_view(&o).term,
                                 .push = DL_PUSH_COMMIT,
                                 .sent_ms = o.now_ms,
                                 .life = 5});
    ck_assert_uint_eq(one_peer(&o, 2).match, 0);
    one_tick(&o, 50);
    ck_assert(o.up.append_noop);
    ck_assert(!admits(&o, 2));
    one_free(&o);
}
END_TEST

START_TEST(admits_only_with_what_was_appended_since_it_was_found_blank)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_lead(&o, 3);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 9});
    one_log_durable(&o, 10);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 0, 1);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 10, 10);
    blank_ack(&o, 2, DL_PUSH_COMPARE, 0);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    one_log_durable(&o, 11);
    one_tick(&o, 50);
    ck_assert_uint_eq(one_view(&o).last, 11); /* no need of a NOOP */
    blank_ack(&o, 2, DL_PUSH_COMPARE, 0);
    blank_ack(&o, 2, DL_PUSH_APPEND, 10); /* all that is committed */
    one_tick(&o, 50);
    ck_assert(!admits(&o, 2));
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 11, 11);
    one_tick(&o, 50);
    ck_assert(!admits(&o, 2));
    blank_ack(&o, 2, DL_PUSH_APPEND, 11);
    one_tick(&o, 50);
    ck_assert(admits(&o, 2));
    one_free(&o);
}
END_TEST

/* An office that is being handed over takes nothing more. */
START_TEST(no_fence_during_a_hand_over)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_lead(&o, 3);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 0, 0);
    one_step(&o, (struct dl_event){.type = DL_EV_TRANSFER, .peer = 3});
    ck_assert(!o.up.refused);
    blank_ack(&o, 2, DL_PUSH_COMPARE, 0);
    one_tick(&o, 50);
    ck_assert_uint_eq(one_view(&o).last, 1);
    one_free(&o);
}
END_TEST

/* A disk is lost while we lead: what its replica acknowledged no longer counts. */
START_TEST(one_that_is_blank_again_starts_anew)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_lead(&o, 3);
    one_ack(&o, 2, DL_PUSH_COMPARE, o.now_ms, 0, 1);
    one_ack(&o, 2, DL_PUSH_APPEND, o.now_ms, 1, 1);
    uint64_t former_ms = o.now_ms;
    ck_assert_uint_eq(one_peer(&o, 2).match, 1);
    one_tick(&o, 50);
    blank_ack(&o, 2, DL_PUSH_COMPARE, 0);
    ck_assert_uint_eq(one_peer(&o, 2).match, 0);
    one_ack(&o, 2, DL_PUSH_APPEND, former_ms, 1, 1); /* late word of its former life */
    ck_assert_uint_eq(one_peer(&o, 2).match, 0);
    one_log_durable(&o, 1);
    ck_assert_uint_eq(o.up.commit, 0);
    one_free(&o);
}
END_TEST

/* Blank, caught up in part, blank again: a leader must not probe above what is there. */
START_TEST(a_lost_connection_forgets_what_a_blank_one_had)
{
    struct one o = leader_beside_blank();
    one_step(&o, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = 2});
    ck_assert_uint_eq(one_peer(&o, 2).match, 0);
    ck_assert_uint_eq(one_peer(&o, 2).next, 1);
    one_free(&o);
}
END_TEST

START_TEST(office_is_not_handed_to_a_blank_one)
{
    struct one o = leader_beside_blank();
    one_step(&o, (struct dl_event){.type = DL_EV_TRANSFER, .peer = 2});
    ck_assert(o.up.refused);
    one_ack(&o, 3, DL_PUSH_COMPARE, o.now_ms, 0, 1);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 0, 1); /* has less on disk than 2 */
    one_step(&o, (struct dl_event){.type = DL_EV_TRANSFER, .peer = DL_NOBODY});
    ck_assert(!o.up.refused);
    one_ack(&o, 3, DL_PUSH_APPEND, o.now_ms, 2, 2);
    ck_assert_ptr_nonnull(one_said(&o, DL_MSG_TIMEOUT_NOW, 3));
    one_free(&o);
}
END_TEST

/* ---- the blank one ---- */

static void admit(struct one *o, dl_index_t prev, dl_term_t prev_term)
{
    one_hear(o, (struct dl_msg){.type = DL_MSG_PUSH_REQ,
                                .from = 2,
                                .term = 3,
                                .push = DL_PUSH_COMMIT,
                                .prev_index = prev,
                                .prev_term = prev_term,
                                .commit = prev,
                                .sent_ms = o->now_ms,
                                .admit = true});
}

START_TEST(is_admitted_with_what_it_has_on_disk)
{
    static const dl_term_t terms[] = {1, 3};
    struct one o = blank();
    one_push(&o, 2, 3, 0, 0, 0, 2, terms);
    one_hard_durable(&o);
    one_log_durable(&o, 1);
    ck_assert(!one_said(&o, DL_MSG_PUSH_RSP, 2)->joined);
    admit(&o, 2, 3);
    ck_assert(!o.up.hard.joined); /* entry 2 is not on disk */
    one_log_durable(&o, 2);
    admit(&o, 0, 0);
    ck_assert(!o.up.hard.joined); /* that says nothing about the log */
    admit(&o, 2, 3);
    ck_assert(o.up.hard_changed && o.up.hard.joined);
    ck_assert_uint_eq(o.up.hard.vote, 2);
    ck_assert(one_said(&o, DL_MSG_PUSH_RSP, 2)->joined); /* leaves when that is durable: the host's gate */
    one_free(&o);
}
END_TEST

/* An admission from before its disk was lost again: the log behind it is gone. */
START_TEST(admission_of_a_former_life_does_not_fit)
{
    struct one o = blank();
    one_push(&o, 2, 3, 0, 0, 0, 0, NULL);
    admit(&o, 2, 3);
    ck_assert(!o.up.hard.joined);
    one_free(&o);
}
END_TEST

ONE_MAIN("core/join", blank_asks_and_neither_stands_nor_votes, a_group_of_one_has_nobody_to_ask,
         an_only_voter_among_learners_has_nobody_to_ask, a_term_taken_from_the_log_changes_nothing_else,
         the_office_does_not_go_to_a_preferred_one_that_is_blank, begins_when_all_have_nothing,
         one_entry_somewhere_keeps_it_out, answers_to_another_life_mean_nothing, a_forgotten_vote_is_spent,
         questions_are_answered_and_asked_back_once, what_a_blank_one_has_does_not_count,
         a_blank_one_gives_no_lease_and_no_quorum, admits_when_a_majority_without_it_has_the_fence,
         another_life_needs_another_fence, admits_only_with_what_was_appended_since_it_was_found_blank,
         no_fence_during_a_hand_over, one_that_is_blank_again_starts_anew,
         a_lost_connection_forgets_what_a_blank_one_had, office_is_not_handed_to_a_blank_one,
         is_admitted_with_what_it_has_on_disk, admission_of_a_former_life_does_not_fit)
