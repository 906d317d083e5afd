/* Every file that SQLite opens is wrapped: [struct file][the real file].  All calls go through; only xWrite and
 * xSync look twice.  Memory-mapped reads are not offered (version 2 of the methods): an I/O error would be a
 * signal instead of a result.
 *
 * SQLite writes each frame of the log as two pieces, a header and a page.  They follow each other, so they are gathered
 * and written as one when the log is synced, which is before anybody may look at them: with synchronous=FULL a commit
 * syncs the log first and publishes its frames (in the shared index) after that.  Whatever else looks at the file
 * through this handle finds what was gathered written first.
 * Called by SQLite on the thread that uses the connection. */
#include "store/sqlite_vfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_MAX (120 * 1024) /* SQLite writes less than 128 KiB in one call */

struct file {
    sqlite3_file base;
    struct sqlite_vfs *vfs;
    bool is_wal;
    char *gathered; /* of the log: not yet written; NULL until the first write */
    int gathered_len;
    sqlite3_int64 gathered_at;
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return (sqlite3_file *)((struct file *)file + 1);
}

static int injected(sqlite3_file *file, enum sqlite_disk_op op)
{
    const struct file *f = (struct file *)file;
    const struct sqlite_faults *faults = &f->vfs->faults;
    return faults->fault ? faults->fault(faults->arg, op, f->is_wal) : SQLITE_OK;
}

/* SQLite knows ENOSPC as "full"; a quota and a limit on a file's size are the same to us: it may work later. */
static int full_or(int rc, int number)
{
    return number == ENOSPC || number == EDQUOT || number == EFBIG ? SQLITE_FULL : rc;
}

static int write_through(sqlite3_file *file, const void *from, int n, sqlite3_int64 at)
{
    errno = 0;
    int rc = real_of(file)->pMethods->xWrite(real_of(file), from, n, at);
    return rc == SQLITE_IOERR_WRITE ? full_or(rc, errno) : rc;
}

/* Where it fails, SQLite takes the transaction back and writes other frames to the same place. */
static int flush(sqlite3_file *file)
{
    struct file *f = (struct file *)file;
    int n = f->gathered_len;
    f->gathered_len = 0;
    return n ? write_through(file, f->gathered, n, f->gathered_at) : SQLITE_OK;
}

/* False: it does not go on where the last one ended, or there is no room. */
static bool gather(struct file *f, const void *from, int n, sqlite3_int64 at)
{
    if (!f->gathered && !(f->gathered = malloc(GATHER_MAX)))
        return false;
    if (f->gathered_len == 0)
        f->gathered_at = at;
    if (f->gathered_at + f->gathered_len != at || n > GATHER_MAX - f->gathered_len)
        return false;
    memcpy(f->gathered + f->gathered_len, from, (size_t)n);
    f->gathered_len += n;
    return true;
}

static int on_close(sqlite3_file *file)
{
    (void)flush(file); /* of a transaction that was never committed */
    free(((struct file *)file)->gathered);
    ((struct file *)file)->gathered = NULL;
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int on_read(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
    int rc = flush(file);
    if (rc)
        return rc;
    return real_of(file)->pMethods->xRead(real_of(file), to, n, at);
}

static int on_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 at)
{
    int rc = injected(file, SQLITE_DISK_WRITE);
    struct file *f = (struct file *)file;
    if (rc || (f->is_wal && gather(f, from, n, at)))
        return rc;
    rc = flush(file);
    if (rc || (f->is_wal && gather(f, from, n, at)))
        return rc;
    return write_through(file, from, n, at);
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = flush(file);
    if (rc)
        return rc;
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int on_sync(sqlite3_file *file, int flags)
{
    int rc = injected(file, SQLITE_DISK_SYNC);
    if (!rc)
        rc = flush(file);
    if (rc)
        return rc;
    atomic_fetch_add_explicit(&((struct file *)file)->vfs->syncs, 1, memory_order_relaxed);
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int on_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int rc = flush(file);
    if (rc)
        return rc;
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int on_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int on_check_lock(sqlite3_file *file, int *reserved)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), reserved);
}

static int on_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int on_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int on_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int on_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    errno = 0;
    int rc = real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, ret);
    return rc == SQLITE_IOERR_SHMSIZE ? full_or(rc, errno) : rc;
}

static int on_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void on_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int on_shm_unmap(sqlite3_file *file, int delete_flag)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), delete_flag);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *base, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct sqlite_vfs *vfs = (struct sqlite_vfs *)base;
    struct file *f = (struct file *)file;
    f->base.pMethods = NULL;
    f->vfs = vfs;
    f->is_wal = flags & SQLITE_OPEN_WAL;
    f->gathered = NULL;
    f->gathered_len = 0;
    int rc = vfs->real->xOpen(vfs->real, name, real_of(file), flags, ret_flags);
    if (real_of(file)->pMethods) /* set also where opening failed: then it wants to be closed */
        f->base.pMethods = &methods;
    return rc;
}

static int on_delete(sqlite3_vfs *base, const char *name, int sync_dir)
{
    struct sqlite_vfs *vfs = (struct sqlite_vfs *)base;
    return vfs->real->xDelete(vfs->real, name, sync_dir);
}

static int on_access(sqlite3_vfs *base, const char *name, int flags, int *ret)
{
    struct sqlite_vfs *vfs = (struct sqlite_vfs *)base;
    return vfs->real->xAccess(vfs->real, name, flags, ret);
}

static int on_full_path(sqlite3_vfs *base, const char *name, int size, char *ret)
{
    struct sqlite_vfs *vfs = (struct sqlite_vfs *)base;
    return vfs->real->xFullPathname(vfs->real, name, size, ret);
}

static int on_last_error(sqlite3_vfs *base, int size, char *ret)
{
    struct sqlite_vfs *vfs = (struct sqlite_vfs *)base;
    return vfs->real->xGetLastError(vfs->real, size, ret);
}

int sqlite_vfs_init(struct sqlite_vfs *vfs, const struct sqlite_faults *faults)
{
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    if (!real)
        return -1;
    vfs->real = real;
    vfs->vfs = *real; /* what has nothing to do with files (randomness, sleep, time) is the real one's */
    (void)snprintf(vfs->name, sizeof vfs->name, "satchel-%p", (void *)vfs);
    vfs->vfs.zName = vfs->name;
    vfs->vfs.pNext = NULL;
    vfs->vfs.szOsFile = (int)sizeof(struct file) + real->szOsFile;
    vfs->vfs.xOpen = on_open;
    vfs->vfs.xDelete = on_delete;
    vfs->vfs.xAccess = on_access;
    vfs->vfs.xFullPathname = on_full_path;
    vfs->vfs.xGetLastError = on_last_error;
    atomic_init(&vfs->syncs, 0);
    vfs->faults = faults ? *faults : (struct sqlite_faults){0};
    if (sqlite3_vfs_register(&vfs->vfs, 0) != SQLITE_OK) {
        vfs->real = NULL;
        return -1;
    }
    return 0;
}

void sqlite_vfs_release(struct sqlite_vfs *vfs)
{
    if (vfs->real)
        (void)sqlite3_vfs_unregister(&vfs->vfs);
    vfs->real = NULL;
}
