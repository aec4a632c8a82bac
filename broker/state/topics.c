/*
 * topics.c - the topic table: validation, create, change, delete.
 *
 * A topic's uid names its queues on disk. It is never used twice, so nothing of a deleted topic can turn up
 * in one created later under the same name.
 */
#include "broker/state/internal.h"

#define PERM_MAX 7u /* inherit 1, write 2, read 4 */

struct topic_rec *topics_find(const struct state *s, struct str name)
{
    struct topic_rec *t = NULL;
    if (name.len > 0)
        HASH_FIND(by_name, s->topics_by_name, name.p, name.len, t);
    return t;
}

struct topic_rec *topics_find_uid(const struct state *s, uint32_t uid)
{
    struct topic_rec *t;
    HASH_FIND(by_uid, s->topics_by_uid, &uid, sizeof uid, t);
    return t;
}

static void topic_link(struct state *s, struct topic_rec *t)
{
    HASH_ADD_KEYPTR(by_name, s->topics_by_name, t->t.name, t->t.name_len, t);
    HASH_ADD(by_uid, s->topics_by_uid, t.uid, sizeof t->t.uid, t);
    s->topic_count++;
    free(s->topics_sorted);
    s->topics_sorted = NULL;
}

static void topic_free(struct topic_rec *t)
{
    for (uint32_t i = 0; i < t->t.queue_count; i++)
        queue_release(&t->queues[i]);
    free(t->queues);
    free(t->t.attributes);
    free(t);
}

static void topic_unlink(struct state *s, struct topic_rec *t)
{
    HASH_DELETE(by_name, s->topics_by_name, t);
    HASH_DELETE(by_uid, s->topics_by_uid, t);
    s->topic_count--;
    s->queue_count -= t->t.queue_count;
    free(s->topics_sorted);
    s->topics_sorted = NULL;
}

/* Queues are never taken away: what they hold is readable again when the topic is widened. */
static void topic_widen(struct state *s, struct topic_rec *t, uint32_t count)
{
    if (count <= t->t.queue_count)
        return;
    struct queue *wider = mem_new(count, sizeof *wider);
    if (t->t.queue_count > 0)
        memcpy(wider, t->queues, t->t.queue_count * sizeof *wider);
    free(t->queues);
    t->queues = wider;
    s->queue_count += count - t->t.queue_count;
    t->t.queue_count = count;
}

static void attributes_set(struct topic *t, struct str text)
{
    free(t->attributes);
    t->attributes = NULL;
    if (text.len == 0)
        return;
    t->attributes = mem_new(text.len + 1, 1);
    memcpy(t->attributes, text.p, text.len);
}

/* Fields little-endian: uid, read, write, perm, sys_flag, queue_count u32; order u8; filter_type and
 * attributes with u32 lengths. */
static void topic_put(struct state *s, const struct topic *t)
{
    struct str attributes = str_of(t->attributes);
    struct str filter = str_of(t->filter_type);
    size_t size = 6 * 4 + 1 + 4 + filter.len + 4 + attributes.len;
    uint8_t *fields = mem_new(size, 1);
    struct wr w = wr_of(fields, size);
    wr_le32(&w, t->uid);
    wr_le32(&w, t->read_queues);
    wr_le32(&w, t->write_queues);
    wr_le32(&w, t->perm);
    wr_le32(&w, t->sys_flag);
    wr_le32(&w, t->queue_count);
    wr_u8(&w, t->order);
    wr_le32(&w, (uint32_t)filter.len);
    wr_bytes(&w, filter.p, filter.len);
    wr_le32(&w, (uint32_t)attributes.len);
    wr_bytes(&w, attributes.p, attributes.len);
    ENSURE(!w.full);
    struct key key = key_named(RECORD_TOPIC, (struct str){t->name, t->name_len});
    delta_put(&s->delta, &key, fields, size);
    free(fields);
}

int topics_load(struct state *s, struct rd *key, struct rd *value)
{
    struct topic_rec *rec = mem_new(1, sizeof *rec);
    struct topic *t = &rec->t;
    t->uid = rd_le32(value);
    t->read_queues = rd_le32(value);
    t->write_queues = rd_le32(value);
    t->perm = rd_le32(value);
    t->sys_flag = rd_le32(value);
    uint32_t queues = rd_le32(value);
    t->order = rd_u8(value);
    bool fits = str_copy(rd_str(value, rd_le32(value)), t->filter_type, sizeof t->filter_type);
    struct str attributes = rd_str(value, rd_le32(value));
    struct str name = rd_str(key, rd_left(key));
    if (value->bad || rd_left(value) > 0 || !fits || !name_valid(name, TOPIC_NAME_MAX) ||
        queues > QUEUES_MAX || t->uid >= s->next_uid || topics_find_uid(s, t->uid)) {
        free(rec);
        return ERR_DAMAGED;
    }
    memcpy(t->name, name.p, name.len);
    t->name_len = (uint32_t)name.len;
    attributes_set(t, attributes);
    topic_widen(s, rec, queues);
    topic_link(s, rec);
    return 0;
}

static bool topic_name_valid(struct str name)
{
    bool long_names = str_starts(name, "%RETRY%") || str_starts(name, "%DLQ%");
    return name_valid(name, long_names ? TOPIC_NAME_MAX : TOPIC_PLAIN_MAX);
}

static bool queue_count_valid(uint32_t count)
{
    return count >= 1 && count <= QUEUES_MAX;
}

static bool filter_type_valid(struct str filter)
{
    return filter.len == 0 || str_is(filter, "SINGLE_TAG") || str_is(filter, "MULTI_TAG");
}

/* Refuses and returns false when the configuration cannot be. */
static bool config_valid(struct state *s, const Ledgermq__Command__TopicConfig *c)
{
    if (!topic_name_valid(str_of(c->name)))
        refuse(s, RMQ_INVALID,
               "topic name must be 1 to %d characters (%%RETRY%% and %%DLQ%%: %d) of [%%|a-zA-Z0-9_-]",
               TOPIC_PLAIN_MAX, TOPIC_NAME_MAX);
    else if (!queue_count_valid(c->read_queues) || !queue_count_valid(c->write_queues))
        refuse(s, RMQ_INVALID, "topic %s: %u read and %u write queues, each must be 1 to %u", c->name,
               c->read_queues, c->write_queues, QUEUES_MAX);
    else if (c->perm > PERM_MAX)
        refuse(s, RMQ_INVALID, "topic %s: perm %u is not a sum of 4 (read), 2 (write), 1 (inherit)", c->name,
               c->perm);
    else if (c->sys_flag > INT32_MAX)
        refuse(s, RMQ_INVALID, "topic %s: sys flag %u does not fit RocketMQ's int", c->name, c->sys_flag);
    else if (!filter_type_valid(str_of(c->filter_type)))
        refuse(s, RMQ_INVALID, "topic %s: filter type must be SINGLE_TAG or MULTI_TAG", c->name);
    else if (strlen(c->attributes) > ATTRIBUTES_MAX)
        refuse(s, RMQ_INVALID, "topic %s: more than %u bytes of attributes", c->name, ATTRIBUTES_MAX);
    return s->result.code == 0;
}

/* Refuses and returns false when the tables would grow too large. */
static bool room_for(struct state *s, const struct topic_rec *t, const char *name, uint32_t queues)
{
    uint32_t had = t ? t->t.queue_count : 0;
    if (!t && s->topic_count >= TOPICS_MAX)
        refuse(s, RMQ_SYSTEM_ERROR, "topic %s: there are %u topics, no more fit", name, TOPICS_MAX);
    else if (queues > had && queues - had > QUEUES_TOTAL_MAX - s->queue_count)
        refuse(s, RMQ_SYSTEM_ERROR, "topic %s: all topics together may have %u queues", name,
               QUEUES_TOTAL_MAX);
    return s->result.code == 0;
}

void topics_apply_put(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    const Ledgermq__Command__TopicPut *put = (const Ledgermq__Command__TopicPut *)msg;
    const Ledgermq__Command__TopicConfig *c = put->topic;
    if (!c) {
        refuse(s, RMQ_INVALID, "no topic in the command");
        return;
    }
    if (!config_valid(s, c))
        return;
    struct str name = str_of(c->name);
    struct topic_rec *rec = topics_find(s, name);
    if (rec && put->create_only)
        return;
    uint32_t queues = c->read_queues > c->write_queues ? c->read_queues : c->write_queues;
    if (!room_for(s, rec, c->name, queues))
        return;
    if (!rec) {
        rec = mem_new(1, sizeof *rec);
        memcpy(rec->t.name, name.p, name.len);
        rec->t.name_len = (uint32_t)name.len;
        rec->t.uid = s->next_uid++;
        topic_link(s, rec);
    }
    struct topic *t = &rec->t;
    t->read_queues = c->read_queues;
    t->write_queues = c->write_queues;
    t->perm = c->perm;
    t->sys_flag = c->sys_flag;
    t->order = c->order;
    str_copy(*c->filter_type ? str_of(c->filter_type) : STR("SINGLE_TAG"), t->filter_type,
             sizeof t->filter_type);
    attributes_set(t, str_of(c->attributes));
    topic_widen(s, rec, queues);
    topic_put(s, t);
    version_bump(s, &s->topics_version, e, put->now_ms);
    s->changes.topics = true;
}

void topics_apply_delete(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    const Ledgermq__Command__TopicDelete *del = (const Ledgermq__Command__TopicDelete *)msg;
    struct topic_rec *t = topics_find(s, str_of(del->name));
    if (!t)
        return; /* as asked for: the delete may be sent again after a lost answer */
    offsets_drop_topic(s, t);
    locks_drop_topic(s, t);
    for (uint32_t i = 0; i < t->t.queue_count; i++)
        queue_delete(s, t, i);
    struct key key = key_named(RECORD_TOPIC, str_of(del->name));
    delta_delete(&s->delta, &key);
    topic_unlink(s, t);
    topic_free(t);
    version_bump(s, &s->topics_version, e, del->now_ms);
    s->changes.topics = true;
}

uint64_t topics_digest(const struct state *s)
{
    uint64_t sum = digest_u64(s->next_uid, s->queue_count);
    for (const struct topic_rec *rec = s->topics_by_uid; rec; rec = rec->by_uid.next) {
        const struct topic *t = &rec->t;
        uint64_t h = digest_bytes(DIGEST_SEED, t->name, t->name_len);
        const uint32_t words[] = {t->uid,      t->read_queues, t->write_queues, t->perm,
                                  t->sys_flag, t->order,       t->queue_count};
        h = digest_bytes(h, words, sizeof words);
        h = digest_bytes(h, t->filter_type, strlen(t->filter_type));
        h = digest_bytes(h, t->attributes, t->attributes ? strlen(t->attributes) : 0);
        for (uint32_t i = 0; i < t->queue_count; i++)
            h = digest_u64(h, queue_digest(&rec->queues[i]));
        sum += h;
    }
    return sum;
}

void topics_release(struct state *s)
{
    struct topic_rec *t, *next;
    HASH_ITER(by_uid, s->topics_by_uid, t, next) {
        topic_unlink(s, t);
        topic_free(t);
    }
    free(s->topics_sorted);
}

/* ---- reading ---- */

const struct topic *state_topic(const struct state *s, struct str name)
{
    const struct topic_rec *t = topics_find(s, name);
    return t ? &t->t : NULL;
}

uint32_t state_topic_count(const struct state *s)
{
    return s->topic_count;
}

static int by_topic_name(const void *a, const void *b)
{
    return strcmp((*(struct topic_rec *const *)a)->t.name, (*(struct topic_rec *const *)b)->t.name);
}

void state_each_topic(const struct state *s, void (*fn)(void *arg, const struct topic *t), void *arg)
{
    struct topic_rec **sorted = s->topics_sorted;
    if (!sorted) {
        sorted = mem_new(s->topic_count, sizeof(struct topic_rec *));
        uint32_t n = 0;
        for (struct topic_rec *t = s->topics_by_uid; t; t = t->by_uid.next)
            sorted[n++] = t;
        qsort(sorted, n, sizeof(struct topic_rec *), by_topic_name);
        ((struct state *)s)->topics_sorted = sorted; /* a cache: what the caller sees does not change */
    }
    for (uint32_t i = 0; i < s->topic_count; i++)
        fn(arg, &sorted[i]->t);
}
