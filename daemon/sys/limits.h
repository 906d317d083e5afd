/* The process's own limits.  Thread: main, before any other thread is started. */
#ifndef SATCHEL_SYS_LIMITS_H
#define SATCHEL_SYS_LIMITS_H

#include <stdint.h>

/* Raises the number of open files to what the system allows and returns it; -errno where that failed. */
int64_t limits_raise_files(void);
/* No core dumps, of the daemon and of its children: submissions may hold secrets.  Nor can another process of the same
 * user, a command among them, look into the daemon's memory or environment. */
void limits_forbid_core_dumps(void);

#endif
