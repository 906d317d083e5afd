/* One context through six ways out of a process and back: a program with baggage submits with libsatchel -> a handler
 * submits a sub-task -> a command runs `satchel submit` -> an HTTP task calls a server -> the server submits with the
 * headers that it got -> a plugin's handler.  One trace, one tenant, one baggage; a deadline that only comes nearer. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <satchel/client.h>
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"
#include "tests/support/receiver.h"

#define TENANT "acme"
#define TENANT_LINE "X-Tenant-ID: " TENANT "\r\n"
#define NAME "J\xc3\xb6rg, 50% \"off\""
#define SECOND_US 1000000LL
#define FIELDS 64

enum hop { CLIENT, COMMAND, SERVER, PLUGIN, HOPS };

static struct satcheld d;
static struct receiver spans;

static long long wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

static long long us_of(const char *rfc3339)
{
    json_t *object = json_pack("{s:s}", "at", rfc3339);
    long long us = time_of(object, "at");
    json_decref(object);
    return us;
}

/* ---- the server ---- */

/* Serves one request.  What it finds is looked at by the test when it has been joined. */
static struct server {
    int fd;
    char url[64], daemon_url[64];
    const char *task; /* what it submits */
    pthread_t thread;
    char head[32768];
    bool entered_empty;                 /* nothing was bound on its thread before */
    char tenant[64], name[64], key[64]; /* as read from its context */
    long long left_us, deadline_us;
    char parent[40], child[40];
    int status; /* of the submission */
} server;

static size_t fields_of(char *head, satchel_field fields[FIELDS])
{
    size_t n = 0;
    for (char *line = strstr(head, "\r\n"); line && line[2] != '\r' && n < FIELDS; line = strstr(line + 2, "\r\n")) {
        char *colon = strchr(line, ':'), *value = colon + 1 + strspn(colon + 1, " ");
        fields[n++] = (satchel_field){.name = line + 2,
                                      .value = value,
                                      .name_len = (size_t)(colon - line - 2),
                                      .value_len = strcspn(value, "\r")};
    }
    return n;
}

static void copy_field(const satchel_field *fields, size_t n, const char *name, char *to, size_t size)
{
    for (size_t i = 0; i < n; i++)
        if (fields[i].name_len == strlen(name) && strncasecmp(fields[i].name, name, fields[i].name_len) == 0)
            (void)snprintf(to, size, "%.*s", (int)fields[i].value_len, fields[i].value);
}

/* In the request's context. */
static int submit_from_there(void *arg)
{
    struct server *s = arg;
    satchel_client_options options = {.struct_size = sizeof options, .url = s->daemon_url};
    satchel_submit_options submission = {.struct_size = sizeof submission, .parent_id = s->parent};
    satchel_client *client = NULL;
    satchel_future *future = NULL;
    satchel_var *key;
    void *data;
    s->left_us = satchel_remaining_ns() / 1000;
    (void)snprintf(s->tenant, sizeof s->tenant, "%s", satchel_tenant() ? satchel_tenant() : "nobody");
    (void)satchel_baggage_get(NULL, "name", s->name, sizeof s->name);
    if (satchel_variable("key", &key) == SATCHEL_OK) {
        if (satchel_get(key, &data) == SATCHEL_OK)
            (void)snprintf(s->key, sizeof s->key, "%s", (char *)data);
        satchel_var_unref(key);
    }
    int status = satchel_client_new(&options, &client, NULL);
    if (status == SATCHEL_OK)
        status = satchel_submit(client, s->task, NULL, &submission, &future, NULL);
    if (status == SATCHEL_OK)
        (void)snprintf(s->child, sizeof s->child, "%s", satchel_future_id(future));
    satchel_future_free(future);
    satchel_client_unref(client);
    return status;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    satchel_field fields[FIELDS];
    satchel_context *context;
    char deadline[64] = "";
    size_t len = 0;
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    while (len + 1 < sizeof s->head && !strstr(s->head, "\r\n\r\n")) {
        ssize_t n = recv(fd, s->head + len, sizeof s->head - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    s->entered_empty = satchel_context_len(NULL) == 0;
    size_t n = fields_of(s->head, fields);
    copy_field(fields, n, "X-Satchel-Task-ID", s->parent, sizeof s->parent);
    copy_field(fields, n, "X-Satchel-Deadline", deadline, sizeof deadline);
    s->deadline_us = deadline[0] ? us_of(deadline) : 0;
    s->status = satchel_extract(fields, n, &context, NULL, NULL);
    if (s->status == SATCHEL_OK) {
        (void)satchel_context_run(context, submit_from_there, s, &s->status);
        satchel_context_unref(context);
    }
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    (void)send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    (void)close(fd);
    return NULL;
}

static void listen_here(struct server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
}

static void server_start(void)
{
    struct timeval limit = {.tv_sec = WAIT_MS / 1000}; /* a request that does not come fails the test, not hangs it */
    int fd = server.fd;
    char url[64];
    memcpy(url, server.url, sizeof url);
    server = (struct server){.fd = fd, .task = "seen"};
    memcpy(server.url, url, sizeof url);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)snprintf(server.daemon_url, sizeof server.daemon_url, "http://127.0.0.1:%d", d.port);
    assert_int_equal(satchel_thread_create(&server.thread, NULL, serve, &server), SATCHEL_OK);
}

/* ---- the program at the beginning ---- */

struct origin {
    satchel_trace trace;
    int64_t deadline_ns; /* monotonic; 0: none */
    const char *args;    /* of the task that it submits: NULL: the next one is "first" */
    char id[40];
    long long left_us;
};

static int submit_first(void *arg)
{
    struct origin *o = arg;
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", d.port);
    satchel_client_options options = {.struct_size = sizeof options, .url = url};
    satchel_submit_options submission = {.struct_size = sizeof submission};
    satchel_client *client;
    satchel_future *future;
    satchel_var *key;
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), TENANT, NULL), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_REQUEST_ID), "r-1", NULL), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_CORRELATION_ID), "order-7", NULL), SATCHEL_OK);
    assert_int_equal(satchel_trace_root(&o->trace), SATCHEL_OK);
    o->trace.flags |= 1;
    assert_int_equal(satchel_set_trace(&o->trace, NULL), SATCHEL_OK);
    assert_int_equal(satchel_baggage_set("name", NAME, NULL), SATCHEL_OK);
    assert_int_equal(satchel_baggage_set("plan", "gold", NULL), SATCHEL_OK);
    assert_int_equal(satchel_variable("key", &key), SATCHEL_OK);
    assert_int_equal(satchel_set_string(key, "v", NULL), SATCHEL_OK);
    satchel_var_unref(key);
    if (o->deadline_ns)
        assert_int_equal(satchel_set_deadline(o->deadline_ns, NULL), SATCHEL_OK);
    o->left_us = satchel_remaining_ns() / 1000;
    assert_int_equal(satchel_client_new(&options, &client, NULL), SATCHEL_OK);
    const char *args = o->args ? o->args : "{\"task\":\"first\"}";
    int status = satchel_submit(client, "satchel.spawn", args, &submission, &future, NULL);
    assert_int_equal(status, SATCHEL_OK);
    (void)snprintf(o->id, sizeof o->id, "%s", satchel_future_id(future));
    satchel_future_free(future);
    satchel_client_unref(client);
    return 0;
}

static void begin(struct origin *o)
{
    satchel_context *context = satchel_context_new();
    assert_int_equal(satchel_context_run(context, submit_first, o, NULL), SATCHEL_OK);
    satchel_context_unref(context);
}

/* ---- the whole chain ---- */

enum link { SPAWN_TASK, COMMAND_TASK, CALL_TASK, PLUGIN_TASK, TASKS };

struct chain {
    struct origin origin;
    json_t *tasks[TASKS];
    long long left_us[HOPS], deadline_us[HOPS];
};

static json_t *finish_well(const char *id)
{
    json_t *task = finish(&d, TENANT_LINE, id);
    expect_state(task, "succeeded");
    return task;
}

/* The value of a line "NAME=value" of the command's output; malloced. */
static char *line_of(const json_t *task, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text_of(task, "result"); line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, len) == 0 && line[len] == '=')
            return strndup(line + len + 1, strcspn(line + len + 1, "\n"));
    fail_msg("the command saw no %s", name);
    return NULL;
}

static void read_command(struct chain *c)
{
    const json_t *task = c->tasks[COMMAND_TASK];
    char *now = line_of(task, "NOW_NS"), *deadline = line_of(task, "SATCHEL_DEADLINE");
    c->deadline_us[COMMAND] = us_of(deadline);
    c->left_us[COMMAND] = c->deadline_us[COMMAND] - strtoll(now, NULL, 10) / 1000;
    free(deadline);
    free(now);
}

static void run_chain(struct chain *c)
{
    char *id;
    server_start();
    begin(&c->origin);
    (void)pthread_join(server.thread, NULL);
    assert_int_equal(server.status, SATCHEL_OK);
    c->tasks[SPAWN_TASK] = finish_well(c->origin.id);
    c->tasks[COMMAND_TASK] =
        finish_well(json_string_value(json_array_get(json_object_get(c->tasks[SPAWN_TASK], "result"), 0)));
    id = line_of(c->tasks[COMMAND_TASK], "SUBMITTED");
    c->tasks[CALL_TASK] = finish_well(id);
    assert_string_equal(id, server.parent);
    free(id);
    c->tasks[PLUGIN_TASK] = finish_well(server.child);
}

static void chain_release(struct chain *c)
{
    for (int i = 0; i < TASKS; i++)
        json_decref(c->tasks[i]);
}

static void measure(struct chain *c)
{
    const json_t *report = json_object_get(c->tasks[PLUGIN_TASK], "result");
    c->left_us[CLIENT] = c->origin.left_us;
    read_command(c);
    c->left_us[SERVER] = server.left_us;
    c->deadline_us[SERVER] = server.deadline_us;
    c->left_us[PLUGIN] = strtoll(text_of(report, "remaining_ns"), NULL, 10) / 1000;
    c->deadline_us[PLUGIN] = us_of(text_of(report, "deadline"));
}

/* ---- the tests ---- */

#define STEP                                                                                                           \
    "command = {\"/bin/sh\", \"-c\", \"env; echo NOW_NS=$(date +%%s%%N);"                                              \
    " echo SUBMITTED=$(" TEST_BUILD_DIR "/client/satchel submit $NEXT)\"} "

static int start(void **state)
{
    (void)state;
    char config[4096];
    listen_here(&server);
    receiver_start(&spans);
    (void)snprintf(config, sizeof config,
                   "otlp_endpoint = \"%s\"\nspan_delay = \"10ms\"\n"
                   "plugin \"" TEST_BUILD_DIR "/tests/context/.libs/plugin_seen.so\" {}\n"
                   "task \"first\" { " STEP "environment = {\"NEXT=call\"} }\n"
                   "task \"call\" { url = \"%s/\" allow = {\"127.0.0.1\"} }\n"
                   "task \"first.limited\" { " STEP "environment = {\"NEXT=call.limited\"} timeout = \"200s\" }\n"
                   "task \"call.limited\" { url = \"%s/\" allow = {\"127.0.0.1\"} timeout = \"100s\" }\n",
                   spans.url, server.url, server.url);
    satcheld_init(&d, config);
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    receiver_stop(&spans);
    (void)close(server.fd);
    return 0;
}

static const char *context_text(const json_t *task, const char *name)
{
    return text_of(json_object_get(task, "context"), name);
}

static void one_tenant_one_baggage(void **state)
{
    (void)state;
    struct chain c = {0};
    run_chain(&c);
    const char *baggage = context_text(c.tasks[SPAWN_TASK], "baggage");
    for (int i = 0; i < TASKS; i++) {
        expect_text(c.tasks[i], "tenant", TENANT);
        assert_string_equal(context_text(c.tasks[i], "baggage"), baggage);
        assert_string_equal(context_text(c.tasks[i], "request_id"), "r-1");
        assert_string_equal(context_text(c.tasks[i], "correlation_id"), "order-7");
        assert_string_equal(context_text(c.tasks[i], "key"), "v");
    }
    char *seen = line_of(c.tasks[COMMAND_TASK], "BAGGAGE"), *tenant = line_of(c.tasks[COMMAND_TASK], "SATCHEL_TENANT");
    assert_string_equal(seen, baggage);
    assert_string_equal(tenant, TENANT);
    assert_true(server.entered_empty);
    assert_string_equal(server.tenant, TENANT);
    assert_string_equal(server.name, NAME); /* what the first program put in, decoded */
    assert_string_equal(server.key, "v");
    const json_t *report = json_object_get(c.tasks[PLUGIN_TASK], "result");
    expect_text(report, "tenant", TENANT);
    expect_text(report, "baggage", baggage);
    expect_text(report, "key", "v");
    assert_null(json_object_get(report, "deadline")); /* nobody has set one */
    free(tenant);
    free(seen);
    chain_release(&c);
}

static void parents_and_the_root(void **state)
{
    (void)state;
    struct chain c = {0};
    run_chain(&c);
    assert_true(json_is_null(json_object_get(c.tasks[SPAWN_TASK], "parent_id")));
    for (int i = 1; i < TASKS; i++)
        expect_text(c.tasks[i], "parent_id", text_of(c.tasks[i - 1], "id"));
    for (int i = 0; i < TASKS; i++)
        expect_text(c.tasks[i], "root_id", c.origin.id);
    chain_release(&c);
}

struct wanted {
    const char *id;
    int kind;
    char span[17], parent[17];
};

static bool is_exported(void *arg)
{
    struct wanted *wanted = arg;
    json_t *all = receiver_spans(&spans), *span;
    size_t i;
    bool found = false;
    json_array_foreach(all, i, span)
    {
        const char *id = span_text(span, "messaging.message.id");
        if (!id || strcmp(id, wanted->id) != 0 || number_of(span, "kind") != wanted->kind)
            continue;
        found = true;
        (void)snprintf(wanted->span, sizeof wanted->span, "%s", text_of(span, "spanId"));
        (void)snprintf(wanted->parent, sizeof wanted->parent, "%s", text_of(span, "parentSpanId"));
    }
    json_decref(all);
    return found;
}

static struct wanted span_of(const json_t *task, int kind)
{
    struct wanted wanted = {.id = text_of(task, "id"), .kind = kind};
    if (!until(is_exported, &wanted, WAIT_MS))
        fail_msg("no span of kind %d of task %s came", kind, wanted.id);
    return wanted;
}

/* One trace, and each submission's span below the one that made it: the program's, an attempt's, an HTTP call's. */
static void one_trace(void **state)
{
    (void)state;
    enum { CLIENT_KIND = 3, PRODUCER_KIND, CONSUMER_KIND };
    struct chain c = {0};
    char first[56], *call;
    run_chain(&c);
    satchel_trace_format(&c.origin.trace, first);
    for (int i = 0; i < TASKS; i++)
        assert_memory_equal(context_text(c.tasks[i], "traceparent"), first, 36);
    struct wanted sent = span_of(c.tasks[SPAWN_TASK], PRODUCER_KIND);
    assert_memory_equal(sent.parent, first + 36, 16);
    for (int i = 1; i < TASKS; i++) {
        struct wanted before = span_of(c.tasks[i - 1], CONSUMER_KIND), child = span_of(c.tasks[i], PRODUCER_KIND);
        if (i != PLUGIN_TASK)
            assert_string_equal(child.parent, before.span);
    }
    char trace_id[33] = "";
    memcpy(trace_id, first + 3, 32);
    json_t *called = receiver_span(&spans, trace_id, "POST", CLIENT_KIND, 0, WAIT_MS);
    struct wanted last = span_of(c.tasks[PLUGIN_TASK], PRODUCER_KIND),
                  attempt = span_of(c.tasks[CALL_TASK], CONSUMER_KIND);
    assert_non_null(called);
    expect_text(called, "parentSpanId", attempt.span);
    expect_text(called, "spanId", last.parent);
    assert_non_null(call = strstr(server.head, "traceparent: 00-"));
    assert_memory_equal(call + strlen("traceparent: 00-") + 33, last.parent, 16);
    json_decref(called);
    assert_memory_equal(text_of(json_object_get(c.tasks[PLUGIN_TASK], "result"), "traceparent"), first, 36);
    chain_release(&c);
}

static int64_t mono_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void what_is_left_shrinks(void **state)
{
    (void)state;
    struct chain c = {.origin.deadline_ns = mono_ns() + INT64_C(300) * 1000000000};
    long long expected_us = wall_us() + 300 * SECOND_US;
    run_chain(&c);
    measure(&c);
    for (int hop = COMMAND; hop < HOPS; hop++) {
        long long off = c.deadline_us[hop] - expected_us;
        if (off < -SECOND_US || off > SECOND_US) /* two clocks, and the time that this took to begin */
            fail_msg("hop %d has another deadline, by %lld us", hop, off);
        assert_int_equal(c.deadline_us[hop], c.deadline_us[COMMAND]);
        if (c.left_us[hop] >= c.left_us[hop - 1] || c.left_us[hop] <= 0)
            fail_msg("hop %d has %lld us left, the one before had %lld", hop, c.left_us[hop], c.left_us[hop - 1]);
    }
    chain_release(&c);
}

/* Each attempt's time limit is a nearer deadline to whatever it calls; and never a later one. */
static void limits_bring_it_nearer(void **state)
{
    (void)state;
    struct chain c = {.origin.deadline_ns = mono_ns() + INT64_C(300) * 1000000000,
                      .origin.args = "{\"task\":\"first.limited\"}"};
    long long begin_us = wall_us();
    run_chain(&c);
    measure(&c);
    long long limits[] = {[COMMAND] = begin_us + 200 * SECOND_US, [SERVER] = begin_us + 100 * SECOND_US};
    for (int hop = COMMAND; hop <= SERVER; hop++)
        if (c.deadline_us[hop] < limits[hop] || c.deadline_us[hop] > limits[hop] + 60 * SECOND_US)
            fail_msg("hop %d has a deadline that is off by %lld us", hop, c.deadline_us[hop] - limits[hop]);
    assert_true(c.deadline_us[SERVER] < c.deadline_us[COMMAND]);
    assert_int_equal(c.deadline_us[PLUGIN], c.deadline_us[SERVER]); /* no limit of its own */
    assert_int_equal(us_of(context_text(c.tasks[CALL_TASK], "deadline")), c.deadline_us[COMMAND]);
    for (int hop = COMMAND; hop < HOPS; hop++)
        assert_true(c.left_us[hop] < c.left_us[hop - 1] && c.left_us[hop] > 0);
    chain_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_tenant_one_baggage), cmocka_unit_test(parents_and_the_root),   cmocka_unit_test(one_trace),
        cmocka_unit_test(what_is_left_shrinks),   cmocka_unit_test(limits_bring_it_nearer),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
