/* What a handler or a command hands back, made fit for an answer.  Knows no attempt.  Thread: any. */
#ifndef SATCHEL_EXECUTOR_RESULT_H
#define SATCHEL_EXECUTOR_RESULT_H

#include "proto/buf.h"

/* Strict JSON (no duplicate names, no NUL, at most max_depth levels) without its insignificant blanks, every digit
 * kept; false: `text` is none, and nothing was appended.  The caller checks buf_ok. */
bool result_from_json(struct slice text, int max_depth, struct buf *out);
/* The same, and any other text as a JSON string. */
void result_from_text(struct slice text, int max_depth, struct buf *out);
/* Any text as a JSON string: U+FFFD for what is not UTF-8, and for NUL. */
void result_from_string(struct slice text, struct buf *out);
/* The text with U+FFFD for each byte that is not UTF-8, and a blank for each control character. */
void result_clean_utf8(struct slice text, struct buf *out);

#endif
