#include "engine/groups.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 64u

struct group {
    struct group *next; /* in its slot */
    struct cohort *oldest, *current;
    size_t tenant_len, len;
    char text[]; /* tenant, then name */
};

/* ---- the table ---- */

static size_t hash_of(struct slice tenant, struct slice name)
{
    uint64_t h = 14695981039346656037ULL;
    for (size_t i = 0; i < tenant.len; i++)
        h = (h ^ (unsigned char)tenant.data[i]) * 1099511628211ULL;
    h = (h ^ 0xff) * 1099511628211ULL;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (unsigned char)name.data[i]) * 1099511628211ULL;
    return (size_t)(h ^ h >> 32);
}

static struct slice tenant_of(const struct group *group)
{
    return slice_of(group->text, group->tenant_len);
}

static struct slice name_of(const struct group *group)
{
    return slice_of(group->text + group->tenant_len, group->len - group->tenant_len);
}

static int grow(struct groups *groups)
{
    size_t size = groups->n_slots ? groups->n_slots * 2 : FIRST_SLOTS;
    struct group **slots = calloc(size, sizeof(struct group *));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < groups->n_slots; i++)
        for (struct group *group = groups->slots[i], *next; group; group = next) {
            struct group **slot = &slots[hash_of(tenant_of(group), name_of(group)) & (size - 1)];
            next = group->next;
            group->next = *slot;
            *slot = group;
        }
    free(groups->slots);
    groups->slots = slots;
    groups->n_slots = size;
    return 0;
}

static struct group **find(const struct groups *groups, struct slice tenant, struct slice name)
{
    struct group **at = &groups->slots[hash_of(tenant, name) & (groups->n_slots - 1)];
    while (*at && !(slice_eq(tenant_of(*at), tenant) && slice_eq(name_of(*at), name)))
        at = &(*at)->next;
    return at;
}

static struct cohort *cohort_new(struct group *group)
{
    struct cohort *cohort = malloc(sizeof *cohort);
    if (cohort)
        *cohort = (struct cohort){.group = group, .waits = ENTRY_NONE};
    return cohort;
}

static struct group *group_new(struct groups *groups, struct slice tenant, struct slice name)
{
    if (groups->n >= groups->n_slots && grow(groups) < 0)
        return NULL;
    struct group *group = malloc(sizeof *group + tenant.len + name.len);
    if (!group)
        return NULL;
    *group = (struct group){.tenant_len = tenant.len, .len = tenant.len + name.len};
    memcpy(group->text, tenant.data, tenant.len);
    memcpy(group->text + tenant.len, name.data, name.len);
    group->oldest = group->current = cohort_new(group);
    if (!group->oldest) {
        free(group);
        return NULL;
    }
    *find(groups, tenant, name) = group;
    groups->n++;
    return group;
}

static void group_remove(struct groups *groups, struct group *group)
{
    struct group **at = find(groups, tenant_of(group), name_of(group));
    *at = group->next;
    groups->n--;
    free(group->oldest);
    free(group);
}

static struct cohort **place_of(const struct groups *groups, uint32_t entry)
{
    return &groups->of[entry / SEGMENT_ENTRIES][entry % SEGMENT_ENTRIES];
}

static int make_place(struct groups *groups, uint32_t entry)
{
    size_t segment = entry / SEGMENT_ENTRIES;
    if (segment >= groups->n_segments) {
        size_t n = groups->n_segments * 2 > segment + 1 ? groups->n_segments * 2 : segment + 1;
        struct cohort ***of = realloc(groups->of, n * sizeof(struct cohort **));
        if (!of)
            return -ENOMEM;
        memset(of + groups->n_segments, 0, (n - groups->n_segments) * sizeof(struct cohort **));
        groups->of = of;
        groups->n_segments = n;
    }
    if (!groups->of[segment])
        groups->of[segment] = calloc(SEGMENT_ENTRIES, sizeof(struct cohort *));
    return groups->of[segment] ? 0 : -ENOMEM;
}

/* ---- joining, waiting, leaving ---- */

int groups_join(struct groups *groups, struct slice tenant, struct slice name, uint32_t entry)
{
    struct group *group = groups->n_slots ? *find(groups, tenant, name) : NULL;
    if (make_place(groups, entry) < 0)
        return -ENOMEM;
    if (!group && !(group = group_new(groups, tenant, name)))
        return -ENOMEM;
    group->current->members++;
    *place_of(groups, entry) = group->current;
    return 0;
}

int groups_wait(struct groups *groups, struct slice tenant, struct slice name, uint32_t entry, struct cohort **ret)
{
    struct group *group = groups->n_slots ? *find(groups, tenant, name) : NULL;
    *ret = NULL;
    if (!group)
        return 0;
    struct cohort *next = cohort_new(group);
    if (!next)
        return -ENOMEM;
    struct cohort *cohort = group->current;
    cohort->waits = entry;
    cohort->closed = true;
    cohort->next = next;
    group->current = next;
    *ret = cohort;
    return 0;
}

void groups_unwait(struct cohort *cohort)
{
    cohort->waits = ENTRY_NONE;
}

void groups_leave(struct groups *groups, uint32_t entry, void (*released)(void *arg, uint32_t entry), void *arg)
{
    struct cohort **place = place_of(groups, entry), *cohort = *place;
    struct group *group = cohort->group;
    *place = NULL;
    cohort->members--;
    while (group->oldest->closed && !group->oldest->members) {
        struct cohort *over = group->oldest;
        group->oldest = over->next;
        if (over->waits != ENTRY_NONE)
            released(arg, over->waits);
        free(over);
    }
    if (group->oldest == group->current && !group->current->members)
        group_remove(groups, group);
}

void groups_release(struct groups *groups)
{
    for (size_t i = 0; i < groups->n_slots; i++)
        for (struct group *group = groups->slots[i], *next; group; group = next) {
            next = group->next;
            for (struct cohort *cohort = group->oldest, *younger; cohort; cohort = younger) {
                younger = cohort->next;
                free(cohort);
            }
            free(group);
        }
    for (size_t i = 0; i < groups->n_segments; i++)
        free(groups->of[i]);
    free(groups->slots);
    free(groups->of);
    *groups = (struct groups){0};
}
