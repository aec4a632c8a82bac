/* script.c - see script.h. */
#include "tests/scenario/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenario/group.h"

#define WORDS_MAX 64u

struct script {
    struct group *group;
    bool loud;
    FILE *out;
    const char *word[WORDS_MAX + 1]; /* of the current command; NULL behind the last */
    uint32_t words;
    uint32_t line;
};

static _Noreturn void wrong(const struct script *s, const char *what)
{
    fprintf(stderr, "line %u: %s\n", s->line, what);
    exit(2);
}

static uint64_t number(const struct script *s, uint32_t at)
{
    char *end;
    if (at >= s->words)
        wrong(s, "a number is missing");
    uint64_t value = strtoull(s->word[at], &end, 10);
    if (*end != 0)
        wrong(s, "not a number");
    return value;
}

static dl_peer_t peer(const struct script *s, uint32_t at)
{
    uint64_t id = number(s, at);
    if (id < 1 || id > group_size(s->group))
        wrong(s, "no such replica");
    return (dl_peer_t)id;
}

/* The number after the word `name`, or `otherwise`. */
static uint64_t option(const struct script *s, const char *name, uint64_t otherwise)
{
    for (uint32_t i = 1; i < s->words; i++)
        if (strcmp(s->word[i], name) == 0)
            return number(s, i + 1);
    return otherwise;
}

static bool flag(const struct script *s, const char *name)
{
    for (uint32_t i = 1; i < s->words; i++)
        if (strcmp(s->word[i], name) == 0)
            return true;
    return false;
}

struct link {
    dl_peer_t from, to; /* DL_NOBODY: any */
    bool both;
};

/* "2->3", "2<->3", "2->*"; everything when there is no such word. */
static struct link link_of(const struct script *s)
{
    struct link link = {DL_NOBODY, DL_NOBODY, false};
    for (uint32_t i = 1; i < s->words; i++) {
        const char *arrow = strstr(s->word[i], "->");
        if (arrow == NULL)
            continue;
        link.both = arrow > s->word[i] && arrow[-1] == '<';
        link.from = s->word[i][0] == '*' ? DL_NOBODY : (dl_peer_t)strtoul(s->word[i], NULL, 10);
        link.to = arrow[2] == '*' ? DL_NOBODY : (dl_peer_t)strtoul(arrow + 2, NULL, 10);
        if (link.from > group_size(s->group) || link.to > group_size(s->group))
            wrong(s, "no such replica");
    }
    return link;
}

/* ---- Commands ---- */

static void do_group(struct script *s)
{
    struct group_opts opts = {
        .voters = (uint32_t)number(s, 1),
        .learners = (uint32_t)option(s, "learners", 0),
        .preferred = (dl_peer_t)option(s, "prefer", DL_NOBODY),
        .seed = option(s, "seed", 1),
        .window_entries = (uint32_t)option(s, "window", 100),
        .push_entries = (uint32_t)option(s, "push", 10),
    };
    if (s->group != NULL)
        wrong(s, "a group is there already");
    s->group = group_new(&opts);
    s->loud = true;
}

static void do_log(struct script *s)
{
    dl_term_t terms[WORDS_MAX];
    uint32_t count = 0;
    while (count + 2 < s->words && s->word[count + 2][0] >= '0' && s->word[count + 2][0] <= '9') {
        terms[count] = number(s, count + 2);
        count++;
    }
    struct dl_hard hard = {.term = option(s, "term", count > 0 ? terms[count - 1] : 0),
                           .vote = (dl_peer_t)option(s, "vote", DL_NOBODY),
                           .joined = true};
    group_set_log(s->group, peer(s, 1), terms, count, hard, option(s, "commit", 0));
}

static void do_quiet(struct script *s)
{
    s->loud = false;
}

static void do_loud(struct script *s)
{
    s->loud = true;
}

static void do_campaign(struct script *s)
{
    uint64_t limit_ms = group_now(s->group) + 5000;
    group_loud(s->group, false);
    while (group_wake_ms(s->group, peer(s, 1)) > group_now(s->group) + 1) {
        group_run(s->group, 1);
        if (group_now(s->group) > limit_ms)
            wrong(s, "it hears a leader all the time");
    }
    group_advance(s->group, 1);
    group_tick(s->group, peer(s, 1));
}

static void do_tick(struct script *s)
{
    group_advance(s->group, number(s, 2));
    group_tick(s->group, peer(s, 1));
}

static void do_run(struct script *s)
{
    group_loud(s->group, false);
    group_run(s->group, number(s, 1));
}

static void do_settle(struct script *s)
{
    if (!group_settle(s->group))
        wrong(s, "it does not come to rest");
}

static void each_packet(struct script *s, bool deliver)
{
    struct link link = link_of(s);
    uint32_t at = 0;
    uint32_t limit = group_packets(s->group); /* answers that arise meanwhile wait for the next command */
    for (uint32_t seen = 0; seen < limit; seen++) {
        if (!group_packet_is(s->group, at, link.from, link.to)) {
            at++;
            continue;
        }
        if (deliver)
            group_deliver(s->group, at, false);
        else
            group_drop(s->group, at);
        if (flag(s, "first"))
            return;
    }
}

static void do_deliver(struct script *s)
{
    each_packet(s, true);
}

static void do_drop(struct script *s)
{
    each_packet(s, false);
}

static void set_links(struct script *s, bool cut)
{
    struct link link = link_of(s);
    uint32_t size = group_size(s->group);
    for (dl_peer_t from = 1; from <= size; from++)
        for (dl_peer_t to = 1; to <= size; to++) {
            bool forth =
                (link.from == DL_NOBODY || link.from == from) && (link.to == DL_NOBODY || link.to == to);
            bool back =
                (link.from == DL_NOBODY || link.from == to) && (link.to == DL_NOBODY || link.to == from);
            if (forth || (link.both && back))
                group_cut(s->group, from, to, cut);
        }
}

static void do_cut(struct script *s)
{
    set_links(s, true);
}

static void do_heal(struct script *s)
{
    set_links(s, false);
}

static void do_flush(struct script *s)
{
    group_flush(s->group, peer(s, 1), 0);
}

static void do_report(struct script *s)
{
    if (flag(s, "hard"))
        group_report_hard(s->group, peer(s, 1));
    else if (flag(s, "log"))
        group_report_log(s->group, peer(s, 1));
    else
        wrong(s, "report what?");
}

static void do_persist(struct script *s)
{
    group_flush(s->group, peer(s, 1), 0);
    group_report_hard(s->group, peer(s, 1));
    group_report_log(s->group, peer(s, 1));
}

static void do_hang(struct script *s)
{
    group_hang(s->group, peer(s, 1), true);
}

static void do_unhang(struct script *s)
{
    group_hang(s->group, peer(s, 1), false);
}

static void do_submit(struct script *s)
{
    group_submit(s->group, peer(s, 1), (uint32_t)number(s, 2));
}

static void do_transfer(struct script *s)
{
    group_transfer(s->group, peer(s, 1), (dl_peer_t)number(s, 2));
}

static void do_crash(struct script *s)
{
    group_crash(s->group, peer(s, 1));
}

static void do_kill(struct script *s)
{
    group_crash(s->group, peer(s, 1));
    for (dl_peer_t p = 1; p <= group_size(s->group); p++)
        if (p != peer(s, 1))
            group_reset(s->group, p, peer(s, 1));
}

static void do_restart(struct script *s)
{
    group_restart(s->group, peer(s, 1));
}

static void do_reset(struct script *s)
{
    group_reset(s->group, peer(s, 1), peer(s, 2));
}

static void do_lease(struct script *s)
{
    fprintf(s->out, "%u %s a lease\n", peer(s, 1), group_lease(s->group, peer(s, 1)) ? "has" : "has not");
}

static void do_status(struct script *s)
{
    static const char *const roles[] = {"follower", "precandidate", "candidate", "leader"};
    for (dl_peer_t p = 1; p <= group_size(s->group); p++) {
        struct dl_core_view v;
        if (!group_is_up(s->group, p)) {
            fprintf(s->out, "%u dead\n", p);
            continue;
        }
        group_view(s->group, p, &v);
        fprintf(s->out, "%u %s term %llu leader %u persisted %llu/%llu commit %llu log", p, roles[v.role],
                (unsigned long long)v.term, v.leader, (unsigned long long)v.persisted,
                (unsigned long long)v.last, (unsigned long long)v.commit);
        for (dl_index_t i = 1, run = 1; i <= v.last; i++, run++) /* runs: term x count */
            if (group_term_at(s->group, p, i) != group_term_at(s->group, p, i + 1)) {
                fprintf(s->out, " %llux%llu", (unsigned long long)group_term_at(s->group, p, i),
                        (unsigned long long)run);
                run = 0;
            }
        fputc('\n', s->out);
    }
}

static void do_peers(struct script *s)
{
    for (dl_peer_t p = 1; p <= group_size(s->group); p++) {
        struct dl_peer_view v;
        if (!group_peer_view(s->group, peer(s, 1), p, &v))
            wrong(s, "not the leader");
        fprintf(s->out, "%u match %llu next %llu in flight %u%s\n", p, (unsigned long long)v.match,
                (unsigned long long)v.next, v.inflight_entries, v.comparing ? " comparing" : "");
    }
}

static void do_queue(struct script *s)
{
    fprintf(s->out, "%u packets under way\n", group_packets(s->group));
}

static const struct {
    const char *name;
    void (*run)(struct script *s);
} commands[] = {
    {"group", do_group},       {"log", do_log},     {"quiet", do_quiet},   {"loud", do_loud},
    {"campaign", do_campaign}, {"tick", do_tick},   {"run", do_run},       {"settle", do_settle},
    {"deliver", do_deliver},   {"drop", do_drop},   {"cut", do_cut},       {"heal", do_heal},
    {"persist", do_persist},   {"flush", do_flush}, {"report", do_report}, {"submit", do_submit},
    {"transfer", do_transfer}, {"crash", do_crash}, {"kill", do_kill},     {"restart", do_restart},
    {"reset", do_reset},       {"lease", do_lease}, {"status", do_status}, {"peers", do_peers},
    {"queue", do_queue},       {"hang", do_hang},   {"unhang", do_unhang},
};

/* ---- Transcript ---- */

static void run_command(struct script *s, char *text)
{
    char *save = NULL;
    s->words = 0;
    for (char *w = strtok_r(text, " ", &save); w != NULL && s->words < WORDS_MAX;
         w = strtok_r(NULL, " ", &save))
        s->word[s->words++] = w;
    for (uint32_t i = 0; s->words > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, s->word[0]) != 0)
            continue;
        if (s->group == NULL && commands[i].run != do_group)
            wrong(s, "there is no group yet");
        if (s->group != NULL)
            group_loud(s->group, s->loud);
        commands[i].run(s);
        fputs(group_story(s->group), s->out);
        group_check_logs(s->group);
        return;
    }
    wrong(s, "no such command");
}

char *script_run(const char *text)
{
    char *transcript = NULL;
    size_t size = 0;
    struct script s = {.out = open_memstream(&transcript, &size)};
    while (*text != 0) {
        char line[512];
        size_t len = strcspn(text, "\n");
        s.line++;
        if (len >= sizeof(line))
            wrong(&s, "too long");
        memcpy(line, text, len);
        line[len] = 0;
        text += len + (text[len] == '\n');
        if (line[0] == '#' || line[0] == 0 || strncmp(line, "> ", 2) == 0)
            fprintf(s.out, "%s\n", line);
        if (strncmp(line, "> ", 2) == 0)
            run_command(&s, line + 2);
    }
    fclose(s.out);
    if (s.group != NULL)
        group_free(s.group);
    return transcript;
}
