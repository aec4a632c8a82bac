/*
 * propose.c - sends and commands between "proposed" and "applied": each waits for its entry, at most
 * PROPOSAL_TIMEOUT_MS.
 *
 *   proposed --applied----------------> done(0)
 *            --another leader's entry-> done(ERR_LOST)
 *            --refused----------------> done(ERR_*)
 *            --too long---------------> done(ERR_TIMEOUT)
 *
 * All have the same deadline distance, so the list in order of proposing is in order of deadline too.
 * Refusals known at once are still reported from the next turn: `done` never runs inside front_propose.
 */
#include <stdlib.h>
#include <sys/queue.h>

#include <protobuf-c/protobuf-c.h>

#include "broker/front/gate.h"
#include "common/codes.h"

#define PROPOSALS_CHECK_MS 200u

struct proposal {
    struct dl_waiter waiter; /* first: the node gives it back */
    TAILQ_ENTRY(proposal) link;
    struct front *f;
    front_done_fn done;
    void *ctx;
    uint64_t deadline_ms;
    int refused; /* why the node did not take it */
};

TAILQ_HEAD(proposal_list, proposal);

struct proposals {
    struct proposal_list waiting, refused;
    struct timer check, report;
};

static void finish(struct proposal *p, int err, const struct dl_entry *e, const void *result)
{
    p->done(p->f, p->ctx, err, e, result);
    free(p);
}

static void on_done(struct dl_waiter *w, int err, const struct dl_entry *e, const void *result)
{
    struct proposal *p = (struct proposal *)w;

    TAILQ_REMOVE(&p->f->proposals->waiting, p, link);
    finish(p, err, e, result);
}

static void on_check(void *arg)
{
    struct front *f = arg;
    struct proposals *ps = f->proposals;
    uint64_t now_ms = loop_now_ms(f->loop);
    struct proposal *p;

    while ((p = TAILQ_FIRST(&ps->waiting)) != NULL && now_ms >= p->deadline_ms) {
        TAILQ_REMOVE(&ps->waiting, p, link);
        dl_node_forget(f->node, &p->waiter);
        finish(p, ERR_TIMEOUT, NULL, NULL);
    }
    if (!TAILQ_EMPTY(&ps->waiting))
        timer_start(&ps->check, PROPOSALS_CHECK_MS);
}

void proposals_report(struct proposals *ps)
{
    struct proposal_list now = TAILQ_HEAD_INITIALIZER(now);
    struct proposal *p;

    TAILQ_CONCAT(&now, &ps->refused, link);
    while ((p = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, p, link);
        finish(p, p->refused, NULL, NULL);
    }
}

static void on_report(void *arg)
{
    proposals_report(arg);
}

void front_propose_buf(struct front *f, uint32_t kind, struct buf *buf, front_done_fn done, void *ctx)
{
    struct proposals *ps = f->proposals;
    struct proposal *p = calloc(1, sizeof(*p));

    ENSURE(p != NULL);
    p->waiter.done = on_done;
    p->f = f;
    p->done = done;
    p->ctx = ctx;
    p->deadline_ms = loop_now_ms(f->loop) + PROPOSAL_TIMEOUT_MS;
    p->refused = dl_node_propose(f->node, kind, buf, &p->waiter);
    if (p->refused != 0) {
        if (TAILQ_EMPTY(&ps->refused))
            timer_start(&ps->report, 0);
        TAILQ_INSERT_TAIL(&ps->refused, p, link);
        return;
    }
    if (TAILQ_EMPTY(&ps->waiting))
        timer_start(&ps->check, PROPOSALS_CHECK_MS);
    TAILQ_INSERT_TAIL(&ps->waiting, p, link);
}

void front_propose_message(struct front *f, uint32_t kind, const ProtobufCMessage *m, front_done_fn done,
                           void *ctx)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    struct buf *b = buf_new(DL_RECORD_HEAD + len);

    protobuf_c_message_pack(m, b->data + DL_RECORD_HEAD);
    b->len = (uint32_t)(DL_RECORD_HEAD + len);
    front_propose_buf(f, kind, b, done, ctx);
}

void front_reply_failed(const struct reply_to *to, int err)
{
    switch (err) {
    case ERR_BUSY:
        reply_code(to, RC_SYSTEM_BUSY, "too much waits for commit (proposalsMaxBytes), not stored");
        break;
    case ERR_TIMEOUT:
        reply_code(to, RC_SERVICE_NOT_AVAILABLE, "not committed within %u ms, the outcome is unknown",
                   PROPOSAL_TIMEOUT_MS);
        break;
    case ERR_LOST:
    case ERR_NOT_LEADER:
        reply_code(to, RC_SERVICE_NOT_AVAILABLE, "leadership changed, not stored");
        break;
    default:
        reply_code(to, err_rmq_code(err), "%s", err_text(err));
    }
}

struct joint {
    struct reply_to reply;
    uint32_t left;
    bool answered;
};

struct joint *joint_new(const struct request *req, uint32_t count)
{
    struct joint *j = calloc(1, sizeof(*j));

    ENSURE(j != NULL && count > 0);
    j->reply = req->reply;
    j->left = count;
    return j;
}

void joint_done(struct front *f, void *ctx, int err, const struct dl_entry *e,
                const struct state_result *result)
{
    struct joint *j = ctx;

    (void)f;
    (void)e;
    if (!j->answered && err != 0) {
        front_reply_failed(&j->reply, err);
        j->answered = true;
    } else if (!j->answered && result->code != 0) {
        reply_code(&j->reply, result->code, "%s", result->remark);
        j->answered = true;
    }
    if (--j->left > 0)
        return;
    if (!j->answered)
        reply_ok(&j->reply);
    free(j);
}

struct proposals *proposals_new(struct front *f)
{
    struct proposals *ps = calloc(1, sizeof(*ps));

    ENSURE(ps != NULL);
    TAILQ_INIT(&ps->waiting);
    TAILQ_INIT(&ps->refused);
    timer_init(&ps->check, f->loop, on_check, f);
    timer_init(&ps->report, f->loop, on_report, ps);
    return ps;
}

/* The node was freed before, and told all that waited. */
void proposals_free(struct proposals *ps)
{
    ENSURE(TAILQ_EMPTY(&ps->waiting) && TAILQ_EMPTY(&ps->refused));
    timer_release(&ps->check);
    timer_release(&ps->report);
    free(ps);
}
