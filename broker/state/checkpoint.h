/*
 * checkpoint.h - where the state is kept durably: an ordered key/value batch written atomically with the
 * applied index, and shared files of full index blocks.
 *
 * Two implementations: checkpoint_lmdb.c (production: LMDB plus index files in one directory) and
 * tests/lib/memory_checkpoint.c (simulator). All calls block; they are made on the state thread, except at
 * open. The order inside `write` is the durability rule: blocks are written and synced first, then one
 * transaction holds all puts, deletes and the applied index.
 */
#ifndef BROKER_STATE_CHECKPOINT_H
#define BROKER_STATE_CHECKPOINT_H

#include "common/buf.h"
#include "common/err.h"
#include "dledger/core/types.h"

#define CHECKPOINT_BLOCK_BYTES 4096u

struct checkpoint_put {
    struct str key, value; /* value.p NULL = delete */
};
struct checkpoint_block {
    uint32_t slot;       /* each slot is written once, in ascending order */
    const uint8_t *data; /* CHECKPOINT_BLOCK_BYTES */
};
struct checkpoint_batch {
    const struct checkpoint_put *puts;
    uint32_t put_count;
    const struct checkpoint_block *blocks;
    uint32_t block_count;
    dl_index_t applied;
    dl_term_t applied_term;
};

struct checkpoint {
    void *impl;
    int (*write)(
        void *impl,
        const struct checkpoint_batch *batch); /* 0 or ERR_*; failure is lost durability for the caller */
    int (*applied)(void *impl, dl_index_t *index, dl_term_t *term); /* 0,0 when empty */
    /* All pairs whose key starts with prefix, ascending; stops at nonzero. */
    int (*scan)(void *impl, struct str prefix, int (*fn)(void *arg, struct str key, struct str value),
                void *arg);
    int (*get)(void *impl, struct str key, struct bld *value);   /* ERR_NOT_FOUND */
    int (*read_block)(void *impl, uint32_t slot, uint8_t *data); /* ERR_IO, ERR_NOT_FOUND */
    uint32_t (*next_slot)(void *impl);                           /* first slot never written (at open) */
    void (*close)(void *impl);
};

/* Open or make the LMDB environment and index files below `dir`. Another group's or replica's directory:
 * ERR_FOREIGN; newer format: ERR_VERSION; in use: ERR_LOCKED. */
int checkpoint_lmdb_open(const char *dir, const char *group, dl_peer_t self, uint64_t map_bytes,
                         struct checkpoint *out, struct err *err) MUSTCHECK;

#endif
