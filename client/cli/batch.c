/* satchel submit --batch: a file's lines, sent part by part, so that its length does not matter. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/buf.h"
#include "proto/json_in.h"

#define PART_LINES 500u
#define PART_BYTES ((size_t)4 << 20)
#define LINE_MAX_BYTES ((size_t)64 << 20)

struct lines {
    const struct common *common;
    FILE *in;
    struct buf part;
    size_t number; /* of the last line that was answered, the empty ones not counted */
    bool refused, failed;
};

static int on_answer(const char *json, size_t len, void *arg)
{
    struct lines *l = arg;
    char why[JSON_IN_ERROR_SIZE];
    json_t *answer = json_in_load(slice_of(json, len), 64, why);
    const char *id = json_string_value(json_object_get(answer, "id"));
    const char *state = json_string_value(json_object_get(answer, "state"));
    const char *detail = json_string_value(json_object_get(answer, "detail"));
    bool accepted = id && state && !detail;
    l->number++;
    l->refused = l->refused || !accepted;
    if (l->common->json) {
        l->failed = fwrite(json, 1, len, stdout) != len || putchar('\n') == EOF;
    } else if (accepted) {
        l->failed = printf("%s\n", id) < 0;
    } else {
        l->failed = printf("-\n") < 0; /* a line for each submission */
        complain(l->common, "submission %zu: %s", l->number, detail ? detail : "the answer cannot be read");
    }
    json_decref(answer);
    return l->failed;
}

/* Reads the next part.  False: there is nothing more, or *ret_code says what is wrong. */
static bool read_part(struct lines *l, int *ret_code)
{
    char piece[16384];
    unsigned n = 0;
    bool whole = true;
    buf_reset(&l->part);
    while (n < PART_LINES && (l->part.len < PART_BYTES || !whole) && fgets(piece, sizeof piece, l->in)) {
        size_t len = strlen(piece);
        buf_append(&l->part, piece, len);
        whole = len && piece[len - 1] == '\n';
        n += whole;
        if (!buf_ok(&l->part)) {
            complain(l->common, "a line of the batch is too long");
            *ret_code = EXIT_DATA;
            return false;
        }
    }
    if (ferror(l->in)) {
        complain(l->common, "the batch cannot be read: %s", strerror(errno));
        *ret_code = EXIT_DATA;
    }
    return !ferror(l->in) && l->part.len;
}

int submit_lines(const struct common *common, satchel_client *client, const char *path,
                 const satchel_submit_options *options)
{
    struct lines l = {.common = common, .in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re")};
    int code = 0;
    if (!l.in) {
        complain(common, "%s: %s", path, strerror(errno));
        return EXIT_DATA;
    }
    l.part.max = LINE_MAX_BYTES;
    while (code == 0 && read_part(&l, &code)) {
        satchel_error error = SATCHEL_ERROR_INIT;
        int status = satchel_submit_batch(client, l.part.data, l.part.len, options, on_answer, &l, &error);
        if (l.failed)
            code = EXIT_OUTPUT;
        else if (status != SATCHEL_OK)
            code = fail(common, &error);
    }
    if (l.in != stdin)
        (void)fclose(l.in);
    buf_release(&l.part);
    return code ? code : l.refused ? EXIT_DATA : 0;
}
