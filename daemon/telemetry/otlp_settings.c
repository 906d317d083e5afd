/* Flow: subsystems.c -> here -> otlp.c.  A setting wins over the environment, there the variable for traces over the
 * general one; an empty variable counts as not set. */
#include "telemetry/otlp_settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#define PAIRS_MAX 64u
#define TIMEOUT_US INT64_C(10000000)
#define DELAY_US INT64_C(1000000)
#define QUEUE 4096u
#define BATCH 512u
#define QUEUE_MAX 1000000
#define BATCH_MAX 8192

struct reading {
    const struct otlp_given *given;
    const char *(*environment)(const char *name);
    void (*warn)(const char *name, const char *why);
    struct otlp_settings *to;
    bool no_memory;
};

static const char *variable(const struct reading *r, const char *name)
{
    const char *text = r->environment(name);
    return text && *text ? text : NULL;
}

/* ---- lists of pairs ---- */

/* -1: no digit. */
static int digit(char c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return !at ? -1 : at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

/* Percent-decoded and without the blanks around it, malloced; what is no valid escape stays as it is. */
static char *decode(const char *text, size_t len)
{
    while (len && isspace((unsigned char)*text))
        text++, len--;
    while (len && isspace((unsigned char)text[len - 1]))
        len--;
    char *out = malloc(len + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int high = text[i] == '%' && i + 2 < len ? digit(text[i + 1]) : -1;
        int low = high >= 0 ? digit(text[i + 2]) : -1;
        if (low >= 0)
            out[n++] = (char)(unsigned char)(high * 16 + low);
        else
            out[n++] = text[i];
        i += low >= 0 ? 2 : 0;
    }
    out[n] = '\0';
    return out;
}

static bool is_token(const char *text)
{
    for (const char *at = text; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("!#$%&'*+-.^_`|~", *at))
            return false;
    return *text != '\0';
}

static bool is_visible(const char *text)
{
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return false;
    return true;
}

static void pair_release(struct otlp_pair *pair)
{
    free(pair->key);
    free(pair->value);
    *pair = (struct otlp_pair){0};
}

/* Adds, or replaces the value of a key that is there. */
static void add_pair(struct reading *r, struct otlp_pair **pairs, size_t *n, struct otlp_pair pair)
{
    for (size_t i = 0; i < *n; i++) {
        if (strcmp((*pairs)[i].key, pair.key) == 0) {
            pair_release(&(*pairs)[i]);
            (*pairs)[i] = pair;
            return;
        }
    }
    struct otlp_pair *grown = realloc(*pairs, (*n + 1) * sizeof *grown);
    if (!grown) {
        r->no_memory = true;
        pair_release(&pair);
        return;
    }
    *pairs = grown;
    grown[(*n)++] = pair;
}

/* "key=value,key=value" of `name`; keys of headers are tokens.  A bad member is left out and told. */
static void read_pairs(struct reading *r, const char *name, const char *text, bool headers, struct otlp_pair **pairs,
                       size_t *n)
{
    while (text && *text) {
        size_t len = strcspn(text, ",");
        const char *equals = memchr(text, '=', len), *next = text + len + (text[len] == ',');
        struct otlp_pair pair = {0};
        if (equals) {
            pair.key = decode(text, (size_t)(equals - text));
            pair.value = decode(equals + 1, (size_t)(text + len - equals - 1));
            r->no_memory = r->no_memory || !pair.key || !pair.value;
        }
        bool blank = strspn(text, " \t") >= len;
        bool good = pair.key && pair.value && *pair.key && is_visible(pair.value) &&
                    (headers ? is_token(pair.key) : is_visible(pair.key));
        if (good && *n < PAIRS_MAX) {
            add_pair(r, pairs, n, pair);
        } else {
            if (!blank)
                r->warn(name, "a member that is not key=value is left out");
            pair_release(&pair);
        }
        text = next;
    }
}

static void add_resource(struct reading *r, const char *key, const char *value)
{
    struct otlp_pair pair = {strdup(key), strdup(value)};
    if (pair.key && pair.value) {
        add_pair(r, &r->to->resource, &r->to->n_resource, pair);
        return;
    }
    r->no_memory = true;
    pair_release(&pair);
}

/* ---- the parts ---- */

static bool is_http(const char *url)
{
    return strncmp(url, "http://", 7) == 0 ? url[7] != '\0' : strncmp(url, "https://", 8) == 0 && url[8] != '\0';
}

static void set_url(struct reading *r, const char *text, bool base)
{
    size_t len = strlen(text);
    const char *tail = !base ? "" : len && text[len - 1] == '/' ? "v1/traces" : "/v1/traces";
    if (asprintf(&r->to->url, "%s%s", text, tail) < 0) {
        r->to->url = NULL;
        r->no_memory = true;
    }
}

/* An endpoint of the environment; false: not set, or no URL that could be used. */
static bool set_url_from(struct reading *r, const char *name, bool base)
{
    const char *text = variable(r, name);
    if (!text)
        return false;
    if (!is_http(text)) {
        r->warn(name, "must be an http:// or https:// URL");
        return false;
    }
    set_url(r, text, base);
    return true;
}

static void read_endpoint(struct reading *r)
{
    const struct otlp_given *given = r->given;
    const char *disabled = variable(r, "OTEL_SDK_DISABLED"), *exporter = variable(r, "OTEL_TRACES_EXPORTER");
    if (disabled && strcasecmp(disabled, "true") == 0)
        return;
    if (given->traces_endpoint)
        set_url(r, given->traces_endpoint, false);
    else if (given->endpoint)
        set_url(r, given->endpoint, true);
    else if (!(exporter && strcmp(exporter, "none") == 0) &&
             !set_url_from(r, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", false))
        (void)set_url_from(r, "OTEL_EXPORTER_OTLP_ENDPOINT", true);
    const char *protocol = variable(r, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    if (!protocol)
        protocol = variable(r, "OTEL_EXPORTER_OTLP_PROTOCOL");
    if (r->to->url && protocol && strcmp(protocol, "http/json") != 0)
        r->warn("OTEL_EXPORTER_OTLP_PROTOCOL", "only http/json is spoken here; the endpoint must take it");
}

static void read_headers(struct reading *r)
{
    const char *name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", *text = variable(r, name);
    if (!text)
        text = variable(r, name = "OTEL_EXPORTER_OTLP_HEADERS");
    if (r->given->headers)
        text = r->given->headers, name = "otlp_headers";
    read_pairs(r, name, text, true, &r->to->headers, &r->to->n_headers);
}

static void read_resource(struct reading *r)
{
    char host[65] = "";
    add_resource(r, "service.name", "satcheld");
    add_resource(r, "service.version", PACKAGE_VERSION);
    if (gethostname(host, sizeof host - 1) == 0 && *host)
        add_resource(r, "host.name", host);
    read_pairs(r, "OTEL_RESOURCE_ATTRIBUTES", variable(r, "OTEL_RESOURCE_ATTRIBUTES"), false, &r->to->resource,
               &r->to->n_resource);
    const char *name = variable(r, "OTEL_SERVICE_NAME");
    if (name)
        add_resource(r, "service.name", name);
    read_pairs(r, "resource_attributes", r->given->resource_attributes, false, &r->to->resource, &r->to->n_resource);
    if (r->given->service_name)
        add_resource(r, "service.name", r->given->service_name);
}

/* A setting, else the first variable that holds a number from 1 to max, else the default. */
static int64_t number(struct reading *r, int64_t given, const char *const names[2], int64_t max, int64_t otherwise)
{
    if (given)
        return given;
    for (int i = 0; i < 2 && names[i]; i++) {
        const char *text = variable(r, names[i]);
        char *end;
        if (!text)
            continue;
        long long value = strtoll(text, &end, 10);
        if (*end == '\0' && value > 0 && value <= max)
            return value;
        r->warn(names[i], "must be a whole number in its range");
    }
    return otherwise;
}

static void read_numbers(struct reading *r)
{
    static const char *const timeout[2] = {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"};
    static const char *const delay[2] = {"OTEL_BSP_SCHEDULE_DELAY", NULL};
    static const char *const queue[2] = {"OTEL_BSP_MAX_QUEUE_SIZE", NULL};
    static const char *const batch[2] = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", NULL};
    const struct otlp_given *given = r->given;
    struct otlp_settings *to = r->to;
    to->timeout_us = number(r, given->timeout_us / 1000, timeout, 3600000, TIMEOUT_US / 1000) * 1000;
    to->delay_us = number(r, given->delay_us / 1000, delay, 3600000, DELAY_US / 1000) * 1000;
    to->queue = (size_t)number(r, given->queue, queue, QUEUE_MAX, QUEUE);
    to->batch = (size_t)number(r, given->batch, batch, BATCH_MAX, BATCH);
    if (to->batch > to->queue)
        to->batch = to->queue;
}

/* ---- sampling ---- */

enum sampling { ALWAYS, NEVER, RATIO };

static const struct {
    const char *name;
    enum sampling roots;
    bool parent_decides;
} samplers[] = {
    {"parentbased_always_on", ALWAYS, true},
    {"parentbased_always_off", NEVER, true},
    {"parentbased_traceidratio", RATIO, true},
    {"always_on", ALWAYS, false},
    {"always_off", NEVER, false},
};
#define N_SAMPLERS (sizeof samplers / sizeof samplers[0])

static size_t sampler_index(const char *name)
{
    size_t i = 0;
    while (i < N_SAMPLERS && strcmp(samplers[i].name, name) != 0)
        i++;
    return i;
}

bool otlp_sampler_valid(const char *name)
{
    return sampler_index(name) < N_SAMPLERS;
}

/* Of the 56 random bits that end a trace id. */
static uint64_t threshold(double ratio)
{
    return ratio >= 1 ? UINT64_C(1) << 56 : ratio <= 0 ? 0 : (uint64_t)(ratio * 0x1p56);
}

static void read_sampler(struct reading *r)
{
    const char *name = r->given->sampler, *arg = r->given->sampler_arg;
    if (!name) {
        name = variable(r, "OTEL_TRACES_SAMPLER");
        arg = variable(r, "OTEL_TRACES_SAMPLER_ARG");
        if (name && !otlp_sampler_valid(name)) {
            r->warn("OTEL_TRACES_SAMPLER", "is no sampler that there is here");
            name = NULL;
        }
    }
    size_t at = name ? sampler_index(name) : 0;
    if (at == N_SAMPLERS)
        at = 0;
    double ratio = 1;
    if (arg && samplers[at].roots == RATIO) {
        char *end;
        ratio = strtod(arg, &end);
        if (*end || !(ratio >= 0 && ratio <= 1)) {
            r->warn("the sampler's argument", "must be a number from 0 to 1");
            ratio = 1;
        }
    }
    if (samplers[at].roots == NEVER && !samplers[at].parent_decides) {
        free(r->to->url);
        r->to->url = NULL;
    }
    if (!r->to->url)
        return; /* nothing is recorded here, so nothing is flagged */
    r->to->all = samplers[at].roots == ALWAYS && !samplers[at].parent_decides;
    r->to->root_sampling = samplers[at].roots == NEVER ? 0 : threshold(samplers[at].roots == RATIO ? ratio : 1);
}

int otlp_settings_read(const struct otlp_given *given, const char *(*environment)(const char *name),
                       void (*warn)(const char *name, const char *why), struct otlp_settings *ret)
{
    *ret = (struct otlp_settings){0};
    struct reading r = {.given = given, .environment = environment, .warn = warn, .to = ret};
    read_endpoint(&r);
    read_headers(&r);
    read_resource(&r);
    read_numbers(&r);
    read_sampler(&r);
    if (!r.no_memory)
        return 0;
    otlp_settings_release(ret);
    return -1;
}

void otlp_settings_release(struct otlp_settings *settings)
{
    free(settings->url);
    for (size_t i = 0; i < settings->n_headers; i++)
        pair_release(&settings->headers[i]);
    for (size_t i = 0; i < settings->n_resource; i++)
        pair_release(&settings->resource[i]);
    free(settings->headers);
    free(settings->resource);
    *settings = (struct otlp_settings){0};
}
