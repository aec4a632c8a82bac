/*
 * conf.h - settings from a table that prints its own documentation.
 *
 * A program declares one row per setting: RocketMQ's spelling where it exists, kind, bounds, default,
 * meaning, where to store it. Input is Java properties text (`key=value` or `key: value`, `#` and `!`
 * comments, `\` line continuation, blanks trimmed), i.e. RocketMQ's broker.conf / namesrv.conf as they are.
 * Unknown keys are a warning that names the nearest known key; keys that exist in RocketMQ but have no effect
 * here are rows of kind CONF_IGNORED and are said so; a bad value is an error that names file, line, key,
 * value and the allowed range.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/bytes.h"
#include "common/err.h"

enum conf_kind {
    CONF_STRING,
    CONF_INT,
    CONF_BOOL,
    CONF_SIZE /* bytes, accepts k m g */,
    CONF_ENUM,
    CONF_IGNORED
};

struct conf_row {
    const char *key;
    enum conf_kind kind;
    size_t offset;    /* into the program's settings struct: char * (owned by conf), int64_t, bool, int64_t,
                         int64_t (enum index) */
    const char *def;  /* default as text; NULL for CONF_STRING means unset */
    int64_t min, max; /* CONF_INT, CONF_SIZE: inclusive */
    const char *choices; /* CONF_ENUM: "A|B|C", the value is the index */
    const char *unit;    /* "ms", "bytes", ... or NULL */
    const char *meaning; /* one line */
};

/* Rows of a table whose program keeps its settings in a `struct settings`. */
#define CONF_AT(field) offsetof(struct settings, field)
#define CONF_STRING_ROW(key, field, def, meaning)                        \
    {                                                                    \
        key, CONF_STRING, CONF_AT(field), def, 0, 0, NULL, NULL, meaning \
    }
#define CONF_INT_ROW(key, field, def, min, max, unit, meaning)            \
    {                                                                     \
        key, CONF_INT, CONF_AT(field), def, min, max, NULL, unit, meaning \
    }
#define CONF_SIZE_ROW(key, field, def, min, max, meaning)                     \
    {                                                                         \
        key, CONF_SIZE, CONF_AT(field), def, min, max, NULL, "bytes", meaning \
    }
#define CONF_BOOL_ROW(key, field, def, meaning)                        \
    {                                                                  \
        key, CONF_BOOL, CONF_AT(field), def, 0, 0, NULL, NULL, meaning \
    }
#define CONF_IGNORED_ROW(key, meaning)                        \
    {                                                         \
        key, CONF_IGNORED, 0, NULL, 0, 0, NULL, NULL, meaning \
    }

struct conf {
    const struct conf_row *rows;
    uint32_t count;
    void *settings;   /* the program's struct */
    uint8_t *was_set; /* per row; owned */
};

/* Bind table and struct and fill in all defaults. `settings` must outlive. */
void conf_init(struct conf *c, const struct conf_row *rows, uint32_t count, void *settings);
void conf_release(struct conf *c); /* frees the strings it stored */
/* Read a whole file / one text (`name` for messages). Stops at the first bad value. Unknown keys are logged
 * as warnings. */
int conf_read_file(struct conf *c, const char *path, struct err *err) MUSTCHECK;
int conf_read_text(struct conf *c, const char *name, struct str text, struct err *err) MUSTCHECK;
int conf_set(struct conf *c, const char *where, struct str key, struct str value, struct err *err) MUSTCHECK;
/* `-p`: every setting as `key=value` with default, unit, range and meaning as comments. */
void conf_print(const struct conf *c, FILE *out);
/* One properties text of all settings `key=value\n` (GET_BROKER_CONFIG, GET_NAMESRV_CONFIG). */
struct buf *conf_properties(const struct conf *c);
/* Split properties text: calls fn per pair in order; stops at nonzero and returns it. Used for
 * UPDATE_*_CONFIG too. */
int conf_each_property(struct str text, int (*fn)(void *arg, uint32_t line, struct str key, struct str value),
                       void *arg);

#endif
