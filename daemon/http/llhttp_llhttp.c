/* Compiles llhttp's llhttp.c from where the system keeps it (LLHTTP_SOURCE); built without our warnings, alone in
 * libsatllhttp.  Called through daemon/http/parser.c. */
#include <llhttp.c>
