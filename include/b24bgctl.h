/* What the files of the command line tool share. One thread; everything lives in one pool until
 * the process ends.
 */
#ifndef B24BGCTL_H
#define B24BGCTL_H

#include "b24bg_store.h"

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include <jansson.h>

#define B24BGCTL_VERSION "0.1.0"

/* Exit codes, as monitoring plugins have them. */
typedef enum { B24BGCTL_GOOD, B24BGCTL_WARNING, B24BGCTL_CRITICAL, B24BGCTL_USAGE } b24bgctl_exit_e;

typedef enum {
    B24BGCTL_HELP,
    B24BGCTL_PROGRAM_VERSION,
    B24BGCTL_STORE,
    B24BGCTL_STATE_DIR,
    B24BGCTL_JSON,
    B24BGCTL_URL,
    B24BGCTL_COUNT,
    B24BGCTL_SECONDS,
    B24BGCTL_VARIANT,
    B24BGCTL_PAGE,
    B24BGCTL_PORTAL,
    B24BGCTL_DOMAIN,
    B24BGCTL_TOKEN,
    B24BGCTL_ACCESS_TOKEN,
    B24BGCTL_REFRESH_TOKEN,
    B24BGCTL_AUTH_SERVER,
    B24BGCTL_URI,
    B24BGCTL_OLD,
    B24BGCTL_TIMEOUT,
    B24BGCTL_CA_FILE,
    B24BGCTL_ERROR_URL,
    B24BGCTL_WEBHOOK,
    B24BGCTL_DRY_RUN,
    B24BGCTL_OPTION_COUNT
} b24bgctl_option_e;

/* A command as it was given. */
typedef struct {
    apr_pool_t *pool;
    const char *options[B24BGCTL_OPTION_COUNT]; /* NULL: not given; "" for one without a value */
    const char *const *words;                   /* behind the command's name */
    int word_count;
} b24bgctl_t;

/* A line on stderr; returns `code`. No argument may hold a secret. */
b24bgctl_exit_e b24bgctl_fail(b24bgctl_exit_e code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What it said last, cut at 1,023 bytes; "" if nothing. */
const char *b24bgctl_failure(void);

/* The same about an option that cannot be; returns 0. */
int b24bgctl_refuse(b24bgctl_option_e option, const char *why);

/* b24bgctl_store.c: by --store and --state-dir. What is not good is said. */
b24bgctl_exit_e b24bgctl_store_open(b24bgctl_t *ctl, b24bg_store_t **store);
/* Says that the store failed; CRITICAL. */
b24bgctl_exit_e b24bgctl_store_fail(const b24bg_store_t *store, apr_status_t rv);
/* The one that the command's two words, APP and PORTAL, name. */
b24bgctl_exit_e b24bgctl_find_portal(b24bgctl_t *ctl, b24bg_store_t *store,
                                     const b24bg_store_portal_t **portal);
/* Of its refresh token; -1: it has none. */
apr_interval_time_t b24bgctl_token_age(const b24bg_store_portal_t *portal);

/* b24bgctl_text.c */

/* For texts out of the store: longer ones are cut. */
#define B24BGCTL_CELL_LONGEST 300

/* UTC; "-" for never. */
const char *b24bgctl_time_text(apr_pool_t *pool, apr_time_t time, const char *format);
json_t *b24bgctl_json_time(apr_pool_t *pool, apr_time_t time);
/* In minutes, hours or days; "-" below 0. */
const char *b24bgctl_age_text(apr_pool_t *pool, apr_interval_time_t age);

/* b24bgctl_portals.c */
b24bgctl_exit_e b24bgctl_portals(b24bgctl_t *ctl);
b24bgctl_exit_e b24bgctl_forget(b24bgctl_t *ctl);

/* b24bgctl_status.c */
b24bgctl_exit_e b24bgctl_status(b24bgctl_t *ctl);

/* b24bgctl_command.c: they need a background task that carries them out. */
b24bgctl_exit_e b24bgctl_bind(b24bgctl_t *ctl);
b24bgctl_exit_e b24bgctl_unbind(b24bgctl_t *ctl);
b24bgctl_exit_e b24bgctl_rebind(b24bgctl_t *ctl);

/* b24bgctl_check.c */
b24bgctl_exit_e b24bgctl_check(b24bgctl_t *ctl);

/* b24bgctl_simulate.c */
b24bgctl_exit_e b24bgctl_load(b24bgctl_t *ctl);
b24bgctl_exit_e b24bgctl_slow(b24bgctl_t *ctl);
b24bgctl_exit_e b24bgctl_notice(b24bgctl_t *ctl);
b24bgctl_exit_e b24bgctl_install(b24bgctl_t *ctl);

/* What Bitrix24 sends */

/* What a portal knows when it sends something. All of it is there. */
typedef struct {
    const char *url; /* as registered at the portal; may hold a key */
    const char *member_id;
    const char *domain;
    const char *application_token; /* secret */
    const char *access_token;      /* secret */
    const char *refresh_token;     /* secret */
    const char *server_endpoint;
    const char *uri;     /* of the portal page that hosts the frame */
    const char *app_sid; /* secret */
    int old;             /* a portal of the old generation */
    char variant;        /* of a notice: A to E */
    apr_time_t now;
} b24bgctl_facts_t;

typedef struct {
    const char *url;             /* secret */
    const char *body;            /* secret; NULL: a GET */
    apr_array_header_t *headers; /* const char *, "Name: value" */
} b24bgctl_message_t;

/* b24bgctl_facts.c: all but the URL, from the options and, for the rest, the sample; 0 when an
 * option cannot be and that is said. */
int b24bgctl_facts(b24bgctl_t *ctl, b24bgctl_facts_t *facts);
/* What was given as `name` (NULL: nothing) -> the URL it means, read from where env: and file: say;
 * 0 and said as above. */
int b24bgctl_url(b24bgctl_t *ctl, const char *name, const char *given, const char **url);
/* From 1 to `most`; *number stays as it is where the option is not given. */
int b24bgctl_number(b24bgctl_t *ctl, b24bgctl_option_e option, long most, long *number);

/* b24bgctl_message.c */

/* The values of the documented samples (protocol.md 1.5), new or old generation. */
void b24bgctl_message_sample(b24bgctl_facts_t *facts, int old);

typedef void (*b24bgctl_message_cb)(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                                    b24bgctl_message_t *message);
/* The worker POST: protocol.md 1.2 to 1.6. */
void b24bgctl_message_load(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                           b24bgctl_message_t *message);
/* The notice: protocol.md 3.2. */
void b24bgctl_message_notice(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                             b24bgctl_message_t *message);
/* The installation page in the administrator's browser: protocol.md 5.3 (a). */
void b24bgctl_message_page(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                           b24bgctl_message_t *message);
/* ONAPPINSTALL: protocol.md 5.3 (b). */
void b24bgctl_message_event(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                            b24bgctl_message_t *message);

/* b24bgctl_send.c: only the URL of a message is contacted: no redirect, no proxy, no second try,
 * and a connection of its own each time, as that of a browser that has not been here before. */

#define B24BGCTL_TIMEOUT_MOST 600 /* longer than a browser waits for anything */

/* How to send. */
typedef struct {
    long timeout; /* seconds */
    const char *ca_file;
    apr_interval_time_t hold; /* stop reading so long at the first byte of the page */
    int keep;                 /* page, headers and certificate are wanted */
} b24bgctl_manner_t;

/* What came of it. Times are counted from the start of the connection. */
typedef struct {
    const char *error; /* NULL: answered; never quotes the URL */
    int bad_peer;      /* the error is the server's certificate */
    long status;
    apr_interval_time_t first_byte;
    apr_interval_time_t total; /* without the time held */
    apr_interval_time_t held;
    apr_int64_t size;
    /* Where they are wanted: */
    const char *page;               /* NUL-terminated */
    apr_table_t *headers;           /* of one name one, a comma between; may hold secrets */
    apr_time_t certificate_expires; /* 0: none, or not readable */
} b24bgctl_result_t;

/* From --timeout and --ca-file; 0 when an option cannot be and that is said. */
int b24bgctl_manner(b24bgctl_t *ctl, b24bgctl_manner_t *manner);
void b24bgctl_send(apr_pool_t *pool, const b24bgctl_message_t *message,
                   const b24bgctl_manner_t *manner, b24bgctl_result_t *result);
/* Makes a message of a kind, with an APP_SID of its own, and sends it. */
void b24bgctl_send_one(apr_pool_t *pool, b24bgctl_facts_t *facts, b24bgctl_message_cb make_cb,
                       const b24bgctl_manner_t *manner, b24bgctl_result_t *result);
/* When the certificate expires that is not accepted: connects without a check, and sends nothing.
 * 0: it cannot be told. */
apr_time_t b24bgctl_send_look(const char *url, const b24bgctl_manner_t *manner);
/* 32 random hexadecimal digits. */
const char *b24bgctl_random(apr_pool_t *pool);
/* What may be behind a status; "" where it speaks for itself. */
const char *b24bgctl_status_hint(long status);

#endif
