/* common_ask.c - see common_ask.h. */
#include "tools/common_ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/codes.h"

#define ASK_CONNECT_MS 3000u
#define ASK_TURN_MS    50u

struct asker {
    struct loop *loop;
    uint32_t count;
    struct caller *callers[ASK_ADDRESSES_MAX];
};

struct asking {
    bool done;
    int err;
    struct answer *out;
};

struct asker *asker_new(struct loop *loop)
{
    struct asker *a = calloc(1, sizeof(*a));

    ENSURE(a != NULL);
    a->loop = loop;
    return a;
}

void asker_free(struct asker *a)
{
    if (a == NULL)
        return;
    for (uint32_t i = 0; i < a->count; i++)
        caller_free(a->callers[i]);
    free(a);
}

struct loop *asker_loop(struct asker *a)
{
    return a->loop;
}

static struct caller *caller_for(struct asker *a, const char *address, struct err *err)
{
    char host[256];
    uint16_t port;

    for (uint32_t i = 0; i < a->count; i++)
        if (strcmp(caller_address(a->callers[i]), address) == 0)
            return a->callers[i];
    if (addr_split(str_of(address), host, sizeof(host), &port) != 0) {
        err_set(err, ERR_INVALID, "\"%s\" is not an address (host:port)", address);
        return NULL;
    }
    if (a->count == ASK_ADDRESSES_MAX) {
        err_set(err, ERR_BUSY, "more than %u addresses", ASK_ADDRESSES_MAX);
        return NULL;
    }
    return a->callers[a->count++] = caller_new(a->loop, host, port, ASK_CONNECT_MS, NULL, NULL);
}

/* ---- answers ---- */

static struct str keep_text(struct buf *texts, struct str s)
{
    struct str kept = {(char *)texts->data + texts->len, s.len};

    if (s.len > 0)
        memcpy(texts->data + texts->len, s.p, s.len);
    texts->len += (uint32_t)s.len;
    return kept;
}

static void keep_answer(struct answer *r, const struct remoting_cmd *cmd)
{
    size_t size = cmd->remark.len + 1;

    for (uint32_t i = 0; i < cmd->field_count; i++)
        size += cmd->fields[i].key.len + cmd->fields[i].value.len;
    memset(r, 0, sizeof(*r));
    r->code = cmd->code;
    r->texts = buf_new(size);
    r->remark = keep_text(r->texts, cmd->remark);
    for (uint32_t i = 0; i < cmd->field_count; i++) {
        r->fields[i].key = keep_text(r->texts, cmd->fields[i].key);
        r->fields[i].value = keep_text(r->texts, cmd->fields[i].value);
    }
    r->field_count = cmd->field_count;
    r->body = buf_copy(cmd->body.p, cmd->body.len);
}

void answer_release(struct answer *r)
{
    buf_unref(r->body);
    buf_unref(r->texts);
    memset(r, 0, sizeof(*r));
}

struct str answer_str(const struct answer *r, const char *key)
{
    for (uint32_t i = 0; i < r->field_count; i++)
        if (str_is(r->fields[i].key, key))
            return r->fields[i].value;
    return (struct str){NULL, 0};
}

int64_t answer_i64(const struct answer *r, const char *key, int64_t def)
{
    int64_t v;

    return str_to_i64(answer_str(r, key), &v) ? v : def;
}

struct str answer_body(const struct answer *r)
{
    return r->body != NULL ? (struct str){(const char *)r->body->data, r->body->len} : (struct str){NULL, 0};
}

/* ---- asking ---- */

static void on_answer(void *arg, int err, const struct remoting_cmd *cmd)
{
    struct asking *q = arg;

    q->done = true;
    q->err = err;
    if (err == 0)
        keep_answer(q->out, cmd);
}

int ask(struct asker *a, const char *address, struct remoting_out *out, const void *body, size_t body_len,
        struct answer *answer, struct err *err)
{
    struct asking q = {false, 0, answer};
    struct caller *c = caller_for(a, address, err);

    memset(answer, 0, sizeof(*answer));
    if (c == NULL)
        return err->code;
    caller_send(c, out, body, body_len, ASK_TIMEOUT_MS, on_answer, &q);
    while (!q.done)
        loop_turn(a->loop, ASK_TURN_MS);
    if (q.err == ERR_TIMEOUT)
        return err_set(err, q.err, "no answer from %s within %u ms", address, ASK_TIMEOUT_MS);
    if (q.err != 0)
        return err_set(err, q.err, "cannot reach %s: connection refused or lost", address);
    return 0;
}

int ask_ok(struct asker *a, const char *address, struct remoting_out *out, const void *body, size_t body_len,
           struct answer *answer, struct err *err)
{
    int rc = ask(a, address, out, body, body_len, answer, err);

    if (rc != 0)
        return rc;
    if (answer->code == RC_SUCCESS)
        return 0;
    rc = err_set(err, ERR_IO, "%s answered %d: %.*s", address, answer->code, (int)answer->remark.len,
                 answer->remark.len > 0 ? answer->remark.p : "");
    answer_release(answer);
    return rc;
}

/* ---- addresses and routes ---- */

int addresses_parse(const char *text, struct addresses *out, struct err *err)
{
    static const char between[] = ";, ";
    char host[256];
    uint16_t port;

    out->count = 0;
    for (const char *p = text; *p != '\0';) {
        size_t len = strcspn(p, between);

        if (len > 0) {
            if (out->count == ASK_ADDRESSES_MAX)
                return err_set(err, ERR_INVALID, "more than %u addresses", ASK_ADDRESSES_MAX);
            if (addr_split((struct str){p, len}, host, sizeof(host), &port) != 0 ||
                !str_copy((struct str){p, len}, out->at[out->count], sizeof(out->at[0])))
                return err_set(err, ERR_INVALID, "\"%.*s\" is not an address (host:port)", (int)len, p);
            out->count++;
        }
        p += len;
        p += strspn(p, between);
    }
    return out->count > 0 ? 0 : err_set(err, ERR_INVALID, "no address in \"%s\"", text);
}

int ask_route(struct asker *a, const struct addresses *from, const char *topic, struct route **out,
              struct err *err)
{
    int rc = err_set(err, ERR_NO_ROUTE, "nobody to ask for the route of topic %s", topic);

    for (uint32_t i = 0; i < from->count; i++) {
        struct remoting_out q;
        struct answer r;

        remoting_request(&q, REMOTING_JSON, GET_ROUTEINFO_BY_TOPIC, 0, false);
        remoting_put_str(&q, "topic", str_of(topic));
        remoting_put_bool(&q, "acceptStandardJsonOnly", true);
        rc = ask(a, from->at[i], &q, NULL, 0, &r, err);
        if (rc != 0)
            continue;
        if (r.code == RC_TOPIC_NOT_EXIST)
            rc = err_set(err, ERR_NO_ROUTE, "topic %s is not known at %s", topic, from->at[i]);
        else if (r.code != RC_SUCCESS)
            rc = err_set(err, ERR_IO, "%s answered %d: %.*s", from->at[i], r.code, (int)r.remark.len,
                         r.remark.len > 0 ? r.remark.p : "");
        else
            rc = route_parse(answer_body(&r), out, err);
        answer_release(&r);
        if (rc == 0 || rc == ERR_NO_ROUTE)
            return rc;
    }
    return rc;
}
