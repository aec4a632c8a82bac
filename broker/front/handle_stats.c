/*
 * handle_stats.c - figures for operators: broker (28, 26), topics (202), consumer groups (208, 300, 343).
 * AdminBrokerProcessor; reference 3.8, 4.4.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "broker/front/clients_internal.h"
#include "broker/front/gather.h"
#include "broker/front/handlers.h"
#include "broker/front/hold.h"
#include "common/clock.h"
#include "common/codes.h"

/* ---- 28: a table of keys and how to get them ---- */

static void kv(struct jw *w, const char *key, const char *value)
{
    jw_key(w, key);
    jw_cstr(w, value);
}

static void kv_u64(struct jw *w, const char *key, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    kv(w, key, text);
}

/* RocketMQ's three rates (10 s, 1 min, 10 min) out of ours. */
static void kv_rates(struct jw *w, const char *key, const struct front_rate *rate)
{
    char text[96];

    snprintf(text, sizeof(text), "%.2f %.2f %.2f", front_rate_of(rate, 10), front_rate_of(rate, 60),
             front_rate_of(rate, 600));
    kv(w, key, text);
}

static void kv_runtime(struct jw *w, uint64_t ms)
{
    char text[128];
    uint64_t s = ms / 1000;

    snprintf(text, sizeof(text), "[ %llu days, %llu hours, %llu minutes, %llu seconds ]",
             (unsigned long long)(s / 86400), (unsigned long long)(s / 3600 % 24),
             (unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60));
    kv(w, "runtime", text);
}

static void kv_disk(struct front *f, struct jw *w)
{
    struct statvfs fs;
    char text[32] = "0.0";

    if (statvfs(f->settings->store_dir, &fs) == 0 && fs.f_blocks > 0)
        snprintf(text, sizeof(text), "%.4f", 1.0 - (double)fs.f_bavail / (double)fs.f_blocks);
    kv(w, "commitLogDiskRatio", text);
    kv(w, "consumeQueueDiskRatio", text);
}

/* Keys the tools expect of figures that do not exist here. */
static const char *const zero_keys[] = {
    "sendThreadPoolQueueSize",
    "pullThreadPoolQueueSize",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pageCacheLockTimeMills",
    "timerReadBehind",
    "timerOffsetBehind",
    "timerCongestNum",
    "dispatchBehindBytes",
    "remainTransientStoreBufferNumbs",
};
static const char *const zero_rate_keys[] = {"timerEnqueueTps", "timerDequeueTps"};

void handle_runtime_info(struct request *req)
{
    struct front *f = req->user;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct dl_store_view log;
    uint64_t sends = metric_get(&f->counters.sends), gets = metric_get(&f->counters.pull_messages);

    dl_store_view(f->store, &log);
    jw_object(&w);
    jw_key(&w, "table");
    jw_object(&w);
    kv(&w, "brokerVersionDesc", "V5_3_3");
    kv_u64(&w, "brokerVersion", REMOTING_VERSION);
    kv(&w, "brokerActive", f->serving ? "true" : "false");
    kv_rates(&w, "putTps", &f->rates.put);
    kv_rates(&w, "getTransferedTps", &f->rates.get); /* 4.9 spells it so */
    kv_rates(&w, "getTransferredTps", &f->rates.get);
    kv_rates(&w, "getTotalTps", &f->rates.pulls);
    kv_rates(&w, "getFoundTps", &f->rates.pulls);
    kv(&w, "getMissTps", "0.0 0.0 0.0");
    for (size_t i = 0; i < sizeof(zero_keys) / sizeof(zero_keys[0]); i++)
        kv(&w, zero_keys[i], "0");
    for (size_t i = 0; i < sizeof(zero_rate_keys) / sizeof(zero_rate_keys[0]); i++)
        kv(&w, zero_rate_keys[i], "0.0");
    kv_disk(f, &w);
    kv_u64(&w, "earliestMessageTimeStamp", f->started_ms);
    kv_u64(&w, "bootTimestamp", f->started_ms);
    kv_runtime(&w, clock_wall_ms() - f->started_ms);
    kv_u64(&w, "msgPutTotalYesterdayMorning", 0);
    kv_u64(&w, "msgPutTotalTodayMorning", 0);
    kv_u64(&w, "msgPutTotalTodayNow", sends);
    kv_u64(&w, "msgGetTotalYesterdayMorning", 0);
    kv_u64(&w, "msgGetTotalTodayMorning", 0);
    kv_u64(&w, "msgGetTotalTodayNow", gets);
    kv_u64(&w, "commitLogMinOffset", log.begin_pos);
    kv_u64(&w, "commitLogMaxOffset", log.end_pos);
    kv_u64(&w, "putMessageTimesTotal", sends);
    kv_u64(&w, "putMessageSizeTotal", metric_get(&f->counters.send_bytes));
    jw_end_object(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

void handle_get_config(struct request *req)
{
    struct front *f = req->user;
    struct data_version v = state_topics_version(f->state);
    struct bld version = bld_of(256), text = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&version);
    struct buf *properties = conf_properties(f->conf), *version_text;
    struct remoting_out out;

    bld_bytes(&text, properties->data, properties->len);
    bld_fmt(&text, "brokerId=%lld\nbrokerRole=%s\n", f->serving ? 0ll : (long long)f->self,
            f->serving ? "SYNC_MASTER" : "SLAVE");
    buf_unref(properties);
    front_data_version_json(&w, v);
    version_text = bld_take(&version);
    reply_begin(&req->reply, &out, RC_SUCCESS, (struct str){NULL, 0});
    remoting_put_str(&out, "version", (struct str){(const char *)version_text->data, version_text->len});
    reply_out(&req->reply, &out, bld_take(&text));
    buf_unref(version_text);
}

/* ---- per queue: the store time of its newest message ---- */

/* 0 when the row is not in memory: old, and only for display. */
static uint64_t store_time(struct front *f, struct str topic, uint32_t queue_id, uint64_t offset)
{
    struct index_row row;
    uint32_t n;

    return state_rows(f->state, topic, queue_id, offset, 1, &row, &n) == 0 ? row.store_ms : 0;
}

void handle_topic_stats(struct request *req)
{
    struct front *f = req->user;
    struct str name = remoting_str(req->cmd, "topic");
    const struct topic *t = state_topic(f->state, name);
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    uint32_t queues;

    if (t == NULL) {
        reply_code(&req->reply, RC_TOPIC_NOT_EXIST, "topic[%.*s] not exist", (int)name.len, name.p);
        return;
    }
    queues = t->read_queues > t->write_queues ? t->read_queues : t->write_queues;
    jw_object(&w);
    jw_key(&w, "offsetTable");
    jw_object(&w);
    for (uint32_t i = 0; i < queues; i++) {
        uint64_t min = 0, max = 0;

        (void)!state_queue_bounds(f->state, name, i, &min, &max);
        jw_key_object(&w);
        front_message_queue_members(&w, name, str_of(f->settings->broker_name), i);
        jw_end_key_object(&w);
        jw_object(&w);
        jw_key(&w, "lastUpdateTimestamp");
        jw_i64(&w, max > min ? (int64_t)store_time(f, name, i, max - 1) : 0);
        jw_key(&w, "maxOffset");
        jw_i64(&w, (int64_t)max);
        jw_key(&w, "minOffset");
        jw_i64(&w, (int64_t)min);
        jw_end_object(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

/* ---- 208: what a group has consumed ---- */

/* Topics a group has to do with: those it has offsets on, and those its members subscribe to. Deleted ones
 * are left out, or tools fail on them. */
struct topic_set {
    UT_hash_handle hh;
    char name[TOPIC_NAME_MAX + 1];
};

static void topic_set_add(struct topic_set **set, struct str name)
{
    struct topic_set *found;

    if (!front_topic_name_ok(name))
        return;
    HASH_FIND(hh, *set, name.p, name.len, found);
    if (found != NULL)
        return;
    found = calloc(1, sizeof(*found));
    ENSURE(found != NULL && str_copy(name, found->name, sizeof(found->name)));
    HASH_ADD_KEYPTR(hh, *set, found->name, name.len, found);
}

static void topic_set_free(struct topic_set **set)
{
    struct topic_set *t, *next;

    HASH_ITER(hh, *set, t, next) {
        HASH_DEL(*set, t);
        free(t);
    }
}

static void add_offset_topic(void *arg, struct str group, struct str topic, uint32_t queue_id,
                             uint64_t offset)
{
    (void)group;
    (void)queue_id;
    (void)offset;
    topic_set_add(arg, topic);
}

static void topics_of_group(struct front *f, struct str group, struct topic_set **set)
{
    struct client_group *g = clients_group(f->clients, CLIENT_CONSUMER, group);
    struct subscription *s, *next;

    state_each_offset(f->state, group, (struct str){NULL, 0}, add_offset_topic, set);
    if (g == NULL)
        return;
    HASH_ITER(hh, g->subscriptions, s, next)
        topic_set_add(set, str_of(s->topic));
}

static void write_consume_stats(struct front *f, struct jw *w, struct str group, const struct topic *t)
{
    struct str topic = {t->name, t->name_len};

    for (uint32_t i = 0; i < t->read_queues; i++) {
        uint64_t min = 0, max = 0, offset = 0;
        bool known = gather_offset(f->gather, group, topic, i, &offset) == 0;

        (void)!state_queue_bounds(f->state, topic, i, &min, &max);
        jw_key_object(w);
        front_message_queue_members(w, topic, str_of(f->settings->broker_name), i);
        jw_end_key_object(w);
        jw_object(w);
        jw_key(w, "brokerOffset");
        jw_i64(w, (int64_t)max);
        jw_key(w, "consumerOffset");
        jw_i64(w, known ? (int64_t)offset : 0);
        jw_key(w, "lastTimestamp");
        jw_i64(w, known && offset > min && offset <= max ? (int64_t)store_time(f, topic, i, offset - 1) : 0);
        jw_key(w, "pullOffset");
        jw_i64(w, known ? (int64_t)offset : 0);
        jw_end_object(w);
    }
}

void handle_consume_stats(struct request *req)
{
    struct front *f = req->user;
    struct str group = remoting_str(req->cmd, "consumerGroup"), only = remoting_str(req->cmd, "topic");
    struct topic_set *set = NULL, *t, *next;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    if (only.len > 0)
        topic_set_add(&set, only);
    else
        topics_of_group(f, group, &set);
    jw_object(&w);
    jw_key(&w, "consumeTps");
    jw_double(&w, 0.0);
    jw_key(&w, "offsetTable");
    jw_object(&w);
    HASH_ITER(hh, set, t, next) {
        const struct topic *topic = state_topic(f->state, str_of(t->name));

        if (topic != NULL)
            write_consume_stats(f, &w, group, topic);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    topic_set_free(&set);
    reply_body(&req->reply, &body);
}

static void reply_names(struct request *req, const char *key, struct topic_set **set)
{
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);
    struct topic_set *t, *next;

    jw_object(&w);
    jw_key(&w, key);
    jw_array(&w);
    HASH_ITER(hh, *set, t, next)
        jw_cstr(&w, t->name);
    jw_end_array(&w);
    jw_end_object(&w);
    topic_set_free(set);
    reply_body(&req->reply, &body);
}

void handle_topics_of_group(struct request *req)
{
    struct front *f = req->user;
    struct topic_set *set = NULL;

    topics_of_group(f, remoting_str(req->cmd, "group"), &set);
    reply_names(req, "topicList", &set);
}

static void add_group(void *arg, struct str group)
{
    topic_set_add(arg, group);
}

/* Groups on a topic: those with offsets and those whose members subscribe to it. */
void handle_topic_groups(struct request *req)
{
    struct front *f = req->user;
    struct str topic = remoting_str(req->cmd, "topic");
    struct topic_set *set = NULL;
    struct client_group *g, *next;

    state_each_group_of_topic(f->state, topic, add_group, &set);
    HASH_ITER(hh, f->clients->consumers, g, next) {
        struct subscription *s = NULL;

        if (topic.len > 0)
            HASH_FIND(hh, g->subscriptions, topic.p, topic.len, s);
        if (s != NULL)
            topic_set_add(&set, str_of(g->name));
    }
    reply_names(req, "groupList", &set);
}
