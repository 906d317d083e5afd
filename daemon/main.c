/* satcheld: reads its arguments and configuration, starts the subsystems, waits for signals, stops them.
 * Exit codes: 0 stopped as asked, 64 usage, 70 failed for good, 73 cannot start, 78 configuration. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "config/arguments.h"
#include "executor/executor.h"
#include "proto/json_in.h"
#include "schedule/schedules.h"
#include "subsystems.h"
#include "sys/limits.h"
#include "sys/service.h"
#include "sys/signals.h"
#include "tls_setup.h"

#define EXIT_USAGE 64
#define EXIT_CANNOT_START 73
#define EXIT_CONFIG 78
#define TIDY_NS INT64_C(1000000000) /* how often to look whether what a reload replaced is still in use */

static void print_line(void *arg, const char *line)
{
    (void)fprintf(arg, "%s\n", line);
}

static void print_problem(void *arg, const char *line)
{
    (void)arg;
    (void)fprintf(stderr, "satcheld: %s\n", line);
}

static void log_restart_needed(void *arg, const char *name)
{
    (void)arg;
    LOG_WARNING("this setting changed, and a restart takes it up", LOG_TEXT("setting", name));
}

static void log_problem(void *arg, const char *line)
{
    (void)arg;
    LOG_ERROR("the configuration is not taken up", LOG_TEXT("problem", line));
}

/* All is built as for a start: certificates are read; what runs task types is looked for, and plugins are loaded;
 * schedules are read. */
static int check(const struct config *config)
{
    struct registry *registry;
    struct tls *tls;
    bool tls_good = tls_setup(config, false, print_problem, NULL, &tls) == 0;
    tls_unref(tls);
    if (registry_build(config, print_problem, NULL, &registry) < 0)
        return EXIT_CONFIG;
    int result = schedules_check(registry, print_problem, NULL) < 0 ? EXIT_CONFIG : EXIT_SUCCESS;
    registry_unref(registry);
    return tls_good ? result : EXIT_CONFIG;
}

/* What needs no daemon: --help, --version, --check, --print-config.  Returns the exit code. */
static int answer(const struct arguments *arguments)
{
    if (arguments->action == ARGUMENTS_HELP) {
        arguments_help(print_line, stdout);
        return EXIT_SUCCESS;
    }
    if (arguments->action == ARGUMENTS_VERSION) {
        (void)printf("satcheld %s\n", PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    struct config *config;
    if (config_load(&arguments->overrides, print_problem, NULL, &config) < 0)
        return EXIT_CONFIG;
    int status = EXIT_SUCCESS;
    if (arguments->action == ARGUMENTS_PRINT_CONFIG)
        config_print(config, print_line, stdout);
    else
        status = check(config);
    config_unref(config);
    return status;
}

static void reload(struct daemon *daemon, const struct arguments *arguments, struct config **config)
{
    struct config *fresh;
    service_reloading();
    if (config_load(&arguments->overrides, log_problem, NULL, &fresh) == 0) {
        config_needs_restart(*config, fresh, log_restart_needed, NULL);
        if (config_keep_constant(fresh, *config) < 0) {
            log_problem(NULL, "out of memory");
        } else if (daemon_reload(daemon, fresh, log_problem, NULL) == 0) {
            config_unref(*config);
            *config = config_ref(fresh);
            LOG_NOTICE("the configuration was reloaded");
        }
        config_unref(fresh);
    }
    service_ready("serving");
}

static void announce(const struct daemon *daemon)
{
    const char *address;
    for (size_t i = 0; (address = daemon_address(daemon, i)) != NULL; i++)
        (void)fprintf(stderr, "satcheld: listening on %s\n", address);
    service_ready("serving");
}

static void serve(struct daemon *daemon, const struct arguments *arguments, struct config **config)
{
    int64_t interval = service_watchdog_interval_ns();
    announce(daemon);
    for (;;) {
        int64_t limit = interval ? interval : -1;
        if (daemon_tidy(daemon) && (limit < 0 || limit > TIDY_NS))
            limit = TIDY_NS;
        enum signals_event event = signals_wait(limit);
        if (event == SIGNALS_RELOAD)
            reload(daemon, arguments, config);
        else if (event == SIGNALS_STOP || event == SIGNALS_STOP_NOW)
            return;
        if (interval && daemon_is_alive(daemon))
            service_watchdog();
        (void)thread_check();
    }
}

static void hurry(void *arg)
{
    daemon_hurry(arg);
}

static int run(const struct arguments *arguments)
{
    struct config *config;
    char error[512];
    struct service_socket sockets[SERVICE_SOCKETS_MAX];
    struct daemon_socket inherited[SERVICE_SOCKETS_MAX];
    if (config_load(&arguments->overrides, print_problem, NULL, &config) < 0)
        return EXIT_CONFIG;
    int n_fds = service_take_sockets(sockets, error, sizeof error);
    for (int i = 0; i < n_fds; i++)
        inherited[i] = (struct daemon_socket){sockets[i].fd, strncmp(sockets[i].name, "https", 5) == 0};
    enum log_level level;
    if (log_level_parse(config->log_level, &level))
        log_level_set(level);
    struct daemon *daemon;
    if (n_fds < 0 || daemon_start(config, inherited, (size_t)n_fds, &daemon, error, sizeof error) < 0) {
        (void)fprintf(stderr, "satcheld: %s\n", error);
        config_unref(config);
        return EXIT_CANNOT_START;
    }
    serve(daemon, arguments, &config);
    (void)signals_guard_stop(hurry, daemon);
    service_stopping("draining");
    service_extend_timeout(config->drain_us + 30000000);
    daemon_stop(daemon);
    signals_guard_end();
    daemon_free(daemon);
    config_unref(config);
    LOG_NOTICE("stopped");
    return EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
    struct arguments arguments;
    char error[256];
    if (arguments_parse(argc, argv, &arguments, error, sizeof error) < 0) {
        (void)fprintf(stderr, "satcheld: %s\nTry 'satcheld --help'.\n", error);
        return EXIT_USAGE;
    }
    json_in_init();
    log_open();
    if (arguments.action != ARGUMENTS_SERVE)
        return answer(&arguments);
    if (signals_block() < 0) {
        (void)fprintf(stderr, "satcheld: cannot block signals\n");
        return EXIT_CANNOT_START;
    }
    (void)limits_raise_files();
    limits_forbid_core_dumps();
    return run(&arguments);
}
