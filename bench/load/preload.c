/* What the daemon holds before anything is measured. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/load/load.h"

#define LIMIT_MS 60000

/* 1: it was sent; 0: the answer has to be read first; -1: broken. */
static int send_some(int fd, const struct message *message, size_t *sent)
{
    ssize_t n = send(fd, message->bytes + *sent, message->len - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    *sent += (size_t)n;
    return *sent == message->len;
}

/* Sends it and reads the answer at once, which may begin before the request ends. */
static int exchange(struct wire *wire, int fd, const struct message *message)
{
    size_t sent = 0;
    for (bool all_sent = false;;) {
        struct pollfd ready = {.fd = fd, .events = (short)(all_sent ? POLLIN : POLLIN | POLLOUT)};
        int n = poll(&ready, 1, LIMIT_MS);
        if (load_stopped || n == 0 || (n < 0 && errno != EINTR))
            return -1;
        if (!all_sent && (ready.revents & POLLOUT)) {
            int result = send_some(fd, message, &sent);
            if (result < 0)
                return -1;
            all_sent = result > 0;
        }
        if (ready.revents & (POLLIN | POLLERR | POLLHUP)) {
            int result = wire_read(wire, fd);
            if (result)
                return result;
        }
    }
}

int preload_waiting(struct load *load)
{
    struct wire *wire = malloc(sizeof *wire);
    int fd = server_connect(&load->server), result = wire && fd >= 0 ? 0 : -1;
    int64_t begun = clock_mono_ns();
    uint64_t done = 0;
    if (wire)
        wire_init(wire);
    while (result == 0 && done < load->options.preload) {
        message_fill(load, &load->hold, NULL);
        load->turn++;
        if (exchange(wire, fd, &load->hold) < 0 || wire->status != 200 || wire->refused)
            result = -1;
        done += load->hold.tasks;
    }
    load->preload_s = (double)(clock_mono_ns() - begun) / 1e9;
    if (result < 0)
        (void)fprintf(stderr, "satchel-load: the preload failed after %llu tasks: status %d, %zu refused: %.*s\n",
                      (unsigned long long)done, wire ? wire->status : 0, wire ? wire->refused : 0,
                      wire ? (int)wire->start_len : 0, wire ? wire->start : "");
    load->options.preload = done;
    if (fd >= 0)
        (void)close(fd);
    free(wire);
    return result < 0 ? result : server_usage(&load->server, &load->preloaded);
}

int preload_finished(struct load *load)
{
    static const char begin[] = "{\"id\":\"";
    char *text = NULL;
    load->ids = calloc(IDS_MAX, sizeof *load->ids);
    if (!load->ids)
        return -1;
    message_fill(load, &load->warm, NULL);
    (void)server_ask(&load->server, load->warm.bytes, load->warm.len, &text);
    for (const char *at = text; at && load->n_ids < IDS_MAX && (at = strstr(at, begin));) {
        at += sizeof begin - 1;
        if (strlen(at) >= ID_LEN)
            memcpy(load->ids[load->n_ids++], at, ID_LEN);
    }
    free(text);
    if (load->n_ids == IDS_MAX)
        return 0;
    (void)fprintf(stderr, "satchel-load: only %u of the tasks that GET is to ask for have finished\n", load->n_ids);
    return -1;
}
