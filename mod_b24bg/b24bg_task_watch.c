#include "b24bg_task_parts.h"

#include <apr_strings.h>

/* Looked for this often: far below any B24bgSilence, and a token lives for half a year. */
#define SILENCE_EVERY apr_time_from_sec(1)
#define TOKENS_EVERY apr_time_from_sec(3600)

/* Silence */

/* Other machines may have served it: what they have counted is in the store within a minute. */
static int is_silent_everywhere(b24bg_task_t *task, apr_pool_t *scratch,
                                const b24bg_task_app_t *app, const b24bg_portal_counts_t *counts)
{
    b24bg_store_portal_t *portal;

    return b24bg_task_done(task, b24bg_store_portal_get(task->store, scratch, app->name,
                                                        counts->member_id, &portal)) &&
           task->now - portal->last_load >= app->silence;
}

/* One that the portal was asked about since then, perhaps before a restart, is no news; when that
 * was is shown to the second. */
static int is_silent(const b24bg_task_t *task, const b24bg_task_app_t *app,
                     const b24bg_portal_counts_t *counts)
{
    apr_time_t silent = counts->last_load + app->silence;

    return app->silence && counts->recent >= B24BG_TASK_SILENCE_LOADS && task->now >= silent &&
           counts->shown.has && counts->shown.state == B24BG_REGISTRATION_BOUND &&
           counts->shown.checked + APR_USEC_PER_SEC <= silent;
}

/* It is claimed when it is in the store: what was claimed is not reported again. */
static void watch_silence(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                          apr_uint32_t slot, const b24bg_portal_counts_t *counts)
{
    b24bg_store_registration_t registration = {0};

    if (!is_silent(task, app, counts) ||
        !b24bg_table_is_silence_open(task->config->table, slot, counts->last_load) ||
        !is_silent_everywhere(task, scratch, app, counts)) {
        return;
    }
    registration.app = app->name;
    registration.member_id = counts->member_id;
    registration.user_id = counts->user;
    b24bg_task_report_silence(task, scratch, &registration);
    if (task->store) {
        b24bg_table_claim_silence(task->config->table, slot, counts->last_load);
    }
}

/* Tokens */

/* The first one that can be asked about, or NULL. */
static b24bg_store_registration_t *first_bound(const b24bg_task_app_t *app,
                                               const apr_array_header_t *rows)
{
    int i;

    for (i = 0; i < rows->nelts; i++) {
        b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (b24bg_task_wants(app, row->user_id) &&
            b24bg_registration_state_by_name(row->state) == B24BG_REGISTRATION_BOUND) {
            return row;
        }
    }
    return NULL;
}

static int is_warned_of(const apr_array_header_t *rows, apr_time_t refreshed)
{
    int i;

    for (i = 0; i < rows->nelts; i++) {
        if (APR_ARRAY_IDX(rows, i, b24bg_store_registration_t).warned == refreshed) {
            return 1;
        }
    }
    return 0;
}

static void tell_of_tokens(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                           const b24bg_store_portal_t *portal, int is_asked)
{
    apr_int64_t left =
        apr_time_sec(portal->refreshed + B24BG_TASK_REFRESH_LIFE - task->now) / 86400;
    apr_int64_t days = left > 0 ? left : 0;
    const char *remedy =
        is_asked ? "the portal is asked now, which renews it; if it is not renewed, install the "
                   "application again"
                 : "no registration is bound there, so it is not renewed by itself: use b24bgctl "
                   "bind, or install the application again";

    b24bg_task_say(task, B24BG_LOG_WARNING,
                   "B24BG0329: the refresh token was not used for long: app=%s portal=%s domain=%s "
                   "days_left=%" APR_INT64_T_FMT "; %s",
                   portal->app, portal->member_id, portal->domain, days, remedy);
    b24bg_task_alert(task, app, "token-expiring", portal,
                     apr_psprintf(scratch, "%" APR_INT64_T_FMT " days left; %s", days, remedy));
}

/* The warning is written down with the age that it is about, so that it comes once for each pair of
 * tokens. With it the portal is asked: what makes a new pair is an access token that has expired.
 */
static void warn_of_tokens(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                           const b24bg_store_portal_t *portal)
{
    apr_array_header_t *rows = b24bg_task_registrations(task, scratch, app, portal->member_id);
    b24bg_store_reason_t reason = {NULL, "token-expiring", "", task->now, NULL, NULL};
    b24bg_store_registration_t *bound;
    b24bg_store_registration_t *row;

    if (!rows || rows->nelts == 0 || is_warned_of(rows, portal->refreshed)) {
        return;
    }
    bound = first_bound(app, rows);
    row = bound ? bound : &APR_ARRAY_IDX(rows, 0, b24bg_store_registration_t);
    row->warned = portal->refreshed;
    if (bound) {
        b24bg_task_registration_apply(task, scratch, app, row, B24BG_EVENT_SILENCE);
    }
    if (b24bg_task_done(task, b24bg_store_registration_put(task->store, row, &reason))) {
        task->registrations_due = 0;
        tell_of_tokens(task, scratch, app, portal, bound != NULL);
    }
}

static void watch_tokens(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                         const b24bg_portal_counts_t *counts)
{
    b24bg_store_portal_t *portal;

    if (counts->user == 0 && counts->tokens &&
        task->now - counts->tokens >= B24BG_TASK_REFRESH_WARN &&
        b24bg_task_done(task, b24bg_store_portal_get(task->store, scratch, app->name,
                                                     counts->member_id, &portal)) &&
        portal->installed && task->now - portal->refreshed >= B24BG_TASK_REFRESH_WARN) {
        warn_of_tokens(task, scratch, app, portal);
    }
}

/* All of it */

void b24bg_task_watch(b24bg_task_t *task, apr_pool_t *scratch)
{
    int tokens = task->leader && task->now >= task->tokens_due;
    b24bg_portal_counts_t counts;
    apr_uint32_t slot;

    if (!tokens && task->now < task->silence_due) {
        return;
    }
    task->silence_due = task->now + SILENCE_EVERY;
    task->tokens_due = tokens ? task->now + TOKENS_EVERY : task->tokens_due;
    for (slot = 1; slot <= b24bg_table_capacity(task->config->table) && task->store; slot++) {
        const b24bg_task_app_t *app = b24bg_task_read_place(task, slot, &counts);
        if (app) {
            b24bg_task_watch_budget(task, scratch, app, slot, &counts);
            b24bg_task_watch_frames(task, app, slot, &counts);
        }
        if (app && task->store) {
            watch_silence(task, scratch, app, slot, &counts);
        }
        if (app && tokens && task->store) {
            watch_tokens(task, scratch, app, &counts);
        }
    }
}
