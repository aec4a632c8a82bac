#include "common/daemon.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct command_line {
    int argc;
    char **argv;
    const char *usage, *namesrv_key;
    struct conf *conf;
    bool print, help, version;
    bool misused; /* the usage is shown with the error */
};

static int set_pair(struct conf *conf, const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');

    if (eq == NULL)
        return err_set(err, ERR_INVALID, "-D: \"%s\" is not key=value", text);
    return conf_set(conf, "-D", (struct str){text, (size_t)(eq - text)}, str_of(eq + 1), err);
}

static int take_option(struct command_line *c, int option, struct err *err)
{
    switch (option) {
    case 'c':
        return conf_read_file(c->conf, optarg, err);
    case 'n':
        return c->namesrv_key == NULL ? 0
                                      : conf_set(c->conf, "-n", str_of(c->namesrv_key), str_of(optarg), err);
    default:
        return set_pair(c->conf, optarg, err);
    }
}

static int misuse(struct command_line *c, struct err *err, const char *what, const char *text)
{
    c->misused = true;
    return err_set(err, ERR_INVALID, "%s \"%s\"", what, text);
}

static int bad_option(struct command_line *c, bool lacks_value, struct err *err)
{
    char letter[] = {'-', (char)optopt, '\0'};

    return misuse(c, err, lacks_value ? "no value behind option" : "unknown option",
                  optopt != 0 ? letter : c->argv[optind - 1]);
}

/* The options that count in one pass over the command line: later passes win, wherever the option stands. */
static int read_pass(struct command_line *c, char pass, struct err *err)
{
    static const struct option names[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
    int option, rc = 0;

    optind = 0; /* glibc: from the start */
    opterr = 0;
    while (rc == 0 && (option = getopt_long(c->argc, c->argv, ":c:n:D:phv", names, NULL)) != -1) {
        c->help |= option == 'h';
        c->print |= option == 'p';
        c->version |= option == 'v';
        if (option == ':' || option == '?')
            return bad_option(c, option == ':', err);
        if (option == pass)
            rc = take_option(c, option, err);
    }
    if (rc == 0 && optind < c->argc)
        rc = misuse(c, err, "unexpected argument", c->argv[optind]);
    return rc;
}

static int read_all(struct command_line *c, struct err *err)
{
    const char *env = getenv("NAMESRV_ADDR");
    int rc = 0;

    if (c->namesrv_key != NULL && env != NULL)
        rc = conf_set(c->conf, "NAMESRV_ADDR", str_of(c->namesrv_key), str_of(env), err);
    for (const char *pass = "cnD"; rc == 0 && *pass != '\0'; pass++)
        rc = read_pass(c, *pass, err);
    return rc;
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int daemon_start(const char *name, const char *usage, int argc, char **argv, struct conf *conf,
                 const char *namesrv_key)
{
    struct command_line c = {
        .argc = argc, .argv = argv, .usage = usage, .namesrv_key = namesrv_key, .conf = conf};
    struct err err;

    if (read_all(&c, &err) != 0) {
        fprintf(stderr, "%s: %s\n%s", name, err.text, c.misused ? usage : "");
        return 2;
    }
    if (c.help) {
        fputs(usage, stdout);
        return 0;
    }
    if (c.version) {
        printf("%s " LEDGERMQ_VERSION "\n", name);
        return 0;
    }
    if (c.print) {
        conf_print(conf, stdout);
        return 0;
    }
    raise_file_limit();
    return DAEMON_GO_ON;
}
