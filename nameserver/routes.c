/*
 * routes.c - the table itself. Two hashes: brokers by name, topics by name; a topic holds one small record per
 * broker name that has it. Removing a broker name walks all topics: it happens when a group has died.
 */
#include "nameserver/routes.h"

#include <stdlib.h>

#include "nameserver/routes_internal.h"

#define PERM_WRITE      2
#define PERM_READ_WRITE 6

/* ---- memory ---- */

static void *grown(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count, size);

    if (p == NULL)
        fatal("out of memory: %zu times %zu bytes for routes", count, size);
    return p;
}

static char *text_of(struct str s)
{
    char *text = grown(NULL, s.len + 1, 1);

    if (s.len > 0)
        memcpy(text, s.p, s.len);
    text[s.len] = '\0';
    return text;
}

static void set_text(char **field, struct str s)
{
    if (*field != NULL && str_is(s, *field))
        return;
    free(*field);
    *field = text_of(s);
}

struct routes *routes_new(void)
{
    struct routes *r = grown(NULL, 1, sizeof(*r));

    *r = (struct routes){NULL, NULL};
    return r;
}

/* ---- finding ---- */

struct broker *routes_find_broker(const struct routes *r, struct str name)
{
    struct broker *b = NULL;

    if (name.len > 0)
        HASH_FIND(hh, r->brokers, name.p, name.len, b);
    return b;
}

struct topic *routes_find_topic(const struct routes *r, struct str name)
{
    struct topic *t = NULL;

    if (name.len > 0)
        HASH_FIND(hh, r->topics, name.p, name.len, t);
    return t;
}

static struct member *member_by_id(struct broker *b, int64_t id)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->members[i].id == id)
            return &b->members[i];
    }
    return NULL;
}

static struct member *member_by_addr(struct broker *b, struct str addr)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (str_is(addr, b->members[i].addr))
            return &b->members[i];
    }
    return NULL;
}

const struct member *routes_master(const struct broker *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->members[i].id == ROUTES_MASTER)
            return &b->members[i];
    }
    return NULL;
}

static bool version_eq(const struct routes_version *a, const struct routes_version *b)
{
    return a->state == b->state && a->timestamp == b->timestamp && a->counter == b->counter;
}

/* ---- topics ---- */

static void topic_free(struct routes *r, struct topic *t)
{
    HASH_DEL(r->topics, t);
    free(t->queues);
    free(t);
}

/* The topic goes with its last queues. */
static void drop_queues(struct routes *r, struct topic *t, uint32_t at)
{
    t->count--;
    t->queues[at] = t->queues[t->count];
    if (t->count == 0)
        topic_free(r, t);
}

static struct queues *find_queues(struct topic *t, const struct broker *b)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->queues[i].broker == b)
            return &t->queues[i];
    }
    return NULL;
}

static struct topic *topic_add(struct routes *r, struct str name)
{
    struct topic *t = grown(NULL, sizeof(*t) + name.len + 1, 1);

    memset(t, 0, sizeof(*t));
    memcpy(t->name, name.p, name.len);
    t->name[name.len] = '\0';
    HASH_ADD_KEYPTR(hh, r->topics, t->name, name.len, t);
    return t;
}

static int put_queues(struct routes *r, struct broker *b, const struct routes_topic *in, struct err *err)
{
    struct topic *t = routes_find_topic(r, in->name);
    struct queues *q;

    if (in->name.len == 0 || in->name.len > ROUTES_TOPIC_MAX || memchr(in->name.p, '\0', in->name.len))
        return err_set(err, ERR_INVALID, "a topic name has %zu bytes; 1 to %u are allowed", in->name.len,
                       ROUTES_TOPIC_MAX);
    if (t == NULL) {
        if (HASH_COUNT(r->topics) >= ROUTES_TOPICS_MAX)
            return err_set(err, ERR_BUSY, "more than %u topics", ROUTES_TOPICS_MAX);
        t = topic_add(r, in->name);
    }
    q = find_queues(t, b);
    if (q == NULL) {
        t->queues = grown(t->queues, t->count + 1, sizeof(*t->queues));
        q = &t->queues[t->count++];
    }
    *q = (struct queues){b, in->read_queues, in->write_queues, in->perm, in->sys_flag, b->round};
    return 0;
}

/* Remove the queues of `b`, all of them or those not put in this round. */
static void sweep_queues(struct routes *r, const struct broker *b, bool all)
{
    struct topic *t, *next;

    HASH_ITER(hh, r->topics, t, next) {
        struct queues *q = find_queues(t, b);

        if (q != NULL && (all || q->round != b->round))
            drop_queues(r, t, (uint32_t)(q - t->queues));
    }
}

/* Of the version taken last only topics that are missing here are new: a Java broker with enableSplitRegistration sends
 * its table in pieces of one version. Numbers that are here stay, and with them a wiped permission. */
static int take_topics(struct routes *r, struct broker *b, const struct routes_registration *reg,
                       bool drop_missing, struct err *err)
{
    bool known = b->taken && version_eq(&b->version, &reg->version);

    if (!known)
        b->round++;
    for (uint32_t i = 0; i < reg->topic_count; i++) {
        struct topic *t = known ? routes_find_topic(r, reg->topics[i].name) : NULL;
        int rc = t != NULL && find_queues(t, b) != NULL ? 0 : put_queues(r, b, &reg->topics[i], err);

        if (rc != 0)
            return rc; /* `version` stays as it was: the next registration is taken again */
    }
    /* Every broker has topics of its own making: one that tells none tells nothing about them. */
    if (!known && drop_missing && reg->topic_count > 0 && !(reg->may_be_partial && reg->topic_count == 1))
        sweep_queues(r, b, false);
    b->taken = true;
    b->version = reg->version;
    return 0;
}

/* ---- members ---- */

static struct broker *broker_add(struct routes *r, struct str name, struct str cluster)
{
    struct broker *b = grown(NULL, 1, sizeof(*b));

    memset(b, 0, sizeof(*b));
    b->name = text_of(name);
    b->cluster = text_of(cluster);
    HASH_ADD_KEYPTR(hh, r->brokers, b->name, name.len, b);
    return b;
}

static void broker_free(struct routes *r, struct broker *b)
{
    sweep_queues(r, b, true);
    HASH_DEL(r->brokers, b);
    free(b->name);
    free(b->cluster);
    free(b->leader);
    free(b);
}

static void member_remove(struct broker *b, struct member *m)
{
    free(m->addr);
    free(m->ha_addr);
    b->count--;
    memmove(m, m + 1, (size_t)(&b->members[b->count] - m) * sizeof(*m));
}

static struct member *member_add(struct broker *b, int64_t id)
{
    uint32_t at = 0;

    ENSURE(b->count < ROUTES_MEMBERS_MAX);
    while (at < b->count && b->members[at].id < id)
        at++;
    memmove(&b->members[at + 1], &b->members[at], (b->count - at) * sizeof(b->members[0]));
    b->count++;
    b->members[at] = (struct member){.id = id};
    return &b->members[at];
}

/* Forget the members that `match` names, and the broker with its last one. */
static void remove_matching(struct routes *r, struct broker *b,
                            bool (*match)(const struct member *m, uint64_t value), uint64_t value,
                            routes_gone_fn gone, void *arg)
{
    for (uint32_t i = b->count; i-- > 0;) {
        struct member *m = &b->members[i];

        if (!match(m, value))
            continue;
        if (gone != NULL)
            gone(arg, b->name, m->id, m->addr);
        member_remove(b, m);
    }
    if (b->count == 0)
        broker_free(r, b);
}

/* ---- registration ---- */

/* Names go into JSON that some clients cut apart at commas and colons. */
static bool name_ok(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c <= ' ' || c == 0x7F || strchr("\",\\{}", c) != NULL)
            return false;
    }
    return s.len > 0 && s.len <= ROUTES_NAME_MAX;
}

static int check_names(const struct routes_registration *reg, struct err *err)
{
    const struct {
        const char *field;
        struct str text;
    } names[] = {{"clusterName", reg->cluster}, {"brokerName", reg->broker}, {"brokerAddr", reg->addr}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct str text = names[i].text;

        if (!name_ok(text))
            return err_set(err, ERR_INVALID,
                           "%s \"%.*s\" must be 1 to %u bytes without blanks, commas, "
                           "quotes or braces",
                           names[i].field, text.len < 80 ? (int)text.len : 80, text.len > 0 ? text.p : "",
                           ROUTES_NAME_MAX);
    }
    if (memchr(reg->addr.p, ':', reg->addr.len) == NULL)
        return err_set(err, ERR_INVALID, "brokerAddr \"%.*s\" is not host:port", (int)reg->addr.len,
                       reg->addr.p);
    if (reg->ha_addr.len > ROUTES_NAME_MAX)
        return err_set(err, ERR_INVALID, "haServerAddr has more than %u bytes", ROUTES_NAME_MAX);
    return 0;
}

/* May this address have this id? */
static int check_claim(struct broker *b, const struct routes_registration *reg, struct err *err)
{
    const struct member *holder = b != NULL ? member_by_id(b, reg->id) : NULL;

    if (holder == NULL && reg->may_be_partial && reg->topic_count == 1)
        return err_set(err, ERR_LOST,
                       "register broker failed: id %lld of %.*s is not known here and one topic is not a "
                       "whole table",
                       (long long)reg->id, (int)reg->broker.len, reg->broker.p);
    if (b == NULL)
        return 0;
    if (reg->id == ROUTES_MASTER && b->leader != NULL && !str_is(reg->addr, b->leader) &&
        b->leader_term > reg->version.state)
        return err_set(err, ERR_LOST, "%s was made leader of %s in term %lld, after term %lld", b->leader,
                       b->name, (long long)b->leader_term, (long long)reg->version.state);
    if (holder != NULL && !str_is(reg->addr, holder->addr) && holder->version.state > reg->version.state)
        return err_set(err, ERR_LOST, "id %lld of %s belongs to %s with the newer state version %lld",
                       (long long)reg->id, b->name, holder->addr, (long long)holder->version.state);
    return 0;
}

static int check_limits(const struct routes *r, struct broker *b, const struct routes_registration *reg,
                        struct err *err)
{
    if (b == NULL && HASH_COUNT(r->brokers) >= ROUTES_BROKERS_MAX)
        return err_set(err, ERR_BUSY, "more than %u broker names", ROUTES_BROKERS_MAX);
    if (b != NULL && b->count == ROUTES_MEMBERS_MAX && member_by_id(b, reg->id) == NULL &&
        member_by_addr(b, reg->addr) == NULL)
        return err_set(err, ERR_BUSY, "more than %u brokers named %s", ROUTES_MEMBERS_MAX, b->name);
    return 0;
}

static enum routes_news place(struct broker *b, const struct routes_registration *reg, uint64_t now_ms)
{
    struct member *was = member_by_addr(b, reg->addr), *m;
    enum routes_news news = was == NULL ? ROUTES_JOINED : ROUTES_NOTHING_NEW;

    if (was != NULL && was->id != reg->id) {
        member_remove(b, was);
        news = ROUTES_MOVED;
    }
    m = member_by_id(b, reg->id);
    if (m == NULL)
        m = member_add(b, reg->id);
    set_text(&m->addr, reg->addr);
    set_text(&m->ha_addr, reg->ha_addr);
    m->version = reg->version;
    m->conn_id = reg->conn_id;
    m->last_ms = now_ms;
    m->timeout_ms = reg->timeout_ms == 0 ? ROUTES_HEARTBEAT_MS : reg->timeout_ms;
    if (m->timeout_ms > ROUTES_HEARTBEAT_MAX_S * 1000ull)
        m->timeout_ms = ROUTES_HEARTBEAT_MAX_S * 1000ull;
    return news;
}

int routes_register(struct routes *r, const struct routes_registration *reg, bool drop_missing,
                    uint64_t now_ms, struct routes_answer *answer, struct err *err)
{
    struct broker *b = routes_find_broker(r, reg->broker);
    const struct member *master;
    int rc = check_names(reg, err);

    *answer = (struct routes_answer){.news = ROUTES_NOTHING_NEW};
    rc = rc != 0 ? rc : check_claim(b, reg, err);
    rc = rc != 0 ? rc : check_limits(r, b, reg, err);
    if (rc != 0)
        return rc;
    if (b == NULL)
        b = broker_add(r, reg->broker, reg->cluster);
    answer->news = place(b, reg, now_ms);
    if (reg->id == ROUTES_MASTER) {
        set_text(&b->cluster, reg->cluster);
        set_text(&b->leader, reg->addr);
        b->leader_term = reg->version.state;
        return take_topics(r, b, reg, drop_missing, err);
    }
    master = routes_master(b);
    if (master != NULL) {
        answer->master_addr = str_of(master->addr);
        answer->master_ha_addr = str_of(master->ha_addr);
    }
    return 0;
}

bool routes_query_version(const struct routes *r, struct str broker, struct str addr, int64_t id,
                          const struct routes_version *version, struct routes_version *known, bool *changed)
{
    struct broker *b = routes_find_broker(r, broker);
    const struct member *m = b != NULL ? member_by_addr(b, addr) : NULL;

    *changed = true;
    if (m == NULL)
        return false;
    *known = m->version;
    *changed = m->id != id || !version_eq(&m->version, version) ||
               (id == ROUTES_MASTER && (!b->taken || !version_eq(&b->version, version)));
    return true;
}

void routes_touch(struct routes *r, struct str broker, struct str addr, uint64_t now_ms)
{
    struct broker *b = routes_find_broker(r, broker);
    struct member *m = b != NULL ? member_by_addr(b, addr) : NULL;

    if (m != NULL)
        m->last_ms = now_ms;
}

/* ---- leaving ---- */

bool routes_unregister(struct routes *r, struct str broker, struct str addr)
{
    struct broker *b = routes_find_broker(r, broker);
    struct member *m = b != NULL ? member_by_addr(b, addr) : NULL;

    if (m == NULL)
        return false;
    member_remove(b, m);
    if (b->count == 0)
        broker_free(r, b);
    return true;
}

static bool match_conn(const struct member *m, uint64_t conn_id)
{
    return m->conn_id == conn_id;
}

static bool match_silent(const struct member *m, uint64_t now_ms)
{
    return now_ms >= m->last_ms + m->timeout_ms;
}

void routes_conn_closed(struct routes *r, uint64_t conn_id, routes_gone_fn gone, void *arg)
{
    struct broker *b, *next;

    HASH_ITER(hh, r->brokers, b, next) {
        remove_matching(r, b, match_conn, conn_id, gone, arg);
    }
}

void routes_expire(struct routes *r, uint64_t now_ms, routes_gone_fn gone, void *arg)
{
    struct broker *b, *next;

    HASH_ITER(hh, r->brokers, b, next) {
        remove_matching(r, b, match_silent, now_ms, gone, arg);
    }
}

void routes_free(struct routes *r)
{
    struct broker *b, *next;

    HASH_ITER(hh, r->brokers, b, next) {
        while (b->count > 0)
            member_remove(b, &b->members[0]);
        broker_free(r, b);
    }
    free(r);
}

/* ---- what operators change ---- */

static uint32_t set_perm(struct routes *r, struct str broker, int32_t keep, int32_t add)
{
    struct broker *b = routes_find_broker(r, broker);
    struct topic *t, *next;
    uint32_t count = 0;

    if (b == NULL)
        return 0;
    HASH_ITER(hh, r->topics, t, next) {
        struct queues *q = find_queues(t, b);

        if (q == NULL)
            continue;
        q->perm = (q->perm & keep) | add;
        count++;
    }
    return count;
}

uint32_t routes_wipe_write(struct routes *r, struct str broker)
{
    return set_perm(r, broker, ~PERM_WRITE, 0);
}

uint32_t routes_add_write(struct routes *r, struct str broker)
{
    return set_perm(r, broker, 0, PERM_READ_WRITE);
}

bool routes_delete_topic(struct routes *r, struct str topic, struct str cluster)
{
    struct topic *t = routes_find_topic(r, topic);
    bool found = false;

    if (t == NULL)
        return false;
    for (uint32_t i = t->count; i-- > 0;) {
        if (cluster.len > 0 && !str_is(cluster, t->queues[i].broker->cluster))
            continue;
        drop_queues(r, t, i); /* frees the topic after i was 0 at the latest */
        found = true;
    }
    return found;
}

int routes_put_queues(struct routes *r, struct str broker, const struct routes_topic *topic, struct err *err)
{
    struct broker *b = routes_find_broker(r, broker);

    if (b == NULL)
        return err_set(err, ERR_NOT_FOUND, "no broker is named %.*s", broker.len < 80 ? (int)broker.len : 80,
                       broker.len > 0 ? broker.p : "");
    return put_queues(r, b, topic, err);
}

/* ---- numbers ---- */

uint32_t routes_topic_count(const struct routes *r)
{
    return HASH_COUNT(r->topics);
}

uint32_t routes_broker_count(const struct routes *r)
{
    return HASH_COUNT(r->brokers);
}

uint32_t routes_member_count(const struct routes *r)
{
    const struct broker *b, *next;
    uint32_t count = 0;

    HASH_ITER(hh, r->brokers, b, next) {
        count += b->count;
    }
    return count;
}
