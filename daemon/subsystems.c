/* One table: every subsystem with its start and its stop.  Started from top to bottom, stopped from bottom to top;
 * a start that fails stops what was started before it.
 * Called by main.c.  Thread: main. */
#include "subsystems.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/audit.h"
#include "base/log.h"
#include "config/address.h"
#include "data_dir.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "executor/executor.h"
#include "http/http.h"
#include "schedule/schedules.h"
#include "store/reader.h"
#include "telemetry/otlp.h"
#include "tls_setup.h"

#define NAME_LIMIT 152 /* a tenant's name and its NUL */

#define NO_TLS "there is an address that speaks TLS, which needs a section tls { certificate = \"...\" key = \"...\" }"

struct retired { /* a registry that a reload replaced, until its last attempt has ended */
    struct registry *registry;
    struct retired *next;
};

struct daemon {
    struct config *config; /* a reference */
    const struct daemon_socket *sockets;
    size_t n_sockets;
    struct tls *tls; /* a reference; NULL: there is none */
    char *url;       /* what child processes are told */
    char *store_url;
    char *started_path; /* NULL: the store is not a file */
    struct store *store;
    struct reader *reader;
    struct registry *registry;
    struct retired *retired;
    struct api *api;
    struct engine *engine;
    struct schedules *schedules;
    struct otlp_settings otlp_settings;
    struct spans *spans; /* NULL: nothing is exported */
    struct otlp *otlp;
    struct metrics *metrics;
    struct http_server *http;
    uint64_t engine_beat, http_beat;
    bool handler_runs; /* one did not end when told to: what it may use stays */
    size_t n_started;
};

struct first_line { /* of what is wrong */
    char *error;
    size_t size;
};

static void note_first(void *arg, const char *line)
{
    struct first_line *first = arg;
    if (!*first->error)
        (void)snprintf(first->error, first->size, "%s", line);
}

/* ---- telemetry: first up and last down, since everything else may still have something to tell ---- */

static const char *environment(const char *name)
{
    return getenv(name);
}

static void warn_of_variable(const char *name, const char *why)
{
    LOG_WARNING("this is not taken up", LOG_TEXT("variable", name), LOG_TEXT("reason", why));
}

static int start_telemetry(struct daemon *d, char *error, size_t error_size)
{
    const struct config *config = d->config;
    struct otlp_given given = {.endpoint = config->otlp_endpoint,
                               .traces_endpoint = config->otlp_traces_endpoint,
                               .headers = config->otlp_headers,
                               .service_name = config->service_name,
                               .resource_attributes = config->resource_attributes,
                               .sampler = config->trace_sampler,
                               .sampler_arg = config->trace_sampler_arg,
                               .timeout_us = config->otlp_timeout_us,
                               .delay_us = config->span_delay_us,
                               .queue = config->span_queue,
                               .batch = config->span_batch};
    int err = otlp_settings_read(&given, environment, warn_of_variable, &d->otlp_settings) < 0 ? -ENOMEM : 0;
    if (!err && d->otlp_settings.url)
        err = spans_new(d->otlp_settings.queue, d->otlp_settings.all, &d->spans);
    if (!err && d->spans)
        err = otlp_start(&d->otlp_settings, &otlp_pace_standard, d->spans, &d->otlp);
    if (err)
        (void)snprintf(error, error_size, "cannot set up the export of spans: %s", strerror(-err));
    return err ? -1 : 0;
}

static void stop_telemetry(struct daemon *d)
{
    otlp_stop(d->otlp, d->config->otlp_flush_us * 1000);
    if (!d->handler_runs)
        spans_free(d->spans);
    otlp_settings_release(&d->otlp_settings);
}

/* ---- the store ---- */

static int start_store(struct daemon *d, char *error, size_t error_size)
{
    const struct config *config = d->config;
    if (data_dir_prepare(config, error, error_size) < 0)
        return -1;
    bool is_file = strncmp(config->store, "sqlite:", 7) == 0;
    d->store_url = strdup(config->store);
    if (is_file && asprintf(&d->started_path, "%s.started", config->store + 7) < 0)
        d->started_path = NULL;
    if (!d->store_url || (is_file && !d->started_path)) {
        (void)snprintf(error, error_size, "out of memory");
        return -1;
    }
    struct store_options options = {.url = d->store_url,
                                    .retain_us = config->retain_us,
                                    .max_log = (size_t)config->max_log,
                                    .wal_limit = (size_t)config->wal_limit};
    return store_open(&options, &d->store, error, error_size);
}

static void stop_store(struct daemon *d)
{
    store_close(d->store);
    d->store = NULL;
    free(d->store_url);
    free(d->started_path);
}

static int start_reader(struct daemon *d, char *error, size_t error_size)
{
    struct store_options options = {.url = d->store_url, .retain_us = d->config->retain_us};
    return reader_new(&options, &d->reader, error, error_size);
}

static void stop_reader(struct daemon *d)
{
    reader_stop(d->reader); /* freed when the loops are gone: they may still ask it */
}

/* ---- task types ---- */

/* The names of the task types and of the configured tenants: all that metrics may be labelled with. */
static int start_metrics(struct daemon *d)
{
    const char *types[METRIC_TYPES_MAX];
    const struct config *config = d->config;
    const char **tenants = calloc(config->n_tenants + 1, sizeof(char *));
    if (!tenants)
        return -ENOMEM;
    struct metrics_options options = {.types = types, .tenants = tenants, .by_tenant = config->metrics_tenants};
    for (const struct task_type *type; options.n_types < METRIC_TYPES_MAX; options.n_types++) {
        type = registry_at(d->registry, options.n_types);
        if (!type)
            break;
        types[options.n_types] = type->name;
    }
    for (; options.n_tenants < config->n_tenants; options.n_tenants++)
        tenants[options.n_tenants] = config->tenants[options.n_tenants].name;
    int err = metrics_new(&options, &d->metrics);
    free(tenants);
    return err;
}

static int start_registry(struct daemon *d, char *error, size_t error_size)
{
    if (registry_new(d->config, &d->registry, error, error_size) < 0)
        return -1;
    int err = start_metrics(d);
    if (err)
        (void)snprintf(error, error_size, "cannot set up the metrics: %s", strerror(-err));
    return err ? -1 : 0;
}

static void stop_registry(struct daemon *d)
{
    if (!d->handler_runs)
        registry_unref(d->registry);
    metrics_free(d->metrics);
}

/* ---- HTTP: the addresses are bound early, so that children can be told the URL; accepting starts last ---- */

static struct http_limits limits_of(const struct config *config)
{
    return (struct http_limits){
        .header_bytes = (size_t)config->max_header_bytes,
        .header_line = (size_t)config->max_header_line,
        .header_count = (size_t)config->max_headers,
        .target = (size_t)config->max_target,
        .header_us = config->header_timeout_us,
        .body_rate = (size_t)config->body_rate,
        .idle_us = config->idle_timeout_us,
        .write_stall_us = config->write_timeout_us,
        .connections = (size_t)config->max_connections,
        .connections_per_source = (size_t)config->max_connections_per_source,
    };
}

static int bind_addresses(struct daemon *d, char *error, size_t error_size)
{
    for (size_t i = 0; i < d->n_sockets; i++)
        if ((!d->config->auth.on && address_check_inherited(d->sockets[i].fd, error, error_size) < 0) ||
            http_server_adopt(d->http, d->sockets[i].fd, d->sockets[i].secure, error, error_size) < 0)
            return -1;
    for (size_t i = 0; d->n_sockets == 0 && i < d->config->listen.n; i++)
        if (http_server_listen(d->http, d->config->listen.items[i], error, error_size) < 0)
            return -1;
    if (!http_server_needs_tls(d->http) || d->config->tls.on)
        return 0;
    (void)snprintf(error, error_size, "%s", NO_TLS);
    return -1;
}

/* What commands of tasks are told: plain HTTP where there is any, since they know nothing of our certificate. */
static const char *own_address(const struct daemon *d)
{
    const char *address;
    for (size_t i = 0; (address = http_server_address(d->http, i)) != NULL; i++)
        if (!address_is_secure(address))
            return address;
    address = http_server_address(d->http, 0);
    return address ? address : "";
}

static int start_api(struct daemon *d, char *error, size_t error_size)
{
    struct api_options options = {.registry = d->registry, .root_sampling = d->otlp_settings.root_sampling};
    if (api_new(&options, &d->api) < 0) {
        (void)snprintf(error, error_size, "cannot set up the API: out of memory");
        return -1;
    }
    return 0;
}

static void stop_api(struct daemon *d)
{
    if (!d->handler_runs)
        api_free(d->api);
}

static int start_http(struct daemon *d, char *error, size_t error_size)
{
    struct http_server_options options = {.loops = d->config->loops,
                                          .limits = limits_of(d->config),
                                          .app = api_http_app(d->api),
                                          .server_name = "satcheld"};
    int err = http_server_new(&options, &d->http);
    if (err < 0) {
        (void)snprintf(error, error_size, "cannot set up the HTTP server: %s", strerror(-err));
        return -1;
    }
    struct first_line first = {error, error_size};
    *error = '\0';
    if (tls_setup(d->config, true, note_first, &first, &d->tls) < 0 || bind_addresses(d, error, error_size) < 0)
        return -1;
    http_server_set_tls(d->http, d->tls);
    api_attach_telemetry(
        d->api, &(struct api_telemetry){.metrics = d->metrics, .spans = d->spans, .otlp = d->otlp, .server = d->http});
    d->url = strdup(own_address(d));
    return d->url ? 0 : -1;
}

static void stop_http(struct daemon *d)
{
    http_server_stop(d->http);
    reader_free(d->reader);
    http_server_free(d->http);
    tls_unref(d->tls);
    if (!d->handler_runs)
        free(d->url);
}

/* ---- the engine ---- */

static void on_fatal(void *arg, const char *why)
{
    (void)arg;
    LOG_ERROR("satcheld cannot go on", LOG_TEXT("reason", why));
    _exit(70); /* EX_SOFTWARE: nothing in memory is worth more than what is on disk */
}

static void tenant_limits(void *arg, struct slice tenant, struct tenant_limits *ret)
{
    const struct config *config = arg;
    char name[NAME_LIMIT];
    (void)snprintf(name, sizeof name, "%.*s", (int)tenant.len, tenant.data);
    const struct config_tenant *configured = config_tenant(config, name);
    if (!configured)
        return;
    if (configured->weight > 0)
        ret->weight = configured->weight;
    ret->max_running = (uint32_t)configured->max_running;
    ret->max_waiting = (uint32_t)configured->max_queued;
    ret->max_waiting_bytes = (uint64_t)configured->max_queued_bytes;
    ret->max_waiters = (uint32_t)configured->max_waiters;
    ret->rate = configured->rate;
    ret->burst = (uint32_t)configured->burst;
}

/* The table; it is read from the store before the engine has that.  Its thread begins behind the engine's. */
static int make_schedules(struct daemon *d, char *error, size_t error_size)
{
    struct first_line first = {error, error_size};
    const struct schedules_options options = {.registry = d->registry,
                                              .root_sampling = d->otlp_settings.root_sampling,
                                              .store = d->store,
                                              .report = note_first,
                                              .report_arg = &first};
    *error = '\0';
    if (schedules_new(&options, &d->schedules) == 0)
        return 0;
    if (!*error)
        (void)snprintf(error, error_size, "cannot read the schedules");
    return -1;
}

static int start_schedules(struct daemon *d, char *error, size_t error_size)
{
    int err = schedules_start(d->schedules, d->engine);
    if (err)
        (void)snprintf(error, error_size, "cannot start the thread of the schedules: %s", strerror(-err));
    return err ? -1 : 0;
}

static void stop_schedules(struct daemon *d)
{
    schedules_stop(d->schedules);
}

static int start_engine(struct daemon *d, char *error, size_t error_size)
{
    if (make_schedules(d, error, error_size) < 0)
        return -1;
    const struct config *config = d->config;
    struct engine_options options = {
        .store = d->store,
        .registry = d->registry,
        .workers = config->workers,
        .url = d->url,
        .started_path = d->started_path,
        .max_waiting = (size_t)config->max_waiting,
        .max_waiting_per_tenant = (size_t)config->max_waiting_per_tenant,
        .hot_bytes = (size_t)config->hot_bytes,
        .recent_bytes = (size_t)config->recent_bytes,
        .callback_attempts = config->callback_attempts,
        .retain_us = config->retain_us,
        .drain_us = config->drain_us,
        .host = api_attempt_host(d->api),
        .host_arg = d->api,
        .fatal = on_fatal,
        .tenant_limits = tenant_limits,
        .tenant_limits_arg = registry_config(d->registry),
        .metrics = d->metrics,
        .spans = d->spans,
    };
    if (engine_new(&options, &d->engine, error, error_size) < 0)
        return -1;
    api_attach(d->api, d->engine, d->reader, d->schedules);
    return engine_start(d->engine, error, error_size);
}

static void stop_engine(struct daemon *d)
{
    d->handler_runs = !engine_stop(d->engine); /* freed at the end: the loops and daemon_hurry may still ask it */
}

static int start_accepting(struct daemon *d, char *error, size_t error_size)
{
    int err = http_server_start(d->http);
    if (err < 0)
        (void)snprintf(error, error_size, "cannot start the HTTP threads: %s", strerror(-err));
    return err < 0 ? -1 : 0;
}

static void stop_accepting(struct daemon *d)
{
    engine_drain(d->engine);
    http_server_quiesce(d->http);
}

static const struct subsystem {
    const char *name;
    int (*start)(struct daemon *d, char *error, size_t error_size);
    void (*stop)(struct daemon *d); /* after a start that failed half-way, too */
} subsystems[] = {
    {"telemetry", start_telemetry, stop_telemetry},
    {"store", start_store, stop_store},
    {"task types", start_registry, stop_registry},
    {"api", start_api, stop_api},
    {"http", start_http, stop_http}, /* its loops outlive the reader and the engine, whose answers they send */
    {"reader", start_reader, stop_reader},
    {"engine", start_engine, stop_engine},
    {"schedules", start_schedules, stop_schedules},
    {"accept", start_accepting, stop_accepting},
};
#define N_SUBSYSTEMS (sizeof subsystems / sizeof subsystems[0])

int daemon_start(struct config *config, const struct daemon_socket *sockets, size_t n_sockets, struct daemon **ret,
                 char *error, size_t error_size)
{
    struct daemon *d = calloc(1, sizeof *d);
    if (!d) {
        (void)snprintf(error, error_size, "out of memory");
        return -1;
    }
    d->config = config_ref(config);
    d->sockets = sockets;
    d->n_sockets = n_sockets;
    for (size_t i = 0; i < N_SUBSYSTEMS; i++) {
        d->n_started = i + 1;
        if (subsystems[i].start(d, error, error_size) == 0)
            continue;
        if (i == N_SUBSYSTEMS - 1)
            d->n_started = i;
        daemon_stop(d);
        daemon_free(d);
        return -1;
    }
    *ret = d;
    return 0;
}

void daemon_stop(struct daemon *d)
{
    while (d->n_started) {
        const struct subsystem *subsystem = &subsystems[--d->n_started];
        LOG_DEBUG("stopping", LOG_TEXT("subsystem", subsystem->name));
        subsystem->stop(d);
    }
}

void daemon_hurry(struct daemon *d)
{
    engine_hurry(d->engine);
}

void daemon_free(struct daemon *d)
{
    if (!d)
        return;
    engine_free(d->engine);
    schedules_free(d->schedules);
    (void)daemon_tidy(d); /* what the engine has released */
    if (!d->handler_runs)
        config_unref(d->config);
    free(d);
}

const char *daemon_address(const struct daemon *d, size_t index)
{
    return http_server_address(d->http, index);
}

/* ---- reload ---- */

bool daemon_tidy(struct daemon *d)
{
    for (struct retired **at = &d->retired; *at;) {
        struct retired *one = *at;
        if (registry_in_use(one->registry)) {
            at = &one->next;
            continue;
        }
        registry_unref(one->registry);
        *at = one->next;
        free(one);
    }
    return d->retired != NULL;
}

struct fresh { /* what a reload puts in place of what is there */
    struct registry *registry;
    struct tls *tls;
    struct retired *before; /* the place for the registry of before */
};

static void discard(struct fresh *fresh)
{
    registry_unref(fresh->registry);
    tls_unref(fresh->tls);
    free(fresh->before);
}

/* A certificate that has expired is no reason to refuse everything else where the one in use has, too. */
static bool may_be_expired(const struct daemon *d)
{
    return d->tls && tls_valid_until(d->tls) < time(NULL);
}

static int prepare(const struct daemon *d, const struct config *config, void (*report)(void *arg, const char *line),
                   void *arg, struct fresh *fresh)
{
    fresh->before = calloc(1, sizeof *fresh->before);
    if (!fresh->before) {
        report(arg, "out of memory");
        return -1;
    }
    if (http_server_needs_tls(d->http) && !config->tls.on) {
        report(arg, NO_TLS);
        return -1;
    }
    if (tls_setup(config, may_be_expired(d), report, arg, &fresh->tls) < 0 ||
        registry_build(config, report, arg, &fresh->registry) < 0)
        return -1;
    return schedules_check(fresh->registry, report, arg);
}

static void use_tls(struct daemon *d, struct tls *tls)
{
    http_server_set_tls(d->http, tls);
    tls_unref(d->tls);
    d->tls = tls;
}

int daemon_reload(struct daemon *d, struct config *config, void (*report)(void *arg, const char *line), void *arg)
{
    struct fresh fresh = {0};
    (void)daemon_tidy(d);
    if (prepare(d, config, report, arg, &fresh) < 0) {
        discard(&fresh);
        return -1;
    }
    struct registry *registry = fresh.registry;
    struct engine_settings settings = {.registry = registry,
                                       .tenant_limits_arg = registry_config(registry),
                                       .retain_us = config->retain_us,
                                       .max_log = (size_t)config->max_log};
    if (engine_reload(d->engine, &settings) < 0) {
        report(arg, "out of memory");
        discard(&fresh);
        return -1;
    }
    if (schedules_reload(d->schedules, registry, report, arg) < 0)
        LOG_ERROR("there is no memory for the configured schedules; those of before go on");
    audit_tokens(&registry_config(d->registry)->auth, &config->auth);
    api_set_registry(d->api, registry); /* after the engine's: it knows a type before a task of it comes */
    *fresh.before = (struct retired){.registry = d->registry, .next = d->retired};
    d->retired = fresh.before;
    d->registry = registry;
    use_tls(d, fresh.tls);
    enum log_level level;
    if (log_level_parse(config->log_level, &level))
        log_level_set(level);
    return 0;
}

bool daemon_is_alive(struct daemon *d)
{
    struct engine_stats stats;
    engine_get_stats(d->engine, &stats);
    uint64_t http_beat = http_server_heartbeat(d->http);
    bool alive = stats.heartbeat != d->engine_beat && http_beat != d->http_beat;
    d->engine_beat = stats.heartbeat;
    d->http_beat = http_beat;
    return alive;
}
