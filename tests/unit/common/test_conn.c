/* test_conn.c - frames both ways over real loopback sockets, limits, ends, deadlines, look-up by id. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conn.h"
#include "common/log.h"

#define DEADLINE_MS 10000u
#define NOT_CLOSED  12345

/* What one end has seen. */
struct seen {
    struct conn *conn;
    uint64_t id;
    int opens, closes, why;
    const char *why_text;
    uint64_t frames, bytes;
    uint32_t last_len;
    uint8_t last[64];
};

static struct loop *loop;
static struct listener *listener;
static struct seen server, client;
static bool server_echoes;
static void (*server_hook)(struct conn *conn, const uint8_t *frame, size_t len);

static struct conn_limits limits = {
    .frame_max_bytes = 16u << 20,
    .frame_min_bytes = 8,
    .out_max_bytes = 64u << 20,
    .connect_ms = 5000,
    .conns_max = 100,
};

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

static void on_open(struct conn *conn)
{
    struct seen *s = conn_user(conn);
    ck_assert(conn_is_open(conn));
    s->conn = conn;
    s->id = conn_id(conn);
    s->opens++;
}

static void on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct seen *s = conn_user(conn);
    ck_assert_uint_eq(get_be32(frame) + 4, len);
    s->frames++;
    s->bytes += len;
    s->last_len = (uint32_t)len;
    memcpy(s->last, frame, len < sizeof(s->last) ? len : sizeof(s->last));
    if (s == &server && server_hook != NULL)
        server_hook(conn, frame, len);
    else if (s == &server && server_echoes)
        conn_write(conn, frame, len);
}

static void on_close(struct conn *conn, int why)
{
    struct seen *s = conn_user(conn);
    ck_assert_ptr_null(conn_by_id(loop, conn_id(conn)));
    s->conn = NULL;
    s->closes++;
    s->why = why;
    s->why_text = conn_why_text(conn);
}

static const struct conn_ops ops = {on_frame, on_open, on_close};

static void setup(void)
{
    log_set_sink(drop_line, NULL);
    loop = loop_new();
    server = client = (struct seen){.why = NOT_CLOSED};
    server_echoes = true;
    server_hook = NULL;
    struct err err;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", 0, &ops, &limits, &server, &listener, &err), 0);
}

static void teardown(void)
{
    listener_close(listener);
    loop_free(loop);
    ck_assert_int_eq(server.opens, server.closes);
}

#define TURN_UNTIL(cond)                                      \
    do {                                                      \
        uint64_t give_up_ms_ = clock_mono_ms() + DEADLINE_MS; \
        while (!(cond) && clock_mono_ms() < give_up_ms_)      \
            loop_turn(loop, 10);                              \
        ck_assert_msg((cond), "%s", #cond);                   \
    } while (0)

static struct conn *connect_client(const struct conn_limits *with)
{
    struct conn *conn = conn_connect(loop, "127.0.0.1", listener_port(listener), &ops, with, &client);
    client.conn = conn;
    return conn;
}

/* A plain blocking socket as the peer. */
static int raw_connect(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(listener_port(listener))};
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    return fd;
}

static void raw_send(int fd, const void *data, size_t len)
{
    ck_assert_int_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A frame of `len` bytes in all. */
static struct buf *frame_of(uint32_t len, uint8_t fill)
{
    struct buf *b = buf_new(len);
    memset(b->data, fill, len);
    put_be32(b->data, len - 4);
    b->len = len;
    return b;
}

START_TEST(test_echo)
{
    struct conn *conn = connect_client(&limits);
    struct buf *b = frame_of(20, 'a');
    conn_write(conn, b->data, b->len); /* before it is open: kept */
    ck_assert_int_eq(client.opens, 0);
    TURN_UNTIL(client.frames == 1);
    ck_assert_int_eq(client.opens, 1);
    ck_assert_mem_eq(client.last, b->data, 20);
    char expected[32];
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", listener_port(listener));
    ck_assert_str_eq(conn_peer(conn), expected);
    ck_assert_uint_eq(ntohs(conn_peer_addr(conn)->sin_port), listener_port(listener));
    ck_assert_uint_eq(conn_local_addr(conn)->sin_port, conn_peer_addr(server.conn)->sin_port);
    ck_assert_uint_eq(listener_conns(listener), 1);
    conn_close(conn);
    ck_assert_int_eq(client.closes, 0);
    TURN_UNTIL(server.closes == 1 && client.closes == 1);
    ck_assert_int_eq(client.why, 0);
    ck_assert_int_eq(server.why, ERR_CLOSED);
    ck_assert_uint_eq(listener_conns(listener), 0);
    buf_unref(b);
}
END_TEST

START_TEST(test_name_is_resolved)
{
    struct conn *conn = conn_connect(loop, "localhost", listener_port(listener), &ops, &limits, &client);
    TURN_UNTIL(client.opens == 1);
    ck_assert_int_eq(strncmp(conn_peer(conn), "127.0.0.1:", 10), 0);
}
END_TEST

START_TEST(test_free_while_resolving)
{
    conn_connect(loop, "localhost", listener_port(listener), &ops, &limits, &client);
}
END_TEST

START_TEST(test_refused_connection_ends_with_io)
{
    struct listener *other;
    struct err err;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", 0, &ops, &limits, &server, &other, &err), 0);
    uint16_t port = listener_port(other);
    listener_close(other); /* now nobody listens there */
    conn_connect(loop, "127.0.0.1", port, &ops, &limits, &client);
    ck_assert_int_eq(client.closes, 0);
    TURN_UNTIL(client.closes == 1);
    ck_assert_int_eq(client.why, ERR_IO);
    ck_assert_str_eq(client.why_text, "Connection refused");
    ck_assert_int_eq(client.opens, 0);
}
END_TEST

START_TEST(test_unknown_name_says_so)
{
    conn_connect(loop, "nobody.invalid", 1, &ops, &limits, &client);
    TURN_UNTIL(client.closes == 1);
    if (client.why != ERR_TIMEOUT) { /* a look-up that nobody answers */
        ck_assert_int_eq(client.why, ERR_IO);
        ck_assert_str_eq(client.why_text, "no address for this name");
    }
}
END_TEST

START_TEST(test_connect_timeout)
{
    /* A listener with a full queue does not answer: the kernel drops the SYN. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t len = sizeof(sin);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    struct conn_limits hasty = limits;
    hasty.connect_ms = 200;
    enum { TRIES = 8 };
    for (int i = 0; i < TRIES; i++)
        conn_connect(loop, "127.0.0.1", ntohs(sin.sin_port), &ops, &hasty, &client);
    TURN_UNTIL(client.closes >= TRIES - 2); /* the first ones fit into the queue */
    ck_assert_int_eq(client.why, ERR_TIMEOUT);
    close(fd);
}
END_TEST

START_TEST(test_port_in_use_is_named)
{
    struct listener *other = NULL;
    struct err err;
    uint16_t port = listener_port(listener);
    ck_assert_int_ne(listener_open(loop, "127.0.0.1", port, &ops, &limits, &server, &other, &err), 0);
    char expected[64];
    snprintf(expected, sizeof(expected), "port %u is in use", port);
    ck_assert_ptr_nonnull(strstr(err.text, expected));
    /* The kernel chose it, so it is one of those lent to outgoing connections: the cure is named too. */
    ck_assert_ptr_nonnull(strstr(err.text, "ip_local_reserved_ports"));
    ck_assert_ptr_null(other);
}
END_TEST

START_TEST(test_frames_in_any_chunks)
{
    struct bld all = bld_of(1u << 20);
    const uint32_t sizes[] = {8, 9, 100, 8, 5000, 70000, 8, 300000, 12};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf *b = frame_of(sizes[i], (uint8_t)i);
        bld_bytes(&all, b->data, b->len);
        buf_unref(b);
    }
    struct buf *bytes = bld_take(&all);
    const size_t chunks[] = {1, 3, 4096, 4097, 65536, 1u << 20};
    server_echoes = false;
    for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
        int fd = raw_connect();
        /* The smallest chunks only over the small frames: a turn per byte is slow. */
        size_t end = chunks[c] < 100 ? 8 + 9 + 100 + 8 + 600 : bytes->len;
        server.frames = server.bytes = 0;
        for (size_t at = 0; at < end; at += chunks[c]) {
            raw_send(fd, bytes->data + at, end - at < chunks[c] ? end - at : chunks[c]);
            loop_turn(loop, 0);
        }
        uint64_t wanted = end == bytes->len ? 9 : 4;
        TURN_UNTIL(server.frames == wanted);
        close(fd);
        int closes = (int)c + 1;
        TURN_UNTIL(server.closes == closes);
        ck_assert_int_eq(server.why, ERR_CLOSED);
    }
    buf_unref(bytes);
}
END_TEST

static void expect_refused(const void *data, size_t len, int why)
{
    int fd = raw_connect();
    raw_send(fd, data, len);
    TURN_UNTIL(server.closes == 1);
    ck_assert_int_eq(server.why, why);
    ck_assert_uint_eq(server.frames, 0);
    char byte;
    ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

START_TEST(test_too_long_a_frame_costs_its_connection_only)
{
    struct conn *conn = connect_client(&limits);
    TURN_UNTIL(client.opens == 1 && server.opens == 1);
    expect_refused("\x7f\xff\xff\xff....", 8, ERR_TOO_LARGE);
    struct buf *b = frame_of(20, 'a');
    conn_write_buf(conn, b);
    TURN_UNTIL(client.frames == 1);
}
END_TEST

START_TEST(test_length_over_31_bits_is_refused)
{
    expect_refused("\xff\xff\xff\xff....", 8, ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_too_short_a_frame_is_refused)
{
    expect_refused("\x00\x00\x00\x03...", 7, ERR_MALFORMED);
}
END_TEST

START_TEST(test_largest_frame_passes)
{
    struct conn *conn = connect_client(&limits);
    conn_write_buf(conn, frame_of(16u << 20, 'z'));
    TURN_UNTIL(client.frames == 1);
    ck_assert_uint_eq(client.last_len, 16u << 20);
    ck_assert_uint_eq(conn_waiting_bytes(conn), 0);
}
END_TEST

START_TEST(test_reset_is_not_orderly)
{
    int fd = raw_connect();
    TURN_UNTIL(server.opens == 1);
    struct linger hard = {1, 0};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
    TURN_UNTIL(server.closes == 1);
    ck_assert_int_eq(server.why, ERR_IO);
    ck_assert_str_eq(server.why_text, "Connection reset by peer");
}
END_TEST

START_TEST(test_writes_arrive_in_order_whatever_their_kind)
{
    struct conn *conn = connect_client(&limits);
    size_t total = 0;
    uint32_t frames = 0, seed = 1;
    for (; frames < 500; frames++) {
        seed = seed * 1103515245 + 12345;
        uint32_t len = 8 + (seed >> 16) % (frames % 10 == 0 ? 60000 : 900);
        struct buf *b = frame_of(len, (uint8_t)frames);
        total += len;
        switch (frames % 3) {
        case 0:
            conn_write(conn, b->data, len);
            buf_unref(b);
            break;
        case 1:
            conn_write_buf(conn, b);
            break;
        default: /* head copied, rest by reference */
            conn_write(conn, b->data, 4);
            conn_write_slice(conn, b, 4, len - 4);
            buf_unref(b);
        }
    }
    TURN_UNTIL(client.frames == frames);
    ck_assert_uint_eq(server.bytes, total);
    ck_assert_uint_eq(client.bytes, total);
}
END_TEST

static struct bld gathered;
static void gather(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)conn;
    bld_bytes(&gathered, frame, len);
}

START_TEST(test_bytes_are_what_was_written)
{
    gathered = bld_of(8u << 20);
    server_hook = gather;
    struct bld sent = bld_of(8u << 20);
    struct conn *conn = connect_client(&limits);
    for (uint32_t i = 0; i < 300; i++) {
        struct buf *b = frame_of(10 + i * 37, (uint8_t)i);
        for (uint32_t at = 4; at < b->len; at++)
            b->data[at] = (uint8_t)(at * 31 + i);
        bld_bytes(&sent, b->data, b->len);
        conn_write_slice(conn, b, 0, 7);
        conn_write_slice(conn, b, 7, b->len - 7);
        buf_unref(b);
        if (i % 50 == 0)
            loop_turn(loop, 0);
    }
    TURN_UNTIL(server.frames == 300);
    struct buf *a = bld_take(&sent), *b = bld_take(&gathered);
    ck_assert_uint_eq(a->len, b->len);
    ck_assert_int_eq(memcmp(a->data, b->data, a->len), 0);
    buf_unref(a);
    buf_unref(b);
}
END_TEST

START_TEST(test_peer_that_does_not_read_is_cut_off)
{
    int fd = raw_connect();
    TURN_UNTIL(server.opens == 1);
    struct buf *b = frame_of(1u << 20, 'x');
    uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;
    while (server.closes == 0 && clock_mono_ms() < give_up_ms) {
        if (server.conn != NULL)
            conn_write_slice(server.conn, b, 0, b->len);
        loop_turn(loop, 0);
    }
    ck_assert_int_eq(server.closes, 1);
    ck_assert_int_eq(server.why, ERR_BUSY);
    ck_assert_uint_eq(atomic_load(&b->refs), 1); /* all references dropped */
    buf_unref(b);
    close(fd);
}
END_TEST

/* Together they hold too much: the large ones pay, the small ones do not notice. */
START_TEST(test_connections_hold_no_more_than_allowed)
{
    enum { HOGS = 8, SMALL = 4, HALF = 300 * 1024 };
    struct conn_limits tight = limits;
    struct err err;
    int hogs[HOGS], small[SMALL];
    struct buf *half = frame_of(2 * HALF, 'h'), *whole = frame_of(100, 's');
    char answer[100];

    tight.all_max_bytes = 1u << 20;
    listener_close(listener);
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", 0, &ops, &tight, &server, &listener, &err), 0);
    for (int i = 0; i < SMALL; i++)
        small[i] = raw_connect();
    for (int i = 0; i < HOGS; i++)
        hogs[i] = raw_connect();
    TURN_UNTIL(server.opens == HOGS + SMALL);
    for (int i = 0; i < HOGS; i++) {
        for (size_t at = 0; at < HALF; at += 50 * 1024) {
            (void)send(hogs[i], half->data + at, 50 * 1024, MSG_NOSIGNAL); /* it may have been cut off */
            for (int turn = 0; turn < 3; turn++)
                loop_turn(loop, 0);
        }
    }
    TURN_UNTIL(server.closes >= HOGS - 4);
    ck_assert_int_lt(server.closes, HOGS); /* those that fit stay */
    ck_assert_int_eq(server.why, ERR_BUSY);
    for (int i = 0; i < SMALL; i++) {
        raw_send(small[i], whole->data, whole->len);
        TURN_UNTIL(server.frames == (uint64_t)i + 1);
        loop_turn(loop, 0);
        ck_assert_int_eq(recv(small[i], answer, sizeof(answer), MSG_WAITALL), 100);
    }
    for (int i = 0; i < SMALL; i++)
        close(small[i]);
    for (int i = 0; i < HOGS; i++)
        close(hogs[i]);
    TURN_UNTIL(server.closes == HOGS + SMALL);
    hogs[0] = raw_connect(); /* what the closed ones held is free again */
    for (size_t at = 0; at < 2 * HALF; at += 50 * 1024) {
        raw_send(hogs[0], half->data + at, 50 * 1024);
        loop_turn(loop, 0);
    }
    TURN_UNTIL(server.frames == SMALL + 1);
    close(hogs[0]);
    buf_unref(half);
    buf_unref(whole);
}
END_TEST

START_TEST(test_slow_reader_gets_everything)
{
    int fd = raw_connect();
    TURN_UNTIL(server.opens == 1);
    struct buf *b = frame_of(1u << 20, 'x');
    for (int i = 0; i < 30; i++)
        conn_write_slice(server.conn, b, 0, b->len);
    loop_turn(loop, 0);
    ck_assert_uint_gt(conn_waiting_bytes(server.conn), 0); /* more than the kernel takes */
    char *sink = malloc(1u << 20);
    for (size_t got = 0; got < 30u << 20;) {
        ssize_t n = recv(fd, sink, 1u << 20, MSG_DONTWAIT);
        ck_assert(n > 0 || (n < 0 && errno == EAGAIN));
        if (n > 0)
            got += (size_t)n;
        loop_turn(loop, 0);
    }
    free(sink);
    ck_assert_uint_eq(conn_waiting_bytes(server.conn), 0);
    buf_unref(b);
    close(fd);
}
END_TEST

static void answer_and_close(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)frame, (void)len;
    conn_write_buf(conn, frame_of(3u << 20, 'e'));
    conn_close_after_write(conn);
    ck_assert(!conn_is_open(conn));
    conn_write_buf(conn, frame_of(20, 'f')); /* dropped */
}

START_TEST(test_close_after_write_delivers_first)
{
    server_hook = answer_and_close;
    struct conn *conn = connect_client(&limits);
    conn_write_buf(conn, frame_of(20, 'a'));
    conn_write_buf(conn, frame_of(2u << 20, 'b')); /* never looked at; must not turn the close into a reset */
    TURN_UNTIL(client.closes == 1 && server.closes == 1);
    ck_assert_uint_eq(server.frames, 1);
    ck_assert_uint_eq(client.frames, 1);
    ck_assert_uint_eq(client.last_len, 3u << 20);
    ck_assert_int_eq(client.why, ERR_CLOSED);
    ck_assert_int_eq(server.why, 0);
}
END_TEST

static void just_close(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)frame, (void)len;
    conn_close_after_write(conn);
    conn_close_after_write(conn);
}

START_TEST(test_close_after_write_of_nothing)
{
    server_hook = just_close;
    struct conn *conn = connect_client(&limits);
    conn_write_buf(conn, frame_of(20, 'a'));
    TURN_UNTIL(client.closes == 1 && server.closes == 1);
    ck_assert_int_eq(client.why, ERR_CLOSED);
    ck_assert_int_eq(server.why, 0);
}
END_TEST

START_TEST(test_close_after_write_before_open)
{
    struct conn *conn = connect_client(&limits);
    conn_write_buf(conn, frame_of(20, 'a'));
    conn_close_after_write(conn);
    TURN_UNTIL(client.closes == 1 && server.closes == 1);
    ck_assert_uint_eq(server.frames, 1);
    ck_assert_int_eq(client.why, 0);
}
END_TEST

static void close_at_once(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)frame, (void)len;
    conn_write(conn, "dropped", 7);
    conn_close(conn);
    conn_close(conn);
    ck_assert_int_eq(server.closes, 0);
}

START_TEST(test_no_frame_after_close)
{
    server_hook = close_at_once;
    struct conn *conn = connect_client(&limits);
    for (int i = 0; i < 5; i++)
        conn_write_buf(conn, frame_of(20, 'a'));
    TURN_UNTIL(server.closes == 1 && client.closes == 1);
    ck_assert_uint_eq(server.frames, 1);
    ck_assert_uint_eq(client.frames, 0);
}
END_TEST

static void pause_now(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)frame, (void)len;
    conn_pause(conn, true);
}

START_TEST(test_pause_holds_frames_back)
{
    server_hook = pause_now;
    struct conn *conn = connect_client(&limits);
    for (int i = 0; i < 4; i++)
        conn_write_buf(conn, frame_of(20, 'a'));
    for (uint64_t i = 1; i <= 4; i++) {
        TURN_UNTIL(server.frames == i);
        for (int turns = 0; turns < 3; turns++)
            loop_turn(loop, 0);
        ck_assert_uint_eq(server.frames, i);
        conn_pause(server.conn, false);
    }
}
END_TEST

START_TEST(test_idle_connection_is_closed)
{
    struct conn_limits idle = limits;
    idle.idle_ms = 50;
    connect_client(&idle);
    TURN_UNTIL(client.closes == 1);
    ck_assert_int_eq(client.opens, 1);
    ck_assert_int_eq(client.why, ERR_TIMEOUT);
    ck_assert_str_eq(client.why_text, err_text(ERR_TIMEOUT));
}
END_TEST

START_TEST(test_connections_over_the_maximum_are_closed)
{
    struct listener *one;
    struct err err;
    struct conn_limits single = limits;
    single.conns_max = 1;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", 0, &ops, &single, &server, &one, &err), 0);
    struct listener *usual = listener;
    listener = one;
    int first = raw_connect();
    TURN_UNTIL(server.opens == 1);
    connect_client(&limits);
    TURN_UNTIL(client.closes == 1);
    ck_assert_int_eq(client.why, ERR_CLOSED);
    ck_assert_int_eq(server.opens, 1);
    close(first);
    TURN_UNTIL(server.closes == 1);
    connect_client(&limits); /* room again */
    TURN_UNTIL(server.opens == 2);
    listener = usual;
    listener_close(one);
}
END_TEST

START_TEST(test_accepting_rests_without_descriptors)
{
    enum { PEERS = 4 };
    int fds[PEERS];
    for (int i = 0; i < PEERS; i++)
        fds[i] = raw_connect();
    struct rlimit before, none;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 10);
    ck_assert_int_eq(server.opens, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    TURN_UNTIL(server.opens == PEERS);
    for (int i = 0; i < PEERS; i++)
        close(fds[i]);
}
END_TEST

START_TEST(test_ids_are_not_reused)
{
    connect_client(&limits);
    TURN_UNTIL(server.opens == 1 && client.opens == 1);
    uint64_t old = client.id;
    ck_assert_ptr_eq(conn_by_id(loop, old), client.conn);
    ck_assert_ptr_eq(conn_by_id(loop, server.id), server.conn);
    ck_assert_uint_ne(old, server.id);
    ck_assert_ptr_null(conn_by_id(loop, 0));
    ck_assert_ptr_null(conn_by_id(loop, UINT64_MAX));
    conn_close(client.conn);
    ck_assert_ptr_null(conn_by_id(loop, old));
    TURN_UNTIL(server.closes == 1 && client.closes == 1);
    connect_client(&limits);
    TURN_UNTIL(client.opens == 2);
    ck_assert_ptr_null(conn_by_id(loop, old));
    ck_assert_uint_ne(client.id, old);
}
END_TEST

START_TEST(test_listener_close_ends_its_connections)
{
    struct listener *other;
    struct err err;
    ck_assert_int_eq(listener_open(loop, NULL, 0, &ops, &limits, &server, &other, &err), 0);
    struct listener *usual = listener;
    listener = other;
    connect_client(&limits);
    TURN_UNTIL(server.opens == 1 && client.opens == 1);
    listener = usual;
    listener_close(other);
    ck_assert_int_eq(server.closes, 0);
    TURN_UNTIL(server.closes == 1 && client.closes == 1);
    ck_assert_int_eq(server.why, 0);
}
END_TEST

START_TEST(test_addr_split)
{
    char host[16];
    uint16_t port = 0;
    ck_assert_int_eq(addr_split(STR("10.0.0.1:10911"), host, sizeof(host), &port), 0);
    ck_assert_str_eq(host, "10.0.0.1");
    ck_assert_uint_eq(port, 10911);
    const char *bad[] = {"",        ":",    "h",   "h:",   ":1",    "h:0",
                         "h:65536", "h:-1", "h:x", "h:1 ", "a:b:1", "0123456789abcdef:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(addr_split(str_of(bad[i]), host, sizeof(host), &port) == ERR_INVALID, "%s", bad[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conn");
    TCase *tc = tcase_create("conn");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_echo);
    tcase_add_test(tc, test_name_is_resolved);
    tcase_add_test(tc, test_free_while_resolving);
    tcase_add_test(tc, test_refused_connection_ends_with_io);
    tcase_add_test(tc, test_unknown_name_says_so);
    tcase_add_test(tc, test_connect_timeout);
    tcase_add_test(tc, test_port_in_use_is_named);
    tcase_add_test(tc, test_frames_in_any_chunks);
    tcase_add_test(tc, test_too_long_a_frame_costs_its_connection_only);
    tcase_add_test(tc, test_length_over_31_bits_is_refused);
    tcase_add_test(tc, test_too_short_a_frame_is_refused);
    tcase_add_test(tc, test_largest_frame_passes);
    tcase_add_test(tc, test_reset_is_not_orderly);
    tcase_add_test(tc, test_writes_arrive_in_order_whatever_their_kind);
    tcase_add_test(tc, test_bytes_are_what_was_written);
    tcase_add_test(tc, test_peer_that_does_not_read_is_cut_off);
    tcase_add_test(tc, test_connections_hold_no_more_than_allowed);
    tcase_add_test(tc, test_slow_reader_gets_everything);
    tcase_add_test(tc, test_close_after_write_delivers_first);
    tcase_add_test(tc, test_close_after_write_of_nothing);
    tcase_add_test(tc, test_close_after_write_before_open);
    tcase_add_test(tc, test_no_frame_after_close);
    tcase_add_test(tc, test_pause_holds_frames_back);
    tcase_add_test(tc, test_idle_connection_is_closed);
    tcase_add_test(tc, test_connections_over_the_maximum_are_closed);
    tcase_add_test(tc, test_accepting_rests_without_descriptors);
    tcase_add_test(tc, test_ids_are_not_reused);
    tcase_add_test(tc, test_listener_close_ends_its_connections);
    tcase_add_test(tc, test_addr_split);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
