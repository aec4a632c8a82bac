/* handlers.h - THE table, see handlers.c, and the handlers in it. req->user is the struct nameserver. */
#ifndef NAMESERVER_HANDLERS_H
#define NAMESERVER_HANDLERS_H

#include "common/dispatch.h"

extern const struct dispatch_row handler_rows[];
extern const uint32_t handler_row_count;

/* handle_broker.c */
void handle_register(struct request *req);
void handle_unregister(struct request *req);
void handle_query_version(struct request *req);
void handle_heartbeat(struct request *req);
void handle_members(struct request *req);

/* handle_route.c */
void handle_route(struct request *req);
void handle_cluster(struct request *req);
void handle_all_topics(struct request *req);
void handle_cluster_topics(struct request *req);
void handle_system_topics(struct request *req);
void handle_unit_topics(struct request *req);
void handle_wipe_write(struct request *req);
void handle_add_write(struct request *req);
void handle_topic_delete(struct request *req);
void handle_topic_register(struct request *req);

/* handle_kv.c */
void handle_kv_put(struct request *req);
void handle_kv_get(struct request *req);
void handle_kv_delete(struct request *req);
void handle_kv_namespace(struct request *req);

/* handle_config.c */
void handle_config_update(struct request *req);
void handle_config_get(struct request *req);

#endif
