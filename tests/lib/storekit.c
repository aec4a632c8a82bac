/*
 * storekit.c - a dl_store on a fake disk with manual workers. See storekit.h.
 */
#include "tests/lib/storekit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_persisted(void *arg, dl_index_t index, dl_term_t term)
{
    struct storekit *k = arg;
    k->persisted = index;
    k->persisted_term = term;
}

static void on_hard(void *arg, struct dl_hard hard)
{
    struct storekit *k = arg;
    k->hard = hard;
    k->hard_reports++;
}

static void on_disk_failure(void *arg, const char *what)
{
    struct storekit *k = arg;
    k->failures++;
    snprintf(k->failure, sizeof(k->failure), "%s", what);
}

static void make_workers(struct storekit *k)
{
    k->flush = worker_new_manual(NULL, NULL);
    k->meta = worker_new_manual(NULL, NULL);
    k->read = worker_new_manual(NULL, NULL);
}

void storekit_init(struct storekit *k)
{
    memset(k, 0, sizeof(*k));
    k->fake = fakedisk_new();
    k->group = "RaftNode00";
    k->self = 1;
    k->segment_bytes = 64 * 1024;
    k->cache_bytes = 16 * 1024;
    make_workers(k);
}

static void free_workers(struct storekit *k)
{
    storekit_run(k); /* jobs of a closed store do nothing, but give its memory back */
    worker_free(k->flush);
    worker_free(k->meta);
    worker_free(k->read);
}

void storekit_release(struct storekit *k)
{
    storekit_close(k);
    free_workers(k);
    fakedisk_free(k->fake);
}

int storekit_open(struct storekit *k)
{
    struct dl_store_opts opts = {.disk = fakedisk_disk(k->fake),
                                 .group = k->group,
                                 .self = k->self,
                                 .members = k->members,
                                 .seed = ++k->seed,
                                 .segment_bytes = k->segment_bytes,
                                 .cache_bytes = k->cache_bytes,
                                 .flush = k->flush,
                                 .meta = k->meta,
                                 .read = k->read,
                                 .on_persisted = on_persisted,
                                 .on_hard = on_hard,
                                 .on_disk_failure = on_disk_failure,
                                 .arg = k};
    if (opts.members.count == 0)
        opts.members = (struct dl_members){1, {k->self}, {true}};
    k->persisted = k->persisted_term = 0;
    k->hard = (struct dl_hard){0};
    k->failures = 0;
    k->err.text[0] = '\0';
    return dl_store_open(&opts, &k->s, &k->err);
}

void storekit_close(struct storekit *k)
{
    if (k->s)
        dl_store_close(k->s);
    k->s = NULL;
}

void storekit_run(struct storekit *k)
{
    while (worker_run_one(k->flush) || worker_run_one(k->meta) || worker_run_one(k->read))
        ;
}

static void forget(struct storekit *k)
{
    storekit_close(k);
    free_workers(k);
    make_workers(k);
}

void storekit_crash(struct storekit *k, struct rng *rng, double keep)
{
    fakedisk_crash(k->fake, rng, keep);
    forget(k);
}

void storekit_kill(struct storekit *k)
{
    fakedisk_kill(k->fake);
    forget(k);
}

uint32_t storekit_body_len(dl_index_t index, dl_term_t term, uint32_t size)
{
    struct rng rng;
    rng_seed(&rng, index * 1000003 + term);
    return size == 0 ? 0 : (uint32_t)rng_between(&rng, size / 2, size + size / 2);
}

static void fill(uint8_t *body, uint32_t len, dl_index_t index, dl_term_t term)
{
    struct rng rng;
    rng_seed(&rng, index * 7919 + term);
    for (uint32_t i = 0; i < len; i++)
        body[i] = (uint8_t)rng_next(&rng);
}

void storekit_append(struct storekit *k, dl_index_t index, dl_term_t term, uint32_t size)
{
    uint32_t len = storekit_body_len(index, term, size);
    struct buf *buf = buf_new(DL_RECORD_HEAD + len);
    buf->len = DL_RECORD_HEAD + len;
    fill(buf->data + DL_RECORD_HEAD, len, index, term);
    dl_store_append(k->s, index, term, DL_KIND_FIRST_APP, buf, NULL);
    buf_unref(buf);
}

void storekit_append_range(struct storekit *k, dl_index_t first, dl_index_t last, dl_term_t term,
                           uint32_t size)
{
    for (dl_index_t i = first; i <= last; i++)
        storekit_append(k, i, term, size);
}

bool storekit_has(struct storekit *k, dl_index_t index, dl_term_t term, uint32_t size)
{
    struct dl_entry e;
    if (dl_store_entry_blocking(k->s, index, &e, &k->err) != 0)
        return false;
    uint32_t len = storekit_body_len(index, term, size);
    uint8_t *body = malloc(len + 1);
    ENSURE(body != NULL);
    fill(body, len, index, term);
    bool same = e.index == index && e.term == term && dl_entry_body_len(&e) == len &&
                memcmp(dl_entry_body(&e), body, len) == 0;
    free(body);
    buf_unref(e.buf);
    return same;
}

dl_index_t storekit_last(struct storekit *k)
{
    struct dl_store_view view;
    dl_store_view(k->s, &view);
    return view.last;
}
