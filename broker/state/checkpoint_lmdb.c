/*
 * checkpoint_lmdb.c - the checkpoint in production: one directory with an LMDB environment and index files.
 *
 *   lock              flock()ed by the process that has the directory; LMDB alone would let a second one in
 *   data.mdb lock.mdb LMDB; one unnamed table
 *   index/            full index blocks, see block_file.h
 *
 * Keys of the state begin with a letter (record.h); two keys of this file begin with NUL:
 *   "\0identity"  format u32, replica u32, group name
 *   "\0applied"   index u64, term u64
 * little-endian, each followed by the CRC32C of all records. A write is one transaction, committed with full
 * sync after the blocks it refers to are synced. There is one writer and no reader that lasts; the map grows,
 * between transactions, when it is full.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/state/block_file.h"
#include "broker/state/checkpoint.h"
#include "broker/state/record.h"
#include "common/log.h"

#define CHECKPOINT_FORMAT 1u
#define MAP_BYTES_DEFAULT (UINT64_C(1) << 30)
#define MAP_BYTES_MIN     (UINT64_C(1) << 20)
#define MAP_BYTES_MAX     (UINT64_C(1) << 42)
#define GROUP_BYTES_MAX   255u

static const char key_identity[] = "\0identity";
static const char key_applied[] = "\0applied";
#define OWN_KEY(k) ((struct str){(k), sizeof(k) - 1})

struct lmdb {
    char *dir;
    int lock_fd;
    MDB_env *env;
    MDB_dbi dbi;
    uint64_t map_bytes;
    struct block_files blocks;
};

static int code_of(int mdb_rc)
{
    switch (mdb_rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return ERR_NOT_FOUND;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PANIC:
        return ERR_DAMAGED;
    case MDB_VERSION_MISMATCH:
        return ERR_VERSION;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    default:
        return ERR_IO;
    }
}

static int failed(const struct lmdb *l, const char *what, int mdb_rc)
{
    LOG_ERROR("checkpoint failed", "dir=%s call=%s error=\"%s\"", l->dir, what, mdb_strerror(mdb_rc));
    return code_of(mdb_rc);
}

static MDB_val val_of(struct str s)
{
    return (MDB_val){s.len, (void *)s.p};
}

static struct str str_of_val(MDB_val v)
{
    return (struct str){v.mv_data, v.mv_size};
}

/* ---- writing ---- */

static int put_own(struct lmdb *l, MDB_txn *txn, struct str key, uint8_t *fields, size_t len)
{
    put_le32(fields + len, record_crc(key.p, key.len, fields, len));
    MDB_val k = val_of(key), v = {len + RECORD_CRC_BYTES, fields};
    return mdb_put(txn, l->dbi, &k, &v, 0);
}

static int put_all(struct lmdb *l, MDB_txn *txn, const struct checkpoint_batch *batch)
{
    for (uint32_t i = 0; i < batch->put_count; i++) {
        MDB_val k = val_of(batch->puts[i].key), v = val_of(batch->puts[i].value);
        int rc = v.mv_data ? mdb_put(txn, l->dbi, &k, &v, 0) : mdb_del(txn, l->dbi, &k, NULL);
        if (rc && !(rc == MDB_NOTFOUND && !v.mv_data)) /* made and deleted since the last write */
            return rc;
    }
    uint8_t fields[16 + RECORD_CRC_BYTES];
    put_le64(fields, batch->applied);
    put_le64(fields + 8, batch->applied_term);
    return put_own(l, txn, OWN_KEY(key_applied), fields, 16);
}

static int commit_once(struct lmdb *l, const struct checkpoint_batch *batch)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (rc)
        return rc;
    rc = put_all(l, txn, batch);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static int map_grow(struct lmdb *l)
{
    if (l->map_bytes >= MAP_BYTES_MAX)
        return MDB_MAP_FULL;
    l->map_bytes *= 2;
    LOG_INFO("checkpoint map grows", "dir=%s bytes=%" PRIu64, l->dir, l->map_bytes);
    return mdb_env_set_mapsize(l->env, l->map_bytes);
}

static int lmdb_write(void *impl, const struct checkpoint_batch *batch)
{
    struct lmdb *l = impl;
    int rc = block_files_write(&l->blocks, batch->blocks, batch->block_count);
    if (rc)
        return rc;
    int mdb_rc;
    while ((mdb_rc = commit_once(l, batch)) == MDB_MAP_FULL) {
        mdb_rc = map_grow(l);
        if (mdb_rc)
            break;
    }
    return mdb_rc ? failed(l, "commit", mdb_rc) : 0;
}

/* ---- reading ---- */

static int read_begin(struct lmdb *l, MDB_txn **txn)
{
    int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, txn);
    return rc ? failed(l, "begin", rc) : 0;
}

static int lmdb_get(void *impl, struct str key, struct bld *value)
{
    struct lmdb *l = impl;
    MDB_txn *txn;
    int rc = read_begin(l, &txn);
    if (rc)
        return rc;
    MDB_val k = val_of(key), v;
    int mdb_rc = mdb_get(txn, l->dbi, &k, &v);
    if (mdb_rc == 0) {
        bld_bytes(value, v.mv_data, v.mv_size);
        rc = value->full ? ERR_TOO_LARGE : 0;
    } else {
        rc = mdb_rc == MDB_NOTFOUND ? ERR_NOT_FOUND : failed(l, "get", mdb_rc);
    }
    mdb_txn_abort(txn);
    return rc;
}

/* Fields of one of our own records into `fields` (size bytes). ERR_NOT_FOUND, ERR_DAMAGED. */
static int get_own(struct lmdb *l, struct str key, uint8_t *fields, size_t size, size_t *len)
{
    struct bld b = bld_of(size + RECORD_CRC_BYTES);
    int rc = lmdb_get(l, key, &b);
    struct rd r = rd_of(NULL, 0);
    if (rc == ERR_TOO_LARGE)
        rc = ERR_DAMAGED;
    if (rc == 0)
        rc = b.b ? record_open(key, (struct str){(const char *)b.b->data, b.b->len}, &r) : ERR_DAMAGED;
    if (rc == 0) {
        *len = rd_left(&r);
        memcpy(fields, r.p, *len);
    }
    bld_drop(&b);
    return rc;
}

static int lmdb_applied(void *impl, dl_index_t *index, dl_term_t *term)
{
    uint8_t fields[16];
    size_t len;
    *index = 0;
    *term = 0;
    int rc = get_own(impl, OWN_KEY(key_applied), fields, sizeof fields, &len);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc == 0 && len != sizeof fields)
        rc = ERR_DAMAGED;
    if (rc)
        return rc;
    *index = get_le64(fields);
    *term = get_le64(fields + 8);
    return 0;
}

static int lmdb_scan(void *impl, struct str prefix, int (*fn)(void *arg, struct str key, struct str value),
                     void *arg)
{
    struct lmdb *l = impl;
    MDB_txn *txn;
    MDB_cursor *cursor;
    int rc = read_begin(l, &txn);
    if (rc)
        return rc;
    int mdb_rc = mdb_cursor_open(txn, l->dbi, &cursor);
    if (mdb_rc) {
        mdb_txn_abort(txn);
        return failed(l, "cursor", mdb_rc);
    }
    MDB_val k = val_of(prefix), v;
    mdb_rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (mdb_rc == 0 && rc == 0) {
        if (k.mv_size < prefix.len || memcmp(k.mv_data, prefix.p, prefix.len) != 0)
            break;
        rc = fn(arg, str_of_val(k), str_of_val(v));
        mdb_rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    if (rc)
        return rc;
    return mdb_rc && mdb_rc != MDB_NOTFOUND ? failed(l, "scan", mdb_rc) : 0;
}

static int lmdb_read_block(void *impl, uint32_t slot, uint8_t *data)
{
    struct lmdb *l = impl;
    return block_files_read(&l->blocks, slot, data);
}

static uint32_t lmdb_next_slot(void *impl)
{
    const struct lmdb *l = impl;
    return l->blocks.next_slot;
}

/* ---- opening ---- */

static void lmdb_close(void *impl)
{
    struct lmdb *l = impl;
    if (l->env)
        mdb_env_close(l->env);
    block_files_close(&l->blocks);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    free(l->dir);
    free(l);
}

static int lock_take(struct lmdb *l, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lock", l->dir);
    l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (l->lock_fd < 0)
        return err_set(err, ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_LOCKED, "%s: another process has this directory", l->dir);
    return err_set(err, ERR_IO, "%s: cannot be locked: %s", path, strerror(errno));
}

/* A file that was cut short would end the process with SIGBUS when its map is read. */
static bool file_has_pages(const struct lmdb *l, size_t pages)
{
    MDB_stat stat;
    struct stat file;
    mdb_filehandle_t fd;

    return mdb_env_stat(l->env, &stat) == 0 && mdb_env_get_fd(l->env, &fd) == 0 && fstat(fd, &file) == 0 &&
           (uint64_t)file.st_size >= (uint64_t)pages * stat.ms_psize;
}

static int env_open(struct lmdb *l, struct err *err)
{
    MDB_txn *txn;
    int rc = mdb_env_create(&l->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(l->env, l->map_bytes);
    /* NOTLS: read transactions belong to no thread. NORDAHEAD: what is around a page is another queue. */
    if (rc == 0)
        rc = mdb_env_open(l->env, l->dir, MDB_NOTLS | MDB_NORDAHEAD, 0644);
    if (rc)
        return err_set(err, code_of(rc), "%s: LMDB cannot open it: %s", l->dir, mdb_strerror(rc));
    MDB_envinfo info;             /* the map may be larger already */
    rc = mdb_env_sync(l->env, 1); /* what a killed process left in the page cache is believed from here on */
    if (rc == 0)
        rc = mdb_env_info(l->env, &info);
    if (rc == 0)
        l->map_bytes = info.me_mapsize;
    if (rc == 0 && !file_has_pages(l, info.me_last_pgno + 1))
        return err_set(err, ERR_DAMAGED, "%s/data.mdb: shorter than its %zu pages", l->dir,
                       info.me_last_pgno + 1);
    if (rc == 0)
        rc = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &l->dbi);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    return rc ? err_set(err, code_of(rc), "%s: LMDB: %s", l->dir, mdb_strerror(rc)) : 0;
}

static int identity_write(struct lmdb *l, struct str group, dl_peer_t self, struct err *err)
{
    uint8_t fields[8 + GROUP_BYTES_MAX + RECORD_CRC_BYTES];
    put_le32(fields, CHECKPOINT_FORMAT);
    put_le32(fields + 4, self);
    memcpy(fields + 8, group.p, group.len);
    MDB_txn *txn;
    int rc = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = put_own(l, txn, OWN_KEY(key_identity), fields, 8 + group.len);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    return rc ? err_set(err, code_of(rc), "%s: writing the identity: %s", l->dir, mdb_strerror(rc)) : 0;
}

static int identity_check(struct lmdb *l, struct str group, dl_peer_t self, struct err *err)
{
    uint8_t fields[8 + GROUP_BYTES_MAX];
    size_t len;
    int rc = get_own(l, OWN_KEY(key_identity), fields, sizeof fields, &len);
    if (rc == ERR_NOT_FOUND)
        return identity_write(l, group, self, err);
    if (rc == 0 && len < 8)
        rc = ERR_DAMAGED;
    if (rc)
        return err_set(err, rc, "%s: identity record: %s", l->dir, err_text(rc));
    uint32_t format = get_le32(fields);
    uint32_t replica = get_le32(fields + 4);
    struct str name = {(const char *)fields + 8, len - 8};
    if (format != CHECKPOINT_FORMAT)
        return err_set(err, ERR_VERSION, "%s: format %u, this program knows %u", l->dir, format,
                       CHECKPOINT_FORMAT);
    if (!str_eq(name, group) || replica != self)
        return err_set(err, ERR_FOREIGN, "%s: belongs to replica n%u of group %.*s, not to n%u of %.*s",
                       l->dir, replica - 1, (int)name.len, name.p, self - 1, (int)group.len, group.p);
    return 0;
}

static int open_all(struct lmdb *l, struct str group, dl_peer_t self, struct err *err)
{
    char index_dir[4096];
    if (mkdir(l->dir, 0755) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: cannot be made: %s", l->dir, strerror(errno));
    int rc = lock_take(l, err);
    if (rc == 0)
        rc = env_open(l, err);
    if (rc == 0)
        rc = identity_check(l, group, self, err);
    if (rc)
        return rc;
    snprintf(index_dir, sizeof index_dir, "%s/index", l->dir);
    rc = block_files_open(&l->blocks, index_dir, err);
    if (rc)
        return rc;
    /* The names made above must outlive a power cut before anything relies on them. */
    int fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        rc = err_set(err, ERR_IO, "%s: cannot be synced: %s", l->dir, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

int checkpoint_lmdb_open(const char *dir, const char *group, dl_peer_t self, uint64_t map_bytes,
                         struct checkpoint *out, struct err *err)
{
    if (strlen(group) > GROUP_BYTES_MAX)
        return err_set(err, ERR_INVALID, "group name %s is longer than %u bytes", group, GROUP_BYTES_MAX);
    if (strlen(dir) > 4000)
        return err_set(err, ERR_INVALID, "the path of the checkpoint is longer than 4000 bytes");
    struct lmdb *l = calloc(1, sizeof *l);
    ENSURE(l != NULL);
    l->dir = strdup(dir);
    ENSURE(l->dir != NULL);
    l->lock_fd = -1;
    l->blocks = (struct block_files){.dir_fd = -1, .fd = -1};
    l->map_bytes = map_bytes ? map_bytes : MAP_BYTES_DEFAULT;
    if (l->map_bytes < MAP_BYTES_MIN)
        l->map_bytes = MAP_BYTES_MIN;
    int rc = open_all(l, str_of(group), self, err);
    if (rc) {
        lmdb_close(l);
        return rc;
    }
    *out = (struct checkpoint){
        .impl = l,
        .write = lmdb_write,
        .applied = lmdb_applied,
        .scan = lmdb_scan,
        .get = lmdb_get,
        .read_block = lmdb_read_block,
        .next_slot = lmdb_next_slot,
        .close = lmdb_close,
    };
    return 0;
}
