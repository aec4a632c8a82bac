/*
 * scout.h - who leads a group: asks its replicas (RAFT_STATUS) until one says so.
 *
 * A nameserver tells the same a little later, and not at all when none is in reach. Brokers that do not
 * know the request are asked once and no more. Loop thread only.
 */
#ifndef CLIENT_SCOUT_H
#define CLIENT_SCOUT_H

#include "common/loop.h"

#define SCOUT_ROUND_MS   50u    /* between rounds of questions */
#define SCOUT_GIVE_UP_MS 15000u /* a search ends without a leader */

struct scout;
/* `found` is called on the loop thread, not inside the functions below; address is lent. */
struct scout *scout_new(struct loop *loop, void (*found)(void *arg, const char *address), void *arg);
void scout_free(struct scout *s); /* NULL is allowed; not inside `found` */
/* Whom to ask; copied. Ends a search. */
void scout_set_replicas(struct scout *s, const char *const *addresses, uint32_t count);
/* Begin a search; nothing when one is under way. */
void scout_search(struct scout *s);

#endif
