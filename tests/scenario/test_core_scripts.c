/*
 * test_core_scripts.c - each tests/scenario/core/NAME.txt must come out as it is written there.
 *
 * After a wanted change of behaviour: REWRITE=1, then read the difference. Run from the root of the source
 * tree.
 */
#include <check.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenario/script.h"

static glob_t scripts;

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    char *text = NULL;
    size_t size = 0;
    ck_assert_int_ge(getdelim(&text, &size, 0, f), 0);
    fclose(f);
    return text;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* Number of the first line that differs, and what it is in `text`. */
static void show_difference(const char *path, const char *want, const char *have)
{
    unsigned line = 1;
    while (*want != 0 && *want == *have) {
        line += *want == '\n';
        want++;
        have++;
    }
    fprintf(stderr, "%s:%u: from here on it should be\n%.200s\n--- but is\n%.200s\n", path, line, want, have);
}

START_TEST(transcript_is_unchanged)
{
    const char *path = scripts.gl_pathv[_i];
    char *want = read_file(path);
    char *have = script_run(want);
    bool same = strcmp(want, have) == 0;
    if (!same && getenv("REWRITE") != NULL)
        write_file(path, have);
    else if (!same)
        show_difference(path, want, have);
    ck_assert_msg(same || getenv("REWRITE") != NULL, "%s", path);
    free(want);
    free(have);
}
END_TEST

int main(void)
{
    if (glob("tests/scenario/core/*.txt", 0, NULL, &scripts) != 0) {
        fprintf(stderr, "no tests/scenario/core/*.txt: not in the root of the source tree?\n");
        return 2;
    }
    Suite *suite = suite_create("core transcripts");
    TCase *tcase = tcase_create("transcript");
    tcase_add_loop_test(tcase, transcript_is_unchanged, 0, (int)scripts.gl_pathc);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    globfree(&scripts);
    return failed == 0 ? 0 : 1;
}
