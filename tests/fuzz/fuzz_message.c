/*
 * fuzz_message.c - whatever bytes come as a stored message, a batch body or a command must leave the process
 * standing and the state in order.
 *
 * The first byte chooses: message_decode, walking a batch, or a log of entries, each "kind u8, length u16
 * little-endian, body", applied to a state with two topics. Kind 255 stands for a well-formed message: queue
 * i8, topic "a" or "b" u8, then its properties.
 */
#include <stdlib.h>

#include "broker/state/message.h"
#include "broker/state/state.h"
#include "common/log.h"
#include "tests/lib/memory_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX  64
#define WELL_FORMED  255
#define MESSAGE_ROOM 70000

static void try_message(const uint8_t *data, size_t size)
{
    struct message m;
    if (message_decode(data, size, false, &m) != 0)
        return;
    ENSURE(m.total_size <= size);
    message_tag_hash(message_property(m.properties, "TAGS"));
    uint8_t *copy = malloc(size);
    ENSURE(copy != NULL);
    memcpy(copy, data, size);
    message_patch(copy, 1, 2);
    struct message again;
    int rc = message_decode(copy, m.total_size, false, &again);
    ENSURE(rc == 0);
    ENSURE(again.position == 2);
    ENSURE(str_eq(again.topic, m.topic));
    free(copy);

    size_t encoded = message_size(&m);
    uint8_t *other = malloc(encoded);
    ENSURE(other != NULL);
    message_encode(&m, other);
    rc = message_decode(other, encoded, true, &again);
    ENSURE(rc == 0);
    ENSURE(str_eq(again.properties, m.properties));
    free(other);
}

static void try_batch(const uint8_t *data, size_t size)
{
    struct rd left = rd_of(data, size);
    struct message m;
    while (rd_left(&left) > 0 && message_batch_next(&left, &m) == 0)
        message_tag_hash(message_property(m.properties, "TAGS"));
    struct sockaddr_in host;
    uint64_t position;
    if (message_id_parse((struct str){(const char *)data, size}, &host, &position) == 0) {
        char id[MESSAGE_ID_CHARS + 1];
        message_id_format(&host, position, id);
    }
}

static void open_state(struct checkpoint *c, struct worker *w, struct state **s)
{
    struct state_opts opts = {.checkpoint = c, .worker = w, .cache_blocks = 2};
    struct err err;
    int rc = state_open(&opts, s, &err);
    ENSURE(rc == 0);
}

/* TopicPut of topics "a" and "b" with one queue each, perm 6. */
static const uint8_t topics[2][12] = {
    {0x0A, 0x09, 0x0A, 0x01, 'a', 0x10, 0x01, 0x18, 0x01, 0x20, 0x06},
    {0x0A, 0x09, 0x0A, 0x01, 'b', 0x10, 0x01, 0x18, 0x01, 0x20, 0x06},
};

/* Length of the message in `out`; 0 when these bytes make none. */
static uint32_t make_message(const uint8_t *data, size_t size, uint8_t *out)
{
    struct rd r = rd_of(data, size);
    struct message m = {.queue_id = (int8_t)rd_u8(&r)};
    m.topic = rd_u8(&r) % 2 ? STR("b") : STR("a");
    m.properties = rd_str(&r, rd_left(&r));
    size_t len = r.bad ? 0 : message_size(&m);
    if (len > 0)
        message_encode(&m, out);
    return (uint32_t)len;
}

static void try_log(const uint8_t *data, size_t size)
{
    struct memory_checkpoint *store = memory_checkpoint_new();
    struct checkpoint c = memory_checkpoint_door(store);
    struct worker *w = worker_new_manual(NULL, NULL);
    struct state *s;
    open_state(&c, w, &s);
    dl_index_t index = 0;
    for (int i = 0; i < 2; i++) {
        const struct state_result *r = state_apply(s, ++index, 1, CMD_TOPIC_PUT, topics[i], 11, 0);
        ENSURE(r->code == 0);
    }
    struct rd r = rd_of(data, size);
    while (rd_left(&r) > 3 && index < ENTRIES_MAX) {
        uint32_t kind = rd_u8(&r);
        size_t len = rd_le16(&r);
        if (len > rd_left(&r))
            len = rd_left(&r);
        const uint8_t *body = rd_take(&r, len);
        static uint8_t made[MESSAGE_ROOM];
        if (kind == WELL_FORMED) {
            kind = CMD_MESSAGES;
            len = make_message(body, len, made);
            body = made;
        }
        index++;
        state_apply(s, index, 1, kind, body, (uint32_t)len, index * 1000000);
    }
    /* What the entries made must survive the checkpoint. */
    uint64_t digest = state_digest(s);
    state_flush(s, NULL, NULL);
    while (worker_run_one(w))
        ;
    state_close(s);
    open_state(&c, w, &s);
    ENSURE(state_applied(s) == index);
    ENSURE(state_digest(s) == digest);
    state_close(s);
    worker_free(w);
    memory_checkpoint_free(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(LOG_LEVEL_ERROR);
    if (size == 0)
        return 0;
    if (data[0] % 3 == 0)
        try_message(data + 1, size - 1);
    else if (data[0] % 3 == 1)
        try_batch(data + 1, size - 1);
    else
        try_log(data + 1, size - 1);
    return 0;
}
