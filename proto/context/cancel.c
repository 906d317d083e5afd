/* Cancellation: a flag, a tree of them, and a descriptor for those who wait in poll().
 *
 * A child holds a reference of its parent; a parent knows its children without one.  Firing walks down without
 * recursion: the children of a fired object are taken off its list, each with a reference, and wait on a list of the
 * firing thread's own.
 * Thread: any.  The lock of an object guards its descriptor, its list of children, and their places in that list;
 * never two locks at once.  Objects share a few locks, so that a fork can hold them all: the child, too, can fire what
 * another thread was firing. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/context/internal.h"

struct satchel_cancel {
    atomic_uint refs;
    atomic_int reason;             /* 0: not fired */
    satchel_cancel *parent;        /* a reference */
    satchel_cancel *children;      /* under the lock */
    int fd;                        /* under the lock; -1: nobody asked for it yet */
    satchel_cancel *next, **place; /* in the parent's list, under its lock; place NULL: not in it */
};

#define LOCKS 16u

static pthread_mutex_t locks[LOCKS] = {[0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t *lock_of(const satchel_cancel *cancel)
{
    uint64_t h = (uint64_t)(uintptr_t)cancel * UINT64_C(0x9e3779b97f4a7c15);
    return &locks[h >> 60];
}

void cancel_lock_all(bool lock) /* the one place where several are held; nobody else wants two */
{
    for (unsigned i = 0; i < LOCKS; i++)
        (void)(lock ? pthread_mutex_lock(&locks[i]) : pthread_mutex_unlock(&locks[i]));
}

int satchel_cancel_new(satchel_cancel *parent, satchel_cancel **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    satchel_cancel *cancel = calloc(1, sizeof *cancel);
    if (!cancel)
        return SATCHEL_ENOMEM;
    atomic_init(&cancel->refs, 1);
    atomic_init(&cancel->reason, 0);
    cancel->fd = -1;
    if (parent) {
        cancel->parent = satchel_cancel_ref(parent);
        (void)pthread_mutex_lock(lock_of(parent));
        int reason = atomic_load(&parent->reason); /* fired: the list has been or will be taken without us */
        if (!reason) {
            cancel->next = parent->children;
            cancel->place = &parent->children;
            if (cancel->next)
                cancel->next->place = &cancel->next;
            parent->children = cancel;
        }
        if (reason) /* else it is the parent's to write from now on */
            atomic_store(&cancel->reason, reason);
        (void)pthread_mutex_unlock(lock_of(parent));
    }
    *out = cancel;
    return SATCHEL_OK;
}

satchel_cancel *satchel_cancel_ref(satchel_cancel *cancel)
{
    if (cancel)
        refs_add(&cancel->refs);
    return cancel;
}

static void leave_parent(satchel_cancel *cancel)
{
    (void)pthread_mutex_lock(lock_of(cancel->parent));
    if (cancel->place) {
        *cancel->place = cancel->next;
        if (cancel->next)
            cancel->next->place = cancel->place;
    }
    (void)pthread_mutex_unlock(lock_of(cancel->parent));
}

void satchel_cancel_unref(satchel_cancel *cancel)
{
    /* Found by its parent without a reference: the count really goes through zero, where nobody revives it. */
    while (cancel && atomic_fetch_sub_explicit(&cancel->refs, 1, memory_order_acq_rel) == 1) {
        satchel_cancel *parent = cancel->parent;
        if (parent)
            leave_parent(cancel);
        if (cancel->fd >= 0)
            (void)close(cancel->fd);
        free(cancel);
        cancel = parent; /* its reference ends with the child */
    }
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* Marks one object.  Its children go onto *waiting, each with a reference. */
static void fire_one(satchel_cancel *cancel, int reason, satchel_cancel **waiting)
{
    int none = 0;
    (void)pthread_mutex_lock(lock_of(cancel));
    bool first = atomic_compare_exchange_strong(&cancel->reason, &none, reason);
    int fd = first ? cancel->fd : -1;
    satchel_cancel *next;
    for (satchel_cancel *child = first ? cancel->children : NULL; child; child = next) {
        next = child->next;
        if (!refs_try_add(&child->refs))
            continue; /* on its way out: it takes itself off the list */
        *child->place = next;
        if (next)
            next->place = child->place;
        child->place = NULL;
        child->next = *waiting;
        *waiting = child;
    }
    (void)pthread_mutex_unlock(lock_of(cancel));
    if (fd >= 0)
        signal_fd(fd);
}

void satchel_cancel_fire(satchel_cancel *cancel, int reason)
{
    if (!cancel)
        return;
    satchel_cancel *waiting = NULL;
    (void)satchel_cancel_ref(cancel);
    while (cancel) {
        fire_one(cancel, reason ? reason : -1, &waiting);
        satchel_cancel_unref(cancel);
        cancel = waiting;
        if (cancel)
            waiting = cancel->next;
    }
}

int satchel_cancel_fd(satchel_cancel *cancel)
{
    if (!cancel)
        return -1;
    (void)pthread_mutex_lock(lock_of(cancel));
    if (cancel->fd < 0) /* fired already: readable from the start */
        cancel->fd = eventfd(atomic_load(&cancel->reason) ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = cancel->fd;
    (void)pthread_mutex_unlock(lock_of(cancel));
    return fd;
}

int satchel_cancel_reason(const satchel_cancel *cancel)
{
    return cancel ? atomic_load_explicit(&cancel->reason, memory_order_acquire) : 0;
}

static void cancel_destroy(void *data)
{
    satchel_cancel_unref(data);
}

const satchel_type cancel_type = {.struct_size = sizeof(satchel_type), .name = "cancel", .destroy = cancel_destroy};

int satchel_set_cancel(satchel_cancel *cancel, satchel_token *token)
{
    if (!cancel)
        return SATCHEL_EINVAL;
    satchel_value *value;
    int status = satchel_value_new(&cancel_type, satchel_cancel_ref(cancel), &value);
    if (status != SATCHEL_OK) {
        satchel_cancel_unref(cancel);
        return status;
    }
    status = current_bind(&known_vars[SLOT_CANCEL], value, token);
    if (status != SATCHEL_OK)
        value_unref(value);
    return status;
}

satchel_cancel *satchel_current_cancel(void)
{
    return self.known->data[SLOT_CANCEL];
}
