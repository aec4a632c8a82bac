/* mqadmin_message.c - queryMsgById, sendMessage, consumeMessage. The last two go through libledgermq. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "client/ledgermq.h"
#include "client/wire.h"
#include "common/codes.h"
#include "tools/mqadmin.h"

#define TOOLS_GROUP   "TOOLS_CONSUMER"
#define COUNT_DEFAULT 128
#define PULL_COUNT    32u

/* ---- queryMsgById ---- */

static void format_host(const uint8_t *ip, uint32_t len, uint32_t port, char text[64])
{
    if (len == 4)
        snprintf(text, 64, "%u.%u.%u.%u:%u", ip[0], ip[1], ip[2], ip[3], port);
    else
        snprintf(text, 64, "[IPv6]:%u", port);
}

static const char *property(const struct stored *m, const char *key, char text[1024])
{
    if (!str_copy(props_get(m->properties, key), text, 1024))
        text[0] = '\0';
    return text[0] != '\0' ? text : "null";
}

static void print_properties(const struct stored *m)
{
    struct str left = m->properties, key, value;
    const char *between = "";

    printf("%-20s {", "Properties:");
    while (props_next(&left, &key, &value)) {
        printf("%s%.*s=%.*s", between, (int)key.len, key.p, (int)value.len, value.p);
        between = ", ";
    }
    printf("}\n");
}

static void print_stored(const struct admin *a, const char *id, const struct stored *m)
{
    char text[1024], time[32], host[64];

    printf("%-20s %s\n", "OffsetID:", id);
    printf("%-20s %.*s\n", "Topic:", (int)m->topic.len, m->topic.p);
    printf("%-20s [%s]\n", "Tags:", property(m, "TAGS", text));
    printf("%-20s [%s]\n", "Keys:", property(m, "KEYS", text));
    printf("%-20s %d\n", "Queue ID:", m->queue_id);
    printf("%-20s %" PRId64 "\n", "Queue Offset:", m->queue_offset);
    printf("%-20s %" PRId64 "\n", "CommitLog Offset:", m->physical_offset);
    printf("%-20s %d\n", "Reconsume Times:", m->reconsume_times);
    printf("%-20s %s\n", "Born Timestamp:", admin_time(m->born_ms, time));
    printf("%-20s %s\n", "Store Timestamp:", admin_time(m->store_ms, time));
    format_host(m->born_ip, m->born_ip_len, m->born_port, host);
    printf("%-20s %s\n", "Born Host:", host);
    format_host(m->store_ip, m->store_ip_len, m->store_port, host);
    printf("%-20s %s\n", "Store Host:", host);
    printf("%-20s %d\n", "System Flag:", m->sys_flag);
    print_properties(m);
    if (admin_has(a, 'f'))
        printf("%-20s %.*s\n", "Message Body:", (int)m->body.len, m->body.p);
    else
        printf("%-20s %zu\n", "Message Body Size:", m->body.len);
}

static void put_stored(struct jw *w, const char *id, const struct stored *m)
{
    struct str left = m->properties, key, value;
    char host[64];

    jw_object(w);
    admin_put_cstr(w, "offsetMsgId", id);
    jw_key(w, "topic");
    jw_str(w, m->topic);
    admin_put_i64(w, "queueId", m->queue_id);
    admin_put_i64(w, "queueOffset", m->queue_offset);
    admin_put_i64(w, "commitLogOffset", m->physical_offset);
    admin_put_i64(w, "reconsumeTimes", m->reconsume_times);
    admin_put_i64(w, "bornTimestamp", m->born_ms);
    admin_put_i64(w, "storeTimestamp", m->store_ms);
    format_host(m->born_ip, m->born_ip_len, m->born_port, host);
    admin_put_cstr(w, "bornHost", host);
    format_host(m->store_ip, m->store_ip_len, m->store_port, host);
    admin_put_cstr(w, "storeHost", host);
    admin_put_i64(w, "sysFlag", m->sys_flag);
    jw_key(w, "properties");
    jw_object(w);
    while (props_next(&left, &key, &value)) {
        jw_key_str(w, key);
        jw_str(w, value);
    }
    jw_end_object(w);
    jw_key(w, "body");
    jw_str(w, m->body);
    jw_end_object(w);
}

static int query_one(struct admin *a, const char *id, struct admin_out *json, struct err *err)
{
    char address[64];
    struct remoting_out q;
    struct answer r;
    struct stored m;
    struct rd left;
    uint64_t offset;
    int rc = offset_id_parse(str_of(id), address, sizeof(address), &offset);

    if (rc != 0)
        return err_set(
            err, rc,
            "\"%s\" is no offset message id (32 hex digits, address and place; sendMessage's #OffsetMsgId): "
            "#MsgId is made by the sender, and brokers do not look for it",
            id);
    remoting_request(&q, REMOTING_JSON, VIEW_MESSAGE_BY_ID, 0, false);
    remoting_put_i64(&q, "offset", (int64_t)offset);
    if (admin_has(a, 't'))
        remoting_put_str(&q, "topic", str_of(admin_value(a, 't')));
    rc = ask_ok(a->asker, address, &q, NULL, 0, &r, err);
    if (rc != 0)
        return rc;
    left = rd_of(answer_body(&r).p, answer_body(&r).len);
    rc = stored_next(&left, &m, err);
    if (rc == 0 && a->json)
        put_stored(&json->w, id, &m);
    else if (rc == 0)
        print_stored(a, id, &m);
    answer_release(&r);
    return rc;
}

int verb_query_msg_by_id(struct admin *a, struct err *err)
{
    const char *p = admin_value(a, 'i');
    struct admin_out json;
    char id[128];
    int rc = 0;

    admin_out_begin(&json);
    if (a->json)
        jw_array(&json.w);
    for (; rc == 0 && *p != '\0'; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");

        if (!str_copy((struct str){p, len}, id, sizeof(id)))
            rc = err_set(err, ERR_INVALID, "\"%.*s\" is no offset message id", (int)len, p);
        else
            rc = query_one(a, id, &json, err);
        p += len;
    }
    if (rc == 0 && a->json) {
        jw_end_array(&json.w);
        admin_out_print(&json);
    } else {
        bld_drop(&json.text);
    }
    return rc;
}

/* ---- the library ---- */

static int failed(const lmq_error *e, struct err *err)
{
    return err_set(err, ERR_IO, "%s", e->text);
}

static int start_client(struct admin *a, lmq_client **out, struct err *err)
{
    lmq_options *o = lmq_options_new();
    lmq_error e;
    int rc = 0;

    if (lmq_options_set(o, "namesrvAddr", a->namesrv_text, &e) != LMQ_OK ||
        lmq_client_new(o, out, &e) != LMQ_OK)
        rc = failed(&e, err);
    lmq_options_free(o);
    return rc;
}

/* ---- sendMessage ---- */

static int make_message(struct admin *a, lmq_message **out, struct err *err)
{
    const char *body = admin_value(a, 'p');
    lmq_message *m = lmq_message_new(admin_value(a, 't'), body, strlen(body));
    lmq_status s = m != NULL ? LMQ_OK : LMQ_INVALID;
    int64_t queue;

    if (s == LMQ_OK && admin_has(a, 'k'))
        s = lmq_message_set_keys(m, admin_value(a, 'k'));
    if (s == LMQ_OK && admin_has(a, 'c'))
        s = lmq_message_set_tag(m, admin_value(a, 'c'));
    if (s == LMQ_OK && admin_has(a, 'b') && admin_has(a, 'i')) {
        int rc = admin_number(a, 'i', 0, 0, INT32_MAX, &queue, err);

        if (rc != 0) {
            lmq_message_free(m);
            return rc;
        }
        s = lmq_message_set_queue(m, admin_value(a, 'b'), (int32_t)queue);
    }
    if (s != LMQ_OK) {
        lmq_message_free(m);
        return err_set(err, ERR_INVALID,
                       "topic, body, key or tag is empty, too long, or has bytes that separate properties");
    }
    *out = m;
    return 0;
}

static void print_sent(const struct admin *a, const lmq_send_result *r)
{
    struct admin_out o;

    if (!a->json) {
        printf("%-32s  %-4s  %-20s    %-32s  %s\n", "#Broker Name", "#QID", "#Send Result", "#MsgId",
               "#OffsetMsgId");
        printf("%-32s  %-4d  %-20s    %-32s  %s\n", r->broker, r->queue_id, "SEND_OK", r->message_id,
               r->offset_id);
        return;
    }
    admin_out_begin(&o);
    jw_object(&o.w);
    admin_put_cstr(&o.w, "brokerName", r->broker);
    admin_put_i64(&o.w, "queueId", r->queue_id);
    admin_put_i64(&o.w, "queueOffset", r->queue_offset);
    admin_put_cstr(&o.w, "result", "SEND_OK");
    admin_put_cstr(&o.w, "msgId", r->message_id);
    admin_put_cstr(&o.w, "offsetMsgId", r->offset_id);
    jw_end_object(&o.w);
    admin_out_print(&o);
}

int verb_send_message(struct admin *a, struct err *err)
{
    lmq_message *m = NULL;
    lmq_client *client = NULL;
    lmq_producer *producer = NULL;
    lmq_send_result result;
    lmq_error e;
    int rc;

    if (admin_has(a, 'i') && !admin_has(a, 'b'))
        return err_set(err, ERR_INVALID, "-i (qid) wants -b (broker name)");
    rc = make_message(a, &m, err);
    if (rc == 0)
        rc = start_client(a, &client, err);
    if (rc == 0 && lmq_producer_new(client, "mqadmin_producer", &producer, &e) != LMQ_OK)
        rc = failed(&e, err);
    if (rc == 0 && lmq_producer_send(producer, m, &result, &e) != LMQ_OK)
        rc = failed(&e, err);
    if (rc == 0)
        print_sent(a, &result);
    lmq_producer_free(producer);
    lmq_client_free(client);
    lmq_message_free(m);
    return rc;
}

/* ---- consumeMessage ---- */

/* Milliseconds, or yyyy-MM-dd#HH:mm:ss:SSS in local time; -1: neither. */
static int64_t parse_time(const char *text)
{
    struct tm tm = {.tm_isdst = -1};
    int ms = 0;
    int64_t v;

    if (str_to_i64(str_of(text), &v))
        return v;
    if (sscanf(text, "%d-%d-%d#%d:%d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &ms) != 7)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (int64_t)mktime(&tm) * 1000 + ms;
}

struct reading {
    struct admin *a;
    lmq_puller *puller;
    int64_t left;             /* messages still to be printed */
    int64_t begin_ms, end_ms; /* 0: not given */
    int64_t queue, offset;    /* -1: not given */
    struct admin_out *json;
};

static void print_message(struct reading *r, const lmq_message *m)
{
    size_t size;
    const char *body = lmq_message_body(m, &size);

    if (r->a->json) {
        jw_object(&r->json->w);
        admin_put_cstr(&r->json->w, "msgId", lmq_message_id(m));
        admin_put_cstr(&r->json->w, "offsetMsgId", lmq_message_offset_id(m));
        admin_put_cstr(&r->json->w, "brokerName", lmq_message_broker(m));
        admin_put_i64(&r->json->w, "queueId", lmq_message_queue_id(m));
        admin_put_i64(&r->json->w, "queueOffset", lmq_message_queue_offset(m));
        admin_put_i64(&r->json->w, "storeTimestamp", lmq_message_store_ms(m));
        admin_put_cstr(&r->json->w, "tags", lmq_message_tag(m));
        admin_put_cstr(&r->json->w, "keys", lmq_message_keys(m));
        jw_key(&r->json->w, "body");
        jw_str(&r->json->w, (struct str){body, size});
        jw_end_object(&r->json->w);
        return;
    }
    printf("MSGID: %s MessageExt [brokerName=%s, queueId=%d, queueOffset=%" PRId64 ", storeTimestamp=%" PRId64
           ", tags=%s, keys=%s] BODY: %.*s\n",
           lmq_message_id(m), lmq_message_broker(m), lmq_message_queue_id(m), lmq_message_queue_offset(m),
           lmq_message_store_ms(m), lmq_message_tag(m), lmq_message_keys(m), (int)size, body);
}

static lmq_status find_range(const struct reading *r, const lmq_queue *q, int64_t *from, int64_t *to,
                             lmq_error *e)
{
    lmq_status s = lmq_puller_offset(r->puller, q, LMQ_OFFSET_MIN, from, e);

    if (s == LMQ_OK)
        s = lmq_puller_offset(r->puller, q, LMQ_OFFSET_MAX, to, e);
    if (s == LMQ_OK && r->begin_ms > 0)
        s = lmq_puller_offset_at(r->puller, q, r->begin_ms, from, e);
    if (s == LMQ_OK && r->end_ms > 0)
        s = lmq_puller_offset_at(r->puller, q, r->end_ms, to, e);
    if (r->offset > *from)
        *from = r->offset;
    return s;
}

static lmq_status read_queue(struct reading *r, const lmq_queue *q, lmq_error *e)
{
    int64_t at, end;
    lmq_status s = find_range(r, q, &at, &end, e);

    while (s == LMQ_OK && at < end && r->left > 0) {
        lmq_pulled *p;

        s = lmq_puller_pull(r->puller, q, "*", at, PULL_COUNT, 0, &p, e);
        if (s != LMQ_OK)
            break;
        for (size_t i = 0; i < lmq_pulled_count(p) && r->left > 0; i++) {
            const lmq_message *m = lmq_pulled_message(p, i);

            if (lmq_message_queue_offset(m) >= end)
                break;
            print_message(r, m);
            r->left--;
        }
        at = lmq_pulled_next_offset(p) > at ? lmq_pulled_next_offset(p) : end;
        lmq_pulled_free(p);
    }
    return s;
}

static int read_topic(struct reading *r, struct err *err)
{
    const char *broker = admin_value(r->a, 'b');
    lmq_queue *queues;
    size_t count;
    lmq_error e;
    lmq_status s = lmq_puller_queues(r->puller, admin_value(r->a, 't'), &queues, &count, &e);
    bool any = false;

    if (s != LMQ_OK)
        return failed(&e, err);
    for (size_t i = 0; s == LMQ_OK && i < count; i++) {
        if ((broker != NULL && strcmp(broker, queues[i].broker) != 0) ||
            (r->queue >= 0 && r->queue != queues[i].id))
            continue;
        any = true;
        s = read_queue(r, &queues[i], &e);
    }
    free(queues);
    if (s != LMQ_OK)
        return failed(&e, err);
    return any ? 0 : err_set(err, ERR_NOT_FOUND, "topic %s has no such queue", admin_value(r->a, 't'));
}

static int read_wishes(struct reading *r, struct err *err)
{
    struct admin *a = r->a;
    int rc = admin_number(a, 'c', COUNT_DEFAULT, 1, INT64_MAX, &r->left, err);

    rc = rc != 0 ? rc : admin_number(a, 'i', -1, 0, INT32_MAX, &r->queue, err);
    rc = rc != 0 ? rc : admin_number(a, 'o', -1, 0, INT64_MAX, &r->offset, err);
    if (rc == 0 && admin_has(a, 'i') && !admin_has(a, 'b'))
        return err_set(err, ERR_INVALID, "-i (queueId) wants -b (brokerName)");
    if (rc == 0 && admin_has(a, 'o') && !admin_has(a, 'i'))
        return err_set(err, ERR_INVALID, "-o (offset) wants -i (queueId)");
    if (rc == 0 && admin_has(a, 's') && (r->begin_ms = parse_time(admin_value(a, 's'))) < 0)
        rc = err_set(err, ERR_INVALID, "-s %s is no time", admin_value(a, 's'));
    if (rc == 0 && admin_has(a, 'e') && (r->end_ms = parse_time(admin_value(a, 'e'))) < 0)
        rc = err_set(err, ERR_INVALID, "-e %s is no time", admin_value(a, 'e'));
    return rc;
}

int verb_consume_message(struct admin *a, struct err *err)
{
    struct admin_out json;
    struct reading r = {.a = a, .json = &json};
    lmq_client *client = NULL;
    lmq_error e;
    int rc = read_wishes(&r, err);

    if (rc == 0)
        rc = start_client(a, &client, err);
    if (rc != 0)
        return rc;
    admin_out_begin(&json);
    if (a->json)
        jw_array(&json.w);
    if (lmq_puller_new(client, admin_has(a, 'g') ? admin_value(a, 'g') : TOOLS_GROUP, &r.puller, &e) !=
        LMQ_OK)
        rc = failed(&e, err);
    if (rc == 0)
        rc = read_topic(&r, err);
    if (a->json) {
        jw_end_array(&json.w);
        admin_out_print(&json);
    }
    lmq_puller_free(r.puller);
    lmq_client_free(client);
    return rc;
}
