/*
 * node_push.c - the push loop: entries to followers, from memory by reference, from disk by cold loads.
 *
 * One load per peer is under way at a time; its records are sent as several pushes, each asked for from the
 * core, so that the window holds for cold data too. What was loaded is dropped when the core has moved on, or
 * the log was cut since.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "dledger/node_private.h"
#include "dledger/store/record.h"

/* ---- cold records ---- */

struct node_load {
    struct dl_node *node; /* NULL: nobody wants it any more */
    void (*done)(struct dl_node *n, uint32_t peer, struct cold cold);
    uint32_t peer;
};

static void on_load(void *arg, int err, struct buf *records, dl_index_t first, dl_index_t last)
{
    struct node_load *load = arg;
    struct node_load l = *load;
    free(load);
    if (!l.node) {
        buf_unref(records);
        return;
    }
    if (err)
        LOG_ERROR("entries cannot be read", "self=n%u first=%" PRIu64 " why=\"%s\"", l.node->self - 1, first,
                  err_text(err));
    else
        ENSURE(records);
    l.done(l.node, l.peer, (struct cold){err ? NULL : records, 0, first, last});
}

struct node_load *node_load_start(struct dl_node *n, dl_index_t first,
                                  void (*done)(struct dl_node *n, uint32_t peer, struct cold cold),
                                  uint32_t peer)
{
    struct node_load *load = malloc(sizeof *load);
    if (!load)
        fatal("out of memory");
    *load = (struct node_load){n, done, peer};
    if (dl_store_load(n->store, first, NODE_LOAD_BYTES, on_load, load)) {
        free(load); /* too many loads: tried again with the next input */
        return NULL;
    }
    n->counters.cold_loads++;
    return load;
}

void node_load_drop(struct node_load *load)
{
    if (load)
        load->node = NULL;
}

void node_cold_entry(const struct cold *c, struct dl_entry *e)
{
    struct record_head head;
    ENSURE(c->buf->len - c->at >= DL_RECORD_HEAD);
    ENSURE(record_head_read(c->buf->data + c->at, &head));
    ENSURE(head.index == c->first);
    ENSURE(head.len <= c->buf->len - c->at);
    *e = (struct dl_entry){.index = head.index,
                           .term = head.term,
                           .pos = head.pos,
                           .kind = head.kind,
                           .len = head.len,
                           .offset = c->at,
                           .buf = c->buf};
}

void node_cold_drop(struct cold *c)
{
    buf_unref(c->buf);
    c->buf = NULL;
}

void node_cold_advance(struct cold *c, uint32_t len)
{
    if (c->first == c->last) {
        node_cold_drop(c);
        return;
    }
    c->at += len;
    c->first++;
}

/* ---- what a push carries ---- */

struct taken {
    uint32_t entries, bytes, slices;
};

static bool fits(const struct taken *t, uint32_t len)
{
    return t->entries == 0 ||
           (t->entries < DL_PUSH_ENTRIES_MAX && t->bytes + (uint64_t)len <= DL_PUSH_BYTES_MAX);
}

/* Takes over e's reference. Neighbours in one buffer become one slice. */
static void take(struct dl_node *n, struct taken *t, const struct dl_entry *e)
{
    struct dl_slice *prev = t->slices > 0 ? &n->slices[t->slices - 1] : NULL;
    if (prev && prev->buf == e->buf && prev->offset + prev->len == e->offset) {
        prev->len += e->len;
        buf_unref(e->buf);
    } else {
        n->slices[t->slices++] = (struct dl_slice){e->buf, e->offset, e->len};
    }
    t->entries++;
    t->bytes += e->len;
}

static int take_from_memory(struct dl_node *n, const struct dl_msg *msg, struct taken *t)
{
    for (dl_index_t i = msg->first; i <= msg->last; i++) {
        struct dl_entry e;
        int rc = dl_store_entry(n->store, i, &e);
        if (rc)
            return rc;
        if (!fits(t, e.len)) {
            buf_unref(e.buf);
            break;
        }
        take(n, t, &e);
    }
    return 0;
}

static void take_from_cold(struct dl_node *n, struct cold *c, const struct dl_msg *msg, struct taken *t)
{
    if (c->buf && (msg->first < c->first || msg->first > c->last))
        node_cold_drop(c);
    while (c->buf && c->first <= msg->last) {
        struct dl_entry e;
        node_cold_entry(c, &e);
        if (e.index >= msg->first) {
            if (!fits(t, e.len))
                break;
            buf_ref(e.buf);
            take(n, t, &e);
        }
        node_cold_advance(c, e.len);
    }
}

/* ---- the loop ---- */

static void on_peer_load(struct dl_node *n, uint32_t i, struct cold cold)
{
    n->peers[i].load = NULL;
    n->push_wanted |= 1u << i;
    if (!cold.buf) {
        n->peers[i].load_from_ms = n->now_ms(n->clock_arg) + NODE_LOAD_AGAIN_MS;
        return;
    }
    node_cold_drop(&n->peers[i].cold);
    n->peers[i].cold = cold;
    struct dl_event event = node_event(n, DL_EV_TICK);
    node_step(n, &event, NULL);
}

/* Nothing in memory. */
static void fetch(struct dl_node *n, uint32_t i, dl_index_t first, int why)
{
    struct node_peer *peer = &n->peers[i];
    if (why == ERR_AGAIN) {
        if (n->now_ms(n->clock_arg) >= peer->load_from_ms)
            peer->load = node_load_start(n, first, on_peer_load, i);
        if (!peer->load)
            n->push_wanted |= 1u << i;
        return;
    }
    if (!peer->told_too_far)
        LOG_ERROR("follower too far behind",
                  "self=n%u peer=n%u wants=%" PRIu64 " reason=\"removed by retention\"", n->self - 1,
                  peer->id - 1, first);
    peer->told_too_far = true;
}

static void push_peer(struct dl_node *n, uint32_t i, uint64_t now_ms)
{
    struct node_peer *peer = &n->peers[i];
    struct dl_msg msg;
    if (!n->transport->is_up(n->transport->impl, peer->id))
        return; /* looked at again by on_up */
    while (!peer->load && dl_core_push_begin(n->core, peer->id, now_ms, &msg)) {
        struct taken t = {0};
        int rc = take_from_memory(n, &msg, &t);
        if (t.entries == 0)
            take_from_cold(n, &peer->cold, &msg, &t);
        else
            node_cold_drop(&peer->cold);
        if (t.entries == 0) {
            fetch(n, i, msg.first, rc);
            return;
        }
        msg.last = msg.first + t.entries - 1;
        n->transport->send(n->transport->impl, &msg, n->slices, t.slices);
        for (uint32_t k = 0; k < t.slices; k++)
            buf_unref(n->slices[k].buf);
        dl_core_push_done(n->core, peer->id, msg.last, t.bytes);
        peer->told_too_far = false;
        n->counters.pushes++;
        n->counters.push_entries += t.entries;
        n->counters.push_bytes += t.bytes;
    }
}

void node_push_run(struct dl_node *n, uint32_t mask)
{
    if (!node_gate_open(n)) {
        n->push_wanted |= mask;
        return;
    }
    n->push_wanted = 0;
    uint64_t now_ms = n->now_ms(n->clock_arg);
    for (uint32_t i = 0; i < n->members.count; i++) {
        if ((mask >> i & 1) && n->members.id[i] != n->self)
            push_peer(n, i, now_ms);
    }
}

void node_push_release(struct dl_node *n)
{
    for (uint32_t i = 0; i < n->members.count; i++) {
        node_cold_drop(&n->peers[i].cold);
        node_load_drop(n->peers[i].load);
        n->peers[i].load = NULL;
    }
}
