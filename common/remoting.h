/*
 * remoting.h - RocketMQ command <-> bytes, both header forms (JSON and compact binary); no I/O.
 *
 * Format: RemotingCommand.java / RocketMQSerializable.java; reference sections 1.1-1.4.
 *   u32 length of the rest | u8 header form (0 JSON, 1 binary) | u24 header length | header | body
 * Decoding gives views into the frame, or into the command's own scratch where JSON escapes had to be
 * resolved; both live until remoting_release or the next decode. A command may be reused for many frames
 * without allocating.
 */
#ifndef COMMON_REMOTING_H
#define COMMON_REMOTING_H

#include "common/buf.h"
#include "common/err.h"

#define REMOTING_FIELDS_MAX      64
#define REMOTING_FRAME_MAX_BYTES (16u * 1024 * 1024)
#define REMOTING_VERSION         479 /* V5_3_3: what we say about ourselves */
#define REMOTING_FLAG_RESPONSE   1
#define REMOTING_FLAG_ONEWAY     2

enum remoting_form { REMOTING_JSON = 0, REMOTING_BINARY = 1 };
enum remoting_language { LANG_JAVA = 0, LANG_CPP = 1, LANG_OTHER = 7, LANG_GO = 9 };

struct remoting_field {
    struct str key,
        value; /* raw numbers and booleans of JSON appear as their text; null fields are left out */
};

struct remoting_cmd {
    enum remoting_form form;
    int32_t code, version, opaque, flag;
    int32_t language;  /* LANG_*; unknown names are LANG_OTHER */
    struct str remark; /* p NULL = absent */
    uint32_t field_count;
    struct remoting_field fields[REMOTING_FIELDS_MAX];
    struct str body;
    char *scratch; /* private */
    uint32_t scratch_cap;
};

/* Decode a whole frame (with its length word). ERR_MALFORMED / ERR_TOO_LARGE with the reason in err. cmd must
 * be zeroed before its first use. */
int remoting_decode(const uint8_t *frame, size_t len, struct remoting_cmd *cmd, struct err *err) MUSTCHECK;
void remoting_release(struct remoting_cmd *cmd);

/* Field access. Absent: {NULL,0} / the default given. */
struct str remoting_str(const struct remoting_cmd *cmd, const char *key);
bool remoting_has(const struct remoting_cmd *cmd, const char *key);
/* 0 and *out; ERR_NOT_FOUND when absent or empty; ERR_INVALID when not a decimal number that fits. */
int remoting_i64(const struct remoting_cmd *cmd, const char *key, int64_t *out) MUSTCHECK;
int remoting_i32(const struct remoting_cmd *cmd, const char *key, int32_t *out) MUSTCHECK;
int64_t remoting_i64_or(const struct remoting_cmd *cmd, const char *key, int64_t def);
bool remoting_bool_or(const struct remoting_cmd *cmd, const char *key,
                      bool def); /* "true" in any case is true, any other text false */

/* Building. `struct remoting_out` gathers fields on the stack (values are copied into it), then encodes head
 * and body. */
#define REMOTING_OUT_TEXT_BYTES 2048
struct remoting_out {
    enum remoting_form form;
    int32_t code, version, opaque, flag, language;
    struct str remark; /* lent until encode */
    bool with_fields;  /* emit extFields even when there are none (send answers need a non-null map) */
    uint32_t field_count;
    struct remoting_field fields[REMOTING_FIELDS_MAX]; /* key: static text; value: lent, or in text[] */
    char text[REMOTING_OUT_TEXT_BYTES];
    uint32_t text_len;
};
/* Begin a request / an answer. A request says language OTHER, an answer JAVA, has the request's form and
 * opaque, and carries `remark` when its p is not NULL. */
void remoting_request(struct remoting_out *out, enum remoting_form form, int32_t code, int32_t opaque,
                      bool oneway);
void remoting_response(struct remoting_out *out, const struct remoting_cmd *request, int32_t code,
                       struct str remark);
void remoting_put_str(struct remoting_out *out, const char *key,
                      struct str value); /* value lent until encode */
void remoting_put_i64(struct remoting_out *out, const char *key, int64_t value);
void remoting_put_bool(struct remoting_out *out, const char *key, bool value);
/* One buffer with length word, header and (copied) body; body_len extra bytes may be announced with body
 * NULL: the caller then writes them right behind the returned head (by reference). ERR_TOO_LARGE over
 * REMOTING_FRAME_MAX_BYTES; binary form with a code over 32767: ERR_INVALID. */
int remoting_encode(const struct remoting_out *out, const void *body, size_t body_len,
                    struct buf **frame) MUSTCHECK;

#endif
