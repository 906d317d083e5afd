/* task "NAME" { ... }: a command or an HTTP call that an operator configures.
 * Flow: sections.c -> here -> executor/ (which runs it). */
#include "config/task_section.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/confine.h"
#include "config/grammar.h"
#include "config/options.h"
#include "config/printing.h"
#include "config/sections.h"
#include "proto/timetext.h"

#define KILL_GRACE_US INT64_C(10000000)
#define CONCURRENCY_MAX 1000000

const struct source_shape task_shape[] = {{.name = "command", .list = true},
                                          {.name = "url"},
                                          {.name = "method"},
                                          {.name = "body"},
                                          {.name = "headers", .list = true},
                                          {.name = "allow", .list = true},
                                          {.name = "environment", .list = true},
                                          {.name = "workdir"},
                                          {.name = "timeout"},
                                          {.name = "kill_grace"},
                                          {.name = "concurrency"},
                                          {.name = "tenant_concurrency"},
                                          {.name = "final_exit", .list = true},
                                          {.name = "propagate", .list = true},
                                          {.name = "trace"},
                                          {.name = "allow_dash"},
                                          {.name = "user"},
                                          {.name = "group"},
                                          {.name = "umask"},
                                          {.name = "limits", .list = true},
                                          {.name = "nice"},
                                          {.name = "oom_score_adj"},
                                          {.name = "memory_max"},
                                          {.name = "cpu_max"},
                                          {.name = "pids_max"},
                                          {0}};

static const char *const for_commands[] = {"environment", "workdir", "kill_grace", "final_exit", "allow_dash"};
static const char *const for_urls[] = {"method", "body", "headers", "allow"};

static const char *const propagate_names[] = {"trace", "tenant", "request_id", "deadline", "baggage", "variables"};
#define N_PROPAGATE (sizeof propagate_names / sizeof propagate_names[0])

static bool is_template(const char *text)
{
    return strstr(text, "{{") != NULL;
}

/* Does the host come from the submission, or all of the URL?  A template in its path or query is no such thing. */
static bool host_is_template(const char *url)
{
    const char *host = strstr(url, "://"), *template = strstr(url, "{{");
    if (!template || !host || template <host)
        return template != NULL;
    host += 3;
    return template <host + strcspn(host, "/?#");
}

/* A header line whose value may hold templates. */
static const char *check_header_template(const char *text)
{
    const char *wrong = check_header_line(text);
    return wrong ? wrong : check_template(text);
}

static const char *check_method(const char *text)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (strcmp(text, methods[i]) == 0)
            return NULL;
    return "must be GET, POST, PUT, PATCH or DELETE";
}

static void read_final_exit(struct config_task *task, struct section *s)
{
    static const int standard[] = {64, 65, 77, 78};
    bool is_set = source_is_set(s->cfg, "final_exit");
    size_t n = is_set ? source_count(s->cfg, "final_exit") : sizeof standard / sizeof standard[0];
    task->final_exit = calloc(n ? n : 1, sizeof *task->final_exit);
    if (!task->final_exit) {
        problems_add(s->problems, s->where, "out of memory");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct config_where where;
        int64_t status = is_set ? 0 : standard[i];
        if (is_set &&
            (!number_parse(source_value(s->cfg, "final_exit", i, &where), &status) || status < 1 || status > 255)) {
            problems_add(s->problems, where, "task \"%s\": final_exit: \"%s\" must be an exit status from 1 to 255",
                         s->title, source_value(s->cfg, "final_exit", i, &where));
            continue;
        }
        task->final_exit[task->n_final_exit++] = (int)status;
    }
}

static const char *check_trace(const char *text)
{
    return strcmp(text, "parent") == 0 || strcmp(text, "link") == 0 ? NULL : "must be parent or link";
}

static void read_propagate(struct config_task *task, struct section *s)
{
    size_t n = source_count(s->cfg, "propagate");
    task->propagate = task->url_from_args ? PROPAGATE_TRACE : PROPAGATE_ALL;
    if (!source_is_set(s->cfg, "propagate"))
        return;
    task->propagate = 0;
    for (size_t i = 0; i < n; i++) {
        struct config_where where;
        const char *text = source_value(s->cfg, "propagate", i, &where);
        size_t bit = 0;
        while (bit < N_PROPAGATE && strcmp(propagate_names[bit], text) != 0)
            bit++;
        if (bit < N_PROPAGATE)
            task->propagate |= 1u << bit;
        else
            problems_add(
                s->problems, where,
                "task \"%s\": propagate: \"%s\" must be trace, tenant, request_id, deadline, baggage or variables",
                s->title, text);
    }
}

static void refuse(struct section *s, const char *const *names, size_t n, const char *other)
{
    for (size_t i = 0; i < n; i++) {
        struct config_where where = s->where;
        if (!source_is_set(s->cfg, names[i]))
            continue;
        if (source_count(s->cfg, names[i]) > 0)
            (void)source_value(s->cfg, names[i], 0, &where);
        problems_add(s->problems, where, "task \"%s\": %s belongs to tasks with a %s", s->title, names[i], other);
    }
}

static void check_whole(const struct config_task *task, struct section *s)
{
    bool command = source_is_set(s->cfg, "command"), url = source_is_set(s->cfg, "url");
    if (command && url) {
        problems_add(s->problems, s->where, "task \"%s\": has both a command and a url; keep one", s->title);
        return;
    }
    if (!command && !url) {
        problems_add(s->problems, s->where, "task \"%s\": needs a command or a url", s->title);
        return;
    }
    if (command) {
        refuse(s, for_urls, sizeof for_urls / sizeof for_urls[0], "url");
        if (source_count(s->cfg, "command") == 0)
            problems_add(s->problems, s->where, "task \"%s\": command is empty", s->title);
        else if (task->command.n && (!task->command.items[0][0] || is_template(task->command.items[0])))
            section_problem(s, "command", "starts with a program that is empty or would come from a submission");
    } else {
        refuse(s, for_commands, sizeof for_commands / sizeof for_commands[0], "command");
        for (size_t i = 0; confine_settings[i]; i++)
            refuse(s, &confine_settings[i], 1, "command");
        if (task->url_from_args && task->allow.n == 0)
            section_problem(s, "url", "comes from the submission, so allow must say which hosts may be called");
        if (task->body && task->method && strcmp(task->method, "GET") == 0)
            section_problem(s, "body", "cannot be sent with GET");
    }
}

void task_section_read(struct config_task *task, struct section *s)
{
    int64_t concurrency = 0, tenant_concurrency = 0;
    char *trace = NULL;
    task->name = section_copy(s, s->title);
    task->where = section_where(s);
    task->kill_grace_us = KILL_GRACE_US;
    section_list(s, "command", check_template, &task->command);
    section_text(s, "url", check_url, &task->url);
    section_text(s, "method", check_method, &task->method);
    section_text(s, "body", check_template, &task->body);
    section_list(s, "headers", check_header_template, &task->headers);
    section_list(s, "allow", check_allow, &task->allow);
    section_list(s, "environment", check_environment, &task->environment);
    section_text(s, "workdir", check_absolute_path, &task->workdir);
    section_duration(s, "timeout", &task->timeout_us);
    section_duration(s, "kill_grace", &task->kill_grace_us);
    section_number(s, "concurrency", 0, CONCURRENCY_MAX, &concurrency);
    section_number(s, "tenant_concurrency", 0, CONCURRENCY_MAX, &tenant_concurrency);
    section_switch(s, "allow_dash", &task->allow_dash);
    task->concurrency = (unsigned)concurrency;
    task->tenant_concurrency = (unsigned)tenant_concurrency;
    task->url_from_args = task->url && host_is_template(task->url);
    if (task->url && !task->method)
        task->method = section_copy(s, "POST");
    read_final_exit(task, s);
    read_propagate(task, s);
    section_text(s, "trace", check_trace, &trace);
    task->own_trace = trace && strcmp(trace, "link") == 0;
    free(trace);
    confine_read(&task->confine, s);
    check_whole(task, s);
}

static void print_text(struct buf *out, const char *name, const char *text)
{
    if (!text)
        return;
    buf_printf(out, " %s = ", name);
    config_quote(out, text);
}

static void print_duration(struct buf *out, const char *name, int64_t us)
{
    char text[DURATION_TEXT_SIZE];
    duration_format(us, text);
    buf_printf(out, " %s = \"%s\"", name, text);
}

void task_section_print(const struct config_task *task, struct buf *out)
{
    buf_append_str(out, "task ");
    config_quote(out, task->name);
    buf_append_str(out, " {");
    config_print_list(out, "command", &task->command);
    print_text(out, "url", task->url);
    print_text(out, "method", task->method);
    print_text(out, "body", task->body);
    config_print_assignments(out, "headers", &task->headers, ':');
    config_print_list(out, "allow", &task->allow);
    config_print_assignments(out, "environment", &task->environment, '=');
    print_text(out, "workdir", task->workdir);
    print_duration(out, "timeout", task->timeout_us);
    buf_printf(out, " concurrency = %u tenant_concurrency = %u propagate = {", task->concurrency,
               task->tenant_concurrency);
    const char *comma = "";
    for (size_t bit = 0; bit < N_PROPAGATE; bit++) {
        if (!(task->propagate & 1u << bit))
            continue;
        buf_printf(out, "%s%s", comma, propagate_names[bit]);
        comma = ", ";
    }
    buf_printf(out, "} trace = %s", task->own_trace ? "link" : "parent");
    if (task->command.n) {
        print_duration(out, "kill_grace", task->kill_grace_us);
        buf_printf(out, " allow_dash = %s final_exit = {", task->allow_dash ? "true" : "false");
        for (size_t i = 0; i < task->n_final_exit; i++)
            buf_printf(out, "%s%d", i ? ", " : "", task->final_exit[i]);
        buf_append_char(out, '}');
        confine_print(&task->confine, out);
    }
    buf_append_str(out, " }");
}

void task_section_release(struct config_task *task)
{
    free(task->name);
    free(task->url);
    free(task->method);
    free(task->body);
    free(task->workdir);
    free(task->final_exit);
    free(task->where);
    confine_release(&task->confine);
    config_list_release(&task->command);
    config_list_release(&task->headers);
    config_list_release(&task->allow);
    config_list_release(&task->environment);
}
