/*
 * health.h - the HTTP port: /livez (the loop turns), /readyz (elected or following, registered), /metrics
 * (Prometheus text). Answers are made on the loop from counters; nothing here changes anything.
 */
#ifndef BROKER_HEALTH_H
#define BROKER_HEALTH_H

#include "broker/front/front.h"
#include "broker/register.h"
#include "common/conn.h"
#include "dledger/net/peers.h"

struct health;

/* Whom to ask. All outlive. */
struct health_parts {
    struct front *front;
    struct registrar *registrar;
    struct dl_peers *peers;          /* NULL in a group of one */
    struct listener *clients, *fast; /* fast: NULL without fastPort */
};

/* Serve on httpHost:httpPort; *out stays NULL when httpPort is 0. */
int health_open(const struct health_parts *parts, struct health **out, struct err *err) MUSTCHECK;
void health_close(struct health *h);

#endif
