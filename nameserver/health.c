/*
 * health.c - the HTTP port: /livez, /readyz, /metrics (Prometheus text).
 */
#include <stdio.h>
#include <unistd.h>

#include "common/metrics.h"
#include "nameserver/nameserver.h"

static void answer_ok(void *user, const struct http_query *query, struct http_answer *answer)
{
    (void)user;
    (void)query;
    bld_str(&answer->body, STR("ok\n"));
}

static uint64_t connections(void *arg)
{
    const struct nameserver *ns = arg;

    return listener_conns(ns->listener);
}

static uint64_t broker_names(void *arg)
{
    const struct nameserver *ns = arg;

    return routes_broker_count(ns->routes);
}

static uint64_t replicas(void *arg)
{
    const struct nameserver *ns = arg;

    return routes_member_count(ns->routes);
}

static uint64_t topics(void *arg)
{
    const struct nameserver *ns = arg;

    return routes_topic_count(ns->routes);
}

static uint64_t kv_entries(void *arg)
{
    const struct nameserver *ns = arg;

    return kv_count(kv_store_table(ns->kv));
}

static uint64_t requests(void *arg)
{
    const struct nameserver *ns = arg;

    return ns->dispatch.requests;
}

static uint64_t unknown(void *arg)
{
    const struct nameserver *ns = arg;

    return ns->dispatch.unknown;
}

static uint64_t malformed(void *arg)
{
    const struct nameserver *ns = arg;

    return ns->dispatch.malformed;
}

static uint64_t resident_bytes(void *arg)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long total, resident = 0;

    (void)arg;
    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void answer_metrics(void *user, const struct http_query *query, struct http_answer *answer)
{
    const struct metric_row rows[] = {
        {"ledgermq_nameserver_connections", "Open connections", METRIC_GAUGE, NULL, connections, user},
        {"ledgermq_nameserver_broker_names", "Broker names with a replica", METRIC_GAUGE, NULL, broker_names,
         user},
        {"ledgermq_nameserver_brokers", "Registered replicas", METRIC_GAUGE, NULL, replicas, user},
        {"ledgermq_nameserver_topics", "Topics with a route", METRIC_GAUGE, NULL, topics, user},
        {"ledgermq_nameserver_kv_entries", "Key-value settings", METRIC_GAUGE, NULL, kv_entries, user},
        {"ledgermq_nameserver_requests_total", "Requests taken", METRIC_COUNTER, NULL, requests, user},
        {"ledgermq_nameserver_unknown_total", "Requests with an unknown code", METRIC_COUNTER, NULL, unknown,
         user},
        {"ledgermq_nameserver_malformed_total", "Frames refused", METRIC_COUNTER, NULL, malformed, user},
        {"process_resident_memory_bytes", "Resident memory", METRIC_GAUGE, NULL, resident_bytes, user},
    };

    (void)query;
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_print(&answer->body, rows, sizeof(rows) / sizeof(rows[0]), "");
}

static const struct http_route http_routes[] = {
    {"/livez", answer_ok}, {"/readyz", answer_ok}, {"/metrics", answer_metrics}};

int health_open(struct nameserver *ns, struct err *err)
{
    const struct http_limits limits = HTTP_LIMITS_DEFAULT;

    if (ns->settings->http_port == 0)
        return 0;
    return http_open(ns->loop, ns->settings->http_host, (uint16_t)ns->settings->http_port, http_routes,
                     sizeof(http_routes) / sizeof(http_routes[0]), ns, &limits, &ns->http, err);
}
