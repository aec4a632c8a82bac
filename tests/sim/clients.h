/*
 * clients.h - those who send and read: closed-loop producers that find the leader by trying, a consumer that
 * commits offsets, a reader that asks leaders how far their queues go.
 */
#ifndef TESTS_SIM_CLIENTS_H
#define TESTS_SIM_CLIENTS_H

#include "tests/sim/world.h"

#define SIM_PRODUCERS_MAX 8
#define SIM_QUEUES_MAX    8
#define SIM_BODY_MAX      16384u

struct clients *clients_new(struct world *w);
void clients_free(struct clients *c);
void clients_start(struct clients *c);
/* A process has ended: what was under way there stays undecided. */
void clients_on_replica_down(struct clients *c, struct replica *r);
/* Acknowledged sends of each producer since the last call, the smallest. */
uint64_t clients_least_acks(struct clients *c);
void clients_stop(struct clients *c); /* no new sends */

#endif
