/* The table of routes: dispatch, 405 with Allow and the check of openapi.json are made from it.
 * Thread: any; constant. */
#ifndef SATCHEL_API_ROUTES_H
#define SATCHEL_API_ROUTES_H

#include "http/http.h"

struct visit;

enum route_needs {
    ROUTE_TENANT = 1u << 0,  /* belongs to a tenant: for a token that allows to read (GET) or submit (the others) */
    ROUTE_JSON = 1u << 1,    /* has a JSON body; the others' bodies have no meaning */
    ROUTE_OPEN = 1u << 2,    /* for everybody; what is neither this nor of a tenant is for administrators alone */
    ROUTE_METRICS = 1u << 3, /* for everybody where the configuration says so */
    ROUTE_ALL = 1u << 4,     /* an administrator may ask for all tenants at once */
    ROUTE_STREAM = 1u << 5   /* its body is taken piece by piece: it is handled at the head */
};

struct route {
    enum http_method method; /* GET serves HEAD as well */
    const char *method_name;
    const char *pattern;   /* {id}: one or more characters up to the next '/' or ':' */
    const char *operation; /* operationId in openapi.json */
    unsigned needs;        /* enum route_needs */
    void (*handle)(struct visit *visit);
};

#define ROUTE_PATH_MAX 256u

struct route_match {
    const struct route *route; /* NULL: see what route_find returned */
    struct slice id;           /* what {id} stands for; into path */
    char path[ROUTE_PATH_MAX];
};

enum route_result {
    ROUTE_FOUND,
    ROUTE_OTHER_METHOD, /* there is something at this path, for other methods */
    ROUTE_NOWHERE,
    ROUTE_BROKEN /* the path's percent-encoding is not valid */
};

const struct route *route_at(size_t index);
bool route_is(const void *pointer); /* one of them */ /* NULL: past the end */
enum route_result route_find(enum http_method method, struct slice path, struct route_match *ret);
/* The methods that a path has, "GET, HEAD, POST, OPTIONS"; path "*": all that there are. */
#define ROUTE_ALLOW_SIZE 64u
void route_allow(struct slice path, char out[ROUTE_ALLOW_SIZE]);

#endif
