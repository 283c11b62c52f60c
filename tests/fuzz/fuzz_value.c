/* Values of directives. First byte: which one, and what is allowed; then the value; for a pattern
 * a line end and the domain that it may fit.
 */
#include "b24bg_value.h"
#include "fuzz.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

/* A refusal says something, on one line. */
static void check_message(const char *message)
{
    FUZZ_CHECK(*message);
    for (; *message; message++) {
        FUZZ_CHECK(apr_isprint(*message));
    }
}

static const char *try_label(apr_pool_t *pool, const char *text)
{
    const char *message = b24bg_value_label(pool, text);

    FUZZ_CHECK(message || (*text && strlen(text) <= B24BG_VALUE_LABEL_MAX));
    return message;
}

static const char *try_number(apr_pool_t *pool, const char *text, apr_int64_t most)
{
    apr_int64_t number = -1;
    const char *message = b24bg_value_number(pool, text, 1, most, &number);

    if (message) {
        FUZZ_CHECK(number == -1);
    } else {
        const char *digits = text + strspn(text, "0");
        FUZZ_CHECK(number >= 1 && number <= most);
        FUZZ_CHECK(strcmp(apr_psprintf(pool, "%" APR_INT64_T_FMT, number), digits) == 0);
    }
    return message;
}

static const char *try_time(apr_pool_t *pool, const char *text, apr_time_t most)
{
    apr_time_t time = -1;
    const char *message = b24bg_value_time(pool, text, 1000, most, &time);

    FUZZ_CHECK(message ? time == -1 : time >= 1000 && time <= most);
    return message;
}

static const char *try_switch(apr_pool_t *pool, const char *text)
{
    int on = -1;
    const char *message = b24bg_value_switch(pool, text, &on);

    FUZZ_CHECK(message ? on == -1 : on == 0 || on == 1);
    return message;
}

/* A host in letters, digits and signs, or an address in brackets, with a port that exists. */
static void check_host(apr_pool_t *pool, const char *start)
{
    static const char host[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    const char *text = apr_pstrmemdup(pool, start, strcspn(start, "/?"));
    const char *end = *text == '[' ? strchr(text, ']') + 1 : text + strspn(text, host);

    FUZZ_CHECK(end > text + (*text == '[' ? 2 : 0));
    if (*end) {
        apr_int64_t port = apr_atoi64(end + 1);
        FUZZ_CHECK(*end == ':' && port >= 1 && port <= 65535);
        FUZZ_CHECK(strspn(end + 1, "0123456789") == strlen(end + 1));
    }
}

static const char *try_url(apr_pool_t *pool, const char *text, int flags)
{
    const char *message = b24bg_value_url(pool, text, flags, 200);
    const char *at;

    if (message) {
        return message;
    }
    FUZZ_CHECK(*text && strlen(text) <= 200);
    for (at = text; *at; at++) {
        FUZZ_CHECK(apr_isgraph(*at) && !strchr("\"'<>\\`#", *at));
    }
    FUZZ_CHECK(!(flags & B24BG_VALUE_URL_NO_QUERY) || !strchr(text, '?'));
    if (*text == '/') {
        FUZZ_CHECK(flags & B24BG_VALUE_URL_PATH && text[1] != '/');
        return NULL;
    }
    FUZZ_CHECK(strncasecmp(text, "https://", 8) == 0 || strncasecmp(text, "http://", 7) == 0);
    check_host(pool, strstr(text, "://") + 3);
    return NULL;
}

static const char *try_text(apr_pool_t *pool, const char *text)
{
    const char *message = b24bg_value_text(pool, text, 255);

    if (!message) {
        FUZZ_CHECK(*text && strlen(text) <= 4 * 255);
        FUZZ_CHECK(!strpbrk(text, "\t\r\n\x1B\x7F\xC0\xC1\xFE\xFF"));
    }
    return message;
}

/* What follows the star, the dot included, ends the host; or both are the same. */
static int fits(const char *pattern, const char *domain)
{
    size_t host = strcspn(domain, ":");
    size_t length = strcspn(pattern, ":");

    if (pattern[length] && strcmp(pattern + length, domain + host) != 0) {
        return 0;
    }
    if (*pattern != '*') {
        return host == length && strncmp(pattern, domain, host) == 0;
    }
    pattern++;
    length--;
    return host > length && strncmp(pattern, domain + host - length, length) == 0;
}

static const char *try_pattern(apr_pool_t *pool, char *text)
{
    char *end = strchr(text, '\n');
    const char *domain = end ? end + 1 : "x.example";
    const char *pattern = NULL;
    const char *message;

    if (end) {
        *end = '\0';
    }
    message = b24bg_value_pattern(pool, text, &pattern);
    if (message) {
        FUZZ_CHECK(!pattern);
        return message;
    }
    FUZZ_CHECK(apr_strnatcasecmp(pattern, text) == 0 && strlen(pattern) == strlen(text));
    FUZZ_CHECK(strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789.-_:*") == strlen(pattern));
    FUZZ_CHECK(!strchr(pattern + 1, '*'));
    FUZZ_CHECK(b24bg_value_pattern_fits(pattern, domain) == fits(pattern, domain));
    FUZZ_CHECK(*pattern == '*' || b24bg_value_pattern_fits(pattern, pattern));
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *message = NULL;
    apr_pool_t *pool;
    char *text;

    if (size == 0) {
        return 0;
    }
    pool = fuzz_pool();
    text = fuzz_text(pool, data + 1, size - 1);
    switch (*data % 6) {
    case 0:
        message = *data & 64 ? try_text(pool, text) : try_label(pool, text);
        break;
    case 1:
        message = try_number(pool, text, *data & 64 ? APR_INT64_MAX : 1048576);
        break;
    case 2:
        message = try_time(pool, text, *data & 64 ? APR_INT64_MAX : 600 * APR_USEC_PER_SEC);
        break;
    case 3:
        message = try_switch(pool, text);
        break;
    case 4:
        message = try_url(pool, text, *data / 6 % 8);
        break;
    default:
        message = try_pattern(pool, text);
    }
    if (message) {
        check_message(message);
    }
    apr_pool_destroy(pool);
    return 0;
}
