/*
 * wire.c - frames of replica connections, see wire.h.
 *
 * Invariant: decoding takes no memory from the heap. Messages are unpacked into an arena on the stack, so
 * hostile headers (many unknown fields, long strings) end as "malformed" when it is full, whatever their
 * lengths say.
 */
#include "dledger/net/wire.h"

#include "common/bytes.h"
#include "dledger/net/transport.h"

#define ARENA_BYTES 8192u
#define ARENA_ALIGN 16u

struct arena {
    size_t used;
    _Alignas(ARENA_ALIGN) uint8_t bytes[ARENA_BYTES];
};

static void *arena_alloc(void *data, size_t size)
{
    struct arena *a = data;
    if (size > ARENA_BYTES - a->used)
        return NULL;
    void *p = a->bytes + a->used;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    a->used = rounded > ARENA_BYTES - a->used ? ARENA_BYTES : a->used + rounded;
    return p;
}

static void arena_free(void *data, void *p)
{
    (void)data, (void)p;
}

void wire_check_methods(void)
{
    static const char *const names[WIRE_METHODS] = {"Hello",      "Ping",  "Vote", "Push",
                                                    "TimeoutNow", "Relay", "Have"};
    ENSURE(ledgermq__dledger__replica__descriptor.n_methods == WIRE_METHODS);
    for (uint32_t i = 0; i < WIRE_METHODS; i++)
        ENSURE(strcmp(ledgermq__dledger__replica__descriptor.methods[i].name, names[i]) == 0);
}

int wire_parse(const uint8_t *frame, size_t len, struct wire_frame *out, struct err *err)
{
    struct rd r = rd_of(frame, len);
    uint32_t rest = rd_be32(&r);
    uint8_t kind = rd_u8(&r), method = rd_u8(&r);
    uint16_t zero = rd_be16(&r);
    uint32_t call = rd_be32(&r), header_len = rd_be32(&r);
    if (r.bad || (uint64_t)rest + 4 != len)
        return err_set(err, ERR_MALFORMED, "frame of %zu bytes says %u", len, rest);
    if (kind != WIRE_REQUEST && kind != WIRE_RESPONSE)
        return err_set(err, ERR_MALFORMED, "frame kind %u", kind);
    if (method >= WIRE_METHODS)
        return err_set(err, ERR_MALFORMED, "method %u", method);
    if (zero != 0)
        return err_set(err, ERR_MALFORMED, "reserved bytes are %u", zero);
    if (header_len > WIRE_HEADER_MAX || header_len > rd_left(&r))
        return err_set(err, ERR_MALFORMED, "header of %u bytes in a frame of %zu", header_len, len);
    out->kind = (enum wire_kind)kind;
    out->method = method;
    out->call = call;
    out->header_len = header_len;
    out->header = rd_take(&r, header_len);
    out->attached_len = (uint32_t)rd_left(&r);
    out->attached = rd_take(&r, out->attached_len);
    return 0;
}

size_t wire_write(uint8_t dst[WIRE_OUT_MAX], enum wire_kind kind, uint32_t method, uint32_t call,
                  const ProtobufCMessage *msg, size_t attached_len)
{
    size_t header_len = protobuf_c_message_get_packed_size(msg);
    ENSURE(header_len <= WIRE_HEADER_MAX);
    ENSURE(attached_len <= WIRE_FRAME_MAX - WIRE_OUT_MAX);
    struct wr w = wr_of(dst, WIRE_OUT_MAX);
    wr_be32(&w, (uint32_t)(WIRE_HEAD - 4 + header_len + attached_len));
    wr_u8(&w, (uint8_t)kind);
    wr_u8(&w, (uint8_t)method);
    wr_be16(&w, 0);
    wr_be32(&w, call);
    wr_be32(&w, (uint32_t)header_len);
    protobuf_c_message_pack(msg, dst + WIRE_HEAD);
    return WIRE_HEAD + header_len;
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *desc, const struct wire_frame *f,
                                ProtobufCAllocator *allocator, struct err *err)
{
    ProtobufCMessage *msg = protobuf_c_message_unpack(desc, allocator, f->header_len, f->header);
    if (!msg)
        err_set(err, ERR_MALFORMED, "header of %u bytes is not a %s", f->header_len, desc->short_name);
    return msg;
}

int wire_call(ProtobufCService *service, const struct wire_frame *f, ProtobufCClosure closure,
              void *closure_data, struct err *err)
{
    struct arena arena;
    arena.used = 0;
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &arena};
    ProtobufCMessage *msg = unpack(service->descriptor->methods[f->method].input, f, &allocator, err);
    if (!msg)
        return ERR_MALFORMED;
    service->invoke(service, f->method, msg, closure, closure_data);
    return 0;
}

int wire_response(const struct wire_frame *f,
                  void (*fn)(void *arg, uint32_t method, const ProtobufCMessage *msg), void *arg,
                  struct err *err)
{
    struct arena arena;
    arena.used = 0;
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &arena};
    ProtobufCMessage *msg =
        unpack(ledgermq__dledger__replica__descriptor.methods[f->method].output, f, &allocator, err);
    if (!msg)
        return ERR_MALFORMED;
    fn(arg, f->method, msg);
    return 0;
}

wire_vote_req wire_of_vote_req(const struct dl_msg *m)
{
    wire_vote_req w = LEDGERMQ__DLEDGER__VOTE_REQUEST__INIT;
    w.term = m->term;
    w.pre = m->pre;
    w.transfer = m->transfer;
    w.last_index = m->last_index;
    w.last_term = m->last_term;
    w.sent_ms = m->sent_ms;
    return w;
}

wire_timeout_now_req wire_of_timeout_now(const struct dl_msg *m)
{
    wire_timeout_now_req w = LEDGERMQ__DLEDGER__TIMEOUT_NOW_REQUEST__INIT;
    w.term = m->term;
    w.sent_ms = m->sent_ms;
    return w;
}

wire_have_req wire_of_have_req(const struct dl_msg *m)
{
    wire_have_req w = LEDGERMQ__DLEDGER__HAVE_REQUEST__INIT;
    w.term = m->term;
    w.life = m->sent_ms;
    return w;
}

wire_have_rsp wire_of_have_rsp(const struct dl_msg *m)
{
    wire_have_rsp w = LEDGERMQ__DLEDGER__HAVE_RESPONSE__INIT;
    w.term = m->term;
    w.life = m->sent_ms;
    w.last_index = m->last_index;
    return w;
}

wire_vote_rsp wire_of_vote_rsp(const struct dl_msg *m)
{
    wire_vote_rsp w = LEDGERMQ__DLEDGER__VOTE_RESPONSE__INIT;
    w.term = m->term;
    w.pre = m->pre;
    w.granted = m->granted;
    return w;
}

wire_push_req wire_of_push_req(const struct dl_msg *m)
{
    wire_push_req w = LEDGERMQ__DLEDGER__PUSH_REQUEST__INIT;
    w.term = m->term;
    w.kind = (Ledgermq__Dledger__PushKind)m->push;
    w.prev_index = m->prev_index;
    w.prev_term = m->prev_term;
    w.commit = m->commit;
    w.sent_ms = m->sent_ms;
    w.admit = m->admit;
    if (m->push == DL_PUSH_APPEND) {
        w.first = m->first;
        w.last = m->last;
    }
    return w;
}

wire_push_rsp wire_of_push_rsp(const struct dl_msg *m)
{
    wire_push_rsp w = LEDGERMQ__DLEDGER__PUSH_RESPONSE__INIT;
    w.term = m->term;
    w.kind = (Ledgermq__Dledger__PushKind)m->push;
    w.joined = m->joined;
    w.life = m->life;
    w.success = m->success;
    w.match = m->match;
    w.hint_index = m->hint_index;
    w.hint_term = m->hint_term;
    w.last_index = m->last_index;
    w.sent_ms = m->sent_ms;
    return w;
}

struct dl_msg wire_vote_req_msg(const wire_vote_req *w, dl_peer_t from, dl_peer_t to)
{
    return (struct dl_msg){.type = DL_MSG_VOTE_REQ,
                           .from = from,
                           .to = to,
                           .term = w->term,
                           .pre = w->pre,
                           .transfer = w->transfer,
                           .last_index = w->last_index,
                           .last_term = w->last_term,
                           .sent_ms = w->sent_ms};
}

struct dl_msg wire_vote_rsp_msg(const wire_vote_rsp *w, dl_peer_t from, dl_peer_t to)
{
    return (struct dl_msg){.type = DL_MSG_VOTE_RSP,
                           .from = from,
                           .to = to,
                           .term = w->term,
                           .pre = w->pre,
                           .granted = w->granted};
}

struct dl_msg wire_timeout_now_msg(const wire_timeout_now_req *w, dl_peer_t from, dl_peer_t to)
{
    return (struct dl_msg){
        .type = DL_MSG_TIMEOUT_NOW, .from = from, .to = to, .term = w->term, .sent_ms = w->sent_ms};
}

struct dl_msg wire_have_req_msg(const wire_have_req *w, dl_peer_t from, dl_peer_t to)
{
    return (struct dl_msg){
        .type = DL_MSG_HAVE_REQ, .from = from, .to = to, .term = w->term, .sent_ms = w->life};
}

struct dl_msg wire_have_rsp_msg(const wire_have_rsp *w, dl_peer_t from, dl_peer_t to)
{
    return (struct dl_msg){.type = DL_MSG_HAVE_RSP,
                           .from = from,
                           .to = to,
                           .term = w->term,
                           .sent_ms = w->life,
                           .last_index = w->last_index};
}

static bool push_kind_known(Ledgermq__Dledger__PushKind kind)
{
    return kind == LEDGERMQ__DLEDGER__PUSH_KIND__PUSH_COMMIT ||
           kind == LEDGERMQ__DLEDGER__PUSH_KIND__PUSH_COMPARE ||
           kind == LEDGERMQ__DLEDGER__PUSH_KIND__PUSH_APPEND;
}

int wire_push_req_msg(const wire_push_req *w, uint32_t attached_len, dl_peer_t from, dl_peer_t to,
                      struct dl_msg *out, struct err *err)
{
    if (!push_kind_known(w->kind))
        return err_set(err, ERR_MALFORMED, "push kind %d", (int)w->kind);
    bool append = w->kind == LEDGERMQ__DLEDGER__PUSH_KIND__PUSH_APPEND;
    if (append != (attached_len > 0))
        return err_set(err, ERR_MALFORMED, "push kind %d with %u record bytes", (int)w->kind, attached_len);
    if (append && (w->first == 0 || w->first - 1 != w->prev_index || w->last < w->first ||
                   w->last - w->first >= DL_PUSH_ENTRIES_MAX))
        return err_set(err, ERR_MALFORMED, "push of entries %llu..%llu upon %llu",
                       (unsigned long long)w->first, (unsigned long long)w->last,
                       (unsigned long long)w->prev_index);
    *out = (struct dl_msg){.type = DL_MSG_PUSH_REQ,
                           .from = from,
                           .to = to,
                           .term = w->term,
                           .push = (enum dl_push)w->kind,
                           .prev_index = w->prev_index,
                           .prev_term = w->prev_term,
                           .first = append ? w->first : 0,
                           .last = append ? w->last : 0,
                           .commit = w->commit,
                           .sent_ms = w->sent_ms,
                           .admit = w->admit};
    return 0;
}

int wire_push_rsp_msg(const wire_push_rsp *w, dl_peer_t from, dl_peer_t to, struct dl_msg *out,
                      struct err *err)
{
    if (!push_kind_known(w->kind))
        return err_set(err, ERR_MALFORMED, "push kind %d", (int)w->kind);
    *out = (struct dl_msg){.type = DL_MSG_PUSH_RSP,
                           .from = from,
                           .to = to,
                           .term = w->term,
                           .push = (enum dl_push)w->kind,
                           .joined = w->joined,
                           .life = w->life,
                           .success = w->success,
                           .match = w->match,
                           .hint_index = w->hint_index,
                           .hint_term = w->hint_term,
                           .last_index = w->last_index,
                           .sent_ms = w->sent_ms};
    return 0;
}
