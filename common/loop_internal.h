/*
 * loop_internal.h - what loop.c offers to the socket code in common/ and to nobody else.
 *
 * The connections of a loop keep their state in one *part* of the loop, so that there is no global state:
 * before_hooks runs after posted work and before the end-of-turn hooks (connections that ended are reported),
 * after_hooks runs last (gathered output is written), release runs in loop_free.
 */
#ifndef COMMON_LOOP_INTERNAL_H
#define COMMON_LOOP_INTERNAL_H

#include "common/loop.h"

struct loop_part {
    void *state; /* NULL: not there yet */
    void (*before_hooks)(void *state);
    void (*after_hooks)(void *state);
    void (*release)(void *state);
};

/* The part of this loop; filled in by its only user, conn.c. */
struct loop_part *loop_net_part(struct loop *loop);
/* To be called first in every libevent callback: reads the clock once per turn. */
void loop_woke(struct loop *loop);

#endif
