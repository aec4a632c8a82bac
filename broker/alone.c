/*
 * alone.c - see alone.h. A leader that is alone relays to nobody, so that no relay is ever asked for.
 */
#include "broker/alone.h"

static void alone_send(void *impl, const struct dl_msg *msg, const struct dl_slice *slices, uint32_t count)
{
    (void)impl;
    (void)msg;
    (void)slices;
    (void)count;
}

static void alone_relay(void *impl, dl_peer_t peer, dl_term_t term, const struct sockaddr_in *client,
                        const uint8_t *frame, uint32_t len, uint32_t timeout_ms, dl_relay_fn fn, void *arg)
{
    (void)impl;
    (void)term;
    (void)client;
    (void)frame;
    (void)len;
    (void)timeout_ms;
    (void)fn;
    (void)arg;
    fatal("relay to n%u in a group of one", peer - 1);
}

static void alone_relay_reply(void *impl, uint64_t ticket, int err, struct buf *head, struct buf *body)
{
    (void)impl;
    (void)ticket;
    (void)err;
    buf_unref(head);
    buf_unref(body);
}

static bool alone_is_up(void *impl, dl_peer_t peer)
{
    (void)impl;
    (void)peer;
    return false;
}

void alone_fill_transport(struct dl_transport *transport)
{
    *transport = (struct dl_transport){
        .send = alone_send, .relay = alone_relay, .relay_reply = alone_relay_reply, .is_up = alone_is_up};
}
