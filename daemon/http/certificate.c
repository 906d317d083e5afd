/* Who a verified certificate says its owner is: the names that an issuer vouches for, as texts with their kind.
 * What could be read in two ways is left out: names with control characters or a NUL inside, a second common name. */
#include "http/certificate.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64, NAME_MAX_LEN = 1024 };

void certificate_free(struct http_certificate *certificate)
{
    if (!certificate)
        return;
    for (size_t i = 0; i < certificate->n_names; i++)
        free(certificate->names[i]);
    free(certificate->names);
    free(certificate);
}

static bool is_plain(const unsigned char *data, int len, bool ascii_alone)
{
    for (int i = 0; i < len; i++)
        if (data[i] < 0x20 || data[i] == 0x7f || (ascii_alone && (data[i] > 0x7e || data[i] == ' ')))
            return false;
    return len > 0 && len <= NAME_MAX_LEN;
}

static bool add(struct http_certificate *certificate, const char *kind, const unsigned char *data, int len)
{
    if (certificate->n_names == NAMES_MAX)
        return true;
    size_t kind_len = strlen(kind);
    char *name = malloc(kind_len + (size_t)len + 1);
    if (!name)
        return false;
    memcpy(name, kind, kind_len);
    memcpy(name + kind_len, data, (size_t)len);
    name[kind_len + (size_t)len] = '\0';
    certificate->names[certificate->n_names++] = name;
    return true;
}

static bool add_alternatives(struct http_certificate *certificate, const X509 *x509)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    bool good = true;
    for (int i = 0; good && i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        const char *kind = type == GEN_DNS ? "DNS:" : type == GEN_URI ? "URI:" : type == GEN_EMAIL ? "email:" : NULL;
        if (kind && is_plain(ASN1_STRING_get0_data(text), ASN1_STRING_length(text), true))
            good = add(certificate, kind, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
    }
    GENERAL_NAMES_free(names);
    return good;
}

static bool add_common_name(struct http_certificate *certificate, const X509 *x509)
{
    const X509_NAME *subject = X509_get_subject_name(x509);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return true;
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool good = len < 0 || !is_plain(text, len, false) || add(certificate, "CN:", text, len);
    OPENSSL_free(text);
    return good;
}

int certificate_read(const X509 *x509, struct http_certificate **ret)
{
    struct http_certificate *certificate = calloc(1, sizeof *certificate);
    if (certificate)
        certificate->names = calloc(NAMES_MAX, sizeof *certificate->names);
    if (!certificate || !certificate->names || !add_alternatives(certificate, x509) ||
        !add_common_name(certificate, x509)) {
        certificate_free(certificate);
        return -ENOMEM;
    }
    *ret = certificate;
    return 0;
}
