#include "executor/command_verdict.h"

#include <string.h>

#include "proto/timetext.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Takes a word and the blanks behind it off the line. */
static struct slice next_word(struct slice *line)
{
    size_t len = 0;
    while (len < line->len && !is_blank(line->data[len]))
        len++;
    struct slice word = slice_of(line->data, len);
    while (len < line->len && is_blank(line->data[len]))
        len++;
    *line = slice_of(line->data + len, line->len - len);
    return word;
}

bool command_verdict_take(struct command_verdict *verdict, struct slice line)
{
    struct slice word = next_word(&line);
    bool final = slice_eq_str(word, "no-retry"), again = slice_eq_str(word, "retry-in");
    int64_t pause_us = 0;
    if (!final && !again && !slice_eq_str(word, "error"))
        return false;
    if (again) {
        struct slice duration = next_word(&line);
        if (!duration_parse(duration.data, duration.len, &pause_us))
            return false;
    }
    *verdict = (struct command_verdict){.said = true, .final = final, .again = again, .pause_us = pause_us};
    verdict->message_len = line.len < VERDICT_MESSAGE_MAX ? line.len : VERDICT_MESSAGE_MAX;
    for (size_t i = 0; i < verdict->message_len; i++) { /* control characters do nothing wherever it is shown */
        unsigned char c = (unsigned char)line.data[i];
        verdict->message[i] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
    }
    return true;
}
