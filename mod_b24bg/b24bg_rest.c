#include "b24bg_rest_parts.h"

#include "b24bg_form.h"
#include "b24bg_placement.h"
#include "b24bg_value.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <assert.h>
#include <string.h>

/* The longest documented code has 31 characters. */
#define CODE_LONGEST 64
/* Tokens, secrets and keys are unbroken runs of at least 32 letters and digits (protocol.md 1.3), a
 * webhook's code is one of 16 in Bitrix24's samples; no word of a message with a digit in it is as
 * long as this. */
#define SECRET_SHORTEST 16
#define ENDPOINT_LONGEST 512

static const char no_webhook[] =
    "a webhook cannot do this; Bitrix24 wants an application's OAuth token";

/* The decided reaction to every error of protocol.md 4.12, 5.2 and 4.4, in this order. A row with a
 * text, which stands before the one without, means only answers whose description holds it:
 * Bitrix24 has one code for both. `advice` tells the administrator what Bitrix24's words do not. */
static const struct error {
    const char *code;
    const char *text;
    b24bg_rest_class_e class;
    const char *advice;
} errors[] = {
    {"expired_token", NULL, B24BG_REST_EXPIRED, NULL},
    {"invalid_token", NULL, B24BG_REST_NO_TOKEN, NULL},
    {"NO_AUTH_FOUND", NULL, B24BG_REST_NO_TOKEN,
     "the portal does not know the token, or the webhook was deleted"},
    {"INVALID_CREDENTIALS", NULL, B24BG_REST_NOT_ADMIN,
     "the token's user was dismissed, or lacks the right"},
    {"insufficient_scope", NULL, B24BG_REST_WRONG_APP, "the application needs scope placement"},
    {"user_access_error", NULL, B24BG_REST_NOT_ADMIN,
     "the token's user has no access to the application"},
    {"WRONG_AUTH_TYPE", NULL, B24BG_REST_WRONG, no_webhook},
    {"ACCESS_DENIED", "commercial plan", B24BG_REST_PAYMENT, NULL},
    {"ACCESS_DENIED", "context required", B24BG_REST_WRONG, no_webhook},
    {"ACCESS_DENIED", NULL, B24BG_REST_NOT_ADMIN,
     "the token's user must be an administrator of the portal"},
    {"APPLICATION_NOT_FOUND", NULL, B24BG_REST_GONE, NULL},
    {"ERROR_OAUTH", NULL, B24BG_REST_GONE, NULL},
    {"NOT_INSTALLED", NULL, B24BG_REST_GONE, NULL},
    {"PAYMENT_REQUIRED", NULL, B24BG_REST_PAYMENT, "the application's subscription is over"},
    {"OVERLOAD_LIMIT", NULL, B24BG_REST_WRONG,
     "Bitrix24 has blocked REST for this portal; its support must lift the block"},
    {"QUERY_LIMIT_EXCEEDED", NULL, B24BG_REST_AGAIN, NULL},
    {"OPERATION_TIME_LIMIT", NULL, B24BG_REST_AGAIN, NULL},
    {"ERROR_METHOD_NOT_FOUND", NULL, B24BG_REST_WRONG_APP,
     "the portal is too old for it, or the application lacks scope placement"},
    {"ERROR_MANIFEST_IS_NOT_AVAILABLE", NULL, B24BG_REST_WRONG, NULL},
    {"METHOD_CONFIRM_WAITING", NULL, B24BG_REST_AGAIN,
     "an administrator of the portal has to confirm the call"},
    {"METHOD_CONFIRM_DENIED", NULL, B24BG_REST_WRONG,
     "an administrator of the portal has refused the call"},
    {"WRONG_LICENSE", NULL, B24BG_REST_PAYMENT, NULL},
    {"PORTAL_DELETED", NULL, B24BG_REST_GONE, NULL},
    {"ALLOWED_ONLY_INTRANET_USER", NULL, B24BG_REST_NOT_ADMIN, NULL},
    {"INVALID_REQUEST", NULL, B24BG_REST_WRONG, NULL},
    {"WRONG_ENCODING", NULL, B24BG_REST_WRONG, NULL},
    {"CONNECTION_ERROR", NULL, B24BG_REST_AGAIN, NULL},
    {"INTERNAL_SERVER_ERROR", NULL, B24BG_REST_AGAIN, NULL},
    {"ERROR_UNEXPECTED_ANSWER", NULL, B24BG_REST_AGAIN, NULL},
    {"ERROR_CORE", "has already started", B24BG_REST_AGAIN, NULL}, /* a parallel bind */
    /* "Handler already binded" is as good as done for b24bg_rest_read_bind */
    {"ERROR_CORE", NULL, B24BG_REST_WRONG, NULL},
    {"invalid_client", NULL, B24BG_REST_WRONG_APP, NULL},
    {"invalid_grant", NULL, B24BG_REST_NO_TOKEN, NULL},
    {"wrong_client", NULL, B24BG_REST_WRONG_APP, NULL},
    {"invalid_scope", NULL, B24BG_REST_WRONG_APP, NULL},
    {"ERROR_ARGUMENT", NULL, B24BG_REST_WRONG, NULL},
    {"ERROR_WRONG_HANDLER_URL", NULL, B24BG_REST_WRONG,
     "the host of the worker URL needs a dot and may not be localhost"},
    {"ERROR_UNSUPPORTED_PROTOCOL", NULL, B24BG_REST_WRONG,
     "the worker URL must begin with https:// or http://"},
    {"ERROR_PLACEMENT_NOT_FOUND", NULL, B24BG_REST_WRONG,
     "this portal does not offer " B24BG_PLACEMENT_CODE},
    {"ERROR_PLACEMENT_USER_MODE", NULL, B24BG_REST_WRONG,
     "this portal does not take registrations of single users"},
    /* as good as done for b24bg_rest_read_bind */
    {"ERROR_PLACEMENT_MAX_COUNT", NULL, B24BG_REST_WRONG, NULL},
    {"EMPTY_ERROR_HANDLER_URL", NULL, B24BG_REST_WRONG, NULL},
};

/* Texts for logs */

void b24bg_rest_set(b24bg_rest_result_t *result, b24bg_rest_class_e class, const char *code,
                    const char *detail)
{
    result->class = class;
    result->code = code;
    result->detail = detail;
}

void b24bg_rest_set_garbage(b24bg_rest_result_t *result, const char *detail)
{
    b24bg_rest_set(result, B24BG_REST_AGAIN, "garbage", detail);
}

static int is_secret(const char *run, apr_size_t length)
{
    apr_size_t i;

    for (i = 0; i < length; i++) {
        if (apr_isdigit(run[i])) {
            return length >= SECRET_SHORTEST;
        }
    }
    return 0;
}

static apr_size_t run_length(const char *text)
{
    apr_size_t length = 0;

    while (apr_isalnum(text[length])) {
        length++;
    }
    return length;
}

/* "/rest/1/" at the start, behind which a webhook's code stands: protocol.md 4.1. 0 if it is none.
 */
static apr_size_t webhook_length(const char *text)
{
    apr_size_t digits;

    if (strncmp(text, "/rest/", 6) != 0) {
        return 0;
    }
    digits = strspn(text + 6, "0123456789");
    return digits > 0 && text[6 + digits] == '/' ? 6 + digits + 1 : 0;
}

/* What a server says goes to logs, and it might repeat the token or the address that it was asked
 * with. Hidden before it is cut: half a secret is not recognised. */
const char *b24bg_rest_quote(apr_pool_t *pool, const char *text, apr_size_t longest)
{
    char *shown = apr_pstrdup(pool, text);
    char *to = shown;
    apr_size_t hidden = 0;

    while (*text) {
        apr_size_t length = webhook_length(text);
        if (length > 0) {
            hidden = strcspn(text + length, "/?#&\"' \t\r\n");
        } else {
            length = run_length(text);
            hidden = is_secret(text, length) ? length : 0;
            length = hidden ? 0 : length + (length == 0);
        }
        memcpy(to, text, length);
        to += length;
        if (hidden > 0) {
            *to++ = '-';
        }
        text += length + hidden;
    }
    *to = '\0';
    return b24bg_form_clean(pool, shown, longest);
}

/* Reading any answer */

static apr_status_t free_json(void *json)
{
    json_decref(json);
    return APR_SUCCESS;
}

/* NULL for anything but one JSON object. Some portals put a byte order mark in front. */
static json_t *parse(apr_pool_t *pool, const b24bg_http_answer_t *answer)
{
    apr_size_t mark = answer->length >= 3 && memcmp(answer->body, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    json_t *json =
        json_loadb(answer->body + mark, answer->length - mark, JSON_REJECT_DUPLICATES, NULL);

    if (json) {
        apr_pool_cleanup_register(pool, json, free_json, apr_pool_cleanup_null);
    }
    return json_is_object(json) ? json : NULL;
}

static int is_passing(int status)
{
    return status >= 500 || status == 408 || status == 429;
}

/* NULL for a code that protocol.md does not know. */
static const struct error *find_error(const char *code, const char *text)
{
    apr_size_t i;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (apr_cstr_casecmp(errors[i].code, code) == 0 &&
            (!errors[i].text || strstr(text, errors[i].text))) {
            return &errors[i];
        }
    }
    return NULL;
}

/* The advice and, behind it, Bitrix24's own words. */
static const char *explain(apr_pool_t *pool, const char *advice, const char *text)
{
    if (!*text) {
        return advice;
    }
    text = b24bg_rest_quote(pool, text, B24BG_REST_DETAIL_MAX - strlen(advice) - strlen(" ()"));
    return apr_pstrcat(pool, advice, " (", text, ")", NULL);
}

static void classify_error(apr_pool_t *pool, const b24bg_http_answer_t *answer, json_t *json,
                           b24bg_rest_result_t *result)
{
    const char *code = json_string_value(json_object_get(json, "error"));
    const char *text = json_string_value(json_object_get(json, "error_description"));
    const struct error *error;

    text = text ? text : "";
    result->detail = b24bg_rest_quote(pool, text, B24BG_REST_DETAIL_MAX);
    if (!code || !*code) {
        b24bg_rest_set_garbage(result, result->detail);
        return;
    }
    result->code = b24bg_rest_quote(pool, code, CODE_LONGEST);
    error = find_error(code, text);
    if (!error) {
        result->class = is_passing(answer->status) ? B24BG_REST_AGAIN : B24BG_REST_WRONG;
        return;
    }
    result->class = error->class;
    if (error->advice) {
        result->detail = explain(pool, error->advice, text);
    }
}

/* Bitrix24 sends 302 for a portal that was renamed; what stands in front of it may send another. */
static int is_redirect(int status)
{
    return status == 301 || status == 302 || status == 307 || status == 308;
}

/* What is no JSON does not come from Bitrix24, but from something in between, and passes
 * (protocol.md 4.2). */
static void classify_status(apr_pool_t *pool, const b24bg_http_answer_t *answer, int is_object,
                            b24bg_rest_result_t *result)
{
    const char *detail = apr_psprintf(pool, "HTTP %d", answer->status);

    if (is_redirect(answer->status) && answer->location) {
        detail = apr_pstrcat(pool, detail, " to ", answer->location, NULL);
        b24bg_rest_set(result, B24BG_REST_MOVED, "http",
                       b24bg_rest_quote(pool, detail, B24BG_REST_DETAIL_MAX));
    } else if (is_passing(answer->status)) {
        b24bg_rest_set(result, B24BG_REST_AGAIN, "http", detail);
    } else if (answer->status < 200 || answer->status > 299) {
        b24bg_rest_set(result, is_object ? B24BG_REST_WRONG : B24BG_REST_AGAIN, "http", detail);
    } else if (!is_object) {
        detail = apr_pstrcat(pool, detail, " without a JSON object", NULL);
        b24bg_rest_set(result, B24BG_REST_AGAIN, "garbage", detail);
    } else {
        b24bg_rest_set(result, B24BG_REST_OK, "", "");
    }
}

json_t *b24bg_rest_read_answer(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                               b24bg_rest_result_t *result)
{
    json_t *json;

    if (answer->outcome != B24BG_HTTP_ANSWERED) {
        b24bg_rest_set(result, B24BG_REST_AGAIN,
                       answer->outcome == B24BG_HTTP_TOO_LARGE ? "garbage" : "network",
                       b24bg_rest_quote(pool, answer->error, B24BG_REST_DETAIL_MAX));
        return NULL;
    }
    json = parse(pool, answer);
    if (json_object_get(json, "error")) {
        classify_error(pool, answer, json, result);
    } else {
        classify_status(pool, answer, json != NULL, result);
    }
    return result->class == B24BG_REST_OK ? json : NULL;
}

void b24bg_rest_classify(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                         b24bg_rest_result_t *result)
{
    b24bg_rest_read_answer(pool, answer, result);
}

/* Members */

const char *b24bg_rest_read_text(apr_pool_t *pool, const json_t *value, apr_size_t longest)
{
    const char *text = json_string_value(value);
    apr_size_t length = text ? strlen(text) : 0;
    apr_size_t i;

    if (length == 0 || length > longest) {
        return NULL;
    }
    for (i = 0; i < length; i++) {
        if (apr_iscntrl(text[i])) {
            return NULL;
        }
    }
    return apr_pstrmemdup(pool, text, length);
}

int b24bg_rest_read_optional(apr_pool_t *pool, const json_t *value, const char **text)
{
    *text = "";
    if (!value || json_is_null(value) || (json_is_string(value) && !*json_string_value(value))) {
        return 1;
    }
    *text = b24bg_rest_read_text(pool, value, B24BG_REST_TEXT_MAX);
    return *text != NULL;
}

int b24bg_rest_read_number(apr_pool_t *pool, const json_t *value, apr_int64_t max,
                           apr_int64_t *number)
{
    if (!value || json_is_null(value)) {
        return 1;
    }
    if (json_is_string(value)) {
        return b24bg_value_number(pool, json_string_value(value), 0, max, number) == NULL;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > max) {
        return 0;
    }
    *number = json_integer_value(value);
    return 1;
}

const char *b24bg_rest_read_place(apr_pool_t *pool, const char *text)
{
    const char *place;

    if (!text || *text == '*' || strlen(text) > B24BG_DOMAIN_MAX ||
        b24bg_value_pattern(pool, text, &place) != NULL) {
        return NULL;
    }
    return place;
}

/* Where we may go */

/* A resolver takes a name whose last label is a number for an address, whatever is before it. */
static int is_address(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *label = dot ? dot + 1 : host;

    return strspn(label, "0123456789") == strlen(label) || strncmp(label, "0x", 2) == 0;
}

static int is_this_machine(const char *host)
{
    apr_size_t length = strlen(host);

    return strcmp(host, "localhost") == 0 ||
           (length > 10 && strcmp(host + length - 10, ".localhost") == 0);
}

static int is_plain_path(const char *path)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_./";

    return strspn(path, allowed) == strlen(path) && !strstr(path, "//") && !strstr(path, "/.");
}

/* ".../rest/" */
static int is_client_path(const char *path)
{
    apr_size_t length = strlen(path);

    return length >= 6 && strcmp(path + length - 6, "/rest/") == 0;
}

/* ".../rest/1/code/" */
static int is_webhook_path(const char *path)
{
    const char *code = strstr(path, "/rest/");
    apr_size_t length;

    if (!code || webhook_length(code) == 0) {
        return 0;
    }
    code += webhook_length(code);
    length = run_length(code);
    return length > 0 && strcmp(code + length, "/") == 0;
}

typedef struct {
    int is_https;
    const char *host; /* not ended by NUL */
    apr_size_t host_length;
    int port;
    const char *rest; /* behind host and port */
} origin_t;

/* Only splits; what is allowed in a host is for others to say. */
static int split_origin(const char *url, origin_t *origin)
{
    apr_size_t digits = 0;
    apr_size_t length;

    origin->is_https = apr_cstr_casecmpn(url, "https://", 8) == 0;
    if (!origin->is_https && apr_cstr_casecmpn(url, "http://", 7) != 0) {
        return 0;
    }
    origin->host = url + (origin->is_https ? 8 : 7);
    origin->port = origin->is_https ? 443 : 80;
    length = strcspn(origin->host, "/?#\\");
    origin->rest = origin->host + length;
    while (digits < length && apr_isdigit(origin->rest[-1 - (apr_ssize_t)digits])) {
        digits++;
    }
    if (digits > 0 && digits < 6 && digits < length &&
        origin->rest[-1 - (apr_ssize_t)digits] == ':') {
        origin->port = (int)apr_atoi64(origin->rest - digits);
        length -= digits + 1;
    }
    origin->host_length = length;
    return length > 0;
}

/* All but the path, which the callers look at. */
static int check_place(apr_pool_t *pool, const b24bg_rest_app_t *app, const origin_t *origin,
                       b24bg_rest_endpoint_t *endpoint)
{
    const char *place;
    const char *scheme;

    if (origin->port < 1 || origin->port > 65535 || !is_plain_path(origin->rest)) {
        return 0;
    }
    place = b24bg_rest_read_place(pool, apr_pstrmemdup(pool, origin->host, origin->host_length));
    if (!place || strchr(place, ':') ||
        !b24bg_value_patterns_fit(app->portals, apr_psprintf(pool, "%s:%d", place, origin->port))) {
        return 0;
    }
    if (!app->http.allow_http &&
        (!origin->is_https || is_address(place) || is_this_machine(place))) {
        return 0;
    }
    scheme = origin->is_https ? "https" : "http";
    endpoint->host = place;
    endpoint->url =
        origin->port == (origin->is_https ? 443 : 80)
            ? apr_pstrcat(pool, scheme, "://", place, origin->rest, NULL)
            : apr_psprintf(pool, "%s://%s:%d%s", scheme, place, origin->port, origin->rest);
    return 1;
}

int b24bg_rest_check_endpoint(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *text,
                              b24bg_rest_endpoint_t *endpoint)
{
    origin_t origin;

    return strlen(text) <= ENDPOINT_LONGEST && split_origin(text, &origin) &&
           is_client_path(origin.rest) && check_place(pool, app, &origin, endpoint);
}

int b24bg_rest_check_webhook(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *text,
                             b24bg_rest_endpoint_t *endpoint)
{
    origin_t origin;

    return strlen(text) <= ENDPOINT_LONGEST && split_origin(text, &origin) &&
           is_webhook_path(origin.rest) && check_place(pool, app, &origin, endpoint);
}

const char *b24bg_rest_auth_server(const b24bg_rest_app_t *app, const char *endpoint)
{
    const apr_array_header_t *servers = app->auth_servers;
    origin_t asked;
    int i;

    if (!endpoint || !*endpoint) {
        return servers->nelts > 0 ? APR_ARRAY_IDX(servers, 0, const char *) : NULL;
    }
    if (!split_origin(endpoint, &asked)) {
        return NULL;
    }
    for (i = 0; i < servers->nelts; i++) {
        const char *server = APR_ARRAY_IDX(servers, i, const char *);
        origin_t own;
        if (split_origin(server, &own) && own.is_https == asked.is_https &&
            own.port == asked.port && own.host_length == asked.host_length &&
            apr_cstr_casecmpn(own.host, asked.host, own.host_length) == 0) {
            return server;
        }
    }
    return NULL;
}

/* Asking */

const char *b24bg_rest_encode(apr_pool_t *pool, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    char *encoded = apr_palloc(pool, 3 * strlen(text) + 1);
    char *to = encoded;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80 && (apr_isalnum(c) || strchr("-._~", c))) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    *to = '\0';
    return encoded;
}

void b24bg_rest_fill(const b24bg_rest_app_t *app, const char *url, const char *body,
                     b24bg_http_request_t *request)
{
    request->url = url;
    request->content_type = "application/x-www-form-urlencoded";
    request->body = body;
    request->length = strlen(body);
    request->options = &app->http;
    request->must_finish = 0;
}
