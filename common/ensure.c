/*
 * ensure.c - the last words of the process.
 *
 * Both ways out write straight to stderr, blocking: nothing matters more any more, and the log must not drop
 * this line.
 */
#include "common/ensure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FATAL_STATUS   70 /* EX_SOFTWARE of sysexits.h */
#define FATAL_LINE_MAX 1024

static void write_stderr(const char *line)
{
    size_t left = strlen(line);
    while (left > 0) {
        ssize_t n = write(STDERR_FILENO, line, left);
        if (n <= 0)
            return;
        line += n;
        left -= (size_t)n;
    }
}

void ensure_failed(const char *cond, const char *file, int line)
{
    char text[FATAL_LINE_MAX];
    snprintf(text, sizeof(text), "FATAL %s:%d: invariant does not hold: %s\n", file, line, cond);
    write_stderr(text);
    abort();
}

void fatal(const char *fmt, ...)
{
    char text[FATAL_LINE_MAX - 16], line[FATAL_LINE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    snprintf(line, sizeof(line), "FATAL %s\n", text);
    write_stderr(line);
    fflush(NULL);
    _exit(FATAL_STATUS);
}
