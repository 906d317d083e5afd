/* Building tasks, committing them, comparing them: what the suites share. */
#include <semaphore.h>
#include <string.h>

#include "tests/store/suite.h"

/* ---- places ---- */

void place_open(struct place *place)
{
    char error[512] = "";
    const struct store_options options = {.url = place->url, .retain_us = RETAIN_US};
    if (store_open(&options, &place->store, error, sizeof error) < 0)
        fail_msg("%s", error);
}

void place_close(struct place *place)
{
    reader_free(place->reader);
    place->reader = NULL;
    store_close(place->store);
    place->store = NULL;
}

void place_reopen(struct place *place)
{
    place_close(place);
    place_open(place);
}

void place_start_reader(struct place *place)
{
    char error[512] = "";
    const struct store_options options = {.url = place->url, .retain_us = RETAIN_US};
    if (reader_new(&options, &place->reader, error, sizeof error) < 0)
        fail_msg("%s", error);
}

int place_set_up(const struct store_factory *factory, void **state)
{
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        return -1;
    place->factory = factory;
    factory->make(place);
    place_open(place);
    *state = place;
    return 0;
}

int place_tear_down(void **state)
{
    struct place *place = *state;
    place_close(place);
    place->factory->drop(place);
    free(place);
    return 0;
}

/* ---- tasks ---- */

struct task_spec *spec_of(const struct task_spec_text *text)
{
    struct task_spec *spec = task_spec_new(text);
    assert_non_null(spec);
    task_id_make(&spec->id);
    spec->root = spec->id;
    spec->created_us = task_id_time_us(spec->id);
    spec->backoff = (struct backoff){BACKOFF_EXPONENTIAL, true, 1000000, 300000000};
    return spec;
}

struct task_spec *spec_plain(const char *tenant, const char *name)
{
    char context[256];
    int len = snprintf(context, sizeof context,
                       "{\"v\":1,\"vars\":{\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
                       "\"x-request-id\":\"request-1\",\"x-tenant-id\":\"%s\"}}",
                       tenant);
    const struct task_spec_text text = {
        .tenant = slice_str(tenant),
        .name = slice_str(name),
        .args = SLICE_LITERAL("{\"a\":1}"),
        .context = slice_of(context, (size_t)len),
        .origins = SLICE_LITERAL("{\"tenant\":\"header\"}"),
    };
    return spec_of(&text);
}

struct task_spec *spec_full(void)
{
    static unsigned made;
    char key[24];
    (void)snprintf(key, sizeof key, "key %u", ++made); /* no two can be in one store */
    struct task_id after[3];
    for (size_t i = 0; i < 3; i++)
        task_id_make(&after[i]);
    const struct task_spec_text text = {
        .callback = SLICE_LITERAL("https://example.com/done"),
        .after = slice_of((const char *)after, sizeof after),
        .group = SLICE_LITERAL("import \xc3\xa4"),
        .after_group = SLICE_LITERAL("clean-up"),
        .unique_key = slice_str(key),
        .tenant = SLICE_LITERAL("acme"),
        .name = SLICE_LITERAL("thumbnail"),
        .args = SLICE_LITERAL("{\"k\":[0.1,12345678901234567890,\"\xc3\xa4\"]}"),
        .labels = SLICE_LITERAL("{\"team\":\"images\",\"quote\":\"a\\\"b\"}"),
        .context = SLICE_LITERAL("{\"v\":1,\"vars\":{\"x-request-id\":\"r-1\",\"x-tenant-id\":\"acme\"}}"),
        .origins = SLICE_LITERAL("{\"request_id\":\"header\"}"),
    };
    struct task_spec *spec = spec_of(&text);
    task_id_make(&spec->parent);
    task_id_make(&spec->root);
    spec->parent.lo |= UINT64_C(1) << 63;
    for (unsigned i = 0; i < sizeof spec->parent_span; i++)
        spec->parent_span[i] = (uint8_t)(0xf1 + i);
    spec->created_us = START_US;
    spec->run_at_us = START_US + 5;
    spec->deadline_us = START_US + 6;
    spec->expires_us = START_US + 7;
    spec->timeout_us = 30000001;
    spec->retain_us = 86400000003;
    spec->backoff = (struct backoff){BACKOFF_FIXED, false, 0, INT64_MAX};
    spec->max_attempts = 65535;
    spec->max_lost = 65534;
    spec->priority = 9;
    spec->unique_until_started = true;
    spec->unique_for_us = INT64_MAX;
    return spec;
}

struct slice text_of_size(size_t size, char fill)
{
    char *data = malloc(size);
    assert_non_null(data);
    memset(data, fill, size);
    data[0] = '"';
    data[size - 1] = '"';
    return slice_of(data, size);
}

void text_free(struct slice text)
{
    union {
        const char *borrowed;
        char *ours;
    } data = {.borrowed = text.data};
    free(data.ours);
}

struct task_status status_queued(const struct task_spec *spec)
{
    return (struct task_status){.state = TASK_QUEUED, .run_at_us = spec->created_us, .progress = -1};
}

struct task_status status_running(const struct task_spec *spec)
{
    struct task_status status = status_queued(spec);
    status.state = TASK_RUNNING;
    status.attempt = 1;
    status.started_us = spec->created_us + 10;
    return status;
}

struct task_status status_ended(const struct task_spec *spec, enum task_state state, int64_t finished_us)
{
    struct task_status status = status_running(spec);
    status.state = state;
    status.finished_us = finished_us;
    return status;
}

/* ---- commits ---- */

struct store_change change_insert(const struct task_spec *spec, struct task_status status)
{
    return (struct store_change){.kind = STORE_INSERT, .id = spec->id, .spec = spec, .status = status};
}

struct store_change change_update(const struct task_spec *spec, enum task_state expect_state, uint32_t expect_attempt,
                                  struct task_status status)
{
    return (struct store_change){.kind = STORE_UPDATE,
                                 .id = spec->id,
                                 .expect_state = expect_state,
                                 .expect_attempt = expect_attempt,
                                 .status = status};
}

enum store_result commit_one(struct place *place, struct store_change *change)
{
    struct store_change *const changes[] = {change};
    return place->store->ops->commit(place->store, changes, 1);
}

void must_insert(struct place *place, const struct task_spec *spec, struct task_status status)
{
    struct store_change change = change_insert(spec, status);
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_int_equal(change.result, STORE_OK);
}

void must_update(struct place *place, const struct task_spec *spec, enum task_state expect_state,
                 uint32_t expect_attempt, struct task_status status, const struct task_outcome *outcome)
{
    struct store_change change = change_update(spec, expect_state, expect_attempt, status);
    change.outcome = outcome;
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_int_equal(change.result, STORE_OK);
}

struct task_id must_add(struct place *place, const char *tenant, const char *name, enum task_state state,
                        int64_t finished_us)
{
    struct task_spec *spec = spec_plain(tenant, name);
    struct task_id id = spec->id;
    must_insert(place, spec, task_state_final(state) ? status_ended(spec, state, finished_us) : status_queued(spec));
    task_spec_unref(spec);
    return id;
}

#define MANY 512

void must_add_many(struct place *place, unsigned n, unsigned tenants, const char *name, struct task_id *ret_ids)
{
    static struct store_change changes[MANY], *rows[MANY];
    static struct task_spec *specs[MANY];
    for (unsigned at = 0; at < n; at += MANY) {
        unsigned count = n - at < MANY ? n - at : MANY;
        for (unsigned i = 0; i < count; i++) {
            char tenant[32];
            (void)snprintf(tenant, sizeof tenant, "tenant-%u", (at + i) % tenants);
            specs[i] = spec_plain(tenant, name);
            changes[i] = change_insert(specs[i], status_queued(specs[i]));
            rows[i] = &changes[i];
            if (ret_ids)
                ret_ids[at + i] = specs[i]->id;
        }
        assert_int_equal(place->store->ops->commit(place->store, rows, count), STORE_OK);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(changes[i].result, STORE_OK);
            task_spec_unref(specs[i]);
        }
    }
}

/* ---- comparing ---- */

void load_one(struct place *place, struct task_id id, struct task_record *ret)
{
    assert_int_equal(place->store->ops->load(place->store, &id, 1, ret), STORE_OK);
}

bool is_there(struct place *place, struct task_id id)
{
    struct task_record record;
    load_one(place, id, &record);
    bool there = record.spec != NULL;
    task_record_release(&record);
    return there;
}

void assert_same_slice(struct slice a, struct slice b)
{
    assert_int_equal(a.len, b.len);
    if (a.len)
        assert_memory_equal(a.data, b.data, a.len);
}

void assert_same_spec(const struct task_spec *a, const struct task_spec *b)
{
    assert_non_null(a);
    assert_true(task_id_equal(a->id, b->id));
    assert_true(task_id_equal(a->parent, b->parent));
    assert_true(task_id_equal(a->root, b->root));
    assert_same_slice(a->tenant, b->tenant);
    assert_same_slice(a->name, b->name);
    assert_same_slice(a->args, b->args);
    assert_same_slice(a->labels, b->labels);
    assert_same_slice(a->context, b->context);
    assert_same_slice(a->origins, b->origins);
    assert_memory_equal(a->parent_span, b->parent_span, sizeof a->parent_span);
    assert_int_equal(a->created_us, b->created_us);
    assert_int_equal(a->run_at_us, b->run_at_us);
    assert_int_equal(a->deadline_us, b->deadline_us);
    assert_int_equal(a->expires_us, b->expires_us);
    assert_int_equal(a->timeout_us, b->timeout_us);
    assert_int_equal(a->retain_us, b->retain_us);
    assert_int_equal(a->backoff.type, b->backoff.type);
    assert_int_equal(a->backoff.jitter, b->backoff.jitter);
    assert_int_equal(a->backoff.base_us, b->backoff.base_us);
    assert_int_equal(a->backoff.cap_us, b->backoff.cap_us);
    assert_int_equal(a->max_attempts, b->max_attempts);
    assert_int_equal(a->max_lost, b->max_lost);
    assert_int_equal(a->priority, b->priority);
    assert_same_slice(a->callback, b->callback);
    assert_same_slice(a->after, b->after);
    assert_same_slice(a->group, b->group);
    assert_same_slice(a->after_group, b->after_group);
    assert_same_slice(a->unique_key, b->unique_key);
    assert_int_equal(a->unique_until_started, b->unique_until_started);
    assert_int_equal(a->unique_for_us, b->unique_for_us);
}

void assert_same_status(const struct task_status *a, const struct task_status *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->lost, b->lost);
    assert_int_equal(a->failures, b->failures);
    assert_int_equal(a->cancel_requested, b->cancel_requested);
    assert_int_equal(a->run_at_us, b->run_at_us);
    assert_int_equal(a->started_us, b->started_us);
    assert_int_equal(a->finished_us, b->finished_us);
    assert_true(a->progress == b->progress);
}

void assert_same_outcome(const struct task_outcome *a, const struct task_outcome *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (!a || !b)
        return;
    assert_int_equal(a->result == NULL, b->result == NULL);
    assert_same_slice(blob_slice(a->result), blob_slice(b->result));
    assert_int_equal(a->has_exit_code, b->has_exit_code);
    assert_int_equal(a->exit_code, b->exit_code);
    assert_int_equal(a->error, b->error);
    assert_int_equal(a->signal_number, b->signal_number);
    assert_int_equal(a->http_status, b->http_status);
    assert_string_equal(a->message, b->message);
}

/* ---- reading ---- */

struct waiting_call {
    struct read_call call; /* first: what is delivered is this */
    sem_t done;
};

static void on_delivered(struct read_call *call)
{
    (void)sem_post(&((struct waiting_call *)call)->done);
}

void read_now(struct place *place, struct read_call *call)
{
    struct waiting_call waiting = {.call = *call};
    waiting.call.deliver = on_delivered;
    assert_int_equal(sem_init(&waiting.done, 0, 0), 0);
    if (!place->reader)
        place_start_reader(place);
    assert_true(reader_post(place->reader, &waiting.call));
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    if (sem_timedwait(&waiting.done, &until) < 0)
        abort(); /* the call lies on this stack and is still the reader's */
    (void)sem_destroy(&waiting.done);
    *call = waiting.call;
}

void read_task(struct place *place, struct task_id id, const char *tenant, struct read_call *ret)
{
    *ret = (struct read_call){.kind = READ_TASK, .id = id, .tenant = slice_str(tenant)};
    read_now(place, ret);
}

void read_release(struct read_call *call)
{
    task_record_release(&call->record);
    task_history_release(&call->history);
    buf_release(&call->log);
    for (size_t i = 0; i < call->n; i++)
        task_record_release(&call->records[i]);
    free(call->records);
    call->records = NULL;
    call->n = 0;
}
