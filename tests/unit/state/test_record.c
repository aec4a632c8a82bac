/*
 * test_record.c - keys and checksums of checkpoint records.
 */
#include "broker/state/record.h"
#include "tests/unit/state/fixture.h"

static struct str str_of_key(const struct key *k)
{
    return (struct str){(const char *)k->bytes, k->len};
}

static void check_text(struct key k, const char *text)
{
    char out[64];
    record_key_text(str_of_key(&k), out, sizeof out);
    ck_assert_str_eq(out, text);
}

START_TEST(keys_are_ordered_and_readable)
{
    struct key a = key_block(1, 65535, 9), b = key_block(1, 65535, 10), c = key_block(2, 0, 0);
    ck_assert_int_lt(memcmp(a.bytes, b.bytes, a.len), 0);
    ck_assert_int_lt(memcmp(b.bytes, c.bytes, b.len), 0);
    ck_assert_mem_eq(a.bytes, "b\x00\x00\x00\x01\xFF\xFF\x00\x00\x00\x09", 11);
    ck_assert_uint_eq(a.len, 11);
    check_text(a, "b/1/65535/9");
    check_text(key_queue(7, 3), "q/7/3");
    check_text(key_meta(), "m");
    check_text(key_named(RECORD_TOPIC, STR("orders")), "t/orders");
    check_text(key_of_group(RECORD_LOCK, 4, 5, STR("g\n")), "l/4/5/g\\x0a");
}
END_TEST

START_TEST(text_of_any_key_fits)
{
    char longest[RECORD_KEY_MAX], out[16];
    memset(longest, 0xFF, sizeof longest);
    const char tables[] = {'m', 't', 'g', 'q', 'b', 'o', 'l', 0, 'x'};
    for (size_t i = 0; i < sizeof tables; i++) {
        longest[0] = tables[i];
        for (size_t len = 0; len <= sizeof longest; len++) {
            record_key_text((struct str){longest, len}, out, sizeof out);
            ck_assert_uint_lt(strlen(out), sizeof out);
        }
    }
}
END_TEST

START_TEST(every_flipped_bit_is_noticed)
{
    uint8_t value[12 + RECORD_CRC_BYTES] = "some fields";
    struct str key = STR("key");
    put_le32(value + 12, record_crc(key.p, key.len, value, 12));
    struct str stored = {(const char *)value, sizeof value};
    struct rd r;
    ck_assert_int_eq(record_open(key, stored, &r), 0);
    ck_assert_uint_eq(rd_left(&r), 12);
    for (size_t bit = 0; bit < 8 * sizeof value; bit++) {
        value[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(record_open(key, stored, &r), ERR_DAMAGED);
        value[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_eq(record_open(STR("kez"), stored, &r), ERR_DAMAGED);
    for (size_t len = 0; len < sizeof value; len++)
        ck_assert_int_eq(record_open(key, (struct str){stored.p, len}, &r), ERR_DAMAGED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record");
    TCase *tc = tcase_create("record");
    tcase_add_test(tc, keys_are_ordered_and_readable);
    tcase_add_test(tc, text_of_any_key_fits);
    tcase_add_test(tc, every_flipped_bit_is_noticed);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
