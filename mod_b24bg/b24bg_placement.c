#include "b24bg_placement.h"

#include "b24bg_form.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <jansson.h>
#include <string.h>

#define VERDICT_NAME(id, name) name,
static const char *const verdict_names[] = {B24BG_VERDICT_LIST(VERDICT_NAME)};

#define REASON_ROW(id, name, verdict, status, text) {name, B24BG_VERDICT_##verdict, status, text},
static const b24bg_reason_t reasons[] = {B24BG_REASON_LIST(REASON_ROW)};

const b24bg_reason_t *b24bg_reason(b24bg_reason_e reason)
{
    return &reasons[reason];
}

const char *b24bg_verdict_name(b24bg_verdict_e verdict)
{
    return verdict_names[verdict];
}

int b24bg_placement_same_secret(const char *one, const char *other)
{
    apr_size_t length = strlen(one);
    volatile unsigned char difference = strlen(other) != length;
    apr_size_t i;

    if (difference) {
        return 0;
    }
    for (i = 0; i < length; i++) {
        difference |= (unsigned char)(one[i] ^ other[i]);
    }
    return difference == 0;
}

int b24bg_placement_member_id(const char *text, char *to)
{
    apr_size_t i;

    for (i = 0; i < B24BG_MEMBER_ID_LENGTH; i++) {
        if (!apr_isxdigit(text[i])) {
            return 0;
        }
        to[i] = (char)apr_tolower(text[i]);
    }
    to[i] = '\0';
    return text[i] == '\0';
}

/* 1..65535 behind the colon, at most five digits. */
static int good_port(const char *port)
{
    apr_size_t digits = strspn(port, "0123456789");

    return digits >= 1 && digits <= 5 && port[digits] == '\0' && apr_atoi64(port) >= 1 &&
           apr_atoi64(port) <= 65535;
}

/* Host names only: what Bitrix24 sends is the Host header of its own page (protocol.md 1.2), and
 * an address literal in brackets never names a portal that can be reached from elsewhere. */
static int copy_domain(char *to, const char *text)
{
    const char *port = strchr(text, ':');
    apr_size_t length = port ? (apr_size_t)(port - text) : strlen(text);
    apr_size_t i;

    if (length > 0 && text[length - 1] == '.') {
        length--;
    }
    if (length == 0 || length > B24BG_DOMAIN_MAX - 6 || (port && !good_port(port + 1))) {
        return 0;
    }
    for (i = 0; i < length; i++) {
        int inner = i > 0 && i < length - 1;
        char c = text[i];
        if (!apr_isalnum(c) &&
            !(inner && (c == '-' || c == '_' || (c == '.' && text[i - 1] != '.')))) {
            return 0;
        }
        to[i] = (char)apr_tolower(c);
    }
    strcpy(to + length, port ? port : "");
    return 1;
}

/* Anything but a number of a user is nobody. */
static apr_int64_t read_user(const char *text)
{
    apr_size_t length = text ? strlen(text) : 0;

    /* Ten digits cannot overflow, and no user has more. */
    return length > 0 && length <= 10 && strspn(text, "0123456789") == length ? apr_atoi64(text)
                                                                              : 0;
}

b24bg_reason_e b24bg_placement_read(const apr_table_t *query, const apr_table_t *body,
                                    b24bg_placement_t *placement, const char **field)
{
    const char *domain = b24bg_form_get(query, "DOMAIN");
    const char *member_id = b24bg_form_get(body, "member_id");
    const char *code = b24bg_form_get(body, "PLACEMENT");

    *field = "DOMAIN";
    if (!domain) {
        return B24BG_REASON_DOMAIN_MISSING;
    }
    if (!copy_domain(placement->domain, domain)) {
        return B24BG_REASON_DOMAIN_BAD;
    }
    *field = "member_id";
    if (!member_id) {
        return B24BG_REASON_MEMBER_ID_MISSING;
    }
    if (!b24bg_placement_member_id(member_id, placement->member_id)) {
        return B24BG_REASON_MEMBER_ID_BAD;
    }
    *field = "PLACEMENT";
    if (!code || strcmp(code, B24BG_PLACEMENT_CODE) != 0) {
        return B24BG_REASON_PLACEMENT;
    }
    placement->app_sid = b24bg_form_get(query, "APP_SID");
    placement->application_token = b24bg_form_get(body, "APPLICATION_TOKEN");
    placement->options = b24bg_form_get(body, "PLACEMENT_OPTIONS");
    placement->user = read_user(b24bg_form_get(query, "u"));
    return B24BG_REASON_ACCEPTED;
}

/* Behind an opening quote: the position behind the closing one, or NULL where the string holds
 * anything that jansson had better look at (non-ASCII, surrogates, NUL, errors). */
static const char *plain_string_end(const char *at)
{
    for (; *at >= 0x20 && *at < 0x7F && *at != '"'; at++) {
        if (*at != '\\') {
            continue;
        }
        at++;
        if (*at == 'u') {
            if (at[1] != '0' || at[2] != '0' || !apr_isxdigit(at[3]) || !apr_isxdigit(at[4]) ||
                (at[3] == '0' && at[4] == '0')) {
                return NULL;
            }
            at += 4;
        } else if (*at == '\0' || !strchr("\"\\/bfnrt", *at)) {
            return NULL;
        }
    }
    return *at == '"' ? at + 1 : NULL;
}

/* 1 for exactly {"ID":"PAGE_BACKGROUND_WORKER"} or the same with a URI of plain characters, as
 * the portal's encoder writes it: protocol.md 1.4. */
static int is_documented_shape(const char *text)
{
    static const char head[] = "{\"ID\":\"" B24BG_PLACEMENT_CODE "\"";
    static const char uri[] = ",\"URI\":\"";

    if (strncmp(text, head, sizeof(head) - 1) != 0) {
        return 0;
    }
    text += sizeof(head) - 1;
    if (strncmp(text, uri, sizeof(uri) - 1) == 0) {
        text = plain_string_end(text + sizeof(uri) - 1);
    }
    return text && strcmp(text, "}") == 0;
}

static int is_empty(const char *text)
{
    return !text || !*text || strcmp(text, "undefined") == 0;
}

b24bg_options_e b24bg_placement_options_check(const char *text)
{
    b24bg_options_e result;
    json_t *json;

    if (is_empty(text)) {
        return B24BG_OPTIONS_EMPTY;
    }
    if (is_documented_shape(text)) {
        return B24BG_OPTIONS_OK;
    }
    json = json_loads(text, JSON_DECODE_ANY, NULL);
    if (json_is_object(json)) {
        result = B24BG_OPTIONS_OK;
    } else if (json_is_null(json) || (json_is_array(json) && json_array_size(json) == 0) ||
               (json_is_string(json) && *json_string_value(json) == '\0')) {
        result = B24BG_OPTIONS_EMPTY;
    } else {
        result = B24BG_OPTIONS_BROKEN;
    }
    json_decref(json);
    return result;
}

const char *b24bg_placement_options_uri(apr_pool_t *pool, const char *text)
{
    json_t *json = is_empty(text) ? NULL : json_loads(text, 0, NULL);
    const char *uri = json_string_value(json_object_get(json, "URI"));

    uri = uri ? apr_pstrdup(pool, uri) : NULL;
    json_decref(json);
    return uri;
}
