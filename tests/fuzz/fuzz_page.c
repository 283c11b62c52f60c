/* An administrator's page to search for what delays its load event, and the same lines as URLs of
 * scripts for a page of ours.
 */
#include "b24bg_page.h"
#include "fuzz.h"

#include <apr_strings.h>

#include <jansson.h>
#include <string.h>

/* Names, each once, each the beginning of a tag. */
static void try_blockers(apr_pool_t *pool, const char *html)
{
    const apr_array_header_t *found = b24bg_page_blockers(pool, html);
    int i;
    int j;

    for (i = 0; i < found->nelts; i++) {
        const char *name = APR_ARRAY_IDX(found, i, const char *);
        char *tag = apr_pstrmemdup(pool, name, strcspn(name, " >"));
        FUZZ_CHECK(strcasestr(html, tag));
        for (j = 0; j < i; j++) {
            FUZZ_CHECK(strcmp(name, APR_ARRAY_IDX(found, j, const char *)) != 0);
        }
    }
}

static apr_array_header_t *lines(apr_pool_t *pool, char *text)
{
    apr_array_header_t *list = apr_array_make(pool, 4, sizeof(const char *));
    char *end;

    for (; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        *end = '\0';
        APR_ARRAY_PUSH(list, const char *) = text;
    }
    APR_ARRAY_PUSH(list, const char *) = text;
    return list;
}

/* The page's attribute as a browser reads it; &quot; is the only reference in it. */
static char *attribute(apr_pool_t *pool, const char *page)
{
    const char *from = strstr(page, "data-urls=\"") + strlen("data-urls=\"");
    char *text = apr_pstrmemdup(pool, from, strcspn(from, "\""));
    char *to = text;

    FUZZ_CHECK(strcspn(text, "<>'") == strlen(text));
    for (from = text; *from; from++) {
        if (*from == '&') {
            FUZZ_CHECK(strncmp(from, "&quot;", 6) == 0);
            *to++ = '"';
            from += 5;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return text;
}

static void try_build(apr_pool_t *pool, const apr_array_header_t *urls)
{
    b24bg_page_t page;
    json_t *read;
    int is_utf8 = 1;
    int i;

    b24bg_page_build(pool, urls, B24BG_PAGE_BEACON_SLOW, apr_time_from_sec(5), &page);
    FUZZ_CHECK(page.length == strlen(page.text));
    read = json_loads(attribute(pool, page.text), 0, NULL);
    for (i = 0; i < urls->nelts; i++) {
        is_utf8 = is_utf8 && fuzz_is_utf8(APR_ARRAY_IDX(urls, i, const char *));
    }
    if (is_utf8) { /* what is not UTF-8 is not JSON */
        FUZZ_CHECK(json_array_size(read) == (size_t)urls->nelts);
        for (i = 0; i < urls->nelts; i++) {
            const char *url = json_string_value(json_array_get(read, (size_t)i));
            FUZZ_CHECK(url && strcmp(url, APR_ARRAY_IDX(urls, i, const char *)) == 0);
        }
    }
    json_decref(read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();

    try_blockers(pool, fuzz_text(pool, data, size));
    try_build(pool, lines(pool, fuzz_text(pool, data, size)));
    apr_pool_destroy(pool);
    return 0;
}
