#include "task/inherit.h"

#include <string.h>

#include "proto/json_out.h"

struct inheritance {
    struct json_out j;
    char origin[sizeof "inherited:" + TASK_ID_TEXT_SIZE];
};

static int write_origin(satchel_var *var, void *data, void *arg)
{
    struct inheritance *w = arg;
    (void)data;
    if (satchel_var_flags(var) & SATCHEL_VAR_WIRE)
        json_out_member(&w->j, satchel_var_name(var), slice_str(w->origin));
    return 0;
}

void inherit_origins(const satchel_context *context, struct task_id from, struct buf *out)
{
    struct inheritance w = {.j = json_out_to(out), .origin = "inherited:"};
    task_id_format(from, w.origin + strlen(w.origin));
    json_out_begin_object(&w.j);
    if (context)
        (void)satchel_context_each(context, write_origin, &w);
    json_out_end_object(&w.j);
}
