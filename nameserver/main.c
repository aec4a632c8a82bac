/*
 * main.c - mqnamesrv: options, settings, run.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "nameserver/nameserver.h"

static const char usage[] = "usage: mqnamesrv [-c namesrv.conf] [-D key=value]... [-p] [-h]\n"
                            "  -c FILE   settings, RocketMQ's properties syntax and spellings\n"
                            "  -D K=V    one setting, over the file\n"
                            "  -n LIST   accepted for RocketMQ's scripts; a nameserver asks no other one\n"
                            "  -p        print every setting with value, default and meaning, and end\n";

static int set_pair(struct conf *conf, const char *where, const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');

    if (eq == NULL)
        return err_set(err, ERR_INVALID, "%s: \"%s\" is not key=value", where, text);
    return conf_set(conf, where, (struct str){text, (size_t)(eq - text)}, str_of(eq + 1), err);
}

static int read_options(int argc, char **argv, struct conf *conf, bool *print, struct err *err)
{
    int option, rc = 0;

    while (rc == 0 && (option = getopt(argc, argv, "c:n:D:ph")) != -1) {
        switch (option) {
        case 'c':
            rc = conf_read_file(conf, optarg, err);
            break;
        case 'n':
            break;
        case 'D':
            rc = set_pair(conf, "-D", optarg, err);
            break;
        case 'p':
            *print = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            rc = err_set(err, ERR_INVALID, "%s", usage);
        }
    }
    if (rc == 0 && optind < argc)
        rc = err_set(err, ERR_INVALID, "unexpected argument \"%s\"\n%s", argv[optind], usage);
    return rc;
}

/* One descriptor per connection. */
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
    struct nameserver *ns;
    struct err err;
    bool print = false;

    conf_init(&conf, settings_rows, settings_row_count, &settings);
    if (read_options(argc, argv, &conf, &print, &err) != 0) {
        fprintf(stderr, "mqnamesrv: %s\n", err.text);
        conf_release(&conf);
        return 2;
    }
    if (print) {
        conf_print(&conf, stdout);
        conf_release(&conf);
        return 0;
    }
    raise_file_limit();
    if (nameserver_new(&conf, &ns, &err) != 0) {
        fprintf(stderr, "mqnamesrv: %s\n", err.text);
        conf_release(&conf);
        return 1;
    }
    nameserver_run(ns);
    nameserver_free(ns);
    conf_release(&conf);
    return 0;
}
