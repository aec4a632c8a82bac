/*
 * mqperf.h - parts of mqperf, the load generator and checker.
 *
 * A *lane* is one connection with its own producer number and a window of sends in flight. Every message
 * says who sent it (run, producer, sequence number) and carries bytes that follow from these, so that
 * whoever reads it can tell whether it is whole. Times are microseconds of the monotonic clock: comparable
 * between processes of one machine.
 */
#ifndef TOOLS_MQPERF_H
#define TOOLS_MQPERF_H

#include <stdio.h>

#include "client/line.h"
#include "client/scout.h"
#include "tools/common_ask.h"
#include "tools/common_hist.h"

#define PERF_LANES_MAX  4096u
#define PERF_WINDOW_MAX 16384u
#define PERF_GROUPS_MAX 64u
#define PERF_GAPS_MAX   4096u

struct perf_options {
    const char *mode;
    const char *namesrv; /* or NULL */
    const char *brokers; /* or NULL */
    const char *topic;
    const char *acks_file; /* or NULL */
    const char *group;     /* subscribe */
    uint32_t size_bytes, connections, window, duration_s, queues, timeout_ms, gap_ms;
    uint64_t messages; /* 0: until duration_s has passed */
    uint32_t batch;    /* messages per request */
    bool by_key;       /* a lane keeps to one queue */
    bool from_end;     /* consume: only what comes from now on */
    bool orderly;      /* subscribe */
    bool json, quiet;
};

/* ---- where: groups and queues of the topic (mqperf_place.c) ---- */

struct place_group {
    char name[ROUTE_NAME_MAX];
    uint32_t replica_count;
    char replicas[LINE_REPLICAS_MAX][280];
    int leader; /* index, -1 unknown */
    struct scout *scout;
};
struct place_queue {
    uint32_t group, id;
};
struct place {
    struct loop *loop;
    struct asker *asker;
    struct addresses sources;
    uint32_t group_count, queue_count;
    struct place_group groups[PERF_GROUPS_MAX];
    struct place_queue *queues;                                        /* readable and writable ones */
    void (*on_leader)(void *arg, uint32_t group, const char *address); /* set by who sends; may be NULL */
    void *arg;
};
/* Find, or with `create` make, the topic. Errors name what failed. */
int place_find(struct loop *loop, const struct perf_options *o, bool create, struct place *out,
               struct err *err) MUSTCHECK;
void place_release(struct place *p);
/* A replica of the group failed: find its leader, on_leader follows. */
void place_trouble(struct place *p, uint32_t group);
/* A line to each of these. */
struct line *place_line(struct place *p, uint32_t group, const struct line_ops *ops, void *user);

/* ---- message bodies (mqperf_payload.c) ---- */

#define PAYLOAD_HEAD_BYTES 40u

struct payload {
    uint64_t run, seq, sent_us;
    uint32_t producer;
};
struct payload_source {
    uint8_t *pattern;
    uint32_t size;
};
void payload_init(struct payload_source *s, uint32_t max_bytes);
void payload_release(struct payload_source *s);
/* Fill body[0..len): len is at least PAYLOAD_HEAD_BYTES and at most max_bytes. */
void payload_write(const struct payload_source *s, const struct payload *p, uint8_t *body, uint32_t len);
/* 0; ERR_NOT_FOUND: not one of ours; ERR_DAMAGED: head is ours, bytes are not what they must be. */
int payload_read(const struct payload_source *s, struct str body, struct payload *out);

/* ---- what was acknowledged (mqperf_acks.c) ---- */

struct ack {
    uint64_t seq, offset, sent_us, acked_us;
    uint32_t producer, queue; /* queue: index in place.queues; as text "broker id" in files */
};
struct acks {
    uint64_t run;
    uint64_t count, cap;
    struct ack *at;
    uint64_t unknown; /* sends without an answer: may or may not be stored */
    uint32_t producers, window;
    uint64_t sent[PERF_LANES_MAX]; /* messages each producer sent, acknowledged or not */
};
void acks_add(struct acks *a, const struct ack *ack);
void acks_release(struct acks *a);
int acks_save(const struct acks *a, const struct place *p, const char *file, struct err *err) MUSTCHECK;
int acks_load(struct acks *a, const struct place *p, const char *file, struct err *err) MUSTCHECK;

/* ---- figures (mqperf_report.c) ---- */

struct gap {
    uint64_t at_us, length_us; /* at: since the start */
};
struct figures {
    const char *what; /* "produce", "consume" */
    uint64_t begin_us, end_us, last_us;
    uint64_t messages, bytes, failed, retried;
    struct hist latency_us;
    uint64_t longest_gap_us;
    uint32_t gap_count;
    struct gap gaps[PERF_GAPS_MAX]; /* those of gap_ms and more */
    char first_failure[320];
};
/* One success now. */
void figures_add(struct figures *f, const struct perf_options *o, uint64_t now_us, uint64_t latency_us,
                 uint32_t messages, uint64_t bytes);
void figures_print(const struct figures *f, const struct perf_options *o, FILE *to);

/* ---- reading (mqperf_consume.c) ---- */

enum seen_kind { SEEN_OURS, SEEN_FOREIGN /* of another run or program */, SEEN_DAMAGED };
struct seen_message {
    uint64_t seq, offset;
    uint32_t producer, queue;
    enum seen_kind kind;
};
struct seen {
    uint64_t count, cap;
    struct seen_message *at;
};
void seen_release(struct seen *s);

struct consumer;
struct reader {       /* of one queue */
    struct call call; /* first: the call is the reader */
    struct consumer *consumer;
    struct line *line;
    uint32_t queue;
    uint64_t next, until, end; /* end: the queue's, as last heard */
    bool pulling;
};
struct consumer_line {
    struct consumer *consumer;
    uint32_t group;
    struct line *line;
};
struct consumer {
    struct place *place;
    const struct perf_options *o;
    struct figures *f;
    struct seen *seen; /* NULL: figures only */
    struct payload_source payload;
    uint64_t run_id, bad, moved;
    uint32_t line_count;
    struct consumer_line *lines;
    struct reader *readers; /* by queue */
};
/* Read all queues of the place from from[queue] (NULL: 0) on, for ever. */
void consumer_start(struct consumer *c, struct place *place, const struct perf_options *o, struct figures *f,
                    struct seen *seen, uint64_t run_id, const uint64_t *from);
void consumer_prefer(struct consumer *c, uint32_t group, const char *address);
/* Stop each queue at ends[queue]. */
void consumer_until(struct consumer *c, const uint64_t *ends);
/* Once per turn: resume readers that rest. True when all queues are at their ends. */
bool consumer_turn(struct consumer *c);
void consumer_release(struct consumer *c);

/* ---- checking (mqperf_verify.c) ---- */

struct verdict {
    uint64_t acked, delivered, lost, duplicates, phantom, damaged, gaps, two_acks, order_real_time,
        order_producer, foreign;
    uint64_t unknown;
    char first[320]; /* the first wrong thing, in words */
};
/* Sorts both. from: first offset read of each queue. True when nothing is wrong. */
bool verify(struct acks *acks, struct seen *seen, const struct place *p, const uint64_t *from,
            struct verdict *v);
void verdict_print(const struct verdict *v, const struct perf_options *o, FILE *to);

/* ---- the jobs ---- */

/* Maximum (or minimum) offset of every queue now, allocated; free with free(). */
int place_offsets(struct place *p, const char *topic, bool min, uint64_t **out, struct err *err) MUSTCHECK;

/* As a member of a consumer group, until o->messages have come (an error when they do not) or the time is
 * over. Prints. */
int subscribe_run(struct loop *loop, const struct perf_options *o, struct figures *f,
                  struct err *err) MUSTCHECK;
/* acks may be NULL. `reading` (may be NULL) is served meanwhile. */
int produce_run(struct place *p, const struct perf_options *o, struct acks *acks, struct consumer *reading,
                struct figures *f) MUSTCHECK;

#endif
