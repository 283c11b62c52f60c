/* b24bg_placement: protocol.md 1.2 to 1.5 and 9.5, spec.md 4.1. */
#include "unit.h"

#include "b24bg_form.h"
#include "b24bg_placement.h"

#include <apr_strings.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ID "da45a03b265edd8787f8a258d793cc5d"
#define SID "588b8a98e848778a4ffb38fbcf70f2b9"
#define GOOD_QUERY "DOMAIN=xxx.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=" SID
#define GOOD_BODY "member_id=" ID "&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER"

static const apr_table_t *parse(const char *text, b24bg_form_twice_e twice)
{
    b24bg_form_t form;
    char *copy = apr_pstrdup(unit_pool, text);

    assert_int_equal(b24bg_form_parse(unit_pool, copy, strlen(copy), twice, &form), B24BG_FORM_OK);
    return form.fields;
}

static b24bg_reason_e read_load(const char *query, const char *body, b24bg_placement_t *placement,
                                const char **field)
{
    return b24bg_placement_read(parse(query, B24BG_FORM_LAST_WINS),
                                parse(body, B24BG_FORM_REFUSE_TWICE), placement, field);
}

/* Reasons and verdicts: each status and text is a row of spec.md 4.1. */

typedef struct {
    const char *name; /* in counters */
    b24bg_reason_e reason;
    b24bg_verdict_e verdict;
    int status;
    const char *says;
} reason_t;

static const reason_t reasons[] = {
    {"accepted", B24BG_REASON_ACCEPTED, B24BG_VERDICT_OK, 200, ""},
    {"unknown_portal", B24BG_REASON_UNKNOWN_PORTAL, B24BG_VERDICT_UNKNOWN, 200, ""},
    {"method", B24BG_REASON_METHOD, B24BG_VERDICT_REFUSED, 405, "not allowed"},
    {"not_form", B24BG_REASON_NOT_FORM, B24BG_VERDICT_MALFORMED, 415,
     "application/x-www-form-urlencoded"},
    {"too_large", B24BG_REASON_TOO_LARGE, B24BG_VERDICT_REFUSED, 413, "larger"},
    {"body_cut", B24BG_REASON_BODY_CUT, B24BG_VERDICT_MALFORMED, 400, "to its end"},
    {"bad_escape", B24BG_REASON_BAD_ESCAPE, B24BG_VERDICT_MALFORMED, 400, "%"},
    {"nul", B24BG_REASON_NUL, B24BG_VERDICT_MALFORMED, 400, "NUL"},
    {"field_twice", B24BG_REASON_FIELD_TWICE, B24BG_VERDICT_MALFORMED, 400, "twice"},
    {"too_many_fields", B24BG_REASON_TOO_MANY_FIELDS, B24BG_VERDICT_MALFORMED, 400, "too many"},
    {"domain_missing", B24BG_REASON_DOMAIN_MISSING, B24BG_VERDICT_MALFORMED, 400, "missing"},
    {"domain_bad", B24BG_REASON_DOMAIN_BAD, B24BG_VERDICT_MALFORMED, 400, "host name"},
    {"member_id_missing", B24BG_REASON_MEMBER_ID_MISSING, B24BG_VERDICT_MALFORMED, 400, "missing"},
    {"member_id_bad", B24BG_REASON_MEMBER_ID_BAD, B24BG_VERDICT_MALFORMED, 400,
     "32 hexadecimal digits"},
    {"placement", B24BG_REASON_PLACEMENT, B24BG_VERDICT_MALFORMED, 400, B24BG_PLACEMENT_CODE},
    {"outside", B24BG_REASON_OUTSIDE, B24BG_VERDICT_REFUSED, 403, "portals served here"},
    {"bad_token", B24BG_REASON_BAD_TOKEN, B24BG_VERDICT_BADTOKEN, 403, "of this portal"},
    {"strict", B24BG_REASON_STRICT, B24BG_VERDICT_REFUSED, 403, "verified here"},
    {"token_missing", B24BG_REASON_TOKEN_MISSING, B24BG_VERDICT_MALFORMED, 400, "missing"},
    {"token_bad", B24BG_REASON_TOKEN_BAD, B24BG_VERDICT_MALFORMED, 400, "not a token"},
    {"event_missing", B24BG_REASON_EVENT_MISSING, B24BG_VERDICT_MALFORMED, 400, "event"},
    {"event_ignored", B24BG_REASON_EVENT_IGNORED, B24BG_VERDICT_OK, 200, ""},
    {"journal", B24BG_REASON_JOURNAL, B24BG_VERDICT_REFUSED, 503, "error log"},
    {"beacon", B24BG_REASON_BEACON, B24BG_VERDICT_REFUSED, 204, ""},
    {"malformed_notice", B24BG_REASON_MALFORMED_NOTICE, B24BG_VERDICT_MALFORMED, 200, ""},
};

static void test_reason(void **state)
{
    const reason_t *row = *state;
    const b24bg_reason_t *reason = b24bg_reason(row->reason);

    assert_string_equal(reason->name, row->name);
    assert_int_equal(reason->verdict, row->verdict);
    assert_int_equal(reason->status, row->status);
    assert_non_null(strstr(reason->text, row->says));
    assert_int_equal(*reason->text == '\0', *row->says == '\0');
}

/* Counters and metrics are named after them, so each name is one word, and there is one of each. */
static void test_reasons_complete(void **state)
{
    int i;
    int j;

    (void)state;
    assert_int_equal(sizeof(reasons) / sizeof(reasons[0]), B24BG_REASON_COUNT);
    for (i = 0; i < B24BG_REASON_COUNT; i++) {
        const char *name = b24bg_reason((b24bg_reason_e)i)->name;
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        for (j = 0; j < i; j++) {
            assert_string_not_equal(name, b24bg_reason((b24bg_reason_e)j)->name);
        }
    }
}

static void test_verdict_names(void **state)
{
    (void)state;
    assert_int_equal(B24BG_VERDICT_COUNT, 5);
    assert_string_equal(b24bg_verdict_name(B24BG_VERDICT_OK), "ok");
    assert_string_equal(b24bg_verdict_name(B24BG_VERDICT_UNKNOWN), "unknown");
    assert_string_equal(b24bg_verdict_name(B24BG_VERDICT_BADTOKEN), "badtoken");
    assert_string_equal(b24bg_verdict_name(B24BG_VERDICT_REFUSED), "refused");
    assert_string_equal(b24bg_verdict_name(B24BG_VERDICT_MALFORMED), "malformed");
}

typedef struct {
    const char *name;
    const char *one;
    const char *other;
    int same;
} secret_t;

static const secret_t secrets[] = {
    {"same", "ec1b2074a9d3f5c8", "ec1b2074a9d3f5c8", 1},
    {"first byte", "ec1b2074a9d3f5c8", "fc1b2074a9d3f5c8", 0},
    {"last byte", "ec1b2074a9d3f5c8", "ec1b2074a9d3f5c9", 0},
    {"case", "ec1b", "EC1B", 0},
    {"shorter", "ec1b", "ec1", 0},
    {"longer", "ec1b", "ec1b2", 0},
    {"nothing and something", "", "e", 0},
    {"nothing", "", "", 1},
    {"bytes above ASCII", "\xFF\x80", "\xFF\x80", 1},
    {"two differences that cancel out in a sum", "ab", "ba", 0},
};

static void test_same_secret(void **state)
{
    const secret_t *row = *state;

    assert_int_equal(b24bg_placement_same_secret(row->one, row->other), row->same);
    assert_int_equal(b24bg_placement_same_secret(row->other, row->one), row->same);
}

/* Whole requests. */

typedef struct {
    const char *name;
    const char *query;
    const char *body;
    b24bg_reason_e reason;
    const char *field;
} load_t;

#define R(x) B24BG_REASON_##x

static const load_t loads[] = {
    {"good", GOOD_QUERY, GOOD_BODY, R(ACCEPTED), NULL},
    {"least that is legal", "DOMAIN=x", "member_id=" ID "&PLACEMENT=PAGE_BACKGROUND_WORKER",
     R(ACCEPTED), NULL},
    {"other order", "APP_SID=1&DOMAIN=x", "PLACEMENT=PAGE_BACKGROUND_WORKER&member_id=" ID,
     R(ACCEPTED), NULL},
    {"unknown fields", "DOMAIN=x&handler=1&type=2&TOMORROW=3", GOOD_BODY "&tomorrow=4&handler=5",
     R(ACCEPTED), NULL},
    {"own parameters first", "type=1&" GOOD_QUERY, GOOD_BODY, R(ACCEPTED), NULL},
    {"handler that ends in ?", "&" GOOD_QUERY, GOOD_BODY, R(ACCEPTED), NULL},

    {"no query", "", GOOD_BODY, R(DOMAIN_MISSING), "DOMAIN"},
    {"DOMAIN of the body does not count", "LANG=en", GOOD_BODY "&DOMAIN=xxx.bitrix24.com",
     R(DOMAIN_MISSING), "DOMAIN"},
    {"domain in lower case is another field", "domain=xxx.bitrix24.com", GOOD_BODY,
     R(DOMAIN_MISSING), "DOMAIN"},
    {"empty DOMAIN", "DOMAIN=", GOOD_BODY, R(DOMAIN_BAD), "DOMAIN"},
    {"DOMAIN is checked first", "DOMAIN=/", "", R(DOMAIN_BAD), "DOMAIN"},

    {"no body", GOOD_QUERY, "", R(MEMBER_ID_MISSING), "member_id"},
    {"member_id of the query does not count", GOOD_QUERY "&member_id=" ID,
     "PLACEMENT=PAGE_BACKGROUND_WORKER", R(MEMBER_ID_MISSING), "member_id"},
    {"MEMBER_ID in capitals is another field", GOOD_QUERY,
     "MEMBER_ID=" ID "&PLACEMENT=PAGE_BACKGROUND_WORKER", R(MEMBER_ID_MISSING), "member_id"},
    {"empty member_id", GOOD_QUERY, "member_id=&PLACEMENT=PAGE_BACKGROUND_WORKER", R(MEMBER_ID_BAD),
     "member_id"},
    {"member_id of 31", GOOD_QUERY,
     "member_id=da45a03b265edd8787f8a258d793cc5&PLACEMENT=PAGE_BACKGROUND_WORKER", R(MEMBER_ID_BAD),
     "member_id"},
    {"member_id of 33", GOOD_QUERY, "member_id=" ID "0&PLACEMENT=PAGE_BACKGROUND_WORKER",
     R(MEMBER_ID_BAD), "member_id"},
    {"member_id with a g", GOOD_QUERY,
     "member_id=ga45a03b265edd8787f8a258d793cc5d&PLACEMENT=PAGE_BACKGROUND_WORKER",
     R(MEMBER_ID_BAD), "member_id"},
    {"member_id with a blank at its end", GOOD_QUERY,
     "member_id=" ID "+&PLACEMENT=PAGE_BACKGROUND_WORKER", R(MEMBER_ID_BAD), "member_id"},
    {"member_id with a line end", GOOD_QUERY,
     "member_id=" ID "%0A&PLACEMENT=PAGE_BACKGROUND_WORKER", R(MEMBER_ID_BAD), "member_id"},

    {"no PLACEMENT", GOOD_QUERY, "member_id=" ID, R(PLACEMENT), "PLACEMENT"},
    {"PLACEMENT of the query does not count", GOOD_QUERY "&PLACEMENT=PAGE_BACKGROUND_WORKER",
     "member_id=" ID, R(PLACEMENT), "PLACEMENT"},
    {"empty PLACEMENT", GOOD_QUERY, "member_id=" ID "&PLACEMENT=", R(PLACEMENT), "PLACEMENT"},
    {"the installation page", GOOD_QUERY, "member_id=" ID "&PLACEMENT=DEFAULT", R(PLACEMENT),
     "PLACEMENT"},
    {"PLACEMENT in lower case", GOOD_QUERY, "member_id=" ID "&PLACEMENT=page_background_worker",
     R(PLACEMENT), "PLACEMENT"},
    {"longer PLACEMENT", GOOD_QUERY, "member_id=" ID "&PLACEMENT=PAGE_BACKGROUND_WORKERS",
     R(PLACEMENT), "PLACEMENT"},
};

static void test_load(void **state)
{
    const load_t *row = *state;
    b24bg_placement_t placement;
    const char *field = NULL;

    memset(&placement, '~', sizeof(placement));
    assert_int_equal(read_load(row->query, row->body, &placement, &field), row->reason);
    if (row->reason != B24BG_REASON_ACCEPTED) {
        assert_string_equal(field, row->field);
    } else {
        assert_string_equal(placement.member_id, ID);
    }
}

/* V1, new portal: protocol.md 1.5. */
static void test_new_portal(void **state)
{
    b24bg_placement_t placement;
    const char *field;

    (void)state;
    assert_int_equal(
        read_load("type=1&" GOOD_QUERY,
                  "AUTH_ID=4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
                  "&AUTH_EXPIRES=3600"
                  "&REFRESH_ID=31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
                  "&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"
                  "&APPLICATION_TOKEN=ec1b2074a9d3f5c81b6e40d27a95cf38&APPLICATION_SCOPE=placement"
                  "&member_id=" ID "&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER"
                  "&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22PAGE_BACKGROUND_WORKER%22%2C%22URI%22%3A%22"
                  "%5C%2Fcompany%5C%2Fpersonal%5C%2Fuser%5C%2F1%5C%2Fblog%5C%2F%22%7D",
                  &placement, &field),
        B24BG_REASON_ACCEPTED);
    assert_string_equal(placement.member_id, ID);
    assert_string_equal(placement.domain, "xxx.bitrix24.com");
    assert_string_equal(placement.app_sid, SID);
    assert_string_equal(placement.application_token, "ec1b2074a9d3f5c81b6e40d27a95cf38");
    assert_string_equal(placement.options, "{\"ID\":\"PAGE_BACKGROUND_WORKER\",\"URI\":"
                                           "\"\\/company\\/personal\\/user\\/1\\/blog\\/\"}");
    assert_int_equal(b24bg_placement_options_check(placement.options), B24BG_OPTIONS_OK);
    assert_string_equal(b24bg_placement_options_uri(unit_pool, placement.options),
                        "/company/personal/user/1/blog/");
}

/* V2, old portal, with a port whose colon arrives raw. */
static void test_old_portal(void **state)
{
    b24bg_placement_t placement;
    const char *field;

    (void)state;
    assert_int_equal(read_load("DOMAIN=portal.example.local:8080&PROTOCOL=0&LANG=ru"
                               "&APP_SID=0f8fad5bd9cb469fa16570867728950e",
                               "AUTH_ID=&AUTH_EXPIRES=&REFRESH_ID=&" GOOD_BODY, &placement, &field),
                     B24BG_REASON_ACCEPTED);
    assert_string_equal(placement.domain, "portal.example.local:8080");
    assert_string_equal(placement.app_sid, "0f8fad5bd9cb469fa16570867728950e");
    assert_null(placement.application_token);
    assert_null(placement.options);
}

/* What an earlier request left in the record does not shine through. */
static void test_absent_is_null(void **state)
{
    b24bg_placement_t placement;
    const char *field;

    (void)state;
    memset(&placement, '~', sizeof(placement));
    assert_int_equal(read_load("DOMAIN=x", GOOD_BODY, &placement, &field), B24BG_REASON_ACCEPTED);
    assert_null(placement.app_sid);
    assert_null(placement.application_token);
    assert_null(placement.options);
}

static void test_last_of_the_query_wins(void **state)
{
    b24bg_placement_t placement;
    const char *field;

    (void)state;
    assert_int_equal(
        read_load("DOMAIN=evil.example&APP_SID=evil&" GOOD_QUERY, GOOD_BODY, &placement, &field),
        B24BG_REASON_ACCEPTED);
    assert_string_equal(placement.domain, "xxx.bitrix24.com");
    assert_string_equal(placement.app_sid, SID);
}

/* Secrets of the query are never taken from the body, and the other way round. */
static void test_query_and_body_apart(void **state)
{
    b24bg_placement_t placement;
    const char *field;

    (void)state;
    assert_int_equal(read_load("DOMAIN=x&APPLICATION_TOKEN=q&PLACEMENT_OPTIONS=q",
                               GOOD_BODY "&APP_SID=b&DOMAIN=evil", &placement, &field),
                     B24BG_REASON_ACCEPTED);
    assert_string_equal(placement.domain, "x");
    assert_null(placement.app_sid);
    assert_null(placement.application_token);
    assert_null(placement.options);
}

static void test_member_id_in_lower_case(void **state)
{
    b24bg_placement_t placement;
    const char *field;

    (void)state;
    assert_int_equal(read_load("DOMAIN=x",
                               "member_id=DA45A03B265EDD8787F8A258D793CC5D"
                               "&PLACEMENT=PAGE_BACKGROUND_WORKER",
                               &placement, &field),
                     B24BG_REASON_ACCEPTED);
    assert_string_equal(placement.member_id, ID);
}

/* DOMAIN alone. */

typedef struct {
    const char *name;
    const char *domain;   /* decoded */
    const char *expected; /* NULL: refused */
} domain_t;

static const domain_t domains[] = {
    {"cloud", "xxx.bitrix24.com", "xxx.bitrix24.com"},
    {"capitals", "XXX.Bitrix24.COM", "xxx.bitrix24.com"},
    {"port", "portal.example.local:8080", "portal.example.local:8080"},
    {"least port", "h:1", "h:1"},
    {"largest port", "h:65535", "h:65535"},
    {"one letter", "x", "x"},
    {"one label", "portal", "portal"},
    {"digits", "192.0.2.7:8080", "192.0.2.7:8080"},
    {"hyphen", "my-portal.example", "my-portal.example"},
    {"underscore", "my_portal.example", "my_portal.example"},
    {"hyphen at the end of a label", "a-.example", "a-.example"},
    {"punycode", "xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"},
    {"trailing dot", "xxx.bitrix24.com.", "xxx.bitrix24.com"},
    {"trailing dot and port", "xxx.bitrix24.com.:8080", "xxx.bitrix24.com:8080"},

    {"empty", "", NULL},
    {"dot", ".", NULL},
    {"two trailing dots", "x..", NULL},
    {"dot first", ".x", NULL},
    {"two dots", "a..b", NULL},
    {"hyphen first", "-a.example", NULL},
    {"hyphen last", "a.example-", NULL},
    {"underscore first", "_a", NULL},
    {"port alone", ":80", NULL},
    {"port empty", "h:", NULL},
    {"port 0", "h:0", NULL},
    {"port 00000", "h:00000", NULL},
    {"port too large", "h:65536", NULL},
    {"port of six digits", "h:100000", NULL},
    {"port far too large", "h:18446744073709551617", NULL},
    {"port a word", "h:http", NULL},
    {"port negative", "h:-1", NULL},
    {"port with a sign", "h:+1", NULL},
    {"port with a blank", "h: 1", NULL},
    {"port with a tail", "h:80/x", NULL},
    {"two ports", "h:80:80", NULL},
    {"URL", "https://xxx.bitrix24.com", NULL},
    {"path", "xxx.bitrix24.com/x", NULL},
    {"user", "me@xxx.bitrix24.com", NULL},
    {"query", "xxx.bitrix24.com?x", NULL},
    {"fragment", "xxx.bitrix24.com#x", NULL},
    {"blank", "xxx bitrix24.com", NULL},
    {"blank first", " x", NULL},
    {"blank last", "x ", NULL},
    {"line end", "x\r\nSet-Cookie: y", NULL},
    {"tag", "<script>", NULL},
    {"quote", "a\"b", NULL},
    {"semicolon would end a CSP source", "a;b", NULL},
    {"star", "*.bitrix24.com", NULL},
    {"comma", "a,b", NULL},
    {"backslash", "a\\b", NULL},
    {"non-ASCII", "\xD0\xBF.example", NULL},
    {"Latin-1", "\xE9.example", NULL},
    {"address of version 6", "[::1]:80", NULL},
};

static void test_domain(void **state)
{
    const domain_t *row = *state;
    apr_table_t *query = apr_table_make(unit_pool, 1);
    b24bg_placement_t placement;
    const char *field;
    b24bg_reason_e reason;

    apr_table_setn(query, "DOMAIN", unit_copy(row->domain, strlen(row->domain) + 1, 0));
    reason =
        b24bg_placement_read(query, parse(GOOD_BODY, B24BG_FORM_REFUSE_TWICE), &placement, &field);
    if (row->expected) {
        assert_int_equal(reason, B24BG_REASON_ACCEPTED);
        assert_string_equal(placement.domain, row->expected);
    } else {
        assert_int_equal(reason, B24BG_REASON_DOMAIN_BAD);
    }
}

static void test_domain_longest(void **state)
{
    char host[256];
    b24bg_placement_t placement;
    const char *field;
    int i;

    (void)state;
    for (i = 0; i < 254; i++) {
        host[i] = i % 64 == 63 ? '.' : 'a';
    }
    host[253] = '\0';
    assert_int_equal(read_load(apr_pstrcat(unit_pool, "DOMAIN=", host, ":65535", NULL), GOOD_BODY,
                               &placement, &field),
                     B24BG_REASON_ACCEPTED);
    assert_int_equal(strlen(placement.domain), B24BG_DOMAIN_MAX);
    assert_int_equal(read_load(apr_pstrcat(unit_pool, "DOMAIN=", host, ".:65535", NULL), GOOD_BODY,
                               &placement, &field),
                     B24BG_REASON_ACCEPTED);
    assert_int_equal(read_load(apr_pstrcat(unit_pool, "DOMAIN=", host, "a", NULL), GOOD_BODY,
                               &placement, &field),
                     B24BG_REASON_DOMAIN_BAD);
}

/* PLACEMENT_OPTIONS: the rows of protocol.md 1.4 and their neighbours. */

typedef struct {
    const char *name;
    const char *text;
    b24bg_options_e result;
    const char *uri;
} options_t;

#define OPEN "{\"ID\":\"PAGE_BACKGROUND_WORKER\",\"URI\":"

static const options_t options[] = {
    {"V3 normal", OPEN "\"\\/company\\/personal\\/user\\/1\\/blog\\/\"}", B24BG_OPTIONS_OK,
     "/company/personal/user/1/blog/"},
    {"V4 query in URI",
     OPEN "\"\\/crm\\/deal\\/details\\/15\\/?IFRAME=Y\\u0026IFRAME_TYPE=SIDE_SLIDER\"}",
     B24BG_OPTIONS_OK, "/crm/deal/details/15/?IFRAME=Y&IFRAME_TYPE=SIDE_SLIDER"},
    {"no URI", "{\"ID\":\"PAGE_BACKGROUND_WORKER\"}", B24BG_OPTIONS_OK, NULL},
    {"empty array", "[]", B24BG_OPTIONS_EMPTY, NULL},
    {"percent-encoded URI", OPEN "\"\\/crm\\/deal\\/%D1%84\\/\"}", B24BG_OPTIONS_OK,
     "/crm/deal/%D1%84/"},
    {"raw UTF-8 in URI", OPEN "\"\\/crm\\/\xD1\x84\\/\"}", B24BG_OPTIONS_OK, "/crm/\xD1\x84/"},
    {"null", "null", B24BG_OPTIONS_EMPTY, NULL},
    {"nothing", "", B24BG_OPTIONS_EMPTY, NULL},
    {"empty string", "\"\"", B24BG_OPTIONS_EMPTY, NULL},
    {"undefined", "undefined", B24BG_OPTIONS_EMPTY, NULL},
    {"absent", NULL, B24BG_OPTIONS_EMPTY, NULL},
    {"escaped surrogates", OPEN "\"\\ud83d\\ude00\"}", B24BG_OPTIONS_OK, "\xF0\x9F\x98\x80"},
    {"escaped as older encoders do", OPEN "\"\\/\\u0444\\/\"}", B24BG_OPTIONS_OK, "/\xD1\x84/"},
    {"all escapes of the encoder", OPEN "\"\\u0022\\u0026\\u003C\\u003E\\u0027\\/\"}",
     B24BG_OPTIONS_OK, "\"&<>'/"},
    {"all short escapes", OPEN "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", B24BG_OPTIONS_OK,
     "\"\\/\b\f\n\r\t"},
    {"escaped Latin-1", OPEN "\"\\u00e9\\u00FF\"}", B24BG_OPTIONS_OK, "\xC3\xA9\xC3\xBF"},
    {"escaped DEL", OPEN "\"\\u007f\"}", B24BG_OPTIONS_OK, "\x7F"},
    {"empty URI", OPEN "\"\"}", B24BG_OPTIONS_OK, ""},
    {"URI is null", OPEN "null}", B24BG_OPTIONS_OK, NULL},
    {"URI is a number", OPEN "1}", B24BG_OPTIONS_OK, NULL},
    {"URI is an object", OPEN "{}}", B24BG_OPTIONS_OK, NULL},
    {"other order", "{\"URI\":\"\\/a\",\"ID\":\"PAGE_BACKGROUND_WORKER\"}", B24BG_OPTIONS_OK, "/a"},
    {"blanks", "{ \"ID\" : \"PAGE_BACKGROUND_WORKER\" , \"URI\" : \"\\/a\" }", B24BG_OPTIONS_OK,
     "/a"},
    {"more keys", OPEN "\"\\/a\",\"tomorrow\":[1,{}]}", B24BG_OPTIONS_OK, "/a"},
    {"other ID", "{\"ID\":\"x\",\"URI\":\"\\/a\"}", B24BG_OPTIONS_OK, "/a"},
    {"empty object", "{}", B24BG_OPTIONS_OK, NULL},
    {"blanks around an empty array", " [ ] ", B24BG_OPTIONS_EMPTY, NULL},

    {"cut in the URI", OPEN "\"\\/company", B24BG_OPTIONS_BROKEN, NULL},
    {"cut behind the URI", OPEN "\"\\/company\"", B24BG_OPTIONS_BROKEN, NULL},
    {"cut before the URI", OPEN, B24BG_OPTIONS_BROKEN, NULL},
    {"cut at a backslash", OPEN "\"\\", B24BG_OPTIONS_BROKEN, NULL},
    {"cut in an escape", OPEN "\"\\u00", B24BG_OPTIONS_BROKEN, NULL},
    {"cut at one byte", "{", B24BG_OPTIONS_BROKEN, NULL},
    {"double-escaped", "\"{\\\"ID\\\":\\\"PAGE_BACKGROUND_WORKER\\\"}\"", B24BG_OPTIONS_BROKEN,
     NULL},
    {"escaped quotes outside", "{\\\"ID\\\":\\\"PAGE_BACKGROUND_WORKER\\\"}", B24BG_OPTIONS_BROKEN,
     NULL},
    {"HTML-escaped", "{&quot;ID&quot;:&quot;PAGE_BACKGROUND_WORKER&quot;}", B24BG_OPTIONS_BROKEN,
     NULL},
    {"something behind", OPEN "\"\\/a\"}x", B24BG_OPTIONS_BROKEN, NULL},
    {"two objects", OPEN "\"\\/a\"}" OPEN "\"\\/a\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"comma at the end", OPEN "\"\\/a\",}", B24BG_OPTIONS_BROKEN, NULL},
    {"control byte", OPEN "\"\n\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"unknown escape", OPEN "\"\\x41\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"escaped single quote", OPEN "\"\\'\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"bad hexadecimal", OPEN "\"\\u00g0\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"capital U", OPEN "\"\\U0041\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"escaped NUL", OPEN "\"\\u0000\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"high surrogate alone", OPEN "\"\\ud83d\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"low surrogate alone", OPEN "\"\\ude00\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"invalid UTF-8", OPEN "\"\xD1\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"windows-1251", OPEN "\"\\/\xF4\\/\"}", B24BG_OPTIONS_BROKEN, NULL},
    {"array with something", "[1]", B24BG_OPTIONS_BROKEN, NULL},
    {"string", "\"x\"", B24BG_OPTIONS_BROKEN, NULL},
    {"number", "0", B24BG_OPTIONS_BROKEN, NULL},
    {"true", "true", B24BG_OPTIONS_BROKEN, NULL},
    {"false", "false", B24BG_OPTIONS_BROKEN, NULL},
    {"word", "Array", B24BG_OPTIONS_BROKEN, NULL},
    {"single quotes", "{'ID':'PAGE_BACKGROUND_WORKER'}", B24BG_OPTIONS_BROKEN, NULL},
};

static void test_options(void **state)
{
    const options_t *row = *state;
    const char *text = row->text ? unit_copy(row->text, strlen(row->text) + 1, 0) : NULL;
    const char *uri;

    assert_int_equal(b24bg_placement_options_check(text), row->result);
    uri = b24bg_placement_options_uri(unit_pool, text);
    if (row->uri) {
        assert_non_null(uri);
        assert_string_equal(uri, row->uri);
    } else {
        assert_null(uri);
    }
}

/* Arrays in arrays deeper than jansson follows are broken JSON, and no stack is lost on them. */
static void test_options_deep(void **state)
{
    size_t depth = 60000;
    char *text = unit_copy("", 0, depth + 1);

    (void)state;
    memset(text, '[', depth);
    text[depth] = '\0';
    assert_int_equal(b24bg_placement_options_check(text), B24BG_OPTIONS_BROKEN);
    assert_null(b24bg_placement_options_uri(unit_pool, text));
}

/* What jansson alone makes of the text, as the header tells. */
static b24bg_options_e meaning(const char *text)
{
    json_t *json;
    b24bg_options_e result = B24BG_OPTIONS_BROKEN;

    if (!*text || strcmp(text, "undefined") == 0) {
        return B24BG_OPTIONS_EMPTY;
    }
    json = json_loads(text, JSON_DECODE_ANY, NULL);
    if (json_is_object(json)) {
        result = B24BG_OPTIONS_OK;
    } else if (json_is_null(json) || (json_is_array(json) && !json_array_size(json)) ||
               (json_is_string(json) && !json_string_length(json))) {
        result = B24BG_OPTIONS_EMPTY;
    }
    json_decref(json);
    return result;
}

/* One change of the text: a byte replaced, removed or added, or an escape added. */
static void mutate(char *text, size_t size)
{
    static const char interesting[] = "\"\\/u0{}[]:, \x01\x1f\x7f\x80\xC3\xA9n'aF9d8G";
    static const char *const escapes[] = {"\\u0026", "\\u0000", "\\ud83d", "\\u00e9", "\\\"",
                                          "\\u007F", "\\/",     "\\x",     "\\u12",   "\xD1\x84"};
    size_t length = strlen(text);
    size_t at = unit_random((uint32_t)length + 1);
    const char *escape = escapes[unit_random(sizeof(escapes) / sizeof(escapes[0]))];

    switch (unit_random(4)) {
    case 0:
        text[at] = at < length ? interesting[unit_random(sizeof(interesting) - 1)] : '\0';
        break;
    case 1:
        if (at < length) {
            memmove(text + at, text + at + 1, length - at);
        }
        break;
    case 2:
        if (length + strlen(escape) < size) {
            memmove(text + at + strlen(escape), text + at, length - at + 1);
            memcpy(text + at, escape, strlen(escape));
        }
        break;
    default:
        text[at] = '\0';
    }
}

/* The check that allocates nothing and jansson agree about hundreds of thousands of texts around
 * the documented shape. */
static void test_options_like_jansson(void **state)
{
    static const char *const seeds[] = {
        "{\"ID\":\"PAGE_BACKGROUND_WORKER\"}",
        OPEN "\"\\/company\\/personal\\/user\\/1\\/blog\\/\"}",
        OPEN "\"\\/crm\\/?IFRAME=Y\\u0026IFRAME_TYPE=SIDE_SLIDER\"}",
        OPEN "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u00fF\"}",
        OPEN "\"\"}",
    };
    int counts[3] = {0, 0, 0};
    int round;

    (void)state;
    for (round = 0; round < 200000; round++) {
        char text[256];
        b24bg_options_e result;
        int changes = (int)unit_random(4);
        apr_cpystrn(text, seeds[unit_random(5)], sizeof(text));
        while (changes--) {
            mutate(text, sizeof(text));
        }
        result = b24bg_placement_options_check(text);
        if (result != meaning(text)) {
            fail_msg("%s: %d, but jansson says %d", text, result, meaning(text));
        }
        counts[result]++;
    }
    assert_true(counts[B24BG_OPTIONS_OK] > 20000);
    assert_true(counts[B24BG_OPTIONS_BROKEN] > 20000);
    assert_true(counts[B24BG_OPTIONS_EMPTY] > 0);
}

/* Every single byte and every escape of two digits in the place of the URI. */
static void test_options_every_byte(void **state)
{
    int i;

    (void)state;
    for (i = 1; i < 256; i++) {
        const char *raw = apr_psprintf(unit_pool, OPEN "\"%c\"}", i);
        const char *escaped = apr_psprintf(unit_pool, OPEN "\"\\%c\"}", i);
        const char *code = apr_psprintf(unit_pool, OPEN "\"\\u00%02x\"}", i);
        assert_int_equal(b24bg_placement_options_check(raw), meaning(raw));
        assert_int_equal(b24bg_placement_options_check(escaped), meaning(escaped));
        assert_int_equal(b24bg_placement_options_check(code), meaning(code));
    }
}

/* The documented shapes cost no allocation: engineering.md section 5. */

static size_t allocations;

static void *counting_malloc(size_t size)
{
    allocations++;
    return malloc(size);
}

static void test_options_no_allocation(void **state)
{
    static const char *const plain[] = {
        "{\"ID\":\"PAGE_BACKGROUND_WORKER\"}",
        OPEN "\"\\/company\\/personal\\/user\\/1\\/blog\\/\"}",
        OPEN "\"\\/crm\\/deal\\/details\\/15\\/?IFRAME=Y\\u0026IFRAME_TYPE=SIDE_SLIDER\"}",
        OPEN "\"\\/crm\\/deal\\/%D1%84\\/\"}",
        "",
        "undefined",
    };
    size_t i;

    (void)state;
    json_set_alloc_funcs(counting_malloc, free);
    allocations = 0;
    for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        b24bg_placement_options_check(plain[i]);
    }
    assert_int_equal(allocations, 0);
    b24bg_placement_options_check("{}");
    assert_true(allocations > 0); /* or the counting itself does not work */
    json_set_alloc_funcs(malloc, free);
}

static const struct user {
    const char *name;
    const char *query; /* behind the portal's */
    apr_int64_t user;
} users[] = {
    {"none", "", 0},
    {"one", "&u=7", 7},
    {"the last one counts", "&u=7&u=8", 8},
    {"empty", "&u=", 0},
    {"letters", "&u=7a", 0},
    {"negative", "&u=-7", 0},
    {"the largest", "&u=2147483647", 2147483647},
    {"too long", "&u=12345678901", 0},
};

static void personal_registrations_name_their_user(void **state)
{
    const struct user *row = *state;
    b24bg_placement_t placement;
    const char *field;

    assert_int_equal(B24BG_REASON_ACCEPTED,
                     read_load(apr_pstrcat(unit_pool, GOOD_QUERY, row->query, NULL), GOOD_BODY,
                               &placement, &field));
    assert_int_equal(row->user, placement.user);
}

int main(void)
{
    UNIT_ADD_ROWS(personal_registrations_name_their_user, users);
    UNIT_ADD_ROWS(test_reason, reasons);
    UNIT_ADD(test_reasons_complete);
    UNIT_ADD(test_verdict_names);
    UNIT_ADD_ROWS(test_same_secret, secrets);
    UNIT_ADD_ROWS(test_load, loads);
    UNIT_ADD(test_new_portal);
    UNIT_ADD(test_old_portal);
    UNIT_ADD(test_absent_is_null);
    UNIT_ADD(test_last_of_the_query_wins);
    UNIT_ADD(test_query_and_body_apart);
    UNIT_ADD(test_member_id_in_lower_case);
    UNIT_ADD_ROWS(test_domain, domains);
    UNIT_ADD(test_domain_longest);
    UNIT_ADD_ROWS(test_options, options);
    UNIT_ADD(test_options_deep);
    UNIT_ADD(test_options_like_jansson);
    UNIT_ADD(test_options_every_byte);
    UNIT_ADD(test_options_no_allocation);
    return unit_run("placement");
}
