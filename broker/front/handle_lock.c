/*
 * handle_lock.c - queue locks of orderly consumers (41, 42). AdminBrokerProcessor, RebalanceLockManager;
 * reference 6.11.
 *
 * Locks are replicated state, so that a new leader knows them (RocketMQ's are lost at a fail-over and two
 * consumers overlap until they expire).
 */
#include <stdlib.h>

#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/clock.h"
#include "common/codes.h"
#include "proto/command.pb-c.h"

#define LOCK_NODES_MAX  8192u
#define LOCK_QUEUES_MAX 1024u /* bits of state_result.locked_mask */

/* The queues a request names, kept until its proposal is applied. */
struct locking {
    struct kept *kept;
    struct json_doc *doc;
    uint32_t count;
    Ledgermq__Command__QueueRef refs[LOCK_QUEUES_MAX], *list[LOCK_QUEUES_MAX];
    char group[GROUP_NAME_MAX + 1], client_id[GROUP_NAME_MAX + 1];
    char topics[LOCK_QUEUES_MAX][TOPIC_NAME_MAX + 1];
};

static void locking_free(struct locking *l)
{
    json_free(l->doc);
    gate_drop(l->kept);
    free(l);
}

static bool read_queues(struct front *f, struct locking *l, const struct json *root)
{
    const struct json *set = json_get(root, "mqSet");

    if (!str_copy(json_get_str(root, "consumerGroup"), l->group, sizeof(l->group)) || l->group[0] == '\0' ||
        !str_copy(json_get_str(root, "clientId"), l->client_id, sizeof(l->client_id)) ||
        l->client_id[0] == '\0')
        return false;
    for (const struct json *q = set != NULL ? set->first : NULL; q != NULL; q = q->next) {
        Ledgermq__Command__QueueRef *ref = &l->refs[l->count];
        int64_t id = json_get_i64(q, "queueId", -1);

        if (l->count == LOCK_QUEUES_MAX || id < 0 || id >= QUEUES_MAX ||
            !str_copy(json_get_str(q, "topic"), l->topics[l->count], sizeof(l->topics[0])))
            return false;
        if (!str_is(json_get_str(q, "brokerName"), f->settings->broker_name))
            continue;
        ledgermq__command__queue_ref__init(ref);
        ref->topic = l->topics[l->count];
        ref->queue_id = (uint32_t)id;
        l->list[l->count++] = ref;
    }
    return true;
}

static struct locking *locking_new(struct request *req)
{
    struct front *f = req->user;
    struct locking *l = calloc(1, sizeof(*l));
    struct err err;

    ENSURE(l != NULL);
    l->kept = gate_keep(f, req);
    if (json_parse(req->cmd->body, LOCK_NODES_MAX, &l->doc, &err) != 0) {
        reply_err(&req->reply, &err);
    } else if (!read_queues(f, l, json_root(l->doc))) {
        reply_code(&req->reply, RC_INVALID_PARAMETER,
                   "consumerGroup, clientId or mqSet (at most %u queues) are malformed", LOCK_QUEUES_MAX);
    } else {
        return l;
    }
    locking_free(l);
    return NULL;
}

/* Leadership changed: the next leader is asked. Other failures are the client's to repeat. */
static bool failed(struct front *f, struct locking *l, int err)
{
    if (err == 0)
        return false;
    if (err == ERR_NOT_LEADER || err == ERR_LOST) {
        gate_again(f, l->kept);
        json_free(l->doc);
        free(l);
    } else {
        front_reply_failed(gate_reply(l->kept), err);
        locking_free(l);
    }
    return true;
}

static void on_locked(struct front *f, void *ctx, int err, const struct dl_entry *e,
                      const struct state_result *r)
{
    struct locking *l = ctx;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    (void)e;
    if (failed(f, l, err))
        return;
    if (r->code != 0) {
        reply_code(gate_reply(l->kept), r->code, "%s", r->remark);
        locking_free(l);
        return;
    }
    jw_object(&w);
    jw_key(&w, "lockOKMQSet");
    jw_array(&w);
    for (uint32_t i = 0; i < l->count; i++) {
        if (!(r->locked_mask[i / 64] >> (i % 64) & 1))
            continue;
        jw_object(&w);
        front_message_queue_members(&w, str_of(l->topics[i]), str_of(f->settings->broker_name),
                                    l->refs[i].queue_id);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    reply_body(gate_reply(l->kept), &body);
    locking_free(l);
}

void handle_lock(struct request *req)
{
    struct front *f = req->user;
    struct locking *l = locking_new(req);
    Ledgermq__Command__QueuesLock m = LEDGERMQ__COMMAND__QUEUES_LOCK__INIT;

    if (l == NULL)
        return;
    m.group = l->group;
    m.client_id = l->client_id;
    m.n_queues = l->count;
    m.queues = l->list;
    m.now_ms = clock_wall_ms();
    m.expire_ms = (uint64_t)f->settings->lock_expire_ms;
    front_propose_message(f, CMD_QUEUES_LOCK, &m.base, on_locked, l);
}

static void on_unlocked(struct front *f, void *ctx, int err, const struct dl_entry *e,
                        const struct state_result *r)
{
    struct locking *l = ctx;

    (void)e;
    (void)r;
    if (failed(f, l, err))
        return;
    reply_ok(gate_reply(l->kept));
    locking_free(l);
}

void handle_unlock(struct request *req)
{
    struct front *f = req->user;
    struct locking *l = locking_new(req);
    Ledgermq__Command__QueuesUnlock m = LEDGERMQ__COMMAND__QUEUES_UNLOCK__INIT;

    if (l == NULL)
        return;
    m.group = l->group;
    m.client_id = l->client_id;
    m.n_queues = l->count;
    m.queues = l->list;
    front_propose_message(f, CMD_QUEUES_UNLOCK, &m.base, on_unlocked, l);
}
