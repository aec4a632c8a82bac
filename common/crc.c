/*
 * crc.c - CRC32C in hardware with three streams, or by table eight bytes a step.
 *
 * The crc32 instruction takes 3 cycles but one may start every cycle: three neighbouring blocks are therefore
 * run side by side and joined. Joining needs the register "shifted over n zero bytes", a linear map of 32
 * bits, kept as four tables of 256 words per block size. All tables are made from the polynomial when the
 * program starts.
 */
#include "common/crc.h"

#include <libdeflate.h>
#include <stdbool.h>

#include "common/bytes.h"

#define POLYNOMIAL  0x82F63B78u /* Castagnoli, reflected */
#define LONG_BLOCK  2048u
#define SHORT_BLOCK 256u

static uint32_t slice[8][256];      /* slice[k][b]: byte b followed by k zero bytes */
static uint32_t long_shift[4][256]; /* byte k of the register, shifted over LONG_BLOCK zeros */
static uint32_t short_shift[4][256];
static bool have_sse42;

static uint32_t over_zeros(uint32_t reg, uint32_t count)
{
    while (count-- > 0)
        reg = slice[0][reg & 0xFF] ^ reg >> 8;
    return reg;
}

/* The map is linear, so 32 single bits give all the rest. */
static void make_shift(uint32_t shift[4][256], uint32_t zeros)
{
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t bit = 0; bit < 8; bit++)
            shift[k][1u << bit] = over_zeros(1u << (8 * k + bit), zeros);
        for (uint32_t b = 1; b < 256; b++)
            shift[k][b] = shift[k][b & (b - 1)] ^ shift[k][b & (0 - b)];
    }
}

__attribute__((constructor)) static void make_tables(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t reg = b;
        for (int i = 0; i < 8; i++)
            reg = (reg & 1) != 0 ? reg >> 1 ^ POLYNOMIAL : reg >> 1;
        slice[0][b] = reg;
    }
    for (uint32_t k = 1; k < 8; k++) {
        for (uint32_t b = 0; b < 256; b++)
            slice[k][b] = slice[0][slice[k - 1][b] & 0xFF] ^ slice[k - 1][b] >> 8;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    have_sse42 = __builtin_cpu_supports("sse4.2") != 0;
    if (have_sse42) {
        make_shift(long_shift, LONG_BLOCK);
        make_shift(short_shift, SHORT_BLOCK);
    }
#endif
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t reg = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t x = get_le64(p) ^ reg;
        reg = slice[7][x & 0xFF] ^ slice[6][x >> 8 & 0xFF] ^ slice[5][x >> 16 & 0xFF] ^
              slice[4][x >> 24 & 0xFF] ^ slice[3][x >> 32 & 0xFF] ^ slice[2][x >> 40 & 0xFF] ^
              slice[1][x >> 48 & 0xFF] ^ slice[0][x >> 56];
    }
    for (; len > 0; p++, len--)
        reg = slice[0][(reg ^ *p) & 0xFF] ^ reg >> 8;
    return ~reg;
}

#if defined(__x86_64__)
static uint64_t shifted(const uint32_t shift[4][256], uint64_t reg)
{
    return shift[0][reg & 0xFF] ^ shift[1][reg >> 8 & 0xFF] ^ shift[2][reg >> 16 & 0xFF] ^
           shift[3][reg >> 24 & 0xFF];
}

/* Run as many groups of three blocks as there are; moves *p and *len. */
__attribute__((target("sse4.2"))) static uint64_t three_streams(uint64_t reg, const uint8_t **p, size_t *len,
                                                                size_t block, const uint32_t shift[4][256])
{
    for (; *len >= 3 * block; *p += 3 * block, *len -= 3 * block) {
        uint64_t a = reg, b = 0, c = 0;
        for (size_t i = 0; i < block; i += 8) {
            a = __builtin_ia32_crc32di(a, get_le64(*p + i));
            b = __builtin_ia32_crc32di(b, get_le64(*p + block + i));
            c = __builtin_ia32_crc32di(c, get_le64(*p + 2 * block + i));
        }
        reg = shifted(shift, shifted(shift, a) ^ b) ^ c;
    }
    return reg;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t reg = (uint32_t)~crc;
    reg = three_streams(reg, &p, &len, LONG_BLOCK, long_shift);
    reg = three_streams(reg, &p, &len, SHORT_BLOCK, short_shift);
    for (; len >= 8; p += 8, len -= 8)
        reg = __builtin_ia32_crc32di(reg, get_le64(p));
    for (; len > 0; p++, len--)
        reg = __builtin_ia32_crc32qi((uint32_t)reg, *p);
    return ~(uint32_t)reg;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
    if (have_sse42)
        return crc32c_sse42(crc, data, len);
#endif
    return crc32c_table(crc, data, len);
}

uint32_t crc32_zlib(const void *data, size_t len)
{
    return libdeflate_crc32(0, data, len);
}
