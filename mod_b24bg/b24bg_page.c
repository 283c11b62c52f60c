#include "b24bg_page.h"

#include "b24bg_beacon.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head><meta charset=\"utf-8\"><title>Bitrix24 background worker</title></head>\n"
    "<body>\n"
    "<p>This page is loaded by Bitrix24 in a hidden frame. There is nothing to see here.</p>\n";
static const char script_open[] = "<script data-urls=\"";
/* The load event first, everything else behind it: what a script costs the portal's watch is what
 * it delays that event (protocol.md 2.2), so setTimeout leaves the event's own handlers. One load
 * in 100 is a sample: spec.md section 3. A script that neither comes nor fails, as behind a
 * firewall that drops, is given up after 10 s, twice what Bitrix24 calls slow; a browser would wait
 * for minutes. ES5, for the old engines of embedded views; one that lacks what a beacon needs sends
 * none. A beacon goes to the page's own address in full: a path alone would follow <base href>, or
 * name a host where it begins with two slashes. While a page is parsed the script that runs is its
 * last one; an own page may have others before it, as one that began as a copy of ours. Where a
 * site's CSP requires Trusted Types a script's address has to come through a policy; what it lets
 * nobody do then has failed at once. */
static const char script_close[] =
    "\">\n"
    "(function (d, n) {\n"
    " var all = d.querySelectorAll('script[data-urls]'), data = all[all.length - 1].dataset,\n"
    "  urls = JSON.parse(data.urls), tag = data.tag.trim(), failed = 0, trust;\n"
    " function send(text) {\n"
    "  var to = location.href.split(/[?#]/)[0] + '?b24bg=load', body = 'tag=' + tag + text;\n"
    "  try {\n"
    "   if (tag && !(n.sendBeacon && n.sendBeacon(to, body))) {\n"
    "    fetch(to, {method: 'POST', body: body, keepalive: true}).catch(String);\n"
    "   }\n"
    "  } catch (e) {}\n"
    " }\n"
    " function report() {\n"
    "  try {\n"
    "   var p = performance, e = p.getEntriesByType('navigation')[0] || p.timing,\n"
    "    ms = Math.round(e.loadEventStart - (e.navigationStart || 0));\n"
    "   if (ms > data.over) send('&ms=' + ms);\n"
    "   else if (Math.random() < 0.01) send('&ms=' + ms + '&sampled=1');\n"
    "  } catch (e) {}\n"
    " }\n"
    " function attach() {\n"
    "  var url = urls.shift(), s = d.createElement('script'), timer;\n"
    "  function done(event) {\n"
    "   clearTimeout(timer);\n"
    "   s.onload = s.onerror = null;\n"
    "   if (!event || event.type !== 'load') {\n"
    "    failed++;\n"
    "    console.warn('b24bg: no script from ' + url);\n"
    "   }\n"
    "   attach();\n"
    "  }\n"
    "  if (url) {\n"
    "   s.onload = s.onerror = done;\n"
    "   timer = setTimeout(done, 10000);\n"
    "   try {\n"
    "    s.src = trust ? trust.createScriptURL(url) : url;\n"
    "    d.body.appendChild(s);\n"
    "   } catch (e) { done(e); }\n"
    "  } else if (failed) send('&failed=' + failed);\n"
    " }\n"
    " addEventListener('load', function () {\n"
    "  setTimeout(function () {\n"
    "   report();\n"
    "   try {\n"
    "    trust = trustedTypes.createPolicy('b24bg', {createScriptURL: String});\n"
    "   } catch (e) {}\n"
    "   attach();\n"
    "  }, 0);\n"
    " });\n"
    "})(document, navigator);\n"
    "</script>\n";
static const char tail[] = "</body>\n</html>\n";

/* A JSON string inside a double-quoted HTML attribute. URLs come without control characters,
 * quotes and backslashes (b24bg_value_url), but nothing here relies on it. */
static const char *attribute_json_string(apr_pool_t *pool, const char *text)
{
    char *quoted = apr_palloc(pool, strlen(text) * 10 + 13);
    char *to = apr_cpystrn(quoted, "&quot;", 7);

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == '\\' || strchr("\"'<>&", c)) {
            to += apr_snprintf(to, 7, "\\u%04x", c);
        } else {
            *to++ = (char)c;
        }
    }
    memcpy(to, "&quot;", 7);
    return quoted;
}

/* A load of more milliseconds than this is always told of. */
static int told_over(b24bg_page_beacon_e beacon, apr_time_t slow_limit)
{
    return beacon == B24BG_PAGE_BEACON_ALL ? -1 : (int)(slow_limit / 2 / 1000);
}

/* Without its indentation: the page has 2 KiB for all. */
static const char *unindented(apr_pool_t *pool, const char *script)
{
    char *text = apr_palloc(pool, strlen(script) + 1);
    char *to = text;

    for (; *script; script++) {
        *to++ = *script;
        if (*script == '\n') {
            script += strspn(script + 1, " ");
        }
    }
    *to = '\0';
    return text;
}

/* The page with the script between its two parts; `list` is the JSON of the URLs, escaped. */
static void add_script(apr_pool_t *pool, b24bg_page_t *page, const char *before, const char *list,
                       const char *after)
{
    const char *open = apr_psprintf(pool, "%s%s[%s]\" data-over=\"%d\" data-tag=\"", before,
                                    script_open, list, page->told_over);

    page->text = apr_psprintf(pool, "%s%*s%s%s", open, B24BG_BEACON_TAG_LENGTH, "",
                              unindented(pool, script_close), after);
    page->length = strlen(page->text);
    page->tag_offset = page->beacon == B24BG_PAGE_BEACON_OFF ? 0 : strlen(open);
}

void b24bg_page_build(apr_pool_t *pool, const apr_array_header_t *urls, b24bg_page_beacon_e beacon,
                      apr_time_t slow_limit, b24bg_page_t *page)
{
    const char *list = "";
    int i;

    for (i = 0; i < urls->nelts; i++) {
        const char *url = attribute_json_string(pool, APR_ARRAY_IDX(urls, i, const char *));
        list = apr_pstrcat(pool, list, i ? "," : "", url, NULL);
    }
    page->beacon = beacon;
    page->told_over = told_over(beacon, slow_limit);
    page->tag_offset = 0;
    if (urls->nelts || beacon != B24BG_PAGE_BEACON_OFF) {
        add_script(pool, page, head, list, tail);
        return;
    }
    page->text = apr_pstrcat(pool, head, tail, NULL);
    page->length = strlen(page->text);
}

/* The `>` of the tag that begins here, or the end of the text. A value's quotes, which stand behind
 * an equals sign, may hold others. */
static const char *end_of_tag(const char *tag)
{
    const char *end = tag;
    char before = '\0';

    for (; *end && *end != '>'; end++) {
        if ((*end == '"' || *end == '\'') && before == '=') {
            const char *close = strchr(end + 1, *end);
            end = close ? close : end + strlen(end) - 1;
        }
        before = apr_isspace(*end) ? before : *end;
    }
    return end;
}

static int is_tag(const char *tag, const char *name)
{
    apr_size_t length = strlen(name);

    return apr_cstr_casecmpn(tag + 1, name, length) == 0 && !apr_isalnum(tag[1 + length]) &&
           tag[1 + length] != '-';
}

/* Where what belongs to the tag ends: of a script and the like, whose text is no markup, at its end
 * tag; of all others at the `>`. */
static const char *end_of_text(const char *tag, const char *end)
{
    static const char *const names[] = {"script", "style", "textarea", "title"};
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *at = is_tag(tag, names[i]) ? strchr(end, '<') : NULL;
        for (; at; at = strchr(at + 1, '<')) {
            if (at[1] == '/' && is_tag(at + 1, names[i])) {
                return at;
            }
        }
    }
    return end;
}

/* The first tag at or behind `at` that is none of a comment, and its `>`; NULL: there is none. */
static const char *find_tag(const char *at, const char **end)
{
    while ((at = strchr(at, '<')) != NULL) {
        const char *closed = strncmp(at, "<!--", 4) == 0 ? strstr(at + 2, "-->") : NULL;
        if (apr_isalpha(at[1]) || (at[1] == '/' && apr_isalpha(at[2]))) {
            *end = end_of_tag(at);
            return at;
        }
        at = closed ? closed : at + 1;
    }
    return NULL;
}

/* Where the last </body> is that is a tag; the end of the text without one. */
static const char *end_of_body(const char *html)
{
    const char *found = html + strlen(html);
    const char *tag = html;
    const char *end;

    while ((tag = find_tag(tag, &end)) != NULL) {
        if (tag[1] == '/' && is_tag(tag + 1, "body")) {
            found = tag;
        }
        tag = end_of_text(tag, end);
    }
    return found;
}

void b24bg_page_complete(apr_pool_t *pool, const char *html, b24bg_page_beacon_e beacon,
                         apr_time_t slow_limit, b24bg_page_t *page)
{
    const char *end = end_of_body(html);

    page->beacon = beacon;
    page->told_over = told_over(beacon, slow_limit);
    page->tag_offset = 0;
    page->text = html;
    page->length = strlen(html);
    if (beacon != B24BG_PAGE_BEACON_OFF) {
        add_script(pool, page, apr_pstrmemdup(pool, html, (apr_size_t)(end - html)), "", end);
    }
}

const char *b24bg_page_fill(apr_pool_t *pool, const b24bg_page_t *page, const char *tag)
{
    char *text;

    if (!page->tag_offset) {
        return page->text;
    }
    text = apr_pmemdup(pool, page->text, page->length + 1);
    memcpy(text + page->tag_offset, tag, B24BG_BEACON_TAG_LENGTH);
    return text;
}

/* 1 if the attribute's value, which starts at `at`, holds the word (NULL: any value). */
static int value_holds(const char *at, const char *end, const char *word)
{
    char quote = *at == '"' || *at == '\'' ? *at : '\0';
    const char *stop = at + (quote != '\0');

    while (stop < end && (quote ? *stop != quote : !apr_isspace(*stop))) {
        stop++;
    }
    for (; word && at < stop; at++) {
        if (apr_cstr_casecmpn(at, word, strlen(word)) == 0) {
            return 1;
        }
    }
    return !word;
}

static const char install_head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head><meta charset=\"utf-8\"><title>Installation</title></head>\n"
    "<body>\n"
    "<p>The installation has been received. Bitrix24 finishes it now.</p>\n";
static const char install_script[] =
    "\">\n"
    "(function (d) {\n"
    "    var urls = JSON.parse(d.currentScript.dataset.urls);\n"
    "    addEventListener('load', function () {\n"
    "        var s = d.createElement('script');\n"
    "        s.onload = function () {\n"
    "            if (window.BX24) {\n"
    "                BX24.init(function () { BX24.installFinish(); });\n"
    "            }\n"
    "        };\n"
    "        s.src = urls[0];\n"
    "        d.body.appendChild(s);\n"
    "    });\n"
    "})(document);\n"
    "</script>\n";

const char *b24bg_page_install(apr_pool_t *pool, const char *bx24, apr_size_t *length)
{
    const char *page =
        apr_pstrcat(pool, install_head, script_open, "[", attribute_json_string(pool, bx24), "]",
                    install_script, tail, NULL);

    *length = strlen(page);
    return page;
}

/* 1 if the tag's text holds ` name=value`, quoted or not; any value where value is NULL. */
static int has_attribute(const char *tag, const char *end, const char *name, const char *value)
{
    apr_size_t length = strlen(name);
    const char *at;

    for (at = tag + 1; at + length <= end; at++) {
        const char *is;
        if (apr_isalnum(at[-1]) || at[-1] == '-' || apr_cstr_casecmpn(at, name, length) != 0) {
            continue;
        }
        for (is = at + length; is < end && apr_isspace(*is); is++) {
        }
        if (is == end || *is != '=') {
            continue;
        }
        for (is++; is < end && apr_isspace(*is); is++) {
        }
        if (value_holds(is, end, value)) {
            return 1;
        }
    }
    return 0;
}

/* Every markup that the browser waits for before the load event, or that makes a second one. */
static const struct {
    const char *tag;
    const char *attribute; /* NULL: the tag alone */
    const char *value;     /* NULL: any */
    const char *name;
} blockers[] = {
    {"script", "src", NULL, "<script src>"},
    {"link", "rel", "stylesheet", "<link rel=stylesheet>"},
    {"link", "rel", "modulepreload", "<link rel=modulepreload>"},
    {"img", NULL, NULL, "<img>"},
    {"iframe", NULL, NULL, "<iframe>"},
    {"frame", NULL, NULL, "<frame>"},
    {"object", NULL, NULL, "<object>"},
    {"embed", NULL, NULL, "<embed>"},
    {"video", NULL, NULL, "<video>"},
    {"audio", NULL, NULL, "<audio>"},
    {"input", "type", "image", "<input type=image>"},
    {"image", NULL, NULL, "<image>"}, /* of SVG; elsewhere browsers read it as <img> */
    {"body", "background", NULL, "<body background>"},
    {"meta", "http-equiv", "refresh", "<meta http-equiv=refresh>"},
};

static void add_once(apr_array_header_t *found, const char *name)
{
    int i;

    for (i = 0; i < found->nelts; i++) {
        if (APR_ARRAY_IDX(found, i, const char *) == name) {
            return;
        }
    }
    APR_ARRAY_PUSH(found, const char *) = name;
}

/* What style sheets in the page fetch. */
static void find_in_style(apr_array_header_t *found, const char *style, const char *end)
{
    for (; style < end; style++) {
        if (apr_cstr_casecmpn(style, "@import", 7) == 0) {
            add_once(found, "@import");
        } else if (apr_cstr_casecmpn(style, "url(", 4) == 0) {
            const char *url = style + 4 + strspn(style + 4, " \t\r\n\"'");
            if (apr_cstr_casecmpn(url, "data:", 5) != 0 && *url != '#') {
                add_once(found, "url()");
            }
        }
    }
}

apr_array_header_t *b24bg_page_blockers(apr_pool_t *pool, const char *html)
{
    apr_array_header_t *found = apr_array_make(pool, 4, sizeof(const char *));
    const char *end;

    while ((html = find_tag(html, &end)) != NULL) {
        apr_size_t i;
        for (i = 0; i < sizeof(blockers) / sizeof(blockers[0]); i++) {
            if (is_tag(html, blockers[i].tag) &&
                (!blockers[i].attribute ||
                 has_attribute(html, end, blockers[i].attribute, blockers[i].value))) {
                add_once(found, blockers[i].name);
            }
        }
        if (has_attribute(html, end, "style", "url(")) {
            find_in_style(found, html, end);
        } else if (is_tag(html, "style")) {
            find_in_style(found, end, end_of_text(html, end));
        }
        html = end_of_text(html, end);
    }
    return found;
}
