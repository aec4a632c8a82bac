/*
 * conn_internal.h - shared by conn.c (connections) and listener.c (accepting them); nobody else includes it.
 *
 * States of a connection; it only moves down:
 *
 *     RESOLVING -> CONNECTING -> OPEN -> CLOSED -> on_close, freed
 *
 * CLOSED: the socket is gone, on_close is still to be called, before the end-of-turn hooks of this turn or
 * the next one.
 */
#ifndef COMMON_CONN_INTERNAL_H
#define COMMON_CONN_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "common/conn.h"
#include "common/framer.h"
#include "common/outq.h"
#include "common/resolve.h"

#define CONN_PEER_TEXT_MAX 48u /* names are cut while they are not resolved */

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_OPEN, CONN_CLOSED };

struct conn {
    struct net *net;
    struct listener *listener; /* NULL: outgoing */
    const struct conn_ops *ops;
    void *user, *data;
    uint64_t id;
    int fd; /* -1: none */
    enum conn_state state;
    int why;              /* CLOSED: for on_close */
    const char *cause;    /* why ERR_IO, in words; a static text */
    bool paused;          /* by conn_pause */
    bool draining;        /* close when everything is written */
    bool dirty;           /* on net->dirty */
    bool awaits_writable; /* ev_write is added */
    struct conn_limits limits;
    uint64_t born_ms, last_read_ms, last_write_ms, drain_ms;
    struct framer in;
    struct outq out;
    size_t weighed; /* of what it holds, in its listener's sum */
    struct event ev_read, ev_write, ev_timer;
    TAILQ_ENTRY(conn) dirty_link, closed_link;
    struct sockaddr_in peer, local;
    char peer_text[CONN_PEER_TEXT_MAX];
};

TAILQ_HEAD(conn_list, conn);

/* The connections of one loop. An id is a process-wide serial number above the slot of the connection, so
 * look-ups need no hash. */
struct net {
    struct loop *loop;
    struct conn **slots;
    uint32_t *free_slots;
    uint32_t slot_cap, free_count;
    struct conn_list dirty;    /* have output to be written at the end of the turn */
    struct conn_list closed;   /* wait for on_close */
    struct resolver *resolver; /* made for the first name */
    uint8_t scratch[FRAMER_SCRATCH_BYTES];
};

struct listener {
    struct net *net;
    const struct conn_ops *ops;
    void *user;
    struct conn_limits limits;
    int fd; /* -1: closed; lives on until its last connection is freed */
    uint32_t conns;
    uint64_t held_bytes; /* by all its connections */
    uint16_t port;
    struct event ev_accept;
    struct timer pause; /* no descriptors left: accepting rests */
};

struct net *net_of(struct loop *loop);
/* Take over an accepted socket; calls on_open. False (socket closed) when there is no room for more. */
bool conn_accepted(struct listener *l, int fd, const struct sockaddr_in *peer);
/* The one way down to CLOSED; does nothing when already there. */
void conn_end(struct conn *conn, int why);
/* Called when a connection of this listener is freed. */
void listener_conn_gone(struct listener *l);
void conn_socket_options(int fd);

#endif
