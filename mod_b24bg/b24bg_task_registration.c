#include "b24bg_notice.h"
#include "b24bg_task_parts.h"
#include "b24bg_value.h"

#include <apr_escape.h>
#include <apr_strings.h>

#include <string.h>

/* Registrations that are looked at in one step. */
#define OPEN_MOST 4096
/* "a time of 16 digits and a space" for each bind that counts. */
#define BINDS_LONGEST (B24BG_REGISTRATION_PERDAY_MAX * 21 + 1)

/* What is under way for one registration. Lives in a pool of its own, and holds its portal. */
typedef struct {
    b24bg_task_t *task;
    apr_pool_t *pool;
    const b24bg_task_app_t *app;
    b24bg_task_call_t call;
    b24bg_store_registration_t row; /* as it is in the store */
    b24bg_registration_t life;
    b24bg_task_found_t found;
    apr_time_t asked;      /* when what is under way was sent: what was true then, it tells */
    int taken_away;        /* of found.in_the_way */
    const char *busy;      /* of b24bg_task_take_portal */
    const char *error_url; /* being bound, with its key; secret */
} job_t;

/* Store <-> state machine */

static void read_binds(const char *text, apr_time_t *binds)
{
    int i;

    for (i = 0; i < B24BG_REGISTRATION_PERDAY_MAX && *text; i++) {
        char *end;
        binds[i] = apr_strtoi64(text, &end, 10);
        if (end == text) {
            binds[i] = 0;
            return;
        }
        text = end + strspn(end, " ");
    }
}

static const char *write_binds(apr_pool_t *pool, const apr_time_t *binds)
{
    char *text = apr_palloc(pool, BINDS_LONGEST);
    char *to = text;
    int i;

    *text = '\0';
    for (i = 0; i < B24BG_REGISTRATION_PERDAY_MAX && binds[i]; i++) {
        to += apr_snprintf(to, 22, "%s%" APR_TIME_T_FMT, i ? " " : "", binds[i]);
    }
    return text;
}

/* A word of a newer module means: ask. */
static void read_life(const b24bg_store_registration_t *row, b24bg_registration_t *life)
{
    int state = b24bg_registration_state_by_name(row->state);
    int reason = b24bg_registration_reason_by_name(row->reason);
    int goal = b24bg_registration_goal_by_name(row->goal);

    memset(life, 0, sizeof(*life));
    life->state = state < 0 ? B24BG_REGISTRATION_SUSPECT : (b24bg_registration_state_e)state;
    life->reason = reason < 0 ? B24BG_BLOCKED_NONE : (b24bg_registration_reason_e)reason;
    life->goal = goal < 0 ? B24BG_GOAL_KEEP : (b24bg_registration_goal_e)goal;
    life->was_bound = row->was_bound;
    life->forced = row->forced;
    life->attempts = row->attempts;
    life->due = row->due;
    read_binds(row->binds, life->binds);
}

static void write_life(apr_pool_t *pool, const b24bg_registration_t *life, apr_time_t now,
                       b24bg_store_registration_t *row)
{
    const char *state = b24bg_registration_state_name(life->state);

    if (strcmp(row->state, state) != 0 || !row->since) {
        row->since = now;
    }
    row->state = state;
    row->reason = b24bg_registration_reason_name(life->reason);
    row->goal = b24bg_registration_goal_name(life->goal);
    row->was_bound = life->was_bound;
    row->forced = life->forced;
    row->attempts = life->attempts;
    row->due = life->due;
    row->binds = write_binds(pool, life->binds);
}

int b24bg_task_settled(const b24bg_store_registration_t *registration)
{
    int state = b24bg_registration_state_by_name(registration->state);

    return state == B24BG_REGISTRATION_BOUND || state == B24BG_REGISTRATION_UNBOUND ||
           state == B24BG_REGISTRATION_BLOCKED ||
           (!registration->due &&
            (state == B24BG_REGISTRATION_LOST || state == B24BG_REGISTRATION_UNKNOWN));
}

/* Which ones there are */

const char *b24bg_task_urls(apr_pool_t *pool, const b24bg_task_app_t *app, apr_int64_t user)
{
    return apr_pstrcat(pool, b24bg_value_handler_url(pool, app->worker_url, user), " ",
                       app->error_url, NULL);
}

int b24bg_task_wants(const b24bg_task_app_t *app, apr_int64_t user)
{
    int i;

    if (!app->worker_url || !app->error_url) {
        return 0;
    }
    for (i = 0; i < app->users->nelts; i++) {
        if (APR_ARRAY_IDX(app->users, i, apr_int64_t) == user) {
            return 1;
        }
    }
    return app->users->nelts == 0 && user == 0;
}

static int has_user(const apr_array_header_t *registrations, apr_int64_t user)
{
    int i;

    for (i = 0; i < registrations->nelts; i++) {
        if (APR_ARRAY_IDX(registrations, i, b24bg_store_registration_t).user_id == user) {
            return 1;
        }
    }
    return 0;
}

static void add_new(apr_array_header_t *registrations, const b24bg_task_app_t *app,
                    const char *member_id, apr_int64_t user)
{
    b24bg_store_registration_t *row;

    if (!b24bg_task_wants(app, user) || has_user(registrations, user)) {
        return;
    }
    row = apr_array_push(registrations);
    memset(row, 0, sizeof(*row));
    row->app = app->name;
    row->member_id = member_id;
    row->user_id = user;
    row->state = b24bg_registration_state_name(B24BG_REGISTRATION_UNKNOWN);
    row->goal = b24bg_registration_goal_name(B24BG_GOAL_KEEP);
    row->reason = row->detail = row->binds = row->command = row->urls = "";
    row->key_hash = row->next_key_hash = row->old_key_hash = "";
}

apr_array_header_t *b24bg_task_registrations(b24bg_task_t *task, apr_pool_t *pool,
                                             const b24bg_task_app_t *app, const char *member_id)
{
    apr_array_header_t *registrations;
    int i;

    if (!task->store ||
        !b24bg_task_done(task, b24bg_store_registrations(task->store, pool, app->name, member_id,
                                                         &registrations))) {
        return NULL;
    }
    add_new(registrations, app, member_id, 0);
    for (i = 0; i < app->users->nelts; i++) {
        add_new(registrations, app, member_id, APR_ARRAY_IDX(app->users, i, apr_int64_t));
    }
    return registrations;
}

/* Events from outside */

static unsigned random16(const b24bg_task_t *task)
{
    apr_uint16_t number;

    task->config->random(&number, sizeof(number));
    return number;
}

int b24bg_task_is_retired(const b24bg_store_registration_t *registration)
{
    return b24bg_registration_state_by_name(registration->state) == B24BG_REGISTRATION_UNKNOWN &&
           b24bg_registration_goal_by_name(registration->goal) == B24BG_GOAL_KEEP &&
           !registration->due;
}

/* One that the configuration no longer asks for: what is left of it at the portal is in the way of
 * the others, and they take it away (b24bg_task_find). If it is asked for again, it is begun anew.
 */
static int retire(b24bg_store_registration_t *row, apr_time_t now)
{
    if (b24bg_task_is_retired(row)) {
        return 0;
    }
    row->state = b24bg_registration_state_name(B24BG_REGISTRATION_UNKNOWN);
    row->reason = b24bg_registration_reason_name(B24BG_BLOCKED_NONE);
    row->goal = b24bg_registration_goal_name(B24BG_GOAL_KEEP);
    row->detail = "no longer asked for by B24bgUsers";
    row->since = now;
    row->due = 0;
    return 1;
}

int b24bg_task_registration_apply(b24bg_task_t *task, apr_pool_t *pool, const b24bg_task_app_t *app,
                                  b24bg_store_registration_t *registration,
                                  b24bg_registration_event_e event)
{
    b24bg_registration_t before;
    b24bg_registration_t life;

    if (!b24bg_task_wants(app, registration->user_id) && event != B24BG_EVENT_UNINSTALLED &&
        event != B24BG_EVENT_COMMAND_UNBIND) {
        return registration->change != 0 && retire(registration, task->now);
    }
    read_life(registration, &before);
    life = before;
    b24bg_registration_step(&life, event, task->now, &app->policy, random16(task));
    life.under_way = B24BG_ACTION_NONE; /* it is due, which is as good and outlives us */
    if (registration->change != 0 && memcmp(&life, &before, sizeof(life)) == 0) {
        return 0;
    }
    write_life(pool, &life, task->now, registration);
    registration->detail = "";
    return 1;
}

/* Jobs */

const char *b24bg_task_take_portal(b24bg_task_t *task, const b24bg_store_portal_t *portal,
                                   apr_pool_t *pool)
{
    const char *name = apr_pstrcat(pool, portal->app, " ", portal->member_id, NULL);

    if (apr_hash_get(task->busy, name, APR_HASH_KEY_STRING)) {
        return NULL;
    }
    apr_hash_set(task->busy, name, APR_HASH_KEY_STRING, name);
    return name;
}

void b24bg_task_leave_portal(b24bg_task_t *task, const char *name)
{
    apr_hash_set(task->busy, name, APR_HASH_KEY_STRING, NULL);
    task->registrations_due = 0; /* others may have waited for it */
}

static void end_job(void *baton)
{
    job_t *job = baton;

    apr_hash_set(job->task->retries, job->busy, APR_HASH_KEY_STRING, NULL);
    b24bg_task_leave_portal(job->task, job->busy);
    apr_pool_destroy(job->pool);
}

/* With a key that nobody has seen; its hash goes into the store before it goes to the portal. */
static void make_error_url(job_t *job)
{
    unsigned char bytes[B24BG_KEY_LENGTH / 2];
    char hash[B24BG_KEY_HASH_LENGTH + 1] = "";

    job->task->config->random(bytes, sizeof(bytes));
    job->error_url = apr_pstrcat(job->pool, job->app->error_url, "/",
                                 apr_pescape_hex(job->pool, bytes, sizeof(bytes), 0), NULL);
    b24bg_notice_key(job->error_url, hash);
    job->row.next_key_hash = apr_pstrdup(job->pool, hash);
}

/* The next key becomes the live one; the one before stays for notices that are on their way. */
static void confirm_key(job_t *job)
{
    b24bg_store_registration_t *row = &job->row;

    if (*row->key_hash) {
        row->old_key_hash = row->key_hash;
        row->old_key_until = job->task->now + B24BG_TASK_OLD_KEY_LIFE;
    }
    row->key_hash = row->next_key_hash;
    row->next_key_hash = "";
}

static void note_answer(job_t *job, b24bg_registration_event_e event,
                        const b24bg_registration_step_t *step)
{
    if (event == B24BG_EVENT_FOUND_NEW) {
        confirm_key(job);
    }
    if (event == B24BG_EVENT_FOUND_NEW || event == B24BG_EVENT_FOUND_OURS) {
        job->row.urls = b24bg_task_urls(job->pool, job->app, job->row.user_id);
    }
    if (step->tell == B24BG_TELL_REBOUND) {
        job->row.rebound = job->task->now;
    }
    if (step->action == B24BG_ACTION_BIND) {
        make_error_url(job);
        job->row.bound = job->task->now;
    }
    write_life(job->pool, &job->life, job->task->now, &job->row);
}

/* In the history a blockade begins with its reason. */
static const char *history_of(job_t *job)
{
    return *job->row.reason ? apr_pstrcat(job->pool, job->row.reason, *job->row.detail ? ": " : "",
                                          job->row.detail, NULL)
                            : job->row.detail;
}

static int commit(job_t *job, b24bg_registration_tell_e tell)
{
    b24bg_store_reason_t reason = {NULL,
                                   b24bg_task_tell_word(tell),
                                   history_of(job),
                                   job->task->now,
                                   NULL,
                                   b24bg_task_tell_alert(job->pool, job->app, &job->row, tell)};

    return job->task->store &&
           b24bg_task_done(job->task, b24bg_store_registration_put(job->task->store, &job->row,
                                                                   reason.what ? &reason : NULL));
}

static void act(job_t *job, b24bg_registration_action_e action);

/* One step of the life: decided, committed, told, and only then acted upon. If somebody else has
 * changed the registration meanwhile, all that is dropped: what is due is done from what he wrote.
 */
static void take(job_t *job, b24bg_registration_event_e event)
{
    b24bg_registration_step_t step = b24bg_registration_step(
        &job->life, event, job->task->now, &job->app->policy, random16(job->task));

    note_answer(job, event, &step);
    if (!commit(job, step.tell)) {
        end_job(job);
        return;
    }
    job->task->refresh_due = 0;
    b24bg_task_tell(job->task, job->app, &job->call.portal, &job->row, step.tell);
    act(job, step.action);
}

/* What an answer that is not as it should be means for the life. */
static b24bg_registration_event_e event_of(b24bg_rest_class_e class)
{
    switch (class) {
    case B24BG_REST_EXPIRED: /* again, with new tokens */
    case B24BG_REST_NO_TOKEN:
        return B24BG_EVENT_NO_TOKEN;
    case B24BG_REST_NOT_ADMIN:
        return B24BG_EVENT_NOT_ADMIN;
    case B24BG_REST_WRONG_APP:
        return B24BG_EVENT_WRONG_APP;
    case B24BG_REST_PAYMENT:
        return B24BG_EVENT_PAYMENT;
    case B24BG_REST_GONE:
        return B24BG_EVENT_UNINSTALLED;
    case B24BG_REST_WRONG:
        return B24BG_EVENT_REFUSED;
    default:
        return B24BG_EVENT_AGAIN;
    }
}

/* 1 if the result is good; else the life takes what it means. */
static int is_good(job_t *job, const b24bg_rest_result_t *result)
{
    job->row.detail = "";
    if (result->class == B24BG_REST_OK) {
        return 1;
    }
    job->row.detail = *result->detail
                          ? apr_pstrcat(job->pool, result->code, ": ", result->detail, NULL)
                          : apr_pstrdup(job->pool, result->code);
    take(job, event_of(result->class));
    return 0;
}

/* placement.get */

static apr_status_t ask_rows(apr_pool_t *pool, const b24bg_rest_portal_t *portal, void *baton,
                             b24bg_http_request_t *request)
{
    (void)baton;
    return b24bg_rest_ask_rows(pool, portal, request);
}

static b24bg_portal_ref_t place_of(const job_t *job)
{
    b24bg_portal_id_t id = {job->app->row, job->row.member_id, job->row.user_id};

    return b24bg_table_find(job->task->config->table, &id);
}

/* The portal's number, where it is shown, is the truth. */
static void show_budget(job_t *job)
{
    if (job->found.slow_count >= 0) {
        b24bg_table_budget_told(job->task->config->table, place_of(job),
                                (unsigned)job->found.slow_count, job->task->now);
    }
}

static void got_rows(void *baton, const b24bg_http_answer_t *answer,
                     const b24bg_rest_result_t *result)
{
    b24bg_rest_result_t read = *result;
    job_t *job = baton;
    apr_array_header_t *rows;

    if (answer) {
        b24bg_rest_read_rows(job->pool, answer, &rows, &read);
    }
    if (!is_good(job, &read)) {
        return;
    }
    b24bg_task_find(job->pool, job->app, &job->row, rows, &job->found);
    job->row.checked = job->asked;
    job->row.detail = job->found.event == B24BG_EVENT_FOUND_FOREIGN ? job->found.detail : "";
    show_budget(job);
    take(job, job->found.event);
}

/* placement.unbind, of one row after the other */

static apr_status_t ask_unbind(apr_pool_t *pool, const b24bg_rest_portal_t *portal, void *baton,
                               b24bg_http_request_t *request)
{
    job_t *job = baton;

    return b24bg_rest_ask_unbind(
        pool, portal, &APR_ARRAY_IDX(job->found.in_the_way, job->taken_away, b24bg_rest_row_t),
        request);
}

static void got_unbind(void *baton, const b24bg_http_answer_t *answer,
                       const b24bg_rest_result_t *result)
{
    b24bg_rest_result_t read = *result;
    job_t *job = baton;

    if (answer) {
        b24bg_rest_read_unbind(job->pool, answer, &read);
    }
    if (!is_good(job, &read)) {
        return;
    }
    if (++job->taken_away < job->found.in_the_way->nelts) {
        b24bg_task_call(&job->call);
    } else {
        take(job, B24BG_EVENT_DONE);
    }
}

/* placement.bind */

static apr_status_t ask_bind(apr_pool_t *pool, const b24bg_rest_portal_t *portal, void *baton,
                             b24bg_http_request_t *request)
{
    job_t *job = baton;
    b24bg_rest_binding_t binding;

    binding.handler = b24bg_value_handler_url(pool, job->app->worker_url, job->row.user_id);
    binding.error_url = job->error_url;
    binding.title = job->app->title;
    binding.user_id = job->row.user_id;
    return b24bg_rest_ask_bind(pool, portal, &binding, request);
}

static void got_bind(void *baton, const b24bg_http_answer_t *answer,
                     const b24bg_rest_result_t *result)
{
    b24bg_rest_result_t read = *result;
    job_t *job = baton;

    if (answer) {
        b24bg_rest_read_bind(job->pool, answer, &read);
    }
    if (is_good(job, &read)) {
        take(job, B24BG_EVENT_DONE);
    }
}

/* Acting */

static const struct {
    apr_status_t (*ask)(apr_pool_t *pool, const b24bg_rest_portal_t *portal, void *baton,
                        b24bg_http_request_t *request);
    void (*answered)(void *baton, const b24bg_http_answer_t *answer,
                     const b24bg_rest_result_t *result);
    int changes; /* something at the portal */
} actions[] = {
    [B24BG_ACTION_ASK] = {ask_rows, got_rows, 0},
    [B24BG_ACTION_READ_BACK] = {ask_rows, got_rows, 0},
    [B24BG_ACTION_UNBIND] = {ask_unbind, got_unbind, 1},
    [B24BG_ACTION_BIND] = {ask_bind, got_bind, 1},
};

static void act(job_t *job, b24bg_registration_action_e action)
{
    if (action == B24BG_ACTION_NONE) {
        end_job(job);
        return;
    }
    if (action == B24BG_ACTION_BIND) {
        b24bg_task_end_budget(job->task, &job->row, place_of(job));
    }
    job->taken_away = 0;
    job->asked = job->task->now;
    job->call.changes = actions[action].changes;
    job->call.ask = actions[action].ask;
    job->call.answered = actions[action].answered;
    job->call.refreshed = job->call.moved = 0;
    b24bg_task_call(&job->call);
}

/* Starting */

static job_t *new_job(b24bg_task_t *task, const b24bg_task_app_t *app)
{
    apr_pool_t *pool;
    job_t *job;

    apr_pool_create(&pool, task->pool);
    job = apr_pcalloc(pool, sizeof(*job));
    job->task = task;
    job->pool = pool;
    job->app = app;
    job->call.task = task;
    job->call.pool = pool;
    job->call.app = app;
    job->call.baton = job;
    job->call.dropped = end_job;
    return job;
}

/* Reads portal and registration into the job's own memory. 0 if the store failed or one of them is
 * gone; an uninstalled portal is there. */
static int read_job(job_t *job, const b24bg_store_registration_t *row)
{
    b24bg_store_t *store = job->task->store;
    apr_array_header_t *rows;
    b24bg_store_portal_t *portal;
    int i;

    if (!b24bg_task_done(job->task, b24bg_store_portal_get(store, job->pool, row->app,
                                                           row->member_id, &portal)) ||
        !b24bg_task_done(job->task, b24bg_store_registrations(store, job->pool, row->app,
                                                              row->member_id, &rows))) {
        return 0;
    }
    job->call.portal = *portal;
    for (i = 0; i < rows->nelts; i++) {
        job->row = APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (job->row.user_id == row->user_id) {
            read_life(&job->row, &job->life);
            return 1;
        }
    }
    return 0;
}

static void start_job(b24bg_task_t *task, const b24bg_task_app_t *app,
                      const b24bg_store_registration_t *row)
{
    job_t *job = new_job(task, app);

    if (!read_job(job, row) ||
        !(job->busy = b24bg_task_take_portal(task, &job->call.portal, job->pool))) {
        apr_pool_destroy(job->pool);
        return;
    }
    if (row->attempts > 0) {
        apr_hash_set(task->retries, job->busy, APR_HASH_KEY_STRING, job);
        task->retrying++;
    }
    take(job, job->call.portal.installed ? B24BG_EVENT_DUE : B24BG_EVENT_UNINSTALLED);
}

static int count_retrying(const b24bg_task_t *task)
{
    apr_hash_index_t *at;
    int count = 0;

    for (at = apr_hash_first(NULL, task->retries); at; at = apr_hash_next(at)) {
        const job_t *job = apr_hash_this_val(at);
        count += task->now - job->asked < B24BG_TASK_PATIENCE;
    }
    return count;
}

static int is_due(const b24bg_task_t *task, const b24bg_task_app_t *app,
                  const b24bg_store_registration_t *row)
{
    b24bg_registration_t life;

    if (row->attempts > 0 && task->retrying >= B24BG_TASK_RETRIES_MOST) {
        return 0;
    }
    read_life(row, &life);
    return b24bg_registration_is_due(&life, task->now, &app->policy);
}

/* Unbound by a command, though the configuration no longer asks for it. */
static int is_leaving(const b24bg_store_registration_t *row)
{
    return b24bg_registration_goal_by_name(row->goal) == B24BG_GOAL_UNBIND;
}

void b24bg_task_work_registrations(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *rows;
    int i;

    if (!task->leader || task->now < task->registrations_due) {
        return;
    }
    task->registrations_due = task->now + B24BG_TASK_REFRESH_EVERY;
    task->retrying = count_retrying(task);
    if (!b24bg_task_done(task,
                         b24bg_store_registrations_open(task->store, scratch, OPEN_MOST, &rows))) {
        return;
    }
    for (i = 0; i < rows->nelts && task->store; i++) {
        const b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        const b24bg_task_app_t *app = b24bg_task_app(task, row->app);
        if (app && app->worker_url && app->error_url &&
            (b24bg_task_wants(app, row->user_id) || is_leaving(row)) && is_due(task, app, row)) {
            start_job(task, app, row);
        }
    }
}
