/* b24bgctl: options, help, and which command it is. */
#include "b24bgctl.h"

#include <apr_general.h>
#include <apr_getopt.h>
#include <apr_strings.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The commands, as bits: which of them take an option. */
enum {
    PORTALS = 1,
    FORGET = 2,
    LOAD = 4,
    SLOW = 8,
    NOTICE = 16,
    INSTALL = 32,
    CHECK = 64,
    STATUS = 128,
    BIND = 256,
    UNBIND = 512,
    REBIND = 1024,
    WAITING = BIND | UNBIND | REBIND,
    ON_STORE = PORTALS | FORGET | STATUS | WAITING,
    FORMS = LOAD | SLOW | INSTALL,
    SENDING = FORMS | NOTICE,
    ASKING = SENDING | CHECK,
    ALL = ON_STORE | ASKING
};

static const struct {
    b24bgctl_option_e option;
    unsigned takers;
    const char *name;
    const char *value; /* NULL: it takes none */
    const char *help;
} options[] = {
    {B24BGCTL_URL, SENDING, "url", "URL*", "where to send; nothing else is contacted"},
    {B24BGCTL_COUNT, LOAD, "count", "N", "so many loads, one after the other"},
    {B24BGCTL_SECONDS, SLOW, "seconds", "N", "how long the page stays unread (6)"},
    {B24BGCTL_VARIANT, NOTICE, "variant", "A..E",
     "A: error and text; B (default): and the portal;\n"
     "C: and the application token; D: as B, in the\n"
     "query of a GET; E: as B, in JSON"},
    {B24BGCTL_PAGE, INSTALL, "page", NULL,
     "the page in the administrator's browser, not\nthe event ONAPPINSTALL"},
    {B24BGCTL_ERROR_URL, CHECK, "error-url", "URL*",
     "the error URL, to be looked at too; a GET without\nan error code changes nothing"},
    {B24BGCTL_WEBHOOK, CHECK, "webhook", "URL*",
     "https://PORTAL/rest/USER/CODE/: ask the portal,\ntoo, what placements it offers"},
    {B24BGCTL_PORTAL, ASKING, "portal", "MEMBER_ID", "32 hexadecimal digits"},
    {B24BGCTL_PORTAL, ASKING, "member-id", "MEMBER_ID", "the same"},
    {B24BGCTL_DOMAIN, ASKING, "domain", "HOST[:PORT]", "the portal's host"},
    {B24BGCTL_TOKEN, ASKING, "token", "TOKEN*", "the application token"},
    {B24BGCTL_ACCESS_TOKEN, FORMS, "access-token", "TOKEN*", "a user's access token"},
    {B24BGCTL_REFRESH_TOKEN, FORMS, "refresh-token", "TOKEN*",
     "the refresh token that goes with it"},
    {B24BGCTL_AUTH_SERVER, SENDING, "auth-server", "URL",
     "what the message says it is\n(https://oauth.bitrix.info)"},
    {B24BGCTL_URI, LOAD | SLOW, "uri", "PATH", "the portal page that hosts the frame"},
    {B24BGCTL_OLD, FORMS | CHECK, "old", NULL,
     "a portal of the old generation: http, no\napplication token, no endpoint, no scope"},
    {B24BGCTL_TIMEOUT, ASKING, "timeout", "SECONDS", "longest wait for the answer (20)"},
    {B24BGCTL_DRY_RUN, WAITING, "dry-run", NULL, "only ask the portal, and say what would be done"},
    {B24BGCTL_TIMEOUT, WAITING, "timeout", "SECONDS", "longest wait for the result (60)"},
    {B24BGCTL_CA_FILE, ASKING, "ca-file", "FILE", "certificates to trust, not the system's"},
    {B24BGCTL_JSON, PORTALS | STATUS | CHECK, "json", NULL, "for programs"},
    {B24BGCTL_STORE, ON_STORE, "store", "STORE",
     "/path/to/b24bg.db, sqlite3:PATH, or\npgsql:\"host=... dbname=...\"\n"
     "(/var/lib/b24bg/b24bg.db)"},
    {B24BGCTL_STATE_DIR, ON_STORE, "state-dir", "DIR", "the same as --store DIR/b24bg.db"},
    {B24BGCTL_HELP, ALL, "help", NULL, "this text"},
    {B24BGCTL_PROGRAM_VERSION, ALL, "version", NULL, "the version"}};

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Lines of help are at most 80 characters. */
#define SAMPLE_NOTE                                                                                \
    "What is not given is that of the documented sample, portal\n"                                 \
    "da45a03b265edd8787f8a258d793cc5d at xxx.bitrix24.com; its tokens are worth\n"                 \
    "nothing.\n"
#define ASKING_NOTE                                                                                \
    "A value marked * may be env:NAME or file:PATH, so that it does not show in a\n"               \
    "list of processes. Redirects are not followed, no proxy is used.\n\n"
#define SENDING_NOTE                                                                               \
    ASKING_NOTE                                                                                    \
    "Exit code: 0 status 2xx, 1 a redirect or more than 1 s, 2 no answer or another\n"             \
    "status, 3 usage.\n"
#define STORE_NOTE                                                                                 \
    "Apache may run or not. Root becomes the owner of the SQLite file first, so that\n"            \
    "no file of root's is left beside it. A password of PostgreSQL belongs into\n"                 \
    "PGPASSWORD or ~/.pgpass.\n\n"                                                                 \
    "Exit code: 0 done, 2 no store or it failed, 3 usage.\n"

#define WAITING_NOTE                                                                               \
    "PORTAL is a member_id or a domain. The command is left in the store; the\n"                   \
    "background task of an Apache that runs carries it out, and its result is\n"                   \
    "printed. If none comes in time the command is withdrawn.\n\n"                                 \
    "Root becomes the owner of the SQLite file first. A password of PostgreSQL\n"                  \
    "belongs into PGPASSWORD or ~/.pgpass.\n\n"                                                    \
    "Exit code: 0 done, 1 done or under way, with a warning, 2 failed, or no result,\n"            \
    "3 usage.\n"

static const struct command_t {
    const char *name;
    const char *kind; /* second word, or NULL */
    const char *words;
    int word_count;
    unsigned bit;
    b24bgctl_exit_e (*run)(b24bgctl_t *ctl);
    const char *summary;
    const char *help;
} commands[] = {
    {"status", NULL, "", 0, STATUS, b24bgctl_status, "where every registration stands",
     "The first line is for monitoring: OK, WARNING or CRITICAL. Then a line for each\n"
     "registration: app, domain, member_id, user if it is a personal one, state, since\n"
     "when, when the portal was last asked, last notice, last rebind, age of the\n"
     "refresh token (worth nothing after 180 days), what happens next, and of one that\n"
     "is blocked why, and what to do. Times are UTC.\n\n"
     "States: unknown, bound, suspect, lost, binding, unbound, blocked. Reasons of\n"
     "blocked: no-token, not-admin, wrong-app, payment, daily-cap, uninstalled,\n"
     "foreign-handler, refused.\n\n"
     "--json: an object with exactly these members:\n"
     "  status         \"ok\", \"warning\" or \"critical\"\n"
     "  summary        text, the first line\n"
     "  background     object:\n"
     "    alive        true if a background task is at work\n"
     "    holder       text, its name; null if there is none\n"
     "    until_at     text, 2026-01-31T09:00:00Z: its lease ends then; null\n"
     "  registrations  array of objects:\n"
     "    app          text\n"
     "    member_id    text, 32 hexadecimal digits\n"
     "    domain       text, host or host:port; null if the portal is not known\n"
     "    user_id      whole number; null for the general registration\n"
     "    severity     \"ok\", \"warning\" or \"critical\"\n"
     "    state        text, one of the states\n"
     "    reason       text, one of the reasons; \"\"\n"
     "    detail       text, why; \"\"\n"
     "    remedy       text, what to do; \"\"\n"
     "    since_at     text, 2026-01-31T09:00:00Z; null\n"
     "    checked_at   the same, the portal was last asked; null\n"
     "    noticed_at   the same, last notice; null\n"
     "    rebound_at   the same, last rebind; null\n"
     "    due_at       the same, next step; null\n"
     "    token_age_seconds  whole number; null without a refresh token\n\n"
     "Apache may run or not. Root becomes the owner of the SQLite file first. A\n"
     "password of PostgreSQL belongs into PGPASSWORD or ~/.pgpass.\n\n"
     "Exit code: 0 all are bound, or taken away by command or uninstallation;\n"
     "1 unknown, suspect, binding, a token older than 150 days, or no background task\n"
     "at work; 2 lost or blocked, or the store failed; 3 usage.\n"},
    {"portals", NULL, "", 0, PORTALS, b24bgctl_portals, "the portals in the store, a line each",
     "Times are UTC. LAST LOAD and LOADS are brought up to date once a minute.\n"
     "TOKEN AGE is the refresh token's, in minutes, hours or days; it is worth\n"
     "nothing after 180 days. STATE is installed, or uninstalled (or forgotten).\n\n"
     "--json: an array of objects with exactly these members:\n"
     "  app                text\n"
     "  member_id          text, 32 hexadecimal digits\n"
     "  domain             text, host or host:port\n"
     "  state              \"installed\" or \"uninstalled\"\n"
     "  installed_at       text, 2026-01-31T09:00:00Z; null unless installed\n"
     "  last_load_at       the same; null before the first load\n"
     "  loads              whole number\n"
     "  token_age_seconds  whole number; null without a refresh token\n\n" STORE_NOTE},
    {"forget", NULL, "APP PORTAL", 2, FORGET, b24bgctl_forget, "wipe the tokens of a portal",
     "PORTAL is a member_id or a domain. All its tokens are wiped from the store at\n"
     "once, without a question; servers that are running follow within seconds. Its\n"
     "line stays, as uninstalled. Bitrix24 is not told. Installing the application\n"
     "again brings the portal back.\n\n" STORE_NOTE},
    {"bind", NULL, "APP PORTAL", 2, BIND, b24bgctl_bind, "register the worker at a portal now",
     "Registers the worker now, also where it was blocked or taken away. It may exceed\n"
     "the binds that B24bgRebindBackoff allows a day, once. What is registered already\n"
     "stays; somebody else's handler is left alone. From then on the registration is\n"
     "looked after again.\n\n" WAITING_NOTE},
    {"unbind", NULL, "APP PORTAL", 2, UNBIND, b24bgctl_unbind, "take the registration away",
     "Takes the registration away and keeps it so, also after another installation,\n"
     "until b24bgctl bind. Somebody else's handler is left alone.\n\n" WAITING_NOTE},
    {"rebind", NULL, "APP PORTAL", 2, REBIND, b24bgctl_rebind, "take it away, register it anew",
     "Takes away what is registered, somebody else's handler of this application too,\n"
     "and registers the worker with a new key in its error URL. It may exceed the\n"
     "binds that B24bgRebindBackoff allows a day, once.\n\n" WAITING_NOTE},
    {"check", NULL, "URL*", 1, CHECK, b24bgctl_check, "what a browser meets at the worker URL",
     "URL is the public worker URL. A line for each finding: ok, note, warning or\n"
     "critical, what was looked at, what it is, and a remedy. Looked at are the URL\n"
     "itself, its name and addresses, the certificate (a warning 21 days, critical 7\n"
     "days before its end), a load as Bitrix24's page makes it, which must be answered\n"
     "200 without a redirect, the time of 20 such loads (a warning over 1 s, critical\n"
     "over 5 s), Content-Type, the headers by which a browser refuses the frame or\n"
     "takes its rights, and what in the page delays its load event. The server counts\n"
     "the loads like any other.\n" SAMPLE_NOTE "\n" ASKING_NOTE
     "--json: an object with exactly these members:\n"
     "  status                  \"ok\", \"warning\" or \"critical\"\n"
     "  findings                array of objects: severity (also \"note\"), what, text,\n"
     "                          remedy (\"\" where none is needed)\n"
     "  certificate_expires_at  text, 2026-01-31T09:00:00Z; null where not known\n"
     "  min_ms                  of the 20 loads, number; null where not measured\n"
     "  median_ms               the same\n"
     "  max_ms                  the same\n\n"
     "Exit code: 0 all ok, 1 a warning, 2 something critical, 3 usage.\n"},
    {"simulate", "load", "", 0, LOAD, b24bgctl_load, "what a browser posts to the worker URL",
     "A load as Bitrix24's page makes it, counted by the server like any other.\n" SAMPLE_NOTE
     "\n" SENDING_NOTE},
    {"simulate", "slow", "", 0, SLOW, b24bgctl_slow, "a load whose page is read slowly",
     "A load whose page stays unread for a while after its first byte, as on a bad\n"
     "line. It does not use up the budget: Bitrix24 counts what its own page measures\n"
     "in a browser, and only a worker that is registered at a portal shows that.\n" SAMPLE_NOTE
     "\n" SENDING_NOTE},
    {"simulate", "notice", "", 0, NOTICE, b24bgctl_notice, "the notice that a registration is gone",
     "What Bitrix24 sends to the error URL when it has deleted a registration. The\n"
     "error log gets a line. With a live key in the URL it passes for a real one.\n" SAMPLE_NOTE
     "\n" SENDING_NOTE},
    {"simulate", "install", "", 0, INSTALL, b24bgctl_install, "an installation, event or page",
     "What the install URL gets when the application is installed. Its answer says\n"
     "that this is kept, not that it is believed: the auth server is asked whose the\n"
     "access token is. The sample's tokens end as a refusal in the error log, real\n"
     "ones as an installation.\n" SAMPLE_NOTE "\n" SENDING_NOTE}};

/* The last one; for whoever reads stdout alone. */
static char failure[1024];

const char *b24bgctl_failure(void)
{
    return failure;
}

b24bgctl_exit_e b24bgctl_fail(b24bgctl_exit_e code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(failure, sizeof(failure), format, arguments);
    va_end(arguments);
    va_start(arguments, format);
    fputs("b24bgctl: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return code;
}

int b24bgctl_refuse(b24bgctl_option_e option, const char *why)
{
    int i = 0;

    while (options[i].option != option) {
        i++;
    }
    b24bgctl_fail(B24BGCTL_USAGE, "--%s: %s", options[i].name, why);
    return 0;
}

/* Help */

static void print_option(int i)
{
    const char *value = options[i].value ? options[i].value : "";
    const char *line = options[i].help;
    int width = 26 - (int)strlen(options[i].name);

    printf("  --%s %-*s", options[i].name, width, value);
    while (strchr(line, '\n')) {
        const char *end = strchr(line, '\n');
        printf("%.*s\n%*s", (int)(end - line), line, 31, "");
        line = end + 1;
    }
    printf("%s\n", line);
}

static void print_options(unsigned takers)
{
    int i;

    printf("\noptions:\n");
    for (i = 0; i < COUNT_OF(options); i++) {
        if (options[i].takers & takers) {
            print_option(i);
        }
    }
}

static const char *full_name(apr_pool_t *pool, const struct command_t *command)
{
    return apr_pstrcat(pool, command->name, command->kind ? " " : "",
                       command->kind ? command->kind : "", *command->words ? " " : "",
                       command->words, NULL);
}

/* All of them, or those of one name. */
static void print_commands(apr_pool_t *pool, const char *name)
{
    int i;

    printf("\ncommands:\n");
    for (i = 0; i < COUNT_OF(commands); i++) {
        if (!name || strcmp(commands[i].name, name) == 0) {
            printf("  %-20s %s\n", full_name(pool, &commands[i]), commands[i].summary);
        }
    }
    printf("\nb24bgctl COMMAND --help explains a command, with all its options.\n");
}

static void print_help(apr_pool_t *pool, const char *name)
{
    printf("usage: b24bgctl %s\n\n"
           "Looks after what mod_b24bg remembers of portals, and rehearses what Bitrix24\n"
           "sends.\n",
           name ? "simulate KIND --url URL [options]"
                : "[--store STORE | --state-dir DIR] COMMAND [options]");
    print_commands(pool, name);
    if (!name) {
        print_options(FORGET);
    }
    printf("\nNothing printed holds a secret.\n"
           "Exit code: 0 good, 1 warning, 2 critical, 3 usage.\n");
}

static void print_command_help(apr_pool_t *pool, const struct command_t *command)
{
    printf("usage: b24bgctl %s%s [options]\n\n%s", full_name(pool, command),
           command->bit & SENDING ? " --url URL" : "", command->help);
    print_options(command->bit);
}

/* Reading the command line */

static b24bgctl_exit_e usage(const char *what, const char *detail)
{
    return b24bgctl_fail(B24BGCTL_USAGE, "%s%s; see b24bgctl --help", what, detail);
}

/* The option without its value, which may be a secret. */
static const char *option_shown(apr_pool_t *pool, const char *word)
{
    apr_size_t length = strncmp(word, "--", 2) == 0 ? strcspn(word, "=") : 2;

    return apr_pstrndup(pool, word, length);
}

static apr_getopt_option_t *getopt_table(apr_pool_t *pool)
{
    apr_getopt_option_t *table = apr_pcalloc(pool, (COUNT_OF(options) + 2) * sizeof(*table));
    int i;

    /* Letters are out of the way of these numbers. */
    for (i = 0; i < COUNT_OF(options); i++) {
        table[i].name = options[i].name;
        table[i].optch = 256 + i;
        table[i].has_arg = options[i].value != NULL;
    }
    table[i].optch = 'h';
    return table;
}

static b24bgctl_exit_e read_options(b24bgctl_t *ctl, apr_getopt_t *getopt)
{
    const apr_getopt_option_t *table = getopt_table(ctl->pool);
    const char *value;
    apr_status_t rv;
    int letter;

    getopt->interleave = 1;
    getopt->errfn = NULL; /* it would print the whole word */
    while ((rv = apr_getopt_long(getopt, table, &letter, &value)) == APR_SUCCESS) {
        b24bgctl_option_e option = letter == 'h' ? B24BGCTL_HELP : options[letter - 256].option;
        ctl->options[option] = value ? value : "";
    }
    if (rv == APR_EOF) {
        return B24BGCTL_GOOD;
    }
    return usage(rv == APR_BADARG ? "a value is missing, or one too many: " : "unknown option ",
                 option_shown(ctl->pool, getopt->argv[getopt->ind - 1]));
}

/* NULL: there are not so many. */
static const char *word_at(const b24bgctl_t *ctl, int i)
{
    return i < ctl->word_count ? ctl->words[i] : NULL;
}

static const struct command_t *find_command(const char *name, const char *kind)
{
    int i;

    for (i = 0; i < COUNT_OF(commands); i++) {
        const struct command_t *command = &commands[i];
        if (name && strcmp(command->name, name) == 0 &&
            (!command->kind || (kind && strcmp(command->kind, kind) == 0))) {
            return command;
        }
    }
    return NULL;
}

/* 1 if there are commands of this name, whatever their kind. */
static int is_command(const char *name)
{
    int i;

    for (i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The commands that take an option, under any name or with any help. */
static unsigned takers_of(b24bgctl_option_e option)
{
    unsigned takers = 0;
    int i;

    for (i = 0; i < COUNT_OF(options); i++) {
        takers |= options[i].option == option ? options[i].takers : 0;
    }
    return takers;
}

static b24bgctl_exit_e check_command(b24bgctl_t *ctl, const struct command_t *command)
{
    int i;

    for (i = 0; i < COUNT_OF(options); i++) {
        if (ctl->options[options[i].option] && !(takers_of(options[i].option) & command->bit)) {
            return usage(full_name(ctl->pool, command),
                         apr_pstrcat(ctl->pool, " does not take --", options[i].name, NULL));
        }
    }
    if (ctl->word_count != command->word_count) {
        return usage(full_name(ctl->pool, command), command->word_count
                                                        ? ": exactly these words are needed"
                                                        : " takes no words, only options");
    }
    return B24BGCTL_GOOD;
}

static b24bgctl_exit_e run_command(b24bgctl_t *ctl, const struct command_t *command)
{
    b24bgctl_exit_e code;

    if (ctl->options[B24BGCTL_HELP]) {
        print_command_help(ctl->pool, command);
        return B24BGCTL_GOOD;
    }
    code = check_command(ctl, command);
    return code == B24BGCTL_GOOD ? command->run(ctl) : code;
}

/* Words that make no command: help where it was asked for, else what is wrong. */
static b24bgctl_exit_e no_command(b24bgctl_t *ctl)
{
    const char *name = word_at(ctl, 0);
    int known = name && is_command(name);

    if (ctl->options[B24BGCTL_HELP] && (!name || (known && !word_at(ctl, 1)))) {
        print_help(ctl->pool, name);
        return B24BGCTL_GOOD;
    }
    if (!name) {
        return usage("a command is missing", "");
    }
    return usage(known ? "simulate needs one of load, slow, notice, install"
                       : "there is no command of that name",
                 "");
}

static b24bgctl_exit_e run(b24bgctl_t *ctl, apr_getopt_t *getopt)
{
    b24bgctl_exit_e code = read_options(ctl, getopt);
    const struct command_t *command;

    if (code != B24BGCTL_GOOD) {
        return code;
    }
    if (ctl->options[B24BGCTL_PROGRAM_VERSION]) {
        printf("b24bgctl %s\n", B24BGCTL_VERSION);
        return B24BGCTL_GOOD;
    }
    ctl->words = getopt->argv + getopt->ind;
    ctl->word_count = getopt->argc - getopt->ind;
    command = find_command(word_at(ctl, 0), word_at(ctl, 1));
    if (!command) {
        return no_command(ctl);
    }
    ctl->words += command->kind ? 2 : 1;
    ctl->word_count -= command->kind ? 2 : 1;
    return run_command(ctl, command);
}

int main(int argc, const char *const *argv, const char *const *environment)
{
    b24bgctl_t ctl = {NULL, {NULL}, NULL, 0};
    apr_getopt_t *getopt;
    b24bgctl_exit_e code;

    if (apr_app_initialize(&argc, &argv, &environment) != APR_SUCCESS ||
        apr_pool_create(&ctl.pool, NULL) != APR_SUCCESS ||
        apr_getopt_init(&getopt, ctl.pool, argc, argv) != APR_SUCCESS) {
        return b24bgctl_fail(B24BGCTL_CRITICAL, "no memory");
    }
    code = run(&ctl, getopt);
    /* A list that did not reach its reader is no list. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        code = b24bgctl_fail(B24BGCTL_CRITICAL, "the output could not be written");
    }
    apr_pool_destroy(ctl.pool);
    apr_terminate();
    return code;
}
