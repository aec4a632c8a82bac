/*
 * test_consumer.c - consumers against two mock brokers, "a" and "b", on a thread of their own.
 *
 * Broker "b" has the only queue of topic T, with `stored` messages whose bodies are their offsets; "a" has
 * none, but it is in the route as well. Both say who is in the group.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/ledgermq.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/lib/scratch.h"
#include "tests/unit/client/mock.h"

#define WAIT_MS  10000u
#define SEEN_MAX 64

static struct mock namesrv, brokers[2];
static struct loop *loop;
static pthread_t thread;
static char route[512];
static lmq_client *client;
static lmq_consumer *consumer;
static lmq_error error;

/* What the brokers know. Set by tests at any time. */
static atomic_int stored, members, committed, pulls, unlocks, asked[2], locks, refusals;
static atomic_bool lock_refused, garbled;
static atomic_int nothing; /* all pulls are answered so, or well when 0 */
#define RC_SUCCESS_EMPTY 1000
static atomic_int a_fails; /* how broker "a" answers who is in the group; 0: well */

/* What the listener saw. */
static atomic_int seen[SEEN_MAX], slots, seen_count, running, most_running;
static atomic_bool held;

static void drop_log(void *arg, enum log_level level, const char *text)
{
    (void)arg, (void)level, (void)text;
}

static void *thread_main(void *arg)
{
    (void)arg;
    loop_run(loop);
    return NULL;
}

/* ---- the brokers ---- */

static struct buf *text_body(const char *text)
{
    return buf_copy(text, strlen(text));
}

/* One stored message (V1, IPv4) without properties. */
static void put_stored(struct bld *to, int64_t offset)
{
    uint8_t bytes[200], ip[4] = {10, 0, 0, 1};
    char body[16];
    size_t len = (size_t)snprintf(body, sizeof(body), "%d", (int)offset);
    struct wr w = wr_of(bytes, sizeof(bytes));

    wr_be32(&w, (uint32_t)(91 + len + 1));
    wr_be32(&w, 0xDAA320A7u);
    wr_be32(&w, 0); /* no CRC */
    wr_be32(&w, 0);
    wr_be32(&w, 0);
    wr_be64(&w, (uint64_t)offset);
    wr_be64(&w, (uint64_t)offset * 100);
    wr_be32(&w, 0);
    wr_be64(&w, 100);
    wr_bytes(&w, ip, 4);
    wr_be32(&w, 1);
    wr_be64(&w, 200);
    wr_bytes(&w, ip, 4);
    wr_be32(&w, 10911);
    wr_be32(&w, 0);
    wr_be64(&w, 0);
    wr_be32(&w, (uint32_t)len);
    wr_bytes(&w, body, len);
    wr_u8(&w, 1);
    wr_u8(&w, 'T');
    wr_be16(&w, 0);
    bld_bytes(to, bytes, (size_t)(w.p - bytes));
}

static int32_t answer_pull(struct mock *m, struct remoting_out *out, struct buf **body)
{
    int64_t offset = remoting_i64_or(&m->cmd, "queueOffset", -1);
    struct bld b = bld_of(10000);

    atomic_fetch_add(&pulls, 1);
    if (atomic_load(&nothing) != 0) /* and at once */
        return atomic_load(&nothing) == RC_SUCCESS_EMPTY ? 0 : atomic_load(&nothing);
    if (offset >= atomic_load(&stored))
        return MOCK_SILENT;
    for (int64_t i = offset; i < atomic_load(&stored); i++) {
        put_stored(&b, i);
        if (i % 2 == 0 && atomic_load(&garbled)) {
            bld_bytes(&b, "garbage", 7);
            break;
        }
    }
    *body = bld_take(&b);
    remoting_put_i64(out, "nextBeginOffset", atomic_load(&stored));
    return 0;
}

static int32_t answer_members(struct buf **body)
{
    char text[400];
    const char *others = atomic_load(&members) == 1 ? "" : ",\"!\"";

    snprintf(text, sizeof(text), "{\"consumerIdList\":[\"%s\"%s]}", lmq_client_id(client), others);
    *body = text_body(text);
    return 0;
}

static int32_t script(struct mock *m, struct remoting_out *out, struct buf **body)
{
    switch (m->cmd.code) {
    case GET_CONSUMER_LIST_BY_GROUP:
        atomic_fetch_add(&asked[m - brokers], 1);
        return m == &brokers[0] && atomic_load(&a_fails) != 0 ? atomic_load(&a_fails) : answer_members(body);
    case LOCK_BATCH_MQ:
        atomic_fetch_add(&locks, 1);
        atomic_fetch_add(&refusals, atomic_load(&lock_refused));
        *body = text_body(atomic_load(&lock_refused) ? "{\"lockOKMQSet\":[]}"
                                                     : "{\"lockOKMQSet\":[{\"brokerName\":\"b\","
                                                       "\"queueId\":0,\"topic\":\"T\"}]}");
        return 0;
    case UNLOCK_BATCH_MQ:
        atomic_fetch_add(&unlocks, 1);
        return 0;
    case GET_MAX_OFFSET:
        remoting_put_i64(out, "offset", atomic_load(&stored));
        return 0;
    case QUERY_CONSUMER_OFFSET:
        remoting_put_i64(out, "offset", atomic_load(&committed));
        return 0;
    case UPDATE_CONSUMER_OFFSET:
        atomic_store(&committed, (int)remoting_i64_or(&m->cmd, "commitOffset", -1));
        return 0;
    case PULL_MESSAGE:
        return answer_pull(m, out, body);
    default:
        return 0;
    }
}

static int32_t answer_route(struct mock *m, struct remoting_out *out, struct buf **body)
{
    (void)out;
    if (m->cmd.code != GET_ROUTEINFO_BY_TOPIC || !str_is(remoting_str(&m->cmd, "topic"), "T"))
        return m->cmd.code == GET_ROUTEINFO_BY_TOPIC ? RC_TOPIC_NOT_EXIST : 0;
    *body = text_body(route);
    return 0;
}

/* ---- the listener ---- */

static lmq_consume on_message(void *arg, const lmq_message *m)
{
    int now = atomic_fetch_add(&running, 1) + 1;
    int at = atomic_fetch_add(&slots, 1);

    (void)arg;
    ck_assert_int_lt(at, SEEN_MAX);
    atomic_store(&seen[at], (int)lmq_message_queue_offset(m));
    atomic_fetch_add(&seen_count, 1); /* when the slot is filled */
    if (now > atomic_load(&most_running))
        atomic_store(&most_running, now);
    while (atomic_load(&held))
        usleep(1000);
    atomic_fetch_sub(&running, 1);
    return LMQ_CONSUMED;
}

#define WAIT_UNTIL(cond)                                       \
    do {                                                       \
        uint64_t end_ = clock_mono_ms() + WAIT_MS;             \
        while (!(cond) && clock_mono_ms() < end_)              \
            usleep(1000);                                      \
        ck_assert_msg((cond), "never became true: %s", #cond); \
    } while (0)

static int lists(void)
{
    return atomic_load(&asked[0]) + atomic_load(&asked[1]);
}

/* So many rounds of rebalancing from now on. */
static void wait_rounds(int rounds)
{
    int until = lists() + rounds;

    WAIT_UNTIL(lists() >= until);
}

/* ---- around each test ---- */

static lmq_options *options(void)
{
    lmq_options *o = lmq_options_new();

    ck_assert_int_eq(lmq_options_set(o, "namesrvAddr", namesrv.address, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "rebalanceInterval", "100", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "rebalanceLockInterval", "100", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "answerTimeoutMillis", "200", &error), LMQ_OK);
    return o;
}

/* Takes over the options. */
static void make_consumer(lmq_options *o, lmq_model model)
{
    ck_assert_int_eq(lmq_client_new(o, &client, &error), LMQ_OK);
    ck_assert_int_eq(lmq_consumer_new(client, "g", model, &consumer, &error), LMQ_OK);
    ck_assert_int_eq(lmq_consumer_subscribe(consumer, "T", "*", &error), LMQ_OK);
    lmq_options_free(o);
}

static void free_client(void)
{
    lmq_consumer_free(consumer);
    lmq_client_free(client);
}

static void setup(void)
{
    log_set_sink(drop_log, NULL);
    loop = loop_new();
    mock_start(&namesrv, loop, 0);
    namesrv.route = route;
    namesrv.script = answer_route;
    for (int i = 0; i < 2; i++) {
        mock_start(&brokers[i], loop, 0);
        brokers[i].script = script;
    }
    snprintf(route, sizeof(route),
             "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"%s\"},\"brokerName\":\"a\",\"cluster\":\"c\"},"
             "{\"brokerAddrs\":{\"0\":\"%s\"},\"brokerName\":\"b\",\"cluster\":\"c\"}],"
             "\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":1,\"writeQueueNums\":1}]}",
             brokers[0].address, brokers[1].address);
    make_consumer(options(), LMQ_CLUSTERING);
    atomic_store(&members, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, thread_main, NULL), 0);
}

static void teardown(void)
{
    free_client();
    loop_stop(loop);
    pthread_join(thread, NULL);
    mock_stop(&namesrv);
    for (int i = 0; i < 2; i++)
        mock_stop(&brokers[i]);
    loop_free(loop);
}

static void start_orderly(void)
{
    ck_assert_int_eq(lmq_consumer_start_orderly(consumer, on_message, NULL, &error), LMQ_OK);
}

START_TEST(test_orderly_queue_comes_back_while_its_listener_runs)
{
    atomic_store(&stored, 5);
    atomic_store(&held, true);
    start_orderly();
    WAIT_UNTIL(atomic_load(&running) == 1);
    atomic_store(&members, 2); /* the other one sorts before us and gets the only queue */
    wait_rounds(3);
    atomic_store(&members, 1);
    wait_rounds(4);
    ck_assert_int_eq(atomic_load(&unlocks), 0);
    ck_assert_int_eq(atomic_load(&seen_count), 1);
    atomic_store(&held, false);
    WAIT_UNTIL(atomic_load(&seen_count) >= 5 && atomic_load(&running) == 0);
    ck_assert_int_eq(atomic_load(&most_running), 1);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(atomic_load(&seen[i]), i);
}
END_TEST

/* The lock had run out and another member has the queue: what we hold is not ours to consume or to commit. */
START_TEST(test_orderly_queue_whose_lock_is_refused_is_lost)
{
    atomic_store(&stored, 5);
    atomic_store(&held, true);
    start_orderly();
    WAIT_UNTIL(atomic_load(&running) == 1);
    atomic_store(&lock_refused, true);
    WAIT_UNTIL(atomic_load(&refusals) > 0);
    atomic_store(&committed, 3); /* by the other */
    atomic_store(&lock_refused, false);
    wait_rounds(5);
    ck_assert_int_eq(atomic_load(&seen_count), 1);
    atomic_store(&held, false); /* and back again, where the other has come to */
    WAIT_UNTIL(atomic_load(&seen_count) == 3);
    ck_assert_int_eq(atomic_load(&seen[1]), 3);
    ck_assert_int_eq(atomic_load(&seen[2]), 4);
}
END_TEST

/* Broker "a", the first of the route, may be without a leader. */
START_TEST(test_another_broker_of_the_route_knows_the_members)
{
    static const int32_t failures[] = {RC_SERVICE_NOT_AVAILABLE, MOCK_SILENT, MOCK_CLOSE, RC_SYSTEM_ERROR};

    atomic_store(&a_fails, failures[_i]);
    atomic_store(&stored, 1);
    ck_assert_int_eq(lmq_consumer_start(consumer, on_message, NULL, &error), LMQ_OK);
    WAIT_UNTIL(atomic_load(&seen_count) == 1);
    ck_assert_int_gt(atomic_load(&asked[1]), 0);
}
END_TEST

/* Garbage behind every second message; what should have been there is asked for again. */
START_TEST(test_a_garbled_answer_loses_no_message)
{
    atomic_store(&stored, 5);
    atomic_store(&garbled, true);
    start_orderly();
    WAIT_UNTIL(atomic_load(&seen_count) >= 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(atomic_load(&seen[i]), i);
}
END_TEST

START_TEST(test_a_broker_without_patience_is_not_hammered)
{
    static const int32_t codes[] = {RC_PULL_NOT_FOUND, RC_PULL_OFFSET_MOVED, RC_PULL_RETRY_IMMEDIATELY,
                                    RC_SUCCESS_EMPTY};
    uint64_t begin_ms;

    atomic_store(&nothing, codes[_i]);
    ck_assert_int_eq(lmq_consumer_start(consumer, on_message, NULL, &error), LMQ_OK);
    WAIT_UNTIL(atomic_load(&pulls) > 0);
    begin_ms = clock_mono_ms();
    WAIT_UNTIL(atomic_load(&pulls) > 10);
    ck_assert_uint_ge(clock_mono_ms() - begin_ms, 400); /* 50 ms between any two, but for those under way */
}
END_TEST

static void *free_consumer(void *arg)
{
    (void)arg;
    lmq_consumer_free(consumer);
    return NULL;
}

START_TEST(test_a_closing_consumer_keeps_its_lock_until_the_listener_returns)
{
    pthread_t closer;
    int locks_before;

    atomic_store(&stored, 5);
    atomic_store(&held, true);
    start_orderly();
    WAIT_UNTIL(atomic_load(&running) == 1);
    locks_before = atomic_load(&locks);
    ck_assert_int_eq(pthread_create(&closer, NULL, free_consumer, NULL), 0);
    WAIT_UNTIL(atomic_load(&locks) > locks_before + 10); /* it closes long before the last of these */
    ck_assert_int_eq(atomic_load(&unlocks), 0);
    atomic_store(&held, false);
    pthread_join(closer, NULL);
    consumer = NULL;
    ck_assert_int_eq(atomic_load(&unlocks), 1);
    ck_assert_int_eq(atomic_load(&committed), 1);
    ck_assert_int_eq(atomic_load(&seen_count), 1);
}
END_TEST

START_TEST(test_a_group_has_one_consumer_in_a_client)
{
    lmq_consumer *second;

    start_orderly();
    ck_assert_int_eq(lmq_consumer_new(client, "g", LMQ_CLUSTERING, &second, &error), LMQ_OK);
    ck_assert_int_eq(lmq_consumer_subscribe(second, "T", "*", &error), LMQ_OK);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(lmq_consumer_start(second, on_message, NULL, &error), LMQ_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "group g"));
    lmq_consumer_free(consumer);
    atomic_store(&stored, 1);
    ck_assert_int_eq(lmq_consumer_start(second, on_message, NULL, &error), LMQ_OK);
    WAIT_UNTIL(atomic_load(&seen_count) == 1);
    consumer = second;
}
END_TEST

static void start_broadcasting(const char *dir, const char *from_where)
{
    lmq_options *o = options();

    ck_assert_int_eq(lmq_options_set(o, "offsetStoreDir", dir, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "consumeFromWhere", from_where, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "consumeThreads", "1", &error), LMQ_OK); /* two would take turns */
    make_consumer(o, LMQ_BROADCASTING);
    ck_assert_int_eq(lmq_consumer_start(consumer, on_message, NULL, &error), LMQ_OK);
}

START_TEST(test_broadcasting_goes_on_after_a_restart)
{
    char dir[200], command[220];

    scratch_dir(dir, sizeof(dir));
    free_client();
    atomic_store(&stored, 2);
    start_broadcasting(dir, "CONSUME_FROM_FIRST_OFFSET");
    WAIT_UNTIL(atomic_load(&seen_count) == 2);
    free_client();
    atomic_store(&stored, 4);
    start_broadcasting(dir, "CONSUME_FROM_LAST_OFFSET");
    WAIT_UNTIL(atomic_load(&seen_count) == 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(atomic_load(&seen[i]), i);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    free_client();
    ck_assert_int_eq(system(command), 0);
    make_consumer(options(), LMQ_CLUSTERING);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("consumer");
    TCase *tc = tcase_create("consumer");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_orderly_queue_comes_back_while_its_listener_runs);
    tcase_add_test(tc, test_orderly_queue_whose_lock_is_refused_is_lost);
    tcase_add_loop_test(tc, test_another_broker_of_the_route_knows_the_members, 0, 4);
    tcase_add_test(tc, test_a_garbled_answer_loses_no_message);
    tcase_add_loop_test(tc, test_a_broker_without_patience_is_not_hammered, 0, 4);
    tcase_add_test(tc, test_a_closing_consumer_keeps_its_lock_until_the_listener_returns);
    tcase_add_test(tc, test_a_group_has_one_consumer_in_a_client);
    tcase_add_test(tc, test_broadcasting_goes_on_after_a_restart);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
