/*
 * files.c - open segment files, a bounded number of them. See files.h.
 */
#include "dledger/store/files.h"

#include <errno.h>

#include "common/ensure.h"

static void unlink_file(struct files *f, struct file *file)
{
    *(file->newer ? &file->newer->older : &f->newest) = file->older;
    *(file->older ? &file->older->newer : &f->oldest) = file->newer;
    file->newer = file->older = NULL;
    f->open_count--;
}

static void link_newest(struct files *f, struct file *file)
{
    file->older = f->newest;
    file->newer = NULL;
    *(f->newest ? &f->newest->newer : &f->oldest) = file;
    f->newest = file;
    f->open_count++;
}

/* Take one unpinned file out when there are too many; its descriptor is for the caller to close. -1: none. */
static int evict(struct files *f)
{
    if (f->open_count <= FILES_OPEN_MAX)
        return -1;
    for (struct file *file = f->oldest; file; file = file->newer) {
        if (file->pins > 0)
            continue;
        int fd = file->fd;
        file->fd = -1;
        unlink_file(f, file);
        return fd;
    }
    return -1;
}

void files_init(struct files *f, struct disk *disk)
{
    *f = (struct files){.disk = disk};
    ENSURE(pthread_mutex_init(&f->mutex, NULL) == 0);
}

void files_release(struct files *f)
{
    while (f->newest) {
        struct file *file = f->newest;
        unlink_file(f, file);
        f->disk->ops->close(f->disk, file->fd);
        file->fd = -1;
    }
    pthread_mutex_destroy(&f->mutex);
}

int files_pin_open(struct files *f, struct file *file)
{
    pthread_mutex_lock(&f->mutex);
    int fd = file->fd >= 0 ? file->fd : -EAGAIN;
    if (fd >= 0) {
        file->pins++;
        unlink_file(f, file);
        link_newest(f, file);
    }
    pthread_mutex_unlock(&f->mutex);
    return fd;
}

/* Make `fd` the file's descriptor unless another thread was faster; returns what is to be closed, twice at
 * most. */
static int install(struct files *f, struct file *file, int fd, int surplus[2])
{
    pthread_mutex_lock(&f->mutex);
    surplus[0] = -1;
    if (file->fd >= 0) {
        surplus[0] = fd;
        unlink_file(f, file);
    } else {
        file->fd = fd;
    }
    file->pins++;
    link_newest(f, file);
    surplus[1] = evict(f);
    fd = file->fd;
    pthread_mutex_unlock(&f->mutex);
    return fd;
}

static int adopt(struct files *f, struct file *file, int fd)
{
    int surplus[2];
    fd = install(f, file, fd, surplus);
    for (int i = 0; i < 2; i++)
        if (surplus[i] >= 0)
            f->disk->ops->close(f->disk, surplus[i]);
    return fd;
}

int files_pin(struct files *f, struct file *file, const char *path)
{
    int fd = files_pin_open(f, file);
    if (fd >= 0)
        return fd;
    fd = f->disk->ops->open(f->disk, path, false);
    return fd < 0 ? fd : adopt(f, file, fd);
}

void files_adopt(struct files *f, struct file *file, int fd)
{
    ENSURE(file->fd < 0);
    adopt(f, file, fd);
}

void files_unpin(struct files *f, struct file *file)
{
    pthread_mutex_lock(&f->mutex);
    ENSURE(file->pins > 0);
    file->pins--;
    int fd = evict(f);
    pthread_mutex_unlock(&f->mutex);
    if (fd >= 0)
        f->disk->ops->close(f->disk, fd);
}

void files_close(struct files *f, struct file *file)
{
    pthread_mutex_lock(&f->mutex);
    ENSURE(file->pins == 0);
    int fd = file->fd;
    if (fd >= 0) {
        file->fd = -1;
        unlink_file(f, file);
    }
    pthread_mutex_unlock(&f->mutex);
    if (fd >= 0)
        f->disk->ops->close(f->disk, fd);
}
