/*
 * route.h - TopicRouteData, the answer of a nameserver (or one of our brokers) to "where is this topic"
 * (reference 4.2), parsed and turned into queues. Pure.
 */
#ifndef CLIENT_ROUTE_H
#define CLIENT_ROUTE_H

#include "common/json.h"

#define ROUTE_NAME_MAX     128u /* broker and cluster names with NUL; longer ones are not taken */
#define ROUTE_BROKERS_MAX  256u
#define ROUTE_REPLICAS_MAX 16u
#define ROUTE_QUEUES_MAX   65536u /* of one broker */

#define PERM_READ  4u
#define PERM_WRITE 2u

struct route_replica {
    int64_t id; /* 0: the leader */
    char address[280];
};

struct route_broker {
    char name[ROUTE_NAME_MAX], cluster[ROUTE_NAME_MAX];
    uint32_t read_queues, write_queues, perm; /* all 0 when the topic has no queues there */
    uint32_t replica_count;
    struct route_replica replicas[ROUTE_REPLICAS_MAX]; /* by id */
};

struct route {
    uint32_t broker_count;
    struct route_broker brokers[]; /* by name */
};

/* Parse a body. Brokers without any address are left out. ERR_MALFORMED with the cause. Free with free(). */
int route_parse(struct str body, struct route **out, struct err *err) MUSTCHECK;
/* All brokers of both; of one name a's. Takes over both; a may be NULL. */
struct route *route_join(struct route *a, struct route *b);
bool route_same(const struct route *a, const struct route *b);
const struct route_broker *route_find(const struct route *r, const char *broker_name); /* NULL: not there */
/* Index of the leader's address in replicas, -1 when the route names none. */
int route_leader(const struct route_broker *b);

/* A queue of a topic, by position: brokers in order of their names, then ids. */
struct queue_at {
    const struct route_broker *broker;
    uint32_t id;
};
/* Queues that can be written (broker with a leader, W permission) or read (R permission). */
uint32_t route_write_queues(const struct route *r);
uint32_t route_read_queues(const struct route *r);
struct queue_at route_write_queue(const struct route *r, uint32_t at); /* at below the count, ENSUREd */
struct queue_at route_read_queue(const struct route *r, uint32_t at);

/* Rebalance "AVG" (AllocateMessageQueueAveragely): of `queues` sorted queues shared by `members` sorted
 * consumers, number
 * `member` gets [*first, *first + *count). */
void route_allocate(uint32_t queues, uint32_t members, uint32_t member, uint32_t *first, uint32_t *count);

#endif
