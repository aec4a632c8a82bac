/*
 * load.c - whole records from disk: for followers that are behind, for replay at start.
 *
 * A record is found by the nearest mark of the segment's sparse index and a walk over heads; everything
 * handed out was checked in full.
 */
#include "dledger/store/load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define REPLAY_BYTES   (1u * 1024 * 1024)
#define LOAD_BYTES_MAX (4u * 1024 * 1024)

/* ---- the list of loads under way ---- */

static void load_run(struct job *job)
{
    struct load *load = (struct load *)job;
    if (!store_enter(load->s)) {
        load->rc = ERR_IO;
        return;
    }
    load->read(load);
    store_leave(load->s);
}

static void load_unlink(struct load *load)
{
    if (load->next)
        load->next->prev = load->prev;
    *(load->prev ? &load->prev->next : &load->s->loads) = load->next;
}

static void load_done(struct job *job)
{
    struct load *load = (struct load *)job;
    struct dl_store *s = load->s;
    if (!load->finished) {
        load->finished = true;
        load_unlink(load);
        load->finish(load, load->rc);
    }
    load->release(load);
    store_unref(s);
}

int load_start(struct dl_store *s, struct load *load)
{
    load->s = s;
    load->job = (struct job){.run = load_run, .done = load_done};
    load->prev = NULL;
    load->next = s->loads;
    if (s->loads)
        s->loads->prev = load;
    s->loads = load;
    int rc = store_submit(s, s->opts.read, &load->job);
    if (rc != 0) {
        load_unlink(load);
        load->release(load);
    }
    return rc;
}

void load_cancel_all(struct dl_store *s)
{
    while (s->loads) {
        struct load *load = s->loads;
        load_unlink(load);
        load->finished = true;
        load->finish(load, ERR_CLOSED);
    }
}

/* ---- finding and reading records (blocking) ---- */

/* The nearest known place at or before `index`. Reads the index file of an old segment the first time. */
static struct place nearest(struct dl_store *s, struct segment *seg, dl_index_t index)
{
    struct place place = {seg->head.first_index, seg->head.first_pos};
    uint32_t wanted = (uint32_t)(index - seg->head.first_index);
    pthread_mutex_lock(&s->mutex);
    bool complete = seg->sparse_complete;
    pthread_mutex_unlock(&s->mutex);
    struct sparse *sparse = NULL;
    uint32_t count = 0;
    if (!complete && index_read_sparse(s, seg->head.first_pos, &sparse, &count) != 0)
        count = 0;
    pthread_mutex_lock(&s->mutex);
    if (!seg->sparse_complete) {
        free(seg->sparse);
        seg->sparse = sparse;
        seg->sparse_count = seg->sparse_cap = count;
        seg->sparse_complete = true;
        sparse = NULL;
    }
    uint32_t lo = 0, hi = seg->sparse_count; /* lo = number of entries not above */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (seg->sparse[mid].index <= wanted)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo > 0)
        place = (struct place){seg->head.first_index + seg->sparse[lo - 1].index,
                               seg->head.first_pos + seg->sparse[lo - 1].pos};
    pthread_mutex_unlock(&s->mutex);
    free(sparse);
    return place;
}

static int bad_record(struct dl_store *s, const struct segment *seg, struct place at, struct err *err)
{
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    return err_set(err, ERR_DAMAGED, "%s/%s: entry %" PRIu64 " is damaged (offset %" PRIu64 ")",
                   s->disk->root, path, at.index, segment_offset(seg->head.first_pos, at.pos));
}

/* Read `len` bytes at a place of the segment; they must be there. */
static int read_at(struct dl_store *s, struct segment *seg, int fd, struct place at, void *data, size_t len,
                   struct err *err)
{
    int64_t n = s->disk->ops->pread(s->disk, fd, data, len, segment_offset(seg->head.first_pos, at.pos));
    if (n == (int64_t)len)
        return 0;
    if (n >= 0)
        return bad_record(s, seg, at, err);
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    return err_set(err, ERR_IO, "%s/%s: read: %s", s->disk->root, path, strerror((int)-n));
}

static bool head_fits(const struct dl_store *s, const uint8_t *bytes, struct place at, struct place end,
                      struct record_head *head)
{
    return record_head_read(bytes, head) && head->index == at.index && head->pos == at.pos &&
           head->salt == s->salt && head->len <= end.pos - at.pos;
}

/* Walk from `at` to the record `first` over heads, a window of them at a time. */
static int walk(struct dl_store *s, struct segment *seg, int fd, struct place *at, dl_index_t first,
                struct place end, struct err *err)
{
    uint8_t *window = at->index < first ? malloc(STORE_SPARSE_GAP) : NULL;
    size_t len = 0, used = 0;
    int rc = 0;
    while (at->index < first) {
        struct record_head head;
        if (len - used < DL_RECORD_HEAD) {
            len = end.pos - at->pos < STORE_SPARSE_GAP ? (size_t)(end.pos - at->pos) : STORE_SPARSE_GAP;
            used = 0;
            rc = len < DL_RECORD_HEAD ? bad_record(s, seg, *at, err)
                                      : read_at(s, seg, fd, *at, window, len, err);
            if (rc != 0)
                break;
        }
        if (!head_fits(s, window + used, *at, end, &head)) {
            rc = bad_record(s, seg, *at, err);
            break;
        }
        used = head.len < len - used ? used + head.len : len;
        at->index++;
        at->pos += head.len;
    }
    free(window);
    return rc;
}

/* Check the records in buf (from `at` on); keep the good ones. A bad one behind a good one is found by the
 * next read. */
static int verify(struct dl_store *s, struct segment *seg, struct buf *buf, struct place *at,
                  struct place end, struct err *err)
{
    uint32_t used = 0, prev_crc = 0;
    while (at->index < end.index && buf->len - used >= DL_RECORD_HEAD) {
        struct record_head head;
        bool fits = head_fits(s, buf->data + used, *at, end, &head);
        if (fits && head.len > buf->len - used)
            break;
        if (!fits || !record_crc_good(buf->data + used, &head) || (used > 0 && head.prev_crc != prev_crc)) {
            if (used > 0)
                break;
            return bad_record(s, seg, *at, err);
        }
        prev_crc = head.crc;
        used += head.len;
        at->index++;
        at->pos += head.len;
    }
    buf->len = used;
    return 0;
}

int load_records(struct dl_store *s, struct segment *seg, struct place from, dl_index_t first,
                 struct place end, uint32_t max_bytes, struct buf **out, struct place *until, struct err *err)
{
    uint8_t head_bytes[DL_RECORD_HEAD];
    struct record_head head;
    struct buf *buf = NULL;
    char path[SEGMENT_PATH_MAX];
    segment_path(path, seg->head.first_pos);
    int fd = files_pin(&s->files, &seg->file, path);
    if (fd < 0)
        return err_set(err, ERR_IO, "%s/%s: open: %s", s->disk->root, path, strerror(-fd));
    if (from.index == 0)
        from = nearest(s, seg, first);
    int rc = walk(s, seg, fd, &from, first, end, err);
    if (rc == 0)
        rc = read_at(s, seg, fd, from, head_bytes, sizeof(head_bytes), err);
    if (rc == 0 && !head_fits(s, head_bytes, from, end, &head))
        rc = bad_record(s, seg, from, err);
    if (rc == 0) {
        uint64_t len = head.len > max_bytes ? head.len : max_bytes;
        len = len < end.pos - from.pos ? len : end.pos - from.pos;
        buf = buf_new(len);
        buf->len = (uint32_t)len;
        rc = read_at(s, seg, fd, from, buf->data, len, err);
    }
    if (rc == 0)
        rc = verify(s, seg, buf, &from, end, err);
    files_unpin(&s->files, &seg->file);
    if (rc != 0) {
        buf_unref(buf);
        return rc;
    }
    *out = buf;
    *until = from;
    return 0;
}

/* ---- dl_store_load ---- */

struct records_load {
    struct load load;
    dl_store_load_fn done;
    void *arg;
    struct segment *seg; /* one reference; NULL: the records came from memory */
    dl_index_t first;
    struct place from, end, until;
    uint32_t max_bytes;
    uint64_t cut_count;
    struct buf *buf;
    struct err err;
};

static void records_read(struct load *load)
{
    struct records_load *r = (struct records_load *)load;
    if (r->seg)
        load->rc = load_records(load->s, r->seg, r->from, r->first, r->end, r->max_bytes, &r->buf, &r->until,
                                &r->err);
}

static void records_finish(struct load *load, int rc)
{
    struct records_load *r = (struct records_load *)load;
    struct dl_store *s = load->s;
    s->load_count--;
    if (rc != ERR_CLOSED && r->cut_count != s->cut_count)
        rc = ERR_AGAIN; /* may have read what was just being erased */
    if (rc == 0) {
        struct buf *buf = r->buf;
        r->buf = NULL;
        s->load_hint.index = r->until.index;
        s->load_hint.pos = r->until.pos;
        r->done(r->arg, 0, buf, r->first, r->until.index - 1);
        return;
    }
    if (rc == ERR_IO || rc == ERR_DAMAGED)
        LOG_ERROR("cannot read the log", "error=\"%s\"", r->err.text);
    r->done(r->arg, rc, NULL, r->first, r->first - 1);
}

static void records_release(struct load *load)
{
    struct records_load *r = (struct records_load *)load;
    if (r->seg)
        store_segment_unref(load->s, r->seg);
    buf_unref(r->buf);
    free(r);
}

/* Copy records from memory. */
static void gather(struct dl_store *s, struct records_load *r)
{
    const struct dl_entry *e = cache_get(&s->cache, r->first);
    uint32_t len = 0, count = 0;
    for (; e && (count == 0 || len + e->len <= r->max_bytes); e = cache_get(&s->cache, r->first + ++count))
        len += e->len;
    r->buf = buf_new(len);
    for (uint32_t i = 0; i < count; i++) {
        e = cache_get(&s->cache, r->first + i);
        memcpy(r->buf->data + r->buf->len, e->buf->data + e->offset, e->len);
        r->buf->len += e->len;
        r->until = (struct place){e->index + 1, e->pos + e->len};
    }
}

/* Where reading in `seg` must stop: before what is in memory only. */
static struct place disk_end(const struct dl_store *s, const struct segment *seg)
{
    const struct dl_entry *e = cache_get(&s->cache, s->cache.first);
    if (e && e->index <= seg->last)
        return (struct place){e->index, e->pos};
    return (struct place){seg->last + 1, seg->end};
}

int dl_store_load(struct dl_store *s, dl_index_t first, uint32_t max_bytes, dl_store_load_fn done, void *arg)
{
    struct segment *seg = store_segment_of(s, first);
    if (!seg)
        return ERR_NOT_FOUND;
    if (s->load_count >= DL_STORE_LOADS_MAX)
        return ERR_BUSY;
    struct records_load *r = calloc(1, sizeof(*r));
    ENSURE(r != NULL);
    r->load.read = records_read;
    r->load.finish = records_finish;
    r->load.release = records_release;
    r->done = done;
    r->arg = arg;
    r->first = first;
    r->max_bytes = max_bytes < LOAD_BYTES_MAX ? max_bytes : LOAD_BYTES_MAX;
    r->cut_count = s->cut_count;
    if (cache_get(&s->cache, first)) {
        gather(s, r);
    } else {
        r->seg = seg;
        seg->refs++;
        r->end = disk_end(s, seg);
        if (s->load_hint.index == first)
            r->from = (struct place){first, s->load_hint.pos};
    }
    int rc = load_start(s, &r->load);
    s->load_count += rc == 0;
    return rc;
}

/* ---- dl_store_entry_blocking ---- */

/* Entry at the replay buffer's place. */
static int replay_entry(struct dl_store *s, struct dl_entry *e)
{
    struct record_head head;
    const uint8_t *record = s->replay.buf->data + s->replay.at;
    ENSURE(record_head_read(record, &head));
    *e = (struct dl_entry){.index = head.index,
                           .term = head.term,
                           .pos = head.pos,
                           .kind = head.kind,
                           .len = head.len,
                           .offset = s->replay.at,
                           .buf = buf_ref(s->replay.buf)};
    s->replay.at += head.len;
    s->replay.next.index++;
    s->replay.next.pos += head.len;
    return 0;
}

int dl_store_entry_blocking(struct dl_store *s, dl_index_t index, struct dl_entry *e, struct err *err)
{
    int rc = dl_store_entry(s, index, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, rc, "entry %" PRIu64 " is not in %" PRIu64 "..%" PRIu64, index, store_begin(s),
                       store_last(s));
    if (rc == 0)
        return 0;
    struct place from = {0};
    if (s->replay.buf && s->replay.next.index == index) {
        if (s->replay.at < s->replay.buf->len)
            return replay_entry(s, e);
        from = s->replay.next;
    }
    struct segment *seg = store_segment_of(s, index);
    if (from.index != 0 && from.pos >= seg->end)
        from.index = 0;
    if (from.index != 0 && from.pos < seg->head.first_pos)
        from.index = 0;
    struct place until;
    buf_unref(s->replay.buf);
    s->replay.buf = NULL;
    rc = load_records(s, seg, from, index, disk_end(s, seg), REPLAY_BYTES, &s->replay.buf, &until, err);
    if (rc != 0)
        return rc;
    struct record_head head;
    ENSURE(record_head_read(s->replay.buf->data, &head));
    s->replay.at = 0;
    s->replay.next = (struct place){index, head.pos};
    return replay_entry(s, e);
}
