/* How the command line sends. */
#include "b24bgctl.h"

#include "b24bg_form.h"
#include "b24bg_http.h"

#include <apr_general.h>
#include <apr_strings.h>

#include <curl/curl.h>
#include <string.h>

#define TIMEOUT_DEFAULT 20 /* B24bgTimeout's */
#define PAGE_ROOM 4096

typedef struct {
    const b24bgctl_manner_t *manner;
    apr_pool_t *pool;
    apr_interval_time_t held;
    apr_size_t received;
    apr_size_t room; /* in `page`, the NUL at its end included */
    char *page;
} reader_t;

/* Twice the room each time it is too small. */
static void keep_bytes(reader_t *reader, const char *bytes, apr_size_t length)
{
    if (reader->received + length >= reader->room) {
        apr_size_t room = reader->room ? reader->room : PAGE_ROOM;
        char *page;
        while (room <= reader->received + length) {
            room *= 2;
        }
        page = apr_palloc(reader->pool, room);
        if (reader->received) {
            memcpy(page, reader->page, reader->received);
        }
        reader->page = page;
        reader->room = room;
    }
    memcpy(reader->page + reader->received, bytes, length);
    reader->page[reader->received + length] = '\0';
}

static size_t take_body(char *bytes, size_t size, size_t count, void *baton)
{
    reader_t *reader = baton;

    if (reader->received + size * count > (apr_size_t)B24BG_HTTP_ANSWER_MAX) {
        return CURL_WRITEFUNC_ERROR;
    }
    if (reader->received == 0 && reader->manner->hold > 0) {
        apr_time_t start = apr_time_now();
        apr_sleep(reader->manner->hold);
        reader->held = apr_time_now() - start;
    }
    if (reader->manner->keep) {
        keep_bytes(reader, bytes, size * count);
    }
    reader->received += size * count;
    return size * count;
}

#define SET(option, value)                                                                         \
    if (curl_easy_setopt(easy, option, value) != CURLE_OK) {                                       \
        return 0;                                                                                  \
    }

static int set_manner(CURL *easy, const b24bgctl_manner_t *manner)
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
    SET(CURLOPT_FRESH_CONNECT, 1L)
    SET(CURLOPT_FORBID_REUSE, 1L)
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1)
    SET(CURLOPT_CERTINFO, (long)manner->keep)
    if (manner->ca_file) {
        SET(CURLOPT_CAINFO, manner->ca_file)
        SET(CURLOPT_CAPATH, NULL)
    }
    return 1;
}

static int set_message(CURL *easy, const b24bgctl_message_t *message, struct curl_slist *headers,
                       reader_t *reader)
{
    SET(CURLOPT_URL, message->url)
    SET(CURLOPT_HTTPHEADER, headers)
    SET(CURLOPT_SSL_VERIFYPEER, 1L)
    SET(CURLOPT_SSL_VERIFYHOST, 2L)
    SET(CURLOPT_WRITEFUNCTION, take_body)
    SET(CURLOPT_WRITEDATA, reader)
    if (message->body) {
        SET(CURLOPT_POST, 1L)
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(message->body))
        SET(CURLOPT_POSTFIELDS, message->body)
    }
    return 1;
}

static int set_look(CURL *easy, const char *url)
{
    SET(CURLOPT_URL, url)
    SET(CURLOPT_CONNECT_ONLY, 1L)
    SET(CURLOPT_SSL_VERIFYPEER, 0L)
    SET(CURLOPT_SSL_VERIFYHOST, 0L)
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

/* The server's own comes first; those behind it are not looked at, for a root that has expired does
 * no harm where there is another way. */
static apr_time_t certificate_expires(CURL *easy)
{
    static const char label[] = "Expire date:";
    struct curl_certinfo *chain = NULL;
    struct curl_slist *line;

    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain ||
        chain->num_of_certs == 0) {
        return 0;
    }
    for (line = chain->certinfo[0]; line; line = line->next) {
        if (strncmp(line->data, label, sizeof(label) - 1) == 0) {
            time_t seconds = curl_getdate(line->data + sizeof(label) - 1, NULL);
            return seconds > 0 ? apr_time_from_sec((apr_time_t)seconds) : 0;
        }
    }
    return 0;
}

static apr_table_t *get_headers(apr_pool_t *pool, CURL *easy)
{
    apr_table_t *headers = apr_table_make(pool, 12);
    struct curl_header *header = NULL;

    while ((header = curl_easy_nextheader(easy, CURLH_HEADER, -1, header)) != NULL) {
        apr_table_merge(headers, header->name, header->value);
    }
    return headers;
}

static void get_result(CURL *easy, const reader_t *reader, b24bgctl_result_t *result)
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
    if (reader->manner->keep) {
        result->page = reader->page ? reader->page : "";
        result->headers = get_headers(reader->pool, easy);
        result->certificate_expires = certificate_expires(easy);
    }
}

void b24bgctl_send(apr_pool_t *pool, const b24bgctl_message_t *message,
                   const b24bgctl_manner_t *manner, b24bgctl_result_t *result)
{
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = make_headers(message);
    reader_t reader = {manner, pool, 0, 0, 0, NULL};
    char words[CURL_ERROR_SIZE] = "";
    CURLcode code = CURLE_FAILED_INIT;

    memset(result, 0, sizeof(*result));
    if (easy && headers && set_manner(easy, manner) &&
        set_message(easy, message, headers, &reader) &&
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, words) == CURLE_OK) {
        code = curl_easy_perform(easy);
    }
    if (code == CURLE_OK) {
        get_result(easy, &reader, result);
    } else {
        result->error = error_of(pool, code, words);
        result->bad_peer = code == CURLE_PEER_FAILED_VERIFICATION;
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
}

apr_time_t b24bgctl_send_look(const char *url, const b24bgctl_manner_t *manner)
{
    CURL *easy = curl_easy_init();
    apr_time_t expires = 0;

    if (easy && set_manner(easy, manner) && set_look(easy, url) &&
        curl_easy_perform(easy) == CURLE_OK) {
        expires = certificate_expires(easy);
    }
    curl_easy_cleanup(easy);
    return expires;
}

const char *b24bgctl_random(apr_pool_t *pool)
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

void b24bgctl_send_one(apr_pool_t *pool, b24bgctl_facts_t *facts, b24bgctl_message_cb make_cb,
                       const b24bgctl_manner_t *manner, b24bgctl_result_t *result)
{
    b24bgctl_message_t message = {NULL, NULL, apr_array_make(pool, 12, sizeof(const char *))};

    facts->app_sid = b24bgctl_random(pool);
    make_cb(pool, facts, &message);
    b24bgctl_send(pool, &message, manner, result);
}

int b24bgctl_manner(b24bgctl_t *ctl, b24bgctl_manner_t *manner)
{
    memset(manner, 0, sizeof(*manner));
    manner->timeout = TIMEOUT_DEFAULT;
    manner->ca_file = ctl->options[B24BGCTL_CA_FILE];
    return b24bgctl_number(ctl, B24BGCTL_TIMEOUT, B24BGCTL_TIMEOUT_MOST, &manner->timeout);
}

const char *b24bgctl_status_hint(long status)
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
        if (status == hints[i].status) {
            return hints[i].hint;
        }
    }
    return "";
}
