/* satchel list: pages until the limit is reached. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

#define PAGE 200u

struct listing {
    const struct verb *verb;
    satchel_list_options filter;
    unsigned limit;
};

bool filter_option(satchel_list_options *f, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"state", &f->state},
                 {"task", &f->task},
                 {"label", &f->label},
                 {"trace-id", &f->trace_id},
                 {"request-id", &f->request_id},
                 {"parent", &f->parent},
                 {"root", &f->root},
                 {"group", &f->group},
                 {"error", &f->error},
                 {"created-after", &f->created_after},
                 {"created-before", &f->created_before},
                 {"finished-before", &f->finished_before}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].text = value;
            return true;
        }
    return false;
}

static int on_option(void *arg, const char *name, const char *value)
{
    struct listing *l = arg;
    if (filter_option(&l->filter, name, value))
        return 0;
    if (strcmp(name, "cursor") == 0) {
        l->filter.cursor = value;
        return 0;
    }
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    if (!*value || *end || n < 1 || n > 1000000)
        return usage(l->verb, "--limit takes a number from 1 to 1000000");
    l->limit = (unsigned)n;
    return 0;
}

/* Prints one page's tasks and counts them. */
static unsigned print_page(const struct common *common, const char *text, size_t len)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *page = json_in_load(slice_of(text, len), 64, why);
    const json_t *tasks = json_object_get(page, "tasks"), *task;
    unsigned n = (unsigned)json_array_size(tasks);
    size_t i;
    if (common->json) {
        (void)printf("%s\n", text);
    } else {
        json_array_foreach(tasks, i, task)
        {
            print_task_line(task);
        }
    }
    json_decref(page);
    return n;
}

/* -1 and *ret_next (NULL: the last page), or the exit code to end with. */
static int show_page(struct listing *l, const struct common *common, satchel_client *client, char **ret_next)
{
    char *page;
    size_t len;
    satchel_error error = SATCHEL_ERROR_INIT;
    l->filter.limit = l->limit < PAGE ? l->limit : PAGE;
    if (satchel_list(client, &l->filter, &page, &len, ret_next, &error) != SATCHEL_OK)
        return fail(common, &error);
    unsigned got = print_page(common, page, len);
    l->limit -= got < l->limit ? got : l->limit;
    satchel_free(page);
    if (*ret_next && l->filter.cursor && strcmp(*ret_next, l->filter.cursor) == 0) {
        complain(common, "the daemon names the same page again");
        satchel_free(*ret_next);
        return EXIT_UNREACHABLE;
    }
    return -1;
}

int verb_list(const struct verb *verb, int argc, char *const argv[])
{
    struct listing l = {.verb = verb, .filter = {.struct_size = sizeof l.filter}, .limit = 50};
    struct common common;
    satchel_client *client = NULL;
    const char *none[1];
    char *cursor = NULL;
    int n;
    int code = options_parse(verb, argc, argv, &common, none, 0, &n, on_option, &l);
    if (code == -1)
        code = cli_connect(&common, &client);
    while (code == -1) {
        char *next = NULL;
        code = show_page(&l, &common, client, &next);
        if (code != -1)
            break;
        satchel_free(cursor);
        l.filter.cursor = cursor = next;
        if (!cursor || !l.limit)
            code = 0;
    }
    satchel_free(cursor);
    satchel_client_unref(client);
    return code;
}
