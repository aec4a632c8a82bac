/* test_progress.c - the window of pushes to one peer. */
#include "dledger/core/progress.h"
#include "tests/unit/dlcore/one.h"

static struct progress streaming(dl_index_t agreed)
{
    static struct progress p;
    progress_start(&p, agreed, 100);
    ck_assert(p.comparing && p.probe_due);
    progress_stream(&p, agreed, 100);
    progress_acked(&p, agreed, agreed, 100);
    return p;
}

START_TEST(nothing_is_sent_while_comparing)
{
    struct progress p;
    progress_start(&p, 10, 100);
    ck_assert_uint_eq(p.next, 11);
    ck_assert(!progress_has_room(&p, 100, 100));
    ck_assert_uint_eq(progress_inflight(&p), 0);
}
END_TEST

START_TEST(window_in_entries)
{
    struct progress p = streaming(10);
    ck_assert(progress_has_room(&p, 4, 1000));
    progress_sent(&p, 13, 1, 101);
    ck_assert(progress_has_room(&p, 4, 1000));
    progress_sent(&p, 14, 1, 101);
    ck_assert(!progress_has_room(&p, 4, 1000));
    progress_acked(&p, 11, 14, 102);
    ck_assert(progress_has_room(&p, 4, 1000));
    ck_assert_uint_eq(progress_inflight(&p), 3);
    progress_check(&p, 14);
}
END_TEST

START_TEST(window_in_bytes_may_overshoot_by_one_push)
{
    struct progress p = streaming(0);
    progress_sent(&p, 1, 999, 101);
    ck_assert(progress_has_room(&p, 100, 1000));
    progress_sent(&p, 2, 5000, 101);
    ck_assert(!progress_has_room(&p, 100, 1000));
    ck_assert_uint_eq(p.inflight_bytes, 5999);
    progress_acked(&p, 1, 1, 102);
    ck_assert_uint_eq(p.inflight_bytes, 5000);
    progress_acked(&p, 2, 2, 102);
    ck_assert_uint_eq(p.inflight_bytes, 0);
    ck_assert_uint_eq(p.count, 0);
}
END_TEST

START_TEST(number_of_pushes_is_bounded_and_the_ring_wraps)
{
    struct progress p = streaming(0);
    dl_index_t last = 0;
    for (int turn = 0; turn < 3; turn++) {
        while (progress_has_room(&p, UINT32_MAX, UINT32_MAX))
            progress_sent(&p, ++last, 10, 101);
        ck_assert_uint_eq(p.count, PROGRESS_PUSHES_MAX);
        progress_check(&p, last);
        progress_acked(&p, last - 100, last, 102);
        ck_assert_uint_eq(p.count, 100);
        ck_assert_uint_eq(p.inflight_bytes, 1000);
    }
}
END_TEST

START_TEST(a_match_never_falls)
{
    struct progress p = streaming(10);
    progress_sent(&p, 20, 1, 101);
    progress_acked(&p, 20, 20, 102);
    progress_acked(&p, 15, 15, 103);
    ck_assert_uint_eq(p.match, 20);
    ck_assert_uint_eq(p.seen, 20);
    ck_assert_uint_eq(p.moved_ms, 102);
    progress_compare(&p, 3, 20);
    ck_assert_uint_eq(p.next, 21);
    progress_check(&p, 20);
}
END_TEST

ONE_MAIN("progress", nothing_is_sent_while_comparing, window_in_entries,
         window_in_bytes_may_overshoot_by_one_push, number_of_pushes_is_bounded_and_the_ring_wraps,
         a_match_never_falls)
