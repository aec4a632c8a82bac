/*
 * clock.h - the only reader of time. The loop, the broker's front and the tools call it; dledger/core and
 * broker/state get time as a parameter.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void); /* CLOCK_MONOTONIC; for timers, leases, deadlines */
uint64_t clock_mono_us(void);
uint64_t clock_wall_ms(void); /* CLOCK_REALTIME since 1970; for time stamps people and clients see */

#endif
