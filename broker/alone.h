/*
 * alone.h - the transport of a group of one: nobody is there to talk to, and no port is opened for replicas.
 */
#ifndef BROKER_ALONE_H
#define BROKER_ALONE_H

#include "dledger/net/transport.h"

void alone_fill_transport(struct dl_transport *transport);

#endif
