/*
 * record.h - keys and values of the checkpoint (docs/formats/state.md).
 *
 * A key is one letter for its table, then fixed-width big-endian numbers (so that keys of one queue lie
 * together, in order), then a name if there is one. LMDB allows 511 bytes. Topics appear in keys by uid,
 * since two names of 255 bytes would not fit. A value is the record's fields, little-endian, then CRC32C over
 * key and fields: LMDB pages carry no checksum, and a record under the wrong key is damage as well.
 */
#ifndef BROKER_STATE_RECORD_H
#define BROKER_STATE_RECORD_H

#include "common/bytes.h"
#include "common/err.h"

#define RECORD_KEY_MAX   272u /* letter, uid, queue id, a name of 255 bytes */
#define RECORD_CRC_BYTES 4u

enum record_table {
    RECORD_META = 'm',   /* no rest */
    RECORD_TOPIC = 't',  /* name */
    RECORD_GROUP = 'g',  /* name */
    RECORD_QUEUE = 'q',  /* uid u32, queue id u16 */
    RECORD_BLOCK = 'b',  /* uid u32, queue id u16, block number u32 */
    RECORD_OFFSET = 'o', /* uid u32, queue id u16, group name */
    RECORD_LOCK = 'l',   /* uid u32, queue id u16, group name */
};

struct key {
    uint32_t len;
    uint8_t bytes[RECORD_KEY_MAX];
};

struct key key_meta(void);
/* RECORD_TOPIC, RECORD_GROUP */
struct key key_named(enum record_table table, struct str name);
struct key key_queue(uint32_t uid, uint32_t queue_id);
struct key key_block(uint32_t uid, uint32_t queue_id, uint32_t block);
/* RECORD_OFFSET, RECORD_LOCK */
struct key key_of_group(enum record_table table, uint32_t uid, uint32_t queue_id, struct str group);

uint32_t record_crc(const void *key, size_t key_len, const void *fields, size_t fields_len);
/* Strip and check the CRC of a value. ERR_DAMAGED. */
int record_open(struct str key, struct str value, struct rd *fields) MUSTCHECK;
/* A key for people: "q/12/3", unprintable bytes as \xNN. Cut when it does not fit. */
void record_key_text(struct str key, char *out, size_t out_size);

#endif
