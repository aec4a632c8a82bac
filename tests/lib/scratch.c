/* scratch.c - see scratch.h. */
#include "tests/lib/scratch.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/ensure.h"

void scratch_dir(char *path, size_t size)
{
    const char *top = getenv("TMPDIR");
    int len = snprintf(path, size, "%s/ledgermq-test-XXXXXX", top != NULL ? top : "/tmp");

    ENSURE(len > 0 && (size_t)len < size);
    ENSURE(mkdtemp(path) != NULL);
}
