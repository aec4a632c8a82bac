/* test_http.c - routes, parameters, HEAD, refusals and limits of the HTTP door, seen through plain
 * sockets. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http.h"
#include "common/log.h"
#include "common/loop_internal.h"

#define DEADLINE_MS 10000u

static struct loop *loop;
static struct http *http;
static int calls;

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

static void page_hello(void *user, const struct http_query *query, struct http_answer *answer)
{
    struct str name = http_param(query, "name");
    ck_assert_ptr_eq(user, &loop);
    calls++;
    bld_fmt(&answer->body, "hello %.*s%s", (int)name.len, name.p != NULL ? name.p : "",
            name.p == NULL ? "nobody" : "");
}

static void page_json(void *user, const struct http_query *query, struct http_answer *answer)
{
    (void)user, (void)query;
    answer->status = 503;
    answer->type = "application/json";
    bld_str(&answer->body, STR("{}"));
}

static void page_long(void *user, const struct http_query *query, struct http_answer *answer)
{
    (void)user, (void)query;
    static const char chunk[65536];
    for (size_t sum = 0; sum <= HTTP_BODY_OUT_MAX_BYTES; sum += sizeof(chunk))
        bld_bytes(&answer->body, chunk, sizeof(chunk));
}

static void page_empty(void *user, const struct http_query *query, struct http_answer *answer)
{
    (void)user, (void)query;
    answer->status = 204;
}

static const struct http_route routes[] = {
    {"/hello", page_hello}, {"/json", page_json}, {"/long", page_long}, {"/empty", page_empty}};

static void open_with(struct http_limits limits)
{
    struct err err;
    ck_assert_int_eq(http_open(loop, "127.0.0.1", 0, routes, 4, &loop, &limits, &http, &err), 0);
}

static void setup(void)
{
    log_set_sink(drop_line, NULL);
    calls = 0;
    loop = loop_new();
    open_with(HTTP_LIMITS_DEFAULT);
}

static void teardown(void)
{
    http_close(http);
    loop_free(loop);
}

static int dial(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(http_port(http))};
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    return fd;
}

/* Send the text and read until the server closes; a static buffer. */
static const char *talk(const char *text)
{
    static char got[1 << 16];
    size_t len = 0;
    int fd = dial();
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
    for (;;) {
        ck_assert(clock_mono_ms() < give_up_ms);
        loop_turn(loop, 1);
        ssize_t n = recv(fd, got + len, sizeof(got) - 1 - len, MSG_DONTWAIT);
        if (n > 0)
            len += (size_t)n;
        else if (n == 0 || errno != EAGAIN)
            break;
    }
    close(fd);
    got[len] = 0;
    return got;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    return strlen(text) >= strlen(with) && strcmp(text + strlen(text) - strlen(with), with) == 0;
}

START_TEST(test_get)
{
    const char *got = talk("GET /hello?x=1&name=a%20b%2Bc HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    ck_assert(begins(got, "HTTP/1.1 200"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Type: text/plain; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Length: 11\r\n"));
    ck_assert(ends(got, "\r\n\r\nhello a b+c"));
    got = talk("GET /hello HTTP/1.0\r\n\r\n");
    ck_assert(ends(got, "\r\n\r\nhello nobody"));
}
END_TEST

START_TEST(test_status_and_type)
{
    const char *got = talk("GET /json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    ck_assert(begins(got, "HTTP/1.1 503"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Type: application/json\r\n"));
    ck_assert(ends(got, "\r\n\r\n{}"));
    ck_assert(begins(talk("GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "HTTP/1.1 204"));
}
END_TEST

START_TEST(test_head_has_no_body)
{
    const char *got = talk("HEAD /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    ck_assert(begins(got, "HTTP/1.1 200"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Length: 12\r\n"));
    ck_assert(ends(got, "\r\n\r\n"));
    ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(test_refusals)
{
    ck_assert(begins(talk("GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "HTTP/1.1 404"));
    ck_assert(begins(talk("GET /hello/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "HTTP/1.1 404"));
    ck_assert(begins(talk("GET /long HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "HTTP/1.1 500"));
    const char *got =
        talk("POST /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    ck_assert(begins(got, "HTTP/1.1 501") || begins(got, "HTTP/1.1 405"));
    ck_assert(!begins(talk("\x16\x03\x01 what is this\r\n\r\n"), "HTTP/1.1 200"));
    ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(test_long_headers_are_refused)
{
    char text[20000];
    int len = snprintf(text, sizeof(text), "GET /hello HTTP/1.1\r\nHost: h\r\nX: ");
    memset(text + len, 'x', 12000);
    strcpy(text + len + 12000, "\r\n\r\n");
    ck_assert(!begins(talk(text), "HTTP/1.1 200"));
    ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(test_a_body_is_refused)
{
    char text[4000];
    int len = snprintf(text, sizeof(text), "GET /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
    memset(text + len, 'x', 2000);
    text[len + 2000] = 0;
    ck_assert(!begins(talk(text), "HTTP/1.1 200"));
    ck_assert_int_eq(calls, 0);
}
END_TEST

#define TURN_UNTIL(cond)                                      \
    do {                                                      \
        uint64_t give_up_ms_ = clock_mono_ms() + DEADLINE_MS; \
        while (!(cond) && clock_mono_ms() < give_up_ms_)      \
            loop_turn(loop, 1);                               \
        ck_assert_msg((cond), "%s", #cond);                   \
    } while (0)

START_TEST(test_connections_are_limited)
{
    http_close(http);
    open_with((struct http_limits){8192, 0, 2, 10000});
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = dial(); /* the kernel accepts all into its queue */
    TURN_UNTIL(http_conns(http) == 2);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 1);
    ck_assert_uint_eq(http_conns(http), 2);
    close(fds[0]);
    close(fds[1]);
    const char ask[] = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    ck_assert_int_eq(send(fds[3], ask, sizeof(ask) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(ask) - 1);
    TURN_UNTIL(calls == 1);
    close(fds[2]);
    close(fds[3]);
    TURN_UNTIL(http_conns(http) == 0);
}
END_TEST

static void on_heard(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    *(bool *)arg = true;
}

/* Descriptor numbers are used again: what gets the number of an ended HTTP connection must be heard. */
START_TEST(test_later_descriptors_are_heard)
{
    enum { PAIRS = 4 };
    int pairs[PAIRS][2];
    struct event *events[PAIRS];
    bool heard[PAIRS] = {false};
    talk("GET /hello HTTP/1.0\r\n\r\n"); /* the server ends it */
    for (int i = 0; i < PAIRS; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        events[i] = event_new(loop_base(loop), pairs[i][1], EV_READ, on_heard, &heard[i]);
        ck_assert_int_eq(event_add(events[i], NULL), 0);
        ck_assert_int_eq(write(pairs[i][0], "x", 1), 1);
    }
    TURN_UNTIL(heard[0] && heard[1] && heard[2] && heard[3]);
    for (int i = 0; i < PAIRS; i++) {
        event_free(events[i]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    TURN_UNTIL(http_conns(http) == 0);
}
END_TEST

START_TEST(test_silent_connection_times_out)
{
    http_close(http);
    open_with((struct http_limits){8192, 0, 2, 1000});
    int fd = dial();
    TURN_UNTIL(http_conns(http) == 1);
    TURN_UNTIL(http_conns(http) == 0);
    close(fd);
}
END_TEST

START_TEST(test_close_with_open_connections)
{
    int fd = dial();
    TURN_UNTIL(http_conns(http) == 1);
    http_close(http);
    http = NULL;
    loop_turn(loop, 0);
    char byte;
    ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
    close(fd);
}
END_TEST

START_TEST(test_free_right_after_close)
{
    int fd = dial();
    TURN_UNTIL(http_conns(http) == 1);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *tc = tcase_create("http");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_get);
    tcase_add_test(tc, test_status_and_type);
    tcase_add_test(tc, test_head_has_no_body);
    tcase_add_test(tc, test_refusals);
    tcase_add_test(tc, test_long_headers_are_refused);
    tcase_add_test(tc, test_a_body_is_refused);
    tcase_add_test(tc, test_connections_are_limited);
    tcase_add_test(tc, test_later_descriptors_are_heard);
    tcase_add_test(tc, test_silent_connection_times_out);
    tcase_add_test(tc, test_close_with_open_connections);
    tcase_add_test(tc, test_free_right_after_close);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
