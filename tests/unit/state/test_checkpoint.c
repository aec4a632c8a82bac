/*
 * test_checkpoint.c - the LMDB checkpoint: what it keeps, whom it refuses, damage.
 */
#include <fcntl.h>
#include <ftw.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/crc.h"
#include "common/log.h"
#include "tests/lib/scratch.h"
#include "tests/unit/state/fixture.h"

#define MAP_BYTES (1u << 20)

static char dir[64];
static struct checkpoint door;
static struct err err;
static struct entry_bytes e;

static void quiet(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int open_as(const char *group, dl_peer_t self)
{
    return checkpoint_lmdb_open(dir, group, self, MAP_BYTES, &door, &err);
}

static void setup(void)
{
    log_set_sink(quiet, NULL);
    scratch_dir(dir, sizeof dir);
    ck_assert_msg(open_as("G", 1) == 0, "%s", err.text);
}

static void teardown(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void close_door(void)
{
    door.close(door.impl);
}

static void reopen(void)
{
    close_door();
    int rc = open_as("G", 1);
    ck_assert_msg(rc == 0, "%s", rc ? err.text : "");
}

static int write_pairs(const struct checkpoint_put *puts, uint32_t count, dl_index_t applied)
{
    struct checkpoint_batch batch = {.puts = puts, .put_count = count, .applied = applied, .applied_term = 9};
    return door.write(door.impl, &batch);
}

static int collect(void *arg, struct str key, struct str value)
{
    char *out = arg;
    sprintf(out + strlen(out), "%.*s=%.*s ", (int)key.len, key.p, (int)value.len, value.p);
    return 0;
}

static int stop_at_once(void *arg, struct str key, struct str value)
{
    (void)key;
    (void)value;
    ++*(int *)arg;
    return ERR_DAMAGED;
}

START_TEST(pairs_and_the_applied_index_are_kept)
{
    dl_index_t index = 7;
    dl_term_t term = 7;
    ck_assert_int_eq(door.applied(door.impl, &index, &term), 0);
    ck_assert_uint_eq(index, 0);
    const struct checkpoint_put puts[] = {
        {STR("b2"), STR("two")}, {STR("b1"), STR("one")}, {STR("a"), STR("x")}, {STR("c"), STR("y")}};
    ck_assert_int_eq(write_pairs(puts, 4, 5), 0);
    const struct checkpoint_put more[] = {
        {STR("b1"), STR("uno")}, {STR("c"), {NULL, 0}}, {STR("never"), {NULL, 0}}};
    ck_assert_int_eq(write_pairs(more, 3, 6), 0);
    reopen();
    ck_assert_int_eq(door.applied(door.impl, &index, &term), 0);
    ck_assert_uint_eq(index, 6);
    ck_assert_uint_eq(term, 9);
    char text[64] = "";
    ck_assert_int_eq(door.scan(door.impl, STR("b"), collect, text), 0);
    ck_assert_str_eq(text, "b1=uno b2=two ");
    int calls = 0;
    ck_assert_int_eq(door.scan(door.impl, STR("b"), stop_at_once, &calls), ERR_DAMAGED);
    ck_assert_int_eq(calls, 1);
    struct bld value = bld_of(100);
    ck_assert_int_eq(door.get(door.impl, STR("a"), &value), 0);
    ck_assert_uint_eq(value.b->len, 1);
    bld_drop(&value);
    ck_assert_int_eq(door.get(door.impl, STR("c"), &value), ERR_NOT_FOUND);
    close_door();
}
END_TEST

START_TEST(blocks_are_kept_and_slots_are_never_used_again)
{
    uint8_t blocks[3][CHECKPOINT_BLOCK_BYTES], back[CHECKPOINT_BLOCK_BYTES];
    /* The last slot of the first file, and two of the second. */
    struct checkpoint_block list[3];
    for (uint32_t i = 0; i < 3; i++) {
        memset(blocks[i], 'a' + (int)i, sizeof blocks[i]);
        list[i] = (struct checkpoint_block){65535 + i, blocks[i]};
    }
    struct checkpoint_batch batch = {.blocks = list, .block_count = 3, .applied = 1};
    ck_assert_uint_eq(door.next_slot(door.impl), 0);
    ck_assert_int_eq(door.write(door.impl, &batch), 0);
    reopen();
    ck_assert_uint_eq(door.next_slot(door.impl), 65538);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(door.read_block(door.impl, 65535 + i, back), 0);
        ck_assert_mem_eq(back, blocks[i], sizeof back);
    }
    ck_assert_int_eq(door.read_block(door.impl, 65538, back), ERR_NOT_FOUND);
    ck_assert_int_eq(door.read_block(door.impl, 1000000, back), ERR_NOT_FOUND);

    /* A crash in mid-block leaves part of one: it is skipped. */
    char path[128];
    snprintf(path, sizeof path, "%s/index/00000001.qx", dir);
    close_door();
    ck_assert_int_eq(truncate(path, 2 * 4096 + 1), 0);
    ck_assert_int_eq(open_as("G", 1), 0);
    ck_assert_uint_eq(door.next_slot(door.impl), 65539);
    close_door();
}
END_TEST

START_TEST(the_map_grows_when_it_is_full)
{
    static char big[200000];
    memset(big, 'x', sizeof big);
    for (int i = 0; i < 40; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        const struct checkpoint_put put = {str_of(key), {big, sizeof big}};
        ck_assert_int_eq(write_pairs(&put, 1, (dl_index_t)i + 1), 0);
    }
    reopen();
    struct bld value = bld_of(sizeof big);
    ck_assert_int_eq(door.get(door.impl, STR("k39"), &value), 0);
    ck_assert_uint_eq(value.b->len, sizeof big);
    bld_drop(&value);
    close_door();
}
END_TEST

START_TEST(a_second_owner_is_refused)
{
    struct checkpoint second;
    ck_assert_int_eq(checkpoint_lmdb_open(dir, "G", 1, MAP_BYTES, &second, &err), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(err.text, dir));
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(checkpoint_lmdb_open(dir, "G", 1, MAP_BYTES, &second, &err) == ERR_LOCKED ? 0 : 1);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    reopen();
    close_door();
}
END_TEST

START_TEST(a_directory_of_another_group_or_replica_is_refused)
{
    close_door();
    ck_assert_int_eq(open_as("H", 1), ERR_FOREIGN);
    ck_assert_ptr_nonnull(strstr(err.text, "group G"));
    ck_assert_int_eq(open_as("G", 2), ERR_FOREIGN);
    ck_assert_int_eq(open_as("GG", 1), ERR_FOREIGN);
    ck_assert_int_eq(open_as("G", 1), 0);
    close_door();
}
END_TEST

/* Change a stored pair behind the checkpoint's back. */
static void tamper(struct str key, void (*change)(uint8_t *value, size_t len))
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, dir, 0, 0644), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    MDB_val k = {key.len, (void *)key.p}, v;
    ck_assert_int_eq(mdb_get(txn, dbi, &k, &v), 0);
    uint8_t *copy = malloc(v.mv_size);
    memcpy(copy, v.mv_data, v.mv_size);
    change(copy, v.mv_size);
    v.mv_data = copy;
    ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    free(copy);
    mdb_env_close(env);
}

static void flip(uint8_t *value, size_t len)
{
    value[len / 2] ^= 4;
}

static void newer(uint8_t *value, size_t len)
{
    put_le32(value, 2);
    put_le32(value + len - 4, crc32c(crc32c(0, "\0identity", 9), value, len - 4));
}

START_TEST(a_newer_format_is_refused)
{
    close_door();
    tamper(STR("\0identity"), newer);
    ck_assert_int_eq(open_as("G", 1), ERR_VERSION);
    ck_assert_ptr_nonnull(strstr(err.text, "format 2"));
}
END_TEST

START_TEST(a_damaged_identity_is_refused)
{
    close_door();
    tamper(STR("\0identity"), flip);
    ck_assert_int_eq(open_as("G", 1), ERR_DAMAGED);
}
END_TEST

START_TEST(a_damaged_record_is_named)
{
    struct rig rig = {0};
    close_door();
    ck_assert_int_eq(open_as("G", 1), 0);
    rig_open(&rig, door, 0);
    entry_topic_put(&e, "orders", 1, 1);
    rig_apply(&rig, &e);
    rig_flush(&rig);
    rig_crash(&rig);
    close_door();
    tamper(STR("torders"), flip);

    ck_assert_int_eq(open_as("G", 1), 0);
    struct state_opts opts = {.checkpoint = &door};
    struct state *s;
    ck_assert_int_eq(state_open(&opts, &s, &err), ERR_DAMAGED);
    ck_assert_ptr_null(s);
    ck_assert_ptr_nonnull(strstr(err.text, "t/orders"));
    close_door();
    tamper(STR("torders"), flip);
    ck_assert_int_eq(open_as("G", 1), 0);
    ck_assert_int_eq(state_open(&opts, &s, &err), 0);
    state_close(s);
    close_door();

    tamper(STR("\0applied"), flip);
    ck_assert_int_eq(open_as("G", 1), 0);
    ck_assert_int_eq(state_open(&opts, &s, &err), ERR_DAMAGED);
    close_door();
}
END_TEST

START_TEST(not_a_database_is_an_error)
{
    char path[128];
    close_door();
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd = open(path, O_WRONLY | O_TRUNC);
    ck_assert_int_ge(fd, 0);
    char junk[8192];
    memset(junk, 'j', sizeof junk);
    ck_assert_int_eq(write(fd, junk, sizeof junk), (int)sizeof junk);
    close(fd);
    ck_assert_int_eq(open_as("G", 1), ERR_DAMAGED);
    ck_assert_ptr_nonnull(strstr(err.text, dir));
}
END_TEST

START_TEST(a_directory_that_cannot_be_made_is_an_error)
{
    struct checkpoint other;
    ck_assert_int_eq(checkpoint_lmdb_open("/proc/none/state", "G", 1, 0, &other, &err), ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "/proc/none/state"));
    close_door();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tc = tcase_create("checkpoint");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, pairs_and_the_applied_index_are_kept);
    tcase_add_test(tc, blocks_are_kept_and_slots_are_never_used_again);
    tcase_add_test(tc, the_map_grows_when_it_is_full);
    tcase_add_test(tc, a_second_owner_is_refused);
    tcase_add_test(tc, a_directory_of_another_group_or_replica_is_refused);
    tcase_add_test(tc, a_newer_format_is_refused);
    tcase_add_test(tc, a_damaged_identity_is_refused);
    tcase_add_test(tc, a_damaged_record_is_named);
    tcase_add_test(tc, not_a_database_is_an_error);
    tcase_add_test(tc, a_directory_that_cannot_be_made_is_an_error);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
