/* group.c - see group.h. */
#include "tests/scenario/group.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct packet {
    struct dl_msg msg;
    dl_term_t *terms; /* APPEND: owned */
};

enum write_kind { WRITE_HARD, WRITE_TRUNCATE, WRITE_APPEND };

struct write {
    enum write_kind kind;
    struct dl_hard hard;
    dl_index_t first, last; /* TRUNCATE: from first */
    dl_term_t *terms;       /* APPEND: owned */
};

struct replica {
    dl_peer_t id;
    bool up;
    struct dl_core *core;
    uint64_t wake_ms;
    dl_term_t log[GROUP_LOG_MAX]; /* by index; 0 is not used */
    dl_index_t last, commit;
    struct dl_hard hard;
    enum dl_role role;

    struct { /* what a crash leaves */
        dl_term_t log[GROUP_LOG_MAX];
        dl_index_t last, commit;
        struct dl_hard hard;
    } durable;
    struct write writes[GROUP_WRITES_MAX];
    uint32_t write_count;
    bool hard_unreported, log_unreported, hung;
    dl_index_t flushed_index; /* of the newest flushed append, to be reported */
    dl_term_t flushed_term;
    struct packet held[GROUP_PACKETS_MAX]; /* by the gate */
    uint32_t held_count;
};

struct group {
    struct group_opts opts;
    struct dl_members members;
    struct replica replicas[DL_PEERS_MAX];
    uint64_t now_ms;
    struct packet packets[GROUP_PACKETS_MAX];
    uint32_t packet_count;
    bool cut[DL_PEERS_MAX + 1][DL_PEERS_MAX + 1];
    char *story;
    size_t story_len, story_size;
    bool story_told; /* what is in there has been fetched */
    bool loud;
    /* What the checks remember. */
    dl_peer_t leader_of[GROUP_TERM_MAX];
    dl_peer_t vote_of[DL_PEERS_MAX + 1][GROUP_TERM_MAX];
    dl_term_t committed[GROUP_LOG_MAX];
    dl_index_t committed_last;
};

static const char *const role_names[] = {"follower", "precandidate", "candidate", "leader"};

static struct replica *replica_of(const struct group *g, dl_peer_t peer)
{
    ENSURE(peer >= 1 && peer <= g->members.count);
    return (struct replica *)&g->replicas[peer - 1];
}

static void say(struct group *g, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct group *g, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    ENSURE(len > 0 && (size_t)len < sizeof(line));
    if (g->story_told)
        g->story_len = 0;
    g->story_told = false;
    if (g->story_len + (size_t)len + 2 > g->story_size) {
        g->story_size = (g->story_size + (size_t)len + 2) * 2;
        g->story = realloc(g->story, g->story_size);
        ENSURE(g->story != NULL);
    }
    memcpy(g->story + g->story_len, line, (size_t)len);
    g->story_len += (size_t)len;
    g->story[g->story_len++] = '\n';
    g->story[g->story_len] = 0;
}

/* ---- Checks ---- */

static void check_leader(struct group *g, const struct replica *r)
{
    ENSURE(r->hard.term < GROUP_TERM_MAX);
    ENSURE(g->leader_of[r->hard.term] == DL_NOBODY || g->leader_of[r->hard.term] == r->id);
    g->leader_of[r->hard.term] = r->id;
    ENSURE(r->durable.hard.term == r->hard.term && r->durable.hard.vote == r->id);
    ENSURE(r->last >= g->committed_last);
    for (dl_index_t i = 1; i <= g->committed_last; i++)
        ENSURE(r->log[i] == g->committed[i]);
}

static void check_commit(struct group *g, const struct replica *r, dl_index_t commit)
{
    ENSURE(commit >= r->commit);
    ENSURE(commit <= r->last);
    for (dl_index_t i = r->commit + 1; i <= commit; i++) {
        if (i <= g->committed_last) {
            ENSURE(r->log[i] == g->committed[i]);
            continue;
        }
        uint32_t durable = 0;
        for (uint32_t p = 0; p < g->opts.voters; p++)
            durable += g->replicas[p].durable.last >= i && g->replicas[p].durable.log[i] == r->log[i];
        ENSURE(durable > g->opts.voters / 2);
        g->committed[i] = r->log[i];
        g->committed_last = i;
    }
}

static void check_vote(struct group *g, const struct dl_msg *msg)
{
    if (msg->type != DL_MSG_VOTE_RSP || msg->pre || !msg->granted)
        return;
    ENSURE(msg->term < GROUP_TERM_MAX);
    const struct dl_hard *durable = &replica_of(g, msg->from)->durable.hard;
    ENSURE(durable->term > msg->term || (durable->term == msg->term && durable->vote == msg->to));
    dl_peer_t *vote = &g->vote_of[msg->from][msg->term];
    ENSURE(*vote == DL_NOBODY || *vote == msg->to);
    *vote = msg->to;
}

/* While a lease holds no other replica may lead in a later term. */
static void check_leases(const struct group *g)
{
    for (uint32_t i = 0; i < g->members.count; i++) {
        const struct replica *r = &g->replicas[i];
        if (!r->up || g->opts.false_resets || !dl_core_lease_valid(r->core, g->now_ms))
            continue;
        for (uint32_t j = 0; j < g->members.count; j++)
            ENSURE(!g->replicas[j].up || g->replicas[j].role != DL_LEADER ||
                   g->replicas[j].hard.term <= r->hard.term);
    }
}

void group_check_logs(const struct group *g)
{
    for (uint32_t a = 0; a < g->members.count; a++)
        for (uint32_t b = a + 1; b < g->members.count; b++) {
            const struct replica *x = &g->replicas[a], *y = &g->replicas[b];
            bool same = false; /* from the end: once terms agree, everything before agrees */
            for (dl_index_t i = x->last < y->last ? x->last : y->last; i > 0; i--) {
                ENSURE(!same || x->log[i] == y->log[i]);
                same = same || x->log[i] == y->log[i];
            }
        }
}

/* ---- The host's duties ---- */

static dl_term_t *copy_terms(const dl_term_t *log, dl_index_t first, dl_index_t last)
{
    dl_term_t *terms = malloc((last - first + 1) * sizeof(*terms));
    ENSURE(terms != NULL);
    memcpy(terms, log + first, (last - first + 1) * sizeof(*terms));
    return terms;
}

static struct write *add_write(struct replica *r, enum write_kind kind)
{
    ENSURE(r->write_count < GROUP_WRITES_MAX);
    struct write *w = &r->writes[r->write_count++];
    *w = (struct write){.kind = kind};
    return w;
}

static void transmit(struct group *g, struct packet packet)
{
    check_vote(g, &packet.msg);
    if (g->cut[packet.msg.from][packet.msg.to]) {
        free(packet.terms);
        return;
    }
    ENSURE(g->packet_count < GROUP_PACKETS_MAX);
    g->packets[g->packet_count++] = packet;
}

static bool hard_is_durable(const struct replica *r)
{
    return dl_hard_equal(r->durable.hard, r->hard) && !r->hard_unreported;
}

static void send_out(struct group *g, struct replica *r, struct packet packet)
{
    if (hard_is_durable(r)) {
        transmit(g, packet);
    } else {
        ENSURE(r->held_count < GROUP_PACKETS_MAX);
        r->held[r->held_count++] = packet;
    }
}

static void carry_out_log(struct group *g, struct replica *r, const struct dl_update *up,
                          const struct packet *cause)
{
    if (up->truncate_from != 0) {
        ENSURE(up->truncate_from > r->commit);
        for (dl_index_t i = up->truncate_from; i <= r->last && i <= g->committed_last; i++)
            ENSURE(r->log[i] != g->committed[i]);
        say(g, "%u removes %llu..%llu", r->id, (unsigned long long)up->truncate_from,
            (unsigned long long)r->last);
        add_write(r, WRITE_TRUNCATE)->first = up->truncate_from;
        r->last = up->truncate_from - 1;
    }
    if (up->append_first == 0)
        return;
    ENSURE(up->append_first == r->last + 1);
    ENSURE(up->append_last < GROUP_LOG_MAX);
    for (dl_index_t i = up->append_first; i <= up->append_last; i++)
        r->log[i] = up->role == DL_LEADER ? up->append_term : cause->terms[i - cause->msg.first];
    r->last = up->append_last;
    struct write *w = add_write(r, WRITE_APPEND);
    w->first = up->append_first;
    w->last = up->append_last;
    w->terms = copy_terms(r->log, w->first, w->last);
}

static void run_pushes(struct group *g, struct replica *r, uint32_t mask)
{
    for (uint32_t i = 0; i < g->members.count; i++) {
        struct packet packet;
        if (!(mask & (1u << i)))
            continue;
        while (dl_core_push_begin(r->core, g->members.id[i], g->now_ms, &packet.msg)) {
            dl_index_t most = packet.msg.first + g->opts.push_entries - 1;
            packet.msg.last = packet.msg.last < most ? packet.msg.last : most;
            packet.terms = copy_terms(r->log, packet.msg.first, packet.msg.last);
            uint32_t bytes = (uint32_t)(packet.msg.last - packet.msg.first + 1) * GROUP_ENTRY_BYTES;
            dl_core_push_done(r->core, g->members.id[i], packet.msg.last, bytes);
            send_out(g, r, packet);
        }
    }
}

static void tell_changes(struct group *g, struct replica *r, const struct dl_update *up)
{
    if (!up->role_changed)
        return;
    if (up->role == DL_FOLLOWER && up->leader != DL_NOBODY)
        say(g, "%u follows %u in term %llu", r->id, up->leader, (unsigned long long)up->term);
    else
        say(g, "%u is %s in term %llu", r->id, role_names[up->role], (unsigned long long)up->term);
}

static void step(struct group *g, dl_peer_t peer, struct dl_event event, const struct packet *cause)
{
    struct replica *r = replica_of(g, peer);
    struct dl_update up;
    if (!r->up)
        return;
    event.now_ms = g->now_ms;
    dl_core_step(r->core, &event, &up);
    tell_changes(g, r, &up);
    if (up.refused)
        say(g, "%u refuses", r->id);
    if (up.hard_changed)
        add_write(r, WRITE_HARD)->hard = up.hard;
    r->hard = up.hard;
    r->role = up.role;
    carry_out_log(g, r, &up, cause);
    if (up.role == DL_LEADER && up.role_changed)
        check_leader(g, r);
    for (uint32_t i = 0; i < up.msg_count; i++)
        send_out(g, r, (struct packet){.msg = up.msgs[i]});
    run_pushes(g, r, up.push_mask);
    check_commit(g, r, up.commit);
    if (up.commit > r->commit)
        say(g, "%u commits %llu", r->id, (unsigned long long)up.commit);
    r->commit = up.commit;
    r->wake_ms = up.wake_ms;
    check_leases(g);
}

/* ---- Life of replicas ---- */

static void start(struct group *g, struct replica *r)
{
    struct dl_term_run runs[GROUP_TERM_MAX];
    uint32_t run_count = 0;
    for (dl_index_t i = 1; i <= r->durable.last; i++)
        if (i == 1 || r->durable.log[i] != r->durable.log[i - 1])
            runs[run_count++] = (struct dl_term_run){.first = i, .term = r->durable.log[i]};
    struct dl_core_opts opts = {
        .self = r->id,
        .members = g->members,
        .preferred = g->opts.preferred,
        .seed = g->opts.seed,
        .heartbeat_ms = 50,
        .election_min_ms = 300,
        .election_max_ms = 600,
        .window_entries = g->opts.window_entries,
        .window_bytes = 1024 * 1024,
    };
    struct dl_core_start from = {
        .hard = r->durable.hard,
        .begin_index = 1,
        .end_index = r->durable.last,
        .commit = r->durable.commit,
        .runs = runs,
        .run_count = run_count,
        .now_ms = g->now_ms,
    };
    ENSURE(dl_core_new(&opts, &from, &r->core) == 0);
    memcpy(r->log, r->durable.log, sizeof(r->log));
    r->last = r->durable.last;
    r->commit = r->durable.commit;
    r->hard = r->durable.hard;
    r->role = DL_FOLLOWER;
    r->up = true;
    step(g, r->id, (struct dl_event){.type = DL_EV_TICK}, NULL);
}

static void stop(struct replica *r)
{
    for (uint32_t i = 0; i < r->write_count; i++)
        free(r->writes[i].terms);
    for (uint32_t i = 0; i < r->held_count; i++)
        free(r->held[i].terms);
    r->write_count = r->held_count = 0;
    r->hard_unreported = r->log_unreported = false;
    dl_core_free(r->core);
    r->core = NULL;
    r->up = false;
}

struct group *group_new(const struct group_opts *opts)
{
    struct group *g = calloc(1, sizeof(*g));
    ENSURE(g != NULL);
    g->opts = *opts;
    g->now_ms = 1000;
    g->members.count = opts->voters + opts->learners;
    ENSURE(g->members.count <= DL_PEERS_MAX);
    for (uint32_t i = 0; i < g->members.count; i++) {
        g->members.id[i] = g->replicas[i].id = i + 1;
        g->members.voter[i] = i < opts->voters;
    }
    for (uint32_t i = 0; i < g->members.count; i++) {
        g->replicas[i].durable.hard.joined = true;
        start(g, &g->replicas[i]);
    }
    return g;
}

void group_free(struct group *g)
{
    for (uint32_t i = 0; i < g->members.count; i++)
        stop(&g->replicas[i]);
    while (g->packet_count > 0)
        group_drop(g, 0);
    free(g->story);
    free(g);
}

void group_set_log(struct group *g, dl_peer_t peer, const dl_term_t *terms, uint32_t count,
                   struct dl_hard hard, dl_index_t commit)
{
    struct replica *r = replica_of(g, peer);
    ENSURE(count < GROUP_LOG_MAX);
    stop(r);
    memcpy(r->durable.log + 1, terms, count * sizeof(terms[0]));
    r->durable.last = count;
    r->durable.hard = hard;
    r->durable.commit = commit;
    for (dl_index_t i = g->committed_last + 1; i <= commit; i++)
        g->committed[g->committed_last = i] = r->durable.log[i];
    start(g, r);
}

void group_crash(struct group *g, dl_peer_t peer)
{
    struct replica *r = replica_of(g, peer);
    if (!r->up)
        return;
    stop(r);
    memcpy(r->log, r->durable.log, sizeof(r->log));
    r->last = r->durable.last;
    say(g, "%u is dead", peer);
}

void group_restart(struct group *g, dl_peer_t peer)
{
    struct replica *r = replica_of(g, peer);
    if (r->up)
        return;
    say(g, "%u starts with %llu entries", peer, (unsigned long long)r->durable.last);
    start(g, r);
}

/* ---- Disk ---- */

uint32_t group_writes(const struct group *g, dl_peer_t peer)
{
    return replica_of(g, peer)->write_count;
}

static void make_durable(struct replica *r, const struct write *w)
{
    switch (w->kind) {
    case WRITE_HARD:
        r->durable.hard = w->hard;
        r->hard_unreported = true;
        break;
    case WRITE_TRUNCATE:
        r->durable.last = w->first - 1;
        break;
    case WRITE_APPEND:
        ENSURE(w->first == r->durable.last + 1);
        memcpy(r->durable.log + w->first, w->terms, (w->last - w->first + 1) * sizeof(w->terms[0]));
        r->durable.last = w->last;
        r->log_unreported = true;
        r->flushed_index = w->last;
        r->flushed_term = w->terms[w->last - w->first];
        break;
    }
}

void group_flush(struct group *g, dl_peer_t peer, uint32_t count)
{
    struct replica *r = replica_of(g, peer);
    if (count == 0 || count > r->write_count)
        count = r->write_count;
    for (uint32_t i = 0; i < count; i++) {
        make_durable(r, &r->writes[i]);
        free(r->writes[i].terms);
    }
    r->write_count -= count;
    memmove(r->writes, r->writes + count, r->write_count * sizeof(r->writes[0]));
    /* The state checkpoint of a careful host: applied, and in the durable log. */
    dl_index_t checkpoint = r->commit < r->durable.last ? r->commit : r->durable.last;
    if (checkpoint > r->durable.commit)
        r->durable.commit = checkpoint;
}

void group_hang(struct group *g, dl_peer_t peer, bool hang)
{
    replica_of(g, peer)->hung = hang;
}

void group_report_hard(struct group *g, dl_peer_t peer)
{
    struct replica *r = replica_of(g, peer);
    if (!r->hard_unreported)
        return;
    r->hard_unreported = false;
    step(g, peer, (struct dl_event){.type = DL_EV_HARD_PERSISTED, .hard = r->durable.hard}, NULL);
    if (!hard_is_durable(r))
        return;
    for (uint32_t i = 0; i < r->held_count; i++)
        transmit(g, r->held[i]);
    r->held_count = 0;
}

void group_report_log(struct group *g, dl_peer_t peer)
{
    struct replica *r = replica_of(g, peer);
    if (r->log_unreported) {
        r->log_unreported = false;
        step(g, peer,
             (struct dl_event){
                 .type = DL_EV_LOG_PERSISTED, .index = r->flushed_index, .term = r->flushed_term},
             NULL);
    }
}

/* ---- Network ---- */

uint32_t group_packets(const struct group *g)
{
    return g->packet_count;
}

bool group_packet_is(const struct group *g, uint32_t number, dl_peer_t from, dl_peer_t to)
{
    const struct dl_msg *msg = &g->packets[number].msg;
    return (from == DL_NOBODY || msg->from == from) && (to == DL_NOBODY || msg->to == to);
}

static struct packet take_packet(struct group *g, uint32_t number)
{
    ENSURE(number < g->packet_count);
    struct packet packet = g->packets[number];
    g->packet_count--;
    memmove(g->packets + number, g->packets + number + 1, (g->packet_count - number) * sizeof(packet));
    return packet;
}

static void describe(const struct dl_msg *m, char *line, size_t size)
{
    static const char *const pushes[] = {"?", "commit", "compare", "append"};
    unsigned long long term = m->term, prev = m->prev_index, prev_term = m->prev_term;
    int n = snprintf(line, size, "%u->%u term %llu ", m->from, m->to, term);
    line += n;
    size -= (size_t)n;
    switch (m->type) {
    case DL_MSG_VOTE_REQ:
        snprintf(line, size, "%s? log %llu@%llu%s", m->pre ? "pre-vote" : "vote",
                 (unsigned long long)m->last_index, (unsigned long long)m->last_term,
                 m->transfer ? " (hand-over)" : "");
        break;
    case DL_MSG_VOTE_RSP:
        snprintf(line, size, "%s: %s", m->pre ? "pre-vote" : "vote", m->granted ? "yes" : "no");
        break;
    case DL_MSG_PUSH_REQ:
        n = snprintf(line, size, "%s on %llu@%llu commit %llu", pushes[m->push], prev, prev_term,
                     (unsigned long long)m->commit);
        if (m->push == DL_PUSH_APPEND)
            snprintf(line + n, size - (size_t)n, " entries %llu..%llu", (unsigned long long)m->first,
                     (unsigned long long)m->last);
        break;
    case DL_MSG_PUSH_RSP:
        if (m->success)
            snprintf(line, size, "%s: match %llu of %llu", pushes[m->push], (unsigned long long)m->match,
                     (unsigned long long)m->last_index);
        else
            snprintf(line, size, "%s: no, try %llu@%llu", pushes[m->push], (unsigned long long)m->hint_index,
                     (unsigned long long)m->hint_term);
        break;
    case DL_MSG_TIMEOUT_NOW:
        snprintf(line, size, "stand for election now");
        break;
    case DL_MSG_HAVE_REQ:
        snprintf(line, size, "what do you have?");
        break;
    case DL_MSG_HAVE_RSP:
        snprintf(line, size, "log up to %llu", (unsigned long long)m->last_index);
        break;
    }
}

void group_deliver(struct group *g, uint32_t number, bool keep_copy)
{
    struct packet packet = g->packets[number];
    if (keep_copy) {
        if (packet.terms != NULL)
            packet.terms = copy_terms(packet.terms, 0, packet.msg.last - packet.msg.first);
    } else {
        take_packet(g, number);
    }
    if (g->loud) {
        char line[200];
        describe(&packet.msg, line, sizeof(line));
        say(g, "%s", line);
    }
    struct dl_event event = {.type = DL_EV_MESSAGE, .msg = &packet.msg, .terms = packet.terms};
    step(g, packet.msg.to, event, &packet);
    free(packet.terms);
}

void group_drop(struct group *g, uint32_t number)
{
    struct packet packet = take_packet(g, number);
    free(packet.terms);
}

void group_cut(struct group *g, dl_peer_t from, dl_peer_t to, bool cut)
{
    g->cut[from][to] = cut;
}

/* ---- Inputs ---- */

void group_advance(struct group *g, uint64_t ms)
{
    g->now_ms += ms;
}

void group_tick(struct group *g, dl_peer_t peer)
{
    step(g, peer, (struct dl_event){.type = DL_EV_TICK}, NULL);
}

void group_submit(struct group *g, dl_peer_t peer, uint32_t count)
{
    step(g, peer, (struct dl_event){.type = DL_EV_SUBMIT, .count = count}, NULL);
}

void group_transfer(struct group *g, dl_peer_t peer, dl_peer_t to)
{
    step(g, peer, (struct dl_event){.type = DL_EV_TRANSFER, .peer = to}, NULL);
}

void group_reset(struct group *g, dl_peer_t peer, dl_peer_t about)
{
    step(g, peer, (struct dl_event){.type = DL_EV_PEER_RESET, .peer = about}, NULL);
}

void group_unsent(struct group *g, dl_peer_t peer, dl_peer_t about)
{
    step(g, peer, (struct dl_event){.type = DL_EV_PUSH_UNSENT, .peer = about}, NULL);
}

void group_trim(struct group *g, dl_peer_t peer, dl_index_t index)
{
    dl_core_trim(replica_of(g, peer)->core, index);
    group_tick(g, peer);
}

bool group_settle(struct group *g)
{
    for (uint32_t rounds = 0; rounds < 10000; rounds++) {
        bool rest = true;
        for (uint32_t i = 0; i < g->members.count; i++) {
            struct replica *r = &g->replicas[i];
            if (!r->up || r->hung || (r->write_count == 0 && !r->hard_unreported && !r->log_unreported))
                continue;
            group_flush(g, r->id, 0);
            group_report_hard(g, r->id);
            group_report_log(g, r->id);
            rest = false;
        }
        if (g->packet_count > 0) {
            group_deliver(g, 0, false);
            rest = false;
        }
        if (rest)
            return true;
    }
    return false;
}

void group_run(struct group *g, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        g->now_ms++;
        for (uint32_t p = 0; p < g->members.count; p++)
            if (g->replicas[p].up && g->replicas[p].wake_ms <= g->now_ms)
                group_tick(g, g->replicas[p].id);
        ENSURE(group_settle(g));
    }
}

/* ---- Facts ---- */

uint32_t group_size(const struct group *g)
{
    return g->members.count;
}

uint64_t group_now(const struct group *g)
{
    return g->now_ms;
}

bool group_is_up(const struct group *g, dl_peer_t peer)
{
    return replica_of(g, peer)->up;
}

void group_view(const struct group *g, dl_peer_t peer, struct dl_core_view *view)
{
    dl_core_view(replica_of(g, peer)->core, view);
}

bool group_peer_view(const struct group *g, dl_peer_t peer, dl_peer_t other, struct dl_peer_view *view)
{
    return dl_core_peer_view(replica_of(g, peer)->core, other, view);
}

bool group_lease(const struct group *g, dl_peer_t peer)
{
    return dl_core_lease_valid(replica_of(g, peer)->core, g->now_ms);
}

dl_term_t group_term_at(const struct group *g, dl_peer_t peer, dl_index_t index)
{
    const struct replica *r = replica_of(g, peer);
    return index >= 1 && index <= r->last ? r->log[index] : 0;
}

uint64_t group_wake_ms(const struct group *g, dl_peer_t peer)
{
    return replica_of(g, peer)->wake_ms;
}

dl_peer_t group_leader(const struct group *g)
{
    const struct replica *best = NULL;
    for (uint32_t i = 0; i < g->members.count; i++) {
        const struct replica *r = &g->replicas[i];
        if (r->up && r->role == DL_LEADER && (best == NULL || r->hard.term > best->hard.term))
            best = r;
    }
    return best == NULL ? DL_NOBODY : best->id;
}

const char *group_story(struct group *g)
{
    if (g->story_told || g->story == NULL)
        return "";
    g->story_told = true;
    return g->story;
}

void group_loud(struct group *g, bool loud)
{
    g->loud = loud;
}
