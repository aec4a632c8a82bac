/*
 * settings.h - every setting of mqbroker: RocketMQ's spelling where RocketMQ has it. The table in settings.c
 * is the documentation (`mqbroker -p`).
 */
#ifndef BROKER_FRONT_SETTINGS_H
#define BROKER_FRONT_SETTINGS_H

#include "common/conf.h"
#include "dledger/core/types.h"

enum flush_disk_type { SYNC_FLUSH, ASYNC_FLUSH };

struct settings {
    /* identity and addresses */
    char *cluster_name, *broker_name, *broker_ip1, *listen_host, *namesrv_addr;
    int64_t listen_port;
    bool fast_port; /* listenPort - 2: what clients call the VIP channel */
    int64_t http_port;
    char *http_host;
    char *store_dir;
    /* the group */
    char *group, *peers, *self_id, *preferred;
    bool several, trust_empty_store;
    int64_t heartbeat_ms, election_min_ms, election_max_ms;
    int64_t segment_bytes, cache_bytes, waiting_max_bytes;
    int64_t flush_disk_type; /* enum flush_disk_type */
    /* topics and groups */
    bool auto_create_topic, auto_create_group, cluster_topic, broker_topic, trace_topic;
    char *trace_topic_name;
    int64_t default_queues, broker_permission;
    bool notify_ids_changed, reject_pull_consumer;
    char *region_id;
    bool trace_on;
    /* limits and timing */
    int64_t max_message_bytes;
    bool long_polling;
    int64_t short_polling_ms;
    int64_t pull_count_max, pull_bytes_max;
    int64_t park_send_ms, park_read_ms, park_max_bytes;
    int64_t offsets_gather_ms, checkpoint_ms, checkpoint_bytes;
    int64_t register_period_ms, channel_expired_ms, lock_expire_ms;
    int64_t conns_max, conns_max_bytes, conn_out_max_bytes, conn_idle_s;
    int64_t shutdown_handover_ms;
};

extern const struct conf_row settings_rows[];
extern const uint32_t settings_row_count;

#define SETTINGS_DIR_MAX 500u /* bytes of storePathRootDir */

struct settings_peer {
    dl_peer_t id;
    char host[256];
    uint16_t port;
};

/* Check what single rows cannot: names, peers ("n0-host:port;n1-host:port"), self in peers, preferred in
 * peers,
 * election times, brokerIP1. Fills the group. Errors name the key, the value and what is expected. */
int settings_group(const struct settings *s, struct settings_peer *peers, uint32_t *count, dl_peer_t *self,
                   dl_peer_t *preferred, struct err *err) MUSTCHECK;

#endif
