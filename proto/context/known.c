/* The well-known variables: their table, their names on the wire, and what may be bound to them.
 *
 * They are static objects that are never counted and never freed.  Their header names are set before the first thread
 * is started (satchel_configure_header) and only read afterwards.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

#define KNOWN(slot_, name_, type_, header_, key_, max_, make_)                                                         \
    [slot_] = {.refs = 1,                                                                                              \
               .slot = (slot_),                                                                                        \
               .flags = SATCHEL_VAR_WIRE,                                                                              \
               .type = &(type_),                                                                                       \
               .name = (char *)(uintptr_t)(name_),                                                                     \
               .header = (char *)(uintptr_t)(header_),                                                                 \
               .header_len = sizeof(header_) - 1,                                                                      \
               .key = (char *)(uintptr_t)(key_),                                                                       \
               .max_len = (max_),                                                                                      \
               .make = (make_)}
#define LIST_MAX 65536u /* bytes of a combined list that are looked at; the lists have limits of their own */

satchel_var known_vars[SLOT_COUNT] = {
    KNOWN(SATCHEL_TENANT, "tenant", satchel_string_type, "X-Tenant-ID", "x-tenant-id", 150, make_tenant),
    KNOWN(SATCHEL_TRACEPARENT, "traceparent", trace_type, "traceparent", "traceparent", 1024, make_traceparent),
    KNOWN(SATCHEL_TRACESTATE, "tracestate", satchel_string_type, "tracestate", "tracestate", LIST_MAX, make_tracestate),
    KNOWN(SATCHEL_BAGGAGE, "baggage", satchel_string_type, "baggage", "baggage", LIST_MAX, make_baggage),
    KNOWN(SATCHEL_REQUEST_ID, "request_id", satchel_string_type, "X-Request-ID", "x-request-id", 255, make_visible),
    KNOWN(SATCHEL_CORRELATION_ID, "correlation_id", satchel_string_type, "X-Correlation-ID", "x-correlation-id", 255,
          make_visible),
    KNOWN(SATCHEL_TASK_ID, "task_id", satchel_string_type, "X-Satchel-Task-ID", "x-satchel-task-id", 255, make_visible),
    KNOWN(SATCHEL_DEADLINE, "deadline", deadline_type, "X-Satchel-Deadline", "x-satchel-deadline", 64, make_deadline),
    KNOWN(SATCHEL_ATTEMPT, "attempt", satchel_string_type, "X-Satchel-Attempt", "x-satchel-attempt", 10, make_number),
    KNOWN(SLOT_B3_FLAGS, "b3_flags", satchel_string_type, "X-B3-Flags", "x-b3-flags", 1, make_number),
    [SLOT_CANCEL] = {.refs = 1, .slot = SLOT_CANCEL, .type = &cancel_type, .name = (char *)(uintptr_t) "cancel"},
};

/* A bit per length (modulo 64) that a header name has: most names of a request fail here. */
static _Atomic uint64_t lengths;

static uint64_t length_bits(void)
{
    uint64_t bits = atomic_load_explicit(&lengths, memory_order_relaxed);
    if (!bits) {
        for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++)
            bits |= UINT64_C(1) << (known_vars[i].header_len % 64);
        atomic_store_explicit(&lengths, bits, memory_order_relaxed);
    }
    return bits;
}

satchel_var *known_by_header(const char *name, size_t len)
{
    if (!(length_bits() & UINT64_C(1) << (len % 64)))
        return NULL;
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++)
        if (known_vars[i].header_len == len && same_name(name, len, known_vars[i].header, len))
            return &known_vars[i];
    return NULL;
}

satchel_var *known_by_key(const char *key, size_t len)
{
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        if (known_vars[i].key && strlen(known_vars[i].key) == len && memcmp(known_vars[i].key, key, len) == 0)
            return &known_vars[i];
    return NULL;
}

satchel_var *satchel_known_var(satchel_known which)
{
    return &known_vars[(unsigned)which < SATCHEL_KNOWN_COUNT ? (unsigned)which : 0];
}

int satchel_configure_header(satchel_known which, const char *field_name)
{
    if ((unsigned)which >= SATCHEL_KNOWN_COUNT || !field_name || !is_field_name(field_name))
        return SATCHEL_EINVAL;
    size_t len = strlen(field_name);
    static const char scope[] = "X-Scope-OrgID", prefix[] = TASK_VAR_PREFIX;
    satchel_var *there = known_by_header(field_name, len), *made = registry_find(field_name, len);
    bool taken = (there && there != &known_vars[which]) || made ||
                 (which != SATCHEL_TENANT && same_name(field_name, len, scope, sizeof scope - 1)) ||
                 (len >= sizeof prefix - 1 && same_name(field_name, sizeof prefix - 1, prefix, sizeof prefix - 1));
    satchel_var_unref(made);
    if (taken)
        return SATCHEL_EEXIST;
    char *copy = strdup(field_name); /* kept for the life of the process, as the variable is */
    if (!copy)
        return SATCHEL_ENOMEM;
    known_vars[which].header = copy;
    known_vars[which].header_len = len;
    atomic_store_explicit(&lengths, 0, memory_order_relaxed);
    return SATCHEL_OK;
}

static int from_string(const satchel_var *var, satchel_value *value, satchel_value **out)
{
    satchel_value *made;
    if (!var->make || !value->data)
        return SATCHEL_EINVAL;
    int status = var->make(value->data, strlen(value->data), &made);
    if (status != SATCHEL_OK)
        return status;
    if (made->type == value->type && strcmp(made->data, value->data) == 0) { /* good as it is: the same box */
        value_unref(made);
        made = value_ref(value);
    }
    *out = made;
    return SATCHEL_OK;
}

int known_value(const satchel_var *var, satchel_value *value, satchel_value *held, satchel_value **out)
{
    satchel_value *taken = NULL;
    if (value->type == &satchel_string_type) {
        int status = from_string(var, value, &taken);
        if (status != SATCHEL_OK)
            return status;
    } else if (value->type == var->type) {
        taken = value_ref(value);
    } else {
        return SATCHEL_EINVAL;
    }
    if (var->slot == SATCHEL_DEADLINE && held && deadline_earlier(held, taken) == held) {
        value_unref(taken);
        taken = value_ref(held);
    }
    *out = taken;
    return SATCHEL_OK;
}

/* ---- the plain ones ---- */

int make_tenant(const char *text, size_t len, satchel_value **out)
{
    static const char extra[] = "!-_.*'()";
    if (len < 1 || (len == 1 && text[0] == '.') || (len == 2 && text[0] == '.' && text[1] == '.'))
        return SATCHEL_EGRAMMAR;
    if (len > 150)
        return SATCHEL_ELIMIT;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || !strchr(extra, c)))
            return SATCHEL_EGRAMMAR;
    }
    return satchel_value_string(text, len, out);
}

int make_visible(const char *text, size_t len, satchel_value **out) /* request id, correlation id, task id */
{
    if (len < 1)
        return SATCHEL_EGRAMMAR;
    if (len > 255)
        return SATCHEL_ELIMIT;
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x21 || text[i] > 0x7e)
            return SATCHEL_EGRAMMAR;
    return satchel_value_string(text, len, out);
}

int make_number(const char *text, size_t len, satchel_value **out)
{
    if (len < 1)
        return SATCHEL_EGRAMMAR;
    if (len > 10)
        return SATCHEL_ELIMIT;
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return SATCHEL_EGRAMMAR;
    return satchel_value_string(text, len, out);
}
