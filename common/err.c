/*
 * err.c - the facts of ERR_TABLE as functions.
 */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct fact {
    const char *name, *text;
    int rmq_code;
    enum err_advice advice;
};

/* Codes are negative and dense, so a code's row is its negation; row 0 is success. */
static const struct fact facts[] = {[0] = {"ERR_OK", "success", 0, ERR_ADVICE_NONE},
#define ERR_FACT(name, value, rmq, advice, text) [-(value)] = {#name, text, rmq, advice},
                                    ERR_TABLE(ERR_FACT)
#undef ERR_FACT
};

#define FACT_COUNT ((int)(sizeof(facts) / sizeof(facts[0])))

static const struct fact *fact_of(int code)
{
    static const struct fact unknown = {"ERR_UNKNOWN", "unknown error", 1, ERR_ADVICE_NONE};
    if (code > 0 || code <= -FACT_COUNT || facts[-code].name == NULL)
        return &unknown;
    return &facts[-code];
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    /* Not straight into err->text: the old text may be one of the arguments. */
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    memcpy(err->text, text, strlen(text) + 1);
    err->code = code;
    return code;
}

const char *err_name(int code)
{
    return fact_of(code)->name;
}

const char *err_text(int code)
{
    return fact_of(code)->text;
}

int err_rmq_code(int code)
{
    return fact_of(code)->rmq_code;
}

enum err_advice err_advice(int code)
{
    return fact_of(code)->advice;
}
