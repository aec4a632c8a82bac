/*
 * Pulls: the result table of reference 6.4, filters, long polling, bytes from the disk.
 */
#include "tests/unit/front/rig.h"

#define SUSPENDED "6" /* suspend | subscription */
#define AT_ONCE   "4"

static void send_tagged(const char *topic, const char *tag)
{
    char properties[64];

    snprintf(properties, sizeof(properties), "TAGS\x01%s\x02", tag);
    rig_ask(500, SEND_MESSAGE, SEND_FIELDS(topic, "0", properties));
    rig_settle();
    rig.answer_count[500] = 0;
}

static void three_messages(void)
{
    rig_begin();
    for (int i = 0; i < 3; i++)
        send_tagged("T", i == 1 ? "b" : "a");
}

static uint32_t messages_in(struct str body)
{
    uint32_t count = 0;

    while (body.len > 0) {
        struct message m;

        ck_assert_int_eq(message_decode((const uint8_t *)body.p, body.len, true, &m), 0);
        body = (struct str){body.p + m.total_size, body.len - m.total_size};
        count++;
    }
    return count;
}

static void pull(int32_t opaque, const char *queue, const char *offset, const char *sys_flag,
                 const char *tags)
{
    rig_ask(opaque, PULL_MESSAGE, PULL_FIELDS("T", queue, offset, sys_flag, tags));
    rig_settle();
}

struct result_row {
    const char *queue, *offset, *tags;
    int32_t code;
    int64_t next, min, max;
    uint32_t messages;
};
/* queue 0 has 3 messages tagged a, b, a; queue 1 none */
static const struct result_row results[] = {
    {"0", "0", "*", RC_SUCCESS, 3, 0, 3, 3},
    {"0", "2", "*", RC_SUCCESS, 3, 0, 3, 1},
    {"0", "-1", "*", RC_SUCCESS, 3, 0, 3, 3},
    {"0", "0", "a", RC_SUCCESS, 3, 0, 3, 2},
    {"0", "0", " b || c ", RC_SUCCESS, 3, 0, 3, 1},
    {"0", "0", "none", RC_PULL_RETRY_IMMEDIATELY, 3, 0, 3, 0},
    {"0", "3", "*", RC_PULL_NOT_FOUND, 3, 0, 3, 0},
    {"0", "4", "*", RC_PULL_OFFSET_MOVED, 3, 0, 3, 0},
    {"0", "9223372036854775807", "*", RC_PULL_OFFSET_MOVED, 3, 0, 3, 0},
    {"1", "0", "*", RC_PULL_NOT_FOUND, 0, 0, 0, 0},
    {"1", "7", "*", RC_PULL_OFFSET_MOVED, 0, 0, 0, 0},
};

START_TEST(result_table)
{
    const struct result_row *r = &results[_i];

    pull(1, r->queue, r->offset, AT_ONCE, r->tags);
    rig_expect(1, r->code);
    ck_assert_int_eq(rig_number(1, "nextBeginOffset"), r->next);
    ck_assert_int_eq(rig_number(1, "minOffset"), r->min);
    ck_assert_int_eq(rig_number(1, "maxOffset"), r->max);
    ck_assert_int_eq(rig_number(1, "suggestWhichBrokerId"), 0);
    ck_assert_uint_eq(messages_in(rig_answer(1)->body), r->messages);
}
END_TEST

START_TEST(refusals)
{
    pull(1, "-1", "0", AT_ONCE, "*");
    rig_expect(1, RC_INVALID_PARAMETER);
    pull(2, "4", "0", AT_ONCE, "*");
    rig_expect(2, RC_INVALID_PARAMETER);
    pull(3, "0", "9223372036854775808", AT_ONCE, "*");
    rig_expect(3, RC_INVALID_PARAMETER);
    pull(4, "0", "0", "8", "*"); /* class filter: without its own subscription, and no heartbeat */
    rig_expect(4, RC_SUBSCRIPTION_NOT_EXIST);
    rig_ask(5, PULL_MESSAGE, PULL_FIELDS("None", "0", "0", AT_ONCE, "*"));
    rig_settle();
    rig_expect(5, RC_TOPIC_NOT_EXIST);
    rig.settings.broker_permission = 2;
    pull(6, "0", "0", AT_ONCE, "*");
    rig_expect(6, RC_NO_PERMISSION);
}
END_TEST

/* A leader that has just started has heard no heartbeat yet: clients sort out what they get, by tags only. */
START_TEST(what_is_not_known_is_not_filtered)
{
    pull(1, "0", "0", "0", "");
    rig_expect(1, RC_SUCCESS);
    ck_assert_uint_eq(messages_in(rig_answer(1)->body), 3);
    rig_ask(2, PULL_MESSAGE, PULL_FIELDS("T", "0", "0", "0", ""), "expressionType", "SQL92");
    rig_settle();
    rig_expect(2, RC_SYSTEM_ERROR);
    rig_ask_body(3, UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
                 STR("{\"groupName\":\"g\",\"consumeEnable\":true,\"consumeBroadcastEnable\":false}"), NULL);
    rig_settle();
    rig_expect(3, RC_SUCCESS);
    pull(4, "0", "0", "0", "");
    rig_expect(4, RC_SUBSCRIPTION_NOT_EXIST);
}
END_TEST

/* Go before 2.1.2 takes what it gets, and every Go says TAG for SQL92. */
START_TEST(what_is_not_known_is_refused_to_whom_does_not_look_again)
{
    rig.language = LANG_GO;
    rig_ask(1, PULL_MESSAGE, PULL_FIELDS("T", "0", "0", "0", ""), "expressionType", "TAG");
    rig_settle();
    rig_expect(1, RC_SUBSCRIPTION_NOT_EXIST);
}
END_TEST

START_TEST(the_answer_is_bounded_but_never_empty)
{
    rig.settings.pull_bytes_max = 1;
    pull(1, "0", "0", AT_ONCE, "*");
    ck_assert_uint_eq(messages_in(rig_answer(1)->body), 1);
    ck_assert_int_eq(rig_number(1, "nextBeginOffset"), 1);
    rig.settings.pull_bytes_max = 1 << 20;
    rig.settings.pull_count_max = 2;
    pull(2, "0", "0", AT_ONCE, "*");
    ck_assert_uint_eq(messages_in(rig_answer(2)->body), 2);
}
END_TEST

START_TEST(arrival_wakes)
{
    pull(1, "0", "3", SUSPENDED, "*");
    pull(2, "1", "0", SUSPENDED, "*");
    ck_assert_uint_eq(hold_count(rig.f.hold), 2);
    send_tagged("T", "a");
    rig_expect(1, RC_SUCCESS);
    ck_assert_int_eq(rig_number(1, "nextBeginOffset"), 4);
    ck_assert(!rig_answered(2)); /* another queue */
    ck_assert_uint_eq(hold_count(rig.f.hold), 1);
}
END_TEST

START_TEST(a_filter_skips_without_answering)
{
    pull(1, "0", "3", SUSPENDED, "b");
    send_tagged("T", "a");
    ck_assert(!rig_answered(1));
    send_tagged("T", "b");
    rig_expect(1, RC_SUCCESS);
    ck_assert_uint_eq(messages_in(rig_answer(1)->body), 1);
    ck_assert_int_eq(rig_number(1, "nextBeginOffset"), 5);
}
END_TEST

START_TEST(time_is_up)
{
    rig_ask(1, PULL_MESSAGE, "consumerGroup", "g", "topic", "T", "queueId", "0", "queueOffset", "3",
            "maxMsgNums", "32", "sysFlag", SUSPENDED, "suspendTimeoutMillis", "1", "subscription", "*");
    rig_settle();
    rig_until(rig_answered(1));
    rig_expect(1, RC_PULL_NOT_FOUND);
    ck_assert_int_eq(rig_number(1, "nextBeginOffset"), 3);
    ck_assert_uint_eq(hold_count(rig.f.hold), 0);
}
END_TEST

START_TEST(what_cannot_be_held_is_refused)
{
    static char text[4096];
    struct str body = {text, sizeof(text)};

    pull(2, "0", "0", AT_ONCE, "*"); /* makes the group */
    for (uint32_t i = 0; i < HOLD_MAX_BYTES / sizeof(text) && !rig_answered(1); i++)
        rig_ask_body(1, PULL_MESSAGE, body, PULL_FIELDS("T", "0", "3", SUSPENDED, "*"), NULL);
    rig_expect(1, RC_SYSTEM_BUSY); /* not 19: clients pull again at once on it */
}
END_TEST

START_TEST(held_pulls_move_with_the_leader)
{
    pull(1, "0", "3", SUSPENDED, "*");
    rig.other_up = true;
    rig_role(false, OTHER);
    ck_assert_uint_eq(hold_count(rig.f.hold), 0);
    ck_assert_uint_eq(rig.relay_count, 1);
    ck_assert_uint_eq(front_unanswered(&rig.f), 0); /* a long poll keeps nobody from ending */
    rig.other_up = false;
    rig_relay_ends(ERR_CLOSED, NULL, 0);
    ck_assert(!rig_answered(1));
    rig_role(true, SELF);
    rig_settle();
    send_tagged("T", "a");
    rig_expect(1, RC_SUCCESS);
}
END_TEST

START_TEST(deleted_topic_under_a_held_pull)
{
    pull(1, "0", "3", SUSPENDED, "*");
    rig_ask(2, DELETE_TOPIC_IN_BROKER, "topic", "T");
    rig_settle();
    rig_expect(2, RC_SUCCESS);
    send_tagged("T", "a"); /* a new topic of that name */
    rig_expect(1, RC_PULL_OFFSET_MOVED);
    ck_assert_int_eq(rig_number(1, "nextBeginOffset"), 1);
}
END_TEST

START_TEST(bytes_from_the_disk)
{
    rig.cold = true;
    pull(1, "0", "0", AT_ONCE, "*");
    ck_assert(!rig_answered(1));
    rig.read_done(rig.read_arg, 0);
    rig.read_done = NULL;
    ck_assert_uint_eq(messages_in(rig_answer(1)->body), 3);
    pull(2, "0", "0", AT_ONCE, "*");
    rig.read_done(rig.read_arg, ERR_IO);
    rig_expect(2, RC_SYSTEM_ERROR);
}
END_TEST

START_TEST(damage_is_not_delivered)
{
    struct index_row row;
    uint32_t n;

    ck_assert_int_eq(state_rows(rig.f.state, STR("T"), 0, 2, 1, &row, &n), 0);
    rig.log[row.position + MESSAGE_FIXED_BYTES - 3] ^= 1; /* the first byte of the body */
    rig.cold = true;
    pull(1, "0", "2", AT_ONCE, "*");
    rig.read_done(rig.read_arg, 0);
    rig_expect(1, RC_SYSTEM_ERROR);
}
END_TEST

START_TEST(offset_rides_on_a_pull)
{
    uint64_t offset;

    rig_ask(1, PULL_MESSAGE, "consumerGroup", "g", "topic", "T", "queueId", "0", "queueOffset", "0",
            "maxMsgNums", "1", "sysFlag", "5", "commitOffset", "2", "suspendTimeoutMillis", "0",
            "subscription", "*");
    rig_settle();
    rig_until(rig.pending_count > 0); /* gathered */
    rig_settle();
    ck_assert_int_eq(state_offset(rig.f.state, STR("g"), STR("T"), 0, &offset), 0);
    ck_assert_uint_eq(offset, 2);
}
END_TEST

static uint64_t committed(void)
{
    uint64_t offset = UINT64_MAX;

    (void)!state_offset(rig.f.state, STR("g"), STR("T"), 0, &offset);
    return offset;
}

/* Pull from the end of the queue, to be held, with an offset to commit. */
static void pull_committing(int32_t opaque, const char *sys_flag, const char *offset)
{
    rig_ask(opaque, PULL_MESSAGE, "consumerGroup", "g", "topic", "T", "queueId", "0", "queueOffset", "3",
            "maxMsgNums", "1", "sysFlag", sys_flag, "commitOffset", offset, "suspendTimeoutMillis", "20000",
            "subscription", "*");
}

/* Held or relayed, then run again: the offset it carried was told already, and a newer one stands. */
START_TEST(an_offset_rides_once)
{
    rig.settings.offsets_gather_ms = 1;
    pull_committing(1, "7", "1");
    rig_settle();
    rig_until(rig.pending_count > 0);
    rig_settle();
    ck_assert_uint_eq(committed(), 1);
    rig_ask(2, UPDATE_CONSUMER_OFFSET, "consumerGroup", "g", "topic", "T", "queueId", "0", "commitOffset",
            "3");
    rig_settle();
    ck_assert_uint_eq(committed(), 3);
    rig_role(false, DL_NOBODY); /* parked, and run by the next leader: us */
    rig_role(true, SELF);
    for (int i = 0; i < 20; i++) {
        loop_turn(rig.f.loop, 1);
        rig_settle();
    }
    ck_assert_uint_eq(hold_count(rig.f.hold), 1);
    ck_assert_uint_eq(committed(), 3);
    send_tagged("T", "a");
    rig_expect(1, RC_SUCCESS);
}
END_TEST

START_TEST(a_relayed_offset_rides_once)
{
    struct remoting_cmd cmd = {0};
    struct err err;
    int32_t sys_flag[2];

    rig.other_up = true;
    rig_role(false, OTHER);
    for (int i = 0; i < 2; i++) {
        if (i == 0) {
            pull_committing(1, "7", "1");
        } else {
            rig_relay_ends(ERR_CLOSED, NULL, 0); /* the leader has gone; another one comes */
            rig_role(false, OTHER);
        }
        ck_assert_uint_eq(rig.relay_count, 1);
        ck_assert_int_eq(remoting_decode(rig.relays[0].frame->data, rig.relays[0].frame->len, &cmd, &err), 0);
        ck_assert_int_eq(remoting_i32(&cmd, "sysFlag", &sys_flag[i]), 0);
    }
    remoting_release(&cmd);
    ck_assert_int_eq(sys_flag[0], 7);
    ck_assert_int_eq(sys_flag[1], 6);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pull");
    TCase *t = tcase_create("pull");

    tcase_add_checked_fixture(t, three_messages, rig_end);
    tcase_add_loop_test(t, result_table, 0, sizeof(results) / sizeof(results[0]));
    tcase_add_test(t, refusals);
    tcase_add_test(t, what_is_not_known_is_not_filtered);
    tcase_add_test(t, what_is_not_known_is_refused_to_whom_does_not_look_again);
    tcase_add_test(t, the_answer_is_bounded_but_never_empty);
    tcase_add_test(t, arrival_wakes);
    tcase_add_test(t, a_filter_skips_without_answering);
    tcase_add_test(t, time_is_up);
    tcase_add_test(t, what_cannot_be_held_is_refused);
    tcase_add_test(t, held_pulls_move_with_the_leader);
    tcase_add_test(t, deleted_topic_under_a_held_pull);
    tcase_add_test(t, bytes_from_the_disk);
    tcase_add_test(t, damage_is_not_delivered);
    tcase_add_test(t, offset_rides_on_a_pull);
    tcase_add_test(t, an_offset_rides_once);
    tcase_add_test(t, a_relayed_offset_rides_once);
    suite_add_tcase(s, t);
    return rig_main(s);
}
