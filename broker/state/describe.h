/*
 * describe.h - commands as one line of key=value text, for logs. Private to broker/state.
 *
 * Each takes the unpacked message of its kind and writes at most out_size bytes with the final NUL.
 */
#ifndef BROKER_STATE_DESCRIBE_H
#define BROKER_STATE_DESCRIBE_H

#include "proto/command.pb-c.h"

void describe_topic_put(const ProtobufCMessage *msg, char *out, size_t out_size);
void describe_topic_delete(const ProtobufCMessage *msg, char *out, size_t out_size);
void describe_group_put(const ProtobufCMessage *msg, char *out, size_t out_size);
void describe_group_delete(const ProtobufCMessage *msg, char *out, size_t out_size);
void describe_offsets_commit(const ProtobufCMessage *msg, char *out, size_t out_size);
void describe_queues_lock(const ProtobufCMessage *msg, char *out, size_t out_size);
void describe_queues_unlock(const ProtobufCMessage *msg, char *out, size_t out_size);

#endif
