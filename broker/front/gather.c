/*
 * gather.c - see gather.h.
 *
 *   waiting (hash: one row per group, topic, queue; newest value) --timer or somebody waits--> proposed (value kept until applied) --> state
 *
 * A row stays in the table until its proposal is applied, so that a read always sees the newest value given.
 */
#include "broker/front/gather.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "common/clock.h"
#include "common/codes.h"
#include "proto/command.pb-c.h"

#define COMMITS_PER_ENTRY 1024u
#define ROWS_MAX          1000000u
#define KEY_MAX           (GROUP_NAME_MAX + TOPIC_NAME_MAX + 8u)

struct row {
    UT_hash_handle hh;
    TAILQ_ENTRY(row) link; /* in `waiting`, when `queued` */
    uint64_t offset;
    uint32_t queue_id;
    uint32_t under_way; /* proposals with a value of this row */
    bool queued;
    uint16_t group_len, topic_len;
    char names[]; /* group, NUL, topic, NUL; with queue_id the key */
};

struct waiter {
    STAILQ_ENTRY(waiter) link;
    struct reply_to reply;
};
STAILQ_HEAD(waiter_list, waiter);

/* One proposal: the rows in it and who waits for it. */
struct flight {
    struct waiter_list waiters;
    uint32_t count;
    struct row *rows[COMMITS_PER_ENTRY];
};

struct gather {
    struct front *f;
    struct row *rows;
    TAILQ_HEAD(, row) waiting;
    uint32_t waiting_count;
    struct waiter_list waiters;
    struct timer timer;
    bool timer_soon;
};

static size_t make_key(char *key, struct str group, struct str topic, uint32_t queue_id)
{
    memcpy(key, &queue_id, 4);
    memcpy(key + 4, group.p, group.len);
    key[4 + group.len] = '\0';
    memcpy(key + 5 + group.len, topic.p, topic.len);
    key[5 + group.len + topic.len] = '\0';
    return 6 + group.len + topic.len;
}

static struct row *find(const struct gather *g, struct str group, struct str topic, uint32_t queue_id,
                        char *key, size_t *key_len)
{
    struct row *row;

    *key_len = make_key(key, group, topic, queue_id);
    HASH_FIND(hh, g->rows, key, *key_len, row);
    return row;
}

static struct row *row_new(struct gather *g, struct str group, struct str topic, uint32_t queue_id,
                           const char *key, size_t key_len)
{
    struct row *row = calloc(1, sizeof(*row) + key_len);

    ENSURE(row != NULL);
    row->queue_id = queue_id;
    row->group_len = (uint16_t)group.len;
    row->topic_len = (uint16_t)topic.len;
    memcpy(row->names, key, key_len);
    HASH_ADD_KEYPTR(hh, g->rows, row->names, key_len, row);
    return row;
}

static char *row_group(struct row *row)
{
    return row->names + 4;
}

static char *row_topic(struct row *row)
{
    return row->names + 5 + row->group_len;
}

static void row_release(struct gather *g, struct row *row)
{
    if (row->under_way == 0 && !row->queued) {
        HASH_DEL(g->rows, row);
        free(row);
    }
}

static void answer(struct waiter_list *list, int err)
{
    struct waiter *w;

    while ((w = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        if (err == 0)
            reply_ok(&w->reply);
        else
            front_reply_failed(&w->reply, err);
        free(w);
    }
}

static void on_landed(struct front *f, void *ctx, int err, const struct dl_entry *e,
                      const struct state_result *r)
{
    struct flight *flight = ctx;

    (void)e;
    (void)r;
    if (err == 0)
        metric_add(&f->counters.offsets_committed, flight->count);
    answer(&flight->waiters, err);
    for (uint32_t i = 0; i < flight->count; i++) {
        flight->rows[i]->under_way--;
        row_release(f->gather, flight->rows[i]);
    }
    free(flight);
}

static void launch(struct gather *g)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    Ledgermq__Command__OffsetsCommit all = LEDGERMQ__COMMAND__OFFSETS_COMMIT__INIT;
    Ledgermq__Command__OffsetCommit *one = calloc(COMMITS_PER_ENTRY, sizeof(*one));
    Ledgermq__Command__OffsetCommit **list = calloc(COMMITS_PER_ENTRY, sizeof(*list));
    struct row *row;

    ENSURE(flight != NULL && one != NULL && list != NULL);
    STAILQ_INIT(&flight->waiters);
    while ((row = TAILQ_FIRST(&g->waiting)) != NULL && flight->count < COMMITS_PER_ENTRY) {
        Ledgermq__Command__OffsetCommit *c = &one[flight->count];

        TAILQ_REMOVE(&g->waiting, row, link);
        g->waiting_count--;
        row->queued = false;
        row->under_way++;
        ledgermq__command__offset_commit__init(c);
        c->group = row_group(row);
        c->topic = row_topic(row);
        c->queue_id = row->queue_id;
        c->offset = row->offset;
        list[flight->count] = c;
        flight->rows[flight->count++] = row;
    }
    if (TAILQ_EMPTY(&g->waiting))
        STAILQ_CONCAT(&flight->waiters, &g->waiters); /* the last part of what they wait for */
    all.commits = list;
    all.n_commits = flight->count;
    all.now_ms = clock_wall_ms();
    front_propose_message(g->f, CMD_OFFSETS_COMMIT, &all.base, on_landed, flight);
    free(list);
    free(one);
}

static void on_timer(void *arg)
{
    struct gather *g = arg;

    g->timer_soon = false;
    while (!TAILQ_EMPTY(&g->waiting))
        launch(g);
}

void gather_commit(struct gather *g, struct str group, struct str topic, uint32_t queue_id, uint64_t offset,
                   const struct reply_to *reply)
{
    char key[KEY_MAX];
    size_t key_len;
    struct row *row;
    bool was_idle = TAILQ_EMPTY(&g->waiting);
    bool wants_answer = reply != NULL && !reply->oneway;

    if (group.len > GROUP_NAME_MAX || topic.len > TOPIC_NAME_MAX || HASH_COUNT(g->rows) >= ROWS_MAX) {
        if (reply != NULL)
            reply_code(reply, RC_SYSTEM_BUSY, "names too long, or over %u offsets are waiting", ROWS_MAX);
        return;
    }
    row = find(g, group, topic, queue_id, key, &key_len);
    if (row == NULL)
        row = row_new(g, group, topic, queue_id, key, key_len);
    row->offset = offset;
    if (!row->queued) {
        row->queued = true;
        TAILQ_INSERT_TAIL(&g->waiting, row, link);
        g->waiting_count++;
    }
    if (wants_answer) {
        struct waiter *w = calloc(1, sizeof(*w));

        ENSURE(w != NULL);
        w->reply = *reply;
        STAILQ_INSERT_TAIL(&g->waiters, w, link);
    }
    if (wants_answer && !g->timer_soon) {
        g->timer_soon = true;
        timer_start(&g->timer, 0);
    } else if (was_idle && !g->timer_soon) {
        timer_start(&g->timer, (uint32_t)g->f->settings->offsets_gather_ms);
    }
}

int gather_offset(const struct gather *g, struct str group, struct str topic, uint32_t queue_id,
                  uint64_t *offset)
{
    char key[KEY_MAX];
    size_t key_len;
    const struct row *row;

    if (group.len > GROUP_NAME_MAX || topic.len > TOPIC_NAME_MAX)
        return ERR_NOT_FOUND;
    row = find(g, group, topic, queue_id, key, &key_len);
    if (row == NULL)
        return state_offset(g->f->state, group, topic, queue_id, offset);
    *offset = row->offset;
    return 0;
}

void gather_on_not_serving(struct gather *g)
{
    struct row *row;

    answer(&g->waiters, ERR_NOT_LEADER);
    while ((row = TAILQ_FIRST(&g->waiting)) != NULL) {
        TAILQ_REMOVE(&g->waiting, row, link);
        g->waiting_count--;
        row->queued = false;
        row_release(g, row);
    }
}

struct gather *gather_new(struct front *f)
{
    struct gather *g = calloc(1, sizeof(*g));

    ENSURE(g != NULL);
    g->f = f;
    TAILQ_INIT(&g->waiting);
    STAILQ_INIT(&g->waiters);
    timer_init(&g->timer, f->loop, on_timer, g);
    return g;
}

void gather_free(struct gather *g)
{
    struct row *row, *next;

    answer(&g->waiters, ERR_NOT_LEADER);
    HASH_ITER(hh, g->rows, row, next) {
        HASH_DEL(g->rows, row);
        free(row);
    }
    timer_release(&g->timer);
    free(g);
}
