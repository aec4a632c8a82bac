/*
 * consume_pool.c - the threads that call a listener. Items wait in one queue; results go back to the client's
 * thread.
 */
#include <stdlib.h>

#include "client/internal.h"

struct pool {
    struct lmq_consumer *consumer;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct item_list items;
    bool stopping;
    uint32_t thread_count;
    pthread_t threads[];
};

/* NULL: the pool stops. */
static struct item *next_item(struct pool *p)
{
    struct item *i;

    pthread_mutex_lock(&p->mutex);
    while (TAILQ_EMPTY(&p->items) && !p->stopping)
        pthread_cond_wait(&p->cond, &p->mutex);
    i = p->stopping ? NULL : TAILQ_FIRST(&p->items);
    if (i != NULL)
        TAILQ_REMOVE(&p->items, i, place);
    pthread_mutex_unlock(&p->mutex);
    return i;
}

static void *thread_main(void *arg)
{
    struct pool *p = arg;
    struct lmq_consumer *c = p->consumer;
    struct item *i;

    while ((i = next_item(p)) != NULL) {
        i->ran = !atomic_load(&i->pq->dropped);
        if (i->ran)
            i->outcome = c->listener(c->arg, i->message);
        client_post(c->client, pq_consumed, i);
    }
    return NULL;
}

struct pool *pool_new(struct lmq_consumer *c, uint32_t threads)
{
    struct pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));

    ENSURE(p != NULL);
    p->consumer = c;
    TAILQ_INIT(&p->items);
    ENSURE(pthread_mutex_init(&p->mutex, NULL) == 0);
    ENSURE(pthread_cond_init(&p->cond, NULL) == 0);
    while (p->thread_count < threads &&
           pthread_create(&p->threads[p->thread_count], NULL, thread_main, p) == 0)
        p->thread_count++;
    if (p->thread_count > 0)
        return p;
    pool_free(p);
    return NULL;
}

void pool_put(struct pool *p, struct item *i)
{
    pthread_mutex_lock(&p->mutex);
    TAILQ_INSERT_TAIL(&p->items, i, place);
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}

void pool_free(struct pool *p)
{
    struct item *i;

    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->mutex);
    for (uint32_t t = 0; t < p->thread_count; t++)
        pthread_join(p->threads[t], NULL);
    while ((i = TAILQ_FIRST(&p->items)) != NULL) {
        TAILQ_REMOVE(&p->items, i, place);
        i->ran = false;
        client_post(p->consumer->client, pq_consumed, i);
    }
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->cond);
    free(p);
}
