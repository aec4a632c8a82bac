/*
 * message.c - a message in the hands of the application, to be sent or received.
 *
 * Properties are kept in their encoded form; a getter's NUL-terminated copy is made when first asked for
 * and lives as long as the message. A received message is read by one thread at a time, so are its copies.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"

struct property_text {
    struct property_text *next;
    char *name, *value;
};

static char *text_of(struct str s)
{
    char *p = malloc(s.len + 1);

    ENSURE(p != NULL);
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}

static uint8_t *bytes_of(const void *data, size_t len)
{
    uint8_t *p = malloc(len > 0 ? len : 1);

    ENSURE(p != NULL);
    if (len > 0)
        memcpy(p, data, len);
    return p;
}

lmq_message *lmq_message_new(const char *topic, const void *body, size_t body_size)
{
    lmq_message *m;

    if (topic == NULL || topic[0] == '\0' || body_size > BODY_MAX)
        return NULL;
    m = calloc(1, sizeof(*m));
    ENSURE(m != NULL);
    m->topic = text_of(str_of(topic));
    m->body = bytes_of(body, body_size);
    m->body_size = body_size;
    m->queue_id = -1;
    return m;
}

static void forget_texts(lmq_message *m)
{
    struct property_text *t;

    while ((t = m->texts) != NULL) {
        m->texts = t->next;
        free(t->name);
        free(t->value);
        free(t);
    }
}

void lmq_message_free(lmq_message *m)
{
    if (m == NULL)
        return;
    forget_texts(m);
    free(m->topic);
    free(m->body);
    free(m->props);
    free(m->sharding_key);
    free(m);
}

static struct str props_of(const lmq_message *m)
{
    return (struct str){(const char *)m->props, m->props_len};
}

/* Replaces an earlier value. */
lmq_status lmq_message_set_property(lmq_message *m, const char *name, const char *value)
{
    size_t size = m->props_len + strlen(name) + strlen(value) + 2;
    uint8_t *props = malloc(size);
    struct wr w = wr_of(props, size);
    struct str left = props_of(m), key, old;
    int rc = 0;

    ENSURE(props != NULL);
    while (rc == 0 && props_next(&left, &key, &old))
        if (!str_is(key, name))
            rc = props_put(&w, key, old);
    if (rc == 0)
        rc = props_put(&w, str_of(name), str_of(value));
    if (rc != 0 || (size_t)(w.p - props) > PROPERTIES_MAX) {
        free(props);
        return rc != 0 ? LMQ_INVALID : LMQ_TOO_LARGE;
    }
    free(m->props);
    m->props = props;
    m->props_len = (size_t)(w.p - props);
    m->props_cap = size;
    forget_texts(m);
    return LMQ_OK;
}

lmq_status lmq_message_set_tag(lmq_message *m, const char *tag)
{
    return lmq_message_set_property(m, "TAGS", tag);
}

lmq_status lmq_message_set_keys(lmq_message *m, const char *keys)
{
    return lmq_message_set_property(m, "KEYS", keys);
}

void lmq_message_set_flag(lmq_message *m, int32_t flag)
{
    m->flag = flag;
}

lmq_status lmq_message_set_sharding_key(lmq_message *m, const char *key)
{
    lmq_status s = lmq_message_set_property(m, "__SHARDINGKEY", key);

    if (s != LMQ_OK)
        return s;
    free(m->sharding_key);
    m->sharding_key = text_of(str_of(key));
    return LMQ_OK;
}

lmq_status lmq_message_set_queue(lmq_message *m, const char *broker_name, int32_t queue_id)
{
    if (queue_id < 0 || !str_copy(str_of(broker_name), m->broker, sizeof(m->broker)) || m->broker[0] == '\0')
        return LMQ_INVALID;
    m->queue_id = queue_id;
    return LMQ_OK;
}

void lmq_message_set_selector(lmq_message *m, lmq_queue_selector selector, void *arg)
{
    m->selector = selector;
    m->selector_arg = arg;
}

/* ---- reading ---- */

const char *lmq_message_topic(const lmq_message *m)
{
    return m->topic;
}

const void *lmq_message_body(const lmq_message *m, size_t *size)
{
    *size = m->body_size;
    return m->body;
}

const char *lmq_message_property(const lmq_message *message, const char *name)
{
    lmq_message *m = (lmq_message *)(uintptr_t)message; /* the cache of texts is no part of its value */
    struct property_text *t;
    struct str value;

    for (t = m->texts; t != NULL; t = t->next)
        if (strcmp(t->name, name) == 0)
            return t->value;
    value = props_get(props_of(m), name);
    if (value.len == 0)
        return "";
    t = calloc(1, sizeof(*t));
    ENSURE(t != NULL);
    t->name = text_of(str_of(name));
    t->value = text_of(value);
    t->next = m->texts;
    m->texts = t;
    return t->value;
}

const char *lmq_message_tag(const lmq_message *m)
{
    return lmq_message_property(m, "TAGS");
}

const char *lmq_message_keys(const lmq_message *m)
{
    return lmq_message_property(m, "KEYS");
}

const char *lmq_message_id(const lmq_message *m)
{
    const char *id = lmq_message_property(m, "UNIQ_KEY");

    return id[0] != '\0' ? id : m->offset_id;
}

const char *lmq_message_offset_id(const lmq_message *m)
{
    return m->offset_id;
}

const char *lmq_message_broker(const lmq_message *m)
{
    return m->broker;
}

int32_t lmq_message_queue_id(const lmq_message *m)
{
    return m->queue_id;
}

int64_t lmq_message_queue_offset(const lmq_message *m)
{
    return m->queue_offset;
}

int64_t lmq_message_born_ms(const lmq_message *m)
{
    return m->born_ms;
}

int64_t lmq_message_store_ms(const lmq_message *m)
{
    return m->store_ms;
}

int32_t lmq_message_reconsume_times(const lmq_message *m)
{
    return m->reconsume_times;
}

int32_t lmq_message_flag(const lmq_message *m)
{
    return m->flag;
}

size_t message_bytes(const struct lmq_message *m)
{
    return m->body_size + m->props_len + sizeof(*m);
}

/* ---- from the wire ---- */

static int take_body(struct lmq_message *m, const struct stored *s, struct err *err)
{
    int rc;

    if (!(s->sys_flag & SYS_COMPRESSED)) {
        m->body = bytes_of(s->body.p, s->body.len);
        m->body_size = s->body.len;
        return ERR_OK;
    }
    if ((s->sys_flag & SYS_COMPRESSION_MASK) != 0 && (s->sys_flag & SYS_COMPRESSION_MASK) != 0x300)
        return err_set(err, ERR_UNSUPPORTED, "body is compressed by method %d, not zlib",
                       (s->sys_flag & SYS_COMPRESSION_MASK) >> 8);
    rc = body_inflate(s->body.p, s->body.len, 16 * BODY_MAX, &m->body, &m->body_size);
    return rc == 0 ? 0 : err_set(err, rc, "compressed body cannot be inflated: %s", err_text(rc));
}

struct lmq_message *message_from_stored(const struct stored *s, const char *broker, struct err *err)
{
    struct lmq_message *m = calloc(1, sizeof(*m));
    struct str origin = props_get(s->properties, "RETRY_TOPIC");

    ENSURE(m != NULL);
    if (take_body(m, s, err) != 0) {
        free(m);
        return NULL;
    }
    m->topic = text_of(str_starts(s->topic, RETRY_PREFIX) && origin.len > 0 ? origin : s->topic);
    m->props = bytes_of(s->properties.p, s->properties.len);
    m->props_len = m->props_cap = s->properties.len;
    snprintf(m->broker, sizeof(m->broker), "%s", broker);
    if (s->store_ip_len == 4)
        offset_id_format(s->store_ip, s->store_port, (uint64_t)s->physical_offset, m->offset_id);
    m->queue_id = s->queue_id;
    m->queue_offset = s->queue_offset;
    m->physical_offset = s->physical_offset;
    m->flag = s->flag;
    m->reconsume_times = s->reconsume_times;
    m->born_ms = s->born_ms;
    m->store_ms = s->store_ms;
    return m;
}

/* ---- tags ---- */

bool tags_match(const char *expression, struct str tag)
{
    const char *p = expression;

    while (*p != '\0') {
        size_t len = strcspn(p, "|");
        struct str word = {p, len};

        while (word.len > 0 && word.p[0] == ' ') {
            word.p++;
            word.len--;
        }
        while (word.len > 0 && word.p[word.len - 1] == ' ')
            word.len--;
        if (str_is(word, "*") || (word.len > 0 && str_eq(word, tag)))
            return true;
        p += len;
        p += strspn(p, "|");
    }
    return expression[0] == '\0';
}
