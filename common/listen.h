/*
 * listen.h - a listening TCP socket with the settings and the error texts all our doors share. Used by
 * listener.c and http.c.
 */
#ifndef COMMON_LISTEN_H
#define COMMON_LISTEN_H

#include <stdint.h>

#include "common/err.h"

/* host: numeric IPv4, a name (looked up now, so at start only) or NULL for all addresses; port 0: any. *fd is
 * nonblocking and close-on-exec, *bound_port what it really got. ERR_INVALID, ERR_LOCKED (port in use),
 * ERR_IO with a text that names address and cause. */
int listen_socket(const char *host, uint16_t port, int *fd, uint16_t *bound_port, struct err *err) MUSTCHECK;

#endif
