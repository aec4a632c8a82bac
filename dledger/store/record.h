/*
 * record.h - one record of the log as bytes: making the head, checking head and body. The layout is in
 * store.h.
 *
 * Pure functions, any thread. Used by the facade, recovery, cold reads, logdump and the fuzz target.
 */
#ifndef DLEDGER_STORE_RECORD_H
#define DLEDGER_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "dledger/core/types.h"

#define RECORD_MAGIC 0x31524d4cu /* "LMR1" */

struct record_head {
    uint32_t len; /* whole record */
    dl_index_t index;
    dl_term_t term;
    dl_pos_t pos;
    uint32_t kind;
    uint32_t prev_crc, salt, crc;
};

/* Checksum that marks all records of a group. */
uint32_t record_salt(const char *group);

/* Fill the first DL_RECORD_HEAD bytes of `record` (head->len bytes, body in place) and set head->crc. */
void record_seal(uint8_t *record, struct record_head *head);

/* Read a head of DL_RECORD_HEAD bytes; false when magic, length, kind or the zero bytes are wrong. The
 * checksum is not looked at. */
bool record_head_read(const uint8_t *bytes, struct record_head *head);

/* Does the checksum in the head fit these head->len bytes? */
bool record_crc_good(const uint8_t *record, const struct record_head *head);

#endif
