/* What running tasks tell: progress and log lines.  A worker copies a piece into a message; here it is gathered for a
 * moment and written with the next batch, so that a chatty task costs a row a tenth of a second and no more.
 * Bounds: the messages under way (TELL_BYTES; what does not fit is refused: the teller waits a moment, and marks the
 * gap), and what a task has gathered (GATHER_MAX, reached by a flood; then the oldest is left out, with a mark).
 * Thread: engine_tell on the attempt's worker, the rest on the engine's. */
#include <stdlib.h>

#include "engine/internal.h"

#define TELL_BYTES ((size_t)16 << 20)
#define TELL_LEAST ((size_t)1 << 10) /* so that small ones leave room in the mailbox for others */
#define GATHER_MAX ((size_t)1 << 20)
#define GATHER_NS INT64_C(100000000)
#define GATHER_ENOUGH ((size_t)32 << 10)

struct told {
    struct mail mail;
    uint8_t mail_kind;
    uint32_t attempt;
    struct task_id id;
    float progress;
    struct blob *note;
    size_t len, size;
    char log[];
};

static float clamped(double progress)
{
    if (!(progress >= 0)) /* not a number, too */
        return -1;
    return progress > 1 ? 1 : (float)progress;
}

bool engine_tell(struct engine *e, const struct attempt *attempt, double progress, struct slice note, struct slice log)
{
    size_t size = sizeof(struct told) + log.len + note.len;
    size = size > TELL_LEAST ? size : TELL_LEAST;
    struct told *told = NULL;
    if (atomic_fetch_add_explicit(&e->told_bytes, size, memory_order_relaxed) + size <= TELL_BYTES)
        told = malloc(sizeof *told + log.len);
    if (!told) {
        atomic_fetch_sub_explicit(&e->told_bytes, size, memory_order_relaxed);
        return false;
    }
    *told = (struct told){.mail_kind = MAIL_TOLD,
                          .attempt = attempt->number,
                          .id = attempt->spec->id,
                          .progress = clamped(progress),
                          .note = note.len ? blob_new(note) : NULL,
                          .len = log.len,
                          .size = size};
    if (log.len)
        memcpy(told->log, log.data, log.len);
    if (mailbox_post(&e->box, &told->mail))
        return true;
    told_drop(&told->mail, e);
    return false;
}

void told_drop(struct mail *mail, struct engine *e)
{
    struct told *told = (struct told *)mail;
    atomic_fetch_sub_explicit(&e->told_bytes, told->size, memory_order_relaxed);
    blob_unref(told->note);
    free(told);
}

/* What a task wrote last tells most of why it ended. */
static void keep_newest(struct buf *log)
{
    static const char mark[] = "[satcheld: lines were left out here]\n";
    struct slice all = buf_slice(log);
    size_t from = all.len > GATHER_MAX / 2 ? all.len - GATHER_MAX / 2 : 0;
    const char *newline = all.len > from ? memchr(all.data + from, '\n', all.len - from) : NULL;
    from = newline ? (size_t)(newline + 1 - all.data) : all.len;
    struct buf kept = BUF_INIT;
    buf_append(&kept, mark, sizeof mark - 1);
    buf_append(&kept, all.data + from, all.len - from);
    buf_release(log);
    *log = kept;
}

static void gather_log(struct live *live, const struct told *told)
{
    if (live->log.len + told->len > GATHER_MAX)
        keep_newest(&live->log);
    buf_append(&live->log, told->log, told->len);
    if (!buf_ok(&live->log)) /* no memory: what was gathered is lost */
        buf_release(&live->log);
}

void told_handle(struct engine *e, struct mail *mail)
{
    const struct told *told = (struct told *)mail;
    struct entry *entry = entries_find(&e->entries, told->id);
    struct live *live = entry ? entry_live_get(entry) : NULL;
    if (!live || entry->state != TASK_RUNNING || entry->attempt != told->attempt)
        return; /* of an attempt that is over */
    if (told->progress >= 0)
        live->progress = told->progress;
    if (told->note) {
        blob_unref(live->note);
        live->note = blob_ref(told->note);
    }
    if (told->len)
        gather_log(live, told);
    live->told = true;
    bool enough = live->log.len >= GATHER_ENOUGH;
    if (live->write_slot == HEAP_NONE || enough)
        (void)heap_set(&e->writes, &live->write_slot, enough ? e->now_ns : live->written_ns + GATHER_NS);
}

void told_write_due(struct engine *e)
{
    uint32_t *slot;
    while (!batch_full(e, 1) && heap_first(&e->writes, &slot) <= e->now_ns) {
        struct live *live = (struct live *)((char *)slot - offsetof(struct live, write_slot));
        heap_clear(&e->writes, slot);
        (void)batch_touch(e, entries_at(&e->entries, live->entry));
    }
}

void told_fill(struct live *live, struct change *change)
{
    if (!live->told)
        return;
    change->row.note = blob_slice(live->note);
    change->row.log = buf_slice(&live->log);
}

void told_written(struct engine *e, struct live *live)
{
    if (!live->told && !live->unwritten)
        return;
    live->told = live->unwritten = false;
    live->written_ns = e->now_ns;
    heap_clear(&e->writes, &live->write_slot);
    if (live->log.cap > GATHER_ENOUGH)
        buf_release(&live->log);
    else
        buf_reset(&live->log);
}

void told_again(struct engine *e, struct live *live)
{
    if (live->told || live->unwritten)
        (void)heap_set(&e->writes, &live->write_slot, e->retry_ns);
}

void told_release(struct engine *e, struct live *live)
{
    heap_clear(&e->writes, &live->write_slot);
    blob_unref(live->note);
    buf_release(&live->log);
}
