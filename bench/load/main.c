/* satchel-load: puts a satcheld of its own under load and tells what it did.  Measures; it is not installed. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/load.h"

static void usage_text(FILE *file)
{
    (void)fputs(
        "usage: satchel-load [OPTION]... SCENARIO\n"
        "Starts a satcheld (durable, with its defaults, in a temporary directory), puts it under load and prints\n"
        "what was measured: for people on standard error, as a line of JSON on standard output.\n\n"
        "  --connections N   at once (default 64, batches 8, commands 16)\n"
        "  --seconds S       how long is measured (default 5)\n"
        "  --warmup S        before that (default 1)\n"
        "  --rate R          operations a second (open loop); default: as fast as they are answered\n"
        "  --batch K         submissions of a batch (default 500)\n"
        "  --tenants N       tenants that take turns\n"
        "  --preload N       waiting tasks (queue, start; default 1000000)\n"
        "  --queued          these are due, and held back by their type's concurrency; else scheduled\n"
        "  --satcheld FILE   the daemon (default: $SATCHELD, or the build tree's)\n"
        "  --directory DIR   where its directory is made (default: $TMPDIR or /var/tmp)\n"
        "  --address H:P     uses this daemon instead of one of its own\n"
        "  --config FILE     settings for the daemon beyond its defaults\n"
        "  --quiet           JSON alone\n"
        "  --disk            prints how long an fdatasync takes in --directory, in ms, and ends\n\n"
        "Scenarios:\n",
        file);
    for (unsigned i = 0; scenario_at(i); i++)
        (void)fprintf(file, "  %-13s %s\n", scenario_at(i)->name, scenario_at(i)->text);
}

enum { OPTION_DISK = 'D', OPTION_HELP = 'h' };

static const struct option long_options[] = {{"connections", required_argument, NULL, 'c'},
                                             {"seconds", required_argument, NULL, 's'},
                                             {"warmup", required_argument, NULL, 'w'},
                                             {"rate", required_argument, NULL, 'r'},
                                             {"batch", required_argument, NULL, 'b'},
                                             {"tenants", required_argument, NULL, 't'},
                                             {"preload", required_argument, NULL, 'p'},
                                             {"queued", no_argument, NULL, 'q'},
                                             {"satcheld", required_argument, NULL, 'S'},
                                             {"directory", required_argument, NULL, 'd'},
                                             {"address", required_argument, NULL, 'a'},
                                             {"config", required_argument, NULL, 'C'},
                                             {"quiet", no_argument, NULL, 'Q'},
                                             {"disk", no_argument, NULL, OPTION_DISK},
                                             {"help", no_argument, NULL, OPTION_HELP},
                                             {NULL, 0, NULL, 0}};

/* A number from `least` to `most`; -1 and said: it is none. */
static double number(const char *option, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end != text && *end == '\0' && value >= least && value <= most)
        return value;
    (void)fprintf(stderr, "satchel-load: --%s is a number from %g to %g, not %s\n", option, least, most, text);
    return -1;
}

/* False: said what is wrong. */
static bool set_number(struct options *options, int option, const char *name, const char *text)
{
    static const struct {
        int option;
        double least, most;
    } limits[] = {{'c', 1, 100000}, {'s', 0.1, 3600}, {'w', 0, 600},     {'r', 0.1, 1e7},
                  {'b', 1, 100000}, {'t', 1, 10000},  {'p', 1, 10000000}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (limits[i].option != option)
            continue;
        double value = number(name, text, limits[i].least, limits[i].most);
        if (value < 0)
            return false;
        switch (option) {
        case 'c': options->connections = (unsigned)value; break;
        case 's': options->seconds = value; break;
        case 'w': options->warmup = value; break;
        case 'r': options->rate = value; break;
        case 'b': options->batch = (unsigned)value; break;
        case 't': options->tenants = (unsigned)value; break;
        default: options->preload = (uint64_t)value; break;
        }
    }
    return true;
}

/* 0; 64: usage; -1: done. */
static int read_options(int argc, char **argv, struct options *options, bool *disk)
{
    int option, index = 0;
    while ((option = getopt_long(argc, argv, "h", long_options, &index)) != -1) {
        switch (option) {
        case 'q': options->queued = true; break;
        case 'Q': options->quiet = true; break;
        case 'S': options->program = optarg; break;
        case 'd': options->directory = optarg; break;
        case 'a': options->address = optarg; break;
        case 'C': options->config = optarg; break;
        case OPTION_DISK: *disk = true; break;
        case OPTION_HELP: usage_text(stdout); return -1;
        case '?': return 64;
        default:
            if (!set_number(options, option, long_options[index].name, optarg))
                return 64;
        }
    }
    if (*disk)
        return 0;
    options->scenario = optind + 1 == argc ? scenario_find(argv[optind]) : NULL;
    if (options->scenario)
        return 0;
    usage_text(stderr);
    return 64;
}

static void add_defaults(struct options *options)
{
    const struct scenario *scenario = options->scenario;
    if (!options->connections)
        options->connections = scenario->connections ? scenario->connections : 64;
    if (!options->batch)
        options->batch = scenario->batch ? scenario->batch : 500;
    if (!options->tenants)
        options->tenants = scenario->tenants ? scenario->tenants : 1;
    if (scenario->prepare == preload_finished)
        options->tenants = 1; /* who reads the tasks is who submitted them */
    if (scenario->settings && !scenario->body && !options->preload)
        options->preload = 1000000;
    if (options->preload / 900000 >= options->tenants) /* a tenant may have a million that wait */
        options->tenants = (unsigned)(options->preload / 900000 + 1);
    if (scenario->until_finished)
        options->warmup = 0;
}

/* The build tree's daemon, from this program's own place in it. */
static const char *find_daemon(void)
{
    static char path[1100];
    char self[1024];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (getenv("SATCHELD"))
        return getenv("SATCHELD");
    if (n <= 0)
        return "satcheld";
    self[n] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(self, '/');
        if (!slash)
            break;
        *slash = '\0';
        (void)snprintf(path, sizeof path, "%s/daemon/satcheld", self);
        if (access(path, X_OK) == 0)
            return path;
    }
    return "satcheld";
}

static char *settings_of(const struct options *options)
{
    static char text[65536];
    size_t n = 0;
    if (options->scenario->settings)
        n = (size_t)snprintf(text, sizeof text, "%s", options->scenario->settings);
    FILE *file = options->config ? fopen(options->config, "re") : NULL;
    if (file) {
        n += fread(text + n, 1, sizeof text - 1 - n, file);
        (void)fclose(file);
    } else if (options->config) {
        (void)fprintf(stderr, "satchel-load: cannot read %s\n", options->config);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

static int begin_server(struct load *load)
{
    const struct options *options = &load->options;
    struct timespec pause = {.tv_nsec = 300000000};
    if (options->address)
        return server_use(&load->server, options->address);
    const char *settings = settings_of(options);
    if (!settings || server_init(&load->server, options->program, options->directory, settings) < 0 ||
        server_start(&load->server) < 0)
        return -1;
    (void)nanosleep(&pause, NULL);
    if (!options->quiet)
        (void)fprintf(stderr, "satcheld is process %d, port %d\n", (int)load->server.pid,
                      ntohs(load->server.address.sin_port));
    return 0;
}

static int run(struct load *load)
{
    const struct scenario *scenario = load->options.scenario;
    if (messages_make(load) < 0 || begin_server(load) < 0 || server_usage(&load->server, &load->idle) < 0)
        return -1;
    if (scenario->prepare && scenario->prepare(load) < 0)
        return -1;
    if (scenario->next && !load_stopped && drive(load) < 0)
        return -1;
    if (load_stopped)
        return -1;
    report(load);
    return 0;
}

static void on_signal(int signal)
{
    (void)signal;
    load_stopped = 1;
}

static void prepare_process(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct rlimit files;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int argc, char **argv)
{
    static struct load load = {.random = 88172645463325252u};
    bool disk = false;
    const char *temporary = getenv("TMPDIR");
    load.options = (struct options){.seconds = 5, .warmup = 1, .directory = temporary ? temporary : "/var/tmp"};
    load.options.program = find_daemon();
    int result = read_options(argc, argv, &load.options, &disk);
    if (result)
        return result < 0 ? 0 : result;
    if (disk)
        return printf("%.3f\n", disk_sync_ms(load.options.directory)) > 0 ? 0 : 1;
    add_defaults(&load.options);
    prepare_process();
    for (unsigned i = 0; i < OPERATIONS_END; i++)
        if (!(load.latency[i] = histogram_new()))
            return 1;
    result = run(&load);
    server_release(&load.server);
    for (unsigned i = 0; i < OPERATIONS_END; i++)
        histogram_free(load.latency[i]);
    messages_free(&load);
    free(load.ids);
    return result < 0 || load.errors ? 1 : 0;
}
