/*
 * health.h - the HTTP port: /livez (the loop turns), /readyz (elected or following, registered), /metrics
 * (Prometheus text). Answers are made on the loop from counters; nothing here changes anything.
 */
#ifndef BROKER_HEALTH_H
#define BROKER_HEALTH_H

#include "broker/front/front.h"
#include "broker/register.h"
#include "dledger/net/peers.h"

struct health;

/* Serve on httpHost:httpPort; *out stays NULL when httpPort is 0. `peers` is NULL in a group of one. */
int health_open(struct front *f, struct registrar *r, struct dl_peers *peers, struct health **out,
                struct err *err) MUSTCHECK;
void health_close(struct health *h);

#endif
