/*
 * fakedisk.h - a disk in memory that loses what was not synced: struct disk_ops for tests and the simulator.
 * One thread.
 *
 * Each file has what readers see and, for sectors (512 bytes) not yet synced, what the medium holds. Each
 * directory has the names readers see and a list of changes not yet synced. A crash decides per sector and
 * per change, by the given generator, what reached the medium.
 */
#ifndef TESTS_LIB_FAKEDISK_H
#define TESTS_LIB_FAKEDISK_H

#include "common/rng.h"
#include "dledger/store/disk.h"

#define FAKEDISK_SECTOR 512u

enum fakedisk_op {
    FAKEDISK_OPEN,
    FAKEDISK_READ,
    FAKEDISK_WRITE,
    FAKEDISK_SYNC,
    FAKEDISK_RENAME,
    FAKEDISK_UNLINK,
    FAKEDISK_SYNC_DIR,
    FAKEDISK_OP_COUNT,
};

struct fakedisk; /* first member is struct disk */

struct fakedisk *fakedisk_new(void);
void fakedisk_free(struct fakedisk *f);
struct disk *fakedisk_disk(struct fakedisk *f);

/* Let the `nth` (1 = the next) call of `op` from now on, and all after it if `forever`, answer -error. nth 0:
 * no fault. */
void fakedisk_fail(struct fakedisk *f, enum fakedisk_op op, uint64_t nth, int error, bool forever);
/* Turn the power off before the nth call that changes something (write, sync, truncate, rename, unlink,
 * mkdir, create): it and all later calls answer -EIO until fakedisk_crash. 0: never. A write that meets it is
 * torn: some of its sectors may still reach the medium. */
void fakedisk_power_off_at(struct fakedisk *f, uint64_t nth);
bool fakedisk_is_off(const struct fakedisk *f);
/* Calls so far that change something. */
uint64_t fakedisk_changes(const struct fakedisk *f);

/* Odds that something not synced is kept by a crash: 0 = all lost, 1 = all kept, between: each for itself.
 * With 0 < keep < 1 a sector that is neither may also be torn within. Handles and locks die; the disk can be
 * used again. */
void fakedisk_crash(struct fakedisk *f, struct rng *rng, double keep);

/* The process dies, the machine goes on: handles and locks die, nothing is lost, and what was not synced
 * still is not. */
void fakedisk_kill(struct fakedisk *f);

/* Flip a bit, in what readers see and on the medium alike. ENSUREs that the file has that byte. */
void fakedisk_flip(struct fakedisk *f, const char *path, uint64_t offset, uint8_t mask);
/* Size of a file as readers see it, or -ENOENT. */
int64_t fakedisk_file_size(const struct fakedisk *f, const char *path);
/* Bytes of a file on the medium (as if all not synced were lost): how many were copied. 0 when the name is
 * not durable. */
size_t fakedisk_durable_read(const struct fakedisk *f, const char *path, uint64_t offset, void *data,
                             size_t len);

#endif
