/*
 * register_body.h - the topic table in a registration (reference 3.2, 4.2).
 *
 *   up to REGISTER_PLAIN_MAX_TOPICS, in FRONT_BODY_MAX ....... JSON
 *   up to REGISTER_TEXT_MAX_BYTES, packed in FRONT_BODY_MAX ... packed: one zlib stream (4.9 and 5.x read it)
 *   more ..................................................... without topics: the broker is known to live,
 *                                topics that were not known before are not routable, and the log says so
 */
#ifndef BROKER_REGISTER_BODY_H
#define BROKER_REGISTER_BODY_H

#include "broker/front/front.h"

#define REGISTER_PLAIN_MAX_TOPICS 10000u
#define REGISTER_TEXT_MAX_BYTES   (32u * 1024 * 1024 - 1) /* what our nameserver unpacks */

struct register_body {
    struct buf *buf;
    bool packed; /* header field "compressed" */
};

/* with_topics: false for followers, whose table no nameserver takes. */
struct register_body register_body_make(struct front *f, struct data_version version, bool with_topics);

#endif
