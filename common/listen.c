/* listen.c - see listen.h. */
#include "common/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/resolve.h"

#define LISTEN_BACKLOG 1024

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
            rc = err_set(err, ERR_LOCKED, "cannot listen on %s:%u: port %u is in use", shown, port, port);
        else
            rc = err_set(err, ERR_IO, "cannot listen on %s:%u: %s", shown, port, strerror(errno));
        close(fd);
        return rc;
    }
    *out = fd;
    *bound_port = ntohs(sin.sin_port);
    return 0;
}
