/*
 * peers.c - sessions with the other replicas, see peers.h and peers_private.h.
 *
 * Losing one connection that was in use drops the whole session: a peer is one process, so either it is gone
 * or a restart of the conversation costs a few milliseconds; half sessions would need rules of their own. A
 * Hello for a channel that is taken means the peer has begun a new session before we saw the old one end: the
 * old one is dropped first, so that late news about its connections cannot hurt the new one.
 */
#include "dledger/net/peers.h"

#include <stdlib.h>

#include "common/log.h"
#include "dledger/net/peers_private.h"

static const struct conn_ops link_ops;

static struct link *link_new(struct dl_peers *p, struct conn *conn, bool outgoing)
{
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        fatal("out of memory");
    link->owner = p;
    link->conn = conn;
    link->outgoing = outgoing;
    p->serial = (p->serial + 1) & 0xFFFFFF;
    link->serial = p->serial;
    link->next = p->links;
    link->prevp = &p->links;
    if (p->links)
        p->links->prevp = &link->next;
    p->links = link;
    conn_set_data(conn, link);
    return link;
}

void link_write(struct link *link, enum wire_kind kind, uint32_t method, uint32_t call,
                const ProtobufCMessage *msg, size_t attached_len)
{
    uint8_t head[WIRE_OUT_MAX];
    size_t len = wire_write(head, kind, method, call, msg, attached_len);
    metric_add(&link->owner->counters.frames_out, 1);
    metric_add(&link->owner->counters.bytes_out, len + attached_len);
    conn_write(link->conn, head, len);
}

struct peer *peers_find(struct dl_peers *p, dl_peer_t id)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->peers[i].id == id)
            return &p->peers[i];
    }
    return NULL;
}

/* Take the link out of its slot and close it; its on_close will find no peer. */
static void give_up(struct link **slot)
{
    struct link *link = *slot;
    if (!link)
        return;
    *slot = NULL;
    link->peer = NULL;
    conn_close(link->conn);
}

static void retry_later(struct peer *peer)
{
    timer_start(&peer->retry, peer->retry_ms);
    peer->retry_ms = peer->retry_ms * 2 > DL_PEERS_RETRY_MAX_MS ? DL_PEERS_RETRY_MAX_MS : peer->retry_ms * 2;
}

static bool is_ready(const struct link *link)
{
    return link && link->ready;
}

static void session_lost(struct peer *peer, bool reset, const char *why)
{
    struct dl_peers *p = peer->owner;
    bool known = false;
    for (int c = 0; c < CHANNELS; c++)
        known = known || is_ready(peer->out[c]) || is_ready(peer->in[c]);
    for (int c = 0; c < CHANNELS; c++) {
        give_up(&peer->out[c]);
        give_up(&peer->in[c]);
    }
    peer->up = false;
    retry_later(peer);
    if (!known)
        return;
    LOG_INFO("peer lost", "self=n%u peer=n%u address=%s:%u why=\"%s\"", p->self - 1, peer->id - 1, peer->host,
             peer->port, why);
    metric_add(&p->counters.downs, 1);
    relays_fail_all(&peer->relays, ERR_CLOSED);
    p->hooks.on_down(p->hooks.arg, peer->id, reset);
}

/* An outgoing link was lost before it was welcomed: the pair is tried again, an incoming session is not
 * concerned. */
static void connect_failed(struct peer *peer, const char *why)
{
    if (!peer->told_away)
        LOG_WARN("peer away", "self=n%u peer=n%u address=%s:%u why=\"%s\"", peer->owner->self - 1,
                 peer->id - 1, peer->host, peer->port, why);
    peer->told_away = true;
    for (int c = 0; c < CHANNELS; c++)
        give_up(&peer->out[c]);
    retry_later(peer);
}

static void on_retry(void *arg)
{
    struct peer *peer = arg;
    static const struct conn_limits limits = {.frame_max_bytes = WIRE_FRAME_MAX,
                                              .frame_min_bytes = WIRE_HEAD,
                                              .out_max_bytes = DL_PEERS_OUT_MAX,
                                              .connect_ms = DL_PEERS_CONNECT_MS};
    for (int c = 0; c < CHANNELS; c++) {
        if (peer->out[c])
            continue;
        struct conn *conn =
            conn_connect(peer->owner->loop, peer->host, peer->port, &link_ops, &limits, peer->owner);
        struct link *link = link_new(peer->owner, conn, true);
        link->peer = peer;
        link->channel = (enum channel)c;
        peer->out[c] = link;
    }
}

void peers_welcomed(struct link *link)
{
    struct peer *peer = link->peer;
    struct dl_peers *p = peer->owner;
    link->ready = true;
    if (peer->up || !is_ready(peer->out[CONTROL]) || !is_ready(peer->out[DATA]))
        return;
    peer->up = true;
    peer->told_away = false;
    peer->retry_ms = DL_PEERS_RETRY_MIN_MS;
    LOG_INFO("peer up", "self=n%u peer=n%u address=%s:%u", p->self - 1, peer->id - 1, peer->host, peer->port);
    metric_add(&p->counters.ups, 1);
    p->hooks.on_up(p->hooks.arg, peer->id);
}

void peers_admit(struct link *link, struct peer *peer, enum channel channel)
{
    if (peer->in[channel])
        session_lost(peer, true, "peer began a new session");
    peer->in[channel] = link;
    link->peer = peer;
    link->channel = channel;
    link->ready = true;
    conn_raise_frame_max(link->conn, WIRE_FRAME_MAX);
    if (!peer->out[CONTROL] && !peer->out[DATA]) { /* it is there: no need to wait */
        peer->retry_ms = DL_PEERS_RETRY_MIN_MS;
        retry_later(peer);
    }
}

/* Whoever is connected and does not say Hello takes a place from the members. */
static void close_strangers(struct dl_peers *p)
{
    for (struct link *link = p->links; link; link = link->next) {
        if (!link->outgoing && !link->ready && ++link->pings_missed > DL_PEERS_PINGS_MISSED)
            conn_close(link->conn);
    }
}

static void on_ping(void *arg)
{
    struct dl_peers *p = arg;
    timer_start(&p->ping, DL_PEERS_PING_MS);
    close_strangers(p);
    for (uint32_t i = 0; i < p->count; i++) {
        struct peer *peer = &p->peers[i];
        for (int c = 0; c < CHANNELS; c++) {
            struct link *link = peer->out[c];
            if (!link || !conn_is_open(link->conn))
                continue;
            /* Counted in pings, not in time: after we were stopped ourselves the first look is not the
             * last. */
            uint64_t read_ms = conn_last_read_ms(link->conn);
            link->pings_missed = read_ms == link->seen_read_ms ? link->pings_missed + 1 : 0;
            link->seen_read_ms = read_ms;
            if (link->pings_missed > DL_PEERS_PINGS_MISSED) {
                session_lost(peer, false, "no sign of life");
                break;
            }
            if (link->ready)
                asking_ping(link);
        }
    }
}

static void link_on_open(struct conn *conn)
{
    struct link *link = conn_data(conn);
    if (!link)
        link_new(conn_user(conn), conn, false);
    else if (link->peer)
        asking_hello(link);
}

static void link_on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct link *link = conn_data(conn);
    if (!link->owner || (!link->peer && (link->outgoing || link->ready)))
        return; /* given up */
    struct dl_peers *p = link->owner;
    struct err err;
    metric_add(&p->counters.frames_in, 1);
    metric_add(&p->counters.bytes_in, len);
    if (service_frame(link, frame, len, &err) == 0)
        return;
    metric_add(&p->counters.malformed, 1);
    LOG_WARN_EVERY(1000, "bad replica frame", "self=n%u from=%s %s", p->self - 1, conn_peer(conn), err.text);
    if (link->peer)
        session_lost(link->peer, false, "bad frame");
    else
        conn_close(conn);
}

static void link_on_close(struct conn *conn, int why)
{
    struct link *link = conn_data(conn);
    if (!link)
        return;
    struct peer *peer = link->owner ? link->peer : NULL;
    if (peer && link->ready)
        session_lost(peer, why == ERR_CLOSED || why == ERR_IO, conn_why_text(conn));
    else if (peer)
        connect_failed(peer, conn_why_text(conn));
    if (link->owner) {
        *link->prevp = link->next;
        if (link->next)
            link->next->prevp = link->prevp;
    }
    free(link);
}

static const struct conn_ops link_ops = {
    .on_frame = link_on_frame, .on_open = link_on_open, .on_close = link_on_close};

static int check_opts(const struct dl_peers_opts *o, uint16_t *port, struct err *err)
{
    size_t group_len = strlen(o->group);
    if (group_len == 0 || group_len > WIRE_GROUP_MAX)
        return err_set(err, ERR_INVALID, "group name of %zu bytes", group_len);
    if (o->count == 0 || o->count > DL_PEERS_MAX)
        return err_set(err, ERR_INVALID, "%u peers, 1..%d are possible", o->count, DL_PEERS_MAX);
    bool found = false;
    for (uint32_t i = 0; i < o->count; i++) {
        const struct dl_peer_addr *a = &o->peers[i];
        if (a->id == DL_NOBODY || a->port == 0 || strlen(a->host) >= sizeof(((struct peer *)0)->host))
            return err_set(err, ERR_INVALID, "peer %.64s:%u: bad id, host or port", a->host, a->port);
        for (uint32_t k = 0; k < i; k++) {
            if (o->peers[k].id == a->id)
                return err_set(err, ERR_INVALID, "peer n%u is there twice", a->id - 1);
        }
        if (a->id == o->self) {
            found = true;
            *port = a->port;
        }
    }
    return found ? 0 : err_set(err, ERR_INVALID, "self n%u is not among the peers", o->self - 1);
}

/* Their ids, ascending, for Hello. */
static void fill_members(struct dl_peers *p, const struct dl_peers_opts *opts)
{
    for (uint32_t i = 0; i < opts->count; i++) {
        uint32_t at = i;
        for (; at > 0 && p->members[at - 1] > opts->peers[i].id; at--)
            p->members[at] = p->members[at - 1];
        p->members[at] = opts->peers[i].id;
    }
}

int dl_peers_open(const struct dl_peers_opts *opts, struct dl_peers **out, struct dl_transport *transport,
                  struct err *err)
{
    static const struct conn_limits limits = {.frame_max_bytes = WIRE_STRANGER_MAX,
                                              .frame_min_bytes = WIRE_HEAD,
                                              .out_max_bytes = DL_PEERS_OUT_MAX,
                                              .idle_ms = DL_PEERS_IDLE_MS,
                                              .conns_max = 16 * DL_PEERS_MAX};
    wire_check_methods();
    uint16_t port = 0;
    int rc = check_opts(opts, &port, err);
    if (rc)
        return rc;
    struct dl_peers *p = calloc(1, sizeof *p);
    if (!p)
        fatal("out of memory");
    p->loop = opts->loop;
    p->self = opts->self;
    p->hooks = opts->hooks;
    memcpy(p->group, opts->group, strlen(opts->group));
    service_init(p);
    asking_init(p);
    rc = listener_open(p->loop, opts->listen_host, port, &link_ops, &limits, p, &p->listener, err);
    if (rc) {
        free(p);
        return rc;
    }
    timer_init(&p->ping, p->loop, on_ping, p);
    timer_start(&p->ping, DL_PEERS_PING_MS);
    for (uint32_t i = 0; i < opts->count; i++) {
        if (opts->peers[i].id == opts->self)
            continue;
        struct peer *peer = &p->peers[p->count++];
        peer->owner = p;
        peer->id = opts->peers[i].id;
        memcpy(peer->host, opts->peers[i].host, strlen(opts->peers[i].host));
        peer->port = opts->peers[i].port;
        peer->retry_ms = DL_PEERS_RETRY_MIN_MS;
        relays_init(&peer->relays, p->loop, &p->counters.relay_timeouts);
        timer_init(&peer->retry, p->loop, on_retry, peer);
        timer_start(&peer->retry, 0);
    }
    fill_members(p, opts);
    asking_fill_transport(p, transport);
    *out = p;
    return 0;
}

void dl_peers_close(struct dl_peers *p)
{
    if (!p)
        return;
    for (struct link *link = p->links; link; link = link->next) {
        link->owner = NULL;
        conn_close(link->conn);
    }
    listener_close(p->listener);
    timer_release(&p->ping);
    for (uint32_t i = 0; i < p->count; i++) {
        timer_release(&p->peers[i].retry);
        relays_release(&p->peers[i].relays);
    }
    free(p);
}

struct dl_peers_counters *dl_peers_counters(struct dl_peers *p)
{
    return &p->counters;
}
