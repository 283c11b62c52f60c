#include "b24bg_rest_parts.h"

#include <apr_strings.h>

apr_status_t b24bg_rest_ask_profile(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                    const char *client_endpoint, const char *access_token,
                                    b24bg_http_request_t *request)
{
    b24bg_rest_endpoint_t endpoint;

    if (!client_endpoint || !b24bg_rest_check_endpoint(pool, app, client_endpoint, &endpoint)) {
        return APR_EACCES;
    }
    if (!access_token || !*access_token) {
        return APR_EINVAL;
    }
    b24bg_rest_fill(app, apr_pstrcat(pool, endpoint.url, "profile", NULL),
                    apr_pstrcat(pool, "auth=", b24bg_rest_encode(pool, access_token), NULL),
                    request);
    return APR_SUCCESS;
}

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
