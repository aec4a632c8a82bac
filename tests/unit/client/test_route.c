/* test_route.c - routes as nameservers write them, queues in order, shares as Java computes them. */
#include <check.h>
#include <stdlib.h>

#include "client/route.h"

static const char two_brokers[] =
    "{\"brokerDatas\":[{\"brokerAddrs\":{2:\"h:3\",0:\"h:1\",1:\"h:2\"},\"brokerName\":\"b\",\"cluster\":"
    "\"c\"},"
    "{\"brokerAddrs\":{\"1\":\"h:5\"},\"brokerName\":\"a\",\"cluster\":\"c\"}],\"filterServerTable\":{},"
    "\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":3,\"writeQueueNums\":2,"
    "\"topicSysFlag\":0},"
    "{\"brokerName\":\"a\",\"perm\":4,\"readQueueNums\":1,\"writeQueueNums\":1}]}";

static struct route *parse(const char *text)
{
    struct route *r = NULL;
    struct err err;

    ck_assert_int_eq(route_parse(str_of(text), &r, &err), 0);
    return r;
}

START_TEST(test_brokers_by_name_and_replicas_by_id)
{
    struct route *r = parse(two_brokers);

    ck_assert_uint_eq(r->broker_count, 2);
    ck_assert_str_eq(r->brokers[0].name, "a");
    ck_assert_int_eq(route_leader(&r->brokers[0]), -1);
    ck_assert_uint_eq(r->brokers[1].replica_count, 3);
    ck_assert_str_eq(r->brokers[1].replicas[0].address, "h:1");
    ck_assert_str_eq(r->brokers[1].replicas[2].address, "h:3");
    ck_assert_int_eq(route_leader(&r->brokers[1]), 0);
    free(r);
}
END_TEST

START_TEST(test_queues_follow_permissions)
{
    struct route *r = parse(two_brokers);

    ck_assert_uint_eq(route_write_queues(r), 2);
    ck_assert_uint_eq(route_read_queues(r), 4);
    ck_assert_str_eq(route_read_queue(r, 0).broker->name, "a");
    ck_assert_str_eq(route_read_queue(r, 1).broker->name, "b");
    ck_assert_uint_eq(route_read_queue(r, 3).id, 2);
    ck_assert_uint_eq(route_write_queue(r, 1).id, 1);
    free(r);
}
END_TEST

START_TEST(test_wrong_routes_are_refused_or_cut)
{
    static const char *const bad[] = {"", "{", "[1", "{\"brokerDatas\":"};
    struct route *r;
    struct err err;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_ne(route_parse(str_of(bad[i]), &r, &err), 0);
    r = parse("{\"brokerDatas\":[{\"brokerName\":\"x\",\"brokerAddrs\":{}},{\"brokerAddrs\":{0:\"h:1\"}}],"
              "\"queueDatas\":[{\"brokerName\":\"y\",\"writeQueueNums\":-5}]}");
    ck_assert_uint_eq(r->broker_count, 0);
    ck_assert_uint_eq(route_write_queues(r), 0);
    free(r);
}
END_TEST

START_TEST(test_join_keeps_one_of_each_name)
{
    struct route *r = route_join(NULL, parse(two_brokers));

    r = route_join(r, parse("{\"brokerDatas\":[{\"brokerAddrs\":{0:\"z:1\"},\"brokerName\":\"b\"},"
                            "{\"brokerAddrs\":{0:\"z:2\"},\"brokerName\":\"aa\"}]}"));
    ck_assert_uint_eq(r->broker_count, 3);
    ck_assert_str_eq(r->brokers[1].name, "aa");
    ck_assert_str_eq(r->brokers[2].replicas[0].address, "h:1");
    free(r);
}
END_TEST

START_TEST(test_same_routes)
{
    struct route *a = parse(two_brokers), *b = parse(two_brokers);

    ck_assert(route_same(a, b));
    b->brokers[1].write_queues++;
    ck_assert(!route_same(a, b));
    ck_assert(!route_same(a, NULL));
    ck_assert(route_same(NULL, NULL));
    free(a);
    free(b);
}
END_TEST

/* As AllocateMessageQueueAveragely: first = index * size (+ rest), size = queues / members (+ 1 for the first
 * `rest`). */
START_TEST(test_shares_are_those_of_java)
{
    static const struct {
        uint32_t queues, members, member, first, count;
    } rows[] = {
        {8, 3, 0, 0, 3}, {8, 3, 1, 3, 3}, {8, 3, 2, 6, 2}, {4, 4, 3, 3, 1}, {2, 3, 0, 0, 1}, {2, 3, 1, 1, 1},
        {2, 3, 2, 2, 0}, {7, 1, 0, 0, 7}, {0, 2, 1, 0, 0}, {5, 0, 0, 0, 0}, {5, 2, 2, 0, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t first, count;

        route_allocate(rows[i].queues, rows[i].members, rows[i].member, &first, &count);
        ck_assert_uint_eq(first, rows[i].first);
        ck_assert_uint_eq(count, rows[i].count);
    }
}
END_TEST

START_TEST(test_shares_cover_every_queue_once)
{
    for (uint32_t queues = 0; queues < 40; queues++)
        for (uint32_t members = 1; members < 12; members++) {
            uint32_t next = 0;

            for (uint32_t m = 0; m < members; m++) {
                uint32_t first, count;

                route_allocate(queues, members, m, &first, &count);
                ck_assert(count == 0 || first == next);
                next += count;
            }
            ck_assert_uint_eq(next, queues);
        }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("route");
    TCase *tc = tcase_create("route");

    tcase_add_test(tc, test_brokers_by_name_and_replicas_by_id);
    tcase_add_test(tc, test_queues_follow_permissions);
    tcase_add_test(tc, test_wrong_routes_are_refused_or_cut);
    tcase_add_test(tc, test_join_keeps_one_of_each_name);
    tcase_add_test(tc, test_same_routes);
    tcase_add_test(tc, test_shares_are_those_of_java);
    tcase_add_test(tc, test_shares_cover_every_queue_once);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
