#include "broker/front/settings.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "broker/front/front.h"
#include "common/conn.h"
#include "common/log.h"

#define KIB 1024ll
#define MIB (1024ll * 1024)

const struct conf_row settings_rows[] = {
    CONF_STRING_ROW("brokerClusterName", cluster_name, "DefaultCluster", "cluster this group belongs to"),
    CONF_STRING_ROW("brokerName", broker_name, "broker-a",
                    "name clients see for the group; the same on all its replicas"),
    CONF_STRING_ROW("brokerIP1", broker_ip1, NULL,
                    "IPv4 address registered with nameservers and stored in messages; "
                    "unset: the first non-loopback address"),
    CONF_INT_ROW("listenPort", listen_port, "10911", 1, 65535, NULL, "port for clients"),
    CONF_STRING_ROW("listenHost", listen_host, NULL, "address to listen on; unset: all"),
    CONF_BOOL_ROW("fastPortEnable", fast_port, "true",
                  "also listen on listenPort - 2, where clients with VIP channels call"),
    CONF_STRING_ROW("namesrvAddr", namesrv_addr, NULL,
                    "nameservers, ip:port;ip:port; the group registers with all of them"),
    CONF_INT_ROW("httpPort", http_port, "5557", 0, 65535, NULL, "port of /livez /readyz /metrics; 0: none"),
    CONF_STRING_ROW("httpHost", http_host, NULL, "address of the HTTP port; unset: all"),
    CONF_STRING_ROW("storePathRootDir", store_dir, "./store", "directory of log and state; one per replica"),

    CONF_STRING_ROW("dLegerGroup", group, NULL, "name of the Raft group; unset: brokerName"),
    CONF_STRING_ROW("dLegerPeers", peers, NULL,
                    "all replicas, n0-host:port;n1-host:port;n2-host:port; unset: a group of one"),
    CONF_BOOL_ROW("enableDLegerCommitLog", several, "false",
                  "true: dLegerPeers must be set (the log is always replicated, without dLegerPeers by a "
                  "group of one)"),
    CONF_STRING_ROW("dLegerSelfId", self_id, "n0", "which of dLegerPeers this is"),
    CONF_BOOL_ROW(
        "trustEmptyStore", trust_empty_store, "false",
        "a replica whose store is new counts in majorities at once, although the others are not all "
        "there to say that the group is new; read docs/decisions/lost-disk.md first: for a majority of lost "
        "disks, or a first "
        "start with a machine missing"),
    CONF_STRING_ROW("preferredLeaderId", preferred, NULL, "replica that leads when its log is complete"),
    CONF_INT_ROW("dLegerHeartbeatMs", heartbeat_ms, "50", 5, 10000, "ms", "leader's heartbeat"),
    CONF_INT_ROW("dLegerElectionMinMs", election_min_ms, "300", 20, 60000, "ms",
                 "shortest silence before an election"),
    CONF_INT_ROW("dLegerElectionMaxMs", election_max_ms, "600", 30, 120000, "ms",
                 "longest silence before an election"),
    {"flushDiskType", CONF_ENUM, CONF_AT(flush_disk_type), "SYNC_FLUSH", 0, 0, "SYNC_FLUSH|ASYNC_FLUSH", NULL,
     "when a replica acknowledges an entry: after fdatasync; ASYNC_FLUSH is not built yet and means the "
     "same"},
    CONF_SIZE_ROW("mappedFileSizeCommitLog", segment_bytes, "64m", 1 * MIB, 4096 * MIB,
                  "size of one log segment"),
    CONF_SIZE_ROW("logCacheBytes", cache_bytes, "8m", 1 * MIB, 4096 * MIB,
                  "newest part of the log kept in memory"),
    CONF_SIZE_ROW("proposalsMaxBytes", waiting_max_bytes, "64m", 1 * MIB, 4096 * MIB,
                  "messages taken and not yet committed; beyond it sends are refused as busy"),

    CONF_BOOL_ROW("autoCreateTopicEnable", auto_create_topic, "true",
                  "first send creates a topic from TBW102"),
    CONF_BOOL_ROW("autoCreateSubscriptionGroup", auto_create_group, "true",
                  "first heartbeat or pull creates a group"),
    CONF_BOOL_ROW("clusterTopicEnable", cluster_topic, "true", "topic named like the cluster is a template"),
    CONF_BOOL_ROW("brokerTopicEnable", broker_topic, "true", "topic named like the broker is a template"),
    CONF_BOOL_ROW("traceTopicEnable", trace_topic, "false", "make the trace topic at start"),
    CONF_STRING_ROW("msgTraceTopicName", trace_topic_name, "RMQ_SYS_TRACE_TOPIC", "name of the trace topic"),
    CONF_INT_ROW("defaultTopicQueueNums", default_queues, "8", 1, 65536, "queues", "queues of TBW102"),
    CONF_INT_ROW("brokerPermission", broker_permission, "6", 0, 7, NULL,
                 "4 read, 2 write: masks every topic's permission"),
    CONF_BOOL_ROW("notifyConsumerIdsChangedEnable", notify_ids_changed, "true",
                  "tell consumers at once when their group changes"),
    CONF_BOOL_ROW("rejectPullConsumerEnable", reject_pull_consumer, "false",
                  "refuse groups that pull actively"),
    CONF_STRING_ROW("regionId", region_id, "DefaultRegion", "property MSG_REGION of messages"),
    CONF_BOOL_ROW("traceOn", trace_on, "true", "property TRACE_ON of messages"),

    CONF_SIZE_ROW("maxMessageSize", max_message_bytes, "4194304", 1, 4 * MIB, "largest message body"),
    CONF_BOOL_ROW("longPollingEnable", long_polling, "true", "hold pulls that find nothing"),
    CONF_INT_ROW("shortPollingTimeMills", short_polling_ms, "1000", 1, 60000, "ms",
                 "hold when longPollingEnable is false"),
    CONF_INT_ROW("maxTransferCountOnMessageInMemory", pull_count_max, "32", 1, 4096, "messages",
                 "most messages in one pull"),
    CONF_SIZE_ROW("maxTransferBytesOnMessageInMemory", pull_bytes_max, "262144", 1 * KIB, 8 * MIB,
                  "most bytes in one pull; one message always goes"),
    CONF_INT_ROW("parkSendMs", park_send_ms, "2500", 0, 60000, "ms", "how long a send waits for a leader"),
    CONF_INT_ROW("parkReadMs", park_read_ms, "2500", 0, 60000, "ms",
                 "how long other requests wait for a leader"),
    CONF_SIZE_ROW("parkMaxBytes", park_max_bytes, "33554432", 64 * KIB, 4096 * MIB,
                  "requests that wait for a leader, together"),
    CONF_INT_ROW("offsetsGatherMs", offsets_gather_ms, "100", 1, 5000, "ms",
                 "consumer offsets are gathered for one log entry"),
    CONF_INT_ROW("checkpointMs", checkpoint_ms, "1000", 10, 600000, "ms",
                 "state goes to LMDB at least so often"),
    CONF_SIZE_ROW("checkpointBytes", checkpoint_bytes, "4m", 64 * KIB, 1024 * MIB,
                  "state goes to LMDB when so much has changed"),
    CONF_INT_ROW("registerNameServerPeriod", register_period_ms, "30000", 1000, 60000, "ms",
                 "registration with nameservers"),
    CONF_INT_ROW("channelExpiredTimeout", channel_expired_ms, "120000", 1000, 3600000, "ms",
                 "clients silent for so long are forgotten"),
    CONF_INT_ROW("lockLiveTimeMs", lock_expire_ms, "60000", 1000, 600000, "ms",
                 "queue lock of an orderly consumer"),
    CONF_INT_ROW("connectionsMax", conns_max, "8192", 1, 1000000, "connections", "client connections"),
    CONF_SIZE_ROW("connectionOutMaxBytes", conn_out_max_bytes, "64m", 1 * MIB, 1024 * MIB,
                  "unread answers of one client before it is cut off"),
    CONF_SIZE_ROW("connectionsMaxBytes", conns_max_bytes, "1g", 1 * MIB, 1024 * 1024 * MIB,
                  "parts of requests and unread answers of all clients of a port; beyond it those are cut "
                  "off that hold "
                  "more than their share"),
    CONF_INT_ROW("serverChannelMaxIdleTimeSeconds", conn_idle_s, "120", 10, 86400, "s",
                 "silent connections are closed"),
    CONF_INT_ROW("shutdownHandoverMs", shutdown_handover_ms, "2000", 0, 60000, "ms",
                 "on SIGTERM: wait for a new leader"),

    CONF_IGNORED_ROW("brokerId", "role and id follow the election: 0 for the leader"),
    CONF_IGNORED_ROW("brokerRole", "role follows the election"),
    CONF_IGNORED_ROW("brokerIP2", "replicas talk over dLegerPeers"),
    CONF_IGNORED_ROW("haListenPort", "replicas talk over dLegerPeers"),
    CONF_IGNORED_ROW("deleteWhen", "nothing is deleted by this version"),
    CONF_IGNORED_ROW("fileReservedTime", "nothing is deleted by this version"),
    CONF_IGNORED_ROW("diskMaxUsedSpaceRatio", "nothing is deleted by this version"),
    CONF_IGNORED_ROW("storePathCommitLog", "everything is below storePathRootDir"),
    CONF_IGNORED_ROW("storePathConsumeQueue", "everything is below storePathRootDir"),
    CONF_IGNORED_ROW("storePathIndex", "everything is below storePathRootDir"),
    CONF_IGNORED_ROW("storePathDLedgerCommitLog", "everything is below storePathRootDir"),
    CONF_IGNORED_ROW("mappedFileSizeConsumeQueue", "index blocks of all queues share files"),
    CONF_IGNORED_ROW("syncFlushTimeout", "a send is answered when its entry is committed"),
    CONF_IGNORED_ROW("slaveTimeout", "a send is answered when its entry is committed"),
    CONF_IGNORED_ROW("flushIntervalCommitLog", "the log is flushed as messages arrive"),
    CONF_IGNORED_ROW("flushCommitLogTimed", "the log is flushed as messages arrive"),
    CONF_IGNORED_ROW("enableBatchPush", "entries are always pushed in batches"),
    CONF_IGNORED_ROW("isolateLogEnable", "no effect"),
    CONF_IGNORED_ROW("sendMessageThreadPoolNums", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("pullMessageThreadPoolNums", "one loop thread serves all requests"),
    CONF_IGNORED_ROW("useReentrantLockWhenPutMessage", "no effect"),
    CONF_IGNORED_ROW("transientStorePoolEnable", "no effect"),
    CONF_IGNORED_ROW("warmMapedFileEnable", "no effect"),
    CONF_IGNORED_ROW("waitTimeMillsInSendQueue", "queues are bounded in bytes, see proposalsMaxBytes"),
    CONF_IGNORED_ROW("brokerFastFailureEnable", "queues are bounded in bytes, see proposalsMaxBytes"),
    CONF_IGNORED_ROW("flushConsumerOffsetInterval", "offsets are in the log, see offsetsGatherMs"),
    CONF_IGNORED_ROW("compressedRegister", "registrations are sent plain"),
    CONF_IGNORED_ROW("forceRegister", "registrations are always sent"),
    CONF_IGNORED_ROW("registerBrokerTimeoutMills", "no effect"),
    CONF_IGNORED_ROW("enablePropertyFilter", "SQL92 filters are not built yet"),
    CONF_IGNORED_ROW("messageDelayLevel", "delay levels are not built yet"),
    CONF_IGNORED_ROW("transactionTimeOut", "transactions are not built yet"),
    CONF_IGNORED_ROW("transactionCheckMax", "transactions are not built yet"),
    CONF_IGNORED_ROW("transactionCheckInterval", "transactions are not built yet"),
    CONF_IGNORED_ROW("slaveReadEnable", "reads are served by the leader"),
    CONF_IGNORED_ROW("aclEnable", "access control is not built yet"),
};
const uint32_t settings_row_count = sizeof(settings_rows) / sizeof(settings_rows[0]);

/* "n0" -> peer 1. */
static int parse_id(struct str text, dl_peer_t *id)
{
    int64_t n;

    if (text.len < 2 || !str_to_i64((struct str){text.p + 1, text.len - 1}, &n) || n < 0 || n > 1000000)
        return ERR_INVALID;
    *id = (dl_peer_t)n + 1;
    return 0;
}

/* "n1-host:port"; the host may contain hyphens. */
static int parse_peer(struct str text, struct settings_peer *peer, struct err *err)
{
    const char *dash = memchr(text.p, '-', text.len);
    struct str id, addr;

    if (dash == NULL)
        goto bad;
    id = (struct str){text.p, (size_t)(dash - text.p)};
    addr = (struct str){dash + 1, text.len - id.len - 1};
    if (parse_id(id, &peer->id) != 0 || addr_split(addr, peer->host, sizeof(peer->host), &peer->port) != 0)
        goto bad;
    return 0;
bad:
    return err_set(err, ERR_INVALID, "dLegerPeers: \"%.*s\" is not of the form n0-host:port", (int)text.len,
                   text.p);
}

static int add_peer(struct settings_peer *peers, uint32_t *count, const struct settings_peer *peer,
                    struct err *err)
{
    uint32_t at = 0;

    if (*count == DL_PEERS_MAX)
        return err_set(err, ERR_INVALID, "dLegerPeers: more than %d peers", DL_PEERS_MAX);
    while (at < *count && peers[at].id < peer->id)
        at++;
    if (at < *count && peers[at].id == peer->id)
        return err_set(err, ERR_INVALID, "dLegerPeers: id n%u stands there twice", peer->id - 1);
    for (uint32_t i = 0; i < *count; i++) {
        if (peers[i].port == peer->port && strcmp(peers[i].host, peer->host) == 0)
            return err_set(err, ERR_INVALID, "dLegerPeers: address %s:%u stands there twice", peer->host,
                           peer->port);
    }
    memmove(&peers[at + 1], &peers[at], (*count - at) * sizeof(peers[0]));
    peers[at] = *peer;
    (*count)++;
    return 0;
}

static bool has_peer(const struct settings_peer *peers, uint32_t count, dl_peer_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].id == id)
            return true;
    }
    return false;
}

static int read_peers(const char *text, struct settings_peer *peers, uint32_t *count, struct err *err)
{
    *count = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ";");
        struct settings_peer peer;
        int rc;

        if (len > 0) {
            rc = parse_peer((struct str){text, len}, &peer, err);
            if (rc == 0)
                rc = add_peer(peers, count, &peer, err);
            if (rc != 0)
                return rc;
        }
        text += len;
        text += *text == ';';
    }
    return 0;
}

/* Names become topics, metric labels and parts of messages. */
static int check_names(const struct settings *s, struct err *err)
{
    const struct {
        const char *key, *value;
    } names[] = {
        {"brokerClusterName", s->cluster_name},
        {"brokerName", s->broker_name},
        {"msgTraceTopicName", s->trace_topic_name},
        {"regionId", s->region_id},
        {"dLegerGroup", s->group != NULL ? s->group : s->broker_name},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!front_topic_name_ok(str_of(names[i].value)))
            return err_set(err, ERR_INVALID, "%s: \"%.80s\" is not 1-127 of %%|a-zA-Z0-9_-", names[i].key,
                           names[i].value);
    }
    if (strlen(s->store_dir) == 0 || strlen(s->store_dir) > SETTINGS_DIR_MAX)
        return err_set(err, ERR_INVALID, "storePathRootDir: \"%.80s\" is not 1-%u bytes long", s->store_dir,
                       SETTINGS_DIR_MAX);
    return 0;
}

int settings_group(const struct settings *s, struct settings_peer *peers, uint32_t *count, dl_peer_t *self,
                   dl_peer_t *preferred, struct err *err)
{
    struct in_addr ip;
    int rc = check_names(s, err);

    if (rc != 0)
        return rc;
    if (s->broker_ip1 != NULL && inet_pton(AF_INET, s->broker_ip1, &ip) != 1)
        return err_set(err, ERR_INVALID, "brokerIP1: \"%s\" is not an IPv4 address", s->broker_ip1);
    if (s->flush_disk_type == ASYNC_FLUSH)
        LOG_WARN("setting without effect", "%s",
                 "flushDiskType=ASYNC_FLUSH: not built yet, every entry is fdatasynced "
                 "before it is acknowledged");
    if (s->election_max_ms <= s->election_min_ms)
        return err_set(err, ERR_INVALID,
                       "dLegerElectionMaxMs: %lld must be more than dLegerElectionMinMs (%lld)",
                       (long long)s->election_max_ms, (long long)s->election_min_ms);
    if (s->heartbeat_ms * 2 > s->election_min_ms)
        return err_set(err, ERR_INVALID,
                       "dLegerHeartbeatMs: %lld must be at most half of dLegerElectionMinMs (%lld)",
                       (long long)s->heartbeat_ms, (long long)s->election_min_ms);
    if (parse_id(str_of(s->self_id), self) != 0)
        return err_set(err, ERR_INVALID, "dLegerSelfId: \"%s\" is not of the form n0", s->self_id);
    *preferred = DL_NOBODY;
    if (s->preferred != NULL && parse_id(str_of(s->preferred), preferred) != 0)
        return err_set(err, ERR_INVALID, "preferredLeaderId: \"%s\" is not of the form n0", s->preferred);
    *count = 0;
    if (s->peers != NULL) {
        rc = read_peers(s->peers, peers, count, err);
        if (rc != 0)
            return rc;
    }
    if (*count == 0 && s->several)
        return err_set(err, ERR_INVALID, "dLegerPeers: not set, although enableDLegerCommitLog=true");
    if (*count == 0) {
        peers[0] = (struct settings_peer){.id = *self, .host = "127.0.0.1"};
        *count = 1;
    }
    if (!has_peer(peers, *count, *self))
        return err_set(err, ERR_INVALID, "dLegerSelfId: %s is not in dLegerPeers \"%s\"", s->self_id,
                       s->peers);
    if (*preferred != DL_NOBODY && !has_peer(peers, *count, *preferred))
        return err_set(err, ERR_INVALID, "preferredLeaderId: %s is not in dLegerPeers", s->preferred);
    return 0;
}
