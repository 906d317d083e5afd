/* The grammars of names in the configuration.  Pure functions; any thread.
 * A check_* returns NULL, or static text that says what is allowed ("... must be ..."). */
#ifndef SATCHEL_CONFIG_GRAMMAR_H
#define SATCHEL_CONFIG_GRAMMAR_H

#include <stdbool.h>
#include <stdint.h>

const char *check_tenant(const char *text);        /* 1-150 of A-Z a-z 0-9 ! - _ . * ' ( ), not "." or ".." */
const char *check_field_name(const char *text);    /* an HTTP token */
const char *check_variable_name(const char *text); /* [a-z][a-z0-9_.-]{0,63}, and not one of Satchel's own */
const char *check_task_name(const char *text);     /* 1-64 of A-Za-z0-9._-, not satchel.* */
const char *check_log_level(const char *text);
const char *check_canaries(const char *text);
const char *check_store(const char *text);
const char *check_absolute_path(const char *text);
const char *check_file(const char *text);        /* an absolute path, or "credential:NAME": what systemd passes on */
const char *check_template(const char *text);    /* every {{...}} closed and {{args}}, {{args.NAME}} or {{args.A.B}} */
const char *check_header_line(const char *text); /* "Name: value" for a request we send */
const char *check_environment(const char *text); /* "NAME" or "NAME=value" */
const char *check_url(const char *text);         /* http:// or https://, or a template */
const char *check_endpoint(const char *text);    /* http:// or https://, no template */
const char *check_sampler(const char *text);
const char *check_ratio(const char *text);    /* 0 to 1 */
const char *check_allow(const char *text);    /* an address, a network, a host, *.example.com, or NAME=NETWORK */
bool grammar_is_own_header(const char *name); /* a header with a meaning of its own: not for variables */
/* A header whose value commands would find in an environment variable that programs, shells or the linker obey. */
bool grammar_is_environment(const char *header);

bool number_parse(const char *text, int64_t *ret); /* decimal digits only */
/* "512", "64k", "64KiB", "1M", "1MiB", "2G", "1TiB": powers of 1024; "kB", "MB", "GB": powers of 1000. */
bool size_parse(const char *text, int64_t *ret);
#define SIZE_TEXT_SIZE 32
void size_format(int64_t bytes, char out[SIZE_TEXT_SIZE]); /* the largest unit that divides it */
bool switch_parse(const char *text, bool *ret);            /* true/false, yes/no, on/off */

#endif
