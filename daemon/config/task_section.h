/* One section while it is read, and the largest kind of them: task.
 * Thread: the one that loads the configuration. */
#ifndef SATCHEL_CONFIG_TASK_SECTION_H
#define SATCHEL_CONFIG_TASK_SECTION_H

#include "config/config.h"
#include "config/source.h"
#include "proto/buf.h"

struct section {
    const char *kind, *title;
    struct cfg_t *cfg;
    struct config_where where;
    struct problems *problems;
};

/* Opens the index-th section of that kind; true where its title follows its grammar. */
bool section_open(struct section *s, struct cfg_t *root, const char *kind, size_t index,
                  const char *(*check)(const char *), struct problems *problems);
/* The array with room for one more element, which is zero-filled; NULL (and a problem): no memory, nothing changed. */
void *section_grow(void *array, size_t n, size_t size, struct section *s);
/* Each reads one setting of the section into its field where it is set, and reports what is wrong with it. */
void section_text(struct section *s, const char *name, const char *(*check)(const char *), char **field);
void section_list(struct section *s, const char *name, const char *(*check)(const char *), struct config_list *field);
void section_number(struct section *s, const char *name, int64_t min, int64_t max, int64_t *field);
void section_duration(struct section *s, const char *name, int64_t *field_us);
void section_switch(struct section *s, const char *name, bool *field);
void section_problem(struct section *s, const char *name, const char *wrong);
/* Owned by the caller; NULL: no memory, which is reported. */
char *section_copy(struct section *s, const char *text);
char *section_where(struct section *s); /* "file:line" */

void task_section_read(struct config_task *task, struct section *s); /* `task` is zero-filled */
void task_section_print(const struct config_task *task, struct buf *out);
void task_section_release(struct config_task *task);

#endif
