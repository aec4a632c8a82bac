/*
 * handle_pull.c - a message goes out: codes 11 and 361. PullMessageProcessor, DefaultMessageStore.getMessage;
 * reference 3.5, 6.4.
 *
 *   header -> group, topic, queue, filter -> index rows -> bytes -> answer
 *                                              |             '-- not in memory or page cache: read worker
 *                                              |-- block not in memory: state worker, then on
 *                                              '-- nothing new: hold.c, until a message or the time is up
 *
 * Only applied, hence committed, entries have index rows: no replica can show what might vanish.
 */
#include <stdlib.h>
#include <string.h>

#include "broker/front/clients_internal.h"
#include "broker/front/gather.h"
#include "broker/front/handlers.h"
#include "broker/front/hold.h"
#include "broker/front/pull.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"

#define PULL_COMMIT_OFFSET 1
#define PULL_SUSPEND       2
#define PULL_SUBSCRIPTION  4
#define PULL_CLASS_FILTER  8
#define PULL_BODY_MAX      4096u /* no client sends any; it is held with the pull */
#define HOLD_LONGEST_MS    35000 /* below the time a relayed pull may take */
#define MESSAGES_MAX       4096u /* bound of maxTransferCountOnMessageInMemory */
#define SCAN_ROWS_MAX      4096u /* rows looked at in one go of a filtered pull */
#define ROWS_AT_ONCE       64u

/* What was found for one answer. */
struct found {
    struct pull *pull;
    struct buf *body;
    uint64_t next, min, max;
    uint32_t count;
    bool cold; /* bytes came from the disk: check them */
    struct {
        uint64_t offset, position;
        uint32_t at, size;
    } messages[];
};

void pull_drop(struct pull *p)
{
    if (p->kept != NULL)
        gate_drop(p->kept);
    free(p);
}

/* ---- answers ---- */

static void answer(struct pull *p, int32_t code, const char *status, uint64_t next, uint64_t min,
                   uint64_t max, struct buf *body)
{
    struct remoting_out out;

    reply_begin(gate_reply(p->kept), &out, code, str_of(status));
    remoting_put_i64(&out, "suggestWhichBrokerId", 0);
    remoting_put_i64(&out, "nextBeginOffset", (int64_t)next);
    remoting_put_i64(&out, "minOffset", (int64_t)min);
    remoting_put_i64(&out, "maxOffset", (int64_t)max);
    reply_out(gate_reply(p->kept), &out, body);
    pull_drop(p);
}

void pull_expire(struct pull *p)
{
    uint64_t min = 0, max = 0;

    (void)!state_queue_bounds(p->f->state, str_of(p->topic), p->queue_id, &min, &max);
    answer(p, RC_PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", p->offset, min, max, NULL);
}

void pull_refuse(struct pull *p)
{
    reply_code(gate_reply(p->kept), RC_SYSTEM_BUSY,
               "too many pulls wait for messages here (%u pulls or %u bytes)", HOLD_MAX, HOLD_MAX_BYTES);
    pull_drop(p);
}

void pull_return(struct pull *p)
{
    struct kept *k = p->kept;

    p->kept = NULL;
    gate_extend(k);
    gate_again(p->f, k);
    pull_drop(p);
}

uint32_t pull_bytes(const struct pull *p)
{
    return (uint32_t)sizeof(*p) + gate_bytes(p->kept);
}

/* Nothing to give now: wait when the client allows it. */
static void nothing(struct pull *p, int32_t code, const char *status, uint64_t min, uint64_t max)
{
    if (loop_now_ms(p->f->loop) < p->hold_until_ms)
        hold_add(p->f->hold, p);
    else
        answer(p, code, status, p->offset, min, max, NULL);
}

static void finish(struct found *found)
{
    struct pull *p = found->pull;

    for (uint32_t i = 0; i < found->count; i++) {
        uint8_t *data = found->body->data + found->messages[i].at;
        struct message m;

        if (message_decode(data, found->messages[i].size, found->cold, &m) != 0 ||
            m.total_size != found->messages[i].size) {
            LOG_ERROR("message in the log is damaged", "topic=%s queue=%u offset=%llu position=%llu",
                      p->topic, p->queue_id, (unsigned long long)found->messages[i].offset,
                      (unsigned long long)found->messages[i].position);
            reply_code(gate_reply(p->kept), RC_SYSTEM_ERROR,
                       "message at position %llu is damaged on this replica",
                       (unsigned long long)found->messages[i].position);
            buf_unref(found->body);
            pull_drop(p);
            free(found);
            return;
        }
        message_patch(data, found->messages[i].offset, found->messages[i].position);
    }
    metric_add(&p->f->counters.pull_messages, found->count);
    metric_add(&p->f->counters.pull_bytes, found->body->len);
    answer(p, RC_SUCCESS, "FOUND", found->next, found->min, found->max, found->body);
    free(found);
}

static void on_bytes_read(void *arg, int err)
{
    struct found *found = arg;

    if (err == 0) {
        finish(found);
        return;
    }
    reply_code(gate_reply(found->pull->kept), RC_SYSTEM_ERROR, "the log cannot be read: %s", err_text(err));
    buf_unref(found->body);
    pull_drop(found->pull);
    free(found);
}

/* ---- bytes ---- */

/* Copy all messages; those that are not in memory are read by the read worker, all together. */
static void read_bytes(struct found *found)
{
    struct dl_store *store = found->pull->f->store;
    struct dl_range *ranges = NULL;
    uint32_t cold = 0;

    for (uint32_t i = 0; i < found->count; i++) {
        struct dl_range r = {found->messages[i].position, found->messages[i].size,
                             found->body->data + found->messages[i].at};
        int rc = dl_store_read(store, r.pos, r.len, r.dst);

        if (rc == 0)
            continue;
        if (ranges == NULL)
            ranges = calloc(found->count, sizeof(*ranges));
        ENSURE(ranges != NULL);
        ranges[cold++] = r;
    }
    found->cold = cold > 0;
    if (cold == 0) {
        finish(found);
        return;
    }
    if (dl_store_read_async(store, ranges, cold, on_bytes_read, found) != 0)
        on_bytes_read(found, ERR_BUSY);
    free(ranges);
}

/* ---- rows ---- */

static bool passes(const struct filter *filter, int32_t hash)
{
    for (uint32_t i = 0; i < filter->count; i++) {
        if (filter->hashes[i] == hash)
            return true;
    }
    return filter->count == 0;
}

static void on_rows_loaded(void *arg, int err)
{
    struct pull *p = arg;

    if (err == 0) {
        pull_run(p);
    } else {
        reply_code(gate_reply(p->kept), RC_SYSTEM_ERROR, "the index cannot be read: %s", err_text(err));
        pull_drop(p);
    }
}

struct scan {
    struct found *found;
    uint64_t offset, bytes;
    uint32_t looked_at;
    bool full;
};

static void take_rows(struct pull *p, struct scan *s, const struct index_row *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n && !s->full; i++) {
        struct found *found = s->found;

        if (passes(&p->filter, rows[i].tag_hash)) {
            if (found->count > 0 && s->bytes + rows[i].size > (uint64_t)p->f->settings->pull_bytes_max) {
                s->full = true;
                return;
            }
            found->messages[found->count].offset = s->offset;
            found->messages[found->count].position = rows[i].position;
            found->messages[found->count].at = (uint32_t)s->bytes;
            found->messages[found->count].size = rows[i].size;
            s->bytes += rows[i].size;
            found->count++;
        }
        s->offset++;
        s->full = found->count == p->count_max || ++s->looked_at == SCAN_ROWS_MAX;
    }
}

/* Fill s->found from the index. 0, or ERR_AGAIN when the block at s->offset has to be loaded first. */
static int scan_rows(struct pull *p, struct scan *s, uint64_t max)
{
    struct index_row rows[ROWS_AT_ONCE];
    uint32_t n;

    while (!s->full && s->offset < max) {
        uint32_t want = p->filter.count == 0 && p->count_max - s->found->count < ROWS_AT_ONCE
                            ? p->count_max - s->found->count
                            : ROWS_AT_ONCE;
        int rc = state_rows(p->f->state, str_of(p->topic), p->queue_id, s->offset, want, rows, &n);

        if (rc != 0)
            return rc;
        take_rows(p, s, rows, n);
    }
    return 0;
}

static void run_found(struct pull *p, uint64_t min, uint64_t max)
{
    struct found *found = calloc(1, sizeof(*found) + p->count_max * sizeof(found->messages[0]));
    struct scan s = {.found = found, .offset = p->offset};
    int rc;

    ENSURE(found != NULL);
    rc = scan_rows(p, &s, max);
    if (rc == ERR_AGAIN && found->count == 0) {
        free(found);
        if (state_load_rows(p->f->state, str_of(p->topic), p->queue_id, s.offset, on_rows_loaded, p) != 0)
            on_rows_loaded(p, ERR_BUSY);
        return;
    }
    if (found->count == 0) {
        free(found);
        p->offset = s.offset; /* all of it was filtered out: go on behind it */
        if (s.offset < max)
            answer(p, RC_PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", s.offset, min, max, NULL);
        else
            nothing(p, RC_PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", min, max);
        return;
    }
    found->pull = p;
    found->next = s.offset;
    found->min = min;
    found->max = max;
    found->body = buf_new(s.bytes);
    found->body->len = (uint32_t)s.bytes;
    read_bytes(found);
}

void pull_run(struct pull *p)
{
    uint64_t min, max;

    if (!gate_can_read(p->f)) {
        pull_return(p);
        return;
    }
    if (state_queue_bounds(p->f->state, str_of(p->topic), p->queue_id, &min, &max) != 0) {
        reply_code(gate_reply(p->kept), RC_TOPIC_NOT_EXIST, "topic %s has gone", p->topic);
        pull_drop(p);
    } else if (max == 0 && p->offset > 0) {
        answer(p, RC_PULL_OFFSET_MOVED, "NO_MESSAGE_IN_QUEUE", 0, min, max, NULL);
    } else if (p->offset < min) {
        answer(p, RC_PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", min, min, max, NULL);
    } else if (p->offset > max) {
        answer(p, RC_PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", max, min, max, NULL);
    } else if (p->offset == max) {
        nothing(p, RC_PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", min, max);
    } else {
        run_found(p, min, max);
    }
}

/* ---- the request ---- */

/* "A || B" -> hashes; "*" or nothing = all. False when there are too many tags. */
static bool parse_tags(struct str text, struct filter *filter)
{
    filter->count = 0;
    if (text.len == 0 || str_is(text, "*"))
        return true;
    while (text.len > 0) {
        const char *bar = memmem(text.p, text.len, "||", 2);
        struct str tag = {text.p, bar != NULL ? (size_t)(bar - text.p) : text.len};

        text = bar != NULL ? (struct str){bar + 2, text.len - tag.len - 2} : (struct str){NULL, 0};
        while (tag.len > 0 && tag.p[0] == ' ')
            tag = (struct str){tag.p + 1, tag.len - 1};
        while (tag.len > 0 && tag.p[tag.len - 1] == ' ')
            tag.len--;
        if (tag.len == 0)
            continue;
        if (filter->count == FILTER_TAGS_MAX)
            return false;
        filter->hashes[filter->count++] = message_tag_hash(tag);
    }
    return true;
}

static bool is_by_tags(struct request *req, struct str type)
{
    if (type.len == 0 || str_is(type, "TAG"))
        return true;
    reply_code(&req->reply, RC_SYSTEM_ERROR, "The broker does not support consumer to filter message by %.*s",
               (int)type.len, type.p);
    return false;
}

/* Java's clients compare the tags of what they get again, and a pull of theirs says when it is not by tags. Of the
 * others Go's do not: up to 2.1.1 they compare nothing, and all of them say TAG also for SQL92. */
static bool compares_again(const struct request *req)
{
    return req->cmd->language == LANG_JAVA;
}

/* No heartbeat has told this replica of the subscription yet: it has just started, or lost the connection,
 * and heartbeats are 30 s apart. Rather than let the consumer stand still with errors until then, nothing is
 * filtered, for clients that look at the tags again. Refused is what they do not look at again, and what hangs on
 * whether the group broadcasts. */
static bool unknown_filter(struct request *req, const struct group *group, int32_t sys_flag,
                           struct filter *filter)
{
    if (sys_flag & PULL_CLASS_FILTER || !group->consume_broadcast_enable || !compares_again(req)) {
        reply_code(&req->reply, RC_SUBSCRIPTION_NOT_EXIST,
                   "the subscription of group %s is not known here yet", group->name);
        return false;
    }
    filter->count = 0;
    return is_by_tags(req, remoting_str(req->cmd, "expressionType"));
}

static bool too_many_tags(struct request *req)
{
    reply_code(&req->reply, RC_SUBSCRIPTION_PARSE_FAILED, "more than %u tags in one subscription",
               FILTER_TAGS_MAX);
    return false;
}

/* The filter of a pull without its own subscription: what the group's heartbeat said. */
static bool registered_filter(struct request *req, const struct group *group, int32_t sys_flag,
                              struct filter *filter)
{
    struct front *f = req->user;
    struct str topic = remoting_str(req->cmd, "topic");
    struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, str_of(group->name));
    struct subscription *s;

    if (g == NULL || g->subscriptions == NULL)
        return unknown_filter(req, group, sys_flag, filter);
    HASH_FIND(hh, g->subscriptions, topic.p, topic.len, s);
    if (s == NULL) {
        reply_code(&req->reply, RC_SUBSCRIPTION_NOT_EXIST, "group %s has no subscription to %.*s here",
                   group->name, (int)topic.len, topic.p);
        return false;
    }
    if (g->broadcasting && !group->consume_broadcast_enable) {
        reply_code(&req->reply, RC_NO_PERMISSION, "group %s may not consume broadcasts", group->name);
        return false;
    }
    if (remoting_i64_or(req->cmd, "subVersion", 0) >
        s->version) /* told by another member; this one's comes */
        return unknown_filter(req, group, sys_flag, filter);
    if (!is_by_tags(req, str_of(s->type)))
        return false;
    if (parse_tags(str_of(s->expression), filter))
        return true;
    filter->count = 0; /* too many to compare: the client does */
    return compares_again(req) || too_many_tags(req);
}

/* Groups whose clients pull by themselves are refused when rejectPullConsumerEnable says so. */
static bool may_pull(struct request *req, const struct group *group)
{
    struct front *f = req->user;
    struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, str_of(group->name));

    if (!f->settings->reject_pull_consumer || g == NULL || strcmp(g->consume_type, "CONSUME_ACTIVELY") != 0)
        return true;
    reply_code(&req->reply, RC_SUBSCRIPTION_NOT_EXIST, "group %s pulls actively (rejectPullConsumerEnable)",
               group->name);
    return false;
}

static bool requested_filter(struct request *req, struct filter *filter)
{
    if (!is_by_tags(req, remoting_str(req->cmd, "expressionType")))
        return false;
    return parse_tags(remoting_str(req->cmd, "subscription"), filter) || too_many_tags(req);
}

/* Topic, permission and queue; NULL when the request was answered. */
static const struct topic *readable_topic(struct request *req, int32_t queue_id)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "topic");
    const struct topic *t = state_topic(f->state, name);

    if (t == NULL) {
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST, "topic %.*s does not exist", (int)name.len, name.p);
    } else if (!((uint32_t)f->settings->broker_permission & t->perm & 4u)) {
        reply_code(&req->reply, RC_NO_PERMISSION, "topic %s is not readable", t->name);
    } else if (queue_id < 0 || (uint32_t)queue_id >= t->read_queues) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "queue %d of topic %s does not exist (%u queues)",
                   queue_id, t->name, t->read_queues);
    } else {
        return t;
    }
    return NULL;
}

/* The consumer's offset that rides on a pull; only news goes into the log. */
static void commit_offset(struct front *f, const struct remoting_cmd *cmd, struct str group,
                          const struct topic *t, uint32_t queue_id)
{
    struct str topic = {t->name, t->name_len};
    int64_t offset = remoting_i64_or(cmd, "commitOffset", -1);
    uint64_t known;

    if (offset < 0 ||
        (gather_offset(f->gather, group, topic, queue_id, &known) == 0 && known == (uint64_t)offset))
        return;
    gather_commit(f->gather, group, topic, queue_id, (uint64_t)offset, NULL);
}

uint32_t pull_commit_at(const struct request *req)
{
    struct str flag = {NULL, 0};
    size_t at;

    if (req->cmd->code == PULL_MESSAGE || req->cmd->code == LITE_PULL_MESSAGE)
        flag = remoting_str(req->cmd, "sysFlag");
    if (flag.len == 0 || flag.p[0] == '-')
        return 0;
    at = (uintptr_t)(flag.p + flag.len - 1) - (uintptr_t)req->frame.p;
    return at < req->frame.len && (flag.p[flag.len - 1] & PULL_COMMIT_OFFSET) ? (uint32_t)at : 0;
}

static uint64_t hold_until(struct front *f, const struct remoting_cmd *cmd, int32_t sys_flag)
{
    int64_t suspend_ms = remoting_i64_or(cmd, "suspendTimeoutMillis", 0);

    if (!(sys_flag & PULL_SUSPEND) || suspend_ms <= 0)
        return 0;
    if (!f->settings->long_polling && suspend_ms > f->settings->short_polling_ms)
        suspend_ms = f->settings->short_polling_ms;
    if (suspend_ms > HOLD_LONGEST_MS)
        suspend_ms = HOLD_LONGEST_MS;
    return loop_now_ms(f->loop) + (uint64_t)suspend_ms;
}

void handle_pull(struct request *req)
{
    struct front *f = req->user;
    const struct remoting_cmd *cmd = req->cmd;
    struct str group_name = remoting_str(cmd, "consumerGroup");
    int32_t queue_id, sys_flag, count;
    const struct group *group;
    const struct topic *t;
    struct filter filter;
    struct pull *p;
    int64_t offset;

    if (remoting_i32(cmd, "queueId", &queue_id) != 0 || remoting_i64(cmd, "queueOffset", &offset) != 0 ||
        remoting_i32(cmd, "maxMsgNums", &count) != 0 || remoting_i32(cmd, "sysFlag", &sys_flag) != 0) {
        reply_code(&req->reply, RC_INVALID_PARAMETER,
                   "queueId, queueOffset, maxMsgNums or sysFlag is missing or no number");
        return;
    }
    if (cmd->body.len > PULL_BODY_MAX) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "a pull has no body, this one has %zu bytes",
                   cmd->body.len);
        return;
    }
    group = front_find_group(f, req, group_name);
    if (group == NULL)
        return;
    if (!group->consume_enable) {
        reply_code(&req->reply, RC_NO_PERMISSION, "group %s may not consume (consumeEnable)", group->name);
        return;
    }
    t = readable_topic(req, queue_id);
    if (t == NULL || !may_pull(req, group))
        return;
    if (!(sys_flag & PULL_SUBSCRIPTION ? requested_filter(req, &filter)
                                       : registered_filter(req, group, sys_flag, &filter)))
        return;
    metric_add(&f->counters.pulls, 1);

    p = calloc(1, sizeof(*p));
    ENSURE(p != NULL);
    p->f = f;
    p->kept = gate_keep(f, req);
    if (gate_take_commit(p->kept))
        commit_offset(f, cmd, group_name, t, (uint32_t)queue_id);
    memcpy(p->topic, t->name, t->name_len + 1);
    p->queue_id = (uint32_t)queue_id;
    p->offset = offset < 0 ? 0 : (uint64_t)offset;
    p->count_max = count < 1 ? 1 : (uint32_t)count;
    if (p->count_max > (uint32_t)f->settings->pull_count_max)
        p->count_max = (uint32_t)f->settings->pull_count_max;
    if (p->count_max > MESSAGES_MAX)
        p->count_max = MESSAGES_MAX;
    p->hold_until_ms = hold_until(f, cmd, sys_flag);
    p->filter = filter;
    pull_run(p);
}
