/* kv_store.c - see kv_store.h. */
#include "nameserver/kv_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

struct change {
    struct change *next;
    struct str ns, key, value; /* in text[] */
    bool deletes;
    kv_store_fn fn;
    void *arg;
    struct err err;
    char text[];
};

struct kv_store {
    struct job job; /* first */
    struct worker *worker;
    char *path;
    int lock_fd; /* worker's; -1 until the first change */
    struct kv *table;
    struct change *first, **last; /* not yet in a write */
    uint32_t waiting;
    bool stopping;
    /* the write under way */
    struct change *writing; /* NULL: none */
    struct kv *next_table;
    struct buf *text;
    struct err err; /* how it ended */
};

/* ---- the file (worker thread, and before the loop runs) ---- */

/* Directories above the last slash of `path`, as far as they are missing. */
static int make_directories(const char *path, struct err *err)
{
    char *copy = strdup(path);

    ENSURE(copy != NULL);
    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            int cause = errno;
            int rc = err_set(err, ERR_IO, "kvConfigPath: cannot make %s: %s", copy, strerror(cause));

            free(copy);
            return rc;
        }
        *slash = '/';
    }
    free(copy);
    return 0;
}

static int take_lock(struct kv_store *s, struct err *err)
{
    char *name;

    if (s->lock_fd >= 0)
        return 0;
    if (asprintf(&name, "%s.lock", s->path) < 0)
        fatal("out of memory");
    s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock_fd < 0) {
        err_set(err, ERR_IO, "%s: %s", name, strerror(errno));
    } else if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        err_set(err, ERR_LOCKED, "%s is in use by another name server", s->path);
        close(s->lock_fd);
        s->lock_fd = -1;
    }
    free(name);
    return s->lock_fd >= 0 ? 0 : err->code;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* A whole new file under `name`, synced; errno's value. */
static int write_file(const char *name, const struct buf *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), rc;

    if (fd < 0)
        return errno;
    rc = write_all(fd, text->data, text->len);
    if (rc == 0 && fsync(fd) != 0)
        rc = errno;
    if (close(fd) != 0 && rc == 0)
        rc = errno;
    return rc;
}

static int sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
    int fd, rc = 0;

    ENSURE(dir != NULL);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        rc = errno;
    if (fd >= 0)
        close(fd);
    free(dir);
    return rc;
}

/* A new name must not get lost after its bytes have been promised: the order is write, sync, rename, sync. */
static int replace_file(const char *path, const struct buf *text, struct err *err)
{
    char *temporary;
    int rc;

    if (asprintf(&temporary, "%s.tmp", path) < 0)
        fatal("out of memory");
    rc = write_file(temporary, text);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = errno;
    free(temporary);
    /* After the rename there is no way back to the old table: what is in the file can no longer be told. */
    if (rc == 0 && (rc = sync_directory_of(path)) != 0)
        fatal("%s was replaced but its directory cannot be synced: %s", path, strerror(rc));
    return rc == 0 ? 0 : err_set(err, rc == ENOSPC ? ERR_NO_SPACE : ERR_IO, "%s: %s", path, strerror(rc));
}

static void run_write(struct job *job)
{
    struct kv_store *s = (struct kv_store *)job;
    int rc = make_directories(s->path, &s->err);

    rc = rc != 0 ? rc : take_lock(s, &s->err);
    rc = rc != 0 ? rc : replace_file(s->path, s->text, &s->err);
    s->err.code = rc;
}

/* ---- changes ---- */

static void end_change(struct change *c)
{
    c->fn(c->arg, &c->err);
    free(c);
}

static void begin_write(struct kv_store *s);

static void on_written(struct job *job)
{
    struct kv_store *s = (struct kv_store *)job;
    struct change *c = s->writing;

    if (s->err.code == 0) {
        kv_free(s->table);
        s->table = s->next_table;
    } else {
        LOG_ERROR("key-value table not written", "cause=\"%s\"", s->err.text);
        kv_free(s->next_table);
    }
    s->next_table = NULL;
    buf_unref(s->text);
    s->text = NULL;
    while (c != NULL) {
        struct change *next = c->next;

        if (c->err.code == 0)
            c->err = s->err;
        end_change(c);
        c = next;
    }
    s->writing = NULL;
    if (s->first != NULL)
        begin_write(s);
}

static void begin_write(struct kv_store *s)
{
    struct bld text = bld_of(KV_FILE_MAX_BYTES);

    s->writing = s->first;
    s->first = NULL;
    s->last = &s->first;
    s->waiting = 0;
    s->next_table = kv_copy(s->table);
    for (struct change *c = s->writing; c != NULL; c = c->next) {
        if (c->deletes)
            kv_delete(s->next_table, c->ns, c->key);
        else if (kv_put(s->next_table, c->ns, c->key, c->value, &c->err) == 0)
            c->err.code = 0;
    }
    kv_json(s->next_table, &text);
    ENSURE(!text.full); /* KV_TEXT_MAX_BYTES escaped fit */
    s->text = bld_take(&text);
    s->err = (struct err){0};
    s->job = (struct job){.run = run_write, .done = on_written};
    if (worker_submit(s->worker, &s->job) != 0)
        fatal("the key-value table's worker has no room for its only job");
}

static void refuse(kv_store_fn fn, void *arg, int code, const char *why)
{
    struct err err;

    err_set(&err, code, "%s", why);
    fn(arg, &err);
}

static struct change *change_of(struct str ns, struct str key, struct str value)
{
    struct change *c = calloc(1, sizeof(*c) + ns.len + key.len + value.len);
    char *at;

    if (c == NULL)
        fatal("out of memory for a key-value change");
    at = c->text;
    c->ns = (struct str){at, ns.len};
    c->key = (struct str){at + ns.len, key.len};
    c->value = (struct str){at + ns.len + key.len, value.len};
    c->deletes = value.p == NULL;
    if (ns.len > 0)
        memcpy(at, ns.p, ns.len);
    if (key.len > 0)
        memcpy(at + ns.len, key.p, key.len);
    if (value.len > 0)
        memcpy(at + ns.len + key.len, value.p, value.len);
    return c;
}

void kv_store_change(struct kv_store *s, struct str ns, struct str key, struct str value, kv_store_fn fn,
                     void *arg)
{
    struct change *c;

    if (s->stopping) {
        refuse(fn, arg, ERR_CLOSED, "the name server is stopping");
        return;
    }
    if (s->waiting == KV_WAITING_MAX) {
        refuse(fn, arg, ERR_BUSY, "too many changes of the key-value table wait for the disk");
        return;
    }
    c = change_of(ns, key, value);
    c->fn = fn;
    c->arg = arg;
    *s->last = c;
    s->last = &c->next;
    s->waiting++;
    if (s->writing == NULL)
        begin_write(s);
}

const struct kv *kv_store_table(const struct kv_store *s)
{
    return s->table;
}

/* ---- open and close ---- */

static int read_table(const char *path, struct kv **out, struct err *err)
{
    FILE *f = fopen(path, "rbe");
    struct err cause;
    uint8_t *text;
    size_t len;
    int rc = 0;

    if (f == NULL && (errno == ENOENT || errno == ENOTDIR)) {
        *out = kv_new();
        return 0;
    }
    if (f == NULL)
        return err_set(err, ERR_IO, "kvConfigPath: %s: %s", path, strerror(errno));
    text = malloc(KV_FILE_MAX_BYTES + 1);
    if (text == NULL)
        fatal("out of memory for the key-value table");
    len = fread(text, 1, KV_FILE_MAX_BYTES + 1, f);
    if (ferror(f))
        rc = err_set(err, ERR_IO, "kvConfigPath: %s cannot be read", path);
    else if (len > KV_FILE_MAX_BYTES)
        rc = err_set(err, ERR_TOO_LARGE, "kvConfigPath: %s has more than %u bytes", path, KV_FILE_MAX_BYTES);
    else if (kv_parse((struct str){(char *)text, len}, out, &cause) != 0)
        rc = err_set(err, ERR_DAMAGED, "kvConfigPath: %s is not a key-value table: %s", path, cause.text);
    fclose(f);
    free(text);
    return rc;
}

int kv_store_open(const char *path, struct worker *worker, struct kv_store **out, struct err *err)
{
    struct kv_store *s = calloc(1, sizeof(*s));
    int rc;

    if (s == NULL)
        fatal("out of memory");
    s->path = strdup(path);
    ENSURE(s->path != NULL);
    s->worker = worker;
    s->lock_fd = -1;
    s->last = &s->first;
    rc = read_table(path, &s->table, err);
    if (rc != 0) {
        kv_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void kv_store_stop(struct kv_store *s)
{
    s->stopping = true;
    while (s->first != NULL) {
        struct change *c = s->first;

        s->first = c->next;
        refuse(c->fn, c->arg, ERR_CLOSED, "the name server is stopping");
        free(c);
    }
    s->last = &s->first;
}

void kv_store_close(struct kv_store *s)
{
    ENSURE(s->writing == NULL);
    ENSURE(s->first == NULL);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    kv_free(s->table);
    free(s->path);
    free(s);
}
