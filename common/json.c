/*
 * json.c - parser and writer of RocketMQ's JSON bodies.
 *
 * A document is one copy of the text, unescaped in place, and nodes in chunks that are never moved.
 * References ({"$ref":path}) are resolved after parsing by copying what they point to, so the result is a
 * tree of at most JSON_DEPTH_MAX levels and nodes_max nodes: neither circles nor references to references can
 * make it larger. A reference to something that encloses it gets a copy in which it is itself null, one that
 * points nowhere is null, as fastjson has it.
 */
#include "common/json.h"

#include <stdlib.h>

#include "common/jsonstr.h"

#define JSON_DEPTH_MAX     64u
#define CHUNK_NODES        64u
#define REF_CHAIN_MAX      64u /* references that must be resolved to resolve one */
#define REF_STEPS_PER_NODE 8   /* nodes passed while following paths: this times nodes_max */

enum ref_state { REF_NONE, REF_WAITING, REF_ACTIVE };

struct node {
    struct json json; /* first: a struct json of a document is a struct node */
    enum ref_state ref;
};

struct chunk {
    struct chunk *next;
    uint32_t used;
    struct node nodes[CHUNK_NODES];
};

struct json_doc {
    char *text;
    struct chunk *first, *last;
    struct json *root;
    uint32_t nodes, nodes_max;
};

struct parser {
    struct json_doc *doc;
    const char *start, *end;
    char *p;
    uint32_t depth;
    uint64_t ref_steps_left;
    struct err *err;
};

static int bad(struct parser *ps, const char *what)
{
    return err_set(ps->err, ERR_MALFORMED, "JSON, byte %zu: %s", (size_t)(ps->p - ps->start), what);
}

static struct json *new_node(struct parser *ps)
{
    struct json_doc *doc = ps->doc;
    if (doc->nodes == doc->nodes_max) {
        err_set(ps->err, ERR_TOO_LARGE, "JSON: more than %u values", doc->nodes_max);
        return NULL;
    }
    if (doc->last == NULL || doc->last->used == CHUNK_NODES) {
        struct chunk *c = malloc(sizeof(*c));
        if (c == NULL)
            fatal("out of memory for JSON");
        c->next = NULL;
        c->used = 0;
        if (doc->last != NULL)
            doc->last->next = c;
        else
            doc->first = c;
        doc->last = c;
    }
    struct node *n = &doc->last->nodes[doc->last->used++];
    memset(n, 0, sizeof(*n));
    doc->nodes++;
    return &n->json;
}

static void blanks(struct parser *ps)
{
    ps->p += jsonstr_blanks(ps->p, ps->end) - ps->p;
}

static bool take(struct parser *ps, char c)
{
    blanks(ps);
    if (ps->p >= ps->end || *ps->p != c)
        return false;
    ps->p++;
    return true;
}

/* ps->p stands behind the opening quote. */
static int parse_string(struct parser *ps, struct str *out)
{
    bool escaped = false;
    char *from = ps->p;
    const char *to = jsonstr_end(from, ps->end, &escaped);
    if (to == NULL)
        return bad(ps, "string without end");
    size_t source_len = (size_t)(to - from), len = source_len;
    if (escaped) {
        char *end = jsonstr_unescape(from, to, from);
        if (end == NULL)
            return bad(ps, "wrong escape in a string");
        len = (size_t)(end - from);
    }
    *out = (struct str){from, len};
    ps->p = from + source_len + 1;
    return ERR_OK;
}

/* An object used as a key: its source text. Its inside is checked by whoever parses it again. */
static int parse_object_key(struct parser *ps, struct str *out)
{
    char *from = ps->p;
    uint32_t depth = 0;
    do {
        if (ps->p >= ps->end)
            return bad(ps, "object key without end");
        char c = *ps->p++;
        if (c == '"') {
            bool escaped;
            const char *to = jsonstr_end(ps->p, ps->end, &escaped);
            if (to == NULL)
                return bad(ps, "string without end");
            ps->p += to - ps->p + 1;
        } else if (c == '{') {
            depth++;
        } else if (c == '}') {
            depth--;
        }
    } while (depth > 0);
    *out = (struct str){from, (size_t)(ps->p - from)};
    return ERR_OK;
}

static bool is_bare(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '$' || c == '-';
}

static int parse_key(struct parser *ps, struct str *out)
{
    if (take(ps, '"'))
        return parse_string(ps, out);
    if (ps->p < ps->end && *ps->p == '{')
        return parse_object_key(ps, out);
    char *from = ps->p;
    while (ps->p < ps->end && is_bare(*ps->p))
        ps->p++;
    *out = (struct str){from, (size_t)(ps->p - from)};
    return out->len > 0 ? ERR_OK : bad(ps, "expected a key");
}

static int parse_scalar(struct parser *ps, struct json *n)
{
    static const struct {
        struct str word;
        enum json_type type;
        bool boolean;
    } words[] = {
        {{"null", 4}, JSON_NULL, false}, {{"true", 4}, JSON_BOOL, true}, {{"false", 5}, JSON_BOOL, false}};
    size_t left = (size_t)(ps->end - ps->p);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (left >= words[i].word.len && memcmp(ps->p, words[i].word.p, words[i].word.len) == 0) {
            n->type = words[i].type;
            n->boolean = words[i].boolean;
            ps->p += words[i].word.len;
            return ERR_OK;
        }
    }
    size_t len = jsonstr_number(ps->p, ps->end);
    if (len == 0)
        return bad(ps, "expected a value");
    n->type = JSON_NUMBER;
    n->text = (struct str){ps->p, len};
    ps->p += len;
    return ERR_OK;
}

static int parse_value(struct parser *ps, struct json *n);

/* Members or elements; ps->p stands behind the bracket. */
static int parse_children(struct parser *ps, struct json *n, char closing)
{
    struct json **tail = &n->first;
    if (take(ps, closing))
        return ERR_OK;
    do {
        struct json *child = new_node(ps);
        if (child == NULL)
            return ERR_TOO_LARGE;
        child->parent = n;
        *tail = child;
        tail = &child->next;
        int rc = ERR_OK;
        if (n->type == JSON_OBJECT) {
            rc = parse_key(ps, &child->key);
            if (rc == 0 && !take(ps, ':'))
                rc = bad(ps, "expected a colon");
        }
        if (rc == 0)
            rc = parse_value(ps, child);
        if (rc != 0)
            return rc;
    } while (take(ps, ','));
    return take(ps, closing) ? ERR_OK : bad(ps, "expected a comma or a closing bracket");
}

static bool is_ref(const struct json *n)
{
    const struct json *only = n->first;
    return n->type == JSON_OBJECT && only != NULL && only->next == NULL && only->type == JSON_STRING &&
           str_is(only->key, "$ref");
}

static int parse_value(struct parser *ps, struct json *n)
{
    blanks(ps);
    if (ps->p >= ps->end)
        return bad(ps, "expected a value");
    char c = *ps->p;
    if (c == '"') {
        ps->p++;
        n->type = JSON_STRING;
        return parse_string(ps, &n->text);
    }
    if (c != '{' && c != '[')
        return parse_scalar(ps, n);
    if (ps->depth == JSON_DEPTH_MAX)
        return bad(ps, "nested too deeply");
    ps->depth++;
    ps->p++;
    n->type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
    int rc = parse_children(ps, n, c == '{' ? '}' : ']');
    ps->depth--;
    if (rc == 0 && is_ref(n))
        ((struct node *)n)->ref = REF_WAITING;
    return rc;
}

/* ---- References --------------------------------------------------------------------------------------- */

static int resolve(struct parser *ps, struct json *n, uint32_t chain);

static uint32_t depth_of(const struct json *n)
{
    uint32_t depth = 0;
    for (; n->parent != NULL; n = n->parent)
        depth++;
    return depth;
}

static struct json *child_by_key(struct parser *ps, struct json *n, struct str key)
{
    struct json *found = NULL;
    for (struct json *c = n->first; c != NULL && ps->ref_steps_left > 0; c = c->next, ps->ref_steps_left--) {
        if (str_eq(c->key, key))
            found = c;
    }
    return found;
}

static struct json *child_by_index(struct parser *ps, struct json *n, struct str digits)
{
    int64_t index;
    if (n->type == JSON_OBJECT) /* fastjson writes integer keys of a map like indexes */
        return child_by_key(ps, n, digits);
    if (!str_to_i64(digits, &index) || index < 0)
        return NULL;
    struct json *c = n->first;
    for (; c != NULL && index > 0 && ps->ref_steps_left > 0; c = c->next, index--)
        ps->ref_steps_left--;
    return index == 0 ? c : NULL;
}

/* The next step of a path, ".name" (backslash takes the next character as it is) or "[index]", into `step`;
 * false at a wrong one. */
static bool next_step(struct rd *path, char *step, struct str *out, bool *is_index)
{
    size_t len = 0;
    uint8_t lead = rd_u8(path);
    *is_index = lead == '[';
    if (lead != '.' && lead != '[')
        return false;
    while (rd_left(path) > 0) {
        uint8_t c = *path->p;
        if (lead == '.' && (c == '.' || c == '['))
            break;
        path->p++;
        if (lead == '[' && c == ']')
            break;
        if (c == '\\' && rd_left(path) > 0)
            c = rd_u8(path);
        step[len++] = (char)c;
    }
    *out = (struct str){step, len};
    return len > 0;
}

/* Follow `path` from the root. NULL when it leads nowhere; rc tells a limit. */
static struct json *follow(struct parser *ps, struct str path, uint32_t chain, int *rc)
{
    struct json *at = ps->doc->root;
    struct rd r = rd_of(path.p + 1, path.len - 1);
    char *step = malloc(path.len);
    if (step == NULL)
        fatal("out of memory for JSON");
    while (at != NULL && rd_left(&r) > 0) {
        struct str name;
        bool is_index;
        if (((struct node *)at)->ref == REF_WAITING)
            *rc = resolve(ps, at, chain + 1);
        if (*rc != 0 || !next_step(&r, step, &name, &is_index))
            at = NULL;
        else
            at = is_index ? child_by_index(ps, at, name) : child_by_key(ps, at, name);
    }
    free(step);
    if (*rc == 0 && ps->ref_steps_left == 0)
        *rc = err_set(ps->err, ERR_TOO_LARGE, "JSON: references take too many steps");
    return *rc == 0 ? at : NULL;
}

/* Make `to` (key and place stay) a copy of `from`. */
static int copy_value(struct parser *ps, struct json *to, struct json *from, uint32_t depth, uint32_t chain)
{
    if (((struct node *)from)->ref == REF_WAITING) {
        int rc = resolve(ps, from, chain + 1);
        if (rc != 0)
            return rc;
    }
    if (((struct node *)from)->ref == REF_ACTIVE)
        return ERR_OK; /* a circle: stays null */
    bool is_container = from->type == JSON_ARRAY || from->type == JSON_OBJECT;
    if (is_container && depth >= JSON_DEPTH_MAX)
        return err_set(ps->err, ERR_TOO_LARGE, "JSON: references nest too deeply");
    to->type = from->type;
    to->boolean = from->boolean;
    to->text = from->text;
    struct json **tail = &to->first;
    for (struct json *c = from->first; c != NULL; c = c->next) {
        struct json *n = new_node(ps);
        if (n == NULL)
            return ERR_TOO_LARGE;
        n->key = c->key;
        n->parent = to;
        *tail = n;
        tail = &n->next;
        int rc = copy_value(ps, n, c, depth + 1, chain);
        if (rc != 0)
            return rc;
    }
    return ERR_OK;
}

/* What the path of the reference at `n` names: "$..." from the root, "@" the container it stands in, ".." the
 * one around that. */
static struct json *target_of(struct parser *ps, struct json *n, struct str path, uint32_t chain, int *rc)
{
    if (str_is(path, "@"))
        return n->parent;
    if (str_is(path, ".."))
        return n->parent != NULL ? n->parent->parent : NULL;
    if (str_starts(path, "$"))
        return follow(ps, path, chain, rc);
    return NULL;
}

static int resolve(struct parser *ps, struct json *n, uint32_t chain)
{
    if (chain > REF_CHAIN_MAX)
        return err_set(ps->err, ERR_TOO_LARGE, "JSON: references to references");
    int rc = ERR_OK;
    struct node *node = (struct node *)n;
    struct str path = n->first->text;
    node->ref = REF_ACTIVE;
    struct json *target = target_of(ps, n, path, chain, &rc);
    /* Copied aside first: the target may be the reference itself or enclose it. */
    struct json *copy = rc == 0 ? new_node(ps) : NULL;
    if (copy == NULL)
        return rc != 0 ? rc : ERR_TOO_LARGE;
    if (target != NULL)
        rc = copy_value(ps, copy, target, depth_of(n), chain);
    n->type = copy->type;
    n->boolean = copy->boolean;
    n->text = copy->text;
    n->first = copy->first;
    for (struct json *c = n->first; c != NULL; c = c->next)
        c->parent = n;
    node->ref = REF_NONE;
    return rc;
}

static int resolve_all(struct parser *ps)
{
    uint32_t parsed = ps->doc->nodes, i = 0;
    for (struct chunk *c = ps->doc->first; c != NULL; c = c->next) {
        for (uint32_t k = 0; k < c->used && i < parsed; k++, i++) {
            int rc = c->nodes[k].ref == REF_WAITING ? resolve(ps, &c->nodes[k].json, 0) : ERR_OK;
            if (rc != 0)
                return rc;
        }
    }
    return ERR_OK;
}

/* ---- The reader's door -------------------------------------------------------------------------------- */

static int parse_document(struct parser *ps)
{
    ps->doc->root = new_node(ps);
    if (ps->doc->root == NULL)
        return ERR_TOO_LARGE;
    int rc = parse_value(ps, ps->doc->root);
    if (rc != 0)
        return rc;
    blanks(ps);
    if (ps->p != ps->end)
        return bad(ps, "something follows the value");
    return resolve_all(ps);
}

int json_parse(struct str text, uint32_t nodes_max, struct json_doc **out, struct err *err)
{
    *out = NULL;
    struct json_doc *doc = calloc(1, sizeof(*doc));
    if (doc == NULL || (doc->text = malloc(text.len + 1)) == NULL)
        fatal("out of memory for JSON of %zu bytes", text.len);
    if (text.len > 0)
        memcpy(doc->text, text.p, text.len);
    doc->nodes_max = nodes_max;
    struct parser ps = {
        .doc = doc, .start = doc->text, .end = doc->text + text.len, .p = doc->text, .err = err};
    ps.ref_steps_left = (uint64_t)nodes_max * REF_STEPS_PER_NODE;
    int rc = parse_document(&ps);
    if (rc != 0) {
        json_free(doc);
        return rc;
    }
    *out = doc;
    return ERR_OK;
}

const struct json *json_root(const struct json_doc *doc)
{
    return doc != NULL ? doc->root : NULL;
}

void json_free(struct json_doc *doc)
{
    if (doc == NULL)
        return;
    for (struct chunk *c = doc->first, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    free(doc->text);
    free(doc);
}

const struct json *json_get(const struct json *object, const char *key)
{
    const struct json *found = NULL;
    if (object == NULL || object->type != JSON_OBJECT)
        return NULL;
    struct str name = str_of(key);
    for (const struct json *c = object->first; c != NULL; c = c->next) {
        if (str_eq(c->key, name)) /* of two members with one name the last holds */
            found = c;
    }
    return found;
}

struct str json_str(const struct json *node)
{
    if (node == NULL || (node->type != JSON_STRING && node->type != JSON_NUMBER))
        return (struct str){NULL, 0};
    return node->text;
}

/* A number with a fraction or an exponent. */
static bool double_to_i64(struct str s, int64_t *out)
{
    char text[64];
    if (s.len == 0 || jsonstr_number(s.p, s.p + s.len) != s.len || !str_copy(s, text, sizeof(text)))
        return false;
    double v = strtod(text, NULL);
    if (!(v >= -0x1p63 && v < 0x1p63))
        return false;
    *out = (int64_t)v;
    return true;
}

int64_t json_i64(const struct json *node, int64_t def)
{
    int64_t v;
    if (node != NULL && node->type == JSON_BOOL)
        return node->boolean;
    struct str text = json_str(node);
    return str_to_i64(text, &v) || double_to_i64(text, &v) ? v : def;
}

bool json_bool(const struct json *node, bool def)
{
    if (node == NULL)
        return def;
    if (node->type == JSON_BOOL)
        return node->boolean;
    if (node->type == JSON_STRING && str_is(node->text, "true"))
        return true;
    return node->type == JSON_STRING && str_is(node->text, "false") ? false : def;
}

struct str json_get_str(const struct json *object, const char *key)
{
    return json_str(json_get(object, key));
}

int64_t json_get_i64(const struct json *object, const char *key, int64_t def)
{
    return json_i64(json_get(object, key), def);
}

bool json_get_bool(const struct json *object, const char *key, bool def)
{
    return json_bool(json_get(object, key), def);
}

uint32_t json_count(const struct json *node)
{
    uint32_t count = 0;
    for (const struct json *c = node != NULL ? node->first : NULL; c != NULL; c = c->next)
        count++;
    return count;
}
