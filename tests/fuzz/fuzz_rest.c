/* b24bg_rest*.c on arbitrary answers. The first byte chooses the status, the second the function
 * (bits 0, 1 and 4) and the settings (bits 2 and 3); the rest is the body. */
#include "b24bg_form.h"
#include "b24bg_rest.h"

#include <apr_general.h>
#include <apr_strings.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define SECRETS "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int statuses[] = {200, 302, 400, 401, 403, 404, 429, 500, 503, 0};

static void make_app(apr_pool_t *pool, b24bg_rest_app_t *app, int flags)
{
    apr_array_header_t *servers = apr_array_make(pool, 1, sizeof(const char *));
    apr_array_header_t *portals = apr_array_make(pool, 1, sizeof(const char *));

    memset(app, 0, sizeof(*app));
    APR_ARRAY_PUSH(servers, const char *) = "https://oauth.bitrix.info";
    if (flags & 4) {
        APR_ARRAY_PUSH(portals, const char *) = "*.bitrix24.com";
    }
    app->client_id = "local.65a1b2c3d4e5f6.12345678";
    app->client_secret = "x";
    app->auth_servers = servers;
    app->portals = portals;
    app->http.allow_http = (flags & 8) != 0;
}

static int is_printable(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F || *text == '"') {
            return 0;
        }
    }
    return 1;
}

static void check_texts(const b24bg_rest_result_t *result)
{
    CHECK(result->class <= B24BG_REST_WRONG);
    CHECK(strlen(result->code) <= 64 && is_printable(result->code));
    CHECK(strlen(result->detail) <= 300 && is_printable(result->detail));
    CHECK(!strstr(result->detail, SECRETS) && !strstr(result->code, SECRETS));
}

static void check_result(const b24bg_rest_result_t *result)
{
    check_texts(result);
    CHECK((result->class == B24BG_REST_OK) == (*result->code == '\0'));
}

/* What the gate promises, said in another way than it is written. */
static void check_endpoint(const b24bg_rest_app_t *app, const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t length = strcspn(host, ":/");

    CHECK(strncmp(url, "https://", 8) == 0 ||
          (app->http.allow_http && strncmp(url, "http://", 7) == 0));
    CHECK(length > 0 && strcspn(host, "@\\?#%[ ") == strlen(host));
    CHECK(strcmp(url + strlen(url) - 6, "/rest/") == 0);
    CHECK(app->portals->nelts == 0 ||
          (length > 13 && strncmp(host + length - 13, ".bitrix24.com", 13) == 0));
    if (!app->http.allow_http) {
        CHECK(strspn(host, "0123456789.") < length);
        CHECK(strncmp(host, "localhost/", 10) != 0 && strncmp(host, "localhost:", 10) != 0);
    }
}

static void read_identity(apr_pool_t *pool, const b24bg_rest_app_t *app,
                          const b24bg_http_answer_t *answer)
{
    b24bg_rest_identity_t identity;
    b24bg_rest_result_t result;

    b24bg_rest_read_identity(pool, app, answer, &identity, &result);
    check_result(&result);
    if (result.class == B24BG_REST_OK) {
        size_t length = strcspn(identity.domain, ":");
        CHECK(strcmp(identity.client_id, app->client_id) == 0);
        CHECK(strlen(identity.member_id) == 32);
        CHECK(strncmp(strstr(identity.client_endpoint, "://") + 3, identity.domain, length) == 0);
        CHECK(identity.user_id >= 0 && identity.expires >= 0);
        check_endpoint(app, identity.client_endpoint);
    }
}

static void read_tokens(apr_pool_t *pool, const b24bg_rest_app_t *app,
                        const b24bg_http_answer_t *answer)
{
    b24bg_rest_tokens_t tokens;
    b24bg_rest_result_t result;

    b24bg_rest_read_tokens(pool, answer, apr_time_from_sec(1700000000), &tokens, &result);
    check_result(&result);
    if (result.class == B24BG_REST_OK) {
        b24bg_http_request_t request;
        CHECK(*tokens.access_token && *tokens.refresh_token);
        CHECK(strlen(tokens.member_id) == 32);
        CHECK(tokens.expires >= 0);
        CHECK(b24bg_rest_ask_tokens(pool, app, "https://oauth.bitrix.info", tokens.refresh_token,
                                    &request) == APR_SUCCESS);
        CHECK(strspn(request.body, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   "-._~%&=") == request.length);
    }
}

/* The form brings to the portal what the portal said. */
static void check_unbind(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                         const b24bg_rest_row_t *row)
{
    b24bg_http_request_t request;
    b24bg_form_t form;

    CHECK(b24bg_rest_ask_unbind(pool, portal, row, &request) == APR_SUCCESS);
    CHECK(b24bg_form_parse(pool, apr_pstrdup(pool, request.body), request.length,
                           B24BG_FORM_REFUSE_TWICE, &form) == B24BG_FORM_OK);
    CHECK(apr_table_elts(form.fields)->nelts == 4);
    CHECK(strcmp(b24bg_form_get(form.fields, "HANDLER"), row->handler) == 0);
    CHECK(strcmp(b24bg_form_get(form.fields, "PLACEMENT"), "PAGE_BACKGROUND_WORKER") == 0);
    CHECK(apr_atoi64(b24bg_form_get(form.fields, "USER_ID")) == row->user_id);
}

static void check_bind(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                       const b24bg_rest_row_t *row)
{
    b24bg_rest_binding_t binding = {row->handler, row->error_url, row->handler, row->user_id};
    b24bg_http_request_t request;

    CHECK(b24bg_rest_ask_bind(pool, portal, &binding, &request) ==
          (*row->error_url ? APR_SUCCESS : APR_EINVAL));
}

static void read_rows(apr_pool_t *pool, const b24bg_rest_app_t *app,
                      const b24bg_http_answer_t *answer)
{
    b24bg_rest_portal_t portal = {app, "https://xxx.bitrix24.com/rest/", "token"};
    b24bg_rest_result_t result;
    apr_array_header_t *rows;
    int i;

    b24bg_rest_read_rows(pool, answer, &rows, &result);
    check_result(&result);
    for (i = 0; result.class == B24BG_REST_OK && i < rows->nelts; i++) {
        const b24bg_rest_row_t *row = &APR_ARRAY_IDX(rows, i, b24bg_rest_row_t);
        CHECK(row->user_id >= 0 && row->slow_count >= -1);
        CHECK(*row->handler && strlen(row->handler) <= 4096 && strlen(row->error_url) <= 4096);
        check_unbind(pool, &portal, row);
        check_bind(pool, &portal, row);
    }
}

static void read_placements(apr_pool_t *pool, const b24bg_http_answer_t *answer)
{
    b24bg_rest_result_t result;
    int offered = -1;

    b24bg_rest_read_placements(pool, answer, &offered, &result);
    check_result(&result);
    CHECK((offered == 0 || offered == 1) == (result.class == B24BG_REST_OK));
}

/* The three that bring nothing but a result. */
static void read_results(apr_pool_t *pool, const b24bg_http_answer_t *answer)
{
    b24bg_rest_result_t result;

    b24bg_rest_read_bind(pool, answer, &result);
    check_texts(&result);
    CHECK(*result.code || result.class == B24BG_REST_OK);
    b24bg_rest_read_unbind(pool, answer, &result);
    check_result(&result);
    b24bg_rest_read_profile(pool, answer, &result);
    check_result(&result);
}

static void find_server(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *endpoint)
{
    const char *server = b24bg_rest_auth_server(app, endpoint);
    b24bg_http_request_t request;

    CHECK(!server || strcmp(server, "https://oauth.bitrix.info") == 0);
    CHECK(b24bg_rest_ask_identity(pool, app, endpoint, "token", &request) == APR_SUCCESS ||
          strcmp(endpoint, "https://oauth.bitrix.info") != 0);
}

/* An endpoint that may be read and not written to is a webhook, and gets no token. */
static void call_endpoint(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *endpoint)
{
    static const b24bg_rest_binding_t binding = {"https://h.x/", "https://h.x/e", "", 0};
    b24bg_rest_portal_t portal = {app, endpoint, "token"};
    b24bg_http_request_t request;
    apr_status_t bound = b24bg_rest_ask_bind(pool, &portal, &binding, &request);

    if (bound == APR_SUCCESS) {
        CHECK(strcmp(request.url + strlen(request.url) - 14, "placement.bind") == 0);
        check_endpoint(app, apr_pstrndup(pool, request.url, strlen(request.url) - 14));
    } else {
        CHECK(bound == APR_EACCES);
    }
    if (b24bg_rest_ask_rows(pool, &portal, &request) == APR_SUCCESS && request.length == 0) {
        const char *code = strstr(strchr(strstr(request.url, "://") + 3, '/'), "/rest/");
        size_t length;
        CHECK(code && strcmp(request.url + strlen(request.url) - 13, "placement.get") == 0);
        length = strspn(code + 6, "0123456789");
        CHECK(length > 0 && code[6 + length] == '/');
        check_endpoint(app, apr_pstrndup(pool, request.url, (size_t)(code + 6 - request.url)));
    } else {
        CHECK(bound == b24bg_rest_ask_rows(pool, &portal, &request));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *global;
    b24bg_http_answer_t answer = {B24BG_HTTP_ANSWERED, 0, NULL, 0, NULL, ""};
    b24bg_rest_app_t app;
    b24bg_rest_result_t result;
    apr_pool_t *pool;

    if (!global) {
        apr_initialize();
        apr_pool_create(&global, NULL);
    }
    if (size < 2) {
        return 0;
    }
    apr_pool_create(&pool, global);
    make_app(pool, &app, data[1]);
    answer.status = statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))];
    answer.body = apr_pstrmemdup(pool, (const char *)data + 2, size - 2);
    answer.length = size - 2;
    answer.location = answer.status == 302 ? answer.body : NULL;
    switch (data[1] & 0x13) {
    case 0x00:
        b24bg_rest_classify(pool, &answer, &result);
        check_result(&result);
        break;
    case 0x01:
        read_identity(pool, &app, &answer);
        break;
    case 0x02:
        read_tokens(pool, &app, &answer);
        break;
    case 0x03:
        find_server(pool, &app, answer.body);
        break;
    case 0x10:
        read_rows(pool, &app, &answer);
        break;
    case 0x11:
        read_placements(pool, &answer);
        break;
    case 0x12:
        read_results(pool, &answer);
        break;
    default:
        call_endpoint(pool, &app, answer.body);
        break;
    }
    apr_pool_destroy(pool);
    return 0;
}
