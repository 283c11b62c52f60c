#include "b24bg_framing.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#define CSP "Content-Security-Policy"
#define ANCESTORS "frame-ancestors"

static const char *const forbidden[] = {"X-Frame-Options", "Permissions-Policy", "Feature-Policy"};

typedef struct {
    apr_pool_t *pool;
    apr_array_header_t *policies; /* const char *: what is left of each header */
    int removed;
} clearing_t;

static int is_ancestors(const char *directive)
{
    apr_size_t length = sizeof(ANCESTORS) - 1;

    return apr_cstr_casecmpn(directive, ANCESTORS, length) == 0 &&
           (!directive[length] || apr_isspace(directive[length]));
}

static const char *join(apr_pool_t *pool, const char *list, const char *separator, const char *item)
{
    return *list ? apr_pstrcat(pool, list, separator, item, NULL) : item;
}

/* One policy: directives with ";" between them. */
static const char *clear_policy(clearing_t *clearing, char *policy)
{
    const char *left = "";
    char *last;
    char *directive;

    for (directive = apr_strtok(policy, ";", &last); directive;
         directive = apr_strtok(NULL, ";", &last)) {
        while (apr_isspace(*directive)) {
            directive++;
        }
        if (is_ancestors(directive)) {
            clearing->removed = 1;
        } else if (*directive) {
            left = join(clearing->pool, left, "; ", directive);
        }
    }
    return left;
}

/* One header: policies with "," between them, which no directive holds (CSP level 3, 2.2). */
static int clear_header(void *baton, const char *name, const char *value)
{
    clearing_t *clearing = baton;
    const char *left = "";
    char *last;
    char *policy;

    (void)name;
    for (policy = apr_strtok(apr_pstrdup(clearing->pool, value), ",", &last); policy;
         policy = apr_strtok(NULL, ",", &last)) {
        const char *cleared = clear_policy(clearing, policy);
        if (*cleared) {
            left = join(clearing->pool, left, ", ", cleared);
        }
    }
    if (*left) {
        APR_ARRAY_PUSH(clearing->policies, const char *) = left;
    }
    return 1;
}

/* 1 if some policy named the pages that may frame this one. */
static int clear_policies(apr_table_t *headers)
{
    apr_pool_t *pool = apr_table_elts(headers)->pool;
    clearing_t clearing = {pool, apr_array_make(pool, 2, sizeof(const char *)), 0};
    int i;

    apr_table_do(clear_header, &clearing, headers, CSP, NULL);
    if (clearing.removed) {
        apr_table_unset(headers, CSP);
        for (i = 0; i < clearing.policies->nelts; i++) {
            apr_table_addn(headers, CSP, APR_ARRAY_IDX(clearing.policies, i, const char *));
        }
    }
    return clearing.removed;
}

const char *b24bg_framing_clear(apr_table_t *headers, apr_table_t *more)
{
    apr_pool_t *pool = apr_table_elts(headers)->pool;
    const char *names = "";
    apr_size_t i;
    int removed;

    for (i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (apr_table_get(headers, forbidden[i]) || apr_table_get(more, forbidden[i])) {
            apr_table_unset(headers, forbidden[i]);
            apr_table_unset(more, forbidden[i]);
            names = join(pool, names, ", ", forbidden[i]);
        }
    }
    removed = clear_policies(headers);
    removed |= clear_policies(more);
    if (removed) {
        names = join(pool, names, ", ", ANCESTORS);
    }
    return *names ? names : NULL;
}
