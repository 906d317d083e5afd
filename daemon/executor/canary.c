/* The settings of the two canaries, as the configuration's files would have them.  See canary.h. */
#include "executor/canary.h"

#include "base/log.h"
#include "executor/command.h"
#include "executor/http_task.h"
#include "executor/launcher.h"

/* A configuration's texts are not constant; nobody writes to these. */
static char command_name[] = "satchel.canary.command", program[] = "/usr/bin/env";
static char http_name[] = "satchel.canary.http", url[] = "{{args.url}}", method[] = "POST";
static char here_4[] = "127.0.0.0/8", here_6[] = "::1";
static char *arguments[] = {program, NULL}, *here[] = {here_4, here_6, NULL};
static int no_repetition[] = {64, 65, 77, 78};

/* `where` stays NULL: that is how the registry knows a type that is built in.  There is no time limit: an attempt's
 * limit would be the deadline that is seen, instead of the one that was sent. */
static const struct config_task command_settings = {.name = command_name,
                                                    .command = {arguments, 1},
                                                    .kill_grace_us = 1000000,
                                                    .final_exit = no_repetition,
                                                    .n_final_exit = sizeof no_repetition / sizeof no_repetition[0],
                                                    .propagate = PROPAGATE_ALL};
static const struct config_task http_settings = {.name = http_name,
                                                 .url = url,
                                                 .method = method,
                                                 .url_from_args = true, /* so that nothing but `allow` is called */
                                                 .allow = {here, 2},
                                                 .propagate = PROPAGATE_ALL};

static bool are_wanted(const struct config *config)
{
    const char *canaries = config->canaries ? config->canaries : "auto";
    if (strcmp(canaries, "auto") == 0)
        return config_serves_this_machine_alone(config);
    return strcmp(canaries, "on") == 0;
}

int canaries_register(struct registry *registry, char *error, size_t error_size)
{
    char why[512];
    if (!are_wanted(registry->config))
        return 0;
    if (http_register(registry, &http_settings, error, error_size) < 0)
        return -1;
    if (launcher_find(why, sizeof why) == 0)
        return command_register(registry, &command_settings, error, error_size);
    LOG_NOTICE("there is no satchel.canary.command", LOG_TEXT("why", why)); /* no reason not to start */
    return 0;
}
