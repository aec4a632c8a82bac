/*
 * jsonwrite.c - the writer of json.h.
 *
 * One byte per level says what stands before the next thing on it: nothing, a value (a comma is due), or a
 * key (its value is due).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/jsonstr.h"

enum before { BEFORE_NOTHING, BEFORE_VALUE, BEFORE_KEY };

struct jw jw_of(struct bld *out)
{
    return (struct jw){.out = out};
}

/* Called before anything that takes a place in its container. The outermost value stands alone. */
static void place(struct jw *w, enum before next)
{
    if (w->depth == 0)
        return;
    uint8_t *before = &w->comma[w->depth - 1];
    if (*before == BEFORE_VALUE)
        bld_bytes(w->out, ",", 1);
    *before = (uint8_t)next;
}

static void begin(struct jw *w, const char *bracket, enum before next)
{
    place(w, next);
    bld_bytes(w->out, bracket, 1);
    ENSURE(w->depth < sizeof(w->comma));
    w->comma[w->depth++] = BEFORE_NOTHING;
}

static void finish(struct jw *w, const char *bracket)
{
    ENSURE(w->depth > 0);
    w->depth--;
    bld_bytes(w->out, bracket, 1);
}

void jw_object(struct jw *w)
{
    begin(w, "{", BEFORE_VALUE);
}

void jw_array(struct jw *w)
{
    begin(w, "[", BEFORE_VALUE);
}

void jw_end_object(struct jw *w)
{
    finish(w, "}");
}

void jw_end_array(struct jw *w)
{
    finish(w, "]");
}

void jw_key(struct jw *w, const char *key)
{
    jw_key_str(w, str_of(key));
}

void jw_key_str(struct jw *w, struct str key)
{
    place(w, BEFORE_KEY);
    jsonstr_quote(w->out, key, w->ascii);
    bld_bytes(w->out, ":", 1);
}

void jw_key_int(struct jw *w, int64_t key, bool quoted)
{
    place(w, BEFORE_KEY);
    bld_fmt(w->out, quoted ? "\"%lld\":" : "%lld:", (long long)key);
}

void jw_key_object(struct jw *w)
{
    begin(w, "{", BEFORE_KEY);
}

void jw_end_key_object(struct jw *w)
{
    finish(w, "}");
    bld_bytes(w->out, ":", 1);
}

void jw_str(struct jw *w, struct str s)
{
    place(w, BEFORE_VALUE);
    jsonstr_quote(w->out, s, w->ascii);
}

void jw_cstr(struct jw *w, const char *s)
{
    jw_str(w, str_of(s));
}

void jw_i64(struct jw *w, int64_t v)
{
    char digits[I64_TEXT_MAX];
    place(w, BEFORE_VALUE);
    bld_bytes(w->out, digits, i64_text(v, digits));
}

void jw_bool(struct jw *w, bool v)
{
    place(w, BEFORE_VALUE);
    bld_str(w->out, v ? STR("true") : STR("false"));
}

void jw_double(struct jw *w, double v)
{
    place(w, BEFORE_VALUE);
    if (!isfinite(v)) { /* JSON has no word for it */
        bld_str(w->out, STR("null"));
        return;
    }
    char text[40];
    snprintf(text, sizeof(text), "%.15g", v);
    if (strtod(text, NULL) != v)
        snprintf(text, sizeof(text), "%.17g", v);
    /* Java writes 1.0, and readers that tell integers from fractions go by it. */
    bool plain = strpbrk(text, ".e") == NULL;
    bld_fmt(w->out, "%s%s", text, plain ? ".0" : "");
}

void jw_raw(struct jw *w, struct str json)
{
    place(w, BEFORE_VALUE);
    bld_str(w->out, json);
}

void jw_node(struct jw *w, const struct json *node)
{
    switch (node->type) {
    case JSON_OBJECT:
        jw_object(w);
        for (const struct json *n = node->first; n != NULL; n = n->next) {
            jw_key_str(w, n->key);
            jw_node(w, n);
        }
        jw_end_object(w);
        break;
    case JSON_ARRAY:
        jw_array(w);
        for (const struct json *n = node->first; n != NULL; n = n->next)
            jw_node(w, n);
        jw_end_array(w);
        break;
    case JSON_STRING:
        jw_str(w, node->text);
        break;
    case JSON_NUMBER:
        jw_raw(w, node->text);
        break;
    case JSON_BOOL:
        jw_bool(w, node->boolean);
        break;
    case JSON_NULL:
        jw_raw(w, STR("null"));
        break;
    }
}
