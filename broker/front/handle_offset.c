/*
 * handle_offset.c - consumer offsets (14, 15, 43) and queue offsets (29 by time, 30 max, 31 min, 32 earliest
 * store time). ConsumerManageProcessor, AdminBrokerProcessor; reference 3.5, 6.5.
 */
#include <unistd.h>

#include "broker/front/front.h"
#include "broker/front/gather.h"
#include "broker/front/handlers.h"
#include "common/codes.h"

/* The (topic, queue) a request names, with the queue's bounds; false when it was answered. */
struct queue_ref {
    struct str topic;
    int32_t queue_id;
    uint64_t min, max;
    bool exists;
};

static bool read_queue(struct request *req, struct queue_ref *q)
{
    struct front *f = req->user;

    q->topic = remoting_str(req->cmd, "topic");
    if (q->topic.len == 0 || remoting_i32(req->cmd, "queueId", &q->queue_id) != 0) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "topic or queueId is missing or no number");
        return false;
    }
    q->min = q->max = 0;
    q->exists = q->queue_id >= 0 &&
                state_queue_bounds(f->state, q->topic, (uint32_t)q->queue_id, &q->min, &q->max) == 0;
    return true;
}

static void reply_field(const struct reply_to *to, const char *key, int64_t value)
{
    struct remoting_out out;

    reply_begin(to, &out, RC_SUCCESS, (struct str){NULL, 0});
    remoting_put_i64(&out, key, value);
    reply_out(to, &out, NULL);
}

void handle_offset_max(struct request *req)
{
    struct queue_ref q;

    if (read_queue(req, &q))
        reply_field(&req->reply, "offset", (int64_t)q.max);
}

void handle_offset_min(struct request *req)
{
    struct queue_ref q;

    if (read_queue(req, &q))
        reply_field(&req->reply, "offset", q.exists ? (int64_t)q.min : -1);
}

/* ---- consumer offsets ---- */

/* A group without an offset starts at the queue's first message, also with CONSUME_FROM_LAST_OFFSET, as long
 * as that message is young: RocketMQ's test is "still in memory", within 40 % of RAM of the log's end
 * (reference 6.5). 0, ERR_NOT_FOUND, or ERR_AGAIN when row 0 has to be loaded first. */
static int starts_at_zero(struct front *f, const struct remoting_cmd *cmd, const struct queue_ref *q)
{
    uint64_t memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct dl_store_view log;
    struct index_row first;
    uint32_t n;
    int rc;

    if (!remoting_bool_or(cmd, "setZeroIfNotFound", true) || !q->exists || q->min > 0 || q->max == 0)
        return ERR_NOT_FOUND;
    rc = state_rows(f->state, q->topic, (uint32_t)q->queue_id, 0, 1, &first, &n);
    if (rc != 0)
        return rc;
    dl_store_view(f->store, &log);
    return log.end_pos - first.position <= memory_bytes / 10 * 4 ? 0 : ERR_NOT_FOUND;
}

void handle_offset_query(struct request *req)
{
    struct front *f = req->user;
    struct queue_ref q;
    struct str group = remoting_str(req->cmd, "consumerGroup");
    uint64_t offset;
    int rc;

    if (!read_queue(req, &q))
        return;
    if (q.queue_id >= 0 && gather_offset(f->gather, group, q.topic, (uint32_t)q.queue_id, &offset) == 0) {
        reply_field(&req->reply, "offset", (int64_t)offset);
        return;
    }
    rc = starts_at_zero(f, req->cmd, &q);
    if (rc == ERR_AGAIN)
        front_load_rows_again(f, req, q.topic, (uint32_t)q.queue_id, 0);
    else if (rc == 0)
        reply_field(&req->reply, "offset", 0);
    else
        reply_code(&req->reply, RC_QUERY_NOT_FOUND, "group %.*s has no offset on queue %d of %.*s",
                   (int)group.len, group.p, q.queue_id, (int)q.topic.len, q.topic.p);
}

void handle_offset_update(struct request *req)
{
    struct front *f = req->user;
    struct queue_ref q;
    struct str group = remoting_str(req->cmd, "consumerGroup");
    int64_t offset;

    if (!read_queue(req, &q))
        return;
    if (remoting_i64(req->cmd, "commitOffset", &offset) != 0) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "commitOffset is missing or no number");
        return;
    }
    if (!q.exists) {
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST, "no queue %d of topic %.*s", q.queue_id, (int)q.topic.len,
                   q.topic.p);
        return;
    }
    if (offset < 0 || !front_group_name_ok(group)) { /* ali-ons sends -1 for "do not know" */
        reply_ok(&req->reply);
        return;
    }
    gather_commit(f->gather, group, q.topic, (uint32_t)q.queue_id, (uint64_t)offset, &req->reply);
}

struct offsets_writer {
    struct jw *w;
    struct front *f;
    struct str topic;
    struct str group;
};

static void write_queue_offset(void *arg, struct str group, struct str topic, uint32_t queue_id,
                               uint64_t offset)
{
    struct offsets_writer *o = arg;

    (void)group;
    (void)topic;
    jw_key_int(o->w, queue_id, false);
    jw_i64(o->w, (int64_t)offset);
}

static void write_group_offsets(void *arg, struct str group)
{
    struct offsets_writer *o = arg;
    char key[TOPIC_NAME_MAX + GROUP_NAME_MAX + 2];
    int len = snprintf(key, sizeof(key), "%.*s@%.*s", (int)o->topic.len, o->topic.p, (int)group.len, group.p);

    jw_key_str(o->w, (struct str){key, (size_t)len});
    jw_object(o->w);
    state_each_offset(o->f->state, group, o->topic, write_queue_offset, o);
    jw_end_object(o->w);
}

static void write_topic_offsets(void *arg, const struct topic *t)
{
    struct offsets_writer *o = arg;

    o->topic = (struct str){t->name, t->name_len};
    state_each_group_of_topic(o->f->state, o->topic, write_group_offsets, o);
}

void handle_offsets_all(struct request *req)
{
    struct front *f = req->user;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct offsets_writer o = {.w = &w, .f = f};

    jw_object(&w);
    jw_key(&w, "offsetTable");
    jw_object(&w);
    state_each_topic(f->state, write_topic_offsets, &o);
    jw_end_object(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

/* ---- by time
 *
 * Rows carry the store time, so the search reads no message: narrow to a block, then look at its rows; a
 * block
 * that is not in memory is loaded and the request starts over.
 */

static void on_loaded(void *arg, int err)
{
    struct kept *k = arg;
    struct front *f = gate_front(k);

    if (err != 0) {
        reply_code(gate_reply(k), RC_SYSTEM_ERROR, "index block cannot be read: %s", err_text(err));
        gate_drop(k);
    } else {
        gate_again(f, k);
    }
}

/* Load the block of `offset` and dispatch the request again. */
void front_load_rows_again(struct front *f, struct request *req, struct str topic, uint32_t queue_id,
                           uint64_t offset)
{
    struct kept *k = gate_keep(f, req);
    int rc = state_load_rows(f->state, topic, queue_id, offset, on_loaded, k);

    if (rc != 0) {
        reply_code(&req->reply, RC_SYSTEM_BUSY, "index reads: %s", err_text(rc));
        gate_drop(k);
    }
}

/* First offset with store time >= ms, max when all are older. 0, or ERR_AGAIN with *offset in the block to
 * load. */
static int seek_time(struct front *f, const struct queue_ref *q, uint64_t ms, uint64_t *offset)
{
    struct index_row rows[256];
    uint32_t n;
    int rc = state_seek_block(f->state, q->topic, (uint32_t)q->queue_id, ms, offset);

    if (rc != 0) {
        *offset = q->max;
        return 0;
    }
    if (*offset < q->min)
        *offset = q->min;
    while (*offset < q->max) {
        rc = state_rows(f->state, q->topic, (uint32_t)q->queue_id, *offset, 256, rows, &n);
        if (rc != 0)
            return rc;
        for (uint32_t i = 0; i < n; i++, (*offset)++) {
            if (rows[i].store_ms >= ms)
                return 0;
        }
    }
    return 0;
}

void handle_offset_by_time(struct request *req)
{
    struct front *f = req->user;
    struct queue_ref q;
    int64_t ms;
    uint64_t offset = 0;
    struct str boundary = remoting_str(req->cmd, "boundaryType");
    bool upper = boundary.len > 0 && (boundary.p[0] == 'U' || boundary.p[0] == 'u');
    int rc;

    if (!read_queue(req, &q))
        return;
    if (remoting_i64(req->cmd, "timestamp", &ms) != 0) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "timestamp is missing or no number");
        return;
    }
    if (!q.exists || q.max == q.min) {
        reply_field(&req->reply, "offset", (int64_t)q.max);
        return;
    }
    if (ms < 0)
        ms = 0;
    /* UPPER: the last one with time <= t is before the first with > t */
    rc = seek_time(f, &q, (uint64_t)ms + upper, &offset);
    if (rc == ERR_AGAIN) {
        front_load_rows_again(f, req, q.topic, (uint32_t)q.queue_id, offset);
        return;
    }
    if (upper && offset > q.min)
        offset--;
    reply_field(&req->reply, "offset", (int64_t)offset);
}

void handle_earliest_time(struct request *req)
{
    struct front *f = req->user;
    struct queue_ref q;
    struct index_row row;
    uint32_t n;
    int rc;

    if (!read_queue(req, &q))
        return;
    if (!q.exists || q.max == q.min) {
        reply_field(&req->reply, "timestamp", -1);
        return;
    }
    rc = state_rows(f->state, q.topic, (uint32_t)q.queue_id, q.min, 1, &row, &n);
    if (rc == ERR_AGAIN)
        front_load_rows_again(f, req, q.topic, (uint32_t)q.queue_id, q.min);
    else
        reply_field(&req->reply, "timestamp", rc == 0 ? (int64_t)row.store_ms : -1);
}
