/* members.c - see members.h. */
#include "dledger/core/members.h"

bool members_valid(const struct dl_members *members)
{
    uint32_t voters = 0;
    if (members->count == 0 || members->count > DL_PEERS_MAX)
        return false;
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->id[i] == DL_NOBODY || (i > 0 && members->id[i] <= members->id[i - 1]))
            return false;
        voters += members->voter[i];
    }
    return voters > 0;
}

int members_slot(const struct dl_members *members, dl_peer_t peer)
{
    for (uint32_t i = 0; i < members->count; i++)
        if (members->id[i] == peer)
            return (int)i;
    return MEMBERS_NO_SLOT;
}

bool members_is_voter(const struct dl_members *members, dl_peer_t peer)
{
    int slot = members_slot(members, peer);
    return slot != MEMBERS_NO_SLOT && members->voter[slot];
}

uint64_t members_reached(const struct dl_members *members, const uint64_t value[DL_PEERS_MAX])
{
    uint64_t sorted[DL_PEERS_MAX]; /* of the voters, descending */
    uint32_t voters = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        if (!members->voter[i])
            continue;
        uint32_t at = voters++;
        for (; at > 0 && sorted[at - 1] < value[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = value[i];
    }
    return sorted[voters / 2]; /* as many as voters/2 + 1, a majority, are at or above it */
}

bool members_majority(const struct dl_members *members, const bool yes[DL_PEERS_MAX])
{
    uint64_t value[DL_PEERS_MAX] = {0};
    for (uint32_t i = 0; i < members->count; i++)
        value[i] = yes[i];
    return members_reached(members, value) == 1;
}
