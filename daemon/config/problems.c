#include "config/problems.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/buf.h"

/* A file may quote anything: what is not printable ASCII or UTF-8 text never reaches the terminal. */
static void defuse(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void problems_add(struct problems *problems, struct config_where where, const char *format, ...)
{
    struct buf line = BUF_INIT;
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    problems->count++;
    if (where.line)
        buf_printf(&line, "%s:%u: %s", where.file, where.line, text);
    else
        buf_printf(&line, "%s: %s", where.file, text);
    if (buf_ok(&line))
        defuse(line.data);
    if (problems->report)
        problems->report(problems->arg, buf_ok(&line) ? line.data : "out of memory while reading the configuration");
    buf_release(&line);
}
