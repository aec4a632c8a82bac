/* scout.c - see scout.h. */
#include "client/scout.h"

#include <stdlib.h>

#include "common/caller.h"
#include "common/codes.h"
#include "common/json.h"

#define SCOUT_REPLICAS_MAX 16u
#define SCOUT_CONNECT_MS   500u
#define SCOUT_NODES_MAX    1000u

struct asked {
    struct scout *scout;
    struct caller *caller;
    bool waiting, mute; /* mute: does not know the request */
};

struct scout {
    struct loop *loop;
    void (*found)(void *arg, const char *address);
    void *arg;
    struct timer timer;
    uint64_t end_ms; /* of the search under way, else 0 */
    uint32_t count;
    struct asked asked[SCOUT_REPLICAS_MAX];
};

static bool says_leader(const struct remoting_cmd *answer)
{
    struct json_doc *doc;
    struct err err;
    bool leads;

    if (json_parse(answer->body, SCOUT_NODES_MAX, &doc, &err) != 0)
        return false;
    leads = str_is(json_get_str(json_root(doc), "role"), "leader") &&
            json_get_bool(json_root(doc), "serving", false);
    json_free(doc);
    return leads;
}

static void on_answer(void *arg, int err, const struct remoting_cmd *answer)
{
    struct asked *a = arg;
    struct scout *s = a->scout;

    a->waiting = false;
    if (err != 0 || s->end_ms == 0)
        return;
    if (answer->code == RC_NOT_SUPPORTED)
        a->mute = true;
    if (answer->code != RC_SUCCESS || !says_leader(answer))
        return;
    s->end_ms = 0;
    timer_stop(&s->timer);
    s->found(s->arg, caller_address(a->caller));
}

static void on_round(void *arg)
{
    struct scout *s = arg;
    bool any = false;

    if (s->end_ms == 0 || loop_now_ms(s->loop) >= s->end_ms) {
        s->end_ms = 0;
        return;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        struct asked *a = &s->asked[i];
        struct remoting_out out;

        any = any || !a->mute;
        if (a->waiting || a->mute)
            continue;
        a->waiting = true;
        remoting_request(&out, REMOTING_BINARY, RAFT_STATUS, 0, false);
        caller_send(a->caller, &out, NULL, 0, SCOUT_CONNECT_MS, on_answer, a);
    }
    if (any)
        timer_start(&s->timer, SCOUT_ROUND_MS);
    else
        s->end_ms = 0;
}

struct scout *scout_new(struct loop *loop, void (*found)(void *arg, const char *address), void *arg)
{
    struct scout *s = calloc(1, sizeof(*s));

    ENSURE(s != NULL);
    s->loop = loop;
    s->found = found;
    s->arg = arg;
    timer_init(&s->timer, loop, on_round, s);
    return s;
}

static void forget_replicas(struct scout *s)
{
    s->end_ms = 0;
    for (uint32_t i = 0; i < s->count; i++)
        caller_free(s->asked[i].caller);
    s->count = 0;
}

void scout_free(struct scout *s)
{
    if (s == NULL)
        return;
    forget_replicas(s);
    timer_release(&s->timer);
    free(s);
}

static bool same_replicas(const struct scout *s, const char *const *addresses, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (i >= s->count || strcmp(caller_address(s->asked[i].caller), addresses[i]) != 0)
            return false;
    return count == s->count;
}

void scout_set_replicas(struct scout *s, const char *const *addresses, uint32_t count)
{
    char host[256];
    uint16_t port;

    if (same_replicas(s, addresses, count))
        return;
    forget_replicas(s);
    for (uint32_t i = 0; i < count && s->count < SCOUT_REPLICAS_MAX; i++) {
        struct asked *a = &s->asked[s->count];

        if (addr_split(str_of(addresses[i]), host, sizeof(host), &port) != 0)
            continue;
        *a = (struct asked){s, caller_new(s->loop, host, port, SCOUT_CONNECT_MS, NULL, NULL), false, false};
        s->count++;
    }
}

void scout_search(struct scout *s)
{
    if (s->end_ms != 0)
        return;
    s->end_ms = loop_now_ms(s->loop) + SCOUT_GIVE_UP_MS;
    timer_start(&s->timer, 0);
}
