/* What people and programs get to see. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

static int exit_code_of(int status)
{
    switch (status) {
    case SATCHEL_OK: return 0;
    case SATCHEL_EREFUSED:
    case SATCHEL_ENOTFOUND:
    case SATCHEL_ECONFLICT:
    case SATCHEL_EGRAMMAR:
    case SATCHEL_ELIMIT: return EXIT_DATA;
    case SATCHEL_EINVAL: return EXIT_USAGE;
    case SATCHEL_EDENIED: return EXIT_DENIED;
    case SATCHEL_EAGAIN: return EXIT_AGAIN;
    case SATCHEL_EUNREACHABLE:
    case SATCHEL_ESERVER: return EXIT_UNREACHABLE;
    case SATCHEL_ETIMEDOUT: return EXIT_TIMED_OUT;
    case SATCHEL_ECANCELED: return EXIT_INTERRUPTED;
    case SATCHEL_ETASK: return EXIT_TASK_FAILED;
    case SATCHEL_EPROTOCOL: return EXIT_UNREACHABLE;
    default: return EXIT_SOFTWARE;
    }
}

void say_to(FILE *to, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        (void)fputc((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i], to);
}

static void say(const char *text, size_t len)
{
    say_to(stderr, text, len);
}

int fail(const struct common *common, const satchel_error *error)
{
    const char *title = error->title, *detail = error->detail;
    size_t first = strcspn(error->pointers, "\n");
    if (first && strlen(detail) == first && strncmp(detail, error->pointers, first) == 0)
        detail = ""; /* the same again, below */
    (void)fprintf(stderr, "satchel %s: ", common->verb->name);
    say(title, strlen(title));
    (void)fputs(*title && *detail ? ": " : "", stderr);
    say(detail, strlen(detail));
    (void)fputc('\n', stderr);
    for (const char *line = error->pointers; *line;) {
        size_t len = strcspn(line, "\n");
        (void)fputs("  ", stderr);
        say(line, len);
        (void)fputc('\n', stderr);
        line += len;
        line += *line == '\n';
    }
    if (error->status == SATCHEL_EUNREACHABLE)
        (void)fprintf(stderr, "  --url and SATCHEL_URL say where satcheld is\n");
    if (error->retry_after_s)
        (void)fprintf(stderr, "  try again in %d s\n", error->retry_after_s);
    return exit_code_of(error->status);
}

void complain(const struct common *common, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "satchel %s: ", common->verb->name);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static const char *text_of(const json_t *task, const char *key)
{
    const char *text = json_string_value(json_object_get(task, key));
    return text ? text : "";
}

static bool is_empty(struct slice value)
{
    return slice_eq_str(value, "null") || slice_eq_str(value, "{}");
}

/* "attempts", one a line. */
static void print_attempts(struct slice text)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *attempts = json_in_load(text, 64, why), *attempt;
    size_t i;
    json_array_foreach(attempts, i, attempt)
    {
        const json_t *error = json_object_get(attempt, "error");
        (void)printf("attempt %-4.0f %-9s  %.27s - %.27s", json_number_value(json_object_get(attempt, "attempt")),
                     text_of(attempt, "state"), text_of(attempt, "started_at"), text_of(attempt, "finished_at"));
        if (error) {
            const char *message = text_of(error, "message");
            (void)printf("  %s: ", text_of(error, "type"));
            say_to(stdout, message, strlen(message));
        }
        (void)putchar('\n');
    }
    json_decref(attempts);
}

static void print_task(struct slice text)
{
    struct json_member members[64];
    size_t n = json_in_members(text, members, 64);
    for (size_t i = 0; i < n && i < 64; i++) {
        struct slice value = members[i].value;
        if (is_empty(value))
            continue;
        if (slice_eq_str(members[i].name, "attempts")) {
            print_attempts(value);
            continue;
        }
        if (value.len > 1 && value.data[0] == '"' && !memchr(value.data, '\\', value.len))
            value = slice_of(value.data + 1, value.len - 2);
        (void)printf("%-13.*s%.*s\n", (int)members[i].name.len, members[i].name.data, (int)value.len, value.data);
    }
}

void print_task_line(const json_t *task)
{
    (void)printf("%s  %-9s  %.19s  %-12s  %s\n", text_of(task, "id"), text_of(task, "state"),
                 text_of(task, "created_at"), text_of(task, "tenant"), text_of(task, "task"));
}

int print_future(const struct common *common, satchel_future *future)
{
    char *text;
    size_t len;
    satchel_error error = SATCHEL_ERROR_INIT;
    if (satchel_future_json(future, &text, &len, &error) != SATCHEL_OK)
        return fail(common, &error);
    if (common->json)
        (void)printf("%s\n", text);
    else
        print_task(slice_of(text, len));
    satchel_free(text);
    return 0;
}

int outcome_code(const satchel_future *future)
{
    int code;
    if (strcmp(satchel_future_state(future), "succeeded") == 0)
        return 0;
    if (satchel_future_exit_code(future, &code) == SATCHEL_OK && code > 0 && code < 256)
        return code;
    return EXIT_TASK_FAILED;
}

static void print_text_result(const char *json, size_t len)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *value = json_in_load(slice_of(json, len), 64, why);
    const char *text = json_string_value(value);
    if (text) {
        (void)fwrite(text, 1, json_string_length(value), stdout);
        if (!json_string_length(value) || text[json_string_length(value) - 1] != '\n')
            (void)putchar('\n');
    } else {
        (void)printf("%s\n", json);
    }
    json_decref(value);
}

int print_result(const struct common *common, satchel_future *future, bool raw)
{
    char *json;
    size_t len;
    satchel_error error = SATCHEL_ERROR_INIT;
    int status = satchel_future_result(future, &json, &len, &error);
    if (status == SATCHEL_PENDING) {
        complain(common, "task %s is still %s", satchel_future_id(future), satchel_future_state(future));
        return EXIT_AGAIN;
    }
    if (status == SATCHEL_ETASK) {
        size_t used = strlen(error.title);
        (void)snprintf(error.title + used, sizeof error.title - used, " (%s)", error.type);
        (void)fail(common, &error);
        return outcome_code(future);
    }
    if (status != SATCHEL_OK)
        return fail(common, &error);
    if (raw)
        print_text_result(json, len);
    else
        (void)printf("%s\n", json);
    satchel_free(json);
    return 0;
}
