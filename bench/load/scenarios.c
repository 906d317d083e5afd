/* The scenarios: what is prepared, and which request follows which. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/load/load.h"

#define SETTINGS_TRUE "task \"true\" {\n  command = {\"/bin/true\"}\n}\n"
#define SETTINGS_HOLD "task \"hold\" {\n  command = {\"/bin/sleep\", \"3600\"}\n  concurrency = 1\n}\n"
#define BARE_SECONDS 1.0

static const struct message *next_submit(struct load *load, struct client *client, unsigned step)
{
    (void)client;
    return step == 0 ? &load->submit : NULL;
}

static const struct message *next_finish(struct load *load, struct client *client, unsigned step)
{
    (void)client;
    return step == 0 ? &load->finish : NULL;
}

static const struct message *next_poll(struct load *load, struct client *client, unsigned step)
{
    (void)client;
    return step == 0 ? &load->polled : step == 1 ? &load->poll : NULL;
}

static const struct message *next_batch(struct load *load, struct client *client, unsigned step)
{
    (void)client;
    return step == 0 ? &load->batch : NULL;
}

static const struct message *next_batch_wait(struct load *load, struct client *client, unsigned step)
{
    (void)client;
    return step == 0 ? &load->batch_finish : NULL;
}

static uint64_t random_next(struct load *load)
{
    load->random ^= load->random << 13;
    load->random ^= load->random >> 7;
    load->random ^= load->random << 17;
    return load->random;
}

static const struct message *ask_for_one(struct load *load, struct client *client)
{
    memcpy(client->id, load->ids[random_next(load) % load->n_ids], ID_LEN);
    return &load->get;
}

static const struct message *next_get(struct load *load, struct client *client, unsigned step)
{
    return step == 0 ? ask_for_one(load, client) : NULL;
}

/* Half of them wait for their task, three in ten read one, one in ten submits a batch; the rest lists or submits for
 * later. */
static const struct message *next_mixed(struct load *load, struct client *client, unsigned step)
{
    if (step > 0)
        return NULL;
    uint64_t dice = random_next(load) % 100;
    if (dice < 50)
        return &load->finish;
    if (dice < 80)
        return ask_for_one(load, client);
    return dice < 90 ? &load->batch : dice < 95 ? &load->list : &load->later;
}

static int prepare_commands(struct load *load)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    load->bare_rate = spawn_rate(1, BARE_SECONDS);
    load->bare_all_rate = spawn_rate(processors > 0 && processors <= 64 ? (unsigned)processors : 2, BARE_SECONDS);
    return load->bare_rate > 0 ? 0 : -1;
}

static int prepare_start(struct load *load)
{
    if (preload_waiting(load) < 0)
        return -1;
    server_stop(&load->server, SIGKILL);
    if (server_start(&load->server) < 0)
        return -1;
    load->start_killed_s = load->server.ready_s;
    server_stop(&load->server, SIGTERM);
    if (server_start(&load->server) < 0)
        return -1;
    load->start_stopped_s = load->server.ready_s;
    (void)sleep(1);
    return server_usage(&load->server, &load->preloaded);
}

static const struct scenario scenarios[] = {
    {.name = "submit", .text = "single submissions, answered when they are durable", .next = next_submit},
    {.name = "batch",
     .text = "batches of submissions (NDJSON), answered when they are durable",
     .connections = 8,
     .next = next_batch},
    {.name = "wait",
     .text = "single submissions, answered when the task has finished (Prefer: wait)",
     .next = next_finish},
    {.name = "poll",
     .text = "single submissions, each followed by a long poll for the finished task",
     .next = next_poll},
    {.name = "batch-wait",
     .text = "batches, answered when their tasks have finished (Prefer: wait)",
     .connections = 8,
     .next = next_batch_wait},
    {.name = "batch-finish",
     .text = "batches, until the metrics say that all tasks have finished",
     .connections = 8,
     .next = next_batch,
     .until_finished = true},
    {.name = "get", .text = "reads finished tasks", .prepare = preload_finished, .next = next_get},
    {.name = "commands",
     .text = "wait, with a command task that runs /bin/true; and posix_spawn alone",
     .connections = 16,
     .prepare = prepare_commands,
     .next = next_finish,
     .settings = SETTINGS_TRUE,
     .body = "{\"task\":\"true\"}"},
    {.name = "tenants", .text = "wait, with 1,000 tenants", .tenants = 1000, .next = next_finish},
    {.name = "queue",
     .text = "wait, while many other tasks wait (--preload)",
     .prepare = preload_waiting,
     .next = next_finish,
     .settings = SETTINGS_HOLD},
    {.name = "mixed",
     .text = "half wait, a third reads, some batches, lists and delayed tasks",
     .batch = 20,
     .prepare = preload_finished,
     .next = next_mixed},
    {.name = "start",
     .text = "starts again with many waiting tasks (--preload), killed and stopped",
     .prepare = prepare_start,
     .settings = SETTINGS_HOLD},
    {.name = "idle", .text = "nothing: what the daemon takes when nobody asks"},
};

const struct scenario *scenario_at(unsigned index)
{
    return index < sizeof scenarios / sizeof scenarios[0] ? &scenarios[index] : NULL;
}

const struct scenario *scenario_find(const char *name)
{
    for (unsigned i = 0; scenario_at(i); i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    return NULL;
}
