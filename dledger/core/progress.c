/* progress.c - see progress.h. */
#include "dledger/core/progress.h"

#include "common/ensure.h"

static void forget_pushes(struct progress *progress)
{
    progress->head = 0;
    progress->count = 0;
    progress->inflight_bytes = 0;
}

void progress_start(struct progress *progress, dl_index_t last, uint64_t now_ms)
{
    progress->match = 0;
    progress->match_ms = now_ms;
    progress->seen = 0;
    progress->told_commit = 0;
    progress->stream_since_ms = 0;
    progress->moved_ms = now_ms;
    progress->last_ack_ms = now_ms; /* a grace of one check-quorum period, not an answer: see lease_ms */
    progress->lease_ms = 0;
    progress->lost_ms = 0;
    progress->joined = true; /* nothing of it counts before its first word says so */
    progress->blank_ms = 0;
    progress_compare(progress, last, 0);
}

void progress_compare(struct progress *progress, dl_index_t probe, dl_index_t floor)
{
    ENSURE(floor >= progress->match);
    forget_pushes(progress);
    progress->comparing = true;
    progress->probe_due = true;
    progress->probe_since_ms = 0;
    progress->next = (probe > floor ? probe : floor) + 1;
}

void progress_stream(struct progress *progress, dl_index_t agreed, uint64_t now_ms)
{
    ENSURE(agreed >= progress->match);
    progress->comparing = false;
    progress->probe_due = false;
    progress->next = agreed + 1;
    progress->stream_since_ms = now_ms;
    progress->moved_ms = now_ms;
}

void progress_sent(struct progress *progress, dl_index_t last, uint32_t bytes, uint64_t now_ms)
{
    ENSURE(!progress->comparing);
    ENSURE(last >= progress->next);
    ENSURE(progress->count < PROGRESS_PUSHES_MAX);
    uint32_t at = (progress->head + progress->count++) % PROGRESS_PUSHES_MAX;
    progress->ring[at].last = last;
    progress->ring[at].bytes = bytes;
    progress->inflight_bytes += bytes;
    progress->next = last + 1;
    progress->moved_ms = now_ms;
}

void progress_acked(struct progress *progress, dl_index_t match, dl_index_t seen, uint64_t now_ms)
{
    if (match > progress->match) {
        progress->match = match;
        progress->match_ms = now_ms;
        progress->moved_ms = now_ms;
    }
    if (seen > progress->seen) {
        progress->seen = seen;
        progress->moved_ms = now_ms;
    }
    if (progress->next <= progress->match)
        progress->next = progress->match + 1;
    while (progress->count > 0 && progress->ring[progress->head].last <= progress->match) {
        progress->inflight_bytes -= progress->ring[progress->head].bytes;
        progress->head = (progress->head + 1) % PROGRESS_PUSHES_MAX;
        progress->count--;
    }
}

uint64_t progress_inflight(const struct progress *progress)
{
    return progress->comparing ? 0 : progress->next - 1 - progress->match;
}

bool progress_has_room(const struct progress *progress, uint32_t window_entries, uint32_t window_bytes)
{
    return !progress->comparing && progress->count < PROGRESS_PUSHES_MAX &&
           progress_inflight(progress) < window_entries && progress->inflight_bytes < window_bytes;
}

void progress_check(const struct progress *progress, dl_index_t last)
{
    ENSURE(progress->match < progress->next);
    ENSURE(progress->next <= last + 1);
    ENSURE(progress->count <= PROGRESS_PUSHES_MAX);
    ENSURE(!progress->comparing || progress->count == 0);
    ENSURE(progress->count > 0 || progress->inflight_bytes == 0);
    if (progress->count > 0) {
        uint32_t newest = (progress->head + progress->count - 1) % PROGRESS_PUSHES_MAX;
        ENSURE(progress->ring[progress->head].last > progress->match);
        ENSURE(progress->ring[newest].last < progress->next);
    }
}
