/*
 * faults.h - what goes wrong, drawn from the seed: crashes, power cuts (also in the middle of a write),
 * partitions of every shape, pauses, hand-overs.
 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "tests/sim/world.h"

void faults_start(struct world *w);
/* End all faults and let every process come back. */
void faults_heal(struct world *w);

#endif
