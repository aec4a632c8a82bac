/*
 * err.h - error codes of the whole product and the text that goes with one failure.
 *
 * Convention: functions return `int`, 0 is good, ERR_* (negative) is not. A function whose failure needs
 * words (which file, which key, which value) takes a `struct err *` as last parameter and fills it with
 * err_set(); the caller prints it or sends it as a remark.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/ensure.h"

/* What a caller may do about it. */
enum err_advice { ERR_ADVICE_NONE, ERR_ADVICE_RETRY_HERE, ERR_ADVICE_RETRY_ELSEWHERE, ERR_ADVICE_GIVE_UP };

/* name, value, RocketMQ response code (reference: ResponseCode.java), advice, text */
#define ERR_TABLE(X)                                                                       \
    X(ERR_INVALID, -1, 29, ERR_ADVICE_GIVE_UP, "invalid argument")                         \
    X(ERR_MALFORMED, -2, 1, ERR_ADVICE_GIVE_UP, "malformed bytes")                         \
    X(ERR_TOO_LARGE, -3, 13, ERR_ADVICE_GIVE_UP, "over a size limit")                      \
    X(ERR_NOT_FOUND, -4, 22, ERR_ADVICE_NONE, "not found")                                 \
    X(ERR_EXISTS, -5, 1, ERR_ADVICE_GIVE_UP, "exists already")                             \
    X(ERR_BUSY, -6, 2, ERR_ADVICE_RETRY_HERE, "a queue is full")                           \
    X(ERR_NOT_LEADER, -7, 14, ERR_ADVICE_RETRY_ELSEWHERE, "not the leader")                \
    X(ERR_TIMEOUT, -8, 1, ERR_ADVICE_RETRY_ELSEWHERE, "deadline passed")                   \
    X(ERR_CLOSED, -9, 14, ERR_ADVICE_RETRY_ELSEWHERE, "connection closed")                 \
    X(ERR_IO, -10, 1, ERR_ADVICE_RETRY_ELSEWHERE, "input/output error")                    \
    X(ERR_DAMAGED, -11, 1, ERR_ADVICE_RETRY_ELSEWHERE, "stored data is damaged")           \
    X(ERR_VERSION, -12, 1, ERR_ADVICE_GIVE_UP, "format is newer than this program")        \
    X(ERR_FOREIGN, -13, 1, ERR_ADVICE_GIVE_UP, "data belongs to another group or replica") \
    X(ERR_LOCKED, -14, 1, ERR_ADVICE_GIVE_UP, "in use by another process")                 \
    X(ERR_NO_SPACE, -15, 14, ERR_ADVICE_RETRY_ELSEWHERE, "no space left on disk")          \
    X(ERR_UNSUPPORTED, -16, 3, ERR_ADVICE_GIVE_UP, "not supported")                        \
    X(ERR_NO_PERMISSION, -17, 16, ERR_ADVICE_GIVE_UP, "no permission")                     \
    X(ERR_AGAIN, -18, 1, ERR_ADVICE_RETRY_HERE, "not now, call again")                     \
    X(ERR_LOST, -19, 14, ERR_ADVICE_RETRY_ELSEWHERE, "replaced by another leader's entry") \
    X(ERR_NO_ROUTE, -20, 17, ERR_ADVICE_RETRY_HERE, "no route to the topic")

#define ERR_ENUM(name, value, rmq, advice, text) name = value,
enum { ERR_OK = 0, ERR_TABLE(ERR_ENUM) };
#undef ERR_ENUM

#define ERR_TEXT_MAX 320 /* bytes with the final NUL; longer texts are cut */

struct err {
    int code;
    char text[ERR_TEXT_MAX];
};

/* Fill `err` (may be NULL) and return `code`, so that a failing function ends in `return err_set(err, ERR_X,
 * "...");`. An argument may be the old err->text: texts can be wrapped. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Facts about a code; total: unknown codes give "unknown error", code 1, ERR_ADVICE_NONE. Static strings. */
const char *err_name(int code);
const char *err_text(int code);
int err_rmq_code(int code);
enum err_advice err_advice(int code);

#endif
