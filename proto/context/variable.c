/* Variables: keys with identity.  The registry of those that travel, by wire field name.
 *
 * The registry refers to variables weakly: a variable leaves it when its last reference goes.  The lock guards the
 * chains; a look-up takes its reference under the lock, and only if the count is not zero yet.
 * Thread: any. */
#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

#define BUCKETS 1024u
#define DEFAULT_MAX_LEN 256u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards buckets and every next_wire */
static satchel_var *buckets[BUCKETS];

#define KNOWN(slot_, name_, type_, header_, max_, flags_)                                                              \
    [slot_] = {.refs = 1,                                                                                              \
               .slot = (slot_),                                                                                        \
               .immortal = true,                                                                                       \
               .flags = (flags_),                                                                                      \
               .id = (slot_),                                                                                          \
               .type = &(type_),                                                                                       \
               .name = (char *)(uintptr_t)(name_),                                                                     \
               .header = (char *)(uintptr_t)(header_),                                                                 \
               .max_len = (max_)}

satchel_var known_vars[SLOT_COUNT] = {
    KNOWN(SATCHEL_TENANT, "tenant", tenant_type, "X-Tenant-ID", 150, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_TRACEPARENT, "traceparent", trace_type, "traceparent", 1024, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_TRACESTATE, "tracestate", tracestate_type, "tracestate", 65536, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_BAGGAGE, "baggage", baggage_type, "baggage", 65536, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_REQUEST_ID, "request_id", request_id_type, "X-Request-ID", 255, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_CORRELATION_ID, "correlation_id", request_id_type, "X-Correlation-ID", 255, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_TASK_ID, "task_id", task_id_type, "X-Satchel-Task-ID", 64, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_DEADLINE, "deadline", deadline_type, "X-Satchel-Deadline", 64, SATCHEL_VAR_WIRE),
    KNOWN(SATCHEL_ATTEMPT, "attempt", attempt_type, "X-Satchel-Attempt", 16, SATCHEL_VAR_WIRE),
    KNOWN(SLOT_CANCEL, "cancel", cancel_type, NULL, 0, 0),
};

satchel_var *satchel_known_var(satchel_known which)
{
    return &known_vars[(unsigned)which < SATCHEL_KNOWN_COUNT ? (unsigned)which : 0];
}

/* ---- names ---- */

static bool is_token(const char *text)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";
    if (!*text)
        return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(extra, *text))
            return false;
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool header_equal(const char *a, size_t a_len, const char *b)
{
    for (size_t i = 0; i < a_len; i++)
        if (lower(a[i]) != lower(b[i])) /* a NUL in b ends it here */
            return false;
    return b[a_len] == '\0';
}

static unsigned bucket_of(const char *header, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)lower(header[i])) * 16777619u;
    return (h ^ h >> 15) % BUCKETS;
}

static satchel_var *known_by_header(const char *name, size_t len)
{
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++)
        if (header_equal(name, len, known_vars[i].header))
            return &known_vars[i];
    return NULL;
}

/* Takes a reference unless the variable is already on its way out. */
static bool try_ref(satchel_var *var)
{
    unsigned refs = atomic_load_explicit(&var->refs, memory_order_relaxed);
    while (refs)
        if (atomic_compare_exchange_weak_explicit(&var->refs, &refs, refs + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static satchel_var *find_locked(const char *name, size_t len)
{
    for (satchel_var *var = buckets[bucket_of(name, len)]; var; var = var->next_wire)
        if (header_equal(name, len, var->header) && try_ref(var))
            return var;
    return NULL;
}

static void unregister_locked(satchel_var *var)
{
    satchel_var **at = &buckets[bucket_of(var->header, strlen(var->header))];
    while (*at && *at != var)
        at = &(*at)->next_wire;
    if (*at)
        *at = var->next_wire;
}

/* ---- life ---- */

static void var_destroy(satchel_var *var)
{
    satchel_value_unref(var->dflt);
    free(var->name);
    free(var->header);
    free(var);
    count_add(COUNT_VARS, -1);
}

/* Registers under the lock; the existing holder of the name is returned instead (referenced), or NULL. */
static satchel_var *register_or_find(satchel_var *var)
{
    size_t len = strlen(var->header);
    (void)pthread_mutex_lock(&lock);
    satchel_var *there = find_locked(var->header, len);
    if (!there) {
        unsigned bucket = bucket_of(var->header, len);
        var->next_wire = buckets[bucket];
        buckets[bucket] = var;
    }
    (void)pthread_mutex_unlock(&lock);
    return there;
}

static int var_make(const satchel_var_spec *spec, bool interned, satchel_var **out)
{
    satchel_var *var = calloc(1, sizeof *var);
    if (!var)
        return SATCHEL_ENOMEM;
    count_add(COUNT_VARS, 1);
    atomic_init(&var->refs, 1);
    var->slot = SLOT_NONE;
    var->interned = interned;
    var->flags = spec->flags;
    var->id = unique_id();
    var->type = spec->type;
    var->max_len = spec->max_len ? spec->max_len : DEFAULT_MAX_LEN;
    var->name = strdup(spec->name);
    bool wire = spec->flags & SATCHEL_VAR_WIRE;
    if (wire)
        var->header = strdup(spec->header ? spec->header : spec->name);
    if (!var->name || (wire && !var->header)) {
        var_destroy(var);
        return SATCHEL_ENOMEM;
    }
    *out = var;
    return SATCHEL_OK;
}

static int check_spec(const satchel_var_spec *spec)
{
    if (!spec || spec->struct_size < sizeof *spec || !spec->name || !*spec->name || strlen(spec->name) > 255)
        return SATCHEL_EINVAL;
    if (!(spec->flags & SATCHEL_VAR_WIRE))
        return SATCHEL_OK;
    const char *header = spec->header ? spec->header : spec->name;
    if (!is_token(header) || strlen(header) > 255 || !spec->type || !spec->type->encode || !spec->type->decode)
        return SATCHEL_EINVAL;
    if (known_by_header(header, strlen(header)) || header_equal(header, strlen(header), "X-Scope-OrgID"))
        return SATCHEL_EEXIST;
    return SATCHEL_OK;
}

int satchel_var_new(const satchel_var_spec *spec, satchel_var **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    int status = check_spec(spec);
    satchel_var *var = NULL;
    if (status == SATCHEL_OK)
        status = var_make(spec, false, &var);
    if (status != SATCHEL_OK)
        return status;
    if (spec->flags & SATCHEL_VAR_DEFAULT) {
        status = satchel_value_new(spec->type, spec->default_data, &var->dflt);
        if (status != SATCHEL_OK) {
            var_destroy(var);
            return status;
        }
    }
    satchel_var *there = var->header ? register_or_find(var) : NULL;
    if (there) {
        satchel_var_unref(there);
        if (var->dflt) { /* on failure the data stays the caller's */
            free(var->dflt);
            var->dflt = NULL;
            count_add(COUNT_VALUES, -1);
        }
        var_destroy(var);
        return SATCHEL_EEXIST;
    }
    *out = var;
    return SATCHEL_OK;
}

int satchel_var_string(const char *name, const char *dflt, const char *header, satchel_var **out)
{
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = name,
                             .type = &satchel_string_type,
                             .header = header,
                             .flags = header ? SATCHEL_VAR_WIRE : 0u};
    if (dflt) {
        spec.flags |= SATCHEL_VAR_DEFAULT;
        spec.default_data = strdup(dflt);
        if (!spec.default_data)
            return SATCHEL_ENOMEM;
    }
    int status = satchel_var_new(&spec, out);
    if (status != SATCHEL_OK)
        free(spec.default_data);
    return status;
}

satchel_var *satchel_var_ref(satchel_var *var)
{
    if (var && !var->immortal)
        atomic_fetch_add_explicit(&var->refs, 1, memory_order_relaxed);
    return var;
}

void satchel_var_unref(satchel_var *var)
{
    if (!var || var->immortal || atomic_fetch_sub_explicit(&var->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (var->header) { /* nobody can find it any more: a count of zero is not revived */
        (void)pthread_mutex_lock(&lock);
        unregister_locked(var);
        (void)pthread_mutex_unlock(&lock);
    }
    var_destroy(var);
}

const char *satchel_var_name(const satchel_var *var)
{
    return var ? var->name : NULL;
}

const char *satchel_var_header(const satchel_var *var)
{
    return var ? var->header : NULL;
}

unsigned satchel_var_flags(const satchel_var *var)
{
    return var ? var->flags : 0;
}

bool satchel_var_is_task_variable(const satchel_var *var)
{
    return var && var->interned;
}

int satchel_var_default(const satchel_var *var, void **data)
{
    if (!var || !data)
        return SATCHEL_EINVAL;
    *data = var->dflt ? var->dflt->data : NULL;
    return var->dflt ? SATCHEL_OK : SATCHEL_UNSET;
}

/* ---- variables of the submission's body ---- */

static bool is_body_name(const char *name)
{
    static const char *const reserved[] = {"tenant",         "traceparent", "tracestate", "baggage", "request_id",
                                           "correlation_id", "deadline",    "task_id",    "attempt"};
    size_t len = strlen(name);
    if (len < 1 || len > 64 || name[0] < 'a' || name[0] > 'z')
        return false;
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '.' || *c == '-'))
            return false;
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strcmp(name, reserved[i]) == 0)
            return false;
    return true;
}

int satchel_variable(const char *name, satchel_var **out)
{
    if (!name || !out || !is_body_name(name))
        return SATCHEL_EINVAL;
    char header[sizeof BODY_VAR_PREFIX + 64];
    size_t prefix = sizeof BODY_VAR_PREFIX - 1, len = strlen(name);
    memcpy(header, BODY_VAR_PREFIX, prefix);
    memcpy(header + prefix, name, len + 1);
    (void)pthread_mutex_lock(&lock);
    satchel_var *var = find_locked(header, prefix + len);
    (void)pthread_mutex_unlock(&lock);
    if (!var) {
        satchel_var_spec spec = {.struct_size = sizeof spec,
                                 .name = name,
                                 .type = &satchel_string_type,
                                 .header = header,
                                 .max_len = BODY_VAR_MAX,
                                 .flags = SATCHEL_VAR_WIRE};
        satchel_var *made;
        int status = var_make(&spec, true, &made);
        if (status != SATCHEL_OK)
            return status;
        var = register_or_find(made);
        if (var)
            var_destroy(made); /* somebody was quicker */
        else
            var = made;
    }
    *out = var;
    return SATCHEL_OK;
}

/* ---- the wire's view ---- */

satchel_var *var_by_header(const char *name, size_t len)
{
    satchel_var *known = known_by_header(name, len);
    if (known)
        return known;
    (void)pthread_mutex_lock(&lock);
    satchel_var *var = find_locked(name, len);
    (void)pthread_mutex_unlock(&lock);
    size_t prefix = sizeof BODY_VAR_PREFIX - 1;
    if (var || len <= prefix || len - prefix > 64 || !header_equal(name, prefix, BODY_VAR_PREFIX))
        return var;
    char body_name[65];
    for (size_t i = prefix; i < len; i++)
        body_name[i - prefix] = lower(name[i]);
    body_name[len - prefix] = '\0';
    return satchel_variable(body_name, &var) == SATCHEL_OK ? var : NULL;
}

/* The registered variables one by one (for reading an environment).  Order and completeness during changes are not
 * promised; the caller holds a reference of each while it looks at it. */
satchel_var *var_each_wire(satchel_var *last)
{
    unsigned bucket = last ? bucket_of(last->header, strlen(last->header)) : 0;
    satchel_var *found = NULL;
    (void)pthread_mutex_lock(&lock);
    satchel_var *at = last ? last->next_wire : buckets[0];
    for (;;) {
        while (at && !try_ref(at))
            at = at->next_wire;
        if (at || ++bucket == BUCKETS)
            break;
        at = buckets[bucket];
    }
    found = at;
    (void)pthread_mutex_unlock(&lock);
    satchel_var_unref(last);
    return found;
}

int satchel_configure_header(satchel_known which, const char *field_name)
{
    if ((unsigned)which >= SATCHEL_KNOWN_COUNT || !field_name || !is_token(field_name) || strlen(field_name) > 255)
        return SATCHEL_EINVAL;
    satchel_var *there = known_by_header(field_name, strlen(field_name));
    if (there && there != &known_vars[which])
        return SATCHEL_EEXIST;
    char *copy = strdup(field_name); /* kept for the life of the process, as the variable is */
    if (!copy)
        return SATCHEL_ENOMEM;
    known_vars[which].header = copy;
    return SATCHEL_OK;
}

int var_decode(const satchel_var *var, const char *text, size_t len, satchel_value **out)
{
    if (len > var->max_len)
        return SATCHEL_ELIMIT;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\r' || text[i] == '\n' || text[i] == '\0')
            return SATCHEL_EGRAMMAR;
    return value_decode(var->type, text, len, out);
}
