/*
 * clients.h - who is connected: producer groups and consumer groups with their members and subscriptions
 * (ProducerManager, ConsumerManager).
 *
 * Volatile and local to each replica: consumers heartbeat to every replica, so each can answer "who is in
 * this group" (reference 6.10). Not replicated state. Keyed by connection id and client id: the newest
 * connection of a client id wins, and closing the older one does not remove the newer (gotcha 24).
 */
#ifndef BROKER_FRONT_CLIENTS_H
#define BROKER_FRONT_CLIENTS_H

#include "broker/front/front.h"

struct clients *clients_new(struct front *f);
void clients_free(struct clients *c);
/* A client connection has closed: its members leave, their groups are notified (40). */
void clients_on_close(struct clients *c, uint64_t conn_id);
/* This replica began to serve: propose groups and retry topics of everybody registered (front_want_group). */
void clients_on_serving(struct clients *c);
uint64_t clients_count(const struct clients *c);

#endif
