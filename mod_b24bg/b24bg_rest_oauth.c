#include "b24bg_rest_parts.h"

#include "b24bg_install.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

/* The end of year 9999: keeps a time in microseconds far from overflow. */
#define SECONDS_LAST APR_INT64_C(253402300799)

/* Asking */

static int is_auth_server(const b24bg_rest_app_t *app, const char *server)
{
    int i;

    for (i = 0; i < app->auth_servers->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(app->auth_servers, i, const char *), server) == 0) {
            return 1;
        }
    }
    return 0;
}

apr_status_t b24bg_rest_ask_identity(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                     const char *auth_server, const char *access_token,
                                     b24bg_http_request_t *request)
{
    if (!auth_server || !is_auth_server(app, auth_server)) {
        return APR_EACCES;
    }
    if (!access_token || !*access_token) {
        return APR_EINVAL;
    }
    b24bg_rest_fill(app, apr_pstrcat(pool, auth_server, "/rest/app.info", NULL),
                    apr_pstrcat(pool, "auth=", b24bg_rest_encode(pool, access_token), NULL),
                    request);
    return APR_SUCCESS;
}

apr_status_t b24bg_rest_ask_tokens(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                   const char *auth_server, const char *refresh_token,
                                   b24bg_http_request_t *request)
{
    const char *body;

    if (!auth_server || !is_auth_server(app, auth_server)) {
        return APR_EACCES;
    }
    if (!app->client_id || !app->client_secret) {
        return APR_EINCOMPLETE;
    }
    if (!refresh_token || !*refresh_token) {
        return APR_EINVAL;
    }
    body = apr_pstrcat(
        pool, "grant_type=refresh_token&client_id=", b24bg_rest_encode(pool, app->client_id),
        "&client_secret=", b24bg_rest_encode(pool, app->client_secret),
        "&refresh_token=", b24bg_rest_encode(pool, refresh_token), NULL);
    b24bg_rest_fill(app, apr_pstrcat(pool, auth_server, "/oauth/token/", NULL), body, request);
    request->must_finish = 1; /* the server has used the old pair up when it answers */
    return APR_SUCCESS;
}

/* Members */

/* The same as an installation may bring (b24bg_install). */
static const char *read_token(apr_pool_t *pool, const json_t *value)
{
    const char *text = b24bg_rest_read_text(pool, value, B24BG_INSTALL_TOKEN_MAX);
    const char *at;

    for (at = text; at && *at; at++) {
        if (!apr_isgraph(*at)) {
            return NULL;
        }
    }
    return text;
}

static const char *read_member_id(apr_pool_t *pool, const json_t *value)
{
    const char *text = b24bg_rest_read_text(pool, value, B24BG_MEMBER_ID_LENGTH);
    char *lower;
    char *at;

    if (!text || strlen(text) != B24BG_MEMBER_ID_LENGTH ||
        strspn(text, "0123456789abcdefABCDEF") != B24BG_MEMBER_ID_LENGTH) {
        return NULL;
    }
    lower = apr_pstrdup(pool, text);
    for (at = lower; *at; at++) {
        *at = (char)apr_tolower(*at);
    }
    return lower;
}

/* Reading */

static void set_outside(b24bg_rest_result_t *result, apr_pool_t *pool, const char *endpoint)
{
    b24bg_rest_set(result, B24BG_REST_WRONG, "outside",
                   apr_pstrcat(pool, b24bg_rest_quote(pool, endpoint, B24BG_REST_DETAIL_MAX / 2),
                               " may not be called", NULL));
}

/* All but the endpoint, which the caller checks. 0 if something is missing or has another type. */
static int read_identity(apr_pool_t *pool, const json_t *fields, b24bg_rest_identity_t *identity)
{
    const json_t *install = json_object_get(fields, "install");
    const json_t *installed = json_object_get(install, "installed");
    apr_int64_t seconds = 0;

    identity->user_id = -1;
    identity->member_id = read_member_id(pool, json_object_get(install, "member_id"));
    identity->domain =
        b24bg_rest_read_place(pool, json_string_value(json_object_get(install, "domain")));
    identity->client_endpoint = b24bg_rest_read_text(
        pool, json_object_get(install, "client_endpoint"), B24BG_REST_TEXT_MAX);
    if (!identity->member_id || !identity->domain || !identity->client_endpoint ||
        !json_is_boolean(installed) ||
        !b24bg_rest_read_optional(pool, json_object_get(fields, "scope"), &identity->scope) ||
        !b24bg_rest_read_number(pool, json_object_get(fields, "user_id"), APR_INT64_MAX,
                                &identity->user_id) ||
        !b24bg_rest_read_number(pool, json_object_get(fields, "expires"), SECONDS_LAST, &seconds)) {
        return 0;
    }
    identity->expires = apr_time_from_sec(seconds);
    return identity->user_id >= 0;
}

static int is_endpoint_of(const b24bg_rest_endpoint_t *endpoint, const char *domain)
{
    apr_size_t length = strcspn(domain, ":");

    return strlen(endpoint->host) == length && memcmp(endpoint->host, domain, length) == 0;
}

void b24bg_rest_read_identity(apr_pool_t *pool, const b24bg_rest_app_t *app,
                              const b24bg_http_answer_t *answer, b24bg_rest_identity_t *identity,
                              b24bg_rest_result_t *result)
{
    const json_t *fields = json_object_get(b24bg_rest_read_answer(pool, answer, result), "result");
    b24bg_rest_identity_t found;
    b24bg_rest_endpoint_t endpoint;

    if (result->class != B24BG_REST_OK) {
        /* We sent a token and nothing else, so it is the token that is meant: protocol.md 6.3. */
        if (apr_cstr_casecmp(result->code, "invalid_client") == 0) {
            result->class = B24BG_REST_NO_TOKEN;
        }
        return;
    }
    found.client_id =
        b24bg_rest_read_text(pool, json_object_get(fields, "client_id"), B24BG_REST_TEXT_MAX);
    if (!found.client_id || !read_identity(pool, fields, &found)) {
        b24bg_rest_set_garbage(result, "an identity with a member that is missing or no good");
    } else if (!app->client_id || strcmp(found.client_id, app->client_id) != 0) {
        b24bg_rest_set(result, B24BG_REST_WRONG_APP, "foreign",
                       "the token was issued for another application");
    } else if (!b24bg_rest_check_endpoint(pool, app, found.client_endpoint, &endpoint) ||
               !is_endpoint_of(&endpoint, found.domain)) {
        set_outside(result, pool, found.client_endpoint);
    } else {
        found.client_endpoint = endpoint.url;
        *identity = found;
    }
}

/* 0 if not told, or in a way that makes no sense. */
static apr_time_t read_expiry(apr_pool_t *pool, const json_t *fields, apr_time_t now)
{
    apr_int64_t at = 0;
    apr_int64_t in = -1;

    b24bg_rest_read_number(pool, json_object_get(fields, "expires"), SECONDS_LAST, &at);
    if (at > 0) {
        return apr_time_from_sec(at);
    }
    b24bg_rest_read_number(pool, json_object_get(fields, "expires_in"), SECONDS_LAST, &in);
    return in >= 0 ? now + apr_time_from_sec(in) : 0;
}

void b24bg_rest_read_tokens(apr_pool_t *pool, const b24bg_http_answer_t *answer, apr_time_t now,
                            b24bg_rest_tokens_t *tokens, b24bg_rest_result_t *result)
{
    const json_t *fields = b24bg_rest_read_answer(pool, answer, result);
    b24bg_rest_tokens_t found;

    if (!fields) {
        return;
    }
    found.access_token = read_token(pool, json_object_get(fields, "access_token"));
    found.refresh_token = read_token(pool, json_object_get(fields, "refresh_token"));
    found.member_id = read_member_id(pool, json_object_get(fields, "member_id"));
    found.expires = read_expiry(pool, fields, now);
    if (!found.access_token || !found.refresh_token || !found.member_id) {
        b24bg_rest_set_garbage(result, "a token pair with a member that is missing or no good");
    } else {
        *tokens = found;
    }
}
