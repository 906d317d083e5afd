/* A daemon with a plain address and a TLS one, and certificates for it: for the tests of TLS.
 * Thread: the test's only one; whatever is not as expected fails the test. */
#ifndef SATCHEL_TESTS_TLS_FIXTURE_H
#define SATCHEL_TESTS_TLS_FIXTURE_H

#include "tests/support/ask.h"
#include "tests/support/tls.h"

extern struct satcheld d;
extern char folder[];        /* the certificates' (make_certificates) */
extern struct tls_wish wish; /* the usual: trusts our authority, shows nothing */
extern int port;             /* of the TLS address */

int set_up(void **state);
int tear_down(void **state);

/* `more`: further lines of the tls section; `rest`: of the file. */
void configure(const char *more, const char *rest);
void start(const char *more, const char *rest);
void stop(void);
void reload(void); /* what is configured is taken up */
char *with_ca(const char *more); /* client_ca = ... and `more`; malloced */

/* A request over TLS that is answered with this status; its text, malloced. */
char *expect(const struct tls_wish *with, int status, const char *method, const char *target, const char *headers,
             const char *body);
void expect_no_answer(const struct tls_wish *with, const char *why);
void expect_served(const struct tls_wish *with);

#endif
