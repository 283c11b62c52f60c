/* What of a site's headers is taken out, and what stays. */
#include "unit.h"

#include "b24bg_framing.h"

#include <apr_strings.h>

#include <string.h>

/* Headers as "Name: value\n..."; what is left is written the same way. */
static const struct row {
    const char *name;
    const char *before;
    const char *after;
    const char *removed; /* NULL: nothing */
} rows[] = {
    {"nothing", "", "", NULL},
    {"others", "Cache-Control: no-store\n", "Cache-Control: no-store\n", NULL},
    {"DENY", "X-Frame-Options: DENY\nA: b\n", "A: b\n", "X-Frame-Options"},
    {"any case", "x-frame-OPTIONS: SAMEORIGIN\n", "", "X-Frame-Options"},
    {"permissions", "Permissions-Policy: microphone=()\nFeature-Policy: x\n", "",
     "Permissions-Policy, Feature-Policy"},
    {"policy without ancestors", "Content-Security-Policy: default-src 'self'; img-src *\n",
     "Content-Security-Policy: default-src 'self'; img-src *\n", NULL},
    {"ancestors alone", "Content-Security-Policy: frame-ancestors 'self'\n", "", "frame-ancestors"},
    {"among others",
     "Content-Security-Policy: default-src 'self';frame-ancestors 'none' ; img-src *;\n",
     "Content-Security-Policy: default-src 'self'; img-src *\n", "frame-ancestors"},
    {"without a value", "Content-Security-Policy: Frame-Ancestors\n", "", "frame-ancestors"},
    {"a longer name", "Content-Security-Policy: frame-ancestors-x 'self'\n",
     "Content-Security-Policy: frame-ancestors-x 'self'\n", NULL},
    {"in a value", "Content-Security-Policy: report-uri /frame-ancestors\n",
     "Content-Security-Policy: report-uri /frame-ancestors\n", NULL},
    {"two policies in one",
     "Content-Security-Policy: script-src 'self', frame-ancestors 'self', img-src *\n",
     "Content-Security-Policy: script-src 'self', img-src *\n", "frame-ancestors"},
    {"two headers",
     "Content-Security-Policy: frame-ancestors 'self'\nContent-Security-Policy: img-src *\n",
     "Content-Security-Policy: img-src *\n", "frame-ancestors"},
    {"report only is no policy", "Content-Security-Policy-Report-Only: frame-ancestors 'self'\n",
     "Content-Security-Policy-Report-Only: frame-ancestors 'self'\n", NULL},
    {"twice in one", "Content-Security-Policy: frame-ancestors 'self'; frame-ancestors x\n", "",
     "frame-ancestors"},
    {"all", "X-Frame-Options: DENY\nContent-Security-Policy: frame-ancestors 'self'\n", "",
     "X-Frame-Options, frame-ancestors"},
    {"nothing but separators", "Content-Security-Policy: ;, ;\n", "Content-Security-Policy: ;, ;\n",
     NULL},
};

static apr_table_t *read_headers(const char *text)
{
    apr_table_t *headers = apr_table_make(unit_pool, 4);
    char *line;
    char *last;

    for (line = apr_strtok(apr_pstrdup(unit_pool, text), "\n", &last); line;
         line = apr_strtok(NULL, "\n", &last)) {
        char *value = strchr(line, ':');
        *value = '\0';
        apr_table_add(headers, line, value + 2);
    }
    return headers;
}

static const char *write_headers(const apr_table_t *headers)
{
    const apr_array_header_t *elements = apr_table_elts(headers);
    const char *text = "";
    int i;

    for (i = 0; i < elements->nelts; i++) {
        const apr_table_entry_t *entry = &APR_ARRAY_IDX(elements, i, apr_table_entry_t);
        text = apr_pstrcat(unit_pool, text, entry->key, ": ", entry->val, "\n", NULL);
    }
    return text;
}

static void headers_are_cleared(void **state)
{
    const struct row *row = *state;
    int is_second;

    for (is_second = 0; is_second < 2; is_second++) {
        apr_table_t *headers = read_headers(row->before);
        apr_table_t *others = read_headers("A: b\n");
        const char *removed =
            is_second ? b24bg_framing_clear(others, headers) : b24bg_framing_clear(headers, others);
        assert_string_equal(row->after, write_headers(headers));
        assert_string_equal("A: b\n", write_headers(others));
        assert_string_equal(row->removed ? row->removed : "-", removed ? removed : "-");
        assert_null(b24bg_framing_clear(headers, others));
    }
}

/* As httpd has them: those of every answer, and those of good ones. */
static void both_tables_are_cleared(void **state)
{
    apr_table_t *headers = read_headers("X-Frame-Options: DENY\n"
                                        "Content-Security-Policy: frame-ancestors 'none'\n");
    apr_table_t *more = read_headers("X-Frame-Options: SAMEORIGIN\nPermissions-Policy: x\n"
                                     "Content-Security-Policy: frame-ancestors *; img-src *\n");

    (void)state;
    assert_string_equal("X-Frame-Options, Permissions-Policy, frame-ancestors",
                        b24bg_framing_clear(headers, more));
    assert_string_equal("", write_headers(headers));
    assert_string_equal("Content-Security-Policy: img-src *\n", write_headers(more));
}

int main(void)
{
    UNIT_ADD_ROWS(headers_are_cleared, rows);
    UNIT_ADD(both_tables_are_cleared);
    return unit_run("framing");
}
