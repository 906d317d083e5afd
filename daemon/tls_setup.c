#include "tls_setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#define CREDENTIAL "credential:"
#define SOON_S (7 * 86400)

struct setup { /* what was worked out, until it has been used */
    char *paths[4];
    size_t n_paths;
    void (*report)(void *arg, const char *line);
    void *arg;
    bool failed;
};

static void fail(struct setup *setup, const struct config_sited *setting, const char *name, const char *why)
{
    char line[4600];
    (void)snprintf(line, sizeof line, "%s: tls: %s \"%s\" %s", setting->where, name, setting->value, why);
    setup->report(setup->arg, line);
    setup->failed = true;
}

/* "credential:NAME" is a file that systemd puts where only this service can read it. */
static struct tls_setting file_of(struct setup *setup, const struct config_sited *setting, const char *name)
{
    struct tls_setting file = {setting->value, setting->where};
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!setting->value || strncmp(setting->value, CREDENTIAL, sizeof CREDENTIAL - 1) != 0)
        return file;
    if (!folder || folder[0] != '/') {
        fail(
            setup, setting, name,
            "is not there: $CREDENTIALS_DIRECTORY is not set; the service needs LoadCredential=NAME:/path/of/the/file");
        return file;
    }
    char **path = &setup->paths[setup->n_paths];
    if (asprintf(path, "%s/%s", folder, setting->value + sizeof CREDENTIAL - 1) < 0)
        fail(setup, setting, name, "cannot be looked for: out of memory");
    else
        file.value = setup->paths[setup->n_paths++];
    return file;
}

static void warn_of_end(const struct config_tls *config, const struct tls *tls)
{
    int64_t left = tls_valid_until(tls) - (int64_t)time(NULL);
    if (left < 0)
        LOG_WARNING("the certificate has expired: clients will refuse it", LOG_TEXT("file", config->certificate.value));
    else if (left < SOON_S)
        LOG_WARNING("the certificate expires soon; replace it and reload", LOG_TEXT("file", config->certificate.value),
                    LOG_NUMBER("hours_left", left / 3600));
}

int tls_setup(const struct config *config, bool expired_too, void (*report)(void *arg, const char *line), void *arg,
              struct tls **ret)
{
    const struct config_tls *given = &config->tls;
    struct setup setup = {.report = report, .arg = arg};
    struct tls *tls = NULL;
    *ret = NULL;
    if (!given->on)
        return 0;
    struct tls_options options = {.certificate = file_of(&setup, &given->certificate, "certificate"),
                                  .key = file_of(&setup, &given->key, "key"),
                                  .client_ca = file_of(&setup, &given->client_ca, "client_ca"),
                                  .client_crl = file_of(&setup, &given->client_crl, "client_crl"),
                                  .min_version = {given->min_version.value, given->min_version.where},
                                  .ciphers = {given->ciphers.value, given->ciphers.where},
                                  .client_required = given->client_required,
                                  .expired_too = expired_too};
    int result = setup.failed ? -1 : tls_build(&options, report, arg, &tls);
    for (size_t i = 0; i < setup.n_paths; i++)
        free(setup.paths[i]);
    if (result == 0)
        warn_of_end(given, tls);
    *ret = tls;
    return result;
}
