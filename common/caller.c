/*
 * caller.c - requests out, answers in, matched by opaque.
 *
 * Pending requests live in a table indexed by the low bits of their opaque: as the opaques are ours to
 * choose, one whose place is taken is skipped, so places never collide; the table doubles when half full. A
 * binary heap of opaques orders the deadlines, and one timer is set for the earliest. Whatever ends a request
 * goes through `finish`, so each callback is called once.
 *
 * Callbacks may send again or free the caller. `busy` counts the callers of callbacks on the stack; the
 * memory goes when it is 0.
 */
#include "common/caller.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/resolve.h"

#define CALLER_TABLE_FIRST     64u
#define CALLER_OUT_MAX_BYTES   (64u * 1024 * 1024)
#define CALLER_LOG_EVERY_MS    1000u
#define CALLER_FRAME_MIN_BYTES 8u

struct pending {
    caller_fn fn; /* NULL: free place */
    void *arg;
    uint64_t due_ms;
    uint32_t opaque;
    uint32_t heap_at; /* where heap[] names it */
};

struct ended {
    caller_fn fn;
    void *arg;
};

struct caller {
    struct loop *loop;
    const struct caller_ops *ops;
    void *user;
    uint16_t port;
    struct conn_limits limits;
    struct conn *conn; /* NULL: the next request connects */
    bool up, freed;
    uint32_t busy;

    struct pending *table; /* cap places, a power of two */
    uint32_t *heap;        /* opaques; heap[0] has the earliest deadline */
    uint32_t cap, count, next_opaque;
    struct timer timer;
    uint64_t timer_due_ms; /* UINT64_MAX: not set */
    struct ended *ended;   /* of a lost connection, callbacks from ended_at on are still to be called */
    size_t ended_at, ended_count;

    struct remoting_cmd cmd;
    char host[RESOLVE_HOST_MAX];
    char address[RESOLVE_HOST_MAX + sizeof(":65535")];
};

/* ---- the table and its heap ---- */

static struct pending *place_of(const struct caller *c, uint32_t opaque)
{
    return &c->table[opaque & (c->cap - 1)];
}

static uint64_t due_at(const struct caller *c, uint32_t at)
{
    return place_of(c, c->heap[at])->due_ms;
}

static void heap_set(struct caller *c, uint32_t at, uint32_t opaque)
{
    c->heap[at] = opaque;
    place_of(c, opaque)->heap_at = at;
}

static void heap_up(struct caller *c, uint32_t at)
{
    uint32_t opaque = c->heap[at];
    uint64_t due_ms = due_at(c, at);
    for (; at > 0 && due_at(c, (at - 1) / 2) > due_ms; at = (at - 1) / 2)
        heap_set(c, at, c->heap[(at - 1) / 2]);
    heap_set(c, at, opaque);
}

static void heap_down(struct caller *c, uint32_t at)
{
    uint32_t opaque = c->heap[at];
    uint64_t due_ms = due_at(c, at);
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= c->count)
            break;
        if (child + 1 < c->count && due_at(c, child + 1) < due_at(c, child))
            child++;
        if (due_at(c, child) >= due_ms)
            break;
        heap_set(c, at, c->heap[child]);
        at = child;
    }
    heap_set(c, at, opaque);
}

static void grow(struct caller *c)
{
    uint32_t cap = c->cap == 0 ? CALLER_TABLE_FIRST : c->cap * 2;
    struct pending *table = calloc(cap, sizeof(*table));
    ENSURE(table != NULL);
    /* Opaques with different low bits have different low bits one bit more: no collisions. */
    for (uint32_t i = 0; i < c->cap; i++)
        if (c->table[i].fn != NULL)
            table[c->table[i].opaque & (cap - 1)] = c->table[i];
    free(c->table);
    c->table = table;
    c->cap = cap;
    c->heap = realloc(c->heap, cap * sizeof(*c->heap));
    ENSURE(c->heap != NULL);
}

static uint32_t take_opaque(struct caller *c)
{
    uint32_t opaque = c->next_opaque;
    c->next_opaque = (opaque + 1) & INT32_MAX;
    return opaque;
}

static uint32_t pending_add(struct caller *c, caller_fn fn, void *arg, uint64_t due_ms)
{
    if (2 * (c->count + 1) > c->cap)
        grow(c);
    uint32_t opaque = take_opaque(c);
    while (place_of(c, opaque)->fn != NULL)
        opaque = take_opaque(c);
    *place_of(c, opaque) = (struct pending){fn, arg, due_ms, opaque, c->count};
    c->heap[c->count] = opaque;
    heap_up(c, c->count++);
    return opaque;
}

static void pending_remove(struct caller *c, struct pending *p)
{
    uint32_t at = p->heap_at, last = c->heap[--c->count];
    p->fn = NULL;
    if (at == c->count)
        return;
    heap_set(c, at, last);
    heap_up(c, at);
    heap_down(c, place_of(c, last)->heap_at);
}

/* ---- ends of requests ---- */

static void enter(struct caller *c)
{
    c->busy++;
}

/* The caller may be gone after this. */
static void leave(struct caller *c)
{
    if (--c->busy > 0 || !c->freed)
        return;
    remoting_release(&c->cmd);
    free(c->table);
    free(c->heap);
    free(c->ended);
    free(c);
}

static void finish(struct caller *c, struct pending *p, int err, const struct remoting_cmd *cmd)
{
    caller_fn fn = p->fn;
    void *arg = p->arg;
    pending_remove(c, p);
    fn(arg, err, cmd);
}

/* End all that are pending now, not what their callbacks send. When one of those frees the caller, the rest
 * is called inside caller_free: the list is the caller's, not this function's. Between enter and leave. */
static void fail_all(struct caller *c)
{
    c->ended = realloc(c->ended, (c->ended_count + c->count + 1) * sizeof(*c->ended));
    ENSURE(c->ended != NULL);
    for (uint32_t i = 0; i < c->count; i++) {
        struct pending *p = place_of(c, c->heap[i]);
        c->ended[c->ended_count++] = (struct ended){p->fn, p->arg};
        p->fn = NULL;
    }
    c->count = 0;
    while (c->ended_at < c->ended_count) {
        struct ended e = c->ended[c->ended_at++];
        e.fn(e.arg, ERR_CLOSED, NULL);
    }
    c->ended_at = c->ended_count = 0;
}

static void set_timer(struct caller *c)
{
    uint64_t now_ms = loop_now_ms(c->loop);
    /* Not put off when the earliest request is answered: that would be a timer change per request. */
    if (c->count == 0 || due_at(c, 0) >= c->timer_due_ms)
        return;
    c->timer_due_ms = due_at(c, 0);
    timer_start(&c->timer, c->timer_due_ms > now_ms ? (uint32_t)(c->timer_due_ms - now_ms) : 0);
}

static void on_timer(void *arg)
{
    struct caller *c = arg;
    uint64_t now_ms = loop_now_ms(c->loop);
    c->timer_due_ms = UINT64_MAX;
    enter(c);
    while (!c->freed && c->count > 0 && due_at(c, 0) <= now_ms)
        finish(c, place_of(c, c->heap[0]), ERR_TIMEOUT, NULL);
    if (!c->freed)
        set_timer(c);
    leave(c);
}

/* ---- the connection ---- */

static void tell_state(struct caller *c, bool up, int why)
{
    if (c->ops != NULL && c->ops->on_state != NULL)
        c->ops->on_state(c->user, c, up, why);
}

static void on_open(struct conn *conn)
{
    struct caller *c = conn_data(conn);
    if (c == NULL)
        return;
    c->up = true;
    enter(c);
    tell_state(c, true, 0);
    leave(c);
}

static void on_close(struct conn *conn, int why)
{
    struct caller *c = conn_data(conn);
    if (c == NULL)
        return;
    c->conn = NULL;
    c->up = false;
    enter(c);
    fail_all(c);
    if (!c->freed)
        tell_state(c, false, why);
    leave(c);
}

static void take_answer(struct caller *c)
{
    uint32_t opaque = (uint32_t)c->cmd.opaque;
    struct pending *p = c->count > 0 ? place_of(c, opaque) : NULL;
    if (p != NULL && p->fn != NULL && p->opaque == opaque)
        finish(c, p, 0, &c->cmd);
    else
        LOG_DEBUG("late answer", "peer=%s opaque=%d code=%d", c->address, c->cmd.opaque, c->cmd.code);
}

static void on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct caller *c = conn_data(conn);
    if (c == NULL)
        return;
    struct err err;
    if (remoting_decode(frame, len, &c->cmd, &err) != 0) {
        LOG_WARN_EVERY(CALLER_LOG_EVERY_MS, "frame refused", "peer=%s cause=\"%s\"", c->address, err.text);
        conn_close(conn);
        return;
    }
    enter(c);
    if (c->cmd.flag & REMOTING_FLAG_RESPONSE)
        take_answer(c);
    else if (c->ops != NULL && c->ops->on_request != NULL)
        c->ops->on_request(c->user, c, &c->cmd);
    leave(c);
}

static const struct conn_ops caller_conn_ops = {on_frame, on_open, on_close};

static void connect_now(struct caller *c)
{
    c->conn = conn_connect(c->loop, c->host, c->port, &caller_conn_ops, &c->limits, NULL);
    conn_set_data(c->conn, c);
}

/* ---- the door ---- */

struct caller *caller_new(struct loop *loop, const char *host, uint16_t port, uint32_t connect_ms,
                          const struct caller_ops *ops, void *user)
{
    struct caller *c = calloc(1, sizeof(*c));
    ENSURE(c != NULL);
    c->loop = loop;
    c->ops = ops;
    c->user = user;
    c->port = port;
    c->limits = (struct conn_limits){.frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
                                     .frame_min_bytes = CALLER_FRAME_MIN_BYTES,
                                     .out_max_bytes = CALLER_OUT_MAX_BYTES,
                                     .connect_ms = connect_ms};
    snprintf(c->host, sizeof(c->host), "%s", host);
    snprintf(c->address, sizeof(c->address), "%s:%u", c->host, port);
    c->timer_due_ms = UINT64_MAX;
    timer_init(&c->timer, loop, on_timer, c);
    return c;
}

void caller_free(struct caller *c)
{
    if (c == NULL || c->freed)
        return;
    c->freed = true;
    timer_release(&c->timer);
    if (c->conn != NULL) {
        conn_set_data(c->conn, NULL);
        conn_close(c->conn);
        c->conn = NULL;
    }
    c->up = false;
    enter(c);
    fail_all(c);
    leave(c);
}

static void refuse(struct caller *c, int err, caller_fn fn, void *arg)
{
    if (fn == NULL)
        return;
    enter(c);
    fn(arg, err, NULL);
    leave(c);
}

void caller_send(struct caller *c, struct remoting_out *out, const void *body, size_t body_len,
                 uint32_t timeout_ms, caller_fn fn, void *arg)
{
    struct buf *frame;
    if (c->freed) {
        refuse(c, ERR_CLOSED, fn, arg);
        return;
    }
    if (c->count >= CALLER_PENDING_MAX) {
        refuse(c, ERR_BUSY, fn, arg);
        return;
    }
    /* At least 1 ms: a callback that asks again with no time must not keep the timer busy for ever. */
    uint64_t due_ms = loop_now_ms(c->loop) + (timeout_ms > 0 ? timeout_ms : 1);
    uint32_t opaque = fn != NULL ? pending_add(c, fn, arg, due_ms) : take_opaque(c);
    out->opaque = (int32_t)opaque;
    if (fn == NULL)
        out->flag |= REMOTING_FLAG_ONEWAY;
    int rc = remoting_encode(out, body, body_len, &frame);
    if (rc != 0) {
        LOG_WARN_EVERY(CALLER_LOG_EVERY_MS, "request not encoded", "peer=%s code=%d cause=\"%s\"", c->address,
                       out->code, err_text(rc));
        if (fn != NULL)
            pending_remove(c, place_of(c, opaque));
        refuse(c, rc, fn, arg);
        return;
    }
    if (c->conn == NULL)
        connect_now(c);
    conn_write_buf(c->conn, frame);
    if (fn != NULL)
        set_timer(c);
}

void caller_reply(struct caller *c, const struct remoting_cmd *request, int32_t code, struct str remark,
                  const void *body, size_t body_len)
{
    struct remoting_out out;
    struct buf *frame;
    if (c->conn == NULL || (request->flag & REMOTING_FLAG_ONEWAY))
        return;
    remoting_response(&out, request, code, remark);
    int rc = remoting_encode(&out, body, body_len, &frame);
    if (rc != 0) {
        LOG_WARN_EVERY(CALLER_LOG_EVERY_MS, "answer not encoded", "peer=%s code=%d cause=\"%s\"", c->address,
                       request->code, err_text(rc));
        return;
    }
    conn_write_buf(c->conn, frame);
}

bool caller_is_up(const struct caller *c)
{
    return c->up;
}

const char *caller_address(const struct caller *c)
{
    return c->address;
}

uint32_t caller_pending(const struct caller *c)
{
    return c->count;
}
