#include "b24bg_task_parts.h"

#include <apr_strings.h>

/* Read at once: more than are run, for those of an app that this machine does not know. */
#define ALERTS_MOST 64
/* The command's 10 s are over by then, and a step has seen its end: who began it is dead. */
#define BEGUN_AGAIN_AFTER apr_time_from_sec(30)

/* How a try ended, until it is in the store: at most one for each command that runs at once. */
typedef struct {
    apr_int64_t seq;
    apr_time_t due;
} ending_t;

/* Accepting */

const b24bg_store_alert_t *b24bg_task_alert_of(apr_pool_t *pool, const b24bg_task_app_t *app,
                                               const char *event, const char *detail)
{
    b24bg_store_alert_t *alert;

    if (!app->alert_command || !event) {
        return NULL;
    }
    alert = apr_pcalloc(pool, sizeof(*alert));
    alert->app = app->name;
    alert->event = event;
    alert->detail = detail;
    return alert;
}

void b24bg_task_alert(b24bg_task_t *task, const b24bg_task_app_t *app, const char *event,
                      const b24bg_store_portal_t *portal, const char *detail)
{
    b24bg_store_alert_t kept = {0};
    b24bg_alert_t alert = {app->alert_command, event,          portal->app,
                           portal->member_id,  portal->domain, detail};

    if (!app->alert_command) {
        return;
    }
    kept.app = portal->app;
    kept.member_id = portal->member_id;
    kept.event = event;
    kept.detail = detail;
    task->alerts_due = 0;
    if (!task->store ||
        !b24bg_task_done(task, b24bg_store_alert_add(task->store, &kept, task->now))) {
        b24bg_alert_add(task->alerts, &alert, task->now);
    }
}

/* What becomes of them */

static void note_ending(b24bg_task_t *task, const b24bg_alert_report_t *report)
{
    ending_t ending = {report->kept, report->result == B24BG_ALERT_AGAIN ? report->next : 0};

    APR_ARRAY_PUSH(task->alerts_ended, ending_t) = ending;
    task->alerts_due = 0;
}

static void report_alert(void *baton, const b24bg_alert_report_t *report)
{
    b24bg_task_t *task = baton;
    const b24bg_alert_t *alert = report->alert;

    b24bg_table_count_alert(task->config->table, report->result);
    if (report->kept) {
        note_ending(task, report);
    }
    if (report->result == B24BG_ALERT_HANDLED) {
        b24bg_task_say(task, B24BG_LOG_INFO,
                       "B24BG0331: B24bgAlertCmd has taken: event=%s app=%s portal=%s",
                       alert->event, alert->app, alert->member_id);
    } else if (!report->known) {
        b24bg_task_say(
            task, B24BG_LOG_WARNING,
            "B24BG0332: B24bgAlertCmd failed: event=%s app=%s portal=%s try=%d why=\"%s\" "
            "output=\"%s\"%s",
            alert->event, alert->app, alert->member_id, report->tries, report->why, report->output,
            report->result == B24BG_ALERT_AGAIN ? "" : "; it is not tried again");
    }
}

void b24bg_task_alerts_begin(b24bg_task_t *task)
{
    task->alerts = b24bg_alert_create(task->pool, &b24bg_alert_limits, report_alert, task);
    task->alerts_ended = apr_array_make(task->pool, 4, sizeof(ending_t));
}

/* While the store is down they wait: what was handled then is not to be run again. */
static void keep_endings(b24bg_task_t *task)
{
    while (task->store && task->alerts_ended->nelts > 0) {
        const ending_t *ending =
            &APR_ARRAY_IDX(task->alerts_ended, task->alerts_ended->nelts - 1, ending_t);
        if (b24bg_task_done(task, b24bg_store_alert_end(task->store, ending->seq, ending->due))) {
            apr_array_pop(task->alerts_ended);
        }
    }
}

/* Running */

static void run(b24bg_task_t *task, const b24bg_task_app_t *app, const b24bg_store_alert_t *kept)
{
    b24bg_alert_t alert = {app->alert_command, kept->event,  kept->app,
                           kept->member_id,    kept->domain, kept->detail};

    b24bg_alert_run(task->alerts, &alert, kept->seq, kept->tries, task->now);
}

static void begin_one(b24bg_task_t *task, const b24bg_store_alert_t *alert)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, alert->app);

    if (!app || b24bg_alert_is_busy(task->alerts, alert->app, alert->member_id)) {
        return;
    }
    if (!app->alert_command) { /* nobody wants to hear any more */
        b24bg_task_done(task, b24bg_store_alert_end(task->store, alert->seq, 0));
    } else if (b24bg_task_done(task, b24bg_store_alert_begin(task->store, alert,
                                                             task->now + BEGUN_AGAIN_AFTER))) {
        run(task, app, alert);
    }
}

void b24bg_task_work_alerts(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *alerts;
    int i;

    keep_endings(task);
    if (!task->store || !task->leader || task->now < task->alerts_due) {
        return;
    }
    task->alerts_due = task->now + B24BG_TASK_REFRESH_EVERY;
    if (!b24bg_task_done(
            task, b24bg_store_alerts_due(task->store, scratch, task->now, ALERTS_MOST, &alerts))) {
        return;
    }
    for (i = 0; i < alerts->nelts && task->store && b24bg_alert_places(task->alerts) > 0; i++) {
        begin_one(task, &APR_ARRAY_IDX(alerts, i, b24bg_store_alert_t));
    }
}

int b24bg_task_finish_alerts(b24bg_task_t *task)
{
    int running = b24bg_alert_finish(task->alerts, task->now);

    keep_endings(task);
    return running;
}
