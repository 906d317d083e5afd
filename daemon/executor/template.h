/* Templates of an operator's configuration: text with {{args}}, {{args.NAME}}, {{args.list.0.name}} in it, filled from
 * one submission's args, and with {{after.0}}, {{after.1.NAME}}: from the results of the tasks that it waited for.  A value is put in whole and never split or looked at again.
 *
 *   a string          its characters
 *   a number          as it was written
 *   true, false       these words
 *   an object, array  its JSON text
 *   null, missing     an error: nothing of an operator's is run or called with a hole in it
 *
 * Thread: any, once parsed. */
#ifndef SATCHEL_EXECUTOR_TEMPLATE_H
#define SATCHEL_EXECUTOR_TEMPLATE_H

#include "proto/buf.h"

struct template_part {
    struct slice text; /* verbatim, or the path behind "args" or "after": "" or "a.b.0" */
    bool is_path, of_after;
};

struct template
{
    struct template_part *parts; /* slices of the parsed text, which must outlive it */
    size_t n;
};

/* 0, or -1: not a template (the reason in *ret_fault, static), or no memory. */
int template_parse(const char *text, struct template *ret, const char **ret_fault);
void template_release(struct template *t);

struct template_values { /* JSON texts */
    struct slice args;
    struct slice after; /* an array; empty where no template looks into it */
};
bool template_uses_after(const struct template *t);

#define TEMPLATE_ERROR_SIZE 192

/* Appends the filled-in text.  `allow_dash` false: a value that would make the whole text begin with '-' is refused.
 * False and the reason: the values lack something, or a value may not be used.  The caller checks buf_ok. */
bool template_expand(const struct template *t, const struct template_values *values, bool allow_dash, struct buf *out,
                     char error[TEMPLATE_ERROR_SIZE]);

/* One part alone, for whoever has to look at each value: its verbatim text, or the args' value as above; `json`: as its
 * JSON text, strings with their quotes, null too. */
bool template_part_expand(const struct template_part *part, const struct template_values *values, bool json,
                          struct buf *out, char error[TEMPLATE_ERROR_SIZE]);

#endif
