/*
 * load.h - reads that may wait for the disk: what load.c (whole records) and read.c (byte ranges) share.
 *
 * A load is made and finished on the loop thread; in between its `read` runs on the read worker. Its callback
 * is called exactly once: by finish, with the result, or with ERR_CLOSED from dl_store_close.
 */
#ifndef DLEDGER_STORE_LOAD_H
#define DLEDGER_STORE_LOAD_H

#include "dledger/store/internal.h"

struct load {
    struct job job;
    struct dl_store *s;
    struct load *next, *prev;
    int rc;                                    /* what `read` found */
    void (*read)(struct load *load);           /* read worker; sets rc */
    void (*finish)(struct load *load, int rc); /* loop: the callback. Not called again */
    void (*release)(struct load *load);        /* loop: references and memory */
    bool finished;
};

/* Submit a filled load: 0, or ERR_BUSY and it was released without a callback. */
int load_start(struct dl_store *s, struct load *load) MUSTCHECK;

/* Read whole records from `first` to before `end` (same segment), at most about max_bytes, at least one.
 * Blocks; any thread, given a reference on `seg`. `from` is a place at or before `first`, index 0: look it
 * up. *until = the place behind the last record read. ERR_IO, ERR_DAMAGED. */
int load_records(struct dl_store *s, struct segment *seg, struct place from, dl_index_t first,
                 struct place end, uint32_t max_bytes, struct buf **out, struct place *until,
                 struct err *err) MUSTCHECK;

#endif
