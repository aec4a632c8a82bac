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
    char group[GROUP_NAME_MAX + 1], client_id[GROUP_NAME_MAX + 1];
    char *topics; /* the names, one behind the other */
    Ledgermq__Command__QueueRef **list;
    uint32_t count;
    Ledgermq__Command__QueueRef refs[];
};

static void locking_free(struct locking *l)
{
    if (l->kept != NULL)
        gate_drop(l->kept);
    free(l->topics);
    free(l->list);
    free(l);
}

/* Room for what `set` may name, and no more: a request that waits must not hold more than it brought. */
static struct locking *locking_alloc(const struct json *set)
{
    size_t count = json_count(set), topic_bytes = 1;
    struct locking *l = calloc(1, sizeof(*l) + count * sizeof(l->refs[0]));

    for (const struct json *q = set != NULL ? set->first : NULL; q != NULL; q = q->next)
        topic_bytes += json_get_str(q, "topic").len + 1;
    ENSURE(l != NULL);
    l->topics = malloc(topic_bytes);
    l->list = calloc(count + 1, sizeof(l->list[0]));
    ENSURE(l->topics != NULL && l->list != NULL);
    return l;
}

static bool read_queues(struct front *f, struct locking *l, const struct json *root)
{
    const struct json *set = json_get(root, "mqSet");
    char *topic = l->topics;

    if (!str_copy(json_get_str(root, "consumerGroup"), l->group, sizeof(l->group)) || l->group[0] == '\0' ||
        !str_copy(json_get_str(root, "clientId"), l->client_id, sizeof(l->client_id)) ||
        l->client_id[0] == '\0')
        return false;
    for (const struct json *q = set != NULL ? set->first : NULL; q != NULL; q = q->next) {
        Ledgermq__Command__QueueRef *ref = &l->refs[l->count];
        struct str name = json_get_str(q, "topic");
        int64_t id = json_get_i64(q, "queueId", -1);

        if (id < 0 || id >= QUEUES_MAX || name.len > TOPIC_NAME_MAX || !str_copy(name, topic, name.len + 1))
            return false;
        if (!str_is(json_get_str(q, "brokerName"), f->settings->broker_name))
            continue;
        ledgermq__command__queue_ref__init(ref);
        ref->topic = topic;
        ref->queue_id = (uint32_t)id;
        l->list[l->count++] = ref;
        topic += name.len + 1;
    }
    return true;
}

static struct locking *locking_new(struct request *req)
{
    struct front *f = req->user;
    struct json_doc *doc;
    struct locking *l;
    const struct json *set;
    struct err err;

    if (json_parse(req->cmd->body, LOCK_NODES_MAX, &doc, &err) != 0) {
        reply_err(&req->reply, &err);
        return NULL;
    }
    set = json_get(json_root(doc), "mqSet");
    l = locking_alloc(set);
    if (json_count(set) <= LOCK_QUEUES_MAX && read_queues(f, l, json_root(doc))) {
        l->kept = gate_keep(f, req);
    } else {
        reply_code(&req->reply, RC_INVALID_PARAMETER,
                   "consumerGroup, clientId or mqSet (at most %u queues) are malformed", LOCK_QUEUES_MAX);
        locking_free(l);
        l = NULL;
    }
    json_free(doc);
    return l;
}

/* Leadership changed: the next leader is asked. Other failures are the client's to repeat. */
static bool failed(struct front *f, struct locking *l, int err)
{
    if (err == 0)
        return false;
    if (err == ERR_NOT_LEADER || err == ERR_LOST) {
        gate_again(f, l->kept);
        l->kept = NULL; /* handed over */
        locking_free(l);
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
        front_message_queue_members(&w, str_of(l->refs[i].topic), str_of(f->settings->broker_name),
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
