#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <string.h>

/* Commands looked at at once. */
#define COMMANDS_MOST 256
/* In front of a verb that is only to be thought through. */
#define DRY "dry-"

/* As b24bgctl exits: the first character of a result. */
#define GOOD "0"
#define NOT_YET "1"
#define BAD "2"

static const struct {
    const char *verb;
    b24bg_registration_event_e event;
} verbs[] = {{"bind", B24BG_EVENT_COMMAND_BIND},
             {"unbind", B24BG_EVENT_COMMAND_UNBIND},
             {"rebind", B24BG_EVENT_COMMAND_REBIND}};

static void finish(b24bg_task_t *task, const b24bg_store_command_t *command, const char *code,
                   const char *text, apr_pool_t *scratch)
{
    b24bg_task_done(task, b24bg_store_command_finish(task->store, command->id,
                                                     apr_pstrcat(scratch, code, " ", text, NULL)));
}

/* What a command has come to */

static const char *when(apr_pool_t *pool, const b24bg_task_t *task, apr_time_t due)
{
    return apr_psprintf(pool, "in %" APR_TIME_T_FMT " s",
                        due > task->now ? apr_time_sec(due - task->now) : 0);
}

/* One sentence for a registration. */
static const char *describe(apr_pool_t *pool, const b24bg_task_t *task,
                            const b24bg_store_registration_t *row)
{
    const char *who =
        row->user_id ? apr_psprintf(pool, "user %" APR_INT64_T_FMT ": ", row->user_id) : "";

    if (*row->reason) {
        return apr_pstrcat(pool, who, "blocked: ", row->reason, *row->detail ? ": " : "",
                           row->detail, NULL);
    }
    if (!b24bg_task_settled(row)) {
        return apr_pstrcat(pool, who, "not yet: ", row->detail, "; it is tried again ",
                           when(pool, task, row->due), ", by itself", NULL);
    }
    return apr_pstrcat(pool, who, row->state, NULL);
}

/* Said when all are settled, or one has failed and waits for its next attempt. */
static int is_over(const b24bg_store_registration_t *row)
{
    return b24bg_task_settled(row) || row->attempts > 0;
}

/* Of the command's registrations; 0: something is still under way. */
static int report(b24bg_task_t *task, const b24bg_store_command_t *command,
                  const apr_array_header_t *rows, apr_pool_t *scratch)
{
    const char *code = GOOD;
    const char *text = "";
    int i;

    for (i = 0; i < rows->nelts; i++) {
        const b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (strcmp(row->command, command->id) != 0) {
            continue;
        }
        if (!is_over(row)) {
            return 0;
        }
        text = apr_pstrcat(scratch, text, *text ? "\n" : "", describe(scratch, task, row), NULL);
        if (*row->reason) {
            code = BAD;
        } else if (!b24bg_task_settled(row) && *code == *GOOD) {
            code = NOT_YET;
        }
    }
    finish(task, command, code, *text ? text : "there is nothing to do", scratch);
    return 1;
}

/* Carrying one out */

/* unbind means whatever there is; the others what the configuration asks for. */
static int is_meant(const b24bg_task_app_t *app, const b24bg_store_registration_t *row,
                    b24bg_registration_event_e event)
{
    return b24bg_task_wants(app, row->user_id) ||
           (event == B24BG_EVENT_COMMAND_UNBIND && row->change);
}

/* The registration remembers which command it has taken, so that a crash in the middle, or another
 * step, does not begin it again. */
static void carry_out(b24bg_task_t *task, const b24bg_task_app_t *app,
                      const b24bg_store_command_t *command, b24bg_registration_event_e event,
                      apr_pool_t *scratch)
{
    apr_array_header_t *rows = b24bg_task_registrations(task, scratch, app, command->member_id);
    int begun = 0;
    int i;

    for (i = 0; rows && i < rows->nelts && task->store; i++) {
        b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (strcmp(row->command, command->id) != 0 && is_meant(app, row, event)) {
            b24bg_task_registration_apply(task, scratch, app, row, event);
            row->command = command->id;
            b24bg_task_done(task, b24bg_store_registration_put(task->store, row, NULL));
            task->registrations_due = 0;
            begun = 1;
        }
    }
    if (rows && task->store && !begun) {
        report(task, command, rows, scratch);
    }
}

/* Dry runs: the portal is asked, and what would be done is said */

typedef struct {
    b24bg_task_t *task;
    apr_pool_t *pool;
    const char *busy;
    b24bg_store_command_t command;
    b24bg_registration_event_e event;
    b24bg_task_call_t call;
} rehearsal_t;

static void end_rehearsal(void *baton)
{
    rehearsal_t *rehearsal = baton;

    b24bg_task_leave_portal(rehearsal->task, rehearsal->busy);
    apr_pool_destroy(rehearsal->pool);
}

static apr_status_t ask_rows(apr_pool_t *pool, const b24bg_rest_portal_t *portal, void *baton,
                             b24bg_http_request_t *request)
{
    (void)baton;
    return b24bg_rest_ask_rows(pool, portal, request);
}

static const char *plan(b24bg_registration_event_e command, b24bg_registration_event_e found)
{
    int is_there = found == B24BG_EVENT_FOUND_OURS || found == B24BG_EVENT_FOUND_NEW;

    if (command == B24BG_EVENT_COMMAND_UNBIND) {
        return is_there || found == B24BG_EVENT_FOUND_STALE ? "it would be taken away"
                                                            : "nothing would be done";
    }
    if (found == B24BG_EVENT_FOUND_NONE) {
        return "it would be registered";
    }
    if (command == B24BG_EVENT_COMMAND_REBIND || found == B24BG_EVENT_FOUND_STALE) {
        return "what is there would be taken away, then it would be registered with a new key";
    }
    return is_there ? "nothing would be done"
                    : "it would be blocked: foreign-handler; rebind takes the other one away";
}

static const char *found_text(b24bg_registration_event_e found)
{
    switch (found) {
    case B24BG_EVENT_FOUND_OURS:
    case B24BG_EVENT_FOUND_NEW:
        return "registered";
    case B24BG_EVENT_FOUND_STALE:
        return "registered, but not as configured";
    case B24BG_EVENT_FOUND_FOREIGN:
        return "another handler is registered";
    default:
        return "not registered";
    }
}

static const char *rehearse(rehearsal_t *rehearsal, const apr_array_header_t *portal_rows)
{
    apr_array_header_t *rows = b24bg_task_registrations(
        rehearsal->task, rehearsal->pool, rehearsal->call.app, rehearsal->command.member_id);
    const char *text = "";
    int i;

    for (i = 0; rows && i < rows->nelts; i++) {
        const b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        b24bg_task_found_t found;
        if (!is_meant(rehearsal->call.app, row, rehearsal->event)) {
            continue;
        }
        b24bg_task_find(rehearsal->pool, rehearsal->call.app, row, portal_rows, &found);
        text = apr_psprintf(
            rehearsal->pool, "%s%suser %" APR_INT64_T_FMT ": at the portal: %s%s%s%s; %s", text,
            *text ? "\n" : "", row->user_id, found_text(found.event), *found.detail ? " (" : "",
            found.detail, *found.detail ? ")" : "", plan(rehearsal->event, found.event));
    }
    return text;
}

static void got_rows(void *baton, const b24bg_http_answer_t *answer,
                     const b24bg_rest_result_t *result)
{
    b24bg_rest_result_t read = *result;
    rehearsal_t *rehearsal = baton;
    b24bg_task_t *task = rehearsal->task;
    apr_array_header_t *rows = NULL;
    const char *text;

    if (answer) {
        b24bg_rest_read_rows(rehearsal->pool, answer, &rows, &read);
    }
    if (task->store && read.class == B24BG_REST_OK) {
        text = rehearse(rehearsal, rows);
        if (task->store) {
            finish(task, &rehearsal->command, GOOD, *text ? text : "there is nothing to do",
                   rehearsal->pool);
        }
    } else if (task->store) {
        text =
            apr_pstrcat(rehearsal->pool, "the portal did not say what is registered: ", read.code,
                        ": ", read.detail, NULL);
        finish(task, &rehearsal->command, BAD, text, rehearsal->pool);
    }
    end_rehearsal(rehearsal);
}

static rehearsal_t *new_rehearsal(b24bg_task_t *task, const b24bg_task_app_t *app,
                                  const b24bg_store_command_t *command)
{
    rehearsal_t *rehearsal;
    apr_pool_t *pool;

    apr_pool_create(&pool, task->pool);
    rehearsal = apr_pcalloc(pool, sizeof(*rehearsal));
    rehearsal->task = task;
    rehearsal->pool = pool;
    rehearsal->command.id = apr_pstrdup(pool, command->id);
    rehearsal->command.member_id = apr_pstrdup(pool, command->member_id);
    rehearsal->call.task = task;
    rehearsal->call.pool = pool;
    rehearsal->call.app = app;
    rehearsal->call.ask = ask_rows;
    rehearsal->call.answered = got_rows;
    rehearsal->call.dropped = end_rehearsal;
    rehearsal->call.baton = rehearsal;
    return rehearsal;
}

/* Where the portal is busy, it stays open. */
static void start_rehearsal(b24bg_task_t *task, const b24bg_task_app_t *app,
                            const b24bg_store_command_t *command, b24bg_registration_event_e event)
{
    rehearsal_t *rehearsal = new_rehearsal(task, app, command);
    b24bg_store_portal_t *portal;

    rehearsal->event = event;
    if (!b24bg_task_done(task, b24bg_store_portal_get(task->store, rehearsal->pool, app->name,
                                                      command->member_id, &portal)) ||
        !(rehearsal->busy = b24bg_task_take_portal(task, portal, rehearsal->pool))) {
        apr_pool_destroy(rehearsal->pool);
        return;
    }
    rehearsal->call.portal = *portal;
    b24bg_task_call(&rehearsal->call);
}

/* Taking them up */

static int event_of(const char *verb)
{
    apr_size_t i;

    for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].verb, verb) == 0) {
            return (int)verbs[i].event;
        }
    }
    return -1;
}

/* Why it cannot be carried out, or NULL. */
static const char *obstacle(const b24bg_task_app_t *app, const b24bg_store_portal_t *portal,
                            int event)
{
    if (event < 0) {
        return "this version of mod_b24bg knows no such command";
    }
    if (!app->worker_url || !app->error_url) {
        return "the app has no B24bgWorkerURL and B24bgErrorURL, so there is nothing to register";
    }
    if (!portal || !portal->installed) {
        return "the application is not installed on this portal";
    }
    return NULL;
}

static void work_command(b24bg_task_t *task, b24bg_store_command_t *command, apr_pool_t *scratch)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, command->app);
    int is_dry = strncmp(command->verb, DRY, sizeof(DRY) - 1) == 0;
    int event = event_of(command->verb + (is_dry ? sizeof(DRY) - 1 : 0));
    b24bg_store_portal_t *portal = NULL;
    const char *why;

    if (!app) {
        return; /* another machine's, or one that was taken out: b24bgctl says that nobody took it
                 */
    }
    b24bg_task_done(task, b24bg_store_portal_get(task->store, scratch, command->app,
                                                 command->member_id, &portal));
    if (!task->store) {
        return;
    }
    why = obstacle(app, portal, event);
    if (portal) {
        command->member_id = portal->member_id; /* it may have been its domain */
    }
    if (why) {
        finish(task, command, BAD, why, scratch);
    } else if (is_dry) {
        start_rehearsal(task, app, command, (b24bg_registration_event_e)event);
    } else {
        carry_out(task, app, command, (b24bg_registration_event_e)event, scratch);
    }
}

/* One command after the other: a registration remembers only one. They come oldest first. */
static int is_first(const b24bg_store_command_t *command, apr_hash_t *seen, apr_pool_t *scratch)
{
    const char *portal = apr_pstrcat(scratch, command->app, " ", command->member_id, NULL);

    if (apr_hash_get(seen, portal, APR_HASH_KEY_STRING)) {
        return 0;
    }
    apr_hash_set(seen, portal, APR_HASH_KEY_STRING, portal);
    return 1;
}

void b24bg_task_work_commands(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_hash_t *seen = apr_hash_make(scratch);
    apr_array_header_t *commands;
    int i;

    if (!task->leader || task->now < task->commands_due) {
        return;
    }
    task->commands_due = task->now + B24BG_TASK_REFRESH_EVERY;
    if (!b24bg_task_done(task,
                         b24bg_store_commands(task->store, scratch, COMMANDS_MOST, &commands))) {
        return;
    }
    for (i = 0; i < commands->nelts && task->store; i++) {
        b24bg_store_command_t *command = &APR_ARRAY_IDX(commands, i, b24bg_store_command_t);
        if (is_first(command, seen, scratch)) {
            work_command(task, command, scratch);
        }
    }
}
