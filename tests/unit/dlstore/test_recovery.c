/* test_recovery.c - what open believes: torn tails, rot, foreign and newer data, interrupted truncation,
 * failing disks. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc.h"
#include "common/log.h"
#include "dledger/store/meta.h"
#include "dledger/store/segment.h"
#include "tests/lib/storekit.h"

#define FIRST_SEGMENT "log/00000000000000000000.seg"

static struct storekit k;
static const struct dl_members alone = {1, {1}, {true}};
static struct rng rng;

static void quiet(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

static void setup(void)
{
    log_set_sink(quiet, NULL);
    rng_seed(&rng, 42);
    storekit_init(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
}

static void teardown(void)
{
    storekit_release(&k);
}

static void pos_of(dl_index_t index, dl_pos_t *pos, uint32_t *len)
{
    struct dl_entry e;
    ck_assert_int_eq(dl_store_entry_blocking(k.s, index, &e, &k.err), 0);
    *pos = e.pos;
    *len = e.len;
    buf_unref(e.buf);
}

/* Put bytes into a file, durably. */
static void poke(const char *path, uint64_t offset, const void *data, size_t len)
{
    struct disk *d = fakedisk_disk(k.fake);
    struct iovec iov = {(void *)(uintptr_t)data, len};
    int fd = d->ops->open(d, path, false);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(d->ops->pwritev(d, fd, &iov, 1, offset), (int)len);
    d->ops->fdatasync(d, fd);
    d->ops->close(d, fd);
}

static void peek(const char *path, uint64_t offset, void *data, size_t len)
{
    ck_assert_uint_eq(fakedisk_durable_read(k.fake, path, offset, data, len), len);
}

/* ---- torn and rotten ---- */

START_TEST(a_last_record_torn_at_any_byte_is_cut)
{
    dl_pos_t pos;
    uint32_t len;
    uint8_t image[4096];
    storekit_append_range(&k, 1, 9, 1, 100);
    storekit_run(&k);
    storekit_append(&k, 10, 1, 100);
    storekit_run(&k);
    pos_of(10, &pos, &len);
    storekit_close(&k);
    uint64_t offset = segment_offset(0, pos);
    peek(FIRST_SEGMENT, offset, image, sizeof(image));
    uint8_t torn[sizeof(image)];
    for (uint32_t kept = 0; kept < len; kept++) {
        memset(torn, 0, sizeof(torn)); /* neither the rest of the record nor its mark reached the disk */
        memcpy(torn, image, kept);
        poke(FIRST_SEGMENT, offset, torn, sizeof(torn));
        ck_assert_msg(storekit_open(&k) == 0, "%u bytes: %s", kept, k.err.text);
        ck_assert_uint_eq(storekit_last(&k), 9);
        ck_assert(storekit_has(&k, 9, 1, 100));
        storekit_append(&k, 10, 2, 50);
        storekit_run(&k);
        ck_assert_uint_eq(k.persisted, 10);
        storekit_close(&k);
        ck_assert_int_eq(storekit_open(&k), 0);
        ck_assert(storekit_has(&k, 10, 2, 50));
        storekit_close(&k);
    }
    ck_assert_int_eq(storekit_open(&k), 0);
}
END_TEST

START_TEST(a_flipped_bit_in_durable_records_is_damage)
{
    dl_pos_t pos;
    uint32_t len;
    for (dl_index_t i = 1; i <= 10; i++) {
        storekit_append(&k, i, 1, 100);
        storekit_run(&k);
    }
    for (dl_index_t i = 1; i <= 10; i += 3) {
        pos_of(i, &pos, &len);
        for (uint32_t at = 0; at < len; at += 5) {
            storekit_close(&k);
            fakedisk_flip(k.fake, FIRST_SEGMENT, segment_offset(0, pos) + at, 0x10);
            ck_assert_msg(storekit_open(&k) == ERR_DAMAGED, "entry %d byte %u", (int)i, at);
            ck_assert_ptr_nonnull(strstr(k.err.text, FIRST_SEGMENT));
            char want[64];
            snprintf(want, sizeof(want), "entry %d is damaged (offset %d)", (int)i,
                     (int)segment_offset(0, pos));
            ck_assert_msg(strstr(k.err.text, want) != NULL, "%s", k.err.text);
            fakedisk_flip(k.fake, FIRST_SEGMENT, segment_offset(0, pos) + at, 0x10);
            ck_assert_int_eq(storekit_open(&k), 0);
        }
    }
    ck_assert_uint_eq(storekit_last(&k), 10);
}
END_TEST

START_TEST(rot_is_found_however_far_the_next_mark_is)
{
    storekit_close(&k);
    k.segment_bytes = 8 * 1024 * 1024;
    ck_assert_int_eq(storekit_open(&k), 0);
    storekit_append(&k, 1, 1, 100);
    storekit_run(&k);
    storekit_append(&k, 2, 1, 5000000);
    storekit_run(&k);
    storekit_append(&k, 3, 1, 100);
    storekit_run(&k);
    storekit_close(&k);
    fakedisk_flip(k.fake, FIRST_SEGMENT, SEGMENT_HEAD_BYTES + 20, 1);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
}
END_TEST

START_TEST(a_hole_in_durable_records_is_damage_and_stays_it)
{
    uint8_t hole[512] = {0};
    for (dl_index_t i = 1; i <= 20; i++) {
        storekit_append(&k, i, 1, 200);
        storekit_run(&k);
    }
    storekit_close(&k);
    poke(FIRST_SEGMENT, SEGMENT_HEAD_BYTES + 512, hole, sizeof(hole));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
}
END_TEST

START_TEST(rot_in_an_old_segment_is_found_when_its_index_file_is_gone)
{
    storekit_append_range(&k, 1, 1000, 1, 400);
    storekit_run(&k);
    dl_store_note(k.s, 1000, 1000);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_run(&k);
    storekit_close(&k);
    fakedisk_flip(k.fake, FIRST_SEGMENT, 30000, 1);
    ck_assert_int_eq(storekit_open(&k), 0); /* not looked at */
    storekit_close(&k);
    fakedisk_flip(k.fake, "log/00000000000000000000.idx", 30, 1);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
}
END_TEST

START_TEST(a_torn_batch_with_good_records_behind_is_erased)
{
    dl_pos_t pos10, pos11;
    uint32_t len10, len11;
    uint8_t zero[16] = {0}, after[512];
    storekit_append_range(&k, 1, 9, 1, 100);
    storekit_run(&k);
    dl_store_cork(k.s, true);
    storekit_append_range(&k, 10, 12, 1, 100);
    dl_store_cork(k.s, false);
    fakedisk_power_off_at(k.fake, 2); /* the write happens, its sync does not */
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 9);
    pos_of(10, &pos10, &len10);
    pos_of(11, &pos11, &len11);
    storekit_crash(&k, &rng, 1);
    poke(FIRST_SEGMENT, segment_offset(0, pos10), zero, sizeof(zero)); /* one sector did not make it */
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), 9);
    peek(FIRST_SEGMENT, segment_offset(0, pos11), after, len11);
    for (uint32_t i = 0; i < len11; i++)
        ck_assert_uint_eq(after[i], 0);
}
END_TEST

/* A client knows the group and where its message will lie, but not the segment's secret. */
START_TEST(marks_forged_in_a_body_do_not_make_rot_of_a_torn_batch)
{
    dl_pos_t pos;
    uint32_t len;
    uint8_t zero[16] = {0};
    struct buf *buf = buf_new(DL_RECORD_HEAD + 20 * SEGMENT_MARK_BYTES);
    storekit_append_range(&k, 1, 9, 1, 100);
    storekit_run(&k);
    dl_store_cork(k.s, true);
    storekit_append(&k, 10, 1, 600);
    pos_of(10, &pos, &len);
    buf->len = DL_RECORD_HEAD;
    for (int i = 0; i < 20; i++, buf->len += SEGMENT_MARK_BYTES) {
        struct segment_mark mark = {pos + len + buf->len, pos + len + buf->len, 11, 0};
        segment_mark_encode(buf->data + buf->len, record_salt(k.group), &mark);
    }
    dl_store_append(k.s, 11, 1, DL_KIND_FIRST_APP, buf, NULL);
    dl_store_cork(k.s, false);
    fakedisk_power_off_at(k.fake, 2);
    storekit_run(&k);
    storekit_crash(&k, &rng, 1);
    /* The first sector of the batch did not make it, nor did the true mark behind it. */
    poke(FIRST_SEGMENT, segment_offset(0, pos), zero, sizeof(zero));
    poke(FIRST_SEGMENT, segment_offset(0, pos + len + buf->len), zero, sizeof(zero));
    buf_unref(buf);
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), 9);
}
END_TEST

/* The body of an older use of the file may have been made to fit the next one. */
START_TEST(records_forged_in_a_recycled_file_are_no_damage_and_are_erased)
{
    const dl_pos_t far = 12 * 1024 * 1024;
    uint8_t forged[DL_RECORD_HEAD + 10] = {0}, after[sizeof(forged)], zero[sizeof(forged)] = {0};
    struct record_head head = {.len = sizeof(forged),
                               .index = 100,
                               .term = 1,
                               .pos = far,
                               .kind = DL_KIND_FIRST_APP,
                               .salt = record_salt(k.group)};
    storekit_close(&k);
    k.segment_bytes = 16 * 1024 * 1024;
    ck_assert_int_eq(storekit_open(&k), 0);
    storekit_append_range(&k, 1, 9, 1, 100);
    storekit_run(&k);
    storekit_close(&k);
    record_seal(forged, &head);
    poke(FIRST_SEGMENT, segment_offset(0, far), forged, sizeof(forged));
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), 9);
    peek(FIRST_SEGMENT, segment_offset(0, far), after, sizeof(after));
    ck_assert_mem_eq(after, zero, sizeof(after));
}
END_TEST

static uint64_t secret_of(const char *path)
{
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    struct segment_head head;
    peek(path, 0, bytes, sizeof(bytes));
    ck_assert_int_eq(segment_head_decode(bytes, path, k.group, &head, NULL, &k.err), 0);
    return head.secret;
}

START_TEST(each_use_of_a_file_has_its_own_secret)
{
    uint64_t seen[64];
    unsigned count = 0;
    for (dl_index_t i = 1; count < 12; i++) {
        struct dl_store_view view;
        char path[SEGMENT_PATH_MAX];
        storekit_append(&k, i, 1, 9000);
        storekit_run(&k);
        dl_store_note(k.s, i, i);
        dl_store_trim(k.s, i); /* leaves the segment being written, and two files to be used again */
        storekit_run(&k);
        dl_store_view(k.s, &view);
        segment_path(path, view.begin_pos);
        uint64_t secret = secret_of(path);
        if (count > 0 && seen[count - 1] == secret)
            continue;
        for (unsigned j = 0; j < count; j++)
            ck_assert_uint_ne(seen[j], secret);
        seen[count++] = secret;
    }
    uint64_t before = seen[count - 1];
    storekit_close(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
    struct dl_store_view view;
    char path[SEGMENT_PATH_MAX];
    dl_store_view(k.s, &view);
    segment_path(path, view.begin_pos);
    ck_assert_uint_eq(secret_of(path), before);
}
END_TEST

START_TEST(records_of_another_history_do_not_chain)
{
    struct storekit other;
    uint8_t theirs[3 * DL_RECORD_HEAD], zero[512] = {0};
    storekit_init(&other);
    ck_assert_int_eq(storekit_open(&other), 0);
    storekit_append(&other, 1, 2, 0); /* same places, indexes, group; another first entry */
    storekit_append_range(&other, 2, 3, 3, 0);
    storekit_run(&other);
    ck_assert_uint_eq(
        fakedisk_durable_read(other.fake, FIRST_SEGMENT, SEGMENT_HEAD_BYTES, theirs, sizeof(theirs)),
        sizeof(theirs));
    storekit_release(&other);
    storekit_append(&k, 1, 1, 0);
    storekit_run(&k);
    storekit_close(&k);
    poke(FIRST_SEGMENT, SEGMENT_HEAD_BYTES + DL_RECORD_HEAD, zero, sizeof(zero));
    poke(FIRST_SEGMENT, SEGMENT_HEAD_BYTES + DL_RECORD_HEAD, theirs + DL_RECORD_HEAD, 2 * DL_RECORD_HEAD);
    ck_assert_int_eq(storekit_open(&k), 0);
    ck_assert_uint_eq(storekit_last(&k), 1);
}
END_TEST

START_TEST(old_records_far_behind_in_a_recycled_file_are_no_damage)
{
    storekit_close(&k);
    k.segment_bytes = 16 * 1024 * 1024;
    ck_assert_int_eq(storekit_open(&k), 0);
    for (dl_index_t i = 1; i <= 40; i++) { /* 24 MiB */
        storekit_append(&k, i, 1, 600000);
        storekit_run(&k);
    }
    dl_store_note(k.s, 40, 40);
    dl_store_trim(k.s, 35);
    storekit_run(&k);
    dl_index_t last = 40;
    for (struct dl_store_view view = {0}; view.segments < 2;) {
        storekit_append(&k, ++last, 1, 600000);
        storekit_run(&k);
        dl_store_view(k.s, &view);
    }
    storekit_crash(&k, &rng, 0);
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), last);
}
END_TEST

START_TEST(what_a_killed_process_left_unsynced_is_durable_once_it_is_told)
{
    storekit_append_range(&k, 1, 9, 1, 100);
    storekit_run(&k);
    storekit_append(&k, 10, 1, 100);
    fakedisk_power_off_at(k.fake, 2);
    storekit_run(&k);
    storekit_kill(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
    ck_assert_uint_eq(storekit_last(&k), 10);
    storekit_crash(&k, &rng, 0);
    ck_assert_int_eq(storekit_open(&k), 0);
    ck_assert_uint_eq(storekit_last(&k), 10);
}
END_TEST

START_TEST(a_start_cut_short_after_a_kill_claims_nothing_too_early)
{
    for (uint64_t at = 1; at <= 200; at++) {
        dl_index_t last = storekit_last(&k);
        storekit_append(&k, last + 1, 1, 1500);
        fakedisk_power_off_at(k.fake, last == 0 ? 0 : 2);
        storekit_run(&k);
        storekit_kill(&k);
        fakedisk_power_off_at(k.fake, 1 + at % 4);
        if (storekit_open(&k) == 0)
            storekit_run(&k);
        storekit_crash(&k, &rng, 0.5);
        ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
        ck_assert_uint_ge(storekit_last(&k), last);
    }
}
END_TEST

START_TEST(names_a_killed_process_left_unsynced_are_durable_before_they_are_used)
{
    bool cut = true;
    /* Kill it at each call that makes the first segment (_i 0) or the second one. */
    for (uint64_t at = 1; cut; at++) {
        storekit_release(&k);
        setup();
        dl_index_t last = 0;
        while (last * 2000 < (uint64_t)_i * (k.segment_bytes - 8192)) {
            storekit_append(&k, ++last, 1, 2000);
            storekit_run(&k);
        }
        fakedisk_power_off_at(k.fake, at);
        storekit_append(&k, last + 1, 1, 12000);
        storekit_run(&k);
        cut = fakedisk_is_off(k.fake);
        storekit_kill(&k);
        ck_assert_int_eq(storekit_open(&k), 0);
        last = storekit_last(&k) + 1;
        storekit_append(&k, last, 1, 12000);
        storekit_run(&k);
        ck_assert_uint_eq(k.persisted, last);
        storekit_crash(&k, &rng, 0);
        ck_assert_msg(storekit_open(&k) == 0, "call %d: %s", (int)at, k.err.text);
        ck_assert_uint_eq(storekit_last(&k), last);
    }
}
END_TEST

START_TEST(what_was_committed_is_refused_and_not_erased)
{
    dl_pos_t pos;
    uint32_t len;
    uint8_t zero[SEGMENT_MARK_BYTES] = {0};
    storekit_append_range(&k, 1, 5, 1, 100);
    storekit_run(&k);
    dl_store_note(k.s, 5, 0);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_run(&k);
    pos_of(5, &pos, &len);
    storekit_close(&k);
    poke(FIRST_SEGMENT, segment_offset(0, pos) + len, zero, sizeof(zero)); /* no mark tells */
    fakedisk_flip(k.fake, FIRST_SEGMENT, segment_offset(0, pos) + 10, 1);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
    fakedisk_flip(k.fake, FIRST_SEGMENT, segment_offset(0, pos) + 10, 1);
    ck_assert_int_eq(storekit_open(&k), 0);
    ck_assert(storekit_has(&k, 5, 1, 100));
}
END_TEST

START_TEST(the_known_commit_point_does_not_wait_for_what_is_uncommitted)
{
    storekit_append_range(&k, 1, 500, 1, 1000); /* far more than the cache holds */
    storekit_run(&k);
    dl_store_note(k.s, 100, 100);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_run(&k);
    storekit_close(&k);
    struct meta meta;
    ck_assert_int_eq(meta_open(&meta, fakedisk_disk(k.fake), k.group, k.self, &alone, false, &k.err), 0);
    ck_assert_uint_eq(meta.slot.commit, 100);
    meta_close(&meta);
}
END_TEST

START_TEST(a_missing_segment_is_damage)
{
    struct disk *d = fakedisk_disk(k.fake);
    struct dl_store_view view;
    storekit_append_range(&k, 1, 500, 1, 400);
    storekit_run(&k);
    dl_store_note(k.s, 499, 499);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_run(&k);
    dl_store_view(k.s, &view);
    storekit_close(&k);
    /* The last one: only the known commit point tells. */
    char last[SEGMENT_PATH_MAX] = "", gap[SEGMENT_PATH_MAX];
    for (dl_pos_t pos = 0; pos <= view.end_pos; pos++) {
        segment_path(gap, pos);
        if (fakedisk_file_size(k.fake, gap) >= 0)
            strcpy(last, gap);
    }
    ck_assert_int_eq(d->ops->rename(d, last, "log/hidden"), 0);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
    ck_assert_int_eq(d->ops->rename(d, "log/hidden", last), 0);
    ck_assert_int_eq(storekit_open(&k), 0);
    storekit_close(&k);
    ck_assert_int_eq(d->ops->unlink(d, FIRST_SEGMENT), 0);
    ck_assert_int_eq(storekit_open(&k), 0); /* as after a trim */
    struct dl_core_start start;
    dl_store_start(k.s, &start);
    ck_assert_uint_gt(start.begin_index, 1);
    ck_assert_uint_eq(start.end_index, 500);
}
END_TEST

START_TEST(records_of_a_recycled_file_are_never_taken_for_new_ones)
{
    for (int round = 0; round < 12; round++) {
        dl_index_t last = storekit_last(&k);
        for (dl_index_t i = last + 1; i <= last + 200; i++)
            storekit_append(&k, i, 1, 400);
        storekit_run(&k);
        last = storekit_last(&k);
        dl_store_note(k.s, last, last);
        dl_store_trim(k.s, last - 50);
        storekit_run(&k);
        storekit_crash(&k, &rng, 1);
        ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
        ck_assert_uint_eq(storekit_last(&k), last);
    }
}
END_TEST

/* ---- truncation ---- */

/* Crash at each call in the middle of truncate and append again: the log must be the old or the new one. */
START_TEST(a_crash_within_a_truncation_resurrects_nothing)
{
    double keeps[] = {0, 0.5, 1};
    for (int which = 0; which < 3; which++) {
        for (uint64_t at = 1;; at++) {
            storekit_release(&k);
            setup();
            storekit_append_range(&k, 1, 300, 1, 400); /* two segments and a bit */
            storekit_run(&k);
            fakedisk_power_off_at(k.fake, at);
            dl_store_truncate(k.s, 20);
            storekit_append_range(&k, 20, 30, 2, 400);
            storekit_run(&k);
            bool done = k.persisted == 30;
            ck_assert(done == !fakedisk_is_off(k.fake));
            storekit_crash(&k, &rng, keeps[which]);
            ck_assert_msg(storekit_open(&k) == 0, "call %d: %s", (int)at, k.err.text);
            dl_index_t last = storekit_last(&k);
            if (done)
                ck_assert_uint_eq(last, 30);
            struct dl_core_start start;
            dl_store_start(k.s, &start);
            bool replaced = start.run_count == 2;
            ck_assert(replaced ? last <= 30 && last >= 20 : last == 300 || last == 19);
            for (dl_index_t i = 1; i <= last; i++)
                ck_assert(storekit_has(&k, i, i >= 20 && replaced ? 2 : 1, 400));
            /* Whatever was found, it goes on from there. */
            storekit_append(&k, last + 1, 3, 400);
            storekit_run(&k);
            storekit_crash(&k, &rng, 0);
            ck_assert_msg(storekit_open(&k) == 0, "call %d: %s", (int)at, k.err.text);
            ck_assert_uint_eq(storekit_last(&k), last + 1);
            if (done)
                break;
        }
    }
}
END_TEST

static void put_intent(const struct meta_cut *cut)
{
    struct meta meta;
    ck_assert_int_eq(meta_open(&meta, fakedisk_disk(k.fake), k.group, k.self, &alone, false, &k.err), 0);
    ck_assert_int_eq(cut ? meta_cut_write(&meta, cut) : meta_cut_clear(&meta), 0);
    meta_close(&meta);
}

START_TEST(a_truncation_of_what_was_committed_is_refused)
{
    dl_pos_t pos;
    uint32_t len;
    storekit_append_range(&k, 1, 20, 1, 100);
    storekit_run(&k);
    dl_store_note(k.s, 15, 15);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_run(&k);
    pos_of(15, &pos, &len);
    storekit_close(&k);
    struct meta_cut at = {.from = pos, .end = pos + 10000, .index = 15},
                    within = {.from = pos + len - 1, .end = pos + 10000, .index = 16},
                    behind = {.from = pos + len, .end = pos + 10000, .index = 16};
    put_intent(&at);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
    ck_assert_ptr_nonnull(strstr(k.err.text, "truncate at entry 15"));
    put_intent(&within);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
    put_intent(NULL);
    ck_assert_int_eq(storekit_open(&k), 0);
    ck_assert_uint_eq(storekit_last(&k), 20);
    storekit_close(&k);
    put_intent(&behind);
    ck_assert_int_eq(storekit_open(&k), 0);
    ck_assert_uint_eq(storekit_last(&k), 15);
}
END_TEST

/* The store does not know the commit index yet, but its hard state does. */
START_TEST(nobody_truncates_what_was_committed_before_the_start)
{
    storekit_append_range(&k, 1, 20, 1, 100);
    storekit_run(&k);
    dl_store_note(k.s, 15, 15);
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_run(&k);
    storekit_close(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
    dl_store_truncate(k.s, 15);
}
END_TEST

/* ---- hard state ---- */

START_TEST(a_truncation_finished_by_a_killed_process_is_not_finished_twice)
{
    bool cut = true;
    for (uint64_t at = 1; cut; at++) { /* kill it at each call of the truncation */
        storekit_release(&k);
        setup();
        dl_store_save_hard(k.s, (struct dl_hard){2, 1, true});
        storekit_append_range(&k, 1, 20, 1, 100);
        storekit_run(&k);
        fakedisk_power_off_at(k.fake, at);
        dl_store_truncate(k.s, 10);
        storekit_run(&k);
        cut = fakedisk_is_off(k.fake);
        storekit_kill(&k);
        ck_assert_int_eq(storekit_open(&k), 0);
        dl_index_t last = storekit_last(&k);
        storekit_append_range(&k, last + 1, 500, 2, 400);
        storekit_run(&k);
        ck_assert_uint_eq(k.persisted, 500);
        storekit_crash(&k, &rng, 0);
        ck_assert_msg(storekit_open(&k) == 0, "call %d: %s", (int)at, k.err.text);
        ck_assert_msg(storekit_last(&k) == 500, "call %d: %d", (int)at, (int)storekit_last(&k));
        ck_assert(storekit_has(&k, last + 1, 2, 400));
    }
}
END_TEST

/* The sync that ends a cut fails, so the process ends; in memory the intent is gone, on the medium it is not. */
START_TEST(a_truncation_whose_end_was_not_synced_takes_nothing_appended_later)
{
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    storekit_append_range(&k, 1, 20, 1, 100);
    storekit_run(&k);
    fakedisk_fail(k.fake, FAKEDISK_SYNC, 3, EIO, false); /* intent, zeros, end of the intent */
    dl_store_truncate(k.s, 15);
    storekit_run(&k);
    ck_assert_uint_eq(k.failures, 1);
    storekit_kill(&k);
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), 14);
    storekit_append_range(&k, 15, 400, 1, 400); /* several segments */
    storekit_run(&k);
    ck_assert_uint_eq(k.persisted, 400);
    storekit_crash(&k, &rng, 0);
    ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
    ck_assert_uint_eq(storekit_last(&k), 400);
}
END_TEST

START_TEST(hard_state_survives_a_crash_at_any_call)
{
    for (int which = 0; which < 3; which++) {
        for (uint64_t at = 1;; at++) {
            storekit_release(&k);
            setup();
            dl_store_save_hard(k.s, (struct dl_hard){5, 2, true});
            storekit_run(&k);
            ck_assert_uint_eq(k.hard.term, 5);
            fakedisk_power_off_at(k.fake, at);
            dl_store_save_hard(k.s, (struct dl_hard){6, 3, true});
            storekit_run(&k);
            bool reported = k.hard.term == 6, done = !fakedisk_is_off(k.fake);
            storekit_crash(&k, &rng, which * 0.5);
            ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
            struct dl_core_start start;
            dl_store_start(k.s, &start);
            ck_assert(start.hard.term == 6 ? start.hard.vote == 3
                                           : start.hard.term == 5 && start.hard.vote == 2);
            ck_assert(!reported || start.hard.term == 6);
            if (done)
                break;
        }
    }
}
END_TEST

START_TEST(a_vote_survives_when_the_next_save_is_torn_before_the_mirror)
{
    for (int round = 0; round < 20; round++) {
        dl_term_t term = 10 + 2 * (dl_term_t)round;
        dl_store_save_hard(k.s, (struct dl_hard){term, 2, true});
        ck_assert(worker_run_one(k.meta));
        ck_assert_uint_eq(k.hard.term, term);
        fakedisk_power_off_at(k.fake, 1);
        dl_store_save_hard(k.s, (struct dl_hard){term + 1, 3, true});
        storekit_run(&k);
        ck_assert_uint_eq(k.hard.term, term);
        storekit_crash(&k, &rng, 0.5);
        ck_assert_int_eq(storekit_open(&k), 0);
        struct dl_core_start start;
        dl_store_start(k.s, &start);
        ck_assert(start.hard.term == term ? start.hard.vote == 2
                                          : start.hard.term == term + 1 && start.hard.vote == 3);
    }
}
END_TEST

START_TEST(later_hard_states_overtake_and_are_reported)
{
    dl_store_save_hard(k.s, (struct dl_hard){1, 1, true});
    dl_store_save_hard(k.s, (struct dl_hard){2, 0, true});
    dl_store_save_hard(k.s, (struct dl_hard){3, 2, true});
    storekit_run(&k);
    ck_assert_uint_eq(k.hard_reports, 1);
    ck_assert_uint_eq(k.hard.term, 3);
    ck_assert_uint_eq(k.hard.vote, 2);
}
END_TEST

START_TEST(the_slot_of_the_later_save_counts_whatever_it_says)
{
    struct meta meta;
    storekit_close(&k);
    /* Killed before the mirror, the slots differ; a vote and a commit point of the same term must not go back.
     * The number of saves decides which slot has the newest. */
    for (dl_peer_t vote = 1; vote <= 6; vote++) {
        ck_assert_int_eq(meta_open(&meta, fakedisk_disk(k.fake), k.group, k.self, &alone, false, &k.err), 0);
        for (dl_peer_t i = 0; i < vote; i++)
            ck_assert_int_eq(meta_save(&meta, (struct dl_hard){5, i, true}, 10 * vote + i, 100 * vote + i),
                             0);
        ck_assert_int_eq(meta_save(&meta, (struct dl_hard){5, vote, true}, 11 * vote, 101 * vote), 0);
        meta_close(&meta);
        ck_assert_int_eq(meta_open(&meta, fakedisk_disk(k.fake), k.group, k.self, &alone, false, &k.err), 0);
        ck_assert_uint_eq(meta.slot.hard.vote, vote);
        ck_assert_uint_eq(meta.slot.commit, 11 * vote);
        ck_assert_uint_eq(meta.slot.commit_end, 101 * vote);
        meta_close(&meta);
    }
}
END_TEST

START_TEST(one_bad_slot_is_repaired_two_are_damage)
{
    dl_store_save_hard(k.s, (struct dl_hard){7, 2, true});
    storekit_run(&k);
    for (int slot = 0; slot < 2; slot++) {
        for (uint64_t at = 0; at < META_BLOCK_BYTES; at += 97) {
            storekit_close(&k);
            fakedisk_flip(k.fake, META_PATH, (uint64_t)slot * META_BLOCK_BYTES + at, 4);
            ck_assert_int_eq(storekit_open(&k), 0);
            struct dl_core_start start;
            dl_store_start(k.s, &start);
            ck_assert_uint_eq(start.hard.term, 7);
            ck_assert_uint_eq(start.hard.vote, 2);
        }
    }
    storekit_close(&k);
    fakedisk_flip(k.fake, META_PATH, 24, 4);
    fakedisk_flip(k.fake, META_PATH, META_BLOCK_BYTES + 24, 4);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
    ck_assert_ptr_nonnull(strstr(k.err.text, META_PATH));
}
END_TEST

START_TEST(a_log_without_hard_state_is_damage)
{
    struct disk *d = fakedisk_disk(k.fake);
    storekit_append(&k, 1, 1, 10);
    storekit_run(&k);
    storekit_close(&k);
    d->ops->unlink(d, META_PATH);
    ck_assert_int_eq(storekit_open(&k), ERR_DAMAGED);
}
END_TEST

/* ---- foreign, newer, locked ---- */

START_TEST(another_groups_or_replicas_directory_is_refused)
{
    storekit_append(&k, 1, 1, 10);
    storekit_run(&k);
    storekit_close(&k);
    k.group = "RaftNode01";
    ck_assert_int_eq(storekit_open(&k), ERR_FOREIGN);
    ck_assert_ptr_nonnull(strstr(k.err.text, "RaftNode00"));
    k.group = "RaftNode00";
    k.self = 2;
    ck_assert_int_eq(storekit_open(&k), ERR_FOREIGN);
    k.self = 1;
    ck_assert_int_eq(storekit_open(&k), 0);
}
END_TEST

static void set_version(const char *path, uint64_t block, uint8_t version)
{
    uint8_t bytes[4096], crc[4];
    peek(path, block, bytes, sizeof(bytes));
    bytes[8] = version;
    uint32_t sum = crc32c(0, bytes, 4092);
    memcpy(crc, &sum, 4);
    memcpy(bytes + 4092, crc, 4);
    poke(path, block, bytes, sizeof(bytes));
}

START_TEST(newer_and_older_formats_are_refused)
{
    storekit_append(&k, 1, 1, 10);
    storekit_run(&k);
    storekit_close(&k);
    set_version(FIRST_SEGMENT, 0, SEGMENT_VERSION + 1);
    ck_assert_int_eq(storekit_open(&k), ERR_VERSION);
    ck_assert_ptr_nonnull(strstr(k.err.text, FIRST_SEGMENT));
    set_version(FIRST_SEGMENT, 0, 1);
    ck_assert_int_eq(storekit_open(&k), ERR_VERSION);
    ck_assert_ptr_nonnull(strstr(k.err.text, "segment format 1, this program knows 2"));
    set_version(META_PATH, 0, META_VERSION + 1);
    ck_assert_int_eq(storekit_open(&k), ERR_VERSION);
    ck_assert_ptr_nonnull(strstr(k.err.text, META_PATH));
}
END_TEST

START_TEST(a_directory_in_use_is_refused)
{
    struct dl_store *first = k.s;
    ck_assert_int_eq(storekit_open(&k), ERR_LOCKED);
    k.s = first;
    storekit_close(&k);
    ck_assert_int_eq(storekit_open(&k), 0);
}
END_TEST

START_TEST(a_read_only_disk_is_refused_with_its_reason)
{
    storekit_close(&k);
    fakedisk_fail(k.fake, FAKEDISK_OPEN, 1, EROFS, true);
    ck_assert_int_eq(storekit_open(&k), ERR_NO_PERMISSION);
    fakedisk_fail(k.fake, FAKEDISK_OPEN, 1, EIO, true);
    ck_assert_int_eq(storekit_open(&k), ERR_IO);
    fakedisk_fail(k.fake, FAKEDISK_OPEN, 0, 0, false);
    ck_assert_int_eq(storekit_open(&k), 0);
}
END_TEST

/* ---- failing calls ---- */

START_TEST(a_failed_call_ends_the_store_and_reports_nothing)
{
    enum fakedisk_op ops[] = {FAKEDISK_WRITE, FAKEDISK_SYNC};
    for (int i = 0; i < 2; i++) {
        storekit_append(&k, storekit_last(&k) + 1, 1, 100);
        storekit_run(&k);
        dl_index_t before = k.persisted;
        fakedisk_fail(k.fake, ops[i], 1, EIO, false);
        storekit_append(&k, before + 1, 1, 100);
        storekit_run(&k);
        ck_assert_uint_eq(k.persisted, before);
        ck_assert_uint_eq(k.failures, 1);
        ck_assert_ptr_nonnull(strstr(k.failure, FIRST_SEGMENT));
        ck_assert_ptr_nonnull(strstr(k.failure, i == 0 ? "write" : "fdatasync"));
        /* The disk works again; the store does not pretend. */
        storekit_append(&k, before + 2, 1, 100);
        dl_store_save_hard(k.s, (struct dl_hard){9, 1, true});
        storekit_run(&k);
        ck_assert_uint_eq(k.persisted, before);
        ck_assert_uint_eq(k.hard_reports, 0);
        storekit_close(&k);
        storekit_run(&k);
        ck_assert_int_eq(storekit_open(&k), 0);
    }
}
END_TEST

START_TEST(a_failed_vote_is_not_reported)
{
    fakedisk_fail(k.fake, FAKEDISK_SYNC, 1, EIO, false);
    dl_store_save_hard(k.s, (struct dl_hard){9, 1, true});
    storekit_run(&k);
    ck_assert_uint_eq(k.hard_reports, 0);
    ck_assert_uint_eq(k.failures, 1);
    ck_assert_ptr_nonnull(strstr(k.failure, META_PATH));
}
END_TEST

START_TEST(a_segment_is_not_used_before_its_name_is_durable)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t byte;
    for (dl_index_t i = 1; i <= 400; i++) {
        struct dl_entry e;
        storekit_append(&k, i, 1, 400);
        storekit_run(&k);
        ck_assert_int_eq(dl_store_entry(k.s, i, &e), 0);
        buf_unref(e.buf);
        storekit_crash(&k, &rng, 0); /* only what was synced */
        ck_assert_msg(storekit_open(&k) == 0, "%s", k.err.text);
        ck_assert_uint_eq(storekit_last(&k), i);
    }
    segment_path(path, 0);
    ck_assert_uint_eq(fakedisk_durable_read(k.fake, path, 0, &byte, 1), 1);
}
END_TEST

START_TEST(open_survives_a_crash_at_each_of_its_calls)
{
    for (uint64_t at = 1;; at++) {
        storekit_release(&k);
        log_set_sink(quiet, NULL);
        storekit_init(&k);
        fakedisk_power_off_at(k.fake, at);
        int rc = storekit_open(&k);
        if (rc == 0) {
            storekit_append(&k, 1, 1, 100);
            storekit_run(&k);
        }
        bool done = !fakedisk_is_off(k.fake), reported = rc == 0 && k.persisted == 1;
        storekit_crash(&k, &rng, 0.5);
        ck_assert_msg(storekit_open(&k) == 0, "call %d: %s", (int)at, k.err.text);
        ck_assert(!reported || storekit_has(&k, 1, 1, 100));
        if (done)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_last_record_torn_at_any_byte_is_cut);
    tcase_add_test(tc, a_flipped_bit_in_durable_records_is_damage);
    tcase_add_test(tc, rot_is_found_however_far_the_next_mark_is);
    tcase_add_test(tc, a_hole_in_durable_records_is_damage_and_stays_it);
    tcase_add_test(tc, rot_in_an_old_segment_is_found_when_its_index_file_is_gone);
    tcase_add_test(tc, a_torn_batch_with_good_records_behind_is_erased);
    tcase_add_test(tc, marks_forged_in_a_body_do_not_make_rot_of_a_torn_batch);
    tcase_add_test(tc, records_forged_in_a_recycled_file_are_no_damage_and_are_erased);
    tcase_add_test(tc, each_use_of_a_file_has_its_own_secret);
    tcase_add_test(tc, records_of_another_history_do_not_chain);
    tcase_add_test(tc, old_records_far_behind_in_a_recycled_file_are_no_damage);
    tcase_add_test(tc, what_a_killed_process_left_unsynced_is_durable_once_it_is_told);
    tcase_add_test(tc, a_start_cut_short_after_a_kill_claims_nothing_too_early);
    tcase_add_loop_test(tc, names_a_killed_process_left_unsynced_are_durable_before_they_are_used, 0, 2);
    tcase_add_test(tc, what_was_committed_is_refused_and_not_erased);
    tcase_add_test(tc, a_vote_survives_when_the_next_save_is_torn_before_the_mirror);
    tcase_add_test(tc, the_known_commit_point_does_not_wait_for_what_is_uncommitted);
    tcase_add_test(tc, a_missing_segment_is_damage);
    tcase_add_test(tc, records_of_a_recycled_file_are_never_taken_for_new_ones);
    tcase_add_test(tc, a_crash_within_a_truncation_resurrects_nothing);
    tcase_add_test(tc, a_truncation_finished_by_a_killed_process_is_not_finished_twice);
    tcase_add_test(tc, a_truncation_whose_end_was_not_synced_takes_nothing_appended_later);
    tcase_add_test(tc, a_truncation_of_what_was_committed_is_refused);
    tcase_add_test_raise_signal(tc, nobody_truncates_what_was_committed_before_the_start, SIGABRT);
    tcase_add_test(tc, hard_state_survives_a_crash_at_any_call);
    tcase_add_test(tc, later_hard_states_overtake_and_are_reported);
    tcase_add_test(tc, the_slot_of_the_later_save_counts_whatever_it_says);
    tcase_add_test(tc, one_bad_slot_is_repaired_two_are_damage);
    tcase_add_test(tc, a_log_without_hard_state_is_damage);
    tcase_add_test(tc, another_groups_or_replicas_directory_is_refused);
    tcase_add_test(tc, newer_and_older_formats_are_refused);
    tcase_add_test(tc, a_directory_in_use_is_refused);
    tcase_add_test(tc, a_read_only_disk_is_refused_with_its_reason);
    tcase_add_test(tc, a_failed_call_ends_the_store_and_reports_nothing);
    tcase_add_test(tc, a_failed_vote_is_not_reported);
    tcase_add_test(tc, a_segment_is_not_used_before_its_name_is_durable);
    tcase_add_test(tc, open_survives_a_crash_at_each_of_its_calls);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
