/*
 * state.h - the broker's replicated state: topics, groups, consumer offsets, queue locks, and the index of
 * every queue.
 *
 * DETERMINISTIC: the same entries give the same state on every replica, whatever the time or machine. Only
 * apply.c writes. The front reads through the functions below and never writes. Knows nothing of connections,
 * Raft roles or clocks; of dledger only core/types.h.
 *
 * Memory is the working copy; the checkpoint (LMDB in production, memory in the simulator; checkpoint.h) is
 * the durable one, with the applied index in the same transaction. Apply collects deltas; state_flush hands
 * them to the state worker, in order. After a crash: state_open loads the checkpoint, the log is replayed
 * from state_applied()+1.
 *
 * Index rows (24 bytes, little-endian): position of the message u64, size u32, tag hash u32, store time ms
 * u64. RocketMQ's ConsumeQueue row has 20 bytes; ours carries the store time so that searches by time never
 * touch the log. 170 rows make a 4 KiB block. A queue's tail block lives in memory (and in its checkpoint
 * record); full blocks go once, to shared files index/00000000.qx (many queues in one file), found through
 * (queue uid, block number) -> slot in the checkpoint. Derived data: never synced on the way to an ack.
 *
 * Owned by the loop thread. Functions return lent pointers valid until the next apply.
 */
#ifndef BROKER_STATE_STATE_H
#define BROKER_STATE_STATE_H

#include "broker/state/command.h"
#include "broker/state/message.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/worker.h"

#define TOPIC_NAME_MAX 255
#define GROUP_NAME_MAX 255
#define QUEUES_MAX     65536u /* queues in one topic */
#define TOPICS_MAX     200000u
#define GROUPS_MAX     100000u

struct state;
struct queue; /* one queue of one topic; see queue_* below */
struct checkpoint;

struct topic {
    char name[TOPIC_NAME_MAX + 1];
    uint32_t name_len;
    uint32_t uid; /* never reused */
    uint32_t read_queues, write_queues, perm, sys_flag;
    bool order;
    char filter_type[16];
    char *attributes;     /* JSON object text or NULL */
    uint32_t queue_count; /* queues that exist: max ever of read and write */
};

struct group {
    char name[GROUP_NAME_MAX + 1];
    char *config_json; /* complete SubscriptionGroupConfig text, unknown fields kept */
    bool consume_enable, consume_broadcast_enable, notify_ids_changed;
    int32_t retry_queues, retry_max_times;
};

struct state_opts {
    struct checkpoint *checkpoint; /* opened by the owner; must outlive */
    struct worker *worker;         /* the state thread */
    uint64_t cache_blocks;         /* full index blocks kept in memory, 1024 */
    bool follows_log;              /* a flush waits until state_note_durable has reached its applied index */
};

/* Load everything from the checkpoint (blocking; at start). ERR_DAMAGED when a checksum does not match: the
 * owner may wipe the checkpoint and replay the whole log. */
int state_open(const struct state_opts *opts, struct state **out, struct err *err) MUSTCHECK;
void state_close(struct state *s); /* waits for nothing; flush first if wanted */

/* ---- writing: by the node's apply hook only ---- */

/* Result of one applied entry, for the proposer. `code` 0 or a RocketMQ response code with text in
 * `remark`. */
struct state_result {
    int32_t code;
    const char *remark;
    uint32_t queue_id;     /* MESSAGES */
    uint64_t queue_offset; /* MESSAGES: of the first; the others follow densely (all messages of one entry go
                              to one queue) */
    uint32_t message_count;
    uint64_t locked_mask[16]; /* QUEUES_LOCK: bit i = queues[i] is now the caller's (at most 1024 queues a
                                 command) */
};
/* Apply a committed entry. Total: a refusal is a result. `body_pos` = position of body[0] in the log. Indexes
 * ascend without gaps. The result is lent until the next call. */
const struct state_result *state_apply(struct state *s, dl_index_t index, dl_term_t term, uint32_t kind,
                                       const uint8_t *body, uint32_t len, dl_pos_t body_pos);
/* Hand the deltas gathered so far to the state thread (one commit with full sync). At most one flush is under
 * way; others wait and merge. `done` may be NULL. */
void state_flush(struct state *s, void (*done)(void *arg), void *arg);
/* This replica's own log is durable up to here: a checkpoint never runs ahead of it (see follows_log). */
void state_note_durable(struct state *s, dl_index_t index);
uint64_t state_dirty_bytes(const struct state *s);
bool state_flushing(const struct state *s);
dl_index_t state_applied(const struct state *s);      /* in memory */
dl_index_t state_checkpointed(const struct state *s); /* durable */
/* Digest over all tables and indexes: equal on replicas with equal applied index (tests, simulator R11). */
uint64_t state_digest(const struct state *s);

/* What changed since the last call (for registration, wake-ups). Cleared by reading. */
struct state_changes {
    bool topics; /* topic table or data version changed */
    bool groups;
};
struct state_changes state_take_changes(struct state *s);
/* Called by apply for each queue that got messages, once per applied entry (wakes parked pulls). Set once at
 * start. */
void state_on_arrival(struct state *s,
                      void (*fn)(void *arg, const struct topic *t, uint32_t queue_id, uint64_t max_offset),
                      void *arg);

/* ---- reading ---- */

struct data_version {
    uint64_t state_version, timestamp_ms, counter;
}; /* state_version = term of the last change */
struct data_version state_topics_version(const struct state *s);
struct data_version state_groups_version(const struct state *s);

const struct topic *state_topic(const struct state *s, struct str name);
const struct group *state_group(const struct state *s, struct str name);
uint32_t state_topic_count(const struct state *s);
/* In ascending order of name. */
void state_each_topic(const struct state *s, void (*fn)(void *arg, const struct topic *t), void *arg);
void state_each_group(const struct state *s, void (*fn)(void *arg, const struct group *g), void *arg);

/* Committed consumer offset; ERR_NOT_FOUND. */
int state_offset(const struct state *s, struct str group, struct str topic, uint32_t queue_id,
                 uint64_t *offset) MUSTCHECK;
/* All stored offsets of a group (topic NULL,0 = all topics), any order. */
void state_each_offset(const struct state *s, struct str group, struct str topic,
                       void (*fn)(void *arg, struct str group, struct str topic, uint32_t queue_id,
                                  uint64_t offset),
                       void *arg);
/* Groups that have offsets on a topic. */
void state_each_group_of_topic(const struct state *s, struct str topic,
                               void (*fn)(void *arg, struct str group), void *arg);

/* Bounds of a queue: offsets min..max-1 exist. ERR_NOT_FOUND when the topic or queue does not exist. */
int state_queue_bounds(const struct state *s, struct str topic, uint32_t queue_id, uint64_t *min,
                       uint64_t *max) MUSTCHECK;

struct index_row {
    uint64_t position;
    uint32_t size;
    int32_t tag_hash;
    uint64_t store_ms;
};
/* Rows from..from+n-1, n <= max, as many as lie in one block. 0 with *n > 0; ERR_AGAIN when the block must be
 * loaded (call state_load_rows); ERR_NOT_FOUND outside the bounds. */
int state_rows(struct state *s, struct str topic, uint32_t queue_id, uint64_t from, uint32_t max,
               struct index_row *rows, uint32_t *n) MUSTCHECK;
/* Read the block that holds `offset` on the state worker's reader; done on the loop thread, then state_rows
 * gives it. ERR_BUSY when 256 loads wait. */
int state_load_rows(struct state *s, struct str topic, uint32_t queue_id, uint64_t offset,
                    void (*done)(void *arg, int err), void *arg) MUSTCHECK;
/* Store time of the first row of each block is kept with the block: narrow a search by time to one block:
 * first offset of the block in which the first row with store_ms >= t must lie. */
int state_seek_block(const struct state *s, struct str topic, uint32_t queue_id, uint64_t store_ms,
                     uint64_t *block_first) MUSTCHECK;
/* The row whose message begins at `position`, proving that a message begins there (view by id). Topic and
 * queue come from the message's bytes. 0, ERR_AGAIN (load at *offset), ERR_NOT_FOUND. */
int state_find_position(struct state *s, struct str topic, uint32_t queue_id, uint64_t position,
                        uint64_t *offset) MUSTCHECK;

/* Owner of a queue lock: returns false when free or expired at now_ms. */
bool state_lock_owner(const struct state *s, struct str group, struct str topic, uint32_t queue_id,
                      uint64_t now_ms, struct str *client_id);

#endif
