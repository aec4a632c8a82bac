/*
 * internal.h - what the parts of the library share. Not for others.
 *
 * Threads: whatever is marked [loop] belongs to the client's own thread. Application threads copy what they
 * are given, post it there, and wait on a condition if they want an answer (client_ask). Producers and
 * consumers have a mutex of their own for what both sides touch.
 */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "client/ledgermq.h"
#include "client/line.h"
#include "client/route.h"
#include "client/scout.h"
#include "client/wire.h"
#include "common/caller.h"

#define CLIENT_GROUPS_MAX    256u
#define CLIENT_ADDRESSES_MAX 64u
#define CLIENT_TOPICS_MAX    4096u
#define RETRY_PREFIX         "%RETRY%"

/* ---- settings (options.c) ---- */

struct lmq_options {
    char namesrv[1024], brokers[1024], instance[128], offset_dir[512], from_where[32];
    uint32_t send_timeout_ms, connect_ms, answer_ms, poll_ms, heartbeat_ms, persist_ms, rebalance_ms,
        relock_ms;
    uint32_t compress_over_bytes, max_message_bytes, in_flight_messages, in_flight_bytes;
    uint32_t pull_batch, suspend_ms, consume_threads, queue_messages_max, queue_bytes_max, retry_ms;
};

/* ---- errors ---- */

lmq_status client_fail(lmq_error *error, lmq_status status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* From ERR_* codes: those with a public name keep their number. */
lmq_status client_fail_err(lmq_error *error, int err, const char *text);
lmq_status client_fail_answer(lmq_error *error, int32_t code, const char *text);

/* ---- messages (message.c) ---- */

struct lmq_message {
    char *topic; /* owned text; all other texts are inside `texts` */
    uint8_t *body;
    size_t body_size;
    uint8_t *props; /* encoded properties */
    size_t props_len, props_cap;
    struct property_text *texts; /* NUL-terminated copies handed out; list */
    char broker[ROUTE_NAME_MAX];
    char offset_id[64];
    char *sharding_key;          /* or NULL */
    lmq_queue_selector selector; /* or NULL */
    void *selector_arg;
    int32_t queue_id; /* explicit when >= 0 and broker is set, before sending */
    int32_t flag, reconsume_times;
    int64_t queue_offset, physical_offset, born_ms, store_ms;
};
/* A delivered message as one of ours; inflates the body. NULL and words when that fails. */
struct lmq_message *message_from_stored(const struct stored *m, const char *broker, struct err *err);
size_t message_bytes(const struct lmq_message *m);

/* ---- bodies (compress.c) ---- */

/* zlib. Both allocate *out (free). Inflated bodies are at most max_bytes. */
int body_deflate(const void *data, size_t len, uint8_t **out, size_t *out_len) MUSTCHECK;
int body_inflate(const void *data, size_t len, size_t max_bytes, uint8_t **out, size_t *out_len) MUSTCHECK;

/* ---- client (client.c) ---- */

struct topic;
TAILQ_HEAD(topic_list, topic);
struct consumer_list;

/* A broker group as this client sees it. [loop] */
struct group {
    struct lmq_client *client;
    char name[ROUTE_NAME_MAX];
    struct line *line;
    struct scout *scout;
    char told_leader[ADDRESS_MAX]; /* by a nameserver, last */
};

struct source {
    char address[ADDRESS_MAX];
    struct caller *caller;
    bool namesrv;
};

struct lmq_client {
    struct lmq_options options;
    char id[128];
    struct loop *loop;
    pthread_t thread;
    /* [loop] from here */
    struct group *groups[CLIENT_GROUPS_MAX];
    uint32_t group_count;
    struct source sources[CLIENT_ADDRESSES_MAX]; /* nameservers first, then brokers from the options */
    uint32_t source_count, namesrv_count, next_namesrv;
    struct topic_list topics;
    uint32_t topic_count;
    struct timer poll, refresh, heartbeat, overdue;
    uint64_t overdue_ms; /* when somebody has waited long enough for a route */
    uint32_t refreshes_left;
    bool heartbeat_set, closing;
    TAILQ_HEAD(, lmq_producer) producers;
    TAILQ_HEAD(, lmq_consumer) consumers;
    struct uniq uniq;
};

bool client_on_loop(const struct lmq_client *c);
void client_post(struct lmq_client *c, void (*fn)(void *arg), void *arg);
/* Run fn(arg) on the loop and wait until it has returned; at once when already there. */
void client_run(struct lmq_client *c, void (*fn)(void *arg), void *arg);

/* An answer that outlives its frame. */
struct reply {
    int err; /* ERR_* */
    int32_t code;
    char why[LMQ_ERROR_TEXT_MAX];
    struct buf *body;
    int64_t offset, next, min, max; /* fields of pull and offset answers, -1 when absent */
};
/* Ask the group (by broker name) and wait for the answer, from any thread but the loop's. */
void client_ask(struct lmq_client *c, const char *broker, struct remoting_out *out, const void *body,
                size_t body_len, uint32_t timeout_ms, uint32_t answer_ms, struct reply *reply);
void reply_release(struct reply *r);

/* ---- groups and heartbeats (groups.c) [loop] ---- */

struct group *group_find(struct lmq_client *c, const char *name); /* NULL: unknown */
/* Take over what a route says. from_namesrv false: one broker spoke for itself, add to what is known. */
void groups_take(struct lmq_client *c, const struct route *r, bool from_namesrv);
void groups_release(struct lmq_client *c);
void heartbeat_soon(struct lmq_client *c);
void heartbeat_now(struct lmq_client *c);
/* 35 for a producer or consumer group, to all replicas. */
void unregister(struct lmq_client *c, const char *producer_group, const char *consumer_group);

/* ---- routes (directory.c) [loop] ---- */

/* route lent for the call; NULL with err and words. */
typedef void (*route_fn)(void *arg, int err, const struct route *route, const char *why);
void directory_init(struct lmq_client *c);
void directory_release(struct lmq_client *c);
/* A route from memory or by asking, until the deadline (ERR_TIMEOUT); fn may be called inside. */
void directory_want(struct lmq_client *c, const char *topic, uint64_t deadline_ms, route_fn fn, void *arg);
/* Nobody waits with this arg any more. */
void directory_forget(struct lmq_client *c, const void *arg);
/* The route in memory or NULL. */
const struct route *directory_route(struct lmq_client *c, const char *topic);
/* Ask again soon, several times: something has failed or just been made. */
void directory_trouble(struct lmq_client *c);

/* ---- producer (producer.c) ---- */

struct lmq_producer {
    struct lmq_client *client;
    char group[256];
    TAILQ_ENTRY(lmq_producer) link; /* [loop] */
    uint32_t turn;                  /* [loop] round robin */
    pthread_mutex_t mutex;          /* guards all below */
    pthread_cond_t room;
    struct uniq uniq;
    uint32_t in_flight;
    size_t in_flight_bytes;
    bool ending; /* a callback runs: the room of its send is counted still, but free for what it sends */
    size_t ending_bytes;
};

/* ---- consumer (consumer.c, rebalance.c, process_queue.c, consume_pool.c, local_offsets.c) ---- */

struct subscription {
    struct call asked; /* first: who is in the group (38) */
    struct lmq_consumer *consumer;
    char topic[256];
    char tags[1024]; /* as given */
    int64_t version;
    bool all;
    bool asking, wanting; /* 38, or the route, is under way */
    bool routed;          /* its brokers have been greeted */
    uint32_t ask_at;      /* which broker of the route is asked, modulo their number */
    struct line *line;    /* of `asked` */
    TAILQ_ENTRY(subscription) link;
};

enum pq_state { PQ_LOCKING, PQ_FINDING_OFFSET, PQ_PULLING };

/* A message on its way to the listener. */
struct item {
    struct process_queue *pq;
    struct lmq_message *message;
    int64_t offset;
    lmq_consume outcome;
    uint64_t due_ms; /* of the retry */
    bool out;        /* with the pool, or its result is on its way here */
    bool ran;        /* the listener was called: `outcome` holds */
    bool sending_back;
    struct call back;        /* 36 */
    TAILQ_ENTRY(item) link;  /* in pq->pending */
    TAILQ_ENTRY(item) place; /* in the pool's queue or the consumer's retries */
};
TAILQ_HEAD(item_list, item);

/* One queue we consume. [loop], except `dropped`. */
struct process_queue {
    struct call call;      /* first: offset query or pull */
    struct call lock_call; /* 41 */
    struct lmq_consumer *consumer;
    struct subscription *subscription;
    struct group *group;
    uint32_t id;
    enum pq_state state;
    bool calling, locking;
    atomic_bool dropped;    /* not ours any more */
    bool leaving;           /* dropped, and in the consumer's list `leaving` */
    int64_t next, stored;   /* next offset to pull; last committed, -1: none */
    uint64_t rest_until_ms; /* 0: does not rest */
    uint64_t pulled_ms;     /* when the last pull went out */
    uint64_t locked_ms;     /* when the lock was last granted; 0: not held */
    uint32_t item_count;    /* in pending */
    size_t item_bytes;
    struct item_list pending; /* not consumed yet, in order of offsets */
    bool item_out;            /* orderly: the first one is with the pool or waits for its retry */
    TAILQ_ENTRY(process_queue) link;
};

struct pool; /* the listener's threads */
struct local_offsets;

struct lmq_consumer {
    struct lmq_client *client;
    char group[256];
    lmq_model model;
    bool orderly, started;
    lmq_listener listener;
    void *arg;
    struct pool *pool;
    /* [loop] once started */
    TAILQ_HEAD(, subscription) subscriptions;
    TAILQ_HEAD(, process_queue) queues;
    TAILQ_HEAD(, process_queue) leaving; /* orderly: dropped while the listener runs */
    struct item_list retries;
    struct timer rebalance, persist, tick, relock;
    bool rebalance_soon, ticking, closing;
    struct local_offsets *local; /* broadcasting */
    TAILQ_ENTRY(lmq_consumer) link;
};

/* rebalance.c [loop] */
void consumer_on_notify(struct lmq_consumer *c); /* 40: rebalance now */
void consumer_rebalance_soon(struct lmq_consumer *c);
void consumer_rebalance(struct lmq_consumer *c);
void consumer_tick_soon(struct lmq_consumer *c); /* something rests or waits for its retry */
/* Nothing of this subscription is under way any more. */
void subscription_stop(struct subscription *s);
/* process_queue.c [loop] */
struct process_queue *pq_new(struct lmq_consumer *c, struct subscription *s, struct group *g, uint32_t id);
/* No more messages from it; the broker is told how far we came. It is freed when its last item is back; an
 * orderly one is in c->leaving until then, and must not be made again before. */
void pq_drop(struct process_queue *pq);
void pq_consumed(void *item); /* a listener has returned, or did not begin */
void pq_retry(struct item *item);
void pq_tick(struct process_queue *pq, uint64_t now_ms);
int64_t pq_committable(const struct process_queue *pq); /* -1: nothing known */
void pq_commit(struct process_queue *pq);
void pq_lock(struct process_queue *pq);
/* consume_pool.c */
struct pool *pool_new(struct lmq_consumer *c, uint32_t threads); /* NULL: no thread could be started */
void pool_put(struct pool *p, struct item *item);
/* Waits for running listeners; gives back what waits. Not from the pool's or the loop's threads. */
void pool_free(struct pool *p);
/* local_offsets.c */
struct local_offsets *local_offsets_open(const char *dir, const char *client_id, const char *group,
                                         struct err *err);
int64_t local_offsets_get(const struct local_offsets *o, const char *topic, const char *broker,
                          uint32_t id); /* -1: none */
void local_offsets_put(struct local_offsets *o, const char *topic, const char *broker, uint32_t id,
                       int64_t offset);
int local_offsets_save(struct local_offsets *o, struct err *err) MUSTCHECK;
void local_offsets_close(struct local_offsets *o);

/* "a || b" against one tag. */
bool tags_match(const char *expression, struct str tag);

#endif
