/* What command tasks are measured against: the same program started by nothing but posix_spawn and waitpid, as fast as
 * this machine can, on as many processors. */
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/load/load.h"

static uint64_t spawn_until(int64_t end)
{
    char program[] = "/bin/true";
    char *arguments[] = {program, NULL}, *variables[] = {NULL};
    uint64_t n = 0;
    while (clock_mono_ns() < end) {
        pid_t pid;
        if (posix_spawn(&pid, program, NULL, NULL, arguments, variables) != 0 || waitpid(pid, NULL, 0) != pid)
            break;
        n++;
    }
    return n;
}

double spawn_rate(unsigned processes, double seconds)
{
    int64_t begun = clock_mono_ns(), end = begun + (int64_t)(seconds * 1e9);
    pid_t pids[64];
    uint64_t all = 0;
    int fds[2];
    if (processes > 64 || pipe(fds) < 0)
        return 0;
    for (unsigned i = 0; i < processes; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            uint64_t n = spawn_until(end);
            _exit(write(fds[1], &n, sizeof n) == (ssize_t)sizeof n ? 0 : 1);
        }
    }
    (void)close(fds[1]);
    for (uint64_t n; read(fds[0], &n, sizeof n) == (ssize_t)sizeof n;)
        all += n;
    (void)close(fds[0]);
    for (unsigned i = 0; i < processes; i++)
        if (pids[i] > 0)
            (void)waitpid(pids[i], NULL, 0);
    return (double)all / ((double)(clock_mono_ns() - begun) / 1e9);
}
