/*
 * handle_kv.c - key-value settings: put (100), get (101), delete (102), a whole namespace (219). Changes are
 * answered when they are durable. KVConfigManager; reference 3.1.
 */
#include <stdlib.h>

#include "common/codes.h"
#include "common/log.h"
#include "nameserver/handlers.h"
#include "nameserver/nameserver.h"

/* A text of a request for a remark. */
#define SHOWN(s) ((s).len < 100 ? (int)(s).len : 100), ((s).len > 0 ? (s).p : "")

static void on_changed(void *arg, const struct err *err)
{
    struct reply_to *to = arg;

    if (err->code == 0)
        reply_ok(to);
    else
        reply_code(to, RC_SYSTEM_ERROR, "%s", err->text);
    free(to);
}

static void change(struct request *req, struct str value)
{
    struct nameserver *ns = req->user;
    struct str space = remoting_str(req->cmd, "namespace"), key = remoting_str(req->cmd, "key");
    struct reply_to *to;

    if (space.len == 0 || key.len == 0) {
        reply_code(&req->reply, RC_SYSTEM_ERROR, "namespace or key is null");
        return;
    }
    to = malloc(sizeof(*to));
    if (to == NULL)
        fatal("out of memory for a reply");
    *to = req->reply;
    LOG_INFO("key-value setting", "%s namespace=%.*s key=%.*s peer=%s", value.p != NULL ? "put" : "delete",
             SHOWN(space), SHOWN(key), conn_peer(req->conn));
    kv_store_change(ns->kv, space, key, value, on_changed, to);
}

void handle_kv_put(struct request *req)
{
    struct str value = remoting_str(req->cmd, "value");

    if (!remoting_has(req->cmd, "value")) {
        reply_code(&req->reply, RC_SYSTEM_ERROR, "value is null");
        return;
    }
    change(req, value.len > 0 ? value : STR(""));
}

void handle_kv_delete(struct request *req)
{
    change(req, (struct str){NULL, 0});
}

void handle_kv_get(struct request *req)
{
    struct nameserver *ns = req->user;
    struct str space = remoting_str(req->cmd, "namespace"), key = remoting_str(req->cmd, "key");
    struct str value = kv_get(kv_store_table(ns->kv), space, key);
    struct remoting_out out;

    if (value.p == NULL) {
        reply_code(&req->reply, RC_QUERY_NOT_FOUND, "no value: namespace \"%.*s\" key \"%.*s\"", SHOWN(space),
                   SHOWN(key));
        return;
    }
    reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
    remoting_put_str(&out, "value", value);
    reply_out(&req->reply, &out, NULL);
}

void handle_kv_namespace(struct request *req)
{
    struct nameserver *ns = req->user;
    struct str space = remoting_str(req->cmd, "namespace");
    struct bld body = bld_of(BODY_MAX_BYTES);

    if (kv_namespace_json(kv_store_table(ns->kv), space, &body) > 0) {
        reply_body(&req->reply, &body);
        return;
    }
    bld_drop(&body);
    reply_code(&req->reply, RC_QUERY_NOT_FOUND, "no keys: namespace \"%.*s\"", SHOWN(space));
}
