/*
 * network.c - see network.h.
 *
 * A pair of replicas is connected while both live; a replica that dies is noticed at once where its packets
 * still arrive (its kernel resets the connections), after TIMEOUT_US where they do not. Messages under way
 * when a connection is lost are lost with it.
 */
#include "tests/sim/network.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/sim/checks.h"
#include "tests/sim/replica.h"

#define CONNECT_US (5 * MS)
#define RESET_US   500ull
#define TIMEOUT_US (3 * SECOND)

struct end {
    struct network *n;
    dl_peer_t self;
};

struct network {
    struct world *w;
    LIST_HEAD(, packet) under_way;
    struct end ends[SIM_REPLICAS_MAX + 1];
    bool cut[SIM_REPLICAS_MAX + 1][SIM_REPLICAS_MAX + 1];
    bool connected[SIM_REPLICAS_MAX + 1][SIM_REPLICAS_MAX + 1]; /* as the first one sees it */
    uint64_t session[SIM_REPLICAS_MAX + 1][SIM_REPLICAS_MAX + 1];
    uint64_t last_us[SIM_REPLICAS_MAX + 1][SIM_REPLICAS_MAX + 1]; /* arrival of the newest message in order */
};

struct packet {
    LIST_ENTRY(packet) link;
    struct network *n;
    struct dl_msg msg;
    struct buf *records;
    uint64_t session;
};

static void packet_free(struct packet *p)
{
    LIST_REMOVE(p, link);
    buf_unref(p->records);
    free(p);
}

static void arrive(void *arg, uint64_t a, uint64_t b)
{
    struct packet *p = arg;
    struct network *n = p->n;
    dl_peer_t from = p->msg.from, to = p->msg.to;

    (void)a;
    (void)b;
    if (replica_alive(n->w->replica[to - 1]) && replica_paused_us(n->w->replica[to - 1]) > 0) {
        world_after(n->w, replica_paused_us(n->w->replica[to - 1]), arrive, p, 0, 0);
        return;
    }
    if (!n->cut[from][to] && n->session[from][to] == p->session && replica_alive(n->w->replica[to - 1]))
        replica_on_message(n->w->replica[to - 1], &p->msg, p->records);
    packet_free(p);
}

static void dispatch(struct network *n, const struct dl_msg *msg, struct buf *records)
{
    struct world *w = n->w;
    const struct tunables *t = &w->tune;
    struct packet *p = calloc(1, sizeof(*p));
    uint64_t at_us = w->now_us + rng_between(&w->rng, t->net_min_us, t->net_max_us);
    uint64_t *last = &n->last_us[msg->from][msg->to];

    ENSURE(p != NULL);
    *p = (struct packet){.n = n, .msg = *msg, .session = n->session[msg->from][msg->to]};
    p->records = records != NULL ? buf_ref(records) : NULL;
    LIST_INSERT_HEAD(&n->under_way, p, link);
    if (w->healing || !rng_chance(&w->rng, t->reorder)) {
        if (at_us < *last)
            at_us = *last;
        *last = at_us;
    }
    world_after(w, at_us - w->now_us, arrive, p, 0, 0);
}

static void on_send(void *impl, const struct dl_msg *msg, const struct dl_slice *slices, uint32_t count)
{
    struct end *e = impl;
    struct network *n = e->n;
    struct world *w = n->w;
    struct buf *records = NULL;
    size_t len = 0;

    ENSURE(msg->from == e->self && msg->to != e->self && msg->to >= 1 && msg->to <= w->tune.replicas);
    checks_on_send(w->checks, msg);
    if (!n->connected[msg->from][msg->to] || n->cut[msg->from][msg->to])
        return;
    w->count.messages++;
    if (!w->healing && rng_chance(&w->rng, w->tune.loss)) {
        w->count.lost++;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        len += slices[i].len;
    if (len > 0) {
        records = buf_new(len);
        for (uint32_t i = 0; i < count; i++) {
            memcpy(records->data + records->len, slices[i].buf->data + slices[i].offset, slices[i].len);
            records->len += slices[i].len;
        }
    }
    dispatch(n, msg, records);
    if (!w->healing && rng_chance(&w->rng, w->tune.duplicate)) {
        w->count.duplicated++;
        dispatch(n, msg, records);
    }
    buf_unref(records);
}

/* ---- connections -------------------------------------------------------------------------------------- */

static void connect_end(struct network *n, dl_peer_t self, dl_peer_t peer)
{
    if (n->connected[self][peer] || !replica_alive(n->w->replica[self - 1]) ||
        !replica_alive(n->w->replica[peer - 1]) || n->cut[self][peer] || n->cut[peer][self])
        return;
    n->connected[self][peer] = true;
    n->session[self][peer]++;
    replica_on_up(n->w->replica[self - 1], peer);
}

static void on_connect(void *arg, uint64_t a, uint64_t b)
{
    struct network *n = arg;

    connect_end(n, (dl_peer_t)a, (dl_peer_t)b);
    connect_end(n, (dl_peer_t)b, (dl_peer_t)a);
}

static void lose_end(struct network *n, dl_peer_t self, dl_peer_t peer, bool reset)
{
    if (!n->connected[self][peer])
        return;
    n->connected[self][peer] = false;
    n->session[self][peer]++;
    if (replica_alive(n->w->replica[self - 1]))
        replica_on_down(n->w->replica[self - 1], peer, reset);
}

#define LOSS_RESET (1u << 8)

/* What a loss of this very connection is called in an event: peer | LOSS_RESET | session << 9. */
static uint64_t loss_of(const struct network *n, dl_peer_t self, dl_peer_t peer, bool reset)
{
    return peer | (reset ? LOSS_RESET : 0) | n->session[self][peer] << 9;
}

/* `self` notices that a connection is gone, unless it has a newer one by now. */
static void on_lost(void *arg, uint64_t self, uint64_t loss)
{
    struct network *n = arg;
    dl_peer_t peer = (dl_peer_t)(loss & 0xff);

    if (n->session[self][peer] == loss >> 9)
        lose_end(n, (dl_peer_t)self, peer, loss & LOSS_RESET);
    world_after(n->w, CONNECT_US, on_connect, n, self, peer);
}

static void on_timeout(void *arg, uint64_t a, uint64_t b)
{
    struct network *n = arg;

    if (!n->cut[a][b] && !n->cut[b][a])
        return;
    lose_end(n, (dl_peer_t)a, (dl_peer_t)b, false);
    lose_end(n, (dl_peer_t)b, (dl_peer_t)a, false);
}

void network_replica_up(struct network *n, dl_peer_t id)
{
    for (dl_peer_t p = 1; p <= n->w->tune.replicas; p++) {
        if (p != id)
            world_after(n->w, CONNECT_US, on_connect, n, id, p);
    }
}

void network_replica_down(struct network *n, dl_peer_t id)
{
    for (dl_peer_t p = 1; p <= n->w->tune.replicas; p++) {
        if (p == id)
            continue;
        n->connected[id][p] = false;
        n->session[id][p]++;
        world_after(n->w, n->cut[id][p] ? TIMEOUT_US : RESET_US, on_lost, n, p,
                    loss_of(n, p, id, !n->cut[id][p]));
    }
}

void network_hang_up(struct network *n, dl_peer_t self, dl_peer_t peer)
{
    uint64_t late_us = rng_between(&n->w->rng, n->w->tune.net_min_us, n->w->tune.net_max_us);

    lose_end(n, self, peer, false);
    if (!n->cut[self][peer])
        world_after(n->w, late_us, on_lost, n, peer, loss_of(n, peer, self, true));
}

void network_cut(struct network *n, dl_peer_t from, dl_peer_t to, bool cut)
{
    n->cut[from][to] = cut;
    if (cut)
        world_after(n->w, TIMEOUT_US, on_timeout, n, from, to);
    else
        world_after(n->w, CONNECT_US, on_connect, n, from, to);
}

void network_heal(struct network *n)
{
    for (dl_peer_t a = 1; a <= n->w->tune.replicas; a++) {
        for (dl_peer_t b = 1; b <= n->w->tune.replicas; b++) {
            if (a != b)
                network_cut(n, a, b, false);
        }
    }
}

/* ---- the door ----------------------------------------------------------------------------------------- */

static void no_relay(void *impl, dl_peer_t peer, dl_term_t term, const struct sockaddr_in *client,
                     const uint8_t *frame, uint32_t len, uint32_t timeout_ms, dl_relay_fn fn, void *arg)
{
    (void)impl, (void)peer, (void)term, (void)client, (void)frame, (void)len, (void)timeout_ms;
    fn(arg, ERR_CLOSED, NULL, 0);
}

static void no_relay_reply(void *impl, uint64_t ticket, int err, struct buf *head, struct buf *body)
{
    (void)impl, (void)ticket, (void)err;
    buf_unref(head);
    buf_unref(body);
}

static bool is_up(void *impl, dl_peer_t peer)
{
    struct end *e = impl;

    return e->n->connected[e->self][peer];
}

struct dl_transport network_transport(struct network *n, dl_peer_t self)
{
    n->ends[self] = (struct end){n, self};
    return (struct dl_transport){&n->ends[self], on_send, no_relay, no_relay_reply, is_up};
}

struct network *network_new(struct world *w)
{
    struct network *n = calloc(1, sizeof(*n));

    ENSURE(n != NULL);
    n->w = w;
    return n;
}

void network_free(struct network *n)
{
    while (!LIST_EMPTY(&n->under_way))
        packet_free(LIST_FIRST(&n->under_way));
    free(n);
}
