/* A whole worker POST: the query, a line end, the body. Both are parsed as the handler does it,
 * the load is read, and its PLACEMENT_OPTIONS are judged, with jansson as the second opinion.
 */
#include "b24bg_form.h"
#include "b24bg_placement.h"
#include "fuzz.h"

#include <jansson.h>
#include <string.h>

static apr_table_t *parse(apr_pool_t *pool, const uint8_t *data, size_t size,
                          b24bg_form_twice_e twice)
{
    b24bg_form_t form;

    b24bg_form_parse(pool, fuzz_text(pool, data, size), size, twice, &form);
    return form.fields;
}

static void check_domain(const char *domain)
{
    const char *port = strchr(domain, ':');
    size_t host = port ? (size_t)(port - domain) : strlen(domain);

    FUZZ_CHECK(strlen(domain) <= B24BG_DOMAIN_MAX);
    FUZZ_CHECK(host > 0 && host <= 253);
    FUZZ_CHECK(strspn(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == host);
    FUZZ_CHECK(domain[0] != '.' && domain[host - 1] != '.' && !strstr(domain, ".."));
    if (port) {
        size_t digits = strspn(port + 1, "0123456789");
        FUZZ_CHECK(digits >= 1 && digits <= 5 && port[1 + digits] == '\0');
    }
}

static void check_load(const apr_table_t *query, const apr_table_t *body,
                       const b24bg_placement_t *placement)
{
    FUZZ_CHECK(strlen(placement->member_id) == B24BG_MEMBER_ID_LENGTH);
    FUZZ_CHECK(strspn(placement->member_id, "0123456789abcdef") == B24BG_MEMBER_ID_LENGTH);
    check_domain(placement->domain);
    FUZZ_CHECK(placement->app_sid == b24bg_form_get(query, "APP_SID"));
    FUZZ_CHECK(placement->application_token == b24bg_form_get(body, "APPLICATION_TOKEN"));
    FUZZ_CHECK(placement->options == b24bg_form_get(body, "PLACEMENT_OPTIONS"));
    FUZZ_CHECK(strcmp(b24bg_form_get(body, "PLACEMENT"), B24BG_PLACEMENT_CODE) == 0);
}

static void check_refusal(b24bg_reason_e reason, const char *field)
{
    static const char *const fields[] = {"DOMAIN", "member_id", "PLACEMENT"};
    size_t i;

    FUZZ_CHECK(b24bg_reason(reason)->status == 400);
    FUZZ_CHECK(b24bg_reason(reason)->verdict == B24BG_VERDICT_MALFORMED);
    FUZZ_CHECK(*b24bg_reason(reason)->text);
    for (i = 0; i < 3 && strcmp(field, fields[i]) != 0; i++) {
    }
    FUZZ_CHECK(i < 3);
}

/* The header's words, with jansson for everything. */
static b24bg_options_e second_opinion(const char *text, json_t **json)
{
    *json = NULL;
    if (!text || !*text || strcmp(text, "undefined") == 0) {
        return B24BG_OPTIONS_EMPTY;
    }
    *json = json_loads(text, JSON_DECODE_ANY, NULL);
    if (json_is_object(*json)) {
        return B24BG_OPTIONS_OK;
    }
    if (json_is_null(*json) || (json_is_array(*json) && json_array_size(*json) == 0) ||
        (json_is_string(*json) && json_string_length(*json) == 0)) {
        return B24BG_OPTIONS_EMPTY;
    }
    return B24BG_OPTIONS_BROKEN;
}

static void check_options(apr_pool_t *pool, const char *text)
{
    json_t *json;
    b24bg_options_e expected = second_opinion(text, &json);
    const char *uri = b24bg_placement_options_uri(pool, text);
    const char *expected_uri = json_string_value(json_object_get(json, "URI"));

    FUZZ_CHECK(b24bg_placement_options_check(text) == expected);
    FUZZ_CHECK(!uri == !expected_uri);
    FUZZ_CHECK(!uri || strcmp(uri, expected_uri) == 0);
    json_decref(json);
}

static void try_load(apr_pool_t *pool, const apr_table_t *query, const apr_table_t *body)
{
    b24bg_placement_t placement;
    const char *field = NULL;
    b24bg_reason_e reason = b24bg_placement_read(query, body, &placement, &field);

    if (reason == B24BG_REASON_ACCEPTED) {
        check_load(query, body, &placement);
    } else {
        check_refusal(reason, field);
    }
    check_options(pool, b24bg_form_get(body, "PLACEMENT_OPTIONS"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    size_t length = end ? (size_t)(end - data) : size;
    apr_pool_t *pool = fuzz_pool();
    const apr_table_t *query = parse(pool, data, length, B24BG_FORM_LAST_WINS);
    const apr_table_t *body =
        parse(pool, end ? end + 1 : data, end ? size - length - 1 : 0, B24BG_FORM_REFUSE_TWICE);

    if (query && body) {
        try_load(pool, query, body);
    }
    check_options(pool, fuzz_text(pool, data, length));
    apr_pool_destroy(pool);
    return 0;
}
