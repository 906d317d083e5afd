/* TLS from outside: certificates made at run time, and a client that says how each step went.
 * Thread: the test's only one; whatever goes wrong here fails the test, but what the functions say otherwise. */
#ifndef SATCHEL_TESTS_TLS_H
#define SATCHEL_TESTS_TLS_H

#include <openssl/ssl.h>

#include "tests/support/client.h"

/* DIR/NAME.pem and DIR/NAME.key (0600); made by ISSUER of the same directory, or by itself where that is NULL. */
struct certificate {
    const char *dir, *name, *issuer;
    const char *common_name;  /* NULL: name */
    const char *alternatives; /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    const char *usage;        /* "clientAuth"; NULL: none said */
    long from_s, until_s;     /* from now; both 0: an hour before until a day after */
    bool is_ca, rsa, legacy;  /* legacy: RSA with 1,024 bits */
};
void make_certificate(const struct certificate *wanted);
/* The usual ones: ca, server (localhost, 127.0.0.1), client (CN deploy, URI spiffe://example/deploy), other-ca and
 * stranger (of other-ca). */
void make_certificates(const char *dir);
/* DIR/NAME.crl by ISSUER, with REVOKED on it. */
void make_revocations(const char *dir, const char *name, const char *issuer, const char *revoked);

struct tls_wish {
    const char *dir;
    const char *ca;        /* whom to trust: of that name; NULL: anybody */
    const char *own;       /* the client's certificate; NULL: none */
    const char *protocols; /* of ALPN, as on the wire; NULL: none */
    int max_version;       /* 0: any */
    bool weak;             /* offers what is no longer thought safe, too */
};

struct tls_link {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    char error[256]; /* what the last step failed with */
};

/* The port of the daemon's first TLS address. */
int satcheld_tls_port(const struct satcheld *d);
int tls_connect(int port); /* TCP alone */
/* Connects and shakes hands.  False: `error` says why. */
bool tls_open(struct tls_link *link, int port, const struct tls_wish *wish);
bool tls_open_on(struct tls_link *link, int fd, const struct tls_wish *wish); /* the descriptor becomes the link's */
void tls_close(struct tls_link *link);
bool tls_write(struct tls_link *link, const void *data, size_t len); /* all of it */
/* At least one byte, within WAIT_MS; 0: the end in order (close-notify); -1: `error`. */
long tls_read(struct tls_link *link, void *data, size_t len);
/* One answer (Content-Length or chunked, both kept as they come) into `text`, malloced; its status, or -1. */
int tls_answer(struct tls_link *link, char **ret_text);
/* The whole: a request on a connection of its own.  -1: none was answered, and `error` (256 bytes) says why. */
int tls_ask(int port, const struct tls_wish *wish, const char *method, const char *target, const char *headers,
            const char *body, char **ret_text, char *error);

#endif
