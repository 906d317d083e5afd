/* Task types that call a URL (contract: "Task types an operator configures").
 *
 *   http_task.c      the settings, checked and parsed once; what an answer means for the attempt
 *   http_request.c   one attempt's request: URL, body and header lines, the context's among them
 *   http_exchange.c  one request and its answer, over the connections that each worker thread keeps
 *   http_allow.c     which addresses may be called at all
 *
 * libcurl is loaded by the first attempt (proto/curl_loader.h).
 * Thread: a struct http_task is immutable; each attempt runs on its worker thread. */
#ifndef SATCHEL_EXECUTOR_HTTP_TASK_H
#define SATCHEL_EXECUTOR_HTTP_TASK_H

#include <netinet/in.h>

#include "executor/http_allow.h"
#include "executor/registry.h"
#include "executor/template.h"
#include "proto/curl_loader.h"

/* How a value from the args is put into the body, by the operator's Content-Type. */
enum http_body {
    HTTP_BODY_NONE, /* GET, and DELETE without `body` */
    HTTP_BODY_ARGS, /* all args, as they were submitted */
    HTTP_BODY_JSON, /* JSON text; within a string of the template: escaped */
    HTTP_BODY_FORM, /* percent-encoded */
    HTTP_BODY_TEXT  /* as it is */
};

struct http_field {
    struct slice name; /* of the configuration */
    char *text;        /* owned; what `value` was parsed from */
    struct template value;
};

struct http_task {
    const struct config_task *config; /* of the registry's configuration */
    const struct config *registry_config;
    uint64_t policy; /* unique in the process: connections are reused within one only, since a reused one asks nobody */
    struct template url, body;
    enum http_body body_kind;
    bool uses_after;       /* a template looks into the results of the tasks that it waited for */
    bool has_content_type; /* among the operator's header lines */
    struct http_field *fields;
    size_t n_fields;
    struct http_allow allow;
};

struct http_request;

int http_register(struct registry *registry, const struct config_task *config, char *error, size_t error_size);
/* A task of settings that are not in the configuration's files; `config` must outlive it.  NULL and `error`. */
struct http_task *http_task_new(const struct config_task *config, const struct config *all, char *error,
                                size_t error_size);
void http_task_free(void *arg);
/* One attempt.  `prepare` (may be NULL) completes the request; false: it has ended the attempt. */
void http_task_run(const struct http_task *task, struct attempt *attempt,
                   bool (*prepare)(struct attempt *attempt, struct http_request *request));

/* ---- http_request.c ---- */

struct http_request {
    const struct curl_functions *curl;
    CURLU *url;
    char *host;        /* as the URL has it; of curl */
    struct buf origin; /* scheme, host and port, for people: the rest may hold what is nobody's business */
    struct curl_slist *fields;
    struct buf body;
    char span[17]; /* of the call (kind CLIENT), the parent-id that is sent; "" where no trace is sent */
};

/* From the attempt's args and the calling thread's context.  False: the attempt has failed, nothing is to be released. */
bool http_request_fill(const struct http_task *task, struct attempt *attempt, const struct curl_functions *curl,
                       struct http_request *ret);
void http_request_release(struct http_request *request);
bool http_request_add(struct http_request *request, const char *name, struct slice value); /* false: no memory */
/* A header that is the context's, or HTTP's own: an operator's header line may not have its name. */
bool http_field_is_reserved(const struct config *config, struct slice name);

/* ---- http_exchange.c ---- */

struct http_answer {
    CURLcode code;
    int status;      /* 0: no answer came */
    struct buf body; /* whole for 2xx, else its beginning */
    bool sent;       /* the request has left, a part of it at least */
    bool canceled;   /* the attempt's cancel object ended it */
    bool too_much;   /* the result was larger than allowed */
    char retry_after[64];
    const char *refused; /* what the address was that may not be called; NULL: none was refused, or another one could */
    char refused_address[INET6_ADDRSTRLEN];
    char detail[CURL_ERROR_SIZE]; /* of a failure; "" where libcurl has none */
};

/* Returns soon after the attempt's cancel object fired.  0, or -errno: no memory, no descriptor. */
int http_exchange(const struct http_task *task, const struct http_request *request, struct attempt *attempt,
                  struct http_answer *ret);
void http_answer_release(struct http_answer *answer);

/* ---- http_task.c, for its tests ---- */

/* The pause that a Retry-After value asks for (seconds, or a date in one of HTTP's three forms), at most a day;
 * -1: it asks for none, or cannot be understood. */
int64_t http_retry_after_us(const char *value, int64_t now_us);

#endif
