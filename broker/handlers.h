/* handlers.h - THE table, see handlers.c. */
#ifndef BROKER_HANDLERS_H
#define BROKER_HANDLERS_H

#include "common/dispatch.h"

extern const struct dispatch_row handler_rows[];
extern const uint32_t handler_row_count;

#endif
