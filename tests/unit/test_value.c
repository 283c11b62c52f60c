/* b24bg_value: spec.md sections 2 and 3, protocol.md 1.2, 4.4 and U12. */
#include "unit.h"

#include "b24bg_value.h"

#include <apr_strings.h>

#include <errno.h>
#include <string.h>

#define S APR_USEC_PER_SEC
#define UNTOUCHED (-99)

/* A refusal has to say what would be allowed. */
static void assert_message(const char *message, const char *says)
{
    if (!message || !strstr(message, says)) {
        assert_string_equal(message ? message : "(accepted)", says);
    }
}

static const char *repeat(char c, size_t count)
{
    char *text = apr_palloc(unit_pool, count + 1);

    memset(text, c, count);
    text[count] = '\0';
    return text;
}

typedef struct {
    const char *name;
    const char *text;
    int good;
} label_t;

static const label_t labels[] = {
    {"letters", "telephony", 1},
    {"one", "a", 1},
    {"digits", "007", 1},
    {"signs", "a-b_c", 1},
    {"sign first", "-_", 1},
    {"longest", "abcdefghijklmnopqrstuvwxyz012345", 1},
    {"too long", "abcdefghijklmnopqrstuvwxyz0123456", 0},
    {"empty", "", 0},
    {"upper case", "Telephony", 0},
    {"blank", "a b", 0},
    {"dot", "a.b", 0},
    {"slash", "a/b", 0},
    {"quote", "a\"b", 0},
    {"line end", "a\n", 0},
    {"non-ASCII", "\xC3\xA9", 0},
};

static void test_label(void **state)
{
    const label_t *row = *state;
    const char *message = b24bg_value_label(unit_pool, row->text);

    if (row->good) {
        assert_null(message);
    } else {
        assert_message(message, "1 to 32 of a-z, 0-9, _ and -");
    }
}

typedef struct {
    const char *name;
    const char *text;
    apr_int64_t min;
    apr_int64_t max;
    apr_int64_t expected; /* UNTOUCHED: refused */
} number_t;

static const number_t numbers[] = {
    {"least", "1", 1, 1048576, 1},
    {"most", "1048576", 1, 1048576, 1048576},
    {"below", "0", 1, 1048576, UNTOUCHED},
    {"above", "1048577", 1, 1048576, UNTOUCHED},
    {"inside", "65536", 16384, 1048576, 65536},
    {"only one value allowed", "7", 7, 7, 7},
    {"zero where allowed", "0", 0, 9, 0},
    {"largest of all", "9223372036854775807", 0, APR_INT64_MAX, APR_INT64_MAX},
    {"beyond 64 bits", "9223372036854775808", 0, APR_INT64_MAX, UNTOUCHED},
    {"far beyond 64 bits", "99999999999999999999999999", 0, APR_INT64_MAX, UNTOUCHED},
    {"wraps round to a good one", "18446744073709551617", 0, 10, UNTOUCHED},
    {"leading zeros", "0010", 0, 10, 10},
    {"not octal", "010", 0, 9, UNTOUCHED},
    {"empty", "", 0, 10, UNTOUCHED},
    {"negative", "-1", -5, 10, UNTOUCHED},
    {"plus", "+1", 0, 10, UNTOUCHED},
    {"blank before", " 1", 0, 10, UNTOUCHED},
    {"blank behind", "1 ", 0, 10, UNTOUCHED},
    {"unit", "64k", 0, 100, UNTOUCHED},
    {"hexadecimal", "0x1", 0, 10, UNTOUCHED},
    {"fraction", "1.5", 0, 10, UNTOUCHED},
    {"exponent", "1e3", 0, 10000, UNTOUCHED},
    {"word", "many", 0, 10, UNTOUCHED},
    {"other digits", "\xD9\xA1", 0, 10, UNTOUCHED},
};

static void test_number(void **state)
{
    const number_t *row = *state;
    apr_int64_t number = UNTOUCHED;
    const char *message;

    errno = ERANGE; /* of some call before; it says nothing of this number */
    message = b24bg_value_number(unit_pool, row->text, row->min, row->max, &number);
    assert_int_equal(number, row->expected);
    if (row->expected != UNTOUCHED) {
        assert_null(message);
    } else {
        assert_message(message,
                       apr_psprintf(unit_pool,
                                    "from %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT " is allowed",
                                    row->min, row->max));
    }
}

typedef struct {
    const char *name;
    const char *text;
    int expected;
} switch_t;

static const switch_t switches[] = {
    {"on", "on", 1},
    {"off", "off", 0},
    {"capitals", "ON", 1},
    {"mixed", "oFf", 0},
    {"empty", "", UNTOUCHED},
    {"yes", "yes", UNTOUCHED},
    {"one", "1", UNTOUCHED},
    {"longer", "once", UNTOUCHED},
    {"shorter", "of", UNTOUCHED},
    {"blank", "on ", UNTOUCHED},
};

static void test_switch(void **state)
{
    const switch_t *row = *state;
    int on = UNTOUCHED;
    const char *message = b24bg_value_switch(unit_pool, row->text, &on);

    assert_int_equal(on, row->expected);
    if (row->expected != UNTOUCHED) {
        assert_null(message);
    } else {
        assert_message(message, "on or off");
    }
}

typedef struct {
    const char *name;
    const char *text;
    apr_time_t min;
    apr_time_t max;
    apr_time_t expected;
} time_row_t;

static const time_row_t times[] = {
    {"no unit means seconds", "5", S / 10, 600 * S, 5 * S},
    {"seconds", "5s", S / 10, 600 * S, 5 * S},
    {"milliseconds", "250ms", S / 10, 600 * S, S / 4},
    {"minutes", "10m", S / 10, 600 * S, 600 * S},
    {"hours", "6h", 0, 24 * 3600 * S, 6 * 3600 * S},
    {"least", "100ms", S / 10, 600 * S, S / 10},
    {"below", "99ms", S / 10, 600 * S, UNTOUCHED},
    {"most in seconds", "600s", S / 10, 600 * S, 600 * S},
    {"most in milliseconds", "600000ms", S / 10, 600 * S, 600 * S},
    {"above by a millisecond", "600001ms", S / 10, 600 * S, UNTOUCHED},
    {"above in seconds", "601", S / 10, 600 * S, UNTOUCHED},
    {"above in minutes", "11m", S / 10, 600 * S, UNTOUCHED},
    {"zero where allowed", "0", 0, 600 * S, 0},
    {"zero where not", "0", S / 10, 600 * S, UNTOUCHED},
    {"product overflows", "9223372036854775807h", 0, APR_INT64_MAX, UNTOUCHED},
    {"product wraps round", "5124095576030432h", 0, APR_INT64_MAX, UNTOUCHED},
    {"number overflows", "99999999999999999999", 0, APR_INT64_MAX, UNTOUCHED},
    {"empty", "", 0, S, UNTOUCHED},
    {"unit alone", "s", 0, S, UNTOUCHED},
    {"unknown unit", "1d", 0, 999 * S, UNTOUCHED},
    {"capital unit", "1S", 0, 999 * S, UNTOUCHED},
    {"blank before the unit", "1 s", 0, 999 * S, UNTOUCHED},
    {"something behind", "1sx", 0, 999 * S, UNTOUCHED},
    {"two units", "1m30s", 0, 999 * S, UNTOUCHED},
    {"fraction", "0.5s", 0, 999 * S, UNTOUCHED},
    {"negative", "-1s", 0, 999 * S, UNTOUCHED},
    {"off", "off", 0, 999 * S, UNTOUCHED},
};

static void test_time(void **state)
{
    const time_row_t *row = *state;
    apr_time_t time = UNTOUCHED;
    const char *message = b24bg_value_time(unit_pool, row->text, row->min, row->max, &time);

    assert_int_equal(time, row->expected);
    if (row->expected != UNTOUCHED) {
        assert_null(message);
    } else {
        assert_message(message,
                       apr_psprintf(unit_pool,
                                    "from %" APR_TIME_T_FMT "ms to %" APR_TIME_T_FMT "s is allowed",
                                    row->min / 1000, row->max / S));
        assert_message(message, "250ms, 5s, 30m or 6h");
    }
}

typedef struct {
    const char *name;
    const char *text;
    int good; /* at most 4 characters are allowed */
} text_t;

static const text_t texts[] = {
    {"one", "a", 1},
    {"longest", "abcd", 1},
    {"too long", "abcde", 0},
    {"blank", "a b", 1},
    {"quotes and markup", "\"<'&", 1},
    {"longest in two bytes", "\xD0\x96\xD0\x96\xD0\x96\xD0\x96", 1},
    {"too long in two bytes", "\xD0\x96\xD0\x96\xD0\x96\xD0\x96\xD0\x96", 0},
    {"longest in four bytes", "\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80",
     1},
    {"empty", "", 0},
    {"line end", "a\n", 0},
    {"tab first", "\ta", 0},
    {"DEL", "a\x7F", 0},
    {"C1", "a\xC2\x85", 0},
    {"Latin-1", "\xE9", 0},
    {"cut character", "ab\xD0", 0},
    {"overlong", "\xC0\x80", 0},
    {"surrogate", "\xED\xA0\x80", 0},
};

static void test_text(void **state)
{
    const text_t *row = *state;
    const char *message = b24bg_value_text(unit_pool, row->text, 4);

    if (row->good) {
        assert_null(message);
    } else {
        assert_message(message, "1 to 4 characters of UTF-8 are allowed, and no control char");
    }
}

#define HTTP B24BG_VALUE_URL_HTTP
#define NO_QUERY B24BG_VALUE_URL_NO_QUERY
#define PATH B24BG_VALUE_URL_PATH

/* What the messages say. */
#define ABSOLUTE "an absolute URL as https://host/path"
#define SECURE "https is allowed; http only to a loopback host or with B24bgAllowHTTP on"
#define BOTH "https and http are allowed"
#define BYTES "without blanks, quotes, < > \\ and non-ASCII"
#define FRAGMENT "no #fragment"
#define QUERY "no query"

typedef struct {
    const char *name;
    const char *text;
    int flags;
    const char *says; /* NULL: good */
} url_t;

static const url_t urls[] = {
    {"https", "https://worker.example.com/b24/worker", 0, NULL},
    {"scheme in capitals", "HTTPS://worker.example.com/", 0, NULL},
    {"no path", "https://worker.example.com", 0, NULL},
    {"port", "https://worker.example.com:8443/w", 0, NULL},
    {"largest port", "https://worker.example.com:65535/w", 0, NULL},
    {"query", "https://worker.example.com/w?type=1&x=y", 0, NULL},
    {"empty query", "https://worker.example.com/w?", 0, NULL},
    {"address", "https://192.0.2.7/w", 0, NULL},
    {"address of version 6", "https://[2001:db8::7]:8443/w", 0, NULL},
    {"punycode", "https://xn--e1afmkfd.example/w", 0, NULL},
    {"escapes in the path", "https://worker.example.com/a%20b", 0, NULL},

    {"http refused", "http://worker.example.com/w", 0, SECURE},
    {"http allowed", "http://worker.example.com/w", HTTP, NULL},
    {"http to localhost", "http://localhost:8424/w", 0, NULL},
    {"http to LOCALHOST", "http://LocalHost/w", 0, NULL},
    {"http to 127.0.0.1", "http://127.0.0.1:8424/w", 0, NULL},
    {"http to 127.8.9.10", "http://127.8.9.10/w", 0, NULL},
    {"http to ::1", "http://[::1]:8424/w", 0, NULL},
    {"looks like loopback: 127.evil.com", "http://127.evil.com/w", 0, SECURE},
    {"looks like loopback: 127.0.0.1.evil.com", "http://127.0.0.1.evil.com/w", 0, SECURE},
    {"looks like loopback: localhost.evil.com", "http://localhost.evil.com/w", 0, SECURE},
    {"looks like loopback: evil-localhost", "http://evil-localhost/w", 0, SECURE},
    {"looks like loopback: 1127.0.0.1", "http://1127.0.0.1/w", 0, SECURE},
    {"looks like loopback: 128.0.0.1", "http://128.0.0.1/w", 0, SECURE},
    {"looks like loopback: user", "http://127.0.0.1@evil.com/w", 0, ABSOLUTE},
    {"looks like loopback: user and password", "http://localhost:80@evil.com/w", 0, ABSOLUTE},
    {"looks like loopback: ::1:1", "http://[::1:1]/w", 0, SECURE},
    {"other scheme", "ftp://worker.example.com/w", HTTP, BOTH},
    {"script", "javascript:alert(1)", HTTP | PATH, ABSOLUTE},
    {"script with a host", "javascript://h/%0Aalert(1)", HTTP | PATH, BOTH},
    {"data", "data:text/html,x", HTTP | PATH, ABSOLUTE},

    {"empty", "", 0, ABSOLUTE},
    {"word", "worker", 0, ABSOLUTE},
    {"host alone", "worker.example.com", 0, ABSOLUTE},
    {"no scheme", "//worker.example.com/w", 0, ABSOLUTE},
    {"no host", "https:///w", 0, ABSOLUTE},
    {"port without host", "https://:443/w", 0, ABSOLUTE},
    {"no slashes", "https:worker.example.com", 0, ABSOLUTE},
    {"user", "https://me@worker.example.com/w", 0, ABSOLUTE},
    {"empty user", "https://@worker.example.com/w", 0, ABSOLUTE},
    {"password", "https://me:secret@worker.example.com/w", 0, ABSOLUTE},
    {"port that is a word", "https://worker.example.com:https/w", 0, ABSOLUTE},
    {"port with a tail", "https://worker.example.com:80x/w", 0, ABSOLUTE},
    {"port 0", "https://worker.example.com:0/w", 0, ABSOLUTE},
    {"port too large", "https://worker.example.com:65536/w", 0, ABSOLUTE},
    {"port far too large", "https://worker.example.com:99999999999999999999/w", 0, ABSOLUTE},
    {"negative port", "https://worker.example.com:-5/w", 0, ABSOLUTE},
    {"signed port", "https://worker.example.com:+5/w", 0, ABSOLUTE},
    {"V11: dot alone before the domain", "https://.com/", 0, ABSOLUTE},
    {"two dots", "https://a..b/", 0, ABSOLUTE},
    {"star", "https://*.example.com/w", 0, ABSOLUTE},
    {"escaped host", "https://%00/", 0, ABSOLUTE},
    {"semicolon in the host", "https://a;b/", 0, ABSOLUTE},
    {"comma in the host", "https://a,b/", 0, ABSOLUTE},
    {"something behind the bracket", "https://[::1]x/", 0, ABSOLUTE},
    {"nothing in brackets", "https://[]/", 0, ABSOLUTE},
    {"name in brackets", "https://[localhost]/", 0, ABSOLUTE},
    {"bracket left open", "https://[::1/", 0, ABSOLUTE},

    {"blank", "https://worker.example.com/a b", 0, BYTES},
    {"line end", "https://worker.example.com/\r\n", 0, BYTES},
    {"tab", "https://worker.example.com/\t", 0, BYTES},
    {"DEL", "https://worker.example.com/\x7F", 0, BYTES},
    {"double quote", "https://worker.example.com/\"", 0, BYTES},
    {"single quote", "https://worker.example.com/'", 0, BYTES},
    {"tag", "https://worker.example.com/<script>", 0, BYTES},
    {"greater", "https://worker.example.com/>", 0, BYTES},
    {"backslash", "https:\\\\worker.example.com", 0, BYTES},
    {"backtick", "https://worker.example.com/`", 0, BYTES},
    {"non-ASCII host", "https://\xD0\xBF.example/", 0, BYTES},
    {"Latin-1", "https://worker.example.com/\xE9", 0, BYTES},

    {"fragment", "https://worker.example.com/w#x", 0, FRAGMENT},
    {"empty fragment", "https://worker.example.com/w#", 0, FRAGMENT},
    {"fragment behind a query", "https://worker.example.com/w?a#x", 0, FRAGMENT},
    {"fragment of a path", "/js/app.js#x", PATH, FRAGMENT},

    {"query where none may be", "https://worker.example.com/e?x=1", NO_QUERY, QUERY},
    {"empty query where none may be", "https://worker.example.com/e?", NO_QUERY, QUERY},
    {"no query where none may be", "https://worker.example.com/e", NO_QUERY, NULL},

    {"path", "/js/app.js", PATH, NULL},
    {"root", "/", PATH, NULL},
    {"path with a query", "/js/app.js?v=2", PATH, NULL},
    {"path where none may be", "/js/app.js", 0, ABSOLUTE},
    {"relative path", "js/app.js", PATH, ABSOLUTE},
    {"other host instead of a path", "//evil.example/x.js", PATH, ABSOLUTE},
    {"other host by a backslash", "/\\evil.example/x.js", PATH, BYTES},
    {"absolute where a path is good too", "https://cdn.example.com/x.js", PATH, NULL},
    {"http where a path is good too", "http://cdn.example.com/x.js", PATH, SECURE},
};

static void test_url(void **state)
{
    const url_t *row = *state;
    const char *message = b24bg_value_url(unit_pool, row->text, row->flags, 255);

    if (!row->says) {
        assert_null(message);
    } else {
        assert_message(message, row->says);
    }
}

static void assert_longest(apr_size_t longest, const char *says)
{
    static const char start[] = "https://h/";
    const char *most = apr_pstrcat(unit_pool, start, repeat('p', longest - strlen(start)), NULL);

    assert_int_equal(strlen(most), longest);
    assert_null(b24bg_value_url(unit_pool, most, 0, longest));
    assert_message(b24bg_value_url(unit_pool, apr_pstrcat(unit_pool, most, "p", NULL), 0, longest),
                   says);
}

static void test_url_longest(void **state)
{
    (void)state;
    assert_longest(B24BG_VALUE_WORKER_URL_MAX, "at most 255 characters are allowed");
    assert_longest(B24BG_VALUE_ERROR_URL_MAX, "at most 200 characters are allowed");
}

typedef struct {
    const char *name;
    const char *text;
    const char *expected; /* NULL: refused */
} pattern_t;

static const pattern_t patterns[] = {
    {"host", "crm.example.com", "crm.example.com"},
    {"star", "*.bitrix24.ru", "*.bitrix24.ru"},
    {"lower case", "*.Bitrix24.RU", "*.bitrix24.ru"},
    {"port", "crm.example.com:8443", "crm.example.com:8443"},
    {"star and port", "*.example.com:8443", "*.example.com:8443"},
    {"least port", "h:1", "h:1"},
    {"largest port", "h:65535", "h:65535"},
    {"one label", "portal", "portal"},
    {"one letter", "x", "x"},
    {"address", "192.0.2.7", "192.0.2.7"},
    {"hyphen and underscore", "my-crm_1.example.com", "my-crm_1.example.com"},
    {"punycode", "xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"},

    {"empty", "", NULL},
    {"star alone", "*", NULL},
    {"star and dot", "*.", NULL},
    {"star within", "crm.*.com", NULL},
    {"star as part of a label", "*crm.example.com", NULL},
    {"two stars", "*.*.example.com", NULL},
    {"dot first", ".example.com", NULL},
    {"dot last", "example.com.", NULL},
    {"two dots", "crm..example.com", NULL},
    {"dots behind the star", "*..example.com", NULL},
    {"URL", "https://crm.example.com", NULL},
    {"path", "crm.example.com/x", NULL},
    {"blank", "crm example.com", NULL},
    {"non-ASCII", "\xD0\xBF.example", NULL},
    {"quote", "a'b", NULL},
    {"semicolon would end a CSP source", "a;script-src", NULL},
    {"address of version 6", "[::1]", NULL},
    {"port 0", "h:0", NULL},
    {"port too large", "h:65536", NULL},
    {"port far too large", "h:18446744073709551617", NULL},
    {"port empty", "h:", NULL},
    {"port a word", "h:https", NULL},
    {"port a star", "h:*", NULL},
    {"port negative", "h:-1", NULL},
    {"port twice", "h:1:2", NULL},
    {"port with a zero in front never fits", "h:0443", NULL},
    {"port alone", ":443", NULL},
};

static void test_pattern(void **state)
{
    const pattern_t *row = *state;
    const char *pattern = NULL;
    const char *message = b24bg_value_pattern(unit_pool, row->text, &pattern);

    if (row->expected) {
        assert_null(message);
        assert_string_equal(pattern, row->expected);
    } else {
        assert_message(message, "crm.example.com or *.bitrix24.ru, with :port if it must be");
        assert_null(pattern);
    }
}

static void test_pattern_longest(void **state)
{
    const char *labels63 = apr_pstrcat(unit_pool, repeat('a', 63), ".", repeat('b', 63), ".",
                                       repeat('c', 63), ".", NULL);
    const char *most = apr_pstrcat(unit_pool, labels63, repeat('d', 61), NULL);
    const char *over = apr_pstrcat(unit_pool, labels63, repeat('d', 62), NULL);
    const char *pattern;

    (void)state;
    assert_int_equal(strlen(most), B24BG_VALUE_HOST_MAX);
    assert_null(b24bg_value_pattern(unit_pool, most, &pattern));
    assert_string_equal(pattern, most);
    assert_null(
        b24bg_value_pattern(unit_pool, apr_pstrcat(unit_pool, most, ":65535", NULL), &pattern));
    assert_non_null(b24bg_value_pattern(unit_pool, over, &pattern));
}

typedef struct {
    const char *name;
    const char *pattern;
    const char *domain;
    int fits;
} fits_t;

static const fits_t fits[] = {
    {"same", "crm.example.com", "crm.example.com", 1},
    {"same with any port", "crm.example.com", "crm.example.com:8443", 1},
    {"other", "crm.example.com", "crm.example.org", 0},
    {"longer in front", "example.com", "crm.example.com", 0},
    {"longer behind", "crm.example.com", "crm.example.com.evil.org", 0},
    {"shorter", "crm.example.com", "crm.example.co", 0},
    {"prefix with a port", "crm.example.com", "crm.example:8443", 0},
    {"star, one label", "*.bitrix24.ru", "xxx.bitrix24.ru", 1},
    {"star, two labels", "*.bitrix24.ru", "a.b.bitrix24.ru", 1},
    {"star, not the name itself", "*.bitrix24.ru", "bitrix24.ru", 0},
    {"star, short name itself", "*.x", "x", 0},
    {"star, short", "*.x", "y.x", 1},
    {"star, dot alone in front", "*.x", ".x", 0},
    {"star, glued", "*.bitrix24.ru", "evilbitrix24.ru", 0},
    {"star, in the middle", "*.bitrix24.ru", "x.bitrix24.ru.evil.org", 0},
    {"star, other end", "*.bitrix24.ru", "xxx.bitrix24.de", 0},
    {"star, any port", "*.bitrix24.ru", "xxx.bitrix24.ru:8080", 1},
    {"star, name in the port's place", "*.ru", "evil.org:x.ru", 0},
    {"same port", "h.x:8443", "h.x:8443", 1},
    {"other port", "h.x:8443", "h.x:8444", 0},
    {"port that begins alike", "h.x:844", "h.x:8443", 0},
    {"port wanted, none there", "h.x:8443", "h.x", 0},
    {"star and port", "*.x:8443", "h.x:8443", 1},
    {"star and other port", "*.x:8443", "h.x:844", 0},
    {"star, port wanted, none there", "*.x:8443", "h.x", 0},
    {"star and port, not the name itself", "*.x:8443", "x:8443", 0},
    {"nothing", "*.x", "", 0},
};

static void test_pattern_fits(void **state)
{
    const fits_t *row = *state;

    assert_int_equal(b24bg_value_pattern_fits(row->pattern, row->domain), row->fits);
}

typedef struct {
    const char *name;
    const char *worker_url;
    apr_int64_t user;
    const char *expected;
} handler_t;

static const handler_t handlers[] = {
    {"for all", "https://h/w", 0, "https://h/w"},
    {"for all, with a query", "https://h/w?type=1", 0, "https://h/w?type=1"},
    {"for all, with an empty query", "https://h/w?", 0, "https://h/w?"},
    {"user", "https://h/w", 7, "https://h/w?u=7"},
    {"user and a query", "https://h/w?type=1", 7, "https://h/w?type=1&u=7"},
    {"user and an empty query", "https://h/w?", 7, "https://h/w?u=7"},
    {"question mark at the end of a query", "https://h/w?a?", 7, "https://h/w?a?&u=7"},
    {"user of its own comes last", "https://h/w?u=5", 7, "https://h/w?u=5&u=7"},
    {"no path", "https://h", 7, "https://h?u=7"},
    {"largest user", "https://h/w", B24BG_VALUE_USER_MAX, "https://h/w?u=2147483647"},
    {"beyond 32 bits", "https://h/w", APR_INT64_MAX, "https://h/w?u=9223372036854775807"},
};

static void test_handler_url(void **state)
{
    const handler_t *row = *state;
    const char *url = b24bg_value_handler_url(unit_pool, row->worker_url, row->user);

    assert_string_equal(url, row->expected);
}

int main(void)
{
    UNIT_ADD_ROWS(test_label, labels);
    UNIT_ADD_ROWS(test_number, numbers);
    UNIT_ADD_ROWS(test_switch, switches);
    UNIT_ADD_ROWS(test_time, times);
    UNIT_ADD_ROWS(test_text, texts);
    UNIT_ADD_ROWS(test_url, urls);
    UNIT_ADD(test_url_longest);
    UNIT_ADD_ROWS(test_pattern, patterns);
    UNIT_ADD(test_pattern_longest);
    UNIT_ADD_ROWS(test_pattern_fits, fits);
    UNIT_ADD_ROWS(test_handler_url, handlers);
    return unit_run("value");
}
