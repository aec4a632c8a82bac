/*
 * members.h - arithmetic over the replicas of a group. A `slot` is a replica's place in dl_members,
 * 0..count-1.
 */
#ifndef DLEDGER_CORE_MEMBERS_H
#define DLEDGER_CORE_MEMBERS_H

#include "dledger/core/types.h"

#define MEMBERS_NO_SLOT (-1)

/* True when ids are ascending, distinct and not DL_NOBODY, the count fits, and at least one votes. */
bool members_valid(const struct dl_members *members);

/* Slot of `peer`, or MEMBERS_NO_SLOT. */
int members_slot(const struct dl_members *members, dl_peer_t peer);

/* True when `peer` is a member with a vote. */
bool members_is_voter(const struct dl_members *members, dl_peer_t peer);

/* The largest value that a majority of the voters has reached; value[slot] is what that replica has reached.
 * Learners do not count. */
uint64_t members_reached(const struct dl_members *members, const uint64_t value[DL_PEERS_MAX]);

/* True when the voters marked in yes[slot] are a majority. */
bool members_majority(const struct dl_members *members, const bool yes[DL_PEERS_MAX]);

#endif
