/* b24bg_rest_placement: protocol.md 4.2 to 4.8, 4.12. */
#include "rest.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <string.h>

#define ACCESS "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
#define ENDPOINT "https://xxx.bitrix24.com/rest/"
#define CODE "9cybrkhzxxf28zl4"
#define WEBHOOK "https://xxx.bitrix24.com/rest/13/" CODE "/"
#define HANDLER "https://app.example.com/b24/worker"
#define ERROR_URL "https://app.example.com/b24/error/k7Qm"
#define TIME_JSON                                                                                  \
    "\"time\":{\"start\":1712132792.910734,\"finish\":1712132793.530359,"                          \
    "\"duration\":0.6196250915527344,\"processing\":0.032338857650756836,"                         \
    "\"date_start\":\"2024-04-03T10:26:32+02:00\",\"date_finish\":\"2024-04-03T10:26:33+02:00\","  \
    "\"operating_reset_at\":1705765533,\"operating\":3.3076241016387939}"

static b24bg_rest_app_t app;

/* The portal of most tests; they change what they need. */
static b24bg_rest_portal_t make_portal(void)
{
    b24bg_rest_portal_t portal = {&app, ENDPOINT, ACCESS};

    memset(&app, 0, sizeof(app));
    app.client_id = "local.65a1b2c3d4e5f6.12345678";
    app.auth_servers = apr_array_make(unit_pool, 1, sizeof(const char *));
    app.portals = apr_array_make(unit_pool, 1, sizeof(const char *));
    return portal;
}

/* Requests */

static void check_request(const b24bg_http_request_t *request, const char *url, const char *body)
{
    assert_string_equal(url, request->url);
    assert_string_equal("application/x-www-form-urlencoded", request->content_type);
    assert_string_equal(body, request->body);
    assert_int_equal(strlen(body), request->length);
    assert_ptr_equal(&app.http, request->options);
}

static void reading_requests(void **state)
{
    b24bg_rest_portal_t portal = make_portal();
    b24bg_http_request_t request;

    (void)state;
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_rows(unit_pool, &portal, &request));
    check_request(&request, ENDPOINT "placement.get", "auth=" ACCESS);
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_placements(unit_pool, &portal, &request));
    check_request(&request, ENDPOINT "placement.list", "auth=" ACCESS);
    assert_int_equal(APR_SUCCESS,
                     b24bg_rest_ask_profile(unit_pool, &app, ENDPOINT, ACCESS, &request));
    check_request(&request, ENDPOINT "profile", "auth=" ACCESS);
    portal.access_token = "a-b_c.d~e&f=g+h %\x01\xC3\xA9";
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_rows(unit_pool, &portal, &request));
    check_request(&request, ENDPOINT "placement.get", "auth=a-b_c.d~e%26f%3Dg%2Bh%20%25%01%C3%A9");
    portal.endpoint = "HTTPS://CRM.example.com:08443/b24/rest/";
    portal.access_token = "x";
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_rows(unit_pool, &portal, &request));
    check_request(&request, "https://crm.example.com:8443/b24/rest/placement.get", "auth=x");
}

static const struct bind {
    const char *name;
    b24bg_rest_binding_t binding;
    const char *body;
} binds[] = {
    /* protocol.md 4.4 */
    {"documented",
     {HANDLER, ERROR_URL, "My worker", 0},
     "PLACEMENT=PAGE_BACKGROUND_WORKER"
     "&HANDLER=https%3A%2F%2Fapp.example.com%2Fb24%2Fworker"
     "&OPTIONS%5BerrorHandlerUrl%5D=https%3A%2F%2Fapp.example.com%2Fb24%2Ferror%2Fk7Qm"
     "&TITLE=My%20worker&auth=" ACCESS},
    {"without a title",
     {HANDLER, ERROR_URL, NULL, 0},
     "PLACEMENT=PAGE_BACKGROUND_WORKER"
     "&HANDLER=https%3A%2F%2Fapp.example.com%2Fb24%2Fworker"
     "&OPTIONS%5BerrorHandlerUrl%5D=https%3A%2F%2Fapp.example.com%2Fb24%2Ferror%2Fk7Qm"
     "&auth=" ACCESS},
    {"empty title",
     {HANDLER, ERROR_URL, "", 0},
     "PLACEMENT=PAGE_BACKGROUND_WORKER"
     "&HANDLER=https%3A%2F%2Fapp.example.com%2Fb24%2Fworker"
     "&OPTIONS%5BerrorHandlerUrl%5D=https%3A%2F%2Fapp.example.com%2Fb24%2Ferror%2Fk7Qm"
     "&auth=" ACCESS},
    {"personal, with a query",
     {HANDLER "?type=1&x=a%20b&u=7", ERROR_URL, "", 7},
     "PLACEMENT=PAGE_BACKGROUND_WORKER"
     "&HANDLER=https%3A%2F%2Fapp.example.com%2Fb24%2Fworker%3Ftype%3D1%26x%3Da%2520b%26u%3D7"
     "&OPTIONS%5BerrorHandlerUrl%5D=https%3A%2F%2Fapp.example.com%2Fb24%2Ferror%2Fk7Qm"
     "&USER_ID=7&auth=" ACCESS},
    {"everything that a form could take apart",
     {"https://h.x/?a[b]=c&d+e;f#g", "https://h.x/&auth=x&USER_ID=1", "&TITLE=\xC3\xA9=\"\r\n%00",
      APR_INT64_C(9223372036854775807)},
     "PLACEMENT=PAGE_BACKGROUND_WORKER"
     "&HANDLER=https%3A%2F%2Fh.x%2F%3Fa%5Bb%5D%3Dc%26d%2Be%3Bf%23g"
     "&OPTIONS%5BerrorHandlerUrl%5D=https%3A%2F%2Fh.x%2F%26auth%3Dx%26USER_ID%3D1"
     "&TITLE=%26TITLE%3D%C3%A9%3D%22%0D%0A%2500"
     "&USER_ID=9223372036854775807&auth=" ACCESS},
};

static void bind_request(void **state)
{
    const struct bind *row = *state;
    b24bg_rest_portal_t portal = make_portal();
    b24bg_http_request_t request;

    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_bind(unit_pool, &portal, &row->binding, &request));
    check_request(&request, ENDPOINT "placement.bind", row->body);
}

/* What the portal decodes is what was asked for, whatever it is. */
static void bind_decoded(void **state)
{
    b24bg_rest_portal_t portal = make_portal();
    b24bg_rest_binding_t binding = {NULL, NULL, NULL, 7};
    b24bg_http_request_t request;
    char text[256];
    b24bg_form_t form;
    int i;

    (void)state;
    for (i = 1; i < 256; i++) {
        text[i - 1] = (char)i;
    }
    text[255] = '\0';
    binding.handler = binding.error_url = binding.title = portal.access_token = text;
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_bind(unit_pool, &portal, &binding, &request));
    assert_int_equal(B24BG_FORM_OK,
                     b24bg_form_parse(unit_pool, apr_pstrdup(unit_pool, request.body),
                                      request.length, B24BG_FORM_REFUSE_TWICE, &form));
    assert_int_equal(6, apr_table_elts(form.fields)->nelts);
    assert_string_equal("PAGE_BACKGROUND_WORKER", b24bg_form_get(form.fields, "PLACEMENT"));
    assert_string_equal(text, b24bg_form_get(form.fields, "HANDLER"));
    assert_string_equal(text, b24bg_form_get(form.fields, "OPTIONS[errorHandlerUrl]"));
    assert_string_equal(text, b24bg_form_get(form.fields, "TITLE"));
    assert_string_equal("7", b24bg_form_get(form.fields, "USER_ID"));
    assert_string_equal(text, b24bg_form_get(form.fields, "auth"));
}

static void unbind_request(void **state)
{
    b24bg_rest_portal_t portal = make_portal();
    b24bg_rest_row_t row = {0, HANDLER "?type=1&u=0", ERROR_URL, 3};
    b24bg_http_request_t request;

    (void)state;
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_unbind(unit_pool, &portal, &row, &request));
    check_request(&request, ENDPOINT "placement.unbind",
                  "PLACEMENT=PAGE_BACKGROUND_WORKER"
                  "&HANDLER=https%3A%2F%2Fapp.example.com%2Fb24%2Fworker%3Ftype%3D1%26u%3D0"
                  "&USER_ID=0&auth=" ACCESS);
    row.user_id = 8;
    row.handler = "x";
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_unbind(unit_pool, &portal, &row, &request));
    check_request(&request, ENDPOINT "placement.unbind",
                  "PLACEMENT=PAGE_BACKGROUND_WORKER&HANDLER=x&USER_ID=8&auth=" ACCESS);
}

/* All five: rows, placements, bind, unbind, profile. */
static void ask_all(const b24bg_rest_portal_t *portal, apr_status_t reading, apr_status_t writing)
{
    static const b24bg_rest_binding_t binding = {HANDLER, ERROR_URL, "", 0};
    static const b24bg_rest_row_t row = {0, HANDLER, "", -1};
    b24bg_http_request_t request = {"untouched", NULL, NULL, 0, NULL, 0};

    assert_int_equal(writing, b24bg_rest_ask_bind(unit_pool, portal, &binding, &request));
    assert_int_equal(writing, b24bg_rest_ask_unbind(unit_pool, portal, &row, &request));
    assert_int_equal(writing, b24bg_rest_ask_profile(unit_pool, portal->app, portal->endpoint,
                                                     portal->access_token, &request));
    assert_true(writing == APR_SUCCESS || strcmp("untouched", request.url) == 0);
    request.url = "untouched";
    assert_int_equal(reading, b24bg_rest_ask_rows(unit_pool, portal, &request));
    assert_int_equal(reading, b24bg_rest_ask_placements(unit_pool, portal, &request));
    assert_true(reading == APR_SUCCESS || strcmp("untouched", request.url) == 0);
}

static void incomplete_request(void **state)
{
    b24bg_rest_portal_t portal = make_portal();
    b24bg_rest_binding_t binding = {HANDLER, ERROR_URL, "", 0};
    b24bg_rest_row_t row = {0, "", "", -1};
    b24bg_http_request_t request = {"untouched", NULL, NULL, 0, NULL, 0};

    (void)state;
    binding.handler = "";
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_bind(unit_pool, &portal, &binding, &request));
    binding.handler = NULL;
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_bind(unit_pool, &portal, &binding, &request));
    binding.handler = HANDLER;
    binding.error_url = "";
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_bind(unit_pool, &portal, &binding, &request));
    binding.error_url = NULL;
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_bind(unit_pool, &portal, &binding, &request));
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_unbind(unit_pool, &portal, &row, &request));
    row.handler = NULL;
    assert_int_equal(APR_EINVAL, b24bg_rest_ask_unbind(unit_pool, &portal, &row, &request));
    assert_string_equal("untouched", request.url);
    ask_all(&portal, APR_SUCCESS, APR_SUCCESS);
    portal.access_token = "";
    ask_all(&portal, APR_EINVAL, APR_EINVAL);
    portal.access_token = NULL;
    ask_all(&portal, APR_EINVAL, APR_EINVAL);
    portal.endpoint = NULL;
    ask_all(&portal, APR_EACCES, APR_EACCES);
}

/* The gate itself is tried in test_rest.c; here, that every call goes through it. */
static const struct gate {
    const char *name; /* the endpoint */
} gates[] = {{"http://xxx.bitrix24.com/rest/"},
             {"https://yyy.bitrix24.com/rest/"},
             {"https://127.0.0.1/rest/"},
             {"https://xxx.bitrix24.com/"},
             {"https://evil.com/xxx.bitrix24.com/rest/"},
             {"https://xxx.bitrix24.com@evil.com/rest/"},
             {"https://xxx.bitrix24.com.evil.com/rest/"},
             {"http://xxx.bitrix24.com/rest/1/" CODE "/"},
             {"https://yyy.bitrix24.com/rest/1/" CODE "/"},
             {"https://localhost/rest/1/" CODE "/"},
             {"https://xxx.bitrix24.com/rest/1/" CODE},
             {"https://xxx.bitrix24.com/rest/1/" CODE "/placement.get"},
             {"https://xxx.bitrix24.com/rest/1/" CODE "/placement.get/"},
             {"https://xxx.bitrix24.com/rest/1/" CODE "//"},
             {"https://xxx.bitrix24.com/rest/1//"},
             {"https://xxx.bitrix24.com/rest/1/"},
             {"https://xxx.bitrix24.com/rest//" CODE "/"},
             {"https://xxx.bitrix24.com/rest/x/" CODE "/"},
             {"https://xxx.bitrix24.com/rest/-1/" CODE "/"},
             {"https://xxx.bitrix24.com/rest/1/a-b/"},
             {"https://xxx.bitrix24.com/rest/1/../"},
             {"https://xxx.bitrix24.com/rest/1/a%2Fb/"},
             {"https://xxx.bitrix24.com/rest/1/" CODE "/?/"},
             {"https://xxx.bitrix24.com/rest/1/" CODE "/#/"},
             {"https://xxx.bitrix24.com/rest/1/\xC3\xA9/"},
             {"https://xxx.bitrix24.com/rest/1/a\r\nb/"},
             {"https://xxx.bitrix24.com/REST/1/" CODE "/"},
             {"https://xxx.bitrix24.com/xrest/1/" CODE "/"},
             {"https://xxx.bitrix24.com?/rest/1/" CODE "/"},
             {"https://evil.com@xxx.bitrix24.com/rest/1/" CODE "/"},
             {"/rest/1/" CODE "/"},
             {""}};

static void closed_gate(void **state)
{
    const struct gate *row = *state;
    b24bg_rest_portal_t portal = make_portal();
    apr_array_header_t *portals = apr_array_make(unit_pool, 3, sizeof(const char *));

    APR_ARRAY_PUSH(portals, const char *) = "xxx.bitrix24.com";
    APR_ARRAY_PUSH(portals, const char *) = "127.0.0.1";
    APR_ARRAY_PUSH(portals, const char *) = "localhost";
    app.portals = portals;
    ask_all(&portal, APR_SUCCESS, APR_SUCCESS);
    portal.endpoint = row->name;
    ask_all(&portal, APR_EACCES, APR_EACCES);
}

/* Webhooks: for reading, and without any token. */

static const struct webhook {
    const char *name; /* the endpoint */
    int allow_http;
    const char *url;
} webhooks[] = {
    {WEBHOOK, 0, WEBHOOK},
    {"HTTPS://XXX.Bitrix24.com:443/rest/13/" CODE "/", 0, WEBHOOK},
    {"https://crm.example.com:8443/b24/rest/1/aB3/", 0,
     "https://crm.example.com:8443/b24/rest/1/aB3/"},
    {"http://127.0.0.1:8080/rest/1/x/", 1, "http://127.0.0.1:8080/rest/1/x/"},
};

static void webhook(void **state)
{
    const struct webhook *row = *state;
    b24bg_rest_portal_t portal = make_portal();
    b24bg_http_request_t request;

    app.http.allow_http = row->allow_http;
    portal.endpoint = row->name;
    ask_all(&portal, APR_SUCCESS, APR_EACCES);
    portal.access_token = NULL;
    ask_all(&portal, APR_SUCCESS, APR_EACCES);
    portal.access_token = ACCESS;
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_rows(unit_pool, &portal, &request));
    check_request(&request, apr_pstrcat(unit_pool, row->url, "placement.get", NULL), "");
    assert_int_equal(APR_SUCCESS, b24bg_rest_ask_placements(unit_pool, &portal, &request));
    check_request(&request, apr_pstrcat(unit_pool, row->url, "placement.list", NULL), "");
}

/* Answers of all four calls */

typedef enum { ROWS, BIND, UNBIND, PLACEMENTS, CALLS } call_e;

static apr_array_header_t *rows;
static int offered;

/* Sets `rows` and `offered`, or finds them left alone. */
static b24bg_rest_result_t read_call(call_e call, const b24bg_http_answer_t *answer)
{
    apr_array_header_t untouched;
    b24bg_rest_result_t result = {B24BG_REST_WRONG, NULL, NULL};

    rows = &untouched;
    offered = -1;
    if (call == ROWS) {
        b24bg_rest_read_rows(unit_pool, answer, &rows, &result);
    } else if (call == BIND) {
        b24bg_rest_read_bind(unit_pool, answer, &result);
    } else if (call == UNBIND) {
        b24bg_rest_read_unbind(unit_pool, answer, &result);
    } else {
        b24bg_rest_read_placements(unit_pool, answer, &offered, &result);
    }
    assert_int_equal(call == ROWS && result.class == B24BG_REST_OK, rows != &untouched);
    assert_int_equal(call == PLACEMENTS && result.class == B24BG_REST_OK, offered != -1);
    assert_true(strlen(result.code) <= 64 && strlen(result.detail) <= 300);
    assert_true(call == BIND || (result.class == B24BG_REST_OK) == (*result.code == '\0'));
    assert_null(strstr(result.detail, CODE));
    assert_null(strstr(result.detail, ACCESS));
    return result;
}

static b24bg_rest_result_t read_body(call_e call, int status, const char *body)
{
    b24bg_http_answer_t answer = answer_of(status, body, strlen(body));

    return read_call(call, &answer);
}

/* Errors, as protocol.md 4.4, 4.5 and 4.12 has them, each with its statuses. */
static const struct refusal {
    const char *name;
    int status;
    const char *body;
    b24bg_rest_class_e class;
    const char *code;
    const char *detail;
} refusals[] = {
    {"webhook", 403,
     "{\"error\":\"WRONG_AUTH_TYPE\",\"error_description\":\"Current authorization type is denied "
     "for this method Application context required\"}",
     B24BG_REST_WRONG, "WRONG_AUTH_TYPE",
     "a webhook cannot do this; Bitrix24 wants an application's OAuth token (Current authorization "
     "type is denied for this method Application context required)"},
    {"no administrator", 403,
     "{\"error\":\"ACCESS_DENIED\",\"error_description\":\"Access denied!\"}", B24BG_REST_NOT_ADMIN,
     "ACCESS_DENIED", "the token's user must be an administrator of the portal (Access denied!)"},
    {"plan", 403,
     "{\"error\":\"ACCESS_DENIED\",\"error_description\":\"REST API is available only on "
     "commercial "
     "plans\"}",
     B24BG_REST_PAYMENT, "ACCESS_DENIED", "REST API is available only on commercial plans"},
    {"argument", 400,
     "{\"error\":\"ERROR_ARGUMENT\",\"error_description\":\"The value of an argument 'PLACEMENT' "
     "must be of type string\",\"argument\":\"PLACEMENT\"}",
     B24BG_REST_WRONG, "ERROR_ARGUMENT",
     "The value of an argument 'PLACEMENT' must be of type string"},
    {"argument, 200", 200,
     "{\"error\":\"ERROR_ARGUMENT\",\"error_description\":\"Argument 'The URL of the placement "
     "handler is not specified' is null or empty\"}",
     B24BG_REST_WRONG, "ERROR_ARGUMENT",
     "Argument 'The URL of the placement handler is not specified' is null or empty"},
    {"handler", 400,
     "{\"error\":\"ERROR_WRONG_HANDLER_URL\",\"error_description\":\"Wrong handler URL\"}",
     B24BG_REST_WRONG, "ERROR_WRONG_HANDLER_URL",
     "the host of the worker URL needs a dot and may not be localhost (Wrong handler URL)"},
    {"scheme", 400,
     "{\"error\":\"ERROR_UNSUPPORTED_PROTOCOL\",\"error_description\":\"Unsupported handler "
     "protocol\"}",
     B24BG_REST_WRONG, "ERROR_UNSUPPORTED_PROTOCOL",
     "the worker URL must begin with https:// or http:// (Unsupported handler protocol)"},
    {"not offered", 400,
     "{\"error\":\"ERROR_PLACEMENT_NOT_FOUND\",\"error_description\":\"Placement not found\"}",
     B24BG_REST_WRONG, "ERROR_PLACEMENT_NOT_FOUND",
     "this portal does not offer PAGE_BACKGROUND_WORKER (Placement not found)"},
    {"user mode", 200,
     "{\"error\":\"ERROR_PLACEMENT_USER_MODE\",\"error_description\":\"User mode is not "
     "available.\"}",
     B24BG_REST_WRONG, "ERROR_PLACEMENT_USER_MODE",
     "this portal does not take registrations of single users (User mode is not available.)"},
    {"no error URL, 200", 200,
     "{\"error\":\"EMPTY_ERROR_HANDLER_URL\",\"error_description\":\"Field errorHandlerUrl is "
     "empty.\"}",
     B24BG_REST_WRONG, "EMPTY_ERROR_HANDLER_URL", "Field errorHandlerUrl is empty."},
    {"parallel bind", 400,
     "{\"error\":\"ERROR_CORE\",\"error_description\":\"Unable to set placement handler: Process "
     "of binding the handler has already started\"}",
     B24BG_REST_AGAIN, "ERROR_CORE",
     "Unable to set placement handler: Process of binding the handler has already started"},
    {"core", 400, "{\"error\":\"ERROR_CORE\",\"error_description\":\"Unable to set\"}",
     B24BG_REST_WRONG, "ERROR_CORE", "Unable to set"},
    {"expired", 401,
     "{\"error\":\"expired_token\",\"error_description\":\"The access token provided has "
     "expired.\"}",
     B24BG_REST_EXPIRED, "expired_token", "The access token provided has expired."},
    {"expired, 200", 200, "{\"error\":\"EXPIRED_TOKEN\"}", B24BG_REST_EXPIRED, "EXPIRED_TOKEN", ""},
    {"scope", 403,
     "{\"error\":\"insufficient_scope\",\"error_description\":\"The request requires higher "
     "privileges than provided by the webhook token\"}",
     B24BG_REST_WRONG_APP, "insufficient_scope",
     "the application needs scope placement (The request requires higher privileges than provided "
     "by the webhook token)"},
    {"method", 404,
     "{\"error\":\"ERROR_METHOD_NOT_FOUND\",\"error_description\":\"Method not found!\"}",
     B24BG_REST_WRONG_APP, "ERROR_METHOD_NOT_FOUND",
     "the portal is too old for it, or the application lacks scope placement (Method not found!)"},
    {"payment", 401, "{\"error\":\"PAYMENT_REQUIRED\",\"error_description\":\"Payment required\"}",
     B24BG_REST_PAYMENT, "PAYMENT_REQUIRED",
     "the application's subscription is over (Payment required)"},
    {"overload", 503,
     "{\"error\":\"OVERLOAD_LIMIT\",\"error_description\":\"REST API is blocked due to "
     "overload.\"}",
     B24BG_REST_WRONG, "OVERLOAD_LIMIT",
     "Bitrix24 has blocked REST for this portal; its support must lift the block (REST API is "
     "blocked due to overload.)"},
    {"query limit", 503,
     "{\"error\":\"QUERY_LIMIT_EXCEEDED\",\"error_description\":\"Too many requests\"}",
     B24BG_REST_AGAIN, "QUERY_LIMIT_EXCEEDED", "Too many requests"},
    {"deleted portal", 500, "{\"error\":\"PORTAL_DELETED\"}", B24BG_REST_GONE, "PORTAL_DELETED",
     ""},
    {"error beside a result", 200, "{\"error\":\"ERROR_ARGUMENT\",\"result\":true}",
     B24BG_REST_WRONG, "ERROR_ARGUMENT", ""},
    {"error beside a list", 200, "{\"error\":\"ERROR_ARGUMENT\",\"result\":[]}", B24BG_REST_WRONG,
     "ERROR_ARGUMENT", ""},
    {"500 with a result", 500, "{\"result\":[]}", B24BG_REST_AGAIN, "http", "HTTP 500"},
    {"404 with a result", 404, "{\"result\":true}", B24BG_REST_WRONG, "http", "HTTP 404"},
    {"proxy", 502, "<html>", B24BG_REST_AGAIN, "http", "HTTP 502"},
    {"nothing", 200, "", B24BG_REST_AGAIN, "garbage", "HTTP 200 without a JSON object"},
    {"page", 200, "<html>/rest/13/" CODE "/</html>", B24BG_REST_AGAIN, "garbage",
     "HTTP 200 without a JSON object"},
    {"the webhook repeated", 401,
     "{\"error\":\"NO_AUTH_FOUND\",\"error_description\":\"no webhook " CODE " at "
     "\\/rest\\/13\\/" CODE "\\/placement.get\"}",
     B24BG_REST_NO_TOKEN, "NO_AUTH_FOUND",
     "the portal does not know the token, or the webhook was deleted (no webhook - at "
     "/rest/13/-/placement.get)"},
    {"the webhook for a code", 401, "{\"error\":\"" CODE "\"}", B24BG_REST_WRONG, "-", ""},
};

static void refused(void **state)
{
    const struct refusal *row = *state;
    call_e call;

    for (call = 0; call < CALLS; call++) {
        b24bg_rest_result_t result = read_body(call, row->status, row->body);
        assert_int_equal(row->class, result.class);
        assert_string_equal(row->code, result.code);
        assert_string_equal(row->detail, result.detail);
    }
}

static void renamed_portal(void **state)
{
    b24bg_http_answer_t answer = answer_of(302, "", 0);
    call_e call;

    (void)state;
    answer.location = "https://new.bitrix24.com/rest/1/short/placement.get";
    for (call = 0; call < CALLS; call++) {
        b24bg_rest_result_t result = read_call(call, &answer);
        assert_int_equal(B24BG_REST_MOVED, result.class);
        assert_string_equal("HTTP 302 to https://new.bitrix24.com/rest/1/-/placement.get",
                            result.detail);
    }
}

static void no_answer(void **state)
{
    b24bg_http_answer_t answer = {B24BG_HTTP_FAILED, 0, "", 0, NULL, "Cannot post to " WEBHOOK};
    call_e call;

    (void)state;
    for (call = 0; call < CALLS; call++) {
        b24bg_rest_result_t result = read_call(call, &answer);
        assert_int_equal(B24BG_REST_AGAIN, result.class);
        assert_string_equal("network", result.code);
        assert_string_equal("Cannot post to https://xxx.bitrix24.com/rest/13/-/", result.detail);
    }
}

/* What has another shape than the documented results, for every call that has another one. */
static const struct shape {
    const char *name; /* the body */
    int good;         /* 1 << call */
} shapes[] = {
    {"{\"result\":true," TIME_JSON "}", 1 << BIND},
    {"{\"result\":true}", 1 << BIND},
    {"\xEF\xBB\xBF {\"result\":true}\r\n", 1 << BIND},
    {"{\"result\":{\"count\":2}," TIME_JSON "}", 1 << UNBIND},
    {"{\"result\":{\"count\":0}}", 1 << UNBIND},
    {"{\"result\":{\"count\":4}}", 1 << UNBIND},
    {"{\"result\":{\"count\":\"2\"}}", 1 << UNBIND},
    {"\xEF\xBB\xBF{\"result\":{\"count\":9223372036854775807}}", 1 << UNBIND},
    {"{\"result\":[]," TIME_JSON "}", 1 << ROWS | 1 << PLACEMENTS},
    {"\xEF\xBB\xBF{\"result\":[],\"total\":0}", 1 << ROWS | 1 << PLACEMENTS},
    {"{\"result\":[],\"next\":50}", 0},
    {"{\"result\":[],\"next\":null}", 1 << ROWS | 1 << PLACEMENTS},
    {"{\"result\":{}}", 0},
    {"{\"result\":null}", 0},
    {"{\"result\":false}", 0},
    {"{\"result\":1}", 0},
    {"{\"result\":\"true\"}", 0},
    {"{\"result\":[true]}", 0},
    {"{\"result\":[null]}", 0},
    {"{\"result\":[1]}", 0},
    {"{\"result\":[[]]}", 0},
    {"{\"result\":[{}]}", 0},
    {"{\"result\":{\"0\":\"PAGE_BACKGROUND_WORKER\"}}", 0},
    {"{\"result\":\"PAGE_BACKGROUND_WORKER\"}", 0},
    {"{\"result\":{\"count\":null}}", 0},
    {"{\"result\":{\"count\":-1}}", 0},
    {"{\"result\":{\"count\":2.5}}", 0},
    {"{\"result\":{\"count\":true}}", 0},
    {"{\"result\":{\"count\":\"\"}}", 0},
    {"{\"result\":{\"count\":9223372036854775808}}", 0},
    {"{\"result\":{\"count\":2,\"count\":2}}", 0},
    {"{\"result\":true,\"result\":true}", 0},
    {"{\"result\":true", 0},
    {"{\"result\":true}}", 0},
    {"{\"Result\":true}", 0},
    {"{}", 0},
    {"true", 0},
    {"[]", 0},
};

static void shape(void **state)
{
    const struct shape *row = *state;
    call_e call;

    for (call = 0; call < CALLS; call++) {
        b24bg_rest_result_t result = read_body(call, 200, row->name);
        if (row->good & 1 << call) {
            assert_int_equal(B24BG_REST_OK, result.class);
            assert_string_equal("", result.code);
            assert_string_equal("", result.detail);
        } else {
            assert_int_equal(B24BG_REST_AGAIN, result.class);
            assert_string_equal("garbage", result.code);
        }
    }
}

/* Bind: "there is one already" */

static const struct already {
    const char *name;
    int status;
    const char *body;
    const char *code;
    const char *detail;
} already[] = {
    {"count", 400,
     "{\"error\":\"ERROR_PLACEMENT_MAX_COUNT\",\"error_description\":\"Placement max count: 1\"}",
     "ERROR_PLACEMENT_MAX_COUNT", "Placement max count: 1"},
    {"count, 200", 200,
     "{\"error\":\"error_placement_max_count\",\"error_description\":\"Placement max count: 1\"}",
     "error_placement_max_count", "Placement max count: 1"},
    {"count without words", 400, "{\"error\":\"ERROR_PLACEMENT_MAX_COUNT\"}",
     "ERROR_PLACEMENT_MAX_COUNT", ""},
    {"handler", 400,
     "{\"error\":\"ERROR_CORE\",\"error_description\":\"Unable to set placement handler: Handler "
     "already binded\"}",
     "ERROR_CORE", "Unable to set placement handler: Handler already binded"},
    {"handler, 200", 200,
     "{\"error\":\"Error_Core\",\"error_description\":\"Handler already binded\"}", "Error_Core",
     "Handler already binded"},
};

static void bound_already(void **state)
{
    const struct already *row = *state;
    call_e call;

    for (call = 0; call < CALLS; call++) {
        b24bg_rest_result_t result = read_body(call, row->status, row->body);
        assert_int_equal(call == BIND ? B24BG_REST_OK : B24BG_REST_WRONG, result.class);
        assert_string_equal(row->code, result.code);
        assert_string_equal(row->detail, result.detail);
    }
}

/* Only the code makes it one. */
static void not_bound_already(void **state)
{
    (void)state;
    assert_int_equal(B24BG_REST_NOT_ADMIN,
                     read_body(BIND, 403,
                               "{\"error\":\"ACCESS_DENIED\",\"error_description\":"
                               "\"ERROR_PLACEMENT_MAX_COUNT Handler already binded\"}")
                         .class);
    assert_int_equal(
        B24BG_REST_AGAIN,
        read_body(BIND, 400, "{\"error\":7,\"error_description\":\"Handler already binded\"}")
            .class);
}

/* Rows */

/* protocol.md 4.6, literally */
#define OPTIONS                                                                                    \
    "{\"errorHandlerUrl\":\"https:\\/\\/app.example.com\\/b24\\/error\\/"                          \
    "k7Qm\",\"maxTimeCount\":3}"
#define ROW                                                                                        \
    "{\"id\":345,\"placement\":\"PAGE_BACKGROUND_WORKER\",\"userId\":0,\"handler\":"               \
    "\"https:\\/\\/app.example.com\\/b24\\/worker\",\"options\":" OPTIONS                          \
    ",\"title\":\"My worker\",\"description\":\"\",\"langAll\":{\"en\":{\"TITLE\":\"My worker\","  \
    "\"DESCRIPTION\":\"\",\"GROUP_NAME\":\"\"}}}"
#define GET "{\"result\":[" ROW "],\"time\":{}}"

static void check_row(int at, apr_int64_t user_id, const char *handler, const char *error_url,
                      int slow_count)
{
    const b24bg_rest_row_t *row = &APR_ARRAY_IDX(rows, at, b24bg_rest_row_t);

    assert_true(row->user_id == user_id);
    assert_string_equal(handler, row->handler);
    assert_string_equal(error_url, row->error_url);
    assert_int_equal(slow_count, row->slow_count);
}

static void documented_rows(void **state)
{
    b24bg_rest_result_t result = read_body(ROWS, 200, GET);

    (void)state;
    assert_int_equal(B24BG_REST_OK, result.class);
    assert_int_equal(1, rows->nelts);
    check_row(0, 0, HANDLER, ERROR_URL, 3);
}

static void no_rows(void **state)
{
    (void)state;
    assert_int_equal(B24BG_REST_OK, read_body(ROWS, 200, "{\"result\":[]}").class);
    assert_int_equal(0, rows->nelts);
}

/* The sample with one text in the place of another; what is not named here stays as documented. */
static const struct variant {
    const char *name;
    const char *from;
    const char *to;
    apr_int64_t user_id;
    const char *handler;
    const char *error_url;
    int slow_count;
} variants[] = {
    {"as documented elsewhere: no id", "\"id\":345,", "", 0, HANDLER, ERROR_URL, 3},
    {"id of any type", "345", "[{}]", 0, HANDLER, ERROR_URL, 3},
    {"placement in lower case", "PAGE_BACKGROUND_WORKER", "page_background_worker", 0, HANDLER,
     ERROR_URL, 3},
    {"personal", "\"userId\":0", "\"userId\":7", 7, HANDLER, ERROR_URL, 3},
    {"userId as text", "\"userId\":0", "\"userId\":\"7\"", 7, HANDLER, ERROR_URL, 3},
    {"largest userId", "\"userId\":0", "\"userId\":9223372036854775807",
     APR_INT64_C(9223372036854775807), HANDLER, ERROR_URL, 3},
    {"no userId", "\"userId\":0,", "", 0, HANDLER, ERROR_URL, 3},
    {"userId null", "\"userId\":0", "\"userId\":null", 0, HANDLER, ERROR_URL, 3},
    {"handler with a query", "\\/worker\"", "\\/worker?type=1\\u0026u=7\"", 0,
     HANDLER "?type=1&u=7", ERROR_URL, 3},
    {"handler in another alphabet", "\\/worker\"", "\\/\\u0444\"", 0,
     "https://app.example.com/b24/\xD1\x84", ERROR_URL, 3},
    {"options an empty list", OPTIONS, "[]", 0, HANDLER, "", -1},
    {"options an empty object", OPTIONS, "{}", 0, HANDLER, "", -1},
    {"options null", OPTIONS, "null", 0, HANDLER, "", -1},
    {"no options", "\"options\":" OPTIONS ",", "", 0, HANDLER, "", -1},
    {"unknown options", "\"maxTimeCount\"", "\"x\":[1],\"y\":{\"errorHandlerUrl\":1},\"z\"", 0,
     HANDLER, ERROR_URL, -1},
    {"errorHandlerUrl in another case", "errorHandlerUrl", "ERRORHANDLERURL", 0, HANDLER, "", 3},
    {"errorHandlerUrl null", "\"https:\\/\\/app.example.com\\/b24\\/error\\/k7Qm\"", "null", 0,
     HANDLER, "", 3},
    {"errorHandlerUrl empty", "\"https:\\/\\/app.example.com\\/b24\\/error\\/k7Qm\"", "\"\"", 0,
     HANDLER, "", 3},
    {"no maxTimeCount", ",\"maxTimeCount\":3", "", 0, HANDLER, ERROR_URL, -1},
    {"maxTimeCount as text", "\"maxTimeCount\":3", "\"maxTimeCount\":\"10\"", 0, HANDLER, ERROR_URL,
     10},
    {"maxTimeCount 0", "\"maxTimeCount\":3", "\"maxTimeCount\":0", 0, HANDLER, ERROR_URL, 0},
    {"largest maxTimeCount", "\"maxTimeCount\":3", "\"maxTimeCount\":2147483647", 0, HANDLER,
     ERROR_URL, 2147483647},
    {"maxTimeCount beyond", "\"maxTimeCount\":3", "\"maxTimeCount\":2147483648", 0, HANDLER,
     ERROR_URL, -1},
    {"maxTimeCount huge", "\"maxTimeCount\":3", "\"maxTimeCount\":\"99999999999999999999\"", 0,
     HANDLER, ERROR_URL, -1},
    {"maxTimeCount negative", "\"maxTimeCount\":3", "\"maxTimeCount\":-3", 0, HANDLER, ERROR_URL,
     -1},
    {"maxTimeCount broken", "\"maxTimeCount\":3", "\"maxTimeCount\":3.5", 0, HANDLER, ERROR_URL,
     -1},
    {"maxTimeCount null", "\"maxTimeCount\":3", "\"maxTimeCount\":null", 0, HANDLER, ERROR_URL, -1},
    {"maxTimeCount a word", "\"maxTimeCount\":3", "\"maxTimeCount\":\"three\"", 0, HANDLER,
     ERROR_URL, -1},
    {"maxTimeCount an object", "\"maxTimeCount\":3", "\"maxTimeCount\":{}", 0, HANDLER, ERROR_URL,
     -1},
    {"langAll an empty list", "\"langAll\":{", "\"langAll\":[],\"x\":{", 0, HANDLER, ERROR_URL, 3},
    {"title null", "\"title\":\"My worker\"", "\"title\":null", 0, HANDLER, ERROR_URL, 3},
    {"byte order mark", "{\"result\"", "\xEF\xBB\xBF{\"result\"", 0, HANDLER, ERROR_URL, 3},
    {"total", "\"time\":{}", "\"total\":1,\"time\":{}", 0, HANDLER, ERROR_URL, 3},
    {"a placement of another kind before it", "[{\"id\"",
     "[{\"placement\":\"CRM_DEAL_DETAIL_TAB\",\"handler\":7,\"options\":\"x\"},{\"id\"", 0, HANDLER,
     ERROR_URL, 3},
    {"a placement of another kind behind it", "}],\"time\"",
     "},{\"placement\":\"PAGE_BACKGROUND_WORKERS\"}],\"time\"", 0, HANDLER, ERROR_URL, 3},
};

static void variant(void **state)
{
    const struct variant *row = *state;

    assert_int_equal(B24BG_REST_OK, read_body(ROWS, 200, changed(GET, row->from, row->to)).class);
    assert_int_equal(1, rows->nelts);
    check_row(0, row->user_id, row->handler, row->error_url, row->slow_count);
}

/* The same, where nothing may be believed. */
static const struct damage {
    const char *name;
    const char *from;
    const char *to;
} damages[] = {
    {"no placement", "\"placement\"", "\"place\""},
    {"placement null", "\"PAGE_BACKGROUND_WORKER\"", "null"},
    {"placement empty", "PAGE_BACKGROUND_WORKER", ""},
    {"placement number", "\"PAGE_BACKGROUND_WORKER\"", "1"},
    {"placement list", "\"PAGE_BACKGROUND_WORKER\"", "[\"PAGE_BACKGROUND_WORKER\"]"},
    {"placement twice", "\"id\":345", "\"placement\":\"PAGE_BACKGROUND_WORKER\""},
    {"no handler", "\"handler\"", "\"hand\""},
    {"handler null", "\"https:\\/\\/app.example.com\\/b24\\/worker\"", "null"},
    {"handler empty", "\"https:\\/\\/app.example.com\\/b24\\/worker\"", "\"\""},
    {"handler number", "\"https:\\/\\/app.example.com\\/b24\\/worker\"", "1"},
    {"handler list", "\"https:\\/\\/app.example.com\\/b24\\/worker\"", "[\"x\"]"},
    {"handler with a line end", "\\/worker\"", "\\/worker\\n\""},
    {"handler with a NUL", "\\/worker\"", "\\/worker\\u0000\""},
    {"handler twice", "\"id\":345", "\"handler\":\"x\""},
    {"userId negative", "\"userId\":0", "\"userId\":-1"},
    {"userId broken", "\"userId\":0", "\"userId\":0.0"},
    {"userId huge", "\"userId\":0", "\"userId\":9223372036854775808"},
    {"userId huge text", "\"userId\":0", "\"userId\":\"9223372036854775808\""},
    {"userId as a power", "\"userId\":0", "\"userId\":1e3"},
    {"userId beyond all", "\"userId\":0", "\"userId\":1e999"},
    {"userId true", "\"userId\":0", "\"userId\":true"},
    {"userId false", "\"userId\":0", "\"userId\":false"},
    {"userId word", "\"userId\":0", "\"userId\":\"all\""},
    {"userId empty", "\"userId\":0", "\"userId\":\"\""},
    {"userId with a sign", "\"userId\":0", "\"userId\":\"+7\""},
    {"userId list", "\"userId\":0", "\"userId\":[]"},
    {"userId twice", "\"id\":345", "\"userId\":7"},
    {"options text", OPTIONS, "\"x\""},
    {"options number", OPTIONS, "1"},
    {"options true", OPTIONS, "true"},
    {"options a list of something", OPTIONS, "[" OPTIONS "]"},
    {"options twice", "\"id\":345", "\"options\":[]"},
    {"errorHandlerUrl number", "\"https:\\/\\/app.example.com\\/b24\\/error\\/k7Qm\"", "1"},
    {"errorHandlerUrl list", "\"https:\\/\\/app.example.com\\/b24\\/error\\/k7Qm\"", "[]"},
    {"errorHandlerUrl with a tab", "k7Qm", "k7Qm\\t"},
    {"errorHandlerUrl twice", "\"maxTimeCount\":3", "\"errorHandlerUrl\":\"x\""},
    {"second row null", "}],\"time\"", "},null],\"time\""},
    {"second row a list", "}],\"time\"", "},[]],\"time\""},
    {"second row empty", "}],\"time\"", "},{}],\"time\""},
    {"second row without a handler", "}],\"time\"",
     "},{\"placement\":\"PAGE_BACKGROUND_WORKER\"}],\"time\""},
    {"first row a text", "[{\"id\"", "[\"x\",{\"id\""},
    {"another page", "\"time\":{}", "\"next\":50,\"time\":{}"},
    {"a list by name", "\"result\":[" ROW "]", "\"result\":{\"0\":" ROW "}"},
    {"one row without a list", "[" ROW "]", ROW},
    {"half a list", "}],\"time\":{}}", "},{\"id\":346"},
    {"a list that does not end", "],\"time\":{}}", ""},
    {"an answer that does not end", ",\"time\":{}}", ""},
    {"result twice", "\"time\":{}", "\"result\":[]"},
    {"not UTF-8", "My worker", "\xFF"},
};

static void damage(void **state)
{
    const struct damage *row = *state;
    b24bg_rest_result_t result = read_body(ROWS, 200, changed(GET, row->from, row->to));

    assert_int_equal(B24BG_REST_AGAIN, result.class);
    assert_string_equal("garbage", result.code);
}

/* In the portal's order, duplicates too: what they mean is for the caller to say. */
static void many_rows(void **state)
{
    static const char other[] = ",{\"placement\":\"LEFT_MENU\",\"handler\":\"x\"},";
    const char *personal =
        changed(changed(ROW, "\"userId\":0", "\"userId\":\"7\""), "\\/worker\"", "\\/worker?u=7\"");
    const char *bare = changed(ROW, OPTIONS, "[]");

    (void)state;
    assert_int_equal(B24BG_REST_OK,
                     read_body(ROWS, 200,
                               apr_pstrcat(unit_pool, "{\"result\":[", personal, other, ROW, ",",
                                           bare, ",", ROW, "]}", NULL))
                         .class);
    assert_int_equal(4, rows->nelts);
    check_row(0, 7, HANDLER "?u=7", ERROR_URL, 3);
    check_row(1, 0, HANDLER, ERROR_URL, 3);
    check_row(2, 0, HANDLER, "", -1);
    check_row(3, 0, HANDLER, ERROR_URL, 3);
}

static void long_texts(void **state)
{
    char text[4098];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[4096] = '\0';
    assert_int_equal(
        B24BG_REST_OK,
        read_body(ROWS, 200, changed(GET, "https:\\/\\/app.example.com\\/b24\\/worker", text))
            .class);
    check_row(0, 0, text, ERROR_URL, 3);
    assert_int_equal(
        B24BG_REST_OK,
        read_body(ROWS, 200, changed(GET, "https:\\/\\/app.example.com\\/b24\\/error\\/k7Qm", text))
            .class);
    check_row(0, 0, HANDLER, text, 3);
    text[4096] = 'a';
    text[4097] = '\0';
    assert_int_equal(
        B24BG_REST_AGAIN,
        read_body(ROWS, 200, changed(GET, "https:\\/\\/app.example.com\\/b24\\/worker", text))
            .class);
    assert_int_equal(
        B24BG_REST_AGAIN,
        read_body(ROWS, 200, changed(GET, "https:\\/\\/app.example.com\\/b24\\/error\\/k7Qm", text))
            .class);
}

/* Placements */

static const struct list {
    const char *name; /* the body */
    int offered;
} lists[] = {
    {"{\"result\":[\"LEFT_MENU\",\"PAGE_BACKGROUND_WORKER\",\"TASK_VIEW_TAB\"]," TIME_JSON "}", 1},
    {"{\"result\":[\"PAGE_BACKGROUND_WORKER\"]}", 1},
    {"{\"result\":[\"page_background_worker\",\"PAGE_BACKGROUND_WORKER\"]}", 1},
    {"{\"result\":[\"LEFT_MENU\"]}", 0},
    {"{\"result\":[]}", 0},
    {"{\"result\":[\"\",\"PAGE_BACKGROUND_WORKERS\",\"PAGE_BACKGROUND\"]}", 0},
    {"{\"result\":[\"PAGE_BACKGROUND_WORKER\",null]}", -1},
    {"{\"result\":[{\"PAGE_BACKGROUND_WORKER\":1}]}", -1},
    {"{\"result\":[1,\"PAGE_BACKGROUND_WORKER\"]}", -1},
    {"{\"result\":[\"LEFT_MENU\"],\"next\":50}", -1},
    {"{\"result\":[\"PAGE_BACKGROUND_WORKER\"", -1},
};

static void list(void **state)
{
    const struct list *row = *state;
    b24bg_rest_result_t result = read_body(PLACEMENTS, 200, row->name);

    assert_int_equal(row->offered, offered);
    assert_string_equal(offered == -1 ? "garbage" : "", result.code);
}

/* Profiles: protocol.md 4.8 */

static const struct profile {
    const char *name; /* the body */
    b24bg_rest_class_e class;
    const char *code;
} profiles[] = {
    {"{\"result\":{\"ID\":\"1\",\"ADMIN\":true,\"NAME\":\"..\",\"LAST_NAME\":\"..\","
     "\"PERSONAL_GENDER\":\"\",\"TIME_ZONE\":\"\"}," TIME_JSON "}",
     B24BG_REST_OK, ""},
    {"{\"result\":{\"ID\":\"1\",\"ADMIN\":false}}", B24BG_REST_NOT_ADMIN, "not-admin"},
    {"{\"result\":{\"ID\":\"1\"}}", B24BG_REST_AGAIN, "garbage"},
    {"{\"result\":{\"ADMIN\":\"true\"}}", B24BG_REST_AGAIN, "garbage"},
    {"{\"result\":{\"ADMIN\":1}}", B24BG_REST_AGAIN, "garbage"},
    {"{\"result\":{\"ADMIN\":null}}", B24BG_REST_AGAIN, "garbage"},
    {"{\"result\":[]}", B24BG_REST_AGAIN, "garbage"},
    {"{\"ADMIN\":true}", B24BG_REST_AGAIN, "garbage"},
    {"{\"error\":\"expired_token\",\"result\":{\"ADMIN\":true}}", B24BG_REST_EXPIRED,
     "expired_token"},
};

static void profile(void **state)
{
    const struct profile *row = *state;
    b24bg_http_answer_t answer = answer_of(200, row->name, strlen(row->name));
    b24bg_rest_result_t result;

    b24bg_rest_read_profile(unit_pool, &answer, &result);
    assert_int_equal(row->class, result.class);
    assert_string_equal(row->code, result.code);
}

/* Large and damaged */

static void large_list(void **state)
{
    apr_array_header_t *parts = apr_array_make(unit_pool, 6000, sizeof(const char *));
    const char *body;
    int i;

    (void)state;
    for (i = 0; i < 2000; i++) {
        APR_ARRAY_PUSH(parts, const char *) = changed(ROW, "345", apr_itoa(unit_pool, i));
    }
    body = apr_psprintf(unit_pool, "{\"result\":[%s]}", apr_array_pstrcat(unit_pool, parts, ','));
    assert_true(strlen(body) < B24BG_HTTP_ANSWER_MAX);
    assert_int_equal(B24BG_REST_OK, read_body(ROWS, 200, body).class);
    assert_int_equal(2000, rows->nelts);
    check_row(1999, 0, HANDLER, ERROR_URL, 3);
    body = apr_pstrmemdup(unit_pool, body, strlen(body) - 1);
    assert_int_equal(B24BG_REST_AGAIN, read_body(ROWS, 200, body).class);
}

/* Every way to cut the documented answers short, and every byte of them replaced. */
static void damaged_answers(void **state)
{
    static const char *const samples[] = {GET, "{\"result\":true}", "{\"result\":{\"count\":2}}",
                                          "{\"result\":[\"PAGE_BACKGROUND_WORKER\"]}"};
    static const char bytes[] = {'\0', '"', '{', '}', '[', ',', ':', '\\', '0', '\x80', '\xFF'};
    call_e call;

    (void)state;
    for (call = 0; call < CALLS; call++) {
        apr_size_t length = strlen(samples[call]);
        apr_size_t at, byte;
        for (at = 0; at < length; at++) {
            char *copy = apr_pstrdup(unit_pool, samples[call]);
            b24bg_http_answer_t answer = answer_of(200, copy, at);
            assert_string_equal("garbage", read_call(call, &answer).code);
            for (byte = 0; byte < sizeof(bytes); byte++) {
                copy[at] = bytes[byte];
                answer = answer_of(200, copy, length);
                read_call(call, &answer);
            }
        }
    }
}

int main(void)
{
    UNIT_ADD(reading_requests);
    UNIT_ADD_ROWS(bind_request, binds);
    UNIT_ADD(bind_decoded);
    UNIT_ADD(unbind_request);
    UNIT_ADD(incomplete_request);
    UNIT_ADD_ROWS(closed_gate, gates);
    UNIT_ADD_ROWS(webhook, webhooks);
    UNIT_ADD_ROWS(refused, refusals);
    UNIT_ADD(renamed_portal);
    UNIT_ADD(no_answer);
    UNIT_ADD_ROWS(shape, shapes);
    UNIT_ADD_ROWS(bound_already, already);
    UNIT_ADD(not_bound_already);
    UNIT_ADD(documented_rows);
    UNIT_ADD(no_rows);
    UNIT_ADD_ROWS(variant, variants);
    UNIT_ADD_ROWS(damage, damages);
    UNIT_ADD(many_rows);
    UNIT_ADD(long_texts);
    UNIT_ADD_ROWS(list, lists);
    UNIT_ADD_ROWS(profile, profiles);
    UNIT_ADD(large_list);
    UNIT_ADD(damaged_answers);
    return unit_run("rest_placement");
}
