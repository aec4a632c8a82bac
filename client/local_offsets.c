/*
 * local_offsets.c - how far a broadcasting consumer has come, in a file of its own:
 *
 *   <offsetStoreDir>/<client id, or ip@DEFAULT>/<group>/offsets.json
 *   {"offsetTable":{"<topic>@<broker>@<queue id>":<offset>, ...}}
 *
 * Written beside and renamed over, so that it is always whole. [loop]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/internal.h"
#include "common/json.h"

#define OFFSETS_FILE_MAX (16u << 20)
#define OFFSETS_MAX      65536u

struct row {
    char key[420];
    int64_t offset;
};

struct local_offsets {
    char path[1400];
    uint32_t count, cap;
    struct row *rows;
};

static struct row *find(const struct local_offsets *o, const char *key)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (strcmp(o->rows[i].key, key) == 0)
            return &o->rows[i];
    return NULL;
}

static void make_key(char *key, size_t size, const char *topic, const char *broker, uint32_t id)
{
    snprintf(key, size, "%.255s@%.127s@%u", topic, broker, id);
}

static void put(struct local_offsets *o, const char *key, int64_t offset)
{
    struct row *r = find(o, key);

    if (r == NULL && o->count < OFFSETS_MAX) {
        if (o->count == o->cap) {
            o->cap = o->cap == 0 ? 64 : o->cap * 2;
            o->rows = realloc(o->rows, o->cap * sizeof(o->rows[0]));
            ENSURE(o->rows != NULL);
        }
        r = &o->rows[o->count++];
        snprintf(r->key, sizeof(r->key), "%s", key);
    }
    if (r != NULL)
        r->offset = offset;
}

/* Every folder of the path before the file. */
static int make_folders(char *path, struct err *err)
{
    for (char *p = path + 1; *p != '\0'; p++) {
        int rc;

        if (*p != '/')
            continue;
        *p = '\0';
        rc = mkdir(path, 0700);
        if (rc != 0 && errno != EEXIST) {
            err_set(err, ERR_IO, "cannot make folder %.200s: %s", path, strerror(errno));
            *p = '/';
            return ERR_IO;
        }
        *p = '/';
    }
    return ERR_OK;
}

static int load(struct local_offsets *o, struct err *err)
{
    FILE *f = fopen(o->path, "r");
    struct bld text = bld_of(OFFSETS_FILE_MAX);
    char part[4096];
    size_t n;
    struct json_doc *doc;
    struct buf *b;
    const struct json *rows;
    int rc;

    if (f == NULL)
        return errno == ENOENT ? ERR_OK
                               : err_set(err, ERR_IO, "cannot read %.200s: %s", o->path, strerror(errno));
    while ((n = fread(part, 1, sizeof(part), f)) > 0)
        bld_bytes(&text, part, n);
    fclose(f);
    b = bld_take(&text);
    if (b == NULL)
        return err_set(err, ERR_TOO_LARGE, "%.200s is too large", o->path);
    rc = json_parse((struct str){(const char *)b->data, b->len}, 2 * OFFSETS_MAX, &doc, err);
    if (rc == 0) {
        rows = json_get(json_root(doc), "offsetTable");
        for (const struct json *r = rows != NULL ? rows->first : NULL; r != NULL; r = r->next) {
            char key[420];

            if (str_copy(r->key, key, sizeof(key)) && json_i64(r, -1) >= 0)
                put(o, key, json_i64(r, -1));
        }
        json_free(doc);
    }
    buf_unref(b);
    return rc;
}

struct local_offsets *local_offsets_open(const char *dir, const char *client_id, const char *group,
                                         struct err *err)
{
    struct local_offsets *o = calloc(1, sizeof(*o));
    const char *home = getenv("HOME");

    ENSURE(o != NULL);
    if (dir[0] != '\0')
        snprintf(o->path, sizeof(o->path), "%s/%s/%s/offsets.json", dir, client_id, group);
    else
        snprintf(o->path, sizeof(o->path), "%.500s/.ledgermq_offsets/%s/%s/offsets.json",
                 home != NULL ? home : ".", client_id, group);
    if (make_folders(o->path, err) != 0 || load(o, err) != 0) {
        local_offsets_close(o);
        return NULL;
    }
    return o;
}

int64_t local_offsets_get(const struct local_offsets *o, const char *topic, const char *broker, uint32_t id)
{
    char key[420];
    const struct row *r;

    make_key(key, sizeof(key), topic, broker, id);
    r = find(o, key);
    return r != NULL ? r->offset : -1;
}

void local_offsets_put(struct local_offsets *o, const char *topic, const char *broker, uint32_t id,
                       int64_t offset)
{
    char key[420];

    make_key(key, sizeof(key), topic, broker, id);
    put(o, key, offset);
}

int local_offsets_save(struct local_offsets *o, struct err *err)
{
    struct bld text = bld_of(OFFSETS_FILE_MAX);
    struct jw w = jw_of(&text);
    char beside[1410];
    struct buf *b;
    FILE *f;
    bool good;

    jw_object(&w);
    jw_key(&w, "offsetTable");
    jw_object(&w);
    for (uint32_t i = 0; i < o->count; i++) {
        jw_key(&w, o->rows[i].key);
        jw_i64(&w, o->rows[i].offset);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    b = bld_take(&text);
    snprintf(beside, sizeof(beside), "%s.new", o->path);
    f = b != NULL ? fopen(beside, "w") : NULL;
    good = f != NULL && fwrite(b->data, 1, b->len, f) == b->len && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f != NULL && fclose(f) != 0)
        good = false;
    good = good && rename(beside, o->path) == 0;
    buf_unref(b);
    return good ? ERR_OK : err_set(err, ERR_IO, "cannot write %.250s: %s", o->path, strerror(errno));
}

void local_offsets_close(struct local_offsets *o)
{
    if (o == NULL)
        return;
    free(o->rows);
    free(o);
}
