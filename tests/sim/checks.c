/*
 * checks.c - see checks.h. The canonical history is the sequence of entries as first applied by anyone: entry
 * i of it must be entry i for everybody.
 */
#include "tests/sim/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc.h"
#include "dledger/store/meta.h"
#include "tests/sim/clients.h"
#include "tests/sim/replica.h"

#define TERMS_MAX    100000u
#define ENTRIES_MAX  2000000u
#define MATCH_WINDOW 64u
#define MATCH_EVERY  64u /* turns between two looks at log matching */

enum fate { SENT, ACKED, REFUSED };

struct message_row {
    enum fate fate;
    uint32_t producer, queue, len;
    uint64_t sent_us, acked_us;
    bool stored;
    uint64_t offset; /* when stored */
};

struct entry_row {
    dl_term_t term;
    dl_pos_t pos;
    uint32_t kind, len, crc;
};

struct queue_row {
    uint64_t *ids; /* by offset */
    uint64_t count, cap;
    uint64_t acked_max;    /* highest acknowledged offset + 1 */
    uint64_t offset_acked; /* consumer offset */
    bool offset_known;
};

struct replica_row {
    dl_index_t persisted, commit, last, applied;
    dl_index_t had;       /* reported durable before a disk was lost: a leader may learn of it only later */
    dl_index_t recovered; /* committed entries up to here were found whole by a recovery */
    dl_index_t own_persisted; /* as the core said at the end of the newest turn */
    dl_term_t persisted_term, leads;
    dl_term_t durable_term; /* on the medium in this life, as last looked */
    uint64_t incarnation;
    uint64_t alone_us; /* leads since then without a majority that answers; 0 = no */
    uint64_t turn_us;  /* newest turn */
    uint64_t
        stuck_us; /* leads since then, and lacks on disk what a majority has, without moving on; 0 = no */
    bool power_lost;
    uint64_t turns;
};

struct checks {
    struct world *w;
    dl_peer_t leader_of[TERMS_MAX];
    dl_term_t newest_term;     /* that has had a leader */
    struct entry_row *entries; /* canonical, [0] = index 1 */
    dl_index_t applied;        /* newest canonical */
    dl_index_t acked;          /* newest index of an acknowledged message */
    struct message_row *messages;
    uint64_t message_count, message_cap;
    struct queue_row queues[SIM_QUEUES_MAX];
    struct replica_row replicas[SIM_REPLICAS_MAX];
    uint64_t last_id_of[SIM_PRODUCERS_MAX]
                       [SIM_QUEUES_MAX]; /* newest stored message of a producer in a queue, + 1 */
};

/* ---- Raft and store ----------------------------------------------------------------------------------- */

static struct replica_row *row_of(struct checks *c, struct replica *r)
{
    return &c->replicas[replica_id(r) - 1];
}

/* Term and vote that a power cut now would leave; and the commit index beside them, which recovery takes at
 * its word, must be one that it leaves as well. */
static struct dl_hard durable_hard(struct checks *c, struct replica *r)
{
    struct meta_slot best = {0}, slot;
    uint8_t block[META_BLOCK_BYTES];

    for (int i = 0; i < 2; i++) {
        if (fakedisk_durable_read(replica_disk(r), META_PATH, (uint64_t)i * META_BLOCK_BYTES, block,
                                  sizeof(block)) == sizeof(block) &&
            meta_slot_decode(block, &slot) == 0 && slot.sequence >= best.sequence)
            best = slot;
    }
    if (best.commit > row_of(c, r)->persisted)
        world_fail(c->w, "R8: n%u's medium says that %llu is committed; it has reported %llu durable",
                   replica_id(r) - 1, (unsigned long long)best.commit,
                   (unsigned long long)row_of(c, r)->persisted);
    return best.hard;
}

/* The term that a message commits its sender to: the one it names, save that pre-votes speak of one that is
 * not there yet. */
static dl_term_t term_spoken_of(const struct dl_msg *msg)
{
    if (!msg->pre)
        return msg->term;
    if (msg->type == DL_MSG_VOTE_REQ)
        return msg->term - 1;
    return msg->granted ? 0 : msg->term;
}

/* The medium is looked at when the term is a new one; it does not fall within a life. */
static void check_term_durable(struct checks *c, struct replica *r, const struct dl_msg *msg)
{
    struct replica_row *row = row_of(c, r);
    dl_term_t term = term_spoken_of(msg);

    if (row->durable_term < term)
        row->durable_term = durable_hard(c, r).term;
    if (row->durable_term < term)
        world_fail(c->w, "R7: n%u says message %d in term %llu, but its medium says term %llu", msg->from - 1,
                   msg->type, (unsigned long long)term, (unsigned long long)row->durable_term);
}

static void check_acknowledges_what_it_has(struct checks *c, struct replica *r, const struct dl_msg *msg)
{
    if (msg->type == DL_MSG_PUSH_RSP && msg->success && msg->match > row_of(c, r)->persisted)
        world_fail(c->w, "R8: n%u acknowledges index %llu and has %llu on disk", msg->from - 1,
                   (unsigned long long)msg->match, (unsigned long long)row_of(c, r)->persisted);
}

void checks_on_send(struct checks *c, const struct dl_msg *msg)
{
    struct replica *r = c->w->replica[msg->from - 1];
    bool speaks_of_vote = (msg->type == DL_MSG_VOTE_RSP && msg->granted && !msg->pre) ||
                          (msg->type == DL_MSG_VOTE_REQ && !msg->pre);
    dl_peer_t vote = msg->type == DL_MSG_VOTE_REQ ? msg->from : msg->to;
    struct dl_hard hard;

    check_term_durable(c, r, msg);
    check_acknowledges_what_it_has(c, r, msg);
    if (!speaks_of_vote)
        return;
    hard = durable_hard(c, r);
    if (hard.term < msg->term || (hard.term == msg->term && hard.vote != vote))
        world_fail(c->w,
                   "R7: n%u speaks of its vote for n%u in term %llu, but its medium says term %llu, vote n%d",
                   msg->from - 1, vote - 1, (unsigned long long)msg->term, (unsigned long long)hard.term,
                   (int)hard.vote - 1);
}

void checks_on_persisted(struct checks *c, struct replica *r, dl_index_t index, dl_term_t term)
{
    struct replica_row *row = row_of(c, r);

    row->persisted = index;
    row->persisted_term = term;
}

/* While a leader may read by its lease nobody else is elected, save a candidate of an earlier term that hears
 * late that it has won. */
static void check_leases(struct checks *c, struct replica *elected, dl_term_t term)
{
    for (uint32_t i = 0; i < c->w->tune.replicas; i++) {
        struct replica *r = c->w->replica[i];
        struct dl_node_status s;

        if (r == elected || !replica_alive(r) || !dl_node_can_read(replica_node(r)))
            continue;
        dl_node_status(replica_node(r), &s);
        if (s.core.term < term)
            world_fail(c->w, "B9: n%u leads in term %llu while n%u still has a lease",
                       replica_id(elected) - 1, (unsigned long long)term, replica_id(r) - 1);
    }
}

/* Nor does one who was replaced get a lease afterwards, by whatever late word. */
static void check_lease(struct checks *c, struct replica *r, const struct dl_core_view *v)
{
    if (v->role == DL_LEADER && v->term < c->newest_term && dl_node_can_read(replica_node(r)))
        world_fail(c->w, "B9: n%u, leader of term %llu, has a lease; n%u was elected in term %llu",
                   replica_id(r) - 1, (unsigned long long)v->term, c->leader_of[c->newest_term] - 1,
                   (unsigned long long)c->newest_term);
}

void checks_on_changed(struct checks *c, struct replica *r, const struct dl_node_status *s)
{
    struct replica_row *row = row_of(c, r);
    struct dl_hard hard;

    if (s->core.role != DL_LEADER || row->leads == s->core.term)
        return;
    ENSURE(s->core.term < TERMS_MAX);
    c->w->count.leaders++;
    if (c->leader_of[s->core.term] != DL_NOBODY && c->leader_of[s->core.term] != replica_id(r))
        world_fail(c->w, "R1: n%u and n%u both lead in term %llu", c->leader_of[s->core.term] - 1,
                   replica_id(r) - 1, (unsigned long long)s->core.term);
    hard = durable_hard(c, r);
    if (hard.term != s->core.term || hard.vote != replica_id(r))
        world_fail(c->w, "R7: n%u leads term %llu, but its medium says term %llu, vote n%d",
                   replica_id(r) - 1, (unsigned long long)s->core.term, (unsigned long long)hard.term,
                   (int)hard.vote - 1);
    check_leases(c, r, s->core.term);
    c->leader_of[s->core.term] = replica_id(r);
    if (s->core.term > c->newest_term)
        c->newest_term = s->core.term;
    row->leads = s->core.term;
    row->last = s->core.last;
    /* What was committed in this term or a later one is not its business: it may hear late that it has won. */
    dl_index_t must = c->applied;

    while (must > 0 && c->entries[must - 1].term >= s->core.term)
        must--;
    if (s->core.last < must)
        world_fail(c->w, "R4: n%u leads term %llu with a log up to %llu; %llu was committed",
                   replica_id(r) - 1, (unsigned long long)s->core.term, (unsigned long long)s->core.last,
                   (unsigned long long)must);
}

/* What a leader itself declares committed is of its own term (Raft figure 8). */
static void check_commits_own_term(struct checks *c, struct replica *r, const struct dl_core_view *v)
{
    if (v->commit < v->term_start)
        world_fail(c->w, "R4: n%u, leader of term %llu from index %llu on, commits up to %llu by counting",
                   replica_id(r) - 1, (unsigned long long)v->term, (unsigned long long)v->term_start,
                   (unsigned long long)v->commit);
}

/* Committed entries are in this log with the canonical term; looks at a few behind the end of what is
 * canonical. */
static void check_has_committed(struct checks *c, struct replica *r, const struct dl_core_view *v)
{
    dl_index_t last = v->commit < c->applied ? v->commit : c->applied;
    struct dl_entry e;

    if (last == 0 || dl_store_entry(replica_store(r), last, &e) != 0)
        return;
    if (e.term != c->entries[last - 1].term || e.pos != c->entries[last - 1].pos)
        world_fail(c->w, "R6: n%u has term %llu at committed index %llu, canonical is %llu",
                   replica_id(r) - 1, (unsigned long long)e.term, (unsigned long long)last,
                   (unsigned long long)c->entries[last - 1].term);
    buf_unref(e.buf);
}

/* Below the highest index where two logs have the same term they are the same (a window of it). */
static void check_matching(struct checks *c, struct replica *a, struct replica *b)
{
    struct dl_store_view va, vb;
    struct dl_entry ea, eb;
    bool agreed = false;

    dl_store_view(replica_store(a), &va);
    dl_store_view(replica_store(b), &vb);
    for (dl_index_t i = va.last < vb.last ? va.last : vb.last, n = 0; i > 0 && n < MATCH_WINDOW; i--, n++) {
        if (dl_store_entry(replica_store(a), i, &ea) != 0)
            return;
        if (dl_store_entry(replica_store(b), i, &eb) != 0) {
            buf_unref(ea.buf);
            return;
        }
        if (ea.term == eb.term) {
            agreed = true;
            if (ea.len != eb.len || ea.pos != eb.pos ||
                memcmp(ea.buf->data + ea.offset, eb.buf->data + eb.offset, ea.len) != 0)
                world_fail(c->w, "R3: n%u and n%u differ at index %llu of term %llu", replica_id(a) - 1,
                           replica_id(b) - 1, (unsigned long long)i, (unsigned long long)ea.term);
        } else if (agreed) {
            world_fail(c->w, "R3: n%u and n%u agree above index %llu and differ there", replica_id(a) - 1,
                       replica_id(b) - 1, (unsigned long long)i);
        }
        buf_unref(ea.buf);
        buf_unref(eb.buf);
    }
}

/* Has it reported this very entry durable? Of what is no longer in memory, or of a process that is down, the
 * index must do. */
static bool has_durable(struct checks *c, struct replica *r, dl_index_t index, dl_term_t term)
{
    struct dl_entry e;
    bool same;

    if (row_of(c, r)->persisted < index)
        return index <= row_of(c, r)->had;
    if (!replica_alive(r) || dl_store_entry(replica_store(r), index, &e) != 0)
        return true;
    same = e.term == term;
    buf_unref(e.buf);
    return same;
}

/* What a leader declares committed is of its own term; with the entry goes all before it. */
static void check_majority_has(struct checks *c, dl_index_t commit, dl_term_t term)
{
    uint32_t have = 0;

    for (uint32_t i = 0; i < c->w->tune.replicas; i++)
        have += has_durable(c, c->w->replica[i], commit, term);
    if (have * 2 <= c->w->tune.replicas)
        world_fail(c->w, "R8: index %llu is committed, but durable on %u of %u only",
                   (unsigned long long)commit, have, c->w->tune.replicas);
}

/* Who leads without a majority that answers gives up: at its next look, some heartbeats later at the latest.
 * One that was paused meanwhile looks when it is back. */
static void check_quorum(struct checks *c, struct replica *r, const struct dl_core_view *v)
{
    struct replica_row *row = row_of(c, r);
    uint32_t answer = 0, looks_us = 3 * c->w->tune.heartbeat_ms * MS;
    struct dl_peer_view peer;

    for (dl_peer_t p = 1; v->role == DL_LEADER && p <= c->w->tune.replicas; p++)
        answer += dl_node_peer_view(replica_node(r), p, &peer) &&
                  peer.last_ack_ms + c->w->tune.election_max_ms >= replica_now_ms(r);
    if (v->role != DL_LEADER || answer * 2 > c->w->tune.replicas || replica_paused_us(r) > 0)
        row->alone_us = 0;
    else if (row->alone_us == 0)
        row->alone_us = c->w->now_us;
    else if (c->w->now_us > row->alone_us + looks_us && c->w->now_us < row->alone_us + 2 * looks_us)
        world_fail(c->w, "L2: n%u leads term %llu although no majority answers it", replica_id(r) - 1,
                   (unsigned long long)v->term);
}

/* Who leads with a disk that hangs hands over, or tries to, again and again. One that was paused meanwhile
 * begins anew. */
static void check_disk(struct checks *c, struct replica *r, const struct dl_core_view *v)
{
    struct replica_row *row = row_of(c, r);
    uint64_t election_us = c->w->tune.election_max_ms * MS, now_us = c->w->now_us;
    bool stuck = v->role == DL_LEADER && v->persisted < v->commit && v->persisted == row->own_persisted &&
                 !v->transferring && now_us < row->turn_us + election_us;

    row->turn_us = now_us;
    row->own_persisted = v->persisted;
    if (!stuck)
        row->stuck_us = 0;
    else if (row->stuck_us == 0)
        row->stuck_us = now_us;
    else if (now_us > row->stuck_us + 4 * election_us)
        world_fail(c->w, "L3: n%u leads term %llu although its disk has hung at index %llu for %llu ms",
                   replica_id(r) - 1, (unsigned long long)v->term, (unsigned long long)v->persisted,
                   (unsigned long long)((now_us - row->stuck_us) / MS));
}

void checks_after_turn(struct checks *c, struct replica *r)
{
    struct replica_row *row = row_of(c, r);
    struct dl_node_status s;

    dl_node_status(replica_node(r), &s);
    if (s.core.commit < row->commit)
        world_fail(c->w, "R6: n%u's commit index fell from %llu to %llu", replica_id(r) - 1,
                   (unsigned long long)row->commit, (unsigned long long)s.core.commit);
    if (s.core.last < s.core.commit || s.applied > s.core.commit)
        world_fail(c->w, "R6: n%u has last %llu, commit %llu, applied %llu", replica_id(r) - 1,
                   (unsigned long long)s.core.last, (unsigned long long)s.core.commit,
                   (unsigned long long)s.applied);
    if (s.core.role == DL_LEADER && row->leads == s.core.term && s.core.last < row->last)
        world_fail(c->w, "R2: n%u leads term %llu and its log shrank from %llu to %llu", replica_id(r) - 1,
                   (unsigned long long)s.core.term, (unsigned long long)row->last,
                   (unsigned long long)s.core.last);
    if (s.serving && (s.core.role != DL_LEADER || s.core.term_start == 0 || s.applied < s.core.term_start))
        world_fail(c->w, "R9: n%u serves in term %llu before its first entry %llu is applied (%llu)",
                   replica_id(r) - 1, (unsigned long long)s.core.term, (unsigned long long)s.core.term_start,
                   (unsigned long long)s.applied);
    if (s.core.commit > row->commit) {
        if (s.core.role == DL_LEADER) {
            check_majority_has(c, s.core.commit, s.core.term);
            check_commits_own_term(c, r, &s.core);
        }
        check_has_committed(c, r, &s.core);
    }
    check_lease(c, r, &s.core);
    check_quorum(c, r, &s.core);
    check_disk(c, r, &s.core);
    if (s.core.persisted < row->persisted) { /* a branch that was never committed has been cut off */
        if (row->persisted_term != 0 && row->persisted <= c->applied &&
            c->entries[row->persisted - 1].term == row->persisted_term)
            world_fail(c->w, "R6: n%u had committed entries up to %llu on disk and cut off those behind %llu",
                       replica_id(r) - 1, (unsigned long long)row->persisted,
                       (unsigned long long)s.core.persisted);
        row->persisted = s.core.persisted;
        row->persisted_term = 0;
    }
    row->commit = s.core.commit;
    row->last = s.core.last;
    row->applied = s.applied;
    if (++row->turns % MATCH_EVERY != 0)
        return;
    for (uint32_t i = 0; i < c->w->tune.replicas; i++) {
        if (c->w->replica[i] != r && replica_alive(c->w->replica[i]))
            check_matching(c, r, c->w->replica[i]);
    }
}

void checks_on_crash(struct checks *c, struct replica *r, double keep)
{
    row_of(c, r)->power_lost = keep < 1.0;
    (void)durable_hard(c, r);
}

/* What it had, and had said to have, is not there any more, save in what others know of it. */
void checks_on_disk_lost(struct checks *c, struct replica *r)
{
    struct replica_row *row = row_of(c, r);

    *row = (struct replica_row){.turns = row->turns,
                                .had = row->persisted > row->had ? row->persisted : row->had};
}

bool checks_has_joined(struct checks *c, struct replica *r)
{
    return durable_hard(c, r).joined;
}

/* The committed entries among those it had reported durable are there after the crash, each of them. Those
 * that an earlier recovery found are not read again. */
static void check_recovered(struct checks *c, struct replica *r)
{
    struct replica_row *row = row_of(c, r);
    dl_index_t last = row->persisted;
    struct dl_entry e;
    struct err err;

    /* It may have been on a dead branch; then what it knew to be committed is where that began, or before. */
    if (last > c->applied || (last > 0 && c->entries[last - 1].term != row->persisted_term))
        last = row->commit < last ? row->commit : last;
    for (dl_index_t i = row->recovered + 1; i <= last && i <= c->applied; i++) {
        const struct entry_row *canonical = &c->entries[i - 1];

        if (dl_store_entry_blocking(replica_store(r), i, &e, &err) != 0) {
            world_fail(c->w, "R8: n%u has lost index %llu: %s", replica_id(r) - 1, (unsigned long long)i,
                       err.text);
            return;
        }
        if (e.term != canonical->term || e.pos != canonical->pos || e.len != canonical->len ||
            crc32c(0, dl_entry_body(&e), dl_entry_body_len(&e)) != canonical->crc)
            world_fail(c->w, "R8: n%u has term %llu at index %llu after the crash, committed is term %llu",
                       replica_id(r) - 1, (unsigned long long)e.term, (unsigned long long)i,
                       (unsigned long long)canonical->term);
        buf_unref(e.buf);
        row->recovered = i;
    }
}

void checks_on_recovered(struct checks *c, struct replica *r, const struct dl_store_view *log)
{
    struct replica_row *row = row_of(c, r);
    struct dl_entry e;
    struct err err;

    if (log->last < row->persisted)
        world_fail(c->w, "R8: n%u reported index %llu durable; after the crash its log ends at %llu",
                   replica_id(r) - 1, (unsigned long long)row->persisted, (unsigned long long)log->last);
    else if (row->persisted > 0 && dl_store_entry_blocking(replica_store(r), row->persisted, &e, &err) == 0) {
        if (row->persisted_term != 0 && e.term != row->persisted_term)
            world_fail(
                c->w,
                "R8: n%u reported index %llu of term %llu durable; after the crash it has term %llu there",
                replica_id(r) - 1, (unsigned long long)row->persisted,
                (unsigned long long)row->persisted_term, (unsigned long long)e.term);
        buf_unref(e.buf);
    }
    check_recovered(c, r);
    /* What recovery takes over counts as durable from now on, so it must be. */
    row->persisted = log->last;
    row->persisted_term = 0;
    if (log->last > 0 && dl_store_entry_blocking(replica_store(r), log->last, &e, &err) == 0) {
        row->persisted_term = e.term;
        buf_unref(e.buf);
    }
    row->durable_term = 0;
    row->alone_us = 0;
    row->commit = 0; /* a process starts with what its checkpoint knows */
    row->leads = 0;
    row->last = log->last;
}

/* ---- what is applied ---------------------------------------------------------------------------------- */

static void check_stored_message(struct checks *c, struct replica *r, const struct message *m,
                                 uint64_t offset)
{
    struct queue_row *q = &c->queues[m->queue_id];
    struct message_row *row;
    uint8_t expected[SIM_BODY_MAX];
    uint64_t id;

    if (m->body.len < SIM_BODY_MIN || (id = get_le64(m->body.p)) >= c->message_count) {
        world_fail(c->w, "B2: n%u applies a message that nobody sent", replica_id(r) - 1);
        return;
    }
    row = &c->messages[id];
    checks_fill_body(id, expected, row->len);
    if (m->body.len != row->len || memcmp(m->body.p, expected, row->len) != 0 ||
        row->queue != (uint32_t)m->queue_id)
        world_fail(c->w, "B3: message %llu has changed on its way", (unsigned long long)id);
    if (row->fate == REFUSED)
        world_fail(c->w, "B2: message %llu was refused and is stored all the same", (unsigned long long)id);
    if (row->stored)
        world_fail(c->w, "B4: message %llu is stored twice", (unsigned long long)id);
    if (offset != q->count)
        world_fail(c->w, "B4: message %llu gets offset %llu in queue %d, the next is %llu",
                   (unsigned long long)id, (unsigned long long)offset, m->queue_id,
                   (unsigned long long)q->count);
    if (c->last_id_of[row->producer][m->queue_id] > id)
        world_fail(c->w, "B6: producer %u: message %llu is stored behind %llu", row->producer,
                   (unsigned long long)id, (unsigned long long)c->last_id_of[row->producer][m->queue_id] - 1);
    c->last_id_of[row->producer][m->queue_id] = id + 1;
    row->stored = true;
    row->offset = offset;
    if (q->count == q->cap) {
        q->cap = q->cap == 0 ? 1024 : q->cap * 2;
        q->ids = realloc(q->ids, q->cap * sizeof(*q->ids));
        ENSURE(q->ids != NULL);
    }
    q->ids[q->count++] = id;
}

/* First to apply this index: it becomes canonical. */
static void add_canonical(struct checks *c, struct replica *r, const struct dl_entry *e,
                          const struct state_result *result, uint32_t crc)
{
    struct message m;

    ENSURE(e->index <= ENTRIES_MAX);
    if (c->applied % 4096 == 0) {
        c->entries = realloc(c->entries, (c->applied + 4096) * sizeof(*c->entries));
        ENSURE(c->entries != NULL);
    }
    c->entries[c->applied++] = (struct entry_row){e->term, e->pos, e->kind, e->len, crc};
    if (e->kind != CMD_MESSAGES || result == NULL || result->code != 0)
        return;
    if (message_decode(dl_entry_body(e), dl_entry_body_len(e), true, &m) != 0 ||
        m.queue_id >= (int32_t)SIM_QUEUES_MAX)
        world_fail(c->w, "B3: n%u applies a message that cannot be read", replica_id(r) - 1);
    else
        check_stored_message(c, r, &m, result->queue_offset);
}

void checks_on_apply(struct checks *c, struct replica *r, const struct dl_entry *e,
                     const struct state_result *result)
{
    uint32_t crc = crc32c(0, dl_entry_body(e), dl_entry_body_len(e));
    const struct entry_row *row;

    if (e->index > c->applied + 1) {
        world_fail(c->w, "R5: n%u applies %llu, nobody has applied %llu", replica_id(r) - 1,
                   (unsigned long long)e->index, (unsigned long long)c->applied + 1);
        return;
    }
    if (e->index == c->applied + 1) {
        add_canonical(c, r, e, result, crc);
        return;
    }
    row = &c->entries[e->index - 1];
    if (row->term != e->term || row->kind != e->kind || row->len != e->len || row->pos != e->pos ||
        row->crc != crc)
        world_fail(c->w, "R5: n%u applies another entry at index %llu: term %llu, was %llu",
                   replica_id(r) - 1, (unsigned long long)e->index, (unsigned long long)e->term,
                   (unsigned long long)row->term);
}

/* ---- clients ------------------------------------------------------------------------------------------ */

void checks_fill_body(uint64_t id, uint8_t *body, uint32_t len)
{
    uint64_t x = id * 0x9E3779B97F4A7C15ull + 1;

    put_le64(body, id);
    for (uint32_t i = 8; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        body[i] = (uint8_t)x;
    }
}

uint64_t checks_sent(struct checks *c, uint32_t producer, uint32_t queue, uint32_t body_len)
{
    if (c->message_count == c->message_cap) {
        c->message_cap = c->message_cap == 0 ? 4096 : c->message_cap * 2;
        c->messages = realloc(c->messages, c->message_cap * sizeof(*c->messages));
        ENSURE(c->messages != NULL);
    }
    c->messages[c->message_count] =
        (struct message_row){.producer = producer, .queue = queue, .len = body_len, .sent_us = c->w->now_us};
    return c->message_count++;
}

void checks_acked(struct checks *c, uint64_t id, uint32_t queue, uint64_t offset, dl_index_t index)
{
    struct message_row *row = &c->messages[id];
    struct queue_row *q = &c->queues[queue];

    row->fate = ACKED;
    row->acked_us = c->w->now_us;
    if (!row->stored || row->offset != offset || row->queue != queue || offset >= q->count ||
        q->ids[offset] != id)
        world_fail(c->w, "B7: message %llu is acknowledged at offset %llu of queue %u, where it is not",
                   (unsigned long long)id, (unsigned long long)offset, queue);
    if (offset + 1 > q->acked_max)
        q->acked_max = offset + 1;
    if (index > c->acked)
        c->acked = index;
}

void checks_refused(struct checks *c, uint64_t id)
{
    c->messages[id].fate = REFUSED;
    if (c->messages[id].stored)
        world_fail(c->w, "B2: message %llu is stored and its sender is told it is not",
                   (unsigned long long)id);
}

void checks_read_max(struct checks *c, struct replica *r, uint32_t queue, uint64_t max)
{
    if (max < c->queues[queue].acked_max)
        world_fail(c->w,
                   "B9: n%u, a leader with a lease, says queue %u ends at %llu; %llu was acknowledged before",
                   replica_id(r) - 1, queue, (unsigned long long)max,
                   (unsigned long long)c->queues[queue].acked_max - 1);
}

void checks_offset_acked(struct checks *c, uint32_t queue, uint64_t offset)
{
    struct queue_row *q = &c->queues[queue];

    if (!q->offset_known || offset > q->offset_acked)
        q->offset_acked = offset;
    q->offset_known = true;
}

/* ---- the end ------------------------------------------------------------------------------------------ */

bool checks_converged(struct checks *c)
{
    struct state *first = NULL;

    for (uint32_t i = 0; i < c->w->tune.replicas; i++) {
        struct replica *r = c->w->replica[i];

        if (!replica_alive(r))
            return false;
        if (first == NULL)
            first = replica_state(r);
        if (state_applied(replica_state(r)) != state_applied(first) || state_applied(first) != c->applied)
            return false;
    }
    return true;
}

static void check_acked_before_sent(struct checks *c, uint32_t queue)
{
    struct queue_row *q = &c->queues[queue];
    uint64_t earliest_ack_us = UINT64_MAX; /* of all messages at higher offsets */

    for (uint64_t offset = q->count; offset-- > 0;) {
        struct message_row *row = &c->messages[q->ids[offset]];

        if (earliest_ack_us < row->sent_us)
            world_fail(
                c->w,
                "B5: message %llu (queue %u, offset %llu) was sent after one behind it was acknowledged",
                (unsigned long long)q->ids[offset], queue, (unsigned long long)offset);
        if (row->fate == ACKED && row->acked_us < earliest_ack_us)
            earliest_ack_us = row->acked_us;
    }
}

void checks_at_end(struct checks *c)
{
    uint64_t digest = state_digest(replica_state(c->w->replica[0]));
    uint64_t offset;

    if (c->applied < c->acked)
        world_fail(c->w, "B1: index %llu was acknowledged, the log ends at %llu",
                   (unsigned long long)c->acked, (unsigned long long)c->applied);
    for (uint64_t id = 0; id < c->message_count; id++) {
        if (c->messages[id].fate == ACKED && !c->messages[id].stored)
            world_fail(c->w, "B1: message %llu was acknowledged and is lost", (unsigned long long)id);
    }
    for (uint32_t i = 1; i < c->w->tune.replicas; i++) {
        if (state_digest(replica_state(c->w->replica[i])) != digest)
            world_fail(c->w, "R11: n0 and n%u applied the same and have different states", i);
    }
    for (uint32_t q = 0; q < c->w->tune.queues; q++) {
        check_acked_before_sent(c, q);
        if (c->queues[q].offset_known &&
            (state_offset(replica_state(c->w->replica[0]), STR("g"), STR("t"), q, &offset) != 0 ||
             offset < c->queues[q].offset_acked))
            world_fail(c->w, "B8: consumer offset %llu of queue %u was acknowledged and is lost",
                       (unsigned long long)c->queues[q].offset_acked, q);
    }
}

struct checks *checks_new(struct world *w)
{
    struct checks *c = calloc(1, sizeof(*c));

    ENSURE(c != NULL);
    c->w = w;
    return c;
}

void checks_free(struct checks *c)
{
    for (uint32_t q = 0; q < SIM_QUEUES_MAX; q++)
        free(c->queues[q].ids);
    free(c->messages);
    free(c->entries);
    free(c);
}
