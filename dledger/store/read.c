/*
 * read.c - bytes at positions, for pulls: from memory, from the page cache without waiting, or on the read
 * worker.
 *
 * Positions run through all segments, so a range may be in several files and partly in memory.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dledger/store/load.h"

static bool inside(const struct dl_store *s, dl_pos_t pos, uint32_t len)
{
    return pos >= s->segs[0]->head.first_pos && pos <= store_end(s) && len <= store_end(s) - pos;
}

/* Copy what begins at `pos` from memory: how many bytes, 0 when they are on disk. */
static uint32_t copy_cached(const struct dl_store *s, dl_pos_t pos, uint32_t len, uint8_t *dst)
{
    const struct dl_entry *e = cache_find(&s->cache, pos);
    if (!e)
        return 0;
    uint32_t skip = (uint32_t)(pos - e->pos), n = e->len - skip < len ? e->len - skip : len;
    memcpy(dst, e->buf->data + e->offset + skip, n);
    return n;
}

/* How many of `len` bytes at `pos` are to be read from the file of one segment. */
static uint32_t on_disk(const struct dl_store *s, dl_pos_t pos, uint32_t len, struct segment **seg)
{
    const struct dl_entry *first = cache_get(&s->cache, s->cache.first);
    *seg = store_segment_at(s, pos);
    uint64_t n = (*seg)->end - pos;
    if (first && first->pos > pos && first->pos - pos < n)
        n = first->pos - pos;
    return n < len ? (uint32_t)n : len;
}

int dl_store_read(struct dl_store *s, dl_pos_t pos, uint32_t len, uint8_t *dst)
{
    if (!inside(s, pos, len))
        return ERR_NOT_FOUND;
    while (len > 0) {
        uint32_t n = copy_cached(s, pos, len, dst);
        if (n == 0) {
            struct segment *seg;
            n = on_disk(s, pos, len, &seg);
            int fd = files_pin_open(&s->files, &seg->file);
            if (fd < 0)
                return ERR_AGAIN;
            int64_t rc =
                s->disk->ops->pread_nowait(s->disk, fd, dst, n, segment_offset(seg->head.first_pos, pos));
            files_unpin(&s->files, &seg->file);
            if (rc != (int64_t)n)
                return ERR_AGAIN; /* an error shows itself to the read worker, too */
        }
        pos += n;
        dst += n;
        len -= n;
    }
    return 0;
}

/* ---- on the read worker ---- */

struct read_piece {
    struct segment *seg; /* one reference */
    dl_pos_t pos;
    uint32_t len;
    uint8_t *dst;
};

struct range_load {
    struct load load;
    void (*done)(void *arg, int err);
    void *arg;
    struct read_piece *pieces;
    uint32_t count, cap;
};

static void range_read(struct load *load)
{
    struct range_load *r = (struct range_load *)load;
    struct dl_store *s = load->s;
    for (uint32_t i = 0; i < r->count && load->rc == 0; i++) {
        struct read_piece *p = &r->pieces[i];
        char path[SEGMENT_PATH_MAX];
        segment_path(path, p->seg->head.first_pos);
        uint64_t offset = segment_offset(p->seg->head.first_pos, p->pos);
        int fd = files_pin(&s->files, &p->seg->file, path);
        int64_t n = fd < 0 ? fd : s->disk->ops->pread(s->disk, fd, p->dst, p->len, offset);
        if (fd >= 0)
            files_unpin(&s->files, &p->seg->file);
        if (n == (int64_t)p->len)
            continue;
        load->rc = ERR_IO;
        LOG_ERROR("cannot read the log", "file=%s/%s offset=%" PRIu64 " error=\"%s\"", s->disk->root, path,
                  offset, n < 0 ? strerror((int)-n) : "file too short");
    }
}

static void range_finish(struct load *load, int rc)
{
    struct range_load *r = (struct range_load *)load;
    r->done(r->arg, rc);
}

static void range_release(struct load *load)
{
    struct range_load *r = (struct range_load *)load;
    for (uint32_t i = 0; i < r->count; i++)
        store_segment_unref(load->s, r->pieces[i].seg);
    free(r->pieces);
    free(r);
}

static void add_piece(struct range_load *r, const struct read_piece *piece)
{
    if (r->count == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 8;
        r->pieces = realloc(r->pieces, r->cap * sizeof(*r->pieces));
        ENSURE(r->pieces != NULL);
    }
    piece->seg->refs++;
    r->pieces[r->count++] = *piece;
}

int dl_store_read_async(struct dl_store *s, const struct dl_range *ranges, uint32_t count,
                        void (*done)(void *arg, int err), void *arg)
{
    for (uint32_t i = 0; i < count; i++)
        if (!inside(s, ranges[i].pos, ranges[i].len))
            return ERR_NOT_FOUND;
    struct range_load *r = calloc(1, sizeof(*r));
    ENSURE(r != NULL);
    r->load.read = range_read;
    r->load.finish = range_finish;
    r->load.release = range_release;
    r->done = done;
    r->arg = arg;
    for (uint32_t i = 0; i < count; i++) {
        struct read_piece p = {.pos = ranges[i].pos, .dst = ranges[i].dst};
        for (uint32_t left = ranges[i].len; left > 0; left -= p.len, p.pos += p.len, p.dst += p.len) {
            p.len = copy_cached(s, p.pos, left, p.dst);
            if (p.len > 0)
                continue;
            p.len = on_disk(s, p.pos, left, &p.seg);
            add_piece(r, &p);
        }
    }
    return load_start(s, &r->load);
}
