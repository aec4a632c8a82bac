/*
 * front.c - builds this room and passes on the news from below. See front.h.
 */
#include "broker/front/front.h"

#include "broker/front/clients.h"
#include "broker/front/gate.h"
#include "broker/front/gather.h"
#include "broker/front/hold.h"
#include "broker/front/push.h"
#include "common/log.h"

static void on_arrival(void *arg, const struct topic *t, uint32_t queue_id, uint64_t max_offset)
{
    struct front *f = arg;

    hold_on_arrival(f->hold, t, queue_id, max_offset);
}

static void on_second(void *arg)
{
    struct front *f = arg;

    front_rate_sample(&f->rates.put, metric_get(&f->counters.sends));
    front_rate_sample(&f->rates.get, metric_get(&f->counters.pull_messages));
    front_rate_sample(&f->rates.pulls, metric_get(&f->counters.pulls));
    timer_start(&f->second, 1000);
}

void front_init(struct front *f, const struct dispatch_row *rows, uint32_t row_count)
{
    dispatch_init(&f->dispatch, rows, row_count, f);
    f->dispatch.before = gate_before;
    f->dispatch.on_response = pushes_on_response;
    f->proposals = proposals_new(f);
    f->park = park_new(f);
    f->pushes = pushes_new(f);
    f->clients = clients_new(f);
    f->gather = gather_new(f);
    f->hold = hold_new(f);
    state_on_arrival(f->state, on_arrival, f);
    timer_init(&f->second, f->loop, on_second, f);
    timer_start(&f->second, 0);
}

void front_stop(struct front *f)
{
    f->serving = false;
    f->leader = DL_NOBODY;
    hold_on_not_serving(f->hold);
    gather_on_not_serving(f->gather);
}

void front_release(struct front *f)
{
    timer_release(&f->second);
    proposals_report(f->proposals);
    hold_free(f->hold);
    gather_free(f->gather);
    clients_free(f->clients);
    pushes_free(f->pushes);
    park_free(f->park);
    proposals_free(f->proposals);
    dispatch_release(&f->dispatch);
}

void front_on_changed(struct front *f, const struct dl_node_status *status)
{
    bool began = status->serving && !f->serving;
    bool ended = !status->serving && f->serving;
    bool named = f->leader != status->core.leader || began || ended;

    f->serving = status->serving;
    f->leader = status->core.leader;
    f->term = status->core.term;
    if (ended) {
        hold_on_not_serving(f->hold);
        gather_on_not_serving(f->gather);
    }
    if (began) {
        LOG_INFO("serving", "group=%s term=%llu self=n%u", f->settings->broker_name,
                 (unsigned long long)f->term, f->self - 1);
        front_ensure_system_topics(f);
        clients_on_serving(f->clients);
    }
    gate_on_changed(f);
    if (named)
        f->register_now(f->register_arg);
}

void front_on_applied(struct front *f)
{
    if (state_take_changes(f->state).topics && f->serving)
        f->register_now(f->register_arg);
    hold_run(f->hold);
}

void front_on_conn_closed(struct front *f, uint64_t conn_id)
{
    pushes_on_close(f->pushes, conn_id);
    clients_on_close(f->clients, conn_id);
    hold_on_close(f->hold, conn_id);
}
