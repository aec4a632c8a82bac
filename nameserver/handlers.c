/*
 * handlers.c - THE table: one row per request code that mqnamesrv answers. A code that is not here is answered
 * with 3 (not supported). Requests and answers: reference 3.1, 3.2.
 */
#include "nameserver/handlers.h"

#include "common/codes.h"

const struct dispatch_row handler_rows[] = {
    /* asked by clients */
    {GET_ROUTEINFO_BY_TOPIC, "GET_ROUTEINFO_BY_TOPIC", handle_route, 0},
    /* brokers */
    {REGISTER_BROKER, "REGISTER_BROKER", handle_register, 0},
    {UNREGISTER_BROKER, "UNREGISTER_BROKER", handle_unregister, 0},
    {QUERY_DATA_VERSION, "QUERY_DATA_VERSION", handle_query_version, 0},
    {BROKER_HEARTBEAT, "BROKER_HEARTBEAT", handle_heartbeat, 0},
    {GET_BROKER_MEMBER_GROUP, "GET_BROKER_MEMBER_GROUP", handle_members, 0},
    /* asked by operators */
    {GET_BROKER_CLUSTER_INFO, "GET_BROKER_CLUSTER_INFO", handle_cluster, 0},
    {GET_ALL_TOPIC_LIST_FROM_NAMESERVER, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", handle_all_topics, 0},
    {GET_TOPICS_BY_CLUSTER, "GET_TOPICS_BY_CLUSTER", handle_cluster_topics, 0},
    {GET_SYSTEM_TOPIC_LIST_FROM_NS, "GET_SYSTEM_TOPIC_LIST_FROM_NS", handle_system_topics, 0},
    {GET_UNIT_TOPIC_LIST, "GET_UNIT_TOPIC_LIST", handle_unit_topics, 0},
    {GET_HAS_UNIT_SUB_TOPIC_LIST, "GET_HAS_UNIT_SUB_TOPIC_LIST", handle_unit_topics, 0},
    {GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST", handle_unit_topics, 0},
    /* changed by operators */
    {WIPE_WRITE_PERM_OF_BROKER, "WIPE_WRITE_PERM_OF_BROKER", handle_wipe_write, 0},
    {ADD_WRITE_PERM_OF_BROKER, "ADD_WRITE_PERM_OF_BROKER", handle_add_write, 0},
    {DELETE_TOPIC_IN_NAMESRV, "DELETE_TOPIC_IN_NAMESRV", handle_topic_delete, 0},
    {REGISTER_TOPIC_IN_NAMESRV, "REGISTER_TOPIC_IN_NAMESRV", handle_topic_register, 0},
    {PUT_KV_CONFIG, "PUT_KV_CONFIG", handle_kv_put, 0},
    {GET_KV_CONFIG, "GET_KV_CONFIG", handle_kv_get, 0},
    {DELETE_KV_CONFIG, "DELETE_KV_CONFIG", handle_kv_delete, 0},
    {GET_KVLIST_BY_NAMESPACE, "GET_KVLIST_BY_NAMESPACE", handle_kv_namespace, 0},
    {UPDATE_NAMESRV_CONFIG, "UPDATE_NAMESRV_CONFIG", handle_config_update, 0},
    {GET_NAMESRV_CONFIG, "GET_NAMESRV_CONFIG", handle_config_get, 0},
};
const uint32_t handler_row_count = sizeof(handler_rows) / sizeof(handler_rows[0]);
