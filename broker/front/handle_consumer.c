/*
 * handle_consumer.c - what operators ask about connected clients: connections (203, 204, 328), subscription
 * (345), and a question passed on to one
 * client (307). AdminBrokerProcessor; reference 3.6, 3.8.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "broker/front/clients_internal.h"
#include "broker/front/handlers.h"
#include "broker/front/push.h"
#include "common/codes.h"

#define ASK_CLIENT_MS          10000u
#define OLDEST_ASKABLE_VERSION 62 /* V3_1_8_SNAPSHOT */

static const char *language_name(int32_t language)
{
    static const char *const names[] = {"JAVA",  "CPP",  "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY",
                                        "OTHER", "HTTP", "GO",     "PHP",    "OMS",    "RUST",   "NODE_JS"};

    return language >= 0 && language < (int32_t)(sizeof(names) / sizeof(names[0])) ? names[language]
                                                                                   : "OTHER";
}

static void address_text(const struct sockaddr_in *addr, char *text, size_t size)
{
    char ip[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &addr->sin_addr, ip, sizeof(ip));
    snprintf(text, size, "%s:%u", ip, ntohs(addr->sin_port));
}

static void write_connections(struct jw *w, struct client_group *g)
{
    struct member *m, *next;
    char address[64];

    jw_key(w, "connectionSet");
    jw_array(w);
    HASH_ITER(hh, g->members, m, next) {
        address_text(&m->addr, address, sizeof(address));
        jw_object(w);
        jw_key(w, "clientAddr");
        jw_cstr(w, address);
        jw_key(w, "clientId");
        jw_cstr(w, m->client_id);
        jw_key(w, "language");
        jw_cstr(w, language_name(m->language));
        jw_key(w, "version");
        jw_i64(w, m->version);
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_subscription(struct jw *w, const struct subscription *s)
{
    const char *text = s->expression;

    jw_object(w);
    jw_key(w, "classFilterMode");
    jw_bool(w, false);
    jw_key(w, "codeSet");
    jw_array(w);
    jw_end_array(w);
    jw_key(w, "expressionType");
    jw_cstr(w, s->type);
    jw_key(w, "subString");
    jw_cstr(w, text);
    jw_key(w, "subVersion");
    jw_i64(w, s->version);
    jw_key(w, "tagsSet");
    jw_array(w);
    jw_end_array(w);
    jw_key(w, "topic");
    jw_cstr(w, s->topic);
    jw_end_object(w);
}

void handle_consumer_connections(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "consumerGroup");
    struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, name);
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct subscription *s, *next;

    if (g == NULL) {
        reply_code(&req->reply, RC_CONSUMER_NOT_ONLINE, "the consumer group[%.*s] not online", (int)name.len,
                   name.p);
        return;
    }
    jw_object(&w);
    write_connections(&w, g);
    jw_key(&w, "consumeFromWhere");
    jw_cstr(&w, g->from_where);
    jw_key(&w, "consumeType");
    jw_cstr(&w, g->consume_type);
    jw_key(&w, "messageModel");
    jw_cstr(&w, g->broadcasting ? "BROADCASTING" : "CLUSTERING");
    jw_key(&w, "subscriptionTable");
    jw_object(&w);
    HASH_ITER(hh, g->subscriptions, s, next) {
        jw_key(&w, s->topic);
        write_subscription(&w, s);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

void handle_producer_connections(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "producerGroup");
    struct client_group *g = clients_group(f->clients, CLIENT_PRODUCER, name);
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    if (g == NULL) {
        reply_code(&req->reply, RC_SYSTEM_ERROR, "the producer group[%.*s] not exist", (int)name.len, name.p);
        return;
    }
    jw_object(&w);
    write_connections(&w, g);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

void handle_all_producers(struct request *req)
{
    struct front *f = req->user;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct client_group *g, *next_group;
    char address[64];

    jw_object(&w);
    jw_key(&w, "data");
    jw_object(&w);
    HASH_ITER(hh, f->clients->producers, g, next_group) {
        struct member *m, *next;

        jw_key(&w, g->name);
        jw_array(&w);
        HASH_ITER(hh, g->members, m, next) {
            address_text(&m->addr, address, sizeof(address));
            jw_object(&w);
            jw_key(&w, "clientId");
            jw_cstr(&w, m->client_id);
            jw_key(&w, "language");
            jw_cstr(&w, language_name(m->language));
            jw_key(&w, "lastUpdateTimestamp");
            jw_i64(&w, (int64_t)m->seen_ms);
            jw_key(&w, "remoteIP");
            jw_cstr(&w, address);
            jw_key(&w, "version");
            jw_i64(&w, m->version);
            jw_end_object(&w);
        }
        jw_end_array(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

void handle_subscription(struct request *req)
{
    struct front *f = req->user;
    struct str group = remoting_str(req->cmd, "group"), topic = remoting_str(req->cmd, "topic");
    struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, group);
    struct subscription *s = NULL;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    if (g != NULL && topic.len > 0)
        HASH_FIND(hh, g->subscriptions, topic.p, topic.len, s);
    jw_object(&w);
    jw_key(&w, "group");
    jw_str(&w, group);
    if (s != NULL) {
        jw_key(&w, "subscriptionData");
        write_subscription(&w, s);
    }
    jw_key(&w, "topic");
    jw_str(&w, topic);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

/* ---- a question passed on to a client ---- */

static void on_client_answer(struct front *f, void *ctx, int err, const struct remoting_cmd *answer)
{
    struct reply_to *reply = ctx;
    struct remoting_out out;

    (void)f;
    if (err != 0) {
        reply_code(reply, err == ERR_TIMEOUT ? RC_CONSUME_MSG_TIMEOUT : RC_SYSTEM_ERROR,
                   "the client did not answer: %s", err_text(err));
    } else {
        reply_begin(reply, &out, answer->code, answer->remark);
        reply_out(reply, &out, answer->body.len > 0 ? buf_copy(answer->body.p, answer->body.len) : NULL);
    }
    free(reply);
}

/* The member a request names and may be asked, or NULL when the request was answered. */
static struct member *find_member(struct request *req)
{
    struct front *f = req->user;
    struct str group = remoting_str(req->cmd, "consumerGroup"),
               client_id = remoting_str(req->cmd, "clientId");
    struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, group);
    struct member *m = NULL;

    if (g != NULL && client_id.len > 0)
        HASH_FIND(hh, g->members, client_id.p, client_id.len, m);
    if (m == NULL)
        reply_code(&req->reply, RC_SYSTEM_ERROR, "The Consumer <%.*s> <%.*s> not online", (int)group.len,
                   group.p, (int)client_id.len, client_id.p);
    else if (m->version < OLDEST_ASKABLE_VERSION)
        reply_code(&req->reply, RC_SYSTEM_ERROR, "client %s is too old to be asked (version %d)",
                   m->client_id, m->version);
    else
        return m;
    return NULL;
}

static void ask_client(struct request *req, const struct member *m)
{
    struct front *f = req->user;
    struct reply_to *reply = malloc(sizeof(*reply));
    struct remoting_out out;

    ENSURE(reply != NULL);
    *reply = req->reply;
    remoting_request(&out, REMOTING_JSON, req->cmd->code, 0, false);
    for (uint32_t i = 0; i < req->cmd->field_count; i++) {
        out.fields[out.field_count++] = req->cmd->fields[i];
    }
    out.with_fields = true;
    push_call(f->pushes, m->conn_id, &out, (struct str){NULL, 0}, ASK_CLIENT_MS, on_client_answer, reply);
}

void handle_running_info(struct request *req)
{
    struct member *m = find_member(req);

    if (m != NULL)
        ask_client(req, m);
}
