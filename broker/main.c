/*
 * main.c - mqbroker: options, settings, run.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "broker/broker.h"
#include "common/log.h"
#include "common/rng.h"

static const char usage[] =
    "usage: mqbroker [-c broker.conf] [-n host:port;host:port] [-D key=value]... [-p] [-h]\n"
    "  -c FILE   settings, RocketMQ's properties syntax and spellings\n"
    "  -n LIST   nameservers (overrides namesrvAddr; NAMESRV_ADDR in the environment is used when neither is "
    "given)\n"
    "  -D K=V    one setting, over the file and -n\n"
    "  -p        print every setting with value, default and meaning, and end\n";

static int set_pair(struct conf *conf, const char *where, const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');

    if (eq == NULL)
        return err_set(err, ERR_INVALID, "%s: \"%s\" is not key=value", where, text);
    return conf_set(conf, where, (struct str){text, (size_t)(eq - text)}, str_of(eq + 1), err);
}

/* The options that count in one pass over the command line: later passes win, wherever the option stands. */
static int read_pass(int argc, char **argv, char pass, struct conf *conf, bool *print, struct err *err)
{
    int option, rc = 0;

    optind = 0; /* glibc: from the start */
    while (rc == 0 && (option = getopt(argc, argv, "c:n:D:ph")) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (option == '?')
            return err_set(err, ERR_INVALID, "%s", usage);
        if (option == 'p')
            *print = true;
        if (option != pass)
            continue;
        if (option == 'c')
            rc = conf_read_file(conf, optarg, err);
        else if (option == 'n')
            rc = conf_set(conf, "-n", STR("namesrvAddr"), str_of(optarg), err);
        else
            rc = set_pair(conf, "-D", optarg, err);
    }
    if (rc == 0 && optind < argc)
        rc = err_set(err, ERR_INVALID, "unexpected argument \"%s\"\n%s", argv[optind], usage);
    return rc;
}

/* Settings from files, then -n, then -D; NAMESRV_ADDR when none of them names nameservers. */
static int read_options(int argc, char **argv, struct conf *conf, bool *print, struct err *err)
{
    const char *env = getenv("NAMESRV_ADDR");
    int rc = 0;

    for (const char *pass = "cnD"; rc == 0 && *pass != '\0'; pass++)
        rc = read_pass(argc, argv, *pass, conf, print, err);
    if (rc == 0 && env != NULL && ((struct settings *)conf->settings)->namesrv_addr == NULL)
        rc = conf_set(conf, "NAMESRV_ADDR", STR("namesrvAddr"), str_of(env), err);
    return rc;
}

/* One descriptor per client connection. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct settings settings = {0};
    struct conf conf;
    struct broker *broker;
    struct err err;
    bool print = false;

    conf_init(&conf, settings_rows, settings_row_count, &settings);
    if (read_options(argc, argv, &conf, &print, &err) != 0) {
        fprintf(stderr, "mqbroker: %s\n", err.text);
        return 2;
    }
    if (print) {
        conf_print(&conf, stdout);
        conf_release(&conf);
        return 0;
    }
    raise_file_limit();
    if (broker_new(&conf, rng_entropy(), &broker, &err) != 0) {
        fprintf(stderr, "mqbroker: %s\n", err.text);
        conf_release(&conf);
        return 1;
    }
    broker_run(broker);
    broker_free(broker);
    conf_release(&conf);
    return 0;
}
