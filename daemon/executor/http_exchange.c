/* One request and its answer.  Each worker thread keeps a few sets of connections, one per policy (a task type of one
 * registry): a connection that is used again is not vetted again, so it may serve only those who vetted it.
 *
 * The thread waits in curl_multi_poll() on libcurl's sockets and on the attempt's cancel object; names are resolved on
 * a thread of libcurl's own, which a canceled attempt does not wait for.  No proxy, no redirects, no cookies, no netrc,
 * nothing from the environment.
 * Called by http_task.c.  Thread: the attempt's worker. */
#include "executor/http_task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"

#define SETS 4              /* of connections, per thread */
#define CONNECTIONS_KEPT 2L /* idle ones, per set */
#define CONNECT_TIMEOUT_MS 30000L
#define POLL_MS 60000
#define EXPLANATION_MAX 2048u          /* bytes kept of an answer that is no result */
#define EXPLANATION_DRAINED (1u << 20) /* ... and read, so that the connection can be used again */
#define HEADERS_MAX (256u << 10)

struct connections { /* of one thread for one policy */
    uint64_t policy; /* 0: free */
    uint64_t used;   /* when, in turns of the thread */
    CURLM *multi;
    CURL *easy;
};

struct thread_connections {
    const struct curl_functions *curl;
    uint64_t turn;
    struct connections sets[SETS];
};

struct exchange {
    const struct http_task *task;
    const struct http_request *request;
    struct attempt *attempt;
    struct http_answer *answer;
    CURL *easy;
    size_t header_bytes, drained;
    bool reached; /* an address that may be called was tried */
};

static pthread_key_t thread_key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool key_made;

/* ---- a thread's connections ---- */

static void close_set(const struct curl_functions *curl, struct connections *set)
{
    if (set->easy)
        curl->easy_cleanup(set->easy);
    if (set->multi)
        (void)curl->multi_cleanup(set->multi);
    *set = (struct connections){0};
}

static void on_thread_end(void *arg)
{
    struct thread_connections *all = arg;
    for (size_t i = 0; i < SETS; i++)
        close_set(all->curl, &all->sets[i]);
    free(all);
}

static void make_key(void)
{
    key_made = pthread_key_create(&thread_key, on_thread_end) == 0;
}

static struct thread_connections *of_thread(const struct curl_functions *curl)
{
    (void)pthread_once(&key_once, make_key);
    if (!key_made)
        return NULL;
    struct thread_connections *all = pthread_getspecific(thread_key);
    if (all)
        return all;
    all = calloc(1, sizeof *all);
    if (all && pthread_setspecific(thread_key, all) != 0) {
        free(all);
        return NULL;
    }
    if (all)
        all->curl = curl;
    return all;
}

/* The policy's set, else a new one in the place of the one that was not used for the longest time. */
static struct connections *take_set(const struct curl_functions *curl, uint64_t policy)
{
    struct thread_connections *all = of_thread(curl);
    if (!all)
        return NULL;
    struct connections *set = &all->sets[0];
    for (size_t i = 0; i < SETS && set->policy != policy; i++)
        if (all->sets[i].policy == policy || all->sets[i].used < set->used)
            set = &all->sets[i];
    if (set->policy != policy) {
        close_set(curl, set);
        set->multi = curl->multi_init();
        set->easy = set->multi ? curl->easy_init() : NULL;
        if (!set->easy) {
            close_set(curl, set);
            return NULL;
        }
        set->policy = policy;
        (void)curl->multi_setopt(set->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
    }
    set->used = ++all->turn;
    return set;
}

/* ---- what libcurl asks and tells ---- */

static void note_refusal(struct http_answer *answer, const char *what, const struct sockaddr *address)
{
    const void *bytes = address->sa_family == AF_INET6
                            ? (const void *)((const char *)address + offsetof(struct sockaddr_in6, sin6_addr))
                            : (const void *)((const char *)address + offsetof(struct sockaddr_in, sin_addr));
    answer->refused = what;
    if (!inet_ntop(address->sa_family, bytes, answer->refused_address, sizeof answer->refused_address))
        answer->refused_address[0] = '\0';
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *peer)
{
    struct exchange *x = arg;
    const char *what = http_allow_refuses(&x->task->allow, x->request->host, &peer->addr);
    if (purpose != CURLSOCKTYPE_IPCXN || what) {
        note_refusal(x->answer, what ? what : "not for a connection", &peer->addr);
        return CURL_SOCKET_BAD;
    }
    x->reached = true;
    return socket(peer->family, peer->socktype | SOCK_CLOEXEC, peer->protocol);
}

static int status_of(const struct exchange *x)
{
    long status = 0;
    (void)x->request->curl->easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    struct buf *body = &x->answer->body;
    int status = status_of(x);
    size_t len = size * n;
    if (status >= 200 && status < 300) {
        x->answer->too_much = len > x->attempt->type->max_result - body->len;
        if (!x->answer->too_much)
            buf_append(body, data, len);
        return x->answer->too_much || !buf_ok(body) ? 0 : len;
    }
    size_t room = EXPLANATION_MAX - body->len;
    buf_append(body, data, len < room ? len : room);
    x->drained += len;
    return x->drained > EXPLANATION_DRAINED ? 0 : len;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    static const char name[] = "retry-after:";
    size_t len = size * n, from = sizeof name - 1;
    x->header_bytes += len;
    if (x->header_bytes > HEADERS_MAX)
        return 0;
    if (len > 5 && strncasecmp(line, "HTTP/", 5) == 0)
        x->answer->retry_after[0] = '\0'; /* another answer begins, after an interim one */
    if (len <= from || strncasecmp(line, name, from) != 0)
        return len;
    while (from < len && (line[from] == ' ' || line[from] == '\t'))
        from++;
    size_t end = len;
    while (end > from && (unsigned char)line[end - 1] <= ' ')
        end--;
    if (end - from < sizeof x->answer->retry_after) {
        memcpy(x->answer->retry_after, line + from, end - from);
        x->answer->retry_after[end - from] = '\0';
    }
    return len;
}

/* ---- the exchange ---- */

#define SET(option, value) (void)curl->easy_setopt(x->easy, (option), (value))

static void set_method(const struct exchange *x)
{
    const struct curl_functions *curl = x->request->curl;
    const char *method = x->task->config->method;
    if (x->task->body_kind == HTTP_BODY_NONE) {
        SET(CURLOPT_HTTPGET, 1L);
    } else {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->request->body.len);
        SET(CURLOPT_POSTFIELDS, x->request->body.data ? x->request->body.data : "");
    }
    if (strcmp(method, x->task->body_kind == HTTP_BODY_NONE ? "GET" : "POST") != 0)
        SET(CURLOPT_CUSTOMREQUEST, method);
}

static void prepare(struct exchange *x)
{
    const struct curl_functions *curl = x->request->curl;
    curl->easy_reset(x->easy);
    SET(CURLOPT_CURLU, x->request->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name that is being resolved is not waited for */
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    SET(CURLOPT_TCP_KEEPALIVE, 1L); /* a peer that is gone is noticed, without a time limit too */
    SET(CURLOPT_USERAGENT, "satcheld/" PACKAGE_VERSION);
    SET(CURLOPT_HTTPHEADER, x->request->fields);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(CURLOPT_OPENSOCKETDATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_ERRORBUFFER, x->answer->detail);
    set_method(x);
}

/* True: the transfer has ended, and how. */
static bool has_ended(const struct exchange *x, CURLM *multi)
{
    int left;
    for (CURLMsg *message; (message = x->request->curl->multi_info_read(multi, &left)) != NULL;)
        if (message->msg == CURLMSG_DONE) {
            x->answer->code = message->data.result;
            return true;
        }
    return false;
}

static int transfer(struct exchange *x, CURLM *multi)
{
    const struct curl_functions *curl = x->request->curl;
    struct curl_waitfd cancel = {.fd = satchel_cancel_fd(x->attempt->cancel), .events = CURL_WAIT_POLLIN};
    if (cancel.fd < 0)
        return -EMFILE;
    for (;;) {
        int running, ready;
        if (satchel_cancel_reason(x->attempt->cancel)) {
            x->answer->canceled = true;
            return 0;
        }
        if (curl->multi_perform(multi, &running) != CURLM_OK)
            return -ENOMEM;
        if (has_ended(x, multi))
            return 0;
        if (curl->multi_poll(multi, &cancel, 1, POLL_MS, &ready) != CURLM_OK)
            return -ENOMEM;
    }
}

int http_exchange(const struct http_task *task, const struct http_request *request, struct attempt *attempt,
                  struct http_answer *ret)
{
    const struct curl_functions *curl = request->curl;
    struct connections *set = take_set(curl, task->policy);
    if (!set)
        return -ENOMEM;
    *ret = (struct http_answer){.code = CURLE_OK};
    struct exchange x = {.task = task, .request = request, .attempt = attempt, .answer = ret, .easy = set->easy};
    prepare(&x);
    int err = curl->multi_add_handle(set->multi, set->easy) == CURLM_OK ? transfer(&x, set->multi) : -ENOMEM;
    long request_size = 0;
    (void)curl->easy_getinfo(x.easy, CURLINFO_REQUEST_SIZE, &request_size);
    ret->sent = request_size > 0;
    ret->status = status_of(&x);
    (void)curl->multi_remove_handle(set->multi, set->easy);
    curl->easy_reset(set->easy); /* forgets what points into this call; keeps the connections */
    if (x.reached)
        ret->refused = NULL;
    if (err == 0 && !buf_ok(&ret->body))
        err = -ENOMEM;
    if (err < 0)
        http_answer_release(ret);
    return err;
}

void http_answer_release(struct http_answer *answer)
{
    buf_release(&answer->body);
}
