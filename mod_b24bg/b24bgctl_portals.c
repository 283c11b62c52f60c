/* What is shown and wiped of portals: on the store alone, so with Apache stopped as well. No token
 * is ever printed. */
#include "b24bgctl.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHED_PATIENCE apr_time_from_sec(2)
#define SHED_INTERVAL (100 * (APR_USEC_PER_SEC / 1000))

/* portals */

enum { APP, MEMBER_ID, DOMAIN, INSTALLED, LAST_LOAD, LOADS, TOKEN_AGE, STATE, COLUMNS };

typedef struct {
    const char *cells[COLUMNS];
} row_t;

static const char *const titles[] = {"APP",       "MEMBER_ID", "DOMAIN",    "INSTALLED",
                                     "LAST LOAD", "LOADS",     "TOKEN AGE", "STATE"};
_Static_assert(sizeof(titles) / sizeof(titles[0]) == COLUMNS, "a title for each column");

static int compare(const void *one, const void *other)
{
    const b24bg_store_portal_t *left = one;
    const b24bg_store_portal_t *right = other;
    int order = strcmp(left->app, right->app);

    order = order ? order : strcmp(left->domain, right->domain);
    return order ? order : strcmp(left->member_id, right->member_id);
}

static const char *state_of(const b24bg_store_portal_t *portal)
{
    return portal->installed ? "installed" : "uninstalled";
}

static void fill(apr_pool_t *pool, const b24bg_store_portal_t *portal, row_t *row)
{
    const char **cells = row->cells;

    cells[APP] = b24bg_form_clean(pool, portal->app, B24BGCTL_CELL_LONGEST);
    cells[MEMBER_ID] = b24bg_form_clean(pool, portal->member_id, B24BGCTL_CELL_LONGEST);
    cells[DOMAIN] = b24bg_form_clean(pool, portal->domain, B24BGCTL_CELL_LONGEST);
    cells[INSTALLED] = b24bgctl_time_text(pool, portal->installed, "%Y-%m-%dT%H:%MZ");
    cells[LAST_LOAD] = b24bgctl_time_text(pool, portal->last_load, "%Y-%m-%dT%H:%MZ");
    cells[LOADS] = apr_psprintf(pool, "%" APR_INT64_T_FMT, portal->loads);
    cells[TOKEN_AGE] = b24bgctl_age_text(pool, b24bgctl_token_age(portal));
    cells[STATE] = state_of(portal);
}

static void widen(int *widths, const row_t *row)
{
    int i;

    for (i = 0; i < COLUMNS; i++) {
        int length = (int)strlen(row->cells[i]);
        widths[i] = length > widths[i] ? length : widths[i];
    }
}

static void print_row(const int *widths, const row_t *row)
{
    int i;

    for (i = 0; i < COLUMNS - 1; i++) {
        printf(i == LOADS ? "%*s  " : "%-*s  ", widths[i], row->cells[i]);
    }
    printf("%s\n", row->cells[i]);
}

static void print_table(apr_pool_t *pool, const apr_array_header_t *portals)
{
    row_t *rows = apr_palloc(pool, ((apr_size_t)portals->nelts + 1) * sizeof(*rows));
    int widths[COLUMNS] = {0};
    int i;

    memcpy(rows[0].cells, titles, sizeof(titles));
    for (i = 0; i < portals->nelts; i++) {
        fill(pool, &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t), &rows[i + 1]);
    }
    for (i = 0; i <= portals->nelts; i++) {
        widen(widths, &rows[i]);
    }
    for (i = 0; i <= portals->nelts; i++) {
        print_row(widths, &rows[i]);
    }
}

static json_t *json_portal(apr_pool_t *pool, const b24bg_store_portal_t *portal)
{
    apr_time_t age = b24bgctl_token_age(portal);

    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:o}", "app", portal->app, "member_id",
                     portal->member_id, "domain", portal->domain, "state", state_of(portal),
                     "installed_at", b24bgctl_json_time(pool, portal->installed), "last_load_at",
                     b24bgctl_json_time(pool, portal->last_load), "loads",
                     (json_int_t)portal->loads, "token_age_seconds",
                     age < 0 ? json_null() : json_integer(apr_time_sec(age)));
}

static b24bgctl_exit_e print_json(apr_pool_t *pool, const apr_array_header_t *portals)
{
    json_t *all = json_array();
    int bad = 0;
    int i;

    for (i = 0; i < portals->nelts && !bad; i++) {
        bad = json_array_append_new(
            all, json_portal(pool, &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t)));
    }
    bad = bad || json_dumpf(all, stdout, JSON_INDENT(2));
    json_decref(all);
    if (bad) {
        return b24bgctl_fail(B24BGCTL_CRITICAL, "a portal in the store cannot be written as JSON");
    }
    printf("\n");
    return B24BGCTL_GOOD;
}

b24bgctl_exit_e b24bgctl_portals(b24bgctl_t *ctl)
{
    apr_array_header_t *portals;
    b24bg_store_t *store;
    apr_status_t rv;
    b24bgctl_exit_e code = b24bgctl_store_open(ctl, &store);

    if (code != B24BGCTL_GOOD) {
        return code;
    }
    rv = b24bg_store_portals_since(store, ctl->pool, -1, &portals);
    if (rv != APR_SUCCESS) {
        return b24bgctl_store_fail(store, rv);
    }
    qsort(portals->elts, (size_t)portals->nelts, (size_t)portals->elt_size, compare);
    if (ctl->options[B24BGCTL_JSON]) {
        return print_json(ctl->pool, portals);
    }
    print_table(ctl->pool, portals);
    return B24BGCTL_GOOD;
}

/* forget */

static int has_nothing(const b24bg_store_portal_t *portal)
{
    return !portal->installed && !*portal->access_token && !*portal->refresh_token &&
           !*portal->application_token;
}

/* A process that reads for longer than this is no server, but a backup or somebody's shell. */
static b24bgctl_exit_e shed(b24bg_store_t *store)
{
    apr_time_t end = apr_time_now() + SHED_PATIENCE;

    while (!b24bg_store_shed(store)) {
        if (apr_time_now() > end) {
            return b24bgctl_fail(
                B24BGCTL_WARNING,
                "somebody reads the store, perhaps a backup, so its log (-wal) still has copies of "
                "what was wiped. Give this command again when that has ended");
        }
        apr_sleep(SHED_INTERVAL);
    }
    return B24BGCTL_GOOD;
}

static b24bgctl_exit_e wipe(b24bg_store_t *store, const b24bg_store_portal_t *portal)
{
    const b24bg_store_reason_t reason = {NULL,           "forgotten", "by b24bgctl",
                                         apr_time_now(), NULL,        NULL};
    apr_status_t rv = b24bg_store_portal_wipe(store, portal->app, portal->member_id, &reason);

    if (rv != APR_SUCCESS) {
        return b24bgctl_store_fail(store, rv);
    }
    printf("forgotten: portal %s (%s) of app %s; its tokens are wiped.\n"
           "Servers that are running follow within seconds. Bitrix24 was not told: what is\n"
           "registered there stays until the application is uninstalled. Installing the\n"
           "application again brings the portal back.\n",
           portal->member_id, portal->domain, portal->app);
    return shed(store);
}

b24bgctl_exit_e b24bgctl_forget(b24bgctl_t *ctl)
{
    const b24bg_store_portal_t *portal;
    b24bg_store_t *store;
    b24bgctl_exit_e code = b24bgctl_store_open(ctl, &store);

    if (code == B24BGCTL_GOOD) {
        code = b24bgctl_find_portal(ctl, store, &portal);
    }
    if (code != B24BGCTL_GOOD) {
        return code;
    }
    if (has_nothing(portal)) {
        printf("nothing to do: portal %s (%s) of app %s has no tokens.\n"
               "It was uninstalled or forgotten before.\n",
               portal->member_id, portal->domain, portal->app);
        return shed(store);
    }
    return wipe(store, portal);
}
