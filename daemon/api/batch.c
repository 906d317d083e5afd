/* POST /v1/tasks:batch: submissions by the line or in an array, answered in their order while they come in.
 *
 * Nothing is held that the batch's length decides: a body's piece becomes groups of submissions, a group is posted to
 * the engine in one go (one commit takes it), and its answers leave as soon as those before it have left.  Where too
 * many groups are under way, or too much of the answer has not been read, no more of the body is.
 *
 * Flow: api.c -> on_batch (head) -> batch_take (pieces) -> batch_split.c -> submission_parse -> the engine -> on_back
 * (the loop again) -> write_answers.
 * Thread: the exchange's loop, but for on_delivered (the engine's). */
#include "api/batch.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/batch_split.h"
#include "api/calls.h"
#include "api/fields.h"
#include "api/idempotency.h"
#include "api/params.h"
#include "api/wait.h"
#include "base/clock.h"
#include "proto/json_out.h"
#include "task/render.h"
#include "task/submission.h"

#define GROUP_MAX 256u                         /* submissions that are posted together */
#define GROUP_BYTES ((size_t)1024 * 1024)      /* of their text */
#define GROUPS_MAX 8u                          /* under way, before the body has to wait */
#define WRITE_BYTES ((size_t)256 * 1024)       /* answers that are written in one go */
#define ANSWER_KEEP ((size_t)16 * 1024 * 1024) /* unread answers, before the body has to wait */

struct item {
    struct engine_call call;
    struct group *group;
    struct problem *problem; /* it was not posted: what is wrong with it; owned */
    bool waits;              /* it is counted among the calls that wait */
};

struct group {
    struct loop_mail mail; /* first */
    struct batch *batch;
    struct group *next; /* younger */
    atomic_size_t open; /* calls that are not answered yet, and the loop's own share */
    bool back;
    size_t n, bytes, written; /* written: answers that have left */
    struct item items[GROUP_MAX];
};

struct batch {
    struct api_call call; /* first: what the exchange's data points to */
    struct batch_split split;
    struct request_context context;
    bool lines, minimal, is_gone, begun, all_in, paused, first_written;
    int64_t wait_ns;                           /* 0: answers do not wait for the tasks' ends */
    size_t index;                              /* of the next submission */
    char *group;                               /* of those that name none; NULL: none */
    struct task_id parent;                     /* the same */
    struct group *oldest, *youngest, *filling; /* under way, in order; and the one being filled (not among them) */
    unsigned under_way;
    size_t unread;
};

/* ---- life ---- */

static void free_group(struct group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        struct item *item = &group->items[i];
        task_spec_unref(item->call.spec);
        task_record_release(&item->call.record);
        if (item->waits)
            api_wait_end(group->batch->call.api);
        free(item->problem);
    }
    free(group);
}

static void release_batch(struct api_call *call)
{
    struct batch *batch = (struct batch *)call;
    if (batch->filling)
        free_group(batch->filling);
    request_context_release(&batch->context);
    batch_split_release(&batch->split);
    free(batch->group);
    free(batch);
}

/* Groups are under way: the last of them frees it. */
static void on_gone(struct api_call *call)
{
    struct batch *batch = (struct batch *)call;
    batch->is_gone = true;
    if (!batch->under_way)
        call_release(call);
}

/* ---- answers ---- */

static void write_problem(const struct item *item, const char *tenant, struct buf *out)
{
    struct problem problem = {0};
    const struct task_record *holder = &item->call.record;
    if (item->problem) {
        problem_to_json(item->problem, out);
        return;
    }
    engine_call_problem(&item->call, tenant, &problem);
    if (item->call.result == ENGINE_NOT_UNIQUE)
        render_problem_task(&problem, holder->spec->id, &holder->status, out);
    else
        problem_to_json(&problem, out);
}

static void write_item(struct batch *batch, const struct item *item, struct buf *out)
{
    if (!batch->lines)
        buf_append_char(out, batch->first_written ? ',' : '[');
    batch->first_written = true;
    bool accepted = !item->problem && (item->call.result == ENGINE_OK || item->call.result == ENGINE_REPLAYED);
    struct json_out j = json_out_to(out);
    if (!accepted)
        write_problem(item, batch->call.tenant, out);
    else if (batch->minimal)
        task_render_minimal(&item->call.record, &j);
    else
        task_render(&item->call.record, NULL, batch->call.api->node, &j);
    buf_append_char(out, '\n');
}

static void begin_reply(struct batch *batch, struct http_exchange *exchange)
{
    struct reply reply;
    if (batch->begun)
        return;
    batch->begun = true;
    call_reply_begin(&batch->call, exchange, &reply);
    reply_field(&reply, "Vary", SLICE_LITERAL("Prefer"));
    if (batch->minimal)
        reply_field(&reply, "Preference-Applied", SLICE_LITERAL("return=minimal"));
    http_stream_begin(exchange,
                      &(struct http_reply){.status = 200,
                                           .content_type = batch->lines ? "application/x-ndjson" : "application/json",
                                           .fields = reply.fields,
                                           .n_fields = reply.n});
}

static void end_reply(struct batch *batch, struct http_exchange *exchange)
{
    begin_reply(batch, exchange);
    if (!batch->lines)
        (void)http_stream_write(exchange, batch->first_written ? SLICE_LITERAL("]\n") : SLICE_LITERAL("[]\n"));
    http_set_data(exchange, NULL);
    http_stream_end(exchange);
    call_release(&batch->call);
}

static bool is_full(const struct batch *batch)
{
    return batch->under_way >= GROUPS_MAX || batch->unread > ANSWER_KEEP;
}

static void forget_oldest(struct batch *batch)
{
    struct group *group = batch->oldest;
    batch->oldest = group->next;
    if (!batch->oldest)
        batch->youngest = NULL;
    batch->under_way--;
    free_group(group);
}

static bool write_answers(struct batch *batch, struct http_exchange *exchange);

static void on_drained(void *arg, struct http_exchange *exchange)
{
    struct batch *batch = http_data(exchange);
    (void)arg;
    if (!batch)
        return;
    batch->unread = 0;
    (void)write_answers(batch, exchange);
}

/* The answers of the oldest groups, as far as they are back.  False: it was the end of the batch. */
static bool write_answers(struct batch *batch, struct http_exchange *exchange)
{
    while (batch->oldest && batch->oldest->back && batch->unread <= ANSWER_KEEP) {
        struct group *group = batch->oldest;
        struct buf *out = scratch();
        while (group->written < group->n && out->len < WRITE_BYTES)
            write_item(batch, &group->items[group->written++], out);
        begin_reply(batch, exchange);
        http_stream_on_drained(exchange, on_drained);
        batch->unread = http_stream_write(exchange, buf_slice(out));
        if (group->written == group->n)
            forget_oldest(batch);
    }
    if (batch->all_in && !batch->oldest) {
        end_reply(batch, exchange);
        return false;
    }
    if (batch->paused && !is_full(batch)) {
        batch->paused = false;
        http_resume(exchange);
    }
    return true;
}

static void on_back(struct loop_mail *mail)
{
    struct group *group = (struct group *)mail;
    struct batch *batch = group->batch;
    group->back = true;
    struct http_exchange *exchange = batch->is_gone ? NULL : http_find_exchange(batch->call.ref);
    if (exchange) {
        (void)write_answers(batch, exchange);
        return;
    }
    while (batch->oldest && batch->oldest->back) /* nobody reads it: what was submitted stays so */
        forget_oldest(batch);
    if (!batch->under_way)
        call_release(&batch->call);
}

/* ---- groups ---- */

static void close_one(struct group *group)
{
    if (atomic_fetch_sub_explicit(&group->open, 1, memory_order_acq_rel) == 1)
        loop_post(group->batch->call.ref.loop, &group->mail);
}

static void on_delivered(struct engine_call *call)
{
    close_one(((struct item *)(void *)((char *)call - offsetof(struct item, call)))->group);
}

static void refuse_overloaded(struct item *item)
{
    item->problem = calloc(1, sizeof *item->problem);
    if (!item->problem) {
        item->call.result = ENGINE_STORE_FAILED; /* which is told without memory */
        return;
    }
    problem_set(item->problem, PROBLEM_OVERLOADED, "Too many requests wait for the engine; try again later.");
    item->problem->retry_after_s = 1;
}

static void post_item(struct item *item, int64_t wait_ns)
{
    struct api *api = item->group->batch->call.api;
    item->call.kind = ENGINE_SUBMIT;
    item->call.deliver = on_delivered;
    item->waits = wait_ns && api_wait_begin(api);
    item->call.wait_until_ns = item->waits ? clock_mono_ns() + wait_ns : 0;
    if (engine_post(api->engine, &item->call))
        return;
    refuse_overloaded(item);
    atomic_fetch_sub_explicit(&item->group->open, 1, memory_order_relaxed);
}

static void post_group(struct batch *batch)
{
    struct group *group = batch->filling;
    if (!group)
        return;
    batch->filling = NULL;
    batch->under_way++;
    if (batch->youngest)
        batch->youngest->next = group;
    else
        batch->oldest = group;
    batch->youngest = group;
    group->mail.run = on_back;
    atomic_init(&group->open, group->n + 1);
    for (size_t i = 0; i < group->n; i++) {
        if (group->items[i].problem)
            atomic_fetch_sub_explicit(&group->open, 1, memory_order_relaxed);
        else
            post_item(&group->items[i], batch->wait_ns);
    }
    close_one(group);
}

/* The place of the next submission; NULL: no memory. */
static struct item *next_item(struct batch *batch, size_t bytes)
{
    if (batch->filling && (batch->filling->n == GROUP_MAX || batch->filling->bytes + bytes > GROUP_BYTES))
        post_group(batch);
    if (!batch->filling) {
        batch->filling = malloc(sizeof *batch->filling);
        if (!batch->filling)
            return NULL;
        memset(batch->filling, 0, offsetof(struct group, items));
        batch->filling->batch = batch;
    }
    struct group *group = batch->filling;
    struct item *item = &group->items[group->n++];
    memset(item, 0, sizeof *item);
    item->group = group;
    group->bytes += bytes;
    batch->index++;
    return item;
}

/* ---- submissions ---- */

static void place_of(const struct batch *batch, char pointer[PROBLEM_POINTER_SIZE])
{
    pointer[0] = '\0';
    if (!batch->lines)
        (void)snprintf(pointer, PROBLEM_POINTER_SIZE, "/%zu", batch->index - 1);
}

/* 0, or -1 and the problem. */
static int read_submission(struct batch *batch, struct registry *registry, struct item *item, struct slice text,
                           struct problem *reterr)
{
    char pointer[PROBLEM_POINTER_SIZE];
    struct submission submission;
    place_of(batch, pointer);
    const struct submission_input input = {
        .config = registry_config(registry),
        .registry = registry,
        .body = text,
        .pointer = pointer,
        .root_sampling = batch->call.api->root_sampling,
        .context = batch->context.context,
        .origins = buf_slice(&batch->context.origins),
        .group = batch->group ? slice_str(batch->group) : (struct slice){0},
        .default_parent = batch->parent,
    };
    if (submission_parse(&input, &submission, reterr) < 0)
        return -1;
    item->call.spec = submission.spec;
    if (!submission.idempotency_key.data ||
        idempotency_set(&item->call, slice_str(batch->call.tenant), submission.idempotency_key, text))
        return 0;
    problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this submission; try again later.");
    return -1;
}

static bool add_problem(struct item *item, const struct problem *problem)
{
    item->problem = malloc(sizeof *item->problem);
    if (item->problem)
        *item->problem = *problem;
    return item->problem != NULL;
}

/* False: no memory even to say so. */
static bool add(struct batch *batch, struct registry *registry, enum batch_piece piece, struct slice text)
{
    struct problem problem = {0};
    struct item *item = next_item(batch, text.len);
    if (!item)
        return false;
    if (piece == BATCH_TOO_LONG)
        problem_set(&problem, PROBLEM_BODY_TOO_LARGE, "A submission may have at most %zu bytes.", batch->split.max);
    else if (piece == BATCH_BROKEN)
        problem_set(&problem, PROBLEM_MALFORMED_JSON, "%s; nothing behind this place was taken.", batch->split.fault);
    else if (read_submission(batch, registry, item, text, &problem) == 0)
        return true;
    return add_problem(item, &problem);
}

static void give_up(struct batch *batch, struct http_exchange *exchange, const struct problem *problem)
{
    if (batch->begun || batch->under_way || batch->filling) { /* what is in is answered; this ends the answer */
        batch->all_in = true;
        return;
    }
    struct reply reply;
    call_reply_begin(&batch->call, exchange, &reply);
    http_set_data(exchange, NULL);
    reply_problem(&reply, problem);
    call_release(&batch->call);
}

/* False: the exchange is over. */
static bool fail_memory(struct batch *batch, struct http_exchange *exchange)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
    problem.retry_after_s = 1;
    bool over = !(batch->begun || batch->under_way || batch->filling);
    give_up(batch, exchange, &problem);
    return !over;
}

/* The body is no array, or there is more behind it: said in the place of the next submission, or, where there is none
 * yet, for all of it.  False: the exchange is over. */
static bool break_off(struct batch *batch, struct registry *registry, struct http_exchange *exchange)
{
    batch->all_in = true;
    if (batch->index)
        return add(batch, registry, BATCH_BROKEN, (struct slice){0}) || fail_memory(batch, exchange);
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_MALFORMED_JSON, "The batch cannot be read: %s.", batch->split.fault);
    give_up(batch, exchange, &problem);
    return false;
}

/* False: the exchange is over. */
static bool take(struct batch *batch, struct registry *registry, struct http_exchange *exchange, struct slice bytes,
                 bool end)
{
    for (;;) {
        struct slice text = {0};
        enum batch_piece piece = batch_split_next(&batch->split, &bytes, &text);
        if (piece == BATCH_MORE && end) {
            piece = batch_split_end(&batch->split, &text);
            batch->all_in = true;
        }
        if (piece == BATCH_MORE || (piece == BATCH_OVER && batch->all_in))
            return true;
        if (piece == BATCH_OVER) /* of an empty array: what follows is looked at */
            continue;
        if (piece == BATCH_BROKEN)
            return break_off(batch, registry, exchange);
        if (!add(batch, registry, piece, text))
            return fail_memory(batch, exchange);
    }
}

bool batch_take(void *data, struct http_exchange *exchange, struct slice piece, bool end)
{
    struct batch *batch = data;
    if (batch->all_in)
        return true; /* what follows a broken array */
    struct registry *registry = api_registry(batch->call.api);
    batch->split.max = (size_t)registry_config(registry)->max_body;
    bool goes_on = take(batch, registry, exchange, piece, end);
    registry_unref(registry);
    if (!goes_on)
        return true;
    post_group(batch);
    if (batch->all_in && !batch->under_way) {
        end_reply(batch, exchange);
        return true;
    }
    batch->paused = !batch->all_in && is_full(batch);
    return !batch->paused;
}

/* ---- the head ---- */

/* What all submissions get that do not say otherwise. */
static int read_defaults(const struct params *params, struct batch *batch, struct problem *reterr)
{
    struct slice group = params_get(params, "group"), parent = params_get(params, "parent");
    if (group.data && !submission_group_is_valid(group))
        problem_set(reterr, PROBLEM_INVALID_PARAMETER,
                    "Query parameter \"group\": it must be a name of 1 to 200 bytes without control characters.");
    else if (parent.data && !task_id_parse(parent.data, parent.len, &batch->parent))
        problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"parent\": it must be the id of a task.");
    else if (group.data && !(batch->group = strndup(group.data, group.len)))
        problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this batch; try again later.");
    else
        return 0;
    return -1;
}

static int read_head(struct visit *visit, struct batch *batch, struct problem *reterr)
{
    struct preferences prefer;
    struct slice key;
    char key_text[IDEMPOTENCY_KEY_MAX + 1];
    int64_t applied;
    if (json_lines_body_check(visit->request, &batch->lines, reterr) < 0 ||
        idempotency_key_read(visit->request, key_text, &key, reterr) < 0)
        return -1;
    if (key.data) {
        problem_set(reterr, PROBLEM_INVALID_PARAMETER,
                    "Idempotency-Key is for one submission; in a batch each has its member idempotency_key.");
        return -1;
    }
    if (request_context_read(visit->request, visit->config, visit->api->variables, &visit->caller, &batch->context,
                             reterr) < 0)
        return -1;
    prefer_read(visit->request, &prefer);
    batch->minimal = prefer.minimal;
    batch->wait_ns = prefer.has_wait ? wait_of_preference(visit->config, &prefer, &applied) : 0;
    batch->split.is_array = !batch->lines;
    return 0;
}

void on_batch(struct visit *visit)
{
    static const char *const known[] = {"group", "parent", NULL};
    struct problem problem = {0};
    struct params params;
    if (!visit_read_query(visit, known, &params))
        return;
    struct batch *batch = (struct batch *)call_new(visit, sizeof *batch, NULL);
    if (!batch) {
        params_release(&params);
        return;
    }
    batch->call.release = release_batch;
    batch->call.gone = on_gone;
    bool good = read_defaults(&params, batch, &problem) == 0;
    params_release(&params);
    if (!good || read_head(visit, batch, &problem) < 0) {
        visit_fail(visit, &problem);
        call_release(&batch->call);
        return;
    }
    http_set_data(visit->exchange, batch);
}
