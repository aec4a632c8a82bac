/*
 * kv_store.h - the key-value table kept in a file: what can be read is durable.
 *
 * A change is answered when the whole new table has been written to a temporary file, synced, renamed over the
 * old one and the directory synced. One write is under way at a time, on a worker thread; changes that come
 * meanwhile go together into the next one. A failed write fails its changes and leaves the table as it was.
 * The file is locked (<path>.lock) from the first change on, so that two name servers do not share one.
 * Loop thread only.
 */
#ifndef NAMESERVER_KV_STORE_H
#define NAMESERVER_KV_STORE_H

#include "common/worker.h"
#include "nameserver/kv.h"

#define KV_WAITING_MAX 1024u /* changes that wait for the file */

struct kv_store;

/* Read `path` (copied) if it is there; its directory is made with the first change. A file that cannot be read
 * or understood is an error: it is never overwritten. */
int kv_store_open(const char *path, struct worker *worker, struct kv_store **out, struct err *err) MUSTCHECK;
/* No more changes: those that wait and those that come get ERR_CLOSED. The write under way goes on. */
void kv_store_stop(struct kv_store *s);
/* After kv_store_stop, when the worker has been freed and its last report delivered. */
void kv_store_close(struct kv_store *s);
const struct kv *kv_store_table(const struct kv_store *s); /* lent until the next turn */

/* err->code 0: the change is durable. err is lent for the call. */
typedef void (*kv_store_fn)(void *arg, const struct err *err);
/* Texts are copied; value.p NULL deletes. fn is called exactly once, at once when the change is refused. */
void kv_store_change(struct kv_store *s, struct str ns, struct str key, struct str value, kv_store_fn fn,
                     void *arg);

#endif
