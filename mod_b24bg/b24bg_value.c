#include "b24bg_value.h"

#include "b24bg_form.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include <errno.h>
#include <string.h>

const char *b24bg_value_label(apr_pool_t *pool, const char *text)
{
    apr_size_t length = strlen(text);

    if (length == 0 || length > B24BG_VALUE_LABEL_MAX ||
        strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") != length) {
        return apr_psprintf(pool, "a name is 1 to %d of a-z, 0-9, _ and -", B24BG_VALUE_LABEL_MAX);
    }
    return NULL;
}

/* apr_strtoi64 skips blanks and takes a sign; a value that starts with a digit has neither. */
static int whole_number(const char *text, char **end, apr_int64_t *number)
{
    if (!apr_isdigit(*text)) {
        return 0;
    }
    errno = 0;
    *number = apr_strtoi64(text, end, 10);
    return errno == 0;
}

const char *b24bg_value_number(apr_pool_t *pool, const char *text, apr_int64_t min, apr_int64_t max,
                               apr_int64_t *number)
{
    apr_int64_t value;
    char *end;

    if (!whole_number(text, &end, &value) || *end || value < min || value > max) {
        return apr_psprintf(
            pool, "a whole number from %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT " is allowed",
            min, max);
    }
    *number = value;
    return NULL;
}

const char *b24bg_value_switch(apr_pool_t *pool, const char *text, int *on)
{
    (void)pool;
    if (apr_cstr_casecmp(text, "on") != 0 && apr_cstr_casecmp(text, "off") != 0) {
        return "on or off is allowed";
    }
    *on = apr_cstr_casecmp(text, "on") == 0;
    return NULL;
}

/* Microseconds of one unit; 0 for a unit that does not exist. */
static apr_time_t unit_length(const char *unit)
{
    static const struct {
        const char *unit;
        apr_time_t length;
    } units[] = {{"", APR_USEC_PER_SEC},
                 {"s", APR_USEC_PER_SEC},
                 {"ms", APR_USEC_PER_SEC / 1000},
                 {"m", 60 * APR_USEC_PER_SEC},
                 {"h", 3600 * APR_USEC_PER_SEC}};
    apr_size_t i;

    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].unit) == 0) {
            return units[i].length;
        }
    }
    return 0;
}

const char *b24bg_value_time(apr_pool_t *pool, const char *text, apr_time_t min, apr_time_t max,
                             apr_time_t *time)
{
    apr_int64_t count;
    apr_time_t unit;
    char *end;

    if (!whole_number(text, &end, &count) || (unit = unit_length(end)) == 0 || count > max / unit ||
        count * unit < min) {
        return apr_psprintf(pool,
                            "a time from %" APR_TIME_T_FMT "ms to %" APR_TIME_T_FMT
                            "s is allowed, written as 250ms, 5s, 30m or 6h; a number "
                            "alone is seconds",
                            min / 1000, max / APR_USEC_PER_SEC);
    }
    *time = count * unit;
    return NULL;
}

/* How many characters, 0 if one of them is none or a control character. */
static apr_size_t count_characters(const char *text)
{
    apr_size_t count = 0;
    apr_size_t length;

    for (; *text; text += length) {
        length = b24bg_form_character(text);
        if (length == 0 || b24bg_form_is_control(text)) {
            return 0;
        }
        count++;
    }
    return count;
}

const char *b24bg_value_text(apr_pool_t *pool, const char *text, apr_size_t longest)
{
    apr_size_t count = count_characters(text);

    if (count == 0 || count > longest) {
        return apr_psprintf(pool,
                            "1 to %" APR_SIZE_T_FMT " characters of UTF-8 are allowed, and no "
                            "control characters",
                            longest);
    }
    return NULL;
}

/* Only the machine itself can be reached through these, so plain http gives nothing away. */
static int is_loopback(const char *host)
{
    return apr_cstr_casecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static int has_odd_bytes(const char *text)
{
    for (; *text; text++) {
        if (!apr_isgraph(*text) || strchr("\"'<>\\`", *text)) {
            return 1;
        }
    }
    return 0;
}

static int good_host(const char *host, apr_size_t length)
{
    apr_size_t i;

    if (length == 0 || length > B24BG_VALUE_HOST_MAX || host[0] == '.' || host[length - 1] == '.') {
        return 0;
    }
    for (i = 0; i < length; i++) {
        if (!apr_isalnum(host[i]) && host[i] != '-' && host[i] != '_' &&
            !(host[i] == '.' && host[i - 1] != '.')) {
            return 0;
        }
    }
    return 1;
}

static int good_port(const char *port)
{
    apr_int64_t number;
    char *end;

    return *port != '0' && whole_number(port, &end, &number) && !*end && number <= 65535;
}

/* "host", "host:port" or "[address]:port". */
static int good_host_and_port(const char *text)
{
    const char *end;

    if (*text == '[') {
        end = text + 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        if (end == text + 1 || *end++ != ']') {
            return 0;
        }
    } else {
        end = text + strcspn(text, ":");
        if (!good_host(text, (apr_size_t)(end - text))) {
            return 0;
        }
    }
    return *end == '\0' || (*end == ':' && good_port(end + 1));
}

const char *b24bg_value_url(apr_pool_t *pool, const char *text, int flags, apr_size_t longest)
{
    apr_uri_t uri;

    if (strlen(text) > longest) {
        return apr_psprintf(pool, "at most %" APR_SIZE_T_FMT " characters are allowed", longest);
    }
    if (has_odd_bytes(text)) {
        return "a URL without blanks, quotes, < > \\ and non-ASCII characters is allowed";
    }
    if (strchr(text, '#')) {
        return "no #fragment is allowed: browsers keep it, and the portal's parameters, to "
               "themselves";
    }
    if ((flags & B24BG_VALUE_URL_NO_QUERY) && strchr(text, '?')) {
        return "no query (?) is allowed";
    }
    if ((flags & B24BG_VALUE_URL_PATH) && text[0] == '/' && text[1] != '/') {
        return NULL;
    }
    if (apr_uri_parse(pool, text, &uri) != APR_SUCCESS || !uri.scheme || !uri.hostinfo ||
        !uri.hostname || uri.user || uri.password || !good_host_and_port(uri.hostinfo)) {
        return "an absolute URL as https://host/path is allowed";
    }
    if (apr_cstr_casecmp(uri.scheme, "https") == 0) {
        return NULL;
    }
    if (apr_cstr_casecmp(uri.scheme, "http") == 0 &&
        ((flags & B24BG_VALUE_URL_HTTP) || is_loopback(uri.hostname))) {
        return NULL;
    }
    return flags & B24BG_VALUE_URL_HTTP
               ? "https and http are allowed"
               : "https is allowed; http only to a loopback host or with B24bgAllowHTTP on";
}

const char *b24bg_value_pattern(apr_pool_t *pool, const char *text, const char **pattern)
{
    const char *host = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    const char *port = strchr(host, ':');
    apr_size_t length = port ? (apr_size_t)(port - host) : strlen(host);
    char *lower;

    if (!good_host(host, length) || (port && !good_port(port + 1))) {
        return "a host is allowed, as crm.example.com or *.bitrix24.ru, with :port if it must be";
    }
    lower = apr_pstrdup(pool, text);
    for (*pattern = lower; *lower; lower++) {
        *lower = (char)apr_tolower(*lower);
    }
    return NULL;
}

int b24bg_value_pattern_fits(const char *pattern, const char *domain)
{
    apr_size_t pattern_host = strcspn(pattern, ":");
    apr_size_t domain_host = strcspn(domain, ":");

    const char *port = domain[domain_host] ? domain + domain_host : ":443";

    if (pattern[pattern_host] && strcmp(pattern + pattern_host, port) != 0) {
        return 0;
    }
    if (pattern[0] != '*') {
        return pattern_host == domain_host && memcmp(pattern, domain, domain_host) == 0;
    }
    pattern_host--; /* what follows the star, the dot included */
    return domain_host > pattern_host &&
           memcmp(pattern + 1, domain + domain_host - pattern_host, pattern_host) == 0;
}

int b24bg_value_patterns_fit(const apr_array_header_t *patterns, const char *domain)
{
    int i;

    for (i = 0; i < patterns->nelts; i++) {
        if (b24bg_value_pattern_fits(APR_ARRAY_IDX(patterns, i, const char *), domain)) {
            return 1;
        }
    }
    return patterns->nelts == 0;
}

const char *b24bg_value_handler_url(apr_pool_t *pool, const char *worker_url, apr_int64_t user)
{
    const char *query = strchr(worker_url, '?');

    if (user == 0) {
        return worker_url;
    }
    return apr_psprintf(pool, "%s%su=%" APR_INT64_T_FMT, worker_url,
                        !query     ? "?"
                        : query[1] ? "&"
                                   : "",
                        user);
}
