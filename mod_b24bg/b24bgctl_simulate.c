/* The rehearsals. Only the URL that is given is contacted: no redirect, no proxy, no second try. */
#include "b24bgctl.h"

#include "b24bg_form.h"
#include "b24bg_http.h"

#include <apr_general.h>
#include <apr_strings.h>

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

/* One second over the limit of a load: protocol.md section 12. */
#define SLOW_DEFAULT 6
#define TIMEOUT_DEFAULT 20 /* B24bgTimeout's */
#define COUNT_MOST 100000
/* Longer than a browser waits for anything. */
#define SECONDS_MOST 600
/* From here on an answer is worth a warning: most of a load's 5 s belong to the network. */
#define WARN_AFTER apr_time_from_sec(1)
/* How to send. */
typedef struct {
    long timeout; /* seconds */
    const char *ca_file;
    apr_interval_time_t hold; /* stop reading so long at the first byte of the page */
} manner_t;

/* What came of it. Times are counted from the start of the connection. */
typedef struct {
    const char *error; /* NULL: answered */
    long status;
    apr_interval_time_t first_byte;
    apr_interval_time_t total; /* without the time held */
    apr_interval_time_t held;
    apr_int64_t size;
} result_t;

typedef struct {
    apr_interval_time_t hold;
    apr_interval_time_t held;
    apr_size_t received;
} reader_t;

/* Sending */

static size_t take_body(char *bytes, size_t size, size_t count, void *baton)
{
    reader_t *reader = baton;

    (void)bytes;
    if (reader->received + size * count > (apr_size_t)B24BG_HTTP_ANSWER_MAX) {
        return CURL_WRITEFUNC_ERROR;
    }
    if (reader->received == 0 && reader->hold > 0) {
        apr_time_t start = apr_time_now();
        apr_sleep(reader->hold);
        reader->held = apr_time_now() - start;
    }
    reader->received += size * count;
    return size * count;
}

#define SET(option, value)                                                                         \
    if (curl_easy_setopt(easy, option, value) != CURLE_OK) {                                       \
        return 0;                                                                                  \
    }

static int set_manner(CURL *easy, const manner_t *manner, reader_t *reader)
{
    /* A page that is not read on purpose is not a slow one. */
    long hold = (long)((manner->hold + APR_USEC_PER_SEC - 1) / APR_USEC_PER_SEC);

    SET(CURLOPT_NOSIGNAL, 1L)
    SET(CURLOPT_PROTOCOLS_STR, "https,http")
    SET(CURLOPT_FOLLOWLOCATION, 0L)
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L)
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED)
    SET(CURLOPT_PROXY, "")
    SET(CURLOPT_NOPROXY, "")
    SET(CURLOPT_TIMEOUT, manner->timeout + hold)
    SET(CURLOPT_CONNECTTIMEOUT, manner->timeout)
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2)
    SET(CURLOPT_SSL_VERIFYPEER, 1L)
    SET(CURLOPT_SSL_VERIFYHOST, 2L)
    /* Each load is that of a browser that has not been here before. */
    SET(CURLOPT_FRESH_CONNECT, 1L)
    SET(CURLOPT_FORBID_REUSE, 1L)
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1)
    SET(CURLOPT_WRITEFUNCTION, take_body)
    SET(CURLOPT_WRITEDATA, reader)
    if (manner->ca_file) {
        SET(CURLOPT_CAINFO, manner->ca_file)
        SET(CURLOPT_CAPATH, NULL)
    }
    return 1;
}

static int set_message(CURL *easy, const b24bgctl_message_t *message, struct curl_slist *headers)
{
    SET(CURLOPT_URL, message->url)
    SET(CURLOPT_HTTPHEADER, headers)
    if (message->body) {
        SET(CURLOPT_POST, 1L)
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(message->body))
        SET(CURLOPT_POSTFIELDS, message->body)
    }
    return 1;
}

#undef SET

/* NULL without memory. */
static struct curl_slist *make_headers(const b24bgctl_message_t *message)
{
    /* Without a value it takes curl's own away: it waits a second for nothing. */
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    int i;

    for (i = 0; headers && i < message->headers->nelts; i++) {
        struct curl_slist *longer =
            curl_slist_append(headers, APR_ARRAY_IDX(message->headers, i, const char *));
        if (!longer) {
            curl_slist_free_all(headers);
        }
        headers = longer;
    }
    return headers;
}

/* curl's own words only where they cannot quote the URL. */
static const char *error_of(apr_pool_t *pool, CURLcode code, const char *words)
{
    int detailed = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
                   code == CURLE_SSL_CACERT_BADFILE;

    if (code == CURLE_WRITE_ERROR) {
        return "the answer is too large";
    }
    return detailed && *words ? b24bg_form_clean(pool, words, 200) : curl_easy_strerror(code);
}

static void get_result(CURL *easy, const reader_t *reader, result_t *result)
{
    curl_off_t first_byte = 0;
    curl_off_t total = 0;

    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &result->status);
    curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte);
    curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total);
    result->first_byte = first_byte;
    result->total = total - reader->held;
    result->held = reader->held;
    result->size = (apr_int64_t)reader->received;
}

static void send_message(apr_pool_t *pool, const b24bgctl_message_t *message,
                         const manner_t *manner, result_t *result)
{
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = make_headers(message);
    reader_t reader = {manner->hold, 0, 0};
    char words[CURL_ERROR_SIZE] = "";
    CURLcode code = CURLE_FAILED_INIT;

    memset(result, 0, sizeof(*result));
    if (easy && headers && set_manner(easy, manner, &reader) &&
        set_message(easy, message, headers) &&
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, words) == CURLE_OK) {
        code = curl_easy_perform(easy);
    }
    if (code == CURLE_OK) {
        get_result(easy, &reader, result);
    } else {
        result->error = error_of(pool, code, words);
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
}

/* Judging and telling */

static b24bgctl_exit_e judge(const result_t *result)
{
    if (result->error || result->status < 200 || result->status >= 400) {
        return B24BGCTL_CRITICAL;
    }
    return result->status >= 300 || result->total > WARN_AFTER ? B24BGCTL_WARNING : B24BGCTL_GOOD;
}

/* What may be behind a status; "" where it speaks for itself. */
static const char *hint_of(const result_t *result)
{
    static const struct {
        long status;
        const char *hint;
    } hints[] = {{301, "a redirect; register the final address"},
                 {302, "a redirect; register the final address"},
                 {303, "a redirect; register the final address"},
                 {307, "a redirect; register the final address"},
                 {308, "a redirect; register the final address"},
                 {400, "a field was refused; LogLevel b24bg:info names it"},
                 {403, "refused: wrong --token, a portal outside B24bgPortals, or Require"},
                 {404, "nothing is served at this path"},
                 {405, "this URL does not take POST"},
                 {413, "the body is larger than this server takes"},
                 {503, "it could not be kept safely; see the error log"}};
    apr_size_t i;

    for (i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (result->status == hints[i].status) {
            return hints[i].hint;
        }
    }
    return result->total > WARN_AFTER ? "slow: over 1 s" : "";
}

static double milliseconds(apr_interval_time_t time)
{
    return (double)time / 1000.0;
}

static b24bgctl_exit_e tell(const char *what, const result_t *result)
{
    static const char *const words[] = {"OK", "WARNING", "CRITICAL"};
    b24bgctl_exit_e verdict = judge(result);
    const char *hint = hint_of(result);

    if (result->error) {
        printf("CRITICAL: %s, no answer: %s\n", what, result->error);
        return verdict;
    }
    printf("%s: %s, status %ld, first byte %.1f ms, total %.1f ms, %" APR_INT64_T_FMT
           " bytes%s%s\n",
           words[verdict], what, result->status, milliseconds(result->first_byte),
           milliseconds(result->total), result->size, *hint ? "; " : "", hint);
    return verdict;
}

static const char *random_sid(apr_pool_t *pool)
{
    unsigned char bytes[16];
    char *text = apr_palloc(pool, 2 * sizeof(bytes) + 1);
    apr_size_t i;

    apr_generate_random_bytes(bytes, sizeof(bytes));
    for (i = 0; i < sizeof(bytes); i++) {
        apr_snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
    return text;
}

/* Sends one message of a kind. */
static void send_one(apr_pool_t *pool, b24bgctl_facts_t *facts, b24bgctl_message_cb make_cb,
                     const manner_t *manner, result_t *result)
{
    b24bgctl_message_t message = {NULL, NULL, apr_array_make(pool, 12, sizeof(const char *))};

    facts->app_sid = random_sid(pool);
    make_cb(pool, facts, &message);
    send_message(pool, &message, manner, result);
}

static int get_manner(b24bgctl_t *ctl, manner_t *manner)
{
    manner->timeout = TIMEOUT_DEFAULT;
    manner->ca_file = ctl->options[B24BGCTL_CA_FILE];
    manner->hold = 0;
    return b24bgctl_number(ctl, B24BGCTL_TIMEOUT, SECONDS_MOST, &manner->timeout);
}

static b24bgctl_exit_e simulate(b24bgctl_t *ctl, b24bgctl_message_cb make_cb, const char *what)
{
    b24bgctl_facts_t facts;
    manner_t manner;
    result_t result;

    if (!b24bgctl_facts(ctl, &facts) || !get_manner(ctl, &manner)) {
        return B24BGCTL_USAGE;
    }
    send_one(ctl->pool, &facts, make_cb, &manner, &result);
    return tell(what, &result);
}

/* Loads one after the other; the worst of them decides. */
static b24bgctl_exit_e load_often(apr_pool_t *pool, b24bgctl_facts_t *facts, const manner_t *manner,
                                  long count)
{
    long counts[B24BGCTL_USAGE] = {0};
    b24bgctl_exit_e worst = B24BGCTL_GOOD;
    result_t result;
    long i;

    for (i = 1; i <= count; i++) {
        b24bgctl_exit_e verdict;
        send_one(pool, facts, b24bgctl_message_load, manner, &result);
        verdict = tell(apr_psprintf(pool, "load %ld", i), &result);
        worst = verdict > worst ? verdict : worst;
        counts[verdict]++;
        apr_pool_clear(pool);
    }
    printf("%ld loads: %ld good, %ld redirected or slow, %ld failed\n", count,
           counts[B24BGCTL_GOOD], counts[B24BGCTL_WARNING], counts[B24BGCTL_CRITICAL]);
    return worst;
}

b24bgctl_exit_e b24bgctl_load(b24bgctl_t *ctl)
{
    b24bgctl_facts_t facts;
    manner_t manner;
    apr_pool_t *pool;
    long count = 1;

    if (!ctl->options[B24BGCTL_COUNT]) {
        return simulate(ctl, b24bgctl_message_load, "load");
    }
    if (!b24bgctl_facts(ctl, &facts) || !get_manner(ctl, &manner) ||
        !b24bgctl_number(ctl, B24BGCTL_COUNT, COUNT_MOST, &count)) {
        return B24BGCTL_USAGE;
    }
    apr_pool_create(&pool, ctl->pool);
    return load_often(pool, &facts, &manner, count);
}

b24bgctl_exit_e b24bgctl_slow(b24bgctl_t *ctl)
{
    long seconds = SLOW_DEFAULT;
    b24bgctl_exit_e verdict;
    b24bgctl_facts_t facts;
    manner_t manner;
    result_t result;

    if (!b24bgctl_facts(ctl, &facts) || !get_manner(ctl, &manner) ||
        !b24bgctl_number(ctl, B24BGCTL_SECONDS, SECONDS_MOST, &seconds)) {
        return B24BGCTL_USAGE;
    }
    manner.hold = apr_time_from_sec(seconds);
    send_one(ctl->pool, &facts, b24bgctl_message_load, &manner, &result);
    verdict = tell("load", &result);
    if (result.held) {
        printf(
            "The page was left unread for %.1f s, which is not in the total. Nobody has counted\n"
            "a slow load: for the server this was an ordinary one, and Bitrix24 counts what\n"
            "its own page measures in a browser.\n",
            milliseconds(result.held) / 1000);
    }
    return verdict;
}

b24bgctl_exit_e b24bgctl_notice(b24bgctl_t *ctl)
{
    return simulate(ctl, b24bgctl_message_notice, "notice");
}

b24bgctl_exit_e b24bgctl_install(b24bgctl_t *ctl)
{
    int page = ctl->options[B24BGCTL_PAGE] != NULL;

    if (ctl->options[B24BGCTL_OLD] && !page) {
        b24bgctl_refuse(B24BGCTL_OLD, "it needs --page: the event has but one form");
        return B24BGCTL_USAGE;
    }
    return simulate(ctl, page ? b24bgctl_message_page : b24bgctl_message_event,
                    page ? "installation page" : "ONAPPINSTALL");
}
