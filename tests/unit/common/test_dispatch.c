/* test_dispatch.c - rows, unknown codes, malformed frames, oneway, responses, late answers, relayed frames;
 * over a real connection. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/dispatch.h"
#include "common/log.h"

#define DEADLINE_MS 10000u

enum {
    CODE_ECHO = 10,
    CODE_LATE = 11,
    CODE_PARK = 12,
    CODE_BIG = 13,
    CODE_FAIL = 14,
    CODE_FULL = 15,
    CODE_POP = 200050
};

static struct loop *loop;
static struct listener *listener;
static struct dispatch dispatch;
static struct conn *client;
static struct conn *server_conn;
static int client_closes, server_closes;
static struct reply_to kept;
static int responses;

/* The answer that came last. */
static uint64_t answers;
static int32_t answer_code, answer_opaque;
static enum remoting_form answer_form;
static char answer_remark[200], answer_body[200], answer_field[50];
static size_t answer_body_len;

static struct conn_limits limits = {
    .frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
    .frame_min_bytes = 8,
    .out_max_bytes = 64u << 20,
    .connect_ms = 5000,
    .conns_max = 10,
};

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

static void handle_echo(struct request *req)
{
    ck_assert_ptr_eq(req->user, &loop);
    ck_assert_int_eq(req->reply.code, req->cmd->code);
    struct remoting_out out;
    reply_begin(&req->reply, &out, 0, STR("fine"));
    remoting_put_str(&out, "field", remoting_str(req->cmd, "field"));
    reply_out(&req->reply, &out, buf_copy(req->cmd->body.p, req->cmd->body.len));
}

static void handle_late(struct request *req)
{
    kept = req->reply;
}

static void handle_never(struct request *req)
{
    (void)req;
    ck_abort_msg("`before` has taken this request");
}

static void handle_big(struct request *req)
{
    struct remoting_out out;
    reply_begin(&req->reply, &out, 0, STR(""));
    struct buf *body = buf_new(REMOTING_FRAME_MAX_BYTES + 1);
    memset(body->data, 0, body->cap);
    body->len = REMOTING_FRAME_MAX_BYTES + 1;
    reply_out(&req->reply, &out, body);
}

static void handle_fail(struct request *req)
{
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "topic %s is not there", "T");
    reply_err(&req->reply, &err);
}

static void handle_full(struct request *req)
{
    struct bld body = bld_of(req->cmd->body.len);
    bld_str(&body, STR("12345678"));
    reply_body(&req->reply, &body);
}

static void handle_pop(struct request *req)
{
    reply_ok(&req->reply);
}

static const struct dispatch_row rows[] = {
    {CODE_POP, "POP", handle_pop, 0},    {CODE_ECHO, "ECHO", handle_echo, 0},
    {CODE_LATE, "LATE", handle_late, 0}, {CODE_PARK, "PARK", handle_never, 7},
    {CODE_BIG, "BIG", handle_big, 0},    {CODE_FAIL, "FAIL", handle_fail, 0},
    {CODE_FULL, "FULL", handle_full, 0},
};

static bool before(struct request *req, const struct dispatch_row *row)
{
    ck_assert_int_eq(row->code, req->cmd->code);
    if (row->flags != 7)
        return false;
    reply_code(&req->reply, 77, "parked %s", row->name);
    return true;
}

static void on_response(void *user, struct conn *conn, const struct remoting_cmd *cmd)
{
    ck_assert_ptr_eq(user, &loop);
    ck_assert_ptr_eq(conn, server_conn);
    ck_assert_int_eq(cmd->opaque, 4711);
    responses++;
}

static void server_open(struct conn *conn)
{
    server_conn = conn;
}

static void server_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)!dispatch_frame(&dispatch, conn, NULL, frame, len);
}

static void server_close(struct conn *conn, int why)
{
    (void)conn, (void)why;
    server_closes++;
}

static void read_answer(const uint8_t *frame, size_t len)
{
    static struct remoting_cmd cmd;
    struct err err;
    ck_assert_int_eq(remoting_decode(frame, len, &cmd, &err), 0);
    ck_assert_int_eq(cmd.flag, REMOTING_FLAG_RESPONSE);
    answers++;
    answer_code = cmd.code;
    answer_opaque = cmd.opaque;
    answer_form = cmd.form;
    ck_assert(str_copy(cmd.remark, answer_remark, sizeof(answer_remark)));
    ck_assert(str_copy(remoting_str(&cmd, "field"), answer_field, sizeof(answer_field)));
    answer_body_len = cmd.body.len;
    if (cmd.body.len < sizeof(answer_body))
        str_copy(cmd.body, answer_body, sizeof(answer_body));
    remoting_release(&cmd);
}

static void client_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)conn;
    read_answer(frame, len);
}

static void client_close(struct conn *conn, int why)
{
    (void)conn, (void)why;
    client_closes++;
}

static const struct conn_ops server_ops = {server_frame, server_open, server_close};
static const struct conn_ops client_ops = {client_frame, NULL, client_close};

static void setup(void)
{
    log_set_sink(drop_line, NULL);
    client_closes = server_closes = responses = 0;
    answers = 0;
    kept = (struct reply_to){0};
    loop = loop_new();
    struct err err;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", 0, &server_ops, &limits, NULL, &listener, &err), 0);
    dispatch_init(&dispatch, rows, sizeof(rows) / sizeof(rows[0]), &loop);
    dispatch.before = before;
    dispatch.on_response = on_response;
    client = conn_connect(loop, "127.0.0.1", listener_port(listener), &client_ops, &limits, NULL);
}

static void teardown(void)
{
    listener_close(listener);
    loop_free(loop);
    dispatch_release(&dispatch);
}

#define TURN_UNTIL(cond)                                      \
    do {                                                      \
        uint64_t give_up_ms_ = clock_mono_ms() + DEADLINE_MS; \
        while (!(cond) && clock_mono_ms() < give_up_ms_)      \
            loop_turn(loop, 10);                              \
        ck_assert_msg((cond), "%s", #cond);                   \
    } while (0)

static struct buf *request_frame(enum remoting_form form, int32_t code, int32_t opaque, bool oneway,
                                 struct str body)
{
    struct remoting_out out;
    struct buf *frame;
    remoting_request(&out, form, code, opaque, oneway);
    remoting_put_str(&out, "field", STR("value"));
    ck_assert_int_eq(remoting_encode(&out, body.p, body.len, &frame), 0);
    return frame;
}

static void ask(enum remoting_form form, int32_t code, int32_t opaque)
{
    conn_write_buf(client, request_frame(form, code, opaque, false, STR("body")));
}

START_TEST(test_row_is_called_and_answered)
{
    ask(REMOTING_JSON, CODE_ECHO, -5);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_code, 0);
    ck_assert_int_eq(answer_opaque, -5);
    ck_assert_int_eq(answer_form, REMOTING_JSON);
    ck_assert_str_eq(answer_remark, "fine");
    ck_assert_str_eq(answer_field, "value");
    ck_assert_str_eq(answer_body, "body");
}
END_TEST

START_TEST(test_answer_has_the_form_of_the_request)
{
    ask(REMOTING_BINARY, CODE_ECHO, 6);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_form, REMOTING_BINARY);
    ck_assert_str_eq(answer_field, "value");
}
END_TEST

START_TEST(test_large_codes_are_found)
{
    ask(REMOTING_JSON, CODE_POP, 1);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_code, 0);
    ck_assert_uint_eq(answer_body_len, 0);
}
END_TEST

START_TEST(test_unknown_codes_are_answered_with_3)
{
    const int32_t codes[] = {9, 1023, 1024, 200051, -1, INT32_MAX, INT32_MIN};
    const uint64_t n = sizeof(codes) / sizeof(codes[0]);
    for (uint64_t i = 0; i < n; i++) {
        ask(REMOTING_JSON, codes[i], (int32_t)i);
        TURN_UNTIL(answers == i + 1);
        char expected[64];
        snprintf(expected, sizeof(expected), "request code %d not supported", codes[i]);
        ck_assert_int_eq(answer_code, 3);
        ck_assert_str_eq(answer_remark, expected);
    }
    ck_assert_uint_eq(dispatch.unknown, n);
    ck_assert_uint_eq(dispatch.requests, n);
}
END_TEST

START_TEST(test_before_may_take_the_request)
{
    ask(REMOTING_JSON, CODE_PARK, 1);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_code, 77);
    ck_assert_str_eq(answer_remark, "parked PARK");
}
END_TEST

START_TEST(test_oneway_is_never_answered)
{
    const int32_t codes[] = {CODE_ECHO, CODE_FAIL, CODE_FULL, CODE_BIG, CODE_PARK, 999};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        conn_write_buf(client, request_frame(REMOTING_JSON, codes[i], 5, true, STR("body")));
    ask(REMOTING_JSON, CODE_ECHO, 6);
    TURN_UNTIL(answers > 0);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(answer_opaque, 6);
    ck_assert_uint_eq(dispatch.requests, 7);
}
END_TEST

START_TEST(test_responses_go_to_on_response)
{
    struct remoting_out out;
    struct buf *frame;
    remoting_request(&out, REMOTING_JSON, 0, 4711, false);
    out.flag = REMOTING_FLAG_RESPONSE;
    ck_assert_int_eq(remoting_encode(&out, NULL, 0, &frame), 0);
    conn_write_buf(client, frame);
    TURN_UNTIL(responses == 1);
    ck_assert_uint_eq(dispatch.requests, 0);
}
END_TEST

START_TEST(test_malformed_frame_costs_its_connection)
{
    conn_write(client, "\x00\x00\x00\x08\x00\x00\x00\xff{{{{", 12);
    TURN_UNTIL(client_closes == 1 && server_closes == 1);
    ck_assert_uint_eq(dispatch.malformed, 1);
    ck_assert_uint_eq(answers, 0);
}
END_TEST

START_TEST(test_late_answer)
{
    ask(REMOTING_JSON, CODE_LATE, 8);
    TURN_UNTIL(kept.send != NULL);
    struct bld body = bld_of(100);
    bld_fmt(&body, "late %d", 1);
    reply_body(&kept, &body);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_opaque, 8);
    ck_assert_str_eq(answer_body, "late 1");
}
END_TEST

START_TEST(test_answer_to_a_connection_that_has_gone)
{
    ask(REMOTING_JSON, CODE_LATE, 8);
    TURN_UNTIL(kept.send != NULL);
    conn_close(client);
    TURN_UNTIL(server_closes == 1);
    struct buf *body = buf_new(10);
    body->len = 10;
    memset(body->data, 0, 10);
    struct remoting_out out;
    reply_begin(&kept, &out, 0, STR(""));
    reply_out(&kept, &out, buf_ref(body));
    ck_assert_uint_eq(atomic_load(&body->refs), 1);
    buf_unref(body);
}
END_TEST

START_TEST(test_answer_over_the_frame_limit_becomes_an_error)
{
    ask(REMOTING_JSON, CODE_BIG, 3);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_code, 1);
    ck_assert_int_eq(answer_opaque, 3);
}
END_TEST

START_TEST(test_error_and_full_builder)
{
    ask(REMOTING_JSON, CODE_FAIL, 3);
    TURN_UNTIL(answers == 1);
    ck_assert_int_eq(answer_code, err_rmq_code(ERR_NOT_FOUND));
    ck_assert_str_eq(answer_remark, "topic T is not there");
    ask(REMOTING_JSON, CODE_FULL, 4);
    TURN_UNTIL(answers == 2);
    ck_assert_int_eq(answer_code, 1);
}
END_TEST

static uint64_t relayed_to;
static void relay_send(void *arg, uint64_t conn_id, struct buf *head, struct buf *body)
{
    ck_assert_ptr_eq(arg, &relayed_to);
    relayed_to = conn_id;
    /* In one piece for the decoder. */
    struct bld all = bld_of(10000);
    bld_bytes(&all, head->data, head->len);
    if (body != NULL)
        bld_bytes(&all, body->data, body->len);
    buf_unref(head);
    buf_unref(body);
    struct buf *frame = bld_take(&all);
    read_answer(frame->data, frame->len);
    buf_unref(frame);
}

START_TEST(test_relayed_frame_is_answered_through_its_sender)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = 99};
    struct reply_to to = {.send = relay_send, .arg = &relayed_to, .conn_id = 314};
    struct buf *frame = request_frame(REMOTING_JSON, CODE_ECHO, 21, false, STR("body"));
    ck_assert_int_eq(dispatch_relayed(&dispatch, &from, to, frame->data, frame->len), 0);
    ck_assert_uint_eq(relayed_to, 314);
    ck_assert_int_eq(answer_opaque, 21);
    ck_assert_str_eq(answer_body, "body");
    ck_assert_int_eq(dispatch_relayed(&dispatch, &from, to, frame->data, 7), ERR_MALFORMED);
    buf_unref(frame);
}
END_TEST

START_TEST(test_thousands_of_pipelined_requests)
{
    enum { REQUESTS = 20000 };
    for (int32_t i = 0; i < REQUESTS; i++)
        ask(i % 2 ? REMOTING_JSON : REMOTING_BINARY, CODE_ECHO, i);
    TURN_UNTIL(answers == REQUESTS);
    ck_assert_int_eq(answer_opaque, REQUESTS - 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dispatch");
    TCase *tc = tcase_create("dispatch");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_row_is_called_and_answered);
    tcase_add_test(tc, test_answer_has_the_form_of_the_request);
    tcase_add_test(tc, test_large_codes_are_found);
    tcase_add_test(tc, test_unknown_codes_are_answered_with_3);
    tcase_add_test(tc, test_before_may_take_the_request);
    tcase_add_test(tc, test_oneway_is_never_answered);
    tcase_add_test(tc, test_responses_go_to_on_response);
    tcase_add_test(tc, test_malformed_frame_costs_its_connection);
    tcase_add_test(tc, test_late_answer);
    tcase_add_test(tc, test_answer_to_a_connection_that_has_gone);
    tcase_add_test(tc, test_answer_over_the_frame_limit_becomes_an_error);
    tcase_add_test(tc, test_error_and_full_builder);
    tcase_add_test(tc, test_relayed_frame_is_answered_through_its_sender);
    tcase_add_test(tc, test_thousands_of_pipelined_requests);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
