/* Recently finished tasks, so that the poll that follows a submission is answered from memory.
 * Thread: recent_put from the engine's thread, recent_find from any; each shard has a lock of its own. */
#ifndef SATCHEL_ENGINE_RECENT_H
#define SATCHEL_ENGINE_RECENT_H

#include "task/task.h"

struct recent;

/* `retain_us`: how long tasks are kept that say nothing else; 0: for ever.  NULL: no memory. */
struct recent *recent_new(size_t max_bytes, int64_t retain_us);
void recent_set_retain(struct recent *recent, int64_t retain_us); /* any thread */
void recent_free(struct recent *recent);                          /* NULL is fine */
/* Takes references of its own.  Where there is no room, older ones are displaced only as long as recent_find is called
 * now and then, and by no end that `was_told` to those who waited. */
void recent_put(struct recent *recent, const struct task_record *record, bool was_told);
void recent_drop(struct recent *recent, struct task_id id); /* retried or deleted */
/* `tenant` data NULL: any.  What was kept long enough by now_us is not found.  The caller releases *ret. */
bool recent_find(struct recent *recent, struct task_id id, struct slice tenant, int64_t now_us,
                 struct task_record *ret);

#endif
