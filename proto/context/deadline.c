/* Deadlines and cancellation as bindings.  A deadline travels as a date (X-Satchel-Deadline) and is read as what is
 * left of it; a cancel object is a flag, a tree and a descriptor.
 * Thread: any; the lock of a cancel object guards its children and its descriptor. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/context/internal.h"
#include "proto/timetext.h"

/* ---- deadlines ---- */

struct deadline_data { /* its text comes first, so that readers get it as a string */
    char text[TIMESTAMP_TEXT_SIZE];
    int64_t wall_us, mono_ns;
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct deadline_data *deadline_new(int64_t wall_us, int64_t mono_ns)
{
    struct deadline_data *data = malloc(sizeof *data);
    if (data) {
        data->wall_us = wall_us;
        data->mono_ns = mono_ns;
        timestamp_format(wall_us, data->text);
    }
    return data;
}

static int deadline_decode(const char *text, size_t len, void **data)
{
    int64_t wall_us, left_ns;
    if (!timestamp_parse(text, len, &wall_us))
        return SATCHEL_EGRAMMAR;
    int64_t left_us = wall_us - now_ns(CLOCK_REALTIME) / 1000;
    if (__builtin_mul_overflow(left_us, 1000, &left_ns) ||
        __builtin_add_overflow(now_ns(CLOCK_MONOTONIC), left_ns, &left_ns))
        return SATCHEL_ELIMIT;
    *data = deadline_new(wall_us, left_ns);
    return *data ? SATCHEL_OK : SATCHEL_ENOMEM;
}

static bool deadline_equal(const void *a, const void *b)
{
    return strcmp(a, b) == 0;
}

static size_t deadline_encode(const void *data, char *buf, size_t cap)
{
    return satchel_string_type.encode(data, buf, cap);
}

const satchel_type deadline_type = {
    .struct_size = sizeof(satchel_type),
    .name = "deadline",
    .destroy = free,
    .equal = deadline_equal,
    .encode = deadline_encode,
    .decode = deadline_decode,
};

int satchel_set_deadline(int64_t at_ns, satchel_token *token)
{
    satchel_var *var = &known_vars[SATCHEL_DEADLINE];
    satchel_value *current = current_get(var), *value;
    const struct deadline_data *held = current ? current->data : NULL;
    if (held && held->mono_ns <= at_ns) { /* only ever earlier: bind what holds already */
        value = satchel_value_ref(current);
    } else {
        int64_t left_us = (at_ns - now_ns(CLOCK_MONOTONIC)) / 1000;
        struct deadline_data *data = deadline_new(now_ns(CLOCK_REALTIME) / 1000 + left_us, at_ns);
        if (!data)
            return SATCHEL_ENOMEM;
        int status = satchel_value_new(&deadline_type, data, &value);
        if (status != SATCHEL_OK) {
            free(data);
            return status;
        }
    }
    int status = current_set(var, value, token);
    satchel_value_unref(value);
    return status;
}

int64_t satchel_remaining_ns(void)
{
    const satchel_value *value = current_get(&known_vars[SATCHEL_DEADLINE]);
    if (!value)
        return INT64_MAX;
    return ((const struct deadline_data *)value->data)->mono_ns - now_ns(CLOCK_MONOTONIC);
}

/* ---- cancellation ---- */

struct satchel_cancel {
    atomic_uint refs;
    atomic_int reason;                                          /* 0: not fired */
    satchel_cancel *parent;                                     /* a reference */
    pthread_mutex_t lock;                                       /* guards what follows */
    satchel_cancel *first_child, *next_sibling, **prev_sibling; /* children are borrowed: they leave when they end */
    int fd;                                                     /* -1: nobody asked for it yet */
};

int satchel_cancel_new(satchel_cancel *parent, satchel_cancel **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    satchel_cancel *cancel = calloc(1, sizeof *cancel);
    if (!cancel)
        return SATCHEL_ENOMEM;
    atomic_init(&cancel->refs, 1);
    atomic_init(&cancel->reason, 0);
    (void)pthread_mutex_init(&cancel->lock, NULL);
    cancel->fd = -1;
    if (parent) {
        cancel->parent = satchel_cancel_ref(parent);
        (void)pthread_mutex_lock(&parent->lock);
        cancel->next_sibling = parent->first_child;
        cancel->prev_sibling = &parent->first_child;
        if (parent->first_child)
            parent->first_child->prev_sibling = &cancel->next_sibling;
        parent->first_child = cancel;
        (void)pthread_mutex_unlock(&parent->lock);
        int reason = atomic_load(&parent->reason); /* fired before we were listed: nobody else tells us */
        if (reason)
            satchel_cancel_fire(cancel, reason);
    }
    *out = cancel;
    return SATCHEL_OK;
}

satchel_cancel *satchel_cancel_ref(satchel_cancel *cancel)
{
    if (cancel)
        atomic_fetch_add_explicit(&cancel->refs, 1, memory_order_relaxed);
    return cancel;
}

static void leave_parent(satchel_cancel *cancel)
{
    satchel_cancel *parent = cancel->parent;
    (void)pthread_mutex_lock(&parent->lock);
    *cancel->prev_sibling = cancel->next_sibling;
    if (cancel->next_sibling)
        cancel->next_sibling->prev_sibling = cancel->prev_sibling;
    (void)pthread_mutex_unlock(&parent->lock);
}

void satchel_cancel_unref(satchel_cancel *cancel)
{
    while (cancel && atomic_fetch_sub_explicit(&cancel->refs, 1, memory_order_acq_rel) == 1) {
        satchel_cancel *parent = cancel->parent;
        if (parent)
            leave_parent(cancel);
        if (cancel->fd >= 0)
            (void)close(cancel->fd);
        (void)pthread_mutex_destroy(&cancel->lock);
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

static bool try_ref(satchel_cancel *cancel)
{
    unsigned refs = atomic_load_explicit(&cancel->refs, memory_order_relaxed);
    while (refs)
        if (atomic_compare_exchange_weak(&cancel->refs, &refs, refs + 1))
            return true;
    return false;
}

/* A child that has not fired yet, referenced; NULL: none is left. */
static satchel_cancel *unfired_child(satchel_cancel *cancel)
{
    satchel_cancel *found = NULL;
    (void)pthread_mutex_lock(&cancel->lock);
    for (satchel_cancel *child = cancel->first_child; child && !found; child = child->next_sibling)
        if (!atomic_load(&child->reason) && try_ref(child))
            found = child;
    (void)pthread_mutex_unlock(&cancel->lock);
    return found;
}

void satchel_cancel_fire(satchel_cancel *cancel, int reason)
{
    int none = 0;
    if (!cancel || !atomic_compare_exchange_strong(&cancel->reason, &none, reason ? reason : -1))
        return;
    (void)pthread_mutex_lock(&cancel->lock);
    int fd = cancel->fd;
    (void)pthread_mutex_unlock(&cancel->lock);
    if (fd >= 0)
        signal_fd(fd);
    satchel_cancel *child;
    while ((child = unfired_child(cancel)) != NULL) {
        satchel_cancel_fire(child, reason);
        satchel_cancel_unref(child);
    }
}

int satchel_cancel_fd(satchel_cancel *cancel)
{
    if (!cancel)
        return -1;
    (void)pthread_mutex_lock(&cancel->lock);
    bool made = cancel->fd < 0;
    if (made)
        cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = cancel->fd;
    (void)pthread_mutex_unlock(&cancel->lock);
    if (made && fd >= 0 && atomic_load(&cancel->reason)) /* whoever fires later finds the descriptor */
        signal_fd(fd);
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
    status = current_set(&known_vars[SLOT_CANCEL], value, token);
    satchel_value_unref(value);
    return status;
}

satchel_cancel *satchel_current_cancel(void)
{
    const satchel_value *value = current_get(&known_vars[SLOT_CANCEL]);
    return value ? value->data : NULL;
}

bool satchel_done(void)
{
    const satchel_value *value = current_get(&known_vars[SLOT_CANCEL]);
    if (value && satchel_cancel_reason(value->data))
        return true;
    value = current_get(&known_vars[SATCHEL_DEADLINE]);
    return value && ((const struct deadline_data *)value->data)->mono_ns <= now_ns(CLOCK_MONOTONIC);
}
