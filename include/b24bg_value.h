/* Values of directives: text -> checked value.
 *
 * Pure: knows APR and nothing of httpd, so that unit tests and the fuzz target link it alone.
 * Every function that checks returns NULL when the value is good, and then has set its result; else
 * a text that says what is allowed, made in `pool`, ready to follow the directive's name and the
 * value. Results live as long as `pool`. Thread: any; nothing is shared.
 */
#ifndef B24BG_VALUE_H
#define B24BG_VALUE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

/* App label: spec.md section 2. */
#define B24BG_VALUE_LABEL_MAX 32
/* HANDLER is a column of 255 characters at the portal: protocol.md section 4.4. */
#define B24BG_VALUE_WORKER_URL_MAX 255
/* Leaves room for "/<key>" below 255: spec.md section 3, protocol.md U12. */
#define B24BG_VALUE_ERROR_URL_MAX 200
/* As long as HANDLER may be: no bound of the portal's own for TITLE is documented. */
#define B24BG_VALUE_TITLE_MAX 255
/* USER_ID is above 0 (protocol.md section 4.4), and the portal's user table counts in MySQL's INT.
 */
#define B24BG_VALUE_USER_MAX 2147483647
/* Longest host name in DNS: RFC 1035 section 2.3.4. */
#define B24BG_VALUE_HOST_MAX 253

/* What a URL may be; OR them together. */
enum {
    B24BG_VALUE_URL_HTTP = 1,     /* plain http to any host; loopback is always allowed it */
    B24BG_VALUE_URL_NO_QUERY = 2, /* no "?" */
    B24BG_VALUE_URL_PATH = 4      /* "/path" on the page's own host is good as well */
};

/* [a-z0-9_-]{1,32} */
const char *b24bg_value_label(apr_pool_t *pool, const char *text);

/* A decimal whole number from min to max, nothing around it. */
const char *b24bg_value_number(apr_pool_t *pool, const char *text, apr_int64_t min, apr_int64_t max,
                               apr_int64_t *number);

/* "on" or "off", any case. */
const char *b24bg_value_switch(apr_pool_t *pool, const char *text, int *on);

/* A number with ms, s, m or h behind it (nothing means s), from min to max microseconds. */
const char *b24bg_value_time(apr_pool_t *pool, const char *text, apr_time_t min, apr_time_t max,
                             apr_time_t *time);

/* 1 to `longest` characters of UTF-8, none of them a control character. */
const char *b24bg_value_text(apr_pool_t *pool, const char *text, apr_size_t longest);

/* An absolute URL of at most `longest` characters: https (http see flags), a host, no user, no
 * fragment (a browser keeps what follows "#", and the portal's query with it: protocol.md 1.2). */
const char *b24bg_value_url(apr_pool_t *pool, const char *text, int flags, apr_size_t longest);

/* A host pattern: "crm.example.com", "*.bitrix24.ru" (any depth below, not the name itself),
 * either with ":port". Result: the pattern in lower case. */
const char *b24bg_value_pattern(apr_pool_t *pool, const char *text, const char **pattern);

/* 1 if `domain` ("host" or "host:port", lower case) fits the pattern. A pattern without a port
 * fits every port, one with :443 also a domain without one: browsers leave the usual port out. */
int b24bg_value_pattern_fits(const char *pattern, const char *domain);
/* 1 if it fits one of them (const char *), or there are none. */
int b24bg_value_patterns_fit(const apr_array_header_t *patterns, const char *domain);

/* The HANDLER of a registration: `worker_url` itself for user 0; for a personal registration a copy
 * with u=<user> at the end of its query, because the portal wants a HANDLER of its own for each
 * (protocol.md section 4.4). It may be longer than B24BG_VALUE_WORKER_URL_MAX. */
const char *b24bg_value_handler_url(apr_pool_t *pool, const char *worker_url, apr_int64_t user);

#endif
