/* The daemon's own threads: loops, engine, reader, exporter, workers, guards.
 *
 * Each begins in an empty context, whatever its creator's is, and is looked at from inside: when it begins, when it
 * ends, and wherever its work rests.  What is found there belongs to no task any more; it is logged, counted and
 * removed.  Threads that a handler starts are the handler's: those carry its context (satchel_thread_create).
 * Thread: any. */
#ifndef SATCHEL_BASE_THREAD_H
#define SATCHEL_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define THREAD_NAME_MAX 15u /* characters: what the kernel keeps */

/* 0 or -errno.  The name is copied, and cut. */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg);
/* Where the calling thread is between two pieces of work: true if it has no context.  Costs a few nanoseconds. */
bool thread_check(void);
/* How often one was found; since the start of the process. */
uint64_t thread_violations(void);

#endif
