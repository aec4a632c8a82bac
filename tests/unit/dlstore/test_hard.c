/* test_hard.c - the hard state: what is reported, and the known durable point that it carries, which recovery
 * takes at its word. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dledger/store/meta.h"
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

/* The newest commit index that a power cut now would leave. */
static dl_index_t hint(void)
{
    uint8_t block[META_BLOCK_BYTES];
    struct meta_slot slot, best = {0};
    for (uint64_t i = 0; i < 2; i++) {
        size_t n = fakedisk_durable_read(k.fake, META_PATH, i * sizeof(block), block, sizeof(block));
        if (n == sizeof(block) && meta_slot_decode(block, &slot) == 0 && slot.sequence >= best.sequence)
            best = slot;
    }
    return best.commit;
}

/* Others commit what our own disk has not taken: that is no promise of this disk, and after a power cut the
 * log may end before it. */
START_TEST(never_beyond_what_is_on_disk)
{
    struct rng rng;
    rng_seed(&rng, 1);
    storekit_append_range(&k, 1, 10, 1, 100);
    storekit_run(&k);
    storekit_append_range(&k, 11, 20, 1, 100); /* the flush worker stands still */
    dl_store_note(k.s, 20, 20);
    dl_store_save_hard(k.s, (struct dl_hard){2, DL_NOBODY, true});
    while (worker_run_one(k.meta))
        continue;
    ck_assert_uint_eq(hint(), 10);
    storekit_crash(&k, &rng, 0);
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), 10);
}
END_TEST

START_TEST(never_beyond_what_is_committed)
{
    storekit_append_range(&k, 1, 20, 1, 100);
    storekit_run(&k);
    dl_store_note(k.s, 10, 10);
    dl_store_save_hard(k.s, (struct dl_hard){2, DL_NOBODY, true});
    storekit_run(&k);
    ck_assert_uint_eq(hint(), 10);
    dl_store_truncate(k.s, 11);
    storekit_append_range(&k, 11, 12, 2, 100);
    storekit_run(&k);
    dl_store_note(k.s, 12, 12);
    dl_store_save_hard(k.s, (struct dl_hard){3, DL_NOBODY, true});
    storekit_run(&k);
    ck_assert_uint_eq(hint(), 12);
}
END_TEST

/* A vote saved while an earlier save is on its way back is not on disk yet. */
START_TEST(reports_what_was_written)
{
    struct job *job;
    storekit_run(&k);
    dl_store_save_hard(k.s, (struct dl_hard){2, DL_NOBODY, true});
    job = worker_run_next(k.meta);
    ck_assert_ptr_nonnull(job);
    dl_store_save_hard(k.s, (struct dl_hard){2, 3, true});
    job->done(job);
    ck_assert_uint_eq(k.hard.term, 2);
    ck_assert_uint_eq(k.hard.vote, DL_NOBODY);
    storekit_run(&k);
    ck_assert_uint_eq(k.hard.vote, 3);
    ck_assert_uint_eq(k.hard_reports, 2);
}
END_TEST

/* Whether a replica counts in majorities must never be made up, nor forgotten. */
START_TEST(joined_is_as_it_was_saved)
{
    static const struct dl_hard saved[] = {{1, 2, false}, {1, 2, true}, {4, DL_NOBODY, false}, {4, 3, true}};
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert(!start.hard.joined);
    for (size_t i = 0; i < sizeof(saved) / sizeof(saved[0]); i++) {
        dl_store_save_hard(k.s, saved[i]);
        storekit_run(&k);
        ck_assert(dl_hard_equal(k.hard, saved[i]));
        storekit_kill(&k);
        ck_assert_int_eq(storekit_open(&k), 0);
        dl_store_start(k.s, &start);
        ck_assert(dl_hard_equal(start.hard, saved[i]));
    }
    storekit_append(&k, 1, 9, 100); /* the log's term is taken up without it */
    storekit_run(&k);
    storekit_kill(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
    dl_store_start(k.s, &start);
    ck_assert(dl_hard_equal(start.hard, (struct dl_hard){9, DL_NOBODY, true}));
}
END_TEST

START_TEST(other_members_are_refused)
{
    static const struct dl_members three = {3, {1, 2, 5}, {true, true, true}};
    storekit_kill(&k);
    k.members = three;
    ck_assert_int_eq(storekit_open(&k), ERR_FOREIGN);
    ck_assert_ptr_nonnull(strstr(k.err.text, "belongs to a group of n0, but dLegerPeers names n0,n1,n4"));
    k.members = (struct dl_members){0};
    ck_assert_int_eq(storekit_open(&k), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dlstore/hard");
    TCase *t = tcase_create("hard");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, never_beyond_what_is_on_disk);
    tcase_add_test(t, never_beyond_what_is_committed);
    tcase_add_test(t, reports_what_was_written);
    tcase_add_test(t, joined_is_as_it_was_saved);
    tcase_add_test(t, other_members_are_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
