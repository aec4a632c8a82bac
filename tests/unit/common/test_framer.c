/* test_framer.c - the cutter alone: every split of a stream, limits, stopping, and how much memory a promise
 * gets. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/err.h"
#include "common/framer.h"

#define FRAME_MAX (16u << 20)

static uint8_t scratch[FRAMER_SCRATCH_BYTES];
static struct framer framer;

/* The taker: frames must carry their number, 0, 1, 2, ... */
struct taken {
    uint32_t count, stop_after; /* 0: never */
    size_t bytes;
};
static struct taken taken;

static bool take(void *arg, const uint8_t *frame, size_t len)
{
    struct taken *t = arg;
    ck_assert_uint_eq(get_be32(frame) + 4, len);
    if (len >= 8)
        ck_assert_uint_eq(get_be32(frame + 4), t->count);
    t->bytes += len;
    return ++t->count != t->stop_after;
}

static void setup(void)
{
    framer_init(&framer, 4, FRAME_MAX);
    taken = (struct taken){0};
}

static void teardown(void)
{
    framer_release(&framer);
}

static int feed(const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t room;
        uint8_t *to = framer_room(&framer, scratch, &room);
        ck_assert_uint_gt(room, 0);
        size_t n = len < room ? len : room;
        memcpy(to, data, n);
        int rc = framer_fed(&framer, scratch, n, take, &taken);
        if (rc != 0)
            return rc;
        data += n;
        len -= n;
    }
    return 0;
}

/* Frames of the given whole lengths, numbered. Caller frees. */
static uint8_t *stream(const uint32_t *lens, size_t n, size_t *total)
{
    *total = 0;
    for (size_t i = 0; i < n; i++)
        *total += lens[i];
    uint8_t *bytes = calloc(1, *total), *p = bytes;
    for (size_t i = 0; i < n; i++) {
        put_be32(p, lens[i] - 4);
        if (lens[i] >= 8)
            put_be32(p + 4, (uint32_t)i);
        p += lens[i];
    }
    return bytes;
}

START_TEST(test_every_split_in_two)
{
    const uint32_t lens[] = {8, 4, 30, 9, 8};
    size_t total;
    uint8_t *bytes = stream(lens, 5, &total);
    for (size_t at = 0; at <= total; at++) {
        taken = (struct taken){0};
        ck_assert_int_eq(feed(bytes, at), 0);
        ck_assert_int_eq(feed(bytes + at, total - at), 0);
        ck_assert_uint_eq(taken.count, 5);
        ck_assert_ptr_null(framer.held); /* nothing is kept between frames */
    }
    free(bytes);
}
END_TEST

START_TEST(test_sizes_around_every_threshold)
{
    const uint32_t lens[] = {4095,   4096,   4097,   4098,   8191,    8192, 8193,
                             131071, 131072, 131073, 262144, 1000001, 8};
    const size_t chunks[] = {1000, 4095, 4096, 4097, 131072, 131073, 5000000};
    size_t total, n = sizeof(lens) / sizeof(lens[0]);
    uint8_t *bytes = stream(lens, n, &total);
    for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
        taken = (struct taken){0};
        for (size_t at = 0; at < total; at += chunks[c])
            ck_assert_int_eq(feed(bytes + at, total - at < chunks[c] ? total - at : chunks[c]), 0);
        ck_assert_uint_eq(taken.count, n);
        ck_assert_uint_eq(taken.bytes, total);
    }
    free(bytes);
}
END_TEST

START_TEST(test_limits)
{
    uint8_t head[5] = {0};
    framer_init(&framer, 20, 100);
    put_be32(head, 15);
    ck_assert_int_eq(feed(head, 4), ERR_MALFORMED);
    framer_release(&framer);
    framer_init(&framer, 20, 100);
    put_be32(head, 97);
    ck_assert_int_eq(feed(head, 4), ERR_TOO_LARGE);
    framer_release(&framer);
    framer_init(&framer, 20, 100);
    put_be32(head, 0xffffffff);
    ck_assert_int_eq(feed(head, 5), ERR_TOO_LARGE);
    framer_release(&framer);
    framer_init(&framer, 20, 100);
    put_be32(head, 96);
    ck_assert_int_eq(feed(head, 4), 0);
}
END_TEST

START_TEST(test_frames_before_a_bad_one_are_handed_out)
{
    uint8_t bytes[12] = {0, 0, 0, 4, 0, 0, 0, 0, 0x7f, 0, 0, 0};
    ck_assert_int_eq(feed(bytes, sizeof(bytes)), ERR_TOO_LARGE);
    ck_assert_uint_eq(taken.count, 1);
}
END_TEST

START_TEST(test_memory_follows_the_bytes_not_the_promise)
{
    const uint32_t len = FRAME_MAX;
    size_t total;
    uint8_t *bytes = stream(&len, 1, &total);
    ck_assert_int_eq(feed(bytes, 20), 0);
    ck_assert_uint_le(framer.cap, 4096);
    for (size_t at = 20; at < total; at += 3000) {
        ck_assert_int_eq(feed(bytes + at, total - at < 3000 ? total - at : 3000), 0);
        ck_assert_uint_le(framer.cap, 2 * (at + 3000) + 8192);
    }
    ck_assert_uint_eq(taken.count, 1);
    ck_assert_ptr_null(framer.held);
    free(bytes);
}
END_TEST

START_TEST(test_stop_and_resume)
{
    const uint32_t lens[] = {8, 8, 8, 9000, 8, 12};
    size_t total;
    uint8_t *bytes = stream(lens, 6, &total);
    taken.stop_after = 2;
    ck_assert_int_eq(feed(bytes, total - 3), 0);
    ck_assert(framer.stopped);
    ck_assert_uint_eq(taken.count, 2);
    taken.stop_after = 3;
    ck_assert_int_eq(framer_resume(&framer, take, &taken), 0);
    ck_assert(framer.stopped);
    ck_assert_uint_eq(taken.count, 3);
    taken.stop_after = 0;
    ck_assert_int_eq(framer_resume(&framer, take, &taken), 0);
    ck_assert(!framer.stopped);
    ck_assert_uint_eq(taken.count, 5);
    ck_assert_int_eq(feed(bytes + total - 3, 3), 0);
    ck_assert_uint_eq(taken.count, 6);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("framer");
    TCase *tc = tcase_create("framer");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_every_split_in_two);
    tcase_add_test(tc, test_sizes_around_every_threshold);
    tcase_add_test(tc, test_limits);
    tcase_add_test(tc, test_frames_before_a_bad_one_are_handed_out);
    tcase_add_test(tc, test_memory_follows_the_bytes_not_the_promise);
    tcase_add_test(tc, test_stop_and_resume);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
