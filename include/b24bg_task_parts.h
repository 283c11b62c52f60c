/* What the files of the background task share. For b24bg_task*.c alone.
 *
 *   b24bg_task.c               its life, the store up and down, the lease, the order of a step
 *   b24bg_task_inbox.c         journal -> inbox -> whoever a message is for
 *   b24bg_task_install.c       installations: who is it?
 *   b24bg_task_call.c          one call on a portal: expired tokens, renamed portals
 *   b24bg_task_registration.c  registrations: events in, calls out
 *   b24bg_task_find.c          what placement.get shows -> whose it is
 *   b24bg_task_configuration.c registrations that a changed configuration asks for, or no longer
 *   b24bg_task_command.c       commands of b24bgctl
 *   b24bg_task_tell.c          what is told of a registration: log, history, alert command
 *   b24bg_task_alert.c         alerts: kept in the store, run from there
 *   b24bg_task_events.c        the last events of each portal, for the status page
 *   b24bg_task_budget.c        slow loads: kept, alerted of; pages that do not run
 *   b24bg_task_table.c         store -> table -> store
 *   b24bg_task_watch.c         each place now and then: silence, the age of tokens, the budget
 *
 * Thread: the task's. Whatever is under way has a pool of its own below task->pool.
 */
#ifndef B24BG_TASK_PARTS_H
#define B24BG_TASK_PARTS_H

#include "b24bg_alert.h"
#include "b24bg_registration.h"
#include "b24bg_rest.h"
#include "b24bg_store.h"
#include "b24bg_task.h"

#include <apr_hash.h>

/* A warning that holds on is repeated this often: spec.md section 3, B24bgMaxPortals. */
#define B24BG_TASK_WARN_EVERY apr_time_from_sec(60)

typedef struct b24bg_task_unkept_t b24bg_task_unkept_t;

struct b24bg_task_t {
    apr_pool_t *pool;
    const b24bg_task_config_t *config;
    apr_time_t now; /* of this step */

    apr_pool_t *store_pool;
    b24bg_store_t *store; /* NULL: down */
    apr_time_t reopen_due;
    int down_logged;

    int leader; /* we have the lease */
    apr_time_t lease_due;

    apr_pool_t *imported_pool;
    apr_hash_t *imported; /* ids of records that are in the store, until the journal is emptied */
    apr_uint64_t journal_records; /* that waited at the last look */
    apr_time_t journal_due;       /* the next look while the store is down */
    apr_time_t unreadable_warned;
    int inbox_asked; /* something may be due at once */
    apr_time_t inbox_due;

    apr_hash_t *verifying; /* message id -> an installation that is being verified */
    apr_time_t unreachable_warned;

    apr_hash_t *busy;    /* portals where a job is under way */
    apr_hash_t *retries; /* of these jobs, those whose last attempt failed; */
    int retrying;        /* so many do not hang */
    b24bg_task_unkept_t
        *unkept; /* new tokens that the store did not take; their portals are busy */
    apr_time_t registrations_due;
    apr_time_t commands_due;
    int configuration_compared;

    b24bg_alerts_t *alerts;
    apr_array_header_t *alerts_ended; /* that the store does not know of yet */
    apr_time_t alerts_due;

    apr_int64_t change; /* newest change of a portal that is in the table */
    apr_int64_t registration_change;
    apr_int64_t event_seq;
    apr_time_t refresh_due;
    apr_array_header_t *old_keys; /* old_key_t, to be dropped from the table in time */
    apr_pool_t *shown_pool;
    apr_hash_t *shown; /* registration -> the keys of it that are in the table */
    int all_shown;     /* the store has been read from its beginning to its end */
    int left_over;     /* a portal found the table full */
    apr_time_t left_over_due;
    apr_time_t full_warned;
    apr_uint64_t turned_away;
    apr_time_t flush_due;
    apr_time_t budgets_due;
    apr_uint64_t *flushed; /* loads of each place when they were written last */
    int budgets_restored;
    struct b24bg_task_place_t *places; /* b24bg_task_budget.c */
    apr_time_t silence_due;
    apr_time_t tokens_due;
    apr_time_t purge_due;
    apr_time_t health_due;
    apr_uint64_t inbox_waiting; /* messages in the store, at the last look */
};

/* b24bg_task.c */

/* One line of the log. */
void b24bg_task_say(b24bg_task_t *task, b24bg_log_level_e level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 1 if the store did what was asked. APR_NOTFOUND is no failure of the store: another process was
 * faster, or the portal is gone. After anything else the store is closed, and task->store NULL. */
int b24bg_task_done(b24bg_task_t *task, apr_status_t rv);
/* Extends the lease: whoever slept through his must change nothing at a portal or auth server. */
int b24bg_task_still_leads(b24bg_task_t *task);
/* The app of this name, or NULL: one of another machine, or one that was taken out. */
const b24bg_task_app_t *b24bg_task_app(const b24bg_task_t *task, const char *name);
/* Back-off after so many failed attempts: RETRY_FIRST doubled up to RETRY_MOST. */
apr_interval_time_t b24bg_task_retry_after(int attempts);

/* b24bg_task_inbox.c */

/* As every *_begin: makes what this file needs, once, for a new task. */
void b24bg_task_inbox_begin(b24bg_task_t *task);
/* Journal -> inbox, with or without the lease: the journal is this machine's. Empties it when all
 * that it holds is in the store. */
void b24bg_task_import_journal(b24bg_task_t *task, apr_pool_t *scratch);
/* With the store down: how many records wait, now and then. */
void b24bg_task_count_journal(b24bg_task_t *task, apr_pool_t *scratch);
/* Takes on messages that are due; nothing without the lease. */
void b24bg_task_work_inbox(b24bg_task_t *task, apr_pool_t *scratch);
/* Leaves a message for whoever has the lease: the portal has fallen silent. It is there unless the
 * store is down afterwards. */
void b24bg_task_report_silence(b24bg_task_t *task, apr_pool_t *scratch,
                               const b24bg_store_registration_t *registration);

/* b24bg_task_install.c */

/* Takes the message on, or leaves it due where its server is asked enough already. */
void b24bg_task_verify(b24bg_task_t *task, const b24bg_store_message_t *message);

/* b24bg_task_call.c */

/* A call on a portal. Asks again once with new tokens when the access token has expired, and once
 * at the new place of a portal that was renamed, which the auth server must confirm. */
typedef struct b24bg_task_call_t b24bg_task_call_t;
struct b24bg_task_call_t {
    b24bg_task_t *task;
    apr_pool_t *pool;
    const b24bg_task_app_t *app;
    b24bg_store_portal_t portal; /* in pool; brought up to date by what is learnt */
    /* Makes the request; what it asks for lies in baton. */
    apr_status_t (*ask)(apr_pool_t *pool, const b24bg_rest_portal_t *portal, void *baton,
                        b24bg_http_request_t *request);
    /* Called once, or not at all: then everything is dropped (shutting down, the store down, the
     * lease lost), and `dropped` was called. `answer` is NULL where there is none: `result` says
     * why in any case but OK. */
    void (*answered)(void *baton, const b24bg_http_answer_t *answer,
                     const b24bg_rest_result_t *result);
    void (*dropped)(void *baton);
    void *baton;
    int changes; /* something at the portal: only whoever has the lease may, each time it is sent */
    int refreshed;
    int moved;
    apr_time_t asked; /* when new tokens were asked for */
};
void b24bg_task_call(b24bg_task_call_t *call);
/* Puts what is in task->unkept into the store, which must be open; what it does not take stays. */
void b24bg_task_keep_unkept(b24bg_task_t *task);
/* Nobody will try any more. */
void b24bg_task_tell_unkept(b24bg_task_t *task);

/* b24bg_task_find.c */

/* What the portal shows of one registration. */
typedef struct {
    b24bg_registration_event_e event; /* FOUND_... */
    apr_array_header_t *in_the_way;   /* b24bg_rest_row_t: what UNBIND has to take away */
    int slow_count;                   /* of our row; -1: not shown */
    const char *detail;               /* of what is in the way; "" */
} b24bg_task_found_t;
/* `rows` as b24bg_rest_read_rows gives them. */
void b24bg_task_find(apr_pool_t *pool, const b24bg_task_app_t *app,
                     const b24bg_store_registration_t *registration, const apr_array_header_t *rows,
                     b24bg_task_found_t *found);

/* b24bg_task_registration.c */

/* 1 if this app's portals get registrations, and one for this user. */
int b24bg_task_wants(const b24bg_task_app_t *app, apr_int64_t user);
/* What b24bg_store_registration_t.urls has of a registration that is as configured. */
const char *b24bg_task_urls(apr_pool_t *pool, const b24bg_task_app_t *app, apr_int64_t user);
/* The registrations that an app wants at a portal, those of the store, or new ones with change 0;
 * b24bg_store_registration_t. Those that it no longer wants are in it as well. NULL: the store
 * failed. */
apr_array_header_t *b24bg_task_registrations(b24bg_task_t *task, apr_pool_t *pool,
                                             const b24bg_task_app_t *app, const char *member_id);
/* What an event from outside (no answer) does to a registration; 0 if it does nothing. The caller
 * puts it into the store; what is due then is done by the next step. */
int b24bg_task_registration_apply(b24bg_task_t *task, apr_pool_t *pool, const b24bg_task_app_t *app,
                                  b24bg_store_registration_t *registration,
                                  b24bg_registration_event_e event);
/* 1: never begun, or no longer asked for by the configuration; nobody works on it. */
int b24bg_task_is_retired(const b24bg_store_registration_t *registration);
/* Starts what is due. */
void b24bg_task_work_registrations(b24bg_task_t *task, apr_pool_t *scratch);
/* 1: nothing is left to be done for it. */
int b24bg_task_settled(const b24bg_store_registration_t *registration);

/* One job at a time on a portal: a name to leave it by, in pool, or NULL if there is another one.
 */
const char *b24bg_task_take_portal(b24bg_task_t *task, const b24bg_store_portal_t *portal,
                                   apr_pool_t *pool);
void b24bg_task_leave_portal(b24bg_task_t *task, const char *name);

/* b24bg_task_configuration.c */

/* Once for each task that has the lease: what another configuration has left. */
void b24bg_task_compare_configuration(b24bg_task_t *task, apr_pool_t *scratch);

/* b24bg_task_command.c */

/* Begins commands that are new, and tells of those that have come to something; nothing without the
 * lease. */
void b24bg_task_work_commands(b24bg_task_t *task, apr_pool_t *scratch);

/* b24bg_task_tell.c */

/* The history's word; NULL for TELL_NOTHING. */
const char *b24bg_task_tell_word(b24bg_registration_tell_e tell);
/* What goes to the alert command; NULL: nothing. To be committed with the registration. */
const b24bg_store_alert_t *b24bg_task_tell_alert(apr_pool_t *pool, const b24bg_task_app_t *app,
                                                 const b24bg_store_registration_t *registration,
                                                 b24bg_registration_tell_e tell);
/* One line in the log of what has been committed. */
void b24bg_task_tell(b24bg_task_t *task, const b24bg_task_app_t *app,
                     const b24bg_store_portal_t *portal,
                     const b24bg_store_registration_t *registration,
                     b24bg_registration_tell_e tell);
/* b24bg_task_alert.c. An alert is in the store from the moment in which it is accepted until its
 * command has taken it. Whoever has the lease runs it, so it outlives the process that accepted it,
 * and the one that began it. While the store is down, what is in it waits. */

void b24bg_task_alerts_begin(b24bg_task_t *task);
/* For b24bg_store_reason_t, so that it is accepted with what it is about. NULL where the app has no
 * command, or `event` is NULL. */
const b24bg_store_alert_t *b24bg_task_alert_of(apr_pool_t *pool, const b24bg_task_app_t *app,
                                               const char *event, const char *detail);
/* Accepts one by itself; with the store down it is run from memory. */
void b24bg_task_alert(b24bg_task_t *task, const b24bg_task_app_t *app, const char *event,
                      const b24bg_store_portal_t *portal, const char *detail);
/* Begins what is due. */
void b24bg_task_work_alerts(b24bg_task_t *task, apr_pool_t *scratch);
/* Begins nothing, and looks after what is running: how many. */
int b24bg_task_finish_alerts(b24bg_task_t *task);

/* b24bg_task_events.c */

/* Store -> table: the last events of each portal. 0: to be gone on with at the next step. */
int b24bg_task_refresh_events(b24bg_task_t *task, apr_pool_t *scratch);

/* b24bg_task_budget.c */

void b24bg_task_budget_begin(b24bg_task_t *task);
/* Store -> table, once for each task: windows that a restart of the machine has interrupted. */
void b24bg_task_restore_budgets(b24bg_task_t *task, apr_pool_t *scratch);
/* Table -> store: the windows of known portals. */
void b24bg_task_flush_budgets(b24bg_task_t *task, apr_pool_t *scratch);
/* A registration that is being bound has a budget of its own: ends the windows of the old one, in
 * the table and in the store. `place` may be none. */
void b24bg_task_end_budget(b24bg_task_t *task, const b24bg_store_registration_t *registration,
                           b24bg_portal_ref_t place);
/* Of one place: slow loads that have reached a number of B24bgBudgetWarn; pages that were served
 * and did not run. */
void b24bg_task_watch_budget(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                             apr_uint32_t slot, const b24bg_portal_counts_t *counts);
void b24bg_task_watch_frames(b24bg_task_t *task, const b24bg_task_app_t *app, apr_uint32_t slot,
                             const b24bg_portal_counts_t *counts);

/* b24bg_task_table.c */

/* The app of a known portal in this place, or NULL. */
const b24bg_task_app_t *b24bg_task_read_place(const b24bg_task_t *task, apr_uint32_t slot,
                                              b24bg_portal_counts_t *counts);

void b24bg_task_table_begin(b24bg_task_t *task);
/* Store -> table: portals, registrations with their keys, windows and events; what has changed
 * since the last time. With or without the lease. */
void b24bg_task_refresh_table(b24bg_task_t *task, apr_pool_t *scratch);
/* Table -> store: loads of known portals that have come since the last time. */
void b24bg_task_flush_counts(b24bg_task_t *task, apr_pool_t *scratch);

/* b24bg_task_watch.c */

/* Looks for portals that have fallen silent, and for tokens that are getting old. */
void b24bg_task_watch(b24bg_task_t *task, apr_pool_t *scratch);

#endif
