/* test_trail.c - index to term, against a plain array. */
#include "dledger/core/trail.h"
#include "tests/unit/dlcore/one.h"

static struct trail make(dl_index_t begin, dl_term_t before, const struct dl_term_run *runs, uint32_t count,
                         dl_index_t end)
{
    struct trail t;
    struct dl_core_start start = {
        .begin_index = begin, .begin_prev_term = before, .end_index = end, .runs = runs, .run_count = count};
    ck_assert(trail_runs_valid(&start));
    trail_init(&t, &start);
    return t;
}

START_TEST(empty_log_has_no_terms)
{
    struct trail t = make(1, 0, NULL, 0, 0);
    ck_assert_uint_eq(trail_term(&t, 0), 0);
    ck_assert_uint_eq(trail_term(&t, 1), 0);
    ck_assert_uint_eq(trail_last_term(&t), 0);
    ck_assert_uint_eq(trail_agree(&t, 10, 10), 0);
    trail_release(&t);
}
END_TEST

START_TEST(terms_of_all_indexes)
{
    const struct dl_term_run runs[] = {{11, 2}, {14, 5}, {15, 6}};
    struct trail t = make(11, 1, runs, 3, 20);
    ck_assert_uint_eq(trail_term(&t, 9), 0);
    ck_assert_uint_eq(trail_term(&t, 10), 1);
    ck_assert_uint_eq(trail_term(&t, 11), 2);
    ck_assert_uint_eq(trail_term(&t, 13), 2);
    ck_assert_uint_eq(trail_term(&t, 14), 5);
    ck_assert_uint_eq(trail_term(&t, 15), 6);
    ck_assert_uint_eq(trail_term(&t, 20), 6);
    ck_assert_uint_eq(trail_term(&t, 21), 0);
    ck_assert_uint_eq(trail_term(&t, UINT64_MAX), 0);
    ck_assert_uint_eq(trail_last_term(&t), 6);
    trail_release(&t);
}
END_TEST

START_TEST(agree_jumps_over_newer_terms)
{
    const struct dl_term_run runs[] = {{11, 2}, {14, 5}, {15, 6}};
    struct trail t = make(11, 1, runs, 3, 20);
    ck_assert_uint_eq(trail_agree(&t, 18, 6), 18);
    ck_assert_uint_eq(trail_agree(&t, 18, 5), 14);
    ck_assert_uint_eq(trail_agree(&t, 18, 4), 13);
    ck_assert_uint_eq(trail_agree(&t, 12, 4), 12);
    ck_assert_uint_eq(trail_agree(&t, 99, 9), 20);
    ck_assert_uint_eq(trail_agree(&t, 18, 1), 10); /* nothing kept: the entry before */
    ck_assert_uint_eq(trail_agree(&t, 3, 9), 10);
    trail_release(&t);
}
END_TEST

START_TEST(trim_within_and_at_the_end_of_a_run)
{
    const struct dl_term_run runs[] = {{1, 2}, {4, 5}, {6, 6}};
    struct trail t = make(1, 0, runs, 3, 9);
    trail_trim(&t, 2);
    ck_assert_uint_eq(trail_term(&t, 1), 0);
    ck_assert_uint_eq(trail_term(&t, 2), 2);
    ck_assert_uint_eq(trail_term(&t, 3), 2);
    trail_trim(&t, 5);
    ck_assert_uint_eq(trail_term(&t, 5), 5);
    ck_assert_uint_eq(trail_term(&t, 6), 6);
    ck_assert_uint_eq(t.count, 1);
    trail_trim(&t, 9);
    ck_assert_uint_eq(trail_term(&t, 9), 6);
    ck_assert_uint_eq(trail_last_term(&t), 6);
    ck_assert_uint_eq(t.count, 0);
    trail_append(&t, 7, 2);
    ck_assert_uint_eq(t.last, 11);
    ck_assert_uint_eq(trail_term(&t, 10), 7);
    trail_release(&t);
}
END_TEST

START_TEST(bad_runs_are_refused)
{
    const struct dl_term_run falling[] = {{1, 2}, {3, 1}}, same[] = {{1, 2}, {1, 3}}, late[] = {{2, 1}};
    const struct dl_term_run beyond[] = {{1, 1}, {9, 2}}, zero[] = {{1, 0}};
    const struct {
        const struct dl_term_run *runs;
        uint32_t count;
    } bad[] = {{falling, 2}, {same, 2}, {late, 1}, {beyond, 2}, {zero, 1}, {NULL, 1}, {falling, 0}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct dl_core_start start = {
            .begin_index = 1, .end_index = 5, .runs = bad[i].runs, .run_count = bad[i].count};
        ck_assert_msg(!trail_runs_valid(&start), "%zu", i);
    }
}
END_TEST

/* A thousand random changes, each index looked up after each. */
START_TEST(behaves_like_an_array)
{
    static dl_term_t model[4096];
    struct trail t = make(1, 0, NULL, 0, 0);
    uint32_t random = 1;
    dl_term_t term = 1;
    for (int round = 0; round < 1000; round++) {
        random = random * 1664525u + 1013904223u;
        uint32_t dice = random >> 24;
        if (dice < 160 || t.last < t.begin) {
            uint64_t count = dice % 3 + 1;
            term += dice % 5 == 0;
            trail_reserve(&t, 1);
            trail_append(&t, term, count);
            for (uint64_t i = 0; i < count; i++)
                model[t.last - i] = term;
        } else if (dice < 240) {
            trail_truncate(&t, t.begin + (random >> 8) % (t.last - t.begin + 1));
            term += 1;
        } else {
            trail_trim(&t, t.begin + (random >> 8) % (t.last - t.begin + 1) / 4);
        }
        for (dl_index_t i = t.begin; i <= t.last; i++)
            ck_assert_uint_eq(trail_term(&t, i), model[i]);
        if (t.begin > 1)
            ck_assert_uint_eq(trail_term(&t, t.begin - 1), model[t.begin - 1]);
        ck_assert_uint_eq(trail_term(&t, t.last + 1), 0);
        ENSURE(t.last < 4000);
    }
    trail_release(&t);
}
END_TEST

ONE_MAIN("trail", empty_log_has_no_terms, terms_of_all_indexes, agree_jumps_over_newer_terms,
         trim_within_and_at_the_end_of_a_run, bad_runs_are_refused, behaves_like_an_array)
