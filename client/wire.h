/*
 * wire.h - requests and messages <-> bytes as RocketMQ clients write them (reference 3.3, 5); no I/O.
 *
 * A message's properties are one text: key 0x01 value 0x02 ... (5.4). A unique id is 32 hex digits: IPv4
 * address, process, a number per start, milliseconds since the month began, counter (5.3). Any thread,
 * except that a `struct uniq` belongs to one.
 */
#ifndef CLIENT_WIRE_H
#define CLIENT_WIRE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/remoting.h"

#define UNIQ_CHARS           32u
#define OFFSET_ID_CHARS      32u
#define PROPERTIES_MAX       32767u
#define BODY_MAX             (4u * 1024 * 1024)
#define BATCH_MAX            4096u
#define COMPRESS_OVER_BYTES  4096u
#define DEFAULT_TOPIC        "TBW102"
#define DEFAULT_TOPIC_QUEUES 4

#define SYS_COMPRESSED       0x1
#define SYS_COMPRESSION_MASK 0x700 /* 0 and 0x300: zlib, 0x100: LZ4, 0x200: ZSTD */

struct uniq {
    char head[20]; /* of address, process, start: 20 digits */
    uint64_t month_ms;
    uint64_t next_month_ms;
    uint32_t counter;
};
/* `seed`: any number that differs between generators of one process. */
void uniq_init(struct uniq *u, uint64_t seed);
/* UNIQ_CHARS digits to `out`, no NUL. wall_ms: now. */
void uniq_make(struct uniq *u, uint64_t wall_ms, char *out);

/* "address and physical offset" ids as brokers give them. ERR_INVALID when the text is none. */
int offset_id_parse(struct str text, char *address, size_t address_size, uint64_t *offset) MUSTCHECK;
void offset_id_format(const uint8_t ip[4], uint32_t port, uint64_t offset, char out[OFFSET_ID_CHARS + 1]);

/* Append one property; empty keys and values, and those with separators in them, give ERR_INVALID. */
int props_put(struct wr *w, struct str key, struct str value) MUSTCHECK;
/* Value of `key`, {NULL,0} when there is none. */
struct str props_get(struct str properties, const char *key);
/* Step through; false at the end. */
bool props_next(struct str *left, struct str *key, struct str *value);

struct send_fields {
    struct str group, topic, properties;
    int32_t queue_id, sys_flag, flag, reconsume_times;
    uint64_t born_ms;
    bool batch; /* body is a batch: code 320 */
    bool oneway;
};
/* A send request (310, or 320 for a batch) with its body copied behind. ERR_TOO_LARGE. */
int wire_send(const struct send_fields *f, const void *body, size_t body_len, struct buf **frame) MUSTCHECK;
/* Any request without a body, or with a copied one. */
int wire_request(struct remoting_out *out, const void *body, size_t body_len, struct buf **frame) MUSTCHECK;

/* One element of a batch body (5.5) appended. */
void batch_put(struct bld *body, int32_t flag, struct str properties, struct str message_body);

/* A message as brokers store and deliver it (5.1). Views into the bytes. */
struct stored {
    struct str topic, properties, body; /* body as stored, maybe compressed */
    int32_t queue_id, flag, sys_flag, reconsume_times;
    int64_t queue_offset, physical_offset;
    int64_t born_ms, store_ms, prepared_offset;
    const uint8_t *born_ip, *store_ip; /* 4 or 16 bytes */
    uint32_t born_ip_len, store_ip_len, born_port, store_port;
    uint32_t body_crc, size;
};
/* The next message in `left`, which moves on. ERR_MALFORMED; ERR_DAMAGED when the body's CRC does not fit. */
int stored_next(struct rd *left, struct stored *m, struct err *err) MUSTCHECK;

/* Java's String.hashCode of UTF-8 text: broker and consumers compare tags by it (5.6). */
int32_t java_hash(struct str s);

#endif
