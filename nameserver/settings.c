/* settings.c - the table of mqnamesrv's settings (NamesrvConfig.java, NettyServerConfig.java; reference 8.3). */
#include "nameserver/settings.h"

#include <string.h>

#define MIB       (1024ll * 1024)
#define AT(field) offsetof(struct settings, field)
#define STRING(key, field, def, meaning)                            \
    {                                                               \
        key, CONF_STRING, AT(field), def, 0, 0, NULL, NULL, meaning \
    }
#define INT(key, field, def, min, max, unit, meaning)                \
    {                                                                \
        key, CONF_INT, AT(field), def, min, max, NULL, unit, meaning \
    }
#define SIZE(key, field, def, min, max, meaning)                         \
    {                                                                    \
        key, CONF_SIZE, AT(field), def, min, max, NULL, "bytes", meaning \
    }
#define BOOL(key, field, def, meaning)                            \
    {                                                             \
        key, CONF_BOOL, AT(field), def, 0, 0, NULL, NULL, meaning \
    }
#define IGNORED(key, meaning)                                 \
    {                                                         \
        key, CONF_IGNORED, 0, NULL, 0, 0, NULL, NULL, meaning \
    }

const struct conf_row settings_rows[] = {
    INT("listenPort", listen_port, "9876", 1, 65535, NULL, "port for clients and brokers"),
    STRING("listenHost", listen_host, NULL, "address to listen on; unset: all"),
    INT("httpPort", http_port, "0", 0, 65535, NULL, "port of /livez /metrics; 0: none"),
    STRING("httpHost", http_host, NULL, "address of the HTTP port; unset: all"),
    STRING("kvConfigPath", kv_path, NULL,
           "file of the key-value table; unset: namesrv/kvConfig.json in the home directory"),
    STRING("configBlackList", blacklist, "configBlackList;configStorePath;kvConfigPath;rocketmqHome",
           "settings that cannot be changed by request, key;key"),
    BOOL("orderMessageEnable", order_message, "false",
         "routes carry the topic's value of the key-value namespace ORDER_TOPIC_CONFIG"),
    BOOL("returnOrderTopicConfigToBroker", return_order_config, "true",
         "registrations are answered with the namespace ORDER_TOPIC_CONFIG"),
    BOOL("enableAllTopicList", all_topic_list, "true", "the list of all topics may be asked for"),
    BOOL("enableTopicList", topic_list, "true",
         "lists of a cluster's topics, system topics and unit topics may be asked for"),
    BOOL("deleteTopicWithBrokerRegistration", delete_missing_topics, "false",
         "forget a broker's topics that are missing from its changed registration"),
    INT("scanNotActiveBrokerInterval", scan_ms, "5000", 100, 600000, "ms", "search for silent brokers"),
    INT("connectionsMax", conns_max, "16384", 1, 1000000, "connections", "connections at a time"),
    SIZE("connectionOutMaxBytes", conn_out_max_bytes, "64m", 1 * MIB, 1024 * MIB,
         "unread answers of one connection before it is cut off"),
    INT("serverChannelMaxIdleTimeSeconds", conn_idle_s, "120", 10, 86400, "s",
        "silent connections are closed"),

    IGNORED("rocketmqHome", "nothing is read from there"),
    IGNORED("configStorePath", "settings changed by request hold until the end of the process"),
    IGNORED("clusterTest", "no effect"),
    IGNORED("productEnvName", "no effect"),
    IGNORED("supportActingMaster", "a follower is never shown as leader"),
    IGNORED("notifyMinBrokerIdChanged", "followers learn of a leader from each other"),
    IGNORED("needWaitForService", "routes are given as soon as they are known"),
    IGNORED("waitSecondsForService", "routes are given as soon as they are known"),
    IGNORED("unRegisterBrokerQueueCapacity", "brokers are removed at once"),
    IGNORED("clientRequestThreadPoolNums", "one loop thread serves all requests"),
    IGNORED("defaultThreadPoolNums", "one loop thread serves all requests"),
    IGNORED("clientRequestThreadPoolQueueCapacity", "one loop thread serves all requests"),
    IGNORED("defaultThreadPoolQueueCapacity", "one loop thread serves all requests"),
    IGNORED("enableControllerInNamesrv", "the brokers elect their leader themselves"),
    IGNORED("bindAddress", "see listenHost"),
    IGNORED("serverWorkerThreads", "one loop thread serves all requests"),
    IGNORED("serverSelectorThreads", "one loop thread serves all requests"),
    IGNORED("serverCallbackExecutorThreads", "one loop thread serves all requests"),
    IGNORED("serverOnewaySemaphoreValue", "no effect"),
    IGNORED("serverAsyncSemaphoreValue", "no effect"),
    IGNORED("serverSocketSndBufSize", "the system chooses"),
    IGNORED("serverSocketRcvBufSize", "the system chooses"),
    IGNORED("serverSocketBacklog", "no effect"),
    IGNORED("serverPooledByteBufAllocatorEnable", "no effect"),
    IGNORED("useEpollNativeSelector", "no effect"),
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
    static const char at_start_only[] = "listenPort;listenHost;httpPort;httpHost;connectionsMax;"
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
