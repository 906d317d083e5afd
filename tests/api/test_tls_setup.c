/* TLS as it is set up: what --check finds, what a reload changes, where keys come from; and what a client's certificate
 * allows. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/api/tls_fixture.h"

/* ---- the configuration ---- */

/* `@` in `text` is the folder. */
static int check(const char *text, char **ret_err)
{
    char path[128], file[4096], *out;
    size_t len = 0;
    (void)snprintf(path, sizeof path, "%s/check.conf", folder);
    for (; *text && len < sizeof file - 64; text++) {
        if (*text == '@')
            len += (size_t)sprintf(file + len, "%s", folder);
        else
            file[len++] = *text;
    }
    file[len] = '\0';
    write_file(path, file);
    int code =
        satcheld_run((const char *const[]){"--check", "--config", path, "--data-dir", folder, NULL}, &out, ret_err);
    free(out);
    return code;
}

static void expect_fault(const char *text, const char *wanted)
{
    char *err;
    int code = check(text, &err);
    if (code != 78 || !strstr(err, wanted))
        fail_msg("exit code %d, no \"%s\" in:\n%s", code, wanted, err);
    free(err);
}

static void write_in_folder(const char *name, const char *text, mode_t mode)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)unlink(path);
    write_file(path, text);
    assert_int_equal(chmod(path, mode), 0);
}

static char *read_in_folder(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return read_file(path);
}

static void lock_key(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/locked.key", folder);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *file = fopen(path, "we");
    assert_true(key && file && fchmod(fileno(file), 0600) == 0);
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    EVP_PKEY_free(key);
}

static void test_check_finds(void **state)
{
    (void)state;
    char *err, *key = read_in_folder("server.key");
    const struct certificate more[] = {
        {.dir = folder, .name = "old", .issuer = "ca", .from_s = -7200, .until_s = -3600},
        {.dir = folder, .name = "new", .issuer = "ca", .from_s = 3600, .until_s = 7200},
        {.dir = folder, .name = "weak", .issuer = "ca", .legacy = true},
        {.dir = folder, .name = "rsa", .issuer = "ca", .rsa = true}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        make_certificate(&more[i]);
    write_in_folder("open.key", key, 0644);
    write_in_folder("noise.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0600);
    write_in_folder("empty.pem", "", 0600);
    lock_key();
    assert_int_equal(check("tls { certificate = \"@/server.pem\" key = \"@/server.key\" }\n", &err), 0);
    free(err);
    assert_int_equal(check("tls { certificate = \"@/rsa.pem\" key = \"@/rsa.key\" }\n", &err), 0);
    free(err);
    expect_fault("\ntls { certificate = \"@/nothing.pem\"\n key = \"@/server.key\" }\n",
                 "check.conf:2: tls: certificate");
    expect_fault("tls { certificate = \"@/server.pem\"\n\n key = \"@/nothing.key\" }\n", "check.conf:3: tls: key");
    expect_fault("tls { certificate = \"@/server.pem\"\n key = \"@\" }\n", "is not a regular file");
    expect_fault("tls { certificate = \"@/server.pem\"\n key = \"@/client.key\" }\n", "check.conf:2: tls: key \"");
    expect_fault("tls { certificate = \"@/server.pem\"\n key = \"@/client.key\" }\n",
                 "does not belong to the certificate");
    expect_fault("tls { certificate = \"@/old.pem\"\n key = \"@/old.key\" }\n", "expired at 20");
    expect_fault("tls { certificate = \"@/new.pem\"\n key = \"@/new.key\" }\n", "is not valid before 20");
    expect_fault("tls { certificate = \"@/client.pem\"\n key = \"@/client.key\" }\n", "is not made for servers");
    expect_fault("tls { certificate = \"@/weak.pem\"\n key = \"@/weak.key\" }\n", "ee key too small");
    expect_fault("tls { certificate = \"@/noise.pem\"\n key = \"@/server.key\" }\n", "check.conf:1: tls: certificate");
    expect_fault("tls { certificate = \"@/empty.pem\"\n key = \"@/server.key\" }\n", "holds no certificate");
    expect_fault("tls { certificate = \"@/server.pem\"\n key = \"@/empty.pem\" }\n", "holds no private key");
    expect_fault("tls { certificate = \"@/server.pem\"\n key = \"@/locked.key\" }\n", "passphrase");
    expect_fault("tls { certificate = \"@/server.pem\"\n key = \"@/open.key\" }\n", "can be read by every user");
    free(key);
}

static void test_check_finds_more(void **state)
{
    (void)state;
#define GOOD "tls { certificate = \"@/server.pem\" key = \"@/server.key\"\n "
    expect_fault(GOOD "client_ca = \"@/client.pem\" }\n", "may not issue others");
    expect_fault(GOOD "client_ca = \"@/none.pem\" }\n", "check.conf:2: tls: client_ca");
    expect_fault(GOOD "client_ca = \"@/ca.pem\" client_crl = \"@/ca.pem\" }\n", "holds no revocation list");
    expect_fault(GOOD "client_crl = \"@/ca.pem\" }\n", "means nothing without client_ca");
    expect_fault(GOOD "client_required = true }\n", "means nothing without client_ca");
    expect_fault(GOOD "min_version = 1.1 }\n", "check.conf:2: tls: min_version \"1.1\" must be 1.2 or 1.3");
    expect_fault(GOOD "ciphers = NOTHING }\n", "names no cipher");
    expect_fault(GOOD "}\ntls { }\n", "there is a section already");
    expect_fault("tls { }\n", "tls: certificate is missing");
    expect_fault("tls { }\n", "tls: key is missing");
    expect_fault("tls { certificate = \"x.pem\" key = \"credential:../x\" }\n", "must be an absolute path");
    expect_fault("tls { certificate = \"x.pem\" key = \"credential:../x\" }\n", "must name a credential");
    expect_fault("\nlisten = {\"https://127.0.0.1:0\"}\n", "check.conf:2: listen: \"https://127.0.0.1:0\" needs a");
    expect_fault("listen = {\"https://0.0.0.0:0\"}\n" GOOD "}\n", "needs authentication"); /* TLS alone is not enough */
    expect_fault("listen = {\"https://127.0.0.1:7\", \"127.0.0.1:7\"}\n" GOOD "}\n", "is there twice");
    expect_fault("listen = {\"https://unix:/x\"}\n" GOOD "}\n", "listen: \"https://unix:/x\" needs a port");
    expect_fault("auth { certificate \"deploy\" { tenants = {\"a\"} } }\n", "with its kind");
    expect_fault("auth { certificate \"CN:deploy\" { } }\n", "tenants is missing");
}

/* A credential is a file that systemd puts into a directory of its own. */
static void test_credentials(void **state)
{
    (void)state;
    static const char text[] = "tls { certificate = \"@/server.pem\" key = \"credential:server.key\" }\n";
    char *err;
    expect_fault(text, "$CREDENTIALS_DIRECTORY is not set");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    assert_int_equal(check(text, &err), 0);
    free(err);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

/* An expired certificate is refused by a check and a reload, but not by a start: other addresses may be of use. */
static void test_expired(void **state)
{
    (void)state;
    char *server = read_in_folder("server.pem"), *key = read_in_folder("server.key");
    struct certificate short_lived = {.dir = folder,
                                      .name = "server",
                                      .issuer = "ca",
                                      .alternatives = "DNS:localhost",
                                      .from_s = -3600,
                                      .until_s = -60};
    make_certificate(&short_lived);
    start("", "");
    assert_true(satcheld_log_has(&d, "the certificate has expired"));
    expect_no_answer(&wish, "certificate has expired");
    reload();
    write_in_folder("server.pem", server, 0600);
    write_in_folder("server.key", key, 0600);
    reload();
    expect_served(&wish);
    free(server);
    free(key);
    stop();
}

/* ---- reload ---- */

static long serial_of(struct tls_link *link)
{
    X509 *shown = SSL_get1_peer_certificate(link->ssl);
    assert_non_null(shown);
    long hash = (long)X509_subject_name_hash(shown);
    X509_free(shown);
    return hash;
}

static void renew(const char *common_name, long until_s)
{
    struct certificate next = {.dir = folder,
                               .name = "server",
                               .issuer = "ca",
                               .common_name = common_name,
                               .alternatives = "DNS:localhost,IP:127.0.0.1",
                               .from_s = -7200,
                               .until_s = until_s};
    make_certificate(&next);
}

static void ask_again(struct tls_link *link)
{
    char *text;
    assert_true(tls_write(link, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 34));
    assert_int_equal(tls_answer(link, &text), 200);
    free(text);
}

static void test_reload(void **state)
{
    (void)state;
    struct tls_link before, after;
    start("", "");
    assert_true(tls_open(&before, port, &wish));
    ask_again(&before);
    renew("second", 86400);
    reload();
    ask_again(&before); /* nobody is dropped */
    assert_true(tls_open(&after, port, &wish));
    ask_again(&after);
    assert_int_not_equal(serial_of(&before), serial_of(&after));
    tls_close(&after);
    /* A bad one is not taken up, and nothing else of that configuration either. */
    renew("third", -60);
    d.max_error_logs = -1;
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "expired at");
    expect_served(&wish);
    configure("client_ca = \"/nonexistent\"", "log_level = debug\n");
    renew("fourth", 86400);
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "/nonexistent");
    expect_served(&wish);
    satcheld_configure(&d, "");
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "there is an address that speaks TLS");
    expect_served(&wish);
    ask_again(&before);
    tls_close(&before);
    stop();
}

/* Whose certificates count changes with a reload; a connection that is there stays. */
static void test_reload_of_trust(void **state)
{
    (void)state;
    struct tls_wish ours = wish, theirs = wish;
    struct tls_link link;
    char *section = with_ca("");
    ours.own = "client";
    theirs.own = "stranger";
    start(section, "");
    assert_true(tls_open(&link, port, &ours));
    ask_again(&link);
    expect_no_answer(&theirs, "unknown ca");
    char other[200];
    (void)snprintf(other, sizeof other, "client_ca = \"%s/other-ca.pem\"", folder);
    configure(other, "");
    reload();
    expect_served(&theirs);
    expect_no_answer(&ours, "unknown ca");
    ask_again(&link);
    tls_close(&link);
    free(section);
    stop();
}

/* Reloads while clients come: each is served. */
static void test_reload_under_way(void **state)
{
    (void)state;
    int rounds = scaled(60);
    start("", "");
    for (int i = 0; i < rounds; i++) {
        struct tls_link link;
        int fd = tls_connect(port);
        satcheld_signal(&d, SIGHUP);
        assert_true(tls_open_on(&link, fd, &wish));
        ask_again(&link);
        tls_close(&link);
    }
    stop();
}

/* ---- what a certificate allows ---- */

#define GRANTS                                                                                                         \
    "auth {\n"                                                                                                         \
    "  certificate \"URI:spiffe://example/dep*\" { tenants = {\"acme\"} scopes = {\"submit\", \"read\"} }\n"           \
    "  certificate \"CN:deploy\" { tenants = {\"wrong\"} }\n"                                                          \
    "  certificate \"DNS:*.READERS.example\" { tenants = {\"acme\", \"beta\"} scopes = {\"read\"} }\n"                 \
    "  certificate \"email:boss@example\" { tenants = {\"*\"} scopes = {\"submit\", \"read\", \"admin\"} }\n"          \
    "}\n"
#define NOOP "{\"task\":\"satchel.noop\"}"

static void make_clients(void)
{
    const struct certificate more[] = {
        {.dir = folder, .name = "reader", .issuer = "ca", .alternatives = "DNS:one.readers.EXAMPLE"},
        {.dir = folder, .name = "boss", .issuer = "ca", .alternatives = "email:boss@example"},
        {.dir = folder, .name = "nobody", .issuer = "ca", .alternatives = "DNS:boss@example,URI:email:boss@example"},
        {.dir = folder,
         .name = "almost",
         .issuer = "ca",
         .alternatives = "URI:xspiffe://example/deploy,DNS:readers.example"}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        make_certificate(&more[i]);
}

static void test_grants(void **state)
{
    (void)state;
    char *section = with_ca("client_required = false"), *text;
    make_clients();
    start(section, GRANTS);
    struct tls_wish with = wish;
    with.own = "client"; /* its URI and its CN fit: the first section counts */
    text = expect(&with, 202, "POST", "/v1/tasks", JSON_TYPE, NOOP);
    assert_non_null(strstr(text, "\"tenant\":\"acme\""));
    char target[80];
    (void)snprintf(target, sizeof target, "/v1/tasks/%.36s", strstr(text, "\"id\":\"") + 6);
    free(text);
    free(expect(&with, 200, "GET", target, NULL, NULL));
    free(expect(&with, 403, "GET", target, "X-Tenant-ID: wrong\r\n", NULL));
    free(expect(&with, 403, "GET", "/metrics", NULL, NULL));
    with.own = "reader";
    free(expect(&with, 400, "GET", target, NULL, NULL)); /* which of its two? */
    free(expect(&with, 200, "GET", target, "X-Tenant-ID: acme\r\n", NULL));
    free(expect(&with, 404, "GET", target, "X-Tenant-ID: beta\r\n", NULL));
    free(expect(&with, 403, "POST", "/v1/tasks", JSON_TYPE "X-Tenant-ID: acme\r\n", NOOP));
    with.own = "boss";
    free(expect(&with, 200, "GET", "/metrics", NULL, NULL));
    assert_true(satcheld_log_has(&d, "certificate URI:spiffe://example/deploy"));
    static const char *const strangers[] = {"nobody", "almost"};
    for (size_t i = 0; i < 2; i++) {
        with.own = strangers[i];
        text = expect(&with, 403, "GET", target, NULL, NULL);
        assert_non_null(strstr(text, "grants nothing to this certificate"));
        free(text);
        free(expect(&with, 403, "POST", "/v1/tasks", JSON_TYPE, NOOP));
        free(expect(&with, 200, "GET", "/healthz", NULL, NULL));
    }
    with.own = NULL;
    text = expect(&with, 401, "GET", target, NULL, NULL);
    assert_non_null(strstr(text, "WWW-Authenticate: Bearer"));
    free(text);
    free(expect(&with, 401, "GET", target, "X-Tenant-ID: acme\r\n", NULL));
    free(section);
    stop();
}

/* A token that comes with a certificate counts instead of it, right or wrong. */
static void test_token_before_certificate(void **state)
{
    (void)state;
    char *section = with_ca("");
    start(section, GRANTS);
    struct tls_wish with = wish;
    with.own = "client";
    free(expect(&with, 401, "GET", "/v1/tasks", "Authorization: Bearer sat_nothing\r\n", NULL));
    free(expect(&with, 200, "GET", "/v1/tasks", NULL, NULL));
    /* On the plain address there is no certificate. */
    struct answer answer = {0};
    ask(&d, &answer, "GET", "/v1/tasks", NULL, NULL);
    assert_int_equal(answer.status, 401);
    answer_release(&answer);
    free(section);
    stop();
}

/* What is granted is looked up with each request: a reload counts for connections that are there. */
static void test_grant_is_taken_back(void **state)
{
    (void)state;
    struct tls_wish with = wish;
    struct tls_link link;
    char *section = with_ca(""), *text;
    static const char request[] = "GET /v1/tasks HTTP/1.1\r\nHost: h\r\n\r\n";
    with.own = "client";
    start(section, GRANTS);
    assert_true(tls_open(&link, port, &with));
    assert_true(tls_write(&link, request, sizeof request - 1));
    assert_int_equal(tls_answer(&link, &text), 200);
    free(text);
    configure(section, "auth { certificate \"CN:somebody\" { tenants = {\"acme\"} } }\n");
    reload();
    assert_true(tls_write(&link, request, sizeof request - 1));
    assert_int_equal(tls_answer(&link, &text), 403);
    free(text);
    assert_true(satcheld_log_has(&d, "\"audit\":\"denied\""));
    tls_close(&link);
    free(section);
    stop();
}

/* ---- what is told ---- */

static void test_metrics(void **state)
{
    (void)state;
    start("", "");
    struct tls_wish stranger = wish;
    stranger.ca = "other-ca";
    expect_served(&wish);
    expect_no_answer(&stranger, "unable to get");
    char *text = expect(&wish, 200, "GET", "/metrics", NULL, NULL);
    assert_non_null(strstr(text, "satchel_tls_handshakes_total{result=\"completed\"} 2\n"));
    assert_non_null(strstr(text, "satchel_tls_handshakes_total{result=\"failed\"} 1\n"));
    const char *expiry = strstr(text, "\nsatchel_tls_certificate_expiry_timestamp_seconds ");
    assert_non_null(expiry);
    assert_in_range(atoll(strchr(expiry, ' ')), time(NULL) + 86000, time(NULL) + 86400);
    free(text);
    stop();
}

static void test_refused_certificates_are_noted(void **state)
{
    (void)state;
    char *section = with_ca("");
    start(section, "loops = 1\n");
    struct tls_wish with = wish;
    with.own = "stranger";
    for (int i = 0; i < 20; i++)
        expect_no_answer(&with, "unknown ca");
    char *log = satcheld_log(&d);
    const char *line = strstr(log, "a client's certificate was refused");
    assert_non_null(line);
    assert_non_null(strstr(line, "\"audit\":\"denied\""));
    assert_non_null(strstr(line, "unable to get local issuer certificate"));
    int n = 0;
    for (; line; line = strstr(line + 1, "a client's certificate was refused"))
        n++;
    assert_in_range(n, 1, 10); /* one a second */
    free(log);
    free(section);
    stop();
}

/* A socket that systemd passes on speaks TLS where its name says so. */
static void pass_socket_on(void *arg)
{
    char pid[32];
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    (void)setenv("LISTEN_FDNAMES", arg, 1);
}

static void test_inherited(void **state)
{
    (void)state;
    static char names[][16] = {"https", "https-public", "satcheld"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(fd >= 3 && bind(fd, (const struct sockaddr *)&in, sizeof in) == 0 && listen(fd, 16) == 0);
        if (fd > 3) {
            assert_int_equal(fcntl(3, F_GETFD), -1); /* nobody's: it is the first that systemd passes on */
            assert_int_equal(dup2(fd, 3), 3);
            (void)close(fd);
        }
        satcheld_init(&d, NULL);
        d.listen = "";
        d.before_exec = pass_socket_on;
        d.arg = names[i];
        configure("", "");
        satcheld_start(&d);
        (void)close(3);
        if (i < 2) {
            port = satcheld_tls_port(&d);
            expect_served(&wish);
        } else {
            assert_false(satcheld_log_has(&d, "https://"));
            assert_true(d.port > 0);
        }
        stop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_finds),
        cmocka_unit_test(test_check_finds_more),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_of_trust),
        cmocka_unit_test(test_reload_under_way),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_token_before_certificate),
        cmocka_unit_test(test_grant_is_taken_back),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_refused_certificates_are_noted),
        cmocka_unit_test(test_inherited),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
