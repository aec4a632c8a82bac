/*
 * main.c - mqbroker: options, settings, run.
 */
#include "broker/broker.h"
#include "common/daemon.h"
#include "common/rng.h"

static const char usage[] =
    "usage: mqbroker [-c broker.conf] [-n host:port;host:port] [-D key=value]... [-p] [-h] [-v]\n"
    "  -c FILE   settings, RocketMQ's properties syntax and spellings\n"
    "  -n LIST   nameservers (overrides namesrvAddr; NAMESRV_ADDR in the environment is used when neither is "
    "given)\n"
    "  -D K=V    one setting, over the file and -n\n"
    "  -p        print every setting with value, default and meaning, and end\n"
    "  -h, --help, -v, --version\n";

static int run(struct conf *conf)
{
    struct broker *broker;
    struct err err;

    if (broker_new(conf, rng_entropy(), &broker, &err) != 0) {
        fprintf(stderr, "mqbroker: %s\n", err.text);
        return 1;
    }
    broker_run(broker);
    broker_free(broker);
    return 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct conf conf;
    int status;

    conf_init(&conf, settings_rows, settings_row_count, &settings);
    status = daemon_start("mqbroker", usage, argc, argv, &conf, "namesrvAddr");
    if (status == DAEMON_GO_ON)
        status = run(&conf);
    conf_release(&conf);
    return status;
}
