/*
 * handlers.h - the request handlers by name; broker/handlers.c has the table that gives each its code and
 * flags. All have the shape of dispatch.h's request_fn; req->user is the struct front. Each is described at
 * its definition with the RocketMQ class whose behaviour it follows.
 */
#ifndef BROKER_FRONT_HANDLERS_H
#define BROKER_FRONT_HANDLERS_H

#include "common/dispatch.h"

/* handle_send.c */
void handle_send(struct request *req);       /* 10, 310 */
void handle_send_batch(struct request *req); /* 320 */
/* handle_topic.c */
void handle_topic_put(struct request *req);      /* 17 */
void handle_topic_put_list(struct request *req); /* 18 */
void handle_topic_delete(struct request *req);   /* 215 */
void handle_topics_all(struct request *req);     /* 21 */
void handle_topic_get(struct request *req);      /* 351 */
void handle_system_topics(struct request *req);  /* 305 */
void handle_route(struct request *req);          /* 105: brokers answer route requests for their own group */
/* handle_group.c */
void handle_group_put(struct request *req);      /* 200 */
void handle_group_put_list(struct request *req); /* 225 */
void handle_group_delete(struct request *req);   /* 207 */
void handle_groups_all(struct request *req);     /* 201 */
void handle_group_get(struct request *req);      /* 352 */
/* handle_pull.c */
void handle_pull(struct request *req); /* 11, 361 */
/* handle_view.c */
void handle_view_message(struct request *req); /* 33 */
/* handle_offset.c */
void handle_offset_query(struct request *req);   /* 14 */
void handle_offset_update(struct request *req);  /* 15 */
void handle_offset_by_time(struct request *req); /* 29 */
void handle_offset_max(struct request *req);     /* 30 */
void handle_offset_min(struct request *req);     /* 31 */
void handle_earliest_time(struct request *req);  /* 32 */
void handle_offsets_all(struct request *req);    /* 43 */
/* handle_client.c */
void handle_heartbeat(struct request *req);           /* 34 */
void handle_unregister(struct request *req);          /* 35 */
void handle_consumer_list(struct request *req);       /* 38 */
void handle_check_client_config(struct request *req); /* 46 */
/* handle_lock.c */
void handle_lock(struct request *req);   /* 41 */
void handle_unlock(struct request *req); /* 42 */
/* handle_consumer.c */
void handle_consumer_connections(struct request *req); /* 203 */
void handle_producer_connections(struct request *req); /* 204 */
void handle_all_producers(struct request *req);        /* 328 */
void handle_subscription(struct request *req);         /* 345 */
void handle_running_info(struct request *req);         /* 307 */
/* handle_stats.c */
void handle_runtime_info(struct request *req);    /* 28 */
void handle_get_config(struct request *req);      /* 26 */
void handle_topic_stats(struct request *req);     /* 202 */
void handle_consume_stats(struct request *req);   /* 208 */
void handle_topic_groups(struct request *req);    /* 300 */
void handle_topics_of_group(struct request *req); /* 343 */
/* handle_later.c */
void handle_later(struct request *req); /* known codes of features that are not built */
/* handle_raft.c: our own verbs for mqadmin */
void handle_raft_status(struct request *req);   /* RAFT_STATUS */
void handle_raft_transfer(struct request *req); /* RAFT_TRANSFER */

#endif
