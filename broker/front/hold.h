/*
 * hold.h - long polling: pulls that found nothing wait here under their queue until a message arrives, their
 * time is up, or this replica stops serving.
 */
#ifndef BROKER_FRONT_HOLD_H
#define BROKER_FRONT_HOLD_H

#include "broker/front/front.h"

#define HOLD_MAX       200000u /* pulls; beyond, and beyond so many bytes, they are refused */
#define HOLD_MAX_BYTES (128u << 20)

struct hold *hold_new(struct front *f);
void hold_free(struct hold *h);
/* Messages were applied to a queue (called inside apply: only marks; the pulls are answered from
 * hold_run). */
void hold_on_arrival(struct hold *h, const struct topic *t, uint32_t queue_id, uint64_t max_offset);
/* Once per turn with applies: run the pulls of the marked queues again. */
void hold_run(struct hold *h);
/* This replica no longer serves: give every held pull back to the gate (relay or park). */
void hold_on_not_serving(struct hold *h);
/* A client's connection has gone: drop the pulls that came over it. */
void hold_on_close(struct hold *h, uint64_t conn_id);
uint64_t hold_count(const struct hold *h);

#endif
