/*
 * confprops.c - Java properties text -> key and value, as java.util.Properties.load reads it.
 *
 * Logical lines: a line that ends in an odd number of backslashes goes on in the next one, whose leading
 * blanks are dropped. The key ends at the first '=', ':' or blank that no backslash protects. Escapes: \t \n
 * \r \f \uXXXX, any other character stands for itself. Unlike Java we drop blanks behind the value: no
 * setting ends in one, and people leave them by accident.
 */
#include <stdlib.h>

#include "common/conf.h"
#include "common/jsonstr.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f' || c == '\r';
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p;
}

static const char *line_end(const char *p, const char *end)
{
    const char *nl = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    return nl != NULL ? nl : end;
}

/* Does [p, end) end in an odd number of backslashes? */
static bool goes_on(const char *p, const char *end)
{
    size_t count = 0;
    while (end > p && end[-1] == '\\') {
        end--;
        count++;
    }
    return count % 2 == 1;
}

/* Join the logical line that starts at *p in `line`, without the joining backslashes; moves *p and *number to
 * the next line. */
static size_t join_lines(const char **p, const char *end, uint32_t *number, char *line)
{
    size_t len = 0;
    for (;;) {
        const char *from = skip_blanks(*p, end), *nl = line_end(*p, end), *to = nl;
        if (to > from && to[-1] == '\r')
            to--;
        *p = nl < end ? nl + 1 : end;
        (*number)++;
        bool comment = len == 0 && from < to && (*from == '#' || *from == '!');
        bool more = !comment && goes_on(from, to);
        memcpy(line + len, from, (size_t)(to - from));
        len += (size_t)(to - from) - (more ? 1 : 0);
        if (comment)
            return 0;
        if (!more || *p == end)
            return len;
    }
}

/* Resolve escapes in place; a wrong \u stands for itself. */
static size_t unescape(char *text, size_t len)
{
    const char *p = text, *end = text + len;
    char *dst = text;
    while (p < end) {
        if (*p != '\\' || p + 1 == end) {
            *dst++ = *p++;
            continue;
        }
        static const char from[] = "tnrf", to[] = "\t\n\r\f";
        const char *at = p[1] != 0 ? strchr(from, p[1]) : NULL;
        char *unicode = p[1] == 'u' && end - p >= 6 ? jsonstr_unescape(p, p + 6, dst) : NULL;
        if (unicode != NULL) {
            dst = unicode;
            p += 6;
            continue;
        }
        *dst++ = at != NULL ? to[at - from] : p[1];
        p += 2;
    }
    return (size_t)(dst - text);
}

static int each_line(char *line, size_t len, uint32_t number,
                     int (*fn)(void *arg, uint32_t line, struct str key, struct str value), void *arg)
{
    const char *end = line + len;
    char *key_end = line;
    while (key_end < end && *key_end != '=' && *key_end != ':' && !is_blank(*key_end))
        key_end += *key_end == '\\' && key_end + 1 < end ? 2 : 1;
    const char *p = skip_blanks(key_end, end);
    if (p < end && (*p == '=' || *p == ':'))
        p = skip_blanks(p + 1, end);
    while (end > p && is_blank(end[-1]))
        end--;
    char *value = line + (p - line);
    struct str v = {value, unescape(value, (size_t)(end - p))};
    struct str k = {line, unescape(line, (size_t)(key_end - line))};
    return fn(arg, number, k, v);
}

int conf_each_property(struct str text, int (*fn)(void *arg, uint32_t line, struct str key, struct str value),
                       void *arg)
{
    if (text.len == 0)
        return 0;
    char *line = malloc(text.len);
    if (line == NULL)
        fatal("out of memory for %zu bytes of settings", text.len);
    const char *p = text.p, *end = p + text.len;
    uint32_t number = 0;
    int rc = 0;
    while (p < end && rc == 0) {
        uint32_t first = number + 1;
        size_t len = join_lines(&p, end, &number, line);
        if (len > 0)
            rc = each_line(line, len, first, fn, arg);
    }
    free(line);
    return rc;
}
