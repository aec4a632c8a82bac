/*
 * broker.c - wiring only: which part is told what by whom. No decision about messages is made here.
 *
 *   disk -> store -> checkpoint -> state -> front -> replicas' transport -> node -> registrar ->
 *   client listeners -> HTTP
 *
 * Threads (docs/architecture.md): the loop, and workers that own one thing each: flush (records), meta (term
 * and vote), state (LMDB and index files), read (cold bytes, preparing segments).
 */
#include "broker/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <malloc.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "broker/alone.h"
#include "broker/front/front.h"
#include "broker/handlers.h"
#include "broker/health.h"
#include "broker/register.h"
#include "broker/state/checkpoint.h"
#include "common/clock.h"
#include "common/log.h"
#include "dledger/net/peers.h"

#define STATE_MAP_BYTES    (1ull << 30)
#define STATE_CACHE_BLOCKS 1024u
#define STATE_ASIDE        ".damaged"
#define CLIENT_FRAME_MIN   8u
#define VIP_PORT_DISTANCE  2
#define SHUTDOWN_STEP_MS   10u
#define SHUTDOWN_ANSWER_MS 500u /* after the hand-over: for requests somebody waits for */

struct broker {
    struct settings *settings;
    struct loop *loop;
    struct worker *flush, *meta, *state_worker, *read;
    struct disk disk;
    struct dl_store *store;
    struct checkpoint checkpoint;
    bool checkpoint_open;
    struct state *state;
    struct dl_peers *peers;
    struct dl_transport transport;
    struct dl_node *node;
    struct front front;
    bool front_made;
    struct registrar *registrar;
    struct health *health;
    struct listener *clients, *vip;
    struct timer wake, checkpoint_timer, shutdown;
    uint64_t wake_wish_ms;
    bool wake_forgiven;
    uint64_t shutdown_deadline_ms, answer_deadline_ms;
    bool stopping;
    struct settings_peer peer_rows[DL_PEERS_MAX];
    uint32_t peer_count;
    dl_peer_t self, preferred;
    char state_dir[SETTINGS_DIR_MAX + 8];
};

/* ---- news from below ---- */

static const void *on_apply(void *arg, const struct dl_entry *e)
{
    struct broker *b = arg;

    return state_apply(b->state, e->index, e->term, e->kind, dl_entry_body(e), dl_entry_body_len(e),
                       e->pos + DL_RECORD_HEAD);
}

static void on_applied(void *arg, dl_index_t index)
{
    struct broker *b = arg;

    (void)index;
    front_on_applied(&b->front);
    if (state_dirty_bytes(b->state) >= (uint64_t)b->settings->checkpoint_bytes && !state_flushing(b->state))
        state_flush(b->state, NULL, NULL);
}

static void on_changed(void *arg, const struct dl_node_status *status)
{
    struct broker *b = arg;

    front_on_changed(&b->front, status);
}

static void on_persisted(void *arg, dl_index_t index, dl_term_t term)
{
    struct broker *b = arg;

    state_note_durable(b->state, index);
    if (b->node != NULL) /* NULL: we are ending */
        dl_node_on_persisted(b->node, index, term);
}

static void on_hard(void *arg, struct dl_hard hard)
{
    struct broker *b = arg;

    if (b->node != NULL)
        dl_node_on_hard(b->node, hard);
}

static void on_fsync(void *arg, uint64_t us, uint64_t bytes)
{
    struct broker *b = arg;

    (void)bytes;
    metric_hist_add(&b->front.counters.fsync_latency, us);
}

static void on_message(void *arg, const struct dl_msg *msg, struct buf *records, uint32_t offset,
                       uint32_t len)
{
    struct broker *b = arg;

    dl_node_on_message(b->node, msg, records, offset, len);
}

static void on_up(void *arg, dl_peer_t peer)
{
    struct broker *b = arg;

    dl_node_on_up(b->node, peer);
}

static void on_down(void *arg, dl_peer_t peer, bool reset)
{
    struct broker *b = arg;

    dl_node_on_down(b->node, peer, reset);
}

static void on_relay(void *arg, dl_peer_t from, uint64_t ticket, dl_term_t term,
                     const struct sockaddr_in *client, const uint8_t *frame, uint32_t len)
{
    struct broker *b = arg;

    front_on_relay(&b->front, from, ticket, term, client, frame, len);
}

/* ---- time ---- */

/* Not the loop's time: a process that was stopped inside a turn must not believe in a lease that has run out
 * meanwhile. */
static uint64_t now_ms(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static void wake_at(void *arg, uint64_t ms)
{
    struct broker *b = arg;
    uint64_t now = loop_now_ms(b->loop);

    b->wake_wish_ms = ms > now ? ms : now;
    timer_start(&b->wake, ms > now ? (uint32_t)(ms - now) : 0);
}

/* A process that was not run for a while (a paused machine, a starved processor) must not conclude that the
 * leader is silent: its heartbeats may be on their way. It listens for two heartbeats first. A leader goes on
 * at once: others wait for its heartbeats. */
static void on_wake(void *arg)
{
    struct broker *b = arg;
    uint64_t now = loop_now_ms(b->loop), late_ms = now > b->wake_wish_ms ? now - b->wake_wish_ms : 0;

    if (late_ms > (uint64_t)b->settings->heartbeat_ms && b->front.leader != b->self && !b->wake_forgiven) {
        LOG_WARN_EVERY(10000, "this process was not run", "self=n%u ms=%llu", b->self - 1,
                       (unsigned long long)late_ms);
        b->wake_forgiven = true;
        timer_start(&b->wake, (uint32_t)b->settings->heartbeat_ms * 2);
        return;
    }
    b->wake_forgiven = false;
    dl_node_tick(b->node);
}

static void on_turn_end(void *arg)
{
    struct broker *b = arg;

    if (b->node != NULL)
        dl_node_turn_end(b->node);
}

static void on_checkpoint_time(void *arg)
{
    struct broker *b = arg;

    if (!state_flushing(b->state) && state_applied(b->state) > state_checkpointed(b->state))
        state_flush(b->state, NULL, NULL);
    timer_start(&b->checkpoint_timer, (uint32_t)b->settings->checkpoint_ms);
}

/* ---- client connections ---- */

static void on_client_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct front *f = conn_user(conn);

    (void)dispatch_frame(&f->dispatch, conn, NULL, frame, len); /* a bad frame has closed conn */
}

static void on_client_close(struct conn *conn, int why)
{
    struct front *f = conn_user(conn);

    (void)why;
    front_on_conn_closed(f, conn_id(conn));
}

static const struct conn_ops client_ops = {.on_frame = on_client_frame, .on_close = on_client_close};

static int listen_for_clients(struct broker *b, struct err *err)
{
    const struct settings *s = b->settings;
    struct conn_limits limits = {
        .frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
        .frame_min_bytes = CLIENT_FRAME_MIN,
        .out_max_bytes = (uint32_t)s->conn_out_max_bytes,
        .idle_ms = (uint32_t)s->conn_idle_s * 1000,
        .conns_max = (uint32_t)s->conns_max,
        .all_max_bytes = (uint64_t)s->conns_max_bytes,
    };
    int rc = listener_open(b->loop, s->listen_host, (uint16_t)s->listen_port, &client_ops, &limits, &b->front,
                           &b->clients, err);

    if (rc == 0 && s->fast_port && s->listen_port > VIP_PORT_DISTANCE)
        rc = listener_open(b->loop, s->listen_host, (uint16_t)(s->listen_port - VIP_PORT_DISTANCE),
                           &client_ops, &limits, &b->front, &b->vip, err);
    return rc;
}

/* ---- stop: hand over, tell the nameservers, checkpoint, leave the loop ---- */

static void on_last_checkpoint(void *arg)
{
    struct broker *b = arg;

    loop_stop(b->loop);
}

static void on_shutdown_step(void *arg)
{
    struct broker *b = arg;

    uint64_t now_ms = loop_now_ms(b->loop);

    if (b->front.serving)
        b->answer_deadline_ms = now_ms + SHUTDOWN_ANSWER_MS;
    if (b->peer_count > 1 && now_ms < b->shutdown_deadline_ms &&
        (b->front.serving || (now_ms < b->answer_deadline_ms && front_unanswered(&b->front) > 0))) {
        timer_start(&b->shutdown, SHUTDOWN_STEP_MS);
        return;
    }
    registrar_leave(b->registrar);
    state_flush(b->state, on_last_checkpoint, b);
}

static void on_stop_signal(void *arg)
{
    struct broker *b = arg;

    if (b->stopping)
        return;
    b->stopping = true;
    LOG_INFO("stopping", "serving=%d", b->front.serving);
    b->shutdown_deadline_ms = loop_now_ms(b->loop) + (uint64_t)b->settings->shutdown_handover_ms;
    if (b->front.serving && b->peer_count > 1 && dl_node_transfer(b->node, DL_NOBODY) != 0)
        LOG_WARN("no follower to hand over to", "self=n%u", b->self - 1);
    on_shutdown_step(b);
}

/* ---- building ---- */

/* First IPv4 address of an interface that is up and not loopback. */
static struct in_addr detect_address(void)
{
    struct in_addr found = {htonl(INADDR_LOOPBACK)};
    struct ifaddrs *list, *i;

    if (getifaddrs(&list) != 0)
        return found;
    for (i = list; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
            !(i->ifa_flags & IFF_UP))
            continue;
        found = ((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
        break;
    }
    freeifaddrs(list);
    return found;
}

static void set_address(struct broker *b)
{
    struct sockaddr_in *host = &b->front.store_host;
    char ip[INET_ADDRSTRLEN];

    host->sin_family = AF_INET;
    host->sin_port = htons((uint16_t)b->settings->listen_port);
    if (b->settings->broker_ip1 == NULL || inet_pton(AF_INET, b->settings->broker_ip1, &host->sin_addr) != 1)
        host->sin_addr = detect_address();
    inet_ntop(AF_INET, &host->sin_addr, ip, sizeof(ip));
    snprintf(b->front.address, sizeof(b->front.address), "%s:%u", ip, (unsigned)b->settings->listen_port);
}

static const char *group_name(const struct broker *b)
{
    return b->settings->group != NULL ? b->settings->group : b->settings->broker_name;
}

static int open_store(struct broker *b, struct err *err)
{
    struct dl_store_opts opts = {
        .disk = &b->disk,
        .group = group_name(b),
        .self = b->self,
        .members = b->front.members,
        .seed = rng_entropy(), /* its own: what is drawn from the broker's seed can be seen by clients */
        .segment_bytes = (uint64_t)b->settings->segment_bytes,
        .cache_bytes = (uint64_t)b->settings->cache_bytes,
        .flush = b->flush,
        .meta = b->meta,
        .read = b->read,
        .on_persisted = on_persisted,
        .on_hard = on_hard,
        .on_fsync = on_fsync,
        .arg = b,
    };
    int rc = disk_posix_init(&b->disk, b->settings->store_dir);

    if (rc != 0)
        return err_set(err, ERR_IO, "storePathRootDir: %s: %s", b->settings->store_dir, strerror(-rc));
    return dl_store_open(&opts, &b->store, err);
}

static int load_state(struct broker *b, struct err *err)
{
    struct state_opts opts = {.checkpoint = &b->checkpoint,
                              .worker = b->state_worker,
                              .cache_blocks = STATE_CACHE_BLOCKS,
                              .follows_log = true};
    int rc = checkpoint_lmdb_open(b->state_dir, group_name(b), b->self, STATE_MAP_BYTES, &b->checkpoint, err);

    if (rc != 0)
        return rc;
    b->checkpoint_open = true;
    return state_open(&opts, &b->state, err);
}

/* The state is derived from the log: a damaged one is set aside, once, and made anew from the whole log. */
static int set_aside(struct broker *b, struct err *err)
{
    char aside[sizeof(b->state_dir) + sizeof(STATE_ASIDE)];

    if (b->checkpoint_open)
        b->checkpoint.close(b->checkpoint.impl);
    b->checkpoint_open = false;
    snprintf(aside, sizeof(aside), "%s" STATE_ASIDE, b->state_dir);
    if (rename(b->state_dir, aside) != 0)
        return err_set(err, ERR_DAMAGED, "%s (to be set aside as %s: %s)", err->text, aside, strerror(errno));
    LOG_ERROR("state is damaged, made anew from the log", "cause=\"%s\" kept=%s", err->text, aside);
    return 0;
}

static int open_state(struct broker *b, struct err *err)
{
    struct dl_store_view log;
    int rc = load_state(b, err);

    dl_store_view(b->store, &log);
    if (rc == ERR_DAMAGED && log.begin <= 1) {
        rc = set_aside(b, err);
        rc = rc != 0 ? rc : load_state(b, err);
    }
    if (rc != 0)
        return rc;
    if (state_applied(b->state) > log.last)
        return err_set(err, ERR_DAMAGED,
                       "%s: state was applied up to entry %llu but the log in %s ends at %llu", b->state_dir,
                       (unsigned long long)state_applied(b->state), b->settings->store_dir,
                       (unsigned long long)log.last);
    return 0;
}

static int open_peers(struct broker *b, struct err *err)
{
    struct dl_peer_addr rows[DL_PEERS_MAX];
    struct dl_peers_opts opts = {
        .loop = b->loop,
        .group = group_name(b),
        .self = b->self,
        .listen_host = b->settings->listen_host,
        .peers = rows,
        .count = b->peer_count,
        .hooks =
            {.on_message = on_message, .on_up = on_up, .on_down = on_down, .on_relay = on_relay, .arg = b},
    };

    for (uint32_t i = 0; i < b->peer_count; i++)
        rows[i] = (struct dl_peer_addr){b->peer_rows[i].id, b->peer_rows[i].host, b->peer_rows[i].port};
    if (b->peer_count == 1) {
        alone_fill_transport(&b->transport);
        return 0;
    }
    return dl_peers_open(&opts, &b->peers, &b->transport, err);
}

static int make_node(struct broker *b, uint64_t seed, struct err *err)
{
    const struct settings *s = b->settings;
    struct dl_node_opts opts = {
        .core =
            {
                .self = b->self,
                .members = b->front.members,
                .preferred = b->preferred,
                .seed = seed,
                .heartbeat_ms = (uint32_t)s->heartbeat_ms,
                .election_min_ms = (uint32_t)s->election_min_ms,
                .election_max_ms = (uint32_t)s->election_max_ms,
                .window_entries = 4096,
                .window_bytes = 8u << 20,
            },
        .group = group_name(b),
        .store = b->store,
        .transport = &b->transport,
        .hooks = {.apply = on_apply, .applied = on_applied, .changed = on_changed, .arg = b},
        .applied = state_applied(b->state),
        .trust_empty = s->trust_empty_store,
        .waiting_max_bytes = (uint64_t)s->waiting_max_bytes,
        .now_ms = now_ms,
        .wake_at = wake_at,
        .clock_arg = b,
    };

    return dl_node_new(&opts, &b->node, err);
}

static int open_health(struct broker *b, struct err *err)
{
    struct health_parts parts = {&b->front, b->registrar, b->peers, b->clients, b->vip};

    return health_open(&parts, &b->health, err);
}

static void register_now(void *arg)
{
    struct broker *b = arg;

    if (b->registrar != NULL && !b->stopping)
        registrar_poke(b->registrar);
}

static void make_front(struct broker *b, uint64_t seed)
{
    struct front *f = &b->front;

    f->settings = b->settings;
    f->loop = b->loop;
    f->transport = &b->transport;
    f->store = b->store;
    f->state = b->state;
    f->self = b->self;
    f->started_ms = clock_wall_ms();
    f->register_now = register_now;
    f->register_arg = b;
    rng_seed(&f->rng, seed);
    front_init(f, handler_rows, handler_row_count);
    b->front_made = true;
}

static int build(struct broker *b, uint64_t seed, struct err *err)
{
    int rc = settings_group(b->settings, b->peer_rows, &b->peer_count, &b->self, &b->preferred, err);

    if (rc != 0)
        return rc;
    b->front.members.count = b->peer_count;
    for (uint32_t i = 0; i < b->peer_count; i++) {
        b->front.members.id[i] = b->peer_rows[i].id;
        b->front.members.voter[i] = true;
    }
    set_address(b);
    rc = open_store(b, err);
    rc = rc != 0 ? rc : open_state(b, err);
    if (rc != 0)
        return rc;
    make_front(b, seed);
    rc = open_peers(b, err);
    rc = rc != 0 ? rc : make_node(b, seed, err);
    if (rc != 0)
        return rc;
    b->front.node = b->node;
    rc = registrar_new(&b->front, b->settings->namesrv_addr, &b->registrar, err);
    rc = rc != 0 ? rc : listen_for_clients(b, err);
    return rc != 0 ? rc : open_health(b, err);
}

int broker_new(struct conf *conf, uint64_t seed, struct broker **out, struct err *err)
{
    struct settings *settings = conf->settings;
    struct broker *b = calloc(1, sizeof(*b));
    int rc;

    ENSURE(b != NULL);
    (void)mallopt(M_ARENA_MAX,
                  2); /* threads hand memory to each other: more arenas only cost resident memory */
    b->settings = settings;
    b->front.conf = conf;
    b->loop = loop_new();
    b->flush = worker_new(b->loop, "flush", 1);
    b->meta = worker_new(b->loop, "meta", 1);
    b->state_worker = worker_new(b->loop, "state", 1);
    b->read = worker_new(b->loop, "read", 2);
    timer_init(&b->wake, b->loop, on_wake, b);
    timer_init(&b->checkpoint_timer, b->loop, on_checkpoint_time, b);
    timer_init(&b->shutdown, b->loop, on_shutdown_step, b);
    loop_on_turn_end(b->loop, on_turn_end,
                     b); /* before connections: answers leave in the turn that made them */
    snprintf(b->state_dir, sizeof(b->state_dir), "%s/state", settings->store_dir);
    rc = build(b, seed, err);
    if (rc != 0) {
        broker_free(b);
        return rc;
    }
    loop_on_signal(b->loop, SIGTERM, on_stop_signal, b);
    loop_on_signal(b->loop, SIGINT, on_stop_signal, b);
    timer_start(&b->checkpoint_timer, (uint32_t)settings->checkpoint_ms);
    dl_node_tick(b->node);
    *out = b;
    return 0;
}

void broker_run(struct broker *b)
{
    LOG_INFO("broker started", "name=%s self=n%u address=%s store=%s applied=%llu", b->settings->broker_name,
             b->self - 1, b->front.address, b->settings->store_dir,
             (unsigned long long)state_applied(b->state));
    loop_run(b->loop);
    LOG_INFO("broker stopped", "name=%s self=n%u", b->settings->broker_name, b->self - 1);
}

void broker_free(struct broker *b)
{
    if (b->health != NULL)
        health_close(b->health);
    b->health = NULL;
    if (b->clients != NULL)
        listener_close(b->clients);
    if (b->vip != NULL)
        listener_close(b->vip);
    if (b->registrar != NULL)
        registrar_free(b->registrar);
    b->registrar = NULL;
    timer_release(&b->wake);
    timer_release(&b->checkpoint_timer);
    timer_release(&b->shutdown);
    if (b->front_made)
        front_stop(&b->front);
    if (b->node != NULL)
        dl_node_free(b->node); /* relayed requests that waited for it go back where they came from */
    b->node = NULL;
    dl_peers_close(b->peers);
    alone_fill_transport(&b->transport);
    loop_turn(b->loop, 0); /* let go of the connections */
    worker_free(b->state_worker);
    loop_turn(b->loop, 0); /* what was loaded for the front, which may read the log for it */
    if (b->store != NULL)
        dl_store_close(b->store);
    worker_free(b->read);
    worker_free(b->flush);
    worker_free(b->meta);
    loop_turn(b->loop, 0); /* their last reports */
    if (b->front_made)
        front_release(&b->front);
    if (b->state != NULL)
        state_close(b->state);
    if (b->checkpoint_open)
        b->checkpoint.close(b->checkpoint.impl);
    loop_free(b->loop);
    free(b);
}
