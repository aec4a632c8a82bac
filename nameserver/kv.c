/* kv.c - one array sorted by namespace, then key, so that a namespace is a range of it. */
#include "nameserver/kv.h"

#include <stdlib.h>

#include "common/json.h"

#define KV_NODES_MAX (2 * KV_ENTRIES_MAX + 16)

struct entry {
    struct str ns, key, value; /* in text[] */
    char *text;                /* one allocation for all three */
};

struct kv {
    struct entry *entries;
    uint32_t count, cap;
    size_t text_bytes;
};

static void *grown(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count, size);

    if (p == NULL)
        fatal("out of memory: %zu times %zu bytes for key-value settings", count, size);
    return p;
}

struct kv *kv_new(void)
{
    struct kv *kv = grown(NULL, 1, sizeof(*kv));

    memset(kv, 0, sizeof(*kv));
    return kv;
}

void kv_free(struct kv *kv)
{
    if (kv == NULL)
        return;
    for (uint32_t i = 0; i < kv->count; i++)
        free(kv->entries[i].text);
    free(kv->entries);
    free(kv);
}

static int compare(struct str a, struct str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.p, b.p, len) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* First entry not before (ns, key). */
static uint32_t position(const struct kv *kv, struct str ns, struct str key)
{
    uint32_t low = 0, high = kv->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare(kv->entries[middle].ns, ns);

        if (order == 0)
            order = compare(kv->entries[middle].key, key);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *find(const struct kv *kv, struct str ns, struct str key)
{
    uint32_t at = position(kv, ns, key);
    bool found = at < kv->count && str_eq(kv->entries[at].ns, ns) && str_eq(kv->entries[at].key, key);

    return found ? &kv->entries[at] : NULL;
}

static size_t entry_bytes(const struct entry *e)
{
    return e->ns.len + e->key.len + e->value.len;
}

static struct str append(char **at, struct str s)
{
    struct str copy = {*at, s.len};

    if (s.len > 0)
        memcpy(*at, s.p, s.len);
    *at += s.len;
    return copy;
}

static struct entry entry_of(struct str ns, struct str key, struct str value)
{
    struct entry e = {.text = grown(NULL, ns.len + key.len + value.len + 1, 1)};
    char *at = e.text;

    e.ns = append(&at, ns);
    e.key = append(&at, key);
    e.value = append(&at, value);
    return e;
}

struct str kv_get(const struct kv *kv, struct str ns, struct str key)
{
    const struct entry *e = find(kv, ns, key);

    return e != NULL ? e->value : (struct str){NULL, 0};
}

static bool name_ok(struct str s)
{
    return s.len > 0 && s.len <= KV_NAME_MAX && memchr(s.p, '\0', s.len) == NULL;
}

int kv_put(struct kv *kv, struct str ns, struct str key, struct str value, struct err *err)
{
    struct entry *old = find(kv, ns, key), new;
    uint32_t at = position(kv, ns, key);
    size_t bytes = kv->text_bytes + ns.len + key.len + value.len - (old != NULL ? entry_bytes(old) : 0);

    if (!name_ok(ns) || !name_ok(key))
        return err_set(err, ERR_INVALID, "namespace and key must be 1 to %u bytes", KV_NAME_MAX);
    if (value.len > KV_VALUE_MAX)
        return err_set(err, ERR_TOO_LARGE, "a value has %zu bytes; at most %u are allowed", value.len,
                       KV_VALUE_MAX);
    if (bytes > KV_TEXT_MAX_BYTES || (old == NULL && kv->count == KV_ENTRIES_MAX))
        return err_set(err, ERR_TOO_LARGE, "the key-value table is full: at most %u entries and %u bytes",
                       KV_ENTRIES_MAX, KV_TEXT_MAX_BYTES);
    new = entry_of(ns, key, value);
    kv->text_bytes = bytes;
    if (old != NULL) {
        free(old->text);
        *old = new;
        return 0;
    }
    if (kv->count == kv->cap) {
        kv->cap = kv->cap == 0 ? 16 : kv->cap * 2;
        kv->entries = grown(kv->entries, kv->cap, sizeof(*kv->entries));
    }
    memmove(&kv->entries[at + 1], &kv->entries[at], (kv->count - at) * sizeof(*kv->entries));
    kv->entries[at] = new;
    kv->count++;
    return 0;
}

void kv_delete(struct kv *kv, struct str ns, struct str key)
{
    struct entry *e = find(kv, ns, key);

    if (e == NULL)
        return;
    kv->text_bytes -= entry_bytes(e);
    free(e->text);
    kv->count--;
    memmove(e, e + 1, (size_t)(&kv->entries[kv->count] - e) * sizeof(*e));
}

uint32_t kv_count(const struct kv *kv)
{
    return kv->count;
}

struct kv *kv_copy(const struct kv *kv)
{
    struct kv *copy = kv_new();

    copy->cap = copy->count = kv->count;
    copy->text_bytes = kv->text_bytes;
    copy->entries = grown(NULL, kv->count + 1, sizeof(*copy->entries));
    for (uint32_t i = 0; i < kv->count; i++)
        copy->entries[i] = entry_of(kv->entries[i].ns, kv->entries[i].key, kv->entries[i].value);
    return copy;
}

/* ---- JSON ---- */

/* The keys of the namespace of entry `at` as an object; the position behind them. */
static uint32_t namespace_object(const struct kv *kv, uint32_t at, struct str ns, struct jw *w)
{
    jw_object(w);
    for (; at < kv->count && str_eq(kv->entries[at].ns, ns); at++) {
        jw_key_str(w, kv->entries[at].key);
        jw_str(w, kv->entries[at].value);
    }
    jw_end_object(w);
    return at;
}

uint32_t kv_namespace_json(const struct kv *kv, struct str ns, struct bld *out)
{
    uint32_t begin = position(kv, ns, (struct str){NULL, 0}), end;
    struct jw w = jw_of(out);

    jw_object(&w);
    jw_key(&w, "table");
    end = namespace_object(kv, begin, ns, &w);
    jw_end_object(&w);
    return end - begin;
}

void kv_json(const struct kv *kv, struct bld *out)
{
    struct jw w = jw_of(out);

    jw_object(&w);
    jw_key(&w, "configTable");
    jw_object(&w);
    for (uint32_t at = 0; at < kv->count;) {
        jw_key_str(&w, kv->entries[at].ns);
        at = namespace_object(kv, at, kv->entries[at].ns, &w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
}

static int read_namespaces(struct kv *kv, const struct json *table, struct err *err)
{
    int rc = 0;

    for (const struct json *ns = table->first; rc == 0 && ns != NULL; ns = ns->next) {
        if (ns->type != JSON_OBJECT)
            return err_set(err, ERR_MALFORMED, "namespace %.*s is not an object", (int)ns->key.len,
                           ns->key.p);
        for (const struct json *i = ns->first; rc == 0 && i != NULL; i = i->next) {
            if (i->type != JSON_STRING && i->type != JSON_NUMBER)
                return err_set(err, ERR_MALFORMED, "value of %.*s is not a text", (int)i->key.len, i->key.p);
            rc = kv_put(kv, ns->key, i->key, json_str(i), err);
        }
    }
    return rc;
}

int kv_parse(struct str text, struct kv **out, struct err *err)
{
    const struct json *table;
    struct json_doc *doc;
    int rc;

    *out = NULL;
    rc = json_parse(text, KV_NODES_MAX, &doc, err);
    if (rc != 0)
        return rc;
    table = json_get(json_root(doc), "configTable");
    if (table == NULL || table->type != JSON_OBJECT) {
        rc = err_set(err, ERR_MALFORMED, "there is no object configTable");
    } else {
        *out = kv_new();
        rc = read_namespaces(*out, table, err);
    }
    if (rc != 0) {
        kv_free(*out);
        *out = NULL;
    }
    json_free(doc);
    return rc;
}
