/* The reader's thread: takes calls from its mailbox, several to one read transaction where several wait, and
 * delivers each answer.  A transaction is short (few calls, little time), so that it does not hold back the
 * writer's checkpoints.
 *
 * Flow: api (a GET) -> reader_post -> run -> sqlite_list.c -> deliver -> the loop that asked. */
#include "store/reader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "store/read_source.h"

#define WAITING_MAX 10000 /* calls in the mailbox */
#define TRANSACTION_CALLS 64
#define TRANSACTION_NS 20000000 /* no further call is begun in this transaction after 20 ms */

struct reader {
    struct mailbox box;
    struct read_source *source;
    pthread_t thread;
    bool started;
    atomic_bool stopping;
};

static void begin_answer(struct read_call *call)
{
    call->gone = false;
    call->record = (struct task_record){0};
    call->history = (struct task_history){0};
    call->log = (struct buf)BUF_INIT;
    call->log_at = call->log_from;
    call->log_more = false;
    call->records = NULL;
    call->n = 0;
    call->next = (struct task_id){0, 0};
}

static void answer(struct read_source *source, struct read_call *call)
{
    begin_answer(call);
    if (call->kind == READ_TASK)
        source->ops->task(source, call);
    else
        source->ops->list(source, call);
}

static void refuse(struct read_call *call, enum store_result result)
{
    begin_answer(call);
    call->result = result;
    call->deliver(call);
}

/* One transaction's worth of calls; returns what is left of the chain. */
static struct mail *answer_some(struct reader *reader, struct mail *mail)
{
    enum store_result begun = reader->source->ops->begin(reader->source);
    int64_t until = clock_mono_ns() + TRANSACTION_NS;
    for (int n = 0; mail && n < TRANSACTION_CALLS; n++) {
        struct read_call *call = (struct read_call *)mail;
        mail = mail->next; /* the call is its receiver's once delivered */
        if (begun != STORE_OK) {
            refuse(call, begun);
            continue;
        }
        answer(reader->source, call);
        call->deliver(call);
        if (clock_mono_ns() > until)
            break;
    }
    if (begun == STORE_OK)
        reader->source->ops->end(reader->source);
    return mail;
}

static void *run(void *arg)
{
    struct reader *reader = arg;
    for (;;) {
        bool stopping = atomic_load_explicit(&reader->stopping, memory_order_acquire);
        struct mail *mail = mailbox_take(&reader->box);
        while (mail)
            mail = answer_some(reader, mail);
        (void)thread_check();
        if (stopping)
            return NULL;
        mailbox_wait(&reader->box, -1);
    }
}

int reader_new(const struct store_options *options, struct reader **ret, char *error, size_t error_size)
{
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader || mailbox_init(&reader->box, WAITING_MAX) < 0) {
        (void)snprintf(error, error_size, "reader: no memory or no file descriptor");
        free(reader);
        return -1;
    }
    atomic_init(&reader->stopping, false);
    if (sqlite_source_open(options, &reader->source, error, error_size) < 0) {
        reader_free(reader);
        return -1;
    }
    int err = thread_start(&reader->thread, "reader", run, reader);
    if (err) {
        (void)snprintf(error, error_size, "reader: cannot start its thread: %s", strerror(-err));
        reader_free(reader);
        return -1;
    }
    reader->started = true;
    *ret = reader;
    return 0;
}

bool reader_post(struct reader *reader, struct read_call *call)
{
    if (atomic_load_explicit(&reader->stopping, memory_order_acquire))
        return false;
    return mailbox_post(&reader->box, &call->mail);
}

void reader_stop(struct reader *reader)
{
    if (!reader || !reader->started)
        return;
    atomic_store_explicit(&reader->stopping, true, memory_order_release);
    mailbox_wake(&reader->box);
    (void)pthread_join(reader->thread, NULL);
    reader->started = false;
    /* What slipped in between its last look and the end of the thread. */
    for (struct mail *mail = mailbox_take(&reader->box), *next; mail; mail = next) {
        next = mail->next;
        refuse((struct read_call *)mail, STORE_BUSY);
    }
}

void reader_free(struct reader *reader)
{
    if (!reader)
        return;
    reader_stop(reader);
    if (reader->source)
        reader->source->ops->close(reader->source);
    mailbox_release(&reader->box);
    free(reader);
}
