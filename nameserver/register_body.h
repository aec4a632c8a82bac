/*
 * register_body.h - the body of REGISTER_BROKER in all the forms that brokers send.
 *
 * Plain (first byte not white space is '{'): RegisterBrokerBody as JSON, or TopicConfigSerializeWrapper alone
 * as brokers before 3.0.11 sent it. Anything else is packed: one zlib stream of, big-endian,
 *   i32 length | DataVersion JSON
 *   i32 number of topics, then for each: i32 length | "name readQueues writeQueues perm filterType [attributes]"
 *   i32 length | JSON array of filter servers; 5.x: more, about static topics.
 * The header field `compressed` says nothing reliable (5.x sends false with packed bodies). Filter servers,
 * attributes and static topics are not used here. (RegisterBrokerBody.java; reference 3.2)
 *
 * Pure; used by handle_broker.c. Nothing of the size of the body is trusted: see the limits.
 */
#ifndef NAMESERVER_REGISTER_BODY_H
#define NAMESERVER_REGISTER_BODY_H

#include "nameserver/routes.h"

#define REGISTER_UNPACKED_MAX_BYTES (32u * 1024 * 1024) /* of a packed body */
#define REGISTER_TOPICS_MAX         200000u             /* in one body */
#define REGISTER_NODES_MAX          1000000u            /* values in a plain body */

struct json_doc;
struct register_body {
    struct routes_version version;
    struct routes_topic *topics; /* names are lent from what follows */
    uint32_t topic_count;
    struct json_doc *doc; /* private, as is: */
    uint8_t *unpacked;
};

/* An empty body is an empty table. Topic names stay valid until register_body_release and, in some forms, only
 * as long as `body` itself. ERR_MALFORMED, ERR_TOO_LARGE with the reason; nothing to release then. */
int register_body_decode(struct str body, struct register_body *out, struct err *err) MUSTCHECK;
void register_body_release(struct register_body *b);

struct json;
/* DataVersion; absent numbers are 0. */
struct routes_version register_version_of(const struct json *data_version);

#endif
