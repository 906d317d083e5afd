/* Does a stored task have this label, trace id or request id?  Pure functions over the stored texts. */
#ifndef SATCHEL_STORE_SQLITE_MATCH_H
#define SATCHEL_STORE_SQLITE_MATCH_H

#include <stdbool.h>

#include "proto/slice.h"

bool match_label(struct slice labels, struct slice key, struct slice value); /* a JSON object of strings */
/* In a context's stored form (satchel_context_to_json). */
bool match_trace_id(struct slice context, struct slice trace_id);
bool match_request_id(struct slice context, struct slice request_id);

#endif
