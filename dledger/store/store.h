/*
 * store.h - the door of the log on disk: segments, hard state, the flusher, recovery.
 *
 * One store per replica, owned by the loop thread (dledger/node.c). All disk work after open runs in jobs on
 * two workers: `flush` (records; one job takes everything that waits, written per segment, one fdatasync,
 * then the report) and `meta` (term and vote, so that votes never queue behind data), plus `read` for cold
 * bytes and for preparing segments. With manual workers (common/worker.h) and another disk the same code runs
 * in the simulator.
 *
 * Positions are bytes in the endless log: the first record has position 0, each next one begins where the
 * last ended, whatever segments hold them, so they are identical on all replicas. A record is written, and
 * sent to followers, verbatim:
 *
 *   off size (little-endian)
 *   0   4  magic "LMR1"
 *   4   4  length of the whole record, DL_RECORD_HEAD..DL_RECORD_MAX
 *   8   8  index
 *   16  8  term
 *   24  8  position of this record
 *   32  2  kind (enum dl_kind)          34  2  zero
 *   36  4  checksum of the record before it in the log (0 for the first): the chain
 *   40  4  salt: CRC32C of the group's name
 *   44  4  CRC32C over bytes 0..43 and the body
 *   48  .. body
 *
 * Position and salt tie a record to its place and group, so that no record of an older use of a recycled file
 * is taken for valid; the chain does the same for what is left behind a truncation.
 *
 * Lost durability (failed write or fsync) ends the process through `fatal` (opts.on_disk_failure in tests and
 * simulator); it is never retried into success.
 */
#ifndef DLEDGER_STORE_STORE_H
#define DLEDGER_STORE_STORE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/worker.h"
#include "dledger/core/core.h"
#include "dledger/store/disk.h"

#define DL_RECORD_HEAD 48u
#define DL_RECORD_MAX  (8u * 1024 * 1024)

struct dl_store;

/* One record: its head fields and where its bytes are. The reference on buf belongs to whoever filled the
 * struct, see each function. */
struct dl_entry {
    dl_index_t index;
    dl_term_t term;
    dl_pos_t pos; /* of the record; its body is at pos + DL_RECORD_HEAD */
    uint32_t kind;
    uint32_t len;    /* record bytes including the head */
    uint32_t offset; /* record bytes start at buf->data + offset */
    struct buf *buf;
};
static inline const uint8_t *dl_entry_body(const struct dl_entry *e)
{
    return e->buf->data + e->offset + DL_RECORD_HEAD;
}
static inline uint32_t dl_entry_body_len(const struct dl_entry *e)
{
    return e->len - DL_RECORD_HEAD;
}

struct dl_store_opts {
    struct disk *disk;         /* must outlive the store */
    const char *group;         /* dLegerGroup; a directory of another group is refused (ERR_FOREIGN) */
    dl_peer_t self;            /* a directory of another replica is refused (ERR_FOREIGN) */
    struct dl_members members; /* contains self; a directory of other members is refused (ERR_FOREIGN) */
    uint64_t seed;             /* for numbers in segment heads that no client may guess: entropy of its own */
    uint64_t segment_bytes;    /* 64 MiB; 64 KiB at least (tests) */
    /* 8 MiB: newest records kept in memory; what is not yet applied is kept always. */
    uint64_t cache_bytes;
    struct worker *flush, *meta, *read;
    void (*on_persisted)(void *arg, dl_index_t index,
                         dl_term_t term);            /* loop thread: all up to index are durable */
    void (*on_hard)(void *arg, struct dl_hard hard); /* loop thread: hard state is durable */
    void (*on_disk_failure)(
        void *arg, const char *what); /* any thread; NULL: fatal(). Must not return in a real process */
    void *arg;
    void (*on_fsync)(void *arg, uint64_t us,
                     uint64_t bytes); /* loop thread, per flush, for the histogram; may be NULL */
};

/* Open (or make) the log: read both hard-state slots, check segments, cut a torn tail (never acknowledged),
 * refuse damage before the known durable point (ERR_DAMAGED naming file and offset), other formats
 * (ERR_VERSION), another process (ERR_LOCKED), foreign data (ERR_FOREIGN). Blocks; at start only. */
int dl_store_open(const struct dl_store_opts *opts, struct dl_store **out, struct err *err) MUSTCHECK;
/* Waits for the job that runs, writes nothing: what was not reported persisted may or may not be there at the
 * next open. Loads and reads under way get their callback with ERR_CLOSED from within; no other callback
 * follows. Jobs still queued do nothing; the memory goes when the last has come back, so free workers and run
 * the loop's posted work after this. */
void dl_store_close(struct dl_store *s);

/* What recovery found, for dl_core_new; `commit`, `now_ms` are left 0 for the caller. `runs` is lent until
 * the next call on the store. */
void dl_store_start(const struct dl_store *s, struct dl_core_start *start);

/* Leader: append one entry. `buf` holds DL_RECORD_HEAD free bytes and then the body (buf->len counts both);
 * the head is written here; the store takes its own reference. index must be last+1. Returns the record's
 * position through *pos (may be NULL). */
void dl_store_append(struct dl_store *s, dl_index_t index, dl_term_t term, uint32_t kind, struct buf *buf,
                     dl_pos_t *pos);

/* Follower: check a push's record bytes (untrusted) before the core sees the message: count, contiguous
 * indexes first..last, terms not falling, kinds, lengths, checksums, chain among them. Fills terms[0..n).
 * ERR_MALFORMED names what is wrong. Does not look at the log. */
int dl_records_check(const char *group, const uint8_t *data, size_t len, dl_index_t first, dl_index_t last,
                     dl_term_t *terms, uint32_t terms_max, struct err *err) MUSTCHECK;
/* Follower: append the records with index >= from out of such checked bytes (by reference). They must chain
 * on to the log's last record: ENSUREd position; a broken chain is ERR_DAMAGED (the logs differ although
 * terms agree) and nothing is appended. */
int dl_store_append_records(struct dl_store *s, struct buf *buf, uint32_t offset, uint32_t len,
                            dl_index_t from, struct err *err) MUSTCHECK;

/* Gather: while corked, appends and truncations wait; uncorking starts the flush. Optional; put around what
 * one turn of the loop appends, so that it is one batch rather than its first record and the rest. */
void dl_store_cork(struct dl_store *s, bool corked);

/* Remove all entries from `from` on; ordered with appends; durable (and not resurrectable) before anything
 * appended later is reported persisted. */
void dl_store_truncate(struct dl_store *s, dl_index_t from);

/* Start making term and vote durable; on_hard follows. Later calls overtake earlier ones that have not
 * begun. */
void dl_store_save_hard(struct dl_store *s, struct dl_hard hard);

/* Tell what is applied (bounds the cache's pinned part) and what is committed (stored lazily with the next
 * flush as recovery's known durable point). */
void dl_store_note(struct dl_store *s, dl_index_t commit, dl_index_t applied);

/* Entry from memory: 0 and *e with a reference for the caller, ERR_AGAIN when it is only on disk,
 * ERR_NOT_FOUND outside begin..last. */
int dl_store_entry(struct dl_store *s, dl_index_t index, struct dl_entry *e) MUSTCHECK;
/* Entry from disk, blocking: at start (replay) and in tools only. */
int dl_store_entry_blocking(struct dl_store *s, dl_index_t index, struct dl_entry *e,
                            struct err *err) MUSTCHECK;
/* Read records from `first` on (about max_bytes, at least one) on the read worker; `done` on the loop thread
 * with a buffer of whole verified records (reference handed over; NULL on error) and the last index in it.
 * For catching up a follower. At most DL_STORE_LOADS_MAX under way, else ERR_BUSY. */
#define DL_STORE_LOADS_MAX 32
typedef void (*dl_store_load_fn)(void *arg, int err, struct buf *records, dl_index_t first, dl_index_t last);
int dl_store_load(struct dl_store *s, dl_index_t first, uint32_t max_bytes, dl_store_load_fn done,
                  void *arg) MUSTCHECK;

/* Bytes at a position, for pulls. `read` copies from memory or the page cache and never waits: 0, ERR_AGAIN
 * (only on disk), ERR_NOT_FOUND (outside the log). */
int dl_store_read(struct dl_store *s, dl_pos_t pos, uint32_t len, uint8_t *dst) MUSTCHECK;
/* The same for several ranges into one buffer on the read worker. `ranges` is copied; `done` on the loop
 * thread, 0 or ERR_IO. `dst` must stay until then. */
struct dl_range {
    dl_pos_t pos;
    uint32_t len;
    uint8_t *dst;
};
int dl_store_read_async(struct dl_store *s, const struct dl_range *ranges, uint32_t count,
                        void (*done)(void *arg, int err), void *arg) MUSTCHECK;

/* Facts. */
struct dl_store_view {
    dl_index_t begin, last, persisted;
    dl_pos_t begin_pos, end_pos;
    uint64_t segments, cache_bytes, disk_bytes, fsyncs, appended_bytes;
};
void dl_store_view(const struct dl_store *s, struct dl_store_view *view);

/* Forget whole segments that end before `index`; their files are kept for reuse up to a limit. */
void dl_store_trim(struct dl_store *s, dl_index_t index);

#endif
