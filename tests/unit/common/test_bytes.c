/* test_bytes.c - numbers from text, bounded reading and writing. */
#include <check.h>

#include "common/bytes.h"

START_TEST(test_str_to_i64)
{
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"42", true, 42},
        {"-42", true, -42},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"--1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.5", false, 0},
        {"0x10", false, 0},
        {"1e3", false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t v = 77;
        ck_assert_msg(str_to_i64(str_of(cases[i].text), &v) == cases[i].good, "%s", cases[i].text);
        ck_assert_msg(v == (cases[i].good ? cases[i].value : 77), "%s", cases[i].text);
    }
    int64_t v = 77;
    ck_assert(!str_to_i64((struct str){NULL, 0}, &v));
    ck_assert_int_eq(v, 77);
}
END_TEST

START_TEST(test_i64_text)
{
    static const struct {
        int64_t value;
        const char *text;
    } cases[] = {{0, "0"},
                 {7, "7"},
                 {-10, "-10"},
                 {INT64_MAX, "9223372036854775807"},
                 {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[I64_TEXT_MAX];
        ck_assert(str_is((struct str){text, i64_text(cases[i].value, text)}, cases[i].text));
    }
}
END_TEST

START_TEST(test_str_helpers)
{
    char dst[5];
    ck_assert(str_copy(STR("four"), dst, sizeof(dst)));
    ck_assert_str_eq(dst, "four");
    ck_assert(!str_copy(STR("five5"), dst, sizeof(dst)));
    ck_assert_str_eq(dst, "");
    ck_assert(!str_copy(STR("a\0b"), dst, sizeof(dst)));
    ck_assert_str_eq(dst, "");
    ck_assert(str_copy((struct str){NULL, 0}, dst, sizeof(dst)));
    ck_assert(!str_copy(STR("x"), dst, 0));
    ck_assert(str_starts(STR("%RETRY%g"), "%RETRY%"));
    ck_assert(!str_starts(STR("%RET"), "%RETRY%"));
    ck_assert(str_starts((struct str){NULL, 0}, ""));
    ck_assert(str_eq((struct str){NULL, 0}, STR("")));
    ck_assert(!str_is(STR("ab"), "abc"));
}
END_TEST

START_TEST(test_reader_orders)
{
    const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct rd r = rd_of(data, 8);
    ck_assert_uint_eq(rd_be64(&r), 0x0102030405060708u);
    r = rd_of(data, 8);
    ck_assert_uint_eq(rd_le64(&r), 0x0807060504030201u);
    r = rd_of(data, 8);
    ck_assert_uint_eq(rd_u8(&r), 1);
    ck_assert_uint_eq(rd_be16(&r), 0x0203);
    ck_assert_uint_eq(rd_le16(&r), 0x0504);
    ck_assert_uint_eq(rd_left(&r), 3);
    ck_assert(!r.bad);
    r = rd_of(data, 8);
    ck_assert_uint_eq(rd_be32(&r), 0x01020304);
    ck_assert_uint_eq(rd_le32(&r), 0x08070605);
    ck_assert_uint_eq(rd_left(&r), 0);
    ck_assert(!r.bad);
}
END_TEST

START_TEST(test_reader_stays_bad)
{
    const uint8_t data[] = {1, 2, 3};
    struct rd r = rd_of(data, 3);
    ck_assert_uint_eq(rd_be32(&r), 0);
    ck_assert(r.bad);
    ck_assert_uint_eq(rd_u8(&r), 0);
    ck_assert_uint_eq(rd_left(&r), 0);
    ck_assert_ptr_null(rd_take(&r, 0));
    r = rd_of(data, 3);
    struct str s = rd_str(&r, SIZE_MAX);
    ck_assert_ptr_null(s.p);
    ck_assert_uint_eq(s.len, 0);
    ck_assert(r.bad);
    r = rd_of(data, 3);
    s = rd_str(&r, 3);
    ck_assert(s.p == (const char *)data && s.len == 3 && !r.bad);
}
END_TEST

START_TEST(test_writer_mirrors_reader)
{
    uint8_t data[64];
    struct wr w = wr_of(data, sizeof(data));
    wr_u8(&w, 0xAB);
    wr_be16(&w, 0x1234);
    wr_be32(&w, 0x12345678);
    wr_be64(&w, 0x123456789ABCDEF0);
    wr_le16(&w, 0x1234);
    wr_le32(&w, 0x12345678);
    wr_le64(&w, 0x123456789ABCDEF0);
    wr_bytes(&w, "tail", 4);
    ck_assert(!w.full);
    ck_assert_uint_eq(data[1], 0x12);
    ck_assert_uint_eq(data[15], 0x34);
    struct rd r = rd_of(data, (size_t)(w.p - data));
    ck_assert_uint_eq(rd_u8(&r), 0xAB);
    ck_assert_uint_eq(rd_be16(&r), 0x1234);
    ck_assert_uint_eq(rd_be32(&r), 0x12345678);
    ck_assert_uint_eq(rd_be64(&r), 0x123456789ABCDEF0);
    ck_assert_uint_eq(rd_le16(&r), 0x1234);
    ck_assert_uint_eq(rd_le32(&r), 0x12345678);
    ck_assert_uint_eq(rd_le64(&r), 0x123456789ABCDEF0);
    ck_assert(str_is(rd_str(&r, 4), "tail"));
    ck_assert(!r.bad && rd_left(&r) == 0);
}
END_TEST

START_TEST(test_writer_stays_full)
{
    uint8_t data[5] = {9, 9, 9, 9, 9};
    struct wr w = wr_of(data, 4);
    wr_be32(&w, 0);
    ck_assert(!w.full);
    wr_u8(&w, 1);
    ck_assert(w.full);
    w = wr_of(data, 4);
    wr_be64(&w, 0);
    wr_u8(&w, 1);
    ck_assert(w.full);
    ck_assert_uint_eq(data[0], 0);
    ck_assert_uint_eq(data[4], 9);
}
END_TEST

START_TEST(test_fixed_offset_access)
{
    uint8_t data[8];
    put_be32(data, 0x01020304);
    ck_assert_uint_eq(data[0], 1);
    ck_assert_uint_eq(get_be32(data), 0x01020304);
    put_be64(data, 0x0102030405060708);
    ck_assert_uint_eq(get_be64(data), 0x0102030405060708);
    put_le32(data, 0x01020304);
    ck_assert_uint_eq(data[0], 4);
    put_le64(data, 77);
    ck_assert_uint_eq(get_le64(data), 77);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bytes");
    TCase *tc = tcase_create("bytes");
    tcase_add_test(tc, test_str_to_i64);
    tcase_add_test(tc, test_i64_text);
    tcase_add_test(tc, test_str_helpers);
    tcase_add_test(tc, test_reader_orders);
    tcase_add_test(tc, test_reader_stays_bad);
    tcase_add_test(tc, test_writer_mirrors_reader);
    tcase_add_test(tc, test_writer_stays_full);
    tcase_add_test(tc, test_fixed_offset_access);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
