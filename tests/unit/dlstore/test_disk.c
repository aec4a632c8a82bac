/*
 * test_disk.c - the real disk where it must be careful. The system calls it makes are those below: they note what
 * was asked for, and refuse what a file system may refuse.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dledger/store/disk.h"
#include "tests/lib/scratch.h"

static char dir[64];
static char synced[16][PATH_MAX];
static unsigned synced_count;

int fsync(int fd)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, synced[synced_count % 16], PATH_MAX - 1);
    ck_assert_int_gt(n, 0);
    synced[synced_count++ % 16][n] = '\0';
    return (int)syscall(SYS_fsync, fd);
}

/* A file system with logical blocks of 64 KiB: takes O_DIRECT, but only for whole blocks. */
static bool large_blocks;
static unsigned refused;

static bool refuses(int fd, size_t len, off_t offset)
{
    bool no = large_blocks && (fcntl(fd, F_GETFL) & O_DIRECT) && (len % 65536 != 0 || offset % 65536 != 0);
    refused += no;
    if (no)
        errno = EINVAL;
    return no;
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    /* The high half of the offset is for 32-bit kernels. */
    return refuses(fd, len, offset) ? -1 : syscall(SYS_pwritev, fd, iov, count, offset, 0L);
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    return refuses(fd, len, offset) ? -1 : syscall(SYS_pread64, fd, data, len, offset);
}

static bool was_synced(const char *path)
{
    for (unsigned i = 0; i < synced_count && i < 16; i++)
        if (strcmp(synced[i], path) == 0)
            return true;
    return false;
}

static void setup(void)
{
    scratch_dir(dir, sizeof(dir));
    synced_count = refused = 0;
    large_blocks = false;
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(directories_found_are_made_durable_like_those_made)
{
    struct disk d;
    char a[80], b[80];
    snprintf(a, sizeof(a), "%s/a", dir);
    snprintf(b, sizeof(b), "%s/a/b", dir);
    for (int round = 0; round < 2; round++) { /* the second finds what the first made */
        synced_count = 0;
        ck_assert_int_eq(disk_posix_init(&d, b), 0);
        ck_assert(was_synced(dir));
        ck_assert(was_synced(a));
    }
}
END_TEST

static void list_and_err(void *arg, const char *name)
{
    (void)name;
    ++*(unsigned *)arg;
    errno = EACCES;
}

START_TEST(a_listing_does_not_report_the_errors_of_others)
{
    struct disk d;
    unsigned count = 0;
    ck_assert_int_eq(disk_posix_init(&d, dir), 0);
    int fd = d.ops->open(&d, "file", true);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(d.ops->close(&d, fd), 0);
    ck_assert_int_eq(d.ops->list(&d, ".", list_and_err, &count), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(d.ops->list(&d, "none", list_and_err, &count), -ENOENT);
}
END_TEST

START_TEST(direct_handles_go_buffered_where_blocks_are_larger)
{
    static uint8_t block[DISK_BLOCK] __attribute__((aligned(DISK_BLOCK)));
    struct iovec iov = {block, sizeof(block)};
    struct disk d;
    large_blocks = true;
    ck_assert_int_eq(disk_posix_init(&d, dir), 0);
    int fd = d.ops->open_direct(&d, "file", true), other = d.ops->open_direct(&d, "file", false);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(other, 0);
    memset(block, 7, sizeof(block));
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_int_eq(d.ops->pwritev(&d, fd, &iov, 1, i * DISK_BLOCK), DISK_BLOCK);
    memset(block, 0, sizeof(block));
    ck_assert_int_eq(d.ops->pread(&d, other, block, sizeof(block), 3 * DISK_BLOCK), DISK_BLOCK);
    ck_assert_uint_eq(block[DISK_BLOCK - 1], 7);
    ck_assert_uint_le(refused, 2); /* once per handle; none where /tmp itself knows no direct handles */
    ck_assert_int_eq(d.ops->close(&d, fd), 0);
    ck_assert_int_eq(d.ops->close(&d, other), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disk");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, directories_found_are_made_durable_like_those_made);
    tcase_add_test(tc, a_listing_does_not_report_the_errors_of_others);
    tcase_add_test(tc, direct_handles_go_buffered_where_blocks_are_larger);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
