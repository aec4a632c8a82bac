/*
 * wire.h - bytes of a replica connection <-> struct dl_msg, and calls into the generated service. No I/O.
 *
 * A frame (big-endian; docs/formats/replica-rpc.md):
 *   off size
 *   0   4  length of what follows
 *   4   1  kind: 1 request, 2 response
 *   5   1  method: index in service Replica of proto/dledger.proto
 *   6   2  zero
 *   8   4  call id; 0 for requests that nobody correlates (Vote, Push, TimeoutNow, Ping, Have) and their answers
 *   12  4  length of the header, at most WIRE_HEADER_MAX
 *   16  .. header: the method's protobuf message
 *   ..  .. attachment: the rest of the frame (record bytes of a push, a relayed client frame)
 *
 * Everything read here is untrusted: wire_parse, wire_call and wire_response accept any bytes. Private to
 * dledger/net and its tests.
 */
#ifndef DLEDGER_NET_WIRE_H
#define DLEDGER_NET_WIRE_H

#include "common/err.h"
#include "dledger/core/types.h"
#include "proto/dledger.pb-c.h"

#define WIRE_FORMAT     2u /* of this file; a replica that says another number in Hello is refused */
#define WIRE_HEAD       16u
#define WIRE_HEADER_MAX 1024u
#define WIRE_FRAME_MAX   \
    (16u * 1024 * 1024 + \
     64 * 1024) /* the largest record and the largest client frame, with room for the header */
#define WIRE_STRANGER_MAX (WIRE_HEAD + WIRE_HEADER_MAX) /* a frame before Hello: nothing attached */
#define WIRE_GROUP_MAX    255u

enum wire_kind { WIRE_REQUEST = 1, WIRE_RESPONSE = 2 };

/* Places of the methods in the service; wire_check_methods compares them with the generated names. */
enum wire_method {
    WIRE_HELLO,
    WIRE_PING,
    WIRE_VOTE,
    WIRE_PUSH,
    WIRE_TIMEOUT_NOW,
    WIRE_RELAY,
    WIRE_HAVE,
    WIRE_METHODS
};

/* A frame taken apart; pointers into it. */
struct wire_frame {
    enum wire_kind kind;
    uint32_t method; /* < WIRE_METHODS */
    uint32_t call;
    const uint8_t *header, *attached;
    uint32_t header_len, attached_len;
};

/* Broken if the order of enum wire_method is not that of the .proto file. */
void wire_check_methods(void);

/* Take a whole frame (with its length word) apart. ERR_MALFORMED with the reason. */
int wire_parse(const uint8_t *frame, size_t len, struct wire_frame *out, struct err *err) MUSTCHECK;

/* Write frame head and header of a message whose attachment of `attached_len` bytes the caller sends right
 * behind. Returns the bytes written into `dst`. ENSUREs that the message is one of ours (at most
 * WIRE_HEADER_MAX). */
#define WIRE_OUT_MAX (WIRE_HEAD + WIRE_HEADER_MAX)
size_t wire_write(uint8_t dst[WIRE_OUT_MAX], enum wire_kind kind, uint32_t method, uint32_t call,
                  const ProtobufCMessage *msg, size_t attached_len);

/* Decode a request's header and invoke the service's method with it. `closure` may be called by the method,
 * inside, with its answer. The message is lent for the call. ERR_MALFORMED when the bytes are not the
 * method's input. */
int wire_call(ProtobufCService *service, const struct wire_frame *f, ProtobufCClosure closure,
              void *closure_data, struct err *err) MUSTCHECK;
/* Decode a response's header and hand it to fn, which takes the method's output; lent for the call. */
int wire_response(const struct wire_frame *f,
                  void (*fn)(void *arg, uint32_t method, const ProtobufCMessage *msg), void *arg,
                  struct err *err) MUSTCHECK;

/* Generated names are long. */
typedef Ledgermq__Dledger__HelloRequest wire_hello_req;
typedef Ledgermq__Dledger__HelloResponse wire_hello_rsp;
typedef Ledgermq__Dledger__VoteRequest wire_vote_req;
typedef Ledgermq__Dledger__VoteResponse wire_vote_rsp;
typedef Ledgermq__Dledger__PushRequest wire_push_req;
typedef Ledgermq__Dledger__PushResponse wire_push_rsp;
typedef Ledgermq__Dledger__TimeoutNowRequest wire_timeout_now_req;
typedef Ledgermq__Dledger__HaveRequest wire_have_req;
typedef Ledgermq__Dledger__HaveResponse wire_have_rsp;
typedef Ledgermq__Dledger__RelayRequest wire_relay_req;
typedef Ledgermq__Dledger__RelayResponse wire_relay_rsp;

/* struct dl_msg -> message. */
wire_vote_req wire_of_vote_req(const struct dl_msg *m);
wire_vote_rsp wire_of_vote_rsp(const struct dl_msg *m);
wire_push_req wire_of_push_req(const struct dl_msg *m);
wire_push_rsp wire_of_push_rsp(const struct dl_msg *m);
wire_timeout_now_req wire_of_timeout_now(const struct dl_msg *m);
wire_have_req wire_of_have_req(const struct dl_msg *m);
wire_have_rsp wire_of_have_rsp(const struct dl_msg *m);

/* Message -> struct dl_msg; `from` and `to` are those of the connection. The push forms return ERR_MALFORMED
 * for an unknown kind, an APPEND without records, with records that are too many or do not follow prev_index,
 * or records beside anything else. */
struct dl_msg wire_vote_req_msg(const wire_vote_req *w, dl_peer_t from, dl_peer_t to);
struct dl_msg wire_vote_rsp_msg(const wire_vote_rsp *w, dl_peer_t from, dl_peer_t to);
struct dl_msg wire_timeout_now_msg(const wire_timeout_now_req *w, dl_peer_t from, dl_peer_t to);
struct dl_msg wire_have_req_msg(const wire_have_req *w, dl_peer_t from, dl_peer_t to);
struct dl_msg wire_have_rsp_msg(const wire_have_rsp *w, dl_peer_t from, dl_peer_t to);
int wire_push_req_msg(const wire_push_req *w, uint32_t attached_len, dl_peer_t from, dl_peer_t to,
                      struct dl_msg *out, struct err *err) MUSTCHECK;
int wire_push_rsp_msg(const wire_push_rsp *w, dl_peer_t from, dl_peer_t to, struct dl_msg *out,
                      struct err *err) MUSTCHECK;

#endif
