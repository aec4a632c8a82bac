/*
 * groups.c - the table of subscription groups. The configuration is kept as the text that came, so that
 * fields this version does not know survive; the few that the broker acts on are read out of it.
 */
#include "broker/state/internal.h"
#include "common/json.h"

#define CONFIG_NODES_MAX 10000u

static struct group_rec *groups_find(const struct state *s, struct str name)
{
    struct group_rec *g = NULL;
    if (name.len > 0)
        HASH_FIND(hh, s->groups, name.p, name.len, g);
    return g;
}

/* Defaults are those of SubscriptionGroupConfig.java. */
static int config_read(struct group *g, struct str text, struct err *err)
{
    struct json_doc *doc;
    int rc = json_parse(text, CONFIG_NODES_MAX, &doc, err);
    if (rc)
        return rc;
    const struct json *root = json_root(doc);
    if (root->type == JSON_OBJECT) {
        g->consume_enable = json_get_bool(root, "consumeEnable", true);
        g->consume_broadcast_enable = json_get_bool(root, "consumeBroadcastEnable", true);
        g->notify_ids_changed = json_get_bool(root, "notifyConsumerIdsChangedEnable", true);
        g->retry_queues = (int32_t)json_get_i64(root, "retryQueueNums", 1);
        g->retry_max_times = (int32_t)json_get_i64(root, "retryMaxTimes", 16);
    } else {
        rc = err_set(err, ERR_MALFORMED, "not an object");
    }
    json_free(doc);
    return rc;
}

static char *text_copy(struct str text)
{
    char *copy = mem_new(text.len + 1, 1);
    if (text.len > 0)
        memcpy(copy, text.p, text.len);
    return copy;
}

static void sorted_drop(struct state *s)
{
    free(s->groups_sorted);
    s->groups_sorted = NULL;
}

static struct group_rec *group_add(struct state *s, struct str name)
{
    struct group_rec *g = mem_new(1, sizeof *g);
    memcpy(g->g.name, name.p, name.len);
    HASH_ADD_KEYPTR(hh, s->groups, g->g.name, name.len, g);
    s->group_count++;
    sorted_drop(s);
    return g;
}

static void group_remove(struct state *s, struct group_rec *g)
{
    HASH_DELETE(hh, s->groups, g);
    s->group_count--;
    sorted_drop(s);
    free(g->g.config_json);
    free(g);
}

static void config_take(struct group *g, const struct group *read, struct str text)
{
    char *copy = text_copy(text);
    free(g->config_json);
    g->config_json = copy;
    g->consume_enable = read->consume_enable;
    g->consume_broadcast_enable = read->consume_broadcast_enable;
    g->notify_ids_changed = read->notify_ids_changed;
    g->retry_queues = read->retry_queues;
    g->retry_max_times = read->retry_max_times;
}

void groups_apply_put(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    const Ledgermq__Command__GroupPut *put = (const Ledgermq__Command__GroupPut *)msg;
    struct str name = str_of(put->name), text = str_of(put->config_json);
    if (!name_valid(name, GROUP_NAME_MAX)) {
        refuse(s, RMQ_INVALID, "group name must be 1 to %d characters of [%%|a-zA-Z0-9_-]", GROUP_NAME_MAX);
        return;
    }
    struct group_rec *g = groups_find(s, name);
    if (g && put->create_only)
        return;
    struct group read = {0};
    struct err err;
    if (text.len > GROUP_CONFIG_MAX) {
        refuse(s, RMQ_INVALID, "group %s: more than %u bytes of configuration", put->name, GROUP_CONFIG_MAX);
    } else if (config_read(&read, text, &err)) {
        refuse(s, RMQ_INVALID, "group %s: configuration: %s", put->name, err.text);
    } else if (!g && s->group_count >= GROUPS_MAX) {
        refuse(s, RMQ_SYSTEM_ERROR, "group %s: there are %u groups, no more fit", put->name, GROUPS_MAX);
    } else {
        if (!g)
            g = group_add(s, name);
        config_take(&g->g, &read, text);
        struct key key = key_named(RECORD_GROUP, name);
        delta_put(&s->delta, &key, text.p, text.len);
        version_bump(s, &s->groups_version, e, put->now_ms);
        s->changes.groups = true;
    }
}

void groups_apply_delete(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    const Ledgermq__Command__GroupDelete *del = (const Ledgermq__Command__GroupDelete *)msg;
    struct str name = str_of(del->name);
    if (del->clean_offsets)
        offsets_drop_group(s, name);
    locks_drop_group(s, name);
    struct group_rec *g = groups_find(s, name);
    if (!g)
        return; /* as asked for: the delete may be sent again after a lost answer */
    struct key key = key_named(RECORD_GROUP, name);
    delta_delete(&s->delta, &key);
    group_remove(s, g);
    version_bump(s, &s->groups_version, e, del->now_ms);
    s->changes.groups = true;
}

int groups_load(struct state *s, struct rd *key, struct rd *value)
{
    struct str name = rd_str(key, rd_left(key));
    struct str text = rd_str(value, rd_left(value));
    struct group read = {0};
    if (!name_valid(name, GROUP_NAME_MAX) || config_read(&read, text, NULL))
        return ERR_DAMAGED;
    config_take(&group_add(s, name)->g, &read, text);
    return 0;
}

uint64_t groups_digest(const struct state *s)
{
    uint64_t sum = s->group_count;
    for (const struct group_rec *g = s->groups; g; g = g->hh.next) {
        uint64_t h = digest_bytes(DIGEST_SEED, g->g.name, strlen(g->g.name));
        sum += digest_bytes(h, g->g.config_json, strlen(g->g.config_json));
    }
    return sum;
}

void groups_release(struct state *s)
{
    struct group_rec *g, *next;
    HASH_ITER(hh, s->groups, g, next)
        group_remove(s, g);
}

/* ---- reading ---- */

const struct group *state_group(const struct state *s, struct str name)
{
    const struct group_rec *g = groups_find(s, name);
    return g ? &g->g : NULL;
}

static int by_group_name(const void *a, const void *b)
{
    return strcmp((*(struct group_rec *const *)a)->g.name, (*(struct group_rec *const *)b)->g.name);
}

void state_each_group(const struct state *s, void (*fn)(void *arg, const struct group *g), void *arg)
{
    struct group_rec **sorted = s->groups_sorted;
    if (!sorted) {
        sorted = mem_new(s->group_count, sizeof(struct group_rec *));
        uint32_t n = 0;
        for (struct group_rec *g = s->groups; g; g = g->hh.next)
            sorted[n++] = g;
        qsort(sorted, n, sizeof(struct group_rec *), by_group_name);
        ((struct state *)s)->groups_sorted = sorted; /* a cache: what the caller sees does not change */
    }
    for (uint32_t i = 0; i < s->group_count; i++)
        fn(arg, &sorted[i]->g);
}
