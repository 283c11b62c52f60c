#include "b24bg_form.h"

#include <apr_cstr.h>
#include <apr_strings.h>

#include <string.h>

/* A field's name in an answer and a log: every documented one fits, the shortest token does not
 * (32 characters, protocol.md 1.3). */
#define CULPRIT_LONGEST 24

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes [from, end) in place and ends it with NUL, for which *end must be writable. Most values
 * hold nothing to decode: strcspn finds that out faster than a loop. */
static b24bg_form_result_e decode(char *from, char *end)
{
    char *to;

    *end = '\0';
    from += strcspn(from, "%+");
    to = from;
    while (from < end) {
        char c = *from++;
        if (c == '%') {
            int high = end - from >= 2 ? hex_digit((unsigned char)from[0]) : -1;
            int low = high >= 0 ? hex_digit((unsigned char)from[1]) : -1;
            if (low < 0) {
                *to = '\0';
                return B24BG_FORM_BAD_ESCAPE;
            }
            c = (char)(high << 4 | low);
            from += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (c == '\0') {
            *to = '\0';
            return B24BG_FORM_NUL;
        }
        *to++ = c;
    }
    *to = '\0';
    return B24BG_FORM_OK;
}

static apr_table_entry_t *find(const apr_table_t *fields, const char *name)
{
    const apr_array_header_t *list = apr_table_elts(fields);
    apr_table_entry_t *entry = (apr_table_entry_t *)list->elts;
    int i;

    for (i = 0; i < list->nelts; i++, entry++) {
        if (entry->key[0] == name[0] && strcmp(entry->key, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

static b24bg_form_result_e add(apr_table_t *fields, const char *name, char *value,
                               b24bg_form_twice_e twice)
{
    apr_table_entry_t *before = find(fields, name);

    if (before && twice == B24BG_FORM_REFUSE_TWICE) {
        return B24BG_FORM_TWICE;
    }
    if (before) {
        before->val = value;
        return B24BG_FORM_OK;
    }
    if (apr_table_elts(fields)->nelts == B24BG_FORM_FIELDS_MAX) {
        return B24BG_FORM_TOO_MANY;
    }
    apr_table_addn(fields, name, value);
    return B24BG_FORM_OK;
}

/* A client that leaves the "=" away puts a value where a name belongs; what may be a token is not
 * shown. */
static const char *shown_name(apr_pool_t *pool, const char *name)
{
    apr_size_t length = strlen(name);

    if (length == 0 || length > CULPRIT_LONGEST ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]") !=
            length) {
        return "a field";
    }
    return apr_pstrmemdup(pool, name, length);
}

b24bg_form_result_e b24bg_form_parse(apr_pool_t *pool, char *text, apr_size_t length,
                                     b24bg_form_twice_e twice, b24bg_form_t *form)
{
    char *end = text + length;

    form->fields = apr_table_make(pool, 16);
    form->culprit = NULL;
    while (text < end) {
        char *name = text;
        char *stop = memchr(text, '&', (apr_size_t)(end - text));
        char *value;
        b24bg_form_result_e result;

        stop = stop ? stop : end;
        text = stop + 1;
        if (stop == name) {
            continue;
        }
        value = memchr(name, '=', (apr_size_t)(stop - name));
        value = value ? value : stop;
        result = decode(name, value);
        if (result == B24BG_FORM_OK) {
            value += value < stop;
            result = decode(value, stop);
        }
        if (result == B24BG_FORM_OK) {
            result = add(form->fields, name, value, twice);
        }
        if (result != B24BG_FORM_OK) {
            form->culprit = shown_name(pool, name);
            return result;
        }
    }
    return B24BG_FORM_OK;
}

const char *b24bg_form_get(const apr_table_t *fields, const char *name)
{
    const apr_table_entry_t *entry = find(fields, name);

    return entry ? entry->val : NULL;
}

apr_size_t b24bg_form_character(const char *text)
{
    static const struct {
        unsigned char first, last, low, high; /* of the first byte, and of the second */
        apr_size_t length;
    } forms[] = {
        {0x01, 0x7F, 0, 0, 1},       {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
        {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
        {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };
    const unsigned char *byte = (const unsigned char *)text;
    apr_size_t count = sizeof(forms) / sizeof(forms[0]);
    apr_size_t form = 0;
    apr_size_t i;

    while (form < count && (byte[0] < forms[form].first || byte[0] > forms[form].last)) {
        form++;
    }
    if (form == count ||
        (forms[form].length > 1 && (byte[1] < forms[form].low || byte[1] > forms[form].high))) {
        return 0;
    }
    for (i = 2; i < forms[form].length; i++) {
        if (byte[i] < 0x80 || byte[i] > 0xBF) {
            return 0;
        }
    }
    return forms[form].length;
}

int b24bg_form_is_control(const char *character)
{
    unsigned char first = (unsigned char)character[0];
    unsigned char second = first == 0xC2 ? (unsigned char)character[1] : 0;

    return first < 0x20 || first == 0x7F || (second >= 0x80 && second < 0xA0);
}

/* The longest whole characters of text within `longest` bytes; what is no UTF-8 is cut anywhere. */
static apr_size_t cut_length(const char *text, apr_size_t longest)
{
    apr_size_t back;

    for (back = 0; back < 4 && back <= longest; back++) {
        if (((unsigned char)text[longest - back] & 0xC0) != 0x80) {
            return longest - back;
        }
    }
    return longest;
}

char *b24bg_form_clean(apr_pool_t *pool, const char *text, apr_size_t longest)
{
    apr_size_t length = strlen(text);
    char *clean;
    apr_size_t i;

    if (length > longest) {
        length = cut_length(text, longest);
    }
    clean = apr_pstrmemdup(pool, text, length);
    for (i = 0; i < length; i++) {
        if (clean[i] == '"') {
            clean[i] = '\'';
        } else if (b24bg_form_is_control(clean + i)) {
            apr_size_t end = i + b24bg_form_character(clean + i);
            memset(clean + i, ' ', end - i);
        }
    }
    return clean;
}

/* protocol.md 1.2, 1.3, 3.2, 4.1, 5.2 and 5.3. */
static const char *const secret_names[] = {"APP_SID",
                                           "AUTH_ID",
                                           "REFRESH_ID",
                                           "APPLICATION_TOKEN",
                                           "auth",
                                           "access_token",
                                           "refresh_token",
                                           "client_secret",
                                           "application_token",
                                           "auth[access_token]",
                                           "auth[refresh_token]",
                                           "auth[application_token]"};

/* Longer than any of them, even with every byte escaped. */
#define SECRET_NAME_ROOM 80

static int is_secret(const char *name, apr_size_t length)
{
    char decoded[SECRET_NAME_ROOM];
    apr_size_t i;

    if (length >= sizeof(decoded)) {
        return 0;
    }
    memcpy(decoded, name, length);
    if (decode(decoded, decoded + length) != B24BG_FORM_OK) {
        return 0;
    }
    for (i = 0; i < sizeof(secret_names) / sizeof(secret_names[0]); i++) {
        if (apr_cstr_casecmp(decoded, secret_names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

void b24bg_form_hide(char *query)
{
    char *to = query;

    while (*query) {
        apr_size_t pair = strcspn(query, "&");
        apr_size_t name = strcspn(query, "=&");
        apr_size_t shown = pair;
        if (pair > name + 1 && is_secret(query, name)) {
            query[name + 1] = '-';
            shown = name + 2;
        }
        memmove(to, query, shown);
        to += shown;
        query += pair;
        if (*query == '&') {
            *to++ = *query++;
        }
    }
    *to = '\0';
}
