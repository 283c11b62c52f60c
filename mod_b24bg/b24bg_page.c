#include "b24bg_page.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

/* The load event first, everything else behind it: what a script costs the portal's watch is what
 * it delays that event (protocol.md 2.2). setTimeout leaves the event's own handlers, then the
 * scripts run in order (async = false) and a failed one does not stop the next. */
static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head><meta charset=\"utf-8\"><title>Bitrix24 background worker</title></head>\n"
    "<body>\n"
    "<p>This page is loaded by Bitrix24 in a hidden frame. There is nothing to see here.</p>\n";
static const char script_open[] = "<script data-urls=\"";
static const char script_close[] =
    "\">\n"
    "(function (d) {\n"
    "    var urls = JSON.parse(d.currentScript.dataset.urls);\n"
    "    addEventListener('load', function () {\n"
    "        setTimeout(function () {\n"
    "            urls.forEach(function (url) {\n"
    "                var s = d.createElement('script');\n"
    "                s.async = false;\n"
    "                s.onerror = function () { console.warn('b24bg: no script from ' + url); };\n"
    "                s.src = url;\n"
    "                d.body.appendChild(s);\n"
    "            });\n"
    "        }, 0);\n"
    "    });\n"
    "})(document);\n"
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

const char *b24bg_page_build(apr_pool_t *pool, const apr_array_header_t *urls, apr_size_t *length)
{
    const char *list = "";
    const char *page;
    int i;

    for (i = 0; i < urls->nelts; i++) {
        const char *url = attribute_json_string(pool, APR_ARRAY_IDX(urls, i, const char *));
        list = apr_pstrcat(pool, list, i ? "," : "", url, NULL);
    }
    if (urls->nelts) {
        page = apr_pstrcat(pool, head, script_open, "[", list, "]", script_close, tail, NULL);
    } else {
        page = apr_pstrcat(pool, head, tail, NULL);
    }
    *length = strlen(page);
    return page;
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

apr_array_header_t *b24bg_page_blockers(apr_pool_t *pool, const char *html)
{
    apr_array_header_t *found = apr_array_make(pool, 4, sizeof(const char *));

    while ((html = strchr(html, '<')) != NULL) {
        const char *end;
        apr_size_t i;
        if (strncmp(html, "<!--", 4) == 0) {
            end = strstr(html, "-->");
            html = end ? end : html + 4;
            continue;
        }
        end = html + strcspn(html, ">");
        for (i = 0; i < sizeof(blockers) / sizeof(blockers[0]); i++) {
            apr_size_t length = strlen(blockers[i].tag);
            if (apr_cstr_casecmpn(html + 1, blockers[i].tag, length) == 0 &&
                !apr_isalnum(html[1 + length]) &&
                (!blockers[i].attribute ||
                 has_attribute(html, end, blockers[i].attribute, blockers[i].value))) {
                add_once(found, blockers[i].name);
            }
        }
        html++;
    }
    return found;
}
