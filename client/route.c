/* route.c - see route.h. */
#include "client/route.h"

#include <stdlib.h>
#include <string.h>

#define ROUTE_NODES_MAX 100000u

static int compare_replicas(const void *a, const void *b)
{
    int64_t x = ((const struct route_replica *)a)->id, y = ((const struct route_replica *)b)->id;

    return x < y ? -1 : x > y;
}

static int compare_brokers(const void *a, const void *b)
{
    return strcmp(((const struct route_broker *)a)->name, ((const struct route_broker *)b)->name);
}

static void take_replicas(const struct json *addresses, struct route_broker *b)
{
    for (const struct json *a = addresses != NULL ? addresses->first : NULL; a != NULL; a = a->next) {
        struct route_replica *r = &b->replicas[b->replica_count];

        if (b->replica_count == ROUTE_REPLICAS_MAX)
            break;
        if (str_to_i64(a->key, &r->id) && json_str(a).len > 0 &&
            str_copy(json_str(a), r->address, sizeof(r->address)))
            b->replica_count++;
    }
    qsort(b->replicas, b->replica_count, sizeof(b->replicas[0]), compare_replicas);
}

static uint32_t queue_number(const struct json *q, const char *key)
{
    int64_t n = json_get_i64(q, key, 0);

    return n < 0 ? 0 : n > ROUTE_QUEUES_MAX ? ROUTE_QUEUES_MAX : (uint32_t)n;
}

static void take_queues(const struct json *queue_datas, struct route *r)
{
    for (const struct json *q = queue_datas != NULL ? queue_datas->first : NULL; q != NULL; q = q->next) {
        struct str name = json_get_str(q, "brokerName");

        for (uint32_t i = 0; i < r->broker_count; i++) {
            struct route_broker *b = &r->brokers[i];

            if (!str_is(name, b->name))
                continue;
            b->read_queues = queue_number(q, "readQueueNums");
            b->write_queues = queue_number(q, "writeQueueNums");
            b->perm = (uint32_t)json_get_i64(q, "perm", 0) & 7u;
        }
    }
}

int route_parse(struct str body, struct route **out, struct err *err)
{
    struct json_doc *doc;
    const struct json *brokers;
    struct route *r;
    uint32_t count;
    int rc = json_parse(body, ROUTE_NODES_MAX, &doc, err);

    if (rc != 0)
        return rc;
    brokers = json_get(json_root(doc), "brokerDatas");
    count = json_count(brokers);
    if (count > ROUTE_BROKERS_MAX) {
        json_free(doc);
        return err_set(err, ERR_TOO_LARGE, "a route of %u brokers, limit %u", count, ROUTE_BROKERS_MAX);
    }
    r = calloc(1, sizeof(*r) + count * sizeof(r->brokers[0]));
    ENSURE(r != NULL);
    for (const struct json *b = brokers != NULL ? brokers->first : NULL; b != NULL; b = b->next) {
        struct route_broker *at = &r->brokers[r->broker_count];

        memset(at, 0, sizeof(*at));
        if (!str_copy(json_get_str(b, "brokerName"), at->name, sizeof(at->name)) || at->name[0] == '\0')
            continue;
        (void)str_copy(json_get_str(b, "cluster"), at->cluster, sizeof(at->cluster));
        take_replicas(json_get(b, "brokerAddrs"), at);
        r->broker_count += at->replica_count > 0;
    }
    qsort(r->brokers, r->broker_count, sizeof(r->brokers[0]), compare_brokers);
    take_queues(json_get(json_root(doc), "queueDatas"), r);
    json_free(doc);
    *out = r;
    return ERR_OK;
}

struct route *route_join(struct route *a, struct route *b)
{
    struct route *r;

    if (a == NULL)
        return b;
    r = calloc(1, sizeof(*r) + (a->broker_count + b->broker_count) * sizeof(r->brokers[0]));
    ENSURE(r != NULL);
    memcpy(r->brokers, a->brokers, a->broker_count * sizeof(r->brokers[0]));
    r->broker_count = a->broker_count;
    for (uint32_t i = 0; i < b->broker_count && r->broker_count < ROUTE_BROKERS_MAX; i++)
        if (route_find(a, b->brokers[i].name) == NULL)
            r->brokers[r->broker_count++] = b->brokers[i];
    qsort(r->brokers, r->broker_count, sizeof(r->brokers[0]), compare_brokers);
    free(a);
    free(b);
    return r;
}

bool route_same(const struct route *a, const struct route *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    /* Comparable as bytes: unused parts are zero in both. */
    return a->broker_count == b->broker_count &&
           memcmp(a->brokers, b->brokers, a->broker_count * sizeof(a->brokers[0])) == 0;
}

const struct route_broker *route_find(const struct route *r, const char *broker_name)
{
    for (uint32_t i = 0; r != NULL && i < r->broker_count; i++)
        if (strcmp(r->brokers[i].name, broker_name) == 0)
            return &r->brokers[i];
    return NULL;
}

int route_leader(const struct route_broker *b)
{
    return b->replica_count > 0 && b->replicas[0].id == 0 ? 0 : -1;
}

/* ---- queues ---- */

static uint32_t writable(const struct route_broker *b)
{
    return (b->perm & PERM_WRITE) ? b->write_queues : 0;
}

static uint32_t readable(const struct route_broker *b)
{
    return (b->perm & PERM_READ) ? b->read_queues : 0;
}

static uint32_t total(const struct route *r, uint32_t (*number)(const struct route_broker *))
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->broker_count; i++)
        n += number(&r->brokers[i]);
    return n;
}

static struct queue_at nth(const struct route *r, uint32_t at,
                           uint32_t (*number)(const struct route_broker *))
{
    for (uint32_t i = 0; i < r->broker_count; i++) {
        uint32_t n = number(&r->brokers[i]);

        if (at < n)
            return (struct queue_at){&r->brokers[i], at};
        at -= n;
    }
    ENSURE(!"queue beyond the route's count");
    return (struct queue_at){NULL, 0};
}

uint32_t route_write_queues(const struct route *r)
{
    return total(r, writable);
}

uint32_t route_read_queues(const struct route *r)
{
    return total(r, readable);
}

struct queue_at route_write_queue(const struct route *r, uint32_t at)
{
    return nth(r, at, writable);
}

struct queue_at route_read_queue(const struct route *r, uint32_t at)
{
    return nth(r, at, readable);
}

void route_allocate(uint32_t queues, uint32_t members, uint32_t member, uint32_t *first, uint32_t *count)
{
    uint32_t share, rest;

    *first = *count = 0;
    if (members == 0 || member >= members)
        return;
    share = queues / members;
    rest = queues % members;
    *count = share + (member < rest);
    *first = member * share + (member < rest ? member : rest);
}
