/* test_routes.c - brokers come, change roles, fall silent and go; what clients are told meanwhile. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "nameserver/routes.h"

#define JSON_MAX (64u * 1024 * 1024)

static struct routes *routes;
static struct err err;
static struct routes_answer answer;

static const struct routes_topic two_topics[] = {
    {{"T1", 2}, 8, 8, 6, 0},
    {{"T2", 2}, 4, 2, 6, 1},
};

static void setup(void)
{
    routes = routes_new();
}

static void teardown(void)
{
    routes_free(routes);
}

/* Registration of broker name b with two topics on connection `id` + 100; fields are changed by the tests. */
static struct routes_registration reg_of(int64_t id, const char *addr, int64_t term)
{
    return (struct routes_registration){
        .cluster = STR("c"),
        .broker = STR("b"),
        .addr = str_of(addr),
        .ha_addr = STR("1.1.1.1:9"),
        .id = id,
        .conn_id = (uint64_t)id + 100,
        .version = {.state = term, .timestamp = 1000, .counter = 1},
        .topics = two_topics,
        .topic_count = 2,
    };
}

static int put(const struct routes_registration *reg, uint64_t now_ms)
{
    return routes_register(routes, reg, false, now_ms, &answer, &err);
}

static void put_ok(struct routes_registration reg)
{
    int rc = put(&reg, 0);

    ck_assert_msg(rc == 0, "%s", err.text);
}

static const char *text_of(struct bld *out)
{
    static char *text;
    struct buf *b = bld_take(out);

    free(text);
    text = calloc(b->len + 1, 1);
    memcpy(text, b->data, b->len);
    buf_unref(b);
    return text;
}

static const char *cluster(void)
{
    struct bld out = bld_of(JSON_MAX);

    routes_cluster_json(routes, &out);
    return text_of(&out);
}

/* The route in the dialect of old clients, or NULL. */
static const char *route(const char *topic)
{
    struct bld out = bld_of(JSON_MAX);

    return routes_topic_json(routes, str_of(topic), (struct str){NULL, 0}, false, &out) ? text_of(&out)
                                                                                        : NULL;
}

static bool has(const char *text, const char *part)
{
    return text != NULL && strstr(text, part) != NULL;
}

/* ---- answers ---- */

START_TEST(route_of_two_brokers_is_exactly_this)
{
    struct routes_registration other = reg_of(0, "1.1.1.2:1", 1);

    other.broker = STR("b2");
    other.topic_count = 1;
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    put_ok(reg_of(2, "1.1.1.1:2", 1));
    put_ok(other);
    ck_assert_str_eq(
        route("T1"),
        "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"1.1.1.1:1\",2:\"1.1.1.1:2\"},\"brokerName\":"
        "\"b\",\"cluster\":\"c\",\"enableActingMaster\":false},{\"brokerAddrs\":{0:\"1.1.1.2:1\"}"
        ",\"brokerName\":\"b2\",\"cluster\":\"c\",\"enableActingMaster\":false}],"
        "\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,"
        "\"readQueueNums\":8,\"topicSysFlag\":0,\"writeQueueNums\":8},{\"brokerName\":\"b2\","
        "\"perm\":6,\"readQueueNums\":8,\"topicSysFlag\":0,\"writeQueueNums\":8}]}");
    ck_assert(!has(route("T2"), "b2"));
    ck_assert_ptr_null(route("T3"));
}
END_TEST

START_TEST(standard_form_quotes_ids_and_escapes)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1);
    struct bld out = bld_of(JSON_MAX);
    const char *text;

    reg.cluster = STR("caf\xc3\xa9");
    put_ok(reg);
    ck_assert(routes_topic_json(routes, STR("T1"), STR("b:4"), true, &out));
    text = text_of(&out);
    ck_assert_msg(has(text, "\"brokerAddrs\":{\"0\":\"1.1.1.1:1\"}"), "%s", text);
    ck_assert_msg(has(text, "\"cluster\":\"caf\\u00e9\"") || has(text, "\"cluster\":\"caf\\u00E9\""), "%s",
                  text);
    ck_assert(has(text, "\"orderTopicConf\":\"b:4\""));
    ck_assert(has(route("T1"), "\"cluster\":\"caf\xc3\xa9\""));
}
END_TEST

START_TEST(cluster_lists_names_once_per_cluster)
{
    struct routes_registration reg = reg_of(0, "1.1.1.2:1", 1);

    reg.broker = STR("b2");
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    put_ok(reg);
    reg.broker = STR("b3");
    reg.cluster = STR("d");
    put_ok(reg);
    ck_assert(has(cluster(), "\"clusterAddrTable\":{\"c\":[\"b\",\"b2\"],\"d\":[\"b3\"]}"));
    ck_assert(has(cluster(), "\"b\":{\"brokerAddrs\":{0:\"1.1.1.1:1\"}"));
}
END_TEST

START_TEST(lists_of_topics)
{
    struct bld out = bld_of(JSON_MAX);

    put_ok(reg_of(0, "1.1.1.1:1", 1));
    routes_list_json(routes, ROUTES_ALL_TOPICS, &out);
    ck_assert_str_eq(text_of(&out), "{\"topicList\":[\"T1\",\"T2\"]}");
    routes_list_json(routes, ROUTES_UNIT, &out);
    ck_assert_str_eq(text_of(&out), "{\"topicList\":[\"T2\"]}");
    routes_list_json(routes, ROUTES_UNIT_SUB, &out);
    ck_assert_str_eq(text_of(&out), "{\"topicList\":[]}");
    routes_cluster_topics_json(routes, STR("other"), &out);
    ck_assert_str_eq(text_of(&out), "{\"topicList\":[]}");
    routes_cluster_topics_json(routes, STR("c"), &out);
    ck_assert_str_eq(text_of(&out), "{\"topicList\":[\"T1\",\"T2\"]}");
    routes_system_topics_json(routes, &out);
    ck_assert_str_eq(text_of(&out), "{\"topicList\":[\"c\",\"b\"],\"brokerAddr\":\"1.1.1.1:1\"}");
    routes_members_json(routes, STR("c"), STR("b"), &out);
    ck_assert_str_eq(text_of(&out), "{\"brokerMemberGroup\":{\"brokerAddrs\":{0:\"1.1.1.1:1\"},"
                                    "\"brokerName\":\"b\",\"cluster\":\"c\"}}");
}
END_TEST

START_TEST(follower_is_told_the_master)
{
    put_ok(reg_of(2, "1.1.1.1:2", 1));
    ck_assert_uint_eq(answer.master_addr.len, 0);
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    ck_assert_uint_eq(answer.master_addr.len, 0);
    put_ok(reg_of(2, "1.1.1.1:2", 1));
    ck_assert(str_is(answer.master_addr, "1.1.1.1:1"));
    ck_assert(str_is(answer.master_ha_addr, "1.1.1.1:9"));
}
END_TEST

/* ---- leaders ---- */

START_TEST(new_leader_takes_id_0_and_leaves_its_old_id)
{
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    put_ok(reg_of(2, "1.1.1.1:2", 1));
    put_ok(reg_of(3, "1.1.1.1:3", 1));
    put_ok(reg_of(0, "1.1.1.1:2", 2));
    ck_assert_int_eq(answer.news, ROUTES_MOVED);
    ck_assert(has(route("T1"), "{0:\"1.1.1.1:2\",3:\"1.1.1.1:3\"}"));
    put_ok(reg_of(1, "1.1.1.1:1", 2)); /* the old one comes back as a follower */
    ck_assert(has(route("T1"), "{0:\"1.1.1.1:2\",1:\"1.1.1.1:1\",3:\"1.1.1.1:3\"}"));
}
END_TEST

START_TEST(stale_leader_changes_nothing)
{
    struct routes_registration stale = reg_of(0, "1.1.1.1:1", 1);

    put_ok(reg_of(1, "1.1.1.1:1", 1));
    put_ok(reg_of(0, "1.1.1.1:2", 2));
    stale.version.timestamp++;
    stale.topic_count = 0;
    ck_assert_int_eq(put(&stale, 0), ERR_LOST);
    ck_assert(has(route("T1"), "{0:\"1.1.1.1:2\",1:\"1.1.1.1:1\"}"));
    /* nor when the newer leader has gone while the group is still known */
    ck_assert(routes_unregister(routes, STR("b"), STR("1.1.1.1:2")));
    ck_assert_int_eq(put(&stale, 0), ERR_LOST);
    ck_assert(has(route("T1"), "{1:\"1.1.1.1:1\"}"));
    stale.version.state = 3;
    put_ok(stale);
    ck_assert(has(route("T1"), "{0:\"1.1.1.1:1\"}"));
}
END_TEST

START_TEST(a_group_that_died_starts_anew)
{
    put_ok(reg_of(0, "1.1.1.1:2", 7));
    ck_assert(routes_unregister(routes, STR("b"), STR("1.1.1.1:2")));
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    ck_assert(has(route("T1"), "{0:\"1.1.1.1:1\"}"));
}
END_TEST

START_TEST(followers_bring_no_topics)
{
    struct routes_registration follower = reg_of(1, "1.1.1.1:1", 1);

    put_ok(follower);
    ck_assert_uint_eq(routes_topic_count(routes), 0);
    ck_assert_uint_eq(routes_member_count(routes), 1);
    follower.topic_count = 0;
    follower.id = -1;
    put_ok(follower);
    ck_assert(has(cluster(), "{-1:\"1.1.1.1:1\"}"));
}
END_TEST

START_TEST(topics_are_taken_when_the_version_changes)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1);

    const struct routes_topic changed[] = {{STR("T1"), 8, 8, 4, 0}, {STR("T2"), 4, 2, 4, 1}};

    put_ok(reg);
    reg.topics = changed;
    put_ok(reg);
    ck_assert(has(route("T1"), "\"perm\":6"));
    reg.version.counter++;
    put_ok(reg);
    ck_assert(has(route("T1"), "\"perm\":4"));
    reg.version.counter++;
    reg.topic_count = 0;
    put_ok(reg); /* missing topics stay ... */
    ck_assert_ptr_nonnull(route("T2"));
    reg.version.counter++;
    ck_assert_int_eq(routes_register(routes, &reg, true, 0, &answer, &err), 0);
    ck_assert_uint_eq(routes_topic_count(routes), 2); /* without any table nothing is missing from it ... */
    reg.version.counter++;
    reg.topic_count = 1;
    ck_assert_int_eq(routes_register(routes, &reg, true, 0, &answer, &err), 0);
    ck_assert_uint_eq(routes_topic_count(routes), 1); /* ... else they go, when told so */
}
END_TEST

/* enableSplitRegistration of Java 5.x. */
START_TEST(pieces_of_one_version_make_a_table)
{
    const struct routes_topic more[] = {{STR("T3"), 1, 1, 6, 0}, {STR("T1"), 1, 1, 4, 0}};
    struct routes_registration first = reg_of(0, "1.1.1.1:1", 0), second = first, other = first;

    second.topics = more;
    other.broker = STR("b2");
    other.addr = STR("1.1.1.2:1");
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(routes_register(routes, &first, true, 0, &answer, &err), 0);
        ck_assert_int_eq(routes_register(routes, &second, true, 0, &answer, &err), 0);
        ck_assert_uint_eq(routes_topic_count(routes), 3);
        ck_assert(has(route("T1"), "\"perm\":6"));
    }
    put_ok(other);
    other.topics = more;
    put_ok(other); /* T3 is there, but not with this broker */
    ck_assert(has(route("T3"), "\"b2\""));
}
END_TEST

START_TEST(one_topic_of_an_unknown_java_broker_is_refused)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 0);

    reg.topic_count = 1;
    reg.may_be_partial = true;
    ck_assert_int_eq(put(&reg, 0), ERR_LOST);
    ck_assert_uint_eq(routes_broker_count(routes), 0);
    reg.topic_count = 2;
    put_ok(reg);
    reg.topic_count = 1;
    reg.version.counter++;
    ck_assert_int_eq(routes_register(routes, &reg, true, 0, &answer, &err), 0);
    ck_assert_ptr_nonnull(route("T2")); /* one topic is no table: nothing is missing from it */
}
END_TEST

START_TEST(known_version_is_not_sent_again)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1);
    struct routes_version known;
    bool changed;

    ck_assert(!routes_query_version(routes, reg.broker, reg.addr, 0, &reg.version, &known, &changed));
    ck_assert(changed);
    put_ok(reg);
    ck_assert(routes_query_version(routes, reg.broker, reg.addr, 0, &reg.version, &known, &changed));
    ck_assert(!changed);
    ck_assert_int_eq(known.timestamp, 1000);
    ck_assert(routes_query_version(routes, reg.broker, reg.addr, 1, &reg.version, &known, &changed));
    ck_assert(changed);
    reg.version.counter++;
    ck_assert(routes_query_version(routes, reg.broker, reg.addr, 0, &reg.version, &known, &changed));
    ck_assert(changed);
}
END_TEST

/* ---- going ---- */

static char gone[256];

static void on_gone(void *arg, const char *broker, int64_t id, const char *addr)
{
    size_t len = strlen(gone);

    (void)arg;
    snprintf(gone + len, sizeof(gone) - len, "%s/%d/%s ", broker, (int)id, addr);
}

START_TEST(connection_takes_its_brokers_along)
{
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    put_ok(reg_of(2, "1.1.1.1:2", 1));
    gone[0] = '\0';
    routes_conn_closed(routes, 100, on_gone, NULL);
    ck_assert_str_eq(gone, "b/0/1.1.1.1:1 ");
    ck_assert(has(route("T1"), "{2:\"1.1.1.1:2\"}")); /* the route stays while a replica lives */
    routes_conn_closed(routes, 102, on_gone, NULL);
    ck_assert_ptr_null(route("T1"));
    ck_assert_uint_eq(routes_topic_count(routes), 0);
    ck_assert_str_eq(cluster(), "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}");
}
END_TEST

START_TEST(old_connection_of_a_broker_that_came_back_means_nothing)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1);

    put_ok(reg);
    reg.conn_id = 500;
    put_ok(reg);
    routes_conn_closed(routes, 100, NULL, NULL);
    ck_assert_ptr_nonnull(route("T1"));
}
END_TEST

START_TEST(silent_brokers_expire)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1), quick = reg_of(2, "1.1.1.1:2", 1);

    quick.timeout_ms = 3000;
    ck_assert_int_eq(put(&reg, 1000), 0);
    ck_assert_int_eq(put(&quick, 1000), 0);
    gone[0] = '\0';
    routes_expire(routes, 3999, on_gone, NULL);
    ck_assert_str_eq(gone, "");
    routes_touch(routes, STR("b"), STR("1.1.1.1:2"), 2000);
    routes_expire(routes, 4999, on_gone, NULL);
    ck_assert_str_eq(gone, "");
    routes_expire(routes, 5000, on_gone, NULL);
    ck_assert_str_eq(gone, "b/2/1.1.1.1:2 ");
    routes_expire(routes, 1000 + ROUTES_HEARTBEAT_MS, on_gone, NULL);
    ck_assert_uint_eq(routes_broker_count(routes), 0);
    routes_touch(routes, STR("b"), STR("1.1.1.1:2"), 6000);
}
END_TEST

/* ---- operators ---- */

START_TEST(wiped_permission_lasts_until_the_data_changes)
{
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1);

    put_ok(reg);
    ck_assert_uint_eq(routes_wipe_write(routes, STR("x")), 0);
    ck_assert_uint_eq(routes_wipe_write(routes, STR("b")), 2);
    ck_assert(has(route("T1"), "\"perm\":4"));
    put_ok(reg);
    ck_assert(has(route("T1"), "\"perm\":4"));
    reg.version.counter++;
    put_ok(reg);
    ck_assert(has(route("T1"), "\"perm\":6"));
    ck_assert_uint_eq(routes_wipe_write(routes, STR("b")), 2);
    ck_assert_uint_eq(routes_add_write(routes, STR("b")), 2);
    ck_assert(has(route("T2"), "\"perm\":6"));
}
END_TEST

START_TEST(topics_are_deleted_and_added)
{
    struct routes_registration other = reg_of(0, "1.1.1.2:1", 1);
    struct routes_topic added = {STR("T3"), 1, 1, 6, 0};

    other.broker = STR("b2");
    other.cluster = STR("d");
    put_ok(reg_of(0, "1.1.1.1:1", 1));
    put_ok(other);
    ck_assert(!routes_delete_topic(routes, STR("T3"), STR("")));
    ck_assert(routes_delete_topic(routes, STR("T1"), STR("d")));
    ck_assert(has(route("T1"), "\"b\""));
    ck_assert(!has(route("T1"), "\"b2\""));
    ck_assert(routes_delete_topic(routes, STR("T2"), STR("")));
    ck_assert_ptr_null(route("T2"));
    ck_assert_int_eq(routes_put_queues(routes, STR("nobody"), &added, &err), ERR_NOT_FOUND);
    ck_assert_int_eq(routes_put_queues(routes, STR("b2"), &added, &err), 0);
    ck_assert(has(route("T3"), "\"b2\""));
}
END_TEST

/* ---- bad input and limits ---- */

START_TEST(bad_names_are_refused)
{
    static const char *const bad[] = {"", "a b", "a,b", "a\"b", "a{", "a\nb"};
    struct routes_registration reg = reg_of(0, "no-port", 1);
    char long_name[ROUTES_NAME_MAX + 2];

    ck_assert_int_eq(put(&reg, 0), ERR_INVALID);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        reg = reg_of(0, "1.1.1.1:1", 1);
        reg.broker = str_of(bad[i]);
        ck_assert_int_eq(put(&reg, 0), ERR_INVALID);
    }
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    reg = reg_of(0, "1.1.1.1:1", 1);
    reg.cluster = str_of(long_name);
    ck_assert_int_eq(put(&reg, 0), ERR_INVALID);
    ck_assert_uint_eq(routes_broker_count(routes), 0);
}
END_TEST

START_TEST(too_many_members_are_refused)
{
    char addr[32];

    for (int i = 0; i <= (int)ROUTES_MEMBERS_MAX; i++) {
        struct routes_registration reg;

        snprintf(addr, sizeof(addr), "1.1.1.1:%d", i + 1);
        reg = reg_of(i, addr, 1);
        ck_assert_int_eq(put(&reg, 0), i < (int)ROUTES_MEMBERS_MAX ? 0 : ERR_BUSY);
    }
    put_ok(reg_of(5, "1.1.1.1:9", 2)); /* a known address may still move */
    ck_assert_uint_eq(routes_member_count(routes), ROUTES_MEMBERS_MAX - 1);
}
END_TEST

START_TEST(fifty_thousand_topics)
{
    const uint32_t count = 50000;
    struct routes_topic *topics = calloc(count, sizeof(*topics));
    char(*names)[16] = calloc(count, sizeof(*names));
    struct routes_registration reg = reg_of(0, "1.1.1.1:1", 1);

    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "topic-%u", i);
        topics[i] = (struct routes_topic){str_of(names[i]), 8, 8, 6, 0};
    }
    reg.topics = topics;
    reg.topic_count = count;
    put_ok(reg);
    ck_assert_uint_eq(routes_topic_count(routes), count);
    ck_assert_ptr_nonnull(route("topic-49999"));
    routes_conn_closed(routes, 100, NULL, NULL);
    ck_assert_uint_eq(routes_topic_count(routes), 0);
    free(names);
    free(topics);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("routes");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, all);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, route_of_two_brokers_is_exactly_this);
    tcase_add_test(all, standard_form_quotes_ids_and_escapes);
    tcase_add_test(all, cluster_lists_names_once_per_cluster);
    tcase_add_test(all, lists_of_topics);
    tcase_add_test(all, follower_is_told_the_master);
    tcase_add_test(all, new_leader_takes_id_0_and_leaves_its_old_id);
    tcase_add_test(all, stale_leader_changes_nothing);
    tcase_add_test(all, a_group_that_died_starts_anew);
    tcase_add_test(all, followers_bring_no_topics);
    tcase_add_test(all, topics_are_taken_when_the_version_changes);
    tcase_add_test(all, pieces_of_one_version_make_a_table);
    tcase_add_test(all, one_topic_of_an_unknown_java_broker_is_refused);
    tcase_add_test(all, known_version_is_not_sent_again);
    tcase_add_test(all, connection_takes_its_brokers_along);
    tcase_add_test(all, old_connection_of_a_broker_that_came_back_means_nothing);
    tcase_add_test(all, silent_brokers_expire);
    tcase_add_test(all, wiped_permission_lasts_until_the_data_changes);
    tcase_add_test(all, topics_are_deleted_and_added);
    tcase_add_test(all, bad_names_are_refused);
    tcase_add_test(all, too_many_members_are_refused);
    tcase_add_test(all, fifty_thousand_topics);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
