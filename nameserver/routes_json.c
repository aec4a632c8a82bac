/*
 * routes_json.c - routes as RocketMQ's JSON bodies: TopicRouteData, ClusterInfo, BrokerMemberGroup, TopicList.
 *
 * Broker ids as map keys are unquoted except in the standard form of a route; no white space anywhere, because
 * Go clients cut brokerAddrs apart without trimming (reference 4.1).
 */
#include "nameserver/routes_internal.h"

#include "common/json.h"

#define FLAG_UNIT     1 /* TopicSysFlag */
#define FLAG_UNIT_SUB 2

static void addrs_json(struct jw *w, const struct broker *b, bool standard)
{
    jw_key(w, "brokerAddrs");
    jw_object(w);
    for (uint32_t i = 0; i < b->count; i++) {
        jw_key_int(w, b->members[i].id, standard);
        jw_cstr(w, b->members[i].addr);
    }
    jw_end_object(w);
}

/* BrokerData */
static void broker_json(struct jw *w, const struct broker *b, bool standard)
{
    jw_object(w);
    addrs_json(w, b, standard);
    jw_key(w, "brokerName");
    jw_cstr(w, b->name);
    jw_key(w, "cluster");
    jw_cstr(w, b->cluster);
    jw_key(w, "enableActingMaster");
    jw_bool(w, false);
    jw_end_object(w);
}

/* QueueData */
static void queues_json(struct jw *w, const struct queues *q)
{
    jw_object(w);
    jw_key(w, "brokerName");
    jw_cstr(w, q->broker->name);
    jw_key(w, "perm");
    jw_i64(w, q->perm);
    jw_key(w, "readQueueNums");
    jw_i64(w, q->read);
    jw_key(w, "topicSysFlag");
    jw_i64(w, q->sys_flag);
    jw_key(w, "writeQueueNums");
    jw_i64(w, q->write);
    jw_end_object(w);
}

bool routes_topic_json(const struct routes *r, struct str topic, struct str order_conf, bool standard,
                       struct bld *out)
{
    const struct topic *t = routes_find_topic(r, topic);
    struct jw w = jw_of(out);

    if (t == NULL)
        return false;
    w.ascii = standard;
    jw_object(&w);
    jw_key(&w, "brokerDatas");
    jw_array(&w);
    for (uint32_t i = 0; i < t->count; i++)
        broker_json(&w, t->queues[i].broker, standard);
    jw_end_array(&w);
    jw_key(&w, "filterServerTable");
    jw_object(&w);
    jw_end_object(&w);
    if (order_conf.p != NULL) {
        jw_key(&w, "orderTopicConf");
        jw_str(&w, order_conf);
    }
    jw_key(&w, "queueDatas");
    jw_array(&w);
    for (uint32_t i = 0; i < t->count; i++)
        queues_json(&w, &t->queues[i]);
    jw_end_array(&w);
    jw_end_object(&w);
    return true;
}

/* Whether no broker before `b` belongs to its cluster. */
static bool first_of_cluster(const struct routes *r, const struct broker *b)
{
    const struct broker *i = r->brokers;

    while (i != b && strcmp(i->cluster, b->cluster) != 0)
        i = i->hh.next;
    return i == b;
}

/* The broker names of a cluster, from its first one on. */
static void cluster_names(struct jw *w, const struct broker *first)
{
    for (const struct broker *i = first; i != NULL; i = i->hh.next) {
        if (strcmp(i->cluster, first->cluster) == 0)
            jw_cstr(w, i->name);
    }
}

void routes_cluster_json(const struct routes *r, struct bld *out)
{
    struct jw w = jw_of(out);

    jw_object(&w);
    jw_key(&w, "brokerAddrTable");
    jw_object(&w);
    for (const struct broker *b = r->brokers; b != NULL; b = b->hh.next) {
        jw_key(&w, b->name);
        broker_json(&w, b, false);
    }
    jw_end_object(&w);
    jw_key(&w, "clusterAddrTable");
    jw_object(&w);
    for (const struct broker *b = r->brokers; b != NULL; b = b->hh.next) {
        if (!first_of_cluster(r, b))
            continue;
        jw_key(&w, b->cluster);
        jw_array(&w);
        cluster_names(&w, b);
        jw_end_array(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
}

void routes_members_json(const struct routes *r, struct str cluster, struct str broker, struct bld *out)
{
    const struct broker *b = routes_find_broker(r, broker);
    struct jw w = jw_of(out);

    jw_object(&w);
    jw_key(&w, "brokerMemberGroup");
    jw_object(&w);
    if (b != NULL) {
        addrs_json(&w, b, false);
    } else {
        jw_key(&w, "brokerAddrs");
        jw_object(&w);
        jw_end_object(&w);
    }
    jw_key(&w, "brokerName");
    jw_str(&w, broker);
    jw_key(&w, "cluster");
    jw_str(&w, cluster);
    jw_end_object(&w);
    jw_end_object(&w);
}

/* ---- TopicList ---- */

static void list_begin(struct jw *w)
{
    jw_object(w);
    jw_key(w, "topicList");
    jw_array(w);
}

static bool listed(const struct topic *t, enum routes_list which)
{
    int32_t flag = t->queues[0].sys_flag;

    switch (which) {
    case ROUTES_ALL_TOPICS:
        return true;
    case ROUTES_UNIT:
        return (flag & FLAG_UNIT) != 0;
    case ROUTES_UNIT_SUB:
        return (flag & FLAG_UNIT_SUB) != 0;
    case ROUTES_UNIT_SUB_UNUNIT:
        return (flag & (FLAG_UNIT | FLAG_UNIT_SUB)) == FLAG_UNIT_SUB;
    }
    return false;
}

void routes_list_json(const struct routes *r, enum routes_list which, struct bld *out)
{
    struct jw w = jw_of(out);

    list_begin(&w);
    for (const struct topic *t = r->topics; t != NULL; t = t->hh.next) {
        if (listed(t, which))
            jw_cstr(&w, t->name);
    }
    jw_end_array(&w);
    jw_end_object(&w);
}

static bool in_cluster(const struct topic *t, struct str cluster)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (str_is(cluster, t->queues[i].broker->cluster))
            return true;
    }
    return false;
}

void routes_cluster_topics_json(const struct routes *r, struct str cluster, struct bld *out)
{
    struct jw w = jw_of(out);

    list_begin(&w);
    for (const struct topic *t = r->topics; t != NULL; t = t->hh.next) {
        if (in_cluster(t, cluster))
            jw_cstr(&w, t->name);
    }
    jw_end_array(&w);
    jw_end_object(&w);
}

void routes_system_topics_json(const struct routes *r, struct bld *out)
{
    struct jw w = jw_of(out);
    const struct member *any = NULL;

    list_begin(&w);
    for (const struct broker *b = r->brokers; b != NULL; b = b->hh.next) {
        if (any == NULL || any->id != ROUTES_MASTER)
            any = routes_master(b) != NULL ? routes_master(b) : &b->members[0];
        if (!first_of_cluster(r, b))
            continue;
        jw_cstr(&w, b->cluster);
        cluster_names(&w, b);
    }
    jw_end_array(&w);
    if (any != NULL) {
        jw_key(&w, "brokerAddr");
        jw_cstr(&w, any->addr);
    }
    jw_end_object(&w);
}
