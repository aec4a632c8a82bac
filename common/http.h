/*
 * http.h - a small HTTP door on libevent's evhttp: health, metrics, status for the console. GET and HEAD
 * only.
 *
 * Answers are made on the loop from what is in memory, so handlers must be quick. Header and body sizes,
 * connections and waiting are limited; when the connections are used up, accepting rests until one ends.
 */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include "common/buf.h"
#include "common/err.h"
#include "common/loop.h"

#define HTTP_BODY_OUT_MAX_BYTES (16u * 1024 * 1024) /* an answer longer than this becomes status 500 */

struct http;
struct http_query;

/* Value of a parameter of the query, percent-decoded; {NULL, 0} when absent. Lent for the handler call. */
struct str http_param(const struct http_query *query, const char *name);

struct http_answer {
    int status;       /* 200 at first */
    const char *type; /* static text; "text/plain; charset=utf-8" at first */
    struct bld body;
};

struct http_route {
    const char *path; /* exact, e.g. "/metrics" */
    void (*fn)(void *user, const struct http_query *query, struct http_answer *answer);
};

struct http_limits {
    uint32_t header_max_bytes; /* request line and headers */
    uint32_t body_max_bytes;   /* of requests; they are not used */
    uint32_t conns_max;        /* at least 1 */
    uint32_t timeout_ms;       /* a connection without progress is closed; at least 1000 */
};
#define HTTP_LIMITS_DEFAULT ((struct http_limits){8192, 0, 64, 10000})

/* Serve `routes` on host:port (host NULL = all addresses, port 0 = any). routes and user must outlive. */
int http_open(struct loop *loop, const char *host, uint16_t port, const struct http_route *routes,
              uint32_t count, void *user, const struct http_limits *limits, struct http **out,
              struct err *err) MUSTCHECK;
uint16_t http_port(const struct http *http);
uint32_t http_conns(struct http *http);
/* Connections are dropped. NULL is allowed. Before loop_free. */
void http_close(struct http *http);

#endif
