/* Values: immutable boxes around the caller's data, counted across threads; and the string type.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

static bool string_equal(const void *a, const void *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static size_t string_encode(const void *data, char *buf, size_t cap)
{
    if (!data)
        return SIZE_MAX;
    size_t len = strlen(data);
    if (cap > 0) /* buf may be NULL where only the length is asked for */
        memcpy(buf, data, len < cap ? len : cap);
    return len;
}

static int string_decode(const char *text, size_t len, void **data)
{
    if (memchr(text, '\0', len))
        return SATCHEL_EGRAMMAR;
    char *copy = malloc(len + 1);
    if (!copy)
        return SATCHEL_ENOMEM;
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

int satchel_value_new(const satchel_type *type, void *data, satchel_value **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    satchel_value *value = malloc(sizeof *value);
    if (!value)
        return SATCHEL_ENOMEM;
    atomic_init(&value->refs, 1);
    value->type = type;
    value->data = data;
    count_add(COUNT_VALUES, 1);
    *out = value;
    return SATCHEL_OK;
}

int satchel_value_string(const char *text, size_t len, satchel_value **out)
{
    if (!text || !out)
        return SATCHEL_EINVAL;
    satchel_value *value = malloc(sizeof *value + len + 1);
    if (!value)
        return SATCHEL_ENOMEM;
    atomic_init(&value->refs, 1);
    value->type = &satchel_string_type;
    memcpy(value->text, text, len);
    value->text[len] = '\0';
    value->data = value->text;
    count_add(COUNT_VALUES, 1);
    *out = value;
    return SATCHEL_OK;
}

satchel_value *satchel_value_ref(satchel_value *value)
{
    if (value)
        atomic_fetch_add_explicit(&value->refs, 1, memory_order_relaxed);
    return value;
}

void satchel_value_unref(satchel_value *value)
{
    if (!value || atomic_fetch_sub_explicit(&value->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (value->data != value->text && value->type && value->type->destroy)
        value->type->destroy(value->data);
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

bool value_equal(const satchel_value *a, const satchel_value *b)
{
    if (a == b || (a->type == b->type && a->data == b->data))
        return true;
    return a->type == b->type && a->type && a->type->equal && a->type->equal(a->data, b->data);
}

bool value_text(const satchel_var *var, const satchel_value *value, struct buf *out)
{
    (void)var;
    buf_reset(out);
    if (!value->type || !value->type->encode)
        return false;
    if (value->type == &satchel_string_type) { /* the common kind, without measuring twice */
        buf_append_str(out, value->data);
        return buf_ok(out);
    }
    char small[256];
    size_t need = value->type->encode(value->data, small, sizeof small);
    if (need == SIZE_MAX)
        return false;
    if (need <= sizeof small) {
        buf_append(out, small, need);
        return buf_ok(out);
    }
    if (!buf_reserve(out, need) || value->type->encode(value->data, out->data, need) != need)
        return false;
    out->len = need;
    out->data[need] = '\0';
    return true;
}

int value_decode(const satchel_type *type, const char *text, size_t len, satchel_value **out)
{
    if (type == &satchel_string_type)
        return memchr(text, '\0', len) ? SATCHEL_EGRAMMAR : satchel_value_string(text, len, out);
    void *data = NULL;
    int status = type && type->decode ? type->decode(text, len, &data) : SATCHEL_EINVAL;
    if (status != SATCHEL_OK)
        return status < 0 ? status : SATCHEL_EGRAMMAR;
    status = satchel_value_new(type, data, out);
    if (status != SATCHEL_OK && type->destroy)
        type->destroy(data);
    return status;
}

size_t satchel_value_text(const satchel_value *value, char *buf, size_t cap)
{
    if (!value || !value->type || !value->type->encode)
        return SIZE_MAX;
    size_t need = value->type->encode(value->data, buf, cap);
    if (need != SIZE_MAX && need < cap)
        buf[need] = '\0';
    return need;
}
