/*
 * internal.h - what the files of broker/state share: the tables, and who writes which of them.
 *
 * apply.c dispatches entries; topics.c, groups.c, offsets.c, locks.c own one table each and apply the
 * commands that change it; qindex.c owns the queues. All of them report changes to the delta (delta.h), in
 * the form of checkpoint records (record.h), and all can load their records again and add themselves to the
 * digest.
 *
 * Order never matters: no result, record or digest depends on the order in which a hash table is walked.
 */
#ifndef BROKER_STATE_INTERNAL_H
#define BROKER_STATE_INTERNAL_H

#include "broker/state/block_cache.h"
#include "broker/state/delta.h"
#include "broker/state/hash.h"
#include "broker/state/qindex.h"
#include "broker/state/record.h"
#include "broker/state/state.h"
#include "proto/command.pb-c.h"

#define RMQ_SYSTEM_ERROR    1
#define RMQ_NOT_SUPPORTED   3
#define RMQ_MESSAGE_ILLEGAL 13
#define RMQ_TOPIC_NOT_EXIST 17
#define RMQ_INVALID         29

#define TOPIC_PLAIN_MAX    127      /* name of a topic that is not %RETRY% or %DLQ% */
#define QUEUES_TOTAL_MAX   1000000u /* queues of all topics together */
#define ATTRIBUTES_MAX     32768u   /* JSON text of a topic */
#define GROUP_CONFIG_MAX   65536u   /* JSON text of a group */
#define CLIENT_ID_MAX      1024u
#define LOCKS_MAX          200000u  /* of queues; when reached, expired ones make room */
#define LOCKS_SWEEP_MS     10000u   /* at most once in so long, by the clock of the commands */
#define CURSORS_MAX        1000000u /* (group, topic) pairs with offsets */
#define OFFSETS_MAX        4000000u /* offsets of all of them, 16 to 24 bytes each */
#define QUEUES_PER_COMMAND 1024u    /* bits of state_result.locked_mask */
#define LOADS_MAX          256u     /* index blocks being read */

struct cursors;
struct lock;

struct topic_rec {
    struct topic t; /* first: the public view */
    struct queue *queues;
    struct cursors *cursors; /* of all groups on this topic; linked by of_topic */
    struct lock *locks;
    UT_hash_handle by_name, by_uid;
};

struct group_rec {
    struct group g; /* first: the public view */
    UT_hash_handle hh;
};

struct cursor {
    uint64_t offset;
    uint32_t queue_id;
};

/* Offsets of one group on one topic: of the queues that have one, so that memory follows what was committed
 * and not how many queues somebody gave the topic. */
struct cursors {
    struct topic_rec *topic;
    struct group_cursors *group;
    struct cursor *rows; /* by ascending queue */
    uint32_t count, cap;
    struct cursors *topic_prev, *topic_next;
    struct cursors *group_prev, *group_next;
    UT_hash_handle hh;
    uint32_t key_len;
    uint8_t key[]; /* uid, group name */
};

struct group_cursors {
    struct cursors *list;
    UT_hash_handle hh;
    uint32_t name_len;
    char name[];
};

struct lock {
    struct topic_rec *topic;
    char *client_id;
    uint64_t renewed_ms, expire_ms;
    struct lock *prev, *next; /* of the same topic */
    UT_hash_handle hh;
    struct key key; /* that of its checkpoint record */
};

struct notify {
    void (*fn)(void *arg);
    void *arg;
};
struct notify_list {
    struct notify *items;
    uint32_t count, cap;
};

struct flush;
struct load;

struct state {
    struct checkpoint *checkpoint;
    struct worker *worker;

    struct topic_rec *topics_by_name, *topics_by_uid;
    struct topic_rec **topics_sorted; /* cache of state_each_topic; NULL when stale */
    struct group_rec *groups;
    struct group_rec **groups_sorted;
    struct cursors *cursors;
    struct group_cursors *group_cursors;
    struct lock *locks;
    uint32_t topic_count, group_count, queue_count, cursor_count, offset_count, lock_count;
    uint64_t locks_expire_ms; /* no lock expires before: saves looking for some, and changes nothing else */
    uint32_t next_uid;
    struct data_version topics_version, groups_version;
    struct state_changes changes;

    struct block_cache *cache;
    uint32_t next_slot; /* local to this replica: not part of the digest */

    dl_index_t applied;
    dl_term_t applied_term;
    dl_index_t checkpointed;
    struct delta delta;
    uint64_t *dirty_queues; /* uid << 16 | queue id, each once */
    uint32_t dirty_count, dirty_cap;
    uint64_t dirty_bytes;   /* of the records of dirty queues, about */
    struct flush *flushing; /* NULL = none under way */
    bool flush_again;
    bool flush_submitted;             /* flushing has been given to the worker */
    bool follows_log;                 /* state_opts.follows_log */
    dl_index_t log_durable;           /* newest state_note_durable */
    struct notify_list flush_waiters; /* of the next flush */
    struct load *loads;
    uint32_t load_count;

    struct state_result result;
    char remark[512];
    void (*on_arrival)(void *arg, const struct topic *t, uint32_t queue_id, uint64_t max_offset);
    void *on_arrival_arg;
};

/* One entry on its way through apply. */
struct entry {
    dl_index_t index;
    dl_term_t term;
    uint32_t kind, len;
    const uint8_t *body;
    dl_pos_t body_pos;
};

/* Set the result to a refusal. The state must be as if the command had not come, except where the command
 * says it applies in part. */
void refuse(struct state *s, int32_t code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* RocketMQ's alphabet for topics and groups, 1..max characters. */
bool name_valid(struct str name, uint32_t max);
/* A change to topics or groups: raise the data version. */
void version_bump(struct state *s, struct data_version *v, const struct entry *e, uint64_t now_ms);

/* ---- topics.c ---- */
struct topic_rec *topics_find(const struct state *s, struct str name);
struct topic_rec *topics_find_uid(const struct state *s, uint32_t uid);
void topics_apply_put(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
void topics_apply_delete(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
int topics_load(struct state *s, struct rd *key, struct rd *value);
uint64_t topics_digest(const struct state *s);
void topics_release(struct state *s);

/* ---- groups.c ---- */
void groups_apply_put(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
void groups_apply_delete(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
int groups_load(struct state *s, struct rd *key, struct rd *value);
uint64_t groups_digest(const struct state *s);
void groups_release(struct state *s);

/* ---- offsets.c ---- */
void offsets_apply_commit(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
void offsets_drop_topic(struct state *s, struct topic_rec *t);
void offsets_drop_group(struct state *s, struct str group);
int offsets_load(struct state *s, struct rd *key, struct rd *value);
uint64_t offsets_digest(const struct state *s);
void offsets_release(struct state *s);

/* ---- locks.c ---- */
void locks_apply_lock(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
void locks_apply_unlock(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
void locks_drop_topic(struct state *s, struct topic_rec *t);
void locks_drop_group(struct state *s, struct str group);
int locks_load(struct state *s, struct rd *key, struct rd *value);
uint64_t locks_digest(const struct state *s);
void locks_release(struct state *s);

/* ---- flush.c ---- */
/* The state goes: jobs that have not begun do nothing, and their callbacks are not called. */
void flush_abandon(struct state *s);
void meta_put(struct state *s);

#endif
