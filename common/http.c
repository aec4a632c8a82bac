/*
 * http.c - see http.h.
 *
 * evhttp 2.1 neither limits its connections nor tells when one goes. So this file makes their bufferevents
 * and remembers their addresses: one that evhttp has freed no longer has an event in the loop and leaves the
 * list at the next sweep. (A reference to it would keep its events beyond the close of the socket, and libevent
 * would then not watch the next connection that gets the same descriptor.) When the list is full it is swept;
 * when it stays full the listening socket is disabled and a timer sweeps until there is room.
 */
#include "common/http.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/listen.h"
#include "common/log.h"
#include "common/loop_internal.h"

#define HTTP_PAUSE_MS     100u
#define HTTP_LOG_EVERY_MS 1000u

struct http_query {
    struct evkeyvalq params;
};

struct http {
    struct loop *loop;
    struct evhttp *evhttp;
    struct evconnlistener *listener;
    const struct http_route *routes;
    uint32_t route_count;
    void *user;
    const void **bevs; /* of conns connections, some perhaps gone already: never to be followed */
    bool *alive;
    uint32_t conns, conns_max;
    uint16_t port;
    struct timer pause; /* no room or no descriptors left: accepting rests */
};

struct str http_param(const struct http_query *query, const char *name)
{
    return str_of(evhttp_find_header(&query->params, name));
}

static void body_written(const void *data, size_t len, void *arg)
{
    (void)data, (void)len;
    buf_unref(arg);
}

static const struct http_route *route_of(const struct http *http, const char *path)
{
    for (uint32_t i = 0; path != NULL && i < http->route_count; i++)
        if (strcmp(http->routes[i].path, path) == 0)
            return &http->routes[i];
    return NULL;
}

static void send_answer(struct evhttp_request *req, struct http_answer *answer)
{
    if (answer->body.full) {
        bld_drop(&answer->body);
        answer->status = HTTP_INTERNAL;
        answer->body = bld_of(HTTP_BODY_OUT_MAX_BYTES);
        bld_str(&answer->body, STR("the answer is too long\n"));
    }
    struct buf *body = bld_take(&answer->body);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    char length[16];
    snprintf(length, sizeof(length), "%u", body->len);
    evhttp_add_header(headers, "Content-Type", answer->type);
    evhttp_add_header(headers, "Content-Length", length);
    if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD || body->len == 0)
        buf_unref(body);
    else if (evbuffer_add_reference(evhttp_request_get_output_buffer(req), body->data, body->len,
                                    body_written, body) != 0)
        fatal("out of memory for an HTTP answer");
    evhttp_send_reply(req, answer->status, NULL, NULL);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct http *http = arg;
    loop_woke(http->loop);
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const struct http_route *route = route_of(http, uri != NULL ? evhttp_uri_get_path(uri) : NULL);
    struct http_answer answer = {HTTP_OK, "text/plain; charset=utf-8", bld_of(HTTP_BODY_OUT_MAX_BYTES)};
    struct http_query query;
    const char *text = uri != NULL ? evhttp_uri_get_query(uri) : NULL;
    if (evhttp_parse_query_str(text != NULL ? text : "", &query.params) != 0) {
        answer.status = HTTP_BADREQUEST;
        bld_str(&answer.body, STR("the query cannot be read\n"));
        send_answer(req, &answer);
        return;
    }
    if (route != NULL) {
        route->fn(http->user, &query, &answer);
    } else {
        answer.status = HTTP_NOTFOUND;
        bld_str(&answer.body, STR("no such page\n"));
    }
    evhttp_clear_headers(&query.params);
    send_answer(req, &answer);
}

/* A bufferevent is the argument of its events. */
static int note_alive(const struct event_base *base, const struct event *ev, void *arg)
{
    struct http *http = arg;
    const void *owner = event_get_callback_arg(ev);
    (void)base;
    for (uint32_t i = 0; i < http->conns; i++)
        if (http->bevs[i] == owner)
            http->alive[i] = true;
    return 0;
}

static void sweep(struct http *http)
{
    uint32_t kept = 0;
    if (http->conns == 0)
        return;
    memset(http->alive, 0, http->conns * sizeof(*http->alive));
    (void)event_base_foreach_event(loop_base(http->loop), note_alive, http);
    for (uint32_t i = 0; i < http->conns; i++)
        if (http->alive[i])
            http->bevs[kept++] = http->bevs[i];
    http->conns = kept;
}

/* The address may be that of a connection which has gone. */
static void remember(struct http *http, const struct bufferevent *bev)
{
    for (uint32_t i = 0; i < http->conns; i++)
        if (http->bevs[i] == bev)
            return;
    ENSURE(http->conns < http->conns_max);
    http->bevs[http->conns++] = bev;
}

static void accept_if_room(void *arg)
{
    struct http *http = arg;
    sweep(http);
    if (http->conns < http->conns_max) {
        evconnlistener_enable(http->listener);
        return;
    }
    evconnlistener_disable(http->listener);
    timer_start(&http->pause, HTTP_PAUSE_MS);
}

/* A connection was accepted; evhttp puts its socket into what is returned. The socket is closed together with
 * that: evhttp itself would close it one step before its events are taken out of the loop, and what is accepted
 * in between could get the descriptor. */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
    struct http *http = arg;
    loop_woke(http->loop);
    struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    ENSURE(bev != NULL);
    remember(http, bev);
    /* Not swept here: evhttp has not given this one its events yet. */
    if (http->conns == http->conns_max) {
        evconnlistener_disable(http->listener);
        timer_start(&http->pause, HTTP_PAUSE_MS);
    }
    return bev;
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct http *http = arg;
    loop_woke(http->loop);
    LOG_WARN_EVERY(HTTP_LOG_EVERY_MS, "accepting rests", "port=%u cause=\"%s\" pause_ms=%u", http->port,
                   evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()), HTTP_PAUSE_MS);
    evconnlistener_disable(listener);
    timer_start(&http->pause, HTTP_PAUSE_MS);
}

int http_open(struct loop *loop, const char *host, uint16_t port, const struct http_route *routes,
              uint32_t count, void *user, const struct http_limits *limits, struct http **out,
              struct err *err)
{
    int fd = -1;
    uint16_t bound_port = 0;
    *out = NULL;
    int rc = listen_socket(host, port, &fd, &bound_port, err);
    if (rc != 0)
        return rc;
    struct http *http = calloc(1, sizeof(*http));
    ENSURE(http != NULL);
    http->loop = loop;
    http->routes = routes;
    http->route_count = count;
    http->user = user;
    http->conns_max = limits->conns_max;
    http->bevs = calloc(limits->conns_max, sizeof(*http->bevs));
    http->alive = calloc(limits->conns_max, sizeof(*http->alive));
    ENSURE(http->bevs != NULL && http->alive != NULL);
    http->port = bound_port;
    http->evhttp = evhttp_new(loop_base(loop));
    ENSURE(http->evhttp != NULL);
    http->listener =
        evconnlistener_new(loop_base(loop), NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    ENSURE(http->listener != NULL);
    ENSURE(evhttp_bind_listener(http->evhttp, http->listener) != NULL);
    evconnlistener_set_error_cb(http->listener, on_accept_error);
    evhttp_set_allowed_methods(http->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(http->evhttp, limits->header_max_bytes);
    evhttp_set_max_body_size(http->evhttp, limits->body_max_bytes);
    evhttp_set_timeout(http->evhttp, (int)(limits->timeout_ms / 1000));
    evhttp_set_bevcb(http->evhttp, on_accepted, http);
    evhttp_set_gencb(http->evhttp, on_request, http);
    timer_init(&http->pause, loop, accept_if_room, http);
    *out = http;
    return 0;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

uint32_t http_conns(struct http *http)
{
    sweep(http);
    return http->conns;
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    timer_release(&http->pause);
    evhttp_free(http->evhttp);
    free(http->bevs);
    free(http->alive);
    free(http);
}
