/*
 * nameserver.c - wiring only: listener -> dispatch -> handlers; closed connections and time -> routes.
 */
#include "nameserver/nameserver.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "nameserver/handlers.h"

#define FRAME_MIN_BYTES 8u
#define PATH_MAX_BYTES  4096u

/* ---- connections ---- */

/* Only connections that registered a broker are looked up in the routes when they close. */
static char watched;

void nameserver_watch(struct conn *conn)
{
    conn_set_data(conn, &watched);
}

static void on_gone(void *arg, const char *broker, int64_t id, const char *addr)
{
    LOG_INFO("broker gone", "name=%s id=%lld address=%s cause=\"%s\"", broker, (long long)id, addr,
             (const char *)arg);
}

static void on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct nameserver *ns = conn_user(conn);

    (void)dispatch_frame(&ns->dispatch, conn, NULL, frame, len); /* a bad frame has closed conn */
}

static void on_close(struct conn *conn, int why)
{
    struct nameserver *ns = conn_user(conn);

    if (conn_data(conn) == NULL)
        return;
    routes_conn_closed(ns->routes, conn_id(conn), on_gone,
                       (void *)(uintptr_t)(why == 0 ? "connection closed here" : err_text(why)));
}

static const struct conn_ops conn_ops = {.on_frame = on_frame, .on_close = on_close};

static int listen_for_all(struct nameserver *ns, struct err *err)
{
    const struct settings *s = ns->settings;
    struct conn_limits limits = {
        .frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
        .frame_min_bytes = FRAME_MIN_BYTES,
        .out_max_bytes = (uint32_t)s->conn_out_max_bytes,
        .idle_ms = (uint32_t)s->conn_idle_s * 1000,
        .conns_max = (uint32_t)s->conns_max,
        .all_max_bytes = (uint64_t)s->conns_max_bytes,
    };

    return listener_open(ns->loop, s->listen_host, (uint16_t)s->listen_port, &conn_ops, &limits, ns,
                         &ns->listener, err);
}

/* ---- time and signals ---- */

static void on_scan(void *arg)
{
    struct nameserver *ns = arg;

    routes_expire(ns->routes, loop_now_ms(ns->loop), on_gone, (void *)(uintptr_t) "silent");
    timer_start(&ns->scan, (uint32_t)ns->settings->scan_ms);
}

static void on_stop_signal(void *arg)
{
    struct nameserver *ns = arg;

    if (ns->stopping)
        return;
    ns->stopping = true;
    loop_stop(ns->loop);
}

/* ---- life ---- */

static int open_kv(struct nameserver *ns, struct err *err)
{
    const char *home = getenv("HOME");
    char path[PATH_MAX_BYTES];

    if (ns->settings->kv_path != NULL)
        return kv_store_open(ns->settings->kv_path, ns->worker, &ns->kv, err);
    snprintf(path, sizeof(path), "%s/namesrv/kvConfig.json", home != NULL ? home : "");
    return kv_store_open(path, ns->worker, &ns->kv, err);
}

int nameserver_new(struct conf *conf, struct nameserver **out, struct err *err)
{
    struct nameserver *ns = calloc(1, sizeof(*ns));
    int rc;

    ENSURE(ns != NULL);
    ns->conf = conf;
    ns->settings = conf->settings;
    ns->loop = loop_new();
    /* The worker's memory is freed by the loop: another arena would only cost resident memory. */
    (void)mallopt(M_ARENA_MAX, 1);
    ns->worker = worker_new(ns->loop, "kv", 1);
    ns->routes = routes_new();
    dispatch_init(&ns->dispatch, handler_rows, handler_row_count, ns);
    timer_init(&ns->scan, ns->loop, on_scan, ns);
    rc = open_kv(ns, err);
    rc = rc != 0 ? rc : health_open(ns, err);
    rc = rc != 0 ? rc : listen_for_all(ns, err);
    if (rc != 0) {
        nameserver_free(ns);
        return rc;
    }
    loop_on_signal(ns->loop, SIGTERM, on_stop_signal, ns);
    loop_on_signal(ns->loop, SIGINT, on_stop_signal, ns);
    timer_start(&ns->scan, (uint32_t)ns->settings->scan_ms);
    *out = ns;
    return 0;
}

void nameserver_run(struct nameserver *ns)
{
    LOG_INFO("nameserver started", "host=%s port=%u",
             ns->settings->listen_host != NULL ? ns->settings->listen_host : "*", nameserver_port(ns));
    loop_run(ns->loop);
    LOG_INFO("nameserver stopped", "brokers=%u topics=%u", routes_member_count(ns->routes),
             routes_topic_count(ns->routes));
}

uint16_t nameserver_port(const struct nameserver *ns)
{
    return listener_port(ns->listener);
}

void nameserver_free(struct nameserver *ns)
{
    http_close(ns->http);
    if (ns->kv != NULL)
        kv_store_stop(ns->kv);
    worker_free(ns->worker);
    loop_turn(ns->loop, 0); /* answer the last change */
    if (ns->listener != NULL)
        listener_close(ns->listener);
    timer_release(&ns->scan);
    loop_turn(ns->loop, 0); /* let go of the connections */
    loop_free(ns->loop);
    dispatch_release(&ns->dispatch);
    if (ns->kv != NULL)
        kv_store_close(ns->kv);
    routes_free(ns->routes);
    free(ns);
}
