/*
 * scratch.h - a directory of its own for one test, below $TMPDIR (/tmp without one). A test removes it at its end;
 * what a test leaves that ends half-way goes with the $TMPDIR which tests/run.sh gives to each unit test program.
 */
#ifndef TESTS_LIB_SCRATCH_H
#define TESTS_LIB_SCRATCH_H

#include <stddef.h>

/* Make it, and write its path. */
void scratch_dir(char *path, size_t size);

#endif
