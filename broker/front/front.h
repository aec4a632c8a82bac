/*
 * front.h - what the request handlers share: the door of this room and the rules of the house.
 *
 * A handler never writes topic, offset, lock or message state: it proposes (front_propose), and answers when
 * the entry was applied. It reads state through broker/state/state.h. Everything here is on the loop thread
 * and answers from memory; what needs the disk goes through the store's and the state's asynchronous reads.
 *
 * Path of a request: handlers.c names the handler and its flags -> gate.c decides where it is handled (here,
 * relayed to the leader, or parked until there is one) -> handle_*.c -> propose.c waits for the commit ->
 * answer.
 */
#ifndef BROKER_FRONT_FRONT_H
#define BROKER_FRONT_FRONT_H

#include "broker/front/rate.h"
#include "broker/front/settings.h"
#include "broker/state/state.h"
#include "common/dispatch.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/rng.h"
#include "dledger/node.h"

/* Row flags of handlers.c. */
enum {
    ROW_LOCAL = 0,        /* any replica answers from what it has (heartbeats, consumer lists, statistics) */
    ROW_LEADER = 1u << 0, /* a serving leader with a valid lease: others relay, or park while there is none */
    ROW_WRITE = 1u << 1,  /* ends in a proposal: not repeated by us once it may have been appended */
    ROW_SEND = 1u << 2,   /* parked for parkSendMs instead of parkReadMs */
    ROW_LONG = 1u << 3,   /* the leader may hold a relayed one for long (pulls) */
};

struct clients; /* clients.h: who is connected, groups, subscriptions */
struct hold;    /* hold.h: pulls waiting for messages */
struct gather;  /* gather.h: consumer offsets on their way into the log */
struct park;    /* gate.c: requests waiting for a leader */
struct pushes;  /* push.h: requests we sent to clients */

struct front_counters {
    metric_t sends, send_bytes, send_refused, pulls, pull_messages, pull_bytes, parked, relayed, relayed_here,
        offsets_committed;
    struct metric_hist send_latency, fsync_latency;
};

struct front {
    struct settings *settings;
    struct conf *conf; /* the table behind settings */
    struct loop *loop;
    struct dl_node *node;
    struct dl_transport *transport;
    struct dl_store *store;
    struct state *state;
    struct dispatch dispatch;
    struct rng rng;
    struct sockaddr_in store_host; /* brokerIP1:listenPort: goes into every message and message id */
    char address[64];              /* the same as text */
    dl_peer_t self;
    struct dl_members members;
    uint64_t unique_counter; /* for message ids the broker makes */
    uint64_t started_ms;     /* wall clock */
    bool serving;            /* leader whose own NOOP is applied; as told by front_on_changed */
    dl_peer_t leader;        /* DL_NOBODY = none known */
    dl_term_t term;
    struct kept *again;          /* the kept request being dispatched again, for the gate */
    struct proposals *proposals; /* propose.c */
    struct clients *clients;
    struct hold *hold;
    struct gather *gather;
    struct park *park;
    struct pushes *pushes;
    struct front_counters counters;
    struct {
        struct front_rate put, get, pulls;
    } rates;
    struct timer second;
    void (*register_now)(void *arg); /* tell the nameservers soon: topics or role changed */
    void *register_arg;
};

/* Make everything in this room (clients, hold, gather, park, pushes); the fields above are filled in by
 * broker.c before. */
void front_init(struct front *f, const struct dispatch_row *rows, uint32_t row_count);
/* From here on nothing is served: before node and transport go. Their last news may still come. */
void front_stop(struct front *f);
/* Free it all; after front_stop, when node, store and workers have called back for the last time. */
void front_release(struct front *f);
/* Requests somebody waits for (long polls not counted): proposed, parked, relayed. */
uint64_t front_unanswered(const struct front *f);

/* News from below, wired by broker.c. */
void front_on_changed(struct front *f, const struct dl_node_status *status); /* role, leader, serving */
void front_on_applied(struct front *f); /* once per turn in which entries were applied */
void front_on_conn_closed(struct front *f, uint64_t conn_id); /* a client's connection */
void front_on_relay(struct front *f, dl_peer_t from, uint64_t ticket, dl_term_t term,
                    const struct sockaddr_in *client, const uint8_t *frame, uint32_t len);

/* ---- gate.c: where a request is handled ---- */

/* The dispatch `before` hook: handle here (false), or taken over: relayed to the leader, or parked until
 * there is one (true). */
bool gate_before(struct request *req, const struct dispatch_row *row);
/* This replica may answer ROW_LEADER requests now (valid lease); ROW_WRITE ones (serving is enough: the log
 * decides). */
bool gate_can_read(const struct front *f);
bool gate_can_write(const struct front *f);

/* A request that outlives its handler call: its frame (copied), client address, way back and deadline. Owned
 * by the keeper. */
struct kept;
struct kept *gate_keep(struct front *f, const struct request *req);
/* Dispatch it again from the start, through the gate, with its old deadline; frees it. Call from events, not
 * from inside its handler. */
void gate_again(struct front *f, struct kept *k);
void gate_drop(struct kept *k);
const struct reply_to *gate_reply(const struct kept *k);
struct front *gate_front(const struct kept *k);
uint64_t gate_conn_id(const struct kept *k); /* of its client; 0 when another replica relayed it */
/* True once: the kept pull carries an offset to commit. From then on its frame does not say so any more: run
 * or relayed again, it must not take a newer offset back. */
bool gate_take_commit(struct kept *k);
/* Its time for finding a leader begins anew (it was held by a leader until now). */
void gate_extend(struct kept *k);
uint32_t gate_bytes(const struct kept *k); /* size of the kept frame */

/* ---- propose.c: sends and commands waiting for commit ---- */

#define PROPOSAL_TIMEOUT_MS 5000u

/* Propose an entry and call done exactly once, never inside this call: 0 with the entry and its result; or
 * ERR_NOT_LEADER, ERR_BUSY, ERR_LOST, ERR_TOO_LARGE: surely not stored; or undecided: ERR_TIMEOUT (for
 * PROPOSAL_TIMEOUT_MS), ERR_CLOSED (shutdown). `ctx` is the caller's. */
typedef void (*front_done_fn)(struct front *f, void *ctx, int err, const struct dl_entry *e,
                              const struct state_result *result);
/* The same with a buffer that has DL_RECORD_HEAD free bytes in front (messages: no copy); the reference is
 * handed over. */
void front_propose_buf(struct front *f, uint32_t kind, struct buf *buf, front_done_fn done, void *ctx);
/* The same with a protobuf message of proto/command.proto (its `base`). */
struct ProtobufCMessage;
void front_propose_message(struct front *f, uint32_t kind, const struct ProtobufCMessage *m,
                           front_done_fn done, void *ctx);
/* `count` proposals of one request, answered together: "ok" when all were applied, else the first refusal.
 * Give joint_done and the joint to each. */
struct joint;
struct joint *joint_new(const struct request *req, uint32_t count);
void joint_done(struct front *f, void *ctx, int err, const struct dl_entry *e,
                const struct state_result *result);
/* Answer for a failed proposal: maps ERR_* to RocketMQ's codes with a remark that says what is known. */
void front_reply_failed(const struct reply_to *to, int err);

/* ---- create.c: topics and groups that come into being by being used ---- */

/* The topic, or NULL when the request was taken over: it is dispatched again after the topic's creation was
 * applied (auto-creation from `template_topic`, and %RETRY% topics without a template), or has been answered
 * (17 with a remark). */
const struct topic *front_find_topic(struct front *f, struct request *req, struct str name,
                                     struct str template_topic, int32_t queues);
/* The same for a consumer group (26 when it may not be created). */
const struct group *front_find_group(struct front *f, struct request *req, struct str name);
/* Propose a consumer group and its retry topic when missing; nobody waits (heartbeats). No-op unless
 * serving. */
void front_want_group(struct front *f, struct str group, bool retry_topic);
/* Start of office: propose the system topics that are missing. */
void front_ensure_system_topics(struct front *f);
/* Topics this broker makes for itself (305; not sendable ones are refused with 16). */
bool front_is_system_topic(const struct front *f, struct str name);
bool front_is_unsendable_topic(struct str name);
/* RocketMQ's rules for names (reference 6.1). */
bool front_topic_name_ok(struct str name);
bool front_group_name_ok(struct str name);

/* ---- forms.c ---- */

/* handle_offset.c: load the index block of `offset` and dispatch the request again. */
void front_load_rows_again(struct front *f, struct request *req, struct str topic, uint32_t queue_id,
                           uint64_t offset);
const char *front_role_name(enum dl_role role);

/* JSON forms several handlers and register.c share. `_members` write into an object already begun. */
void front_topic_config_members(struct jw *w, const struct topic *t, uint32_t permission_mask);
void front_topic_config_json(struct jw *w, const struct topic *t, uint32_t permission_mask);
void front_data_version_json(struct jw *w, struct data_version v);
void front_message_queue_members(struct jw *w, struct str topic, struct str broker, uint32_t queue_id);
/* TopicConfigSerializeWrapper of all topics (or none), the permission masked by brokerPermission. */
void front_topic_table_json(struct front *f, struct jw *w, struct data_version version, bool with_topics);
#define FRONT_BODY_MAX (15u * 1024 * 1024) /* largest JSON answer */

#endif
