#include "executor/command_progress.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define PAUSE_NS INT64_C(100000000) /* the store writes progress no more often */
#define NUMBER_MAX 32u
#define SHOWN_MAX 80 /* of a bad line */

/* "0", "1", "0.25", ".5": a plain decimal from 0 to 1.  The length of its text, or 0: it is none. */
static size_t read_fraction(const char *text, size_t len, double *ret)
{
    char number[NUMBER_MAX + 1];
    size_t n = 0, digits = 0, points = 0;
    for (; n < len && n < NUMBER_MAX && ((text[n] >= '0' && text[n] <= '9') || text[n] == '.'); n++) {
        points += text[n] == '.';
        digits += text[n] != '.';
    }
    if (digits == 0 || points > 1 || (n < len && text[n] != ' ' && text[n] != '\t'))
        return 0;
    memcpy(number, text, n);
    number[n] = '\0';
    *ret = strtod(number, NULL);
    return *ret <= 1 ? n : 0;
}

/* Control characters do nothing wherever it is shown. */
static size_t copy_clean(char *to, const char *from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (char)((unsigned char)from[i] < 0x20 || from[i] == 0x7f ? ' ' : from[i]);
    return len;
}

static void note(struct command_progress *p)
{
    const struct attempt_host *host = p->attempt->host;
    char shown[SHOWN_MAX], text[SHOWN_MAX + 160];
    size_t len = copy_clean(shown, p->line, p->len < SHOWN_MAX ? p->len : SHOWN_MAX);
    if (p->noted || !host || !host->log)
        return;
    p->noted = true;
    int n = snprintf(text, sizeof text,
                     "[satcheld: not progress, which is a number from 0 to 1 and a message, nor error, no-retry or "
                     "retry-in: %.*s]",
                     (int)len, shown);
    host->log(p->attempt->host_arg, p->attempt, slice_of(text, (size_t)n));
}

static void take_line(struct command_progress *p)
{
    double fraction;
    while (p->len && p->line[p->len - 1] == '\r')
        p->len--;
    size_t n = read_fraction(p->line, p->len, &fraction);
    if (n) {
        while (n < p->len && (p->line[n] == ' ' || p->line[n] == '\t'))
            n++;
        p->fraction = fraction;
        p->message_len = copy_clean(p->message, p->line + n, p->len - n);
        p->waits = true;
    } else if (p->len && !command_verdict_take(&p->verdict, slice_of(p->line, p->len))) {
        note(p);
    }
    p->len = 0;
}

void command_progress_take(struct command_progress *p, const char *data, size_t len)
{
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t part = newline ? (size_t)(newline - data) : len;
        size_t room = PROGRESS_LINE_MAX - p->len;
        memcpy(p->line + p->len, data, part < room ? part : room);
        p->len += part < room ? part : room;
        if (newline)
            take_line(p);
        part += newline != NULL;
        data += part;
        len -= part;
    }
    command_progress_tell(p);
}

int64_t command_progress_due(const struct command_progress *p)
{
    int64_t left = p->next_ns - clock_mono_ns();
    return !p->waits ? -1 : left > 0 ? left : 0;
}

static void tell(struct command_progress *p)
{
    const struct attempt_host *host = p->attempt->host;
    p->waits = false;
    p->next_ns = clock_mono_ns() + PAUSE_NS;
    if (host && host->progress)
        host->progress(p->attempt->host_arg, p->attempt, p->fraction, slice_of(p->message, p->message_len));
}

void command_progress_tell(struct command_progress *p)
{
    if (command_progress_due(p) == 0)
        tell(p);
}

void command_progress_end(struct command_progress *p)
{
    if (p->len)
        take_line(p);
    if (p->waits)
        tell(p);
}
