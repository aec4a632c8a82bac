/*
 * jsonstr.h - the lexical atoms of JSON text, shared by the body parser (json.c) and the header scanner
 * (remoting.c).
 *
 * Text is UTF-8 and is not checked on the way in; on the way out bytes that are not UTF-8 become U+FFFD, so
 * that what we write can always be read by a strict parser.
 */
#ifndef COMMON_JSONSTR_H
#define COMMON_JSONSTR_H

#include "common/buf.h"

/* `p` stands behind an opening quote: find the closing one, NULL when there is none before `end`. *escaped is
 * set when a backslash was seen and left alone otherwise. */
const char *jsonstr_end(const char *p, const char *end, bool *escaped);
/* Resolve the escapes of [p, end) to dst; returns the end of the result, or NULL on a wrong escape. The
 * result is never longer than the source and dst may be p itself. Half surrogate pairs become U+FFFD. */
char *jsonstr_unescape(const char *p, const char *end, char *dst);
/* Bytes of the JSON number that starts at p; 0 when there is none. */
size_t jsonstr_number(const char *p, const char *end);
/* First byte from p that is not JSON white space. */
static inline const char *jsonstr_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}
/* Append `s` with quotes and escapes. ascii: everything beyond ASCII as \uXXXX. */
void jsonstr_quote(struct bld *out, struct str s, bool ascii);

#endif
