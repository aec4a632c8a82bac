#include "broker/register.h"

#include "broker/register_body.h"

#include <stdlib.h>
#include <string.h>

#include "common/caller.h"
#include "common/codes.h"
#include "common/crc.h"
#include "common/log.h"

#define REGISTER_TIMEOUT_MS  6000u
#define CONNECT_TIMEOUT_MS   3000u
#define HEARTBEAT_TIMEOUT_MS 120000
#define CRC_MASK             0x7FFFFFFFu

struct nameserver {
    struct registrar *r;
    struct caller *caller;
    bool asking;     /* a registration is under way */
    bool stale;      /* something changed since it left */
    bool registered; /* the last one was accepted and its connection is up */
};

struct registrar {
    struct front *f;
    struct nameserver servers[REGISTER_NAMESERVERS_MAX];
    uint32_t count;
    struct timer period, retry, soon;
    bool leaving;
    /* The newest body, for all nameservers and for as long as its version is the newest. */
    struct register_body body;
    struct data_version version;
    bool with_topics;
    int64_t permission;
    /* When all were asked last, and in which role. */
    uint64_t asked_ms;
    dl_term_t asked_term;
    bool asked_serving;
};

static int64_t broker_id(const struct front *f)
{
    return f->serving ? 0 : (int64_t)f->self;
}

static struct data_version version_now(const struct front *f)
{
    struct data_version version = state_topics_version(f->state);

    version.state_version = f->term;
    /* Nameservers of 4.9 know no state version and take queues only from a version that is new at its address:
     * a leader must not come with the one it registered as a follower. */
    if (f->serving)
        version.counter += (int64_t)f->term;
    return version;
}

static const struct register_body *body_now(struct registrar *r)
{
    struct data_version now = version_now(r->f), *had = &r->version;

    if (r->body.buf != NULL && r->with_topics == r->f->serving &&
        r->permission == r->f->settings->broker_permission && had->state_version == now.state_version &&
        had->counter == now.counter && had->timestamp_ms == now.timestamp_ms)
        return &r->body;
    buf_unref(r->body.buf);
    r->body = register_body_make(r->f, now, r->f->serving);
    r->version = now;
    r->with_topics = r->f->serving;
    r->permission = r->f->settings->broker_permission;
    return &r->body;
}

static void put_identity(struct front *f, struct remoting_out *out)
{
    remoting_put_str(out, "brokerAddr", str_of(f->address));
    remoting_put_i64(out, "brokerId", broker_id(f));
    remoting_put_str(out, "brokerName", str_of(f->settings->broker_name));
    remoting_put_str(out, "clusterName", str_of(f->settings->cluster_name));
}

static void ask(struct nameserver *ns);

static void on_answer(void *arg, int err, const struct remoting_cmd *cmd)
{
    struct nameserver *ns = arg;

    ns->asking = false;
    ns->registered = err == 0 && cmd->code == RC_SUCCESS;
    if (err == 0 && cmd->code != RC_SUCCESS)
        LOG_WARN_EVERY(10000, "registration refused", "nameserver=%s code=%d remark=\"%.*s\"",
                       caller_address(ns->caller), cmd->code, (int)cmd->remark.len, cmd->remark.p);
    if (err != 0)
        LOG_WARN_EVERY(10000, "nameserver does not answer", "nameserver=%s cause=\"%s\"",
                       caller_address(ns->caller), err_text(err));
    if (ns->registered && ns->stale)
        ask(ns);
    else if (!ns->registered && !ns->r->leaving)
        timer_start(&ns->r->retry, REGISTER_RETRY_MS);
}

static void ask(struct nameserver *ns)
{
    struct front *f = ns->r->f;
    struct remoting_out out;
    const struct register_body *body;

    if (ns->r->leaving)
        return;
    ns->stale = ns->asking;
    if (ns->asking)
        return;
    body = body_now(ns->r);
    remoting_request(&out, REMOTING_JSON, REGISTER_BROKER, 0, false);
    put_identity(f, &out);
    remoting_put_str(&out, "haServerAddr", str_of(f->address));
    remoting_put_bool(&out, "compressed", body->packed);
    remoting_put_i64(&out, "bodyCrc32", crc32_zlib(body->buf->data, body->buf->len) & CRC_MASK);
    remoting_put_i64(&out, "heartbeatTimeoutMillis", HEARTBEAT_TIMEOUT_MS);
    /* No enableActingMaster, not even false: to a nameserver of 5.x who says that is no "old broker", and of those
     * it takes the table of the least follower as soon as the leader has gone. Ours is empty. */
    ns->asking = true;
    caller_send(ns->caller, &out, body->buf->data, body->buf->len, REGISTER_TIMEOUT_MS, on_answer, ns);
}

static void ask_all(void *arg)
{
    struct registrar *r = arg;

    r->asked_ms = loop_now_ms(r->f->loop);
    r->asked_term = r->f->term;
    r->asked_serving = r->f->serving;
    for (uint32_t i = 0; i < r->count; i++)
        ask(&r->servers[i]);
}

static void on_period(void *arg)
{
    struct registrar *r = arg;

    ask_all(r);
    timer_start(&r->period, (uint32_t)r->f->settings->register_period_ms);
}

static void on_retry(void *arg)
{
    struct registrar *r = arg;

    for (uint32_t i = 0; i < r->count; i++) {
        if (!r->servers[i].registered)
            ask(&r->servers[i]);
    }
}

/* A nameserver forgets us with the connection: be back as soon as it is. */
static void on_state(void *user, struct caller *caller, bool up, int why)
{
    struct nameserver *ns = user;

    (void)caller;
    (void)why;
    if (up)
        return;
    ns->registered = false;
    if (!ns->r->leaving)
        timer_start(&ns->r->retry, REGISTER_RETRY_MS);
}

void registrar_poke(struct registrar *r)
{
    uint64_t now_ms = loop_now_ms(r->f->loop);
    uint64_t due_ms = r->asked_ms + register_gap_ms(state_topic_count(r->f->state));

    if (r->count == 0)
        return;
    if (r->asked_term != r->f->term || r->asked_serving != r->f->serving || now_ms >= due_ms)
        due_ms = now_ms;
    timer_start(&r->soon, (uint32_t)(due_ms - now_ms));
}

static const struct caller_ops caller_ops = {.on_state = on_state};

static int add_server(struct registrar *r, struct str text, struct err *err)
{
    struct nameserver *ns = &r->servers[r->count];
    char host[256];
    uint16_t port;

    if (r->count == REGISTER_NAMESERVERS_MAX)
        return err_set(err, ERR_INVALID, "namesrvAddr: more than %d addresses", REGISTER_NAMESERVERS_MAX);
    if (addr_split(text, host, sizeof(host), &port) != 0)
        return err_set(err, ERR_INVALID, "namesrvAddr: \"%.*s\" is not of the form host:port", (int)text.len,
                       text.p);
    ns->r = r;
    ns->caller = caller_new(r->f->loop, host, port, CONNECT_TIMEOUT_MS, &caller_ops, ns);
    r->count++;
    return 0;
}

int registrar_new(struct front *f, const char *addresses, struct registrar **out, struct err *err)
{
    struct registrar *r = calloc(1, sizeof(*r));
    int rc = 0;

    ENSURE(r != NULL);
    r->f = f;
    timer_init(&r->period, f->loop, on_period, r);
    timer_init(&r->retry, f->loop, on_retry, r);
    timer_init(&r->soon, f->loop, ask_all, r);
    for (const char *p = addresses; rc == 0 && p != NULL && *p != '\0';) {
        size_t len = strcspn(p, ";,");

        if (len > 0)
            rc = add_server(r, (struct str){p, len}, err);
        p += len;
        p += *p != '\0';
    }
    if (rc != 0) {
        registrar_free(r);
        return rc;
    }
    if (r->count > 0)
        timer_start(&r->period, 0);
    *out = r;
    return 0;
}

void registrar_leave(struct registrar *r)
{
    r->leaving = true;
    for (uint32_t i = 0; i < r->count; i++) {
        struct remoting_out out;

        if (!caller_is_up(r->servers[i].caller))
            continue;
        remoting_request(&out, REMOTING_JSON, UNREGISTER_BROKER, 0, true);
        put_identity(r->f, &out);
        caller_send(r->servers[i].caller, &out, NULL, 0, REGISTER_TIMEOUT_MS, NULL, NULL);
    }
}

void registrar_free(struct registrar *r)
{
    r->leaving = true;
    for (uint32_t i = 0; i < r->count; i++)
        caller_free(r->servers[i].caller);
    timer_release(&r->period);
    timer_release(&r->retry);
    timer_release(&r->soon);
    buf_unref(r->body.buf);
    free(r);
}

uint32_t registrar_registered(const struct registrar *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->count; i++)
        n += r->servers[i].registered;
    return n;
}

uint32_t registrar_count(const struct registrar *r)
{
    return r->count;
}
