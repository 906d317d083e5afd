/* TLS on a socket that does not block: OpenSSL's calls as the operations of a transport.
 *
 * Every call may find that it needs the socket in the other direction (handshake, key update); then it says so in the
 * transport's flags and the connection calls again when the socket is ready.  After a fatal error nothing may be
 * called any more but SSL_free: OpenSSL's own marks of an end are set for both directions then.
 * What OpenSSL 3.0 cannot do: answer a client that asks for new keys while a record of ours is half out.  That ends the
 * connection; clients ask for new keys after hundreds of gigabytes.
 * OpenSSL writes with write(2): the process ignores SIGPIPE (sys/signals.c). */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/certificate.h"
#include "http/tls_internal.h"
#include "http/transport.h"

enum { RECORD_HANDSHAKE = 22 }; /* the first byte of every TLS connection */

static _Thread_local const char *failure = "";
static _Thread_local bool distrusted;

const char *transport_failure(void)
{
    return failure;
}

static bool is_shut(const struct transport *t)
{
    return SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN;
}

bool transport_distrusted(void)
{
    return distrusted;
}

/* What a call's failure means.  `other_way`: the flag for "wants the opposite direction". */
static int result_of(struct transport *t, int returned, int own_want, bool *other_way)
{
    int err = errno, why = SSL_get_error(t->ssl, returned);
    if (why == own_want)
        return -EAGAIN;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        *other_way = true;
        return -EAGAIN;
    }
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    long verified = SSL_get_verify_result(t->ssl);
    unsigned long reason = ERR_peek_last_error();
    distrusted = verified != X509_V_OK || (reason && ERR_GET_LIB(reason) == ERR_LIB_SSL &&
                                           ERR_GET_REASON(reason) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
    failure = why == SSL_ERROR_SYSCALL ? "the connection was cut off"
              : verified == X509_V_OK  ? tls_error_text()
                                       : X509_verify_cert_error_string(verified);
    ERR_clear_error();
    SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    return why == SSL_ERROR_SYSCALL ? (err ? -err : -ECONNRESET) : -EPROTO;
}

static void become_plain(struct transport *t)
{
    SSL_free(t->ssl);
    *t = (struct transport){.ops = &transport_plain, .fd = t->fd};
}

/* 0: go on; else what `receive` returns. */
static ssize_t look_at_first_byte(struct transport *t)
{
    unsigned char first;
    ssize_t n;
    do {
        n = recv(t->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ECONNRESET;
    if (first == RECORD_HANDSHAKE)
        return 0;
    failure = "not TLS";
    distrusted = false;
    if (!(first >= 'A' && first <= 'Z') && first != '\r')
        return -ECONNABORTED;
    become_plain(t);
    return -ENOPROTOOPT;
}

/* 0: it is through; else what `receive` returns. */
static ssize_t shake_hands(struct transport *t)
{
    ssize_t looked = t->looked ? 0 : look_at_first_byte(t);
    if (looked < 0)
        return looked;
    t->looked = true;
    ERR_clear_error();
    errno = 0;
    int n = SSL_do_handshake(t->ssl);
    if (n == 1) {
        t->opening = false;
        return 0;
    }
    int result = result_of(t, n, SSL_ERROR_WANT_READ, &t->receive_writes);
    if (result == 0)
        return -ECONNRESET;
    if (result == -EPROTO)
        become_plain(t);
    return result;
}

static ssize_t tls_receive(struct transport *t, void *data, size_t len)
{
    t->more = t->receive_writes = false;
    if (t->opening) {
        ssize_t n = shake_hands(t);
        if (n < 0)
            return n;
    }
    ERR_clear_error();
    errno = 0;
    int n = SSL_read(t->ssl, data, len > INT32_MAX ? INT32_MAX : (int)len);
    if (n <= 0)
        return result_of(t, n, SSL_ERROR_WANT_READ, &t->receive_writes);
    t->more = SSL_pending(t->ssl) > 0;
    return n;
}

static ssize_t tls_send(struct transport *t, const void *data, size_t len)
{
    t->send_reads = false;
    if (is_shut(t))
        return -EPIPE;
    ERR_clear_error();
    errno = 0;
    int n = SSL_write(t->ssl, data, len > INT32_MAX ? INT32_MAX : (int)len);
    if (n > 0)
        return n;
    int result = result_of(t, n, SSL_ERROR_WANT_WRITE, &t->send_reads);
    return result ? result : -EPIPE;
}

/* The end of TCP; a close-notify in what was not read yet is found when it is read. */
static int tls_ended(struct transport *t)
{
    return transport_plain.ended(t);
}

/* Once; where it cannot leave at once it never does. */
static void say_goodbye(struct transport *t)
{
    ERR_clear_error();
    if (!t->opening && !is_shut(t))
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

static void tls_finish(struct transport *t)
{
    say_goodbye(t);
    transport_plain.finish(t);
}

static void tls_close(struct transport *t)
{
    say_goodbye(t);
    SSL_free(t->ssl);
    t->ssl = NULL;
    transport_plain.close(t);
}

static const struct transport_ops transport_tls = {tls_receive, tls_send, tls_ended, tls_finish, tls_close};

int transport_secure(struct transport *t, const struct tls *tls)
{
    SSL *ssl = SSL_new(tls->context);
    if (!ssl || SSL_set_fd(ssl, t->fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return -ENOMEM;
    }
    SSL_set_accept_state(ssl);
    *t = (struct transport){.ops = &transport_tls, .fd = t->fd, .ssl = ssl, .opening = true};
    return 0;
}

int transport_certificate(const struct transport *t, struct http_certificate **ret)
{
    const X509 *shown = SSL_get0_peer_certificate(t->ssl);
    *ret = NULL;
    if (!shown || SSL_get_verify_result(t->ssl) != X509_V_OK)
        return 0;
    int err = certificate_read(shown, ret);
    ERR_clear_error();
    return err;
}

const char *transport_protocol(const struct transport *t)
{
    return t->ssl ? SSL_get_version(t->ssl) : "";
}
