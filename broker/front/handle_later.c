/*
 * handle_later.c - codes clients send for features this version does not have: answered with 3 and a remark
 * that names the feature, so that nobody has to look a number up. A client that gets it for a send-back keeps
 * the message and tries again itself.
 */
#include "broker/front/front.h"
#include "broker/front/handlers.h"
#include "common/codes.h"

struct later_code {
    int32_t code;
    const char *what;
};

static const struct later_code later_codes[] = {
    {QUERY_MESSAGE, "querying messages by key"},
    {CONSUMER_SEND_MSG_BACK, "retry and dead-letter topics (CONSUMER_SEND_MSG_BACK)"},
    {END_TRANSACTION, "transaction messages"},
    {INVOKE_BROKER_TO_RESET_OFFSET, "resetting offsets by time"},
    {CONSUME_MESSAGE_DIRECTLY, "consuming a message directly"},
    {SEND_REPLY_MESSAGE, "request-reply messages"},
    {SEND_REPLY_MESSAGE_V2, "request-reply messages"},
    {RECALL_MESSAGE, "recalling timer messages"},
    {QUERY_ASSIGNMENT, "POP consumption"},
    {POP_MESSAGE, "POP consumption"},
    {ACK_MESSAGE, "POP consumption"},
    {CHANGE_MESSAGE_INVISIBLETIME, "POP consumption"},
};

void handle_later(struct request *req)
{
    const char *what = "this request";

    for (size_t i = 0; i < sizeof(later_codes) / sizeof(later_codes[0]); i++) {
        if (later_codes[i].code == req->reply.code)
            what = later_codes[i].what;
    }
    reply_code(&req->reply, RC_NOT_SUPPORTED, "not supported by this version: %s", what);
}
