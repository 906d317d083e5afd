/* The configuration: one immutable, reference-counted snapshot, made from defaults, files and the command line.
 * A reload makes another one and swaps it in; whoever holds the old one keeps it until they are done.
 * Thread: any may read; config_ref/unref are atomic. */
#ifndef SATCHEL_CONFIG_CONFIG_H
#define SATCHEL_CONFIG_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/token_file.h"

struct config_list { /* NULL-terminated too */
    char **items;
    size_t n;
};

struct config_header { /* header "X-Region" { var = "region" secret = false } */
    char *header, *variable;
    bool secret;
    size_t max_len; /* longest value, bytes */
};

#define CONFIG_TENANT_VARIABLES_MAX 64u

struct config_tenant { /* tenant "acme" { ... }; "*" is what others get */
    char *name;
    double weight;
    int64_t max_running, max_queued, max_queued_bytes, max_waiters, max_connections; /* 0: no limit of its own */
    double rate;                                                    /* submissions a second; 0: no limit */
    int64_t burst;                                                  /* how many at once; 0: those of a second */
    struct config_list context, baggage; /* "name=value": what its submissions have that do not say so themselves */
    struct config_list require_headers;  /* header fields that each of them must have */
};

/* What leaves the process with a task of some type (`propagate = {...}`). */
enum propagate {
    PROPAGATE_TRACE = 1u << 0,
    PROPAGATE_TENANT = 1u << 1,
    PROPAGATE_REQUEST_ID = 1u << 2,
    PROPAGATE_DEADLINE = 1u << 3,
    PROPAGATE_BAGGAGE = 1u << 4,
    PROPAGATE_VARIABLES = 1u << 5,
    PROPAGATE_ALL = (1u << 6) - 1
};

#define CONFIG_LIMITS_MAX 16

struct config_limit { /* setrlimit(2) */
    int resource;
    uint64_t value; /* RLIM_INFINITY: none */
};

struct config_confine { /* who a command is, and how much it may use */
    char *user, *group; /* as written; NULL: satcheld's own */
    bool identity;      /* the five below are to be taken on */
    uid_t uid;
    gid_t gid, *groups; /* the supplementary ones: the user's, or none */
    size_t n_groups;
    char *login, *home; /* the user's; NULL: unknown */
    bool has_umask, has_nice, has_oom_score_adj;
    unsigned umask;
    int nice, oom_score_adj;
    struct config_limit limits[CONFIG_LIMITS_MAX];
    size_t n_limits;
    /* through its control group; 0: no limit */
    int64_t memory_max, cpu_max_milli, pids_max;
};

struct config_task { /* task "thumbnail" { ... }: exactly one of command and url */
    char *name;
    struct config_list command; /* argv with {{args.NAME}} templates */
    char *url, *method, *body;
    bool url_from_args; /* what the url calls comes from the submission: its host does, or all of it */
    struct config_list headers, allow;
    struct config_list environment; /* "NAME=value", or "NAME" to pass the daemon's own through */
    char *workdir;                  /* NULL: / */
    int64_t timeout_us;             /* 0: none */
    int64_t kill_grace_us;          /* between SIGTERM and SIGKILL */
    unsigned concurrency;           /* 0: no limit */
    unsigned tenant_concurrency;    /* of one tenant; 0: no limit */
    int *final_exit;
    size_t n_final_exit;
    unsigned propagate; /* enum propagate */
    bool own_trace;     /* trace = "link": an attempt starts a trace that only links to the submission's */
    bool allow_dash;    /* a template value may start with '-' */
    struct config_confine confine;
    char *where; /* "file:line" for messages */
};

struct config_plugin { /* plugin "/path.so" { config = "..." } */
    char *path, *argument;
    char *where;
};

struct config_schedule { /* schedule "nightly" { cron = "0 3 * * *" task = "report" } */
    char *name, *tenant; /* tenant NULL: the default one, or each */
    bool each_tenant;
    char *body; /* JSON, as the API takes it; not looked into here */
    char *where;
};

struct config_grant { /* auth { peer "www-data" { tenants = {...} scopes = {...} } }, or certificate "CN:..." */
    char *name;
    uint32_t id;     /* peer: of the user, or of the group where is_group */
    bool is_group;   /* peer "@NAME" */
    unsigned scopes; /* enum token_scope */
    bool all_tenants;
    struct config_list tenants;
};

struct config_auth {
    bool on;                  /* there is a section, or systemd gave tokens: nobody is trusted unasked */
    char *token_file;         /* NULL: none */
    struct token_file tokens; /* what was in it when the configuration was loaded */
    struct config_list proxies;
    uint32_t *proxy_uids; /* of `proxies` */
    struct config_grant *peers, *certificates;
    size_t n_peers, n_certificates;
    bool open_metrics;
    int64_t max_failures;  /* wrong tokens a minute from one source; 0: no limit */
    int64_t task_token_us; /* how long the token of an attempt without a time limit is good; 0: there are none */
};

struct config_sited { /* a setting that is looked at again, later */
    char *value;      /* NULL: not set */
    char *where;      /* "file:line" */
};

struct config_tls { /* tls { ... } */
    bool on;        /* there is a section */
    struct config_sited certificate, key, client_ca, client_crl, min_version, ciphers;
    bool client_required; /* means something with client_ca */
};

struct config {
    atomic_uint refs;
    struct config_list listen;
    char *data_dir; /* NULL only where there is none and `store` was configured */
    char *store;    /* never NULL once loaded */
    unsigned workers, loops;
    char *log_level;
    char *tenant_header, *default_tenant;
    bool require_tenant;
    /* limits */
    int64_t max_body, max_header_bytes, max_header_line, max_headers, max_target, max_json_depth;
    int64_t max_result, max_log;
    struct config_list callback_allow;
    char *callback_key_file; /* NULL: in data_dir */
    unsigned callback_attempts;
    int64_t callback_timeout_us;
    char *canaries; /* "auto", "on", "off" */
    int64_t header_timeout_us, idle_timeout_us, write_timeout_us, body_rate;
    int64_t max_connections, max_connections_per_source;
    int64_t max_wait_us;
    int64_t max_waiting, max_waiting_per_tenant;
    int64_t hot_bytes, recent_bytes, wal_limit;
    int64_t retain_us, drain_us;
    /* telemetry; NULL, 0: the environment decides (telemetry/otlp_settings.h) */
    char *otlp_endpoint, *otlp_traces_endpoint, *otlp_headers, *service_name, *resource_attributes;
    char *trace_sampler, *trace_sampler_arg;
    bool metrics_tenants;
    int64_t otlp_timeout_us, otlp_flush_us, span_queue, span_batch, span_delay_us;
    /* sections */
    struct config_header *headers;
    size_t n_headers;
    struct config_tenant *tenants;
    size_t n_tenants;
    struct config_task *tasks;
    size_t n_tasks;
    struct config_plugin *plugins;
    size_t n_plugins;
    struct config_schedule *schedules;
    size_t n_schedules;
    struct config_auth auth;
    struct config_tls tls;
};

struct config_overrides {  /* what the command line said; NULL or 0: nothing.  All borrowed */
    const char *file;      /* only this file; NULL: the default file and its drop-ins, where they exist */
    const char *directory; /* where the default file and conf.d/ are looked for; NULL: SYSCONFDIR/satchel */
    const char *const *listen;
    size_t n_listen;
    const char *data_dir, *store, *log_level;
    const char *workers; /* as text: checked as the setting is */
};

/* 0, or -1.  Every problem is passed to `report` as one line "file:line: what is wrong, and what to do".
 * Thread: one at a time (libConfuse keeps global state); blocks on files, and on host names in `listen`. */
int config_load(const struct config_overrides *overrides, void (*report)(void *arg, const char *line), void *arg,
                struct config **ret);
/* Which changed settings only a restart takes up: their names go to `report`, one a call. */
void config_needs_restart(const struct config *before, const struct config *after,
                          void (*report)(void *arg, const char *name), void *arg);
/* Whether all addresses it listens on are reachable from this machine only.  Blocks where a host name is looked up. */
bool config_serves_this_machine_alone(const struct config *config);
/* Gives `fresh`, which nobody else has yet, the running values of these settings, so that one snapshot says what is in
 * effect.  0 or -ENOMEM. */
int config_keep_constant(struct config *fresh, const struct config *running);
struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* NULL is fine */
void config_print(const struct config *config, void (*put)(void *arg, const char *line),
                  void *arg);                                                             /* --print-config */
const struct config_tenant *config_tenant(const struct config *config, const char *name); /* its own, or "*", or NULL */

#endif
