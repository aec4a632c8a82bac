/*
 * clients.c - see clients.h. One operation is under way per client; a client that hears nothing for
 * TIMEOUT_US goes on with the next message.
 */
#include "tests/sim/clients.h"

#include <stdlib.h>
#include <string.h>

#include "proto/command.pb-c.h"
#include "tests/sim/checks.h"
#include "tests/sim/replica.h"

#define TIMEOUT_US  (2 * SECOND)
#define LOOK_US     (20 * MS) /* pause before looking for a leader again */
#define READ_US     (50 * MS)
#define COMMIT_US   (150 * MS)
#define CLIENTS_MAX (SIM_PRODUCERS_MAX + 2)

enum client_kind { PRODUCER, COMMITTER, CREATOR };

struct client {
    struct dl_waiter waiter; /* first */
    struct clients *all;
    enum client_kind kind;
    uint32_t number;
    struct replica *at; /* where the operation is under way, NULL = nowhere */
    uint64_t operation; /* counts, for time outs */
    uint64_t id;        /* producer: message under way */
    uint32_t queue;
    uint64_t offset; /* committer */
    uint64_t acks;
};

struct clients {
    struct world *w;
    bool created, stopped;
    struct client client[CLIENTS_MAX];
    uint32_t count;
};

static void next(void *arg, uint64_t a, uint64_t b);

static void go_on(struct client *c, uint64_t pause_us)
{
    c->at = NULL;
    c->operation++;
    world_after(c->all->w, pause_us, next, c, c->operation, 0);
}

static struct replica *find_leader(struct world *w)
{
    uint32_t from = (uint32_t)rng_below(&w->rng, w->tune.replicas);

    for (uint32_t i = 0; i < w->tune.replicas; i++) {
        struct replica *r = w->replica[(from + i) % w->tune.replicas];
        struct dl_node_status s;

        if (!replica_alive(r) || replica_paused_us(r) > 0)
            continue;
        dl_node_status(replica_node(r), &s);
        if (s.serving)
            return r;
    }
    return NULL;
}

static uint64_t think(struct client *c)
{
    return rng_below(&c->all->w->rng, 2 * c->all->w->tune.think_us + 1);
}

/* ---- outcomes ----------------------------------------------------------------------------------------- */

static void on_ok(struct client *c, const struct dl_entry *e, const struct state_result *r)
{
    struct world *w = c->all->w;

    if (r->code != 0) {
        world_fail(w, "apply refuses what it must take: code %d %s", r->code, r->remark);
        return;
    }
    c->acks++;
    if (c->kind == CREATOR) {
        c->all->created = true;
        return;
    }
    if (c->kind == PRODUCER) {
        w->count.acks++;
        checks_acked(w->checks, c->id, r->queue_id, r->queue_offset, e->index);
        go_on(c, think(c));
    } else {
        w->count.offset_commits++;
        checks_offset_acked(w->checks, c->queue, c->offset);
        go_on(c, COMMIT_US);
    }
}

static void on_done(struct dl_waiter *waiter, int err, const struct dl_entry *e, const void *result)
{
    struct client *c = (struct client *)waiter;
    struct world *w = c->all->w;

    if (err == 0) {
        on_ok(c, e, result);
        return;
    }
    if (c->kind == PRODUCER && (err == ERR_LOST || err == ERR_NOT_LEADER)) {
        if (err == ERR_LOST)
            w->count.replaced++;
        w->count.refused++;
        checks_refused(w->checks, c->id);
    }
    go_on(c, LOOK_US);
}

static void on_timeout(void *arg, uint64_t operation, uint64_t unused)
{
    struct client *c = arg;

    (void)unused;
    if (c->operation != operation || c->at == NULL)
        return;
    dl_node_forget(replica_node(c->at), &c->waiter);
    c->all->w->count.undecided++;
    go_on(c, LOOK_US);
}

void clients_on_replica_down(struct clients *all, struct replica *r)
{
    for (uint32_t i = 0; i < all->count; i++) {
        struct client *c = &all->client[i];

        if (c->at != r)
            continue;
        dl_node_forget(replica_node(r), &c->waiter);
        all->w->count.undecided++;
        go_on(c, LOOK_US);
    }
}

/* ---- operations --------------------------------------------------------------------------------------- */

static struct buf *pack(const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    struct buf *b = buf_new(DL_RECORD_HEAD + len);

    protobuf_c_message_pack(m, b->data + DL_RECORD_HEAD);
    b->len = (uint32_t)(DL_RECORD_HEAD + len);
    return b;
}

static struct buf *make_creation(struct client *c)
{
    Ledgermq__Command__TopicConfig topic = LEDGERMQ__COMMAND__TOPIC_CONFIG__INIT;
    Ledgermq__Command__TopicPut put = LEDGERMQ__COMMAND__TOPIC_PUT__INIT;

    topic.name = "t";
    topic.read_queues = topic.write_queues = c->all->w->tune.queues;
    topic.perm = 6;
    topic.filter_type = "SINGLE_TAG";
    put.topic = &topic;
    put.now_ms = c->all->w->now_us / 1000;
    put.create_only = true;
    return pack(&put.base);
}

static struct buf *make_commit(struct client *c)
{
    Ledgermq__Command__OffsetCommit one = LEDGERMQ__COMMAND__OFFSET_COMMIT__INIT, *list = &one;
    Ledgermq__Command__OffsetsCommit all = LEDGERMQ__COMMAND__OFFSETS_COMMIT__INIT;

    c->queue = (uint32_t)rng_below(&c->all->w->rng, c->all->w->tune.queues);
    c->offset++;
    one.group = "g";
    one.topic = "t";
    one.queue_id = c->queue;
    one.offset = c->offset;
    all.commits = &list;
    all.n_commits = 1;
    return pack(&all.base);
}

static struct buf *make_message(struct client *c)
{
    struct world *w = c->all->w;
    uint8_t body[SIM_BODY_MAX];
    uint32_t len = (uint32_t)rng_between(&w->rng, SIM_BODY_MIN, w->tune.body_max);
    struct message m = {.topic = STR("t"), .properties = STR("TAGS\x01x\x02"), .store_ms = w->now_us / 1000};
    struct buf *b;
    size_t size;

    c->queue = (uint32_t)rng_below(&w->rng, w->tune.queues);
    c->id = checks_sent(w->checks, c->number, c->queue, len);
    checks_fill_body(c->id, body, len);
    m.queue_id = (int32_t)c->queue;
    m.body = (struct str){(const char *)body, len};
    size = message_size(&m);
    b = buf_new(DL_RECORD_HEAD + size);
    message_encode(&m, b->data + DL_RECORD_HEAD);
    b->len = (uint32_t)(DL_RECORD_HEAD + size);
    return b;
}

static void propose(struct client *c, struct replica *r)
{
    static const uint32_t kinds[] = {CMD_MESSAGES, CMD_OFFSETS_COMMIT, CMD_TOPIC_PUT};
    struct buf *b = c->kind == PRODUCER    ? make_message(c)
                    : c->kind == COMMITTER ? make_commit(c)
                                           : make_creation(c);
    int rc;

    c->at = r;
    c->waiter.done = on_done;
    rc = dl_node_propose(replica_node(r), kinds[c->kind], b, &c->waiter);
    if (c->kind == PRODUCER)
        c->all->w->count.sends++;
    if (rc != 0) {
        if (c->kind == PRODUCER)
            checks_refused(c->all->w->checks, c->id);
        go_on(c, LOOK_US);
        return;
    }
    world_after(c->all->w, TIMEOUT_US, on_timeout, c, c->operation, 0);
    replica_turn_end(r);
}

static void next(void *arg, uint64_t operation, uint64_t unused)
{
    struct client *c = arg;
    struct replica *r;

    (void)unused;
    if (c->operation != operation || c->all->stopped || (c->kind == CREATOR && c->all->created))
        return;
    r = c->kind == CREATOR || c->all->created ? find_leader(c->all->w) : NULL;
    if (r != NULL)
        propose(c, r);
    else
        go_on(c, LOOK_US);
}

/* Ask everyone who says it may read. */
static void on_read(void *arg, uint64_t a, uint64_t b)
{
    struct clients *all = arg;
    struct world *w = all->w;

    (void)a;
    (void)b;
    for (uint32_t i = 0; i < w->tune.replicas; i++) {
        struct replica *r = w->replica[i];
        uint32_t queue = (uint32_t)rng_below(&w->rng, w->tune.queues);
        uint64_t min, max;

        if (!replica_alive(r) || replica_paused_us(r) > 0 || !dl_node_can_read(replica_node(r)))
            continue;
        w->count.reads++;
        if (state_queue_bounds(replica_state(r), STR("t"), queue, &min, &max) == 0)
            checks_read_max(w->checks, r, queue, max);
    }
    world_after(w, READ_US, on_read, all, 0, 0);
}

uint64_t clients_least_acks(struct clients *all)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; i < all->count; i++) {
        if (all->client[i].kind != PRODUCER)
            continue;
        if (all->client[i].acks < least)
            least = all->client[i].acks;
        all->client[i].acks = 0;
    }
    return least;
}

void clients_stop(struct clients *all)
{
    all->stopped = true;
}

static void add(struct clients *all, enum client_kind kind)
{
    struct client *c = &all->client[all->count];

    c->all = all;
    c->kind = kind;
    c->number = all->count++;
    go_on(c, 0);
}

void clients_start(struct clients *all)
{
    for (uint32_t i = 0; i < all->w->tune.producers; i++)
        add(all, PRODUCER);
    add(all, COMMITTER);
    add(all, CREATOR);
    world_after(all->w, READ_US, on_read, all, 0, 0);
}

struct clients *clients_new(struct world *w)
{
    struct clients *c = calloc(1, sizeof(*c));

    ENSURE(c != NULL);
    c->w = w;
    return c;
}

void clients_free(struct clients *c)
{
    free(c);
}
