/*
 * handle_broker.c - what brokers say: register (103), unregister (104), is my data known (322), alive (904),
 * who else has my name (901). DefaultRequestProcessor, RouteInfoManager; reference 3.2.
 */
#include <malloc.h>

#include "common/codes.h"
#include "common/crc.h"
#include "common/json.h"
#include "common/log.h"
#include "nameserver/handlers.h"
#include "nameserver/nameserver.h"
#include "nameserver/register_body.h"

#define CRC_MASK          0x7FFFFFFFu /* UtilAll.crc32 */
#define VERSION_NODES_MAX 64u
#define TRIM_BYTES        (1024u * 1024) /* after a body of this size memory is given back to the system */

/* ---- 103 ---- */

/* 0, or an answer has been given. */
static int check_crc(const struct request *req)
{
    const struct remoting_cmd *cmd = req->cmd;
    uint32_t said = (uint32_t)remoting_i64_or(cmd, "bodyCrc32", 0);

    if (said == 0 || said == (crc32_zlib(cmd->body.p, cmd->body.len) & CRC_MASK))
        return 0;
    LOG_WARN_EVERY(1000, "registration refused", "peer=%s cause=\"bodyCrc32 differs\"", conn_peer(req->conn));
    reply_code(&req->reply, RC_SYSTEM_ERROR,
               "crc32 not match: the body of %zu bytes does not have bodyCrc32 %u", cmd->body.len, said);
    return ERR_MALFORMED;
}

static int read_registration(const struct request *req, struct routes_registration *reg, struct err *err)
{
    const struct remoting_cmd *cmd = req->cmd;
    int64_t timeout_ms = remoting_i64_or(cmd, "heartbeatTimeoutMillis", 0);

    *reg = (struct routes_registration){
        .cluster = remoting_str(cmd, "clusterName"),
        .broker = remoting_str(cmd, "brokerName"),
        .addr = remoting_str(cmd, "brokerAddr"),
        .ha_addr = remoting_str(cmd, "haServerAddr"),
        .conn_id = conn_id(req->conn),
        .timeout_ms = timeout_ms > 0 ? (uint64_t)timeout_ms : 0,
        .may_be_partial = cmd->language == LANG_JAVA,
    };
    if (remoting_i64(cmd, "brokerId", &reg->id) != 0)
        return err_set(err, ERR_INVALID, "brokerId is missing or not a number");
    return 0;
}

static void log_news(const struct request *req, const struct routes_registration *reg,
                     const struct routes_answer *answer)
{
    static const char *const events[] = {NULL, "broker registered", "broker changed its id"};

    if (events[answer->news] != NULL)
        LOG_INFO(events[answer->news], "name=%.*s id=%lld address=%.*s term=%lld topics=%u peer=%s",
                 (int)reg->broker.len, reg->broker.p, (long long)reg->id, (int)reg->addr.len, reg->addr.p,
                 (long long)reg->version.state, reg->topic_count, conn_peer(req->conn));
}

static void answer_registration(const struct request *req, const struct routes_answer *answer)
{
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);
    struct remoting_out out;

    reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
    if (answer->master_addr.len > 0) {
        remoting_put_str(&out, "masterAddr", answer->master_addr);
        remoting_put_str(&out, "haServerAddr", answer->master_ha_addr);
    }
    if (ns->settings->return_order_config)
        (void)kv_namespace_json(kv_store_table(ns->kv), STR(ORDER_TOPIC_NAMESPACE), &body);
    if (body.full)
        bld_drop(&body); /* without it the broker is registered all the same */
    reply_out(&req->reply, &out, body.b != NULL ? bld_take(&body) : NULL);
}

void handle_register(struct request *req)
{
    struct nameserver *ns = req->user;
    struct routes_registration reg;
    struct register_body body = {0};
    struct routes_answer answer;
    struct err err;
    int rc;

    if (check_crc(req) != 0)
        return;
    rc = read_registration(req, &reg, &err);
    rc = rc != 0 ? rc : register_body_decode(req->cmd->body, &body, &err);
    if (rc == 0) {
        reg.version = body.version;
        reg.topics = body.topics;
        reg.topic_count = body.topic_count;
        rc = routes_register(ns->routes, &reg, ns->settings->delete_missing_topics, loop_now_ms(ns->loop),
                             &answer, &err);
    }
    if (rc == 0) {
        nameserver_watch(req->conn);
        log_news(req, &reg, &answer);
        answer_registration(req, &answer);
    } else {
        LOG_WARN_EVERY(1000, "registration refused", "peer=%s cause=\"%s\"", conn_peer(req->conn), err.text);
        reply_code(&req->reply, RC_SYSTEM_ERROR, "%s", err.text);
    }
    register_body_release(&body);
    if (req->cmd->body.len >= TRIM_BYTES)
        (void)malloc_trim(0);
}

/* ---- the others ---- */

void handle_unregister(struct request *req)
{
    struct nameserver *ns = req->user;
    struct str broker = remoting_str(req->cmd, "brokerName"), addr = remoting_str(req->cmd, "brokerAddr");

    if (routes_unregister(ns->routes, broker, addr))
        LOG_INFO("broker unregistered", "name=%.*s address=%.*s", (int)broker.len, broker.p, (int)addr.len,
                 addr.p);
    reply_ok(&req->reply);
}

static void version_json(struct bld *out, const struct routes_version *version)
{
    struct jw w = jw_of(out);

    jw_object(&w);
    jw_key(&w, "counter");
    jw_i64(&w, version->counter);
    jw_key(&w, "stateVersion");
    jw_i64(&w, version->state);
    jw_key(&w, "timestamp");
    jw_i64(&w, version->timestamp);
    jw_end_object(&w);
}

void handle_query_version(struct request *req)
{
    struct nameserver *ns = req->user;
    struct str broker = remoting_str(req->cmd, "brokerName"), addr = remoting_str(req->cmd, "brokerAddr");
    struct routes_version version, known;
    struct bld body = bld_of(256);
    struct remoting_out out;
    struct json_doc *doc;
    struct err err;
    bool changed;

    if (json_parse(req->cmd->body, VERSION_NODES_MAX, &doc, &err) != 0) {
        reply_code(&req->reply, RC_SYSTEM_ERROR, "the body is not a DataVersion: %s", err.text);
        return;
    }
    version = register_version_of(json_root(doc));
    json_free(doc);
    if (routes_query_version(ns->routes, broker, addr, remoting_i64_or(req->cmd, "brokerId", ROUTES_MASTER),
                             &version, &known, &changed)) {
        routes_touch(ns->routes, broker, addr, loop_now_ms(ns->loop));
        version_json(&body, &known);
    }
    reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
    remoting_put_bool(&out, "changed", changed);
    reply_out(&req->reply, &out, bld_take(&body));
}

void handle_heartbeat(struct request *req)
{
    struct nameserver *ns = req->user;

    routes_touch(ns->routes, remoting_str(req->cmd, "brokerName"), remoting_str(req->cmd, "brokerAddr"),
                 loop_now_ms(ns->loop));
    reply_ok(&req->reply);
}

void handle_members(struct request *req)
{
    struct nameserver *ns = req->user;
    struct bld body = bld_of(BODY_MAX_BYTES);

    routes_members_json(ns->routes, remoting_str(req->cmd, "clusterName"),
                        remoting_str(req->cmd, "brokerName"), &body);
    reply_body(&req->reply, &body);
}
