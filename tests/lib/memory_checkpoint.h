/*
 * memory_checkpoint.h - a checkpoint (broker/state/checkpoint.h) in memory, for the simulator and unit tests.
 *
 * Its contents stand for what is on disk: a write is atomic and durable when the call returns, so a crash is
 * closing the state and opening it again on the same store. One thread at a time.
 */
#ifndef TESTS_LIB_MEMORY_CHECKPOINT_H
#define TESTS_LIB_MEMORY_CHECKPOINT_H

#include "broker/state/checkpoint.h"

struct memory_checkpoint;

struct memory_checkpoint *memory_checkpoint_new(void);
void memory_checkpoint_free(struct memory_checkpoint *m); /* NULL is allowed */
/* A checkpoint upon the store; its close leaves the store as it is. */
struct checkpoint memory_checkpoint_door(struct memory_checkpoint *m);
/* Forget everything: the owner rebuilds from the log. */
void memory_checkpoint_wipe(struct memory_checkpoint *m);

/* Writes that succeeded, and what they held. */
uint64_t memory_checkpoint_writes(const struct memory_checkpoint *m);
uint64_t memory_checkpoint_bytes(const struct memory_checkpoint *m);
/* The stored value of a key for a test to damage; NULL when there is none. */
uint8_t *memory_checkpoint_value(struct memory_checkpoint *m, struct str key, size_t *len);
/* The stored block for a test to damage; NULL when there is none. */
uint8_t *memory_checkpoint_block(struct memory_checkpoint *m, uint32_t slot);

#endif
