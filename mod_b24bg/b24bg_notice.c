#include "b24bg_notice.h"

#include "b24bg_form.h"

#include <apr_escape.h>
#include <apr_lib.h>
#include <apr_sha1.h>
#include <apr_strings.h>

#include <jansson.h>

#include <string.h>

/* In the journal. An installation's begins with "app=". */
#define APP "notice"
#define KEY_HASH "key_hash"
#define ERROR "error"
#define DESCRIPTION "error_description"

/* 1 if it is `length` hexadecimal digits; `to` has them in lower case, and a NUL. */
static int read_hex(const char *text, apr_size_t length, char *to)
{
    apr_size_t i;

    for (i = 0; i < length; i++) {
        if (!apr_isxdigit(text[i])) {
            return 0;
        }
        to[i] = (char)apr_tolower(text[i]);
    }
    to[length] = '\0';
    return text[length] == '\0';
}

int b24bg_notice_key(const char *path, char *hash)
{
    unsigned char digest[APR_SHA1_DIGESTSIZE];
    const char *slash = strrchr(path, '/');
    char key[B24BG_KEY_LENGTH + 1];
    apr_sha1_ctx_t context;

    if (!slash || !read_hex(slash + 1, B24BG_KEY_LENGTH, key)) {
        return 0;
    }
    apr_sha1_init(&context);
    apr_sha1_update(&context, key, B24BG_KEY_LENGTH);
    apr_sha1_final(digest, &context);
    apr_escape_hex(hash, digest, sizeof(digest), 0, NULL);
    return 1;
}

/* The code as one word: it stands unquoted among key=value pairs. */
static char *clean_code(apr_pool_t *pool, const char *code)
{
    char *clean = b24bg_form_clean(pool, code, B24BG_NOTICE_MAX);
    char *at;

    for (at = clean; *at; at++) {
        if (!apr_isalnum(*at) && !strchr("_.-", *at)) {
            *at = '_';
        }
    }
    return clean;
}

/* Portals speak windows-1251, too (protocol.md 9.3, F3), and a PostgreSQL in UTF-8 refuses that. */
static char *clean_text(apr_pool_t *pool, const char *text, apr_size_t longest)
{
    char *clean = b24bg_form_clean(pool, text, longest);
    char *at = clean;

    while (*at) {
        apr_size_t length = b24bg_form_character(at);
        if (length == 0) {
            *at = '?';
            length = 1;
        }
        at += length;
    }
    return clean;
}

/* The first code that is found counts, and the description that stands beside it. */
static void take(apr_pool_t *pool, const char *error, const char *description,
                 b24bg_notice_t *notice)
{
    if (notice->error || !error || !*error) {
        return;
    }
    notice->error = clean_code(pool, error);
    notice->description =
        clean_text(pool, description ? description : "", B24BG_NOTICE_MAX - strlen(notice->error));
}

/* 0 if it is no JSON. */
static int read_json(apr_pool_t *pool, const char *text, apr_size_t length, b24bg_notice_t *notice)
{
    json_t *json = json_loadb(text, length, 0, NULL);
    int is_json = json != NULL;

    take(pool, json_string_value(json_object_get(json, ERROR)),
         json_string_value(json_object_get(json, DESCRIPTION)), notice);
    json_decref(json);
    return is_json;
}

/* 0 if the form has a fault, but what stands in front of that is taken: a notice comes once, and
 * must not be lost for a stray % in its text. */
static int read_form(apr_pool_t *pool, char *text, apr_size_t length, b24bg_notice_t *notice)
{
    b24bg_form_t form;
    b24bg_form_result_e result = b24bg_form_parse(pool, text, length, B24BG_FORM_LAST_WINS, &form);

    take(pool, b24bg_form_get(form.fields, ERROR), b24bg_form_get(form.fields, DESCRIPTION),
         notice);
    return result == B24BG_FORM_OK;
}

/* Of a body that was cut, the pairs that are whole: the code stands in front of the text. */
static void drop_cut_pair(b24bg_notice_text_t *body)
{
    while (body->length > 0 && body->data[body->length - 1] != '&') {
        body->length--;
    }
    body->data[body->length] = '\0';
}

int b24bg_notice_read(apr_pool_t *pool, b24bg_notice_text_t *body, char *query,
                      b24bg_notice_t *notice)
{
    apr_size_t blank = strspn(body->data, " \t\r\n\xEF\xBB\xBF");
    int good;

    notice->error = NULL;
    notice->description = "";
    if (body->data[blank] == '{') {
        good = read_json(pool, body->data + blank, body->length - blank, notice);
    } else {
        if (body->cut) {
            drop_cut_pair(body);
        }
        good = read_form(pool, body->data, body->length, notice);
    }
    good &= read_form(pool, query, strlen(query), notice);
    return good || notice->error;
}

char *b24bg_notice_encode(apr_pool_t *pool, const char *app, const char *key_hash,
                          const b24bg_notice_t *notice)
{
    return apr_pstrcat(pool, APP "=", app, "&" KEY_HASH "=", key_hash, "&" ERROR "=", notice->error,
                       "&" DESCRIPTION "=", apr_pescape_urlencoded(pool, notice->description),
                       NULL);
}

int b24bg_notice_decode(apr_pool_t *pool, const char *text, const char **app, const char **key_hash,
                        b24bg_notice_t *notice)
{
    char *hash = apr_palloc(pool, B24BG_KEY_HASH_LENGTH + 1);
    b24bg_notice_t found = {NULL, ""};
    const char *found_app;
    const char *found_hash;
    b24bg_form_t form;

    if (b24bg_form_parse(pool, apr_pstrdup(pool, text), strlen(text), B24BG_FORM_REFUSE_TWICE,
                         &form) != B24BG_FORM_OK) {
        return 0;
    }
    found_app = b24bg_form_get(form.fields, APP);
    found_hash = b24bg_form_get(form.fields, KEY_HASH);
    take(pool, b24bg_form_get(form.fields, ERROR), b24bg_form_get(form.fields, DESCRIPTION),
         &found);
    if (!found_app || !*found_app || !found_hash ||
        !read_hex(found_hash, B24BG_KEY_HASH_LENGTH, hash) || !found.error) {
        return 0;
    }
    *app = found_app;
    *key_hash = hash;
    *notice = found;
    return 1;
}
