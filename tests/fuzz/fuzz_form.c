/* Any bytes as a form, a text to clean, and a query to hide secrets in.
 *
 * First byte: bit 0 what a name that stands twice means; the rest, taken as a number, the bound of
 * the cleaned text. Everything behind it is the input.
 */
#include "b24bg_form.h"
#include "fuzz.h"

#include <apr_strings.h>

#include <string.h>

/* The header's promise for what may be shown. */
static void check_clean(const char *clean, size_t longest)
{
    const unsigned char *at = (const unsigned char *)clean;

    FUZZ_CHECK(strlen(clean) <= longest);
    for (; *at; at++) {
        FUZZ_CHECK(*at >= 0x20 && *at != 0x7F && *at != '"');
        FUZZ_CHECK(!(at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0));
    }
}

static char *encode(apr_pool_t *pool, const char *text)
{
    char *encoded = apr_palloc(pool, 3 * strlen(text) + 1);
    char *to = encoded;

    for (; *text; text++) {
        to += apr_snprintf(to, 4, "%%%02X", (unsigned char)*text);
    }
    *to = '\0';
    return encoded;
}

static void check_pairs(const apr_array_header_t *list, size_t size)
{
    size_t length = 0;
    int i;
    int j;

    FUZZ_CHECK(list->nelts <= B24BG_FORM_FIELDS_MAX);
    for (i = 0; i < list->nelts; i++) {
        const apr_table_entry_t *entry = &APR_ARRAY_IDX(list, i, apr_table_entry_t);
        length += strlen(entry->key) + strlen(entry->val);
        for (j = 0; j < i; j++) {
            FUZZ_CHECK(strcmp(entry->key, APR_ARRAY_IDX(list, j, apr_table_entry_t).key) != 0);
        }
    }
    FUZZ_CHECK(length <= size);
}

/* Written again with every byte escaped, the fields read the same. */
static void check_round_trip(apr_pool_t *pool, const apr_table_t *fields)
{
    const apr_array_header_t *list = apr_table_elts(fields);
    char *text = apr_pstrdup(pool, "");
    b24bg_form_t again;
    int i;

    for (i = 0; i < list->nelts; i++) {
        const apr_table_entry_t *entry = &APR_ARRAY_IDX(list, i, apr_table_entry_t);
        FUZZ_CHECK(strcmp(b24bg_form_get(fields, entry->key), entry->val) == 0);
        text = apr_pstrcat(pool, text, "&", encode(pool, entry->key), "=", encode(pool, entry->val),
                           NULL);
    }
    FUZZ_CHECK(b24bg_form_parse(pool, text, strlen(text), B24BG_FORM_REFUSE_TWICE, &again) ==
               B24BG_FORM_OK);
    FUZZ_CHECK(apr_table_elts(again.fields)->nelts == list->nelts);
    for (i = 0; i < list->nelts; i++) {
        const apr_table_entry_t *one = &APR_ARRAY_IDX(list, i, apr_table_entry_t);
        const apr_table_entry_t *two =
            &APR_ARRAY_IDX(apr_table_elts(again.fields), i, apr_table_entry_t);
        FUZZ_CHECK(strcmp(one->key, two->key) == 0 && strcmp(one->val, two->val) == 0);
    }
}

static void try_parse(apr_pool_t *pool, const uint8_t *data, size_t size, b24bg_form_twice_e twice)
{
    b24bg_form_t form = {NULL, NULL};
    char *text = fuzz_text(pool, data, size);

    if (b24bg_form_parse(pool, text, size, twice, &form) == B24BG_FORM_OK) {
        check_pairs(apr_table_elts(form.fields), size);
        check_round_trip(pool, form.fields);
        FUZZ_CHECK(!form.culprit);
    } else {
        FUZZ_CHECK(form.fields); /* those in front of the fault */
        check_pairs(apr_table_elts(form.fields), size);
        check_clean(form.culprit, 64);
    }
}

static void try_clean(apr_pool_t *pool, const char *text, size_t longest)
{
    const char *clean = b24bg_form_clean(pool, text, longest);

    check_clean(clean, longest);
    FUZZ_CHECK(strlen(text) > longest || strlen(clean) == strlen(text));
    FUZZ_CHECK(!fuzz_is_utf8(text) || fuzz_is_utf8(clean));
    FUZZ_CHECK(!fuzz_is_utf8(text) || strlen(text) <= longest || strlen(clean) + 3 >= longest);
    FUZZ_CHECK(strcmp(b24bg_form_clean(pool, clean, longest), clean) == 0);
}

/* 1 for the encoded name of a field that is secret: protocol.md 1.2, 1.3, 3.2, 5.2. */
static int is_secret(apr_pool_t *pool, const char *encoded)
{
    static const char *const names[] = {"APP_SID",
                                        "AUTH_ID",
                                        "REFRESH_ID",
                                        "APPLICATION_TOKEN",
                                        "auth",
                                        "access_token",
                                        "refresh_token",
                                        "client_secret",
                                        "auth[access_token]",
                                        "auth[refresh_token]",
                                        "auth[application_token]"};
    char *text = apr_pstrdup(pool, encoded);
    b24bg_form_t form;
    size_t i;

    if (b24bg_form_parse(pool, text, strlen(text), B24BG_FORM_LAST_WINS, &form) != B24BG_FORM_OK ||
        apr_is_empty_table(form.fields)) {
        return 0;
    }
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(APR_ARRAY_IDX(apr_table_elts(form.fields), 0, apr_table_entry_t).key,
                       names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Pair by pair: "-" for the value of a secret field, all else as it was. */
static void try_hide(apr_pool_t *pool, char *query)
{
    const char *before = apr_pstrdup(pool, query);
    const char *expected = "";

    b24bg_form_hide(query);
    while (*before) {
        size_t length = strcspn(before, "&");
        const char *pair = apr_pstrmemdup(pool, before, length);
        const char *name = apr_pstrmemdup(pool, pair, strcspn(pair, "="));
        if (strlen(pair) > strlen(name) + 1 && is_secret(pool, name)) {
            pair = apr_pstrcat(pool, name, "=-", NULL);
        }
        before += length;
        expected = apr_pstrcat(pool, expected, pair, *before ? "&" : "", NULL);
        before += *before == '&';
    }
    FUZZ_CHECK(strcmp(query, expected) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool;
    uint8_t mode;

    if (size == 0) {
        return 0;
    }
    pool = fuzz_pool();
    mode = *data++;
    size--;
    try_parse(pool, data, size, mode & 1 ? B24BG_FORM_LAST_WINS : B24BG_FORM_REFUSE_TWICE);
    try_clean(pool, fuzz_text(pool, data, size), mode >> 1);
    try_hide(pool, fuzz_text(pool, data, size));
    apr_pool_destroy(pool);
    return 0;
}
