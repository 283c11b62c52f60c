/* The background task: journal -> store -> who is it? -> store -> table, one small step at a time.
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
#include "b24bg_rest.h"
#include "b24bg_table.h"

#include <apr_pools.h>
#include <apr_tables.h>

/* Another machine's portals are in the table within 5 s (issue: portals); looked at this often. */
#define B24BG_TASK_REFRESH_EVERY apr_time_from_sec(1)
/* The lease outlives a few missed steps, and a dead holder delays the next one by its length. */
#define B24BG_TASK_LEASE apr_time_from_sec(10)
#define B24BG_TASK_LEASE_EVERY apr_time_from_sec(3)
/* Attempts to reach a store that is down. */
#define B24BG_TASK_REOPEN_EVERY apr_time_from_sec(2)
#define B24BG_TASK_FLUSH_EVERY apr_time_from_sec(60)
#define B24BG_TASK_PURGE_EVERY apr_time_from_sec(3600)
/* Calls to one auth server at once: one that hangs leaves room for the others. */
#define B24BG_TASK_CALLS_PER_SERVER (B24BG_HTTP_CALLS_MAX / 4)
/* An access token lives so long (protocol.md 5.2); what a server says of an older one may well mean
 * that it has expired, whatever word it uses. */
#define B24BG_TASK_TOKEN_LIFE apr_time_from_sec(3600)
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
} b24bg_task_config_t;

typedef struct b24bg_task_t b24bg_task_t;

/* Everything is opened lazily by the first step. The pool must be for this thread alone. Its end
 * gives the lease back and writes the counts that are worth keeping. */
b24bg_task_t *b24bg_task_create(apr_pool_t *pool, const b24bg_task_config_t *config);

/* One step; waits up to `wait` for calls that are under way. Never fails: what went wrong is
 * logged once and tried again by a later step. */
void b24bg_task_step(b24bg_task_t *task, apr_time_t now, apr_interval_time_t wait);

#endif
