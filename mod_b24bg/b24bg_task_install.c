#include "b24bg_install.h"
#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <string.h>

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

static void end_verify(verify_t *verify)
{
    verify->task->inbox_asked = 1; /* there is room for another */
    apr_hash_set(verify->task->verifying, verify->message.id, APR_HASH_KEY_STRING, NULL);
    apr_pool_destroy(verify->pool);
}

/* APR_SUCCESS also where nothing is started any more: the message stays due. */
static apr_status_t start(verify_t *verify, const b24bg_http_request_t *request,
                          b24bg_http_done_cb done_cb)
{
    b24bg_http_t *http = verify->task->config->http;
    apr_status_t rv = http->start(http, request, done_cb, verify);

    if (rv == APR_ECONNABORTED) {
        end_verify(verify);
        return APR_SUCCESS;
    }
    return rv;
}

static void refuse(verify_t *verify, const char *code, const char *detail)
{
    b24bg_task_t *task = verify->task;

    b24bg_task_say(
        task, B24BG_LOG_INFO,
        "B24BG0305: installation not verified, nothing stored: app=%s event=%s portal=%s "
        "error=%s description=\"%s\"",
        verify->app->name, verify->message.event, verify->install.member_id, code, detail);
    b24bg_table_count_install(task->config->table, verify->app->row, 0);
    if (task->store) {
        b24bg_task_done(task, b24bg_store_inbox_done(task->store, verify->message.id, task->now));
    }
    end_verify(verify);
}

static void try_later(verify_t *verify, const b24bg_rest_result_t *result)
{
    b24bg_task_t *task = verify->task;
    apr_interval_time_t after = b24bg_task_retry_after(verify->message.attempts);

    if (task->now - verify->message.received > B24BG_TASK_GIVE_UP) {
        b24bg_task_say(task, B24BG_LOG_ERROR,
                       "B24BG0306: installation given up after a day: app=%s portal=%s error=%s "
                       "description=\"%s\"; install the application again",
                       verify->app->name, verify->install.member_id, result->code, result->detail);
        refuse(verify, result->code, result->detail);
        return;
    }
    if (task->now - task->unreachable_warned >= B24BG_TASK_WARN_EVERY) {
        task->unreachable_warned = task->now;
        b24bg_task_say(
            task, B24BG_LOG_WARNING,
            "B24BG0307: installations wait, their server cannot be asked and is tried again: "
            "app=%s "
            "portal=%s server=%s error=%s description=\"%s\"",
            verify->app->name, verify->install.member_id, verify->auth_server, result->code,
            result->detail);
    }
    if (task->store) {
        b24bg_task_done(
            task, b24bg_store_inbox_later(task->store, verify->message.id, task->now + after));
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
    *failed = !b24bg_task_done(verify->task, rv);
    return *failed ? NULL : portal;
}

/* A portal too old to send an application token does not take away one that was sent before. */
static const char *application_token(const b24bg_install_t *install,
                                     const b24bg_store_portal_t *before)
{
    return *install->application_token || !before ? install->application_token
                                                  : before->application_token;
}

/* The portal's registrations as the event leaves them: they are committed with it, so that no crash
 * comes between an installation and its first bind. NULL: the store failed. */
static apr_array_header_t *applied(verify_t *verify, b24bg_registration_event_e event)
{
    apr_array_header_t *registrations = b24bg_task_registrations(
        verify->task, verify->pool, verify->app, verify->install.member_id);
    apr_array_header_t *changed;
    int i;

    if (!registrations) {
        return NULL;
    }
    changed = apr_array_make(verify->pool, 2, sizeof(b24bg_store_registration_t));
    for (i = 0; i < registrations->nelts; i++) {
        b24bg_store_registration_t *registration =
            &APR_ARRAY_IDX(registrations, i, b24bg_store_registration_t);
        if (b24bg_task_registration_apply(verify->task, verify->pool, verify->app, registration,
                                          event)) {
            APR_ARRAY_PUSH(changed, b24bg_store_registration_t) = *registration;
        }
    }
    return changed;
}

static void remember(verify_t *verify, const b24bg_store_portal_t *before)
{
    b24bg_task_t *task = verify->task;
    const b24bg_rest_identity_t *identity = &verify->identity;
    b24bg_store_reason_t reason = {verify->message.id, "installed", identity->domain,
                                   task->now,          NULL,        NULL};
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
    portal.refreshed = portal.verified = verify->message.received;
    portal.user_id = identity->user_id;
    portal.installed = before && before->installed ? before->installed : task->now;
    reason.registrations = applied(verify, B24BG_EVENT_INSTALLED);
    if (reason.registrations &&
        b24bg_task_done(task, b24bg_store_portal_put(task->store, &portal, &reason))) {
        b24bg_task_say(task, B24BG_LOG_NOTICE,
                       "B24BG0308: %s: app=%s portal=%s domain=%s user=%" APR_INT64_T_FMT,
                       reason.what, portal.app, portal.member_id, portal.domain, portal.user_id);
        b24bg_table_count_install(task->config->table, verify->app->row, 1);
        task->refresh_due = task->registrations_due = 0;
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
    b24bg_http_request_t request;
    b24bg_store_portal_t *before;
    int failed;

    before = stored(verify, &failed);
    if (failed) {
        end_verify(verify);
    } else if (before && before->verified > verify->message.received) {
        refuse(verify, "superseded", "a later installation was verified first");
    } else if (!needs_administrator(verify, before)) {
        remember(verify, before);
    } else if (b24bg_rest_ask_profile(verify->pool, &verify->app->rest,
                                      verify->identity.client_endpoint,
                                      verify->install.access_token, &request) != APR_SUCCESS ||
               start(verify, &request, got_profile) != APR_SUCCESS) {
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
    b24bg_rest_read_tokens(verify->pool, answer, task->now, &tokens, &result);
    if (!is_good(verify, &result)) {
        return;
    }
    verify->install.access_token = tokens.access_token;
    verify->install.refresh_token = tokens.refresh_token;
    verify->message.fields =
        b24bg_install_encode(verify->pool, verify->app->name, &verify->install);
    if (task->store &&
        b24bg_task_done(task, b24bg_store_inbox_fields(task->store, verify->message.id,
                                                       verify->message.fields))) {
        ask_identity(verify);
        return;
    }
    if (!task->store) {
        b24bg_task_say(
            task, B24BG_LOG_ERROR,
            "B24BG0309: new tokens could not be kept, the store is down: app=%s portal=%s; if it "
            "does not come back by itself, install the application again",
            verify->app->name, verify->install.member_id);
    }
    end_verify(verify);
}

static void refresh_tokens(verify_t *verify, const b24bg_rest_result_t *expired)
{
    b24bg_http_request_t request;

    if (verify->refreshed || !*verify->install.refresh_token) {
        refuse(verify, expired->code, expired->detail);
        return;
    }
    if (!b24bg_task_still_leads(verify->task)) {
        end_verify(verify);
        return;
    }
    verify->refreshed = 1;
    if (b24bg_rest_ask_tokens(verify->pool, &verify->app->rest, verify->auth_server,
                              verify->install.refresh_token, &request) != APR_SUCCESS ||
        start(verify, &request, got_tokens) != APR_SUCCESS) {
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
    b24bg_http_request_t request;

    if (b24bg_rest_ask_identity(verify->pool, &verify->app->rest, verify->auth_server,
                                verify->install.access_token, &request) != APR_SUCCESS ||
        start(verify, &request, got_identity) != APR_SUCCESS) {
        b24bg_task_say(verify->task, B24BG_LOG_ERROR,
                       "B24BG0313: app=%s cannot call its auth server \"%s\": see B24bgAuthServer, "
                       "B24bgProxy, "
                       "B24bgCAFile and B24bgAllowHTTP",
                       verify->app->name, verify->auth_server);
        refuse(verify, "auth_server", "it cannot be called as it is configured");
    }
}

/* For the registrations that the portal had it is the end, as any other blockade. */
static void tell_uninstalled(verify_t *verify, const b24bg_store_portal_t *portal,
                             int registrations)
{
    const char *detail =
        apr_pstrcat(verify->pool, b24bg_registration_reason_name(B24BG_BLOCKED_UNINSTALLED), "; ",
                    b24bg_registration_remedy(B24BG_BLOCKED_UNINSTALLED), NULL);

    b24bg_task_say(verify->task, B24BG_LOG_NOTICE,
                   "B24BG0310: uninstalled: app=%s portal=%s domain=%s", portal->app,
                   portal->member_id, portal->domain);
    if (registrations) {
        b24bg_task_alert(verify->task, verify->app, "blocked", portal, detail);
    }
}

/* ONAPPUNINSTALL carries no token that could be asked about; what it must know is the application
 * token of the installation that it ends. */
static void uninstall(verify_t *verify)
{
    b24bg_task_t *task = verify->task;
    b24bg_store_reason_t reason = {verify->message.id, "uninstalled", "", task->now, NULL, NULL};
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
    reason.registrations = applied(verify, B24BG_EVENT_UNINSTALLED);
    if (reason.registrations &&
        b24bg_task_done(
            task, b24bg_store_portal_wipe(task->store, portal->app, portal->member_id, &reason))) {
        tell_uninstalled(verify, portal, reason.registrations->nelts);
        task->refresh_due = 0;
    }
    end_verify(verify);
}

static int calls_to(const b24bg_task_t *task, const char *auth_server)
{
    apr_hash_index_t *at;
    int calls = 0;

    for (at = apr_hash_first(NULL, task->verifying); at; at = apr_hash_next(at)) {
        const verify_t *verify = apr_hash_this_val(at);
        calls += verify->auth_server && strcmp(verify->auth_server, auth_server) == 0;
    }
    return calls;
}

void b24bg_task_verify(b24bg_task_t *task, const b24bg_store_message_t *message)
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
    verify->app = b24bg_task_app(task, message->app);
    if (!verify->app || !b24bg_install_decode(pool, message->fields, &name, &verify->install)) {
        /* An app of another machine, or one that was taken out: its messages wait for it. */
        b24bg_task_done(task, b24bg_store_inbox_later(task->store, message->id,
                                                      task->now + B24BG_TASK_RETRY_MOST));
        apr_pool_destroy(pool);
        return;
    }
    verify->auth_server =
        b24bg_rest_auth_server(&verify->app->rest, verify->install.server_endpoint);
    if (verify->auth_server && calls_to(task, verify->auth_server) >= B24BG_TASK_CALLS_PER_SERVER) {
        apr_pool_destroy(pool); /* it stays due */
        return;
    }
    apr_hash_set(task->verifying, verify->message.id, APR_HASH_KEY_STRING, verify);
    if (verify->install.kind == B24BG_INSTALL_UNINSTALL) {
        uninstall(verify);
    } else if (verify->auth_server) {
        ask_identity(verify);
    } else {
        refuse(verify, "auth_server", "SERVER_ENDPOINT is none of B24bgAuthServer");
    }
}
