/*
 * gate.h - the inside of the gate, for front.c only; handlers see front.h.
 */
#ifndef BROKER_FRONT_GATE_H
#define BROKER_FRONT_GATE_H

#include "broker/front/front.h"

struct park *park_new(struct front *f);
void park_free(struct park *p);
/* Role, leader or serving changed: try everything that waits. */
void gate_on_changed(struct front *f);

struct proposals *proposals_new(struct front *f);
/* Tell those the node refused now, not in the next turn. */
void proposals_report(struct proposals *p);
void proposals_free(struct proposals *p);

#endif
