/* A place for a SQLite store: a folder of its own under TMPDIR. */
#ifndef SATCHEL_TESTS_STORE_SQLITE_PLACE_H
#define SATCHEL_TESTS_STORE_SQLITE_PLACE_H

#include "tests/store/suite.h"

extern const struct store_factory sqlite_factory;

void sqlite_place_file(const struct place *place, const char *suffix, char *ret, size_t size); /* "", "-wal", ... */

#endif
