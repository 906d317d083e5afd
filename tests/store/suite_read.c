/* What reads promise: the right tasks, in order, of the right tenant, in bounded pages, beside a busy writer. */
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "tests/store/suite.h"

static const struct store_factory *factory;

static int set_up(void **state)
{
    return place_set_up(factory, state);
}

static struct list_query query_of(const char *tenant)
{
    return (struct list_query){.tenant = slice_str(tenant), .limit = 100};
}

static void list_now(struct place *place, const struct list_query *query, struct read_call *ret)
{
    *ret = (struct read_call){.kind = READ_LIST, .query = *query};
    read_now(place, ret);
    assert_int_equal(ret->result, STORE_OK);
}

/* Follows the cursor to the end (at most `pages`); the ids in order. */
static size_t list_all(struct place *place, struct list_query query, struct task_id *ret_ids, size_t cap,
                       unsigned pages)
{
    size_t n = 0;
    for (unsigned page = 0; page < pages; page++) {
        struct read_call call;
        list_now(place, &query, &call);
        for (size_t i = 0; i < call.n; i++) {
            assert_true(n < cap);
            ret_ids[n++] = call.records[i].spec->id;
        }
        query.before = call.next;
        read_release(&call);
        if (task_id_is_none(query.before))
            return n;
    }
    fail_msg("the list does not end");
    return 0;
}

static void assert_lists(struct place *place, struct list_query query, const struct task_id *expected, size_t n)
{
    struct task_id found[64];
    size_t got = list_all(place, query, found, 64, 8);
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++)
        assert_true(task_id_equal(found[i], expected[i]));
}

/* ---- single tasks ---- */

static void test_task(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_full();
    struct task_outcome *outcome = task_outcome_success(blob_new(SLICE_LITERAL("[1,2]")));
    must_insert(place, spec, status_running(spec));
    struct task_status end = status_ended(spec, TASK_SUCCEEDED, START_US + 5);
    must_update(place, spec, TASK_RUNNING, 1, end, outcome);
    static const char *const askers[] = {"acme", NULL};
    for (size_t i = 0; i < 2; i++) {
        struct read_call call;
        read_task(place, spec->id, askers[i], &call);
        assert_int_equal(call.result, STORE_OK);
        assert_same_spec(spec, call.record.spec);
        assert_same_status(&end, &call.record.status);
        assert_same_outcome(outcome, call.record.outcome);
        assert_non_null(task_context(call.record.spec));
        read_release(&call);
    }
    task_outcome_unref(outcome);
    task_spec_unref(spec);
}

static void test_task_of_another_tenant_is_not_found(void **state)
{
    struct place *place = *state;
    struct task_id mine = must_add(place, "acme", "n", TASK_QUEUED, 0);
    (void)must_add(place, "other", "n", TASK_QUEUED, 0);
    static const char *const askers[] = {"other", "never-seen", "acm", "ACME", ""};
    for (size_t i = 0; i < sizeof askers / sizeof *askers; i++) {
        struct read_call call;
        read_task(place, mine, askers[i], &call);
        assert_int_equal(call.result, STORE_NOT_FOUND);
        assert_false(call.gone);
        assert_null(call.record.spec);
    }
    struct read_call call;
    struct task_id forged = mine;
    forged.lo ^= 2;
    read_task(place, forged, "acme", &call);
    assert_int_equal(call.result, STORE_NOT_FOUND);
}

/* ---- lists ---- */

static void test_pages(void **state)
{
    struct place *place = *state;
    enum { N = 250 };
    static struct task_id ids[N], found[N];
    must_add_many(place, N, 1, "n", ids);
    static const unsigned limits[] = {1, 7, 100, 250, 1000};
    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++)
        for (int all = 0; all < 2; all++) {
            struct list_query query = query_of(all ? NULL : "tenant-0");
            query.limit = limits[l];
            assert_int_equal(list_all(place, query, found, N, N + 1), N);
            for (size_t i = 0; i < N; i++)
                assert_true(task_id_equal(found[i], ids[N - 1 - i]));
        }
}

static void test_limit_is_clamped(void **state)
{
    struct place *place = *state;
    must_add_many(place, 1100, 1, "n", NULL);
    struct list_query query = query_of("tenant-0");
    struct read_call call;
    query.limit = 0;
    list_now(place, &query, &call);
    assert_int_equal(call.n, 1);
    read_release(&call);
    query.limit = UINT32_MAX;
    list_now(place, &query, &call);
    assert_int_equal(call.n, 1000);
    assert_false(task_id_is_none(call.next));
    read_release(&call);
}

static void test_empty_lists(void **state)
{
    struct place *place = *state;
    assert_lists(place, query_of("acme"), NULL, 0);
    assert_lists(place, query_of(NULL), NULL, 0);
    (void)must_add(place, "acme", "n", TASK_QUEUED, 0);
    assert_lists(place, query_of("other"), NULL, 0);
    struct list_query query = query_of("acme");
    query.name = SLICE_LITERAL("never-seen");
    assert_lists(place, query, NULL, 0);
}

static void test_state_and_name(void **state)
{
    struct place *place = *state;
    struct task_id ids[TASK_STATE_COUNT][2];
    for (int i = 0; i < TASK_STATE_COUNT; i++)
        for (int j = 0; j < 2; j++) {
            struct task_spec *spec = spec_plain("acme", j ? "odd" : "even");
            struct task_status status = status_running(spec);
            status.state = (enum task_state)i;
            must_insert(place, spec, status);
            ids[i][j] = spec->id;
            task_spec_unref(spec);
            (void)must_add(place, "other", j ? "odd" : "even", (enum task_state)i, START_US);
        }
    for (int i = 0; i < TASK_STATE_COUNT; i++) {
        struct list_query query = query_of("acme");
        query.has_state = true;
        query.state = (enum task_state)i;
        const struct task_id newest_first[] = {ids[i][1], ids[i][0]};
        assert_lists(place, query, newest_first, 2);
        query.limit = 1;
        assert_lists(place, query, newest_first, 2);
        query.name = SLICE_LITERAL("odd");
        assert_lists(place, query, newest_first, 1);
    }
}

static struct task_id add_with(struct place *place, struct slice labels, struct slice context)
{
    const struct task_spec_text text = {.tenant = SLICE_LITERAL("acme"),
                                        .name = SLICE_LITERAL("n"),
                                        .args = SLICE_LITERAL("1"),
                                        .labels = labels,
                                        .context = context};
    struct task_spec *spec = spec_of(&text);
    struct task_id id = spec->id;
    must_insert(place, spec, status_queued(spec));
    task_spec_unref(spec);
    return id;
}

#define NO_TEXT ((struct slice){NULL, 0})

static void test_labels(void **state)
{
    struct place *place = *state;
    struct task_id plain = add_with(place, SLICE_LITERAL("{\"team\":\"images\",\"k\":\"v\"}"), NO_TEXT);
    struct task_id spaced = add_with(place, SLICE_LITERAL("{ \"k\" : \"v\" }"), NO_TEXT);
    struct task_id escaped = add_with(place, SLICE_LITERAL("{\"q\":\"a\\\"b\",\"\\u006b\":\"v\"}"), NO_TEXT);
    (void)add_with(place, SLICE_LITERAL("{\"k\":\"vv\",\"v\":\"k\",\"kk\":\"v\"}"), NO_TEXT);
    (void)add_with(place, NO_TEXT, NO_TEXT);
    struct list_query query = query_of("acme");
    query.label_key = SLICE_LITERAL("k");
    query.label_value = SLICE_LITERAL("v");
    const struct task_id with_k[] = {escaped, spaced, plain};
    assert_lists(place, query, with_k, 3);
    query.label_key = SLICE_LITERAL("q");
    query.label_value = SLICE_LITERAL("a\"b");
    assert_lists(place, query, &escaped, 1);
    query.label_key = SLICE_LITERAL("team");
    query.label_value = SLICE_LITERAL("");
    assert_lists(place, query, NULL, 0);
}

static void test_trace_and_request_id(void **state)
{
    struct place *place = *state;
    static const char trace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
    struct task_id one = add_with(
        place, NO_TEXT,
        SLICE_LITERAL("{\"v\":1,\"vars\":{\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\","
                      "\"x-request-id\":\"a\\\"b\\\\c\",\"x-tenant-id\":\"acme\"}}"));
    struct task_id two = add_with(
        place, NO_TEXT,
        SLICE_LITERAL("{\"v\":1,\"vars\":{\"traceparent\":\"00-00000000000000000000000000000001-00f067aa0ba902b7-01\","
                      "\"x-request-id\":\"a\",\"zz\":\"\\\"x-request-id\\\":\\\"forged\\\"\"}}"));
    struct list_query query = query_of("acme");
    query.trace_id = slice_str(trace);
    assert_lists(place, query, &one, 1);
    query.request_id = SLICE_LITERAL("a");
    assert_lists(place, query, NULL, 0); /* both must hold */
    query.trace_id = NO_TEXT;
    assert_lists(place, query, &two, 1);
    query.request_id = SLICE_LITERAL("a\"b\\c");
    assert_lists(place, query, &one, 1);
    query.request_id = SLICE_LITERAL("forged");
    assert_lists(place, query, NULL, 0);
}

/* The form that the context library writes today is the one that the filters know. */
static void test_filters_know_the_stored_form(void **state)
{
    struct place *place = *state;
    static const char parent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    static const char request[] = "r\\\"/{}-9";
    const satchel_field fields[] = {
        {.name = "X-Tenant-ID", .value = "acme", .name_len = 11, .value_len = 4},
        {.name = "traceparent", .value = parent, .name_len = 11, .value_len = sizeof parent - 1},
        {.name = "X-Request-ID", .value = request, .name_len = 12, .value_len = sizeof request - 1},
    };
    satchel_context *context = NULL;
    size_t n_problems = 0, len = 0;
    char *json = NULL;
    assert_int_equal(satchel_extract(fields, 3, &context, NULL, &n_problems), SATCHEL_OK);
    assert_int_equal(satchel_context_to_json(context, SATCHEL_JSON_SECRETS, &json, &len), SATCHEL_OK);
    struct task_id id = add_with(place, NO_TEXT, slice_of(json, len));
    satchel_free(json);
    satchel_context_unref(context);
    struct list_query query = query_of("acme");
    query.trace_id = SLICE_LITERAL("4bf92f3577b34da6a3ce929d0e0e4736");
    query.request_id = slice_str(request);
    assert_lists(place, query, &id, 1);
    query.request_id = SLICE_LITERAL("r");
    assert_lists(place, query, NULL, 0);
}

/* Filters look into bodies beside the row as well. */
static void test_filters_on_large_texts(void **state)
{
    struct place *place = *state;
    static char labels[6000], context[6000];
    (void)snprintf(labels, sizeof labels, "{\"pad\":\"%0*d\",\"k\":\"v\"}", 5000, 0);
    (void)snprintf(context, sizeof context, "{\"v\":1,\"vars\":{\"baggage\":\"a=%0*d\",\"x-request-id\":\"big\"}}",
                   5000, 0);
    struct task_id id = add_with(place, slice_str(labels), slice_str(context));
    (void)must_add(place, "acme", "n", TASK_QUEUED, 0);
    struct list_query query = query_of("acme");
    query.label_key = SLICE_LITERAL("k");
    query.label_value = SLICE_LITERAL("v");
    query.request_id = SLICE_LITERAL("big");
    assert_lists(place, query, &id, 1);
    query.request_id = SLICE_LITERAL("small");
    assert_lists(place, query, NULL, 0);
}

static struct task_id add_child(struct place *place, const char *tenant, struct task_id parent, struct task_id root)
{
    struct task_spec *spec = spec_plain(tenant, "child");
    spec->parent = parent;
    spec->root = root;
    struct task_id id = spec->id;
    must_insert(place, spec, status_queued(spec));
    task_spec_unref(spec);
    return id;
}

static void test_parent_and_root(void **state)
{
    struct place *place = *state;
    struct task_id root = must_add(place, "acme", "n", TASK_SUCCEEDED, START_US);
    struct task_id stranger = must_add(place, "acme", "n", TASK_QUEUED, 0);
    struct task_id first = add_child(place, "acme", root, root);
    struct task_id second = add_child(place, "acme", root, root);
    struct task_id grandchild = add_child(place, "acme", first, root);
    (void)add_child(place, "other", root, root); /* no other tenant's, whatever it claims */
    struct list_query query = query_of("acme");
    query.parent = root;
    const struct task_id children[] = {second, first};
    assert_lists(place, query, children, 2);
    query.parent = stranger;
    assert_lists(place, query, NULL, 0);
    query.parent = (struct task_id){0, 0};
    query.root = root;
    const struct task_id family[] = {grandchild, second, first, root};
    assert_lists(place, query, family, 4);
    query.limit = 1;
    assert_lists(place, query, family, 4);
    query.root = stranger;
    assert_lists(place, query, &stranger, 1);
    query.root = root;
    query.parent = first;
    assert_lists(place, query, &grandchild, 1);
}

static void test_1000_tenants_see_their_own(void **state)
{
    struct place *place = *state;
    enum { TENANTS = 1000, EACH = 4 };
    static struct task_id ids[TENANTS * EACH];
    must_add_many(place, TENANTS * EACH, TENANTS, "n", ids);
    for (unsigned t = 0; t < TENANTS; t++) {
        char tenant[32];
        (void)snprintf(tenant, sizeof tenant, "tenant-%u", t);
        struct task_id own[EACH];
        for (unsigned i = 0; i < EACH; i++)
            own[i] = ids[(EACH - 1 - i) * TENANTS + t];
        assert_lists(place, query_of(tenant), own, EACH);
    }
}

/* Ids are made before batches are formed: a smaller one may be committed later, also much later. */
static void test_ids_out_of_order(void **state)
{
    struct place *place = *state;
    enum { N = 6000, STEP = 300 };
    static struct task_spec *specs[N];
    static struct task_id expected[N], found[N];
    for (unsigned i = 0; i < N; i++) {
        specs[i] = spec_plain("acme", "n");
        expected[N - 1 - i] = specs[i]->id;
    }
    static struct store_change changes[STEP], *rows[STEP];
    for (unsigned at = 0; at < N; at += STEP) {
        for (unsigned i = 0; i < STEP; i++) {
            const struct task_spec *spec = specs[(at + i) * 2741U % N]; /* coprime: each once, far apart */
            changes[i] = change_insert(spec, status_queued(spec));
            rows[i] = &changes[i];
        }
        assert_int_equal(place->store->ops->commit(place->store, rows, STEP), STORE_OK);
        if (at == N / 2)
            place_reopen(place);
    }
    struct list_query query = query_of("acme");
    query.limit = 1000;
    for (int again = 0; again < 2; again++) {
        assert_int_equal(list_all(place, query, found, N, 20), N);
        assert_memory_equal(found, expected, sizeof expected);
        place_reopen(place);
    }
    for (unsigned i = 0; i < N; i++)
        task_spec_unref(specs[i]);
}

/* Deleted at once, or long after: never in a list again, and neighbours stay. */
static void test_deleted_tasks_leave_the_list(void **state)
{
    struct place *place = *state;
    enum { N = 60 };
    struct task_id ids[N], kept[N / 2];
    for (unsigned i = 0; i < N; i++) {
        ids[i] = must_add(place, "acme", "n", TASK_SUCCEEDED, clock_wall_us());
        if (i % 2)
            kept[(N - 1 - i) / 2] = ids[i];
    }
    for (unsigned i = 0; i < N; i += 2) {
        if (i == N / 2)
            must_add_many(place, 6000, 3, "n", NULL);
        struct store_change forget = {
            .kind = STORE_FORGET, .id = ids[i], .expect_state = TASK_SUCCEEDED, .expect_attempt = 1};
        assert_int_equal(commit_one(place, &forget), STORE_OK);
        assert_int_equal(forget.result, STORE_OK);
    }
    must_add_many(place, 6000, 3, "n", NULL);
    assert_lists(place, query_of("acme"), kept, N / 2);
    place_reopen(place);
    assert_lists(place, query_of("acme"), kept, N / 2);
}

/* ---- bounds ---- */

static void test_one_page_examines_a_bounded_number(void **state)
{
    struct place *place = *state;
    struct task_id needles[2];
    struct task_spec *runs = spec_plain("tenant-0", "needle");
    must_insert(place, runs, status_running(runs));
    needles[1] = runs->id;
    task_spec_unref(runs);
    must_add_many(place, 20500, 1, "hay", NULL);
    struct list_query query = query_of("tenant-0");
    query.name = SLICE_LITERAL("needle");
    assert_lists(place, query, &needles[1], 1);
    query.has_state = true; /* those that run are found at once, however many wait */
    query.state = TASK_RUNNING;
    struct read_call call;
    list_now(place, &query, &call);
    assert_int_equal(call.n, 1);
    assert_true(task_id_is_none(call.next));
    read_release(&call);
    query.has_state = false;
    needles[0] = must_add(place, "tenant-0", "needle", TASK_SUCCEEDED, START_US);
    list_now(place, &query, &call);
    assert_int_equal(call.n, 1);
    assert_false(task_id_is_none(call.next)); /* it stopped, and says where to go on */
    query.before = call.next;
    assert_true(task_id_equal(call.records[0].spec->id, needles[0]));
    read_release(&call);
    assert_lists(place, query, &needles[1], 1);
}

static void test_one_page_has_bounded_bytes(void **state)
{
    struct place *place = *state;
    enum { N = 5 };
    struct task_id ids[N], found[N];
    struct slice body = text_of_size(3 << 20, 'b'), huge = text_of_size(9 << 20, 'h');
    for (unsigned i = 0; i < N; i++) {
        struct task_spec *spec = spec_plain("acme", "n");
        struct store_change change = change_insert(spec, status_ended(spec, TASK_SUCCEEDED, START_US));
        struct task_outcome *outcome = task_outcome_success(blob_new(i == 2 ? huge : body));
        change.outcome = outcome;
        assert_int_equal(commit_one(place, &change), STORE_OK);
        ids[N - 1 - i] = spec->id;
        task_outcome_unref(outcome);
        task_spec_unref(spec);
    }
    struct list_query query = query_of("acme");
    struct read_call call;
    list_now(place, &query, &call);
    assert_int_equal(call.n, 2); /* 6 of 8 MiB */
    assert_true(task_id_equal(call.next, ids[1]));
    query.before = call.next;
    read_release(&call);
    list_now(place, &query, &call);
    assert_int_equal(call.n, 1); /* larger than a page, and still there */
    assert_same_slice(blob_slice(call.records[0].outcome->result), huge);
    read_release(&call);
    query.before = (struct task_id){0, 0};
    assert_int_equal(list_all(place, query, found, N, N), N);
    assert_memory_equal(found, ids, sizeof ids);
    text_free(body);
    text_free(huge);
}

/* ---- the thread ---- */

struct flood {
    struct read_call call;
    sem_t *entered, *go;
    atomic_uint *delivered;
};

static void on_flood(struct read_call *call)
{
    struct flood *flood = (struct flood *)call;
    if (flood->entered) {
        (void)sem_post(flood->entered);
        (void)sem_wait(flood->go);
    }
    atomic_fetch_add(flood->delivered, 1);
}

static void test_mailbox_is_bounded_and_stop_answers_all(void **state)
{
    struct place *place = *state;
    struct task_id id = must_add(place, "acme", "n", TASK_QUEUED, 0);
    enum { N = 10500 };
    struct flood *floods = calloc(N, sizeof *floods);
    assert_non_null(floods);
    place_start_reader(place);
    sem_t entered, go;
    atomic_uint delivered = 0;
    assert_int_equal(sem_init(&entered, 0, 0), 0);
    assert_int_equal(sem_init(&go, 0, 0), 0);
    for (unsigned i = 0; i < N; i++)
        floods[i] = (struct flood){.call = {.kind = READ_TASK, .id = id, .deliver = on_flood}, .delivered = &delivered};
    floods[0].entered = &entered;
    floods[0].go = &go;
    assert_true(reader_post(place->reader, &floods[0].call));
    assert_int_equal(sem_wait(&entered), 0); /* now its thread is held up */
    unsigned posted = 1;
    while (posted < N && reader_post(place->reader, &floods[posted].call))
        posted++;
    assert_int_equal(posted, 10001);
    (void)sem_post(&go);
    reader_stop(place->reader);
    assert_int_equal(atomic_load(&delivered), posted);
    for (unsigned i = 0; i < posted; i++) {
        assert_int_equal(floods[i].call.result, STORE_OK);
        task_record_release(&floods[i].call.record);
    }
    assert_false(reader_post(place->reader, &floods[0].call));
    free(floods);
    (void)sem_destroy(&entered);
    (void)sem_destroy(&go);
}

struct writing {
    struct place *place;
    atomic_bool done;
};

static void *write_much(void *arg)
{
    struct writing *writing = arg;
    for (int i = 0; i < 150; i++) {
        struct task_spec *spec = spec_plain("tenant-0", "n");
        must_insert(writing->place, spec, status_running(spec));
        must_update(writing->place, spec, TASK_RUNNING, 1, status_ended(spec, TASK_SUCCEEDED, START_US), NULL);
        task_spec_unref(spec);
        if (i % 10 == 0)
            must_add_many(writing->place, 200, 1, "n", NULL);
        (void)writing->place->store->ops->idle(writing->place->store);
    }
    atomic_store(&writing->done, true);
    return NULL;
}

/* Each list is of one moment: in order, without holes, and it grows. */
static void test_reading_beside_writing(void **state)
{
    struct place *place = *state;
    place_start_reader(place);
    struct writing writing = {.place = place};
    pthread_t thread;
    assert_int_equal(satchel_thread_create(&thread, NULL, write_much, &writing), 0);
    uint64_t newest = 0;
    unsigned lists = 0;
    while (!atomic_load(&writing.done) && lists < 100000) {
        struct list_query query = query_of("tenant-0");
        struct read_call call;
        list_now(place, &query, &call);
        for (size_t i = 0; i < call.n; i++) {
            uint64_t seq = task_id_seq(call.records[i].spec->id);
            assert_true(i == 0 ? seq >= newest : seq < task_id_seq(call.records[i - 1].spec->id));
            if (i == 0)
                newest = seq;
        }
        read_release(&call);
        lists++;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(lists > 0);
}

int store_suite_read(const struct store_factory *given)
{
    factory = given;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_task),
        TEST(test_task_of_another_tenant_is_not_found),
        TEST(test_pages),
        TEST(test_limit_is_clamped),
        TEST(test_empty_lists),
        TEST(test_state_and_name),
        TEST(test_labels),
        TEST(test_trace_and_request_id),
        TEST(test_filters_know_the_stored_form),
        TEST(test_filters_on_large_texts),
        TEST(test_parent_and_root),
        TEST(test_1000_tenants_see_their_own),
        TEST(test_ids_out_of_order),
        TEST(test_deleted_tasks_leave_the_list),
        TEST(test_one_page_examines_a_bounded_number),
        TEST(test_one_page_has_bounded_bytes),
        TEST(test_mailbox_is_bounded_and_stop_answers_all),
        TEST(test_reading_beside_writing),
    };
    return cmocka_run_group_tests_name("store: reading", tests, NULL, NULL);
}
