/* What a browser and Bitrix24 would meet at the public worker URL. */
#include "b24bgctl_check.h"

#include "b24bg_form.h"
#include "b24bg_page.h"
#include "b24bg_value.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <curl/curl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOADS 20
/* Most of a load's 5 s belong to the network (protocol.md section 12: what is slower is counted).
 */
#define SLOW_WARNING apr_time_from_sec(1)
#define SLOW_CRITICAL apr_time_from_sec(5)
#define TEXT_LONGEST 600
#define LOCATION_LONGEST 200

static const char *const severities[] = {"ok", "note", "warning", "critical"};

/* Findings */

void b24bgctl_find(b24bgctl_check_t *check, b24bgctl_found_e severity, const char *what,
                   const char *remedy, const char *format, ...)
{
    b24bgctl_finding_t *finding = apr_array_push(check->findings);
    va_list arguments;
    char *at;

    va_start(arguments, format);
    finding->text = at =
        b24bg_form_clean(check->pool, apr_pvsprintf(check->pool, format, arguments), TEXT_LONGEST);
    va_end(arguments);
    /* JSON takes no bytes that are not UTF-8. */
    for (; *at; at++) {
        *at = (unsigned char)*at < 0x80 ? *at : '?';
    }
    finding->severity = severity;
    finding->what = what;
    finding->remedy = remedy;
}

static b24bgctl_exit_e worst_of(const b24bgctl_check_t *check)
{
    b24bgctl_exit_e worst = B24BGCTL_GOOD;
    int i;

    for (i = 0; i < check->findings->nelts; i++) {
        b24bgctl_found_e severity = APR_ARRAY_IDX(check->findings, i, b24bgctl_finding_t).severity;
        if (severity == B24BGCTL_FOUND_CRITICAL) {
            return B24BGCTL_CRITICAL;
        }
        worst = severity == B24BGCTL_FOUND_WARNING ? B24BGCTL_WARNING : worst;
    }
    return worst;
}

/* 0 if it is no URL. */
static int read_origin(apr_pool_t *pool, const char *url, b24bgctl_origin_t *origin)
{
    CURLU *parts = curl_url();
    char *scheme = NULL;
    char *host = NULL;
    char *port = NULL;
    int good = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
               curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
               curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
               curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;

    if (good) {
        apr_size_t bracket = *host == '[';
        char *at;
        origin->scheme = apr_pstrdup(pool, scheme);
        origin->host = at = apr_pstrmemdup(pool, host + bracket, strlen(host) - 2 * bracket);
        for (; *at; at++) {
            *at = (char)apr_tolower(*at);
        }
        origin->port = atoi(port);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return good;
}

static int is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           strncmp(host, "127.", 4) == 0;
}

/* The URL itself: protocol.md 1.8, 4.4 */

static void check_scheme(b24bgctl_check_t *check)
{
    int own = is_loopback(check->worker.host);
    int fits = own || strcmp(check->portal.scheme, "http") == 0;

    if (strcmp(check->worker.scheme, "http") == 0) {
        b24bgctl_find(check, fits ? B24BGCTL_FOUND_NOTE : B24BGCTL_FOUND_CRITICAL, "handler",
                      fits ? "" : "register an https URL",
                      "plain http: a browser does not load it into a page that came by https%s",
                      own ? ", but for its own machine" : "");
    }
}

static void check_handler(b24bgctl_check_t *check)
{
    const char *host = check->worker.host;

    check_scheme(check);
    if (strlen(check->facts.url) > B24BG_VALUE_WORKER_URL_MAX) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "handler", "register a shorter URL",
                      "the URL is longer than the %d characters that a portal keeps",
                      B24BG_VALUE_WORKER_URL_MAX);
    }
    if (*host == '.' || !strchr(host, '.')) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "handler", "register a full host name",
                      "a portal takes no HANDLER whose host has no dot, as %s", host);
    }
}

/* Answers */

/* Where a redirect leads, without its query, which repeats what was sent. */
static const char *location_of(apr_pool_t *pool, const b24bgctl_result_t *result)
{
    const char *location = apr_table_get(result->headers, "Location");

    return location ? b24bg_form_clean(pool, apr_pstrndup(pool, location, strcspn(location, "?#")),
                                       LOCATION_LONGEST)
                    : "nowhere";
}

static const char *status_words(apr_pool_t *pool, long status)
{
    const char *hint = b24bgctl_status_hint(status);

    return apr_psprintf(pool, "%ld%s%s", status, *hint ? ", " : "", hint);
}

/* 0: there is no page to look at. */
static int check_post(b24bgctl_check_t *check, const b24bgctl_result_t *result)
{
    if (result->error) {
        if (!result->bad_peer) {
            b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "post",
                          "see the error log of what listens there", "no answer: %s",
                          result->error);
        }
        return 0;
    }
    if (result->status >= 300 && result->status < 400) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "redirect",
                      "register the address at the end of it, or serve this one without",
                      "%ld leads to %s: %s", result->status, location_of(check->pool, result),
                      result->status == 307 || result->status == 308
                          ? "its time counts as the load's"
                          : "a browser then drops the body");
        return 0;
    }
    if (result->status != 200) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "post",
                      "answer 200; --portal, --domain and --token make the load that of a portal",
                      "a load is answered %s", status_words(check->pool, result->status));
        return 0;
    }
    b24bgctl_find(check, B24BGCTL_FOUND_OK, "post", "",
                  "a load is answered 200, without a redirect");
    return 1;
}

static void check_type(b24bgctl_check_t *check, const b24bgctl_result_t *result)
{
    const char *type = apr_table_get(result->headers, "Content-Type");
    const char *disposition = apr_table_get(result->headers, "Content-Disposition");
    apr_size_t length = type ? strcspn(type, " ;,") : 0;
    int html = length == 9 && apr_cstr_casecmpn(type, "text/html", 9) == 0;

    b24bgctl_find(check, html ? B24BGCTL_FOUND_OK : B24BGCTL_FOUND_CRITICAL, "type",
                  html ? "" : "answer with Content-Type: text/html", "Content-Type is %s%s",
                  type ? b24bg_form_clean(check->pool, type, LOCATION_LONGEST) : "missing",
                  html ? "" : ": a browser shows or saves it, and no script runs");
    if (disposition && apr_cstr_casecmpn(disposition, "attachment", 10) == 0) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "type",
                      "take Content-Disposition away in this Location",
                      "Content-Disposition: attachment makes a browser save the page, not show it");
    }
}

static void check_references(b24bgctl_check_t *check, const b24bgctl_result_t *result)
{
    apr_array_header_t *found = b24bg_page_blockers(check->pool, result->page);
    const char *names = "";
    int i;

    for (i = 0; i < found->nelts; i++) {
        names =
            apr_pstrcat(check->pool, names, i ? ", " : "", APR_ARRAY_IDX(found, i, char *), NULL);
    }
    if (found->nelts) {
        b24bgctl_find(check, B24BGCTL_FOUND_WARNING, "references",
                      "attach it by a script after the load event, as B24bgScript does",
                      "the page holds %s: each delays its load event, or makes another one, and "
                      "that time is counted",
                      names);
    } else {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, "references", "",
                      "nothing in the page delays its load event");
    }
}

/* Time */

static int compare_times(const void *one, const void *other)
{
    apr_interval_time_t left = *(const apr_interval_time_t *)one;
    apr_interval_time_t right = *(const apr_interval_time_t *)other;

    return (left > right) - (left < right);
}

static void judge_times(b24bgctl_check_t *check, apr_interval_time_t *times)
{
    b24bgctl_found_e severity = B24BGCTL_FOUND_OK;

    qsort(times, LOADS, sizeof(*times), compare_times);
    check->shortest = times[0];
    check->median = (times[LOADS / 2 - 1] + times[LOADS / 2]) / 2;
    check->longest = times[LOADS - 1];
    if (check->longest > SLOW_WARNING) {
        severity =
            check->longest > SLOW_CRITICAL ? B24BGCTL_FOUND_CRITICAL : B24BGCTL_FOUND_WARNING;
    }
    b24bgctl_find(check, severity, "time",
                  severity == B24BGCTL_FOUND_OK
                      ? ""
                      : "look at the server's load and its way to the network; 5 s are too slow",
                  "%d loads, each on a new connection: %.1f ms at least, %.1f ms in the middle, "
                  "%.1f ms at most",
                  LOADS, (double)check->shortest / 1000.0, (double)check->median / 1000.0,
                  (double)check->longest / 1000.0);
}

/* The load that was looked at is the first of them. The first that fails ends it: what hangs would
 * hang so often. */
static void check_time(b24bgctl_check_t *check, const b24bgctl_result_t *first)
{
    apr_interval_time_t times[LOADS] = {first->total};
    b24bgctl_manner_t manner = check->manner;
    b24bgctl_result_t result;
    int i;

    manner.keep = 0;
    for (i = 1; i < LOADS; i++) {
        b24bgctl_send_one(check->pool, &check->facts, b24bgctl_message_load, &manner, &result);
        if (result.error || result.status != 200) {
            b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "time",
                          "all loads have to be answered 200; see the error log",
                          "the first load was answered 200, but number %d: %s", i + 1,
                          result.error ? result.error : status_words(check->pool, result.status));
            return;
        }
        times[i] = result.total;
    }
    judge_times(check, times);
}

static void check_worker(b24bgctl_check_t *check)
{
    b24bgctl_result_t result;

    check_handler(check);
    if (!b24bgctl_check_way(check)) {
        return;
    }
    b24bgctl_send_one(check->pool, &check->facts, b24bgctl_message_load, &check->manner, &result);
    b24bgctl_check_tls(check, &result);
    if (check_post(check, &result)) {
        check_time(check, &result);
        check_type(check, &result);
        b24bgctl_check_frame(check, &result);
        check_references(check, &result);
    }
}

/* The error URL */

static void judge_error_url(b24bgctl_check_t *check, const b24bgctl_result_t *result)
{
    if (result->error) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "error-url",
                      "Bitrix24 gives up on it just so; see the error log", "no answer: %s",
                      result->error);
    } else if (result->status != 200) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "error-url",
                      "SetHandler b24bg-error in its Location", "it is answered %s",
                      result->status == 405 ? "405" : status_words(check->pool, result->status));
    } else if (result->size) {
        b24bgctl_find(check, B24BGCTL_FOUND_WARNING, "error-url",
                      "SetHandler b24bg-error in its Location",
                      "it is answered 200, but with %" APR_INT64_T_FMT
                      " bytes: something else than b24bg-error serves it",
                      result->size);
    } else {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, "error-url", "",
                      "it is answered 200, with an empty body");
    }
}

/* A GET without an error code changes nothing. */
static void check_error_url(b24bgctl_check_t *check, const char *url)
{
    b24bgctl_message_t message = {url, NULL, apr_array_make(check->pool, 1, sizeof(char *))};
    b24bgctl_result_t result;

    APR_ARRAY_PUSH(message.headers, const char *) = "User-Agent: b24bgctl";
    b24bgctl_send(check->pool, &message, &check->manner, &result);
    judge_error_url(check, &result);
}

/* Telling */

static void print_findings(const b24bgctl_check_t *check)
{
    int i;

    for (i = 0; i < check->findings->nelts; i++) {
        const b24bgctl_finding_t *finding = &APR_ARRAY_IDX(check->findings, i, b24bgctl_finding_t);
        printf("%-8s  %s: %s%s%s\n", severities[finding->severity], finding->what, finding->text,
               *finding->remedy ? "; " : "", finding->remedy);
    }
}

static json_t *json_milliseconds(apr_interval_time_t time)
{
    return time < 0 ? json_null() : json_real((double)time / 1000.0);
}

static json_t *json_findings(const b24bgctl_check_t *check)
{
    json_t *all = json_array();
    int i;

    for (i = 0; i < check->findings->nelts; i++) {
        const b24bgctl_finding_t *finding = &APR_ARRAY_IDX(check->findings, i, b24bgctl_finding_t);
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s}", "severity",
                                             severities[finding->severity], "what", finding->what,
                                             "text", finding->text, "remedy", finding->remedy));
    }
    return all;
}

static b24bgctl_exit_e print_json(const b24bgctl_check_t *check, b24bgctl_exit_e worst)
{
    static const char *const words[] = {"ok", "warning", "critical"};
    json_t *all = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o}", "status", words[worst], "findings", json_findings(check),
        "certificate_expires_at", b24bgctl_json_time(check->pool, check->certificate_expires),
        "min_ms", json_milliseconds(check->shortest), "median_ms", json_milliseconds(check->median),
        "max_ms", json_milliseconds(check->longest));

    if (!all || json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6))) {
        worst = b24bgctl_fail(B24BGCTL_CRITICAL, "the findings cannot be written as JSON");
    }
    json_decref(all);
    printf("\n");
    return worst;
}

/* What else is to be looked at; NULL: not asked for. */
typedef struct {
    const char *error_url; /* may hold a key */
    const char *webhook;   /* secret */
} extras_t;

static int get_extras(b24bgctl_t *ctl, const b24bgctl_check_t *check, extras_t *extras)
{
    const char *error_url = ctl->options[B24BGCTL_ERROR_URL];
    const char *webhook = ctl->options[B24BGCTL_WEBHOOK];

    extras->error_url = extras->webhook = NULL;
    if ((error_url && !b24bgctl_url(ctl, "--error-url", error_url, &extras->error_url)) ||
        (webhook && !b24bgctl_url(ctl, "--webhook", webhook, &extras->webhook))) {
        return 0;
    }
    return !webhook || b24bgctl_is_webhook(check, extras->webhook) ||
           b24bgctl_refuse(B24BGCTL_WEBHOOK, "https://PORTAL/rest/USER/CODE/ is allowed");
}

static int prepare(b24bgctl_t *ctl, b24bgctl_check_t *check)
{
    const char *portal;

    memset(check, 0, sizeof(*check));
    check->pool = ctl->pool;
    check->findings = apr_array_make(ctl->pool, 16, sizeof(b24bgctl_finding_t));
    check->shortest = check->median = check->longest = -1;
    if (!b24bgctl_facts(ctl, &check->facts) || !b24bgctl_manner(ctl, &check->manner) ||
        !b24bgctl_url(ctl, "URL", ctl->words[0], &check->facts.url)) {
        return 0;
    }
    check->manner.keep = 1;
    portal = apr_pstrcat(ctl->pool, check->facts.old ? "http://" : "https://", check->facts.domain,
                         "/", NULL);
    if (read_origin(ctl->pool, check->facts.url, &check->worker) &&
        read_origin(ctl->pool, portal, &check->portal)) {
        return 1;
    }
    b24bgctl_fail(B24BGCTL_USAGE, "URL, or --domain: its host cannot be read");
    return 0;
}

b24bgctl_exit_e b24bgctl_check(b24bgctl_t *ctl)
{
    b24bgctl_check_t check;
    b24bgctl_exit_e worst;
    extras_t extras;

    if (!prepare(ctl, &check) || !get_extras(ctl, &check, &extras)) {
        return B24BGCTL_USAGE;
    }
    check_worker(&check);
    if (extras.error_url) {
        check_error_url(&check, extras.error_url);
    }
    if (extras.webhook) {
        b24bgctl_check_webhook(&check, extras.webhook);
    }
    worst = worst_of(&check);
    if (ctl->options[B24BGCTL_JSON]) {
        return print_json(&check, worst);
    }
    print_findings(&check);
    return worst;
}
