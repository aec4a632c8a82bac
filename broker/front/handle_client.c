/*
 * handle_client.c - heartbeats (34), leaving (35), who is in a consumer group (38), filter check (46).
 * ClientManageProcessor, ConsumerManageProcessor; reference 3.4, 6.10.
 */
#include "broker/front/clients_internal.h"
#include "broker/front/handlers.h"
#include "common/codes.h"

#define HEARTBEAT_NODES_MAX 200000u

static bool read_client(struct request *req, struct str client_id, struct client_id *who)
{
    if (req->conn == NULL || client_id.len == 0 || client_id.len > CLIENT_ID_MAX ||
        memchr(client_id.p, 0, client_id.len) != NULL) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "clientID is missing, over %d bytes or has a NUL in it",
                   CLIENT_ID_MAX);
        return false;
    }
    *who = (struct client_id){.client_id = client_id,
                              .conn_id = conn_id(req->conn),
                              .language = req->cmd->language,
                              .version = req->cmd->version,
                              .addr = req->client};
    return true;
}

void handle_heartbeat(struct request *req)
{
    struct front *f = req->user;
    const struct json *root, *list;
    struct json_doc *doc;
    struct client_id who;
    struct err err;
    struct remoting_out out;
    bool without_sub;

    if (json_parse(req->cmd->body, HEARTBEAT_NODES_MAX, &doc, &err) != 0) {
        reply_err(&req->reply, &err);
        return;
    }
    root = json_root(doc);
    without_sub = json_get_bool(root, "withoutSub", false);
    if (read_client(req, json_get_str(root, "clientID"), &who)) {
        list = json_get(root, "producerDataSet");
        for (const struct json *n = list != NULL ? list->first : NULL; n != NULL; n = n->next)
            clients_join_producer(f->clients, json_get_str(n, "groupName"), &who);
        list = json_get(root, "consumerDataSet");
        for (const struct json *n = list != NULL ? list->first : NULL; n != NULL; n = n->next)
            clients_join_consumer(f->clients, n, !without_sub, &who);
        clients_settle(f->clients);
        reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
        remoting_put_bool(&out, "IS_SUPPORT_HEART_BEAT_V2", true);
        remoting_put_bool(&out, "IS_SUB_CHANGE", true); /* always ask for the full form next time */
        reply_out(&req->reply, &out, NULL);
    }
    json_free(doc);
}

void handle_unregister(struct request *req)
{
    struct front *f = req->user;
    struct str client_id = remoting_str(req->cmd, "clientID");

    clients_leave(f->clients, CLIENT_PRODUCER, remoting_str(req->cmd, "producerGroup"), client_id);
    clients_leave(f->clients, CLIENT_CONSUMER, remoting_str(req->cmd, "consumerGroup"), client_id);
    reply_ok(&req->reply);
}

void handle_consumer_list(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "consumerGroup");
    const struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, name);
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct member *m, *next;

    if (g == NULL) {
        reply_code(&req->reply, RC_SYSTEM_ERROR, "no consumer of group %.*s is connected", (int)name.len,
                   name.p);
        return;
    }
    jw_object(&w);
    jw_key(&w, "consumerIdList");
    jw_array(&w);
    HASH_ITER(hh, g->members, m, next)
        jw_cstr(&w, m->client_id);
    jw_end_array(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

/* Clients ask this only for expressions other than tags, which this version does not filter by. */
void handle_check_client_config(struct request *req)
{
    struct json_doc *doc;
    struct err err;
    struct str type;

    if (json_parse(req->cmd->body, HEARTBEAT_NODES_MAX, &doc, &err) != 0) {
        reply_err(&req->reply, &err);
        return;
    }
    type = json_get_str(json_get(json_root(doc), "subscriptionData"), "expressionType");
    if (type.len == 0 || str_is(type, "TAG"))
        reply_ok(&req->reply);
    else
        reply_code(&req->reply, RC_SYSTEM_ERROR,
                   "The broker does not support consumer to filter message by %.*s", (int)type.len, type.p);
    json_free(doc);
}
