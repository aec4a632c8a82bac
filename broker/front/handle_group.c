/*
 * handle_group.c - consumer groups: create and change (200, 225), delete (207), list (201), one (352).
 * AdminBrokerProcessor; reference 3.7.
 *
 * A group's configuration is kept as the JSON it came as, so that fields of newer clients survive a round
 * trip (gotcha 13).
 */
#include <stdlib.h>

#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/clock.h"
#include "common/codes.h"
#include "proto/command.pb-c.h"

#define GROUP_NODES_MAX 400000u
#define GROUP_JSON_MAX  (32u * 1024)

static void propose_group(struct front *f, const struct json *config, struct joint *joint)
{
    Ledgermq__Command__GroupPut put = LEDGERMQ__COMMAND__GROUP_PUT__INIT;
    struct bld text = bld_of(GROUP_JSON_MAX + 1);
    struct jw w = jw_of(&text);
    char name[GROUP_NAME_MAX + 1];
    struct buf *b;

    ENSURE(str_copy(json_get_str(config, "groupName"), name, sizeof(name)));
    jw_node(&w, config);
    bld_bytes(&text, "", 1);
    b = bld_take(&text);
    put.name = name;
    put.config_json = (char *)b->data;
    put.now_ms = clock_wall_ms();
    front_propose_message(f, CMD_GROUP_PUT, &put.base, joint_done, joint);
    buf_unref(b);
}

/* Why this configuration is refused, or NULL. */
static const char *config_fault(const struct json *config)
{
    struct bld text = bld_of(GROUP_JSON_MAX);
    struct jw w = jw_of(&text);
    bool full;

    if (config == NULL || config->type != JSON_OBJECT ||
        !front_group_name_ok(json_get_str(config, "groupName")))
        return "groupName is missing or is not 1-120 of %|a-zA-Z0-9_-";
    jw_node(&w, config);
    full = text.full;
    bld_drop(&text);
    return full ? "the configuration is over 32 KiB" : NULL;
}

/* The body's configurations: `list` is the array, or NULL for a single one. */
static void put_groups(struct request *req, const char *list_key)
{
    struct front *f = req->user;
    const struct json *root, *list;
    struct json_doc *doc;
    struct joint *joint;
    struct err err;
    const char *fault = NULL;

    if (json_parse(req->cmd->body, GROUP_NODES_MAX, &doc, &err) != 0) {
        reply_err(&req->reply, &err);
        return;
    }
    root = json_root(doc);
    list = list_key != NULL ? json_get(root, list_key) : NULL;
    if (list_key == NULL)
        fault = config_fault(root);
    for (const struct json *n = list != NULL ? list->first : NULL; n != NULL && fault == NULL; n = n->next)
        fault = config_fault(n);
    if (fault != NULL) {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "subscription group: %s", fault);
    } else if (list_key == NULL) {
        propose_group(f, root, joint_new(req, 1));
    } else if (json_count(list) == 0) {
        reply_ok(&req->reply);
    } else {
        joint = joint_new(req, json_count(list));
        for (const struct json *n = list->first; n != NULL; n = n->next)
            propose_group(f, n, joint);
    }
    json_free(doc);
}

void handle_group_put(struct request *req)
{
    put_groups(req, NULL);
}

void handle_group_put_list(struct request *req)
{
    put_groups(req, "groupConfigList");
}

void handle_group_delete(struct request *req)
{
    struct front *f = req->user;
    Ledgermq__Command__GroupDelete del = LEDGERMQ__COMMAND__GROUP_DELETE__INIT;
    char name[GROUP_NAME_MAX + 1];

    if (!str_copy(remoting_str(req->cmd, "groupName"), name, sizeof(name)) || name[0] == '\0') {
        reply_code(&req->reply, RC_INVALID_PARAMETER, "groupName is missing or too long");
        return;
    }
    del.name = name;
    /* cleanOffset in 5.x, removeOffset in 4.9 */
    del.clean_offsets =
        remoting_bool_or(req->cmd, "cleanOffset", false) || remoting_bool_or(req->cmd, "removeOffset", false);
    del.now_ms = clock_wall_ms();
    front_propose_message(f, CMD_GROUP_DELETE, &del.base, joint_done, joint_new(req, 1));
}

static void write_group(void *arg, const struct group *g)
{
    struct jw *w = arg;

    jw_key(w, g->name);
    jw_raw(w, str_of(g->config_json));
}

void handle_groups_all(struct request *req)
{
    struct front *f = req->user;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    jw_object(&w);
    jw_key(&w, "dataVersion");
    front_data_version_json(&w, state_groups_version(f->state));
    jw_key(&w, "forbiddenTable");
    jw_object(&w);
    jw_end_object(&w);
    jw_key(&w, "subscriptionGroupTable");
    jw_object(&w);
    state_each_group(f->state, write_group, &w);
    jw_end_object(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

void handle_group_get(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "group");
    const struct group *g = state_group(f->state, name);
    struct bld body = bld_of(FRONT_BODY_MAX);

    if (g == NULL) {
        reply_code(&req->reply, RC_SUBSCRIPTION_GROUP_NOT_EXIST, "group %.*s does not exist", (int)name.len,
                   name.p);
        return;
    }
    bld_str(&body, str_of(g->config_json));
    reply_body(&req->reply, &body);
}
