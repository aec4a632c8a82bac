/*
 * remoting.c - the two header forms as two functions each way, chosen by the form byte.
 *
 * Both decoders fill the same struct with views. JSON escapes are resolved into cmd->scratch, which is made
 * as large as the header before its first use: unescaped text is never longer than its source, so views into
 * scratch stay where they are. Reading is as tolerant as the reference demands (1.3), writing is strict JSON.
 */
#include "common/remoting.h"

#include <stdlib.h>
#include <strings.h>

#include "common/jsonstr.h"

#define HEAD_BYTES 8u /* length, form, header length */
#define HEADER_MAX_BYTES \
    (1024u * 1024)             /* the longest real ones are some 100 KiB: 32 KiB of properties, escaped */
#define SKIP_DEPTH_MAX     32u /* nesting of a value nobody asked for */
#define BINARY_FIXED_BYTES 21u /* code .. flag, remark length, map length */
#define LANG_UNKNOWN_FROM  14  /* first number that is not a language */

/* LanguageCode.java; the index is the number. */
static const char *const languages[LANG_UNKNOWN_FROM] = {
    "JAVA",  "CPP",  "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY",
    "OTHER", "HTTP", "GO",     "PHP",    "OMS",    "RUST",   "NODE_JS",
};

/* ---- Decoding JSON ------------------------------------------------------------------------------------ */

struct scan {
    const char *start, *p, *end;
    struct remoting_cmd *cmd;
    uint32_t scratch_used;
    struct err *err;
};

enum value_kind { VALUE_STRING, VALUE_SCALAR, VALUE_NULL, VALUE_NESTED };

static int scan_bad(struct scan *s, const char *what)
{
    return err_set(s->err, ERR_MALFORMED, "remoting header, byte %zu: %s", (size_t)(s->p - s->start), what);
}

/* Take `c` after blanks. */
static bool scan_char(struct scan *s, char c)
{
    s->p = jsonstr_blanks(s->p, s->end);
    if (s->p >= s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static void scratch_reserve(struct scan *s)
{
    struct remoting_cmd *cmd = s->cmd;
    uint32_t need = (uint32_t)(s->end - s->start);
    if (cmd->scratch_cap >= need)
        return;
    ENSURE(s->scratch_used == 0);
    free(cmd->scratch);
    cmd->scratch = malloc(need);
    if (cmd->scratch == NULL)
        fatal("out of memory for a header of %u bytes", need);
    cmd->scratch_cap = need;
}

/* A string; s->p stands behind the opening quote. */
static int scan_string(struct scan *s, struct str *out)
{
    bool escaped = false;
    const char *from = s->p, *to = jsonstr_end(from, s->end, &escaped);
    if (to == NULL)
        return scan_bad(s, "string without end");
    if (!escaped) {
        *out = (struct str){from, (size_t)(to - from)};
    } else {
        scratch_reserve(s);
        char *dst = s->cmd->scratch + s->scratch_used;
        char *dst_end = jsonstr_unescape(from, to, dst);
        if (dst_end == NULL)
            return scan_bad(s, "wrong escape in a string");
        *out = (struct str){dst, (size_t)(dst_end - dst)};
        s->scratch_used += (uint32_t)out->len;
    }
    s->p = to + 1;
    return ERR_OK;
}

/* An object or array as source text; only brackets and strings are looked at. */
static int scan_nested(struct scan *s, struct str *out)
{
    const char *from = s->p;
    char closing[SKIP_DEPTH_MAX];
    uint32_t depth = 0;
    do {
        if (s->p >= s->end)
            return scan_bad(s, "value without end");
        char c = *s->p++;
        if (c == '"') {
            bool escaped;
            const char *to = jsonstr_end(s->p, s->end, &escaped);
            if (to == NULL)
                return scan_bad(s, "string without end");
            s->p = to + 1;
        } else if (c == '{' || c == '[') {
            if (depth == SKIP_DEPTH_MAX)
                return scan_bad(s, "nested too deeply");
            closing[depth++] = c == '{' ? '}' : ']';
        } else if ((c == '}' || c == ']') && closing[--depth] != c) {
            return scan_bad(s, "brackets do not match");
        }
    } while (depth > 0);
    *out = (struct str){from, (size_t)(s->p - from)};
    return ERR_OK;
}

/* true, false, null or a number, as its text. */
static int scan_scalar(struct scan *s, struct str *out)
{
    static const struct str words[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    size_t left = (size_t)(s->end - s->p), len = jsonstr_number(s->p, s->end);
    for (size_t i = 0; len == 0 && i < sizeof(words) / sizeof(words[0]); i++) {
        if (left >= words[i].len && memcmp(s->p, words[i].p, words[i].len) == 0)
            len = words[i].len;
    }
    if (len == 0)
        return scan_bad(s, "expected a value");
    *out = (struct str){s->p, len};
    s->p += len;
    return ERR_OK;
}

static int scan_value(struct scan *s, struct str *out, enum value_kind *kind)
{
    s->p = jsonstr_blanks(s->p, s->end);
    if (s->p >= s->end)
        return scan_bad(s, "expected a value");
    if (*s->p == '"') {
        *kind = VALUE_STRING;
        s->p++;
        return scan_string(s, out);
    }
    if (*s->p == '{' || *s->p == '[') {
        *kind = VALUE_NESTED;
        return scan_nested(s, out);
    }
    *kind = *s->p == 'n' ? VALUE_NULL : VALUE_SCALAR;
    return scan_scalar(s, out);
}

/* Members of an object; s->p stands behind its brace. `member` is called with s->p behind the colon and takes
 * the value. */
static int scan_members(struct scan *s, int (*member)(struct scan *s, struct str key))
{
    if (scan_char(s, '}'))
        return ERR_OK;
    do {
        struct str key;
        if (!scan_char(s, '"'))
            return scan_bad(s, "expected a key");
        int rc = scan_string(s, &key);
        if (rc != 0)
            return rc;
        if (!scan_char(s, ':'))
            return scan_bad(s, "expected a colon");
        rc = member(s, key);
        if (rc != 0)
            return rc;
    } while (scan_char(s, ','));
    return scan_char(s, '}') ? ERR_OK : scan_bad(s, "expected a comma or a closing brace");
}

static int add_field(struct remoting_cmd *cmd, struct str key, struct str value, struct err *err)
{
    if (cmd->field_count == REMOTING_FIELDS_MAX)
        return err_set(err, ERR_TOO_LARGE, "remoting header: more than %d fields", REMOTING_FIELDS_MAX);
    cmd->fields[cmd->field_count++] = (struct remoting_field){key, value};
    return ERR_OK;
}

static int ext_member(struct scan *s, struct str key)
{
    struct str value;
    enum value_kind kind;
    int rc = scan_value(s, &value, &kind);
    if (rc != 0 || kind == VALUE_NULL)
        return rc;
    return add_field(s->cmd, key, value, s->err);
}

/* A number, also as a string; null leaves *out alone. */
static int scan_i32(struct scan *s, int32_t *out)
{
    struct str text;
    enum value_kind kind;
    int64_t v;
    int rc = scan_value(s, &text, &kind);
    if (rc != 0 || kind == VALUE_NULL)
        return rc;
    if (kind == VALUE_NESTED || !str_to_i64(text, &v) || v < INT32_MIN || v > INT32_MAX)
        return scan_bad(s, "expected a 32-bit number");
    *out = (int32_t)v;
    return ERR_OK;
}

static int32_t language_of(int64_t number)
{
    return number >= 0 && number < LANG_UNKNOWN_FROM ? (int32_t)number : LANG_OTHER;
}

static int scan_language(struct scan *s, int32_t *out)
{
    struct str text;
    enum value_kind kind;
    int64_t number = LANG_OTHER;
    int rc = scan_value(s, &text, &kind);
    if (rc != 0 || kind == VALUE_NULL)
        return rc;
    if (!str_to_i64(text, &number)) {
        for (int i = 0; i < LANG_UNKNOWN_FROM; i++) {
            if (str_is(text, languages[i]))
                number = i;
        }
    }
    *out = language_of(number);
    return ERR_OK;
}

static int scan_remark(struct scan *s)
{
    struct str text;
    enum value_kind kind;
    int rc = scan_value(s, &text, &kind);
    if (rc == 0 && kind != VALUE_NULL)
        s->cmd->remark = text;
    return rc;
}

static int scan_ext(struct scan *s)
{
    if (scan_char(s, '{'))
        return scan_members(s, ext_member);
    struct str ignored;
    enum value_kind kind;
    int rc = scan_value(s, &ignored, &kind);
    if (rc == 0 && kind != VALUE_NULL)
        return scan_bad(s, "extFields is not an object");
    return rc;
}

static int header_member(struct scan *s, struct str key)
{
    struct remoting_cmd *cmd = s->cmd;
    const struct {
        struct str name;
        int32_t *number;
    } numbers[] = {
        {STR("code"), &cmd->code},
        {STR("flag"), &cmd->flag},
        {STR("opaque"), &cmd->opaque},
        {STR("version"), &cmd->version},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (str_eq(key, numbers[i].name))
            return scan_i32(s, numbers[i].number);
    }
    if (str_eq(key, STR("extFields")))
        return scan_ext(s);
    if (str_eq(key, STR("language")))
        return scan_language(s, &cmd->language);
    if (str_eq(key, STR("remark")))
        return scan_remark(s);
    struct str ignored;
    enum value_kind kind;
    return scan_value(s, &ignored, &kind);
}

static int decode_json(struct str header, struct remoting_cmd *cmd, struct err *err)
{
    struct scan s = {header.p, header.p, header.p + header.len, cmd, 0, err};
    if (!scan_char(&s, '{'))
        return scan_bad(&s, "expected an object");
    int rc = scan_members(&s, header_member);
    if (rc != 0)
        return rc;
    s.p = jsonstr_blanks(s.p, s.end);
    return s.p == s.end ? ERR_OK : scan_bad(&s, "something follows the object");
}

/* ---- Decoding binary ---------------------------------------------------------------------------------- */

static int decode_binary(struct str header, struct remoting_cmd *cmd, struct err *err)
{
    struct rd r = rd_of(header.p, header.len);
    cmd->code = (int16_t)rd_be16(&r);
    cmd->language = language_of(rd_u8(&r));
    cmd->version = (int16_t)rd_be16(&r);
    cmd->opaque = (int32_t)rd_be32(&r);
    cmd->flag = (int32_t)rd_be32(&r);
    uint32_t remark_len = rd_be32(&r);
    struct str remark = rd_str(&r, remark_len);
    if (remark_len > 0)
        cmd->remark = remark;
    uint32_t map_len = rd_be32(&r);
    const uint8_t *map_bytes = rd_take(&r, map_len);
    if (map_bytes == NULL)
        return err_set(err, ERR_MALFORMED, "binary remoting header: a length runs past its end");
    struct rd map = rd_of(map_bytes, map_len);
    while (rd_left(&map) > 0) {
        struct str key = rd_str(&map, rd_be16(&map));
        struct str value = rd_str(&map, rd_be32(&map));
        if (map.bad)
            return err_set(err, ERR_MALFORMED,
                           "binary remoting header: a field runs past the end of the map");
        int rc = add_field(cmd, key, value, err);
        if (rc != 0)
            return rc;
    }
    return ERR_OK;
}

/* ---- Decoding, both ----------------------------------------------------------------------------------- */

int remoting_decode(const uint8_t *frame, size_t len, struct remoting_cmd *cmd, struct err *err)
{
    if (len > REMOTING_FRAME_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "remoting frame of %zu bytes, limit %u", len,
                       REMOTING_FRAME_MAX_BYTES);
    if (len < HEAD_BYTES || get_be32(frame) != len - 4)
        return err_set(err, ERR_MALFORMED, "remoting frame: its length does not fit its %zu bytes", len);
    uint32_t form = frame[4], header_len = get_be32(frame + 4) & 0xFFFFFF;
    if (form > REMOTING_BINARY)
        return err_set(err, ERR_MALFORMED, "remoting frame: unknown header form %u", form);
    if (header_len > len - HEAD_BYTES)
        return err_set(err, ERR_MALFORMED, "remoting frame of %zu bytes: header of %u", len, header_len);
    if (header_len > HEADER_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "remoting header of %u bytes, limit %u", header_len,
                       HEADER_MAX_BYTES);
    cmd->form = (enum remoting_form)form;
    cmd->code = cmd->version = cmd->opaque = cmd->flag = 0;
    cmd->language = LANG_OTHER;
    cmd->remark = (struct str){NULL, 0};
    cmd->field_count = 0;
    const char *rest = (const char *)frame + HEAD_BYTES;
    cmd->body = (struct str){rest + header_len, len - HEAD_BYTES - header_len};
    struct str header = {rest, header_len};
    return form == REMOTING_JSON ? decode_json(header, cmd, err) : decode_binary(header, cmd, err);
}

void remoting_release(struct remoting_cmd *cmd)
{
    free(cmd->scratch);
    cmd->scratch = NULL;
    cmd->scratch_cap = 0;
}

/* ---- Fields ------------------------------------------------------------------------------------------- */

static const struct remoting_field *find_field(const struct remoting_cmd *cmd, const char *key)
{
    struct str name = str_of(key);
    /* From the back: of two fields with one name the last holds, as in Java's map. */
    for (uint32_t i = cmd->field_count; i-- > 0;) {
        if (str_eq(cmd->fields[i].key, name))
            return &cmd->fields[i];
    }
    return NULL;
}

struct str remoting_str(const struct remoting_cmd *cmd, const char *key)
{
    const struct remoting_field *f = find_field(cmd, key);
    return f != NULL ? f->value : (struct str){NULL, 0};
}

bool remoting_has(const struct remoting_cmd *cmd, const char *key)
{
    return find_field(cmd, key) != NULL;
}

int remoting_i64(const struct remoting_cmd *cmd, const char *key, int64_t *out)
{
    struct str value = remoting_str(cmd, key);
    if (value.len == 0)
        return ERR_NOT_FOUND;
    return str_to_i64(value, out) ? ERR_OK : ERR_INVALID;
}

int remoting_i32(const struct remoting_cmd *cmd, const char *key, int32_t *out)
{
    int64_t v;
    int rc = remoting_i64(cmd, key, &v);
    if (rc != 0)
        return rc;
    if (v < INT32_MIN || v > INT32_MAX)
        return ERR_INVALID;
    *out = (int32_t)v;
    return ERR_OK;
}

int64_t remoting_i64_or(const struct remoting_cmd *cmd, const char *key, int64_t def)
{
    int64_t v;
    return remoting_i64(cmd, key, &v) == 0 ? v : def;
}

bool remoting_bool_or(const struct remoting_cmd *cmd, const char *key, bool def)
{
    struct str value = remoting_str(cmd, key);
    if (value.len == 0)
        return def;
    return value.len == 4 && strncasecmp(value.p, "true", 4) == 0;
}

/* ---- Building ----------------------------------------------------------------------------------------- */

static void out_begin(struct remoting_out *out, enum remoting_form form, int32_t code, int32_t opaque,
                      int32_t flag)
{
    out->form = form;
    out->code = code;
    out->version = REMOTING_VERSION;
    out->opaque = opaque;
    out->flag = flag;
    out->language = LANG_JAVA;
    out->remark = (struct str){NULL, 0};
    out->with_fields = false;
    out->field_count = 0;
    out->text_len = 0;
}

void remoting_request(struct remoting_out *out, enum remoting_form form, int32_t code, int32_t opaque,
                      bool oneway)
{
    out_begin(out, form, code, opaque, oneway ? REMOTING_FLAG_ONEWAY : 0);
    out->language = LANG_OTHER;
}

void remoting_response(struct remoting_out *out, const struct remoting_cmd *request, int32_t code,
                       struct str remark)
{
    out_begin(out, request->form, code, request->opaque, REMOTING_FLAG_RESPONSE);
    out->remark = remark;
}

void remoting_put_str(struct remoting_out *out, const char *key, struct str value)
{
    ENSURE(out->field_count < REMOTING_FIELDS_MAX);
    out->fields[out->field_count++] = (struct remoting_field){str_of(key), value};
}

void remoting_put_i64(struct remoting_out *out, const char *key, int64_t value)
{
    char digits[I64_TEXT_MAX];
    size_t len = i64_text(value, digits);
    ENSURE(len <= sizeof(out->text) - out->text_len);
    char *text = out->text + out->text_len;
    memcpy(text, digits, len);
    out->text_len += (uint32_t)len;
    remoting_put_str(out, key, (struct str){text, len});
}

void remoting_put_bool(struct remoting_out *out, const char *key, bool value)
{
    remoting_put_str(out, key, value ? STR("true") : STR("false"));
}

static void encode_number(struct bld *w, struct str lead, int32_t value)
{
    char digits[I64_TEXT_MAX];
    bld_str(w, lead);
    bld_bytes(w, digits, i64_text(value, digits));
}

static void encode_fields(const struct remoting_out *out, struct bld *w)
{
    bld_str(w, STR(",\"extFields\":{"));
    for (uint32_t i = 0; i < out->field_count; i++) {
        if (i > 0)
            bld_bytes(w, ",", 1);
        jsonstr_quote(w, out->fields[i].key, false);
        bld_bytes(w, ":", 1);
        jsonstr_quote(w, out->fields[i].value, false);
    }
    bld_bytes(w, "}", 1);
}

/* Members in alphabetical order, as Java writes them. */
static void encode_json(const struct remoting_out *out, struct bld *w)
{
    encode_number(w, STR("{\"code\":"), out->code);
    if (out->field_count > 0 || out->with_fields)
        encode_fields(out, w);
    encode_number(w, STR(",\"flag\":"), out->flag);
    bld_str(w, STR(",\"language\":\""));
    bld_str(w, str_of(languages[language_of(out->language)]));
    encode_number(w, STR("\",\"opaque\":"), out->opaque);
    if (out->remark.p != NULL) {
        bld_str(w, STR(",\"remark\":"));
        jsonstr_quote(w, out->remark, false);
    }
    encode_number(w, STR(",\"version\":"), out->version);
    bld_bytes(w, "}", 1);
}

static int encode_binary(const struct remoting_out *out, struct bld *b)
{
    if (out->code < INT16_MIN || out->code > INT16_MAX || out->version < INT16_MIN ||
        out->version > INT16_MAX)
        return ERR_INVALID;
    size_t map_len = 0;
    for (uint32_t i = 0; i < out->field_count; i++) {
        if (out->fields[i].key.len > INT16_MAX)
            return ERR_INVALID;
        if (out->fields[i].value.len > REMOTING_FRAME_MAX_BYTES)
            return ERR_TOO_LARGE;
        map_len += 2 + out->fields[i].key.len + 4 + out->fields[i].value.len;
    }
    if (out->remark.len > REMOTING_FRAME_MAX_BYTES || map_len > REMOTING_FRAME_MAX_BYTES)
        return ERR_TOO_LARGE;
    size_t size = BINARY_FIXED_BYTES + out->remark.len + map_len;
    uint8_t *room = bld_room(b, size);
    if (room == NULL)
        return ERR_TOO_LARGE;
    struct wr w = wr_of(room, size);
    wr_be16(&w, (uint16_t)out->code);
    wr_u8(&w, (uint8_t)language_of(out->language));
    wr_be16(&w, (uint16_t)out->version);
    wr_be32(&w, (uint32_t)out->opaque);
    wr_be32(&w, (uint32_t)out->flag);
    wr_be32(&w, (uint32_t)out->remark.len);
    wr_bytes(&w, out->remark.p, out->remark.len);
    wr_be32(&w, (uint32_t)map_len);
    for (uint32_t i = 0; i < out->field_count; i++) {
        wr_be16(&w, (uint16_t)out->fields[i].key.len);
        wr_bytes(&w, out->fields[i].key.p, out->fields[i].key.len);
        wr_be32(&w, (uint32_t)out->fields[i].value.len);
        wr_bytes(&w, out->fields[i].value.p, out->fields[i].value.len);
    }
    ENSURE(!w.full && w.p == w.end);
    return ERR_OK;
}

int remoting_encode(const struct remoting_out *out, const void *body, size_t body_len, struct buf **frame)
{
    struct bld w = bld_of(REMOTING_FRAME_MAX_BYTES);
    int rc = ERR_OK;
    *frame = NULL;
    bld_room(&w, HEAD_BYTES);
    if (out->form == REMOTING_BINARY)
        rc = encode_binary(out, &w);
    else
        encode_json(out, &w);
    size_t head_len = w.b != NULL ? w.b->len : 0;
    if (rc == 0 && (w.full || head_len - HEAD_BYTES > HEADER_MAX_BYTES ||
                    body_len > REMOTING_FRAME_MAX_BYTES - head_len))
        rc = ERR_TOO_LARGE;
    if (rc != 0) {
        bld_drop(&w);
        return rc;
    }
    if (body != NULL)
        bld_bytes(&w, body, body_len);
    struct buf *b = bld_take(&w);
    put_be32(b->data, (uint32_t)(head_len + body_len - 4));
    put_be32(b->data + 4, (uint32_t)out->form << 24 | (uint32_t)(head_len - HEAD_BYTES));
    *frame = b;
    return ERR_OK;
}
