/*
 * Sends: creation of topics by use, batches, limits to the byte, what is refused and with which code.
 */
#include "tests/unit/front/rig.h"

static char text[40000];

/* `len` bytes of properties: one key with a long value. */
static const char *properties(size_t len)
{
    memset(text, 'v', len);
    memcpy(text, "key\x01", 4);
    text[len - 1] = 2;
    text[len] = '\0';
    return text;
}

static void send_body(int32_t opaque, size_t len)
{
    char *body = calloc(1, len + 1);

    rig_ask_body(opaque, SEND_MESSAGE, (struct str){body, len}, SEND_FIELDS("T", "0", ""), NULL);
    free(body);
    rig_settle();
}

static void send_one(int32_t opaque, const char *topic, const char *queue, const char *props)
{
    rig_ask(opaque, SEND_MESSAGE, SEND_FIELDS(topic, queue, props));
    rig_settle();
}

START_TEST(first_use_creates_the_topic)
{
    const struct topic *t;

    send_one(1, "New", "0", "");
    rig_expect(1, RC_SUCCESS);
    t = state_topic(rig.f.state, STR("New"));
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->write_queues, 4); /* asked for; the template has 8 */
    ck_assert_uint_eq(t->perm, 6);         /* without the template's inherit bit */
    send_one(2, "%RETRY%g", "0", "");
    ck_assert_uint_eq(state_topic(rig.f.state, STR("%RETRY%g"))->write_queues, 1);
}
END_TEST

START_TEST(templates_are_waited_for)
{
    rig.settings.cluster_name[0] = 'X'; /* a name whose topic is not made yet */
    rig_ask(1, SEND_MESSAGE, "producerGroup", "p", "topic", "New", "defaultTopic", rig.settings.cluster_name,
            "defaultTopicQueueNums", "4", "queueId", "0");
    ck_assert(!rig_answered(1));
    rig_settle();
    rig_expect(1, RC_SUCCESS);
    ck_assert_ptr_nonnull(state_topic(rig.f.state, str_of(rig.settings.cluster_name)));
}
END_TEST

START_TEST(creation_is_refused)
{
    send_one(1, "T", "0", "");
    rig_ask(2, SEND_MESSAGE, "producerGroup", "p", "topic", "X", "defaultTopic", "T", "defaultTopicQueueNums",
            "4", "queueId", "0");
    rig_expect(2, RC_TOPIC_NOT_EXIST); /* T has no inherit bit */
    rig_ask(3, SEND_MESSAGE, "producerGroup", "p", "topic", "X", "defaultTopic", "TBW102",
            "defaultTopicQueueNums", "0", "queueId", "0");
    rig_expect(3, RC_TOPIC_NOT_EXIST);
    rig.settings.auto_create_topic = false;
    send_one(4, "X", "0", "");
    rig_expect(4, RC_TOPIC_NOT_EXIST);
    send_one(5, "with blank", "0", "");
    rig_expect(5, RC_INVALID_PARAMETER);
    send_one(6, "SCHEDULE_TOPIC_XXXX", "0", "");
    rig_expect(6, RC_NO_PERMISSION);
}
END_TEST

START_TEST(body_limit)
{
    rig.settings.max_message_bytes = 1000;
    send_body(1, 1000);
    rig_expect(1, RC_SUCCESS);
    send_body(2, 1001);
    rig_expect(2, RC_MESSAGE_ILLEGAL);
    send_body(3, 0);
    rig_expect(3, RC_SUCCESS);
    ck_assert_uint_eq(metric_get(&rig.f.counters.send_refused), 1);
}
END_TEST

START_TEST(properties_limit)
{
    const size_t most = MESSAGE_PROPERTIES_MAX - 512; /* room for the broker's own */

    send_one(1, "T", "0", properties(most));
    rig_expect(1, RC_SUCCESS);
    send_one(2, "T", "0", properties(most + 1));
    rig_expect(2, RC_MESSAGE_ILLEGAL);
}
END_TEST

START_TEST(topic_name_limit)
{
    char name[130];

    memset(name, 'n', sizeof(name));
    name[128] = '\0';
    send_one(1, name, "0", "");
    rig_expect(1, RC_INVALID_PARAMETER);
    name[127] = '\0';
    send_one(2, name, "0", "");
    rig_expect(2, RC_SUCCESS);
}
END_TEST

START_TEST(queue_limits)
{
    send_one(1, "T", "3", "");
    rig_expect(1, RC_SUCCESS);
    send_one(2, "T", "4", "");
    rig_expect(2, RC_INVALID_PARAMETER);
    send_one(3, "T", "-1", "");
    rig_expect(3, RC_SUCCESS);
    ck_assert_int_lt(rig_number(3, "queueId"), 4);
    send_one(4, "T", "4294967296", "");
    rig_expect(4, RC_INVALID_PARAMETER);
}
END_TEST

static const char *const later[] = {"DELAY\x01"
                                    "3\x02",
                                    "TRAN_MSG\x01true\x02",
                                    "TIMER_DELAY_SEC\x01"
                                    "5\x02",
                                    "TIMER_DELIVER_MS\x01"
                                    "99\x02"};

START_TEST(what_is_not_built_is_refused_with_3)
{
    send_one(1, "T", "0", later[_i]);
    rig_expect(1, RC_NOT_SUPPORTED);
    ck_assert_uint_eq(rig.pending_count, 0);
}
END_TEST

START_TEST(asking_for_nothing_is_taken)
{
    send_one(1, "T", "0",
             "DELAY\x01"
             "0\x02"
             "TRAN_MSG\x01"
             "false\x02");
    rig_expect(1, RC_SUCCESS);
}
END_TEST

START_TEST(v2_names_and_unique_key)
{
    rig_ask(1, SEND_MESSAGE_V2, "a", "p", "b", "T", "c", "TBW102", "d", "4", "e", "1", "f", "0", "g", "1",
            "h", "0", "i",
            "UNIQ_KEY\x01"
            "ABC\x02");
    rig_settle();
    rig_expect(1, RC_SUCCESS);
    ck_assert_int_eq(rig_number(1, "queueId"), 1);
    ck_assert(str_is(remoting_str(rig_answer(1), "transactionId"), "ABC"));
    send_one(2, "T", "0", "");
    ck_assert_uint_eq(remoting_str(rig_answer(2), "transactionId").len, 32); /* the broker's own */
}
END_TEST

static void put_element(struct bld *b, const char *body, uint32_t claimed)
{
    uint32_t len = (uint32_t)strlen(body);
    uint8_t *p = bld_room(b, 22 + len);

    memset(p, 0, 22 + len);
    put_be32(p, claimed != 0 ? claimed : 22 + len);
    put_be32(p + 16, len);
    memcpy(p + 20, body, len);
}

static void send_batch(int32_t opaque, struct bld *b)
{
    struct buf *body = bld_take(b);

    rig_ask_body(opaque, SEND_BATCH_MESSAGE, (struct str){(const char *)body->data, body->len}, "a", "p", "b",
                 "T", "c", "TBW102", "d", "4", "e", "0", "m", "true", NULL);
    buf_unref(body);
    rig_settle();
}

START_TEST(batch)
{
    struct bld b = bld_of(1u << 20);

    for (int i = 0; i < 3; i++)
        put_element(&b, "part", 0);
    send_batch(1, &b);
    rig_expect(1, RC_SUCCESS);
    ck_assert_uint_eq(remoting_str(rig_answer(1), "msgId").len, 3 * MESSAGE_ID_CHARS + 2);
    send_one(2, "T", "0", "");
    ck_assert_int_eq(rig_number(2, "queueOffset"), 3);
    ck_assert_uint_eq(metric_get(&rig.f.counters.sends), 4);
}
END_TEST

START_TEST(batch_is_malformed)
{
    struct bld b = bld_of(1u << 20);

    put_element(&b, "part", 0);
    put_element(&b, "part", 4000000000u);
    send_batch(1, &b);
    rig_expect(1, RC_MESSAGE_ILLEGAL);
    b = bld_of(1u << 20);
    put_element(&b, "part", 3);
    send_batch(2, &b);
    rig_expect(2, RC_MESSAGE_ILLEGAL);
    ck_assert_uint_eq(metric_get(&rig.f.counters.sends), 0);
}
END_TEST

START_TEST(topic_deleted_under_a_send)
{
    send_one(1, "T", "0", "");
    rig_ask(2, DELETE_TOPIC_IN_BROKER, "topic", "T");
    rig_ask(3, SEND_MESSAGE, SEND_FIELDS("T", "0", "")); /* proposed behind the deletion */
    rig_settle();
    rig_expect(2, RC_SUCCESS);
    rig_expect(3, RC_TOPIC_NOT_EXIST);
}
END_TEST

START_TEST(one_way_is_stored_and_not_answered)
{
    rig_ask_oneway(SEND_MESSAGE, SEND_FIELDS("T", "0", ""), NULL);
    rig_settle();
    ck_assert_uint_eq(metric_get(&rig.f.counters.sends), 1);
    ck_assert(!rig_answered(0));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("send");
    TCase *t = tcase_create("send");

    tcase_add_checked_fixture(t, rig_begin, rig_end);
    tcase_add_test(t, first_use_creates_the_topic);
    tcase_add_test(t, templates_are_waited_for);
    tcase_add_test(t, creation_is_refused);
    tcase_add_test(t, body_limit);
    tcase_add_test(t, properties_limit);
    tcase_add_test(t, topic_name_limit);
    tcase_add_test(t, queue_limits);
    tcase_add_loop_test(t, what_is_not_built_is_refused_with_3, 0, sizeof(later) / sizeof(later[0]));
    tcase_add_test(t, asking_for_nothing_is_taken);
    tcase_add_test(t, v2_names_and_unique_key);
    tcase_add_test(t, batch);
    tcase_add_test(t, batch_is_malformed);
    tcase_add_test(t, topic_deleted_under_a_send);
    tcase_add_test(t, one_way_is_stored_and_not_answered);
    suite_add_tcase(s, t);
    return rig_main(s);
}
