/*
 * handle_view.c - one message by its position (33). QueryMessageProcessor.viewMessageById; reference 3.5.
 *
 * The position comes from outside: it may point anywhere into the log. Bytes are shown only when the queue
 * index has a row that begins exactly there, which proves that a committed message does.
 */
#include <stdlib.h>

#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/codes.h"

/* A look at `len` bytes at `pos`, possibly read from disk: first the fixed head, then the whole message. */
struct view {
    struct kept *kept;
    struct buf *bytes;
    uint64_t position;
    bool whole;
};

static void view_free(struct view *v)
{
    buf_unref(v->bytes);
    gate_drop(v->kept);
    free(v);
}

static void miss(struct view *v, const char *why)
{
    reply_code(gate_reply(v->kept), RC_SYSTEM_ERROR, "no message at position %llu: %s",
               (unsigned long long)v->position, why);
    view_free(v);
}

static void look(struct view *v, uint32_t len);

static void on_index_loaded(void *arg, int err)
{
    struct view *v = arg;

    struct front *f = gate_front(v->kept);

    if (err != 0) {
        miss(v, "its index cannot be read");
    } else if (!gate_can_read(f)) {
        struct kept *k = v->kept;

        buf_unref(v->bytes);
        free(v);
        gate_again(f, k);
    } else {
        look(v, v->bytes->len);
    }
}

static void show(struct view *v)
{
    struct front *f = gate_front(v->kept);
    struct remoting_out out;
    struct message m;
    uint64_t offset;
    int rc;

    if (message_decode(v->bytes->data, v->bytes->len, true, &m) != 0) {
        miss(v, "these bytes are no message");
        return;
    }
    rc = m.queue_id < 0 ? ERR_NOT_FOUND
                        : state_find_position(f->state, m.topic, (uint32_t)m.queue_id, v->position, &offset);
    if (rc == ERR_AGAIN &&
        state_load_rows(f->state, m.topic, (uint32_t)m.queue_id, offset, on_index_loaded, v) == 0)
        return;
    if (rc != 0) {
        miss(v, "no queue has one there");
        return;
    }
    message_patch(v->bytes->data, offset, v->position);
    reply_begin(gate_reply(v->kept), &out, RC_SUCCESS, (struct str){NULL, 0});
    reply_out(gate_reply(v->kept), &out, buf_ref(v->bytes));
    view_free(v);
}

static void on_bytes(void *arg, int err)
{
    struct view *v = arg;
    uint32_t total;

    if (err != 0) {
        miss(v, "the log cannot be read there");
        return;
    }
    if (v->whole) {
        show(v);
        return;
    }
    total = get_be32(v->bytes->data);
    if (total < MESSAGE_FIXED_BYTES || total > DL_RECORD_MAX) {
        miss(v, "these bytes are no message");
        return;
    }
    v->whole = true;
    look(v, total);
}

static void look(struct view *v, uint32_t len)
{
    struct front *f = gate_front(v->kept);
    struct dl_range range;
    int rc;

    buf_unref(v->bytes);
    v->bytes = buf_new(len);
    v->bytes->len = len;
    range = (struct dl_range){v->position, len, v->bytes->data};
    rc = dl_store_read(f->store, range.pos, range.len, range.dst);
    if (rc == ERR_AGAIN)
        rc = dl_store_read_async(f->store, &range, 1, on_bytes, v);
    else if (rc == 0)
        on_bytes(v, 0);
    if (rc != 0)
        miss(v, err_text(rc));
}

void handle_view_message(struct request *req)
{
    struct front *f = req->user;
    struct view *v;
    int64_t position;

    if (remoting_i64(req->cmd, "offset", &position) != 0 || position < 0) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "offset is missing or no number");
        return;
    }
    v = calloc(1, sizeof(*v));
    ENSURE(v != NULL);
    v->kept = gate_keep(f, req);
    v->position = (uint64_t)position;
    look(v, 4);
}
