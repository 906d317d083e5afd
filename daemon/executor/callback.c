/* One try of a callback: an HTTP task whose body is another task.  See callback.h. */
#include "executor/callback.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "executor/http_task.h"
#include "proto/json_in.h"

struct callback {
    struct config_task settings; /* what the configuration's files would say */
    char *here[4];               /* of settings.allow, where the daemon is this machine's alone */
    struct http_task *http;
    char keys_path[4096]; /* "": there is no place for keys */
    bool make_keys;
};

static const struct callback *callback_of(const struct attempt *attempt)
{
    return attempt->type->detail;
}

/* ---- the request ---- */

static bool show_task(struct attempt *attempt, struct buf *out)
{
    struct slice text = json_in_find(attempt->spec->args, SLICE_LITERAL("task_id"));
    struct task_id id;
    int err = -ENOENT;
    if (text.len > 2 && task_id_parse(text.data + 1, text.len - 2, &id))
        err = attempt->host->show(attempt->host_arg, attempt, id, out);
    if (err == 0 && buf_ok(out))
        return true;
    if (err == -ENOENT)
        attempt_fail(attempt, true, ERROR_TYPE_HANDLER, "the task has been deleted");
    else
        attempt_fail(attempt, false, ERROR_TYPE_HANDLER, "the task cannot be read just now");
    return false;
}

static bool sign(struct attempt *attempt, struct http_request *request)
{
    const struct callback *callback = callback_of(attempt);
    struct callback_keys keys;
    char error[512], id[TASK_ID_TEXT_SIZE], now[24];
    struct buf signature = BUF_INIT;
    if (callback_keys_read(callback->keys_path, callback->make_keys, &keys, error, sizeof error) < 0) {
        attempt_fail(attempt, false, ERROR_TYPE_HANDLER, "%s", error);
        return false;
    }
    task_id_format(attempt->spec->id, id); /* the same for each try: the receiver tells repeated ones by it */
    (void)snprintf(now, sizeof now, "%lld", (long long)(clock_wall_us() / 1000000));
    bool good = callback_sign(&keys, id, now, buf_slice(&request->body), &signature) &&
                http_request_add(request, "webhook-id", slice_str(id)) &&
                http_request_add(request, "webhook-timestamp", slice_str(now)) &&
                http_request_add(request, "webhook-signature", buf_slice(&signature)) &&
                http_request_add(request, "Content-Type", SLICE_LITERAL("application/json"));
    explicit_bzero(&keys, sizeof keys);
    buf_release(&signature);
    if (!good)
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the callback's signature");
    return good;
}

static bool prepare(struct attempt *attempt, struct http_request *request)
{
    buf_reset(&request->body);
    return show_task(attempt, &request->body) && sign(attempt, request);
}

/* What the receiver answered with a 2xx is of no interest. */
static void run_callback(const struct task_type *type, struct attempt *attempt)
{
    const struct callback *callback = type->detail;
    http_task_run(callback->http, attempt, prepare);
    if (attempt->end == ATTEMPT_SUCCEEDED)
        attempt_succeed(attempt, SLICE_LITERAL("null"));
}

static const struct executor callback_executor = {"http", run_callback};

/* ---- settings ---- */

static void callback_free(void *arg)
{
    struct callback *callback = arg;
    if (!callback)
        return;
    http_task_free(callback->http);
    free(callback);
}

static void set_keys_path(struct callback *callback, const struct config *config)
{
    callback->make_keys = !config->callback_key_file;
    if (config->callback_key_file)
        (void)snprintf(callback->keys_path, sizeof callback->keys_path, "%s", config->callback_key_file);
    else if (config->data_dir)
        (void)snprintf(callback->keys_path, sizeof callback->keys_path, "%s/callback.keys", config->data_dir);
}

static struct callback *callback_new(const struct config *config, char *error, size_t error_size)
{
    static char here_4[] = "127.0.0.0/8", here_6[] = "::1", here_name[] = "localhost", name[] = TASK_CALLBACK_NAME,
                url[] = "{{args.url}}", method[] = "POST", body[] = "{}", where[] = "built in";
    struct callback *callback = calloc(1, sizeof *callback);
    if (!callback) {
        (void)snprintf(error, error_size, "out of memory");
        return NULL;
    }
    callback->here[0] = here_4;
    callback->here[1] = here_6;
    callback->here[2] = here_name;
    callback->settings = (struct config_task){.name = name, .url = url, .method = method, .body = body, .where = where};
    callback->settings.allow = config->callback_allow;
    if (config->callback_allow.n == 0 && config_serves_this_machine_alone(config))
        callback->settings.allow = (struct config_list){callback->here, 3};
    set_keys_path(callback, config);
    callback->http = http_task_new(&callback->settings, config, error, error_size);
    if (callback->http) {
        callback->http->has_content_type = true; /* with the signature: sign() adds it */
        return callback;
    }
    callback_free(callback);
    return NULL;
}

int callback_register(struct registry *registry, char *error, size_t error_size)
{
    const struct config *config = registry->config;
    struct callback *callback = callback_new(config, error, error_size);
    if (!callback)
        return -1;
    struct task_type type = {.name = TASK_CALLBACK_NAME,
                             .executor = &callback_executor,
                             .detail = callback,
                             .timeout_us = config->callback_timeout_us,
                             .concurrency = config->workers > 3 ? config->workers / 2 : 1, /* a slow receiver's share */
                             .propagate = PROPAGATE_ALL,
                             .internal = true};
    if (registry_add(registry, &type, (struct type_owner){NULL, callback_free, callback}, error, error_size) == 0)
        return 0;
    callback_free(callback);
    return -1;
}
