/*
 * clients_internal.h - the tables of clients.c, for the handlers that read them (handle_client.c,
 * handle_pull.c, handle_consumer.c). Only clients.c writes.
 */
#ifndef BROKER_FRONT_CLIENTS_INTERNAL_H
#define BROKER_FRONT_CLIENTS_INTERNAL_H

#include <sys/queue.h>
#include <uthash.h>

#include "broker/front/clients.h"

#define CLIENT_ID_MAX 255

enum client_kind { CLIENT_PRODUCER, CLIENT_CONSUMER };

struct client_id {
    struct str client_id; /* 1..CLIENT_ID_MAX bytes */
    uint64_t conn_id;
    int32_t language, version;
    struct sockaddr_in addr;
};

struct member {
    UT_hash_handle hh;
    LIST_ENTRY(member) of_session;
    struct client_group *group;
    struct session *session;
    char client_id[CLIENT_ID_MAX + 1];
    uint64_t conn_id, seen_ms;
    int32_t language, version;
    struct sockaddr_in addr;
};

/* What joined over one connection, so that its end looks at nothing else. */
struct session {
    UT_hash_handle hh;
    uint64_t conn_id;
    LIST_HEAD(, member) members;
};

struct subscription {
    UT_hash_handle hh;
    char topic[TOPIC_NAME_MAX + 1];
    char *expression; /* "*" or "A || B" */
    char type[32];    /* TAG, SQL92 */
    int64_t version;
    uint32_t round; /* heartbeat that named it last */
};

struct client_group {
    UT_hash_handle hh;
    enum client_kind kind;
    char name[GROUP_NAME_MAX + 1];
    struct member *members;
    struct subscription *subscriptions;
    bool broadcasting;
    char consume_type[32], from_where[64];
    uint32_t round;
    bool touched; /* in the list of changed groups */
    struct client_group *next_touched;
};

struct clients {
    struct front *f;
    struct client_group *producers, *consumers;
    struct client_group *touched; /* changed, their members not yet told */
    struct session *sessions;     /* by conn_id; none without members */
    uint64_t member_count, subscription_count, expression_bytes;
    struct timer expiry;
};

struct client_group *clients_group(const struct clients *c, enum client_kind kind, struct str name);
void clients_join_producer(struct clients *c, struct str group, const struct client_id *who);
/* The members of the consumer groups that joins have changed are told by clients_settle, each once.
 * data: one ConsumerData of a heartbeat; without subscriptions only the member's liveness is renewed. */
void clients_join_consumer(struct clients *c, const struct json *data, bool with_subscriptions,
                           const struct client_id *who);
void clients_settle(struct clients *c);
void clients_leave(struct clients *c, enum client_kind kind, struct str group, struct str client_id);

#endif
