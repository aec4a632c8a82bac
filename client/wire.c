/* wire.c - see wire.h. */
#include "client/wire.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/codes.h"
#include "common/crc.h"

#define MAGIC_V1       0xDAA320A7u
#define MAGIC_V2       0xDAA320ABu
#define SYS_BORN_IPV6  0x10
#define SYS_STORE_IPV6 0x20

static void put_hex(char *out, uint64_t v, uint32_t digits)
{
    for (uint32_t i = digits; i-- > 0; v >>= 4)
        out[i] = "0123456789ABCDEF"[v & 15];
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

/* ---- ids ---- */

/* First address that is not the loopback's, or 127.0.0.1. Host order. */
static uint32_t own_address(void)
{
    struct ifaddrs *all, *a;
    uint32_t ip = INADDR_LOOPBACK;

    if (getifaddrs(&all) != 0)
        return ip;
    for (a = all; a != NULL; a = a->ifa_next) {
        if (a->ifa_addr == NULL || a->ifa_addr->sa_family != AF_INET || (a->ifa_flags & IFF_LOOPBACK))
            continue;
        ip = ntohl(((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr.s_addr);
        break;
    }
    freeifaddrs(all);
    return ip;
}

static uint64_t month_start_ms(uint64_t wall_ms, int months_later)
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;

    localtime_r(&t, &tm);
    tm.tm_mon += months_later;
    tm.tm_mday = 1;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    return (uint64_t)mktime(&tm) * 1000;
}

void uniq_init(struct uniq *u, uint64_t seed)
{
    put_hex(u->head, own_address(), 8);
    put_hex(u->head + 8, (uint64_t)getpid(), 4);
    put_hex(u->head + 12, seed * 0x9E3779B97F4A7C15u >> 32, 8);
    u->month_ms = u->next_month_ms = 0;
    u->counter = 0;
}

void uniq_make(struct uniq *u, uint64_t wall_ms, char *out)
{
    if (wall_ms < u->month_ms || wall_ms >= u->next_month_ms) {
        u->month_ms = month_start_ms(wall_ms, 0);
        u->next_month_ms = month_start_ms(wall_ms, 1);
    }
    memcpy(out, u->head, sizeof(u->head));
    put_hex(out + 20, wall_ms - u->month_ms, 8);
    put_hex(out + 28, u->counter++ & 0xffff, 4);
}

int offset_id_parse(struct str text, char *address, size_t address_size, uint64_t *offset)
{
    uint8_t bytes[OFFSET_ID_CHARS / 2];
    struct rd r;
    uint32_t port;

    if (text.len != OFFSET_ID_CHARS)
        return ERR_INVALID;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        int high = hex_value(text.p[2 * i]), low = hex_value(text.p[2 * i + 1]);

        if (high < 0 || low < 0)
            return ERR_INVALID;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    r = rd_of(bytes + 4, sizeof(bytes) - 4);
    port = rd_be32(&r);
    *offset = rd_be64(&r);
    if (port == 0 || port > UINT16_MAX || *offset > INT64_MAX)
        return ERR_INVALID;
    snprintf(address, address_size, "%u.%u.%u.%u:%u", bytes[0], bytes[1], bytes[2], bytes[3], port);
    return ERR_OK;
}

void offset_id_format(const uint8_t ip[4], uint32_t port, uint64_t offset, char out[OFFSET_ID_CHARS + 1])
{
    put_hex(out, get_be32(ip), 8);
    put_hex(out + 8, port, 8);
    put_hex(out + 16, offset, 16);
    out[OFFSET_ID_CHARS] = '\0';
}

/* ---- properties ---- */

static bool has_separator(struct str s)
{
    return memchr(s.p, 1, s.len) != NULL || memchr(s.p, 2, s.len) != NULL;
}

int props_put(struct wr *w, struct str key, struct str value)
{
    if (key.len == 0 || value.len == 0 || has_separator(key) || has_separator(value))
        return ERR_INVALID;
    wr_bytes(w, key.p, key.len);
    wr_u8(w, 1);
    wr_bytes(w, value.p, value.len);
    wr_u8(w, 2);
    return w->full ? ERR_TOO_LARGE : ERR_OK;
}

bool props_next(struct str *left, struct str *key, struct str *value)
{
    while (left->len > 0) {
        const char *end = memchr(left->p, 2, left->len);
        size_t len = end != NULL ? (size_t)(end - left->p) : left->len;
        const char *middle = memchr(left->p, 1, len);

        if (middle != NULL) {
            *key = (struct str){left->p, (size_t)(middle - left->p)};
            *value = (struct str){middle + 1, len - key->len - 1};
        }
        len += end != NULL;
        left->p += len;
        left->len -= len;
        if (middle != NULL && key->len > 0 && value->len > 0)
            return true;
    }
    return false;
}

struct str props_get(struct str properties, const char *name)
{
    struct str key, value;

    while (props_next(&properties, &key, &value))
        if (str_is(key, name))
            return value;
    return (struct str){NULL, 0};
}

/* ---- requests ---- */

int wire_request(struct remoting_out *out, const void *body, size_t body_len, struct buf **frame)
{
    return remoting_encode(out, body, body_len, frame);
}

/* Field names are those of SendMessageRequestHeaderV2. */
int wire_send(const struct send_fields *f, const void *body, size_t body_len, struct buf **frame)
{
    struct remoting_out out;

    remoting_request(&out, REMOTING_BINARY, f->batch ? SEND_BATCH_MESSAGE : SEND_MESSAGE_V2, 0, f->oneway);
    remoting_put_str(&out, "a", f->group);
    remoting_put_str(&out, "b", f->topic);
    remoting_put_str(&out, "c", STR(DEFAULT_TOPIC));
    remoting_put_i64(&out, "d", DEFAULT_TOPIC_QUEUES);
    remoting_put_i64(&out, "e", f->queue_id);
    remoting_put_i64(&out, "f", f->sys_flag);
    remoting_put_i64(&out, "g", (int64_t)f->born_ms);
    remoting_put_i64(&out, "h", f->flag);
    remoting_put_str(&out, "i", f->properties);
    remoting_put_i64(&out, "j", f->reconsume_times);
    remoting_put_bool(&out, "k", false);
    remoting_put_bool(&out, "m", f->batch);
    return remoting_encode(&out, body, body_len, frame);
}

void batch_put(struct bld *body, int32_t flag, struct str properties, struct str message_body)
{
    size_t size = 4 + 4 + 4 + 4 + 4 + message_body.len + 2 + properties.len;
    uint8_t *room = bld_room(body, size);
    struct wr w;

    if (room == NULL)
        return;
    w = wr_of(room, size);
    wr_be32(&w, (uint32_t)size);
    wr_be32(&w, 0);
    wr_be32(&w, 0);
    wr_be32(&w, (uint32_t)flag);
    wr_be32(&w, (uint32_t)message_body.len);
    wr_bytes(&w, message_body.p, message_body.len);
    wr_be16(&w, (uint16_t)properties.len);
    wr_bytes(&w, properties.p, properties.len);
}

/* ---- stored messages ---- */

static void read_host(struct rd *r, bool ipv6, const uint8_t **ip, uint32_t *len, uint32_t *port)
{
    *len = ipv6 ? 16 : 4;
    *ip = rd_take(r, *len);
    *port = rd_be32(r);
}

int stored_next(struct rd *left, struct stored *m, struct err *err)
{
    uint32_t size, magic;
    struct rd r;

    size = rd_left(left) >= 4 ? get_be32(left->p) : 0;
    if (size < 8 || size > rd_left(left))
        return err_set(err, ERR_MALFORMED, "message of %u bytes where %zu are left", size, rd_left(left));
    r = rd_of(rd_take(left, size), size);
    m->size = rd_be32(&r);
    magic = rd_be32(&r);
    if (magic != MAGIC_V1 && magic != MAGIC_V2)
        return err_set(err, ERR_MALFORMED, "message with unknown magic 0x%08x", magic);
    m->body_crc = rd_be32(&r);
    m->queue_id = (int32_t)rd_be32(&r);
    m->flag = (int32_t)rd_be32(&r);
    m->queue_offset = (int64_t)rd_be64(&r);
    m->physical_offset = (int64_t)rd_be64(&r);
    m->sys_flag = (int32_t)rd_be32(&r);
    m->born_ms = (int64_t)rd_be64(&r);
    read_host(&r, m->sys_flag & SYS_BORN_IPV6, &m->born_ip, &m->born_ip_len, &m->born_port);
    m->store_ms = (int64_t)rd_be64(&r);
    read_host(&r, m->sys_flag & SYS_STORE_IPV6, &m->store_ip, &m->store_ip_len, &m->store_port);
    m->reconsume_times = (int32_t)rd_be32(&r);
    m->prepared_offset = (int64_t)rd_be64(&r);
    m->body = rd_str(&r, rd_be32(&r));
    m->topic = rd_str(&r, magic == MAGIC_V2 ? rd_be16(&r) : rd_u8(&r));
    m->properties = rd_str(&r, rd_be16(&r));
    if (r.bad || rd_left(&r) > 0)
        return err_set(err, ERR_MALFORMED, "message of %u bytes whose parts do not fit it", size);
    if (m->queue_offset < 0 || m->queue_offset == INT64_MAX)
        return err_set(err, ERR_MALFORMED, "message at offset %lld of its queue", (long long)m->queue_offset);
    if (m->body_crc != 0 && (crc32_zlib(m->body.p, m->body.len) & 0x7FFFFFFF) != m->body_crc)
        return err_set(err, ERR_DAMAGED, "body of queue %d offset %lld does not fit its CRC", m->queue_id,
                       (long long)m->queue_offset);
    return ERR_OK;
}

/* One code point of UTF-8, or U+FFFD and one byte. */
static uint32_t next_code_point(const char **p, const char *end)
{
    const uint8_t *s = (const uint8_t *)*p;
    uint32_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
    uint32_t v = len <= 1 ? s[0] : s[0] & (0xffu >> (len + 1));

    if (len == 0 || len > (size_t)(end - *p)) {
        *p += 1;
        return 0xFFFD;
    }
    for (uint32_t i = 1; i < len; i++)
        v = v << 6 | (s[i] & 0x3f);
    *p += len;
    return v;
}

int32_t java_hash(struct str s)
{
    const char *p = s.p, *end = s.p + s.len;
    uint32_t h = 0;

    while (p < end) {
        uint32_t c = next_code_point(&p, end);

        if (c >= 0x10000) { /* two UTF-16 units */
            h = 31 * h + (0xD800 + ((c - 0x10000) >> 10));
            c = 0xDC00 + ((c - 0x10000) & 0x3FF);
        }
        h = 31 * h + c;
    }
    return (int32_t)h;
}
