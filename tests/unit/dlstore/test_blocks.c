/* test_blocks.c - bytes put at any place come to stand there, in whole blocks; nothing before them changes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "dledger/store/blocks.h"
#include "tests/lib/fakedisk.h"

#define FILE_BYTES (3u * BLOCKS_STAGE_BYTES)
#define NAME       "file"

static struct fakedisk *fake;
static struct disk *disk;
static struct blocks b;
static int direct, plain;
static uint8_t *expected; /* what the file must hold */

static void setup(void)
{
    fake = fakedisk_new();
    disk = fakedisk_disk(fake);
    direct = disk->ops->open_direct(disk, NAME, true);
    plain = disk->ops->open(disk, NAME, false);
    expected = malloc(FILE_BYTES);
    memset(expected, 0xee, FILE_BYTES); /* an earlier use of the file */
    struct iovec iov = {expected, FILE_BYTES};
    ck_assert_int_eq(disk->ops->pwritev(disk, plain, &iov, 1, 0), FILE_BYTES);
    blocks_init(&b, disk);
    blocks_use(&b, direct);
}

static void teardown(void)
{
    blocks_release(&b);
    free(expected);
    fakedisk_free(fake);
}

/* Put `len` bytes of value `fill` at `offset` in pieces, and note what the file must hold then. */
static void write_at(uint64_t offset, size_t len, uint8_t fill, size_t piece)
{
    uint8_t *bytes = malloc(len);
    memset(bytes, fill, len);
    ck_assert_int_eq(blocks_seek(&b, offset), 0);
    for (size_t at = 0; at < len; at += piece)
        ck_assert_int_eq(blocks_put(&b, bytes + at, piece < len - at ? piece : len - at), 0);
    ck_assert_int_eq(blocks_end(&b), 0);
    free(bytes);
    memset(expected + offset, fill, len);
    uint64_t end = blocks_round_up(offset + len);
    memset(expected + offset + len, 0, end - offset - len);
}

static void check_file(void)
{
    uint8_t *found = malloc(FILE_BYTES);
    ck_assert_int_eq(disk->ops->pread(disk, plain, found, FILE_BYTES, 0), FILE_BYTES);
    ck_assert_int_eq(memcmp(found, expected, FILE_BYTES), 0);
    free(found);
}

START_TEST(a_first_write_keeps_what_stands_before_it)
{
    write_at(5000, 10, 1, 10);
    check_file();
}
END_TEST

START_TEST(a_write_may_begin_within_the_last_one)
{
    write_at(4096, 9000, 1, 700);
    write_at(4096 + 8960, 100, 2, 100); /* in its last block */
    write_at(4096 + 4000, 200, 3, 7);   /* in an earlier one, which is no longer at hand */
    check_file();
}
END_TEST

START_TEST(writes_longer_than_the_stage)
{
    write_at(4100, BLOCKS_STAGE_BYTES + 10000, 1, 100000);
    write_at(4100 + BLOCKS_STAGE_BYTES + 9960, 50, 2, 50);
    write_at(4096, BLOCKS_STAGE_BYTES, 3, BLOCKS_STAGE_BYTES);
    check_file();
}
END_TEST

START_TEST(what_another_handle_wrote_is_seen_when_told)
{
    write_at(4096, 100, 1, 100);
    uint8_t byte = 9;
    struct iovec iov = {&byte, 1};
    ck_assert_int_eq(disk->ops->pwritev(disk, plain, &iov, 1, 4100), 1);
    expected[4100] = 9;
    blocks_use(&b, direct);
    write_at(4196, 100, 2, 100);
    check_file();
}
END_TEST

START_TEST(behind_the_end_of_a_file_stand_zeros)
{
    int fd = disk->ops->open_direct(disk, "short", true);
    uint8_t found[2 * DISK_BLOCK], zeros[2 * DISK_BLOCK] = {0};
    blocks_use(&b, fd);
    ck_assert_int_eq(blocks_seek(&b, DISK_BLOCK + 100), 0);
    ck_assert_int_eq(blocks_put(&b, "x", 1), 0);
    ck_assert_int_eq(blocks_end(&b), 0);
    int reader = disk->ops->open(disk, "short", false);
    ck_assert_int_eq(disk->ops->pread(disk, reader, found, sizeof(found), 0), 2 * DISK_BLOCK);
    zeros[DISK_BLOCK + 100] = 'x';
    ck_assert_int_eq(memcmp(found, zeros, sizeof(found)), 0);
}
END_TEST

START_TEST(errors_are_returned)
{
    fakedisk_fail(fake, FAKEDISK_READ, 1, 5, false);
    ck_assert_int_eq(blocks_seek(&b, 5000), -5);
    blocks_use(&b, direct);
    fakedisk_fail(fake, FAKEDISK_WRITE, 1, 28, false);
    ck_assert_int_eq(blocks_seek(&b, 8192), 0);
    ck_assert_int_eq(blocks_put(&b, "x", 1), 0);
    ck_assert_int_eq(blocks_end(&b), -28);
    check_file();
}
END_TEST

START_TEST(any_series_of_appends)
{
    struct rng rng;
    uint64_t at = 4096;
    rng_seed(&rng, (uint64_t)_i + 1);
    for (int n = 0; n < 60; n++) {
        size_t len = (size_t)rng_between(&rng, 41, rng_chance(&rng, 0.1) ? 90000 : 6000);
        write_at(at, len, (uint8_t)n, (size_t)rng_between(&rng, 1, 5000));
        at += len - 40; /* the next one overwrites the mark */
        if (rng_chance(&rng, 0.1))
            blocks_use(&b, direct);
    }
    check_file();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blocks");
    TCase *tc = tcase_create("blocks");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_first_write_keeps_what_stands_before_it);
    tcase_add_test(tc, a_write_may_begin_within_the_last_one);
    tcase_add_test(tc, writes_longer_than_the_stage);
    tcase_add_test(tc, what_another_handle_wrote_is_seen_when_told);
    tcase_add_test(tc, behind_the_end_of_a_file_stand_zeros);
    tcase_add_test(tc, errors_are_returned);
    tcase_add_loop_test(tc, any_series_of_appends, 0, 20);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
