/* What a commit promises: every field comes back, batches are whole, late reports are fenced, keys hold. */
#include <string.h>

#include "tests/store/suite.h"

static const struct store_factory *factory;

static int set_up(void **state)
{
    return place_set_up(factory, state);
}

/* ---- round trips ---- */

static void test_plain_task(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "satchel.noop");
    must_insert(place, spec, status_queued(spec));
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_same_spec(spec, record.spec);
    assert_non_null(task_context(record.spec));
    struct task_status expected = status_queued(spec);
    assert_same_status(&expected, &record.status);
    assert_null(record.outcome);
    task_record_release(&record);
    task_spec_unref(spec);
}

static void test_every_field(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_full();
    struct task_status status = {.state = TASK_SCHEDULED,
                                 .attempt = UINT32_MAX,
                                 .lost = UINT16_MAX,
                                 .failures = UINT16_MAX - 1,
                                 .cancel_requested = true,
                                 .run_at_us = START_US + 1,
                                 .started_us = START_US + 2,
                                 .finished_us = START_US + 3,
                                 .progress = 0.25F};
    must_insert(place, spec, status);
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_same_spec(spec, record.spec);
    assert_same_status(&status, &record.status);
    assert_null(record.outcome);
    task_record_release(&record);

    struct task_outcome *outcome = task_outcome_failure(ERROR_TYPE_SIGNAL, SLICE_LITERAL("killed \xe2\x80\x94 \"9\""));
    outcome->has_exit_code = true;
    outcome->exit_code = -7;
    outcome->signal_number = 64;
    outcome->http_status = 599;
    status.state = TASK_FAILED;
    must_update(place, spec, TASK_SCHEDULED, UINT32_MAX, status, outcome);
    place_reopen(place);
    load_one(place, spec->id, &record);
    assert_same_spec(spec, record.spec);
    assert_same_status(&status, &record.status);
    assert_same_outcome(outcome, record.outcome);
    task_record_release(&record);
    task_outcome_unref(outcome);
    task_spec_unref(spec);
}

static void test_success_with_exit_code_zero(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "command");
    struct task_outcome *outcome = task_outcome_success(blob_new(SLICE_LITERAL("{\"n\":0.10}")));
    outcome->has_exit_code = true;
    struct store_change change = change_insert(spec, status_ended(spec, TASK_SUCCEEDED, START_US));
    change.outcome = outcome; /* the whole life of a task in one row */
    assert_int_equal(commit_one(place, &change), STORE_OK);
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_same_outcome(outcome, record.outcome);
    assert_int_equal(record.status.state, TASK_SUCCEEDED);
    task_record_release(&record);
    task_outcome_unref(outcome);
    task_spec_unref(spec);
}

static void test_empty_texts(void **state)
{
    struct place *place = *state;
    const struct task_spec_text text = {
        .tenant = SLICE_LITERAL("t"), .name = SLICE_LITERAL("n"), .args = SLICE_LITERAL("null")};
    struct task_spec *spec = spec_of(&text);
    must_insert(place, spec, status_queued(spec));
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_same_spec(spec, record.spec);
    assert_non_null(task_context(record.spec)); /* of its tenant, since nothing was captured */
    task_record_release(&record);
    task_spec_unref(spec);
}

/* Bodies around the size from which they lie outside the row, and far above. */
static void test_body_sizes(void **state)
{
    struct place *place = *state;
    static const size_t sizes[] = {2, 2047, 2048, 2049, 4096, 70000, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct slice body = text_of_size(sizes[i], 'x');
        const struct task_spec_text text = {.tenant = SLICE_LITERAL("t"),
                                            .name = SLICE_LITERAL("n"),
                                            .args = body,
                                            .labels = body,
                                            .context = body,
                                            .origins = body};
        struct task_spec *spec = spec_of(&text);
        must_insert(place, spec, status_running(spec));
        struct task_outcome *outcome = task_outcome_success(blob_new(body));
        must_update(place, spec, TASK_RUNNING, 1, status_ended(spec, TASK_SUCCEEDED, START_US), outcome);
        struct task_record record;
        load_one(place, spec->id, &record);
        assert_same_spec(spec, record.spec);
        assert_same_outcome(outcome, record.outcome);
        task_record_release(&record);
        task_outcome_unref(outcome);
        task_spec_unref(spec);
        text_free(body);
    }
}

static void test_largest_result(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "big");
    must_insert(place, spec, status_running(spec));
    struct slice body = text_of_size(8 << 20, 'r');
    struct task_outcome *outcome = task_outcome_success(blob_new(body));
    must_update(place, spec, TASK_RUNNING, 1, status_ended(spec, TASK_SUCCEEDED, START_US), outcome);
    place_reopen(place);
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_same_outcome(outcome, record.outcome);
    task_record_release(&record);
    task_outcome_unref(outcome);
    task_spec_unref(spec);
    text_free(body);
}

/* An outcome replaces the one before, wherever its bodies lay; a retry by hand clears it. */
static void test_outcomes_follow_each_other(void **state)
{
    struct place *place = *state;
    static const size_t sizes[] = {5000, 10, 6000, 2048, 2049, 3};
    struct task_spec *spec = spec_plain("acme", "again");
    struct task_status status = status_running(spec);
    must_insert(place, spec, status);
    struct task_record record;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct slice body = text_of_size(sizes[i], (char)('a' + i));
        struct task_outcome *outcome =
            i % 2 ? task_outcome_success(blob_new(body)) : task_outcome_failure(ERROR_TYPE_HANDLER, body);
        struct task_status next = status;
        next.state = TASK_SCHEDULED;
        must_update(place, spec, TASK_RUNNING, status.attempt, next, outcome);
        load_one(place, spec->id, &record);
        assert_same_outcome(outcome, record.outcome);
        task_record_release(&record);
        status.attempt++;
        must_update(place, spec, TASK_SCHEDULED, status.attempt - 1, status, NULL);
        load_one(place, spec->id, &record);
        assert_same_outcome(outcome, record.outcome); /* a claim leaves it */
        task_record_release(&record);
        task_outcome_unref(outcome);
        text_free(body);
    }
    struct store_change clear = change_update(spec, TASK_RUNNING, status.attempt, status_queued(spec));
    clear.clear_outcome = true;
    assert_int_equal(commit_one(place, &clear), STORE_OK);
    assert_int_equal(clear.result, STORE_OK);
    load_one(place, spec->id, &record);
    assert_null(record.outcome);
    task_record_release(&record);
    task_spec_unref(spec);
}

static void test_update_leaves_started_and_progress(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "n");
    struct task_status status = status_running(spec);
    status.progress = 0.5F;
    must_insert(place, spec, status);
    struct task_status told = {.state = TASK_QUEUED, .attempt = 1, .lost = 1, .run_at_us = START_US, .progress = -1};
    must_update(place, spec, TASK_RUNNING, 1, told, NULL);
    struct task_record record;
    load_one(place, spec->id, &record);
    told.started_us = status.started_us;
    told.progress = 0.5F;
    assert_same_status(&told, &record.status);
    task_record_release(&record);
    told.progress = 0;
    told.started_us = START_US + 99;
    must_update(place, spec, TASK_QUEUED, 1, told, NULL);
    load_one(place, spec->id, &record);
    assert_same_status(&told, &record.status);
    task_record_release(&record);
    task_spec_unref(spec);
}

static void test_unreadable_context_keeps_its_tenant(void **state)
{
    struct place *place = *state;
    const struct task_spec_text text = {.tenant = SLICE_LITERAL("acme"),
                                        .name = SLICE_LITERAL("n"),
                                        .args = SLICE_LITERAL("1"),
                                        .context = SLICE_LITERAL("{\"v\":1,\"vars\":[[[")};
    struct task_spec *spec = spec_of(&text);
    must_insert(place, spec, status_queued(spec));
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_non_null(record.spec);
    satchel_value *tenant = NULL;
    assert_int_equal(satchel_context_get(task_context(record.spec), satchel_known_var(SATCHEL_TENANT), &tenant),
                     SATCHEL_OK);
    assert_non_null(tenant);
    satchel_value_unref(tenant);
    task_record_release(&record);
    task_spec_unref(spec);
}

static void test_context_is_restored(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "n");
    must_insert(place, spec, status_queued(spec));
    struct task_record record;
    load_one(place, spec->id, &record);
    satchel_value *value = NULL;
    assert_int_equal(satchel_context_get(task_context(record.spec), satchel_known_var(SATCHEL_REQUEST_ID), &value),
                     SATCHEL_OK);
    assert_string_equal((const char *)satchel_value_data(value), "request-1");
    satchel_value_unref(value);
    task_record_release(&record);
    task_spec_unref(spec);
}

/* ---- look-ups by id ---- */

static void test_forged_id_is_not_found(void **state)
{
    struct place *place = *state;
    struct task_id id = must_add(place, "acme", "n", TASK_QUEUED, 0), forged = id, unknown;
    forged.lo ^= 1;
    task_id_make(&unknown);
    const struct task_id ids[] = {forged, id, unknown};
    struct task_record records[3];
    assert_int_equal(place->store->ops->load(place->store, ids, 3, records), STORE_OK);
    assert_null(records[0].spec);
    assert_non_null(records[1].spec);
    assert_null(records[2].spec);
    task_record_release(&records[1]);
}

static void test_greatest_seq(void **state)
{
    struct place *place = *state;
    assert_int_equal(place->store->ops->greatest_seq(place->store), 0);
    (void)must_add(place, "acme", "n", TASK_QUEUED, 0);
    struct task_id last = must_add(place, "acme", "n", TASK_SUCCEEDED, START_US);
    assert_int_equal(place->store->ops->greatest_seq(place->store), task_id_seq(last));
    struct store_change forget = {
        .kind = STORE_FORGET, .id = last, .expect_state = TASK_SUCCEEDED, .expect_attempt = 1};
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    assert_int_equal(forget.result, STORE_OK);
    place_reopen(place);
    assert_int_equal(place->store->ops->greatest_seq(place->store), task_id_seq(last)); /* a deleted id is not reused */
}

/* ---- batches and fences ---- */

static void test_late_reports_are_fenced(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "n"), *other = spec_plain("acme", "n");
    must_insert(place, spec, status_running(spec));
    must_insert(place, other, status_running(other));
    struct task_outcome *outcome = task_outcome_success(blob_new(SLICE_LITERAL("1")));
    struct task_status end = status_ended(spec, TASK_SUCCEEDED, START_US);
    struct store_change late = change_update(spec, TASK_RUNNING, 0, end);
    struct store_change early = change_update(spec, TASK_RUNNING, 2, end);
    struct store_change wrong_state = change_update(spec, TASK_QUEUED, 1, end);
    struct store_change forged = change_update(spec, TASK_RUNNING, 1, end);
    forged.id.lo ^= 4;
    struct store_change right = change_update(other, TASK_RUNNING, 1, status_ended(other, TASK_FAILED, START_US));
    struct store_change twice = right;
    struct store_change *const batch[] = {&late, &early, &wrong_state, &forged, &right, &twice};
    for (size_t i = 0; i < 6; i++)
        batch[i]->outcome = outcome;
    assert_int_equal(place->store->ops->commit(place->store, batch, 6), STORE_OK);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(batch[i]->result, i == 4 ? STORE_OK : STORE_FENCED);
    struct task_record record;
    load_one(place, spec->id, &record);
    assert_int_equal(record.status.state, TASK_RUNNING);
    assert_null(record.outcome);
    task_record_release(&record);
    load_one(place, other->id, &record);
    assert_int_equal(record.status.state, TASK_FAILED);
    task_record_release(&record);
    task_outcome_unref(outcome);
    task_spec_unref(spec);
    task_spec_unref(other);
}

/* The attempt is compared alone: counts of lost and failed attempts beside it do not matter. */
static void test_fence_ignores_the_other_counts(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "n");
    struct task_status status = status_running(spec);
    status.attempt = 3;
    status.lost = 7;
    status.failures = 40000;
    must_insert(place, spec, status);
    status.state = TASK_FAILED;
    must_update(place, spec, TASK_RUNNING, 3, status, NULL);
    task_spec_unref(spec);
}

static void test_taken_id_is_fenced(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "first"), *other = spec_plain("acme", "second");
    other->id = other->root = task_id_from_seq(task_id_seq(spec->id), other->id.lo);
    must_insert(place, spec, status_queued(spec));
    struct store_change again = change_insert(other, status_queued(other));
    assert_int_equal(commit_one(place, &again), STORE_OK);
    assert_int_equal(again.result, STORE_FENCED);
    assert_true(is_there(place, spec->id));
    assert_false(is_there(place, other->id));
    task_spec_unref(spec);
    task_spec_unref(other);
}

static void test_empty_batch(void **state)
{
    struct place *place = *state;
    assert_int_equal(place->store->ops->commit(place->store, NULL, 0), STORE_OK);
}

static void test_large_batch_is_one_commit(void **state)
{
    struct place *place = *state;
    uint64_t commits, syncs, commits_before;
    place->store->ops->counters(place->store, &commits_before, &syncs);
    enum { N = 512 };
    static struct task_id ids[N];
    must_add_many(place, N, 7, "n", ids);
    place->store->ops->counters(place->store, &commits, &syncs);
    assert_int_equal(commits - commits_before, 1);
    static struct task_record records[N];
    assert_int_equal(place->store->ops->load(place->store, ids, N, records), STORE_OK);
    for (size_t i = 0; i < N; i++) {
        assert_non_null(records[i].spec);
        task_record_release(&records[i]);
    }
}

static void test_commit_costs_one_fsync(void **state)
{
    struct place *place = *state;
    uint64_t commits[2], syncs[2];
    (void)must_add(place, "acme", "n", TASK_QUEUED, 0);
    place->store->ops->counters(place->store, &commits[0], &syncs[0]);
    for (int i = 0; i < 100; i++)
        (void)must_add(place, "acme", "n", TASK_QUEUED, 0);
    place->store->ops->counters(place->store, &commits[1], &syncs[1]);
    assert_int_equal(commits[1] - commits[0], 100);
    assert_in_range(syncs[1] - syncs[0], 100, 110); /* a checkpoint may lie between */
}

/* More tenants than are kept in memory. */
static void test_many_tenants(void **state)
{
    struct place *place = *state;
    enum { N = 70000 };
    struct task_id *ids = calloc(N, sizeof *ids);
    assert_non_null(ids);
    must_add_many(place, N, N, "n", ids);
    for (unsigned i = 0; i < N; i += 997) {
        char expected[32];
        (void)snprintf(expected, sizeof expected, "tenant-%u", i);
        struct task_record record;
        load_one(place, ids[i], &record);
        assert_string_equal(record.spec->tenant.data, expected);
        task_record_release(&record);
    }
    free(ids);
}

/* ---- idempotency keys ---- */

static struct store_change keyed(const struct task_spec *spec, const unsigned char *key, const unsigned char *print,
                                 int64_t expires_us)
{
    struct store_change change = change_insert(spec, status_queued(spec));
    change.key = key;
    change.fingerprint = print;
    change.key_expires_us = expires_us;
    return change;
}

static void test_keys(void **state)
{
    struct place *place = *state;
    unsigned char key[STORE_KEY_SIZE] = {0}, other_key[STORE_KEY_SIZE] = {0}, print[STORE_KEY_SIZE] = {5},
                  found[STORE_KEY_SIZE];
    other_key[31] = 1;
    struct task_spec *spec = spec_plain("acme", "n"), *second = spec_plain("acme", "n");
    int64_t now = spec->created_us;
    struct task_id id;
    const struct store_ops *ops = place->store->ops;
    assert_int_equal(ops->find_key(place->store, key, now, &id, found), STORE_NOT_FOUND);
    struct store_change change = keyed(spec, key, print, now + 1000000);
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_int_equal(change.result, STORE_OK);
    assert_int_equal(ops->find_key(place->store, key, now, &id, found), STORE_OK);
    assert_true(task_id_equal(id, spec->id));
    assert_memory_equal(found, print, sizeof print);
    assert_int_equal(ops->find_key(place->store, other_key, now, &id, found), STORE_NOT_FOUND);
    assert_int_equal(ops->find_key(place->store, key, now + 1000000, &id, found), STORE_NOT_FOUND);

    /* the key still holds: the second task is not made at all */
    struct store_change taken = keyed(second, key, other_key, now + 1000000);
    assert_int_equal(commit_one(place, &taken), STORE_OK);
    assert_int_equal(taken.result, STORE_FENCED);
    assert_false(is_there(place, second->id));
    assert_int_equal(ops->find_key(place->store, key, now, &id, found), STORE_OK);
    assert_true(task_id_equal(id, spec->id));

    /* it has expired: replaced */
    second->created_us = now + 1000000;
    struct store_change after = keyed(second, key, other_key, now + 9000000);
    assert_int_equal(commit_one(place, &after), STORE_OK);
    assert_int_equal(after.result, STORE_OK);
    assert_true(is_there(place, second->id));
    assert_int_equal(ops->find_key(place->store, key, now + 2000000, &id, found), STORE_OK);
    assert_true(task_id_equal(id, second->id));
    assert_memory_equal(found, other_key, sizeof other_key);
    task_spec_unref(spec);
    task_spec_unref(second);
}

/* ---- recovery ---- */

struct walk {
    unsigned n, stop_after;
    int64_t last_run_at;
    struct task_id last;
    struct store_waiting first;
    char tenant[32], name[32];
    unsigned long tenants;
    bool ordered;
};

static int on_waiting(void *arg, const struct store_waiting *task)
{
    struct walk *walk = arg;
    if (walk->n == 0) {
        walk->first = *task;
        (void)snprintf(walk->tenant, sizeof walk->tenant, "%.*s", (int)task->tenant.len, task->tenant.data);
        (void)snprintf(walk->name, sizeof walk->name, "%.*s", (int)task->name.len, task->name.data);
        walk->ordered = true;
    } else if (task->run_at_us < walk->last_run_at ||
               (task->run_at_us == walk->last_run_at && task_id_seq(task->id) <= task_id_seq(walk->last))) {
        walk->ordered = false;
    }
    walk->last_run_at = task->run_at_us;
    walk->last = task->id;
    walk->tenants += strtoul(task->tenant.data + sizeof "tenant-" - 1, NULL, 10);
    return ++walk->n == walk->stop_after;
}

static void test_each_waiting_fields(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_full();
    struct task_status status = {.state = TASK_RUNNING,
                                 .attempt = 77777,
                                 .lost = 3,
                                 .failures = 9,
                                 .cancel_requested = true,
                                 .run_at_us = START_US,
                                 .progress = -1};
    must_insert(place, spec, status);
    (void)must_add(place, "acme", "n", TASK_SUCCEEDED, START_US);
    struct walk walk = {0};
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    assert_int_equal(walk.n, 1);
    assert_true(task_id_equal(walk.first.id, spec->id));
    assert_int_equal(walk.first.state, TASK_RUNNING);
    assert_int_equal(walk.first.priority, 9);
    assert_int_equal(walk.first.attempt, 77777);
    assert_int_equal(walk.first.lost, 3);
    assert_int_equal(walk.first.max_lost, 65534);
    assert_int_equal(walk.first.failures, 9);
    assert_true(walk.first.cancel_requested);
    assert_int_equal(walk.first.run_at_us, START_US);
    assert_int_equal(walk.first.expires_us, spec->expires_us);
    assert_int_equal(walk.first.deadline_us, spec->deadline_us);
    assert_string_equal(walk.tenant, "acme");
    assert_string_equal(walk.name, "thumbnail");
    task_spec_unref(spec);
}

static void test_each_waiting_order_and_states(void **state)
{
    struct place *place = *state;
    enum { N = 60 };
    unsigned unfinished = 0;
    for (unsigned i = 0; i < N; i++) {
        struct task_spec *spec = spec_plain("tenant-1", "n");
        struct task_status status = status_queued(spec);
        status.state = (enum task_state)(i % TASK_STATE_COUNT);
        status.run_at_us = START_US + i * 7919 % 13; /* many at the same time */
        must_insert(place, spec, status);
        unfinished += !task_state_final(status.state);
        task_spec_unref(spec);
    }
    struct walk walk = {0};
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    assert_int_equal(walk.n, unfinished);
    assert_true(walk.ordered);
    walk = (struct walk){.stop_after = 5};
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    assert_int_equal(walk.n, 5);
    (void)must_add(place, "tenant-1", "n", TASK_QUEUED, 0); /* a walk that was stopped holds nothing back */
}

static void test_waiting_follows_updates(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("tenant-1", "n");
    must_insert(place, spec, status_running(spec));
    must_update(place, spec, TASK_RUNNING, 1, status_ended(spec, TASK_FAILED, START_US), NULL);
    struct walk walk = {0};
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    assert_int_equal(walk.n, 0);
    struct task_status again = status_queued(spec);
    again.attempt = 1;
    must_update(place, spec, TASK_FAILED, 1, again, NULL);
    place_reopen(place);
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    assert_int_equal(walk.n, 1);
    assert_int_equal(walk.first.state, TASK_QUEUED);
    task_spec_unref(spec);
}

static void test_each_waiting_of_100000(void **state)
{
    struct place *place = *state;
    enum { N = 100000, TENANTS = 1000 };
    must_add_many(place, N, TENANTS, "satchel.noop", NULL);
    place_reopen(place);
    struct walk walk = {0};
    int64_t start = clock_mono_ns();
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    print_message("100,000 waiting tasks in %lld ms\n", (long long)((clock_mono_ns() - start) / 1000000));
    assert_int_equal(walk.n, N);
    assert_true(walk.ordered);
    assert_int_equal(walk.tenants, (unsigned long)(N / TENANTS) * (TENANTS * (TENANTS - 1) / 2));
}

int store_suite_write(const struct store_factory *given)
{
    factory = given;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_plain_task),
        TEST(test_every_field),
        TEST(test_success_with_exit_code_zero),
        TEST(test_empty_texts),
        TEST(test_body_sizes),
        TEST(test_largest_result),
        TEST(test_outcomes_follow_each_other),
        TEST(test_update_leaves_started_and_progress),
        TEST(test_unreadable_context_keeps_its_tenant),
        TEST(test_context_is_restored),
        TEST(test_forged_id_is_not_found),
        TEST(test_greatest_seq),
        TEST(test_late_reports_are_fenced),
        TEST(test_fence_ignores_the_other_counts),
        TEST(test_taken_id_is_fenced),
        TEST(test_empty_batch),
        TEST(test_large_batch_is_one_commit),
        TEST(test_commit_costs_one_fsync),
        TEST(test_many_tenants),
        TEST(test_keys),
        TEST(test_each_waiting_fields),
        TEST(test_each_waiting_order_and_states),
        TEST(test_waiting_follows_updates),
        TEST(test_each_waiting_of_100000),
    };
    return cmocka_run_group_tests_name("store: writing", tests, NULL, NULL);
}
