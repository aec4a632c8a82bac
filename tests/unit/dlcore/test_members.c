/* test_members.c - quorums. */
#include "dledger/core/members.h"
#include "tests/unit/dlcore/one.h"

START_TEST(a_majority_of_voters_has_reached_the_median)
{
    const struct {
        struct dl_members members;
        uint64_t value[DL_PEERS_MAX];
        uint64_t reached;
    } cases[] = {
        {{1, {4}, {true}}, {7}, 7},
        {{2, {1, 2}, {true, true}}, {7, 5}, 5},
        {{3, {1, 2, 3}, {true, true, true}}, {9, 5, 7}, 7},
        {{3, {1, 2, 3}, {true, true, true}}, {9, 9, 0}, 9},
        {{4, {1, 2, 3, 4}, {true, true, true, true}}, {9, 8, 7, 6}, 7},
        {{5, {1, 2, 3, 4, 5}, {true, true, true, true, true}}, {1, 2, 3, 4, 5}, 3},
        {{5, {1, 2, 3, 4, 5}, {true, false, true, false, true}}, {1, 99, 3, 99, 5}, 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_uint_eq(members_reached(&cases[i].members, cases[i].value), cases[i].reached);
}
END_TEST

START_TEST(learners_are_no_majority)
{
    struct dl_members m = {5, {1, 2, 3, 4, 5}, {true, true, true, false, false}};
    const bool learners[DL_PEERS_MAX] = {true, false, false, true, true};
    const bool voters[DL_PEERS_MAX] = {true, false, true, false, false};
    ck_assert(!members_majority(&m, learners));
    ck_assert(members_majority(&m, voters));
    ck_assert(members_is_voter(&m, 3));
    ck_assert(!members_is_voter(&m, 4));
    ck_assert(!members_is_voter(&m, 9));
}
END_TEST

START_TEST(slots_and_validity)
{
    struct dl_members m = {3, {2, 5, 9}, {true, true, false}};
    ck_assert(members_valid(&m));
    ck_assert_int_eq(members_slot(&m, 5), 1);
    ck_assert_int_eq(members_slot(&m, 1), MEMBERS_NO_SLOT);
    ck_assert_int_eq(members_slot(&m, DL_NOBODY), MEMBERS_NO_SLOT);
    const struct dl_members bad[] = {
        {0, {0}, {false}},         {DL_PEERS_MAX + 1, {1, 2, 3}, {true, true, true}},
        {2, {0, 1}, {true, true}}, {2, {2, 1}, {true, true}},
        {2, {2, 2}, {true, true}}, {2, {1, 2}, {false, false}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!members_valid(&bad[i]), "%zu", i);
}
END_TEST

ONE_MAIN("members", a_majority_of_voters_has_reached_the_median, learners_are_no_majority, slots_and_validity)
