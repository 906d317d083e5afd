/* The client that the common options and the environment describe. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define TOKEN_MAX 4096

/* The first line of the file, without blanks at its end.  -1, or the exit code to end with. */
static int read_token(const struct common *common, char token[TOKEN_MAX])
{
    int fd = open(common->token_file, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && len < TOKEN_MAX) {
        n = read(fd, token + len, TOKEN_MAX - len);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            len += (size_t)n;
    }
    int reason = errno;
    if (fd >= 0)
        (void)close(fd);
    if (n < 0) {
        complain(common, "cannot read %s: %s", common->token_file, strerror(reason));
        return EXIT_CONFIG;
    }
    token[len < TOKEN_MAX ? len : TOKEN_MAX - 1] = '\0';
    token[strcspn(token, "\r\n")] = '\0';
    for (len = strlen(token); len && (token[len - 1] == ' ' || token[len - 1] == '\t'); len--)
        token[len - 1] = '\0';
    if (len == 0 || len == TOKEN_MAX - 1) {
        complain(common, "%s: its first line is not a token", common->token_file);
        return EXIT_CONFIG;
    }
    return -1;
}

static int make_client(const struct common *common, const char *token, satchel_client **ret)
{
    satchel_client_options options = {.struct_size = sizeof options,
                                      .url = common->url,
                                      .token = token,
                                      .ca_file = common->ca_file,
                                      .cert_file = common->cert_file,
                                      .key_file = common->key_file,
                                      .headers = common->n_headers ? common->headers : NULL};
    satchel_error error = SATCHEL_ERROR_INIT;
    int status = satchel_client_new(&options, ret, &error);
    if (status == SATCHEL_OK)
        return -1;
    int code = fail(common, &error);
    return status == SATCHEL_EINVAL && !common->url ? EXIT_CONFIG : code; /* the environment's URL or token */
}

/* -1, or the exit code: a file that cannot be read is told before a connection fails for it. */
static int check_files(const struct common *common)
{
    const struct {
        const char *given, *variable;
    } files[] = {
        {common->ca_file, "SATCHEL_CA_FILE"}, {common->cert_file, "SATCHEL_CERT"}, {common->key_file, "SATCHEL_KEY"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *file = files[i].given ? files[i].given : getenv(files[i].variable);
        if (!file || !*file || access(file, R_OK) == 0)
            continue;
        complain(common, "cannot read %s%s%s%s: %s", file, files[i].given ? "" : " (",
                 files[i].given ? "" : files[i].variable, files[i].given ? "" : ")", strerror(errno));
        return EXIT_CONFIG;
    }
    return -1;
}

int cli_connect(const struct common *common, satchel_client **ret)
{
    char token[TOKEN_MAX];
    int code = cli_enter_context(common);
    if (code == -1)
        code = check_files(common);
    if (code == -1 && common->token_file)
        code = read_token(common, token);
    if (code == -1)
        code = make_client(common, common->token_file ? token : NULL, ret);
    explicit_bzero(token, sizeof token);
    if (code == -1)
        interrupts_start();
    return code;
}
