/*
 * transport.h - how the node talks to the other replicas: an interface with two implementations, net/peers.c
 * (libevent connections, protobuf-c RPC) and the simulator's network. Loop thread only.
 *
 * Messages to one peer arrive in order or not at all, those with records and those without each for
 * themselves; a lost connection loses what was under way and is told by on_down. Heartbeats and votes
 * (everything without records) never queue behind records: peers.c keeps two connections per peer, one for
 * small messages, one for records and relays.
 */
#ifndef DLEDGER_NET_TRANSPORT_H
#define DLEDGER_NET_TRANSPORT_H

#include <netinet/in.h>

#include "common/buf.h"
#include "dledger/core/types.h"

/* A part of a ref-counted buffer. */
struct dl_slice {
    struct buf *buf;
    uint32_t offset, len;
};

#define DL_PUSH_BYTES_MAX   (1024u * 1024) /* record bytes in one push, unless a single record is larger */
#define DL_PUSH_ENTRIES_MAX 4096u

/* What the transport tells its owner. */
struct dl_transport_hooks {
    /* A message for us; records (may be NULL) holds APPEND's record bytes at offset..offset+len; lent: take a
     * reference to keep. Bytes are untrusted. */
    void (*on_message)(void *arg, const struct dl_msg *msg, struct buf *records, uint32_t offset,
                       uint32_t len);
    /* The connection pair to `peer` is usable / was lost; reset = the peer's kernel reset or closed it
     * (process death), not a time out. */
    void (*on_up)(void *arg, dl_peer_t peer);
    void (*on_down)(void *arg, dl_peer_t peer, bool reset);
    /* Another replica asks us to handle a client's frame (we lead, it thinks). Answer with
     * relay_reply(ticket). Frame lent. */
    void (*on_relay)(void *arg, dl_peer_t from, uint64_t ticket, dl_term_t term,
                     const struct sockaddr_in *client, const uint8_t *frame, uint32_t len);
    void *arg;
};

/* Answer to relay(): err 0 with the response frame (lent), or ERR_CLOSED, ERR_TIMEOUT, ERR_NOT_LEADER,
 * ERR_BUSY, ERR_TOO_LARGE. */
typedef void (*dl_relay_fn)(void *arg, int err, const uint8_t *frame, uint32_t len);

struct dl_transport {
    void *impl;
    /* Send; slices' references are taken by the transport, not handed over. Silently dropped when the peer is
     * down. */
    void (*send)(void *impl, const struct dl_msg *msg, const struct dl_slice *slices, uint32_t count);
    /* Hand a client's frame to `peer` (the leader as we know it in `term`). fn is called exactly once,
     * never inside. */
    void (*relay)(void *impl, dl_peer_t peer, dl_term_t term, const struct sockaddr_in *client,
                  const uint8_t *frame, uint32_t len, uint32_t timeout_ms, dl_relay_fn fn, void *arg);
    void (*relay_reply)(void *impl, uint64_t ticket, int err, struct buf *head,
                        struct buf *body); /* takes over both buffers (may be NULL) */
    bool (*is_up)(void *impl, dl_peer_t peer);
};

#endif
