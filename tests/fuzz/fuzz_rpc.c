/*
 * Replica connections: frame decoder, protobuf headers, dispatch through the generated service and conversion
 * to struct dl_msg, on any bytes.
 *
 * Input: one frame. What decodes must be within the limits that the code behind relies on, and must survive
 * being written and read again.
 */
#include "dledger/net/transport.h"
#include "dledger/net/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef Ledgermq__Dledger__Replica_Service service_t;
static const struct wire_frame *frame;

static void check(const struct dl_msg *m)
{
    ENSURE(m->from == 1 && m->to == 2);
    if (m->type == DL_MSG_PUSH_REQ && m->push == DL_PUSH_APPEND) {
        ENSURE(m->first == m->prev_index + 1);
        ENSURE(m->last >= m->first && m->last - m->first < DL_PUSH_ENTRIES_MAX);
        ENSURE(frame->attached_len > 0);
    }
}

static void rewrite(uint32_t method, const ProtobufCMessage *in)
{
    uint8_t bytes[WIRE_OUT_MAX];
    struct wire_frame again;
    if (protobuf_c_message_get_packed_size(in) > WIRE_HEADER_MAX)
        return; /* not ours: padded or unknown fields may grow */
    size_t len = wire_write(bytes, frame->kind, method, frame->call, in, 0);
    ENSURE(wire_parse(bytes, len, &again, NULL) == 0);
    ENSURE(again.method == method && again.call == frame->call);
}

static void fuzz_hello(service_t *s, const wire_hello_req *in,
                       Ledgermq__Dledger__HelloResponse_Closure closure, void *data)
{
    (void)s;
    ENSURE(strlen(in->group) <= WIRE_HEADER_MAX);
    rewrite(WIRE_HELLO, &in->base);
    wire_hello_rsp rsp = LEDGERMQ__DLEDGER__HELLO_RESPONSE__INIT;
    closure(&rsp, data);
}

static void fuzz_ping(service_t *s, const Ledgermq__Dledger__PingRequest *in,
                      Ledgermq__Dledger__PingResponse_Closure closure, void *data)
{
    (void)s, (void)closure, (void)data;
    rewrite(WIRE_PING, &in->base);
}

static void fuzz_vote(service_t *s, const wire_vote_req *in, Ledgermq__Dledger__VoteResponse_Closure closure,
                      void *data)
{
    (void)s, (void)closure, (void)data;
    struct dl_msg m = wire_vote_req_msg(in, 1, 2);
    check(&m);
    wire_vote_req w = wire_of_vote_req(&m);
    rewrite(WIRE_VOTE, &w.base);
}

static void fuzz_push(service_t *s, const wire_push_req *in, Ledgermq__Dledger__PushResponse_Closure closure,
                      void *data)
{
    (void)s, (void)closure, (void)data;
    struct dl_msg m;
    struct err err;
    if (wire_push_req_msg(in, frame->attached_len, 1, 2, &m, &err))
        return;
    check(&m);
    wire_push_req w = wire_of_push_req(&m);
    rewrite(WIRE_PUSH, &w.base);
}

static void fuzz_timeout_now(service_t *s, const wire_timeout_now_req *in,
                             Ledgermq__Dledger__NoResponse_Closure closure, void *data)
{
    (void)s, (void)closure, (void)data;
    struct dl_msg m = wire_timeout_now_msg(in, 1, 2);
    check(&m);
}

static void fuzz_relay(service_t *s, const wire_relay_req *in,
                       Ledgermq__Dledger__RelayResponse_Closure closure, void *data)
{
    (void)s, (void)closure, (void)data;
    rewrite(WIRE_RELAY, &in->base);
}

static void fuzz_have(service_t *s, const wire_have_req *in, Ledgermq__Dledger__HaveResponse_Closure closure,
                      void *data)
{
    (void)s, (void)closure, (void)data;
    struct dl_msg m = wire_have_req_msg(in, 1, 2);
    check(&m);
    wire_have_req w = wire_of_have_req(&m);
    rewrite(WIRE_HAVE, &w.base);
}

static void on_answer(const ProtobufCMessage *msg, void *arg)
{
    ENSURE(msg->descriptor == &ledgermq__dledger__hello_response__descriptor);
    ++*(uint32_t *)arg;
}

static void on_response(void *arg, uint32_t method, const ProtobufCMessage *msg)
{
    (void)arg;
    struct dl_msg m;
    struct err err;
    ENSURE(method < WIRE_METHODS);
    if (method == WIRE_VOTE) {
        m = wire_vote_rsp_msg((const wire_vote_rsp *)msg, 1, 2);
        check(&m);
    } else if (method == WIRE_HAVE) {
        m = wire_have_rsp_msg((const wire_have_rsp *)msg, 1, 2);
        check(&m);
    } else if (method == WIRE_PUSH && wire_push_rsp_msg((const wire_push_rsp *)msg, 1, 2, &m, &err) == 0) {
        check(&m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static service_t service = LEDGERMQ__DLEDGER__REPLICA__INIT(fuzz_);
    struct wire_frame f;
    struct err err;
    uint32_t answers = 0;
    if (wire_parse(data, size, &f, &err))
        return 0;
    ENSURE(f.header_len <= WIRE_HEADER_MAX && f.method < WIRE_METHODS);
    ENSURE(WIRE_HEAD + f.header_len + (size_t)f.attached_len == size);
    frame = &f;
    if (f.kind == WIRE_RESPONSE)
        (void)!wire_response(&f, on_response, NULL, &err);
    else if (wire_call(&service.base, &f, on_answer, &answers, &err) == 0)
        ENSURE(answers == (f.method == WIRE_HELLO));
    return 0;
}
