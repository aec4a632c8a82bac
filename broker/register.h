/*
 * register.h - tells every nameserver who this replica is: 103 at once when the role changes or a topic does,
 * every registerNameServerPeriod otherwise, 104 at the end. Topics made one after another share a
 * registration when the table is large: the first is told at once, the others after register_gap_ms.
 *
 * The serving leader registers as broker id 0 with the Raft term as the data version's stateVersion, a
 * follower as its number + 1 (RocketMQ's DLedger mode; reference 7.1).
 * A nameserver that does not answer is tried again every REGISTER_RETRY_MS; brokers need none to serve.
 */
#ifndef BROKER_REGISTER_H
#define BROKER_REGISTER_H

#include "broker/front/front.h"

#define REGISTER_NAMESERVERS_MAX 16
#define REGISTER_RETRY_MS        500u
#define REGISTER_TOPICS_PER_MS   25u /* told at most, when topics change: 4 MB/s or so */

struct registrar;

/* Between two registrations for new topics; each tells all. 25 topics: 1 ms; 75,000: 3 s. */
static inline uint32_t register_gap_ms(uint32_t topics)
{
    return topics / REGISTER_TOPICS_PER_MS;
}

/* `addresses` is namesrvAddr ("a:9876;b:9876"; NULL or "" = none). ERR_INVALID names a bad address. */
int registrar_new(struct front *f, const char *addresses, struct registrar **out, struct err *err) MUSTCHECK;
void registrar_free(struct registrar *r);
/* Role, leader or topics changed: register, as said above. */
void registrar_poke(struct registrar *r);
/* Send 104 to all; best effort, before shutdown. */
void registrar_leave(struct registrar *r);
uint32_t registrar_registered(const struct registrar *r); /* nameservers that know us */
uint32_t registrar_count(const struct registrar *r);

#endif
