#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <string.h>

/* Reads the app's registrations, by portal: arrays of b24bg_store_registration_t. */
static apr_hash_t *read_rows(b24bg_task_t *task, apr_pool_t *pool, const b24bg_task_app_t *app)
{
    apr_array_header_t *rows;
    apr_hash_t *by_portal;
    int i;

    if (!b24bg_task_done(task,
                         b24bg_store_registrations(task->store, pool, app->name, NULL, &rows))) {
        return NULL;
    }
    by_portal = apr_hash_make(pool);
    for (i = 0; i < rows->nelts; i++) {
        b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        apr_array_header_t *those = apr_hash_get(by_portal, row->member_id, APR_HASH_KEY_STRING);
        if (!those) {
            those = apr_array_make(pool, 1, sizeof(*row));
            apr_hash_set(by_portal, row->member_id, APR_HASH_KEY_STRING, those);
        }
        APR_ARRAY_PUSH(those, b24bg_store_registration_t) = *row;
    }
    return by_portal;
}

/* 1 if it was begun as it is configured now. One that was bound before this was written down is
 * taken to be. */
static int is_as_configured(apr_pool_t *pool, const b24bg_task_app_t *app,
                            const b24bg_store_registration_t *row)
{
    return !b24bg_task_is_retired(row) &&
           (!*row->urls || strcmp(row->urls, b24bg_task_urls(pool, app, row->user_id)) == 0);
}

/* `rows`: of one portal, NULL if it has none. */
static int fits(apr_pool_t *pool, const b24bg_task_app_t *app, const apr_array_header_t *rows)
{
    int wanted = 0;
    int i;

    for (i = 0; rows && i < rows->nelts; i++) {
        const b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        int is_wanted = b24bg_task_wants(app, row->user_id);
        if (is_wanted ? !is_as_configured(pool, app, row) : !b24bg_task_is_retired(row)) {
            return 0;
        }
        wanted += is_wanted;
    }
    return wanted == (app->users->nelts ? app->users->nelts : 1);
}

/* As an installation does it: what is missing is bound, what is no longer wanted retires. Done once
 * for each change: where the portal does not let us, only an installation or a command tries again.
 */
static void bring_up_to_date(b24bg_task_t *task, apr_pool_t *pool, const b24bg_task_app_t *app,
                             const b24bg_store_portal_t *portal)
{
    apr_array_header_t *rows = b24bg_task_registrations(task, pool, app, portal->member_id);
    int changed = 0;
    int i;

    for (i = 0; rows && i < rows->nelts && task->store; i++) {
        b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (b24bg_task_registration_apply(task, pool, app, row, B24BG_EVENT_INSTALLED)) {
            row->urls = b24bg_task_urls(pool, app, row->user_id);
            changed |= b24bg_task_done(task, b24bg_store_registration_put(task->store, row, NULL));
        }
    }
    if (changed) {
        b24bg_task_say(task, B24BG_LOG_NOTICE,
                       "B24BG0318: the configuration asks for other registrations than there are, "
                       "the portal is asked: app=%s portal=%s domain=%s",
                       portal->app, portal->member_id, portal->domain);
    }
}

/* 0 if it is to be begun anew. */
static int compare_app(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                       const apr_array_header_t *portals)
{
    apr_hash_t *rows = read_rows(task, scratch, app);
    apr_pool_t *pool;
    int i;

    if (!rows) {
        return 0;
    }
    apr_pool_create(&pool, scratch);
    for (i = 0; i < portals->nelts && task->store; i++) {
        const b24bg_store_portal_t *portal = &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t);
        if (task->config->stop && *task->config->stop) {
            return 0;
        }
        if (portal->installed && strcmp(portal->app, app->name) == 0 &&
            !fits(pool, app, apr_hash_get(rows, portal->member_id, APR_HASH_KEY_STRING))) {
            bring_up_to_date(task, pool, app, portal);
        }
        apr_pool_clear(pool);
    }
    return task->store != NULL;
}

void b24bg_task_compare_configuration(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *portals;
    int i;

    if (!task->leader || task->configuration_compared ||
        !b24bg_task_done(task, b24bg_store_portals_since(task->store, scratch, -1, &portals))) {
        return;
    }
    for (i = 0; i < task->config->apps->nelts && task->store; i++) {
        const b24bg_task_app_t *app =
            APR_ARRAY_IDX(task->config->apps, i, const b24bg_task_app_t *);
        if (app->worker_url && app->error_url && !compare_app(task, scratch, app, portals)) {
            return;
        }
    }
    task->configuration_compared = task->store != NULL;
    task->registrations_due = 0;
}
