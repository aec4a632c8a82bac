/*
 * line.c - the links of a line, and the moves of calls between them. The drawing is in line.h.
 *
 * `take_back` (call leaves its list), `put_on` (call goes out on a link) and `put_waiting` are the only
 * functions that change where a call is; `finish` is the only one that ends it.
 */
#include "client/line.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/codes.h"
#include "common/log.h"

#define LINE_TABLE_FIRST     256u
#define LINE_OUT_MAX_BYTES   (256u * 1024 * 1024)
#define LINE_FRAME_MIN_BYTES 8u
#define LINE_LOOK_MS         2u /* between looks at one-way calls that could not be written at once */
#define LINE_LOG_EVERY_MS    1000u
#define OPAQUE_AT \
    13u /* in a frame whose header is binary: length 4, form and header length 4, code 2, language 1,
                                    version 2 */

TAILQ_HEAD(call_list, call);

struct link {
    struct line *line;
    char address[ADDRESS_MAX];
    char host[ADDRESS_MAX];
    uint16_t port;
    struct conn *conn;
    uint64_t failed_ms;    /* last failure; 0: none since the last answer */
    uint64_t queued_bytes; /* handed to `conn` since it was made */
    struct call_list in_flight, writing;
};

struct line {
    struct loop *loop;
    struct conn_limits limits;
    const struct line_ops *ops;
    void *user;
    struct link *links[LINE_REPLICAS_MAX];
    uint32_t link_count;
    struct link *current;
    struct call_list waiting;
    struct call **table; /* cap places by low bits of the opaque, as in caller.c */
    uint32_t cap, count, next_opaque;
    struct timer sweep, retry, look;
    uint64_t sweep_due_ms;
    bool retry_set, look_set;
    struct remoting_cmd cmd;
};

static void move_calls(struct line *l, struct link *from);

/* ---- the table ---- */

static void table_grow(struct line *l)
{
    uint32_t cap = l->cap == 0 ? LINE_TABLE_FIRST : l->cap * 2;
    struct call **table = calloc(cap, sizeof(struct call *));

    ENSURE(table != NULL);
    for (uint32_t i = 0; i < l->cap; i++)
        if (l->table[i] != NULL)
            table[l->table[i]->opaque & (cap - 1)] = l->table[i];
    free(l->table);
    l->table = table;
    l->cap = cap;
}

static void table_add(struct line *l, struct call *c)
{
    if (2 * (l->count + 1) > l->cap)
        table_grow(l);
    do {
        c->opaque = l->next_opaque;
        l->next_opaque = (l->next_opaque + 1) & INT32_MAX;
    } while (l->table[c->opaque & (l->cap - 1)] != NULL);
    l->table[c->opaque & (l->cap - 1)] = c;
    l->count++;
    put_be32(c->frame->data + OPAQUE_AT, c->opaque);
}

/* ---- where a call is ---- */

static struct call_list *list_on(struct link *k, const struct call *c)
{
    return c->flags & CALL_ONEWAY ? &k->writing : &k->in_flight;
}

static void take_back(struct line *l, struct call *c)
{
    if (c->via != NULL)
        TAILQ_REMOVE(list_on(c->via, c), c, link_entry);
    else
        TAILQ_REMOVE(&l->waiting, c, link_entry);
    c->via = NULL;
}

static void put_waiting(struct line *l, struct call *c)
{
    c->via = NULL;
    TAILQ_INSERT_TAIL(&l->waiting, c, link_entry);
}

static void forget(struct line *l, struct call *c)
{
    take_back(l, c);
    l->table[c->opaque & (l->cap - 1)] = NULL;
    l->count--;
    buf_unref(c->frame);
    c->frame = NULL;
}

static void finish(struct line *l, struct call *c, int err, const struct remoting_cmd *answer)
{
    forget(l, c);
    c->done(c, err, answer);
}

static uint64_t due_of(const struct call *c)
{
    uint64_t answer_due_ms = c->sent_ms + c->answer_ms;

    if (c->via == NULL || c->answer_ms == 0 || answer_due_ms > c->deadline_ms)
        return c->deadline_ms;
    return answer_due_ms;
}

static void sweep_at(struct line *l, uint64_t due_ms)
{
    uint64_t now_ms = loop_now_ms(l->loop);

    if (due_ms >= l->sweep_due_ms)
        return;
    l->sweep_due_ms = due_ms;
    timer_start(&l->sweep, due_ms > now_ms ? (uint32_t)(due_ms - now_ms) : 1);
}

static void on_frame(struct conn *conn, const uint8_t *frame, size_t len);
static void on_open(struct conn *conn);
static void on_close(struct conn *conn, int why);
static const struct conn_ops link_conn_ops = {on_frame, on_open, on_close};

static void link_connect(struct link *k)
{
    if (k->conn != NULL)
        return;
    k->conn = conn_connect(k->line->loop, k->host, k->port, &link_conn_ops, &k->line->limits, NULL);
    conn_set_data(k->conn, k);
    k->queued_bytes = 0;
}

static void link_write(struct link *k, struct buf *frame)
{
    link_connect(k);
    k->queued_bytes += frame->len;
    conn_write_buf(k->conn, frame);
}

static void look_later(struct line *l, uint32_t ms)
{
    if (l->look_set)
        return;
    l->look_set = true;
    timer_start(&l->look, ms);
}

static void put_on(struct link *k, struct call *c)
{
    c->via = k;
    c->sent_ms = loop_now_ms(k->line->loop);
    c->attempts++;
    TAILQ_INSERT_TAIL(list_on(k, c), c, link_entry);
    link_write(k, buf_ref(c->frame));
    if (c->flags & CALL_ONEWAY) {
        c->written_at = k->queued_bytes;
        look_later(k->line, 0); /* the next turn: the end of this one writes */
    } else {
        sweep_at(k->line, due_of(c));
    }
}

/* ---- failures ---- */

static void note_failure(struct call *c, const struct link *k, int err, int32_t code, struct str remark)
{
    c->fail_err = err;
    c->fail_code = code;
    snprintf(c->fail_address, sizeof(c->fail_address), "%.63s", k->address);
    snprintf(c->fail_remark, sizeof(c->fail_remark), "%.*s", (int)remark.len, remark.len > 0 ? remark.p : "");
}

static void tell_trouble(struct line *l)
{
    if (l->ops != NULL && l->ops->on_trouble != NULL)
        l->ops->on_trouble(l->user);
}

static void retry_later(struct line *l)
{
    if (l->retry_set)
        return;
    l->retry_set = true;
    timer_start(&l->retry, LINE_PAUSE_MS);
}

/* The replica whose last failure is longest ago; NULL when all failed within LINE_PAUSE_MS. */
static struct link *best_link(struct line *l)
{
    struct link *best = NULL;

    for (uint32_t i = 0; i < l->link_count; i++)
        if (best == NULL || l->links[i]->failed_ms < best->failed_ms)
            best = l->links[i];
    if (best == NULL || (best->failed_ms != 0 && loop_now_ms(l->loop) - best->failed_ms < LINE_PAUSE_MS))
        return NULL;
    return best;
}

static void mark_failed(struct line *l, struct link *k)
{
    struct link *best;

    k->failed_ms = loop_now_ms(l->loop);
    if (l->current != k)
        return;
    best = best_link(l);
    if (best != NULL)
        l->current = best;
}

/* Send what waits, in order; when all replicas have just failed it waits on. */
static void send_waiting(struct line *l)
{
    struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);
    struct link *k = l->current;
    struct call *c;

    if (k != NULL && k->failed_ms != 0 && loop_now_ms(l->loop) - k->failed_ms < LINE_PAUSE_MS)
        k = best_link(l);
    if (k == NULL) {
        if (!TAILQ_EMPTY(&l->waiting))
            retry_later(l);
        return;
    }
    l->current = k;
    TAILQ_CONCAT(&calls, &l->waiting, link_entry);
    while ((c = TAILQ_FIRST(&calls)) != NULL) {
        TAILQ_REMOVE(&calls, c, link_entry);
        put_on(k, c);
    }
}

static void on_retry(void *arg)
{
    struct line *l = arg;

    l->retry_set = false;
    send_waiting(l);
}

/* All calls of a link whose connection is of no use any more go elsewhere, before those that wait already. */
static void move_calls(struct line *l, struct link *from)
{
    struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);
    struct call *c, *next;

    for (c = TAILQ_FIRST(&from->in_flight); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link_entry);
        if (c->flags & CALL_ONCE)
            continue;
        TAILQ_REMOVE(&from->in_flight, c, link_entry);
        c->via = NULL;
        TAILQ_INSERT_TAIL(&calls, c, link_entry);
    }
    TAILQ_CONCAT(&calls, &l->waiting, link_entry);
    TAILQ_CONCAT(&l->waiting, &calls, link_entry);
    TAILQ_FOREACH(c, &from->writing, link_entry) {
        c->via = NULL;
        sweep_at(l, c->deadline_ms);
    }
    TAILQ_CONCAT(&l->waiting, &from->writing, link_entry);
    while ((c = TAILQ_FIRST(&from->in_flight)) != NULL)
        finish(l, c, ERR_IO, NULL);
    send_waiting(l);
}

static void link_lost(struct link *k, int why)
{
    struct line *l = k->line;
    struct call *c;

    TAILQ_FOREACH(c, &k->in_flight, link_entry)
        note_failure(c, k, why == 0 ? ERR_CLOSED : why, 0,
                     why == ERR_TIMEOUT ? STR("silent") : STR("connection refused or lost"));
    k->conn = NULL;
    mark_failed(l, k);
    tell_trouble(l);
    move_calls(l, k);
}

/* Drop the connection ourselves. */
static void link_cut(struct link *k)
{
    if (k->conn == NULL)
        return;
    conn_set_data(k->conn, NULL);
    conn_close(k->conn);
    k->conn = NULL;
}

/* ---- the connection ---- */

static void on_open(struct conn *conn)
{
    struct link *k = conn_data(conn);

    if (k != NULL && k->line->ops != NULL && k->line->ops->on_up != NULL)
        k->line->ops->on_up(k->line->user, k->address);
}

static void on_close(struct conn *conn, int why)
{
    struct link *k = conn_data(conn);

    if (k != NULL)
        link_lost(k, why);
}

static bool is_temporary(const struct call *c, int32_t code)
{
    if (c->flags & CALL_ONCE)
        return false;
    return code == RC_SERVICE_NOT_AVAILABLE || (code == RC_SYSTEM_BUSY && !(c->flags & CALL_KEEP_BUSY));
}

static void take_answer(struct link *k, const struct remoting_cmd *cmd)
{
    struct line *l = k->line;
    struct call *c = l->cap > 0 ? l->table[(uint32_t)cmd->opaque & (l->cap - 1)] : NULL;

    if (c == NULL || c->opaque != (uint32_t)cmd->opaque || c->via != k)
        return; /* late: the call has moved on or is over */
    if (!is_temporary(c, cmd->code)) {
        k->failed_ms = 0;
        finish(l, c, 0, cmd);
        return;
    }
    note_failure(c, k, 0, cmd->code, cmd->remark);
    take_back(l, c);
    put_waiting(l, c);
    if (cmd->code == RC_SERVICE_NOT_AVAILABLE) {
        mark_failed(l, k);
        tell_trouble(l);
        send_waiting(l);
    } else {
        retry_later(l);
    }
}

static void on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct link *k = conn_data(conn);
    struct line *l;
    struct err err;

    if (k == NULL)
        return;
    l = k->line;
    if (remoting_decode(frame, len, &l->cmd, &err) != 0) {
        LOG_WARN_EVERY(LINE_LOG_EVERY_MS, "frame refused", "peer=%s cause=\"%s\"", k->address, err.text);
        conn_close(conn);
        return;
    }
    if (l->cmd.flag & REMOTING_FLAG_RESPONSE)
        take_answer(k, &l->cmd);
    else if (l->ops != NULL && l->ops->on_request != NULL)
        l->ops->on_request(l->user, &l->cmd);
}

/* ---- time ---- */

/* Nothing was read from the link since the call went out, for longer than the call allows. */
static bool is_silent(const struct link *k, const struct call *c, uint64_t now_ms)
{
    uint64_t heard_ms = c->sent_ms;

    if (c->answer_ms == 0)
        return false;
    if (k->conn != NULL && conn_is_open(k->conn) && conn_last_read_ms(k->conn) > heard_ms)
        heard_ms = conn_last_read_ms(k->conn);
    return now_ms >= heard_ms + c->answer_ms;
}

static void sweep_link(struct link *k, uint64_t now_ms, uint64_t *due_ms)
{
    struct call *c, *next;
    bool silent = false, dead = false; /* dead: and nothing came until a deadline */

    for (c = TAILQ_FIRST(&k->in_flight); c != NULL; c = next) {
        uint64_t at_ms;

        next = TAILQ_NEXT(c, link_entry);
        silent = silent || is_silent(k, c, now_ms);
        if (c->deadline_ms <= now_ms) {
            dead = dead || is_silent(k, c, now_ms);
            if (c->fail_address[0] == '\0')
                note_failure(c, k, ERR_TIMEOUT, 0, STR("no answer"));
            finish(k->line, c, ERR_TIMEOUT, NULL);
            next = TAILQ_FIRST(&k->in_flight); /* `done` may have changed the list */
            continue;
        }
        at_ms = due_of(c);
        if (at_ms <= now_ms)
            at_ms = now_ms + c->answer_ms; /* heard of since: look again later */
        if (at_ms < *due_ms)
            *due_ms = at_ms;
    }
    /* Without another replica, patience; but a connection may be dead though nobody said so, and a new one
     * may live. */
    if (!dead && (!silent || k->line->link_count < 2))
        return;
    link_cut(k);
    link_lost(k, ERR_TIMEOUT);
}

static void on_sweep(void *arg)
{
    struct line *l = arg;
    uint64_t now_ms = loop_now_ms(l->loop), due_ms = UINT64_MAX;
    struct call *c, *next;

    l->sweep_due_ms = UINT64_MAX;
    for (uint32_t i = 0; i < l->link_count; i++)
        sweep_link(l->links[i], now_ms, &due_ms);
    for (c = TAILQ_FIRST(&l->waiting); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link_entry);
        if (c->deadline_ms <= now_ms) {
            finish(l, c, ERR_TIMEOUT, NULL);
            next = TAILQ_FIRST(&l->waiting);
        } else if (c->deadline_ms < due_ms) {
            due_ms = c->deadline_ms;
        }
    }
    if (due_ms != UINT64_MAX)
        sweep_at(l, due_ms);
}

/* What an open connection does not hold any more was written. */
static void look_at_link(struct link *k, uint64_t now_ms)
{
    bool open = k->conn != NULL && conn_is_open(k->conn);
    uint64_t written = open ? k->queued_bytes - conn_waiting_bytes(k->conn) : 0;
    struct call *c;

    while ((c = TAILQ_FIRST(&k->writing)) != NULL && (c->written_at <= written || c->deadline_ms <= now_ms))
        finish(k->line, c, c->written_at <= written ? 0 : ERR_TIMEOUT, NULL);
    if (c != NULL)
        look_later(k->line, LINE_LOOK_MS);
}

static void on_look(void *arg)
{
    struct line *l = arg;

    l->look_set = false;
    for (uint32_t i = 0; i < l->link_count; i++)
        look_at_link(l->links[i], loop_now_ms(l->loop));
}

/* ---- the door ---- */

struct line *line_new(struct loop *loop, uint32_t connect_ms, const struct line_ops *ops, void *user)
{
    struct line *l = calloc(1, sizeof(*l));

    ENSURE(l != NULL);
    l->loop = loop;
    l->ops = ops;
    l->user = user;
    l->limits = (struct conn_limits){.frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
                                     .frame_min_bytes = LINE_FRAME_MIN_BYTES,
                                     .out_max_bytes = LINE_OUT_MAX_BYTES,
                                     .connect_ms = connect_ms};
    TAILQ_INIT(&l->waiting);
    l->sweep_due_ms = UINT64_MAX;
    timer_init(&l->sweep, loop, on_sweep, l);
    timer_init(&l->retry, loop, on_retry, l);
    timer_init(&l->look, loop, on_look, l);
    return l;
}

void line_free(struct line *l)
{
    struct call *c;

    if (l == NULL)
        return;
    timer_release(&l->sweep);
    timer_release(&l->retry);
    timer_release(&l->look);
    for (uint32_t i = 0; i < l->link_count; i++) {
        link_cut(l->links[i]);
        while ((c = TAILQ_FIRST(&l->links[i]->in_flight)) != NULL ||
               (c = TAILQ_FIRST(&l->links[i]->writing)) != NULL)
            finish(l, c, ERR_CLOSED, NULL);
        free(l->links[i]);
    }
    while ((c = TAILQ_FIRST(&l->waiting)) != NULL)
        finish(l, c, ERR_CLOSED, NULL);
    remoting_release(&l->cmd);
    free(l->table);
    free(l);
}

static struct link *link_new(struct line *l, const char *address)
{
    struct link *k = calloc(1, sizeof(*k));

    ENSURE(k != NULL);
    if (addr_split(str_of(address), k->host, sizeof(k->host), &k->port) != 0) {
        free(k);
        return NULL;
    }
    k->line = l;
    snprintf(k->address, sizeof(k->address), "%s", address);
    TAILQ_INIT(&k->in_flight);
    TAILQ_INIT(&k->writing);
    return k;
}

static struct link *find_link(struct link *const *links, uint32_t count, const char *address)
{
    for (uint32_t i = 0; i < count; i++)
        if (links[i] != NULL && strcmp(links[i]->address, address) == 0)
            return links[i];
    return NULL;
}

static void drop_link(struct line *l, struct link *k)
{
    link_cut(k);
    move_calls(l, k);
    free(k);
}

void line_set_replicas(struct line *l, const char *const *addresses, uint32_t count, int leader)
{
    struct link *old[LINE_REPLICAS_MAX];
    uint32_t old_count = l->link_count, n = 0;
    struct link *current = NULL;

    memcpy(old, l->links, sizeof(old));
    for (uint32_t i = 0; i < count && n < LINE_REPLICAS_MAX; i++) {
        struct link *k = find_link(old, old_count, addresses[i]);

        if (find_link(l->links, n, addresses[i]) != NULL && k == NULL)
            continue;
        if (k == NULL)
            k = link_new(l, addresses[i]);
        if (k == NULL)
            continue;
        for (uint32_t j = 0; j < old_count; j++)
            if (old[j] == k)
                old[j] = NULL;
        if ((int)i == leader)
            current = k;
        l->links[n++] = k;
    }
    l->link_count = n;
    if (current == NULL && l->current != NULL)
        current = find_link(l->links, n, l->current->address);
    l->current = current != NULL ? current : n > 0 ? l->links[0] : NULL;
    for (uint32_t j = 0; j < old_count; j++)
        if (old[j] != NULL)
            drop_link(l, old[j]);
    send_waiting(l);
}

void line_prefer(struct line *l, const char *address)
{
    struct link *k = find_link(l->links, l->link_count, address);

    if (k == NULL || k == l->current)
        return;
    k->failed_ms = 0;
    l->current = k;
    send_waiting(l);
}

void line_send(struct line *l, struct call *c)
{
    c->attempts = 0;
    c->fail_err = 0;
    c->fail_code = 0;
    c->fail_address[0] = c->fail_remark[0] = '\0';
    if (l->count >= LINE_CALLS_MAX) {
        buf_unref(c->frame);
        c->frame = NULL;
        c->done(c, ERR_BUSY, NULL);
        return;
    }
    table_add(l, c);
    if (l->current != NULL && TAILQ_EMPTY(&l->waiting)) {
        put_on(l->current, c);
        return;
    }
    put_waiting(l, c);
    sweep_at(l, c->deadline_ms);
    retry_later(l);
}

void line_cancel(struct line *l, struct call *c)
{
    forget(l, c);
}

void line_oneway(struct line *l, struct buf *frame)
{
    if (l->current == NULL) {
        buf_unref(frame);
        return;
    }
    link_write(l->current, frame);
}

void line_broadcast(struct line *l, struct buf *frame)
{
    /* An opaque of its own: the answers must fit no call. */
    put_be32(frame->data + OPAQUE_AT, l->next_opaque);
    l->next_opaque = (l->next_opaque + 1) & INT32_MAX;
    for (uint32_t i = 0; i < l->link_count; i++)
        link_write(l->links[i], buf_ref(frame));
    buf_unref(frame);
}

uint32_t line_replica_count(const struct line *l)
{
    return l->link_count;
}

const char *line_replica(const struct line *l, uint32_t i)
{
    return l->links[i]->address;
}

const char *line_current(const struct line *l)
{
    return l->current != NULL ? l->current->address : "";
}

uint32_t line_calls(const struct line *l)
{
    return l->count;
}

void call_explain(const struct call *c, int err, const struct remoting_cmd *answer, char *text, size_t size)
{
    const char *s = c->attempts == 1 ? "" : "s";

    if (answer != NULL)
        snprintf(text, size, "answer %d after %u attempt%s: %.*s", answer->code, c->attempts, s,
                 (int)answer->remark.len, answer->remark.len > 0 ? answer->remark.p : "");
    else if (c->fail_address[0] == '\0')
        snprintf(text, size, "%s after %u attempts", err_text(err), c->attempts);
    else if (c->fail_code != 0)
        snprintf(text, size, "%s after %u attempt%s; last: %s answered %d: %s", err_text(err), c->attempts, s,
                 c->fail_address, c->fail_code, c->fail_remark);
    else
        snprintf(text, size, "%s after %u attempt%s; last: %s: %s", err_text(err), c->attempts, s,
                 c->fail_address, c->fail_remark);
}
