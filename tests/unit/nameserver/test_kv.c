/* test_kv.c - key-value settings: the table, its file form, and what is left after a restart or a failed write. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "nameserver/kv_store.h"
#include "tests/lib/scratch.h"

#define DEADLINE_MS 10000u

static struct err err;
static char dir[64], path[128];

/* ---- table ---- */

static const char *text_of(struct bld *out)
{
    static char *text;
    struct buf *b = bld_take(out);

    free(text);
    text = calloc(b->len + 1, 1);
    memcpy(text, b->data, b->len);
    buf_unref(b);
    return text;
}

START_TEST(table_in_and_out)
{
    struct bld out = bld_of(4096);
    struct kv *kv = kv_new(), *again;

    ck_assert_int_eq(kv_put(kv, STR("b"), STR("k"), STR("1"), &err), 0);
    ck_assert_int_eq(kv_put(kv, STR("a"), STR("y"), STR("x;\"\n"), &err), 0);
    ck_assert_int_eq(kv_put(kv, STR("a"), STR("x"), STR(""), &err), 0);
    ck_assert_int_eq(kv_put(kv, STR("b"), STR("k"), STR("2"), &err), 0);
    ck_assert_uint_eq(kv_count(kv), 3);
    kv_json(kv, &out);
    ck_assert_str_eq(text_of(&out),
                     "{\"configTable\":{\"a\":{\"x\":\"\",\"y\":\"x;\\\"\\n\"},\"b\":{\"k\":\"2\"}}}");
    kv_json(kv, &out);
    ck_assert_int_eq(kv_parse(str_of(text_of(&out)), &again, &err), 0);
    ck_assert(str_is(kv_get(again, STR("a"), STR("y")), "x;\"\n"));
    ck_assert_uint_eq(kv_namespace_json(again, STR("a"), &out), 2);
    ck_assert_str_eq(text_of(&out), "{\"table\":{\"x\":\"\",\"y\":\"x;\\\"\\n\"}}");
    ck_assert_uint_eq(kv_namespace_json(again, STR("c"), &out), 0);
    ck_assert_str_eq(text_of(&out), "{\"table\":{}}");
    kv_delete(again, STR("a"), STR("x"));
    kv_delete(again, STR("a"), STR("none"));
    ck_assert_ptr_null(kv_get(again, STR("a"), STR("x")).p);
    ck_assert_uint_eq(kv_count(again), 2);
    ck_assert_uint_eq(kv_count(kv), 3);
    kv_free(again);
    kv_free(kv);
}
END_TEST

START_TEST(table_refuses)
{
    struct kv *kv = kv_new();
    char *value = calloc(KV_VALUE_MAX + 1, 1);
    char name[KV_NAME_MAX + 2];

    memset(value, 'v', KV_VALUE_MAX + 1);
    memset(name, 'n', sizeof(name));
    ck_assert_int_eq(kv_put(kv, STR(""), STR("k"), STR("v"), &err), ERR_INVALID);
    ck_assert_int_eq(kv_put(kv, STR("n"), (struct str){name, KV_NAME_MAX + 1}, STR("v"), &err), ERR_INVALID);
    ck_assert_int_eq(kv_put(kv, STR("n"), STR("k"), (struct str){value, KV_VALUE_MAX + 1}, &err),
                     ERR_TOO_LARGE);
    for (uint32_t i = 0; i < KV_TEXT_MAX_BYTES / KV_VALUE_MAX; i++) {
        char key[16];
        int rc;

        snprintf(key, sizeof(key), "%u", i);
        rc = kv_put(kv, STR("n"), str_of(key), (struct str){value, KV_VALUE_MAX}, &err);
        ck_assert_int_eq(rc, i + 1 < KV_TEXT_MAX_BYTES / KV_VALUE_MAX ? 0 : ERR_TOO_LARGE);
    }
    kv_free(kv);
    free(value);
}
END_TEST

START_TEST(files_that_are_no_table)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{}",
                                      "{\"configTable\":1}",
                                      "{\"configTable\":{\"n\":1}}",
                                      "{\"configTable\":{\"n\":{\"k\":{}}}}",
                                      "{\"configTable\":{\"\":{\"k\":\"v\"}}}"};
    struct kv *kv;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(kv_parse(str_of(bad[i]), &kv, &err) != 0, "%s", bad[i]);
        ck_assert_ptr_null(kv);
    }
}
END_TEST

/* ---- store ---- */

static struct loop *loop;
static struct worker *worker;
static struct kv_store *store;
static int answered, refused;

static void open_store(void)
{
    int rc;

    loop = loop_new();
    worker = worker_new(loop, "kv", 1);
    rc = kv_store_open(path, worker, &store, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
}

static void close_store(void)
{
    kv_store_stop(store);
    worker_free(worker);
    loop_turn(loop, 0);
    kv_store_close(store);
    loop_free(loop);
}

static void setup(void)
{
    scratch_dir(dir, sizeof(dir));
    snprintf(path, sizeof(path), "%s/deep/down/kvConfig.json", dir);
    answered = refused = 0;
    open_store();
}

static void teardown(void)
{
    char command[160];

    close_store();
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void on_changed(void *arg, const struct err *e)
{
    (void)arg;
    answered++;
    refused += e->code != 0;
}

static void change(const char *key, struct str value)
{
    kv_store_change(store, STR("n"), str_of(key), value, on_changed, NULL);
}

static void wait_for(int wanted)
{
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;

    while (answered < wanted && clock_mono_ms() < give_up_ms)
        loop_turn(loop, 100);
    ck_assert_int_eq(answered, wanted);
}

static bool value_is(const char *key, const char *value)
{
    return str_is(kv_get(kv_store_table(store), STR("n"), str_of(key)), value);
}

START_TEST(answered_changes_survive)
{
    change("a", STR("1"));
    ck_assert_int_eq(answered, 0);
    ck_assert_uint_eq(kv_count(kv_store_table(store)), 0); /* not durable, not readable */
    wait_for(1);
    ck_assert(value_is("a", "1"));
    for (int i = 0; i < 20; i++) {
        char key[8];

        snprintf(key, sizeof(key), "k%d", i);
        change(key, STR("v"));
    }
    change("k0", STR("w"));
    change("k1", (struct str){NULL, 0});
    wait_for(23);
    ck_assert_int_eq(refused, 0);
    close_store();
    open_store();
    ck_assert(value_is("a", "1"));
    ck_assert(value_is("k0", "w"));
    ck_assert_ptr_null(kv_get(kv_store_table(store), STR("n"), STR("k1")).p);
    ck_assert_uint_eq(kv_count(kv_store_table(store)), 20);
}
END_TEST

START_TEST(a_bad_change_fails_alone)
{
    char name[KV_NAME_MAX + 2] = {0};

    memset(name, 'n', sizeof(name) - 1);
    change("a", STR("1"));
    change(name, STR("2"));
    change("b", STR("3"));
    wait_for(3);
    ck_assert_int_eq(refused, 1);
    ck_assert(value_is("a", "1"));
    ck_assert(value_is("b", "3"));
}
END_TEST

START_TEST(a_failed_write_changes_nothing)
{
    char blocker[160];

    change("a", STR("1"));
    wait_for(1);
    snprintf(blocker, sizeof(blocker), "%s.tmp", path);
    ck_assert_int_eq(mkdir(blocker, 0777), 0);
    change("a", STR("2"));
    wait_for(2);
    ck_assert_int_eq(refused, 1);
    ck_assert(value_is("a", "1"));
    ck_assert_int_eq(rmdir(blocker), 0);
    change("a", STR("3"));
    wait_for(3);
    ck_assert_int_eq(refused, 1);
    ck_assert(value_is("a", "3"));
}
END_TEST

START_TEST(two_servers_do_not_share_a_file)
{
    struct worker *other_worker = worker_new(loop, "kv2", 1);
    struct kv_store *mine = store, *other;

    change("a", STR("1"));
    wait_for(1);
    ck_assert_int_eq(kv_store_open(path, other_worker, &other, &err), 0);
    store = other;
    change("a", STR("2"));
    wait_for(2);
    ck_assert_int_eq(refused, 1);
    ck_assert(value_is("a", "1"));
    kv_store_stop(other);
    worker_free(other_worker);
    kv_store_close(other);
    store = mine;
}
END_TEST

START_TEST(what_waits_at_the_stop_is_refused)
{
    change("a", STR("1"));
    change("b", STR("2"));
    kv_store_stop(store);
    ck_assert_int_eq(answered, 1); /* b */
    change("c", STR("3"));
    ck_assert_int_eq(answered, 2);
    wait_for(3);
    ck_assert_int_eq(refused, 2);
    close_store();
    open_store();
    ck_assert(value_is("a", "1"));
    ck_assert_uint_eq(kv_count(kv_store_table(store)), 1);
}
END_TEST

START_TEST(a_damaged_file_is_said_and_kept)
{
    struct kv_store *other;
    struct stat st;
    FILE *f;

    change("a", STR("1"));
    wait_for(1);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("{\"configTable\":{\"n\":{\"a\":", f);
    fclose(f);
    ck_assert_int_eq(kv_store_open(path, worker, &other, &err), ERR_DAMAGED);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 25);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv");
    TCase *table = tcase_create("table"), *file = tcase_create("store");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, table);
    tcase_add_test(table, table_in_and_out);
    tcase_add_test(table, table_refuses);
    tcase_add_test(table, files_that_are_no_table);
    suite_add_tcase(suite, file);
    tcase_add_checked_fixture(file, setup, teardown);
    tcase_add_test(file, answered_changes_survive);
    tcase_add_test(file, a_bad_change_fails_alone);
    tcase_add_test(file, a_failed_write_changes_nothing);
    tcase_add_test(file, two_servers_do_not_share_a_file);
    tcase_add_test(file, what_waits_at_the_stop_is_refused);
    tcase_add_test(file, a_damaged_file_is_said_and_kept);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
