/* See daemon.h. */
#include "bench/load/daemon.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define ASK_LIMIT_NS (60 * (int64_t)1000000000)
#define START_LIMIT_NS (120 * (int64_t)1000000000)

static void pause_us(long us)
{
    struct timespec pause = {.tv_nsec = us * 1000};
    (void)nanosleep(&pause, NULL);
}

/* ---- its directory ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
    (void)status;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    if (!file || fputs(text, file) < 0) {
        (void)fprintf(stderr, "satchel-load: %s: %s\n", path, strerror(errno));
        if (file)
            (void)fclose(file);
        return -1;
    }
    return fclose(file) == 0 ? 0 : -1;
}

int server_init(struct server *server, const char *program, const char *parent, const char *settings)
{
    *server = (struct server){.program = program};
    (void)snprintf(server->directory, sizeof server->directory, "%s/satchel-load-XXXXXX", parent);
    if (!mkdtemp(server->directory)) {
        (void)fprintf(stderr, "satchel-load: %s: %s\n", server->directory, strerror(errno));
        server->directory[0] = '\0';
        return -1;
    }
    if (!settings || !settings[0])
        return 0;
    (void)snprintf(server->config, sizeof server->config, "%s/load.conf", server->directory);
    return write_file(server->config, settings);
}

void server_release(struct server *server)
{
    if (server->pid)
        server_stop(server, SIGTERM);
    if (server->directory[0])
        (void)nftw(server->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- its life ---- */

static void run_daemon(struct server *server, const char *errors, pid_t parent)
{
    char data[600];
    (void)snprintf(data, sizeof data, "%s/data", server->directory);
    int fd = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(127);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* of the thread that forked, which is the only one */
    if (getppid() == parent)
        (void)execl(server->program, server->program, "--config", server->config[0] ? server->config : "/dev/null",
                    "--listen", "127.0.0.1:0", "--data-dir", data, (char *)NULL);
    _exit(127);
}

/* The port, from what it says once it accepts requests; 0: not yet. */
static int read_port(const char *errors)
{
    char text[4096];
    int fd = open(errors, O_RDONLY | O_CLOEXEC), port = 0;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *at = strstr(text, "listening on http://127.0.0.1:");
    const char *end = at ? strchr(at, '\n') : NULL;
    if (end)
        port = atoi(at + strlen("listening on http://127.0.0.1:"));
    return port;
}

static void show_errors(const char *errors)
{
    char text[2000];
    FILE *file = fopen(errors, "re");
    while (file && fgets(text, sizeof text, file))
        (void)fputs(text, stderr);
    if (file)
        (void)fclose(file);
}

static bool is_ready(const struct server *server)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n";
    return server_ask(server, request, sizeof request - 1, NULL) == 200;
}

int server_start(struct server *server)
{
    char errors[600];
    int64_t begun = clock_mono_ns();
    pid_t parent = getpid();
    (void)snprintf(errors, sizeof errors, "%s/errors", server->directory);
    (void)unlink(errors);
    server->pid = fork();
    if (server->pid == 0)
        run_daemon(server, errors, parent);
    server->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    while (server->pid > 0 && clock_mono_ns() - begun < START_LIMIT_NS) {
        int port = read_port(errors);
        server->address.sin_port = htons((uint16_t)port);
        if (port && is_ready(server)) {
            server->ready_s = (double)(clock_mono_ns() - begun) / 1e9;
            return 0;
        }
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
            server->pid = 0;
        pause_us(1000);
    }
    (void)fprintf(stderr, "satchel-load: %s did not start:\n", server->program);
    show_errors(errors);
    if (server->pid > 0)
        server_stop(server, SIGKILL);
    server->pid = 0;
    return -1;
}

void server_stop(struct server *server, int signal)
{
    int64_t begun = clock_mono_ns();
    int told = 0;
    if (server->pid <= 0 || !server->directory[0])
        return;
    (void)kill(server->pid, signal);
    while (waitpid(server->pid, NULL, WNOHANG) == 0) {
        int64_t passed = clock_mono_ns() - begun;
        if (passed > (int64_t)3000000000 && told == 0) { /* attempts still run: the second signal ends them */
            (void)kill(server->pid, SIGTERM);
            told = 1;
        } else if (passed > (int64_t)30000000000 && told == 1) {
            (void)kill(server->pid, SIGKILL);
            told = 2;
        }
        pause_us(2000);
    }
    server->pid = 0;
}

int server_use(struct server *server, const char *address)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    *server = (struct server){.address.sin_family = AF_INET};
    if (!colon || (size_t)(colon - address) >= sizeof host) {
        (void)fprintf(stderr, "satchel-load: %s is no HOST:PORT\n", address);
        return -1;
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    server->address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &server->address.sin_addr) == 1)
        return 0;
    (void)fprintf(stderr, "satchel-load: %s: an IPv4 address is wanted\n", host);
    return -1;
}

/* ---- single requests ---- */

int server_connect(const struct server *server)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&server->address, sizeof server->address) < 0) {
        int error = errno;
        (void)fprintf(stderr, "satchel-load: cannot connect: %s\n", strerror(error));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int send_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* All that comes until the server closes; NULL: not in time, or no memory. */
static char *read_all(int fd)
{
    size_t len = 0, cap = 65536;
    char *text = malloc(cap);
    int64_t end = clock_mono_ns() + ASK_LIMIT_NS;
    while (text) {
        int64_t left_ms = (end - clock_mono_ns()) / 1000000;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || (poll(&ready, 1, (int)left_ms) < 0 && errno != EINTR))
            break;
        ssize_t n = recv(fd, text + len, cap - len - 1, MSG_DONTWAIT);
        if (n == 0) {
            text[len] = '\0';
            return text;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            break;
        len += n > 0 ? (size_t)n : 0;
        if (cap - len < 4096) {
            char *more = realloc(text, cap *= 2);
            if (!more)
                break;
            text = more;
        }
    }
    free(text);
    return NULL;
}

int server_ask(const struct server *server, const char *request, size_t len, char **ret_body)
{
    int fd = server_connect(server), status = -1;
    if (fd < 0)
        return -1;
    char *text = send_all(fd, request, len) == 0 ? read_all(fd) : NULL;
    (void)close(fd);
    char *body = text ? strstr(text, "\r\n\r\n") : NULL;
    if (body && strncmp(text, "HTTP/1.1 ", 9) == 0)
        status = atoi(text + 9);
    if (status > 0 && ret_body)
        *ret_body = strdup(body + 4);
    free(text);
    if (status < 0)
        (void)fprintf(stderr, "satchel-load: no answer to a request\n");
    return status;
}

/* ---- what it uses ---- */

double server_cpu(const struct server *server)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)server->pid);
    FILE *file = server->pid ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[n] = '\0';
    const char *at = strrchr(text, ')');
    if (at)
        (void)sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static long status_value(const char *path, const char *name)
{
    char line[256];
    long value = 0;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value += atol(line + strlen(name));
    if (file)
        (void)fclose(file);
    return value;
}

static long all_switches(pid_t pid)
{
    char path[400];
    long count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, entry->d_name);
        count += status_value(path, "voluntary_ctxt_switches:") + status_value(path, "nonvoluntary_ctxt_switches:");
    }
    if (directory)
        (void)closedir(directory);
    return count;
}

/* The sum of a metric's samples. */
static double metric(const char *text, const char *name)
{
    double sum = 0;
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && (line[len] == ' ' || line[len] == '{')) {
            const char *end = strchr(line, '\n'), *at = line;
            for (const char *blank = line; (blank = strchr(blank, ' ')) && (!end || blank < end);)
                at = ++blank;
            sum += strtod(at, NULL);
        }
    }
    return sum;
}

int server_usage(const struct server *server, struct usage *ret)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n";
    char *text = NULL, path[64];
    *ret = (struct usage){0};
    if (server_ask(server, request, sizeof request - 1, &text) != 200 || !text) {
        free(text);
        return -1;
    }
    ret->syncs = metric(text, "satchel_store_syncs_total");
    ret->commits = metric(text, "satchel_store_commits_total");
    ret->submitted = metric(text, "satchel_tasks_submitted_total");
    ret->finished = metric(text, "satchel_tasks_finished_total");
    ret->cpu_s = metric(text, "process_cpu_seconds_total");
    ret->rss_kib = (long)(metric(text, "process_resident_memory_bytes") / 1024);
    free(text);
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)server->pid);
    if (server->pid) {
        ret->rss_kib = status_value(path, "VmRSS:");
        ret->switches = all_switches(server->pid);
    }
    return 0;
}

/* ---- the disk ---- */

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

double disk_sync_ms(const char *directory)
{
    char path[600], page[4096] = {0};
    int64_t took[100];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/sync-XXXXXX", directory);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (; n < 100; n++) {
        int64_t begun = clock_mono_ns();
        if (write(fd, page, sizeof page) != (ssize_t)sizeof page || fdatasync(fd) < 0)
            break;
        took[n] = clock_mono_ns() - begun;
    }
    (void)close(fd);
    (void)unlink(path);
    qsort(took, n, sizeof took[0], compare);
    return n ? (double)took[n / 2] / 1e6 : 0;
}
