/*
 * flush.c - the state's jobs on the state thread: writing what changed, reading index blocks.
 *
 *   apply fills state.delta -> state_flush takes it whole -> the state thread writes it -> done on the loop
 *
 * At most one flush is under way; whoever asks meanwhile waits for the next one, which takes all that came
 * since. A failed write ends the process: the applied index in the checkpoint must never run ahead of the
 * rest, and a disk that fails once is not to be trusted. A job belongs to the worker until its done is
 * called, so closing the state only abandons it: if it has not begun it does nothing, and done frees it.
 *
 * An entry can be committed by the others, and so applied here, before this replica's own disk has it. A
 * checkpoint must not run ahead of the own log, or a power cut would leave a state without the entries it was
 * made from: a flush waits until its applied index is durable in the log.
 */
#include <stdatomic.h>
#include <utlist.h>

#include "broker/state/internal.h"

struct flush {
    struct job job;      /* first */
    struct state *state; /* loop thread only; gone when abandoned */
    atomic_bool abandoned;
    struct checkpoint *checkpoint;
    struct delta delta;
    dl_index_t applied;
    dl_term_t term;
    bool nothing; /* the checkpoint is up to date already */
    int rc;
    struct notify_list waiters;
};

struct load {
    struct job job;      /* first */
    struct state *state; /* loop thread only; gone when abandoned */
    atomic_bool abandoned;
    struct checkpoint *checkpoint;
    bool here; /* no need to read */
    uint64_t uid;
    uint32_t number, slot;
    struct buf *data;
    int rc;
    void (*done)(void *arg, int err);
    void *arg;
    struct load *prev, *next;
};

/* One flush and LOADS_MAX loads are far fewer than a worker's queue holds. */
_Static_assert(LOADS_MAX + 1 < WORKER_QUEUE_MAX, "the worker takes all our jobs");

static void submit(struct state *s, struct job *job)
{
    int rc = worker_submit(s->worker, job);
    ENSURE(rc == 0);
}

/* ---- flush ---- */

static void flush_start(struct state *s);

static void notify_add(struct notify_list *l, void (*fn)(void *arg), void *arg)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 4;
        l->items = mem_resize(l->items, l->cap, sizeof *l->items);
    }
    l->items[l->count++] = (struct notify){fn, arg};
}

static void flush_run(struct job *job)
{
    struct flush *f = (struct flush *)job;
    if (!f->nothing && !atomic_load(&f->abandoned))
        f->rc = delta_write(&f->delta, f->checkpoint, f->applied, f->term);
}

static void flush_done(struct job *job)
{
    struct flush *f = (struct flush *)job;
    if (f->rc)
        fatal("checkpoint of the state: %s (%s)", err_text(f->rc), err_name(f->rc));
    if (!atomic_load(&f->abandoned)) {
        struct state *s = f->state;
        s->flushing = NULL;
        s->checkpointed = f->applied;
        for (uint32_t i = 0; i < f->delta.block_count; i++)
            block_cache_unpin(s->cache, f->delta.blocks[i].slot);
        if (s->flush_again)
            flush_start(s);
    }
    delta_release(&f->delta);
    struct notify_list waiters = f->waiters;
    free(f);
    /* Last, since a waiter may close the state. */
    for (uint32_t i = 0; i < waiters.count; i++)
        waiters.items[i].fn(waiters.items[i].arg);
    free(waiters.items);
}

static void put_dirty_queues(struct state *s)
{
    for (uint32_t i = 0; i < s->dirty_count; i++) {
        struct topic_rec *t = topics_find_uid(s, (uint32_t)(s->dirty_queues[i] >> 16));
        uint32_t queue_id = s->dirty_queues[i] & 0xFFFF;
        if (!t)
            continue; /* deleted since */
        t->queues[queue_id].dirty = false;
        queue_put(s, t, queue_id);
    }
    free(s->dirty_queues);
    s->dirty_queues = NULL;
    s->dirty_count = s->dirty_cap = 0;
    s->dirty_bytes = 0;
}

static bool flush_waits_for_log(const struct state *s)
{
    return s->flushing && !s->flush_submitted;
}

static void flush_submit(struct state *s)
{
    if (s->follows_log && s->flushing->applied > s->log_durable)
        return;
    s->flush_submitted = true;
    submit(s, &s->flushing->job);
}

void state_note_durable(struct state *s, dl_index_t index)
{
    if (index > s->log_durable)
        s->log_durable = index;
    if (flush_waits_for_log(s))
        flush_submit(s);
}

static void flush_start(struct state *s)
{
    struct flush *f = mem_new(1, sizeof *f);
    f->job.run = flush_run;
    f->job.done = flush_done;
    put_dirty_queues(s);
    f->state = s;
    f->checkpoint = s->checkpoint;
    f->delta = s->delta;
    s->delta = (struct delta){0};
    f->applied = s->applied;
    f->term = s->applied_term;
    f->nothing = s->applied == s->checkpointed;
    ENSURE(!f->nothing || delta_empty(&f->delta));
    f->waiters = s->flush_waiters;
    s->flush_waiters = (struct notify_list){0};
    s->flushing = f;
    s->flush_again = false;
    s->flush_submitted = false;
    flush_submit(s);
}

void state_flush(struct state *s, void (*done)(void *arg), void *arg)
{
    if (done)
        notify_add(&s->flush_waiters, done, arg);
    if (s->flushing)
        s->flush_again = true;
    else
        flush_start(s);
}

bool state_flushing(const struct state *s)
{
    return s->flushing != NULL;
}

uint64_t state_dirty_bytes(const struct state *s)
{
    return s->delta.bytes + s->dirty_bytes;
}

void meta_put(struct state *s)
{
    const struct data_version *v[] = {&s->topics_version, &s->groups_version};
    uint8_t fields[4 + 2 * 24];
    struct wr w = wr_of(fields, sizeof fields);
    wr_le32(&w, s->next_uid);
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        wr_le64(&w, v[i]->state_version);
        wr_le64(&w, v[i]->timestamp_ms);
        wr_le64(&w, v[i]->counter);
    }
    ENSURE(!w.full);
    struct key key = key_meta();
    delta_put(&s->delta, &key, fields, (size_t)(w.p - fields));
}

/* ---- loads ---- */

static void load_run(struct job *job)
{
    struct load *l = (struct load *)job;
    if (l->here || atomic_load(&l->abandoned))
        return;
    l->data = buf_new(CHECKPOINT_BLOCK_BYTES);
    l->data->len = CHECKPOINT_BLOCK_BYTES;
    l->rc = l->checkpoint->read_block(l->checkpoint->impl, l->slot, l->data->data);
    if (l->rc == 0 && !block_valid(l->data->data, l->uid, l->number))
        l->rc = ERR_DAMAGED;
}

static void load_done(struct job *job)
{
    struct load *l = (struct load *)job;
    bool abandoned = atomic_load(&l->abandoned);
    if (!abandoned) {
        struct state *s = l->state;
        DL_DELETE(s->loads, l);
        s->load_count--;
        if (l->rc == 0 && l->data)
            block_cache_add(s->cache, l->slot, l->data, false);
    }
    buf_unref(l->data);
    void (*done)(void *arg, int err) = l->done;
    void *arg = l->arg;
    int rc = l->rc;
    free(l);
    if (!abandoned)
        done(arg, rc);
}

int state_load_rows(struct state *s, struct str topic, uint32_t queue_id, uint64_t offset,
                    void (*done)(void *arg, int err), void *arg)
{
    struct topic_rec *t;
    const struct queue *q = queue_find(s, topic, queue_id, &t);
    if (!q || offset >= q->max)
        return ERR_NOT_FOUND;
    if (s->load_count >= LOADS_MAX)
        return ERR_BUSY;
    struct load *l = mem_new(1, sizeof *l);
    l->job.run = load_run;
    l->job.done = load_done;
    l->state = s;
    l->checkpoint = s->checkpoint;
    l->uid = queue_uid(t->t.uid, queue_id);
    l->number = (uint32_t)(offset / ROWS_PER_BLOCK);
    l->here = l->number == q->max / ROWS_PER_BLOCK;
    if (!l->here) {
        l->slot = q->blocks[l->number].slot;
        l->here = block_cache_get(s->cache, l->slot) != NULL;
    }
    l->done = done;
    l->arg = arg;
    DL_APPEND(s->loads, l);
    s->load_count++;
    submit(s, &l->job);
    return 0;
}

void flush_abandon(struct state *s)
{
    if (s->flushing) {
        free(s->flushing->waiters.items);
        s->flushing->waiters = (struct notify_list){0};
        atomic_store(&s->flushing->abandoned, true);
        if (flush_waits_for_log(s)) { /* no worker has it */
            delta_release(&s->flushing->delta);
            free(s->flushing);
        }
    }
    struct load *l;
    DL_FOREACH(s->loads, l)
        atomic_store(&l->abandoned, true);
    free(s->flush_waiters.items);
}
