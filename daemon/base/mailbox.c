/* A Treiber stack that the receiver empties with one exchange and reverses.  No ABA: nobody pops single items. */
#include "base/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box, size_t limit)
{
    atomic_init(&box->head, NULL);
    atomic_init(&box->waiting, 0);
    box->limit = limit;
    box->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return box->event_fd < 0 ? -errno : 0;
}

void mailbox_release(struct mailbox *box)
{
    if (box->event_fd >= 0)
        (void)close(box->event_fd);
    box->event_fd = -1;
}

void mailbox_wake(struct mailbox *box)
{
    uint64_t one = 1;
    while (write(box->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void push(struct mailbox *box, struct mail *mail)
{
    struct mail *head = atomic_load_explicit(&box->head, memory_order_relaxed);
    do {
        mail->next = head;
    } while (
        !atomic_compare_exchange_weak_explicit(&box->head, &head, mail, memory_order_release, memory_order_relaxed));
    if (!head)
        mailbox_wake(box);
}

bool mailbox_post(struct mailbox *box, struct mail *mail)
{
    if (atomic_fetch_add_explicit(&box->waiting, 1, memory_order_relaxed) >= box->limit) {
        atomic_fetch_sub_explicit(&box->waiting, 1, memory_order_relaxed);
        return false;
    }
    push(box, mail);
    return true;
}

void mailbox_post_always(struct mailbox *box, struct mail *mail)
{
    atomic_fetch_add_explicit(&box->waiting, 1, memory_order_relaxed);
    push(box, mail);
}

struct mail *mailbox_take(struct mailbox *box)
{
    if (!atomic_load_explicit(&box->head, memory_order_relaxed)) {
        uint64_t count; /* a wake-up without a message: clear it */
        while (read(box->event_fd, &count, sizeof count) < 0 && errno == EINTR) {
        }
        if (!atomic_load_explicit(&box->head, memory_order_relaxed))
            return NULL;
    }
    struct mail *newest = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire);
    struct mail *oldest_first = NULL;
    size_t n = 0;
    while (newest) {
        struct mail *next = newest->next;
        newest->next = oldest_first;
        oldest_first = newest;
        newest = next;
        n++;
    }
    atomic_fetch_sub_explicit(&box->waiting, n, memory_order_relaxed);
    return oldest_first;
}

int mailbox_fd(const struct mailbox *box)
{
    return box->event_fd;
}

void mailbox_wait(struct mailbox *box, int64_t timeout_ns)
{
    if (atomic_load_explicit(&box->head, memory_order_relaxed))
        return;
    struct pollfd wait = {.fd = box->event_fd, .events = POLLIN};
    struct timespec limit = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    (void)ppoll(&wait, 1, timeout_ns < 0 ? NULL : &limit, NULL);
}
