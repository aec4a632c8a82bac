/* resolve.c - see resolve.h. Also the text form of addresses, addr_split of conn.h. */
#include "common/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/conn.h"
#include "common/log.h"
#include "common/worker.h"

#define RESOLVE_THREADS 2u /* one slow name does not hold up all others */

struct lookup {
    struct job job; /* first */
    struct resolver *resolver;
    LIST_ENTRY(lookup) link;
    uint64_t key;
    int rc;
    struct in_addr addr;
    char host[RESOLVE_HOST_MAX];
};

struct resolver {
    resolve_fn fn;
    void *arg;
    struct worker *worker;
    LIST_HEAD(, lookup) lookups; /* not answered yet; loop thread */
};

bool resolve_numeric(const char *host, struct in_addr *out)
{
    if (host == NULL) {
        out->s_addr = htonl(INADDR_ANY);
        return true;
    }
    return inet_pton(AF_INET, host, out) == 1;
}

int resolve_now(const char *host, struct in_addr *out)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0) {
        LOG_WARN_EVERY(10000, "name not resolved", "host=%s cause=\"%s\"", host, gai_strerror(rc));
        return ERR_NOT_FOUND;
    }
    struct sockaddr_in sin;
    memcpy(&sin, list->ai_addr, sizeof(sin));
    *out = sin.sin_addr;
    freeaddrinfo(list);
    return 0;
}

static void lookup_run(struct job *job)
{
    struct lookup *l = (struct lookup *)job;
    l->rc = resolve_now(l->host, &l->addr);
}

static void lookup_done(struct job *job)
{
    struct lookup *l = (struct lookup *)job;
    LIST_REMOVE(l, link);
    l->resolver->fn(l->resolver->arg, l->key, l->rc, l->addr);
    free(l);
}

struct resolver *resolver_new(struct loop *loop, resolve_fn fn, void *arg)
{
    struct resolver *r = calloc(1, sizeof(*r));
    ENSURE(r != NULL);
    r->fn = fn;
    r->arg = arg;
    r->worker = worker_new(loop, "resolve", RESOLVE_THREADS);
    LIST_INIT(&r->lookups);
    return r;
}

void resolver_free(struct resolver *r)
{
    if (r == NULL)
        return;
    worker_free(r->worker);
    while (!LIST_EMPTY(&r->lookups)) {
        struct lookup *l = LIST_FIRST(&r->lookups);
        LIST_REMOVE(l, link);
        free(l);
    }
    free(r);
}

int resolve_ask(struct resolver *r, const char *host, uint64_t key)
{
    struct lookup *l = calloc(1, sizeof(*l));
    ENSURE(l != NULL);
    if (!str_copy(str_of(host), l->host, sizeof(l->host))) {
        free(l);
        return ERR_INVALID;
    }
    l->job.run = lookup_run;
    l->job.done = lookup_done;
    l->resolver = r;
    l->key = key;
    int rc = worker_submit(r->worker, &l->job);
    if (rc != 0) {
        free(l);
        return rc;
    }
    LIST_INSERT_HEAD(&r->lookups, l, link);
    return 0;
}

int addr_split(struct str text, char *host, size_t host_size, uint16_t *port)
{
    const char *colon = text.len > 0 ? memrchr(text.p, ':', text.len) : NULL;
    if (colon == NULL || colon == text.p)
        return ERR_INVALID;
    size_t host_len = (size_t)(colon - text.p);
    int64_t number;
    if (!str_to_i64((struct str){colon + 1, text.len - host_len - 1}, &number) || number < 1 ||
        number > UINT16_MAX)
        return ERR_INVALID;
    if (memchr(text.p, ':', host_len) != NULL || !str_copy((struct str){text.p, host_len}, host, host_size))
        return ERR_INVALID;
    *port = (uint16_t)number;
    return 0;
}
