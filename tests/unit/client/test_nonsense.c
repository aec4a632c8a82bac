/*
 * test_nonsense.c - a whole client, with a producer, consumers and a puller, against a nameserver and brokers
 * that answer nonsense: wrong codes, bodies that are none, offsets out of this world, frames that are none.
 * Every call must return within its time, and the client must end.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/ledgermq.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/rng.h"
#include "tests/unit/client/mock.h"

#define SEEDS      6
#define ROUND_MS   1200u
#define CALL_MS    400u
#define SLACK_MS   10000u /* of a busy machine */
#define STORED_MAX 200u

static struct mock mocks[3]; /* 0: nameserver; 1, 2: replicas of broker "b" */
static struct loop *loop;
static pthread_t thread;
static struct rng rng; /* of the mocks' thread */
static char client_id[128];
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

/* ---- nonsense ---- */

static uint32_t any(uint32_t below)
{
    return (uint32_t)rng_below(&rng, below);
}

static int64_t any_number(void)
{
    static const int64_t numbers[] = {
        0, 1, 2, 7, -1, INT32_MAX, INT64_MAX, INT64_MIN, INT64_MAX - 1, 4294967296, 1000000};

    return numbers[any(sizeof(numbers) / sizeof(numbers[0]))];
}

static void put_number(struct remoting_out *out, const char *key)
{
    if (any(8) != 0)
        remoting_put_i64(out, key, any(2) != 0 ? (int64_t)any(20) : any_number());
}

/* One in four texts has a byte changed, or ends early. */
static struct buf *damaged(const char *text, size_t len)
{
    struct buf *b = buf_copy(text, len);

    if (len > 0 && any(4) == 0)
        b->data[any((uint32_t)len)] = (uint8_t)any(256);
    if (len > 0 && any(8) == 0)
        b->len = any((uint32_t)len);
    return b;
}

static struct buf *any_route(void)
{
    static const char *const hosts[] = {"127.0.0.1:1",    "127.0.0.1", ":",
                                        "no such host:1", "",          "127.0.0.1:99999"};
    char text[1200];
    int len = snprintf(text, sizeof(text),
                       "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"%s\",\"%u\":\"%s\"},\"brokerName\":\"b\","
                       "\"cluster\":\"c\"},{\"brokerAddrs\":{\"0\":\"%s\"},\"brokerName\":\"%s\"}],"
                       "\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":%u,\"readQueueNums\":%u,"
                       "\"writeQueueNums\":%u}]}",
                       mocks[1].address, any(3), mocks[2].address, hosts[any(6)], any(2) != 0 ? "b" : "x",
                       any(8), any(6), any(6));

    return damaged(text, (size_t)len);
}

static struct buf *any_messages(void)
{
    uint8_t bytes[STORED_MAX];
    struct bld all = bld_of(10 * STORED_MAX);
    struct buf *b, *copy;

    for (uint32_t i = any(5) + 1; i > 0; i--) {
        uint32_t body = any(20), props = any(30);
        struct wr w = wr_of(bytes, sizeof(bytes));

        wr_be32(&w, 91 + body + 1 + props);
        wr_be32(&w, any(8) != 0 ? 0xDAA320A7u : 0xDAA320A8u);
        wr_be32(&w, any(4) != 0 ? 0 : 5);
        wr_be32(&w, any(3));
        wr_be32(&w, 0);
        wr_be64(&w, (uint64_t)(any(4) != 0 ? (int64_t)any(20) : any_number()));
        wr_be64(&w, (uint64_t)any_number());
        wr_be32(&w, any(4) != 0 ? 0 : any(0x800));
        wr_be64(&w, (uint64_t)any_number());
        wr_be64(&w, 0);
        wr_be64(&w, (uint64_t)any_number());
        wr_be64(&w, 0);
        wr_be32(&w, any(20));
        wr_be64(&w, 0);
        wr_be32(&w, body);
        while (body-- > 0)
            wr_u8(&w, (uint8_t)any(256));
        wr_u8(&w, 1);
        wr_u8(&w, 'T');
        wr_be16(&w, (uint16_t)props);
        while (props-- > 0)
            wr_u8(&w, (uint8_t)(any(3) != 0 ? 'a' + (int)any(20) : (int)any(3)));
        bld_bytes(&all, bytes, (size_t)(w.p - bytes));
    }
    b = bld_take(&all);
    copy = damaged((const char *)b->data, b->len);
    buf_unref(b);
    return copy;
}

static struct buf *any_text(void)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "null",
        "{",
        "[[[[",
        "\"",
        "0",
        "{\"consumerIdList\":[\"!\",\"~\"]}",
        "{\"consumerIdList\":[\"\",7,null,[]]}",
        "{\"consumerIdList\":{}}",
        "{\"lockOKMQSet\":[{\"queueId\":\"x\"}]}",
        "{\"lockOKMQSet\":[{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}]}",
        "{\"role\":\"leader\",\"serving\":true}",
        "{\"role\":7,\"serving\":\"yes\"}"};
    const char *text = texts[any(sizeof(texts) / sizeof(texts[0]))];

    return damaged(text, strlen(text));
}

/* What a broker would say, so that the client comes further. */
static struct buf *sense(int32_t request)
{
    char text[600];

    switch (request) {
    case GET_ROUTEINFO_BY_TOPIC:
        snprintf(text, sizeof(text),
                 "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"%s\",\"1\":\"%s\"},\"brokerName\":\"b\","
                 "\"cluster\":\"c\"}],\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":2,"
                 "\"writeQueueNums\":2}]}",
                 mocks[1].address, mocks[2].address);
        break;
    case GET_CONSUMER_LIST_BY_GROUP:
        snprintf(text, sizeof(text), "{\"consumerIdList\":[\"%s\"]}", client_id);
        break;
    case LOCK_BATCH_MQ:
        snprintf(text, sizeof(text),
                 "{\"lockOKMQSet\":[{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"},"
                 "{\"brokerName\":\"b\",\"queueId\":1,\"topic\":\"T\"}]}");
        break;
    default:
        text[0] = '\0';
    }
    return buf_copy(text, strlen(text));
}

static struct buf *any_body(int32_t request)
{
    if (request == PULL_MESSAGE)
        return any_messages();
    if (any(8) != 0)
        return sense(request);
    return request == GET_ROUTEINFO_BY_TOPIC ? any_route() : any_text();
}

static int32_t nonsense(struct mock *m, struct remoting_out *out, struct buf **body)
{
    static const int32_t codes[] = {1,  2,  10,  11, 14,    17,          19,         20,          21,
                                    22, 24, 206, -7, 32767, MOCK_SILENT, MOCK_CLOSE, MOCK_GARBAGE};
    static const char *const keys[] = {"offset",    "nextBeginOffset", "minOffset",
                                       "maxOffset", "queueOffset",     "queueId"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        put_number(out, keys[i]);
    remoting_put_str(out, "msgId", any(2) != 0 ? STR("0123456789,,") : STR(""));
    *body = any_body(m->cmd.code);
    return any(8) != 0 ? 0 : codes[any(sizeof(codes) / sizeof(codes[0]))];
}

/* ---- the client ---- */

static void setup(void)
{
    log_set_sink(drop_log, NULL);
    loop = loop_new();
    for (int i = 0; i < 3; i++) {
        mock_start(&mocks[i], loop, 0);
        mocks[i].script = nonsense;
        mocks[i].route = "";
    }
}

static void teardown(void)
{
    loop_stop(loop);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++)
        mock_stop(&mocks[i]);
    loop_free(loop);
}

static lmq_client *client_new(void)
{
    static const char *const short_times[] = {"sendMsgTimeout",         "answerTimeoutMillis",
                                              "rebalanceInterval",      "persistConsumerOffsetInterval",
                                              "rebalanceLockInterval",  "pollNameServerInterval",
                                              "heartbeatBrokerInterval"};
    lmq_options *o = lmq_options_new();
    lmq_client *c;

    ck_assert_int_eq(lmq_options_set(o, "namesrvAddr", mocks[0].address, &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "brokerAddr", mocks[1].address, &error), LMQ_OK);
    for (size_t i = 0; i < sizeof(short_times) / sizeof(short_times[0]); i++)
        ck_assert_int_eq(lmq_options_set(o, short_times[i], "100", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "sendMsgTimeout", "400", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "brokerSuspendMaxTimeMillis", "50", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "retryLocallyMillis", "20", &error), LMQ_OK);
    ck_assert_int_eq(lmq_options_set(o, "consumeFromWhere", "CONSUME_FROM_FIRST_OFFSET", &error), LMQ_OK);
    ck_assert_int_eq(lmq_client_new(o, &c, &error), LMQ_OK);
    lmq_options_free(o);
    return c;
}

static lmq_consume on_message(void *arg, const lmq_message *m)
{
    size_t size;

    (void)arg;
    (void)lmq_message_body(m, &size);
    return (strlen(lmq_message_id(m)) + strlen(lmq_message_tag(m)) + size) % 3 == 0 ? LMQ_RETRY_LATER
                                                                                    : LMQ_CONSUMED;
}

static lmq_consumer *consumer_new(lmq_client *c, const char *group, bool orderly)
{
    lmq_consumer *k;

    ck_assert_int_eq(lmq_consumer_new(c, group, LMQ_CLUSTERING, &k, &error), LMQ_OK);
    ck_assert_int_eq(lmq_consumer_subscribe(k, "T", "*", &error), LMQ_OK);
    ck_assert_int_eq(orderly ? lmq_consumer_start_orderly(k, on_message, NULL, &error)
                             : lmq_consumer_start(k, on_message, NULL, &error),
                     LMQ_OK);
    return k;
}

static void send_some(lmq_producer *p)
{
    lmq_message *m = lmq_message_new("T", "hello", 5);
    uint64_t begin_ms = clock_mono_ms();

    (void)lmq_producer_send(p, m, NULL, &error);
    ck_assert_uint_lt(clock_mono_ms() - begin_ms, CALL_MS + SLACK_MS);
    (void)lmq_producer_send_oneway(p, m, &error);
    lmq_message_free(m);
}

static void pull_some(lmq_puller *p)
{
    lmq_queue *queues = NULL;
    lmq_pulled *pulled;
    size_t count = 0;
    int64_t offset;

    if (lmq_puller_queues(p, "T", &queues, &count, &error) == LMQ_OK && count > 0) {
        (void)lmq_puller_offset(p, &queues[0], LMQ_OFFSET_COMMITTED, &offset, &error);
        if (lmq_puller_pull(p, &queues[0], "*", 0, 10, 10, &pulled, &error) == LMQ_OK)
            lmq_pulled_free(pulled);
    }
    free(queues);
}

START_TEST(test_nonsense)
{
    uint64_t end_ms = clock_mono_ms() + ROUND_MS;
    lmq_client *c = client_new();
    lmq_consumer *consumers[2];
    lmq_producer *producer;
    lmq_puller *puller;

    rng_seed(&rng, (uint64_t)_i + 1);
    snprintf(client_id, sizeof(client_id), "%s", lmq_client_id(c));
    ck_assert_int_eq(pthread_create(&thread, NULL, thread_main, NULL), 0);
    ck_assert_int_eq(lmq_producer_new(c, "p", &producer, &error), LMQ_OK);
    ck_assert_int_eq(lmq_puller_new(c, "r", &puller, &error), LMQ_OK);
    consumers[0] = consumer_new(c, "concurrent", false);
    consumers[1] = consumer_new(c, "orderly", true);
    while (clock_mono_ms() < end_ms) {
        send_some(producer);
        pull_some(puller);
    }
    for (int i = 0; i < 2; i++)
        lmq_consumer_free(consumers[i]);
    lmq_puller_free(puller);
    lmq_producer_free(producer);
    lmq_client_free(c);
    ck_assert_uint_lt(clock_mono_ms() - end_ms, 2 * SLACK_MS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nonsense");
    TCase *tc = tcase_create("nonsense");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_nonsense, 0, SEEDS);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
