/* test_client.c - the public door against mock nameservers and brokers that run on a thread of their own. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/ledgermq.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/client/mock.h"

#define WAIT_MS 10000u

/* 0 and 1: nameservers; 2 and 3: replicas of broker "b". */
static struct mock mocks[4];
static struct loop *loop;
static pthread_t thread;
static char route[512];
static lmq_client *client;
static lmq_producer *producer;
static lmq_error error;

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

/* Run on the mocks' thread and wait: whatever a test does to mocks goes through here. */
struct doing {
    void (*fn)(void);
    atomic_bool done;
};

static void on_doing(void *arg)
{
    struct doing *d = arg;

    d->fn();
    atomic_store(&d->done, true);
}

static void at_mocks(void (*fn)(void))
{
    struct doing d = {.fn = fn};

    loop_post(loop, on_doing, &d);
    while (!atomic_load(&d.done))
        sched_yield();
}

static void setup_with(const char *setting, const char *value)
{
    lmq_options *o = lmq_options_new();

    ck_assert_int_eq(lmq_options_set(o, setting, value, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "answerTimeoutMillis", "200", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "maxInFlightMessages", "4", &error), LMQ_OK);
    ck_assert_int_eq(lmq_client_new(o, &client, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_new(client, "g", &producer, &error), LMQ_OK);
    lmq_options_free(o);
}

static void setup(void)
{
    char namesrv[80];

    log_set_sink(drop_log, NULL);
    loop = loop_new();
    for (int i = 0; i < 4; i++)
        mock_start(&mocks[i], loop, 0);
    snprintf(route, sizeof(route),
             "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"%s\",\"2\":\"%s\"},\"brokerName\":\"b\","
             "\"cluster\":\"c\"}],"
             "\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":4,\"writeQueueNums\":4}]}",
             mocks[2].address, mocks[3].address);
    mocks[0].route = mocks[1].route = route;
    snprintf(namesrv, sizeof(namesrv), "%s;%s", mocks[0].address, mocks[1].address);
    ck_assert_int_eq(pthread_create(&thread, NULL, thread_main, NULL), 0);
    setup_with("namesrvAddr", namesrv);
}

static void teardown(void)
{
    lmq_producer_free(producer);
    lmq_client_free(client);
    loop_stop(loop);
    pthread_join(thread, NULL);
    for (int i = 0; i < 4; i++)
        mock_stop(&mocks[i]);
    loop_free(loop);
}

static lmq_status send_one(lmq_send_result *result)
{
    lmq_message *m = lmq_message_new("T", "hello", 5);
    lmq_status s = lmq_producer_send(producer, m, result, &error);

    lmq_message_free(m);
    return s;
}

START_TEST(test_send)
{
    lmq_send_result r;

    ck_assert_int_eq(send_one(&r), LMQ_OK);
    ck_assert_str_eq(r.broker, "b");
    ck_assert_int_eq(r.queue_offset, 0);
    ck_assert_str_eq(r.offset_id, "7F00000100002A9F0000000000000001");
    ck_assert_uint_eq(strlen(r.message_id), 32);
    ck_assert_int_eq(mocks[2].requests[SEND_MESSAGE_V2], 1);
}
END_TEST

static void first_namesrv_dies(void)
{
    mock_stop(&mocks[0]);
}

START_TEST(test_second_nameserver_is_asked)
{
    at_mocks(first_namesrv_dies);
    ck_assert_int_eq(send_one(NULL), LMQ_OK);
}
END_TEST

static void leader_refuses(void)
{
    mock_push(&mocks[2], SEND_MESSAGE_V2, RC_SERVICE_NOT_AVAILABLE);
}

static void leader_closes(void)
{
    mock_push(&mocks[2], SEND_MESSAGE_V2, MOCK_CLOSE);
}

static void leader_is_silent(void)
{
    mock_push(&mocks[2], SEND_MESSAGE_V2, MOCK_SILENT);
}

START_TEST(test_a_failing_leader_costs_no_send)
{
    static void (*const failures[])(void) = {leader_refuses, leader_closes, leader_is_silent};

    at_mocks(failures[_i]);
    ck_assert_int_eq(send_one(NULL), LMQ_OK);
    ck_assert_int_eq(mocks[3].requests[SEND_MESSAGE_V2], 1);
}
END_TEST

static void topic_is_illegal(void)
{
    mock_push(&mocks[2], SEND_MESSAGE_V2, RC_MESSAGE_ILLEGAL);
}

START_TEST(test_refusal_names_code_and_reason)
{
    at_mocks(topic_is_illegal);
    ck_assert_int_eq(send_one(NULL), LMQ_REFUSED);
    ck_assert_int_eq(error.answer, RC_MESSAGE_ILLEGAL);
    ck_assert_ptr_nonnull(strstr(error.text, "as pushed"));
}
END_TEST

static void nobody_knows_topic(void)
{
    mocks[0].route = mocks[1].route = NULL;
}

START_TEST(test_unknown_topic_without_template)
{
    at_mocks(nobody_knows_topic);
    ck_assert_int_eq(send_one(NULL), LMQ_NO_ROUTE);
    ck_assert_ptr_nonnull(strstr(error.text, "T "));
    ck_assert_int_eq(mocks[2].requests[SEND_MESSAGE_V2], 0);
}
END_TEST

static void topic_is_new(void)
{
    mock_push(&mocks[0], GET_ROUTEINFO_BY_TOPIC, RC_TOPIC_NOT_EXIST);
    mock_push(&mocks[1], GET_ROUTEINFO_BY_TOPIC, RC_TOPIC_NOT_EXIST);
}

START_TEST(test_new_topic_borrows_the_template)
{
    at_mocks(topic_is_new);
    ck_assert_int_eq(send_one(NULL), LMQ_OK);
    ck_assert_int_eq(mocks[2].requests[SEND_MESSAGE_V2], 1);
}
END_TEST

START_TEST(test_no_nameserver_brokers_tell)
{
    lmq_producer_free(producer);
    lmq_client_free(client);
    mocks[2].route = route;
    setup_with("brokerAddr", mocks[2].address);
    ck_assert_int_eq(send_one(NULL), LMQ_OK);
}
END_TEST

START_TEST(test_sharding_key_keeps_its_queue)
{
    lmq_message *m = lmq_message_new("T", "x", 1);
    lmq_send_result a, b;

    ck_assert_int_eq(lmq_message_set_sharding_key(m, "order-7"), LMQ_OK);
    ck_assert_int_eq(lmq_producer_send(producer, m, &a, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_send(producer, m, &b, &error), LMQ_OK);
    ck_assert_int_eq(a.queue_id, b.queue_id);
    lmq_message_free(m);
    m = lmq_message_new("T", "x", 1);
    ck_assert_int_eq(lmq_message_set_queue(m, "b", 3), LMQ_OK);
    ck_assert_int_eq(lmq_producer_send(producer, m, &a, &error), LMQ_OK);
    ck_assert_int_eq(a.queue_id, 3);
    ck_assert_int_eq(lmq_message_set_queue(m, "nobody", 3), LMQ_OK);
    ck_assert_int_eq(lmq_producer_send(producer, m, &a, &error), LMQ_NO_ROUTE);
    lmq_message_free(m);
}
END_TEST

struct choice {
    int64_t place;
    size_t count;
    lmq_queue chosen;
};

static int64_t select_queue(void *arg, const lmq_queue *queues, size_t count)
{
    struct choice *c = arg;

    c->count = count;
    if (c->place >= 0 && (size_t)c->place < count)
        c->chosen = queues[c->place];
    return c->place;
}

START_TEST(test_selector_chooses)
{
    lmq_message *m = lmq_message_new("T", "x", 1);
    const lmq_message *batch[] = {m};
    struct choice choice = {0};
    lmq_send_result r;

    lmq_message_set_selector(m, select_queue, &choice);
    for (choice.place = 3; choice.place >= 0; choice.place--) {
        ck_assert_int_eq(lmq_producer_send(producer, m, &r, &error), LMQ_OK);
        ck_assert_uint_eq(choice.count, 4);
        ck_assert_str_eq(choice.chosen.topic, "T");
        ck_assert_str_eq(choice.chosen.broker, "b");
        ck_assert_int_eq(choice.chosen.id, choice.place);
        ck_assert_int_eq(r.queue_id, choice.place);
    }
    ck_assert_int_eq(lmq_producer_send(producer, m, &r, &error), LMQ_NO_ROUTE); /* place -1 */
    ck_assert_ptr_nonnull(strstr(error.text, "selector"));
    choice.place = 4;
    ck_assert_int_eq(lmq_producer_send(producer, m, &r, &error), LMQ_NO_ROUTE);
    ck_assert_int_eq(lmq_producer_send_batch(producer, batch, 1, &r, &error), LMQ_INVALID);
    lmq_message_set_selector(m, NULL, NULL);
    ck_assert_int_eq(lmq_producer_send(producer, m, &r, &error), LMQ_OK);
    lmq_message_free(m);
}
END_TEST

START_TEST(test_round_robin_uses_all_queues)
{
    lmq_send_result r;
    unsigned seen = 0;

    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(send_one(&r), LMQ_OK);
        seen |= 1u << r.queue_id;
    }
    ck_assert_uint_eq(seen, 15);
}
END_TEST

static atomic_int called, failed;

static void on_sent(void *arg, const lmq_send_result *result, const lmq_error *e)
{
    (void)arg;
    ck_assert((result == NULL) != (e == NULL));
    atomic_fetch_add(e != NULL ? &failed : &called, 1);
}

START_TEST(test_async_calls_back_once_each)
{
    lmq_message *m = lmq_message_new("T", "x", 1);

    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(lmq_producer_send_async(producer, m, on_sent, NULL, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_flush(producer, WAIT_MS), LMQ_OK);
    ck_assert_int_eq(atomic_load(&called), 100);
    ck_assert_int_eq(atomic_load(&failed), 0);
    lmq_message_free(m);
}
END_TEST

static void all_are_silent(void)
{
    for (int i = 0; i < MOCK_PUSHED_MAX; i++) {
        mock_push(&mocks[2], SEND_MESSAGE_V2, MOCK_SILENT);
        mock_push(&mocks[3], SEND_MESSAGE_V2, MOCK_SILENT);
    }
}

/* As setup, with a window of `messages`. */
static void start_again(const char *messages, const char *timeout_ms)
{
    lmq_options *o = lmq_options_new();

    lmq_producer_free(producer);
    lmq_client_free(client);
    ck_assert_int_eq(lmq_options_set(o, "namesrvAddr", mocks[1].address, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "maxInFlightMessages", messages, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "sendMsgTimeout", timeout_ms, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "compressMsgBodyOverHowmuch", "0", &error), LMQ_OK);
    ck_assert_int_eq(lmq_client_new(o, &client, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_new(client, "g", &producer, &error), LMQ_OK);
    lmq_options_free(o);
}

static void leader_dies(void)
{
    mock_stop(&mocks[2]);
}

static int requests_seen, requests_of;

static void count_sends(void)
{
    requests_seen = mocks[requests_of].requests[SEND_MESSAGE_V2];
}

static int sends_at(int i)
{
    requests_of = i;
    at_mocks(count_sends);
    return requests_seen;
}

START_TEST(test_too_many_in_flight_are_busy)
{
    lmq_message *m = lmq_message_new("T", "x", 1);

    start_again("2", "300");
    at_mocks(all_are_silent);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(lmq_producer_send_async(producer, m, on_sent, NULL, &error), LMQ_OK);
    /* The third waits for room; the first two end by their deadline or it is told that there is none. */
    lmq_status s = lmq_producer_send_async(producer, m, on_sent, NULL, &error);
    ck_assert(s == LMQ_OK || s == LMQ_BUSY);
    ck_assert_int_eq(lmq_producer_flush(producer, WAIT_MS), LMQ_OK);
    ck_assert_int_eq(atomic_load(&failed), s == LMQ_OK ? 3 : 2);
    lmq_message_free(m);
}
END_TEST

static atomic_int to_send, refused;

static void on_sent_send_next(void *arg, const lmq_send_result *result, const lmq_error *e)
{
    on_sent(arg, result, e);
    if (atomic_fetch_sub(&to_send, 1) > 0 &&
        lmq_producer_send_async(producer, arg, on_sent_send_next, arg, NULL) != LMQ_OK)
        atomic_fetch_add(&refused, 1);
}

START_TEST(test_a_callback_may_send_in_its_own_room)
{
    lmq_message *m = lmq_message_new("T", "x", 1);

    start_again("1", "3000");
    atomic_store(&to_send, 20);
    ck_assert_int_eq(lmq_producer_send_async(producer, m, on_sent_send_next, m, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_flush(producer, WAIT_MS), LMQ_OK);
    ck_assert_int_eq(atomic_load(&refused), 0);
    ck_assert_int_eq(atomic_load(&called), 21);
    lmq_message_free(m);
}
END_TEST

static void on_sent_slowly(void *arg, const lmq_send_result *result, const lmq_error *e)
{
    usleep(100 * 1000);
    on_sent(arg, result, e);
}

START_TEST(test_flush_waits_for_callbacks)
{
    lmq_message *m = lmq_message_new("T", "x", 1);

    ck_assert_int_eq(lmq_producer_send_async(producer, m, on_sent_slowly, NULL, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_flush(producer, WAIT_MS), LMQ_OK);
    ck_assert_int_eq(atomic_load(&called), 1);
    lmq_message_free(m);
}
END_TEST

static void leader_reads_nothing(void)
{
    mocks[2].paused = true;
}

static void leader_reads(void)
{
    mock_resume(&mocks[2]);
}

/* 16 MiB do not fit the kernel's buffers; 64 MiB less so. */
START_TEST(test_oneway_sends_are_in_flight_until_written)
{
    size_t size = 4u << 20;
    char *body = calloc(1, size);
    lmq_message *m = lmq_message_new("T", body, size);
    uint64_t begin_ms;

    start_again("4", "2000");
    ck_assert_int_eq(send_one(NULL), LMQ_OK);
    at_mocks(leader_reads_nothing);
    begin_ms = clock_mono_ms();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(lmq_producer_send_oneway(producer, m, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_flush(producer, 200), LMQ_TIMEOUT);
    ck_assert_uint_lt(clock_mono_ms() - begin_ms, 2000);
    at_mocks(leader_reads);
    ck_assert_int_eq(lmq_producer_flush(producer, WAIT_MS), LMQ_OK);
    ck_assert_uint_lt(clock_mono_ms() - begin_ms, 2000); /* written, not given up */
    lmq_message_free(m);
    free(body);
}
END_TEST

START_TEST(test_oneway_sends_arrive_in_spite_of_a_dead_leader)
{
    lmq_message *m = lmq_message_new("T", "x", 1);

    at_mocks(leader_dies);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(lmq_producer_send_oneway(producer, m, &error), LMQ_OK);
    ck_assert_int_eq(lmq_producer_flush(producer, WAIT_MS), LMQ_OK);
    for (int i = 0; i < 1000 && sends_at(3) < 20; i++)
        usleep(10 * 1000);
    ck_assert_int_eq(sends_at(3), 20);
    lmq_message_free(m);
}
END_TEST

static void nameserver_is_silent(void)
{
    for (int i = 0; i < MOCK_PUSHED_MAX; i++)
        mock_push(&mocks[1], GET_ROUTEINFO_BY_TOPIC, MOCK_SILENT);
}

START_TEST(test_a_silent_nameserver_does_not_prolong_a_send)
{
    uint64_t begin_ms;

    at_mocks(nameserver_is_silent);
    start_again("4", "100");
    begin_ms = clock_mono_ms();
    ck_assert_int_eq(send_one(NULL), LMQ_TIMEOUT);
    ck_assert_uint_lt(clock_mono_ms() - begin_ms, 950);
    ck_assert_ptr_nonnull(strstr(error.text, "T"));
}
END_TEST

START_TEST(test_wrong_arguments)
{
    lmq_options *o = lmq_options_new();
    lmq_client *c;
    lmq_consumer *consumer;
    lmq_message *empty = lmq_message_new("T", "", 0);

    ck_assert_int_eq(lmq_client_new(o, &c, &error), LMQ_INVALID);
    ck_assert_int_eq(lmq_options_set(o, "namesrvAddr", "no-port", &error), LMQ_OK);
    ck_assert_int_eq(lmq_client_new(o, &c, &error), LMQ_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "no-port"));
    ck_assert_int_eq(lmq_options_set(o, "sendMsgTimeout", "0", &error), LMQ_INVALID);
    ck_assert_int_eq(lmq_options_set(o, "sendMsgTimeouts", "5", &error), LMQ_INVALID);
    ck_assert_ptr_nonnull(lmq_options_describe(0));
    ck_assert_ptr_null(lmq_options_describe(1000));
    lmq_options_free(o);
    ck_assert_int_eq(lmq_producer_send(producer, empty, NULL, &error), LMQ_INVALID);
    lmq_message_free(empty);
    ck_assert_int_eq(lmq_consumer_new(client, "", LMQ_CLUSTERING, &consumer, &error), LMQ_INVALID);
    ck_assert_int_eq(lmq_consumer_new(client, "c", LMQ_CLUSTERING, &consumer, &error), LMQ_OK);
    ck_assert_int_eq(lmq_consumer_start(consumer, NULL, NULL, &error), LMQ_INVALID);
    lmq_consumer_free(consumer);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client");
    TCase *tc = tcase_create("client");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_send);
    tcase_add_test(tc, test_second_nameserver_is_asked);
    tcase_add_loop_test(tc, test_a_failing_leader_costs_no_send, 0, 3);
    tcase_add_test(tc, test_refusal_names_code_and_reason);
    tcase_add_test(tc, test_unknown_topic_without_template);
    tcase_add_test(tc, test_new_topic_borrows_the_template);
    tcase_add_test(tc, test_no_nameserver_brokers_tell);
    tcase_add_test(tc, test_sharding_key_keeps_its_queue);
    tcase_add_test(tc, test_selector_chooses);
    tcase_add_test(tc, test_round_robin_uses_all_queues);
    tcase_add_test(tc, test_async_calls_back_once_each);
    tcase_add_test(tc, test_too_many_in_flight_are_busy);
    tcase_add_test(tc, test_a_callback_may_send_in_its_own_room);
    tcase_add_test(tc, test_flush_waits_for_callbacks);
    tcase_add_test(tc, test_oneway_sends_are_in_flight_until_written);
    tcase_add_test(tc, test_oneway_sends_arrive_in_spite_of_a_dead_leader);
    tcase_add_test(tc, test_a_silent_nameserver_does_not_prolong_a_send);
    tcase_add_test(tc, test_wrong_arguments);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
