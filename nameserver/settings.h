/*
 * settings.h - every setting of mqnamesrv: RocketMQ's spelling where RocketMQ has it. The table in settings.c
 * is the documentation (`mqnamesrv -p`).
 */
#ifndef NAMESERVER_SETTINGS_H
#define NAMESERVER_SETTINGS_H

#include "common/conf.h"

struct settings {
    char *listen_host, *http_host;
    int64_t listen_port, http_port;
    char *kv_path;   /* NULL: below the home directory */
    char *blacklist; /* settings that UPDATE_NAMESRV_CONFIG may not touch, key;key */
    bool order_message, return_order_config;
    bool all_topic_list, topic_list;
    bool delete_missing_topics;
    int64_t scan_ms;
    int64_t conns_max, conns_max_bytes, conn_out_max_bytes, conn_idle_s;
};

extern const struct conf_row settings_rows[];
extern const uint32_t settings_row_count;

/* Whether a setting can be changed while the program runs. ERR_INVALID unknown or without effect here,
 * ERR_NO_PERMISSION looked at once only when the program starts, or listed in configBlackList. */
int settings_may_change(const struct settings *s, struct str key, struct err *err) MUSTCHECK;

#endif
