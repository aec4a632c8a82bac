/*
 * Sessions between replicas over loopback: coming up, refusing strangers, seeing a death at once, messages,
 * relays, hostile connections.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conn.h"
#include "common/log.h"
#include "dledger/net/peers.h"
#include "dledger/net/wire.h"

#define WAIT_MS  20000u
#define SEEN_MAX 64

struct end {
    struct dl_peers *peers;
    struct dl_transport t;
    dl_peer_t id;
    uint32_t ups, downs, resets;
    struct dl_msg msgs[SEEN_MAX];
    uint32_t msg_count;
    uint8_t records[64];
    uint32_t records_len;
    bool hold_relays; /* do not answer */
    uint32_t relays;
    uint64_t ticket;
    struct sockaddr_in client;
    dl_term_t relay_term;
};

static struct loop *loop;
static struct dl_peer_addr addrs[3];
static struct end ends[3];
static char logged[65536];

static void log_to_memory(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

/* Ports below the range from which the kernel takes its own, so that no connect meets itself. */
static uint16_t free_port(void)
{
    static uint16_t next;
    for (int tries = 0; tries < 100; tries++) {
        uint16_t port = (uint16_t)(19600 + ((uint32_t)getpid() * 7 + next++) % 100);
        struct sockaddr_in a = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        ck_assert_int_ge(fd, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (rc == 0)
            return port;
    }
    ck_abort_msg("no free port");
}

#define TURN_UNTIL(cond)                                                              \
    do {                                                                              \
        uint64_t end_ms_ = clock_mono_ms() + WAIT_MS;                                 \
        while (!(cond)) {                                                             \
            ck_assert_msg(clock_mono_ms() < end_ms_, "never: %s\n%s", #cond, logged); \
            loop_turn(loop, 50);                                                      \
        }                                                                             \
    } while (0)

static void on_message(void *arg, const struct dl_msg *msg, struct buf *records, uint32_t offset,
                       uint32_t len)
{
    struct end *e = arg;
    ck_assert_uint_lt(e->msg_count, SEEN_MAX);
    ck_assert_uint_eq(msg->to, e->id);
    e->msgs[e->msg_count++] = *msg;
    if (records && len <= sizeof e->records) {
        memcpy(e->records, records->data + offset, len);
        e->records_len = len;
    }
}

static void on_up(void *arg, dl_peer_t peer)
{
    struct end *e = arg;
    e->ups++;
    ck_assert(e->t.is_up(e->t.impl, peer));
}

static void on_down(void *arg, dl_peer_t peer, bool reset)
{
    struct end *e = arg;
    e->downs++;
    e->resets += reset;
    ck_assert(!e->t.is_up(e->t.impl, peer));
}

static void on_relay(void *arg, dl_peer_t from, uint64_t ticket, dl_term_t term,
                     const struct sockaddr_in *client, const uint8_t *frame, uint32_t len)
{
    struct end *e = arg;
    e->relays++;
    e->ticket = ticket;
    e->client = *client;
    e->relay_term = term;
    ck_assert_uint_ne(from, e->id);
    if (!e->hold_relays)
        e->t.relay_reply(e->t.impl, ticket, 0, buf_copy("re:", 3), buf_copy(frame, len));
}

static void open_among(int i, const char *group, const struct dl_peer_addr *peers, uint32_t count)
{
    struct end *e = &ends[i];
    e->id = addrs[i].id;
    struct dl_peers_opts o = {
        .loop = loop,
        .group = group,
        .self = e->id,
        .listen_host = "127.0.0.1",
        .peers = peers,
        .count = count,
        .hooks = {on_message, on_up, on_down, on_relay, e},
    };
    struct err err;
    ck_assert_msg(dl_peers_open(&o, &e->peers, &e->t, &err) == 0, "%s", err.text);
}

static void open_end(int i, const char *group, uint32_t count)
{
    open_among(i, group, addrs, count);
}

static void close_end(int i)
{
    dl_peers_close(ends[i].peers);
    ends[i].peers = NULL;
}

static void setup(void)
{
    log_set_sink(log_to_memory, NULL);
    logged[0] = 0;
    memset(ends, 0, sizeof ends);
    loop = loop_new();
    for (uint32_t i = 0; i < 3; i++)
        addrs[i] = (struct dl_peer_addr){i + 1, "127.0.0.1", free_port()};
}

static void teardown(void)
{
    for (int i = 0; i < 3; i++)
        close_end(i);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 0);
    loop_free(loop);
}

static void two_up(void)
{
    open_end(0, "g", 2);
    open_end(1, "g", 2);
    TURN_UNTIL(ends[0].ups == 1 && ends[1].ups == 1);
}

START_TEST(three_come_up)
{
    for (int i = 0; i < 3; i++)
        open_end(i, "g", 3);
    TURN_UNTIL(ends[0].ups == 2 && ends[1].ups == 2 && ends[2].ups == 2);
    for (dl_peer_t to = 1; to <= 3; to++)
        ck_assert_int_eq(ends[0].t.is_up(ends[0].t.impl, to), to != 1);
    ck_assert_uint_eq(ends[0].downs + ends[1].downs + ends[2].downs, 0);
    ck_assert_uint_eq(metric_get(&dl_peers_counters(ends[0].peers)->ups), 2);
}
END_TEST

/* Replicas are named as the configuration names them, and the system says why one cannot be reached. */
START_TEST(log_names_peer_and_cause)
{
    char line[128];
    open_end(0, "g", 2);
    snprintf(line, sizeof line, "self=n0 peer=n1 address=127.0.0.1:%u why=\"Connection refused\"",
             addrs[1].port);
    TURN_UNTIL(strstr(logged, line));
    open_end(1, "g", 2);
    TURN_UNTIL(strstr(logged, "peer up") && strstr(logged, "self=n1 peer=n0"));
}
END_TEST

START_TEST(messages_and_answers)
{
    two_up();
    struct end *a = &ends[0], *b = &ends[1];
    struct dl_msg vote = {
        .type = DL_MSG_VOTE_REQ, .from = 1, .to = 2, .term = 7, .last_index = 9, .last_term = 6};
    a->t.send(a->t.impl, &vote, NULL, 0);
    struct dl_msg over = {.type = DL_MSG_TIMEOUT_NOW, .from = 1, .to = 2, .term = 7};
    a->t.send(a->t.impl, &over, NULL, 0);
    struct buf *x = buf_copy("..hello..", 9), *y = buf_copy("world", 5);
    struct dl_slice slices[] = {{x, 2, 5}, {y, 0, 5}};
    struct dl_msg push = {.type = DL_MSG_PUSH_REQ,
                          .from = 1,
                          .to = 2,
                          .term = 7,
                          .push = DL_PUSH_APPEND,
                          .prev_index = 9,
                          .prev_term = 6,
                          .first = 10,
                          .last = 11,
                          .commit = 8,
                          .sent_ms = 5};
    a->t.send(a->t.impl, &push, slices, 2);
    buf_unref(x);
    buf_unref(y);
    TURN_UNTIL(b->msg_count == 3);
    uint32_t types = 0;
    for (int i = 0; i < 3; i++)
        types |= 1u << b->msgs[i].type;
    ck_assert_uint_eq(types, 1u << DL_MSG_VOTE_REQ | 1u << DL_MSG_TIMEOUT_NOW | 1u << DL_MSG_PUSH_REQ);
    ck_assert_uint_eq(b->records_len, 10);
    ck_assert(memcmp(b->records, "helloworld", 10) == 0);

    struct dl_msg answers[] = {
        {.type = DL_MSG_VOTE_RSP, .from = 2, .to = 1, .term = 7, .granted = true},
        {.type = DL_MSG_PUSH_RSP,
         .from = 2,
         .to = 1,
         .term = 7,
         .push = DL_PUSH_APPEND,
         .success = true,
         .match = 11,
         .sent_ms = 5},
        {.type = DL_MSG_PUSH_RSP,
         .from = 2,
         .to = 1,
         .term = 7,
         .push = DL_PUSH_COMMIT,
         .success = true,
         .match = 11,
         .sent_ms = 6},
    };
    for (int i = 0; i < 3; i++)
        b->t.send(b->t.impl, &answers[i], NULL, 0);
    TURN_UNTIL(a->msg_count == 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(a->msgs[i].from, 2);
        ck_assert(a->msgs[i].type == DL_MSG_VOTE_RSP ? a->msgs[i].granted : a->msgs[i].match == 11);
    }
}
END_TEST

START_TEST(order_within_a_channel)
{
    two_up();
    for (uint64_t i = 1; i <= 50; i++) {
        struct dl_msg m = {
            .type = DL_MSG_PUSH_REQ, .from = 1, .to = 2, .term = 1, .push = DL_PUSH_COMMIT, .commit = i};
        ends[0].t.send(ends[0].t.impl, &m, NULL, 0);
    }
    TURN_UNTIL(ends[1].msg_count == 50);
    for (uint64_t i = 1; i <= 50; i++)
        ck_assert_uint_eq(ends[1].msgs[i - 1].commit, i);
}
END_TEST

START_TEST(death_is_seen_at_once_and_told_once)
{
    two_up();
    close_end(1);
    TURN_UNTIL(ends[0].downs == 1);
    ck_assert_uint_eq(ends[0].resets, 1);
    memset(&ends[1], 0, sizeof ends[1]);
    struct dl_msg vote = {.type = DL_MSG_VOTE_REQ, .from = 1, .to = 2, .term = 7};
    ends[0].t.send(ends[0].t.impl, &vote, NULL, 0); /* into the void */
    open_end(1, "g", 2);
    TURN_UNTIL(ends[0].ups == 2 && ends[1].ups == 1);
    ck_assert_uint_eq(ends[0].downs, 1);
    ck_assert_uint_eq(ends[1].msg_count, 0);
}
END_TEST

START_TEST(wrong_group_is_refused)
{
    for (int i = 0; i < 2; i++)
        open_end(i, "right", 3);
    open_end(2, "wrong", 3);
    TURN_UNTIL(ends[0].ups == 1 && ends[1].ups == 1);
    TURN_UNTIL(metric_get(&dl_peers_counters(ends[2].peers)->refused) >= 2 &&
               metric_get(&dl_peers_counters(ends[0].peers)->refused) >= 2);
    ck_assert_uint_eq(ends[2].ups, 0);
    ck_assert_uint_eq(ends[0].ups, 1);
    ck_assert_uint_eq(ends[0].downs, 0);
    ck_assert_ptr_nonnull(strstr(logged, "another group"));
    ck_assert_ptr_nonnull(strstr(logged, "group=right self="));
    ck_assert_ptr_nonnull(strstr(logged, "group=wrong self=n2"));
}
END_TEST

START_TEST(wrong_address_is_refused)
{
    /* n0 takes n2's address for n1's. */
    open_among(2, "g", &addrs[2], 1);
    uint16_t port = addrs[1].port;
    addrs[1].port = addrs[2].port;
    addrs[2].port = port;
    open_end(0, "g", 2);
    TURN_UNTIL(strstr(logged, "refused by replica") && strstr(logged, "meant for another replica"));
    ck_assert_uint_eq(ends[0].ups, 0);
}
END_TEST

struct told {
    uint32_t calls;
    int err;
    char frame[64];
};

static void on_answer(void *arg, int err, const uint8_t *frame, uint32_t len)
{
    struct told *t = arg;
    t->calls++;
    t->err = err;
    ck_assert_uint_lt(len, sizeof t->frame);
    if (len)
        memcpy(t->frame, frame, len);
    t->frame[len] = 0;
}

static void ask(int from, dl_peer_t to, uint32_t timeout_ms, struct told *t)
{
    struct sockaddr_in client = {
        .sin_family = AF_INET, .sin_port = htons(4711), .sin_addr.s_addr = htonl(0x0a010203)};
    *t = (struct told){0};
    ends[from].t.relay(ends[from].t.impl, to, 9, &client, (const uint8_t *)"ping", 4, timeout_ms, on_answer,
                       t);
    ck_assert_uint_eq(t->calls, 0); /* never inside */
}

START_TEST(relay_round_trip)
{
    two_up();
    struct told t;
    ask(0, 2, 5000, &t);
    TURN_UNTIL(t.calls == 1);
    ck_assert_int_eq(t.err, 0);
    ck_assert_str_eq(t.frame, "re:ping");
    ck_assert_uint_eq(ntohl(ends[1].client.sin_addr.s_addr), 0x0a010203);
    ck_assert_uint_eq(ntohs(ends[1].client.sin_port), 4711);
    ck_assert_uint_eq(ends[1].relay_term, 9);

    /* Refused by the other side: no frame. */
    ends[1].hold_relays = true;
    ask(0, 2, 5000, &t);
    TURN_UNTIL(ends[1].relays == 2);
    ends[1].t.relay_reply(ends[1].t.impl, ends[1].ticket, ERR_NOT_LEADER, NULL, NULL);
    TURN_UNTIL(t.calls == 1);
    ck_assert_int_eq(t.err, ERR_NOT_LEADER);
}
END_TEST

START_TEST(relay_time_out_and_late_answer)
{
    two_up();
    ends[1].hold_relays = true;
    struct told t, next;
    ask(0, 2, 30, &t);
    TURN_UNTIL(t.calls == 1);
    ck_assert_int_eq(t.err, ERR_TIMEOUT);
    TURN_UNTIL(ends[1].relays == 1);
    ends[1].t.relay_reply(ends[1].t.impl, ends[1].ticket, 0, buf_copy("late", 4), NULL);
    ends[1].hold_relays = false;
    ask(0, 2, 5000, &next);
    TURN_UNTIL(next.calls == 1);
    ck_assert_str_eq(next.frame, "re:ping");
    ck_assert_uint_eq(t.calls, 1);
}
END_TEST

START_TEST(relay_ends_with_the_session)
{
    two_up();
    ends[1].hold_relays = true;
    struct told t[10];
    for (int i = 0; i < 10; i++)
        ask(0, 2, 60000, &t[i]);
    TURN_UNTIL(ends[1].relays == 10);
    close_end(1);
    TURN_UNTIL(ends[0].downs == 1);
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_eq(t[i].calls, 1);
        ck_assert_int_eq(t[i].err, ERR_CLOSED);
    }
    ask(0, 2, 60000, &t[0]); /* nobody there */
    TURN_UNTIL(t[0].calls == 1);
    ck_assert_int_eq(t[0].err, ERR_CLOSED);
}
END_TEST

START_TEST(ticket_of_a_lost_session_is_void)
{
    two_up();
    ends[1].hold_relays = true;
    struct told t, next;
    ask(0, 2, 60000, &t);
    TURN_UNTIL(ends[1].relays == 1);
    uint64_t old = ends[1].ticket;
    close_end(0);
    TURN_UNTIL(ends[1].downs == 1);
    ck_assert_uint_eq(t.calls, 1);
    memset(&ends[0], 0, sizeof ends[0]);
    open_end(0, "g", 2);
    TURN_UNTIL(ends[0].ups == 1 && ends[1].ups == 2);
    ask(0, 2, 60000, &next); /* has the same call id as the old one */
    TURN_UNTIL(ends[1].relays == 2);
    ends[1].t.relay_reply(ends[1].t.impl, old, 0, buf_copy("old", 3), NULL);
    ends[1].t.relay_reply(ends[1].t.impl, ends[1].ticket, 0, buf_copy("new", 3), NULL);
    TURN_UNTIL(next.calls == 1);
    ck_assert_str_eq(next.frame, "new");
}
END_TEST

START_TEST(too_many_relays_are_refused)
{
    two_up();
    ends[1].hold_relays = true;
    struct told t, last;
    for (uint32_t i = 0; i < DL_PEERS_RELAYS_MAX; i++) {
        struct sockaddr_in client = {.sin_family = AF_INET};
        ends[0].t.relay(ends[0].t.impl, 2, 9, &client, (const uint8_t *)"ping", 4, 60000, on_answer, &t);
    }
    t = (struct told){0};
    ask(0, 2, 60000, &last);
    TURN_UNTIL(last.calls == 1);
    ck_assert_int_eq(last.err, ERR_BUSY);
    ck_assert_uint_eq(t.calls, 0);
    close_end(1);
    TURN_UNTIL(ends[0].downs == 1);
    ck_assert_uint_eq(t.calls, DL_PEERS_RELAYS_MAX);
}
END_TEST

/* A raw connection, for bytes that no replica would send. */
struct raw {
    struct conn *conn;
    bool open, closed;
    uint32_t frames;
};

static void raw_open(struct conn *conn)
{
    ((struct raw *)conn_user(conn))->open = true;
}

static void raw_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)frame, (void)len;
    ((struct raw *)conn_user(conn))->frames++;
}

static void raw_close(struct conn *conn, int why)
{
    (void)why;
    ((struct raw *)conn_user(conn))->closed = true;
}

static void raw_connect(struct raw *r, uint16_t port)
{
    static const struct conn_ops ops = {raw_frame, raw_open, raw_close};
    static const struct conn_limits limits = {
        .frame_max_bytes = 1 << 20, .frame_min_bytes = 4, .out_max_bytes = 1 << 26, .connect_ms = 1000};
    *r = (struct raw){0};
    r->conn = conn_connect(loop, "127.0.0.1", port, &ops, &limits, r);
    TURN_UNTIL(r->open);
}

static void raw_hello(struct raw *r, uint32_t from, enum wire_kind kind)
{
    wire_hello_req req = LEDGERMQ__DLEDGER__HELLO_REQUEST__INIT;
    req.format = WIRE_FORMAT;
    req.group = (char *)(uintptr_t) "g";
    req.from = from;
    req.to = 1;
    req.members = (uint32_t[]){1, 2};
    req.n_members = 2;
    req.channel = LEDGERMQ__DLEDGER__CHANNEL__CHANNEL_DATA;
    uint8_t bytes[WIRE_OUT_MAX];
    conn_write(r->conn, bytes, wire_write(bytes, kind, WIRE_HELLO, 0, &req.base, 0));
}

START_TEST(hostile_connections_cost_themselves_only)
{
    two_up();
    wire_vote_req vote = LEDGERMQ__DLEDGER__VOTE_REQUEST__INIT;
    uint8_t bytes[WIRE_OUT_MAX];
    struct raw r;

    raw_connect(&r, addrs[0].port); /* garbage: a huge length */
    conn_write(r.conn, "GET / HTTP/1.1\r\n\r\n", 18);
    TURN_UNTIL(r.closed);
    raw_connect(&r, addrs[0].port); /* a frame over the limit */
    put_be32(bytes, WIRE_FRAME_MAX);
    conn_write(r.conn, bytes, WIRE_HEAD);
    TURN_UNTIL(r.closed);
    raw_connect(&r, addrs[0].port); /* talks before Hello */
    conn_write(r.conn, bytes, wire_write(bytes, WIRE_REQUEST, WIRE_VOTE, 0, &vote.base, 0));
    TURN_UNTIL(r.closed);
    raw_connect(&r, addrs[0].port); /* answers what nobody asked */
    raw_hello(&r, 2, WIRE_RESPONSE);
    TURN_UNTIL(r.closed);
    raw_connect(&r, addrs[0].port); /* is not a member */
    raw_hello(&r, 9, WIRE_REQUEST);
    TURN_UNTIL(r.closed);
    ck_assert_uint_eq(r.frames, 1); /* the refusal */

    ck_assert_uint_eq(ends[0].downs + ends[1].downs, 0);
    ck_assert_uint_eq(ends[0].msg_count, 0);
    struct told t;
    ask(1, 1, 5000, &t);
    TURN_UNTIL(t.calls == 1);
    ck_assert_int_eq(t.err, 0);
}
END_TEST

/* 144 of them could hold 16 MiB each otherwise. */
START_TEST(strangers_may_not_send_large_frames)
{
    static uint8_t zeros[WIRE_FRAME_MAX / 4];
    uint64_t began_ms = clock_mono_ms();
    wire_relay_req relay = LEDGERMQ__DLEDGER__RELAY_REQUEST__INIT;
    uint8_t bytes[WIRE_OUT_MAX];
    struct raw r;

    open_end(0, "g", 2);
    raw_connect(&r, addrs[0].port);
    put_be32(bytes, WIRE_STRANGER_MAX - 4 + 1);
    conn_write(r.conn, bytes, WIRE_HEAD);
    TURN_UNTIL(r.closed);
    ck_assert_uint_lt(clock_mono_ms() - began_ms, DL_PEERS_PING_MS);
    raw_connect(&r, addrs[0].port);
    raw_hello(&r, 2, WIRE_REQUEST); /* a member may, in the same breath */
    conn_write(r.conn, bytes, wire_write(bytes, WIRE_REQUEST, WIRE_RELAY, 1, &relay.base, sizeof zeros));
    conn_write(r.conn, zeros, sizeof zeros);
    TURN_UNTIL(ends[0].relays == 1);
    ck_assert(!r.closed);
    conn_close(r.conn);
    TURN_UNTIL(r.closed);
}
END_TEST

START_TEST(strangers_that_trickle_are_given_up)
{
    struct raw r;
    open_end(0, "g", 2);
    raw_connect(&r, addrs[0].port);
    uint8_t head[4];
    put_be32(head, 1000);
    conn_write(r.conn, head, sizeof head);
    uint64_t end_ms = clock_mono_ms() + WAIT_MS;
    while (!r.closed) { /* never idle, never a whole frame */
        ck_assert_uint_lt(clock_mono_ms(), end_ms);
        conn_write(r.conn, "", 1);
        loop_turn(loop, 200);
    }
}
END_TEST

/* The peer's restart arrives before the news of its death. */
START_TEST(new_session_replaces_the_old_one)
{
    two_up();
    struct raw r;
    raw_connect(&r, addrs[0].port);
    raw_hello(&r, 2, WIRE_REQUEST);
    TURN_UNTIL(ends[0].downs == 1);
    ck_assert_uint_eq(ends[0].resets, 1);
    TURN_UNTIL(r.frames == 1 || r.closed);
    conn_close(r.conn);
    TURN_UNTIL(ends[0].ups >= 2 && ends[1].ups >= 2 && ends[0].t.is_up(ends[0].t.impl, 2) &&
               ends[1].t.is_up(ends[1].t.impl, 1));
}
END_TEST

/* A peer that takes everything and says nothing. */
static void mute_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    (void)conn, (void)frame, (void)len;
}
static uint32_t mute_closed;
static void mute_close(struct conn *conn, int why)
{
    (void)conn, (void)why;
    mute_closed++;
}

START_TEST(silence_is_given_up)
{
    static const struct conn_ops ops = {mute_frame, NULL, mute_close};
    static const struct conn_limits limits = {
        .frame_max_bytes = 1 << 20, .frame_min_bytes = 4, .out_max_bytes = 1 << 20, .conns_max = 100};
    struct listener *l;
    struct err err;
    mute_closed = 0;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", addrs[1].port, &ops, &limits, NULL, &l, &err), 0);
    open_end(0, "g", 2);
    TURN_UNTIL(mute_closed >= 2);
    ck_assert_uint_eq(ends[0].ups + ends[0].downs, 0);
    listener_close(l);
}
END_TEST

/* A peer that welcomes us and then reads no more. */
static void deaf_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct wire_frame f;
    struct err err;
    ck_assert_int_eq(wire_parse(frame, len, &f, &err), 0);
    wire_hello_rsp rsp = LEDGERMQ__DLEDGER__HELLO_RESPONSE__INIT;
    rsp.format = WIRE_FORMAT;
    rsp.group = (char *)(uintptr_t) "g";
    rsp.self = 2;
    uint8_t bytes[WIRE_OUT_MAX];
    conn_write(conn, bytes, wire_write(bytes, WIRE_RESPONSE, WIRE_HELLO, 0, &rsp.base, 0));
    conn_pause(conn, true);
}

START_TEST(output_is_bounded)
{
    static const struct conn_ops ops = {deaf_frame, NULL, mute_close};
    static const struct conn_limits limits = {
        .frame_max_bytes = 1 << 20, .frame_min_bytes = 4, .out_max_bytes = 1 << 20, .conns_max = 100};
    struct listener *l;
    struct err err;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", addrs[1].port, &ops, &limits, NULL, &l, &err), 0);
    open_end(0, "g", 2);
    TURN_UNTIL(ends[0].ups == 1);
    struct buf *b = buf_new(1 << 20);
    memset(b->data, 'r', 1 << 20);
    b->len = 1 << 20;
    struct dl_slice slice = {b, 0, b->len};
    for (uint64_t i = 1; ends[0].downs == 0; i++) {
        ck_assert_uint_lt(i, 200);
        struct dl_msg push = {.type = DL_MSG_PUSH_REQ,
                              .from = 1,
                              .to = 2,
                              .term = 1,
                              .push = DL_PUSH_APPEND,
                              .prev_index = i - 1,
                              .prev_term = i > 1,
                              .first = i,
                              .last = i};
        ends[0].t.send(ends[0].t.impl, &push, &slice, 1);
        loop_turn(loop, 0);
        if (ends[0].downs == 0)
            ck_assert_uint_le(atomic_load(&b->refs), DL_PEERS_OUT_MAX / b->len + 2);
    }
    ck_assert_uint_eq(ends[0].resets, 0); /* no sign of death */
    buf_unref(b);
    listener_close(l);
}
END_TEST

static uint32_t busy, other;
static void count_busy(void *arg, int err, const uint8_t *frame, uint32_t len)
{
    (void)arg, (void)frame, (void)len;
    busy += err == ERR_BUSY;
    other += err != ERR_BUSY;
}

START_TEST(relays_to_a_deaf_peer_do_not_cost_the_session)
{
    static const struct conn_ops ops = {deaf_frame, NULL, mute_close};
    static const struct conn_limits limits = {
        .frame_max_bytes = 1 << 20, .frame_min_bytes = 4, .out_max_bytes = 1 << 20, .conns_max = 100};
    static uint8_t frame[1 << 20];
    struct sockaddr_in client = {.sin_family = AF_INET};
    struct listener *l;
    struct err err;
    ck_assert_int_eq(listener_open(loop, "127.0.0.1", addrs[1].port, &ops, &limits, NULL, &l, &err), 0);
    open_end(0, "g", 2);
    TURN_UNTIL(ends[0].ups == 1);
    busy = other = 0;
    for (int i = 0; i < 200; i++) {
        ends[0].t.relay(ends[0].t.impl, 2, 1, &client, frame, sizeof frame, 60000, count_busy, NULL);
        loop_turn(loop, 0);
    }
    TURN_UNTIL(busy > 100);
    ck_assert_uint_eq(other + ends[0].downs, 0);
    listener_close(l);
}
END_TEST

START_TEST(bad_options)
{
    struct dl_peers *p;
    struct dl_transport t;
    struct dl_peers_opts o = {
        .loop = loop, .group = "g", .self = 9, .listen_host = "127.0.0.1", .peers = addrs, .count = 3};
    ck_assert_int_eq(dl_peers_open(&o, &p, &t, NULL), ERR_INVALID);
    o.self = 1, o.group = "";
    ck_assert_int_eq(dl_peers_open(&o, &p, &t, NULL), ERR_INVALID);
    o.group = "g", o.count = 0;
    ck_assert_int_eq(dl_peers_open(&o, &p, &t, NULL), ERR_INVALID);
    o.count = 3, addrs[2].id = 1;
    ck_assert_int_eq(dl_peers_open(&o, &p, &t, NULL), ERR_INVALID);
    addrs[2].id = 3;
    open_end(0, "g", 3);
    struct err err;
    ck_assert_int_ne(dl_peers_open(&o, &p, &t, &err), 0); /* the port is in use */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dlnet/peers");
    TCase *t = tcase_create("peers");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, three_come_up);
    tcase_add_test(t, log_names_peer_and_cause);
    tcase_add_test(t, messages_and_answers);
    tcase_add_test(t, order_within_a_channel);
    tcase_add_test(t, death_is_seen_at_once_and_told_once);
    tcase_add_test(t, wrong_group_is_refused);
    tcase_add_test(t, wrong_address_is_refused);
    tcase_add_test(t, relay_round_trip);
    tcase_add_test(t, relay_time_out_and_late_answer);
    tcase_add_test(t, relay_ends_with_the_session);
    tcase_add_test(t, ticket_of_a_lost_session_is_void);
    tcase_add_test(t, too_many_relays_are_refused);
    tcase_add_test(t, hostile_connections_cost_themselves_only);
    tcase_add_test(t, strangers_may_not_send_large_frames);
    tcase_add_test(t, strangers_that_trickle_are_given_up);
    tcase_add_test(t, new_session_replaces_the_old_one);
    tcase_add_test(t, silence_is_given_up);
    tcase_add_test(t, output_is_bounded);
    tcase_add_test(t, relays_to_a_deaf_peer_do_not_cost_the_session);
    tcase_add_test(t, bad_options);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
