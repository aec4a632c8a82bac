/*
 * kv.h - the key-value table: namespace -> key -> value, all texts, and its file form. Pure.
 *
 * File (RocketMQ's kvConfig.json): {"configTable":{namespace:{key:value}}}. A namespace without keys does not
 * exist. Used by kv_store.c; read by handlers.
 */
#ifndef NAMESERVER_KV_H
#define NAMESERVER_KV_H

#include "common/buf.h"
#include "common/err.h"

#define KV_ENTRIES_MAX    65536u
#define KV_NAME_MAX       255u                /* bytes of a namespace or key */
#define KV_VALUE_MAX      (64u * 1024)        /* bytes of a value */
#define KV_TEXT_MAX_BYTES (8u * 1024 * 1024)  /* of all texts together */
#define KV_FILE_MAX_BYTES (64u * 1024 * 1024) /* with every byte of the texts as \uXXXX */

struct kv;

struct kv *kv_new(void);
struct kv *kv_copy(const struct kv *kv);
void kv_free(struct kv *kv); /* NULL is allowed */

/* {NULL, 0} when there is none; lent until the next change. */
struct str kv_get(const struct kv *kv, struct str ns, struct str key);
/* ERR_INVALID namespace or key is empty, too long or holds a NUL; ERR_TOO_LARGE value or table. */
int kv_put(struct kv *kv, struct str ns, struct str key, struct str value, struct err *err) MUSTCHECK;
void kv_delete(struct kv *kv, struct str ns, struct str key); /* also when there is none */
uint32_t kv_count(const struct kv *kv);

/* KVTable {"table":{key:value}} of one namespace; how many keys. */
uint32_t kv_namespace_json(const struct kv *kv, struct str ns, struct bld *out);
void kv_json(const struct kv *kv, struct bld *out);
/* The other way; ERR_MALFORMED and the errors of kv_put. Nothing is left in *out on failure. */
int kv_parse(struct str text, struct kv **out, struct err *err) MUSTCHECK;

#endif
