/*
 * disk_posix.c - the real disk: struct disk_ops by Linux system calls. Handles are file descriptors.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/ensure.h"
#include "dledger/store/disk.h"

#define PATH_BYTES (sizeof(((struct disk *)0)->root) + 64)

/* Root and relative path in one; -ENAMETOOLONG when it does not fit. */
static int full_path(const struct disk *d, const char *path, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", d->root, path);
    return n < 0 || (size_t)n >= PATH_BYTES ? -ENAMETOOLONG : 0;
}

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int open_with(struct disk *d, const char *path, int flags)
{
    char full[PATH_BYTES];
    int rc = full_path(d, path, full);
    return rc != 0 ? rc : result(open(full, O_RDWR | O_CLOEXEC | flags, 0644));
}

static int posix_open(struct disk *d, const char *path, bool create)
{
    return open_with(d, path, create ? O_CREAT : 0);
}

static int posix_open_direct(struct disk *d, const char *path, bool create)
{
    int fd = open_with(d, path, O_DIRECT | (create ? O_CREAT : 0));
    return fd == -EINVAL ? posix_open(d, path, create) : fd; /* a file system without direct writes */
}

/* Some file systems take O_DIRECT and then ask for more than whole DISK_BLOCKs (larger logical blocks): they
 * refuse the first call by EINVAL, before anything is done. Such a handle goes through the page cache from
 * there on. False: it does already, the error is another one. */
static bool go_buffered(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) && fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

static int posix_close(struct disk *d, int fd)
{
    (void)d;
    return result(close(fd));
}

static int64_t posix_size(struct disk *d, int fd)
{
    struct stat st;
    (void)d;
    return fstat(fd, &st) != 0 ? -errno : st.st_size;
}

static int64_t posix_pread(struct disk *d, int fd, void *data, size_t len, uint64_t offset)
{
    size_t done = 0;
    (void)d;
    while (done < len) {
        ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL && done > 0)
            break; /* a direct handle at a file's end within a block: the rest is no place to ask for */
        if (n < 0 && errno == EINVAL && go_buffered(fd))
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static int64_t posix_pread_nowait(struct disk *d, int fd, void *data, size_t len, uint64_t offset)
{
    struct iovec iov = {data, len};
    (void)d;
    ssize_t n = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    /* Some file systems cannot tell (EOPNOTSUPP): then the caller must read where it may wait. */
    return n == (ssize_t)len ? n : -EAGAIN;
}

static int64_t posix_pwritev(struct disk *d, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    struct iovec part[IOV_MAX];
    struct iovec *p = part;
    int64_t total = 0;
    (void)d;
    ENSURE(count > 0 && count <= IOV_MAX);
    memcpy(part, iov, (size_t)count * sizeof(*iov));
    for (;;) {
        while (count > 0 && p->iov_len == 0) {
            p++;
            count--;
        }
        if (count == 0)
            return total;
        ssize_t n = pwritev(fd, p, count, (off_t)(offset + (uint64_t)total));
        if (n < 0 && (errno == EINTR || (errno == EINVAL && go_buffered(fd))))
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        total += n;
        for (int i = 0; n > 0; i++) {
            size_t used = (size_t)n < p[i].iov_len ? (size_t)n : p[i].iov_len;
            p[i].iov_base = (char *)p[i].iov_base + used;
            p[i].iov_len -= used;
            n -= (ssize_t)used;
        }
    }
}

static int posix_fdatasync(struct disk *d, int fd)
{
    (void)d;
    return result(fdatasync(fd));
}

static int posix_truncate(struct disk *d, int fd, uint64_t size)
{
    (void)d;
    return result(ftruncate(fd, (off_t)size));
}

static int posix_rename(struct disk *d, const char *from, const char *to)
{
    char full_from[PATH_BYTES], full_to[PATH_BYTES];
    int rc = full_path(d, from, full_from);
    if (rc == 0)
        rc = full_path(d, to, full_to);
    return rc != 0 ? rc : result(rename(full_from, full_to));
}

static int posix_unlink(struct disk *d, const char *path)
{
    char full[PATH_BYTES];
    int rc = full_path(d, path, full);
    return rc != 0 ? rc : result(unlink(full));
}

static int posix_mkdir(struct disk *d, const char *path)
{
    char full[PATH_BYTES];
    int rc = full_path(d, path, full);
    if (rc != 0)
        return rc;
    rc = result(mkdir(full, 0755));
    return rc == -EEXIST ? 0 : rc;
}

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = result(fsync(fd));
    close(fd);
    return rc;
}

static int posix_sync_dir(struct disk *d, const char *path)
{
    char full[PATH_BYTES];
    int rc = full_path(d, path, full);
    return rc != 0 ? rc : sync_path(full);
}

static int posix_list(struct disk *d, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    char full[PATH_BYTES];
    int rc = full_path(d, path, full);
    if (rc != 0)
        return rc;
    DIR *dir = opendir(full);
    if (!dir)
        return -errno;
    for (;;) {
        errno = 0; /* NULL is the end or an error, and `each` may leave an errno */
        struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(arg, entry->d_name);
    }
    rc = -errno;
    closedir(dir);
    return rc;
}

static int posix_lock(struct disk *d, const char *path)
{
    int fd = posix_open(d, path, true);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int64_t posix_free_bytes(struct disk *d)
{
    struct statvfs st;
    return statvfs(d->root, &st) != 0 ? -errno : (int64_t)(st.f_bavail * st.f_frsize);
}

static int posix_drop_cache(struct disk *d, int fd)
{
    (void)d;
    return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static const struct disk_ops posix_ops = {
    .open = posix_open,
    .open_direct = posix_open_direct,
    .close = posix_close,
    .size = posix_size,
    .pread = posix_pread,
    .pread_nowait = posix_pread_nowait,
    .pwritev = posix_pwritev,
    .fdatasync = posix_fdatasync,
    .truncate = posix_truncate,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .lock = posix_lock,
    .free_bytes = posix_free_bytes,
    .drop_cache = posix_drop_cache,
};

/* Make the directory unless it is there, with its entry durable in its parent. One that is there may have been
 * made by a process that died before its sync; not, though, in a parent where we have no rights or which cannot
 * be synced (EINVAL, autofs). `path` is changed and restored. */
static int make_dir(char *path)
{
    int made = result(mkdir(path, 0755));
    if (made != 0 && made != -EEXIST)
        return made;
    char *slash = strrchr(path, '/');
    char *end = slash == path ? slash + 1 : slash; /* the parent of "/a" is "/" */
    char kept = slash ? *end : '\0';
    if (slash)
        *end = '\0';
    const char *parent = slash ? path : ".";
    int rc = made == 0 || access(parent, R_OK | W_OK) == 0 ? sync_path(parent) : 0;
    if (slash)
        *end = kept;
    return made == -EEXIST && rc == -EINVAL ? 0 : rc;
}

int disk_posix_init(struct disk *d, const char *root)
{
    size_t len = strlen(root);
    while (len > 1 && root[len - 1] == '/')
        len--;
    if (len == 0)
        return -ENOENT;
    if (len >= sizeof(d->root))
        return -ENAMETOOLONG;
    memset(d, 0, sizeof(*d));
    d->ops = &posix_ops;
    memcpy(d->root, root, len);
    for (char *slash = strchr(d->root + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = make_dir(d->root);
        *slash = '/';
        if (rc != 0)
            return rc;
    }
    int rc = make_dir(d->root);
    if (rc != 0)
        return rc;
    struct stat st;
    if (stat(d->root, &st) != 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}
