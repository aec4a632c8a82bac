/*
 * nameserver.h - one name server: what its request handlers share, and its life. Everything runs on one loop
 * thread, except writing the key-value file.
 */
#ifndef NAMESERVER_NAMESERVER_H
#define NAMESERVER_NAMESERVER_H

#include "common/dispatch.h"
#include "common/http.h"
#include "nameserver/kv_store.h"
#include "nameserver/routes.h"
#include "nameserver/settings.h"

#define BODY_MAX_BYTES        (15u * 1024 * 1024) /* of one answer: it fits into a frame */
#define ORDER_TOPIC_NAMESPACE "ORDER_TOPIC_CONFIG"

struct nameserver {
    struct conf *conf; /* of `settings` */
    struct settings *settings;
    struct loop *loop;
    struct worker *worker; /* writes the key-value file */
    struct routes *routes;
    struct kv_store *kv;
    struct dispatch dispatch;
    struct listener *listener;
    struct http *http; /* NULL without httpPort */
    struct timer scan;
    bool stopping;
};

/* Build and start everything; conf is the table of settings.c bound to a struct settings; it must outlive. On
 * failure everything begun is taken down again and err says what is wrong. */
int nameserver_new(struct conf *conf, struct nameserver **out, struct err *err) MUSTCHECK;
/* Serve until SIGTERM or SIGINT. */
void nameserver_run(struct nameserver *ns);
void nameserver_free(struct nameserver *ns);
uint16_t nameserver_port(const struct nameserver *ns);

/* health.c: the HTTP port, when there is one. */
int health_open(struct nameserver *ns, struct err *err) MUSTCHECK;

/* For handlers: the connection of this request has registered a broker, which goes when it closes. */
void nameserver_watch(struct conn *conn);

#endif
