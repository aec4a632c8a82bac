/*
 * test_message.c - the stored message: layout, limits, hostile bytes, ids, tags, batches.
 */
#include <arpa/inet.h>

#include "broker/state/message.h"
#include "common/crc.h"
#include "common/rng.h"
#include "tests/unit/state/fixture.h"

static struct message sample(void)
{
    struct message m = {.queue_id = 3,
                        .flag = 7,
                        .sys_flag = 1,
                        .reconsume_times = 2,
                        .queue_offset = 0,
                        .prepared_offset = 11,
                        .born_ms = 0x0102030405060708,
                        .store_ms = 0x1112131415161718,
                        .body = STR("body"),
                        .topic = STR("topic"),
                        .properties = STR("TAGS\x01"
                                          "a\x02KEYS\x01k\x02")};
    m.born = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(5000)};
    m.store = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(10911)};
    inet_pton(AF_INET, "10.1.2.3", &m.born.sin_addr);
    inet_pton(AF_INET, "192.168.0.1", &m.store.sin_addr);
    return m;
}

START_TEST(layout_is_that_of_RocketMQ)
{
    struct message m = sample();
    uint8_t b[256];
    size_t size = message_size(&m);
    ck_assert_uint_eq(size, 91 + 4 + 5 + 14);
    message_encode(&m, b);
    ck_assert_uint_eq(get_be32(b), size);
    ck_assert_uint_eq(get_be32(b + 4), 0xDAA320A7);
    ck_assert_uint_eq(get_be32(b + 8), crc32_zlib("body", 4) & 0x7FFFFFFF);
    ck_assert_uint_eq(get_be32(b + 12), 3);
    ck_assert_uint_eq(get_be32(b + 16), 7);
    ck_assert_uint_eq(get_be32(b + 36), 1);
    ck_assert_uint_eq(get_be64(b + 40), 0x0102030405060708);
    ck_assert_mem_eq(b + 48, "\x0A\x01\x02\x03\x00\x00\x13\x88", 8);
    ck_assert_uint_eq(get_be64(b + 56), 0x1112131415161718);
    ck_assert_mem_eq(b + 64, "\xC0\xA8\x00\x01\x00\x00\x2A\x9F", 8);
    ck_assert_uint_eq(get_be32(b + 72), 2);
    ck_assert_uint_eq(get_be64(b + 76), 11);
    ck_assert_uint_eq(get_be32(b + 84), 4);
    ck_assert_mem_eq(b + 88, "body\x05topic\x00\x0ETAGS\x01", 4 + 1 + 5 + 2 + 5);

    message_patch(b, 42, 4242);
    struct message d;
    ck_assert_int_eq(message_decode(b, size, true, &d), 0);
    ck_assert_uint_eq(d.queue_offset, 42);
    ck_assert_uint_eq(d.position, 4242);
    ck_assert_uint_eq(d.total_size, size);
    ck_assert_int_eq(d.reconsume_times, 2);
    ck_assert_uint_eq(d.prepared_offset, 11);
    ck_assert_mem_eq(&d.born, &m.born, sizeof d.born);
    ck_assert_mem_eq(&d.store, &m.store, sizeof d.store);
    ck_assert(str_eq(d.body, m.body));
    ck_assert(str_eq(d.topic, m.topic));
    ck_assert(str_eq(d.properties, m.properties));
}
END_TEST

START_TEST(long_topics_take_the_second_version)
{
    char topic[256];
    memset(topic, 't', sizeof topic);
    struct message m = sample(), d;
    uint8_t b[512];
    m.topic = (struct str){topic, 127};
    message_encode(&m, b);
    ck_assert_uint_eq(get_be32(b + 4), MESSAGE_MAGIC_V1);
    m.topic.len = 128;
    size_t size = message_size(&m);
    message_encode(&m, b);
    ck_assert_uint_eq(get_be32(b + 4), MESSAGE_MAGIC_V2);
    ck_assert_int_eq(message_decode(b, size, true, &d), 0);
    ck_assert_uint_eq(d.topic.len, 128);
    m.topic.len = 255;
    ck_assert_uint_gt(message_size(&m), 0);
    m.topic.len = 256;
    ck_assert_uint_eq(message_size(&m), 0);
}
END_TEST

START_TEST(limits_of_size)
{
    struct message m = sample();
    m.properties.len = MESSAGE_PROPERTIES_MAX + 1;
    ck_assert_uint_eq(message_size(&m), 0);
    m.properties.len = MESSAGE_PROPERTIES_MAX;
    ck_assert_uint_gt(message_size(&m), 0);
    m.body.len = MESSAGE_BODY_MAX + 1;
    ck_assert_uint_eq(message_size(&m), 0);
}
END_TEST

START_TEST(ipv6_hosts_are_skipped_and_never_written)
{
    struct message m = sample(), d;
    uint8_t b[256], six[256];
    m.sys_flag = 0x31;
    size_t size = message_size(&m);
    message_encode(&m, b);
    ck_assert_int_eq(message_decode(b, size, true, &d), 0);
    ck_assert_int_eq(d.sys_flag, 1);

    /* The same message with both hosts of 20 bytes. */
    memset(six, 0xEE, sizeof six);
    memcpy(six, b, 48);
    put_be32(six, (uint32_t)size + 24);
    put_be32(six + 36, 0x31);
    memcpy(six + 68, b + 56, 8);
    memcpy(six + 96, b + 72, size - 72);
    ck_assert_int_eq(message_decode(six, size + 24, true, &d), 0);
    ck_assert_uint_eq(d.store_ms, m.store_ms);
    ck_assert_uint_eq(d.born.sin_family, 0);
    ck_assert_uint_eq(d.store.sin_port, 0);
    ck_assert(str_eq(d.topic, m.topic));
}
END_TEST

START_TEST(every_cut_and_every_wrong_length_is_refused)
{
    struct message m = sample(), d;
    uint8_t b[256];
    size_t size = message_size(&m);
    message_encode(&m, b);
    for (size_t len = 0; len < size; len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, b, len);
        ck_assert_int_eq(message_decode(exact, len, false, &d), ERR_MALFORMED);
        if (len >= 4) {
            put_be32(exact, (uint32_t)len);
            ck_assert_int_eq(message_decode(exact, len, false, &d), ERR_MALFORMED);
        }
        free(exact);
    }
    const size_t lengths[] = {0, 84};
    const uint32_t values[] = {0, 1, 90, (uint32_t)size + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (size_t i = 0; i < 2; i++) {
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            uint8_t c[256];
            memcpy(c, b, size);
            put_be32(c + lengths[i], values[v]);
            ck_assert_int_eq(message_decode(c, size, false, &d), ERR_MALFORMED);
        }
    }
    b[4] ^= 1;
    ck_assert_int_eq(message_decode(b, size, false, &d), ERR_MALFORMED);
    b[4] ^= 1;
    b[88] ^= 1;
    ck_assert_int_eq(message_decode(b, size, true, &d), ERR_MALFORMED);
    ck_assert_int_eq(message_decode(b, size, false, &d), 0);
}
END_TEST

START_TEST(properties_are_found_with_or_without_the_last_separator)
{
    struct str p = STR("A\x01one\x02"
                       "AB\x01two\x02"
                       "E\x01\x02"
                       "junk\x02"
                       "Z\x01last");
    ck_assert(str_is(message_property(p, "A"), "one"));
    ck_assert(str_is(message_property(p, "AB"), "two"));
    ck_assert(str_is(message_property(p, "Z"), "last"));
    ck_assert_ptr_null(message_property(p, "E").p);
    ck_assert_ptr_null(message_property(p, "junk").p);
    ck_assert_ptr_null(message_property(p, "B").p);
    ck_assert_ptr_null(message_property((struct str){NULL, 0}, "A").p);
}
END_TEST

/* Expected values from Java: "...".hashCode(). */
START_TEST(tags_hash_as_in_Java)
{
    ck_assert_int_eq(message_tag_hash((struct str){NULL, 0}), 0);
    ck_assert_int_eq(message_tag_hash(STR("TagA")), 2598919);
    ck_assert_int_eq(message_tag_hash(STR("hello world, this overflows")), 161437415);
    ck_assert_int_eq(message_tag_hash(STR("\xC3\xA9")), 233);
    ck_assert_int_eq(message_tag_hash(STR("\xE4\xB8\xAD\xE6\x96\x87")), 646394);
    ck_assert_int_eq(message_tag_hash(STR("\xF0\x9F\x98\x80")), 1772899); /* U+1F600: D83D DE00 */
    ck_assert_int_eq(message_tag_hash(STR("\xFF")), 65533);
    ck_assert_int_eq(message_tag_hash(STR("\xC0\x80")), 65533 * 31 + 65533);
    ck_assert_int_eq(message_tag_hash(STR("\xE4\xB8")), 65533); /* one broken piece */
    ck_assert_int_eq(message_tag_hash(STR("\xE4\xB8"
                                          "a")),
                     65533 * 31 + 'a');
    ck_assert_int_eq(message_tag_hash(STR("\xED\xA0\x80")), 65533); /* a surrogate */
    ck_assert_int_eq(message_tag_hash(STR("\xF0\x9F\x98")), 65533);
    ck_assert_int_eq(message_tag_hash(STR("\xF4\x90\x80\x80")), 2017367872);
}
END_TEST

START_TEST(message_ids_go_both_ways)
{
    struct message m = sample();
    char id[MESSAGE_ID_CHARS + 1];
    message_id_format(&m.store, 0xABCDEF, id);
    ck_assert_str_eq(id, "C0A8000100002A9F0000000000ABCDEF");
    struct sockaddr_in host;
    uint64_t position;
    ck_assert_int_eq(message_id_parse(str_of(id), &host, &position), 0);
    ck_assert_mem_eq(&host, &m.store, sizeof host);
    ck_assert_uint_eq(position, 0xABCDEF);
    ck_assert_int_eq(message_id_parse(STR("c0a8000100002a9f0000000000abcdef"), &host, &position), 0);
    ck_assert_int_eq(message_id_parse(STR("C0A8000100002A9F0000000000ABCDE"), &host, &position),
                     ERR_MALFORMED);
    ck_assert_int_eq(message_id_parse(STR("C0A8000100002A9F0000000000ABCDEG"), &host, &position),
                     ERR_MALFORMED);
    ck_assert_int_eq(message_id_parse(STR("C0A8000100012A9F0000000000ABCDEF"), &host, &position),
                     ERR_MALFORMED);
    ck_assert_int_eq(message_id_parse((struct str){NULL, 0}, &host, &position), ERR_MALFORMED);
}
END_TEST

static size_t batch_add(uint8_t *dst, const char *body, const char *properties)
{
    size_t body_len = strlen(body), properties_len = strlen(properties);
    size_t size = 22 + body_len + properties_len;
    struct wr w = wr_of(dst, size);
    wr_be32(&w, (uint32_t)size);
    wr_be32(&w, 0);
    wr_be32(&w, 0);
    wr_be32(&w, 5);
    wr_be32(&w, (uint32_t)body_len);
    wr_bytes(&w, body, body_len);
    wr_be16(&w, (uint16_t)properties_len);
    wr_bytes(&w, properties, properties_len);
    return size;
}

START_TEST(a_batch_is_walked_element_by_element)
{
    uint8_t b[256];
    size_t len = batch_add(b, "one", "TAGS\x01x\x02");
    len += batch_add(b + len, "two", "");
    struct rd r = rd_of(b, len);
    struct message m;
    ck_assert_int_eq(message_batch_next(&r, &m), 0);
    ck_assert(str_is(m.body, "one"));
    ck_assert_int_eq(m.flag, 5);
    ck_assert(str_is(message_property(m.properties, "TAGS"), "x"));
    ck_assert_int_eq(message_batch_next(&r, &m), 0);
    ck_assert(str_is(m.body, "two"));
    ck_assert_uint_eq(m.properties.len, 0);
    ck_assert_uint_eq(rd_left(&r), 0);
    ck_assert_int_eq(message_batch_next(&r, &m), ERR_MALFORMED);
}
END_TEST

START_TEST(hostile_batches_are_refused)
{
    struct message m;
    uint8_t b[64];
    size_t size = batch_add(b, "body", "p\x01v");
    for (size_t len = 0; len < size; len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, b, len);
        struct rd r = rd_of(exact, len);
        ck_assert_int_eq(message_batch_next(&r, &m), ERR_MALFORMED);
        free(exact);
    }
    const uint32_t values[] = {0, 3, 4, 21, (uint32_t)size - 1, (uint32_t)size + 1, 0x7FFFFFFF, 0xFFFFFFFF};
    for (size_t at = 0; at <= 16; at += 16) {
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            uint8_t c[64];
            memcpy(c, b, size);
            put_be32(c + at, values[v]);
            if (memcmp(c, b, size) == 0 || (at == 16 && values[v] == 4))
                continue; /* that is the right value */
            struct rd r = rd_of(c, size);
            ck_assert_int_eq(message_batch_next(&r, &m), ERR_MALFORMED);
        }
    }
}
END_TEST

START_TEST(random_messages_survive_the_round_trip)
{
    struct rng rng;
    rng_seed(&rng, 1);
    static char text[40000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)rng_next(&rng);
    for (int i = 0; i < 300; i++) {
        struct message m = sample(), d;
        m.queue_id = (int32_t)rng_next(&rng);
        m.body = (struct str){text, rng_below(&rng, 2000)};
        m.topic = (struct str){text, rng_below(&rng, 256)};
        m.properties = (struct str){text, rng_below(&rng, 32768)};
        size_t size = message_size(&m);
        uint8_t *b = malloc(size);
        message_encode(&m, b);
        ck_assert_int_eq(message_decode(b, size, true, &d), 0);
        ck_assert_int_eq(d.queue_id, m.queue_id);
        ck_assert(str_eq(d.body, m.body));
        ck_assert(str_eq(d.topic, m.topic));
        ck_assert(str_eq(d.properties, m.properties));
        free(b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("message");
    TCase *tc = tcase_create("message");
    tcase_add_test(tc, layout_is_that_of_RocketMQ);
    tcase_add_test(tc, long_topics_take_the_second_version);
    tcase_add_test(tc, limits_of_size);
    tcase_add_test(tc, ipv6_hosts_are_skipped_and_never_written);
    tcase_add_test(tc, every_cut_and_every_wrong_length_is_refused);
    tcase_add_test(tc, properties_are_found_with_or_without_the_last_separator);
    tcase_add_test(tc, tags_hash_as_in_Java);
    tcase_add_test(tc, message_ids_go_both_ways);
    tcase_add_test(tc, a_batch_is_walked_element_by_element);
    tcase_add_test(tc, hostile_batches_are_refused);
    tcase_add_test(tc, random_messages_survive_the_round_trip);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
