/*
 * ledgermq.h - libledgermq: send messages to, and receive them from, LedgerMQ and RocketMQ brokers.
 *
 *     lmq_options *o = lmq_options_new();
 *     lmq_options_set(o, "namesrvAddr", "127.0.0.1:9876", NULL);
 *     lmq_client *client;
 *     lmq_producer *producer;
 *     lmq_error error;
 *     if (lmq_client_new(o, &client, &error) != LMQ_OK)
 *         die(error.text);
 *     if (lmq_producer_new(client, "my-producers", &producer, &error) != LMQ_OK)
 *         die(error.text);
 *     lmq_message *m = lmq_message_new("Orders", "hello", 5);
 *     lmq_send_result result;
 *     if (lmq_producer_send(producer, m, &result, &error) != LMQ_OK)
 *         fprintf(stderr, "%s\n", error.text);
 *
 * Conventions. Handles are opaque; what a function is given it copies, unless its comment says otherwise.
 * Functions return LMQ_OK or a negative lmq_status and, when `error` is not NULL, words that name address,
 * attempts and cause. All functions may be called from any thread at the same time; a handle must not be
 * used while, or after, it is freed. A client has one thread of its own for all sockets. Callbacks for
 * sends run on that thread: they must not wait, and may send only with lmq_producer_send_async. Message
 * listeners run on a consumer's own threads and may do anything but close that consumer.
 *
 * Delivery is at least once: a send whose answer was lost is sent again within its timeout, so a consumer
 * may see a message twice. LMQ_OK from a send to a LedgerMQ broker means that the message is on the disks
 * of a majority.
 */
#ifndef LEDGERMQ_H
#define LEDGERMQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmq_status {
    LMQ_OK = 0,
    LMQ_INVALID = -1,   /* an argument or setting is wrong */
    LMQ_TOO_LARGE = -3, /* body, properties or batch over their limit */
    LMQ_NOT_FOUND = -4, /* no such message, offset or queue */
    LMQ_BUSY = -6,      /* too much in flight already */
    LMQ_TIMEOUT = -8,   /* not done within its time; it may still happen */
    LMQ_CLOSED = -9,    /* the client is being closed */
    LMQ_IO = -10,       /* connection or file error */
    LMQ_NO_ROUTE = -20, /* no nameserver or broker knows the topic */
    LMQ_REFUSED = -100, /* the broker said no; lmq_error.answer says which code */
} lmq_status;

#define LMQ_ERROR_TEXT_MAX 320
typedef struct lmq_error {
    lmq_status status;
    int answer; /* response code of the broker when status is LMQ_REFUSED, else 0 */
    char text[LMQ_ERROR_TEXT_MAX];
} lmq_error;

const char *lmq_version(void);

/* ---- options: names and spellings are RocketMQ's where it has them ---- */

typedef struct lmq_options lmq_options;
lmq_options *lmq_options_new(void);
void lmq_options_free(lmq_options *options);
/* LMQ_INVALID names the setting and its range. lmq_options_describe lists all. */
lmq_status lmq_options_set(lmq_options *options, const char *name, const char *value, lmq_error *error);
/* "name default meaning" of setting number i, NULL after the last. Static text. */
const char *lmq_options_describe(unsigned i);

/* ---- client ---- */

typedef struct lmq_client lmq_client;
/* Starts the client's thread; connects when there is something to do. Wants namesrvAddr or brokerAddr. */
lmq_status lmq_client_new(const lmq_options *options, lmq_client **out, lmq_error *error);
/* Producers, pullers and consumers must have been freed. NULL is allowed. */
void lmq_client_free(lmq_client *client);
const char *lmq_client_id(const lmq_client *client);

/* ---- messages ---- */

typedef struct lmq_queue {
    char topic[256];
    char broker[128];
    int32_t id;
} lmq_queue;

typedef struct lmq_message lmq_message;
/* Body and topic are copied; NULL when the topic is empty or body_size over 4 MiB. */
lmq_message *lmq_message_new(const char *topic, const void *body, size_t body_size);
void lmq_message_free(lmq_message *message);
lmq_status lmq_message_set_tag(lmq_message *message, const char *tag);
lmq_status lmq_message_set_keys(lmq_message *message, const char *keys); /* separated by blanks */
/* Names and values must not be empty nor hold the bytes 1 and 2. */
lmq_status lmq_message_set_property(lmq_message *message, const char *name, const char *value);
void lmq_message_set_flag(lmq_message *message, int32_t flag);
/* Messages with one sharding key go to one queue, in order as long as the topic's queues stay the same. */
lmq_status lmq_message_set_sharding_key(lmq_message *message, const char *key);
/* Exactly this queue. */
lmq_status lmq_message_set_queue(lmq_message *message, const char *broker_name, int32_t queue_id);
/* Chooses a queue (RocketMQ's MessageQueueSelector): the place in `queues`, all that can be written of the topic, by
 * broker and id; lent for the call. `arg` is the program's. Runs on the client's thread before each attempt to send
 * and must not wait; a place outside of 0..count-1 fails the send. */
typedef int64_t (*lmq_queue_selector)(void *arg, const lmq_queue *queues, size_t count);
/* `arg` must live until the send has ended. NULL takes it back. */
void lmq_message_set_selector(lmq_message *message, lmq_queue_selector selector, void *arg);

/* Texts live as long as the message; "" when absent. */
const char *lmq_message_topic(const lmq_message *message);
const void *lmq_message_body(const lmq_message *message, size_t *size);
const char *lmq_message_tag(const lmq_message *message);
const char *lmq_message_keys(const lmq_message *message);
const char *lmq_message_property(const lmq_message *message, const char *name);
const char *lmq_message_id(const lmq_message *message); /* given by the sending client */
const char *
lmq_message_offset_id(const lmq_message *message); /* given by the broker; "" before it was sent */
const char *lmq_message_broker(const lmq_message *message);
int32_t lmq_message_queue_id(const lmq_message *message);
int64_t lmq_message_queue_offset(const lmq_message *message);
int64_t lmq_message_born_ms(const lmq_message *message);
int64_t lmq_message_store_ms(const lmq_message *message);
int32_t lmq_message_reconsume_times(const lmq_message *message);
int32_t lmq_message_flag(const lmq_message *message);

/* ---- producer ---- */

typedef struct lmq_producer lmq_producer;
typedef struct lmq_send_result {
    char message_id[64];
    char offset_id[64];
    char broker[128];
    int32_t queue_id;
    int64_t queue_offset;
} lmq_send_result;

lmq_status lmq_producer_new(lmq_client *client, const char *group, lmq_producer **out, lmq_error *error);
/* Waits for what is in flight, at most until the timeout of each. NULL is allowed. */
void lmq_producer_free(lmq_producer *producer);

/* Waits for the broker's answer, at most sendMsgTimeout in all. result may be NULL. */
lmq_status lmq_producer_send(lmq_producer *producer, const lmq_message *message, lmq_send_result *result,
                             lmq_error *error);
/* result and error are lent for the call; error is NULL when all is well, else result is NULL. */
typedef void (*lmq_send_callback)(void *arg, const lmq_send_result *result, const lmq_error *error);
/* The callback runs exactly once if, and only if, this returns LMQ_OK. Waits while maxInFlightMessages or
 * maxInFlightBytes
 * is reached, at most sendMsgTimeout (LMQ_BUSY); on the client's own thread it does not wait, and what a
 * callback sends first takes the room of the send that has ended. */
lmq_status lmq_producer_send_async(lmq_producer *producer, const lmq_message *message,
                                   lmq_send_callback callback, void *arg, lmq_error *error);
/* No answer is asked for: LMQ_OK says that the message was handed to the client's thread. It is in flight,
 * and counts for maxInFlightMessages and maxInFlightBytes, until it has been written to a connection. */
lmq_status lmq_producer_send_oneway(lmq_producer *producer, const lmq_message *message, lmq_error *error);
/* All to one queue, with consecutive offsets, or none: one topic, no sharding keys or selectors. result: of the first
 * one. */
lmq_status lmq_producer_send_batch(lmq_producer *producer, const lmq_message *const *messages, size_t count,
                                   lmq_send_result *result, lmq_error *error);
/* Wait until nothing is in flight. */
lmq_status lmq_producer_flush(lmq_producer *producer, uint32_t timeout_ms);

/* ---- puller: read queues by hand ---- */

typedef struct lmq_puller lmq_puller;
typedef enum lmq_offset_kind { LMQ_OFFSET_MIN, LMQ_OFFSET_MAX, LMQ_OFFSET_COMMITTED } lmq_offset_kind;
typedef struct lmq_pulled lmq_pulled;

lmq_status lmq_puller_new(lmq_client *client, const char *group, lmq_puller **out, lmq_error *error);
void lmq_puller_free(lmq_puller *puller);
/* Readable queues of a topic in order; free(*out). */
lmq_status lmq_puller_queues(lmq_puller *puller, const char *topic, lmq_queue **out, size_t *count,
                             lmq_error *error);
/* LMQ_OFFSET_COMMITTED: LMQ_NOT_FOUND when the group has none. */
lmq_status lmq_puller_offset(lmq_puller *puller, const lmq_queue *queue, lmq_offset_kind kind, int64_t *out,
                             lmq_error *error);
/* Of the first message stored at or after store_ms. */
lmq_status lmq_puller_offset_at(lmq_puller *puller, const lmq_queue *queue, int64_t store_ms, int64_t *out,
                                lmq_error *error);
lmq_status lmq_puller_commit(lmq_puller *puller, const lmq_queue *queue, int64_t offset, lmq_error *error);
/* Up to `max` messages from `offset` on that fit `tags` ("*": all; "a || b"); waits up to wait_ms for the
 * first. No message
 * within that time is LMQ_OK with an empty result. */
lmq_status lmq_puller_pull(lmq_puller *puller, const lmq_queue *queue, const char *tags, int64_t offset,
                           uint32_t max, uint32_t wait_ms, lmq_pulled **out, lmq_error *error);
size_t lmq_pulled_count(const lmq_pulled *pulled);
const lmq_message *lmq_pulled_message(const lmq_pulled *pulled, size_t i); /* lives as long as `pulled` */
int64_t lmq_pulled_next_offset(const lmq_pulled *pulled);                  /* pull from here next */
int64_t lmq_pulled_min_offset(const lmq_pulled *pulled);
int64_t lmq_pulled_max_offset(const lmq_pulled *pulled);
void lmq_pulled_free(lmq_pulled *pulled);

/* ---- consumer: messages come by themselves ---- */

typedef struct lmq_consumer lmq_consumer;
typedef enum lmq_consume { LMQ_CONSUMED = 0, LMQ_RETRY_LATER = 1 } lmq_consume;
/* The message is lent for the call. */
typedef lmq_consume (*lmq_listener)(void *arg, const lmq_message *message);
typedef enum lmq_model {
    LMQ_CLUSTERING, /* the group's members share the queues; offsets are kept by the brokers */
    /* Every member gets everything; offsets are kept in offsetStoreDir. Two processes on one machine with the
     * same group need an instanceName each to keep theirs apart. */
    LMQ_BROADCASTING
} lmq_model;

lmq_status lmq_consumer_new(lmq_client *client, const char *group, lmq_model model, lmq_consumer **out,
                            lmq_error *error);
/* Before the start. tags: "*" or "a || b". */
lmq_status lmq_consumer_subscribe(lmq_consumer *consumer, const char *topic, const char *tags,
                                  lmq_error *error);
/* Messages of different queues, and of one queue, are consumed by consumeThreads threads at once. A client
 * has at most one started consumer of a group (LMQ_INVALID). */
lmq_status lmq_consumer_start(lmq_consumer *consumer, lmq_listener listener, void *arg, lmq_error *error);
/* One message of a queue at a time, in order; a message to be retried holds its queue back. */
lmq_status lmq_consumer_start_orderly(lmq_consumer *consumer, lmq_listener listener, void *arg,
                                      lmq_error *error);
/* Stops, waits for listeners that are running, commits offsets, leaves the group. NULL is allowed. */
void lmq_consumer_free(lmq_consumer *consumer);

#ifdef __cplusplus
}
#endif

#endif
