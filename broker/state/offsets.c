/*
 * offsets.c - how far each group has consumed each queue.
 *
 * Stored per (group, topic), whether or not the group has a configuration. Going back is allowed, as in
 * RocketMQ (resets, and consumers that rebuild a queue, do it).
 */
#include <utlist.h>

#include "broker/state/internal.h"

#define CURSORS_KEY_MAX (4 + GROUP_NAME_MAX)

static uint32_t cursors_key(uint32_t uid, struct str group, uint8_t *key)
{
    put_be32(key, uid);
    memcpy(key + 4, group.p, group.len);
    return (uint32_t)(4 + group.len);
}

static struct cursors *cursors_find(const struct state *s, const struct topic_rec *t, struct str group)
{
    uint8_t key[CURSORS_KEY_MAX];
    if (group.len == 0 || group.len > GROUP_NAME_MAX)
        return NULL;
    uint32_t len = cursors_key(t->t.uid, group, key);
    struct cursors *c;
    HASH_FIND(hh, s->cursors, key, len, c);
    return c;
}

static struct group_cursors *group_find(const struct state *s, struct str group)
{
    struct group_cursors *g = NULL;
    if (group.len > 0)
        HASH_FIND(hh, s->group_cursors, group.p, group.len, g);
    return g;
}

static struct str group_name(const struct cursors *c)
{
    return (struct str){c->group->name, c->group->name_len};
}

static struct cursors *cursors_add(struct state *s, struct topic_rec *t, struct str group)
{
    struct group_cursors *g = group_find(s, group);
    if (!g) {
        g = mem_new(1, sizeof *g + group.len);
        g->name_len = (uint32_t)group.len;
        memcpy(g->name, group.p, group.len);
        HASH_ADD_KEYPTR(hh, s->group_cursors, g->name, g->name_len, g);
    }
    struct cursors *c = mem_new(1, sizeof *c + 4 + group.len);
    c->topic = t;
    c->group = g;
    c->key_len = cursors_key(t->t.uid, group, c->key);
    HASH_ADD_KEYPTR(hh, s->cursors, c->key, c->key_len, c);
    DL_APPEND2(t->cursors, c, topic_prev, topic_next);
    DL_APPEND2(g->list, c, group_prev, group_next);
    s->cursor_count++;
    return c;
}

/* Free without a trace in the delta. */
static void cursors_remove(struct state *s, struct cursors *c)
{
    HASH_DELETE(hh, s->cursors, c);
    DL_DELETE2(c->topic->cursors, c, topic_prev, topic_next);
    DL_DELETE2(c->group->list, c, group_prev, group_next);
    if (!c->group->list) {
        HASH_DELETE(hh, s->group_cursors, c->group);
        free(c->group);
    }
    s->cursor_count--;
    s->offset_count -= c->count;
    free(c->rows);
    free(c);
}

static void cursors_drop(struct state *s, struct cursors *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        struct key key = key_of_group(RECORD_OFFSET, c->topic->t.uid, c->rows[i].queue_id, group_name(c));
        delta_delete(&s->delta, &key);
    }
    cursors_remove(s, c);
}

/* Where the row of the queue is, or has to be. */
static uint32_t cursor_place(const struct cursors *c, uint32_t queue_id)
{
    uint32_t from = 0, to = c->count;
    if (to > 0 && c->rows[to - 1].queue_id < queue_id) /* queues come in order when a checkpoint is loaded */
        return to;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (c->rows[middle].queue_id < queue_id)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* The row of the queue, or NULL. */
static struct cursor *cursor_find(const struct cursors *c, uint32_t queue_id)
{
    uint32_t place = c ? cursor_place(c, queue_id) : 0;
    return c && place < c->count && c->rows[place].queue_id == queue_id ? &c->rows[place] : NULL;
}

static void cursor_set(struct state *s, struct cursors *c, uint32_t queue_id, uint64_t offset)
{
    struct cursor *row = cursor_find(c, queue_id);
    if (row) {
        row->offset = offset;
        return;
    }
    if (c->count == c->cap) {
        c->cap += c->cap < 8 ? 4 : c->cap / 2;
        c->rows = mem_resize(c->rows, c->cap, sizeof *c->rows);
    }
    uint32_t place = cursor_place(c, queue_id);
    memmove(c->rows + place + 1, c->rows + place, (c->count - place) * sizeof *c->rows);
    c->rows[place] = (struct cursor){offset, queue_id};
    c->count++;
    s->offset_count++;
}

static void commit_one(struct state *s, const Ledgermq__Command__OffsetCommit *commit)
{
    struct str group = str_of(commit->group);
    struct topic_rec *t = topics_find(s, str_of(commit->topic));
    if (!t) {
        refuse(s, RMQ_TOPIC_NOT_EXIST, "offset commit: no topic %.*s", TOPIC_NAME_MAX, commit->topic);
        return;
    }
    if (!name_valid(group, GROUP_NAME_MAX) || commit->queue_id >= t->t.queue_count ||
        commit->offset > INT64_MAX) {
        refuse(s, RMQ_INVALID, "offset commit: topic %s queue %u offset %llu", t->t.name, commit->queue_id,
               (unsigned long long)commit->offset);
        return;
    }
    struct cursors *c = cursors_find(s, t, group);
    if (!c && s->cursor_count >= CURSORS_MAX) {
        refuse(s, RMQ_SYSTEM_ERROR, "offset commit: there are %u pairs of group and topic, no more fit",
               CURSORS_MAX);
        return;
    }
    /* The count is that of the records in the checkpoint: the same on every replica, whatever its history. */
    if (s->offset_count >= OFFSETS_MAX && !cursor_find(c, commit->queue_id)) {
        refuse(s, RMQ_SYSTEM_ERROR, "offset commit: there are %u offsets of groups, no more fit",
               OFFSETS_MAX);
        return;
    }
    if (!c)
        c = cursors_add(s, t, group);
    cursor_set(s, c, commit->queue_id, commit->offset);
    uint8_t fields[8];
    put_le64(fields, commit->offset);
    struct key key = key_of_group(RECORD_OFFSET, t->t.uid, commit->queue_id, group);
    delta_put(&s->delta, &key, fields, sizeof fields);
}

/* Commits of several clients may share an entry: each stands or falls alone, the result tells of the last
 * refused one. */
void offsets_apply_commit(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    (void)e;
    const Ledgermq__Command__OffsetsCommit *commits = (const Ledgermq__Command__OffsetsCommit *)msg;
    for (size_t i = 0; i < commits->n_commits; i++)
        commit_one(s, commits->commits[i]);
}

void offsets_drop_topic(struct state *s, struct topic_rec *t)
{
    while (t->cursors)
        cursors_drop(s, t->cursors);
}

void offsets_drop_group(struct state *s, struct str group)
{
    struct cursors *c, *next;
    struct group_cursors *g = group_find(s, group);
    if (!g)
        return;
    /* The group's record goes with the last of the list. */
    for (c = g->list; c; c = next) {
        next = c->group_next;
        cursors_drop(s, c);
    }
}

int offsets_load(struct state *s, struct rd *key, struct rd *value)
{
    struct topic_rec *t = topics_find_uid(s, rd_be32(key));
    uint32_t queue_id = rd_be16(key);
    struct str group = rd_str(key, rd_left(key));
    uint64_t offset = rd_le64(value);
    if (!t || queue_id >= t->t.queue_count || !name_valid(group, GROUP_NAME_MAX) || value->bad ||
        rd_left(value) > 0 || offset > INT64_MAX)
        return ERR_DAMAGED;
    struct cursors *c = cursors_find(s, t, group);
    cursor_set(s, c ? c : cursors_add(s, t, group), queue_id, offset);
    return 0;
}

uint64_t offsets_digest(const struct state *s)
{
    uint64_t sum = 0;
    for (const struct cursors *c = s->cursors; c; c = c->hh.next) {
        uint64_t h = digest_bytes(DIGEST_SEED, c->key, c->key_len);
        for (uint32_t i = 0; i < c->count; i++)
            sum += digest_u64(digest_u64(h, c->rows[i].queue_id), c->rows[i].offset);
    }
    return sum;
}

void offsets_release(struct state *s)
{
    while (s->cursors)
        cursors_remove(s, s->cursors);
}

/* ---- reading ---- */

int state_offset(const struct state *s, struct str group, struct str topic, uint32_t queue_id,
                 uint64_t *offset)
{
    const struct topic_rec *t = topics_find(s, topic);
    const struct cursors *c = t ? cursors_find(s, t, group) : NULL;
    const struct cursor *row = cursor_find(c, queue_id);
    if (!row)
        return ERR_NOT_FOUND;
    *offset = row->offset;
    return 0;
}

void state_each_offset(const struct state *s, struct str group, struct str topic,
                       void (*fn)(void *arg, struct str group, struct str topic, uint32_t queue_id,
                                  uint64_t offset),
                       void *arg)
{
    const struct group_cursors *g = group_find(s, group);
    for (const struct cursors *c = g ? g->list : NULL; c; c = c->group_next) {
        struct str name = {c->topic->t.name, c->topic->t.name_len};
        if (topic.len > 0 && !str_eq(topic, name))
            continue;
        for (uint32_t i = 0; i < c->count; i++)
            fn(arg, group_name(c), name, c->rows[i].queue_id, c->rows[i].offset);
    }
}

void state_each_group_of_topic(const struct state *s, struct str topic,
                               void (*fn)(void *arg, struct str group), void *arg)
{
    const struct topic_rec *t = topics_find(s, topic);
    for (const struct cursors *c = t ? t->cursors : NULL; c; c = c->topic_next)
        fn(arg, group_name(c));
}
