/*
 * progress.h - what a leader knows about one peer, and the window of pushes under way to it.
 *
 *             match            next-1           last
 *     ..........|................|................|      the leader's log
 *     persisted      in flight     not yet sent
 *
 * A peer is either COMPARED (one probe at next-1 at a time, nothing is pushed) or STREAMED (pushes leave one
 * after another without waiting). It starts compared, is streamed as soon as the probe has shown where the
 * logs agree, and is compared again when a push did not fit, was lost, or nothing moves.
 *
 * Invariants: match < next <= last + 1. The ring holds the pushes under way, oldest first, last indexes
 * strictly ascending, all > match; empty while comparing. inflight_bytes is the sum over the ring.
 */
#ifndef DLEDGER_CORE_PROGRESS_H
#define DLEDGER_CORE_PROGRESS_H

#include "dledger/core/types.h"

#define PROGRESS_PUSHES_MAX 256u /* pushes under way to one peer, whatever their size */

struct progress {
    dl_index_t match;       /* equal to ours and persisted by the peer; only rises within a term */
    dl_index_t next;        /* next entry to send; while comparing the probe is at next-1 */
    dl_index_t seen;        /* how far the peer's log followed ours by its newest word, synced or not */
    dl_index_t told_commit; /* commit index the peer has been sent */
    bool comparing;
    bool probe_due; /* comparing: send the probe at the end of this step, not at the next heartbeat */
    uint64_t probe_since_ms;  /* comparing: sent_ms of the first probe at next-1, 0 = not sent yet; answers to
                               * probes sent before are stale. Repeats count: a round trip may be longer than
                               * a heartbeat */
    uint64_t stream_since_ms; /* streaming: refusals of pushes sent before are stale */
    uint64_t moved_ms;        /* when something was last sent, seen or matched */
    uint64_t match_ms;        /* when match last rose; the start of the term if it has not */
    uint64_t last_ack_ms;     /* when the newest answer arrived */
    uint64_t lease_ms;        /* our clock at sending the newest push it answered; 0 = none in this term */
    uint64_t lost_ms;         /* when the connection was last lost; 0 = never in this term */
    bool joined;              /* it counts in majorities, by its newest word (join.c) */
    uint64_t blank_ms;        /* when we learned that it does not; 0 = not in this term ... */
    uint64_t blank_life;      /* ... in which life of its process ... */
    dl_index_t fence;         /* ... and the first entry that our log did not hold then */
    struct {
        dl_index_t last;
        uint32_t bytes;
    } ring[PROGRESS_PUSHES_MAX];
    uint32_t head, count;
    uint64_t inflight_bytes;
};

/* A new leader knows nothing about a peer but that its own log, up to `last`, is the first guess. */
void progress_start(struct progress *progress, dl_index_t last, uint64_t now_ms);

/* Go back to comparing with a first probe at `probe` (at least `floor`, which is >= match). Forgets what is
 * under way. */
void progress_compare(struct progress *progress, dl_index_t probe, dl_index_t floor);

/* The logs agree up to `agreed`: stream from there. */
void progress_stream(struct progress *progress, dl_index_t agreed, uint64_t now_ms);

/* A push up to `last` of `bytes` was handed to the transport. */
void progress_sent(struct progress *progress, dl_index_t last, uint32_t bytes, uint64_t now_ms);

/* The peer has persisted everything up to `match` and has, maybe not synced, everything up to `seen` >=
 * match. */
void progress_acked(struct progress *progress, dl_index_t match, dl_index_t seen, uint64_t now_ms);

/* Entries under way. */
uint64_t progress_inflight(const struct progress *progress);

/* True when another push may be sent (whether there is something to send is the caller's question). */
bool progress_has_room(const struct progress *progress, uint32_t window_entries, uint32_t window_bytes);

/* Stop the process when an invariant does not hold; `last` is the end of the leader's log. */
void progress_check(const struct progress *progress, dl_index_t last);

#endif
