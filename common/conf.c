/*
 * conf.c - binds a table of settings to a struct: defaults, reading, printing.
 */
#include "common/conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#include "common/buf.h"
#include "common/log.h"

#define CONF_TEXT_MAX_BYTES (1024u * 1024)
#define CONF_STRING_MAX     4096u /* bytes of one text value */
#define CONF_KEY_MAX        64u   /* longest key that is compared with the known ones */

/* ---- One value ---------------------------------------------------------------------------------------- */

static void *field_of(const struct conf *c, const struct conf_row *row)
{
    return (char *)c->settings + row->offset;
}

static bool parse_size(struct str s, int64_t *out)
{
    static const char units[] = "kmg";
    int shift = 0;
    const char *unit =
        s.len > 0 && s.p[s.len - 1] != 0 ? strchr(units, tolower((unsigned char)s.p[s.len - 1])) : NULL;
    if (unit != NULL) {
        shift = 10 * (int)(unit - units + 1);
        s.len--;
    }
    int64_t v;
    if (!str_to_i64(s, &v) || __builtin_mul_overflow(v, (int64_t)1 << shift, &v))
        return false;
    *out = v;
    return true;
}

static bool parse_bool(struct str s, bool *out)
{
    *out = s.len == 4 && strncasecmp(s.p, "true", 4) == 0;
    return *out || (s.len == 5 && strncasecmp(s.p, "false", 5) == 0);
}

/* The choice number `index` of "A|B|C"; false behind the last. */
static bool choice_at(const char *choices, int64_t index, struct str *out)
{
    for (; index > 0; index--) {
        choices = strchr(choices, '|');
        if (choices == NULL)
            return false;
        choices++;
    }
    *out = (struct str){choices, strcspn(choices, "|")};
    return true;
}

static bool parse_choice(struct str s, const char *choices, int64_t *out)
{
    struct str choice;
    for (int64_t i = 0; choice_at(choices, i, &choice); i++) {
        if (choice.len == s.len && strncasecmp(choice.p, s.p, s.len) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static void store_string(char **field, struct str s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL)
        fatal("out of memory for a setting");
    str_copy(s, copy, s.len + 1);
    free(*field);
    *field = copy;
}

/* Store the value; false (and nothing changed) when it is not one of the row's kind and range. */
static bool store(const struct conf *c, const struct conf_row *row, struct str s)
{
    void *field = field_of(c, row);
    int64_t v;
    bool flag;
    switch (row->kind) {
    case CONF_STRING:
        if (s.len > CONF_STRING_MAX || (s.len > 0 && memchr(s.p, 0, s.len) != NULL))
            return false;
        store_string(field, s);
        return true;
    case CONF_INT:
    case CONF_SIZE:
        if (!(row->kind == CONF_INT ? str_to_i64(s, &v) : parse_size(s, &v)) || v < row->min || v > row->max)
            return false;
        *(int64_t *)field = v;
        return true;
    case CONF_BOOL:
        if (!parse_bool(s, &flag))
            return false;
        *(bool *)field = flag;
        return true;
    case CONF_ENUM:
        if (!parse_choice(s, row->choices, &v))
            return false;
        *(int64_t *)field = v;
        return true;
    case CONF_IGNORED:
        return true;
    }
    return false;
}

/* What may stand there, for messages and documentation. */
static void describe_range(const struct conf_row *row, char *dst, size_t size)
{
    const char *unit = row->unit != NULL ? row->unit : "";
    switch (row->kind) {
    case CONF_INT:
        snprintf(dst, size, "%" PRId64 "..%" PRId64 "%s%s", row->min, row->max, *unit != 0 ? " " : "", unit);
        break;
    case CONF_SIZE:
        snprintf(dst, size, "%" PRId64 "..%" PRId64 " bytes, k m g allowed", row->min, row->max);
        break;
    case CONF_BOOL:
        snprintf(dst, size, "true|false");
        break;
    case CONF_ENUM:
        snprintf(dst, size, "%s", row->choices);
        break;
    case CONF_STRING:
        snprintf(dst, size, "text up to %u bytes%s%s", CONF_STRING_MAX, *unit != 0 ? ": " : "", unit);
        break;
    case CONF_IGNORED:
        snprintf(dst, size, "anything");
        break;
    }
}

/* ---- The table ---------------------------------------------------------------------------------------- */

void conf_init(struct conf *c, const struct conf_row *rows, uint32_t count, void *settings)
{
    *c = (struct conf){rows, count, settings, calloc(count + 1, 1)};
    if (c->was_set == NULL)
        fatal("out of memory for settings");
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].kind == CONF_STRING)
            *(char **)field_of(c, &rows[i]) = NULL;
        if (rows[i].kind == CONF_IGNORED || (rows[i].kind == CONF_STRING && rows[i].def == NULL))
            continue;
        bool default_is_valid = rows[i].def != NULL && store(c, &rows[i], str_of(rows[i].def));
        ENSURE(default_is_valid);
    }
}

void conf_release(struct conf *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->rows[i].kind != CONF_STRING)
            continue;
        char **field = field_of(c, &c->rows[i]);
        free(*field);
        *field = NULL;
    }
    free(c->was_set);
    c->was_set = NULL;
}

static uint32_t min3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance (insert, delete, replace) without regard to case. */
static uint32_t distance(struct str a, const char *b)
{
    uint32_t row[CONF_KEY_MAX + 1];
    size_t b_len = strlen(b);
    if (a.len > CONF_KEY_MAX || b_len > CONF_KEY_MAX)
        return UINT32_MAX;
    for (uint32_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (uint32_t i = 0; i < a.len; i++) {
        uint32_t diagonal = row[0];
        row[0] = i + 1;
        for (uint32_t j = 0; j < b_len; j++) {
            uint32_t replace = diagonal + (tolower((unsigned char)a.p[i]) != tolower((unsigned char)b[j]));
            diagonal = row[j + 1];
            row[j + 1] = min3(replace, row[j] + 1, diagonal + 1);
        }
    }
    return row[b_len];
}

/* The known key that was probably meant, or NULL when none is near. */
static const char *nearest_key(const struct conf *c, struct str key)
{
    const char *nearest = NULL;
    uint32_t best = (uint32_t)(key.len < CONF_KEY_MAX ? key.len : CONF_KEY_MAX) / 3 + 2;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t d = distance(key, c->rows[i].key);
        if (d < best) {
            best = d;
            nearest = c->rows[i].key;
        }
    }
    return nearest;
}

int conf_set(struct conf *c, const char *where, struct str key, struct str value, struct err *err)
{
    uint32_t i = 0;
    while (i < c->count && !str_is(key, c->rows[i].key))
        i++;
    int key_len = key.len < CONF_KEY_MAX ? (int)key.len : (int)CONF_KEY_MAX;
    if (i == c->count) {
        const char *nearest = nearest_key(c, key);
        LOG_WARN("unknown setting", "at=%s key=%.*s%s%s", where, key_len, key.p,
                 nearest != NULL ? " nearest=" : "", nearest != NULL ? nearest : "");
        return ERR_OK;
    }
    const struct conf_row *row = &c->rows[i];
    if (row->kind == CONF_IGNORED)
        LOG_WARN("setting without effect here", "at=%s key=%s", where, row->key);
    if (!store(c, row, value)) {
        char range[128];
        describe_range(row, range, sizeof(range));
        int value_len = value.len < 80 ? (int)value.len : 80;
        return err_set(err, ERR_INVALID, "%s: %s=%.*s is not allowed; allowed: %s", where, row->key,
                       value_len, value.p, range);
    }
    c->was_set[i] = 1;
    return ERR_OK;
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

struct reading {
    struct conf *conf;
    const char *name;
    struct err *err;
};

static int set_property(void *arg, uint32_t line, struct str key, struct str value)
{
    struct reading *r = arg;
    char where[256];
    snprintf(where, sizeof(where), "%s:%u", r->name, line);
    return conf_set(r->conf, where, key, value, r->err);
}

int conf_read_text(struct conf *c, const char *name, struct str text, struct err *err)
{
    if (text.len > CONF_TEXT_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "%s: more than %u bytes of settings", name, CONF_TEXT_MAX_BYTES);
    struct reading reading = {c, name, err};
    return conf_each_property(text, set_property, &reading);
}

int conf_read_file(struct conf *c, const char *path, struct err *err)
{
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    char *text = malloc(CONF_TEXT_MAX_BYTES + 1);
    if (text == NULL)
        fatal("out of memory for settings");
    errno = 0;
    size_t len = fread(text, 1, CONF_TEXT_MAX_BYTES + 1, f);
    int rc = ferror(f) ? err_set(err, ERR_IO, "%s: %s", path, strerror(errno)) : ERR_OK;
    fclose(f);
    if (rc == 0)
        rc = conf_read_text(c, path, (struct str){text, len}, err);
    free(text);
    return rc;
}

/* ---- Printing ----------------------------------------------------------------------------------------- */

/* The value as it would be written in a file. */
static void append_value(const struct conf *c, const struct conf_row *row, struct bld *out)
{
    const void *field = field_of(c, row);
    struct str choice;
    switch (row->kind) {
    case CONF_STRING:
        for (const char *p = *(char *const *)field; p != NULL && *p != 0; p++) {
            static const char special[] = "\\\n\r\t\f", letters[] = "\\nrtf";
            const char *at = strchr(special, *p);
            if (at != NULL)
                bld_bytes(out, "\\", 1);
            bld_bytes(out, at != NULL ? &letters[at - special] : p, 1);
        }
        break;
    case CONF_INT:
    case CONF_SIZE:
        bld_fmt(out, "%" PRId64, *(const int64_t *)field);
        break;
    case CONF_BOOL:
        bld_str(out, *(const bool *)field ? STR("true") : STR("false"));
        break;
    case CONF_ENUM:
        if (choice_at(row->choices, *(const int64_t *)field, &choice))
            bld_str(out, choice);
        break;
    case CONF_IGNORED:
        break;
    }
}

static bool is_unset(const struct conf *c, const struct conf_row *row)
{
    return row->kind == CONF_IGNORED || (row->kind == CONF_STRING && *(char **)field_of(c, row) == NULL);
}

void conf_print(const struct conf *c, FILE *out)
{
    struct bld w = bld_of(CONF_TEXT_MAX_BYTES);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct conf_row *row = &c->rows[i];
        if (row->kind == CONF_IGNORED)
            continue;
        char range[128];
        describe_range(row, range, sizeof(range));
        bld_fmt(&w, "%s=", row->key);
        append_value(c, row, &w);
        bld_fmt(&w, "  # default %s, %s, %s%s\n", row->def != NULL ? row->def : "unset", range, row->meaning,
                c->was_set[i] ? " (set)" : "");
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->rows[i].kind == CONF_IGNORED)
            bld_fmt(&w, "# %s is accepted without effect: %s\n", c->rows[i].key, c->rows[i].meaning);
    }
    struct buf *text = bld_take(&w);
    if (text != NULL)
        fwrite(text->data, 1, text->len, out);
    buf_unref(text);
}

struct buf *conf_properties(const struct conf *c)
{
    struct bld w = bld_of(4 * CONF_TEXT_MAX_BYTES);
    for (uint32_t i = 0; i < c->count; i++) {
        if (is_unset(c, &c->rows[i]))
            continue;
        bld_fmt(&w, "%s=", c->rows[i].key);
        append_value(c, &c->rows[i], &w);
        bld_bytes(&w, "\n", 1);
    }
    ENSURE(!w.full);
    return bld_take(&w);
}
