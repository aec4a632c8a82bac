/* compress.c - message bodies as zlib streams, as RocketMQ's clients write them (level 5). */
#include <stdlib.h>
#include <zlib.h>

#include "client/internal.h"

#define COMPRESS_LEVEL 5
#define INFLATE_FIRST  16384u

int body_deflate(const void *data, size_t len, uint8_t **out, size_t *out_len)
{
    uLongf size = compressBound(len);
    uint8_t *to = malloc(size);

    ENSURE(to != NULL);
    if (compress2(to, &size, data, len, COMPRESS_LEVEL) != Z_OK) {
        free(to);
        return ERR_IO;
    }
    *out = to;
    *out_len = size;
    return ERR_OK;
}

int body_inflate(const void *data, size_t len, size_t max_bytes, uint8_t **out, size_t *out_len)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len};
    size_t cap = INFLATE_FIRST, used = 0;
    uint8_t *to = NULL;
    int rc = inflateInit(&z);

    if (rc != Z_OK)
        return ERR_IO;
    do {
        cap = to == NULL ? cap : cap * 2;
        to = realloc(to, cap);
        ENSURE(to != NULL);
        z.next_out = to + used;
        z.avail_out = (uInt)(cap - used);
        rc = inflate(&z, Z_NO_FLUSH);
        used = cap - z.avail_out;
    } while (rc == Z_OK && z.avail_out == 0 && used <= max_bytes);
    inflateEnd(&z);
    if (rc != Z_STREAM_END || used > max_bytes) {
        free(to);
        return used > max_bytes ? ERR_TOO_LARGE : ERR_DAMAGED;
    }
    *out = to;
    *out_len = used;
    return ERR_OK;
}
