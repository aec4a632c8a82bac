/*
 * few.h - a whole group of cores in one test: their disks work at once, their clocks are one, and the test
 * says which link is cut, which message waits, and whose disk is lost.
 */
#ifndef TESTS_UNIT_DLCORE_FEW_H
#define TESTS_UNIT_DLCORE_FEW_H

#include "tests/unit/dlcore/one.h"

#define FEW_MAX     5u
#define FEW_BAG     4096u
#define FEW_LOG_MAX 256u

struct few_msg {
    struct dl_msg msg;
    dl_term_t terms[FEW_LOG_MAX]; /* of first..last */
    bool waits;                   /* until the test lets it go */
};

struct few {
    uint32_t count;
    uint64_t now_ms;
    struct dl_core *core[FEW_MAX + 1];
    struct dl_update up[FEW_MAX + 1];
    bool cut[FEW_MAX + 1][FEW_MAX + 1];
    bool paused[FEW_MAX + 1]; /* gets no ticks */
    /* What waits: messages of this type from the first to the second. */
    enum dl_msg_type late_type;
    dl_peer_t late_from, late_to;
    struct few_msg bag[FEW_BAG];
    uint32_t first, end;
    uint64_t seed;
};

static inline struct dl_core_view few_view(const struct few *f, dl_peer_t id)
{
    struct dl_core_view view;
    dl_core_view(f->core[id], &view);
    return view;
}

static inline void few_post(struct few *f, const struct dl_msg *msg)
{
    if (f->cut[msg->from][msg->to])
        return;
    ck_assert_uint_lt(f->end, FEW_BAG);
    struct few_msg *m = &f->bag[f->end++];
    *m = (struct few_msg){.msg = *msg};
    m->waits = msg->type == f->late_type && msg->from == f->late_from && msg->to == f->late_to && !msg->pre;
    if (msg->type == DL_MSG_PUSH_REQ && msg->push == DL_PUSH_APPEND)
        for (dl_index_t i = msg->first; i <= msg->last; i++)
            m->terms[i - msg->first] = dl_core_term_at(f->core[msg->from], i);
}

/* One event and what follows from it on this replica's own disk. */
static inline void few_step(struct few *f, dl_peer_t id, struct dl_event event)
{
    struct dl_update *up = &f->up[id];
    event.now_ms = f->now_ms;
    dl_core_step(f->core[id], &event, up);
    struct dl_update did = *up;
    for (uint32_t i = 0; i < did.msg_count; i++)
        few_post(f, &did.msgs[i]);
    for (uint32_t slot = 0; slot < f->count; slot++) {
        struct dl_msg msg;
        while ((did.push_mask >> slot & 1) && dl_core_push_begin(f->core[id], slot + 1, f->now_ms, &msg)) {
            few_post(f, &msg);
            dl_core_push_done(f->core[id], slot + 1, msg.last, 1);
        }
    }
    if (did.hard_changed)
        few_step(f, id, (struct dl_event){.type = DL_EV_HARD_PERSISTED, .hard = did.hard});
    if (did.append_first)
        few_step(f, id,
                 (struct dl_event){.type = DL_EV_LOG_PERSISTED,
                                   .index = did.append_last,
                                   .term = dl_core_term_at(f->core[id], did.append_last)});
}

static inline void few_deliver(struct few *f)
{
    for (; f->first < f->end; f->first++) {
        struct few_msg *m = &f->bag[f->first];
        if (!m->waits && m->msg.type != 0)
            few_step(f, m->msg.to,
                     (struct dl_event){.type = DL_EV_MESSAGE, .msg = &m->msg, .terms = m->terms});
    }
}

/* What waited goes now. */
static inline void few_let_go(struct few *f)
{
    uint32_t end = f->end;
    f->late_type = 0;
    for (uint32_t i = 0; i < end; i++) {
        struct few_msg *m = &f->bag[i];
        if (!m->waits)
            continue;
        m->waits = false;
        few_step(f, m->msg.to, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &m->msg, .terms = m->terms});
    }
    few_deliver(f);
}

static inline void few_run(struct few *f, uint64_t ms)
{
    for (; ms > 0; ms--) {
        f->now_ms++;
        for (dl_peer_t id = 1; id <= f->count; id++)
            if (f->core[id] != NULL && !f->paused[id] && f->now_ms >= f->up[id].wake_ms)
                few_step(f, id, (struct dl_event){.type = DL_EV_TICK});
        few_deliver(f);
        if (f->end > FEW_BAG / 2) { /* forget what was delivered; nothing waits then, or little */
            uint32_t kept = 0;
            for (uint32_t i = 0; i < f->end; i++)
                if (f->bag[i].waits)
                    f->bag[kept++] = f->bag[i];
            f->first = f->end = kept;
        }
    }
}

/* A process with a new, or lost, disk. */
static inline void few_start_blank(struct few *f, dl_peer_t id)
{
    struct one_opts opts = {.voters = f->count, .self = id};
    struct dl_core_opts core = one_core_opts(&opts);
    struct dl_core_start start = {.begin_index = 1, .now_ms = f->now_ms};
    core.seed = ++f->seed;
    if (f->core[id] != NULL)
        dl_core_free(f->core[id]);
    ck_assert_int_eq(dl_core_new(&core, &start, &f->core[id]), 0);
    for (uint32_t i = 0; i < f->end; i++) /* its connections ended */
        if (f->bag[i].msg.to == id || f->bag[i].msg.from == id)
            f->bag[i].msg.type = 0, f->bag[i].waits = false;
    for (dl_peer_t other = 1; other <= f->count; other++)
        if (other != id && f->core[other] != NULL)
            few_step(f, other, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = id});
    few_step(f, id, (struct dl_event){.type = DL_EV_TICK});
}

static inline void few_cut(struct few *f, dl_peer_t a, dl_peer_t b, bool cut)
{
    f->cut[a][b] = f->cut[b][a] = cut;
}

static inline void few_submit(struct few *f, dl_peer_t id)
{
    few_step(f, id, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    ck_assert(!f->up[id].refused);
    few_deliver(f);
}

static inline void few_init(struct few *f, uint32_t count, uint64_t seed)
{
    memset(f, 0, sizeof(*f));
    f->count = count;
    f->seed = seed;
    f->now_ms = 10000;
    for (dl_peer_t id = 1; id <= count; id++)
        few_start_blank(f, id);
    few_deliver(f);
}

static inline dl_peer_t few_leader(const struct few *f)
{
    dl_peer_t leader = DL_NOBODY;
    for (dl_peer_t id = 1; id <= f->count; id++)
        if (few_view(f, id).role == DL_LEADER &&
            (leader == DL_NOBODY || few_view(f, id).term > few_view(f, leader).term))
            leader = id;
    return leader;
}

static inline void few_free(struct few *f)
{
    for (dl_peer_t id = 1; id <= f->count; id++)
        dl_core_free(f->core[id]);
}

#endif
