/*
 * fixture.h - a state on a checkpoint and a manual worker, and makers of log entries, for the tests of
 * broker/state.
 */
#ifndef TESTS_UNIT_STATE_FIXTURE_H
#define TESTS_UNIT_STATE_FIXTURE_H

#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/state/checkpoint.h"
#include "broker/state/state.h"
#include "proto/command.pb-c.h"
#include "tests/lib/memory_checkpoint.h"

#define ENTRY_MAX (256 * 1024)

struct entry_bytes {
    uint32_t kind, len;
    uint8_t data[ENTRY_MAX];
};

struct rig {
    struct checkpoint checkpoint;
    struct worker *worker;
    struct state *state;
    dl_index_t index;
    dl_pos_t position;
    bool follows_log; /* set before rig_open */
};

/* Bytes in use, by malloc's own count; 0 where a sanitizer has replaced malloc. */
static inline size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static inline void rig_run_jobs(struct rig *r)
{
    while (worker_run_one(r->worker))
        ;
}

static inline void rig_open(struct rig *r, struct checkpoint checkpoint, uint64_t cache_blocks)
{
    r->checkpoint = checkpoint;
    r->worker = worker_new_manual(NULL, NULL);
    struct state_opts opts = {.checkpoint = &r->checkpoint,
                              .worker = r->worker,
                              .cache_blocks = cache_blocks,
                              .follows_log = r->follows_log};
    struct err err;
    int rc = state_open(&opts, &r->state, &err);
    ck_assert_msg(rc == 0, "state_open: %s", rc ? err.text : "");
    r->index = state_applied(r->state);
}

/* A crash loses what was not written; jobs that wait never run. */
static inline void rig_crash(struct rig *r)
{
    state_close(r->state);
    rig_run_jobs(r);
    worker_free(r->worker);
    r->state = NULL;
}

static inline void rig_flush(struct rig *r)
{
    state_flush(r->state, NULL, NULL);
    rig_run_jobs(r);
    ck_assert_uint_eq(state_checkpointed(r->state), state_applied(r->state));
}

static inline const struct state_result *rig_apply(struct rig *r, const struct entry_bytes *e)
{
    dl_pos_t position = r->position;
    r->position += e->len + 64;
    return state_apply(r->state, ++r->index, 1, e->kind, e->data, e->len, position);
}

static inline void entry_pack(struct entry_bytes *e, uint32_t kind, const void *msg)
{
    e->kind = kind;
    e->len = (uint32_t)protobuf_c_message_get_packed_size(msg);
    ck_assert_uint_le(e->len, ENTRY_MAX);
    protobuf_c_message_pack(msg, e->data);
}

static inline void entry_topic_put(struct entry_bytes *e, const char *name, uint32_t read, uint32_t write)
{
    Ledgermq__Command__TopicConfig c = LEDGERMQ__COMMAND__TOPIC_CONFIG__INIT;
    Ledgermq__Command__TopicPut put = LEDGERMQ__COMMAND__TOPIC_PUT__INIT;
    c.name = (char *)name;
    c.read_queues = read;
    c.write_queues = write;
    c.perm = 6;
    put.topic = &c;
    put.now_ms = 1000;
    entry_pack(e, CMD_TOPIC_PUT, &put);
}

static inline void entry_topic_delete(struct entry_bytes *e, const char *name)
{
    Ledgermq__Command__TopicDelete del = LEDGERMQ__COMMAND__TOPIC_DELETE__INIT;
    del.name = (char *)name;
    del.now_ms = 2000;
    entry_pack(e, CMD_TOPIC_DELETE, &del);
}

static inline void entry_group_put(struct entry_bytes *e, const char *name, const char *json)
{
    Ledgermq__Command__GroupPut put = LEDGERMQ__COMMAND__GROUP_PUT__INIT;
    put.name = (char *)name;
    put.config_json = (char *)json;
    put.now_ms = 3000;
    entry_pack(e, CMD_GROUP_PUT, &put);
}

static inline void entry_group_delete(struct entry_bytes *e, const char *name, bool clean_offsets)
{
    Ledgermq__Command__GroupDelete del = LEDGERMQ__COMMAND__GROUP_DELETE__INIT;
    del.name = (char *)name;
    del.clean_offsets = clean_offsets;
    del.now_ms = 4000;
    entry_pack(e, CMD_GROUP_DELETE, &del);
}

static inline void entry_commit(struct entry_bytes *e, const char *group, const char *topic,
                                uint32_t queue_id, uint64_t offset)
{
    Ledgermq__Command__OffsetCommit c = LEDGERMQ__COMMAND__OFFSET_COMMIT__INIT;
    Ledgermq__Command__OffsetCommit *list[] = {&c};
    Ledgermq__Command__OffsetsCommit all = LEDGERMQ__COMMAND__OFFSETS_COMMIT__INIT;
    c.group = (char *)group;
    c.topic = (char *)topic;
    c.queue_id = queue_id;
    c.offset = offset;
    all.n_commits = 1;
    all.commits = list;
    entry_pack(e, CMD_OFFSETS_COMMIT, &all);
}

static inline void entry_lock(struct entry_bytes *e, const char *group, const char *client, const char *topic,
                              uint32_t queue_id, uint64_t now_ms)
{
    Ledgermq__Command__QueueRef q = LEDGERMQ__COMMAND__QUEUE_REF__INIT;
    Ledgermq__Command__QueueRef *list[] = {&q};
    Ledgermq__Command__QueuesLock lock = LEDGERMQ__COMMAND__QUEUES_LOCK__INIT;
    q.topic = (char *)topic;
    q.queue_id = queue_id;
    lock.group = (char *)group;
    lock.client_id = (char *)client;
    lock.n_queues = 1;
    lock.queues = list;
    lock.now_ms = now_ms;
    lock.expire_ms = 60000;
    entry_pack(e, CMD_QUEUES_LOCK, &lock);
}

static inline void entry_unlock(struct entry_bytes *e, const char *group, const char *client,
                                const char *topic, uint32_t queue_id)
{
    Ledgermq__Command__QueueRef q = LEDGERMQ__COMMAND__QUEUE_REF__INIT;
    Ledgermq__Command__QueueRef *list[] = {&q};
    Ledgermq__Command__QueuesUnlock unlock = LEDGERMQ__COMMAND__QUEUES_UNLOCK__INIT;
    q.topic = (char *)topic;
    q.queue_id = queue_id;
    unlock.group = (char *)group;
    unlock.client_id = (char *)client;
    unlock.n_queues = 1;
    unlock.queues = list;
    entry_pack(e, CMD_QUEUES_UNLOCK, &unlock);
}

/* Add one message to a MESSAGES entry. */
static inline void entry_message(struct entry_bytes *e, const char *topic, int32_t queue_id, const char *tag,
                                 uint64_t store_ms)
{
    char properties[64] = "";
    if (tag)
        snprintf(properties, sizeof properties, "TAGS\x01%s\x02", tag);
    struct message m = {.queue_id = queue_id,
                        .store_ms = store_ms,
                        .body = STR("hello"),
                        .topic = str_of(topic),
                        .properties = str_of(properties)};
    size_t size = message_size(&m);
    ck_assert_uint_gt(size, 0);
    ck_assert_uint_le(e->len + size, ENTRY_MAX);
    message_encode(&m, e->data + e->len);
    e->kind = CMD_MESSAGES;
    e->len += (uint32_t)size;
}

static inline const struct state_result *rig_send(struct rig *r, const char *topic, int32_t queue_id,
                                                  const char *tag, uint64_t store_ms)
{
    static struct entry_bytes e;
    e.len = 0;
    entry_message(&e, topic, queue_id, tag, store_ms);
    return rig_apply(r, &e);
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
