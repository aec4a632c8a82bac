/*
 * forms.c - JSON forms that several handlers and the registration share (reference 4.2, 4.4).
 */
#include "broker/front/front.h"

void front_topic_config_members(struct jw *w, const struct topic *t, uint32_t permission_mask)
{
    jw_key(w, "topicName");
    jw_str(w, (struct str){t->name, t->name_len});
    jw_key(w, "readQueueNums");
    jw_i64(w, t->read_queues);
    jw_key(w, "writeQueueNums");
    jw_i64(w, t->write_queues);
    jw_key(w, "perm");
    jw_i64(w, t->perm & (permission_mask | 1u));
    jw_key(w, "topicFilterType");
    jw_cstr(w, t->filter_type[0] != '\0' ? t->filter_type : "SINGLE_TAG");
    jw_key(w, "topicSysFlag");
    jw_i64(w, t->sys_flag);
    jw_key(w, "order");
    jw_bool(w, t->order);
    if (t->attributes != NULL) {
        jw_key(w, "attributes");
        jw_raw(w, str_of(t->attributes));
    }
}

void front_topic_config_json(struct jw *w, const struct topic *t, uint32_t permission_mask)
{
    jw_object(w);
    front_topic_config_members(w, t, permission_mask);
    jw_end_object(w);
}

void front_data_version_json(struct jw *w, struct data_version v)
{
    jw_object(w);
    jw_key(w, "counter");
    jw_i64(w, (int64_t)v.counter);
    jw_key(w, "stateVersion");
    jw_i64(w, (int64_t)v.state_version);
    jw_key(w, "timestamp");
    jw_i64(w, (int64_t)v.timestamp_ms);
    jw_end_object(w);
}

void front_message_queue_members(struct jw *w, struct str topic, struct str broker, uint32_t queue_id)
{
    jw_key(w, "brokerName");
    jw_str(w, broker);
    jw_key(w, "queueId");
    jw_i64(w, queue_id);
    jw_key(w, "topic");
    jw_str(w, topic);
}

struct table_writer {
    struct jw *w;
    uint32_t mask;
};

static void write_topic(void *arg, const struct topic *t)
{
    struct table_writer *tw = arg;

    jw_key_str(tw->w, (struct str){t->name, t->name_len});
    front_topic_config_json(tw->w, t, tw->mask);
}

void front_topic_table_json(struct front *f, struct jw *w, struct data_version version, bool with_topics)
{
    struct table_writer tw = {w, (uint32_t)f->settings->broker_permission};

    jw_object(w);
    jw_key(w, "dataVersion");
    front_data_version_json(w, version);
    jw_key(w, "mappingDataVersion");
    front_data_version_json(w, version);
    jw_key(w, "topicConfigTable");
    jw_object(w);
    if (with_topics)
        state_each_topic(f->state, write_topic, &tw);
    jw_end_object(w);
    jw_key(w, "topicQueueMappingDetailMap");
    jw_object(w);
    jw_end_object(w);
    jw_key(w, "topicQueueMappingInfoMap");
    jw_object(w);
    jw_end_object(w);
    jw_end_object(w);
}
