/*
 * meta.h - the file `hard`: term and vote in two slots, and the intent of a cut. Three blocks of 4 KiB:
 *
 *   slot 0 at 0, slot 1 at 4096:
 *   0     8     magic "LMHARD\0\0"
 *   8     4     format version (2)
 *   12    4     replica (peer id)
 *   16    8     sequence: the good slot with the higher one counts
 *   24    8     term
 *   32    4     vote (0 = none)
 *   36    4     1: it counts in majorities (dledger/core/join.c), 0: not yet
 *   40    8     an index known to be committed and durable here (0 = none)
 *   48    8     position behind that entry
 *   56    2     length of the group's name
 *   58    128   the group's name, zero-filled
 *   186   2     zero
 *   188   4     number of the group's replicas, 1..9
 *   192   36    their ids, ascending, zero-filled
 *   228   ..    zero
 *   4092  4     CRC32C over bytes 0..4091
 *
 *   cut intent at 8192 (all zero: none):
 *   0     8     magic "LMCUT\0\0\0"
 *   8     8     first position of the segment that is cut
 *   16    8     position of the cut
 *   24    8     position up to which that segment may hold what is cut
 *   32    8     index of the first entry cut
 *   40    4     checksum of the last entry kept (0 = none)
 *   4092  4     CRC32C over bytes 0..4091
 *
 * A save writes the slot with the lower sequence, syncs, and only then is reported; afterwards the same
 * content goes to the other slot as well. So at rest both slots say the same and a slot gone bad costs
 * nothing, while a slot found bad after a crash was either torn by a save that was never reported, or has a
 * twin. Two bad slots are damage.
 *
 * A cut of the log is written here before the log is touched, and removed when it is complete, so that a
 * crash in between is finished at the next start and never looks like rot.
 *
 * Slots are written by the meta worker, the intent by the flush worker, both by open: different blocks, no
 * lock.
 */
#ifndef DLEDGER_STORE_META_H
#define DLEDGER_STORE_META_H

#include <stdbool.h>

#include "common/err.h"
#include "dledger/core/types.h"
#include "dledger/store/disk.h"

#define META_PATH        "hard"
#define META_BLOCK_BYTES 4096u
#define META_VERSION     2u
#define META_GROUP_MAX   128u

struct meta_slot {
    uint64_t sequence;
    dl_peer_t self;
    struct dl_hard hard;
    dl_index_t commit;
    dl_pos_t commit_end;
    char group[META_GROUP_MAX + 1];
    struct dl_members members; /* all voters in this version; only the ids are stored */
};

struct meta_cut {
    dl_pos_t segment, from, end;
    dl_index_t index;
    uint32_t prev_crc;
};

struct meta {
    struct disk *disk;
    int fd;
    int newest;            /* slot that holds `slot` */
    struct meta_slot slot; /* last written */
};

/* Decode one slot. 0, ERR_DAMAGED, ERR_VERSION. For open and logdump. */
int meta_slot_decode(const uint8_t in[META_BLOCK_BYTES], struct meta_slot *slot) MUSTCHECK;
/* True when the block holds a good intent. */
bool meta_cut_decode(const uint8_t in[META_BLOCK_BYTES], struct meta_cut *cut);

/* Open the file, or make it when it is missing and `fresh` (no log exists). Repairs a single bad slot. A file of
 * another group, another replica or other members is ERR_FOREIGN. ERR_DAMAGED, ERR_VERSION, ERR_IO... with the
 * file's name. */
int meta_open(struct meta *m, struct disk *disk, const char *group, dl_peer_t self,
              const struct dl_members *members, bool fresh, struct err *err) MUSTCHECK;
void meta_close(struct meta *m);

/* Write the older slot and sync: 0 or -errno. Blocks. */
int meta_save(struct meta *m, struct dl_hard hard, dl_index_t commit, dl_pos_t commit_end) MUSTCHECK;
/* Give the other slot the same content: 0 or -errno. Blocks. */
int meta_mirror(struct meta *m) MUSTCHECK;

/* The intent: read at start (ERR_IO), write, remove. Write and remove sync; 0 or -errno. */
int meta_cut_read(struct meta *m, struct meta_cut *cut, bool *present, struct err *err) MUSTCHECK;
int meta_cut_write(struct meta *m, const struct meta_cut *cut) MUSTCHECK;
int meta_cut_clear(struct meta *m) MUSTCHECK;

#endif
