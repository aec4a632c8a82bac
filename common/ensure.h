/*
 * ensure.h - assertions that stay on, and the one way to end the process.
 *
 * ENSURE states an invariant of the program: if it does not hold the program is wrong and must not go on.
 * fatal() states that the world took away something we promised (a failed fsync, a broken disk): the process
 * ends with a message that helps the operator. Neither is for bad input, which is answered with an error.
 */
#ifndef COMMON_ENSURE_H
#define COMMON_ENSURE_H

#define MUSTCHECK              __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Stop the process when `cond` does not hold. `cond` is one fact and has no side effect. Any thread. */
#define ENSURE(cond)                                  \
    do {                                              \
        if (__builtin_expect(!(cond), 0))             \
            ensure_failed(#cond, __FILE__, __LINE__); \
    } while (0)

_Noreturn void ensure_failed(const char *cond, const char *file, int line);

/* Log the message with the last log lines flushed and end the process with status 70. Any thread. */
_Noreturn void fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
