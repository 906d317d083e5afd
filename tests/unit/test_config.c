/* The configuration: what is taken, what is refused and where, and what comes out again. */
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/grammar.h"
#include "config/options.h"
#include "proto/buf.h"

static char directory[] = "/tmp/satchel-config-XXXXXX";

struct lines {
    struct buf text;
    unsigned n;
};

static void collect(void *arg, const char *line)
{
    struct lines *lines = arg;
    buf_printf(&lines->text, "%s\n", line);
    lines->n++;
}

static char *path_of(const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
    return path;
}

static void put_file(const char *name, const char *text)
{
    char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static int load_file(const char *name, struct lines *lines, struct config **ret)
{
    char *path = path_of(name);
    struct config_overrides overrides = {.file = path};
    int result = config_load(&overrides, collect, lines, ret);
    free(path);
    return result;
}

static struct config *load_text(const char *text)
{
    struct lines lines = {0};
    struct config *config = NULL;
    put_file("good.conf", text);
    int result = load_file("good.conf", &lines, &config);
    if (result != 0)
        fail_msg("refused: %s", lines.text.data);
    buf_release(&lines.text);
    return config;
}

/* Refused with exactly `n` problems, among them each of `wanted` (NULL ends). */
static void refuse(const char *text, unsigned n, const char *const *wanted)
{
    struct lines lines = {0};
    struct config *config = NULL;
    put_file("bad.conf", text);
    assert_int_equal(load_file("bad.conf", &lines, &config), -1);
    assert_null(config);
    for (; *wanted; wanted++)
        if (!strstr(lines.text.data, *wanted))
            fail_msg("no \"%s\" in:\n%s", *wanted, lines.text.data);
    if (lines.n != n)
        fail_msg("%u problems, not %u:\n%s", lines.n, n, lines.text.data);
    buf_release(&lines.text);
}
#define REFUSE(text, n, ...) refuse((text), (n), (const char *const[]){__VA_ARGS__, NULL})

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load_text("");
    assert_int_equal(config->listen.n, 1);
    assert_string_equal(config->listen.items[0], "127.0.0.1:8640");
    assert_null(config->listen.items[1]);
    assert_int_equal(config->max_body, 1048576);
    assert_int_equal(config->max_header_bytes, 65536);
    assert_int_equal(config->max_header_line, 16384);
    assert_int_equal(config->max_headers, 128);
    assert_int_equal(config->max_target, 8192);
    assert_int_equal(config->max_json_depth, 32);
    assert_int_equal(config->max_result, 8388608);
    assert_int_equal(config->max_log, 8388608);
    assert_int_equal(config->header_timeout_us, 10000000);
    assert_int_equal(config->body_rate, 1024);
    assert_int_equal(config->idle_timeout_us, 75000000);
    assert_int_equal(config->max_connections, 10000);
    assert_int_equal(config->max_connections_per_source, 1000);
    assert_int_equal(config->max_wait_us, 300000000);
    assert_int_equal(config->max_waiting, 10000000);
    assert_int_equal(config->max_waiting_per_tenant, 1000000);
    assert_int_equal(config->retain_us, INT64_C(7) * 86400 * 1000000);
    assert_string_equal(config->tenant_header, "X-Tenant-ID");
    assert_string_equal(config->default_tenant, "default");
    assert_false(config->require_tenant);
    assert_true(config->workers >= 4);
    assert_in_range(config->loops, 1, 4);
    assert_true(strncmp(config->store, "sqlite:/", 8) == 0);
    config_unref(config);
}

static void test_settings(void **state)
{
    (void)state;
    struct config *config = load_text("listen = {\"127.0.0.1:0\", '[::1]:9', \"unix:/run/s.sock\"}\n"
                                      "workers = 7 require_tenant = yes\n"
                                      "max_body = 64k\nmax_log = \"2 MB\"\nretain = 1d  # a day\n"
                                      "/* store\n in memory */ store = \"sqlite:/x/y.db\"\n"
                                      "data_dir = /srv/satchel\nheader_timeout = \"1.5s\"\n");
    assert_int_equal(config->listen.n, 3);
    assert_string_equal(config->listen.items[2], "unix:/run/s.sock");
    assert_int_equal(config->workers, 7);
    assert_true(config->require_tenant);
    assert_int_equal(config->max_body, 65536);
    assert_int_equal(config->max_log, 2000000);
    assert_int_equal(config->retain_us, INT64_C(86400000000));
    assert_int_equal(config->header_timeout_us, 1500000);
    assert_string_equal(config->store, "sqlite:/x/y.db");
    assert_string_equal(config->data_dir, "/srv/satchel");
    config_unref(config);
}

static void test_single_value_for_list_and_append(void **state)
{
    (void)state;
    struct config *config = load_text("listen = \"127.0.0.1:1\"\nlisten += {\"127.0.0.1:2\"}\n");
    assert_int_equal(config->listen.n, 2);
    config_unref(config);
}

static void test_confine(void **state)
{
    (void)state;
    struct config *config =
        load_text("task \"a\" { command = x umask = 0027 nice = -3 oom_score_adj = -10\n"
                  "  limits = {\"nofile=64\", \"cpu=2m\", \"as=512MiB\", \"data=unlimited\", \"core=0\"} }\n"
                  "task \"b\" { command = y }\n");
    const struct config_confine *confine = &config->tasks[0].confine, *none = &config->tasks[1].confine;
    static const struct config_limit expected[] = {
        {RLIMIT_NOFILE, 64}, {RLIMIT_CPU, 120}, {RLIMIT_AS, 536870912}, {RLIMIT_DATA, RLIM_INFINITY}, {RLIMIT_CORE, 0}};
    assert_true(confine->has_umask);
    assert_int_equal(confine->umask, 027);
    assert_true(confine->has_nice);
    assert_int_equal(confine->nice, -3);
    assert_int_equal(confine->oom_score_adj, -10);
    assert_int_equal(confine->n_limits, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(confine->limits[i].resource, expected[i].resource);
        assert_true(confine->limits[i].value == expected[i].value);
    }
    assert_false(confine->identity);
    assert_false(none->has_umask || none->has_nice || none->has_oom_score_adj || none->n_limits || none->identity);
    config_unref(config);
}

static void test_confine_problems(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"umask = 8", "umask \"8\" must be an octal number"},
        {"umask = 01000", "umask \"01000\" must be"},
        {"umask = \"u+x\"", "umask \"u+x\" must be"},
        {"nice = 20", "nice \"20\" must be"},
        {"nice = -21", "nice \"-21\" must be"},
        {"nice = --1", "nice \"--1\" must be"},
        {"oom_score_adj = 1001", "oom_score_adj \"1001\" must be"},
        {"limits = {\"nofile\"}", "limits: \"nofile\" must be NAME=VALUE"},
        {"limits = {\"nofile=\"}", "must be NAME=VALUE"},
        {"limits = {\"nofile=-1\"}", "must be NAME=VALUE"},
        {"limits = {\"nofile=1KiB\"}", "must be NAME=VALUE"},
        {"limits = {\"cpu=1500ms\"}", "must be whole seconds"},
        {"limits = {\"cpu=0s\"}", "must be whole seconds"},
        {"limits = {\"as=much\"}", "must be NAME=VALUE"},
        {"limits = {\"rss=1\"}", "with one of as, core"},
        {"limits = {\"core=0\", \"core=0\"}", "sets this limit twice"},
        {"user = \"no such user\"", "user \"no such user\" is no user"},
        {"group = \"no such group\"", "group \"no such group\" is no group"},
        {"user = 2147480001", "user \"2147480001\" has no entry among the users, so group must be set"},
        {"user = \"\"", "user \"\" is no user"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "# first\ntask \"a\" { command = x\n %s }\n", cases[i][0]);
        REFUSE(text, 1, "bad.conf:3: task \"a\": ", cases[i][1]);
    }
    REFUSE("task \"a\" { url = \"http://x/\"\n umask = 0 }\n", 1,
           "bad.conf:2: task \"a\": umask belongs to tasks with a command");
}

static bool is_refused(const char *text, const char *part)
{
    struct lines lines = {0};
    struct config *config = NULL;
    put_file("bad.conf", text);
    bool refused = load_file("bad.conf", &lines, &config) < 0 && strstr(lines.text.data, part);
    if (!refused)
        print_error("no \"%s\" in: %s\n", part, lines.text.data ? lines.text.data : "");
    config_unref(config);
    buf_release(&lines.text);
    return refused;
}

/* In a process that is not root; the number of what went wrong. */
static int be_somebody(void)
{
    struct lines lines = {0};
    struct config *config = NULL;
    char own[128];
    strcpy(directory, "/tmp/satchel-config-XXXXXX");
    if (geteuid() == 0 &&
        (setgroups(0, NULL) < 0 || setresgid(65533, 65533, 65533) < 0 || setresuid(65533, 65533, 65533) < 0))
        return 1;
    if (!mkdtemp(directory))
        return 2;
    int wrong = 0;
    (void)snprintf(own, sizeof own, "task \"a\" { command = x\n user = %u group = %u }\n", (unsigned)geteuid(),
                   (unsigned)getegid());
    put_file("own.conf", own);
    if (!is_refused("task \"a\" { command = x\n user = 0 }\n",
                    "bad.conf:2: task \"a\": user \"0\" is not who satcheld runs as"))
        wrong = 3;
    else if (!is_refused("task \"a\" { command = x\n group = 0 }\n",
                         "bad.conf:2: task \"a\": group \"0\" is not who satcheld runs as"))
        wrong = 4;
    else if (!is_refused("task \"a\" { command = x\n limits = {\"core=1GiB\"} }\n",
                         "bad.conf:2: task \"a\": limits: \"core=1GiB\" is more than satcheld itself may have"))
        wrong = 5;
    else if (load_file("own.conf", &lines, &config) < 0 || config->tasks[0].confine.identity)
        wrong = 6;
    config_unref(config);
    buf_release(&lines.text);
    for (size_t i = 0; i < 2; i++) {
        char *path = path_of(i ? "own.conf" : "bad.conf");
        (void)unlink(path);
        free(path);
    }
    (void)rmdir(directory);
    return wrong;
}

/* Whoever is not root can only be what they are: told with the line, when the configuration is loaded. */
static void test_another_user_needs_root(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(be_somebody());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Comments of all kinds, with whatever in them, do not move the lines behind them. */
static void test_lines_behind_comments(void **state)
{
    (void)state;
    REFUSE("# one \"quote\n// two { open\n\nworkers = x # three\n/* four\n five */ loops = x\n"
           "task \"a#b\" { command = {\"/bin/x\", \"#{//\", \"/*\"} # six\n  # seven\n workdir = y // eight\n}\n"
           "task \"c\" { command = x\n workdir = z } #",
           5, "bad.conf:4: workers", "bad.conf:6: loops", "bad.conf:7: task: \"a#b\"",
           "bad.conf:9: task \"a#b\": workdir", "bad.conf:12: task \"c\": workdir");
}

/* Commands find headers in their environment: none may become what programs obey. */
static void test_headers_that_commands_would_obey(void **state)
{
    (void)state;
    static const char *const bad[] = {"Path",        "LD-PRELOAD", "ld.library.path", "Bash-Env",       "IFS",
                                      "Home",        "Env",        "PythonPath",      "Node-Options",   "Satchel-Token",
                                      "satchel-url", "LC-ALL",     "Http-Proxy",      "Git-SSH-Command"};
    static const char *const good[] = {"X-Path",      "X-LD-PRELOAD", "Region",  "Paths",
                                       "Environment", "LDAP-User",    "Homepage"};
    char text[128];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(text, sizeof text, "\nheader \"%s\" { var = v }\n", bad[i]);
        REFUSE(text, 1, "bad.conf:2: header: ", "would let clients set an environment variable");
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        (void)snprintf(text, sizeof text, "header \"%s\" { var = v }\n", good[i]);
        config_unref(load_text(text));
    }
}

/* What `allow` takes, and what it does not: least of all what looks like an address but is none. */
static void test_allow(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.0/8",    "127.0.0.1", "::1",           "fd00::/8",          "localhost",
                                       "*.example.com", "a-b.c.",    "under_score.x", "db.x=10.1.0.0/16",  "*.y=::1",
                                       "0.0.0.0/0",     "x1",        "1.example",     "db.x=fd00:ec2::254"};
    static const char *const bad[] = {"",
                                      "10.0.0.0/33",
                                      "::/129",
                                      "10.0.0/8",
                                      "127.1",
                                      "300.1.1.1",
                                      "1",
                                      "0x7f.1.2.3/8",
                                      "*",
                                      "*.",
                                      "**.x",
                                      "a.*.x",
                                      ".x",
                                      "a..b",
                                      "http://x",
                                      "x:80",
                                      "[::1]",
                                      "x/8",
                                      "x=",
                                      "x=y",
                                      "x=10.0.0.0/",
                                      "=10.0.0.1",
                                      "10.0.0.1=::1",
                                      "x=10.0.0.1=::1",
                                      "10.0.0.0/8x",
                                      "a b",
                                      "x=10.0.0.0/8 ",
                                      "10.0.0.0/-1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (check_allow(good[i]))
            fail_msg("\"%s\" %s", good[i], check_allow(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!check_allow(bad[i]))
            fail_msg("\"%s\" is taken", bad[i]);
}

static void test_sections(void **state)
{
    (void)state;
    struct config *config = load_text(
        "header \"X-Region\" { var = \"region\" }\n"
        "header \"X-Key\" { var = \"key\" secret = true max_len = 4096 }\n"
        "tenant \"acme\" { weight = 3 max_running = 20 max_queued = 100000 rate = 500.5 }\n"
        "tenant \"zeta\" { rate = 5 burst = 7 max_queued_bytes = 64KiB max_waiters = 9 max_connections = 8\n"
        " context = {\"region=eu\", \"note=a=b c\"} baggage = {\"k=%20v\"} require_headers = {\"X-Project\"} }\n"
        "tenant \"*\" { weight = 0.5 }\n"
        "task \"thumb\" {\n command = {\"/bin/convert\", \"-\", \"{{args.size}}x\"}\n timeout = 30s\n"
        " concurrency = 4 tenant_concurrency = 2 environment = {\"A=b\", \"C\"} workdir = /tmp final_exit = {3, 4}\n"
        " propagate = {trace, tenant} kill_grace = 2s allow_dash = true }\n"
        "task \"notify\" { url = \"https://h.example.com/x\" headers = {\"X-Source: satchel\"} }\n"
        "task \"call\" { url = \"{{args.url}}\" method = PUT body = \"{{args.body}}\"\n"
        "  allow = {\"127.0.0.0/8\", \"*.example.com\", \"db.x=10.1.0.0/16\", \"*.y=::1\"} }\n"
        "plugin \"/usr/lib/p.so\" { config = \"a=b\" }\nplugin \"/usr/lib/q.so\" {}\n");
    assert_int_equal(config->n_headers, 2);
    assert_string_equal(config->headers[0].variable, "region");
    assert_false(config->headers[0].secret);
    assert_true(config->headers[1].secret);
    assert_int_equal(config->headers[1].max_len, 4096);
    assert_int_equal(config->n_tenants, 3);
    const struct config_tenant *zeta = config_tenant(config, "zeta");
    assert_int_equal(zeta->burst, 7);
    assert_int_equal(zeta->max_queued_bytes, 65536);
    assert_int_equal(zeta->max_waiters, 9);
    assert_int_equal(zeta->max_connections, 8);
    assert_int_equal(zeta->context.n, 2);
    assert_string_equal(zeta->context.items[1], "note=a=b c");
    assert_string_equal(zeta->baggage.items[0], "k=%20v");
    assert_string_equal(zeta->require_headers.items[0], "X-Project");
    assert_string_equal(config_tenant(config, "acme")->name, "acme");
    assert_true(config_tenant(config, "acme")->rate > 500.4);
    assert_string_equal(config_tenant(config, "other")->name, "*");
    assert_int_equal(config->n_tasks, 3);
    const struct config_task *thumb = &config->tasks[0], *notify = &config->tasks[1], *call = &config->tasks[2];
    assert_int_equal(thumb->command.n, 3);
    assert_string_equal(thumb->command.items[2], "{{args.size}}x");
    assert_int_equal(thumb->timeout_us, 30000000);
    assert_int_equal(thumb->kill_grace_us, 2000000);
    assert_int_equal(thumb->concurrency, 4);
    assert_int_equal(thumb->tenant_concurrency, 2);
    assert_int_equal(thumb->n_final_exit, 2);
    assert_int_equal(thumb->final_exit[1], 4);
    assert_int_equal(thumb->propagate, PROPAGATE_TRACE | PROPAGATE_TENANT);
    assert_true(thumb->allow_dash);
    assert_non_null(strstr(thumb->where, "good.conf:7"));
    assert_string_equal(notify->method, "POST");
    assert_int_equal(notify->propagate, PROPAGATE_ALL);
    assert_int_equal(notify->n_final_exit, 4);
    assert_int_equal(call->propagate, PROPAGATE_TRACE);
    assert_int_equal(call->allow.n, 4);
    assert_int_equal(config->n_plugins, 2);
    assert_string_equal(config->plugins[0].argument, "a=b");
    assert_null(config->plugins[1].argument);
    config_unref(config);
}

static void test_no_final_exit(void **state)
{
    (void)state;
    struct config *config = load_text("task \"t\" { command = {\"/bin/true\"} final_exit = {} propagate = {} }\n");
    assert_int_equal(config->tasks[0].n_final_exit, 0);
    assert_int_equal(config->tasks[0].propagate, 0);
    config_unref(config);
}

static void test_environment_is_expanded(void **state)
{
    (void)state;
    assert_int_equal(setenv("SATCHEL_TEST_DIR", "/srv/x", 1), 0);
    struct config *config = load_text("data_dir = \"${SATCHEL_TEST_DIR}/y\"\nstore = 'sqlite:/${SATCHEL_TEST_DIR}'");
    assert_string_equal(config->data_dir, "/srv/x/y");
    assert_string_equal(config->store, "sqlite:/${SATCHEL_TEST_DIR}");
    config_unref(config);
}

static void test_every_problem_is_reported(void **state)
{
    (void)state;
    REFUSE("workers = many\n"           /* 1 */
           "nonsense = 3\n"             /* 2 */
           "max_body = 12Q\n"           /* 3 */
           "retain = soon\n"            /* 4 */
           "require_tenant = perhaps\n" /* 5 */
           "max_headers = 5000\n"       /* 6 */
           "log_level = loud\n"         /* 7 */
           "default_tenant = \"a/b\"\n" /* 8 */
           "store = \"mysql:x\"\n"      /* 9 */
           "data_dir = \"relative\"\n"  /* 10 */
           "also_unknown = {1, 2}\n"    /* 11 */
           "nonsense = 4\n",            /* 12 */
           12, "bad.conf:1: workers: \"many\"", "bad.conf:2: unknown setting \"nonsense\"", "bad.conf:3: max_body",
           "bad.conf:4: retain", "bad.conf:5: require_tenant", "bad.conf:6: max_headers: 5000 is out of range",
           "bad.conf:7: log_level", "bad.conf:8: default_tenant", "bad.conf:9: store", "bad.conf:10: data_dir",
           "bad.conf:11: unknown setting \"also_unknown\"", "bad.conf:12: unknown setting \"nonsense\"");
}

static void test_unknown_sections(void **state)
{
    (void)state;
    REFUSE("tsk \"x\" {\n command = {\"/bin/true\"}\n strange = 1\n inner { a = 1 }\n}\n"
           "what { x = 1 }\nworkers = -1\n",
           3, "bad.conf:1: unknown section \"tsk\"", "bad.conf:6: unknown section \"what\"", "bad.conf:7: workers");
    REFUSE("task \"x\" {\n command = {\"/bin/true\"}\n colour = red\n}\nempty = {}\n", 2,
           "bad.conf:3: unknown setting \"colour\" in section \"task\"", "unknown setting \"empty\"");
}

static void test_syntax(void **state)
{
    (void)state;
    REFUSE("workers = 4\nlog_level = \"info\n\n", 1, "bad.conf:2: string without its closing quote");
    REFUSE("workers = 4\n\n/* open", 1, "bad.conf:3: comment without its end");
    REFUSE("workers = 4\nloops 4\n", 1, "bad.conf:2: missing equal sign");
    REFUSE("unknown = 1\nworkers = {4}\n", 2, "bad.conf:1: unknown setting", "bad.conf:2: ");
    REFUSE("task { command = {\"/bin/true\"} }\n", 1, "bad.conf:1: missing title");
    REFUSE("task \"x\" { command = {\"/bin/true\"}\n", 1, "bad.conf:1: { without its closing }");
    REFUSE("timeout = 3\ntask \"x\" { timeout 3 }\n", 2, "bad.conf:1: unknown setting",
           "bad.conf:2: missing equal sign");
    REFUSE("}\n", 1, "bad.conf:1: unexpected closing brace");
    REFUSE("workers = 4\x01\n", 1, "bad.conf:1: control character 0x01");
    /* and the lexer is not confused by what came before */
    struct config *config = load_text("workers = 5\n");
    assert_int_equal(config->workers, 5);
    config_unref(config);
}

static void test_bad_tasks(void **state)
{
    (void)state;
    REFUSE(
        "task \"satchel.mine\" { command = {\"/bin/true\"} }\n"                                               /* 1 */
        "task \"both\" { command = {\"/bin/true\"} url = \"http://x/\" }\n"                                   /* 2 */
        "task \"none\" { }\n"                                                                                 /* 3 */
        "task \"twice\" { command = {\"/bin/true\"} }\n"                                                      /* 4 */
        "task \"twice\" { command = {\"/bin/false\"} }\n"                                                     /* 5 */
        "task \"a b\" { command = {\"/bin/true\"} }\n"                                                        /* 6 */
        "task \"t1\" { command = {\"/bin/true\", \"{{args.x\"} }\n"                                           /* 7 */
        "task \"t2\" { command = {\"/bin/true\", \"{{env.HOME}}\"} }\n"                                       /* 8 */
        "task \"t3\" { command = {\"{{args.program}}\"} }\n"                                                  /* 9 */
        "task \"t4\" { url = \"{{args.url}}\" }\n"                                                            /* 10 */
        "task \"t5\" { url = \"ftp://x/\" }\n"                                                                /* 11 */
        "task \"t6\" { url = \"http://x/\" headers = {\"nocolon\"} method = \"FETCH\" workdir = /tmp }\n"     /* 12 */
        "task \"t7\" { command = {\"/bin/true\"} timeout = 3x final_exit = {0} propagate = {all} }\n"         /* 13 */
        "task \"t8\" { command = {} }\n"                                                                      /* 14 */
        "task \"t9\" { command = {\"/bin/true\"} environment = {\"1A=b\"} concurrency = -1 body = \"x\" }\n", /* 15 */
        20, "bad.conf:1: task: \"satchel.mine\" is reserved", "bad.conf:2: task \"both\": has both",
        "bad.conf:3: task \"none\": needs a command or a url", "bad.conf:5: task \"twice\": is configured twice",
        "bad.conf:4", "bad.conf:6: task: \"a b\"", "bad.conf:7: task \"t1\": command: \"{{args.x\" has a {{",
        "bad.conf:8: task \"t2\"", "bad.conf:9: task \"t3\"", "bad.conf:10: task \"t4\": url", "bad.conf:11",
        "\"nocolon\"", "\"FETCH\"", "workdir belongs to tasks with a command", "timeout \"3x\"", "final_exit: \"0\"",
        "propagate: \"all\"", "command is empty", "\"1A\"", "concurrency \"-1\"", "body belongs to tasks with a url");
}

static void test_bad_headers_tenants_plugins(void **state)
{
    (void)state;
    REFUSE("header \"X-A\" { }\n"                                                                     /* 1 */
           "header \"X-B\" { var = \"Upper\" }\n"                                                     /* 2 */
           "header \"X-C\" { var = \"tenant\" }\n"                                                    /* 3 */
           "header \"Content-Length\" { var = \"len\" }\n"                                            /* 4 */
           "header \"bad name\" { var = \"bn\" }\n"                                                   /* 5 */
           "header \"X-D\" { var = \"d\" }\nheader \"x-d\" { var = \"e\" }\n"                         /* 7 */
           "header \"X-E\" { var = \"d\" }\n"                                                         /* 8 */
           "header \"X-F\" { var = \"f\" max_len = 0 secret = maybe }\n"                              /* 9: two */
           "tenant \"a b\" { }\n"                                                                     /* 10 */
           "tenant \"t\" { weight = 0 rate = -1 max_running = x }\n"                                  /* 11: three */
           "tenant \"t\" { }\n"                                                                       /* 12 */
           "plugin \"p.so\" {}\n"                                                                     /* 13 */
           "tenant \"u\" { burst = 5 max_queued_bytes = many max_waiters = -1 }\n"                    /* 14: three */
           "tenant \"v\" { context = {\"tenant=x\", \"Region=eu\", \"plain\", \"a=\"} }\n"            /* 15: four */
           "tenant \"w\" { baggage = {\"a b=c\", \"k=v,w\", \"=v\"} require_headers = {\"a b\"} }\n", /* 16: four */
           26, "bad.conf:1: header \"X-A\": var is missing", "bad.conf:2", "bad.conf:3", "bad.conf:4", "bad.conf:5",
           "bad.conf:7: header \"x-d\": is configured twice", "bad.conf:8", "max_len \"0\"", "secret \"maybe\"",
           "bad.conf:10: tenant: \"a b\"", "weight \"0\"", "rate \"-1\"", "max_running \"x\"",
           "bad.conf:12: tenant \"t\": is configured twice", "bad.conf:13: plugin",
           "burst \"5\" says nothing without rate", "max_queued_bytes \"many\"", "max_waiters \"-1\"", "\"tenant=x\"",
           "\"Region=eu\"", "\"plain\"", "\"a=\"", "\"a b=c\"", "\"k=v,w\"", "\"=v\"", "\"a b\"");
}

static void test_listen(void **state)
{
    (void)state;
    REFUSE("listen = {\"0.0.0.0:8640\",\n \"[::]:1\",\n \"8640\",\n \"127.0.0.1:70000\",\n \"unix:rel\",\n \"[::1\"}\n",
           4, "bad.conf:3: listen: \"8640\"", "bad.conf:4: listen", "bad.conf:5: listen", "bad.conf:6: listen");
    REFUSE("listen = {\"0.0.0.0:8640\",\n \"[::]:1\", \"127.0.0.1:5\", \"127.0.0.1:5\"}\n", 3,
           "bad.conf:1: listen: \"0.0.0.0:8640\" is reachable from other machines",
           "bad.conf:2: listen: \"[::]:1\" is reachable", "is there twice");
    REFUSE("listen = {}\n", 1, "listen takes 1 to 64 addresses");
    struct config *config =
        load_text("listen = {\"localhost:0\", \"127.3.2.1:0\", \"[::1]:0\", \"[::ffff:127.0.0.1]:0\"}");
    config_unref(config);
}

static void test_auth(void **state)
{
    (void)state;
    put_file("tokens", "satchel-tokens 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    char *tokens = path_of("tokens"), text[512];
    (void)snprintf(text, sizeof text,
                   "listen = {\"0.0.0.0:0\"}\nauth { token_file = \"%s\" proxy_uids = {\"root\"} metrics = open\n"
                   "peer \"@0\" { tenants = {\"a\", \"b\"} scopes = {\"read\"} } peer \"7\" { tenants = {\"*\"} } }\n",
                   tokens);
    struct config *config = load_text(text); /* an address that others reach, too */
    assert_true(config->auth.on && config->auth.open_metrics);
    assert_int_equal(config->auth.proxy_uids[0], 0);
    assert_int_equal(config->auth.n_peers, 2);
    assert_true(config->auth.peers[0].is_group);
    assert_int_equal(config->auth.peers[0].scopes, TOKEN_READ);
    assert_int_equal(config->auth.peers[1].id, 7);
    assert_true(config->auth.peers[1].all_tenants);
    assert_int_equal(config->auth.max_failures, 10);
    config_unref(config);
    config = load_text("auth { proxy_uids = {\"0\"} max_failures = 3 task_token = \"5m\" }");
    assert_int_equal(config->auth.max_failures, 3);
    assert_int_equal(config->auth.task_token_us, 300000000);
    config_unref(config);
    free(tokens);
}

static void test_auth_problems(void **state)
{
    (void)state;
    REFUSE("\nauth { token_file = \"/nonexistent/tokens\" }\n", 1,
           "bad.conf:2: auth: token_file: /nonexistent/tokens: cannot be read: No such file");
    REFUSE("auth { }\n", 1, "bad.conf:1: auth: nobody could call");
    REFUSE("auth { proxy_uids = {\"0\"} }\nauth { }\n", 1, "bad.conf:2: auth: there is a section already");
    REFUSE("auth { proxy_uids = {\"no-such-user\"}\n max_failures = -1\n metrics = all\n task_token = soon\n"
           " peer \"nobody-here\" { tenants = {\"a\"} }\n peer \"@no-such-group\" { tenants = {\"a\"} }\n"
           " peer \"1\" { }\n peer \"2\" { tenants = {\"a\", \"*\"} scopes = {\"write\"} }\n"
           " peer \"3\" { tenants = {\"a b\"} owner = 1 }\n peer \"2\" { tenants = {\"a\"} }\n colour = 1 }\n",
           13, "is not a user of this system", "bad.conf:2", "bad.conf:3: auth: metrics \"all\"", "bad.conf:4",
           "bad.conf:5: peer", "bad.conf:6: peer: \"@no-such-group\" is not a group",
           "bad.conf:7: peer \"1\": tenants is missing", "bad.conf:8: peer \"2\": scopes", "stands alone",
           "bad.conf:9: peer \"3\": tenants", "unknown setting \"owner\"",
           "bad.conf:10: peer \"2\": is configured twice", "unknown setting \"colour\"");
    put_file("tokens", "satchel-tokens 1 xx\n");
    char *tokens = path_of("tokens"), text[256];
    (void)snprintf(text, sizeof text, "auth { token_file = \"%s\" }\n", tokens);
    REFUSE(text, 1, "tokens:1: the key is not 64 hexadecimal digits");
    free(tokens);
}

/* systemd's LoadCredential=tokens:... turns authentication on by itself. */
static void test_credentials(void **state)
{
    (void)state;
    put_file("tokens", "satchel-tokens 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    (void)setenv("CREDENTIALS_DIRECTORY", directory, 1);
    struct config *config = load_text("listen = {\"0.0.0.0:0\"}");
    assert_true(config->auth.on);
    assert_non_null(strstr(config->auth.token_file, "/tokens"));
    assert_int_equal(config->auth.max_failures, 10);
    config_unref(config);
    (void)setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1);
    REFUSE("listen = {\"0.0.0.0:0\"}", 1, "satchel token create");
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    char *tokens = path_of("tokens");
    (void)unlink(tokens);
    free(tokens);
}

static void test_drop_ins(void **state)
{
    (void)state;
    char *conf_d = path_of("conf.d");
    struct config_overrides overrides = {.directory = directory, .workers = "9"};
    struct lines lines = {0};
    struct config *config = NULL;
    assert_int_equal(mkdir(conf_d, 0700), 0);
    put_file("satcheld.conf", "workers = 5\nmax_headers = 100\ntask \"a\" { command = {\"/bin/true\"} }\n");
    put_file("conf.d/20-b.conf", "max_headers = 120\nmax_log = 2M\n");
    put_file("conf.d/10-a.conf", "max_headers = 110\nlog_level = debug\n");
    put_file("conf.d/ignored.txt", "nonsense = 1\n");
    assert_int_equal(config_load(&overrides, collect, &lines, &config), 0);
    assert_int_equal(config->max_headers, 120);
    assert_int_equal(config->max_log, 2097152);
    assert_string_equal(config->log_level, "debug");
    assert_int_equal(config->workers, 9);
    assert_int_equal(config->n_tasks, 1);
    config_unref(config);
    config = NULL;
    put_file("conf.d/30-c.conf", "task \"a\" { command = {\"/bin/true\"} }\nunknown = 1\n");
    put_file("conf.d/40-d.conf", "unknown = 1\nmax_headers = x\n");
    assert_int_equal(config_load(&overrides, collect, &lines, &config), -1);
    assert_int_equal(lines.n, 4);
    assert_non_null(strstr(lines.text.data, "conf.d/30-c.conf:1: task \"a\": is configured twice"));
    assert_non_null(strstr(lines.text.data, "conf.d/30-c.conf:2: unknown setting"));
    assert_non_null(strstr(lines.text.data, "conf.d/40-d.conf:1: unknown setting"));
    assert_non_null(strstr(lines.text.data, "conf.d/40-d.conf:2: max_headers"));
    buf_release(&lines.text);
    free(conf_d);
}

static void test_missing_and_unreadable_files(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct config *config = NULL;
    struct config_overrides nowhere = {.directory = "/nonexistent"}, is_directory = {.file = "/tmp"};
    assert_int_equal(load_file("not-there.conf", &lines, &config), -1);
    assert_int_equal(lines.n, 1);
    assert_int_equal(config_load(&is_directory, collect, &lines, &config), -1);
    assert_int_equal(lines.n, 2);
    assert_int_equal(config_load(&nowhere, collect, &lines, &config), 0);
    config_unref(config);
    buf_release(&lines.text);
}

static void test_command_line(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct config *config = NULL;
    const char *listen[] = {"127.0.0.1:1", "unix:/x/y"};
    struct config_overrides overrides = {
        .directory = "/nonexistent", .listen = listen, .n_listen = 2, .data_dir = "/srv/d", .log_level = "error"};
    assert_int_equal(config_load(&overrides, collect, &lines, &config), 0);
    assert_int_equal(config->listen.n, 2);
    assert_string_equal(config->store, "sqlite:/srv/d/satchel.db");
    config_unref(config);
    overrides.workers = "0x4";
    overrides.store = "postgresql://db/x";
    listen[0] = "192.0.2.1:80";
    config = NULL;
    assert_int_equal(config_load(&overrides, collect, &lines, &config), -1);
    assert_int_equal(lines.n, 3);
    assert_non_null(strstr(lines.text.data, "command line: workers"));
    assert_non_null(strstr(lines.text.data, "command line: store"));
    assert_non_null(strstr(lines.text.data, "command line: listen: \"192.0.2.1:80\" is reachable"));
    buf_release(&lines.text);
}

static void test_state_directory(void **state)
{
    (void)state;
    assert_int_equal(setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1), 0);
    struct config *config = load_text("");
    assert_int_equal(unsetenv("STATE_DIRECTORY"), 0);
    assert_string_equal(config->data_dir, "/var/lib/one");
    config_unref(config);
}

/* What --print-config says is a configuration that means the same. */
static void test_print_round_trip(void **state)
{
    (void)state;
    struct lines first = {0}, second = {0};
    struct config *config = load_text(
        "workers = 3\ndata_dir = \"/a b/\\\"c\\\\\\${X}\"\nheader \"X-R\" { var = r secret = true }\n"
        "tenant \"*\" { weight = 2.5 rate = 7 burst = 3 max_queued_bytes = 1MiB max_waiters = 2 max_connections = 3 "
        "context = {\"a=b "
        "\\\"c\\\"\"}\n"
        " baggage = {\"k=v\", \"l=w\"} require_headers = {\"X-A\"} }\n"
        "task \"t\" { tenant_concurrency = 3 command = {\"/bin/echo\", \"$HOME\\n\", \"{{args.x}}\"} timeout = 90s "
        "final_exit = {} }\n"
        "task \"u\" { url = \"http://x/\" propagate = {} }\nplugin \"/p.so\" { config = \"x y\" }\n"
        "otlp_endpoint = \"http://127.0.0.1:4318\"\notlp_traces_endpoint = \"https://h/v1/traces?a=b\"\n"
        "service_name = jobs\nresource_attributes = \"a=b,c=d\"\n"
        "trace_sampler = parentbased_traceidratio\ntrace_sampler_arg = 0.25\n"
        "listen = {\"https://[::1]:0\", \"http://localhost:1\"}\nauth { certificate \"URI:a:b*\" { tenants = {\"x\"} } "
        "}\n"
        "tls { certificate = \"credential:c\" key = /k.pem client_ca = /a client_crl = /r client_required = no\n"
        "min_version = 1.3 ciphers = \"ECDHE+AESGCM\" }\n");
    config_print(config, collect, &first);
    config_unref(config);
    config = load_text(first.text.data);
    config_print(config, collect, &second);
    assert_string_equal(first.text.data, second.text.data);
    assert_string_equal(config->data_dir, "/a b/\"c\\${X}");
    assert_string_equal(config->tasks[0].command.items[1], "$HOME\n");
    assert_int_equal(config->tasks[0].n_final_exit, 0);
    assert_string_equal(config->tls.certificate.value, "credential:c");
    assert_non_null(strstr(config->tls.key.where, "good.conf:"));
    assert_string_equal(config->tls.ciphers.value, "ECDHE+AESGCM");
    assert_false(config->tls.client_required);
    assert_int_equal(config->auth.n_certificates, 1);
    assert_true(first.n >= N_OPTIONS - 2 + 5); /* otlp_headers and callback_key_file are not set */
    config_unref(config);
    buf_release(&first.text);
    buf_release(&second.text);
}

static void test_secrets_are_not_printed(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct config *config = load_text("otlp_headers = \"authorization=hunter2\"\n");
    assert_string_equal(config->otlp_headers, "authorization=hunter2");
    config_print(config, collect, &lines);
    assert_null(strstr(lines.text.data, "hunter2"));
    assert_non_null(strstr(lines.text.data, "# otlp_headers is set"));
    config_unref(config);
    buf_release(&lines.text);
}

static void test_telemetry_settings(void **state)
{
    (void)state;
    static const char *const bad[] = {"otlp_endpoint = \"ftp://x\"",
                                      "otlp_endpoint = \"http://\"",
                                      "otlp_endpoint = \"http://{{args.x}}\"",
                                      "trace_sampler = often",
                                      "trace_sampler_arg = 1.5",
                                      "trace_sampler_arg = nan",
                                      "trace_sampler_arg = \"\"",
                                      "span_batch = 8193"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSE(bad[i], 1, "bad.conf:1: ");
}

static void note(void *arg, const char *name)
{
    buf_printf(arg, "%s ", name);
}

static void test_needs_restart(void **state)
{
    (void)state;
    struct buf names = BUF_INIT;
    struct config *before = load_text("workers = 4 log_level = info listen = \"127.0.0.1:0\"\n");
    struct config *after = load_text("workers = 5 log_level = debug listen = \"127.0.0.1:1\"\n");
    config_needs_restart(before, after, note, &names);
    assert_string_equal(names.data, "listen workers ");
    buf_reset(&names);
    config_needs_restart(before, before, note, &names);
    assert_int_equal(names.len, 0);
    config_unref(before);
    config_unref(after);
    before = load_text("task \"t\" { command = {\"/bin/a\"} }\nplugin \"/p.so\" {}\ntenant \"a\" { weight = 1 }\n");
    after = load_text("task \"t\" { command = {\"/bin/b\"} }\ntenant \"a\" { weight = 2 }\n"
                      "header \"X-A\" { var = \"a\" }\n");
    config_needs_restart(before, after, note, &names);
    assert_int_equal(names.len, 0); /* sections are all taken up */
    config_unref(before);
    config_unref(after);
    buf_release(&names);
}

/* What only a restart takes up stays as it runs; the rest is the new one's. */
static void test_keep_constant(void **state)
{
    (void)state;
    struct config *running =
        load_text("workers = 4 log_level = info listen = {\"127.0.0.1:0\", \"[::1]:0\"} drain = 7s\n"
                  "tenant_header = X-One metrics_tenants = true max_headers = 40 retain = 1d\n");
    struct config *fresh = load_text("workers = 5 log_level = debug listen = \"127.0.0.1:1\" drain = 8s\n"
                                     "tenant_header = X-Two retain = 2d service_name = other\n");
    struct buf names = BUF_INIT;
    assert_int_equal(config_keep_constant(fresh, running), 0);
    config_needs_restart(running, fresh, note, &names);
    assert_int_equal(names.len, 0);
    assert_int_equal(fresh->workers, 4);
    assert_int_equal(fresh->listen.n, 2);
    assert_string_equal(fresh->listen.items[1], "[::1]:0");
    assert_string_equal(fresh->tenant_header, "X-One");
    assert_int_equal(fresh->max_headers, 40);
    assert_int_equal(fresh->drain_us, 7000000);
    assert_true(fresh->metrics_tenants);
    assert_null(fresh->service_name);
    assert_string_equal(fresh->log_level, "debug");
    assert_int_equal(fresh->retain_us, INT64_C(2) * 24 * 3600 * 1000000);
    config_unref(running);
    config_unref(fresh);
    buf_release(&names);
}

/* Every default passes its own checks and lies within its own limits, and every setting is described. */
static void test_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        assert_true(options[i].min <= options[i].max);
        assert_true(strlen(options[i].text) > 20);
        assert_ptr_equal(option_find(options[i].name), &options[i]);
    }
    assert_null(option_find("nothing"));
}

/* Whatever bytes a file holds: a configuration or problems, never a crash. */
static void test_noise(void **state)
{
    (void)state;
    static const char alphabet[] = "\"'{}=+,#/\\*\n \t$(|)ab task listen{ {{ workers \"x\" = { } ";
    unsigned seed = 20240601;
    for (int round = 0; round < 3000; round++) {
        char text[96];
        size_t len = (size_t)(round % 90);
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1103515245u + 12345u;
            text[i] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
        }
        text[len] = '\0';
        struct lines lines = {0};
        struct config *config = NULL;
        put_file("noise.conf", text);
        int result = load_file("noise.conf", &lines, &config);
        assert_true((result == 0) == (lines.n == 0));
        assert_true((result == 0) == (config != NULL));
        config_unref(config);
        buf_release(&lines.text);
    }
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char *command;
    if (asprintf(&command, "rm -rf '%s'", directory) < 0)
        return -1;
    int result = system(command);
    free(command);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_single_value_for_list_and_append),
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_headers_that_commands_would_obey),
        cmocka_unit_test(test_lines_behind_comments),
        cmocka_unit_test(test_confine),
        cmocka_unit_test(test_confine_problems),
        cmocka_unit_test(test_another_user_needs_root),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_no_final_exit),
        cmocka_unit_test(test_environment_is_expanded),
        cmocka_unit_test(test_every_problem_is_reported),
        cmocka_unit_test(test_unknown_sections),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_bad_tasks),
        cmocka_unit_test(test_bad_headers_tenants_plugins),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_auth_problems),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_drop_ins),
        cmocka_unit_test(test_missing_and_unreadable_files),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_state_directory),
        cmocka_unit_test(test_print_round_trip),
        cmocka_unit_test(test_secrets_are_not_printed),
        cmocka_unit_test(test_telemetry_settings),
        cmocka_unit_test(test_needs_restart),
        cmocka_unit_test(test_keep_constant),
        cmocka_unit_test(test_table_is_sound),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
