/*
 * replica.c - see replica.h.
 *
 * Each worker is one without a thread. A submitted job runs when the simulated disk has taken its time, and
 * some time later its loop hears so, unless the process died before the one or the other; the worker goes on
 * meanwhile. A paused process takes its events after the pause, in order.
 */
#include "tests/sim/replica.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/memory_checkpoint.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/network.h"

#define GROUP "sim"

struct worker_slot {
    struct replica *r;
    struct worker *worker;
    struct job *ran, **ran_end; /* of which the loop has not heard, in order */
    uint64_t busy_until_us;
    uint64_t heard_us; /* when the loop hears of the newest job */
    uint64_t hangs_until_us;
};

enum { FLUSH, META, READ, STATE, WORKERS };

struct replica {
    struct world *w;
    dl_peer_t id;
    bool alive, dying;
    uint64_t incarnation;
    uint64_t clock_offset_ms;
    struct fakedisk *disk;
    struct memory_checkpoint *medium;
    struct checkpoint checkpoint;
    struct worker_slot slots[WORKERS];
    struct dl_store *store;
    struct state *state;
    struct dl_transport transport;
    struct dl_node *node;
    uint64_t wake_ms;
    double crash_keep;
    uint64_t crash_down_us;
    uint64_t paused_until_us;
};

static void end_turn(struct replica *r);

/* ---- time and jobs ------------------------------------------------------------------------------------ */

uint64_t replica_now_ms(const struct replica *r)
{
    return r->clock_offset_ms + r->w->now_us / 1000;
}

static uint64_t now_ms(void *arg)
{
    return replica_now_ms(arg);
}

/* While paused, things wait for the end of the pause. */
static bool wait_out_pause(struct replica *r, event_fn fn, uint64_t a, uint64_t b)
{
    if (r->w->now_us >= r->paused_until_us)
        return false;
    world_after(r->w, r->paused_until_us - r->w->now_us, fn, r, a, b);
    return true;
}

static void on_tick(void *arg, uint64_t incarnation, uint64_t wish_ms)
{
    struct replica *r = arg;

    if (!r->alive || r->incarnation != incarnation || r->wake_ms != wish_ms ||
        wait_out_pause(r, on_tick, incarnation, wish_ms))
        return;
    r->wake_ms = 0;
    dl_node_tick(r->node);
    end_turn(r);
}

static void wake_at(void *arg, uint64_t ms)
{
    struct replica *r = arg;
    uint64_t now = replica_now_ms(r);

    r->wake_ms = ms == 0 ? 1 : ms;
    world_after(r->w, ms > now ? (ms - now) * MS : 0, on_tick, r, r->incarnation, r->wake_ms);
}

/* Things of this worker wait for the end of a pause, or of the disk's. */
static bool wait_out(struct worker_slot *s, event_fn fn, uint64_t incarnation)
{
    struct replica *r = s->r;
    uint64_t slot = (uint64_t)(s - r->slots);

    if (wait_out_pause(r, fn, incarnation, slot))
        return true;
    if (r->w->now_us >= s->hangs_until_us)
        return false;
    world_after(r->w, s->hangs_until_us - r->w->now_us, fn, r, incarnation, slot);
    return true;
}

static void run_job(struct worker_slot *s)
{
    struct job *job = worker_run_next(s->worker);

    if (job == NULL)
        return;
    job->next = NULL;
    *s->ran_end = job;
    s->ran_end = &job->next;
}

static void finish_job(struct worker_slot *s)
{
    struct job *job = s->ran;

    s->ran = job->next;
    if (s->ran == NULL)
        s->ran_end = &s->ran;
    job->next = NULL;
    job->done(job);
}

static void on_job_run(void *arg, uint64_t incarnation, uint64_t slot)
{
    struct replica *r = arg;

    if (!r->alive || r->incarnation != incarnation || wait_out(&r->slots[slot], on_job_run, incarnation))
        return;
    run_job(&r->slots[slot]);
    if (r->dying || fakedisk_is_off(r->disk))
        end_turn(r);
}

static void on_job_done(void *arg, uint64_t incarnation, uint64_t slot)
{
    struct replica *r = arg;
    struct worker_slot *s = &r->slots[slot];

    if (!r->alive || r->incarnation != incarnation || wait_out(s, on_job_done, incarnation))
        return;
    if (s->ran == NULL) /* it was to run within a pause that ended early */
        run_job(s);
    finish_job(s);
    end_turn(r);
}

static void on_submit(void *arg)
{
    struct worker_slot *s = arg;
    struct replica *r = s->r;
    struct world *w = r->w;
    uint64_t took = rng_between(&w->rng, w->tune.disk_min_us, w->tune.disk_max_us);
    uint64_t slot = (uint64_t)(s - r->slots);

    if (!w->healing && rng_chance(&w->rng, w->tune.disk_slow)) {
        took += w->tune.disk_slow_us;
        w->count.disk_slow++;
    }
    if (s->busy_until_us < w->now_us)
        s->busy_until_us = w->now_us;
    s->busy_until_us += took;
    if (s->heard_us < s->busy_until_us)
        s->heard_us = s->busy_until_us;
    s->heard_us += rng_below(&w->rng, took);
    world_after(w, s->busy_until_us - w->now_us, on_job_run, r, r->incarnation, slot);
    world_after(w, s->heard_us - w->now_us, on_job_done, r, r->incarnation, slot);
}

/* ---- news from below ---------------------------------------------------------------------------------- */

static void on_persisted(void *arg, dl_index_t index, dl_term_t term)
{
    struct replica *r = arg;

    if (r->node == NULL || r->dying)
        return;
    checks_on_persisted(r->w->checks, r, index, term);
    state_note_durable(r->state, index);
    dl_node_on_persisted(r->node, index, term);
}

static void on_hard(void *arg, struct dl_hard hard)
{
    struct replica *r = arg;

    if (r->node != NULL && !r->dying)
        dl_node_on_hard(r->node, hard);
}

static void on_disk_failure(void *arg, const char *what)
{
    struct replica *r = arg;

    if (!fakedisk_is_off(r->disk) && !r->dying)
        world_fail(r->w, "n%u: the disk failed without being told to: %s", r->id - 1, what);
    r->dying = true; /* a real process has ended here; ours is taken down when the job has returned */
}

static const void *on_apply(void *arg, const struct dl_entry *e)
{
    struct replica *r = arg;
    const struct state_result *result = state_apply(r->state, e->index, e->term, e->kind, dl_entry_body(e),
                                                    dl_entry_body_len(e), e->pos + DL_RECORD_HEAD);

    r->w->count.applied++;
    checks_on_apply(r->w->checks, r, e, result);
    return result;
}

static void on_changed(void *arg, const struct dl_node_status *status)
{
    struct replica *r = arg;

    checks_on_changed(r->w->checks, r, status);
    world_note(r->w, "n%u role=%d term=%llu leader=%d serving=%d last=%llu commit=%llu", r->id - 1,
               status->core.role, (unsigned long long)status->core.term, (int)status->core.leader - 1,
               status->serving, (unsigned long long)status->core.last,
               (unsigned long long)status->core.commit);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void on_checkpoint_time(void *arg, uint64_t incarnation, uint64_t unused)
{
    struct replica *r = arg;

    (void)unused;
    if (!r->alive || r->incarnation != incarnation || wait_out_pause(r, on_checkpoint_time, incarnation, 0))
        return;
    if (!state_flushing(r->state) && state_applied(r->state) > state_checkpointed(r->state))
        state_flush(r->state, NULL, NULL);
    world_after(r->w, r->w->tune.checkpoint_us, on_checkpoint_time, r, incarnation, 0);
    end_turn(r);
}

static struct dl_members all_of(uint32_t replicas)
{
    struct dl_members members = {.count = replicas};

    for (uint32_t i = 0; i < replicas; i++) {
        members.id[i] = i + 1;
        members.voter[i] = true;
    }
    return members;
}

static bool open_all(struct replica *r)
{
    const struct tunables *t = &r->w->tune;
    struct dl_members members = all_of(t->replicas);
    struct err err = {0};
    struct dl_store_opts store_opts = {
        .disk = fakedisk_disk(r->disk),
        .group = GROUP,
        .self = r->id,
        .members = members,
        .seed = rng_next(&r->w->rng),
        .segment_bytes = t->segment_bytes,
        .cache_bytes = t->cache_bytes,
        .flush = r->slots[FLUSH].worker,
        .meta = r->slots[META].worker,
        .read = r->slots[READ].worker,
        .on_persisted = on_persisted,
        .on_hard = on_hard,
        .on_disk_failure = on_disk_failure,
        .arg = r,
    };
    struct state_opts state_opts = {.checkpoint = &r->checkpoint,
                                    .worker = r->slots[STATE].worker,
                                    .cache_blocks = 16,
                                    .follows_log = true};
    struct dl_node_opts node_opts = {
        .core =
            {
                .self = r->id,
                .members = members,
                .preferred = t->preferred,
                .seed = rng_next(&r->w->rng),
                .heartbeat_ms = t->heartbeat_ms,
                .election_min_ms = t->election_min_ms,
                .election_max_ms = t->election_max_ms,
                .window_entries = t->window_entries,
                .window_bytes = t->window_bytes,
            },
        .group = GROUP,
        .transport = &r->transport,
        .hooks = {.apply = on_apply, .changed = on_changed, .arg = r},
        .waiting_max_bytes = 4u << 20,
        .now_ms = now_ms,
        .wake_at = wake_at,
        .clock_arg = r,
    };
    struct dl_store_view log;
    int rc = dl_store_open(&store_opts, &r->store, &err);

    if (rc != 0) {
        world_fail(r->w, "R8: n%u: recovery refuses the log after a crash: %s", r->id - 1, err.text);
        return false;
    }
    r->checkpoint = memory_checkpoint_door(r->medium);
    rc = state_open(&state_opts, &r->state, &err);
    if (rc != 0) {
        world_fail(r->w, "R11: n%u: the checkpoint cannot be loaded: %s", r->id - 1, err.text);
        return false;
    }
    dl_store_view(r->store, &log);
    checks_on_recovered(r->w->checks, r, &log);
    if (state_applied(r->state) > log.last) {
        world_fail(r->w, "R11: n%u: checkpoint at %llu is ahead of the log that ends at %llu", r->id - 1,
                   (unsigned long long)state_applied(r->state), (unsigned long long)log.last);
        return false;
    }
    node_opts.store = r->store;
    node_opts.applied = state_applied(r->state);
    rc = dl_node_new(&node_opts, &r->node, &err);
    if (rc != 0)
        world_fail(r->w, "n%u: the node does not start: %s", r->id - 1, err.text);
    return rc == 0;
}

void replica_start(struct replica *r)
{
    ENSURE(!r->alive);
    r->incarnation++;
    r->dying = false;
    r->paused_until_us = 0;
    for (int i = 0; i < WORKERS; i++) {
        r->slots[i] = (struct worker_slot){.r = r, .ran_end = &r->slots[i].ran};
        r->slots[i].worker = worker_new_manual(on_submit, &r->slots[i]);
    }
    if (!open_all(r))
        return;
    r->alive = true;
    world_note(r->w, "n%u starts, applied=%llu", r->id - 1, (unsigned long long)state_applied(r->state));
    world_after(r->w, r->w->tune.checkpoint_us, on_checkpoint_time, r, r->incarnation, 0);
    network_replica_up(r->w->network, r->id);
    dl_node_tick(r->node);
    end_turn(r);
}

static void take_down(struct replica *r, double keep)
{
    r->dying = true;
    if (keep >= 1.0) /* the machine goes on: what was not synced still is not */
        fakedisk_kill(r->disk);
    else
        fakedisk_crash(r->disk, &r->w->rng, keep);
    clients_on_replica_down(r->w->clients, r);
    if (r->node != NULL)
        dl_node_free(r->node);
    r->node = NULL;
    if (r->state != NULL)
        state_close(r->state);
    r->state = NULL;
    if (r->store != NULL)
        dl_store_close(r->store);
    r->store = NULL;
    for (int i = 0; i < WORKERS; i++) {
        while (r->slots[i].ran != NULL)
            finish_job(&r->slots[i]);
        if (r->slots[i].worker != NULL)
            worker_free(r->slots[i].worker);
        r->slots[i].worker = NULL;
    }
    if (r->alive)
        network_replica_down(r->w->network, r->id);
    r->alive = false;
}

static void on_restart(void *arg, uint64_t incarnation, uint64_t unused)
{
    struct replica *r = arg;

    (void)unused;
    if (r->alive || r->incarnation != incarnation)
        return;
    r->w->count.restarts++;
    replica_start(r);
}

void replica_crash(struct replica *r, double keep, uint64_t down_us)
{
    if (!r->alive)
        return;
    world_note(r->w, "n%u dies, keep=%.2f", r->id - 1, keep);
    checks_on_crash(r->w->checks, r, keep);
    take_down(r, keep);
    world_after(r->w, down_us, on_restart, r, r->incarnation, 0);
}

void replica_lose_disk(struct replica *r, uint64_t down_us)
{
    if (!r->alive)
        return;
    world_note(r->w, "n%u loses its disk", r->id - 1);
    take_down(r, 0.0);
    checks_on_disk_lost(r->w->checks, r);
    fakedisk_free(r->disk);
    memory_checkpoint_free(r->medium);
    r->disk = fakedisk_new();
    r->medium = memory_checkpoint_new();
    world_after(r->w, down_us, on_restart, r, r->incarnation, 0);
}

void replica_arm_power_cut(struct replica *r, uint64_t changes, double keep, uint64_t down_us)
{
    if (!r->alive)
        return;
    r->crash_keep = keep;
    r->crash_down_us = down_us;
    fakedisk_power_off_at(r->disk, changes);
}

void replica_pause(struct replica *r, uint64_t us)
{
    if (r->alive)
        r->paused_until_us = r->w->now_us + us;
}

void replica_hang_disk(struct replica *r, bool log_only, uint64_t us)
{
    for (int i = 0; i < WORKERS; i++) {
        uint64_t *until_us = &r->slots[i].hangs_until_us;

        if ((i == FLUSH || !log_only) && *until_us < r->w->now_us + us)
            *until_us = r->w->now_us + us;
    }
}

/* End of a turn: gathered proposals go, rules are checked, a process whose disk failed ends. */
static void end_turn(struct replica *r)
{
    r->dying = r->dying || fakedisk_is_off(r->disk); /* also when the job that met it lives with errors */
    if (!r->dying)
        dl_node_turn_end(r->node);
    if (r->dying) {
        r->w->count.cut_in_write++;
        fakedisk_power_off_at(r->disk, 0);
        replica_crash(r, r->crash_keep, r->crash_down_us);
        return;
    }
    checks_after_turn(r->w->checks, r);
}

void replica_turn_end(struct replica *r)
{
    end_turn(r);
}

/* ---- from the network --------------------------------------------------------------------------------- */

void replica_on_message(struct replica *r, const struct dl_msg *msg, struct buf *records)
{
    dl_node_on_message(r->node, msg, records, 0, records != NULL ? records->len : 0);
    end_turn(r);
}

static void on_late_link(void *arg, uint64_t peer, uint64_t what)
{
    struct replica *r = arg;

    if (r->alive && r->incarnation == what >> 2) {
        if (what & 1)
            replica_on_up(r, (dl_peer_t)peer);
        else
            replica_on_down(r, (dl_peer_t)peer, what & 2);
    }
}

void replica_on_up(struct replica *r, dl_peer_t peer)
{
    if (wait_out_pause(r, on_late_link, peer, r->incarnation << 2 | 1))
        return;
    dl_node_on_up(r->node, peer);
    end_turn(r);
}

void replica_on_down(struct replica *r, dl_peer_t peer, bool reset)
{
    if (wait_out_pause(r, on_late_link, peer, r->incarnation << 2 | (reset ? 2 : 0)))
        return;
    dl_node_on_down(r->node, peer, reset);
    end_turn(r);
}

/* ---- facts -------------------------------------------------------------------------------------------- */

uint64_t replica_paused_us(const struct replica *r)
{
    return r->paused_until_us > r->w->now_us ? r->paused_until_us - r->w->now_us : 0;
}

bool replica_alive(const struct replica *r)
{
    return r->alive;
}

uint64_t replica_incarnation(const struct replica *r)
{
    return r->incarnation;
}

dl_peer_t replica_id(const struct replica *r)
{
    return r->id;
}

struct dl_node *replica_node(struct replica *r)
{
    return r->node;
}

struct state *replica_state(struct replica *r)
{
    return r->state;
}

struct dl_store *replica_store(struct replica *r)
{
    return r->store;
}

struct fakedisk *replica_disk(struct replica *r)
{
    return r->disk;
}

struct replica *replica_new(struct world *w, dl_peer_t id)
{
    struct replica *r = calloc(1, sizeof(*r));

    ENSURE(r != NULL);
    r->w = w;
    r->id = id;
    r->disk = fakedisk_new();
    r->medium = memory_checkpoint_new();
    r->clock_offset_ms = rng_below(&w->rng, 100000);
    r->transport = network_transport(w->network, id);
    return r;
}

void replica_free(struct replica *r)
{
    take_down(r, 1.0);
    memory_checkpoint_free(r->medium);
    fakedisk_free(r->disk);
    free(r);
}
