/*
 * dispatch.h - request code -> row -> handler, and replies by opaque.
 *
 * Server side of a remoting connection. A program has one table of rows; a code without a row is answered
 * with 3. A malformed frame costs its connection. Handlers answer now, or later by keeping a `struct
 * reply_to` (plain data: safe to keep after the connection has gone).
 */
#ifndef COMMON_DISPATCH_H
#define COMMON_DISPATCH_H

#include "common/conn.h"
#include "common/remoting.h"

/* Where and how to answer. Copyable. `send` lets an answer go somewhere else than a client connection (a
 * request relayed by another replica). */
struct reply_to {
    void (*send)(void *arg, uint64_t conn_id, struct buf *frame_head,
                 struct buf *body); /* takes over both; body may be NULL */
    void *arg;
    uint64_t conn_id;
    int32_t opaque;
    int32_t code; /* of the request */
    enum remoting_form form;
    bool oneway; /* nothing is ever sent */
};

struct request {
    const struct remoting_cmd *cmd; /* lent for the handler call */
    struct str frame;               /* the whole frame, lent for the handler call */
    struct conn *conn;              /* NULL when relayed */
    struct sockaddr_in client;      /* address of the client, also when relayed */
    struct reply_to reply;
    bool relayed; /* came over a replica connection: must not be relayed again */
    void *user;   /* the program's context */
};

typedef void (*request_fn)(struct request *req);

struct dispatch_row {
    int32_t code;
    const char *name; /* RocketMQ's name of the code */
    request_fn fn;
    uint32_t flags; /* program-defined */
};

struct dispatch {
    const struct dispatch_row *rows; /* sorted or not; looked up through a table built by dispatch_init */
    uint32_t count;
    void *user;
    /* Called before the row's handler; returns true when it has taken the request (for example parked or
     * relayed it). May be NULL. */
    bool (*before)(struct request *req, const struct dispatch_row *row);
    /* Responses (flag bit 0) that clients send to our pushes (221, 307, 309, 326). May be NULL: dropped. */
    void (*on_response)(void *user, struct conn *conn, const struct remoting_cmd *cmd);
    struct remoting_cmd scratch;
    int16_t index[1024]; /* code -> row for codes below 1024; others by search */
    uint64_t requests, unknown, malformed;
};

void dispatch_init(struct dispatch *d, const struct dispatch_row *rows, uint32_t count, void *user);
void dispatch_release(struct dispatch *d); /* the memory of its scratch command */
/* Handle one frame of `conn`. The caller's conn_ops.on_frame calls this. Returns 0, or ERR_MALFORMED after
 * having closed the connection. */
int dispatch_frame(struct dispatch *d, struct conn *conn, const struct reply_to *via, const uint8_t *frame,
                   size_t len);
/* Handle a frame that was relayed by another replica; `client` and `reply` (opaque, form, oneway are filled
 * in from the frame) as given. */
int dispatch_relayed(struct dispatch *d, const struct sockaddr_in *client, struct reply_to reply,
                     const uint8_t *frame, size_t len);

/* Answers. All are no-ops for oneway requests. `reply_error` formats the remark. */
void reply_ok(const struct reply_to *to); /* code 0, no fields, no body */
void reply_code(const struct reply_to *to, int32_t code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void reply_err(const struct reply_to *to, const struct err *err); /* err_rmq_code + text */
void reply_body(const struct reply_to *to,
                struct bld *body); /* code 0 with body; takes the builder's buffer */
/* Begin a response to fill with remoting_put_*; send with reply_out. body is handed over, may be NULL. */
void reply_begin(const struct reply_to *to, struct remoting_out *out, int32_t code, struct str remark);
void reply_out(const struct reply_to *to, const struct remoting_out *out, struct buf *body);

#endif
