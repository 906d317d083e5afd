/* satchel logs and satchel watch: what a task tells, as it comes.
 * Thread: the main one; the library calls back on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

struct following {
    const struct verb *verb;
    struct common common;
    satchel_client *client;
    satchel_future *future;
    int64_t limit_ms; /* negative: without limit */
    bool follow;
    bool in_line; /* the log's last line has not ended yet */
    struct buf text;
};

static int on_option(void *arg, const char *name, const char *value)
{
    struct following *f = arg;
    if (strcmp(name, "follow") == 0) {
        f->follow = true;
        return 0;
    }
    return parse_ms(value, &f->limit_ms) ? 0 : usage(f->verb, "--%s takes a duration: 30s, 250ms, 5m", name);
}

/* -1: go on; else the exit code to end with. */
static int begin(struct following *f, int argc, char *const argv[])
{
    const char *id[1];
    satchel_error error = SATCHEL_ERROR_INIT;
    int n;
    int code = options_parse(f->verb, argc, argv, &f->common, id, 1, &n, on_option, f);
    if (code == -1 && n == 0)
        code = usage(f->verb, "a task's id is missing");
    if (code == -1)
        code = cli_connect(&f->common, &f->client);
    if (code == -1 && satchel_future_open(f->client, id[0], &f->future, &error) != SATCHEL_OK)
        code = fail(&f->common, &error);
    return code;
}

static void end(struct following *f)
{
    buf_release(&f->text);
    satchel_future_free(f->future);
    satchel_client_unref(f->client);
}

/* Everything so far is to be seen now, by a person or by the next program of a pipe.  Non-zero: nobody reads it. */
static int flush(void)
{
    return fflush(stdout) != 0 || ferror(stdout) ? EXIT_OUTPUT : 0;
}

static double number_of(const json_t *data, const char *key)
{
    return json_number_value(json_object_get(data, key));
}

/* ---- the log ---- */

static int put_text(const char *text, size_t len, void *arg)
{
    struct following *f = arg;
    if (!f->common.json)
        (void)fwrite(text, 1, len, stdout);
    else
        buf_append(&f->text, text, len);
    return buf_ok(&f->text) ? flush() : EXIT_SOFTWARE;
}

/* All of it as one document. */
static int put_whole_log(struct following *f)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_object(&j);
    json_out_member(&j, "id", slice_str(satchel_future_id(f->future)));
    json_out_member(&j, "log", buf_slice(&f->text));
    json_out_end_object(&j);
    bool whole = buf_ok(&out);
    if (whole)
        (void)printf("%s\n", out.data);
    buf_release(&out);
    return whole ? 0 : EXIT_SOFTWARE;
}

static void put_log(struct following *f, const json_t *data)
{
    const json_t *text = json_object_get(data, "text");
    const char *bytes = json_string_value(text);
    size_t len = json_string_length(text);
    if (json_object_get(data, "dropped"))
        (void)printf("%s[satcheld: %.0f bytes were dropped here]\n", f->in_line ? "\n" : "",
                     number_of(data, "dropped"));
    if (!bytes || len == 0)
        return;
    (void)fwrite(bytes, 1, len, stdout);
    f->in_line = bytes[len - 1] != '\n';
}

static json_t *data_of(const satchel_event *event)
{
    char why[JSON_IN_ERROR_SIZE];
    return json_in_load(slice_of(event->data, event->len), 64, why);
}

static void put_json(const satchel_event *event)
{
    (void)printf("{\"event\":\"%s\",\"id\":\"%s\",\"data\":%s}\n", event->name, event->id, event->data);
}

static int on_log_event(const satchel_event *event, void *arg)
{
    struct following *f = arg;
    if (strcmp(event->name, "log") != 0)
        return 0;
    json_t *data = data_of(event);
    if (f->common.json)
        put_json(event);
    else
        put_log(f, data);
    json_decref(data);
    return flush();
}

/* A callback's positive answer is the exit code it ends with. */
static int code_of(const struct following *f, int status, const satchel_error *error)
{
    return status > 0 && status != SATCHEL_PENDING ? status : fail(&f->common, error);
}

int verb_logs(const struct verb *verb, int argc, char *const argv[])
{
    struct following f = {.verb = verb, .limit_ms = -1};
    satchel_error error = SATCHEL_ERROR_INIT;
    int code = begin(&f, argc, argv);
    if (code == -1) {
        int status = f.follow ? satchel_future_watch(f.future, -1, on_log_event, &f, &error)
                              : satchel_future_log(f.future, put_text, &f, &error);
        code = status == SATCHEL_OK ? 0 : code_of(&f, status, &error);
        if (code == 0 && f.common.json && !f.follow)
            code = put_whole_log(&f);
    }
    end(&f);
    return code;
}

/* ---- watch ---- */

static void put_label(struct following *f, const char *label)
{
    if (f->in_line)
        (void)putchar('\n');
    f->in_line = false;
    (void)printf("%-9s  ", label);
}

static void put_state(struct following *f, const json_t *data)
{
    const char *state = json_string_value(json_object_get(data, "state"));
    const json_t *error = json_object_get(data, "error");
    const char *type = json_string_value(json_object_get(error, "type"));
    const char *message = json_string_value(json_object_get(error, "message"));
    double attempt = number_of(data, "attempt");
    put_label(f, "state");
    say_to(stdout, state ? state : "?", state ? strlen(state) : 1);
    if (attempt > 0)
        (void)printf(", attempt %.0f", attempt);
    if (type) {
        (void)fputs(": ", stdout);
        say_to(stdout, type, strlen(type));
    }
    if (message && *message) {
        (void)fputs(": ", stdout);
        say_to(stdout, message, strlen(message));
    }
    (void)putchar('\n');
}

static void put_progress(struct following *f, const json_t *data)
{
    const char *message = json_string_value(json_object_get(data, "message"));
    put_label(f, "progress");
    (void)printf("%.4g %%%s", number_of(data, "progress") * 100, message ? "  " : "");
    if (message)
        say_to(stdout, message, strlen(message));
    (void)putchar('\n');
}

static int on_event(const satchel_event *event, void *arg)
{
    struct following *f = arg;
    json_t *data = data_of(event);
    if (f->common.json)
        put_json(event);
    else if (strcmp(event->name, "state") == 0)
        put_state(f, data);
    else if (strcmp(event->name, "progress") == 0)
        put_progress(f, data);
    else if (strcmp(event->name, "log") == 0)
        put_log(f, data);
    json_decref(data);
    return flush();
}

int verb_watch(const struct verb *verb, int argc, char *const argv[])
{
    struct following f = {.verb = verb, .limit_ms = -1};
    satchel_error error = SATCHEL_ERROR_INIT;
    int code = begin(&f, argc, argv);
    if (code == -1) {
        int status = satchel_future_watch(f.future, f.limit_ms, on_event, &f, &error);
        code = status == SATCHEL_OK ? outcome_code(f.future) : code_of(&f, status, &error);
    }
    end(&f);
    return code;
}
