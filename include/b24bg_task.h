/* The background task, one small step at a time: journal -> store -> who is it? what is registered?
 * -> call -> store -> table.
 *
 * Pure. Thread: one at a time, always the same one between create and the end of its pool. It
 * never assumes to be the only one: other processes, generations and machines may run the same
 * step at the same moment. What must be done by one alone is done under a lease in the store, and
 * every step may be cut off anywhere and done again.
 *
 * Time comes in with every step; calls go out through b24bg_http_t; so tests run it on a fake
 * clock and fake answers, with a real store.
 */
#ifndef B24BG_TASK_H
#define B24BG_TASK_H

#include "b24bg_http.h"
#include "b24bg_registration.h"
#include "b24bg_rest.h"
#include "b24bg_table.h"

#include <apr_pools.h>
#include <apr_tables.h>

/* Another machine's portals are in the table within 5 s (README.md); looked at this often. */
#define B24BG_TASK_REFRESH_EVERY apr_time_from_sec(1)
/* The lease of the one background task that is at work. */
#define B24BG_TASK_LEASE_NAME "background"
/* The lease outlives a few missed steps, and a dead holder delays the next one by its length. */
#define B24BG_TASK_LEASE apr_time_from_sec(10)
#define B24BG_TASK_LEASE_EVERY apr_time_from_sec(3)
/* Longest wait at the end for calls that must finish, and for alert commands: the child has about 9
 * s before httpd kills it (ap_reclaim_child_processes), and has waited up to 2 s for the step. */
#define B24BG_TASK_FINISH apr_time_from_sec(2)
/* Attempts to reach a store that is down. */
#define B24BG_TASK_REOPEN_EVERY apr_time_from_sec(2)
#define B24BG_TASK_FLUSH_EVERY apr_time_from_sec(60)
#define B24BG_TASK_PURGE_EVERY apr_time_from_sec(3600)
/* Calls to one auth server at once: one that hangs leaves room for the others. */
#define B24BG_TASK_CALLS_PER_SERVER (B24BG_HTTP_CALLS_MAX / 8)
/* An access token lives so long (protocol.md 5.2); what a server says of an older one may well mean
 * that it has expired, whatever word it uses. */
#define B24BG_TASK_TOKEN_LIFE apr_time_from_sec(3600)
/* Keys of error URLs outlive a rebind so long: spec.md 4.2. */
#define B24BG_TASK_OLD_KEY_LIFE apr_time_from_sec(600)
/* A refresh token's life (protocol.md 5.2), and the age that is warned of (spec.md section 5): it
 * leaves a month to renew it. */
#define B24BG_TASK_REFRESH_LIFE apr_time_from_sec(180 * 24 * 3600)
#define B24BG_TASK_REFRESH_WARN apr_time_from_sec(150 * 24 * 3600)
/* Questions that notices can cause, of one registration: whoever has a key must not have us call
 * the portal as often as he likes (protocol.md 3.3). Less than the 5 s of spec.md section 8, for a
 * notice that comes right after a false alarm; and an eighth of what a portal lets through (2 calls
 * a second: protocol.md 8.1). */
#define B24BG_TASK_ASK_EVERY apr_time_from_sec(4)
/* Clocks of machines may differ by so much (b24bg_store.h: "within a few seconds"). */
#define B24BG_TASK_CLOCKS_APART apr_time_from_sec(5)
/* Loads in the hour before that make a silence worth a question: spec.md section 3. */
#define B24BG_TASK_SILENCE_LOADS 20
/* A call that takes longer than this hangs: it leaves its place to one that waits. "A portal that
 * hangs delays no other portal by more than a second" (spec.md section 5), the steps in between
 * included. Where more than two times B24BG_HTTP_CALLS_MAX portals begin to hang at the same
 * moment, it is that for each B24BG_HTTP_CALLS_MAX. */
#define B24BG_TASK_PATIENCE (750 * (APR_USEC_PER_SEC / 1000))
/* Of the calls under way at once (B24BG_HTTP_CALLS_MAX), registrations that failed before get half,
 * so that portals that hang leave room for those that do not. Those that hang already are not
 * counted: they would keep the others from being tried again. */
#define B24BG_TASK_RETRIES_MOST (B24BG_HTTP_CALLS_MAX / 2)
/* Back-off between attempts to verify an installation, and the end of trying: by then its access
 * token (1 h, protocol.md 5.2) has been over for long. */
#define B24BG_TASK_RETRY_FIRST apr_time_from_sec(2)
#define B24BG_TASK_RETRY_MOST apr_time_from_sec(600)
#define B24BG_TASK_GIVE_UP apr_time_from_sec(24 * 3600)

typedef enum {
    B24BG_LOG_CRIT,
    B24BG_LOG_ERROR,
    B24BG_LOG_WARNING,
    B24BG_LOG_NOTICE,
    B24BG_LOG_INFO
} b24bg_log_level_e;

/* An app as the task sees it. */
typedef struct {
    const char *name;
    int row; /* in the table */
    b24bg_rest_app_t rest;
    const char *worker_url; /* NULL, and so is error_url: portals are verified, nothing is bound */
    const char *error_url;
    const char *title;
    const apr_array_header_t *users; /* apr_int64_t; empty: one registration for all */
    b24bg_registration_policy_t policy;
    apr_interval_time_t silence;           /* 0: off */
    const char *const *alert_command;      /* ending in NULL; NULL: none */
    const apr_array_header_t *budget_warn; /* apr_int64_t, rising */
    apr_int64_t slow_count;                /* slow loads that Bitrix24 tolerates */
    int beacons;                           /* pages tell of their loads, */
    int all_beacons;                       /* and of each one */
} b24bg_task_app_t;

/* All of it outlives the task. */
typedef struct {
    const apr_array_header_t *apps; /* const b24bg_task_app_t *; those with a client id */
    const char *journal;            /* path */
    const char *store_driver;
    const char *store_params;
    const char *holder; /* a name for the lease that nobody else has */
    b24bg_table_t *table;
    b24bg_http_t *http;
    const volatile int *stop; /* may be NULL: when non-zero, a step ends soon */
    void (*log)(void *baton, b24bg_log_level_e level, const char *line);
    void *log_baton;
    /* Fills `bytes` with what nobody can guess. */
    void (*random)(void *bytes, apr_size_t length);
} b24bg_task_config_t;

typedef struct b24bg_task_t b24bg_task_t;

/* Everything is opened lazily by the first step. The pool must be for this thread alone, and
 * config->http be made in it before the task. Its end waits for calls that must finish, up to
 * B24BG_TASK_FINISH, writes the counts that are worth keeping and gives the lease back; *stop must
 * be set by then. */
b24bg_task_t *b24bg_task_create(apr_pool_t *pool, const b24bg_task_config_t *config);

/* One step; waits up to `wait` for calls that are under way. Never fails: what went wrong is
 * logged once and tried again by a later step. */
void b24bg_task_step(b24bg_task_t *task, apr_time_t now, apr_interval_time_t wait);

/* Instead of a step once *stop is set: gives the lease back, so that the next task need not wait
 * for it. While calls that must finish are under way it waits up to `wait` for them; as long as
 * that, or as the store has not taken what they brought, it keeps the lease and returns 0: call it
 * again. While an alert command runs it returns 0, too, without the lease: nobody else hears how it
 * ends. */
int b24bg_task_leave(b24bg_task_t *task, apr_time_t now, apr_interval_time_t wait);

#endif
