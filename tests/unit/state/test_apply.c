/*
 * test_apply.c - each command: what it does, what it refuses.
 */
#include "broker/state/internal.h"
#include "tests/unit/state/fixture.h"

static struct memory_checkpoint *store;
static struct rig rig;
static struct entry_bytes e;

static void setup(void)
{
    store = memory_checkpoint_new();
    rig = (struct rig){0};
    rig_open(&rig, memory_checkpoint_door(store), 4);
}

static void teardown(void)
{
    rig_crash(&rig);
    memory_checkpoint_free(store);
}

static int32_t apply(void)
{
    return rig_apply(&rig, &e)->code;
}

static int32_t put_topic(const char *name, uint32_t read, uint32_t write)
{
    entry_topic_put(&e, name, read, write);
    return apply();
}

START_TEST(a_topic_is_created_changed_and_deleted)
{
    ck_assert_int_eq(put_topic("T", 4, 8), 0);
    const struct topic *t = state_topic(rig.state, STR("T"));
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->queue_count, 8);
    ck_assert_str_eq(t->filter_type, "SINGLE_TAG");
    uint32_t uid = t->uid;
    ck_assert_int_eq(put_topic("T", 2, 1), 0);
    t = state_topic(rig.state, STR("T"));
    ck_assert_uint_eq(t->uid, uid);
    ck_assert_uint_eq(t->read_queues, 2);
    ck_assert_uint_eq(t->write_queues, 1);
    ck_assert_uint_eq(t->queue_count, 8);
    struct data_version v = state_topics_version(rig.state);
    ck_assert_uint_eq(v.counter, 2);
    ck_assert_uint_eq(v.state_version, 1);
    ck_assert_uint_eq(v.timestamp_ms, 1000);
    ck_assert(state_take_changes(rig.state).topics);
    ck_assert(!state_take_changes(rig.state).topics);

    entry_topic_delete(&e, "T");
    ck_assert_int_eq(apply(), 0);
    ck_assert_ptr_null(state_topic(rig.state, STR("T")));
    ck_assert_int_eq(apply(), 0); /* once more: nothing to do */
    ck_assert_uint_eq(state_topics_version(rig.state).counter, 3);
    ck_assert_int_eq(put_topic("T", 1, 1), 0);
    ck_assert_uint_ne(state_topic(rig.state, STR("T"))->uid, uid);
}
END_TEST

START_TEST(impossible_topics_are_refused)
{
    char name[300];
    ck_assert_int_eq(put_topic("", 1, 1), 29);
    ck_assert_int_eq(put_topic("a b", 1, 1), 29);
    ck_assert_int_eq(put_topic("caf\xC3\xA9", 1, 1), 29);
    ck_assert_int_eq(put_topic("a", 0, 1), 29);
    ck_assert_int_eq(put_topic("a", 1, QUEUES_MAX + 1), 29);
    memset(name, 'x', sizeof name);
    name[128] = 0;
    ck_assert_int_eq(put_topic(name, 1, 1), 29);
    name[127] = 0;
    ck_assert_int_eq(put_topic(name, 1, 1), 0);
    memset(name, 'x', sizeof name);
    memcpy(name, "%RETRY%", 7);
    name[255] = 0;
    ck_assert_int_eq(put_topic(name, 1, 1), 0);
    memset(name, 'x', sizeof name);
    memcpy(name, "%DLQ%", 5);
    name[256] = 0;
    ck_assert_int_eq(put_topic(name, 1, 1), 29);
    ck_assert_int_eq(put_topic("%|aZ09_-", 1, 1), 0);
    ck_assert_uint_eq(state_topic_count(rig.state), 3);

    Ledgermq__Command__TopicConfig c = LEDGERMQ__COMMAND__TOPIC_CONFIG__INIT;
    Ledgermq__Command__TopicPut put = LEDGERMQ__COMMAND__TOPIC_PUT__INIT;
    entry_pack(&e, CMD_TOPIC_PUT, &put);
    ck_assert_int_eq(apply(), 29); /* no topic in it */
    c.name = "perm";
    c.read_queues = c.write_queues = 1;
    c.perm = 8;
    put.topic = &c;
    entry_pack(&e, CMD_TOPIC_PUT, &put);
    ck_assert_int_eq(apply(), 29);
    c.perm = 7;
    c.filter_type = "ODD";
    entry_pack(&e, CMD_TOPIC_PUT, &put);
    ck_assert_int_eq(apply(), 29);
    ck_assert_ptr_null(state_topic(rig.state, STR("perm")));
}
END_TEST

START_TEST(all_topics_together_have_a_limited_number_of_queues)
{
    char name[16];
    int32_t code = 0;
    uint32_t made = 0;
    while (made < 100 && code == 0) {
        snprintf(name, sizeof name, "wide%u", made);
        code = put_topic(name, QUEUES_MAX, 1);
        made += code == 0;
    }
    ck_assert_int_eq(code, 1);
    ck_assert_uint_eq(made, 1000000 / QUEUES_MAX);
    ck_assert_int_eq(put_topic("narrow", 1, 1), 0);
}
END_TEST

START_TEST(create_only_leaves_an_existing_topic_and_group_alone)
{
    put_topic("T", 4, 4);
    Ledgermq__Command__TopicConfig c = LEDGERMQ__COMMAND__TOPIC_CONFIG__INIT;
    Ledgermq__Command__TopicPut put = LEDGERMQ__COMMAND__TOPIC_PUT__INIT;
    c.name = "T";
    c.read_queues = c.write_queues = 9;
    put.topic = &c;
    put.create_only = true;
    entry_pack(&e, CMD_TOPIC_PUT, &put);
    ck_assert_int_eq(apply(), 0);
    ck_assert_uint_eq(state_topic(rig.state, STR("T"))->read_queues, 4);
    ck_assert_uint_eq(state_topics_version(rig.state).counter, 1);

    entry_group_put(&e, "G", "{\"consumeEnable\":false}");
    ck_assert_int_eq(apply(), 0);
    Ledgermq__Command__GroupPut group = LEDGERMQ__COMMAND__GROUP_PUT__INIT;
    group.name = "G";
    group.config_json = "{}";
    group.create_only = true;
    entry_pack(&e, CMD_GROUP_PUT, &group);
    ck_assert_int_eq(apply(), 0);
    ck_assert(!state_group(rig.state, STR("G"))->consume_enable);
}
END_TEST

static void add_name(void *arg, const struct topic *t)
{
    strcat(arg, t->name);
}

static void add_group(void *arg, const struct group *g)
{
    strcat(arg, g->name);
}

START_TEST(topics_and_groups_are_listed_by_name)
{
    const char *names[] = {"m", "b", "z", "a"};
    for (size_t i = 0; i < 4; i++) {
        put_topic(names[i], 1, 1);
        entry_group_put(&e, names[i], "{}");
        ck_assert_int_eq(apply(), 0);
    }
    char all[16] = "";
    state_each_topic(rig.state, add_name, all);
    ck_assert_str_eq(all, "abmz");
    entry_topic_delete(&e, "b");
    apply();
    all[0] = 0;
    state_each_topic(rig.state, add_name, all);
    ck_assert_str_eq(all, "amz");
    all[0] = 0;
    state_each_group(rig.state, add_group, all);
    ck_assert_str_eq(all, "abmz");
}
END_TEST

START_TEST(a_group_keeps_its_text_and_gives_its_settings)
{
    const char *json =
        "{\"groupName\":\"G\",\"consumeEnable\":\"false\",\"retryMaxTimes\":3,\"odd\":{\"x\":1}}";
    entry_group_put(&e, "G", json);
    ck_assert_int_eq(apply(), 0);
    const struct group *g = state_group(rig.state, STR("G"));
    ck_assert_str_eq(g->config_json, json);
    ck_assert(!g->consume_enable);
    ck_assert(g->consume_broadcast_enable);
    ck_assert_int_eq(g->retry_max_times, 3);
    ck_assert_int_eq(g->retry_queues, 1);
    ck_assert_uint_eq(state_groups_version(rig.state).counter, 1);
    ck_assert(state_take_changes(rig.state).groups);

    entry_group_put(&e, "G", "[1]");
    ck_assert_int_eq(apply(), 29);
    entry_group_put(&e, "G", "{broken");
    ck_assert_int_eq(apply(), 29);
    entry_group_put(&e, "no blanks", "{}");
    ck_assert_int_eq(apply(), 29);
    ck_assert_str_eq(state_group(rig.state, STR("G"))->config_json, json);

    entry_group_delete(&e, "G", false);
    ck_assert_int_eq(apply(), 0);
    ck_assert_ptr_null(state_group(rig.state, STR("G")));
}
END_TEST

static void count_arrival(void *arg, const struct topic *t, uint32_t queue_id, uint64_t max_offset)
{
    uint64_t *seen = arg;
    ck_assert_str_eq(t->name, "T");
    seen[0]++;
    seen[1] = queue_id;
    seen[2] = max_offset;
}

START_TEST(queue_offsets_are_dense)
{
    uint64_t seen[3] = {0};
    state_on_arrival(rig.state, count_arrival, seen);
    put_topic("T", 2, 2);
    for (uint64_t i = 0; i < 1000; i++) {
        const struct state_result *r = rig_send(&rig, "T", (int32_t)(i % 2), "tag", 5000 + i);
        ck_assert_int_eq(r->code, 0);
        ck_assert_uint_eq(r->queue_id, i % 2);
        ck_assert_uint_eq(r->queue_offset, i / 2);
        ck_assert_uint_eq(r->message_count, 1);
    }
    e.len = 0;
    for (int i = 0; i < 400; i++)
        entry_message(&e, "T", 1, NULL, 9000);
    const struct state_result *r = rig_apply(&rig, &e);
    ck_assert_uint_eq(r->message_count, 400);
    ck_assert_uint_eq(r->queue_offset, 500);
    ck_assert_uint_eq(seen[0], 1001);
    ck_assert_uint_eq(seen[1], 1);
    ck_assert_uint_eq(seen[2], 900);
    uint64_t min, max;
    ck_assert_int_eq(state_queue_bounds(rig.state, STR("T"), 1, &min, &max), 0);
    ck_assert_uint_eq(min, 0);
    ck_assert_uint_eq(max, 900);
    ck_assert_int_eq(state_queue_bounds(rig.state, STR("T"), 2, &min, &max), ERR_NOT_FOUND);
    ck_assert_int_eq(state_queue_bounds(rig.state, STR("U"), 0, &min, &max), ERR_NOT_FOUND);
}
END_TEST

START_TEST(messages_to_nowhere_are_refused)
{
    ck_assert_int_eq(rig_send(&rig, "T", 0, NULL, 1)->code, 17);
    put_topic("T", 2, 3);
    ck_assert_int_eq(rig_send(&rig, "T", 3, NULL, 1)->code, 29);
    ck_assert_int_eq(rig_send(&rig, "T", -1, NULL, 1)->code, 29);
    put_topic("T", 1, 1);
    ck_assert_int_eq(rig_send(&rig, "T", 1, NULL, 1)->code, 29); /* exists, but nobody would read it */

    e.len = 0;
    entry_message(&e, "T", 0, NULL, 1);
    e.len -= 1;
    ck_assert_int_eq(apply(), 13);
    e.kind = CMD_MESSAGES;
    e.len = 0;
    ck_assert_int_eq(apply(), 13);
    put_topic("U", 2, 2);
    put_topic("T", 2, 2);
    e.len = 0;
    entry_message(&e, "T", 0, NULL, 1);
    entry_message(&e, "T", 1, NULL, 1);
    ck_assert_int_eq(apply(), 13);
    e.len = 0;
    entry_message(&e, "T", 0, NULL, 1);
    entry_message(&e, "U", 0, NULL, 1);
    ck_assert_int_eq(apply(), 13);
    e.len = 0;
    entry_message(&e, "T", 0, NULL, 1);
    e.data[e.len++] = 0;
    ck_assert_int_eq(apply(), 13);
    uint64_t min, max;
    ck_assert_int_eq(state_queue_bounds(rig.state, STR("T"), 0, &min, &max), 0);
    ck_assert_uint_eq(max, 0);
}
END_TEST

START_TEST(shrinking_keeps_queues_and_deleting_does_not)
{
    put_topic("T", 4, 4);
    rig_send(&rig, "T", 3, NULL, 1);
    put_topic("T", 1, 1);
    uint64_t min, max;
    ck_assert_int_eq(state_queue_bounds(rig.state, STR("T"), 3, &min, &max), 0);
    ck_assert_uint_eq(max, 1);
    put_topic("T", 4, 4);
    ck_assert_uint_eq(rig_send(&rig, "T", 3, NULL, 1)->queue_offset, 1);

    entry_commit(&e, "G", "T", 3, 2);
    ck_assert_int_eq(apply(), 0);
    entry_topic_delete(&e, "T");
    apply();
    put_topic("T", 4, 4);
    ck_assert_uint_eq(rig_send(&rig, "T", 3, NULL, 1)->queue_offset, 0);
    uint64_t offset;
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 3, &offset), ERR_NOT_FOUND);
}
END_TEST

static void sum_offsets(void *arg, struct str group, struct str topic, uint32_t queue_id, uint64_t offset)
{
    (void)group;
    (void)topic;
    *(uint64_t *)arg += offset * 10 + queue_id;
}

static void count_groups(void *arg, struct str group)
{
    (void)group;
    ++*(uint64_t *)arg;
}

START_TEST(offsets_are_kept_by_group_topic_and_queue)
{
    put_topic("T", 4, 4);
    put_topic("U", 1, 1);
    uint64_t offset = 77;
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 0, &offset), ERR_NOT_FOUND);
    entry_commit(&e, "G", "T", 2, 100);
    ck_assert_int_eq(apply(), 0);
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 2, &offset), 0);
    ck_assert_uint_eq(offset, 100);
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 0, &offset), ERR_NOT_FOUND);
    entry_commit(&e, "G", "T", 2, 50); /* back is allowed */
    ck_assert_int_eq(apply(), 0);
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 2, &offset), 0);
    ck_assert_uint_eq(offset, 50);
    entry_commit(&e, "G", "U", 0, 3);
    apply();
    entry_commit(&e, "H", "T", 0, 4);
    apply();
    put_topic("T", 6, 6);
    entry_commit(&e, "G", "T", 5, 1);
    ck_assert_int_eq(apply(), 0);

    uint64_t sum = 0;
    state_each_offset(rig.state, STR("G"), (struct str){NULL, 0}, sum_offsets, &sum);
    ck_assert_uint_eq(sum, 502 + 30 + 15);
    sum = 0;
    state_each_offset(rig.state, STR("G"), STR("U"), sum_offsets, &sum);
    ck_assert_uint_eq(sum, 30);
    sum = 0;
    state_each_group_of_topic(rig.state, STR("T"), count_groups, &sum);
    ck_assert_uint_eq(sum, 2);

    entry_commit(&e, "G", "nowhere", 0, 1);
    ck_assert_int_eq(apply(), 17);
    entry_commit(&e, "G", "T", 6, 1);
    ck_assert_int_eq(apply(), 29);
    entry_commit(&e, "G", "T", 0, UINT64_MAX);
    ck_assert_int_eq(apply(), 29);
    entry_commit(&e, "", "T", 0, 1);
    ck_assert_int_eq(apply(), 29);

    entry_group_put(&e, "G", "{}");
    apply();
    entry_group_delete(&e, "G", false);
    apply();
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 2, &offset), 0);
    entry_group_delete(&e, "G", true); /* the group is gone already, its offsets are not */
    apply();
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 2, &offset), ERR_NOT_FOUND);
    ck_assert_int_eq(state_offset(rig.state, STR("H"), STR("T"), 0, &offset), 0);
}
END_TEST

START_TEST(good_commits_of_an_entry_stand_beside_refused_ones)
{
    put_topic("T", 1, 1);
    Ledgermq__Command__OffsetCommit bad = LEDGERMQ__COMMAND__OFFSET_COMMIT__INIT;
    Ledgermq__Command__OffsetCommit good = LEDGERMQ__COMMAND__OFFSET_COMMIT__INIT;
    Ledgermq__Command__OffsetCommit *list[] = {&bad, &good};
    Ledgermq__Command__OffsetsCommit all = LEDGERMQ__COMMAND__OFFSETS_COMMIT__INIT;
    bad.group = good.group = "G";
    bad.topic = "gone";
    good.topic = "T";
    good.offset = 9;
    all.n_commits = 2;
    all.commits = list;
    entry_pack(&e, CMD_OFFSETS_COMMIT, &all);
    ck_assert_int_eq(apply(), 17);
    uint64_t offset;
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 0, &offset), 0);
    ck_assert_uint_eq(offset, 9);
}
END_TEST

/* Groups that commit one offset each on a topic of the most queues. */
START_TEST(memory_follows_the_offsets_and_not_the_queues)
{
    char group[16];
    put_topic("wide", QUEUES_MAX, QUEUES_MAX);
    rig_flush(&rig);
    size_t before = heap_bytes();
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(group, sizeof group, "g%u", i);
        entry_commit(&e, group, "wide", i * 65 % QUEUES_MAX, i);
        ck_assert_int_eq(apply(), 0);
    }
    size_t used = heap_bytes() - before;
    ck_assert_msg(used <= 1000 * 1024, "%zu bytes for 1,000 offsets", used);
}
END_TEST

START_TEST(queues_are_committed_in_any_order)
{
    put_topic("wide", 1000, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        entry_commit(&e, "G", "wide", i * 7919 % 1000, i);
        ck_assert_int_eq(apply(), 0);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t offset;
        ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("wide"), i * 7919 % 1000, &offset), 0);
        ck_assert_uint_eq(offset, i);
    }
}
END_TEST

START_TEST(offsets_are_limited)
{
    uint64_t offset;
    put_topic("T", 4, 4);
    entry_commit(&e, "G", "T", 2, 1);
    ck_assert_int_eq(apply(), 0);
    rig.state->offset_count += OFFSETS_MAX - 1; /* as if there were so many */
    uint64_t digest = state_digest(rig.state);
    entry_commit(&e, "G", "T", 1, 5);
    ck_assert_int_eq(apply(), 1);
    entry_commit(&e, "H", "T", 2, 5);
    ck_assert_int_eq(apply(), 1);
    ck_assert_uint_eq(state_digest(rig.state), digest);
    entry_commit(&e, "G", "T", 2, 5); /* has its place */
    ck_assert_int_eq(apply(), 0);
    ck_assert_int_eq(state_offset(rig.state, STR("G"), STR("T"), 2, &offset), 0);
    ck_assert_uint_eq(offset, 5);
    entry_group_delete(&e, "G", true); /* makes one */
    apply();
    entry_commit(&e, "H", "T", 2, 6);
    ck_assert_int_eq(apply(), 0);
    rig.state->offset_count -= OFFSETS_MAX - 1;
}
END_TEST

static uint64_t lock(const char *client, uint64_t now_ms)
{
    entry_lock(&e, "G", client, "T", 0, now_ms);
    const struct state_result *r = rig_apply(&rig, &e);
    ck_assert_int_eq(r->code, 0);
    return r->locked_mask[0];
}

START_TEST(a_queue_lock_has_one_owner_until_it_expires)
{
    put_topic("T", 1, 1);
    struct str owner;
    ck_assert(!state_lock_owner(rig.state, STR("G"), STR("T"), 0, 0, &owner));
    ck_assert_uint_eq(lock("a", 1000), 1);
    ck_assert_uint_eq(lock("b", 2000), 0);
    ck_assert_uint_eq(lock("a", 30000), 1);
    ck_assert_uint_eq(lock("b", 90000), 0); /* exactly 60 s old: still held */
    ck_assert(state_lock_owner(rig.state, STR("G"), STR("T"), 0, 90000, &owner));
    ck_assert(str_is(owner, "a"));
    ck_assert(!state_lock_owner(rig.state, STR("G"), STR("T"), 0, 90001, &owner));
    ck_assert(!state_lock_owner(rig.state, STR("H"), STR("T"), 0, 90000, &owner));
    ck_assert_uint_eq(lock("b", 90001), 1);

    entry_unlock(&e, "G", "a", "T", 0);
    ck_assert_int_eq(apply(), 0);
    ck_assert(state_lock_owner(rig.state, STR("G"), STR("T"), 0, 90002, &owner));
    ck_assert(str_is(owner, "b"));
    entry_unlock(&e, "G", "b", "T", 0);
    apply();
    ck_assert(!state_lock_owner(rig.state, STR("G"), STR("T"), 0, 90002, &owner));

    entry_lock(&e, "G", "a", "T", 1, 1); /* no such queue */
    ck_assert_uint_eq(rig_apply(&rig, &e)->locked_mask[0], 0);
    entry_lock(&e, "G", "", "T", 0, 1);
    ck_assert_int_eq(apply(), 29);
}
END_TEST

static uint32_t lock_many(const char *group, uint32_t queue_id, uint32_t count, uint64_t now_ms)
{
    static Ledgermq__Command__QueueRef refs[QUEUES_PER_COMMAND];
    Ledgermq__Command__QueueRef *list[QUEUES_PER_COMMAND];
    Ledgermq__Command__QueuesLock cmd = LEDGERMQ__COMMAND__QUEUES_LOCK__INIT;
    uint32_t locked = 0;
    for (uint32_t i = 0; i < count; i++) {
        refs[i] = (Ledgermq__Command__QueueRef)LEDGERMQ__COMMAND__QUEUE_REF__INIT;
        refs[i].topic = "wide";
        refs[i].queue_id = queue_id + i;
        list[i] = &refs[i];
    }
    cmd.group = (char *)group;
    cmd.client_id = "c";
    cmd.queues = list;
    cmd.n_queues = count;
    cmd.now_ms = now_ms;
    cmd.expire_ms = 60000;
    entry_pack(&e, CMD_QUEUES_LOCK, &cmd);
    const struct state_result *r = rig_apply(&rig, &e);
    ck_assert_int_eq(r->code, 0);
    for (uint32_t i = 0; i < count; i++)
        locked += (r->locked_mask[i / 64] >> i % 64) & 1;
    return locked;
}

static uint32_t fill_locks(uint64_t now_ms)
{
    char group[16];
    uint32_t made = 0, got = 1000;
    for (uint32_t i = 0; got == 1000; i++) {
        snprintf(group, sizeof group, "g%u", i / 65);
        got = lock_many(group, i % 65 * 1000, 1000, now_ms);
        made += got;
    }
    return made;
}

/* The limit holds while the locks do; what has expired makes room, the same after a restart. */
START_TEST(expired_locks_make_room)
{
    struct str owner;
    put_topic("wide", QUEUES_MAX, QUEUES_MAX);
    ck_assert_uint_eq(fill_locks(1000), LOCKS_MAX);
    ck_assert_uint_eq(lock_many("late", 0, 1, 60999), 0);
    ck_assert_uint_eq(lock_many("g0", 0, 1, 60999), 1); /* renewed: it stays */
    ck_assert_uint_eq(lock_many("late", 0, 1, 69999), 0);
    rig_flush(&rig);
    uint64_t digest = 0;
    for (int restarted = 0; restarted < 2; restarted++) {
        if (restarted) {
            rig_crash(&rig);
            rig_open(&rig, memory_checkpoint_door(store), 4);
        }
        ck_assert_uint_eq(rig.state->lock_count, LOCKS_MAX);
        ck_assert_uint_eq(lock_many("late", 0, 1, 70000), 1);
        ck_assert_uint_eq(rig.state->lock_count, 2);
        ck_assert(state_lock_owner(rig.state, STR("g0"), STR("wide"), 0, 70000, &owner));
        ck_assert(!restarted || state_digest(rig.state) == digest);
        digest = state_digest(rig.state);
    }
}
END_TEST

START_TEST(a_lock_command_answers_queue_by_queue)
{
    put_topic("T", 200, 200);
    Ledgermq__Command__QueueRef refs[1025];
    Ledgermq__Command__QueueRef *list[1025];
    Ledgermq__Command__QueuesLock cmd = LEDGERMQ__COMMAND__QUEUES_LOCK__INIT;
    for (uint32_t i = 0; i < 1025; i++) {
        refs[i] = (Ledgermq__Command__QueueRef)LEDGERMQ__COMMAND__QUEUE_REF__INIT;
        refs[i].topic = "T";
        refs[i].queue_id = i;
        list[i] = &refs[i];
    }
    cmd.group = "G";
    cmd.client_id = "c";
    cmd.queues = list;
    cmd.n_queues = 1024;
    cmd.expire_ms = 60000;
    entry_pack(&e, CMD_QUEUES_LOCK, &cmd);
    const struct state_result *r = rig_apply(&rig, &e);
    ck_assert_int_eq(r->code, 0);
    ck_assert_uint_eq(r->locked_mask[2], UINT64_MAX);
    ck_assert_uint_eq(r->locked_mask[3], 0xFF);
    ck_assert_uint_eq(r->locked_mask[4], 0);
    cmd.n_queues = 1025;
    entry_pack(&e, CMD_QUEUES_LOCK, &cmd);
    ck_assert_int_eq(apply(), 29);

    entry_topic_delete(&e, "T");
    apply();
    put_topic("T", 1, 1);
    struct str owner;
    ck_assert(!state_lock_owner(rig.state, STR("G"), STR("T"), 0, 0, &owner));
}
END_TEST

START_TEST(unknown_kinds_and_broken_bodies_are_refused_and_counted)
{
    uint64_t digest = state_digest(rig.state);
    e.kind = 999;
    e.len = 3;
    ck_assert_int_eq(apply(), 3);
    e.kind = DL_KIND_NOOP;
    e.len = 0;
    ck_assert_int_eq(apply(), 0);
    memset(e.data, 0xFF, 64);
    for (uint32_t kind = CMD_TOPIC_PUT; kind <= CMD_QUEUES_UNLOCK; kind++) {
        e.kind = kind;
        e.len = 64;
        ck_assert_int_eq(apply(), 1);
    }
    ck_assert_uint_eq(state_applied(rig.state), 9);
    ck_assert_uint_eq(state_digest(rig.state), digest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("apply");
    TCase *tc = tcase_create("apply");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_topic_is_created_changed_and_deleted);
    tcase_add_test(tc, impossible_topics_are_refused);
    tcase_add_test(tc, all_topics_together_have_a_limited_number_of_queues);
    tcase_add_test(tc, create_only_leaves_an_existing_topic_and_group_alone);
    tcase_add_test(tc, topics_and_groups_are_listed_by_name);
    tcase_add_test(tc, a_group_keeps_its_text_and_gives_its_settings);
    tcase_add_test(tc, queue_offsets_are_dense);
    tcase_add_test(tc, messages_to_nowhere_are_refused);
    tcase_add_test(tc, shrinking_keeps_queues_and_deleting_does_not);
    tcase_add_test(tc, offsets_are_kept_by_group_topic_and_queue);
    tcase_add_test(tc, memory_follows_the_offsets_and_not_the_queues);
    tcase_add_test(tc, queues_are_committed_in_any_order);
    tcase_add_test(tc, offsets_are_limited);
    tcase_add_test(tc, good_commits_of_an_entry_stand_beside_refused_ones);
    tcase_add_test(tc, a_queue_lock_has_one_owner_until_it_expires);
    tcase_add_test(tc, expired_locks_make_room);
    tcase_add_test(tc, a_lock_command_answers_queue_by_queue);
    tcase_add_test(tc, unknown_kinds_and_broken_bodies_are_refused_and_counted);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
