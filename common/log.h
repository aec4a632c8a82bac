/*
 * log.h - one line per event, `time level event key=value ...`, to stderr or a file.
 *
 *     LOG_INFO("role changed", "term=%" PRIu64 " leader=n%u", term, leader);
 *
 * A healthy running cluster prints nothing by the second; near disk and network errors use LOG_*_EVERY, which
 * prints at most once in `ms` per call site and adds suppressed=n. Any thread. Never blocks on a slow sink:
 * when stderr cannot take the line it is dropped and counted. Control characters in a line become '?'.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdint.h>

#include "common/ensure.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

void log_set_level(enum log_level level); /* default INFO */
enum log_level log_get_level(void);
/* Replace the sink (simulator, tests); `line` is "event key=value ..." without time, level (given apart) and
 * newline, lent for the call. NULL restores stderr. Not thread-safe: at start. */
void log_set_sink(void (*sink)(void *arg, enum log_level level, const char *line), void *arg);
void log_write(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct log_every {
    uint64_t next_ms;
    uint32_t suppressed;
};
/* True when the line may be printed now; `*suppressed` = lines withheld since the last one. */
int log_every_pass(struct log_every *site, uint32_t every_ms, uint32_t *suppressed);

#define LOG_AT(level, event, ...)                     \
    do {                                              \
        if ((level) >= log_get_level())               \
            log_write((level), (event), __VA_ARGS__); \
    } while (0)
#define LOG_DEBUG(event, ...) LOG_AT(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define LOG_INFO(event, ...)  LOG_AT(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define LOG_WARN(event, ...)  LOG_AT(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define LOG_ERROR(event, ...) LOG_AT(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define LOG_WARN_EVERY(ms, event, fmt, ...)                                              \
    do {                                                                                 \
        static struct log_every log_site_;                                               \
        uint32_t log_n_;                                                                 \
        if (log_every_pass(&log_site_, (ms), &log_n_))                                   \
            log_write(LOG_LEVEL_WARN, event, fmt " suppressed=%u", __VA_ARGS__, log_n_); \
    } while (0)

#endif
