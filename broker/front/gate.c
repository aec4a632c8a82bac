/*
 * gate.c - where a request is handled: here, by the leader (relayed over the replica connection), or later
 * (parked).
 *
 *   not ROW_LEADER .................................... here
 *   we may serve it ................................... here
 *   another replica leads and its connection is up .... relay its frame there, send back what it answers
 *   otherwise (election, lease lost, hand-over) ....... park: try again on every change of role and every
 *                                                       PARK_RETRY_MS, answer 14 at the deadline
 *
 * One hop only: a request that was relayed to us and that we may not serve goes back as "not leader" and is
 * parked where its client is connected. What may have been appended (ROW_WRITE, connection to the leader
 * lost) is not sent twice by us: the client is told that the outcome is unknown.
 */
#include <stdlib.h>
#include <sys/queue.h>

#include "broker/front/gate.h"
#include "broker/front/pull.h"
#include "common/codes.h"
#include "common/log.h"

#define PARK_RETRY_MS   20u
#define PARK_TURN_MAX   512u   /* tried in one turn: a turn that is long costs the leader its office */
#define RELAY_SPARE_MS  3000u  /* beyond the deadline, for the leader's own answer */
#define RELAY_LONG_MS   40000u /* pulls: longer than the leader holds one */
#define LONG_RELAYS_MAX 6144u  /* of the 8192 the transport takes: the rest is for what is answered at once */

struct kept {
    TAILQ_ENTRY(kept) link;
    struct front *f;
    struct buf *frame;
    struct sockaddr_in client;
    struct reply_to reply;
    uint64_t deadline_ms; /* for finding a leader */
    uint64_t asked_ms;    /* when it was relayed */
    uint64_t tried;       /* in which run of the park last */
    uint32_t flags;
    uint32_t commit_at; /* pull_commit_at */
};

struct park {
    TAILQ_HEAD(, kept) waiting;
    uint64_t bytes, count;
    struct kept *next;            /* whom the run under way tries next; NULL: none is under way */
    uint64_t run;                 /* its number, from 1 */
    uint64_t relays, long_relays; /* under way; of these, with ROW_LONG */
    struct timer retry;
};

static void relay_send(void *arg, uint64_t ticket, struct buf *head, struct buf *body)
{
    struct front *f = arg;

    f->transport->relay_reply(f->transport->impl, ticket, 0, head, body);
}

static bool came_by_relay(const struct reply_to *to)
{
    return to->send == relay_send;
}

bool gate_can_write(const struct front *f)
{
    struct dl_node_status status;

    if (!f->serving)
        return false;
    dl_node_status(f->node, &status);
    return !status.core.transferring;
}

bool gate_can_read(const struct front *f)
{
    return f->serving && dl_node_can_read(f->node);
}

static bool may_handle(const struct front *f, uint32_t flags)
{
    if (!(flags & ROW_LEADER))
        return true;
    return flags & ROW_WRITE ? gate_can_write(f) : gate_can_read(f);
}

struct kept *gate_keep(struct front *f, const struct request *req)
{
    struct kept *k = calloc(1, sizeof(*k));

    ENSURE(k != NULL);
    k->f = f;
    k->frame = buf_copy(req->frame.p, req->frame.len);
    k->client = req->client;
    k->reply = req->reply;
    k->commit_at = pull_commit_at(req);
    if (f->again != NULL) {
        k->deadline_ms = f->again->deadline_ms;
        k->flags = f->again->flags;
        k->tried = f->again->tried;
    } else {
        k->deadline_ms = loop_now_ms(f->loop) + (uint64_t)f->settings->park_send_ms;
    }
    return k;
}

void gate_drop(struct kept *k)
{
    buf_unref(k->frame);
    free(k);
}

const struct reply_to *gate_reply(const struct kept *k)
{
    return &k->reply;
}

bool gate_take_commit(struct kept *k)
{
    if (k->commit_at == 0)
        return false;
    k->frame->data[k->commit_at]--; /* an odd digit becomes even */
    k->commit_at = 0;
    return true;
}

void gate_extend(struct kept *k)
{
    k->deadline_ms = loop_now_ms(k->f->loop) + (uint64_t)k->f->settings->park_read_ms;
}

uint32_t gate_bytes(const struct kept *k)
{
    return k->frame->len;
}

struct front *gate_front(const struct kept *k)
{
    return k->f;
}

uint64_t gate_conn_id(const struct kept *k)
{
    return came_by_relay(&k->reply) ? 0 : k->reply.conn_id;
}

void gate_again(struct front *f, struct kept *k)
{
    struct kept *outer = f->again;

    f->again = k;
    dispatch_relayed(&f->dispatch, &k->client, k->reply, k->frame->data, k->frame->len);
    f->again = outer;
    gate_drop(k);
}

static void park_add(struct front *f, struct kept *k)
{
    struct park *p = f->park;

    if (p->bytes + k->frame->len > (uint64_t)f->settings->park_max_bytes) {
        reply_code(&k->reply, RC_SYSTEM_BUSY,
                   "no leader now and parkMaxBytes (%lld) of requests wait for one",
                   (long long)f->settings->park_max_bytes);
        gate_drop(k);
        return;
    }
    if (TAILQ_EMPTY(&p->waiting))
        timer_start(&p->retry, PARK_RETRY_MS);
    TAILQ_INSERT_TAIL(&p->waiting, k, link);
    p->bytes += k->frame->len;
    p->count++;
    metric_add(&f->counters.parked, 1);
}

static void park_remove(struct park *p, struct kept *k)
{
    TAILQ_REMOVE(&p->waiting, k, link);
    p->bytes -= k->frame->len;
    p->count--;
}

static void give_up(struct kept *k, const char *why)
{
    if (k->f->leader == DL_NOBODY)
        reply_code(&k->reply, RC_SERVICE_NOT_AVAILABLE, "%s: the group has no leader now", why);
    else
        reply_code(&k->reply, RC_SERVICE_NOT_AVAILABLE, "%s: leader is n%u", why, k->f->leader - 1);
    gate_drop(k);
}

/* What a failed relay means for its request: another try, or an answer. */
static void relay_failed(struct front *f, struct kept *k, int err)
{
    if (err == ERR_TOO_LARGE) {
        reply_code(&k->reply, RC_MESSAGE_ILLEGAL,
                   "request or answer is too large to be relayed to the leader");
        gate_drop(k);
    } else if (err == ERR_NOT_LEADER || err == ERR_BUSY || !(k->flags & ROW_WRITE)) {
        park_add(f, k);
    } else if (err == ERR_TIMEOUT) {
        give_up(k, "the leader did not answer in time, the outcome is unknown");
    } else {
        give_up(k, "connection to the leader was lost, the outcome is unknown");
    }
}

static void on_relay_answer(void *arg, int err, const uint8_t *frame, uint32_t len)
{
    struct kept *k = arg;
    struct front *f = k->f;

    f->park->relays--;
    f->park->long_relays -= (k->flags & ROW_LONG) != 0;
    if (err != 0) {
        if (err != ERR_TIMEOUT) /* time with a leader is not time without one */
            k->deadline_ms += loop_now_ms(f->loop) - k->asked_ms;
        relay_failed(f, k, err);
        return;
    }
    if (len > 0 && !k->reply.oneway)
        k->reply.send(k->reply.arg, k->reply.conn_id, buf_copy(frame, len), NULL);
    gate_drop(k);
}

/* There is another leader, and it is in reach. */
static bool can_relay(const struct front *f, uint32_t flags)
{
    if (f->leader == DL_NOBODY || f->leader == f->self || !f->transport->is_up(f->transport->impl, f->leader))
        return false;
    return !(flags & ROW_LONG) || f->park->long_relays < LONG_RELAYS_MAX;
}

static void relay(struct front *f, struct kept *k)
{
    struct park *p = f->park;
    uint64_t now_ms = loop_now_ms(f->loop);
    uint32_t timeout_ms = RELAY_SPARE_MS;

    if (k->deadline_ms > now_ms)
        timeout_ms += (uint32_t)(k->deadline_ms - now_ms);
    if (k->flags & ROW_LONG)
        timeout_ms = RELAY_LONG_MS;
    k->asked_ms = now_ms;
    p->relays++;
    p->long_relays += (k->flags & ROW_LONG) != 0;
    metric_add(&f->counters.relayed, 1);
    f->transport->relay(f->transport->impl, f->leader, f->term, &k->client, k->frame->data, k->frame->len,
                        timeout_ms, on_relay_answer, k);
    (void)gate_take_commit(k); /* that leader's now; if it is lost, the client's next commit tells */
}

bool gate_before(struct request *req, const struct dispatch_row *row)
{
    struct front *f = req->user;
    struct kept *k;
    int64_t wait_ms = row->flags & ROW_SEND ? f->settings->park_send_ms : f->settings->park_read_ms;
    bool settled = f->again != NULL && req->reply.oneway; /* its ticket was answered at the first try */
    /* A run is under way: who comes now goes behind those it has not reached, or an early request could overtake a
     * parked one of the same connection. Relayed ones keep the order they had where they were parked. */
    bool behind = f->park->next != NULL && f->again == NULL && !came_by_relay(&req->reply);

    if (!(row->flags & ROW_LEADER) || (!behind && may_handle(f, row->flags))) {
        if (f->again != NULL)
            f->again->flags = row->flags;
        else if (came_by_relay(&req->reply) && req->reply.oneway) /* nobody else answers this one */
            f->transport->relay_reply(f->transport->impl, req->reply.conn_id, 0, NULL, NULL);
        return false;
    }
    if (came_by_relay(&req->reply)) {
        if (!settled)
            f->transport->relay_reply(f->transport->impl, req->reply.conn_id, ERR_NOT_LEADER, NULL, NULL);
        return true;
    }
    k = gate_keep(f, req);
    k->flags = row->flags;
    if (f->again == NULL)
        k->deadline_ms = loop_now_ms(f->loop) + (uint64_t)wait_ms;
    if (!behind && can_relay(f, k->flags))
        relay(f, k);
    else
        park_add(f, k);
    return true;
}

/* A piece of a run: in order, those past their deadline are answered, those that can be handled or relayed go, the rest
 * stays where it is. Who comes back to the end, refused, is not tried again before the next run. */
static void park_run(struct front *f)
{
    struct park *p = f->park;
    uint64_t now_ms = loop_now_ms(f->loop);

    for (uint32_t n = 0; n < PARK_TURN_MAX && p->next != NULL; n++) {
        struct kept *k = p->next;
        bool late = now_ms >= k->deadline_ms, here = may_handle(f, k->flags);

        p->next = TAILQ_NEXT(k, link);
        if (k->tried == p->run || (!late && !here && !can_relay(f, k->flags)))
            continue;
        k->tried = p->run;
        park_remove(p, k);
        if (late)
            give_up(k, "waited for a leader");
        else if (here)
            gate_again(f, k);
        else
            relay(f, k);
    }
    if (p->next != NULL)
        timer_start(&p->retry, 0);
    else if (!TAILQ_EMPTY(&p->waiting))
        timer_start(&p->retry, PARK_RETRY_MS);
}

static void park_begin(struct front *f)
{
    f->park->run++;
    f->park->next = TAILQ_FIRST(&f->park->waiting);
    park_run(f);
}

static void on_retry(void *arg)
{
    struct front *f = arg;

    if (f->park->next != NULL)
        park_run(f);
    else
        park_begin(f);
}

/* Also from within a run, by a hand-over that one of the parked asks for: both then go on from the same place. */
void gate_on_changed(struct front *f)
{
    park_begin(f);
}

void front_on_relay(struct front *f, dl_peer_t from, uint64_t ticket, dl_term_t term,
                    const struct sockaddr_in *client, const uint8_t *frame, uint32_t len)
{
    struct reply_to reply = {.send = relay_send, .arg = f, .conn_id = ticket};

    (void)from;
    if (term != f->term) {
        f->transport->relay_reply(f->transport->impl, ticket, ERR_NOT_LEADER, NULL, NULL);
        return;
    }
    metric_add(&f->counters.relayed_here, 1);
    if (dispatch_relayed(&f->dispatch, client, reply, frame, len) != 0)
        f->transport->relay_reply(f->transport->impl, ticket, ERR_MALFORMED, NULL, NULL);
}

uint64_t front_unanswered(const struct front *f)
{
    struct dl_node_status status;

    dl_node_status(f->node, &status);
    return status.proposals_waiting + f->park->count + f->park->relays - f->park->long_relays;
}

struct park *park_new(struct front *f)
{
    struct park *p = calloc(1, sizeof(*p));

    ENSURE(p != NULL);
    TAILQ_INIT(&p->waiting);
    timer_init(&p->retry, f->loop, on_retry, f);
    return p;
}

void park_free(struct park *p)
{
    struct kept *k;

    while ((k = TAILQ_FIRST(&p->waiting)) != NULL) {
        park_remove(p, k);
        gate_drop(k);
    }
    timer_release(&p->retry);
    free(p);
}
