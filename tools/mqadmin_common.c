/* mqadmin_common.c - option values, the cluster as nameservers see it, and printing. */
#include <stdlib.h>
#include <time.h>

#include "common/codes.h"
#include "tools/mqadmin.h"

const char *admin_value(const struct admin *a, char letter)
{
    for (int i = 0; a->options[i].letter != 0; i++)
        if (a->options[i].letter == letter)
            return a->values[i];
    return NULL;
}

bool admin_has(const struct admin *a, char letter)
{
    return admin_value(a, letter) != NULL;
}

int admin_number(const struct admin *a, char letter, int64_t def, int64_t min, int64_t max, int64_t *out,
                 struct err *err)
{
    const char *text = admin_value(a, letter);

    *out = def;
    if (text == NULL)
        return 0;
    if (!str_to_i64(str_of(text), out) || *out < min || *out > max)
        return err_set(err, ERR_INVALID, "-%c %s: a number from %lld to %lld is wanted", letter, text,
                       (long long)min, (long long)max);
    return 0;
}

/* ---- asking ---- */

int admin_ask_namesrv(struct admin *a, struct remoting_out *out, struct answer *answer, struct err *err)
{
    int rc = err_set(err, ERR_INVALID, "no nameserver: give -n host:port or set NAMESRV_ADDR");

    for (uint32_t i = 0; i < a->namesrv.count; i++) {
        rc = ask_ok(a->asker, a->namesrv.at[i], out, NULL, 0, answer, err);
        if (rc == 0)
            return 0;
    }
    return rc;
}

int admin_ask_group(struct admin *a, const struct route_replica *replicas, uint32_t count,
                    struct remoting_out *out, const void *body, size_t body_len, struct answer *answer,
                    struct err *err)
{
    int rc = err_set(err, ERR_NOT_FOUND, "the broker has no address");

    for (uint32_t i = 0; i < count; i++) {
        rc = ask(a->asker, replicas[i].address, out, body, body_len, answer, err);
        if (rc != 0)
            continue;
        if (answer->code == RC_SUCCESS)
            return 0;
        rc = err_set(err, answer->code == RC_TOPIC_NOT_EXIST ? ERR_NO_ROUTE : ERR_IO, "%s answered %d: %.*s",
                     replicas[i].address, answer->code, (int)answer->remark.len,
                     answer->remark.len > 0 ? answer->remark.p : "");
        answer_release(answer);
        return rc;
    }
    return rc;
}

int admin_json(struct answer *answer, struct json_doc **out, struct err *err)
{
    int rc = json_parse(answer_body(answer), ADMIN_NODES_MAX, out, err);

    answer_release(answer);
    return rc;
}

/* ---- the cluster ---- */

static int compare_replicas(const void *a, const void *b)
{
    int64_t x = ((const struct route_replica *)a)->id, y = ((const struct route_replica *)b)->id;

    return x < y ? -1 : x > y;
}

static int compare_brokers(const void *a, const void *b)
{
    const struct admin_broker *x = a, *y = b;
    int rc = strcmp(x->cluster, y->cluster);

    return rc != 0 ? rc : strcmp(x->name, y->name);
}

static void take_broker(const struct json *data, struct admin_broker *b)
{
    const struct json *addresses = json_get(data, "brokerAddrs");

    memset(b, 0, sizeof(*b));
    (void)str_copy(json_get_str(data, "cluster"), b->cluster, sizeof(b->cluster));
    (void)str_copy(json_get_str(data, "brokerName"), b->name, sizeof(b->name));
    for (const struct json *r = addresses != NULL ? addresses->first : NULL; r != NULL; r = r->next) {
        struct route_replica *to = &b->replicas[b->replica_count];

        if (b->replica_count < ROUTE_REPLICAS_MAX && str_to_i64(r->key, &to->id) &&
            str_copy(json_str(r), to->address, sizeof(to->address)))
            b->replica_count++;
    }
    qsort(b->replicas, b->replica_count, sizeof(b->replicas[0]), compare_replicas);
}

int admin_cluster_load(struct admin *a, struct admin_cluster **out, struct err *err)
{
    struct remoting_out q;
    struct answer r;
    struct json_doc *doc;
    const struct json *table;
    struct admin_cluster *c;
    int rc;

    remoting_request(&q, REMOTING_JSON, GET_BROKER_CLUSTER_INFO, 0, false);
    rc = admin_ask_namesrv(a, &q, &r, err);
    if (rc == 0)
        rc = admin_json(&r, &doc, err);
    if (rc != 0)
        return rc;
    c = calloc(1, sizeof(*c));
    ENSURE(c != NULL);
    table = json_get(json_root(doc), "brokerAddrTable");
    for (const struct json *b = table != NULL ? table->first : NULL;
         b != NULL && c->count < ADMIN_BROKERS_MAX; b = b->next)
        take_broker(b, &c->brokers[c->count++]);
    qsort(c->brokers, c->count, sizeof(c->brokers[0]), compare_brokers);
    json_free(doc);
    *out = c;
    return 0;
}

/* ---- printing ---- */

void admin_out_begin(struct admin_out *o)
{
    o->text = bld_of(ADMIN_BODY_MAX);
    o->w = jw_of(&o->text);
}

void admin_out_print(struct admin_out *o)
{
    struct buf *b = bld_take(&o->text);

    if (b != NULL)
        printf("%.*s\n", (int)b->len, (const char *)b->data);
    buf_unref(b);
}

const char *admin_time(int64_t wall_ms, char text[32])
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t n;

    text[0] = '\0';
    if (wall_ms <= 0)
        return text;
    localtime_r(&t, &tm);
    n = strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(text + n, 32 - n, ",%03d", (int)(wall_ms % 1000));
    return text;
}

void admin_put_cstr(struct jw *w, const char *key, const char *value)
{
    jw_key(w, key);
    jw_cstr(w, value);
}

void admin_put_i64(struct jw *w, const char *key, int64_t value)
{
    jw_key(w, key);
    jw_i64(w, value);
}
