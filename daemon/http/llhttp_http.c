/* Compiles llhttp's http.c from where the system keeps it (LLHTTP_SOURCE); built without our warnings, alone in
 * libsatllhttp.  Called through daemon/http/parser.c. */
#include <http.c>
