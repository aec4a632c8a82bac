/*
 * common_ask.h - what a command-line tool does over and over: ask one address one thing and wait for the
 * answer, find the nameservers, ask for routes. One thread, one loop that turns inside these calls.
 */
#ifndef TOOLS_COMMON_ASK_H
#define TOOLS_COMMON_ASK_H

#include "client/route.h"
#include "common/caller.h"

#define ASK_TIMEOUT_MS    5000u
#define ASK_ADDRESSES_MAX 64u

struct asker; /* the connections of a tool, by address */
struct asker *asker_new(struct loop *loop);
void asker_free(struct asker *a);
struct loop *asker_loop(struct asker *a);

/* An answer kept after its frame has gone. */
struct answer {
    int32_t code;
    struct buf *body, *texts; /* body of the answer; fields and remark are views into texts */
    struct str remark;
    uint32_t field_count;
    struct remoting_field fields[REMOTING_FIELDS_MAX];
};
void answer_release(struct answer *r); /* a zeroed one is allowed */
struct str answer_str(const struct answer *r, const char *key);
int64_t answer_i64(const struct answer *r, const char *key, int64_t def);
struct str answer_body(const struct answer *r);

/* Send and wait. 0 with any response code in *out; ERR_* with a text naming address and cause when there was
 * no answer. */
int ask(struct asker *a, const char *address, struct remoting_out *out, const void *body, size_t body_len,
        struct answer *answer, struct err *err) MUSTCHECK;
/* The same, and any code but 0 is an error too ("127.0.0.1:9876 answered 17: ..."). */
int ask_ok(struct asker *a, const char *address, struct remoting_out *out, const void *body, size_t body_len,
           struct answer *answer, struct err *err) MUSTCHECK;

/* "host:port;host:port" (commas and blanks too) into an array of texts. ERR_INVALID names the wrong one. */
struct addresses {
    uint32_t count;
    char at[ASK_ADDRESSES_MAX][280];
};
int addresses_parse(const char *text, struct addresses *out, struct err *err) MUSTCHECK;

/* A topic's route from the first of `from` that knows it. ERR_NO_ROUTE when all say that there is none. */
int ask_route(struct asker *a, const struct addresses *from, const char *topic, struct route **out,
              struct err *err) MUSTCHECK;

#endif
