/*
 * node.c - the driver of one replica: an input comes in, the core decides, the node carries the decision out
 * in one fixed order. See node.h.
 *
 * The order (reasons in dledger/core/core.h): hard state, truncate, append, messages, pushes, apply, timer.
 * The gate: while the newest term and vote are not on disk, messages wait in a ring and pushes are only
 * remembered; when the disk has reported, they leave before anything newer. A held message is late, which
 * Raft bears like any slow network; a message sent too early could be forgotten by a crash. No I/O, no clock,
 * no globals here: the simulator runs this file unchanged.
 */
#include "dledger/node.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dledger/node_private.h"

struct dl_event node_event(struct dl_node *n, enum dl_event_type type)
{
    return (struct dl_event){.type = type, .now_ms = n->now_ms(n->clock_arg)};
}

/* ---- carrying out ---- */

static void carry_hard(struct dl_node *n, const struct dl_update *u)
{
    if (!u->hard_changed)
        return;
    if (u->hard.joined && !n->hard_wanted.joined && n->members.count > 1)
        LOG_INFO("joined the group", "self=n%u term=%" PRIu64, n->self - 1, u->hard.term);
    n->hard_wanted = u->hard;
    dl_store_save_hard(n->store, u->hard);
}

static void append_noop(struct dl_node *n, dl_index_t index, dl_term_t term)
{
    struct buf *buf = buf_new(DL_RECORD_HEAD);
    memset(buf->data, 0, DL_RECORD_HEAD);
    buf->len = DL_RECORD_HEAD;
    dl_pos_t pos;
    dl_store_append(n->store, index, term, DL_KIND_NOOP, buf, &pos);
    n->end_pos = pos + buf->len;
    buf_unref(buf);
}

static dl_pos_t log_end(const struct dl_node *n)
{
    struct dl_store_view view;
    dl_store_view(n->store, &view);
    return view.end_pos;
}

static void carry_log(struct dl_node *n, const struct dl_update *u, const struct incoming *in)
{
    if (u->truncate_from) { /* what may be cut is in memory: nothing that was read from disk has to be dropped */
        LOG_INFO("uncommitted entries removed", "self=n%u from=%" PRIu64 " leader=n%u term=%" PRIu64,
                 n->self - 1, u->truncate_from, u->leader - 1, u->term);
        dl_store_truncate(n->store, u->truncate_from);
        n->persisted_pos = log_end(n); /* it happens only when all is on disk (core/follow.c) */
    }
    if (!u->append_first)
        return;
    if (u->append_noop) {
        ENSURE(u->append_first == u->append_last);
        append_noop(n, u->append_first, u->append_term);
    } else if (u->role == DL_LEADER) {
        node_propose_append(n, u->append_first, u->append_last, u->append_term);
    } else {
        ENSURE(in && in->buf);
        struct err err;
        if (dl_store_append_records(n->store, in->buf, in->offset, in->len, u->append_first, &err))
            fatal("the log of this replica differs from the leader's before entry %" PRIu64
                  " although their terms agree: %s",
                  u->append_first, err.text);
    }
}

static void send_now(struct dl_node *n, const struct dl_msg *msg)
{
    n->counters.messages_out++;
    n->transport->send(n->transport->impl, msg, NULL, 0);
}

static void hold(struct dl_node *n, const struct dl_msg *msg)
{
    if (n->held_count == NODE_HELD_MAX) {
        n->held_first = (n->held_first + 1) % NODE_HELD_MAX;
        n->held_count--;
        n->counters.held_dropped++;
    }
    n->held[(n->held_first + n->held_count++) % NODE_HELD_MAX] = *msg;
    n->counters.held++;
}

static void release_held(struct dl_node *n)
{
    while (n->held_count > 0 && node_gate_open(n)) {
        struct dl_msg msg = n->held[n->held_first];
        n->held_first = (n->held_first + 1) % NODE_HELD_MAX;
        n->held_count--;
        send_now(n, &msg);
    }
}

static void carry_messages(struct dl_node *n, const struct dl_update *u)
{
    for (uint32_t i = 0; i < u->msg_count; i++) {
        if (node_gate_open(n) && n->held_count == 0)
            send_now(n, &u->msgs[i]);
        else
            hold(n, &u->msgs[i]);
    }
}

void node_look_serving(struct dl_node *n, bool role_changed)
{
    struct dl_core_view view;
    dl_core_view(n->core, &view);
    bool serving = view.role == DL_LEADER && view.term_start != 0 && n->applied >= view.term_start;
    if (serving == n->serving && !role_changed)
        return;
    n->serving = serving;
    if (!n->hooks.changed)
        return;
    struct dl_node_status status;
    dl_node_status(n, &status);
    n->hooks.changed(n->hooks.arg, &status);
}

/* A later wish waits for the tick of the earlier one: a follower's deadline moves with every message. */
static void ask_wake(struct dl_node *n)
{
    uint64_t wish = n->apply_more ? n->now_ms(n->clock_arg) : n->wake_ms;
    if (wish >= n->asked_ms)
        return;
    n->asked_ms = wish;
    n->wake_at(n->clock_arg, wish);
}

/* Does what came beside the message fit it? Fills n->terms for the core. */
static bool records_good(struct dl_node *n, const struct dl_msg *msg, const struct incoming *in)
{
    struct err err;
    int rc = ERR_MALFORMED;
    if (!in || !in->buf)
        err_set(&err, rc, "push without records");
    else
        rc = dl_records_check(n->group, in->buf->data + in->offset, in->len, msg->first, msg->last, n->terms,
                              DL_PUSH_ENTRIES_MAX, &err);
    if (rc == 0)
        return true;
    n->counters.records_refused++;
    if ((n->counters.records_refused & (n->counters.records_refused - 1)) == 0)
        LOG_WARN("push refused",
                 "self=n%u from=n%u first=%" PRIu64 " last=%" PRIu64 " refused=%" PRIu64 " why=\"%s\"",
                 n->self - 1, msg->from - 1, msg->first, msg->last, n->counters.records_refused, err.text);
    return false;
}

/* One step, carried out. In-turn news (hooks) may queue more inputs, but never starts another step. */
static void step_one(struct dl_node *n, const struct dl_event *given, const struct incoming *in)
{
    struct dl_event event = *given;
    if (event.msg && event.msg->type == DL_MSG_PUSH_REQ && event.msg->push == DL_PUSH_APPEND) {
        if (!records_good(n, event.msg, in))
            return;
        event.terms = n->terms;
    }
    if (event.type == DL_EV_HARD_PERSISTED) {
        n->hard_durable = event.hard;
        release_held(n);
    }
    struct dl_update *u = &n->update;
    dl_core_step(n->core, &event, u);
    bool role_changed = u->role_changed;
    if (event.type == DL_EV_SUBMIT && u->refused)
        node_propose_refused(n);
    if (u->disk_hangs)
        LOG_WARN("own disk hangs, handing over", "self=n%u term=%" PRIu64 " commit=%" PRIu64, n->self - 1,
                 u->term, u->commit);
    n->wake_ms = u->wake_ms;
    carry_hard(n, u);
    carry_log(n, u, in);
    carry_messages(n, u);
    node_push_run(n, u->push_mask | n->push_wanted);
    bool news = u->commit > n->commit;
    ENSURE(u->commit >= n->commit);
    n->commit = u->commit;
    if (role_changed)
        node_look_serving(n, true);
    if (news)
        dl_store_note(n->store, n->commit, n->applied);
    node_apply_run(n);
}

static void take_queued(struct dl_node *n)
{
    while (n->queue) {
        struct queued *q = n->queue;
        n->queue = q->next;
        if (!n->queue)
            n->queue_end = &n->queue;
        struct incoming in = {q->records, q->offset, q->len};
        step_one(n, &q->event, &in);
        buf_unref(q->records);
        free(q);
    }
}

static void enqueue(struct dl_node *n, const struct dl_event *event, const struct incoming *in)
{
    struct queued *q = calloc(1, sizeof *q);
    if (!q)
        fatal("out of memory");
    q->event = *event;
    if (event->msg) {
        q->msg = *event->msg;
        q->event.msg = &q->msg;
    }
    if (in && in->buf) {
        q->records = buf_ref(in->buf);
        q->offset = in->offset;
        q->len = in->len;
    }
    *n->queue_end = q;
    n->queue_end = &q->next;
}

void node_step(struct dl_node *n, const struct dl_event *event, const struct incoming *in)
{
    if (n->busy) {
        enqueue(n, event, in);
        return;
    }
    n->busy = true;
    step_one(n, event, in);
    take_queued(n);
    n->busy = false;
    ask_wake(n);
}

/* ---- inputs ---- */

void dl_node_tick(struct dl_node *n)
{
    n->asked_ms = UINT64_MAX; /* the wish is used up */
    struct dl_event event = node_event(n, DL_EV_TICK);
    node_step(n, &event, NULL);
}

void dl_node_turn_end(struct dl_node *n)
{
    n->apply_entries_left = NODE_APPLY_ENTRIES_MAX;
    n->apply_bytes_left = NODE_APPLY_BYTES_MAX;
    node_propose_turn_end(n);
}

void dl_node_on_message(struct dl_node *n, const struct dl_msg *msg, struct buf *records, uint32_t offset,
                        uint32_t len)
{
    n->counters.messages_in++;
    struct dl_event event = node_event(n, DL_EV_MESSAGE);
    event.msg = msg;
    struct incoming in = {records, offset, len};
    node_step(n, &event, &in);
}

static uint32_t peer_bit(const struct dl_node *n, dl_peer_t peer)
{
    for (uint32_t i = 0; i < n->members.count; i++) {
        if (n->members.id[i] == peer)
            return 1u << i;
    }
    return 0;
}

void dl_node_on_up(struct dl_node *n, dl_peer_t peer)
{
    n->push_wanted |= peer_bit(n, peer);
    struct dl_event event = node_event(n, DL_EV_PEER_UP);
    event.peer = peer;
    node_step(n, &event, NULL);
}

void dl_node_on_down(struct dl_node *n, dl_peer_t peer, bool reset)
{
    struct dl_event event = node_event(n, DL_EV_PUSH_UNSENT);
    event.peer = peer;
    node_step(n, &event, NULL);
    if (!reset)
        return;
    event.type = DL_EV_PEER_RESET;
    node_step(n, &event, NULL);
}

void dl_node_on_persisted(struct dl_node *n, dl_index_t index, dl_term_t term)
{
    struct dl_entry e;
    if (dl_store_entry(n->store, index, &e) == 0) { /* in memory until it is known to be on disk */
        n->persisted_pos = e.pos + e.len;
        buf_unref(e.buf);
    }
    struct dl_event event = node_event(n, DL_EV_LOG_PERSISTED);
    event.index = index;
    event.term = term;
    node_step(n, &event, NULL);
}

void dl_node_on_hard(struct dl_node *n, struct dl_hard hard)
{
    struct dl_event event = node_event(n, DL_EV_HARD_PERSISTED);
    event.hard = hard;
    node_step(n, &event, NULL);
}

int dl_node_transfer(struct dl_node *n, dl_peer_t peer)
{
    struct dl_core_view view;
    dl_core_view(n->core, &view);
    if (view.role != DL_LEADER)
        return ERR_NOT_LEADER;
    if (peer != DL_NOBODY && (peer == n->self || peer_bit(n, peer) == 0))
        return ERR_INVALID;
    struct dl_event event = node_event(n, DL_EV_TRANSFER);
    event.peer = peer;
    node_step(n, &event, NULL);
    dl_core_view(n->core, &view);
    if (!n->busy && view.role == DL_LEADER && !view.transferring)
        return ERR_AGAIN;
    return 0;
}

void dl_node_trim(struct dl_node *n, dl_index_t index)
{
    ENSURE(index <= n->applied + 1);
    dl_store_trim(n->store, index);
    struct dl_store_view view;
    dl_store_view(n->store, &view);
    if (view.begin > 1)
        dl_core_trim(n->core, view.begin - 1);
}

/* ---- life ---- */

int dl_node_new(const struct dl_node_opts *opts, struct dl_node **out, struct err *err)
{
    struct dl_core_start start;
    dl_store_start(opts->store, &start);
    if (opts->applied > start.end_index || opts->applied + 1 < start.begin_index)
        return err_set(err, ERR_INVALID,
                       "state is applied up to entry %" PRIu64 ", but the log holds %" PRIu64 "..%" PRIu64,
                       opts->applied, start.begin_index, start.end_index);
    struct dl_node *n = calloc(1, sizeof *n);
    char *group = strdup(opts->group);
    if (!n || !group)
        fatal("out of memory");
    n->now_ms = opts->now_ms;
    n->clock_arg = opts->clock_arg;
    start.trust_empty = opts->trust_empty;
    start.commit = opts->applied;
    start.now_ms = n->now_ms(n->clock_arg);
    int rc = dl_core_new(&opts->core, &start, &n->core);
    if (rc) {
        free(group);
        free(n);
        return err_set(err, rc, "options of the replica contradict each other or its log");
    }
    n->group = group;
    n->store = opts->store;
    n->transport = opts->transport;
    n->hooks = opts->hooks;
    n->self = opts->core.self;
    n->members = opts->core.members;
    n->wake_at = opts->wake_at;
    n->waiting_max_bytes = opts->waiting_max_bytes;
    n->queue_end = &n->queue;
    n->hard_wanted = n->hard_durable = start.hard;
    n->applied = n->commit = opts->applied;
    n->persisted_pos = log_end(n);
    n->apply_entries_left = NODE_APPLY_ENTRIES_MAX;
    n->apply_bytes_left = NODE_APPLY_BYTES_MAX;
    n->waiters_end = &n->waiters;
    for (uint32_t i = 0; i < n->members.count; i++)
        n->peers[i].id = n->members.id[i];
    if (!start.hard.joined && !opts->trust_empty && n->members.count > 1)
        LOG_INFO("store is new: counts in majorities once the group is known to be new, or it has caught up",
                 "self=n%u", n->self - 1);
    if (opts->trust_empty && n->members.count > 1)
        LOG_WARN("an empty store is trusted: take trustEmptyStore away once the group serves",
                 "self=n%u already_joined=%d", n->self - 1, start.hard.joined);
    dl_store_note(n->store, n->commit, n->applied);
    n->asked_ms = start.now_ms;
    n->wake_at(n->clock_arg, start.now_ms); /* the first tick gives the core's own wish */
    *out = n;
    return 0;
}

void dl_node_free(struct dl_node *n)
{
    if (!n)
        return;
    ENSURE(!n->busy);
    n->serving = false;
    node_propose_release(n);
    node_push_release(n);
    node_apply_release(n);
    dl_core_free(n->core);
    free(n->group);
    free(n);
}

/* ---- facts ---- */

bool dl_node_can_read(struct dl_node *n)
{
    return n->serving && dl_core_lease_valid(n->core, n->now_ms(n->clock_arg));
}

void dl_node_status(const struct dl_node *n, struct dl_node_status *status)
{
    *status = (struct dl_node_status){
        .applied = n->applied,
        .serving = n->serving,
        .proposals_waiting = n->waiter_count,
        .waiting_bytes = node_propose_waiting_bytes(n),
        .messages_held = n->held_count,
    };
    dl_core_view(n->core, &status->core);
}

bool dl_node_peer_view(const struct dl_node *n, dl_peer_t peer, struct dl_peer_view *view)
{
    return dl_core_peer_view(n->core, peer, view);
}

struct dl_store *dl_node_store(struct dl_node *n)
{
    return n->store;
}

const struct dl_node_counters *dl_node_counters(const struct dl_node *n)
{
    return &n->counters;
}
