/* register_body.c - see register_body.h. */
#include "broker/register_body.h"

#include <string.h>
#include <zlib.h>

#include "common/log.h"

#define PACK_LEVEL       1 /* it is made on the loop thread: fast before small */
#define PACK_CHUNK_BYTES (16u * 1024)
#define TEXT_MAX         (TOPIC_NAME_MAX + 128u)

/* Full when it does not fit. */
static struct bld plain_body(struct front *f, struct data_version version, bool with_topics)
{
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    jw_object(&w);
    jw_key(&w, "filterServerList");
    jw_array(&w);
    jw_end_array(&w);
    jw_key(&w, "topicConfigSerializeWrapper");
    front_topic_table_json(f, &w, version, with_topics);
    jw_end_object(&w);
    return body;
}

struct packer {
    z_stream z;
    struct bld out;
    uint64_t text_bytes;
    uint32_t permission_mask;
};

static void pack(struct packer *p, const void *data, size_t len, int flush)
{
    uint8_t chunk[PACK_CHUNK_BYTES];

    p->text_bytes += len;
    p->z.next_in = (Bytef *)(uintptr_t)data;
    p->z.avail_in = (uInt)len;
    do {
        p->z.next_out = chunk;
        p->z.avail_out = sizeof(chunk);
        ENSURE(deflate(&p->z, flush) != Z_STREAM_ERROR);
        bld_bytes(&p->out, chunk, sizeof(chunk) - p->z.avail_out);
    } while (p->z.avail_out == 0);
}

static void pack_i32(struct packer *p, uint32_t value)
{
    uint8_t be[4];

    put_be32(be, value);
    pack(p, be, sizeof(be), Z_NO_FLUSH);
}

/* In one step, as there are many. */
static void pack_text(struct packer *p, struct str text)
{
    uint8_t bytes[4 + TEXT_MAX];

    ENSURE(text.len <= TEXT_MAX);
    put_be32(bytes, (uint32_t)text.len);
    memcpy(bytes + 4, text.p, text.len);
    pack(p, bytes, 4 + text.len, Z_NO_FLUSH);
}

/* TopicConfig.encode, without attributes: routes have none, and 4.9 takes no topic that has them. */
static void pack_topic(void *arg, const struct topic *t)
{
    struct packer *p = arg;
    char text[TEXT_MAX];
    int len = snprintf(text, sizeof(text), "%s %u %u %u %s", t->name, t->read_queues, t->write_queues,
                       t->perm & (p->permission_mask | 1u),
                       t->filter_type[0] != '\0' ? t->filter_type : "SINGLE_TAG");

    ENSURE(len > 0 && (size_t)len < sizeof(text));
    pack_text(p, (struct str){text, (size_t)len});
}

/* Full when it does not fit. */
static struct bld packed_body(struct front *f, struct data_version version)
{
    struct packer p = {.out = bld_of(FRONT_BODY_MAX),
                       .permission_mask = (uint32_t)f->settings->broker_permission};
    struct bld text = bld_of(TEXT_MAX);
    struct jw w = jw_of(&text);
    struct buf *version_text;

    front_data_version_json(&w, version);
    version_text = bld_take(&text);
    ENSURE(deflateInit(&p.z, PACK_LEVEL) == Z_OK);
    pack_text(&p, (struct str){(const char *)version_text->data, version_text->len});
    buf_unref(version_text);
    pack_i32(&p, state_topic_count(f->state));
    state_each_topic(f->state, pack_topic, &p);
    pack_text(&p, STR("[]")); /* filter servers */
    pack_i32(&p, 0);          /* static topics, 5.x */
    pack(&p, NULL, 0, Z_FINISH);
    deflateEnd(&p.z);
    p.out.full = p.out.full || p.text_bytes > REGISTER_TEXT_MAX_BYTES;
    return p.out;
}

struct register_body register_body_make(struct front *f, struct data_version version, bool with_topics)
{
    struct bld body = {.full = true};

    if (!with_topics || state_topic_count(f->state) <= REGISTER_PLAIN_MAX_TOPICS)
        body = plain_body(f, version, with_topics);
    if (!body.full)
        return (struct register_body){bld_take(&body), false};
    bld_drop(&body);
    body = packed_body(f, version);
    if (!body.full)
        return (struct register_body){bld_take(&body), true};
    bld_drop(&body);
    LOG_WARN("too many topics to register, registered without them",
             "topics=%u text_bytes_max=%u packed_bytes_max=%u", state_topic_count(f->state),
             REGISTER_TEXT_MAX_BYTES, FRONT_BODY_MAX);
    body = plain_body(f, version, false);
    return (struct register_body){bld_take(&body), false};
}
