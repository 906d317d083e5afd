/* Submits a task with the context of this thread, waits, and prints what the worker made of it.
 *
 *     client_submit [TASK [ARGS]]        default: satchel.context, which tells the context it runs in
 *
 * cc client_submit.c $(pkg-config --cflags --libs satchel) */
#include <stdio.h>
#include <stdlib.h>

#include <satchel/client.h>

static int fail(const char *what, const satchel_error *error)
{
    (void)fprintf(stderr, "%s: %s%s%s\n", what, error->title, *error->detail ? ": " : "", error->detail);
    if (*error->pointers)
        (void)fprintf(stderr, "%s\n", error->pointers);
    return 1;
}

/* Whatever a request handler or a library has set by now travels with the task; here it is set for the example. */
static int set_context(void)
{
    satchel_var *shop;
    satchel_trace trace;
    int status = satchel_set_string(satchel_known_var(SATCHEL_TENANT), "acme", NULL);
    if (status == SATCHEL_OK)
        status = satchel_baggage_set("user", "alice", NULL);
    if (status == SATCHEL_OK && satchel_trace_current(&trace) == SATCHEL_UNSET) {
        status = satchel_trace_root(&trace);
        if (status == SATCHEL_OK)
            status = satchel_set_trace(&trace, NULL);
    }
    if (status == SATCHEL_OK)
        status = satchel_variable("shop", &shop);
    if (status == SATCHEL_OK) {
        status = satchel_set_string(shop, "north", NULL);
        satchel_var_unref(shop);
    }
    return status;
}

int main(int argc, char **argv)
{
    const char *task = argc > 1 ? argv[1] : "satchel.context", *args = argc > 2 ? argv[2] : NULL;
    satchel_error error = SATCHEL_ERROR_INIT;
    satchel_client *client = NULL;
    satchel_future *future = NULL;
    char *json = NULL;
    int code = 0, status = set_context();
    if (status != SATCHEL_OK) {
        (void)fprintf(stderr, "the context: %s\n", satchel_strerror(status));
        return 1;
    }
    if (satchel_client_new(NULL, &client, &error) != SATCHEL_OK) /* SATCHEL_URL, or http://127.0.0.1:8640 */
        return fail("client", &error);
    if (satchel_submit(client, task, args, NULL, &future, &error) != SATCHEL_OK) {
        code = fail("submit", &error);
    } else if (satchel_future_wait(future, 30000, &error) != SATCHEL_OK) {
        code = fail("wait", &error);
    } else if (satchel_future_result(future, &json, NULL, &error) != SATCHEL_OK) {
        code = fail(satchel_future_state(future), &error);
    } else {
        printf("%s\n", json);
        satchel_free(json);
    }
    satchel_future_free(future);
    satchel_client_unref(client);
    return code;
}
