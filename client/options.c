/* options.c - the settings of a client, from one table that also describes them; and errors in words. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/internal.h"

enum setting_kind { SETTING_TEXT, SETTING_NUMBER };
struct setting {
    const char *name;
    enum setting_kind kind;
    size_t at, size; /* size of a text */
    const char *initial;
    int64_t min, max;
    const char *description;
};
#define AT(field) offsetof(struct lmq_options, field)
#define TEXT(name, field, initial, meaning)                                                     \
    {                                                                                           \
        name, SETTING_TEXT, AT(field), sizeof(((struct lmq_options *)0)->field), initial, 0, 0, \
            name " (" initial ") " meaning                                                      \
    }
#define NUMBER(name, field, initial, min, max, meaning)                                         \
    {                                                                                           \
        name, SETTING_NUMBER, AT(field), 0, #initial, min, max, name " (" #initial ") " meaning \
    }

static const struct setting settings[] = {
    TEXT("namesrvAddr", namesrv, "", "nameservers, host:port;host:port"),
    TEXT("brokerAddr", brokers, "",
         "brokers to ask for routes when no nameserver answers, host:port;host:port"),
    TEXT("instanceName", instance, "", "part of the client id; empty: process and start"),
    TEXT("offsetStoreDir", offset_dir, "",
         "offsets of broadcasting consumers; empty: $HOME/.ledgermq_offsets"),
    TEXT("consumeFromWhere", from_where, "CONSUME_FROM_LAST_OFFSET",
         "where a new group begins; or CONSUME_FROM_FIRST_OFFSET"),
    NUMBER("sendMsgTimeout", send_timeout_ms, 3000, 1, 3600000, "ms for a send with all its attempts"),
    NUMBER("connectTimeoutMillis", connect_ms, 1000, 10, 60000, "ms for one attempt to connect"),
    NUMBER("answerTimeoutMillis", answer_ms, 1500, 10, 600000,
           "ms of silence before a request goes to the next replica"),
    NUMBER("pollNameServerInterval", poll_ms, 30000, 100, 3600000, "ms between looks at routes"),
    NUMBER("heartbeatBrokerInterval", heartbeat_ms, 30000, 100, 100000, "ms between heartbeats"),
    NUMBER("persistConsumerOffsetInterval", persist_ms, 5000, 10, 600000, "ms between commits of offsets"),
    NUMBER("rebalanceInterval", rebalance_ms, 20000, 100, 600000, "ms between looks at who consumes what"),
    NUMBER("rebalanceLockInterval", relock_ms, 20000, 100, 20000, "ms between renewals of orderly locks"),
    NUMBER("compressMsgBodyOverHowmuch", compress_over_bytes, 4096, 0, 2147483647,
           "bytes from which bodies are compressed"),
    NUMBER("maxMessageSize", max_message_bytes, 4194304, 1, 4194304, "bytes of the largest body"),
    NUMBER("maxInFlightMessages", in_flight_messages, 1024, 1, 65536,
           "sends of one producer without an answer"),
    NUMBER("maxInFlightBytes", in_flight_bytes, 104857600, 1024, 2147483647, "their bytes"),
    NUMBER("pullBatchSize", pull_batch, 32, 1, 1024, "messages of one pull"),
    NUMBER("brokerSuspendMaxTimeMillis", suspend_ms, 15000, 0, 30000,
           "ms a broker holds a pull that finds nothing"),
    NUMBER("consumeThreads", consume_threads, 4, 1, 256, "threads that call a consumer's listener"),
    NUMBER("pullThresholdForQueue", queue_messages_max, 1000, 1, 65535,
           "messages of a queue waiting to be consumed"),
    NUMBER("pullThresholdSizeForQueue", queue_bytes_max, 67108864, 1024, 1073741824, "their bytes"),
    NUMBER("retryLocallyMillis", retry_ms, 5000, 1, 3600000, "ms before a message is consumed again"),
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int set(struct lmq_options *o, const struct setting *s, const char *value)
{
    char *at = (char *)o + s->at;
    int64_t n;

    if (s->kind == SETTING_TEXT)
        return str_copy(str_of(value), at, s->size) ? ERR_OK : ERR_TOO_LARGE;
    if (!str_to_i64(str_of(value), &n) || n < s->min || n > s->max)
        return ERR_INVALID;
    *(uint32_t *)(void *)at = (uint32_t)n;
    return ERR_OK;
}

lmq_options *lmq_options_new(void)
{
    lmq_options *o = calloc(1, sizeof(*o));

    ENSURE(o != NULL);
    for (size_t i = 0; i < SETTINGS; i++)
        if (set(o, &settings[i], settings[i].initial) != 0)
            ENSURE(!"a setting's initial value is good");
    return o;
}

void lmq_options_free(lmq_options *o)
{
    free(o);
}

lmq_status lmq_options_set(lmq_options *o, const char *name, const char *value, lmq_error *error)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];

        if (strcmp(s->name, name) != 0)
            continue;
        if (set(o, s, value) == 0)
            return LMQ_OK;
        if (s->kind == SETTING_TEXT)
            return client_fail(error, LMQ_INVALID, "%s: more than %zu bytes", name, s->size - 1);
        return client_fail(error, LMQ_INVALID, "%s = %s: a number from %lld to %lld is wanted", name, value,
                           (long long)s->min, (long long)s->max);
    }
    return client_fail(error, LMQ_INVALID, "no setting is called %s", name);
}

const char *lmq_options_describe(unsigned i)
{
    return i < SETTINGS ? settings[i].description : NULL;
}

const char *lmq_version(void)
{
    return LEDGERMQ_VERSION;
}

/* ---- errors ---- */

lmq_status client_fail(lmq_error *error, lmq_status status, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return status;
    error->status = status;
    error->answer = 0;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);
    return status;
}

lmq_status client_fail_err(lmq_error *error, int err, const char *text)
{
    static const lmq_status named[] = {LMQ_INVALID, LMQ_TOO_LARGE, LMQ_NOT_FOUND, LMQ_BUSY,
                                       LMQ_TIMEOUT, LMQ_CLOSED,    LMQ_IO,        LMQ_NO_ROUTE};

    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
        if ((int)named[i] == err)
            return client_fail(error, named[i], "%s", text);
    return client_fail(error, LMQ_IO, "%s", text);
}

lmq_status client_fail_answer(lmq_error *error, int32_t code, const char *text)
{
    client_fail(error, LMQ_REFUSED, "%s", text);
    if (error != NULL)
        error->answer = code;
    return LMQ_REFUSED;
}
