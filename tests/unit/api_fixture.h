/* What the tests of the API's pure parts share: a configuration from text, the task types, requests made by hand, and
 * submissions parsed from text. */
#ifndef SATCHEL_TESTS_API_FIXTURE_H
#define SATCHEL_TESTS_API_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/request_context.h"
#include "executor/executor.h"
#include "proto/json_in.h"
#include "task/submission.h"

struct fixture {
    struct config *config;
    struct registry *registry;
};

static inline void fixture_report(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

/* `settings`: the text of a configuration file. */
static inline void fixture_init(struct fixture *f, const char *settings)
{
    char path[] = "/tmp/satchel-test-XXXXXX", error[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, settings, strlen(settings)), strlen(settings));
    close(fd);
    struct config_overrides overrides = {.file = path, .data_dir = "/tmp"};
    assert_int_equal(config_load(&overrides, fixture_report, NULL, &f->config), 0);
    unlink(path);
    assert_int_equal(registry_new(f->config, &f->registry, error, sizeof error), 0);
}

static inline void fixture_release(struct fixture *f)
{
    registry_unref(f->registry);
    config_unref(f->config);
}

/* A request with the given header lines, "Name: value", ended by NULL. */
struct made_request {
    struct http_request request;
    struct http_field fields[160];
};

static inline const struct http_request *make_request(struct made_request *made, const char *const *lines)
{
    *made = (struct made_request){.request = {.method = HTTP_POST}};
    size_t n = 0;
    for (; lines[n]; n++) {
        const char *colon = strchr(lines[n], ':');
        assert_non_null(colon);
        made->fields[n] = (struct http_field){slice_of(lines[n], (size_t)(colon - lines[n])),
                                              slice_str(colon[1] == ' ' ? colon + 2 : colon + 1)};
    }
    made->request.fields = made->fields;
    made->request.n_fields = n;
    return &made->request;
}

#define LINES(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* A context as a request with these header lines gives it. */
static inline void make_context(const struct fixture *f, const char *const *lines, struct request_context *ret)
{
    struct made_request made;
    struct caller caller;
    struct problem problem = {0};
    const struct http_request *request = make_request(&made, lines);
    caller_read_id(request, &caller);
    assert_int_equal(caller_read_tenant(request, f->config, &caller, &problem), 0);
    assert_int_equal(request_context_read(request, f->config, NULL, &caller, ret, &problem), 0);
}

static inline int parse_with(const struct fixture *f, const struct request_context *context, const char *body,
                             struct submission *ret, struct problem *problem)
{
    struct submission_input input = {
        .config = f->config,
        .registry = f->registry,
        .body = slice_str(body),
        .pointer = "",
        .context = context->context,
        .origins = buf_slice(&context->origins),
    };
    return submission_parse(&input, ret, problem);
}

/* The wire text of a variable in a context, or "(unset)"; in a static buffer. */
static inline const char *text_of(const satchel_context *context, const satchel_var *var)
{
    static char text[16384];
    satchel_value *value;
    if (satchel_context_get(context, var, &value) != SATCHEL_OK)
        return "(unset)";
    size_t len = satchel_value_text(value, text, sizeof text);
    satchel_value_unref(value);
    assert_true(len < sizeof text);
    return text;
}

static inline const char *known_text(const satchel_context *context, satchel_known which)
{
    return text_of(context, satchel_known_var(which));
}

static inline const char *variable_text(const satchel_context *context, const char *name)
{
    satchel_var *var;
    assert_int_equal(satchel_variable(name, &var), SATCHEL_OK);
    const char *text = text_of(context, var);
    satchel_var_unref(var);
    return text;
}

#endif
