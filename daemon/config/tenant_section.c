/* Flow: sections.c -> here -> the engine (limits), api/request_context.c (what a request of the tenant starts with). */
#include "config/tenant_section.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/grammar.h"
#include "config/options.h"
#include "config/printing.h"
#include "config/sections.h"
#include "config/task_section.h"

#define RATE_MAX 1e9

const struct source_shape tenant_shape[] = {{.name = "weight"},
                                            {.name = "max_running"},
                                            {.name = "max_queued"},
                                            {.name = "max_queued_bytes"},
                                            {.name = "max_waiters"},
                                            {.name = "max_connections"},
                                            {.name = "rate"},
                                            {.name = "burst"},
                                            {.name = "context", .list = true},
                                            {.name = "baggage", .list = true},
                                            {.name = "require_headers", .list = true},
                                            {0}};

static void read_real(struct section *s, const char *name, bool zero_too, double *field)
{
    struct config_where where;
    char *end;
    if (!source_is_set(s->cfg, name))
        return;
    const char *text = source_value(s->cfg, name, 0, &where);
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0 || value > RATE_MAX || (value == 0 && !zero_too))
        section_problem(s, name, zero_too ? "must be a number from 0 to 1e9" : "must be a number above 0, at most 1e9");
    else
        *field = value;
}

static void read_bytes(struct section *s, const char *name, int64_t *field)
{
    struct config_where where;
    if (source_is_set(s->cfg, name) && !size_parse(source_value(s->cfg, name, 0, &where), field))
        section_problem(s, name, "must be a number of bytes, such as 64KiB");
}

/* "name=value", the name that of a variable which a submission may set. */
static const char *check_variable(const char *text)
{
    char name[65];
    const char *equals = strchr(text, '=');
    if (!equals || (size_t)(equals - text) >= sizeof name || !equals[1])
        return "must be name=value";
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    for (const char *at = equals + 1; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return "has a control character in its value";
    return check_variable_name(name);
}

/* "key=value", as a member of the baggage header: what is not plain in it is written with percent escapes. */
static const char *check_baggage(const char *text)
{
    static const char not_in_key[] = "()<>@,;:\\\"/[]?={} \t";
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return "must be key=value";
    for (const char *at = text; at < equals; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || strchr(not_in_key, *at))
            return "has a key that is no token";
    for (const char *at = equals + 1; *at; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || strchr(",;\"\\", *at))
            return "has a value with a blank, a comma or the like: write it with percent escapes";
    return NULL;
}

void tenant_section_read(struct config_tenant *tenant, struct section *s)
{
    tenant->name = section_copy(s, s->title);
    tenant->weight = 1;
    read_real(s, "weight", false, &tenant->weight);
    read_real(s, "rate", true, &tenant->rate);
    section_number(s, "burst", 0, 1000000000, &tenant->burst);
    section_number(s, "max_running", 0, 1000000, &tenant->max_running);
    section_number(s, "max_queued", 0, 1000000000, &tenant->max_queued);
    read_bytes(s, "max_queued_bytes", &tenant->max_queued_bytes);
    section_number(s, "max_waiters", 0, 1000000, &tenant->max_waiters);
    section_number(s, "max_connections", 0, 1000000, &tenant->max_connections);
    section_list(s, "context", check_variable, &tenant->context);
    section_list(s, "baggage", check_baggage, &tenant->baggage);
    section_list(s, "require_headers", check_field_name, &tenant->require_headers);
    if (tenant->context.n > CONFIG_TENANT_VARIABLES_MAX || tenant->baggage.n > CONFIG_TENANT_VARIABLES_MAX)
        problems_add(s->problems, s->where, "tenant \"%s\": context and baggage have at most %u members each", s->title,
                     CONFIG_TENANT_VARIABLES_MAX);
    if (tenant->burst && tenant->rate <= 0)
        section_problem(s, "burst", "says nothing without rate");
}

void tenant_section_print(const struct config_tenant *tenant, struct buf *out)
{
    char bytes[SIZE_TEXT_SIZE];
    size_format(tenant->max_queued_bytes, bytes);
    buf_append_str(out, "tenant ");
    config_quote(out, tenant->name);
    buf_printf(out, " { weight = %g max_running = %lld max_queued = %lld max_queued_bytes = \"%s\" max_waiters = %lld",
               tenant->weight, (long long)tenant->max_running, (long long)tenant->max_queued, bytes,
               (long long)tenant->max_waiters);
    buf_printf(out, " max_connections = %lld rate = %g", (long long)tenant->max_connections, tenant->rate);
    if (tenant->burst)
        buf_printf(out, " burst = %lld", (long long)tenant->burst);
    config_print_assignments(out, "context", &tenant->context, '=');
    config_print_assignments(out, "baggage", &tenant->baggage, '=');
    config_print_list(out, "require_headers", &tenant->require_headers);
    buf_append_str(out, " }");
}

void tenant_section_release(struct config_tenant *tenant)
{
    free(tenant->name);
    config_list_release(&tenant->context);
    config_list_release(&tenant->baggage);
    config_list_release(&tenant->require_headers);
}
