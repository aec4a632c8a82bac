/*
 * segment.h - one file of the log: its head, the records in it, and the flush mark behind the last one.
 *
 * Segment file, little-endian:
 *   off   size
 *   0     4096  head: written and synced once, before the file gets its name
 *     0     8     magic "LMSEG\0\0\0"
 *     8     4     format version (2)
 *     12    4     salt: CRC32C of the group's name
 *     16    8     position of the first record (also the file's name)
 *     24    8     index of the first record
 *     32    8     term of the record before the first (0 = none)
 *     40    4     checksum of the record before the first (0 = none)
 *     44    2     length of the group's name
 *     46    128   the group's name, zero-filled
 *     174   2     zero
 *     176   8     secret: a new random number for each use of a file
 *     184   ..    zero
 *     4092  4     CRC32C over bytes 0..4091
 *   4096  ..    records (store.h), one behind the other; the one at position p lies at 4096 + p - first
 *   position ..    48    flush mark; the next record overwrites it
 *   ..    ..    zeros, or what an earlier use of the file left
 *
 * Flush mark: says which bytes were already durable when the last batch was written, so that recovery can
 * tell a torn batch (sectors of one write reach the disk in any order) from rot in durable bytes. It costs
 * nothing: it is the last piece of the batch's own write. It is looked for at any byte, so bodies must not be
 * able to hold one: the secret is in the head and in marks only, and neither is ever sent or read out.
 *   0     4     magic "LMF2"
 *   4     4     checksum of the last record
 *   8     8     secret of the segment
 *   16    8     start: all records before this position were durable when the mark was written
 *   24    8     end: position of the mark itself = end of the records
 *   32    8     index of the last record
 *   40    4     zero
 *   44    4     CRC32C over bytes 0..43
 *
 * Stateless but for struct segment_scan; any thread.
 */
#ifndef DLEDGER_STORE_SEGMENT_H
#define DLEDGER_STORE_SEGMENT_H

#include "dledger/store/disk.h"
#include "dledger/store/record.h"

#define SEGMENT_HEAD_BYTES 4096u
#define SEGMENT_VERSION    2u
#define SEGMENT_MARK_BYTES 48u
#define SEGMENT_GROUP_MAX  128u /* bytes of a group's name */
#define SEGMENT_PATH_MAX   48u
#define SEGMENT_DIR        "log"

struct segment_head {
    dl_pos_t first_pos;
    dl_index_t first_index;
    dl_term_t prev_term;
    uint32_t prev_crc;
    uint64_t secret;
};

struct segment_mark {
    dl_pos_t start, end;
    dl_index_t last;
    uint32_t last_crc;
};

/* Paths relative to the disk's root: "log/<20 digits>.seg", its index "log/<20 digits>.idx", and unused files
 * "log/spare-<id>". */
void segment_path(char path[SEGMENT_PATH_MAX], dl_pos_t first_pos);
void segment_index_path(char path[SEGMENT_PATH_MAX], dl_pos_t first_pos);
void segment_spare_path(char path[SEGMENT_PATH_MAX], uint32_t id);
/* The number in a file name of the given form ("%20u.seg", ...); false when it is not of that form. */
bool segment_name_parse(const char *name, const char *suffix, dl_pos_t *first_pos);
bool segment_spare_parse(const char *name, uint32_t *id);

static inline uint64_t segment_offset(dl_pos_t first_pos, dl_pos_t pos)
{
    return SEGMENT_HEAD_BYTES + (pos - first_pos);
}

void segment_head_encode(uint8_t out[SEGMENT_HEAD_BYTES], const char *group, const struct segment_head *head);
/* ERR_DAMAGED, ERR_VERSION or ERR_FOREIGN, naming `path`. `group` NULL: any (logdump); the name is copied to
 * group_out when not NULL. */
int segment_head_decode(const uint8_t in[SEGMENT_HEAD_BYTES], const char *path, const char *group,
                        struct segment_head *head, char group_out[SEGMENT_GROUP_MAX + 1],
                        struct err *err) MUSTCHECK;

void segment_mark_encode(uint8_t out[SEGMENT_MARK_BYTES], uint64_t secret, const struct segment_mark *mark);
/* True when a good mark of the segment with this secret stands at position `pos`. */
bool segment_mark_decode(const uint8_t in[SEGMENT_MARK_BYTES], uint64_t secret, dl_pos_t pos,
                         struct segment_mark *mark);

/* A walk over the records of a segment, each checked in full (place, salt, index, chain, checksum). */
struct segment_scan {
    struct disk *disk;
    int fd;
    uint32_t salt;
    uint64_t secret;    /* of the segment; only segment_look_behind needs it */
    dl_pos_t first_pos; /* of the segment */
    dl_pos_t limit;     /* stop here at the latest */
    /* Where the walk is: what the next record must have. Starts at a record, ends at the first place where
     * there is no good one. */
    dl_pos_t pos;
    dl_index_t index;
    dl_term_t term; /* of the record before; terms do not fall */
    uint32_t prev_crc;
    /* Called for each good record; bytes are lent for the call. May be NULL. */
    void (*each)(void *arg, const struct record_head *head, const uint8_t *record);
    void *arg;
};
/* 0 when the end of the good records was found, ERR_IO when reading failed. */
int segment_scan(struct segment_scan *scan, struct err *err) MUSTCHECK;

/* What can be seen behind a place where the chain of records breaks. */
struct segment_rest {
    bool mark_here, mark_seen, record_seen;
    struct segment_mark mark; /* mark_here or mark_seen: the last good one at or behind the place */
    dl_pos_t record_end;      /* record_seen: how far records behind the place reach, if they are whole */
};
/* Look for good marks in [scan->pos, to), at any byte, and behind scan->pos for heads of records that stand at
 * their place. Anybody whose message is in the log can make such a head, whole record or not: it proves nothing. */
int segment_look_behind(const struct segment_scan *scan, dl_pos_t to, struct segment_rest *rest,
                        struct err *err) MUSTCHECK;

#endif
