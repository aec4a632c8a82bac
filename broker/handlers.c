/*
 * handlers.c - THE table: one row per request code that mqbroker answers. A code that is not here is
 * answered with 3 (not supported).
 *
 * Flags say where a request is handled (front.h, gate.c): rows without ROW_LEADER on the replica that got
 * them, the others by the leader. ROW_WRITE ends in a proposal.
 */
#include "broker/handlers.h"

#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/codes.h"

#define READ  ROW_LEADER
#define WRITE (ROW_LEADER | ROW_WRITE)

const struct dispatch_row handler_rows[] = {
    /* messages in */
    {SEND_MESSAGE, "SEND_MESSAGE", handle_send, WRITE | ROW_SEND},
    {SEND_MESSAGE_V2, "SEND_MESSAGE_V2", handle_send, WRITE | ROW_SEND},
    {SEND_BATCH_MESSAGE, "SEND_BATCH_MESSAGE", handle_send_batch, WRITE | ROW_SEND},
    /* messages out */
    {PULL_MESSAGE, "PULL_MESSAGE", handle_pull, READ | ROW_LONG},
    {LITE_PULL_MESSAGE, "LITE_PULL_MESSAGE", handle_pull, READ | ROW_LONG},
    {VIEW_MESSAGE_BY_ID, "VIEW_MESSAGE_BY_ID", handle_view_message, READ},
    /* offsets */
    {QUERY_CONSUMER_OFFSET, "QUERY_CONSUMER_OFFSET", handle_offset_query, READ},
    {UPDATE_CONSUMER_OFFSET, "UPDATE_CONSUMER_OFFSET", handle_offset_update, READ},
    {SEARCH_OFFSET_BY_TIMESTAMP, "SEARCH_OFFSET_BY_TIMESTAMP", handle_offset_by_time, READ},
    {GET_MAX_OFFSET, "GET_MAX_OFFSET", handle_offset_max, READ},
    {GET_MIN_OFFSET, "GET_MIN_OFFSET", handle_offset_min, READ},
    {GET_EARLIEST_MSG_STORETIME, "GET_EARLIEST_MSG_STORETIME", handle_earliest_time, READ},
    {GET_ALL_CONSUMER_OFFSET, "GET_ALL_CONSUMER_OFFSET", handle_offsets_all, READ},
    /* clients: each replica knows who is connected to it, and consumers heartbeat to all; the leader is asked,
     * because a replica that has just started knows only some yet */
    {HEART_BEAT, "HEART_BEAT", handle_heartbeat, ROW_LOCAL},
    {UNREGISTER_CLIENT, "UNREGISTER_CLIENT", handle_unregister, ROW_LOCAL},
    {GET_CONSUMER_LIST_BY_GROUP, "GET_CONSUMER_LIST_BY_GROUP", handle_consumer_list, READ},
    {CHECK_CLIENT_CONFIG, "CHECK_CLIENT_CONFIG", handle_check_client_config, ROW_LOCAL},
    /* queue locks of orderly consumers: replicated state */
    {LOCK_BATCH_MQ, "LOCK_BATCH_MQ", handle_lock, WRITE},
    {UNLOCK_BATCH_MQ, "UNLOCK_BATCH_MQ", handle_unlock, WRITE},
    /* topics */
    {UPDATE_AND_CREATE_TOPIC, "UPDATE_AND_CREATE_TOPIC", handle_topic_put, WRITE},
    {UPDATE_AND_CREATE_TOPIC_LIST, "UPDATE_AND_CREATE_TOPIC_LIST", handle_topic_put_list, WRITE},
    {DELETE_TOPIC_IN_BROKER, "DELETE_TOPIC_IN_BROKER", handle_topic_delete, WRITE},
    {GET_ALL_TOPIC_CONFIG, "GET_ALL_TOPIC_CONFIG", handle_topics_all, READ},
    {GET_TOPIC_CONFIG, "GET_TOPIC_CONFIG", handle_topic_get, READ},
    {GET_SYSTEM_TOPIC_LIST_FROM_BROKER, "GET_SYSTEM_TOPIC_LIST_FROM_BROKER", handle_system_topics, READ},
    {GET_ROUTEINFO_BY_TOPIC, "GET_ROUTEINFO_BY_TOPIC", handle_route, ROW_LOCAL},
    /* groups */
    {UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", handle_group_put, WRITE},
    {UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST",
     handle_group_put_list, WRITE},
    {DELETE_SUBSCRIPTIONGROUP, "DELETE_SUBSCRIPTIONGROUP", handle_group_delete, WRITE},
    {GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "GET_ALL_SUBSCRIPTIONGROUP_CONFIG", handle_groups_all, READ},
    {GET_SUBSCRIPTIONGROUP_CONFIG, "GET_SUBSCRIPTIONGROUP_CONFIG", handle_group_get, READ},
    /* what operators ask */
    {GET_BROKER_RUNTIME_INFO, "GET_BROKER_RUNTIME_INFO", handle_runtime_info, ROW_LOCAL},
    {GET_BROKER_CONFIG, "GET_BROKER_CONFIG", handle_get_config, ROW_LOCAL},
    {GET_TOPIC_STATS_INFO, "GET_TOPIC_STATS_INFO", handle_topic_stats, READ},
    {GET_CONSUMER_CONNECTION_LIST, "GET_CONSUMER_CONNECTION_LIST", handle_consumer_connections, READ},
    {GET_PRODUCER_CONNECTION_LIST, "GET_PRODUCER_CONNECTION_LIST", handle_producer_connections, READ},
    {GET_ALL_PRODUCER_INFO, "GET_ALL_PRODUCER_INFO", handle_all_producers, READ},
    {GET_CONSUME_STATS, "GET_CONSUME_STATS", handle_consume_stats, READ},
    {QUERY_TOPIC_CONSUME_BY_WHO, "QUERY_TOPIC_CONSUME_BY_WHO", handle_topic_groups, READ},
    {QUERY_TOPICS_BY_CONSUMER, "QUERY_TOPICS_BY_CONSUMER", handle_topics_of_group, READ},
    {QUERY_SUBSCRIPTION_BY_CONSUMER, "QUERY_SUBSCRIPTION_BY_CONSUMER", handle_subscription, READ},
    {GET_CONSUMER_RUNNING_INFO, "GET_CONSUMER_RUNNING_INFO", handle_running_info, READ},
    /* asked for by clients and tools, not built yet: answered with 3 and words */
    {QUERY_MESSAGE, "QUERY_MESSAGE", handle_later, ROW_LOCAL},
    {CONSUMER_SEND_MSG_BACK, "CONSUMER_SEND_MSG_BACK", handle_later, ROW_LOCAL},
    {END_TRANSACTION, "END_TRANSACTION", handle_later, ROW_LOCAL},
    {INVOKE_BROKER_TO_RESET_OFFSET, "INVOKE_BROKER_TO_RESET_OFFSET", handle_later, ROW_LOCAL},
    {CONSUME_MESSAGE_DIRECTLY, "CONSUME_MESSAGE_DIRECTLY", handle_later, ROW_LOCAL},
    {SEND_REPLY_MESSAGE, "SEND_REPLY_MESSAGE", handle_later, ROW_LOCAL},
    {SEND_REPLY_MESSAGE_V2, "SEND_REPLY_MESSAGE_V2", handle_later, ROW_LOCAL},
    {RECALL_MESSAGE, "RECALL_MESSAGE", handle_later, ROW_LOCAL},
    {QUERY_ASSIGNMENT, "QUERY_ASSIGNMENT", handle_later, ROW_LOCAL},
    {POP_MESSAGE, "POP_MESSAGE", handle_later, ROW_LOCAL},
    {ACK_MESSAGE, "ACK_MESSAGE", handle_later, ROW_LOCAL},
    {CHANGE_MESSAGE_INVISIBLETIME, "CHANGE_MESSAGE_INVISIBLETIME", handle_later, ROW_LOCAL},
    /* the log itself */
    {RAFT_STATUS, "RAFT_STATUS", handle_raft_status, ROW_LOCAL},
    {RAFT_TRANSFER, "RAFT_TRANSFER", handle_raft_transfer, READ},
};
const uint32_t handler_row_count = sizeof(handler_rows) / sizeof(handler_rows[0]);
