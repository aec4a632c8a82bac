/* test_remoting.c - frames as clients send them, frames as we send them, and frames nobody should send. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/remoting.h"

static struct remoting_cmd cmd;
static struct err err;

/* A frame with `header` as it stands and `body`; lent until the next call. */
static struct str frame_of(int form, struct str header, struct str body)
{
    static struct buf *last;
    buf_unref(last);
    struct bld w = bld_of(REMOTING_FRAME_MAX_BYTES);
    uint8_t *head = bld_room(&w, 8);
    put_be32(head, (uint32_t)(4 + header.len + body.len));
    put_be32(head + 4, (uint32_t)form << 24 | (uint32_t)header.len);
    bld_str(&w, header);
    bld_str(&w, body);
    last = bld_take(&w);
    return (struct str){(const char *)last->data, last->len};
}

static int decode(struct str frame)
{
    /* A copy of exact size, so that a sanitizer sees every step beyond the end. */
    static uint8_t *exact;
    free(exact);
    exact = malloc(frame.len + (frame.len == 0));
    memcpy(exact, frame.p, frame.len);
    return remoting_decode(exact, frame.len, &cmd, &err);
}

static int decode_json(const char *header)
{
    return decode(frame_of(0, str_of(header), STR("")));
}

static void assert_field(const char *key, const char *value)
{
    struct str got = remoting_str(&cmd, key);
    ck_assert_msg(str_is(got, value), "%s is \"%.*s\"", key, (int)got.len, got.p);
}

/* Encode, check the announced lengths, return header text. */
static struct str encode(const struct remoting_out *out, const char *body)
{
    static struct buf *last;
    buf_unref(last);
    ck_assert_int_eq(remoting_encode(out, body, body != NULL ? strlen(body) : 0, &last), 0);
    ck_assert_uint_eq(get_be32(last->data) + 4, last->len);
    ck_assert_uint_eq(last->data[4], out->form);
    size_t header_len = get_be32(last->data + 4) & 0xFFFFFF;
    ck_assert_uint_eq(8 + header_len + (body != NULL ? strlen(body) : 0), last->len);
    ck_assert_int_eq(remoting_decode(last->data, last->len, &cmd, &err), 0);
    return (struct str){(const char *)last->data + 8, header_len};
}

START_TEST(test_java_send)
{
    struct str header = STR("{\"code\":310,\"extFields\":{\"a\":\"group\",\"e\":\"0\",\"i\":"
                            "\"KEYS\\u0001k\\u0002UNIQ_KEY\\u00017F\\u0002\",\"b\":\"T\"},"
                            "\"flag\":0,\"language\":\"JAVA\",\"opaque\":-5,\"serializeTypeCurrentRPC\":"
                            "\"JSON\",\"version\":409}");
    ck_assert_int_eq(decode(frame_of(0, header, STR("hello"))), 0);
    ck_assert_int_eq(cmd.form, REMOTING_JSON);
    ck_assert_int_eq(cmd.code, 310);
    ck_assert_int_eq(cmd.flag, 0);
    ck_assert_int_eq(cmd.opaque, -5);
    ck_assert_int_eq(cmd.version, 409);
    ck_assert_int_eq(cmd.language, LANG_JAVA);
    ck_assert_ptr_null(cmd.remark.p);
    ck_assert_uint_eq(cmd.field_count, 4);
    assert_field("a", "group");
    assert_field("i", "KEYS\x01k\x02UNIQ_KEY\x01"
                      "7F\x02");
    ck_assert(str_is(cmd.body, "hello"));
}
END_TEST

/* Raw numbers and booleans, a newline behind the text, no version, unknown members with anything inside. */
START_TEST(test_tolerated_forms)
{
    ck_assert_int_eq(
        decode_json(" {\"code\" : 11 ,\"x\":{\"y\":[1,{\"z\":\"}]\\\"\"}],\"w\":null},\"extFields\":{ "
                    "\"n\":12,\"neg\":-1.5e3,"
                    "\"t\":true,\"f\":false,\"gone\":null,\"o\":{\"k\":[1]}},\n\"language\":9,\"flag\":\"2\","
                    "\"opaque\":0} \r\n"),
        0);
    ck_assert_int_eq(cmd.code, 11);
    ck_assert_int_eq(cmd.version, 0);
    ck_assert_int_eq(cmd.flag, 2);
    ck_assert_int_eq(cmd.language, LANG_GO);
    assert_field("n", "12");
    assert_field("neg", "-1.5e3");
    assert_field("t", "true");
    assert_field("f", "false");
    assert_field("o", "{\"k\":[1]}");
    ck_assert(!remoting_has(&cmd, "gone"));
    ck_assert(remoting_bool_or(&cmd, "t", false));
    ck_assert(!remoting_bool_or(&cmd, "f", true));
    ck_assert_int_eq(decode_json("{}"), 0);
    ck_assert_int_eq(decode_json("{\"extFields\":null,\"remark\":null,\"language\":null,\"code\":null}"), 0);
    ck_assert_ptr_null(cmd.remark.p);
    ck_assert_int_eq(cmd.field_count, 0);
    ck_assert_int_eq(decode_json("{\"extFields\":{},\"remark\":\"\"}"), 0);
    ck_assert_ptr_nonnull(cmd.remark.p);
}
END_TEST

START_TEST(test_languages)
{
    static const struct {
        const char *text;
        int32_t language;
    } cases[] = {{"\"JAVA\"", 0}, {"\"CPP\"", 1}, {"\"GO\"", 9}, {"\"NODE_JS\"", 13}, {"\"COBOL\"", 7},
                 {"12", 12},      {"200", 7},     {"-1", 7},     {"\"java\"", 7}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "{\"language\":%s}", cases[i].text);
        ck_assert_int_eq(decode_json(text), 0);
        ck_assert_int_eq(cmd.language, cases[i].language);
    }
}
END_TEST

START_TEST(test_escapes)
{
    ck_assert_int_eq(
        decode_json(
            "{\"remark\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00\\ud83d!\\ude00\\u0000\","
            "\"extFields\":{\"\\u006bey\":\"plain\",\"k2\":\"\\u0032\"}}"),
        0);
    static const char expected[] =
        "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd!\xef\xbf\xbd\0";
    ck_assert_uint_eq(cmd.remark.len, sizeof(expected) - 1);
    ck_assert_mem_eq(cmd.remark.p, expected, sizeof(expected) - 1);
    assert_field("key", "plain");
    assert_field("k2", "2");
}
END_TEST

START_TEST(test_plain_headers_do_not_allocate)
{
    struct remoting_cmd fresh = {0};
    struct str frame = frame_of(0, STR("{\"code\":1,\"extFields\":{\"a\":\"b\"}}"), STR(""));
    ck_assert_int_eq(remoting_decode((const uint8_t *)frame.p, frame.len, &fresh, &err), 0);
    ck_assert_ptr_null(fresh.scratch);
    ck_assert(fresh.fields[0].value.p > frame.p && fresh.fields[0].value.p < frame.p + frame.len);
    remoting_release(&fresh);
}
END_TEST

START_TEST(test_malformed_json)
{
    static const char *const headers[] = {
        "",
        "   ",
        "[]",
        "null",
        "{",
        "{\"",
        "{\"code",
        "{\"code\"",
        "{\"code\":",
        "{\"code\":1",
        "{\"code\":1,",
        "{\"code\":1,}",
        "{\"code\" 1}",
        "{code:1}",
        "{\"code\":1}x",
        "{\"code\":1}{}",
        "{\"code\":1.5}",
        "{\"code\":\"x\"}",
        "{\"code\":2147483648}",
        "{\"code\":-2147483649}",
        "{\"code\":99999999999999999999}",
        "{\"code\":true}",
        "{\"code\":{}}",
        "{\"code\":01x}",
        "{\"code\":-}",
        "{\"code\":tru}",
        "{\"extFields\":[]}",
        "{\"extFields\":\"x\"}",
        "{\"extFields\":{\"a\":}}",
        "{\"extFields\":{\"a\":1",
        "{\"remark\":\"\\x\"}",
        "{\"remark\":\"\\u12g4\"}",
        "{\"remark\":\"\\u12\"}",
        "{\"remark\":\"\\",
        "{\"remark\":\"\\\"}",
        "{\"x\":[}]}",
        "{\"x\":[1}",
        "{\"x\":{\"y\":\"}",
        "{\"x\":[[[[",
        "{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        err.text[0] = 0;
        ck_assert_msg(decode_json(headers[i]) == ERR_MALFORMED, "%s", headers[i]);
        ck_assert_msg(err.code == ERR_MALFORMED && strstr(err.text, "byte") != NULL, "%s: %s", headers[i],
                      err.text);
    }
}
END_TEST

START_TEST(test_malformed_frames)
{
    static const struct {
        const char *bytes;
        size_t len;
    } frames[] = {
        {"", 0},
        {"\0\0\0\4", 4},
        {"\0\0\0\4\0\0\0", 7},
        {"\0\0\0\5\0\0\0\0", 8},         /* says one more than there is */
        {"\0\0\0\3\0\0\0\0", 8},         /* says one less */
        {"\xff\xff\xff\xff\0\0\0\0", 8}, /* negative */
        {"\0\0\0\4\0\0\0\1", 8},         /* header longer than the frame */
        {"\0\0\0\4\0\xff\xff\xff", 8},
        {"\0\0\0\6\2\0\0\2{}", 10}, /* unknown form */
        {"\0\0\0\6\1\0\0\2{}", 10}, /* binary, too short */
    };
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        ck_assert_msg(decode((struct str){frames[i].bytes, frames[i].len}) == ERR_MALFORMED, "%zu", i);
    ck_assert_int_eq(remoting_decode((const uint8_t *)"", REMOTING_FRAME_MAX_BYTES + 1, &cmd, &err),
                     ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_field_limit)
{
    for (int count = REMOTING_FIELDS_MAX; count <= REMOTING_FIELDS_MAX + 1; count++) {
        char text[4096];
        size_t used = (size_t)sprintf(text, "{\"extFields\":{");
        for (int i = 0; i < count; i++)
            used += (size_t)sprintf(text + used, "%s\"k%d\":\"\"", i > 0 ? "," : "", i);
        strcpy(text + used, "}}");
        ck_assert_int_eq(decode_json(text), count == REMOTING_FIELDS_MAX ? ERR_OK : ERR_TOO_LARGE);
    }
    struct bld w = bld_of(4096);
    struct wr head = wr_of(bld_room(&w, 21), 21);
    wr_bytes(&head, "\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17);
    wr_be32(&head, 65 * 8);
    for (int i = 0; i < 65; i++)
        bld_bytes(&w, "\0\1k\0\0\0\1v", 8);
    struct buf *b = bld_take(&w);
    ck_assert_int_eq(decode(frame_of(1, (struct str){(char *)b->data, b->len}, STR(""))), ERR_TOO_LARGE);
    buf_unref(b);
}
END_TEST

START_TEST(test_huge_header_is_refused)
{
    size_t len = 2u * 1024 * 1024;
    char *blanks = malloc(len);
    memset(blanks, ' ', len);
    ck_assert_int_eq(decode(frame_of(0, (struct str){blanks, len}, STR(""))), ERR_TOO_LARGE);
    free(blanks);
}
END_TEST

/* code 10, CPP, version 413, opaque 7, flag 2, remark "no", {a:"b", e:""} */
#define BINARY_SAMPLE "\0\12\1\1\x9d\0\0\0\7\0\0\0\2\0\0\0\2no\0\0\0\17\0\1a\0\0\0\1b\0\1e\0\0\0\0"

START_TEST(test_binary_header)
{
    ck_assert_int_eq(decode(frame_of(1, STR(BINARY_SAMPLE), STR("body"))), 0);
    ck_assert_int_eq(cmd.form, REMOTING_BINARY);
    ck_assert_int_eq(cmd.code, 10);
    ck_assert_int_eq(cmd.language, LANG_CPP);
    ck_assert_int_eq(cmd.version, 413);
    ck_assert_int_eq(cmd.opaque, 7);
    ck_assert_int_eq(cmd.flag, 2);
    ck_assert(str_is(cmd.remark, "no"));
    ck_assert(str_is(cmd.body, "body"));
    ck_assert_uint_eq(cmd.field_count, 2);
    assert_field("a", "b");
    assert_field("e", "");
}
END_TEST

START_TEST(test_binary_cut_anywhere)
{
    struct str whole = STR(BINARY_SAMPLE);
    for (size_t len = 0; len < whole.len; len++)
        ck_assert_msg(decode(frame_of(1, (struct str){whole.p, len}, STR(""))) == ERR_MALFORMED, "%zu", len);
}
END_TEST

START_TEST(test_binary_wrong_lengths)
{
    /* Offsets of the high bytes of: remark length, map length, first key length, first value length. */
    static const size_t offsets[] = {13, 19, 23, 26};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        char bytes[] = BINARY_SAMPLE;
        bytes[offsets[i]] = '\xff';
        ck_assert_msg(decode(frame_of(1, (struct str){bytes, sizeof(bytes) - 1}, STR(""))) == ERR_MALFORMED,
                      "%zu", i);
    }
}
END_TEST

START_TEST(test_field_access)
{
    ck_assert_int_eq(decode_json("{\"extFields\":{\"n\":\"42\",\"big\":\"4294967296\",\"bad\":\"4x\","
                                 "\"empty\":\"\",\"yes\":\"TRUE\",\"no\":\"yes\",\"d\":\"1\",\"d\":\"2\"}}"),
                     0);
    int64_t v64 = -1;
    int32_t v32 = -1;
    ck_assert_int_eq(remoting_i64(&cmd, "n", &v64), 0);
    ck_assert_int_eq(v64, 42);
    ck_assert_int_eq(remoting_i32(&cmd, "n", &v32), 0);
    ck_assert_int_eq(v32, 42);
    ck_assert_int_eq(remoting_i64(&cmd, "big", &v64), 0);
    ck_assert_int_eq(remoting_i32(&cmd, "big", &v32), ERR_INVALID);
    ck_assert_int_eq(remoting_i64(&cmd, "bad", &v64), ERR_INVALID);
    ck_assert_int_eq(remoting_i64(&cmd, "empty", &v64), ERR_NOT_FOUND);
    ck_assert_int_eq(remoting_i64(&cmd, "absent", &v64), ERR_NOT_FOUND);
    ck_assert_int_eq(remoting_i64_or(&cmd, "n", 1), 42);
    ck_assert_int_eq(remoting_i64_or(&cmd, "bad", 1), 1);
    ck_assert(remoting_bool_or(&cmd, "yes", false));
    ck_assert(!remoting_bool_or(&cmd, "no", true));
    ck_assert(remoting_bool_or(&cmd, "absent", true));
    ck_assert(remoting_has(&cmd, "empty"));
    ck_assert(!remoting_has(&cmd, "nope"));
    ck_assert_ptr_null(remoting_str(&cmd, "absent").p);
    assert_field("d", "2");
}
END_TEST

START_TEST(test_response_text)
{
    struct remoting_out out;
    ck_assert_int_eq(
        decode_json("{\"code\":10,\"opaque\":77,\"flag\":0,\"language\":\"GO\",\"version\":317}"), 0);
    remoting_response(&out, &cmd, 14, STR("not the \"leader\"\n"));
    remoting_put_str(&out, "msgId", STR("a\x01z\x02"));
    remoting_put_i64(&out, "queueOffset", INT64_MIN);
    remoting_put_i64(&out, "zero", 0);
    remoting_put_bool(&out, "ok", true);
    struct str header = encode(&out, "B");
    ck_assert(str_is(header, "{\"code\":14,\"extFields\":{\"msgId\":\"a\\u0001z\\u0002\",\"queueOffset\":\"-"
                             "9223372036854775808\",\"zero\":\"0\",\"ok\":\"true\"},"
                             "\"flag\":1,\"language\":\"JAVA\",\"opaque\":77,\"remark\":\"not the "
                             "\\\"leader\\\"\\n\",\"version\":479}"));
    ck_assert(str_is(cmd.body, "B"));
    ck_assert(str_is(cmd.remark, "not the \"leader\"\n"));
    assert_field("msgId", "a\x01z\x02");
}
END_TEST

START_TEST(test_absent_and_empty_fields)
{
    struct remoting_out out;
    remoting_request(&out, REMOTING_JSON, 105, 3, true);
    out.language = LANG_CPP;
    ck_assert(str_is(encode(&out, NULL),
                     "{\"code\":105,\"flag\":2,\"language\":\"CPP\",\"opaque\":3,\"version\":479}"));
    out.with_fields = true;
    ck_assert(str_is(
        encode(&out, NULL),
        "{\"code\":105,\"extFields\":{},\"flag\":2,\"language\":\"CPP\",\"opaque\":3,\"version\":479}"));
}
END_TEST

START_TEST(test_output_is_valid_utf8)
{
    struct remoting_out out;
    remoting_request(&out, REMOTING_JSON, 1, 0, false);
    remoting_put_str(&out, "v",
                     STR("ok \xe2\x82\xac \xf0\x9f\x98\x80 bad \xff \xc0\x80 \xed\xa0\x80 cut \xe2\x82"));
    encode(&out, NULL);
    static const char r[] = "\xef\xbf\xbd";
    char expected[256];
    snprintf(expected, sizeof(expected), "ok \xe2\x82\xac \xf0\x9f\x98\x80 bad %s %s%s %s%s%s cut %s%s", r, r,
             r, r, r, r, r, r);
    assert_field("v", expected);
}
END_TEST

START_TEST(test_binary_answers_binary)
{
    struct remoting_out out;
    ck_assert_int_eq(decode(frame_of(1, STR(BINARY_SAMPLE), STR(""))), 0);
    remoting_response(&out, &cmd, 1, STR("why"));
    remoting_put_str(&out, "k", STR("\x01\xff"));
    remoting_put_i64(&out, "n", -3);
    encode(&out, "xyz");
    ck_assert_int_eq(cmd.form, REMOTING_BINARY);
    ck_assert_int_eq(cmd.code, 1);
    ck_assert_int_eq(cmd.opaque, 7);
    ck_assert_int_eq(cmd.flag, REMOTING_FLAG_RESPONSE);
    ck_assert_int_eq(cmd.version, REMOTING_VERSION);
    ck_assert_int_eq(cmd.language, LANG_JAVA);
    ck_assert(str_is(cmd.remark, "why"));
    assert_field("k", "\x01\xff");
    assert_field("n", "-3");
    ck_assert(str_is(cmd.body, "xyz"));
}
END_TEST

START_TEST(test_encode_limits)
{
    struct remoting_out out;
    struct buf *frame = (struct buf *)&out;
    remoting_request(&out, REMOTING_BINARY, 200050, 0, false);
    ck_assert_int_eq(remoting_encode(&out, NULL, 0, &frame), ERR_INVALID);
    ck_assert_ptr_null(frame);
    out.form = REMOTING_JSON;
    ck_assert_int_eq(remoting_encode(&out, NULL, 0, &frame), ERR_OK);
    size_t head_len = frame->len;
    buf_unref(frame);
    ck_assert_int_eq(remoting_encode(&out, NULL, REMOTING_FRAME_MAX_BYTES - head_len + 1, &frame),
                     ERR_TOO_LARGE);
    ck_assert_int_eq(remoting_encode(&out, NULL, SIZE_MAX, &frame), ERR_TOO_LARGE);
    /* Announced, to be written by the caller. */
    ck_assert_int_eq(remoting_encode(&out, NULL, REMOTING_FRAME_MAX_BYTES - head_len, &frame), ERR_OK);
    ck_assert_uint_eq(frame->len, head_len);
    ck_assert_uint_eq(get_be32(frame->data), REMOTING_FRAME_MAX_BYTES - 4);
    buf_unref(frame);
}
END_TEST

static void release(void)
{
    remoting_release(&cmd);
}

int main(void)
{
    Suite *s = suite_create("remoting");
    TCase *tc = tcase_create("remoting");
    tcase_add_checked_fixture(tc, NULL, release);
    tcase_add_test(tc, test_java_send);
    tcase_add_test(tc, test_tolerated_forms);
    tcase_add_test(tc, test_languages);
    tcase_add_test(tc, test_escapes);
    tcase_add_test(tc, test_plain_headers_do_not_allocate);
    tcase_add_test(tc, test_malformed_json);
    tcase_add_test(tc, test_malformed_frames);
    tcase_add_test(tc, test_field_limit);
    tcase_add_test(tc, test_huge_header_is_refused);
    tcase_add_test(tc, test_binary_header);
    tcase_add_test(tc, test_binary_cut_anywhere);
    tcase_add_test(tc, test_binary_wrong_lengths);
    tcase_add_test(tc, test_field_access);
    tcase_add_test(tc, test_response_text);
    tcase_add_test(tc, test_absent_and_empty_fields);
    tcase_add_test(tc, test_output_is_valid_utf8);
    tcase_add_test(tc, test_binary_answers_binary);
    tcase_add_test(tc, test_encode_limits);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
