/* Runs the administrator's command when something has happened: spec.md section 3, B24bgAlertCmd.
 *
 * cmd [own arguments] event app member_id domain detail
 *
 * Pure. Thread: one at a time. Nothing here waits: a command is started and looked after by later
 * steps, and one that hangs takes one of a few places until it is killed. Time comes in with every
 * call.
 *
 * The command gets no shell, no descriptor but 0 to 2 (/dev/null, and a pipe for both outputs), no
 * signal ignored or blocked, a session of its own, "/" as its folder, and PATH and LANG as its
 * environment. It runs as the server's user. When its time is over it is killed with everything
 * that is still in its process group; when it exits by itself, what it left behind lives on, and
 * has nobody to read what it prints.
 */
#ifndef B24BG_ALERT_H
#define B24BG_ALERT_H

#include <apr_pools.h>
#include <apr_time.h>

/* Longest argument in bytes; longer ones are cut between two characters. A detail is at most the
 * 300 bytes of a notice's description and a few words. */
#define B24BG_ALERT_ARGUMENT_MAX 1024
/* Of what a command prints, this much of the first line with anything in it goes to the log. */
#define B24BG_ALERT_OUTPUT_MAX 200
/* Alerts of b24bg_alert_add whose time is remembered for the limit of one an hour; beyond it the
 * oldest is forgotten, which may repeat an alert and loses none. 7 kinds of events for 585 portals
 * in an hour. */
#define B24BG_ALERT_REMEMBERED 4096

/* The spec's figures, and those that it leaves open, in b24bg_alert_limits. */
typedef struct {
    apr_interval_time_t timeout;     /* then it is killed */
    apr_interval_time_t quiet;       /* between two alerts of the same event, app and portal */
    apr_interval_time_t retry_first; /* after the first failure; doubled by each */
    int tries;
    int running; /* commands at once; one for each portal */
    int waiting; /* alerts; one more drops the oldest */
} b24bg_alert_limits_t;

/* 10 s and 1 h (spec.md section 3); 30 s, 5 tries: the last one some 8 minutes after the first;
 * 4 commands, 64 alerts. */
extern const b24bg_alert_limits_t b24bg_alert_limits;

/* NULL is the same as "". The five texts are copied, and cleaned: a control character becomes a
 * space, a byte that is no UTF-8 becomes '?'. The command is the administrator's own and is taken
 * as it is: an absolute path and arguments, ending in NULL; it outlives the alert. */
typedef struct {
    const char *const *command;
    const char *event;
    const char *app;
    const char *member_id;
    const char *domain;
    const char *detail;
} b24bg_alert_t;

typedef enum {
    B24BG_ALERT_HANDLED,  /* exit code 0 */
    B24BG_ALERT_AGAIN,    /* failed, and will be tried again */
    B24BG_ALERT_GIVEN_UP, /* failed, and will not */
    B24BG_ALERT_DROPPED   /* not run, or not again: too many were waiting */
} b24bg_alert_result_e;

/* What has become of an alert; for logs and counters. Lives until the callback returns. */
typedef struct {
    const b24bg_alert_t *alert; /* with cleaned texts */
    b24bg_alert_result_e result;
    int tries;          /* made so far */
    const char *why;    /* of what is not handled */
    const char *output; /* the command's first line, cleaned; "" if it printed none */
    apr_time_t next;    /* try; of AGAIN */
    int known;          /* this command could not be run within `quiet` before: worth no new line */
    apr_int64_t kept;   /* as b24bg_alert_run was given it; 0: of b24bg_alert_add */
} b24bg_alert_report_t;

/* Must not call back into this. */
typedef void (*b24bg_alert_report_cb)(void *baton, const b24bg_alert_report_t *report);

typedef struct b24bg_alerts_t b24bg_alerts_t;

/* `limits` is copied. The end of the pool kills what is running, with its group, and reports
 * nothing. */
b24bg_alerts_t *b24bg_alert_create(apr_pool_t *pool, const b24bg_alert_limits_t *limits,
                                   b24bg_alert_report_cb report_cb, void *baton);

/* Of an alert that is kept nowhere else. 1: will be run by the coming steps. 0: the same event was
 * accepted within `quiet` before, and this one is forgotten. */
int b24bg_alert_add(b24bg_alerts_t *alerts, const b24bg_alert_t *alert, apr_time_t now);

/* How many more may be run now. */
int b24bg_alert_places(const b24bg_alerts_t *alerts);
/* 1 if an alert of this portal is running or waiting here. */
int b24bg_alert_is_busy(const b24bg_alerts_t *alerts, const char *app, const char *member_id);
/* Of an alert that the caller keeps, and of which `tries` were begun before: runs it now, once. One
 * that failed is not kept waiting here: the report says when it is to be run again. With all tries
 * behind it it is given up, for nobody has heard how the last one ended. `kept` is not 0. Only
 * where there is a place and the portal is not busy. */
void b24bg_alert_run(b24bg_alerts_t *alerts, const b24bg_alert_t *alert, apr_int64_t kept,
                     int tries, apr_time_t now);

/* Sees what has ended, kills what is over its time, starts what is due. How many commands are
 * running: as long as there is one, be back within a second or so. */
int b24bg_alert_step(b24bg_alerts_t *alerts, apr_time_t now);
/* The same, but starts nothing. */
int b24bg_alert_finish(b24bg_alerts_t *alerts, apr_time_t now);

#endif
