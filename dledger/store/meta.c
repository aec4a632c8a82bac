/*
 * meta.c - the file `hard`: two slots for term and vote, one block for the intent of a cut. Format and rules:
 * meta.h.
 */
#include "dledger/store/meta.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/bytes.h"
#include "common/crc.h"
#include "common/log.h"

#define SLOT_MAGIC       "LMHARD\0\0"
#define CUT_MAGIC        "LMCUT\0\0\0"
#define OFF_CRC          4092
#define OFF_GROUP_LEN    56
#define OFF_GROUP        58
#define OFF_MEMBERS      188
#define OFF_CUT_BLOCK    (2 * META_BLOCK_BYTES)
#define META_PATH_NEW    "hard.new"
#define MEMBERS_TEXT_MAX (12 * DL_PEERS_MAX)

static bool block_good(const uint8_t *block, const char *magic)
{
    return memcmp(block, magic, 8) == 0 && get_le32(block + OFF_CRC) == crc32c(0, block, OFF_CRC);
}

static void slot_encode(uint8_t out[META_BLOCK_BYTES], const struct meta_slot *slot)
{
    size_t group_len = strlen(slot->group);
    memset(out, 0, META_BLOCK_BYTES);
    memcpy(out, SLOT_MAGIC, 8);
    put_le32(out + 8, META_VERSION);
    put_le32(out + 12, slot->self);
    put_le64(out + 16, slot->sequence);
    put_le64(out + 24, slot->hard.term);
    put_le32(out + 32, slot->hard.vote);
    put_le32(out + 36, slot->hard.joined);
    put_le64(out + 40, slot->commit);
    put_le64(out + 48, slot->commit_end);
    out[OFF_GROUP_LEN] = (uint8_t)group_len;
    memcpy(out + OFF_GROUP, slot->group, group_len);
    put_le32(out + OFF_MEMBERS, slot->members.count);
    for (uint32_t i = 0; i < slot->members.count; i++)
        put_le32(out + OFF_MEMBERS + 4 + 4 * i, slot->members.id[i]);
    put_le32(out + OFF_CRC, crc32c(0, out, OFF_CRC));
}

int meta_slot_decode(const uint8_t in[META_BLOCK_BYTES], struct meta_slot *slot)
{
    memset(slot, 0, sizeof(*slot));
    if (!block_good(in, SLOT_MAGIC))
        return ERR_DAMAGED;
    if (get_le32(in + 8) != META_VERSION)
        return ERR_VERSION;
    if (!str_copy((struct str){(const char *)in + OFF_GROUP, in[OFF_GROUP_LEN]}, slot->group,
                  sizeof(slot->group)))
        return ERR_DAMAGED;
    slot->members.count = get_le32(in + OFF_MEMBERS);
    if (slot->members.count == 0 || slot->members.count > DL_PEERS_MAX)
        return ERR_DAMAGED;
    for (uint32_t i = 0; i < slot->members.count; i++) {
        slot->members.id[i] = get_le32(in + OFF_MEMBERS + 4 + 4 * i);
        slot->members.voter[i] = true;
    }
    slot->self = get_le32(in + 12);
    slot->sequence = get_le64(in + 16);
    slot->hard.term = get_le64(in + 24);
    slot->hard.vote = get_le32(in + 32);
    slot->hard.joined = get_le32(in + 36) != 0;
    slot->commit = get_le64(in + 40);
    slot->commit_end = get_le64(in + 48);
    return 0;
}

bool meta_cut_decode(const uint8_t in[META_BLOCK_BYTES], struct meta_cut *cut)
{
    cut->segment = get_le64(in + 8);
    cut->from = get_le64(in + 16);
    cut->end = get_le64(in + 24);
    cut->index = get_le64(in + 32);
    cut->prev_crc = get_le32(in + 40);
    return block_good(in, CUT_MAGIC) && cut->segment <= cut->from && cut->from <= cut->end;
}

static int block_write(struct meta *m, int fd, const uint8_t *block, uint64_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)block, META_BLOCK_BYTES};
    int64_t n = m->disk->ops->pwritev(m->disk, fd, &iov, 1, offset);
    return n < 0 ? (int)n : 0;
}

static int slot_write(struct meta *m, int which)
{
    uint8_t block[META_BLOCK_BYTES];
    slot_encode(block, &m->slot);
    int rc = block_write(m, m->fd, block, (uint64_t)which * META_BLOCK_BYTES);
    return rc != 0 ? rc : m->disk->ops->fdatasync(m->disk, m->fd);
}

int meta_save(struct meta *m, struct dl_hard hard, dl_index_t commit, dl_pos_t commit_end)
{
    int which = 1 - m->newest;
    m->slot.sequence++;
    m->slot.hard = hard;
    m->slot.commit = commit;
    m->slot.commit_end = commit_end;
    int rc = slot_write(m, which);
    if (rc == 0)
        m->newest = which;
    return rc;
}

int meta_mirror(struct meta *m)
{
    return slot_write(m, 1 - m->newest);
}

/* ---- opening ---- */

static int io_err(struct meta *m, const char *what, int64_t rc, struct err *err)
{
    int code = rc == -ENOSPC                                   ? ERR_NO_SPACE
               : rc == -EACCES || rc == -EROFS || rc == -EPERM ? ERR_NO_PERMISSION
                                                               : ERR_IO;
    return err_set(err, code, "%s/" META_PATH ": %s: %s", m->disk->root, what, strerror((int)-rc));
}

/* A whole file under another name first, so that one named `hard` always holds two good slots. */
static int meta_make(struct meta *m, struct err *err)
{
    const struct disk_ops *ops = m->disk->ops;
    uint8_t zero[META_BLOCK_BYTES] = {0};
    int fd = ops->open(m->disk, META_PATH_NEW, true);
    if (fd < 0)
        return io_err(m, "create", fd, err);
    m->fd = fd;
    int rc = slot_write(m, 0);
    if (rc == 0)
        rc = slot_write(m, 1);
    if (rc == 0)
        rc = block_write(m, fd, zero, OFF_CUT_BLOCK);
    if (rc == 0)
        rc = ops->fdatasync(m->disk, fd);
    if (rc == 0)
        rc = ops->rename(m->disk, META_PATH_NEW, META_PATH);
    if (rc == 0)
        rc = ops->sync_dir(m->disk, ".");
    if (rc != 0)
        return io_err(m, "create", rc, err);
    return 0;
}

/* "n0,n1,n2" */
static void members_text(const struct dl_members *members, char *out, size_t size)
{
    size_t len = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < members->count && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%sn%u", i > 0 ? "," : "", members->id[i] - 1);
}

/* Whoever starts with another list of replicas than the group's counts other majorities. */
static int check_members(struct meta *m, const struct dl_members *members, struct err *err)
{
    const struct dl_members *own = &m->slot.members;
    char ours[MEMBERS_TEXT_MAX], theirs[MEMBERS_TEXT_MAX];
    bool same = own->count == members->count;
    for (uint32_t i = 0; same && i < own->count; i++)
        same = own->id[i] == members->id[i];
    if (same)
        return 0;
    members_text(own, ours, sizeof(ours));
    members_text(members, theirs, sizeof(theirs));
    return err_set(err, ERR_FOREIGN, "%s/" META_PATH ": belongs to a group of %s, but dLegerPeers names %s",
                   m->disk->root, ours, theirs);
}

static int meta_load(struct meta *m, const char *group, dl_peer_t self, const struct dl_members *members,
                     struct err *err)
{
    uint8_t blocks[2][META_BLOCK_BYTES];
    struct meta_slot slot[2];
    int state[2];
    /* A killed process may have left changes unsynced, of all things the end of a cut's intent: if a power cut
     * brought that back later, entries acknowledged meanwhile would be cut off. What its failed sync left in
     * the page cache counts as clean there and is not on the medium: read from that. */
    int rc = m->disk->ops->fdatasync(m->disk, m->fd);
    if (rc == 0)
        rc = m->disk->ops->drop_cache(m->disk, m->fd);
    if (rc != 0)
        return io_err(m, "fdatasync", rc, err);
    for (int i = 0; i < 2; i++) {
        int64_t n =
            m->disk->ops->pread(m->disk, m->fd, blocks[i], META_BLOCK_BYTES, (uint64_t)i * META_BLOCK_BYTES);
        if (n < 0)
            return io_err(m, "read", n, err);
        state[i] = n == META_BLOCK_BYTES ? meta_slot_decode(blocks[i], &slot[i]) : ERR_DAMAGED;
        if (state[i] == ERR_VERSION)
            return err_set(err, ERR_VERSION, "%s/" META_PATH ": format %" PRIu32 ", this program knows %u",
                           m->disk->root, get_le32(blocks[i] + 8), META_VERSION);
    }
    if (state[0] != 0 && state[1] != 0)
        return err_set(err, ERR_DAMAGED,
                       "%s/" META_PATH ": both slots are damaged (offsets 0 and %u): term and vote are lost",
                       m->disk->root, META_BLOCK_BYTES);
    m->newest = state[0] != 0 || (state[1] == 0 && slot[1].sequence > slot[0].sequence);
    m->slot = slot[m->newest];
    if (strcmp(m->slot.group, group) != 0)
        return err_set(err, ERR_FOREIGN, "%s/" META_PATH ": belongs to group %s, not %s", m->disk->root,
                       m->slot.group, group);
    if (m->slot.self != self)
        return err_set(err, ERR_FOREIGN, "%s/" META_PATH ": belongs to replica n%u, not n%u", m->disk->root,
                       m->slot.self - 1, self - 1);
    rc = check_members(m, members, err);
    if (rc != 0)
        return rc;
    if (state[1 - m->newest] != 0)
        LOG_WARN("slot repaired", "file=%s/" META_PATH " offset=%u", m->disk->root,
                 (1 - m->newest) * META_BLOCK_BYTES);
    if (state[1 - m->newest] != 0 || slot[0].sequence != slot[1].sequence) {
        rc = meta_mirror(m);
        if (rc != 0)
            return io_err(m, "write", rc, err);
    }
    return 0;
}

int meta_open(struct meta *m, struct disk *disk, const char *group, dl_peer_t self,
              const struct dl_members *members, bool fresh, struct err *err)
{
    ENSURE(strlen(group) <= META_GROUP_MAX);
    memset(m, 0, sizeof(*m));
    m->disk = disk;
    m->fd = disk->ops->open(disk, META_PATH, false);
    if (m->fd == -ENOENT && !fresh)
        return err_set(err, ERR_DAMAGED, "%s/" META_PATH " is missing beside a log: term and vote are lost",
                       disk->root);
    if (m->fd == -ENOENT) {
        m->slot.self = self;
        strcpy(m->slot.group, group);
        m->slot.members = *members;
        return meta_make(m, err);
    }
    if (m->fd < 0)
        return io_err(m, "open", m->fd, err);
    return meta_load(m, group, self, members, err);
}

void meta_close(struct meta *m)
{
    if (m->disk && m->fd >= 0)
        m->disk->ops->close(m->disk, m->fd);
    m->fd = -1;
}

/* ---- the intent of a cut ---- */

int meta_cut_read(struct meta *m, struct meta_cut *cut, bool *present, struct err *err)
{
    uint8_t block[META_BLOCK_BYTES];
    int64_t n = m->disk->ops->pread(m->disk, m->fd, block, META_BLOCK_BYTES, OFF_CUT_BLOCK);
    if (n < 0)
        return io_err(m, "read", n, err);
    *present = n == META_BLOCK_BYTES && meta_cut_decode(block, cut);
    return 0;
}

int meta_cut_write(struct meta *m, const struct meta_cut *cut)
{
    uint8_t block[META_BLOCK_BYTES] = {0};
    memcpy(block, CUT_MAGIC, 8);
    put_le64(block + 8, cut->segment);
    put_le64(block + 16, cut->from);
    put_le64(block + 24, cut->end);
    put_le64(block + 32, cut->index);
    put_le32(block + 40, cut->prev_crc);
    put_le32(block + OFF_CRC, crc32c(0, block, OFF_CRC));
    int rc = block_write(m, m->fd, block, OFF_CUT_BLOCK);
    return rc != 0 ? rc : m->disk->ops->fdatasync(m->disk, m->fd);
}

int meta_cut_clear(struct meta *m)
{
    uint8_t zero[META_BLOCK_BYTES] = {0};
    int rc = block_write(m, m->fd, zero, OFF_CUT_BLOCK);
    return rc != 0 ? rc : m->disk->ops->fdatasync(m->disk, m->fd);
}
