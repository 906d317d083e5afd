/* What the numbers mean.  Thread: any. */
#include <satchel/client.h>
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
    case SATCHEL_PENDING: return "the task is not finished yet";
    case SATCHEL_EUNREACHABLE: return "the daemon cannot be reached";
    case SATCHEL_EPROTOCOL: return "the answer is not satcheld's";
    case SATCHEL_EREFUSED: return "the daemon refused the request";
    case SATCHEL_EDENIED: return "the daemon does not allow it";
    case SATCHEL_ENOTFOUND: return "there is no such task";
    case SATCHEL_ECONFLICT: return "the task's state does not allow it";
    case SATCHEL_EAGAIN: return "the daemon cannot take it now";
    case SATCHEL_ESERVER: return "something is wrong inside the daemon";
    case SATCHEL_ETIMEDOUT: return "the time was over before the task was finished";
    case SATCHEL_ETASK: return "the task did not succeed";
    case SATCHEL_ECANCELED: return "the caller was canceled";
    default: return "unknown status";
    }
}

void satchel_free(void *block)
{
    free(block);
}
