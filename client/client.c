/* client.c - a client's life, its thread, and questions that wait for their answer. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/internal.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"
#include "common/rng.h"

/* ---- work for the loop ---- */

struct run {
    void (*fn)(void *arg);
    void *arg;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
};

bool client_on_loop(const struct lmq_client *c)
{
    return pthread_equal(pthread_self(), c->thread) != 0;
}

void client_post(struct lmq_client *c, void (*fn)(void *arg), void *arg)
{
    loop_post(c->loop, fn, arg);
}

static void run_done(struct run *r)
{
    pthread_mutex_lock(&r->mutex);
    r->done = true;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->mutex);
}

static void run_wait(struct run *r)
{
    pthread_mutex_lock(&r->mutex);
    while (!r->done)
        pthread_cond_wait(&r->cond, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->cond);
}

static void run_init(struct run *r, void (*fn)(void *arg), void *arg)
{
    *r = (struct run){.fn = fn, .arg = arg};
    ENSURE(pthread_mutex_init(&r->mutex, NULL) == 0);
    ENSURE(pthread_cond_init(&r->cond, NULL) == 0);
}

static void on_run(void *arg)
{
    struct run *r = arg;

    r->fn(r->arg);
    run_done(r);
}

void client_run(struct lmq_client *c, void (*fn)(void *arg), void *arg)
{
    struct run r;

    if (client_on_loop(c)) {
        fn(arg);
        return;
    }
    run_init(&r, fn, arg);
    client_post(c, on_run, &r);
    run_wait(&r);
}

/* ---- questions ---- */

struct question {
    struct call call; /* first */
    struct run run;
    struct lmq_client *client;
    const char *broker;
    uint32_t timeout_ms;
    struct reply *reply;
};

static void keep_reply(struct reply *r, const struct remoting_cmd *answer)
{
    r->code = answer->code;
    r->body = buf_copy(answer->body.p, answer->body.len);
    r->offset = remoting_i64_or(answer, "offset", -1);
    r->next = remoting_i64_or(answer, "nextBeginOffset", -1);
    r->min = remoting_i64_or(answer, "minOffset", -1);
    r->max = remoting_i64_or(answer, "maxOffset", -1);
}

static void on_answer(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct question *q = (struct question *)call;

    q->reply->err = err;
    call_explain(call, err, answer, q->reply->why, sizeof(q->reply->why));
    if (err == 0)
        keep_reply(q->reply, answer);
    run_done(&q->run);
}

static void send_question(void *arg)
{
    struct question *q = arg;
    struct group *g = group_find(q->client, q->broker);

    if (g == NULL) {
        q->reply->err = ERR_NO_ROUTE;
        snprintf(q->reply->why, sizeof(q->reply->why), "broker %s is not known", q->broker);
        buf_unref(q->call.frame);
        run_done(&q->run);
        return;
    }
    q->call.deadline_ms = loop_now_ms(q->client->loop) + q->timeout_ms;
    line_send(g->line, &q->call);
}

void client_ask(struct lmq_client *c, const char *broker, struct remoting_out *out, const void *body,
                size_t body_len, uint32_t timeout_ms, uint32_t answer_ms, struct reply *reply)
{
    struct question q = {.client = c, .broker = broker, .timeout_ms = timeout_ms, .reply = reply};

    memset(reply, 0, sizeof(*reply));
    reply->err = wire_request(out, body, body_len, &q.call.frame);
    if (reply->err != 0) {
        snprintf(reply->why, sizeof(reply->why), "request does not fit a frame");
        return;
    }
    q.call.answer_ms = answer_ms;
    q.call.done = on_answer;
    run_init(&q.run, NULL, NULL);
    client_post(c, send_question, &q);
    run_wait(&q.run);
}

void reply_release(struct reply *r)
{
    buf_unref(r->body);
    r->body = NULL;
}

/* ---- life ---- */

static void *thread_main(void *arg)
{
    struct lmq_client *c = arg;

    loop_run(c->loop);
    return NULL;
}

static void begin(void *arg)
{
    directory_init(arg);
}

static void end(void *arg)
{
    struct lmq_client *c = arg;

    directory_release(c);
    groups_release(c);
    loop_stop(c->loop);
}

static void add_sources(struct lmq_client *c, const char *text, bool namesrv)
{
    static const char between[] = ";, ";

    for (const char *p = text + strspn(text, between); *p != '\0'; p += strspn(p, between)) {
        size_t len = strcspn(p, between);
        struct source *s = &c->sources[c->source_count];

        if (c->source_count < CLIENT_ADDRESSES_MAX &&
            str_copy((struct str){p, len}, s->address, sizeof(s->address))) {
            s->namesrv = namesrv;
            c->namesrv_count += namesrv;
            c->source_count++;
        }
        p += len;
    }
}

static lmq_status check_sources(const struct lmq_client *c, lmq_error *error)
{
    char host[ADDRESS_MAX];
    uint16_t port;

    if (c->source_count == 0)
        return client_fail(error, LMQ_INVALID, "neither namesrvAddr nor brokerAddr is set");
    for (uint32_t i = 0; i < c->source_count; i++)
        if (addr_split(str_of(c->sources[i].address), host, sizeof(host), &port) != 0)
            return client_fail(error, LMQ_INVALID, "\"%s\" is not an address (host:port)",
                               c->sources[i].address);
    return LMQ_OK;
}

/* ip@instance, as Java clients call themselves. */
static void make_id(struct lmq_client *c)
{
    char id[UNIQ_CHARS];
    unsigned ip[4];

    uniq_init(&c->uniq, rng_entropy());
    uniq_make(&c->uniq, clock_wall_ms(), id);
    for (int i = 0; i < 4; i++) {
        char hex[3] = {id[2 * i], id[2 * i + 1], '\0'};

        ip[i] = (unsigned)strtoul(hex, NULL, 16);
    }
    if (c->options.instance[0] != '\0')
        snprintf(c->id, sizeof(c->id), "%u.%u.%u.%u@%.100s", ip[0], ip[1], ip[2], ip[3], c->options.instance);
    else
        snprintf(c->id, sizeof(c->id), "%u.%u.%u.%u@%d#%016llx", ip[0], ip[1], ip[2], ip[3], (int)getpid(),
                 (unsigned long long)rng_entropy());
}

lmq_status lmq_client_new(const lmq_options *options, lmq_client **out, lmq_error *error)
{
    lmq_client *c = calloc(1, sizeof(*c));
    lmq_status s;

    ENSURE(c != NULL);
    *out = NULL;
    c->options = *options;
    add_sources(c, c->options.namesrv, true);
    add_sources(c, c->options.brokers, false);
    s = check_sources(c, error);
    if (s != LMQ_OK) {
        free(c);
        return s;
    }
    make_id(c);
    TAILQ_INIT(&c->topics);
    TAILQ_INIT(&c->producers);
    TAILQ_INIT(&c->consumers);
    c->loop = loop_new();
    if (pthread_create(&c->thread, NULL, thread_main, c) != 0) {
        loop_free(c->loop);
        free(c);
        return client_fail(error, LMQ_IO, "cannot start a thread");
    }
    client_run(c, begin, c);
    *out = c;
    return LMQ_OK;
}

void lmq_client_free(lmq_client *c)
{
    if (c == NULL)
        return;
    ENSURE(!client_on_loop(c));
    client_post(c, end, c);
    pthread_join(c->thread, NULL);
    loop_free(c->loop);
    free(c);
}

const char *lmq_client_id(const lmq_client *c)
{
    return c->id;
}
