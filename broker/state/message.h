/*
 * message.h - RocketMQ's stored message (reference 5.1: MessageDecoder.java, CommitLog.java), byte by byte;
 * encode, decode, patch.
 *
 * A message in a log record has this layout with queueOffset and physicalOffset written as 0: they are known
 * only at apply, are the same on every replica, and are patched into the copy that goes out. Everything
 * big-endian. H = 8 (IPv4 address + port as int32) or 20 (IPv6).
 *
 *   0 totalSize | 4 magic 0xDAA320A7 (V1) / 0xDAA320AB (V2: topic length has 2 bytes) | 8 bodyCRC (CRC-32 &
 * 0x7FFFFFFF) | 12 queueId | 16 flag | 20 queueOffset 28 physicalOffset | 36 sysFlag | 40 bornTimestamp | 48
 * bornHost[H] | storeTimestamp | storeHost[H] | reconsumeTimes | preparedTransactionOffset | bodyLength |
 * body | topicLength | topic | propertiesLength u16 | properties
 *
 * Pure functions; any thread.
 */
#ifndef BROKER_STATE_MESSAGE_H
#define BROKER_STATE_MESSAGE_H

#include <netinet/in.h>

#include "common/bytes.h"
#include "common/err.h"

#define MESSAGE_MAGIC_V1        0xDAA320A7u
#define MESSAGE_MAGIC_V2        0xDAA320ABu
#define MESSAGE_BODY_MAX        (4u * 1024 * 1024)
#define MESSAGE_PROPERTIES_MAX  32767u
#define MESSAGE_FIXED_BYTES     91u /* without body, topic, properties; V1, IPv4 */
#define MESSAGE_QUEUE_OFFSET_AT 20u
#define MESSAGE_POSITION_AT     28u
#define MESSAGE_ID_CHARS        32u /* offsetMsgId of an IPv4 store host */

struct message {
    uint32_t total_size;
    uint32_t body_crc;
    int32_t queue_id, flag, sys_flag, reconsume_times;
    uint64_t queue_offset, position, prepared_offset;
    uint64_t born_ms, store_ms;
    struct sockaddr_in born, store;     /* IPv4 only when encoding; decode skips IPv6 hosts (zeroed) */
    struct str body, topic, properties; /* lent */
};

/* Bytes message_encode will need; 0 when a limit is passed (topic > 255, properties > 32767, body >
 * MESSAGE_BODY_MAX). */
size_t message_size(const struct message *m);
/* Write it at dst (message_size bytes); total_size, body_crc are computed. */
void message_encode(const struct message *m, uint8_t *dst);
/* Read one message at the front of data; untrusted bytes; total_size says how far it goes. ERR_MALFORMED. The
 * CRC is checked when check_crc. */
int message_decode(const uint8_t *data, size_t len, bool check_crc, struct message *m) MUSTCHECK;
/* Put queue offset and position into an encoded message. */
void message_patch(uint8_t *data, uint64_t queue_offset, uint64_t position);
/* One property's value out of properties text (key 0x01 value 0x02 ...). {NULL,0} when absent. */
struct str message_property(struct str properties, const char *key);
/* Java String.hashCode of UTF-8 text over UTF-16 units; 0 for empty text. */
int32_t message_tag_hash(struct str tag);
/* offsetMsgId: upper-case hex of IP, port, position. out has MESSAGE_ID_CHARS + 1 bytes. */
void message_id_format(const struct sockaddr_in *store, uint64_t position, char *out);
int message_id_parse(struct str id, struct sockaddr_in *store, uint64_t *position) MUSTCHECK;

/* Walk the elements of a batch body (code 320; reference 5.5). *left shrinks. Each call gives flag, body,
 * properties of one. */
int message_batch_next(struct rd *left, struct message *m) MUSTCHECK;

#endif
