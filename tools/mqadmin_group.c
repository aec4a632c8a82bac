/* mqadmin_group.c - consumerProgress. */
#include <stdlib.h>

#include "common/codes.h"
#include "tools/mqadmin.h"

#define RETRY_PREFIX "%RETRY%"
#define ROWS_MAX     1000000u

struct progress_row {
    char topic[256], broker[ROUTE_NAME_MAX];
    int64_t id, broker_offset, consumer_offset, last_ms;
};

struct progress {
    uint32_t count;
    struct progress_row *at;
    double tps;
    int64_t diff;
};

static int compare_rows(const void *a, const void *b)
{
    const struct progress_row *x = a, *y = b;
    int rc = strcmp(x->topic, y->topic);

    rc = rc != 0 ? rc : strcmp(x->broker, y->broker);
    return rc != 0 ? rc : x->id < y->id ? -1 : x->id > y->id;
}

static void take_text(struct str s, char *text, size_t size)
{
    if (!str_copy(s, text, size))
        text[0] = '\0';
}

static void take_row(const struct json *entry, struct progress *p)
{
    struct json_doc *key;
    struct err err;
    struct progress_row *r;

    if (p->count == ROWS_MAX || json_parse(entry->key, 16, &key, &err) != 0)
        return;
    p->at = realloc(p->at, (p->count + 1) * sizeof(p->at[0]));
    ENSURE(p->at != NULL);
    r = &p->at[p->count++];
    take_text(json_get_str(json_root(key), "topic"), r->topic, sizeof(r->topic));
    take_text(json_get_str(json_root(key), "brokerName"), r->broker, sizeof(r->broker));
    r->id = json_get_i64(json_root(key), "queueId", -1);
    r->broker_offset = json_get_i64(entry, "brokerOffset", 0);
    r->consumer_offset = json_get_i64(entry, "consumerOffset", 0);
    r->last_ms = json_get_i64(entry, "lastTimestamp", 0);
    p->diff += r->broker_offset - r->consumer_offset;
    json_free(key);
}

static int retry_route(struct admin *a, const char *group, struct route **out, struct err *err)
{
    char topic[300];

    snprintf(topic, sizeof(topic), "%s%s", RETRY_PREFIX, group);
    return ask_route(a->asker, &a->namesrv, topic, out, err);
}

static int load_progress(struct admin *a, const struct route *r, const char *group, struct progress *p,
                         struct err *err)
{
    for (uint32_t i = 0; i < r->broker_count; i++) {
        struct remoting_out q;
        struct answer answer;
        struct json_doc *doc;
        const struct json *table;
        char text[64];
        int rc;

        if (admin_has(a, 'c') && strcmp(admin_value(a, 'c'), r->brokers[i].cluster) != 0)
            continue;
        remoting_request(&q, REMOTING_JSON, GET_CONSUME_STATS, 0, false);
        remoting_put_str(&q, "consumerGroup", str_of(group));
        if (admin_has(a, 't'))
            remoting_put_str(&q, "topic", str_of(admin_value(a, 't')));
        rc = admin_ask_group(a, r->brokers[i].replicas, r->brokers[i].replica_count, &q, NULL, 0, &answer,
                             err);
        if (rc == 0)
            rc = admin_json(&answer, &doc, err);
        if (rc != 0)
            return rc;
        table = json_get(json_root(doc), "offsetTable");
        for (const struct json *e = table != NULL ? table->first : NULL; e != NULL; e = e->next)
            take_row(e, p);
        take_text(json_get_str(json_root(doc), "consumeTps"), text, sizeof(text));
        p->tps += strtod(text, NULL);
        json_free(doc);
    }
    if (p->count > 0)
        qsort(p->at, p->count, sizeof(p->at[0]), compare_rows);
    return 0;
}

/* ---- one group ---- */

static void print_group(const struct progress *p)
{
    char time[32];

    printf("%-64s  %-32s  %-4s  %-20s  %-20s  %-20s %-20s  %s\n", "#Topic", "#Broker Name", "#QID",
           "#Broker Offset", "#Consumer Offset", "#Client IP", "#Diff", "#LastTime");
    for (uint32_t i = 0; i < p->count; i++) {
        const struct progress_row *r = &p->at[i];

        admin_time(r->last_ms, time);
        time[19] = '\0'; /* without milliseconds */
        printf("%-64s  %-32s  %-4lld  %-20lld  %-20lld  %-20s %-20lld  %s\n", r->topic, r->broker,
               (long long)r->id, (long long)r->broker_offset, (long long)r->consumer_offset, "NA",
               (long long)(r->broker_offset - r->consumer_offset), time);
    }
    printf("\nConsume TPS: %.2f\nConsume Diff Total: %lld\n", p->tps, (long long)p->diff);
}

static void print_group_json(const char *group, const struct progress *p)
{
    struct admin_out o;

    admin_out_begin(&o);
    jw_object(&o.w);
    admin_put_cstr(&o.w, "group", group);
    jw_key(&o.w, "queues");
    jw_array(&o.w);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct progress_row *r = &p->at[i];

        jw_object(&o.w);
        admin_put_cstr(&o.w, "topic", r->topic);
        admin_put_cstr(&o.w, "brokerName", r->broker);
        admin_put_i64(&o.w, "queueId", r->id);
        admin_put_i64(&o.w, "brokerOffset", r->broker_offset);
        admin_put_i64(&o.w, "consumerOffset", r->consumer_offset);
        admin_put_i64(&o.w, "diff", r->broker_offset - r->consumer_offset);
        admin_put_i64(&o.w, "lastTimestamp", r->last_ms);
        jw_end_object(&o.w);
    }
    jw_end_array(&o.w);
    jw_key(&o.w, "consumeTps");
    jw_double(&o.w, p->tps);
    admin_put_i64(&o.w, "diffTotal", p->diff);
    jw_end_object(&o.w);
    admin_out_print(&o);
}

static int show_group(struct admin *a, const char *group, struct err *err)
{
    struct progress p = {0};
    struct route *r;
    int rc = retry_route(a, group, &r, err);

    if (rc == ERR_NO_ROUTE)
        return err_set(err, rc, "consumer group %s is not known: no broker has its retry topic", group);
    if (rc != 0)
        return rc;
    rc = load_progress(a, r, group, &p, err);
    if (rc == 0 && a->json)
        print_group_json(group, &p);
    else if (rc == 0)
        print_group(&p);
    free(p.at);
    free(r);
    return rc;
}

/* ---- all groups ---- */

struct members {
    uint32_t count;
    char type[32], model[32];
    int64_t version; /* the lowest */
};

/* Who is connected (203); nobody: count 0. */
static void load_members(struct admin *a, const struct route *r, const char *group, struct members *m)
{
    struct remoting_out q;
    struct answer answer;
    struct json_doc *doc;
    const struct json *set;
    struct err err;

    memset(m, 0, sizeof(*m));
    remoting_request(&q, REMOTING_JSON, GET_CONSUMER_CONNECTION_LIST, 0, false);
    remoting_put_str(&q, "consumerGroup", str_of(group));
    if (r->broker_count == 0 ||
        admin_ask_group(a, r->brokers[0].replicas, r->brokers[0].replica_count, &q, NULL, 0, &answer, &err) !=
            0 ||
        admin_json(&answer, &doc, &err) != 0)
        return;
    set = json_get(json_root(doc), "connectionSet");
    m->count = json_count(set);
    m->version = set != NULL && set->first != NULL ? INT64_MAX : 0;
    for (const struct json *c = set != NULL ? set->first : NULL; c != NULL; c = c->next)
        if (json_get_i64(c, "version", 0) < m->version)
            m->version = json_get_i64(c, "version", 0);
    take_text(json_get_str(json_root(doc), "consumeType"), m->type, sizeof(m->type));
    take_text(json_get_str(json_root(doc), "messageModel"), m->model, sizeof(m->model));
    json_free(doc);
}

static void print_summary(struct admin *a, const char *group, const struct members *m,
                          const struct progress *p, struct admin_out *json)
{
    bool passive = strcmp(m->type, "CONSUME_PASSIVELY") == 0;
    char version[32] = "OFFLINE";

    if (m->count > 0)
        snprintf(version, sizeof(version), "%lld", (long long)m->version);
    if (!a->json) {
        printf("%-64s  %-6u  %-24s %-5s  %-14s  %-7d  %lld\n", group, m->count, version,
               m->count == 0 ? ""
               : passive     ? "PUSH"
                             : "PULL",
               m->count > 0 && passive ? m->model : "", (int)p->tps, (long long)p->diff);
        return;
    }
    jw_object(&json->w);
    admin_put_cstr(&json->w, "group", group);
    admin_put_i64(&json->w, "count", m->count);
    admin_put_i64(&json->w, "version", m->version);
    admin_put_cstr(&json->w, "type", m->type);
    admin_put_cstr(&json->w, "model", m->model);
    jw_key(&json->w, "tps");
    jw_double(&json->w, p->tps);
    admin_put_i64(&json->w, "diffTotal", p->diff);
    jw_end_object(&json->w);
}

static void show_summary(struct admin *a, const char *group, struct admin_out *json)
{
    struct progress p = {0};
    struct members m;
    struct route *r;
    struct err err;

    if (retry_route(a, group, &r, &err) != 0)
        return;
    if (load_progress(a, r, group, &p, &err) != 0)
        fprintf(stderr, "mqadmin: group %s: %s\n", group, err.text);
    load_members(a, r, group, &m);
    print_summary(a, group, &m, &p, json);
    free(p.at);
    free(r);
}

static int show_groups(struct admin *a, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    struct json_doc *doc;
    const struct json *topics;
    struct admin_out json;
    int rc;

    remoting_request(&q, REMOTING_JSON, GET_ALL_TOPIC_LIST_FROM_NAMESERVER, 0, false);
    rc = admin_ask_namesrv(a, &q, &r, err);
    if (rc == 0)
        rc = admin_json(&r, &doc, err);
    if (rc != 0)
        return rc;
    admin_out_begin(&json);
    if (a->json)
        jw_array(&json.w);
    else
        printf("%-64s  %-6s  %-24s %-5s  %-14s  %-7s  %s\n", "#Group", "#Count", "#Version", "#Type",
               "#Model", "#TPS", "#Diff Total");
    topics = json_get(json_root(doc), "topicList");
    for (const struct json *t = topics != NULL ? topics->first : NULL; t != NULL; t = t->next) {
        char topic[300];

        take_text(json_str(t), topic, sizeof(topic));
        if (str_starts(json_str(t), RETRY_PREFIX))
            show_summary(a, topic + sizeof(RETRY_PREFIX) - 1, &json);
    }
    if (a->json) {
        jw_end_array(&json.w);
        admin_out_print(&json);
    }
    json_free(doc);
    return 0;
}

int verb_consumer_progress(struct admin *a, struct err *err)
{
    return admin_has(a, 'g') ? show_group(a, admin_value(a, 'g'), err) : show_groups(a, err);
}
