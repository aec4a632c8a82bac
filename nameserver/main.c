/*
 * main.c - mqnamesrv: options, settings, run.
 */
#include "common/daemon.h"
#include "nameserver/nameserver.h"

static const char usage[] = "usage: mqnamesrv [-c namesrv.conf] [-D key=value]... [-p] [-h] [-v]\n"
                            "  -c FILE   settings, RocketMQ's properties syntax and spellings\n"
                            "  -D K=V    one setting, over the file\n"
                            "  -n LIST   accepted for RocketMQ's scripts; a nameserver asks no other one\n"
                            "  -p        print every setting with value, default and meaning, and end\n"
                            "  -h, --help, -v, --version\n";

static int run(struct conf *conf)
{
    struct nameserver *ns;
    struct err err;

    if (nameserver_new(conf, &ns, &err) != 0) {
        fprintf(stderr, "mqnamesrv: %s\n", err.text);
        return 1;
    }
    nameserver_run(ns);
    nameserver_free(ns);
    return 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct conf conf;
    int status;

    conf_init(&conf, settings_rows, settings_row_count, &settings);
    status = daemon_start("mqnamesrv", usage, argc, argv, &conf, NULL);
    if (status == DAEMON_GO_ON)
        status = run(&conf);
    conf_release(&conf);
    return status;
}
