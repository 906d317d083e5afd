/* GET /v1/tasks/{id}/context: every variable with its value, where it came from and where it was sent, attempt by
 * attempt.
 *
 * Three reads: the task with its attempts, its parent where it has one, and its sub-tasks.  A value that came with a
 * request but is the parent's own was inherited: so a command's `satchel submit` hands it on.  What is stored decides what is
 * said; only of an attempt of which nothing is stored (it runs, or a crash took it) the task's type tells.
 * Flow: dispatch -> on_context -> reader -> answer_task -> (reader -> answer_parent) -> reader -> answer_children.  Thread: the loop's. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/calls.h"
#include "executor/executor.h"
#include "proto/json_in.h"
#include "task/attempts.h"
#include "task/propagate.h"
#include "task/render.h"

#define SECRET_MASK "***"
#define ATTEMPTS_SHOWN 100u /* of a variable's destinations: the newest */
#define CHILDREN_SHOWN 100u

struct destination {
    uint32_t attempt;
    const char *to; /* "handler", "environment", "http", ... */
    const char *target;
    unsigned propagate;
};

struct context_call {
    struct api_call call;
    struct task_record record;
    struct task_history history;
    struct task_record parent; /* of a sub-task */
    struct destination *destinations;
    size_t n_destinations;
    json_t *texts; /* what the destinations point into */
};

static void release_context_call(struct api_call *call)
{
    struct context_call *own = (struct context_call *)call;
    task_record_release(&own->record);
    task_history_release(&own->history);
    task_record_release(&own->parent);
    free(own->destinations);
    json_decref(own->texts);
    free(own);
}

/* ---- where each attempt's context went ---- */

static bool add_destination(struct context_call *own, struct destination destination)
{
    struct destination *list = realloc(own->destinations, (own->n_destinations + 1) * sizeof *list);
    if (!list)
        return false;
    list[own->n_destinations++] = destination;
    own->destinations = list;
    return true;
}

static bool add_stored(struct context_call *own, const struct task_attempt *attempt)
{
    struct buf text = BUF_INIT;
    buf_append_char(&text, '[');
    buf_append_slice(&text, attempt->sent);
    buf_append_char(&text, ']');
    char error[JSON_IN_ERROR_SIZE];
    json_t *list = buf_ok(&text) ? json_in_load(buf_slice(&text), 4, error) : NULL;
    buf_release(&text);
    bool ok = list && json_array_append_new(own->texts, list) == 0; /* takes it over, also where it fails */
    size_t i;
    json_t *item;
    json_array_foreach(ok ? list : NULL, i, item)
    {
        const char *to = json_string_value(json_object_get(item, "to"));
        ok =
            ok && add_destination(own, (struct destination){
                                           .attempt = attempt->number,
                                           .to = to ? to : "unknown",
                                           .target = json_string_value(json_object_get(item, "target")),
                                           .propagate = (unsigned)json_number_value(json_object_get(item, "propagate")),
                                       });
    }
    return ok;
}

static struct destination usual(const struct context_call *own, uint32_t attempt)
{
    struct destination to = {.attempt = attempt, .to = "handler", .propagate = PROPAGATE_ALL};
    struct registry *registry = api_registry(own->call.api);
    const struct task_type *type = registry_find(registry, own->record.spec->name);
    const char *kind = type ? type->executor->kind : "";
    if (strcmp(kind, "command") == 0)
        to.to = "environment";
    if (strcmp(kind, "http") == 0)
        to.to = "http";
    if (strcmp(to.to, "handler") != 0)
        to.propagate = type->propagate;
    registry_unref(registry);
    return to;
}

static bool add_attempt(struct context_call *own, const struct task_attempt *attempt)
{
    if (!attempt->started_us)
        return true;
    return attempt->sent.len ? add_stored(own, attempt) : add_destination(own, usual(own, attempt->number));
}

static bool find_destinations(struct context_call *own)
{
    struct task_attempt last;
    bool has_last = task_attempts_last(&own->record, &own->history, &last);
    size_t n = own->history.n, first = n > ATTEMPTS_SHOWN ? n - ATTEMPTS_SHOWN : 0;
    bool ok = (own->texts = json_array()) != NULL;
    for (size_t i = first; i < n && ok; i++)
        ok = add_attempt(own, &own->history.attempts[i]);
    return ok && (!has_last || add_attempt(own, &last));
}

/* ---- one variable ---- */

struct shown { /* a variable while it is written */
    const struct context_call *own;
    struct slice key;       /* its name in the stored context: the field's, in lower case */
    const satchel_var *var; /* NULL: no longer configured */
    struct slice name;
    bool secret;
    unsigned bit;
    struct json_out *j;
};

static int find_variable(satchel_var *var, void *data, void *arg)
{
    (void)data;
    struct shown *shown = arg;
    const char *header = satchel_var_header(var);
    if (!header || strlen(header) != shown->key.len || strncasecmp(header, shown->key.data, shown->key.len) != 0)
        return 0;
    shown->var = var;
    return 1;
}

static void write_environment_name(const struct shown *shown)
{
    char name[256];
    size_t n = shown->key.len < sizeof name ? shown->key.len : sizeof name;
    for (size_t i = 0; i < n; i++) {
        char c = shown->key.data[i];
        name[i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c >= '0' && c <= '9' ? c : '_');
    }
    json_out_member(shown->j, "as", slice_of(name, n));
}

static void write_destination(const struct shown *shown, const struct destination *to)
{
    struct json_out *j = shown->j;
    bool inside = strcmp(to->to, "handler") == 0;
    if (!inside && (shown->secret || (shown->bit && !(to->propagate & shown->bit))))
        return;
    json_out_begin_object(j);
    json_out_member_i64(j, "attempt", to->attempt);
    json_out_member(j, "to", slice_str(to->to));
    if (to->target)
        json_out_member(j, "target", slice_str(to->target));
    if (strcmp(to->to, "environment") == 0)
        write_environment_name(shown);
    else if (!inside)
        json_out_member(j, "as", shown->key);
    json_out_end_object(j);
}

/* Which attempt made this sub-task: its submission's parent span says so.  0: none that is known. */
static uint32_t attempt_of_child(const struct context_call *own, const struct task_spec *child)
{
    uint8_t span[8];
    for (uint32_t n = own->record.status.attempt, looked = 0; n > 0 && looked < ATTEMPTS_SHOWN; n--, looked++) {
        task_id_attempt_span(own->record.spec->id, n, span);
        if (memcmp(span, child->parent_span, sizeof span) == 0)
            return n;
    }
    return 0;
}

static struct slice stored_value(const struct task_spec *spec, struct slice key)
{
    return json_in_find(json_in_find(spec->context, SLICE_LITERAL("vars")), key);
}

/* Of two stored values; the sub-task's span is its own, the trace is the same. */
static bool same_value(struct slice key, struct slice a, struct slice b)
{
    enum { TRACE_AT = 4, TRACE_LEN = 32 }; /* behind the quote, the version and a dash */
    if (!slice_eq_str(key, "traceparent") || a.len < TRACE_AT + TRACE_LEN || b.len < TRACE_AT + TRACE_LEN)
        return a.len && slice_eq(a, b);
    return memcmp(a.data + TRACE_AT, b.data + TRACE_AT, TRACE_LEN) == 0;
}

static bool is_inherited(const struct task_spec *child, const struct task_spec *parent, struct slice key,
                         struct slice name)
{
    static const char inherited[] = "\"inherited:";
    struct slice origin = json_in_find(child->origins, name);
    if (origin.len > sizeof inherited && memcmp(origin.data, inherited, sizeof inherited - 1) == 0)
        return true;
    return slice_eq_str(origin, "\"header\"") && same_value(key, stored_value(child, key), stored_value(parent, key));
}

static void write_child(const struct shown *shown, const struct task_spec *child)
{
    char id[TASK_ID_TEXT_SIZE];
    if (!is_inherited(child, shown->own->record.spec, shown->key, shown->name))
        return;
    struct json_out *j = shown->j;
    uint32_t attempt = attempt_of_child(shown->own, child);
    task_id_format(child->id, id);
    json_out_begin_object(j);
    if (attempt)
        json_out_member_i64(j, "attempt", attempt);
    json_out_member(j, "to", SLICE_LITERAL("task"));
    json_out_member(j, "target", slice_str(id));
    json_out_end_object(j);
}

static void write_sent(const struct shown *shown)
{
    const struct context_call *own = shown->own;
    json_out_key(shown->j, "sent");
    json_out_begin_array(shown->j);
    for (size_t i = 0; i < own->n_destinations; i++)
        write_destination(shown, &own->destinations[i]);
    for (size_t i = 0; i < own->call.read.n; i++)
        write_child(shown, own->call.read.records[i].spec);
    json_out_end_array(shown->j);
}

static void write_origin(const struct shown *shown)
{
    const struct context_call *own = shown->own;
    const struct task_spec *spec = own->record.spec;
    struct slice origin = json_in_find(spec->origins, shown->name);
    json_out_key(shown->j, "origin");
    if (own->parent.spec && is_inherited(spec, own->parent.spec, shown->key, shown->name)) {
        char text[sizeof "inherited:" + TASK_ID_TEXT_SIZE] = "inherited:";
        task_id_format(spec->parent, text + strlen(text));
        json_out_string(shown->j, slice_str(text));
    } else {
        json_out_raw(shown->j, origin.len ? origin : SLICE_LITERAL("\"header\""));
    }
}

static void write_variable(const struct context_call *own, const struct json_member *stored, struct json_out *j)
{
    static const char prefix[] = "x-satchel-var-";
    struct shown shown = {.own = own, .key = stored->name, .name = stored->name, .bit = PROPAGATE_VARIABLES, .j = j};
    satchel_context *context = task_context(own->record.spec);
    if (context)
        (void)satchel_context_each(context, find_variable, &shown);
    if (shown.var) {
        shown.name = slice_str(satchel_var_name(shown.var));
        shown.bit = propagate_bit(shown.var);
        shown.secret = satchel_var_flags(shown.var) & SATCHEL_VAR_SECRET;
    } else if (stored->name.len > sizeof prefix - 1 && memcmp(stored->name.data, prefix, sizeof prefix - 1) == 0) {
        shown.name = slice_of(stored->name.data + sizeof prefix - 1, stored->name.len - (sizeof prefix - 1));
    } else {
        shown.secret = true; /* who knows: whether it was is no longer configured */
    }
    json_out_key_slice(j, shown.name);
    json_out_begin_object(j);
    json_out_key(j, "value");
    json_out_raw(j, shown.secret ? SLICE_LITERAL("\"" SECRET_MASK "\"") : stored->value);
    if (shown.secret) {
        json_out_key(j, "secret");
        json_out_bool(j, true);
    }
    write_origin(&shown);
    json_out_member(j, "header", stored->name);
    write_sent(&shown);
    json_out_end_object(j);
}

/* ---- the answer ---- */

static void write_variables(const struct context_call *own, struct json_out *j)
{
    struct json_member vars[CONTEXT_MEMBERS_MAX];
    struct slice text = json_in_find(own->record.spec->context, SLICE_LITERAL("vars"));
    size_t n = json_in_members(text, vars, CONTEXT_MEMBERS_MAX);
    json_out_key(j, "variables");
    json_out_begin_object(j);
    for (size_t i = 0; i < n && i < CONTEXT_MEMBERS_MAX; i++)
        write_variable(own, &vars[i], j);
    json_out_end_object(j);
}

static bool answer_children(struct api_call *call, struct http_exchange *exchange)
{
    struct context_call *own = (struct context_call *)call;
    if (call->read.result != STORE_OK || !find_destinations(own)) {
        call_reply_read_failed(call, exchange);
        return true;
    }
    struct buf *body = scratch();
    struct json_out j = json_out_to(body);
    char id[TASK_ID_TEXT_SIZE];
    task_id_format(own->record.spec->id, id);
    json_out_begin_object(&j);
    json_out_member(&j, "id", slice_str(id));
    json_out_member(&j, "task", own->record.spec->name);
    json_out_member(&j, "state", slice_str(task_state_name(own->record.status.state)));
    write_variables(own, &j);
    json_out_key(&j, "attempts");
    task_attempts_render(&own->record, &own->history, call->api->node, &j);
    json_out_end_object(&j);
    struct reply reply;
    call_reply_begin(call, exchange, &reply);
    reply_buffer(&reply, 200, body);
    return true;
}

static bool read_children(struct context_call *own, struct http_exchange *exchange)
{
    struct api_call *call = &own->call;
    call->read.query =
        (struct list_query){.tenant = call_tenant(call), .parent = own->record.spec->id, .limit = CHILDREN_SHOWN};
    call->answer = answer_children;
    call_post_reader(call, exchange, READ_LIST);
    return false;
}

/* A parent that was deleted tells nothing any more. */
static bool answer_parent(struct api_call *call, struct http_exchange *exchange)
{
    struct context_call *own = (struct context_call *)call;
    own->parent = call->read.record;
    call->read.record = (struct task_record){0};
    return read_children(own, exchange);
}

static bool answer_task(struct api_call *call, struct http_exchange *exchange)
{
    struct context_call *own = (struct context_call *)call;
    if (call->read.result != STORE_OK || !call->read.record.spec) {
        call_reply_unread(call, exchange);
        return true;
    }
    own->record = call->read.record;
    own->history = call->read.history;
    call->read.record = (struct task_record){0};
    call->read.history = (struct task_history){0};
    if (task_id_is_none(own->record.spec->parent))
        return read_children(own, exchange);
    call->id = own->record.spec->parent;
    call->with_history = false;
    call->answer = answer_parent;
    call_post_reader(call, exchange, READ_TASK);
    return false;
}

void on_context(struct visit *visit)
{
    struct task_id id;
    if (!visit_read_nothing(visit) || !visit_read_id(visit, &id))
        return;
    struct api_call *call = call_new(visit, sizeof(struct context_call), answer_task);
    if (!call)
        return;
    call->release = release_context_call;
    call->id = id;
    call->with_history = true;
    call_post_reader(call, visit->exchange, READ_TASK);
}
