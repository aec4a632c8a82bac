/*
 * test_queue.c - rows of a queue across tail and blocks: read, load, search by time and by position; memory.
 */
#include "tests/unit/state/fixture.h"

#define ROWS 170u

static struct memory_checkpoint *store;
static struct rig rig;
static struct entry_bytes e;
static int load_result;

static void setup(void)
{
    store = memory_checkpoint_new();
    rig = (struct rig){.position = 4096};
    rig_open(&rig, memory_checkpoint_door(store), 2);
    entry_topic_put(&e, "T", 4, 4);
    ck_assert_int_eq(rig_apply(&rig, &e)->code, 0);
}

static void teardown(void)
{
    rig_crash(&rig);
    memory_checkpoint_free(store);
}

static void loaded(void *arg, int err)
{
    (void)arg;
    load_result = err;
}

static void load(uint64_t offset)
{
    load_result = 1;
    ck_assert_int_eq(state_load_rows(rig.state, STR("T"), 0, offset, loaded, NULL), 0);
    ck_assert_int_eq(load_result, 1);
    rig_run_jobs(&rig);
}

/* Rows from an offset, loading the block when it must be. */
static uint32_t rows_at(uint64_t from, uint32_t max, struct index_row *rows)
{
    uint32_t n;
    int rc = state_rows(rig.state, STR("T"), 0, from, max, rows, &n);
    if (rc == ERR_AGAIN) {
        load(from);
        ck_assert_int_eq(load_result, 0);
        rc = state_rows(rig.state, STR("T"), 0, from, max, rows, &n);
    }
    ck_assert_int_eq(rc, 0);
    return n;
}

/* Send `count` messages, message i with store time 1000 + 10 i; remembers positions. */
static uint64_t positions[2000];
static void fill(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        positions[i] = rig.position;
        const struct state_result *r = rig_send(&rig, "T", 0, i % 2 ? "odd" : NULL, 1000 + 10 * i);
        ck_assert_int_eq(r->code, 0);
    }
}

static void check_row(const struct index_row *row, uint64_t i)
{
    ck_assert_uint_eq(row->position, positions[i]);
    ck_assert_uint_eq(row->size, 91 + 5 + 1 + (i % 2 ? 9 : 0));
    ck_assert_int_eq(row->tag_hash, i % 2 ? message_tag_hash(STR("odd")) : 0);
    ck_assert_uint_eq(row->store_ms, 1000 + 10 * i);
}

static void check_all(uint64_t count)
{
    struct index_row rows[ROWS];
    for (uint64_t at = 0; at < count;) {
        uint32_t n = rows_at(at, 100, rows);
        ck_assert_uint_le(n, 100);
        for (uint32_t i = 0; i < n; i++)
            check_row(&rows[i], at + i);
        at += n;
    }
}

START_TEST(rows_are_read_from_tail_and_blocks)
{
    struct index_row rows[300];
    uint32_t n;
    ck_assert_int_eq(state_rows(rig.state, STR("T"), 0, 0, 1, rows, &n), ERR_NOT_FOUND);
    fill(ROWS * 5 + 3);
    check_all(ROWS * 5 + 3); /* not written yet: all must be in memory, whatever the cache's size */
    rig_flush(&rig);
    check_all(ROWS * 5 + 3);
    ck_assert_uint_eq(rows_at(ROWS - 2, 300, rows), 2);
    ck_assert_uint_eq(rows_at(ROWS * 5, 300, rows), 3);
    ck_assert_uint_eq(rows_at(ROWS * 3, 300, rows), ROWS);
    ck_assert_int_eq(state_rows(rig.state, STR("T"), 0, ROWS * 5 + 3, 1, rows, &n), ERR_NOT_FOUND);
    ck_assert_int_eq(state_rows(rig.state, STR("T"), 0, UINT64_MAX, 1, rows, &n), ERR_NOT_FOUND);
    ck_assert_int_eq(state_rows(rig.state, STR("T"), 9, 0, 1, rows, &n), ERR_NOT_FOUND);
}
END_TEST

START_TEST(every_length_of_a_queue_survives_a_crash)
{
    for (uint64_t count = 0; count < ROWS * 2 + 5; count++) {
        uint64_t min, max, digest = state_digest(rig.state);
        rig_flush(&rig);
        rig_crash(&rig);
        rig_open(&rig, memory_checkpoint_door(store), 2);
        ck_assert_uint_eq(state_digest(rig.state), digest);
        ck_assert_int_eq(state_queue_bounds(rig.state, STR("T"), 0, &min, &max), 0);
        ck_assert_uint_eq(max, count);
        positions[count] = rig.position;
        rig_send(&rig, "T", 0, count % 2 ? "odd" : NULL, 1000 + 10 * count);
    }
    check_all(ROWS * 2 + 5);
}
END_TEST

START_TEST(loads_are_limited_and_their_failures_told)
{
    fill(ROWS * 6);
    rig_flush(&rig);
    ck_assert_int_eq(state_load_rows(rig.state, STR("T"), 0, ROWS * 6, loaded, NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(state_load_rows(rig.state, STR("U"), 0, 0, loaded, NULL), ERR_NOT_FOUND);
    for (int i = 0; i < 256; i++)
        ck_assert_int_eq(state_load_rows(rig.state, STR("T"), 0, 0, loaded, NULL), 0);
    ck_assert_int_eq(state_load_rows(rig.state, STR("T"), 0, 0, loaded, NULL), ERR_BUSY);
    rig_run_jobs(&rig);
    ck_assert_int_eq(load_result, 0);

    load(ROWS * 2); /* pushes block 0 or 5 out of the cache of two */
    load(ROWS * 3);
    memory_checkpoint_block(store, 0)[100] ^= 1;
    load(7);
    ck_assert_int_eq(load_result, ERR_DAMAGED);
    memory_checkpoint_block(store, 0)[100] ^= 1;
    load(7);
    ck_assert_int_eq(load_result, 0);

    /* A whole block in the place of another. */
    load(ROWS * 3);
    load(ROWS * 4);
    memcpy(memory_checkpoint_block(store, 1), memory_checkpoint_block(store, 0), CHECKPOINT_BLOCK_BYTES);
    load(ROWS);
    ck_assert_int_eq(load_result, ERR_DAMAGED);
}
END_TEST

START_TEST(closing_with_jobs_under_way_calls_nobody)
{
    fill(ROWS * 4);
    rig_flush(&rig);
    load_result = 1;
    ck_assert_int_eq(state_load_rows(rig.state, STR("T"), 0, 0, loaded, NULL), 0);
    fill(1);
    uint64_t writes = memory_checkpoint_writes(store);
    state_flush(rig.state, NULL, NULL);
    rig_crash(&rig);
    ck_assert_int_eq(load_result, 1);
    ck_assert_uint_eq(memory_checkpoint_writes(store), writes);
    rig_open(&rig, memory_checkpoint_door(store), 2);
}
END_TEST

static void count_call(void *arg)
{
    ++*(int *)arg;
}

START_TEST(flushes_merge_while_one_is_under_way)
{
    int calls = 0;
    fill(10);
    ck_assert_uint_gt(state_dirty_bytes(rig.state), 0);
    state_flush(rig.state, count_call, &calls);
    ck_assert(state_flushing(rig.state));
    fill(10);
    state_flush(rig.state, count_call, &calls);
    fill(10);
    state_flush(rig.state, count_call, &calls);
    ck_assert_uint_eq(state_checkpointed(rig.state), 0);
    ck_assert_int_eq(worker_run_one(rig.worker), 1);
    ck_assert_int_eq(calls, 1);
    ck_assert_uint_eq(state_checkpointed(rig.state), 11);
    rig_run_jobs(&rig);
    ck_assert_int_eq(calls, 3);
    ck_assert_uint_eq(state_checkpointed(rig.state), 31);
    ck_assert_uint_eq(memory_checkpoint_writes(store), 2);
    ck_assert_uint_eq(state_dirty_bytes(rig.state), 0);
    ck_assert(!state_flushing(rig.state));
}
END_TEST

START_TEST(a_flush_waits_for_the_own_log)
{
    int calls = 0;
    rig_crash(&rig);
    rig.follows_log = true;
    rig_open(&rig, memory_checkpoint_door(store), 2);
    entry_topic_put(&e, "T", 4, 4);
    rig_apply(&rig, &e);
    fill(10);
    state_flush(rig.state, count_call, &calls);
    fill(10);
    rig_run_jobs(&rig);
    ck_assert(state_flushing(rig.state));
    state_note_durable(rig.state, 10);
    rig_run_jobs(&rig);
    ck_assert_uint_eq(memory_checkpoint_writes(store), 0);
    state_note_durable(rig.state, 11);
    rig_run_jobs(&rig);
    ck_assert_int_eq(calls, 1);
    ck_assert_uint_eq(state_checkpointed(rig.state), 11);
    ck_assert(!state_flushing(rig.state));

    /* The next one waits again, and nobody waits for it when the state goes. */
    state_flush(rig.state, count_call, &calls);
    rig_run_jobs(&rig);
    rig_crash(&rig);
    ck_assert_int_eq(calls, 1);
    rig_open(&rig, memory_checkpoint_door(store), 2);
    ck_assert_uint_eq(state_applied(rig.state), 11);
}
END_TEST

/* What a caller does: seek the block, then look for the first row late enough. */
static uint64_t first_at(uint64_t store_ms)
{
    uint64_t at, min, max;
    struct index_row rows[ROWS];
    ck_assert_int_eq(state_seek_block(rig.state, STR("T"), 0, store_ms, &at), 0);
    ck_assert_int_eq(state_queue_bounds(rig.state, STR("T"), 0, &min, &max), 0);
    if (at == max)
        return max;
    uint32_t n = rows_at(at, ROWS, rows);
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].store_ms >= store_ms)
            return at + i;
    ck_abort_msg("no row at or after %lu in the block of %lu", store_ms, at);
}

START_TEST(search_by_time_finds_the_first_row_late_enough)
{
    ck_assert_uint_eq(first_at(5), 0);
    const uint64_t count = ROWS * 4 + 20;
    fill(count);
    rig_flush(&rig);
    for (uint64_t i = 0; i < count; i++) {
        ck_assert_uint_eq(first_at(1000 + 10 * i), i);
        ck_assert_uint_eq(first_at(1000 + 10 * i - 9), i);
    }
    ck_assert_uint_eq(first_at(0), 0);
    ck_assert_uint_eq(first_at(1000 + 10 * count), count);
    ck_assert_uint_eq(first_at(UINT64_MAX), count);
}
END_TEST

START_TEST(a_clock_that_goes_back_does_not_hide_messages)
{
    rig_send(&rig, "T", 0, NULL, 5000);
    rig_send(&rig, "T", 0, NULL, 3000);
    rig_send(&rig, "T", 0, NULL, 6000);
    struct index_row rows[3];
    ck_assert_uint_eq(rows_at(0, 3, rows), 3);
    ck_assert_uint_eq(rows[1].store_ms, 5000);
    ck_assert_uint_eq(first_at(5500), 2);
    ck_assert_uint_eq(first_at(4000), 0);
}
END_TEST

START_TEST(a_position_is_found_only_where_a_message_begins)
{
    uint64_t offset;
    ck_assert_int_eq(state_find_position(rig.state, STR("T"), 0, 1, &offset), ERR_NOT_FOUND);
    const uint64_t count = ROWS * 3 + 20;
    fill(count);
    rig_flush(&rig);
    for (uint64_t i = 0; i < count; i++) {
        int rc = state_find_position(rig.state, STR("T"), 0, positions[i], &offset);
        if (rc == ERR_AGAIN) {
            load(offset);
            rc = state_find_position(rig.state, STR("T"), 0, positions[i], &offset);
        }
        ck_assert_int_eq(rc, 0);
        ck_assert_uint_eq(offset, i);
        ck_assert_int_eq(state_find_position(rig.state, STR("T"), 0, positions[i] + 1, &offset),
                         ERR_NOT_FOUND);
    }
    rows_at(0, 1, &(struct index_row){0});
    ck_assert_int_eq(state_find_position(rig.state, STR("T"), 0, 0, &offset), ERR_NOT_FOUND);
    ck_assert_int_eq(state_find_position(rig.state, STR("T"), 0, UINT64_MAX, &offset), ERR_NOT_FOUND);
    ck_assert_int_eq(state_find_position(rig.state, STR("T"), 1, positions[0], &offset), ERR_NOT_FOUND);
}
END_TEST

/* A store that keeps nothing, so that all memory counted is the state's. */
static int forget(void *impl, const struct checkpoint_batch *batch)
{
    (void)impl;
    (void)batch;
    return 0;
}

START_TEST(fifty_thousand_queues_are_small)
{
    char name[16];
    size_t before = heap_bytes();
    rig.checkpoint.write = forget;
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "topic%d", i);
        entry_topic_put(&e, name, 1000, 1000);
        ck_assert_int_eq(rig_apply(&rig, &e)->code, 0);
    }
    rig_flush(&rig);
    size_t empty = heap_bytes() - before;
    ck_assert_msg(empty <= 50000 * 64, "%zu bytes for 50,000 empty queues", empty);
    for (int i = 0; i < 50000; i++) {
        snprintf(name, sizeof name, "topic%d", i % 50);
        ck_assert_int_eq(rig_send(&rig, name, i / 50, NULL, 1)->code, 0);
    }
    rig_flush(&rig);
    size_t used = heap_bytes() - before;
    ck_assert_msg(used <= 50000 * 176, "%zu bytes for 50,000 queues with a message each", used);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("queue");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, rows_are_read_from_tail_and_blocks);
    tcase_add_test(tc, every_length_of_a_queue_survives_a_crash);
    tcase_add_test(tc, loads_are_limited_and_their_failures_told);
    tcase_add_test(tc, closing_with_jobs_under_way_calls_nobody);
    tcase_add_test(tc, flushes_merge_while_one_is_under_way);
    tcase_add_test(tc, a_flush_waits_for_the_own_log);
    tcase_add_test(tc, search_by_time_finds_the_first_row_late_enough);
    tcase_add_test(tc, a_clock_that_goes_back_does_not_hide_messages);
    tcase_add_test(tc, a_position_is_found_only_where_a_message_begins);
    tcase_add_test(tc, fifty_thousand_queues_are_small);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
