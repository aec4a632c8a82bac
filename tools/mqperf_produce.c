/*
 * mqperf_produce.c - lanes that send, closed loop (window 1) or pipelined.
 *
 *   slot: idle --send--> in flight --answer--> recorded --> send the next
 *
 * A slot's call and its message live as long as the lane; a send costs one encoded frame and nothing else.
 * A message keeps its number however often the line sends it.
 */
#include <stdlib.h>

#include "client/wire.h"
#include "common/clock.h"
#include "common/codes.h"
#include "tools/mqperf.h"

#define ANSWER_MS       1500u /* silence of a replica before its calls go to the next */
#define TURN_MS         20u
#define PROGRESS_US     1000000u
#define PROPERTY_MAX    64u
#define BATCH_MAX_BYTES (4u * 1024 * 1024 + 65536u)

struct lane;

struct slot {
    struct call call; /* first: the call is the slot */
    struct lane *lane;
    uint64_t seq, sent_us;
    uint32_t queue;
};

struct lane_line {
    struct run *run;
    uint32_t group;
    struct line *line;
};

struct lane {
    struct run *run;
    uint32_t producer;
    uint64_t next_seq;
    uint32_t next_queue;
    struct lane_line *lines; /* by group */
    struct slot *slots;
};

struct run {
    struct place *place;
    const struct perf_options *o;
    struct acks *acks;
    struct figures *f;
    struct payload_source payload;
    struct uniq uniq;
    struct lane *lanes;
    uint8_t *body;
    struct bld batch;
    struct consumer *reading;
    uint64_t run_id, sent, in_flight;
    bool stopped;
};

static void on_done(struct call *call, int err, const struct remoting_cmd *answer);

static void put_unique(struct run *r, uint64_t wall_ms, char *properties, struct str *out)
{
    memcpy(properties, "UNIQ_KEY\1", 9);
    uniq_make(&r->uniq, wall_ms, properties + 9);
    properties[9 + UNIQ_CHARS] = 2;
    *out = (struct str){properties, 9 + UNIQ_CHARS + 1};
}

/* The body of a slot's request: one message, or `batch` of them with numbers from seq on. */
static struct str make_body(struct run *r, const struct slot *s, uint64_t wall_ms)
{
    struct payload p = {r->run_id, s->seq, s->sent_us, s->lane->producer};
    char properties[PROPERTY_MAX];
    struct str unique;

    if (r->o->batch == 1) {
        payload_write(&r->payload, &p, r->body, r->o->size_bytes);
        return (struct str){(const char *)r->body, r->o->size_bytes};
    }
    if (r->batch.b != NULL)
        r->batch.b->len = 0;
    for (uint32_t i = 0; i < r->o->batch; i++, p.seq++) {
        payload_write(&r->payload, &p, r->body, r->o->size_bytes);
        put_unique(r, wall_ms, properties, &unique);
        batch_put(&r->batch, 0, unique, (struct str){(const char *)r->body, r->o->size_bytes});
    }
    return (struct str){(const char *)r->batch.b->data, r->batch.b->len};
}

static bool may_send(struct run *r)
{
    if (r->stopped || (r->o->messages > 0 && r->sent >= r->o->messages))
        return false;
    r->sent += r->o->batch;
    return true;
}

static void send_next(struct slot *s)
{
    struct lane *lane = s->lane;
    struct run *r = lane->run;
    const struct place_queue *q;
    uint64_t wall_ms = clock_wall_ms();
    char properties[PROPERTY_MAX];
    struct send_fields fields = {
        .group = STR("mqperf_producer"), .topic = str_of(r->o->topic), .born_ms = wall_ms};
    struct str body;

    if (!may_send(r))
        return;
    s->seq = lane->next_seq;
    lane->next_seq += r->o->batch;
    s->queue = lane->next_queue;
    if (!r->o->by_key)
        lane->next_queue = (lane->next_queue + 1) % r->place->queue_count;
    s->sent_us = clock_mono_us();
    q = &r->place->queues[s->queue];
    fields.queue_id = (int32_t)q->id;
    fields.batch = r->o->batch > 1;
    if (!fields.batch)
        put_unique(r, wall_ms, properties, &fields.properties);
    body = make_body(r, s, wall_ms);
    if (wire_send(&fields, body.p, body.len, &s->call.frame) != 0)
        fatal("a send of %zu bytes does not fit a frame", body.len);
    s->call.deadline_ms = loop_now_ms(r->place->loop) + r->o->timeout_ms;
    s->call.answer_ms = ANSWER_MS;
    s->call.flags = 0;
    s->call.done = on_done;
    r->in_flight++;
    line_send(lane->lines[q->group].line, &s->call);
}

static void record(struct slot *s, const struct remoting_cmd *answer, uint64_t now_us)
{
    struct run *r = s->lane->run;
    int64_t offset = remoting_i64_or(answer, "queueOffset", -1);

    if (r->acks == NULL)
        return;
    if (offset < 0)
        fatal("a send was acknowledged without its queueOffset");
    for (uint32_t i = 0; i < r->o->batch; i++) {
        struct ack k = {s->seq + i, (uint64_t)offset + i, s->sent_us, now_us, s->lane->producer, s->queue};

        acks_add(r->acks, &k);
    }
}

static void on_done(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct slot *s = (struct slot *)call;
    struct run *r = s->lane->run;
    uint64_t now_us = clock_mono_us();

    r->in_flight--;
    r->f->retried += call->attempts > 1;
    if (err == 0 && answer->code == RC_SUCCESS) {
        figures_add(r->f, r->o, now_us, now_us - s->sent_us, r->o->batch,
                    (uint64_t)r->o->batch * r->o->size_bytes);
        record(s, answer, now_us);
    } else {
        r->f->failed += r->o->batch;
        if (r->acks != NULL)
            r->acks->unknown += r->o->batch;
        if (r->f->first_failure[0] == '\0')
            call_explain(call, err, answer, r->f->first_failure, sizeof(r->f->first_failure));
    }
    if (err != ERR_CLOSED)
        send_next(s);
}

/* ---- lanes ---- */

static void on_trouble(void *user)
{
    struct lane_line *l = user;

    place_trouble(l->run->place, l->group);
}

static const struct line_ops lane_ops = {.on_trouble = on_trouble};

static void on_leader(void *arg, uint32_t group, const char *address)
{
    struct run *r = arg;

    for (uint32_t i = 0; i < r->o->connections; i++)
        line_prefer(r->lanes[i].lines[group].line, address);
    if (r->reading != NULL)
        consumer_prefer(r->reading, group, address);
}

static void lane_init(struct run *r, struct lane *lane, uint32_t producer)
{
    lane->run = r;
    lane->producer = producer;
    lane->next_queue = producer % r->place->queue_count;
    lane->lines = calloc(r->place->group_count, sizeof(lane->lines[0]));
    lane->slots = calloc(r->o->window, sizeof(lane->slots[0]));
    ENSURE(lane->lines != NULL && lane->slots != NULL);
    for (uint32_t g = 0; g < r->place->group_count; g++) {
        lane->lines[g] = (struct lane_line){r, g, NULL};
        lane->lines[g].line = place_line(r->place, g, &lane_ops, &lane->lines[g]);
    }
    for (uint32_t i = 0; i < r->o->window; i++)
        lane->slots[i].lane = lane;
}

static void lane_release(struct run *r, struct lane *lane)
{
    for (uint32_t g = 0; g < r->place->group_count; g++)
        line_free(lane->lines[g].line);
    free(lane->lines);
    free(lane->slots);
}

/* ---- the run ---- */

static void progress(const struct run *r, uint64_t now_us, uint64_t *next_us, uint64_t *before)
{
    if (r->o->quiet || now_us < *next_us)
        return;
    fprintf(stderr, "%4.0f s  %8llu msg/s  %llu in flight  %llu failed\n",
            (double)(now_us - r->f->begin_us) / 1e6, (unsigned long long)(r->f->messages - *before),
            (unsigned long long)r->in_flight, (unsigned long long)r->f->failed);
    *before = r->f->messages;
    *next_us += PROGRESS_US;
}

static void turn_until_done(struct run *r)
{
    const struct perf_options *o = r->o;
    uint64_t stop_us = r->f->begin_us + o->duration_s * 1000000ull;
    uint64_t next_us = r->f->begin_us + PROGRESS_US, before = 0;

    while (!r->stopped || r->in_flight > 0) {
        uint64_t now_us;

        loop_turn(r->place->loop, TURN_MS);
        now_us = clock_mono_us();
        progress(r, now_us, &next_us, &before);
        if (r->reading != NULL)
            (void)consumer_turn(r->reading);
        if (o->messages > 0 ? r->sent >= o->messages : now_us >= stop_us)
            r->stopped = true;
    }
}

int produce_run(struct place *place, const struct perf_options *o, struct acks *acks,
                struct consumer *reading, struct figures *f)
{
    struct run r = {
        .place = place, .o = o, .acks = acks, .f = f, .reading = reading, .batch = bld_of(BATCH_MAX_BYTES)};

    r.run_id = acks != NULL ? acks->run : clock_mono_us();
    uniq_init(&r.uniq, r.run_id);
    payload_init(&r.payload, o->size_bytes);
    r.body = malloc(o->size_bytes);
    r.lanes = calloc(o->connections, sizeof(r.lanes[0]));
    ENSURE(r.body != NULL && r.lanes != NULL);
    for (uint32_t i = 0; i < o->connections; i++)
        lane_init(&r, &r.lanes[i], i);
    place->on_leader = on_leader;
    place->arg = &r;
    f->what = "produce";
    f->begin_us = clock_mono_us();
    for (uint32_t i = 0; i < o->connections; i++)
        for (uint32_t j = 0; j < o->window; j++)
            send_next(&r.lanes[i].slots[j]);
    turn_until_done(&r);
    f->end_us = clock_mono_us();
    place->on_leader = NULL;
    for (uint32_t i = 0; i < o->connections; i++) {
        if (acks != NULL)
            acks->sent[i] = r.lanes[i].next_seq;
        lane_release(&r, &r.lanes[i]);
    }
    if (acks != NULL) {
        acks->producers = o->connections;
        acks->window = o->window;
    }
    free(r.lanes);
    free(r.body);
    bld_drop(&r.batch);
    payload_release(&r.payload);
    return f->failed == 0 ? 0 : ERR_TIMEOUT;
}
