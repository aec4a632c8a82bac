/*
 * blocks.h - the end of the file being written, in whole blocks.
 *
 * A log appends bytes; a disk takes blocks. Bytes are gathered in an aligned stage and written DISK_BLOCK
 * at a time through a handle that goes past the page cache (disk.h, open_direct): no second copy there, no
 * pages to be found for data that is rarely read again, no read of a block of which only a part is new. The
 * last block of a write is filled up with zeros, and kept, because the next write begins in it: the bytes
 * it already held are written again as they are. Whoever reads uses an ordinary handle.
 *
 * One thread at a time (the flush worker).
 */
#ifndef DLEDGER_STORE_BLOCKS_H
#define DLEDGER_STORE_BLOCKS_H

#include "common/ensure.h"
#include "dledger/store/disk.h"

#define BLOCKS_STAGE_BYTES (1u * 1024 * 1024) /* most bytes in one write */

struct blocks {
    struct disk *disk;
    int fd;         /* of the file being written, -1: none */
    uint8_t *stage; /* aligned; allocated at first use */
    uint64_t at;    /* file offset of stage[0]: a multiple of DISK_BLOCK */
    size_t used;    /* bytes staged; the next one goes to at + used */
    size_t known;   /* bytes of the stage that are also in the file; 0 while bytes are staged */
};

void blocks_init(struct blocks *b, struct disk *disk);
/* Frees the stage, closes nothing. */
void blocks_release(struct blocks *b);

/* Write to `fd` from now on (from open_direct; stays the caller's). Also to be called when the file was
 * changed by another way: what is known of it is forgotten. */
void blocks_use(struct blocks *b, int fd);
/* The next byte goes to file offset `offset`; what stands in its block before it stays, what stands behind
 * the end of the write within its last block becomes zero. 0 or -errno (it may have to read the block). */
int blocks_seek(struct blocks *b, uint64_t offset) MUSTCHECK;
/* Stage bytes; writes whenever the stage is full. 0 or -errno. */
int blocks_put(struct blocks *b, const void *data, size_t len) MUSTCHECK;
/* Write what is staged. Not synced. 0 or -errno. */
int blocks_end(struct blocks *b) MUSTCHECK;

/* The smallest multiple of DISK_BLOCK that is not below `bytes`. */
static inline uint64_t blocks_round_up(uint64_t bytes)
{
    return (bytes + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

#endif
