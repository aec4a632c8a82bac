/*
 * broker.h - one broker process: builds the parts bottom-up, connects them, takes them down in reverse.
 * Called by main.c (and system tests) only.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "broker/front/settings.h"

struct broker;

/* Build and start everything; conf is the table whose settings struct is a struct settings; it must
 * outlive. On failure everything begun is taken down again and err says what is wrong. `seed` is
 * entropy. */
int broker_new(struct conf *conf, uint64_t seed, struct broker **out, struct err *err) MUSTCHECK;
/* Serve until stopped (SIGTERM, SIGINT: leadership is handed over first, the state is checkpointed,
 * nameservers are told). */
void broker_run(struct broker *b);
void broker_free(struct broker *b);

#endif
