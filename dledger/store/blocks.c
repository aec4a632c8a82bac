/* blocks.c - see blocks.h. */
#include "dledger/store/blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void blocks_init(struct blocks *b, struct disk *disk)
{
    *b = (struct blocks){.disk = disk, .fd = -1};
}

void blocks_release(struct blocks *b)
{
    free(b->stage);
    b->stage = NULL;
}

void blocks_use(struct blocks *b, int fd)
{
    b->fd = fd;
    b->at = b->used = b->known = 0;
}

/* Make stage[0..DISK_BLOCK) the file's block at `first`. */
static int load_block(struct blocks *b, uint64_t first)
{
    if (first >= b->at && first + DISK_BLOCK <= b->at + b->known) {
        memmove(b->stage, b->stage + (first - b->at), DISK_BLOCK);
        return 0;
    }
    int64_t n = b->disk->ops->pread(b->disk, b->fd, b->stage, DISK_BLOCK, first);
    if (n < 0)
        return (int)n;
    memset(b->stage + n, 0, DISK_BLOCK - (size_t)n); /* behind the end of the file */
    return 0;
}

int blocks_seek(struct blocks *b, uint64_t offset)
{
    uint64_t first = offset / DISK_BLOCK * DISK_BLOCK;
    ENSURE(b->used == 0 || b->known > 0); /* nothing staged is left behind */
    if (!b->stage)
        b->stage = aligned_alloc(DISK_BLOCK, BLOCKS_STAGE_BYTES);
    ENSURE(b->stage != NULL);
    int rc = first == offset ? 0 : load_block(b, first);
    b->at = first;
    b->used = (size_t)(offset - first);
    b->known = 0;
    return rc;
}

static int write_stage(struct blocks *b)
{
    struct iovec iov = {b->stage, b->used};
    int64_t rc = b->disk->ops->pwritev(b->disk, b->fd, &iov, 1, b->at);
    return rc < 0 ? (int)rc : 0;
}

int blocks_put(struct blocks *b, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        if (b->used == BLOCKS_STAGE_BYTES) {
            int rc = write_stage(b);
            if (rc != 0)
                return rc;
            b->at += b->used;
            b->used = 0;
        }
        size_t n = BLOCKS_STAGE_BYTES - b->used;
        n = n < len ? n : len;
        memcpy(b->stage + b->used, p, n);
        b->used += n;
        p += n;
        len -= n;
    }
    return 0;
}

int blocks_end(struct blocks *b)
{
    size_t whole = (size_t)blocks_round_up(b->used);
    memset(b->stage + b->used, 0, whole - b->used);
    b->used = whole;
    int rc = write_stage(b);
    b->known = rc == 0 ? whole : 0;
    return rc;
}
