/*
 * fuzz_record.c - pushed records and stored segments made of arbitrary bytes.
 *
 * Input: u8 mode | bytes. Mode bit 0: put right the checksums and places of what looks like records, so that
 * the checks behind them are reached. Mode bit 1: the bytes are a segment's record area, else a push's records.
 * Required: a push that is accepted can be appended to the log it fits; a store opens with an error or with a
 * log all of whose entries can be read, and opens again with the same end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/log.h"
#include "dledger/store/segment.h"
#include "tests/lib/storekit.h"

#define GROUP     "RaftNode00"
#define INPUT_MAX 60000u
#define TERMS_MAX 64u
#define SECRET    0x5ec2e7u

/* Make what looks like a chain of records good. Returns how many there are. */
static uint32_t put_right(uint8_t *data, size_t len, bool place)
{
    uint32_t count = 0, prev_crc = 0;
    uint64_t prev_term = 1;
    for (size_t at = 0; len - at >= DL_RECORD_HEAD; count++) {
        uint32_t claimed = get_le32(data + at + 4) % 4096;
        struct record_head head = {.len = claimed < DL_RECORD_HEAD ? DL_RECORD_HEAD : claimed,
                                   .index = count + 1,
                                   .term = prev_term + (data[at + 16] > 250),
                                   .pos = at,
                                   .kind = data[at + 32] + 1u,
                                   .prev_crc = prev_crc,
                                   .salt = record_salt(GROUP)};
        if (head.len > len - at)
            break;
        if (data[at] == 0xff) /* leave a bad one here and there */
            return count;
        record_seal(data + at, &head);
        prev_crc = head.crc;
        prev_term = head.term;
        at += head.len;
        if (place && at + SEGMENT_MARK_BYTES <= len && data[at] == 0xfe) {
            struct segment_mark mark = {data[at + 1], at, count + 1, prev_crc};
            segment_mark_encode(data + at, SECRET, &mark);
            return count + 1;
        }
    }
    return count;
}

static void fuzz_push(uint8_t *data, size_t len, uint32_t count)
{
    dl_term_t terms[TERMS_MAX];
    struct err err;
    dl_index_t last = count > 0 && count <= TERMS_MAX ? count : 1 + len % (TERMS_MAX + 2);
    if (dl_records_check(GROUP, data, len, 1, last, terms, TERMS_MAX, &err) != 0)
        return;
    struct storekit k;
    storekit_init(&k);
    ENSURE(storekit_open(&k) == 0);
    struct buf *buf = buf_copy(data, len);
    int rc = dl_store_append_records(k.s, buf, 0, (uint32_t)len, 1, &err);
    ENSURE(rc == 0 || rc == ERR_DAMAGED);
    storekit_run(&k);
    ENSURE(rc != 0 || k.persisted == last);
    buf_unref(buf);
    storekit_release(&k);
}

static void put_file(struct disk *d, const char *path, const void *data, size_t len, uint64_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    int fd = d->ops->open(d, path, true);
    ENSURE(fd >= 0);
    ENSURE(d->ops->pwritev(d, fd, &iov, 1, offset) == (int64_t)len);
    d->ops->close(d, fd);
}

static void fuzz_segment(const uint8_t *data, size_t len)
{
    struct storekit k;
    struct segment_head head = {.first_index = 1, .secret = SECRET};
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    char path[SEGMENT_PATH_MAX];
    storekit_init(&k);
    ENSURE(storekit_open(&k) == 0); /* makes the hard state */
    storekit_close(&k);
    segment_path(path, 0);
    segment_head_encode(bytes, GROUP, &head);
    put_file(fakedisk_disk(k.fake), path, bytes, sizeof(bytes), 0);
    put_file(fakedisk_disk(k.fake), path, data, len, SEGMENT_HEAD_BYTES);
    int rc = storekit_open(&k);
    ENSURE(rc == 0 || rc == ERR_DAMAGED);
    if (rc == 0) {
        dl_index_t last = storekit_last(&k);
        for (dl_index_t i = 1; i <= last; i++) {
            struct dl_entry e;
            ENSURE(dl_store_entry_blocking(k.s, i, &e, &k.err) == 0);
            buf_unref(e.buf);
        }
        storekit_close(&k);
        ENSURE(storekit_open(&k) == 0);
        ENSURE(storekit_last(&k) == last);
    }
    storekit_release(&k);
}

static void quiet(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
    if (len < 2 || len > INPUT_MAX)
        return 0;
    log_set_sink(quiet, NULL);
    uint8_t mode = input[0];
    uint8_t *data = malloc(--len);
    ENSURE(data != NULL);
    memcpy(data, input + 1, len);
    uint32_t count = mode & 1 ? put_right(data, len, mode & 2) : 0;
    if (mode & 2)
        fuzz_segment(data, len);
    else
        fuzz_push(data, len, count);
    free(data);
    return 0;
}
