/*
 * What nameservers are told, and how often: a nameserver on loopback that takes registrations apart.
 */
#include <zlib.h>

#include "broker/register.h"
#include "broker/register_body.h"
#include "common/codes.h"
#include "common/conn.h"
#include "common/remoting.h"
#include "tests/unit/state/fixture.h"

#define UNPACKED_MAX (64u << 20)

static struct rig rig;
static struct memory_checkpoint *memory;
static struct front f;
static struct settings settings;
static struct conf conf;
static struct listener *listener;
static struct registrar *registrar;
/* The nameserver. */
static uint32_t registrations;
static bool packed;
static int64_t broker_id;
static uint32_t topics_told;
static size_t body_bytes;
static uint64_t cost_ms; /* of the first registration: a sanitizer makes it long */

static uint32_t count_in(struct str body, const char *what)
{
    uint32_t count = 0;
    size_t len = strlen(what);

    /* Not memmem: ThreadSanitizer looks at all that is left each time. */
    for (const char *p = body.p; (size_t)(body.p + body.len - p) >= len; p++)
        count += *p == *what && memcmp(p, what, len) == 0;
    return count;
}

/* Walks the packed form to its end, word by word. */
static uint32_t packed_topics(struct str body)
{
    uint8_t *text = malloc(UNPACKED_MAX);
    uLongf len = UNPACKED_MAX;
    struct rd in;
    uint32_t count;

    ck_assert_int_eq(uncompress(text, &len, (const Bytef *)body.p, body.len), Z_OK);
    in = rd_of(text, len);
    ck_assert_uint_gt(rd_str(&in, rd_be32(&in)).len, 0);
    count = rd_be32(&in);
    for (uint32_t i = 0; i < count; i++) {
        struct str topic = rd_str(&in, rd_be32(&in));

        ck_assert_ptr_nonnull(memmem(topic.p, topic.len, " 1 1 6 SINGLE_TAG", 17));
    }
    ck_assert(str_is(rd_str(&in, rd_be32(&in)), "[]"));
    ck_assert_uint_eq(rd_be32(&in), 0);
    ck_assert(!in.bad && rd_left(&in) == 0);
    free(text);
    return count;
}

static void on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    static struct remoting_cmd cmd;
    struct remoting_out out;
    struct buf *answer;
    struct err err;

    ck_assert_int_eq(remoting_decode(frame, len, &cmd, &err), 0);
    ck_assert_int_eq(cmd.code, REGISTER_BROKER);
    ck_assert_int_eq(remoting_i64(&cmd, "brokerId", &broker_id), 0);
    packed = remoting_bool_or(&cmd, "compressed", true);
    topics_told = packed ? packed_topics(cmd.body) : count_in(cmd.body, "\"topicName\"");
    body_bytes = cmd.body.len;
    /* Or a nameserver of 5.x, asked to delete what a table lacks, forgets all topics with the leader. */
    ck_assert_uint_eq(remoting_str(&cmd, "enableActingMaster").len, 0);
    registrations++;
    remoting_response(&out, &cmd, RC_SUCCESS, (struct str){NULL, 0});
    ck_assert_int_eq(remoting_encode(&out, NULL, 0, &answer), 0);
    conn_write_buf(conn, answer);
}

static void on_close(struct conn *conn, int why)
{
    (void)conn;
    (void)why;
}

static const struct conn_ops ops = {.on_frame = on_frame, .on_close = on_close};

static void turns(uint32_t ms)
{
    for (uint64_t end_ms = loop_now_ms(f.loop) + ms; loop_now_ms(f.loop) < end_ms;)
        loop_turn(f.loop, 1);
}

static void until_registered(uint32_t count)
{
    for (int i = 0; registrations < count; i++) {
        ck_assert_int_lt(i, 20000);
        loop_turn(f.loop, 1);
    }
}

/* A topic is applied, and the front says so. */
static void make_topic(const char *name)
{
    static struct entry_bytes e;

    entry_topic_put(&e, name, 1, 1);
    ck_assert_int_eq(rig_apply(&rig, &e)->code, 0);
    if (registrar != NULL)
        registrar_poke(registrar);
}

static void make_topics(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char name[128];

        snprintf(name, sizeof(name), "%06u-the-name-of-a-topic-in-a-system-where-names-tell-the-whole-story",
                 i);
        make_topic(name);
    }
}

static void begin(void)
{
    struct conn_limits limits = {.frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
                                 .frame_min_bytes = 8,
                                 .out_max_bytes = 1u << 20,
                                 .conns_max = 10};
    struct err err;

    memory = memory_checkpoint_new();
    rig_open(&rig, memory_checkpoint_door(memory), 64);
    conf_init(&conf, settings_rows, settings_row_count, &settings);
    f = (struct front){.settings = &settings, .loop = loop_new(), .state = rig.state, .self = 1};
    snprintf(f.address, sizeof(f.address), "127.0.0.1:10911");
    f.serving = true;
    f.term = 1;
    registrations = 0;
    ck_assert_int_eq(listener_open(f.loop, "127.0.0.1", 0, &ops, &limits, NULL, &listener, &err), 0);
}

static void start(void)
{
    char address[32];
    struct err err;

    cost_ms = loop_now_ms(f.loop);
    snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(listener));
    ck_assert_int_eq(registrar_new(&f, address, &registrar, &err), 0);
    until_registered(1);
    cost_ms = loop_now_ms(f.loop) - cost_ms;
}

static void end(void)
{
    registrar_free(registrar);
    registrar = NULL;
    listener_close(listener);
    loop_turn(f.loop, 0);
    loop_free(f.loop);
    conf_release(&conf);
    rig_crash(&rig);
    rig.checkpoint.close(rig.checkpoint.impl);
    memory_checkpoint_free(memory);
}

#define SOME   25000u
#define GAP_MS register_gap_ms(SOME)

START_TEST(few_topics_are_told_at_once)
{
    ck_assert_uint_eq(register_gap_ms(10), 0);
    start();
    ck_assert_uint_eq(topics_told, 0);
    for (uint32_t i = 0; i < 10; i++) {
        char name[16];

        snprintf(name, sizeof(name), "T%u", i);
        make_topic(name);
        until_registered(2 + i);
        ck_assert_uint_eq(topics_told, 1 + i);
    }
}
END_TEST

START_TEST(of_many_topics_new_ones_are_told_together)
{
    uint64_t began_ms;

    make_topics(SOME);
    start();
    ck_assert_uint_eq(topics_told, SOME);
    turns(GAP_MS);
    began_ms = loop_now_ms(f.loop);
    make_topic("first");
    until_registered(2);
    ck_assert_uint_lt(loop_now_ms(f.loop) - began_ms, GAP_MS / 2 + 2 * cost_ms);
    for (int i = 0; i < 50; i++) {
        char name[16];

        snprintf(name, sizeof(name), "T%d", i);
        make_topic(name);
        loop_turn(f.loop, 1);
    }
    until_registered(3);
    turns(2 * GAP_MS);
    ck_assert_uint_eq(topics_told, SOME + 51);
    ck_assert_uint_le(registrations, 4);
}
END_TEST

START_TEST(a_role_is_told_at_once)
{
    uint64_t began_ms;

    make_topics(SOME);
    start();
    make_topic("T"); /* waits for its time */
    began_ms = loop_now_ms(f.loop);
    f.serving = false;
    f.term = 2;
    registrar_poke(registrar);
    make_topic("U");
    until_registered(2);
    ck_assert_uint_lt(loop_now_ms(f.loop) - began_ms, GAP_MS / 2 + 2 * cost_ms);
    ck_assert_int_eq(broker_id, 1);
    ck_assert_uint_eq(topics_told, 0); /* no nameserver takes a follower's */
}
END_TEST

/* 75,000 topics with names of 70 characters are 17 MiB of JSON. */
START_TEST(a_large_table_goes_packed)
{
    make_topics(75000);
    start();
    ck_assert(packed);
    ck_assert_uint_eq(topics_told, 75000);
    ck_assert_uint_lt(body_bytes, 2u << 20);
    ck_assert_uint_eq(registrar_registered(registrar), 0);
    turns(10);
    ck_assert_uint_eq(registrar_registered(registrar), 1);
}
END_TEST

/* More text than a nameserver unpacks: it hears of the broker all the same. */
START_TEST(a_table_too_large_to_tell_keeps_nobody_from_living)
{
    for (uint32_t i = 0; i < TOPICS_MAX; i++) {
        char name[TOPIC_NAME_MAX + 1];

        snprintf(name, sizeof(name), "%%RETRY%%%0200u", i);
        make_topic(name);
    }
    start();
    ck_assert(!packed);
    ck_assert_uint_eq(topics_told, 0);
    ck_assert_int_eq(broker_id, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("register");
    TCase *t = tcase_create("register");

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, few_topics_are_told_at_once);
    tcase_add_test(t, of_many_topics_new_ones_are_told_together);
    tcase_add_test(t, a_role_is_told_at_once);
    tcase_add_test(t, a_large_table_goes_packed);
    tcase_add_test(t, a_table_too_large_to_tell_keeps_nobody_from_living);
    suite_add_tcase(s, t);
    return run_suite(s);
}
