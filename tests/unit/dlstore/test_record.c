/* test_record.c - records and marks as bytes; what a follower is pushed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc.h"
#include "dledger/store/segment.h"
#include "dledger/store/store.h"

#define GROUP "RaftNode00"
#define COUNT 5
#define BODY  30

static uint8_t bytes[COUNT * (DL_RECORD_HEAD + BODY)];
static dl_term_t terms[COUNT];
static struct err err;

static uint8_t *record(int i)
{
    return bytes + i * (DL_RECORD_HEAD + BODY);
}

/* Entries 11..15, terms 2 2 2 3 3. */
static void setup(void)
{
    uint32_t prev_crc = 77;
    for (int i = 0; i < COUNT; i++) {
        struct record_head head = {.len = DL_RECORD_HEAD + BODY,
                                   .index = 11 + (dl_index_t)i,
                                   .term = i < 3 ? 2 : 3,
                                   .pos = 1000 + (dl_pos_t)i * (DL_RECORD_HEAD + BODY),
                                   .kind = 16,
                                   .prev_crc = prev_crc,
                                   .salt = record_salt(GROUP)};
        memset(record(i) + DL_RECORD_HEAD, i, BODY);
        record_seal(record(i), &head);
        prev_crc = head.crc;
    }
    memset(terms, 0, sizeof(terms));
}

static int check(void)
{
    return dl_records_check(GROUP, bytes, sizeof(bytes), 11, 15, terms, COUNT, &err);
}

/* Change a record's head and give it a good checksum again. */
static void reseal(int i, void (*change)(struct record_head *head))
{
    struct record_head head;
    ck_assert(record_head_read(record(i), &head));
    change(&head);
    record_seal(record(i), &head);
}

START_TEST(the_layout_is_as_documented)
{
    uint8_t r[DL_RECORD_HEAD + 3] = {0};
    struct record_head head = {.len = sizeof(r),
                               .index = 0x0102030405060708,
                               .term = 9,
                               .pos = 0x1122334455667788,
                               .kind = 17,
                               .prev_crc = 0xa1b2c3d4,
                               .salt = record_salt(GROUP)};
    memcpy(r + DL_RECORD_HEAD, "abc", 3);
    record_seal(r, &head);
    ck_assert_int_eq(memcmp(r, "LMR1", 4), 0);
    ck_assert_uint_eq(get_le32(r + 4), sizeof(r));
    ck_assert_uint_eq(get_le64(r + 8), 0x0102030405060708);
    ck_assert_uint_eq(get_le64(r + 16), 9);
    ck_assert_uint_eq(get_le64(r + 24), 0x1122334455667788);
    ck_assert_uint_eq(get_le32(r + 32), 17);
    ck_assert_uint_eq(get_le32(r + 36), 0xa1b2c3d4);
    ck_assert_uint_eq(get_le32(r + 40), crc32c(0, GROUP, strlen(GROUP)));
    uint8_t covered[44 + 3];
    memcpy(covered, r, 44);
    memcpy(covered + 44, r + 48, 3);
    ck_assert_uint_eq(get_le32(r + 44), crc32c(0, covered, sizeof(covered)));
}
END_TEST

START_TEST(good_records_pass_and_give_their_terms)
{
    ck_assert_int_eq(check(), 0);
    ck_assert_uint_eq(terms[0], 2);
    ck_assert_uint_eq(terms[2], 2);
    ck_assert_uint_eq(terms[3], 3);
    ck_assert_uint_eq(terms[4], 3);
}
END_TEST

START_TEST(any_flipped_bit_is_found)
{
    for (size_t at = 0; at < sizeof(bytes); at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            ck_assert_msg(check() == ERR_MALFORMED, "byte %zu bit %d", at, bit);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    ck_assert_int_eq(check(), 0);
}
END_TEST

START_TEST(wrong_counts_and_lengths_are_found)
{
    ck_assert_int_eq(dl_records_check(GROUP, bytes, sizeof(bytes), 11, 14, terms, COUNT, &err),
                     ERR_MALFORMED);
    ck_assert_int_eq(dl_records_check(GROUP, bytes, sizeof(bytes), 11, 16, terms, COUNT, &err),
                     ERR_MALFORMED);
    ck_assert_int_eq(dl_records_check(GROUP, bytes, sizeof(bytes), 10, 14, terms, COUNT, &err),
                     ERR_MALFORMED);
    ck_assert_int_eq(dl_records_check(GROUP, bytes, sizeof(bytes), 0, 4, terms, COUNT, &err), ERR_MALFORMED);
    ck_assert_int_eq(dl_records_check(GROUP, bytes, sizeof(bytes), 15, 11, terms, COUNT, &err),
                     ERR_MALFORMED);
    ck_assert_int_eq(dl_records_check(GROUP, bytes, sizeof(bytes), 1, UINT64_MAX, terms, COUNT, &err),
                     ERR_MALFORMED);
    ck_assert_int_eq(dl_records_check("RaftNode01", bytes, sizeof(bytes), 11, 15, terms, COUNT, &err),
                     ERR_MALFORMED);
    for (size_t len = 0; len < sizeof(bytes); len++) {
        uint8_t *cut = malloc(len + 1); /* its own memory, for the sanitizer */
        memcpy(cut, bytes, len);
        ck_assert_int_eq(dl_records_check(GROUP, cut, len, 11, 15, terms, COUNT, &err), ERR_MALFORMED);
        free(cut);
    }
}
END_TEST

static void fall_back(struct record_head *head)
{
    head->term = 1;
}

static void skip(struct record_head *head)
{
    head->index++;
}

static void move(struct record_head *head)
{
    head->pos += 8;
}

static void unchain(struct record_head *head)
{
    head->prev_crc++;
}

START_TEST(good_checksums_do_not_excuse_a_wrong_place)
{
    void (*changes[])(struct record_head *) = {fall_back, skip, move, unchain};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        setup();
        reseal(4, changes[i]);
        ck_assert_msg(check() == ERR_MALFORMED, "change %zu", i);
    }
}
END_TEST

START_TEST(a_mark_is_good_at_its_place_only)
{
    uint8_t m[SEGMENT_MARK_BYTES];
    struct segment_mark mark = {100, 200, 7, 8}, read;
    segment_mark_encode(m, 5, &mark);
    ck_assert(segment_mark_decode(m, 5, 200, &read));
    ck_assert_uint_eq(read.start, 100);
    ck_assert_uint_eq(read.last, 7);
    ck_assert_uint_eq(read.last_crc, 8);
    ck_assert(!segment_mark_decode(m, 5, 201, &read));
    ck_assert(!segment_mark_decode(m, 6, 200, &read));
    for (size_t at = 0; at < sizeof(m); at++) {
        m[at] ^= 1;
        ck_assert(!segment_mark_decode(m, 5, 200, &read));
        m[at] ^= 1;
    }
}
END_TEST

START_TEST(only_our_names_are_ours)
{
    dl_pos_t pos;
    uint32_t id;
    ck_assert(segment_name_parse("00000000000000004711.seg", ".seg", &pos));
    ck_assert_uint_eq(pos, 4711);
    ck_assert(!segment_name_parse("00000000000000004711.seg2", ".seg", &pos));
    ck_assert(!segment_name_parse("0000000000000004711.seg", ".seg", &pos));
    ck_assert(!segment_name_parse("-0000000000000004711.seg", ".seg", &pos));
    ck_assert(!segment_name_parse("99999999999999999999.seg", ".seg", &pos));
    ck_assert(segment_spare_parse("spare-12", &id));
    ck_assert_uint_eq(id, 12);
    ck_assert(!segment_spare_parse("spare-", &id));
    ck_assert(!segment_spare_parse("spare-4294967296", &id));
    ck_assert(!segment_spare_parse("spar", &id));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, the_layout_is_as_documented);
    tcase_add_test(tc, good_records_pass_and_give_their_terms);
    tcase_add_test(tc, any_flipped_bit_is_found);
    tcase_add_test(tc, wrong_counts_and_lengths_are_found);
    tcase_add_test(tc, good_checksums_do_not_excuse_a_wrong_place);
    tcase_add_test(tc, a_mark_is_good_at_its_place_only);
    tcase_add_test(tc, only_our_names_are_ours);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
