/* settings.c - the table of mqnamesrv's settings (NamesrvConfig.java, NettyServerConfig.java; reference 8.3). */
#include "nameserver/settings.h"

#include <string.h>

#define MIB (1024ll * 1024)

const struct conf_row settings_rows[] = {
    CONF_INT_ROW("listenPort", listen_port, "9876", 1, 65535, NULL, "port for clients and brokers"),
    CONF_STRING_ROW("listenHost", listen_host, NULL, "address to listen on; unset: all"),
    CONF_INT_ROW("httpPort", http_port, "0", 0, 65535, NULL, "port of /livez /metrics; 0: none"),
    CONF_STRING_ROW("httpHost", http_host, NULL, "address of the HTTP port; unset: all"),
    CONF_STRING_ROW("kvConfigPath", kv_path, NULL,
                    "file of the key-value table; unset: namesrv/kvConfig.json in the home directory"),
    CONF_STRING_ROW("configBlackList", blacklist, "configBlackList;configStorePath;kvConfigPath;rocketmqHome",
                    "settings that cannot be changed by request, key;key"),
    CONF_BOOL_ROW("orderMessageEnable", order_message, "false",
                  "routes carry the topic's value of the key-value namespace ORDER_TOPIC_CONFIG"),
    CONF_BOOL_ROW("returnOrderTopicConfigToBroker", return_order_config, "true",
                  "registrations are answered with the namespace ORDER_TOPIC_CONFIG"),
    CONF_BOOL_ROW("enableAllTopicList", all_topic_list, "true", "the list of all topics may be asked for"),
    CONF_BOOL_ROW("enableTopicList", topic_list, "true",
                  "lists of a cluster's topics, system topics and unit topics may be asked for"),
    CONF_BOOL_ROW("deleteTopicWithBrokerRegistration", delete_missing_topics, "false",
                  "forget a broker's topics that are missing from its changed registration"),
    CONF_INT_ROW("scanNotActiveBrokerInterval", scan_ms, "5000", 100, 600000, "ms",
                 "search for silent brokers"),
    CONF_INT_ROW("connectionsMax", conns_max, "16384", 1, 1000000, "connections", "connections at a time"),
    CONF_SIZE_ROW("connectionOutMaxBytes", conn_out_max_bytes, "64m", 1 * MIB, 1024 * MIB,
                  "unread answers of one connection before it is cut off"),
    CONF_SIZE_ROW(
        "connectionsMaxBytes", conns_max_bytes, "256m", 1 * MIB, 1024 * 1024 * MIB,
        "parts of requests and unread answers of all connections; beyond it those are cut off that hold more "
        "than their share"),
    CONF_INT_ROW("serverChannelMaxIdleTimeSeconds", conn_idle_s, "120", 10, 86400, "s",
                 "silent connections are closed"),

    CONF_IGNORED_ROW("rocketmqHome", "nothing is read from there"),
    CONF_IGNORED_ROW("configStorePath", "settings changed by request hold until the end of the process"),
    CONF_IGNORED_ROW("clusterTest", "no effect"),
    CONF_IGNORED_ROW("productEnvName", "no effect"),
    CONF_IGNORED_ROW("supportActingMaster", "a follower is never shown as leader"),
    CONF_IGNORED_ROW("notifyMinBrokerIdChanged", "followers learn of a leader from each other"),
    CONF_IGNORED_ROW("needWaitForService", "routes are given as soon as they are known"),
    CONF_IGNORED_ROW("waitSecondsForService", "routes are given as soon as they are known"),
    CONF_IGNORED_ROW("unRegisterBrokerQueueCapacity", "brokers are removed at once"),
    CONF_IGNORED_ROW("clientRequestThreadPoolNums", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("defaultThreadPoolNums", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("clientRequestThreadPoolQueueCapacity", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("defaultThreadPoolQueueCapacity", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("enableControllerInNamesrv", "the brokers elect their leader themselves"),
    CONF_IGNORED_ROW("bindAddress", "see listenHost"),
    CONF_IGNORED_ROW("serverWorkerThreads", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("serverSelectorThreads", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("serverCallbackExecutorThreads", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("serverOnewaySemaphoreValue", "no effect"),
    CONF_IGNORED_ROW("serverAsyncSemaphoreValue", "no effect"),
    CONF_IGNORED_ROW("serverSocketSndBufSize", "the system chooses"),
    CONF_IGNORED_ROW("serverSocketRcvBufSize", "the system chooses"),
    CONF_IGNORED_ROW("serverSocketBacklog", "no effect"),
    CONF_IGNORED_ROW("serverPooledByteBufAllocatorEnable", "no effect"),
    CONF_IGNORED_ROW("useEpollNativeSelector", "no effect"),
};
const uint32_t settings_row_count = sizeof(settings_rows) / sizeof(settings_rows[0]);

static bool is_listed(const char *list, struct str key)
{
    while (*list != '\0') {
        size_t len = strcspn(list, ";");

        if (str_eq(key, (struct str){list, len}))
            return true;
        list += len;
        list += *list == ';';
    }
    return false;
}

int settings_may_change(const struct settings *s, struct str key, struct err *err)
{
    static const char at_start_only[] =
        "listenPort;listenHost;httpPort;httpHost;connectionsMax;connectionsMaxBytes;"
        "connectionOutMaxBytes;serverChannelMaxIdleTimeSeconds";
    int key_len = key.len < 80 ? (int)key.len : 80;

    if (s->blacklist != NULL && is_listed(s->blacklist, key))
        return err_set(err, ERR_NO_PERMISSION, "%.*s is in configBlackList", key_len, key.p);
    if (is_listed(at_start_only, key))
        return err_set(err, ERR_NO_PERMISSION, "%.*s can be set at the start only", key_len, key.p);
    for (uint32_t i = 0; i < settings_row_count; i++) {
        if (!str_is(key, settings_rows[i].key))
            continue;
        if (settings_rows[i].kind == CONF_IGNORED)
            return err_set(err, ERR_INVALID, "%.*s has no effect here: %s", key_len, key.p,
                           settings_rows[i].meaning);
        return 0;
    }
    return err_set(err, ERR_INVALID, "there is no setting %.*s", key_len, key.p);
}
