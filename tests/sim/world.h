/*
 * world.h - time and chance of one simulated run: a queue of things to happen, one generator, and what the
 * run has seen.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/rng.h"
#include "dledger/core/types.h"

#define SIM_REPLICAS_MAX 5
#define MS               1000ull
#define SECOND           (1000 * MS)

struct replica;
struct network;
struct clients;
struct checks;

/* Drawn from the seed: which faults this run has and how extreme its settings are (swarm testing). */
struct tunables {
    uint32_t replicas;
    uint32_t heartbeat_ms, election_min_ms, election_max_ms;
    uint64_t segment_bytes, cache_bytes;
    uint32_t window_entries, window_bytes;
    dl_peer_t preferred;
    uint64_t net_min_us, net_max_us;   /* delay of a message */
    double loss, duplicate, reorder;   /* per message */
    uint64_t disk_min_us, disk_max_us; /* delay of a job */
    double disk_slow;                  /* chance of a job that takes disk_slow_us */
    uint64_t disk_slow_us;
    uint32_t producers, queues;
    uint64_t think_us; /* mean pause of a producer */
    uint32_t body_max;
    uint64_t checkpoint_us;
    uint64_t fault_every_us; /* mean */
    bool crash, power, mid_write, partition, one_way, pause, transfer, hang_up, disk_hang, disk_loss;
};

struct counters {
    uint64_t events, messages, lost, duplicated, elections, leaders;
    uint64_t kills, power_cuts, cut_in_write, restarts, partitions, one_way_cuts, pauses, transfers, hang_ups,
        disk_slow, disk_hangs, disks_lost;
    uint64_t sends, acks, refused, replaced, undecided, applied, offset_commits, reads;
};

struct event;
struct world {
    uint64_t seed, now_us, end_us;
    struct rng rng;
    struct tunables tune;
    struct counters count;
    struct event *heap;
    uint32_t heap_count, heap_cap;
    uint64_t next_order;
    bool verbose;
    bool healing;       /* the faults are over: progress is demanded */
    char failure[1024]; /* "" = nothing wrong so far */
    struct replica *replica[SIM_REPLICAS_MAX];
    struct network *network;
    struct clients *clients;
    struct checks *checks;
};

typedef void (*event_fn)(void *arg, uint64_t a, uint64_t b);

void world_init(struct world *w, uint64_t seed, uint64_t seconds);
void world_release(struct world *w);
/* Call fn(arg, a, b) at now + delay_us; things at the same time happen in the order they were asked for. */
void world_after(struct world *w, uint64_t delay_us, event_fn fn, void *arg, uint64_t a, uint64_t b);
/* Let the next thing happen; false when nothing is left, the end is reached or something has failed. */
bool world_step(struct world *w);
/* A rule was broken: remember the first one. */
void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_note(struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* when verbose */
bool world_failed(const struct world *w);

#endif
