/*
 * mqperf.c - measure and check a cluster from one process: options, and the order of the jobs.
 */
#include <stdlib.h>
#include <string.h>

#include "client/wire.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/rng.h"
#include "tools/mqperf.h"

#define EXIT_USAGE 2
#define EXIT_WRONG 1
#define TURN_MS    20u
#define DRAIN_MS   120000u

static const char usage_text[] =
    "mqperf MODE [options]: measure and check a cluster\n"
    "\n"
    "modes\n"
    "  produce   send, print rate, latency and the longest time without an acknowledgement\n"
    "  consume   read all queues, print rate and the time from send to receipt\n"
    "  verify    read all queues and hold them against the acknowledgements in --acks FILE\n"
    "  run       produce and consume at once, then verify\n"
    "  subscribe consume as a member of group -g, through the library\n"
    "\n"
    "options\n"
    "  -n, --namesrv ADDR;ADDR   nameservers (else $NAMESRV_ADDR)\n"
    "      --brokers ADDR,ADDR   ask these brokers instead: replicas of one or more groups\n"
    "  -t, --topic NAME          topic, made with -q queues when it does not exist (mqperf)\n"
    "  -q, --queues N            queues per broker of a new topic (8)\n"
    "  -s, --size BYTES          message body (1024; at least 40)\n"
    "  -c, --connections N       connections, each a producer (1)\n"
    "  -w, --window N            sends in flight per connection; 1 is a closed loop (1)\n"
    "  -b, --batch N             messages per request (1)\n"
    "  -d, --duration SECONDS    how long (10)\n"
    "  -m, --messages N          how many, instead of how long\n"
    "      --from-end            consume only what comes from now on\n"
    "  -g, --group NAME          consumer group of subscribe (mqperf_subscriber)\n"
    "      --orderly             subscribe: one message of a queue at a time\n"
    "      --by-key              each producer keeps to one queue\n"
    "      --timeout MS          of one send, with all its attempts (10000)\n"
    "      --gap-ms MS           list every gap between acknowledgements from MS on (0: none)\n"
    "      --acks FILE           write down what was acknowledged\n"
    "      --json                figures as JSON\n"
    "      --quiet               no line per second\n";

enum option_kind { OPTION_TEXT, OPTION_NUMBER, OPTION_COUNT, OPTION_FLAG };
struct option_row {
    const char *shorter, *longer;
    enum option_kind kind;
    size_t at;
    uint64_t min, max;
};
#define AT(field) offsetof(struct perf_options, field)
static const struct option_row option_rows[] = {
    {"-n", "--namesrv", OPTION_TEXT, AT(namesrv), 0, 0},
    {NULL, "--brokers", OPTION_TEXT, AT(brokers), 0, 0},
    {"-t", "--topic", OPTION_TEXT, AT(topic), 0, 0},
    {"-q", "--queues", OPTION_NUMBER, AT(queues), 1, 65536},
    {"-s", "--size", OPTION_NUMBER, AT(size_bytes), PAYLOAD_HEAD_BYTES, BODY_MAX},
    {"-c", "--connections", OPTION_NUMBER, AT(connections), 1, PERF_LANES_MAX},
    {"-w", "--window", OPTION_NUMBER, AT(window), 1, PERF_WINDOW_MAX},
    {"-b", "--batch", OPTION_NUMBER, AT(batch), 1, BATCH_MAX},
    {"-d", "--duration", OPTION_NUMBER, AT(duration_s), 1, 1000000},
    {"-m", "--messages", OPTION_COUNT, AT(messages), 1, UINT64_MAX / 2},
    {NULL, "--by-key", OPTION_FLAG, AT(by_key), 0, 0},
    {"-g", "--group", OPTION_TEXT, AT(group), 0, 0},
    {NULL, "--orderly", OPTION_FLAG, AT(orderly), 0, 0},
    {NULL, "--from-end", OPTION_FLAG, AT(from_end), 0, 0},
    {NULL, "--timeout", OPTION_NUMBER, AT(timeout_ms), 1, 3600000},
    {NULL, "--gap-ms", OPTION_NUMBER, AT(gap_ms), 0, 3600000},
    {NULL, "--acks", OPTION_TEXT, AT(acks_file), 0, 0},
    {NULL, "--json", OPTION_FLAG, AT(json), 0, 0},
    {NULL, "--quiet", OPTION_FLAG, AT(quiet), 0, 0},
};
#define OPTIONS (sizeof(option_rows) / sizeof(option_rows[0]))

static int set_option(struct perf_options *o, const struct option_row *row, const char *value,
                      struct err *err)
{
    char *at = (char *)o + row->at;
    int64_t n;

    if (row->kind == OPTION_FLAG) {
        *(bool *)at = true;
        return 0;
    }
    if (row->kind == OPTION_TEXT) {
        *(const char **)(void *)at = value;
        return 0;
    }
    if (!str_to_i64(str_of(value), &n) || n < 0 || (uint64_t)n < row->min || (uint64_t)n > row->max)
        return err_set(err, ERR_INVALID, "%s %s: a number from %llu to %llu is wanted", row->longer, value,
                       (unsigned long long)row->min, (unsigned long long)row->max);
    if (row->kind == OPTION_NUMBER)
        *(uint32_t *)(void *)at = (uint32_t)n;
    else
        *(uint64_t *)(void *)at = (uint64_t)n;
    return 0;
}

static const struct option_row *find_option(const char *name)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strcmp(option_rows[i].longer, name) == 0 ||
            (option_rows[i].shorter != NULL && strcmp(option_rows[i].shorter, name) == 0))
            return &option_rows[i];
    return NULL;
}

static int read_options(int argc, char **argv, struct perf_options *o, struct err *err)
{
    int rc = 0;

    o->mode = argv[1];
    for (int i = 2; i < argc && rc == 0; i++) {
        const struct option_row *row = find_option(argv[i]);

        if (row == NULL)
            return err_set(err, ERR_INVALID, "no option \"%s\"; mqperf -h lists them", argv[i]);
        if (row->kind != OPTION_FLAG && i + 1 == argc)
            return err_set(err, ERR_INVALID, "%s wants a value", argv[i]);
        rc = set_option(o, row, row->kind == OPTION_FLAG ? NULL : argv[++i], err);
    }
    if (rc != 0)
        return rc;
    if (o->namesrv == NULL)
        o->namesrv = getenv("NAMESRV_ADDR");
    if (o->namesrv == NULL && o->brokers == NULL)
        return err_set(err, ERR_INVALID,
                       "no nameserver: give -n host:port or --brokers, or set NAMESRV_ADDR");
    if ((uint64_t)o->batch * (o->size_bytes + 128u) > BODY_MAX)
        return err_set(err, ERR_INVALID, "a batch of %u messages of %u bytes is over %u bytes", o->batch,
                       o->size_bytes, BODY_MAX);
    return 0;
}

static struct figures produced, consumed;

/* What was acknowledged is held against what can be read now. */
static int run_check(struct place *p, const struct perf_options *o, struct acks *acks, struct seen *seen,
                     const uint64_t *from, struct err *err)
{
    struct verdict v;
    bool good = verify(acks, seen, p, from, &v);

    verdict_print(&v, o, stdout);
    return good ? 0 : err_set(err, ERR_DAMAGED, "%s", v.first);
}

/* Read on until every queue is at its end as it is now. */
static int drain(struct loop *loop, struct place *p, const struct perf_options *o, struct consumer *c,
                 struct err *err)
{
    uint64_t end_ms = clock_mono_ms() + DRAIN_MS;
    uint64_t *ends;
    int rc = place_offsets(p, o->topic, false, &ends, err);

    if (rc != 0)
        return rc;
    consumer_until(c, ends);
    free(ends);
    while (!consumer_turn(c)) {
        if (clock_mono_ms() > end_ms)
            return err_set(err, ERR_TIMEOUT, "queues could not be read to their ends within %u ms: %s",
                           DRAIN_MS, c->f->first_failure);
        loop_turn(loop, TURN_MS);
    }
    return 0;
}

static int run_consume(struct loop *loop, const struct perf_options *o, struct err *err)
{
    struct consumer c;
    struct place place;
    uint64_t *from = NULL, stop_us;
    int rc = place_find(loop, o, true, &place, err);

    if (rc != 0)
        return rc;
    rc = place_offsets(&place, o->topic, !o->from_end, &from, err);
    if (rc == 0) {
        consumer_start(&c, &place, o, &consumed, NULL, 0, from);
        stop_us = consumed.begin_us + o->duration_s * 1000000ull;
        while (o->messages > 0 ? consumed.messages < o->messages : clock_mono_us() < stop_us) {
            loop_turn(loop, TURN_MS);
            (void)consumer_turn(&c);
        }
        consumer_release(&c);
        figures_print(&consumed, o, stdout);
    }
    free(from);
    place_release(&place);
    return rc;
}

static int run_verify(struct loop *loop, const struct perf_options *o, struct err *err)
{
    static struct acks acks;
    struct seen seen = {0};
    struct consumer c;
    struct place place;
    uint64_t *from = NULL;
    int rc = place_find(loop, o, false, &place, err);

    if (rc != 0)
        return rc;
    if (o->acks_file == NULL)
        rc = err_set(err, ERR_INVALID, "verify wants --acks FILE");
    if (rc == 0)
        rc = acks_load(&acks, &place, o->acks_file, err);
    if (rc == 0)
        rc = place_offsets(&place, o->topic, true, &from, err);
    if (rc == 0) {
        consumer_start(&c, &place, o, &consumed, &seen, acks.run, from);
        rc = drain(loop, &place, o, &c, err);
        consumer_release(&c);
    }
    if (rc == 0)
        rc = run_check(&place, o, &acks, &seen, from, err);
    free(from);
    acks_release(&acks);
    seen_release(&seen);
    place_release(&place);
    return rc;
}

/* Produce and consume at once, then check. */
static int run_all(struct loop *loop, const struct perf_options *o, struct err *err)
{
    static struct acks acks;
    struct seen seen = {0};
    struct consumer c;
    struct place place;
    uint64_t *from = NULL;
    int rc = place_find(loop, o, true, &place, err);

    if (rc != 0)
        return rc;
    acks.run = rng_entropy();
    rc = place_offsets(&place, o->topic, false, &from, err);
    if (rc == 0) {
        consumer_start(&c, &place, o, &consumed, &seen, acks.run, from);
        (void)!produce_run(&place, o, &acks, &c, &produced);
        rc = drain(loop, &place, o, &c, err);
        consumer_release(&c);
        figures_print(&produced, o, stdout);
        figures_print(&consumed, o, stdout);
    }
    if (rc == 0 && o->acks_file != NULL)
        rc = acks_save(&acks, &place, o->acks_file, err);
    if (rc == 0)
        rc = run_check(&place, o, &acks, &seen, from, err);
    free(from);
    acks_release(&acks);
    seen_release(&seen);
    place_release(&place);
    return rc;
}

static int run_produce(struct loop *loop, const struct perf_options *o, struct err *err)
{
    static struct acks acks;
    struct place place;
    int rc = place_find(loop, o, true, &place, err);

    if (rc != 0)
        return rc;
    acks.run = rng_entropy();
    if (produce_run(&place, o, o->acks_file != NULL ? &acks : NULL, NULL, &produced) != 0)
        rc = err_set(err, ERR_TIMEOUT, "%llu sends failed", (unsigned long long)produced.failed);
    figures_print(&produced, o, stdout);
    if (o->acks_file != NULL) {
        struct err save_err;

        if (acks_save(&acks, &place, o->acks_file, &save_err) != 0)
            rc = err_set(err, save_err.code, "%s", save_err.text);
    }
    acks_release(&acks);
    place_release(&place);
    return rc;
}

static int run_subscribe(struct loop *loop, const struct perf_options *o, struct err *err)
{
    return subscribe_run(loop, o, &consumed, err);
}

struct mode_row {
    const char *name;
    int (*run)(struct loop *loop, const struct perf_options *o, struct err *err);
};
static const struct mode_row mode_rows[] = {
    {"produce", run_produce}, {"consume", run_consume},     {"verify", run_verify},
    {"run", run_all},         {"subscribe", run_subscribe},
};

int main(int argc, char **argv)
{
    struct perf_options o = {.topic = "mqperf",
                             .group = "mqperf_subscriber",
                             .size_bytes = 1024,
                             .connections = 1,
                             .window = 1,
                             .duration_s = 10,
                             .queues = 8,
                             .timeout_ms = 10000,
                             .batch = 1};
    const struct mode_row *mode = NULL;
    struct loop *loop;
    struct err err;
    int rc;

    if (argc < 2 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        fputs(usage_text, argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : 0;
    }
    for (size_t i = 0; i < sizeof(mode_rows) / sizeof(mode_rows[0]); i++)
        if (strcmp(mode_rows[i].name, argv[1]) == 0)
            mode = &mode_rows[i];
    if (mode == NULL) {
        fprintf(stderr, "mqperf: no mode \"%s\"; mqperf -h lists them\n", argv[1]);
        return EXIT_USAGE;
    }
    if (read_options(argc, argv, &o, &err) != 0) {
        fprintf(stderr, "mqperf: %s\n", err.text);
        return EXIT_USAGE;
    }
    log_set_level(LOG_LEVEL_ERROR);
    loop = loop_new();
    rc = mode->run(loop, &o, &err);
    loop_free(loop);
    if (rc != 0)
        fprintf(stderr, "mqperf: %s\n", err.text);
    return rc == 0 ? 0 : EXIT_WRONG;
}
