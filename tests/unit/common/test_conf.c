/* test_conf.c - properties text as Java reads it, and a table that refuses, warns and prints. */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/log.h"

struct settings {
    char *name, *dir;
    int64_t port, size_bytes, role;
    bool create;
};

#define AT(field) offsetof(struct settings, field)
static const struct conf_row rows[] = {
    {"brokerName", CONF_STRING, AT(name), "broker-a", 0, 0, NULL, NULL, "name of the group"},
    {"storePathRootDir", CONF_STRING, AT(dir), NULL, 0, 0, NULL, NULL, "where data lives"},
    {"listenPort", CONF_INT, AT(port), "10911", 1, 65535, NULL, NULL, "port for clients"},
    {"mappedFileSizeCommitLog", CONF_SIZE, AT(size_bytes), "1g", 1024, 2147483648, NULL, "bytes",
     "size of a segment"},
    {"brokerRole", CONF_ENUM, AT(role), "ASYNC_MASTER", 0, 0, "ASYNC_MASTER|SYNC_MASTER|SLAVE", NULL, "role"},
    {"autoCreateTopicEnable", CONF_BOOL, AT(create), "true", 0, 0, NULL, NULL, "create topics on first use"},
    {"deleteWhen", CONF_IGNORED, 0, NULL, 0, 0, NULL, NULL, "retention goes by size and age"},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static struct settings settings;
static struct conf conf;
static struct err err;
static char log_text[4096];

static void capture(void *arg, enum log_level level, const char *line)
{
    (void)level;
    strcat(arg, line);
    strcat(arg, "\n");
}

static void setup(void)
{
    log_text[0] = 0;
    log_set_sink(capture, log_text);
    conf_init(&conf, rows, ROW_COUNT, &settings);
}

static void teardown(void)
{
    conf_release(&conf);
    log_set_sink(NULL, NULL);
}

static int read_text(const char *text)
{
    return conf_read_text(&conf, "broker.conf", str_of(text), &err);
}

START_TEST(test_defaults)
{
    ck_assert_str_eq(settings.name, "broker-a");
    ck_assert_ptr_null(settings.dir);
    ck_assert_int_eq(settings.port, 10911);
    ck_assert_int_eq(settings.size_bytes, 1 << 30);
    ck_assert_int_eq(settings.role, 0);
    ck_assert(settings.create);
}
END_TEST

START_TEST(test_values_of_every_kind)
{
    ck_assert_int_eq(
        read_text(
            "brokerName=b\nstorePathRootDir = /data/x "
            "\nlistenPort:1\nmappedFileSizeCommitLog=64M\nbrokerRole=slave\nautoCreateTopicEnable FALSE"),
        0);
    ck_assert_str_eq(settings.name, "b");
    ck_assert_str_eq(settings.dir, "/data/x");
    ck_assert_int_eq(settings.port, 1);
    ck_assert_int_eq(settings.size_bytes, 64 << 20);
    ck_assert_int_eq(settings.role, 2);
    ck_assert(!settings.create);
    ck_assert_str_eq(log_text, "");
    ck_assert_int_eq(read_text("brokerName=\nlistenPort=65535\nmappedFileSizeCommitLog=2048"), 0);
    ck_assert_str_eq(settings.name, "");
    ck_assert_int_eq(settings.port, 65535);
    ck_assert_int_eq(settings.size_bytes, 2048);
}
END_TEST

START_TEST(test_bad_values_name_everything)
{
    ck_assert_int_eq(read_text("# a comment\nbrokerName=x\n\nlistenPort=70000\nbrokerRole=SLAVE\n"),
                     ERR_INVALID);
    ck_assert_str_eq(err.text, "broker.conf:4: listenPort=70000 is not allowed; allowed: 1..65535");
    ck_assert_int_eq(settings.port, 10911);
    ck_assert_int_eq(settings.role, 0); /* stopped before */
    ck_assert_int_eq(read_text("brokerRole=BOSS"), ERR_INVALID);
    ck_assert_str_eq(
        err.text, "broker.conf:1: brokerRole=BOSS is not allowed; allowed: ASYNC_MASTER|SYNC_MASTER|SLAVE");
    static const char *const bad[] = {"listenPort=",
                                      "listenPort=0",
                                      "listenPort=1 2",
                                      "listenPort=x",
                                      "listenPort=99999999999999999999",
                                      "listenPort=1k",
                                      "autoCreateTopicEnable=yes",
                                      "autoCreateTopicEnable=",
                                      "mappedFileSizeCommitLog=1023",
                                      "mappedFileSizeCommitLog=1t",
                                      "mappedFileSizeCommitLog=g",
                                      "mappedFileSizeCommitLog=9999999999999g",
                                      "mappedFileSizeCommitLog=",
                                      "brokerRole=",
                                      "brokerRole=SLAV",
                                      "brokerRole=SLAVE|",
                                      "brokerName=a\\u0000b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(read_text(bad[i]) == ERR_INVALID, "%s", bad[i]);
    ck_assert_str_eq(settings.name, "x");
}
END_TEST

START_TEST(test_unknown_keys_are_warned_with_the_nearest)
{
    ck_assert_int_eq(read_text("brokername=x\nlistenProt=1\nsomethingElse=2\ndeleteWhen=04\n=3\n"), 0);
    ck_assert_str_eq(log_text, "unknown setting at=broker.conf:1 key=brokername nearest=brokerName\n"
                               "unknown setting at=broker.conf:2 key=listenProt nearest=listenPort\n"
                               "unknown setting at=broker.conf:3 key=somethingElse\n"
                               "setting without effect here at=broker.conf:4 key=deleteWhen\n"
                               "unknown setting at=broker.conf:5 key=\n");
    ck_assert_str_eq(settings.name, "broker-a");
}
END_TEST

static int gather(void *arg, uint32_t line, struct str key, struct str value)
{
    bld_fmt(arg, "%u<%.*s><%.*s>", line, (int)key.len, key.p, (int)value.len, value.p);
    return value.len == 4 && memcmp(value.p, "stop", 4) == 0 ? 9 : 0;
}

START_TEST(test_properties_syntax)
{
    static const struct {
        const char *text, *pairs;
    } cases[] = {
        {"", ""},
        {"\n\r\n  \t\n", ""},
        {"a=b", "1<a><b>"},
        {"  a  =  b c  \n", "1<a><b c>"},
        {"a:b\nc d\ne", "1<a><b>2<c><d>3<e><>"},
        {"a==b\na=b=c:d", "1<a><=b>2<a><b=c:d>"},
        {"#c=1\n !d=2\na=#x", "3<a><#x>"},
        {"a=1\r\nb=2\r\n", "1<a><1>2<b><2>"},
        {"a=b,\\\n   c,\\\r\n\td\ne=f", "1<a><b,c,d>4<e><f>"},
        {"a=b\\\\\nc=d", "1<a><b\\>2<c><d>"},
        {"#no\\\na=b", "2<a><b>"},
        {"a\\=b\\:c\\ d=e", "1<a=b:c d><e>"},
        {"a=\\t\\n\\r\\f\\q\\u0041\\u20ac\\u12", "1<a><\t\n\r\fqA\xe2\x82\xacu12>"},
        {"a=b\\", "1<a><b>"},
        {"=b", "1<><b>"},
        {"a=stop\nb=c", "1<a><stop>"},
        {"namesrvAddr=h1:9876;h2:9876", "1<namesrvAddr><h1:9876;h2:9876>"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bld w = bld_of(4096);
        int rc = conf_each_property(str_of(cases[i].text), gather, &w);
        ck_assert_int_eq(rc, strstr(cases[i].text, "stop") != NULL ? 9 : 0);
        struct buf *b = bld_take(&w);
        ck_assert_msg(str_is((struct str){(char *)b->data, b->len}, cases[i].pairs), "%s: %.*s",
                      cases[i].text, (int)b->len, b->data);
        buf_unref(b);
    }
    ck_assert_int_eq(conf_each_property((struct str){NULL, 0}, gather, NULL), 0);
}
END_TEST

START_TEST(test_file)
{
    char path[] = "/tmp/lmq-test-conf-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "listenPort=5\nlistenPort=x\n", 26), 26);
    close(fd);
    int rc = conf_read_file(&conf, path, &err);
    unlink(path);
    ck_assert_int_eq(rc, ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_ptr_nonnull(strstr(err.text, ":2: listenPort=x"));
    ck_assert_int_eq(settings.port, 5);
    ck_assert_int_eq(conf_read_file(&conf, path, &err), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_int_eq(conf_read_file(&conf, "/", &err), ERR_IO);
}
END_TEST

START_TEST(test_huge_text_is_refused)
{
    size_t len = 2u << 20;
    char *text = malloc(len);
    memset(text, 'x', len);
    ck_assert_int_eq(conf_read_text(&conf, "big", (struct str){text, len}, &err), ERR_TOO_LARGE);
    memcpy(text, "brokerName=", 11);
    ck_assert_int_eq(conf_read_text(&conf, "long", (struct str){text, 5000}, &err), ERR_INVALID);
    free(text);
}
END_TEST

START_TEST(test_print)
{
    char *text;
    size_t len;
    ck_assert_int_eq(read_text("listenPort=5\nbrokerName=b"), 0);
    FILE *out = open_memstream(&text, &len);
    conf_print(&conf, out);
    fclose(out);
    ck_assert_str_eq(text,
                     "brokerName=b  # default broker-a, text up to 4096 bytes, name of the group (set)\n"
                     "storePathRootDir=  # default unset, text up to 4096 bytes, where data lives\n"
                     "listenPort=5  # default 10911, 1..65535, port for clients (set)\n"
                     "mappedFileSizeCommitLog=1073741824  # default 1g, 1024..2147483648 bytes, k m g "
                     "allowed, size of a segment\n"
                     "brokerRole=ASYNC_MASTER  # default ASYNC_MASTER, ASYNC_MASTER|SYNC_MASTER|SLAVE, role\n"
                     "autoCreateTopicEnable=true  # default true, true|false, create topics on first use\n"
                     "# deleteWhen is accepted without effect: retention goes by size and age\n");
    free(text);
}
END_TEST

START_TEST(test_properties_can_be_read_back)
{
    ck_assert_int_eq(read_text("brokerName=a\\\\b\\nc\\u20ac\nbrokerRole=SYNC_MASTER\nautoCreateTopicEnable="
                               "false\nlistenPort=7"),
                     0);
    struct buf *b = conf_properties(&conf);
    ck_assert(str_is((struct str){(char *)b->data, b->len},
                     "brokerName=a\\\\b\\nc\xe2\x82\xac\nlistenPort=7\nmappedFileSizeCommitLog=1073741824\n"
                     "brokerRole=SYNC_MASTER\nautoCreateTopicEnable=false\n"));
    teardown();
    setup();
    ck_assert_int_eq(conf_read_text(&conf, "again", (struct str){(char *)b->data, b->len}, &err), 0);
    buf_unref(b);
    ck_assert_str_eq(settings.name, "a\\b\nc\xe2\x82\xac");
    ck_assert_int_eq(settings.role, 1);
    ck_assert(!settings.create);
    ck_assert_int_eq(settings.port, 7);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf");
    TCase *tc = tcase_create("conf");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_defaults);
    tcase_add_test(tc, test_values_of_every_kind);
    tcase_add_test(tc, test_bad_values_name_everything);
    tcase_add_test(tc, test_unknown_keys_are_warned_with_the_nearest);
    tcase_add_test(tc, test_properties_syntax);
    tcase_add_test(tc, test_file);
    tcase_add_test(tc, test_huge_text_is_refused);
    tcase_add_test(tc, test_print);
    tcase_add_test(tc, test_properties_can_be_read_back);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
