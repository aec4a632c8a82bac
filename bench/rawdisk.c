/*
 * rawdisk.c - what the disk alone can do: write + fdatasync into files that are full of zeros beforehand, as
 * the log does it.
 *
 *   rawdisk [-d DIRECTORY] [-t SECONDS] [-f FILE_MIB]
 *
 * One stream, then three at a time (three replicas that share a disk), each its own file and thread; blocks
 * of 4, 64 and 256 KiB. Prints one line of JSON per case; rates are the sum over all streams. The files are
 * removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STREAMS_MAX  3u
#define SECONDS_MAX  600.0
#define FILE_MIB_MAX 4096ul
#define BLOCK_MAX    (256u << 10)
#define SAMPLES_MAX  (1u << 20)

static const unsigned stream_counts[] = {1, STREAMS_MAX};
static const size_t block_bytes[] = {4u << 10, 64u << 10, BLOCK_MAX};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct stream {
    pthread_t thread;
    char path[4096];
    int fd;
    size_t file_bytes, block;
    double seconds; /* how long; then how long it was */
    unsigned long syncs;
    float *samples_ms; /* the first SAMPLES_MAX */
};

static void die(const char *what, const char *path)
{
    fprintf(stderr, "rawdisk: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fill(struct stream *s, const char *dir, unsigned number, const char *zeros)
{
    snprintf(s->path, sizeof(s->path), "%s/rawdisk-%ld-%u", dir, (long)getpid(), number);
    s->fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s->fd < 0)
        die("cannot make", s->path);
    for (size_t at = 0; at < s->file_bytes; at += BLOCK_MAX)
        if (pwrite(s->fd, zeros, BLOCK_MAX, (off_t)at) != (ssize_t)BLOCK_MAX)
            die("cannot fill", s->path);
    if (fsync(s->fd) != 0)
        die("cannot sync", s->path);
}

static void *run(void *arg)
{
    struct stream *s = arg;
    char *bytes = malloc(s->block);
    double begin = now_s(), last = begin;
    size_t at = 0;

    if (bytes == NULL)
        abort();
    memset(bytes, 'x', s->block);
    s->syncs = 0;
    while (last - begin < s->seconds) {
        double now;

        if (pwrite(s->fd, bytes, s->block, (off_t)at) != (ssize_t)s->block)
            die("cannot write", s->path);
        if (fdatasync(s->fd) != 0)
            die("cannot sync", s->path);
        now = now_s();
        if (s->syncs < SAMPLES_MAX)
            s->samples_ms[s->syncs] = (float)((now - last) * 1e3);
        s->syncs++;
        at = at + 2 * s->block <= s->file_bytes ? at + s->block : 0;
        last = now;
    }
    s->seconds = last - begin;
    free(bytes);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Of the first stream: they are alike. */
static double quantile_ms(struct stream *s, double q)
{
    size_t n = s->syncs < SAMPLES_MAX ? s->syncs : SAMPLES_MAX;

    qsort(s->samples_ms, n, sizeof(s->samples_ms[0]), by_value);
    return n == 0 ? 0 : s->samples_ms[(size_t)((double)(n - 1) * q)];
}

static void measure(struct stream *streams, unsigned count, size_t block, double seconds)
{
    double syncs_per_s = 0;

    for (unsigned i = 0; i < count; i++) {
        streams[i].block = block;
        streams[i].seconds = seconds;
        if (pthread_create(&streams[i].thread, NULL, run, &streams[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(streams[i].thread, NULL);
        syncs_per_s += (double)streams[i].syncs / streams[i].seconds;
    }
    printf("{\"what\":\"rawdisk\",\"streams\":%u,\"blockBytes\":%zu,\"syncsPerSecond\":%.0f,\"mbPerSecond\":%"
           ".1f,"
           "\"syncMsP50\":%.3f,\"syncMsP99\":%.3f}\n",
           count, block, syncs_per_s, syncs_per_s * (double)block / 1e6, quantile_ms(&streams[0], 0.5),
           quantile_ms(&streams[0], 0.99));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct stream streams[STREAMS_MAX];
    const char *dir = ".";
    char *zeros = calloc(1, BLOCK_MAX);
    unsigned long file_mib = 64;
    double seconds = 1;
    int option;

    while ((option = getopt(argc, argv, "d:t:f:")) != -1) {
        if (option == 'd')
            dir = optarg;
        else if (option == 't')
            seconds = strtod(optarg, NULL);
        else if (option == 'f')
            file_mib = strtoul(optarg, NULL, 10);
        else
            optind = argc + 1;
    }
    if (optind != argc || !(seconds > 0 && seconds <= SECONDS_MAX) || file_mib < 1 ||
        file_mib > FILE_MIB_MAX) {
        fprintf(stderr, "usage: rawdisk [-d DIRECTORY] [-t SECONDS] [-f FILE_MIB]\n");
        return 2;
    }
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        streams[i].file_bytes = (size_t)file_mib << 20;
        streams[i].samples_ms = malloc(SAMPLES_MAX * sizeof(float));
        if (zeros == NULL || streams[i].samples_ms == NULL)
            abort();
        fill(&streams[i], dir, i, zeros);
    }
    for (size_t c = 0; c < COUNT(stream_counts); c++)
        for (size_t b = 0; b < COUNT(block_bytes); b++)
            measure(streams, stream_counts[c], block_bytes[b], seconds);
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        close(streams[i].fd);
        unlink(streams[i].path);
        free(streams[i].samples_ms);
    }
    free(zeros);
    return 0;
}
