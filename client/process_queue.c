/*
 * process_queue.c - one queue on its way to the listener.
 *
 *   (orderly: lock) -> find the offset -> pull -> items -> pool -> listener -> consumed
 *         ^------ rest, when something went wrong or too much waits -----'
 *
 * Concurrent: every item goes to the pool at once; the offset that may be committed is that of the first
 * item not consumed yet. Orderly: only the first item is with the pool; a retry keeps it there. An item
 * that is to be tried again is sent back to the broker (36); where the broker does not know that, it waits
 * here. All on the client's thread; the listener's threads see an item only between pool_put and
 * pq_consumed.
 */
#include <stdlib.h>

#include "client/internal.h"
#include "common/codes.h"
#include "common/json.h"
#include "common/log.h"

#define QUERY_TIMEOUT_MS 3000u
#define PULL_SPARE_MS    5000u
#define REST_FAILED_MS   1000u
#define REST_LOCK_MS     300u
#define REST_FULL_MS     50u
#define REST_EMPTY_MS    50u
#define ORDERLY_RETRY_MS 1000u
#define LOCK_VALID_MS    30000u
#define PULL_COMMIT      1
#define PULL_SUSPEND     2
#define PULL_SUBSCRIBED  4
#define LOCK_BODY_MAX    4096u
#define LOCK_NODES_MAX   1000u
#define LOG_EVERY_MS     1000u

static void go_on(struct process_queue *pq);
static void hand_out(struct process_queue *pq);

static const struct lmq_options *options_of(const struct process_queue *pq)
{
    return &pq->consumer->client->options;
}

static uint64_t now_of(const struct process_queue *pq)
{
    return loop_now_ms(pq->consumer->client->loop);
}

static void rest(struct process_queue *pq, uint32_t ms)
{
    pq->rest_until_ms = now_of(pq) + ms;
    consumer_tick_soon(pq->consumer);
}

/* The call has ended badly. */
static void complain(struct process_queue *pq, const char *what, int err, const struct remoting_cmd *answer)
{
    char why[LMQ_ERROR_TEXT_MAX];

    call_explain(&pq->call, err, answer, why, sizeof(why));
    LOG_WARN_EVERY(LOG_EVERY_MS, "queue rests", "what=%s topic=%s broker=%s queue=%u why=\"%s\"", what,
                   pq->subscription->topic, pq->group->name, pq->id, why);
    rest(pq, REST_FAILED_MS);
}

static void send_call(struct process_queue *pq, struct remoting_out *out, uint32_t timeout_ms,
                      uint32_t answer_ms, call_fn done)
{
    if (wire_request(out, NULL, 0, &pq->call.frame) != 0) {
        rest(pq, REST_FAILED_MS);
        return;
    }
    pq->call.deadline_ms = now_of(pq) + timeout_ms;
    pq->call.answer_ms = answer_ms;
    pq->call.flags = 0;
    pq->call.done = done;
    pq->calling = true;
    line_send(pq->group->line, &pq->call);
}

static void begin_request(const struct process_queue *pq, int32_t code, bool with_group,
                          struct remoting_out *out)
{
    remoting_request(out, REMOTING_BINARY, code, 0, false);
    if (with_group)
        remoting_put_str(out, "consumerGroup", str_of(pq->consumer->group));
    remoting_put_str(out, "topic", str_of(pq->subscription->topic));
    remoting_put_i64(out, "queueId", pq->id);
}

/* ---- locks ---- */

static struct buf *lock_body(const struct process_queue *pq)
{
    struct bld text = bld_of(LOCK_BODY_MAX);
    struct jw w = jw_of(&text);

    jw_object(&w);
    jw_key(&w, "clientId");
    jw_cstr(&w, pq->consumer->client->id);
    jw_key(&w, "consumerGroup");
    jw_cstr(&w, pq->consumer->group);
    jw_key(&w, "mqSet");
    jw_array(&w);
    jw_object(&w);
    jw_key(&w, "brokerName");
    jw_cstr(&w, pq->group->name);
    jw_key(&w, "queueId");
    jw_i64(&w, pq->id);
    jw_key(&w, "topic");
    jw_cstr(&w, pq->subscription->topic);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_key(&w, "onlyThisBroker");
    jw_bool(&w, false);
    jw_end_object(&w);
    return bld_take(&text);
}

static bool says_locked(const struct process_queue *pq, const struct remoting_cmd *answer)
{
    struct json_doc *doc;
    const struct json *set;
    struct err err;
    bool locked = false;

    if (answer->code != RC_SUCCESS || json_parse(answer->body, LOCK_NODES_MAX, &doc, &err) != 0)
        return false;
    set = json_get(json_root(doc), "lockOKMQSet");
    for (const struct json *q = set != NULL ? set->first : NULL; q != NULL; q = q->next)
        locked = locked || (json_get_i64(q, "queueId", -1) == pq->id &&
                            str_is(json_get_str(q, "topic"), pq->subscription->topic));
    json_free(doc);
    return locked;
}

static void on_locked(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct process_queue *pq =
        (struct process_queue *)((char *)call - offsetof(struct process_queue, lock_call));
    struct lmq_consumer *c = pq->consumer;
    bool granted = err == 0 && says_locked(pq, answer);
    bool refused = err == 0 && answer->code == RC_SUCCESS && !granted;

    pq->locking = false;
    if (granted || refused)
        pq->locked_ms = granted ? now_of(pq) : 0;
    if (atomic_load(&pq->dropped))
        return;
    if (pq->state == PQ_LOCKING && granted) {
        pq->state = PQ_FINDING_OFFSET;
        go_on(pq);
    } else if (pq->state == PQ_LOCKING) {
        rest(pq, REST_LOCK_MS);
    } else if (granted) {
        hand_out(pq); /* what waited because the lock had run out */
    } else if (refused) {
        pq_drop(pq); /* another member has it by now */
        consumer_rebalance_soon(c);
    }
}

void pq_lock(struct process_queue *pq)
{
    struct buf *body = lock_body(pq);
    struct remoting_out out;

    remoting_request(&out, REMOTING_BINARY, LOCK_BATCH_MQ, 0, false);
    if (!pq->locking && body != NULL &&
        wire_request(&out, body->data, body->len, &pq->lock_call.frame) == 0) {
        pq->lock_call.deadline_ms = now_of(pq) + QUERY_TIMEOUT_MS;
        pq->lock_call.answer_ms = options_of(pq)->answer_ms;
        pq->lock_call.done = on_locked;
        pq->locking = true;
        line_send(pq->group->line, &pq->lock_call);
    }
    buf_unref(body);
}

static void unlock(struct process_queue *pq)
{
    struct buf *body = lock_body(pq);
    struct remoting_out out;
    struct buf *frame;

    remoting_request(&out, REMOTING_BINARY, UNLOCK_BATCH_MQ, 0, true);
    if (body != NULL && wire_request(&out, body->data, body->len, &frame) == 0)
        line_oneway(pq->group->line, frame);
    buf_unref(body);
}

static bool needs_lock(const struct process_queue *pq)
{
    return pq->consumer->orderly && pq->consumer->model == LMQ_CLUSTERING;
}

static bool lock_holds(const struct process_queue *pq)
{
    return !needs_lock(pq) || (pq->locked_ms != 0 && now_of(pq) - pq->locked_ms < LOCK_VALID_MS);
}

/* ---- where to begin ---- */

static void begin_at(struct process_queue *pq, int64_t offset)
{
    pq->next = offset;
    pq->state = PQ_PULLING;
    go_on(pq);
}

static void on_max(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct process_queue *pq = (struct process_queue *)call;

    pq->calling = false;
    if (err == 0 && answer->code == RC_SUCCESS && remoting_i64_or(answer, "offset", -1) >= 0)
        begin_at(pq, remoting_i64_or(answer, "offset", -1));
    else
        complain(pq, "max-offset", err, answer);
}

/* A group that never was here: its own retries from the first on, else as the settings say. */
static void begin_new(struct process_queue *pq)
{
    struct remoting_out out;

    if (str_starts(str_of(pq->subscription->topic), RETRY_PREFIX) ||
        strcmp(options_of(pq)->from_where, "CONSUME_FROM_FIRST_OFFSET") == 0) {
        begin_at(pq, 0);
        return;
    }
    begin_request(pq, GET_MAX_OFFSET, false, &out);
    send_call(pq, &out, QUERY_TIMEOUT_MS, options_of(pq)->answer_ms, on_max);
}

static void on_offset(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct process_queue *pq = (struct process_queue *)call;

    pq->calling = false;
    if (err == 0 && answer->code == RC_SUCCESS && remoting_i64_or(answer, "offset", -1) >= 0) {
        pq->stored = remoting_i64_or(answer, "offset", -1);
        begin_at(pq, pq->stored);
    } else if (err == 0 && answer->code == RC_QUERY_NOT_FOUND) {
        begin_new(pq);
    } else {
        complain(pq, "offset", err, answer);
    }
}

static void find_offset(struct process_queue *pq)
{
    struct remoting_out out;
    int64_t local;

    if (pq->consumer->local != NULL) {
        local = local_offsets_get(pq->consumer->local, pq->subscription->topic, pq->group->name, pq->id);
        if (local >= 0)
            begin_at(pq, local);
        else
            begin_new(pq);
        return;
    }
    begin_request(pq, QUERY_CONSUMER_OFFSET, true, &out);
    send_call(pq, &out, QUERY_TIMEOUT_MS, options_of(pq)->answer_ms, on_offset);
}

/* ---- items ---- */

static void item_free(struct item *i)
{
    struct process_queue *pq = i->pq;

    TAILQ_REMOVE(&pq->pending, i, link);
    pq->item_count--;
    pq->item_bytes -= message_bytes(i->message);
    lmq_message_free(i->message);
    free(i);
}

static void give(struct item *i)
{
    if (i->pq->consumer->closing)
        return; /* the pool goes or is gone */
    i->out = true;
    pool_put(i->pq->consumer->pool, i);
}

/* Orderly: the first item goes out when none is. */
static void hand_out(struct process_queue *pq)
{
    struct item *i = TAILQ_FIRST(&pq->pending);

    if (i == NULL || pq->item_out || !lock_holds(pq))
        return;
    pq->item_out = true;
    give(i);
}

static void add_item(struct process_queue *pq, struct lmq_message *m)
{
    struct item *i = calloc(1, sizeof(*i));

    ENSURE(i != NULL);
    i->pq = pq;
    i->message = m;
    i->offset = m->queue_offset;
    TAILQ_INSERT_TAIL(&pq->pending, i, link);
    pq->item_count++;
    pq->item_bytes += message_bytes(m);
    if (!pq->consumer->orderly)
        give(i);
}

/* A message that cannot be read is passed over: it would hold its queue back for ever. False: the rest of the
 * answer is no messages at all, and nothing is known about what it should have been. */
static bool take_messages(struct process_queue *pq, struct str body)
{
    struct rd left = rd_of(body.p, body.len);
    struct stored s;
    struct err err;

    while (rd_left(&left) > 0) {
        const uint8_t *at = left.p;
        struct lmq_message *m;

        if (stored_next(&left, &s, &err) != 0) {
            LOG_WARN_EVERY(LOG_EVERY_MS, "bad answer to a pull",
                           "topic=%s broker=%s queue=%u next=%lld why=\"%s\"", pq->subscription->topic,
                           pq->group->name, pq->id, (long long)pq->next, err.text);
            if (left.p == at)
                return false;
            continue;
        }
        if (s.queue_offset >= pq->next)
            pq->next = s.queue_offset + 1;
        if (!pq->subscription->all && !tags_match(pq->subscription->tags, props_get(s.properties, "TAGS")))
            continue;
        m = message_from_stored(&s, pq->group->name, &err);
        if (m != NULL)
            add_item(pq, m);
        else
            LOG_WARN("message passed over", "topic=%s queue=%u offset=%lld why=\"%s\"",
                     pq->subscription->topic, pq->id, (long long)s.queue_offset, err.text);
    }
    return true;
}

/* ---- pulling ---- */

static void on_pulled(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct process_queue *pq = (struct process_queue *)call;
    int64_t before = pq->next, next;
    bool whole;

    pq->calling = false;
    if (err != 0 || (answer->code != RC_SUCCESS && answer->code != RC_PULL_NOT_FOUND &&
                     answer->code != RC_PULL_RETRY_IMMEDIATELY && answer->code != RC_PULL_OFFSET_MOVED)) {
        complain(pq, "pull", err, answer);
        return;
    }
    if (answer->code == RC_PULL_OFFSET_MOVED)
        LOG_WARN("offset out of range", "topic=%s queue=%u offset=%lld next=%lld", pq->subscription->topic,
                 pq->id, (long long)before, (long long)remoting_i64_or(answer, "nextBeginOffset", before));
    whole = answer->code != RC_SUCCESS || take_messages(pq, answer->body);
    next = remoting_i64_or(answer, "nextBeginOffset", pq->next);
    if (whole && (next > pq->next || (next >= 0 && answer->code == RC_PULL_OFFSET_MOVED)))
        pq->next = next;
    if (!whole)
        rest(pq, REST_FAILED_MS);
    else if (pq->next == before && now_of(pq) - pq->pulled_ms < REST_EMPTY_MS)
        rest(pq, REST_EMPTY_MS); /* nothing, and the broker did not wait for anything */
    else
        go_on(pq);
    if (pq->consumer->orderly)
        hand_out(pq);
}

static void pull(struct process_queue *pq)
{
    const struct lmq_options *o = options_of(pq);
    const struct subscription *s = pq->subscription;
    int64_t commit = pq->consumer->model == LMQ_CLUSTERING ? pq_committable(pq) : -1;
    struct remoting_out out;

    if (pq->item_count >= o->queue_messages_max || pq->item_bytes >= o->queue_bytes_max) {
        rest(pq, REST_FULL_MS);
        return;
    }
    begin_request(pq, PULL_MESSAGE, true, &out);
    remoting_put_i64(&out, "queueOffset", pq->next);
    remoting_put_i64(&out, "maxMsgNums", o->pull_batch);
    remoting_put_i64(&out, "sysFlag", PULL_SUBSCRIBED | PULL_SUSPEND | (commit > 0 ? PULL_COMMIT : 0));
    remoting_put_i64(&out, "commitOffset", commit > 0 ? commit : 0);
    remoting_put_i64(&out, "suspendTimeoutMillis", o->suspend_ms);
    remoting_put_str(&out, "subscription", str_of(s->tags));
    remoting_put_i64(&out, "subVersion", s->version);
    remoting_put_str(&out, "expressionType", STR("TAG"));
    pq->pulled_ms = now_of(pq);
    send_call(pq, &out, o->suspend_ms + PULL_SPARE_MS, o->suspend_ms + o->answer_ms, on_pulled);
}

static void go_on(struct process_queue *pq)
{
    pq->rest_until_ms = 0;
    if (pq->calling || atomic_load(&pq->dropped))
        return;
    switch (pq->state) {
    case PQ_LOCKING:
        pq_lock(pq);
        break;
    case PQ_FINDING_OFFSET:
        find_offset(pq);
        break;
    case PQ_PULLING:
        pull(pq);
        break;
    }
}

void pq_tick(struct process_queue *pq, uint64_t now_ms)
{
    if (pq->rest_until_ms != 0 && now_ms >= pq->rest_until_ms)
        go_on(pq);
    if (pq->consumer->orderly)
        hand_out(pq);
}

/* ---- offsets ---- */

int64_t pq_committable(const struct process_queue *pq)
{
    const struct item *first = TAILQ_FIRST(&pq->pending);

    if (pq->state != PQ_PULLING)
        return -1;
    return first != NULL ? first->offset : pq->next;
}

void pq_commit(struct process_queue *pq)
{
    int64_t offset = pq_committable(pq);
    struct remoting_out out;
    struct buf *frame;

    if (offset < 0 || offset == pq->stored)
        return;
    pq->stored = offset;
    if (pq->consumer->local != NULL) {
        local_offsets_put(pq->consumer->local, pq->subscription->topic, pq->group->name, pq->id, offset);
        return;
    }
    begin_request(pq, UPDATE_CONSUMER_OFFSET, true, &out);
    remoting_put_i64(&out, "commitOffset", offset);
    out.flag |= REMOTING_FLAG_ONEWAY;
    if (wire_request(&out, NULL, 0, &frame) == 0)
        line_oneway(pq->group->line, frame);
}

/* ---- results ---- */

static void free_if_over(struct process_queue *pq)
{
    if (!atomic_load(&pq->dropped) || !TAILQ_EMPTY(&pq->pending))
        return;
    if (pq->leaving) {
        TAILQ_REMOVE(&pq->consumer->leaving, pq, link);
        consumer_rebalance_soon(pq->consumer); /* it may be ours again and have waited for this */
    }
    free(pq);
}

static void try_later(struct item *i, uint32_t ms)
{
    i->message->reconsume_times++;
    i->due_ms = now_of(i->pq) + ms;
    TAILQ_INSERT_TAIL(&i->pq->consumer->retries, i, place);
    consumer_tick_soon(i->pq->consumer);
}

static void on_sent_back(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct item *i = (struct item *)((char *)call - offsetof(struct item, back));

    i->sending_back = false;
    if (err == 0 && answer->code == RC_SUCCESS)
        item_free(i);
    else
        try_later(i, options_of(i->pq)->retry_ms);
}

static void send_back(struct item *i)
{
    struct process_queue *pq = i->pq;
    struct remoting_out out;

    remoting_request(&out, REMOTING_BINARY, CONSUMER_SEND_MSG_BACK, 0, false);
    remoting_put_i64(&out, "offset", i->message->physical_offset);
    remoting_put_str(&out, "group", str_of(pq->consumer->group));
    remoting_put_i64(&out, "delayLevel", 0);
    remoting_put_str(&out, "originMsgId", str_of(lmq_message_id(i->message)));
    remoting_put_str(&out, "originTopic", str_of(i->message->topic));
    remoting_put_bool(&out, "unitMode", false);
    if (wire_request(&out, NULL, 0, &i->back.frame) != 0) {
        try_later(i, options_of(pq)->retry_ms);
        return;
    }
    i->back.deadline_ms = now_of(pq) + QUERY_TIMEOUT_MS;
    i->back.answer_ms = options_of(pq)->answer_ms;
    i->back.done = on_sent_back;
    i->sending_back = true;
    line_send(pq->group->line, &i->back);
}

/* What the next owner of the queue needs. A queue whose lock was refused has one already, who may be further
 * than we are. */
static void leave(struct process_queue *pq)
{
    bool asked = pq->locking;

    if (asked) /* tried again behind the unlock, it would lock for nobody */
        line_cancel(pq->group->line, &pq->lock_call);
    pq->locking = false;
    if (!needs_lock(pq) || pq->locked_ms != 0)
        pq_commit(pq);
    if (needs_lock(pq) && (pq->locked_ms != 0 || asked))
        unlock(pq);
}

void pq_consumed(void *arg)
{
    struct item *i = arg;
    struct process_queue *pq = i->pq;
    bool orderly = pq->consumer->orderly;

    i->out = false;
    if (atomic_load(&pq->dropped)) {
        if (orderly && i->ran && i->outcome == LMQ_CONSUMED)
            pq->next = i->offset + 1;
        else if (orderly)
            pq->next = i->offset;
        item_free(i);
        if (orderly)
            leave(pq);
        free_if_over(pq);
        return;
    }
    if (!i->ran)
        return; /* the consumer is being closed */
    if (i->outcome == LMQ_CONSUMED || (!orderly && pq->consumer->model == LMQ_BROADCASTING)) {
        item_free(i);
        pq->item_out = false;
        if (orderly)
            hand_out(pq);
    } else if (orderly) {
        try_later(i, ORDERLY_RETRY_MS);
    } else {
        send_back(i);
    }
}

void pq_retry(struct item *i)
{
    if (!lock_holds(i->pq)) {
        i->due_ms = now_of(i->pq) + ORDERLY_RETRY_MS;
        TAILQ_INSERT_TAIL(&i->pq->consumer->retries, i, place);
        return;
    }
    give(i);
}

/* ---- life ---- */

struct process_queue *pq_new(struct lmq_consumer *c, struct subscription *s, struct group *g, uint32_t id)
{
    struct process_queue *pq = calloc(1, sizeof(*pq));

    ENSURE(pq != NULL);
    pq->consumer = c;
    pq->subscription = s;
    pq->group = g;
    pq->id = id;
    pq->stored = -1;
    TAILQ_INIT(&pq->pending);
    TAILQ_INSERT_TAIL(&c->queues, pq, link);
    pq->state = needs_lock(pq) ? PQ_LOCKING : PQ_FINDING_OFFSET;
    go_on(pq);
    return pq;
}

/* Items that wait for their retry or for an answer to 36 are back at once; the pool returns the others. */
static void take_idle_items(struct process_queue *pq)
{
    struct item *i, *next;

    for (i = TAILQ_FIRST(&pq->consumer->retries); i != NULL; i = next) {
        next = TAILQ_NEXT(i, place);
        if (i->pq != pq)
            continue;
        TAILQ_REMOVE(&pq->consumer->retries, i, place);
        item_free(i);
    }
    for (i = TAILQ_FIRST(&pq->pending); i != NULL; i = next) {
        next = TAILQ_NEXT(i, link);
        if (i->sending_back)
            line_cancel(pq->group->line, &i->back);
        if (!i->out)
            item_free(i);
    }
}

void pq_drop(struct process_queue *pq)
{
    int64_t first = pq_committable(pq);

    if (pq->calling)
        line_cancel(pq->group->line, &pq->call);
    TAILQ_REMOVE(&pq->consumer->queues, pq, link);
    atomic_store(&pq->dropped, true);
    if (pq->consumer->orderly) {
        take_idle_items(pq);
        if (first >= 0)
            pq->next = first;
        pq->leaving = !TAILQ_EMPTY(&pq->pending);
        if (pq->leaving)
            TAILQ_INSERT_TAIL(&pq->consumer->leaving, pq, link); /* until the listener has returned */
        else
            leave(pq);
    } else {
        pq_commit(pq);
        take_idle_items(pq);
    }
    free_if_over(pq);
}
