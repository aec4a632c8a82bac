/*
 * cluster.h - three replicas in one process for the node's tests: real core, node and store (in a temporary
 * directory, its workers run by hand), a network that is a queue, and a clock that is a number. Nothing
 * happens but in pump() and advance(). Included by one test program; all static.
 */
#ifndef TESTS_UNIT_DLEDGER_CLUSTER_H
#define TESTS_UNIT_DLEDGER_CLUSTER_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dledger/node.h"
#include "tests/lib/scratch.h"

#define REPLICAS 3
#define GROUP    "test"
#define KIND     DL_KIND_FIRST_APP
#define LOG_MAX  20000

struct applied {
    dl_term_t term;
    char body[24];
};

struct replica {
    dl_peer_t id;
    struct disk disk;
    struct worker *flush, *meta, *read;
    struct dl_store *store;
    struct dl_transport transport;
    struct dl_node *node;
    uint64_t wake_ms;
    bool hold_meta, hold_flush, hold_read; /* that worker does not run */
    bool hold_turn;                        /* its turn does not end */
    struct dl_node_status seen;            /* by the changed hook */
    uint32_t changes;
    struct applied *log; /* [index] */
    dl_index_t applied;
    uint32_t most_in_a_run; /* entries between two calls of `applied` */
    uint32_t run;
    uint32_t sent[8]; /* messages that left, by type */
    void (*on_apply)(struct replica *r, const struct dl_entry *e);
};

struct packet {
    struct packet *next;
    struct dl_msg msg;
    struct buf *records;
};

static struct replica replicas[REPLICAS];
static bool blank_start; /* replicas with a new store have not joined, as in the product */
static bool cut[REPLICAS + 1][REPLICAS + 1]; /* [from][to]: messages are lost */
static struct packet *packets, **packets_end = &packets;
static bool (*lose)(const struct dl_msg *msg); /* other messages that are lost; may be NULL */
static uint64_t now_ms;
static uint64_t cache_bytes; /* of stores opened from here on */
static uint64_t waiting_max; /* of nodes started from here on */
static char root[64];

/* ---- what the node needs ---- */

static uint64_t clock_now(void *arg)
{
    (void)arg;
    return now_ms;
}

static void wake_at(void *arg, uint64_t ms)
{
    ((struct replica *)arg)->wake_ms = ms;
}

static void net_send(void *impl, const struct dl_msg *msg, const struct dl_slice *slices, uint32_t count)
{
    struct replica *r = impl;
    r->sent[msg->type]++;
    if (cut[msg->from][msg->to] || (lose && lose(msg)))
        return;
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += slices[i].len;
    struct packet *p = calloc(1, sizeof *p);
    p->msg = *msg;
    if (len > 0) {
        p->records = buf_new(len);
        for (uint32_t i = 0; i < count; i++) {
            memcpy(p->records->data + p->records->len, slices[i].buf->data + slices[i].offset, slices[i].len);
            p->records->len += slices[i].len;
        }
    }
    *packets_end = p;
    packets_end = &p->next;
}

static bool net_is_up(void *impl, dl_peer_t peer)
{
    return !cut[((struct replica *)impl)->id][peer];
}

static const void *on_apply(void *arg, const struct dl_entry *e)
{
    struct replica *r = arg;
    ck_assert_uint_eq(e->index, r->applied + 1);
    ck_assert_uint_lt(e->index, LOG_MAX);
    struct applied *a = &r->log[e->index];
    *a = (struct applied){.term = e->term};
    if (e->kind == DL_KIND_NOOP)
        strcpy(a->body, "noop");
    else
        snprintf(a->body, sizeof a->body, "%.*s", (int)dl_entry_body_len(e), (const char *)dl_entry_body(e));
    r->applied = e->index;
    r->run++;
    if (r->on_apply)
        r->on_apply(r, e);
    return a->body;
}

static void on_applied(void *arg, dl_index_t index)
{
    struct replica *r = arg;
    ck_assert_uint_eq(index, r->applied);
    if (r->run > r->most_in_a_run)
        r->most_in_a_run = r->run;
    r->run = 0;
}

static void on_changed(void *arg, const struct dl_node_status *status)
{
    struct replica *r = arg;
    r->seen = *status;
    r->changes++;
}

static void on_persisted(void *arg, dl_index_t index, dl_term_t term)
{
    struct replica *r = arg;
    if (r->node)
        dl_node_on_persisted(r->node, index, term);
}

static void on_hard(void *arg, struct dl_hard hard)
{
    struct replica *r = arg;
    if (r->node)
        dl_node_on_hard(r->node, hard);
}

/* ---- replicas ---- */

static void replica_start(int i, dl_index_t applied)
{
    struct replica *r = &replicas[i];
    r->id = (dl_peer_t)(i + 1);
    char path[128];
    snprintf(path, sizeof path, "%s/n%d", root, i);
    ck_assert_int_eq(disk_posix_init(&r->disk, path), 0);
    r->flush = worker_new_manual(NULL, NULL);
    r->meta = worker_new_manual(NULL, NULL);
    r->read = worker_new_manual(NULL, NULL);
    struct dl_store_opts so = {.disk = &r->disk,
                               .group = GROUP,
                               .self = r->id,
                               .members = {REPLICAS, {1, 2, 3}, {true, true, true}},
                               .segment_bytes = 256 * 1024,
                               .cache_bytes = cache_bytes,
                               .flush = r->flush,
                               .meta = r->meta,
                               .read = r->read,
                               .on_persisted = on_persisted,
                               .on_hard = on_hard,
                               .arg = r};
    struct err err;
    ck_assert_msg(dl_store_open(&so, &r->store, &err) == 0, "%s", err.text);
    r->transport = (struct dl_transport){.impl = r, .send = net_send, .is_up = net_is_up};
    if (!r->log)
        r->log = calloc(LOG_MAX, sizeof *r->log);
    r->applied = applied;
    r->run = 0;
    struct dl_node_opts o = {
        .trust_empty = !blank_start,
        .core = {.self = r->id,
                 .members = {.count = REPLICAS, .id = {1, 2, 3}, .voter = {true, true, true}},
                 .preferred = DL_NOBODY,
                 .seed = (uint64_t)i + now_ms * 10,
                 .heartbeat_ms = 50,
                 .election_min_ms = 300,
                 .election_max_ms = 600,
                 .window_entries = 4096,
                 .window_bytes = 8 << 20},
        .group = GROUP,
        .store = r->store,
        .transport = &r->transport,
        .hooks = {on_apply, on_applied, on_changed, r},
        .applied = applied,
        .waiting_max_bytes = waiting_max,
        .now_ms = clock_now,
        .wake_at = wake_at,
        .clock_arg = r};
    ck_assert_msg(dl_node_new(&o, &r->node, &err) == 0, "%s", err.text);
}

/* Kill it: what its workers have not done is not done. */
static void replica_stop(int i)
{
    struct replica *r = &replicas[i];
    if (!r->node)
        return;
    dl_node_free(r->node);
    r->node = NULL;
    dl_store_close(r->store);
    struct worker *workers[] = {r->flush, r->meta, r->read};
    for (int k = 0; k < 3; k++) {
        while (worker_run_one(workers[k]))
            ;
        worker_free(workers[k]);
    }
    r->store = NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

/* Forget its disk. */
static void replica_wipe(int i)
{
    char path[128];
    snprintf(path, sizeof path, "%s/n%d", root, i);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    replicas[i].applied = 0;
}

static void isolate(int i, bool isolated)
{
    for (int k = 0; k <= REPLICAS; k++) {
        if (k != i + 1)
            cut[i + 1][k] = cut[k][i + 1] = isolated;
    }
}

static bool deliver(void)
{
    struct packet *p = packets;
    if (!p)
        return false;
    packets = p->next;
    if (!packets)
        packets_end = &packets;
    struct replica *r = &replicas[p->msg.to - 1];
    if (r->node && !cut[p->msg.from][p->msg.to])
        dl_node_on_message(r->node, &p->msg, p->records, 0, p->records ? p->records->len : 0);
    buf_unref(p->records);
    free(p);
    return true;
}

/* Deliver messages and run workers until nothing moves. */
static void pump(void)
{
    bool moved = true;
    for (int rounds = 0; moved; rounds++) {
        ck_assert_int_lt(rounds, 100000);
        moved = false;
        while (deliver())
            moved = true;
        for (int i = 0; i < REPLICAS; i++) {
            struct replica *r = &replicas[i];
            if (!r->node)
                continue;
            if (r->wake_ms <= now_ms) {
                r->wake_ms = UINT64_MAX;
                dl_node_tick(r->node);
                moved = true;
            }
            struct dl_node_status before, after;
            dl_node_status(r->node, &before);
            if (!r->hold_turn)
                dl_node_turn_end(r->node);
            dl_node_status(r->node, &after);
            moved |= before.core.last != after.core.last;
            while (!r->hold_meta && worker_run_one(r->meta))
                moved = true;
            while (!r->hold_flush && worker_run_one(r->flush))
                moved = true;
            while (!r->hold_read && worker_run_one(r->read))
                moved = true;
        }
    }
}

static void advance(uint64_t ms)
{
    for (uint64_t end = now_ms + ms; now_ms < end;) {
        now_ms += 5;
        pump();
    }
}

/* Let time pass until somebody serves; returns its number. */
static int await_leader(void)
{
    for (int k = 0; k < 2000; k++) {
        for (int i = 0; i < REPLICAS; i++) {
            struct dl_node_status s;
            if (!replicas[i].node)
                continue;
            dl_node_status(replicas[i].node, &s);
            if (s.serving && dl_node_can_read(replicas[i].node))
                return i;
        }
        advance(5);
    }
    ck_abort_msg("nobody leads");
}

static void cluster_begin(void)
{
    now_ms = 1000;
    cache_bytes = 8 << 20;
    waiting_max = 64 << 20;
    lose = NULL;
    memset(cut, 0, sizeof cut);
    memset(replicas, 0, sizeof replicas);
    scratch_dir(root, sizeof root);
    for (int i = 0; i < REPLICAS; i++)
        replica_start(i, 0);
}

static void cluster_end(void)
{
    for (int i = 0; i < REPLICAS; i++) {
        replica_stop(i);
        free(replicas[i].log);
    }
    memset(cut, 1, sizeof cut);
    while (deliver())
        ;
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- proposals ---- */

struct wish {
    struct dl_waiter waiter; /* first */
    uint32_t calls;
    int err;
    dl_index_t index;
    char result[24];
};

static void wish_done(struct dl_waiter *w, int err, const struct dl_entry *e, const void *result)
{
    struct wish *wish = (struct wish *)(void *)w;
    wish->calls++;
    wish->err = err;
    if (err == 0) {
        wish->index = e->index;
        strcpy(wish->result, result);
    }
}

static int propose_bytes(int i, struct wish *w, const char *body, size_t len)
{
    struct buf *buf = buf_new(DL_RECORD_HEAD + len);
    memset(buf->data, 0, DL_RECORD_HEAD);
    memcpy(buf->data + DL_RECORD_HEAD, body, len);
    buf->len = (uint32_t)(DL_RECORD_HEAD + len);
    if (w) {
        memset(w, 0, sizeof *w);
        w->waiter.done = wish_done;
    }
    return dl_node_propose(replicas[i].node, KIND, buf, w ? &w->waiter : NULL);
}

static int propose(int i, struct wish *w, const char *body)
{
    return propose_bytes(i, w, body, strlen(body));
}

/* Propose n entries of about `size` bytes and see them committed by everybody who is there. */
static void fill(int i, int n, size_t size)
{
    char *body = malloc(size);
    memset(body, 'x', size);
    struct wish last;
    for (int k = 0; k < n; k++) {
        ck_assert_int_eq(propose_bytes(i, k == n - 1 ? &last : NULL, body, size), 0);
        if (k % 64 == 63)
            pump();
    }
    pump();
    advance(100);
    ck_assert_uint_eq(last.calls, 1);
    ck_assert_int_eq(last.err, 0);
    free(body);
}

/* All running replicas have applied the same, up to the same entry. */
static void same_state(void)
{
    const struct replica *a = NULL;
    for (int i = 0; i < REPLICAS; i++) {
        const struct replica *b = &replicas[i];
        if (!b->node)
            continue;
        if (!a)
            a = b;
        ck_assert_uint_eq(a->applied, b->applied);
        for (dl_index_t k = 1; k <= a->applied; k++) {
            ck_assert_uint_eq(a->log[k].term, b->log[k].term);
            ck_assert_str_eq(a->log[k].body, b->log[k].body);
        }
    }
}

#endif
