#include "b24bg_task.h"

#include "b24bg_install.h"
#include "b24bg_journal.h"
#include "b24bg_notice.h"
#include "b24bg_store.h"

#include <apr_escape.h>
#include <apr_file_info.h>
#include <apr_hash.h>
#include <apr_strings.h>

#include <stdarg.h>
#include <string.h>

#define LEASE_NAME "background"
/* Records taken from the journal in one transaction: about 2 MiB of them. */
#define IMPORT_MOST 1000
/* Messages looked at at once. */
#define INBOX_MOST 8192
/* A warning that holds on is repeated this often: spec.md section 3, B24bgMaxPortals. */
#define WARN_EVERY apr_time_from_sec(60)

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

    apr_hash_t *under_way; /* message id -> verify_t */
    int inbox_asked;       /* something may be due at once */
    apr_time_t inbox_due;

    apr_int64_t change; /* newest change of a portal that is in the table */
    apr_time_t refresh_due;
    int left_over; /* a portal found the table full */
    apr_time_t left_over_due;
    apr_time_t full_warned;
    apr_time_t unreadable_warned;
    apr_time_t unreachable_warned;
    apr_uint64_t turned_away;
    apr_time_t flush_due;
    apr_uint64_t *flushed; /* loads of each place when they were written last */
    apr_time_t purge_due;
};

/* An installation that is being verified. Lives in a pool of its own. */
typedef struct {
    b24bg_task_t *task;
    apr_pool_t *pool;
    const b24bg_task_app_t *app;
    b24bg_store_message_t message;
    b24bg_install_t install;
    const char *auth_server;
    int refreshed;
    b24bg_rest_identity_t identity; /* once the auth server has told it */
} verify_t;

static void say(b24bg_task_t *task, b24bg_log_level_e level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(b24bg_task_t *task, b24bg_log_level_e level, const char *format, ...)
{
    char line[1024];
    va_list arguments;

    va_start(arguments, format);
    apr_vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    task->config->log(task->config->log_baton, level, line);
}

/* The store, up and down */

static void store_failed(b24bg_task_t *task)
{
    if (!task->down_logged) {
        say(task, B24BG_LOG_WARNING,
            "B24BG0301: the store is down: %s; what comes in is kept in the journal",
            task->store ? b24bg_store_error(task->store) : "it was closed");
        task->down_logged = 1;
    }
    task->store = NULL;
    task->leader = 0;
    apr_pool_clear(task->store_pool);
    task->reopen_due = task->now + B24BG_TASK_REOPEN_EVERY;
}

/* 1 if the store did what was asked. APR_NOTFOUND is no failure of the store: another process has
 * finished the message before us, or the portal is gone. */
static int done(b24bg_task_t *task, apr_status_t rv)
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
            say(task, B24BG_LOG_WARNING,
                "B24BG0302: the store cannot be opened: %s; what comes in is kept in the journal",
                error);
            task->down_logged = 1;
        }
        task->store = NULL;
        apr_pool_clear(task->store_pool);
        task->reopen_due = task->now + B24BG_TASK_REOPEN_EVERY;
        return 0;
    }
    task->lease_due = task->refresh_due = 0;
    task->inbox_asked = 1;
    return 1;
}

/* Journal -> inbox */

typedef struct {
    apr_pool_t *pool;
    apr_array_header_t *messages;
    apr_hash_t *imported;
    unsigned strange; /* records that are not ours */
} import_t;

/* What kind of message a record holds, in the store's word; NULL if it is not ours. */
static const char *event_of(apr_pool_t *pool, const char *fields, const char **app)
{
    b24bg_install_t install;
    b24bg_notice_t notice;
    const char *key_hash;

    if (b24bg_install_decode(pool, fields, app, &install)) {
        return b24bg_install_event(install.kind);
    }
    return b24bg_notice_decode(pool, fields, app, &key_hash, &notice) ? "notice" : NULL;
}

/* Ends the reading when there is enough for one transaction. */
static apr_status_t import_record(void *baton, const b24bg_journal_record_t *record)
{
    import_t *import = baton;
    const char *id = apr_pescape_hex(import->pool, record->id, sizeof(record->id), 0);
    b24bg_store_message_t *message;
    const char *fields;
    const char *event;
    const char *app;

    if (apr_hash_get(import->imported, id, APR_HASH_KEY_STRING)) {
        return APR_SUCCESS;
    }
    if (import->messages->nelts == IMPORT_MOST) {
        return APR_INCOMPLETE;
    }
    fields = apr_pstrmemdup(import->pool, record->payload, record->length);
    event = event_of(import->pool, fields, &app);
    if (!event) {
        import->strange++;
        return APR_SUCCESS;
    }
    message = apr_array_push(import->messages);
    message->id = id;
    message->app = app;
    message->event = event;
    message->fields = fields;
    message->received = message->due = record->at;
    message->attempts = 0;
    return APR_SUCCESS;
}

static void remember_imported(b24bg_task_t *task, const apr_array_header_t *messages)
{
    int i;

    for (i = 0; i < messages->nelts; i++) {
        const char *id =
            apr_pstrdup(task->imported_pool, APR_ARRAY_IDX(messages, i, b24bg_store_message_t).id);
        apr_hash_set(task->imported, id, APR_HASH_KEY_STRING, id);
    }
}

static void forget_imported(b24bg_task_t *task)
{
    apr_pool_clear(task->imported_pool);
    task->imported = apr_hash_make(task->imported_pool);
}

static void warn_unreadable(b24bg_task_t *task, apr_status_t rv)
{
    char reason[120];

    if (task->now - task->unreadable_warned >= WARN_EVERY) {
        say(task, B24BG_LOG_WARNING,
            "B24BG0312: the journal \"%s\" cannot be read: %s; what is in it waits",
            task->config->journal, apr_strerror(rv, reason, sizeof(reason)));
        task->unreadable_warned = task->now;
    }
}

/* Bytes of which no record can be read are torn, and must not fill the journal for ever. */
static int has_bytes(const char *path, apr_pool_t *scratch)
{
    apr_finfo_t info;

    return apr_stat(&info, path, APR_FINFO_SIZE, scratch) == APR_SUCCESS && info.size > 0;
}

static void import_journal(b24bg_task_t *task, apr_pool_t *scratch)
{
    import_t import = {scratch, apr_array_make(scratch, 8, sizeof(b24bg_store_message_t)),
                       task->imported, 0};
    b24bg_journal_position_t position;
    apr_status_t rv =
        b24bg_journal_read(task->config->journal, import_record, &import, &position, scratch);
    int retired;

    if (rv != APR_SUCCESS && rv != APR_INCOMPLETE) {
        warn_unreadable(task, rv);
        return;
    }
    if (position.end == 0 && !has_bytes(task->config->journal, scratch)) {
        return;
    }
    if (import.messages->nelts) {
        if (!done(task, b24bg_store_inbox_add(task->store, import.messages))) {
            return;
        }
        remember_imported(task, import.messages);
        task->inbox_asked = 1;
    }
    if (import.strange && import.messages->nelts) {
        say(task, B24BG_LOG_WARNING,
            "B24BG0314: journal: %u records of another version of this module passed over",
            import.strange);
    }
    if (position.torn && import.messages->nelts) {
        say(task, B24BG_LOG_WARNING,
            "B24BG0304: journal: %u torn places passed over; they were never answered 200",
            position.torn);
    }
    if (rv == APR_SUCCESS &&
        b24bg_journal_retire(task->config->journal, &position, &retired, scratch) == APR_SUCCESS &&
        retired) {
        forget_imported(task);
    }
}

/* Inbox -> verified portal */

static const b24bg_task_app_t *app_named(const b24bg_task_t *task, const char *name)
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

static void end_verify(verify_t *verify)
{
    verify->task->inbox_asked = 1; /* there is room for another */
    apr_hash_set(verify->task->under_way, verify->message.id, APR_HASH_KEY_STRING, NULL);
    apr_pool_destroy(verify->pool);
}

static void refuse(verify_t *verify, const char *code, const char *detail)
{
    b24bg_task_t *task = verify->task;

    say(task, B24BG_LOG_INFO,
        "B24BG0305: installation not verified, nothing stored: app=%s event=%s portal=%s "
        "error=%s description=\"%s\"",
        verify->app->name, verify->message.event, verify->install.member_id, code, detail);
    b24bg_table_count_install(task->config->table, verify->app->row, 0);
    if (task->store) {
        done(task, b24bg_store_inbox_done(task->store, verify->message.id, task->now));
    }
    end_verify(verify);
}

static apr_interval_time_t retry_after(int attempts)
{
    apr_interval_time_t after = B24BG_TASK_RETRY_FIRST;

    while (attempts-- > 0 && after < B24BG_TASK_RETRY_MOST) {
        after *= 2;
    }
    return after < B24BG_TASK_RETRY_MOST ? after : B24BG_TASK_RETRY_MOST;
}

static void try_later(verify_t *verify, const b24bg_rest_result_t *result)
{
    b24bg_task_t *task = verify->task;
    apr_interval_time_t after = retry_after(verify->message.attempts);

    if (task->now - verify->message.received > B24BG_TASK_GIVE_UP) {
        say(task, B24BG_LOG_ERROR,
            "B24BG0306: installation given up after a day: app=%s portal=%s error=%s "
            "description=\"%s\"; install the application again",
            verify->app->name, verify->install.member_id, result->code, result->detail);
        refuse(verify, result->code, result->detail);
        return;
    }
    if (task->now - task->unreachable_warned >= WARN_EVERY) {
        task->unreachable_warned = task->now;
        say(task, B24BG_LOG_WARNING,
            "B24BG0307: installations wait, their server cannot be asked and is tried again: "
            "app=%s "
            "portal=%s server=%s error=%s description=\"%s\"",
            verify->app->name, verify->install.member_id, verify->auth_server, result->code,
            result->detail);
    }
    if (task->store) {
        done(task, b24bg_store_inbox_later(task->store, verify->message.id, task->now + after));
    }
    end_verify(verify);
}

/* 1 if the answer is what was asked for; else the verification is put off, or over. */
static int is_good(verify_t *verify, const b24bg_rest_result_t *result)
{
    if (result->class == B24BG_REST_AGAIN) {
        try_later(verify, result);
    } else if (result->class != B24BG_REST_OK) {
        refuse(verify, result->code, result->detail);
    }
    return result->class == B24BG_REST_OK;
}

/* What the store has to say about a portal already; NULL if nothing, *failed if it is down. */
static b24bg_store_portal_t *stored(verify_t *verify, int *failed)
{
    b24bg_store_portal_t *portal = NULL;
    apr_status_t rv;

    *failed = 1;
    if (!verify->task->store) {
        return NULL;
    }
    rv = b24bg_store_portal_get(verify->task->store, verify->pool, verify->app->name,
                                verify->install.member_id, &portal);
    if (rv == APR_NOTFOUND) {
        *failed = 0;
        return NULL;
    }
    *failed = !done(verify->task, rv);
    return *failed ? NULL : portal;
}

/* A portal too old to send an application token does not take away one that was sent before. */
static const char *application_token(const b24bg_install_t *install,
                                     const b24bg_store_portal_t *before)
{
    return *install->application_token || !before ? install->application_token
                                                  : before->application_token;
}

static void remember(verify_t *verify, const b24bg_store_portal_t *before)
{
    b24bg_task_t *task = verify->task;
    const b24bg_rest_identity_t *identity = &verify->identity;
    b24bg_store_reason_t reason = {verify->message.id, "installed", identity->domain, task->now};
    b24bg_store_portal_t portal = {0};

    if (verify->install.kind == B24BG_INSTALL_UPDATE) {
        reason.what = "updated";
    }
    portal.app = verify->app->name;
    portal.member_id = identity->member_id;
    portal.domain = identity->domain;
    portal.client_endpoint = identity->client_endpoint;
    portal.auth_server = verify->auth_server;
    portal.access_token = verify->install.access_token;
    portal.refresh_token = verify->install.refresh_token;
    portal.application_token = application_token(&verify->install, before);
    portal.scope = identity->scope;
    portal.access_expires = identity->expires;
    portal.refreshed = verify->message.received;
    portal.user_id = identity->user_id;
    portal.installed = before && before->installed ? before->installed : task->now;
    if (done(task, b24bg_store_portal_put(task->store, &portal, &reason))) {
        say(task, B24BG_LOG_NOTICE,
            "B24BG0308: %s: app=%s portal=%s domain=%s user=%" APR_INT64_T_FMT, reason.what,
            portal.app, portal.member_id, portal.domain, portal.user_id);
        b24bg_table_count_install(task->config->table, verify->app->row, 1);
        task->refresh_due = 0;
    }
    end_verify(verify);
}

static void got_profile(void *baton, const b24bg_http_answer_t *answer)
{
    verify_t *verify = baton;
    b24bg_store_portal_t *before;
    b24bg_rest_result_t result;
    int failed;

    if (answer->outcome == B24BG_HTTP_ABORTED) {
        end_verify(verify);
        return;
    }
    b24bg_rest_read_profile(verify->pool, answer, &result);
    if (!is_good(verify, &result)) {
        return;
    }
    before = stored(verify, &failed);
    if (failed) {
        end_verify(verify);
    } else {
        remember(verify, before);
    }
}

/* The auth server vouches for portal, application and user; the application token and the refresh
 * token are what the client says. Every employee has a token of his own and could post others here
 * to lock his portal out. So what an installation has left is only replaced by the same user with
 * the same application token, or by an administrator. */
static int needs_administrator(const verify_t *verify, const b24bg_store_portal_t *before)
{
    return before && before->installed &&
           (before->user_id != verify->identity.user_id ||
            (*verify->install.application_token && *before->application_token &&
             !b24bg_placement_same_secret(before->application_token,
                                          verify->install.application_token)));
}

static void decide(verify_t *verify)
{
    b24bg_http_t *http = verify->task->config->http;
    b24bg_http_request_t request;
    b24bg_store_portal_t *before;
    int failed;

    before = stored(verify, &failed);
    if (failed) {
        end_verify(verify);
    } else if (before && before->refreshed > verify->message.received) {
        refuse(verify, "superseded", "a later installation was verified first");
    } else if (!needs_administrator(verify, before)) {
        remember(verify, before);
    } else if (b24bg_rest_ask_profile(verify->pool, &verify->app->rest,
                                      verify->identity.client_endpoint,
                                      verify->install.access_token, &request) != APR_SUCCESS ||
               http->start(http, &request, got_profile, verify) != APR_SUCCESS) {
        refuse(verify, "profile", "the portal cannot be called as it is configured");
    }
}

static void ask_identity(verify_t *verify);

/* The new pair is in the store before it is used. */
static void got_tokens(void *baton, const b24bg_http_answer_t *answer)
{
    verify_t *verify = baton;
    b24bg_task_t *task = verify->task;
    b24bg_rest_result_t result;
    b24bg_rest_tokens_t tokens;

    if (answer->outcome == B24BG_HTTP_ABORTED) {
        end_verify(verify);
        return;
    }
    b24bg_rest_read_tokens(verify->pool, &verify->app->rest, answer, task->now, &tokens, &result);
    if (!is_good(verify, &result)) {
        return;
    }
    verify->install.access_token = tokens.access_token;
    verify->install.refresh_token = tokens.refresh_token;
    verify->message.fields =
        b24bg_install_encode(verify->pool, verify->app->name, &verify->install);
    if (task->store && done(task, b24bg_store_inbox_fields(task->store, verify->message.id,
                                                           verify->message.fields))) {
        ask_identity(verify);
        return;
    }
    if (!task->store) {
        say(task, B24BG_LOG_ERROR,
            "B24BG0309: new tokens could not be kept, the store is down: app=%s portal=%s; if it "
            "does not come back by itself, install the application again",
            verify->app->name, verify->install.member_id);
    }
    end_verify(verify);
}

/* A refresh token is good for one use, so whoever slept through his lease must not touch it. */
static int still_leads(b24bg_task_t *task)
{
    return task->store &&
           done(task, b24bg_store_lease(task->store, LEASE_NAME, task->config->holder, task->now,
                                        B24BG_TASK_LEASE, &task->leader)) &&
           task->leader;
}

static void refresh_tokens(verify_t *verify, const b24bg_rest_result_t *expired)
{
    b24bg_http_t *http = verify->task->config->http;
    b24bg_http_request_t request;

    if (verify->refreshed || !*verify->install.refresh_token) {
        refuse(verify, expired->code, expired->detail);
        return;
    }
    if (!still_leads(verify->task)) {
        end_verify(verify);
        return;
    }
    verify->refreshed = 1;
    if (b24bg_rest_ask_tokens(verify->pool, &verify->app->rest, verify->auth_server,
                              verify->install.refresh_token, &request) != APR_SUCCESS ||
        http->start(http, &request, got_tokens, verify) != APR_SUCCESS) {
        refuse(verify, expired->code, "and there is no client secret to refresh it with");
    }
}

static void got_identity(void *baton, const b24bg_http_answer_t *answer)
{
    verify_t *verify = baton;
    b24bg_rest_result_t result;

    if (answer->outcome == B24BG_HTTP_ABORTED) {
        end_verify(verify);
        return;
    }
    b24bg_rest_read_identity(verify->pool, &verify->app->rest, answer, &verify->identity, &result);
    switch (result.class) {
    case B24BG_REST_OK:
        if (strcmp(verify->identity.member_id, verify->install.member_id) != 0) {
            refuse(verify, "member_id", "the token belongs to another portal");
        } else {
            decide(verify);
        }
        break;
    case B24BG_REST_EXPIRED:
        refresh_tokens(verify, &result);
        break;
    case B24BG_REST_NO_TOKEN:
        if (!verify->refreshed && *verify->install.refresh_token &&
            verify->task->now - verify->message.received > B24BG_TASK_TOKEN_LIFE) {
            refresh_tokens(verify, &result);
        } else {
            refuse(verify, result.code, result.detail);
        }
        break;
    case B24BG_REST_AGAIN:
        try_later(verify, &result);
        break;
    default:
        refuse(verify, result.code, result.detail);
    }
}

static void ask_identity(verify_t *verify)
{
    b24bg_http_t *http = verify->task->config->http;
    b24bg_http_request_t request;

    if (b24bg_rest_ask_identity(verify->pool, &verify->app->rest, verify->auth_server,
                                verify->install.access_token, &request) != APR_SUCCESS ||
        http->start(http, &request, got_identity, verify) != APR_SUCCESS) {
        say(verify->task, B24BG_LOG_ERROR,
            "B24BG0313: app=%s cannot call its auth server \"%s\": see B24bgAuthServer, "
            "B24bgProxy, "
            "B24bgCAFile and B24bgAllowHTTP",
            verify->app->name, verify->auth_server);
        refuse(verify, "auth_server", "it cannot be called as it is configured");
    }
}

/* ONAPPUNINSTALL carries no token that could be asked about; what it must know is the application
 * token of the installation that it ends. */
static void uninstall(verify_t *verify)
{
    b24bg_task_t *task = verify->task;
    b24bg_store_reason_t reason = {verify->message.id, "uninstalled", "", task->now};
    b24bg_store_portal_t *portal;
    int failed;

    portal = stored(verify, &failed);
    if (failed) {
        end_verify(verify);
        return;
    }
    if (!portal || !portal->installed || !*portal->application_token ||
        !b24bg_placement_same_secret(portal->application_token,
                                     verify->install.application_token)) {
        refuse(verify, "application_token", "not that of an installed portal");
        return;
    }
    if (done(task, b24bg_store_portal_wipe(task->store, verify->app->name,
                                           verify->install.member_id, &reason))) {
        say(task, B24BG_LOG_NOTICE, "B24BG0310: uninstalled: app=%s portal=%s domain=%s",
            verify->app->name, verify->install.member_id, portal->domain);
        task->refresh_due = 0;
    }
    end_verify(verify);
}

static int calls_to(const b24bg_task_t *task, const char *auth_server)
{
    apr_hash_index_t *at;
    int calls = 0;

    for (at = apr_hash_first(NULL, task->under_way); at; at = apr_hash_next(at)) {
        const verify_t *verify = apr_hash_this_val(at);
        calls += verify->auth_server && strcmp(verify->auth_server, auth_server) == 0;
    }
    return calls;
}

static void start_verify(b24bg_task_t *task, const b24bg_store_message_t *message)
{
    apr_pool_t *pool;
    verify_t *verify;
    const char *name;

    apr_pool_create(&pool, task->pool);
    verify = apr_pcalloc(pool, sizeof(*verify));
    verify->task = task;
    verify->pool = pool;
    verify->message = *message;
    verify->message.id = apr_pstrdup(pool, message->id);
    verify->message.event = apr_pstrdup(pool, message->event);
    verify->app = app_named(task, message->app);
    if (!verify->app || !b24bg_install_decode(pool, message->fields, &name, &verify->install)) {
        /* An app of another machine, or one that was taken out: its messages wait for it. So do
         * notices, until somebody acts on them. */
        done(task,
             b24bg_store_inbox_later(task->store, message->id, task->now + B24BG_TASK_RETRY_MOST));
        apr_pool_destroy(pool);
        return;
    }
    verify->auth_server =
        b24bg_rest_auth_server(&verify->app->rest, verify->install.server_endpoint);
    if (verify->auth_server && calls_to(task, verify->auth_server) >= B24BG_TASK_CALLS_PER_SERVER) {
        apr_pool_destroy(pool); /* it stays due */
        return;
    }
    apr_hash_set(task->under_way, verify->message.id, APR_HASH_KEY_STRING, verify);
    if (verify->install.kind == B24BG_INSTALL_UNINSTALL) {
        uninstall(verify);
    } else if (verify->auth_server) {
        ask_identity(verify);
    } else {
        refuse(verify, "auth_server", "SERVER_ENDPOINT is none of B24bgAuthServer");
    }
}

static void work_inbox(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *messages;
    int i;

    if (!task->leader || (!task->inbox_asked && task->now < task->inbox_due)) {
        return;
    }
    task->inbox_asked = 0;
    task->inbox_due = task->now + apr_time_from_sec(1);
    if (!done(task,
              b24bg_store_inbox_due(task->store, scratch, task->now, INBOX_MOST, &messages))) {
        return;
    }
    for (i = 0; i < messages->nelts && task->store; i++) {
        const b24bg_store_message_t *message = &APR_ARRAY_IDX(messages, i, b24bg_store_message_t);
        if (!apr_hash_get(task->under_way, message->id, APR_HASH_KEY_STRING)) {
            start_verify(task, message);
        }
    }
}

/* Store -> table */

static void warn_full(b24bg_task_t *task)
{
    if (task->now - task->full_warned >= WARN_EVERY) {
        say(task, B24BG_LOG_WARNING,
            "B24BG0311: the table is full of known portals; others are served but not counted; "
            "raise B24bgMaxPortals above %u",
            b24bg_table_capacity(task->config->table));
        task->full_warned = task->now;
    }
}

/* 0 if the table could not take it just now. */
static int show(b24bg_task_t *task, const b24bg_store_portal_t *stored_portal, apr_pool_t *scratch)
{
    const b24bg_task_app_t *app = app_named(task, stored_portal->app);
    b24bg_known_portal_t portal;
    const char *path;
    int placed;

    if (!app) {
        return 1;
    }
    if (!stored_portal->installed) {
        return b24bg_table_unknow(task->config->table, app->row, stored_portal->member_id);
    }
    path = strstr(stored_portal->client_endpoint, "://");
    path = path ? strchr(path + 3, '/') : NULL;
    if (!path) {
        return 1;
    }
    portal.app = app->row;
    portal.member_id = stored_portal->member_id;
    portal.origin = apr_pstrmemdup(scratch, stored_portal->client_endpoint,
                                   (apr_size_t)(path - stored_portal->client_endpoint));
    portal.application_token = stored_portal->application_token;
    portal.last_load = stored_portal->last_load;
    portal.loads = (apr_uint64_t)stored_portal->loads;
    placed = b24bg_table_know(task->config->table, &portal);
    if (placed < 0) {
        warn_full(task);
        task->left_over = 1;
    }
    return placed != 0;
}

static void refresh_table(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *portals;
    int i;

    if (task->now < task->refresh_due) {
        return;
    }
    task->refresh_due = task->now + B24BG_TASK_REFRESH_EVERY;
    if (task->left_over && task->now >= task->left_over_due) {
        task->left_over = 0;
        task->left_over_due = task->now + WARN_EVERY;
        task->change = -1; /* all of them again: a place may have become free */
    }
    if (!done(task, b24bg_store_portals_since(task->store, scratch, task->change, &portals))) {
        return;
    }
    for (i = 0; i < portals->nelts; i++) {
        const b24bg_store_portal_t *portal = &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t);
        if (!show(task, portal, scratch)) {
            task->refresh_due = 0;
            return;
        }
        task->change = portal->change;
    }
    if (b24bg_table_turned_away(task->config->table) != task->turned_away) {
        task->turned_away = b24bg_table_turned_away(task->config->table);
        warn_full(task);
    }
}

/* Table -> store: what a restart of the machine must not lose */

static const char *app_in_row(const b24bg_task_t *task, int row)
{
    int i;

    for (i = 0; i < task->config->apps->nelts; i++) {
        const b24bg_task_app_t *app =
            APR_ARRAY_IDX(task->config->apps, i, const b24bg_task_app_t *);
        if (app->row == row) {
            return app->name;
        }
    }
    return NULL;
}

static void flush_counts(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *portals = apr_array_make(scratch, 64, sizeof(b24bg_store_portal_t));
    b24bg_portal_counts_t counts;
    apr_uint32_t slot;

    for (slot = 1; slot <= b24bg_table_capacity(task->config->table); slot++) {
        b24bg_store_portal_t *portal;
        const char *app;
        if (!b24bg_table_read_portal(task->config->table, slot, &counts) || !counts.known ||
            counts.loads == task->flushed[slot] || !(app = app_in_row(task, counts.app))) {
            continue;
        }
        task->flushed[slot] = counts.loads;
        portal = apr_array_push(portals);
        memset(portal, 0, sizeof(*portal));
        portal->app = app;
        portal->member_id = apr_pstrdup(scratch, counts.member_id);
        portal->last_load = counts.last_load;
        portal->loads = (apr_int64_t)counts.loads;
    }
    if (portals->nelts && !done(task, b24bg_store_portal_counts(task->store, portals))) {
        memset(task->flushed, 0,
               (b24bg_table_capacity(task->config->table) + 1) *
                   sizeof(*task->flushed)); /* all of them again */
    }
}

/* Housekeeping */

static void keep_lease(b24bg_task_t *task)
{
    if (task->now < task->lease_due) {
        return;
    }
    task->lease_due = task->now + B24BG_TASK_LEASE_EVERY;
    still_leads(task);
    if (task->store && task->down_logged) {
        say(task, B24BG_LOG_NOTICE, "B24BG0303: the store is back");
        task->down_logged = 0;
    }
}

static void housekeep(b24bg_task_t *task, apr_pool_t *scratch)
{
    if (task->store && task->now >= task->flush_due) {
        task->flush_due = task->now + B24BG_TASK_FLUSH_EVERY;
        flush_counts(task, scratch);
    }
    if (task->store && task->leader && task->now >= task->purge_due) {
        task->purge_due = task->now + B24BG_TASK_PURGE_EVERY;
        done(task, b24bg_store_inbox_purge(task->store, task->now));
    }
}

static apr_status_t end_task(void *data)
{
    b24bg_task_t *task = data;
    apr_pool_t *scratch;

    if (task->store) {
        apr_pool_create(&scratch, task->pool);
        flush_counts(task, scratch);
        if (task->store && task->leader) {
            b24bg_store_release(task->store, LEASE_NAME, task->config->holder);
        }
    }
    return APR_SUCCESS;
}

/* Between two phases, each of which may wait for the store for seconds. */
static int may_go_on(const b24bg_task_t *task)
{
    return task->store && !(task->config->stop && *task->config->stop);
}

b24bg_task_t *b24bg_task_create(apr_pool_t *pool, const b24bg_task_config_t *config)
{
    b24bg_task_t *task = apr_pcalloc(pool, sizeof(*task));

    task->pool = pool;
    task->config = config;
    task->change = -1;
    task->under_way = apr_hash_make(pool);
    task->flushed =
        apr_pcalloc(pool, (b24bg_table_capacity(config->table) + 1) * sizeof(*task->flushed));
    apr_pool_create(&task->store_pool, pool);
    apr_pool_create(&task->imported_pool, pool);
    forget_imported(task);
    apr_pool_pre_cleanup_register(pool, task, end_task);
    return task;
}

void b24bg_task_step(b24bg_task_t *task, apr_time_t now, apr_interval_time_t wait)
{
    apr_pool_t *scratch;
    int running;

    task->now = now;
    apr_pool_create(&scratch, task->pool);
    /* Reading first: a store that cannot be written to can mostly be read. */
    if (open_store(task)) {
        refresh_table(task, scratch);
    }
    if (may_go_on(task)) {
        keep_lease(task);
    }
    if (may_go_on(task)) {
        import_journal(task, scratch);
    }
    if (may_go_on(task)) {
        work_inbox(task, scratch);
    }
    task->config->http->perform(task->config->http, apr_hash_count(task->under_way) ? wait : 0,
                                &running);
    if (may_go_on(task)) {
        refresh_table(task, scratch);
    }
    if (may_go_on(task)) {
        housekeep(task, scratch);
    }
    apr_pool_destroy(scratch);
}
