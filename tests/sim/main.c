/*
 * main.c - runs seeds: `sim [--seed N] [--count N] [--seconds N] [--jobs N] [--verbose]`.
 *
 * A seed is one run: a cluster, clients and faults for the given simulated time, then everything is healed
 * and progress demanded (L1), then all replicas must be equal. A broken rule prints the seed and ends with
 * status 1; the same seed fails in the same way again. Seeds are shared out to processes (one per processor);
 * each seed runs in one thread and reads no clock. A process that ends before its time (an ENSURE, fatal(), a
 * sanitizer, or a seed that does not end) costs the seed it was at, which is named, and is replaced for the
 * rest of its share. With --verbose there is but one process, for a debugger.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/ensure.h"
#include "common/log.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"
#include "tests/sim/replica.h"

#define HEAL_ELECTIONS 10u            /* election time outs within which there must be progress */
#define SETTLE_US      (300 * SECOND) /* with a window of one entry catching up takes its time */
#define JOBS_MAX       64
#define SEED_LIMIT_S   300u /* of real time; one takes a tenth of a second, some more under a sanitizer */

struct options {
    uint64_t seed, count, seconds;
    uint32_t jobs;
    bool verbose;
};

/* Shared by the processes. */
struct totals {
    struct counters count;
    uint64_t seeds, failed;
    uint64_t at[JOBS_MAX]; /* number (from 0) of the seed that a process is at */
};

static void add_counters(struct counters *to, const struct counters *from)
{
    const uint64_t *f = (const uint64_t *)from;
    uint64_t *t = (uint64_t *)to;

    for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
        __atomic_fetch_add(&t[i], f[i], __ATOMIC_RELAXED);
}

static void run_until(struct world *w, uint64_t end_us)
{
    w->end_us = end_us;
    while (world_step(w))
        ;
}

/* The faults are over: a leader and progress for every client within some election time outs, once all
 * processes are back. */
static void demand_progress(struct world *w)
{
    uint64_t limit_us = w->now_us + 10 * SECOND + HEAL_ELECTIONS * w->tune.election_max_ms * MS + 2 * SECOND;

    faults_heal(w);
    (void)clients_least_acks(w->clients);
    run_until(w, limit_us);
    if (!world_failed(w) && clients_least_acks(w->clients) == 0)
        world_fail(w, "L1: a client had no acknowledgement long after everything was healed");
}

static void demand_convergence(struct world *w)
{
    uint64_t limit_us = w->now_us + SETTLE_US;

    clients_stop(w->clients);
    while (!world_failed(w) && w->now_us < limit_us) {
        run_until(w, w->now_us + 500 * MS);
        w->now_us = w->end_us;
        if (checks_converged(w->checks))
            break;
    }
    if (!world_failed(w) && !checks_converged(w->checks))
        world_fail(w, "L1: the replicas are not level long after everything was healed");
    if (!world_failed(w))
        checks_at_end(w->checks);
}

static void show_tunables(const struct world *w)
{
    const struct tunables *t = &w->tune;

    world_note((struct world *)(uintptr_t)w,
               "replicas=%u election=%u-%u heartbeat=%u segment=%llu cache=%llu window=%u/%u preferred=n%d "
               "net=%llu-%llu us loss=%.2f "
               "dup=%.2f reorder=%.2f disk=%llu-%llu us slow=%.2f/%llu us producers=%u queues=%u think=%llu "
               "us body=%u",
               t->replicas, t->election_min_ms, t->election_max_ms, t->heartbeat_ms,
               (unsigned long long)t->segment_bytes, (unsigned long long)t->cache_bytes, t->window_entries,
               t->window_bytes, (int)t->preferred - 1, (unsigned long long)t->net_min_us,
               (unsigned long long)t->net_max_us, t->loss, t->duplicate, t->reorder,
               (unsigned long long)t->disk_min_us, (unsigned long long)t->disk_max_us, t->disk_slow,
               (unsigned long long)t->disk_slow_us, t->producers, t->queues, (unsigned long long)t->think_us,
               t->body_max);
}

static void print_failure(const struct options *o, uint64_t seed, const char *fmt, ...)
{
    va_list args;

    printf("FAIL seed %llu ", (unsigned long long)seed);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n     again: sim --seed %llu --seconds %llu --verbose\n", (unsigned long long)seed,
           (unsigned long long)o->seconds);
}

static bool run_seed(const struct options *o, uint64_t seed, struct totals *totals)
{
    struct world w;
    bool failed;

    world_init(&w, seed, o->seconds);
    w.verbose = o->verbose;
    show_tunables(&w);
    w.network = network_new(&w);
    w.checks = checks_new(&w);
    w.clients = clients_new(&w);
    for (uint32_t i = 0; i < w.tune.replicas; i++)
        w.replica[i] = replica_new(&w, i + 1);
    for (uint32_t i = 0; i < w.tune.replicas; i++)
        replica_start(w.replica[i]);
    clients_start(w.clients);
    faults_start(&w);
    run_until(&w, o->seconds * SECOND);
    if (!world_failed(&w))
        demand_progress(&w);
    if (!world_failed(&w))
        demand_convergence(&w);
    failed = world_failed(&w);
    if (failed)
        print_failure(o, seed, "at %.6f s (event %llu): %s", (double)w.now_us / SECOND,
                      (unsigned long long)w.count.events, w.failure);
    add_counters(&totals->count, &w.count);
    for (uint32_t i = 0; i < w.tune.replicas; i++)
        replica_free(w.replica[i]);
    network_free(w.network);
    clients_free(w.clients);
    checks_free(w.checks);
    world_release(&w);
    return !failed;
}

static void run_share(const struct options *o, uint32_t job, struct totals *totals)
{
    for (uint64_t i = totals->at[job]; i < o->count; i += o->jobs) {
        totals->at[job] = i;
        if (!o->verbose)
            alarm(SEED_LIMIT_S);
        __atomic_fetch_add(&totals->seeds, 1, __ATOMIC_RELAXED);
        if (!run_seed(o, o->seed + i, totals))
            __atomic_fetch_add(&totals->failed, 1, __ATOMIC_RELAXED);
        fflush(stdout);
    }
}

static pid_t start_job(const struct options *o, uint32_t job, struct totals *totals)
{
    pid_t child;

    fflush(stdout);
    child = fork();
    ENSURE(child >= 0);
    if (child != 0)
        return child;
    run_share(o, job, totals);
    _exit(0);
}

/* It ended by itself or was ended, and not because its share was done: whose fault was it? */
static void blame_seed(const struct options *o, uint32_t job, int status, struct totals *totals)
{
    uint64_t seed = o->seed + totals->at[job];

    if (WIFSIGNALED(status))
        print_failure(o, seed, "ended its process: %s", strsignal(WTERMSIG(status)));
    else
        print_failure(o, seed, "ended its process: status %d", WEXITSTATUS(status));
    totals->failed++;
    totals->at[job] += o->jobs;
}

static void run_jobs(const struct options *o, struct totals *totals)
{
    pid_t children[JOBS_MAX], child;
    int status;

    for (uint32_t job = 0; job < o->jobs; job++)
        children[job] = start_job(o, job, totals);
    while ((child = wait(&status)) > 0) {
        for (uint32_t job = 0; job < o->jobs; job++) {
            if (children[job] != child || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
                continue;
            blame_seed(o, job, status, totals);
            children[job] = totals->at[job] < o->count ? start_job(o, job, totals) : -1;
        }
    }
}

static void print_totals(const struct options *o, const struct totals *t)
{
    const struct counters *c = &t->count;

    printf("%llu seeds of %llu simulated seconds, %llu failed\n", (unsigned long long)t->seeds,
           (unsigned long long)o->seconds, (unsigned long long)t->failed);
#define SHOW(field) printf("  %-14s %llu\n", #field, (unsigned long long)c->field)
    SHOW(events), SHOW(messages), SHOW(lost), SHOW(duplicated), SHOW(leaders), SHOW(kills), SHOW(power_cuts),
        SHOW(cut_in_write);
    SHOW(restarts), SHOW(partitions), SHOW(one_way_cuts), SHOW(pauses), SHOW(transfers), SHOW(hang_ups),
        SHOW(disk_slow), SHOW(disk_hangs), SHOW(disks_lost), SHOW(sends), SHOW(acks);
    SHOW(refused), SHOW(replaced), SHOW(undecided), SHOW(offset_commits), SHOW(applied), SHOW(reads);
#undef SHOW
}

static void quiet(void *arg, enum log_level level, const char *line)
{
    if (*(bool *)arg)
        printf("           log %d %s\n", (int)level, line);
}

static bool read_number(const char *text, uint64_t *out)
{
    int64_t n;

    if (!str_to_i64(str_of(text), &n) || n < 0)
        return false;
    *out = (uint64_t)n;
    return true;
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},    {"count", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 't'}, {"jobs", required_argument, NULL, 'j'},
        {"verbose", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0}};
    uint64_t jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    int option;
    bool good = true;

    *o = (struct options){.seed = 1, .count = 1, .seconds = 60};
    while (good && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t *into = option == 's'   ? &o->seed
                         : option == 'c' ? &o->count
                         : option == 't' ? &o->seconds
                                         : &jobs;

        if (option == 'v')
            o->verbose = true;
        else
            good = option != '?' && read_number(optarg, into);
    }
    if (!good || optind < argc || jobs == 0 || jobs > JOBS_MAX) {
        fprintf(stderr, "usage: sim [--seed N] [--count N] [--seconds N] [--jobs N] [--verbose]\n");
        return 2;
    }
    o->jobs = jobs < o->count ? (uint32_t)jobs : (uint32_t)o->count;
    if (o->verbose) {
        o->jobs = 1;
        setvbuf(stdout, NULL, _IOLBF, 0); /* what was noted before an ENSURE is wanted most */
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct totals *totals;
    int rc = read_options(argc, argv, &o);

    if (rc != 0)
        return rc;
    log_set_sink(quiet, &o.verbose);
    totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ENSURE(totals != MAP_FAILED);
    for (uint32_t job = 0; job < o.jobs; job++)
        totals->at[job] = job;
    if (o.verbose)
        run_share(&o, 0, totals);
    else
        run_jobs(&o, totals);
    print_totals(&o, totals);
    return totals->failed > 0;
}
