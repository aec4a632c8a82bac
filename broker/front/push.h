/*
 * push.h - requests from the broker to its clients on the connections they opened (40, 220, 221, 307, 309):
 * one-way, or with an answer matched by opaque.
 */
#ifndef BROKER_FRONT_PUSH_H
#define BROKER_FRONT_PUSH_H

#include "broker/front/front.h"

struct pushes *pushes_new(struct front *f);
void pushes_free(struct pushes *p);
/* out from remoting_request(); body copied. */
void push_oneway(struct pushes *p, uint64_t conn_id, struct remoting_out *out, struct str body);
/* fn is called exactly once: 0 with the answer (lent), ERR_TIMEOUT, ERR_CLOSED. */
typedef void (*push_fn)(struct front *f, void *ctx, int err, const struct remoting_cmd *answer);
void push_call(struct pushes *p, uint64_t conn_id, struct remoting_out *out, struct str body,
               uint32_t timeout_ms, push_fn fn, void *ctx);
/* dispatch's on_response. */
void pushes_on_response(void *front, struct conn *conn, const struct remoting_cmd *cmd);
void pushes_on_close(struct pushes *p, uint64_t conn_id);

#endif
