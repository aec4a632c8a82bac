/*
 * trail.h - the log as the core sees it: index -> term, kept as runs of equal terms.
 *
 * Terms never fall along a log, so a million entries of one leader are one run, and both questions the core
 * has ("which term is at this index?", "how far does the log go with terms up to this one?") are binary
 * searches.
 *
 * Memory: the table starts with TRAIL_RUNS_START runs and doubles. It grows in trail_reserve() only, which
 * the core calls before it begins to decide; append and truncate never allocate. A run costs 16 bytes and an
 * election, retention (trail_trim) removes them.
 */
#ifndef DLEDGER_CORE_TRAIL_H
#define DLEDGER_CORE_TRAIL_H

#include "dledger/core/core.h"

#define TRAIL_RUNS_START 256u

struct trail {
    dl_index_t begin;      /* first entry kept, >= 1 */
    dl_index_t last;       /* last entry, begin - 1 when empty */
    dl_term_t before_term; /* term of entry begin - 1; 0 when there is none */
    struct dl_term_run *runs;
    uint32_t count, capacity;
};

/* Take over what recovery found. `runs` are copied; they must be valid (trail_runs_valid). Out of memory
 * stops the process. */
void trail_init(struct trail *trail, const struct dl_core_start *start);
void trail_release(struct trail *trail);

/* True when the runs are ascending in index and term, begin at begin_index and do not pass end_index. */
bool trail_runs_valid(const struct dl_core_start *start);

/* Make room for `extra` more runs. */
void trail_reserve(struct trail *trail, uint32_t extra);

/* Add `count` entries of `term` (>= the last term); room for one run must have been reserved. */
void trail_append(struct trail *trail, dl_term_t term, uint64_t count);

/* Remove the entries from `from` on; begin <= from <= last. */
void trail_truncate(struct trail *trail, dl_index_t from);

/* Forget the entries up to `upto`; begin <= upto <= last. */
void trail_trim(struct trail *trail, dl_index_t upto);

/* Term of the entry at `index`; 0 outside begin-1..last (and for index 0). */
dl_term_t trail_term(const struct trail *trail, dl_index_t index);

/* Largest index <= `index` whose term is <= `term`: the only places where this log and another with `term` at
 * `index` can agree are there and before. begin - 1 when nothing kept qualifies. */
dl_index_t trail_agree(const struct trail *trail, dl_index_t index, dl_term_t term);

/* Term of the last entry, before_term when empty. */
dl_term_t trail_last_term(const struct trail *trail);

#endif
