/*
 * node_apply.c - committed entries to the owner, each once, in index order; bounded per turn, so that a long
 * replay leaves the loop its turns.
 *
 * Entries come from memory; after a start, those between the state's checkpoint and the log's end are only on
 * disk and come by cold loads.
 */
#include "dledger/node_private.h"

static void on_loaded(struct dl_node *n, uint32_t peer, struct cold cold)
{
    (void)peer;
    n->apply_load = NULL;
    if (!cold.buf) {
        n->apply_load_from_ms = n->now_ms(n->clock_arg) + NODE_LOAD_AGAIN_MS;
        return;
    }
    n->apply_cold = cold;
    struct dl_event event = node_event(n, DL_EV_TICK);
    node_step(n, &event, NULL);
}

/* The next entry, with a reference; false when it has to be read first. */
static bool next_entry(struct dl_node *n, struct dl_entry *e)
{
    dl_index_t index = n->applied + 1;
    struct cold *c = &n->apply_cold;
    if (c->buf && c->first == index) {
        node_cold_entry(c, e);
        buf_ref(e->buf);
        node_cold_advance(c, e->len);
        return true;
    }
    node_cold_drop(c);
    int rc = dl_store_entry(n->store, index, e);
    if (rc == 0)
        return true;
    ENSURE(rc == ERR_AGAIN); /* committed entries are in the log */
    if (n->now_ms(n->clock_arg) >= n->apply_load_from_ms)
        n->apply_load = node_load_start(n, index, on_loaded, 0);
    return false;
}

static void apply_one(struct dl_node *n, const struct dl_entry *e)
{
    ENSURE(e->index == n->applied + 1);
    n->apply_entries_left--;
    n->apply_bytes_left -= e->len < n->apply_bytes_left ? e->len : n->apply_bytes_left;
    n->counters.applied++;
    n->counters.applied_bytes += e->len;
    const void *result = n->hooks.apply(n->hooks.arg, e);
    n->applied = e->index;
    node_propose_settle(n, e, result);
}

void node_apply_run(struct dl_node *n)
{
    dl_index_t before = n->applied;
    n->apply_more = false;
    while (n->applied < n->commit && !n->apply_load) {
        if (n->apply_entries_left == 0 || n->apply_bytes_left == 0) {
            n->apply_more = true;
            break;
        }
        struct dl_entry e;
        if (!next_entry(n, &e))
            break;
        apply_one(n, &e);
        buf_unref(e.buf);
    }
    if (n->applied == before)
        return;
    dl_store_note(n->store, n->commit, n->applied);
    node_look_serving(n, false);
    if (n->hooks.applied)
        n->hooks.applied(n->hooks.arg, n->applied);
}

void node_apply_release(struct dl_node *n)
{
    node_cold_drop(&n->apply_cold);
    node_load_drop(n->apply_load);
    n->apply_load = NULL;
}
