/* The variables that travel, by wire field name: the well-known ones in a table of their own (known.c), all others
 * here, in chained hash tables that grow.
 *
 * It refers to variables weakly: a look-up takes its reference under the lock, and only if the count is not zero yet;
 * a variable whose count went to zero leaves afterwards.  The hash is seeded, so that chosen names do not make long
 * chains, and most names that are not here are told apart by a bit for length and first letter, without a lock.
 * Thread: any.  Each shard's lock guards its table and the `next` of its variables. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"
#include "proto/id.h"

#define SHARDS 16u     /* of the task variables, which requests make: there may be many, on many threads */
#define PROGRAM SHARDS /* and one of the program's own, which are few */
#define FIRST_SIZE 16u /* of a shard's table; a power of two */

struct shard {
    pthread_mutex_t lock;
    satchel_var **table;
    size_t size, count;
};

static struct shard shards[SHARDS + 1] = {
    [0 ... SHARDS] = {.lock = PTHREAD_MUTEX_INITIALIZER},
};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t seed;
static _Atomic uint64_t seen[32]; /* by first letter: a bit per length (modulo 64) that was ever registered */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

bool same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len != b_len)
        return false;
    for (size_t i = 0; i < a_len; i++)
        if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

static void make_seed(void)
{
    random_bytes(&seed, sizeof seed);
}

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
    return h ^ h >> 29;
}

static uint64_t hash_of(const char *name, size_t len)
{
    uint64_t h = seed ^ len, word = 0;
    for (size_t i = 0; i < len; i++) {
        word = word << 8 | (unsigned char)lower(name[i]);
        if (i % 8 == 7) {
            h = mix(h ^ word) + seed;
            word = 0;
        }
    }
    return mix(mix(h ^ word) + seed);
}

static struct shard *shard_of(const char *name, size_t len, uint64_t hash)
{
    static const char prefix[] = TASK_VAR_PREFIX;
    size_t n = sizeof prefix - 1;
    return &shards[len > n && same_name(name, n, prefix, n) ? hash % SHARDS : PROGRAM];
}

static _Atomic uint64_t *letter(const char *name)
{
    return &seen[(unsigned char)name[0] & 31]; /* the case bit is not among these */
}

static satchel_var **chain_of(const struct shard *shard, uint64_t hash)
{
    return &shard->table[(hash >> 8) & (shard->size - 1)];
}

static satchel_var *find_locked(const struct shard *shard, uint64_t hash, const char *name, size_t len)
{
    if (!shard->size)
        return NULL;
    for (satchel_var *var = *chain_of(shard, hash); var; var = var->next)
        if (same_name(name, len, var->header, var->header_len) && refs_try_add(&var->refs))
            return var;
    return NULL;
}

static bool grow_locked(struct shard *shard)
{
    if (shard->count < shard->size)
        return true;
    struct shard to = {.size = shard->size ? shard->size * 2 : FIRST_SIZE};
    to.table = calloc(to.size, sizeof(satchel_var *));
    if (!to.table)
        return shard->size != 0; /* longer chains will do */
    for (size_t i = 0; i < shard->size; i++) {
        for (satchel_var *var = shard->table[i], *next; var; var = next) {
            next = var->next;
            satchel_var **chain = chain_of(&to, hash_of(var->header, var->header_len));
            var->next = *chain;
            *chain = var;
        }
    }
    free(shard->table);
    shard->table = to.table;
    shard->size = to.size;
    return true;
}

int registry_add(satchel_var *var, satchel_var **ret_there)
{
    static const char scope[] = "X-Scope-OrgID"; /* the tenant's other name */
    if (known_by_header(var->header, var->header_len) || known_by_key(var->key, var->header_len) ||
        same_name(var->header, var->header_len, scope, sizeof scope - 1))
        return SATCHEL_EEXIST;
    (void)pthread_once(&once, make_seed);
    uint64_t hash = hash_of(var->header, var->header_len);
    struct shard *shard = shard_of(var->header, var->header_len, hash);
    int status = SATCHEL_OK;
    (void)pthread_mutex_lock(&shard->lock);
    satchel_var *there = find_locked(shard, hash, var->header, var->header_len);
    if (there) {
        status = SATCHEL_EEXIST;
    } else if (grow_locked(shard)) {
        satchel_var **chain = chain_of(shard, hash);
        var->next = *chain;
        *chain = var;
        shard->count++;
        (void)atomic_fetch_or(letter(var->header), UINT64_C(1) << (var->header_len % 64));
    } else {
        status = SATCHEL_ENOMEM;
    }
    (void)pthread_mutex_unlock(&shard->lock);
    if (ret_there)
        *ret_there = there;
    else
        satchel_var_unref(there);
    return status;
}

void registry_remove(satchel_var *var)
{
    uint64_t hash = hash_of(var->header, var->header_len);
    struct shard *shard = shard_of(var->header, var->header_len, hash);
    (void)pthread_mutex_lock(&shard->lock);
    satchel_var **at = chain_of(shard, hash);
    while (*at && *at != var)
        at = &(*at)->next;
    if (*at) {
        *at = var->next;
        shard->count--;
    }
    if (shard->count == 0 && shard->size > FIRST_SIZE) { /* whoever filled it is gone */
        free(shard->table);
        shard->table = NULL;
        shard->size = 0;
    }
    (void)pthread_mutex_unlock(&shard->lock);
}

satchel_var *registry_find(const char *name, size_t len)
{
    if (len == 0 || !(atomic_load_explicit(letter(name), memory_order_acquire) & UINT64_C(1) << (len % 64)))
        return NULL;
    uint64_t hash = hash_of(name, len);
    struct shard *shard = shard_of(name, len, hash);
    (void)pthread_mutex_lock(&shard->lock);
    satchel_var *var = find_locked(shard, hash, name, len);
    (void)pthread_mutex_unlock(&shard->lock);
    return var;
}

void registry_each(void (*fn)(const satchel_var *var, void *arg), void *arg)
{
    struct shard *shard = &shards[PROGRAM];
    (void)pthread_mutex_lock(&shard->lock);
    for (size_t i = 0; i < shard->size; i++)
        for (satchel_var *var = shard->table[i]; var; var = var->next)
            fn(var, arg);
    (void)pthread_mutex_unlock(&shard->lock);
}

void registry_lock_all(bool lock) /* the one place where several are held; nobody else wants two */
{
    for (unsigned i = 0; i <= SHARDS; i++)
        (void)(lock ? pthread_mutex_lock(&shards[i].lock) : pthread_mutex_unlock(&shards[i].lock));
}
