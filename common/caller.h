/*
 * caller.h - the asking side of remoting: one connection to one address, requests matched to answers by
 * opaque, with deadlines.
 *
 * Connects on the first request, reconnects on the next one after a loss. Every request made with a callback
 * gets exactly one call: the answer, ERR_TIMEOUT, ERR_CLOSED, or ERR_BUSY (more than CALLER_PENDING_MAX
 * wait). Requests that come from the other side (a broker's pushes to a client) go to on_request. Loop thread
 * only. Used by broker/register.c, the client library and the tools.
 */
#ifndef COMMON_CALLER_H
#define COMMON_CALLER_H

#include "common/conn.h"
#include "common/remoting.h"

#define CALLER_PENDING_MAX 65536u

struct caller;
/* cmd is lent for the call and NULL when err is not 0. */
typedef void (*caller_fn)(void *arg, int err, const struct remoting_cmd *cmd);

struct caller_ops {
    void (*on_request)(void *user, struct caller *caller, const struct remoting_cmd *cmd); /* NULL: ignored */
    void (*on_state)(void *user, struct caller *caller, bool up,
                     int why); /* connection came up / went down; NULL: not told */
};

struct caller *caller_new(struct loop *loop, const char *host, uint16_t port, uint32_t connect_ms,
                          const struct caller_ops *ops, void *user);
/* Pending requests end with ERR_CLOSED (called inside). */
void caller_free(struct caller *c);
/* Send `out` (its opaque is overwritten) with body (copied; may be NULL). fn NULL = oneway flag is set.
 * What can be told at once, ERR_BUSY and failures to encode (ERR_TOO_LARGE, ERR_INVALID), is told inside. */
void caller_send(struct caller *c, struct remoting_out *out, const void *body, size_t body_len,
                 uint32_t timeout_ms, caller_fn fn, void *arg);
/* Answer a request that came through on_request. */
void caller_reply(struct caller *c, const struct remoting_cmd *request, int32_t code, struct str remark,
                  const void *body, size_t body_len);
bool caller_is_up(const struct caller *c);
const char *caller_address(const struct caller *c); /* "host:port" */
uint32_t caller_pending(const struct caller *c);

#endif
