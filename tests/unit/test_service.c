/* What is told to the service manager, what is inherited from it, and signals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/address.h"
#include "sys/limits.h"
#include "sys/service.h"
#include "sys/signals.h"

static int manager = -1; /* the fake NOTIFY_SOCKET */

static int open_manager(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "satchel-test-%d", (int)getpid());
    char name[64];
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)snprintf(name, sizeof name, "@%.60s", address.sun_path + 1);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    if (manager < 0 || bind(manager, (const struct sockaddr *)&address, size) < 0)
        return -1;
    return setenv("NOTIFY_SOCKET", name, 1);
}

static int close_manager(void **state)
{
    (void)state;
    (void)close(manager);
    return unsetenv("NOTIFY_SOCKET");
}

static const char *heard(void)
{
    static char text[512];
    struct pollfd wait = {.fd = manager, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 2000), 1);
    ssize_t got = recv(manager, text, sizeof text - 1, 0);
    assert_true(got >= 0);
    text[got] = '\0';
    return text;
}

static void test_ready_and_stopping(void **state)
{
    (void)state;
    service_ready("Serving");
    assert_string_equal(heard(), "READY=1\nSTATUS=Serving");
    service_ready(NULL);
    assert_string_equal(heard(), "READY=1\n");
    service_stopping("Draining");
    assert_string_equal(heard(), "STOPPING=1\nSTATUS=Draining");
    service_watchdog();
    assert_string_equal(heard(), "WATCHDOG=1");
    service_watchdog_trigger();
    assert_string_equal(heard(), "WATCHDOG=trigger");
    service_extend_timeout(5000000);
    assert_string_equal(heard(), "EXTEND_TIMEOUT_USEC=5000000");
}

static void test_status_cannot_smuggle(void **state)
{
    (void)state;
    service_status("one\nMAINPID=1");
    assert_string_equal(heard(), "STATUS=one");
}

static void test_reloading_has_its_time(void **state)
{
    (void)state;
    long long at = 0, before = clock_mono_ns() / 1000;
    service_reloading();
    const char *text = heard();
    assert_int_equal(strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
    assert_int_equal(sscanf(text + 27, "%lld", &at), 1);
    assert_true(at >= before && at <= clock_mono_ns() / 1000);
}

static void test_without_manager(void **state)
{
    (void)state;
    char *name = strdup(getenv("NOTIFY_SOCKET"));
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    service_ready("nobody hears it");
    service_watchdog();
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    free(name);
    struct pollfd wait = {.fd = manager, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 0);
}

static void test_watchdog_interval(void **state)
{
    (void)state;
    char pid[16];
    assert_int_equal(service_watchdog_interval_ns(), 0);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
    assert_int_equal(setenv("WATCHDOG_USEC", "30000000", 1), 0);
    assert_int_equal(service_watchdog_interval_ns(), INT64_C(15000000000));
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* meant for another process */
    assert_int_equal(service_watchdog_interval_ns(), 0);
    assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
    assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
}

/* In a child, so that descriptors 3 and 4 are ours to place: runs `check` and returns its exit status. */
static int with_sockets(const char *n, bool listening, int (*check)(void))
{
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char pid[16];
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int tcp = socket(AF_INET, SOCK_STREAM, 0), any = socket(AF_INET, SOCK_STREAM, 0);
        int tcp_copy = fcntl(tcp, F_DUPFD, 20), any_copy = fcntl(any, F_DUPFD, 20);
        (void)dup2(tcp_copy, 3);
        (void)dup2(any_copy, 4);
        (void)bind(3, (const struct sockaddr *)&address, sizeof address);
        if (listening)
            (void)listen(3, 1);
        (void)listen(4, 1); /* 0.0.0.0 */
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        (void)setenv("LISTEN_PID", pid, 1);
        (void)setenv("LISTEN_FDS", n, 1);
        (void)setenv("LISTEN_FDNAMES", strcmp(n, "1") == 0 ? "api" : "api:open", 1);
        _exit(check());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int check_two(void)
{
    struct service_socket sockets[SERVICE_SOCKETS_MAX];
    char error[256];
    if (service_take_sockets(sockets, error, sizeof error) != 2)
        return 1;
    if (sockets[0].fd != 3 || strcmp(sockets[0].name, "api") != 0 || strcmp(sockets[1].name, "open") != 0)
        return 2;
    if (!(fcntl(3, F_GETFD) & FD_CLOEXEC) || getenv("LISTEN_FDS"))
        return 3;
    if (address_check_inherited(3, error, sizeof error) != 0)
        return 4;
    if (address_check_inherited(4, error, sizeof error) != -1 || !strstr(error, "reachable from other machines"))
        return 5;
    return address_check_inherited(99, error, sizeof error) == -1 ? 0 : 6;
}

static int check_refused(void)
{
    struct service_socket sockets[SERVICE_SOCKETS_MAX];
    char error[256] = "";
    return service_take_sockets(sockets, error, sizeof error) == -1 && error[0] ? 0 : 1;
}

static void test_inherited_sockets(void **state)
{
    (void)state;
    struct service_socket sockets[SERVICE_SOCKETS_MAX];
    char error[256];
    assert_int_equal(service_take_sockets(sockets, error, sizeof error), 0);
    assert_int_equal(with_sockets("2", true, check_two), 0);
    assert_int_equal(with_sockets("1", false, check_refused), 0);
    assert_int_equal(with_sockets("many", true, check_refused), 0);
}

static int check_signals(void)
{
    if (signals_block() != 0)
        return 1;
    int64_t before = clock_mono_ns();
    if (signals_wait(20000000) != SIGNALS_NOTHING || clock_mono_ns() - before < 20000000)
        return 2;
    (void)kill(getpid(), SIGPIPE); /* ignored */
    (void)kill(getpid(), SIGHUP);
    if (signals_wait(-1) != SIGNALS_RELOAD)
        return 3;
    (void)kill(getpid(), SIGTERM);
    if (signals_wait(-1) != SIGNALS_STOP)
        return 4;
    (void)kill(getpid(), SIGHUP);
    if (signals_wait(1000000000) != SIGNALS_RELOAD)
        return 5;
    (void)kill(getpid(), SIGINT);
    return signals_wait(-1) == SIGNALS_STOP_NOW ? 0 : 6;
}

static void test_signals(void **state)
{
    (void)state;
    assert_int_equal(with_sockets("1", true, check_signals), 0);
}

static int hurried[2];

static void hurry(void *arg)
{
    (void)!write(hurried[1], arg, 1);
}

static int check_guard(void)
{
    if (signals_block() != 0)
        return 1;
    (void)kill(getpid(), SIGTERM);
    if (signals_wait(1000000000) != SIGNALS_STOP || signals_guard_stop(NULL, NULL) != 0)
        return 2;
    (void)kill(getpid(), SIGINT);
    (void)poll(NULL, 0, 5000); /* main is busy stopping */
    return 3;
}

static int check_hurry(void)
{
    char mark = 'h', got = 0;
    if (signals_block() != 0 || pipe2(hurried, O_CLOEXEC) != 0 || signals_guard_stop(hurry, &mark) != 0)
        return 1;
    (void)kill(getpid(), SIGTERM);
    if (read(hurried[0], &got, 1) != 1 || got != 'h')
        return 2;
    (void)kill(getpid(), SIGTERM);
    (void)poll(NULL, 0, 5000);
    return 3;
}

static void test_second_stop_ends_at_once(void **state)
{
    (void)state;
    assert_int_equal(with_sockets("1", true, check_guard), 128 + SIGINT);
    assert_int_equal(with_sockets("1", true, check_hurry), 128 + SIGTERM);
}

static int check_limits(void)
{
    struct rlimit limit = {.rlim_cur = 64};
    struct rlimit now;
    (void)getrlimit(RLIMIT_NOFILE, &now);
    limit.rlim_max = now.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1;
    if (limits_raise_files() <= 64)
        return 2;
    (void)getrlimit(RLIMIT_NOFILE, &now);
    if (now.rlim_cur != now.rlim_max)
        return 3;
    limits_forbid_core_dumps();
    (void)getrlimit(RLIMIT_CORE, &now);
    return now.rlim_cur == 0 ? 0 : 4;
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(with_sockets("1", true, check_limits), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready_and_stopping),
        cmocka_unit_test(test_status_cannot_smuggle),
        cmocka_unit_test(test_reloading_has_its_time),
        cmocka_unit_test(test_without_manager),
        cmocka_unit_test(test_watchdog_interval),
        cmocka_unit_test(test_inherited_sockets),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_second_stop_ends_at_once),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, open_manager, close_manager);
}
