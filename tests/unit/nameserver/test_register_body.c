/* test_register_body.c - registrations as RocketMQ 4.9 and 5.x brokers send them, and what nobody should send. */
#include <check.h>
#include <stdlib.h>
#include <zlib.h>

#include "nameserver/register_body.h"

static struct register_body body;
static struct err err;

static void teardown(void)
{
    register_body_release(&body);
}

/* A copy of exact size, so that a sanitizer sees every step beyond the end. */
static int decode(const void *data, size_t len)
{
    char *exact = malloc(len + (len == 0));
    struct register_body decoded;
    int rc;

    memcpy(exact, data, len);
    register_body_release(&body);
    rc = register_body_decode((struct str){exact, len}, &decoded, &err);
    free(exact);
    if (rc == 0)
        body = decoded;
    return rc;
}

static int decode_text(const char *text)
{
    return decode(text, strlen(text));
}

static void check_topic(uint32_t i, const char *name, int read, int write, int perm, int flag)
{
    const struct routes_topic *t = &body.topics[i];

    ck_assert_uint_lt(i, body.topic_count);
    ck_assert_msg(str_is(t->name, name), "%.*s", (int)t->name.len, t->name.p);
    ck_assert_int_eq(t->read_queues, read);
    ck_assert_int_eq(t->write_queues, write);
    ck_assert_int_eq(t->perm, perm);
    ck_assert_int_eq(t->sys_flag, flag);
}

static void check_version(int64_t state, int64_t timestamp, int64_t counter)
{
    ck_assert_int_eq(body.version.state, state);
    ck_assert_int_eq(body.version.timestamp, timestamp);
    ck_assert_int_eq(body.version.counter, counter);
}

/* ---- plain ---- */

START_TEST(plain_of_4_9)
{
    ck_assert_int_eq(
        decode_text(
            "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":3,"
            "\"timestamp\":1650000000000},\"topicConfigTable\":{\"TBW102\":{\"order\":false,\"perm\":7,"
            "\"readQueueNums\":8,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"TBW102\","
            "\"topicSysFlag\":0,\"writeQueueNums\":8},\"u\":{\"perm\":6,\"readQueueNums\":1,"
            "\"topicName\":\"u\",\"topicSysFlag\":3,\"writeQueueNums\":2}}}}"),
        0);
    check_version(0, 1650000000000, 3);
    ck_assert_uint_eq(body.topic_count, 2);
    check_topic(0, "TBW102", 8, 8, 7, 0);
    check_topic(1, "u", 1, 2, 6, 3);
}
END_TEST

START_TEST(plain_of_5)
{
    ck_assert_int_eq(
        decode_text(
            " {\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":3,\"stateVersion\":9,"
            "\"timestamp\":5},\"mappingDataVersion\":{\"counter\":0,\"stateVersion\":0,\"timestamp\":1},"
            "\"topicConfigTable\":{\"t\":{\"attributes\":{\"message.type\":\"FIFO\"},\"order\":true,"
            "\"topicName\":\"t\"}},\"topicQueueMappingDetailMap\":{},\"topicQueueMappingInfoMap\":{}}}"),
        0);
    check_version(9, 5, 3);
    ck_assert_uint_eq(body.topic_count, 1);
    check_topic(0, "t", 16, 16, 6, 0); /* defaults of the class */
}
END_TEST

START_TEST(wrapper_alone_and_nothing_at_all)
{
    ck_assert_int_eq(decode_text("{\"dataVersion\":{\"counter\":1},\"topicConfigTable\":{\"t\":{}}}"), 0);
    check_version(0, 0, 1);
    check_topic(0, "t", 16, 16, 6, 0);
    ck_assert_int_eq(decode_text(""), 0);
    ck_assert_uint_eq(body.topic_count, 0);
    ck_assert_int_eq(decode_text("{}"), 0);
    ck_assert_uint_eq(body.topic_count, 0);
}
END_TEST

/* ---- packed ---- */

struct packer {
    uint8_t data[4096];
    struct wr w;
};

static void pack_text(struct packer *p, const char *text)
{
    wr_be32(&p->w, (uint32_t)strlen(text));
    wr_bytes(&p->w, text, strlen(text));
}

/* Deflate what was gathered and decode it, without its last `cut` bytes. */
static int decode_packed(struct packer *p, size_t cut)
{
    uint8_t out[8192];
    uLongf len = sizeof(out);

    ck_assert(!p->w.full);
    ck_assert_int_eq(compress2(out, &len, p->data, (uLong)(p->w.p - p->data), Z_BEST_COMPRESSION), Z_OK);
    return decode(out, len - cut);
}

static void begin(struct packer *p, const char *version, uint32_t topics)
{
    p->w = wr_of(p->data, sizeof(p->data));
    pack_text(p, version);
    wr_be32(&p->w, topics);
}

START_TEST(packed_of_4_9)
{
    struct packer p;

    begin(&p, "{\"counter\":2,\"timestamp\":77}", 2);
    pack_text(&p, "TBW102 8 8 7 SINGLE_TAG");
    pack_text(&p, "%RETRY%g 1 1 6 SINGLE_TAG");
    pack_text(&p, "[]");
    ck_assert_int_eq(decode_packed(&p, 0), 0);
    check_version(0, 77, 2);
    ck_assert_uint_eq(body.topic_count, 2);
    check_topic(0, "TBW102", 8, 8, 7, 0);
    check_topic(1, "%RETRY%g", 1, 1, 6, 0);
}
END_TEST

START_TEST(packed_of_5)
{
    struct packer p;

    begin(&p, "{\"counter\":2,\"stateVersion\":4,\"timestamp\":77}", 2);
    pack_text(&p, "t 8 4 6 SINGLE_TAG {\"message.type\":\"DE LAY\"}");
    pack_text(&p, "u 1 1 6 MULTI_TAG {}");
    pack_text(&p, "[\"1.1.1.1:9\"]");
    wr_be32(&p.w, 1);
    pack_text(&p, "{\"topic\":\"t\",\"bname\":\"b\"}");
    ck_assert_int_eq(decode_packed(&p, 0), 0);
    check_version(4, 77, 2);
    ck_assert_uint_eq(body.topic_count, 2);
    check_topic(0, "t", 8, 4, 6, 0);
    check_topic(1, "u", 1, 1, 6, 0);
}
END_TEST

START_TEST(packed_and_damaged)
{
    struct packer p;

    begin(&p, "{}", 1);
    pack_text(&p, "t 8 4 6 SINGLE_TAG");
    for (size_t cut = 1; cut < 8; cut++)
        ck_assert_int_eq(decode_packed(&p, cut), ERR_MALFORMED);
    begin(&p, "{}", 2);
    pack_text(&p, "t 8 4 6 SINGLE_TAG");
    ck_assert_int_eq(decode_packed(&p, 0), ERR_MALFORMED); /* one of two */
    begin(&p, "{}", 0xFFFFFFFFu);
    ck_assert_int_eq(decode_packed(&p, 0), ERR_MALFORMED);
    begin(&p, "{}", 1);
    wr_be32(&p.w, 0xFFFFFFF0u);
    ck_assert_int_eq(decode_packed(&p, 0), ERR_MALFORMED);
    begin(&p, "no version", 0);
    ck_assert_int_eq(decode_packed(&p, 0), ERR_MALFORMED);
    begin(&p, "{}", 1);
    pack_text(&p, "t 8 4");
    ck_assert_int_eq(decode_packed(&p, 0), ERR_MALFORMED);
    begin(&p, "{}", 1);
    pack_text(&p, "t 8 -4 6 SINGLE_TAG");
    ck_assert_int_eq(decode_packed(&p, 0), ERR_MALFORMED);
}
END_TEST

START_TEST(a_small_body_that_unpacks_to_much)
{
    size_t len = REGISTER_UNPACKED_MAX_BYTES + 1000;
    uLongf packed_len = compressBound(len);
    uint8_t *zeros = calloc(len, 1), *packed = malloc(packed_len);

    ck_assert_int_eq(compress2(packed, &packed_len, zeros, len, Z_BEST_SPEED), Z_OK);
    ck_assert_int_eq(decode(packed, packed_len), ERR_TOO_LARGE);
    free(zeros);
    free(packed);
}
END_TEST

START_TEST(neither_json_nor_packed)
{
    ck_assert_int_eq(decode_text("hello"), ERR_MALFORMED);
    ck_assert_int_eq(decode_text("{\"topicConfigTable\":"), ERR_MALFORMED);
    ck_assert_int_eq(decode_text("{\"topicConfigTable\":[]}"), ERR_MALFORMED);
    ck_assert_int_eq(decode_text("{\"topicConfigTable\":{\"t\":{\"readQueueNums\":-1}}}"), ERR_MALFORMED);
    ck_assert_int_eq(decode_text("{\"topicConfigTable\":{\"t\":{\"perm\":99999999999}}}"), ERR_MALFORMED);
    ck_assert_int_eq(decode("\0\0\0", 3), ERR_MALFORMED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("register_body");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, all);
    tcase_add_checked_fixture(all, NULL, teardown);
    tcase_add_test(all, plain_of_4_9);
    tcase_add_test(all, plain_of_5);
    tcase_add_test(all, wrapper_alone_and_nothing_at_all);
    tcase_add_test(all, packed_of_4_9);
    tcase_add_test(all, packed_of_5);
    tcase_add_test(all, packed_and_damaged);
    tcase_add_test(all, a_small_body_that_unpacks_to_much);
    tcase_add_test(all, neither_json_nor_packed);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
