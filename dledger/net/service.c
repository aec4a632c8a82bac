/*
 * service.c - the serving side of replica connections: service Replica of proto/dledger.proto, implemented.
 *
 * A request is decoded, dispatched by the generated code to a method below, and becomes a hook call. Hello
 * and Ping are answered inside, through the closure. Vote and Push may take a disk's time: their answers tell
 * everything themselves, so nothing is kept per call; the node sends them with the transport's send, which
 * writes them as responses on the connection pair the peer made (asking.c). A relay's answer comes by its
 * ticket.
 */
#include "common/log.h"
#include "dledger/net/peers_private.h"

typedef Ledgermq__Dledger__Replica_Service service_t;

static struct dl_peers *peers_of(service_t *s)
{
    return (struct dl_peers *)(void *)s; /* first member */
}

/* Closure of methods that answer at once. */
static void answer(const ProtobufCMessage *msg, void *arg)
{
    struct dl_peers *p = arg;
    link_write(p->at, WIRE_RESPONSE, p->frame->method, p->frame->call, msg, 0);
}

static bool same_members(const struct dl_peers *p, const wire_hello_req *in)
{
    return in->n_members == p->count + 1 &&
           memcmp(in->members, p->members, in->n_members * sizeof(p->members[0])) == 0;
}

static const char *hello_fault(const struct dl_peers *p, const wire_hello_req *in)
{
    if (in->format != WIRE_FORMAT)
        return "another wire format";
    if (strcmp(in->group, p->group) != 0)
        return "another group";
    if (in->to != p->self)
        return "meant for another replica";
    if (in->from == p->self)
        return "this is my own id";
    if (!same_members(p, in))
        return "another list of peers";
    if (in->channel != LEDGERMQ__DLEDGER__CHANNEL__CHANNEL_CONTROL &&
        in->channel != LEDGERMQ__DLEDGER__CHANNEL__CHANNEL_DATA)
        return "unknown channel";
    return NULL;
}

static void serve_hello(service_t *s, const wire_hello_req *in,
                        Ledgermq__Dledger__HelloResponse_Closure closure, void *closure_data)
{
    struct dl_peers *p = peers_of(s);
    struct link *link = p->at;
    struct peer *peer = peers_find(p, in->from);
    const char *fault = hello_fault(p, in);
    if (!fault && !peer)
        fault = "not a member";
    wire_hello_rsp rsp = LEDGERMQ__DLEDGER__HELLO_RESPONSE__INIT;
    rsp.format = WIRE_FORMAT;
    rsp.group = p->group;
    rsp.self = p->self;
    if (fault) {
        rsp.refusal = (char *)(uintptr_t)fault;
        metric_add(&p->counters.refused, 1);
        LOG_WARN_EVERY(5000, "replica refused",
                       "why=\"%s\" we: group=%s self=n%u format=%u they: address=%s group=%.64s self=n%d "
                       "to=n%d format=%u",
                       fault, p->group, p->self - 1, WIRE_FORMAT, conn_peer(link->conn), in->group,
                       (int)(in->from - 1), (int)(in->to - 1), in->format);
        closure(&rsp, closure_data);
        conn_close_after_write(link->conn);
        return;
    }
    peers_admit(link, peer, in->channel == LEDGERMQ__DLEDGER__CHANNEL__CHANNEL_CONTROL ? CONTROL : DATA);
    closure(&rsp, closure_data);
}

static void serve_ping(service_t *s, const Ledgermq__Dledger__PingRequest *in,
                       Ledgermq__Dledger__PingResponse_Closure closure, void *closure_data)
{
    (void)s, (void)in;
    Ledgermq__Dledger__PingResponse rsp = LEDGERMQ__DLEDGER__PING_RESPONSE__INIT;
    closure(&rsp, closure_data);
}

static void serve_vote(service_t *s, const wire_vote_req *in, Ledgermq__Dledger__VoteResponse_Closure closure,
                       void *closure_data)
{
    (void)closure, (void)closure_data; /* answered by send */
    struct dl_peers *p = peers_of(s);
    struct dl_msg msg = wire_vote_req_msg(in, p->at->peer->id, p->self);
    p->hooks.on_message(p->hooks.arg, &msg, NULL, 0, 0);
}

static void serve_push(service_t *s, const wire_push_req *in, Ledgermq__Dledger__PushResponse_Closure closure,
                       void *closure_data)
{
    (void)closure, (void)closure_data; /* answered by send */
    struct dl_peers *p = peers_of(s);
    const struct wire_frame *f = p->frame;
    struct dl_msg msg;
    p->bad = wire_push_req_msg(in, f->attached_len, p->at->peer->id, p->self, &msg, &p->bad_err);
    if (p->bad)
        return;
    struct buf *records = f->attached_len > 0 ? buf_copy(f->attached, f->attached_len) : NULL;
    p->hooks.on_message(p->hooks.arg, &msg, records, 0, f->attached_len);
    buf_unref(records);
}

static void serve_timeout_now(service_t *s, const wire_timeout_now_req *in,
                              Ledgermq__Dledger__NoResponse_Closure closure, void *closure_data)
{
    (void)closure, (void)closure_data; /* never answered: the outcome is an election */
    struct dl_peers *p = peers_of(s);
    struct dl_msg msg = wire_timeout_now_msg(in, p->at->peer->id, p->self);
    p->hooks.on_message(p->hooks.arg, &msg, NULL, 0, 0);
}

static void serve_have(service_t *s, const wire_have_req *in, Ledgermq__Dledger__HaveResponse_Closure closure,
                       void *closure_data)
{
    (void)closure, (void)closure_data; /* answered by send */
    struct dl_peers *p = peers_of(s);
    struct dl_msg msg = wire_have_req_msg(in, p->at->peer->id, p->self);
    p->hooks.on_message(p->hooks.arg, &msg, NULL, 0, 0);
}

static void serve_relay(service_t *s, const wire_relay_req *in,
                        Ledgermq__Dledger__RelayResponse_Closure closure, void *closure_data)
{
    struct dl_peers *p = peers_of(s);
    const struct wire_frame *f = p->frame;
    if (f->attached_len == 0 || in->client_port > UINT16_MAX) {
        p->bad = err_set(&p->bad_err, ERR_MALFORMED, "relay of %u bytes, port %u", f->attached_len,
                         in->client_port);
        return;
    }
    metric_add(&p->counters.relays_in, 1);
    if (!p->hooks.on_relay || p->at->channel != DATA) {
        wire_relay_rsp rsp = LEDGERMQ__DLEDGER__RELAY_RESPONSE__INIT;
        rsp.err = ERR_NOT_LEADER;
        closure(&rsp, closure_data);
        return;
    }
    struct sockaddr_in client = {.sin_family = AF_INET, .sin_port = htons((uint16_t)in->client_port)};
    client.sin_addr.s_addr = htonl(in->client_ip);
    p->hooks.on_relay(p->hooks.arg, p->at->peer->id, relay_ticket(p, p->at, f->call), in->term, &client,
                      f->attached, f->attached_len);
}

void service_init(struct dl_peers *p)
{
    static const service_t service = LEDGERMQ__DLEDGER__REPLICA__INIT(serve_);
    p->service = service;
}

/* Answers, by method; `msg` is the method's output. */

static void on_hello_answer(struct dl_peers *p, const ProtobufCMessage *msg)
{
    const wire_hello_rsp *rsp = (const wire_hello_rsp *)msg;
    struct link *link = p->at;
    struct peer *peer = link->peer;
    const char *fault = rsp->refusal[0] ? rsp->refusal : NULL;
    if (!fault && (rsp->format != WIRE_FORMAT || strcmp(rsp->group, p->group) != 0 || rsp->self != peer->id))
        fault = "somebody else answers at this address";
    if (!fault) {
        peers_welcomed(link);
        return;
    }
    metric_add(&p->counters.refused, 1);
    LOG_WARN_EVERY(5000, "refused by replica",
                   "why=\"%.100s\" we: group=%s self=n%u format=%u they: address=%s:%u expected=n%u "
                   "group=%.64s self=n%u format=%u",
                   fault, p->group, p->self - 1, WIRE_FORMAT, peer->host, peer->port, peer->id - 1,
                   rsp->group, rsp->self - 1, rsp->format);
    peer->told_away = true; /* this line says more than "away" could */
    conn_close(link->conn);
}

static void on_vote_answer(struct dl_peers *p, const ProtobufCMessage *msg)
{
    struct dl_msg m = wire_vote_rsp_msg((const wire_vote_rsp *)msg, p->at->peer->id, p->self);
    p->hooks.on_message(p->hooks.arg, &m, NULL, 0, 0);
}

static void on_have_answer(struct dl_peers *p, const ProtobufCMessage *msg)
{
    struct dl_msg m = wire_have_rsp_msg((const wire_have_rsp *)msg, p->at->peer->id, p->self);
    p->hooks.on_message(p->hooks.arg, &m, NULL, 0, 0);
}

static void on_push_answer(struct dl_peers *p, const ProtobufCMessage *msg)
{
    struct dl_msg m;
    p->bad = wire_push_rsp_msg((const wire_push_rsp *)msg, p->at->peer->id, p->self, &m, &p->bad_err);
    if (!p->bad)
        p->hooks.on_message(p->hooks.arg, &m, NULL, 0, 0);
}

static void on_relay_answer(struct dl_peers *p, const ProtobufCMessage *msg)
{
    const wire_relay_rsp *rsp = (const wire_relay_rsp *)msg;
    const struct wire_frame *f = p->frame;
    int err = rsp->err == 0 && f->attached_len == 0 ? ERR_MALFORMED : rsp->err;
    relays_answer(&p->at->peer->relays, f->call, err, err ? NULL : f->attached, err ? 0 : f->attached_len);
}

static void on_answer(void *arg, uint32_t method, const ProtobufCMessage *msg)
{
    static void (*const table[WIRE_METHODS])(struct dl_peers * p, const ProtobufCMessage *msg) = {
        [WIRE_HELLO] = on_hello_answer, [WIRE_VOTE] = on_vote_answer, [WIRE_PUSH] = on_push_answer,
        [WIRE_RELAY] = on_relay_answer, [WIRE_HAVE] = on_have_answer,
    };
    if (table[method]) /* a ping's answer has done its work by being read */
        table[method](arg, msg);
}

int service_frame(struct link *link, const uint8_t *frame, size_t len, struct err *err)
{
    struct dl_peers *p = link->owner;
    struct wire_frame f;
    int rc = wire_parse(frame, len, &f, err);
    if (rc)
        return rc;
    if ((f.kind == WIRE_RESPONSE) != link->outgoing)
        return err_set(err, ERR_MALFORMED, "a %s on an %s connection",
                       f.kind == WIRE_RESPONSE ? "response" : "request",
                       link->outgoing ? "outgoing" : "incoming");
    if (link->ready == (f.method == WIRE_HELLO))
        return err_set(err, ERR_MALFORMED, "method %u %s Hello", f.method, link->ready ? "after" : "before");
    p->at = link;
    p->frame = &f;
    p->bad = 0;
    if (link->outgoing)
        rc = wire_response(&f, on_answer, p, err);
    else
        rc = wire_call(&p->service.base, &f, answer, p, err);
    if (rc == 0 && p->bad) {
        *err = p->bad_err;
        rc = p->bad;
    }
    p->at = NULL;
    p->frame = NULL;
    return rc;
}
