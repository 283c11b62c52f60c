/* Headers by which a browser refuses the frame, or takes its rights. Bitrix24 does not notice: the
 * frame's load event comes all the same.
 *
 * Sources: HTML standard 7.4.1 (X-Frame-Options), CSP level 3 sections 6.4.2 and 6.7.2
 * (frame-ancestors), Permissions Policy section 5, protocol.md 1.8. */
#include "b24bgctl_check.h"

#include "b24bg_form.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <stdlib.h>
#include <string.h>

#define FRAMING "framing"
#define SHOWN_LONGEST 200
#define UNSET_OPTIONS                                                                              \
    "take it away in this Location: Header unset X-Frame-Options, Header always unset "            \
    "X-Frame-Options"
#define NAME_PORTALS                                                                               \
    "name your portals in frame-ancestors for this Location, or the right portal with --domain"

static const char *shown(apr_pool_t *pool, const char *value)
{
    return b24bg_form_clean(pool, value, SHOWN_LONGEST);
}

static const char *portal_name(const b24bgctl_check_t *check)
{
    return apr_pstrcat(check->pool, check->portal.scheme, "://", check->facts.domain, NULL);
}

static int is_default_port(const b24bgctl_origin_t *origin)
{
    return origin->port == (strcmp(origin->scheme, "https") == 0 ? 443 : 80);
}

static int same_origin(const b24bgctl_origin_t *one, const b24bgctl_origin_t *other)
{
    return strcmp(one->scheme, other->scheme) == 0 && strcmp(one->host, other->host) == 0 &&
           one->port == other->port;
}

/* Content-Security-Policy */

/* The sources of a directive in one policy; NULL: it is not there. The first one of a name counts.
 */
static const char *directive_of(apr_pool_t *pool, const char *policy, const char *name)
{
    apr_array_header_t *directives = apr_cstr_split(policy, ";", 1, pool);
    apr_size_t length = strlen(name);
    int i;

    for (i = 0; i < directives->nelts; i++) {
        const char *directive = APR_ARRAY_IDX(directives, i, const char *);
        if (apr_cstr_casecmpn(directive, name, length) == 0 &&
            (!directive[length] || apr_isspace(directive[length]))) {
            return directive + length + strspn(directive + length, " \t");
        }
    }
    return NULL;
}

/* What is written for http is good for https, never the other way round. */
static int scheme_fits(const char *pattern, apr_size_t length, const char *scheme)
{
    return (strlen(scheme) == length && apr_cstr_casecmpn(pattern, scheme, length) == 0) ||
           (length == 4 && apr_cstr_casecmpn(pattern, "http", 4) == 0 &&
            strcmp(scheme, "https") == 0);
}

/* "*" is any host, "*.x" any below x, but not x. */
static int host_fits(const char *pattern, apr_size_t length, const char *host)
{
    apr_size_t host_length = strlen(host);

    if (length == 1 && *pattern == '*') {
        return 1;
    }
    if (length > 1 && *pattern == '*') {
        pattern++;
        length--;
        if (host_length <= length) {
            return 0;
        }
        host += host_length - length;
        host_length = length;
    }
    return host_length == length && apr_cstr_casecmpn(pattern, host, length) == 0;
}

/* [scheme://]host[:port][/path]; without a scheme that of the page is meant. An origin has the
 * path "/". */
static int host_source_fits(const b24bgctl_check_t *check, const char *source)
{
    const b24bgctl_origin_t *portal = &check->portal;
    const char *host = strstr(source, "://");
    const char *scheme = host ? source : check->worker.scheme;
    apr_size_t scheme_length = host ? (apr_size_t)(host - source) : strlen(scheme);
    const char *end;

    host = host ? host + 3 : source;
    end = host + strcspn(host, ":/");
    if (!scheme_fits(scheme, scheme_length, portal->scheme) ||
        !host_fits(host, (apr_size_t)(end - host), portal->host)) {
        return 0;
    }
    if (*end == ':') {
        const char *port = end + 1;
        end = port + strcspn(port, "/");
        if (*port != '*' && atoi(port) != portal->port) {
            return 0;
        }
    } else if (!is_default_port(portal)) {
        return 0;
    }
    return !*end || strcmp(end, "/") == 0;
}

static int source_fits(const b24bgctl_check_t *check, const char *source)
{
    apr_size_t length = strlen(source);

    if (strcmp(source, "*") == 0) {
        return 1;
    }
    if (*source == '\'') {
        return apr_cstr_casecmp(source, "'self'") == 0 &&
               same_origin(&check->worker, &check->portal);
    }
    if (source[length - 1] == ':') {
        return scheme_fits(source, length - 1, check->portal.scheme);
    }
    return host_source_fits(check, source);
}

static int sources_fit(const b24bgctl_check_t *check, const char *sources)
{
    apr_array_header_t *list = apr_cstr_split(sources, " \t", 1, check->pool);
    int i;

    for (i = 0; i < list->nelts; i++) {
        if (source_fits(check, APR_ARRAY_IDX(list, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

/* Every policy has to allow the portal. Returns 0 if none says anything of frames. */
static int check_ancestors(b24bgctl_check_t *check, const apr_array_header_t *policies)
{
    const char *allowing = NULL;
    int i;

    for (i = 0; i < policies->nelts; i++) {
        const char *sources =
            directive_of(check->pool, APR_ARRAY_IDX(policies, i, const char *), "frame-ancestors");
        if (sources && !sources_fit(check, sources)) {
            b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, FRAMING, NAME_PORTALS,
                          "Content-Security-Policy: frame-ancestors %s leaves %s out: a browser "
                          "shows an error in place of the worker, and Bitrix24 does not notice",
                          shown(check->pool, sources), portal_name(check));
            return 1;
        }
        allowing = sources ? sources : allowing;
    }
    if (allowing) {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, FRAMING, "",
                      "Content-Security-Policy: frame-ancestors %s lets %s show the page",
                      shown(check->pool, allowing), portal_name(check));
    }
    return allowing != NULL;
}

/* The script in the page, by which all others come, is an inline one. */
static void check_scripts(b24bgctl_check_t *check, const apr_array_header_t *policies)
{
    static const char *const names[] = {"script-src-elem", "script-src", "default-src"};
    int i;

    for (i = 0; i < policies->nelts; i++) {
        const char *policy = APR_ARRAY_IDX(policies, i, const char *);
        const char *sources = NULL;
        apr_size_t name;
        for (name = 0; !sources && name < sizeof(names) / sizeof(names[0]); name++) {
            sources = directive_of(check->pool, policy, names[name]);
        }
        if (sources && !strstr(sources, "'unsafe-inline'") && !strstr(sources, "'sha") &&
            !strstr(sources, "'nonce-")) {
            b24bgctl_find(check, B24BGCTL_FOUND_WARNING, "scripts",
                          "allow it by its hash, or take the policy away in this Location",
                          "Content-Security-Policy forbids the script in the page: the frame "
                          "loads, but nothing works in it");
            return;
        }
    }
}

/* X-Frame-Options */

/* Returns what a browser makes of it: "deny", "sameorigin", "" (nothing), or what it is not clear
 * about. */
static const char *frame_options(apr_pool_t *pool, const char *value)
{
    apr_array_header_t *values = apr_cstr_split(value, ",", 1, pool);
    const char *first = NULL;
    int known = 0;
    int differ = 0;
    int i;

    for (i = 0; i < values->nelts; i++) {
        char *one = APR_ARRAY_IDX(values, i, char *);
        apr_size_t at;
        for (at = 0; one[at]; at++) {
            one[at] = (char)apr_tolower(one[at]);
        }
        known |= !strcmp(one, "deny") || !strcmp(one, "sameorigin") || !strcmp(one, "allowall");
        differ |= first && strcmp(one, first) != 0;
        first = first ? first : one;
    }
    if (differ) {
        return known ? "deny" : "";
    }
    return known && strcmp(first, "allowall") != 0 ? first : "";
}

static void check_options(b24bgctl_check_t *check, const char *value, int overruled)
{
    const char *means = frame_options(check->pool, value);
    int forbids = strcmp(means, "deny") == 0 || (strcmp(means, "sameorigin") == 0 &&
                                                 !same_origin(&check->worker, &check->portal));

    value = shown(check->pool, value);
    if (!forbids) {
        b24bgctl_find(check, B24BGCTL_FOUND_NOTE, FRAMING, UNSET_OPTIONS,
                      "X-Frame-Options: %s keeps today's browsers from nothing", value);
    } else if (overruled) {
        b24bgctl_find(check, B24BGCTL_FOUND_WARNING, FRAMING, UNSET_OPTIONS,
                      "X-Frame-Options: %s does not count beside frame-ancestors, but old browsers "
                      "obey it",
                      value);
    } else {
        b24bgctl_find(
            check, B24BGCTL_FOUND_CRITICAL, FRAMING, UNSET_OPTIONS,
            "X-Frame-Options: %s forbids %s to show the page: a browser shows an error in "
            "place of the worker, and Bitrix24 does not notice",
            value, portal_name(check));
    }
}

/* Permissions-Policy */

/* The value of a feature in a structured dictionary, or NULL. Of two the last one counts. */
static const char *feature_of(apr_pool_t *pool, const char *policy, const char *feature)
{
    apr_array_header_t *members = apr_cstr_split(policy, ",", 1, pool);
    apr_size_t length = strlen(feature);
    const char *found = NULL;
    int i;

    for (i = 0; i < members->nelts; i++) {
        const char *member = APR_ARRAY_IDX(members, i, const char *);
        if (strncmp(member, feature, length) == 0 && member[length] == '=') {
            found = member + length + 1;
        }
    }
    return found;
}

/* The page itself is "self", whoever shows it. */
static int leaves_feature(const b24bgctl_check_t *check, const char *list)
{
    const char *own =
        apr_pstrcat(check->pool, "\"", check->worker.scheme, "://", check->worker.host, NULL);

    return strchr(list, '*') || strstr(list, "self") || strstr(list, own);
}

static void check_permissions(b24bgctl_check_t *check, const char *policy)
{
    /* What the portal's frame hands on: protocol.md 1.8. */
    static const struct {
        const char *name;
        const char *meaning;
    } features[] = {{"microphone", "nobody can be called from the worker"},
                    {"camera", "there is no picture of the user"},
                    {"autoplay", "nothing rings before the user has clicked"},
                    {"geolocation", "the worker does not learn where the user is"}};
    apr_size_t i;
    int bad = 0;

    for (i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const char *list = feature_of(check->pool, policy, features[i].name);
        if (list && !leaves_feature(check, list)) {
            b24bgctl_find(check, B24BGCTL_FOUND_WARNING, "permissions",
                          "take Permissions-Policy away in this Location if you need it",
                          "Permissions-Policy: %s=%s switches it off in the frame: %s",
                          features[i].name, shown(check->pool, list), features[i].meaning);
            bad = 1;
        }
    }
    if (!bad) {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, "permissions", "",
                      "Permissions-Policy leaves the frame microphone, camera, autoplay and "
                      "geolocation");
    }
}

void b24bgctl_check_frame(b24bgctl_check_t *check, const b24bgctl_result_t *result)
{
    const apr_table_t *headers = result->headers;
    const char *policy = apr_table_get(headers, "Content-Security-Policy");
    const char *options = apr_table_get(headers, "X-Frame-Options");
    const char *permissions = apr_table_get(headers, "Permissions-Policy");
    apr_array_header_t *policies = apr_cstr_split(policy ? policy : "", ",", 1, check->pool);
    int overruled = check_ancestors(check, policies);

    if (options) {
        check_options(check, options, overruled);
    } else if (!overruled) {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, FRAMING, "",
                      "no header keeps a portal, or anybody else, from showing the page");
    }
    if (strstr(result->page, "<script")) {
        check_scripts(check, policies);
    }
    if (permissions) {
        check_permissions(check, permissions);
    } else {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, "permissions", "",
                      "no Permissions-Policy takes microphone, camera, autoplay or geolocation");
    }
}
