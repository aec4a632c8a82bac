/*
 * fakedisk.c - a disk in memory that loses what was not synced. See fakedisk.h.
 */
#include "tests/lib/fakedisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ensure.h"

#define PATH_MAX_BYTES 96u
#define HANDLES_MAX    512u

/* A file's content; lives as long as a name (seen or durable), a pending change or a handle points at it. */
struct inode {
    unsigned refs;
    uint8_t *data; /* as readers see it; `cap` bytes, zero beyond size */
    uint64_t size, cap, durable_size;
    uint8_t **medium; /* per sector: what the medium holds while it differs in being unsynced; NULL: synced */
    uint64_t sectors; /* length of medium */
    bool *lost; /* per sector: a sync failed, and Linux takes it for clean though it is not on the medium */
    bool cold;  /* not in the page cache, which holds files whole or not at all */
};

struct name {
    char path[PATH_MAX_BYTES];
    struct inode *inode; /* one reference; NULL: a directory */
};

struct names {
    struct name *at;
    unsigned count, cap;
};

/* A change of names not yet durable. */
struct change {
    char remove[PATH_MAX_BYTES], add[PATH_MAX_BYTES]; /* "" = none */
    struct inode *inode;                              /* of `add`; one reference */
};

struct fakedisk {
    struct disk disk;
    struct names seen, durable;
    struct change *changes;
    unsigned change_count, change_cap;
    struct {
        struct inode *inode;
        bool is_lock, direct;
    } handles[HANDLES_MAX];
    bool locked;
    bool off;
    uint64_t change_calls, off_at;
    struct {
        uint64_t left;
        int error;
        bool forever;
    } faults[FAKEDISK_OP_COUNT];
    struct rng tear;
};

/* ---- content ---- */

static struct inode *inode_ref(struct inode *i)
{
    if (i)
        i->refs++;
    return i;
}

static void inode_unref(struct inode *i)
{
    if (!i || --i->refs > 0)
        return;
    for (uint64_t s = 0; s < i->sectors; s++)
        free(i->medium[s]);
    free(i->medium);
    free(i->lost);
    free(i->data);
    free(i);
}

static void inode_grow(struct inode *i, uint64_t size)
{
    if (size > i->cap) {
        uint64_t cap = i->cap ? i->cap : 4096;
        while (cap < size)
            cap *= 2;
        i->data = realloc(i->data, cap);
        ENSURE(i->data != NULL);
        memset(i->data + i->cap, 0, cap - i->cap);
        uint64_t sectors = cap / FAKEDISK_SECTOR;
        i->medium = realloc(i->medium, sectors * sizeof(*i->medium));
        ENSURE(i->medium != NULL);
        memset(i->medium + i->sectors, 0, (sectors - i->sectors) * sizeof(*i->medium));
        i->lost = realloc(i->lost, sectors * sizeof(*i->lost));
        ENSURE(i->lost != NULL);
        memset(i->lost + i->sectors, 0, (sectors - i->sectors) * sizeof(*i->lost));
        i->sectors = sectors;
        i->cap = cap;
    }
    if (size > i->size)
        i->size = size;
}

static void inode_write(struct inode *i, const uint8_t *data, size_t len, uint64_t offset)
{
    inode_grow(i, offset + len);
    for (uint64_t s = offset / FAKEDISK_SECTOR; s * FAKEDISK_SECTOR < offset + len; s++) {
        i->lost[s] = false;
        if (i->medium[s])
            continue;
        i->medium[s] = malloc(FAKEDISK_SECTOR);
        ENSURE(i->medium[s] != NULL);
        memcpy(i->medium[s], i->data + s * FAKEDISK_SECTOR, FAKEDISK_SECTOR);
    }
    memcpy(i->data + offset, data, len);
}

static void inode_sync(struct inode *i)
{
    for (uint64_t s = 0; s < i->sectors; s++) {
        if (i->lost[s])
            continue;
        free(i->medium[s]);
        i->medium[s] = NULL;
    }
    i->durable_size = i->size;
}

static void inode_sync_failed(struct inode *i)
{
    for (uint64_t s = 0; s < i->sectors; s++)
        i->lost[s] = i->medium[s] != NULL;
}

/* What was lost is read from the medium from now on. */
static void inode_drop(struct inode *i)
{
    for (uint64_t s = 0; s < i->sectors; s++) {
        if (!i->lost[s])
            continue;
        memcpy(i->data + s * FAKEDISK_SECTOR, i->medium[s], FAKEDISK_SECTOR);
        free(i->medium[s]);
        i->medium[s] = NULL;
        i->lost[s] = false;
    }
}

static void inode_crash(struct inode *i, struct rng *rng, double keep)
{
    for (uint64_t s = 0; s < i->sectors; s++) {
        if (!i->medium[s])
            continue;
        uint8_t *now = i->data + s * FAKEDISK_SECTOR;
        if (i->lost[s] || !rng_chance(rng, keep)) {
            bool torn = !i->lost[s] && keep > 0 && rng_chance(rng, 0.1);
            size_t lost = torn ? rng_below(rng, FAKEDISK_SECTOR) : 0;
            memcpy(now + lost, i->medium[s] + lost, FAKEDISK_SECTOR - lost);
        }
        free(i->medium[s]);
        i->medium[s] = NULL;
        i->lost[s] = false;
    }
    if (i->size != i->durable_size && !rng_chance(rng, keep)) {
        if (i->size > i->durable_size)
            memset(i->data + i->durable_size, 0, i->size - i->durable_size);
        i->size = i->durable_size;
    }
    i->durable_size = i->size;
}

/* ---- names ---- */

static struct name *names_find(const struct names *n, const char *path)
{
    for (unsigned i = 0; i < n->count; i++)
        if (strcmp(n->at[i].path, path) == 0)
            return &n->at[i];
    return NULL;
}

static void names_remove(struct names *n, const char *path)
{
    struct name *name = names_find(n, path);
    if (!name)
        return;
    inode_unref(name->inode);
    *name = n->at[--n->count];
}

static void names_set(struct names *n, const char *path, struct inode *inode)
{
    inode_ref(inode);
    names_remove(n, path);
    if (n->count == n->cap) {
        n->cap = n->cap ? n->cap * 2 : 16;
        n->at = realloc(n->at, n->cap * sizeof(*n->at));
        ENSURE(n->at != NULL);
    }
    struct name *name = &n->at[n->count++];
    ENSURE(strlen(path) < sizeof(name->path));
    strcpy(name->path, path);
    name->inode = inode;
}

static void names_clear(struct names *n)
{
    while (n->count > 0)
        inode_unref(n->at[--n->count].inode);
    free(n->at);
    *n = (struct names){0};
}

static void change_note(struct fakedisk *f, const char *gone, const char *add, struct inode *inode)
{
    if (f->change_count == f->change_cap) {
        f->change_cap = f->change_cap ? f->change_cap * 2 : 16;
        f->changes = realloc(f->changes, f->change_cap * sizeof(*f->changes));
        ENSURE(f->changes != NULL);
    }
    struct change *c = &f->changes[f->change_count++];
    snprintf(c->remove, sizeof(c->remove), "%s", gone);
    snprintf(c->add, sizeof(c->add), "%s", add);
    c->inode = inode_ref(inode);
}

static void change_apply(struct fakedisk *f, struct change *c, bool keep)
{
    if (keep && c->remove[0])
        names_remove(&f->durable, c->remove);
    if (keep && c->add[0])
        names_set(&f->durable, c->add, c->inode);
    inode_unref(c->inode);
}

static bool path_in_dir(const char *path, const char *dir)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    return slash ? strlen(dir) == len && strncmp(path, dir, len) == 0 : strcmp(dir, ".") == 0;
}

/* ---- faults ---- */

/* 0, or -errno when this call is to fail. */
static int step(struct fakedisk *f, enum fakedisk_op op, bool changes)
{
    if (f->off)
        return -EIO;
    if (changes) {
        f->change_calls++;
        if (f->off_at > 0 && --f->off_at == 0) {
            f->off = true;
            return -EIO;
        }
    }
    if (op >= FAKEDISK_OP_COUNT || f->faults[op].left == 0)
        return 0;
    if (f->faults[op].left > 1) {
        f->faults[op].left--;
        return 0;
    }
    if (!f->faults[op].forever)
        f->faults[op].left = 0;
    return -f->faults[op].error;
}

/* ---- the calls ---- */

static struct fakedisk *fake(struct disk *d)
{
    return (struct fakedisk *)d;
}

static int handle_new(struct fakedisk *f, struct inode *inode, bool is_lock)
{
    for (unsigned i = 0; i < HANDLES_MAX; i++) {
        if (f->handles[i].inode)
            continue;
        f->handles[i].inode = inode_ref(inode);
        f->handles[i].is_lock = is_lock;
        f->handles[i].direct = false;
        return (int)i;
    }
    return -EMFILE;
}

static struct inode *handle_inode(struct fakedisk *f, int fd)
{
    return fd >= 0 && fd < (int)HANDLES_MAX ? f->handles[fd].inode : NULL;
}

static int open_inode(struct fakedisk *f, const char *path, bool create, struct inode **out)
{
    struct name *name = names_find(&f->seen, path);
    int rc = step(f, FAKEDISK_OPEN, !name && create);
    if (rc != 0)
        return rc;
    if (!name && !create)
        return -ENOENT;
    if (name && !name->inode)
        return -EISDIR;
    if (!name) {
        struct inode *inode = calloc(1, sizeof(*inode));
        ENSURE(inode != NULL);
        inode_grow(inode, 1);
        inode->size = 0;
        names_set(&f->seen, path, inode);
        change_note(f, "", path, inode);
        name = names_find(&f->seen, path);
    }
    *out = name->inode;
    return 0;
}

static int fake_open(struct disk *d, const char *path, bool create)
{
    struct inode *inode;
    int rc = open_inode(fake(d), path, create, &inode);
    return rc != 0 ? rc : handle_new(fake(d), inode, false);
}

static int fake_open_direct(struct disk *d, const char *path, bool create)
{
    int fd = fake_open(d, path, create);
    if (fd >= 0)
        fake(d)->handles[fd].direct = true;
    return fd;
}

static int fake_close(struct disk *d, int fd)
{
    struct fakedisk *f = fake(d);
    if (!handle_inode(f, fd))
        return -EBADF;
    if (f->handles[fd].is_lock)
        f->locked = false;
    inode_unref(f->handles[fd].inode);
    f->handles[fd].inode = NULL;
    return 0;
}

static int64_t fake_size(struct disk *d, int fd)
{
    struct inode *i = handle_inode(fake(d), fd);
    return i ? (int64_t)i->size : -EBADF;
}

/* What O_DIRECT asks for. */
static void check_direct(const struct fakedisk *f, int fd, const void *data, size_t len, uint64_t offset)
{
    if (f->handles[fd].direct)
        ENSURE((uintptr_t)data % DISK_BLOCK == 0 && len % DISK_BLOCK == 0 && offset % DISK_BLOCK == 0);
}

static int64_t fake_pread(struct disk *d, int fd, void *data, size_t len, uint64_t offset)
{
    struct inode *i = handle_inode(fake(d), fd);
    int rc = step(fake(d), FAKEDISK_READ, false);
    if (rc != 0 || !i)
        return rc != 0 ? rc : -EBADF;
    check_direct(fake(d), fd, data, len, offset);
    if (offset >= i->size)
        return 0;
    if (len > i->size - offset)
        len = i->size - offset;
    memcpy(data, i->data + offset, len);
    i->cold = fake(d)->handles[fd].direct;
    return (int64_t)len;
}

static int64_t fake_pread_nowait(struct disk *d, int fd, void *data, size_t len, uint64_t offset)
{
    struct inode *i = handle_inode(fake(d), fd);
    if (i && i->cold)
        return -EAGAIN;
    int64_t n = fake_pread(d, fd, data, len, offset);
    return n == (int64_t)len ? n : -EAGAIN;
}

/* The power goes off in the middle: any sectors of the write may have become visible to the crash. */
static void write_torn(struct fakedisk *f, struct inode *i, const struct iovec *iov, int count,
                       uint64_t offset)
{
    for (int v = 0; v < count; v++) {
        const uint8_t *p = iov[v].iov_base;
        for (size_t at = 0, n; at < iov[v].iov_len; at += n, offset += n) {
            n = FAKEDISK_SECTOR - offset % FAKEDISK_SECTOR;
            if (n > iov[v].iov_len - at)
                n = iov[v].iov_len - at;
            if (rng_chance(&f->tear, 0.5))
                inode_write(i, p + at, n, offset);
        }
    }
}

static int64_t fake_pwritev(struct disk *d, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    struct fakedisk *f = fake(d);
    struct inode *i = handle_inode(f, fd);
    bool was_off = f->off;
    int rc = step(f, FAKEDISK_WRITE, true);
    if (rc != 0 && !was_off && f->off && i)
        write_torn(f, i, iov, count, offset);
    if (rc != 0 || !i)
        return rc != 0 ? rc : -EBADF;
    int64_t total = 0;
    i->cold = f->handles[fd].direct;
    for (int v = 0; v < count; v++) {
        check_direct(f, fd, iov[v].iov_base, iov[v].iov_len, offset + (uint64_t)total);
        inode_write(i, iov[v].iov_base, iov[v].iov_len, offset + (uint64_t)total);
        total += (int64_t)iov[v].iov_len;
    }
    return total;
}

static int fake_fdatasync(struct disk *d, int fd)
{
    struct inode *i = handle_inode(fake(d), fd);
    int rc = step(fake(d), FAKEDISK_SYNC, true);
    if (rc != 0 && i && !fake(d)->off)
        inode_sync_failed(i);
    if (rc != 0 || !i)
        return rc != 0 ? rc : -EBADF;
    inode_sync(i);
    return 0;
}

static int fake_truncate(struct disk *d, int fd, uint64_t size)
{
    struct inode *i = handle_inode(fake(d), fd);
    int rc = step(fake(d), FAKEDISK_WRITE, true);
    if (rc != 0 || !i)
        return rc != 0 ? rc : -EBADF;
    inode_grow(i, size);
    if (size < i->size)
        memset(i->data + size, 0, i->size - size);
    i->size = size;
    return 0;
}

static int fake_rename(struct disk *d, const char *from, const char *to)
{
    struct fakedisk *f = fake(d);
    int rc = step(f, FAKEDISK_RENAME, true);
    struct name *name = names_find(&f->seen, from);
    if (rc != 0 || !name)
        return rc != 0 ? rc : -ENOENT;
    struct inode *inode = inode_ref(name->inode);
    names_remove(&f->seen, from);
    names_set(&f->seen, to, inode);
    change_note(f, from, to, inode);
    inode_unref(inode);
    return 0;
}

static int fake_unlink(struct disk *d, const char *path)
{
    struct fakedisk *f = fake(d);
    int rc = step(f, FAKEDISK_UNLINK, true);
    if (rc != 0 || !names_find(&f->seen, path))
        return rc != 0 ? rc : -ENOENT;
    names_remove(&f->seen, path);
    change_note(f, path, "", NULL);
    return 0;
}

static int fake_mkdir(struct disk *d, const char *path)
{
    struct fakedisk *f = fake(d);
    if (names_find(&f->seen, path))
        return 0;
    int rc = step(f, FAKEDISK_OP_COUNT, true);
    if (rc != 0)
        return rc;
    names_set(&f->seen, path, NULL);
    change_note(f, "", path, NULL);
    return 0;
}

static int fake_sync_dir(struct disk *d, const char *path)
{
    struct fakedisk *f = fake(d);
    int rc = step(f, FAKEDISK_SYNC_DIR, true);
    if (rc != 0)
        return rc;
    unsigned kept = 0;
    for (unsigned i = 0; i < f->change_count; i++) {
        struct change c = f->changes[i];
        if (path_in_dir(c.add[0] ? c.add : c.remove, path))
            change_apply(f, &c, true);
        else
            f->changes[kept++] = c;
    }
    f->change_count = kept;
    return 0;
}

static int fake_list(struct disk *d, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    struct fakedisk *f = fake(d);
    if (f->off)
        return -EIO;
    /* The callback may change names: walk over a copy. */
    unsigned count = f->seen.count;
    char(*names)[PATH_MAX_BYTES] = malloc((count + 1) * sizeof(*names));
    ENSURE(names != NULL);
    for (unsigned i = 0; i < count; i++)
        strcpy(names[i], f->seen.at[i].path);
    for (unsigned i = 0; i < count; i++) {
        const char *slash = strrchr(names[i], '/');
        if (path_in_dir(names[i], path))
            each(arg, slash ? slash + 1 : names[i]);
    }
    free(names);
    return 0;
}

static int fake_lock(struct disk *d, const char *path)
{
    struct fakedisk *f = fake(d);
    struct inode *inode;
    int rc = open_inode(f, path, true, &inode);
    if (rc != 0)
        return rc;
    if (f->locked)
        return -EWOULDBLOCK;
    rc = handle_new(f, inode, true);
    f->locked = rc >= 0;
    return rc;
}

static int64_t fake_free_bytes(struct disk *d)
{
    (void)d;
    return INT64_C(1) << 40;
}

static int fake_drop_cache(struct disk *d, int fd)
{
    struct inode *i = handle_inode(fake(d), fd);
    if (!i)
        return -EBADF;
    inode_drop(i);
    i->cold = true;
    return 0;
}

static const struct disk_ops fake_ops = {
    .open = fake_open,
    .open_direct = fake_open_direct,
    .close = fake_close,
    .size = fake_size,
    .pread = fake_pread,
    .pread_nowait = fake_pread_nowait,
    .pwritev = fake_pwritev,
    .fdatasync = fake_fdatasync,
    .truncate = fake_truncate,
    .rename = fake_rename,
    .unlink = fake_unlink,
    .mkdir = fake_mkdir,
    .sync_dir = fake_sync_dir,
    .list = fake_list,
    .lock = fake_lock,
    .free_bytes = fake_free_bytes,
    .drop_cache = fake_drop_cache,
};

/* ---- for tests ---- */

struct fakedisk *fakedisk_new(void)
{
    struct fakedisk *f = calloc(1, sizeof(*f));
    ENSURE(f != NULL);
    f->disk.ops = &fake_ops;
    strcpy(f->disk.root, "fake");
    rng_seed(&f->tear, 1);
    return f;
}

static void drop_handles(struct fakedisk *f)
{
    for (unsigned i = 0; i < HANDLES_MAX; i++) {
        inode_unref(f->handles[i].inode);
        f->handles[i].inode = NULL;
    }
    f->locked = false;
}

void fakedisk_free(struct fakedisk *f)
{
    drop_handles(f);
    for (unsigned i = 0; i < f->change_count; i++)
        change_apply(f, &f->changes[i], false);
    free(f->changes);
    names_clear(&f->seen);
    names_clear(&f->durable);
    free(f);
}

struct disk *fakedisk_disk(struct fakedisk *f)
{
    return &f->disk;
}

void fakedisk_fail(struct fakedisk *f, enum fakedisk_op op, uint64_t nth, int error, bool forever)
{
    f->faults[op].left = nth;
    f->faults[op].error = error;
    f->faults[op].forever = forever;
}

void fakedisk_power_off_at(struct fakedisk *f, uint64_t nth)
{
    f->off_at = nth;
}

bool fakedisk_is_off(const struct fakedisk *f)
{
    return f->off;
}

uint64_t fakedisk_changes(const struct fakedisk *f)
{
    return f->change_calls;
}

void fakedisk_kill(struct fakedisk *f)
{
    drop_handles(f);
    f->off = false;
    f->off_at = 0;
    memset(f->faults, 0, sizeof(f->faults));
}

void fakedisk_crash(struct fakedisk *f, struct rng *rng, double keep)
{
    fakedisk_kill(f);
    for (unsigned i = 0; i < f->change_count; i++)
        change_apply(f, &f->changes[i], rng_chance(rng, keep));
    f->change_count = 0;
    names_clear(&f->seen);
    for (unsigned i = 0; i < f->durable.count; i++) {
        struct name *name = &f->durable.at[i];
        if (name->inode)
            inode_crash(name->inode, rng, keep);
        names_set(&f->seen, name->path, name->inode);
    }
    rng_seed(&f->tear, rng_next(rng));
}

void fakedisk_flip(struct fakedisk *f, const char *path, uint64_t offset, uint8_t mask)
{
    struct name *name = names_find(&f->seen, path);
    ENSURE(name && name->inode && offset < name->inode->size);
    name->inode->data[offset] ^= mask;
    uint8_t *medium = name->inode->medium[offset / FAKEDISK_SECTOR];
    if (medium)
        medium[offset % FAKEDISK_SECTOR] ^= mask;
}

int64_t fakedisk_file_size(const struct fakedisk *f, const char *path)
{
    struct name *name = names_find(&f->seen, path);
    return name && name->inode ? (int64_t)name->inode->size : -ENOENT;
}

size_t fakedisk_durable_read(const struct fakedisk *f, const char *path, uint64_t offset, void *data,
                             size_t len)
{
    struct name *name = names_find(&f->durable, path);
    if (!name || !name->inode || offset >= name->inode->durable_size)
        return 0;
    struct inode *i = name->inode;
    if (len > i->durable_size - offset)
        len = i->durable_size - offset;
    for (size_t at = 0; at < len; at++) {
        const uint8_t *medium = i->medium[(offset + at) / FAKEDISK_SECTOR];
        ((uint8_t *)data)[at] = medium ? medium[(offset + at) % FAKEDISK_SECTOR] : i->data[offset + at];
    }
    return len;
}
