/* Two open-addressing tables over one array.  Nothing is ever removed singly: the array is emptied when it is full
 * (the disk still knows everything) and after a rollback. */
#include "store/sqlite_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sqlite_names_init(struct sqlite_names *names, sqlite3 *db, const char *table)
{
    char find[96], add[96], text[96];
    (void)snprintf(find, sizeof find, "SELECT no FROM %s WHERE text = ?1", table);
    (void)snprintf(add, sizeof add, "INSERT INTO %s(text) VALUES(?1)", table);
    (void)snprintf(text, sizeof text, "SELECT text FROM %s WHERE no = ?1", table);
    random_bytes(&names->seed, sizeof names->seed); /* tenants choose their names: no chosen collisions */
    int rc = sqlite_db_prepare(db, find, &names->find);
    if (rc == SQLITE_OK)
        rc = sqlite_db_prepare(db, add, &names->add);
    if (rc == SQLITE_OK)
        rc = sqlite_db_prepare(db, text, &names->text);
    return rc;
}

void sqlite_names_forget(struct sqlite_names *names)
{
    for (uint32_t i = 0; i < names->n; i++)
        free(names->names[i].text);
    names->n = 0;
    if (names->cap) {
        memset(names->by_text, 0, ((size_t)names->mask + 1) * sizeof *names->by_text);
        memset(names->by_no, 0, ((size_t)names->mask + 1) * sizeof *names->by_no);
    }
}

void sqlite_names_release(struct sqlite_names *names)
{
    sqlite_names_forget(names);
    free(names->names);
    free(names->by_text);
    free(names->by_no);
    (void)sqlite3_finalize(names->find);
    (void)sqlite3_finalize(names->add);
    (void)sqlite3_finalize(names->text);
    *names = (struct sqlite_names){0};
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
    return x ^ x >> 32;
}

static uint32_t hash_text(const struct sqlite_names *names, struct slice text)
{
    uint64_t hash = names->seed ^ text.len;
    size_t at = 0;
    for (; at + 8 <= text.len; at += 8) {
        uint64_t word;
        memcpy(&word, text.data + at, 8);
        hash = mix(hash ^ word);
    }
    uint64_t rest = 0;
    if (at < text.len)
        memcpy(&rest, text.data + at, text.len - at);
    return (uint32_t)mix(hash ^ rest);
}

static uint32_t hash_no(const struct sqlite_names *names, int64_t no)
{
    return (uint32_t)mix(names->seed ^ (uint64_t)no);
}

static void place(struct sqlite_names *names, uint32_t index)
{
    const struct sqlite_name *name = &names->names[index];
    uint32_t at = name->hash & names->mask;
    while (names->by_text[at])
        at = (at + 1) & names->mask;
    names->by_text[at] = index + 1;
    at = hash_no(names, name->no) & names->mask;
    while (names->by_no[at])
        at = (at + 1) & names->mask;
    names->by_no[at] = index + 1;
}

static bool grow(struct sqlite_names *names)
{
    uint32_t cap = names->cap ? names->cap * 2 : 64;
    size_t slots = (size_t)cap * 2;
    struct sqlite_name *array = reallocarray(names->names, cap, sizeof *array);
    if (!array)
        return false;
    names->names = array;
    uint32_t *by_text = calloc(slots, sizeof *by_text), *by_no = calloc(slots, sizeof *by_no);
    if (!by_text || !by_no) {
        free(by_text);
        free(by_no);
        return false;
    }
    free(names->by_text);
    free(names->by_no);
    names->by_text = by_text;
    names->by_no = by_no;
    names->cap = cap;
    names->mask = (uint32_t)slots - 1;
    for (uint32_t i = 0; i < names->n; i++)
        place(names, i);
    return true;
}

/* Remembers a name; NULL: no memory. */
static const struct sqlite_name *remember(struct sqlite_names *names, struct slice text, int64_t no)
{
    char *copy = malloc(text.len + 1);
    if (!copy)
        return NULL;
    if (text.len)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (names->n == SQLITE_NAMES_MAX)
        sqlite_names_forget(names);
    if (names->n == names->cap && !grow(names)) {
        free(copy);
        return NULL;
    }
    struct sqlite_name *name = &names->names[names->n];
    *name = (struct sqlite_name){.no = no, .hash = hash_text(names, text), .len = (uint32_t)text.len, .text = copy};
    place(names, names->n++);
    return name;
}

static const struct sqlite_name *look_up(const struct sqlite_names *names, struct slice text)
{
    if (!names->n)
        return NULL;
    uint32_t hash = hash_text(names, text);
    for (uint32_t at = hash & names->mask; names->by_text[at]; at = (at + 1) & names->mask) {
        const struct sqlite_name *name = &names->names[names->by_text[at] - 1];
        if (name->hash == hash && name->len == text.len && memcmp(name->text, text.data, text.len) == 0)
            return name;
    }
    return NULL;
}

int sqlite_names_number(struct sqlite_names *names, struct slice text, int64_t *ret_no)
{
    const struct sqlite_name *name = look_up(names, text);
    if (name) {
        *ret_no = name->no;
        return SQLITE_OK;
    }
    (void)sqlite3_bind_text64(names->find, 1, text.len ? text.data : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
    int rc = sqlite3_step(names->find);
    int64_t no = rc == SQLITE_ROW ? sqlite3_column_int64(names->find, 0) : 0;
    int reset = sqlite3_reset(names->find);
    if (rc == SQLITE_DONE) {
        (void)sqlite3_bind_text64(names->add, 1, text.len ? text.data : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
        rc = sqlite_db_run(names->add);
        if (rc != SQLITE_DONE)
            return rc;
        no = sqlite3_last_insert_rowid(sqlite3_db_handle(names->add));
    } else if (rc != SQLITE_ROW) {
        return reset;
    }
    if (!remember(names, text, no))
        return SQLITE_NOMEM;
    *ret_no = no;
    return SQLITE_OK;
}

int sqlite_names_text(struct sqlite_names *names, int64_t no, struct slice *ret_text)
{
    for (uint32_t at = hash_no(names, no) & names->mask; names->n && names->by_no[at]; at = (at + 1) & names->mask) {
        const struct sqlite_name *name = &names->names[names->by_no[at] - 1];
        if (name->no == no) {
            *ret_text = slice_of(name->text, name->len);
            return SQLITE_OK;
        }
    }
    (void)sqlite3_bind_int64(names->text, 1, no);
    int rc = sqlite3_step(names->text);
    const struct sqlite_name *name = NULL;
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(names->text, 0);
        name = text ? remember(names, slice_of(text, (size_t)sqlite3_column_bytes(names->text, 0)), no) : NULL;
    }
    int reset = sqlite3_reset(names->text);
    if (name) {
        *ret_text = slice_of(name->text, name->len);
        return SQLITE_OK;
    }
    if (rc == SQLITE_DONE)
        return SQLITE_NOTFOUND;
    return rc == SQLITE_ROW ? SQLITE_NOMEM : reset;
}
