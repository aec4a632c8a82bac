/* test_err.c - the table of codes, texts of failures, and the two ways the process ends. */
#include <check.h>
#include <signal.h>
#include <string.h>

#include "common/err.h"

START_TEST(test_every_code_has_facts)
{
    for (int code = ERR_NO_ROUTE; code < 0; code++) {
        ck_assert_msg(strncmp(err_name(code), "ERR_", 4) == 0 && strcmp(err_name(code), "ERR_UNKNOWN") != 0,
                      "%d", code);
        ck_assert_msg(err_text(code)[0] != 0, "%d", code);
        ck_assert_msg(err_rmq_code(code) > 0, "%d", code);
    }
    ck_assert_str_eq(err_name(ERR_OK), "ERR_OK");
    ck_assert_int_eq(err_rmq_code(ERR_OK), 0);
    ck_assert_str_eq(err_name(ERR_NOT_LEADER), "ERR_NOT_LEADER");
    ck_assert_int_eq(err_rmq_code(ERR_NOT_LEADER), 14);
    ck_assert_int_eq(err_advice(ERR_NOT_LEADER), ERR_ADVICE_RETRY_ELSEWHERE);
}
END_TEST

START_TEST(test_unknown_codes_are_answered)
{
    const int codes[] = {1, -21, -1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        ck_assert_str_eq(err_text(codes[i]), "unknown error");
        ck_assert_int_eq(err_rmq_code(codes[i]), 1);
        ck_assert_int_eq(err_advice(codes[i]), ERR_ADVICE_NONE);
    }
}
END_TEST

START_TEST(test_set_fills_and_returns_the_code)
{
    struct err err;
    ck_assert_int_eq(err_set(&err, ERR_IO, "disk %d: %s", 3, "gone"), ERR_IO);
    ck_assert_int_eq(err.code, ERR_IO);
    ck_assert_str_eq(err.text, "disk 3: gone");
    ck_assert_int_eq(err_set(NULL, ERR_BUSY, "nobody listens"), ERR_BUSY);
}
END_TEST

START_TEST(test_a_text_may_be_wrapped_into_itself)
{
    struct err err;
    err_set(&err, ERR_IO, "inner");
    err_set(&err, ERR_DAMAGED, "outer: %s", err.text);
    ck_assert_str_eq(err.text, "outer: inner");
}
END_TEST

START_TEST(test_long_texts_are_cut)
{
    struct err err;
    char text[2 * ERR_TEXT_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    err_set(&err, ERR_IO, "%s", text);
    ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX - 1);
}
END_TEST

START_TEST(test_fatal_ends_with_status_70)
{
    fatal("disk %s is gone", "sda");
}
END_TEST

START_TEST(test_broken_invariant_aborts)
{
    int two = 2;
    ENSURE(two == 2);
    ENSURE(two == 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("err");
    TCase *tc = tcase_create("err");
    tcase_add_test(tc, test_every_code_has_facts);
    tcase_add_test(tc, test_unknown_codes_are_answered);
    tcase_add_test(tc, test_set_fills_and_returns_the_code);
    tcase_add_test(tc, test_a_text_may_be_wrapped_into_itself);
    tcase_add_test(tc, test_long_texts_are_cut);
    tcase_add_exit_test(tc, test_fatal_ends_with_status_70, 70);
    tcase_add_test_raise_signal(tc, test_broken_invariant_aborts, SIGABRT);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
