#include "b24bg_store_params.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_tables.h>

#include <string.h>

#define BLANKS " \t\r\n"

/* libpq takes the last of two equal settings, so what the administrator says wins. The figures
 * give up a server that is gone after some 10 s instead of TCP's hours. */
#define PGSQL_DEFAULTS(separator)                                                                  \
    "connect_timeout=5" separator "keepalives_idle=5" separator "keepalives_interval=2" separator  \
    "keepalives_count=3" separator "tcp_user_timeout=10000"

static int is_uri(const char *params)
{
    return strncmp(params, "postgresql://", 13) == 0 || strncmp(params, "postgres://", 11) == 0;
}

/* The query of a URI, or its end. */
static const char *uri_query(const char *uri)
{
    const char *from = strstr(uri, "://") + 3;
    const char *host = from + strcspn(from, "@/");
    const char *query = strchr(*host == '@' ? host : from, '?');

    return query ? query : uri + strlen(uri);
}

const char *b24bg_store_params_complete(apr_pool_t *pool, const char *params)
{
    const char *query;

    if (!is_uri(params)) {
        return apr_pstrcat(pool, PGSQL_DEFAULTS(" "), " ", params, NULL);
    }
    query = uri_query(params);
    return apr_pstrcat(pool, apr_pstrmemdup(pool, params, (apr_size_t)(query - params)), "?",
                       PGSQL_DEFAULTS("&"), *query ? "&" : "", *query ? query + 1 : "", NULL);
}

/* Hiding passwords. A message may quote any part of parameters that libpq could not make sense of,
 * so every word of what may be a password is hidden wherever it turns up. */

static int is_word(char c)
{
    return apr_isalnum(c) || (unsigned char)c >= 0x80;
}

static apr_size_t word_length(const char *text, const char *end)
{
    const char *from = text;

    while (text < end && is_word(*text)) {
        text++;
    }
    return (apr_size_t)(text - from);
}

static void add_words(apr_pool_t *pool, apr_array_header_t *words, const char *from,
                      const char *end)
{
    while (from < end) {
        apr_size_t length = word_length(from, end);
        if (length > 0) {
            APR_ARRAY_PUSH(words, const char *) = apr_pstrmemdup(pool, from, length);
        }
        from += length + 1;
    }
}

/* The end of a value in libpq's "name = value" form. */
static const char *value_end(const char *value)
{
    int quoted = *value == '\'';
    const char *ends = quoted ? "'" : BLANKS;

    value += quoted;
    while (*value && !strchr(ends, *value)) {
        value += value[0] == '\\' && value[1] ? 2 : 1;
    }
    return value + (quoted && *value);
}

/* The same, with words behind it that are no setting: blanks in a password without quotes. */
static const char *secret_end(const char *value)
{
    const char *end = value_end(value);

    for (;;) {
        const char *word = end + strspn(end, BLANKS);
        const char *after = word + strcspn(word, BLANKS "=");
        if (!*word || after[strspn(after, BLANKS)] == '=') {
            return end;
        }
        end = after;
    }
}

static apr_array_header_t *secret_words(apr_pool_t *pool, const char *params)
{
    apr_array_header_t *words = apr_array_make(pool, 4, sizeof(const char *));
    const char *found = params;

    if (is_uri(params)) {
        const char *user = strstr(params, "://") + 3;
        const char *colon = strchr(user, ':');
        const char *at = strrchr(user, '@');
        if (colon && at) {
            add_words(pool, words, colon, at);
        }
    }
    while ((found = strstr(found, "password")) != NULL) {
        found += strlen("password");
        found += strspn(found, BLANKS);
        if (*found == '=') {
            found += 1 + strspn(found + 1, BLANKS);
            add_words(pool, words, found, secret_end(found));
        }
    }
    return words;
}

static int is_secret(const apr_array_header_t *words, const char *word, apr_size_t length)
{
    int i;

    for (i = 0; i < words->nelts; i++) {
        const char *secret = APR_ARRAY_IDX(words, i, const char *);
        if (strlen(secret) == length && memcmp(secret, word, length) == 0) {
            return 1;
        }
    }
    return 0;
}

/* One line, without control characters. */
static const char *one_line(apr_pool_t *pool, const char *text)
{
    char *line = apr_pstrdup(pool, text);
    char *to = line;

    for (; *text; text++) {
        if ((unsigned char)*text > 0x20 && *text != 0x7F) {
            *to++ = *text;
        } else if (to > line && to[-1] != ' ') {
            *to++ = ' ';
        }
    }
    while (to > line && to[-1] == ' ') {
        to--;
    }
    *to = '\0';
    return line;
}

const char *b24bg_store_params_hide(apr_pool_t *pool, const char *message, const char *params)
{
    const char *text = one_line(pool, message);
    apr_array_header_t *words = secret_words(pool, params);
    apr_array_header_t *pieces = apr_array_make(pool, 16, sizeof(const char *));
    const char *end = text + strlen(text);

    while (text < end) {
        apr_size_t length = word_length(text, end);
        int hide = length > 0 && is_secret(words, text, length);
        length += length == 0;
        APR_ARRAY_PUSH(pieces, const char *) = hide ? "***" : apr_pstrmemdup(pool, text, length);
        text += length;
    }
    return apr_array_pstrcat(pool, pieces, '\0');
}
