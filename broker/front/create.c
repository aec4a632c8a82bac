/*
 * create.c - topics and groups that come into being by being used, and the ones the broker makes for itself.
 *
 * Rules of RocketMQ's TopicConfigManager and TopicValidator (reference 6.1): a first send creates the topic
 * from a template with the X bit (TBW102, or the topics named like cluster and broker), %RETRY% topics need
 * no template. Creation is a proposal; the request that needed it is dispatched again when it was applied.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "broker/front/front.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/log.h"
#include "proto/command.pb-c.h"

#define PERM_INHERIT      1u
#define PERM_RW           6u
#define COMMAND_MAX_BYTES (64u * 1024)
#define NAME_MAX_TOPIC    127u
#define NAME_MAX_GROUP    120u

#define TEMPLATE_TOPIC "TBW102"
#define RETRY_PREFIX   "%RETRY%"
#define DLQ_PREFIX     "%DLQ%"

static bool name_chars_ok(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];

        if (!isalnum(c) && c != '%' && c != '|' && c != '-' && c != '_')
            return false;
    }
    return name.len > 0;
}

bool front_topic_name_ok(struct str name)
{
    bool derived = str_starts(name, RETRY_PREFIX) || str_starts(name, DLQ_PREFIX);

    return name.len <= (derived ? TOPIC_NAME_MAX : NAME_MAX_TOPIC) && name_chars_ok(name);
}

bool front_group_name_ok(struct str name)
{
    return name.len <= NAME_MAX_GROUP && name_chars_ok(name);
}

/* ---- system topics ---- */

struct system_topic {
    const char *name;
    uint32_t queues;
    uint32_t perm;
    bool unsendable;    /* clients may not send to it (16) */
    bool made_at_start; /* false: name reserved only */
};

static const struct system_topic system_topics[] = {
    {"SELF_TEST_TOPIC", 1, PERM_RW, true, true},
    {"OFFSET_MOVED_EVENT", 1, PERM_RW, true, true},
    {"SCHEDULE_TOPIC_XXXX", 18, PERM_RW, true, false},
    {"RMQ_SYS_TRANS_HALF_TOPIC", 1, PERM_RW, true, false},
    {"RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, PERM_RW, true, false},
    {"TRANS_CHECK_MAX_TIME_TOPIC", 1, PERM_RW, true, false},
};
#define SYSTEM_TOPICS (sizeof(system_topics) / sizeof(system_topics[0]))

bool front_is_unsendable_topic(struct str name)
{
    for (size_t i = 0; i < SYSTEM_TOPICS; i++) {
        if (str_is(name, system_topics[i].name))
            return system_topics[i].unsendable;
    }
    return false;
}

bool front_is_system_topic(const struct front *f, struct str name)
{
    for (size_t i = 0; i < SYSTEM_TOPICS; i++) {
        if (str_is(name, system_topics[i].name))
            return true;
    }
    return str_is(name, TEMPLATE_TOPIC) || str_is(name, f->settings->cluster_name) ||
           str_is(name, f->settings->broker_name) || str_is(name, f->settings->trace_topic_name) ||
           str_starts(name, "rmq_sys_");
}

static void ignore_outcome(struct front *f, void *ctx, int err, const struct dl_entry *e,
                           const struct state_result *r)
{
    (void)f;
    (void)e;
    if (err == 0 && r->code != 0)
        LOG_WARN_EVERY(1000, "creation refused", "name=%s code=%d remark=\"%s\"", (char *)ctx, r->code,
                       r->remark);
    free(ctx);
}

static void propose_topic(struct front *f, struct str name, uint32_t queues, uint32_t perm,
                          front_done_fn done, void *ctx)
{
    char text[TOPIC_NAME_MAX + 1];
    Ledgermq__Command__TopicConfig topic = LEDGERMQ__COMMAND__TOPIC_CONFIG__INIT;
    Ledgermq__Command__TopicPut put = LEDGERMQ__COMMAND__TOPIC_PUT__INIT;

    ENSURE(str_copy(name, text, sizeof(text)));
    topic.name = text;
    topic.read_queues = topic.write_queues = queues;
    topic.perm = perm;
    topic.filter_type = "SINGLE_TAG";
    put.topic = &topic;
    put.now_ms = clock_wall_ms();
    put.create_only = true;
    front_propose_message(f, CMD_TOPIC_PUT, &put.base, done, ctx);
}

static void want_topic(struct front *f, const char *name, uint32_t queues, uint32_t perm)
{
    char *copy;

    if (state_topic(f->state, str_of(name)) != NULL)
        return;
    copy = strdup(name);
    ENSURE(copy != NULL);
    propose_topic(f, str_of(name), queues, perm, ignore_outcome, copy);
}

/* Queues and permission of a template this broker makes for itself; false when `name` is none. */
static bool own_template(const struct front *f, struct str name, uint32_t *queues, uint32_t *perm)
{
    const struct settings *s = f->settings;
    const struct {
        const char *name;
        uint32_t queues, perm;
        bool made;
    } rows[] = {
        {TEMPLATE_TOPIC, (uint32_t)s->default_queues, PERM_RW | PERM_INHERIT, s->auto_create_topic},
        {s->cluster_name, 16, s->cluster_topic ? PERM_RW | PERM_INHERIT : PERM_INHERIT, true},
        {s->broker_name, 1, s->broker_topic ? PERM_RW | PERM_INHERIT : PERM_INHERIT, true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].made && str_is(name, rows[i].name)) {
            *queues = rows[i].queues;
            *perm = rows[i].perm;
            return true;
        }
    }
    return false;
}

void front_ensure_system_topics(struct front *f)
{
    const struct settings *s = f->settings;
    const char *const templates[] = {TEMPLATE_TOPIC, s->cluster_name, s->broker_name};

    for (size_t i = 0; i < SYSTEM_TOPICS; i++) {
        if (system_topics[i].made_at_start)
            want_topic(f, system_topics[i].name, system_topics[i].queues, system_topics[i].perm);
    }
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++) {
        uint32_t queues, perm;

        if (own_template(f, str_of(templates[i]), &queues, &perm))
            want_topic(f, templates[i], queues, perm);
    }
    if (s->trace_topic)
        want_topic(f, s->trace_topic_name, 1, PERM_RW);
}

/* ---- topics made by a first use ---- */

static void on_created(struct front *f, void *ctx, int err, const struct dl_entry *e,
                       const struct state_result *r)
{
    struct kept *k = ctx;

    (void)e;
    if (err == ERR_TIMEOUT || err == ERR_BUSY || err == ERR_TOO_LARGE) {
        front_reply_failed(gate_reply(k), err);
        gate_drop(k);
    } else if (err == 0 && r->code != 0) {
        reply_code(gate_reply(k), r->code, "%s", r->remark);
        gate_drop(k);
    } else {
        gate_again(f, k); /* created, or leadership changed: another replica may know better */
    }
}

/* Why the template cannot serve, or NULL. */
static const char *template_fault(const struct front *f, const struct topic *tmpl, struct str name)
{
    if (str_is(name, TEMPLATE_TOPIC) && !f->settings->auto_create_topic)
        return "autoCreateTopicEnable is false";
    if (tmpl == NULL)
        return "the template topic does not exist";
    if (!(tmpl->perm & PERM_INHERIT))
        return "the template topic's permission has no inherit bit";
    return NULL;
}

const struct topic *front_find_topic(struct front *f, struct request *req, struct str name,
                                     struct str template_name, int32_t queues)
{
    const struct topic *t = state_topic(f->state, name), *tmpl;
    const char *fault;
    uint32_t count, perm;

    if (t != NULL)
        return t;
    if (!front_topic_name_ok(name)) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "topic name \"%.*s\" is not 1-%u of %%|a-zA-Z0-9_-",
                   (int)name.len, name.p, NAME_MAX_TOPIC);
        return NULL;
    }
    if (str_starts(name, RETRY_PREFIX)) {
        propose_topic(f, name, 1, PERM_RW, on_created, gate_keep(f, req));
        return NULL;
    }
    tmpl = state_topic(f->state, template_name);
    if (tmpl == NULL && own_template(f, template_name, &count, &perm)) { /* the group has just begun */
        propose_topic(f, template_name, count, perm, on_created, gate_keep(f, req));
        return NULL;
    }
    fault = template_fault(f, tmpl, template_name);
    if (fault != NULL || queues <= 0) {
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST,
                   "topic %.*s does not exist; not made from template \"%.*s\": %s", (int)name.len, name.p,
                   (int)template_name.len, template_name.p,
                   fault != NULL ? fault : "no queues were asked for");
        return NULL;
    }
    count = (uint32_t)queues < tmpl->write_queues ? (uint32_t)queues : tmpl->write_queues;
    propose_topic(f, name, count, tmpl->perm & ~PERM_INHERIT & (uint32_t)PERM_RW, on_created,
                  gate_keep(f, req));
    return NULL;
}

/* ---- groups ---- */

static void propose_group(struct front *f, struct str name, front_done_fn done, void *ctx)
{
    char text[GROUP_NAME_MAX + 1];
    struct bld json = bld_of(COMMAND_MAX_BYTES / 2);
    struct buf *body;
    Ledgermq__Command__GroupPut put = LEDGERMQ__COMMAND__GROUP_PUT__INIT;

    ENSURE(str_copy(name, text, sizeof(text)));
    bld_fmt(&json,
            "{\"groupName\":\"%s\",\"consumeEnable\":true,\"consumeFromMinEnable\":true,"
            "\"consumeBroadcastEnable\":true,"
            "\"retryQueueNums\":1,\"retryMaxTimes\":16,\"brokerId\":0,\"whichBrokerWhenConsumeSlowly\":1,"
            "\"notifyConsumerIdsChangedEnable\":true,\"groupSysFlag\":0,\"consumeTimeoutMinute\":15}",
            text);
    bld_bytes(&json, "", 1);
    body = bld_take(&json);
    put.name = text;
    put.config_json = (char *)body->data;
    put.now_ms = clock_wall_ms();
    put.create_only = true;
    front_propose_message(f, CMD_GROUP_PUT, &put.base, done, ctx);
    buf_unref(body);
}

const struct group *front_find_group(struct front *f, struct request *req, struct str name)
{
    const struct group *g = state_group(f->state, name);

    if (g != NULL)
        return g;
    if (!front_group_name_ok(name)) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "group name \"%.*s\" is not 1-%u of %%|a-zA-Z0-9_-",
                   (int)name.len, name.p, NAME_MAX_GROUP);
        return NULL;
    }
    if (!f->settings->auto_create_group) {
        reply_code(&req->reply, RC_SUBSCRIPTION_GROUP_NOT_EXIST,
                   "group %.*s does not exist and autoCreateSubscriptionGroup is false", (int)name.len,
                   name.p);
        return NULL;
    }
    propose_group(f, name, on_created, gate_keep(f, req));
    return NULL;
}

void front_want_group(struct front *f, struct str group, bool retry_topic)
{
    char retry[TOPIC_NAME_MAX + 1] = RETRY_PREFIX;
    char name[GROUP_NAME_MAX + 1];

    if (!f->serving || !f->settings->auto_create_group || !front_group_name_ok(group))
        return;
    ENSURE(str_copy(group, name, sizeof(name)));
    if (state_group(f->state, group) == NULL) {
        char *copy = strdup(name);

        ENSURE(copy != NULL);
        propose_group(f, group, ignore_outcome, copy);
    }
    strcat(retry, name);
    if (retry_topic)
        want_topic(f, retry, 1, PERM_RW);
}
