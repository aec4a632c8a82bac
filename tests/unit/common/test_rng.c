/* test_rng.c - the published sequence, ranges, and that one seed gives one run. */
#include <check.h>

#include "common/rng.h"

/* First outputs of the authors' xoshiro256** for the state {1, 2, 3, 4}. */
START_TEST(test_published_sequence)
{
    struct rng r = {{1, 2, 3, 4}};
    const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(rng_next(&r), expected[i]);
}
END_TEST

/* First output of the authors' splitmix64 for seed 0. */
START_TEST(test_seeding)
{
    struct rng a, b, c;
    rng_seed(&a, 0);
    ck_assert_uint_eq(a.s[0], 0xE220A8397B1DCDAF);
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    rng_seed(&c, 8);
    int same = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t x = rng_next(&a);
        ck_assert_uint_eq(x, rng_next(&b));
        same += x == rng_next(&c);
    }
    ck_assert_int_eq(same, 0);
}
END_TEST

START_TEST(test_below_reaches_all_and_no_more)
{
    struct rng r;
    uint32_t hits[7] = {0};
    rng_seed(&r, 3);
    for (int i = 0; i < 7000; i++) {
        uint64_t x = rng_below(&r, 7);
        ck_assert_uint_lt(x, 7);
        hits[x]++;
    }
    for (int i = 0; i < 7; i++)
        ck_assert_msg(hits[i] > 800 && hits[i] < 1200, "%d: %u", i, hits[i]);
    ck_assert_uint_eq(rng_below(&r, 1), 0);
}
END_TEST

START_TEST(test_between_includes_both_ends)
{
    struct rng r;
    int lo = 0, hi = 0;
    rng_seed(&r, 4);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rng_between(&r, 10, 13);
        ck_assert(x >= 10 && x <= 13);
        lo += x == 10;
        hi += x == 13;
    }
    ck_assert(lo > 0 && hi > 0);
    ck_assert_uint_eq(rng_between(&r, 5, 5), 5);
    rng_between(&r, 0, UINT64_MAX);
}
END_TEST

START_TEST(test_chance)
{
    struct rng r;
    int hits = 0;
    rng_seed(&r, 5);
    for (int i = 0; i < 10000; i++) {
        ck_assert_int_eq(rng_chance(&r, 0), 0);
        ck_assert_int_eq(rng_chance(&r, 1), 1);
        hits += rng_chance(&r, 0.25);
    }
    ck_assert(hits > 2200 && hits < 2800);
}
END_TEST

START_TEST(test_entropy_differs)
{
    ck_assert_uint_ne(rng_entropy(), rng_entropy());
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rng");
    TCase *tc = tcase_create("rng");
    tcase_add_test(tc, test_published_sequence);
    tcase_add_test(tc, test_seeding);
    tcase_add_test(tc, test_below_reaches_all_and_no_more);
    tcase_add_test(tc, test_between_includes_both_ends);
    tcase_add_test(tc, test_chance);
    tcase_add_test(tc, test_entropy_differs);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
