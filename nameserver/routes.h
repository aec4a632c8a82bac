/*
 * routes.h - who serves what: broker names, their replicas (id -> address), the topics of each. A pure table:
 * time comes as a parameter, nothing is read, sent or printed. RouteInfoManager of RocketMQ is the measure
 * (reference 3.2, 4.2, 8.3); what is stricter here:
 *
 *   - Id 0 belongs to the newest term (DataVersion.stateVersion). While any replica of a broker name is known,
 *     an address that claims id 0 with an older term than the last accepted claim of another address is
 *     refused, also when the newer leader has meanwhile gone.
 *   - Topics are taken over from id 0 only. A topic known already is changed only by a DataVersion that differs
 *     from the one last taken: a wiped write permission lasts until the data really changes. One that is missing
 *     is taken with any version, as brokers may send their table in pieces (enableSplitRegistration).
 *   - An address has one id within a broker name; registering under another one moves it.
 *   - A replica lives as long as the connection that registered it, and no longer than its time-out after the
 *     last sign of life. With the last replica the broker name and its queues vanish.
 *
 * Used by the handlers, on the loop thread. Texts are copied in.
 */
#ifndef NAMESERVER_ROUTES_H
#define NAMESERVER_ROUTES_H

#include "common/buf.h"
#include "common/err.h"

#define ROUTES_BROKERS_MAX     4096u    /* broker names */
#define ROUTES_MEMBERS_MAX     64u      /* replicas of one broker name */
#define ROUTES_TOPICS_MAX      1000000u /* of all brokers together */
#define ROUTES_NAME_MAX        255u     /* bytes of a broker name, cluster name or address */
#define ROUTES_TOPIC_MAX       512u     /* bytes of a topic name: %RETRY% with the longest group fits */
#define ROUTES_HEARTBEAT_MS    120000u  /* time-out of a broker that names none */
#define ROUTES_HEARTBEAT_MAX_S 86400u   /* no broker is remembered longer than that without a sign of life */
#define ROUTES_MASTER          0        /* the id of a leader */

struct routes;

/* DataVersion: of topic settings; state is the term of the leader that made them. */
struct routes_version {
    int64_t state, timestamp, counter;
};

struct routes_topic {
    struct str name;
    int32_t read_queues, write_queues, perm, sys_flag;
};

struct routes_registration {
    struct str cluster, broker, addr, ha_addr;
    int64_t id; /* 0 leads; any other follows, -1 has no role yet */
    uint64_t conn_id;
    uint64_t timeout_ms; /* 0: ROUTES_HEARTBEAT_MS */
    struct routes_version version;
    const struct routes_topic *topics;
    uint32_t topic_count;
    /* The sender may send a single changed topic in place of its table, as Java brokers do: that is refused
     * for an id not known here, whose other topics nobody would tell. */
    bool may_be_partial;
};

enum routes_news { ROUTES_NOTHING_NEW, ROUTES_JOINED, ROUTES_MOVED };

struct routes_answer {
    struct str master_addr,
        master_ha_addr;    /* for id != 0, when there is a master; lent until the next change */
    enum routes_news news; /* for the log */
};

struct routes *routes_new(void);
void routes_free(struct routes *r);

/* ERR_INVALID bad name; ERR_LOST an older term or a partial table; ERR_BUSY a limit is reached. drop_missing:
 * topics of this broker name that are not in a whole table are removed. */
int routes_register(struct routes *r, const struct routes_registration *reg, bool drop_missing,
                    uint64_t now_ms, struct routes_answer *answer, struct err *err) MUSTCHECK;
/* What QUERY_DATA_VERSION asks: the version this address registered (false: unknown), and whether the broker
 * has to register again to be known as `id` with `version`. */
bool routes_query_version(const struct routes *r, struct str broker, struct str addr, int64_t id,
                          const struct routes_version *version, struct routes_version *known, bool *changed);
/* A sign of life; unknown ones are ignored. */
void routes_touch(struct routes *r, struct str broker, struct str addr, uint64_t now_ms);

typedef void (*routes_gone_fn)(void *arg, const char *broker, int64_t id, const char *addr);
/* Each forgets some replicas and tells of every one before it is freed. gone may be NULL. */
bool routes_unregister(struct routes *r, struct str broker, struct str addr);
void routes_conn_closed(struct routes *r, uint64_t conn_id, routes_gone_fn gone, void *arg);
void routes_expire(struct routes *r, uint64_t now_ms, routes_gone_fn gone, void *arg);

/* Take the W bit from all queues of a broker name / set them to R+W; how many topics. */
uint32_t routes_wipe_write(struct routes *r, struct str broker);
uint32_t routes_add_write(struct routes *r, struct str broker);
/* Only the queues in `cluster` when it is not empty. Whether there were any. */
bool routes_delete_topic(struct routes *r, struct str topic, struct str cluster);
/* Queues of `topic` at a known broker name. ERR_NOT_FOUND unknown broker; ERR_INVALID, ERR_BUSY as above. */
int routes_put_queues(struct routes *r, struct str broker, const struct routes_topic *topic,
                      struct err *err) MUSTCHECK;

uint32_t routes_topic_count(const struct routes *r);
uint32_t routes_broker_count(const struct routes *r);
uint32_t routes_member_count(const struct routes *r);

/* ---- JSON bodies (routes_json.c; reference 4.1, 4.2). A builder that is full stays full. ---- */

/* TopicRouteData; false, and nothing written, when nobody has the topic. order_conf is left out when its p is
 * NULL. standard: quoted ids and \uXXXX, else the dialect of older clients. */
bool routes_topic_json(const struct routes *r, struct str topic, struct str order_conf, bool standard,
                       struct bld *out);
void routes_cluster_json(const struct routes *r, struct bld *out);
void routes_members_json(const struct routes *r, struct str cluster, struct str broker, struct bld *out);

enum routes_list {
    ROUTES_ALL_TOPICS,
    ROUTES_UNIT,           /* TopicSysFlag bit 0 */
    ROUTES_UNIT_SUB,       /* bit 1 */
    ROUTES_UNIT_SUB_UNUNIT /* bit 1 without bit 0 */
};
void routes_list_json(const struct routes *r, enum routes_list which, struct bld *out);
void routes_cluster_topics_json(const struct routes *r, struct str cluster, struct bld *out);
/* Names of clusters and brokers, which are topics too, and the address of a broker that knows more. */
void routes_system_topics_json(const struct routes *r, struct bld *out);

#endif
