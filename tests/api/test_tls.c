/* TLS from outside: who is let in, what is spoken, what happens to who speaks something else, slowly or not at all; and
 * that everything that goes through plain HTTP goes through TLS, too. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/api/tls_fixture.h"

/* ---- the handshake ---- */

static void test_versions(void **state)
{
    (void)state;
    const char *said[] = {"TLSv1.2", "TLSv1.3"};
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_link link;
    start("", "");
    for (size_t i = 0; i < 2; i++) {
        struct tls_wish with = wish;
        with.max_version = versions[i];
        assert_true(tls_open(&link, port, &with));
        assert_string_equal(SSL_get_version(link.ssl), said[i]);
        assert_int_equal(SSL_get_secure_renegotiation_support(link.ssl), !i);
        assert_null(SSL_get_current_compression(link.ssl));
        assert_non_null(strstr(SSL_get_cipher_name(link.ssl), i ? "TLS_" : "ECDHE-"));
        tls_close(&link);
    }
    struct tls_wish old = {.dir = folder, .weak = true, .max_version = TLS1_1_VERSION};
    expect_no_answer(&old, "protocol version");
    old.max_version = TLS1_VERSION;
    expect_no_answer(&old, "protocol version");
    stop();
}

static void test_newest_version_alone(void **state)
{
    (void)state;
    start("min_version = \"1.3\"", "");
    expect_served(&wish);
    struct tls_wish with = wish;
    with.max_version = TLS1_2_VERSION;
    expect_no_answer(&with, "protocol version");
    stop();
}

static void test_ciphers(void **state)
{
    (void)state;
    struct tls_wish with = wish;
    struct tls_link link;
    with.max_version = TLS1_2_VERSION;
    start("ciphers = \"ECDHE-ECDSA-CHACHA20-POLY1305\"", "");
    assert_true(tls_open(&link, port, &with));
    assert_string_equal(SSL_get_cipher_name(link.ssl), "ECDHE-ECDSA-CHACHA20-POLY1305");
    tls_close(&link);
    stop();
}

static void test_protocol_is_agreed_on(void **state)
{
    (void)state;
    const unsigned char *chosen;
    unsigned len;
    struct tls_link link;
    struct tls_wish with = wish;
    start("", "");
    with.protocols = "\x02h2\x08http/1.1";
    assert_true(tls_open(&link, port, &with));
    SSL_get0_alpn_selected(link.ssl, &chosen, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    tls_close(&link);
    with.protocols = "\x02h2";
    expect_no_answer(&with, "no application protocol");
    stop();
}

static void test_nothing_is_resumed(void **state)
{
    (void)state;
    start("", "");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_wish with = wish;
        struct tls_link link;
        char *text;
        with.max_version = version;
        assert_true(tls_open(&link, port, &with));
        assert_true(tls_write(&link, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 34));
        assert_int_equal(tls_answer(&link, &text), 200);
        free(text);
        assert_int_equal(SSL_SESSION_has_ticket(SSL_get0_session(link.ssl)), 0);
        if (version == TLS1_3_VERSION)
            assert_int_equal(SSL_SESSION_is_resumable(SSL_get0_session(link.ssl)), 0);
        tls_close(&link);
    }
    stop();
}

static void test_renegotiation_is_refused(void **state)
{
    (void)state;
    struct tls_wish with = wish;
    struct tls_link link;
    char byte;
    with.max_version = TLS1_2_VERSION;
    start("", "");
    assert_true(tls_open(&link, port, &with));
    assert_int_equal(SSL_renegotiate(link.ssl), 1);
    (void)SSL_do_handshake(link.ssl);
    assert_true(tls_read(&link, &byte, 1) <= 0);
    tls_close(&link);
    expect_served(&wish);
    stop();
}

/* ---- who is who ---- */

static void test_trust(void **state)
{
    (void)state;
    start("", "");
    expect_served(&wish);
    struct tls_wish with = wish;
    with.ca = "other-ca";
    expect_no_answer(&with, "unable to get local issuer certificate");
    with = wish;
    with.own = "client"; /* nobody asks for it */
    expect_served(&with);
    stop();
}

static void test_clients_certificate(void **state)
{
    (void)state;
    const struct certificate more[] = {
        {.dir = folder, .name = "expired", .issuer = "ca", .from_s = -7200, .until_s = -3600},
        {.dir = folder, .name = "future", .issuer = "ca", .from_s = 3600, .until_s = 7200},
        {.dir = folder, .name = "for-servers", .issuer = "ca", .usage = "serverAuth"}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        make_certificate(&more[i]);
    char *section = with_ca("");
    start(section, "");
    struct tls_wish with = wish;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        with.max_version = version;
        with.own = "client";
        expect_served(&with);
        with.own = NULL;
        expect_no_answer(&with, version == TLS1_3_VERSION ? "certificate required" : "handshake failure");
        with.own = "stranger";
        expect_no_answer(&with, "unknown ca");
        with.own = "expired";
        expect_no_answer(&with, "certificate expired");
        with.own = "future";
        expect_no_answer(&with, "bad certificate");
        with.own = "for-servers";
        expect_no_answer(&with, "unsupported certificate");
    }
    free(section);
    stop();
}

static void test_certificate_may_be_shown(void **state)
{
    (void)state;
    char *section = with_ca("client_required = false");
    start(section, "");
    struct tls_wish with = wish;
    expect_served(&with);
    with.own = "client";
    expect_served(&with);
    with.own = "stranger"; /* who shows one shows a right one */
    expect_no_answer(&with, "unknown ca");
    free(section);
    stop();
}

static void test_revoked(void **state)
{
    (void)state;
    char *section, *plain = with_ca("");
    const struct certificate second = {.dir = folder, .name = "second", .issuer = "ca", .usage = "clientAuth"};
    make_certificate(&second);
    make_revocations(folder, "revoked", "ca", "client");
    assert_true(asprintf(&section, "%s client_crl = \"%s/revoked.crl\"", plain, folder) > 0);
    start(section, "");
    struct tls_wish with = wish;
    with.own = "client";
    expect_no_answer(&with, "certificate revoked");
    with.own = "second";
    expect_served(&with);
    free(section);
    free(plain);
    stop();
}

/* ---- who does not speak TLS ---- */

static void test_plain_http(void **state)
{
    (void)state;
    static const char *const requests[] = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "DELETE /v1/tasks HTTP/1.1\r\n",
                                           "POST /v1/tasks HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "X"};
    start("", "");
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct client c = {.fd = tls_connect(port)};
        struct answer answer = {0};
        client_send_text(&c, requests[i]);
        assert_true(client_read(&c, &answer));
        expect_problem(&answer, 400, "malformed-request");
        assert_non_null(strstr(answer.body, "https://"));
        assert_true(client_is_closed(&c));
        answer_release(&answer);
        client_close(&c);
    }
    expect_served(&wish);
    stop();
}

static void test_noise(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
    } noise[] = {{"\0", 1},
                 {"\x80\x2e\x01\x03\x01", 5},                    /* a greeting of SSL 2 */
                 {"\x15\x03\x01\x00\x02\x02\x28", 7},            /* an alert */
                 {"\x16\x03\x01\xff\xff", 5},                    /* longer than a record may be */
                 {"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9},    /* an empty greeting */
                 {"\x16\x03\x01\x00\x04\xff\x00\x00\x00", 9},    /* no greeting */
                 {"\x16\x00\x00\x00\x04\x01\x00\x00\x00", 9},    /* no version */
                 {"GET / HTTP/1.1\r\n\x16\x03\x01\x00\x04", 21}, /* both */
                 {"{}", 2},
                 {" GET", 4}};
    start("", "");
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++) {
        struct client c = {.fd = tls_connect(port)};
        char rest[4096];
        ssize_t n;
        client_send(&c, noise[i].data, noise[i].len);
        while ((n = recv(c.fd, rest, sizeof rest, 0)) > 0) { /* an alert, a 400 or nothing, and the end */
        }
        assert_true(n == 0 || errno == ECONNRESET);
        client_close(&c);
    }
    for (int i = 0; i < 20; i++) { /* cut off anywhere in a greeting */
        struct client c = {.fd = tls_connect(port)};
        static const char greeting[] = "\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03";
        client_send(&c, greeting, (size_t)i % (sizeof greeting - 1) + 1);
        client_close(&c);
    }
    expect_served(&wish);
    stop();
}

/* A right greeting with one byte changed, for each of its bytes: refused or not, the daemon goes on. */
static void test_damaged_greetings(void **state)
{
    (void)state;
    char greeting[2048];
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    assert_int_equal(SSL_connect(ssl), -1);
    int len = BIO_read(out, greeting, sizeof greeting);
    assert_in_range(len, 100, sizeof greeting - 1);
    start("", "");
    for (int i = 0; i < len; i += SANITIZED ? 3 : 1) {
        char damaged[sizeof greeting];
        struct client c = {.fd = tls_connect(port)};
        memcpy(damaged, greeting, (size_t)len);
        damaged[i] = (char)(damaged[i] + 1 + i % 255);
        client_send(&c, damaged, (size_t)len);
        client_close(&c);
    }
    expect_served(&wish);
    SSL_free(ssl);
    SSL_CTX_free(context);
    stop();
}

/* ---- who is slow ---- */

static void test_slow_handshake_is_cut(void **state)
{
    (void)state;
    start("", "");
    struct client silent = {.fd = tls_connect(port)}, trickle = {.fd = tls_connect(port)};
    long long begun = mono_ms();
    client_send(&trickle, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    for (int i = 0; i < 400 && client_send_some(&trickle, "a", 1) >= 0; i++) /* absolute: no byte puts it off */
        pause_ms(10);
    assert_true(client_is_closed(&silent));
    assert_true(mono_ms() - begun >= 900);
    client_close(&silent);
    client_close(&trickle);
    expect_served(&wish);
    stop();
}

struct pump { /* TLS in memory, whose bytes go out one at a time */
    int fd;
    SSL *ssl;
    BIO *in, *out;
};

static void pump_out(struct pump *p)
{
    char byte;
    while (BIO_read(p->out, &byte, 1) == 1)
        assert_int_equal(send(p->fd, &byte, 1, MSG_NOSIGNAL), 1);
}

static void pump_in(struct pump *p)
{
    char data[4096];
    ssize_t n = recv(p->fd, data, sizeof data, 0);
    assert_true(n > 0);
    assert_int_equal(BIO_write(p->in, data, (int)n), n);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    start("", "");
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct pump p = {
        .fd = tls_connect(port), .ssl = SSL_new(context), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
    SSL_set_bio(p.ssl, p.in, p.out);
    int result;
    while ((result = SSL_connect(p.ssl)) != 1) {
        assert_int_equal(SSL_get_error(p.ssl, result), SSL_ERROR_WANT_READ);
        pump_out(&p);
        pump_in(&p);
    }
    char *request = request_text("POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\n",
                                 "{\"task\":\"satchel.echo\",\"args\":\"slow\"}", 37);
    for (size_t i = 0; request[i]; i++) { /* a record for each byte, in single bytes */
        assert_int_equal(SSL_write(p.ssl, request + i, 1), 1);
        pump_out(&p);
    }
    char answer[8192];
    while ((result = SSL_read(p.ssl, answer, sizeof answer - 1)) <= 0)
        pump_in(&p);
    answer[result] = '\0';
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    free(request);
    SSL_free(p.ssl);
    SSL_CTX_free(context);
    (void)close(p.fd);
    stop();
}

/* ---- all that goes through it ---- */

enum { SLOW_BYTES = 6000000 }; /* more than the kernel holds for a socket; the answer has them twice */

static char *filled(size_t len)
{
    char *text = malloc(len + 64);
    assert_non_null(text);
    size_t at = (size_t)sprintf(text, "{\"task\":\"satchel.echo\",\"args\":\"");
    memset(text + at, 'x', len);
    memcpy(text + at + len, "\"}", 3);
    return text;
}

static void test_large_bodies(void **state)
{
    (void)state;
    start("", "");
    for (size_t len = 16000; len <= 1000000; len *= 4) {
        char *body = filled(len);
        char *text = expect(&wish, 200, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=30\r\n", body);
        const char *result = strstr(text, "\"result\":\"xxx");
        assert_non_null(result);
        assert_int_equal(strspn(result + 10, "x"), len);
        free(text);
        free(body);
    }
    char *body = filled((size_t)2 << 20);
    char *text = expect(&wish, 413, "POST", "/v1/tasks", JSON_TYPE, body);
    free(text);
    free(body);
    stop();
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        n++;
    return n;
}

static bool wait_for_socket(struct tls_link *link, short events, int ms)
{
    struct pollfd look = {.fd = link->fd, .events = events};
    return poll(&look, 1, ms) > 0;
}

/* Writes as long as the daemon takes it; from then on reads, too.  False: not all is written yet. */
static bool write_more(struct tls_link *link, const char *all, size_t len, size_t *at, bool reading)
{
    while (*at < len) {
        size_t piece = len - *at < 16384 ? len - *at : 16384;
        int n = SSL_write(link->ssl, all + *at, (int)piece);
        if (n > 0) {
            *at += (size_t)n;
            continue;
        }
        assert_int_equal(SSL_get_error(link->ssl, n), SSL_ERROR_WANT_WRITE);
        if (reading || !wait_for_socket(link, POLLOUT, 500))
            return false;
    }
    return true;
}

/* Far more requests than the daemon takes without its answers being read, at the edges of records and between: it stops
 * reading in the middle of records, goes on there, and loses nothing. */
static void test_pipeline(void **state)
{
    (void)state;
    enum { REQUESTS = 60000 };
    static const char one[] = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", answer[] = "{\"status\":\"ok\"}";
    size_t len = REQUESTS * (sizeof one - 1), at = 0, answers = 0, kept = 0;
    char *all = malloc(len + 1), got[40000];
    struct tls_link link;
    start("", "");
    for (size_t i = 0; i < REQUESTS; i++)
        memcpy(all + i * (sizeof one - 1), one, sizeof one);
    int fd = tls_connect(port), small = 65536;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_true(tls_open_on(&link, fd, &wish));
    assert_int_equal(fcntl(link.fd, F_SETFL, O_NONBLOCK), 0);
    bool written = write_more(&link, all, len, &at, false);
    assert_false(written); /* it was stopped */
    while (answers < REQUESTS) {
        int n = SSL_read(link.ssl, got + kept, (int)(sizeof got - 1 - kept));
        if (n <= 0) {
            assert_int_equal(SSL_get_error(link.ssl, n), SSL_ERROR_WANT_READ);
            assert_true(wait_for_socket(&link, (short)(POLLIN | (written ? 0 : POLLOUT)), WAIT_MS));
        } else {
            got[kept += (size_t)n] = '\0';
            answers += count_of(got, answer);
            size_t tail = kept < sizeof answer - 2 ? kept : sizeof answer - 2; /* an answer may be cut in two */
            memmove(got, got + kept - tail, tail);
            kept = tail;
        }
        written = written || write_more(&link, all, len, &at, true);
    }
    assert_int_equal(answers, REQUESTS);
    free(all);
    tls_close(&link);
    stop();
}

/* New keys while much is on its way: the client's own at any time, also while the answer is stuck; the daemon's, too,
 * where it is asked for them. */
static void test_new_keys(void **state)
{
    (void)state;
    struct tls_link link;
    char *body = filled(SLOW_BYTES), *request, *text;
    start("", "write_timeout = \"20s\"\nmax_body = \"8MiB\"\n");
    request = request_text("POST", "/v1/tasks", JSON_TYPE "Prefer: wait=30\r\n", body, strlen(body));
    assert_true(tls_open(&link, port, &wish));
    size_t half = strlen(request) / 2;
    assert_true(tls_write(&link, request, half));
    assert_int_equal(SSL_key_update(link.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_true(tls_write(&link, request + half, strlen(request) - half));
    assert_true(wait_for_socket(&link, POLLIN, WAIT_MS));
    pause_ms(200); /* the answer is stuck by now */
    for (int i = 0; i < 50; i++) {
        assert_int_equal(SSL_key_update(link.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(link.ssl), 1);
    }
    assert_int_equal(tls_answer(&link, &text), 200);
    assert_int_equal(strspn(strstr(text, "\"result\":\"") + 10, "x"), SLOW_BYTES);
    free(text);
    free(request);
    free(body);
    assert_true(tls_write(&link, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 34));
    assert_int_equal(tls_answer(&link, &text), 200);
    free(text);
    tls_close(&link);
    stop();
}

/* Records that carry nothing keep nobody else waiting. */
static void test_empty_records(void **state)
{
    (void)state;
    struct tls_link busy;
    start("", "loops = 1\n");
    assert_true(tls_open(&busy, port, &wish));
    assert_int_equal(fcntl(busy.fd, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 20000; i++) {
        if (SSL_key_update(busy.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(busy.ssl) != 1)
            break; /* there is no more room on the way, or the daemon has had enough */
        if (i % 4000 == 0)
            expect_served(&wish);
    }
    expect_served(&wish);
    tls_close(&busy);
    stop();
}

static void test_batch(void **state)
{
    (void)state;
    enum { LINES = 3000 };
    static const char line[] =
        "{\"task\":\"satchel.noop\",\"labels\":{\"a\":\"0123456789012345678901234567890123456789\"}}\n";
    char *body = malloc(LINES * (sizeof line - 1) + 1);
    start("", "");
    for (int i = 0; i < LINES; i++)
        memcpy(body + i * (int)(sizeof line - 1), line, sizeof line);
    char *text = expect(&wish, 200, "POST", "/v1/tasks:batch", "Content-Type: application/x-ndjson\r\n", body);
    int n = 0;
    for (const char *at = text; (at = strstr(at, "\"task\":\"satchel.noop\"")) != NULL; at++)
        n++;
    assert_int_equal(n, LINES);
    free(text);
    free(body);
    stop();
}

static void test_events(void **state)
{
    (void)state;
    char id[64] = "", *request, got[16384] = "";
    size_t len = 0;
    struct tls_link link;
    start("", "");
    char *text =
        expect(&wish, 202, "POST", "/v1/tasks", JSON_TYPE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.5}}");
    (void)snprintf(id, sizeof id, "%.36s", strstr(text, "\"id\":\"") + 6);
    free(text);
    assert_true(asprintf(&request, "GET /v1/tasks/%s/events HTTP/1.1\r\nHost: h\r\n\r\n", id) > 0);
    assert_true(tls_open(&link, port, &wish));
    assert_true(tls_write(&link, request, strlen(request)));
    while (!strstr(got, "\"succeeded\"")) {
        long n = tls_read(&link, got + len, sizeof got - 1 - len);
        if (n <= 0)
            fail_msg("the stream ended: %s\n%s", link.error, got);
        got[len += (size_t)n] = '\0';
    }
    assert_non_null(strstr(got, "text/event-stream"));
    assert_non_null(strstr(got, "\"running\""));
    free(request);
    tls_close(&link);
    stop();
}

/* A reader that stops reading: the rest waits in the daemon, and comes whole. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct tls_link link;
    char *body = filled(SLOW_BYTES), *request, *text;
    start("", "write_timeout = \"20s\"\nmax_body = \"8MiB\"\n");
    request = request_text("POST", "/v1/tasks", JSON_TYPE "Prefer: wait=30\r\n", body, strlen(body));
    assert_true(tls_open(&link, port, &wish));
    assert_true(tls_write(&link, request, strlen(request)));
    struct pollfd begun = {.fd = link.fd, .events = POLLIN};
    assert_int_equal(poll(&begun, 1, WAIT_MS), 1);
    pause_ms(300);
    assert_int_equal(tls_answer(&link, &text), 200);
    assert_int_equal(strspn(strstr(text, "\"result\":\"") + 10, "x"), SLOW_BYTES);
    free(text);
    free(request);
    free(body);
    tls_close(&link);
    stop();
}

/* ---- ends ---- */

static void test_ends_in_order(void **state)
{
    (void)state;
    struct tls_link link;
    char *text, byte;
    start("", "");
    static const char last[] = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_true(tls_open(&link, port, &wish));
    assert_true(tls_write(&link, last, sizeof last - 1));
    assert_int_equal(tls_answer(&link, &text), 200);
    free(text);
    assert_int_equal(tls_read(&link, &byte, 1), 0); /* close-notify, not a cut */
    tls_close(&link);
    /* The client's own end comes first: its answer is still sent. */
    static const char task[] = "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.1}}";
    char *slow = request_text("POST", "/v1/tasks", JSON_TYPE "Prefer: wait=5\r\n", task, sizeof task - 1);
    assert_true(tls_open(&link, port, &wish));
    assert_true(tls_write(&link, slow, strlen(slow)));
    free(slow);
    assert_int_equal(SSL_shutdown(link.ssl), 0);
    assert_int_equal(tls_answer(&link, &text), 200);
    free(text);
    tls_close(&link);
    /* An idle connection is ended in order when the daemon stops. */
    assert_true(tls_open(&link, port, &wish));
    assert_true(tls_write(&link, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 34));
    assert_int_equal(tls_answer(&link, &text), 200);
    free(text);
    stop();
    assert_int_equal(tls_read(&link, &byte, 1), 0);
    tls_close(&link);
}

static void test_flood(void **state)
{
    (void)state;
    enum { MANY = 60, ALLOWED = 20 };
    int fds[MANY], closed = 0;
    start("", "max_connections_per_source = 20\nheader_timeout = \"20s\"\n");
    for (int i = 0; i < MANY; i++)
        fds[i] = tls_connect(port);
    for (int i = ALLOWED; i < MANY; i++) { /* beyond the limit: closed without a handshake */
        char byte;
        closed += recv(fds[i], &byte, 1, 0) == 0;
    }
    assert_int_equal(closed, MANY - ALLOWED);
    for (int i = 0; i < MANY; i++)
        (void)close(fds[i]);
    bool served = false;
    for (int i = 0; i < 200 && !served; i++) { /* the daemon has to see that they are gone */
        char *text, error[256];
        served = tls_ask(port, &wish, "GET", "/healthz", NULL, NULL, &text, error) == 200;
        free(text);
        if (!served)
            pause_ms(10);
    }
    assert_true(served);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_newest_version_alone),
        cmocka_unit_test(test_ciphers),
        cmocka_unit_test(test_protocol_is_agreed_on),
        cmocka_unit_test(test_nothing_is_resumed),
        cmocka_unit_test(test_renegotiation_is_refused),
        cmocka_unit_test(test_trust),
        cmocka_unit_test(test_clients_certificate),
        cmocka_unit_test(test_certificate_may_be_shown),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_plain_http),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_damaged_greetings),
        cmocka_unit_test(test_slow_handshake_is_cut),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_new_keys),
        cmocka_unit_test(test_empty_records),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_ends_in_order),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
