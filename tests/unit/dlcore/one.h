/*
 * one.h - one replica of the core under test; the test plays the disk, the clock and the other replicas.
 *
 * Replica 1 of `voters` voters and `learners` learners (the highest numbers), election time-out
 * 300..600 ms, heartbeat 50 ms, clock at 10000 ms.
 */
#ifndef TESTS_UNIT_DLCORE_ONE_H
#define TESTS_UNIT_DLCORE_ONE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dledger/core/core.h"

#define ONE_TERMS_MAX 64u

struct one {
    struct dl_core *core;
    struct dl_update up; /* of the newest step */
    uint64_t now_ms;
};

struct one_opts {
    uint32_t voters, learners; /* 0 voters: 3 */
    dl_peer_t self, preferred; /* 0 self: 1 */
    struct dl_hard hard;
    dl_index_t commit;
    const dl_term_t *terms; /* of the entries from begin on */
    uint32_t count;
    dl_index_t begin; /* 0: 1 */
    dl_term_t begin_prev_term;
    uint32_t window_entries, window_bytes; /* 0: 100, 1 MiB */
    bool blank;                            /* it has not joined */
};

static inline struct dl_core_opts one_core_opts(const struct one_opts *opts)
{
    struct dl_core_opts core = {
        .self = opts->self > 0 ? opts->self : 1,
        .preferred = opts->preferred,
        .seed = 7,
        .heartbeat_ms = 50,
        .election_min_ms = 300,
        .election_max_ms = 600,
        .window_entries = opts->window_entries > 0 ? opts->window_entries : 100,
        .window_bytes = opts->window_bytes > 0 ? opts->window_bytes : 1024 * 1024,
    };
    uint32_t voters = opts->voters > 0 ? opts->voters : 3;
    core.members.count = voters + opts->learners;
    for (uint32_t i = 0; i < core.members.count; i++) {
        core.members.id[i] = i + 1;
        core.members.voter[i] = i < voters;
    }
    return core;
}

static inline struct one one_new(struct one_opts opts)
{
    struct one o = {.now_ms = 10000};
    struct dl_term_run runs[ONE_TERMS_MAX];
    struct dl_core_opts core = one_core_opts(&opts);
    struct dl_core_start start = {
        .hard = opts.hard,
        .begin_index = opts.begin > 0 ? opts.begin : 1,
        .begin_prev_term = opts.begin_prev_term,
        .commit = opts.commit,
        .runs = runs,
        .now_ms = o.now_ms,
    };
    start.hard.joined = !opts.blank; /* whatever .hard says */
    start.end_index = start.begin_index - 1 + opts.count;
    for (uint32_t i = 0; i < opts.count; i++)
        if (i == 0 || opts.terms[i] != opts.terms[i - 1])
            runs[start.run_count++] =
                (struct dl_term_run){.first = start.begin_index + i, .term = opts.terms[i]};
    ck_assert_int_eq(dl_core_new(&core, &start, &o.core), 0);
    return o;
}

static inline void one_free(struct one *o)
{
    dl_core_free(o->core);
}

static inline void one_step(struct one *o, struct dl_event event)
{
    event.now_ms = o->now_ms;
    dl_core_step(o->core, &event, &o->up);
}

static inline void one_tick(struct one *o, uint64_t ms)
{
    o->now_ms += ms;
    one_step(o, (struct dl_event){.type = DL_EV_TICK});
}

static inline void one_hear(struct one *o, struct dl_msg msg)
{
    if (msg.to == DL_NOBODY)
        msg.to = 1;
    one_step(o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &msg});
}

/* A push of the entries with these terms upon prev. */
static inline void one_push(struct one *o, dl_peer_t from, dl_term_t term, dl_index_t prev,
                            dl_term_t prev_term, dl_index_t commit, uint32_t count, const dl_term_t *terms)
{
    struct dl_msg msg = {
        .type = DL_MSG_PUSH_REQ,
        .from = from,
        .to = 1,
        .term = term,
        .push = count > 0 ? DL_PUSH_APPEND : DL_PUSH_COMMIT,
        .prev_index = prev,
        .prev_term = prev_term,
        .commit = commit,
        .sent_ms = o->now_ms,
        .first = count > 0 ? prev + 1 : 0,
        .last = count > 0 ? prev + count : 0,
    };
    one_step(o, (struct dl_event){.type = DL_EV_MESSAGE, .msg = &msg, .terms = terms});
}

static inline struct dl_core_view one_view(const struct one *o)
{
    struct dl_core_view view;
    dl_core_view(o->core, &view);
    return view;
}

static inline void one_hard_durable(struct one *o)
{
    one_step(o, (struct dl_event){.type = DL_EV_HARD_PERSISTED, .hard = o->up.hard});
}

static inline void one_log_durable(struct one *o, dl_index_t index)
{
    one_step(o, (struct dl_event){
                    .type = DL_EV_LOG_PERSISTED, .index = index, .term = dl_core_term_at(o->core, index)});
}

/* The only message of this type to this peer in the newest update; NULL if there is none. */
static inline const struct dl_msg *one_said(const struct one *o, enum dl_msg_type type, dl_peer_t to)
{
    const struct dl_msg *found = NULL;
    for (uint32_t i = 0; i < o->up.msg_count; i++) {
        if (o->up.msgs[i].type != type || o->up.msgs[i].to != to)
            continue;
        ck_assert_ptr_null(found);
        found = &o->up.msgs[i];
    }
    return found;
}

static inline void one_vote(struct one *o, dl_peer_t from, bool pre)
{
    one_hear(o, (struct dl_msg){.type = DL_MSG_VOTE_RSP,
                                .from = from,
                                .term = one_view(o).term + pre,
                                .pre = pre,
                                .granted = true});
}

static inline void one_stand(struct one *o)
{
    one_tick(o, 601);
    ck_assert_int_eq(o->up.role, DL_PRECANDIDATE);
}

/* Elected by replica 2 (and 3, if that is needed). */
static inline void one_lead(struct one *o, uint32_t voters)
{
    one_tick(o, 601);
    for (dl_peer_t from = 2; from <= voters / 2 + 1; from++)
        one_vote(o, from, true);
    ck_assert_int_eq(o->up.role, DL_CANDIDATE);
    one_hard_durable(o);
    for (dl_peer_t from = 2; from <= voters / 2 + 1; from++)
        one_vote(o, from, false);
    ck_assert_int_eq(o->up.role, DL_LEADER);
}

/* The peer answers a push in our term: it has persisted up to match, and has everything up to last. */
static inline void one_ack(struct one *o, dl_peer_t from, enum dl_push push, uint64_t sent_ms,
                           dl_index_t match, dl_index_t last)
{
    one_hear(o, (struct dl_msg){.type = DL_MSG_PUSH_RSP,
                                .joined = true,
                                .from = from,
                                .term = one_view(o).term,
                                .push = push,
                                .sent_ms = sent_ms,
                                .success = true,
                                .match = match,
                                .last_index = last});
}

static inline void one_refuse(struct one *o, dl_peer_t from, enum dl_push push, uint64_t sent_ms,
                              dl_index_t hint_index, dl_term_t hint_term)
{
    one_hear(o, (struct dl_msg){.type = DL_MSG_PUSH_RSP,
                                .joined = true,
                                .from = from,
                                .term = one_view(o).term,
                                .push = push,
                                .sent_ms = sent_ms,
                                .hint_index = hint_index,
                                .hint_term = hint_term});
}

/* Take everything the push loop gives for `peer`, `each` entries at a time; the number of pushes. */
static inline uint32_t one_pushes(struct one *o, dl_peer_t peer, uint32_t each, uint32_t bytes)
{
    struct dl_msg msg;
    uint32_t pushes = 0;
    for (; dl_core_push_begin(o->core, peer, o->now_ms, &msg); pushes++) {
        dl_index_t last = msg.first + each - 1 < msg.last ? msg.first + each - 1 : msg.last;
        dl_core_push_done(o->core, peer, last, bytes);
    }
    return pushes;
}

static inline struct dl_peer_view one_peer(const struct one *o, dl_peer_t peer)
{
    struct dl_peer_view view;
    ck_assert(dl_core_peer_view(o->core, peer, &view));
    return view;
}

static inline int one_main(const char *name, const TTest *const tests[], size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* main() of a test program: all its tests in a list. */
#define ONE_MAIN(name, ...)                                             \
    int main(void)                                                      \
    {                                                                   \
        const TTest *const tests[] = {__VA_ARGS__};                     \
        return one_main(name, tests, sizeof(tests) / sizeof(tests[0])); \
    }

#endif
