/*
 * command.h - kinds of log entries of the broker and their bodies.
 *
 * One row per kind {decode, apply, describe} lives in apply.c. Numbers are on disk: never reused, never
 * renumbered.
 *
 *   16    MESSAGES, one or more stored messages back to back (message.h)
 *   17..  commands, a protobuf message of proto/command.proto each
 */
#ifndef BROKER_STATE_COMMAND_H
#define BROKER_STATE_COMMAND_H

#include "dledger/core/types.h"

enum cmd_kind {
    CMD_MESSAGES = DL_KIND_FIRST_APP,
    CMD_TOPIC_PUT = 17,
    CMD_TOPIC_DELETE = 18,
    CMD_GROUP_PUT = 19,
    CMD_GROUP_DELETE = 20,
    CMD_OFFSETS_COMMIT = 21,
    CMD_QUEUES_LOCK = 22,
    CMD_QUEUES_UNLOCK = 23,
};

#endif
