#include "b24bg_task_parts.h"

#include <apr_strings.h>

/* What is told: in the log, in the history, to the alert command; and counted. A NULL word is not
 * written, a NULL alert runs nothing, -1 counts nothing. What was never bound, or is uninstalled,
 * was not to be bound again. */
static const struct {
    const char *word;
    const char *alert;
    int counted;
} tellings[] = {
    [B24BG_TELL_NOTHING] = {NULL, NULL, -1},
    [B24BG_TELL_BOUND] = {"bound", NULL, -1},
    [B24BG_TELL_DISABLED] = {"disabled", "disabled", -1},
    [B24BG_TELL_REBOUND] = {"rebound", "rebound", B24BG_REBIND_OK},
    [B24BG_TELL_UNREACHABLE] = {NULL, NULL, -1},
    [B24BG_TELL_FALSE_ALARM] = {"false-alarm", NULL, -1},
    [B24BG_TELL_REBIND_FAILED] = {"rebind-failed", "rebind-failed", B24BG_REBIND_FAILED},
    [B24BG_TELL_BLOCKED] = {"blocked", "blocked", B24BG_REBIND_BLOCKED},
    [B24BG_TELL_UNBOUND] = {"unbound", NULL, -1},
};

const char *b24bg_task_tell_word(b24bg_registration_tell_e tell)
{
    return tellings[tell].word;
}

/* app=... portal=... domain=... user=..., which all lines begin with. */
static const char *who(apr_pool_t *pool, const b24bg_store_portal_t *portal,
                       const b24bg_store_registration_t *registration)
{
    return apr_psprintf(pool, "app=%s portal=%s domain=%s user=%" APR_INT64_T_FMT, portal->app,
                        portal->member_id, portal->domain, registration->user_id);
}

static b24bg_log_level_e level_of(b24bg_registration_reason_e reason)
{
    switch (reason) {
    case B24BG_BLOCKED_UNINSTALLED:
        return B24BG_LOG_NOTICE;
    case B24BG_BLOCKED_DAILY_CAP:
        return B24BG_LOG_ERROR;
    default:
        return B24BG_LOG_CRIT;
    }
}

static void log_blocked(b24bg_task_t *task, const char *whose,
                        const b24bg_store_registration_t *registration)
{
    int reason = b24bg_registration_reason_by_name(registration->reason);

    b24bg_task_say(task, level_of((b24bg_registration_reason_e)reason),
                   "B24BG0325: registration blocked, %s: %s reason=%s "
                   "detail=\"%s\"; %s",
                   reason == B24BG_BLOCKED_DAILY_CAP ? "it goes on by itself later"
                                                     : "nothing is done by itself",
                   whose, registration->reason, registration->detail,
                   b24bg_registration_remedy((b24bg_registration_reason_e)reason));
}

static void log_failed(b24bg_task_t *task, const char *whose,
                       const b24bg_store_registration_t *registration)
{
    apr_interval_time_t wait = registration->due > task->now ? registration->due - task->now : 0;

    b24bg_task_say(
        task, B24BG_LOG_WARNING,
        "B24BG0324: registration not brought back yet: %s attempt=%d next_in=%" APR_TIME_T_FMT
        "s error=\"%s\"",
        whose, registration->attempts, apr_time_sec(wait + APR_USEC_PER_SEC - 1),
        registration->detail);
}

static void log_unreachable(b24bg_task_t *task, const char *whose,
                            const b24bg_store_registration_t *registration)
{
    b24bg_task_say(
        task, B24BG_LOG_WARNING,
        "B24BG0317: the portal cannot be asked what is registered, it is tried again: %s "
        "error=\"%s\"",
        whose, registration->detail);
}

static void log_disabled(b24bg_task_t *task, const char *whose,
                         const b24bg_store_registration_t *registration)
{
    const char *next = registration->due ? "it is registered again by itself"
                                         : "B24bgRebind is off: b24bgctl bind registers it again";

    b24bg_task_say(task, B24BG_LOG_ERROR,
                   "B24BG0322: registration lost, the portal has confirmed it: %s; %s", whose,
                   next);
}

static void write_line(b24bg_task_t *task, const char *whose,
                       const b24bg_store_registration_t *registration,
                       b24bg_registration_tell_e tell)
{
    switch (tell) {
    case B24BG_TELL_BOUND:
        b24bg_task_say(task, B24BG_LOG_NOTICE, "B24BG0320: registered: %s", whose);
        break;
    case B24BG_TELL_REBOUND:
        b24bg_task_say(task, B24BG_LOG_NOTICE,
                       "B24BG0321: registered again and read back, with a new key: %s", whose);
        break;
    case B24BG_TELL_DISABLED:
        log_disabled(task, whose, registration);
        break;
    case B24BG_TELL_UNREACHABLE:
        log_unreachable(task, whose, registration);
        break;
    case B24BG_TELL_FALSE_ALARM:
        b24bg_task_say(task, B24BG_LOG_NOTICE,
                       "B24BG0323: the registration is still there, says the portal: %s", whose);
        break;
    case B24BG_TELL_REBIND_FAILED:
        log_failed(task, whose, registration);
        break;
    case B24BG_TELL_BLOCKED:
        log_blocked(task, whose, registration);
        break;
    case B24BG_TELL_UNBOUND:
        b24bg_task_say(task, B24BG_LOG_NOTICE, "B24BG0326: taken away by command: %s", whose);
        break;
    case B24BG_TELL_NOTHING:
        break;
    }
}

/* For the alert command: spec.md section 5 has it carry the reason. */
static const char *detail_of(apr_pool_t *pool, const b24bg_store_registration_t *registration,
                             b24bg_registration_tell_e tell)
{
    int reason = b24bg_registration_reason_by_name(registration->reason);

    if (tell == B24BG_TELL_BLOCKED && reason > 0) {
        return apr_pstrcat(pool, registration->reason, *registration->detail ? ": " : "",
                           registration->detail, "; ",
                           b24bg_registration_remedy((b24bg_registration_reason_e)reason), NULL);
    }
    return registration->detail;
}

const b24bg_store_alert_t *b24bg_task_tell_alert(apr_pool_t *pool, const b24bg_task_app_t *app,
                                                 const b24bg_store_registration_t *registration,
                                                 b24bg_registration_tell_e tell)
{
    return b24bg_task_alert_of(pool, app, tellings[tell].alert,
                               detail_of(pool, registration, tell));
}

void b24bg_task_tell(b24bg_task_t *task, const b24bg_task_app_t *app,
                     const b24bg_store_portal_t *portal,
                     const b24bg_store_registration_t *registration, b24bg_registration_tell_e tell)
{
    apr_pool_t *scratch;

    if (tell == B24BG_TELL_NOTHING) {
        return;
    }
    apr_pool_create(&scratch, task->pool);
    write_line(task, who(scratch, portal, registration), registration, tell);
    if (tellings[tell].counted >= 0 && registration->was_bound) {
        b24bg_table_count_rebind(task->config->table, app->row,
                                 (b24bg_rebind_result_e)tellings[tell].counted);
    }
    if (tellings[tell].alert) {
        task->alerts_due = 0;
    }
    apr_pool_destroy(scratch);
}
