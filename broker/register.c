#include "broker/register.h"

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
};

static int64_t broker_id(const struct front *f)
{
    return f->serving ? 0 : (int64_t)f->self;
}

/* NULL when it is too large for a frame. */
static struct buf *registration_body(struct front *f)
{
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct data_version version = state_topics_version(f->state);

    version.state_version = f->term;
    /* Nameservers of 4.9 know no state version and take queues only from a version that is new at its address:
     * a leader must not come with the one it registered as a follower. */
    if (f->serving)
        version.counter += (int64_t)f->term;
    jw_object(&w);
    jw_key(&w, "filterServerList");
    jw_array(&w);
    jw_end_array(&w);
    jw_key(&w, "topicConfigSerializeWrapper");
    front_topic_table_json(f, &w, version);
    jw_end_object(&w);
    if (body.full) {
        bld_drop(&body);
        LOG_WARN_EVERY(10000, "too many topics to register", "topics=%u bytes_max=%u",
                       state_topic_count(f->state), FRONT_BODY_MAX);
        return NULL;
    }
    return bld_take(&body);
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
    struct buf *body;

    if (ns->r->leaving)
        return;
    ns->stale = ns->asking;
    if (ns->asking)
        return;
    body = registration_body(f);
    if (body == NULL)
        return;
    remoting_request(&out, REMOTING_JSON, REGISTER_BROKER, 0, false);
    put_identity(f, &out);
    remoting_put_str(&out, "haServerAddr", str_of(f->address));
    remoting_put_bool(&out, "compressed", false);
    remoting_put_i64(&out, "bodyCrc32", crc32_zlib(body->data, body->len) & CRC_MASK);
    remoting_put_i64(&out, "heartbeatTimeoutMillis", HEARTBEAT_TIMEOUT_MS);
    remoting_put_bool(&out, "enableActingMaster", false);
    ns->asking = true;
    caller_send(ns->caller, &out, body->data, body->len, REGISTER_TIMEOUT_MS, on_answer, ns);
    buf_unref(body);
}

static void ask_all(void *arg)
{
    struct registrar *r = arg;

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
    if (r->count > 0)
        timer_start(&r->soon, 0);
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
