/*
 * mqperf_place.c - the topic's groups and queues, found once at the start; leaders, found again after
 * trouble.
 *
 * With -n the nameservers tell. With --brokers each given broker is asked for itself: those with one name
 * are the replicas of one group.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/codes.h"
#include "tools/mqperf.h"

#define TOPIC_WAIT_MS 5000u /* for a new topic to show up in the route */
#define TOPIC_POLL_MS 20u

struct found {
    struct place *place;
    uint32_t group;
};

/* ---- groups ---- */

static struct place_group *group_for(struct place *p, const char *name)
{
    for (uint32_t i = 0; i < p->group_count; i++)
        if (strcmp(p->groups[i].name, name) == 0)
            return &p->groups[i];
    if (p->group_count == PERF_GROUPS_MAX)
        return NULL;
    p->groups[p->group_count].leader = -1;
    snprintf(p->groups[p->group_count].name, sizeof(p->groups[0].name), "%s", name);
    return &p->groups[p->group_count++];
}

static void add_replica(struct place_group *g, const char *address, bool leads)
{
    uint32_t i = 0;

    while (i < g->replica_count && strcmp(g->replicas[i], address) != 0)
        i++;
    if (i == LINE_REPLICAS_MAX)
        return;
    snprintf(g->replicas[i], sizeof(g->replicas[0]), "%s", address);
    if (i == g->replica_count)
        g->replica_count++;
    if (leads)
        g->leader = (int)i;
}

static void add_queues(struct place *p, uint32_t group, const struct route_broker *b)
{
    uint32_t n = b->write_queues < b->read_queues ? b->write_queues : b->read_queues;

    for (uint32_t i = 0; i < p->queue_count; i++)
        if (p->queues[i].group == group)
            return;
    p->queues = realloc(p->queues, (p->queue_count + n + 1) * sizeof(p->queues[0]));
    ENSURE(p->queues != NULL);
    for (uint32_t i = 0; i < n; i++)
        p->queues[p->queue_count++] = (struct place_queue){group, i};
}

/* With a nameserver's word id 0 is the leader; a broker calls itself 0 whatever it is. */
static void take_route(struct place *p, const struct route *r, bool named_leaders, bool with_queues)
{
    for (uint32_t i = 0; i < r->broker_count; i++) {
        const struct route_broker *b = &r->brokers[i];
        struct place_group *g = group_for(p, b->name);

        if (g == NULL)
            continue;
        for (uint32_t j = 0; j < b->replica_count; j++)
            add_replica(g, b->replicas[j].address, named_leaders && b->replicas[j].id == 0);
        if (with_queues)
            add_queues(p, (uint32_t)(g - p->groups), b);
    }
}

/* ---- routes ---- */

static int route_from_brokers(struct place *p, const char *topic, bool with_queues, struct err *err)
{
    int rc = ERR_NO_ROUTE, last;
    uint32_t answers = 0;

    for (uint32_t i = 0; i < p->sources.count; i++) {
        struct addresses one = {.count = 1};
        struct route *r;

        memcpy(one.at[0], p->sources.at[i], sizeof(one.at[0]));
        last = ask_route(p->asker, &one, topic, &r, err);
        if (last != 0) {
            rc = last;
            continue;
        }
        take_route(p, r, false, with_queues);
        free(r);
        answers++;
    }
    return answers > 0 ? 0 : rc;
}

static int find_route(struct place *p, const struct perf_options *o, const char *topic, bool with_queues,
                      struct err *err)
{
    struct route *r;
    int rc;

    if (o->brokers != NULL)
        return route_from_brokers(p, topic, with_queues, err);
    rc = ask_route(p->asker, &p->sources, topic, &r, err);
    if (rc != 0)
        return rc;
    take_route(p, r, true, with_queues);
    free(r);
    return 0;
}

static int create_at(struct place *p, const struct place_group *g, const struct perf_options *o,
                     struct err *err)
{
    int rc = err_set(err, ERR_NOT_FOUND, "broker %s has no replica", g->name);

    for (uint32_t i = 0; i < g->replica_count && rc != 0; i++) {
        struct remoting_out q;
        struct answer a;

        remoting_request(&q, REMOTING_JSON, UPDATE_AND_CREATE_TOPIC, 0, false);
        remoting_put_str(&q, "topic", str_of(o->topic));
        remoting_put_str(&q, "defaultTopic", STR("TBW102"));
        remoting_put_i64(&q, "readQueueNums", o->queues);
        remoting_put_i64(&q, "writeQueueNums", o->queues);
        remoting_put_i64(&q, "perm", 6);
        remoting_put_str(&q, "topicFilterType", STR("SINGLE_TAG"));
        remoting_put_i64(&q, "topicSysFlag", 0);
        remoting_put_bool(&q, "order", false);
        rc = ask_ok(p->asker, g->replicas[i], &q, NULL, 0, &a, err);
        if (rc == 0)
            answer_release(&a);
    }
    return rc;
}

/* Every group that has the template topic gets the topic; then wait until the route shows it. */
static int create_topic(struct place *p, const struct perf_options *o, struct err *err)
{
    uint64_t end_ms = clock_mono_ms() + TOPIC_WAIT_MS;
    int rc = find_route(p, o, "TBW102", false, err);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < p->group_count && rc == 0; i++)
        rc = create_at(p, &p->groups[i], o, err);
    if (rc != 0)
        return rc;
    do {
        rc = find_route(p, o, o->topic, true, err);
        if (rc == 0 && p->queue_count > 0)
            return 0;
        loop_turn(p->loop, TOPIC_POLL_MS);
    } while (clock_mono_ms() < end_ms);
    return err_set(err, ERR_NO_ROUTE, "topic %s was made, but no route shows it after %u ms", o->topic,
                   TOPIC_WAIT_MS);
}

/* ---- leaders ---- */

static void on_found(void *arg, const char *address)
{
    struct found *f = arg;
    struct place *p = f->place;

    add_replica(&p->groups[f->group], address, true);
    if (p->on_leader != NULL)
        p->on_leader(p->arg, f->group, address);
}

static struct found founds[PERF_GROUPS_MAX];

static void start_scouts(struct place *p)
{
    for (uint32_t i = 0; i < p->group_count; i++) {
        struct place_group *g = &p->groups[i];
        const char *addresses[LINE_REPLICAS_MAX];

        for (uint32_t j = 0; j < g->replica_count; j++)
            addresses[j] = g->replicas[j];
        founds[i] = (struct found){p, i};
        g->scout = scout_new(p->loop, on_found, &founds[i]);
        scout_set_replicas(g->scout, addresses, g->replica_count);
        scout_search(g->scout);
    }
}

static bool all_led(const struct place *p)
{
    for (uint32_t i = 0; i < p->group_count; i++)
        if (p->groups[i].leader < 0)
            return false;
    return true;
}

/* ---- the door ---- */

int place_find(struct loop *loop, const struct perf_options *o, bool create, struct place *p, struct err *err)
{
    uint64_t end_ms = clock_mono_ms() + 1000;
    int rc;

    memset(p, 0, sizeof(*p));
    p->loop = loop;
    p->asker = asker_new(loop);
    rc = addresses_parse(o->brokers != NULL ? o->brokers : o->namesrv, &p->sources, err);
    if (rc == 0)
        rc = find_route(p, o, o->topic, true, err);
    if (rc == ERR_NO_ROUTE && create)
        rc = create_topic(p, o, err);
    if (rc == 0 && p->queue_count == 0)
        rc = err_set(err, ERR_NO_ROUTE, "topic %s has no queue that can be written and read", o->topic);
    if (rc != 0) {
        place_release(p);
        return rc;
    }
    start_scouts(p);
    /* Without leaders work begins at any replica. */
    while (!all_led(p) && clock_mono_ms() < end_ms)
        loop_turn(loop, TOPIC_POLL_MS);
    return 0;
}

static int ask_offset(struct place *p, const struct place_queue *q, const char *topic, bool min,
                      uint64_t *out, struct err *err)
{
    const struct place_group *g = &p->groups[q->group];
    int rc = err_set(err, ERR_NOT_FOUND, "broker %s has no replica", g->name);

    for (uint32_t i = 0; i < g->replica_count && rc != 0; i++) {
        uint32_t at = (i + (g->leader > 0 ? (uint32_t)g->leader : 0)) % g->replica_count;
        struct remoting_out m;
        struct answer a;

        remoting_request(&m, REMOTING_JSON, min ? GET_MIN_OFFSET : GET_MAX_OFFSET, 0, false);
        remoting_put_str(&m, "topic", str_of(topic));
        remoting_put_i64(&m, "queueId", q->id);
        rc = ask_ok(p->asker, g->replicas[at], &m, NULL, 0, &a, err);
        if (rc != 0)
            continue;
        *out = (uint64_t)answer_i64(&a, "offset", 0);
        answer_release(&a);
    }
    return rc;
}

int place_offsets(struct place *p, const char *topic, bool min, uint64_t **out, struct err *err)
{
    uint64_t *offsets = calloc(p->queue_count, sizeof(*offsets));
    int rc = 0;

    ENSURE(offsets != NULL);
    for (uint32_t i = 0; i < p->queue_count && rc == 0; i++)
        rc = ask_offset(p, &p->queues[i], topic, min, &offsets[i], err);
    if (rc != 0) {
        free(offsets);
        return rc;
    }
    *out = offsets;
    return 0;
}

void place_release(struct place *p)
{
    for (uint32_t i = 0; i < p->group_count; i++)
        scout_free(p->groups[i].scout);
    asker_free(p->asker);
    free(p->queues);
    memset(p, 0, sizeof(*p));
}

void place_trouble(struct place *p, uint32_t group)
{
    scout_search(p->groups[group].scout);
}

struct line *place_line(struct place *p, uint32_t group, const struct line_ops *ops, void *user)
{
    struct line *l = line_new(p->loop, 1000, ops, user);
    const struct place_group *g = &p->groups[group];
    const char *addresses[LINE_REPLICAS_MAX];

    for (uint32_t i = 0; i < g->replica_count; i++)
        addresses[i] = g->replicas[i];
    line_set_replicas(l, addresses, g->replica_count, g->leader);
    return l;
}
