/* The tasks of test_many: which one the n-th is, what is submitted for it, and whether what was seen of it is its own.
 * Every value of every variable depends on n, so that whatever comes from another task, or from none, is found.
 * Thread: the test's only one. */
#ifndef SATCHEL_TESTS_MANY_H
#define SATCHEL_TESTS_MANY_H

#include <jansson.h>
#include <stdbool.h>

enum report { /* where the variables are told */
              REPORT_JSON,
              REPORT_ENVIRONMENT,
              REPORT_HEAD,
              REPORT_NONE /* it is canceled */
};

struct many_kind {
    const char *name;
    const char *members; /* of the submission */
    unsigned percent;
    enum report report;
    bool masked;       /* secrets are */
    bool has_child;    /* the report is that of a sub-task */
    unsigned attempts; /* that it takes; 0: nobody knows, it is canceled */
};
extern const struct many_kind many_kinds[];
extern const size_t n_many_kinds;

const struct many_kind *many_kind_of(unsigned n);
unsigned many_tenants(unsigned total); /* how many there are */

/* The request that submits it, malloced. */
char *many_request(unsigned n, unsigned tenants);
/* "X-Tenant-ID: ...\r\n" */
void many_tenant_line(unsigned n, unsigned tenants, char out[64]);
/* The id of the sub-task that a finished task made; NULL: its result is something else. */
const char *many_child(const json_t *task);
/* How many variables of the task object, and of its handler's report where it has one, are not those of task n.  Says
 * which on standard error, of the first few. */
unsigned many_mismatches(unsigned n, unsigned tenants, const json_t *task, bool with_report);

#endif
