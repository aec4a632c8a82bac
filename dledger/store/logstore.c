/*
 * logstore.c - the facade: appending, truncating, trimming, looking up. Loop thread; nothing here waits for a
 * disk but open and close.
 *
 * The loop decides where each record goes (segments are opened and closed here as plain structs); the flush
 * worker makes it so on the disk, in the same order.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dledger/store/internal.h"

#define SEGMENT_BYTES_MIN (64u * 1024)
#define SEGMENT_BYTES_MAX (1024u * 1024 * 1024)

/* ---- jobs and failure ---- */

bool store_enter(struct dl_store *s)
{
    pthread_mutex_lock(&s->mutex);
    bool go = !s->closing && !s->failed;
    s->running += go;
    pthread_mutex_unlock(&s->mutex);
    return go;
}

void store_leave(struct dl_store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->running--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

int store_submit(struct dl_store *s, struct worker *w, struct job *job)
{
    s->refs++;
    int rc = worker_submit(w, job);
    s->refs -= rc != 0;
    return rc;
}

void store_fail(struct dl_store *s, const char *path, const char *what, int64_t rc)
{
    char text[sizeof(s->disk->root) + 256];
    snprintf(text, sizeof(text), "%s/%s: %s failed: %s", s->disk->root, path, what, strerror((int)-rc));
    pthread_mutex_lock(&s->mutex);
    bool first = !s->failed;
    s->failed = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (!s->opts.on_disk_failure)
        fatal("%s; durability is lost, the process ends", text);
    if (first)
        s->opts.on_disk_failure(s->opts.arg, text);
}

/* ---- segments and terms ---- */

struct segment *store_segment_new(const struct segment_head *head)
{
    struct segment *seg = calloc(1, sizeof(*seg));
    ENSURE(seg != NULL);
    seg->head = *head;
    seg->end = head->first_pos;
    seg->last = head->first_index - 1;
    seg->last_crc = head->prev_crc;
    seg->refs = 1;
    file_init(&seg->file);
    return seg;
}

void store_segment_unref(struct dl_store *s, struct segment *seg)
{
    ENSURE(seg->refs > 0);
    if (--seg->refs > 0) {
        if (seg == s->retired)
            spare_retire_next(s);
        return;
    }
    if (seg->file.fd >= 0)
        files_close(&s->files, &seg->file);
    free(seg->sparse);
    free(seg);
}

void store_segments_push(struct dl_store *s, struct segment *seg)
{
    if (s->seg_count == s->seg_cap) {
        s->seg_cap = s->seg_cap ? s->seg_cap * 2 : 16;
        s->segs = realloc(s->segs, s->seg_cap * sizeof(*s->segs));
        ENSURE(s->segs != NULL);
    }
    s->segs[s->seg_count++] = seg;
}

/* Number of the last segment for which `first` (index or position) is not above `key`. */
static uint32_t segment_search(const struct dl_store *s, uint64_t key, bool by_index)
{
    uint32_t lo = 0, hi = s->seg_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct segment_head *head = &s->segs[mid]->head;
        if ((by_index ? head->first_index : head->first_pos) <= key)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

struct segment *store_segment_of(const struct dl_store *s, dl_index_t index)
{
    if (index < store_begin(s) || index > store_last(s))
        return NULL;
    return s->segs[segment_search(s, index, true)];
}

struct segment *store_segment_at(const struct dl_store *s, dl_pos_t pos)
{
    if (pos < s->segs[0]->head.first_pos || pos >= store_end(s))
        return NULL;
    return s->segs[segment_search(s, pos, false)];
}

void store_sparse_add(struct dl_store *s, struct segment *seg, dl_index_t index, dl_pos_t pos)
{
    struct sparse here = {(uint32_t)(index - seg->head.first_index), (uint32_t)(pos - seg->head.first_pos)};
    uint32_t n = seg->sparse_count; /* changed by the loop only, as far as segments under construction go */
    if (here.pos < (n > 0 ? seg->sparse[n - 1].pos : 0) + STORE_SPARSE_GAP)
        return;
    pthread_mutex_lock(&s->mutex);
    if (n == seg->sparse_cap) {
        seg->sparse_cap = n ? n * 2 : 16;
        seg->sparse = realloc(seg->sparse, seg->sparse_cap * sizeof(*seg->sparse));
        ENSURE(seg->sparse != NULL);
    }
    seg->sparse[seg->sparse_count++] = here;
    pthread_mutex_unlock(&s->mutex);
}

dl_term_t store_term_at(const struct dl_store *s, dl_index_t index)
{
    if (index + 1 == store_begin(s))
        return s->begin_prev_term;
    if (index < store_begin(s) || index > store_last(s))
        return 0;
    uint32_t lo = 0, hi = s->run_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->runs[mid].first <= index)
            lo = mid;
        else
            hi = mid;
    }
    return s->runs[lo].term;
}

void store_runs_add(struct dl_store *s, dl_index_t index, dl_term_t term)
{
    if (s->run_count > 0 && s->runs[s->run_count - 1].term == term)
        return;
    if (s->run_count == s->run_cap) {
        s->run_cap = s->run_cap ? s->run_cap * 2 : 16;
        s->runs = realloc(s->runs, s->run_cap * sizeof(*s->runs));
        ENSURE(s->runs != NULL);
    }
    s->runs[s->run_count++] = (struct dl_term_run){index, term};
}

/* ---- append ---- */

/* The segment that takes a record of `len` bytes: the last one, or a new one behind it. A record larger than
 * a segment has one for itself. */
static struct segment *segment_for(struct dl_store *s, uint32_t len)
{
    struct segment *seg = s->segs[s->seg_count - 1];
    uint64_t used = segment_offset(seg->head.first_pos, seg->end);
    if (seg->last < seg->head.first_index || used + len + SEGMENT_MARK_BYTES <= s->opts.segment_bytes)
        return seg;
    struct segment_head head = {seg->end, seg->last + 1, store_term_at(s, seg->last), seg->last_crc,
                                rng_next(&s->rng)};
    seg->sealed = true;
    seg = store_segment_new(&head);
    seg->sparse_complete = true;
    store_segments_push(s, seg);
    return seg;
}

/* Enter a record into the loop's view of the log. */
static void note_record(struct dl_store *s, struct segment *seg, const struct record_head *head,
                        struct buf *buf, uint32_t offset)
{
    struct dl_entry e = {.index = head->index,
                         .term = head->term,
                         .pos = head->pos,
                         .kind = head->kind,
                         .len = head->len,
                         .offset = offset,
                         .buf = buf_ref(buf)};
    cache_push(&s->cache, &e);
    store_sparse_add(s, seg, head->index, head->pos);
    store_runs_add(s, head->index, head->term);
    seg->end += head->len;
    seg->last = head->index;
    seg->last_crc = head->crc;
    s->appended_bytes += head->len;
}

void dl_store_append(struct dl_store *s, dl_index_t index, dl_term_t term, uint32_t kind, struct buf *buf,
                     dl_pos_t *pos)
{
    ENSURE(index == store_last(s) + 1);
    ENSURE(term >= store_term_at(s, store_last(s)));
    ENSURE(buf->len >= DL_RECORD_HEAD);
    struct segment *seg = segment_for(s, buf->len);
    struct record_head head = {.len = buf->len,
                               .index = index,
                               .term = term,
                               .pos = seg->end,
                               .kind = kind,
                               .prev_crc = seg->last_crc,
                               .salt = s->salt};
    record_seal(buf->data, &head);
    note_record(s, seg, &head, buf, 0);
    struct item item = {.seg = seg,
                        .buf = buf_ref(buf),
                        .len = buf->len,
                        .pos = head.pos,
                        .last = index,
                        .term = term,
                        .last_crc = head.crc};
    flush_push(s, &item);
    flush_start(s);
    if (pos)
        *pos = head.pos;
}

/* Does the record fit behind the log as it stands? */
static int check_chain(const struct dl_store *s, const struct record_head *head, struct err *err)
{
    const struct segment *seg = s->segs[s->seg_count - 1];
    if (head->index == seg->last + 1 && head->pos == seg->end && head->prev_crc == seg->last_crc &&
        head->term >= store_term_at(s, seg->last))
        return 0;
    return err_set(err, ERR_DAMAGED,
                   "entry %" PRIu64 " (position %" PRIu64 ", behind checksum %08" PRIx32
                   ") does not follow entry %" PRIu64 " (end %" PRIu64 ", checksum %08" PRIx32
                   "): the logs differ",
                   head->index, head->pos, head->prev_crc, seg->last, seg->end, seg->last_crc);
}

int dl_store_append_records(struct dl_store *s, struct buf *buf, uint32_t offset, uint32_t len,
                            dl_index_t from, struct err *err)
{
    struct item item = {0};
    ENSURE(offset <= buf->len && len <= buf->len - offset);
    for (uint32_t at = offset; at < offset + len;) {
        struct record_head head;
        ENSURE(offset + len - at >= DL_RECORD_HEAD && record_head_read(buf->data + at, &head));
        ENSURE(head.len <= offset + len - at);
        if (head.index < from) {
            at += head.len;
            continue;
        }
        /* Only the first can fail: the others were checked to chain on to it. */
        int rc = check_chain(s, &head, err);
        ENSURE(rc == 0 || !item.buf);
        if (rc != 0)
            return rc;
        struct segment *seg = segment_for(s, head.len);
        if (item.buf && (item.seg != seg || item.len + head.len > STORE_ITEM_MAX)) {
            flush_push(s, &item);
            item.buf = NULL;
        }
        if (!item.buf)
            item = (struct item){.seg = seg, .buf = buf_ref(buf), .offset = at, .pos = head.pos};
        note_record(s, seg, &head, buf, at);
        item.len += head.len;
        item.last = head.index;
        item.term = head.term;
        item.last_crc = head.crc;
        at += head.len;
    }
    if (item.buf)
        flush_push(s, &item);
    flush_start(s);
    return 0;
}

void dl_store_cork(struct dl_store *s, bool corked)
{
    s->corked = corked;
    flush_start(s);
}

/* ---- truncate and trim ---- */

/* Head of a record that may yet be cut. Those are in memory: what is not applied stays there, and recovery
 * keeps what lies behind the known commit point. */
static struct record_head head_of(const struct dl_store *s, dl_index_t index)
{
    struct record_head head;
    const struct dl_entry *e = cache_get(&s->cache, index);
    ENSURE(e != NULL);
    ENSURE(record_head_read(e->buf->data + e->offset, &head));
    return head;
}

static void sparse_cut(struct dl_store *s, struct segment *seg, dl_pos_t from)
{
    pthread_mutex_lock(&s->mutex);
    while (seg->sparse_count > 0 && seg->head.first_pos + seg->sparse[seg->sparse_count - 1].pos >= from)
        seg->sparse_count--;
    seg->sparse_complete =
        true; /* without its index file, which goes: lookups begin at the segment's first record */
    pthread_mutex_unlock(&s->mutex);
}

void dl_store_truncate(struct dl_store *s, dl_index_t from)
{
    if (from > store_last(s))
        return;
    ENSURE(from >= store_begin(s));
    ENSURE(from > s->commit);
    ENSURE(from > s->hint_commit); /* after a start the one above is known only later */
    struct record_head head = head_of(s, from);
    uint32_t keep = segment_search(s, from, true);
    struct segment *seg = s->segs[keep];
    struct cut *cut = calloc(1, sizeof(*cut));
    ENSURE(cut != NULL);
    cut->intent =
        (struct meta_cut){seg->head.first_pos, head.pos, seg->end + SEGMENT_MARK_BYTES, from, head.prev_crc};
    cut->dead_count = s->seg_count - keep - 1;
    cut->dead = malloc((cut->dead_count + 1) * sizeof(*cut->dead));
    ENSURE(cut->dead != NULL);
    memcpy(cut->dead, s->segs + keep + 1, cut->dead_count * sizeof(*cut->dead));

    s->seg_count = keep + 1;
    cache_cut(&s->cache, from);
    while (s->run_count > 0 && s->runs[s->run_count - 1].first >= from)
        s->run_count--;
    sparse_cut(s, seg, head.pos);
    seg->end = head.pos;
    seg->last = from - 1;
    seg->last_crc = head.prev_crc;
    seg->sealed = seg->index_written = false;
    if (s->persisted >= from)
        s->persisted = from - 1;
    buf_unref(s->replay.buf);
    s->replay.buf = NULL;
    s->load_hint.index = 0;
    s->cut_count++;

    struct item item = {
        .seg = seg, .pos = head.pos, .last = from - 1, .term = store_term_at(s, from - 1), .cut = cut};
    flush_push(s, &item);
    flush_start(s);
}

void dl_store_trim(struct dl_store *s, dl_index_t index)
{
    uint32_t gone = 0;
    /* Not the segment with the last persisted entry: the flusher may still have it in hand. */
    while (gone + 1 < s->seg_count && s->segs[gone]->last < index && s->segs[gone]->last < s->persisted &&
           s->segs[gone]->last <= s->applied)
        gone++;
    if (gone == 0)
        return;
    dl_index_t begin = s->segs[gone]->head.first_index;
    s->begin_prev_term = s->segs[gone]->head.prev_term;
    cache_evict(&s->cache, 0, begin - 1);
    uint32_t runs = 0;
    while (runs + 1 < s->run_count && s->runs[runs + 1].first <= begin)
        runs++;
    memmove(s->runs, s->runs + runs, (s->run_count - runs) * sizeof(*s->runs));
    s->run_count -= runs;
    if (s->run_count > 0 && s->runs[0].first < begin)
        s->runs[0].first = begin;
    for (uint32_t i = 0; i < gone; i++)
        spare_retire(s, s->segs[i]);
    memmove(s->segs, s->segs + gone, (s->seg_count - gone) * sizeof(*s->segs));
    s->seg_count -= gone;
}

/* ---- facts ---- */

void dl_store_note(struct dl_store *s, dl_index_t commit, dl_index_t applied)
{
    ENSURE(commit >= s->commit);
    ENSURE(applied >= s->applied);
    s->commit = commit;
    s->applied = applied;
    hard_hint(s); /* looks at the entry while it is in memory */
    cache_evict(&s->cache, s->opts.cache_bytes, applied < s->persisted ? applied : s->persisted);
}

int dl_store_entry(struct dl_store *s, dl_index_t index, struct dl_entry *e)
{
    const struct dl_entry *found = cache_get(&s->cache, index);
    if (!found)
        return index < store_begin(s) || index > store_last(s) ? ERR_NOT_FOUND : ERR_AGAIN;
    *e = *found;
    buf_ref(e->buf);
    return 0;
}

void dl_store_start(const struct dl_store *s, struct dl_core_start *start)
{
    *start = (struct dl_core_start){
        .hard = s->hard_wanted.hard,
        .begin_index = store_begin(s),
        .begin_prev_term = s->begin_prev_term,
        .end_index = store_last(s),
        .runs = s->runs,
        .run_count = s->run_count,
    };
}

void dl_store_view(const struct dl_store *s, struct dl_store_view *view)
{
    uint64_t spares = 0;
    pthread_mutex_lock((pthread_mutex_t *)&s->mutex);
    for (uint32_t i = 0; i < s->spare_count; i++)
        spares += s->spares[i].size;
    uint64_t live = s->live.size;
    pthread_mutex_unlock((pthread_mutex_t *)&s->mutex);
    *view = (struct dl_store_view){
        .begin = store_begin(s),
        .last = store_last(s),
        .persisted = s->persisted,
        .begin_pos = s->segs[0]->head.first_pos,
        .end_pos = store_end(s),
        .segments = s->seg_count,
        .cache_bytes = s->cache.bytes,
        .disk_bytes = spares + live + (uint64_t)(s->seg_count - 1) * s->opts.segment_bytes,
        .fsyncs = s->fsyncs,
        .appended_bytes = s->appended_bytes,
    };
}

/* ---- open and close ---- */

static int check_opts(const struct dl_store_opts *opts, struct err *err)
{
    size_t len = strlen(opts->group);
    if (len == 0 || len > SEGMENT_GROUP_MAX)
        return err_set(err, ERR_INVALID, "the group's name must have 1..%u bytes", SEGMENT_GROUP_MAX);
    bool listed = false;
    for (uint32_t i = 0; i < opts->members.count && i < DL_PEERS_MAX; i++)
        listed = listed || opts->members.id[i] == opts->self;
    if (opts->self == DL_NOBODY || opts->members.count > DL_PEERS_MAX || !listed)
        return err_set(err, ERR_INVALID, "a replica needs an id, and must be one of its group's");
    if (opts->segment_bytes < SEGMENT_BYTES_MIN || opts->segment_bytes > SEGMENT_BYTES_MAX)
        return err_set(err, ERR_INVALID, "segment size %" PRIu64 " is not within %u..%u", opts->segment_bytes,
                       SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    return 0;
}

static void store_free(struct dl_store *s)
{
    flush_release(s);
    cache_release(&s->cache);
    for (uint32_t i = 0; i < s->seg_count; i++)
        store_segment_unref(s, s->segs[i]);
    while (s->retired) {
        struct segment *seg = s->retired;
        s->retired = seg->next_retired;
        store_segment_unref(s, seg);
    }
    free(s->segs);
    free(s->runs);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    free(s);
}

void store_unref(struct dl_store *s)
{
    ENSURE(s->refs > 0);
    if (--s->refs == 0)
        store_free(s);
}

int dl_store_open(const struct dl_store_opts *opts, struct dl_store **out, struct err *err)
{
    int rc = check_opts(opts, err);
    if (rc != 0)
        return rc;
    struct dl_store *s = calloc(1, sizeof(*s));
    ENSURE(s != NULL);
    s->opts = *opts;
    s->opts.segment_bytes = opts->segment_bytes / DISK_BLOCK * DISK_BLOCK;
    strcpy(s->group, opts->group);
    s->opts.group = s->group;
    s->salt = record_salt(s->group);
    rng_seed(&s->rng, opts->seed);
    s->disk = opts->disk;
    s->refs = 1;
    s->meta.fd = s->lock_fd = -1;
    ENSURE(pthread_mutex_init(&s->mutex, NULL) == 0);
    ENSURE(pthread_cond_init(&s->changed, NULL) == 0);
    files_init(&s->files, s->disk);
    flush_init(s);
    hard_init(s);
    spare_init(s);
    rc = recovery_run(s, err);
    if (rc != 0) {
        dl_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void dl_store_close(struct dl_store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    pthread_cond_broadcast(&s->changed);
    while (s->running > 0)
        pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
    s->closed = true;
    load_cancel_all(s);
    buf_unref(s->replay.buf);
    s->replay.buf = NULL;
    spare_release(s);
    if (s->blocks.fd >= 0)
        s->disk->ops->close(s->disk, s->blocks.fd);
    meta_close(&s->meta);
    files_release(&s->files);
    if (s->lock_fd >= 0)
        s->disk->ops->close(s->disk, s->lock_fd);
    store_unref(s);
}
