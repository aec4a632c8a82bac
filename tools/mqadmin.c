/*
 * mqadmin.c - verbs, their options, and main. Verbs, options and columns are RocketMQ's where it has the
 * verb.
 */
#include "tools/mqadmin.h"

#include <stdlib.h>

#include "common/log.h"

#define EXIT_USAGE 2

static const struct admin_verb verbs[] = {
    {"clusterList",
     "List all brokers of all clusters",
     verb_cluster_list,
     true,
     {{'m', "moreStats", false, false, "totals of yesterday and today instead of rates"},
      {'i', "interval", true, false, "print again every so many seconds"},
      {'c', "clusterName", true, false, "this cluster only"}}},
    {"topicList",
     "List topics",
     verb_topic_list,
     true,
     {{'c', "clusterModel", false, false, "with their cluster and consumer groups"}}},
    {"topicRoute",
     "Show where a topic is",
     verb_topic_route,
     true,
     {{'t', "topic", true, true, "topic name"}, {'l', "list", false, false, "as a table"}}},
    {"topicStatus",
     "Show the offsets of a topic's queues",
     verb_topic_status,
     true,
     {{'t', "topic", true, true, "topic name"},
      {'c', "cluster", true, false, "brokers of this cluster only"}}},
    {"updateTopic",
     "Make or change a topic",
     verb_update_topic,
     false,
     {{'b', "brokerAddr", true, false, "at this broker"},
      {'c', "clusterName", true, false, "at all brokers of this cluster"},
      {'t', "topic", true, true, "topic name"},
      {'r', "readQueueNums", true, false, "queues to read (8)"},
      {'w', "writeQueueNums", true, false, "queues to write (8)"},
      {'p', "perm", true, false, "2 write, 4 read, 6 both (6)"},
      {'o', "order", true, false, "true: an order topic (false)"},
      {'u', "unit", true, false, "true: a unit topic (false)"},
      {'s', "hasUnitSub", true, false, "true: has unit subscriptions (false)"},
      {'a', "attributes", true, false, "+key=value,-key"}}},
    {"deleteTopic",
     "Delete a topic",
     verb_delete_topic,
     true,
     {{'t', "topic", true, true, "topic name"},
      {'c', "clusterName", true, true, "from all brokers of this cluster"}}},
    {"consumerProgress",
     "Show how far consumer groups are",
     verb_consumer_progress,
     true,
     {{'g', "groupName", true, false, "queues of this group"},
      {'t', "topicName", true, false, "with -g: this topic only"},
      {'s', "showClientIP", false, false, "with -g: who consumes a queue (NA where the group does not tell)"},
      {'c', "cluster", true, false, "brokers of this cluster only"}}},
    {"queryMsgById",
     "Show the message with an id that a broker gave",
     verb_query_msg_by_id,
     false,
     {{'i', "msgId", true, true, "offset message id; several with commas"},
      {'t', "topic", true, false, "topic name"},
      {'f', "bodyFormat", true, false, "print the body as text (UTF-8)"},
      {'c', "cluster", true, false, "cluster name"}}},
    {"sendMessage",
     "Send a message",
     verb_send_message,
     true,
     {{'t', "topic", true, true, "topic name"},
      {'p', "body", true, true, "body, UTF-8"},
      {'k', "key", true, false, "keys, separated by blanks"},
      {'c', "tags", true, false, "tag"},
      {'b', "broker", true, false, "broker name"},
      {'i', "qid", true, false, "with -b: queue"}}},
    {"consumeMessage",
     "Print messages",
     verb_consume_message,
     true,
     {{'t', "topic", true, true, "topic name"},
      {'b', "brokerName", true, false, "broker name"},
      {'i', "queueId", true, false, "with -b: queue"},
      {'o', "offset", true, false, "with -i: first offset"},
      {'g', "consumerGroup", true, false, "consumer group (TOOLS_CONSUMER)"},
      {'s', "beginTimestamp", true, false, "stored from here on, ms or yyyy-MM-dd#HH:mm:ss:SSS"},
      {'e', "endTimestamp", true, false, "stored before, ms or yyyy-MM-dd#HH:mm:ss:SSS"},
      {'c', "messageNumber", true, false, "at most so many (128)"}}},
    {"raftStatus",
     "Show every replica's role, term and indexes",
     verb_raft_status,
     false,
     {{'b', "brokerAddr", true, false, "this replica only"},
      {'c', "clusterName", true, false, "this cluster only"},
      {'g', "brokerName", true, false, "this group only"}}},
    {"transferLeader",
     "Let another replica lead",
     verb_transfer_leader,
     false,
     {{'b', "brokerAddr", true, false, "address of any replica of the group"},
      {'g', "brokerName", true, false, "name of the group, with -n"},
      {'t', "to", true, false, "n0, n1, ...: the new leader (whoever is furthest)"}}},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_verbs(FILE *to)
{
    fprintf(to, "usage: mqadmin <verb> [options]; mqadmin <verb> -h lists its options\n\n");
    for (size_t i = 0; i < VERBS; i++)
        fprintf(to, "   %-18s %s\n", verbs[i].name, verbs[i].meaning);
}

static void print_options(const struct admin_verb *v)
{
    printf("usage: mqadmin %s [options]: %s\n", v->name, v->meaning);
    for (const struct admin_option *o = v->options; o->letter != 0; o++)
        printf(" -%c,--%-18s %s%s\n", o->letter, o->name, o->meaning, o->required ? " (required)" : "");
    printf(" -n,--%-18s %s\n", "namesrvAddr", "nameservers, host:port;host:port (else $NAMESRV_ADDR)");
    printf(" -h,--%-18s %s\n    --%-18s %s\n", "help", "this", "json", "print JSON");
}

static const struct admin_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int find_option(const struct admin_verb *v, const char *text)
{
    for (int i = 0; v->options[i].letter != 0; i++) {
        const struct admin_option *o = &v->options[i];

        if ((text[0] == '-' && text[1] == o->letter && text[2] == '\0') ||
            (strncmp(text, "--", 2) == 0 && strcmp(text + 2, o->name) == 0))
            return i;
    }
    return -1;
}

static bool is_one_of(const char *text, const char *shorter, const char *longer)
{
    return strcmp(text, shorter) == 0 || strcmp(text, longer) == 0;
}

static int read_options(const struct admin_verb *v, int argc, char **argv, struct admin *a, struct err *err)
{
    a->options = v->options;
    for (int i = 2; i < argc; i++) {
        int at = find_option(v, argv[i]);
        bool takes_value = at < 0 || v->options[at].takes_value;

        if (strcmp(argv[i], "--json") == 0) {
            a->json = true;
            continue;
        }
        if (at < 0 && !is_one_of(argv[i], "-n", "--namesrvAddr"))
            return err_set(err, ERR_INVALID, "%s has no option \"%s\"; mqadmin %s -h lists them", v->name,
                           argv[i], v->name);
        if (takes_value && i + 1 == argc)
            return err_set(err, ERR_INVALID, "%s wants a value", argv[i]);
        if (at < 0)
            a->namesrv_text = argv[++i];
        else
            a->values[at] = takes_value ? argv[++i] : "";
    }
    for (int i = 0; v->options[i].letter != 0; i++)
        if (v->options[i].required && a->values[i] == NULL)
            return err_set(err, ERR_INVALID, "%s: -%c (%s) is missing", v->name, v->options[i].letter,
                           v->options[i].name);
    return 0;
}

static int find_namesrv(const struct admin_verb *v, struct admin *a, struct err *err)
{
    if (a->namesrv_text == NULL)
        a->namesrv_text = getenv("NAMESRV_ADDR");
    if (a->namesrv_text != NULL)
        return addresses_parse(a->namesrv_text, &a->namesrv, err);
    if (v->needs_namesrv)
        return err_set(err, ERR_INVALID, "no nameserver: give -n host:port or set NAMESRV_ADDR");
    return 0;
}

int main(int argc, char **argv)
{
    static struct admin a;
    const struct admin_verb *v;
    struct loop *loop;
    struct err err;
    int rc;

    if (argc < 2 || is_one_of(argv[1], "-h", "--help") || strcmp(argv[1], "help") == 0) {
        print_verbs(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : 0;
    }
    v = find_verb(argv[1]);
    if (v == NULL) {
        fprintf(stderr, "mqadmin: no verb \"%s\"; mqadmin -h lists them\n", argv[1]);
        return EXIT_USAGE;
    }
    for (int i = 2; i < argc; i++)
        if (is_one_of(argv[i], "-h", "--help")) {
            print_options(v);
            return 0;
        }
    log_set_level(LOG_LEVEL_ERROR);
    if (read_options(v, argc, argv, &a, &err) != 0 || find_namesrv(v, &a, &err) != 0) {
        fprintf(stderr, "mqadmin: %s\n", err.text);
        return EXIT_USAGE;
    }
    loop = loop_new();
    a.asker = asker_new(loop);
    rc = v->run(&a, &err);
    asker_free(a.asker);
    loop_free(loop);
    if (rc != 0)
        fprintf(stderr, "mqadmin: %s: %s\n", v->name, err.text);
    return rc == 0 ? 0 : 1;
}
