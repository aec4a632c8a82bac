/* listen.c - see listen.h. */
#include "common/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/resolve.h"

#define LISTEN_BACKLOG 1024
#define LENT_RANGE     "/proc/sys/net/ipv4/ip_local_port_range"

/* Whether the kernel lends `port` to outgoing connections: one that was closed without SO_REUSEADDR holds it for
 * a minute, though nobody listens there. */
static bool is_lent(uint16_t port)
{
    FILE *f = fopen(LENT_RANGE, "re");
    unsigned low, high;
    bool lent = f != NULL && fscanf(f, "%u %u", &low, &high) == 2 && port >= low && port <= high;
    if (f != NULL)
        fclose(f);
    return lent;
}

int listen_socket(const char *host, uint16_t port, int *out, uint16_t *bound_port, struct err *err)
{
    const char *shown = host != NULL ? host : "*";
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (!resolve_numeric(host, &sin.sin_addr) && resolve_now(host, &sin.sin_addr) != 0)
        return err_set(err, ERR_INVALID, "cannot listen on %s:%u: no address of that name", shown, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "cannot listen on %s:%u: %s", shown, port, strerror(errno));
    int one = 1, rc;
    socklen_t len = sizeof(sin);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&sin, &len) != 0) {
        if (errno == EADDRINUSE)
            rc = err_set(err, ERR_LOCKED, "cannot listen on %s:%u: port %u is in use%s", shown, port, port,
                         !is_lent(port)
                             ? ""
                             : ", or held by an outgoing connection, to which this machine lends it: "
                               "add it to net.ipv4.ip_local_reserved_ports");
        else
            rc = err_set(err, ERR_IO, "cannot listen on %s:%u: %s", shown, port, strerror(errno));
        close(fd);
        return rc;
    }
    *out = fd;
    *bound_port = ntohs(sin.sin_port);
    return 0;
}
