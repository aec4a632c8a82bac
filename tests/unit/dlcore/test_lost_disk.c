/* test_lost_disk.c - whole groups in which a disk is lost: what was committed stays. */
#include "tests/unit/dlcore/few.h"

static struct few f;

/* A group of `count` whose leader is returned; two entries are committed. */
static dl_peer_t group(uint32_t count)
{
    few_init(&f, count, 2); /* with this seed the candidate's round lasts long enough */
    few_run(&f, 1000);
    dl_peer_t leader = few_leader(&f);
    ck_assert_uint_ne(leader, DL_NOBODY);
    few_submit(&f, leader);
    few_run(&f, 200);
    for (dl_peer_t id = 1; id <= count; id++) {
        ck_assert(few_view(&f, id).joined);
        ck_assert_uint_eq(few_view(&f, id).commit, few_view(&f, leader).commit);
    }
    return leader;
}

/* Every leader of a term later than that of a committed entry has it. */
static void leader_has(dl_peer_t leader, dl_index_t index, dl_term_t term)
{
    ck_assert_msg(dl_core_term_at(f.core[leader], index) == term,
                  "n%u leads in term %llu without entry %llu, committed in term %llu", leader - 1,
                  (unsigned long long)few_view(&f, leader).term, (unsigned long long)index,
                  (unsigned long long)term);
}

/* `voter` gives its vote to a candidate whose other request is late, loses its disk and is admitted in the old
 * term. The forgotten vote must not make that candidate a leader. */
START_TEST(a_forgotten_vote_elects_nobody)
{
    dl_peer_t leader = group(5), p[5], n = 0;
    for (dl_peer_t id = 1; id <= 5; id++)
        if (id != leader)
            p[n++] = id;
    dl_peer_t candidate = p[0], voter = p[1], late = p[2], loyal = p[3];
    dl_term_t term = few_view(&f, leader).term;

    /* They do not hear the leader (it hears their answers to nothing): the candidate stands. */
    f.cut[leader][candidate] = f.cut[leader][voter] = f.cut[leader][late] = true;
    f.paused[voter] = f.paused[late] = true; /* only for their timers */
    f.late_type = DL_MSG_VOTE_REQ;
    f.late_from = candidate;
    f.late_to = late;
    few_cut(&f, candidate, loyal, true);
    few_cut(&f, candidate, leader, true);
    for (int ms = 0; few_view(&f, candidate).role != DL_CANDIDATE; ms++) {
        ck_assert_int_lt(ms, 700);
        few_run(&f, 1);
    }
    ck_assert_uint_eq(few_view(&f, candidate).term, term + 1);
    ck_assert_uint_eq(few_view(&f, voter).vote, candidate);
    ck_assert_int_eq(few_view(&f, leader).role, DL_LEADER);

    /* The voter loses its disk; all but the candidate are in touch again. */
    few_cut(&f, voter, candidate, true);
    f.paused[voter] = f.paused[late] = false;
    f.cut[leader][voter] = f.cut[leader][late] = false;
    few_start_blank(&f, voter);
    for (int ms = 0; ms < 160 && !few_view(&f, voter).joined; ms++)
        few_run(&f, 1);
    /* The late one loses sight of the leader; an entry is committed without it. */
    few_cut(&f, leader, late, true);
    few_submit(&f, leader);
    few_run(&f, 1);
    dl_index_t entry = few_view(&f, leader).last;
    bool committed = few_view(&f, leader).commit >= entry && few_view(&f, leader).term == term;
    f.paused[late] = true;
    few_run(&f, 301);
    f.paused[late] = false;
    few_let_go(&f); /* the candidate's request arrives */
    ck_assert(committed);
    if (few_view(&f, candidate).role == DL_LEADER)
        leader_has(candidate, entry, term);
    few_run(&f, 1000);
    leader_has(few_leader(&f), entry, term);
    few_free(&f);
}
END_TEST

/* Admitted, it helps another leader before the old one hears that it has joined, and loses its disk again. */
START_TEST(an_admission_is_for_one_life)
{
    dl_peer_t leader = group(3), p[2], n = 0;
    for (dl_peer_t id = 1; id <= 3; id++)
        if (id != leader)
            p[n++] = id;
    dl_peer_t lost = p[1], other = p[0];
    dl_term_t term = few_view(&f, leader).term;

    few_start_blank(&f, lost);
    while (!few_view(&f, lost).joined) {
        f.late_type = DL_MSG_PUSH_RSP; /* never to arrive: the connection will end */
        f.late_from = lost;
        f.late_to = few_view(&f, leader).last == few_view(&f, lost).persisted ? leader : DL_NOBODY;
        few_run(&f, 1);
    }
    struct dl_peer_view seen;
    ck_assert(dl_core_peer_view(f.core[leader], lost, &seen));
    ck_assert(!seen.joined);
    f.late_type = 0;
    /* The network is cut around the leader; the others see their connections reset. */
    few_cut(&f, leader, lost, true);
    few_cut(&f, leader, other, true);
    for (uint32_t i = 0; i < f.end; i++)
        if (f.bag[i].msg.to == leader || f.bag[i].msg.from == leader)
            f.bag[i].msg.type = 0, f.bag[i].waits = false;
    few_step(&f, leader, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = lost});
    few_step(&f, lost, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = leader});
    few_step(&f, other, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = leader});
    for (int ms = 0; few_leader(&f) == leader; ms++) {
        ck_assert_int_lt(ms, 300);
        few_run(&f, 1);
    }
    dl_peer_t next = few_leader(&f);
    ck_assert_uint_eq(next, other);
    few_submit(&f, next);
    few_run(&f, 1);
    dl_index_t entry = few_view(&f, next).last;
    dl_term_t entry_term = few_view(&f, next).term;
    ck_assert_uint_eq(few_view(&f, next).commit, entry); /* with the help of `lost` */
    ck_assert_uint_gt(entry_term, term);

    /* Its disk is lost again, and only the old leader is in reach, which does not know. */
    few_cut(&f, lost, other, true);
    few_cut(&f, leader, lost, false);
    few_start_blank(&f, lost);
    for (int ms = 0; ms < 200; ms++) {
        few_run(&f, 1);
        if (few_view(&f, leader).role == DL_LEADER && few_view(&f, leader).last < entry)
            few_submit(&f, leader);
        ck_assert_msg(few_view(&f, leader).commit < entry,
                      "entry %llu is committed in term %llu, and otherwise in term %llu",
                      (unsigned long long)entry, (unsigned long long)entry_term, (unsigned long long)term);
    }
    few_free(&f);
}
END_TEST

ONE_MAIN("core/lost_disk", a_forgotten_vote_elects_nobody, an_admission_is_for_one_life)
