#include "task/started.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "satchel started 2"
#define BOOT_ID_SIZE 40
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

struct header {
    char magic[24];
    char boot_id[BOOT_ID_SIZE]; /* written last: an unfinished header belongs to no boot */
};

struct file {
    struct header header;
    struct started_mark marks[];
};

struct started {
    struct file *file;
    size_t size;
    unsigned n, n_used; /* marks; those that were ever taken */
    struct started_mark *first_free;
    bool known; /* what the earlier process left can be believed */
    unsigned n_found;
    struct started_mark *found;
};

static void read_boot_id(char out[BOOT_ID_SIZE])
{
    memset(out, 0, BOOT_ID_SIZE);
    int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, out, BOOT_ID_SIZE - 1) < 0)
        out[0] = '\0';
    (void)close(fd);
}

/* Copies what had started out of the file, if it is of this boot. */
static int read_found(struct started *started, size_t old_size)
{
    char boot_id[BOOT_ID_SIZE];
    read_boot_id(boot_id);
    const struct header *header = &started->file->header;
    started->known = old_size >= sizeof *header && memcmp(header->magic, MAGIC, sizeof MAGIC) == 0 && boot_id[0] &&
                     memcmp(header->boot_id, boot_id, BOOT_ID_SIZE) == 0;
    if (!started->known)
        return 0;
    size_t n = (old_size - sizeof *header) / sizeof(struct started_mark);
    started->found = calloc(n + 1, sizeof *started->found);
    if (!started->found)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (atomic_load_explicit(&started->file->marks[i].attempt, memory_order_relaxed))
            started->found[started->n_found++] = started->file->marks[i];
    return 0;
}

static int map_file(struct started *started, int fd, size_t *ret_old_size)
{
    struct stat info;
    if (fstat(fd, &info) < 0)
        return -errno;
    *ret_old_size = (size_t)info.st_size;
    size_t need = sizeof(struct header) + started->n * sizeof(struct started_mark);
    started->size = need > *ret_old_size ? need : *ret_old_size;
    /* Allocated, not only grown: a store into a hole of a full disk would be a SIGBUS. */
    int err = posix_fallocate(fd, 0, (off_t)started->size);
    if (err)
        return -err;
    void *at = mmap(NULL, started->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    started->file = at;
    return 0;
}

int started_open(const char *path, unsigned n, struct started **ret)
{
    struct started *started = calloc(1, sizeof *started);
    if (!started)
        return -ENOMEM;
    started->n = n;
    size_t old_size = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int err = fd < 0 ? -errno : map_file(started, fd, &old_size);
    if (fd >= 0)
        (void)close(fd);
    if (!err)
        err = read_found(started, old_size);
    if (err) {
        started_close(started);
        return err;
    }
    *ret = started;
    return 0;
}

bool started_before(const struct started *started, struct task_id id, uint32_t attempt)
{
    if (!started->known)
        return true;
    for (unsigned i = 0; i < started->n_found; i++) {
        const struct started_mark *mark = &started->found[i];
        if (mark->hi == id.hi && mark->lo == id.lo &&
            atomic_load_explicit(&mark->attempt, memory_order_relaxed) == attempt)
            return true;
    }
    return false;
}

const struct started_mark *started_found(const struct started *started, unsigned *ret_n)
{
    *ret_n = started->n_found;
    return started->found;
}

void started_begin(struct started *started)
{
    struct header *header = &started->file->header;
    char boot_id[BOOT_ID_SIZE];
    read_boot_id(boot_id);
    memset(started->file, 0, started->size);
    memcpy(header->magic, MAGIC, sizeof MAGIC);
    memcpy(header->boot_id, boot_id, BOOT_ID_SIZE);
    started->first_free = NULL;
    started->n_used = 0;
    (void)madvise(started->file, started->size, MADV_DONTNEED); /* the file has it: no memory before it is used */
    free(started->found);
    started->found = NULL;
    started->n_found = 0;
}

struct started_mark *started_take(struct started *started)
{
    struct started_mark *mark = started->first_free;
    if (mark)
        started->first_free = mark->next_free;
    else if (started->n_used < started->n)
        mark = &started->file->marks[started->n_used++];
    return mark;
}

void started_give(struct started *started, struct started_mark *mark)
{
    if (!mark)
        return;
    atomic_store_explicit(&mark->attempt, 0, memory_order_release);
    mark->next_free = started->first_free;
    started->first_free = mark;
}

void started_close(struct started *started)
{
    if (!started)
        return;
    if (started->file)
        (void)munmap(started->file, started->size);
    free(started->found);
    free(started);
}
