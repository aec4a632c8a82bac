/*
 * block_file.h - index blocks on disk: files of 65,536 blocks of 4 KiB each, without a header.
 *
 * Slot n is block n % 65536 of file index/<n / 65536 as 8 decimal digits>.qx. A slot is written once; blocks
 * name their queue and carry a checksum (qindex.h). Which slots matter is said by the checkpoint: those
 * beyond, left by a crash, are skipped and never read. Private to checkpoint_lmdb.c; one thread at a time.
 */
#ifndef BROKER_STATE_BLOCK_FILE_H
#define BROKER_STATE_BLOCK_FILE_H

#include <stdint.h>

#include "broker/state/checkpoint.h"
#include "common/err.h"

#define BLOCK_FILE_SLOTS 65536u

struct block_files {
    char *dir;
    int dir_fd;
    int fd; /* of the file used last; -1 = none */
    uint32_t number;
    uint32_t next_slot; /* at open */
};

/* Makes `dir` when it is not there. */
int block_files_open(struct block_files *f, const char *dir, struct err *err) MUSTCHECK;
void block_files_close(struct block_files *f);
/* Ascending slots. Returns when blocks, file sizes and file names are durable. */
int block_files_write(struct block_files *f, const struct checkpoint_block *blocks, uint32_t count) MUSTCHECK;
/* ERR_NOT_FOUND when the file is shorter. */
int block_files_read(struct block_files *f, uint32_t slot, uint8_t *data) MUSTCHECK;

#endif
