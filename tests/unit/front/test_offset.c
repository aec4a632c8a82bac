/*
 * Consumer offsets: gathered, one proposal at a time, read back before they are applied; and the rules of
 * reference 6.5.
 */
#include "tests/unit/front/rig.h"

static uint64_t now_offset(void)
{
    uint64_t offset = UINT64_MAX;

    (void)!gather_offset(rig.f.gather, STR("g"), STR("T"), 0, &offset);
    return offset;
}

static void commit(int32_t opaque, const char *queue, const char *offset)
{
    rig_ask(opaque, UPDATE_CONSUMER_OFFSET, "consumerGroup", "g", "topic", "T", "queueId", queue,
            "commitOffset", offset);
}

static void query(int32_t opaque, const char *group, const char *queue)
{
    rig_ask(opaque, QUERY_CONSUMER_OFFSET, "consumerGroup", group, "topic", "T", "queueId", queue);
    rig_settle();
}

static void one_message(void)
{
    rig_begin();
    rig_ask(500, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    rig.proposed = 0;
}

START_TEST(answers_after_apply)
{
    commit(1, "0", "5");
    ck_assert_uint_eq(now_offset(), 5); /* read back at once */
    rig_until(rig.pending_count == 1);
    ck_assert(!rig_answered(1));
    rig_settle();
    rig_expect(1, RC_SUCCESS);
    ck_assert_uint_eq(now_offset(), 5);
}
END_TEST

START_TEST(one_way_commits_coalesce)
{
    for (int i = 0; i < 50; i++) {
        char offset[8];

        snprintf(offset, sizeof(offset), "%d", i);
        rig_ask_oneway(UPDATE_CONSUMER_OFFSET, "consumerGroup", "g", "topic", "T", "queueId", "0",
                       "commitOffset", offset, NULL);
    }
    rig_until(rig.pending_count == 1);
    rig_settle();
    ck_assert_uint_eq(rig.proposed, 1);
    ck_assert_uint_eq(now_offset(), 49);
    ck_assert_uint_eq(metric_get(&rig.f.counters.offsets_committed), 1);
}
END_TEST

START_TEST(one_proposal_at_a_time)
{
    commit(1, "0", "1");
    rig_until(rig.pending_count == 1);
    commit(2, "0", "2");
    commit(3, "1", "3");
    for (int i = 0; i < 5; i++)
        loop_turn(rig.f.loop, 1);
    ck_assert_uint_eq(rig.pending_count, 1);
    ck_assert_uint_eq(now_offset(), 2);
    rig_commit();
    rig_expect(1, RC_SUCCESS);
    ck_assert(!rig_answered(2) && !rig_answered(3));
    rig_settle();
    rig_expect(2, RC_SUCCESS);
    rig_expect(3, RC_SUCCESS);
    ck_assert_uint_eq(rig.proposed, 2);
}
END_TEST

START_TEST(lost_offsets_are_told)
{
    commit(1, "0", "1");
    rig_until(rig.pending_count == 1);
    rig_lose(ERR_LOST);
    rig_expect(1, RC_SERVICE_NOT_AVAILABLE);
    commit(2, "0", "2");
    rig_role(false, DL_NOBODY);
    rig_expect(2, RC_SERVICE_NOT_AVAILABLE);
    ck_assert_uint_eq(now_offset(), UINT64_MAX);
}
END_TEST

START_TEST(a_hand_over_delays)
{
    rig.transferring = true;
    commit(1, "0", "1");
    for (int i = 0; i < 5; i++)
        loop_turn(rig.f.loop, 1);
    ck_assert_uint_eq(rig.pending_count, 0);
    rig.transferring = false;
    rig_until(rig.pending_count == 1);
    rig_settle();
    rig_expect(1, RC_SUCCESS);
}
END_TEST

START_TEST(rules_of_commit)
{
    commit(1, "0", "-1"); /* ali-ons: does not know */
    rig_expect(1, RC_SUCCESS);
    ck_assert_uint_eq(now_offset(), UINT64_MAX);
    commit(2, "0", "9223372036854775808");
    rig_expect(2, RC_INVALID_PARAMETER);
    commit(3, "77", "1");
    rig_expect(3, RC_TOPIC_NOT_EXIST);
    commit(4, "0", "9");
    rig_settle();
    commit(5, "0", "4"); /* back is allowed */
    rig_settle();
    rig_expect(5, RC_SUCCESS);
    ck_assert_uint_eq(now_offset(), 4);
}
END_TEST

START_TEST(rules_of_query)
{
    query(1, "young", "0"); /* entry 0 is young: from the start */
    rig_expect(1, RC_SUCCESS);
    ck_assert_int_eq(rig_number(1, "offset"), 0);
    query(2, "young", "1"); /* an empty queue */
    rig_expect(2, RC_QUERY_NOT_FOUND);
    rig_ask(3, QUERY_CONSUMER_OFFSET, "consumerGroup", "young", "topic", "T", "queueId", "0",
            "setZeroIfNotFound", "false");
    rig_expect(3, RC_QUERY_NOT_FOUND);
    query(4, "young", "-3");
    rig_expect(4, RC_QUERY_NOT_FOUND);
    commit(5, "1", "8");
    rig_settle();
    query(6, "g", "1");
    ck_assert_int_eq(rig_number(6, "offset"), 8);
}
END_TEST

START_TEST(entry_0_is_found_on_disk)
{
    for (int i = 0; i < 600; i++) { /* several blocks of index rows */
        rig_ask_oneway(SEND_MESSAGE, SEND_FIELDS("T", "0", ""), NULL);
        rig_commit();
    }
    state_flush(rig.f.state, NULL, NULL);
    rig_settle();
    query(1, "young", "0");
    rig_expect(1, RC_SUCCESS);
    ck_assert_int_eq(rig_number(1, "offset"), 0);
}
END_TEST

START_TEST(bounds)
{
    rig_ask(1, GET_MAX_OFFSET, "topic", "T", "queueId", "0");
    ck_assert_int_eq(rig_number(1, "offset"), 1);
    rig_ask(2, GET_MIN_OFFSET, "topic", "T", "queueId", "0");
    ck_assert_int_eq(rig_number(2, "offset"), 0);
    rig_ask(3, GET_MAX_OFFSET, "topic", "None", "queueId", "0");
    ck_assert_int_eq(rig_number(3, "offset"), 0);
    rig_ask(4, GET_MIN_OFFSET, "topic", "T", "queueId", "-1");
    ck_assert_int_eq(rig_number(4, "offset"), -1);
    rig_ask(5, GET_MAX_OFFSET, "topic", "T");
    rig_expect(5, RC_INVALID_PARAMETER);
}
END_TEST

START_TEST(by_time)
{
    rig_ask(1, SEARCH_OFFSET_BY_TIMESTAMP, "topic", "T", "queueId", "0", "timestamp", "0");
    ck_assert_int_eq(rig_number(1, "offset"), 0);
    rig_ask(2, SEARCH_OFFSET_BY_TIMESTAMP, "topic", "T", "queueId", "0", "timestamp", "9223372036854775807");
    ck_assert_int_eq(rig_number(2, "offset"), 1);
    rig_ask(3, SEARCH_OFFSET_BY_TIMESTAMP, "topic", "T", "queueId", "0", "timestamp", "9223372036854775807",
            "boundaryType", "UPPER");
    ck_assert_int_eq(rig_number(3, "offset"), 0);
    rig_ask(4, SEARCH_OFFSET_BY_TIMESTAMP, "topic", "T", "queueId", "0", "timestamp", "-5");
    ck_assert_int_eq(rig_number(4, "offset"), 0);
    rig_ask(5, SEARCH_OFFSET_BY_TIMESTAMP, "topic", "T", "queueId", "1", "timestamp", "5");
    ck_assert_int_eq(rig_number(5, "offset"), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("offset");
    TCase *t = tcase_create("offset");

    tcase_add_checked_fixture(t, one_message, rig_end);
    tcase_add_test(t, answers_after_apply);
    tcase_add_test(t, one_way_commits_coalesce);
    tcase_add_test(t, one_proposal_at_a_time);
    tcase_add_test(t, lost_offsets_are_told);
    tcase_add_test(t, a_hand_over_delays);
    tcase_add_test(t, rules_of_commit);
    tcase_add_test(t, rules_of_query);
    tcase_add_test(t, entry_0_is_found_on_disk);
    tcase_add_test(t, bounds);
    tcase_add_test(t, by_time);
    suite_add_tcase(s, t);
    return rig_main(s);
}
