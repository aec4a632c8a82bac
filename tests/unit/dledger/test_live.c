/*
 * Three replicas in one process, wired as a broker wires them: one event loop, real connections over
 * loopback, real workers and files.
 */
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "dledger/net/peers.h"
#include "dledger/node.h"
#include "tests/lib/scratch.h"

#define REPLICAS 3
#define WAIT_MS  30000u
#define LOAD     3000

struct live {
    dl_peer_t id;
    struct disk disk;
    struct worker *flush, *meta, *read;
    struct dl_store *store;
    struct dl_peers *peers;
    struct dl_transport transport;
    struct dl_node *node;
    struct timer wake;
    bool serving;
    uint64_t applied, sum;
};

static struct loop *loop;
static struct live live[REPLICAS];
static struct dl_peer_addr addrs[REPLICAS];
static char root[64];
static uint32_t done_good, done_bad;

static void on_message(void *arg, const struct dl_msg *msg, struct buf *records, uint32_t offset,
                       uint32_t len)
{
    dl_node_on_message(((struct live *)arg)->node, msg, records, offset, len);
}

static void on_up(void *arg, dl_peer_t peer)
{
    dl_node_on_up(((struct live *)arg)->node, peer);
}

static void on_down(void *arg, dl_peer_t peer, bool reset)
{
    dl_node_on_down(((struct live *)arg)->node, peer, reset);
}

static void on_persisted(void *arg, dl_index_t index, dl_term_t term)
{
    dl_node_on_persisted(((struct live *)arg)->node, index, term);
}

static void on_hard(void *arg, struct dl_hard hard)
{
    dl_node_on_hard(((struct live *)arg)->node, hard);
}

static uint64_t clock_now(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static void wake_at(void *arg, uint64_t ms)
{
    struct live *r = arg;
    uint64_t now = clock_mono_ms();
    timer_start(&r->wake, ms > now ? (uint32_t)(ms - now) : 0);
}

static void on_wake(void *arg)
{
    dl_node_tick(((struct live *)arg)->node);
}

static void on_turn_end(void *arg)
{
    struct live *r = arg;
    if (r->node)
        dl_node_turn_end(r->node);
}

static const void *on_apply(void *arg, const struct dl_entry *e)
{
    struct live *r = arg;
    r->applied = e->index;
    r->sum = r->sum * 31 + e->term * 7 + (e->kind == DL_KIND_NOOP ? 0 : dl_entry_body(e)[0]);
    return NULL;
}

static void on_changed(void *arg, const struct dl_node_status *status)
{
    ((struct live *)arg)->serving = status->serving;
}

static uint16_t free_port(void)
{
    static uint16_t next;
    for (int tries = 0; tries < 100; tries++) {
        uint16_t port = (uint16_t)(19600 + ((uint32_t)getpid() * 7 + next++) % 100);
        struct sockaddr_in a = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (rc == 0)
            return port;
    }
    ck_abort_msg("no free port");
}

static void start(int i)
{
    struct live *r = &live[i];
    r->id = addrs[i].id;
    r->applied = r->sum = 0;
    char path[128];
    snprintf(path, sizeof path, "%s/n%d", root, i);
    struct err err;
    ck_assert_int_eq(disk_posix_init(&r->disk, path), 0);
    r->flush = worker_new(loop, "flush", 1);
    r->meta = worker_new(loop, "meta", 1);
    r->read = worker_new(loop, "read", 1);
    struct dl_store_opts so = {.disk = &r->disk,
                               .group = "live",
                               .self = r->id,
                               .members = {REPLICAS, {1, 2, 3}, {true, true, true}},
                               .segment_bytes = 1 << 20,
                               .cache_bytes = 256 * 1024,
                               .flush = r->flush,
                               .meta = r->meta,
                               .read = r->read,
                               .on_persisted = on_persisted,
                               .on_hard = on_hard,
                               .arg = r};
    ck_assert_msg(dl_store_open(&so, &r->store, &err) == 0, "%s", err.text);
    struct dl_peers_opts po = {.loop = loop,
                               .group = "live",
                               .self = r->id,
                               .listen_host = "127.0.0.1",
                               .peers = addrs,
                               .count = REPLICAS,
                               .hooks = {on_message, on_up, on_down, NULL, r}};
    ck_assert_msg(dl_peers_open(&po, &r->peers, &r->transport, &err) == 0, "%s", err.text);
    timer_init(&r->wake, loop, on_wake, r);
    struct dl_node_opts o = {
        .core = {.self = r->id,
                 .members = {.count = REPLICAS, .id = {1, 2, 3}, .voter = {true, true, true}},
                 .seed = (uint64_t)i + clock_mono_us(),
                 .heartbeat_ms = 50,
                 .election_min_ms = 300,
                 .election_max_ms = 600,
                 .window_entries = 4096,
                 .window_bytes = 8 << 20},
        .group = "live",
        .store = r->store,
        .transport = &r->transport,
        .hooks = {on_apply, NULL, on_changed, r},
        .waiting_max_bytes = 64 << 20,
        .now_ms = clock_now,
        .wake_at = wake_at,
        .clock_arg = r};
    ck_assert_msg(dl_node_new(&o, &r->node, &err) == 0, "%s", err.text);
}

static void stop(int i)
{
    struct live *r = &live[i];
    if (!r->node)
        return;
    dl_peers_close(r->peers);
    dl_node_free(r->node);
    r->node = NULL;
    r->serving = false;
    timer_release(&r->wake);
    dl_store_close(r->store);
    worker_free(r->flush);
    worker_free(r->meta);
    worker_free(r->read);
}

#define TURN_UNTIL(cond)                                                  \
    do {                                                                  \
        uint64_t end_ms_ = clock_mono_ms() + WAIT_MS;                     \
        while (!(cond)) {                                                 \
            ck_assert_msg(clock_mono_ms() < end_ms_, "never: %s", #cond); \
            loop_turn(loop, 20);                                          \
        }                                                                 \
    } while (0)

static int leader(void)
{
    for (int i = 0; i < REPLICAS; i++) {
        if (live[i].node && live[i].serving && dl_node_can_read(live[i].node))
            return i;
    }
    return -1;
}

static bool all_equal(void)
{
    const struct live *a = NULL;
    for (int i = 0; i < REPLICAS; i++) {
        if (!live[i].node)
            continue;
        if (a && (a->applied != live[i].applied || a->sum != live[i].sum))
            return false;
        a = &live[i];
    }
    return true;
}

static void on_done(struct dl_waiter *w, int err, const struct dl_entry *e, const void *result)
{
    (void)e, (void)result;
    done_good += err == 0;
    done_bad += err != 0;
    free(w);
}

static void load(int count)
{
    done_good = done_bad = 0;
    for (int k = 0; k < count;) {
        int l = leader();
        for (int burst = 0; l >= 0 && burst < 50 && k < count; burst++, k++) {
            struct buf *buf = buf_new(DL_RECORD_HEAD + 500);
            memset(buf->data, 'a' + k % 26, DL_RECORD_HEAD + 500);
            buf->len = DL_RECORD_HEAD + 500;
            struct dl_waiter *w = calloc(1, sizeof *w);
            w->done = on_done;
            ck_assert_int_eq(dl_node_propose(live[l].node, DL_KIND_FIRST_APP, buf, w), 0);
        }
        loop_turn(loop, 5);
    }
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void setup(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    scratch_dir(root, sizeof root);
    loop = loop_new();
    for (uint32_t i = 0; i < REPLICAS; i++) {
        addrs[i] = (struct dl_peer_addr){i + 1, "127.0.0.1", free_port()};
        loop_on_turn_end(loop, on_turn_end, &live[i]);
    }
    for (int i = 0; i < REPLICAS; i++)
        start(i);
}

static void teardown(void)
{
    for (int i = 0; i < REPLICAS; i++)
        stop(i);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 0);
    loop_free(loop);
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

START_TEST(load_and_change_of_leader)
{
    TURN_UNTIL(leader() >= 0);
    load(LOAD);
    TURN_UNTIL(done_good == LOAD);
    ck_assert_uint_eq(done_bad, 0);
    TURN_UNTIL(all_equal());

    int old = leader();
    ck_assert_int_ge(old, 0);
    stop(old);
    TURN_UNTIL(leader() >= 0 && leader() != old);
    load(LOAD);
    TURN_UNTIL(done_good == LOAD);
    TURN_UNTIL(all_equal());

    start(old); /* replays its log from disk, is sent the rest from the leader's */
    TURN_UNTIL(live[old].applied > 2 * LOAD && all_equal());
    load(10);
    TURN_UNTIL(done_good + done_bad == 10 && all_equal());
}
END_TEST

START_TEST(planned_hand_over)
{
    TURN_UNTIL(leader() >= 0);
    int old = leader();
    ck_assert_int_eq(dl_node_transfer(live[old].node, DL_NOBODY), 0);
    TURN_UNTIL(leader() >= 0 && leader() != old);
    load(100);
    TURN_UNTIL(done_good == 100);
    TURN_UNTIL(all_equal());
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dledger/live");
    TCase *t = tcase_create("live");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, load_and_change_of_leader);
    tcase_add_test(t, planned_hand_over);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
