#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <stdarg.h>
#include <string.h>

#define FINISH_SLICE (10 * (APR_USEC_PER_SEC / 1000))

void b24bg_task_say(b24bg_task_t *task, b24bg_log_level_e level, const char *format, ...)
{
    char line[1024];
    va_list arguments;

    va_start(arguments, format);
    apr_vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    task->config->log(task->config->log_baton, level, line);
}

const b24bg_task_app_t *b24bg_task_app(const b24bg_task_t *task, const char *name)
{
    int i;

    for (i = 0; i < task->config->apps->nelts; i++) {
        const b24bg_task_app_t *app =
            APR_ARRAY_IDX(task->config->apps, i, const b24bg_task_app_t *);
        if (strcmp(app->name, name) == 0) {
            return app;
        }
    }
    return NULL;
}

apr_interval_time_t b24bg_task_retry_after(int attempts)
{
    apr_interval_time_t after = B24BG_TASK_RETRY_FIRST;

    while (attempts-- > 0 && after < B24BG_TASK_RETRY_MOST) {
        after *= 2;
    }
    return after < B24BG_TASK_RETRY_MOST ? after : B24BG_TASK_RETRY_MOST;
}

/* The store, up and down */

static void store_failed(b24bg_task_t *task)
{
    if (!task->down_logged) {
        b24bg_task_say(task, B24BG_LOG_WARNING,
                       "B24BG0301: the store is down: %s; what comes in is kept in the journal",
                       task->store ? b24bg_store_error(task->store) : "it was closed");
        task->down_logged = 1;
    }
    task->store = NULL;
    task->leader = 0;
    apr_pool_clear(task->store_pool);
    task->reopen_due = task->now + B24BG_TASK_REOPEN_EVERY;
}

int b24bg_task_done(b24bg_task_t *task, apr_status_t rv)
{
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND && task->store) {
        store_failed(task);
    }
    return rv == APR_SUCCESS;
}

static int open_store(b24bg_task_t *task)
{
    const char *error;

    if (task->store) {
        return 1;
    }
    if (task->now < task->reopen_due) {
        return 0;
    }
    if (b24bg_store_open(task->store_pool, task->config->store_driver, task->config->store_params,
                         &task->store, &error) != APR_SUCCESS) {
        if (!task->down_logged) {
            b24bg_task_say(
                task, B24BG_LOG_WARNING,
                "B24BG0302: the store cannot be opened: %s; what comes in is kept in the journal",
                error);
            task->down_logged = 1;
        }
        task->store = NULL;
        apr_pool_clear(task->store_pool);
        task->reopen_due = task->now + B24BG_TASK_REOPEN_EVERY;
        return 0;
    }
    task->lease_due = task->refresh_due = task->registrations_due = task->alerts_due = 0;
    task->inbox_asked = 1;
    return 1;
}

/* The lease */

int b24bg_task_still_leads(b24bg_task_t *task)
{
    b24bg_store_lease_t wanted = {task->config->holder, task->now + B24BG_TASK_LEASE};

    return task->store &&
           b24bg_task_done(task, b24bg_store_lease(task->store, B24BG_TASK_LEASE_NAME, &wanted,
                                                   task->now, &task->leader)) &&
           task->leader;
}

static void keep_lease(b24bg_task_t *task)
{
    if (task->now < task->lease_due) {
        return;
    }
    task->lease_due = task->now + B24BG_TASK_LEASE_EVERY;
    b24bg_task_still_leads(task);
    if (task->store) {
        b24bg_store_shed(task->store); /* also where b24bgctl or another process could not */
    }
    if (task->store && task->down_logged) {
        b24bg_task_say(task, B24BG_LOG_NOTICE, "B24BG0303: the store is back");
        task->down_logged = 0;
    }
}

/* New tokens come before anything that could use the old ones, whoever has the lease. */
static void keep_unkept(b24bg_task_t *task)
{
    if (task->unkept && open_store(task)) {
        b24bg_task_keep_unkept(task);
    }
}

/* Housekeeping */

static void housekeep(b24bg_task_t *task, apr_pool_t *scratch)
{
    if (task->now >= task->flush_due) {
        task->flush_due = task->now + B24BG_TASK_FLUSH_EVERY;
        b24bg_task_flush_counts(task, scratch);
    }
    if (task->store && task->now >= task->budgets_due) {
        task->budgets_due = task->now + B24BG_TASK_FLUSH_EVERY;
        b24bg_task_flush_budgets(task, scratch);
    }
    if (task->store && task->leader && task->now >= task->purge_due) {
        task->purge_due = task->now + B24BG_TASK_PURGE_EVERY;
        b24bg_task_done(task, b24bg_store_inbox_purge(task->store, task->now));
    }
}

/* Works with the store down, too: it is one of the things that may have happened. */
static void show_health(b24bg_task_t *task)
{
    b24bg_table_health_t health = {0};
    apr_int64_t waiting = 0;

    if (task->store && task->now >= task->health_due) {
        task->health_due = task->now + B24BG_TASK_REFRESH_EVERY;
        if (b24bg_task_done(task, b24bg_store_inbox_count(task->store, &waiting))) {
            task->inbox_waiting = (apr_uint64_t)waiting;
        }
    }
    health.last_run = task->now;
    health.store_up = task->store != NULL;
    health.journal_records = task->journal_records;
    health.inbox = task->inbox_waiting;
    health.leader = task->leader;
    b24bg_table_set_health(task->config->table, &health);
}

/* Leaving */

static void give_lease_back(b24bg_task_t *task)
{
    if (task->store && task->leader) {
        b24bg_task_done(
            task, b24bg_store_release(task->store, B24BG_TASK_LEASE_NAME, task->config->holder));
        task->leader = 0;
    }
}

int b24bg_task_leave(b24bg_task_t *task, apr_time_t now, apr_interval_time_t wait)
{
    int running;

    task->now = now;
    task->config->http->perform(task->config->http, wait, &running);
    keep_unkept(task);
    if (running || task->unkept) {
        if (task->store) {
            keep_lease(task);
        }
        return 0;
    }
    give_lease_back(task);
    return b24bg_task_finish_alerts(task) == 0;
}

/* Alerts too: one that is killed in the middle is run again by the next task. */
static void finish_calls(b24bg_task_t *task)
{
    apr_time_t end = apr_time_now() + B24BG_TASK_FINISH;
    apr_interval_time_t left = B24BG_TASK_FINISH;
    int running;

    do {
        task->config->http->perform(task->config->http, left, &running);
        left = end - apr_time_now();
    } while (running && left > 0);
    while (b24bg_task_finish_alerts(task) && apr_time_now() < end) {
        apr_sleep(FINISH_SLICE);
    }
}

/* The store is below the task's pool, so it is still open. */
static apr_status_t end_task(void *data)
{
    b24bg_task_t *task = data;
    apr_pool_t *scratch;

    finish_calls(task);
    task->reopen_due = 0;
    keep_unkept(task);
    b24bg_task_tell_unkept(task);
    if (task->store) {
        apr_pool_create(&scratch, task->pool);
        b24bg_task_flush_counts(task, scratch);
        if (task->store) {
            b24bg_task_flush_budgets(task, scratch);
        }
        give_lease_back(task);
    }
    return APR_SUCCESS;
}

b24bg_task_t *b24bg_task_create(apr_pool_t *pool, const b24bg_task_config_t *config)
{
    b24bg_task_t *task = apr_pcalloc(pool, sizeof(*task));

    task->pool = pool;
    task->config = config;
    task->verifying = apr_hash_make(pool);
    task->busy = apr_hash_make(pool);
    task->retries = apr_hash_make(pool);
    apr_pool_create(&task->store_pool, pool);
    b24bg_task_inbox_begin(task);
    b24bg_task_table_begin(task);
    b24bg_task_budget_begin(task);
    b24bg_task_alerts_begin(task);
    apr_pool_pre_cleanup_register(pool, task, end_task);
    return task;
}

/* Between two phases, each of which may wait for the store for seconds. */
static int may_go_on(const b24bg_task_t *task)
{
    return task->store && !(task->config->stop && *task->config->stop);
}

/* What a step does, in this order. Reading comes first: a store that cannot be written to can
 * mostly be read. Calls are moved on behind all that may start one. */
static void (*const before_calls[])(b24bg_task_t *task, apr_pool_t *scratch) = {
    b24bg_task_import_journal, b24bg_task_compare_configuration, b24bg_task_work_inbox,
    b24bg_task_work_commands, b24bg_task_work_registrations};
static void (*const after_calls[])(b24bg_task_t *task, apr_pool_t *scratch) = {
    b24bg_task_refresh_table, b24bg_task_watch, housekeep};

static void move_calls(b24bg_task_t *task, apr_interval_time_t wait)
{
    int under_way = apr_hash_count(task->verifying) || apr_hash_count(task->busy);
    int running;

    task->config->http->perform(task->config->http, under_way ? wait : 0, &running);
}

/* A clock that was set back: what was due at times that are far ahead now is due at once. */
static void forget_times(b24bg_task_t *task)
{
    task->reopen_due = task->lease_due = task->refresh_due = task->left_over_due = 0;
    task->inbox_due = task->commands_due = task->registrations_due = task->journal_due = 0;
    task->alerts_due = 0;
    task->flush_due = task->budgets_due = task->purge_due = task->health_due = 0;
    task->silence_due = task->tokens_due = 0;
    task->full_warned = task->unreadable_warned = task->unreachable_warned = 0;
}

void b24bg_task_step(b24bg_task_t *task, apr_time_t now, apr_interval_time_t wait)
{
    apr_pool_t *scratch;
    apr_size_t i;

    if (now < task->now) {
        forget_times(task);
    }
    task->now = now;
    apr_pool_create(&scratch, task->pool);
    if (open_store(task)) {
        b24bg_task_refresh_table(task, scratch);
    }
    keep_unkept(task);
    if (may_go_on(task)) {
        keep_lease(task);
    }
    for (i = 0; i < sizeof(before_calls) / sizeof(before_calls[0]) && may_go_on(task); i++) {
        before_calls[i](task, scratch);
    }
    move_calls(task, wait);
    for (i = 0; i < sizeof(after_calls) / sizeof(after_calls[0]) && may_go_on(task); i++) {
        after_calls[i](task, scratch);
    }
    b24bg_alert_step(task->alerts, now);
    if (may_go_on(task)) {
        b24bg_task_work_alerts(task, scratch);
    }
    if (!task->store) {
        b24bg_task_count_journal(task, scratch);
    }
    show_health(task);
    apr_pool_destroy(scratch);
}
