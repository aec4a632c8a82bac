/*
 * bytes.h - views on bytes and bounded cursors: the only way this program reads lengths from outside.
 *
 * A reader that runs past its end turns `bad` and from then on returns zeros; check `bad` once, after a group
 * of reads. A writer that runs past its end turns `full` and writes nothing more; `p - start` is then
 * meaningless. Big-endian (be) is RocketMQ's order on the wire and in stored messages, little-endian (le) is
 * ours in files.
 */
#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A lent view on text or bytes, not NUL-terminated. p may be NULL when len is 0. */
struct str {
    const char *p;
    size_t len;
};
#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
static inline struct str str_of(const char *cstr)
{
    return (struct str){cstr, cstr ? strlen(cstr) : 0};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}
static inline bool str_is(struct str a, const char *cstr)
{
    return str_eq(a, str_of(cstr));
}
bool str_starts(struct str s, const char *prefix);
/* Whole text as a decimal number; false (and *out untouched) on anything else, including overflow and
 * blanks. */
bool str_to_i64(struct str s, int64_t *out);
/* The other way: decimal text of `v` into `dst` without NUL; returns its length. */
#define I64_TEXT_MAX 20
size_t i64_text(int64_t v, char dst[I64_TEXT_MAX]);
/* Copy into a char array with NUL; returns false (and writes "") when it does not fit or holds a NUL. */
bool str_copy(struct str s, char *dst, size_t dst_size);

struct rd {
    const uint8_t *p, *end;
    bool bad;
};
/* data may be NULL when len is 0. */
static inline struct rd rd_of(const void *data, size_t len)
{
    const uint8_t *p = data;
    return (struct rd){p, len > 0 ? p + len : p, false};
}
static inline size_t rd_left(const struct rd *r)
{
    return r->bad ? 0 : (size_t)(r->end - r->p);
}
/* Take `len` bytes: pointer into the input, or NULL (and bad) when there are fewer. */
const uint8_t *rd_take(struct rd *r, size_t len);
struct str rd_str(struct rd *r, size_t len);
uint8_t rd_u8(struct rd *r);
uint16_t rd_be16(struct rd *r);
uint32_t rd_be32(struct rd *r);
uint64_t rd_be64(struct rd *r);
uint16_t rd_le16(struct rd *r);
uint32_t rd_le32(struct rd *r);
uint64_t rd_le64(struct rd *r);

struct wr {
    uint8_t *p, *end;
    bool full;
};
static inline struct wr wr_of(void *data, size_t size)
{
    return (struct wr){data, (uint8_t *)data + size, false};
}
void wr_bytes(struct wr *w, const void *data, size_t len);
void wr_u8(struct wr *w, uint8_t v);
void wr_be16(struct wr *w, uint16_t v);
void wr_be32(struct wr *w, uint32_t v);
void wr_be64(struct wr *w, uint64_t v);
void wr_le16(struct wr *w, uint16_t v);
void wr_le32(struct wr *w, uint32_t v);
void wr_le64(struct wr *w, uint64_t v);

/* Unchecked loads and stores for fixed offsets inside memory already known to be large enough. */
static inline uint32_t get_be32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline uint64_t get_be64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}
static inline void put_be32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void put_be64(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline uint32_t get_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t get_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void put_le32(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void put_le64(void *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian machines only");

#endif
