/*
 * jsonstr.c - finding, unescaping and quoting JSON strings.
 */
#include "common/jsonstr.h"

#define REPLACEMENT 0xFFFDu /* stands for what is not a character */

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* High bits at the bytes of `word` that equal `byte`. Bits above the lowest one may be wrong: only that one
 * is looked at. */
static uint64_t word_has(uint64_t word, uint8_t byte)
{
    uint64_t x = word ^ (ONES * byte);
    return (x - ONES) & ~x & HIGHS;
}

/* The same for bytes that cannot stand in every string as they are: control, quote, backslash, DEL and
 * beyond. */
static uint64_t word_special(uint64_t word)
{
    uint64_t control = (word - ONES * 0x20) & ~word & HIGHS;
    return control | (word & HIGHS) | word_has(word, '"') | word_has(word, '\\') | word_has(word, 0x7F);
}

static bool is_special(unsigned char c)
{
    return c < 0x20 || c >= 0x7F || c == '"' || c == '\\';
}

const char *jsonstr_end(const char *p, const char *end, bool *escaped)
{
    for (;;) {
        uint64_t found = 0;
        for (; end - p >= 8 && found == 0; p += found != 0 ? __builtin_ctzll(found) / 8 : 8) {
            uint64_t word = get_le64(p);
            found = word_has(word, '"') | word_has(word, '\\');
        }
        while (p < end && *p != '"' && *p != '\\')
            p++;
        if (p >= end)
            return NULL;
        if (*p == '"')
            return p;
        *escaped = true;
        if (end - p < 2)
            return NULL;
        p += 2;
    }
}

/* First special byte from p, or end. */
static const unsigned char *plain_end(const unsigned char *p, const unsigned char *end)
{
    while (end - p >= 8) {
        uint64_t found = word_special(get_le64(p));
        if (found != 0)
            return p + __builtin_ctzll(found) / 8;
        p += 8;
    }
    while (p < end && !is_special(*p))
        p++;
    return p;
}

static char *put_utf8(char *dst, uint32_t c)
{
    if (c < 0x80) {
        *dst++ = (char)c;
    } else if (c < 0x800) {
        *dst++ = (char)(0xC0 | c >> 6);
        *dst++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *dst++ = (char)(0xE0 | c >> 12);
        *dst++ = (char)(0x80 | (c >> 6 & 0x3F));
        *dst++ = (char)(0x80 | (c & 0x3F));
    } else {
        *dst++ = (char)(0xF0 | c >> 18);
        *dst++ = (char)(0x80 | (c >> 12 & 0x3F));
        *dst++ = (char)(0x80 | (c >> 6 & 0x3F));
        *dst++ = (char)(0x80 | (c & 0x3F));
    }
    return dst;
}

/* Four hexadecimal digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        unsigned lower = c | 0x20u;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (int32_t)(lower - 'a') + 10;
        else
            return -1;
    }
    return v;
}

/* p stands behind "\u". Returns the character and moves p, or -1. */
static int32_t unicode_escape(const char **p, const char *end)
{
    int32_t c = hex4(*p, end);
    if (c < 0)
        return -1;
    *p += 4;
    if (c < 0xD800 || c > 0xDFFF)
        return c;
    if (c > 0xDBFF || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return REPLACEMENT;
    int32_t low = hex4(*p + 2, end);
    if (low < 0xDC00 || low > 0xDFFF)
        return REPLACEMENT;
    *p += 6;
    return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

static char simple_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
    case '\'':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

char *jsonstr_unescape(const char *p, const char *end, char *dst)
{
    while (p < end) {
        if (*p != '\\') {
            *dst++ = *p++;
            continue;
        }
        if (end - p < 2)
            return NULL;
        char c = p[1];
        p += 2;
        if (c == 'u') {
            int32_t u = unicode_escape(&p, end);
            if (u < 0)
                return NULL;
            dst = put_utf8(dst, (uint32_t)u);
        } else {
            char plain = simple_escape(c);
            if (plain == 0)
                return NULL;
            *dst++ = plain;
        }
    }
    return dst;
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

size_t jsonstr_number(const char *start, const char *end)
{
    const char *p = start;
    if (p < end && *p == '-')
        p++;
    const char *from = p;
    p = digits(p, end);
    if (p == from || (*from == '0' && p - from > 1))
        return 0;
    if (p < end && *p == '.') {
        from = ++p;
        p = digits(p, end);
        if (p == from)
            return 0;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        from = p;
        p = digits(p, end);
        if (p == from)
            return 0;
    }
    return (size_t)(p - start);
}

/* Length of the UTF-8 sequence at p and its character; 0 when it is not one (also overlong forms, surrogates,
 * beyond U+10FFFF). */
static size_t utf8_at(const unsigned char *p, size_t left, uint32_t *c)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t min;
    } forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    for (size_t more = 0; more < 4; more++) {
        if ((p[0] & forms[more].mask) != forms[more].lead)
            continue;
        if (left <= more)
            return 0;
        uint32_t v = p[0] & (unsigned char)~forms[more].mask;
        for (size_t i = 1; i <= more; i++) {
            if ((p[i] & 0xC0) != 0x80)
                return 0;
            v = v << 6 | (p[i] & 0x3Fu);
        }
        if (v < forms[more].min || v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
            return 0;
        *c = v;
        return more + 1;
    }
    return 0;
}

static void put_u(struct bld *out, uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', hex[unit >> 12], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    bld_bytes(out, text, sizeof(text));
}

/* Append the character at p as it has to be written; returns the bytes used up. */
static size_t quote_one(struct bld *out, const unsigned char *p, size_t left, bool ascii)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = p[0] != 0 ? strchr(from, p[0]) : NULL;
    if (at != NULL) {
        char text[2] = {'\\', to[at - from]};
        bld_bytes(out, text, 2);
        return 1;
    }
    if (p[0] < 0x80) {
        put_u(out, p[0]);
        return 1;
    }
    uint32_t c = REPLACEMENT;
    size_t len = utf8_at(p, left, &c);
    if (!ascii && len > 0) {
        bld_bytes(out, p, len);
    } else if (c >= 0x10000) {
        put_u(out, 0xD800 + ((c - 0x10000) >> 10));
        put_u(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
        put_u(out, c);
    }
    return len > 0 ? len : 1;
}

/* Most strings need no escape: one append. */
static void quote_plain(struct bld *out, struct str s)
{
    uint8_t *room = bld_room(out, s.len + 2);
    if (room == NULL)
        return;
    room[0] = '"';
    if (s.len > 0)
        memcpy(room + 1, s.p, s.len);
    room[s.len + 1] = '"';
}

void jsonstr_quote(struct bld *out, struct str s, bool ascii)
{
    const unsigned char *run = (const unsigned char *)s.p, *end = s.len > 0 ? run + s.len : run;
    const unsigned char *p = plain_end(run, end);
    if (p == end) {
        quote_plain(out, s);
        return;
    }
    bld_bytes(out, "\"", 1);
    while (p < end) {
        bld_bytes(out, run, (size_t)(p - run));
        p += quote_one(out, p, (size_t)(end - p), ascii);
        run = p;
        p = plain_end(p, end);
    }
    bld_bytes(out, run, (size_t)(p - run));
    bld_bytes(out, "\"", 1);
}
