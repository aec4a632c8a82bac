/*
 * gather.h - consumer offsets on their way into the log: one-way commits and those riding on pulls are
 * gathered for offsetsGatherMs and proposed as one entry; commits that want an answer are proposed at the end
 * of the turn and answered when applied. Reads see what is gathered (read your writes).
 */
#ifndef BROKER_FRONT_GATHER_H
#define BROKER_FRONT_GATHER_H

#include "broker/front/front.h"

struct gather *gather_new(struct front *f);
void gather_free(struct gather *g);
/* reply NULL: nobody waits. Names are copied. */
void gather_commit(struct gather *g, struct str group, struct str topic, uint32_t queue_id, uint64_t offset,
                   const struct reply_to *reply);
/* What the offset will be once everything gathered is applied; falls back to the state. ERR_NOT_FOUND. */
int gather_offset(const struct gather *g, struct str group, struct str topic, uint32_t queue_id,
                  uint64_t *offset) MUSTCHECK;
/* This replica no longer serves: waiting commits are answered with an error, gathered ones dropped (clients
 * repeat them every 5 s). */
void gather_on_not_serving(struct gather *g);

#endif
