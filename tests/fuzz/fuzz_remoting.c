/*
 * fuzz_remoting.c - any bytes as a frame; what decodes is encoded in both forms and must decode to the same command.
 */
#include <stdlib.h>

#include "common/remoting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct remoting_cmd cmd, again;

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    }
    return true;
}

/* JSON output replaces what is not UTF-8, so only ASCII must come back as it was there. */
static void compare(struct str a, struct str b, enum remoting_form form)
{
    ENSURE((form == REMOTING_JSON && !is_ascii(a)) || str_eq(a, b));
}

static void round_trip(enum remoting_form form)
{
    struct remoting_out out;
    struct buf *frame;
    remoting_request(&out, form, cmd.code, cmd.opaque, false);
    out.flag = cmd.flag;
    out.version = cmd.version;
    out.language = cmd.language;
    out.remark = cmd.remark;
    out.field_count = cmd.field_count;
    memcpy(out.fields, cmd.fields, sizeof(cmd.fields[0]) * cmd.field_count);
    int rc = remoting_encode(&out, cmd.body.p, cmd.body.len, &frame);
    if (rc == ERR_INVALID) {
        ENSURE(form == REMOTING_BINARY);
        return;
    }
    ENSURE(rc == 0);
    rc = remoting_decode(frame->data, frame->len, &again, NULL);
    ENSURE(rc == 0);
    ENSURE(again.form == form);
    ENSURE(again.code == cmd.code && again.version == cmd.version && again.opaque == cmd.opaque);
    ENSURE(again.flag == cmd.flag && again.language == cmd.language);
    ENSURE(again.field_count == cmd.field_count);
    compare(cmd.remark, again.remark, form);
    ENSURE(str_eq(cmd.body, again.body));
    for (uint32_t i = 0; i < cmd.field_count; i++) {
        compare(cmd.fields[i].key, again.fields[i].key, form);
        compare(cmd.fields[i].value, again.fields[i].value, form);
    }
    buf_unref(frame);
}

static int decode(const uint8_t *frame, size_t size)
{
    struct err err = {0};
    int rc = remoting_decode(frame, size, &cmd, &err);
    ENSURE(rc == 0 || (err.code == rc && err.text[0] != 0));
    return rc;
}

/* The bytes as a header (the first one chooses form and body length) in a sound frame, which the fuzzer would seldom
 * hit. */
static void fuzz_header(const uint8_t *data, size_t size)
{
    size_t body_len = data[0] >> 1;
    if (body_len > size - 1)
        body_len = size - 1;
    size_t header_len = size - 1 - body_len;
    uint8_t *frame = malloc(8 + size - 1);
    ENSURE(frame != NULL);
    put_be32(frame, (uint32_t)(4 + size - 1));
    put_be32(frame + 4, (data[0] & 1u) << 24 | (uint32_t)header_len);
    memcpy(frame + 8, data + 1, size - 1);
    if (decode(frame, 8 + size - 1) == 0) {
        int64_t number;
        int found = remoting_i64(&cmd, "queueId", &number);
        ENSURE(found == 0 || found == ERR_NOT_FOUND || found == ERR_INVALID);
        round_trip(REMOTING_JSON);
        round_trip(REMOTING_BINARY);
    }
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(data, size);
    if (size > 0)
        fuzz_header(data, size);
    return 0;
}
