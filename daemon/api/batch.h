/* POST /v1/tasks:batch, from the piece of a body to the streamed answer.  Thread: the exchange's loop. */
#ifndef SATCHEL_API_BATCH_H
#define SATCHEL_API_BATCH_H

#include "http/http.h"

/* http_app.body of the exchange that on_batch has taken; `data` is its http_data. */
bool batch_take(void *data, struct http_exchange *exchange, struct slice piece, bool end);

#endif
