/*
 * test_crash.c - a store under random work and random crashes, compared with a model of what was promised.
 * SEED= and COUNT= choose the runs; a failure prints its seed.
 *
 * Promised: every entry reported persisted, unless truncated since, is there after a crash; what else is
 * there is a beginning of what was asked for, in one of the states the log went through; nothing that was cut
 * and replaced comes back; a reported vote is kept.
 */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/lib/storekit.h"

#define ENTRIES_MAX 8192u
#define STEPS       400

static struct storekit k;
static struct rng rng;
static char line[256];

/* The log as asked for: term and size of each entry. */
static struct {
    dl_term_t term[ENTRIES_MAX];
    uint32_t size[ENTRIES_MAX];
    dl_index_t last;
    dl_index_t sure;   /* reported persisted and not truncated since: must survive */
    dl_index_t commit; /* never truncated */
    dl_term_t now;
    /* Since the last quiet moment a crash may also show the log as it was before a truncation: these entries
     * then. */
    dl_term_t old_term[ENTRIES_MAX];
    uint32_t old_size[ENTRIES_MAX];
    dl_index_t old_from, old_last; /* old_from 0: none */
} model;

static void quiet(void *arg, enum log_level level, const char *text)
{
    (void)arg;
    if (level >= LOG_LEVEL_ERROR)
        snprintf(line, sizeof(line), "%s", text);
}

static bool has(dl_index_t i, const dl_term_t *terms, const uint32_t *sizes)
{
    return storekit_has(&k, i, terms[i], sizes[i]);
}

static void append(void)
{
    uint32_t count = (uint32_t)rng_between(&rng, 1, 30);
    for (uint32_t n = 0; n < count && model.last + 1 < ENTRIES_MAX; n++) {
        dl_index_t i = ++model.last;
        model.term[i] = model.now;
        model.size[i] =
            rng_chance(&rng, 0.02) ? (uint32_t)rng_below(&rng, 150000) : (uint32_t)rng_below(&rng, 1500);
        storekit_append(&k, i, model.now, model.size[i]);
    }
}

static void note_reports(void)
{
    struct dl_store_view view;
    dl_store_view(k.s, &view);
    model.sure = view.persisted;
    if (model.sure > model.commit && rng_chance(&rng, 0.5))
        model.commit += rng_between(&rng, 0, model.sure - model.commit);
    dl_store_note(k.s, model.commit, model.commit);
}

static void truncate_some(void)
{
    if (model.last <= model.commit)
        return;
    dl_index_t from = rng_between(&rng, model.commit + 1, model.last);
    if (model.old_from != 0) { /* one truncation at a time keeps the model small */
        storekit_run(&k);
        note_reports();
        if (from <= model.commit)
            return;
    }
    memcpy(model.old_term, model.term, sizeof(model.term));
    memcpy(model.old_size, model.size, sizeof(model.size));
    model.old_from = from;
    model.old_last = model.last;
    dl_store_truncate(k.s, from);
    model.last = from - 1;
    if (model.sure >= from)
        model.sure = from - 1;
    model.now++;
}

static void trim_some(void)
{
    struct dl_store_view view;
    dl_store_view(k.s, &view);
    if (model.commit > view.begin)
        dl_store_trim(k.s, rng_between(&rng, view.begin, model.commit));
}

static void run_some(void)
{
    struct worker *workers[] = {k.flush, k.meta, k.read};
    uint32_t count = (uint32_t)rng_between(&rng, 1, 4);
    for (uint32_t i = 0; i < count; i++)
        worker_run_one(workers[rng_below(&rng, 3)]);
    if (!fakedisk_is_off(k.fake))
        note_reports();
    if (model.sure >= model.old_from) /* something behind the cut is reported: so is the cut */
        model.old_from = 0;
}

/* Entries before the model's range of interest may have been trimmed. */
static void check_after_crash(uint64_t seed, int step)
{
    struct dl_store_view view;
    dl_store_view(k.s, &view);
    ck_assert_msg(view.last >= model.sure,
                  "seed %" PRIu64 " step %d: entry %" PRIu64 " was reported, log ends with %" PRIu64, seed,
                  step, model.sure, view.last);
    ck_assert_msg(view.begin <= model.commit + 1, "seed %" PRIu64, seed);
    bool is_new = view.last <= model.last, is_old = model.old_from != 0 && view.last <= model.old_last;
    for (dl_index_t i = view.begin; i <= view.last && is_new; i++)
        is_new = has(i, model.term, model.size);
    for (dl_index_t i = view.begin; i <= view.last && !is_new && is_old; i++)
        is_old = has(i, model.old_term, model.old_size);
    ck_assert_msg(is_new || is_old,
                  "seed %" PRIu64 " step %d: log %" PRIu64 "..%" PRIu64 " was never asked for: %s", seed,
                  step, view.begin, view.last, k.err.text);
    if (!is_new) {
        memcpy(model.term, model.old_term, sizeof(model.term));
        memcpy(model.size, model.old_size, sizeof(model.size));
    }
    model.last = model.sure = view.last;
    model.old_from = 0;
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    model.now = (start.hard.term > model.now ? start.hard.term : model.now) + 1;
    for (uint32_t r = 0; r < start.run_count; r++)
        ck_assert_msg(start.runs[r].term == model.term[start.runs[r].first], "seed %" PRIu64 " step %d", seed,
                      step);
}

static void crash(uint64_t seed, int step)
{
    double keeps[] = {0, 0.5, 0.9, 1};
    if (rng_chance(&rng, 0.7)) { /* in the middle of some call */
        fakedisk_power_off_at(k.fake, rng_between(&rng, 1, 8));
        for (int i = 0; i < 20 && !fakedisk_is_off(k.fake); i++) {
            if (rng_chance(&rng, 0.3))
                append();
            run_some();
        }
    }
    for (;;) {
        struct dl_hard hard = k.hard;
        storekit_crash(&k, &rng, keeps[rng_below(&rng, 4)]);
        if (rng_chance(&rng, 0.3))
            fakedisk_power_off_at(k.fake, rng_between(&rng, 1, 12)); /* and again during recovery */
        int rc = storekit_open(&k);
        if (fakedisk_is_off(k.fake)) {
            k.hard = hard;
            continue;
        }
        ck_assert_msg(rc == 0, "seed %" PRIu64 " step %d: %s", seed, step, k.err.text);
        fakedisk_power_off_at(k.fake, 0);
        struct dl_core_start start;
        dl_store_start(k.s, &start);
        ck_assert_msg(start.hard.term > hard.term ||
                          (start.hard.term == hard.term && start.hard.vote == hard.vote),
                      "seed %" PRIu64 " step %d: vote lost", seed, step);
        k.hard = start.hard;
        break;
    }
    check_after_crash(seed, step);
    dl_store_note(k.s, model.commit, model.commit);
}

static void one_run(uint64_t seed)
{
    memset(&model, 0, sizeof(model));
    model.now = 1;
    rng_seed(&rng, seed);
    storekit_init(&k);
    k.segment_bytes = 64 * 1024 + rng_below(&rng, 100000);
    k.cache_bytes = rng_below(&rng, 200000);
    ck_assert_int_eq(storekit_open(&k), 0);
    for (int step = 0; step < STEPS; step++) {
        switch (rng_below(&rng, 16)) {
        case 0:
            truncate_some();
            break;
        case 1:
            trim_some();
            break;
        case 2:
            if (rng_chance(&rng, 0.3))
                crash(seed, step);
            break;
        case 3:
            dl_store_save_hard(k.s, (struct dl_hard){++model.now, (dl_peer_t)rng_below(&rng, 3), true});
            break;
        case 4:
            storekit_run(&k);
            note_reports();
            model.old_from = 0;
            break;
        case 5:
        case 6:
        case 7:
            append();
            break;
        default:
            run_some();
        }
        ck_assert_msg(k.failures == 0, "seed %" PRIu64 " step %d: %s", seed, step, k.failure);
    }
    storekit_release(&k);
}

START_TEST(random_work_and_crashes_keep_the_promise)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 1;
    uint64_t count = getenv("COUNT") ? strtoull(getenv("COUNT"), NULL, 10) : 20;
    log_set_sink(quiet, NULL);
    for (uint64_t i = 0; i < count; i++)
        one_run(seed + i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crash");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, random_work_and_crashes_keep_the_promise);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
