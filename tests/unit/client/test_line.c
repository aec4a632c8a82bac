/* test_line.c - a line's calls through refusals, losses, silence and deadlines, against mock replicas on the
 * same loop. */
#include <check.h>
#include <stdlib.h>

#include "client/line.h"
#include "client/wire.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/client/mock.h"

#define WAIT_MS 10000u
#define CALLS   8

static struct loop *loop;
static struct mock replicas[2];
static struct line *line;
static int troubles;

static struct end {
    struct call call; /* first */
    int count, err, order;
    int32_t code;
} ends[CALLS];
static int end_count;

static void drop_log(void *arg, enum log_level level, const char *text)
{
    (void)arg, (void)level, (void)text;
}

static void on_trouble(void *user)
{
    (void)user;
    troubles++;
}

static const struct line_ops ops = {.on_trouble = on_trouble};

static void setup(void)
{
    log_set_sink(drop_log, NULL);
    loop = loop_new();
    const char *addresses[2];

    for (int i = 0; i < 2; i++) {
        mock_start(&replicas[i], loop, 0);
        addresses[i] = replicas[i].address;
    }
    line = line_new(loop, 1000, &ops, NULL);
    line_set_replicas(line, addresses, 2, 0);
    memset(ends, 0, sizeof(ends));
    end_count = troubles = 0;
}

static void teardown(void)
{
    line_free(line);
    for (int i = 0; i < 2; i++)
        mock_stop(&replicas[i]);
    loop_free(loop);
}

static void on_done(struct call *call, int err, const struct remoting_cmd *answer)
{
    struct end *e = (struct end *)call;

    e->count++;
    e->order = ++end_count;
    e->err = err;
    e->code = answer != NULL ? answer->code : -1;
}

static void send_call(struct end *e, const char *body, uint32_t timeout_ms, uint32_t answer_ms,
                      uint32_t flags)
{
    struct send_fields f = {.group = STR("g"), .topic = STR("T")};

    ck_assert_int_eq(wire_send(&f, body, strlen(body), &e->call.frame), 0);
    e->call.deadline_ms = loop_now_ms(loop) + timeout_ms;
    e->call.answer_ms = answer_ms;
    e->call.flags = flags;
    e->call.done = on_done;
    line_send(line, &e->call);
}

#define TURN_UNTIL(cond)                                       \
    do {                                                       \
        uint64_t end_ = clock_mono_ms() + WAIT_MS;             \
        while (!(cond) && clock_mono_ms() < end_)              \
            loop_turn(loop, 20);                               \
        ck_assert_msg((cond), "never became true: %s", #cond); \
    } while (0)

static int sends_at(int i)
{
    return replicas[i].requests[SEND_MESSAGE_V2];
}

START_TEST(test_goes_to_the_leader)
{
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].err, 0);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(0), 1);
    ck_assert_int_eq(sends_at(1), 0);
    ck_assert_int_eq(troubles, 0);
    ck_assert_uint_eq(line_calls(line), 0);
}
END_TEST

START_TEST(test_not_available_goes_to_the_next)
{
    mock_push(&replicas[0], SEND_MESSAGE_V2, RC_SERVICE_NOT_AVAILABLE);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(1), 1);
    ck_assert_uint_eq(ends[0].call.attempts, 2);
    ck_assert_int_ge(troubles, 1);
    ck_assert_str_eq(line_current(line), replicas[1].address);
}
END_TEST

START_TEST(test_all_refuse_until_one_does_not)
{
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 2; i++)
            mock_push(&replicas[i], SEND_MESSAGE_V2, RC_SERVICE_NOT_AVAILABLE);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(0) + sends_at(1), 7);
}
END_TEST

START_TEST(test_other_codes_are_answers)
{
    mock_push(&replicas[0], SEND_MESSAGE_V2, RC_MESSAGE_ILLEGAL);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].err, 0);
    ck_assert_int_eq(ends[0].code, RC_MESSAGE_ILLEGAL);
    ck_assert_int_eq(sends_at(1), 0);
}
END_TEST

START_TEST(test_busy_is_asked_again_there_or_told)
{
    mock_push(&replicas[0], SEND_MESSAGE_V2, RC_SYSTEM_BUSY);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(0), 2);
    mock_push(&replicas[0], SEND_MESSAGE_V2, RC_SYSTEM_BUSY);
    send_call(&ends[1], "b", WAIT_MS, 0, CALL_KEEP_BUSY);
    TURN_UNTIL(ends[1].count == 1);
    ck_assert_int_eq(ends[1].code, RC_SYSTEM_BUSY);
}
END_TEST

START_TEST(test_a_loss_moves_all_in_order)
{
    for (int i = 0; i < 3; i++)
        mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_SILENT);
    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_CLOSE);
    for (int i = 0; i < 4; i++)
        send_call(&ends[i], "x", WAIT_MS, 0, 0);
    TURN_UNTIL(end_count == 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(ends[i].count, 1);
        ck_assert_int_eq(ends[i].code, 0);
        ck_assert_int_eq(ends[i].order, i + 1);
    }
    ck_assert_int_eq(sends_at(1), 4);
}
END_TEST

START_TEST(test_once_is_not_sent_twice)
{
    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_CLOSE);
    send_call(&ends[0], "a", WAIT_MS, 0, CALL_ONCE);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].err, ERR_IO);
    ck_assert_int_eq(sends_at(1), 0);
}
END_TEST

START_TEST(test_nobody_listens_at_the_leader)
{
    mock_stop(&replicas[0]);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(1), 1);
}
END_TEST

START_TEST(test_silence_moves_on_before_the_deadline)
{
    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_SILENT);
    send_call(&ends[0], "a", WAIT_MS, 50, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(1), 1);
}
END_TEST

START_TEST(test_deadline_in_words)
{
    char text[320];

    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_SILENT);
    send_call(&ends[0], "a", 50, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].err, ERR_TIMEOUT);
    call_explain(&ends[0].call, ERR_TIMEOUT, NULL, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, replicas[0].address));
    ck_assert_ptr_nonnull(strstr(text, "1 attempt"));
    ck_assert_uint_eq(line_calls(line), 0);
}
END_TEST

START_TEST(test_deadline_while_nobody_is_there)
{
    line_set_replicas(line, NULL, 0, -1);
    send_call(&ends[0], "a", 50, 0, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].err, ERR_TIMEOUT);
}
END_TEST

START_TEST(test_replicas_change_under_a_call)
{
    const char *second = replicas[1].address;

    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_SILENT);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(sends_at(0) == 1);
    line_set_replicas(line, &second, 1, 0);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].code, 0);
    ck_assert_int_eq(sends_at(1), 1);
}
END_TEST

START_TEST(test_cancelled_calls_are_not_heard_of)
{
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    line_cancel(line, &ends[0].call);
    send_call(&ends[1], "b", WAIT_MS, 0, 0);
    TURN_UNTIL(ends[1].count == 1);
    ck_assert_int_eq(ends[0].count, 0);
    ck_assert_uint_eq(line_calls(line), 0);
}
END_TEST

START_TEST(test_free_ends_all)
{
    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_SILENT);
    send_call(&ends[0], "a", WAIT_MS, 0, 0);
    TURN_UNTIL(sends_at(0) == 1);
    line_free(line);
    line = NULL;
    ck_assert_int_eq(ends[0].count, 1);
    ck_assert_int_eq(ends[0].err, ERR_CLOSED);
}
END_TEST

START_TEST(test_broadcast_reaches_all_and_its_answers_fit_no_call)
{
    struct remoting_out out;
    struct buf *frame;

    remoting_request(&out, REMOTING_BINARY, HEART_BEAT, 0, false);
    ck_assert_int_eq(remoting_encode(&out, "{}", 2, &frame), 0);
    mock_push(&replicas[0], SEND_MESSAGE_V2, MOCK_SILENT);
    send_call(&ends[0], "a", 200, 0, 0);
    line_broadcast(line, frame);
    TURN_UNTIL(replicas[0].requests[HEART_BEAT] == 1 && replicas[1].requests[HEART_BEAT] == 1);
    TURN_UNTIL(ends[0].count == 1);
    ck_assert_int_eq(ends[0].err, ERR_TIMEOUT);
}
END_TEST

/* As after a power loss, or behind a firewall that has forgotten the connection. */
START_TEST(test_the_only_replica_is_connected_anew_after_silence)
{
    const char *address = replicas[0].address;

    line_set_replicas(line, &address, 1, 0);
    replicas[0].paused = true; /* the first connection, behind its first request */
    send_call(&ends[0], "a", WAIT_MS, 100, 0);
    TURN_UNTIL(ends[0].count == 1);
    replicas[0].paused = false;
    send_call(&ends[1], "b", 300, 100, 0);
    TURN_UNTIL(ends[1].count == 1);
    ck_assert_int_eq(ends[1].err, ERR_TIMEOUT);
    send_call(&ends[2], "c", WAIT_MS, 100, 0);
    TURN_UNTIL(ends[2].count == 1);
    ck_assert_int_eq(ends[2].err, 0);
    ck_assert_str_eq(replicas[0].last_body, "c");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("line");
    TCase *tc = tcase_create("line");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_goes_to_the_leader);
    tcase_add_test(tc, test_not_available_goes_to_the_next);
    tcase_add_test(tc, test_all_refuse_until_one_does_not);
    tcase_add_test(tc, test_other_codes_are_answers);
    tcase_add_test(tc, test_busy_is_asked_again_there_or_told);
    tcase_add_test(tc, test_a_loss_moves_all_in_order);
    tcase_add_test(tc, test_once_is_not_sent_twice);
    tcase_add_test(tc, test_nobody_listens_at_the_leader);
    tcase_add_test(tc, test_silence_moves_on_before_the_deadline);
    tcase_add_test(tc, test_deadline_in_words);
    tcase_add_test(tc, test_deadline_while_nobody_is_there);
    tcase_add_test(tc, test_replicas_change_under_a_call);
    tcase_add_test(tc, test_cancelled_calls_are_not_heard_of);
    tcase_add_test(tc, test_free_ends_all);
    tcase_add_test(tc, test_broadcast_reaches_all_and_its_answers_fit_no_call);
    tcase_add_test(tc, test_the_only_replica_is_connected_anew_after_silence);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
