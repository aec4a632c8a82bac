/*
 * apply.c - what each kind of log entry does to the state: one row per kind, numbers never reused.
 *
 * The only place where entries meet tables. Everything is a function of the state and the entry: no clock, no
 * randomness, no order of a hash table. A body that cannot be decoded, or that asks for what cannot be, is
 * refused with a RocketMQ code in the result, alike on every replica.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "broker/state/describe.h"
#include "broker/state/internal.h"
#include "common/log.h"

struct kind {
    uint32_t kind;
    const char *name;
    const ProtobufCMessageDescriptor *body; /* NULL: not a command, the apply function reads the bytes */
    void (*apply)(struct state *s, const struct entry *e, const ProtobufCMessage *msg);
    void (*describe)(const ProtobufCMessage *msg, char *out, size_t out_size);
};

static void apply_messages(struct state *s, const struct entry *e, const ProtobufCMessage *msg);

#define COMMAND(type) &ledgermq__command__##type##__descriptor
static const struct kind kinds[] = {
    {CMD_MESSAGES, "MESSAGES", NULL, apply_messages, NULL},
    {CMD_TOPIC_PUT, "TOPIC_PUT", COMMAND(topic_put), topics_apply_put, describe_topic_put},
    {CMD_TOPIC_DELETE, "TOPIC_DELETE", COMMAND(topic_delete), topics_apply_delete, describe_topic_delete},
    {CMD_GROUP_PUT, "GROUP_PUT", COMMAND(group_put), groups_apply_put, describe_group_put},
    {CMD_GROUP_DELETE, "GROUP_DELETE", COMMAND(group_delete), groups_apply_delete, describe_group_delete},
    {CMD_OFFSETS_COMMIT, "OFFSETS_COMMIT", COMMAND(offsets_commit), offsets_apply_commit,
     describe_offsets_commit},
    {CMD_QUEUES_LOCK, "QUEUES_LOCK", COMMAND(queues_lock), locks_apply_lock, describe_queues_lock},
    {CMD_QUEUES_UNLOCK, "QUEUES_UNLOCK", COMMAND(queues_unlock), locks_apply_unlock, describe_queues_unlock},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

void refuse(struct state *s, int32_t code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->remark, sizeof s->remark, fmt, args);
    va_end(args);
    s->result.code = code;
    s->result.remark = s->remark;
}

bool name_valid(struct str name, uint32_t max)
{
    if (name.len < 1 || name.len > max)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '%' && c != '|' && c != '_' && c != '-')
            return false;
    }
    return true;
}

void version_bump(struct state *s, struct data_version *v, const struct entry *e, uint64_t now_ms)
{
    v->state_version = e->term;
    v->timestamp_ms = now_ms;
    v->counter++;
    meta_put(s);
}

/* The rest of an entry with several messages: all well formed, all to the first one's queue. */
static bool messages_agree(const struct entry *e, const struct message *first)
{
    for (uint32_t at = first->total_size; at < e->len;) {
        struct message m;
        if (message_decode(e->body + at, e->len - at, false, &m) != 0 || m.queue_id != first->queue_id ||
            !str_eq(m.topic, first->topic))
            return false;
        at += m.total_size;
    }
    return true;
}

/* Append the message at body + at, which is known to be good; returns its size. */
static uint32_t append_message(struct state *s, const struct entry *e, uint32_t at, const struct message *m,
                               struct topic_rec *t)
{
    struct index_row row = {
        .position = e->body_pos + at,
        .size = m->total_size,
        .tag_hash = message_tag_hash(message_property(m->properties, "TAGS")),
        .store_ms = m->store_ms,
    };
    queue_append(s, t, (uint32_t)m->queue_id, row);
    s->result.message_count++;
    return m->total_size;
}

static void apply_messages(struct state *s, const struct entry *e, const ProtobufCMessage *msg)
{
    (void)msg;
    struct message m;
    if (message_decode(e->body, e->len, false, &m) != 0) {
        refuse(s, RMQ_MESSAGE_ILLEGAL, "entry %" PRIu64 " holds no well-formed message", e->index);
        return;
    }
    struct topic_rec *t = topics_find(s, m.topic);
    if (!t) {
        refuse(s, RMQ_TOPIC_NOT_EXIST, "topic %.*s does not exist", (int)m.topic.len, m.topic.p);
        return;
    }
    uint32_t queues = t->t.read_queues > t->t.write_queues ? t->t.read_queues : t->t.write_queues;
    uint32_t queue_id = (uint32_t)m.queue_id;
    if (queue_id >= queues) {
        refuse(s, RMQ_INVALID, "queue %d of topic %s does not exist, it has %u", m.queue_id, t->t.name,
               queues);
        return;
    }
    if (m.total_size < e->len && !messages_agree(e, &m)) {
        refuse(s, RMQ_MESSAGE_ILLEGAL, "a batch must hold well-formed messages to one queue only");
        return;
    }
    s->result.queue_id = queue_id;
    s->result.queue_offset = t->queues[queue_id].max;
    uint32_t at = append_message(s, e, 0, &m, t);
    while (at < e->len) {
        int rc = message_decode(e->body + at, e->len - at, false, &m);
        ENSURE(rc == 0);
        at += append_message(s, e, at, &m, t);
    }
    if (s->on_arrival)
        s->on_arrival(s->on_arrival_arg, &t->t, queue_id, t->queues[queue_id].max);
}

static const struct kind *kind_find(uint32_t kind)
{
    size_t i = kind - CMD_MESSAGES;
    return kind >= CMD_MESSAGES && i < KINDS ? &kinds[i] : NULL;
}

static void apply_command(struct state *s, const struct entry *e, const struct kind *k)
{
    ProtobufCMessage *msg = protobuf_c_message_unpack(k->body, NULL, e->len, e->body);
    if (!msg) {
        refuse(s, RMQ_SYSTEM_ERROR, "entry %" PRIu64 " holds no well-formed %s", e->index, k->name);
        return;
    }
    k->apply(s, e, msg);
    if (s->result.code != 0 && log_get_level() <= LOG_LEVEL_DEBUG) {
        char text[512];
        k->describe(msg, text, sizeof text);
        LOG_DEBUG("command refused", "index=%" PRIu64 " kind=%s %s code=%d remark=\"%s\"", e->index, k->name,
                  text, s->result.code, s->remark);
    }
    protobuf_c_message_free_unpacked(msg, NULL);
}

const struct state_result *state_apply(struct state *s, dl_index_t index, dl_term_t term, uint32_t kind,
                                       const uint8_t *body, uint32_t len, dl_pos_t body_pos)
{
    ENSURE(index == s->applied + 1);
    const struct entry e = {index, term, kind, len, body, body_pos};
    s->result = (struct state_result){.remark = ""};
    const struct kind *k = kind_find(kind);
    ENSURE(!k || k->kind == kind);
    if (!k) {
        /* Entries of the log itself mean nothing here. */
        if (kind >= DL_KIND_FIRST_APP)
            refuse(s, RMQ_NOT_SUPPORTED, "entry %" PRIu64 ": kind %u is not known to this version", index,
                   kind);
    } else if (k->body) {
        apply_command(s, &e, k);
    } else {
        k->apply(s, &e, NULL);
    }
    s->applied = index;
    s->applied_term = term;
    return &s->result;
}
