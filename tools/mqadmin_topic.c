/* mqadmin_topic.c - topicList, topicRoute, topicStatus, updateTopic, deleteTopic. */
#include <stdlib.h>

#include "common/codes.h"
#include "tools/mqadmin.h"

#define UNIT_SYS_FLAG     1
#define UNIT_SUB_SYS_FLAG 2
#define QUEUES_MAX        65536
#define ROWS_MAX          1000000u

static const char *text_of(struct str s, char *text, size_t size)
{
    if (!str_copy(s, text, size))
        text[0] = '\0';
    return text;
}

/* ---- topicList ---- */

static int load_topics(struct admin *a, struct json_doc **doc, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    int rc;

    remoting_request(&q, REMOTING_JSON, GET_ALL_TOPIC_LIST_FROM_NAMESERVER, 0, false);
    rc = admin_ask_namesrv(a, &q, &r, err);
    return rc == 0 ? admin_json(&r, doc, err) : rc;
}

/* Groups that consume the topic (300); NULL when nobody answers. */
static struct json_doc *groups_of(struct admin *a, const char *topic, const struct route *r)
{
    struct remoting_out q;
    struct answer answer;
    struct json_doc *doc;
    struct err err;

    remoting_request(&q, REMOTING_JSON, QUERY_TOPIC_CONSUME_BY_WHO, 0, false);
    remoting_put_str(&q, "topic", str_of(topic));
    if (r->broker_count == 0 ||
        admin_ask_group(a, r->brokers[0].replicas, r->brokers[0].replica_count, &q, NULL, 0, &answer, &err) !=
            0 ||
        admin_json(&answer, &doc, &err) != 0)
        return NULL;
    return doc;
}

static void show_topic(struct admin *a, const char *topic, struct admin_out *json)
{
    struct route *r = NULL;
    struct err err;
    const char *cluster = "";
    struct json_doc *doc = NULL;
    const struct json *groups = NULL;
    char group[256];

    if (ask_route(a->asker, &a->namesrv, topic, &r, &err) == 0 && r->broker_count > 0) {
        cluster = r->brokers[0].cluster;
        doc = groups_of(a, topic, r);
        groups = doc != NULL ? json_get(json_root(doc), "groupList") : NULL;
    }
    if (a->json) {
        jw_object(&json->w);
        admin_put_cstr(&json->w, "cluster", cluster);
        admin_put_cstr(&json->w, "topic", topic);
        jw_key(&json->w, "groups");
        jw_array(&json->w);
        for (const struct json *g = groups != NULL ? groups->first : NULL; g != NULL; g = g->next)
            jw_str(&json->w, json_str(g));
        jw_end_array(&json->w);
        jw_end_object(&json->w);
    } else if (json_count(groups) == 0) {
        printf("%-20s  %-48s  %-48s\n", cluster, topic, "");
    } else {
        for (const struct json *g = groups->first; g != NULL; g = g->next)
            printf("%-20s  %-48s  %-48s\n", cluster, topic, text_of(json_str(g), group, sizeof(group)));
    }
    json_free(doc);
    free(r);
}

int verb_topic_list(struct admin *a, struct err *err)
{
    bool full = admin_has(a, 'c');
    struct json_doc *doc;
    const struct json *topics;
    struct admin_out json;
    char topic[256];
    int rc = load_topics(a, &doc, err);

    if (rc != 0)
        return rc;
    topics = json_get(json_root(doc), "topicList");
    admin_out_begin(&json);
    if (a->json)
        jw_array(&json.w);
    else if (full)
        printf("%-20s  %-48s  %-48s\n", "#Cluster Name", "#Topic", "#Consumer Group");
    for (const struct json *t = topics != NULL ? topics->first : NULL; t != NULL; t = t->next) {
        text_of(json_str(t), topic, sizeof(topic));
        if (full && (str_starts(json_str(t), "%RETRY%") || str_starts(json_str(t), "%DLQ%")))
            continue;
        if (full)
            show_topic(a, topic, &json);
        else if (a->json)
            jw_cstr(&json.w, topic);
        else
            printf("%s\n", topic);
    }
    if (a->json) {
        jw_end_array(&json.w);
        admin_out_print(&json);
    }
    json_free(doc);
    return 0;
}

/* ---- topicRoute ---- */

static void print_route_table(const struct route *r)
{
    uint32_t reads = 0, writes = 0;

    printf("%-45s %-32s %-50s %-10s %-11s %-5s\n", "#ClusterName", "#BrokerName", "#BrokerAddrs",
           "#ReadQueue", "#WriteQueue", "#Perm");
    for (uint32_t i = 0; i < r->broker_count; i++) {
        const struct route_broker *b = &r->brokers[i];
        const char *leader = route_leader(b) >= 0 ? b->replicas[0].address : "";

        printf("%-45s %-32s %-50s %-10u %-11u %-5u\n", b->cluster, b->name, leader, b->read_queues,
               b->write_queues, b->perm);
        reads += b->read_queues;
        writes += b->write_queues;
    }
    printf("%s\n", "-------------------------------------------------------------------------");
    printf("%-45s %-32s %-50s %-10u %-11u\n", "Total:", "", "", reads, writes);
}

/* With white space, as RocketMQ prints it. */
static void print_pretty(struct str json)
{
    uint32_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < json.len; i++) {
        char c = json.p[i];

        if (c == '"' && (i == 0 || json.p[i - 1] != '\\'))
            quoted = !quoted;
        if (!quoted && (c == '}' || c == ']')) {
            depth--;
            printf("\n%*s", (int)depth * 4, "");
        }
        putchar(c);
        if (!quoted && (c == '{' || c == '['))
            depth++;
        if (!quoted && (c == '{' || c == '[' || c == ','))
            printf("\n%*s", (int)depth * 4, "");
    }
    putchar('\n');
}

int verb_topic_route(struct admin *a, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    struct route *route;
    int rc;

    remoting_request(&q, REMOTING_JSON, GET_ROUTEINFO_BY_TOPIC, 0, false);
    remoting_put_str(&q, "topic", str_of(admin_value(a, 't')));
    remoting_put_bool(&q, "acceptStandardJsonOnly", true);
    rc = admin_ask_namesrv(a, &q, &r, err);
    if (rc != 0)
        return rc;
    if (a->json) {
        printf("%.*s\n", (int)answer_body(&r).len, answer_body(&r).p);
    } else if (!admin_has(a, 'l')) {
        print_pretty(answer_body(&r));
    } else {
        rc = route_parse(answer_body(&r), &route, err);
        if (rc == 0) {
            print_route_table(route);
            free(route);
        }
    }
    answer_release(&r);
    return rc;
}

/* ---- topicStatus ---- */

struct queue_row {
    char broker[ROUTE_NAME_MAX];
    int64_t id, min, max, updated;
};

struct queue_rows {
    uint32_t count;
    struct queue_row *at;
};

static int compare_rows(const void *a, const void *b)
{
    const struct queue_row *x = a, *y = b;
    int rc = strcmp(x->broker, y->broker);

    return rc != 0 ? rc : x->id < y->id ? -1 : x->id > y->id;
}

static void take_row(const struct json *entry, struct queue_rows *rows)
{
    struct json_doc *key;
    struct err err;
    struct queue_row *r;

    if (rows->count == ROWS_MAX || json_parse(entry->key, 16, &key, &err) != 0)
        return;
    rows->at = realloc(rows->at, (rows->count + 1) * sizeof(rows->at[0]));
    ENSURE(rows->at != NULL);
    r = &rows->at[rows->count++];
    text_of(json_get_str(json_root(key), "brokerName"), r->broker, sizeof(r->broker));
    r->id = json_get_i64(json_root(key), "queueId", -1);
    r->min = json_get_i64(entry, "minOffset", 0);
    r->max = json_get_i64(entry, "maxOffset", 0);
    r->updated = json_get_i64(entry, "lastUpdateTimestamp", 0);
    json_free(key);
}

static int load_rows(struct admin *a, const struct route_broker *b, const char *topic,
                     struct queue_rows *rows, double *tps, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    struct json_doc *doc;
    const struct json *table;
    char text[64];
    int rc;

    remoting_request(&q, REMOTING_JSON, GET_TOPIC_STATS_INFO, 0, false);
    remoting_put_str(&q, "topic", str_of(topic));
    rc = admin_ask_group(a, b->replicas, b->replica_count, &q, NULL, 0, &r, err);
    if (rc == 0)
        rc = admin_json(&r, &doc, err);
    if (rc != 0)
        return rc;
    table = json_get(json_root(doc), "offsetTable");
    for (const struct json *e = table != NULL ? table->first : NULL; e != NULL; e = e->next)
        take_row(e, rows);
    *tps += strtod(text_of(json_get_str(json_root(doc), "topicPutTps"), text, sizeof(text)), NULL);
    json_free(doc);
    return 0;
}

static void print_rows(const struct queue_rows *rows, double tps)
{
    char time[32];

    printf("%-32s  %-4s  %-20s  %-20s    %s\n", "#Broker Name", "#QID", "#Min Offset", "#Max Offset",
           "#Last Updated");
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct queue_row *r = &rows->at[i];

        printf("%-32s  %-4lld  %-20lld  %-20lld    %s\n", r->broker, (long long)r->id, (long long)r->min,
               (long long)r->max, admin_time(r->updated, time));
    }
    printf("\nTopic Put TPS: %.2f\n", tps);
}

static void print_rows_json(const struct queue_rows *rows, double tps)
{
    struct admin_out o;

    admin_out_begin(&o);
    jw_object(&o.w);
    jw_key(&o.w, "queues");
    jw_array(&o.w);
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct queue_row *r = &rows->at[i];

        jw_object(&o.w);
        admin_put_cstr(&o.w, "brokerName", r->broker);
        admin_put_i64(&o.w, "queueId", r->id);
        admin_put_i64(&o.w, "minOffset", r->min);
        admin_put_i64(&o.w, "maxOffset", r->max);
        admin_put_i64(&o.w, "lastUpdateTimestamp", r->updated);
        jw_end_object(&o.w);
    }
    jw_end_array(&o.w);
    jw_key(&o.w, "topicPutTps");
    jw_double(&o.w, tps);
    jw_end_object(&o.w);
    admin_out_print(&o);
}

int verb_topic_status(struct admin *a, struct err *err)
{
    const char *topic = admin_value(a, 't');
    struct queue_rows rows = {0, NULL};
    struct route *route;
    double tps = 0;
    int rc = ask_route(a->asker, &a->namesrv, topic, &route, err);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < route->broker_count; i++)
        if (!admin_has(a, 'c') || strcmp(admin_value(a, 'c'), route->brokers[i].cluster) == 0)
            rc = load_rows(a, &route->brokers[i], topic, &rows, &tps, err);
    if (rc == 0) {
        if (rows.count > 0)
            qsort(rows.at, rows.count, sizeof(rows.at[0]), compare_rows);
        if (a->json)
            print_rows_json(&rows, tps);
        else
            print_rows(&rows, tps);
    }
    free(rows.at);
    free(route);
    return rc;
}

/* ---- updateTopic ---- */

struct topic_wish {
    const char *topic;
    int64_t read_queues, write_queues, perm, sys_flag;
    bool order;
};

static bool is_true(const struct admin *a, char letter)
{
    return admin_has(a, letter) && strcmp(admin_value(a, letter), "true") == 0;
}

static int read_wish(const struct admin *a, struct topic_wish *w, struct err *err)
{
    int rc = admin_number(a, 'r', 8, 1, QUEUES_MAX, &w->read_queues, err);

    rc = rc != 0 ? rc : admin_number(a, 'w', 8, 1, QUEUES_MAX, &w->write_queues, err);
    rc = rc != 0 ? rc : admin_number(a, 'p', 6, 0, 7, &w->perm, err);
    w->topic = admin_value(a, 't');
    w->sys_flag = (is_true(a, 'u') ? UNIT_SYS_FLAG : 0) | (is_true(a, 's') ? UNIT_SUB_SYS_FLAG : 0);
    w->order = is_true(a, 'o');
    return rc;
}

static int put_topic(struct admin *a, const struct topic_wish *w, const struct route_replica *replicas,
                     uint32_t count, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    int rc;

    remoting_request(&q, REMOTING_JSON, UPDATE_AND_CREATE_TOPIC, 0, false);
    remoting_put_str(&q, "topic", str_of(w->topic));
    remoting_put_str(&q, "defaultTopic", STR("TBW102"));
    remoting_put_i64(&q, "readQueueNums", w->read_queues);
    remoting_put_i64(&q, "writeQueueNums", w->write_queues);
    remoting_put_i64(&q, "perm", w->perm);
    remoting_put_str(&q, "topicFilterType", STR("SINGLE_TAG"));
    remoting_put_i64(&q, "topicSysFlag", w->sys_flag);
    remoting_put_bool(&q, "order", w->order);
    if (admin_has(a, 'a'))
        remoting_put_str(&q, "attributes", str_of(admin_value(a, 'a')));
    rc = admin_ask_group(a, replicas, count, &q, NULL, 0, &r, err);
    if (rc == 0)
        answer_release(&r);
    if (rc == 0 && !a->json)
        printf("create topic to %s success.\n", replicas[0].address);
    return rc;
}

/* The order of an order topic's queues is kept by the nameservers (updateOrderConf). */
static int put_order(struct admin *a, const struct topic_wish *w, const char *conf, struct err *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < a->namesrv.count; i++) {
        struct remoting_out q;
        struct answer r;

        remoting_request(&q, REMOTING_JSON, PUT_KV_CONFIG, 0, false);
        remoting_put_str(&q, "namespace", STR("ORDER_TOPIC_CONFIG"));
        remoting_put_str(&q, "key", str_of(w->topic));
        remoting_put_str(&q, "value", str_of(conf));
        rc = ask_ok(a->asker, a->namesrv.at[i], &q, NULL, 0, &r, err);
        if (rc == 0)
            answer_release(&r);
    }
    if (rc == 0 && !a->json)
        printf("set cluster orderConf. isOrder=true, orderConf=[%s]\n", conf);
    return rc;
}

static int put_in_cluster(struct admin *a, const struct topic_wish *w, struct err *err)
{
    struct admin_cluster *c;
    struct bld conf = bld_of(65536);
    struct buf *text;
    uint32_t found = 0;
    int rc = admin_cluster_load(a, &c, err);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < c->count; i++) {
        const struct admin_broker *b = &c->brokers[i];

        if (strcmp(b->cluster, admin_value(a, 'c')) != 0)
            continue;
        bld_fmt(&conf, "%s%s:%lld", found > 0 ? ";" : "", b->name, (long long)w->write_queues);
        rc = put_topic(a, w, b->replicas, b->replica_count, err);
        found++;
    }
    if (rc == 0 && found == 0)
        rc = err_set(err, ERR_NOT_FOUND, "no nameserver knows a cluster named %s", admin_value(a, 'c'));
    bld_bytes(&conf, "", 1);
    text = bld_take(&conf);
    if (rc == 0 && w->order && text != NULL)
        rc = put_order(a, w, (const char *)text->data, err);
    buf_unref(text);
    free(c);
    return rc;
}

int verb_update_topic(struct admin *a, struct err *err)
{
    struct route_replica one = {0};
    struct addresses address;
    struct topic_wish w;
    int rc = read_wish(a, &w, err);

    if (rc == 0 && admin_has(a, 'b')) {
        rc = addresses_parse(admin_value(a, 'b'), &address, err);
        if (rc == 0) {
            memcpy(one.address, address.at[0], sizeof(one.address));
            rc = put_topic(a, &w, &one, 1, err);
        }
    } else if (rc == 0 && admin_has(a, 'c')) {
        rc = put_in_cluster(a, &w, err);
    } else if (rc == 0) {
        rc = err_set(err, ERR_INVALID, "where? Give -b with a broker's address or -c with a cluster name");
    }
    if (rc != 0)
        return rc;
    if (a->json)
        printf("{\"topic\":\"%s\",\"readQueueNums\":%lld,\"writeQueueNums\":%lld,\"perm\":%lld}\n", w.topic,
               (long long)w.read_queues, (long long)w.write_queues, (long long)w.perm);
    else
        printf("TopicConfig [topicName=%s, readQueueNums=%lld, writeQueueNums=%lld, perm=%s%s%s, "
               "topicFilterType=SINGLE_TAG, "
               "topicSysFlag=%lld, order=%s, attributes=%s]\n",
               w.topic, (long long)w.read_queues, (long long)w.write_queues, w.perm & 4 ? "R" : "-",
               w.perm & 2 ? "W" : "-", w.perm & 1 ? "X" : "-", (long long)w.sys_flag,
               w.order ? "true" : "false", admin_has(a, 'a') ? admin_value(a, 'a') : "{}");
    return 0;
}

/* ---- deleteTopic ---- */

static int delete_at_brokers(struct admin *a, const struct admin_cluster *c, const char *topic,
                             uint32_t *found, struct err *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < c->count; i++) {
        struct remoting_out q;
        struct answer r;

        if (strcmp(c->brokers[i].cluster, admin_value(a, 'c')) != 0)
            continue;
        remoting_request(&q, REMOTING_JSON, DELETE_TOPIC_IN_BROKER, 0, false);
        remoting_put_str(&q, "topic", str_of(topic));
        rc = admin_ask_group(a, c->brokers[i].replicas, c->brokers[i].replica_count, &q, NULL, 0, &r, err);
        if (rc == 0)
            answer_release(&r);
        (*found)++;
    }
    return rc;
}

static int delete_at_namesrvs(struct admin *a, const char *topic, struct err *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < a->namesrv.count; i++) {
        struct remoting_out q;
        struct answer r;

        remoting_request(&q, REMOTING_JSON, DELETE_TOPIC_IN_NAMESRV, 0, false);
        remoting_put_str(&q, "topic", str_of(topic));
        remoting_put_str(&q, "clusterName", str_of(admin_value(a, 'c')));
        rc = ask_ok(a->asker, a->namesrv.at[i], &q, NULL, 0, &r, err);
        if (rc == 0)
            answer_release(&r);
    }
    return rc;
}

int verb_delete_topic(struct admin *a, struct err *err)
{
    const char *topic = admin_value(a, 't');
    struct admin_cluster *c;
    uint32_t found = 0;
    int rc = admin_cluster_load(a, &c, err);

    if (rc != 0)
        return rc;
    rc = delete_at_brokers(a, c, topic, &found, err);
    if (rc == 0 && found == 0)
        rc = err_set(err, ERR_NOT_FOUND, "no nameserver knows a cluster named %s", admin_value(a, 'c'));
    if (rc == 0 && !a->json)
        printf("delete topic [%s] from cluster [%s] success.\n", topic, admin_value(a, 'c'));
    if (rc == 0)
        rc = delete_at_namesrvs(a, topic, err);
    if (rc == 0 && a->json)
        printf("{\"topic\":\"%s\",\"deleted\":true}\n", topic);
    else if (rc == 0)
        printf("delete topic [%s] from NameServer success.\n", topic);
    free(c);
    return rc;
}
