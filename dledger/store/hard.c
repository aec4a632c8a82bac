/*
 * hard.c - saving term and vote on the meta worker, so that votes never queue behind data.
 *
 * The newest wish stands in `hard_wanted`; the save job takes whatever stands there when it begins, so later
 * calls overtake. When nothing newer waits, the mirror job gives the other slot the same content (meta.h says
 * why).
 */
#include <stddef.h>

#include "dledger/store/internal.h"

static void hard_start(struct dl_store *s)
{
    pthread_mutex_lock(&s->mutex);
    bool failed = s->failed;
    pthread_mutex_unlock(&s->mutex);
    if (s->hard_busy || s->closed || failed)
        return;
    s->hard_busy = store_submit(s, s->opts.meta, &s->hard_job) == 0;
    ENSURE(s->hard_busy); /* at most two of our jobs wait there */
}

static void hard_run(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, hard_job));
    if (!store_enter(s))
        return;
    pthread_mutex_lock(&s->mutex);
    struct hard_wish wish = s->hard_wanted;
    pthread_mutex_unlock(&s->mutex);
    int rc = meta_save(&s->meta, wish.hard, wish.commit, wish.commit_end);
    if (rc != 0)
        store_fail(s, META_PATH, "write and fdatasync", rc);
    else
        s->hard_written = wish;
    store_leave(s);
}

static void hard_done(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, hard_job));
    struct hard_wish written = s->hard_written;
    s->hard_busy = false;
    if (!s->closed && written.number > s->hard_reported) {
        s->hard_reported = written.number;
        s->opts.on_hard(s->opts.arg, written.hard);
    }
    if (!s->closed) {
        if (s->hard_wanted.number > written.number)
            hard_start(s);
        else if (!s->mirror_busy)
            s->mirror_busy = store_submit(s, s->opts.meta, &s->mirror_job) == 0;
    }
    store_unref(s);
}

static void mirror_run(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, mirror_job));
    if (!store_enter(s))
        return;
    pthread_mutex_lock(&s->mutex);
    bool newer = s->hard_wanted.number > s->hard_written.number;
    pthread_mutex_unlock(&s->mutex);
    int rc = newer ? 0 : meta_mirror(&s->meta);
    if (rc != 0)
        store_fail(s, META_PATH, "write and fdatasync", rc);
    store_leave(s);
}

static void mirror_done(struct job *job)
{
    struct dl_store *s = (struct dl_store *)((char *)job - offsetof(struct dl_store, mirror_job));
    s->mirror_busy = false;
    store_unref(s);
}

/* Change the wish (only the loop does), keeping what is not given. */
static void wish(struct dl_store *s, const struct dl_hard *hard)
{
    pthread_mutex_lock(&s->mutex);
    if (hard) {
        s->hard_wanted.hard = *hard;
        s->hard_wanted.number++;
    }
    s->hard_wanted.commit = s->hint_commit;
    s->hard_wanted.commit_end = s->hint_end;
    pthread_mutex_unlock(&s->mutex);
    s->hint_saved_end = s->hint_end;
    hard_start(s);
}

void dl_store_save_hard(struct dl_store *s, struct dl_hard hard)
{
    wish(s, &hard);
}

void hard_hint(struct dl_store *s)
{
    const struct dl_entry *e;
    dl_index_t known = s->commit < s->persisted ? s->commit : s->persisted;
    if (known > s->hint_commit && (e = cache_get(&s->cache, known))) {
        s->hint_commit = known;
        s->hint_end = e->pos + e->len;
    }
    if (s->hint_end >= s->hint_saved_end + STORE_HINT_BYTES)
        wish(s, NULL);
}

void hard_init(struct dl_store *s)
{
    s->hard_job = (struct job){.run = hard_run, .done = hard_done};
    s->mirror_job = (struct job){.run = mirror_run, .done = mirror_done};
}
