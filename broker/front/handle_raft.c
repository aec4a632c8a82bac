/*
 * handle_raft.c - what the log looks like from this replica (RAFT_STATUS), and planned hand-over
 * (RAFT_TRANSFER). Our own verbs, for mqadmin raftStatus and
 * transferLeader.
 */
#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/codes.h"

static const char *const role_names[] = {"follower", "precandidate", "candidate", "leader"};

const char *front_role_name(enum dl_role role)
{
    return role_names[role];
}

static void put_i64(struct jw *w, const char *key, uint64_t value)
{
    jw_key(w, key);
    jw_i64(w, (int64_t)value);
}

static void put_peer_id(struct jw *w, const char *key, dl_peer_t id)
{
    char text[16] = "";

    if (id != DL_NOBODY)
        snprintf(text, sizeof(text), "n%u", id - 1);
    jw_key(w, key);
    jw_cstr(w, text);
}

static void put_peers(struct front *f, struct jw *w)
{
    jw_key(w, "peers");
    jw_array(w);
    for (uint32_t i = 0; i < f->members.count; i++) {
        struct dl_peer_view v;
        dl_peer_t id = f->members.id[i];

        if (id == f->self)
            continue;
        jw_object(w);
        put_peer_id(w, "id", id);
        jw_key(w, "connected");
        jw_bool(w, f->transport->is_up(f->transport->impl, id));
        if (dl_node_peer_view(f->node, id, &v)) {
            jw_key(w, "joined");
            jw_bool(w, v.joined);
            put_i64(w, "match", v.match);
            put_i64(w, "next", v.next);
            put_i64(w, "inflightEntries", v.inflight_entries);
            put_i64(w, "inflightBytes", v.inflight_bytes);
            put_i64(w, "silentMs", v.last_ack_ms == 0 ? 0 : loop_now_ms(f->loop) - v.last_ack_ms);
        }
        jw_end_object(w);
    }
    jw_end_array(w);
}

void handle_raft_status(struct request *req)
{
    struct front *f = req->user;
    struct dl_node_status s;
    struct dl_store_view v;
    struct bld body = bld_of(FRONT_BODY_MAX);
    struct jw w = jw_of(&body);

    dl_node_status(f->node, &s);
    dl_store_view(f->store, &v);
    jw_object(&w);
    jw_key(&w, "group");
    jw_cstr(&w, f->settings->group != NULL ? f->settings->group : f->settings->broker_name);
    put_peer_id(&w, "self", f->self);
    jw_key(&w, "role");
    jw_cstr(&w, front_role_name(s.core.role));
    jw_key(&w, "serving");
    jw_bool(&w, s.serving);
    put_i64(&w, "term", s.core.term);
    put_peer_id(&w, "leader", s.core.leader);
    put_peer_id(&w, "vote", s.core.vote);
    jw_key(&w, "joined");
    jw_bool(&w, s.core.joined);
    put_i64(&w, "ledgerBeginIndex", s.core.begin);
    put_i64(&w, "ledgerEndIndex", s.core.last);
    put_i64(&w, "persistedIndex", s.core.persisted);
    put_i64(&w, "committedIndex", s.core.commit);
    put_i64(&w, "appliedIndex", s.applied);
    put_i64(&w, "checkpointedIndex", state_checkpointed(f->state));
    put_i64(&w, "beginPosition", v.begin_pos);
    put_i64(&w, "endPosition", v.end_pos);
    put_i64(&w, "elections", s.core.elections);
    put_i64(&w, "proposalsWaiting", s.proposals_waiting);
    put_peers(f, &w);
    jw_end_object(&w);
    reply_body(&req->reply, &body);
}

void handle_raft_transfer(struct request *req)
{
    struct front *f = req->user;
    int64_t to =
        remoting_i64_or(req->cmd, "to", -1); /* the number in dLegerSelfId; -1 = whoever is furthest */
    int rc = to < -1 || to > 1000000 ? ERR_INVALID
                                     : dl_node_transfer(f->node, to < 0 ? DL_NOBODY : (dl_peer_t)to + 1);

    if (rc == ERR_INVALID)
        reply_code(&req->reply, RC_INVALID_PARAMETER, "n%lld is not another voter of this group",
                   (long long)to);
    else if (rc != 0)
        front_reply_failed(&req->reply, rc);
    else
        reply_ok(&req->reply);
}
