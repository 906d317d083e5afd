/* The store's suite, run over SQLite. */
#include "tests/store/sqlite_place.h"

int main(void)
{
    int failed = store_suite_write(&sqlite_factory);
    failed += store_suite_purge(&sqlite_factory);
    failed += store_suite_read(&sqlite_factory);
    failed += store_suite_attempts(&sqlite_factory);
    failed += store_suite_ties(&sqlite_factory);
    return failed ? 1 : 0;
}
