/*
 * handle_send.c - a message comes in: codes 10, 310 (one) and 320 (batch). SendMessageProcessor;
 * reference 3.3, 6.2.
 *
 *   header -> checks -> topic (maybe created first) -> queue -> stored-message bytes in one buffer -> propose
 * -> applied: queue offset, id -> answer
 *
 * The answer goes out when the entry is committed, i.e. durable on a majority, and applied: SEND_OK means
 * strict (design.md 5). The request is kept until then, so that a proposal which surely was not stored
 * (leadership changed) starts again from the gate instead of failing.
 */
#include <stdlib.h>
#include <string.h>

#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"

#define BATCH_MESSAGES_MAX   4096u
#define ADDED_PROPERTIES_MAX 512u /* room kept for what the broker adds */
#define SYS_FLAG_TRANSACTION 0xCu

/* The request header of 10 and of 310/320, which has one-letter names (SendMessageRequestHeaderV2). */
enum send_field {
    F_GROUP,
    F_TOPIC,
    F_TEMPLATE,
    F_QUEUES,
    F_QUEUE,
    F_SYS,
    F_BORN,
    F_FLAG,
    F_PROPS,
    F_RECONSUME,
    F_COUNT
};
static const char *const field_names[2][F_COUNT] = {
    {"producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp",
     "flag", "properties", "reconsumeTimes"},
    {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"},
};

struct send_header {
    struct str topic, template_topic, properties;
    int32_t queues, queue_id, sys_flag, flag, reconsume_times;
    int64_t born_ms;
};

/* A send between its proposal and its answer. */
struct sending {
    struct kept *kept;
    uint64_t began_us;
    uint32_t bytes;
    uint32_t count;
    struct str unique_key; /* transactionId of the answer; in text */
    char text[160];
    uint32_t offsets[]; /* of each message in the entry's body */
};

static int field_i32(const struct remoting_cmd *cmd, const char *const *names, enum send_field field,
                     int32_t def, int32_t *out)
{
    int rc = remoting_i32(cmd, names[field], out);

    if (rc == ERR_NOT_FOUND) {
        *out = def;
        return 0;
    }
    return rc;
}

static int read_header(const struct remoting_cmd *cmd, struct send_header *h, struct err *err)
{
    const char *const *names = field_names[cmd->code == SEND_MESSAGE ? 0 : 1];
    int rc;

    h->topic = remoting_str(cmd, names[F_TOPIC]);
    h->template_topic = remoting_str(cmd, names[F_TEMPLATE]);
    h->properties = remoting_str(cmd, names[F_PROPS]);
    if (h->topic.len == 0)
        return err_set(err, ERR_INVALID, "field %s (topic) is missing", names[F_TOPIC]);
    rc = field_i32(cmd, names, F_QUEUES, 0, &h->queues);
    rc = rc != 0 ? rc : field_i32(cmd, names, F_QUEUE, -1, &h->queue_id);
    rc = rc != 0 ? rc : field_i32(cmd, names, F_SYS, 0, &h->sys_flag);
    rc = rc != 0 ? rc : field_i32(cmd, names, F_FLAG, 0, &h->flag);
    rc = rc != 0 ? rc : field_i32(cmd, names, F_RECONSUME, 0, &h->reconsume_times);
    if (rc != 0)
        return err_set(err, ERR_INVALID, "a number in the send header of topic %.*s is none",
                       (int)h->topic.len, h->topic.p);
    h->born_ms = remoting_i64_or(cmd, names[F_BORN], 0);
    return 0;
}

/* Properties that ask for what later versions do. */
struct later_row {
    const char *property, *what;
};
static const struct later_row later_rows[] = {
    {"DELAY", "delayed messages"},          {"TRAN_MSG", "transaction messages"},
    {"TIMER_DELAY_SEC", "timer messages"},  {"TIMER_DELAY_MS", "timer messages"},
    {"TIMER_DELIVER_MS", "timer messages"}, {"TIMER_DEL_UNIQKEY", "timer messages"},
};

/* What of a not yet built feature the properties ask for, or NULL. "DELAY=0" and "TRAN_MSG=false" ask for
 * nothing. */
static const char *asks_for_later(struct str properties)
{
    for (size_t i = 0; i < sizeof(later_rows) / sizeof(later_rows[0]); i++) {
        struct str value = message_property(properties, later_rows[i].property);

        if (value.len > 0 && !str_is(value, "0") && !str_is(value, "false"))
            return later_rows[i].what;
    }
    return NULL;
}

/* True when the request was answered with a refusal. */
static bool refuse(struct front *f, struct request *req, const struct send_header *h)
{
    const char *later;
    size_t body_len = req->cmd->body.len;

    if (front_is_unsendable_topic(h->topic)) {
        reply_code(&req->reply, RC_NO_PERMISSION, "topic %.*s is for the broker's own use", (int)h->topic.len,
                   h->topic.p);
    } else if (body_len > (size_t)f->settings->max_message_bytes) {
        reply_code(&req->reply, RC_MESSAGE_ILLEGAL, "body of %zu bytes is over maxMessageSize (%lld)",
                   body_len, (long long)f->settings->max_message_bytes);
    } else if (h->properties.len > MESSAGE_PROPERTIES_MAX - ADDED_PROPERTIES_MAX) {
        reply_code(&req->reply, RC_MESSAGE_ILLEGAL, "properties of %zu bytes are over %u", h->properties.len,
                   MESSAGE_PROPERTIES_MAX - ADDED_PROPERTIES_MAX);
    } else if ((later = asks_for_later(h->properties)) != NULL) {
        reply_code(&req->reply, RC_NOT_SUPPORTED, "%s are not supported by this version", later);
    } else {
        return false;
    }
    metric_add(&f->counters.send_refused, 1);
    return true;
}

/* The queue to write to; -1 with the request answered. */
static int64_t choose_queue(struct front *f, struct request *req, const struct topic *t, int32_t asked)
{
    uint32_t limit = t->read_queues > t->write_queues ? t->read_queues : t->write_queues;

    if (asked < 0 && t->write_queues > 0)
        return (int64_t)rng_below(&f->rng, t->write_queues);
    if (asked >= 0 && (uint32_t)asked < limit)
        return asked;
    reply_code(&req->reply, RC_INVALID_PARAMETER, "queue %d of topic %s does not exist (%u queues)", asked,
               t->name, limit);
    metric_add(&f->counters.send_refused, 1);
    return -1;
}

static bool writable(struct front *f, struct request *req, const struct topic *t)
{
    if ((uint32_t)f->settings->broker_permission & t->perm & 2u)
        return true;
    reply_code(&req->reply, RC_NO_PERMISSION, "topic %s is not writable on broker %s", t->name,
               f->settings->broker_name);
    metric_add(&f->counters.send_refused, 1);
    return false;
}

static void put_property(struct wr *w, const char *key, struct str value)
{
    wr_bytes(w, key, strlen(key));
    wr_u8(w, 1);
    wr_bytes(w, value.p, value.len);
    wr_u8(w, 2);
}

/* RocketMQ's unique message id: address, process, start of the broker, milliseconds, counter
 * (MessageClientIDSetter). */
static struct str make_unique_key(struct front *f, char *text, size_t size)
{
    static const char form[] = "%08X%04X%08X%08X%04X";
    uint64_t n = f->unique_counter++;

    snprintf(text, size, form, ntohl(f->store_host.sin_addr.s_addr), (unsigned)(f->started_ms & 0xffff),
             (unsigned)(f->started_ms >> 16), (unsigned)clock_wall_ms(), (unsigned)(n & 0xffff));
    return str_of(text);
}

/* The sender's properties and the broker's additions (SendMessageProcessor), written to `text`; {NULL,0} when
 * they are too long. */
static struct str complete_properties(struct front *f, struct str properties, uint8_t *text,
                                      struct str *unique_key, char *key_text, size_t key_size)
{
    struct wr w = wr_of(text, MESSAGE_PROPERTIES_MAX);
    const struct {
        const char *key;
        struct str value;
    } rows[] = {
        {"MSG_REGION", str_of(f->settings->region_id)},
        {"TRACE_ON", f->settings->trace_on ? STR("true") : STR("false")},
        {"CLUSTER", str_of(f->settings->cluster_name)},
    };

    wr_bytes(&w, properties.p, properties.len);
    if (properties.len > 0 && properties.p[properties.len - 1] != 2)
        wr_u8(&w, 2); /* 4.9 clients leave the last separator out */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (message_property(properties, rows[i].key).len == 0)
            put_property(&w, rows[i].key, rows[i].value);
    }
    *unique_key = message_property(properties, "UNIQ_KEY");
    if (unique_key->len == 0) {
        *unique_key = make_unique_key(f, key_text, key_size);
        put_property(&w, "UNIQ_KEY", *unique_key);
    }
    return w.full ? (struct str){NULL, 0} : (struct str){(const char *)text, (size_t)(w.p - text)};
}

/* ---- answer ---- */

static void answer(struct front *f, struct sending *s, const struct dl_entry *e, const struct state_result *r)
{
    struct remoting_out out;
    struct bld ids = bld_of(BATCH_MESSAGES_MAX * (MESSAGE_ID_CHARS + 1));
    struct buf *id_text;
    char id[MESSAGE_ID_CHARS + 1];

    for (uint32_t i = 0; i < s->count; i++) {
        message_id_format(&f->store_host, e->pos + DL_RECORD_HEAD + s->offsets[i], id);
        if (i > 0)
            bld_bytes(&ids, ",", 1);
        bld_bytes(&ids, id, MESSAGE_ID_CHARS);
    }
    id_text = bld_take(&ids);
    reply_begin(gate_reply(s->kept), &out, RC_SUCCESS, (struct str){NULL, 0});
    remoting_put_str(&out, "msgId", (struct str){(const char *)id_text->data, id_text->len});
    remoting_put_i64(&out, "queueId", r->queue_id);
    remoting_put_i64(&out, "queueOffset", (int64_t)r->queue_offset);
    if (s->unique_key.len > 0)
        remoting_put_str(&out, "transactionId", s->unique_key);
    remoting_put_str(&out, "MSG_REGION", str_of(f->settings->region_id));
    remoting_put_bool(&out, "TRACE_ON", f->settings->trace_on);
    remoting_put_str(&out, FIELD_DURABILITY, STR("strict"));
    reply_out(gate_reply(s->kept), &out, NULL);
    buf_unref(id_text);
}

static void on_sent(struct front *f, void *ctx, int err, const struct dl_entry *e,
                    const struct state_result *r)
{
    struct sending *s = ctx;

    if (err == ERR_NOT_LEADER || err == ERR_LOST) {
        gate_again(f, s->kept); /* surely not stored: start over, here or at the new leader */
        free(s);
        return;
    }
    if (err != 0) {
        metric_add(&f->counters.send_refused, 1);
        front_reply_failed(gate_reply(s->kept), err);
    } else if (r->code != 0) {
        metric_add(&f->counters.send_refused, 1);
        reply_code(gate_reply(s->kept), r->code, "%s", r->remark);
    } else {
        metric_add(&f->counters.sends, s->count);
        metric_add(&f->counters.send_bytes, s->bytes);
        metric_hist_add(&f->counters.send_latency, clock_mono_us() - s->began_us);
        answer(f, s, e, r);
    }
    gate_drop(s->kept);
    free(s);
}

static struct sending *sending_new(struct front *f, const struct request *req, uint32_t count)
{
    struct sending *s = calloc(1, sizeof(*s) + count * sizeof(s->offsets[0]));

    ENSURE(s != NULL);
    s->kept = gate_keep(f, req);
    s->began_us = clock_mono_us();
    s->count = count;
    return s;
}

/* ---- one message ---- */

static void fill_message(struct front *f, const struct request *req, const struct send_header *h,
                         uint32_t queue_id, struct message *m)
{
    m->queue_id = (int32_t)queue_id;
    m->flag = h->flag;
    m->sys_flag = h->sys_flag & ~(int32_t)SYS_FLAG_TRANSACTION;
    m->reconsume_times = h->reconsume_times;
    m->born_ms = (uint64_t)h->born_ms;
    m->store_ms = clock_wall_ms();
    m->born = req->client;
    m->store = f->store_host;
    m->topic = h->topic;
}

/* Everything up to the queue; false when the request was answered or taken over. */
static bool begin(struct front *f, struct request *req, struct send_header *h, struct message *m)
{
    const struct topic *t;
    struct err err;
    int64_t queue;

    if (read_header(req->cmd, h, &err) != 0) {
        reply_err(&req->reply, &err);
        return false;
    }
    if (refuse(f, req, h))
        return false;
    t = front_find_topic(f, req, h->topic, h->template_topic, h->queues);
    if (t == NULL || !writable(f, req, t))
        return false;
    queue = choose_queue(f, req, t, h->queue_id);
    if (queue < 0)
        return false;
    fill_message(f, req, h, (uint32_t)queue, m);
    return true;
}

static void refuse_size(struct front *f, struct request *req)
{
    reply_code(&req->reply, RC_MESSAGE_ILLEGAL,
               "topic (%u), properties (%u) or body (%lld bytes) over their limits", TOPIC_NAME_MAX,
               MESSAGE_PROPERTIES_MAX, (long long)f->settings->max_message_bytes);
    metric_add(&f->counters.send_refused, 1);
}

void handle_send(struct request *req)
{
    struct front *f = req->user;
    struct send_header h;
    struct message m = {0};
    struct str key;
    uint8_t properties[MESSAGE_PROPERTIES_MAX];
    char key_text[64];
    struct sending *s;
    struct buf *b;
    size_t size;

    if (!begin(f, req, &h, &m))
        return;
    m.body = req->cmd->body;
    m.properties = complete_properties(f, h.properties, properties, &key, key_text, sizeof(key_text));
    size = m.properties.p == NULL ? 0 : message_size(&m);
    if (size == 0) {
        refuse_size(f, req);
        return;
    }
    s = sending_new(f, req, 1);
    s->bytes = (uint32_t)size;
    if (key.len < sizeof(s->text)) {
        memcpy(s->text, key.p, key.len);
        s->unique_key = (struct str){s->text, key.len};
    }
    b = buf_new(DL_RECORD_HEAD + size);
    message_encode(&m, b->data + DL_RECORD_HEAD);
    b->len = (uint32_t)(DL_RECORD_HEAD + size);
    front_propose_buf(f, CMD_MESSAGES, b, on_sent, s);
}

/* ---- a batch: one entry, all messages in one queue, consecutive offsets ---- */

/* Count the elements; 0 when the body is malformed, empty, or asks for what cannot be. */
static uint32_t count_batch(struct request *req)
{
    struct rd left = rd_of(req->cmd->body.p, req->cmd->body.len);
    uint32_t count = 0;

    while (rd_left(&left) > 0) {
        struct message part = {0};
        const char *later;

        if (message_batch_next(&left, &part) != 0 || ++count > BATCH_MESSAGES_MAX) {
            reply_code(&req->reply, RC_MESSAGE_ILLEGAL,
                       "batch body is malformed or has over %u messages (at message %u)", BATCH_MESSAGES_MAX,
                       count);
            return 0;
        }
        later = asks_for_later(part.properties);
        if (later != NULL) {
            reply_code(&req->reply, RC_NOT_SUPPORTED, "%s are not supported in a batch", later);
            return 0;
        }
    }
    if (count == 0)
        reply_code(&req->reply, RC_MESSAGE_ILLEGAL, "batch body is empty");
    return count;
}

/* Append the batch's messages to `out`; 0 or ERR_TOO_LARGE. */
static int encode_batch(struct front *f, const struct request *req, struct message *m, struct sending *s,
                        struct bld *out)
{
    struct rd left = rd_of(req->cmd->body.p, req->cmd->body.len);
    uint8_t properties[MESSAGE_PROPERTIES_MAX];
    char key_text[64];
    struct str key;

    for (uint32_t i = 0; i < s->count; i++) {
        struct message part = {0};
        uint8_t *room;
        size_t size;

        if (message_batch_next(&left, &part) != 0)
            return ERR_MALFORMED;
        m->flag = part.flag;
        m->body = part.body;
        m->properties = complete_properties(f, part.properties, properties, &key, key_text, sizeof(key_text));
        size = m->properties.p == NULL ? 0 : message_size(m);
        s->offsets[i] = s->bytes;
        room = size == 0 ? NULL : bld_room(out, size);
        if (room == NULL)
            return ERR_TOO_LARGE;
        message_encode(m, room);
        s->bytes += (uint32_t)size;
    }
    return 0;
}

void handle_send_batch(struct request *req)
{
    struct front *f = req->user;
    struct send_header h;
    struct message m = {0};
    struct sending *s;
    struct bld out = bld_of(DL_RECORD_MAX);
    uint32_t count;

    if (!begin(f, req, &h, &m))
        return;
    if (str_starts(h.topic, "%RETRY%")) {
        reply_code(&req->reply, RC_MESSAGE_ILLEGAL, "a batch to a retry topic is not allowed");
        return;
    }
    count = count_batch(req);
    if (count == 0)
        return;
    s = sending_new(f, req, count);
    memset(bld_room(&out, DL_RECORD_HEAD), 0, DL_RECORD_HEAD);
    if (encode_batch(f, req, &m, s, &out) != 0) {
        refuse_size(f, req);
        bld_drop(&out);
        gate_drop(s->kept);
        free(s);
        return;
    }
    front_propose_buf(f, CMD_MESSAGES, bld_take(&out), on_sent, s);
}
