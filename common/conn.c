/*
 * conn.c - framed connections on nonblocking sockets.
 *
 * In: a readable socket is read into the scratch area of the loop until it is drained or CONN_READ_TURN_BYTES
 * are reached; framer.c cuts the frames. Out: conn_write* gathers in outq.c and marks the connection dirty;
 * at the end of the turn each dirty connection is written with as few writev calls as its socket allows, and
 * what is left waits for the socket to become writable. Ends are reported from one place (report_closed),
 * never from inside a call of the user.
 */
#include "common/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conn_internal.h"
#include "common/log.h"
#include "common/loop_internal.h"

#define CONN_SLOT_BITS          20u
#define CONN_SLOTS_MAX          (1u << CONN_SLOT_BITS)
#define CONN_SLOTS_FIRST        64u
#define CONN_READ_TURN_BYTES    (128u * 1024)
#define CONN_WRITE_TURN_BYTES   (8u * 1024 * 1024)
#define CONN_WRITE_VECTORS      64
#define CONN_DRAIN_MS           5000u /* conn_close_after_write gives the peer so long to take the rest */
#define CONN_CONNECT_MS_DEFAULT 3000u
#define CONN_LOG_EVERY_MS       1000u

static void on_resolved(void *arg, uint64_t id, int rc, struct in_addr addr);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_deadline(evutil_socket_t fd, short what, void *arg);

/* ---- slots and life ---- */

static void grow_slots(struct net *net)
{
    uint32_t cap = net->slot_cap == 0 ? CONN_SLOTS_FIRST : net->slot_cap * 2;
    net->slots = realloc(net->slots, cap * sizeof(struct conn *));
    net->free_slots = realloc(net->free_slots, cap * sizeof(*net->free_slots));
    ENSURE(net->slots != NULL && net->free_slots != NULL);
    for (uint32_t slot = cap; slot-- > net->slot_cap;) {
        net->slots[slot] = NULL;
        net->free_slots[net->free_count++] = slot;
    }
    net->slot_cap = cap;
}

/* Never fails: a connection that finds no room is born and ends with ERR_BUSY at once. NULL only at
 * CONN_SLOTS_MAX connections. */
static struct conn *conn_new(struct net *net, const struct conn_ops *ops, const struct conn_limits *limits,
                             void *user)
{
    static _Atomic uint64_t
        last_serial; /* the one thing all loops of the process share: ids are never reused */
    if (net->free_count == 0) {
        if (net->slot_cap >= CONN_SLOTS_MAX)
            return NULL;
        grow_slots(net);
    }
    struct conn *conn = calloc(1, sizeof(*conn));
    ENSURE(conn != NULL);
    uint32_t slot = net->free_slots[--net->free_count];
    net->slots[slot] = conn;
    conn->id = (atomic_fetch_add(&last_serial, 1) + 1) << CONN_SLOT_BITS | slot;
    conn->net = net;
    conn->ops = ops;
    conn->user = user;
    conn->limits = *limits;
    conn->fd = -1;
    conn->born_ms = conn->last_read_ms = conn->last_write_ms = loop_now_ms(net->loop);
    framer_init(&conn->in, limits->frame_min_bytes, limits->frame_max_bytes);
    ENSURE(evtimer_assign(&conn->ev_timer, loop_base(net->loop), on_deadline, conn) == 0);
    return conn;
}

/* Bring its listener's sum up to date. False: all together hold too much, and this one more than its share. */
static bool weigh(struct conn *conn)
{
    struct listener *l = conn->listener;
    size_t holds = conn->in.cap + conn->out.bytes;
    if (l == NULL)
        return true;
    l->held_bytes = l->held_bytes - conn->weighed + holds;
    conn->weighed = holds;
    uint64_t max = l->limits.all_max_bytes;
    return max == 0 || l->held_bytes <= max || holds <= max / l->conns;
}

static void holds_too_much(struct conn *conn)
{
    LOG_WARN_EVERY(CONN_LOG_EVERY_MS, "connections hold too much", "peer=%s in=%u out=%zu all=%llu max=%llu",
                   conn->peer_text, conn->in.cap, conn->out.bytes,
                   (unsigned long long)conn->listener->held_bytes,
                   (unsigned long long)conn->listener->limits.all_max_bytes);
    conn_end(conn, ERR_BUSY);
}

static void conn_free(struct conn *conn)
{
    struct net *net = conn->net;
    uint32_t slot = (uint32_t)conn->id & (CONN_SLOTS_MAX - 1);
    net->slots[slot] = NULL;
    net->free_slots[net->free_count++] = slot;
    framer_release(&conn->in);
    if (conn->listener != NULL) {
        (void)weigh(conn);
        listener_conn_gone(conn->listener);
    }
    free(conn);
}

static void bind_socket(struct conn *conn, int fd)
{
    struct event_base *base = loop_base(conn->net->loop);
    conn->fd = fd;
    conn_socket_options(fd);
    ENSURE(event_assign(&conn->ev_read, base, fd, EV_READ | EV_PERSIST, on_readable, conn) == 0);
    ENSURE(event_assign(&conn->ev_write, base, fd, EV_WRITE | EV_PERSIST, on_writable, conn) == 0);
}

void conn_socket_options(int fd)
{
    int one = 1;
    /* Fails only on a socket that is already dead, which the first read will tell. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void set_peer(struct conn *conn, const struct sockaddr_in *peer)
{
    char ip[INET_ADDRSTRLEN];
    conn->peer = *peer;
    ENSURE(inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip)) != NULL);
    snprintf(conn->peer_text, sizeof(conn->peer_text), "%s:%u", ip, ntohs(peer->sin_port));
}

void conn_end(struct conn *conn, int why)
{
    struct net *net = conn->net;
    if (conn->state == CONN_CLOSED)
        return;
    conn->state = CONN_CLOSED;
    conn->why = why;
    event_del(&conn->ev_timer);
    if (conn->fd >= 0) {
        event_del(&conn->ev_read);
        event_del(&conn->ev_write);
        close(conn->fd);
        conn->fd = -1;
    }
    if (conn->dirty)
        TAILQ_REMOVE(&net->dirty, conn, dirty_link);
    conn->dirty = false;
    outq_release(&conn->out);
    (void)weigh(conn);
    TAILQ_INSERT_TAIL(&net->closed, conn, closed_link);
    loop_again(net->loop);
}

/* The system said no: ERR_IO for programs, the cause for people. */
static void conn_fail(struct conn *conn, int error)
{
    if (conn->state != CONN_CLOSED)
        conn->cause = strerrordesc_np(error);
    conn_end(conn, ERR_IO);
}

/* Connections that end meanwhile (on_close may close others, or connect anew and fail) wait for the next
 * turn. */
static void report_closed(void *state)
{
    struct net *net = state;
    struct conn_list now = TAILQ_HEAD_INITIALIZER(now);
    TAILQ_CONCAT(&now, &net->closed, closed_link);
    while (!TAILQ_EMPTY(&now)) {
        struct conn *conn = TAILQ_FIRST(&now);
        TAILQ_REMOVE(&now, conn, closed_link);
        conn->ops->on_close(conn, conn->why);
        conn_free(conn);
    }
}

/* ---- deadlines: connecting, draining, idling ---- */

/* When the timer must look again; UINT64_MAX: never. */
static uint64_t deadline_of(const struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return conn->born_ms + conn->limits.connect_ms;
    if (conn->draining)
        return conn->drain_ms + CONN_DRAIN_MS;
    if (conn->limits.idle_ms == 0)
        return UINT64_MAX;
    uint64_t last = conn->last_read_ms > conn->last_write_ms ? conn->last_read_ms : conn->last_write_ms;
    return last + conn->limits.idle_ms;
}

static void arm_deadline(struct conn *conn)
{
    uint64_t deadline_ms = deadline_of(conn), now_ms = loop_now_ms(conn->net->loop);
    if (deadline_ms == UINT64_MAX) {
        event_del(&conn->ev_timer);
        return;
    }
    uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    struct timeval tv = {(time_t)(left_ms / 1000), (suseconds_t)(left_ms % 1000) * 1000};
    ENSURE(event_add(&conn->ev_timer, &tv) == 0);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *conn = arg;
    loop_woke(conn->net->loop);
    if (loop_now_ms(conn->net->loop) < deadline_of(conn))
        arm_deadline(conn);
    else
        conn_end(conn, conn->draining ? 0 : ERR_TIMEOUT);
}

/* ---- in ---- */

static bool take_frame(void *arg, const uint8_t *frame, size_t len)
{
    struct conn *conn = arg;
    conn->ops->on_frame(conn, frame, len);
    return conn->state == CONN_OPEN && !conn->paused && !conn->draining;
}

static void refuse_frame(struct conn *conn, int rc)
{
    LOG_WARN_EVERY(CONN_LOG_EVERY_MS, "frame refused", "peer=%s cause=\"%s\" min=%u max=%u", conn->peer_text,
                   err_text(rc), conn->limits.frame_min_bytes, conn->limits.frame_max_bytes);
    conn_end(conn, rc);
}

/* Everything is written and our direction is shut. Closing with unread bytes would reset the connection, and
 * the peer could lose what we wrote last: read and drop until it closes as well. */
static void discard_some(struct conn *conn)
{
    ssize_t n = read(conn->fd, conn->net->scratch, sizeof(conn->net->scratch));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        conn_end(conn, 0);
}

/* Read once. Returns how many bytes came; 0: nothing more to do for now. */
static size_t read_some(struct conn *conn)
{
    size_t room;
    uint8_t *p = framer_room(&conn->in, conn->net->scratch, &room);
    ssize_t n = read(conn->fd, p, room);
    if (n == 0) {
        conn_end(conn, ERR_CLOSED);
        return 0;
    }
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            conn_fail(conn, errno);
        return 0;
    }
    conn->last_read_ms = loop_now_ms(conn->net->loop);
    int rc = framer_fed(&conn->in, conn->net->scratch, (size_t)n, take_frame, conn);
    if (rc != 0 && conn->state == CONN_OPEN)
        refuse_frame(conn, rc);
    else if (!weigh(conn) && conn->state == CONN_OPEN)
        holds_too_much(conn);
    return (size_t)n < room ? 0 : (size_t)n;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *conn = arg;
    loop_woke(conn->net->loop);
    if (conn->draining) {
        discard_some(conn);
        return;
    }
    if (conn->in.stopped) {
        int rc = framer_resume(&conn->in, take_frame, conn);
        if (rc != 0 && conn->state == CONN_OPEN)
            refuse_frame(conn, rc);
    }
    for (size_t sum = 0, n = 1; n > 0 && sum < CONN_READ_TURN_BYTES; sum += n) {
        if (conn->state != CONN_OPEN || conn->in.stopped || conn->paused || conn->draining)
            return;
        n = read_some(conn);
    }
}

void conn_raise_frame_max(struct conn *conn, uint32_t frame_max_bytes)
{
    conn->limits.frame_max_bytes = frame_max_bytes;
    framer_raise_max(&conn->in, frame_max_bytes);
}

void conn_pause(struct conn *conn, bool paused)
{
    if (conn->paused == paused)
        return;
    conn->paused = paused;
    if (conn->state != CONN_OPEN || conn->draining)
        return;
    if (paused) {
        event_del(&conn->ev_read);
        return;
    }
    ENSURE(event_add(&conn->ev_read, NULL) == 0);
    if (conn->in.stopped) /* whole frames may be held already: do not wait for more bytes */
        event_active(&conn->ev_read, EV_READ, 0);
}

/* ---- out ---- */

static void await_writable(struct conn *conn, bool wanted)
{
    if (conn->awaits_writable == wanted)
        return;
    conn->awaits_writable = wanted;
    if (wanted)
        ENSURE(event_add(&conn->ev_write, NULL) == 0);
    else
        event_del(&conn->ev_write);
}

/* The last byte is written; what is left to do is to learn that the peer has it. */
static void drained(struct conn *conn)
{
    if (shutdown(conn->fd, SHUT_WR) != 0)
        conn_end(conn, 0);
    else
        ENSURE(event_add(&conn->ev_read, NULL) == 0);
}

static void write_out(struct conn *conn)
{
    struct iovec iov[CONN_WRITE_VECTORS];
    for (size_t sum = 0; conn->out.bytes > 0;) {
        size_t want;
        int count = outq_vectors(&conn->out, iov, CONN_WRITE_VECTORS, &want);
        ssize_t n = sum < CONN_WRITE_TURN_BYTES ? writev(conn->fd, iov, count) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            conn_fail(conn, errno);
            return;
        }
        if (n > 0) {
            conn->last_write_ms = loop_now_ms(conn->net->loop);
            outq_written(&conn->out, (size_t)n);
            (void)weigh(conn);
            sum += (size_t)n;
        }
        if (n < 0 || (size_t)n < want) {
            await_writable(conn, true);
            return;
        }
    }
    await_writable(conn, false);
    if (conn->draining)
        drained(conn);
}

/* Runs last in a turn. */
static void write_dirty(void *state)
{
    struct net *net = state;
    struct conn *conn;
    while ((conn = TAILQ_FIRST(&net->dirty)) != NULL) {
        TAILQ_REMOVE(&net->dirty, conn, dirty_link);
        conn->dirty = false;
        write_out(conn);
    }
}

/* True when bytes may be queued. */
static bool takes_output(const struct conn *conn)
{
    return conn->state != CONN_CLOSED && !conn->draining;
}

static void queued(struct conn *conn)
{
    if (conn->out.bytes > conn->limits.out_max_bytes) {
        LOG_WARN_EVERY(CONN_LOG_EVERY_MS, "peer does not read", "peer=%s waiting_bytes=%zu max=%u",
                       conn->peer_text, conn->out.bytes, conn->limits.out_max_bytes);
        conn_end(conn, ERR_BUSY);
        return;
    }
    if (!weigh(conn)) {
        holds_too_much(conn);
        return;
    }
    if (conn->dirty || conn->awaits_writable || conn->state != CONN_OPEN)
        return;
    conn->dirty = true;
    TAILQ_INSERT_TAIL(&conn->net->dirty, conn, dirty_link);
}

void conn_write(struct conn *conn, const void *data, size_t len)
{
    if (!takes_output(conn))
        return;
    outq_copy(&conn->out, data, len);
    queued(conn);
}

void conn_write_buf(struct conn *conn, struct buf *b)
{
    if (!takes_output(conn)) {
        buf_unref(b);
        return;
    }
    outq_ref(&conn->out, b, 0, b->len);
    queued(conn);
}

void conn_write_slice(struct conn *conn, struct buf *b, size_t offset, size_t len)
{
    if (!takes_output(conn))
        return;
    outq_ref(&conn->out, buf_ref(b), offset, len);
    queued(conn);
}

size_t conn_waiting_bytes(const struct conn *conn)
{
    return conn->out.bytes;
}

void conn_close(struct conn *conn)
{
    conn_end(conn, 0);
}

void conn_close_after_write(struct conn *conn)
{
    if (conn->state == CONN_CLOSED || conn->draining)
        return;
    conn->draining = true;
    conn->drain_ms = loop_now_ms(conn->net->loop);
    if (conn->state != CONN_OPEN)
        return;
    event_del(&conn->ev_read);
    arm_deadline(conn);
    if (conn->out.bytes == 0)
        drained(conn);
}

/* ---- opening ---- */

/* The socket is connected. */
static void open_now(struct conn *conn)
{
    socklen_t len = sizeof(conn->local);
    if (getsockname(conn->fd, (struct sockaddr *)&conn->local, &len) != 0) {
        conn_fail(conn, errno);
        return;
    }
    conn->state = CONN_OPEN;
    conn->last_read_ms = conn->last_write_ms = loop_now_ms(conn->net->loop);
    if (!conn->paused && !conn->draining)
        ENSURE(event_add(&conn->ev_read, NULL) == 0);
    if (conn->draining || conn->limits.idle_ms > 0 || event_pending(&conn->ev_timer, EV_TIMEOUT, NULL))
        arm_deadline(conn);
    if (conn->ops->on_open != NULL && !conn->draining)
        conn->ops->on_open(conn);
    if (conn->state != CONN_OPEN)
        return;
    if (conn->out.bytes > 0)
        queued(conn);
    else if (conn->draining)
        drained(conn);
}

bool conn_accepted(struct listener *l, int fd, const struct sockaddr_in *peer)
{
    struct conn *conn = conn_new(l->net, l->ops, &l->limits, l->user);
    if (conn == NULL) {
        close(fd);
        return false;
    }
    conn->listener = l;
    l->conns++;
    bind_socket(conn, fd);
    set_peer(conn, peer);
    open_now(conn);
    return true;
}

/* A port nobody listens on, out of the range of outgoing ports, may be given to our own end: TCP then
 * connects the socket to itself. */
static bool connected_to_itself(const struct conn *conn)
{
    struct sockaddr_in local;
    socklen_t len = sizeof(local);
    return getsockname(conn->fd, (struct sockaddr *)&local, &len) == 0 &&
           local.sin_port == conn->peer.sin_port && local.sin_addr.s_addr == conn->peer.sin_addr.s_addr;
}

static void finish_connect(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    else if (error == 0 && connected_to_itself(conn))
        error = ECONNREFUSED;
    if (error != 0) {
        conn_fail(conn, error);
        return;
    }
    await_writable(conn, false);
    open_now(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *conn = arg;
    loop_woke(conn->net->loop);
    if (conn->state == CONN_CONNECTING)
        finish_connect(conn);
    else if (conn->state == CONN_OPEN)
        write_out(conn);
}

/* conn->peer is known. */
static void start_connect(struct conn *conn)
{
    conn->state = CONN_CONNECTING;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        conn_fail(conn, errno);
        LOG_WARN_EVERY(CONN_LOG_EVERY_MS, "no socket", "peer=%s cause=\"%s\"", conn->peer_text,
                       conn_why_text(conn));
        return;
    }
    bind_socket(conn, fd);
    /* Replica ports (409xx) lie among those the kernel gives to outgoing connections: ours must not keep a replica from
     * listening on its own. */
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *)&conn->peer, sizeof(conn->peer)) != 0 && errno != EINPROGRESS) {
        conn_fail(conn, errno);
        return;
    }
    /* Also when connected at once: on_open must not run inside conn_connect, and the socket is writable
     * then. */
    await_writable(conn, true);
}

static void on_resolved(void *arg, uint64_t id, int rc, struct in_addr addr)
{
    struct net *net = arg;
    struct conn *conn = conn_by_id(net->loop, id);
    if (conn == NULL)
        return;
    if (rc != 0) {
        conn->cause = "no address for this name";
        conn_end(conn, ERR_IO);
        return;
    }
    struct sockaddr_in peer = conn->peer;
    peer.sin_addr = addr;
    set_peer(conn, &peer);
    start_connect(conn);
}

struct conn *conn_connect(struct loop *loop, const char *host, uint16_t port, const struct conn_ops *ops,
                          const struct conn_limits *limits, void *user)
{
    struct net *net = net_of(loop);
    struct conn *conn = conn_new(net, ops, limits, user);
    ENSURE(conn != NULL); /* CONN_SLOTS_MAX is beyond what descriptors allow; accepting stops first */
    if (conn->limits.connect_ms == 0)
        conn->limits.connect_ms = CONN_CONNECT_MS_DEFAULT;
    snprintf(conn->peer_text, sizeof(conn->peer_text), "%s:%u", host, port);
    arm_deadline(conn);

    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (resolve_numeric(host, &peer.sin_addr)) {
        set_peer(conn, &peer);
        start_connect(conn);
        return conn;
    }
    conn->peer = peer;
    if (net->resolver == NULL)
        net->resolver = resolver_new(loop, on_resolved, net);
    if (resolve_ask(net->resolver, host, conn->id) != 0) {
        conn->cause = "too many names to look up, or too long a name";
        conn_end(conn, ERR_IO);
    }
    return conn;
}

/* ---- the net part of a loop ---- */

static void net_release(void *state)
{
    struct net *net = state;
    for (uint32_t slot = 0; slot < net->slot_cap; slot++)
        if (net->slots[slot] != NULL)
            conn_end(net->slots[slot], 0);
    while (!TAILQ_EMPTY(&net->closed))
        report_closed(net);
    resolver_free(net->resolver);
    free(net->slots);
    free(net->free_slots);
    free(net);
}

struct net *net_of(struct loop *loop)
{
    struct loop_part *part = loop_net_part(loop);
    if (part->state != NULL)
        return part->state;
    struct net *net = calloc(1, sizeof(*net));
    ENSURE(net != NULL);
    net->loop = loop;
    TAILQ_INIT(&net->dirty);
    TAILQ_INIT(&net->closed);
    *part = (struct loop_part){net, report_closed, write_dirty, net_release};
    return net;
}

struct conn *conn_by_id(struct loop *loop, uint64_t id)
{
    struct net *net = net_of(loop);
    uint32_t slot = (uint32_t)id & (CONN_SLOTS_MAX - 1);
    struct conn *conn = slot < net->slot_cap ? net->slots[slot] : NULL;
    return conn != NULL && conn->id == id && conn->state != CONN_CLOSED ? conn : NULL;
}

struct loop *conn_loop(const struct conn *conn)
{
    return conn->net->loop;
}

void *conn_user(const struct conn *conn)
{
    return conn->user;
}

void *conn_data(const struct conn *conn)
{
    return conn->data;
}

void conn_set_data(struct conn *conn, void *data)
{
    conn->data = data;
}

uint64_t conn_id(const struct conn *conn)
{
    return conn->id;
}

const char *conn_peer(const struct conn *conn)
{
    return conn->peer_text;
}

const char *conn_why_text(const struct conn *conn)
{
    return conn->cause != NULL ? conn->cause : err_text(conn->why);
}

const struct sockaddr_in *conn_peer_addr(const struct conn *conn)
{
    return &conn->peer;
}

const struct sockaddr_in *conn_local_addr(const struct conn *conn)
{
    return &conn->local;
}

uint64_t conn_last_read_ms(const struct conn *conn)
{
    return conn->last_read_ms;
}

bool conn_is_open(const struct conn *conn)
{
    return conn->state == CONN_OPEN && !conn->draining;
}
