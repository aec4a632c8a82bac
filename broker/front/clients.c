/*
 * clients.c - see clients.h.
 *
 *   group (producer or consumer) -> members by client id -> connection id, language, version, last heartbeat;
 *                                   a consumer group also has its subscriptions
 *
 * A member leaves by 35, by the close of its connection, or after channelExpiredTimeout of silence. Members of
 * a consumer group are told of every change (40).
 */
#include "broker/front/clients.h"

#include <stdlib.h>
#include <string.h>

#include "broker/front/clients_internal.h"
#include "broker/front/push.h"
#include "common/codes.h"
#include "common/log.h"

#define EXPIRY_SCAN_MS    10000u
#define MEMBERS_MAX       200000u /* of all groups; more are not registered */
#define SUBSCRIPTIONS_MAX 200000u
#define EXPRESSION_MAX    32768u              /* bytes of one */
#define EXPRESSIONS_MAX   (64u * 1024 * 1024) /* bytes of all; more are not registered */

static struct client_group **table_of(struct clients *c, enum client_kind kind)
{
    return kind == CLIENT_PRODUCER ? &c->producers : &c->consumers;
}

struct client_group *clients_group(const struct clients *c, enum client_kind kind, struct str name)
{
    struct client_group *table = kind == CLIENT_PRODUCER ? c->producers : c->consumers, *g = NULL;

    if (name.len > 0)
        HASH_FIND(hh, table, name.p, name.len, g);
    return g;
}

static struct client_group *group_make(struct clients *c, enum client_kind kind, struct str name)
{
    struct client_group *g = clients_group(c, kind, name), **table = table_of(c, kind);

    if (g != NULL)
        return g;
    g = calloc(1, sizeof(*g));
    ENSURE(g != NULL && str_copy(name, g->name, sizeof(g->name)));
    g->kind = kind;
    HASH_ADD_KEYPTR(hh, *table, g->name, name.len, g);
    return g;
}

static void subscription_free(struct clients *c, struct client_group *g, struct subscription *s)
{
    HASH_DEL(g->subscriptions, s);
    c->subscription_count--;
    c->expression_bytes -= strlen(s->expression);
    free(s->expression);
    free(s);
}

/* ---- sessions ---- */

static struct session *session_find(const struct clients *c, uint64_t conn_id)
{
    struct session *s;

    HASH_FIND(hh, c->sessions, &conn_id, sizeof(conn_id), s);
    return s;
}

static void session_leave(struct clients *c, struct member *m)
{
    struct session *s = m->session;

    if (s == NULL)
        return;
    LIST_REMOVE(m, of_session);
    m->session = NULL;
    if (!LIST_EMPTY(&s->members))
        return;
    HASH_DEL(c->sessions, s);
    free(s);
}

static void session_join(struct clients *c, struct member *m, uint64_t conn_id)
{
    struct session *s = session_find(c, conn_id);

    if (m->session != NULL && m->session == s)
        return;
    session_leave(c, m);
    if (s == NULL) {
        s = calloc(1, sizeof(*s));
        ENSURE(s != NULL);
        s->conn_id = conn_id;
        LIST_INIT(&s->members);
        HASH_ADD(hh, c->sessions, conn_id, sizeof(s->conn_id), s);
    }
    LIST_INSERT_HEAD(&s->members, m, of_session);
    m->session = s;
    m->conn_id = conn_id;
}

static void member_free(struct clients *c, struct member *m)
{
    struct client_group *g = m->group;

    session_leave(c, m);
    HASH_DEL(g->members, m);
    c->member_count--;
    free(m);
}

/* The group goes when its last member has gone. */
static void group_release(struct clients *c, struct client_group *g)
{
    struct subscription *s, *next;
    struct client_group **table = table_of(c, g->kind);

    if (g->members != NULL)
        return;
    HASH_ITER(hh, g->subscriptions, s, next)
        subscription_free(c, g, s);
    HASH_DELETE(hh, *table, g);
    free(g);
}

/* Tell every member that the group has changed (40), so that all rebalance at once. */
static void notify(struct clients *c, struct client_group *g)
{
    const struct group *config = state_group(c->f->state, str_of(g->name));
    struct member *m, *next;

    if (g->kind != CLIENT_CONSUMER || g->broadcasting || !c->f->settings->notify_ids_changed ||
        (config != NULL && !config->notify_ids_changed))
        return;
    HASH_ITER(hh, g->members, m, next) {
        struct remoting_out out;

        remoting_request(&out, REMOTING_JSON, NOTIFY_CONSUMER_IDS_CHANGED, 0, true);
        remoting_put_str(&out, "consumerGroup", str_of(g->name));
        push_oneway(c->f->pushes, m->conn_id, &out, (struct str){NULL, 0});
    }
}

/* Changed groups are gathered, so that one heartbeat, or the end of one connection, tells each member once. */
static void touch(struct clients *c, struct client_group *g)
{
    if (g->touched)
        return;
    g->touched = true;
    g->next_touched = c->touched;
    c->touched = g;
}

void clients_settle(struct clients *c)
{
    struct client_group *g;

    while ((g = c->touched) != NULL) {
        c->touched = g->next_touched;
        g->touched = false;
        if (g->members != NULL)
            notify(c, g);
        else
            group_release(c, g);
    }
}

/* ---- joining ---- */

/* True when the member is new or came back over another connection. */
static bool join(struct clients *c, struct client_group *g, const struct client_id *who)
{
    struct member *m;
    bool changed = false;

    HASH_FIND(hh, g->members, who->client_id.p, who->client_id.len, m);
    if (m == NULL) {
        m = calloc(1, sizeof(*m));
        ENSURE(m != NULL && str_copy(who->client_id, m->client_id, sizeof(m->client_id)));
        m->group = g;
        HASH_ADD_KEYPTR(hh, g->members, m->client_id, who->client_id.len, m);
        c->member_count++;
        changed = true;
    }
    changed = changed || m->conn_id != who->conn_id;
    session_join(c, m, who->conn_id);
    m->language = who->language;
    m->version = who->version;
    m->addr = who->addr;
    m->seen_ms = loop_now_ms(c->f->loop);
    return changed;
}

/* Limits are for who is new: a known member is always renewed. */
static bool has_room(struct clients *c, enum client_kind kind, struct str group, const struct client_id *who)
{
    struct client_group *g = clients_group(c, kind, group);
    struct member *m = NULL;

    if (g != NULL)
        HASH_FIND(hh, g->members, who->client_id.p, who->client_id.len, m);
    if (m != NULL || (c->member_count < MEMBERS_MAX && c->subscription_count < SUBSCRIPTIONS_MAX))
        return true;
    LOG_WARN_EVERY(10000, "too many clients, heartbeat ignored", "members=%llu subscriptions=%llu",
                   (unsigned long long)c->member_count, (unsigned long long)c->subscription_count);
    return false;
}

void clients_join_producer(struct clients *c, struct str group, const struct client_id *who)
{
    if (front_group_name_ok(group) && has_room(c, CLIENT_PRODUCER, group, who))
        (void)join(c, group_make(c, CLIENT_PRODUCER, group), who);
}

static char *text_of(struct str s)
{
    char *text = malloc(s.len + 1);

    ENSURE(text != NULL);
    if (s.len > 0)
        memcpy(text, s.p, s.len);
    text[s.len] = '\0';
    return text;
}

/* One subscription of a heartbeat; true when the topic is new to the group. */
static bool subscribe(struct clients *c, struct client_group *g, const struct json *sub, uint32_t round)
{
    struct str topic = json_get_str(sub, "topic"), expression = json_get_str(sub, "subString");
    struct str type = json_get_str(sub, "expressionType");
    int64_t version = json_get_i64(sub, "subVersion", 0);
    struct subscription *s;
    bool is_new, fits;

    if (!front_topic_name_ok(topic))
        return false;
    if (expression.len == 0)
        expression = STR("*");
    fits = expression.len <= EXPRESSION_MAX && memchr(expression.p, 0, expression.len) == NULL &&
           c->expression_bytes + expression.len <= EXPRESSIONS_MAX;
    HASH_FIND(hh, g->subscriptions, topic.p, topic.len, s);
    is_new = s == NULL;
    if (is_new && !fits)
        return false;
    if (is_new) {
        if (c->subscription_count >= SUBSCRIPTIONS_MAX)
            return false;
        c->subscription_count++;
        s = calloc(1, sizeof(*s));
        ENSURE(s != NULL && str_copy(topic, s->topic, sizeof(s->topic)));
        HASH_ADD_KEYPTR(hh, g->subscriptions, s->topic, topic.len, s);
        s->version = INT64_MIN;
        s->expression = text_of((struct str){NULL, 0});
    }
    s->round = round;
    if (version < s->version || !fits) /* what is known stays */
        return is_new;
    s->version = version;
    c->expression_bytes -= strlen(s->expression);
    free(s->expression);
    s->expression = text_of(expression);
    c->expression_bytes += expression.len;
    if (!str_copy(type, s->type, sizeof(s->type)) || s->type[0] == '\0')
        strcpy(s->type, "TAG");
    return is_new;
}

/* Topics the newest heartbeat no longer names are no longer subscribed
 * (ConsumerGroupInfo.updateSubscription). */
static bool forget_old(struct clients *c, struct client_group *g)
{
    struct subscription *s, *next;
    bool changed = false;

    HASH_ITER(hh, g->subscriptions, s, next) {
        if (s->round != g->round) {
            subscription_free(c, g, s);
            changed = true;
        }
    }
    return changed;
}

static struct str enum_text(const struct json *node, const char *const *names, int count)
{
    struct str text = json_str(node);
    int64_t ordinal;

    if (str_to_i64(text, &ordinal) && ordinal >= 0 && ordinal < count)
        return str_of(names[ordinal]);
    return text;
}

static const char *const consume_types[] = {"CONSUME_ACTIVELY", "CONSUME_PASSIVELY", "CONSUME_POP"};
static const char *const message_models[] = {"BROADCASTING", "CLUSTERING"};
static const char *const from_wheres[] = {
    "CONSUME_FROM_LAST_OFFSET",  "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
    "CONSUME_FROM_MIN_OFFSET",   "CONSUME_FROM_MAX_OFFSET",
    "CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_TIMESTAMP"};

void clients_join_consumer(struct clients *c, const struct json *data, bool with_subscriptions,
                           const struct client_id *who)
{
    struct str name = json_get_str(data, "groupName");
    const struct json *subs = json_get(data, "subscriptionDataSet");
    struct client_group *g;
    bool changed;

    if (!front_group_name_ok(name) || !has_room(c, CLIENT_CONSUMER, name, who))
        return;
    g = group_make(c, CLIENT_CONSUMER, name);
    g->broadcasting = str_is(enum_text(json_get(data, "messageModel"), message_models, 2), "BROADCASTING");
    (void)str_copy(enum_text(json_get(data, "consumeType"), consume_types, 3), g->consume_type,
                   sizeof(g->consume_type));
    (void)str_copy(enum_text(json_get(data, "consumeFromWhere"), from_wheres, 6), g->from_where,
                   sizeof(g->from_where));
    changed = join(c, g, who);
    if (with_subscriptions) {
        g->round++;
        for (const struct json *s = subs != NULL ? subs->first : NULL; s != NULL; s = s->next)
            changed |= subscribe(c, g, s, g->round);
        changed |= forget_old(c, g);
    }
    front_want_group(c->f, name, !g->broadcasting);
    if (changed)
        touch(c, g);
}

/* ---- leaving ---- */

static void leave(struct clients *c, struct client_group *g, struct member *m)
{
    member_free(c, m);
    if (g->members != NULL)
        notify(c, g);
    else
        group_release(c, g);
}

void clients_leave(struct clients *c, enum client_kind kind, struct str group, struct str client_id)
{
    struct client_group *g = clients_group(c, kind, group);
    struct member *m = NULL;

    if (g == NULL || client_id.len == 0)
        return;
    HASH_FIND(hh, g->members, client_id.p, client_id.len, m);
    if (m != NULL)
        leave(c, g, m);
}

void clients_on_close(struct clients *c, uint64_t conn_id)
{
    struct session *s = session_find(c, conn_id);
    struct member *m, *next;

    if (s == NULL)
        return;
    for (m = LIST_FIRST(&s->members); m != NULL; m = next) {
        next = LIST_NEXT(m, of_session);
        touch(c, m->group);
        member_free(c, m); /* the last one takes the session with it */
    }
    clients_settle(c);
}

static void leave_silent(struct clients *c, enum client_kind kind, uint64_t oldest_ms)
{
    struct client_group *g, *next_group;

    HASH_ITER(hh, *table_of(c, kind), g, next_group) {
        struct member *m, *next;

        HASH_ITER(hh, g->members, m, next) {
            if (m->seen_ms < oldest_ms) {
                touch(c, g);
                member_free(c, m);
            }
        }
    }
    clients_settle(c);
}

static void on_expiry(void *arg)
{
    struct clients *c = arg;
    uint64_t now_ms = loop_now_ms(c->f->loop), silence_ms = (uint64_t)c->f->settings->channel_expired_ms;
    uint64_t oldest_ms = now_ms > silence_ms ? now_ms - silence_ms : 0;

    leave_silent(c, CLIENT_PRODUCER, oldest_ms);
    leave_silent(c, CLIENT_CONSUMER, oldest_ms);
    timer_start(&c->expiry, EXPIRY_SCAN_MS);
}

void clients_on_serving(struct clients *c)
{
    struct client_group *g, *next;

    HASH_ITER(hh, c->consumers, g, next)
        front_want_group(c->f, str_of(g->name), !g->broadcasting);
}

uint64_t clients_count(const struct clients *c)
{
    return c->member_count;
}

struct clients *clients_new(struct front *f)
{
    struct clients *c = calloc(1, sizeof(*c));

    ENSURE(c != NULL);
    c->f = f;
    timer_init(&c->expiry, f->loop, on_expiry, c);
    timer_start(&c->expiry, EXPIRY_SCAN_MS);
    return c;
}

static void free_table(struct clients *c, enum client_kind kind)
{
    struct client_group *g, *next_group;

    HASH_ITER(hh, *table_of(c, kind), g, next_group) {
        struct member *m, *next;

        HASH_ITER(hh, g->members, m, next)
            member_free(c, m);
        group_release(c, g);
    }
}

void clients_free(struct clients *c)
{
    free_table(c, CLIENT_PRODUCER);
    free_table(c, CLIENT_CONSUMER);
    timer_release(&c->expiry);
    free(c);
}
