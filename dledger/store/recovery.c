/*
 * recovery.c - what open finds on disk, and whether it may be believed. Blocks; runs before any job.
 *
 *   1. lock, sync the directories, list the files, read the two slots of hard state (meta.h)
 *   2. finish a cut that a crash interrupted; one below the known commit point is refused, nothing touched
 *   3. segments must follow each other without a gap; those with a good index file are not read, unless they
 *      reach behind the known commit point: what may yet be cut is kept in memory, because the loop thread,
 *      which cuts, must not wait for the disk
 *   4. in the last one find the end of the good records and judge what is behind it:
 *        damage - a flush mark says the bad bytes were durable once, or they lie before the known commit
 *                 point. Refused, never cut: other replicas have what is missing here
 *        torn   - else: the batch under way at the crash, never reported. Erased, so that it never comes back
 *      What looks like a record behind bad bytes is evidence of nothing: a body can hold it, be it one of the
 *      torn batch or one that an earlier use of the file left
 *   5. all that was found is synced before anybody is told of it
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dledger/store/internal.h"

#define LOCK_PATH            "lock"
#define RECOVERY_CACHE_BYTES (1u * 1024 * 1024) /* newest records kept in memory, if not more are needed */

struct listing {
    dl_pos_t *segs;
    uint32_t seg_count, seg_cap;
    uint32_t spares[STORE_SPARES_MAX];
    uint32_t spare_count, spare_next_id;
    struct dl_store *s;
};

static int io_err(struct dl_store *s, const char *path, const char *what, int64_t rc, struct err *err)
{
    int code = rc == -EWOULDBLOCK                              ? ERR_LOCKED
               : rc == -ENOSPC || rc == -EDQUOT                ? ERR_NO_SPACE
               : rc == -EACCES || rc == -EPERM || rc == -EROFS ? ERR_NO_PERMISSION
                                                               : ERR_IO;
    return err_set(err, code, "%s/%s: %s: %s", s->disk->root, path, what,
                   code == ERR_LOCKED ? "another process uses this directory" : strerror((int)-rc));
}

/* ---- listing ---- */

static void list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    dl_pos_t pos;
    uint32_t id;
    if (segment_name_parse(name, ".seg", &pos)) {
        if (l->seg_count == l->seg_cap) {
            l->seg_cap = l->seg_cap ? l->seg_cap * 2 : 64;
            l->segs = realloc(l->segs, l->seg_cap * sizeof(*l->segs));
            ENSURE(l->segs != NULL);
        }
        l->segs[l->seg_count++] = pos;
    } else if (segment_spare_parse(name, &id)) {
        if (id >= l->spare_next_id)
            l->spare_next_id = id + 1;
        if (l->spare_count < STORE_SPARES_MAX) {
            l->spares[l->spare_count++] = id;
            return;
        }
        char path[SEGMENT_PATH_MAX];
        segment_spare_path(path, id);
        l->s->disk->ops->unlink(l->s->disk, path); /* more than are of use; failing costs space only */
    }
}

static int by_position(const void *a, const void *b)
{
    dl_pos_t x = *(const dl_pos_t *)a, y = *(const dl_pos_t *)b;
    return x < y ? -1 : x > y;
}

static void adopt_spares(struct dl_store *s, const struct listing *l)
{
    s->spare_next_id = l->spare_next_id;
    for (uint32_t i = 0; i < l->spare_count; i++) {
        char path[SEGMENT_PATH_MAX];
        segment_spare_path(path, l->spares[i]);
        int fd = s->disk->ops->open_direct(s->disk, path, false);
        int64_t size = fd < 0 ? fd : s->disk->ops->size(s->disk, fd);
        if (size >= 0)
            s->spares[s->spare_count++] = (struct spare){
                .id = l->spares[i], .fd = fd, .size = (uint64_t)size / DISK_BLOCK * DISK_BLOCK};
        else if (fd >= 0)
            s->disk->ops->close(s->disk, fd);
    }
}

static int prepare_dir(struct dl_store *s, struct listing *l, struct err *err)
{
    const struct disk_ops *ops = s->disk->ops;
    s->lock_fd = ops->lock(s->disk, LOCK_PATH);
    if (s->lock_fd < 0)
        return io_err(s, LOCK_PATH, "lock", s->lock_fd, err);
    int rc = ops->mkdir(s->disk, SEGMENT_DIR);
    if (rc == 0)
        rc = ops->sync_dir(s->disk, ".");
    if (rc == 0) /* a process killed between a rename and its sync left a name that a power cut could take */
        rc = ops->sync_dir(s->disk, SEGMENT_DIR);
    if (rc == 0)
        rc = ops->list(s->disk, SEGMENT_DIR, list_one, l);
    if (rc != 0)
        return io_err(s, SEGMENT_DIR, "open the directory", rc, err);
    if (l->seg_count > 0)
        qsort(l->segs, l->seg_count, sizeof(*l->segs), by_position);
    return 0;
}

/* ---- opening a segment ---- */

/* Open a segment and read its head; it stays open and pinned in *fd. */
static int open_segment(struct dl_store *s, dl_pos_t first_pos, struct segment **out, int *fd, uint64_t *size,
                        struct err *err)
{
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    struct segment_head head;
    char path[SEGMENT_PATH_MAX];
    segment_path(path, first_pos);
    *fd = s->disk->ops->open(s->disk, path, false);
    if (*fd < 0)
        return io_err(s, path, "open", *fd, err);
    int64_t n = s->disk->ops->pread(s->disk, *fd, bytes, sizeof(bytes), 0);
    int64_t total = n < 0 ? n : s->disk->ops->size(s->disk, *fd);
    int rc;
    if (total < 0)
        rc = io_err(s, path, "read", total, err);
    else if (n < (int64_t)sizeof(bytes))
        rc = err_set(err, ERR_DAMAGED, "%s/%s: the segment's head is cut off at %" PRId64, s->disk->root,
                     path, n);
    else
        rc = segment_head_decode(bytes, path, s->group, &head, NULL, err);
    if (rc == 0 && head.first_pos != first_pos)
        rc = err_set(err, ERR_DAMAGED, "%s/%s: its head says position %" PRIu64, s->disk->root, path,
                     head.first_pos);
    if (rc != 0) {
        s->disk->ops->close(s->disk, *fd);
        return rc;
    }
    *size = (uint64_t)total;
    *out = store_segment_new(&head);
    (*out)->created = true;
    files_adopt(&s->files, &(*out)->file, *fd);
    return 0;
}

/* ---- an interrupted cut ---- */

static int finish_cut(struct dl_store *s, struct listing *l, struct err *err)
{
    struct meta_cut cut;
    struct segment *seg;
    uint64_t size;
    int fd;
    bool present;
    char path[SEGMENT_PATH_MAX];
    int rc = meta_cut_read(&s->meta, &cut, &present, err);
    if (rc != 0 || !present)
        return rc;
    if (cut.from < s->meta.slot.commit_end || cut.index <= s->meta.slot.commit)
        return err_set(err, ERR_DAMAGED,
                       "%s/" META_PATH ": says to truncate at entry %" PRIu64 " (position %" PRIu64
                       ") but entry %" PRIu64 " (up to %" PRIu64 ") was committed",
                       s->disk->root, cut.index, cut.from, s->meta.slot.commit, s->meta.slot.commit_end);
    uint32_t keep = 0;
    while (keep < l->seg_count && l->segs[keep] != cut.segment)
        keep++;
    segment_path(path, cut.segment);
    if (keep == l->seg_count)
        return err_set(err, ERR_DAMAGED, "%s/%s: was being truncated and is missing", s->disk->root, path);
    rc = open_segment(s, cut.segment, &seg, &fd, &size, err);
    if (rc != 0)
        return rc;
    rc = cut_finish(s, fd, &seg->head, &cut, l->segs + keep + 1, l->seg_count - keep - 1);
    files_unpin(&s->files, &seg->file);
    store_segment_unref(s, seg);
    if (rc != 0)
        return io_err(s, path, "truncation", rc, err);
    l->seg_count = keep + 1;
    LOG_INFO("truncation finished", "file=%s/%s index=%" PRIu64, s->disk->root, path, cut.index);
    return 0;
}

/* ---- segments ---- */

struct scan_arg {
    struct dl_store *s;
    struct segment *seg;
    bool keep; /* put records into the cache */
};

static void scan_one(void *arg, const struct record_head *head, const uint8_t *record)
{
    struct scan_arg *a = arg;
    a->seg->end += head->len;
    a->seg->last = head->index;
    a->seg->last_crc = head->crc;
    store_sparse_add(a->s, a->seg, head->index, head->pos);
    store_runs_add(a->s, head->index, head->term);
    if (!a->keep)
        return;
    struct dl_entry e = {.index = head->index,
                         .term = head->term,
                         .pos = head->pos,
                         .kind = head->kind,
                         .len = head->len,
                         .buf = buf_copy(record, head->len)};
    cache_push(&a->s->cache, &e);
    dl_index_t commit = a->s->meta.slot.commit;
    cache_evict(&a->s->cache, RECOVERY_CACHE_BYTES, commit < head->index ? commit : head->index - 1);
}

static struct segment_scan scan_of(struct dl_store *s, struct segment *seg, int fd, uint64_t size,
                                   struct scan_arg *arg)
{
    uint64_t bytes = size > SEGMENT_HEAD_BYTES ? size - SEGMENT_HEAD_BYTES : 0;
    return (struct segment_scan){.disk = s->disk,
                                 .fd = fd,
                                 .salt = s->salt,
                                 .secret = seg->head.secret,
                                 .first_pos = seg->head.first_pos,
                                 .limit = seg->head.first_pos + bytes,
                                 .pos = seg->head.first_pos,
                                 .index = seg->head.first_index,
                                 .term = seg->head.prev_term,
                                 .prev_crc = seg->head.prev_crc,
                                 .each = scan_one,
                                 .arg = arg};
}

static int damaged_at(struct dl_store *s, const struct segment_scan *scan, const char *why, struct err *err)
{
    char path[SEGMENT_PATH_MAX];
    segment_path(path, scan->first_pos);
    return err_set(err, ERR_DAMAGED, "%s/%s: entry %" PRIu64 " is damaged (offset %" PRIu64 "): %s",
                   s->disk->root, path, scan->index, segment_offset(scan->first_pos, scan->pos), why);
}

/* Believe the index file if it leads exactly to the next segment's head. */
static bool complete_by_index(struct dl_store *s, struct segment *seg, const struct segment_head *next,
                              uint64_t size)
{
    struct index_head head;
    struct dl_term_run *runs = NULL;
    uint32_t run_count = 0;
    if (index_read(s, seg->head.first_pos, &head, &runs, &run_count) != 0)
        return false;
    bool good = head.first_index == seg->head.first_index && head.end == next->first_pos &&
                head.last + 1 == next->first_index && head.last_crc == next->prev_crc && run_count > 0 &&
                runs[0].first == head.first_index && runs[run_count - 1].term == next->prev_term &&
                segment_offset(seg->head.first_pos, head.end) <= size;
    for (uint32_t i = 0; good && i < run_count; i++)
        store_runs_add(s, runs[i].first, runs[i].term);
    free(runs);
    if (good) {
        seg->end = head.end;
        seg->last = head.last;
        seg->last_crc = head.last_crc;
    }
    return good;
}

static int complete_by_scan(struct dl_store *s, struct segment *seg, const struct segment_head *next, int fd,
                            uint64_t size, bool keep, struct err *err)
{
    struct scan_arg arg = {s, seg, keep};
    struct segment_scan scan = scan_of(s, seg, fd, size, &arg);
    uint32_t runs_before = s->run_count;
    if (next->first_pos < scan.limit)
        scan.limit = next->first_pos;
    int rc = segment_scan(&scan, err);
    if (rc != 0)
        return rc;
    if (scan.pos != next->first_pos || scan.index != next->first_index || scan.prev_crc != next->prev_crc)
        return damaged_at(s, &scan, "more of the log follows in the next segment", err);
    seg->sparse_complete = true;
    seg->index_written = !keep;
    if (keep) /* its index file may be there; else the next flush has it written */
        return 0;
    struct index_head head = {seg->head.first_pos, seg->end, seg->head.first_index, seg->last, seg->last_crc};
    struct dl_term_run first = {seg->head.first_index, seg->head.prev_term};
    /* The run that reaches in from the segment before, then those that began here. */
    bool reaches_in = runs_before == s->run_count || s->runs[runs_before].first != first.first;
    uint32_t count = s->run_count - runs_before + reaches_in;
    struct dl_term_run *runs = malloc(count * sizeof(*runs));
    ENSURE(runs != NULL);
    if (reaches_in)
        runs[0] = first;
    memcpy(runs + reaches_in, s->runs + runs_before, (s->run_count - runs_before) * sizeof(*runs));
    index_write(s, &head, runs, count, seg->sparse, seg->sparse_count);
    free(runs);
    return 0;
}

/* ---- the end of the log ---- */

/* ERR_DAMAGED, or 0 and whether there is something torn to erase. */
static int judge(struct dl_store *s, const struct segment_scan *scan, const struct segment_rest *rest,
                 bool *torn, struct err *err)
{
    if (scan->pos < s->meta.slot.commit_end)
        return damaged_at(s, scan, "it was committed", err);
    if (rest->mark_seen && rest->mark.start > scan->pos)
        return damaged_at(s, scan, "a later write found it durable", err);
    *torn = rest->record_seen || (rest->mark_seen && rest->mark.end > scan->pos);
    return 0;
}

static int settle_end(struct dl_store *s, const struct segment_scan *scan, struct segment *seg, int fd,
                      struct err *err)
{
    struct segment_rest rest;
    bool torn = false;
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    int rc = segment_look_behind(scan, scan->limit, &rest, err);
    if (rc == 0)
        rc = judge(s, scan, &rest, &torn, err);
    if (rc != 0)
        return rc;
    if (torn)
        LOG_WARN("torn tail cut", "file=%s/%s offset=%" PRIu64 " index=%" PRIu64, s->disk->root, path,
                 segment_offset(scan->first_pos, scan->pos), scan->index);
    if (!torn && rest.mark_here && rest.mark.start == scan->pos)
        return 0;
    /* Room for the mark is always there: records are placed so. */
    struct segment_mark mark = {scan->pos, scan->pos, scan->index - 1, scan->prev_crc};
    dl_pos_t end = scan->pos + STORE_BATCH_MAX + SEGMENT_MARK_BYTES;
    end = rest.record_end > end ? rest.record_end : end;
    end = !torn ? scan->pos : end < scan->limit ? end : scan->limit;
    rc = cut_erase(s, fd, &seg->head, &mark, end);
    if (rc == 0)
        rc = s->disk->ops->fdatasync(s->disk, fd);
    return rc != 0 ? io_err(s, path, "write", rc, err) : 0;
}

static int load_last(struct dl_store *s, struct segment *seg, int fd, uint64_t size, struct err *err)
{
    const struct disk_ops *ops = s->disk->ops;
    struct scan_arg arg = {s, seg, true};
    struct segment_scan scan = scan_of(s, seg, fd, size, &arg);
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    /* First make durable what a killed process left in the page cache, then read what is really there. */
    int rc = ops->fdatasync(s->disk, fd);
    if (rc == 0)
        rc = ops->drop_cache(s->disk, fd);
    if (rc != 0)
        return io_err(s, path, "fdatasync", rc, err);
    rc = segment_scan(&scan, err);
    if (rc == 0)
        rc = settle_end(s, &scan, seg, fd, err);
    seg->sparse_complete = true;
    return rc;
}

static int load_segments(struct dl_store *s, const struct listing *l, struct err *err)
{
    struct segment *seg = NULL, *next = NULL;
    int fd = -1, next_fd = -1;
    uint64_t size = 0, next_size = 0;
    for (uint32_t i = 0; i < l->seg_count; i++) {
        int rc = i > 0 ? 0 : open_segment(s, l->segs[0], &next, &next_fd, &next_size, err);
        if (rc != 0)
            return rc;
        seg = next;
        fd = next_fd;
        size = next_size;
        store_segments_push(s, seg);
        if (i == 0)
            s->begin_prev_term = seg->head.prev_term;
        if (i + 1 == l->seg_count) {
            rc = load_last(s, seg, fd, size, err);
        } else if ((rc = open_segment(s, l->segs[i + 1], &next, &next_fd, &next_size, err)) == 0) {
            bool keep = next->head.first_index > s->meta.slot.commit + 1; /* its last entry may yet be cut */
            seg->sealed = seg->index_written = true;
            if (keep || !complete_by_index(s, seg, &next->head, size))
                rc = complete_by_scan(s, seg, &next->head, fd, size, keep, err);
            if (rc != 0) {
                files_unpin(&s->files, &next->file);
                store_segment_unref(s, next);
            }
        }
        files_unpin(&s->files, &seg->file);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* A log that does not exist yet: its first segment's file is made with the first flush. */
static void load_nothing(struct dl_store *s)
{
    struct segment_head head = {.first_pos = 0, .first_index = 1, .secret = rng_next(&s->rng)};
    struct segment *seg = store_segment_new(&head);
    seg->sparse_complete = true;
    store_segments_push(s, seg);
}

static int check_hard(struct dl_store *s, struct err *err)
{
    struct dl_hard hard = s->meta.slot.hard;
    dl_term_t last_term = store_term_at(s, store_last(s));
    if (store_last(s) < s->meta.slot.commit) {
        char path[SEGMENT_PATH_MAX];
        segment_path(path, s->segs[s->seg_count - 1]->head.first_pos);
        return err_set(err, ERR_DAMAGED,
                       "%s/%s: the log ends with entry %" PRIu64 " but entry %" PRIu64 " was committed",
                       s->disk->root, path, store_last(s), s->meta.slot.commit);
    }
    /* Entries of a term may become durable before the term itself does; nothing was said in that term
     * then. */
    if (hard.term < last_term) {
        hard.term = last_term;
        hard.vote = DL_NOBODY;
        int rc = meta_save(&s->meta, hard, s->meta.slot.commit, s->meta.slot.commit_end);
        if (rc == 0)
            rc = meta_mirror(&s->meta);
        if (rc != 0)
            return io_err(s, META_PATH, "write", rc, err);
    }
    s->hard_wanted.hard = hard;
    s->hint_commit = s->meta.slot.commit;
    s->hint_end = s->hint_saved_end = s->meta.slot.commit_end;
    return 0;
}

int recovery_run(struct dl_store *s, struct err *err)
{
    struct listing l = {.s = s};
    int rc = prepare_dir(s, &l, err);
    if (rc == 0)
        rc = meta_open(&s->meta, s->disk, s->group, s->opts.self, &s->opts.members, l.seg_count == 0, err);
    if (rc == 0)
        rc = finish_cut(s, &l, err);
    if (rc == 0 && l.seg_count > 0)
        rc = load_segments(s, &l, err);
    if (rc == 0 && l.seg_count == 0)
        load_nothing(s);
    if (rc == 0)
        rc = check_hard(s, err);
    if (rc == 0) {
        adopt_spares(s, &l);
        s->persisted = store_last(s);
    }
    free(l.segs);
    return rc;
}
