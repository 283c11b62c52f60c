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
/* In place of a code that was not read. */
#define BEHIND_THE_CUT "-"

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

/* What a cut object is made of, as far as it goes. Offsets into its text. */
typedef struct {
    apr_size_t whole;      /* the end of the last member that is there to its end */
    apr_size_t key;        /* the last name of a member */
    apr_size_t escapes[2]; /* the last two escapes in strings, the last one first */
    int depth;
    int is_value;
    int in_string;
} cut_json_t;

static void scan_json(const char *text, apr_size_t length, cut_json_t *json)
{
    apr_size_t i;

    for (i = 0; i < length; i++) {
        if (text[i] == '"') {
            json->in_string = !json->in_string;
            json->key = json->in_string && json->depth == 1 && !json->is_value ? i : json->key;
        } else if (json->in_string && text[i] == '\\') {
            json->escapes[1] = json->escapes[0];
            json->escapes[0] = i++;
        } else if (json->in_string) {
            continue;
        } else if (strchr("{[", text[i])) {
            json->depth++;
        } else if (strchr("}]", text[i])) {
            json->whole = json->depth == 1 ? i : json->whole;
            json->depth--;
        } else if (json->depth == 1 && strchr(",:", text[i])) {
            json->is_value = text[i] == ':';
            json->whole = json->is_value ? json->whole : i;
        }
    }
}

/* Where a string that was cut has to end: not within an escape, between two surrogates, or within a
 * character. */
static apr_size_t cut_string(const char *text, apr_size_t length, const cut_json_t *json)
{
    apr_size_t escape = json->escapes[0];

    if (escape && escape + (text[escape + 1] == 'u' ? 6 : 2) > length) {
        length = escape;
        escape = json->escapes[1];
    }
    if (escape && escape + 6 == length && apr_tolower(text[escape + 2]) == 'd' &&
        strchr("89abAB", text[escape + 3])) {
        length = escape;
    }
    while ((text[length - 1] & 0xC0) == 0x80) {
        length--;
    }
    return length - ((text[length - 1] & 0xC0) == 0xC0);
}

/* An object that was cut, as one that ends: its description as far as it came, or its last member
 * that did not lose anything. */
static char *end_cut_json(apr_pool_t *pool, const char *text, apr_size_t length)
{
    static const char name[] = "\"" DESCRIPTION "\"";
    cut_json_t json = {1, 0, {0, 0}, 0, 0, 0};

    scan_json(text, length, &json);
    if (json.in_string && json.depth == 1 && json.is_value &&
        strncmp(text + json.key, name, sizeof(name) - 1) == 0) {
        length = cut_string(text, length, &json);
        return apr_pstrcat(pool, apr_pstrmemdup(pool, text, length), "\"}", NULL);
    }
    return apr_pstrcat(pool, apr_pstrmemdup(pool, text, json.whole), "}", NULL);
}

/* With blanks for NULs; NULL if it is no string. */
static const char *json_text(apr_pool_t *pool, const json_t *json)
{
    apr_size_t length = json_is_string(json) ? json_string_length(json) : 0;
    char *text =
        json_is_string(json) ? apr_pstrmemdup(pool, json_string_value(json), length) : NULL;
    apr_size_t i;

    for (i = 0; i < length; i++) {
        text[i] = text[i] ? text[i] : ' ';
    }
    return text;
}

/* Where the code lies behind the cut there is a notice all the same. */
static const char *code_or_cut(const b24bg_notice_text_t *text, const char *error,
                               const char *description)
{
    return !error && text->cut && description ? BEHIND_THE_CUT : error;
}

static void read_json(apr_pool_t *pool, const b24bg_notice_text_t *text, b24bg_notice_t *notice)
{
    const char *data = text->cut ? end_cut_json(pool, text->data, text->length) : text->data;
    json_t *json = json_loadb(data, text->cut ? strlen(data) : text->length, JSON_ALLOW_NUL, NULL);
    const char *description = json_text(pool, json_object_get(json, DESCRIPTION));

    take(pool, code_or_cut(text, json_text(pool, json_object_get(json, ERROR)), description),
         description, notice);
    json_decref(json);
}

/* A NUL would end the form there, and is a control character as any other in a text. */
static void blank_nuls(b24bg_notice_text_t *text)
{
    apr_size_t i;

    for (i = 0; i < text->length; i++) {
        if (text->data[i] == '\0') {
            text->data[i] = '+';
        } else if (strncmp(text->data + i, "%00", 3) == 0) {
            text->data[i + 1] = '2';
        }
    }
}

/* Of a body that was cut the last pair is kept if it is the description, as far as that goes. */
static void end_cut_pair(b24bg_notice_text_t *text)
{
    apr_size_t pair = text->length;

    while (pair > 0 && text->data[pair - 1] != '&') {
        pair--;
    }
    if (strncmp(text->data + pair, DESCRIPTION "=", sizeof(DESCRIPTION)) != 0) {
        text->length = pair;
    } else if (text->data[text->length - 1] == '%') {
        text->length--;
    } else if (text->data[text->length - 2] == '%') {
        text->length -= 2;
    }
    text->data[text->length] = '\0';
}

/* 0 if the form has a fault, but what stands in front of that is taken: a notice comes once, and
 * must not be lost for a stray % in its text. */
static int read_form(apr_pool_t *pool, b24bg_notice_text_t *text, b24bg_notice_t *notice)
{
    const char *description;
    b24bg_form_result_e result;
    b24bg_form_t form;

    blank_nuls(text);
    if (text->cut) {
        end_cut_pair(text);
    }
    result = b24bg_form_parse(pool, text->data, text->length, B24BG_FORM_LAST_WINS, &form);
    description = b24bg_form_get(form.fields, DESCRIPTION);
    take(pool, code_or_cut(text, b24bg_form_get(form.fields, ERROR), description), description,
         notice);
    return result == B24BG_FORM_OK;
}

int b24bg_notice_read(apr_pool_t *pool, b24bg_notice_text_t *body, char *query,
                      b24bg_notice_t *notice)
{
    apr_size_t blank = strspn(body->data, " \t\r\n\xEF\xBB\xBF");
    b24bg_notice_text_t object = {body->data + blank, body->length - blank, body->cut};
    b24bg_notice_text_t address = {query, strlen(query), 0};
    int good;

    notice->error = NULL;
    notice->description = "";
    if (object.data[0] == '{') {
        read_json(pool, &object, notice);
    } else {
        read_form(pool, body, notice);
    }
    good = read_form(pool, &address, notice) && object.length == 0;
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
