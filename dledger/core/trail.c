/* trail.c - see trail.h. */
#include "dledger/core/trail.h"

#include <stdlib.h>
#include <string.h>

bool trail_runs_valid(const struct dl_core_start *start)
{
    bool empty = start->end_index + 1 == start->begin_index;
    if (empty || start->run_count == 0)
        return empty && start->run_count == 0;
    if (start->runs == NULL || start->runs[0].first != start->begin_index || start->runs[0].term == 0 ||
        start->runs[0].term < start->begin_prev_term)
        return false;
    for (uint32_t i = 1; i < start->run_count; i++)
        if (start->runs[i].first <= start->runs[i - 1].first ||
            start->runs[i].term <= start->runs[i - 1].term)
            return false;
    return start->runs[start->run_count - 1].first <= start->end_index;
}

void trail_init(struct trail *trail, const struct dl_core_start *start)
{
    *trail = (struct trail){
        .begin = start->begin_index,
        .last = start->end_index,
        .before_term = start->begin_prev_term,
    };
    trail_reserve(trail, start->run_count + TRAIL_RUNS_START);
    if (start->run_count > 0)
        memcpy(trail->runs, start->runs, start->run_count * sizeof(trail->runs[0]));
    trail->count = start->run_count;
}

void trail_release(struct trail *trail)
{
    free(trail->runs);
    trail->runs = NULL;
}

void trail_reserve(struct trail *trail, uint32_t extra)
{
    if (trail->capacity - trail->count >= extra)
        return;
    ENSURE(extra <= UINT32_MAX / 4 && trail->count <= UINT32_MAX / 4);
    uint32_t capacity = trail->capacity == 0 ? TRAIL_RUNS_START : trail->capacity;
    while (capacity - trail->count < extra)
        capacity *= 2;
    struct dl_term_run *runs = realloc(trail->runs, capacity * sizeof(runs[0]));
    ENSURE(runs != NULL);
    trail->runs = runs;
    trail->capacity = capacity;
}

void trail_append(struct trail *trail, dl_term_t term, uint64_t count)
{
    ENSURE(count > 0);
    ENSURE(term >= trail_last_term(trail) && term > 0);
    if (trail->count == 0 || trail->runs[trail->count - 1].term != term) {
        ENSURE(trail->count < trail->capacity);
        trail->runs[trail->count++] = (struct dl_term_run){.first = trail->last + 1, .term = term};
    }
    trail->last += count;
}

void trail_truncate(struct trail *trail, dl_index_t from)
{
    ENSURE(from >= trail->begin);
    ENSURE(from <= trail->last);
    trail->last = from - 1;
    while (trail->count > 0 && trail->runs[trail->count - 1].first >= from)
        trail->count--;
}

/* Position of the run that holds `index`, which is in begin..last. */
static uint32_t run_of(const struct trail *trail, dl_index_t index)
{
    uint32_t low = 0, high = trail->count; /* the answer is in low..high-1 */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (trail->runs[mid].first <= index)
            low = mid;
        else
            high = mid;
    }
    return low;
}

void trail_trim(struct trail *trail, dl_index_t upto)
{
    ENSURE(upto >= trail->begin);
    ENSURE(upto <= trail->last);
    uint32_t gone = run_of(trail, upto);
    trail->before_term = trail->runs[gone].term;
    trail->begin = upto + 1;
    dl_index_t run_end = gone + 1 < trail->count ? trail->runs[gone + 1].first - 1 : trail->last;
    if (run_end == upto)
        gone++;
    trail->count -= gone;
    memmove(trail->runs, trail->runs + gone, trail->count * sizeof(trail->runs[0]));
    if (trail->count > 0)
        trail->runs[0].first = trail->begin;
}

dl_term_t trail_term(const struct trail *trail, dl_index_t index)
{
    if (index + 1 == trail->begin)
        return trail->before_term;
    if (index < trail->begin || index > trail->last)
        return 0;
    const struct dl_term_run *newest = &trail->runs[trail->count - 1];
    return index >= newest->first ? newest->term : trail->runs[run_of(trail, index)].term;
}

dl_index_t trail_agree(const struct trail *trail, dl_index_t index, dl_term_t term)
{
    uint32_t low = 0,
             high = trail->count; /* runs before `low` have terms <= `term`, runs from `high` on do not */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (trail->runs[mid].term <= term)
            low = mid + 1;
        else
            high = mid;
    }
    dl_index_t end = low == trail->count ? trail->last : trail->runs[low].first - 1;
    dl_index_t least = trail->begin - 1;
    end = end < index ? end : index;
    return end > least ? end : least;
}

dl_term_t trail_last_term(const struct trail *trail)
{
    return trail->count > 0 ? trail->runs[trail->count - 1].term : trail->before_term;
}
