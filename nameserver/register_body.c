/* register_body.c - see register_body.h. */
#include "nameserver/register_body.h"

#include <stdlib.h>
#include <zlib.h>

#include "common/json.h"

#define VERSION_NODES_MAX    64u
#define UNPACK_BEGIN_BYTES   (64u * 1024)
#define QUEUES_DEFAULT       16 /* TopicConfig.java */
#define PERM_DEFAULT         6
#define PACKED_TOPIC_MIN_LEN 4u /* its length word */

static void *grown(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count, size);

    if (p == NULL)
        fatal("out of memory: %zu times %zu bytes for a registration", count, size);
    return p;
}

static bool to_i32(int64_t v, int32_t *out)
{
    *out = (int32_t)v;
    return v >= 0 && v <= INT32_MAX;
}

struct routes_version register_version_of(const struct json *v)
{
    return (struct routes_version){
        .state = json_get_i64(v, "stateVersion", 0),
        .timestamp = json_get_i64(v, "timestamp", 0),
        .counter = json_get_i64(v, "counter", 0),
    };
}

/* ---- plain ---- */

static int read_json_topic(const struct json *config, struct routes_topic *t, struct err *err)
{
    t->name = json_get_str(config, "topicName");
    if (t->name.len == 0)
        t->name = config->key;
    if (!to_i32(json_get_i64(config, "readQueueNums", QUEUES_DEFAULT), &t->read_queues) ||
        !to_i32(json_get_i64(config, "writeQueueNums", QUEUES_DEFAULT), &t->write_queues) ||
        !to_i32(json_get_i64(config, "perm", PERM_DEFAULT), &t->perm) ||
        !to_i32(json_get_i64(config, "topicSysFlag", 0), &t->sys_flag))
        return err_set(err, ERR_MALFORMED, "topic \"%.*s\": a number is out of range",
                       t->name.len < 128 ? (int)t->name.len : 128, t->name.p);
    return 0;
}

static int read_plain(struct str body, struct register_body *out, struct err *err)
{
    const struct json *wrapper, *table;
    int rc = json_parse(body, REGISTER_NODES_MAX, &out->doc, err);

    if (rc != 0)
        return rc;
    wrapper = json_get(json_root(out->doc), "topicConfigSerializeWrapper");
    if (wrapper == NULL)
        wrapper = json_root(out->doc);
    out->version = register_version_of(json_get(wrapper, "dataVersion"));
    table = json_get(wrapper, "topicConfigTable");
    if (table != NULL && table->type != JSON_OBJECT && table->type != JSON_NULL)
        return err_set(err, ERR_MALFORMED, "topicConfigTable is not an object");
    if (json_count(table) > REGISTER_TOPICS_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %u topics", REGISTER_TOPICS_MAX);
    out->topics = grown(NULL, json_count(table) + 1, sizeof(*out->topics));
    for (const struct json *i = table != NULL ? table->first : NULL; i != NULL; i = i->next) {
        rc = read_json_topic(i, &out->topics[out->topic_count++], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- packed ---- */

/* The whole stream in one allocation of at most REGISTER_UNPACKED_MAX_BYTES. */
static int unpack(struct str body, uint8_t **data, size_t *len, struct err *err)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)body.p, .avail_in = (uInt)body.len};
    size_t cap = UNPACK_BEGIN_BYTES;
    int rc = inflateInit(&z);

    if (rc != Z_OK)
        return err_set(err, ERR_MALFORMED, "zlib: %s", z.msg != NULL ? z.msg : "cannot begin");
    *data = NULL;
    do {
        if (*data == NULL || z.total_out == cap) {
            cap = *data == NULL ? cap : cap * 2;
            if (cap > REGISTER_UNPACKED_MAX_BYTES)
                break;
            *data = grown(*data, cap, 1);
        }
        z.next_out = *data + z.total_out;
        z.avail_out = (uInt)(cap - z.total_out);
        rc = inflate(&z, Z_NO_FLUSH);
    } while (rc == Z_OK);
    *len = z.total_out;
    if (cap > REGISTER_UNPACKED_MAX_BYTES)
        rc = err_set(err, ERR_TOO_LARGE, "the packed body holds more than %u bytes",
                     REGISTER_UNPACKED_MAX_BYTES);
    else if (rc == Z_STREAM_END)
        rc = 0;
    else
        rc = err_set(err, ERR_MALFORMED, "the body is neither JSON nor a whole zlib stream: %s",
                     z.msg != NULL ? z.msg : "it is cut off");
    inflateEnd(&z);
    return rc;
}

/* The next word of a text of words separated by single blanks. */
static struct str next_word(struct str *text)
{
    const char *blank = text->len > 0 ? memchr(text->p, ' ', text->len) : NULL;
    struct str word = {text->p, blank != NULL ? (size_t)(blank - text->p) : text->len};
    size_t used = word.len + (blank != NULL);

    *text = (struct str){text->p + used, text->len - used};
    return word;
}

static bool next_number(struct str *text, int32_t *out)
{
    int64_t v;

    return str_to_i64(next_word(text), &v) && to_i32(v, out);
}

static int read_packed_topic(struct str text, struct routes_topic *t, struct err *err)
{
    struct str whole = text;

    *t = (struct routes_topic){.name = next_word(&text)};
    if (!next_number(&text, &t->read_queues) || !next_number(&text, &t->write_queues) ||
        !next_number(&text, &t->perm))
        return err_set(err, ERR_MALFORMED, "topic \"%.*s\" is not: name queues queues perm",
                       whole.len < 128 ? (int)whole.len : 128, whole.p);
    return 0;
}

static int read_version_text(struct str text, struct routes_version *version, struct err *err)
{
    struct json_doc *doc;
    int rc = json_parse(text, VERSION_NODES_MAX, &doc, err);

    if (rc != 0)
        return rc;
    *version = register_version_of(json_root(doc));
    json_free(doc);
    return 0;
}

static struct str next_text(struct rd *in)
{
    return rd_str(in, rd_be32(in));
}

static int read_packed(struct str body, struct register_body *out, struct err *err)
{
    struct str text;
    struct rd in;
    uint32_t count;
    size_t len = 0;
    int rc = unpack(body, &out->unpacked, &len, err);

    if (rc != 0)
        return rc;
    in = rd_of(out->unpacked, len);
    text = next_text(&in);
    count = rd_be32(&in);
    if (in.bad || count > rd_left(&in) / PACKED_TOPIC_MIN_LEN)
        return err_set(err, ERR_MALFORMED, "the packed body ends before its topics do");
    if (count > REGISTER_TOPICS_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %u topics", REGISTER_TOPICS_MAX);
    rc = read_version_text(text, &out->version, err);
    out->topics = grown(NULL, count + 1, sizeof(*out->topics));
    while (rc == 0 && out->topic_count < count) {
        text = next_text(&in);
        if (in.bad)
            return err_set(err, ERR_MALFORMED, "the packed body ends in topic %u of %u", out->topic_count + 1,
                           count);
        rc = read_packed_topic(text, &out->topics[out->topic_count++], err);
    }
    return rc;
}

int register_body_decode(struct str body, struct register_body *out, struct err *err)
{
    size_t i = 0;
    int rc;

    memset(out, 0, sizeof(*out));
    while (i < body.len && strchr(" \t\r\n", body.p[i]) != NULL && body.p[i] != '\0')
        i++;
    if (i == body.len)
        return 0;
    rc = body.p[i] == '{' ? read_plain(body, out, err) : read_packed(body, out, err);
    if (rc != 0)
        register_body_release(out);
    return rc;
}

void register_body_release(struct register_body *b)
{
    json_free(b->doc);
    free(b->topics);
    free(b->unpacked);
    memset(b, 0, sizeof(*b));
}
