/* The daemon as its service manager and its operator see it: exit codes, readiness, watchdog, reload, stop, inherited
 * sockets.  Starts the built program; everything has a time limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define PATIENCE_MS 20000

static char directory[] = "/tmp/satchel-daemon-XXXXXX";

struct running {
    pid_t pid;
    int output;       /* its standard output and error */
    char text[65536]; /* what it said so far */
    size_t len;
    int manager;   /* the fake NOTIFY_SOCKET, or -1 */
    int inherited; /* a listening socket that becomes its descriptor 3, or -1 */
};

static const char *file_named(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(file_named(name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void child_env(const struct running *d)
{
    char text[64];
    (void)unsetenv("JOURNAL_STREAM");
    if (d->manager >= 0) {
        (void)snprintf(text, sizeof text, "%s/notify", directory);
        (void)setenv("NOTIFY_SOCKET", text, 1);
        (void)setenv("WATCHDOG_USEC", "400000", 1);
    }
    if (d->inherited >= 0) {
        (void)snprintf(text, sizeof text, "%d", (int)getpid());
        (void)setenv("LISTEN_PID", text, 1);
        (void)setenv("LISTEN_FDS", "1", 1);
        int copy = fcntl(d->inherited, F_DUPFD, 10);
        (void)dup2(copy, 3);
        (void)close(copy);
    }
}

/* NULL ends the arguments; --data-dir is added. */
static void start(struct running *d, const char *const *arguments)
{
    int ends[2];
    union {
        const char *text;
        char *bare;
    } word;
    char *argv[16], data[128];
    int argc = 0;
    (void)snprintf(data, sizeof data, "--data-dir=%s/data", directory);
    for (word.text = "daemon/satcheld"; word.text && argc < 14; word.text = arguments[argc - 1])
        argv[argc++] = word.bare;
    argv[argc++] = data;
    argv[argc] = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)fflush(NULL);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        child_env(d);
        (void)execv(argv[0], argv);
        _exit(127);
    }
    (void)close(ends[1]);
    d->output = ends[0];
    d->len = 0;
    d->text[0] = '\0';
}
#define START(d, ...) start((d), (const char *const[]){__VA_ARGS__, NULL})

static struct running fresh(void)
{
    return (struct running){.pid = -1, .output = -1, .manager = -1, .inherited = -1};
}

/* Reads more of what it says; false: it said its last, or the time is up. */
static bool read_more(struct running *d, int64_t until_ns)
{
    int64_t left = (until_ns - clock_mono_ns()) / 1000000;
    struct pollfd wait = {.fd = d->output, .events = POLLIN};
    if (left <= 0 || poll(&wait, 1, (int)left) != 1)
        return false;
    if (d->len > sizeof d->text - 4096)
        d->len = 0;
    ssize_t got = read(d->output, d->text + d->len, 4000);
    if (got <= 0)
        return false;
    d->len += (size_t)got;
    d->text[d->len] = '\0';
    return true;
}

static void expect(struct running *d, const char *wanted)
{
    int64_t until = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
    while (!strstr(d->text, wanted))
        if (!read_more(d, until))
            fail_msg("it never said \"%s\", but:\n%s", wanted, d->text);
}

/* Its exit status; killed when the time is up. */
static int finish(struct running *d)
{
    int64_t until = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
    int status;
    while (read_more(d, until))
        ;
    if (clock_mono_ns() >= until)
        (void)kill(d->pid, SIGKILL);
    assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
    (void)close(d->output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_usage(void **state)
{
    (void)state;
    struct running d = fresh();
    START(&d, "--nonsense");
    assert_int_equal(finish(&d), 64);
    assert_non_null(strstr(d.text, "--nonsense"));
    START(&d, "--version");
    assert_int_equal(finish(&d), 0);
    assert_int_equal(strncmp(d.text, "satcheld ", 9), 0);
    START(&d, "--help");
    assert_int_equal(finish(&d), 0);
    assert_non_null(strstr(d.text, "--listen=ADDR"));
}

static void test_check(void **state)
{
    (void)state;
    struct running d = fresh();
    put_file("good.conf", "workers = 4\n");
    put_file("bad.conf", "workers = x\nnonsense = 1\n");
    char good[160], bad[160];
    (void)snprintf(good, sizeof good, "--config=%s/good.conf", directory);
    (void)snprintf(bad, sizeof bad, "--config=%s/bad.conf", directory);
    START(&d, good, "--check");
    assert_int_equal(finish(&d), 0);
    START(&d, bad, "--check");
    assert_int_equal(finish(&d), 78);
    assert_non_null(strstr(d.text, "bad.conf:1: workers"));
    assert_non_null(strstr(d.text, "bad.conf:2: unknown setting"));
    START(&d, bad); /* and it does not serve with it either */
    assert_int_equal(finish(&d), 78);
    START(&d, good, "--print-config", "--workers=6");
    assert_int_equal(finish(&d), 0);
    assert_non_null(strstr(d.text, "workers = 6\n"));
}

static void test_open_address_is_refused(void **state)
{
    (void)state;
    struct running d = fresh();
    START(&d, "--config=/dev/null", "--listen=0.0.0.0:0");
    assert_int_equal(finish(&d), 78);
    assert_non_null(strstr(d.text, "reachable from other machines"));
}

static void open_manager(struct running *d)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.100s", file_named("notify"));
    (void)unlink(address.sun_path);
    d->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(d->manager, (const struct sockaddr *)&address, sizeof address), 0);
}

/* Waits for a message that begins so; others in between are passed over. */
static void expect_told(struct running *d, const char *wanted)
{
    int64_t until = clock_mono_ns() + PATIENCE_MS * INT64_C(1000000);
    char text[512] = "";
    for (;;) {
        int64_t left = (until - clock_mono_ns()) / 1000000;
        struct pollfd wait = {.fd = d->manager, .events = POLLIN};
        if (left <= 0 || poll(&wait, 1, (int)left) != 1)
            fail_msg("the manager was never told \"%s\"", wanted);
        ssize_t got = recv(d->manager, text, sizeof text - 1, 0);
        assert_true(got >= 0);
        text[got] = '\0';
        if (strncmp(text, wanted, strlen(wanted)) == 0)
            return;
    }
}

static void test_life_under_a_manager(void **state)
{
    (void)state;
    struct running d = fresh();
    char config[160];
    open_manager(&d);
    put_file("live.conf", "log_level = info\n");
    (void)snprintf(config, sizeof config, "--config=%s/live.conf", directory);
    START(&d, config, "--listen=127.0.0.1:0");
    expect_told(&d, "READY=1");
    expect(&d, "satcheld: listening on http://127.0.0.1:");
    expect_told(&d, "WATCHDOG=1");
    expect_told(&d, "WATCHDOG=1");
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    expect_told(&d, "RELOADING=1\nMONOTONIC_USEC=");
    expect_told(&d, "READY=1");
    put_file("live.conf", "log_level = loud\n"); /* refused as a whole: it goes on with the old one */
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    expect_told(&d, "RELOADING=1");
    expect_told(&d, "READY=1");
    expect(&d, "live.conf:1: log_level");
    expect_told(&d, "WATCHDOG=1");
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    expect_told(&d, "STOPPING=1");
    assert_int_equal(finish(&d), 0);
    (void)close(d.manager);
}

static int listener(uint32_t host, uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void test_inherited_socket(void **state)
{
    (void)state;
    struct running d = fresh();
    uint16_t port;
    char line[64], answer[512] = "";
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    d.inherited = listener(INADDR_LOOPBACK, &port);
    /* A client that came before the daemon waits, and is served. */
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(client, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    START(&d, "--config=/dev/null", "--listen=127.0.0.1:1"); /* port 1 is not taken: the socket replaces it */
    (void)snprintf(line, sizeof line, "satcheld: listening on http://127.0.0.1:%u", (unsigned)port);
    expect(&d, line);
    struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_true(recv(client, answer, sizeof answer - 1, 0) > 0);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
    (void)close(client);
    assert_int_equal(kill(d.pid, SIGINT), 0);
    assert_int_equal(finish(&d), 0);
    (void)close(d.inherited);
}

static void test_open_inherited_socket_is_refused(void **state)
{
    (void)state;
    struct running d = fresh();
    uint16_t port;
    d.inherited = listener(INADDR_ANY, &port);
    START(&d, "--config=/dev/null");
    assert_int_equal(finish(&d), 73);
    assert_non_null(strstr(d.text, "reachable from other machines"));
    (void)close(d.inherited);
}

static void test_taken_address(void **state)
{
    (void)state;
    struct running d = fresh();
    uint16_t port;
    char argument[64];
    int fd = listener(INADDR_LOOPBACK, &port);
    (void)snprintf(argument, sizeof argument, "--listen=127.0.0.1:%u", (unsigned)port);
    START(&d, "--config=/dev/null", argument);
    int status = finish(&d);
    assert_true(status != 0 && status < 128);
    assert_non_null(strstr(d.text, "in use"));
    (void)close(fd);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_open_address_is_refused),
        cmocka_unit_test(test_life_under_a_manager),
        cmocka_unit_test(test_inherited_socket),
        cmocka_unit_test(test_open_inherited_socket_is_refused),
        cmocka_unit_test(test_taken_address),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
