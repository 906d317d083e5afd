#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"

struct loop {
    /* set before the thread starts, constant from then on */
    struct event_base *base;
    struct event *mail_event;
    char name[16];
    pthread_t thread;
    bool started;
    /* any thread */
    struct mailbox box;
    atomic_bool stopping;
};

static _Thread_local struct loop *current_loop;

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *loop = arg;
    struct mail *next;
    for (struct mail *mail = mailbox_take(&loop->box); mail; mail = next) {
        next = mail->next;
        struct loop_mail *job = (struct loop_mail *)mail;
        job->run(job);
    }
    (void)thread_check();
    if (atomic_load(&loop->stopping))
        (void)event_base_loopbreak(loop->base);
}

int loop_new(const char *name, struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return -ENOMEM;
    (void)snprintf(loop->name, sizeof loop->name, "%s", name);
    loop->box.event_fd = -1;
    int err = mailbox_init(&loop->box, SIZE_MAX);
    struct event_config *config = event_config_new();
    if (!err && config) {
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        loop->base = event_base_new_with_config(config);
    }
    if (config)
        event_config_free(config);
    if (loop->base)
        loop->mail_event = event_new(loop->base, mailbox_fd(&loop->box), EV_READ | EV_PERSIST, on_mail, loop);
    if (err || !loop->mail_event || event_add(loop->mail_event, NULL) < 0) {
        loop_free(loop);
        return err ? err : -ENOMEM;
    }
    *ret_loop = loop;
    return 0;
}

static void *loop_main(void *arg)
{
    struct loop *loop = arg;
    current_loop = loop;
    (void)event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

int loop_start(struct loop *loop)
{
    int err = thread_start(&loop->thread, loop->name, loop_main, loop);
    loop->started = err == 0;
    return err;
}

void loop_stop(struct loop *loop)
{
    if (!loop->started)
        return;
    atomic_store(&loop->stopping, true);
    mailbox_wake(&loop->box);
    (void)pthread_join(loop->thread, NULL);
    loop->started = false;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->mail_event)
        event_free(loop->mail_event);
    if (loop->base)
        event_base_free(loop->base);
    mailbox_release(&loop->box);
    free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

void loop_post(struct loop *loop, struct loop_mail *mail)
{
    mailbox_post_always(&loop->box, &mail->mail);
}

bool loop_is_current(const struct loop *loop)
{
    return current_loop == loop;
}
