/*
 * logdump.c - show and check a replica's log without touching it: hard state, segments, records.
 *
 *   logdump [--json] [--records] [--from INDEX] [--to INDEX] DIRECTORY
 *
 * DIRECTORY is the replica's store (it holds `hard` and `log/`). Everything is checked: heads, places, chain
 * and checksums of all records, and that segments follow each other. It uses the broker's own readers
 * (dledger/store/segment.c, meta.c), opens files for reading only and takes no lock; beside a running broker
 * the end of the log may be seen half written. Exit status: 0 all good, 1 damage found, 2 it could not be read
 * or wrong use.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "dledger/store/meta.h"
#include "dledger/store/segment.h"
#include "dledger/store/store.h"

enum { EXIT_GOOD = 0, EXIT_DAMAGED = 1, EXIT_UNREADABLE = 2 };

struct dump {
    struct disk disk;
    struct disk_ops ops;
    bool json, records;
    dl_index_t from, to;
    dl_pos_t *segs;
    size_t seg_count, seg_cap;
    uint64_t record_count;
    dl_index_t commit; /* known committed, by the hard state */
    bool damaged;
};

/* ---- output: `what key=value ...`, or one JSON object per line ---- */

struct field {
    const char *key;
    const char *text; /* NULL: number */
    uint64_t number;
};
#define NUM(k, v)              \
    {                          \
        k, NULL, (uint64_t)(v) \
    }
#define TEXT(k, v) \
    {              \
        k, v, 0    \
    }

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if ((unsigned char)*text < 0x20)
            printf("\\u%04x", *text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_line(const struct dump *d, const char *what, const struct field *fields, size_t count)
{
    if (d->json) {
        printf("{\"what\":\"%s\"", what);
        for (size_t i = 0; i < count; i++) {
            printf(",\"%s\":", fields[i].key);
            if (fields[i].text)
                print_json_text(fields[i].text);
            else
                printf("%" PRIu64, fields[i].number);
        }
        puts("}");
        return;
    }
    printf("%s", what);
    for (size_t i = 0; i < count; i++) {
        if (fields[i].text)
            printf(strchr(fields[i].text, ' ') ? " %s=\"%s\"" : " %s=%s", fields[i].key, fields[i].text);
        else
            printf(" %s=%" PRIu64, fields[i].key, fields[i].number);
    }
    putchar('\n');
}
#define PRINT(d, what, ...)                            \
    print_line(d, what, (struct field[]){__VA_ARGS__}, \
               sizeof((struct field[]){__VA_ARGS__}) / sizeof(struct field))

/* A replica as dLegerPeers names it: n0, n1, ... */
static const char *peer_text(dl_peer_t id, char text[16])
{
    snprintf(text, 16, "n%" PRIu32, id - 1);
    return id == DL_NOBODY ? "nobody" : text;
}

static void print_damage(struct dump *d, const char *text)
{
    d->damaged = true;
    PRINT(d, "damage", TEXT("error", text));
}

/* ---- hard state ---- */

static int dump_hard(struct dump *d)
{
    uint8_t block[META_BLOCK_BYTES];
    int fd = d->ops.open(&d->disk, META_PATH, false);
    if (fd < 0) {
        fprintf(stderr, "logdump: %s/" META_PATH ": %s\n", d->disk.root, strerror(-fd));
        return EXIT_UNREADABLE;
    }
    int bad = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct meta_slot slot;
        char replica[16], vote[16];
        int64_t n = d->ops.pread(&d->disk, fd, block, sizeof(block), (uint64_t)i * META_BLOCK_BYTES);
        int rc = n == (int64_t)sizeof(block) ? meta_slot_decode(block, &slot) : ERR_DAMAGED;
        if (rc != 0) {
            PRINT(d, "slot", NUM("slot", i), TEXT("state", err_name(rc)));
            bad++;
            continue;
        }
        d->commit = slot.commit > d->commit ? slot.commit : d->commit;
        PRINT(d, "slot", NUM("slot", i), TEXT("state", "good"), NUM("sequence", slot.sequence),
              TEXT("group", slot.group), TEXT("replica", peer_text(slot.self, replica)),
              NUM("term", slot.hard.term), TEXT("vote", peer_text(slot.hard.vote, vote)),
              NUM("joined", slot.hard.joined), NUM("commit", slot.commit),
              NUM("commit_end", slot.commit_end));
    }
    struct meta_cut cut;
    int64_t n = d->ops.pread(&d->disk, fd, block, sizeof(block), 2 * META_BLOCK_BYTES);
    if (n == (int64_t)sizeof(block) && meta_cut_decode(block, &cut))
        PRINT(d, "cut", NUM("segment", cut.segment), NUM("from", cut.from), NUM("end", cut.end),
              NUM("index", cut.index));
    d->ops.close(&d->disk, fd);
    if (bad == 2)
        print_damage(d, "both slots of " META_PATH " are bad");
    return EXIT_GOOD;
}

/* ---- segments ---- */

static void list_one(void *arg, const char *name)
{
    struct dump *d = arg;
    dl_pos_t pos;
    if (!segment_name_parse(name, ".seg", &pos))
        return;
    if (d->seg_count == d->seg_cap) {
        d->seg_cap = d->seg_cap ? d->seg_cap * 2 : 64;
        d->segs = realloc(d->segs, d->seg_cap * sizeof(*d->segs));
        ENSURE(d->segs != NULL);
    }
    d->segs[d->seg_count++] = pos;
}

static int by_position(const void *a, const void *b)
{
    dl_pos_t x = *(const dl_pos_t *)a, y = *(const dl_pos_t *)b;
    return x < y ? -1 : x > y;
}

static void print_record(void *arg, const struct record_head *head, const uint8_t *record)
{
    struct dump *d = arg;
    char crc[16];
    (void)record;
    d->record_count++;
    if (!d->records || head->index < d->from || head->index > d->to)
        return;
    snprintf(crc, sizeof(crc), "%08" PRIx32, head->crc);
    PRINT(d, "record", NUM("index", head->index), NUM("term", head->term), NUM("pos", head->pos),
          NUM("kind", head->kind), NUM("len", head->len), TEXT("crc", crc));
}

/* What is behind the last good record of the log. */
static int dump_end(struct dump *d, const struct segment_scan *scan)
{
    struct segment_rest rest;
    struct err err;
    if (segment_look_behind(scan, scan->limit, &rest, &err) != 0) {
        fprintf(stderr, "logdump: %s\n", err.text);
        return EXIT_UNREADABLE;
    }
    if (rest.mark_seen && rest.mark.start > scan->pos)
        print_damage(d,
                     "a flush mark further behind says that the log was durable beyond its last good record");
    if (scan->index - 1 < d->commit)
        print_damage(d, "the log ends before an entry that was committed");
    PRINT(d, "end", NUM("index", scan->index - 1), NUM("term", scan->term), NUM("pos", scan->pos),
          TEXT("mark", rest.mark_here ? "good" : "none"),
          TEXT("behind", rest.record_seen ? "what looks like records of a torn batch" : "nothing"));
    return EXIT_GOOD;
}

/* Scan one segment; `scan` comes with what the one before ended with and leaves with its own end. */
static int dump_segment(struct dump *d, dl_pos_t first_pos, bool first, bool last, struct segment_scan *scan)
{
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    char path[SEGMENT_PATH_MAX], group[SEGMENT_GROUP_MAX + 1], text[ERR_TEXT_MAX];
    struct segment_head head;
    struct err err;
    segment_path(path, first_pos);
    int fd = d->ops.open(&d->disk, path, false);
    int64_t n = fd < 0 ? fd : d->ops.pread(&d->disk, fd, bytes, sizeof(bytes), 0);
    int64_t size = n < 0 ? n : d->ops.size(&d->disk, fd);
    if (size < 0) {
        fprintf(stderr, "logdump: %s/%s: %s\n", d->disk.root, path, strerror((int)-size));
        return EXIT_UNREADABLE;
    }
    int rc = n < (int64_t)sizeof(bytes) ? err_set(&err, ERR_DAMAGED, "%s: the head is cut off", path)
                                        : segment_head_decode(bytes, path, NULL, &head, group, &err);
    if (rc != 0) {
        print_damage(d, err.text);
        d->ops.close(&d->disk, fd);
        return EXIT_GOOD;
    }
    if (!first && (head.first_pos != scan->pos || head.first_index != scan->index ||
                   head.prev_crc != scan->prev_crc || head.prev_term != scan->term)) {
        snprintf(text, sizeof(text),
                 "%s: does not follow the segment before it, which ends at %" PRIu64 " with entry %" PRIu64,
                 path, scan->pos, scan->index - 1);
        print_damage(d, text);
    }
    *scan = (struct segment_scan){.disk = &d->disk,
                                  .fd = fd,
                                  .salt = record_salt(group),
                                  .secret = head.secret,
                                  .first_pos = head.first_pos,
                                  .limit = head.first_pos + (uint64_t)size - SEGMENT_HEAD_BYTES,
                                  .pos = head.first_pos,
                                  .index = head.first_index,
                                  .term = head.prev_term,
                                  .prev_crc = head.prev_crc,
                                  .each = print_record,
                                  .arg = d};
    rc = segment_scan(scan, &err);
    if (rc == 0) {
        PRINT(d, "segment", TEXT("file", path), TEXT("group", group), NUM("bytes", size),
              NUM("first_index", head.first_index), NUM("first_pos", head.first_pos),
              NUM("prev_term", head.prev_term), NUM("last_index", scan->index - 1),
              NUM("last_term", scan->term), NUM("end_pos", scan->pos));
        rc = last ? dump_end(d, scan) : EXIT_GOOD;
    } else {
        fprintf(stderr, "logdump: %s\n", err.text);
        rc = EXIT_UNREADABLE;
    }
    d->ops.close(&d->disk, fd);
    return rc;
}

static int dump_segments(struct dump *d)
{
    struct segment_scan scan = {0};
    int rc = d->ops.list(&d->disk, SEGMENT_DIR, list_one, d);
    if (rc != 0) {
        fprintf(stderr, "logdump: %s/" SEGMENT_DIR ": %s\n", d->disk.root, strerror(-rc));
        return EXIT_UNREADABLE;
    }
    if (d->seg_count > 0)
        qsort(d->segs, d->seg_count, sizeof(*d->segs), by_position);
    for (size_t i = 0; i < d->seg_count && rc == EXIT_GOOD; i++)
        rc = dump_segment(d, d->segs[i], i == 0, i + 1 == d->seg_count, &scan);
    return rc;
}

/* ---- main ---- */

static int open_read_only(struct disk *disk, const char *path, bool create)
{
    char full[sizeof(disk->root) + SEGMENT_PATH_MAX];
    (void)create;
    snprintf(full, sizeof(full), "%s/%s", disk->root, path);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int usage(void)
{
    fputs("usage: logdump [--json] [--records] [--from INDEX] [--to INDEX] DIRECTORY\n"
          "  shows and checks a replica's log (the directory holds `hard` and `log/`)\n",
          stderr);
    return EXIT_UNREADABLE;
}

static bool parse_index(const char *text, dl_index_t *out)
{
    int64_t value;
    if (!str_to_i64(str_of(text), &value) || value < 0)
        return false;
    *out = (dl_index_t)value;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},       {"records", no_argument, NULL, 'r'},
        {"from", required_argument, NULL, 'f'}, {"to", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0}};
    struct dump d = {.to = UINT64_MAX};
    struct stat st;
    int c;
    while ((c = getopt_long(argc, argv, "jrf:t:h", options, NULL)) != -1) {
        if (c == 'j')
            d.json = true;
        else if (c == 'r')
            d.records = true;
        else if ((c != 'f' || !parse_index(optarg, &d.from)) && (c != 't' || !parse_index(optarg, &d.to)))
            return usage();
    }
    if (optind + 1 != argc)
        return usage();
    if (stat(argv[optind], &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "logdump: %s: no such directory\n", argv[optind]);
        return EXIT_UNREADABLE;
    }
    int rc = disk_posix_init(&d.disk, argv[optind]);
    if (rc != 0) {
        fprintf(stderr, "logdump: %s: %s\n", argv[optind], strerror(-rc));
        return EXIT_UNREADABLE;
    }
    d.ops = *d.disk.ops;
    d.ops.open = open_read_only;
    d.disk.ops = &d.ops;
    rc = dump_hard(&d);
    if (rc == EXIT_GOOD)
        rc = dump_segments(&d);
    if (rc == EXIT_GOOD)
        PRINT(&d, "total", NUM("segments", d.seg_count), NUM("records", d.record_count),
              TEXT("verdict", d.damaged ? "damaged" : "good"));
    free(d.segs);
    return rc == EXIT_GOOD && d.damaged ? EXIT_DAMAGED : rc;
}
