/*
 * describe.c - commands as text. Names are cut to what the state would accept, so that a hostile command does
 * not flood the log.
 */
#include "broker/state/describe.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME "%.255s"

void describe_topic_put(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__TopicPut *m = (const Ledgermq__Command__TopicPut *)msg;
    const Ledgermq__Command__TopicConfig *t = m->topic;
    if (t)
        snprintf(out, out_size, "topic=" NAME " read=%u write=%u perm=%u create_only=%d", t->name,
                 t->read_queues, t->write_queues, t->perm, m->create_only);
    else
        snprintf(out, out_size, "topic=");
}

void describe_topic_delete(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__TopicDelete *m = (const Ledgermq__Command__TopicDelete *)msg;
    snprintf(out, out_size, "topic=" NAME, m->name);
}

void describe_group_put(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__GroupPut *m = (const Ledgermq__Command__GroupPut *)msg;
    snprintf(out, out_size, "group=" NAME " create_only=%d", m->name, m->create_only);
}

void describe_group_delete(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__GroupDelete *m = (const Ledgermq__Command__GroupDelete *)msg;
    snprintf(out, out_size, "group=" NAME " clean_offsets=%d", m->name, m->clean_offsets);
}

void describe_offsets_commit(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__OffsetsCommit *m = (const Ledgermq__Command__OffsetsCommit *)msg;
    int n = snprintf(out, out_size, "commits=%zu", m->n_commits);
    if (m->n_commits > 0 && n > 0 && (size_t)n < out_size)
        snprintf(out + n, out_size - (size_t)n, " first=" NAME "@%.127s/%u:%" PRIu64, m->commits[0]->group,
                 m->commits[0]->topic, m->commits[0]->queue_id, m->commits[0]->offset);
}

void describe_queues_lock(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__QueuesLock *m = (const Ledgermq__Command__QueuesLock *)msg;
    snprintf(out, out_size, "group=" NAME " client=%.127s queues=%zu", m->group, m->client_id, m->n_queues);
}

void describe_queues_unlock(const ProtobufCMessage *msg, char *out, size_t out_size)
{
    const Ledgermq__Command__QueuesUnlock *m = (const Ledgermq__Command__QueuesUnlock *)msg;
    snprintf(out, out_size, "group=" NAME " client=%.127s queues=%zu", m->group, m->client_id, m->n_queues);
}
