/* The connections of a client: lent to one call each, kept open for the next, and one exchange over them.
 *
 * Every handle runs in a "multi" of its own, which keeps its connection open and, unlike curl_easy_perform, can be
 * waited for together with a descriptor of ours: a wait ends at once when its context is canceled.
 * Thread: any; the client's lock guards the idle ones, and no exchange is made under it.  Called by wire.c. */
#include "client/internal.h"

#define POLL_MS 60000 /* curl itself wakes up for its own time limits */
#define IDLE_PARTS 4  /* how often in a limit of ours it is looked at */

void connection_close(const satchel_client *client, struct connection *connection)
{
    if (connection->easy)
        client->curl->easy_cleanup(connection->easy);
    if (connection->multi)
        (void)client->curl->multi_cleanup(connection->multi);
    *connection = (struct connection){NULL, NULL};
}

int connection_borrow(satchel_client *client, struct connection *ret)
{
    struct connection c = {NULL, NULL};
    (void)pthread_mutex_lock(&client->lock);
    if (client->n_idle)
        c = client->idle[--client->n_idle];
    (void)pthread_mutex_unlock(&client->lock);
    if (!c.easy) {
        c.easy = client->curl->easy_init();
        c.multi = client->curl->multi_init();
        if (!c.easy || !c.multi) {
            connection_close(client, &c);
            return SATCHEL_ENOMEM;
        }
    }
    *ret = c;
    return SATCHEL_OK;
}

void connection_give_back(satchel_client *client, struct connection *connection)
{
    client->curl->easy_reset(connection->easy); /* forgets what was asked */
    (void)pthread_mutex_lock(&client->lock);
    bool kept = client->n_idle < CONNECTIONS_KEPT;
    if (kept)
        client->idle[client->n_idle++] = *connection;
    (void)pthread_mutex_unlock(&client->lock);
    if (!kept)
        connection_close(client, connection);
}

static CURLcode outcome(const satchel_client *client, const struct connection *connection)
{
    int left;
    for (;;) {
        const CURLMsg *message = client->curl->multi_info_read(connection->multi, &left);
        if (!message)
            return CURLE_FAILED_INIT;
        if (message->msg == CURLMSG_DONE)
            return message->data.result;
    }
}

bool connection_perform(const satchel_client *client, const struct connection *connection, satchel_cancel *cancel,
                        int64_t idle_ms, CURLcode *ret)
{
    const struct curl_functions *curl = client->curl;
    struct curl_waitfd fired = {.fd = satchel_cancel_fd(cancel), .events = CURL_WAIT_POLLIN};
    unsigned n_fired = fired.fd >= 0;
    int64_t part = idle_ms / IDLE_PARTS + 1;
    int running = 0, poll_ms = idle_ms > 0 && part < POLL_MS ? (int)part : POLL_MS;
    bool canceled = satchel_cancel_reason(cancel) != 0;
    *ret = CURLE_OUT_OF_MEMORY;
    if (canceled || curl->multi_add_handle(connection->multi, connection->easy) != CURLM_OK)
        return canceled;
    CURLMcode code = curl->multi_perform(connection->multi, &running);
    while (code == CURLM_OK && running && !canceled) {
        code = curl->multi_poll(connection->multi, &fired, n_fired, poll_ms, NULL);
        canceled = satchel_cancel_reason(cancel) != 0;
        if (code == CURLM_OK && !canceled)
            code = curl->multi_perform(connection->multi, &running);
    }
    if (code == CURLM_OK && !running)
        *ret = outcome(client, connection);
    (void)curl->multi_remove_handle(connection->multi, connection->easy);
    return canceled && running;
}
