/*
 * mock.h - small brokers in the test's own process, whose next answers can be pushed.
 *
 * A mock answers sends with code 0 and counting offsets, route questions with the route text it was given,
 * and everything else with code 0, unless something was pushed for that request code: an answer code,
 * MOCK_SILENT, MOCK_CLOSE or MOCK_GARBAGE. A test that needs fields or bodies in its answers gives the mock a
 * script.
 */
#ifndef TESTS_UNIT_CLIENT_MOCK_H
#define TESTS_UNIT_CLIENT_MOCK_H

#include <stdio.h>
#include <string.h>

#include "common/codes.h"
#include "common/conn.h"
#include "common/remoting.h"

#define MOCK_SILENT     -1 /* no answer */
#define MOCK_CLOSE      -2 /* the connection is closed */
#define MOCK_GARBAGE    -3 /* a frame that is none */
#define MOCK_PUSHED_MAX 16
#define MOCK_PAUSED_MAX 8

struct mock {
    struct loop *loop;
    struct listener *listener;
    char address[32];
    struct {
        int32_t request, answer;
    } pushed[MOCK_PUSHED_MAX];
    int pushed_count;
    const char *route;  /* body for 105; NULL: 17 */
    int requests[1024]; /* by code */
    int64_t next_offset;
    int32_t last_queue;
    char last_body[256];
    /* Adds to the answer of m->cmd and returns its code, or MOCK_*. NULL: none. body (one reference) may stay
     * NULL. */
    int32_t (*script)(struct mock *m, struct remoting_out *out, struct buf **body);
    bool paused; /* reads nothing more, from the next frame on; mock_resume */
    struct conn *paused_conns[MOCK_PAUSED_MAX];
    int paused_count;
    struct remoting_cmd cmd;
};

/* Answer the next request of this code so. */
static inline void mock_push(struct mock *m, int32_t request, int32_t answer)
{
    m->pushed[m->pushed_count].request = request;
    m->pushed[m->pushed_count++].answer = answer;
}

static inline int32_t mock_next(struct mock *m, int32_t request, int32_t def)
{
    for (int i = 0; i < m->pushed_count; i++) {
        int32_t answer = m->pushed[i].answer;

        if (m->pushed[i].request != request)
            continue;
        memmove(&m->pushed[i], &m->pushed[i + 1], (size_t)(m->pushed_count - i - 1) * sizeof(m->pushed[0]));
        m->pushed_count--;
        return answer;
    }
    return def;
}

static inline void mock_note_send(struct mock *m, struct remoting_out *out)
{
    size_t len = m->cmd.body.len < sizeof(m->last_body) - 1 ? m->cmd.body.len : sizeof(m->last_body) - 1;

    memcpy(m->last_body, m->cmd.body.p, len);
    m->last_body[len] = '\0';
    m->last_queue = (int32_t)remoting_i64_or(&m->cmd, "e", -1);
    remoting_put_str(out, "msgId", STR("7F00000100002A9F0000000000000001"));
    remoting_put_i64(out, "queueId", m->last_queue);
    remoting_put_i64(out, "queueOffset", m->next_offset++);
}

static inline void mock_on_frame(struct conn *conn, const uint8_t *frame, size_t len)
{
    struct mock *m = conn_user(conn);
    struct remoting_out out;
    struct str body = {NULL, 0};
    struct buf *b, *scripted = NULL;
    int32_t code;

    if (remoting_decode(frame, len, &m->cmd, NULL) != 0) {
        conn_close(conn);
        return;
    }
    m->requests[m->cmd.code & 1023]++;
    if (m->paused && m->paused_count < MOCK_PAUSED_MAX) {
        m->paused_conns[m->paused_count++] = conn;
        conn_pause(conn, true);
    }
    code = mock_next(m, m->cmd.code,
                     m->cmd.code == GET_ROUTEINFO_BY_TOPIC && m->route == NULL ? RC_TOPIC_NOT_EXIST : 0);
    remoting_response(&out, &m->cmd, code, code != 0 ? STR("as pushed") : (struct str){NULL, 0});
    if (m->script != NULL && code == 0)
        out.code = code = m->script(m, &out, &scripted);
    if (code == MOCK_CLOSE)
        conn_close(conn);
    if (code == MOCK_GARBAGE)
        conn_write(conn, "\0\0\0\x08\x7fgarbage", 12);
    if (code < 0 || (m->cmd.flag & REMOTING_FLAG_ONEWAY)) {
        buf_unref(scripted);
        return;
    }
    if (m->cmd.code == SEND_MESSAGE_V2 && code == 0)
        mock_note_send(m, &out);
    if (m->cmd.code == GET_ROUTEINFO_BY_TOPIC && code == 0)
        body = str_of(m->route);
    if (scripted != NULL)
        body = (struct str){(const char *)scripted->data, scripted->len};
    if (remoting_encode(&out, body.p, body.len, &b) == 0)
        conn_write_buf(conn, b);
    buf_unref(scripted);
}

static inline void mock_resume(struct mock *m)
{
    m->paused = false;
    while (m->paused_count > 0)
        conn_pause(m->paused_conns[--m->paused_count], false);
}

static inline void mock_on_close(struct conn *conn, int why)
{
    (void)conn, (void)why;
}

static const struct conn_ops mock_conn_ops = {mock_on_frame, NULL, mock_on_close};

static inline void mock_start(struct mock *m, struct loop *loop, uint16_t port)
{
    static const struct conn_limits limits = {.frame_max_bytes = REMOTING_FRAME_MAX_BYTES,
                                              .frame_min_bytes = 8,
                                              .out_max_bytes = 64u << 20,
                                              .conns_max = 100};

    memset(m, 0, sizeof(*m));
    m->loop = loop;
    ENSURE(listener_open(loop, "127.0.0.1", port, &mock_conn_ops, &limits, m, &m->listener, NULL) == 0);
    snprintf(m->address, sizeof(m->address), "127.0.0.1:%u", listener_port(m->listener));
}

static inline void mock_stop(struct mock *m)
{
    if (m->listener != NULL)
        listener_close(m->listener);
    m->listener = NULL;
    remoting_release(&m->cmd);
}

#endif
