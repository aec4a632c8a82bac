/*
 * The node: commit, change of leader, what proposers are told, the hard-state gate, replay and catching up
 * from disk.
 */
#include <fcntl.h>

#include "tests/unit/dledger/cluster.h"

START_TEST(commits_on_all)
{
    int l = await_leader();
    struct wish a, b;
    ck_assert_int_eq(propose(l, &a, "one"), 0);
    ck_assert_int_eq(propose(l, &b, "two"), 0);
    ck_assert_uint_eq(a.calls, 0);
    pump();
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_int_eq(a.err, 0);
    ck_assert_str_eq(a.result, "one");
    ck_assert_uint_eq(b.index, a.index + 1);
    ck_assert_uint_eq(dl_node_counters(replicas[l].node)->submits, 1); /* one turn, one SUBMIT */
    advance(100);
    same_state();
    ck_assert_str_eq(replicas[(l + 1) % 3].log[b.index].body, "two");
    struct dl_node_status s;
    dl_node_status(replicas[l].node, &s);
    ck_assert_uint_eq(s.proposals_waiting, 0);
    ck_assert_uint_eq(s.waiting_bytes, 0);
}
END_TEST

START_TEST(followers_refuse_proposals)
{
    int l = await_leader();
    struct wish w;
    ck_assert_int_eq(propose((l + 1) % 3, &w, "x"), ERR_NOT_LEADER);
    pump();
    ck_assert_uint_eq(w.calls, 0);
    ck_assert(!dl_node_can_read(replicas[(l + 1) % 3].node));
}
END_TEST

START_TEST(not_committed_without_a_majority)
{
    int l = await_leader();
    struct wish w;
    isolate((l + 1) % 3, true);
    isolate((l + 2) % 3, true);
    ck_assert_int_eq(propose(l, &w, "x"), 0);
    pump();
    ck_assert_uint_eq(w.calls, 0);
    struct dl_node_status s;
    dl_node_status(replicas[l].node, &s);
    ck_assert_uint_eq(s.proposals_waiting, 1);
    ck_assert_uint_eq(s.waiting_bytes, DL_RECORD_HEAD + 1);
    isolate((l + 2) % 3, false);
    isolate((l + 1) % 3, true);
    dl_node_on_down(replicas[l].node, replicas[(l + 2) % 3].id, false);
    advance(200);
    ck_assert_uint_eq(w.calls, 1);
    ck_assert_int_eq(w.err, 0);
}
END_TEST

START_TEST(own_disk_counts_like_others)
{
    int l = await_leader();
    struct wish w;
    replicas[l].hold_flush = true;
    replicas[(l + 1) % 3].hold_flush = true;
    ck_assert_int_eq(propose(l, &w, "x"), 0);
    pump();
    ck_assert_uint_eq(w.calls, 0); /* on one disk only */
    replicas[(l + 1) % 3].hold_flush = false;
    pump();
    ck_assert_uint_eq(w.calls, 1); /* on both followers', not yet on the leader's */
    ck_assert_int_eq(w.err, 0);
    replicas[l].hold_flush = false;
    pump();
}
END_TEST

START_TEST(killed_leader_is_replaced_and_comes_back)
{
    int l = await_leader();
    fill(l, 10, 10);
    replica_stop(l);
    for (int i = 0; i < REPLICAS; i++) {
        if (replicas[i].node)
            dl_node_on_down(replicas[i].node, (dl_peer_t)(l + 1), true);
    }
    uint64_t begun = now_ms;
    int next = await_leader();
    ck_assert_int_ne(next, l);
    ck_assert_uint_lt(now_ms - begun, 300); /* of simulated time: by the reset's hint, not by silence */
    fill(next, 10, 10);
    replica_start(l, 0); /* replays from its own disk, then follows */
    advance(500);
    same_state();
    ck_assert_uint_gt(replicas[l].applied, 20);
}
END_TEST

/* The leader that is cut off has proposals which others replace. */
START_TEST(replaced_proposals_are_lost)
{
    int l = await_leader();
    struct wish kept, lost, other;
    isolate(l, true);
    ck_assert_int_eq(propose(l, &lost, "lost"), 0);
    pump();
    ck_assert_uint_eq(lost.calls, 0);
    int next;
    for (;;) { /* the old leader may still think that it serves */
        advance(50);
        next = await_leader();
        if (next != l)
            break;
    }
    ck_assert_int_eq(propose(next, &other, "other"), 0);
    ck_assert_int_eq(propose(next, &kept, "kept"), 0);
    pump();
    ck_assert_int_eq(other.err, 0);
    ck_assert_uint_eq(lost.calls, 0); /* undecided there: it has not heard */
    isolate(l, false);
    advance(500);
    ck_assert_uint_eq(lost.calls, 1);
    ck_assert_int_eq(lost.err, ERR_LOST);
    same_state();
    for (dl_index_t k = 1; k <= replicas[l].applied; k++)
        ck_assert_str_ne(replicas[next].log[k].body, "lost");
    ck_assert_uint_eq(dl_node_counters(replicas[l].node)->lost, 1);
}
END_TEST

/* An entry that reached one follower and lost its leader is committed by that follower as the next leader:
 * its waiter hears 0, not ERR_LOST. */
START_TEST(undecided_proposal_may_still_be_committed)
{
    int l = await_leader(), f = (l + 1) % 3, g = (l + 2) % 3;
    struct wish w;
    isolate(g, true);
    replicas[l].hold_flush = true; /* so that the answer of f alone commits nothing */
    replicas[f].hold_flush = true;
    ck_assert_int_eq(propose(l, &w, "survivor"), 0);
    pump();
    isolate(l, true);
    replicas[f].hold_flush = false;
    isolate(g, false);
    isolate(l, true);
    for (;;) {
        advance(50);
        if (await_leader() == f)
            break;
    }
    ck_assert_uint_eq(w.calls, 0);
    replicas[l].hold_flush = false;
    isolate(l, false);
    advance(500);
    ck_assert_uint_eq(w.calls, 1);
    ck_assert_int_eq(w.err, 0);
    ck_assert_str_eq(w.result, "survivor");
    same_state();
}
END_TEST

/* Waiters of two terms side by side: the leader lost its office with several entries undecided, and got it
 * back. */
START_TEST(waiters_of_several_terms)
{
    int l = await_leader();
    struct wish old[6], new[6];
    isolate(l, true);
    for (int k = 0; k < 6; k++)
        ck_assert_int_eq(propose(l, &old[k], "old"), 0);
    pump();
    int next;
    do {
        advance(50);
        next = await_leader();
    } while (next == l);
    isolate(l, false);
    advance(300);
    ck_assert_int_eq(dl_node_transfer(replicas[next].node, (dl_peer_t)(l + 1)), 0);
    advance(50);
    ck_assert_int_eq(await_leader(), l);
    ck_assert_int_eq(old[0].err, ERR_LOST); /* replaced by the other's NOOP */
    ck_assert_int_eq(old[1].err, ERR_LOST); /* and by our second one */
    ck_assert_uint_eq(old[2].calls, 0);
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(propose(l, &new[k], "new"), 0);
        pump();
        ck_assert_uint_eq(new[k].calls, 1);
        ck_assert_int_eq(new[k].err, 0);
        ck_assert_uint_eq(old[2 + k].calls, 1);
        ck_assert_int_eq(old[2 + k].err, ERR_LOST);
    }
    ck_assert_uint_eq(old[4].calls + old[5].calls, 0);
    for (int k = 2; k < 6; k++)
        ck_assert_int_eq(propose(l, &new[k], "new"), 0);
    pump();
    for (int k = 2; k < 6; k++)
        ck_assert_int_eq(new[k].calls == 1 && new[k].err == 0, 1);
    ck_assert_int_eq(old[4].err, ERR_LOST);
    ck_assert_int_eq(old[5].err, ERR_LOST);
    same_state();
}
END_TEST

static dl_peer_t mute;

static bool pushed_by_mute(const struct dl_msg *msg)
{
    return msg->type == DL_MSG_PUSH_REQ && msg->from == mute;
}

/* What is committed at a proposal's index may be of an older term than the proposal: it was gathered in one
 * office and submitted in another, before that was confirmed. */
START_TEST(replaced_by_an_entry_of_an_older_term)
{
    int l = await_leader(), f = (l + 1) % 3;
    struct wish w;
    replicas[l].hold_turn = true;
    ck_assert_int_eq(propose(l, &w, "late"), 0);
    ck_assert_int_eq(dl_node_transfer(replicas[l].node, replicas[f].id), 0);
    advance(100);
    ck_assert_int_eq(await_leader(), f);
    isolate(f, true);
    for (int k = 0; k < 4; k++)
        ck_assert_int_eq(propose(f, NULL, "older"), 0);
    pump();
    mute = replicas[l].id;
    lose = pushed_by_mute;
    advance(305);
    dl_node_on_down(replicas[l].node, replicas[f].id, true);
    pump();
    ck_assert_int_eq(replicas[l].seen.core.role, DL_LEADER);
    replicas[l].hold_turn = false;
    pump();
    ck_assert_uint_eq(w.waiter.term, replicas[l].seen.core.term);
    isolate(f, false);
    isolate(l, true);
    lose = NULL;
    while (await_leader() != f)
        advance(50);
    ck_assert_str_eq(replicas[f].log[w.waiter.index].body, "older");
    ck_assert_uint_lt(replicas[f].log[w.waiter.index].term, w.waiter.term);
    isolate(l, false);
    advance(500);
    ck_assert_uint_eq(w.calls, 1);
    ck_assert_int_eq(w.err, ERR_LOST);
    same_state();
}
END_TEST

/* A leader may not answer before its NOOP is applied: it does not know yet what is committed. */
START_TEST(not_serving_before_the_noop)
{
    int l = await_leader(), f = (l + 1) % 3, g = (l + 2) % 3;
    replica_stop(l);
    replicas[f].hold_flush = replicas[g].hold_flush = true;
    advance(2000);
    int next = replicas[f].seen.core.role == DL_LEADER ? f : g;
    ck_assert_int_eq(replicas[next].seen.core.role, DL_LEADER);
    ck_assert(!replicas[next].seen.serving);
    struct wish w;
    ck_assert_int_eq(propose(next, &w, "x"), ERR_NOT_LEADER);
    ck_assert(!dl_node_can_read(replicas[next].node));
    replicas[f].hold_flush = replicas[g].hold_flush = false;
    ck_assert_int_ge(await_leader(), 0);
    ck_assert(replicas[next].seen.serving);
}
END_TEST

START_TEST(forgotten_waiters_are_not_called)
{
    int l = await_leader();
    struct wish a, b, c;
    ck_assert_int_eq(propose(l, &a, "a"), 0);
    ck_assert_int_eq(propose(l, &b, "b"), 0);
    ck_assert_int_eq(propose(l, &c, "c"), 0);
    dl_node_forget(replicas[l].node, &b.waiter); /* gathered */
    dl_node_forget(replicas[l].node, &b.waiter); /* again: nothing */
    replicas[(l + 1) % 3].hold_flush = replicas[(l + 2) % 3].hold_flush = true;
    pump();
    ck_assert_uint_eq(a.calls, 0);
    dl_node_forget(replicas[l].node, &c.waiter); /* submitted, the last of the list */
    replicas[(l + 1) % 3].hold_flush = replicas[(l + 2) % 3].hold_flush = false;
    pump();
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(b.calls + c.calls, 0);
    advance(100);
    ck_assert_str_eq(replicas[l].log[a.index + 2].body, "c"); /* applied all the same */
    fill(l, 3, 10);
}
END_TEST

START_TEST(node_freed_with_waiters)
{
    int l = await_leader();
    struct wish gathered, undecided;
    isolate(l, true);
    ck_assert_int_eq(propose(l, &undecided, "u"), 0);
    pump();
    ck_assert_int_eq(propose(l, &gathered, "g"), 0);
    replica_stop(l);
    ck_assert_uint_eq(gathered.calls, 1);
    ck_assert_int_eq(gathered.err, ERR_NOT_LEADER);
    ck_assert_uint_eq(undecided.calls, 1);
    ck_assert_int_eq(undecided.err, ERR_CLOSED);
}
END_TEST

START_TEST(bounds_of_what_waits)
{
    static char big[DL_RECORD_MAX];
    for (int i = 0; i < REPLICAS; i++)
        replica_stop(i);
    waiting_max = 1000;
    for (int i = 0; i < REPLICAS; i++)
        replica_start(i, replicas[i].applied);
    int l = await_leader();
    struct wish w[30];
    int taken = 0;
    while (propose(l, &w[taken], "0123456789") == 0)
        taken++;
    ck_assert_int_eq(taken, 1000 / (10 + (int)DL_RECORD_HEAD));
    pump();
    for (int i = 0; i < taken; i++)
        ck_assert_int_eq(w[i].err + (w[i].calls != 1), 0);
    ck_assert_int_eq(propose(l, &w[0], "room again"), 0);
    ck_assert_int_eq(propose_bytes(l, &w[1], big, sizeof big), ERR_TOO_LARGE);
    pump();
}
END_TEST

/* Followers commit what our own disk does not take; the store must keep it in memory, so there is a limit. */
START_TEST(bounds_of_what_our_own_disk_has_not_taken)
{
    for (int i = 0; i < REPLICAS; i++)
        replica_stop(i);
    waiting_max = 1000;
    for (int i = 0; i < REPLICAS; i++)
        replica_start(i, replicas[i].applied);
    int l = await_leader(), taken = 0;
    struct wish w[30];
    struct dl_node_status s;
    replicas[l].hold_flush = true;
    while (taken < 30 && propose(l, &w[taken], "0123456789") == 0) {
        pump();
        ck_assert_int_eq(w[taken].err + (w[taken].calls != 1), 0);
        taken++;
    }
    ck_assert_int_eq(taken, 1000 / (10 + (int)DL_RECORD_HEAD));
    ck_assert_int_eq(propose(l, &w[0], "0123456789"), ERR_BUSY);
    dl_node_status(replicas[l].node, &s);
    ck_assert_uint_eq(s.waiting_bytes, (uint64_t)taken * (10 + DL_RECORD_HEAD));
    replicas[l].hold_flush = false;
    pump();
    dl_node_status(replicas[l].node, &s);
    ck_assert_uint_eq(s.waiting_bytes, 0);
    ck_assert_int_eq(propose(l, &w[0], "room again"), 0);
    pump();
}
END_TEST

START_TEST(leader_whose_disk_hangs_is_replaced)
{
    int l = await_leader(), next = l;
    struct wish w;
    replicas[l].hold_flush = true;
    ck_assert_int_eq(propose(l, &w, "committed by the others"), 0);
    advance(1000);
    ck_assert_int_eq(w.calls == 1 && w.err == 0, 1);
    ck_assert_int_eq(await_leader(), l); /* it may only be slow */
    advance(300);
    next = await_leader();
    ck_assert_int_ne(next, l);
    advance(5000); /* and it does not come back to office without its disk */
    ck_assert_int_eq(await_leader(), next);
    fill(next, 10, 10);
    replicas[l].hold_flush = false;
    advance(200);
    same_state();
}
END_TEST

/* No vote leaves before it is on disk. */
START_TEST(gate_holds_until_the_hard_state_is_durable)
{
    int l = await_leader(), f = (l + 1) % 3, g = (l + 2) % 3;
    replica_stop(l);
    replicas[f].hold_meta = replicas[g].hold_meta = true;
    for (int i = 0; i < 8; i++)
        replicas[f].sent[i] = replicas[g].sent[i] = 0;
    struct dl_msg ask = {.type = DL_MSG_VOTE_REQ,
                         .from = (dl_peer_t)(l + 1),
                         .to = replicas[f].id,
                         .term = 50,
                         .transfer = true,
                         .last_index = 1000,
                         .last_term = 49};
    cut[l + 1][f + 1] = cut[f + 1][l + 1] = false;
    isolate(g, true);
    advance(1000); /* nobody heard a leader for long: the vote is given */
    dl_node_on_message(replicas[f].node, &ask, NULL, 0, 0);
    struct dl_node_status s;
    dl_node_status(replicas[f].node, &s);
    ck_assert_uint_eq(s.core.term, 50);
    ck_assert_uint_eq(s.core.vote, l + 1);
    ck_assert_uint_ge(s.messages_held, 1);
    uint32_t before = replicas[f].sent[DL_MSG_VOTE_RSP];
    pump();
    ck_assert_uint_eq(replicas[f].sent[DL_MSG_VOTE_RSP], before);
    replicas[f].hold_meta = false;
    pump();
    ck_assert_uint_eq(replicas[f].sent[DL_MSG_VOTE_RSP], before + 1);
    dl_node_status(replicas[f].node, &s);
    ck_assert_uint_eq(s.messages_held, 0);
}
END_TEST

/* Nor an answer to a push: what it acknowledges must not be forgotten together with the term. */
START_TEST(gate_holds_acknowledgements_too)
{
    int l = await_leader(), f = (l + 1) % 3, g = (l + 2) % 3;
    struct dl_node_status s;
    dl_node_status(replicas[f].node, &s);
    struct dl_msg push = {.type = DL_MSG_PUSH_REQ,
                          .from = replicas[g].id,
                          .to = replicas[f].id,
                          .term = s.core.term + 5,
                          .push = DL_PUSH_COMMIT,
                          .sent_ms = now_ms};
    isolate(f, true);
    replicas[f].hold_meta = true;
    uint32_t before = replicas[f].sent[DL_MSG_PUSH_RSP];
    dl_node_on_message(replicas[f].node, &push, NULL, 0, 0);
    pump();
    dl_node_status(replicas[f].node, &s);
    ck_assert_uint_eq(s.core.term, push.term);
    ck_assert_uint_eq(s.messages_held, 1);
    ck_assert_uint_eq(replicas[f].sent[DL_MSG_PUSH_RSP], before);
    replicas[f].hold_meta = false;
    pump();
    ck_assert_uint_eq(replicas[f].sent[DL_MSG_PUSH_RSP], before + 1);
}
END_TEST

/* Its disk takes no vote: it can stand, but never say so. */
START_TEST(candidate_says_nothing_in_a_term_that_is_not_durable)
{
    int l = await_leader(), f = (l + 1) % 3, g = (l + 2) % 3;
    struct dl_node_status s;
    dl_node_status(replicas[f].node, &s);
    dl_term_t term = s.core.term;
    replicas[f].hold_meta = replicas[g].hold_meta = true;
    replica_stop(l);
    advance(3000);
    dl_node_status(replicas[f].node, &s);
    dl_term_t raised = s.core.term;
    dl_node_status(replicas[g].node, &s);
    raised = s.core.term > raised ? s.core.term : raised;
    ck_assert_uint_gt(raised, term); /* somebody stood */
    ck_assert_uint_eq(replicas[f].seen.core.role == DL_LEADER || replicas[g].seen.core.role == DL_LEADER, 0);
    replicas[f].hold_meta = replicas[g].hold_meta = false;
    await_leader();
}
END_TEST

START_TEST(blank_follower_catches_up_from_disk)
{
    cache_bytes = 64 * 1024;
    for (int i = 0; i < REPLICAS; i++)
        replica_stop(i);
    replica_start(1, 0);
    replica_start(2, 0);
    int l = await_leader();
    fill(l, 2000, 1000);
    replica_start(0, 0);
    advance(500);
    same_state();
    ck_assert_uint_gt(replicas[0].applied, 2000);
    ck_assert_uint_gt(dl_node_counters(replicas[l].node)->cold_loads, 0);
    fill(l, 10, 100);
    same_state();
}
END_TEST

START_TEST(a_damaged_entry_is_not_read_again_with_each_input)
{
    cache_bytes = 64 * 1024;
    for (int i = 0; i < REPLICAS; i++)
        replica_stop(i);
    replica_start(1, 0);
    replica_start(2, 0);
    int l = await_leader();
    fill(l, 1000, 1000);
    char path[128];
    snprintf(path, sizeof path, "%s/n%d/log/00000000000000000000.seg", root, l);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, "#", 1, 10000), 1);
    uint64_t loads = dl_node_counters(replicas[l].node)->cold_loads;
    replica_start(0, 0);
    for (int k = 0; k < 10; k++)
        fill(l, 10, 100); /* 100 ms each */
    ck_assert_uint_lt(replicas[0].applied, 1000);
    ck_assert_uint_le(dl_node_counters(replicas[l].node)->cold_loads - loads, 6);
    ck_assert_int_eq(pwrite(fd, "x", 1, 10000), 1);
    close(fd);
    advance(1500);
    same_state();
}
END_TEST

START_TEST(replay_is_bounded_per_turn)
{
    int l = await_leader();
    for (int k = 0; k < 5; k++)
        fill(l, 2000, 50);
    cache_bytes = 64 * 1024;
    for (int i = 0; i < REPLICAS; i++)
        replica_stop(i);
    for (int i = 0; i < REPLICAS; i++) {
        replicas[i].most_in_a_run = 0;
        replica_start(i, i == 0 ? 0 : 5000);
    }
    advance(3000);
    await_leader();
    advance(500);
    same_state();
    ck_assert_uint_gt(replicas[0].applied, 10000);
    for (int i = 0; i < REPLICAS; i++)
        ck_assert_uint_le(replicas[i].most_in_a_run, 4096);
}
END_TEST

START_TEST(checkpoint_must_fit_the_log)
{
    replica_stop(0);
    struct replica *r = &replicas[0];
    replica_start(0, 0);
    struct dl_node *n;
    struct err err;
    struct dl_node_opts o = {.core = {.self = 1,
                                      .members = {.count = 1, .id = {1}, .voter = {true}},
                                      .heartbeat_ms = 50,
                                      .election_min_ms = 300,
                                      .election_max_ms = 600,
                                      .window_entries = 1,
                                      .window_bytes = 1},
                             .group = GROUP,
                             .store = r->store,
                             .transport = &r->transport,
                             .applied = 77,
                             .now_ms = clock_now,
                             .wake_at = wake_at,
                             .clock_arg = r};
    ck_assert_int_eq(dl_node_new(&o, &n, &err), ERR_INVALID);
}
END_TEST

START_TEST(transfer_hands_over)
{
    int l = await_leader(), to = (l + 1) % 3;
    ck_assert_int_eq(dl_node_transfer(replicas[to].node, DL_NOBODY), ERR_NOT_LEADER);
    ck_assert_int_eq(dl_node_transfer(replicas[l].node, 9), ERR_INVALID);
    ck_assert_int_eq(dl_node_transfer(replicas[l].node, (dl_peer_t)(l + 1)), ERR_INVALID);
    fill(l, 5, 10);
    ck_assert_int_eq(dl_node_transfer(replicas[l].node, (dl_peer_t)(to + 1)), 0);
    struct wish w;
    ck_assert_int_eq(propose(l, &w, "too late"),
                     0); /* still serving; refused by the core at the end of the turn */
    pump();
    ck_assert_uint_eq(w.calls, 1);
    ck_assert_int_eq(w.err, ERR_NOT_LEADER);
    advance(50);
    ck_assert_int_eq(await_leader(), to);
    ck_assert_uint_gt(replicas[l].changes, 1);
    ck_assert_int_eq(replicas[l].seen.serving, 0);
    ck_assert_uint_eq(replicas[l].seen.core.leader, to + 1);
}
END_TEST

/* Hooks that use the node from inside. */
static struct wish chained[6];
static uint32_t chain;

static void propose_next(struct replica *r, const struct dl_entry *e)
{
    struct dl_node_status s;
    dl_node_status(r->node, &s);
    if (e->kind != KIND || !s.serving || chain == 5)
        return;
    chain++;
    ck_assert_int_eq(propose(r->id - 1, &chained[chain], "next"), 0);
    if (chain == 5)
        ck_assert_int_eq(dl_node_transfer(r->node, DL_NOBODY), 0);
}

START_TEST(hooks_may_propose_and_transfer)
{
    int l = await_leader();
    chain = 0;
    replicas[l].on_apply = propose_next;
    ck_assert_int_eq(propose(l, &chained[0], "first"), 0);
    advance(300);
    ck_assert_uint_eq(chain, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(chained[i].calls == 1 && chained[i].err == 0, 1);
    ck_assert_int_eq(chained[5].calls, 1); /* refused while handing over, or taken before */
    ck_assert_int_ne(await_leader(), l);
    same_state();
}
END_TEST

static void forget_neighbour(struct dl_waiter *w, int err, const struct dl_entry *e, const void *result)
{
    wish_done(w, err, e, result);
    struct wish *next = (struct wish *)(void *)w + 1;
    dl_node_forget(replicas[(dl_peer_t)(uintptr_t)next->calls].node, &next->waiter);
}

START_TEST(done_may_forget_others)
{
    int l = await_leader();
    struct wish w[2];
    ck_assert_int_eq(propose(l, &w[0], "a"), 0);
    ck_assert_int_eq(propose(l, &w[1], "b"), 0);
    w[0].waiter.done = forget_neighbour;
    w[1].calls = (uint32_t)l; /* tells forget_neighbour where */
    pump();
    ck_assert_uint_eq(w[0].calls, 1);
    ck_assert_uint_eq(w[1].calls, (uint32_t)l);
}
END_TEST

START_TEST(damaged_pushes_are_dropped)
{
    int l = await_leader(), f = (l + 1) % 3;
    struct dl_node_status s;
    dl_node_status(replicas[f].node, &s);
    struct buf *junk = buf_copy("these are no records at all, but longer than a head is", 54);
    struct dl_msg push = {.type = DL_MSG_PUSH_REQ,
                          .from = (dl_peer_t)(l + 1),
                          .to = replicas[f].id,
                          .term = s.core.term,
                          .push = DL_PUSH_APPEND,
                          .prev_index = s.core.last,
                          .prev_term = s.core.last_term,
                          .first = s.core.last + 1,
                          .last = s.core.last + 1,
                          .sent_ms = now_ms};
    dl_node_on_message(replicas[f].node, &push, junk, 0, junk->len);
    dl_node_on_message(replicas[f].node, &push, NULL, 0, 0);
    buf_unref(junk);
    ck_assert_uint_eq(dl_node_counters(replicas[f].node)->records_refused, 2);
    fill(l, 5, 10);
    same_state();
}
END_TEST

START_TEST(trim_forgets_and_a_blank_follower_is_told)
{
    int l = await_leader(), f = (l + 1) % 3;
    replica_stop(f);
    fill(l, 1500, 1000);
    dl_node_trim(replicas[l].node, replicas[l].applied);
    struct dl_node_status s;
    dl_node_status(replicas[l].node, &s);
    ck_assert_uint_gt(s.core.begin, 1);
    fill(l, 5, 10);
    replica_wipe(f);
    replica_start(f, 0);
    advance(500);
    ck_assert_uint_eq(replicas[f].applied, 0); /* needs a snapshot */
    fill(l, 5, 10);                            /* the others go on */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dledger/node");
    TCase *t = tcase_create("node");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, cluster_begin, cluster_end);
    tcase_add_test(t, commits_on_all);
    tcase_add_test(t, followers_refuse_proposals);
    tcase_add_test(t, not_committed_without_a_majority);
    tcase_add_test(t, own_disk_counts_like_others);
    tcase_add_test(t, killed_leader_is_replaced_and_comes_back);
    tcase_add_test(t, replaced_proposals_are_lost);
    tcase_add_test(t, undecided_proposal_may_still_be_committed);
    tcase_add_test(t, waiters_of_several_terms);
    tcase_add_test(t, replaced_by_an_entry_of_an_older_term);
    tcase_add_test(t, not_serving_before_the_noop);
    tcase_add_test(t, forgotten_waiters_are_not_called);
    tcase_add_test(t, node_freed_with_waiters);
    tcase_add_test(t, bounds_of_what_waits);
    tcase_add_test(t, bounds_of_what_our_own_disk_has_not_taken);
    tcase_add_test(t, leader_whose_disk_hangs_is_replaced);
    tcase_add_test(t, gate_holds_until_the_hard_state_is_durable);
    tcase_add_test(t, gate_holds_acknowledgements_too);
    tcase_add_test(t, candidate_says_nothing_in_a_term_that_is_not_durable);
    tcase_add_test(t, blank_follower_catches_up_from_disk);
    tcase_add_test(t, replay_is_bounded_per_turn);
    tcase_add_test(t, checkpoint_must_fit_the_log);
    tcase_add_test(t, transfer_hands_over);
    tcase_add_test(t, hooks_may_propose_and_transfer);
    tcase_add_test(t, done_may_forget_others);
    tcase_add_test(t, damaged_pushes_are_dropped);
    tcase_add_test(t, a_damaged_entry_is_not_read_again_with_each_input);
    tcase_add_test(t, trim_forgets_and_a_blank_follower_is_told);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
