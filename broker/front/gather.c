/*
 * gather.c - see gather.h.
 *
 *   waiting (one row per group, topic, queue; newest value) --timer, or somebody waits--> proposal --> state
 *
 * One proposal at a time: while it is under way the next one fills. A row stays in the table until its
 * proposal is settled, so that a read always sees the newest value given. Who wants an answer waits at the
 * row and travels with it.
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
#define WAITERS_MAX       100000u
#define RETRY_MS          20u /* during a hand-over */
#define KEY_MAX           (GROUP_NAME_MAX + TOPIC_NAME_MAX + 8u)

struct waiter {
    STAILQ_ENTRY(waiter) link;
    struct reply_to reply;
};
STAILQ_HEAD(waiter_list, waiter);

struct row {
    UT_hash_handle hh;
    TAILQ_ENTRY(row) link; /* in `waiting`, when `queued` */
    struct waiter_list waiters;
    uint64_t offset;
    uint32_t queue_id;
    bool queued, flying; /* flying: a value of it is in the proposal under way */
    uint16_t group_len, topic_len;
    char names[]; /* queue id, group, NUL, topic, NUL: the key */
};

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
    uint32_t waiters; /* at all rows and in the proposal */
    bool flying, timer_soon;
    struct timer timer;
};

static size_t make_key(char *key, struct str group, struct str topic, uint32_t queue_id)
{
    memcpy(key, &queue_id, 4);
    if (group.len > 0)
        memcpy(key + 4, group.p, group.len);
    key[4 + group.len] = '\0';
    if (topic.len > 0)
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
    STAILQ_INIT(&row->waiters);
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
    if (!row->flying && !row->queued) {
        HASH_DEL(g->rows, row);
        free(row);
    }
}

/* `r`: the result when the entry was applied (err 0). */
static void answer(struct gather *g, struct waiter_list *list, int err, const struct state_result *r)
{
    struct waiter *w;

    while ((w = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        g->waiters--;
        if (err != 0)
            front_reply_failed(&w->reply, err);
        else if (r->code != 0)
            reply_code(&w->reply, r->code, "%s", r->remark);
        else
            reply_ok(&w->reply);
        free(w);
    }
}

/* When to propose next: at once when somebody waits for it. */
static void schedule(struct gather *g, bool soon)
{
    if (g->flying || g->timer_soon)
        return;
    g->timer_soon = soon;
    timer_start(&g->timer, soon ? 0 : (uint32_t)g->f->settings->offsets_gather_ms);
}

static void on_landed(struct front *f, void *ctx, int err, const struct dl_entry *e,
                      const struct state_result *r)
{
    struct flight *flight = ctx;
    struct gather *g = f->gather;

    (void)e;
    if (err == 0)
        metric_add(&f->counters.offsets_committed, flight->count);
    answer(g, &flight->waiters, err, r);
    for (uint32_t i = 0; i < flight->count; i++) {
        flight->rows[i]->flying = false;
        row_release(g, flight->rows[i]);
    }
    free(flight);
    g->flying = false;
    if (!TAILQ_EMPTY(&g->waiting))
        schedule(g, g->waiters > 0);
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
        row->queued = false;
        row->flying = true;
        STAILQ_CONCAT(&flight->waiters, &row->waiters);
        ledgermq__command__offset_commit__init(c);
        c->group = row_group(row);
        c->topic = row_topic(row);
        c->queue_id = row->queue_id;
        c->offset = row->offset;
        list[flight->count] = c;
        flight->rows[flight->count++] = row;
    }
    g->flying = true;
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
    if (g->flying || TAILQ_EMPTY(&g->waiting))
        return;
    if (gate_can_write(g->f))
        launch(g);
    else
        timer_start(&g->timer, RETRY_MS);
}

void gather_commit(struct gather *g, struct str group, struct str topic, uint32_t queue_id, uint64_t offset,
                   const struct reply_to *reply)
{
    char key[KEY_MAX];
    size_t key_len;
    struct row *row;
    bool wants_answer = reply != NULL && !reply->oneway;

    if (group.len > GROUP_NAME_MAX || topic.len > TOPIC_NAME_MAX || HASH_COUNT(g->rows) >= ROWS_MAX ||
        g->waiters >= WAITERS_MAX) {
        if (reply != NULL)
            reply_code(reply, RC_SYSTEM_BUSY, "names too long, or over %u offsets or %u answers are waiting",
                       ROWS_MAX, WAITERS_MAX);
        return;
    }
    row = find(g, group, topic, queue_id, key, &key_len);
    if (row == NULL)
        row = row_new(g, group, topic, queue_id, key, key_len);
    row->offset = offset;
    if (wants_answer) {
        struct waiter *w = calloc(1, sizeof(*w));

        ENSURE(w != NULL);
        w->reply = *reply;
        STAILQ_INSERT_TAIL(&row->waiters, w, link);
        g->waiters++;
    }
    if (!row->queued) {
        row->queued = true;
        TAILQ_INSERT_TAIL(&g->waiting, row, link);
        if (TAILQ_FIRST(&g->waiting) == row && !wants_answer)
            schedule(g, false);
    }
    if (wants_answer)
        schedule(g, true);
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

    while ((row = TAILQ_FIRST(&g->waiting)) != NULL) {
        TAILQ_REMOVE(&g->waiting, row, link);
        row->queued = false;
        answer(g, &row->waiters, ERR_NOT_LEADER, NULL);
        row_release(g, row);
    }
}

struct gather *gather_new(struct front *f)
{
    struct gather *g = calloc(1, sizeof(*g));

    ENSURE(g != NULL);
    g->f = f;
    TAILQ_INIT(&g->waiting);
    timer_init(&g->timer, f->loop, on_timer, g);
    return g;
}

void gather_free(struct gather *g)
{
    gather_on_not_serving(g);
    ENSURE(g->rows == NULL && !g->flying);
    timer_release(&g->timer);
    free(g);
}
