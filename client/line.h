/*
 * line.h - requests to one broker group (brokerName): all its replicas seen as one party that answers.
 *
 * A group has one leader, but any replica may be asked: one of ours relays to the leader or keeps the
 * request until there is one. So a line sends to the current replica, and when that fails - refused, reset,
 * silent beyond the request's answer budget, or answering "not available" (14) - it goes to the next one at
 * once, with everything that was in flight, in order, until the answer comes or the deadline passes. A
 * request may thus be carried out twice; who cannot bear that sets CALL_ONCE.
 *
 *   new --line_send--> in flight on a link --answer--> done
 *                          |     ^
 *        lost, 14, 2, silent     | next link, or the same after LINE_PAUSE_MS
 *                          v     |
 *                        waiting-+--deadline--> done (ERR_TIMEOUT)
 *
 * Invariant: a call is in exactly one list, a link's `in_flight` or `writing` (one-way) or the line's
 * `waiting`, from line_send to its `done`. Frames are encoded once, in the binary form, whose opaque has a
 * fixed place. Loop thread only. Used by the rest of client/ and, as the cheap way in, by tools/mqperf.
 */
#ifndef CLIENT_LINE_H
#define CLIENT_LINE_H

#include <sys/queue.h>

#include "common/conn.h"
#include "common/remoting.h"

#define LINE_REPLICAS_MAX 16u
#define LINE_CALLS_MAX    65536u /* in flight and waiting together */
#define LINE_PAUSE_MS     20u    /* between rounds when every replica has just failed */
#define ADDRESS_MAX       280u   /* "host:port" with NUL */

enum call_flags {
    CALL_ONCE = 1,      /* never sent a second time: the first failure ends it */
    CALL_KEEP_BUSY = 2, /* answer 2 (busy) goes to `done` instead of being tried again */
    CALL_ONEWAY = 4,    /* no answer comes: `done` with err 0 when the frame has been written */
};

struct link;
struct call;
/* Exactly once per call. err 0: `answer` (any code) is lent, NULL for a CALL_ONEWAY; else ERR_TIMEOUT,
 * ERR_CLOSED (line freed), ERR_BUSY (too many calls), with `answer` NULL; ERR_IO for a CALL_ONCE whose
 * connection was lost. May send again, also the same call.
 */
typedef void (*call_fn)(struct call *call, int err, const struct remoting_cmd *answer);

struct call {
    /* filled in by whoever sends; lent until `done` */
    struct buf *frame; /* from remoting_encode in REMOTING_BINARY; handed over; its opaque is overwritten */
    uint64_t deadline_ms; /* on the loop's clock */
    /* Silence of a replica for so long moves everything to the next; 0: until the deadline. */
    uint32_t answer_ms;
    uint32_t flags;
    call_fn done;
    /* what happened, for words */
    uint32_t attempts;
    int32_t fail_code; /* of the last failed attempt: a response code, or 0 */
    int fail_err;      /* ERR_* when no answer came */
    char fail_address[64];
    char fail_remark[160];
    /* private */
    TAILQ_ENTRY(call) link_entry;
    struct link *via; /* NULL: waiting */
    uint64_t sent_ms;
    uint64_t written_at; /* one-way: where its frame ends in all that was queued on the connection */
    uint32_t opaque;
};

struct line_ops {
    /* A replica failed: routes may be old. Called often; NULL: not told. */
    void (*on_trouble)(void *user);
    /* Requests from the broker (notifications). NULL: ignored. */
    void (*on_request)(void *user, const struct remoting_cmd *cmd);
    /* A connection to `address` is up: say who we are. NULL: not told. */
    void (*on_up)(void *user, const char *address);
};

struct line;
/* connect_ms bounds one attempt to connect. ops and user are lent for the line's life. */
struct line *line_new(struct loop *loop, uint32_t connect_ms, const struct line_ops *ops, void *user);
/* All calls end with ERR_CLOSED inside. Not from a call's `done`. NULL is allowed. */
void line_free(struct line *line);
/* The replicas now, and which of them leads (index, or -1: unknown, stay where we are). Calls in flight at
 * one that is
 * gone move on. Texts are copied; addresses that are none are left out. */
void line_set_replicas(struct line *line, const char *const *addresses, uint32_t count, int leader);
/* New calls go to this replica from now on; unknown addresses are ignored. */
void line_prefer(struct line *line, const char *address);
void line_send(struct line *line, struct call *call);
/* The caller does not want the answer any more: `done` is not called. Whether the request is carried out is
 * open. */
void line_cancel(struct line *line, struct call *call);
/* Takes over the frame; nobody answers, nobody knows whether it arrived. */
void line_oneway(struct line *line, struct buf *frame);
/* The same to every replica (heartbeats). Takes over the frame, which must have no other owner. Answers are
 * dropped. */
void line_broadcast(struct line *line, struct buf *frame);
uint32_t line_replica_count(const struct line *line);
const char *line_replica(const struct line *line, uint32_t i);
const char *line_current(const struct line *line); /* address, "" when there is none */
uint32_t line_calls(const struct line *line);

/* "no answer from 127.0.0.1:10911 within 3000 ms after 2 attempts: ..." into text. */
void call_explain(const struct call *call, int err, const struct remoting_cmd *answer, char *text,
                  size_t size);

#endif
