/*
 * crc.h - CRC32C (Castagnoli; SSE4.2 when the CPU has it, table otherwise) for our files, and zlib's CRC-32
 * (by libdeflate, carry-less multiply) for RocketMQ's bodyCRC and registration bodies. Any thread.
 */
#ifndef COMMON_CRC_H
#define COMMON_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Continue `crc` (0 at the start) over the bytes; standard CRC32C: crc32c(0, "123456789", 9) ==
 * 0xE3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The portable path, for tests. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);
/* zlib's crc32(0, data, len); RocketMQ masks it with 0x7FFFFFFF. */
uint32_t crc32_zlib(const void *data, size_t len);

#endif
