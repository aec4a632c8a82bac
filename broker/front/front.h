/*
 * front.h - what the request handlers share: the door of this room and the rules of the house.
 *
 * A handler never writes topic, offset, lock or message state: it proposes (front_propose), and answers when
 * the entry was applied. It reads state through broker/state/state.h. Everything here is on the loop thread
 * and answers from memory; what needs the disk goes through the store's and the state's asynchronous reads.
 *
 * Path of a request (examples-to-follow.md 3): handlers.c names the handler and its flags -> gate.c decides
 * where it is handled (here, relayed to the leader, or parked until there is one)
 * -> handle_*.c -> pending.c waits for the commit -> answer.
 */
#ifndef BROKER_FRONT_FRONT_H
#define BROKER_FRONT_FRONT_H

#include "broker/front/settings.h"
#include "broker/state/state.h"
#include "common/dispatch.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/rng.h"
#include "dledger/node.h"

/* Row flags of handlers.c. */
enum {
    ROW_LOCAL = 0, /* any replica answers from what it has (heartbeats, consumer lists, statistics) */
    ROW_LEADER =
        1u << 0, /* only a serving leader with a valid lease: others relay, or park while there is none */
    ROW_WRITE = 1u << 1, /* ends in a proposal: not repeated by us once it may have been appended */
    ROW_SEND = 1u << 2,  /* parked for parkSendMs instead of parkReadMs; refused first when memory is short */
    ROW_PULL =
        1u
        << 3, /* may wait as long as its suspendTimeoutMillis; after that "not found" rather than an error */
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
    uint64_t started_ms; /* wall clock */
    struct clients *clients;
    struct hold *hold;
    struct gather *gather;
    struct park *park;
    struct pushes *pushes;
    struct front_counters counters;
    void (*register_now)(void *arg); /* tell the nameservers soon: topics or role changed */
    void *register_arg;
};

/* Make / free everything in this room (clients, hold, gather, park, pushes); the fields above them are filled
 * in by broker.c before. */
void front_init(struct front *f, const struct dispatch_row *rows, uint32_t row_count);
void front_release(struct front *f);

/* News from below, wired by broker.c. */
void front_on_changed(struct front *f, const struct dl_node_status *status); /* role, leader, serving */
void front_on_applied(struct front *f); /* once per turn in which entries were applied */
void front_on_relay(struct front *f, dl_peer_t from, uint64_t ticket, dl_term_t term,
                    const struct sockaddr_in *client, const uint8_t *frame, uint32_t len);

/* gate.c: the dispatch `before` hook: handle here (false), or taken over (true). */
bool gate_before(struct request *req, const struct dispatch_row *row);
/* True when this replica may answer ROW_LEADER requests now. */
bool front_is_serving(const struct front *f);

/* Propose a command (protobuf message packed by the caller into `body`, copied) and call done exactly once: 0
 * and the result; or an ERR_* after which the outcome is as dl_waiter says, or ERR_TIMEOUT when it is
 * undecided after timeout_ms. `ctx` is the caller's. */
typedef void (*front_done_fn)(struct front *f, void *ctx, int err, const struct dl_entry *e,
                              const struct state_result *result);
void front_propose(struct front *f, uint32_t kind, const void *body, size_t len, uint32_t timeout_ms,
                   front_done_fn done, void *ctx);
/* The same with a buffer that has DL_RECORD_HEAD free bytes in front (messages: no copy); the reference is
 * handed over. */
void front_propose_buf(struct front *f, uint32_t kind, struct buf *buf, uint32_t timeout_ms,
                       front_done_fn done, void *ctx);

/* Answer for a failed proposal: maps ERR_* to RocketMQ's codes with a remark that says what is known. */
void front_reply_failed(const struct reply_to *to, int err);

/* topics.c of this room: existence and permission. */
/* Make sure the topic exists (auto-creation from a template, %RETRY% and %DLQ% topics), then call done(ctx,
 * code, remark): 0 or a response code. May call before returning. */
typedef void (*front_ready_fn)(struct front *f, void *ctx, int code, const char *remark);
void front_ensure_topic(struct front *f, struct str topic, struct str template_topic, int32_t queues,
                        front_ready_fn done, void *ctx);
/* Propose creation of a consumer group / its retry topic when missing; no answer (heartbeat path). */
void front_want_group(struct front *f, struct str group, bool retry_topic);
/* Start of office: propose the system topics that are missing and what registered clients want. */
void front_ensure_system_topics(struct front *f);

/* One place for the JSON forms several handlers and register.c share. */
void front_topic_config_json(struct jw *w, const struct topic *t, uint32_t permission_mask);
void front_data_version_json(struct jw *w, struct data_version v);
void front_message_queue_json(struct jw *w, struct str topic, struct str broker, uint32_t queue_id);

#endif
