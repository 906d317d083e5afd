/* The seam between SQLite and the disk: a thin layer over SQLite's own file system that counts what reaches the
 * disk for good (every fsync) and lets a test make a write or an fsync fail.
 * Thread: registered and unregistered by the store's owner; the count may be read from any thread. */
#ifndef SATCHEL_STORE_SQLITE_VFS_H
#define SATCHEL_STORE_SQLITE_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum sqlite_disk_op { SQLITE_DISK_WRITE, SQLITE_DISK_SYNC };

/* Asked before each write and fsync; what is not SQLITE_OK is returned to SQLite instead of doing it. */
struct sqlite_faults {
    int (*fault)(void *arg, enum sqlite_disk_op op, bool is_wal);
    void *arg;
};

struct sqlite_vfs {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    atomic_uint_fast64_t syncs;
    struct sqlite_faults faults;
    char name[40];
};

/* Registers it under a name of its own.  faults may be NULL.  0, or -1: SQLite has no file system. */
int sqlite_vfs_init(struct sqlite_vfs *vfs, const struct sqlite_faults *faults);
void sqlite_vfs_release(struct sqlite_vfs *vfs); /* after the last file was closed; zeroed is fine */

#endif
