/*
 * json.h - JSON bodies as RocketMQ's fastjson writes and reads them (reference 4.1): a tolerant parser and a
 * plain writer.
 *
 * Accepted beyond the standard: unquoted integer (and identifier) keys, objects as keys
 * ({{"topic":"T"}:{...}}; the key is then its source text), numbers and booleans given as strings,
 * {"$ref":"$.path"} for a repeated object ("$", ".name", "[i]", "..", "@"). Depth is limited to 64, nodes and
 * bytes by the caller. A library is not used because no well-kept one reads this dialect.
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/buf.h"
#include "common/err.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    bool boolean;
    struct str text; /* STRING: unescaped; NUMBER: source text. In the document's arena */
    struct str key;  /* name inside the parent object; for an object key its source text (parse it again with
                        json_parse) */
    struct json *first, *next; /* children of ARRAY and OBJECT in order */
    struct json *parent;
};
struct json_doc; /* owns all nodes and texts */

/* Parse the whole text. nodes_max bounds memory (e.g. 200000). On failure *out is NULL and err says what and
 * at which byte. Free with json_free.
 * A reference is replaced by a copy (it counts for nodes_max and depth). One that leads nowhere is null; in
 * the copy of something that encloses the reference, the reference itself is null. The last of two members
 * with one name holds. */
int json_parse(struct str text, uint32_t nodes_max, struct json_doc **out, struct err *err) MUSTCHECK;
const struct json *json_root(const struct json_doc *doc);
void json_free(struct json_doc *doc); /* NULL is allowed */

/* Lookups are total: NULL node in, default out. */
const struct json *json_get(const struct json *object, const char *key);
struct str json_str(const struct json *node); /* STRING or NUMBER text, else {NULL,0} */
/* NUMBER or numeric STRING (fractions cut), BOOL 0/1. */
int64_t json_i64(const struct json *node, int64_t def);
/* BOOL, or STRING "true"/"false". */
bool json_bool(const struct json *node, bool def);
struct str json_get_str(const struct json *object, const char *key);
int64_t json_get_i64(const struct json *object, const char *key, int64_t def);
bool json_get_bool(const struct json *object, const char *key, bool def);
uint32_t json_count(const struct json *node);

/* Writer: appends to a builder, puts commas itself. Depth at most 64 (ENSUREd). */
struct jw {
    struct bld *out;
    uint8_t comma[64];
    uint32_t depth;
    bool ascii; /* non-ASCII as \uXXXX ("standard JSON" form of code 105) */
};
struct jw jw_of(struct bld *out);
void jw_object(struct jw *w); /* { */
void jw_array(struct jw *w);  /* [ */
void jw_end_object(struct jw *w);
void jw_end_array(struct jw *w);
void jw_key(struct jw *w, const char *key);
void jw_key_str(struct jw *w, struct str key);
void jw_key_int(struct jw *w, int64_t key, bool quoted); /* Java writes integer keys unquoted: {0:"a"} */
void jw_key_object(struct jw *w); /* begins an object that is itself a key: write its members,
                                     jw_end_key_object, then the value */
void jw_end_key_object(struct jw *w);
void jw_str(struct jw *w, struct str s);
void jw_cstr(struct jw *w, const char *s);
void jw_i64(struct jw *w, int64_t v);
void jw_bool(struct jw *w, bool v);
void jw_double(struct jw *w, double v);
void jw_raw(struct jw *w, struct str json); /* already encoded value */

/* A parsed node and all below it (at most 64 deep, as the parser guarantees); keys that were objects become
 * strings. */
void jw_node(struct jw *w, const struct json *node);

#endif
