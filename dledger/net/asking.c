/*
 * asking.c - the asking side: struct dl_transport over the links of a session.
 *
 * Requests go through the generated stubs (ledgermq__dledger__replica__*) into asking_invoke, which writes
 * the frame; record bytes follow by reference. Requests use the connections we made, answers those the peer
 * made, on the channel of the request.
 */
#include "dledger/net/peers_private.h"

static void asking_invoke(ProtobufCService *service, unsigned method, const ProtobufCMessage *input,
                          ProtobufCClosure closure, void *closure_data)
{
    (void)closure, (void)closure_data; /* answers are found by method and call id, see service.c */
    struct asking *a = (struct asking *)(void *)service;
    size_t attached = a->bytes_len;
    for (uint32_t i = 0; i < a->slice_count; i++)
        attached += a->slices[i].len;
    link_write(a->link, WIRE_REQUEST, method, a->call, input, attached);
    for (uint32_t i = 0; i < a->slice_count; i++)
        conn_write_slice(a->link->conn, a->slices[i].buf, a->slices[i].offset, a->slices[i].len);
    if (a->bytes_len > 0)
        conn_write(a->link->conn, a->bytes, a->bytes_len);
}

void asking_init(struct dl_peers *p)
{
    p->asking.base = (ProtobufCService){&ledgermq__dledger__replica__descriptor, asking_invoke, NULL};
}

/* Aim the stubs at a link; the attachment is set by the caller afterwards. */
static ProtobufCService *ask(struct link *link)
{
    struct asking *a = &link->owner->asking;
    ProtobufCService base = a->base;
    *a = (struct asking){.base = base, .link = link};
    return &a->base;
}

void asking_hello(struct link *link)
{
    wire_hello_req req = LEDGERMQ__DLEDGER__HELLO_REQUEST__INIT;
    req.format = WIRE_FORMAT;
    req.group = link->owner->group;
    req.from = link->owner->self;
    req.to = link->peer->id;
    req.members = link->owner->members;
    req.n_members = link->owner->count + 1;
    req.channel = link->channel == CONTROL ? LEDGERMQ__DLEDGER__CHANNEL__CHANNEL_CONTROL
                                           : LEDGERMQ__DLEDGER__CHANNEL__CHANNEL_DATA;
    ledgermq__dledger__replica__hello(ask(link), &req, NULL, NULL);
}

void asking_ping(struct link *link)
{
    Ledgermq__Dledger__PingRequest req = LEDGERMQ__DLEDGER__PING_REQUEST__INIT;
    ledgermq__dledger__replica__ping(ask(link), &req, NULL, NULL);
}

static void send_vote_req(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                          uint32_t count)
{
    (void)slices, (void)count;
    wire_vote_req req = wire_of_vote_req(msg);
    ledgermq__dledger__replica__vote(ask(link), &req, NULL, NULL);
}

static void send_push_req(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                          uint32_t count)
{
    wire_push_req req = wire_of_push_req(msg);
    ProtobufCService *service = ask(link);
    link->owner->asking.slices = slices;
    link->owner->asking.slice_count = count;
    ledgermq__dledger__replica__push(service, &req, NULL, NULL);
}

static void send_timeout_now(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                             uint32_t count)
{
    (void)slices, (void)count;
    wire_timeout_now_req req = wire_of_timeout_now(msg);
    ledgermq__dledger__replica__timeout_now(ask(link), &req, NULL, NULL);
}

static void send_have_req(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                          uint32_t count)
{
    (void)slices, (void)count;
    wire_have_req req = wire_of_have_req(msg);
    ledgermq__dledger__replica__have(ask(link), &req, NULL, NULL);
}

static void send_have_rsp(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                          uint32_t count)
{
    (void)slices, (void)count;
    wire_have_rsp rsp = wire_of_have_rsp(msg);
    link_write(link, WIRE_RESPONSE, WIRE_HAVE, 0, &rsp.base, 0);
}

static void send_vote_rsp(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                          uint32_t count)
{
    (void)slices, (void)count;
    wire_vote_rsp rsp = wire_of_vote_rsp(msg);
    link_write(link, WIRE_RESPONSE, WIRE_VOTE, 0, &rsp.base, 0);
}

static void send_push_rsp(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                          uint32_t count)
{
    (void)slices, (void)count;
    wire_push_rsp rsp = wire_of_push_rsp(msg);
    link_write(link, WIRE_RESPONSE, WIRE_PUSH, 0, &rsp.base, 0);
}

static void transport_send(void *impl, const struct dl_msg *msg, const struct dl_slice *slices,
                           uint32_t count)
{
    static const struct {
        bool request;
        void (*fn)(struct link *link, const struct dl_msg *msg, const struct dl_slice *slices,
                   uint32_t count);
    } table[] = {
        [DL_MSG_VOTE_REQ] = {true, send_vote_req},       [DL_MSG_VOTE_RSP] = {false, send_vote_rsp},
        [DL_MSG_PUSH_REQ] = {true, send_push_req},       [DL_MSG_PUSH_RSP] = {false, send_push_rsp},
        [DL_MSG_HAVE_REQ] = {true, send_have_req},       [DL_MSG_HAVE_RSP] = {false, send_have_rsp},
        [DL_MSG_TIMEOUT_NOW] = {true, send_timeout_now},
    };
    ENSURE((size_t)msg->type < sizeof table / sizeof *table && table[msg->type].fn);
    struct dl_peers *p = impl;
    struct peer *peer = peers_find(p, msg->to);
    if (!peer)
        return;
    bool push = msg->type == DL_MSG_PUSH_REQ || msg->type == DL_MSG_PUSH_RSP;
    enum channel channel = push && msg->push == DL_PUSH_APPEND ? DATA : CONTROL;
    struct link *link = table[msg->type].request ? peer->out[channel] : peer->in[channel];
    if (!link || !link->ready || (table[msg->type].request && !peer->up))
        return;
    table[msg->type].fn(link, msg, slices, count);
}

static bool takes_relay(const struct link *link, size_t len)
{
    return conn_waiting_bytes(link->conn) + len <= DL_PEERS_OUT_RELAYS_MAX;
}

static void transport_relay(void *impl, dl_peer_t id, dl_term_t term, const struct sockaddr_in *client,
                            const uint8_t *frame, uint32_t len, uint32_t timeout_ms, dl_relay_fn fn,
                            void *arg)
{
    struct dl_peers *p = impl;
    struct peer *peer = peers_find(p, id);
    ENSURE(peer); /* a leader we know is a member, and not we */
    if (!peer->up || len == 0) {
        relays_fail_later(&peer->relays, ERR_CLOSED, fn, arg);
        return;
    }
    if (len > WIRE_FRAME_MAX - WIRE_OUT_MAX) {
        relays_fail_later(&peer->relays, ERR_TOO_LARGE, fn, arg);
        return;
    }
    uint32_t call = takes_relay(peer->out[DATA], len) ? relays_add(&peer->relays, timeout_ms, fn, arg) : 0;
    if (call == 0) {
        relays_fail_later(&peer->relays, ERR_BUSY, fn, arg);
        return;
    }
    metric_add(&p->counters.relays_out, 1);
    wire_relay_req req = LEDGERMQ__DLEDGER__RELAY_REQUEST__INIT;
    req.term = term;
    req.client_ip = ntohl(client->sin_addr.s_addr);
    req.client_port = ntohs(client->sin_port);
    ProtobufCService *service = ask(peer->out[DATA]);
    p->asking.call = call;
    p->asking.bytes = frame;
    p->asking.bytes_len = len;
    ledgermq__dledger__replica__relay(service, &req, NULL, NULL);
}

static void transport_relay_reply(void *impl, uint64_t ticket, int err, struct buf *head, struct buf *body)
{
    struct dl_peers *p = impl;
    uint32_t index = (uint32_t)(ticket >> 56), serial = (uint32_t)(ticket >> 32) & 0xFFFFFF;
    ENSURE(index < p->count);
    struct link *link = p->peers[index].in[DATA];
    if (link && link->serial == serial) {
        size_t len = (head ? head->len : 0) + (size_t)(body ? body->len : 0);
        wire_relay_rsp rsp = LEDGERMQ__DLEDGER__RELAY_RESPONSE__INIT;
        rsp.err = err != 0                              ? err
                  : len > WIRE_FRAME_MAX - WIRE_OUT_MAX ? ERR_TOO_LARGE
                  : !takes_relay(link, len)             ? ERR_BUSY
                                                        : 0;
        link_write(link, WIRE_RESPONSE, WIRE_RELAY, (uint32_t)ticket, &rsp.base, rsp.err ? 0 : len);
        if (rsp.err == 0 && head)
            conn_write_slice(link->conn, head, 0, head->len);
        if (rsp.err == 0 && body)
            conn_write_slice(link->conn, body, 0, body->len);
    }
    buf_unref(head);
    buf_unref(body);
}

static bool transport_is_up(void *impl, dl_peer_t id)
{
    const struct peer *peer = peers_find(impl, id);
    return peer && peer->up;
}

void asking_fill_transport(struct dl_peers *p, struct dl_transport *transport)
{
    *transport = (struct dl_transport){.impl = p,
                                       .send = transport_send,
                                       .relay = transport_relay,
                                       .relay_reply = transport_relay_reply,
                                       .is_up = transport_is_up};
}
