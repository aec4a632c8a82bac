/*
 * fuzz_json.c - any text as JSON: what parses is written and must parse again to the same tree. The same text also goes
 * through the splitter of settings files.
 */
#include <stdlib.h>

#include "common/conf.h"
#include "common/json.h"

#define NODES_MAX     2000u
#define OUT_MAX_BYTES (8u * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Recursion is bounded: a document is at most 64 levels deep. */
static void write(struct jw *w, const struct json *n, uint32_t depth)
{
    ENSURE(depth <= 64);
    switch (n->type) {
    case JSON_NULL:
        jw_raw(w, STR("null"));
        break;
    case JSON_BOOL:
        jw_bool(w, n->boolean);
        break;
    case JSON_NUMBER:
        jw_raw(w, n->text);
        break;
    case JSON_STRING:
        jw_str(w, n->text);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (n->type == JSON_ARRAY)
            jw_array(w);
        else
            jw_object(w);
        for (const struct json *c = n->first; c != NULL; c = c->next) {
            ENSURE(c->parent == n);
            if (n->type == JSON_OBJECT)
                jw_key_str(w, c->key);
            write(w, c, depth + 1);
        }
        if (n->type == JSON_ARRAY)
            jw_end_array(w);
        else
            jw_end_object(w);
        break;
    }
}

static struct buf *written(const struct json_doc *doc, bool ascii)
{
    struct bld out = bld_of(OUT_MAX_BYTES);
    struct jw w = jw_of(&out);
    w.ascii = ascii;
    write(&w, json_root(doc), 0);
    ENSURE(w.depth == 0);
    return bld_take(&out);
}

static struct str str_of_buf(const struct buf *b)
{
    return (struct str){(const char *)b->data, b->len};
}

static void check_ascii(const struct buf *b)
{
    for (uint32_t i = 0; i < b->len; i++)
        ENSURE(b->data[i] >= 0x20 && b->data[i] < 0x7F);
}

static void fuzz_json(struct str text)
{
    struct json_doc *doc, *again;
    struct err err = {0};
    int rc = json_parse(text, NODES_MAX, &doc, &err);
    if (rc != 0) {
        ENSURE(doc == NULL && err.code == rc && err.text[0] != 0);
        return;
    }
    json_get_i64(json_root(doc), "version", 0);
    json_get_bool(json_root(doc), "version", false);
    struct buf *first = written(doc, false), *ascii = written(doc, true);
    ENSURE(first != NULL && ascii != NULL);
    check_ascii(ascii);
    rc = json_parse(str_of_buf(ascii), NODES_MAX + 1, &again, &err);
    /* A written "$ref" pair that was none before (its path could not be one) may be one now; all else stays. */
    ENSURE(rc == 0 || rc == ERR_TOO_LARGE);
    if (rc == 0 && memmem(first->data, first->len, "$ref", 4) == NULL) {
        struct buf *second = written(again, false);
        bool replaced = memmem(first->data, first->len, "\\ufffd", 6) != NULL;
        ENSURE(replaced || str_eq(str_of_buf(first), str_of_buf(second)));
        buf_unref(second);
    }
    json_free(again);
    buf_unref(first);
    buf_unref(ascii);
    json_free(doc);
}

static int on_property(void *arg, uint32_t line, struct str key, struct str value)
{
    size_t *left = arg;
    ENSURE(line > 0);
    ENSURE(key.len + value.len <= *left);
    *left -= key.len + value.len;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    size_t left = size;
    fuzz_json(text);
    conf_each_property(text, on_property, &left);
    return 0;
}
