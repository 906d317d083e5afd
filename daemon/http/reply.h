/* Writing replies into a connection's output.  Thread: the connection's loop. */
#ifndef SATCHEL_HTTP_REPLY_H
#define SATCHEL_HTTP_REPLY_H

#include "http/connection.h"

/* A problem from the server itself; the connection closes after it. */
void reply_refusal(struct connection *connection, const struct problem *problem, bool with_body);
void reply_continue(struct connection *connection); /* 100 (Continue) */

#endif
