/*
 * state.c - opening the state from its checkpoint, closing it, and facts about the whole.
 */
#include "broker/state/internal.h"

#define CACHE_BLOCKS_DEFAULT 1024u

struct loader {
    enum record_table table;
    int (*load)(struct state *s, struct rd *key, struct rd *value);
};

struct loading {
    struct state *s;
    const struct loader *loader;
    struct err *err;
};

static int meta_load(struct state *s, struct rd *key, struct rd *value)
{
    struct data_version *v[] = {&s->topics_version, &s->groups_version};
    s->next_uid = rd_le32(value);
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        v[i]->state_version = rd_le64(value);
        v[i]->timestamp_ms = rd_le64(value);
        v[i]->counter = rd_le64(value);
    }
    return rd_left(key) > 0 || value->bad || rd_left(value) > 0 ? ERR_DAMAGED : 0;
}

/* In this order: later records name what earlier ones made. */
static const struct loader loaders[] = {
    {RECORD_META, meta_load},         {RECORD_TOPIC, topics_load}, {RECORD_GROUP, groups_load},
    {RECORD_BLOCK, queue_load_block}, {RECORD_QUEUE, queue_load},  {RECORD_OFFSET, offsets_load},
    {RECORD_LOCK, locks_load},
};

static int load_record(void *arg, struct str key, struct str value)
{
    struct loading *l = arg;
    struct rd fields;
    int rc = record_open(key, value, &fields);
    if (rc == 0) {
        struct rd rest = rd_of(key.p + 1, key.len - 1);
        rc = l->loader->load(l->s, &rest, &fields);
    }
    if (rc == 0)
        return 0;
    char text[128];
    record_key_text(key, text, sizeof text);
    return err_set(l->err, rc, "checkpoint: record %s is damaged", text);
}

static int queues_complete(const struct state *s, struct err *err)
{
    for (const struct topic_rec *t = s->topics_by_uid; t; t = t->by_uid.next)
        for (uint32_t i = 0; i < t->t.queue_count; i++)
            if (queue_incomplete(&t->queues[i]))
                return err_set(err, ERR_DAMAGED, "checkpoint: record q/%u/%u is missing", t->t.uid, i);
    return 0;
}

static int load_all(struct state *s, struct err *err)
{
    int rc = s->checkpoint->applied(s->checkpoint->impl, &s->applied, &s->applied_term);
    if (rc)
        return err_set(err, rc, "checkpoint: applied index: %s", err_text(rc));
    s->checkpointed = s->log_durable = s->applied;
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; i++) {
        char prefix = (char)loaders[i].table;
        struct loading l = {s, &loaders[i], err};
        if (err)
            err->code = 0;
        rc = s->checkpoint->scan(s->checkpoint->impl, (struct str){&prefix, 1}, load_record, &l);
        if (rc && err && err->code == 0)
            err_set(err, rc, "checkpoint: reading table %c: %s", prefix, err_text(rc));
        if (rc)
            return rc;
    }
    return queues_complete(s, err);
}

int state_open(const struct state_opts *opts, struct state **out, struct err *err)
{
    struct state *s = mem_new(1, sizeof *s);
    *out = NULL;
    s->checkpoint = opts->checkpoint;
    s->worker = opts->worker;
    s->follows_log = opts->follows_log;
    s->cache = block_cache_new(opts->cache_blocks ? opts->cache_blocks : CACHE_BLOCKS_DEFAULT);
    s->next_uid = 1;
    s->next_slot = s->checkpoint->next_slot(s->checkpoint->impl);
    int rc = load_all(s, err);
    if (rc) {
        state_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void state_close(struct state *s)
{
    if (!s)
        return;
    flush_abandon(s);
    locks_release(s);
    offsets_release(s);
    topics_release(s);
    groups_release(s);
    delta_release(&s->delta);
    free(s->dirty_queues);
    block_cache_free(s->cache);
    free(s);
}

dl_index_t state_applied(const struct state *s)
{
    return s->applied;
}

dl_index_t state_checkpointed(const struct state *s)
{
    return s->checkpointed;
}

uint64_t state_digest(const struct state *s)
{
    const uint64_t parts[] = {
        topics_digest(s),
        groups_digest(s),
        offsets_digest(s),
        locks_digest(s),
        s->topics_version.state_version,
        s->topics_version.timestamp_ms,
        s->topics_version.counter,
        s->groups_version.state_version,
        s->groups_version.timestamp_ms,
        s->groups_version.counter,
    };
    return digest_bytes(DIGEST_SEED, parts, sizeof parts);
}

struct state_changes state_take_changes(struct state *s)
{
    struct state_changes changes = s->changes;
    s->changes = (struct state_changes){0};
    return changes;
}

void state_on_arrival(struct state *s,
                      void (*fn)(void *arg, const struct topic *t, uint32_t queue_id, uint64_t max_offset),
                      void *arg)
{
    s->on_arrival = fn;
    s->on_arrival_arg = arg;
}

struct data_version state_topics_version(const struct state *s)
{
    return s->topics_version;
}

struct data_version state_groups_version(const struct state *s)
{
    return s->groups_version;
}
