/*
 * Who is connected: joining and leaving over real connections on loopback, and who is told (40).
 */
#include "tests/unit/front/rig.h"

#define CLIENTS 3

static struct listener *listener;
static struct conn *clients[CLIENTS];
static uint32_t notices[CLIENTS], answers[CLIENTS], opened[CLIENTS];

static void on_server_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)!dispatch_frame(&rig.f.dispatch, conn, NULL, frame, len);
}

static void on_server_close(struct conn *conn, int why)
{
    (void)why;
    front_on_conn_closed(&rig.f, conn_id(conn));
}

static const struct conn_ops server_ops = {.on_frame = on_server_frame, .on_close = on_server_close};

static void on_client_open(struct conn *conn)
{
    ++*(uint32_t *)conn_user(conn);
}

static void on_client_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct remoting_cmd cmd = {0};
    struct err err;
    size_t i = (size_t)((uint32_t *)conn_user(conn) - opened);

    ck_assert_int_eq(remoting_decode(frame, len, &cmd, &err), 0);
    if (cmd.flag & REMOTING_FLAG_RESPONSE) {
        ck_assert_int_eq(cmd.code, RC_SUCCESS);
        answers[i]++;
    } else {
        ck_assert_int_eq(cmd.code, NOTIFY_CONSUMER_IDS_CHANGED);
        ck_assert(str_is(remoting_str(&cmd, "consumerGroup"), "g"));
        notices[i]++;
    }
    remoting_release(&cmd);
}

static void on_client_close(struct conn *conn, int why)
{
    (void)why;
    clients[(uint32_t *)conn_user(conn) - opened] = NULL;
}

static const struct conn_ops client_ops = {
    .on_open = on_client_open, .on_frame = on_client_frame, .on_close = on_client_close};

static void connect_all(void)
{
    struct conn_limits limits = {.frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
                                 .frame_min_bytes = 8,
                                 .out_max_bytes = 1u << 20,
                                 .connect_ms = 5000,
                                 .conns_max = 10};
    struct err err;

    rig_begin();
    ck_assert_int_eq(listener_open(rig.f.loop, "127.0.0.1", 0, &server_ops, &limits, NULL, &listener, &err),
                     0);
    for (int i = 0; i < CLIENTS; i++) {
        notices[i] = answers[i] = opened[i] = 0;
        clients[i] =
            conn_connect(rig.f.loop, "127.0.0.1", listener_port(listener), &client_ops, &limits, &opened[i]);
        rig_until(opened[i] == 1);
    }
}

static void disconnect_all(void)
{
    listener_close(listener);
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i] != NULL)
            conn_close(clients[i]);
    }
    loop_turn(rig.f.loop, 0);
    rig_end();
}

static void send_heartbeat(int client, const char *body)
{
    struct remoting_out out;
    struct buf *frame;
    uint32_t before = answers[client];

    remoting_request(&out, REMOTING_JSON, HEART_BEAT, 1, false);
    ck_assert_int_eq(remoting_encode(&out, body, strlen(body), &frame), 0);
    conn_write_buf(clients[client], frame);
    rig_until(answers[client] > before);
    rig_commit();
}

static void heartbeat(int client, const char *id, const char *model, const char *topic)
{
    char body[512];

    snprintf(body, sizeof(body),
             "{\"clientID\":\"%s\",\"producerDataSet\":[{\"groupName\":\"p\"}],\"consumerDataSet\":[{"
             "\"groupName\":"
             "\"g\",\"messageModel\":\"%s\",\"consumeType\":\"CONSUME_PASSIVELY\",\"subscriptionDataSet\":[{"
             "\"topic\":\"%s\",\"subString\":\"a || b\",\"subVersion\":5}]}]}",
             id, model, topic);
    send_heartbeat(client, body);
}

static uint32_t members(void)
{
    struct client_group *g = clients_group(rig.f.clients, CLIENT_CONSUMER, STR("g"));

    return g != NULL ? HASH_COUNT(g->members) : 0;
}

START_TEST(join_tells_all_members)
{
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_until(notices[0] == 1);
    heartbeat(0, "c0", "CLUSTERING", "T"); /* nothing new */
    heartbeat(1, "c1", "CLUSTERING", "T");
    rig_until(notices[0] == 2 && notices[1] == 1);
    ck_assert_uint_eq(members(), 2);
    ck_assert_uint_eq(clients_count(rig.f.clients), 4); /* as producers too */
    rig_ask(1, GET_CONSUMER_LIST_BY_GROUP, "consumerGroup", "g");
    rig_expect(1, RC_SUCCESS);
    ck_assert(str_is(rig_answer(1)->body, "{\"consumerIdList\":[\"c0\",\"c1\"]}"));
}
END_TEST

START_TEST(group_and_retry_topic_are_made)
{
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_settle();
    ck_assert_ptr_nonnull(state_group(rig.f.state, STR("g")));
    ck_assert_ptr_nonnull(state_topic(rig.f.state, STR("%RETRY%g")));
}
END_TEST

START_TEST(a_new_topic_is_told_a_new_expression_is_not)
{
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_until(notices[0] == 1);
    heartbeat(0, "c0", "CLUSTERING", "U");
    rig_until(notices[0] == 2);
    send_heartbeat(0,
                   "{\"clientID\":\"c0\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{"
                   "\"topic\":\"U\",\"subString\":\"*\",\"subVersion\":9}]}]}");
    heartbeat(1, "other", "BROADCASTING", "U"); /* and broadcasting groups are told nothing */
    ck_assert_uint_eq(notices[0], 2);
    ck_assert_uint_eq(notices[1], 0);
}
END_TEST

START_TEST(close_is_leaving)
{
    heartbeat(0, "c0", "CLUSTERING", "T");
    heartbeat(1, "c1", "CLUSTERING", "T");
    rig_until(notices[0] == 2);
    conn_close(clients[1]);
    rig_until(notices[0] == 3);
    ck_assert_uint_eq(members(), 1);
    conn_close(clients[0]);
    rig_until(members() == 0);
    ck_assert_uint_eq(clients_count(rig.f.clients), 0);
    rig_ask(1, GET_CONSUMER_LIST_BY_GROUP, "consumerGroup", "g");
    rig_expect(1, RC_SYSTEM_ERROR);
}
END_TEST

START_TEST(the_newest_connection_wins)
{
    heartbeat(0, "c0", "CLUSTERING", "T");
    heartbeat(1, "c0", "CLUSTERING", "T");
    heartbeat(2, "c2", "CLUSTERING", "T");
    ck_assert_uint_eq(members(), 2);
    conn_close(clients[0]); /* the older one of c0 */
    rig_until(clients[0] == NULL && listener_conns(listener) == 2);
    ck_assert_uint_eq(members(), 2);
}
END_TEST

START_TEST(unregister)
{
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_ask(1, UNREGISTER_CLIENT, "clientID", "c0", "consumerGroup", "g", "producerGroup", "p");
    rig_expect(1, RC_SUCCESS);
    ck_assert_uint_eq(clients_count(rig.f.clients), 0);
    rig_ask(2, UNREGISTER_CLIENT, "clientID", "c0", "consumerGroup", "g");
    rig_expect(2, RC_SUCCESS);
}
END_TEST

START_TEST(pulls_use_the_subscription_of_the_heartbeat)
{
    rig_ask(1, SEND_MESSAGE, SEND_FIELDS("T", "0", "TAGS\x01z\x02"));
    rig_settle();
    rig_ask(2, SEND_MESSAGE,
            SEND_FIELDS("T", "0",
                        "TAGS\x01"
                        "b\x02"));
    rig_settle();
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_settle();
    rig_ask(3, PULL_MESSAGE, PULL_FIELDS("T", "0", "0", "0", ""));
    rig_settle();
    rig_expect(3, RC_SUCCESS);
    ck_assert_int_eq(rig_number(3, "nextBeginOffset"), 2);
    rig_ask(4, PULL_MESSAGE, PULL_FIELDS("T", "0", "0", "0", ""), "subVersion", "6");
    rig_settle();
    rig_expect(4, RC_SUCCESS); /* newer than what is known: not filtered by the older one */
    ck_assert_int_eq(rig_number(4, "nextBeginOffset"), 2);
    rig_ask(5, PULL_MESSAGE, PULL_FIELDS("U", "0", "0", "0", ""));
    rig_settle();
    rig_expect(5, RC_TOPIC_NOT_EXIST);
}
END_TEST

static void send_pull(int client, const char *topic)
{
    const char *fields[] = {PULL_FIELDS(topic, "0", "0", "6", "*")};
    struct remoting_out out;
    struct buf *frame;

    remoting_request(&out, REMOTING_JSON, PULL_MESSAGE, 1, false);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i += 2)
        remoting_put_str(&out, fields[i], str_of(fields[i + 1]));
    ck_assert_int_eq(remoting_encode(&out, NULL, 0, &frame), 0);
    conn_write_buf(clients[client], frame);
}

START_TEST(close_drops_what_is_held)
{
    rig_ask(1, UPDATE_AND_CREATE_TOPIC, "topic", "T", "readQueueNums", "1", "writeQueueNums", "1", "perm",
            "6", "topicFilterType", "SINGLE_TAG", "order", "false");
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_settle();
    for (int i = 0; i < 5; i++)
        send_pull(i % 2, "T");
    rig_until(hold_count(rig.f.hold) == 5);
    conn_close(clients[0]);
    rig_until(hold_count(rig.f.hold) == 2); /* the others' stay */
    rig_ask(2, SEND_MESSAGE, SEND_FIELDS("T", "0", ""));
    rig_settle();
    rig_until(answers[1] == 2);
    ck_assert_uint_eq(hold_count(rig.f.hold), 0);
    send_pull(1, "T");
    conn_close(clients[1]);
    rig_settle();
}
END_TEST

START_TEST(silent_members_expire)
{
    rig.settings.channel_expired_ms = 1;
    heartbeat(0, "c0", "CLUSTERING", "T");
    rig_until(loop_now_ms(rig.f.loop) >
              clients_group(rig.f.clients, CLIENT_CONSUMER, STR("g"))->members->seen_ms + 1);
    rig.f.clients->expiry.fn(rig.f.clients->expiry.arg); /* the scan, without its 10 s */
    ck_assert_uint_eq(members(), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clients");
    TCase *t = tcase_create("clients");

    tcase_add_checked_fixture(t, connect_all, disconnect_all);
    tcase_add_test(t, join_tells_all_members);
    tcase_add_test(t, group_and_retry_topic_are_made);
    tcase_add_test(t, a_new_topic_is_told_a_new_expression_is_not);
    tcase_add_test(t, close_is_leaving);
    tcase_add_test(t, the_newest_connection_wins);
    tcase_add_test(t, unregister);
    tcase_add_test(t, pulls_use_the_subscription_of_the_heartbeat);
    tcase_add_test(t, close_drops_what_is_held);
    tcase_add_test(t, silent_members_expire);
    suite_add_tcase(s, t);
    return rig_main(s);
}
