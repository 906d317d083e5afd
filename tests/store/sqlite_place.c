#include "tests/store/sqlite_place.h"

#include <unistd.h>

void sqlite_place_file(const struct place *place, const char *suffix, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s/satchel.db%s", place->folder, suffix);
}

static void make(struct place *place)
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(place->folder, sizeof place->folder, "%s/satchel-store-XXXXXX", base && *base ? base : "/tmp");
    if (n < 0 || (size_t)n >= sizeof place->folder)
        (void)snprintf(place->folder, sizeof place->folder, "/tmp/satchel-store-XXXXXX");
    if (!mkdtemp(place->folder))
        fail_msg("mkdtemp %s failed", place->folder);
    (void)snprintf(place->url, sizeof place->url, "sqlite:%s/satchel.db", place->folder);
}

static void drop(struct place *place)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char file[160];
        sqlite_place_file(place, suffixes[i], file, sizeof file);
        (void)unlink(file);
    }
    if (rmdir(place->folder) < 0)
        fail_msg("%s was not left empty", place->folder);
}

const struct store_factory sqlite_factory = {"sqlite", make, drop};
