/*
 * bytes.c - bounded cursors: every step checks what is left before it moves.
 */
#include "common/bytes.h"

bool str_starts(struct str s, const char *prefix)
{
    size_t len = strlen(prefix);
    return s.len >= len && (len == 0 || memcmp(s.p, prefix, len) == 0);
}

bool str_to_i64(struct str s, int64_t *out)
{
    size_t i = 0;
    bool negative = s.len > 0 && s.p[0] == '-';
    if (negative)
        i++;
    if (i == s.len)
        return false;
    /* Gathered as a negative number, because its range is the larger one. */
    int64_t v = 0;
    for (; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, (int64_t)digit, &v))
            return false;
    }
    if (!negative && v == INT64_MIN)
        return false;
    *out = negative ? v : -v;
    return true;
}

size_t i64_text(int64_t v, char dst[I64_TEXT_MAX])
{
    char digits[I64_TEXT_MAX], *p = digits + sizeof(digits);
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        *--p = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (v < 0)
        *--p = '-';
    size_t len = (size_t)(digits + sizeof(digits) - p);
    memcpy(dst, p, len);
    return len;
}

bool str_copy(struct str s, char *dst, size_t dst_size)
{
    if (dst_size == 0)
        return false;
    dst[0] = 0;
    if (s.len >= dst_size || (s.len > 0 && memchr(s.p, 0, s.len) != NULL))
        return false;
    if (s.len > 0)
        memcpy(dst, s.p, s.len);
    dst[s.len] = 0;
    return true;
}

const uint8_t *rd_take(struct rd *r, size_t len)
{
    if (r->bad || (size_t)(r->end - r->p) < len) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += len;
    return p;
}

struct str rd_str(struct rd *r, size_t len)
{
    const uint8_t *p = rd_take(r, len);
    return (struct str){(const char *)p, p != NULL ? len : 0};
}

uint8_t rd_u8(struct rd *r)
{
    const uint8_t *p = rd_take(r, 1);
    return p != NULL ? *p : 0;
}

uint16_t rd_be16(struct rd *r)
{
    return __builtin_bswap16(rd_le16(r));
}

uint32_t rd_be32(struct rd *r)
{
    return __builtin_bswap32(rd_le32(r));
}

uint64_t rd_be64(struct rd *r)
{
    return __builtin_bswap64(rd_le64(r));
}

/* Plain loads are little-endian: bytes.h insists on such a machine. */
uint16_t rd_le16(struct rd *r)
{
    const uint8_t *p = rd_take(r, 2);
    uint16_t v = 0;
    if (p != NULL)
        memcpy(&v, p, 2);
    return v;
}

uint32_t rd_le32(struct rd *r)
{
    const uint8_t *p = rd_take(r, 4);
    return p != NULL ? get_le32(p) : 0;
}

uint64_t rd_le64(struct rd *r)
{
    const uint8_t *p = rd_take(r, 8);
    return p != NULL ? get_le64(p) : 0;
}

void wr_bytes(struct wr *w, const void *data, size_t len)
{
    if (w->full || (size_t)(w->end - w->p) < len) {
        w->full = true;
        return;
    }
    if (len > 0)
        memcpy(w->p, data, len);
    w->p += len;
}

void wr_u8(struct wr *w, uint8_t v)
{
    wr_bytes(w, &v, 1);
}

void wr_be16(struct wr *w, uint16_t v)
{
    wr_le16(w, __builtin_bswap16(v));
}

void wr_be32(struct wr *w, uint32_t v)
{
    wr_le32(w, __builtin_bswap32(v));
}

void wr_be64(struct wr *w, uint64_t v)
{
    wr_le64(w, __builtin_bswap64(v));
}

void wr_le16(struct wr *w, uint16_t v)
{
    wr_bytes(w, &v, 2);
}

void wr_le32(struct wr *w, uint32_t v)
{
    wr_bytes(w, &v, 4);
}

void wr_le64(struct wr *w, uint64_t v)
{
    wr_bytes(w, &v, 8);
}
