/* Flow: api/metrics.c -> here. */
#include "telemetry/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0)
        (void)close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Newer kernels say how many there are; else they are counted. */
static uint64_t count_fds(void)
{
    struct stat status;
    if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0)
        return (uint64_t)status.st_size;
    DIR *folder = opendir("/proc/self/fd");
    uint64_t n = 0;
    while (folder && readdir(folder))
        n++;
    if (folder)
        (void)closedir(folder);
    return n > 3 ? n - 3 : 0; /* not ".", "..", and the folder itself */
}

/* The fields of /proc/self/stat behind the name, which may hold anything but ends with the last ')'. */
static void read_stat(struct process_stats *ret)
{
    char text[1024];
    unsigned long long threads, start, virtual;
    long long resident;
    const char *end = read_text("/proc/self/stat", text, sizeof text) ? strrchr(text, ')') : NULL;
    if (!end || sscanf(end + 1,
                       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu %*d %llu "
                       "%llu %lld",
                       &threads, &start, &virtual, &resident) != 4)
        return;
    ret->threads = threads;
    ret->virtual_bytes = virtual;
    ret->resident_bytes = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    struct timespec wall, boot;
    if (clock_gettime(CLOCK_REALTIME, &wall) == 0 && clock_gettime(CLOCK_BOOTTIME, &boot) == 0)
        ret->start_s = (uint64_t)(wall.tv_sec - boot.tv_sec) + start / (unsigned long long)sysconf(_SC_CLK_TCK);
}

void process_get_stats(struct process_stats *ret)
{
    struct timespec cpu;
    struct rlimit limit;
    *ret = (struct process_stats){.open_fds = count_fds()};
    read_stat(ret);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        ret->cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        ret->max_fds = limit.rlim_cur;
}
