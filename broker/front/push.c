/*
 * push.c - see push.h. Opaques of our requests are a counter of their own: a client's answers come back
 * with them.
 */
#include "broker/front/push.h"

#include <stdlib.h>
#include <uthash.h>

#define PUSHES_MAX    4096u /* calls without an answer, all clients together */
#define PUSH_CHECK_MS 500u

struct call {
    int32_t opaque; /* key */
    uint64_t conn_id, deadline_ms;
    push_fn fn;
    void *ctx;
    UT_hash_handle hh;
};

struct pushes {
    struct front *f;
    struct call *calls;
    uint32_t next_opaque;
    struct timer check;
};

static void send_frame(struct pushes *p, uint64_t conn_id, struct remoting_out *out, struct str body)
{
    struct conn *conn = conn_by_id(p->f->loop, conn_id);
    struct buf *frame;

    if (conn == NULL || remoting_encode(out, body.p, body.len, &frame) != 0)
        return;
    conn_write_buf(conn, frame);
}

void push_oneway(struct pushes *p, uint64_t conn_id, struct remoting_out *out, struct str body)
{
    out->opaque = (int32_t)p->next_opaque++;
    out->flag = REMOTING_FLAG_ONEWAY;
    send_frame(p, conn_id, out, body);
}

static void finish(struct pushes *p, struct call *c, int err, const struct remoting_cmd *answer)
{
    HASH_DEL(p->calls, c);
    c->fn(p->f, c->ctx, err, answer);
    free(c);
}

static void on_check(void *arg)
{
    struct pushes *p = arg;
    uint64_t now_ms = loop_now_ms(p->f->loop);
    struct call *c, *next;

    HASH_ITER(hh, p->calls, c, next) {
        if (now_ms >= c->deadline_ms)
            finish(p, c, conn_by_id(p->f->loop, c->conn_id) == NULL ? ERR_CLOSED : ERR_TIMEOUT, NULL);
    }
    if (p->calls != NULL)
        timer_start(&p->check, PUSH_CHECK_MS);
}

void push_call(struct pushes *p, uint64_t conn_id, struct remoting_out *out, struct str body,
               uint32_t timeout_ms, push_fn fn, void *ctx)
{
    struct call *c;

    if (HASH_COUNT(p->calls) >= PUSHES_MAX) {
        fn(p->f, ctx, ERR_BUSY, NULL);
        return;
    }
    c = calloc(1, sizeof(*c));
    ENSURE(c != NULL);
    out->opaque = c->opaque = (int32_t)p->next_opaque++;
    c->conn_id = conn_id;
    c->deadline_ms = loop_now_ms(p->f->loop) + timeout_ms;
    c->fn = fn;
    c->ctx = ctx;
    if (p->calls == NULL)
        timer_start(&p->check, PUSH_CHECK_MS);
    HASH_ADD(hh, p->calls, opaque, sizeof(c->opaque), c);
    send_frame(p, conn_id, out, body);
}

void pushes_on_response(void *front, struct conn *conn, const struct remoting_cmd *cmd)
{
    struct front *f = front;
    struct call *c;

    HASH_FIND(hh, f->pushes->calls, &cmd->opaque, sizeof(cmd->opaque), c);
    if (c != NULL && c->conn_id == conn_id(conn))
        finish(f->pushes, c, 0, cmd);
}

void pushes_on_close(struct pushes *p, uint64_t conn_id)
{
    struct call *c, *next;

    HASH_ITER(hh, p->calls, c, next) {
        if (c->conn_id == conn_id)
            finish(p, c, ERR_CLOSED, NULL);
    }
}

struct pushes *pushes_new(struct front *f)
{
    struct pushes *p = calloc(1, sizeof(*p));

    ENSURE(p != NULL);
    p->f = f;
    timer_init(&p->check, f->loop, on_check, p);
    return p;
}

void pushes_free(struct pushes *p)
{
    struct call *c, *next;

    HASH_ITER(hh, p->calls, c, next)
        finish(p, c, ERR_CLOSED, NULL);
    timer_release(&p->check);
    free(p);
}
