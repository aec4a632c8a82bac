#include "broker/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/front/clients.h"
#include "broker/front/hold.h"
#include "common/http.h"

#define GAUGES_MAX 40

struct health {
    struct health_parts parts;
    struct http *http;
    char labels[512];
};

static void on_livez(void *user, const struct http_query *query, struct http_answer *answer)
{
    (void)user;
    (void)query;
    bld_str(&answer->body, STR("ok\n"));
}

/* There are nameservers, and none has this broker. */
static bool unregistered(const struct health *h)
{
    return registrar_count(h->parts.registrar) > 0 && registrar_registered(h->parts.registrar) == 0;
}

/* Why this replica is not ready, or NULL. */
static const char *unready(const struct health *h)
{
    const struct front *f = h->parts.front;
    struct dl_node_status s;

    dl_node_status(f->node, &s);
    if (f->leader == DL_NOBODY && !s.core.joined)
        return "the group has no leader, and the store is new here: waits for all replicas to say that the "
               "group is new, "
               "or for a leader";
    if (f->leader == DL_NOBODY)
        return "the group has no leader";
    if (f->leader == f->self && !f->serving)
        return "leader, but its first entry is not applied yet";
    if (unregistered(h))
        return "no nameserver knows this broker";
    return NULL;
}

static void on_readyz(void *user, const struct http_query *query, struct http_answer *answer)
{
    const char *why = unready(user);

    (void)query;
    if (why != NULL)
        answer->status = 503;
    bld_fmt(&answer->body, "%s\n", why == NULL ? "ok" : why);
}

/* Resident bytes of this process. */
static uint64_t resident_bytes(void)
{
    unsigned long long total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint32_t connections(const struct health_parts *parts)
{
    return listener_conns(parts->clients) + (parts->fast != NULL ? listener_conns(parts->fast) : 0);
}

/* A figure that is computed when asked for. */
struct gauge {
    const char *name, *help;
    enum metric_kind kind;
    uint64_t value;
};

static void print_gauges(struct health *h, struct bld *out)
{
    struct front *f = h->parts.front;
    struct dl_node_status s;
    struct dl_store_view v;
    metric_t values[GAUGES_MAX];
    struct metric_row rows[GAUGES_MAX];
    uint32_t count;

    dl_node_status(f->node, &s);
    dl_store_view(f->store, &v);
    const struct gauge gauges[] = {
        {"ledgermq_role", "0 follower, 1 precandidate, 2 candidate, 3 leader", METRIC_GAUGE, s.core.role},
        {"ledgermq_serving", "1 when this replica leads and serves", METRIC_GAUGE, s.serving},
        {"ledgermq_joined", "1 when this replica counts in majorities", METRIC_GAUGE, s.core.joined},
        {"ledgermq_term", "current term", METRIC_GAUGE, s.core.term},
        {"ledgermq_log_begin_index", "first entry kept", METRIC_GAUGE, s.core.begin},
        {"ledgermq_log_end_index", "last entry", METRIC_GAUGE, s.core.last},
        {"ledgermq_log_persisted_index", "last entry on this disk", METRIC_GAUGE, s.core.persisted},
        {"ledgermq_log_committed_index", "last entry on a majority of disks", METRIC_GAUGE, s.core.commit},
        {"ledgermq_log_applied_index", "last entry in the state", METRIC_GAUGE, s.applied},
        {"ledgermq_state_checkpointed_index", "last entry in the durable state", METRIC_GAUGE,
         state_checkpointed(f->state)},
        {"ledgermq_elections_total", "times this replica stood for election", METRIC_COUNTER,
         s.core.elections},
        {"ledgermq_proposals_waiting", "entries proposed and not applied", METRIC_GAUGE, s.proposals_waiting},
        {"ledgermq_proposals_waiting_bytes", "their size", METRIC_GAUGE, s.waiting_bytes},
        {"ledgermq_log_bytes", "size of the log", METRIC_GAUGE, v.end_pos - v.begin_pos},
        {"ledgermq_log_disk_bytes", "size of its files", METRIC_GAUGE, v.disk_bytes},
        {"ledgermq_log_appended_bytes_total", "bytes appended", METRIC_COUNTER, v.appended_bytes},
        {"ledgermq_fsyncs_total", "fdatasyncs of the log", METRIC_COUNTER, v.fsyncs},
        {"ledgermq_connections", "open connections of clients, on the fast port too", METRIC_GAUGE,
         connections(&h->parts)},
        {"ledgermq_clients", "members of producer and consumer groups", METRIC_GAUGE,
         clients_count(f->clients)},
        {"ledgermq_pulls_held", "pulls waiting for messages", METRIC_GAUGE, hold_count(f->hold)},
        {"ledgermq_topics", "topics", METRIC_GAUGE, state_topic_count(f->state)},
        {"ledgermq_requests_total", "requests of clients", METRIC_COUNTER, f->dispatch.requests},
        {"ledgermq_requests_unknown_total", "requests with a code that is not supported", METRIC_COUNTER,
         f->dispatch.unknown},
        {"ledgermq_requests_malformed_total", "frames that cost their connection", METRIC_COUNTER,
         f->dispatch.malformed},
        {"ledgermq_nameservers_registered", "nameservers that know this broker", METRIC_GAUGE,
         registrar_registered(h->parts.registrar)},
        {"ledgermq_nameservers_lost", "1 when nameservers are set and none answers", METRIC_GAUGE,
         unregistered(h)},
        {"process_resident_memory_bytes", "resident memory", METRIC_GAUGE, resident_bytes()},
        {"process_start_time_seconds", "start, seconds since 1970", METRIC_GAUGE, f->started_ms / 1000},
    };

    count = sizeof(gauges) / sizeof(gauges[0]);
    ENSURE(count <= GAUGES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        metric_set(&values[i], gauges[i].value);
        rows[i] = (struct metric_row){
            .name = gauges[i].name, .help = gauges[i].help, .kind = gauges[i].kind, .value = &values[i]};
    }
    metrics_print(out, rows, count, h->labels);
}

static void on_metrics(void *user, const struct http_query *query, struct http_answer *answer)
{
    struct health *h = user;
    struct front_counters *c = &h->parts.front->counters;
    struct dl_peers *peers = h->parts.peers;
    struct dl_peers_counters none = {0}, *p = peers != NULL ? dl_peers_counters(peers) : &none;
    const struct metric_row rows[] = {
        {.name = "ledgermq_messages_in_total",
         .help = "messages stored",
         .kind = METRIC_COUNTER,
         .value = &c->sends},
        {.name = "ledgermq_bytes_in_total",
         .help = "their stored bytes",
         .kind = METRIC_COUNTER,
         .value = &c->send_bytes},
        {.name = "ledgermq_sends_refused_total",
         .help = "sends refused",
         .kind = METRIC_COUNTER,
         .value = &c->send_refused},
        {.name = "ledgermq_pulls_total", .help = "pulls", .kind = METRIC_COUNTER, .value = &c->pulls},
        {.name = "ledgermq_messages_out_total",
         .help = "messages delivered",
         .kind = METRIC_COUNTER,
         .value = &c->pull_messages},
        {.name = "ledgermq_bytes_out_total",
         .help = "their bytes",
         .kind = METRIC_COUNTER,
         .value = &c->pull_bytes},
        {.name = "ledgermq_parked_total",
         .help = "requests that waited for a leader",
         .kind = METRIC_COUNTER,
         .value = &c->parked},
        {.name = "ledgermq_relayed_total",
         .help = "requests handed to the leader",
         .kind = METRIC_COUNTER,
         .value = &c->relayed},
        {.name = "ledgermq_relayed_here_total",
         .help = "requests other replicas handed to us",
         .kind = METRIC_COUNTER,
         .value = &c->relayed_here},
        {.name = "ledgermq_offsets_committed_total",
         .help = "consumer offsets stored",
         .kind = METRIC_COUNTER,
         .value = &c->offsets_committed},
        {.name = "ledgermq_send_seconds",
         .help = "from request to commit",
         .kind = METRIC_HIST,
         .value = &c->send_latency},
        {.name = "ledgermq_fsync_seconds",
         .help = "fdatasync of the log",
         .kind = METRIC_HIST,
         .value = &c->fsync_latency},
        {.name = "ledgermq_replica_bytes_in_total",
         .help = "bytes from other replicas",
         .kind = METRIC_COUNTER,
         .value = &p->bytes_in},
        {.name = "ledgermq_replica_bytes_out_total",
         .help = "bytes to other replicas",
         .kind = METRIC_COUNTER,
         .value = &p->bytes_out},
        {.name = "ledgermq_replica_losses_total",
         .help = "connections to replicas lost",
         .kind = METRIC_COUNTER,
         .value = &p->downs},
    };

    (void)query;
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    print_gauges(h, &answer->body);
    metrics_print(&answer->body, rows, sizeof(rows) / sizeof(rows[0]), h->labels);
}

static const struct http_route routes[] = {
    {"/livez", on_livez},
    {"/readyz", on_readyz},
    {"/metrics", on_metrics},
};

int health_open(const struct health_parts *parts, struct health **out, struct err *err)
{
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    struct front *f = parts->front;
    struct health *h;
    int rc;

    *out = NULL;
    if (f->settings->http_port == 0)
        return 0;
    h = calloc(1, sizeof(*h));
    ENSURE(h != NULL);
    h->parts = *parts;
    snprintf(h->labels, sizeof(h->labels), "cluster=\"%s\",broker=\"%s\",replica=\"n%u\"",
             f->settings->cluster_name, f->settings->broker_name, f->self - 1);
    rc = http_open(f->loop, f->settings->http_host, (uint16_t)f->settings->http_port, routes,
                   sizeof(routes) / sizeof(routes[0]), h, &limits, &h->http, err);
    if (rc != 0) {
        free(h);
        return rc;
    }
    *out = h;
    return 0;
}

void health_close(struct health *h)
{
    http_close(h->http);
    free(h);
}
