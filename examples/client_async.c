/* Several tasks at once: submitted one after the other, each in a context of its own, then polled, waited for with a
 * limit, and one of them canceled.
 *
 *     client_async [N]        default: 5 tasks
 *
 * cc client_async.c $(pkg-config --cflags --libs satchel) */
#include <stdio.h>
#include <stdlib.h>

#include <satchel/client.h>

#define MOST 100

static satchel_client *client;
static satchel_future *futures[MOST];

struct order {
    int number;
    satchel_error error;
};

static int submit(void *arg)
{
    struct order *order = arg;
    char args[64];
    (void)snprintf(args, sizeof args, "{\"number\":%d}", order->number);
    return satchel_submit(client, "satchel.echo", args, NULL, &futures[order->number], &order->error);
}

/* One tenant for each: set in a context that ends with the call, so none sees another's. */
static int submit_for_tenant(int number, satchel_error *error)
{
    struct order order = {.number = number, .error = SATCHEL_ERROR_INIT};
    satchel_context *context;
    satchel_value *tenant;
    char name[32];
    int result = 0, len = snprintf(name, sizeof name, "tenant-%d", number);
    int status = satchel_value_string(name, (size_t)len, &tenant);
    if (status != SATCHEL_OK)
        return status;
    status = satchel_context_with(NULL, satchel_known_var(SATCHEL_TENANT), tenant, &context);
    satchel_value_unref(tenant);
    if (status != SATCHEL_OK)
        return status;
    status = satchel_context_run(context, submit, &order, &result);
    satchel_context_unref(context);
    *error = order.error;
    return status == SATCHEL_OK ? result : status;
}

static int print_result(satchel_future *future, satchel_error *error)
{
    char *json;
    int status = satchel_future_wait(future, 30000, error);
    if (status == SATCHEL_OK)
        status = satchel_future_result(future, &json, NULL, error);
    if (status != SATCHEL_OK)
        return status;
    printf("%s %s\n", satchel_future_state(future), json);
    satchel_free(json);
    return SATCHEL_OK;
}

/* A task that would take a minute is told to end. */
static int cancel_one(satchel_error *error)
{
    satchel_future *slow;
    int status = satchel_submit(client, "satchel.sleep", "{\"seconds\":60}", NULL, &slow, error);
    if (status != SATCHEL_OK)
        return status;
    if (satchel_future_poll(slow, error) == SATCHEL_PENDING && /* not yet: it would take a minute */
        satchel_future_wait(slow, 50, error) == SATCHEL_ETIMEDOUT)
        status = satchel_future_cancel(slow, error);
    if (status == SATCHEL_OK)
        status = satchel_future_wait(slow, 30000, error);
    if (status == SATCHEL_OK)
        printf("%s\n", satchel_future_state(slow));
    satchel_future_free(slow);
    return status;
}

int main(int argc, char **argv)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    int n = argc > 1 ? atoi(argv[1]) : 5, status;
    if (n < 1 || n > MOST) {
        (void)fprintf(stderr, "usage: client_async [1..%d]\n", MOST);
        return 64;
    }
    status = satchel_client_new(NULL, &client, &error);
    for (int i = 0; i < n && status == SATCHEL_OK; i++)
        status = submit_for_tenant(i, &error);
    for (int i = 0; i < n && status == SATCHEL_OK; i++)
        status = print_result(futures[i], &error);
    if (status == SATCHEL_OK)
        status = cancel_one(&error);
    for (int i = 0; i < n; i++)
        satchel_future_free(futures[i]);
    satchel_client_unref(client);
    if (status == SATCHEL_OK)
        return 0;
    (void)fprintf(stderr, "%s: %s %s\n", satchel_strerror(status), error.title, error.detail);
    return 1;
}
