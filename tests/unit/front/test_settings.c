/*
 * settings_group: every refusal names key and value.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "broker/front/settings.h"

struct fault {
    const char *settings, *says;
};

static const struct fault faults[] = {
    {"dLegerPeers=n0-h", "dLegerPeers: \"n0-h\""},
    {"dLegerPeers=h:1", "dLegerPeers: \"h:1\""},
    {"dLegerPeers=n0-h:0", "dLegerPeers: \"n0-h:0\""},
    {"dLegerPeers=n0-h:70000", "dLegerPeers: \"n0-h:70000\""},
    {"dLegerPeers=nx-h:1", "dLegerPeers: \"nx-h:1\""},
    {"dLegerPeers=n-1-h:1", "dLegerPeers: \"n-1-h:1\""},
    {"dLegerPeers=n0-h:1;n0-h:2", "n0 stands there twice"},
    {"dLegerPeers=n0-h:1;n1-h:1", "h:1 stands there twice"},
    {"dLegerPeers=n1-h:1;n2-h:2", "dLegerSelfId: n0 is not in dLegerPeers"},
    {"dLegerPeers=n0-h:1;n1-h:2\npreferredLeaderId=n2", "preferredLeaderId: n2"},
    {"enableDLegerCommitLog=true", "dLegerPeers: not set"},
    {"preferredLeaderId=2", "preferredLeaderId: \"2\""},
    {"dLegerSelfId=0", "dLegerSelfId: \"0\""},
    {"dLegerHeartbeatMs=151", "dLegerHeartbeatMs: 151"},
    {"dLegerElectionMaxMs=300", "dLegerElectionMaxMs: 300"},
    {"brokerIP1=host", "brokerIP1: \"host\""},
    {"brokerName=a b", "brokerName: \"a b\""},
    {"brokerName=", "brokerName: \"\""},
    {"brokerClusterName=a\"b", "brokerClusterName: \"a\"b\""},
    {"dLegerGroup=a/b", "dLegerGroup: \"a/b\""},
    {"regionId=\xc3\xa4", "regionId"},
    {"storePathRootDir=", "storePathRootDir: \"\""},
};

static struct settings settings;
static struct conf conf;
static struct settings_peer peers[DL_PEERS_MAX];
static uint32_t count;
static dl_peer_t self, preferred;
static struct err err;

static int read_group(const char *text)
{
    memset(&settings, 0, sizeof(settings));
    conf_init(&conf, settings_rows, settings_row_count, &settings);
    ck_assert_int_eq(conf_read_text(&conf, "test", str_of(text), &err), 0);
    return settings_group(&settings, peers, &count, &self, &preferred, &err);
}

START_TEST(refused)
{
    ck_assert_int_ne(read_group(faults[_i].settings), 0);
    ck_assert_msg(strstr(err.text, faults[_i].says) != NULL, "%s: %s", faults[_i].settings, err.text);
    conf_release(&conf);
}
END_TEST

START_TEST(group_of_three)
{
    ck_assert_int_eq(read_group("dLegerPeers=n2-c-host.example:3;n0-a:1;;n1-127.0.0.1:2;\ndLegerSelfId=n1\n"
                                "preferredLeaderId=n2\n"),
                     0);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(self, 2);
    ck_assert_uint_eq(preferred, 3);
    ck_assert_uint_eq(peers[0].id, 1); /* sorted */
    ck_assert_str_eq(peers[2].host, "c-host.example");
    ck_assert_uint_eq(peers[2].port, 3);
    conf_release(&conf);
}
END_TEST

START_TEST(group_of_one)
{
    ck_assert_int_eq(read_group(""), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(self, 1);
    ck_assert_uint_eq(preferred, DL_NOBODY);
    conf_release(&conf);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("settings");
    TCase *t = tcase_create("settings");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(t, refused, 0, sizeof(faults) / sizeof(faults[0]));
    tcase_add_test(t, group_of_three);
    tcase_add_test(t, group_of_one);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
