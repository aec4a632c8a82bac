/*
 * conn.h - listeners and framed connections: frames in, buffers out, limits. Both our wires use the same
 * outer frame: a 4-byte big-endian length of what follows (RocketMQ remoting 1.1; proto/dledger.proto).
 *
 * A frame longer than the limit, or shorter than frame_min, costs its own connection only: it is logged with
 * the peer's address and closed. Output is gathered and written at the end of the turn. A peer that does not
 * read is cut off when more than out_max_bytes wait for it. All functions on the loop thread. A conn is freed
 * by the module after on_close has returned; no call on it is allowed from then on.
 */
#ifndef COMMON_CONN_H
#define COMMON_CONN_H

#include <netinet/in.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/loop.h"

struct conn;
struct listener;

struct conn_ops {
    /* One whole frame including its 4-byte length; lent for the call. The callee may write to and close
     * conn. */
    void (*on_frame)(struct conn *conn, const uint8_t *frame, size_t len);
    /* Connection is established (outgoing: connected; incoming: accepted). May be NULL. */
    void (*on_open)(struct conn *conn);
    /* The last call for this conn, exactly once, also after conn_close. why: ERR_CLOSED by the peer
     * (orderly), ERR_IO reset or network error (a reset by the peer's kernel shows as ERR_IO too),
     * ERR_TIMEOUT connect or idle time out, ERR_MALFORMED bad frame, ERR_TOO_LARGE, ERR_BUSY output limit or
     * more than its share (all_max_bytes), 0 closed by us. */
    void (*on_close)(struct conn *conn, int why);
};

struct conn_limits {
    uint32_t frame_max_bytes; /* whole frame with its length; remoting: 16 MiB */
    uint32_t frame_min_bytes; /* at least 4 */
    uint32_t out_max_bytes;   /* waiting output, e.g. 64 MiB */
    uint32_t idle_ms;         /* close when nothing was read or written for so long; 0 = never */
    uint32_t connect_ms;      /* outgoing only */
    uint32_t conns_max;       /* listener only: more are accepted and closed at once with a log line */
    /* listener only, 0 = none: what its connections may hold together, parts of frames and waiting output.
     * Beyond it a connection that holds more than its share (this over the number of connections) is cut off
     * when it needs more, so twice as much is never held. */
    uint64_t all_max_bytes;
};

/* Listen on host:port (host NULL = all IPv4 addresses; port 0 = any, see listener_port). New conns get `ops`,
 * `limits`, `user`. Errors name address and cause ("port 10911 is in use"). Copies limits; ops and user must
 * outlive. */
int listener_open(struct loop *loop, const char *host, uint16_t port, const struct conn_ops *ops,
                  const struct conn_limits *limits, void *user, struct listener **out,
                  struct err *err) MUSTCHECK;
uint16_t listener_port(const struct listener *l);
uint32_t listener_conns(const struct listener *l);
void listener_close(struct listener *l); /* its connections are closed too */

/* Start connecting to host:port (numeric IPv4 or a name; names are resolved asynchronously). Returns at once;
 * on_open or on_close follows. */
struct conn *conn_connect(struct loop *loop, const char *host, uint16_t port, const struct conn_ops *ops,
                          const struct conn_limits *limits, void *user);
void conn_close(struct conn *conn); /* drops waiting output; on_close(0) follows in this turn's end, never
                                       inside this call */
/* Write what waits, then shut our direction and wait, 5 s in all, for the peer to close; on_close(0) follows.
 * No more frames are handed out and no more output is taken. */
void conn_close_after_write(struct conn *conn);

/* Queue bytes. Copied / by reference (one reference is handed over) / several parts of one frame. After close
 * they are dropped. */
void conn_write(struct conn *conn, const void *data, size_t len);
void conn_write_buf(struct conn *conn, struct buf *b);
void conn_write_slice(struct conn *conn, struct buf *b, size_t offset,
                      size_t len); /* takes its own reference */
size_t conn_waiting_bytes(const struct conn *conn);

void *conn_user(const struct conn *conn); /* what listener_open/conn_connect were given */
void *conn_data(const struct conn *conn); /* per connection, set by on_open; NULL at first */
void conn_set_data(struct conn *conn, void *data);
uint64_t
conn_id(const struct conn *conn); /* unique in this process, never reused: safe to remember across turns */
const char *conn_peer(const struct conn *conn); /* "ip:port" */
/* In on_close, for people: the system's own words where there are some ("Connection refused"), or err_text(why).
 * A static text. */
const char *conn_why_text(const struct conn *conn);
const struct sockaddr_in *conn_peer_addr(const struct conn *conn);
const struct sockaddr_in *conn_local_addr(const struct conn *conn);
uint64_t conn_last_read_ms(const struct conn *conn);
bool conn_is_open(const struct conn *conn); /* established and not closing */
struct loop *conn_loop(const struct conn *conn);
/* The connection with this id on this loop, or NULL when it has gone or is closing. Constant time. */
struct conn *conn_by_id(struct loop *loop, uint64_t id);
/* Frames up to so many bytes are taken from now on; not less than before. For connections that begin as
 * strangers. */
void conn_raise_frame_max(struct conn *conn, uint32_t frame_max_bytes);
/* Stop and resume reading (back-pressure). */
void conn_pause(struct conn *conn, bool paused);

/* "host:port" -> parts; ERR_INVALID with the text named. host_size includes NUL. */
int addr_split(struct str text, char *host, size_t host_size, uint16_t *port) MUSTCHECK;

#endif
