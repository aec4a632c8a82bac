/*
 * pull.h - one pull between its request and its answer; shared by handle_pull.c (reads, filters, answers) and
 * hold.c (waits).
 */
#ifndef BROKER_FRONT_PULL_H
#define BROKER_FRONT_PULL_H

#include <sys/queue.h>

#include "broker/front/front.h"

#define FILTER_TAGS_MAX 64u

/* Which tag hashes pass; 0 tags = everything. False positives are sorted out by the client (reference
 * 5.6). */
struct filter {
    uint32_t count;
    int32_t hashes[FILTER_TAGS_MAX];
};

struct pull {
    TAILQ_ENTRY(pull) link;    /* hold.c: under its queue */
    LIST_ENTRY(pull) of_conn;  /* hold.c: of one connection */
    struct held_conn *held_of; /* NULL: not held, or relayed here */
    struct front *f;
    struct kept *kept;
    char topic[TOPIC_NAME_MAX + 1];
    uint32_t queue_id;
    uint64_t offset; /* moves on over what the filter drops */
    uint32_t count_max;
    uint64_t hold_until_ms; /* 0 = answer at once */
    struct filter filter;
};

/* Look for messages now: answers and frees the pull, or reads from disk and goes on later, or hands it to
 * hold_add. */
void pull_run(struct pull *p);
/* Time is up: answer "not found". */
void pull_expire(struct pull *p);
/* Nobody waits for the answer any more. */
void pull_drop(struct pull *p);
/* More pulls than may be held: an error, which clients wait after (1 to 3 s) before they pull again.
 * "Not found" they take as a reason to pull at once. */
void pull_refuse(struct pull *p);
/* This replica may not answer it any more: back to the gate. */
void pull_return(struct pull *p);
/* Memory it takes. */
uint32_t pull_bytes(const struct pull *p);
/* Where the frame of a pull says "commit my offset": the last digit of its odd sysFlag. 0: it does not, or in
 * a form no client writes. */
uint32_t pull_commit_at(const struct request *req);

/* hold.c */
void hold_add(struct hold *h, struct pull *p);

#endif
