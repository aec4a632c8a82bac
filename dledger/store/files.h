/*
 * files.h - open segment files, a bounded number of them: least recently used ones are closed.
 *
 * Any thread. A descriptor got from files_pin stays open until files_unpin. No lock is held during a disk
 * call.
 */
#ifndef DLEDGER_STORE_FILES_H
#define DLEDGER_STORE_FILES_H

#include <pthread.h>

#include "dledger/store/disk.h"

#define FILES_OPEN_MAX 64u

/* Part of a segment; private to files.c. */
struct file {
    int fd; /* -1: closed */
    unsigned pins;
    struct file *newer, *older; /* list of open files */
};

struct files {
    struct disk *disk;
    pthread_mutex_t mutex;
    struct file *newest, *oldest;
    unsigned open_count;
};

void files_init(struct files *f, struct disk *disk);
/* Close everything (pinned or not). */
void files_release(struct files *f);
static inline void file_init(struct file *file)
{
    *file = (struct file){.fd = -1};
}

/* Open `path` unless open, and pin it: the descriptor or -errno. Blocks. */
int files_pin(struct files *f, struct file *file, const char *path);
/* The same without blocking: -EAGAIN when it is not open. */
int files_pin_open(struct files *f, struct file *file);
void files_unpin(struct files *f, struct file *file);
/* Take over a descriptor just made; it comes pinned once. */
void files_adopt(struct files *f, struct file *file, int fd);
/* Close it now if open; nobody has it pinned. */
void files_close(struct files *f, struct file *file);

#endif
