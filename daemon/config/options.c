#include "config/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "config/grammar.h"
#include "proto/timetext.h"

const struct option options[N_OPTIONS] = {
#define OPTION(NAME, KIND, FIELD, DEFAULT, MIN, MAX, UNIT, CHECK, ARGUMENT, RELOAD, ...)                               \
    {                                                                                                                  \
        #NAME,   OPTION_##KIND, offsetof(struct config, FIELD),                                                        \
        DEFAULT, INT64_C(MIN),  INT64_C(MAX),                                                                          \
        UNIT,    CHECK,         ARGUMENT,                                                                              \
        RELOAD,  __VA_ARGS__},
#include "config/options.def"
#undef OPTION
};

const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

bool config_list_add(struct config_list *list, const char *text)
{
    char **items = realloc(list->items, (list->n + 2) * sizeof *items);
    if (!items)
        return false;
    list->items = items;
    items[list->n] = strdup(text);
    if (!items[list->n])
        return false;
    items[++list->n] = NULL;
    return true;
}

void config_list_release(struct config_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){0};
}

static void *field_of(struct config *config, const struct option *option)
{
    return (char *)config + option->offset;
}

static const void *field_in(const struct config *config, const struct option *option)
{
    return (const char *)config + option->offset;
}

static void set_list(struct config *config, const struct option *option, const struct option_value *values, size_t n,
                     struct problems *problems)
{
    struct config_list list = {0};
    struct config_where where = n ? values[0].where : (struct config_where){"configuration", 0};
    unsigned before = problems->count;
    if ((int64_t)n < option->min || (int64_t)n > option->max)
        problems_add(problems, where, "%s takes %" PRId64 " to %" PRId64 " %s", option->name, option->min, option->max,
                     option->unit);
    for (size_t i = 0; i < n; i++) {
        const char *wrong = option->check ? option->check(values[i].text) : NULL;
        if (wrong)
            problems_add(problems, values[i].where, "%s: \"%s\" %s", option->name, values[i].text, wrong);
        else if (!config_list_add(&list, values[i].text))
            problems_add(problems, values[i].where, "out of memory");
    }
    if (problems->count == before) {
        struct config_list *field = field_of(config, option);
        config_list_release(field);
        *field = list;
    } else {
        config_list_release(&list);
    }
}

static void set_text(struct config *config, const struct option *option, const struct option_value *value,
                     struct problems *problems)
{
    size_t len = strlen(value->text);
    const char *wrong = option->check ? option->check(value->text) : NULL;
    if ((int64_t)len < option->min || (int64_t)len > option->max) {
        problems_add(problems, value->where, "%s must be %" PRId64 " to %" PRId64 " bytes long", option->name,
                     option->min, option->max);
    } else if (wrong) {
        problems_add(problems, value->where, "%s: \"%s\" %s", option->name, value->text, wrong);
    } else {
        char *copy = strdup(value->text);
        char **field = field_of(config, option);
        if (!copy) {
            problems_add(problems, value->where, "out of memory");
            return;
        }
        free(*field);
        *field = copy;
    }
}

static void format_number(const struct option *option, int64_t value, char out[64])
{
    if (option->kind == OPTION_BYTES)
        size_format(value, out);
    else if (option->kind == OPTION_DURATION)
        duration_format(value, out);
    else
        (void)snprintf(out, 64, "%" PRId64, value);
}

static void set_number(struct config *config, const struct option *option, const struct option_value *value,
                       struct problems *problems)
{
    static const char *const wanted[] = {[OPTION_COUNT] = "a whole number",
                                         [OPTION_NUMBER] = "a whole number",
                                         [OPTION_BYTES] = "a size such as 512, 64KiB or 1MiB",
                                         [OPTION_DURATION] = "a duration such as 250ms, 30s, 5m, 2h or 1d"};
    int64_t number;
    char low[64], high[64];
    bool ok = option->kind == OPTION_BYTES      ? size_parse(value->text, &number)
              : option->kind == OPTION_DURATION ? duration_parse(value->text, strlen(value->text), &number)
                                                : number_parse(value->text, &number);
    if (!ok) {
        problems_add(problems, value->where, "%s: \"%s\" must be %s", option->name, value->text, wanted[option->kind]);
    } else if (number < option->min || number > option->max) {
        format_number(option, option->min, low);
        format_number(option, option->max, high);
        problems_add(problems, value->where, "%s: %s is out of range; it takes %s to %s (%s)", option->name,
                     value->text, low, high, option->unit);
    } else if (option->kind == OPTION_COUNT) {
        *(unsigned *)field_of(config, option) = (unsigned)number;
    } else {
        *(int64_t *)field_of(config, option) = number;
    }
}

void option_set(struct config *config, const struct option *option, const struct option_value *values, size_t n,
                struct problems *problems)
{
    if (option->kind == OPTION_LIST) {
        set_list(config, option, values, n, problems);
        return;
    }
    const struct option_value *value = &values[n - 1];
    if (option->kind == OPTION_TEXT || option->kind == OPTION_SECRET) {
        set_text(config, option, value, problems);
    } else if (option->kind == OPTION_SWITCH) {
        if (!switch_parse(value->text, field_of(config, option)))
            problems_add(problems, value->where, "%s: \"%s\" must be true or false", option->name, value->text);
    } else {
        set_number(config, option, value, problems);
    }
}

void config_quote(struct buf *out, const char *text)
{
    buf_append_char(out, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\x%02x", c);
        } else {
            if (c == '"' || c == '\\' || c == '$')
                buf_append_char(out, '\\');
            buf_append_char(out, (char)c);
        }
    }
    buf_append_char(out, '"');
}

void option_format(const struct config *config, const struct option *option, struct buf *out)
{
    const void *field = field_in(config, option);
    char text[64];
    switch (option->kind) {
    case OPTION_TEXT:
    case OPTION_SECRET: {
        const char *value = *(char *const *)field;
        config_quote(out, value ? value : "");
        break;
    }
    case OPTION_LIST: {
        const struct config_list *list = field;
        buf_append_char(out, '{');
        for (size_t i = 0; i < list->n; i++) {
            buf_append_str(out, i ? ", " : "");
            config_quote(out, list->items[i]);
        }
        buf_append_char(out, '}');
        break;
    }
    case OPTION_SWITCH: buf_append_str(out, *(const bool *)field ? "true" : "false"); break;
    case OPTION_COUNT: buf_append_u64(out, *(const unsigned *)field); break;
    case OPTION_NUMBER: buf_append_i64(out, *(const int64_t *)field); break;
    case OPTION_BYTES:
    case OPTION_DURATION:
        format_number(option, *(const int64_t *)field, text);
        buf_printf(out, "\"%s\"", text);
        break;
    }
}

bool option_is_unset(const struct config *config, const struct option *option)
{
    return (option->kind == OPTION_TEXT || option->kind == OPTION_SECRET) && !*(char *const *)field_in(config, option);
}

static bool copy_list(struct config *to, const struct option *option, const struct config *from)
{
    const struct config_list *source = field_in(from, option);
    struct config_list list = {0};
    for (size_t i = 0; i < source->n; i++)
        if (!config_list_add(&list, source->items[i])) {
            config_list_release(&list);
            return false;
        }
    config_list_release(field_of(to, option));
    *(struct config_list *)field_of(to, option) = list;
    return true;
}

bool option_copy(struct config *to, const struct option *option, const struct config *from)
{
    const void *source = field_in(from, option);
    void *field = field_of(to, option);
    switch (option->kind) {
    case OPTION_LIST: return copy_list(to, option, from);
    case OPTION_TEXT:
    case OPTION_SECRET: {
        const char *text = *(char *const *)source;
        char *copy = text ? strdup(text) : NULL;
        if (text && !copy)
            return false;
        free(*(char **)field);
        *(char **)field = copy;
        return true;
    }
    case OPTION_SWITCH: *(bool *)field = *(const bool *)source; return true;
    case OPTION_COUNT: *(unsigned *)field = *(const unsigned *)source; return true;
    case OPTION_NUMBER:
    case OPTION_BYTES:
    case OPTION_DURATION: break;
    }
    *(int64_t *)field = *(const int64_t *)source;
    return true;
}

void option_release(struct config *config, const struct option *option)
{
    if (option->kind == OPTION_LIST)
        config_list_release(field_of(config, option));
    else if (option->kind == OPTION_TEXT || option->kind == OPTION_SECRET)
        free(*(char **)field_of(config, option));
}
