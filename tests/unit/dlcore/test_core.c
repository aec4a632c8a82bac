/* test_core.c - the door: what it refuses to start with, and that no event whatever upsets it. */
#include "common/err.h"
#include "tests/unit/dlcore/one.h"

static const dl_term_t ones[] = {1, 1, 1, 1};
static const struct dl_term_run one_run[] = {{1, 1}};

START_TEST(contradictory_options_are_refused)
{
    const struct dl_core_opts good = one_core_opts(&(struct one_opts){.learners = 1});
    const struct dl_core_start start = {.begin_index = 1};
    struct dl_core_opts cases[16];
    size_t n = 0;
#define BAD(field, value) \
    cases[n] = good;      \
    cases[n++].field = value
    BAD(self, 0);
    BAD(self, 9);
    BAD(members.count, 0);
    BAD(members.count, DL_PEERS_MAX + 1);
    BAD(members.id[1], 1);
    BAD(preferred, 9);
    BAD(preferred, 4); /* the learner */
    BAD(heartbeat_ms, 0);
    BAD(heartbeat_ms, 151);
    BAD(election_max_ms, 300);
    BAD(window_entries, 0);
    BAD(window_bytes, 0);
#undef BAD
    for (size_t i = 0; i < n; i++) {
        struct dl_core *core = NULL;
        ck_assert_msg(dl_core_new(&cases[i], &start, &core) == ERR_INVALID, "%zu", i);
        ck_assert_ptr_null(core);
    }
}
END_TEST

START_TEST(contradictory_recoveries_are_refused)
{
    const struct dl_core_opts opts = one_core_opts(&(struct one_opts){.voters = 3});
    const struct dl_core_start good = {
        .hard = {1, 0, true}, .begin_index = 1, .end_index = 4, .commit = 4, .runs = one_run, .run_count = 1};
    struct dl_core_start cases[16];
    struct dl_core *core = NULL;
    size_t n = 0;
    ck_assert_int_eq(dl_core_new(&opts, &good, &core), 0);
    dl_core_free(core);
    dl_core_free(NULL);
    core = NULL;
#define BAD(field, value) \
    cases[n] = good;      \
    cases[n++].field = value
    BAD(begin_index, 0);
    BAD(begin_index, 6);
    BAD(begin_prev_term, 1);
    BAD(commit, 5);
    BAD(run_count, 0);
    BAD(end_index, 0);
    BAD(end_index, UINT64_MAX);
    BAD(hard.term, UINT64_MAX);
#undef BAD
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(dl_core_new(&opts, &cases[i], &core) == ERR_INVALID, "%zu", i);
        ck_assert_ptr_null(core);
    }
}
END_TEST

START_TEST(a_log_newer_than_the_term_brings_its_term_back)
{
    const dl_term_t terms[] = {1, 5};
    struct one o = one_new((struct one_opts){.hard = {3, 2, true}, .terms = terms, .count = 2});
    one_tick(&o, 0);
    ck_assert(o.up.hard_changed);
    ck_assert_uint_eq(o.up.hard.term, 5);
    ck_assert_uint_eq(o.up.hard.vote, DL_NOBODY);
    one_tick(&o, 0);
    ck_assert(!o.up.hard_changed);
    one_free(&o);
}
END_TEST

START_TEST(submits)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 1});
    ck_assert(o.up.refused);
    one_lead(&o, 3);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = 0});
    ck_assert(o.up.refused);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = DL_SUBMIT_MAX + 1});
    ck_assert(o.up.refused);
    one_step(&o, (struct dl_event){.type = DL_EV_SUBMIT, .count = DL_SUBMIT_MAX});
    ck_assert(!o.up.refused && !o.up.append_noop);
    ck_assert_uint_eq(o.up.append_first, 2);
    ck_assert_uint_eq(o.up.append_last, DL_SUBMIT_MAX + 1);
    ck_assert_uint_eq(o.up.append_term, 1);
    one_free(&o);
}
END_TEST

START_TEST(time_never_runs_backwards)
{
    struct one o = one_new((struct one_opts){.voters = 3});
    one_stand(&o);
    uint64_t wake_ms = o.up.wake_ms;
    o.now_ms = 5;
    one_tick(&o, 0);
    ck_assert_uint_eq(o.up.wake_ms, wake_ms);
    one_free(&o);
}
END_TEST

START_TEST(views)
{
    struct one o =
        one_new((struct one_opts){.hard = {2, 3, true}, .terms = ones, .count = 4, .commit = 2, .begin = 1});
    struct dl_core_view v = one_view(&o);
    struct dl_peer_view p;
    ck_assert_uint_eq(v.begin, 1);
    ck_assert_uint_eq(v.last, 4);
    ck_assert_uint_eq(v.persisted, 4);
    ck_assert_uint_eq(v.commit, 2);
    ck_assert_uint_eq(v.last_term, 1);
    ck_assert_uint_eq(v.term_start, 0);
    ck_assert_uint_eq(v.vote, 3);
    ck_assert(!dl_core_peer_view(o.core, 2, &p));
    one_lead(&o, 3);
    ck_assert(!dl_core_peer_view(o.core, 9, &p));
    ck_assert(dl_core_peer_view(o.core, 1, &p));
    ck_assert_uint_eq(p.match, 4);
    dl_core_trim(o.core, 2);
    ck_assert_uint_eq(dl_core_term_at(o.core, 1), 0);
    ck_assert_uint_eq(dl_core_term_at(o.core, 2), 1);
    ck_assert_uint_eq(one_view(&o).begin, 3);
    one_free(&o);
}
END_TEST

/* ---- Malice ------------------------------------------------------------------------------------------- */

static uint32_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* Near the state of the replica mostly, out of all bounds sometimes. */
static uint64_t number_near(uint64_t value)
{
    uint64_t dice = draw(40);
    if (dice == 0)
        return UINT64_MAX - draw(3);
    if (dice == 1)
        return draw(UINT32_MAX);
    uint64_t moved = value + draw(5);
    return moved > 2 ? moved - 2 : moved;
}

static struct dl_msg random_message(const struct one *o)
{
    struct dl_core_view v = one_view(o);
    struct dl_msg msg = {
        .type = draw(2) == 0 ? DL_MSG_PUSH_REQ : (enum dl_msg_type)draw(7),
        .from = draw(2) == 0 && v.leader > 1 ? v.leader : (dl_peer_t)draw(6),
        .to = draw(50) == 0 ? (dl_peer_t)draw(6) : 1,
        .term = draw(100) == 0 ? number_near(v.term) : v.term + (draw(8) == 0) - (draw(8) == 0 && v.term > 0),
        .pre = draw(2) == 0,
        .transfer = draw(4) == 0,
        .granted = draw(2) == 0,
        .last_index = number_near(v.last),
        .last_term = number_near(v.last_term),
        .push = draw(2) == 0 ? DL_PUSH_APPEND : (enum dl_push)draw(5),
        .prev_index = number_near(draw(2) == 0 ? v.last : v.commit),
        .commit = number_near(v.commit),
        .sent_ms = draw(3) == 0 ? number_near(o->now_ms) : o->now_ms,
        .success = draw(2) == 0,
        .hint_index = number_near(v.last),
        .hint_term = number_near(v.last_term),
    };
    msg.match = draw(2) == 0 ? msg.last_index : number_near(v.commit);
    msg.prev_term = draw(3) == 0 ? number_near(v.term) : dl_core_term_at(o->core, msg.prev_index);
    msg.first = draw(20) == 0 ? number_near(v.last) : msg.prev_index + 1;
    msg.last = msg.first + draw(4);
    return msg;
}

static void random_event(struct one *o)
{
    struct dl_core_view v = one_view(o);
    dl_term_t terms[8];
    struct dl_msg msg = random_message(o);
    struct dl_event event = {
        .type = draw(3) != 0 ? DL_EV_MESSAGE : (enum dl_event_type)(draw(9) + 1),
        .msg = &msg,
        .terms = draw(20) == 0 ? NULL : terms,
        .count = (uint32_t)draw(4),
        .index = draw(2) == 0 ? v.last : number_near(v.last),
        .peer = (dl_peer_t)draw(6),
    };
    for (int i = 0; i < 8; i++)
        terms[i] = draw(30) == 0 ? number_near(v.term)
                   : i > 0       ? terms[i - 1] + (draw(9) == 0)
                                 : msg.prev_term + draw(2);
    if (event.type == DL_EV_MESSAGE && msg.last - msg.first >= 8)
        event.terms = NULL; /* the host's part of the contract: there are as many terms as entries */
    event.term = draw(5) == 0 ? number_near(v.term) : dl_core_term_at(o->core, event.index);
    event.hard = (struct dl_hard){v.term, v.vote, v.joined};
    o->now_ms += draw(20) == 0 ? draw(400) : draw(10);
    one_step(o, event);
}

/* The core checks itself after each step; here only that it gets there, and that it gets around. */
START_TEST(no_message_upsets_it)
{
    uint32_t led = 0, followed = 0;
    for (random_state = 1; random_state < 60; random_state++) {
        uint32_t seed = random_state;
        struct one o = one_new((struct one_opts){.voters = 1 + seed % 4,
                                                 .learners = seed % 2,
                                                 .preferred = 1,
                                                 .hard = {1, DL_NOBODY, true},
                                                 .terms = ones,
                                                 .count = 4,
                                                 .window_entries = 5,
                                                 .window_bytes = 50});
        for (int i = 0; i < 4000; i++) {
            random_event(&o);
            ck_assert_uint_le(o.up.msg_count, DL_UPDATE_MSGS_MAX);
            if (o.up.role == DL_LEADER && o.up.push_mask != 0)
                one_pushes(&o, (dl_peer_t)draw(5) + 1, 2, 20);
            led += o.up.role == DL_LEADER;
            followed += o.up.role == DL_FOLLOWER && o.up.append_first != 0;
        }
        one_free(&o);
        random_state = seed;
    }
    ck_assert_uint_gt(led, 1000);
    ck_assert_uint_gt(followed, 1000);
}
END_TEST

ONE_MAIN("core", contradictory_options_are_refused, contradictory_recoveries_are_refused,
         a_log_newer_than_the_term_brings_its_term_back, submits, time_never_runs_backwards, views,
         no_message_upsets_it)
