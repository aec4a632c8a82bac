/* routes_internal.h - the tables of routes.h, for routes.c and routes_json.c only. */
#ifndef NAMESERVER_ROUTES_INTERNAL_H
#define NAMESERVER_ROUTES_INTERNAL_H

#include "nameserver/routes.h"

#define uthash_fatal(msg) fatal("out of memory: %s", msg)
#include <uthash.h>

struct member {
    int64_t id;
    char *addr, *ha_addr;
    struct routes_version version;
    uint64_t conn_id, last_ms, timeout_ms;
};

struct broker {
    UT_hash_handle hh;
    char *name, *cluster;
    struct member members[ROUTES_MEMBERS_MAX]; /* by id, ascending */
    uint32_t count;
    uint32_t round; /* of taking topics, see drop_missing */
    bool taken;     /* topics were taken, of `version` */
    struct routes_version version;
    char *leader; /* address of the last accepted claim to id 0, or NULL; its term: */
    int64_t leader_term;
};

struct queues {
    struct broker *broker;
    int32_t read, write, perm, sys_flag;
    uint32_t round;
};

struct topic {
    UT_hash_handle hh;
    struct queues *queues; /* one per broker name; at least one */
    uint32_t count;
    char name[];
};

struct routes {
    struct broker *brokers;
    struct topic *topics;
};

struct broker *routes_find_broker(const struct routes *r, struct str name);
struct topic *routes_find_topic(const struct routes *r, struct str name);
const struct member *routes_master(const struct broker *b);

#endif
