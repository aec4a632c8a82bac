/* test_crc.c - known values, and hardware against table at every length and alignment that takes another
 * path. */
#include <check.h>
#include <string.h>
#include <zlib.h>

#include "common/crc.h"
#include "common/rng.h"

static uint8_t data[3 * 2048 * 3 + 64];

static void setup(void)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)rng_next(&rng);
}

/* Values of RFC 3720, B.4. */
START_TEST(test_known_values)
{
    uint8_t block[32];
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xE3069283);
    memset(block, 0, sizeof(block));
    ck_assert_uint_eq(crc32c(0, block, sizeof(block)), 0x8A9136AA);
    memset(block, 0xFF, sizeof(block));
    ck_assert_uint_eq(crc32c(0, block, sizeof(block)), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++)
        block[i] = i;
    ck_assert_uint_eq(crc32c(0, block, sizeof(block)), 0x46DD794E);
    ck_assert_uint_eq(crc32c_table(0, block, sizeof(block)), 0x46DD794E);
    ck_assert_uint_eq(crc32c(0, NULL, 0), 0);
    ck_assert_uint_eq(crc32c(0x1234, NULL, 0), 0x1234);
}
END_TEST

START_TEST(test_hardware_equals_table)
{
    for (size_t offset = 0; offset < 8; offset++) {
        for (size_t len = 0; len <= sizeof(data) - offset; len += len < 1600 ? 1 : 613)
            ck_assert_msg(crc32c(5, data + offset, len) == crc32c_table(5, data + offset, len), "%zu at %zu",
                          len, offset);
    }
}
END_TEST

START_TEST(test_may_be_continued)
{
    uint32_t whole = crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut < sizeof(data); cut += 101)
        ck_assert_uint_eq(crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut), whole);
}
END_TEST

START_TEST(test_crc32_equals_zlib)
{
    ck_assert_uint_eq(crc32_zlib("123456789", 9), 0xCBF43926);
    ck_assert_uint_eq(crc32_zlib(NULL, 0), 0);
    for (size_t len = 0; len < sizeof(data); len += 97)
        ck_assert_uint_eq(crc32_zlib(data, len), crc32(0, data, (uInt)len));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("crc");
    TCase *tc = tcase_create("crc");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, test_known_values);
    tcase_add_test(tc, test_hardware_equals_table);
    tcase_add_test(tc, test_may_be_continued);
    tcase_add_test(tc, test_crc32_equals_zlib);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
