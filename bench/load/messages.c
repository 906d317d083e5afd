/* The requests, made once; only the bytes that differ from one to the next are written anew.  Each carries a tenant and a
 * trace, as those of real callers do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"

#define TENANT "t0000"
#define TRACE "00-0000000000000000a0b1c2d3e4f50617-00f067aa0ba902b7-01"
#define NOBODY "00000000-0000-0000-0000-000000000000"
#define LINE_NOOP "{\"task\":\"satchel.noop\",\"args\":{\"n\":1}}"

static size_t place(const struct message *message, const char *text)
{
    const char *at = memmem(message->bytes, message->len, text, strlen(text));
    return at ? (size_t)(at - message->bytes) : 0;
}

/* -1: no memory. */
static int make(struct message *message, const char *method, const char *target, const char *fields, const char *body,
                size_t len)
{
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Tenant-ID: " TENANT "\r\ntraceparent: " TRACE
                     "\r\n%sContent-Length: %zu\r\n\r\n",
                     method, target, fields, len);
    message->bytes = malloc((size_t)n + len);
    if (!message->bytes)
        return -1;
    memcpy(message->bytes, head, (size_t)n);
    if (len)
        memcpy(message->bytes + n, body, len);
    message->len = (size_t)n + len;
    message->trace_at = place(message, TRACE) + 3;
    message->tenant_at = place(message, TENANT) + 1;
    message->id_at = place(message, NOBODY);
    return 0;
}

static int make_submission(struct message *message, enum operation operation, const char *prefer, const char *body,
                           int expect)
{
    char fields[300];
    *message = (struct message){.operation = operation, .tasks = 1, .expect = expect};
    (void)snprintf(fields, sizeof fields, "Content-Type: application/json\r\n%s", prefer);
    return make(message, "POST", "/v1/tasks", fields, body, strlen(body));
}

static int make_batch(struct message *message, const char *prefer, const char *line, unsigned n)
{
    char fields[300];
    size_t len = strlen(line) + 1;
    char *body = malloc(len * n);
    *message = (struct message){.operation = OPERATION_BATCH, .tasks = n, .expect = 200};
    if (!body)
        return -1;
    for (unsigned i = 0; i < n; i++) {
        memcpy(body + i * len, line, len - 1);
        body[i * len + len - 1] = '\n';
    }
    (void)snprintf(fields, sizeof fields, "Content-Type: application/x-ndjson\r\n%s", prefer);
    int result = make(message, "POST", "/v1/tasks:batch", fields, body, len * n);
    free(body);
    return result;
}

static int make_get(struct message *message, enum operation operation, const char *target)
{
    *message = (struct message){.operation = operation, .expect = 200};
    if (make(message, "GET", target, "", NULL, 0) < 0)
        return -1;
    char *bytes = memmem(message->bytes, message->len, "Content-Length: 0\r\n", 19); /* a GET has no body */
    if (bytes) {
        memcpy(bytes, "\r\n", 2);
        message->len = (size_t)(bytes - message->bytes) + 2;
    }
    return 0;
}

int messages_make(struct load *load)
{
    const char *body = load->options.scenario->body ? load->options.scenario->body : LINE_NOOP;
    unsigned batch = load->options.batch;
    if (make_submission(&load->submit, OPERATION_SUBMIT, "", body, 202) < 0 ||
        make_submission(&load->polled, OPERATION_FINISH, "", body, 202) < 0 ||
        make_submission(&load->finish, OPERATION_FINISH, "Prefer: wait=30\r\n", body, 200) < 0 ||
        make_submission(&load->later, OPERATION_LATER, "", "{\"task\":\"satchel.noop\",\"delay\":\"1s\"}", 202) < 0 ||
        make_batch(&load->batch, "Prefer: return=minimal\r\n", LINE_NOOP, batch) < 0 ||
        make_batch(&load->batch_finish, "Prefer: return=minimal, wait=30\r\n", LINE_NOOP, batch) < 0 ||
        make_batch(&load->hold, "Prefer: return=minimal\r\n",
                   load->options.queued ? "{\"task\":\"hold\"}" : "{\"task\":\"satchel.noop\",\"delay\":\"10h\"}",
                   5000) < 0 ||
        make_batch(&load->warm, "Prefer: return=minimal, wait=30\r\nConnection: close\r\n", LINE_NOOP, IDS_MAX) < 0 ||
        make_get(&load->get, OPERATION_GET, "/v1/tasks/" NOBODY) < 0 ||
        make_get(&load->poll, OPERATION_GET, "/v1/tasks/" NOBODY "?wait=30s") < 0 ||
        make_get(&load->list, OPERATION_LIST, "/v1/tasks?limit=20") < 0) {
        (void)fprintf(stderr, "satchel-load: no memory\n");
        return -1;
    }
    return 0;
}

void messages_free(struct load *load)
{
    struct message *all[] = {&load->submit, &load->polled,       &load->finish, &load->later,
                             &load->batch,  &load->batch_finish, &load->hold,   &load->get,
                             &load->poll,   &load->list,         &load->warm};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->bytes);
}

void message_fill(struct load *load, const struct message *message, const char *id)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t trace = load->turn + 1;
    char *at = message->bytes + message->trace_at + 15;
    for (unsigned i = 0; i < 12; i++, trace >>= 4)
        *at-- = digits[trace & 15];
    if (load->options.tenants > 1) {
        unsigned tenant = (unsigned)(load->turn % load->options.tenants);
        at = message->bytes + message->tenant_at + 3;
        for (unsigned i = 0; i < 4; i++, tenant /= 10)
            *at-- = digits[tenant % 10];
    }
    if (message->id_at && id)
        memcpy(message->bytes + message->id_at, id, ID_LEN);
}
