/*
 * test_core_random.c - random histories of small groups, a fixed list of seeds.
 *
 * Each run: a while of crashes, cuts, losses, repetitions, reordering, slow disks, hand-overs and resets,
 * with group.c's safety checks on at every step; then everything is healed and progress is demanded. SEED=n
 * COUNT=n in the environment run others.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/scenario/group.h"

#define STEPS   3000u
#define KINDS   7u /* of things that can happen */
#define SEEDS   100u
#define HEAL_MS 6000u /* ten of the longest election time-outs */

struct chaos {
    void (*happen[KINDS])(struct chaos *c);
    uint32_t weight[KINDS], weights;
    uint32_t pass_max_ms;
    struct group *group;
    uint64_t random;
    uint32_t size;
    bool false_resets;
    bool in_order;    /* links keep their order and lose nothing while up */
    uint32_t elected; /* distinct leaderships seen, so that a run that does nothing is noticed */
    dl_term_t last_term;
};

static uint64_t draw(struct chaos *c, uint64_t below)
{
    uint64_t x = c->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    c->random = x;
    return (x >> 11) % below;
}

static dl_peer_t any_peer(struct chaos *c)
{
    return (dl_peer_t)draw(c, c->size) + 1;
}

/* ---- What can happen ---- */

static void pass_time(struct chaos *c)
{
    group_advance(c->group, draw(c, c->pass_max_ms));
    for (dl_peer_t p = 1; p <= c->size; p++)
        if (group_is_up(c->group, p) && group_wake_ms(c->group, p) <= group_now(c->group) && draw(c, 4) != 0)
            group_tick(c->group, p);
}

static void move_packets(struct chaos *c)
{
    for (uint64_t n = draw(c, 12); n > 0 && group_packets(c->group) > 0; n--) {
        uint32_t number = c->in_order ? 0 : (uint32_t)draw(c, group_packets(c->group));
        uint64_t dice = c->in_order ? 99 : draw(c, 100);
        if (dice < 3 || group_packets(c->group) > GROUP_PACKETS_MAX / 2)
            group_drop(c->group, number);
        else
            group_deliver(c->group, number, dice < 8);
    }
}

static void move_disk(struct chaos *c)
{
    dl_peer_t p = any_peer(c);
    if (!group_is_up(c->group, p))
        return;
    if (draw(c, 3) != 0 && group_writes(c->group, p) > 0)
        group_flush(c->group, p, (uint32_t)draw(c, group_writes(c->group, p)) + 1);
    if (draw(c, 3) != 0)
        group_report_hard(c->group, p);
    if (draw(c, 3) != 0)
        group_report_log(c->group, p);
}

static void submit(struct chaos *c)
{
    dl_peer_t leader = group_leader(c->group);
    struct dl_core_view view;
    if (leader == DL_NOBODY)
        return;
    group_view(c->group, leader, &view);
    if (view.last + 64 < GROUP_LOG_MAX && !view.transferring)
        group_submit(c->group, leader, (uint32_t)draw(c, 8) + 1);
}

static void die_or_rise(struct chaos *c)
{
    dl_peer_t p = any_peer(c);
    if (!group_is_up(c->group, p)) {
        group_restart(c->group, p);
        return;
    }
    if (group_writes(c->group, p) > 0 && draw(c, 2) == 0) /* some of what was being written got there */
        group_flush(c->group, p, (uint32_t)draw(c, group_writes(c->group, p)) + 1);
    group_crash(c->group, p);
    for (dl_peer_t other = 1; other <= c->size; other++)
        if (other != p && draw(c, 2) == 0)
            group_reset(c->group, other, p);
}

static void change_links(struct chaos *c)
{
    if (draw(c, 3) == 0) {
        for (dl_peer_t a = 1; a <= c->size; a++)
            for (dl_peer_t b = 1; b <= c->size; b++)
                group_cut(c->group, a, b, false);
    } else {
        dl_peer_t a = any_peer(c), b = any_peer(c);
        group_cut(c->group, a, b, true);
        if (draw(c, 2) == 0)
            group_cut(c->group, b, a, true);
    }
}

static void disturb(struct chaos *c)
{
    dl_peer_t leader = group_leader(c->group);
    if (c->false_resets && draw(c, 4) == 0)
        group_reset(c->group, any_peer(c), any_peer(c));
    else if (draw(c, 2) == 0)
        group_unsent(c->group, any_peer(c), any_peer(c));
    else if (leader != DL_NOBODY)
        group_transfer(c->group, leader, (dl_peer_t)draw(c, c->size + 1));
}

static void note_leader(struct chaos *c)
{
    struct dl_core_view view;
    dl_peer_t leader = group_leader(c->group);
    if (leader == DL_NOBODY)
        return;
    group_view(c->group, leader, &view);
    c->elected += view.term > c->last_term;
    c->last_term = view.term > c->last_term ? view.term : c->last_term;
}

/* Every seed has its own mixture: some worlds are nearly calm, in some the disks hardly move. */
static void draw_weights(struct chaos *c)
{
    static const struct {
        void (*happen)(struct chaos *c);
        uint32_t often, seldom; /* weights between which is drawn */
    } kinds[KINDS] = {
        {move_packets, 500, 100}, {move_disk, 500, 60},  {pass_time, 300, 40}, {submit, 120, 5},
        {die_or_rise, 40, 0},     {change_links, 40, 0}, {disturb, 20, 0},
    };
    for (uint32_t i = 0; i < KINDS; i++) {
        c->happen[i] = kinds[i].happen;
        c->weight[i] = (uint32_t)draw(c, kinds[i].often - kinds[i].seldom + 1) + kinds[i].seldom;
        c->weights += c->weight[i];
    }
    static const uint32_t longest_ms[] = {10, 40, 200};
    c->pass_max_ms = longest_ms[draw(c, 3)];
}

static void live(struct chaos *c)
{
    for (uint32_t i = 0; i < STEPS; i++) {
        uint64_t dice = draw(c, c->weights);
        uint32_t kind = 0;
        while (dice >= c->weight[kind])
            dice -= c->weight[kind++];
        c->happen[kind](c);
        note_leader(c);
        if (i % 50 == 0)
            group_check_logs(c->group);
    }
}

static bool leader_transfers(struct chaos *c)
{
    struct dl_core_view view;
    dl_peer_t leader = group_leader(c->group);
    if (leader == DL_NOBODY)
        return true;
    group_view(c->group, leader, &view);
    return view.transferring;
}

/* A healed group elects a leader, and everybody gets and commits everything. */
static void heal(struct chaos *c)
{
    struct dl_core_view want, have;
    for (dl_peer_t a = 1; a <= c->size; a++) {
        group_restart(c->group, a);
        for (dl_peer_t b = 1; b <= c->size; b++)
            group_cut(c->group, a, b, false);
    }
    ck_assert(group_settle(c->group));
    group_run(c->group, HEAL_MS);
    dl_peer_t leader = group_leader(c->group);
    ck_assert_uint_ne(leader, DL_NOBODY);
    for (int i = 0; i < 20 && leader_transfers(c); i++) /* to the preferred one */
        group_run(c->group, 100);
    leader = group_leader(c->group);
    group_view(c->group, leader, &want);
    dl_index_t before = want.last;
    group_submit(c->group, leader, 3);
    group_run(c->group, 200);
    group_check_logs(c->group);
    group_view(c->group, leader, &want);
    ck_assert_uint_ge(want.last, before + 3);
    ck_assert_uint_eq(want.commit, want.last);
    ck_assert(group_lease(c->group, leader));
    for (dl_peer_t p = 1; p <= c->size; p++) {
        group_view(c->group, p, &have);
        ck_assert_uint_eq(have.leader, leader);
        ck_assert_uint_eq(have.last, want.last);
        ck_assert_uint_eq(have.persisted, want.last);
        ck_assert_uint_eq(have.commit, want.last);
    }
}

static uint32_t run_seed(uint64_t seed)
{
    struct chaos c = {.random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15)};
    for (int i = 0; i < 8; i++)
        draw(&c, 2);
    struct group_opts opts = {
        .voters = 1 + 2 * (uint32_t)draw(&c, 3),
        .learners = draw(&c, 4) == 0,
        .seed = seed,
        .window_entries = (uint32_t)draw(&c, 40) + 1,
        .push_entries = (uint32_t)draw(&c, 12) + 1,
    };
    opts.preferred = draw(&c, 3) == 0 ? 1 : DL_NOBODY;
    opts.false_resets = c.false_resets = draw(&c, 4) == 0;
    c.size = opts.voters + opts.learners;

    c.in_order = draw(&c, 2) == 0;
    draw_weights(&c);
    c.group = group_new(&opts);
    live(&c);
    heal(&c);
    group_free(c.group);
    return c.elected;
}

/* A failure names its seed here even when it is an ENSURE. */
static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

START_TEST(safety_and_progress)
{
    uint64_t first = number_from("SEED", 1), count = number_from("COUNT", SEEDS), elected = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        fprintf(stderr, "\rseed %llu ", (unsigned long long)seed);
        elected += run_seed(seed);
    }
    fprintf(stderr, "\n%llu leaderships\n", (unsigned long long)elected);
    ck_assert_uint_gt(elected, count);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("core at random");
    TCase *tcase = tcase_create("seeds");
    tcase_add_test(tcase, safety_and_progress);
    tcase_set_timeout(tcase, 600);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
