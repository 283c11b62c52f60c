/* Commands for the background task: left in the store, which is the only way to it. */
#include "b24bgctl.h"

#include "b24bg_form.h"
#include "b24bg_task.h"

#include <apr_strings.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_DEFAULT 60 /* a portal that hangs takes B24bgTimeout's 20 s, and is asked again */
#define LOOK_EVERY (APR_USEC_PER_SEC / 5)
#define TELL_FIRST apr_time_from_sec(2)
#define TELL_EVERY apr_time_from_sec(10)
#define LINE_LONGEST 1000
/* So the task does not carry it out when nobody expects it any more. */
#define WITHDRAWN "2 withdrawn: nobody waits for it any more"

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* A command that is given up must not be carried out hours later, whoever gives it up. */
static void heed_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = interrupt;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* "<exit code> <sentences>", as the task writes it. */
static b24bgctl_exit_e tell_result(apr_pool_t *pool, const char *result)
{
    int whole = result[0] >= '0' && result[0] <= '3' && result[1] == ' ';
    const char *line = whole ? result + 2 : result;

    while (*line) {
        apr_size_t length = strcspn(line, "\n");
        printf("%s\n", b24bg_form_clean(pool, apr_pstrmemdup(pool, line, length), LINE_LONGEST));
        line += length + (line[length] == '\n');
    }
    return whole ? (b24bgctl_exit_e)(result[0] - '0') : B24BGCTL_CRITICAL;
}

/* Looks until there is a result, time is up, or it is interrupted; *result is "" then. */
static apr_status_t wait_for_result(b24bgctl_t *ctl, b24bg_store_t *store, const char *id,
                                    long timeout, const char **result)
{
    apr_time_t start = apr_time_now();
    apr_time_t tell = start + TELL_FIRST;
    b24bg_store_command_t *command;
    apr_pool_t *pool;
    apr_status_t rv = apr_pool_create(&pool, ctl->pool);

    *result = "";
    while (rv == APR_SUCCESS) {
        apr_time_t now = apr_time_now();
        apr_pool_clear(pool);
        rv = b24bg_store_command_get(store, pool, id, &command);
        if (rv == APR_SUCCESS && *command->result) {
            *result = apr_pstrdup(ctl->pool, command->result);
        }
        if (**result || interrupted || now - start >= apr_time_from_sec(timeout)) {
            break;
        }
        if (now >= tell) {
            fprintf(stderr, "b24bgctl: waiting for Apache's background task, %d s\n",
                    (int)apr_time_sec(now - start));
            tell += TELL_EVERY;
        }
        apr_sleep(LOOK_EVERY);
    }
    return rv;
}

/* 1 if the task has begun with it. */
static int is_under_way(b24bgctl_t *ctl, b24bg_store_t *store, const b24bg_store_command_t *command)
{
    apr_array_header_t *registrations;
    int i;

    if (b24bg_store_registrations(store, ctl->pool, command->app, command->member_id,
                                  &registrations) != APR_SUCCESS) {
        return 0;
    }
    for (i = 0; i < registrations->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(registrations, i, b24bg_store_registration_t).command,
                   command->id) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Who should have done it. */
static const char *who_works(b24bgctl_t *ctl, b24bg_store_t *store)
{
    b24bg_store_lease_t *lease;
    const char *holder;
    const char *when;

    if (b24bg_store_lease_get(store, ctl->pool, B24BG_TASK_LEASE_NAME, &lease) != APR_SUCCESS) {
        return "No background task has this store: is Apache running, with a B24bgClient?";
    }
    holder = b24bg_form_clean(ctl->pool, lease->holder, B24BGCTL_CELL_LONGEST);
    when = b24bgctl_time_text(ctl->pool, lease->until, "%Y-%m-%dT%H:%M:%SZ");
    if (lease->until <= apr_time_now()) {
        return apr_psprintf(ctl->pool,
                            "The last background task, %s, was at work until %s: is Apache "
                            "running, and its store this one?",
                            holder, when);
    }
    return apr_psprintf(ctl->pool,
                        "The background task %s has the store until %s: does its Apache know the "
                        "app? See the error log there.",
                        holder, when);
}

/* Nobody came in time, or the one who waits has gone. What comes in at this very moment counts. */
static b24bgctl_exit_e withdraw(b24bgctl_t *ctl, b24bg_store_t *store,
                                const b24bg_store_command_t *command)
{
    b24bg_store_command_t *last;
    apr_status_t rv = b24bg_store_command_finish(store, command->id, WITHDRAWN);

    if (rv == APR_SUCCESS) {
        rv = b24bg_store_command_get(store, ctl->pool, command->id, &last);
    }
    if (rv != APR_SUCCESS) {
        return b24bgctl_fail(B24BGCTL_CRITICAL,
                             "no result, and the command cannot be withdrawn: %s. It may still be "
                             "carried out; b24bgctl status tells",
                             b24bg_store_error(store));
    }
    if (strcmp(last->result, WITHDRAWN) != 0) {
        return tell_result(ctl->pool, last->result);
    }
    if (is_under_way(ctl, store, command)) {
        return b24bgctl_fail(B24BGCTL_CRITICAL,
                             "%s: Apache's background task has begun with it, and goes on; "
                             "b24bgctl status tells how it ends",
                             interrupted ? "interrupted" : "no result in time");
    }
    return b24bgctl_fail(B24BGCTL_CRITICAL,
                         "%s: Apache's background task has not taken the command, which is "
                         "withdrawn. %s",
                         interrupted ? "interrupted" : "no result in time", who_works(ctl, store));
}

static b24bgctl_exit_e carry_out(b24bgctl_t *ctl, b24bg_store_t *store,
                                 const b24bg_store_command_t *command, long timeout)
{
    const char *result;
    apr_status_t rv;

    heed_signals();
    rv = b24bg_store_command_add(store, command);
    if (rv != APR_SUCCESS) {
        return b24bgctl_store_fail(store, rv);
    }
    rv = wait_for_result(ctl, store, command->id, timeout, &result);
    if (rv != APR_SUCCESS) {
        return b24bgctl_fail(B24BGCTL_CRITICAL,
                             "the store failed while the command was waited for: %s. It may still "
                             "be carried out; b24bgctl status tells",
                             b24bg_store_error(store));
    }
    return *result ? tell_result(ctl->pool, result) : withdraw(ctl, store, command);
}

static b24bgctl_exit_e leave_command(b24bgctl_t *ctl, const char *verb)
{
    const b24bg_store_portal_t *portal;
    b24bg_store_command_t command = {NULL};
    long timeout = TIMEOUT_DEFAULT;
    b24bg_store_t *store;
    b24bgctl_exit_e code;

    if (!b24bgctl_number(ctl, B24BGCTL_TIMEOUT, B24BGCTL_TIMEOUT_MOST, &timeout)) {
        return B24BGCTL_USAGE;
    }
    code = b24bgctl_store_open(ctl, &store);
    if (code == B24BGCTL_GOOD) {
        code = b24bgctl_find_portal(ctl, store, &portal);
    }
    if (code != B24BGCTL_GOOD) {
        return code;
    }
    command.id = b24bgctl_random(ctl->pool);
    command.app = portal->app;
    command.member_id = portal->member_id;
    command.verb =
        ctl->options[B24BGCTL_DRY_RUN] ? apr_pstrcat(ctl->pool, "dry-", verb, NULL) : verb;
    command.created = apr_time_now();
    command.result = "";
    return carry_out(ctl, store, &command, timeout);
}

b24bgctl_exit_e b24bgctl_bind(b24bgctl_t *ctl)
{
    return leave_command(ctl, "bind");
}

b24bgctl_exit_e b24bgctl_unbind(b24bgctl_t *ctl)
{
    return leave_command(ctl, "unbind");
}

b24bgctl_exit_e b24bgctl_rebind(b24bgctl_t *ctl)
{
    return leave_command(ctl, "rebind");
}
