/* What the numbers mean.  Thread: any. */
#include <stdlib.h>

#include "proto/context/internal.h"

const char *satchel_strerror(int status)
{
    switch (status) {
    case SATCHEL_OK: return "success";
    case SATCHEL_UNSET: return "nothing is bound";
    case SATCHEL_ENOMEM: return "out of memory";
    case SATCHEL_EINVAL: return "invalid argument";
    case SATCHEL_EENTERED: return "the context is entered already";
    case SATCHEL_ENOTCURRENT: return "the context is not this thread's current one";
    case SATCHEL_EUSED: return "the token has been used already";
    case SATCHEL_EVAR: return "the token came from another variable";
    case SATCHEL_ECONTEXT: return "the token came from another context";
    case SATCHEL_EGRAMMAR: return "the text does not follow its grammar";
    case SATCHEL_ELIMIT: return "the text is longer than the limit";
    case SATCHEL_EEXIST: return "another variable has that wire name already";
    default: return "unknown status";
    }
}

void satchel_free(void *block)
{
    free(block);
}
