/* b24bg_rest on arbitrary answers. The first byte chooses the status, the second the function and
 * the settings; the rest is the body. */
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

static void check_result(const b24bg_rest_result_t *result)
{
    CHECK(b24bg_rest_class_name(result->class) != NULL);
    CHECK(strlen(result->code) <= 64 && is_printable(result->code));
    CHECK(strlen(result->detail) <= 300 && is_printable(result->detail));
    CHECK(!strstr(result->detail, SECRETS) && !strstr(result->code, SECRETS));
    CHECK((result->class == B24BG_REST_OK) == (*result->code == '\0'));
}

/* What the gate promises, said in another way than it is written. */
static void check_endpoint(const b24bg_rest_app_t *app, const char *url)
{
    const char *host = strstr(url, "://") + 3;
    const char *path = strchr(host, '/');
    size_t length = (size_t)(path - host);
    const char *portal = strstr(host, ".bitrix24.com");

    CHECK(strncmp(url, "https://", 8) == 0 ||
          (app->http.allow_http && strncmp(url, "http://", 7) == 0));
    CHECK(length > 0 && strcspn(host, "@\\?#%[ ") == strlen(host));
    CHECK(strcmp(url + strlen(url) - 6, "/rest/") == 0);
    CHECK(app->portals->nelts == 0 ||
          (portal && portal + 13 <= path && (portal[13] == '/' || portal[13] == ':')));
    if (!app->http.allow_http) {
        size_t host_length = strcspn(host, ":/");
        CHECK(!(host[host_length - 1] >= '0' && host[host_length - 1] <= '9' &&
                strspn(host, "0123456789.") >= host_length));
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

    b24bg_rest_read_tokens(pool, app, answer, apr_time_from_sec(1700000000), &tokens, &result);
    check_result(&result);
    if (result.class == B24BG_REST_OK) {
        b24bg_http_request_t request;
        CHECK(*tokens.access_token && *tokens.refresh_token && tokens.scope);
        CHECK(strlen(tokens.member_id) == 32);
        CHECK(tokens.user_id >= 0 && tokens.expires >= 0);
        check_endpoint(app, tokens.client_endpoint);
        CHECK(b24bg_rest_ask_tokens(pool, app, "https://oauth.bitrix.info", tokens.refresh_token,
                                    &request) == APR_SUCCESS);
        CHECK(strspn(request.body, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   "-._~%&=") == request.length);
    }
}

static void find_server(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *endpoint)
{
    const char *server = b24bg_rest_auth_server(app, endpoint);
    b24bg_http_request_t request;

    CHECK(!server || strcmp(server, "https://oauth.bitrix.info") == 0);
    CHECK(b24bg_rest_ask_identity(pool, app, endpoint, "token", &request) == APR_SUCCESS ||
          strcmp(endpoint, "https://oauth.bitrix.info") != 0);
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
    switch (data[1] & 3) {
    case 0:
        b24bg_rest_classify(pool, &answer, &result);
        check_result(&result);
        break;
    case 1:
        read_identity(pool, &app, &answer);
        break;
    case 2:
        read_tokens(pool, &app, &answer);
        break;
    default:
        find_server(pool, &app, answer.body);
        break;
    }
    apr_pool_destroy(pool);
    return 0;
}
