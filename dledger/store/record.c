/*
 * record.c - one record of the log as bytes. See record.h; the layout is in store.h.
 */
#include "dledger/store/record.h"

#include <inttypes.h>

#include "common/bytes.h"
#include "common/crc.h"
#include "dledger/store/store.h"

#define OFF_LEN     4
#define OFF_INDEX   8
#define OFF_TERM    16
#define OFF_POS     24
#define OFF_KIND    32
#define OFF_ZERO    34
#define OFF_PREV    36
#define OFF_SALT    40
#define OFF_CRC     44
#define CRC_COVERED 44 /* head bytes under the checksum */

uint32_t record_salt(const char *group)
{
    return crc32c(0, group, strlen(group));
}

static uint32_t record_crc(const uint8_t *record, uint32_t len)
{
    return crc32c(crc32c(0, record, CRC_COVERED), record + DL_RECORD_HEAD, len - DL_RECORD_HEAD);
}

void record_seal(uint8_t *record, struct record_head *head)
{
    ENSURE(head->len >= DL_RECORD_HEAD);
    ENSURE(head->len <= DL_RECORD_MAX);
    ENSURE(head->kind > 0);
    ENSURE(head->kind <= UINT16_MAX);
    put_le32(record, RECORD_MAGIC);
    put_le32(record + OFF_LEN, head->len);
    put_le64(record + OFF_INDEX, head->index);
    put_le64(record + OFF_TERM, head->term);
    put_le64(record + OFF_POS, head->pos);
    put_le32(record + OFF_KIND, head->kind); /* and two zero bytes */
    put_le32(record + OFF_PREV, head->prev_crc);
    put_le32(record + OFF_SALT, head->salt);
    head->crc = record_crc(record, head->len);
    put_le32(record + OFF_CRC, head->crc);
}

bool record_head_read(const uint8_t *bytes, struct record_head *head)
{
    head->len = get_le32(bytes + OFF_LEN);
    head->index = get_le64(bytes + OFF_INDEX);
    head->term = get_le64(bytes + OFF_TERM);
    head->pos = get_le64(bytes + OFF_POS);
    head->kind = get_le32(bytes + OFF_KIND);
    head->prev_crc = get_le32(bytes + OFF_PREV);
    head->salt = get_le32(bytes + OFF_SALT);
    head->crc = get_le32(bytes + OFF_CRC);
    return get_le32(bytes) == RECORD_MAGIC && head->len >= DL_RECORD_HEAD && head->len <= DL_RECORD_MAX &&
           head->kind > 0 && head->kind <= UINT16_MAX;
}

bool record_crc_good(const uint8_t *record, const struct record_head *head)
{
    return record_crc(record, head->len) == head->crc;
}

int dl_records_check(const char *group, const uint8_t *data, size_t len, dl_index_t first, dl_index_t last,
                     dl_term_t *terms, uint32_t terms_max, struct err *err)
{
    if (first == 0 || last < first || last - first >= terms_max)
        return err_set(err, ERR_MALFORMED, "entries %" PRIu64 "..%" PRIu64 ": at most %u allowed", first,
                       last, terms_max);
    uint32_t salt = record_salt(group);
    struct record_head prev = {0};
    size_t at = 0;
    for (dl_index_t index = first; index <= last; index++) {
        struct record_head head;
        if (len - at < DL_RECORD_HEAD || !record_head_read(data + at, &head) || head.len > len - at)
            return err_set(err, ERR_MALFORMED, "no record at byte %zu, where entry %" PRIu64 " should be", at,
                           index);
        if (head.index != index || head.salt != salt || head.term == 0)
            return err_set(err, ERR_MALFORMED,
                           "entry %" PRIu64 " of term %" PRIu64 " where entry %" PRIu64
                           " of group %s should be",
                           head.index, head.term, index, group);
        if (!record_crc_good(data + at, &head))
            return err_set(err, ERR_MALFORMED, "checksum of entry %" PRIu64 " is wrong", index);
        if (index > first &&
            (head.term < prev.term || head.prev_crc != prev.crc || head.pos != prev.pos + prev.len))
            return err_set(err, ERR_MALFORMED, "entry %" PRIu64 " does not follow the one before it", index);
        if (head.pos > INT64_MAX)
            return err_set(err, ERR_MALFORMED, "position of entry %" PRIu64 " is out of range", index);
        terms[index - first] = head.term;
        prev = head;
        at += head.len;
    }
    if (at != len)
        return err_set(err, ERR_MALFORMED, "%zu bytes after entry %" PRIu64, len - at, last);
    return 0;
}
