/* b24bg_rest: protocol.md 4.2, 4.4, 4.12, 5.1, 5.2, 5.5, 6.3. */
#include "rest.h"

#include <apr_strings.h>

#include <string.h>

#define CLIENT "local.65a1b2c3d4e5f6.12345678"
#define MEMBER "da45a03b265edd8787f8a258d793cc5d"
#define ACCESS "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
#define REFRESH "31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
#define TIME_JSON "\"time\":{\"start\":1712132792.910734,\"duration\":0.61,\"operating\":3.3}"

static b24bg_rest_app_t app;

static void push(apr_array_header_t *list, const char *text)
{
    APR_ARRAY_PUSH(list, const char *) = text;
}

/* The app of most tests; they change what they need. */
static void make_app(void)
{
    apr_array_header_t *servers = apr_array_make(unit_pool, 4, sizeof(const char *));

    memset(&app, 0, sizeof(app));
    push(servers, "https://oauth.bitrix.info");
    push(servers, "https://oauth.bitrix24.tech");
    app.client_id = CLIENT;
    app.client_secret = "s3cr&t+=% /\xC3\xA9";
    app.auth_servers = servers;
    app.portals = apr_array_make(unit_pool, 4, sizeof(const char *));
}

static b24bg_rest_result_t classify(int status, const char *body)
{
    b24bg_http_answer_t answer = answer_of(status, body, strlen(body));
    b24bg_rest_result_t result;

    b24bg_rest_classify(unit_pool, &answer, &result);
    return result;
}

/* The table of codes */

typedef struct {
    const char *name; /* the code */
    int status;
    const char *text;
    b24bg_rest_class_e class;
    const char *advice; /* NULL: the text says enough */
} code_t;

#define NO_WEBHOOK "a webhook cannot do this; Bitrix24 wants an application's OAuth token"
#define NOT_BOSS "the token's user must be an administrator of the portal"
#define NO_RIGHT "the token's user was dismissed, or lacks the right"
#define NO_SCOPE "the application needs scope placement"
#define BLOCKED "Bitrix24 has blocked REST for this portal; its support must lift the block"
#define NO_USERS "this portal does not take registrations of single users"

static const code_t codes[] = {
    /* protocol.md 4.12, row by row */
    {"expired_token", 401, "The access token provided has expired.", B24BG_REST_EXPIRED, NULL},
    {"invalid_token", 401, "Unable to get application by token", B24BG_REST_NO_TOKEN, NULL},
    {"NO_AUTH_FOUND", 401, "Wrong authorization data", B24BG_REST_NO_TOKEN,
     "the portal does not know the token, or the webhook was deleted"},
    {"INVALID_CREDENTIALS", 401, "Invalid request credentials", B24BG_REST_NOT_ADMIN, NO_RIGHT},
    {"INVALID_CREDENTIALS", 403, "Invalid request credentials", B24BG_REST_NOT_ADMIN, NO_RIGHT},
    {"insufficient_scope", 401, "The request requires higher privileges", B24BG_REST_WRONG_APP,
     NO_SCOPE},
    {"insufficient_scope", 403, "The request requires higher privileges", B24BG_REST_WRONG_APP,
     NO_SCOPE},
    {"user_access_error", 401, "The user does not have access", B24BG_REST_NOT_ADMIN,
     "the token's user has no access to the application"},
    {"WRONG_AUTH_TYPE", 403,
     "Current authorization type is denied for this method Application context required",
     B24BG_REST_WRONG, NO_WEBHOOK},
    {"ACCESS_DENIED", 403, "Access denied!", B24BG_REST_NOT_ADMIN, NOT_BOSS},
    {"ACCESS_DENIED", 400, "Access denied! Application context required", B24BG_REST_WRONG,
     NO_WEBHOOK},
    {"ACCESS_DENIED", 403, "REST API is available only on commercial plans", B24BG_REST_PAYMENT,
     NULL},
    {"APPLICATION_NOT_FOUND", 401, "Application not found", B24BG_REST_GONE, NULL},
    {"ERROR_OAUTH", 401, "Application not installed", B24BG_REST_GONE, NULL},
    {"NOT_INSTALLED", 401, "Application not installed", B24BG_REST_GONE, NULL},
    {"PAYMENT_REQUIRED", 401, "Payment required", B24BG_REST_PAYMENT,
     "the application's subscription is over"},
    {"OVERLOAD_LIMIT", 503, "REST API is blocked due to overload.", B24BG_REST_WRONG, BLOCKED},
    {"OVERLOAD_LIMIT", 401, "REST API is blocked due to overload.", B24BG_REST_WRONG, BLOCKED},
    {"QUERY_LIMIT_EXCEEDED", 503, "Too many requests", B24BG_REST_AGAIN, NULL},
    {"OPERATION_TIME_LIMIT", 429, "Method is blocked due to operation time limit.",
     B24BG_REST_AGAIN, NULL},
    {"ERROR_METHOD_NOT_FOUND", 404, "Method not found!", B24BG_REST_WRONG_APP,
     "the portal is too old for it, or the application lacks scope placement"},
    {"ERROR_MANIFEST_IS_NOT_AVAILABLE", 404, "Manifest is not available", B24BG_REST_WRONG, NULL},
    {"METHOD_CONFIRM_WAITING", 401, "Waiting for confirmation", B24BG_REST_AGAIN,
     "an administrator of the portal has to confirm the call"},
    {"METHOD_CONFIRM_DENIED", 403, "Method call denied", B24BG_REST_WRONG,
     "an administrator of the portal has refused the call"},
    {"WRONG_LICENSE", 403, "Wrong license", B24BG_REST_PAYMENT, NULL},
    {"PORTAL_DELETED", 403, "Portal was deleted", B24BG_REST_GONE, NULL},
    {"PORTAL_DELETED", 410, "Portal was deleted", B24BG_REST_GONE, NULL},
    {"PORTAL_DELETED", 500, "Portal was deleted", B24BG_REST_GONE, NULL},
    {"ALLOWED_ONLY_INTRANET_USER", 403, "Allowed only for intranet users", B24BG_REST_NOT_ADMIN,
     NULL},
    {"INVALID_REQUEST", 400, "Https required.", B24BG_REST_WRONG, NULL},
    {"WRONG_ENCODING", 400, "Wrong request encoding", B24BG_REST_WRONG, NULL},
    {"CONNECTION_ERROR", 500, "Error connecting to authorization server", B24BG_REST_AGAIN, NULL},
    {"CONNECTION_ERROR", 200, "Error connecting to authorization server", B24BG_REST_AGAIN, NULL},
    {"INTERNAL_SERVER_ERROR", 500, "Internal server error", B24BG_REST_AGAIN, NULL},
    {"INTERNAL_SERVER_ERROR", 200, "Internal server error", B24BG_REST_AGAIN, NULL},
    {"ERROR_UNEXPECTED_ANSWER", 500, "Server returned an unexpected response", B24BG_REST_AGAIN,
     NULL},
    {"ERROR_CORE", 400, "Something in the core", B24BG_REST_WRONG, NULL},
    /* protocol.md 5.2 */
    {"invalid_request", 400, "A required parameter is missing", B24BG_REST_WRONG, NULL},
    {"invalid_client", 400, "Invalid client", B24BG_REST_WRONG_APP, NULL},
    {"invalid_client", 401, "Invalid client", B24BG_REST_WRONG_APP, NULL},
    {"invalid_grant", 400, "Invalid grant", B24BG_REST_NO_TOKEN, NULL},
    {"wrong_client", 200, "Wrong client", B24BG_REST_WRONG_APP, NULL},
    {"invalid_scope", 403, "Invalid scope", B24BG_REST_WRONG_APP, NULL},
    /* protocol.md 4.4, with both of the documented statuses */
    {"ERROR_ARGUMENT", 400, "The value of an argument 'PLACEMENT' must be of type string",
     B24BG_REST_WRONG, NULL},
    {"ERROR_ARGUMENT", 200, "Argument 'PLACEMENT' is null or empty", B24BG_REST_WRONG, NULL},
    {"ERROR_WRONG_HANDLER_URL", 400, "Wrong handler URL", B24BG_REST_WRONG,
     "the host of the worker URL needs a dot and may not be localhost"},
    {"ERROR_UNSUPPORTED_PROTOCOL", 400, "Unsupported handler protocol", B24BG_REST_WRONG,
     "the worker URL must begin with https:// or http://"},
    {"ERROR_PLACEMENT_NOT_FOUND", 400, "Placement not found", B24BG_REST_WRONG,
     "this portal does not offer PAGE_BACKGROUND_WORKER"},
    {"ERROR_PLACEMENT_USER_MODE", 400, "User mode is not available.", B24BG_REST_WRONG, NO_USERS},
    {"ERROR_PLACEMENT_USER_MODE", 200, "User mode is not available.", B24BG_REST_WRONG, NO_USERS},
    {"ERROR_PLACEMENT_MAX_COUNT", 400, "Placement max count: 1", B24BG_REST_WRONG, NULL},
    {"ERROR_PLACEMENT_MAX_COUNT", 200, "Placement max count: 1", B24BG_REST_WRONG, NULL},
    {"EMPTY_ERROR_HANDLER_URL", 200, "Field errorHandlerUrl is empty.", B24BG_REST_WRONG, NULL},
    {"ERROR_CORE", 400,
     "Unable to set placement handler: Process of binding the handler has already started",
     B24BG_REST_AGAIN, NULL},
    {"ERROR_CORE", 400, "Unable to set placement handler: Handler already binded", B24BG_REST_WRONG,
     NULL},
    /* without words of its own */
    {"insufficient_scope", 403, "", B24BG_REST_WRONG_APP, NO_SCOPE},
    {"expired_token", 401, "", B24BG_REST_EXPIRED, NULL},
    /* tomorrow's: the status decides */
    {"SOMETHING_NEW", 400, "", B24BG_REST_WRONG, NULL},
    {"SOMETHING_NEW", 200, "", B24BG_REST_WRONG, NULL},
    {"SOMETHING_NEW", 302, "", B24BG_REST_WRONG, NULL},
    {"SOMETHING_NEW", 408, "", B24BG_REST_AGAIN, NULL},
    {"SOMETHING_NEW", 429, "", B24BG_REST_AGAIN, NULL},
    {"SOMETHING_NEW", 500, "", B24BG_REST_AGAIN, NULL},
    {"SOMETHING_NEW", 599, "", B24BG_REST_AGAIN, NULL},
    {"expired_tokens", 401, "", B24BG_REST_WRONG, NULL},
    {"expired_toke", 401, "", B24BG_REST_WRONG, NULL},
};

static void check_code(const code_t *row, const char *code, const char *body)
{
    b24bg_rest_result_t result = classify(row->status, body);
    const char *detail = row->text;

    if (row->advice) {
        detail = *row->text ? apr_pstrcat(unit_pool, row->advice, " (", row->text, ")", NULL)
                            : row->advice;
    }
    assert_int_equal(row->class, result.class);
    assert_string_equal(code, result.code);
    assert_string_equal(detail, result.detail);
}

static void error_code(void **state)
{
    const code_t *row = *state;

    check_code(row, row->name,
               apr_psprintf(unit_pool, "{\"error\":\"%s\",\"error_description\":\"%s\"}", row->name,
                            row->text));
}

/* Other case, other order, more members, a byte order mark: the same meaning. */
static void error_code_in_disguise(void **state)
{
    const code_t *row = *state;
    char *code = apr_pstrdup(unit_pool, row->name);
    char *at;

    for (at = code; *at; at++) {
        *at = (char)(*at ^ (*at >= 'A' ? 0x20 : 0) ^ (*at == '_' ? 0x20 : 0));
    }
    check_code(row, code,
               apr_psprintf(unit_pool,
                            "\xEF\xBB\xBF\r\n {\"argument\":\"PLACEMENT\",\"result\":[],"
                            "\"error_description\":\"%s\"," TIME_JSON ",\"error\":\"%s\"}\n",
                            row->text, code));
}

/* What has no code */

typedef struct {
    const char *name;
    int status;
    const char *body;
    b24bg_rest_class_e class;
    const char *code;
    const char *detail;
    apr_size_t length; /* 0: up to the NUL */
} plain_t;

static const plain_t plain[] = {
    {"success", 200, "{\"result\":true," TIME_JSON "}", B24BG_REST_OK, "", "", 0},
    {"success with a byte order mark", 200, "\xEF\xBB\xBF{\"result\":true}", B24BG_REST_OK, "", "",
     0},
    {"success with blanks around", 200, " \r\n{\"result\":[]}\n ", B24BG_REST_OK, "", "", 0},
    {"201", 201, "{\"result\":1}", B24BG_REST_OK, "", "", 0},
    {"null result", 200, "{\"result\":null}", B24BG_REST_OK, "", "", 0},
    {"html", 200, "<html>captive portal</html>", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"nothing", 200, "", B24BG_REST_AGAIN, "garbage", "HTTP 200 without a JSON object", 0},
    {"204", 204, "", B24BG_REST_AGAIN, "garbage", "HTTP 204 without a JSON object", 0},
    {"blank", 200, " ", B24BG_REST_AGAIN, "garbage", "HTTP 200 without a JSON object", 0},
    {"only a byte order mark", 200, "\xEF\xBB\xBF", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"half a byte order mark", 200, "\xEF\xBB{}", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"array", 200, "[{\"error\":\"expired_token\"}]", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"string", 200, "\"expired_token\"", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"truncated", 200, "{\"error\":\"expired_token\"", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"two objects", 200, "{\"result\":1}{\"result\":2}", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"error twice", 401, "{\"error\":\"a\",\"error\":\"expired_token\"}", B24BG_REST_AGAIN, "http",
     "HTTP 401", 0},
    {"result twice", 200, "{\"result\":1,\"result\":2}", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"error number", 400, "{\"error\":0,\"error_description\":\"x\"}", B24BG_REST_AGAIN, "garbage",
     "x", 0},
    {"error null", 200, "{\"error\":null}", B24BG_REST_AGAIN, "garbage", "", 0},
    {"error false", 200, "{\"error\":false,\"result\":1}", B24BG_REST_AGAIN, "garbage", "", 0},
    {"error object", 400, "{\"error\":{\"code\":\"expired_token\"}}", B24BG_REST_AGAIN, "garbage",
     "", 0},
    {"error array", 400, "{\"error\":[\"expired_token\"]}", B24BG_REST_AGAIN, "garbage", "", 0},
    {"error empty", 400, "{\"error\":\"\",\"error_description\":\"Access denied.\"}",
     B24BG_REST_AGAIN, "garbage", "Access denied.", 0},
    {"description number", 401, "{\"error\":\"expired_token\",\"error_description\":7}",
     B24BG_REST_EXPIRED, "expired_token", "", 0},
    {"description object", 403, "{\"error\":\"ACCESS_DENIED\",\"error_description\":{}}",
     B24BG_REST_NOT_ADMIN, "ACCESS_DENIED", NOT_BOSS, 0},
    {"no description", 401, "{\"error\":\"invalid_token\"}", B24BG_REST_NO_TOKEN, "invalid_token",
     "", 0},
    {"nested error is no error", 200, "{\"result\":{\"error\":\"expired_token\"}}", B24BG_REST_OK,
     "", "", 0},
    {"NUL behind", 200, "{\"result\":1}\0", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 13},
    {"NUL in a string", 401, "{\"error\":\"expired\0token\"}", B24BG_REST_AGAIN, "http", "HTTP 401",
     25},
    {"escaped NUL", 401, "{\"error\":\"expired_token\\u0000\"}", B24BG_REST_AGAIN, "http",
     "HTTP 401", 0},
    {"invalid UTF-8", 401, "{\"error\":\"expired_token\",\"x\":\"\xC3\x28\"}", B24BG_REST_AGAIN,
     "http", "HTTP 401", 0},
    {"half a surrogate", 200, "{\"result\":\"\\ud83d\"}", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"windows-1251", 200, "{\"result\":\"\xCF\xF0\"}", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"number beyond 64 bits", 200, "{\"result\":99999999999999999999}", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object", 0},
    {"500 html", 500, "<h1>Internal Server Error</h1>", B24BG_REST_AGAIN, "http", "HTTP 500", 0},
    {"502 html", 502, "<html>", B24BG_REST_AGAIN, "http", "HTTP 502", 0},
    {"503 nothing", 503, "", B24BG_REST_AGAIN, "http", "HTTP 503", 0},
    {"504 html", 504, "<html>", B24BG_REST_AGAIN, "http", "HTTP 504", 0},
    {"500 object without error", 500, "{\"result\":true}", B24BG_REST_AGAIN, "http", "HTTP 500", 0},
    {"408", 408, "", B24BG_REST_AGAIN, "http", "HTTP 408", 0},
    {"429", 429, "slow down", B24BG_REST_AGAIN, "http", "HTTP 429", 0},
    {"400 object without error", 400, "{\"result\":true}", B24BG_REST_WRONG, "http", "HTTP 400", 0},
    {"403 html", 403, "<html>firewall</html>", B24BG_REST_AGAIN, "http", "HTTP 403", 0},
    {"404 html", 404, "<html>", B24BG_REST_AGAIN, "http", "HTTP 404", 0},
    {"304", 304, "", B24BG_REST_AGAIN, "http", "HTTP 304", 0},
    {"302 without a location", 302, "", B24BG_REST_AGAIN, "http", "HTTP 302", 0},
    {"status 0", 0, "{\"result\":true}", B24BG_REST_WRONG, "http", "HTTP 0", 0},
};

static void answer_without_code(void **state)
{
    const plain_t *row = *state;
    b24bg_http_answer_t answer =
        answer_of(row->status, row->body, row->length ? row->length : strlen(row->body));
    b24bg_rest_result_t result;

    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(row->class, result.class);
    assert_string_equal(row->code, result.code);
    assert_string_equal(row->detail, result.detail);
}

static void no_answer(void **state)
{
    b24bg_http_answer_t answer = {B24BG_HTTP_FAILED, 0, "", 0, NULL, "Timeout\nwas reached"};
    b24bg_rest_result_t result;

    (void)state;
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(B24BG_REST_AGAIN, result.class);
    assert_string_equal("network", result.code);
    assert_string_equal("Timeout was reached", result.detail);
    answer.outcome = B24BG_HTTP_ABORTED;
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(B24BG_REST_AGAIN, result.class);
    assert_string_equal("network", result.code);
    answer.outcome = B24BG_HTTP_TOO_LARGE;
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(B24BG_REST_AGAIN, result.class);
    assert_string_equal("garbage", result.code);
}

static void renamed_portal(void **state)
{
    b24bg_http_answer_t answer = answer_of(302, "<html>moved</html>", 18);
    b24bg_rest_result_t result;

    (void)state;
    answer.location = "https://new.bitrix24.com/rest/placement.get?auth=" ACCESS;
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(B24BG_REST_MOVED, result.class);
    assert_string_equal("http", result.code);
    assert_string_equal("HTTP 302 to https://new.bitrix24.com/rest/placement.get?auth=-",
                        result.detail);
    answer = answer_of(302, "{\"error\":\"PORTAL_DELETED\"}", 26);
    answer.location = "https://new.bitrix24.com/";
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(B24BG_REST_GONE, result.class);
    answer = answer_of(301, "", 0);
    answer.location = "https://new.bitrix24.com/";
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_int_equal(B24BG_REST_MOVED, result.class);
}

/* What goes to logs */

static const struct quoted {
    const char *name;
    const char *text; /* as in JSON */
    const char *detail;
} quoted[] = {
    {"control characters and quotes", "a\\nb\\u001b[31m\\u0085\\u007f\\\"c\\\"", "a b [31m   'c'"},
    {"an access token", "token " ACCESS " is over", "token - is over"},
    {"two tokens", ACCESS "," REFRESH, "-,-"},
    {"a token alone", ACCESS, "-"},
    {"an old token", "auth=abcdefgh12345678abcdefgh12345678", "auth=-"},
    {"16 characters", "x234567890123456", "-"},
    {"15 characters stay", "x23456789012345", "x23456789012345"},
    {"a webhook's code", "no webhook 9cybrkhzxxf28zl4.", "no webhook -."},
    {"a webhook", "https:\\/\\/xxx.bitrix24.com\\/rest\\/13\\/9cybrkhzxxf28zl4\\/profile\\/",
     "https://xxx.bitrix24.com/rest/13/-/profile/"},
    {"a short webhook", "at /rest/1/code/placement.get?auth=x",
     "at /rest/1/-/placement.get?auth=x"},
    {"a webhook of letters", "/rest/1/abcdefghijklmnop", "/rest/1/-"},
    {"a webhook with odd letters", "/rest/1/a-b_c.d%41é/x", "/rest/1/-/x"},
    {"a webhook in quotes", "'/rest/1/code' \\\"/rest/22/code\\\"", "'/rest/1/-' '/rest/22/-'"},
    {"a webhook without a code", "/rest/1//x /rest/1/", "/rest/1//x /rest/1/"},
    {"a webhook in a webhook", "/rest/1/rest/2/code/", "/rest/1/-/2/code/"},
    {"no webhook", "/rest/one/code /rest/placement.get /rest//code",
     "/rest/one/code /rest/placement.get /rest//code"},
    {"a long word stays", "Donaudampfschifffahrtsgesellschaft",
     "Donaudampfschifffahrtsgesellschaft"},
    {"Cyrillic", "\\u0414\\u043e\\u0441\\u0442\\u0443\\u043f", "Доступ"},
};

static void detail(void **state)
{
    const struct quoted *row = *state;
    b24bg_rest_result_t result = classify(
        400, apr_psprintf(unit_pool, "{\"error\":\"E\",\"error_description\":\"%s\"}", row->text));

    assert_string_equal(row->detail, result.detail);
}

static void detail_is_cut(void **state)
{
    char text[400];
    b24bg_rest_result_t result;

    (void)state;
    memset(text, '.', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    result =
        classify(400, apr_psprintf(unit_pool, "{\"error\":\"%s\",\"error_description\":\"%s\"}",
                                   text, text));
    assert_int_equal(300, strlen(result.detail));
    assert_int_equal(64, strlen(result.code));
    /* Advice is never cut. */
    result = classify(403, apr_psprintf(unit_pool,
                                        "{\"error\":\"ACCESS_DENIED\","
                                        "\"error_description\":\"%s\"}",
                                        text));
    assert_int_equal(300, strlen(result.detail));
    assert_memory_equal(NOT_BOSS " (..", result.detail, strlen(NOT_BOSS " (.."));
    assert_string_equal("..)", result.detail + 297);
    /* Of a secret across the cut nothing is left. */
    memcpy(text + 280, ACCESS, 64);
    result = classify(
        400, apr_psprintf(unit_pool, "{\"error\":\"E\",\"error_description\":\"%s\"}", text));
    assert_null(strstr(result.detail, "4172"));
    result = classify(401, "{\"error\":\"" ACCESS "\"}");
    assert_string_equal("-", result.code);
}

/* Auth servers */

static const struct server {
    const char *name; /* the endpoint */
    const char *expected;
} servers[] = {
    {"", "https://oauth.bitrix.info"},
    {"https://oauth.bitrix.info/rest/", "https://oauth.bitrix.info"},
    {"https://oauth.bitrix.info", "https://oauth.bitrix.info"},
    {"https://oauth.bitrix.info/", "https://oauth.bitrix.info"},
    {"https://oauth.bitrix.info?x", "https://oauth.bitrix.info"},
    {"https://oauth.bitrix.info:443/rest/", "https://oauth.bitrix.info"},
    {"HTTPS://OAuth.Bitrix.INFO/rest/", "https://oauth.bitrix.info"},
    {"https://oauth.bitrix24.tech/rest/", "https://oauth.bitrix24.tech"},
    {"https://auth.local:8443/rest/", "https://auth.local:8443"},
    {"http://127.0.0.1:8080/rest/", "http://127.0.0.1:8080"},
    {"http://[::1]:8080/rest/", "http://[::1]:8080"},
    {"http://oauth.bitrix.info/rest/", NULL},
    {"http://oauth.bitrix.info:443/rest/", NULL},
    {"https://oauth.bitrix.info:80/rest/", NULL},
    {"https://oauth.bitrix.info:444/rest/", NULL},
    {"https://oauth.bitrix.info:/rest/", NULL},
    {"https://oauth.bitrix.info:000000443/rest/", NULL},
    {"https://oauth.bitrix.info.evil.com/rest/", NULL},
    {"https://evil.com/oauth.bitrix.info/", NULL},
    {"https://oauth.bitrix.info@evil.com/rest/", NULL},
    {"https://evil.com@oauth.bitrix.info/rest/", NULL},
    {"https://evil.com\\@oauth.bitrix.info/rest/", NULL},
    {"https://oauth.bitrix.inf", NULL},
    {"https://oauth.bitrix.info./rest/", NULL},
    {"https://auth.local/rest/", NULL},
    {"//oauth.bitrix.info/rest/", NULL},
    {"oauth.bitrix.info", NULL},
    {"ftp://oauth.bitrix.info/", NULL},
    {"https:oauth.bitrix.info", NULL},
    {"https://", NULL},
    {"https:///", NULL},
    {"https://:443/", NULL},
    {"https", NULL},
    {" https://oauth.bitrix.info/", NULL},
};

static void auth_server(void **state)
{
    const struct server *row = *state;
    const char *found;

    make_app();
    push((apr_array_header_t *)(uintptr_t)app.auth_servers, "https://auth.local:8443");
    push((apr_array_header_t *)(uintptr_t)app.auth_servers, "http://127.0.0.1:8080");
    push((apr_array_header_t *)(uintptr_t)app.auth_servers, "http://[::1]:8080");
    found = b24bg_rest_auth_server(&app, row->name);
    if (row->expected) {
        assert_non_null(found);
        assert_string_equal(row->expected, found);
    } else {
        assert_null(found);
    }
}

static void no_auth_server(void **state)
{
    (void)state;
    make_app();
    assert_string_equal("https://oauth.bitrix.info", b24bg_rest_auth_server(&app, NULL));
    app.auth_servers = apr_array_make(unit_pool, 1, sizeof(const char *));
    assert_null(b24bg_rest_auth_server(&app, NULL));
    assert_null(b24bg_rest_auth_server(&app, ""));
    assert_null(b24bg_rest_auth_server(&app, "https://oauth.bitrix.info"));
}

/* Requests */

static void identity_request(void **state)
{
    b24bg_http_request_t request;

    (void)state;
    make_app();
    assert_int_equal(APR_SUCCESS,
                     b24bg_rest_ask_identity(unit_pool, &app, "https://oauth.bitrix24.tech",
                                             "a-b_c.d~e&f=g+h %\x01\xC3\xA9", &request));
    assert_string_equal("https://oauth.bitrix24.tech/rest/app.info", request.url);
    assert_string_equal("application/x-www-form-urlencoded", request.content_type);
    assert_string_equal("auth=a-b_c.d~e%26f%3Dg%2Bh%20%25%01%C3%A9", request.body);
    assert_int_equal(strlen(request.body), request.length);
    assert_ptr_equal(&app.http, request.options);
}

static void tokens_request(void **state)
{
    b24bg_http_request_t request;

    (void)state;
    make_app();
    assert_int_equal(
        APR_SUCCESS,
        b24bg_rest_ask_tokens(unit_pool, &app, "https://oauth.bitrix.info", REFRESH, &request));
    assert_string_equal("https://oauth.bitrix.info/oauth/token/", request.url);
    assert_int_equal(1, request.must_finish);
    assert_string_equal("application/x-www-form-urlencoded", request.content_type);
    assert_string_equal("grant_type=refresh_token&client_id=" CLIENT
                        "&client_secret=s3cr%26t%2B%3D%25%20%2F%C3%A9&refresh_token=" REFRESH,
                        request.body);
    assert_int_equal(strlen(request.body), request.length);
    assert_ptr_equal(&app.http, request.options);
}

static const struct gate {
    const char *name; /* the server that is asked for */
} gates[] = {{"https://evil.com"},
             {"https://oauth.bitrix.info/"},
             {"https://oauth.bitrix.info/rest/"},
             {"HTTPS://oauth.bitrix.info"},
             {"http://oauth.bitrix.info"},
             {"https://oauth.bitrix.info.evil.com"},
             {"https://oauth.bitrix.inf"},
             {""},
             {NULL}};

static void closed_gate(void **state)
{
    const struct gate *row = *state;
    b24bg_http_request_t request = {"untouched", NULL, NULL, 0, NULL, 0};

    make_app();
    assert_int_equal(APR_EACCES,
                     b24bg_rest_ask_identity(unit_pool, &app, row->name, ACCESS, &request));
    assert_int_equal(APR_EACCES,
                     b24bg_rest_ask_tokens(unit_pool, &app, row->name, REFRESH, &request));
    assert_string_equal("untouched", request.url);
}

static void incomplete_request(void **state)
{
    const char *server = "https://oauth.bitrix.info";
    b24bg_http_request_t request;

    (void)state;
    make_app();
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_identity(unit_pool, &app, server, "", &request));
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_identity(unit_pool, &app, server, NULL, &request));
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_tokens(unit_pool, &app, server, "", &request));
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_tokens(unit_pool, &app, server, NULL, &request));
    app.client_secret = NULL;
    assert_int_equal(APR_EINCOMPLETE,
                     b24bg_rest_ask_tokens(unit_pool, &app, server, REFRESH, &request));
}

/* Identities */

#define INSTALL_HEAD                                                                               \
    "{\"installed\":true,\"version\":\"1\",\"status\":\"L\",\"scope\":\"placement\","
#define IDENTITY_HEAD                                                                              \
    "{\"result\":{\"client_id\":\"" CLIENT "\",\"scope\":\"placement,user_brief\","
#define PORTAL                                                                                     \
    "\"domain\":\"xxx.bitrix24.com\",\"uri\":\"https:\\/\\/xxx.bitrix24.com\","                    \
    "\"client_endpoint\":\"https:\\/\\/xxx.bitrix24.com\\/rest\\/\","
#define INSTALL INSTALL_HEAD PORTAL "\"member_id\":\"" MEMBER "\",\"member_type\":\"new\"}"
/* protocol.md 6.3 */
#define IDENTITY IDENTITY_HEAD "\"expires\":1761993600,\"install\":" INSTALL ",\"user_id\":1}}"

static b24bg_rest_identity_t identity;

static b24bg_rest_result_t read_identity(int status, const char *body)
{
    b24bg_http_answer_t answer = answer_of(status, body, strlen(body));
    b24bg_rest_result_t result;

    memset(&identity, 0, sizeof(identity));
    identity.scope = "untouched";
    b24bg_rest_read_identity(unit_pool, &app, &answer, &identity, &result);
    if (result.class != B24BG_REST_OK) {
        assert_string_equal("untouched", identity.scope);
        assert_true(*result.code != '\0');
    }
    return result;
}

static void documented_identity(void **state)
{
    b24bg_rest_result_t result;

    (void)state;
    make_app();
    result = read_identity(200, IDENTITY);
    assert_int_equal(B24BG_REST_OK, result.class);
    assert_string_equal("", result.code);
    assert_string_equal(CLIENT, identity.client_id);
    assert_string_equal(MEMBER, identity.member_id);
    assert_string_equal("xxx.bitrix24.com", identity.domain);
    assert_string_equal("https://xxx.bitrix24.com/rest/", identity.client_endpoint);
    assert_string_equal("placement,user_brief", identity.scope);
    assert_int_equal(1, identity.user_id);
    assert_true(identity.expires == apr_time_from_sec(1761993600));
}

/* A change of the documented answer: one text is put in the place of another. */
typedef struct {
    const char *name;
    const char *from;
    const char *to;
    b24bg_rest_class_e class;
    const char *code;
} change_t;

#define OK B24BG_REST_OK, ""
#define GARBAGE B24BG_REST_AGAIN, "garbage"
#define OUTSIDE B24BG_REST_WRONG, "outside"
#define FOREIGN B24BG_REST_WRONG_APP, "foreign"

static const change_t identity_changes[] = {
    {"member_id in upper case", MEMBER, "DA45A03B265EDD8787F8A258D793CC5D", OK},
    {"user_id as text", "\"user_id\":1", "\"user_id\":\"1\"", OK},
    {"expires as text", "1761993600", "\"1761993600\"", OK},
    {"no expires", "\"expires\":1761993600,", "", OK},
    {"expires null", "1761993600", "null", OK},
    {"no scope", "\"scope\":\"placement,user_brief\",", "", OK},
    {"empty scope", "\"placement,user_brief\"", "\"\"", OK},
    {"not installed", "\"installed\":true", "\"installed\":false", OK},
    {"unknown members", "\"user_id\":1", "\"user_id\":1,\"x\":{\"y\":[null]}", OK},
    {"domain with a port", "\"xxx.bitrix24.com\"", "\"xxx.bitrix24.com:8443\"", OK},
    {"domain in upper case", "\"xxx.bitrix24.com\"", "\"XXX.Bitrix24.COM\"", OK},

    {"another client", CLIENT, "local.0", FOREIGN},
    {"client in another case", "\"local.", "\"LOCAL.", FOREIGN},
    {"client that begins like ours", CLIENT, CLIENT "x", FOREIGN},

    {"no client", "\"client_id\":\"" CLIENT "\",", "", GARBAGE},
    {"client number", "\"" CLIENT "\"", "7", GARBAGE},
    {"client null", "\"" CLIENT "\"", "null", GARBAGE},
    {"client array", "\"" CLIENT "\"", "[\"" CLIENT "\"]", GARBAGE},
    {"client empty", CLIENT, "", GARBAGE},
    {"no install", "\"install\":", "\"instal\":", GARBAGE},
    {"install array", "\"install\":{", "\"install\":[],\"x\":{", GARBAGE},
    {"install text", "\"install\":{", "\"install\":\"x\",\"x\":{", GARBAGE},
    {"no installed", "\"installed\":true,", "", GARBAGE},
    {"installed number", "\"installed\":true", "\"installed\":1", GARBAGE},
    {"installed text", "\"installed\":true", "\"installed\":\"Y\"", GARBAGE},
    {"installed null", "\"installed\":true", "\"installed\":null", GARBAGE},
    {"no member_id", "\"member_id\"", "\"member\"", GARBAGE},
    {"member_id short", MEMBER, "da45a03b265edd8787f8a258d793cc5", GARBAGE},
    {"member_id long", MEMBER, MEMBER "0", GARBAGE},
    {"member_id not hexadecimal", MEMBER, "ga45a03b265edd8787f8a258d793cc5d", GARBAGE},
    {"member_id number", "\"" MEMBER "\"", "1", GARBAGE},
    {"member_id array", "\"" MEMBER "\"", "[]", GARBAGE},
    {"no domain", "\"domain\"", "\"dom\"", GARBAGE},
    {"domain number", "\"xxx.bitrix24.com\"", "1", GARBAGE},
    {"domain empty", "\"xxx.bitrix24.com\"", "\"\"", GARBAGE},
    {"domain pattern", "\"xxx.bitrix24.com\"", "\"*.bitrix24.com\"", GARBAGE},
    {"domain with a path", "\"xxx.bitrix24.com\"", "\"xxx.bitrix24.com\\/x\"", GARBAGE},
    {"domain with a line end", "\"xxx.bitrix24.com\"", "\"xxx.bitrix24.com\\n\"", GARBAGE},
    {"domain with a user", "\"xxx.bitrix24.com\"", "\"a@xxx.bitrix24.com\"", GARBAGE},
    {"domain with a long port", "\"xxx.bitrix24.com\"", "\"xxx.bitrix24.com:0000000443\"", GARBAGE},
    {"no endpoint", "\"client_endpoint\"", "\"endpoint\"", GARBAGE},
    {"endpoint null", "\"https:\\/\\/xxx.bitrix24.com\\/rest\\/\"", "null", GARBAGE},
    {"endpoint empty", "\"https:\\/\\/xxx.bitrix24.com\\/rest\\/\"", "\"\"", GARBAGE},
    {"endpoint with a line end", "\\/rest\\/", "\\/rest\\/\\n", GARBAGE},
    {"no user_id", ",\"user_id\":1", "", GARBAGE},
    {"user_id null", "\"user_id\":1", "\"user_id\":null", GARBAGE},
    {"user_id negative", "\"user_id\":1", "\"user_id\":-1", GARBAGE},
    {"user_id broken", "\"user_id\":1", "\"user_id\":1.5", GARBAGE},
    {"user_id true", "\"user_id\":1", "\"user_id\":true", GARBAGE},
    {"user_id word", "\"user_id\":1", "\"user_id\":\"one\"", GARBAGE},
    {"user_id empty", "\"user_id\":1", "\"user_id\":\"\"", GARBAGE},
    {"user_id with a blank", "\"user_id\":1", "\"user_id\":\" 1\"", GARBAGE},
    {"user_id with a sign", "\"user_id\":1", "\"user_id\":\"+1\"", GARBAGE},
    {"user_id beyond", "\"user_id\":1", "\"user_id\":\"9223372036854775808\"", GARBAGE},
    {"expires negative", "1761993600", "-1", GARBAGE},
    {"expires broken", "1761993600", "1761993600.5", GARBAGE},
    {"expires in milliseconds", "1761993600", "1761993600000", GARBAGE},
    {"expires huge", "1761993600", "9223372036854775807", GARBAGE},
    {"expires object", "1761993600", "{}", GARBAGE},
    {"scope array", "\"placement,user_brief\"", "[\"placement\"]", GARBAGE},
    {"scope number", "\"placement,user_brief\"", "1", GARBAGE},
    {"scope with a line end", "placement,user_brief", "placement\\n", GARBAGE},
    {"result array", "{\"result\":{", "{\"result\":[],\"x\":{", GARBAGE},
    {"result text", "{\"result\":{", "{\"result\":\"x\",\"x\":{", GARBAGE},
    {"result null", "{\"result\":{", "{\"result\":null,\"x\":{", GARBAGE},
    {"no result", "{\"result\":{", "{\"x\":{", GARBAGE},
    {"domain twice", PORTAL, PORTAL PORTAL, GARBAGE},
    {"client_id twice", "\"user_id\":1", "\"client_id\":\"x\"", GARBAGE},

    {"endpoint of another host", "\\/\\/xxx.bitrix24.com\\/rest", "\\/\\/yyy.bitrix24.com\\/rest",
     OUTSIDE},
    {"endpoint of a host below", "\\/\\/xxx.bitrix24.com\\/rest", "\\/\\/a.xxx.bitrix24.com\\/rest",
     OUTSIDE},
    {"domain of another host", "\"xxx.bitrix24.com\"", "\"yyy.bitrix24.com\"", OUTSIDE},
};

static void changed_identity(void **state)
{
    const change_t *row = *state;
    b24bg_rest_result_t result;

    make_app();
    result = read_identity(200, changed(IDENTITY, row->from, row->to));
    assert_int_equal(row->class, result.class);
    assert_string_equal(row->code, result.code);
    if (row->class == B24BG_REST_OK) {
        assert_string_equal(MEMBER, identity.member_id);
        assert_string_equal("https://xxx.bitrix24.com/rest/", identity.client_endpoint);
        assert_memory_equal("xxx.bitrix24.com", identity.domain, 16);
        assert_int_equal(1, identity.user_id);
    }
}

static void identity_details(void **state)
{
    (void)state;
    make_app();
    read_identity(200, changed(IDENTITY, "\"expires\":1761993600,", ""));
    assert_true(identity.expires == 0);
    read_identity(200, changed(IDENTITY, "\"xxx.bitrix24.com\"", "\"xxx.bitrix24.com:8443\""));
    assert_string_equal("xxx.bitrix24.com:8443", identity.domain);
    read_identity(200, changed(IDENTITY, "\"user_id\":1", "\"user_id\":\"9007199254740993\""));
    assert_true(identity.user_id == APR_INT64_C(9007199254740993));
    app.client_id = NULL;
    assert_int_equal(B24BG_REST_WRONG_APP, read_identity(200, IDENTITY).class);
}

static const struct refusal {
    const char *name;
    int status;
    const char *body;
    b24bg_rest_class_e class;
    const char *code;
} refusals[] = {
    {"bad token", 400, "{\"error\":\"invalid_client\",\"error_description\":\"x\"}",
     B24BG_REST_NO_TOKEN, "invalid_client"},
    {"bad token, other case", 401, "{\"error\":\"INVALID_CLIENT\"}", B24BG_REST_NO_TOKEN,
     "INVALID_CLIENT"},
    {"expired", 401, "{\"error\":\"expired_token\"}", B24BG_REST_EXPIRED, "expired_token"},
    {"unknown token", 401, "{\"error\":\"invalid_token\"}", B24BG_REST_NO_TOKEN, "invalid_token"},
    {"error beside a result", 200, "{\"error\":\"invalid_token\"," TIME_JSON "}",
     B24BG_REST_NO_TOKEN, "invalid_token"},
    {"server down", 502, "<html>", B24BG_REST_AGAIN, "http"},
    {"an identity with 500", 500, IDENTITY, B24BG_REST_AGAIN, "http"},
    {"an identity with 404", 404, IDENTITY, B24BG_REST_WRONG, "http"},
    {"garbage", 200, "OK", B24BG_REST_AGAIN, "garbage"},
};

static void refused_identity(void **state)
{
    const struct refusal *row = *state;
    b24bg_rest_result_t result;

    make_app();
    result = read_identity(row->status, row->body);
    assert_int_equal(row->class, result.class);
    assert_string_equal(row->code, result.code);
}

static void identity_without_answer(void **state)
{
    b24bg_http_answer_t answer = {B24BG_HTTP_FAILED, 0, "", 0, NULL, "Timeout was reached"};
    b24bg_rest_result_t result;

    (void)state;
    make_app();
    b24bg_rest_read_identity(unit_pool, &app, &answer, &identity, &result);
    assert_int_equal(B24BG_REST_AGAIN, result.class);
    assert_string_equal("network", result.code);
}

/* Endpoints. The domain of the identity is made to fit, so that only the endpoint decides. */

enum { CLOSED = 1, ANY = 2 }; /* B24bgAllowHTTP off, on; both where it does not matter */

static const struct endpoint {
    const char *name; /* the endpoint */
    const char *host; /* for the domain */
    int good;         /* in which of the two */
    const char *url;  /* what it becomes, if not itself */
} endpoints[] = {
    {"https://xxx.bitrix24.com/rest/", "xxx.bitrix24.com", CLOSED | ANY, NULL},
    {"HTTPS://XXX.Bitrix24.com/rest/", "xxx.bitrix24.com", CLOSED | ANY,
     "https://xxx.bitrix24.com/rest/"},
    {"https://xxx.bitrix24.com:443/rest/", "xxx.bitrix24.com", CLOSED | ANY,
     "https://xxx.bitrix24.com/rest/"},
    {"https://crm.example.com:8443/rest/", "crm.example.com", CLOSED | ANY, NULL},
    {"https://crm.example.com:08443/rest/", "crm.example.com", CLOSED | ANY,
     "https://crm.example.com:8443/rest/"},
    {"https://crm.example.com/b24/rest/", "crm.example.com", CLOSED | ANY, NULL},
    {"https://bitrix/rest/", "bitrix", CLOSED | ANY, NULL},
    {"http://crm.example.com/rest/", "crm.example.com", ANY, NULL},
    {"http://crm.example.com:80/rest/", "crm.example.com", ANY, "http://crm.example.com/rest/"},
    {"http://crm.example.com:443/rest/", "crm.example.com", ANY, NULL},
    {"http://127.0.0.1:8080/rest/", "127.0.0.1", ANY, NULL},
    {"https://127.0.0.1/rest/", "127.0.0.1", ANY, NULL},
    {"https://10.1.2.3/rest/", "10.1.2.3", ANY, NULL},
    {"https://127.1/rest/", "127.1", ANY, NULL},
    {"https://2130706433/rest/", "2130706433", ANY, NULL},
    {"https://0x7f000001/rest/", "0x7f000001", ANY, NULL},
    {"https://0x7f.1/rest/", "0x7f.1", ANY, NULL},
    {"https://0X7F000001/rest/", "0x7f000001", ANY, "https://0x7f000001/rest/"},
    {"https://127.0.0.0x1/rest/", "127.0.0.0x1", ANY, NULL},
    {"https://localhost/rest/", "localhost", ANY, NULL},
    {"https://LocalHost:8443/rest/", "localhost", ANY, "https://localhost:8443/rest/"},
    {"https://a.localhost/rest/", "a.localhost", ANY, NULL},
    {"https://notlocalhost/rest/", "notlocalhost", CLOSED | ANY, NULL},
    {"https://[::1]/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://[::ffff:127.0.0.1]/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/rest", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.comrest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/REST/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/restx/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/xrest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/rest/x", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/rest/?/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/rest/#/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com?/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com#/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com//rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/../rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/./rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/%2e%2e/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/a b/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/\\\\evil/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com\\\\@evil.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://user@xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://user:pw@xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://@xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://evil.com@xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com@evil.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com./rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://.xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx..bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://*.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com%00.evil.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:0/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:65536/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:99999/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:000443/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:4294967739/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:80:443/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com:-1/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://443/rest/", "443", ANY, NULL},
    {"https://:443/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https:///rest/", "xxx.bitrix24.com", 0, NULL},
    {"https:/rest/", "xxx.bitrix24.com", 0, NULL},
    {"//xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"ftp://xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"file:///rest/", "xxx.bitrix24.com", 0, NULL},
    {"javascript:/rest/", "xxx.bitrix24.com", 0, NULL},
    {" https://xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://xxx.bitrix24.com/\xC3\xA9/rest/", "xxx.bitrix24.com", 0, NULL},
    {"https://\xD0\xB0.bitrix24.com/rest/", "xxx.bitrix24.com", 0, NULL},
    {"/rest/", "xxx.bitrix24.com", 0, NULL},
};

static const char *identity_at(const char *url, const char *domain)
{
    return changed(changed(IDENTITY, "https:\\/\\/xxx.bitrix24.com\\/rest\\/", url),
                   "\"xxx.bitrix24.com\"", apr_psprintf(unit_pool, "\"%s\"", domain));
}

static void endpoint(void **state)
{
    const struct endpoint *row = *state;
    int allow;

    make_app();
    for (allow = 0; allow <= 1; allow++) {
        b24bg_rest_result_t result;
        app.http.allow_http = allow;
        result = read_identity(200, identity_at(row->name, row->host));
        if (row->good & (allow ? ANY : CLOSED)) {
            assert_int_equal(B24BG_REST_OK, result.class);
            assert_string_equal(row->url ? row->url : row->name, identity.client_endpoint);
        } else {
            assert_int_equal(B24BG_REST_WRONG, result.class);
            assert_string_equal("outside", result.code);
        }
    }
}

static void endpoint_length(void **state)
{
    char url[600] = "https://xxx.bitrix24.com/";
    apr_size_t start = strlen(url);

    (void)state;
    make_app();
    memset(url + start, 'a', 512 - start - 6);
    strcpy(url + 512 - 6, "/rest/");
    assert_int_equal(B24BG_REST_OK, read_identity(200, identity_at(url, "xxx.bitrix24.com")).class);
    memset(url + start, 'a', 513 - start - 6);
    strcpy(url + 513 - 6, "/rest/");
    assert_int_equal(B24BG_REST_WRONG,
                     read_identity(200, identity_at(url, "xxx.bitrix24.com")).class);
}

static const struct pattern {
    const char *name; /* the pattern */
    const char *url;
    const char *domain;
    int good;
} patterns[] = {
    {"*.bitrix24.com", "https://xxx.bitrix24.com/rest/", "xxx.bitrix24.com", 1},
    {"*.bitrix24.com", "https://a.b.bitrix24.com:8443/rest/", "a.b.bitrix24.com", 1},
    {"*.bitrix24.com", "https://bitrix24.com/rest/", "bitrix24.com", 0},
    {"*.bitrix24.com", "https://xbitrix24.com/rest/", "xbitrix24.com", 0},
    {"*.bitrix24.com", "https://xxx.bitrix24.com.evil.org/rest/", "xxx.bitrix24.com.evil.org", 0},
    {"crm.example.com", "https://crm.example.com/rest/", "crm.example.com:8443", 1},
    {"crm.example.com", "https://CRM.example.com:8443/rest/", "crm.example.com", 1},
    {"crm.example.com:8443", "https://crm.example.com:8443/rest/", "crm.example.com", 1},
    {"crm.example.com:443", "https://crm.example.com/rest/", "crm.example.com", 1},
    {"crm.example.com:8443", "https://crm.example.com/rest/", "crm.example.com:8443", 0},
    {"crm.example.com:8443", "https://crm.example.com:18443/rest/", "crm.example.com", 0},
};

static void portal_pattern(void **state)
{
    const struct pattern *row = *state;
    apr_array_header_t *portals = apr_array_make(unit_pool, 2, sizeof(const char *));

    make_app();
    push(portals, "nobody.example.org");
    push(portals, row->name);
    app.portals = portals;
    assert_int_equal(row->good ? B24BG_REST_OK : B24BG_REST_WRONG,
                     read_identity(200, identity_at(row->url, row->domain)).class);
}

/* Tokens */

#define NOW apr_time_from_sec(1700000000)
/* protocol.md 5.2 */
#define TOKENS                                                                                     \
    "{\"access_token\":\"" ACCESS "\",\"client_endpoint\":\"https:\\/\\/xxx.bitrix24.com\\/rest"   \
    "\\/\",\"domain\":\"oauth.bitrix.info\",\"expires\":1761993600,\"expires_in\":3600,"           \
    "\"member_id\":\"" MEMBER "\",\"refresh_token\":\"" REFRESH "\",\"scope\":\"placement,"        \
    "user_brief\",\"server_endpoint\":\"https:\\/\\/oauth.bitrix.info\\/rest\\/\","                \
    "\"status\":\"L\",\"user_id\":1}"

static b24bg_rest_tokens_t tokens;

static b24bg_rest_result_t read_tokens(int status, const char *body)
{
    b24bg_http_answer_t answer = answer_of(status, body, strlen(body));
    b24bg_rest_result_t result;

    memset(&tokens, 0, sizeof(tokens));
    tokens.access_token = "untouched";
    b24bg_rest_read_tokens(unit_pool, &answer, NOW, &tokens, &result);
    if (result.class != B24BG_REST_OK) {
        assert_string_equal("untouched", tokens.access_token);
    }
    assert_null(strstr(result.detail, ACCESS));
    assert_null(strstr(result.detail, REFRESH));
    return result;
}

static void documented_tokens(void **state)
{
    (void)state;
    make_app();
    assert_int_equal(B24BG_REST_OK, read_tokens(200, TOKENS).class);
    assert_string_equal(ACCESS, tokens.access_token);
    assert_string_equal(REFRESH, tokens.refresh_token);
    assert_string_equal(MEMBER, tokens.member_id);
    assert_true(tokens.expires == apr_time_from_sec(1761993600));
}

static const change_t token_changes[] = {
    {"no user_id", ",\"user_id\":1", "", OK},
    {"user_id object", "\"user_id\":1", "\"user_id\":{}", OK},
    {"no scope", "\"scope\":\"placement,user_brief\",", "", OK},
    {"scope array", "\"placement,user_brief\"", "[]", OK},
    {"no status", "\"status\":\"L\",", "", OK},
    {"status number", "\"L\"", "1", OK},
    {"no domain", "\"domain\":\"oauth.bitrix.info\",", "", OK},
    {"no endpoint", "\"client_endpoint\"", "\"endpoint\"", OK},
    {"endpoint number", "\"https:\\/\\/xxx.bitrix24.com\\/rest\\/\"", "1", OK},
    {"endpoint loopback", "xxx.bitrix24.com", "127.0.0.1", OK},
    {"endpoint a script", "https:\\/\\/xxx.bitrix24.com\\/rest\\/", "javascript:alert(1)", OK},
    {"member_id in upper case", MEMBER, "DA45A03B265EDD8787F8A258D793CC5D", OK},
    {"unknown members", "\"user_id\":1", "\"user_id\":1,\"x\":[[{}]]", OK},

    {"no access_token", "\"access_token\"", "\"access\"", GARBAGE},
    {"access_token empty", ACCESS, "", GARBAGE},
    {"access_token number", "\"" ACCESS "\"", "1", GARBAGE},
    {"access_token null", "\"" ACCESS "\"", "null", GARBAGE},
    {"access_token with a blank", ACCESS, "a b", GARBAGE},
    {"access_token with a line end", ACCESS, "a\\r\\nX: y", GARBAGE},
    {"access_token not ASCII", ACCESS, "\xC3\xA9", GARBAGE},
    {"access_token escaped NUL", ACCESS, "a\\u0000b", GARBAGE},
    {"no refresh_token", "\"refresh_token\"", "\"refresh\"", GARBAGE},
    {"refresh_token empty", REFRESH, "", GARBAGE},
    {"refresh_token array", "\"" REFRESH "\"", "[]", GARBAGE},
    {"refresh_token with a tab", REFRESH, "a\\tb", GARBAGE},
    {"no member_id", "\"member_id\"", "\"member\"", GARBAGE},
    {"member_id short", MEMBER, "da45", GARBAGE},
    {"access_token twice", "\"status\":\"L\"", "\"access_token\":\"x\"", GARBAGE},
};

static void changed_tokens(void **state)
{
    const change_t *row = *state;
    b24bg_rest_result_t result;

    make_app();
    result = read_tokens(200, changed(TOKENS, row->from, row->to));
    assert_int_equal(row->class, result.class);
    assert_string_equal(row->code, result.code);
    if (row->class == B24BG_REST_OK) {
        assert_string_equal(ACCESS, tokens.access_token);
        assert_string_equal(MEMBER, tokens.member_id);
    }
}

static const struct expiry {
    const char *name;
    const char *members;
    apr_int64_t seconds;
} expiries[] = {
    {"both", "\"expires\":1761993600,\"expires_in\":3600", 1761993600},
    {"only expires", "\"expires\":1761993600", 1761993600},
    {"only expires_in", "\"expires_in\":3600", 1700003600},
    {"expires_in as text", "\"expires_in\":\"3600\"", 1700003600},
    {"expires_in 0", "\"expires_in\":0", 1700000000},
    {"expires null", "\"expires\":null,\"expires_in\":3600", 1700003600},
    {"expires 0", "\"expires\":0,\"expires_in\":3600", 1700003600},
    {"neither", "\"x\":1", 0},
    {"expires text", "\"expires\":\"soon\",\"expires_in\":3600", 1700003600},
    {"expires negative", "\"expires\":-1,\"expires_in\":3600", 1700003600},
    {"expires true", "\"expires\":true,\"expires_in\":3600", 1700003600},
    {"expires_in object", "\"expires_in\":{}", 0},
    {"expires_in huge", "\"expires_in\":9223372036854775807", 0},
    {"the last second", "\"expires\":253402300799", 253402300799},
    {"expires_in to the last", "\"expires_in\":253402300799", 253402300799 + 1700000000},
};

static void expiry(void **state)
{
    const struct expiry *row = *state;

    make_app();
    assert_int_equal(B24BG_REST_OK,
                     read_tokens(200, changed(TOKENS, "\"expires\":1761993600,\"expires_in\":3600",
                                              row->members))
                         .class);
    assert_true(tokens.expires == apr_time_from_sec(row->seconds));
}

static void token_length(void **state)
{
    char longest[B24BG_HTTP_LOW_SPEED_BYTES * 100];

    (void)state;
    make_app();
    memset(longest, 'a', sizeof(longest));
    longest[512] = '\0';
    assert_int_equal(B24BG_REST_OK, read_tokens(200, changed(TOKENS, ACCESS, longest)).class);
    assert_string_equal(longest, tokens.access_token);
    longest[512] = 'a';
    longest[513] = '\0';
    assert_int_equal(B24BG_REST_AGAIN, read_tokens(200, changed(TOKENS, ACCESS, longest)).class);
}

static void tokens_refused(void **state)
{
    (void)state;
    make_app();
    assert_int_equal(B24BG_REST_WRONG_APP, read_tokens(200, "{\"error\":\"wrong_client\"}").class);
    assert_int_equal(B24BG_REST_WRONG_APP,
                     read_tokens(400, "{\"error\":\"invalid_client\"}").class);
    assert_int_equal(B24BG_REST_NO_TOKEN, read_tokens(400, "{\"error\":\"invalid_grant\"}").class);
    assert_int_equal(B24BG_REST_WRONG_APP,
                     read_tokens(200, changed(TOKENS, "{", "{\"error\":\"wrong_client\",")).class);
    assert_int_equal(B24BG_REST_AGAIN, read_tokens(500, TOKENS).class);
    assert_int_equal(B24BG_REST_AGAIN, read_tokens(200, IDENTITY).class);
    assert_int_equal(B24BG_REST_AGAIN, read_identity(200, TOKENS).class);
}

/* Large and deep */

static void try_all(const char *body, apr_size_t length)
{
    static const int statuses[] = {200, 302, 401, 500};
    b24bg_http_answer_t answer = answer_of(200, body, length);
    b24bg_rest_result_t result;
    apr_size_t i;

    for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        answer.status = statuses[i];
        b24bg_rest_classify(unit_pool, &answer, &result);
        assert_true(strlen(result.detail) <= 300 && strlen(result.code) <= 64);
        b24bg_rest_read_identity(unit_pool, &app, &answer, &identity, &result);
        assert_true(strlen(result.detail) <= 300);
        b24bg_rest_read_tokens(unit_pool, &answer, NOW, &tokens, &result);
        assert_true(strlen(result.detail) <= 300);
    }
}

static void deep_answers(void **state)
{
    static char body[B24BG_HTTP_ANSWER_MAX];
    b24bg_http_answer_t answer;
    b24bg_rest_result_t result;

    (void)state;
    make_app();
    memset(body, '[', sizeof(body));
    try_all(body, sizeof(body));
    memcpy(body, "{\"result\":", 10);
    try_all(body, sizeof(body));
    answer = answer_of(200, body, sizeof(body));
    b24bg_rest_classify(unit_pool, &answer, &result);
    assert_string_equal("garbage", result.code);
}

static void huge_answers(void **state)
{
    static char body[B24BG_HTTP_ANSWER_MAX + 1];
    b24bg_rest_result_t result;

    (void)state;
    make_app();
    memset(body, 'x', B24BG_HTTP_ANSWER_MAX);
    memcpy(body, "{\"error\":\"", 10);
    memcpy(body + B24BG_HTTP_ANSWER_MAX - 2, "\"}", 2);
    result = classify(400, body);
    assert_int_equal(B24BG_REST_WRONG, result.class);
    assert_int_equal(64, strlen(result.code));
    try_all(body, B24BG_HTTP_ANSWER_MAX);
    memcpy(body, "{\"result\":\"", 11);
    try_all(body, B24BG_HTTP_ANSWER_MAX);
}

/* Every way to cut the documented answers short, and every byte of them replaced. */
static void damaged_answers(void **state)
{
    static const char *const samples[] = {
        IDENTITY, TOKENS, "{\"error\":\"expired_token\",\"error_description\":\"x\"}"};
    static const char bytes[] = {'\0', '"', '{', '}', '[', ',', ':', '\\', '0', '\x80', '\xFF'};
    apr_size_t i, at, byte;

    (void)state;
    make_app();
    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        apr_size_t length = strlen(samples[i]);
        for (at = 0; at < length; at++) {
            char *copy = apr_pstrdup(unit_pool, samples[i]);
            assert_string_not_equal("", classify(200, apr_pstrmemdup(unit_pool, copy, at)).code);
            for (byte = 0; byte < sizeof(bytes); byte++) {
                copy[at] = bytes[byte];
                try_all(copy, length);
            }
        }
    }
}

int main(void)
{
    UNIT_ADD_ROWS(error_code, codes);
    UNIT_ADD_ROWS(error_code_in_disguise, codes);
    UNIT_ADD_ROWS(answer_without_code, plain);
    UNIT_ADD(no_answer);
    UNIT_ADD(renamed_portal);
    UNIT_ADD_ROWS(detail, quoted);
    UNIT_ADD(detail_is_cut);
    UNIT_ADD_ROWS(auth_server, servers);
    UNIT_ADD(no_auth_server);
    UNIT_ADD(identity_request);
    UNIT_ADD(tokens_request);
    UNIT_ADD_ROWS(closed_gate, gates);
    UNIT_ADD(incomplete_request);
    UNIT_ADD(documented_identity);
    UNIT_ADD_ROWS(changed_identity, identity_changes);
    UNIT_ADD(identity_details);
    UNIT_ADD_ROWS(refused_identity, refusals);
    UNIT_ADD(identity_without_answer);
    UNIT_ADD_ROWS(endpoint, endpoints);
    UNIT_ADD(endpoint_length);
    UNIT_ADD_ROWS(portal_pattern, patterns);
    UNIT_ADD(documented_tokens);
    UNIT_ADD_ROWS(changed_tokens, token_changes);
    UNIT_ADD_ROWS(expiry, expiries);
    UNIT_ADD(token_length);
    UNIT_ADD(tokens_refused);
    UNIT_ADD(deep_answers);
    UNIT_ADD(huge_answers);
    UNIT_ADD(damaged_answers);
    return unit_run("rest");
}
