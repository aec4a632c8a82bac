#include "tests/sim/faults.h"

#include <stddef.h>

#include "tests/sim/checks.h"
#include "tests/sim/network.h"
#include "tests/sim/replica.h"

#define DOWN_MAX_US  (8 * SECOND)
#define PAUSE_MAX_US (3 * SECOND)
#define HANG_MAX_US  (6 * SECOND)

static struct replica *anyone(struct world *w)
{
    return w->replica[rng_below(&w->rng, w->tune.replicas)];
}

static struct replica *leader_or_anyone(struct world *w)
{
    for (uint32_t i = 0; i < w->tune.replicas; i++) {
        struct dl_node_status s;

        if (!replica_alive(w->replica[i]))
            continue;
        dl_node_status(replica_node(w->replica[i]), &s);
        if (s.core.role == DL_LEADER)
            return w->replica[i];
    }
    return anyone(w);
}

/* Half of the time the leader, whom it hurts most. */
static struct replica *victim(struct world *w)
{
    return rng_chance(&w->rng, 0.5) ? leader_or_anyone(w) : anyone(w);
}

static uint64_t down_us(struct world *w)
{
    return rng_chance(&w->rng, 0.5) ? rng_between(&w->rng, 1 * MS, 300 * MS)
                                    : rng_between(&w->rng, 1 * MS, DOWN_MAX_US);
}

static double keep(struct world *w)
{
    return rng_chance(&w->rng, 0.5) ? 0.0 : (double)rng_below(&w->rng, 100) / 100;
}

static void kill_one(struct world *w)
{
    w->count.kills++;
    replica_crash(victim(w), 1.0, down_us(w));
}

static void kill_all(struct world *w)
{
    w->count.kills += w->tune.replicas;
    for (uint32_t i = 0; i < w->tune.replicas; i++)
        replica_crash(w->replica[i], 1.0, down_us(w));
}

static void cut_power(struct world *w)
{
    w->count.power_cuts++;
    replica_crash(victim(w), keep(w), down_us(w));
}

static void cut_power_everywhere(struct world *w)
{
    for (uint32_t i = 0; i < w->tune.replicas; i++) {
        w->count.power_cuts++;
        replica_crash(w->replica[i], keep(w), down_us(w));
    }
}

static void cut_power_in_write(struct world *w)
{
    replica_arm_power_cut(victim(w), rng_between(&w->rng, 1, 12), keep(w), down_us(w));
}

static void kill_in_write(struct world *w)
{
    replica_arm_power_cut(victim(w), rng_between(&w->rng, 1, 12), 1.0, down_us(w));
}

static void isolate(struct world *w)
{
    dl_peer_t alone = replica_id(victim(w));

    w->count.partitions++;
    for (dl_peer_t p = 1; p <= w->tune.replicas; p++) {
        if (p == alone)
            continue;
        network_cut(w->network, alone, p, true);
        network_cut(w->network, p, alone, true);
    }
}

/* Everybody on one of two sides; sometimes one is on both (a bridge). */
static void split(struct world *w)
{
    uint64_t side = rng_next(&w->rng);
    dl_peer_t bridge =
        rng_chance(&w->rng, 0.3) ? (dl_peer_t)rng_between(&w->rng, 1, w->tune.replicas) : DL_NOBODY;

    w->count.partitions++;
    for (dl_peer_t a = 1; a <= w->tune.replicas; a++) {
        for (dl_peer_t b = 1; b <= w->tune.replicas; b++) {
            if (a != b && a != bridge && b != bridge && (side >> a & 1) != (side >> b & 1))
                network_cut(w->network, a, b, true);
        }
    }
}

static void cut_one_way(struct world *w)
{
    dl_peer_t a = replica_id(victim(w)), b = replica_id(anyone(w));

    w->count.one_way_cuts++;
    if (a != b)
        network_cut(w->network, a, b, true);
}

static void heal_links(struct world *w)
{
    network_heal(w->network);
}

static void pause_one(struct world *w)
{
    w->count.pauses++;
    replica_pause(victim(w), rng_between(&w->rng, 10 * MS, PAUSE_MAX_US));
}

/* A process ends its connections with all others, or one, and lives on. */
static void hang_up(struct world *w)
{
    struct replica *r = victim(w);
    dl_peer_t only = rng_chance(&w->rng, 0.5) ? DL_NOBODY : replica_id(anyone(w));

    w->count.hang_ups++;
    for (dl_peer_t p = 1; p <= w->tune.replicas; p++) {
        if (replica_paused_us(r) == 0 && p != replica_id(r) && (only == DL_NOBODY || only == p))
            network_hang_up(w->network, replica_id(r), p);
    }
}

static void hand_over(struct world *w)
{
    struct replica *r = leader_or_anyone(w);
    dl_peer_t to = rng_chance(&w->rng, 0.5) ? DL_NOBODY : replica_id(anyone(w));

    if (!replica_alive(r) || replica_paused_us(r) > 0 || dl_node_transfer(replica_node(r), to) != 0)
        return;
    w->count.transfers++;
    replica_turn_end(r);
}

static void hang_disk(struct world *w)
{
    w->count.disk_hangs++;
    replica_hang_disk(victim(w), rng_chance(&w->rng, 0.5), rng_between(&w->rng, 100 * MS, HANG_MAX_US));
}

/* Fewer than half may be without what they had, counted until they have joined again. */
static void lose_disk(struct world *w)
{
    struct replica *r = victim(w);
    uint32_t without = 1;

    for (uint32_t i = 0; i < w->tune.replicas; i++)
        without += w->replica[i] != r && !checks_has_joined(w->checks, w->replica[i]);
    if (without * 2 >= w->tune.replicas || !replica_alive(r))
        return;
    w->count.disks_lost++;
    replica_lose_disk(r, down_us(w));
}

struct fault {
    size_t enabled; /* offset of the switch in struct tunables */
    void (*fn)(struct world *w);
};
#define WHEN(field) offsetof(struct tunables, field)
static const struct fault faults[] = {
    {WHEN(crash), kill_one},
    {WHEN(crash), kill_all},
    {WHEN(crash), kill_in_write},
    {WHEN(power), cut_power},
    {WHEN(power), cut_power_everywhere},
    {WHEN(mid_write), cut_power_in_write},
    {WHEN(partition), isolate},
    {WHEN(partition), split},
    {WHEN(partition), heal_links},
    {WHEN(one_way), cut_one_way},
    {WHEN(one_way), heal_links},
    {WHEN(pause), pause_one},
    {WHEN(transfer), hand_over},
    {WHEN(hang_up), hang_up},
    {WHEN(disk_hang), hang_disk},
    {WHEN(disk_loss), lose_disk},
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static void on_fault(void *arg, uint64_t a, uint64_t b)
{
    struct world *w = arg;
    const struct fault *f = &faults[rng_below(&w->rng, FAULTS)];

    (void)a;
    (void)b;
    if (w->healing)
        return;
    if (*(const bool *)((const char *)&w->tune + f->enabled))
        f->fn(w);
    world_after(w, rng_below(&w->rng, 2 * w->tune.fault_every_us + 1), on_fault, w, 0, 0);
}

void faults_start(struct world *w)
{
    world_after(w, rng_below(&w->rng, 2 * w->tune.fault_every_us + 1), on_fault, w, 0, 0);
}

void faults_heal(struct world *w)
{
    w->healing = true;
    network_heal(w->network);
    for (uint32_t i = 0; i < w->tune.replicas; i++) {
        replica_pause(w->replica[i], 0);
        if (!fakedisk_is_off(replica_disk(w->replica[i])))
            fakedisk_power_off_at(replica_disk(w->replica[i]), 0);
    }
}
