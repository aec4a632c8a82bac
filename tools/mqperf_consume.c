/*
 * mqperf_consume.c - read queues by pulling, one request in flight per queue, and note what came.
 *
 *   reader: pull --0--> messages noted, pull from nextBeginOffset
 *                --19/20/21--> pull from nextBeginOffset
 *                --anything else--> rests until the next turn
 */
#include <stdlib.h>

#include "client/wire.h"
#include "common/clock.h"
#include "common/codes.h"
#include "tools/mqperf.h"

#define CONSUME_GROUP  "mqperf_consumer"
#define PULL_BATCH     32
#define SUSPEND_MS     500u
#define ANSWER_MS      3000u
#define SEEN_FIRST     65536u
#define SYS_SUSPEND    2
#define SYS_SUBSCRIBED 4

static void pull(struct reader *r);

static void seen_add(struct seen *s, const struct seen_message *m)
{
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? SEEN_FIRST : s->cap * 2;
        s->at = realloc(s->at, s->cap * sizeof(s->at[0]));
        ENSURE(s->at != NULL);
    }
    s->at[s->count++] = *m;
}

void seen_release(struct seen *s)
{
    free(s->at);
    memset(s, 0, sizeof(*s));
}

static void note_message(struct reader *r, const struct stored *m, uint64_t now_us)
{
    struct consumer *c = r->consumer;
    struct payload p = {0};
    struct seen_message note = {.queue = r->queue, .offset = (uint64_t)m->queue_offset};
    int rc = payload_read(&c->payload, m->body, &p);

    note.kind = rc == 0               ? (p.run == c->run_id ? SEEN_OURS : SEEN_FOREIGN)
                : rc == ERR_NOT_FOUND ? SEEN_FOREIGN
                                      : SEEN_DAMAGED;
    note.seq = p.seq;
    note.producer = p.producer;
    if (c->seen != NULL)
        seen_add(c->seen, &note);
    if (c->seen == NULL || note.kind == SEEN_OURS)
        figures_add(c->f, c->o, now_us, rc == 0 && now_us > p.sent_us ? now_us - p.sent_us : 0, 1,
                    m->body.len);
}

static void take_messages(struct reader *r, struct str body)
{
    struct rd left = rd_of(body.p, body.len);
    uint64_t now_us = clock_mono_us();
    struct stored m;
    struct err err;

    while (rd_left(&left) > 0) {
        if (stored_next(&left, &m, &err) != 0) {
            fprintf(stderr, "mqperf: bad message in an answer: %s\n", err.text);
            r->consumer->bad++;
            return;
        }
        note_message(r, &m, now_us);
    }
}

static void on_pulled(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct reader *r = (struct reader *)call;

    r->pulling = false;
    if (err == ERR_CLOSED)
        return;
    if (err != 0 || answer->code < RC_SUCCESS ||
        (answer->code != RC_SUCCESS && answer->code != RC_PULL_NOT_FOUND &&
         answer->code != RC_PULL_RETRY_IMMEDIATELY && answer->code != RC_PULL_OFFSET_MOVED)) {
        r->consumer->f->failed++;
        if (r->consumer->f->first_failure[0] == '\0')
            call_explain(call, err, answer, r->consumer->f->first_failure,
                         sizeof(r->consumer->f->first_failure));
        return;
    }
    r->end = (uint64_t)remoting_i64_or(answer, "maxOffset", (int64_t)r->end);
    if (answer->code == RC_SUCCESS)
        take_messages(r, answer->body);
    else if (answer->code == RC_PULL_OFFSET_MOVED)
        r->consumer->moved++;
    r->next = (uint64_t)remoting_i64_or(answer, "nextBeginOffset", (int64_t)r->next);
    if (r->next < r->until)
        pull(r);
}

static void pull(struct reader *r)
{
    struct consumer *c = r->consumer;
    const struct place_queue *q = &c->place->queues[r->queue];
    struct remoting_out out;

    remoting_request(&out, REMOTING_BINARY, PULL_MESSAGE, 0, false);
    remoting_put_str(&out, "consumerGroup", STR(CONSUME_GROUP));
    remoting_put_str(&out, "topic", str_of(c->o->topic));
    remoting_put_i64(&out, "queueId", q->id);
    remoting_put_i64(&out, "queueOffset", (int64_t)r->next);
    remoting_put_i64(&out, "maxMsgNums", PULL_BATCH);
    remoting_put_i64(&out, "sysFlag", SYS_SUSPEND | SYS_SUBSCRIBED);
    remoting_put_i64(&out, "commitOffset", 0);
    remoting_put_i64(&out, "suspendTimeoutMillis", SUSPEND_MS);
    remoting_put_str(&out, "subscription", STR("*"));
    remoting_put_i64(&out, "subVersion", 0);
    remoting_put_str(&out, "expressionType", STR("TAG"));
    if (remoting_encode(&out, NULL, 0, &r->call.frame) != 0)
        fatal("a pull does not fit a frame");
    r->call.deadline_ms = loop_now_ms(c->place->loop) + c->o->timeout_ms + SUSPEND_MS;
    r->call.answer_ms = ANSWER_MS + SUSPEND_MS;
    r->call.flags = 0;
    r->call.done = on_pulled;
    r->pulling = true;
    line_send(r->line, &r->call);
}

static void on_trouble(void *user)
{
    struct consumer_line *l = user;

    place_trouble(l->consumer->place, l->group);
}

static const struct line_ops consumer_ops = {.on_trouble = on_trouble};

void consumer_start(struct consumer *c, struct place *place, const struct perf_options *o, struct figures *f,
                    struct seen *seen, uint64_t run_id, const uint64_t *from)
{
    uint32_t lines = place->group_count * o->connections;

    memset(c, 0, sizeof(*c));
    c->place = place;
    c->o = o;
    c->f = f;
    c->seen = seen;
    c->run_id = run_id;
    payload_init(&c->payload, BODY_MAX);
    c->lines = calloc(lines, sizeof(c->lines[0]));
    c->readers = calloc(place->queue_count, sizeof(c->readers[0]));
    ENSURE(c->lines != NULL && c->readers != NULL);
    c->line_count = lines;
    for (uint32_t i = 0; i < lines; i++) {
        c->lines[i] = (struct consumer_line){c, i % place->group_count, NULL};
        c->lines[i].line = place_line(place, c->lines[i].group, &consumer_ops, &c->lines[i]);
    }
    f->what = "consume";
    f->begin_us = clock_mono_us();
    for (uint32_t i = 0; i < place->queue_count; i++) {
        uint32_t lane = i / place->group_count % o->connections;

        c->readers[i].consumer = c;
        c->readers[i].queue = i;
        c->readers[i].line = c->lines[lane * place->group_count + place->queues[i].group].line;
        c->readers[i].next = from != NULL ? from[i] : 0;
        c->readers[i].until = UINT64_MAX;
        pull(&c->readers[i]);
    }
}

void consumer_prefer(struct consumer *c, uint32_t group, const char *address)
{
    for (uint32_t i = 0; i < c->line_count; i++)
        if (c->lines[i].group == group)
            line_prefer(c->lines[i].line, address);
}

bool consumer_turn(struct consumer *c)
{
    bool all = true;

    for (uint32_t i = 0; i < c->place->queue_count; i++) {
        struct reader *r = &c->readers[i];

        if (r->next < r->until)
            all = false;
        if (!r->pulling && r->next < r->until)
            pull(r);
    }
    return all;
}

void consumer_until(struct consumer *c, const uint64_t *ends)
{
    for (uint32_t i = 0; i < c->place->queue_count; i++)
        c->readers[i].until = ends[i];
}

void consumer_release(struct consumer *c)
{
    c->f->end_us = clock_mono_us();
    for (uint32_t i = 0; i < c->line_count; i++)
        line_free(c->lines[i].line);
    free(c->lines);
    free(c->readers);
    payload_release(&c->payload);
}
