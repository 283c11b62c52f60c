#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <string.h>

static void drop(b24bg_task_call_t *call)
{
    call->dropped(call->baton);
}

static void end_without(b24bg_task_call_t *call, b24bg_rest_class_e class, const char *code,
                        const char *detail)
{
    b24bg_rest_result_t result = {class, code, detail};

    call->answered(call->baton, NULL, &result);
}

/* APR_SUCCESS also where nothing is started any more. */
static apr_status_t start(b24bg_task_call_t *call, const b24bg_http_request_t *request,
                          b24bg_http_done_cb done_cb)
{
    b24bg_http_t *http = call->task->config->http;
    apr_status_t rv = http->start(http, request, done_cb, call);

    if (rv == APR_ECONNABORTED) {
        drop(call);
        return APR_SUCCESS;
    }
    return rv;
}

/* The portal as the store has it now; 0 if it cannot be had. */
static int read_again(b24bg_task_call_t *call, b24bg_store_portal_t **portal)
{
    b24bg_task_t *task = call->task;

    return task->store &&
           b24bg_task_done(task, b24bg_store_portal_get(task->store, call->pool, call->portal.app,
                                                        call->portal.member_id, portal)) &&
           (*portal)->installed;
}

static const char *auth_server(const b24bg_task_call_t *call)
{
    const char *server = b24bg_rest_auth_server(&call->app->rest, call->portal.auth_server);

    return server ? server : b24bg_rest_auth_server(&call->app->rest, NULL);
}

/* Somebody else has brought other tokens meanwhile. */
static void go_on_with(b24bg_task_call_t *call, const b24bg_store_portal_t *now)
{
    call->portal = *now;
    call->refreshed = 0;
    b24bg_task_call(call);
}

/* New tokens */

/* Two tokens that the auth server has given out; it knows only these by now. */
typedef struct {
    const b24bg_task_app_t *app;
    const char *spent;           /* the refresh token that was given for them */
    apr_time_t asked;            /* when it was sent */
    b24bg_store_portal_t portal; /* whose they are, and the tokens */
} pair_t;

/* A pair that the store did not take. The portal is left alone until it is in the store. Lives in a
 * pool of its own. */
struct b24bg_task_unkept_t {
    b24bg_task_unkept_t *next;
    apr_pool_t *pool;
    const char *busy;
    pair_t pair;
};

typedef enum {
    PAIR_KEPT,
    PAIR_NOT_NEEDED,
    PAIR_WAITS /* for the store, or for somebody else who changes what goes with it */
} kept_e;

/* Another machine may have tried the old token since it was sent, and found it used up. What was
 * blocked before has another cause: a portal that takes no token at all would get new ones for
 * ever. NULL: the store failed. */
static apr_array_header_t *unblocked(b24bg_task_t *task, const pair_t *pair, apr_pool_t *pool)
{
    const char *no_token = b24bg_registration_reason_name(B24BG_BLOCKED_NO_TOKEN);
    apr_array_header_t *changed;
    apr_array_header_t *rows;
    int i;

    if (!b24bg_task_done(task, b24bg_store_registrations(task->store, pool, pair->portal.app,
                                                         pair->portal.member_id, &rows))) {
        return NULL;
    }
    changed = apr_array_make(pool, 2, sizeof(b24bg_store_registration_t));
    for (i = 0; i < rows->nelts; i++) {
        b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (strcmp(row->reason, no_token) == 0 && row->since > pair->asked &&
            b24bg_task_registration_apply(task, pool, pair->app, row, B24BG_EVENT_INSTALLED)) {
            APR_ARRAY_PUSH(changed, b24bg_store_registration_t) = *row;
        }
    }
    return changed;
}

/* Why the pair is no longer needed, or NULL. */
static const char *superseded(const pair_t *pair, apr_status_t rv, const b24bg_store_portal_t *now)
{
    if (rv == APR_NOTFOUND || !now->installed) {
        return "the portal is gone";
    }
    return strcmp(now->refresh_token, pair->spent) == 0 ? NULL : "the store has some";
}

static kept_e keep(b24bg_task_t *task, const pair_t *pair, apr_pool_t *pool)
{
    const b24bg_store_portal_t *portal = &pair->portal;
    b24bg_store_reason_t reason = {NULL, "refreshed", "", task->now, NULL, NULL};
    b24bg_store_portal_t *now = NULL;
    const char *why;
    apr_status_t rv;

    if (!task->store) {
        return PAIR_WAITS;
    }
    rv = b24bg_store_portal_get(task->store, pool, portal->app, portal->member_id, &now);
    if (!b24bg_task_done(task, rv) && rv != APR_NOTFOUND) {
        return PAIR_WAITS;
    }
    why = superseded(pair, rv, now);
    if (why) {
        b24bg_task_say(task, B24BG_LOG_NOTICE,
                       "B24BG0337: new tokens are not needed any more, %s: app=%s portal=%s "
                       "domain=%s",
                       why, portal->app, portal->member_id, portal->domain);
        return PAIR_NOT_NEEDED;
    }
    reason.registrations = unblocked(task, pair, pool);
    if (!reason.registrations ||
        !b24bg_task_done(task,
                         b24bg_store_portal_tokens(task->store, portal, pair->spent, &reason))) {
        return PAIR_WAITS;
    }
    b24bg_table_count_refresh(task->config->table, pair->app->row, B24BG_REFRESH_OK);
    task->refresh_due = 0;
    return PAIR_KEPT;
}

static void copy_pair(apr_pool_t *pool, const pair_t *from, pair_t *to)
{
    to->app = from->app;
    to->spent = apr_pstrdup(pool, from->spent);
    to->asked = from->asked;
    to->portal.app = apr_pstrdup(pool, from->portal.app);
    to->portal.member_id = apr_pstrdup(pool, from->portal.member_id);
    to->portal.domain = apr_pstrdup(pool, from->portal.domain);
    to->portal.access_token = apr_pstrdup(pool, from->portal.access_token);
    to->portal.refresh_token = apr_pstrdup(pool, from->portal.refresh_token);
    to->portal.access_expires = from->portal.access_expires;
    to->portal.refreshed = from->portal.refreshed;
}

static void keep_in_memory(b24bg_task_call_t *call, const pair_t *pair)
{
    b24bg_task_t *task = call->task;
    b24bg_task_unkept_t *unkept;
    apr_pool_t *pool;

    apr_pool_create(&pool, task->pool);
    unkept = apr_pcalloc(pool, sizeof(*unkept));
    unkept->pool = pool;
    copy_pair(pool, pair, &unkept->pair);
    unkept->next = task->unkept;
    task->unkept = unkept;
    b24bg_task_say(task, B24BG_LOG_ERROR,
                   "B24BG0335: new tokens could not be kept, %s: app=%s portal=%s domain=%s; they "
                   "are kept in memory and tried again",
                   task->store ? "somebody else is changing the portal" : "the store is down",
                   pair->portal.app, pair->portal.member_id, pair->portal.domain);
    drop(call); /* which leaves the portal */
    unkept->busy = b24bg_task_take_portal(task, &unkept->pair.portal, pool);
}

/* 1: it is over, one way or the other. */
static int put_unkept(b24bg_task_t *task, const b24bg_task_unkept_t *unkept, apr_pool_t *scratch)
{
    const b24bg_store_portal_t *portal = &unkept->pair.portal;
    kept_e kept = keep(task, &unkept->pair, scratch);

    if (kept == PAIR_KEPT) {
        b24bg_task_say(task, B24BG_LOG_NOTICE,
                       "B24BG0336: new tokens are in the store at last: app=%s portal=%s domain=%s",
                       portal->app, portal->member_id, portal->domain);
    }
    return kept != PAIR_WAITS;
}

void b24bg_task_keep_unkept(b24bg_task_t *task)
{
    b24bg_task_unkept_t **at = &task->unkept;

    while (*at && task->store) {
        b24bg_task_unkept_t *unkept = *at;
        apr_pool_t *scratch;
        apr_pool_create(&scratch, unkept->pool);
        if (put_unkept(task, unkept, scratch)) {
            *at = unkept->next;
            b24bg_task_leave_portal(task, unkept->busy);
            apr_pool_destroy(unkept->pool);
        } else {
            at = &unkept->next;
            apr_pool_destroy(scratch);
        }
    }
}

void b24bg_task_tell_unkept(b24bg_task_t *task)
{
    const b24bg_task_unkept_t *unkept;

    for (unkept = task->unkept; unkept; unkept = unkept->next) {
        const b24bg_store_portal_t *portal = &unkept->pair.portal;
        b24bg_task_say(task, B24BG_LOG_CRIT,
                       "B24BG0316: new tokens are lost, the store is down: app=%s portal=%s "
                       "domain=%s; the old ones may be used up: if it gets blocked with no-token, "
                       "install the application again",
                       portal->app, portal->member_id, portal->domain);
    }
}

/* With what an installation has brought while the new ones were on their way. */
static void go_on(b24bg_task_call_t *call)
{
    b24bg_store_portal_t *now;

    if (read_again(call, &now)) {
        go_on_with(call, now);
    } else {
        drop(call);
    }
}

/* The new pair is in the store before it is used. */
static void keep_tokens(b24bg_task_call_t *call, const b24bg_rest_tokens_t *tokens)
{
    b24bg_task_t *task = call->task;
    pair_t pair = {call->app, call->portal.refresh_token, call->asked, call->portal};

    pair.portal.access_token = tokens->access_token;
    pair.portal.refresh_token = tokens->refresh_token;
    pair.portal.access_expires = tokens->expires;
    pair.portal.refreshed = task->now;
    switch (keep(task, &pair, call->pool)) {
    case PAIR_KEPT:
        b24bg_task_say(task, B24BG_LOG_INFO,
                       "B24BG0315: tokens refreshed: app=%s portal=%s domain=%s", pair.portal.app,
                       pair.portal.member_id, pair.portal.domain);
        call->portal = pair.portal;
        b24bg_task_call(call);
        break;
    case PAIR_NOT_NEEDED:
        go_on(call);
        break;
    default:
        keep_in_memory(call, &pair);
    }
}

/* What the auth server says of a token that another pair has taken the place of is of no interest:
 * whoever had it before may have spent it. */
static void tokens_refused(b24bg_task_call_t *call, const b24bg_rest_result_t *result)
{
    b24bg_store_portal_t *now;

    if (read_again(call, &now) && strcmp(now->refresh_token, call->portal.refresh_token) != 0) {
        go_on_with(call, now);
        return;
    }
    b24bg_table_count_refresh(call->task->config->table, call->app->row, B24BG_REFRESH_FAILED);
    call->answered(call->baton, NULL, result);
}

static void got_tokens(void *baton, const b24bg_http_answer_t *answer)
{
    b24bg_task_call_t *call = baton;
    b24bg_rest_tokens_t tokens;
    b24bg_rest_result_t result;

    if (answer->outcome == B24BG_HTTP_ABORTED) {
        drop(call);
        return;
    }
    b24bg_rest_read_tokens(call->pool, answer, call->task->now, &tokens, &result);
    if (result.class == B24BG_REST_OK && strcmp(tokens.member_id, call->portal.member_id) != 0) {
        end_without(call, B24BG_REST_WRONG, "member_id",
                    "the auth server's new token belongs to another portal");
    } else if (result.class == B24BG_REST_OK) {
        keep_tokens(call, &tokens);
    } else {
        tokens_refused(call, &result);
    }
}

static void ask_tokens(b24bg_task_call_t *call)
{
    b24bg_http_request_t request;
    apr_status_t rv = b24bg_rest_ask_tokens(call->pool, &call->app->rest, auth_server(call),
                                            call->portal.refresh_token, &request);

    call->asked = call->task->now;
    if (rv == APR_EINCOMPLETE) {
        end_without(call, B24BG_REST_NO_TOKEN, "expired_token",
                    "B24bgClient has no secret to refresh it with");
    } else if (rv == APR_EINVAL) {
        end_without(call, B24BG_REST_NO_TOKEN, "expired_token", "there is no refresh token");
    } else if (rv != APR_SUCCESS || start(call, &request, got_tokens) != APR_SUCCESS) {
        end_without(call, B24BG_REST_AGAIN, "auth_server",
                    "it cannot be called as it is configured");
    }
}

/* An installation may have brought better ones meanwhile. A refresh token works once, so whoever
 * slept through his lease must not touch it. */
static void refresh(b24bg_task_call_t *call)
{
    b24bg_store_portal_t *now;

    if (!read_again(call, &now)) {
        drop(call);
        return;
    }
    if (strcmp(now->access_token, call->portal.access_token) != 0) {
        go_on_with(call, now);
        return;
    }
    if (!b24bg_task_still_leads(call->task)) {
        drop(call);
        return;
    }
    ask_tokens(call);
}

/* A new name */

/* All but the place may have changed since it was read. */
static void keep_place(b24bg_task_call_t *call, const b24bg_rest_identity_t *identity)
{
    b24bg_task_t *task = call->task;
    const char *before = call->portal.domain;
    b24bg_store_reason_t reason = {NULL, "renamed", identity->domain, task->now, NULL, NULL};
    b24bg_store_portal_t *now;

    if (!read_again(call, &now)) {
        drop(call);
        return;
    }
    now->domain = identity->domain;
    now->client_endpoint = identity->client_endpoint;
    call->portal = *now;
    if (!b24bg_task_done(task, b24bg_store_portal_put(task->store, now, &reason))) {
        drop(call);
        return;
    }
    b24bg_task_say(task, B24BG_LOG_NOTICE,
                   "B24BG0328: renamed: app=%s portal=%s domain=%s before=%s", now->app,
                   now->member_id, now->domain, before);
    task->refresh_due = 0;
    b24bg_task_call(call);
}

/* What the auth server says of an old token may well mean that it has expired, whatever word it
 * uses (protocol.md 6.3). */
static int is_expired(const b24bg_task_call_t *call, const b24bg_rest_result_t *result)
{
    return result->class == B24BG_REST_EXPIRED ||
           (result->class == B24BG_REST_NO_TOKEN && call->portal.access_expires <= call->task->now);
}

static void got_identity(void *baton, const b24bg_http_answer_t *answer)
{
    b24bg_task_call_t *call = baton;
    b24bg_rest_identity_t identity;
    b24bg_rest_result_t result;

    if (answer->outcome == B24BG_HTTP_ABORTED) {
        drop(call);
        return;
    }
    b24bg_rest_read_identity(call->pool, &call->app->rest, answer, &identity, &result);
    if (!call->refreshed && is_expired(call, &result)) {
        call->refreshed = 1;
        call->moved = 0; /* the portal will say it again */
        refresh(call);
    } else if (result.class != B24BG_REST_OK) {
        call->answered(call->baton, NULL, &result);
    } else if (strcmp(identity.member_id, call->portal.member_id) != 0) {
        end_without(call, B24BG_REST_WRONG, "member_id", "the token belongs to another portal");
    } else if (strcmp(identity.client_endpoint, call->portal.client_endpoint) == 0) {
        end_without(call, B24BG_REST_AGAIN, "http",
                    "the portal redirects, and the auth server knows of no other place");
    } else {
        keep_place(call, &identity);
    }
}

/* Where a redirect points is no proof; who a portal is and where it lives, the auth server says. */
static void find_place(b24bg_task_call_t *call)
{
    b24bg_http_request_t request;

    if (b24bg_rest_ask_identity(call->pool, &call->app->rest, auth_server(call),
                                call->portal.access_token, &request) != APR_SUCCESS ||
        start(call, &request, got_identity) != APR_SUCCESS) {
        end_without(call, B24BG_REST_AGAIN, "auth_server",
                    "it cannot be called as it is configured");
    }
}

/* The call itself */

static void got_answer(void *baton, const b24bg_http_answer_t *answer)
{
    b24bg_task_call_t *call = baton;
    b24bg_rest_result_t result;

    if (answer->outcome == B24BG_HTTP_ABORTED) {
        drop(call);
        return;
    }
    b24bg_rest_classify(call->pool, answer, &result);
    if (result.class == B24BG_REST_EXPIRED && !call->refreshed) {
        call->refreshed = 1;
        refresh(call);
    } else if (result.class == B24BG_REST_MOVED && !call->moved) {
        call->moved = 1;
        find_place(call);
    } else {
        call->answered(call->baton, answer, &result);
    }
}

void b24bg_task_call(b24bg_task_call_t *call)
{
    b24bg_rest_portal_t portal = {&call->app->rest, call->portal.client_endpoint,
                                  call->portal.access_token};
    b24bg_http_request_t request;
    apr_status_t rv;

    if (call->changes && !b24bg_task_still_leads(call->task)) {
        drop(call);
        return;
    }
    rv = call->ask(call->pool, &portal, call->baton, &request);
    if (rv == APR_EINVAL) {
        end_without(call, B24BG_REST_NO_TOKEN, "no_token", "there is no access token");
    } else if (rv == APR_EACCES) {
        end_without(call, B24BG_REST_WRONG, "outside",
                    "the portal may not be called: see B24bgPortals and B24bgAllowHTTP");
    } else if (rv != APR_SUCCESS || start(call, &request, got_answer) != APR_SUCCESS) {
        end_without(call, B24BG_REST_AGAIN, "http",
                    "the portal cannot be called as it is configured: see B24bgProxy and "
                    "B24bgCAFile");
    }
}
