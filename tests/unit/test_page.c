/* b24bg_page: spec.md 4.1, protocol.md 2.1, 2.2, 7.1 and 7.9. */
#include "unit.h"

#include "b24bg_beacon.h"
#include "b24bg_page.h"

#include <apr_cstr.h>
#include <apr_strings.h>

#include <jansson.h>
#include <string.h>

#define LIMIT apr_time_from_sec(5)

static apr_array_header_t *split(const char *urls)
{
    apr_array_header_t *list = apr_array_make(unit_pool, 4, sizeof(const char *));
    char *rest = apr_pstrdup(unit_pool, urls);
    char *url;

    while ((url = apr_strtok(rest, " ", &rest)) != NULL) {
        APR_ARRAY_PUSH(list, const char *) = url;
    }
    return list;
}

/* Builds a page for URLs that are given as one text, a blank between two. */
static b24bg_page_t build_with(const char *urls, b24bg_page_beacon_e beacon, apr_time_t limit)
{
    b24bg_page_t page;

    b24bg_page_build(unit_pool, split(urls), beacon, limit, &page);
    assert_int_equal(page.length, strlen(page.text));
    return page;
}

static const char *build(const char *urls)
{
    return build_with(urls, B24BG_PAGE_BEACON_SLOW, LIMIT).text;
}

/* The value of an attribute as it stands in the markup. */
static const char *attribute(const char *page, const char *name)
{
    const char *start = apr_pstrcat(unit_pool, " ", name, "=\"", NULL);
    const char *value = strstr(page, start);

    assert_non_null(value);
    value += strlen(start);
    return apr_pstrmemdup(unit_pool, value, strcspn(value, "\""));
}

/* The same as a browser reads it: character references, then JSON. Only &quot; may occur. */
static json_t *read_urls(const char *page)
{
    const char *from = attribute(page, "data-urls");
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
    const b24bg_page_t page = build_with("", B24BG_PAGE_BEACON_OFF, LIMIT);

    (void)state;
    assert_memory_equal(page.text, "<!DOCTYPE html>\n", 16);
    assert_non_null(strstr(page.text, "<meta charset=\"utf-8\">"));
    assert_non_null(strstr(page.text, "</html>\n"));
    assert_null(strstr(page.text, "<script"));
    assert_true(page.length <= B24BG_PAGE_MAX);
    assert_no_reference(page.text);
}

/* BX24.js and three scripts of 60 characters fit, with a tag. */
static void test_page_with_scripts(void **state)
{
    const char *sixty = "https://worker.example.com/js/telephony/phone-1.2.345.min.js";
    const b24bg_page_t page = build_with(
        apr_pstrcat(unit_pool, B24BG_PAGE_BX24, " ", sixty, " ", sixty, " ", sixty, NULL),
        B24BG_PAGE_BEACON_SLOW, LIMIT);

    (void)state;
    assert_int_equal(strlen(sixty), 60);
    assert_int_equal(count(page.text, "<script"), 1);
    assert_int_equal(count(page.text, "</script>"), 1);
    assert_int_equal(count(page.text, "<body>"), 1);
    assert_true(page.length < B24BG_PAGE_MAX);
    assert_no_reference(page.text);
}

/* What it does tests/http/test_script.py sees; here what it never contains. */
static void test_script_stays(void **state)
{
    static const char *const forbidden[] = {"document.write", "location.href =", "location.assign",
                                            "location =",     "location.re",     "location.search",
                                            "eval",           "innerHTML",       "Function",
                                            "window.name",    "referrer",        "submit",
                                            "open(",          "history",         "cookie"};
    const char *script = script_text(build("/a.js"));
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (strstr(script, forbidden[i])) {
            fail_msg("the script holds \"%s\"", forbidden[i]);
        }
    }
}

/* One hash in a site's CSP allows the script of every configuration and request. */
static void test_script_is_constant(void **state)
{
    const char *one = script_text(build("/a.js"));
    const b24bg_page_t other =
        build_with("https://h/?a=1&b=2 /b.js /c.js", B24BG_PAGE_BEACON_ALL, LIMIT * 3);
    char tag[B24BG_BEACON_TAG_LENGTH + 1];

    (void)state;
    memset(tag, 'a', sizeof(tag));
    assert_string_equal(one, script_text(other.text));
    assert_string_equal(one, script_text(b24bg_page_fill(unit_pool, &other, tag)));
    assert_string_equal(one, script_text(build_with("/", B24BG_PAGE_BEACON_OFF, LIMIT).text));
    assert_string_equal(one, script_text(build("")));
}

/* Beacons */

typedef struct {
    const char *name;
    const char *urls;
    b24bg_page_beacon_e beacon;
    apr_time_t limit;
    const char *over; /* data-over, NULL: no script */
    int has_tag;
} beacon_t;

static const beacon_t beacons[] = {
    {"off, no script", "", B24BG_PAGE_BEACON_OFF, LIMIT, NULL, 0},
    {"off, scripts", "/a.js", B24BG_PAGE_BEACON_OFF, LIMIT, "2500", 0},
    {"slow, no script", "", B24BG_PAGE_BEACON_SLOW, LIMIT, "2500", 1},
    {"slow, scripts", "/a.js /b.js", B24BG_PAGE_BEACON_SLOW, LIMIT, "2500", 1},
    {"slow, least limit", "", B24BG_PAGE_BEACON_SLOW, LIMIT / 50, "50", 1},
    {"slow, odd limit", "", B24BG_PAGE_BEACON_SLOW, 4999000, "2499", 1},
    {"slow, largest limit", "", B24BG_PAGE_BEACON_SLOW, apr_time_from_sec(600), "300000", 1},
    {"all, no script", "", B24BG_PAGE_BEACON_ALL, LIMIT, "-1", 1},
    {"all, scripts", "/a.js", B24BG_PAGE_BEACON_ALL, LIMIT, "-1", 1},
};

/* Filled, the page differs in the tag alone; unfilled it has none. */
static void test_fill(void **state)
{
    const beacon_t *row = *state;
    const b24bg_page_t page = build_with(row->urls, row->beacon, row->limit);
    const char *tag = "00000001000000020000000300000004fedcba9876543210";
    const char *filled = b24bg_page_fill(unit_pool, &page, tag);

    assert_int_equal(strlen(tag), B24BG_BEACON_TAG_LENGTH);
    assert_int_equal(strlen(filled), page.length);
    if (row->over) {
        const char *none = attribute(page.text, "data-tag");
        assert_string_equal(attribute(page.text, "data-over"), row->over);
        assert_int_equal(strspn(none, " "), strlen(none));
        assert_string_equal(attribute(filled, "data-tag"), row->has_tag ? tag : none);
    } else {
        assert_null(strstr(page.text, "<script"));
    }
    if (row->has_tag) {
        apr_size_t behind = page.tag_offset + B24BG_BEACON_TAG_LENGTH;
        assert_memory_equal(filled, page.text, page.tag_offset);
        assert_string_equal(filled + behind, page.text + behind);
        assert_ptr_not_equal(filled, page.text);
    } else {
        assert_int_equal(page.tag_offset, 0);
        assert_ptr_equal(filled, page.text);
    }
}

/* URLs */

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
    b24bg_page_t page;
    json_t *read;

    APR_ARRAY_PUSH(urls, const char *) = unit_copy(row->url, strlen(row->url) + 1, 0);
    b24bg_page_build(unit_pool, urls, B24BG_PAGE_BEACON_OFF, LIMIT, &page);
    assert_string_equal(attribute(page.text, "data-urls"),
                        apr_pstrcat(unit_pool, "[&quot;", row->escaped, "&quot;]", NULL));
    assert_int_equal(count(page.text, "<script"), 1);
    assert_int_equal(count(page.text, "</script>"), 1);
    read = read_urls(page.text);
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
    b24bg_page_t page;
    json_t *read;
    int i;

    (void)state;
    for (i = 0; i < 100; i++) {
        APR_ARRAY_PUSH(urls, const char *) = apr_psprintf(unit_pool, "https://h/%d.js", i);
    }
    b24bg_page_build(unit_pool, urls, B24BG_PAGE_BEACON_OFF, LIMIT, &page);
    assert_true(page.length > B24BG_PAGE_MAX);
    assert_int_equal(page.length, strlen(page.text));
    read = read_urls(page.text);
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
    {"custom element", "<scripture src=a><script-x src=a>", ""},
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
    {"import", "<style>@import url(a.css);</style>", "@import,url()"},
    {"import of text, capitals", "<STYLE media=all>@IMPORT 'a.css';</STYLE>", "@import"},
    {"picture of a style sheet", "<style>p { background: URL( 'a.png' ) }</style>", "url()"},
    {"picture in the style sheet", "<style>p { background: url(\"data:image/png,\") }</style>", ""},
    {"picture of an element", "<p style=\"background: url(a.png)\">", "url()"},
    {"part of the page", "<p style='clip-path: url(#a)'>url(a.png) @import</p>", ""},
    {"picture of the body", "<body background=a.png>", "<body background>"},
    {"picture in a drawing", "<svg><image href=\"a.png\"/></svg>", "<image>"},
    {"bracket in an attribute", "<script data-x=\"a>b\" src=a.js></script>", "<script src>"},
    {"bracket in single quotes", "<script data-x = 'a>b' src=a.js></script>", "<script src>"},
    {"quotes that are none", "<p title=it's><img>", "<img>"},
    {"markup in a script", "<script>x('<img>')</script><img>", "<img>"},
    {"markup in an attribute", "<p title='<img>'>", ""},
    {"script left open", "<script>x('<img>')", "<img>"},
    {"page built in", "<p>src=x rel=stylesheet http-equiv=refresh</p>", ""},
};

static void test_blockers(void **state)
{
    const blockers_t *row = *state;
    const apr_array_header_t *found =
        b24bg_page_blockers(unit_pool, unit_copy(row->html, strlen(row->html) + 1, 0));

    assert_string_equal(apr_array_pstrcat(unit_pool, found, ','), row->expected);
}

static const struct {
    const char *before; /* the script stands between the two */
    const char *after;
} bodies[] = {
    {"<p>own", ""},
    {"<p>own", "</BODY></html>"},
    {"<p>own</body>", "</body>"},
    {"<p>own", "</body></html><!-- </body> -->"},
    {"<p>own<!-- </body> -->", ""},
    {"<!-- </body> --><p>own", "</body>"},
    {"<!--><p>own", "</body><!-- -->"},
    {"<!---><p>own", "</body><!-- -->"},
    {"<p>own<script>var f = '<body></body>';</script>", ""},
    {"<p>own<SCRIPT>var f = '</body>';</SCRIPT >", "</body>"},
    {"<p>own<style>/* </body> */</style>", ""},
    {"<p>own<textarea></body></textarea>", ""},
    {"<p title=\"</body>\">own", ""},
    {"<p>own</bodyguard>", ""},
};

static void test_end_of_body(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        const char *html = apr_pstrcat(unit_pool, bodies[i].before, bodies[i].after, NULL);
        apr_size_t length = strlen(bodies[i].before);
        b24bg_page_t page;
        b24bg_page_complete(unit_pool, html, B24BG_PAGE_BEACON_ALL, LIMIT, &page);
        assert_memory_equal(page.text, bodies[i].before, length);
        assert_memory_equal(page.text + length, "<script data-urls", 17);
        assert_string_equal(page.text + page.length - strlen(bodies[i].after), bodies[i].after);
    }
}

int main(void)
{
    UNIT_ADD(test_end_of_body);
    UNIT_ADD(test_plain_page);
    UNIT_ADD(test_page_with_scripts);
    UNIT_ADD(test_script_stays);
    UNIT_ADD(test_script_is_constant);
    UNIT_ADD_ROWS(test_fill, beacons);
    UNIT_ADD_ROWS(test_escape, escapes);
    UNIT_ADD(test_order);
    UNIT_ADD(test_many_urls);
    UNIT_ADD_ROWS(test_blockers, blocking);
    return unit_run("page");
}
