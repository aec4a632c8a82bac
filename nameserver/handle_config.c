/*
 * handle_config.c - settings by request: change (318) and show (319), Java properties text. A change is made as
 * a whole or not at all, and holds until the process ends. Reference 3.1, 8.3.
 */
#include "common/codes.h"
#include "common/log.h"
#include "nameserver/handlers.h"
#include "nameserver/nameserver.h"

struct update {
    struct conf *conf;
    const struct settings *settings; /* in force */
    uint32_t count;
    struct err *err;
};

static int try_one(void *arg, uint32_t line, struct str key, struct str value)
{
    struct update *u = arg;
    int rc = settings_may_change(u->settings, key, u->err);

    (void)line;
    u->count++;
    return rc != 0 ? rc : conf_set(u->conf, "request", key, value, u->err);
}

void handle_config_update(struct request *req)
{
    struct nameserver *ns = req->user;
    struct settings trial_settings = {0};
    struct conf trial;
    struct err err;
    struct update u = {&trial, ns->settings, 0, &err};
    struct str body = req->cmd->body;
    int rc;

    conf_init(&trial, settings_rows, settings_row_count, &trial_settings);
    rc = conf_each_property(body, try_one, &u);
    conf_release(&trial);
    u.conf = ns->conf;
    if (rc == 0)
        rc = conf_each_property(body, try_one, &u);
    if (rc != 0) {
        reply_code(&req->reply, rc == ERR_NO_PERMISSION ? RC_NO_PERMISSION : RC_SYSTEM_ERROR, "%s", err.text);
        return;
    }
    LOG_INFO("settings changed", "count=%u peer=%s", u.count / 2, conn_peer(req->conn));
    reply_ok(&req->reply);
}

void handle_config_get(struct request *req)
{
    struct nameserver *ns = req->user;
    struct remoting_out out;

    reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
    reply_out(&req->reply, &out, conf_properties(ns->conf));
}
