/* PEM files to certificates, keys and revocation lists.  Called by tls.c.
 * Files are read whole and once, with a bound; a key's bytes are overwritten afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http/tls_internal.h"

#define FILE_MAX ((size_t)1 << 20)

struct content {
    char *data;
    size_t len;
};

static void release(struct content *content)
{
    if (content->data)
        OPENSSL_cleanse(content->data, content->len);
    free(content->data);
}

/* 0 or errno. */
static int read_all(int fd, struct content *content)
{
    content->data = malloc(FILE_MAX + 1);
    if (!content->data)
        return ENOMEM;
    while (content->len <= FILE_MAX) {
        ssize_t n = read(fd, content->data + content->len, FILE_MAX + 1 - content->len);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno;
        content->len += n < 0 ? 0 : (size_t)n;
    }
    return EFBIG;
}

static bool load(struct tls_faults *faults, const struct tls_setting *setting, const char *name, bool secret,
                 struct content *ret)
{
    struct content content = {0};
    struct stat at = {0};
    int fd = open(setting->value, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO shall not hold us */
    int err = fd < 0 || fstat(fd, &at) < 0 ? errno : S_ISREG(at.st_mode) ? 0 : EINVAL;
    if (!err)
        err = read_all(fd, &content);
    if (fd >= 0)
        (void)close(fd);
    if (err == EINVAL)
        tls_fault(faults, setting, name, "is not a regular file");
    else if (err)
        tls_fault(faults, setting, name, "cannot be read: %s", strerror(err));
    else if (secret && at.st_mode & (S_IRWXO))
        tls_fault(faults, setting, name, "can be read by every user (mode %04o); make it 0600, or 0640 for its group",
                  (unsigned)at.st_mode & 07777);
    else {
        *ret = content;
        return true;
    }
    release(&content);
    return false;
}

/* Never asks a terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing;
    *(bool *)arg = true;
    return -1;
}

/* The end of the file, rather than something that cannot be read? */
static bool at_end(void)
{
    unsigned long error = ERR_peek_last_error();
    bool end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    if (end)
        ERR_clear_error();
    return end;
}

/* Whatever the file holds in PEM; NULL and a fault: it cannot be read. */
static STACK_OF(X509_INFO) * read_pem(struct tls_faults *faults, const struct tls_setting *setting, const char *name)
{
    struct content content;
    bool encrypted = false;
    if (!load(faults, setting, name, false, &content))
        return NULL;
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(content.data, (int)content.len);
    STACK_OF(X509_INFO) *all = bio ? PEM_X509_INFO_read_bio(bio, NULL, no_passphrase, &encrypted) : NULL;
    if (!all)
        tls_fault(faults, setting, name, "cannot be read as PEM: %s", tls_error_text());
    ERR_clear_error();
    BIO_free(bio);
    release(&content);
    return all;
}

STACK_OF(X509) * tls_read_certificates(struct tls_faults *faults, const struct tls_setting *setting, const char *name)
{
    STACK_OF(X509_INFO) *all = read_pem(faults, setting, name);
    STACK_OF(X509) *certificates = all ? sk_X509_new_null() : NULL;
    for (int i = 0; i < sk_X509_INFO_num(all); i++) {
        X509_INFO *one = sk_X509_INFO_value(all, i);
        if (one->x509 && sk_X509_push(certificates, one->x509) > 0)
            one->x509 = NULL;
    }
    if (all && sk_X509_num(certificates) <= 0) {
        tls_fault(faults, setting, name, "holds no certificate in PEM");
        sk_X509_free(certificates);
        certificates = NULL;
    }
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    return certificates;
}

EVP_PKEY *tls_read_key(struct tls_faults *faults, const struct tls_setting *setting, const char *name)
{
    struct content content;
    if (!load(faults, setting, name, true, &content))
        return NULL;
    ERR_clear_error();
    bool encrypted = false;
    BIO *bio = BIO_new_mem_buf(content.data, (int)content.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted) : NULL;
    if (!key && encrypted)
        tls_fault(faults, setting, name,
                  "is encrypted with a passphrase, which nobody is there to type; keep it unencrypted, for the "
                  "daemon's user alone");
    else if (!key && at_end())
        tls_fault(faults, setting, name, "holds no private key in PEM");
    else if (!key)
        tls_fault(faults, setting, name, "holds no private key that can be read: %s", tls_error_text());
    ERR_clear_error();
    BIO_free(bio);
    release(&content);
    return key;
}

STACK_OF(X509_CRL) * tls_read_crls(struct tls_faults *faults, const struct tls_setting *setting, const char *name)
{
    STACK_OF(X509_INFO) *all = read_pem(faults, setting, name);
    STACK_OF(X509_CRL) *lists = all ? sk_X509_CRL_new_null() : NULL;
    for (int i = 0; i < sk_X509_INFO_num(all); i++) {
        X509_INFO *one = sk_X509_INFO_value(all, i);
        if (one->crl && sk_X509_CRL_push(lists, one->crl) > 0)
            one->crl = NULL;
    }
    if (all && sk_X509_CRL_num(lists) <= 0) {
        tls_fault(faults, setting, name, "holds no revocation list (X509 CRL) in PEM");
        sk_X509_CRL_free(lists);
        lists = NULL;
    }
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    return lists;
}

int64_t tls_seconds(const ASN1_TIME *time)
{
    struct tm parts = {0};
    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : -1;
}
