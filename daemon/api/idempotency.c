/* Called by submit.c, batch.c and spawn.c. */
#include "api/idempotency.h"

#include <openssl/evp.h>

#include "api/fields.h"
#include "api/request_context.h"

static bool digest(const void *data, size_t len, unsigned char out[STORE_KEY_SIZE])
{
    return EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1;
}

bool idempotency_set(struct engine_call *call, struct slice tenant, struct slice key, struct slice body)
{
    char text[TENANT_MAX + 1 + IDEMPOTENCY_KEY_MAX];
    if (tenant.len > TENANT_MAX || key.len > IDEMPOTENCY_KEY_MAX)
        return false;
    memcpy(text, tenant.data, tenant.len);
    text[tenant.len] = '\0';
    memcpy(text + tenant.len + 1, key.data, key.len);
    call->has_key = digest(text, tenant.len + 1 + key.len, call->key) &&
                    digest(body.len ? body.data : "", body.len, call->fingerprint);
    return call->has_key;
}
