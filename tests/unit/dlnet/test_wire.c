/*
 * Frames and messages of replica connections: every message survives the trip, hostile bytes are refused.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/rng.h"
#include "dledger/net/transport.h"
#include "dledger/net/wire.h"

#define FROM 2u
#define TO   3u

/* What a service method saw. */
struct seen {
    Ledgermq__Dledger__Replica_Service service;
    const struct wire_frame *frame;
    uint32_t calls;
    struct dl_msg msg;
    int err;
    char group[WIRE_GROUP_MAX + 1];
    uint32_t from, to;
    dl_term_t relay_term;
};

static void see_hello(Ledgermq__Dledger__Replica_Service *s, const wire_hello_req *in,
                      Ledgermq__Dledger__HelloResponse_Closure closure, void *data)
{
    struct seen *seen = (struct seen *)(void *)s;
    seen->calls++;
    snprintf(seen->group, sizeof seen->group, "%s", in->group);
    seen->from = in->from;
    seen->to = in->to;
    wire_hello_rsp rsp = LEDGERMQ__DLEDGER__HELLO_RESPONSE__INIT;
    rsp.self = TO;
    closure(&rsp, data);
}

static void see_ping(Ledgermq__Dledger__Replica_Service *s, const Ledgermq__Dledger__PingRequest *in,
                     Ledgermq__Dledger__PingResponse_Closure closure, void *data)
{
    (void)in, (void)closure, (void)data;
    ((struct seen *)(void *)s)->calls++;
}

static void see_vote(Ledgermq__Dledger__Replica_Service *s, const wire_vote_req *in,
                     Ledgermq__Dledger__VoteResponse_Closure closure, void *data)
{
    (void)closure, (void)data;
    struct seen *seen = (struct seen *)(void *)s;
    seen->calls++;
    seen->msg = wire_vote_req_msg(in, FROM, TO);
}

static void see_push(Ledgermq__Dledger__Replica_Service *s, const wire_push_req *in,
                     Ledgermq__Dledger__PushResponse_Closure closure, void *data)
{
    (void)closure, (void)data;
    struct seen *seen = (struct seen *)(void *)s;
    seen->calls++;
    struct err err;
    seen->err = wire_push_req_msg(in, seen->frame->attached_len, FROM, TO, &seen->msg, &err);
}

static void see_timeout_now(Ledgermq__Dledger__Replica_Service *s, const wire_timeout_now_req *in,
                            Ledgermq__Dledger__NoResponse_Closure closure, void *data)
{
    (void)closure, (void)data;
    struct seen *seen = (struct seen *)(void *)s;
    seen->calls++;
    seen->msg = wire_timeout_now_msg(in, FROM, TO);
}

static void see_have(Ledgermq__Dledger__Replica_Service *s, const wire_have_req *in,
                     Ledgermq__Dledger__HaveResponse_Closure closure, void *data)
{
    (void)closure, (void)data;
    struct seen *seen = (struct seen *)(void *)s;
    seen->calls++;
    seen->msg = wire_have_req_msg(in, FROM, TO);
}

static void see_relay(Ledgermq__Dledger__Replica_Service *s, const wire_relay_req *in,
                      Ledgermq__Dledger__RelayResponse_Closure closure, void *data)
{
    (void)closure, (void)data;
    struct seen *seen = (struct seen *)(void *)s;
    seen->calls++;
    seen->relay_term = in->term;
}

static const Ledgermq__Dledger__Replica_Service see = LEDGERMQ__DLEDGER__REPLICA__INIT(see_);

static size_t frame_of(uint8_t *dst, enum wire_kind kind, uint32_t method, const void *msg,
                       const char *attached)
{
    size_t len = wire_write(dst, kind, method, 77, msg, strlen(attached));
    memcpy(dst + len, attached, strlen(attached));
    return len + strlen(attached);
}

static struct dl_msg request_trip(uint32_t method, const void *msg, const char *attached)
{
    uint8_t bytes[WIRE_OUT_MAX + 64];
    size_t len = frame_of(bytes, WIRE_REQUEST, method, msg, attached);
    struct wire_frame f;
    struct err err;
    ck_assert_int_eq(wire_parse(bytes, len, &f, &err), 0);
    ck_assert_int_eq(f.kind, WIRE_REQUEST);
    ck_assert_uint_eq(f.method, method);
    ck_assert_uint_eq(f.call, 77);
    ck_assert_uint_eq(f.attached_len, strlen(attached));
    ck_assert(memcmp(f.attached, attached, f.attached_len) == 0);
    struct seen seen = {.service = see, .frame = &f};
    ck_assert_int_eq(wire_call(&seen.service.base, &f, NULL, NULL, &err), 0);
    ck_assert_uint_eq(seen.calls, 1);
    ck_assert_int_eq(seen.err, 0);
    return seen.msg;
}

struct response {
    struct dl_msg msg;
    int rc;
    uint32_t method;
};

static void take_response(void *arg, uint32_t method, const ProtobufCMessage *msg)
{
    struct response *r = arg;
    struct err err;
    r->method = method;
    if (method == WIRE_VOTE)
        r->msg = wire_vote_rsp_msg((const wire_vote_rsp *)msg, FROM, TO);
    else if (method == WIRE_HAVE)
        r->msg = wire_have_rsp_msg((const wire_have_rsp *)msg, FROM, TO);
    else
        r->rc = wire_push_rsp_msg((const wire_push_rsp *)msg, FROM, TO, &r->msg, &err);
}

static struct dl_msg response_trip(uint32_t method, const void *msg)
{
    uint8_t bytes[WIRE_OUT_MAX];
    size_t len = frame_of(bytes, WIRE_RESPONSE, method, msg, "");
    struct wire_frame f;
    struct err err;
    ck_assert_int_eq(wire_parse(bytes, len, &f, &err), 0);
    struct response r = {0};
    ck_assert_int_eq(wire_response(&f, take_response, &r, &err), 0);
    ck_assert_int_eq(r.rc, 0);
    ck_assert_uint_eq(r.method, method);
    return r.msg;
}

static void same(const struct dl_msg *a, const struct dl_msg *b)
{
    ck_assert_int_eq(a->type, b->type);
    ck_assert_uint_eq(a->from, b->from);
    ck_assert_uint_eq(a->to, b->to);
    ck_assert_uint_eq(a->term, b->term);
    ck_assert_int_eq(a->pre, b->pre);
    ck_assert_int_eq(a->transfer, b->transfer);
    ck_assert_uint_eq(a->last_index, b->last_index);
    ck_assert_uint_eq(a->last_term, b->last_term);
    ck_assert_int_eq(a->granted, b->granted);
    ck_assert_int_eq(a->push, b->push);
    ck_assert_uint_eq(a->prev_index, b->prev_index);
    ck_assert_uint_eq(a->prev_term, b->prev_term);
    ck_assert_uint_eq(a->first, b->first);
    ck_assert_uint_eq(a->last, b->last);
    ck_assert_uint_eq(a->commit, b->commit);
    ck_assert_uint_eq(a->sent_ms, b->sent_ms);
    ck_assert_int_eq(a->admit, b->admit);
    ck_assert_int_eq(a->joined, b->joined);
    ck_assert_uint_eq(a->life, b->life);
    ck_assert_int_eq(a->success, b->success);
    ck_assert_uint_eq(a->match, b->match);
    ck_assert_uint_eq(a->hint_index, b->hint_index);
    ck_assert_uint_eq(a->hint_term, b->hint_term);
}

START_TEST(methods_are_in_order)
{
    wire_check_methods();
    ck_assert_str_eq(ledgermq__dledger__replica__descriptor.methods[WIRE_RELAY].name, "Relay");
}
END_TEST

START_TEST(votes)
{
    for (int bits = 0; bits < 4; bits++) {
        struct dl_msg m = {.type = DL_MSG_VOTE_REQ,
                           .from = FROM,
                           .to = TO,
                           .term = UINT64_MAX,
                           .pre = bits & 1,
                           .transfer = bits & 2,
                           .last_index = 1ull << 40,
                           .sent_ms = 77,
                           .last_term = 8};
        wire_vote_req w = wire_of_vote_req(&m);
        struct dl_msg back = request_trip(WIRE_VOTE, &w, "");
        same(&m, &back);
        m = (struct dl_msg){
            .type = DL_MSG_VOTE_RSP, .from = FROM, .to = TO, .term = 9, .pre = bits & 1, .granted = bits & 2};
        wire_vote_rsp r = wire_of_vote_rsp(&m);
        back = response_trip(WIRE_VOTE, &r);
        same(&m, &back);
    }
}
END_TEST

START_TEST(pushes)
{
    for (int kind = DL_PUSH_COMMIT; kind <= DL_PUSH_APPEND; kind++) {
        bool append = kind == DL_PUSH_APPEND;
        struct dl_msg m = {.type = DL_MSG_PUSH_REQ,
                           .from = FROM,
                           .to = TO,
                           .term = 5,
                           .push = (enum dl_push)kind,
                           .prev_index = 41,
                           .prev_term = 4,
                           .first = append ? 42 : 0,
                           .last = append ? 44 : 0,
                           .commit = 40,
                           .sent_ms = 123456789,
                           .admit = !append};
        wire_push_req w = wire_of_push_req(&m);
        struct dl_msg back = request_trip(WIRE_PUSH, &w, append ? "records" : "");
        same(&m, &back);
        m = (struct dl_msg){.type = DL_MSG_PUSH_RSP,
                            .from = FROM,
                            .to = TO,
                            .term = 5,
                            .push = (enum dl_push)kind,
                            .joined = !append,
                            .life = append ? UINT64_MAX : 0,
                            .success = append,
                            .match = 44,
                            .hint_index = 40,
                            .hint_term = 3,
                            .last_index = 50,
                            .sent_ms = 123456789};
        wire_push_rsp r = wire_of_push_rsp(&m);
        back = response_trip(WIRE_PUSH, &r);
        same(&m, &back);
    }
}
END_TEST

START_TEST(questions_of_the_new)
{
    struct dl_msg m = {
        .type = DL_MSG_HAVE_REQ, .from = FROM, .to = TO, .term = 0, .sent_ms = UINT64_C(0xfedcba9876543210)};
    wire_have_req w = wire_of_have_req(&m);
    struct dl_msg back = request_trip(WIRE_HAVE, &w, "");
    same(&m, &back);
    m.type = DL_MSG_HAVE_RSP;
    m.last_index = 17;
    wire_have_rsp r = wire_of_have_rsp(&m);
    back = response_trip(WIRE_HAVE, &r);
    same(&m, &back);
}
END_TEST

START_TEST(hand_over_and_relay)
{
    struct dl_msg want = {.type = DL_MSG_TIMEOUT_NOW, .from = FROM, .to = TO, .term = 12, .sent_ms = 99};
    wire_timeout_now_req t = wire_of_timeout_now(&want);
    struct dl_msg back = request_trip(WIRE_TIMEOUT_NOW, &t, "");
    same(&want, &back);
    wire_relay_req r = LEDGERMQ__DLEDGER__RELAY_REQUEST__INIT;
    r.term = 3;
    request_trip(WIRE_RELAY, &r, "a client's frame");
}
END_TEST

/* Pushes whose numbers contradict each other. */
START_TEST(bad_pushes)
{
    static const struct {
        int kind;
        uint64_t prev, first, last;
        uint32_t attached;
    } bad[] = {
        {0, 0, 0, 0, 0}, /* no kind */
        {4, 0, 0, 0, 0}, /* unknown kind */
        {-1, 0, 0, 0, 0},
        {DL_PUSH_COMMIT, 1, 0, 0, 10}, /* records beside a heartbeat */
        {DL_PUSH_COMPARE, 1, 0, 0, 10},
        {DL_PUSH_APPEND, 4, 5, 6, 0},                        /* no records */
        {DL_PUSH_APPEND, 4, 6, 6, 10},                       /* a gap */
        {DL_PUSH_APPEND, 4, 5, 4, 10},                       /* backwards */
        {DL_PUSH_APPEND, UINT64_MAX, 0, 0, 10},              /* wraps */
        {DL_PUSH_APPEND, 4, 5, 5 + DL_PUSH_ENTRIES_MAX, 10}, /* too many */
        {DL_PUSH_APPEND, 4, 5, UINT64_MAX, 10},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wire_push_req w = LEDGERMQ__DLEDGER__PUSH_REQUEST__INIT;
        w.kind = (Ledgermq__Dledger__PushKind)bad[i].kind;
        w.prev_index = bad[i].prev;
        w.first = bad[i].first;
        w.last = bad[i].last;
        struct dl_msg m;
        struct err err;
        ck_assert_msg(wire_push_req_msg(&w, bad[i].attached, FROM, TO, &m, &err) == ERR_MALFORMED, "row %zu",
                      i);
    }
    wire_push_rsp r = LEDGERMQ__DLEDGER__PUSH_RESPONSE__INIT;
    struct dl_msg m;
    ck_assert_int_eq(wire_push_rsp_msg(&r, FROM, TO, &m, NULL), ERR_MALFORMED);
}
END_TEST

START_TEST(bad_heads)
{
    wire_vote_req w = LEDGERMQ__DLEDGER__VOTE_REQUEST__INIT;
    w.term = 300;
    uint8_t good[WIRE_OUT_MAX], bytes[WIRE_OUT_MAX];
    size_t len = frame_of(good, WIRE_REQUEST, WIRE_VOTE, &w, "");
    struct wire_frame f;
    ck_assert_int_eq(wire_parse(good, len, &f, NULL), 0);
    static const struct {
        size_t at;
        uint8_t value;
    } bad[] = {
        {3, 0}, {0, 1}, {4, 0},    {4, 3},  {5, WIRE_METHODS}, {5, 255},
        {6, 1}, {7, 1}, {12, 255}, {14, 5}, {15, 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(bytes, good, len);
        bytes[bad[i].at] = bad[i].value;
        ck_assert_msg(wire_parse(bytes, len, &f, NULL) == ERR_MALFORMED, "row %zu", i);
    }
    for (size_t cut = 0; cut < len; cut++)
        ck_assert_int_eq(wire_parse(good, cut, &f, NULL), ERR_MALFORMED);
}
END_TEST

START_TEST(bad_headers)
{
    /* A field whose length runs over the end; a header full of unknown fields that needs more memory than a
     * decoder gets. */
    uint8_t bytes[WIRE_OUT_MAX] = {0, 0, 0, 0, WIRE_REQUEST, WIRE_HELLO};
    struct seen seen = {.service = see};
    struct wire_frame f;
    put_be32(bytes, WIRE_HEAD - 4 + 3);
    put_be32(bytes + 12, 3);
    bytes[16] = 0x12, bytes[17] = 0x7f, bytes[18] = 'x';
    ck_assert_int_eq(wire_parse(bytes, WIRE_HEAD + 3, &f, NULL), 0);
    ck_assert_int_eq(wire_call(&seen.service.base, &f, NULL, NULL, NULL), ERR_MALFORMED);

    put_be32(bytes, WIRE_HEAD - 4 + 1024);
    put_be32(bytes + 12, 1024);
    for (int i = 0; i < 512; i++)
        bytes[16 + 2 * i] = 0x78, bytes[17 + 2 * i] = 1; /* field 15, varint */
    ck_assert_int_eq(wire_parse(bytes, WIRE_HEAD + 1024, &f, NULL), 0);
    ck_assert_int_eq(wire_call(&seen.service.base, &f, NULL, NULL, NULL), ERR_MALFORMED);
    ck_assert_uint_eq(seen.calls, 0);
}
END_TEST

static void count_answer(const ProtobufCMessage *msg, void *arg)
{
    ck_assert_ptr_eq(msg->descriptor, &ledgermq__dledger__hello_response__descriptor);
    ++*(uint32_t *)arg;
}

START_TEST(hello_is_answered_through_the_closure)
{
    wire_hello_req w = LEDGERMQ__DLEDGER__HELLO_REQUEST__INIT;
    char group[WIRE_GROUP_MAX + 1];
    memset(group, 'g', WIRE_GROUP_MAX);
    group[WIRE_GROUP_MAX] = 0;
    w.group = group;
    w.from = FROM;
    w.to = TO;
    uint8_t bytes[WIRE_OUT_MAX];
    size_t len = frame_of(bytes, WIRE_REQUEST, WIRE_HELLO, &w, "");
    struct wire_frame f;
    ck_assert_int_eq(wire_parse(bytes, len, &f, NULL), 0);
    struct seen seen = {.service = see, .frame = &f};
    uint32_t answers = 0;
    ck_assert_int_eq(wire_call(&seen.service.base, &f, count_answer, &answers, NULL), 0);
    ck_assert_uint_eq(answers, 1);
    ck_assert_str_eq(seen.group, group);
    ck_assert_uint_eq(seen.from, FROM);
    ck_assert_uint_eq(seen.to, TO);
}
END_TEST

static void ignore_answer(const ProtobufCMessage *msg, void *arg)
{
    (void)msg, (void)arg;
}

static void ignore_response(void *arg, uint32_t method, const ProtobufCMessage *msg)
{
    (void)msg;
    ck_assert_uint_lt(method, WIRE_METHODS);
    ++*(uint32_t *)arg;
}

/* Random damage to good frames: whatever comes, decoding ends with an answer and reads nothing outside (the
 * sanitizers watch). */
START_TEST(random_damage)
{
    struct rng rng;
    rng_seed(&rng, 20);
    wire_push_req w = LEDGERMQ__DLEDGER__PUSH_REQUEST__INIT;
    w.term = 70000, w.kind = LEDGERMQ__DLEDGER__PUSH_KIND__PUSH_APPEND, w.prev_index = 9, w.first = 10,
    w.last = 300;
    uint8_t good[WIRE_OUT_MAX + 16];
    size_t len = frame_of(good, WIRE_REQUEST, WIRE_PUSH, &w, "0123456789");
    uint32_t parsed = 0, decoded = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t *bytes = malloc(len);
        memcpy(bytes, good, len);
        for (uint64_t flips = rng_between(&rng, 1, 4); flips > 0; flips--)
            bytes[rng_between(&rng, 4, len - 1)] = (uint8_t)rng_next(&rng);
        struct wire_frame f;
        if (wire_parse(bytes, len, &f, NULL) == 0) {
            parsed++;
            struct seen seen = {.service = see, .frame = &f};
            if (wire_call(&seen.service.base, &f, ignore_answer, NULL, NULL) == 0)
                decoded++;
            uint32_t n = 0;
            int rc = wire_response(&f, ignore_response, &n, NULL);
            ck_assert_uint_eq(n, rc == 0 ? 1 : 0);
        }
        free(bytes);
    }
    ck_assert_uint_gt(parsed, 1000);
    ck_assert_uint_gt(decoded, 100);
    ck_assert_uint_lt(decoded, parsed);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dlnet/wire");
    TCase *t = tcase_create("wire");
    tcase_add_test(t, methods_are_in_order);
    tcase_add_test(t, votes);
    tcase_add_test(t, pushes);
    tcase_add_test(t, questions_of_the_new);
    tcase_add_test(t, hand_over_and_relay);
    tcase_add_test(t, bad_pushes);
    tcase_add_test(t, bad_heads);
    tcase_add_test(t, bad_headers);
    tcase_add_test(t, hello_is_answered_through_the_closure);
    tcase_add_test(t, random_damage);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
