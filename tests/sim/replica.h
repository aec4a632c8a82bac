/*
 * replica.h - one simulated broker process: the product's store, state and node on a simulated disk, without
 * threads.
 */
#ifndef TESTS_SIM_REPLICA_H
#define TESTS_SIM_REPLICA_H

#include "broker/state/state.h"
#include "dledger/node.h"
#include "tests/lib/fakedisk.h"
#include "tests/sim/world.h"

struct replica;

struct replica *replica_new(struct world *w, dl_peer_t id);
void replica_free(struct replica *r);

/* Start the process: recovery, replay. Whatever recovery refuses is a broken rule (nothing here damages disks
 * beyond what a crash may). */
void replica_start(struct replica *r);
/* End it without warning; what was not synced is kept with odds `keep` (1 = killed process, less = power
 * cut). It starts again after a while. */
void replica_crash(struct replica *r, double keep, uint64_t down_us);
/* Cut its power in the middle of a disk job, `changes` changes from now. */
void replica_arm_power_cut(struct replica *r, uint64_t changes, double keep, uint64_t down_us);
/* Its disk is gone, its machine goes down; it starts again with an empty one. Nothing when it is down. */
void replica_lose_disk(struct replica *r, uint64_t down_us);
/* Like SIGSTOP for a while: nothing happens in it, then everything at once. */
void replica_pause(struct replica *r, uint64_t us);

/* No job of its log, or of its disk at all, gets through for a while; the process lives. */
void replica_hang_disk(struct replica *r, bool log_only, uint64_t us);

uint64_t replica_paused_us(const struct replica *r); /* what is left of a pause */
bool replica_alive(const struct replica *r);
uint64_t replica_incarnation(const struct replica *r);
dl_peer_t replica_id(const struct replica *r);
struct dl_node *replica_node(struct replica *r); /* NULL while down */
struct state *replica_state(struct replica *r);
struct dl_store *replica_store(struct replica *r);
struct fakedisk *replica_disk(struct replica *r);
uint64_t replica_now_ms(const struct replica *r); /* its own monotonic clock */
/* End of a turn of its loop: whoever called its node from outside calls this behind it. */
void replica_turn_end(struct replica *r);

/* Called by network.c. */
void replica_on_message(struct replica *r, const struct dl_msg *msg, struct buf *records);
void replica_on_up(struct replica *r, dl_peer_t peer);
void replica_on_down(struct replica *r, dl_peer_t peer, bool reset);

#endif
