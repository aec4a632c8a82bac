/*
 * mqadmin.h - parts of mqadmin, the operator's tool: one verb per table row, one function per verb.
 *
 * A verb prints a table for people or, with --json, one JSON value. It returns 0 or an ERR_* code with words.
 */
#ifndef TOOLS_MQADMIN_H
#define TOOLS_MQADMIN_H

#include <stdio.h>

#include "common/json.h"
#include "tools/common_ask.h"

#define ADMIN_OPTIONS_MAX 16u
#define ADMIN_BODY_MAX    (64u << 20)
#define ADMIN_NODES_MAX   2000000u
#define ADMIN_BROKERS_MAX 256u

struct admin_option {
    char letter; /* 0: end of the list */
    const char *name;
    bool takes_value, required;
    const char *meaning;
};

struct admin {
    struct asker *asker;
    struct addresses namesrv;
    const char *namesrv_text;
    bool json;
    const struct admin_option *options;
    const char
        *values[ADMIN_OPTIONS_MAX]; /* by position in options; "" for a flag that is set; NULL: absent */
};

typedef int (*admin_fn)(struct admin *a, struct err *err);
struct admin_verb {
    const char *name, *meaning;
    admin_fn run;
    bool needs_namesrv;
    struct admin_option options[ADMIN_OPTIONS_MAX];
};

/* Value of an option or NULL. */
const char *admin_value(const struct admin *a, char letter);
bool admin_has(const struct admin *a, char letter);
/* A whole number; absent: def. ERR_INVALID names the option. */
int admin_number(const struct admin *a, char letter, int64_t def, int64_t min, int64_t max, int64_t *out,
                 struct err *err) MUSTCHECK;

/* ---- the cluster, as a nameserver sees it (106) ---- */

struct admin_broker {
    char cluster[ROUTE_NAME_MAX], name[ROUTE_NAME_MAX];
    uint32_t replica_count;
    struct route_replica replicas[ROUTE_REPLICAS_MAX]; /* by id */
};
struct admin_cluster {
    uint32_t count;
    struct admin_broker brokers[ADMIN_BROKERS_MAX]; /* by cluster, then name */
};
int admin_cluster_load(struct admin *a, struct admin_cluster **out,
                       struct err *err) MUSTCHECK; /* free(*out) */
/* Any replica of a group answers for its leader: the leader first, the others when it cannot be reached. */
int admin_ask_group(struct admin *a, const struct route_replica *replicas, uint32_t count,
                    struct remoting_out *out, const void *body, size_t body_len, struct answer *answer,
                    struct err *err) MUSTCHECK;
/* First nameserver that answers. */
int admin_ask_namesrv(struct admin *a, struct remoting_out *out, struct answer *answer,
                      struct err *err) MUSTCHECK;
/* Body of an answer as JSON; the answer is released. */
int admin_json(struct answer *answer, struct json_doc **out, struct err *err) MUSTCHECK;

/* ---- printing ---- */

struct admin_out {
    struct bld text;
    struct jw w;
};
void admin_out_begin(struct admin_out *o);
void admin_out_print(struct admin_out *o); /* with a newline */
/* "2026-01-31 12:00:00,123"; "" for 0 and less. */
const char *admin_time(int64_t wall_ms, char text[32]);
void admin_put_cstr(struct jw *w, const char *key, const char *value);
void admin_put_i64(struct jw *w, const char *key, int64_t value);

/* ---- verbs ---- */

int verb_cluster_list(struct admin *a, struct err *err);
int verb_raft_status(struct admin *a, struct err *err);
int verb_transfer_leader(struct admin *a, struct err *err);
int verb_topic_list(struct admin *a, struct err *err);
int verb_topic_route(struct admin *a, struct err *err);
int verb_topic_status(struct admin *a, struct err *err);
int verb_update_topic(struct admin *a, struct err *err);
int verb_delete_topic(struct admin *a, struct err *err);
int verb_consumer_progress(struct admin *a, struct err *err);
int verb_query_msg_by_id(struct admin *a, struct err *err);
int verb_send_message(struct admin *a, struct err *err);
int verb_consume_message(struct admin *a, struct err *err);

#endif
