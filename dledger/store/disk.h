/*
 * disk.h - the system calls the store makes, as a table, so that tests break them and the simulator replaces
 * the disk.
 *
 * All calls block and are made on worker threads, except at open and `pread_nowait`. Each returns 0 or a
 * count, or -errno. A path is relative to the disk's root directory.
 */
#ifndef DLEDGER_STORE_DISK_H
#define DLEDGER_STORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct disk;

#define DISK_BLOCK 4096u

struct disk_ops {
    int (*open)(struct disk *d, const char *path, bool create); /* read-write; returns a handle >= 0 */
    /* A handle that goes past the page cache where the file system can do that. Offsets, lengths and memory
     * of its reads and writes are multiples of DISK_BLOCK. Ordinary handles see what it writes. */
    int (*open_direct)(struct disk *d, const char *path, bool create);
    int (*close)(struct disk *d, int fd);
    int64_t (*size)(struct disk *d, int fd);
    int64_t (*pread)(struct disk *d, int fd, void *data, size_t len,
                     uint64_t offset); /* short at the end of the file */
    int64_t (*pread_nowait)(struct disk *d, int fd, void *data, size_t len,
                            uint64_t offset); /* -EAGAIN unless all of it is in the page cache */
    int64_t (*pwritev)(struct disk *d, int fd, const struct iovec *iov, int count,
                       uint64_t offset); /* all or an error */
    int (*fdatasync)(struct disk *d, int fd);
    int (*truncate)(struct disk *d, int fd, uint64_t size);
    int (*rename)(struct disk *d, const char *from, const char *to);
    int (*unlink)(struct disk *d, const char *path);
    int (*mkdir)(struct disk *d, const char *path); /* 0 when it exists already */
    int (*sync_dir)(struct disk *d,
                    const char *path); /* make creations, renames and removals in it durable */
    int (*list)(struct disk *d, const char *path, void (*each)(void *arg, const char *name), void *arg);
    int (*lock)(struct disk *d,
                const char *path); /* a handle; exclusive until it is closed; -EWOULDBLOCK when taken */
    int64_t (*free_bytes)(struct disk *d);
    /* Forget what memory holds of the (synced) file, so that the next read comes from the medium: after a
     * failed fsync the two differ. */
    int (*drop_cache)(struct disk *d, int fd);
};

struct disk {
    const struct disk_ops *ops;
    char root[512];
};

/* The real one (disk_posix.c); `root` must exist or be creatable (parents too). Returns 0 or -errno. */
int disk_posix_init(struct disk *d, const char *root);

#endif
