/*
 * producer.c - messages out.
 *
 *   application thread                          the client's thread
 *   wait for room, copy, compress, give an id
 *   post ------------------------------------> route of the topic (or of TBW102, for a new one)
 *                                              -> queue -> frame -> line --answer--> result
 *                                                   ^                  |
 *                                                   +---another group--+  refused for now, or silent
 *
 * A send holds its room from before the post until its callback has returned; what that callback sends has
 * the room before anybody else. A one-way send holds it until the kernel has its frame: nothing else would
 * hold back a program that sends faster than the broker reads.
 *
 * Within a group the line finds the leader by itself. Only a message that is free to go to any queue goes to
 * another group.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/rng.h"

#define RC_FLUSH_DISK_TIMEOUT  10 /* these three: stored, as the broker's settings say */
#define RC_SLAVE_NOT_AVAILABLE 11
#define RC_FLUSH_SLAVE_TIMEOUT 12
#define RC_NO_BUYER_ID         204
#define RC_NOT_IN_UNIT         205
#define GROUPS_TRIED_MAX       3u /* a message waits at each at most its share of the timeout */
#define UNIQ_PROPERTY          "UNIQ_KEY"
#define UNIQ_PROPERTY_BYTES    (sizeof(UNIQ_PROPERTY) + UNIQ_CHARS + 1)

struct sending {
    struct call call; /* first */
    struct lmq_producer *producer;
    struct send_fields fields; /* texts in tail[] */
    struct str body;
    uint64_t deadline_ms;
    size_t bytes;
    int32_t hash;                /* of the sharding key */
    lmq_queue_selector selector; /* or NULL */
    void *selector_arg;
    bool by_key, pinned, borrowed;
    uint32_t groups_tried;
    char broker[ROUTE_NAME_MAX]; /* chosen, or wanted when pinned */
    char avoid[ROUTE_NAME_MAX];  /* failed there */
    char id[UNIQ_CHARS + 1];
    lmq_send_callback callback;
    void *arg;
    uint8_t tail[]; /* topic, properties, body */
};

static void on_done(struct call *call, int err, const struct remoting_cmd *answer);
static void on_written(struct call *call, int err, const struct remoting_cmd *answer);
static void find_queue(struct sending *s);

/* ---- the end of a send ---- */

/* The room of the send whose callback runs. Producer locked. */
static void give_back(struct lmq_producer *p)
{
    if (!p->ending)
        return;
    p->ending = false;
    p->in_flight--;
    p->in_flight_bytes -= p->ending_bytes;
    pthread_cond_broadcast(&p->room);
}

static void end_send(struct sending *s, const lmq_send_result *result, const lmq_error *error)
{
    struct lmq_producer *p = s->producer;

    pthread_mutex_lock(&p->mutex);
    p->ending = true;
    p->ending_bytes = s->bytes;
    pthread_mutex_unlock(&p->mutex);
    if (s->callback != NULL)
        s->callback(s->arg, result, error);
    free(s);
    pthread_mutex_lock(&p->mutex);
    give_back(p);
    pthread_mutex_unlock(&p->mutex);
}

static void fail_send(struct sending *s, int err, int32_t code, const char *why)
{
    lmq_error error;

    if (code != 0)
        client_fail_answer(&error, code, why);
    else
        client_fail_err(&error, err, why);
    end_send(s, NULL, &error);
}

static void succeed(struct sending *s, const struct remoting_cmd *answer)
{
    lmq_send_result r = {.queue_offset = remoting_i64_or(answer, "queueOffset", -1),
                         .queue_id = (int32_t)remoting_i64_or(answer, "queueId", -1)};
    struct str ids = remoting_str(answer, "msgId");
    const char *comma = ids.len > 0 ? memchr(ids.p, ',', ids.len) : NULL;

    if (comma != NULL)
        ids.len = (size_t)(comma - ids.p);
    if (!str_copy(ids, r.offset_id, sizeof(r.offset_id)))
        r.offset_id[0] = '\0';
    snprintf(r.message_id, sizeof(r.message_id), "%s", s->id);
    snprintf(r.broker, sizeof(r.broker), "%s", s->broker);
    end_send(s, &r, NULL);
}

/* ---- queues ---- */

static bool is_avoided(const struct sending *s, const struct route *r, uint32_t at)
{
    return s->avoid[0] != '\0' && strcmp(route_write_queue(r, at).broker->name, s->avoid) == 0;
}

/* Round robin, past the broker that failed if there is another. */
static uint32_t next_in_turn(struct sending *s, const struct route *r, uint32_t queues)
{
    uint32_t at = s->producer->turn++ % queues;

    for (uint32_t i = 0; i < queues && is_avoided(s, r, at); i++)
        at = (at + 1) % queues;
    return at;
}

/* The program chooses. */
static int64_t selected(struct sending *s, const struct route *r, uint32_t queues)
{
    lmq_queue *list = calloc(queues, sizeof(*list));
    int64_t at;

    ENSURE(list != NULL);
    for (uint32_t i = 0; i < queues; i++) {
        struct queue_at q = route_write_queue(r, i);

        snprintf(list[i].topic, sizeof(list[i].topic), "%s", s->fields.topic.p);
        snprintf(list[i].broker, sizeof(list[i].broker), "%s", q.broker->name);
        list[i].id = (int32_t)q.id;
    }
    at = s->selector(s->selector_arg, list, queues);
    free(list);
    return at;
}

static bool choose(struct sending *s, const struct route *r)
{
    uint32_t queues = route_write_queues(r);
    int64_t at;
    struct queue_at q;

    if (s->pinned)
        return route_find(r, s->broker) != NULL;
    if (queues == 0)
        return false;
    at = s->selector != NULL ? selected(s, r, queues)
         : s->by_key         ? (int64_t)(((uint32_t)s->hash & INT32_MAX) % queues)
                             : next_in_turn(s, r, queues);
    if (at < 0 || at >= queues)
        return false;
    q = route_write_queue(r, (uint32_t)at);
    snprintf(s->broker, sizeof(s->broker), "%s", q.broker->name);
    s->fields.queue_id = (int32_t)(s->borrowed ? q.id % DEFAULT_TOPIC_QUEUES : q.id);
    return true;
}

static bool may_go_elsewhere(const struct sending *s)
{
    const struct route *r =
        directory_route(s->producer->client, s->borrowed ? DEFAULT_TOPIC : s->fields.topic.p);

    if (s->pinned || s->by_key || s->selector != NULL || r == NULL)
        return false;
    for (uint32_t i = 0; i < r->broker_count; i++)
        if (strcmp(r->brokers[i].name, s->broker) != 0 && r->brokers[i].write_queues > 0)
            return true;
    return false;
}

static void send_now(struct sending *s)
{
    struct lmq_client *c = s->producer->client;
    struct group *g = group_find(c, s->broker);
    uint64_t now_ms = loop_now_ms(c->loop);
    char why[LMQ_ERROR_TEXT_MAX];

    if (g == NULL) {
        snprintf(why, sizeof(why), "no address of broker %s is known", s->broker);
        fail_send(s, ERR_NO_ROUTE, 0, why);
        return;
    }
    if (wire_send(&s->fields, s->body.p, s->body.len, &s->call.frame) != 0) {
        fail_send(s, ERR_TOO_LARGE, 0, "message does not fit a frame");
        return;
    }
    s->call.deadline_ms = s->deadline_ms;
    if (!s->fields.oneway && may_go_elsewhere(s) &&
        now_ms + c->options.send_timeout_ms / GROUPS_TRIED_MAX < s->deadline_ms)
        s->call.deadline_ms = now_ms + c->options.send_timeout_ms / GROUPS_TRIED_MAX;
    s->call.answer_ms = c->options.answer_ms;
    s->call.flags = s->fields.oneway ? CALL_ONEWAY : 0;
    s->call.done = s->fields.oneway ? on_written : on_done;
    line_send(g->line, &s->call);
}

/* ---- answers ---- */

static bool is_stored(int32_t code)
{
    return code == RC_SUCCESS || code == RC_FLUSH_DISK_TIMEOUT || code == RC_SLAVE_NOT_AVAILABLE ||
           code == RC_FLUSH_SLAVE_TIMEOUT;
}

/* What may be different at another broker. */
static bool is_local(int32_t code)
{
    return code == RC_SYSTEM_ERROR || code == RC_SYSTEM_BUSY || code == RC_SERVICE_NOT_AVAILABLE ||
           code == RC_NO_PERMISSION || code == RC_TOPIC_NOT_EXIST || code == RC_NO_BUYER_ID ||
           code == RC_NOT_IN_UNIT;
}

static void on_done(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct sending *s = (struct sending *)call;
    char why[LMQ_ERROR_TEXT_MAX], words[LMQ_ERROR_TEXT_MAX - 160];

    if (err == 0 && is_stored(answer->code)) {
        succeed(s, answer);
        return;
    }
    if (err != ERR_CLOSED && (err != 0 || is_local(answer->code)) &&
        loop_now_ms(s->producer->client->loop) < s->deadline_ms && ++s->groups_tried < GROUPS_TRIED_MAX &&
        may_go_elsewhere(s)) {
        snprintf(s->avoid, sizeof(s->avoid), "%s", s->broker);
        find_queue(s);
        return;
    }
    call_explain(call, err, answer, words, sizeof(words));
    snprintf(why, sizeof(why), "send to broker %.100s: %s", s->broker, words);
    fail_send(s, err, answer != NULL ? answer->code : 0, why);
}

/* One-way: nobody wants to know. */
static void on_written(struct call *call, int err, const struct remoting_cmd *answer)
{
    (void)err, (void)answer;
    end_send((struct sending *)call, NULL, NULL);
}

/* ---- routes ---- */

static const char *no_choice(const struct sending *s)
{
    return s->selector != NULL ? "the selector chose none of its queues, or it has none that can be written"
                               : "it has no queue that can be written";
}

static void on_template(void *arg, int err, const struct route *route, const char *why)
{
    struct sending *s = arg;
    char text[LMQ_ERROR_TEXT_MAX];

    s->borrowed = true;
    if (err == 0 && choose(s, route)) {
        send_now(s);
        return;
    }
    snprintf(text, sizeof(text), "topic %.100s does not exist, nor a template for it: %.150s",
             s->fields.topic.p, err != 0 ? why : no_choice(s));
    fail_send(s, err != 0 ? err : ERR_NO_ROUTE, 0, text);
}

static void on_route(void *arg, int err, const struct route *route, const char *why)
{
    struct sending *s = arg;
    char text[LMQ_ERROR_TEXT_MAX];

    if (err == ERR_NO_ROUTE && !s->pinned) {
        directory_want(s->producer->client, DEFAULT_TOPIC, s->deadline_ms, on_template, s);
    } else if (err != 0) {
        fail_send(s, err, 0, why);
    } else if (!choose(s, route)) {
        snprintf(text, sizeof(text), "topic %.200s: %s", s->fields.topic.p, no_choice(s));
        fail_send(s, ERR_NO_ROUTE, 0, text);
    } else {
        s->borrowed = false;
        send_now(s);
    }
}

static void find_queue(struct sending *s)
{
    directory_want(s->producer->client, s->fields.topic.p, s->deadline_ms, on_route, s);
}

static void begin_send(void *arg)
{
    find_queue(arg);
}

/* ---- before the loop ---- */

/* Room for one more, or LMQ_BUSY. The first is let in however large it is. On the client's thread a callback
 * runs: its send is over. */
static lmq_status take_room(struct lmq_producer *p, size_t bytes, uint64_t deadline_ms, lmq_error *error)
{
    const struct lmq_options *o = &p->client->options;
    struct timespec until = {(time_t)(deadline_ms / 1000), (long)(deadline_ms % 1000) * 1000000};
    bool in_callback = client_on_loop(p->client);
    int rc = in_callback ? ETIMEDOUT : 0;

    pthread_mutex_lock(&p->mutex);
    if (in_callback)
        give_back(p);
    while (p->in_flight >= o->in_flight_messages ||
           (p->in_flight > 0 && p->in_flight_bytes + bytes > o->in_flight_bytes)) {
        if (rc != 0) {
            uint32_t n = p->in_flight;

            pthread_mutex_unlock(&p->mutex);
            return client_fail(error, LMQ_BUSY,
                               "%u sends are in flight: maxInFlightMessages or maxInFlightBytes is reached",
                               n);
        }
        rc = pthread_cond_timedwait(&p->room, &p->mutex, &until);
    }
    p->in_flight++;
    p->in_flight_bytes += bytes;
    pthread_mutex_unlock(&p->mutex);
    return LMQ_OK;
}

static void make_id(struct lmq_producer *p, char id[UNIQ_CHARS + 1])
{
    pthread_mutex_lock(&p->mutex);
    uniq_make(&p->uniq, clock_wall_ms(), id);
    pthread_mutex_unlock(&p->mutex);
    id[UNIQ_CHARS] = '\0';
}

static void put_id(struct wr *w, const char *id)
{
    wr_bytes(w, UNIQ_PROPERTY "\1", sizeof(UNIQ_PROPERTY));
    wr_bytes(w, id, UNIQ_CHARS);
    wr_u8(w, 2);
}

/* Topic with NUL, properties and body behind each other in one piece of memory. */
static struct sending *sending_new(struct lmq_producer *p, const lmq_message *m, struct str properties,
                                   bool with_id, struct str body)
{
    size_t topic_len = strlen(m->topic),
           room = topic_len + 1 + properties.len + UNIQ_PROPERTY_BYTES + body.len;
    struct sending *s = calloc(1, sizeof(*s) + room);
    struct wr w;

    ENSURE(s != NULL);
    w = wr_of(s->tail, room);
    s->producer = p;
    s->fields.group = str_of(p->group);
    s->fields.topic = (struct str){(const char *)w.p, topic_len};
    wr_bytes(&w, m->topic, topic_len + 1);
    s->fields.properties.p = (const char *)w.p;
    wr_bytes(&w, properties.p, properties.len);
    if (with_id)
        put_id(&w, s->id);
    s->fields.properties.len = (size_t)((const char *)w.p - s->fields.properties.p);
    s->body = (struct str){(const char *)w.p, body.len};
    wr_bytes(&w, body.p, body.len);
    ENSURE(!w.full);
    if (with_id) {
        make_id(p, s->id);
        memcpy((char *)(uintptr_t)s->fields.properties.p + properties.len + sizeof(UNIQ_PROPERTY), s->id,
               UNIQ_CHARS);
    }
    s->fields.flag = m->flag;
    s->fields.born_ms = clock_wall_ms();
    s->deadline_ms = clock_mono_ms() + p->client->options.send_timeout_ms;
    s->bytes = room;
    s->pinned = m->queue_id >= 0 && m->broker[0] != '\0' && m->offset_id[0] == '\0';
    if (s->pinned) {
        snprintf(s->broker, sizeof(s->broker), "%s", m->broker);
        s->fields.queue_id = m->queue_id;
    }
    if (m->sharding_key != NULL) {
        s->by_key = true;
        s->hash = java_hash(str_of(m->sharding_key));
    }
    s->selector = m->selector;
    s->selector_arg = m->selector_arg;
    return s;
}

static struct str properties_of(const lmq_message *m)
{
    return (struct str){(const char *)m->props, m->props_len};
}

static lmq_status prepare(struct lmq_producer *p, const lmq_message *m, struct sending **out,
                          lmq_error *error)
{
    const struct lmq_options *o = &p->client->options;
    struct str body = {(const char *)m->body, m->body_size};
    uint8_t *small = NULL;
    int32_t sys_flag = 0;

    if (m->body_size > o->max_message_bytes)
        return client_fail(error, LMQ_TOO_LARGE, "body of %zu bytes is over maxMessageSize (%u)",
                           m->body_size, o->max_message_bytes);
    if (m->body_size == 0)
        return client_fail(error, LMQ_INVALID, "a message must have a body");
    if (m->props_len + UNIQ_PROPERTY_BYTES > PROPERTIES_MAX)
        return client_fail(error, LMQ_TOO_LARGE, "properties of %zu bytes are over %u", m->props_len,
                           PROPERTIES_MAX);
    if (m->body_size >= o->compress_over_bytes && o->compress_over_bytes > 0 &&
        body_deflate(m->body, m->body_size, &small, &body.len) == 0) {
        body.p = (const char *)small;
        sys_flag = SYS_COMPRESSED;
    }
    *out = sending_new(p, m, properties_of(m), props_get(properties_of(m), UNIQ_PROPERTY).len == 0, body);
    (*out)->fields.sys_flag = sys_flag;
    free(small);
    return LMQ_OK;
}

static lmq_status prepare_batch(struct lmq_producer *p, const lmq_message *const *m, size_t count,
                                struct sending **out, lmq_error *error)
{
    struct bld body = bld_of(BODY_MAX);
    char first_id[UNIQ_CHARS + 1], id[UNIQ_CHARS + 1];
    uint8_t properties[PROPERTIES_MAX];
    struct buf *b;

    if (count == 0 || count > BATCH_MAX)
        return client_fail(error, LMQ_INVALID, "a batch has 1 to %u messages", BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        struct wr w = wr_of(properties, sizeof(properties));

        if (strcmp(m[i]->topic, m[0]->topic) != 0 || m[i]->sharding_key != NULL || m[i]->selector != NULL ||
            m[i]->body_size == 0) {
            bld_drop(&body);
            return client_fail(
                error, LMQ_INVALID,
                "message %zu of the batch has another topic, a sharding key, a selector or no body", i);
        }
        make_id(p, i == 0 ? first_id : id);
        wr_bytes(&w, m[i]->props, m[i]->props_len);
        put_id(&w, i == 0 ? first_id : id);
        if (w.full)
            body.full = true;
        else
            batch_put(&body, m[i]->flag, (struct str){(const char *)properties, (size_t)(w.p - properties)},
                      (struct str){(const char *)m[i]->body, m[i]->body_size});
    }
    b = bld_take(&body);
    if (b == NULL || b->len > p->client->options.max_message_bytes) {
        buf_unref(b);
        return client_fail(error, LMQ_TOO_LARGE, "batch is over maxMessageSize (%u bytes)",
                           p->client->options.max_message_bytes);
    }
    *out = sending_new(p, m[0], (struct str){NULL, 0}, false, (struct str){(const char *)b->data, b->len});
    memcpy((*out)->id, first_id, sizeof(first_id));
    (*out)->fields.batch = true;
    buf_unref(b);
    return LMQ_OK;
}

/* ---- the door ---- */

lmq_status lmq_producer_send_async(lmq_producer *p, const lmq_message *m, lmq_send_callback callback,
                                   void *arg, lmq_error *error)
{
    struct sending *s;
    lmq_status st = prepare(p, m, &s, error);

    if (st != LMQ_OK)
        return st;
    s->callback = callback;
    s->arg = arg;
    st = take_room(p, s->bytes, s->deadline_ms, error);
    if (st != LMQ_OK) {
        free(s);
        return st;
    }
    client_post(p->client, begin_send, s);
    return LMQ_OK;
}

lmq_status lmq_producer_send_oneway(lmq_producer *p, const lmq_message *m, lmq_error *error)
{
    struct sending *s;
    lmq_status st = prepare(p, m, &s, error);

    if (st != LMQ_OK)
        return st;
    s->fields.oneway = true;
    st = take_room(p, s->bytes, s->deadline_ms, error);
    if (st != LMQ_OK) {
        free(s);
        return st;
    }
    client_post(p->client, begin_send, s);
    return LMQ_OK;
}

struct wait {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    lmq_status status;
    lmq_send_result *result;
    lmq_error *error;
};

static void on_sync(void *arg, const lmq_send_result *result, const lmq_error *error)
{
    struct wait *w = arg;

    pthread_mutex_lock(&w->mutex);
    w->status = error != NULL ? error->status : LMQ_OK;
    if (error != NULL && w->error != NULL)
        *w->error = *error;
    if (result != NULL && w->result != NULL)
        *w->result = *result;
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static lmq_status send_and_wait(lmq_producer *p, struct sending *s, lmq_send_result *result, lmq_error *error)
{
    struct wait w = {.result = result, .error = error};
    lmq_status st = take_room(p, s->bytes, s->deadline_ms, error);

    if (st != LMQ_OK) {
        free(s);
        return st;
    }
    ENSURE(pthread_mutex_init(&w.mutex, NULL) == 0);
    ENSURE(pthread_cond_init(&w.cond, NULL) == 0);
    s->callback = on_sync;
    s->arg = &w;
    client_post(p->client, begin_send, s);
    pthread_mutex_lock(&w.mutex);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    pthread_mutex_destroy(&w.mutex);
    pthread_cond_destroy(&w.cond);
    return w.status;
}

lmq_status lmq_producer_send(lmq_producer *p, const lmq_message *m, lmq_send_result *result, lmq_error *error)
{
    struct sending *s;
    lmq_status st;

    if (client_on_loop(p->client))
        return client_fail(error, LMQ_INVALID, "a callback must not wait for a send");
    st = prepare(p, m, &s, error);
    return st != LMQ_OK ? st : send_and_wait(p, s, result, error);
}

lmq_status lmq_producer_send_batch(lmq_producer *p, const lmq_message *const *messages, size_t count,
                                   lmq_send_result *result, lmq_error *error)
{
    struct sending *s;
    lmq_status st;

    if (client_on_loop(p->client))
        return client_fail(error, LMQ_INVALID, "a callback must not wait for a send");
    st = prepare_batch(p, messages, count, &s, error);
    return st != LMQ_OK ? st : send_and_wait(p, s, result, error);
}

lmq_status lmq_producer_flush(lmq_producer *p, uint32_t timeout_ms)
{
    uint64_t end_ms = clock_mono_ms() + timeout_ms;
    struct timespec until = {(time_t)(end_ms / 1000), (long)(end_ms % 1000) * 1000000};
    lmq_status st = LMQ_OK;

    pthread_mutex_lock(&p->mutex);
    while (p->in_flight > 0 && st == LMQ_OK)
        if (pthread_cond_timedwait(&p->room, &p->mutex, &until) == ETIMEDOUT)
            st = LMQ_TIMEOUT;
    pthread_mutex_unlock(&p->mutex);
    return st;
}

static void join_client(void *arg)
{
    struct lmq_producer *p = arg;

    TAILQ_INSERT_TAIL(&p->client->producers, p, link);
    heartbeat_soon(p->client);
}

static void leave_client(void *arg)
{
    struct lmq_producer *p = arg;

    TAILQ_REMOVE(&p->client->producers, p, link);
    unregister(p->client, p->group, NULL);
}

lmq_status lmq_producer_new(lmq_client *client, const char *group, lmq_producer **out, lmq_error *error)
{
    struct lmq_producer *p = calloc(1, sizeof(*p));
    pthread_condattr_t attr;

    ENSURE(p != NULL);
    *out = NULL;
    p->client = client;
    if (group == NULL || group[0] == '\0' || !str_copy(str_of(group), p->group, sizeof(p->group))) {
        free(p);
        return client_fail(error, LMQ_INVALID, "a producer group has a name of 1 to %zu bytes",
                           sizeof(p->group) - 1);
    }
    ENSURE(pthread_mutex_init(&p->mutex, NULL) == 0);
    ENSURE(pthread_condattr_init(&attr) == 0);
    ENSURE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ENSURE(pthread_cond_init(&p->room, &attr) == 0);
    pthread_condattr_destroy(&attr);
    uniq_init(&p->uniq, rng_entropy());
    p->turn = (uint32_t)rng_entropy(); /* not all clients begin with queue 0 */
    client_run(client, join_client, p);
    *out = p;
    return LMQ_OK;
}

void lmq_producer_free(lmq_producer *p)
{
    if (p == NULL)
        return;
    while (lmq_producer_flush(p, p->client->options.send_timeout_ms) != LMQ_OK)
        continue; /* every send ends by its own deadline */
    client_run(p->client, leave_client, p);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->room);
    free(p);
}
