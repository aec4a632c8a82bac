/*
 * dispatch.c - one frame in, one handler called; answers out through reply_to.
 *
 * Rows with small codes are found by index, the few others (POP and admin codes, up to 200151) by search.
 */
#include "common/dispatch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

#define DISPATCH_INDEX        ((int32_t)(sizeof(((struct dispatch *)0)->index) / sizeof(int16_t)))
#define DISPATCH_NO_ROW       (-1)
#define DISPATCH_LOG_EVERY_MS 1000u

/* ResponseCode.java / RemotingSysResponseCode.java */
#define CODE_OK            0
#define CODE_SYSTEM_ERROR  1
#define CODE_NOT_SUPPORTED 3

void dispatch_init(struct dispatch *d, const struct dispatch_row *rows, uint32_t count, void *user)
{
    ENSURE(count <= INT16_MAX);
    *d = (struct dispatch){.rows = rows, .count = count, .user = user};
    for (int32_t code = 0; code < DISPATCH_INDEX; code++)
        d->index[code] = DISPATCH_NO_ROW;
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].code < 0 || rows[i].code >= DISPATCH_INDEX)
            continue;
        ENSURE(d->index[rows[i].code] == DISPATCH_NO_ROW); /* two rows for one code */
        d->index[rows[i].code] = (int16_t)i;
    }
}

void dispatch_release(struct dispatch *d)
{
    remoting_release(&d->scratch);
}

static const struct dispatch_row *row_of(const struct dispatch *d, int32_t code)
{
    if (code >= 0 && code < DISPATCH_INDEX)
        return d->index[code] == DISPATCH_NO_ROW ? NULL : &d->rows[d->index[code]];
    for (uint32_t i = 0; i < d->count; i++)
        if (d->rows[i].code == code)
            return &d->rows[i];
    return NULL;
}

/* The default reply_to.send: the connection may have gone since. arg is the loop. */
static void send_to_conn(void *arg, uint64_t id, struct buf *head, struct buf *body)
{
    struct conn *conn = conn_by_id(arg, id);
    if (conn == NULL) {
        buf_unref(head);
        buf_unref(body);
        return;
    }
    conn_write_buf(conn, head);
    if (body != NULL)
        conn_write_buf(conn, body);
}

/* d->scratch holds the command; the rest of `req` but cmd, user and what the frame says about the reply is
 * filled in. */
static void handle(struct dispatch *d, struct request *req)
{
    const struct remoting_cmd *cmd = &d->scratch;
    req->cmd = cmd;
    req->user = d->user;
    req->reply.opaque = cmd->opaque;
    req->reply.code = cmd->code;
    req->reply.form = cmd->form;
    req->reply.oneway = (cmd->flag & REMOTING_FLAG_ONEWAY) != 0;
    d->requests++;

    const struct dispatch_row *row = row_of(d, cmd->code);
    if (row == NULL) {
        d->unknown++;
        reply_code(&req->reply, CODE_NOT_SUPPORTED, "request code %d not supported", cmd->code);
        return;
    }
    if (d->before != NULL && d->before(req, row))
        return;
    row->fn(req);
}

static int decode(struct dispatch *d, const char *peer, const uint8_t *frame, size_t len)
{
    struct err err;
    int rc = remoting_decode(frame, len, &d->scratch, &err);
    if (rc == 0)
        return 0;
    d->malformed++;
    LOG_WARN_EVERY(DISPATCH_LOG_EVERY_MS, "frame refused", "peer=%s cause=\"%s\"", peer, err.text);
    return ERR_MALFORMED;
}

int dispatch_frame(struct dispatch *d, struct conn *conn, const struct reply_to *via, const uint8_t *frame,
                   size_t len)
{
    if (decode(d, conn_peer(conn), frame, len) != 0) {
        conn_close(conn);
        return ERR_MALFORMED;
    }
    if (d->scratch.flag & REMOTING_FLAG_RESPONSE) {
        if (d->on_response != NULL)
            d->on_response(d->user, conn, &d->scratch);
        return 0;
    }
    struct request req = {.frame = {(const char *)frame, len}, .conn = conn, .client = *conn_peer_addr(conn)};
    if (via != NULL)
        req.reply = *via;
    else
        req.reply = (struct reply_to){.send = send_to_conn, .arg = conn_loop(conn), .conn_id = conn_id(conn)};
    handle(d, &req);
    return 0;
}

int dispatch_relayed(struct dispatch *d, const struct sockaddr_in *client, struct reply_to reply,
                     const uint8_t *frame, size_t len)
{
    if (decode(d, "relayed", frame, len) != 0)
        return ERR_MALFORMED;
    if (d->scratch.flag & REMOTING_FLAG_RESPONSE)
        return 0;
    struct request req = {
        .frame = {(const char *)frame, len}, .client = *client, .reply = reply, .relayed = true};
    handle(d, &req);
    return 0;
}

/* ---- answers ---- */

void reply_begin(const struct reply_to *to, struct remoting_out *out, int32_t code, struct str remark)
{
    remoting_request(out, to->form, code, to->opaque, false);
    out->flag = REMOTING_FLAG_RESPONSE;
    out->remark = remark;
}

void reply_out(const struct reply_to *to, const struct remoting_out *out, struct buf *body)
{
    struct buf *head;
    if (to->oneway) {
        buf_unref(body);
        return;
    }
    int rc = remoting_encode(out, NULL, body != NULL ? body->len : 0, &head);
    if (rc == 0) {
        to->send(to->arg, to->conn_id, head, body);
        return;
    }
    buf_unref(body);
    LOG_WARN_EVERY(DISPATCH_LOG_EVERY_MS, "answer not encoded", "code=%d cause=\"%s\"", to->code,
                   err_text(rc));
    /* A client waits for some answer. This one has no fields, no body and a short text: it always fits. */
    struct remoting_out plain;
    reply_begin(to, &plain, CODE_SYSTEM_ERROR, STR("the answer is over a size limit"));
    ENSURE(remoting_encode(&plain, NULL, 0, &head) == 0);
    to->send(to->arg, to->conn_id, head, NULL);
}

static void reply_text(const struct reply_to *to, int32_t code, struct str remark, struct buf *body)
{
    struct remoting_out out;
    if (to->oneway) {
        buf_unref(body);
        return;
    }
    reply_begin(to, &out, code, remark);
    reply_out(to, &out, body);
}

void reply_ok(const struct reply_to *to)
{
    reply_text(to, CODE_OK, (struct str){NULL, 0}, NULL);
}

void reply_code(const struct reply_to *to, int32_t code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    reply_text(to, code, str_of(text), NULL);
}

void reply_err(const struct reply_to *to, const struct err *err)
{
    reply_text(to, err_rmq_code(err->code), str_of(err->text), NULL);
}

void reply_body(const struct reply_to *to, struct bld *body)
{
    if (body->full) {
        size_t max = body->max_bytes;
        bld_drop(body);
        reply_code(to, CODE_SYSTEM_ERROR, "the answer is over its limit of %zu bytes", max);
        return;
    }
    reply_text(to, CODE_OK, (struct str){NULL, 0}, bld_take(body));
}
