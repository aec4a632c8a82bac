/* mqadmin_cluster.c - clusterList, raftStatus, transferLeader. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/codes.h"
#include "tools/mqadmin.h"

#define TRANSFER_WAIT_MS 10000u
#define TRANSFER_POLL_MS 50u

/* ---- clusterList ---- */

static bool in_cluster(const struct admin *a, const struct admin_broker *b)
{
    return !admin_has(a, 'c') || strcmp(admin_value(a, 'c'), b->cluster) == 0;
}

/* KVTable of a replica (28); NULL when it does not answer. */
static struct json_doc *runtime_of(struct admin *a, const char *address)
{
    struct remoting_out q;
    struct answer r;
    struct json_doc *doc;
    struct err err;

    remoting_request(&q, REMOTING_JSON, GET_BROKER_RUNTIME_INFO, 0, false);
    if (ask_ok(a->asker, address, &q, NULL, 0, &r, &err) != 0 || admin_json(&r, &doc, &err) != 0)
        return NULL;
    return doc;
}

static const char *entry(const struct json *table, const char *key, char text[64])
{
    if (!str_copy(json_get_str(table, key), text, 64))
        text[0] = '\0';
    return text;
}

static void print_base(const struct admin_broker *b, const struct route_replica *r, const struct json *t)
{
    char in[64], out[64], load[96], text[64], wait[64], size[64], hour[32], space[32], version[64], page[64],
        timer[64], active[64];
    double earliest = strtod(entry(t, "earliestMessageTimeStamp", text), NULL);

    snprintf(load, sizeof(load), "%9.2f(%.12s,%.12sms)", strtod(entry(t, "putTps", text), NULL),
             entry(t, "sendThreadPoolQueueSize", size),
             entry(t, "sendThreadPoolQueueHeadWaitTimeMills", wait));
    snprintf(in, sizeof(in), "%.63s", load);
    snprintf(load, sizeof(load), "%9.2f(%.12s,%.12sms)", strtod(entry(t, "getTransferredTps", text), NULL),
             entry(t, "pullThreadPoolQueueSize", size),
             entry(t, "pullThreadPoolQueueHeadWaitTimeMills", wait));
    snprintf(out, sizeof(out), "%.63s", load);
    snprintf(hour, sizeof(hour), "%2.2f",
             earliest > 0 ? ((double)clock_wall_ms() - earliest) / 3600000.0 : 0.0);
    snprintf(space, sizeof(space), "%.4f", strtod(entry(t, "commitLogDiskRatio", text), NULL));
    snprintf(timer, sizeof(timer), "%.10s-%.10s", entry(t, "timerReadBehind", text),
             entry(t, "timerOffsetBehind", wait));
    printf("%-16s  %-22s  %-4lld  %-22s %-16s %19s %19s %17s %10s %5s %6s %10s\n", b->cluster, b->name,
           (long long)r->id, r->address, entry(t, "brokerVersionDesc", version), in, out, timer,
           entry(t, "pageCacheLockTimeMills", page), hour, space, entry(t, "brokerActive", active));
}

static void print_more(const struct admin_broker *b, const struct json *t)
{
    int64_t in_old = json_get_i64(t, "msgPutTotalYesterdayMorning", 0),
            in_morning = json_get_i64(t, "msgPutTotalTodayMorning", 0);
    int64_t out_old = json_get_i64(t, "msgGetTotalYesterdayMorning", 0),
            out_morning = json_get_i64(t, "msgGetTotalTodayMorning", 0);

    printf("%-16s  %-32s %14lld %14lld %14lld %14lld\n", b->cluster, b->name,
           (long long)(in_morning - in_old), (long long)(out_morning - out_old),
           (long long)(json_get_i64(t, "msgPutTotalTodayNow", 0) - in_morning),
           (long long)(json_get_i64(t, "msgGetTotalTodayNow", 0) - out_morning));
}

static void put_replica(struct jw *w, const struct admin_broker *b, const struct route_replica *r,
                        const struct json *t)
{
    jw_object(w);
    admin_put_cstr(w, "cluster", b->cluster);
    admin_put_cstr(w, "brokerName", b->name);
    admin_put_i64(w, "brokerId", r->id);
    admin_put_cstr(w, "address", r->address);
    jw_key(w, "answers");
    jw_bool(w, t != NULL);
    if (t != NULL) {
        jw_key(w, "runtime");
        jw_node(w, t);
    }
    jw_end_object(w);
}

static void list_replicas(struct admin *a, const struct admin_cluster *c, struct admin_out *json)
{
    for (uint32_t i = 0; i < c->count; i++)
        for (uint32_t j = 0; in_cluster(a, &c->brokers[i]) && j < c->brokers[i].replica_count; j++) {
            const struct route_replica *r = &c->brokers[i].replicas[j];
            struct json_doc *doc = runtime_of(a, r->address);
            const struct json *table = doc != NULL ? json_get(json_root(doc), "table") : NULL;

            if (a->json)
                put_replica(&json->w, &c->brokers[i], r, table);
            else if (admin_has(a, 'm'))
                print_more(&c->brokers[i], table);
            else
                print_base(&c->brokers[i], r, table);
            json_free(doc);
        }
}

static int list_once(struct admin *a, struct err *err)
{
    struct admin_cluster *c;
    struct admin_out json;
    int rc = admin_cluster_load(a, &c, err);

    if (rc != 0)
        return rc;
    if (a->json) {
        admin_out_begin(&json);
        jw_array(&json.w);
    } else if (admin_has(a, 'm')) {
        printf("%-16s  %-32s %14s %14s %14s %14s\n", "#Cluster Name", "#Broker Name", "#InTotalYest",
               "#OutTotalYest", "#InTotalToday", "#OutTotalToday");
    } else {
        printf("%-16s  %-22s  %-4s  %-22s %-16s %19s %19s %17s %10s %5s %6s %10s\n", "#Cluster Name",
               "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS(LOAD)", "#OutTPS(LOAD)",
               "#Timer(Progress)", "#PCWait(ms)", "#Hour", "#SPACE", "#ACTIVATED");
    }
    list_replicas(a, c, &json);
    if (a->json) {
        jw_end_array(&json.w);
        admin_out_print(&json);
    }
    free(c);
    return 0;
}

int verb_cluster_list(struct admin *a, struct err *err)
{
    int64_t interval_s;
    int rc = admin_number(a, 'i', 0, 1, 86400, &interval_s, err);

    if (rc == 0)
        rc = list_once(a, err);
    while (rc == 0 && interval_s > 0) {
        uint64_t end_ms = clock_mono_ms() + (uint64_t)interval_s * 1000;

        fflush(stdout);
        while (clock_mono_ms() < end_ms)
            loop_turn(asker_loop(a->asker), 100);
        rc = list_once(a, err);
    }
    return rc;
}

/* ---- raftStatus ---- */

static int status_of(struct admin *a, const char *address, struct json_doc **out, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    int rc;

    remoting_request(&q, REMOTING_JSON, RAFT_STATUS, 0, false);
    rc = ask_ok(a->asker, address, &q, NULL, 0, &r, err);
    return rc == 0 ? admin_json(&r, out, err) : rc;
}

static void print_status(const char *address, const struct json *s)
{
    char group[64], self[64], role[64], leader[64];

    printf("%-22s  %-5s  %-22s %-13s %8lld  %-7s %12lld %12lld %12lld %12lld %10lld\n",
           entry(s, "group", group), entry(s, "self", self), address, entry(s, "role", role),
           (long long)json_get_i64(s, "term", 0), entry(s, "leader", leader),
           (long long)json_get_i64(s, "ledgerBeginIndex", 0), (long long)json_get_i64(s, "ledgerEndIndex", 0),
           (long long)json_get_i64(s, "committedIndex", 0), (long long)json_get_i64(s, "appliedIndex", 0),
           (long long)json_get_i64(s, "elections", 0));
}

static void show_status(struct admin *a, const char *name, const char *address, struct admin_out *json)
{
    struct json_doc *doc;
    struct err err;
    int rc = status_of(a, address, &doc, &err);

    if (!a->json) {
        if (rc == 0)
            print_status(address, json_root(doc));
        else
            printf("%-22s  %-5s  %-22s %s\n", name, "", address, err.text);
    } else {
        jw_object(&json->w);
        admin_put_cstr(&json->w, "brokerName", name);
        admin_put_cstr(&json->w, "address", address);
        if (rc == 0) {
            jw_key(&json->w, "status");
            jw_node(&json->w, json_root(doc));
        } else {
            admin_put_cstr(&json->w, "error", err.text);
        }
        jw_end_object(&json->w);
    }
    if (rc == 0)
        json_free(doc);
}

static void show_all(struct admin *a, const struct admin_cluster *c, struct admin_out *json)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const struct admin_broker *b = &c->brokers[i];

        if (!in_cluster(a, b) || (admin_has(a, 'g') && strcmp(admin_value(a, 'g'), b->name) != 0))
            continue;
        for (uint32_t j = 0; j < b->replica_count; j++)
            show_status(a, b->name, b->replicas[j].address, json);
    }
}

int verb_raft_status(struct admin *a, struct err *err)
{
    struct admin_cluster *c = NULL;
    struct addresses one;
    struct admin_out json;
    int rc =
        admin_has(a, 'b') ? addresses_parse(admin_value(a, 'b'), &one, err) : admin_cluster_load(a, &c, err);

    if (rc != 0)
        return rc;
    admin_out_begin(&json);
    if (a->json)
        jw_array(&json.w);
    else
        printf("%-22s  %-5s  %-22s %-13s %8s  %-7s %12s %12s %12s %12s %10s\n", "#Broker Name", "#Self",
               "#Addr", "#Role", "#Term", "#Leader", "#Begin", "#End", "#Committed", "#Applied",
               "#Elections");
    for (uint32_t i = 0; admin_has(a, 'b') && i < one.count; i++)
        show_status(a, "", one.at[i], &json);
    if (c != NULL)
        show_all(a, c, &json);
    if (a->json) {
        jw_end_array(&json.w);
        admin_out_print(&json);
    }
    free(c);
    return 0;
}

/* ---- transferLeader ---- */

/* Addresses of one group: given, or found by its name. */
static int find_replicas(struct admin *a, struct addresses *out, struct err *err)
{
    struct admin_cluster *c;
    int rc;

    out->count = 0;
    if (admin_has(a, 'b'))
        return addresses_parse(admin_value(a, 'b'), out, err);
    if (!admin_has(a, 'g'))
        return err_set(err, ERR_INVALID, "which group? Give -b with an address or -g with a broker name");
    rc = admin_cluster_load(a, &c, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < c->count; i++)
        for (uint32_t j = 0;
             strcmp(c->brokers[i].name, admin_value(a, 'g')) == 0 && j < c->brokers[i].replica_count; j++)
            snprintf(out->at[out->count++], sizeof(out->at[0]), "%s", c->brokers[i].replicas[j].address);
    free(c);
    return out->count > 0
               ? 0
               : err_set(err, ERR_NOT_FOUND, "no nameserver knows a broker named %s", admin_value(a, 'g'));
}

/* Who leads, as the first that answers says: "n1"; "" while nobody does. */
static int leader_now(struct admin *a, const struct addresses *replicas, char leader[64], struct err *err)
{
    int rc = ERR_NOT_FOUND;

    for (uint32_t i = 0; i < replicas->count && rc != 0; i++) {
        struct json_doc *doc;

        rc = status_of(a, replicas->at[i], &doc, err);
        if (rc != 0)
            continue;
        entry(json_root(doc), "leader", leader);
        json_free(doc);
    }
    return rc;
}

static int wait_for_change(struct admin *a, const struct addresses *replicas, const char *before,
                           const char *wanted, char now[64], struct err *err)
{
    uint64_t end_ms = clock_mono_ms() + TRANSFER_WAIT_MS;
    int rc;

    do {
        rc = leader_now(a, replicas, now, err);
        if (rc != 0)
            return rc;
        if (now[0] != '\0' && (wanted != NULL ? strcmp(now, wanted) == 0 : strcmp(now, before) != 0))
            return 0;
        loop_turn(asker_loop(a->asker), TRANSFER_POLL_MS);
    } while (clock_mono_ms() < end_ms);
    return err_set(err, ERR_TIMEOUT, "%s still leads after %u ms", now, TRANSFER_WAIT_MS);
}

int verb_transfer_leader(struct admin *a, struct err *err)
{
    const char *to = admin_value(a, 't');
    char before[64], now[64];
    struct addresses replicas;
    struct remoting_out q;
    struct answer r;
    int64_t number = -1;
    int rc = find_replicas(a, &replicas, err);

    if (rc == 0 && to != NULL && !str_to_i64(str_of(to[0] == 'n' ? to + 1 : to), &number))
        rc = err_set(err, ERR_INVALID, "-t %s: n0, n1, ... is wanted", to);
    if (rc == 0)
        rc = leader_now(a, &replicas, before, err);
    if (rc != 0)
        return rc;
    snprintf(now, sizeof(now), "n%lld", (long long)number);
    if (number < 0 || strcmp(before, now) != 0) {
        remoting_request(&q, REMOTING_JSON, RAFT_TRANSFER, 0, false);
        remoting_put_i64(&q, "to", number);
        rc = ask_ok(a->asker, replicas.at[0], &q, NULL, 0, &r, err);
        if (rc != 0)
            return rc;
        answer_release(&r);
        rc = wait_for_change(a, &replicas, before, number < 0 ? NULL : now, now, err);
        if (rc != 0)
            return rc;
    }
    if (a->json)
        printf("{\"before\":\"%s\",\"leader\":\"%s\"}\n", before, now);
    else
        printf("leader was %s, is %s\n", before, now);
    return 0;
}
