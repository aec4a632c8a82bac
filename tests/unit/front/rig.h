/*
 * rig.h - the front room on a real state, with a log in memory in the place of node and store: what is
 * proposed waits until the test commits, loses or refuses it. Answers are kept by opaque. Included by one test
 * program each; all static, and it defines the functions of dledger that the front calls.
 */
#ifndef TESTS_UNIT_FRONT_RIG_H
#define TESTS_UNIT_FRONT_RIG_H

#include <check.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "broker/front/clients_internal.h"
#include "broker/front/front.h"
#include "broker/front/gather.h"
#include "broker/front/handlers.h"
#include "broker/front/hold.h"
#include "common/codes.h"
#include "tests/lib/memory_checkpoint.h"

#define ANSWERS_MAX   512
#define PENDING_MAX   1024
#define LOG_BYTES_MAX (16u << 20)
#define RELAYS_SEEN   1024
#define SELF          1
#define OTHER         2

#define READ  ROW_LEADER
#define WRITE (ROW_LEADER | ROW_WRITE)

static const struct dispatch_row rig_rows[] = {
    {SEND_MESSAGE, "SEND_MESSAGE", handle_send, WRITE | ROW_SEND},
    {SEND_MESSAGE_V2, "SEND_MESSAGE_V2", handle_send, WRITE | ROW_SEND},
    {SEND_BATCH_MESSAGE, "SEND_BATCH_MESSAGE", handle_send_batch, WRITE | ROW_SEND},
    {PULL_MESSAGE, "PULL_MESSAGE", handle_pull, READ | ROW_LONG},
    {QUERY_CONSUMER_OFFSET, "QUERY_CONSUMER_OFFSET", handle_offset_query, READ},
    {UPDATE_CONSUMER_OFFSET, "UPDATE_CONSUMER_OFFSET", handle_offset_update, READ},
    {GET_MAX_OFFSET, "GET_MAX_OFFSET", handle_offset_max, READ},
    {GET_MIN_OFFSET, "GET_MIN_OFFSET", handle_offset_min, READ},
    {SEARCH_OFFSET_BY_TIMESTAMP, "SEARCH_OFFSET_BY_TIMESTAMP", handle_offset_by_time, READ},
    {HEART_BEAT, "HEART_BEAT", handle_heartbeat, ROW_LOCAL},
    {UNREGISTER_CLIENT, "UNREGISTER_CLIENT", handle_unregister, ROW_LOCAL},
    {GET_CONSUMER_LIST_BY_GROUP, "GET_CONSUMER_LIST_BY_GROUP", handle_consumer_list, READ},
    {UPDATE_AND_CREATE_TOPIC, "UPDATE_AND_CREATE_TOPIC", handle_topic_put, WRITE},
    {DELETE_TOPIC_IN_BROKER, "DELETE_TOPIC_IN_BROKER", handle_topic_delete, WRITE},
    {UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", handle_group_put, WRITE},
    {LOCK_BATCH_MQ, "LOCK_BATCH_MQ", handle_lock, WRITE},
};

struct pending {
    uint32_t kind;
    struct buf *buf;
    struct dl_waiter *waiter;
};

struct relay {
    dl_relay_fn fn;
    void *arg;
    struct buf *frame;
};

struct rig {
    struct front f;
    struct settings settings;
    struct conf conf;
    struct memory_checkpoint *memory;
    struct checkpoint checkpoint;
    struct worker *worker;
    struct dl_transport transport;
    /* the node */
    bool serving, lease, transferring;
    int refuse; /* what the next proposals get */
    struct pending pending[PENDING_MAX];
    uint32_t pending_count, proposed;
    dl_index_t index;
    uint8_t *log;
    uint32_t log_len;
    bool cold; /* bytes are only on disk: reads are answered by rig_read_done */
    void (*read_done)(void *arg, int err);
    void *read_arg;
    /* the other replica */
    bool other_up;
    struct relay relays[RELAYS_SEEN];
    uint32_t relay_count;
    int ticket_err[RELAYS_SEEN]; /* relay_reply's, by ticket; 1 = none yet */
    uint32_t ticket_replies[RELAYS_SEEN];
    /* the client */
    int32_t language;                 /* 0: Java */
    struct buf *answers[ANSWERS_MAX]; /* by opaque */
    uint32_t answer_count[ANSWERS_MAX];
    struct remoting_cmd cmd;
    uint32_t registered;
};

static struct rig rig;

/* ---- node and store ---- */

int dl_node_propose(struct dl_node *n, uint32_t kind, struct buf *buf, struct dl_waiter *w)
{
    int rc = !rig.serving || rig.transferring ? ERR_NOT_LEADER : rig.refuse;

    (void)n;
    if (rc != 0) {
        buf_unref(buf);
        return rc;
    }
    ck_assert_uint_lt(rig.pending_count, PENDING_MAX);
    rig.pending[rig.pending_count++] = (struct pending){kind, buf, w};
    rig.proposed++;
    return 0;
}

void dl_node_forget(struct dl_node *n, struct dl_waiter *w)
{
    (void)n;
    for (uint32_t i = 0; i < rig.pending_count; i++) {
        if (rig.pending[i].waiter == w)
            rig.pending[i].waiter = NULL;
    }
}

bool dl_node_can_read(struct dl_node *n)
{
    (void)n;
    return rig.serving && rig.lease;
}

void dl_node_status(const struct dl_node *n, struct dl_node_status *status)
{
    (void)n;
    *status = (struct dl_node_status){.serving = rig.serving, .proposals_waiting = rig.pending_count};
    status->core.transferring = rig.transferring;
}

int dl_node_transfer(struct dl_node *n, dl_peer_t peer)
{
    (void)n;
    return peer == OTHER ? 0 : ERR_INVALID;
}

bool dl_node_peer_view(const struct dl_node *n, dl_peer_t peer, struct dl_peer_view *view)
{
    (void)n;
    (void)peer;
    (void)view;
    return false;
}

void dl_store_view(const struct dl_store *s, struct dl_store_view *view)
{
    (void)s;
    *view = (struct dl_store_view){.end_pos = rig.log_len, .last = rig.index};
}

int dl_store_read(struct dl_store *s, dl_pos_t pos, uint32_t len, uint8_t *dst)
{
    (void)s;
    if (pos + len > rig.log_len)
        return ERR_NOT_FOUND;
    if (rig.cold)
        return ERR_AGAIN;
    memcpy(dst, rig.log + pos, len);
    return 0;
}

int dl_store_read_async(struct dl_store *s, const struct dl_range *ranges, uint32_t count,
                        void (*done)(void *arg, int err), void *arg)
{
    (void)s;
    ck_assert_ptr_null(rig.read_done);
    for (uint32_t i = 0; i < count; i++)
        memcpy(ranges[i].dst, rig.log + ranges[i].pos, ranges[i].len);
    rig.read_done = done;
    rig.read_arg = arg;
    return 0;
}

/* Take the oldest proposal out; its waiter may be NULL. */
static inline struct pending rig_take(void)
{
    struct pending p = rig.pending[0];

    ck_assert_uint_gt(rig.pending_count, 0);
    memmove(rig.pending, rig.pending + 1, --rig.pending_count * sizeof(p));
    return p;
}

/* Commit and apply everything proposed so far; returns how many. */
static inline uint32_t rig_commit(void)
{
    uint32_t count = rig.pending_count;

    for (uint32_t i = 0; i < count; i++) {
        struct pending p = rig_take();
        struct dl_entry e = {.index = ++rig.index,
                             .term = 1,
                             .pos = rig.log_len,
                             .kind = p.kind,
                             .len = p.buf->len,
                             .buf = p.buf};
        const struct state_result *result;

        ck_assert_uint_le(rig.log_len + p.buf->len, LOG_BYTES_MAX);
        memcpy(rig.log + rig.log_len, p.buf->data, p.buf->len);
        rig.log_len += p.buf->len;
        result = state_apply(rig.f.state, e.index, e.term, e.kind, dl_entry_body(&e), dl_entry_body_len(&e),
                             e.pos + DL_RECORD_HEAD);
        if (p.waiter != NULL)
            p.waiter->done(p.waiter, 0, &e, result);
        buf_unref(p.buf);
    }
    front_on_applied(&rig.f);
    return count;
}

/* Everything proposed so far ends with err. */
static inline void rig_lose(int err)
{
    for (uint32_t count = rig.pending_count; count > 0; count--) {
        struct pending p = rig_take();

        buf_unref(p.buf);
        if (p.waiter != NULL)
            p.waiter->done(p.waiter, err, NULL, NULL);
    }
}

/* ---- the other replica ---- */

static inline void rig_relay(void *impl, dl_peer_t peer, dl_term_t term, const struct sockaddr_in *client,
                             const uint8_t *frame, uint32_t len, uint32_t timeout_ms, dl_relay_fn fn,
                             void *arg)
{
    (void)impl;
    (void)term;
    (void)client;
    (void)timeout_ms;
    ck_assert_uint_eq(peer, OTHER);
    ck_assert_uint_lt(rig.relay_count, RELAYS_SEEN);
    rig.relays[rig.relay_count++] = (struct relay){fn, arg, buf_copy(frame, len)};
}

static inline void rig_relay_reply(void *impl, uint64_t ticket, int err, struct buf *head, struct buf *body)
{
    (void)impl;
    ck_assert_uint_lt(ticket, RELAYS_SEEN);
    rig.ticket_err[ticket] = err;
    rig.ticket_replies[ticket]++;
    buf_unref(head);
    buf_unref(body);
}

static inline bool rig_is_up(void *impl, dl_peer_t peer)
{
    (void)impl;
    return peer == OTHER && rig.other_up;
}

/* The newest relay ends. */
static inline void rig_relay_ends(int err, const char *frame, uint32_t len)
{
    struct relay r;

    ck_assert_uint_gt(rig.relay_count, 0);
    r = rig.relays[--rig.relay_count];
    buf_unref(r.frame);
    r.fn(r.arg, err, (const uint8_t *)frame, len);
}

/* ---- role ---- */

static inline void rig_role(bool serving, dl_peer_t leader)
{
    struct dl_node_status status = {.serving = serving};

    rig.serving = rig.lease = serving;
    status.core.leader = leader;
    status.core.term = rig.f.term + 1;
    front_on_changed(&rig.f, &status);
}

/* ---- the client ---- */

static inline void rig_capture(void *arg, uint64_t conn_id, struct buf *head, struct buf *body)
{
    struct remoting_cmd cmd = {0};
    struct bld whole = bld_of(REMOTING_FRAME_MAX_BYTES);
    struct err err;

    (void)arg;
    (void)conn_id;
    bld_bytes(&whole, head->data, head->len);
    if (body != NULL)
        bld_bytes(&whole, body->data, body->len);
    buf_unref(head);
    buf_unref(body);
    head = bld_take(&whole);
    ck_assert_int_eq(remoting_decode(head->data, head->len, &cmd, &err), 0);
    ck_assert_int_lt(cmd.opaque, ANSWERS_MAX);
    rig.answer_count[cmd.opaque]++;
    buf_unref(rig.answers[cmd.opaque]);
    rig.answers[cmd.opaque] = head;
    remoting_release(&cmd);
}

static inline void rig_send_frame(struct reply_to reply, int32_t opaque, int32_t code, bool oneway,
                                  struct str body, va_list fields)
{
    static const struct sockaddr_in client = {.sin_family = AF_INET};
    struct remoting_out out;
    struct buf *frame;
    const char *key;

    remoting_request(&out, REMOTING_JSON, code, opaque, oneway);
    out.language = rig.language;
    while ((key = va_arg(fields, const char *)) != NULL)
        remoting_put_str(&out, key, str_of(va_arg(fields, const char *)));
    ck_assert_int_eq(remoting_encode(&out, body.p, body.len, &frame), 0);
    if (reply.send != NULL)
        ck_assert_int_eq(dispatch_relayed(&rig.f.dispatch, &client, reply, frame->data, frame->len), 0);
    else /* as another replica's */
        front_on_relay(&rig.f, OTHER, reply.conn_id, rig.f.term, &client, frame->data, frame->len);
    buf_unref(frame);
}

/* Ask with fields "key", "value", ..., NULL. */
static inline void rig_ask_body(int32_t opaque, int32_t code, struct str body, ...)
{
    va_list fields;

    va_start(fields, body);
    rig_send_frame((struct reply_to){.send = rig_capture}, opaque, code, false, body, fields);
    va_end(fields);
}
#define rig_ask(opaque, code, ...) rig_ask_body(opaque, code, STR("body"), __VA_ARGS__, NULL)

static inline void rig_ask_oneway(int32_t code, ...)
{
    va_list fields;

    va_start(fields, code);
    rig_send_frame((struct reply_to){.send = rig_capture}, 0, code, true, STR("body"), fields);
    va_end(fields);
}

static inline void rig_ask_relayed(uint64_t ticket, bool oneway, int32_t code, ...)
{
    va_list fields;

    rig.ticket_err[ticket] = 1;
    rig.ticket_replies[ticket] = 0;
    va_start(fields, code);
    rig_send_frame((struct reply_to){.conn_id = ticket}, 0, code, oneway, STR("body"), fields);
    va_end(fields);
}

static inline bool rig_answered(int32_t opaque)
{
    return rig.answers[opaque] != NULL;
}

/* The one answer; lent until the next call. */
static inline const struct remoting_cmd *rig_answer(int32_t opaque)
{
    struct err err;

    ck_assert_msg(rig.answer_count[opaque] == 1, "%u answers to %d", rig.answer_count[opaque], opaque);
    ck_assert_int_eq(remoting_decode(rig.answers[opaque]->data, rig.answers[opaque]->len, &rig.cmd, &err), 0);
    return &rig.cmd;
}

static inline void rig_expect(int32_t opaque, int32_t code)
{
    const struct remoting_cmd *cmd = rig_answer(opaque);

    ck_assert_msg(cmd->code == code, "request %d: code %d, not %d: %.*s", opaque, cmd->code, code,
                  (int)cmd->remark.len, cmd->remark.p);
}

static inline int64_t rig_number(int32_t opaque, const char *key)
{
    int64_t value = INT64_MIN;

    ck_assert_msg(remoting_i64(rig_answer(opaque), key, &value) == 0, "answer %d has no %s", opaque, key);
    return value;
}

/* Turns of the loop, committing what is proposed, until nothing moves. */
static inline void rig_settle(void)
{
    for (int quiet = 0; quiet < 3;) {
        loop_turn(rig.f.loop, 0);
        while (worker_run_one(rig.worker))
            quiet = 0;
        quiet = rig_commit() > 0 ? 0 : quiet + 1;
    }
}

/* Turns of the loop until cond holds; nothing is committed. */
#define rig_until(cond)                                        \
    do {                                                       \
        for (int turns_ = 0; !(cond); turns_++) {              \
            ck_assert_msg(turns_ < 20000, "never: %s", #cond); \
            loop_turn(rig.f.loop, 1);                          \
        }                                                      \
    } while (0)

static inline void rig_register_now(void *arg)
{
    (void)arg;
    rig.registered++;
}

/* A leader that serves, with its system topics. */
static inline void rig_begin(void)
{
    struct state_opts opts = {.cache_blocks = 64};
    struct front *f = &rig.f;
    struct err err;

    rig = (struct rig){.serving = false};
    conf_init(&rig.conf, settings_rows, settings_row_count, &rig.settings);
    rig.log = malloc(LOG_BYTES_MAX);
    rig.memory = memory_checkpoint_new();
    rig.checkpoint = memory_checkpoint_door(rig.memory);
    rig.worker = worker_new_manual(NULL, NULL);
    opts.checkpoint = &rig.checkpoint;
    opts.worker = rig.worker;
    rig.transport =
        (struct dl_transport){.relay = rig_relay, .relay_reply = rig_relay_reply, .is_up = rig_is_up};
    f->settings = &rig.settings;
    f->conf = &rig.conf;
    f->loop = loop_new();
    f->transport = &rig.transport;
    f->self = SELF;
    f->register_now = rig_register_now;
    f->store_host = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(10911)};
    ck_assert_int_eq(state_open(&opts, &f->state, &err), 0);
    rng_seed(&f->rng, 1);
    front_init(f, rig_rows, sizeof(rig_rows) / sizeof(rig_rows[0]));
    rig_role(true, SELF);
    rig_settle();
}

static inline void rig_end(void)
{
    front_stop(&rig.f);
    rig_lose(ERR_CLOSED);
    while (rig.relay_count > 0)
        rig_relay_ends(ERR_CLOSED, NULL, 0);
    loop_turn(rig.f.loop, 0);
    front_release(&rig.f);
    state_close(rig.f.state);
    while (worker_run_one(rig.worker))
        ;
    worker_free(rig.worker);
    rig.checkpoint.close(rig.checkpoint.impl);
    memory_checkpoint_free(rig.memory);
    loop_free(rig.f.loop);
    for (uint32_t i = 0; i < ANSWERS_MAX; i++)
        buf_unref(rig.answers[i]);
    remoting_release(&rig.cmd);
    conf_release(&rig.conf);
    free(rig.log);
}

/* ---- requests tests share ---- */

#define SEND_FIELDS(topic, queue, properties)                                                                \
    "producerGroup", "p", "topic", topic, "defaultTopic", "TBW102", "defaultTopicQueueNums", "4", "queueId", \
        queue, "sysFlag", "0", "bornTimestamp", "1", "flag", "0", "properties", properties
#define PULL_FIELDS(topic, queue, offset, sys_flag, tags)                                              \
    "consumerGroup", "g", "topic", topic, "queueId", queue, "queueOffset", offset, "maxMsgNums", "32", \
        "sysFlag", sys_flag, "commitOffset", "0", "suspendTimeoutMillis", "20000", "subscription", tags

static inline int rig_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
