/* A batch taken apart: the same submissions however its bytes come in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/batch_split.h"

static const char *const names[] = {"more", "item", "long", "over", "broken"};

static void note(struct buf *out, enum batch_piece piece, struct slice text)
{
    if (piece == BATCH_OVER)
        return;
    buf_append_str(out, names[piece]);
    if (piece == BATCH_ITEM) {
        buf_append_char(out, ' ');
        buf_append_slice(out, text);
    }
    buf_append_char(out, '\n');
}

/* What is found in `text`, in pieces of `size` bytes (0: in random ones). */
static void split(bool is_array, size_t max, const char *text, size_t size, struct buf *out)
{
    struct batch_split s = {.is_array = is_array, .max = max};
    struct slice item;
    enum batch_piece piece = BATCH_MORE;
    size_t len = strlen(text), n;
    for (size_t at = 0; at < len && piece != BATCH_BROKEN; at += n) {
        n = size ? size : 1 + (size_t)rand() % 7;
        n = n < len - at ? n : len - at;
        char *copy = malloc(n); /* so that reading beyond a piece is seen */
        memcpy(copy, text + at, n);
        struct slice bytes = slice_of(copy, n);
        while ((piece = batch_split_next(&s, &bytes, &item)) != BATCH_MORE) {
            note(out, piece, item);
            if (piece == BATCH_BROKEN)
                break;
        }
        free(copy);
    }
    if (piece != BATCH_BROKEN)
        note(out, batch_split_end(&s, &item), item);
    if (s.fault)
        buf_append_str(out, s.fault);
    batch_split_release(&s);
}

static void check(bool is_array, size_t max, const char *text, const char *expected)
{
    for (size_t size = 0; size < 40; size++) {
        struct buf out = BUF_INIT;
        split(is_array, max, text, size, &out);
        if (strcmp(out.len ? out.data : "", expected) != 0)
            fail_msg("\"%s\" in pieces of %zu: %s", text, size, out.data);
        buf_release(&out);
    }
}

static void test_lines(void **state)
{
    (void)state;
    check(false, 100, "", "");
    check(false, 100, "\n\r\n  \n\t", "");
    check(false, 100, "{\"a\":1}\n{\"b\":2}\r\n\n  {\"c\":3}  ", "item {\"a\":1}\nitem {\"b\":2}\nitem {\"c\":3}\n");
    check(false, 100, "x\n]\n", "item x\nitem ]\n");
}

static void test_long_lines(void **state)
{
    (void)state;
    check(false, 5, "12345\n123456\n1\n", "item 12345\nlong\nitem 1\n");
    check(false, 5, "12345\r\n1234567890123456789012345678901234567890\n12", "item 12345\nlong\nitem 12\n");
    check(false, 5, "1234567890", "long\n");
}

static void test_arrays(void **state)
{
    (void)state;
    check(true, 100, "[]", "");
    check(true, 100, " \n [ \t] \r\n", "");
    check(true, 100, "[{\"a\":[1,2]},{\"b\":\"],\\\"[{\"}]", "item {\"a\":[1,2]}\nitem {\"b\":\"],\\\"[{\"}\n");
    check(true, 100, "[ 1 , \"a,\\\\\" , [[],[]] ]", "item 1\nitem \"a,\\\\\"\nitem [[],[]]\n");
    check(true, 100, "[1,]", "item 1\nitem \n");
    check(true, 100, "[{} {}]", "item {} {}\n");
    check(true, 100, "[}]", "item }\n");
}

static void test_long_elements(void **state)
{
    (void)state;
    check(true, 4, "[\"1234567\",[1,2],12]", "long\nlong\nitem 12\n");
    check(true, 4, "[\"1,]]]]]\",1]", "long\nitem 1\n");
}

static void test_broken_arrays(void **state)
{
    (void)state;
    check(true, 100, "", "broken\nthe array is not closed");
    check(true, 100, "{}", "broken\nthe body is not a JSON array");
    check(true, 100, "x[]", "broken\nthe body is not a JSON array");
    check(true, 100, "[1", "broken\nthe array is not closed");
    check(true, 100, "[1,2", "item 1\nbroken\nthe array is not closed");
    check(true, 100, "[1] x", "item 1\nbroken\nsomething follows the array");
    check(true, 100, "[][]", "broken\nsomething follows the array");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),         cmocka_unit_test(test_long_lines),    cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_long_elements), cmocka_unit_test(test_broken_arrays),
    };
    return cmocka_run_group_tests_name("batch: its parts", tests, NULL, NULL);
}
