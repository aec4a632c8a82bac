/*
 * block_file.c - reads and writes index blocks.
 */
#include "broker/state/block_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

#define NAME_MAX_BYTES 16
#define NAME_FORMAT    "%08u.qx"

static int io_failed(const struct block_files *f, const char *what, uint32_t number)
{
    int rc = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    LOG_ERROR("index file failed", "file=%s/" NAME_FORMAT " call=%s error=\"%s\"", f->dir, number, what,
              strerror(errno));
    return rc;
}

/* Number of a name like 00000012.qx; false for anything else. */
static bool name_parse(const char *name, uint32_t *number)
{
    char again[NAME_MAX_BYTES];
    if (strlen(name) != strlen("00000000.qx") || sscanf(name, "%8u.qx", number) != 1)
        return false;
    if (*number > UINT32_MAX / BLOCK_FILE_SLOTS)
        return false;
    snprintf(again, sizeof again, NAME_FORMAT, *number);
    return strcmp(again, name) == 0;
}

/* One past the last slot that has any byte in the directory's files. */
static int slots_used(int dir_fd, uint32_t *next_slot)
{
    int fd = dup(dir_fd);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return ERR_IO;
    }
    *next_slot = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        uint32_t number;
        struct stat st;
        if (!name_parse(d->d_name, &number))
            continue;
        if (fstatat(dir_fd, d->d_name, &st, 0) != 0) {
            closedir(dir);
            return ERR_IO;
        }
        uint64_t blocks = ((uint64_t)st.st_size + CHECKPOINT_BLOCK_BYTES - 1) / CHECKPOINT_BLOCK_BYTES;
        if (blocks > BLOCK_FILE_SLOTS)
            blocks = BLOCK_FILE_SLOTS;
        uint64_t end = (uint64_t)number * BLOCK_FILE_SLOTS + blocks;
        if (blocks > 0 && end > *next_slot)
            *next_slot = (uint32_t)end;
    }
    closedir(dir);
    return 0;
}

int block_files_open(struct block_files *f, const char *dir, struct err *err)
{
    *f = (struct block_files){.dir_fd = -1, .fd = -1};
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: cannot be made: %s", dir, strerror(errno));
    f->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir_fd < 0)
        return err_set(err, ERR_IO, "%s: cannot be opened: %s", dir, strerror(errno));
    /* A killed process may have made a file without syncing its name, and we shall use it. */
    if (fsync(f->dir_fd) != 0 || slots_used(f->dir_fd, &f->next_slot) != 0) {
        int failed = errno;
        block_files_close(f);
        return err_set(err, ERR_IO, "%s: cannot be read: %s", dir, strerror(failed));
    }
    f->dir = strdup(dir);
    ENSURE(f->dir != NULL);
    return 0;
}

void block_files_close(struct block_files *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->dir_fd >= 0)
        close(f->dir_fd);
    free(f->dir);
    *f = (struct block_files){.dir_fd = -1, .fd = -1};
}

/* Make `number` the file used last. A new one's name is durable before the file is used. */
static int file_use(struct block_files *f, uint32_t number, bool make)
{
    char name[NAME_MAX_BYTES];
    if (f->fd >= 0 && f->number == number)
        return 0;
    snprintf(name, sizeof name, NAME_FORMAT, number);
    int fd = openat(f->dir_fd, name, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make) {
        fd = openat(f->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0 && fsync(f->dir_fd) != 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : io_failed(f, "open", number);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    f->number = number;
    return 0;
}

static off_t slot_at(uint32_t slot)
{
    return (off_t)(slot % BLOCK_FILE_SLOTS) * CHECKPOINT_BLOCK_BYTES;
}

static int block_write(struct block_files *f, const struct checkpoint_block *block)
{
    size_t done = 0;
    while (done < CHECKPOINT_BLOCK_BYTES) {
        ssize_t n = pwrite(f->fd, block->data + done, CHECKPOINT_BLOCK_BYTES - done,
                           slot_at(block->slot) + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_failed(f, "pwrite", f->number);
        done += (size_t)n;
    }
    return 0;
}

int block_files_write(struct block_files *f, const struct checkpoint_block *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t number = blocks[i].slot / BLOCK_FILE_SLOTS;
        int rc = file_use(f, number, true);
        for (; rc == 0 && i < count && blocks[i].slot / BLOCK_FILE_SLOTS == number; i++)
            rc = block_write(f, &blocks[i]);
        if (rc)
            return rc;
        if (fdatasync(f->fd) != 0)
            return io_failed(f, "fdatasync", number);
    }
    return 0;
}

int block_files_read(struct block_files *f, uint32_t slot, uint8_t *data)
{
    int rc = file_use(f, slot / BLOCK_FILE_SLOTS, false);
    if (rc)
        return rc;
    size_t done = 0;
    while (done < CHECKPOINT_BLOCK_BYTES) {
        ssize_t n = pread(f->fd, data + done, CHECKPOINT_BLOCK_BYTES - done, slot_at(slot) + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_failed(f, "pread", f->number);
        if (n == 0)
            return ERR_NOT_FOUND;
        done += (size_t)n;
    }
    return 0;
}
