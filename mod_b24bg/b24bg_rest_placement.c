#include "b24bg_rest_parts.h"

#include "b24bg_placement.h"

#include <apr_cstr.h>
#include <apr_strings.h>

#include <limits.h>
#include <string.h>

/* Asking */

/* `parameters`: encoded, each with a "&" behind it. */
static apr_status_t ask(apr_pool_t *pool, const b24bg_rest_portal_t *portal, const char *method,
                        const char *parameters, b24bg_http_request_t *request)
{
    b24bg_rest_endpoint_t endpoint;

    if (!portal->endpoint ||
        !b24bg_rest_check_endpoint(pool, portal->app, portal->endpoint, &endpoint)) {
        return APR_EACCES;
    }
    if (!portal->access_token || !*portal->access_token) {
        return APR_EINVAL;
    }
    b24bg_rest_fill(
        portal->app, apr_pstrcat(pool, endpoint.url, method, NULL),
        apr_pstrcat(pool, parameters, "auth=", b24bg_rest_encode(pool, portal->access_token), NULL),
        request);
    return APR_SUCCESS;
}

/* What changes nothing may be asked by webhook. */
static apr_status_t ask_to_read(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                const char *method, b24bg_http_request_t *request)
{
    b24bg_rest_endpoint_t webhook;

    if (portal->endpoint &&
        b24bg_rest_check_webhook(pool, portal->app, portal->endpoint, &webhook)) {
        b24bg_rest_fill(portal->app, apr_pstrcat(pool, webhook.url, method, NULL), "", request);
        return APR_SUCCESS;
    }
    return ask(pool, portal, method, "", request);
}

apr_status_t b24bg_rest_ask_profile(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                    const char *client_endpoint, const char *access_token,
                                    b24bg_http_request_t *request)
{
    const b24bg_rest_portal_t portal = {app, client_endpoint, access_token};

    return ask(pool, &portal, "profile", "", request);
}

apr_status_t b24bg_rest_ask_rows(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                 b24bg_http_request_t *request)
{
    return ask_to_read(pool, portal, "placement.get", request);
}

apr_status_t b24bg_rest_ask_placements(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                       b24bg_http_request_t *request)
{
    return ask_to_read(pool, portal, "placement.list", request);
}

static const char *parameter(apr_pool_t *pool, const char *name, const char *value)
{
    return apr_pstrcat(pool, name, "=", b24bg_rest_encode(pool, value), "&", NULL);
}

static const char *user_parameter(apr_pool_t *pool, apr_int64_t user_id)
{
    return apr_psprintf(pool, "USER_ID=%" APR_INT64_T_FMT "&", user_id);
}

apr_status_t b24bg_rest_ask_bind(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                 const b24bg_rest_binding_t *binding, b24bg_http_request_t *request)
{
    const char *title = "";
    const char *user = "";

    if (!binding->handler || !*binding->handler || !binding->error_url || !*binding->error_url) {
        return APR_EINVAL;
    }
    if (binding->title && *binding->title) {
        title = parameter(pool, "TITLE", binding->title);
    }
    if (binding->user_id > 0) {
        user = user_parameter(pool, binding->user_id);
    }
    return ask(pool, portal, "placement.bind",
               apr_pstrcat(pool, parameter(pool, "PLACEMENT", B24BG_PLACEMENT_CODE),
                           parameter(pool, "HANDLER", binding->handler),
                           parameter(pool, "OPTIONS%5BerrorHandlerUrl%5D", binding->error_url),
                           title, user, NULL),
               request);
}

apr_status_t b24bg_rest_ask_unbind(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                   const b24bg_rest_row_t *row, b24bg_http_request_t *request)
{
    if (!row->handler || !*row->handler) {
        return APR_EINVAL;
    }
    return ask(pool, portal, "placement.unbind",
               apr_pstrcat(pool, parameter(pool, "PLACEMENT", B24BG_PLACEMENT_CODE),
                           parameter(pool, "HANDLER", row->handler),
                           user_parameter(pool, row->user_id), NULL),
               request);
}

/* Reading */

void b24bg_rest_read_profile(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                             b24bg_rest_result_t *result)
{
    const json_t *fields = json_object_get(b24bg_rest_read_answer(pool, answer, result), "result");
    const json_t *admin = json_object_get(fields, "ADMIN");

    if (result->class == B24BG_REST_OK && !json_is_boolean(admin)) {
        b24bg_rest_set_garbage(result, "a profile without ADMIN");
    } else if (result->class == B24BG_REST_OK && !json_is_true(admin)) {
        b24bg_rest_set(result, B24BG_REST_NOT_ADMIN, "not-admin", "the user is no administrator");
    }
}

/* The list that was answered, or NULL where the result is not OK. Neither method has pages
 * (protocol.md 4.6, 4.7), so one that names a next one is not whole. */
static const json_t *read_list(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                               b24bg_rest_result_t *result)
{
    const json_t *fields = b24bg_rest_read_answer(pool, answer, result);
    const json_t *list = json_object_get(fields, "result");
    const json_t *next = json_object_get(fields, "next");

    if (!fields) {
        return NULL;
    }
    if (!json_is_array(list) || (next && !json_is_null(next))) {
        b24bg_rest_set_garbage(result, "a list that is missing or not whole");
        return NULL;
    }
    return list;
}

static int is_our_placement(const char *code)
{
    return apr_cstr_casecmp(code, B24BG_PLACEMENT_CODE) == 0;
}

static int read_options(apr_pool_t *pool, const json_t *options, b24bg_rest_row_t *row)
{
    apr_int64_t count = -1;

    if (options && !json_is_null(options) && !json_is_object(options) &&
        !(json_is_array(options) && json_array_size(options) == 0)) {
        return 0;
    }
    if (!b24bg_rest_read_number(pool, json_object_get(options, "maxTimeCount"), INT_MAX, &count)) {
        count = -1;
    }
    row->slow_count = (int)count;
    return b24bg_rest_read_optional(pool, json_object_get(options, "errorHandlerUrl"),
                                    &row->error_url);
}

/* A row of our placement. 0 if something is missing or has another type. */
static int read_row(apr_pool_t *pool, const json_t *fields, b24bg_rest_row_t *row)
{
    row->user_id = 0;
    row->handler =
        b24bg_rest_read_text(pool, json_object_get(fields, "handler"), B24BG_REST_TEXT_MAX);
    return row->handler &&
           b24bg_rest_read_number(pool, json_object_get(fields, "userId"), APR_INT64_MAX,
                                  &row->user_id) &&
           read_options(pool, json_object_get(fields, "options"), row);
}

void b24bg_rest_read_rows(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                          apr_array_header_t **rows, b24bg_rest_result_t *result)
{
    const json_t *list = read_list(pool, answer, result);
    apr_array_header_t *found = apr_array_make(pool, 1, sizeof(b24bg_rest_row_t));
    apr_size_t i;

    for (i = 0; i < json_array_size(list); i++) {
        const json_t *fields = json_array_get(list, i);
        const char *code = json_string_value(json_object_get(fields, "placement"));
        b24bg_rest_row_t row;
        if (code && *code && !is_our_placement(code)) {
            continue;
        }
        if (!code || !*code || !read_row(pool, fields, &row)) {
            b24bg_rest_set_garbage(result,
                                   "a registration with a member that is missing or no good");
            return;
        }
        APR_ARRAY_PUSH(found, b24bg_rest_row_t) = row;
    }
    if (result->class == B24BG_REST_OK) {
        *rows = found;
    }
}

void b24bg_rest_read_placements(apr_pool_t *pool, const b24bg_http_answer_t *answer, int *offered,
                                b24bg_rest_result_t *result)
{
    const json_t *list = read_list(pool, answer, result);
    int found = 0;
    apr_size_t i;

    for (i = 0; i < json_array_size(list); i++) {
        const char *code = json_string_value(json_array_get(list, i));
        if (!code) {
            b24bg_rest_set_garbage(result, "a placement that is no text");
            return;
        }
        found |= is_our_placement(code);
    }
    if (result->class == B24BG_REST_OK) {
        *offered = found;
    }
}

static int is_there_already(const b24bg_rest_result_t *result)
{
    return apr_cstr_casecmp(result->code, "ERROR_PLACEMENT_MAX_COUNT") == 0 ||
           (apr_cstr_casecmp(result->code, "ERROR_CORE") == 0 &&
            strstr(result->detail, "Handler already binded"));
}

void b24bg_rest_read_bind(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                          b24bg_rest_result_t *result)
{
    const json_t *fields = b24bg_rest_read_answer(pool, answer, result);

    if (fields && !json_is_true(json_object_get(fields, "result"))) {
        b24bg_rest_set_garbage(result, "a bind that is not answered with true");
    } else if (!fields && is_there_already(result)) {
        result->class = B24BG_REST_OK;
    }
}

void b24bg_rest_read_unbind(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                            b24bg_rest_result_t *result)
{
    const json_t *fields = json_object_get(b24bg_rest_read_answer(pool, answer, result), "result");
    apr_int64_t count = -1;

    if (result->class == B24BG_REST_OK &&
        (!b24bg_rest_read_number(pool, json_object_get(fields, "count"), APR_INT64_MAX, &count) ||
         count < 0)) {
        b24bg_rest_set_garbage(result, "an unbind without a count");
    }
}
