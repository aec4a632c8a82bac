/*
 * message.c - RocketMQ's stored message, byte by byte (layout in message.h and docs/formats/state.md).
 *
 * Everything decoded here may come from a client or from a damaged file: each length is checked against the
 * bytes that are there before it is used, and a message must fill its totalSize exactly.
 */
#include "broker/state/message.h"

#include "common/crc.h"

#define SYSFLAG_BORN_V6  0x10
#define SYSFLAG_STORE_V6 0x20
#define SYSFLAG_V6       (SYSFLAG_BORN_V6 | SYSFLAG_STORE_V6)
#define HOST_V4_BYTES    8u
#define HOST_V6_BYTES    20u
#define TOPIC_MAX        255u
#define TOPIC_V1_MAX     127u
#define PORT_MAX         65535u
#define CRC_MASK         0x7FFFFFFFu

size_t message_size(const struct message *m)
{
    if (m->topic.len > TOPIC_MAX || m->properties.len > MESSAGE_PROPERTIES_MAX ||
        m->body.len > MESSAGE_BODY_MAX)
        return 0;
    size_t v2 = m->topic.len > TOPIC_V1_MAX ? 1 : 0;
    return MESSAGE_FIXED_BYTES + v2 + m->body.len + m->topic.len + m->properties.len;
}

static void host_write(struct wr *w, const struct sockaddr_in *host)
{
    wr_bytes(w, &host->sin_addr, 4);
    wr_be32(w, ntohs(host->sin_port));
}

void message_encode(const struct message *m, uint8_t *dst)
{
    size_t size = message_size(m);
    ENSURE(size > 0);
    bool v2 = m->topic.len > TOPIC_V1_MAX;
    struct wr w = wr_of(dst, size);
    wr_be32(&w, (uint32_t)size);
    wr_be32(&w, v2 ? MESSAGE_MAGIC_V2 : MESSAGE_MAGIC_V1);
    wr_be32(&w, crc32_zlib(m->body.p, m->body.len) & CRC_MASK);
    wr_be32(&w, (uint32_t)m->queue_id);
    wr_be32(&w, (uint32_t)m->flag);
    wr_be64(&w, m->queue_offset);
    wr_be64(&w, m->position);
    /* A client's IPv6 bits would announce host fields of another length than those written here. */
    wr_be32(&w, (uint32_t)(m->sys_flag & ~SYSFLAG_V6));
    wr_be64(&w, m->born_ms);
    host_write(&w, &m->born);
    wr_be64(&w, m->store_ms);
    host_write(&w, &m->store);
    wr_be32(&w, (uint32_t)m->reconsume_times);
    wr_be64(&w, m->prepared_offset);
    wr_be32(&w, (uint32_t)m->body.len);
    wr_bytes(&w, m->body.p, m->body.len);
    if (v2)
        wr_be16(&w, (uint16_t)m->topic.len);
    else
        wr_u8(&w, (uint8_t)m->topic.len);
    wr_bytes(&w, m->topic.p, m->topic.len);
    wr_be16(&w, (uint16_t)m->properties.len);
    wr_bytes(&w, m->properties.p, m->properties.len);
    ENSURE(!w.full);
    ENSURE(w.p == w.end);
}

static void host_read(struct rd *r, bool v6, struct sockaddr_in *host)
{
    *host = (struct sockaddr_in){0};
    const uint8_t *p = rd_take(r, v6 ? HOST_V6_BYTES : HOST_V4_BYTES);
    if (!p || v6)
        return;
    host->sin_family = AF_INET;
    memcpy(&host->sin_addr, p, 4);
    host->sin_port = htons((uint16_t)get_be32(p + 4));
}

int message_decode(const uint8_t *data, size_t len, bool check_crc, struct message *m)
{
    if (len < MESSAGE_FIXED_BYTES)
        return ERR_MALFORMED;
    m->total_size = get_be32(data);
    uint32_t magic = get_be32(data + 4);
    if (m->total_size < MESSAGE_FIXED_BYTES || m->total_size > len)
        return ERR_MALFORMED;
    if (magic != MESSAGE_MAGIC_V1 && magic != MESSAGE_MAGIC_V2)
        return ERR_MALFORMED;

    struct rd r = rd_of(data + 8, m->total_size - 8);
    m->body_crc = rd_be32(&r);
    m->queue_id = (int32_t)rd_be32(&r);
    m->flag = (int32_t)rd_be32(&r);
    m->queue_offset = rd_be64(&r);
    m->position = rd_be64(&r);
    m->sys_flag = (int32_t)rd_be32(&r);
    m->born_ms = rd_be64(&r);
    host_read(&r, m->sys_flag & SYSFLAG_BORN_V6, &m->born);
    m->store_ms = rd_be64(&r);
    host_read(&r, m->sys_flag & SYSFLAG_STORE_V6, &m->store);
    m->reconsume_times = (int32_t)rd_be32(&r);
    m->prepared_offset = rd_be64(&r);
    uint32_t body_len = rd_be32(&r);
    if (body_len > MESSAGE_BODY_MAX)
        return ERR_MALFORMED;
    m->body = rd_str(&r, body_len);
    size_t topic_len = magic == MESSAGE_MAGIC_V2 ? rd_be16(&r) : rd_u8(&r);
    if (topic_len > TOPIC_MAX)
        return ERR_MALFORMED;
    m->topic = rd_str(&r, topic_len);
    size_t properties_len = rd_be16(&r);
    if (properties_len > MESSAGE_PROPERTIES_MAX)
        return ERR_MALFORMED;
    m->properties = rd_str(&r, properties_len);
    if (r.bad || rd_left(&r) != 0)
        return ERR_MALFORMED;
    if (check_crc && (crc32_zlib(m->body.p, m->body.len) & CRC_MASK) != m->body_crc)
        return ERR_MALFORMED;
    return 0;
}

void message_patch(uint8_t *data, uint64_t queue_offset, uint64_t position)
{
    put_be64(data + MESSAGE_QUEUE_OFFSET_AT, queue_offset);
    put_be64(data + MESSAGE_POSITION_AT, position);
}

struct str message_property(struct str properties, const char *key)
{
    size_t key_len = strlen(key);
    size_t at = 0;
    while (at < properties.len) {
        const char *p = properties.p + at;
        size_t left = properties.len - at;
        const char *stop = memchr(p, 2, left);
        size_t len = stop ? (size_t)(stop - p) : left;
        /* Decoders skip entries without a value, so such an entry is as good as absent. */
        if (len > key_len + 1 && p[key_len] == 1 && memcmp(p, key, key_len) == 0)
            return (struct str){p + key_len + 1, len - key_len - 1};
        at += len + 1;
    }
    return (struct str){NULL, 0};
}

/* What a first byte of UTF-8 promises (Unicode 15, table 3-7): bytes that follow, and the range of the first
 * of them, by which over-long forms and values past U+10FFFF are told. */
struct utf8_lead {
    uint8_t from, to, follow, low, high;
};
static const struct utf8_lead utf8_leads[] = {
    {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF}, {0xE1, 0xEF, 2, 0x80, 0xBF},
    {0xF0, 0xF0, 3, 0x90, 0xBF}, {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F},
};

#define UTF8_REPLACEMENT 0xFFFDu

/* Next code point; each longest broken piece gives one U+FFFD, as Java's decoder does. p < end. */
static uint32_t utf8_next(const uint8_t **p, const uint8_t *end)
{
    uint8_t first = *(*p)++;
    if (first < 0x80)
        return first;
    const struct utf8_lead *lead = NULL;
    for (size_t i = 0; i < sizeof utf8_leads / sizeof utf8_leads[0] && !lead; i++)
        if (first >= utf8_leads[i].from && first <= utf8_leads[i].to)
            lead = &utf8_leads[i];
    if (!lead)
        return UTF8_REPLACEMENT;
    uint32_t point = first & (0x3Fu >> lead->follow);
    for (uint8_t i = 0; i < lead->follow; i++) {
        uint8_t low = i == 0 ? lead->low : 0x80;
        uint8_t high = i == 0 ? lead->high : 0xBF;
        if (*p == end || **p < low || **p > high)
            return UTF8_REPLACEMENT;
        point = point << 6 | (*(*p)++ & 0x3Fu);
    }
    return point >= 0xD800 && point <= 0xDFFF ? UTF8_REPLACEMENT : point; /* one for all three bytes */
}

int32_t message_tag_hash(struct str tag)
{
    if (tag.len == 0)
        return 0;
    const uint8_t *p = (const uint8_t *)tag.p;
    const uint8_t *end = p + tag.len;
    uint32_t hash = 0;
    while (p < end) {
        uint32_t point = utf8_next(&p, end);
        if (point >= 0x10000) {
            point -= 0x10000;
            hash = hash * 31 + (0xD800 + (point >> 10));
            point = 0xDC00 + (point & 0x3FF);
        }
        hash = hash * 31 + point;
    }
    return (int32_t)hash;
}

void message_id_format(const struct sockaddr_in *store, uint64_t position, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t raw[MESSAGE_ID_CHARS / 2];
    memcpy(raw, &store->sin_addr, 4);
    put_be32(raw + 4, ntohs(store->sin_port));
    put_be64(raw + 8, position);
    for (size_t i = 0; i < sizeof raw; i++) {
        out[2 * i] = digits[raw[i] >> 4];
        out[2 * i + 1] = digits[raw[i] & 15];
    }
    out[MESSAGE_ID_CHARS] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int message_id_parse(struct str id, struct sockaddr_in *store, uint64_t *position)
{
    uint8_t raw[MESSAGE_ID_CHARS / 2];
    if (id.len != MESSAGE_ID_CHARS)
        return ERR_MALFORMED;
    for (size_t i = 0; i < sizeof raw; i++) {
        int high = hex_value(id.p[2 * i]);
        int low = hex_value(id.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_MALFORMED;
        raw[i] = (uint8_t)(high << 4 | low);
    }
    if (get_be32(raw + 4) > PORT_MAX)
        return ERR_MALFORMED;
    *store = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)get_be32(raw + 4))};
    memcpy(&store->sin_addr, raw, 4);
    *position = get_be64(raw + 8);
    return 0;
}

int message_batch_next(struct rd *left, struct message *m)
{
    *m = (struct message){0};
    m->total_size = rd_be32(left);
    if (left->bad || m->total_size < 4 || m->total_size - 4 > rd_left(left))
        return ERR_MALFORMED;
    size_t size = m->total_size - 4;
    struct rd r = rd_of(rd_take(left, size), size);
    rd_be32(&r); /* magic and CRC: written 0 by clients, ignored by brokers */
    rd_be32(&r);
    m->flag = (int32_t)rd_be32(&r);
    uint32_t body_len = rd_be32(&r);
    if (body_len > MESSAGE_BODY_MAX)
        return ERR_MALFORMED;
    m->body = rd_str(&r, body_len);
    size_t properties_len = rd_be16(&r);
    if (properties_len > MESSAGE_PROPERTIES_MAX)
        return ERR_MALFORMED;
    m->properties = rd_str(&r, properties_len);
    return r.bad || rd_left(&r) != 0 ? ERR_MALFORMED : 0;
}
