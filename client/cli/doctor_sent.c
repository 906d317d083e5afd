/* What a tenant's context holds, in values that no other tenant has, and comparing what was seen with it.
 * Thread: any; a struct sent does not change once it is made. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/cli/doctor.h"
#include "proto/json_in.h"
#include "proto/timetext.h"

static const struct {
    const char *name;
    int known;
    const char *environment, *header;
} variables[N_VARIABLES] = {
#define VARIABLE(name, shown, known, environment, header) {shown, known, environment, header},
    DOCTOR_VARIABLES(VARIABLE)
#undef VARIABLE
};

static const char *header_of(int which)
{
    return variables[which].header ? variables[which].header
                                   : satchel_var_header(satchel_known_var((satchel_known)variables[which].known));
}

/* ---- what is sent ---- */

static void write_values(struct sent *sent, const char *nonce, unsigned tenant, int64_t deadline_us)
{
    satchel_trace trace;
    (void)satchel_trace_root(&trace);
    trace.flags = (uint8_t)(tenant & 3); /* sampled or not, random or not */
    satchel_trace_format(&trace, sent->values[VAR_TRACEPARENT]);
    (void)snprintf(sent->values[VAR_TENANT], TEXT_MAX, "doctor-%.8s-%u", nonce, tenant);
    (void)snprintf(sent->values[VAR_TRACESTATE], TEXT_MAX, "doctor=%.8s-%u,other@vendor=t%u", nonce, tenant, tenant);
    (void)snprintf(sent->values[VAR_BAGGAGE], TEXT_MAX, "doctor=%.8s-%u,note=a%%20b%%2Cc", nonce, tenant);
    (void)snprintf(sent->values[VAR_REQUEST_ID], TEXT_MAX, "doctor-%s-%u", nonce, tenant);
    timestamp_format(deadline_us + tenant, sent->values[VAR_DEADLINE]);
    (void)snprintf(sent->values[VAR_OWN], TEXT_MAX, "%.8s-%u 'a' \"b\" \\c $(d) %%41 e=f;g,h \xc3\xa9", nonce, tenant);
}

static int bind_all(const struct sent *sent)
{
    int status = SATCHEL_OK;
    for (int i = 0; i < N_VARIABLES && status == SATCHEL_OK; i++) {
        satchel_var *own = NULL, *var;
        if (variables[i].known >= 0)
            var = satchel_known_var((satchel_known)variables[i].known);
        else if ((status = satchel_variable(variables[i].name, &own)) == SATCHEL_OK)
            var = own;
        else
            break;
        status = satchel_set_string(var, sent->values[i], NULL);
        satchel_var_unref(own);
    }
    return status;
}

int sent_init(struct sent *sent, const char *nonce, unsigned tenant, int64_t deadline_us)
{
    write_values(sent, nonce, tenant, deadline_us);
    sent->context = satchel_context_new();
    if (!sent->context)
        return SATCHEL_ENOMEM;
    int status = satchel_context_enter(sent->context);
    if (status != SATCHEL_OK)
        return status;
    status = bind_all(sent);
    (void)satchel_context_exit(sent->context);
    return status;
}

void sent_release(struct sent *sent)
{
    satchel_context_unref(sent->context);
}

/* ---- what is seen ---- */

bool seen_by_handler(const char *json, size_t len, struct seen *ret)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *result = json_in_load(slice_of(json, len), 8, why);
    bool good = json_is_object(result);
    for (int i = 0; i < N_VARIABLES; i++) {
        const char *text = json_string_value(json_object_get(result, variables[i].name));
        ret->values[i] = text ? strdup(text) : NULL;
    }
    json_decref(result);
    return good;
}

/* The value behind `name` and `between` in a text of lines, or NULL.  A second one is shown, too: it must not be. */
static char *find_line(const char *text, const char *name, char between, bool exact)
{
    size_t name_len = strlen(name);
    struct buf found = BUF_INIT;
    bool any = false;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        bool same = exact ? strncmp(line, name, name_len) == 0 : strncasecmp(line, name, name_len) == 0;
        if (!same || line[name_len] != between)
            continue;
        const char *value = line + name_len + 1;
        size_t len = strcspn(value, exact ? "\n" : "\r\n");
        size_t blanks = exact ? 0 : strspn(value, " \t");
        if (any)
            buf_append_str(&found, " and ");
        buf_append(&found, value + blanks, len - blanks);
        any = true;
    }
    return any ? buf_take(&found, NULL) : NULL;
}

bool seen_by_command(const char *json, size_t len, struct seen *ret)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *result = json_in_load(slice_of(json, len), 8, why);
    const char *environment = json_string_value(result);
    for (int i = 0; environment && i < N_VARIABLES; i++)
        ret->values[i] = find_line(environment, variables[i].environment, '=', true);
    json_decref(result);
    return environment != NULL;
}

void seen_by_server(const char *head, struct seen *ret)
{
    for (int i = 0; i < N_VARIABLES; i++)
        ret->values[i] = find_line(head, header_of(i), ':', false);
}

void seen_release(struct seen *seen)
{
    for (int i = 0; i < N_VARIABLES; i++)
        free(seen->values[i]);
}

/* ---- comparing ---- */

bool mismatch_add(struct mismatch **list, const char *variable, const char *sent, const char *seen)
{
    struct mismatch *one = calloc(1, sizeof *one);
    while (*list)
        list = &(*list)->next;
    if (!one)
        return false;
    *list = one;
    one->variable = variable ? strdup(variable) : NULL;
    one->sent = sent ? strdup(sent) : NULL;
    one->seen = seen ? strdup(seen) : NULL;
    return (one->variable || !variable) && (one->sent || !sent) && (one->seen || !seen);
}

void mismatches_free(struct mismatch *list)
{
    while (list) {
        struct mismatch *next = list->next;
        free(list->variable);
        free(list->sent);
        free(list->seen);
        free(list);
        list = next;
    }
}

/* The trace goes on: its id and flags, with a span of its own. */
static bool same_trace(const char *sent, const char *seen)
{
    satchel_trace a, b;
    if (satchel_trace_parse(sent, strlen(sent), &a) != SATCHEL_OK ||
        satchel_trace_parse(seen, strlen(seen), &b) != SATCHEL_OK)
        return false;
    return memcmp(a.trace_id, b.trace_id, sizeof a.trace_id) == 0 && a.flags == b.flags &&
           memcmp(a.span_id, b.span_id, sizeof a.span_id) != 0;
}

bool sent_compare(const struct sent *sent, const struct seen *seen, struct mismatch **list)
{
    bool good = true;
    for (int i = 0; i < N_VARIABLES; i++) {
        const char *was = sent->values[i], *is = seen->values[i];
        bool same = is && (i == VAR_TRACEPARENT ? same_trace(was, is) : strcmp(was, is) == 0);
        if (!same)
            good = mismatch_add(list, variables[i].name, was, is) && good;
    }
    return good;
}
