/* test_wire.c - ids, properties, send requests, batches, stored messages, tag hashes, compression, tag
 * expressions. */
#include <check.h>
#include <stdlib.h>

#include "client/internal.h"
#include "common/codes.h"
#include "common/crc.h"

START_TEST(test_unique_ids_differ_and_keep_their_head)
{
    struct uniq u;
    char a[UNIQ_CHARS], b[UNIQ_CHARS];

    uniq_init(&u, 42);
    uniq_make(&u, 1790000000000ull, a);
    uniq_make(&u, 1790000000000ull, b);
    ck_assert_mem_eq(a, b, 28);
    ck_assert_mem_ne(a, b, UNIQ_CHARS);
    for (uint32_t i = 0; i < UNIQ_CHARS; i++)
        ck_assert(strchr("0123456789ABCDEF", a[i]) != NULL);
}
END_TEST

START_TEST(test_offset_ids)
{
    static const uint8_t ip[4] = {127, 0, 0, 1};
    char text[OFFSET_ID_CHARS + 1], address[64];
    uint64_t offset;

    offset_id_format(ip, 10911, 0x123456789aull, text);
    ck_assert_str_eq(text, "7F00000100002A9F000000123456789A");
    ck_assert_int_eq(offset_id_parse(str_of(text), address, sizeof(address), &offset), 0);
    ck_assert_str_eq(address, "127.0.0.1:10911");
    ck_assert_uint_eq(offset, 0x123456789aull);
    ck_assert_int_ne(offset_id_parse(STR("7F00000100002A9F"), address, sizeof(address), &offset), 0);
    ck_assert_int_ne(
        offset_id_parse(STR("7F00000100002A9F00000012345678XX"), address, sizeof(address), &offset), 0);
    ck_assert_int_ne(
        offset_id_parse(STR("7F000001000000000000000000000001"), address, sizeof(address), &offset), 0);
    ck_assert_int_ne(
        offset_id_parse(STR("7F00000100002A9FF000000000000001"), address, sizeof(address), &offset), 0);
}
END_TEST

START_TEST(test_properties)
{
    uint8_t text[64];
    struct wr w = wr_of(text, sizeof(text));
    struct str p;

    ck_assert_int_eq(props_put(&w, STR("TAGS"), STR("a")), 0);
    ck_assert_int_eq(props_put(&w, STR("KEYS"), STR("b c")), 0);
    ck_assert_int_eq(props_put(&w, STR(""), STR("x")), ERR_INVALID);
    ck_assert_int_eq(props_put(&w, STR("x"), STR("")), ERR_INVALID);
    ck_assert_int_eq(props_put(&w, STR("x"), STR("1\0012")), ERR_INVALID);
    p = (struct str){(const char *)text, (size_t)(w.p - text)};
    ck_assert(str_is(props_get(p, "KEYS"), "b c"));
    p.len--; /* 4.9 clients leave the last separator out */
    ck_assert(str_is(props_get(p, "KEYS"), "b c"));
    ck_assert(props_get(p, "AGS").p == NULL);
    ck_assert(props_get(STR("no separators"), "no").p == NULL);
    ck_assert_int_eq(
        props_put(&w, STR("LONG"), STR("0123456789012345678901234567890123456789012345678901234567890123")),
        ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_send_request)
{
    struct send_fields f = {.group = STR("g"),
                            .topic = STR("T"),
                            .properties = STR("TAGS\001a\002"),
                            .queue_id = 3,
                            .sys_flag = 1,
                            .flag = 7,
                            .born_ms = 1790000000000ull};
    struct remoting_cmd cmd = {0};
    struct buf *frame;

    ck_assert_int_eq(wire_send(&f, "body", 4, &frame), 0);
    ck_assert_int_eq(remoting_decode(frame->data, frame->len, &cmd, NULL), 0);
    ck_assert_int_eq(cmd.code, SEND_MESSAGE_V2);
    ck_assert_int_eq(cmd.form, REMOTING_BINARY);
    ck_assert(str_is(remoting_str(&cmd, "a"), "g"));
    ck_assert(str_is(remoting_str(&cmd, "b"), "T"));
    ck_assert(str_is(remoting_str(&cmd, "c"), DEFAULT_TOPIC));
    ck_assert_int_eq(remoting_i64_or(&cmd, "e", -1), 3);
    ck_assert_int_eq(remoting_i64_or(&cmd, "f", -1), 1);
    ck_assert_int_eq(remoting_i64_or(&cmd, "g", -1), 1790000000000ll);
    ck_assert_int_eq(remoting_i64_or(&cmd, "h", -1), 7);
    ck_assert(str_is(cmd.body, "body"));
    buf_unref(frame);
    remoting_release(&cmd);
}
END_TEST

START_TEST(test_batch_elements)
{
    struct bld body = bld_of(1000);
    struct buf *b;

    batch_put(&body, 5, STR("TAGS\001a\002"), STR("one"));
    batch_put(&body, 0, STR(""), STR("three"));
    b = bld_take(&body);
    ck_assert_uint_eq(b->len, 4 * 5 + 3 + 2 + 7 + 4 * 5 + 5 + 2);
    ck_assert_uint_eq(get_be32(b->data), 32);
    ck_assert_uint_eq(get_be32(b->data + 12), 5);
    ck_assert_uint_eq(get_be32(b->data + 16), 3);
    ck_assert_mem_eq(b->data + 20, "one", 3);
    ck_assert_uint_eq(get_be32(b->data + 32), 27);
    buf_unref(b);
}
END_TEST

/* A message as a broker stores it (V1, IPv4). */
static size_t make_stored(uint8_t *to, size_t size, int32_t sys_flag, const void *body, size_t body_len,
                          struct str properties)
{
    static const uint8_t ip[4] = {10, 0, 0, 1};
    struct wr w = wr_of(to, size);
    size_t total = 91 + body_len + 1 + properties.len;

    wr_be32(&w, (uint32_t)total);
    wr_be32(&w, 0xDAA320A7u);
    wr_be32(&w, crc32_zlib(body, body_len) & 0x7FFFFFFF);
    wr_be32(&w, 2);
    wr_be32(&w, 9);
    wr_be64(&w, 1234);
    wr_be64(&w, 5678);
    wr_be32(&w, (uint32_t)sys_flag);
    wr_be64(&w, 100);
    wr_bytes(&w, ip, 4);
    wr_be32(&w, 1);
    wr_be64(&w, 200);
    wr_bytes(&w, ip, 4);
    wr_be32(&w, 10911);
    wr_be32(&w, 4);
    wr_be64(&w, 0);
    wr_be32(&w, (uint32_t)body_len);
    wr_bytes(&w, body, body_len);
    wr_u8(&w, 1);
    wr_u8(&w, 'T');
    wr_be16(&w, (uint16_t)properties.len);
    wr_bytes(&w, properties.p, properties.len);
    ENSURE(!w.full && (size_t)(w.p - to) == total);
    return total;
}

START_TEST(test_stored_message)
{
    uint8_t text[512];
    size_t len = make_stored(text, sizeof(text), 0, "hello", 5, STR("TAGS\001a\002UNIQ_KEY\001ID\002"));
    struct rd left = rd_of(text, len);
    struct stored s;
    struct err err;
    struct lmq_message *m;
    size_t size;

    ck_assert_int_eq(stored_next(&left, &s, &err), 0);
    ck_assert_uint_eq(rd_left(&left), 0);
    m = message_from_stored(&s, "b", &err);
    ck_assert_ptr_nonnull(m);
    ck_assert_str_eq(lmq_message_topic(m), "T");
    ck_assert_str_eq(lmq_message_tag(m), "a");
    ck_assert_str_eq(lmq_message_tag(m), "a");
    ck_assert_str_eq(lmq_message_id(m), "ID");
    ck_assert_str_eq(lmq_message_offset_id(m), "0A00000100002A9F000000000000162E");
    ck_assert_int_eq(lmq_message_queue_id(m), 2);
    ck_assert_int_eq(lmq_message_queue_offset(m), 1234);
    ck_assert_int_eq(lmq_message_reconsume_times(m), 4);
    ck_assert_int_eq(lmq_message_flag(m), 9);
    ck_assert_mem_eq(lmq_message_body(m, &size), "hello", 5);
    ck_assert_uint_eq(size, 5);
    lmq_message_free(m);
}
END_TEST

START_TEST(test_every_cut_and_a_wrong_crc_are_refused)
{
    uint8_t text[512];
    size_t len = make_stored(text, sizeof(text), 0, "hello", 5, STR("TAGS\001a\002"));
    struct stored s;
    struct err err;

    for (size_t cut = 1; cut < len; cut++) {
        uint8_t copy[512];
        struct rd left = rd_of(text, cut);

        ck_assert_int_ne(stored_next(&left, &s, &err), 0);
        memcpy(copy, text, len);
        put_be32(copy, (uint32_t)cut); /* a size that lies */
        left = rd_of(copy, len);
        ck_assert_int_ne(stored_next(&left, &s, &err), 0);
    }
    text[90] ^= 1; /* in the body */
    struct rd left = rd_of(text, len);
    ck_assert_int_eq(stored_next(&left, &s, &err), ERR_DAMAGED);
}
END_TEST

START_TEST(test_compressed_bodies)
{
    static uint8_t body[100000], text[200000];
    uint8_t *small, *large;
    size_t small_len, large_len, len;
    struct stored s;
    struct err err;
    struct lmq_message *m;

    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (uint8_t)(i / 100);
    ck_assert_int_eq(body_deflate(body, sizeof(body), &small, &small_len), 0);
    ck_assert_uint_lt(small_len, sizeof(body) / 10);
    ck_assert_int_eq(body_inflate(small, small_len, sizeof(body), &large, &large_len), 0);
    ck_assert_uint_eq(large_len, sizeof(body));
    ck_assert_mem_eq(large, body, sizeof(body));
    free(large);
    ck_assert_int_eq(body_inflate(small, small_len, sizeof(body) - 1, &large, &large_len), ERR_TOO_LARGE);
    ck_assert_int_eq(body_inflate(small, small_len - 5, sizeof(body), &large, &large_len), ERR_DAMAGED);
    len = make_stored(text, sizeof(text), SYS_COMPRESSED, small, small_len, STR(""));
    struct rd left = rd_of(text, len);
    ck_assert_int_eq(stored_next(&left, &s, &err), 0);
    m = message_from_stored(&s, "b", &err);
    ck_assert_ptr_nonnull(m);
    ck_assert_mem_eq(lmq_message_body(m, &large_len), body, sizeof(body));
    lmq_message_free(m);
    s.sys_flag |= 0x200; /* ZSTD */
    ck_assert_ptr_null(message_from_stored(&s, "b", &err));
    free(small);
}
END_TEST

START_TEST(test_java_hash)
{
    ck_assert_int_eq(java_hash(STR("")), 0);
    ck_assert_int_eq(java_hash(STR("TagA")), 2598919);
    ck_assert_int_eq(java_hash(STR("polygenelubricants")), INT32_MIN);
    ck_assert_int_eq(java_hash(STR("\xc3\xa9")), 0xe9);                         /* one unit */
    ck_assert_int_eq(java_hash(STR("\xf0\x9f\x98\x80")), 31 * 0xd83d + 0xde00); /* two */
}
END_TEST

START_TEST(test_tags)
{
    ck_assert(tags_match("*", STR("")));
    ck_assert(tags_match("", STR("a")));
    ck_assert(tags_match("a || b", STR("b")));
    ck_assert(tags_match("a||b", STR("a")));
    ck_assert(!tags_match("a || b", STR("c")));
    ck_assert(!tags_match("a || b", STR("")));
    ck_assert(!tags_match("abc", STR("ab")));
}
END_TEST

START_TEST(test_message_properties_are_replaced_not_doubled)
{
    lmq_message *m = lmq_message_new("T", "x", 1);

    ck_assert_int_eq(lmq_message_set_tag(m, "a"), LMQ_OK);
    ck_assert_str_eq(lmq_message_tag(m), "a");
    ck_assert_int_eq(lmq_message_set_tag(m, "b"), LMQ_OK);
    ck_assert_str_eq(lmq_message_tag(m), "b");
    ck_assert_uint_eq(m->props_len, 7);
    ck_assert_int_eq(lmq_message_set_property(m, "k", "a\002b"), LMQ_INVALID);
    ck_assert_int_eq(lmq_message_set_property(m, "", "b"), LMQ_INVALID);
    lmq_message_free(m);
    ck_assert_ptr_null(lmq_message_new("", "x", 1));
    ck_assert_ptr_null(lmq_message_new("T", "x", (4u << 20) + 1));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wire");
    TCase *tc = tcase_create("wire");

    tcase_add_test(tc, test_unique_ids_differ_and_keep_their_head);
    tcase_add_test(tc, test_offset_ids);
    tcase_add_test(tc, test_properties);
    tcase_add_test(tc, test_send_request);
    tcase_add_test(tc, test_batch_elements);
    tcase_add_test(tc, test_stored_message);
    tcase_add_test(tc, test_every_cut_and_a_wrong_crc_are_refused);
    tcase_add_test(tc, test_compressed_bodies);
    tcase_add_test(tc, test_java_hash);
    tcase_add_test(tc, test_tags);
    tcase_add_test(tc, test_message_properties_are_replaced_not_doubled);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
