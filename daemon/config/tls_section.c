/* Flow: sections.c -> here -> tls_setup.c, which makes of it what http/tls.c takes. */
#include "config/tls_section.h"

#include <stdlib.h>
#include <string.h>

#include "config/grammar.h"
#include "config/options.h"

const struct source_shape tls_shape[] = {
    {.name = "certificate"},     {.name = "key"},         {.name = "client_ca"}, {.name = "client_crl"},
    {.name = "client_required"}, {.name = "min_version"}, {.name = "ciphers"},   {0}};

static const char *check_version(const char *text)
{
    return strcmp(text, "1.2") == 0 || strcmp(text, "1.3") == 0 ? NULL : "must be 1.2 or 1.3";
}

static const char *check_ciphers(const char *text)
{
    return *text ? NULL : "must name at least one cipher";
}

static void read_one(struct section *s, const char *name, const char *(*check)(const char *),
                     struct config_sited *field)
{
    struct section at = *s;
    if (!source_is_set(s->cfg, name))
        return;
    (void)source_value(s->cfg, name, 0, &at.where);
    section_text(s, name, check, &field->value);
    field->where = section_where(&at);
}

void tls_section_read(struct config_tls *tls, struct section *s)
{
    tls->on = true;
    tls->client_required = true;
    read_one(s, "certificate", check_file, &tls->certificate);
    read_one(s, "key", check_file, &tls->key);
    read_one(s, "client_ca", check_file, &tls->client_ca);
    read_one(s, "client_crl", check_file, &tls->client_crl);
    read_one(s, "min_version", check_version, &tls->min_version);
    read_one(s, "ciphers", check_ciphers, &tls->ciphers);
    section_switch(s, "client_required", &tls->client_required);
    if (!source_is_set(s->cfg, "certificate"))
        problems_add(s->problems, s->where, "tls: certificate is missing: the file of the daemon's certificate");
    if (!source_is_set(s->cfg, "key"))
        problems_add(s->problems, s->where, "tls: key is missing: the file of the certificate's private key");
    if (source_is_set(s->cfg, "client_required") && !source_is_set(s->cfg, "client_ca"))
        problems_add(s->problems, s->where,
                     "tls: client_required means nothing without client_ca: who may issue clients' certificates?");
}

static void print_one(struct buf *out, const char *name, const struct config_sited *setting)
{
    if (!setting->value)
        return;
    buf_printf(out, " %s = ", name);
    config_quote(out, setting->value);
}

void tls_section_print(const struct config_tls *tls, struct buf *out)
{
    buf_append_str(out, "tls {");
    print_one(out, "certificate", &tls->certificate);
    print_one(out, "key", &tls->key);
    print_one(out, "client_ca", &tls->client_ca);
    print_one(out, "client_crl", &tls->client_crl);
    if (tls->client_ca.value)
        buf_printf(out, " client_required = %s", tls->client_required ? "true" : "false");
    print_one(out, "min_version", &tls->min_version);
    print_one(out, "ciphers", &tls->ciphers);
    buf_append_str(out, " }");
}

void tls_section_release(struct config_tls *tls)
{
    struct config_sited *all[] = {&tls->certificate, &tls->key,         &tls->client_ca,
                                  &tls->client_crl,  &tls->min_version, &tls->ciphers};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]->value);
        free(all[i]->where);
    }
}
