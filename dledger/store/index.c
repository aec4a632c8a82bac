/*
 * index.c - the index file beside a complete segment: its end, its terms, and where every 64 KiB a record
 * begins. So a start need not read old segments. Derived: when it is missing, bad or does not fit the segment
 * that follows, the segment is scanned and it is written again.
 *
 * "log/<first position>.idx", little-endian:
 *   0     8     magic "LMINDEX\0"
 *   8     4     format version (1)
 *   12    4     salt: CRC32C of the group's name
 *   16    8     position of the segment's first record
 *   24    8     index of the segment's first record
 *   32    8     position behind the last record
 *   40    8     index of the last record
 *   48    4     checksum of the last record
 *   52    4     number of term runs, R
 *   56    4     number of sparse entries, S
 *   60    4     zero
 *   64    16*R  term runs: index of the first entry, term
 *   ..    4     CRC32C over all before
 *   ..    8*S   sparse entries: index and position of a record, both relative to the segment's first
 *   ..    4     CRC32C over the sparse entries
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc.h"
#include "common/log.h"
#include "dledger/store/internal.h"

#define INDEX_MAGIC      "LMINDEX\0"
#define INDEX_VERSION    1u
#define INDEX_HEAD_BYTES 64u
#define INDEX_RUN_BYTES  16u
#define SPARSE_BYTES     8u
#define INDEX_BYTES_MAX  (64u * 1024 * 1024)

struct index_job {
    struct job job;
    struct dl_store *s;
    struct segment *seg;
    struct index_head head;
    struct dl_term_run *runs;
    uint32_t run_count;
    struct sparse *sparse;
    uint32_t sparse_count;
};

/* ---- writing ---- */

static size_t encode(uint8_t **out, uint32_t salt, const struct index_head *head,
                     const struct dl_term_run *runs, uint32_t run_count, const struct sparse *sparse,
                     uint32_t sparse_count)
{
    size_t fixed = INDEX_HEAD_BYTES + (size_t)run_count * INDEX_RUN_BYTES,
           rest = (size_t)sparse_count * SPARSE_BYTES;
    size_t size = fixed + 4 + rest + 4;
    uint8_t *b = calloc(1, size);
    ENSURE(b != NULL);
    memcpy(b, INDEX_MAGIC, 8);
    put_le32(b + 8, INDEX_VERSION);
    put_le32(b + 12, salt);
    put_le64(b + 16, head->first_pos);
    put_le64(b + 24, head->first_index);
    put_le64(b + 32, head->end);
    put_le64(b + 40, head->last);
    put_le32(b + 48, head->last_crc);
    put_le32(b + 52, run_count);
    put_le32(b + 56, sparse_count);
    for (uint32_t i = 0; i < run_count; i++) {
        put_le64(b + INDEX_HEAD_BYTES + (size_t)i * INDEX_RUN_BYTES, runs[i].first);
        put_le64(b + INDEX_HEAD_BYTES + (size_t)i * INDEX_RUN_BYTES + 8, runs[i].term);
    }
    put_le32(b + fixed, crc32c(0, b, fixed));
    for (uint32_t i = 0; i < sparse_count; i++) {
        put_le32(b + fixed + 4 + (size_t)i * SPARSE_BYTES, sparse[i].index);
        put_le32(b + fixed + 4 + (size_t)i * SPARSE_BYTES + 4, sparse[i].pos);
    }
    put_le32(b + fixed + 4 + rest, crc32c(0, b + fixed + 4, rest));
    *out = b;
    return size;
}

void index_write(struct dl_store *s, const struct index_head *head, const struct dl_term_run *runs,
                 uint32_t run_count, const struct sparse *sparse, uint32_t sparse_count)
{
    const struct disk_ops *ops = s->disk->ops;
    char path[SEGMENT_PATH_MAX];
    uint8_t *bytes;
    struct iovec iov = {.iov_len = encode(&bytes, s->salt, head, runs, run_count, sparse, sparse_count)};
    iov.iov_base = bytes;
    segment_index_path(path, head->first_pos);
    int fd = ops->open(s->disk, path, true);
    int64_t rc = fd < 0 ? fd : ops->pwritev(s->disk, fd, &iov, 1, 0);
    if (rc >= 0)
        rc = ops->fdatasync(s->disk, fd);
    if (fd >= 0)
        ops->close(s->disk, fd);
    if (rc >= 0)
        rc = ops->sync_dir(s->disk, SEGMENT_DIR);
    if (rc < 0)
        LOG_WARN("index file not written", "file=%s/%s error=\"%s\"", s->disk->root, path,
                 strerror((int)-rc));
    free(bytes);
}

static void index_run(struct job *job)
{
    struct index_job *ij = (struct index_job *)job;
    if (!store_enter(ij->s))
        return;
    index_write(ij->s, &ij->head, ij->runs, ij->run_count, ij->sparse, ij->sparse_count);
    store_leave(ij->s);
}

static void index_done(struct job *job)
{
    struct index_job *ij = (struct index_job *)job;
    struct dl_store *s = ij->s;
    store_segment_unref(s, ij->seg);
    free(ij->runs);
    free(ij->sparse);
    free(ij);
    store_unref(s);
}

/* Runs that touch first..last, the first one cut to begin there. */
static void copy_runs(const struct dl_store *s, dl_index_t first, dl_index_t last, struct index_job *ij)
{
    ij->runs = malloc((s->run_count + 1) * sizeof(*ij->runs));
    ENSURE(ij->runs != NULL);
    for (uint32_t i = 0; i < s->run_count && s->runs[i].first <= last; i++) {
        if (i + 1 < s->run_count && s->runs[i + 1].first <= first)
            continue;
        ij->runs[ij->run_count] = s->runs[i];
        if (ij->runs[ij->run_count].first < first)
            ij->runs[ij->run_count].first = first;
        ij->run_count++;
    }
}

static bool index_submit(struct dl_store *s, struct segment *seg)
{
    struct index_job *ij = calloc(1, sizeof(*ij));
    ENSURE(ij != NULL);
    ij->job = (struct job){.run = index_run, .done = index_done};
    ij->s = s;
    ij->seg = seg;
    ij->head =
        (struct index_head){seg->head.first_pos, seg->end, seg->head.first_index, seg->last, seg->last_crc};
    copy_runs(s, seg->head.first_index, seg->last, ij);
    pthread_mutex_lock(&s->mutex);
    ij->sparse_count = seg->sparse_count;
    ij->sparse = malloc((seg->sparse_count + 1) * sizeof(*ij->sparse));
    ENSURE(ij->sparse != NULL);
    if (seg->sparse_count > 0)
        memcpy(ij->sparse, seg->sparse, seg->sparse_count * sizeof(*ij->sparse));
    pthread_mutex_unlock(&s->mutex);
    seg->refs++;
    if (store_submit(s, s->opts.read, &ij->job) == 0)
        return true;
    seg->refs--;
    free(ij->runs);
    free(ij->sparse);
    free(ij);
    return false;
}

void index_start(struct dl_store *s)
{
    /* Those not written are the newest: usually one. */
    for (uint32_t i = s->seg_count - 1; i-- > 0 && !s->segs[i]->index_written;) {
        struct segment *seg = s->segs[i];
        if (seg->last <= s->persisted && seg->sparse_complete)
            seg->index_written = index_submit(s, seg);
    }
}

/* ---- reading ---- */

/* Read a piece of the file; NULL when it is not all there. Malloced. */
static uint8_t *read_piece(struct dl_store *s, int fd, uint64_t offset, size_t len)
{
    uint8_t *bytes = malloc(len);
    ENSURE(bytes != NULL);
    if (s->disk->ops->pread(s->disk, fd, bytes, len, offset) == (int64_t)len)
        return bytes;
    free(bytes);
    return NULL;
}

/* The fixed part and the runs, checked; NULL when bad. */
static uint8_t *read_head(struct dl_store *s, int fd, dl_pos_t first_pos)
{
    uint8_t fixed[INDEX_HEAD_BYTES];
    if (s->disk->ops->pread(s->disk, fd, fixed, sizeof(fixed), 0) != (int64_t)sizeof(fixed) ||
        memcmp(fixed, INDEX_MAGIC, 8) != 0 || get_le32(fixed + 8) != INDEX_VERSION ||
        get_le32(fixed + 12) != s->salt || get_le64(fixed + 16) != first_pos)
        return NULL;
    size_t len = INDEX_HEAD_BYTES + (size_t)get_le32(fixed + 52) * INDEX_RUN_BYTES;
    uint8_t *bytes = len <= INDEX_BYTES_MAX ? read_piece(s, fd, 0, len + 4) : NULL;
    if (bytes && get_le32(bytes + len) != crc32c(0, bytes, len)) {
        free(bytes);
        bytes = NULL;
    }
    return bytes;
}

int index_read(struct dl_store *s, dl_pos_t first_pos, struct index_head *head, struct dl_term_run **runs,
               uint32_t *run_count)
{
    char path[SEGMENT_PATH_MAX];
    segment_index_path(path, first_pos);
    int fd = s->disk->ops->open(s->disk, path, false);
    if (fd < 0)
        return ERR_NOT_FOUND;
    uint8_t *bytes = read_head(s, fd, first_pos);
    s->disk->ops->close(s->disk, fd);
    if (!bytes)
        return ERR_NOT_FOUND;
    *head = (struct index_head){get_le64(bytes + 16), get_le64(bytes + 32), get_le64(bytes + 24),
                                get_le64(bytes + 40), get_le32(bytes + 48)};
    *run_count = get_le32(bytes + 52);
    *runs = malloc((*run_count + 1) * sizeof(**runs));
    ENSURE(*runs != NULL);
    for (uint32_t i = 0; i < *run_count; i++) {
        const uint8_t *run = bytes + INDEX_HEAD_BYTES + (size_t)i * INDEX_RUN_BYTES;
        (*runs)[i] = (struct dl_term_run){get_le64(run), get_le64(run + 8)};
    }
    free(bytes);
    return 0;
}

int index_read_sparse(struct dl_store *s, dl_pos_t first_pos, struct sparse **sparse, uint32_t *count)
{
    char path[SEGMENT_PATH_MAX];
    segment_index_path(path, first_pos);
    int fd = s->disk->ops->open(s->disk, path, false);
    if (fd < 0)
        return ERR_NOT_FOUND;
    uint8_t *bytes = read_head(s, fd, first_pos), *rest = NULL;
    size_t at = 0, len = 0;
    if (bytes) {
        at = INDEX_HEAD_BYTES + (size_t)get_le32(bytes + 52) * INDEX_RUN_BYTES + 4;
        *count = get_le32(bytes + 56);
        len = (size_t)*count * SPARSE_BYTES;
        rest = len <= INDEX_BYTES_MAX ? read_piece(s, fd, at, len + 4) : NULL;
    }
    s->disk->ops->close(s->disk, fd);
    int rc = rest && get_le32(rest + len) == crc32c(0, rest, len) ? 0 : ERR_NOT_FOUND;
    if (rc == 0) {
        *sparse = malloc((*count + 1) * sizeof(**sparse));
        ENSURE(*sparse != NULL);
        for (uint32_t i = 0; i < *count; i++)
            (*sparse)[i] =
                (struct sparse){get_le32(rest + i * SPARSE_BYTES), get_le32(rest + i * SPARSE_BYTES + 4)};
    }
    free(bytes);
    free(rest);
    return rc;
}
