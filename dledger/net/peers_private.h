/*
 * peers_private.h - the pieces of the real transport: links (one connection each), peers (sessions of up to
 * four links), and which file does what.
 *
 *   peers.c    open and close, sessions: connect, lose, retry, ping
 *   service.c  the serving side: frames of incoming links -> generated service -> hooks; answers of outgoing
 * links asking.c     struct dl_transport: messages and relays out, through the generated stubs
 *
 * Invariants:
 *   - a link is in at most one slot of one peer, and then link->peer is that peer; a link given up has peer
 * NULL and only waits for its on_close
 *   - `ready` links have exchanged Hello; incoming ones are in a slot only when ready
 *   - peer->up == out[CONTROL] and out[DATA] are ready, and exactly then on_up was told and on_down not yet
 */
#ifndef DLEDGER_NET_PEERS_PRIVATE_H
#define DLEDGER_NET_PEERS_PRIVATE_H

#include "common/conn.h"
#include "dledger/net/peers.h"
#include "dledger/net/relays.h"
#include "dledger/net/wire.h"

enum channel { CONTROL, DATA, CHANNELS };

struct link {
    struct dl_peers *owner; /* NULL when the peers were closed */
    struct peer *peer;
    struct conn *conn;
    enum channel channel;
    bool outgoing, ready;
    uint32_t serial;       /* incoming: part of relay tickets */
    uint64_t seen_read_ms; /* at the last ping */
    uint32_t pings_missed;
    struct link *next, **prevp; /* owner->links */
};

struct peer {
    struct dl_peers *owner;
    dl_peer_t id;
    char host[256];
    uint16_t port;
    struct link *out[CHANNELS], *in[CHANNELS];
    bool up;
    bool told_away; /* the log says already that it cannot be reached */
    uint32_t retry_ms;
    struct timer retry;
    struct relays relays;
};

/* The asking side as a protobuf-c service: the generated stubs call its invoke, which writes the frame. */
struct asking {
    ProtobufCService base;
    struct link *link;
    uint32_t call;
    const struct dl_slice *slices;
    uint32_t slice_count;
    const uint8_t *bytes; /* or: attachment to be copied */
    uint32_t bytes_len;
};

struct dl_peers {
    Ledgermq__Dledger__Replica_Service service; /* first: the generated code hands this to the methods */
    struct asking asking;
    struct loop *loop;
    struct listener *listener;
    char group[WIRE_GROUP_MAX + 1];
    dl_peer_t self;
    struct dl_transport_hooks hooks;
    struct peer peers[DL_PEERS_MAX]; /* all but self */
    uint32_t count;
    uint32_t members[DL_PEERS_MAX]; /* ids of all, self too, ascending */
    struct link *links;
    uint32_t serial;
    struct timer ping;
    struct dl_peers_counters counters;
    /* While a frame is served: */
    struct link *at;
    const struct wire_frame *frame;
    int bad; /* what a method found wrong with the frame */
    struct err bad_err;
};

/* peers.c */
struct peer *peers_find(struct dl_peers *p, dl_peer_t id);
/* An outgoing link was welcomed. */
void peers_welcomed(struct link *link);
/* An incoming link said a good Hello for this peer and channel. */
void peers_admit(struct link *link, struct peer *peer, enum channel channel);
void link_write(struct link *link, enum wire_kind kind, uint32_t method, uint32_t call,
                const ProtobufCMessage *msg, size_t attached_len);

/* service.c */
void service_init(struct dl_peers *p);
/* Handle a frame of a live link. ERR_MALFORMED: the link is to be closed. */
int service_frame(struct link *link, const uint8_t *frame, size_t len, struct err *err) MUSTCHECK;

/* asking.c */
void asking_init(struct dl_peers *p);
void asking_hello(struct link *link);
void asking_ping(struct link *link);
void asking_fill_transport(struct dl_peers *p, struct dl_transport *transport);
static inline uint64_t relay_ticket(const struct dl_peers *p, const struct link *link, uint32_t call)
{
    return (uint64_t)(link->peer - p->peers) << 56 | (uint64_t)link->serial << 32 | call;
}

#endif
