/* Writing the log.  A line is built in memory and leaves in one write(2) of at most LINE_MAX_BYTES, which pipes keep
 * whole; what would make it longer is left out and the line says so.  Escaping happens in json_out_string alone. */
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <satchel/context.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/systemd_loader.h"
#include "proto/json_out.h"
#include "proto/timetext.h"

#define LINE_MAX_BYTES 4096 /* PIPE_BUF */
#define TAIL_BYTES 32       /* room for the mark and the closing brace */
#define TEXT_MAX 1024       /* of one message or field, before escaping */
#define FIELDS_MAX 24

enum sink { SINK_JSON, SINK_TEXT, SINK_JOURNAL };

static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic int sink = SINK_JSON;

static const struct {
    enum log_level level;
    const char *name;
} levels[] = {{LOG_LEVEL_ERROR, "error"},
              {LOG_LEVEL_WARNING, "warning"},
              {LOG_LEVEL_NOTICE, "notice"},
              {LOG_LEVEL_INFO, "info"},
              {LOG_LEVEL_DEBUG, "debug"}};
#define N_LEVELS (sizeof levels / sizeof levels[0])

/* JOURNAL_STREAM is "DEVICE:INODE" of the stream that systemd made; a redirected one does not match. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    uintmax_t device, inode;
    int end = 0;
    if (!stream || sscanf(stream, "%ju:%ju%n", &device, &inode, &end) != 2 || stream[end] != '\0')
        return false;
    return fstat(STDERR_FILENO, &status) == 0 && (uintmax_t)status.st_dev == device &&
           (uintmax_t)status.st_ino == inode;
}

void log_open(void)
{
    atomic_store(&sink, stderr_is_journal() ? SINK_JOURNAL : isatty(STDERR_FILENO) ? SINK_TEXT : SINK_JSON);
}

void log_level_set(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

bool log_level_parse(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < N_LEVELS; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            *ret = levels[i].level;
            return true;
        }
    }
    return false;
}

static const char *level_name(enum log_level level)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (levels[i].level == level)
            return levels[i].name;
    return "info";
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* ---- what belongs to every line ---- */

struct line_fields {
    struct log_field items[FIELDS_MAX];
    size_t n;
    char trace_id[33], span_id[17];
};

static void add_field(struct line_fields *fields, const char *name, const char *text)
{
    if (text && fields->n < FIELDS_MAX)
        fields->items[fields->n++] = LOG_TEXT(name, text);
}

static void hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

/* A field that the caller names itself is not added again from the context. */
static bool is_named(const struct line_fields *fields, const char *name)
{
    for (size_t i = 0; i < fields->n; i++)
        if (strcmp(fields->items[i].name, name) == 0)
            return true;
    return false;
}

static void add_known(struct line_fields *fields, const char *name, const char *text)
{
    if (!is_named(fields, name))
        add_field(fields, name, text);
}

static void collect(struct line_fields *fields, const struct log_field *given)
{
    satchel_trace trace;
    fields->n = 0;
    for (; given && given->name && fields->n < FIELDS_MAX - 6; given++)
        fields->items[fields->n++] = *given;
    add_known(fields, "tenant", satchel_tenant());
    add_known(fields, "task_id", satchel_task_id());
    add_known(fields, "attempt", satchel_get_or(satchel_known_var(SATCHEL_ATTEMPT), NULL));
    add_known(fields, "request_id", satchel_request_id());
    if (satchel_trace_current(&trace) == SATCHEL_OK) {
        hex(trace.trace_id, sizeof trace.trace_id, fields->trace_id);
        hex(trace.span_id, sizeof trace.span_id, fields->span_id);
        add_known(fields, "trace_id", fields->trace_id);
        add_known(fields, "span_id", fields->span_id);
    }
}

static struct slice bounded(const char *text)
{
    return slice_of(text, strnlen(text, TEXT_MAX));
}

/* ---- the three forms ---- */

static void write_line(struct buf *line)
{
    static const char lost[] = "{\"level\":\"error\",\"message\":\"out of memory: a log line is lost\"}\n";
    struct slice bytes = buf_ok(line) ? buf_slice(line) : SLICE_LITERAL(lost);
    ssize_t written;
    do /* standard error that takes no more is nobody's business here */
        written = write(STDERR_FILENO, bytes.data, bytes.len);
    while (written < 0 && errno == EINTR);
}

static void write_json(enum log_level level, const char *message, const struct line_fields *fields)
{
    struct buf line = BUF_INIT;
    struct json_out j = json_out_to(&line);
    bool cut = strlen(message) > TEXT_MAX;
    json_out_begin_object(&j);
    json_out_key(&j, "time");
    json_out_time(&j, clock_wall_us());
    json_out_member(&j, "level", slice_str(level_name(level)));
    struct json_out before = j;
    size_t before_len = line.len;
    json_out_member(&j, "message", bounded(message));
    if (line.len > LINE_MAX_BYTES / 2) { /* all escapes */
        j = before, line.len = before_len, cut = true;
        json_out_member(&j, "message", slice_of(message, strnlen(message, 200)));
    }
    for (size_t i = 0; i < fields->n; i++) {
        const struct log_field *field = &fields->items[i];
        before = j, before_len = line.len;
        if (field->text)
            json_out_member(&j, field->name, bounded(field->text));
        else
            json_out_member_i64(&j, field->name, field->number);
        cut = cut || (field->text && strlen(field->text) > TEXT_MAX);
        if (line.len > LINE_MAX_BYTES - TAIL_BYTES)
            j = before, line.len = before_len, cut = true;
    }
    if (cut) {
        json_out_key(&j, "truncated");
        json_out_bool(&j, true);
    }
    json_out_end_object(&j);
    buf_append_char(&line, '\n');
    write_line(&line);
    buf_release(&line);
}

static bool is_plain(const char *text)
{
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || *at == '"' || *at == '=' || *at == '\\')
            return false;
    return *text != '\0';
}

static void put_text(struct buf *line, const char *text)
{
    struct json_out j = json_out_to(line);
    if (is_plain(text))
        buf_append_slice(line, bounded(text));
    else
        json_out_string(&j, bounded(text));
}

static void write_text(enum log_level level, const char *message, const struct line_fields *fields)
{
    struct buf line = BUF_INIT;
    char now[TIMESTAMP_TEXT_SIZE];
    timestamp_format(clock_wall_us(), now);
    buf_printf(&line, "%.12s %-7s ", now + 11, level_name(level));
    for (size_t i = 0; i < TEXT_MAX && message[i]; i++) /* control bytes would reach the terminal */
        buf_append_slice(&line, (unsigned char)message[i] < 0x20 || message[i] == 0x7f ? SLICE_LITERAL("?")
                                                                                       : slice_of(&message[i], 1));
    for (size_t i = 0; i < fields->n; i++) {
        const struct log_field *field = &fields->items[i];
        size_t before = line.len;
        buf_printf(&line, "  %s=", field->name);
        if (field->text)
            put_text(&line, field->text);
        else
            buf_append_i64(&line, field->number);
        if (line.len > LINE_MAX_BYTES - TAIL_BYTES)
            line.len = before;
    }
    buf_append_char(&line, '\n');
    write_line(&line);
    buf_release(&line);
}

/* "task_id" becomes "SATCHEL_TASK_ID=..."; the journal takes any bytes in a value. */
static void put_journal_field(struct buf *all, const struct log_field *field)
{
    buf_append_str(all, "SATCHEL_");
    for (const char *at = field->name; *at; at++)
        buf_append_char(all, (char)(isalnum((unsigned char)*at) ? toupper((unsigned char)*at) : '_'));
    buf_append_char(all, '=');
    if (field->text)
        buf_append_slice(all, bounded(field->text));
    else
        buf_append_i64(all, field->number);
}

static void write_journal(enum log_level level, const char *message, const struct line_fields *fields)
{
    struct buf all = BUF_INIT;
    size_t ends[FIELDS_MAX + 3], n = 0;
    buf_append_str(&all, "MESSAGE=");
    buf_append_slice(&all, bounded(message));
    ends[n++] = all.len;
    buf_printf(&all, "PRIORITY=%d", (int)level);
    ends[n++] = all.len;
    buf_append_str(&all, "SYSLOG_IDENTIFIER=satcheld");
    ends[n++] = all.len;
    for (size_t i = 0; i < fields->n; i++) {
        put_journal_field(&all, &fields->items[i]);
        ends[n++] = all.len;
    }
    struct iovec parts[FIELDS_MAX + 3];
    for (size_t i = 0, start = 0; buf_ok(&all) && i < n; start = ends[i++])
        parts[i] = (struct iovec){all.data + start, ends[i] - start};
    const struct systemd_functions *systemd = systemd_load();
    if (!buf_ok(&all) || !systemd || systemd->journal_sendv(parts, (int)n) < 0)
        write_json(level, message, fields);
    buf_release(&all);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    int saved = errno;
    struct line_fields all;
    collect(&all, fields);
    switch ((enum sink)atomic_load_explicit(&sink, memory_order_relaxed)) {
    case SINK_JSON: write_json(level, message, &all); break;
    case SINK_TEXT: write_text(level, message, &all); break;
    case SINK_JOURNAL: write_journal(level, message, &all); break;
    }
    errno = saved;
}
