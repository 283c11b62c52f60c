#include "b24bgctl.h"

#include "b24bg_placement.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

/* What a browser's form, and what PHP's http_build_query leave as it is beside letters and digits;
 * a blank becomes "+" in both. */
#define BROWSER_PLAIN "*-._"
#define PHP_PLAIN "-._"

#define SAMPLE_MEMBER_ID "da45a03b265edd8787f8a258d793cc5d"
#define SAMPLE_ACCESS_TOKEN "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
#define SAMPLE_REFRESH_TOKEN "31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
#define SAMPLE_APPLICATION_TOKEN "ec1b2074a9d3f5c81b6e40d27a95cf38"

#define OVERTIME "ERROR_PLACEMENT_LOADING_OVERTIME"
/* The real text is localized; nobody may rely on it. */
#define DESCRIPTION "Worker switched off: it loaded for over 5 seconds more than 10 times"

typedef struct {
    const char *name;
    const char *value; /* NULL: left out */
} field_t;

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

void b24bgctl_message_sample(b24bgctl_facts_t *facts, int old)
{
    memset(facts, 0, sizeof(*facts));
    facts->member_id = SAMPLE_MEMBER_ID;
    facts->domain = old ? "portal.example.local:8080" : "xxx.bitrix24.com";
    facts->application_token = SAMPLE_APPLICATION_TOKEN;
    facts->access_token = SAMPLE_ACCESS_TOKEN;
    facts->refresh_token = SAMPLE_REFRESH_TOKEN;
    facts->server_endpoint = "https://oauth.bitrix.info/rest/";
    facts->uri = "/company/personal/user/1/blog/";
    facts->old = old;
    facts->variant = 'B';
}

static char *encode(apr_pool_t *pool, const char *text, const char *plain)
{
    char *encoded = apr_palloc(pool, 3 * strlen(text) + 1);
    char *to = encoded;

    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == ' ') {
            *to++ = '+';
        } else if (byte < 0x80 && (apr_isalnum(byte) || strchr(plain, byte))) {
            *to++ = (char)byte;
        } else {
            *to++ = '%';
            *to++ = "0123456789ABCDEF"[byte >> 4];
            *to++ = "0123456789ABCDEF"[byte & 15];
        }
    }
    *to = '\0';
    return encoded;
}

static const char *encode_fields(apr_pool_t *pool, const field_t *fields, int count,
                                 const char *plain)
{
    apr_array_header_t *pairs = apr_array_make(pool, count, sizeof(const char *));
    int i;

    for (i = 0; i < count; i++) {
        if (fields[i].value) {
            APR_ARRAY_PUSH(pairs, const char *) =
                apr_pstrcat(pool, encode(pool, fields[i].name, plain), "=",
                            encode(pool, fields[i].value, plain), NULL);
        }
    }
    return apr_array_pstrcat(pool, pairs, '&');
}

static const char *with_query(apr_pool_t *pool, const char *url, const char *query)
{
    return apr_pstrcat(pool, url, strchr(url, '?') ? "&" : "?", query, NULL);
}

static void add_header(apr_pool_t *pool, b24bgctl_message_t *message, const char *name,
                       const char *value)
{
    APR_ARRAY_PUSH(message->headers, const char *) = apr_pstrcat(pool, name, ": ", value, NULL);
}

/* JSON as PHP writes it for the portal: protocol.md 1.4. Bytes above ASCII stay. */
static char *json_text(apr_pool_t *pool, const char *text)
{
    char *json = apr_palloc(pool, 6 * strlen(text) + 1);
    char *to = json;

    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '/' || byte == '\\') {
            *to++ = '\\';
            *to++ = (char)byte;
        } else if (byte < 0x20 || strchr("\"&'<>", byte)) {
            to += apr_snprintf(to, 7, "\\u%04X", byte);
        } else {
            *to++ = (char)byte;
        }
    }
    *to = '\0';
    return json;
}

/* The query and the headers of a form that the portal's page submits into a frame. */
static void make_form(apr_pool_t *pool, const b24bgctl_facts_t *facts, b24bgctl_message_t *message)
{
    static const field_t constant[] = {
        {"Content-Type", "application/x-www-form-urlencoded"},
        {"Sec-Fetch-Site", "cross-site"},
        {"Sec-Fetch-Mode", "navigate"},
        {"Sec-Fetch-Dest", "iframe"},
        {"Upgrade-Insecure-Requests", "1"},
        {"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
        {"Accept-Language", "en-US,en;q=0.9"},
        /* Told apart from people in an access log. */
        {"User-Agent", "Mozilla/5.0 (b24bgctl)"}};
    const char *origin =
        apr_pstrcat(pool, facts->old ? "http://" : "https://", facts->domain, NULL);
    int i;

    /* The portal does not escape its host: a colon arrives raw. */
    message->url = with_query(
        pool, facts->url,
        apr_pstrcat(pool, "DOMAIN=", facts->domain, "&PROTOCOL=", facts->old ? "0" : "1",
                    "&LANG=", facts->old ? "ru" : "en", "&APP_SID=", facts->app_sid, NULL));
    add_header(pool, message, "Origin", origin);
    add_header(pool, message, "Referer", apr_pstrcat(pool, origin, "/", NULL));
    for (i = 0; i < COUNT_OF(constant); i++) {
        add_header(pool, message, constant[i].name, constant[i].value);
    }
}

static void make_placement(apr_pool_t *pool, const b24bgctl_facts_t *facts, const char *placement,
                           const char *options, b24bgctl_message_t *message)
{
    int old = facts->old;
    const field_t fields[] = {{"AUTH_ID", facts->access_token},
                              {"AUTH_EXPIRES", "3600"},
                              {"REFRESH_ID", facts->refresh_token},
                              {"SERVER_ENDPOINT", old ? NULL : facts->server_endpoint},
                              {"APPLICATION_TOKEN", old ? NULL : facts->application_token},
                              {"APPLICATION_SCOPE", old ? NULL : "placement"},
                              {"member_id", facts->member_id},
                              {"status", "L"},
                              {"PLACEMENT", placement},
                              {"PLACEMENT_OPTIONS", options}};

    make_form(pool, facts, message);
    message->body = encode_fields(pool, fields, COUNT_OF(fields), BROWSER_PLAIN);
}

void b24bgctl_message_load(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                           b24bgctl_message_t *message)
{
    const char *options = apr_pstrcat(pool, "{\"ID\":\"" B24BG_PLACEMENT_CODE "\",\"URI\":\"",
                                      json_text(pool, facts->uri), "\"}", NULL);

    make_placement(pool, facts, B24BG_PLACEMENT_CODE, options, message);
}

void b24bgctl_message_page(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                           b24bgctl_message_t *message)
{
    make_placement(pool, facts, "DEFAULT", NULL, message);
}

/* A request as the servers of the event queue make it. */
static void make_queued(apr_pool_t *pool, const char *content_type, b24bgctl_message_t *message)
{
    if (content_type) {
        add_header(pool, message, "Content-Type", content_type);
    }
    add_header(pool, message, "User-Agent", "Bitrix24 Webhook Engine");
    add_header(pool, message, "Accept", ""); /* an empty one takes curl's own away */
}

static const char *seconds_text(apr_pool_t *pool, apr_time_t time)
{
    return apr_psprintf(pool, "%" APR_TIME_T_FMT, apr_time_sec(time));
}

static const char *client_endpoint(apr_pool_t *pool, const b24bgctl_facts_t *facts)
{
    return apr_pstrcat(pool, "https://", facts->domain, "/rest/", NULL);
}

static const char *notice_fields(apr_pool_t *pool, const b24bgctl_facts_t *facts)
{
    int all = facts->variant != 'A';
    const field_t fields[] = {
        {"error", OVERTIME},
        {"error_description", DESCRIPTION},
        {"ts", all ? seconds_text(pool, facts->now) : NULL},
        {"auth[domain]", all ? facts->domain : NULL},
        {"auth[client_endpoint]", all ? client_endpoint(pool, facts) : NULL},
        {"auth[server_endpoint]", all ? facts->server_endpoint : NULL},
        {"auth[member_id]", all ? facts->member_id : NULL},
        {"auth[application_token]", facts->variant == 'C' ? facts->application_token : NULL}};

    return encode_fields(pool, fields, COUNT_OF(fields), PHP_PLAIN);
}

static const char *notice_json(apr_pool_t *pool, const b24bgctl_facts_t *facts)
{
    json_t *notice =
        json_pack("{s:s, s:s, s:I, s:{s:s, s:s, s:s, s:s}}", "error", OVERTIME, "error_description",
                  DESCRIPTION, "ts", (json_int_t)apr_time_sec(facts->now), "auth", "domain",
                  facts->domain, "client_endpoint", client_endpoint(pool, facts), "server_endpoint",
                  facts->server_endpoint, "member_id", facts->member_id);
    char *text = json_dumps(notice, JSON_COMPACT);
    const char *copy = apr_pstrdup(pool, text ? text : "{}");

    free(text);
    json_decref(notice);
    return copy;
}

void b24bgctl_message_notice(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                             b24bgctl_message_t *message)
{
    message->url = facts->url;
    switch (facts->variant) {
    case 'D':
        message->url = with_query(pool, facts->url, notice_fields(pool, facts));
        make_queued(pool, NULL, message);
        break;
    case 'E':
        message->body = notice_json(pool, facts);
        make_queued(pool, "application/json", message);
        break;
    default:
        message->body = notice_fields(pool, facts);
        make_queued(pool, "application/x-www-form-urlencoded", message);
    }
}

void b24bgctl_message_event(apr_pool_t *pool, const b24bgctl_facts_t *facts,
                            b24bgctl_message_t *message)
{
    const field_t fields[] = {
        {"event", "ONAPPINSTALL"},
        {"data[VERSION]", "1"},
        {"data[ACTIVE]", "Y"},
        {"data[INSTALLED]", "Y"},
        {"data[LANGUAGE_ID]", "en"},
        {"ts", seconds_text(pool, facts->now)},
        {"auth[access_token]", facts->access_token},
        {"auth[expires]", seconds_text(pool, facts->now + apr_time_from_sec(3600))},
        {"auth[expires_in]", "3600"},
        {"auth[scope]", "placement,user_brief"},
        {"auth[domain]", facts->domain},
        {"auth[server_endpoint]", facts->server_endpoint},
        {"auth[status]", "L"},
        {"auth[client_endpoint]", client_endpoint(pool, facts)},
        {"auth[member_id]", facts->member_id},
        {"auth[user_id]", "1"},
        {"auth[refresh_token]", facts->refresh_token},
        {"auth[application_token]", facts->application_token}};

    message->url = facts->url;
    message->body = encode_fields(pool, fields, COUNT_OF(fields), PHP_PLAIN);
    make_queued(pool, "application/x-www-form-urlencoded", message);
}
