/* Spans: what has ended and may be exported waits here, in a bounded queue, for the exporter's thread.
 *
 * A span is a few numbers and references of what is immutable anyway (the task's spec, a failed attempt's outcome):
 * whoever ends something pays for a look at the trace's flags, two reference counts and a place in the queue; names,
 * ids and attributes are worked out by the exporter (telemetry/otlp_json.h).  Where nothing is exported there is no
 * queue at all (NULL), and every call below that takes one does nothing.
 *
 * Bound: `max_spans`, and SPANS_BYTES_MAX of tasks that they hold.  What does not fit is dropped and counted.
 * Thread: any for recording and counting; spans_take and spans_close: the exporter's owner. */
#ifndef SATCHEL_TELEMETRY_SPANS_H
#define SATCHEL_TELEMETRY_SPANS_H

#include "task/task.h"

#define SPANS_BYTES_MAX ((size_t)32 * 1024 * 1024)

struct spans;

enum span_kind { SPAN_CLIENT = 3, SPAN_PRODUCER = 4, SPAN_CONSUMER = 5 }; /* OTLP's numbers */

/* One request that an HTTP task sent, for spans_client.  Texts are copied. */
struct span_request {
    uint8_t span_id[8];       /* what was sent as parent-id */
    const char *method;       /* "POST" */
    struct slice url;         /* its user, password, query and fragment are left out */
    int http_status;          /* 0: no answer came */
    const char *error;        /* NULL: none; else a name of few: "timeout", "dns" */
    int64_t start_ns, end_ns; /* wall clock */
};

struct span { /* one that has ended */
    enum span_kind kind;
    struct task_spec *spec;       /* a reference */
    struct task_outcome *outcome; /* CONSUMER: a reference, only of a failure */
    uint32_t attempt;             /* 0: PRODUCER */
    bool own_trace;               /* CONSUMER, CLIENT: the attempt has a trace of its own, which only links */
    bool lost;                    /* CONSUMER: cut off; there may be no outcome */
    bool has_exit_code;
    int exit_code;
    int http_status;
    int64_t start_ns, end_ns; /* wall clock */
    /* CLIENT */
    uint8_t span_id[8];
    char *method, *url, *error; /* one allocation, at `method`; error NULL: none */
};

/* One attempt that has ended. */
struct span_attempt {
    struct task_spec *spec;
    struct task_outcome *outcome; /* NULL: none is known */
    uint32_t number;
    bool own_trace, lost;
    int64_t started_us, finished_us;
};

int spans_new(size_t max_spans, bool all,
              struct spans **ret);    /* all: also of traces that are not sampled; 0 or -ENOMEM */
void spans_free(struct spans *spans); /* NULL is fine; nobody may record any more */

/* Out of line: what has_spans lets through. */
void spans_record_submitted(struct spans *spans, struct task_spec *spec, int64_t end_us);
void spans_record_attempt(struct spans *spans, const struct span_attempt *attempt);
void spans_record_request(struct spans *spans, struct task_spec *spec, uint32_t attempt, bool own_trace,
                          const struct span_request *request);

/* A submission was accepted: it is durable. */
static inline void spans_submitted(struct spans *spans, struct task_spec *spec, int64_t end_us)
{
    if (spans)
        spans_record_submitted(spans, spec, end_us);
}

/* An attempt has ended, or whoever recovers it says so. */
static inline void spans_attempt(struct spans *spans, const struct span_attempt *attempt)
{
    if (spans)
        spans_record_attempt(spans, attempt);
}

/* An attempt's outgoing HTTP request has ended. */
static inline void spans_client(struct spans *spans, struct task_spec *spec, uint32_t attempt, bool own_trace,
                                const struct span_request *request)
{
    if (spans)
        spans_record_request(spans, spec, attempt, own_trace, request);
}

/* ---- the exporter's side ---- */

/* Waits until `max` spans are there, or `delay_ns` after the first one came, or the queue is closed; takes them out.
 * 0: closed, and nothing is left. */
size_t spans_take(struct spans *spans, struct span *out, size_t max, int64_t delay_ns);
void span_release(struct span *span);
void spans_close(struct spans *spans); /* nothing is taken in any more; spans_take does not wait */

struct spans_stats {
    uint64_t recorded, dropped;
    size_t waiting;
};
void spans_get_stats(struct spans *spans, struct spans_stats *ret); /* NULL: all zero */

/* The trace of a submission: its own span's id, the flags.  False: it has none. */
bool span_trace_of(const struct task_spec *spec, satchel_trace *ret);

#endif
