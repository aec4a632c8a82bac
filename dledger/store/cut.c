/*
 * cut.c - removing the end of the log so that nothing of it ever comes back.
 *
 * A cut leaves records behind it which are good in themselves: right place, right salt. So the intent is made
 * durable first (meta.h), then whole segments go from the last to the first, each with its directory entry,
 * then the rest of the segment is zeroed and a mark is set at the cut, then the intent is removed. A crash
 * anywhere in between is finished at the next start. Runs on the flush worker, or at open.
 */
#include <errno.h>

#include "dledger/store/internal.h"

#define ZERO_PIECE_BYTES (64u * 1024)
#define ZERO_PIECES      16

static const uint8_t zero_piece[ZERO_PIECE_BYTES] __attribute__((aligned(DISK_BLOCK)));

int cut_zero(struct disk *disk, int fd, uint64_t offset, uint64_t len)
{
    while (len > 0) {
        struct iovec iov[ZERO_PIECES];
        int count = 0;
        uint64_t now = 0;
        while (count < ZERO_PIECES && now < len) {
            size_t piece = len - now < ZERO_PIECE_BYTES ? (size_t)(len - now) : ZERO_PIECE_BYTES;
            iov[count++] = (struct iovec){(void *)(uintptr_t)zero_piece, piece};
            now += piece;
        }
        int64_t rc = disk->ops->pwritev(disk, fd, iov, count, offset);
        if (rc < 0)
            return (int)rc;
        offset += now;
        len -= now;
    }
    return 0;
}

int cut_erase(struct dl_store *s, int fd, const struct segment_head *head, const struct segment_mark *mark,
              dl_pos_t end)
{
    uint8_t bytes[SEGMENT_MARK_BYTES];
    struct iovec iov = {bytes, sizeof(bytes)};
    uint64_t at = segment_offset(head->first_pos, mark->end);
    segment_mark_encode(bytes, head->secret, mark);
    int64_t rc = s->disk->ops->pwritev(s->disk, fd, &iov, 1, at);
    if (rc < 0)
        return (int)rc;
    if (end <= mark->end + SEGMENT_MARK_BYTES)
        return 0;
    return cut_zero(s->disk, fd, at + SEGMENT_MARK_BYTES, end - mark->end - SEGMENT_MARK_BYTES);
}

static int remove_segment(struct dl_store *s, dl_pos_t first_pos)
{
    char path[SEGMENT_PATH_MAX];
    segment_index_path(path, first_pos);
    int rc = s->disk->ops->unlink(s->disk, path);
    if (rc != 0 && rc != -ENOENT)
        return rc;
    segment_path(path, first_pos);
    rc = s->disk->ops->unlink(s->disk, path);
    if (rc != 0 && rc != -ENOENT)
        return rc;
    return s->disk->ops->sync_dir(s->disk, SEGMENT_DIR);
}

int cut_finish(struct dl_store *s, int fd, const struct segment_head *head, const struct meta_cut *cut,
               const dl_pos_t *dead, uint32_t dead_count)
{
    struct segment_mark mark = {cut->from, cut->from, cut->index - 1, cut->prev_crc};
    for (uint32_t i = dead_count; i-- > 0;) {
        int rc = remove_segment(s, dead[i]);
        if (rc != 0)
            return rc;
    }
    int rc = cut_erase(s, fd, head, &mark, cut->end);
    if (rc == 0)
        rc = s->disk->ops->fdatasync(s->disk, fd);
    return rc != 0 ? rc : meta_cut_clear(&s->meta);
}
