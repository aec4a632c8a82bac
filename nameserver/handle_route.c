/*
 * handle_route.c - where topics live (105), what there is (106, 206, 224, 304, 311-313), and what operators
 * change about it (205, 327, 216, 217). DefaultRequestProcessor, ClientRequestProcessor; reference 3.1, 4.1.
 */
#include "common/codes.h"
#include "common/json.h"
#include "common/log.h"
#include "nameserver/handlers.h"
#include "nameserver/nameserver.h"

#define VERSION_4_9_4   401 /* from here on clients read routes as standard JSON */
#define ROUTE_NODES_MAX 100000u

/* A text of a request for a log line or a remark. */
#define SHOWN(s) ((s).len < 200 ? (int)(s).len : 200), ((s).len > 0 ? (s).p : "")

void handle_route(struct request *req)
{
    struct nameserver *ns = req->user;
    const struct remoting_cmd *cmd = req->cmd;
    struct str topic = remoting_str(cmd, "topic"), order = {NULL, 0};
    bool standard = cmd->version >= VERSION_4_9_4 || remoting_bool_or(cmd, "acceptStandardJsonOnly", false);
    struct bld body = bld_of(BODY_MAX_BYTES);

    if (ns->settings->order_message)
        order = kv_get(kv_store_table(ns->kv), STR(ORDER_TOPIC_NAMESPACE), topic);
    if (routes_topic_json(ns->routes, topic, order, standard, &body))
        reply_body(&req->reply, &body);
    else
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST, "no broker has registered topic \"%.*s\"", SHOWN(topic));
}

void handle_cluster(struct request *req)
{
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);

    routes_cluster_json(ns->routes, &body);
    reply_body(&req->reply, &body);
}

/* ---- lists ---- */

/* Whether the list may be given; else it has been refused. */
static bool list_allowed(const struct request *req, bool enabled, const char *setting)
{
    if (!enabled)
        reply_code(&req->reply, RC_SYSTEM_ERROR, "not given: %s is false", setting);
    return enabled;
}

void handle_all_topics(struct request *req)
{
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);

    if (!list_allowed(req, ns->settings->all_topic_list, "enableAllTopicList"))
        return;
    routes_list_json(ns->routes, ROUTES_ALL_TOPICS, &body);
    reply_body(&req->reply, &body);
}

void handle_cluster_topics(struct request *req)
{
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);

    if (!list_allowed(req, ns->settings->topic_list, "enableTopicList"))
        return;
    routes_cluster_topics_json(ns->routes, remoting_str(req->cmd, "cluster"), &body);
    reply_body(&req->reply, &body);
}

void handle_system_topics(struct request *req)
{
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);

    if (!list_allowed(req, ns->settings->topic_list, "enableTopicList"))
        return;
    routes_system_topics_json(ns->routes, &body);
    reply_body(&req->reply, &body);
}

void handle_unit_topics(struct request *req)
{
    static const struct {
        int32_t code;
        enum routes_list list;
    } lists[] = {{GET_UNIT_TOPIC_LIST, ROUTES_UNIT},
                 {GET_HAS_UNIT_SUB_TOPIC_LIST, ROUTES_UNIT_SUB},
                 {GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, ROUTES_UNIT_SUB_UNUNIT}};
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);
    size_t i = 0;

    if (!list_allowed(req, ns->settings->topic_list, "enableTopicList"))
        return;
    while (lists[i].code != req->cmd->code)
        i++;
    routes_list_json(ns->routes, lists[i].list, &body);
    reply_body(&req->reply, &body);
}

/* ---- changes ---- */

static void answer_count(const struct request *req, const char *field, uint32_t count)
{
    struct str broker = remoting_str(req->cmd, "brokerName");
    struct remoting_out out;

    LOG_INFO("write permission changed", "broker=%.*s %s=%u peer=%s", SHOWN(broker), field, count,
             conn_peer(req->conn));
    reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
    remoting_put_i64(&out, field, count);
    reply_out(&req->reply, &out, NULL);
}

void handle_wipe_write(struct request *req)
{
    struct nameserver *ns = req->user;

    answer_count(req, "wipeTopicCount", routes_wipe_write(ns->routes, remoting_str(req->cmd, "brokerName")));
}

void handle_add_write(struct request *req)
{
    struct nameserver *ns = req->user;

    answer_count(req, "addTopicCount", routes_add_write(ns->routes, remoting_str(req->cmd, "brokerName")));
}

void handle_topic_delete(struct request *req)
{
    struct nameserver *ns = req->user;
    struct str topic = remoting_str(req->cmd, "topic");

    if (routes_delete_topic(ns->routes, topic, remoting_str(req->cmd, "clusterName")))
        LOG_INFO("topic deleted", "topic=%.*s peer=%s", SHOWN(topic), conn_peer(req->conn));
    reply_ok(&req->reply);
}

static int put_queue_data(struct nameserver *ns, struct str topic, const struct json *data, struct err *err)
{
    struct routes_topic t = {
        .name = topic,
        .read_queues = (int32_t)json_get_i64(data, "readQueueNums", 0),
        .write_queues = (int32_t)json_get_i64(data, "writeQueueNums", 0),
        .perm = (int32_t)json_get_i64(data, "perm", 0),
        .sys_flag = (int32_t)json_get_i64(data, "topicSysFlag", 0),
    };

    if (t.read_queues < 0 || t.write_queues < 0 || t.perm < 0 || t.perm > 7)
        return err_set(err, ERR_INVALID, "queueDatas: numbers of queues or perm are out of range");
    return routes_put_queues(ns->routes, json_get_str(data, "brokerName"), &t, err);
}

void handle_topic_register(struct request *req)
{
    struct nameserver *ns = req->user;
    struct str topic = remoting_str(req->cmd, "topic");
    const struct json *list;
    struct json_doc *doc;
    struct err err;
    int rc = json_parse(req->cmd->body, ROUTE_NODES_MAX, &doc, &err);

    if (rc == 0) {
        list = json_get(json_root(doc), "queueDatas");
        for (const struct json *i = list != NULL ? list->first : NULL; rc == 0 && i != NULL; i = i->next)
            rc = put_queue_data(ns, topic, i, &err);
    }
    if (rc == 0)
        reply_ok(&req->reply);
    else
        reply_code(&req->reply, RC_SYSTEM_ERROR, "topic \"%.*s\": %s", SHOWN(topic), err.text);
    json_free(doc);
}
