/* test_buf.c - references from several threads, and builders that know their end. */
#include <check.h>
#include <pthread.h>

#include "common/buf.h"

START_TEST(test_copy_and_references)
{
    struct buf *b = buf_copy("hello", 5);
    ck_assert_uint_eq(b->len, 5);
    ck_assert_mem_eq(b->data, "hello", 5);
    ck_assert_ptr_eq(buf_ref(b), b);
    buf_unref(b);
    ck_assert_uint_eq(b->len, 5); /* still ours */
    buf_unref(b);
    buf_unref(NULL);
    b = buf_copy(NULL, 0);
    ck_assert_uint_eq(b->len, 0);
    buf_unref(b);
}
END_TEST

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 10000; i++)
        buf_unref(buf_ref(arg));
    return NULL;
}

START_TEST(test_references_from_threads)
{
    struct buf *b = buf_new(8);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ref_and_unref, b), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&b->refs), 1);
    buf_unref(b);
}
END_TEST

START_TEST(test_builder_grows_to_its_maximum)
{
    struct bld w = bld_of(1000);
    for (int i = 0; i < 1000; i++)
        bld_bytes(&w, "x", 1);
    ck_assert(!w.full);
    ck_assert_uint_eq(w.b->len, 1000);
    ck_assert_uint_le(w.b->cap, 1000);
    bld_bytes(&w, "y", 1);
    ck_assert(w.full);
    ck_assert_ptr_null(w.b);
    bld_bytes(&w, "", 0);
    ck_assert_ptr_null(bld_room(&w, 0));
    ck_assert_ptr_null(bld_take(&w));
}
END_TEST

START_TEST(test_builder_refuses_absurd_lengths)
{
    struct bld w = bld_of(100);
    bld_str(&w, STR("abc"));
    ck_assert_ptr_null(bld_room(&w, SIZE_MAX));
    ck_assert(w.full);
}
END_TEST

START_TEST(test_format_short_long_and_exact)
{
    struct bld w = bld_of(2000);
    bld_fmt(&w, "%d-%s", 7, "x");
    bld_fmt(&w, "%0997d", 1);
    bld_fmt(&w, "%01000d", 2);
    ck_assert(!w.full);
    struct buf *b = bld_take(&w);
    ck_assert_uint_eq(b->len, 2000);
    ck_assert_mem_eq(b->data, "7-x000", 6);
    ck_assert_uint_eq(b->data[999], '1');
    ck_assert_uint_eq(b->data[1999], '2');
    buf_unref(b);
}
END_TEST

START_TEST(test_take_of_nothing_is_an_empty_buffer)
{
    struct bld w = bld_of(10);
    struct buf *b = bld_take(&w);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(b->len, 0);
    buf_unref(b);
    bld_str(&w, STR("again"));
    b = bld_take(&w);
    ck_assert_uint_eq(b->len, 5);
    buf_unref(b);
    bld_str(&w, STR("dropped"));
    bld_drop(&w);
    ck_assert_ptr_null(w.b);
}
END_TEST

START_TEST(test_room_is_written_by_the_caller)
{
    struct bld w = bld_of(10);
    uint8_t *room = bld_room(&w, 4);
    put_be32(room, 0x41424344);
    bld_str(&w, STR("E"));
    struct buf *b = bld_take(&w);
    ck_assert_uint_eq(b->len, 5);
    ck_assert_mem_eq(b->data, "ABCDE", 5);
    buf_unref(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("buf");
    TCase *tc = tcase_create("buf");
    tcase_add_test(tc, test_copy_and_references);
    tcase_add_test(tc, test_references_from_threads);
    tcase_add_test(tc, test_builder_grows_to_its_maximum);
    tcase_add_test(tc, test_builder_refuses_absurd_lengths);
    tcase_add_test(tc, test_format_short_long_and_exact);
    tcase_add_test(tc, test_take_of_nothing_is_an_empty_buffer);
    tcase_add_test(tc, test_room_is_written_by_the_caller);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
