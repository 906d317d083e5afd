/* The filters of a list, which the actions by filter take too: from query parameters to what the reader understands.
 * Thread: any; slices lie in the parameters. */
#ifndef SATCHEL_API_LIST_QUERY_H
#define SATCHEL_API_LIST_QUERY_H

#include "api/params.h"
#include "store/reader.h"

/* The names of all filters, to stand in a list of known parameters. */
#define LIST_FILTERS                                                                                                   \
    "state", "task", "label", "trace_id", "request_id", "parent", "root", "group", "error", "created_after",           \
        "created_before", "finished_before"

/* Writes what a cursor is bound to (tenant and filters) into `binding`, and reads filters, limit (up to `limit_max`)
 * and cursor; other parameters are passed over.  0, or -1 and *reterr. */
int list_query_read(const struct params *params, const char *tenant, unsigned limit_max, struct buf *binding,
                    struct list_query *ret, struct problem *reterr);
bool list_query_is_filtered(const struct params *params); /* there is at least one filter */

#endif
