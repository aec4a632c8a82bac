/*
 * locks.c - which client of a group may consume a queue in order (LOCK_BATCH_MQ, UNLOCK_BATCH_MQ).
 *
 * RocketMQ keeps these in the master's memory, and a failover loses them; here they are replicated, so a new
 * leader knows the owners. Time is that of the command. A lock is granted when free, held by the same client,
 * or not renewed for longer than the command's expire_ms.
 */
#include <utlist.h>

#include "broker/state/internal.h"

static struct lock *locks_find(const struct state *s, const struct key *key)
{
    struct lock *l;
    HASH_FIND(hh, s->locks, key->bytes, key->len, l);
    return l;
}

static struct lock *lock_add(struct state *s, struct topic_rec *t, const struct key *key)
{
    struct lock *l = mem_new(1, sizeof *l);
    l->topic = t;
    l->key = *key;
    HASH_ADD_KEYPTR(hh, s->locks, l->key.bytes, l->key.len, l);
    DL_APPEND(t->locks, l);
    s->lock_count++;
    return l;
}

/* Free without a trace in the delta. */
static void lock_remove(struct state *s, struct lock *l)
{
    HASH_DELETE(hh, s->locks, l);
    DL_DELETE(l->topic->locks, l);
    s->lock_count--;
    free(l->client_id);
    free(l);
}

static void lock_drop(struct state *s, struct lock *l)
{
    delta_delete(&s->delta, &l->key);
    lock_remove(s, l);
}

static uint64_t lock_end_ms(const struct lock *l)
{
    return l->expire_ms < UINT64_MAX - l->renewed_ms ? l->renewed_ms + l->expire_ms : UINT64_MAX;
}

static void lock_set(struct state *s, struct lock *l, struct str client, uint64_t renewed_ms,
                     uint64_t expire_ms)
{
    if (!l->client_id || !str_is(client, l->client_id)) {
        free(l->client_id);
        l->client_id = mem_new(client.len + 1, 1);
        memcpy(l->client_id, client.p, client.len);
    }
    l->renewed_ms = renewed_ms;
    l->expire_ms = expire_ms;
    if (lock_end_ms(l) < s->locks_expire_ms)
        s->locks_expire_ms = lock_end_ms(l);
}

/* Fields little-endian: renewed_ms, expire_ms u64; client id. */
static void lock_put(struct state *s, const struct lock *l)
{
    uint8_t fields[16 + CLIENT_ID_MAX];
    struct wr w = wr_of(fields, sizeof fields);
    wr_le64(&w, l->renewed_ms);
    wr_le64(&w, l->expire_ms);
    wr_bytes(&w, l->client_id, strlen(l->client_id));
    ENSURE(!w.full);
    delta_put(&s->delta, &l->key, fields, (size_t)(w.p - fields));
}

static bool expired(const struct lock *l, uint64_t now_ms, uint64_t expire_ms)
{
    return now_ms > l->renewed_ms && now_ms - l->renewed_ms > expire_ms;
}

/* Make room: drop all locks that had expired when the sweep's period began. Which these are depends on the
 * locks and the command alone, and all go, so that the order of the table does not matter; how often it is
 * walked is bounded by the period. */
static void drop_expired(struct state *s, uint64_t now_ms)
{
    struct lock *l, *next;
    uint64_t begin_ms = now_ms - now_ms % LOCKS_SWEEP_MS;
    if (begin_ms <= s->locks_expire_ms)
        return;
    s->locks_expire_ms = UINT64_MAX;
    HASH_ITER(hh, s->locks, l, next) {
        if (expired(l, begin_ms, l->expire_ms))
            lock_drop(s, l);
        else if (lock_end_ms(l) < s->locks_expire_ms)
            s->locks_expire_ms = lock_end_ms(l);
    }
}

/* Refuses and returns false when group, client or number of queues cannot be. */
static bool command_valid(struct state *s, const char *group, const char *client, size_t queues)
{
    if (!name_valid(str_of(group), GROUP_NAME_MAX))
        refuse(s, RMQ_INVALID, "queue lock: group name must be 1 to %d characters of [%%|a-zA-Z0-9_-]",
               GROUP_NAME_MAX);
    else if (*client == '\0' || strlen(client) > CLIENT_ID_MAX)
        refuse(s, RMQ_INVALID, "queue lock: client id must have 1 to %u bytes", CLIENT_ID_MAX);
    else if (queues > QUEUES_PER_COMMAND)
        refuse(s, RMQ_INVALID, "queue lock: %zu queues, at most %u at a time", queues, QUEUES_PER_COMMAND);
    return s->result.code == 0;
}

/* The queue's key for this group; false when there is no such queue. */
static bool lock_key(const struct state *s, const Ledgermq__Command__QueueRef *ref, struct str group,
                     struct topic_rec **t, struct key *key)
{
    if (!queue_find(s, str_of(ref->topic), ref->queue_id, t))
        return false;
    *key = key_of_group(RECORD_LOCK, (*t)->t.uid, ref->queue_id, group);
    return true;
}

static bool lock_one(struct state *s, const Ledgermq__Command__QueuesLock *cmd,
                     const Ledgermq__Command__QueueRef *ref)
{
    struct topic_rec *t;
    struct key key;
    struct str client = str_of(cmd->client_id);
    if (!lock_key(s, ref, str_of(cmd->group), &t, &key))
        return false;
    struct lock *l = locks_find(s, &key);
    if (l && !str_is(client, l->client_id) && !expired(l, cmd->now_ms, cmd->expire_ms))
        return false;
    if (!l && s->lock_count >= LOCKS_MAX)
        drop_expired(s, cmd->now_ms);
    if (!l && s->lock_count >= LOCKS_MAX)
        return false;
    if (!l)
        l = lock_add(s, t, &key);
    lock_set(s, l, client, cmd->now_ms, cmd->expire_ms);
    lock_put(s, l);
    return true;
}

void locks_apply_lock(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    (void)e;
    const Ledgermq__Command__QueuesLock *cmd = (const Ledgermq__Command__QueuesLock *)msg;
    if (!command_valid(s, cmd->group, cmd->client_id, cmd->n_queues))
        return;
    for (size_t i = 0; i < cmd->n_queues; i++)
        if (lock_one(s, cmd, cmd->queues[i]))
            s->result.locked_mask[i / 64] |= UINT64_C(1) << (i % 64);
}

void locks_apply_unlock(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    (void)e;
    const Ledgermq__Command__QueuesUnlock *cmd = (const Ledgermq__Command__QueuesUnlock *)msg;
    if (!command_valid(s, cmd->group, cmd->client_id, cmd->n_queues))
        return;
    for (size_t i = 0; i < cmd->n_queues; i++) {
        struct topic_rec *t;
        struct key key;
        if (!lock_key(s, cmd->queues[i], str_of(cmd->group), &t, &key))
            continue;
        struct lock *l = locks_find(s, &key);
        if (l && str_is(str_of(cmd->client_id), l->client_id))
            lock_drop(s, l);
    }
}

void locks_drop_topic(struct state *s, struct topic_rec *t)
{
    while (t->locks)
        lock_drop(s, t->locks);
}

void locks_drop_group(struct state *s, struct str group)
{
    struct lock *l, *next;
    size_t name_at = key_queue(0, 0).len;
    HASH_ITER(hh, s->locks, l, next) {
        struct str name = {(const char *)l->key.bytes + name_at, l->key.len - name_at};
        if (str_eq(name, group))
            lock_drop(s, l);
    }
}

int locks_load(struct state *s, struct rd *key, struct rd *value)
{
    struct topic_rec *t = topics_find_uid(s, rd_be32(key));
    uint32_t queue_id = rd_be16(key);
    struct str group = rd_str(key, rd_left(key));
    uint64_t renewed_ms = rd_le64(value);
    uint64_t expire_ms = rd_le64(value);
    struct str client = rd_str(value, rd_left(value));
    if (!t || queue_id >= t->t.queue_count || !name_valid(group, GROUP_NAME_MAX) || value->bad ||
        client.len == 0 || client.len > CLIENT_ID_MAX)
        return ERR_DAMAGED;
    struct key k = key_of_group(RECORD_LOCK, t->t.uid, queue_id, group);
    lock_set(s, lock_add(s, t, &k), client, renewed_ms, expire_ms);
    return 0;
}

uint64_t locks_digest(const struct state *s)
{
    uint64_t sum = s->lock_count;
    for (const struct lock *l = s->locks; l; l = l->hh.next) {
        uint64_t h = digest_bytes(DIGEST_SEED, l->key.bytes, l->key.len);
        h = digest_bytes(h, l->client_id, strlen(l->client_id));
        sum += digest_u64(digest_u64(h, l->renewed_ms), l->expire_ms);
    }
    return sum;
}

void locks_release(struct state *s)
{
    while (s->locks)
        lock_remove(s, s->locks);
}

bool state_lock_owner(const struct state *s, struct str group, struct str topic, uint32_t queue_id,
                      uint64_t now_ms, struct str *client_id)
{
    struct topic_rec *t;
    if (group.len > GROUP_NAME_MAX || !queue_find(s, topic, queue_id, &t))
        return false;
    struct key key = key_of_group(RECORD_LOCK, t->t.uid, queue_id, group);
    const struct lock *l = locks_find(s, &key);
    if (!l || expired(l, now_ms, l->expire_ms))
        return false;
    *client_id = str_of(l->client_id);
    return true;
}
