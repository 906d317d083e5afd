/* satchel cancel, retry, delete without ids: on all tasks that match, in as many calls as it takes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"

#define PAGE 10000u
#define STANDSTILL_MAX 20 /* calls that change nothing, though there is more */

static int print_counts(const struct common *common, const satchel_action_counts *sum, const char *done, bool dry_run)
{
    int n;
    if (common->json)
        n = printf("{\"matched\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"conflicts\":%" PRIu64 "}\n", sum->matched,
                   sum->changed, sum->conflicts);
    else if (dry_run)
        n = printf("%" PRIu64 " tasks would be %s\n", sum->matched, done);
    else if (sum->conflicts)
        n = printf("%" PRIu64 " tasks %s, %" PRIu64 " had gone on meanwhile\n", sum->changed, done, sum->conflicts);
    else
        n = printf("%" PRIu64 " tasks %s\n", sum->changed, done);
    return n < 0 ? EXIT_OUTPUT : 0;
}

int act_on_all(const struct verb *verb, const struct common *common, satchel_client *client, satchel_action action,
               satchel_list_options *filter, unsigned flags)
{
    static const char *const done[] = {
        [SATCHEL_CANCEL_TASKS] = "canceled", [SATCHEL_RETRY_TASKS] = "run again", [SATCHEL_DELETE_TASKS] = "deleted"};
    satchel_action_counts sum = {.struct_size = sizeof sum}, counts = {.struct_size = sizeof counts, .more = true};
    satchel_error error = SATCHEL_ERROR_INIT;
    char *cursor = NULL, *next = NULL;
    int code = 0;
    (void)verb;
    filter->limit = PAGE;
    for (int standstill = 0; code == 0 && counts.more && standstill < STANDSTILL_MAX;) {
        filter->cursor = cursor;
        if (satchel_act(client, action, filter, flags, &counts, &next, &error) != SATCHEL_OK) {
            code = fail(common, &error);
            break;
        }
        sum.matched += counts.matched;
        sum.changed += counts.changed;
        sum.conflicts += counts.conflicts;
        standstill = counts.changed || next ? 0 : standstill + 1;
        satchel_free(cursor);
        cursor = next;
    }
    satchel_free(cursor);
    int printed = code == 0 || sum.changed ? print_counts(common, &sum, done[action], flags & SATCHEL_ACT_DRY_RUN) : 0;
    return code ? code : printed;
}
