/* An event loop on a thread of its own: a libevent base and a mailbox of things to do on it.
 * Loops share nothing.  Whatever belongs to a loop is touched on its thread alone; others post to it.
 * Thread: loop_post from any; loop_new/start/stop/free from the thread that owns the loop object. */
#ifndef SATCHEL_BASE_LOOP_H
#define SATCHEL_BASE_LOOP_H

#include <stdbool.h>

#include "base/mailbox.h"

struct event_base;

struct loop_mail { /* embedded; owned by the loop once posted */
    struct mail mail;
    void (*run)(struct loop_mail *mail); /* on the loop's thread */
};

struct loop;

int loop_new(const char *name, struct loop **ret_loop); /* 0 or -errno; name is copied (<= 15 characters) */
int loop_start(struct loop *loop);                      /* starts its thread */
void loop_stop(struct loop *loop);                      /* runs what was posted so far, ends and joins the thread */
void loop_free(struct loop *loop);                      /* NULL is fine; the thread must have ended */
struct event_base *loop_base(struct loop *loop);
void loop_post(struct loop *loop, struct loop_mail *mail); /* never refused: bounded by what it answers */
bool loop_is_current(const struct loop *loop);             /* is this its thread? */

#endif
