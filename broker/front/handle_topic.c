/*
 * handle_topic.c - topics: create and change (17, 18), delete (215), list (21, 305), one (351), route (105).
 * AdminBrokerProcessor; reference 3.7, 6.1.
 */
#include <stdlib.h>
#include <string.h>

#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/clock.h"
#include "common/codes.h"
#include "proto/command.pb-c.h"

#define TOPIC_COMMAND_MAX (128u * 1024)
#define LIST_NODES_MAX    400000u
#define VERSION_4_9_4     401 /* from here on clients read route answers as standard JSON */

/* ---- create, change, delete ---- */

/* What 17 and 18 say about a topic, as text with NUL. */
struct topic_wish {
    char name[TOPIC_NAME_MAX + 1], filter[16];
    char attributes[4096];
    int64_t read_queues, write_queues, perm, sys_flag;
    bool order;
};

/* "+k=v,-k" or JSON of TopicConfig.attributes -> JSON object text; false when it does not fit or is
 * malformed. */
static bool attributes_json(struct str text, char *out, size_t size)
{
    struct bld json = bld_of(size - 1);
    struct jw w = jw_of(&json);
    struct buf *b;

    out[0] = '\0';
    if (text.len == 0)
        return true;
    jw_object(&w);
    while (text.len > 0) {
        const char *comma = memchr(text.p, ',', text.len), *eq;
        struct str item = {text.p, comma ? (size_t)(comma - text.p) : text.len};

        text = (struct str){text.p + item.len, text.len - item.len};
        if (text.len > 0)
            text = (struct str){text.p + 1, text.len - 1};
        if (item.len < 2 || item.p[0] != '+')
            continue; /* "-k" removes: what is not listed is not kept */
        eq = memchr(item.p, '=', item.len);
        if (eq == NULL) {
            bld_drop(&json);
            return false;
        }
        jw_key_str(&w, (struct str){item.p + 1, (size_t)(eq - item.p) - 1});
        jw_str(&w, (struct str){eq + 1, item.len - (size_t)(eq - item.p) - 1});
    }
    jw_end_object(&w);
    if (json.full) {
        bld_drop(&json);
        return false;
    }
    b = bld_take(&json);
    memcpy(out, b->data, b->len);
    out[b->len] = '\0';
    buf_unref(b);
    return true;
}

/* Why this wish is refused, or NULL. What is left to check is checked by apply. */
static const char *wish_fault(struct front *f, const struct topic_wish *t)
{
    if (!front_topic_name_ok(str_of(t->name)))
        return "topic name is not 1-127 of %|a-zA-Z0-9_-";
    if (front_is_system_topic(f, str_of(t->name)))
        return "the topic conflicts with a system topic";
    if (t->read_queues < 1 || t->read_queues > QUEUES_MAX || t->write_queues < 1 ||
        t->write_queues > QUEUES_MAX)
        return "queue numbers must be 1..65536";
    if (t->perm < 0 || t->perm > 7)
        return "perm must be 0..7";
    if (t->sys_flag < 0 || t->sys_flag > INT32_MAX)
        return "topicSysFlag must be 0..2147483647";
    return NULL;
}

static void propose_wish(struct front *f, struct topic_wish *t, struct joint *c)
{
    Ledgermq__Command__TopicConfig config = LEDGERMQ__COMMAND__TOPIC_CONFIG__INIT;
    Ledgermq__Command__TopicPut put = LEDGERMQ__COMMAND__TOPIC_PUT__INIT;

    config.name = t->name;
    config.read_queues = (uint32_t)t->read_queues;
    config.write_queues = (uint32_t)t->write_queues;
    config.perm = (uint32_t)t->perm;
    config.sys_flag = (uint32_t)t->sys_flag;
    config.order = t->order;
    config.filter_type = t->filter[0] != '\0' ? t->filter : "SINGLE_TAG";
    config.attributes = t->attributes;
    put.topic = &config;
    put.now_ms = clock_wall_ms();
    front_propose_message(f, CMD_TOPIC_PUT, &put.base, joint_done, c);
}

void handle_topic_put(struct request *req)
{
    struct front *f = req->user;
    const struct remoting_cmd *cmd = req->cmd;
    struct topic_wish t = {0};
    const char *fault;

    if (!str_copy(remoting_str(cmd, "topic"), t.name, sizeof(t.name)) ||
        !str_copy(remoting_str(cmd, "topicFilterType"), t.filter, sizeof(t.filter)) ||
        !attributes_json(remoting_str(cmd, "attributes"), t.attributes, sizeof(t.attributes))) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "topic, topicFilterType or attributes are malformed");
        return;
    }
    t.read_queues = remoting_i64_or(cmd, "readQueueNums", 8);
    t.write_queues = remoting_i64_or(cmd, "writeQueueNums", 8);
    t.perm = remoting_i64_or(cmd, "perm", 6);
    t.sys_flag = remoting_i64_or(cmd, "topicSysFlag", 0);
    t.order = remoting_bool_or(cmd, "order", false);
    fault = wish_fault(f, &t);
    if (fault != NULL) {
        reply_code(&req->reply, cmd->version >= VERSION_4_9_4 ? RC_INVALID_PARAMETER : RC_SYSTEM_ERROR,
                   "%s: %s", t.name, fault);
        return;
    }
    propose_wish(f, &t, joint_new(req, 1));
}

static bool read_wish(const struct json *node, struct topic_wish *t)
{
    *t = (struct topic_wish){.read_queues = json_get_i64(node, "readQueueNums", 8),
                             .write_queues = json_get_i64(node, "writeQueueNums", 8),
                             .perm = json_get_i64(node, "perm", 6),
                             .sys_flag = json_get_i64(node, "topicSysFlag", 0),
                             .order = json_get_bool(node, "order", false)};
    return str_copy(json_get_str(node, "topicName"), t->name, sizeof(t->name)) &&
           str_copy(json_get_str(node, "topicFilterType"), t->filter, sizeof(t->filter));
}

void handle_topic_put_list(struct request *req)
{
    struct front *f = req->user;
    struct json_doc *doc;
    struct err err;
    const struct json *list;
    struct topic_wish t;
    struct joint *c;

    if (json_parse(req->cmd->body, LIST_NODES_MAX, &doc, &err) != 0) {
        reply_err(&req->reply, &err);
        return;
    }
    list = json_get(json_root(doc), "topicConfigList");
    for (const struct json *n = list ? list->first : NULL; n != NULL; n = n->next) {
        const char *fault = read_wish(n, &t) ? wish_fault(f, &t) : "topicName is missing or too long";

        if (fault != NULL) {
            reply_code(&req->reply, RC_INVALID_PARAMETER, "%s: %s", t.name, fault);
            json_free(doc);
            return;
        }
    }
    if (json_count(list) == 0) {
        reply_ok(&req->reply);
    } else {
        c = joint_new(req, json_count(list));
        for (const struct json *n = list->first; n != NULL; n = n->next) {
            ENSURE(read_wish(n, &t));
            propose_wish(f, &t, c);
        }
    }
    json_free(doc);
}

void handle_topic_delete(struct request *req)
{
    struct front *f = req->user;
    Ledgermq__Command__TopicDelete del = LEDGERMQ__COMMAND__TOPIC_DELETE__INIT;
    struct str topic = remoting_str(req->cmd, "topic");
    char name[TOPIC_NAME_MAX + 1];

    if (!str_copy(topic, name, sizeof(name)) || front_is_system_topic(f, topic)) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "topic \"%.*s\" is a system topic or not a name",
                   (int)topic.len, topic.p);
        return;
    }
    del.name = name;
    del.now_ms = clock_wall_ms();
    front_propose_message(f, CMD_TOPIC_DELETE, &del.base, joint_done, joint_new(req, 1));
}

/* ---- read ---- */

void handle_topics_all(struct request *req)
{
    struct front *f = req->user;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    front_topic_table_json(f, &w, state_topics_version(f->state), true);
    reply_body(&req->reply, &body);
}

void handle_topic_get(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "topic");
    const struct topic *t = state_topic(f->state, name);
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    if (t == NULL) {
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST, "topic %.*s does not exist", (int)name.len, name.p);
        return;
    }
    front_topic_config_json(&w, t, (uint32_t)f->settings->broker_permission);
    reply_body(&req->reply, &body);
}

struct system_list {
    struct front *f;
    struct jw *w;
};

static void add_system_topic(void *arg, const struct topic *t)
{
    struct system_list *l = arg;
    struct str name = {t->name, t->name_len};

    if (front_is_system_topic(l->f, name))
        jw_str(l->w, name);
}

void handle_system_topics(struct request *req)
{
    struct front *f = req->user;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct system_list list = {f, &w};

    jw_object(&w);
    jw_key(&w, "topicList");
    jw_array(&w);
    state_each_topic(f->state, add_system_topic, &list);
    jw_end_array(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

/* A route with this replica's view of its own group: what a client needs when no nameserver answers. */
void handle_route(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "topic");
    const struct topic *t = state_topic(f->state, name);
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    bool quoted =
        req->cmd->version >= VERSION_4_9_4 || remoting_bool_or(req->cmd, "acceptStandardJsonOnly", false);

    if (t == NULL) {
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST, "no topic %.*s on broker %s", (int)name.len, name.p,
                   f->settings->broker_name);
        return;
    }
    w.ascii = quoted;
    jw_object(&w);
    jw_key(&w, "brokerDatas");
    jw_array(&w);
    jw_object(&w);
    jw_key(&w, "brokerAddrs");
    jw_object(&w);
    jw_key_int(&w, 0, quoted);
    jw_cstr(&w, f->address); /* whoever is asked relays to the leader */
    jw_end_object(&w);
    jw_key(&w, "brokerName");
    jw_cstr(&w, f->settings->broker_name);
    jw_key(&w, "cluster");
    jw_cstr(&w, f->settings->cluster_name);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_key(&w, "filterServerTable");
    jw_object(&w);
    jw_end_object(&w);
    jw_key(&w, "queueDatas");
    jw_array(&w);
    jw_object(&w);
    jw_key(&w, "brokerName");
    jw_cstr(&w, f->settings->broker_name);
    jw_key(&w, "perm");
    jw_i64(&w, t->perm & ((uint32_t)f->settings->broker_permission | 1u));
    jw_key(&w, "readQueueNums");
    jw_i64(&w, t->read_queues);
    jw_key(&w, "topicSysFlag");
    jw_i64(&w, t->sys_flag);
    jw_key(&w, "writeQueueNums");
    jw_i64(&w, t->write_queues);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}
