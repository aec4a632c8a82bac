/*
 * peers.h - the real transport: connections to the other replicas of the group and the RPC on them. Loop
 * thread only.
 *
 * For each other peer two outgoing connections are kept: control (votes, heartbeats, comparisons, hand-over)
 * and data (entries, relayed frames), so that a heartbeat never waits behind records. A peer's requests come
 * in on connections it made; their answers go back there. The four connections with one peer are one session:
 * when one that was in use is lost, all are dropped and made anew, and on_down is told once. A peer is up
 * when both outgoing connections were welcomed (Hello). Format and rules: docs/formats/replica-rpc.md.
 */
#ifndef DLEDGER_NET_PEERS_H
#define DLEDGER_NET_PEERS_H

#include "common/err.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "dledger/net/transport.h"

#define DL_PEERS_RETRY_MIN_MS 10u /* wait before the first reconnect; doubled up to */
#define DL_PEERS_RETRY_MAX_MS 500u
#define DL_PEERS_CONNECT_MS   1000u /* a connect that takes longer is given up */
#define DL_PEERS_PING_MS      1000u /* each outgoing connection asks for a sign of life so often ... */
/* ... and is given up after so many without anything read; an incoming one after so many without Hello */
#define DL_PEERS_PINGS_MISSED 3u
#define DL_PEERS_IDLE_MS      5000u       /* incoming: given up when silent for so long (five pings) */
#define DL_PEERS_OUT_MAX      (64u << 20) /* bytes waiting on one connection; beyond: cut, on_down */
/* Relayed bytes stop here with ERR_BUSY, so that clients' frames never cost the group a connection. */
#define DL_PEERS_OUT_RELAYS_MAX (DL_PEERS_OUT_MAX / 2)
#define DL_PEERS_RELAYS_MAX     8192u /* relayed frames without an answer, per peer; beyond: ERR_BUSY */

struct dl_peers;

struct dl_peer_addr {
    dl_peer_t id;
    const char *host; /* name or IPv4 address */
    uint16_t port;
};

struct dl_peers_opts {
    struct loop *loop; /* must outlive */
    const char *group; /* at most 255 bytes */
    dl_peer_t self;
    const char *listen_host;          /* NULL: all addresses. The port is that of self's row in `peers` */
    const struct dl_peer_addr *peers; /* all members, self too */
    uint32_t count;                   /* 1..DL_PEERS_MAX */
    struct dl_transport_hooks hooks;
};

/* Listen, start connecting and fill `transport` (its functions are valid until dl_peers_close). Options are
 * copied. Hooks are first called from the loop. ERR_INVALID (self missing, doubled or zero ids, no group), or
 * what listener_open says. */
int dl_peers_open(const struct dl_peers_opts *opts, struct dl_peers **out, struct dl_transport *transport,
                  struct err *err) MUSTCHECK;
/* Relays under way end with ERR_CLOSED (called inside); no other hook is called. The loop must turn once more
 * to let go of the connections. NULL is allowed. */
void dl_peers_close(struct dl_peers *p);

struct dl_peers_counters {
    metric_t ups, downs; /* sessions begun and lost */
    metric_t refused;    /* Hellos we refused or were refused */
    metric_t malformed;  /* bad frames; each cost its session */
    metric_t frames_in, frames_out, bytes_in, bytes_out;
    metric_t relays_out, relays_in, relay_timeouts;
};
struct dl_peers_counters *dl_peers_counters(struct dl_peers *p);

#endif
