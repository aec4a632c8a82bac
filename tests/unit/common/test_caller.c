/* test_caller.c - matching, deadlines, losses, reconnects, pushes, freeing inside callbacks; against a small
 * server on the same loop. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/caller.h"
#include "common/clock.h"
#include "common/dispatch.h"
#include "common/log.h"

#define DEADLINE_MS 10000u
#define LONG_MS     60000u

enum {
    CODE_ECHO = 10,
    CODE_SILENT = 11,
    CODE_CLOSE = 12,
    CODE_PUSH = 13,
    CODE_REVERSE = 14,
    CODE_GARBAGE = 15
};

static struct loop *loop;
static struct listener *listener;
static struct dispatch dispatch;
static struct caller *caller;
static struct conn *server_conn;
static int server_opens, push_answers;
static struct reply_to held[64]; /* REVERSE */
static uint32_t held_count;

static int ups, downs, last_why, pushes;

/* One request's end. */
struct end {
    int calls, err;
    int turn; /* first end is 1 */
    int32_t code;
    char body[64];
};

static int end_count;

static const struct conn_limits limits = {
    .frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
    .frame_min_bytes = 8,
    .out_max_bytes = 64u << 20,
    .conns_max = 10,
};

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

/* ---- the server ---- */

static void handle_echo(struct request *req)
{
    struct bld body = bld_of(1u << 20);
    bld_str(&body, req->cmd->body);
    reply_body(&req->reply, &body);
}

static void handle_silent(struct request *req)
{
    (void)req;
}

static void handle_close(struct request *req)
{
    conn_close(req->conn);
}

static void handle_garbage(struct request *req)
{
    conn_write(req->conn, "\x00\x00\x00\x08\x00\x00\x00\xff{{{{", 12);
}

/* Answered in the opposite order when ten are there. */
static void handle_reverse(struct request *req)
{
    held[held_count++] = req->reply;
    if (held_count < 10)
        return;
    while (held_count > 0) {
        held_count--;
        reply_code(&held[held_count], 0, "n%u", held_count);
    }
}

static void handle_push(struct request *req)
{
    struct remoting_out out;
    struct buf *frame;
    remoting_request(&out, REMOTING_JSON, 40, 777, false);
    ck_assert_int_eq(remoting_encode(&out, "news", 4, &frame), 0);
    conn_write_buf(req->conn, frame);
    reply_ok(&req->reply);
}

static const struct dispatch_row rows[] = {
    {CODE_ECHO, "ECHO", handle_echo, 0},          {CODE_SILENT, "SILENT", handle_silent, 0},
    {CODE_CLOSE, "CLOSE", handle_close, 0},       {CODE_PUSH, "PUSH", handle_push, 0},
    {CODE_REVERSE, "REVERSE", handle_reverse, 0}, {CODE_GARBAGE, "GARBAGE", handle_garbage, 0},
};

static void on_push_answer(void *user, struct conn *conn, const struct remoting_cmd *cmd)
{
    (void)user, (void)conn;
    ck_assert_int_eq(cmd->opaque, 777);
    ck_assert(str_is(cmd->body, "thanks"));
    push_answers++;
}

static void server_open(struct conn *conn)
{
    server_conn = conn;
    server_opens++;
}

static void server_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)!dispatch_frame(&dispatch, conn, NULL, frame, len);
}

static void server_close(struct conn *conn, int why)
{
    (void)conn, (void)why;
    server_conn = NULL;
}

static const struct conn_ops server_ops = {server_frame, server_open, server_close};

/* ---- the asking side ---- */

static void on_request(void *user, struct caller *c, const struct remoting_cmd *cmd)
{
    ck_assert_ptr_eq(user, &loop);
    ck_assert_int_eq(cmd->code, 40);
    ck_assert(str_is(cmd->body, "news"));
    pushes++;
    caller_reply(c, cmd, 0, STR(""), "thanks", 6);
}

static void on_state(void *user, struct caller *c, bool up, int why)
{
    (void)user;
    ck_assert(caller_is_up(c) == up);
    if (up)
        ups++;
    else
        downs++;
    last_why = why;
}

static const struct caller_ops ops = {on_request, on_state};

static void on_end(void *arg, int err, const struct remoting_cmd *cmd)
{
    struct end *e = arg;
    ck_assert((err == 0) == (cmd != NULL));
    e->calls++;
    e->turn = ++end_count;
    e->err = err;
    e->code = cmd != NULL ? cmd->code : -1;
    if (cmd != NULL)
        str_copy(cmd->body.len > 0 ? cmd->body : cmd->remark, e->body, sizeof(e->body));
}

static void ask(int32_t code, const char *body, uint32_t timeout_ms, caller_fn fn, void *arg)
{
    struct remoting_out out;
    remoting_request(&out, REMOTING_JSON, code, 0, false);
    caller_send(caller, &out, body, strlen(body), timeout_ms, fn, arg);
}

static void setup(void)
{
    log_set_sink(drop_line, NULL);
    server_opens = push_answers = ups = downs = last_why = pushes = 0;
    held_count = 0;
    end_count = 0;
    loop = loop_new();
    dispatch_init(&dispatch, rows, sizeof(rows) / sizeof(rows[0]), NULL);
    dispatch.on_response = on_push_answer;
    struct err err;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", 0, &server_ops, &limits, NULL, &listener, &err), 0);
    caller = caller_new(loop, "127.0.0.1", listener_port(listener), 3000, &ops, &loop);
}

static void teardown(void)
{
    caller_free(caller);
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

START_TEST(test_request_and_answer)
{
    struct end a = {0}, b = {0};
    ck_assert(!caller_is_up(caller));
    ask(CODE_ECHO, "one", LONG_MS, on_end, &a);
    ck_assert_uint_eq(caller_pending(caller), 1);
    ck_assert_int_eq(a.calls, 0);
    TURN_UNTIL(a.calls == 1);
    ck_assert_int_eq(a.err, 0);
    ck_assert_str_eq(a.body, "one");
    ck_assert_int_eq(ups, 1);
    ask(CODE_ECHO, "two", LONG_MS, on_end, &b);
    TURN_UNTIL(b.calls == 1);
    ck_assert_str_eq(b.body, "two");
    ck_assert_int_eq(a.calls, 1);
    ck_assert_int_eq(server_opens, 1);
    ck_assert_uint_eq(caller_pending(caller), 0);
}
END_TEST

START_TEST(test_answers_in_any_order)
{
    struct end ends[10] = {0};
    for (int i = 0; i < 10; i++)
        ask(CODE_REVERSE, "", LONG_MS, on_end, &ends[i]);
    TURN_UNTIL(ends[0].calls == 1);
    for (int i = 0; i < 10; i++) {
        char expected[8] = {'n', (char)('0' + i), 0};
        ck_assert_int_eq(ends[i].calls, 1);
        ck_assert_str_eq(ends[i].body, expected);
    }
}
END_TEST

START_TEST(test_deadlines_in_their_order)
{
    /* Silent ones end in order of their deadlines, not of their sending; an answered one does not end
     * again. */
    struct end ends[4] = {0};
    ask(CODE_SILENT, "", 120, on_end, &ends[0]);
    ask(CODE_SILENT, "", 40, on_end, &ends[1]);
    ask(CODE_ECHO, "x", LONG_MS, on_end, &ends[2]);
    ask(CODE_SILENT, "", LONG_MS, on_end, &ends[3]);
    TURN_UNTIL(ends[0].calls == 1 && ends[2].calls == 1);
    ck_assert_int_eq(ends[1].calls, 1);
    ck_assert_int_lt(ends[1].turn, ends[0].turn);
    ck_assert_int_eq(ends[0].err, ERR_TIMEOUT);
    ck_assert_int_eq(ends[1].err, ERR_TIMEOUT);
    ck_assert_int_eq(ends[2].calls, 1);
    ck_assert_int_eq(ends[2].err, 0);
    ck_assert_int_eq(ends[3].calls, 0);
    ck_assert_uint_eq(caller_pending(caller), 1);
    ck_assert(caller_is_up(caller)); /* a missing answer does not cost the connection */
    caller_free(caller);
    caller = NULL;
    ck_assert_int_eq(ends[3].err, ERR_CLOSED);
}
END_TEST

START_TEST(test_loss_fails_all_at_once_and_the_next_request_reconnects)
{
    struct end silent[3] = {0}, last = {0}, after = {0};
    for (int i = 0; i < 3; i++)
        ask(CODE_SILENT, "", LONG_MS, on_end, &silent[i]);
    ask(CODE_CLOSE, "", LONG_MS, on_end, &last);
    TURN_UNTIL(last.calls == 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(silent[i].calls, 1);
        ck_assert_int_eq(silent[i].err, ERR_CLOSED);
    }
    ck_assert_int_eq(downs, 1);
    ck_assert(!caller_is_up(caller));
    ask(CODE_ECHO, "again", LONG_MS, on_end, &after);
    TURN_UNTIL(after.calls == 1);
    ck_assert_str_eq(after.body, "again");
    ck_assert_int_eq(server_opens, 2);
    ck_assert_int_eq(ups, 2);
}
END_TEST

START_TEST(test_nobody_listens)
{
    struct end a = {0};
    listener_close(listener);
    ask(CODE_ECHO, "", LONG_MS, on_end, &a);
    TURN_UNTIL(a.calls == 1);
    ck_assert_int_eq(a.err, ERR_CLOSED);
    ck_assert_int_eq(downs, 1);
    ck_assert_int_eq(last_why, ERR_IO);
    listener = NULL;
}
END_TEST

START_TEST(test_malformed_answer_ends_the_connection)
{
    struct end a = {0};
    ask(CODE_GARBAGE, "", LONG_MS, on_end, &a);
    TURN_UNTIL(a.calls == 1);
    ck_assert_int_eq(a.err, ERR_CLOSED);
}
END_TEST

START_TEST(test_pushed_request_is_answered)
{
    struct end a = {0};
    ask(CODE_PUSH, "", LONG_MS, on_end, &a);
    TURN_UNTIL(push_answers == 1 && a.calls == 1);
    ck_assert_int_eq(pushes, 1);
}
END_TEST

START_TEST(test_oneway)
{
    struct end a = {0};
    ask(CODE_ECHO, "nobody waits", 0, NULL, NULL);
    ck_assert_uint_eq(caller_pending(caller), 0);
    ask(CODE_ECHO, "x", LONG_MS, on_end, &a);
    TURN_UNTIL(a.calls == 1);
    ck_assert_str_eq(a.body, "x");
    ck_assert_uint_eq(dispatch.requests, 2);
}
END_TEST

START_TEST(test_too_many_pending_are_busy)
{
    struct end *ends = calloc(CALLER_PENDING_MAX + 1, sizeof(*ends));
    for (uint32_t i = 0; i <= CALLER_PENDING_MAX; i++)
        ask(CODE_SILENT, "", LONG_MS, on_end, &ends[i]);
    ck_assert_int_eq(ends[CALLER_PENDING_MAX].calls, 1);
    ck_assert_int_eq(ends[CALLER_PENDING_MAX].err, ERR_BUSY);
    ck_assert_uint_eq(caller_pending(caller), CALLER_PENDING_MAX);
    caller_free(caller);
    for (uint32_t i = 0; i < CALLER_PENDING_MAX; i++) {
        ck_assert_int_eq(ends[i].calls, 1);
        ck_assert_int_eq(ends[i].err, ERR_CLOSED);
    }
    caller = NULL;
    free(ends);
}
END_TEST

START_TEST(test_too_large_a_request_is_told)
{
    struct end a = {0};
    struct remoting_out out;
    uint8_t *body = calloc(1, REMOTING_FRAME_MAX_BYTES);
    remoting_request(&out, REMOTING_JSON, CODE_ECHO, 0, false);
    caller_send(caller, &out, body, REMOTING_FRAME_MAX_BYTES, LONG_MS, on_end, &a);
    ck_assert_int_eq(a.calls, 1);
    ck_assert_int_eq(a.err, ERR_TOO_LARGE);
    ck_assert_uint_eq(caller_pending(caller), 0);
    free(body);
}
END_TEST

static int sent, finished;

static void ask_again(void *arg, int err, const struct remoting_cmd *cmd)
{
    (void)arg, (void)cmd;
    ck_assert_int_eq(err, 0);
    finished++;
    if (sent < 50000) {
        sent++;
        ask(CODE_ECHO, "m", LONG_MS, ask_again, NULL);
    }
}

START_TEST(test_pipeline_with_slow_ones_in_between)
{
    enum { WINDOW = 500, SLOW = 40 };
    struct end slow[SLOW] = {0};
    sent = finished = 0;
    /* The slow ones keep their places while the opaques run past the size of the table many times. */
    for (int i = 0; i < WINDOW; i++) {
        sent++;
        ask(CODE_ECHO, "m", LONG_MS, ask_again, NULL);
        if (i < SLOW)
            ask(CODE_SILENT, "", LONG_MS, on_end, &slow[i]);
    }
    TURN_UNTIL(finished == 50000);
    ck_assert_uint_eq(caller_pending(caller), SLOW);
    for (int i = 0; i < SLOW; i++)
        ck_assert_int_eq(slow[i].calls, 0);
    caller_free(caller);
    caller = NULL;
    for (int i = 0; i < SLOW; i++)
        ck_assert_int_eq(slow[i].calls, 1);
}
END_TEST

static void free_caller(void *arg, int err, const struct remoting_cmd *cmd)
{
    on_end(arg, err, cmd);
    caller_free(caller);
    caller = NULL;
}

START_TEST(test_free_inside_an_answer)
{
    struct end a = {0}, b = {0};
    ask(CODE_SILENT, "", LONG_MS, on_end, &b);
    ask(CODE_ECHO, "", LONG_MS, free_caller, &a);
    TURN_UNTIL(a.calls == 1);
    ck_assert_int_eq(b.calls, 1);
    ck_assert_int_eq(b.err, ERR_CLOSED);
    TURN_UNTIL(server_conn == NULL);
}
END_TEST

START_TEST(test_free_inside_a_timeout)
{
    struct end a = {0}, b = {0};
    ask(CODE_SILENT, "", 1, free_caller, &a);
    ask(CODE_SILENT, "", 1, on_end, &b);
    TURN_UNTIL(a.calls == 1);
    ck_assert_int_eq(b.calls, 1);
}
END_TEST

static struct end *heap_end;

static void free_caller_and_more(void *arg, int err, const struct remoting_cmd *cmd)
{
    on_end(arg, err, cmd);
    caller_free(caller);
    caller = NULL;
    ck_assert_int_eq(heap_end->calls, 1); /* called inside caller_free, so this may go */
    free(heap_end);
}

START_TEST(test_free_inside_a_loss)
{
    struct end a = {0};
    heap_end = calloc(1, sizeof(*heap_end));
    ask(CODE_SILENT, "", 1000, free_caller_and_more, &a);
    ask(CODE_CLOSE, "", 2000, on_end, heap_end);
    TURN_UNTIL(a.calls == 1);
    ck_assert_int_eq(a.err, ERR_CLOSED);
}
END_TEST

static void retry(void *arg, int err, const struct remoting_cmd *cmd)
{
    on_end(arg, err, cmd);
    if (err != 0)
        ask(CODE_ECHO, "retried", LONG_MS, retry, arg);
}

START_TEST(test_retry_inside_a_loss_uses_a_new_connection)
{
    struct end a = {0};
    ask(CODE_CLOSE, "", LONG_MS, retry, &a);
    TURN_UNTIL(a.calls == 2);
    ck_assert_int_eq(a.err, 0);
    ck_assert_str_eq(a.body, "retried");
    ck_assert_int_eq(server_opens, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("caller");
    TCase *tc = tcase_create("caller");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_request_and_answer);
    tcase_add_test(tc, test_answers_in_any_order);
    tcase_add_test(tc, test_deadlines_in_their_order);
    tcase_add_test(tc, test_loss_fails_all_at_once_and_the_next_request_reconnects);
    tcase_add_test(tc, test_nobody_listens);
    tcase_add_test(tc, test_malformed_answer_ends_the_connection);
    tcase_add_test(tc, test_pushed_request_is_answered);
    tcase_add_test(tc, test_oneway);
    tcase_add_test(tc, test_too_many_pending_are_busy);
    tcase_add_test(tc, test_too_large_a_request_is_told);
    tcase_add_test(tc, test_pipeline_with_slow_ones_in_between);
    tcase_add_test(tc, test_free_inside_an_answer);
    tcase_add_test(tc, test_free_inside_a_timeout);
    tcase_add_test(tc, test_free_inside_a_loss);
    tcase_add_test(tc, test_retry_inside_a_loss_uses_a_new_connection);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
