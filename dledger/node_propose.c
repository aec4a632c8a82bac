/*
 * node_propose.c - proposals: gathered during a turn, submitted as one, and their waiters settled when
 * somebody's entry is applied at their index.
 *
 * A waiter moves: gathered -> (submit) -> list -> (apply of its index) -> done. Losing office or truncation
 * settle nothing: an entry that is cut off here may live on another replica and be committed by a later
 * leader (Raft figure 8); only the entry committed at its index tells. So waiters of several terms may have
 * the same index, and the list is sorted by (index, term).
 */
#include <stddef.h>
#include <stdlib.h>

#include "dledger/node_private.h"

/* ---- waiters ---- */

static struct dl_waiter *waiter_of_link(struct dl_waiter **next)
{
    return (struct dl_waiter *)(void *)((char *)next - offsetof(struct dl_waiter, next));
}

static bool waits_behind(const struct dl_waiter *a, dl_index_t index, dl_term_t term)
{
    return a->index > index || (a->index == index && a->term > term);
}

/* From the end: new entries are behind all that wait, save after a loss of office. */
static void waiters_insert(struct dl_node *n, struct dl_waiter *w)
{
    struct dl_waiter **at = n->waiters_end;
    while (at != &n->waiters && waits_behind(waiter_of_link(at), w->index, w->term))
        at = waiter_of_link(at)->prevp;
    w->next = *at;
    w->prevp = at;
    if (w->next)
        w->next->prevp = &w->next;
    else
        n->waiters_end = &w->next;
    *at = w;
    n->waiter_count++;
}

static void waiters_remove(struct dl_node *n, struct dl_waiter *w)
{
    *w->prevp = w->next;
    if (w->next)
        w->next->prevp = w->prevp;
    else if (n->waiters_end == &w->next)
        n->waiters_end = w->prevp;
    w->next = NULL;
    w->prevp = NULL;
    n->waiter_count--;
}

static void waiter_done(struct dl_node *n, struct dl_waiter *w, int err, const struct dl_entry *e,
                        const void *result)
{
    waiters_remove(n, w);
    w->done(w, err, e, result);
}

void dl_node_forget(struct dl_node *n, struct dl_waiter *w)
{
    if (w->prevp)
        waiters_remove(n, w);
}

/* ---- gathering ---- */

static void gather_grow(struct gathering *g)
{
    uint32_t cap = g->cap ? g->cap * 2 : 256;
    g->items = realloc(g->items, cap * sizeof *g->items);
    if (!g->items)
        fatal("out of memory");
    g->cap = cap;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->items[i].waiter)
            g->items[i].waiter->prevp = &g->items[i].waiter;
    }
}

uint64_t node_propose_waiting_bytes(const struct dl_node *n)
{
    if (!n->serving) /* positions of a log that others write mean nothing here */
        return n->gathered_bytes;
    /* The followers may commit, and we apply, what our own disk has not taken; the store keeps it in memory. */
    dl_pos_t settled = n->applied_pos < n->persisted_pos ? n->applied_pos : n->persisted_pos;
    return n->gathered_bytes + (n->end_pos > settled ? n->end_pos - settled : 0);
}

static int propose_allowed(const struct dl_node *n, const struct buf *buf)
{
    if (!n->serving)
        return ERR_NOT_LEADER;
    if (buf->len > DL_RECORD_MAX)
        return ERR_TOO_LARGE;
    if (n->gathering.count == DL_SUBMIT_MAX ||
        node_propose_waiting_bytes(n) + buf->len > n->waiting_max_bytes)
        return ERR_BUSY;
    return 0;
}

int dl_node_propose(struct dl_node *n, uint32_t kind, struct buf *buf, struct dl_waiter *w)
{
    ENSURE(kind >= DL_KIND_FIRST_APP && kind <= UINT16_MAX);
    ENSURE(buf->len >= DL_RECORD_HEAD);
    int rc = propose_allowed(n, buf);
    if (rc) {
        buf_unref(buf);
        return rc;
    }
    struct gathering *g = &n->gathering;
    if (g->count == g->cap)
        gather_grow(g);
    struct gathered *item = &g->items[g->count++];
    *item = (struct gathered){kind, buf, w};
    n->gathered_bytes += buf->len;
    n->counters.proposals++;
    if (!w)
        return 0;
    w->next = NULL;
    w->prevp = &item->waiter;
    w->index = 0;
    w->term = 0;
    w->bytes = buf->len;
    n->waiter_count++;
    return 0;
}

/* ---- submitting ---- */

static void submitted(struct dl_node *n)
{
    n->submitting.count = 0;
}

void node_propose_append(struct dl_node *n, dl_index_t first, dl_index_t last, dl_term_t term)
{
    struct gathering *g = &n->submitting;
    ENSURE(last - first + 1 == g->count);
    dl_store_cork(n->store, true); /* one batch on disk */
    for (uint32_t i = 0; i < g->count; i++) {
        struct gathered *item = &g->items[i];
        dl_pos_t pos;
        dl_store_append(n->store, first + i, term, item->kind, item->buf, &pos);
        n->end_pos = pos + item->buf->len;
        buf_unref(item->buf);
        struct dl_waiter *w = item->waiter;
        if (!w)
            continue;
        waiters_remove(n, w);
        w->index = first + i;
        w->term = term;
        waiters_insert(n, w);
    }
    dl_store_cork(n->store, false);
    submitted(n);
}

static void fail_all(struct dl_node *n, struct gathering *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        buf_unref(g->items[i].buf);
        if (g->items[i].waiter)
            waiter_done(n, g->items[i].waiter, ERR_NOT_LEADER, NULL, NULL);
    }
}

void node_propose_refused(struct dl_node *n)
{
    n->counters.refused += n->submitting.count;
    fail_all(n, &n->submitting);
    submitted(n);
}

void node_propose_turn_end(struct dl_node *n)
{
    ENSURE(!n->busy);
    if (n->gathering.count == 0)
        return;
    /* What is proposed by hooks from here on belongs to the next turn. */
    struct gathering taken = n->gathering;
    n->gathering = n->submitting;
    n->submitting = taken;
    n->gathered_bytes = 0;
    n->counters.submits++;
    struct dl_event event = node_event(n, DL_EV_SUBMIT);
    event.count = n->submitting.count;
    node_step(n, &event, NULL);
    ENSURE(n->submitting.count == 0);
    if (n->gathering.count > 0) {
        n->asked_ms = event.now_ms;
        n->wake_at(n->clock_arg, event.now_ms);
    }
}

/* ---- settling ---- */

void node_propose_settle(struct dl_node *n, const struct dl_entry *e, const void *result)
{
    n->applied_pos = e->pos + e->len;
    while (n->waiters && n->waiters->index <= e->index) {
        struct dl_waiter *w = n->waiters;
        ENSURE(w->index == e->index);
        if (w->term == e->term) {
            waiter_done(n, w, 0, e, result);
        } else {
            n->counters.lost++;
            waiter_done(n, w, ERR_LOST, NULL, NULL);
        }
    }
}

void node_propose_release(struct dl_node *n)
{
    fail_all(n, &n->gathering);
    while (n->waiters)
        waiter_done(n, n->waiters, ERR_CLOSED, NULL, NULL);
    free(n->gathering.items);
    free(n->submitting.items);
}
