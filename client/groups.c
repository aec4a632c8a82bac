/*
 * groups.c - the broker groups a client knows: a line and a scout to each, and heartbeats to all their
 * replicas.
 *
 * Who leads is learned from three sides: a nameserver names id 0, the scout asks the replicas, and a line
 * finds out by being refused. A nameserver's word moves the line only when it has changed, because it may
 * be older than what the line found out itself.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"
#include "common/codes.h"
#include "common/json.h"

#define HEARTBEAT_MAX_BYTES (1u << 20)
#define HEARTBEAT_SOON_MS   1u

static void on_trouble(void *user)
{
    struct group *g = user;

    scout_search(g->scout);
    directory_trouble(g->client);
}

static void on_request(void *user, const struct remoting_cmd *cmd)
{
    struct group *g = user;
    struct lmq_consumer *c;

    if (cmd->code != NOTIFY_CONSUMER_IDS_CHANGED)
        return;
    TAILQ_FOREACH(c, &g->client->consumers, link)
        if (str_is(remoting_str(cmd, "consumerGroup"), c->group))
            consumer_on_notify(c);
}

static void on_up(void *user, const char *address)
{
    struct group *g = user;

    (void)address;
    heartbeat_soon(g->client);
}

static const struct line_ops group_ops = {on_trouble, on_request, on_up};

static void on_leader(void *arg, const char *address)
{
    struct group *g = arg;

    line_prefer(g->line, address);
}

struct group *group_find(struct lmq_client *c, const char *name)
{
    for (uint32_t i = 0; i < c->group_count; i++)
        if (strcmp(c->groups[i]->name, name) == 0)
            return c->groups[i];
    return NULL;
}

static struct group *group_new(struct lmq_client *c, const char *name)
{
    struct group *g;

    if (c->group_count == CLIENT_GROUPS_MAX)
        return NULL;
    g = calloc(1, sizeof(*g));
    ENSURE(g != NULL);
    g->client = c;
    snprintf(g->name, sizeof(g->name), "%s", name);
    g->line = line_new(c->loop, c->options.connect_ms, &group_ops, g);
    g->scout = scout_new(c->loop, on_leader, g);
    c->groups[c->group_count++] = g;
    return g;
}

static uint32_t add_address(const char **addresses, uint32_t count, const char *address)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(addresses[i], address) == 0)
            return count;
    if (count < LINE_REPLICAS_MAX)
        addresses[count++] = address;
    return count;
}

static void take_broker(struct group *g, const struct route_broker *b, bool from_namesrv)
{
    const char *addresses[LINE_REPLICAS_MAX];
    char kept[LINE_REPLICAS_MAX][ADDRESS_MAX];
    uint32_t count = 0, known = from_namesrv ? 0 : line_replica_count(g->line);
    int leader = from_namesrv ? route_leader(b) : -1;

    for (uint32_t i = 0; i < known; i++) {
        snprintf(kept[i], sizeof(kept[i]), "%s", line_replica(g->line, i));
        count = add_address(addresses, count, kept[i]);
    }
    for (uint32_t i = 0; i < b->replica_count; i++)
        count = add_address(addresses, count, b->replicas[i].address);
    if (leader >= 0) {
        bool news = strcmp(g->told_leader, b->replicas[leader].address) != 0;

        snprintf(g->told_leader, sizeof(g->told_leader), "%s", b->replicas[leader].address);
        leader = news ? leader : -1;
    }
    line_set_replicas(g->line, addresses, count, leader);
    scout_set_replicas(g->scout, addresses, count);
    if (!from_namesrv && g->told_leader[0] == '\0')
        scout_search(g->scout);
}

void groups_take(struct lmq_client *c, const struct route *r, bool from_namesrv)
{
    for (uint32_t i = 0; i < r->broker_count; i++) {
        struct group *g = group_find(c, r->brokers[i].name);

        if (g == NULL)
            g = group_new(c, r->brokers[i].name);
        if (g != NULL)
            take_broker(g, &r->brokers[i], from_namesrv);
    }
}

void groups_release(struct lmq_client *c)
{
    for (uint32_t i = 0; i < c->group_count; i++) {
        scout_free(c->groups[i]->scout);
        line_free(c->groups[i]->line);
        free(c->groups[i]);
    }
    c->group_count = 0;
}

/* ---- heartbeats ---- */

static void put_tags(struct jw *w, const struct subscription *s, bool hashes)
{
    static const char blanks[] = "| ";

    jw_array(w);
    for (const char *p = s->tags + strspn(s->tags, blanks); *p != '\0' && !s->all; p += strspn(p, blanks)) {
        struct str tag = {p, strcspn(p, blanks)};

        if (hashes)
            jw_i64(w, java_hash(tag));
        else
            jw_str(w, tag);
        p += tag.len;
    }
    jw_end_array(w);
}

static void put_subscription(struct jw *w, const struct subscription *s)
{
    jw_object(w);
    jw_key(w, "classFilterMode");
    jw_bool(w, false);
    jw_key(w, "codeSet");
    put_tags(w, s, true);
    jw_key(w, "expressionType");
    jw_cstr(w, "TAG");
    jw_key(w, "subString");
    jw_cstr(w, s->tags);
    jw_key(w, "subVersion");
    jw_i64(w, s->version);
    jw_key(w, "tagsSet");
    put_tags(w, s, false);
    jw_key(w, "topic");
    jw_cstr(w, s->topic);
    jw_end_object(w);
}

static void put_consumer(struct jw *w, const struct lmq_consumer *c)
{
    const struct subscription *s;

    jw_object(w);
    jw_key(w, "consumeFromWhere");
    jw_cstr(w, c->client->options.from_where);
    jw_key(w, "consumeType");
    jw_cstr(w, "CONSUME_PASSIVELY");
    jw_key(w, "groupName");
    jw_cstr(w, c->group);
    jw_key(w, "messageModel");
    jw_cstr(w, c->model == LMQ_CLUSTERING ? "CLUSTERING" : "BROADCASTING");
    jw_key(w, "subscriptionDataSet");
    jw_array(w);
    TAILQ_FOREACH(s, &c->subscriptions, link)
        put_subscription(w, s);
    jw_end_array(w);
    jw_key(w, "unitMode");
    jw_bool(w, false);
    jw_end_object(w);
}

/* HeartbeatData; NULL when it would be too long. */
static struct buf *heartbeat_body(const struct lmq_client *c)
{
    struct bld text = bld_of(HEARTBEAT_MAX_BYTES);
    struct jw w = jw_of(&text);
    const struct lmq_producer *p;
    const struct lmq_consumer *k;

    jw_object(&w);
    jw_key(&w, "clientID");
    jw_cstr(&w, c->id);
    jw_key(&w, "consumerDataSet");
    jw_array(&w);
    TAILQ_FOREACH(k, &c->consumers, link)
        put_consumer(&w, k);
    jw_end_array(&w);
    jw_key(&w, "producerDataSet");
    jw_array(&w);
    TAILQ_FOREACH(p, &c->producers, link) {
        jw_object(&w);
        jw_key(&w, "groupName");
        jw_cstr(&w, p->group);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    return bld_take(&text);
}

void heartbeat_soon(struct lmq_client *c)
{
    if (c->heartbeat_set)
        return;
    c->heartbeat_set = true;
    timer_start(&c->heartbeat, HEARTBEAT_SOON_MS);
}

void heartbeat_now(struct lmq_client *c)
{
    struct buf *body;

    c->heartbeat_set = false;
    timer_start(&c->heartbeat, c->options.heartbeat_ms);
    if (TAILQ_EMPTY(&c->producers) && TAILQ_EMPTY(&c->consumers))
        return;
    body = heartbeat_body(c);
    for (uint32_t i = 0; body != NULL && i < c->group_count; i++) {
        struct remoting_out out;
        struct buf *frame;

        remoting_request(&out, REMOTING_BINARY, HEART_BEAT, 0, false);
        if (wire_request(&out, body->data, body->len, &frame) == 0)
            line_broadcast(c->groups[i]->line, frame);
    }
    buf_unref(body);
}

void unregister(struct lmq_client *c, const char *producer_group, const char *consumer_group)
{
    for (uint32_t i = 0; i < c->group_count; i++) {
        struct remoting_out out;
        struct buf *frame;

        remoting_request(&out, REMOTING_BINARY, UNREGISTER_CLIENT, 0, false);
        remoting_put_str(&out, "clientID", str_of(c->id));
        if (producer_group != NULL)
            remoting_put_str(&out, "producerGroup", str_of(producer_group));
        if (consumer_group != NULL)
            remoting_put_str(&out, "consumerGroup", str_of(consumer_group));
        if (wire_request(&out, NULL, 0, &frame) == 0)
            line_broadcast(c->groups[i]->line, frame);
    }
}
