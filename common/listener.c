/* listener.c - accepting connections for conn.c; the listener half of conn.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conn.h"
#include "common/conn_internal.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/loop_internal.h"

#define LISTENER_ACCEPT_PER_TURN 64u
#define LISTENER_PAUSE_MS        100u
#define LISTENER_LOG_EVERY_MS    1000u

static void rest(struct listener *l, int error)
{
    LOG_WARN_EVERY(LISTENER_LOG_EVERY_MS, "accepting rests", "port=%u cause=\"%s\" pause_ms=%u", l->port,
                   strerror(error), LISTENER_PAUSE_MS);
    event_del(&l->ev_accept);
    timer_start(&l->pause, LISTENER_PAUSE_MS);
}

static void on_rested(void *arg)
{
    struct listener *l = arg;
    ENSURE(event_add(&l->ev_accept, NULL) == 0);
}

static void take(struct listener *l, int fd, const struct sockaddr_in *peer)
{
    if (l->conns < l->limits.conns_max) {
        if (!conn_accepted(l, fd, peer))
            rest(l, ENFILE);
        return;
    }
    close(fd);
    char ip[INET_ADDRSTRLEN];
    LOG_WARN_EVERY(LISTENER_LOG_EVERY_MS, "connection refused", "port=%u peer=%s conns=%u max=%u", l->port,
                   inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip)), l->conns, l->limits.conns_max);
}

static void on_acceptable(evutil_socket_t listen_fd, short what, void *arg)
{
    (void)what;
    struct listener *l = arg;
    loop_woke(l->net->loop);
    /* on_open may close the listener */
    for (uint32_t i = 0; i < LISTENER_ACCEPT_PER_TURN && l->fd >= 0; i++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(listen_fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            take(l, fd, &peer);
        else if (errno == EAGAIN)
            return;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            rest(l, errno);
            return;
        }
        /* Anything else is a connection that died in the queue: the next one is tried. */
    }
}

int listener_open(struct loop *loop, const char *host, uint16_t port, const struct conn_ops *ops,
                  const struct conn_limits *limits, void *user, struct listener **out, struct err *err)
{
    int fd = -1;
    uint16_t bound_port = 0;
    *out = NULL;
    int rc = listen_socket(host, port, &fd, &bound_port, err);
    if (rc != 0)
        return rc;

    struct listener *l = calloc(1, sizeof(*l));
    ENSURE(l != NULL);
    l->net = net_of(loop);
    l->ops = ops;
    l->user = user;
    l->limits = *limits;
    l->fd = fd;
    l->port = bound_port;
    timer_init(&l->pause, loop, on_rested, l);
    ENSURE(event_assign(&l->ev_accept, loop_base(loop), fd, EV_READ | EV_PERSIST, on_acceptable, l) == 0);
    ENSURE(event_add(&l->ev_accept, NULL) == 0);
    *out = l;
    return 0;
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

uint32_t listener_conns(const struct listener *l)
{
    return l->conns;
}

static void free_when_done(struct listener *l)
{
    if (l->fd < 0 && l->conns == 0)
        free(l);
}

void listener_close(struct listener *l)
{
    if (l == NULL)
        return;
    ENSURE(l->fd >= 0);
    struct net *net = l->net;
    event_del(&l->ev_accept);
    timer_release(&l->pause);
    close(l->fd);
    l->fd = -1;
    for (uint32_t slot = 0; slot < net->slot_cap; slot++)
        if (net->slots[slot] != NULL && net->slots[slot]->listener == l)
            conn_end(net->slots[slot], 0);
    free_when_done(l);
}

void listener_conn_gone(struct listener *l)
{
    l->conns--;
    free_when_done(l);
}
