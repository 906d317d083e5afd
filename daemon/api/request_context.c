/* Who is calling, and with which variables.  The library reads the trace, the baggage and all variables; the rules
 * that are HTTP's or the operator's are here: which header names the tenant, what is an error and what is left out.
 * Flow: dispatch.c -> caller_read_*; submit.c -> request_context_read -> satchel_extract. */
#include "api/request_context.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"
#include "config/grammar.h"
#include "proto/id.h"
#include "proto/json_out.h"
#include "proto/timetext.h"
#include "task/tenant_defaults.h"

#define FIELDS_INLINE 144u /* the default limit of header lines, and some that are made up */
#define VARIABLES_MAX 64u  /* X-Satchel-Var-* lines */
#define VARIABLE_MAX 8192u

static bool is(struct slice name, const char *other, size_t len)
{
    return name.len == len && strncasecmp(name.data, other, len) == 0;
}

#define IS(name, literal) is((name), literal, sizeof(literal) - 1)

/* ---- the caller ---- */

static bool is_request_id(struct slice value)
{
    if (value.len < 1 || value.len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 0x21 || value.data[i] > 0x7e)
            return false;
    return true;
}

static void make_request_id(struct caller *ret)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[16];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        ret->made[2 * i] = hex[bytes[i] >> 4];
        ret->made[2 * i + 1] = hex[bytes[i] & 15];
    }
    ret->made[32] = '\0';
    ret->made_id = true;
    ret->request_id = slice_of(ret->made, 32);
}

void caller_read_id(const struct http_request *request, struct caller *ret)
{
    ret->made_id = false;
    for (size_t i = 0; i < request->n_fields; i++)
        if (IS(request->fields[i].name, "X-Request-ID")) {
            ret->request_id = request->fields[i].value;
            if (is_request_id(ret->request_id))
                return;
            break;
        }
    make_request_id(ret);
}

static int refuse(struct problem *reterr, enum problem_code code, const char *header, const char *what)
{
    problem_set(reterr, code, "Header %.80s: %s.", header, what);
    return -1;
}

static int take_tenant(const struct http_field *field, const char *header, struct caller *ret, struct problem *reterr)
{
    char text[TENANT_MAX + 2];
    if (field->value.len > TENANT_MAX || (field->value.len && memchr(field->value.data, '\0', field->value.len)))
        return refuse(reterr, PROBLEM_INVALID_TENANT, header, "a tenant has at most 150 bytes");
    if (field->value.len)
        memcpy(text, field->value.data, field->value.len);
    text[field->value.len] = '\0';
    if (check_tenant(text))
        return refuse(reterr, PROBLEM_INVALID_TENANT, header,
                      "a tenant is 1 to 150 bytes of A-Z a-z 0-9 ! - _ . * ' ( ) and not . or ..");
    if (ret->tenant[0] && strcmp(ret->tenant, text) != 0)
        return refuse(reterr, PROBLEM_INVALID_TENANT, header, "two different tenants are named in this request");
    memcpy(ret->tenant, text, sizeof text);
    return 0;
}

static const char *tenant_header(const struct config *config, struct slice name)
{
    if (is(name, config->tenant_header, strlen(config->tenant_header)))
        return config->tenant_header;
    return IS(name, "X-Scope-OrgID") ? "X-Scope-OrgID" : NULL;
}

int caller_read_named_tenant(const struct http_request *request, const struct config *config, struct caller *ret,
                             struct problem *reterr)
{
    ret->tenant[0] = '\0';
    ret->default_tenant = false;
    for (size_t i = 0; i < request->n_fields; i++) {
        const char *header = tenant_header(config, request->fields[i].name);
        if (header && take_tenant(&request->fields[i], header, ret, reterr) < 0)
            return -1;
    }
    return 0;
}

int caller_read_tenant(const struct http_request *request, const struct config *config, struct caller *ret,
                       struct problem *reterr)
{
    if (caller_read_named_tenant(request, config, ret, reterr) < 0)
        return -1;
    if (ret->tenant[0])
        return 0;
    if (config->require_tenant) {
        problem_set(reterr, PROBLEM_MISSING_TENANT, "Name the tenant in the header %.80s.", config->tenant_header);
        return -1;
    }
    size_t len = strnlen(config->default_tenant, TENANT_MAX);
    memcpy(ret->tenant, config->default_tenant, len);
    ret->tenant[len] = '\0';
    ret->default_tenant = true;
    return 0;
}

/* ---- variables of configured headers ---- */

static const struct config_header *configured(const struct config *config, struct slice name)
{
    for (size_t i = 0; i < config->n_headers; i++)
        if (is(name, config->headers[i].header, strlen(config->headers[i].header)))
            return &config->headers[i];
    return NULL;
}

struct header_variables {
    atomic_size_t n_retired; /* of the list: what the configuration does not name any more */
    pthread_mutex_t lock;    /* guards what follows */
    struct held {
        satchel_var *var; /* a reference */
        bool secret, retired;
        size_t max_len;
    } * list;
    size_t n;
};

struct header_variables *header_variables_new(void)
{
    struct header_variables *variables = calloc(1, sizeof *variables);
    if (variables)
        (void)pthread_mutex_init(&variables->lock, NULL);
    return variables;
}

void header_variables_free(struct header_variables *variables)
{
    if (!variables)
        return;
    for (size_t i = 0; i < variables->n; i++)
        satchel_var_unref(variables->list[i].var);
    free(variables->list);
    (void)pthread_mutex_destroy(&variables->lock);
    free(variables);
}

static const struct held *held_of(const struct header_variables *variables, const char *header)
{
    for (size_t i = 0; i < variables->n; i++)
        if (strcasecmp(satchel_var_header(variables->list[i].var), header) == 0)
            return &variables->list[i];
    return NULL;
}

static int hold(struct header_variables *variables, const struct config_header *header)
{
    const struct held *held = held_of(variables, header->header);
    if (held) {
        if (held->secret != header->secret || held->max_len != header->max_len ||
            strcmp(satchel_var_name(held->var), header->variable) != 0)
            LOG_WARNING("a header's changed settings take effect at the next start",
                        LOG_TEXT("header", header->header));
        return 0;
    }
    struct held *list = realloc(variables->list, (variables->n + 1) * sizeof *list);
    if (!list)
        return -ENOMEM;
    variables->list = list;
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = header->variable,
                             .type = &satchel_string_type,
                             .header = header->header,
                             .max_len = header->max_len,
                             .flags = SATCHEL_VAR_WIRE | (header->secret ? SATCHEL_VAR_SECRET : 0u)};
    satchel_var *var;
    int status = satchel_var_new(&spec, &var);
    if (status != SATCHEL_OK) {
        LOG_ERROR("a configured header cannot become a variable", LOG_TEXT("header", header->header),
                  LOG_TEXT("reason", satchel_strerror(status)));
        return status == SATCHEL_ENOMEM ? -ENOMEM : 0;
    }
    list[variables->n++] = (struct held){.var = var, .secret = header->secret, .max_len = header->max_len};
    return 0;
}

/* The library knows a variable for good: what a reload has taken out is left out here. */
static size_t retire(struct header_variables *variables, const struct config *config)
{
    size_t n = 0;
    for (size_t i = 0; i < variables->n; i++) {
        struct held *held = &variables->list[i];
        held->retired = !configured(config, slice_str(satchel_var_header(held->var)));
        n += held->retired;
    }
    return n;
}

int header_variables_update(struct header_variables *variables, const struct config *config)
{
    int err = 0;
    (void)pthread_mutex_lock(&variables->lock);
    for (size_t i = 0; i < config->n_headers && !err; i++)
        err = hold(variables, &config->headers[i]);
    atomic_store(&variables->n_retired, retire(variables, config));
    (void)pthread_mutex_unlock(&variables->lock);
    return err;
}

static bool is_retired(struct header_variables *variables, struct slice name)
{
    bool retired = false;
    if (!variables || !atomic_load(&variables->n_retired))
        return false;
    (void)pthread_mutex_lock(&variables->lock);
    for (size_t i = 0; i < variables->n && !retired; i++) {
        const char *header = satchel_var_header(variables->list[i].var);
        retired = variables->list[i].retired && is(name, header, strlen(header));
    }
    (void)pthread_mutex_unlock(&variables->lock);
    return retired;
}

/* ---- the context of a submission ---- */

struct carrier {
    const struct config *config;
    struct header_variables *variables;
    satchel_field *fields, inline_fields[FIELDS_INLINE];
    size_t n;
    unsigned n_variables;
    bool deadline_seen;
};

static void put(struct carrier *c, const char *name, size_t name_len, struct slice value)
{
    c->fields[c->n++] = (satchel_field){
        .name = name, .name_len = name_len, .value = value.data ? value.data : "", .value_len = value.len};
}

/* Values are stored as JSON: what is not UTF-8 would come back as something else. */
static bool is_utf8(struct slice value)
{
    bool ascii = true;
    for (size_t i = 0; i < value.len && ascii; i++)
        ascii = (unsigned char)value.data[i] < 0x80;
    if (ascii)
        return true;
    json_t *text = json_stringn(value.data, value.len);
    json_decref(text);
    return text != NULL;
}

/* X-Satchel-Var-NAME: the same rules as for the body's variables. */
static int check_variable(const struct carrier *c, struct slice name, struct slice value, struct problem *reterr)
{
    char header[96] = "X-Satchel-Var-", *variable = header + strlen(header);
    size_t prefix = strlen(header);
    satchel_var *var;
    if (name.len - prefix > 64)
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, "X-Satchel-Var-...",
                      "the name of a variable has at most 64 characters");
    for (size_t i = prefix; i < name.len; i++)
        header[i] = (char)tolower((unsigned char)name.data[i]);
    header[name.len] = '\0';
    for (size_t i = 0; i < c->config->n_headers; i++)
        if (strcmp(variable, c->config->headers[i].variable) == 0)
            return refuse(reterr, PROBLEM_INVALID_PARAMETER, header, "this variable is taken from another header");
    int status = satchel_variable(variable, &var);
    if (status == SATCHEL_OK)
        satchel_var_unref(var);
    else if (status == SATCHEL_EINVAL)
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, header,
                      "a variable's name is a lower-case letter and up to 63 of a-z 0-9 _ . -, and not one of "
                      "satcheld's own");
    if (value.len > VARIABLE_MAX)
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, header, "a variable's value has at most 8192 bytes");
    if (!is_utf8(value))
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, header, "its value is not UTF-8");
    return 0;
}

static int take_deadline(struct carrier *c, struct slice value, struct problem *reterr)
{
    int64_t us;
    if (c->deadline_seen)
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, "X-Satchel-Deadline", "it is given more than once");
    if (!timestamp_parse(value.data ? value.data : "", value.len, &us))
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, "X-Satchel-Deadline",
                      "it must be an RFC 3339 time, such as 2026-01-02T03:04:05Z");
    c->deadline_seen = true;
    put(c, "X-Satchel-Deadline", sizeof "X-Satchel-Deadline" - 1, value);
    return 0;
}

/* Fields that every client sends and that are no variables, by length: the others go to the library, which knows the
 * variables of plugins too. */
static bool is_plain(struct slice name)
{
    switch (name.len) {
    case 4: return IS(name, "Host");
    case 6: return IS(name, "Accept") || IS(name, "Prefer") || IS(name, "Expect") || IS(name, "Cookie");
    case 10: return IS(name, "User-Agent") || IS(name, "Connection");
    case 12: return IS(name, "Content-Type") || IS(name, "X-Request-ID");
    case 13: return IS(name, "Authorization");
    case 14: return IS(name, "Content-Length");
    case 15: return IS(name, "Idempotency-Key") || IS(name, "Accept-Encoding") || IS(name, "Accept-Language");
    case 17: return IS(name, "Transfer-Encoding");
    default: return false;
    }
}

static int take_field(struct carrier *c, const struct http_field *field, struct problem *reterr)
{
    struct slice name = field->name;
    const struct config_header *header = configured(c->config, name);
    if (!header) {
        if (is_plain(name) || tenant_header(c->config, name) || is_retired(c->variables, name))
            return 0;
        if (IS(name, "X-Satchel-Deadline"))
            return take_deadline(c, field->value, reterr);
        if (name.len > 14 && strncasecmp(name.data, "X-Satchel-Var-", 14) == 0) {
            if (++c->n_variables > VARIABLES_MAX)
                return refuse(reterr, PROBLEM_INVALID_PARAMETER, "X-Satchel-Var-...",
                              "there may be at most 64 variables");
            if (check_variable(c, name, field->value, reterr) < 0)
                return -1;
        }
    } else if (header->max_len && field->value.len > header->max_len) {
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, header->header, "its value is longer than configured");
    } else if (!is_utf8(field->value)) {
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, header->header, "its value is not UTF-8");
    }
    put(c, name.data, name.len, field->value);
    return 0;
}

static bool is_variable(struct slice name)
{
    return name.len >= 14 && strncasecmp(name.data, "X-Satchel-Var-", 14) == 0;
}

static bool given_before(const struct carrier *c, size_t index)
{
    const satchel_field *field = &c->fields[index];
    for (size_t i = 0; i < index; i++)
        if (is(slice_of(c->fields[i].name, c->fields[i].name_len), field->name, field->name_len))
            return true;
    return false;
}

/* The library tells that a task variable was left out, but not which: each is looked at alone. */
static int refuse_variable(const struct carrier *c, struct problem *reterr)
{
    char header[96] = "X-Satchel-Var-";
    const char *what = "its value is not valid";
    for (size_t i = 0; i < c->n; i++) {
        const satchel_field *field = &c->fields[i];
        satchel_context *alone = NULL;
        size_t n_problems = 0;
        if (!is_variable(slice_of(field->name, field->name_len)))
            continue;
        bool twice = given_before(c, i);
        bool bad = twice || satchel_extract(field, 1, &alone, NULL, &n_problems) != SATCHEL_OK || n_problems;
        satchel_context_unref(alone);
        if (!bad)
            continue;
        memcpy(header, field->name, field->name_len); /* at most 64 behind the prefix: checked */
        header[field->name_len] = '\0';
        what = twice ? "it is given twice" : what;
        break;
    }
    return refuse(reterr, PROBLEM_INVALID_PARAMETER, header, what);
}

/* What the library left out: trace and baggage silently, as the W3C says; variables never. */
static int check_left_out(const struct carrier *c, const satchel_problem *problems, size_t n, struct problem *reterr)
{
    for (size_t i = 0; i < n; i++) {
        struct slice name = slice_str(problems[i].name);
        if (is_variable(name))
            return refuse_variable(c, reterr);
        if (configured(c->config, name))
            return refuse(reterr, PROBLEM_INVALID_PARAMETER, problems[i].name,
                          problems[i].status == SATCHEL_ELIMIT ? "its value is too long"
                                                               : "its value is not valid, or it is given twice");
    }
    return 0;
}

struct origin_writer {
    struct json_out j;
    const struct caller *caller;
    const struct tenant_defaults *defaults;
};

static int write_origin(satchel_var *var, void *data, void *arg)
{
    (void)data;
    struct origin_writer *w = arg;
    const char *origin = "header";
    if (var == satchel_known_var(SATCHEL_TENANT) && w->caller->default_tenant)
        origin = "config";
    else if (var == satchel_known_var(SATCHEL_REQUEST_ID) && w->caller->made_id)
        origin = "generated";
    else if (tenant_defaults_gave(w->defaults, satchel_var_name(var)))
        origin = "config";
    json_out_member(&w->j, satchel_var_name(var), slice_str(origin));
    return 0;
}

static int out_of_memory(struct problem *reterr)
{
    problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
    reterr->retry_after_s = 1;
    return -1;
}

static int extract(struct carrier *c, const struct caller *caller, const struct tenant_defaults *defaults,
                   struct request_context *ret, struct problem *reterr)
{
    satchel_problem problems[16];
    size_t n_problems = sizeof problems / sizeof problems[0];
    int status = satchel_extract(c->fields, c->n, &ret->context, problems, &n_problems);
    if (status == SATCHEL_ENOMEM)
        return out_of_memory(reterr);
    if (status != SATCHEL_OK)
        return refuse(reterr, PROBLEM_INVALID_PARAMETER, "(context)", satchel_strerror(status));
    n_problems = n_problems < 16 ? n_problems : 16;
    if (check_left_out(c, problems, n_problems, reterr) < 0)
        return -1;
    struct origin_writer w = {json_out_to(&ret->origins), caller, defaults};
    json_out_begin_object(&w.j);
    (void)satchel_context_each(ret->context, write_origin, &w);
    json_out_end_object(&w.j);
    return buf_ok(&ret->origins) ? 0 : out_of_memory(reterr);
}

static int check_required(const struct http_request *request, const struct config_tenant *section,
                          struct problem *reterr)
{
    for (size_t i = 0; section && i < section->require_headers.n; i++) {
        unsigned n = 0;
        (void)http_find(request, section->require_headers.items[i], &n);
        if (n == 0)
            return refuse(reterr, PROBLEM_INVALID_PARAMETER, section->require_headers.items[i],
                          "submissions of this tenant must have it");
    }
    return 0;
}

int request_context_read(const struct http_request *request, const struct config *config,
                         struct header_variables *variables, const struct caller *caller, struct request_context *ret,
                         struct problem *reterr)
{
    *ret = (struct request_context){0};
    struct carrier c = {.config = config, .variables = variables};
    struct tenant_defaults defaults = {0};
    const struct config_tenant *section = config_tenant(config, caller->tenant);
    size_t room = request->n_fields + 2 + tenant_defaults_room(section);
    c.fields = c.inline_fields;
    if (room > FIELDS_INLINE)
        c.fields = malloc(room * sizeof *c.fields);
    if (!c.fields)
        return out_of_memory(reterr);
    int result = check_required(request, section, reterr);
    for (size_t i = 0; i < request->n_fields && result == 0; i++)
        result = take_field(&c, &request->fields[i], reterr);
    if (result == 0) {
        const char *tenant = satchel_var_header(satchel_known_var(SATCHEL_TENANT));
        put(&c, tenant, strlen(tenant), slice_str(caller->tenant));
        put(&c, "X-Request-ID", sizeof "X-Request-ID" - 1, caller->request_id);
        if (!tenant_defaults_add(config, section, c.fields, &c.n, &defaults))
            result = out_of_memory(reterr);
        else
            result = extract(&c, caller, &defaults, ret, reterr);
        tenant_defaults_release(&defaults);
    }
    if (c.fields != c.inline_fields)
        free(c.fields);
    if (result < 0)
        request_context_release(ret);
    return result;
}

void request_context_release(struct request_context *context)
{
    satchel_context_unref(context->context);
    buf_release(&context->origins);
    context->context = NULL;
}
