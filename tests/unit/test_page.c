/* b24bg_page: spec.md 4.1, protocol.md 2.1, 2.2, 7.1 and 7.9. */
#include "unit.h"

#include "b24bg_page.h"

#include <apr_cstr.h>
#include <apr_strings.h>

#include <jansson.h>
#include <string.h>

/* Builds a page for URLs that are given as one text, a blank between two. */
static const char *build(const char *urls)
{
    apr_array_header_t *list = apr_array_make(unit_pool, 4, sizeof(const char *));
    char *rest = apr_pstrdup(unit_pool, urls);
    char *url;
    apr_size_t length = 0;
    const char *page;

    while ((url = apr_strtok(rest, " ", &rest)) != NULL) {
        APR_ARRAY_PUSH(list, const char *) = url;
    }
    page = b24bg_page_build(unit_pool, list, &length);
    assert_int_equal(length, strlen(page));
    return page;
}

/* The value of data-urls as it stands in the markup. */
static const char *attribute(const char *page)
{
    static const char start[] = "data-urls=\"";
    const char *value = strstr(page, start);

    assert_non_null(value);
    value += sizeof(start) - 1;
    return apr_pstrmemdup(unit_pool, value, strcspn(value, "\""));
}

/* The same as a browser reads it: character references, then JSON. Only &quot; may occur. */
static json_t *read_urls(const char *page)
{
    const char *from = attribute(page);
    char *text = apr_pstrdup(unit_pool, from);
    char *to = text;
    json_t *urls;

    while (*from) {
        if (*from == '&') {
            assert_memory_equal(from, "&quot;", 6);
            *to++ = '"';
            from += 6;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    urls = json_loads(text, 0, NULL);
    assert_true(json_is_array(urls));
    return urls;
}

/* What lies between <script ...> and </script>. */
static const char *script_text(const char *page)
{
    const char *start = strstr(page, "<script");
    const char *end = strstr(page, "</script>");

    assert_non_null(start);
    assert_non_null(end);
    start = strchr(start, '>') + 1;
    return apr_pstrmemdup(unit_pool, start, (apr_size_t)(end - start));
}

/* The markup alone: without the script's text and without data-urls. */
static const char *markup(const char *page)
{
    const char *start = strstr(page, " data-urls=\"");
    const char *text;

    if (!start) {
        return page;
    }
    text = strchr(start, '>');
    return apr_pstrcat(unit_pool, apr_pstrmemdup(unit_pool, page, (apr_size_t)(start - page)), ">",
                       strstr(text, "</script>"), NULL);
}

static int count(const char *text, const char *what)
{
    int found = 0;

    while ((text = strstr(text, what)) != NULL) {
        found++;
        text += strlen(what);
    }
    return found;
}

/* Nothing in the markup reaches out or navigates, whatever is attached later. */
static void assert_no_reference(const char *page)
{
    static const char *const forbidden[] = {"src",    "href",    "action", "url(",   "@import",
                                            "http",   "//",      "<link",  "<img",   "<iframe",
                                            "<frame", "<object", "<embed", "<style", "<base"};
    const char *text = markup(page);
    size_t i;

    for (i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (strstr(text, forbidden[i])) {
            fail_msg("the markup holds \"%s\"", forbidden[i]);
        }
    }
    assert_int_equal(b24bg_page_blockers(unit_pool, page)->nelts, 0);
}

static void test_plain_page(void **state)
{
    const char *page = build("");

    (void)state;
    assert_memory_equal(page, "<!DOCTYPE html>\n", 16);
    assert_non_null(strstr(page, "<meta charset=\"utf-8\">"));
    assert_non_null(strstr(page, "</html>\n"));
    assert_null(strstr(page, "<script"));
    assert_true(strlen(page) <= B24BG_PAGE_MAX);
    assert_no_reference(page);
}

/* Room for what the later beacon and a typical set of scripts take. */
static void test_page_with_scripts(void **state)
{
    const char *page = build(B24BG_PAGE_BX24 " https://worker.example.com/js/phone.js /js/own.js");

    (void)state;
    assert_int_equal(count(page, "<script"), 1);
    assert_int_equal(count(page, "</script>"), 1);
    assert_int_equal(count(page, "<body>"), 1);
    assert_true(strlen(page) <= B24BG_PAGE_MAX - 512);
    assert_no_reference(page);
}

/* The scripts are attached behind the load event, not before it, in order, and one that fails
 * stops nothing. */
static void test_load_comes_first(void **state)
{
    const char *script = script_text(build("/a.js"));
    const char *listener = strstr(script, "addEventListener('load'");
    const char *later = strstr(script, "setTimeout(");
    const char *attach = strstr(script, "createElement('script')");

    (void)state;
    assert_non_null(listener);
    assert_non_null(later);
    assert_non_null(attach);
    assert_true(listener < later && later < attach);
    assert_non_null(strstr(script, "async = false"));
    assert_non_null(strstr(script, "onerror"));
    assert_null(strstr(script, "document.write"));
    assert_null(strstr(script, "location"));
    assert_null(strstr(script, "eval"));
    assert_null(strstr(script, "innerHTML"));
}

/* One hash in a site's CSP allows the script of every configuration. */
static void test_script_is_constant(void **state)
{
    const char *one = script_text(build("/a.js"));

    (void)state;
    assert_string_equal(one, script_text(build("https://h/?a=1&b=2 /b.js /c.js")));
    assert_null(strchr(one, '&'));
}

typedef struct {
    const char *name;
    const char *url;
    const char *escaped; /* in the attribute, without the quotes around it */
} escape_t;

static const escape_t escapes[] = {
    {"plain", "https://worker.example.com/js/phone.js", "https://worker.example.com/js/phone.js"},
    {"path", "/js/phone.js", "/js/phone.js"},
    {"ampersand", "/a?b=1&c=2", "/a?b=1\\u0026c=2"},
    {"character reference", "/a?b&quot;&#34;", "/a?b\\u0026quot;\\u0026#34;"},
    {"reference without a semicolon", "/a?b&lt", "/a?b\\u0026lt"},
    {"double quote", "/a\"onload=\"x", "/a\\u0022onload=\\u0022x"},
    {"single quote", "/a'b", "/a\\u0027b"},
    {"end of script", "/</script><script>x", "/\\u003c/script\\u003e\\u003cscript\\u003ex"},
    {"comment", "/<!--", "/\\u003c!--"},
    {"backslash", "/a\\b", "/a\\u005cb"},
    {"escape of JSON", "/\\u0022", "/\\u005cu0022"},
    {"blank", "/a b", "/a b"},
    {"line ends", "/a\r\nb", "/a\\u000d\\u000ab"},
    {"tab", "/a\tb", "/a\\u0009b"},
    {"first control byte", "/\x01", "/\\u0001"},
    {"last control byte", "/\x1F", "/\\u001f"},
    {"DEL", "/\x7F", "/\x7F"},
    {"UTF-8", "/\xD1\x84", "/\xD1\x84"},
    {"template and entity signs", "/${x}{{y}}%00`", "/${x}{{y}}%00`"},
    {"empty", "", ""},
    {"nothing but signs", "&&&&<<<<\"\"\"\"",
     "\\u0026\\u0026\\u0026\\u0026\\u003c\\u003c\\u003c\\u003c\\u0022\\u0022\\u0022\\u0022"},
};

static void test_escape(void **state)
{
    const escape_t *row = *state;
    apr_array_header_t *urls = apr_array_make(unit_pool, 1, sizeof(const char *));
    apr_size_t length;
    const char *page;
    json_t *read;

    APR_ARRAY_PUSH(urls, const char *) = unit_copy(row->url, strlen(row->url) + 1, 0);
    page = b24bg_page_build(unit_pool, urls, &length);
    assert_string_equal(attribute(page),
                        apr_pstrcat(unit_pool, "[&quot;", row->escaped, "&quot;]", NULL));
    assert_int_equal(count(page, "<script"), 1);
    assert_int_equal(count(page, "</script>"), 1);
    read = read_urls(page);
    assert_int_equal(json_array_size(read), 1);
    assert_string_equal(json_string_value(json_array_get(read, 0)), row->url);
    json_decref(read);
}

static void test_order(void **state)
{
    json_t *urls = read_urls(build(B24BG_PAGE_BX24 " /b.js /a.js /b.js"));

    (void)state;
    assert_int_equal(json_array_size(urls), 4);
    assert_string_equal(json_string_value(json_array_get(urls, 0)), B24BG_PAGE_BX24);
    assert_string_equal(json_string_value(json_array_get(urls, 1)), "/b.js");
    assert_string_equal(json_string_value(json_array_get(urls, 2)), "/a.js");
    assert_string_equal(json_string_value(json_array_get(urls, 3)), "/b.js");
    json_decref(urls);
}

/* The bound is the caller's to check; more URLs than fit still make a whole page. */
static void test_many_urls(void **state)
{
    apr_array_header_t *urls = apr_array_make(unit_pool, 1, sizeof(const char *));
    apr_size_t length;
    const char *page;
    json_t *read;
    int i;

    (void)state;
    for (i = 0; i < 100; i++) {
        APR_ARRAY_PUSH(urls, const char *) = apr_psprintf(unit_pool, "https://h/%d.js", i);
    }
    page = b24bg_page_build(unit_pool, urls, &length);
    assert_true(length > B24BG_PAGE_MAX);
    assert_int_equal(length, strlen(page));
    read = read_urls(page);
    assert_int_equal(json_array_size(read), 100);
    json_decref(read);
}

/* Blockers in an administrator's page. */

typedef struct {
    const char *name;
    const char *html;
    const char *expected; /* a comma between two */
} blockers_t;

static const blockers_t blocking[] = {
    {"nothing", "", ""},
    {"text", "no markup at all", ""},
    {"harmless page", "<!DOCTYPE html><html><head><title>x</title></head><body><p>x</p></body>",
     ""},
    {"inline script", "<script>var a = 1;</script>", ""},
    {"inline module", "<script type=\"module\">x()</script>", ""},
    {"script", "<script src=\"a.js\"></script>", "<script src>"},
    {"deferred script waits too", "<script defer src=\"a.js\"></script>", "<script src>"},
    {"asynchronous script waits too", "<script async src=a.js></script>", "<script src>"},
    {"capitals", "<SCRIPT SRC='a.js'></SCRIPT>", "<script src>"},
    {"line end between", "<script\n\tsrc\n=\n'a.js'>", "<script src>"},
    {"slash instead of a blank", "<script/src=a.js>", "<script src>"},
    {"other attribute of like name", "<script data-src=\"a.js\"></script>", ""},
    {"attribute that ends in src", "<script xsrc=a></script>", ""},
    {"src behind another attribute", "<script type=\"text/javascript\" src=\"a.js\">",
     "<script src>"},
    {"custom element", "<scripture src=a>", ""},
    {"stylesheet", "<link rel=\"stylesheet\" href=\"a.css\">", "<link rel=stylesheet>"},
    {"stylesheet, unquoted and capitals", "<LINK REL=StyleSheet HREF=a.css>",
     "<link rel=stylesheet>"},
    {"stylesheet, href first", "<link href='a.css' rel='stylesheet'>", "<link rel=stylesheet>"},
    {"stylesheet is not the first word", "<link rel=\"alternate stylesheet\" href=\"a.css\">",
     "<link rel=stylesheet>"},
    {"stylesheet is the last word, single quotes", "<link rel='x stylesheet'>",
     "<link rel=stylesheet>"},
    {"stylesheet, blanks around", "<link rel = \" stylesheet \" >", "<link rel=stylesheet>"},
    {"stylesheet, quotes left open", "<link rel=\"stylesheet", "<link rel=stylesheet>"},
    {"stylesheet in another attribute", "<link rel=\"icon\" href=\"stylesheet\">", ""},
    {"stylesheet in the next attribute, unquoted", "<link rel=icon stylesheet>", ""},
    {"stylesheet behind the tag", "<link rel=icon>stylesheet", ""},
    {"module", "<link rel=modulepreload href=a.js>", "<link rel=modulepreload>"},
    {"icon", "<link rel=\"icon\" href=\"data:,\">", ""},
    {"image", "<img src=\"a.png\">", "<img>"},
    {"image without src", "<img>", "<img>"},
    {"image at the end", "<img", "<img>"},
    {"frame in a page", "<iframe src=\"/x\"></iframe>", "<iframe>"},
    {"frame", "<frameset><frame src=x></frameset>", "<frame>"},
    {"object and embed", "<object data=x></object><embed src=x>", "<object>,<embed>"},
    {"video and audio", "<video src=x></video><audio src=x></audio>", "<video>,<audio>"},
    {"image button", "<input type=\"image\" src=x>", "<input type=image>"},
    {"other input", "<input type=\"text\" value=\"image\">", ""},
    {"navigation", "<meta http-equiv=\"refresh\" content=\"5\">", "<meta http-equiv=refresh>"},
    {"navigation in capitals", "<META HTTP-EQUIV=Refresh content=5>", "<meta http-equiv=refresh>"},
    {"other meta", "<meta http-equiv=\"content-type\" content=\"refresh\">", ""},
    {"charset", "<meta charset=\"utf-8\">", ""},
    {"each once, in the order of the page", "<img><script src=a></script><img><script src=b>",
     "<img>,<script src>"},
    {"comment", "<!-- <img src=a> <script src=b></script> -->", ""},
    {"behind a comment", "<!-- x --><img>", "<img>"},
    {"short comment", "<!----><img>", "<img>"},
    {"comment left open", "<!-- <img>", "<img>"},
    {"end tags", "</script></iframe></object>", ""},
    {"tag left open", "<script src=\"a.js\"", "<script src>"},
    {"attribute left open", "<script src", ""},
    {"equals sign at the end", "<script src=", "<script src>"},
    {"less signs alone", "1 < 2 << 3 <", ""},
    {"value in another tag", "<script></script><a src=x>", ""},
    {"page built in", "<p>src=x rel=stylesheet http-equiv=refresh</p>", ""},
};

static void test_blockers(void **state)
{
    const blockers_t *row = *state;
    const apr_array_header_t *found =
        b24bg_page_blockers(unit_pool, unit_copy(row->html, strlen(row->html) + 1, 0));

    assert_string_equal(apr_array_pstrcat(unit_pool, found, ','), row->expected);
}

int main(void)
{
    UNIT_ADD(test_plain_page);
    UNIT_ADD(test_page_with_scripts);
    UNIT_ADD(test_load_comes_first);
    UNIT_ADD(test_script_is_constant);
    UNIT_ADD_ROWS(test_escape, escapes);
    UNIT_ADD(test_order);
    UNIT_ADD(test_many_urls);
    UNIT_ADD_ROWS(test_blockers, blocking);
    return unit_run("page");
}
