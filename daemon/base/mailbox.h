/* A mailbox: many senders, one receiver, in order of arrival.
 *
 * Messages are intrusive (their sender allocated them, their receiver owns them from then on), so posting
 * allocates nothing and takes no lock.  The receiver is woken only when the box was empty.
 * Thread: mailbox_post from any thread; the rest from the receiver alone.
 * Bound: at most `limit` messages wait; a full box refuses, and the sender answers "overloaded". */
#ifndef SATCHEL_BASE_MAILBOX_H
#define SATCHEL_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mail { /* embedded in every message */
    struct mail *next;
};

struct mailbox {
    _Atomic(struct mail *) head; /* newest first */
    atomic_size_t waiting;
    size_t limit;
    int event_fd; /* readable while the receiver should look */
};

int mailbox_init(struct mailbox *box, size_t limit); /* 0 or -errno */
void mailbox_release(struct mailbox *box);           /* the caller has taken everything out */
/* False: full; the message stays the sender's. */
bool mailbox_post(struct mailbox *box, struct mail *mail);
/* For answers and reports, which must not be lost and are bounded by the requests they answer. */
void mailbox_post_always(struct mailbox *box, struct mail *mail);
/* Everything that waits, oldest first (linked by ->next), or NULL.  Clears the wake-up. */
struct mail *mailbox_take(struct mailbox *box);
int mailbox_fd(const struct mailbox *box);
/* Blocks until something waits or `timeout_ns` (negative: for ever) is over. */
void mailbox_wait(struct mailbox *box, int64_t timeout_ns);
void mailbox_wake(struct mailbox *box); /* makes mailbox_wait return; any thread, async-signal-safe */

#endif
