/*
 * storekit.h - a dl_store on a fake disk with manual workers, for unit tests. Entries are made from (index,
 * term), so that a test can tell what it reads.
 */
#ifndef TESTS_LIB_STOREKIT_H
#define TESTS_LIB_STOREKIT_H

#include "dledger/store/store.h"
#include "tests/lib/fakedisk.h"

struct storekit {
    struct fakedisk *fake;
    struct worker *flush, *meta, *read;
    struct dl_store *s; /* NULL: not open */
    const char *group;
    dl_peer_t self;
    struct dl_members members;                 /* none: self alone */
    uint64_t segment_bytes, cache_bytes, seed; /* seed: another one at each open */
    dl_index_t persisted;                      /* as reported */
    dl_term_t persisted_term;
    struct dl_hard hard; /* as reported */
    unsigned hard_reports, failures;
    char failure[512];
    struct err err;
};

void storekit_init(struct storekit *k);
void storekit_release(struct storekit *k);
/* Open; returns the store's answer, k->err has the words. */
int storekit_open(struct storekit *k);
void storekit_close(struct storekit *k);
/* Run all jobs until none waits. */
void storekit_run(struct storekit *k);
/* Power off, lose what is not synced by the odds of fakedisk_crash, and forget the store. */
void storekit_crash(struct storekit *k, struct rng *rng, double keep);

/* The process is killed: nothing is lost, nothing more is synced. */
void storekit_kill(struct storekit *k);

/* Body length of the entry (index, term): around `size`, different for each. */
uint32_t storekit_body_len(dl_index_t index, dl_term_t term, uint32_t size);
void storekit_append(struct storekit *k, dl_index_t index, dl_term_t term, uint32_t size);
void storekit_append_range(struct storekit *k, dl_index_t first, dl_index_t last, dl_term_t term,
                           uint32_t size);
/* Read from memory or disk and compare: true when it is the entry (index, term, size). */
bool storekit_has(struct storekit *k, dl_index_t index, dl_term_t term, uint32_t size);
dl_index_t storekit_last(struct storekit *k);

#endif
