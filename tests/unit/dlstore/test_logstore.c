/* test_logstore.c - append, look up, truncate, trim, reopen, on a disk that behaves. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/storekit.h"

static struct storekit k;

static void setup(void)
{
    storekit_init(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
}

static void teardown(void)
{
    storekit_release(&k);
}

static void reopen(void)
{
    storekit_run(&k);
    storekit_close(&k);
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
}

START_TEST(empty_directory_starts_at_one)
{
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert_uint_eq(start.begin_index, 1);
    ck_assert_uint_eq(start.end_index, 0);
    ck_assert_uint_eq(start.run_count, 0);
    ck_assert_uint_eq(start.hard.term, 0);
}
END_TEST

START_TEST(appended_entries_are_reported_and_found_after_reopening)
{
    storekit_append_range(&k, 1, 10, 1, 100);
    ck_assert_uint_eq(k.persisted, 0);
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 10);
    ck_assert_uint_eq(k.persisted_term, 1);
    storekit_append_range(&k, 11, 20, 3, 100);
    reopen();
    for (dl_index_t i = 1; i <= 20; i++)
        ck_assert(storekit_has(&k, i, i <= 10 ? 1 : 3, 100));
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert_uint_eq(start.end_index, 20);
    ck_assert_uint_eq(start.run_count, 2);
    ck_assert_uint_eq(start.runs[1].first, 11);
    ck_assert_uint_eq(start.runs[1].term, 3);
    ck_assert_uint_eq(start.hard.term, 3); /* entries of a term tell of the term */
}
END_TEST

START_TEST(log_runs_through_many_segments)
{
    struct dl_store_view view;
    for (dl_index_t i = 1; i <= 2000; i++) {
        storekit_append(&k, i, 1 + i / 700, 400);
        if (i % 50 == 0)
            storekit_run(&k);
    }
    storekit_run(&k);
    dl_store_view(k.s, &view);
    ck_assert_uint_gt(view.segments, 10);
    for (int round = 0; round < 2; round++) {
        for (dl_index_t i = 1; i <= 2000; i++)
            ck_assert_msg(storekit_has(&k, i, 1 + i / 700, 400), "entry %d", (int)i);
        if (round == 0) {
            dl_store_note(k.s, 1900, 1900); /* segments before are known by their index files */
            dl_store_save_hard(k.s, (struct dl_hard){9, 1, true});
        }
        reopen();
    }
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert_uint_eq(start.run_count, 3);
    ck_assert_uint_eq(start.runs[1].first, 700);
    ck_assert_uint_eq(start.end_index, 2000);
}
END_TEST

START_TEST(start_does_without_index_files)
{
    for (dl_index_t i = 1; i <= 600; i++) {
        storekit_append(&k, i, 1 + i / 100, 400);
        storekit_run(&k);
    }
    dl_store_note(k.s, 600, 600);
    dl_store_save_hard(k.s, (struct dl_hard){7, 1, true});
    storekit_run(&k);
    storekit_close(&k);
    fakedisk_flip(k.fake, "log/00000000000000000000.idx", 20, 1);
    ck_assert_int_eq(storekit_open(&k), 0);
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert_uint_eq(start.run_count, 7);
    ck_assert_uint_eq(start.end_index, 600);
    for (dl_index_t i = 1; i <= 600; i++)
        ck_assert(storekit_has(&k, i, 1 + i / 100, 400));
}
END_TEST

START_TEST(record_larger_than_a_segment_has_its_own)
{
    storekit_append(&k, 1, 1, 100);
    storekit_append(&k, 2, 1, 300000);
    storekit_append(&k, 3, 1, 100);
    reopen();
    ck_assert(storekit_has(&k, 1, 1, 100));
    ck_assert(storekit_has(&k, 2, 1, 300000));
    ck_assert(storekit_has(&k, 3, 1, 100));
    storekit_append(&k, 4, 1, 100);
    reopen();
    ck_assert(storekit_has(&k, 4, 1, 100));
}
END_TEST

START_TEST(recent_entries_stay_in_memory_until_applied)
{
    struct dl_entry e;
    storekit_append_range(&k, 1, 500, 1, 400);
    dl_store_note(k.s, 200, 200); /* committed by others and applied here, but not yet on this disk */
    ck_assert_int_eq(dl_store_entry(k.s, 1, &e), 0);
    buf_unref(e.buf);
    storekit_run(&k);
    ck_assert_int_eq(dl_store_entry(k.s, 200, &e), ERR_AGAIN);
    ck_assert_int_eq(dl_store_entry(k.s, 201, &e), 0);
    buf_unref(e.buf);
    ck_assert_int_eq(dl_store_entry(k.s, 501, &e), ERR_NOT_FOUND);
    ck_assert_int_eq(dl_store_entry(k.s, 0, &e), ERR_NOT_FOUND);
    dl_store_note(k.s, 400, 300);
    ck_assert_int_eq(dl_store_entry(k.s, 300, &e), ERR_AGAIN);
    ck_assert_int_eq(dl_store_entry(k.s, 301, &e), 0);
    buf_unref(e.buf);
    struct dl_store_view view;
    dl_store_note(k.s, 500, 500);
    dl_store_view(k.s, &view);
    ck_assert_uint_le(view.cache_bytes, k.cache_bytes);
}
END_TEST

START_TEST(applied_entries_stay_in_memory_until_they_are_on_this_disk)
{
    struct dl_entry e;
    storekit_append_range(&k, 1, 9, 1, 900000); /* several batches */
    dl_store_note(k.s, 9, 9);
    ck_assert(worker_run_one(k.flush));
    ck_assert_uint_ge(k.persisted, 1);
    ck_assert_uint_lt(k.persisted, 9);
    ck_assert_int_eq(dl_store_entry(k.s, k.persisted, &e), ERR_AGAIN);
    ck_assert_int_eq(dl_store_entry(k.s, k.persisted + 1, &e), 0);
    buf_unref(e.buf);
}
END_TEST

START_TEST(truncated_entries_are_replaced_for_good)
{
    storekit_append_range(&k, 1, 400, 1, 400);
    storekit_run(&k);
    dl_store_truncate(k.s, 50); /* several segments back */
    ck_assert_uint_eq(storekit_last(&k), 49);
    storekit_append_range(&k, 50, 60, 2, 300);
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 60);
    ck_assert_uint_eq(k.persisted_term, 2);
    for (int round = 0; round < 2; round++) {
        for (dl_index_t i = 1; i < 50; i++)
            ck_assert(storekit_has(&k, i, 1, 400));
        for (dl_index_t i = 50; i <= 60; i++)
            ck_assert(storekit_has(&k, i, 2, 300));
        ck_assert_uint_eq(storekit_last(&k), 60);
        reopen();
    }
}
END_TEST

START_TEST(truncation_after_a_start_reads_nothing)
{
    dl_index_t committed = _i == 0 ? 0 : 3000; /* the rest is more than a start keeps in memory otherwise */
    storekit_append_range(&k, 1, 6000, 1, 1000);
    storekit_run(&k);
    dl_store_note(k.s, committed, committed);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    reopen();
    fakedisk_fail(k.fake, FAKEDISK_READ, 1, EIO, true);
    dl_store_truncate(k.s, committed + 20);
    storekit_append_range(&k, committed + 20, committed + 30, 2, 100);
    fakedisk_fail(k.fake, FAKEDISK_READ, 0, 0, false);
    reopen();
    ck_assert_uint_eq(storekit_last(&k), committed + 30);
    ck_assert(storekit_has(&k, committed + 19, 1, 1000));
    ck_assert(storekit_has(&k, committed + 20, 2, 100));
}
END_TEST

START_TEST(truncate_before_anything_is_written)
{
    storekit_append_range(&k, 1, 300, 1, 400);
    dl_store_truncate(k.s, 1);
    storekit_append_range(&k, 1, 3, 2, 400);
    dl_store_truncate(k.s, 3);
    reopen();
    ck_assert_uint_eq(storekit_last(&k), 2);
    ck_assert(storekit_has(&k, 2, 2, 400));
    dl_store_truncate(k.s, 1);
    reopen();
    ck_assert_uint_eq(storekit_last(&k), 0);
}
END_TEST

START_TEST(a_late_report_does_not_speak_for_replaced_entries)
{
    storekit_append_range(&k, 1, 5, 1, 100);
    storekit_run(&k);
    storekit_append_range(&k, 6, 9, 1, 100);
    dl_store_truncate(k.s, 4);
    ck_assert(worker_run_one(k.flush));
    ck_assert_uint_eq(k.persisted, 5); /* the report of 3 is no news */
    struct dl_store_view view;
    dl_store_view(k.s, &view);
    ck_assert_uint_eq(view.persisted, 3);
    storekit_append(&k, 4, 2, 100);
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 4);
    ck_assert_uint_eq(k.persisted_term, 2);
}
END_TEST

START_TEST(a_report_of_replaced_entries_is_not_taken_for_the_new_ones)
{
    storekit_append_range(&k, 1, 5, 1, 100);
    storekit_run(&k);
    storekit_append_range(&k, 6, 9, 1, 900000); /* more than one batch */
    dl_store_truncate(k.s, 4);
    storekit_append_range(&k, 4, 9, 2, 100);
    ck_assert(worker_run_one(k.flush));
    struct dl_store_view view;
    dl_store_view(k.s, &view);
    ck_assert_uint_eq(view.persisted, 3);
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 9);
    ck_assert_uint_eq(k.persisted_term, 2);
}
END_TEST

START_TEST(trimmed_segments_are_gone_and_their_files_used_again)
{
    struct dl_store_view view;
    struct dl_entry e;
    storekit_append_range(&k, 1, 1000, 1, 400);
    storekit_run(&k);
    storekit_append_range(&k, 1001, 1010, 2, 400);
    storekit_run(&k);
    dl_store_note(k.s, 1005, 1005);
    dl_store_trim(k.s, 900);
    storekit_run(&k);
    dl_store_view(k.s, &view);
    ck_assert_uint_gt(view.begin, 700);
    ck_assert_uint_le(view.begin, 900);
    dl_index_t begin = view.begin;
    ck_assert_int_eq(dl_store_entry(k.s, begin - 1, &e), ERR_NOT_FOUND);
    ck_assert_int_eq(fakedisk_file_size(k.fake, "log/00000000000000000000.seg"), -2);
    for (dl_index_t i = 1011; i <= 1400; i++) {
        storekit_append(&k, i, 2, 400);
        storekit_run(&k);
    }
    reopen();
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert_uint_eq(start.begin_index, begin);
    ck_assert_uint_eq(start.begin_prev_term, 1);
    ck_assert_uint_eq(start.end_index, 1400);
    ck_assert_uint_eq(start.runs[0].first, begin);
    for (dl_index_t i = begin; i <= 1400; i++)
        ck_assert(storekit_has(&k, i, i <= 1000 ? 1 : 2, 400));
}
END_TEST

/* ---- reading ---- */

static struct buf *loaded;
static dl_index_t loaded_last;
static int loaded_err, range_err;
static unsigned callbacks;

static void on_loaded(void *arg, int err, struct buf *records, dl_index_t first, dl_index_t last)
{
    (void)arg;
    (void)first;
    loaded_err = err;
    loaded = records;
    loaded_last = last;
    callbacks++;
}

static void on_range(void *arg, int err)
{
    (void)arg;
    range_err = err;
    callbacks++;
}

START_TEST(loads_give_checked_records_from_any_place)
{
    storekit_append_range(&k, 1, 1000, 1, 400);
    storekit_run(&k);
    dl_store_note(k.s, 1000, 1000);
    dl_index_t next = 1;
    static dl_term_t terms[4096];
    while (next <= 1000) {
        ck_assert_int_eq(dl_store_load(k.s, next, 10000, on_loaded, NULL), 0);
        storekit_run(&k);
        ck_assert_int_eq(loaded_err, 0);
        ck_assert_uint_ge(loaded_last, next);
        ck_assert_int_eq(
            dl_records_check(k.group, loaded->data, loaded->len, next, loaded_last, terms, 4096, &k.err), 0);
        buf_unref(loaded);
        next = loaded_last + 1;
    }
    ck_assert_int_eq(dl_store_load(k.s, 777, 1, on_loaded, NULL),
                     0); /* without the help of the load before */
    storekit_run(&k);
    ck_assert_int_eq(loaded_err, 0);
    ck_assert_uint_eq(loaded_last, 777);
    buf_unref(loaded);
    ck_assert_int_eq(dl_store_load(k.s, 1001, 1, on_loaded, NULL), ERR_NOT_FOUND);
}
END_TEST

START_TEST(a_damaged_record_is_not_handed_out)
{
    storekit_append_range(&k, 1, 1000, 1, 400);
    storekit_run(&k);
    dl_store_note(k.s, 1000, 1000);
    fakedisk_flip(k.fake, "log/00000000000000000000.seg", 20000, 1);
    ck_assert_int_eq(dl_store_load(k.s, 1, 60000, on_loaded, NULL), 0);
    storekit_run(&k);
    ck_assert_int_eq(loaded_err, 0); /* what is good before it is */
    dl_index_t bad = loaded_last + 1;
    buf_unref(loaded);
    ck_assert_int_eq(dl_store_load(k.s, bad, 60000, on_loaded, NULL), 0);
    storekit_run(&k);
    ck_assert_int_eq(loaded_err, ERR_DAMAGED);
    ck_assert_ptr_null(loaded);
    ck_assert(storekit_has(&k, bad - 1, 1, 400));
    ck_assert(!storekit_has(&k, bad, 1, 400));
    ck_assert_int_eq(k.err.code, ERR_DAMAGED);
    ck_assert(storekit_has(&k, bad + 1, 1, 400));
}
END_TEST

START_TEST(a_load_that_met_a_truncation_says_again)
{
    storekit_append_range(&k, 1, 1000, 1, 400);
    storekit_run(&k);
    dl_store_note(k.s, 500, 500);
    ck_assert_int_eq(dl_store_load(k.s, 1, 1000, on_loaded, NULL), 0);
    dl_store_truncate(k.s, 700);
    storekit_run(&k);
    ck_assert_int_eq(loaded_err, ERR_AGAIN);
}
END_TEST

START_TEST(loads_under_way_are_answered_at_close_and_limited)
{
    storekit_append_range(&k, 1, 10, 1, 400);
    storekit_run(&k);
    for (int i = 0; i < DL_STORE_LOADS_MAX; i++)
        ck_assert_int_eq(dl_store_load(k.s, 1, 1000, on_loaded, NULL), 0);
    ck_assert_int_eq(dl_store_load(k.s, 1, 1000, on_loaded, NULL), ERR_BUSY);
    uint8_t byte;
    struct dl_range range = {0, 1, &byte};
    ck_assert_int_eq(dl_store_read_async(k.s, &range, 1, on_range, NULL), 0);
    callbacks = 0;
    storekit_close(&k);
    ck_assert_uint_eq(callbacks, DL_STORE_LOADS_MAX + 1);
    ck_assert_int_eq(loaded_err, ERR_CLOSED);
    ck_assert_int_eq(range_err, ERR_CLOSED);
    storekit_run(&k);
    ck_assert_uint_eq(callbacks, DL_STORE_LOADS_MAX + 1);
}
END_TEST

START_TEST(ranges_cross_segments_and_the_border_of_memory)
{
    struct dl_store_view view;
    storekit_append_range(&k, 1, 1000, 1, 400);
    storekit_run(&k);
    dl_store_view(k.s, &view);
    size_t len = view.end_pos;
    uint8_t *all = malloc(len), *again = malloc(len);
    ck_assert_int_eq(dl_store_read(k.s, 0, (uint32_t)len, all), 0); /* nothing applied: all from memory */
    dl_store_note(k.s, 1000, 1000);
    memset(again, 0, len);
    struct dl_range ranges[] = {
        {0, 100000, again}, {100000, 1, again + 100000}, {100001, (uint32_t)len - 100001, again + 100001}};
    ck_assert_int_eq(dl_store_read_async(k.s, ranges, 3, on_range, NULL), 0);
    range_err = 1;
    storekit_run(&k);
    ck_assert_int_eq(range_err, 0);
    ck_assert_int_eq(memcmp(all, again, len), 0);
    memset(again, 0, len);
    ck_assert_int_eq(dl_store_read(k.s, 0, (uint32_t)len, again), 0); /* files are open now */
    ck_assert_int_eq(memcmp(all, again, len), 0);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true}); /* what is known committed need not be in memory */
    reopen();
    ck_assert_int_eq(dl_store_read(k.s, len, 1, again), ERR_NOT_FOUND);
    ck_assert_int_eq(dl_store_read(k.s, UINT64_MAX - 1, 10, again), ERR_NOT_FOUND);
    fakedisk_fail(k.fake, FAKEDISK_READ, 1, 5, true);
    ck_assert_int_eq(dl_store_read(k.s, 0, 100, again), ERR_AGAIN);
    ck_assert_int_eq(dl_store_read_async(k.s, ranges, 1, on_range, NULL), 0);
    storekit_run(&k);
    ck_assert_int_eq(range_err, ERR_IO);
    free(all);
    free(again);
}
END_TEST

/* ---- the follower's way ---- */

START_TEST(pushed_records_give_the_same_log)
{
    struct storekit leader;
    struct dl_store_view a, b;
    storekit_init(&leader);
    ck_assert_int_eq(storekit_open(&leader), 0);
    storekit_append_range(&leader, 1, 500, 1, 400);
    dl_term_t terms[500];
    for (dl_index_t next = 1; next <= 500; next = loaded_last + 1) {
        ck_assert_int_eq(dl_store_load(leader.s, next, 30000, on_loaded, NULL), 0);
        storekit_run(&leader);
        ck_assert_int_eq(
            dl_records_check(k.group, loaded->data, loaded->len, next, loaded_last, terms, 500, &k.err), 0);
        ck_assert_int_eq(dl_store_append_records(k.s, loaded, 0, loaded->len, next, &k.err), 0);
        storekit_run(&k);
        ck_assert_uint_eq(k.persisted, loaded_last);
        buf_unref(loaded);
    }
    dl_store_view(leader.s, &a);
    dl_store_view(k.s, &b);
    ck_assert_uint_eq(a.end_pos, b.end_pos);
    reopen();
    for (dl_index_t i = 1; i <= 500; i++)
        ck_assert(storekit_has(&k, i, 1, 400));
    storekit_release(&leader);
}
END_TEST

START_TEST(records_that_do_not_chain_are_refused_whole)
{
    struct storekit other;
    storekit_init(&other);
    ck_assert_int_eq(storekit_open(&other), 0);
    storekit_append_range(&other, 1, 1, 2, 400); /* another first entry */
    storekit_append_range(&other, 2, 5, 3, 400);
    storekit_append_range(&k, 1, 1, 1, 400);
    ck_assert_int_eq(dl_store_load(other.s, 1, 30000, on_loaded, NULL), 0);
    storekit_run(&other);
    ck_assert_int_eq(dl_store_append_records(k.s, loaded, 0, loaded->len, 2, &k.err), ERR_DAMAGED);
    ck_assert_uint_eq(storekit_last(&k), 1);
    buf_unref(loaded);
    storekit_release(&other);
}
END_TEST

START_TEST(corked_appends_are_one_batch)
{
    struct dl_store_view view;
    dl_store_cork(k.s, true);
    storekit_append_range(&k, 1, 20, 1, 100);
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 0);
    dl_store_cork(k.s, false);
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 20);
    dl_store_view(k.s, &view);
    ck_assert_uint_eq(view.fsyncs, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logstore");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, empty_directory_starts_at_one);
    tcase_add_test(tc, appended_entries_are_reported_and_found_after_reopening);
    tcase_add_test(tc, log_runs_through_many_segments);
    tcase_add_test(tc, start_does_without_index_files);
    tcase_add_test(tc, record_larger_than_a_segment_has_its_own);
    tcase_add_test(tc, recent_entries_stay_in_memory_until_applied);
    tcase_add_test(tc, applied_entries_stay_in_memory_until_they_are_on_this_disk);
    tcase_add_test(tc, truncated_entries_are_replaced_for_good);
    tcase_add_loop_test(tc, truncation_after_a_start_reads_nothing, 0, 2);
    tcase_add_test(tc, truncate_before_anything_is_written);
    tcase_add_test(tc, a_late_report_does_not_speak_for_replaced_entries);
    tcase_add_test(tc, a_report_of_replaced_entries_is_not_taken_for_the_new_ones);
    tcase_add_test(tc, trimmed_segments_are_gone_and_their_files_used_again);
    tcase_add_test(tc, loads_give_checked_records_from_any_place);
    tcase_add_test(tc, a_damaged_record_is_not_handed_out);
    tcase_add_test(tc, a_load_that_met_a_truncation_says_again);
    tcase_add_test(tc, loads_under_way_are_answered_at_close_and_limited);
    tcase_add_test(tc, ranges_cross_segments_and_the_border_of_memory);
    tcase_add_test(tc, pushed_records_give_the_same_log);
    tcase_add_test(tc, records_that_do_not_chain_are_refused_whole);
    tcase_add_test(tc, corked_appends_are_one_batch);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
