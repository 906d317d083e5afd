/* Called by task_section.c and tenant_section.c for --print-config.  Thread: any. */
#include "config/printing.h"

#include <stdio.h>
#include <string.h>

#include "config/options.h"

void config_print_list(struct buf *out, const char *name, const struct config_list *list)
{
    if (list->n == 0)
        return;
    buf_printf(out, " %s = {", name);
    for (size_t i = 0; i < list->n; i++) {
        buf_append_str(out, i ? ", " : "");
        config_quote(out, list->items[i]);
    }
    buf_append_char(out, '}');
}

/* By its name a password, a key or the like. */
static bool is_secret(const char *name, size_t len)
{
    static const char *const words[] = {"auth", "cookie", "cred",    "key",       "pass",
                                        "pwd",  "secret", "session", "signature", "token"};
    char copy[128];
    (void)snprintf(copy, sizeof copy, "%.*s", (int)(len < sizeof copy ? len : sizeof copy - 1), name);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(copy, words[i]))
            return true;
    return false;
}

void config_print_assignments(struct buf *out, const char *name, const struct config_list *list, char between)
{
    if (list->n == 0)
        return;
    buf_printf(out, " %s = {", name);
    for (size_t i = 0; i < list->n; i++) {
        const char *text = list->items[i], *end = strchr(text, between);
        buf_append_str(out, i ? ", " : "");
        if (end && end[1] && is_secret(text, (size_t)(end - text)))
            buf_printf(out, "\"%.*s%c%s***\"", (int)(end - text), text, between, between == ':' ? " " : "");
        else
            config_quote(out, text);
    }
    buf_append_char(out, '}');
}
