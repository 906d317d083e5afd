/* What the files of the context library share.  Nothing in here is exported.
 *
 *   value     satchel_value: immutable, counted                                        value.c
 *   variable  satchel_var: a key; the well-known ones own a slot                       variable.c known.c registry.c
 *   snapshot  immutable map variable -> value: an array for the well-known ones and a
 *             persistent trie, by variable id, for all others                          snapshot.c trie.c
 *   context   satchel_context: a box with one snapshot                                 context.c
 *   current   what each thread has: the entered contexts and the implicit one          current.c thread.c
 *
 * How R6 is kept (any thread may copy a context that another thread is setting).  A snapshot is changed in place only
 * by the thread that has its context entered, and only while it holds the snapshot's one reference.  Both the change
 * (a store or two; whatever must be allocated was allocated before) and a foreign thread's taking of a reference
 * happen under the context's spin lock.  So the foreign thread sees the snapshot whole, before or after; and once it
 * has its reference the count is above one, and the next change makes a new snapshot.  A reference that was taken while
 * a change was prepared may be gone again when it is made, and parts of the snapshot may have become another one's
 * meanwhile: `taken` tells, and the change is made as a new snapshot.  The owning thread reads without
 * the lock, since nobody else changes what it reads.  The implicit context of a thread has no lock: nobody else can
 * reach it.  No callback, allocation or system call is made under the lock. */
#ifndef SATCHEL_CONTEXT_INTERNAL_H
#define SATCHEL_CONTEXT_INTERNAL_H

#include <satchel/context.h>
#include <stdatomic.h>

#pragma GCC visibility push(hidden)

enum { /* slots of a snapshot: the well-known variables and those that are the library's own */
       SLOT_CANCEL = SATCHEL_KNOWN_COUNT,
       SLOT_B3_FLAGS, /* "1" where a B3 sender asked for debug: kept and sent on, as B3 wants it */
       SLOT_COUNT,
       SLOT_NONE = 255
};

/* ---- counted things ---- */

/* Is this the last reference, and was it dropped?  A count of one cannot be raised by anybody else: no locked
 * instruction is needed then. */
static inline bool refs_drop(atomic_uint *refs)
{
    return atomic_load_explicit(refs, memory_order_acquire) == 1 ||
           atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

static inline void refs_add(atomic_uint *refs)
{
    (void)atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

static inline bool refs_one(const atomic_uint *refs)
{
    return atomic_load_explicit(refs, memory_order_acquire) == 1;
}

bool refs_try_add(atomic_uint *refs); /* false: it is at zero, and stays there */

struct satchel_value {
    union {
        atomic_uint refs;
        satchel_value *next_dead; /* once the count is zero: waits for its destroy callback */
    };
    const satchel_type *type; /* NULL: a bare pointer */
    void *data;
    char text[]; /* of a string: data points here */
};

struct satchel_var {
    atomic_uint refs;
    uint8_t slot;  /* SLOT_NONE: lives in the trie */
    bool interned; /* made by satchel_variable */
    unsigned flags;
    uint64_t id;
    const satchel_type *type;
    satchel_value *dflt; /* NULL: none */
    char *name;
    char *header; /* NULL: does not travel */
    char *key;    /* the header in lower case: its name in JSON; of a well-known one the standard name */
    size_t header_len, max_len;
    satchel_var *next; /* registry chain, under its lock */
    /* Well-known ones: a value from text, checked.  `text` need not be NUL-terminated. */
    int (*make)(const char *text, size_t len, satchel_value **out);
};

/* ---- counts.c ---- */
enum count { COUNT_VARS, COUNT_VALUES, COUNT_CONTEXTS, COUNT_TOKENS, COUNT_MISUSE, COUNT_KINDS };
uint64_t unique_id(void);

/* ---- value.c ---- */
void value_destroy(satchel_value *value);
void value_disown(satchel_value *value); /* frees a box whose data goes back to the caller */
bool value_equal(const satchel_value *a, const satchel_value *b);
int value_from_text(const satchel_type *type, const char *text, size_t len, satchel_value **out);

static inline satchel_value *value_ref(satchel_value *value)
{
    refs_add(&value->refs);
    return value;
}

static inline void value_unref(satchel_value *value)
{
    if (value && refs_drop(&value->refs))
        value_destroy(value);
}

/* ---- variable.c ---- */
#define TASK_VAR_PREFIX "X-Satchel-Var-"
#define TASK_VAR_MAX_LEN 8192u
#define TASK_VAR_NAME_MAX 64u
struct var_make {
    const char *name, *header; /* header NULL: does not travel */
    const satchel_type *type;
    satchel_value *dflt; /* taken over on success */
    size_t max_len;
    unsigned flags;
    bool interned;
};
int var_make(const struct var_make *how, satchel_var **out); /* not registered yet */
void var_destroy(satchel_var *var);                          /* neither registered nor referenced any more */
bool is_field_name(const char *text);                        /* an RFC 9110 token of 1 to 255 characters */
bool is_utf8(const char *text, size_t len);

static inline satchel_var *var_ref(satchel_var *var)
{
    if (var->slot == SLOT_NONE)
        refs_add(&var->refs);
    return var;
}

/* ---- known.c ---- */
extern satchel_var known_vars[SLOT_COUNT];
satchel_var *known_by_header(const char *name, size_t len); /* by the configured name, any case; NULL: none */
satchel_var *known_by_key(const char *key, size_t len);     /* by the standard name in lower case */
/* What is bound when `value` is given for a well-known variable: checked, parsed; a deadline no later than `held`.
 * A reference of the caller's. */
int known_value(const satchel_var *var, satchel_value *value, satchel_value *held, satchel_value **out);

/* ---- registry.c ---- */
bool same_name(const char *a, size_t a_len, const char *b, size_t b_len); /* ASCII case ignored */
/* Registers by wire name.  SATCHEL_EEXIST and *ret_there (may be NULL), a reference, where it is taken. */
int registry_add(satchel_var *var, satchel_var **ret_there);
void registry_remove(satchel_var *var);
satchel_var *registry_find(const char *name, size_t len); /* a reference, or NULL */
/* Variables that the program made for the wire (task variables are not among them).  fn gets a borrowed variable and
 * runs under the registry's lock: it must not call back into the library. */
void registry_each(void (*fn)(const satchel_var *var, void *arg), void *arg);
void registry_lock_all(bool lock); /* around fork */

/* ---- trie.c ---- */
struct node;
satchel_value *trie_get(const struct node *node, const satchel_var *var); /* borrowed */
/* A new trie, sharing with the old one.  Takes over the reference of `value`.  NULL: no memory. */
struct node *trie_put(struct node *node, satchel_var *var, satchel_value *value);
bool trie_take(struct node *node, const satchel_var *var, struct node **ret); /* *ret NULL: empty now */
struct node *trie_ref(struct node *node);                                     /* NULL is fine */
void trie_unref(struct node *node);
int trie_each(const struct node *node, int (*fn)(satchel_var *var, satchel_value *value, void *arg), void *arg);

/* A change in place, prepared: everything is allocated, and trie_patch_apply only stores. */
struct trie_patch {
    struct node **link; /* gets `fresh` */
    void *slot;         /* or this slot gets `value` */
    struct node *fresh;
    satchel_value *value;
    struct node *holder; /* not NULL: has its slot `bit` by itself from now on, not from its family */
    /* Only if it is not applied: */
    struct node *child;      /* made for `fresh`, which has its reference once it is applied */
    satchel_var *new_var;    /* the reference that went into the slot */
    satchel_value *consumed; /* whose reference went into `fresh` or `child` */
    /* Afterwards: */
    struct node *shell;    /* all that it referred to was taken over by `fresh` */
    struct family *family; /* not NULL: it has the reference of what follows, at `bit` */
    uint8_t bit;
    struct node *old_child;
    satchel_var *old_var;
    satchel_value *old_value;
};
/* `root` is the place of an unshared snapshot's trie.  Takes over the reference of `value` (NULL: takes the binding
 * out) once it is applied.  *patch is zero.  False: no memory. */
bool trie_patch_prepare(struct node **root, satchel_var *var, satchel_value *value, struct trie_patch *patch);
void trie_patch_apply(struct trie_patch *patch);
void trie_patch_drop(struct trie_patch *patch); /* instead of apply */
/* After apply: a reference of the value that was bound before. */
satchel_value *trie_patch_old(struct trie_patch *patch, satchel_value *old);
void trie_patch_release(struct trie_patch *patch); /* after apply, outside the lock */

/* ---- snapshot.c ---- */
struct known { /* immutable while shared.  What get reads lies on other cache lines than the count. */
    atomic_uint refs;
    char apart[64 - sizeof(atomic_uint)];
    void *data[SLOT_COUNT];
    satchel_value *value[SLOT_COUNT];
};

struct snapshot {
    atomic_uint refs;
    uint32_t count; /* bindings */
    struct known *known;
    struct node *rest;
};

extern struct known empty_known;
extern struct snapshot empty_snapshot;
void snapshot_destroy(struct snapshot *s);

static inline struct snapshot *snapshot_ref(struct snapshot *s)
{
    if (s != &empty_snapshot)
        refs_add(&s->refs);
    return s;
}

static inline void snapshot_unref(struct snapshot *s)
{
    if (s && s != &empty_snapshot && refs_drop(&s->refs))
        snapshot_destroy(s);
}

static inline satchel_value *bound_in(const struct known *known, const struct node *rest, const satchel_var *var)
{
    return var->slot != SLOT_NONE ? known->value[var->slot] : rest ? trie_get(rest, var) : NULL;
}

static inline satchel_value *snapshot_get(const struct snapshot *s, const satchel_var *var)
{
    return bound_in(s->known, s->rest, var);
}

/* What a change left over; to be ended outside all locks, once nothing reads it any more. */
struct leftover {
    satchel_value *old;      /* the value that was bound, where it is wanted; the caller's */
    satchel_value *unwanted; /* the same, where not */
    struct snapshot *snapshot;
    struct known *known;
    struct trie_patch patch;
};
/* Binds in *at, which belongs to `box` (NULL: to the caller alone).  Takes over the reference of `value` on success;
 * NULL: takes the binding out.  On failure nothing has changed. */
int snapshot_bind(struct snapshot **at, satchel_context *box, satchel_var *var, satchel_value *value, bool want_old,
                  struct leftover *left);
void leftover_release(struct leftover *left); /* all but `old` */
/* The same for a snapshot that nobody reads yet; takes over the reference of `value` on success. */
int snapshot_build(struct snapshot **at, satchel_var *var, satchel_value *value);
int snapshot_each(const struct snapshot *s, int (*fn)(satchel_var *var, satchel_value *value, void *arg), void *arg);
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);

/* ---- context.c ---- */
struct satchel_context {
    struct snapshot *snapshot; /* written by the thread that has it entered, under the lock */
    satchel_context *below;    /* the entering thread's: what is current again after the exit */
    uint64_t id;               /* for tokens: never used twice */
    atomic_uint refs;
    /* Both hold the generation of the process in which they were taken (0: free), so that in a forked child what a
     * thread of the parent had taken is free: that thread is not there. */
    atomic_uint lock; /* guards `snapshot` and in-place changes against foreign readers */
    atomic_uint entered;
    atomic_uint taken; /* how often a foreign thread took a reference of the snapshot; written under the lock */
};
extern atomic_uint generation; /* 1 in the first process, one more in each forked child */
struct snapshot *context_snapshot(const satchel_context *ctx); /* a reference; NULL: the current one's */
satchel_context *context_with_snapshot(struct snapshot *s);    /* takes the reference over; NULL: no memory */
void context_wait(satchel_context *ctx);                       /* the slow half of context_lock */

static inline void context_lock(satchel_context *ctx)
{
    unsigned mine = atomic_load_explicit(&generation, memory_order_relaxed);
    if (atomic_exchange_explicit(&ctx->lock, mine, memory_order_acquire) == mine)
        context_wait(ctx);
}

static inline void context_unlock(satchel_context *ctx)
{
    atomic_store_explicit(&ctx->lock, 0, memory_order_release);
}

/* ---- thread.c ---- */
enum thread_stage { THREAD_NEW, THREAD_KNOWN, THREAD_ENDING };

struct thread_state {
    /* of the current snapshot, so that a read is two loads; never NULL, but for rest */
    const struct known *known;
    const struct node *rest;
    satchel_context *current;  /* NULL: nothing entered */
    struct snapshot *implicit; /* what lies below; owned */
    uint64_t implicit_id;      /* 0: none yet */
    uint64_t next_id;
    unsigned ids_left;
    enum thread_stage stage;
    unsigned destroying;                 /* how many destroy callbacks are under way on this stack */
    satchel_value *dead;                 /* values that wait for theirs, so that long chains need no deep stack */
    _Atomic int64_t counts[COUNT_KINDS]; /* written by this thread alone */
    struct thread_state *next, **prev;   /* under the list's lock */
};
extern __thread struct thread_state self __attribute__((tls_model("initial-exec")));
void thread_register(void); /* for the clean-up at the thread's end; cheap after the first time */
void count_slowly(enum count kind, int64_t by);
void thread_sum(int64_t totals[COUNT_KINDS]);
void context_after_fork(void);   /* in the child: what this thread has entered stays entered */
void cancel_lock_all(bool lock); /* around fork */
bool process_is_ending(void);    /* main has returned: no callback any more */
void async_before_fork(void);
void async_after_fork(bool child);

static inline void count_add(enum count kind, int64_t by)
{
    if (self.stage != THREAD_KNOWN) {
        count_slowly(kind, by);
        return;
    }
    int64_t n = atomic_load_explicit(&self.counts[kind], memory_order_relaxed);
    atomic_store_explicit(&self.counts[kind], n + by, memory_order_relaxed);
}

static inline struct snapshot *current_snapshot(void)
{
    return self.current ? self.current->snapshot : self.implicit;
}

static inline void thread_refresh(void) /* after the current snapshot changed */
{
    const struct snapshot *s = current_snapshot();
    self.known = s->known;
    self.rest = s->rest;
    atomic_signal_fence(memory_order_seq_cst); /* before anything of the earlier one is freed: signal handlers read */
}

/* ---- current.c ---- */
uint64_t current_id(void);
/* Binds in the current context; value NULL: unset.  Takes over the reference of `value` on success. */
int current_bind(satchel_var *var, satchel_value *value, satchel_token *token);
/* The same without a token: *ret_old (NULL: not wanted) is the caller's. */
int current_put(satchel_var *var, satchel_value *value, satchel_value **ret_old);

static inline satchel_value *current_get(const satchel_var *var) /* borrowed; NULL: not bound */
{
    return bound_in(self.known, self.rest, var);
}

/* ---- the types of the well-known variables: trace.c, deadline.c, cancel.c ---- */
extern const satchel_type trace_type, deadline_type, cancel_type;
int make_tenant(const char *text, size_t len, satchel_value **out);
int make_traceparent(const char *text, size_t len, satchel_value **out);
int make_tracestate(const char *text, size_t len, satchel_value **out);
int make_baggage(const char *text, size_t len, satchel_value **out);
int make_visible(const char *text, size_t len, satchel_value **out);
int make_number(const char *text, size_t len, satchel_value **out);
int make_deadline(const char *text, size_t len, satchel_value **out);
bool hex_decode(const char *text, size_t len, uint8_t *out); /* lower case only */
/* The earlier one of two deadlines; both are deadline values. */
satchel_value *deadline_earlier(satchel_value *a, satchel_value *b);

#pragma GCC visibility pop

#endif
