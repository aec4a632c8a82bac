/* test_threads.c - the store on a real directory with real workers and a loop, as in the broker; run it under
 * TSan, too. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/rng.h"
#include "dledger/store/store.h"
#include "tests/lib/scratch.h"

#define DEADLINE_MS 30000u

static char dir[64];
static struct disk disk;
static struct loop *loop;
static struct worker *flush, *meta, *reader;
static struct dl_store *store;
static dl_index_t persisted;
static struct dl_hard hard;
static unsigned fsyncs;

static void on_persisted(void *arg, dl_index_t index, dl_term_t term)
{
    (void)arg;
    (void)term;
    persisted = index;
}

static void on_hard(void *arg, struct dl_hard h)
{
    (void)arg;
    hard = h;
}

static void on_fsync(void *arg, uint64_t us, uint64_t bytes)
{
    (void)arg;
    (void)us;
    fsyncs += bytes > 0;
}

static void start(void)
{
    struct err err;
    loop = loop_new();
    flush = worker_new(loop, "flush", 1);
    meta = worker_new(loop, "meta", 1);
    reader = worker_new(loop, "read", 2);
    ck_assert_int_eq(disk_posix_init(&disk, dir), 0);
    struct dl_store_opts opts = {.disk = &disk,
                                 .group = "g",
                                 .self = 1,
                                 .members = {1, {1}, {true}},
                                 .segment_bytes = 1024 * 1024,
                                 .cache_bytes = 100000,
                                 .flush = flush,
                                 .meta = meta,
                                 .read = reader,
                                 .on_persisted = on_persisted,
                                 .on_hard = on_hard,
                                 .on_fsync = on_fsync};
    ck_assert_msg(dl_store_open(&opts, &store, &err) == 0, "%s", err.text);
}

static void stop(void)
{
    dl_store_close(store);
    worker_free(flush);
    worker_free(meta);
    worker_free(reader);
    loop_turn(loop, 0);
    loop_free(loop);
}

static void setup(void)
{
    scratch_dir(dir, sizeof(dir));
    strcat(dir, "/a/b"); /* parents are made, too */
    persisted = 0;
    start();
}

static void remove_tree(void)
{
    char command[128];
    *strstr(dir, "/a/b") = '\0';
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void teardown(void)
{
    stop();
    remove_tree();
}

static void wait_persisted(dl_index_t index)
{
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    while (persisted < index && clock_mono_ms() < give_up_ms)
        loop_turn(loop, 100);
    ck_assert_uint_eq(persisted, index);
}

static void append(dl_index_t index, dl_term_t term)
{
    uint32_t len = DL_RECORD_HEAD + 200 + (uint32_t)(index * 37 % 2000);
    struct buf *buf = buf_new(len);
    buf->len = len;
    memset(buf->data + DL_RECORD_HEAD, (int)(index + term), len - DL_RECORD_HEAD);
    dl_store_append(store, index, term, DL_KIND_FIRST_APP, buf, NULL);
    buf_unref(buf);
}

static bool has(dl_index_t index, dl_term_t term)
{
    struct dl_entry e;
    struct err err;
    if (dl_store_entry_blocking(store, index, &e, &err) != 0)
        return false;
    bool good = e.term == term;
    for (uint32_t i = 0; i < dl_entry_body_len(&e); i++)
        good &= dl_entry_body(&e)[i] == (uint8_t)(index + term);
    buf_unref(e.buf);
    return good;
}

static unsigned answers;

static void on_loaded(void *arg, int err, struct buf *records, dl_index_t first, dl_index_t last)
{
    (void)arg;
    (void)first;
    (void)last;
    ck_assert(err == 0 || err == ERR_AGAIN || err == ERR_CLOSED);
    buf_unref(records);
    answers++;
}

static void on_range(void *arg, int err)
{
    free(arg);
    ck_assert(err == 0 || err == ERR_CLOSED);
    answers++;
}

/* Reads of all kinds, as many as there is room for. */
static void read_some(struct rng *rng, unsigned *asked)
{
    struct dl_store_view view;
    dl_store_view(store, &view);
    if (view.last < view.begin + 10)
        return;
    int rc = dl_store_load(store, rng_between(rng, view.begin, view.last), 50000, on_loaded, NULL);
    ck_assert(rc == 0 || rc == ERR_BUSY);
    *asked += rc == 0;
    uint8_t *bytes = malloc(20000);
    uint32_t len = (uint32_t)rng_between(rng, 1, 10000);
    dl_pos_t pos = rng_between(rng, view.begin_pos, view.begin_pos + (view.end_pos - view.begin_pos) / 2);
    if (pos + len > view.end_pos)
        len = 1;
    rc = dl_store_read(store, pos, len, bytes);
    ck_assert(rc == 0 || rc == ERR_AGAIN);
    struct dl_range range = {pos, len, bytes};
    ck_assert_int_eq(dl_store_read_async(store, &range, 1, on_range, bytes), 0);
    ++*asked;
}

START_TEST(everything_at_once)
{
    struct rng rng;
    unsigned asked = 0;
    dl_index_t last = 0, applied = 0;
    rng_seed(&rng, 7);
    answers = 0;
    for (int step = 0; step < 1500; step++) {
        for (uint64_t n = rng_below(&rng, 30); n > 0; n--)
            append(++last, 1);
        read_some(&rng, &asked);
        loop_turn(loop, 0);
        if (applied < persisted) {
            applied = rng_between(&rng, applied, persisted);
            dl_store_note(store, applied, applied);
        }
        if (step % 100 == 50)
            dl_store_save_hard(store, (struct dl_hard){(dl_term_t)step, 1, true});
        if (step % 300 == 299)
            dl_store_trim(store, applied / 2);
    }
    wait_persisted(last);
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    while ((answers < asked || hard.term < 1450) && clock_mono_ms() < give_up_ms)
        loop_turn(loop, 100);
    ck_assert_uint_eq(answers, asked);
    ck_assert_uint_eq(hard.term, 1450);
    ck_assert_uint_gt(fsyncs, 0);
    stop();
    start();
    struct dl_core_start found;
    dl_store_start(store, &found);
    ck_assert_uint_eq(found.end_index, last);
    ck_assert_uint_eq(found.hard.term, 1450);
    for (dl_index_t i = found.begin_index; i <= last; i++)
        ck_assert_msg(has(i, 1), "entry %d", (int)i);
}
END_TEST

START_TEST(truncation_under_load)
{
    dl_index_t last = 0;
    for (dl_term_t term = 1; term <= 30; term++) {
        for (int n = 0; n < 200; n++)
            append(++last, term);
        loop_turn(loop, 0);
        dl_index_t from = last - 120;
        dl_store_truncate(store, from);
        last = from - 1;
        persisted =
            persisted < from ? persisted : last; /* what was reported of the entries cut off is void */
    }
    append(++last, 31);
    wait_persisted(last);
    for (int round = 0; round < 2; round++) {
        for (dl_index_t i = 1; i <= last; i++)
            ck_assert(has(i, i == last ? 31 : 1 + (i - 1) / 79));
        stop();
        start();
    }
}
END_TEST

START_TEST(close_with_work_under_way)
{
    struct rng rng;
    unsigned asked = 0;
    rng_seed(&rng, 1);
    for (int round = 0; round < 10; round++) {
        struct dl_store_view view;
        dl_store_view(store, &view);
        answers = asked = 0;
        for (dl_index_t i = 1; i <= 300; i++)
            append(view.last + i, 1);
        loop_turn(loop, 0);
        read_some(&rng, &asked);
        dl_store_save_hard(store, (struct dl_hard){3, 3, true});
        stop();
        ck_assert_uint_eq(answers, asked);
        start();
    }
}
END_TEST

START_TEST(a_second_process_is_kept_out)
{
    struct dl_store *second;
    struct err err;
    struct dl_store_opts opts = {.disk = &disk,
                                 .group = "g",
                                 .self = 1,
                                 .members = {1, {1}, {true}},
                                 .segment_bytes = 1024 * 1024,
                                 .flush = flush,
                                 .meta = meta,
                                 .read = reader};
    ck_assert_int_eq(dl_store_open(&opts, &second, &err), ERR_LOCKED);
}
END_TEST

START_TEST(roots_that_cannot_be)
{
    struct disk d;
    char path[1024];
    snprintf(path, sizeof(path), "%s/lock/below-a-file", dir);
    ck_assert_int_eq(disk_posix_init(&d, path), -ENOTDIR);
    snprintf(path, sizeof(path), "%s/lock", dir);
    ck_assert_int_eq(disk_posix_init(&d, path), -ENOTDIR);
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    ck_assert_int_eq(disk_posix_init(&d, path), -ENAMETOOLONG);
    ck_assert_int_eq(disk_posix_init(&d, ""), -ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, everything_at_once);
    tcase_add_test(tc, truncation_under_load);
    tcase_add_test(tc, close_with_work_under_way);
    tcase_add_test(tc, a_second_process_is_kept_out);
    tcase_add_test(tc, roots_that_cannot_be);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
