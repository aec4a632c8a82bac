/*
 * segment.c - one file of the log: names, head, flush mark, and the checked walk over its records. Formats:
 * segment.h.
 */
#include "dledger/store/segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/bytes.h"
#include "common/crc.h"
#include "dledger/store/store.h"

#define SEGMENT_MAGIC     "LMSEG\0\0\0"
#define MARK_MAGIC        0x32464d4cu /* "LMF2" */
#define OFF_GROUP_LEN     44
#define OFF_GROUP         46
#define OFF_SECRET        176
#define OFF_HEAD_CRC      4092
#define MARK_CRC          44
#define SCAN_BUFFER_BYTES (1024u * 1024)
#define DIGITS            20
#define LOOK_BYTES        DL_RECORD_HEAD /* of a mark, and of a record's head */
_Static_assert(LOOK_BYTES == SEGMENT_MARK_BYTES, "both are looked for at once");

void segment_path(char path[SEGMENT_PATH_MAX], dl_pos_t first_pos)
{
    snprintf(path, SEGMENT_PATH_MAX, SEGMENT_DIR "/%020" PRIu64 ".seg", first_pos);
}

void segment_index_path(char path[SEGMENT_PATH_MAX], dl_pos_t first_pos)
{
    snprintf(path, SEGMENT_PATH_MAX, SEGMENT_DIR "/%020" PRIu64 ".idx", first_pos);
}

void segment_spare_path(char path[SEGMENT_PATH_MAX], uint32_t id)
{
    snprintf(path, SEGMENT_PATH_MAX, SEGMENT_DIR "/spare-%" PRIu32, id);
}

bool segment_name_parse(const char *name, const char *suffix, dl_pos_t *first_pos)
{
    int64_t value;
    if (strlen(name) != DIGITS + strlen(suffix) || strcmp(name + DIGITS, suffix) != 0 ||
        !str_to_i64((struct str){name, DIGITS}, &value) || value < 0)
        return false;
    *first_pos = (dl_pos_t)value;
    return true;
}

bool segment_spare_parse(const char *name, uint32_t *id)
{
    int64_t value;
    struct str s = str_of(name);
    if (!str_starts(s, "spare-") || !str_to_i64((struct str){s.p + 6, s.len - 6}, &value) || value < 0 ||
        value > UINT32_MAX)
        return false;
    *id = (uint32_t)value;
    return true;
}

/* ---- head and mark ---- */

void segment_head_encode(uint8_t out[SEGMENT_HEAD_BYTES], const char *group, const struct segment_head *head)
{
    size_t group_len = strlen(group);
    ENSURE(group_len <= SEGMENT_GROUP_MAX);
    memset(out, 0, SEGMENT_HEAD_BYTES);
    memcpy(out, SEGMENT_MAGIC, 8);
    put_le32(out + 8, SEGMENT_VERSION);
    put_le32(out + 12, record_salt(group));
    put_le64(out + 16, head->first_pos);
    put_le64(out + 24, head->first_index);
    put_le64(out + 32, head->prev_term);
    put_le32(out + 40, head->prev_crc);
    out[OFF_GROUP_LEN] = (uint8_t)group_len;
    memcpy(out + OFF_GROUP, group, group_len);
    put_le64(out + OFF_SECRET, head->secret);
    put_le32(out + OFF_HEAD_CRC, crc32c(0, out, OFF_HEAD_CRC));
}

int segment_head_decode(const uint8_t in[SEGMENT_HEAD_BYTES], const char *path, const char *group,
                        struct segment_head *head, char group_out[SEGMENT_GROUP_MAX + 1], struct err *err)
{
    char name[SEGMENT_GROUP_MAX + 1] = "";
    if (memcmp(in, SEGMENT_MAGIC, 8) != 0 || get_le32(in + OFF_HEAD_CRC) != crc32c(0, in, OFF_HEAD_CRC))
        return err_set(err, ERR_DAMAGED, "%s: the segment's head is damaged (offset 0)", path);
    if (get_le32(in + 8) != SEGMENT_VERSION)
        return err_set(err, ERR_VERSION, "%s: segment format %" PRIu32 ", this program knows %u", path,
                       get_le32(in + 8), SEGMENT_VERSION);
    if (!str_copy((struct str){(const char *)in + OFF_GROUP, in[OFF_GROUP_LEN]}, name, sizeof(name)))
        return err_set(err, ERR_DAMAGED, "%s: the group's name in the head is damaged (offset %d)", path,
                       OFF_GROUP);
    if (group && strcmp(group, name) != 0)
        return err_set(err, ERR_FOREIGN, "%s: belongs to group %s, not %s", path, name, group);
    head->first_pos = get_le64(in + 16);
    head->first_index = get_le64(in + 24);
    head->prev_term = get_le64(in + 32);
    head->prev_crc = get_le32(in + 40);
    head->secret = get_le64(in + OFF_SECRET);
    if (head->first_index == 0 || head->first_pos > INT64_MAX)
        return err_set(err, ERR_DAMAGED, "%s: impossible numbers in the segment's head", path);
    if (group_out)
        memcpy(group_out, name, sizeof(name));
    return 0;
}

void segment_mark_encode(uint8_t out[SEGMENT_MARK_BYTES], uint64_t secret, const struct segment_mark *mark)
{
    put_le32(out, MARK_MAGIC);
    put_le32(out + 4, mark->last_crc);
    put_le64(out + 8, secret);
    put_le64(out + 16, mark->start);
    put_le64(out + 24, mark->end);
    put_le64(out + 32, mark->last);
    put_le32(out + 40, 0);
    put_le32(out + MARK_CRC, crc32c(0, out, MARK_CRC));
}

bool segment_mark_decode(const uint8_t in[SEGMENT_MARK_BYTES], uint64_t secret, dl_pos_t pos,
                         struct segment_mark *mark)
{
    mark->last_crc = get_le32(in + 4);
    mark->start = get_le64(in + 16);
    mark->end = get_le64(in + 24);
    mark->last = get_le64(in + 32);
    return get_le32(in) == MARK_MAGIC && get_le64(in + 8) == secret && mark->end == pos &&
           mark->start <= pos && get_le32(in + MARK_CRC) == crc32c(0, in, MARK_CRC);
}

/* ---- reading ---- */

/* A sliding piece of the file. */
struct window {
    uint8_t *data;
    size_t cap, len;
    dl_pos_t pos; /* of data[0] */
};

/* Have `want` bytes from `pos` on in the window, or as many as there are before scan->limit. *have may be
 * less at the end of the file. */
static int window_at(const struct segment_scan *scan, struct window *w, dl_pos_t pos, size_t want,
                     const uint8_t **data, size_t *have, struct err *err)
{
    if (pos < w->pos || pos + want > w->pos + w->len) {
        size_t room = want > SCAN_BUFFER_BYTES ? want : SCAN_BUFFER_BYTES;
        if (room > w->cap) {
            free(w->data);
            w->data = malloc(room);
            ENSURE(w->data != NULL);
            w->cap = room;
        }
        if (room > scan->limit - pos)
            room = (size_t)(scan->limit - pos);
        int64_t n =
            scan->disk->ops->pread(scan->disk, scan->fd, w->data, room, segment_offset(scan->first_pos, pos));
        if (n < 0) {
            char path[SEGMENT_PATH_MAX];
            segment_path(path, scan->first_pos);
            return err_set(err, ERR_IO, "%s/%s: read at offset %" PRIu64 ": %s", scan->disk->root, path,
                           segment_offset(scan->first_pos, pos), strerror((int)-n));
        }
        w->pos = pos;
        w->len = (size_t)n;
    }
    *data = w->data + (pos - w->pos);
    *have = w->len - (size_t)(pos - w->pos);
    return 0;
}

/* A good record of this group at its place? `*record` is valid until the window moves. */
static int record_at(const struct segment_scan *scan, struct window *w, dl_pos_t pos,
                     struct record_head *head, const uint8_t **record, bool *good, struct err *err)
{
    size_t have;
    *good = false;
    if (scan->limit - pos < DL_RECORD_HEAD)
        return 0;
    int rc = window_at(scan, w, pos, DL_RECORD_HEAD, record, &have, err);
    if (rc != 0 || have < DL_RECORD_HEAD)
        return rc;
    if (!record_head_read(*record, head) || head->pos != pos || head->salt != scan->salt ||
        head->len > scan->limit - pos)
        return 0;
    rc = window_at(scan, w, pos, head->len, record, &have, err);
    if (rc != 0 || have < head->len)
        return rc;
    *good = record_crc_good(*record, head);
    return 0;
}

int segment_scan(struct segment_scan *scan, struct err *err)
{
    struct window w = {0};
    struct record_head head;
    const uint8_t *record;
    bool good;
    int rc;
    while ((rc = record_at(scan, &w, scan->pos, &head, &record, &good, err)) == 0 && good) {
        if (head.index != scan->index || head.prev_crc != scan->prev_crc || head.term < scan->term ||
            head.term == 0)
            break;
        if (scan->each)
            scan->each(scan->arg, &head, record);
        scan->pos += head.len;
        scan->index++;
        scan->term = head.term;
        scan->prev_crc = head.crc;
    }
    free(w.data);
    return rc;
}

int segment_look_behind(const struct segment_scan *scan, dl_pos_t to, struct segment_rest *rest,
                        struct err *err)
{
    struct window w = {0};
    struct segment_scan area = *scan;
    int rc = 0;
    area.limit = to;
    memset(rest, 0, sizeof(*rest));
    for (dl_pos_t pos = scan->pos; pos < to && rc == 0;) {
        const uint8_t *data;
        size_t have;
        rc = window_at(&area, &w, pos, LOOK_BYTES, &data, &have, err);
        if (rc != 0 || have < LOOK_BYTES)
            break;
        /* The last bytes of a window are looked at again as the first of the next. */
        size_t whole = have - LOOK_BYTES + 1;
        bool file_ends = pos + have >= to || have < SCAN_BUFFER_BYTES;
        for (const uint8_t *p = data; (p = memmem(p, (size_t)(data + whole - p) + 1, "LM", 2)); p++) {
            dl_pos_t at = pos + (dl_pos_t)(p - data);
            struct segment_mark mark;
            struct record_head head;
            if (p >= data + whole)
                break;
            if (segment_mark_decode(p, scan->secret, at, &mark)) {
                rest->mark_here |= at == scan->pos;
                rest->mark_seen = true;
                rest->mark = mark;
            } else if (at > scan->pos && record_head_read(p, &head) && head.pos == at &&
                       head.salt == scan->salt) {
                rest->record_seen = true;
                if (at + head.len > rest->record_end)
                    rest->record_end = at + head.len;
            }
        }
        if (file_ends)
            break;
        pos += whole;
    }
    free(w.data);
    return rc;
}
