/* One child process from start to end: poll() on its output, its launcher and the attempt's cancel object.
 *
 *   - Standard input is a file in memory that holds the args, so that a child which does not read cannot block us.
 *   - Standard output is collected up to the result's limit, standard error is handed on by lines; both are emptied all
 *     the time, so that the child cannot block either.
 *   - What it writes to the fourth descriptor is its progress (command_progress.c).
 *   - A fired cancel object means SIGTERM to the process group, and SIGKILL to everything after the grace time.
 *   - The end is what the launcher says: by then every process that the command has started is gone, so what the pipes
 *     hold is all there is, and nobody waits for a grandchild that keeps them open. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "executor/cgroup.h"
#include "executor/command.h"
#include "executor/command_progress.h"
#include "executor/launcher.h"

#define READ_SIZE 65536u
#define LINE_MAX_LEN 16384u           /* a longer line of the log is handed on in parts */
#define STUCK_NS INT64_C(10000000000) /* how long the launcher may take after SIGKILL before it is given up */

struct child {
    struct attempt *attempt;
    struct launcher *launcher;
    struct command_result *result;
    int64_t grace_ns;
    int output, errors; /* our ends; -1: closed */
    int progress_fd;    /* the same */
    struct command_progress progress;
    struct buf line;      /* of standard error, not ended yet */
    struct buf lines;     /* whole ones, on their way to the log */
    bool ended;           /* nothing more is to come */
    bool told;            /* ... and the launcher said how it ended */
    bool unfit;           /* the launcher can not be used again */
    bool too_much;        /* standard output is only emptied from now on */
    bool stopping;        /* SIGTERM was sent */
    int64_t next_step_ns; /* when SIGTERM becomes SIGKILL, or SIGKILL gives up; 0: not stopping */
    bool killed;
    pid_t pid;
    struct cgroup cgroup; /* procs -1: none */
    char *room;           /* READ_SIZE bytes */
};

/* ---- the three streams ---- */

static int input_of(struct slice args)
{
    int fd = memfd_create("args", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (args.len) {
        ssize_t n = write(fd, args.data, args.len);
        if (n < 0 && errno != EINTR) {
            int err = -errno;
            (void)close(fd);
            return err;
        }
        if (n > 0)
            args = slice_of(args.data + n, args.len - (size_t)n);
    }
    (void)lseek(fd, 0, SEEK_SET);
    return fd;
}

static int make_pipe(int *ret_ours, int *ret_theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK); /* our end alone: programs do not expect it of theirs */
    *ret_ours = ends[0];
    *ret_theirs = ends[1];
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void flush_line(struct child *c)
{
    buf_append_slice(&c->lines, buf_slice(&c->line));
    buf_append_char(&c->lines, '\n');
    if (c->line.len) {
        buf_reset(&c->result->last_line);
        buf_append_slice(&c->result->last_line, buf_slice(&c->line));
    }
    buf_reset(&c->line);
}

/* What one read brought goes on as one piece: a message a line would cost more than the lines. */
static void hand_on_lines(struct child *c)
{
    const struct attempt_host *host = c->attempt->host;
    if (c->lines.len && host && host->log)
        host->log(c->attempt->host_arg, c->attempt,
                  slice_of(c->lines.data, c->lines.len - 1)); /* it adds the last \n */
    buf_reset(&c->lines);
}

static void take_errors(struct child *c, const char *data, size_t len)
{
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t part = newline ? (size_t)(newline - data) : len;
        if (part > LINE_MAX_LEN - c->line.len) {
            part = LINE_MAX_LEN - c->line.len;
            newline = NULL;
        }
        buf_append(&c->line, data, part);
        if (newline || c->line.len == LINE_MAX_LEN)
            flush_line(c);
        part += newline != NULL;
        data += part;
        len -= part;
    }
    hand_on_lines(c);
}

static void take_progress(struct child *c, const char *data, size_t len)
{
    command_progress_take(&c->progress, data, len);
}

static void stop(struct child *c, enum command_end why)
{
    if (c->stopping || c->ended)
        return;
    c->stopping = true;
    c->result->end = why;
    launcher_signal(c->launcher, LAUNCH_TERM);
    c->next_step_ns = clock_mono_ns() + c->grace_ns;
}

static void take_output(struct child *c, const char *data, size_t len)
{
    struct buf *output = &c->result->output;
    if (c->too_much)
        return;
    if (len <= c->attempt->type->max_result - output->len) {
        buf_append(output, data, len);
        return;
    }
    c->too_much = true;
    buf_release(output);
    stop(c, COMMAND_TOO_MUCH);
}

/* Reads once, or, at the end, all there is. */
static void drain(struct child *c, int *fd, void (*take)(struct child *, const char *, size_t), bool all)
{
    while (*fd >= 0) {
        ssize_t n = read(*fd, c->room, READ_SIZE);
        if (n > 0)
            take(c, c->room, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_fd(fd);
        else if (errno == EAGAIN)
            return;
        if (!all)
            return;
    }
}

/* ---- the end ---- */

static void listen_to_launcher(struct child *c)
{
    struct launch_reply reply;
    int got;
    while (!c->ended && (got = launcher_read(c->launcher, &reply)) != 0) {
        if (got < 0) {
            c->ended = c->unfit = true;
            return;
        }
        c->told = c->ended = reply.event != LAUNCH_STARTED;
        switch ((enum launch_event)reply.event) {
        case LAUNCH_STARTED: c->pid = reply.value; break;
        case LAUNCH_REFUSED:
            c->result->end = COMMAND_NOT_STARTED;
            c->result->why = reply.value;
            c->result->step = (int)reply.step;
            c->result->detail = (int)reply.detail;
            break;
        case LAUNCH_ENDED:
            c->result->status = reply.value;
            c->unfit = reply.survivors; /* it is busy killing */
            break;
        }
    }
}

static void step(struct child *c)
{
    if (c->killed) {
        c->ended = c->unfit = true;
        return;
    }
    c->killed = true;
    launcher_signal(c->launcher, LAUNCH_KILL);
    c->next_step_ns = clock_mono_ns() + STUCK_NS;
}

static void watch(struct child *c)
{
    int cancel = satchel_cancel_fd(c->attempt->cancel);
    while (!c->ended) {
        if (!c->stopping && satchel_cancel_reason(c->attempt->cancel))
            stop(c, COMMAND_CANCELED);
        struct pollfd on[] = {{.fd = launcher_fd(c->launcher), .events = POLLIN},
                              {.fd = c->output, .events = POLLIN},
                              {.fd = c->errors, .events = POLLIN},
                              {.fd = c->progress_fd, .events = POLLIN},
                              {.fd = c->stopping ? -1 : cancel, .events = POLLIN}};
        int64_t left = c->next_step_ns ? c->next_step_ns - clock_mono_ns() : INT64_MAX;
        int64_t due = command_progress_due(&c->progress);
        if (left <= 0) {
            step(c);
            continue;
        }
        left = due >= 0 && due < left ? due : left;
        struct timespec limit = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        int ready = ppoll(on, sizeof on / sizeof on[0], left < INT64_MAX ? &limit : NULL, NULL);
        command_progress_tell(&c->progress);
        if (ready <= 0)
            continue;
        if (on[1].revents)
            drain(c, &c->output, take_output, false);
        if (on[2].revents)
            drain(c, &c->errors, take_errors, false);
        if (on[3].revents)
            drain(c, &c->progress_fd, take_progress, false);
        if (on[0].revents)
            listen_to_launcher(c);
    }
}

/* The thread gets another launcher; what this one could not see to the end is ended from here. */
static void give_up_launcher(struct child *c)
{
    if (!c->told && c->pid > 1)
        (void)kill(-c->pid, SIGKILL);
    launcher_drop(c->launcher);
}

static int launch(struct child *c, const struct launch_command *command)
{
    int err = launcher_run(c->launcher, command);
    if (err == -EPIPE || err == -ECONNRESET) { /* it was killed while it was idle: another one */
        launcher_drop(c->launcher);
        c->launcher = launcher_get();
        err = c->launcher ? launcher_run(c->launcher, command) : -errno;
    }
    return err;
}

static int start(struct child *c, const struct command *command, char *const *arguments, char *const *variables,
                 int input)
{
    int output = -1, errors = -1, progress = -1;
    int err = make_pipe(&c->output, &output);
    if (err == 0)
        err = make_pipe(&c->errors, &errors);
    if (err == 0)
        err = make_pipe(&c->progress_fd, &progress);
    if (err == 0)
        err = launch(c, &(struct launch_command){.workdir = command->task->workdir ? command->task->workdir : "/",
                                                 .confine = &command->confine,
                                                 .groups = command->task->confine.groups,
                                                 .arguments = arguments,
                                                 .variables = variables,
                                                 .fds = {input, output, errors, progress, c->cgroup.procs}});
    close_fd(&output);
    close_fd(&errors);
    close_fd(&progress);
    return err;
}

static int run(struct child *c, const struct command *command, char *const *arguments, char *const *variables)
{
    int input = input_of(c->attempt->spec->args);
    if (input < 0)
        return input;
    int err = start(c, command, arguments, variables, input);
    (void)close(input);
    if (err < 0)
        return err;
    watch(c);
    drain(c, &c->output, take_output, true);
    drain(c, &c->errors, take_errors, true);
    drain(c, &c->progress_fd, take_progress, true);
    command_progress_end(&c->progress);
    c->result->verdict = c->progress.verdict;
    if (c->line.len) {
        flush_line(c);
        hand_on_lines(c);
    }
    if (c->unfit)
        give_up_launcher(c);
    if (c->result->end == COMMAND_EXITED && c->too_much)
        c->result->end = COMMAND_TOO_MUCH;
    else if (c->result->end == COMMAND_EXITED && !c->told)
        c->result->end = COMMAND_LOST;
    return buf_ok(&c->result->output) ? 0 : -ENOMEM;
}

/* Success it was all the same, where only a helper of the command's was killed and it went on without. */
static bool ended_by_oom(const struct child *c)
{
    return c->cgroup.procs >= 0 && c->told && c->result->end == COMMAND_EXITED && c->result->status != 0 &&
           cgroup_had_oom(&c->cgroup);
}

static int run_in_group(struct child *c, const struct command *command, char *const *arguments, char *const *variables)
{
    const struct config_confine *confine = &command->task->confine;
    int err = cgroup_wanted(confine) ? cgroup_new(confine, &c->cgroup) : 0;
    if (err < 0) {
        *c->result = (struct command_result){.end = COMMAND_NOT_STARTED, .why = -err, .step = LAUNCH_STEP_CGROUP};
        return 0;
    }
    err = run(c, command, arguments, variables);
    if (c->cgroup.procs < 0)
        return err;
    if (err == 0 && ended_by_oom(c))
        c->result->end = COMMAND_OOM;
    cgroup_release(&c->cgroup);
    return err;
}

int command_run(const struct command *command, struct attempt *attempt, char *const *arguments, char *const *variables,
                struct command_result *ret)
{
    struct child c = {.attempt = attempt,
                      .result = ret,
                      .output = -1,
                      .errors = -1,
                      .progress_fd = -1,
                      .cgroup = {.procs = -1, .dir = -1},
                      .progress.attempt = attempt,
                      .grace_ns = command->task->kill_grace_us * 1000,
                      .room = malloc(READ_SIZE)};
    *ret = (struct command_result){.end = COMMAND_EXITED};
    if (!c.room)
        return -ENOMEM;
    int err = satchel_cancel_fd(attempt->cancel) < 0 ? -EMFILE : 0;
    c.launcher = err ? NULL : launcher_get();
    if (!err)
        err = c.launcher ? run_in_group(&c, command, arguments, variables) : -errno;
    close_fd(&c.output);
    close_fd(&c.errors);
    close_fd(&c.progress_fd);
    buf_release(&c.line);
    buf_release(&c.lines);
    free(c.room);
    return err;
}
