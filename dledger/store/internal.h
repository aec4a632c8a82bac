/*
 * internal.h - the inside of struct dl_store, for the files of this room only.
 *
 * Who owns what:
 *   loop      - everything not named below: segment list, term runs, cache, jobs while not submitted
 *   mutex     - queue, spares, live, failed, closing, running, sparse arrays, pending hard state: touched by
 *               loop and workers, never across a disk call
 *   flush     - the flush worker alone: the segment being written (flusher.c)
 *   files.c   - has its own mutex over descriptors
 *
 * Every job begins with store_enter and ends with store_leave, so that close can wait for those that run; one
 * that starts after close does nothing. The memory of the store goes when close was called and the last job
 * has come back (`refs`).
 */
#ifndef DLEDGER_STORE_INTERNAL_H
#define DLEDGER_STORE_INTERNAL_H

#include <pthread.h>

#include "common/rng.h"
#include "dledger/store/blocks.h"
#include "dledger/store/cache.h"
#include "dledger/store/files.h"
#include "dledger/store/meta.h"
#include "dledger/store/segment.h"
#include "dledger/store/store.h"

#define STORE_SPARES_MAX 2u                 /* files kept for reuse, or made ahead */
#define STORE_FLUSH_MAX  (2u * 1024 * 1024) /* bytes gathered for one fdatasync */
#define STORE_ITEM_MAX   (1u * 1024 * 1024) /* records of one push are written in pieces of about this size */
/* The most that one batch can hold: the last item may be a single big record. */
#define STORE_BATCH_MAX     (STORE_FLUSH_MAX + DL_RECORD_MAX)
#define STORE_FIRST_STRETCH (1u * 1024 * 1024) /* zeroed when a file is made in a hurry */
#define STORE_LIVE_CHUNK    (1u * 1024 * 1024) /* zeroed at a time in the file being written */
#define STORE_SPARE_CHUNK   (4u * 1024 * 1024) /* zeroed at a time in a spare file */
#define STORE_SPARSE_GAP    (64u * 1024)       /* bytes between the marks of a sparse index */
#define STORE_HINT_BYTES    (8u * 1024 * 1024) /* committed bytes until the known commit point is saved again */
#define STORE_FLUSH_JOBS    2u                 /* one runs while the other's report travels */
#define STORE_TERM_RUNS_MAX (1u * 1024 * 1024)

/* Every STORE_SPARSE_GAP bytes a record's place, relative to the segment's first. */
struct sparse {
    uint32_t index, pos;
};

/* A place where a record begins. */
struct place {
    dl_index_t index; /* 0: unknown */
    dl_pos_t pos;
};

struct segment {
    struct segment_head head;
    dl_pos_t end;      /* behind the last record */
    dl_index_t last;   /* head.first_index - 1 when empty */
    uint32_t last_crc; /* of the last record, head.prev_crc when empty */
    uint32_t refs;     /* loop: the list's own, and jobs that read it */
    bool sealed;       /* has a follower; its index file is written when all is durable */
    bool index_written;
    struct file file; /* files.c */

    struct sparse *sparse; /* mutex */
    uint32_t sparse_count, sparse_cap;
    bool sparse_complete; /* else: look into the index file first */

    bool created; /* flush: the file exists */
    struct segment *next_retired;
};

/* What waits for the flush worker, in order. buf NULL: a cut. */
struct item {
    struct segment *seg;
    struct buf *buf; /* one reference */
    uint32_t offset, len;
    dl_pos_t pos;
    dl_index_t last;
    dl_term_t term;
    uint32_t last_crc;
    struct cut *cut;
};

struct cut {
    struct meta_cut intent;
    struct segment **dead; /* segments behind it, ascending; owned */
    uint32_t dead_count;
};

struct queue {
    struct item *items;
    uint32_t count, cap;
};

struct spare {
    uint32_t id;
    int fd; /* direct */
    uint64_t size;
    bool claimed; /* the zero job works on it */
};

struct hard_wish {
    struct dl_hard hard;
    dl_index_t commit;
    dl_pos_t commit_end;
    uint64_t number; /* grows with each change of `hard` */
};

struct flush_job {
    struct job job;
    struct dl_store *s;
    bool busy;
    struct queue taken;
    int rc;
    dl_index_t index; /* durable up to here; 0 = nothing new */
    dl_term_t term;
    uint64_t us, bytes, fsyncs;
};

struct dl_store {
    struct dl_store_opts opts;
    char group[META_GROUP_MAX + 1];
    uint32_t salt;
    struct disk *disk;
    struct meta meta;
    int lock_fd;
    struct rng rng; /* loop: secrets of segments */
    uint32_t refs;  /* jobs submitted, plus one until close */
    bool closed;

    /* The log, as the loop sees it. */
    struct segment **segs; /* ascending, at least one */
    uint32_t seg_count, seg_cap;
    struct dl_term_run *runs;
    uint32_t run_count, run_cap;
    dl_term_t begin_prev_term;
    struct cache cache;
    dl_index_t persisted, commit, applied;
    uint64_t cut_count; /* truncations: reads under way compare it */
    dl_index_t hint_commit;
    dl_pos_t hint_end, hint_saved_end;
    uint64_t fsyncs, appended_bytes;
    struct files files;

    /* Jobs. */
    struct flush_job flush_jobs[STORE_FLUSH_JOBS];
    bool corked;
    struct job hard_job, mirror_job, zero_job, retire_job;
    bool hard_busy, mirror_busy, zero_busy, retire_busy;
    struct segment *retired;     /* trimmed, ascending, waiting for readers to let go */
    struct segment *retired_now; /* the one the retire job removes */
    struct load *loads;          /* all reads under way */
    uint32_t load_count;
    struct place load_hint; /* where the last load stopped */
    /* Read-ahead of dl_store_entry_blocking: the next record is at `at` in buf. */
    struct {
        struct buf *buf;
        uint32_t at;
        struct place next;
    } replay;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* running, claims */
    struct queue queue;
    bool flush_waiting; /* a flush job is submitted and has not begun */
    struct spare spares[STORE_SPARES_MAX];
    uint32_t spare_count, spare_next_id;
    struct {
        struct segment *seg;
        int fd; /* that of `blocks` */
        uint64_t size, head, cap;
        bool claimed;
    } live;             /* file being written; offsets in it are multiples of DISK_BLOCK */
    bool spares_broken; /* making one failed: no more tries */
    bool failed, closing;
    uint32_t running;
    struct hard_wish hard_wanted;  /* changed by the loop, read by the meta worker */
    struct hard_wish hard_written; /* meta worker; the loop reads it when the job is done */
    uint64_t hard_reported;        /* loop: number */

    /* Flush worker alone. */
    struct segment *writing;
    struct blocks blocks; /* has its file open, direct */
};

/* logstore.c */
bool store_enter(struct dl_store *s); /* false: closed or failed, do nothing */
void store_leave(struct dl_store *s);
/* Submit a job and count it; 0 or ERR_BUSY (not counted). Its done ends with store_unref. */
int store_submit(struct dl_store *s, struct worker *w, struct job *job) MUSTCHECK;
void store_unref(struct dl_store *s);
/* Report lost durability. `rc` is -errno. In a real process it does not return. */
void store_fail(struct dl_store *s, const char *path, const char *what, int64_t rc);
static inline dl_index_t store_last(const struct dl_store *s)
{
    return s->segs[s->seg_count - 1]->last;
}
static inline dl_pos_t store_end(const struct dl_store *s)
{
    return s->segs[s->seg_count - 1]->end;
}
static inline dl_index_t store_begin(const struct dl_store *s)
{
    return s->segs[0]->head.first_index;
}
dl_term_t store_term_at(const struct dl_store *s, dl_index_t index); /* 0 when unknown */
void store_runs_add(struct dl_store *s, dl_index_t index, dl_term_t term);
struct segment *store_segment_of(const struct dl_store *s, dl_index_t index); /* NULL when outside */
struct segment *store_segment_at(const struct dl_store *s, dl_pos_t pos);
void store_segments_push(struct dl_store *s, struct segment *seg);
struct segment *store_segment_new(const struct segment_head *head);
void store_segment_unref(struct dl_store *s, struct segment *seg);
void store_sparse_add(struct dl_store *s, struct segment *seg, dl_index_t index,
                      dl_pos_t pos); /* locks; adds when the gap is reached */

/* flusher.c */
void flush_start(struct dl_store *s); /* loop: submit a flush job when something waits and one is idle */
void flush_push(struct dl_store *s, const struct item *item); /* loop; takes over references */
void flush_init(struct dl_store *s);
void flush_release(struct dl_store *s); /* at the very end */

/* cut.c: blocking, also used by recovery; 0 or -errno */
/* Carry out a cut whose intent is on disk: remove the segments that begin at `dead` (ascending), erase the
 * rest of `fd` (of the segment with this head) behind the cut, sync, forget the intent. */
int cut_finish(struct dl_store *s, int fd, const struct segment_head *head, const struct meta_cut *cut,
               const dl_pos_t *dead, uint32_t dead_count);
/* Zero the segment's file from behind mark->end up to the position `end`, with the mark at mark->end. Not
 * synced. */
int cut_erase(struct dl_store *s, int fd, const struct segment_head *head, const struct segment_mark *mark,
              dl_pos_t end);
/* Zero file bytes [offset, offset + len), whole blocks when the handle is direct. */
int cut_zero(struct disk *disk, int fd, uint64_t offset, uint64_t len);

/* spare.c */
void spare_init(struct dl_store *s);
void spare_start(struct dl_store *s);                       /* loop: zero ahead when it is time */
void spare_retire(struct dl_store *s, struct segment *seg); /* loop: a trimmed segment */
void spare_retire_next(struct dl_store *s);                 /* loop: when a reader let go of one */
void spare_release(struct dl_store *s);                     /* at close: the descriptors */
int spare_take(struct dl_store *s, uint32_t *id,
               uint64_t *size); /* flush worker: a direct handle, or -errno */

/* hard.c */
void hard_init(struct dl_store *s);
void hard_hint(struct dl_store *s); /* loop: save the known commit point when it has moved far */

/* index.c */
struct index_head {
    dl_pos_t first_pos, end;
    dl_index_t first_index, last;
    uint32_t last_crc;
};
/* Read the fixed part and the term runs. ERR_NOT_FOUND when there is no good index file. `runs` is
 * malloced. */
int index_read(struct dl_store *s, dl_pos_t first_pos, struct index_head *head, struct dl_term_run **runs,
               uint32_t *run_count) MUSTCHECK;
int index_read_sparse(struct dl_store *s, dl_pos_t first_pos, struct sparse **sparse,
                      uint32_t *count) MUSTCHECK;
void index_start(struct dl_store *s); /* loop: write index files of segments that are complete and durable */
/* Blocking (recovery): write it now; failure only costs a scan at the next start. */
void index_write(struct dl_store *s, const struct index_head *head, const struct dl_term_run *runs,
                 uint32_t run_count, const struct sparse *sparse, uint32_t sparse_count);

/* load.c */
void load_cancel_all(struct dl_store *s); /* at close: every callback with ERR_CLOSED */

/* recovery.c */
int recovery_run(struct dl_store *s, struct err *err) MUSTCHECK;

#endif
