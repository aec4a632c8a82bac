/* test_json.c - fastjson's dialect in, plain JSON and RocketMQ's key forms out. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"

#define NODES_MAX 1000u

static struct json_doc *doc;
static struct err err;

static void release(void)
{
    json_free(doc);
    doc = NULL;
}

static int parse_limited(struct str text, uint32_t nodes_max)
{
    release();
    /* A copy of exact size, so that a sanitizer sees every step beyond the end. */
    char *exact = malloc(text.len + (text.len == 0));
    memcpy(exact, text.p, text.len);
    int rc = json_parse((struct str){exact, text.len}, nodes_max, &doc, &err);
    free(exact);
    return rc;
}

static const struct json *parse(const char *text)
{
    int rc = parse_limited(str_of(text), NODES_MAX);
    ck_assert_msg(rc == 0, "%s: %s", text, err.text);
    return json_root(doc);
}

/* Value at a path such as "a.b" of nested objects. */
static const struct json *at(const struct json *n, const char *path)
{
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *step = strtok(copy, "."); step != NULL; step = strtok(NULL, "."))
        n = json_get(n, step);
    return n;
}

static void assert_text(const struct json *n, const char *text)
{
    struct str got = json_str(n);
    ck_assert_msg(got.p != NULL && str_is(got, text), "is \"%.*s\", not \"%s\"", (int)got.len,
                  got.p != NULL ? got.p : "", text);
}

START_TEST(test_standard_values)
{
    const struct json *root =
        parse(" { \"s\" : \"a\\u0041\\n\" , "
              "\"n\":-12.5e1,\"t\":true,\"f\":false,\"z\":null,\"a\":[1,[],{}],\"\":0 } ");
    ck_assert_uint_eq(json_count(root), 7);
    assert_text(at(root, "s"), "aA\n");
    assert_text(at(root, "n"), "-12.5e1");
    ck_assert_int_eq(json_get(root, "t")->type, JSON_BOOL);
    ck_assert(json_get_bool(root, "t", false));
    ck_assert(!json_get_bool(root, "f", true));
    ck_assert_int_eq(json_get(root, "z")->type, JSON_NULL);
    ck_assert_uint_eq(json_count(json_get(root, "a")), 3);
    ck_assert_ptr_eq(json_get(root, "a")->first->parent, json_get(root, "a"));
    ck_assert_int_eq(json_get(root, "")->type, JSON_NUMBER);
    ck_assert_int_eq(parse("7")->type, JSON_NUMBER);
    ck_assert_int_eq(parse("\"x\"")->type, JSON_STRING);
}
END_TEST

START_TEST(test_unquoted_keys)
{
    const struct json *root = parse("{\"brokerAddrs\":{0:\"a:1\",-1:\"b:2\" , 2 :\"c\"},name:1,$x_9:2}");
    assert_text(at(root, "brokerAddrs.0"), "a:1");
    assert_text(at(root, "brokerAddrs.-1"), "b:2");
    assert_text(at(root, "brokerAddrs.2"), "c");
    ck_assert_int_eq(json_get_i64(root, "name", 0), 1);
    ck_assert_int_eq(json_get_i64(root, "$x_9", 0), 2);
}
END_TEST

START_TEST(test_object_keys)
{
    const char *key = "{\"brokerName\":\"b\",\"topic\":\"T}\\\"\",\"queueId\":1}";
    char text[256];
    snprintf(text, sizeof(text),
             "{\"offsetTable\":{%s:{\"maxOffset\":5}, {\"queueId\":2} :{\"maxOffset\":6}}}", key);
    const struct json *first = at(parse(text), "offsetTable")->first;
    ck_assert(str_is(first->key, key));
    ck_assert_int_eq(json_get_i64(first, "maxOffset", 0), 5);
    ck_assert_int_eq(json_get_i64(first->next, "maxOffset", 0), 6);
    struct json_doc *key_doc;
    ck_assert_int_eq(json_parse(first->key, 10, &key_doc, &err), 0);
    assert_text(json_get(json_root(key_doc), "topic"), "T}\"");
    ck_assert_int_eq(json_get_i64(json_root(key_doc), "queueId", 0), 1);
    json_free(key_doc);
    /* The same key as a string that holds the object's text. */
    first = parse("{\"{\\\"queueId\\\":1}\":3}")->first;
    ck_assert(str_is(first->key, "{\"queueId\":1}"));
}
END_TEST

START_TEST(test_coercion)
{
    const struct json *root = parse("{\"a\":\"42\",\"b\":2.9,\"c\":\"-1e3\",\"d\":true,\"e\":\"true\",\"f\":"
                                    "\"x\",\"g\":null,\"h\":[],\"i\":99999999999999999999,"
                                    "\"j\":9223372036854775807,\"k\":\"false\",\"l\":\"\"}");
    static const struct {
        const char *key;
        int64_t value;
    } cases[] = {{"a", 42}, {"b", 2},  {"c", -1000}, {"d", 1},         {"e", -7}, {"f", -7},
                 {"g", -7}, {"h", -7}, {"i", -7},    {"j", INT64_MAX}, {"l", -7}, {"zz", -7}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_msg(json_get_i64(root, cases[i].key, -7) == cases[i].value, "%s", cases[i].key);
    ck_assert(json_get_bool(root, "e", false));
    ck_assert(!json_get_bool(root, "k", true));
    ck_assert(json_get_bool(root, "f", true));
    ck_assert(!json_get_bool(root, "f", false));
    assert_text(json_get(root, "b"), "2.9");
    ck_assert_ptr_null(json_get_str(root, "d").p);
    ck_assert_ptr_null(json_get_str(root, "zz").p);
    ck_assert_ptr_null(json_get(json_get(root, "h"), "x"));
    ck_assert_ptr_null(json_get(NULL, "x"));
    ck_assert_uint_eq(json_count(NULL), 0);
    ck_assert_int_eq(json_i64(NULL, 3), 3);
    ck_assert_ptr_null(json_root(NULL));
}
END_TEST

START_TEST(test_last_of_two_members_holds)
{
    ck_assert_int_eq(json_get_i64(parse("{\"a\":1,\"a\":2}"), "a", 0), 2);
}
END_TEST

/* As a Java consumer's heartbeat has it when two groups share one subscription. */
START_TEST(test_reference_by_path)
{
    const struct json *root =
        parse("{\"set\":[{\"group\":\"g1\",\"subs\":[{\"topic\":\"T\",\"tags\":[\"x\",\"y\"]}]},"
              "{\"group\":\"g2\",\"subs\":[{\"$ref\":\"$.set[0].subs[0]\"}]}]}");
    const struct json *copy = json_get(json_get(root, "set")->first->next, "subs")->first;
    ck_assert_int_eq(copy->type, JSON_OBJECT);
    assert_text(json_get(copy, "topic"), "T");
    ck_assert_uint_eq(json_count(json_get(copy, "tags")), 2);
    ck_assert_ptr_eq(json_get(copy, "tags")->parent, copy);
}
END_TEST

START_TEST(test_reference_forms)
{
    const struct json *root = parse("{\"a\":{\"v\":1},\"m\":{5:\"five\"},\"%RETRY%g\":[7,8],\"r1\":{\"$ref\":"
                                    "\"$.a.v\"},\"r2\":{\"$ref\":\"$.m[5]\"},"
                                    "\"r3\":{\"$ref\":\"$.\\\\%RETRY\\\\%g[1]\"},\"r4\":{\"$ref\":\"$.r1\"},"
                                    "\"r5\":{\"$ref\":\"$.nobody[3]\"},\"r6\":{\"$ref\":\"rubbish\"},"
                                    "\"r7\":{\"$ref\":\"$x\"},\"r8\":{\"$ref\":\"$.a[\"},\"r9\":{\"$ref\":\"$"
                                    ".m[-1]\"},\"r10\":{\"$ref\":\"$..\"}}");
    ck_assert_int_eq(json_get_i64(root, "r1", 0), 1);
    assert_text(at(root, "r2"), "five");
    ck_assert_int_eq(json_get_i64(root, "r3", 0), 8);
    ck_assert_int_eq(json_get_i64(root, "r4", 0), 1);
    static const char *const nowhere[] = {"r5", "r6", "r7", "r8", "r9", "r10"};
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
        ck_assert_msg(json_get(root, nowhere[i])->type == JSON_NULL, "%s", nowhere[i]);
}
END_TEST

/* What encloses a reference is copied once, with the reference itself null. */
START_TEST(test_reference_to_what_encloses_it)
{
    const struct json *root = parse("{\"v\":1,\"o\":{\"w\":2,\"self\":{\"$ref\":\"@\"},\"up\":{\"$ref\":\".."
                                    "\"},\"root\":{\"$ref\":\"$\"}}}");
    ck_assert_int_eq(json_i64(at(root, "o.self.w"), 0), 2);
    ck_assert_int_eq(json_i64(at(root, "o.up.v"), 0), 1);
    ck_assert_int_eq(json_i64(at(root, "o.root.v"), 0), 1);
    ck_assert_int_eq(at(root, "o.root.o.root")->type, JSON_NULL);
    ck_assert_int_eq(parse("{\"$ref\":\"$\"}")->type, JSON_NULL);
    ck_assert_int_eq(parse("{\"$ref\":\"..\"}")->type, JSON_NULL);
    ck_assert_int_eq(parse("{\"$ref\":\"@\"}")->type, JSON_NULL);
    root = parse("{\"a\":{\"$ref\":\"$.b\"},\"b\":{\"$ref\":\"$.a\"}}");
    ck_assert_int_eq(json_get(root, "a")->type, JSON_NULL);
    ck_assert_int_eq(json_get(root, "b")->type, JSON_NULL);
}
END_TEST

START_TEST(test_not_a_reference)
{
    const struct json *root = parse("{\"a\":{\"$ref\":\"$.b\",\"x\":1},\"b\":{\"$ref\":5}}");
    assert_text(at(root, "a.$ref"), "$.b");
    ck_assert_int_eq(json_i64(at(root, "b.$ref"), 0), 5);
}
END_TEST

START_TEST(test_reference_bombs_are_bounded)
{
    char text[8192];
    size_t used = (size_t)sprintf(text, "{\"a0\":[1,2,3,4,5,6,7,8,9]");
    for (int i = 1; i < 20; i++)
        used += (size_t)sprintf(text + used, ",\"a%d\":[{\"$ref\":\"$.a%d\"},{\"$ref\":\"$.a%d\"}]", i, i - 1,
                                i - 1);
    strcpy(text + used, "}");
    ck_assert_int_eq(parse_limited(str_of(text), 100000), ERR_TOO_LARGE);
    ck_assert_ptr_null(doc);

    /* A chain longer than we follow. */
    used = (size_t)sprintf(text, "[");
    for (int i = 0; i < 200; i++)
        used += (size_t)sprintf(text + used, "{\"$ref\":\"$[%d]\"},", i + 1);
    strcpy(text + used, "1]");
    ck_assert_int_eq(parse_limited(str_of(text), 100000), ERR_TOO_LARGE);

    /* Copies that would nest deeper than a document may. */
    used = (size_t)sprintf(text, "{\"d\":");
    for (int i = 0; i < 60; i++)
        used += (size_t)sprintf(text + used, "[");
    for (int i = 0; i < 60; i++)
        used += (size_t)sprintf(text + used, "]");
    strcpy(text + used, ",\"e\":[[[[[[[[{\"$ref\":\"$.d\"}]]]]]]]]}");
    ck_assert_int_eq(parse_limited(str_of(text), 100000), ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_reference_steps_are_bounded)
{
    struct bld w = bld_of(1024 * 1024);
    bld_fmt(&w, "[0");
    for (int i = 1; i < 10000; i++)
        bld_fmt(&w, ",0");
    for (int i = 0; i < 5000; i++)
        bld_fmt(&w, ",{\"$ref\":\"$[9999]\"}");
    bld_fmt(&w, "]");
    struct buf *b = bld_take(&w);
    ck_assert_int_eq(parse_limited((struct str){(char *)b->data, b->len}, 100000), ERR_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(err.text, "steps"));
    buf_unref(b);
}
END_TEST

START_TEST(test_limits)
{
    ck_assert_int_eq(parse_limited(STR("[1,2,3]"), 4), 0);
    ck_assert_int_eq(parse_limited(STR("[1,2,3]"), 3), ERR_TOO_LARGE);
    ck_assert_int_eq(parse_limited(STR("1"), 0), ERR_TOO_LARGE);
    char text[256];
    for (int depth = 64; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        ck_assert_int_eq(parse_limited((struct str){text, 2 * (size_t)depth}, NODES_MAX),
                         depth == 64 ? ERR_OK : ERR_MALFORMED);
    }
}
END_TEST

START_TEST(test_malformed)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{:1}",
        "{\"a\" 1}",
        "{a b:1}",
        "\"",
        "\"abc",
        "\"\\",
        "\"\\\"",
        "\"\\q\"",
        "\"\\u12\"",
        "\"\\u12x4\"",
        "tru",
        "nul",
        "-",
        "1.",
        "1e",
        ".5",
        "+1",
        "01",
        "1 2",
        "[] x",
        "'a'",
        "{{\"a\":1:2}",
        "{{",
        "{{\"",
        "{{}}",
        "{[1]:2}",
        "nullx",
        "\xff",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        err.text[0] = 0;
        ck_assert_msg(parse_limited(str_of(texts[i]), NODES_MAX) == ERR_MALFORMED, "%s", texts[i]);
        ck_assert_ptr_null(doc);
        ck_assert_msg(strstr(err.text, "JSON, byte") != NULL, "%s", err.text);
    }
}
END_TEST

START_TEST(test_error_names_the_place)
{
    ck_assert_int_eq(parse_limited(STR("{\"a\":1,\"b\":?}"), NODES_MAX), ERR_MALFORMED);
    ck_assert_str_eq(err.text, "JSON, byte 11: expected a value");
}
END_TEST

static void assert_written(struct bld *w, const char *expected)
{
    struct buf *b = bld_take(w);
    ck_assert_ptr_nonnull(b);
    ck_assert_msg(str_is((struct str){(char *)b->data, b->len}, expected), "%.*s", (int)b->len, b->data);
    buf_unref(b);
}

START_TEST(test_writer)
{
    struct bld out = bld_of(4096);
    struct jw w = jw_of(&out);
    jw_object(&w);
    jw_key(&w, "s");
    jw_cstr(&w, "q\"\\\n\x01\x7f\xe2\x82\xac\xff");
    jw_key_str(&w, STR("list"));
    jw_array(&w);
    jw_i64(&w, INT64_MIN);
    jw_bool(&w, true);
    jw_bool(&w, false);
    jw_object(&w);
    jw_end_object(&w);
    jw_array(&w);
    jw_end_array(&w);
    jw_raw(&w, STR("{\"raw\":1}"));
    jw_str(&w, STR(""));
    jw_end_array(&w);
    jw_key(&w, "end");
    jw_i64(&w, 0);
    jw_end_object(&w);
    assert_written(&out, "{\"s\":\"q\\\"\\\\\\n\\u0001\\u007f\xe2\x82\xac\\ufffd\",\"list\":[-"
                         "9223372036854775808,true,false,{},[],{\"raw\":1},\"\"],\"end\":0}");
}
END_TEST

START_TEST(test_writer_key_forms)
{
    struct bld out = bld_of(4096);
    struct jw w = jw_of(&out);
    jw_object(&w);
    jw_key_int(&w, 0, false);
    jw_cstr(&w, "a");
    jw_key_int(&w, -1, true);
    jw_cstr(&w, "b");
    jw_key_object(&w);
    jw_key(&w, "topic");
    jw_cstr(&w, "T");
    jw_key(&w, "queueId");
    jw_i64(&w, 1);
    jw_end_key_object(&w);
    jw_object(&w);
    jw_key(&w, "x");
    jw_i64(&w, 1);
    jw_end_object(&w);
    jw_key_object(&w);
    jw_end_key_object(&w);
    jw_i64(&w, 2);
    jw_end_object(&w);
    assert_written(&out, "{0:\"a\",\"-1\":\"b\",{\"topic\":\"T\",\"queueId\":1}:{\"x\":1},{}:2}");
}
END_TEST

START_TEST(test_writer_ascii)
{
    struct bld out = bld_of(4096);
    struct jw w = jw_of(&out);
    w.ascii = true;
    jw_str(&w, STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff"));
    assert_written(&out, "\"\\u00e9\\u20ac\\ud83d\\ude00\\ufffd\"");
}
END_TEST

START_TEST(test_writer_doubles)
{
    struct bld out = bld_of(4096);
    struct jw w = jw_of(&out);
    jw_array(&w);
    jw_double(&w, 0);
    jw_double(&w, 0.1);
    jw_double(&w, -12);
    jw_double(&w, 1e300);
    jw_double(&w, 1.0 / 3);
    jw_double(&w, NAN);
    jw_double(&w, INFINITY);
    jw_end_array(&w);
    assert_written(&out, "[0.0,0.1,-12.0,1e+300,0.33333333333333331,null,null]");
}
END_TEST

START_TEST(test_writer_64_levels)
{
    struct bld out = bld_of(4096);
    struct jw w = jw_of(&out);
    for (int i = 0; i < 64; i++)
        jw_array(&w);
    for (int i = 0; i < 64; i++)
        jw_end_array(&w);
    ck_assert_uint_eq(out.b->len, 128);
    bld_drop(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json");
    TCase *tc = tcase_create("json");
    tcase_add_checked_fixture(tc, NULL, release);
    tcase_add_test(tc, test_standard_values);
    tcase_add_test(tc, test_unquoted_keys);
    tcase_add_test(tc, test_object_keys);
    tcase_add_test(tc, test_coercion);
    tcase_add_test(tc, test_last_of_two_members_holds);
    tcase_add_test(tc, test_reference_by_path);
    tcase_add_test(tc, test_reference_forms);
    tcase_add_test(tc, test_reference_to_what_encloses_it);
    tcase_add_test(tc, test_not_a_reference);
    tcase_add_test(tc, test_reference_bombs_are_bounded);
    tcase_add_test(tc, test_reference_steps_are_bounded);
    tcase_add_test(tc, test_limits);
    tcase_add_test(tc, test_malformed);
    tcase_add_test(tc, test_error_names_the_place);
    tcase_add_test(tc, test_writer);
    tcase_add_test(tc, test_writer_key_forms);
    tcase_add_test(tc, test_writer_ascii);
    tcase_add_test(tc, test_writer_doubles);
    tcase_add_test(tc, test_writer_64_levels);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
