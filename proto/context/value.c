/* Values: immutable boxes around the caller's data, counted across threads; and the string type.
 *
 * A destroy callback may drop further references, also of contexts full of values: a chain of any length is taken
 * down with a bounded stack, since values beyond a depth wait in the thread's list until the outermost callback has
 * returned.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

#define DEEPEST 40u /* destroy callbacks within destroy callbacks */

bool refs_try_add(atomic_uint *refs)
{
    unsigned n = atomic_load_explicit(refs, memory_order_relaxed);
    while (n)
        if (atomic_compare_exchange_weak_explicit(refs, &n, n + 1, memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

static bool string_equal(const void *a, const void *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static size_t string_encode(const void *data, char *buf, size_t cap)
{
    if (!data)
        return SIZE_MAX;
    size_t len = strlen(data);
    size_t n = len < cap ? len : cap;
    if (n)
        memcpy(buf, data, n);
    return len;
}

static int string_decode(const char *text, size_t len, void **data)
{
    if (len && memchr(text, '\0', len))
        return SATCHEL_EGRAMMAR;
    char *copy = len < SIZE_MAX ? malloc(len + 1) : NULL;
    if (!copy)
        return SATCHEL_ENOMEM;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    *data = copy;
    return SATCHEL_OK;
}

const satchel_type satchel_string_type = {
    .struct_size = sizeof(satchel_type),
    .name = "string",
    .destroy = free,
    .equal = string_equal,
    .encode = string_encode,
    .decode = string_decode,
};

static satchel_value *box_new(const satchel_type *type, size_t room)
{
    size_t size;
    if (__builtin_add_overflow(sizeof(satchel_value), room, &size) || size > PTRDIFF_MAX)
        return NULL;
    satchel_value *value = malloc(size);
    if (!value)
        return NULL;
    atomic_init(&value->refs, 1);
    value->type = type;
    count_add(COUNT_VALUES, 1);
    return value;
}

int satchel_value_new(const satchel_type *type, void *data, satchel_value **out)
{
    if (!out || (type && type->struct_size < sizeof *type))
        return SATCHEL_EINVAL;
    satchel_value *value = box_new(type, 0);
    if (!value)
        return SATCHEL_ENOMEM;
    value->data = data;
    *out = value;
    return SATCHEL_OK;
}

int satchel_value_string(const char *text, size_t len, satchel_value **out)
{
    if (!out || (!text && len))
        return SATCHEL_EINVAL;
    if (len && memchr(text, '\0', len))
        return SATCHEL_EGRAMMAR;
    satchel_value *value = len < SIZE_MAX ? box_new(&satchel_string_type, len + 1) : NULL;
    if (!value)
        return SATCHEL_ENOMEM;
    if (len)
        memcpy(value->text, text, len);
    value->text[len] = '\0';
    value->data = value->text;
    *out = value;
    return SATCHEL_OK;
}

satchel_value *satchel_value_ref(satchel_value *value)
{
    return value ? value_ref(value) : NULL;
}

void satchel_value_unref(satchel_value *value)
{
    value_unref(value);
}

static void destroy_one(satchel_value *value)
{
    self.destroying++;
    if (value->data != value->text && value->type && value->type->destroy)
        value->type->destroy(value->data);
    self.destroying--;
    free(value);
    count_add(COUNT_VALUES, -1);
}

void value_destroy(satchel_value *value)
{
    if (self.destroying >= DEEPEST) {
        value->next_dead = self.dead;
        self.dead = value;
        return;
    }
    destroy_one(value);
    while (self.dead && self.destroying == 0) {
        satchel_value *next = self.dead;
        self.dead = next->next_dead;
        destroy_one(next);
    }
}

void value_disown(satchel_value *value)
{
    free(value);
    count_add(COUNT_VALUES, -1);
}

void *satchel_value_data(const satchel_value *value)
{
    return value ? value->data : NULL;
}

const satchel_type *satchel_value_type(const satchel_value *value)
{
    return value ? value->type : NULL;
}

size_t satchel_value_text(const satchel_value *value, char *buf, size_t cap)
{
    if (!value || !value->type || !value->type->encode || (!buf && cap))
        return SIZE_MAX;
    size_t need = value->type->encode(value->data, buf, cap);
    if (need != SIZE_MAX && need < cap)
        buf[need] = '\0';
    return need;
}

bool value_equal(const satchel_value *a, const satchel_value *b)
{
    if (a == b || (a->type == b->type && a->data == b->data))
        return true;
    return a->type == b->type && a->type && a->type->equal && a->type->equal(a->data, b->data);
}

int value_from_text(const satchel_type *type, const char *text, size_t len, satchel_value **out)
{
    if (!type || type == &satchel_string_type) /* a bare pointer to text: the box keeps the copy */
        return satchel_value_string(text, len, out);
    void *data = NULL;
    int status = type->decode ? type->decode(text, len, &data) : SATCHEL_EINVAL;
    if (status != SATCHEL_OK)
        return status < 0 ? status : SATCHEL_EGRAMMAR;
    status = satchel_value_new(type, data, out);
    if (status != SATCHEL_OK && type->destroy)
        type->destroy(data);
    return status;
}
