/*
 * flusher.c - the way of records to the disk: everything that waits, written per segment, one fdatasync, then
 * the report.
 *
 * The loop pushes items into a queue; a flush job takes what waits (up to STORE_FLUSH_MAX) to the disk in
 * whole blocks (blocks.h), and while it waits for the disk the next batch gathers. Two job structs exist so
 * that the worker begins the next batch without waiting for the loop to take the report of the last one.
 *
 * Invariants:
 *   - A batch is written only after the one before it is durable; its flush mark says so (segment.h).
 *   - A segment file is synced, named and its directory entry durable before a record in it is reported.
 *   - What is reported persisted was covered by an fdatasync that returned 0; a failure ends the store,
 *     nothing is retried.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "dledger/store/internal.h"

#define QUEUE_START 256u

/* ---- queue (mutex held) ---- */

static void queue_reserve(struct queue *q, uint32_t count)
{
    if (count <= q->cap)
        return;
    uint32_t cap = q->cap ? q->cap * 2 : QUEUE_START;
    while (cap < count)
        cap *= 2;
    q->items = realloc(q->items, cap * sizeof(*q->items));
    ENSURE(q->items != NULL);
    q->cap = cap;
}

/* Move items from the front of the store's queue to `to` (empty), as many as make one batch. */
static void queue_take(struct queue *from, struct queue *to)
{
    uint64_t bytes = 0;
    uint32_t n = 0;
    ENSURE(to->count == 0);
    while (n < from->count && (n == 0 || bytes + from->items[n].len <= STORE_FLUSH_MAX))
        bytes += from->items[n++].len;
    if (n == from->count) {
        struct queue empty = *to;
        *to = *from;
        *from = empty;
        return;
    }
    queue_reserve(to, n);
    memcpy(to->items, from->items, n * sizeof(*to->items));
    to->count = n;
    from->count -= n;
    memmove(from->items, from->items + n, from->count * sizeof(*from->items));
}

void flush_push(struct dl_store *s, const struct item *item)
{
    pthread_mutex_lock(&s->mutex);
    queue_reserve(&s->queue, s->queue.count + 1);
    s->queue.items[s->queue.count++] = *item;
    pthread_mutex_unlock(&s->mutex);
}

void flush_start(struct dl_store *s)
{
    if (s->corked || s->closed)
        return;
    struct flush_job *fj = s->flush_jobs[0].busy ? &s->flush_jobs[1] : &s->flush_jobs[0];
    if (fj->busy)
        return;
    pthread_mutex_lock(&s->mutex);
    bool wanted = s->queue.count > 0 && !s->flush_waiting && !s->failed;
    s->flush_waiting |= wanted;
    pthread_mutex_unlock(&s->mutex);
    if (!wanted)
        return;
    fj->busy = true;
    ENSURE(store_submit(s, s->opts.flush, &fj->job) ==
           0); /* the worker serves this store only: at most two wait */
}

/* ---- the flush worker ---- */

static int fail(struct dl_store *s, const struct segment *seg, const char *what, int64_t rc)
{
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    store_fail(s, path, what, rc);
    return (int)rc;
}

static int64_t write_head(struct dl_store *s, const struct segment *seg, int fd)
{
    struct iovec iov = {aligned_alloc(DISK_BLOCK, SEGMENT_HEAD_BYTES), SEGMENT_HEAD_BYTES};
    ENSURE(iov.iov_base != NULL);
    segment_head_encode(iov.iov_base, s->group, &seg->head);
    int64_t rc = s->disk->ops->pwritev(s->disk, fd, &iov, 1, 0);
    free(iov.iov_base);
    return rc;
}

/* Make the segment's file under its spare name: head and a first stretch durable, then its name, then the
 * directory. Returns the descriptor. */
static int make_file(struct dl_store *s, struct segment *seg, uint64_t *size)
{
    const struct disk_ops *ops = s->disk->ops;
    char spare[SEGMENT_PATH_MAX], path[SEGMENT_PATH_MAX];
    uint32_t id;
    int fd = spare_take(s, &id, size);
    if (fd < 0)
        return fail(s, seg, "create", fd);
    segment_spare_path(spare, id);
    segment_path(path, seg->head.first_pos);
    int64_t rc = write_head(s, seg, fd);
    if (rc < 0)
        return fail(s, seg, "write of the head", rc);
    uint64_t stretch =
        s->opts.segment_bytes < STORE_FIRST_STRETCH ? s->opts.segment_bytes : STORE_FIRST_STRETCH;
    if (*size < stretch) {
        uint64_t from = *size > SEGMENT_HEAD_BYTES ? blocks_round_up(*size) : SEGMENT_HEAD_BYTES;
        rc = cut_zero(s->disk, fd, from, stretch - from);
        if (rc < 0)
            return fail(s, seg, "zero-fill", rc);
        *size = stretch;
    }
    if ((rc = ops->fdatasync(s->disk, fd)) != 0)
        return fail(s, seg, "fdatasync", rc);
    if ((rc = ops->rename(s->disk, spare, path)) != 0)
        return fail(s, seg, "rename", rc);
    if ((rc = ops->sync_dir(s->disk, SEGMENT_DIR)) != 0)
        return fail(s, seg, "fsync of the directory", rc);
    return fd;
}

/* Open the segment's file for writing; its descriptor. */
static int reopen_file(struct dl_store *s, struct segment *seg, uint64_t *size)
{
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    int fd = s->disk->ops->open_direct(s->disk, path, false);
    int64_t n = fd < 0 ? fd : s->disk->ops->size(s->disk, fd);
    if (n < 0)
        return fail(s, seg, "open", n);
    *size = blocks_round_up((uint64_t)n);
    return fd;
}

/* Make `seg` the segment being written. */
static int switch_to(struct dl_store *s, struct segment *seg)
{
    uint64_t size;
    if (seg == s->writing)
        return 0;
    int fd = seg->created ? reopen_file(s, seg, &size) : make_file(s, seg, &size);
    if (fd < 0)
        return fd;
    seg->created = true;
    pthread_mutex_lock(&s->mutex);
    while (s->live.claimed)
        pthread_cond_wait(&s->changed, &s->mutex);
    s->live.seg = seg;
    s->live.fd = fd;
    s->live.size = size;
    s->live.head = SEGMENT_HEAD_BYTES;
    s->live.cap = s->opts.segment_bytes;
    pthread_mutex_unlock(&s->mutex);
    if (s->blocks.fd >= 0)
        s->disk->ops->close(s->disk, s->blocks.fd);
    blocks_use(&s->blocks, fd);
    s->writing = seg;
    return 0;
}

/* Announce that file bytes up to `end`, and the rest of its block, are about to be written; waits while the
 * zero job fills some of them. */
static void claim_live(struct dl_store *s, uint64_t end)
{
    end = blocks_round_up(end);
    pthread_mutex_lock(&s->mutex);
    while (s->live.claimed && end > s->live.size)
        pthread_cond_wait(&s->changed, &s->mutex);
    s->live.head = end;
    if (end > s->live.size)
        s->live.size = end;
    pthread_mutex_unlock(&s->mutex);
}

static int write_mark(struct dl_store *s, struct segment *seg, const struct segment_mark *mark)
{
    uint8_t bytes[SEGMENT_MARK_BYTES];
    segment_mark_encode(bytes, seg->head.secret, mark);
    int rc = blocks_seek(&s->blocks, segment_offset(seg->head.first_pos, mark->end));
    rc = rc != 0 ? rc : blocks_put(&s->blocks, bytes, sizeof(bytes));
    rc = rc != 0 ? rc : blocks_end(&s->blocks);
    return rc != 0 ? fail(s, seg, "write", rc) : 0;
}

static bool nothing_waits(struct dl_store *s)
{
    pthread_mutex_lock(&s->mutex);
    bool empty = s->queue.count == 0;
    pthread_mutex_unlock(&s->mutex);
    return empty;
}

/* Write the items (all of one segment, one behind the other) and the mark. */
static int write_items(struct dl_store *s, struct segment *seg, const struct item *items, uint32_t count,
                       const struct segment_mark *mark)
{
    uint8_t mark_bytes[SEGMENT_MARK_BYTES];
    segment_mark_encode(mark_bytes, seg->head.secret, mark);
    int rc = blocks_seek(&s->blocks, segment_offset(seg->head.first_pos, items[0].pos));
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = blocks_put(&s->blocks, items[i].buf->data + items[i].offset, items[i].len);
    rc = rc != 0 ? rc : blocks_put(&s->blocks, mark_bytes, sizeof(mark_bytes));
    rc = rc != 0 ? rc : blocks_end(&s->blocks);
    return rc != 0 ? fail(s, seg, "write", rc) : 0;
}

static int write_run(struct dl_store *s, struct flush_job *fj, const struct item *items, uint32_t count,
                     bool ends_batch)
{
    struct segment *seg = items[0].seg;
    const struct item *last = &items[count - 1];
    struct segment_mark mark = {items[0].pos, last->pos + last->len, last->last, last->last_crc};
    int rc = switch_to(s, seg);
    if (rc != 0)
        return rc;
    claim_live(s, segment_offset(seg->head.first_pos, mark.end) + SEGMENT_MARK_BYTES);
    if ((rc = write_items(s, seg, items, count, &mark)) != 0)
        return rc;
    uint64_t began_us = s->opts.on_fsync ? clock_mono_us() : 0;
    if ((rc = s->disk->ops->fdatasync(s->disk, s->blocks.fd)) != 0)
        return fail(s, seg, "fdatasync", rc);
    fj->us += s->opts.on_fsync ? clock_mono_us() - began_us : 0;
    fj->bytes += mark.end - mark.start;
    fj->fsyncs++;
    /* When it becomes quiet, say that this batch is durable, too; the words need no sync of their own. */
    if (ends_batch && nothing_waits(s)) {
        mark.start = mark.end;
        rc = write_mark(s, seg, &mark);
    }
    return rc;
}

static int run_cut(struct dl_store *s, const struct item *item)
{
    struct segment *seg = item->seg;
    const struct cut *cut = item->cut;
    if (!seg->created)
        return 0; /* nothing of it, nor of those behind it, was written */
    int rc = switch_to(s, seg);
    if (rc != 0)
        return rc;
    dl_pos_t dead[cut->dead_count + 1];
    uint32_t count = 0;
    for (uint32_t i = 0; i < cut->dead_count; i++)
        if (cut->dead[i]->created)
            dead[count++] = cut->dead[i]->head.first_pos;
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    claim_live(s, segment_offset(seg->head.first_pos, cut->intent.end));
    int fd = files_pin(&s->files, &seg->file, path);
    if (fd < 0)
        return fail(s, seg, "open", fd);
    if ((rc = meta_cut_write(&s->meta, &cut->intent)) == 0)
        rc = cut_finish(s, fd, &seg->head, &cut->intent, dead, count);
    files_unpin(&s->files, &seg->file);
    blocks_use(&s->blocks, s->blocks.fd);
    return rc != 0 ? fail(s, seg, "truncation", rc) : 0;
}

static void flush_run(struct job *job)
{
    struct flush_job *fj = (struct flush_job *)((char *)job - offsetof(struct flush_job, job));
    struct dl_store *s = fj->s;
    int rc = 0;
    if (!store_enter(s))
        return;
    pthread_mutex_lock(&s->mutex);
    s->flush_waiting = false;
    queue_take(&s->queue, &fj->taken);
    pthread_mutex_unlock(&s->mutex);
    struct item *items = fj->taken.items;
    uint32_t count = fj->taken.count;
    for (uint32_t i = 0, n; i < count && rc == 0; i += n) {
        for (n = 1; items[i].buf && i + n < count && items[i + n].buf && items[i + n].seg == items[i].seg;)
            n++;
        rc = items[i].buf ? write_run(s, fj, items + i, n, i + n == count) : run_cut(s, items + i);
    }
    for (uint32_t i = 0; i < count; i++)
        buf_unref(items[i].buf);
    fj->rc = rc;
    if (rc == 0 && count > 0) {
        fj->index = items[count - 1].last;
        fj->term = items[count - 1].term;
    }
    store_leave(s);
}

/* ---- the report ---- */

static void release_cuts(struct dl_store *s, struct queue *q)
{
    for (uint32_t i = 0; i < q->count; i++) {
        struct cut *cut = q->items[i].cut;
        if (!cut)
            continue;
        for (uint32_t d = 0; d < cut->dead_count; d++)
            store_segment_unref(s, cut->dead[d]);
        free(cut->dead);
        free(cut);
    }
    q->count = 0;
}

static void report(struct dl_store *s, dl_index_t index, dl_term_t term)
{
    /* Entries replaced since: a later batch reports. */
    if (index <= s->persisted || index > store_last(s) || store_term_at(s, index) != term)
        return;
    s->persisted = index;
    s->opts.on_persisted(s->opts.arg, index, term);
}

static void flush_done(struct job *job)
{
    struct flush_job *fj = (struct flush_job *)((char *)job - offsetof(struct flush_job, job));
    struct dl_store *s = fj->s;
    struct flush_job was = *fj;
    if (fj->rc == 0) /* else the worker still has hold of a segment, which goes with the store */
        release_cuts(s, &fj->taken);
    fj->busy = false;
    fj->index = fj->term = fj->us = fj->bytes = fj->fsyncs = 0;
    s->fsyncs += was.fsyncs;
    flush_start(s);
    if (!s->closed && was.fsyncs > 0 && s->opts.on_fsync)
        s->opts.on_fsync(s->opts.arg, was.us, was.bytes);
    if (!s->closed && was.index > 0)
        report(s, was.index, was.term);
    if (!s->closed) {
        hard_hint(s); /* looks at the entry while it is in memory */
        cache_evict(&s->cache, s->opts.cache_bytes, s->applied < s->persisted ? s->applied : s->persisted);
        index_start(s);
        spare_start(s);
        flush_start(s);
    }
    store_unref(s);
}

void flush_init(struct dl_store *s)
{
    blocks_init(&s->blocks, s->disk);
    for (uint32_t i = 0; i < STORE_FLUSH_JOBS; i++) {
        s->flush_jobs[i].s = s;
        s->flush_jobs[i].job.run = flush_run;
        s->flush_jobs[i].job.done = flush_done;
    }
}

void flush_release(struct dl_store *s)
{
    for (uint32_t i = 0; i < s->queue.count; i++)
        buf_unref(s->queue.items[i].buf);
    release_cuts(s, &s->queue);
    blocks_release(&s->blocks);
    free(s->queue.items);
    for (uint32_t i = 0; i < STORE_FLUSH_JOBS; i++) {
        release_cuts(s, &s->flush_jobs[i].taken);
        free(s->flush_jobs[i].taken.items);
    }
}
