/*
 * log.c - lines to stderr, one write each, never waiting.
 *
 * A line is formatted on the stack, checked against the sink with poll(0) and written with one write(2). A
 * pipe that polls writable takes at least PIPE_BUF bytes and a line is shorter than that, so under the lock
 * the write does not block. A line that cannot be taken is counted and the next one that can is preceded by
 * the number lost.
 */
#include "common/log.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define LINE_MAX_BYTES 2048 /* with newline; longer lines are cut */
_Static_assert(LINE_MAX_BYTES <= PIPE_BUF, "a line must fit into one atomic write");

static atomic_int min_level = LOG_LEVEL_INFO;
static void (*custom_sink)(void *arg, enum log_level level, const char *line);
static void *custom_sink_arg;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped; /* under lock */

static const char *const level_names[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&min_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&min_level, memory_order_relaxed);
}

void log_set_sink(void (*sink)(void *arg, enum log_level level, const char *line), void *arg)
{
    custom_sink = sink;
    custom_sink_arg = arg;
}

static bool stderr_ready(void)
{
    struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT) != 0;
}

static void write_line(const char *prefix, const char *text)
{
    char line[LINE_MAX_BYTES];
    int len = snprintf(line, sizeof(line) - 1, "%s%s", prefix, text);
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len++] = '\n';
    if (!stderr_ready() || write(STDERR_FILENO, line, (size_t)len) != len)
        dropped++;
}

/* Texts may hold names chosen by clients: no line breaks and no terminal control through them. */
static void mask_control(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != 0; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
}

static void format_prefix(char *dst, size_t size, enum log_level level)
{
    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[32];
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(dst, size, "%s.%03uZ %s ", date, (unsigned)(now_ms % 1000), level_names[level]);
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES], prefix[64];
    int used = snprintf(text, sizeof(text), "%s ", event);
    if (used < 0 || used >= (int)sizeof(text))
        used = (int)sizeof(text) - 1;
    va_list args;
    va_start(args, fmt);
    int more = vsnprintf(text + used, sizeof(text) - (size_t)used, fmt, args);
    va_end(args);
    if (more <= 0)
        text[used > 0 ? used - 1 : 0] = 0;
    mask_control(text);
    if (custom_sink != NULL) {
        custom_sink(custom_sink_arg, level, text);
        return;
    }
    format_prefix(prefix, sizeof(prefix), level);
    pthread_mutex_lock(&lock);
    if (dropped > 0 && stderr_ready()) {
        char lost[64];
        snprintf(lost, sizeof(lost), "log lines dropped count=%llu", (unsigned long long)dropped);
        dropped = 0;
        write_line(prefix, lost);
    }
    write_line(prefix, text);
    pthread_mutex_unlock(&lock);
}

int log_every_pass(struct log_every *site, uint32_t every_ms, uint32_t *suppressed)
{
    uint64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&lock);
    int pass = now_ms >= site->next_ms;
    if (pass) {
        *suppressed = site->suppressed;
        site->suppressed = 0;
        site->next_ms = now_ms + every_ms;
    } else {
        *suppressed = ++site->suppressed;
    }
    pthread_mutex_unlock(&lock);
    return pass;
}
