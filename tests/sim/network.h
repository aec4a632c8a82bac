/*
 * network.h - the links between the replicas: each direction may be cut, slow, lossy, doubling, reordering.
 */
#ifndef TESTS_SIM_NETWORK_H
#define TESTS_SIM_NETWORK_H

#include "dledger/net/transport.h"
#include "tests/sim/world.h"

struct network *network_new(struct world *w);
void network_free(struct network *n);
/* The transport of a replica; valid for its whole life. */
struct dl_transport network_transport(struct network *n, dl_peer_t self);
/* A replica came up or went down: its connections follow. */
void network_replica_up(struct network *n, dl_peer_t id);
void network_replica_down(struct network *n, dl_peer_t id);
/* Nothing gets from `from` to `to` while cut. */
void network_cut(struct network *n, dl_peer_t from, dl_peer_t to, bool cut);
/* `self` ends its connection with `peer`, who sees a reset a little later; then they connect again. */
void network_hang_up(struct network *n, dl_peer_t self, dl_peer_t peer);
void network_heal(struct network *n);

#endif
