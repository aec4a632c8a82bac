/*
 * checks.h - what must hold, whatever goes wrong. The rules' numbers are those of docs/testing.md.
 *
 * Raft and store, after every event: R1 one leader per term; R2 a leader only appends; R3 equal index and
 * term, equal logs before; R4 a new leader has every committed entry; R5 one entry per index is applied, the
 * same everywhere; R6 the commit index never falls and nothing committed is cut; R7 a vote, and the term that
 * any message names, are on the medium before they are spoken; R8 what was reported durable is there after a
 * power cut, each committed entry of it, nothing else is acknowledged or called known on the medium, and what
 * is committed is durable on a majority; R9 nothing is served before the leader's own first entry is applied.
 * At the end also R11: equal applied index, equal state. L2 a leader that no majority answers gives up; L3
 * one whose disk hangs while a majority goes on hands over.
 *
 * Histories of clients: B1 nothing acknowledged is lost; B2 nothing appears that was not sent, or was
 * refused; B3 content is intact; B4 queue offsets are dense, and the message at an offset never changes; B5
 * acknowledged before sent means smaller offset; B6 the order of one producer is kept; B9 a leader with a
 * lease shows everything acknowledged, and nobody has one once another was elected in a newer term.
 */
#ifndef TESTS_SIM_CHECKS_H
#define TESTS_SIM_CHECKS_H

#include "broker/state/state.h"
#include "dledger/node.h"
#include "tests/sim/world.h"

struct checks *checks_new(struct world *w);
void checks_free(struct checks *c);

/* From replicas and network. */
void checks_on_send(struct checks *c, const struct dl_msg *msg);
void checks_on_persisted(struct checks *c, struct replica *r, dl_index_t index, dl_term_t term);
void checks_on_apply(struct checks *c, struct replica *r, const struct dl_entry *e,
                     const struct state_result *result);
void checks_on_changed(struct checks *c, struct replica *r, const struct dl_node_status *status);
void checks_after_turn(struct checks *c, struct replica *r);
void checks_on_crash(struct checks *c, struct replica *r, double keep);
void checks_on_disk_lost(struct checks *c, struct replica *r);
/* On its medium it counts in majorities. A lost disk is borne while those that do not are few enough. */
bool checks_has_joined(struct checks *c, struct replica *r);
void checks_on_recovered(struct checks *c, struct replica *r, const struct dl_store_view *log);

/* From clients: a message is known by its number, which is in its body. */
uint64_t checks_sent(struct checks *c, uint32_t producer, uint32_t queue, uint32_t body_len);
void checks_acked(struct checks *c, uint64_t id, uint32_t queue, uint64_t offset, dl_index_t index);
void checks_refused(struct checks *c, uint64_t id); /* surely not stored */
/* A leader with a lease answered "next offset of this queue is max". */
void checks_read_max(struct checks *c, struct replica *r, uint32_t queue, uint64_t max);
void checks_offset_acked(struct checks *c, uint32_t queue, uint64_t offset);

/* All replicas live, healed and idle: equal and complete. False while they still differ. */
bool checks_converged(struct checks *c);
void checks_at_end(struct checks *c);

/* Body of message `id`: its number and bytes made from it. */
#define SIM_BODY_MIN 16u
void checks_fill_body(uint64_t id, uint8_t *body, uint32_t len);

#endif
