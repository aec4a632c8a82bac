/*
 * group.h - a whole group of core replicas in one process, for transcripts and random runs: the smallest host
 * there can be.
 *
 * Each replica has a disk (a queue of writes, a durable image, a queue of reports) and each link a
 * first-in-first-out queue. Nothing moves by itself: the caller persists, delivers, drops, and lets time
 * pass. The host's gate (no message before the newest hard state is durable) is kept here. Safety is checked
 * whenever something happens: one leader per term, one vote per term, committed entries the same everywhere
 * and durable on a majority, leaders complete, leases exclusive.
 */
#ifndef TESTS_SCENARIO_GROUP_H
#define TESTS_SCENARIO_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "dledger/core/core.h"

#define GROUP_LOG_MAX     8192u /* entries in a log */
#define GROUP_TERM_MAX    1024u /* terms in a run */
#define GROUP_PACKETS_MAX 4096u
#define GROUP_WRITES_MAX  1024u
#define GROUP_ENTRY_BYTES 100u

struct group_opts {
    uint32_t voters, learners; /* peers 1..voters, then the learners */
    dl_peer_t preferred;
    uint64_t seed;
    uint32_t window_entries;
    uint32_t push_entries; /* most entries in one push */
    bool false_resets;     /* connections are reset although nobody died: no leases in such a world */
};

struct group; /* opaque */

struct group *group_new(const struct group_opts *opts);
void group_free(struct group *g);

uint32_t group_size(const struct group *g);
uint64_t group_now(const struct group *g);
bool group_is_up(const struct group *g, dl_peer_t peer);
void group_view(const struct group *g, dl_peer_t peer, struct dl_core_view *view);
bool group_peer_view(const struct group *g, dl_peer_t peer, dl_peer_t other, struct dl_peer_view *view);
bool group_lease(const struct group *g, dl_peer_t peer);
dl_term_t group_term_at(const struct group *g, dl_peer_t peer, dl_index_t index);
dl_peer_t group_leader(const struct group *g); /* leading in the highest term, DL_NOBODY if none */

/* What happened since the last call, as text, one fact per line; lent until the next call. `loud` also tells
 * each message. */
const char *group_story(struct group *g);
void group_loud(struct group *g, bool loud);

/* Start `peer` anew with a durable log of these terms. */
void group_set_log(struct group *g, dl_peer_t peer, const dl_term_t *terms, uint32_t count,
                   struct dl_hard hard, dl_index_t commit);

void group_advance(struct group *g, uint64_t ms); /* time passes, nobody looks at the clock */
void group_tick(struct group *g, dl_peer_t peer);
uint64_t group_wake_ms(const struct group *g, dl_peer_t peer);
void group_submit(struct group *g, dl_peer_t peer, uint32_t count);
void group_transfer(struct group *g, dl_peer_t peer, dl_peer_t to);
void group_reset(struct group *g, dl_peer_t peer,
                 dl_peer_t about); /* `peer`'s connection to `about` is reset */
void group_unsent(struct group *g, dl_peer_t peer, dl_peer_t about);
void group_trim(struct group *g, dl_peer_t peer, dl_index_t index);

/* Disk: flush makes the oldest `count` waiting writes durable (0: all), report tells the core about what is
 * durable. */
uint32_t group_writes(const struct group *g, dl_peer_t peer);
void group_flush(struct group *g, dl_peer_t peer, uint32_t count);
void group_report_hard(struct group *g, dl_peer_t peer);
void group_report_log(struct group *g, dl_peer_t peer);
void group_hang(struct group *g, dl_peer_t peer, bool hang); /* settle and run leave this disk alone */
void group_crash(struct group *g,
                 dl_peer_t peer); /* what is not flushed is gone; messages under way stay under way */
void group_restart(struct group *g, dl_peer_t peer);

/* Network: packets are numbered 0.. in the order of sending. */
uint32_t group_packets(const struct group *g);
bool group_packet_is(const struct group *g, uint32_t number, dl_peer_t from, dl_peer_t to);
void group_deliver(struct group *g, uint32_t number, bool keep_copy);
void group_drop(struct group *g, uint32_t number);
void group_cut(struct group *g, dl_peer_t from, dl_peer_t to,
               bool cut); /* what is sent on a cut link is lost */

/* Everything that can happen at this instant happens: disks, messages. False when it does not come to
 * rest. */
bool group_settle(struct group *g);
/* Let `ms` pass with everybody awake and everything delivered at once. */
void group_run(struct group *g, uint64_t ms);

/* Pairwise log matching over all replicas (Raft figure 3). The other checks are made as things happen. */
void group_check_logs(const struct group *g);

#endif
