/*
 * daemon.h - what the mains of our daemons share: settings from files and options, and the limit of
 * descriptors. Main thread, at start.
 */
#ifndef COMMON_DAEMON_H
#define COMMON_DAEMON_H

#include "common/conf.h"

#define DAEMON_GO_ON (-1)

/* Read `-c FILE`, then `-n LIST` (into setting `namesrv_key`; NULL: accepted and ignored), then `-D
 * key=value`, wherever they stand; the environment's NAMESRV_ADDR when none of them names nameservers. -p
 * prints all settings, -h the usage, -v the version. Returns DAEMON_GO_ON, or the status to exit with; what is
 * wrong has been printed, with the usage after a bad option. Raises the limit of open files: one is needed per
 * connection. */
int daemon_start(const char *name, const char *usage, int argc, char **argv, struct conf *conf,
                 const char *namesrv_key) MUSTCHECK;

#endif
