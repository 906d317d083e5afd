#include "proto/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/json_out.h"

static const struct {
    const char *urn, *title;
    int status;
} table[PROBLEM_COUNT] = {
    [PROBLEM_NONE] = {"about:blank", "No problem", 200},
#define SAT_PROBLEM(code, urn, status, title) [PROBLEM_##code] = {"urn:satchel:problem:" urn, title, status},
#include "proto/errors.def"
#undef SAT_PROBLEM
};

int problem_status(enum problem_code code)
{
    return table[code].status;
}

const char *problem_urn(enum problem_code code)
{
    return table[code].urn;
}

const char *problem_title(enum problem_code code)
{
    return table[code].title;
}

void problem_set(struct problem *p, enum problem_code code, const char *format, ...)
{
    p->code = code;
    p->retry_after_s = 0;
    p->n_errors = 0;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->detail, sizeof p->detail, format, args);
    va_end(args);
}

void problem_add(struct problem *p, enum problem_code code, const char *pointer, const char *format, ...)
{
    char detail[PROBLEM_DETAIL_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    if (p->code == PROBLEM_NONE) {
        p->code = code;
        p->n_errors = 0;
        p->retry_after_s = 0;
        (void)snprintf(p->detail, sizeof p->detail, "%.*s: %.*s", PROBLEM_POINTER_SIZE, *pointer ? pointer : "/",
                       PROBLEM_DETAIL_SIZE - PROBLEM_POINTER_SIZE - 8, detail);
    }
    if (p->n_errors < PROBLEM_MAX_ERRORS) {
        (void)snprintf(p->errors[p->n_errors].pointer, PROBLEM_POINTER_SIZE, "%s", pointer);
        memcpy(p->errors[p->n_errors].detail, detail, sizeof detail);
    }
    p->n_errors++;
}

void problem_to_json(const struct problem *p, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_begin_object(&j);
    json_out_member(&j, "type", slice_str(table[p->code].urn));
    json_out_member(&j, "title", slice_str(table[p->code].title));
    json_out_member_i64(&j, "status", table[p->code].status);
    json_out_member(&j, "detail", slice_str(p->detail));
    if (p->n_errors) {
        json_out_key(&j, "errors");
        json_out_begin_array(&j);
        for (unsigned i = 0; i < p->n_errors && i < PROBLEM_MAX_ERRORS; i++) {
            json_out_begin_object(&j);
            json_out_member(&j, "pointer", slice_str(p->errors[i].pointer));
            json_out_member(&j, "detail", slice_str(p->errors[i].detail));
            json_out_end_object(&j);
        }
        json_out_end_array(&j);
    }
    json_out_end_object(&j);
}

void problem_pointer(char out[PROBLEM_POINTER_SIZE], const char *parent, const char *name)
{
    size_t at = (size_t)snprintf(out, PROBLEM_POINTER_SIZE, "%s/", parent);
    at = at < PROBLEM_POINTER_SIZE ? at : PROBLEM_POINTER_SIZE - 1;
    for (; *name && at + 3 < PROBLEM_POINTER_SIZE; name++) {
        if (*name == '~' || *name == '/') {
            out[at++] = '~';
            out[at++] = *name == '~' ? '0' : '1';
        } else {
            out[at++] = *name;
        }
    }
    out[at] = '\0';
}
