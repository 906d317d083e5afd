/* Tokens as text, and the file that holds them: what is taken, what is refused, what two writers at once leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/token_file.h"

static char directory[] = "/tmp/satchel-token-XXXXXX";
static char path[64];
static char error[TOKEN_ERROR_SIZE];

static int setup(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(directory);
}

static int fresh(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "%s/tokens", directory);
    (void)unlink(path);
    return 0;
}

static void add(const char *tenant, unsigned scopes, int64_t expires_us, char token[TOKEN_TEXT_SIZE])
{
    const char *tenants[] = {tenant};
    struct token_order order = {.tenants = tenants, .n_tenants = 1, .scopes = scopes, .expires_us = expires_us};
    if (token_file_add(path, &order, token, error) < 0)
        fail_msg("%s", error);
}

static struct token_file read_file(void)
{
    struct token_file file;
    if (token_file_read(path, &file, error) < 0)
        fail_msg("%s", error);
    return file;
}

/* ---- the text ---- */

static void tokens_have_their_form(void **state)
{
    (void)state;
    char a[TOKEN_TEXT_SIZE], b[TOKEN_TEXT_SIZE], id[TOKEN_ID_SIZE];
    token_make(a);
    token_make(b);
    assert_int_equal(strlen(a), TOKEN_TEXT_SIZE - 1);
    assert_memory_equal(a, "sat_", 4);
    assert_string_not_equal(a, b);
    assert_true(token_parse(slice_str(a), id));
    assert_memory_equal(id, a + 4, 12);
    assert_int_equal(a[16], '_');
    assert_int_equal(strspn(a + 17, "abcdefghijklmnopqrstuvwxyz234567"), 59);
}

/* Whatever single character is another one, the checksum or the form tells. */
static void every_slip_is_seen(void **state)
{
    (void)state;
    char token[TOKEN_TEXT_SIZE], id[TOKEN_ID_SIZE];
    token_make(token);
    for (size_t i = 0; i < TOKEN_TEXT_SIZE - 1; i++) {
        char before = token[i];
        token[i] = before == 'a' ? 'b' : 'a';
        assert_false(token_parse(slice_str(token), id));
        token[i] = '\0';
        assert_false(token_parse(slice_of(token, TOKEN_TEXT_SIZE - 1), id));
        token[i] = before;
    }
    assert_true(token_parse(slice_str(token), id));
    assert_false(token_parse(slice_of(token, TOKEN_TEXT_SIZE - 2), id));
    assert_false(token_parse((struct slice){0}, id));
}

static void base32_goes_both_ways(void **state)
{
    (void)state;
    unsigned char bytes[64], back[64];
    char text[128];
    for (size_t len = 0; len <= sizeof bytes; len++) {
        for (size_t i = 0; i < len; i++)
            bytes[i] = (unsigned char)(i * 37 + len);
        size_t n = token_base32_encode(bytes, len, text);
        assert_int_equal(n, (len * 8 + 4) / 5);
        assert_int_equal(token_base32_decode(slice_str(text), back, sizeof back), len);
        assert_memory_equal(back, bytes, len);
    }
    assert_int_equal(token_base32_decode(slice_str("ab"), back, sizeof back), 0); /* last bits that are not zero */
    assert_int_equal(token_base32_decode(slice_str("a"), back, sizeof back), 0);
    assert_int_equal(token_base32_decode(slice_str("A2"), back, sizeof back), 0);
    assert_int_equal(token_base32_decode(slice_str("aaaaaaaa"), back, 4), 0);
}

/* RFC 4231, test case 2 does not fit the key's size; this one was worked out with openssl(1). */
static void the_hash_is_hmac_sha256(void **state)
{
    (void)state;
    static const unsigned char expected[] = {0xb8, 0x06, 0x1f, 0x11, 0xa6, 0xc2, 0xaa, 0x61};
    unsigned char key[TOKEN_KEY_SIZE], other[TOKEN_KEY_SIZE] = {1}, hash[TOKEN_HASH_SIZE], again[TOKEN_HASH_SIZE];
    memset(key, 'k', sizeof key);
    assert_true(token_hash(key, slice_str("sat_text"), hash));
    assert_memory_equal(hash, expected, sizeof expected);
    assert_true(token_hash(other, slice_str("sat_text"), again)); /* the key that the thread had is not kept */
    assert_false(token_hash_equal(hash, again));
    assert_true(token_hash(key, slice_str("sat_text"), again));
    assert_true(token_hash_equal(hash, again));
    assert_true(token_hash(key, slice_str("sat_tex"), again));
    assert_false(token_hash_equal(hash, again));
}

static void scopes_are_read_and_written(void **state)
{
    (void)state;
    unsigned scopes;
    char text[TOKEN_SCOPES_SIZE];
    assert_true(token_scopes_parse(slice_str("admin, submit"), &scopes));
    assert_int_equal(scopes, TOKEN_ADMIN | TOKEN_SUBMIT);
    token_scopes_format(scopes, text);
    assert_string_equal(text, "submit,admin");
    token_scopes_format(7, text);
    assert_string_equal(text, "submit,read,admin");
    assert_false(token_scopes_parse(slice_str(""), &scopes));
    assert_false(token_scopes_parse(slice_str("read,"), &scopes));
    assert_false(token_scopes_parse(slice_str("write"), &scopes));
    assert_false(token_scopes_parse(slice_str("READ"), &scopes));
}

/* ---- the file ---- */

static void only_the_hash_is_written(void **state)
{
    (void)state;
    char token[TOKEN_TEXT_SIZE], text[4096] = "";
    unsigned char hash[TOKEN_HASH_SIZE];
    struct stat status;
    add("acme", TOKEN_SUBMIT | TOKEN_READ, 0, token);
    FILE *stream = fopen(path, "r");
    assert_non_null(stream);
    size_t len = fread(text, 1, sizeof text - 1, stream);
    fclose(stream);
    assert_true(len > 0);
    assert_null(strstr(text, token));
    assert_null(strstr(text, token + 17)); /* nor its secret part */
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    struct token_file file = read_file();
    assert_int_equal(file.n, 1);
    char id[TOKEN_ID_SIZE];
    assert_true(token_parse(slice_str(token), id));
    const struct token_record *record = token_file_find(&file, id);
    assert_non_null(record);
    assert_true(token_hash(file.key, slice_str(token), hash));
    assert_true(token_hash_equal(hash, record->hash));
    assert_int_equal(record->scopes, TOKEN_SUBMIT | TOKEN_READ);
    assert_int_equal(record->expires_us, 0);
    assert_true(record->created_us > 1700000000000000);
    assert_int_equal(record->n_tenants, 1);
    assert_string_equal(record->tenants[0], "acme");
    assert_false(record->all_tenants);
    token_file_release(&file);
}

static void several_tenants_all_and_expiry(void **state)
{
    (void)state;
    const char *tenants[] = {"a", "b.c", "d!'()*"};
    struct token_order order = {
        .tenants = tenants, .n_tenants = 3, .scopes = TOKEN_READ, .expires_us = 1900000000123456};
    char token[TOKEN_TEXT_SIZE], id[TOKEN_ID_SIZE];
    assert_int_equal(token_file_add(path, &order, token, error), 0);
    assert_true(token_parse(slice_str(token), id));
    add("*", TOKEN_ADMIN, 0, token);
    struct token_file file = read_file();
    const struct token_record *record = token_file_find(&file, id);
    assert_non_null(record);
    assert_int_equal(record->n_tenants, 3);
    assert_string_equal(record->tenants[2], "d!'()*");
    assert_int_equal(record->expires_us, 1900000000123456);
    assert_true(token_parse(slice_str(token), id));
    record = token_file_find(&file, id);
    assert_true(record->all_tenants);
    assert_int_equal(record->n_tenants, 0);
    token_file_release(&file);
}

static void revoked_are_gone_and_others_stay(void **state)
{
    (void)state;
    enum { N = 40 };
    static char tokens[N][TOKEN_TEXT_SIZE], ids[N][TOKEN_ID_SIZE];
    const char *gone[N];
    size_t n_gone = 0;
    for (size_t i = 0; i < N; i++) {
        add("t", TOKEN_READ, 0, tokens[i]);
        assert_true(token_parse(slice_str(tokens[i]), ids[i]));
        if (i % 3 == 0)
            gone[n_gone++] = ids[i];
    }
    const char *missing[] = {ids[1], "aaaaaaaaaaaa"};
    assert_int_equal(token_file_remove(path, missing, 2, error), 1); /* all or none */
    assert_non_null(strstr(error, "aaaaaaaaaaaa"));
    assert_int_equal(token_file_remove(path, gone, n_gone, error), 0);
    struct token_file file = read_file();
    for (size_t i = 0; i < N; i++) {
        const struct token_record *record = token_file_find(&file, ids[i]);
        unsigned char hash[TOKEN_HASH_SIZE];
        assert_int_equal(record != NULL, i % 3 != 0);
        if (!record)
            continue;
        assert_true(token_hash(file.key, slice_str(tokens[i]), hash)); /* the file's key is still the same */
        assert_true(token_hash_equal(hash, record->hash));
    }
    token_file_release(&file);
}

static void owner_and_mode_stay(void **state)
{
    (void)state;
    char token[TOKEN_TEXT_SIZE];
    struct stat status;
    add("t", TOKEN_READ, 0, token);
    assert_int_equal(chmod(path, 0640), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, 65534, 65534), 0);
    add("t", TOKEN_READ, 0, token);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    if (geteuid() == 0)
        assert_int_equal(status.st_uid, 65534);
}

/* A link is followed: what it names is replaced, and it stays a link. */
static void links_stay_links(void **state)
{
    (void)state;
    char token[TOKEN_TEXT_SIZE], link_path[80];
    struct stat status;
    add("t", TOKEN_READ, 0, token);
    (void)snprintf(link_path, sizeof link_path, "%s/link", directory);
    assert_int_equal(symlink(path, link_path), 0);
    const char *tenants[] = {"t"};
    struct token_order order = {.tenants = tenants, .n_tenants = 1, .scopes = TOKEN_READ};
    assert_int_equal(token_file_add(link_path, &order, token, error), 0);
    assert_int_equal(lstat(link_path, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    (void)unlink(link_path);
    struct token_file file = read_file();
    assert_int_equal(file.n, 2);
    token_file_release(&file);
}

/* Four processes at once: none takes away what another has added. */
static void writers_wait_for_each_other(void **state)
{
    (void)state;
    enum { WRITERS = 4, EACH = 10 };
    pid_t pids[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] > 0)
            continue;
        const char *tenants[] = {"t"};
        struct token_order order = {.tenants = tenants, .n_tenants = 1, .scopes = TOKEN_READ};
        char token[TOKEN_TEXT_SIZE];
        for (int k = 0; k < EACH; k++)
            if (token_file_add(path, &order, token, error) < 0)
                _exit(1);
        _exit(0);
    }
    for (size_t i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct token_file file = read_file();
    assert_int_equal(file.n, WRITERS * EACH);
    token_file_release(&file);
}

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HASH "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
#define TIME " 2026-01-02T03:04:05Z "
#define LINE(id, scopes, tenants) id " " HASH TIME "never " scopes " " tenants "\n"

static void faults_are_told_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "is empty"},
        {"# nothing\n\n", "is empty"},
        {"tokens\n", "f:1: is not a file of tokens"},
        {"satchel-tokens 2 " KEY "\n", "f:1: is of a version"},
        {"satchel-tokens 1 " KEY "0\n", "f:1: the key"},
        {"satchel-tokens 1 xy\n", "f:1: the key"},
        {"satchel-tokens 1 " KEY " more\n", "f:1: is not a file of tokens"},
        {"satchel-tokens 1 " KEY "\nabc\n", "f:2: a line is ID HASH"},
        {"satchel-tokens 1 " KEY "\n" LINE("abc", "read", "t"), "f:2: the line does not begin with the id"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaa1", "read", "t"), "f:2: the line does not begin with the id"},
        {"satchel-tokens 1 " KEY "\n\naaaaaaaaaaaa 00" TIME "never read t\n", "f:3: the hash"},
        {"satchel-tokens 1 " KEY "\naaaaaaaaaaaa " HASH " yesterday never read t\n", "f:2: the time of creation"},
        {"satchel-tokens 1 " KEY "\naaaaaaaaaaaa " HASH TIME "soon read t\n", "f:2: the expiry"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaaa", "write", "t"), "f:2: the scopes"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaaa", "read", "a,,b"), "f:2: a tenant is"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaaa", "read", "a,*"), "f:2: a token is for up to"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaaa", "read", ".."), "f:2: a tenant is"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaaa", "read", "t u"), "f:2: a line is"},
        {"satchel-tokens 1 " KEY "\n" LINE("aaaaaaaaaaaa", "read", "t") LINE("aaaaaaaaaaaa", "read", "u"), "twice"},
    };
    struct token_file file;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(token_file_parse(slice_str(cases[i].text), "f", &file, error), -1);
        if (!strstr(error, cases[i].said))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, error, cases[i].said);
        assert_null(strstr(error, "00112233")); /* no key in a message */
    }
    assert_int_equal(token_file_parse(slice_of("satchel-tokens 1 " KEY "\n\0", 84), "f", &file, error), -1);
    assert_non_null(strstr(error, "zero byte"));
}

static void comments_blanks_and_windows_lines_are_fine(void **state)
{
    (void)state;
    static const char text[] = "# mine\n\nsatchel-tokens 1 " KEY "\r\n  # not a comment's place\n";
    static const char good[] = "# mine\n\nsatchel-tokens 1 " KEY "\r\n#x\n \n\taaaaaaaaaaaa  " HASH TIME
                               "2099-01-01T00:00:00Z submit,read a,b\r\n";
    struct token_file file;
    assert_int_equal(token_file_parse(slice_str(text), "f", &file, error), -1); /* a comment begins its line */
    assert_int_equal(token_file_parse(slice_str(good), "f", &file, error), 0);
    assert_int_equal(file.n, 1);
    assert_string_equal(file.records[0].tenants[1], "b");
    assert_non_null(token_file_find(&file, "aaaaaaaaaaaa"));
    assert_null(token_file_find(&file, "aaaaaaaaaaab"));
    assert_null(token_file_find(&file, "short"));
    assert_null(token_file_find(&file, ""));
    token_file_release(&file);
}

static void a_file_that_cannot_be_trusted_or_read_is_refused(void **state)
{
    (void)state;
    char token[TOKEN_TEXT_SIZE];
    struct token_file file;
    add("t", TOKEN_READ, 0, token);
    assert_int_equal(chmod(path, 0606), 0);
    assert_int_equal(token_file_read(path, &file, error), -1);
    assert_non_null(strstr(error, "anybody may write"));
    (void)unlink(path);
    assert_int_equal(token_file_read(path, &file, error), -1);
    assert_non_null(strstr(error, "No such file"));
    assert_int_equal(token_file_read(directory, &file, error), -1);
    assert_non_null(strstr(error, "Is a directory"));
    const char *ids[] = {"aaaaaaaaaaaa"};
    assert_int_equal(token_file_remove("/nonexistent/tokens", ids, 1, error), -1);
    assert_non_null(strstr(error, "/nonexistent/tokens"));
}

/* A file that cannot be understood is left as it is. */
static void a_broken_file_is_not_overwritten(void **state)
{
    (void)state;
    const char *tenants[] = {"t"};
    struct token_order order = {.tenants = tenants, .n_tenants = 1, .scopes = TOKEN_READ};
    char token[TOKEN_TEXT_SIZE], text[16] = "";
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    assert_true(fputs("precious\n", stream) >= 0);
    fclose(stream);
    assert_int_equal(token_file_add(path, &order, token, error), -1);
    stream = fopen(path, "r");
    assert_non_null(stream);
    assert_non_null(fgets(text, sizeof text, stream));
    fclose(stream);
    assert_string_equal(text, "precious\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_have_their_form),
        cmocka_unit_test(every_slip_is_seen),
        cmocka_unit_test(base32_goes_both_ways),
        cmocka_unit_test(the_hash_is_hmac_sha256),
        cmocka_unit_test(scopes_are_read_and_written),
        cmocka_unit_test_setup(only_the_hash_is_written, fresh),
        cmocka_unit_test_setup(several_tenants_all_and_expiry, fresh),
        cmocka_unit_test_setup(revoked_are_gone_and_others_stay, fresh),
        cmocka_unit_test_setup(owner_and_mode_stay, fresh),
        cmocka_unit_test_setup(links_stay_links, fresh),
        cmocka_unit_test_setup(writers_wait_for_each_other, fresh),
        cmocka_unit_test(faults_are_told_with_their_line),
        cmocka_unit_test(comments_blanks_and_windows_lines_are_fine),
        cmocka_unit_test_setup(a_file_that_cannot_be_trusted_or_read_is_refused, fresh),
        cmocka_unit_test_setup(a_broken_file_is_not_overwritten, fresh),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
