/*
 * Where requests are handled: here, relayed, parked, given up; and what proposals come to.
 */
#include "tests/unit/front/rig.h"

START_TEST(serves_and_answers_after_commit)
{
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    ck_assert(!rig_answered(1));
    rig_settle();
    rig_expect(1, RC_SUCCESS);
    ck_assert_int_eq(rig_number(1, "queueOffset"), 0);
    ck_assert_uint_eq(remoting_str(rig_answer(1), "msgId").len, MESSAGE_ID_CHARS);
    ck_assert(remoting_has(rig_answer(1), "MSG_REGION"));
}
END_TEST

START_TEST(unknown_code_is_3)
{
    rig_ask(1, 999, "a", "b");
    rig_expect(1, RC_NOT_SUPPORTED);
}
END_TEST

START_TEST(parks_without_a_leader_and_goes_on_with_one)
{
    rig_role(false, DL_NOBODY);
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_ask(2, GET_MAX_OFFSET, "topic", "T", "queueId", "0");
    ck_assert(!rig_answered(1) && !rig_answered(2));
    ck_assert_uint_eq(front_unanswered(&rig.f), 2);
    rig_role(true, SELF);
    rig_settle();
    rig_expect(1, RC_SUCCESS);
    rig_expect(2, RC_SUCCESS);
    ck_assert_uint_eq(front_unanswered(&rig.f), 0);
}
END_TEST

START_TEST(parks_while_the_lease_is_lost)
{
    rig.lease = false;
    rig_ask(1, GET_MAX_OFFSET, "topic", "T", "queueId", "0");
    loop_turn(rig.f.loop, 0);
    ck_assert(!rig_answered(1));
    rig.lease = true;
    rig_until(rig_answered(1));
    rig_expect(1, RC_SUCCESS);
}
END_TEST

START_TEST(writes_wait_for_the_end_of_a_hand_over)
{
    rig.transferring = true;
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    ck_assert(!rig_answered(1));
    rig.transferring = false;
    rig_until(rig.pending_count > 0);
    rig_settle();
    rig_expect(1, RC_SUCCESS);
}
END_TEST

START_TEST(gives_up_at_the_deadline_with_14)
{
    rig.settings.park_send_ms = 1;
    rig.settings.park_read_ms = 1;
    rig_role(false, DL_NOBODY);
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_ask(2, GET_MAX_OFFSET, "topic", "T", "queueId", "0");
    rig_until(rig_answered(1) && rig_answered(2));
    rig_expect(1, RC_SERVICE_NOT_AVAILABLE);
    rig_expect(2, RC_SERVICE_NOT_AVAILABLE);
}
END_TEST

START_TEST(parked_bytes_are_bounded)
{
    rig.settings.park_max_bytes = 100;
    rig_role(false, DL_NOBODY);
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_expect(1, RC_SYSTEM_BUSY);
}
END_TEST

/* Many that waited go in pieces, and a request that comes between two of them does not overtake. */
START_TEST(parked_go_in_pieces_and_in_order)
{
    enum { PARKED = 700 };

    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    rig_role(false, DL_NOBODY);
    for (int i = 0; i < PARKED; i++)
        rig_ask_oneway(SEND_MESSAGE, SEND_FIELDS("T", "0", ""), NULL);
    rig_role(true, SELF);
    ck_assert_uint_gt(rig.pending_count, 0);
    ck_assert_uint_lt(rig.pending_count, PARKED);
    rig_ask(2, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    rig_expect(2, RC_SUCCESS);
    ck_assert_int_eq(rig_number(2, "queueOffset"), 1 + PARKED);
}
END_TEST

/* What a run sends and gets back, refused, is tried in the next run, not in the same one. */
START_TEST(refused_relays_wait_for_the_next_run)
{
    enum { PARKED = 600 };

    rig_role(false, DL_NOBODY);
    for (int i = 0; i < PARKED; i++)
        rig_ask(1, GET_MAX_OFFSET, "topic", "T", "queueId", "0");
    rig.other_up = true;
    rig_role(false, OTHER);
    ck_assert_uint_lt(rig.relay_count, PARKED);
    rig_relay_ends(ERR_BUSY, NULL, 0);
    loop_turn(rig.f.loop, 0);
    ck_assert_uint_eq(rig.relay_count, PARKED - 1);
    rig_until(rig.relay_count == PARKED);
}
END_TEST

START_TEST(relays_to_the_leader_and_back)
{
    struct remoting_out out;
    struct buf *frame;

    rig.other_up = true;
    rig_role(false, OTHER);
    rig_ask(7, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    ck_assert_uint_eq(rig.relay_count, 1);
    remoting_request(&out, REMOTING_JSON, RC_SUCCESS, 7, false);
    out.flag = REMOTING_FLAG_RESPONSE;
    ck_assert_int_eq(remoting_encode(&out, NULL, 0, &frame), 0);
    rig_relay_ends(0, (const char *)frame->data, frame->len);
    buf_unref(frame);
    rig_expect(7, RC_SUCCESS);
}
END_TEST

struct ending {
    int err;
    int32_t read_code, write_code; /* -1: waits on */
};
static const struct ending endings[] = {
    {ERR_NOT_LEADER, -1, -1},
    {ERR_BUSY, -1, -1},
    {ERR_CLOSED, -1, RC_SERVICE_NOT_AVAILABLE},
    {ERR_TIMEOUT, -1, RC_SERVICE_NOT_AVAILABLE},
    {ERR_TOO_LARGE, RC_MESSAGE_ILLEGAL, RC_MESSAGE_ILLEGAL},
};

START_TEST(what_a_failed_relay_means)
{
    const struct ending *e = &endings[_i];

    rig.other_up = true;
    rig_role(false, OTHER);
    rig_ask(1, GET_MAX_OFFSET, "topic", "T", "queueId", "0");
    rig.other_up = false;
    rig_relay_ends(e->err, NULL, 0);
    rig.other_up = true;
    rig_ask(2, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    if (rig.relay_count > 1) { /* the parked one went again */
        struct relay r = rig.relays[0];
        buf_unref(r.frame);
        r.fn(r.arg, ERR_CLOSED, NULL, 0);
        rig.relays[0] = rig.relays[--rig.relay_count];
    }
    rig.other_up = false;
    rig_relay_ends(e->err, NULL, 0);
    if (e->read_code < 0)
        ck_assert(!rig_answered(1));
    else
        rig_expect(1, e->read_code);
    if (e->write_code < 0)
        ck_assert(!rig_answered(2));
    else
        rig_expect(2, e->write_code);
}
END_TEST

START_TEST(one_hop_only)
{
    rig.other_up = true;
    rig_role(false, OTHER);
    rig_ask_relayed(3, false, GET_MAX_OFFSET, "topic", "T", "queueId", "0", NULL);
    ck_assert_int_eq(rig.ticket_err[3], ERR_NOT_LEADER);
    ck_assert_uint_eq(rig.ticket_replies[3], 1);
    ck_assert_uint_eq(rig.relay_count, 0);
}
END_TEST

START_TEST(relayed_here_is_answered_once)
{
    rig_ask_relayed(4, false, SEND_MESSAGE, SEND_FIELDS("T", "0", ""), NULL);
    ck_assert_uint_eq(rig.ticket_replies[4], 0);
    rig_settle();
    ck_assert_int_eq(rig.ticket_err[4], 0);
    ck_assert_uint_eq(rig.ticket_replies[4], 1);
    rig_ask_relayed(5, true, SEND_MESSAGE, SEND_FIELDS("T", "0", ""), NULL);
    ck_assert_uint_eq(rig.ticket_replies[5], 1); /* one-way: at once */
    rig_lose(ERR_LOST);
    rig_role(false, DL_NOBODY);
    rig_settle();
    ck_assert_uint_eq(rig.ticket_replies[5], 1);
}
END_TEST

START_TEST(lost_proposals_start_over)
{
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("SELF", "0", ""));
    rig_settle();
    rig_ask(2, SEND_MESSAGE, SEND_FIELDS("SELF", "0", ""));
    rig_lose(ERR_LOST);
    rig_settle();
    rig_expect(2, RC_SUCCESS);
    ck_assert_int_eq(rig_number(2, "queueOffset"), 1);
}
END_TEST

START_TEST(refused_proposals_are_answered_later)
{
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    rig.refuse = ERR_BUSY;
    rig_ask(2, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    ck_assert(!rig_answered(2));
    rig_until(rig_answered(2));
    rig_expect(2, RC_SYSTEM_BUSY);
}
END_TEST

START_TEST(closed_means_unknown)
{
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    rig_ask(2, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_lose(ERR_CLOSED);
    rig_expect(2, RC_SERVICE_NOT_AVAILABLE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gate");
    TCase *t = tcase_create("gate");

    tcase_add_checked_fixture(t, rig_begin, rig_end);
    tcase_add_test(t, serves_and_answers_after_commit);
    tcase_add_test(t, unknown_code_is_3);
    tcase_add_test(t, parks_without_a_leader_and_goes_on_with_one);
    tcase_add_test(t, parks_while_the_lease_is_lost);
    tcase_add_test(t, writes_wait_for_the_end_of_a_hand_over);
    tcase_add_test(t, gives_up_at_the_deadline_with_14);
    tcase_add_test(t, parked_bytes_are_bounded);
    tcase_add_test(t, parked_go_in_pieces_and_in_order);
    tcase_add_test(t, refused_relays_wait_for_the_next_run);
    tcase_add_test(t, relays_to_the_leader_and_back);
    tcase_add_loop_test(t, what_a_failed_relay_means, 0, sizeof(endings) / sizeof(endings[0]));
    tcase_add_test(t, one_hop_only);
    tcase_add_test(t, relayed_here_is_answered_once);
    tcase_add_test(t, lost_proposals_start_over);
    tcase_add_test(t, refused_proposals_are_answered_later);
    tcase_add_test(t, closed_means_unknown);
    suite_add_tcase(s, t);
    return rig_main(s);
}
