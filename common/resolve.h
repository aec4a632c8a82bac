/*
 * resolve.h - host names to IPv4 addresses without making the loop wait: getaddrinfo(3) on worker threads.
 * Used by conn.c only.
 */
#ifndef COMMON_RESOLVE_H
#define COMMON_RESOLVE_H

#include <netinet/in.h>

#include "common/loop.h"

#define RESOLVE_HOST_MAX 256u /* with its NUL */

struct resolver;
/* key: what was given to resolve_ask; rc 0 or ERR_NOT_FOUND. Loop thread. */
typedef void (*resolve_fn)(void *arg, uint64_t key, int rc, struct in_addr addr);

struct resolver *resolver_new(struct loop *loop, resolve_fn fn, void *arg);
/* Waits for the look-ups under way; their answers are dropped. */
void resolver_free(struct resolver *r);
/* 0 and one call of the resolver's function later; ERR_BUSY when too many wait; ERR_INVALID for a name that
 * is too long. */
int resolve_ask(struct resolver *r, const char *host, uint64_t key) MUSTCHECK;
/* Numeric IPv4, or NULL for all addresses. False when `host` is a name. */
bool resolve_numeric(const char *host, struct in_addr *out);
/* Waits for the answer: at start only. 0 or ERR_NOT_FOUND. */
int resolve_now(const char *host, struct in_addr *out) MUSTCHECK;

#endif
