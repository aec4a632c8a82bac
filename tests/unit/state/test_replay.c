/*
 * test_replay.c - the same log gives the same state: applied straight, or with crashes at random points and
 * replay from the checkpoint, in memory and in LMDB, on a thread of its own, and killed in mid-write.
 */
#include <ftw.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/rng.h"
#include "tests/lib/scratch.h"
#include "tests/unit/state/fixture.h"

#define LOG_ENTRIES 6000u
#define EACH_DIGEST 16u

/* The log, and the digests of the state after each EACH_DIGEST entries when nothing ever crashes. */
static struct {
    dl_term_t term[LOG_ENTRIES + 1];
    dl_pos_t position[LOG_ENTRIES + 1];
    struct entry_bytes *entry[LOG_ENTRIES + 1];
    uint64_t digest[LOG_ENTRIES / EACH_DIGEST + 1];
} straight;

static const char *const names[] = {"a", "b", "c", "orders", "%RETRY%g", "wide"};
#define NAMES (sizeof names / sizeof names[0])

static const char *pick(struct rng *rng, uint64_t n)
{
    return names[rng_below(rng, n)];
}

static void random_messages(struct rng *rng, struct entry_bytes *e)
{
    static const char *const tags[] = {NULL, "x", "y"};
    /* One queue gets most, so that it fills blocks. */
    bool busy = rng_chance(rng, 0.7);
    const char *topic = busy ? "a" : pick(rng, NAMES);
    int32_t queue_id = busy ? 0 : (int32_t)rng_below(rng, 5);
    e->len = 0;
    uint64_t count = rng_chance(rng, 0.2) ? rng_between(rng, 2, 60) : 1;
    for (uint64_t i = 0; i < count; i++)
        entry_message(e, topic, queue_id, tags[rng_below(rng, 3)], rng_between(rng, 1000, 9000));
}

static void random_entry(struct rng *rng, struct entry_bytes *e)
{
    uint64_t dice = rng_below(rng, 100);
    uint32_t queue = (uint32_t)rng_below(rng, 5);
    if (dice < 60)
        random_messages(rng, e);
    else if (dice < 68)
        entry_topic_put(e, pick(rng, NAMES), 1 + queue, (uint32_t)rng_between(rng, 1, 4));
    else if (dice < 69)
        entry_topic_delete(e, pick(rng, NAMES));
    else if (dice < 72)
        entry_group_put(e, pick(rng, NAMES), rng_chance(rng, 0.5) ? "{\"retryMaxTimes\":2}" : "{}");
    else if (dice < 74)
        entry_group_delete(e, pick(rng, NAMES), rng_chance(rng, 0.5));
    else if (dice < 88)
        entry_commit(e, pick(rng, NAMES), pick(rng, NAMES), queue, rng_below(rng, 1000));
    else if (dice < 95)
        entry_lock(e, pick(rng, 3), pick(rng, 3), pick(rng, NAMES), queue, rng_below(rng, 300000));
    else if (dice < 98)
        entry_unlock(e, pick(rng, 3), pick(rng, 3), pick(rng, NAMES), queue);
    else {
        e->kind = (uint32_t)rng_between(rng, DL_KIND_NOOP, CMD_QUEUES_UNLOCK + 2);
        e->len = (uint32_t)rng_below(rng, 40);
        for (uint32_t i = 0; i < e->len; i++)
            e->data[i] = (uint8_t)rng_next(rng);
    }
}

static const struct state_result *apply_at(struct state *s, dl_index_t i)
{
    const struct entry_bytes *e = straight.entry[i];
    return state_apply(s, i, straight.term[i], e->kind, e->data, e->len, straight.position[i]);
}

static void make_log(uint64_t seed)
{
    static struct entry_bytes e;
    struct rng rng;
    rng_seed(&rng, seed);
    dl_pos_t position = 4096;
    dl_term_t term = 1;
    for (dl_index_t i = 1; i <= LOG_ENTRIES; i++) {
        if (i <= NAMES)
            entry_topic_put(&e, names[i - 1], 4, 4);
        else
            random_entry(&rng, &e);
        term += rng_chance(&rng, 0.01);
        size_t size = offsetof(struct entry_bytes, data) + e.len;
        straight.entry[i] = malloc(size);
        memcpy(straight.entry[i], &e, size);
        straight.term[i] = term;
        straight.position[i] = position;
        position += 64 + e.len;
    }
}

static void run_straight(void)
{
    struct memory_checkpoint *store = memory_checkpoint_new();
    struct rig rig = {0};
    rig_open(&rig, memory_checkpoint_door(store), 2);
    for (dl_index_t i = 1; i <= LOG_ENTRIES; i++) {
        apply_at(rig.state, i);
        if (i % EACH_DIGEST == 0)
            straight.digest[i / EACH_DIGEST] = state_digest(rig.state);
    }
    rig_crash(&rig);
    memory_checkpoint_free(store);
}

static void setup_log(void)
{
    make_log(1);
    run_straight();
}

static void teardown_log(void)
{
    for (dl_index_t i = 1; i <= LOG_ENTRIES; i++)
        free(straight.entry[i]);
}

static void apply_and_check(struct state *s, dl_index_t i)
{
    apply_at(s, i);
    if (i % EACH_DIGEST == 0)
        ck_assert_msg(state_digest(s) == straight.digest[i / EACH_DIGEST], "other state at entry %lu", i);
}

/* Apply the whole log, with flushes, half-done flushes and crashes in between. Returns the number of
 * crashes. */
static int run_crashing(struct checkpoint (*reopen)(void), uint64_t seed, double crash, double flush)
{
    struct rng rng;
    struct rig rig = {0};
    int crashes = 0;
    rng_seed(&rng, seed);
    rig_open(&rig, reopen(), 2);
    for (dl_index_t i = 1; i <= LOG_ENTRIES; i++) {
        apply_and_check(rig.state, i);
        if (rng_chance(&rng, flush))
            state_flush(rig.state, NULL, NULL);
        if (rng_chance(&rng, flush))
            worker_run_one(rig.worker);
        if (!rng_chance(&rng, crash))
            continue;
        dl_index_t durable = state_checkpointed(rig.state);
        rig_crash(&rig);
        rig_open(&rig, reopen(), 2);
        ck_assert_uint_eq(state_applied(rig.state), durable);
        crashes++;
        i = durable;
    }
    rig_crash(&rig);
    return crashes;
}

static struct memory_checkpoint *store;
static struct checkpoint reopen_memory(void)
{
    return memory_checkpoint_door(store);
}

START_TEST(crashes_on_a_checkpoint_in_memory_change_nothing)
{
    store = memory_checkpoint_new();
    ck_assert_int_gt(run_crashing(reopen_memory, (uint64_t)_i, 0.005, 0.02), 5);
    memory_checkpoint_free(store);
}
END_TEST

START_TEST(a_wiped_checkpoint_is_rebuilt_from_the_log)
{
    struct rig rig = {0};
    store = memory_checkpoint_new();
    rig_open(&rig, memory_checkpoint_door(store), 2);
    for (dl_index_t i = 1; i <= 1000; i++)
        apply_at(rig.state, i);
    rig_flush(&rig);
    rig_crash(&rig);
    memory_checkpoint_wipe(store);
    rig_open(&rig, memory_checkpoint_door(store), 2);
    ck_assert_uint_eq(state_applied(rig.state), 0);
    for (dl_index_t i = 1; i <= 1024; i++)
        apply_and_check(rig.state, i);
    rig_crash(&rig);
    memory_checkpoint_free(store);
}
END_TEST

/* ---- LMDB ---- */

static char dir[64];
static struct checkpoint door;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

static void setup_dir(void)
{
    log_set_sink(drop_line, NULL);
    scratch_dir(dir, sizeof dir);
    door = (struct checkpoint){0};
}

static void teardown_dir(void)
{
    if (door.impl)
        door.close(door.impl);
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct checkpoint reopen_lmdb(void)
{
    struct err err;
    if (door.impl)
        door.close(door.impl);
    int rc = checkpoint_lmdb_open(dir, "G", 1, 1 << 20, &door, &err);
    ck_assert_msg(rc == 0, "%s", rc ? err.text : "");
    return door;
}

START_TEST(crashes_on_LMDB_change_nothing)
{
    ck_assert_int_gt(run_crashing(reopen_lmdb, 7, 0.004, 0.02), 5);
}
END_TEST

/* Apply and flush for ever, telling the parent of each flush. */
static _Noreturn void child(int progress)
{
    struct rig rig = {0};
    rig_open(&rig, reopen_lmdb(), 2);
    while (rig.index < LOG_ENTRIES) {
        for (int n = 0; n < 20 && rig.index < LOG_ENTRIES; n++)
            apply_at(rig.state, ++rig.index);
        state_flush(rig.state, NULL, NULL);
        rig_run_jobs(&rig);
        if (write(progress, "f", 1) != 1)
            _exit(1);
    }
    for (;;)
        pause();
}

START_TEST(a_process_killed_in_mid_write_changes_nothing)
{
    struct rng rng;
    struct rig rig = {0};
    rng_seed(&rng, 3);
    dl_index_t before = 0;
    for (int round = 0; round < 8; round++) {
        int pipes[2];
        char byte;
        ck_assert_int_eq(pipe(pipes), 0);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
            child(pipes[1]);
        uint64_t flushes = rng_between(&rng, 1, 15);
        for (uint64_t i = 0; i < flushes; i++)
            ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        close(pipes[0]);
        close(pipes[1]);

        rig_open(&rig, reopen_lmdb(), 2);
        dl_index_t durable = state_applied(rig.state);
        ck_assert_uint_ge(durable, before + 20 * flushes); /* what was told is there */
        before = durable;
        while (rig.index % EACH_DIGEST != 0 || rig.index == durable)
            apply_at(rig.state, ++rig.index);
        ck_assert_uint_eq(state_digest(rig.state), straight.digest[rig.index / EACH_DIGEST]);
        rig_crash(&rig);
        door.close(door.impl);
        door.impl = NULL;
    }
}
END_TEST

/* ---- on a real thread ---- */

static void count_call(void *arg)
{
    ++*(int *)arg;
}

static void count_load(void *arg, int err)
{
    ck_assert_int_eq(err, 0);
    ++*(int *)arg;
}

START_TEST(flushes_and_loads_run_beside_apply)
{
    struct loop *loop = loop_new();
    struct worker *worker = worker_new(loop, "state", 1);
    struct checkpoint c = reopen_lmdb();
    struct state_opts opts = {.checkpoint = &c, .worker = worker, .cache_blocks = 2};
    struct state *s;
    struct err err;
    int asked = 0, answered = 0, loads = 0, loaded = 0;
    ck_assert_int_eq(state_open(&opts, &s, &err), 0);
    for (dl_index_t i = 1; i <= LOG_ENTRIES; i++) {
        apply_and_check(s, i);
        if (i % 100 == 0) {
            state_flush(s, count_call, &answered);
            asked++;
        }
        uint64_t min, max;
        if (i % 50 == 0 && state_queue_bounds(s, STR("a"), 0, &min, &max) == 0 && max > 0 &&
            state_load_rows(s, STR("a"), 0, (i * 37) % max, count_load, &loaded) == 0)
            loads++;
        if (i % 10 == 0)
            loop_turn(loop, 0);
    }
    state_flush(s, count_call, &answered);
    asked++;
    while (answered < asked || loaded < loads)
        loop_turn(loop, 1000);
    ck_assert_uint_eq(state_checkpointed(s), LOG_ENTRIES);
    ck_assert_int_gt(loads, 0);
    state_close(s);
    worker_free(worker);
    loop_free(loop);

    struct rig rig = {0};
    rig_open(&rig, reopen_lmdb(), 2);
    ck_assert_uint_eq(state_applied(rig.state), LOG_ENTRIES);
    ck_assert_uint_eq(state_digest(rig.state), straight.digest[LOG_ENTRIES / EACH_DIGEST]);
    rig_crash(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay");
    TCase *memory = tcase_create("memory");
    tcase_add_unchecked_fixture(memory, setup_log, teardown_log);
    tcase_add_loop_test(memory, crashes_on_a_checkpoint_in_memory_change_nothing, 1, 6);
    tcase_add_test(memory, a_wiped_checkpoint_is_rebuilt_from_the_log);
    suite_add_tcase(suite, memory);
    TCase *lmdb = tcase_create("lmdb");
    tcase_add_unchecked_fixture(lmdb, setup_log, teardown_log);
    tcase_add_checked_fixture(lmdb, setup_dir, teardown_dir);
    tcase_add_test(lmdb, crashes_on_LMDB_change_nothing);
    tcase_add_test(lmdb, a_process_killed_in_mid_write_changes_nothing);
    tcase_add_test(lmdb, flushes_and_loads_run_beside_apply);
    suite_add_tcase(suite, lmdb);
    return run_suite(suite);
}
