/* Raw bytes against a real server: what is answered, and what reaches the application.
 *
 * Every input is followed by one more request, GET /end.  Where the connection must close, that one is never
 * answered: whatever an input tries to smuggle, exactly the listed requests run.  Each row runs twice: sent at
 * once over TCP, and byte by byte over a unix socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "http_fixture.h"
#include "http_mutate.h"

#define END "GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define H "Host: h\r\n"
#define CHUNKED "POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define BYTES(text) (text), sizeof(text) - 1

struct row {
    const char *name;
    const char *input;
    size_t len;
    const char *statuses; /* with the 200 of GET /end where the connection lives on */
    const char *ran;
    bool head_only;
};

static const struct row rows[] = {
    /* fine */
    {"plain", BYTES("GET /a HTTP/1.1\r\n" H "\r\n"), "200 200", "GET /a;GET /end;", false},
    {"two pipelined", BYTES("GET /a HTTP/1.1\r\n" H "\r\nGET /b HTTP/1.1\r\n" H "\r\n"), "200 200 200",
     "GET /a;GET /b;GET /end;", false},
    {"body", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello"), "200 200", "POST /a;GET /end;", false},
    {"body of a GET is consumed",
     BYTES("GET /a HTTP/1.1\r\n" H "Content-Length: 33\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n"), "200 200",
     "GET /a;GET /end;", false},
    {"body of a HEAD is consumed",
     BYTES("HEAD /a HTTP/1.1\r\n" H "Content-Length: 33\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n"), "200 200",
     "HEAD /a;GET /end;", true},
    {"body of a DELETE is consumed", BYTES("DELETE /a HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nGET"), "200 200",
     "DELETE /a;GET /end;", false},
    {"unknown method's body is consumed", BYTES("FOO /a HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nGET"), "200 200",
     "FOO /a;GET /end;", false},
    {"chunked", BYTES(CHUNKED "5\r\nhello\r\n0\r\n\r\n"), "200 200", "POST /a;GET /end;", false},
    {"chunked, case of the name", BYTES("POST /a HTTP/1.1\r\n" H "transfer-ENCODING: Chunked\r\n\r\n0\r\n\r\n"),
     "200 200", "POST /a;GET /end;", false},
    {"chunk extension", BYTES(CHUNKED "5;a=b;c=\"d;\\\"\\r\"\r\nhello\r\n0;x\r\n\r\n"), "200 200", "POST /a;GET /end;",
     false},
    {"chunked with trailers", BYTES(CHUNKED "1\r\nx\r\n0\r\nAuthorization: x\r\nX-T: y\r\n\r\n"), "200 200",
     "POST /a;GET /end;", false},
    {"upper-case chunk size", BYTES(CHUNKED "A\r\n0123456789\r\n0\r\n\r\n"), "200 200", "POST /a;GET /end;", false},
    {"body of a GET, chunked", BYTES("GET /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
     "200 200", "GET /a;GET /end;", false},
    {"absolute-form", BYTES("GET http://h:80/a?b HTTP/1.1\r\n" H "\r\n"), "200 200", "GET /a;GET /end;", false},
    {"absolute-form without path", BYTES("GET http://h HTTP/1.1\r\n" H "\r\n"), "200 200", "GET /;GET /end;", false},
    {"OPTIONS *", BYTES("OPTIONS * HTTP/1.1\r\n" H "\r\n"), "200 200", "OPTIONS *;GET /end;", false},
    {"one empty line before", BYTES("\r\nGET /a HTTP/1.1\r\n" H "\r\n"), "200 200", "GET /a;GET /end;", false},
    {"value with tabs and latin-1", BYTES("GET /a HTTP/1.1\r\n" H "X: \ta\t\xe4 b \t\r\n\r\n"), "200 200",
     "GET /a;GET /end;", false},
    {"empty value", BYTES("GET /a HTTP/1.1\r\n" H "X:\r\n\r\n"), "200 200", "GET /a;GET /end;", false},
    {"no space after the colon", BYTES("GET /a HTTP/1.1\r\nHost:h\r\n\r\n"), "200 200", "GET /a;GET /end;", false},
    {"Host with port", BYTES("GET /a HTTP/1.1\r\nHost: [::1]:8640\r\n\r\n"), "200 200", "GET /a;GET /end;", false},
    {"Upgrade is ignored", BYTES("GET /a HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), "200 200",
     "GET /a;GET /end;", false},
    {"100-continue with its body at once",
     BYTES("POST /a HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"), "200 200",
     "POST /a;GET /end;", false},
    /* the connection */
    {"close", BYTES("GET /a HTTP/1.1\r\n" H "Connection: close\r\n\r\n"), "200", "GET /a;", false},
    {"close in a list", BYTES("GET /a HTTP/1.1\r\n" H "Connection: keep-alive, Close\r\n\r\n"), "200", "GET /a;",
     false},
    {"close in a second line", BYTES("GET /a HTTP/1.1\r\n" H "Connection: x\r\nConnection: close\r\n\r\n"), "200",
     "GET /a;", false},
    {"1.0 closes", BYTES("GET /a HTTP/1.0\r\n\r\n"), "200", "GET /a;", false},
    {"1.0 keep-alive", BYTES("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), "200 200", "GET /a;GET /end;",
     false},
    {"the application closes", BYTES("GET /close HTTP/1.1\r\n" H "\r\n"), "200", "GET /close;", false},
    {"early answer, body skipped", BYTES("POST /refuse HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello"), "404 200",
     "POST /refuse;GET /end;", false},
    {"early answer, chunked body skipped",
     BYTES("POST /refuse HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "404 200",
     "POST /refuse;GET /end;", false},
    {"early answer, client waits for 100",
     BYTES("POST /refuse HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"), "404", "POST /refuse;",
     false},
    {"early answer, long body", BYTES("POST /refuse HTTP/1.1\r\n" H "Content-Length: 5000000\r\n\r\n"), "404",
     "POST /refuse;", false},
    /* request line */
    {"0.9", BYTES("GET /a\r\n\r\n"), "400", "", false},
    {"version 2.0", BYTES("GET /a HTTP/2.0\r\n" H "\r\n"), "505", "", false},
    {"version 1.2", BYTES("GET /a HTTP/1.2\r\n" H "\r\n"), "505", "", false},
    {"version 0.9", BYTES("GET /a HTTP/0.9\r\n" H "\r\n"), "505", "", false},
    {"version in lower case", BYTES("GET /a http/1.1\r\n" H "\r\n"), "400", "", false},
    {"version 1.10", BYTES("GET /a HTTP/1.10\r\n" H "\r\n"), "400", "", false},
    {"version 1", BYTES("GET /a HTTP/1\r\n" H "\r\n"), "400", "", false},
    {"other protocol", BYTES("GET /a ICE/1.0\r\n" H "\r\n"), "400", "", false},
    {"HTTP/2 preface", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "505", "", false},
    {"two spaces before the target", BYTES("GET  /a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"two spaces before the version", BYTES("GET /a  HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"space after the version", BYTES("GET /a HTTP/1.1 \r\n" H "\r\n"), "400", "", false},
    {"tab for space", BYTES("GET\t/a\tHTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"space before the method", BYTES(" GET /a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"method with a bad byte", BYTES("GE(T /a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"method too long", BYTES("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /a HTTP/1.1\r\n" H "\r\n"), "400", "",
     false},
    {"TLS hello", BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "400", "", false},
    {"target without slash", BYTES("GET a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"authority-form", BYTES("CONNECT h:80 HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"* for GET", BYTES("GET * HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"fragment", BYTES("GET /a#b HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"NUL in target", BYTES("GET /a\0b HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"raw 8-bit in target", BYTES("GET /\xe4 HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"other scheme", BYTES("GET ftp://h/a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"user in absolute-form", BYTES("GET http://u@h/a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"no host in absolute-form", BYTES("GET http:///a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"two empty lines before", BYTES("\r\n\r\nGET /a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    {"bare LF before", BYTES("\nGET /a HTTP/1.1\r\n" H "\r\n"), "400", "", false},
    /* lines */
    {"bare LF after the request line", BYTES("GET /a HTTP/1.1\n" H "\r\n"), "400", "", false},
    {"bare LF after a field", BYTES("GET /a HTTP/1.1\r\nHost: h\n\r\n"), "400", "", false},
    {"bare LF at the end", BYTES("GET /a HTTP/1.1\r\n" H "\n"), "400", "", false},
    {"bare CR in a value", BYTES("GET /a HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"), "400", "", false},
    {"CR CR LF", BYTES("GET /a HTTP/1.1\r\n" H "X: a\r\r\n\r\n"), "400", "", false},
    {"CR CR LF at the end", BYTES("GET /a HTTP/1.1\r\n" H "\r\r\n"), "400", "", false},
    {"bare CR for the end", BYTES("GET /a HTTP/1.1\r\n" H "\rX: y\r\n\r\n"), "400", "", false},
    {"folding", BYTES("GET /a HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"), "400", "", false},
    {"folding with a tab", BYTES("GET /a HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n"), "400", "", false},
    {"first field folded", BYTES("GET /a HTTP/1.1\r\n X: a\r\n" H "\r\n"), "400", "", false},
    {"line of white space", BYTES("GET /a HTTP/1.1\r\n" H " \r\n\r\n"), "400", "", false},
    {"NUL in a value", BYTES("GET /a HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), "400", "", false},
    {"NUL at a line's start", BYTES("GET /a HTTP/1.1\r\n" H "\0X: b\r\n\r\n"), "400", "", false},
    {"control character in a value", BYTES("GET /a HTTP/1.1\r\n" H "X: a\x01\r\n\r\n"), "400", "", false},
    {"DEL in a value", BYTES("GET /a HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n"), "400", "", false},
    {"space before the colon", BYTES("GET /a HTTP/1.1\r\n" H "X : a\r\n\r\n"), "400", "", false},
    {"tab before the colon", BYTES("GET /a HTTP/1.1\r\n" H "X\t: a\r\n\r\n"), "400", "", false},
    {"empty name", BYTES("GET /a HTTP/1.1\r\n" H ": a\r\n\r\n"), "400", "", false},
    {"no colon", BYTES("GET /a HTTP/1.1\r\n" H "X a\r\n\r\n"), "400", "", false},
    {"8-bit in a name", BYTES("GET /a HTTP/1.1\r\n" H "X\xe4: a\r\n\r\n"), "400", "", false},
    /* Host */
    {"no Host", BYTES("GET /a HTTP/1.1\r\n\r\n"), "400", "", false},
    {"two Hosts", BYTES("GET /a HTTP/1.1\r\n" H H "\r\n"), "400", "", false},
    {"two Hosts, 1.0", BYTES("GET /a HTTP/1.0\r\n" H H "\r\n"), "400", "", false},
    {"empty Host", BYTES("GET /a HTTP/1.1\r\nHost:\r\n\r\n"), "400", "", false},
    {"Host with a path", BYTES("GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n"), "400", "", false},
    {"Host with a user", BYTES("GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n"), "400", "", false},
    {"Host with a space", BYTES("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n"), "400", "", false},
    {"Host with a bad port", BYTES("GET /a HTTP/1.1\r\nHost: h:8a\r\n\r\n"), "400", "", false},
    /* length and coding: the ways to smuggle */
    {"CL and TE", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "400", "", false},
    {"TE and CL", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
     "400", "", false},
    {"two CLs", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), "400", "",
     false},
    {"two equal CLs", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), "400", "",
     false},
    {"CL list", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello"), "400", "", false},
    {"CL +5", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello"), "400", "", false},
    {"CL -5", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\nhello"), "400", "", false},
    {"CL 0x5", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello"), "400", "", false},
    {"CL 5.0", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5.0\r\n\r\nhello"), "400", "", false},
    {"CL empty", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"), "400", "", false},
    {"CL with a space inside", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 5 6\r\n\r\nhello"), "400", "", false},
    {"CL overflow", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length: 18446744073709551621\r\n\r\nhello"), "400", "",
     false},
    {"CL with space before colon", BYTES("POST /a HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello"), "400", "", false},
    {"TE with space before colon", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
     "400", "", false},
    {"TE gzip", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n"), "400", "", false},
    {"TE gzip, chunked", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "501", "",
     false},
    {"TE chunked, gzip", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), "400", "",
     false},
    {"TE chunked twice", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), "400",
     "", false},
    {"two TEs",
     BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400",
     "", false},
    {"TE identity and chunked",
     BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "400", "", false},
    {"TE xchunked", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), "400", "", false},
    {"TE with a vertical tab",
     BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
           "chunked\r\n\r\n0\r\n\r\n"),
     "400", "", false},
    {"TE quoted", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), "400", "", false},
    {"TE chunked;x", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n"), "400", "",
     false},
    {"TE empty", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"), "400", "", false},
    {"TE with a comma", BYTES("POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"), "400", "",
     false},
    {"TE on 1.0",
     BYTES("POST /a HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n"), "400", "",
     false},
    {"other expectation", BYTES("POST /a HTTP/1.1\r\n" H "Expect: a-miracle\r\nContent-Length: 5\r\n\r\nhello"), "417",
     "", false},
    {"body too long", BYTES("POST /tiny HTTP/1.1\r\n" H "Content-Length: 11\r\n\r\nhello world"), "413", "POST /tiny;",
     false},
    {"body just fits", BYTES("POST /tiny HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nhello worl"), "200 200",
     "POST /tiny;GET /end;", false},
    {"chunked body too long",
     BYTES("POST /tiny HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"),
     "413", "POST /tiny;", false},
    {"chunked body just fits",
     BYTES("POST /tiny HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n4\r\nworl\r\n0\r\n\r\n"),
     "200 200", "POST /tiny;GET /end;", false},
    /* chunks */
    {"chunk size 0x5", BYTES(CHUNKED "0x5\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size +5", BYTES(CHUNKED "+5\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size -1", BYTES(CHUNKED "-1\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size 5_0", BYTES(CHUNKED "5_0\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size g", BYTES(CHUNKED "g\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size empty", BYTES(CHUNKED "\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size with a space after", BYTES(CHUNKED "5 \r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size with a space before", BYTES(CHUNKED " 5\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk size overflow", BYTES(CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"chunk too long by one", BYTES(CHUNKED "5\r\nhello!\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"no CRLF after a chunk", BYTES(CHUNKED "5\r\nhello0\r\n\r\n"), "400", "POST /a;", false},
    {"bare LF after a size", BYTES(CHUNKED "5\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"bare LF after a chunk", BYTES(CHUNKED "5\r\nhello\n0\r\n\r\n"), "400", "POST /a;", false},
    {"bare CR after a size", BYTES(CHUNKED "5\rhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"bare LF after the last size", BYTES(CHUNKED "0\n\r\n"), "400", "POST /a;", false},
    {"bare LF at the end of chunks", BYTES(CHUNKED "0\r\n\n"), "400", "POST /a;", false},
    {"bare LF in an extension", BYTES(CHUNKED "5;a\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"NUL in an extension", BYTES(CHUNKED "5;a=\"\0\"\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"extension without a name", BYTES(CHUNKED "5;\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"extension without a value", BYTES(CHUNKED "5;a=\r\nhello\r\n0\r\n\r\n"), "400", "POST /a;", false},
    {"trailer with a space before the colon", BYTES(CHUNKED "0\r\nX : y\r\n\r\n"), "400", "POST /a;", false},
    {"folded trailer", BYTES(CHUNKED "0\r\nX: y\r\n z\r\n\r\n"), "400", "POST /a;", false},
    {"trailer with bare LF", BYTES(CHUNKED "0\r\nX: y\n\r\n"), "400", "POST /a;", false},
    {"trailer with NUL", BYTES(CHUNKED "0\r\nX: y\0\r\n\r\n"), "400", "POST /a;", false},
};

static struct fixture fixture;

static void check_row(const struct row *row, int fd, bool bytewise)
{
    pthread_mutex_lock(&fixture.lock);
    fixture.ran[0] = '\0';
    pthread_mutex_unlock(&fixture.lock);
    struct buf input = BUF_INIT, output = BUF_INIT;
    buf_append(&input, row->input, row->len);
    buf_append_str(&input, END);
    if (bytewise)
        client_send_bytewise(fd, input.data, input.len);
    else
        client_send(fd, input.data, input.len);
    if (!client_read_all(fd, &output, WAIT_MS))
        fail_msg("%s: the connection does not end; so far: %s", row->name, output.data ? output.data : "nothing");
    char statuses[64];
    statuses_of(&output, row->head_only, statuses, sizeof statuses);
    if (strcmp(statuses, row->statuses) != 0)
        fail_msg("%s%s: answered \"%s\", not \"%s\": %s", row->name, bytewise ? " (bytewise)" : "", statuses,
                 row->statuses, output.data ? output.data : "");
    pthread_mutex_lock(&fixture.lock);
    bool same = strcmp(fixture.ran, row->ran) == 0;
    if (!same)
        print_error("%s ran \"%s\", not \"%s\"\n", row->name, fixture.ran, row->ran);
    pthread_mutex_unlock(&fixture.lock);
    assert_true(same);
    if (row->statuses[0] != '2')
        assert_true(strstr(output.data, "Connection: close\r\n") || strchr(row->statuses, ' '));
    if (row->statuses[0] == '4' && strcmp(row->statuses, "404") != 0 && !strchr(row->statuses, ' '))
        assert_non_null(strstr(output.data, "Content-Type: application/problem+json\r\n"));
    buf_release(&input);
    buf_release(&output);
    close(fd);
}

static void test_rows_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(&rows[i], client_connect(&fixture), false);
}

static void test_rows_bytewise(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(&rows[i], client_connect_unix(&fixture), true);
}

/* An error after good requests: the good ones are answered first, in order. */
static void test_error_after_pipelined(void **state)
{
    (void)state;
    static const struct row row = {
        "error after two", BYTES("GET /a HTTP/1.1\r\n" H "\r\nGET /b HTTP/1.1\r\n" H "\r\nGET /c HTTP/1.1\n" H "\r\n"),
        "200 200 400", "GET /a;GET /b;", false};
    check_row(&row, client_connect(&fixture), false);
    check_row(&row, client_connect_unix(&fixture), true);
}

struct outcome {
    char statuses[256], ran[512];
};

/* Sends it and nothing more; what was answered and what ran.  100 (Continue) depends on the pieces: left out. */
static void try_input(const char *data, size_t len, bool bytewise, struct outcome *ret)
{
    pthread_mutex_lock(&fixture.lock);
    fixture.ran[0] = '\0';
    pthread_mutex_unlock(&fixture.lock);
    int fd = client_connect_unix(&fixture);
    if (bytewise)
        client_send_bytewise(fd, data, len);
    else
        client_send(fd, data, len);
    shutdown(fd, SHUT_WR);
    struct buf output = BUF_INIT;
    if (!client_read_all(fd, &output, WAIT_MS))
        fail_msg("the connection does not end: %.*s", (int)len, data);
    for (char *interim; output.data && (interim = strstr(output.data, "HTTP/1.1 100 Continue\r\n\r\n"));) {
        memmove(interim, interim + 25, strlen(interim + 25) + 1);
        output.len -= 25;
    }
    ret->statuses[0] = '\0';
    if (output.len)
        statuses_of(&output, false, ret->statuses, sizeof ret->statuses);
    pthread_mutex_lock(&fixture.lock);
    snprintf(ret->ran, sizeof ret->ran, "%s", fixture.ran);
    pthread_mutex_unlock(&fixture.lock);
    buf_release(&output);
    close(fd);
}

/* Whatever comes, in whatever pieces: the same answers, the same requests run, and the connection ends. */
static void test_damaged_inputs(void **state)
{
    (void)state;
    unsigned answered = 0;
    for (unsigned i = 0; i < 3000; i++) {
        const struct row *row = &rows[random_below(sizeof rows / sizeof *rows)];
        char data[1024];
        size_t len = row->len;
        memcpy(data, row->input, len);
        memcpy(data + len, END, sizeof END - 1);
        len = mutate(data, len + sizeof END - 1, sizeof data);
        if (memmem(data, len, "HEAD", 4)) /* where its answer has no body cannot be told afterwards */
            continue;
        struct outcome whole, pieces;
        try_input(data, len, false, &whole);
        try_input(data, len, true, &pieces);
        if (strcmp(whole.statuses, pieces.statuses) != 0 || strcmp(whole.ran, pieces.ran) != 0)
            fail_msg("at once \"%s\" ran \"%s\", in pieces \"%s\" ran \"%s\": %.*s", whole.statuses, whole.ran,
                     pieces.statuses, pieces.ran, (int)len, data);
        answered += whole.statuses[0] != '\0';
    }
    assert_true(answered > 2000);
}

static int start(void **state)
{
    (void)state;
    fixture_start(&fixture, 1, fixture_limits());
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_at_once),
        cmocka_unit_test(test_rows_bytewise),
        cmocka_unit_test(test_error_after_pipelined),
        cmocka_unit_test(test_damaged_inputs),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
