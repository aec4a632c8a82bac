/*
 * spare.c - files for the next segments: made of zeros ahead of time, or taken from trimmed segments.
 *
 * A record written over blocks that exist and hold data needs no change of the file system's metadata, which
 * doubles the rate of fdatasync. So the zero job (read worker, a piece at a time) fills
 *   - the file being written, ahead of its head, when it was made in a hurry;
 *   - one spare file, once the segment being written is more than half full and no spare is there.
 * Pieces are claimed under the mutex: the flusher waits for a claimed piece rather than write into it. Losing
 * a spare loses nothing, so its errors are only logged; an error in the file being written ends the store,
 * because a later fdatasync would not tell it again.
 *
 * A trimmed segment becomes a spare by a rename: what it holds carries positions that never come again.
 * Removals are made one at a time, from the front, each with its directory entry, so that a crash leaves no
 * hole.
 */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "dledger/store/internal.h"

#define LIVE_AHEAD_BYTES (512u * 1024) /* zeroed bytes wanted before the head of the file being written */

struct piece {
    struct segment *live; /* NULL: a spare */
    uint32_t id;
    int fd;
    uint64_t offset, len;
};

/* ---- what is to be done (mutex held) ---- */

static bool live_wants(const struct dl_store *s)
{
    return s->live.seg && s->live.size < s->live.cap && s->live.head + LIVE_AHEAD_BYTES > s->live.size;
}

static struct spare *spare_to_fill(struct dl_store *s)
{
    for (uint32_t i = 0; i < s->spare_count; i++)
        if (s->spares[i].size < s->opts.segment_bytes)
            return &s->spares[i];
    return NULL;
}

static bool spare_wanted(struct dl_store *s)
{
    if (s->spares_broken || !s->live.seg || s->live.head < s->live.cap / 2)
        return false;
    return s->spare_count == 0 || spare_to_fill(s) != NULL;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool claim(struct dl_store *s, struct piece *p)
{
    memset(p, 0, sizeof(*p));
    if (live_wants(s)) {
        p->live = s->live.seg;
        p->fd = s->live.fd; /* it stays the file being written while a piece of it is claimed */
        p->offset = s->live.size;
        p->len = min_u64(STORE_LIVE_CHUNK, s->live.cap - s->live.size);
        s->live.claimed = true;
        return true;
    }
    struct spare *spare = spare_wanted(s) ? spare_to_fill(s) : NULL;
    if (!spare)
        return false;
    spare->claimed = true;
    p->id = spare->id;
    p->fd = spare->fd;
    p->offset = spare->size;
    p->len = min_u64(STORE_SPARE_CHUNK, s->opts.segment_bytes - spare->size);
    return true;
}

static struct spare *spare_by_id(struct dl_store *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->spare_count; i++)
        if (s->spares[i].id == id)
            return &s->spares[i];
    return NULL;
}

static void spare_forget(struct dl_store *s, struct spare *spare)
{
    *spare = s->spares[--s->spare_count];
}

/* ---- the zero job ---- */

/* Add an empty spare file when one is wanted and none is there. */
static void spare_make(struct dl_store *s)
{
    pthread_mutex_lock(&s->mutex);
    bool make = spare_wanted(s) && s->spare_count == 0 && !live_wants(s);
    uint32_t id = make ? s->spare_next_id++ : 0;
    pthread_mutex_unlock(&s->mutex);
    if (!make)
        return;
    char path[SEGMENT_PATH_MAX];
    segment_spare_path(path, id);
    int fd = s->disk->ops->open_direct(s->disk, path, true);
    pthread_mutex_lock(&s->mutex);
    bool keep = fd >= 0 && s->spare_count < STORE_SPARES_MAX;
    if (keep)
        s->spares[s->spare_count++] = (struct spare){.id = id, .fd = fd};
    s->spares_broken |= fd < 0;
    pthread_mutex_unlock(&s->mutex);
    if (fd >= 0 && !keep) {
        s->disk->ops->close(s->disk, fd);
        s->disk->ops->unlink(s->disk, path);
    }
    if (fd < 0)
        LOG_WARN("cannot prepare a segment", "file=%s/%s error=\"%s\"", s->disk->root, path, strerror(-fd));
}

/* No space for zeros is no harm: the flusher writes without them, and meets the full disk itself. Any other
 * error may be one about its records too, which the kernel will not tell twice: it ends the store while the
 * piece is still claimed. */
static void live_filled(struct dl_store *s, const struct piece *p, int rc, bool written)
{
    char path[SEGMENT_PATH_MAX];
    bool harmless = rc == 0 || (rc == -ENOSPC && !written);
    segment_path(path, p->live->head.first_pos);
    if (!harmless)
        store_fail(s, path, "zero-fill", rc);
    pthread_mutex_lock(&s->mutex);
    s->live.claimed = false;
    if (rc == 0)
        s->live.size = p->offset + p->len;
    else
        s->live.cap = p->offset; /* no more tries */
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (rc != 0 && harmless)
        LOG_WARN("cannot zero ahead", "file=%s/%s error=\"%s\"", s->disk->root, path, strerror(-rc));
}

static void spare_filled(struct dl_store *s, const struct piece *p, int rc)
{
    pthread_mutex_lock(&s->mutex);
    struct spare *spare = spare_by_id(s, p->id);
    ENSURE(spare != NULL); /* claimed: nobody took it */
    spare->claimed = false;
    if (rc == 0) {
        spare->size = p->offset + p->len;
    } else {
        spare_forget(s, spare);
        s->spares_broken = true;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (rc == 0)
        return;
    char path[SEGMENT_PATH_MAX];
    segment_spare_path(path, p->id);
    s->disk->ops->close(s->disk, p->fd);
    s->disk->ops->unlink(s->disk, path);
    LOG_WARN("cannot prepare a segment", "file=%s/%s error=\"%s\"", s->disk->root, path, strerror(-rc));
}

static void zero_run(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, zero_job));
    struct piece p;
    if (!store_enter(s))
        return;
    spare_make(s);
    pthread_mutex_lock(&s->mutex);
    bool some = claim(s, &p);
    pthread_mutex_unlock(&s->mutex);
    if (some) {
        int rc = cut_zero(s->disk, p.fd, p.offset, p.len);
        bool written = rc == 0;
        if (written)
            rc = s->disk->ops->fdatasync(s->disk, p.fd);
        if (p.live)
            live_filled(s, &p, rc, written);
        else
            spare_filled(s, &p, rc);
    }
    store_leave(s);
}

static void zero_done(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, zero_job));
    s->zero_busy = false;
    if (!s->closed)
        spare_start(s);
    store_unref(s);
}

void spare_start(struct dl_store *s)
{
    if (s->zero_busy || s->closed)
        return;
    pthread_mutex_lock(&s->mutex);
    bool wanted = !s->failed && (live_wants(s) || spare_wanted(s));
    pthread_mutex_unlock(&s->mutex);
    if (wanted)
        s->zero_busy = store_submit(s, s->opts.read, &s->zero_job) == 0; /* a full queue: next time */
}

/* ---- for the flusher ---- */

int spare_take(struct dl_store *s, uint32_t *id, uint64_t *size)
{
    pthread_mutex_lock(&s->mutex);
    while (s->spare_count == 1 && s->spares[0].claimed)
        pthread_cond_wait(&s->changed, &s->mutex);
    struct spare *best = NULL;
    for (uint32_t i = 0; i < s->spare_count; i++)
        if (!s->spares[i].claimed && (!best || s->spares[i].size > best->size))
            best = &s->spares[i];
    int fd = -1;
    if (best) {
        fd = best->fd;
        *id = best->id;
        *size = best->size;
        spare_forget(s, best);
    } else {
        *id = s->spare_next_id++;
        *size = 0;
    }
    pthread_mutex_unlock(&s->mutex);
    if (fd >= 0)
        return fd;
    char path[SEGMENT_PATH_MAX];
    segment_spare_path(path, *id);
    return s->disk->ops->open_direct(s->disk, path, true);
}

/* ---- trimmed segments ---- */

static void retire_run(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, retire_job));
    const struct disk_ops *ops = s->disk->ops;
    struct segment *seg = s->retired_now;
    char path[SEGMENT_PATH_MAX], spare[SEGMENT_PATH_MAX];
    if (!store_enter(s))
        return;
    files_close(&s->files, &seg->file);
    segment_index_path(path, seg->head.first_pos);
    int rc = ops->unlink(s->disk, path);
    segment_path(path, seg->head.first_pos);
    int fd = ops->open_direct(s->disk, path, false);
    int64_t size = fd < 0 ? fd : ops->size(s->disk, fd);
    pthread_mutex_lock(&s->mutex);
    bool keep = size > 0 && (uint64_t)size <= 2 * s->opts.segment_bytes && s->spare_count < STORE_SPARES_MAX;
    uint32_t id = keep ? s->spare_next_id++ : 0;
    pthread_mutex_unlock(&s->mutex);
    segment_spare_path(spare, id);
    rc = rc != 0 && rc != -ENOENT ? rc
         : keep                   ? ops->rename(s->disk, path, spare)
                                  : ops->unlink(s->disk, path);
    if (rc == 0)
        rc = ops->sync_dir(s->disk, SEGMENT_DIR);
    pthread_mutex_lock(&s->mutex);
    keep = keep && rc == 0 && s->spare_count < STORE_SPARES_MAX;
    if (keep)
        s->spares[s->spare_count++] =
            (struct spare){.id = id, .fd = fd, .size = (uint64_t)size / DISK_BLOCK * DISK_BLOCK};
    pthread_mutex_unlock(&s->mutex);
    if (fd >= 0 && !keep)
        ops->close(s->disk, fd);
    if (rc != 0)
        store_fail(s, path, "removal", rc);
    store_leave(s);
}

static void retire_done(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, retire_job));
    struct segment *seg = s->retired_now;
    s->retired_now = NULL;
    s->retire_busy = false;
    store_segment_unref(s, seg);
    if (!s->closed)
        spare_retire_next(s);
    store_unref(s);
}

void spare_retire_next(struct dl_store *s)
{
    struct segment *seg = s->retired;
    if (s->retire_busy || s->closed || !seg || seg->refs > 1)
        return;
    s->retired_now = seg;
    s->retire_busy = store_submit(s, s->opts.read, &s->retire_job) == 0;
    if (s->retire_busy)
        s->retired = seg->next_retired;
}

void spare_retire(struct dl_store *s, struct segment *seg)
{
    struct segment **at = &s->retired;
    while (*at)
        at = &(*at)->next_retired;
    *at = seg;
    seg->next_retired = NULL;
    spare_retire_next(s);
}

void spare_init(struct dl_store *s)
{
    s->zero_job = (struct job){.run = zero_run, .done = zero_done};
    s->retire_job = (struct job){.run = retire_run, .done = retire_done};
}

void spare_release(struct dl_store *s)
{
    for (uint32_t i = 0; i < s->spare_count; i++)
        s->disk->ops->close(s->disk, s->spares[i].fd);
    s->spare_count = 0;
}
